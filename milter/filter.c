/*
 * filter.c -- libmilter's callbacks.
 *
 * One struct session per connection, one struct mail inside it from MAIL to
 * the end of the message.  libmilter calls us for one session on different
 * threads of its pool, one at a time: nothing here is bound to a thread, and
 * nothing of a session needs a lock.
 *
 * What must stay true:
 * - all that will be done to a message is decided before the first edit is
 *   sent, and the last edit is to a header: a milter that dies after the body
 *   was replaced and before anything else leaves Postfix with a queue file
 *   that it cannot read, after its 250;
 * - never SMFIS_DISCARD or SMFIS_ACCEPT at RCPT: they act on all recipients;
 * - never a refusal when the mail comes from sendmail(1): it would stay in
 *   the maildrop and be tried again every minute, for ever;
 * - never a refusal behind a split: it would become a bounce.
 */
#include "milter/filter.h"

#include <arpa/inet.h>
#include <libmilter/mfapi.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/text.h"
#include "common/verdict.h"
#include "milter/fields.h"
#include "milter/message.h"
#include "milter/recent.h"
#include "milter/select.h"
#include "milter/split.h"

#define HEADER_BYTES_MAX (1024 * 1024) /* of all fields of one message; beyond it is not tagged */
#define RECIPIENTS_MAX 50000           /* of one message; beyond it passes untouched */
#define EDIT_VALUE_MAX 60000           /* Postfix cuts a header field there, libmilter refuses it at 65,534 */
#define REPLY_MAX 400
#define ROOM_MAX (128 * 1024)          /* for the next body, kept by a session that is open */

#define ACTIONS (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_DELRCPT | SMFIF_QUARANTINE | SMFIF_SETSYMLIST)
#define STEPS \
	(SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_HDR_LEADSPC | \
	    SMFIP_NR_CONN | SMFIP_NR_MAIL | SMFIP_NR_HDR | SMFIP_NR_BODY)

struct recipient {
	char *address;       /* as the MTA spells it */
	struct who who;      /* nobody: no address that can be known */
	enum engage class;
	enum cause cause;
	enum action action;  /* what will be done */
	enum action would;   /* what would have been: observing, or the MTA cannot do it */
	enum mode opens, links;
	bool holdout;        /* of the control group, and would have been stopped */
	char *why;           /* one line, when there is a cause */
	const char *route;   /* of the settings: by which transport; "" the usual one */
	uint64_t reserved;   /* with recents, while it is not known whether the message goes out; 0: nothing */
	struct place place;  /* among those that may go out now, while it is not known whether the message does */
	uint32_t receiver;   /* group */
	bool spared;         /* would have been stopped by class, but for a brake */
	bool again;          /* the same person as recipient number `first`, further up */
	size_t first;
};

struct field {
	size_t name, nname, value, nvalue; /* in text */
};

struct mail {
	struct setup *setup; /* one snapshot for the whole message */
	char *login, *sender;
	bool local;          /* from sendmail(1) or the like, not from smtpd */
	enum pass pass;

	struct recipient *recipient;
	size_t nrecipients, recipients_cap;

	struct buf text;     /* header fields */
	struct field *field;
	size_t nfields, fields_cap;
	struct header *header; /* the same, as spans, from the end of the header on */
	struct buf body;
	const char *odd;     /* why it must pass untouched, or NULL */
	bool tagged;         /* it came through here before */
	const char *route;   /* of all who get it, or that it got; "" the usual one */

	const struct stream *stream;
	uint64_t stream_id, campaign_id;
	struct buf campaign;
};

struct session {
	unsigned long actions, steps; /* as agreed with the MTA */
	char *client, *daemon;
	bool said_port, no_port; /* the MTA says on which port of its own it was reached; on none */
	struct mail *mail;
	struct buf room; /* memory of the last body, while there is no mail: new memory costs more than the copy into it */
};

static const struct filter *filter;

static struct {
	_Atomic uint64_t messages, tagged, untouched, stopped, would, oversize, unrecorded, failed;
} count;

/* ---- the end: who still uses store and writer ---- */

static _Atomic bool closed;
static _Atomic unsigned busy;

static bool
enter(void)
{
	atomic_fetch_add(&busy, 1);
	if (!atomic_load(&closed))
		return true;
	atomic_fetch_sub(&busy, 1);
	return false;
}

static void
leave(void)
{
	atomic_fetch_sub(&busy, 1);
}

bool
filter_drain(int64_t within_ms)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000000 };
	unsigned quiet = 0;

	/* A message on its way through its commands is not busy all the time: quiet is 100 ms of it. */
	for (; within_ms > 0 && quiet < 5; within_ms -= 20) {
		quiet = atomic_load(&busy) == 0 ? quiet + 1 : 0;
		nanosleep(&tick, NULL);
	}
	atomic_store(&closed, true);
	for (; within_ms > 0 && atomic_load(&busy) > 0; within_ms -= 20)
		nanosleep(&tick, NULL);
	return atomic_load(&busy) == 0;
}

void
filter_stats(struct filter_stats *s)
{
	*s = (struct filter_stats){
		.messages = count.messages,
		.tagged = count.tagged,
		.untouched = count.untouched,
		.stopped = count.stopped,
		.would = count.would,
		.oversize = count.oversize,
		.unrecorded = count.unrecorded,
		.failed = count.failed,
	};
}

/* ---- small things ---- */

/* libmilter's prototypes know no const; it writes to none of these. */
static char *
loose(const char *s)
{
	return (char *)(uintptr_t)s;
}

static const char *
symbol(SMFICTX *ctx, const char *name)
{
	return smfi_getsymval(ctx, loose(name));
}

/* A macro that the MTA sent and that says something, or the other. */
static const char *
symbol_or(SMFICTX *ctx, const char *name, const char *other)
{
	const char *value = symbol(ctx, name);

	return value != NULL && value[0] != '\0' ? value : other;
}

#define NO_QUEUE_ID "NOQUEUE"

static const char *
queue_id(SMFICTX *ctx)
{
	return symbol_or(ctx, "i", NO_QUEUE_ID);
}

static bool
has_queue_id(const char *id)
{
	return strcmp(id, NO_QUEUE_ID) != 0;
}

/* "name=value" for a log line; a stranger's value cannot look like another pair. */
static void
add_pair(struct buf *line, const char *name, struct span value)
{
	bool quote = value.n == 0;

	for (size_t i = 0; i < value.n; i++)
		quote = quote || value.p[i] == ' ' || value.p[i] == '=';
	buf_addf(line, " %s=%s", name, quote ? "\"" : "");
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		buf_addc(line, c < ' ' || c == 0x7f || c == '"' ? '?' : (char)c);
	}
	if (quote)
		buf_addc(line, '"');
}

/* What every line about a campaign message begins with. */
static void
add_subject(struct buf *line, const struct mail *m)
{
	add_pair(line, "campaign", buf_span(&m->campaign));
	add_pair(line, "stream", span_of(m->stream->name));
}

static sfsistat
go_on(const struct session *s, unsigned long no_reply)
{
	return s != NULL && (s->steps & no_reply) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

/* ---- a session and its mail ---- */

/* What is still reserved was not sent. */
static void
give_back(struct recipient *r)
{
	if (r->reserved != 0)
		recent_drop(filter->recents, &r->who, r->reserved);
	r->reserved = 0;
	throttle_undo(filter->throttle, &r->place);
}

static void
recipient_free(struct recipient *r)
{
	give_back(r);
	free(r->address);
	free(r->why);
}

static void
mail_free(struct mail *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->nrecipients; i++)
		recipient_free(&m->recipient[i]);
	free(m->recipient);
	free(m->field);
	free(m->header);
	buf_free(&m->text);
	buf_free(&m->body);
	buf_free(&m->campaign);
	free(m->login);
	free(m->sender);
	setup_put(m->setup);
	free(m);
}

static void
mail_end(struct session *s)
{
	if (s == NULL || s->mail == NULL)
		return;
	if (s->mail->body.cap <= ROOM_MAX) {
		s->room = s->mail->body;
		buf_init(&s->mail->body, 0);
	}
	mail_free(s->mail);
	s->mail = NULL;
}

static struct mail *
mail_new(struct session *s)
{
	struct mail *m = xcalloc(1, sizeof *m);

	m->setup = setup_get(filter->slot);
	buf_init(&m->text, 4 * HEADER_BYTES_MAX);
	m->body = s->room;
	m->body.max = (size_t)m->setup->conf->max_message;
	buf_clear(&m->body);
	buf_init(&s->room, 0);
	buf_init(&m->campaign, 1024);
	return m;
}

/* Made at the negotiation, or at the connection when the MTA reuses one. */
static struct session *
session_of(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (s == NULL) {
		s = xcalloc(1, sizeof *s);
		smfi_setpriv(ctx, s);
	}
	return s;
}

static struct envelope
envelope_of(const struct session *s)
{
	return (struct envelope){
		.client = span_of(s->client),
		.daemon = span_of(s->daemon),
		.login = span_of(s->mail->login),
		.sender = span_of(s->mail->sender),
	};
}

/* Could mail be stopped at RCPT under these settings? */
static bool
stops_at_rcpt(const struct conf *c)
{
	for (size_t i = 0; i < c->nstreams; i++) {
		const struct stream *s = &c->stream[i];
		size_t rules = s->match_login.n + s->match_network.n + s->match_sender_domain.n + s->match_daemon.n;

		if (rules > 0 && s->enforce && !s->transactional)
			return true;
	}
	return false;
}

static sfsistat
on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long f2, unsigned long f3,
    unsigned long *want_actions, unsigned long *want_steps, unsigned long *want_f2, unsigned long *want_f3)
{
	static const struct {
		int stage;
		const char *macros;
	} symbols[] = {
		{ SMFIM_CONNECT, "{client_addr} {daemon_name} {daemon_port} j v" },
		{ SMFIM_ENVFROM, "i {auth_authen} {mail_addr}" },
		{ SMFIM_ENVRCPT, "i {rcpt_addr}" },
		{ SMFIM_EOM, "i" },
	};
	struct session *s = session_of(ctx);
	struct setup *setup = setup_get(filter->slot);

	(void)f2, (void)f3;
	s->actions = actions & ACTIONS;
	s->steps = steps & (STEPS | (stops_at_rcpt(setup->conf) ? 0 : SMFIP_NR_RCPT));
	setup_put(setup);
	for (size_t i = 0; (actions & SMFIF_SETSYMLIST) != 0 && i < sizeof symbols / sizeof *symbols; i++)
		smfi_setsymlist(ctx, symbols[i].stage, loose(symbols[i].macros));
	*want_actions = s->actions;
	*want_steps = s->steps;
	*want_f2 = *want_f3 = 0;
	return SMFIS_CONTINUE;
}

/* For an MTA that does not send {client_addr}. */
static void
numeric_address(const _SOCK_ADDR *sa, char out[INET6_ADDRSTRLEN])
{
	out[0] = '\0';
	if (sa != NULL && sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, out, INET6_ADDRSTRLEN);
	else if (sa != NULL && sa->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, out, INET6_ADDRSTRLEN);
}

static sfsistat
on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *sa)
{
	struct session *s = session_of(ctx);
	char address[INET6_ADDRSTRLEN];
	const char *port;

	(void)host;
	numeric_address(sa, address);
	free(s->client);
	free(s->daemon);
	s->client = xstrdup(symbol_or(ctx, "{client_addr}", address));
	s->daemon = xstrdup(symbol_or(ctx, "{daemon_name}", ""));
	port = symbol_or(ctx, "{daemon_port}", "");
	s->said_port = port[0] != '\0';
	s->no_port = strcmp(port, "0") == 0;
	return go_on(s, SMFIP_NR_CONN);
}

static sfsistat
on_mail(SMFICTX *ctx, char **argv)
{
	struct session *s = session_of(ctx);

	mail_end(s);
	s->mail = mail_new(s);
	/*
	 * Nobody connects to a port when mail comes by pickup or qmqpd.  An MTA
	 * that does not say the port, as Postfix before 3.2, has a queue file
	 * at MAIL for those and not yet for smtpd's.
	 */
	s->mail->local = s->said_port ? s->no_port : symbol(ctx, "i") != NULL;
	s->mail->pass = split_pass(s->mail->setup->conf, span_of(s->daemon));
	s->mail->login = xstrdup(symbol_or(ctx, "{auth_authen}", ""));
	s->mail->sender = xstrdup(symbol_or(ctx, "{mail_addr}", argv[0] != NULL ? argv[0] : ""));
	return go_on(s, SMFIP_NR_MAIL);
}

/* ---- sends that the state does not have yet ---- */

/* As its touch will say it. */
static uint32_t
touch_second(int64_t now)
{
	return touch_seconds(&(struct touch){ .when = now });
}

#define SETTLED_LATER 60 /* seconds: a touch may be written late, after its message went on */

/* In order: what was put into the journal goes to the facts, and from there into the sums. */
static struct {
	pthread_mutex_t lock;
	_Atomic uint32_t next; /* not before */
	enum { ASK, MOVING, FOLDING } waits_for;
	uint32_t asked;
	uint64_t place, last;
} settling = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint32_t
steady_seconds(void)
{
	return (uint32_t)(clock_ms() / 1000) + 1;
}

/* Once a second whoever comes along finds out whether the state has caught up with some moment. */
static void
settle_recents(uint32_t now)
{
	struct writer_stats w;

	if (now < atomic_load_explicit(&settling.next, memory_order_relaxed) || pthread_mutex_trylock(&settling.lock) != 0)
		return;
	atomic_store_explicit(&settling.next, now + 1, memory_order_relaxed);
	writer_stats(filter->writer, &w);
	if (settling.waits_for == ASK) {
		settling.asked = now;
		settling.place = w.journal.put;
		settling.waits_for = MOVING;
	}
	if (settling.waits_for == MOVING && w.journal.moved >= settling.place &&
	    (settling.last = store_last(filter->store)) > 0)
		settling.waits_for = FOLDING;
	if (settling.waits_for == FOLDING && store_folded(filter->store) >= settling.last) {
		recents_settled(filter->recents, settling.asked > SETTLED_LATER ? settling.asked - SETTLED_LATER : 0);
		settling.waits_for = ASK;
	}
	pthread_mutex_unlock(&settling.lock);
}

static void
reserve(struct recipient *r, const struct stream *stream, uint64_t stream_id, int64_t now)
{
	struct recent recent[RECENT_FOUND];
	uint16_t tag = profile_tag(stream_id);

	if (r->reserved != 0 || who_is_nobody(&r->who) || stream->transactional)
		return;
	recent_open(filter->recents, &r->who, tag, recent);
	r->reserved = recent_reserve(filter->recents, &r->who, (struct recent){ touch_second(now), tag });
	recent_close(filter->recents, &r->who);
}

/* Their touches are recorded. */
static void
keep_reserved(struct mail *m)
{
	uint32_t now = steady_seconds();

	for (size_t i = 0; i < m->nrecipients; i++) {
		struct recipient *r = &m->recipient[i];

		if (r->reserved != 0)
			recent_keep(filter->recents, &r->who, r->reserved, now);
		r->reserved = 0;
		if (r->action != ACTION_SEND)
			throttle_undo(filter->throttle, &r->place);
		r->place.taken = false;
	}
	settle_recents(now);
}

/* ---- deciding about a recipient ---- */

static bool
goes_out(enum action a)
{
	return a == ACTION_SEND || a == ACTION_ROUTE;
}

/* Is there room for one more now?  It is asked last, of those who would get the message. */
static bool
has_room(struct recipient *r, const struct mail *m, struct question *q, enum engage class, uint32_t first, bool taking)
{
	const struct throttle_question t = {
		.setup = m->setup,
		.stream = q->stream,
		.stream_id = q->stream_id,
		.class = class,
		.receiver = r->receiver,
		.first = first,
		.now = q->now,
		.look = !taking,
	};

	if (throttle_ask(filter->throttle, &t, &r->place, &q->imposed_until))
		return true;
	q->imposed = CAUSE_THROTTLED;
	return false;
}

/* The verdict and, with taking set, the place under the caps are one step: two messages at once are two steps. */
static struct verdict
decide(struct recipient *r, const struct mail *m, struct question *q, bool taking)
{
	struct brakes_answer brakes;
	struct recent recent[RECENT_FOUND];
	uint16_t tag = profile_tag(q->stream_id);
	struct verdict v;

	if (who_is_nobody(q->who) || q->stream->transactional)
		return verdict_find(q);
	brakes_ask(filter->brakes, q->stream, q->stream_id, m->campaign_id, r->receiver, q->now, &brakes);
	q->outage = brakes.spare;
	if (brakes.stop != BRAKE_NONE)
		q->imposed = CAUSE_BRAKED;
	q->recent = recent;
	q->nrecent = recent_open(filter->recents, q->who, tag, recent);
	v = verdict_find(q);
	if (v.cause == CAUSE_NONE && !has_room(r, m, q, v.finding.class, brakes.first, taking))
		v = verdict_find(q);
	if (taking && goes_out(v.action))
		r->reserved = recent_reserve(filter->recents, q->who, (struct recent){ touch_second(q->now), tag });
	recent_close(filter->recents, q->who);
	q->recent = NULL;
	q->nrecent = 0;
	return v;
}

/* Such a cause comes of messages that were sent, and this very one may be among them. */
static bool
is_of_sends(enum cause c)
{
	return c == CAUSE_CAPPED || c == CAUSE_RESTING || c == CAUSE_NOT_DUE || c == CAUSE_SUNSET || c == CAUSE_THROTTLED ||
	    c == CAUSE_BRAKED;
}

/* By which transport, when it goes out. */
static const char *
route_of(const struct stream *stream, const struct verdict *v)
{
	if (!stream->enforce || stream->transactional)
		return "";
	if (v->action == ACTION_ROUTE)
		return stream->route_slow;
	return stream->route[stream->series ? ENGAGE_INACTIVE : v->finding.class];
}

/*
 * Class, cause and modes of one recipient; with taking set, what is sent
 * counts from here on.  Whatever cannot be looked up, the answer is to send:
 * mail comes first.
 */
static void
judge(struct recipient *r, const struct mail *m, const struct stream *stream, uint64_t stream_id, int64_t now, bool taking)
{
	static struct log_rate rate;
	const struct setup *setup = m->setup;
	struct profile profile = { 0 };
	struct subscription subscription = { 0 };
	bool known = false, subscribed = false, unreadable = false;
	struct question q;
	struct verdict v;

	if (!addr_who(&setup->keys, span_of(r->address), &r->who))
		r->who = (struct who){ 0 };
	else if (store_person(filter->store, &r->who, stream_id, &profile, &known, &subscription, &subscribed) != STORE_OK) {
		log_rated(&rate, "recipients cannot be looked up; mail goes on, untracked");
		known = subscribed = false;
		unreadable = true;
	}
	q = (struct question){
		.conf = setup->conf,
		.stream = stream,
		.stream_id = stream_id,
		.who = &r->who,
		.profile = known ? &profile : NULL,
		.subscription = subscribed ? &subscription : NULL,
		.now = now,
	};
	r->receiver = receivers_of(setup->receivers, span_of(r->address));
	v = decide(r, m, &q, taking && !m->tagged);
	if (m->tagged && is_of_sends(v.cause)) {
		v.cause = CAUSE_NONE;
		v.wanted = v.action = ACTION_SEND;
	}

	r->class = v.finding.class;
	r->cause = v.cause;
	r->would = v.wanted;
	r->action = v.action;
	r->holdout = v.holdout;
	r->spared = v.spared && v.cause == CAUSE_NONE;
	r->route = route_of(stream, &v);
	r->opens = v.opens;
	r->links = v.links;
	if (unreadable) {
		/* There may be a denial that we cannot read. */
		r->opens = mode_min(r->opens, conf_mode(setup->conf, stream, AXIS_OPENS, CONSENT_DENIED));
		r->links = mode_min(r->links, conf_mode(setup->conf, stream, AXIS_LINKS, CONSENT_DENIED));
	}
	if (r->would != ACTION_SEND) {
		struct buf why = BUF(REPLY_MAX);

		verdict_explain(&why, &q, &v);
		r->why = buf_steal(&why);
	}
}

static int
by_who(const void *a, const void *b)
{
	const struct recipient *x = *(const struct recipient *const *)a, *y = *(const struct recipient *const *)b;
	int rc = memcmp(&x->who, &y->who, sizeof x->who);

	return rc != 0 ? rc : (x > y) - (x < y);
}

/*
 * Who stands there twice gets one message, and to delete one of the two
 * would delete both: the first decides.
 */
static void
find_again(struct mail *m)
{
	struct recipient **sorted;

	if (m->nrecipients < 2)
		return;
	sorted = xcalloc(m->nrecipients, sizeof *sorted);
	for (size_t i = 0; i < m->nrecipients; i++) {
		sorted[i] = &m->recipient[i];
		if (!addr_who(&m->setup->keys, span_of(sorted[i]->address), &sorted[i]->who))
			sorted[i]->who = (struct who){ 0 };
	}
	qsort(sorted, m->nrecipients, sizeof *sorted, by_who);
	for (size_t i = 1; i < m->nrecipients; i++)
		sorted[i]->again = !who_is_nobody(&sorted[i]->who) &&
		    memcmp(&sorted[i]->who, &sorted[i - 1]->who, sizeof sorted[i]->who) == 0;
	/* In that order each comes right behind the first of its kind. */
	for (size_t i = 0, first = 0; i < m->nrecipients; i++) {
		if (!sorted[i]->again)
			first = i;
		else
			sorted[i]->first = (size_t)(sorted[first] - m->recipient);
	}
	free(sorted);
}

/* A copy of what was found about the same person before. */
static void
judge_again(struct recipient *r, const struct recipient *first)
{
	char *address = r->address;
	size_t at = r->first;

	*r = *first;
	r->address = address;
	r->why = first->why != NULL ? xstrdup(first->why) : NULL;
	r->reserved = 0;
	r->place = (struct place){ 0 };
	r->again = true;
	r->first = at;
}

static void
judge_all(struct mail *m, int64_t now)
{
	find_again(m);
	for (size_t i = 0; i < m->nrecipients; i++) {
		struct recipient *r = &m->recipient[i];

		if (r->again)
			judge_again(r, &m->recipient[r->first]);
		else
			judge(r, m, m->stream, m->stream_id, now, m->pass != PASS_FRONT);
	}
}

/* The reason as an SMTP reply: printable ASCII on one line, and a percent sign is two for libmilter. */
static void
set_reply(SMFICTX *ctx, const char *code, const char *status, const char *why)
{
	struct buf text = BUF(2 * REPLY_MAX);

	for (; why != NULL && *why != '\0'; why++) {
		if (*why == '%')
			buf_addc(&text, '%');
		buf_addc(&text, *why >= ' ' && *why < 0x7f ? *why : '?');
	}
	buf_adds(&text, text.n > 0 ? " (rekindle)" : "recipient does not get this mail (rekindle)");
	smfi_setreply(ctx, loose(code), loose(status), loose(buf_cstr(&text)));
	buf_free(&text);
}

static sfsistat
refuse(SMFICTX *ctx, enum action action, const char *why)
{
	if (action == ACTION_DEFER) {
		set_reply(ctx, "451", "4.7.1", why);
		return SMFIS_TEMPFAIL;
	}
	set_reply(ctx, "550", "5.7.1", why);
	return SMFIS_REJECT;
}

static void
log_stop(const char *id, const struct mail *m, const struct stream *stream, const struct recipient *r, const char *verb)
{
	struct buf line = BUF(4096);

	buf_addf(&line, "%s: %s cause=%s class=%s", id, verb, cause_name(r->cause), engage_name(r->class));
	if (m->stream != NULL)
		add_subject(&line, m);
	else
		add_pair(&line, "stream", span_of(stream->name));
	log_info("%s: %s", buf_cstr(&line), r->why != NULL ? r->why : "");
	log_debug("%s: %s recipient=%s", id, verb, r->address);
	buf_free(&line);
}

/* ---- recording ---- */

/* Is this recipient to be deleted from a message that goes on? */
static bool
deleted(const struct recipient *r, enum action whole)
{
	return r->action != ACTION_SEND && r->action != whole;
}

static void
write_records(const char *id, const struct mail *m, const struct record *records, size_t n, bool *written)
{
	static struct log_rate rate;
	enum writer_result rc = WRITER_DURABLE;

	if (n > 0)
		rc = writer_keep(filter->writer, records, n, m->setup->conf->record_within);
	if (written != NULL)
		*written = rc != WRITER_LOST;
	if (rc == WRITER_DURABLE || rc == WRITER_KEPT)
		return;
	atomic_fetch_add(&count.unrecorded, n);
	log_rated(&rate, "%s: touches are %s; mail goes on", id, rc == WRITER_LATE ? "written late" : "lost");
}

/* Is this what the store has said?  Then it has the name as well, unless that was erased, and then it stays so. */
static bool
on_record(enum cause c)
{
	return c == CAUSE_COMPLAINED || c == CAUSE_BOUNCED || c == CAUSE_UNSUBSCRIBED || c == CAUSE_HELD;
}

/* That mail was sent or stopped is no reader's behaviour: the touch has its recipient in every privacy mode. */
static struct record
touch_of(const struct mail *m, const struct stream *stream, uint64_t stream_id, const struct recipient *r, int64_t now)
{
	bool sent = r->action == ACTION_SEND;
	uint8_t flags = 0;

	if (sent)
		flags = (r->would != ACTION_SEND && r->would != ACTION_ROUTE ? TOUCH_OBSERVED : 0) | (stream->series ? TOUCH_SERIES : 0) |
		    (stream->transactional ? TOUCH_EXEMPT : 0) | (r->holdout ? TOUCH_HOLDOUT : 0) | (r->spared ? TOUCH_SPARED : 0);
	return (struct record){
		.touch = {
			.kind = sent ? TOUCH_SENT : TOUCH_SKIPPED,
			.mode = who_is_nobody(&r->who) ? MODE_ANONYMOUS : MODE_IDENTIFIED,
			.detail = sent ? (uint8_t)r->class : (uint8_t)r->cause,
			.flags = flags,
			.when = now,
			.who = r->who,
			.campaign = m->campaign_id,
			.stream = stream_id,
			.sent = sent ? r->receiver : 0,
		},
		.address = who_is_nobody(&r->who) || (!sent && on_record(r->cause)) ? SPAN("") : span_of(r->address),
		.stream = span_of(stream->name),
		.campaign = buf_span(&m->campaign),
	};
}

/*
 * Which labels (link numbers with their destinations) this process wrote
 * already: all messages of a campaign have the same ones.  A table of hashes
 * that forgets when it is full; writing a label again does no harm.
 */
#define LABELS 65536
#define LABEL_TRIES 8
static _Atomic uint64_t labels[LABELS];

static uint64_t
label_hash(uint64_t campaign, const struct tagged_link *l)
{
	uint64_t h = (l->hash ^ campaign ^ (uint64_t)l->no << 48) * 0x9e3779b97f4a7c15u;

	h ^= h >> 32;
	return h != 0 ? h : 1;
}

static bool
label_known(uint64_t hash)
{
	for (size_t i = 0; i < LABEL_TRIES; i++)
		if (atomic_load_explicit(&labels[(hash + i) % LABELS], memory_order_relaxed) == hash)
			return true;
	return false;
}

static void
label_remember(uint64_t hash)
{
	size_t at = hash % LABELS;

	for (size_t i = 0; i < LABEL_TRIES; i++)
		if (atomic_load_explicit(&labels[(hash + i) % LABELS], memory_order_relaxed) == 0) {
			at = (hash + i) % LABELS;
			break;
		}
	atomic_store_explicit(&labels[at], hash, memory_order_relaxed);
}

/* Silence says something only of a recipient whose reaction would have been noticed. */
static bool
would_be_seen(const struct recipient *r, const struct plan *plan)
{
	return !who_is_nobody(&r->who) &&
	    ((plan->pixel && r->opens >= MODE_DAYONLY) || (plan->nlinks > 0 && r->links >= MODE_DAYONLY));
}

/* What happened to each recipient, and what the links are called, in the journal before the message goes on.  False: lost. */
static bool
record(const char *id, const struct mail *m, const struct plan *plan, enum action whole, bool individual, bool elsewhere,
    int64_t now)
{
	struct record *records = xcalloc(m->nrecipients + plan->nlinks + 1, sizeof *records);
	uint64_t *hashes = xcalloc(plan->nlinks + 1, sizeof *hashes);
	size_t n = 0, nhashes = 0;
	bool written;

	for (size_t i = 0; i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];

		if (r->again || (elsewhere && r->action == ACTION_SEND))
			continue;
		records[n] = touch_of(m, m->stream, m->stream_id, r, now);
		if (individual && !deleted(r, whole) && would_be_seen(r, plan)) {
			records[n].touch.flags |= TOUCH_TRACKED;
			records[n].touch.link = (uint16_t)plan->nlinks; /* at most MESSAGE_LINKS_MAX */
		}
		if (whole == ACTION_HOLD && !deleted(r, whole) && has_queue_id(id)) {
			records[n].touch.flags |= TOUCH_ON_HOLD;
			records[n].touch.sent = r->receiver;
			records[n].source = span_of(id);
		}
		n++;
	}
	for (size_t i = 0; i < plan->nlinks; i++) {
		const struct tagged_link *l = &plan->link[i];
		uint64_t hash = label_hash(m->campaign_id, l);

		if (label_known(hash))
			continue;
		hashes[nhashes++] = hash;
		records[n++] = (struct record){
			.touch = { .campaign = m->campaign_id, .stream = m->stream_id, .link = l->no, .when = now },
			.destination = l->destination,
		};
	}
	write_records(id, m, records, n, &written);
	for (size_t i = 0; written && i < nhashes; i++)
		label_remember(hashes[i]);
	free(hashes);
	free(records);
	return written;
}

/* What brakes look at. */
static void
count_for_brakes(const struct mail *m, uint64_t stream_id, const struct recipient *r)
{
	enum brakes_event e = r->spared ? BRAKES_SPARED : BRAKES_SENT;

	if (r->action != ACTION_SEND)
		e = r->cause == CAUSE_INACTIVE || r->cause == CAUSE_SUNSET ? BRAKES_BY_CLASS : BRAKES_STOPPED;
	brakes_count(filter->brakes, stream_id, m->campaign_id, e);
}

static void
count_all_for_brakes(const struct mail *m, bool elsewhere)
{
	for (size_t i = 0; i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];

		if (!r->again && !m->stream->transactional && !(elsewhere && r->action == ACTION_SEND))
			count_for_brakes(m, m->stream_id, r);
	}
}

/* ---- RCPT ---- */

static struct recipient *
recipient_add(struct mail *m, const char *address)
{
	struct span text = span_trim(span_of(address));

	if (m->nrecipients == RECIPIENTS_MAX) {
		m->odd = "too many recipients";
		return NULL;
	}
	if (m->nrecipients == m->recipients_cap) {
		m->recipients_cap = m->recipients_cap ? 2 * m->recipients_cap : 4;
		m->recipient = xreallocarray(m->recipient, m->recipients_cap, sizeof *m->recipient);
	}
	m->recipient[m->nrecipients] = (struct recipient){ .address = xstrndup(text.p, text.n) };
	return &m->recipient[m->nrecipients++];
}

static void
recipient_drop_last(struct mail *m)
{
	recipient_free(&m->recipient[--m->nrecipients]);
}

/*
 * The one place where the sender gets a clear answer for one recipient of
 * many; only reject and defer can be said here.
 */
static sfsistat
rcpt_verdict(SMFICTX *ctx, struct session *s, struct recipient *r)
{
	struct mail *m = s->mail;
	struct envelope envelope = envelope_of(s);
	const struct stream *stream = select_envelope(m->setup->conf, &envelope);
	const char *id = queue_id(ctx);
	int64_t now = clock_read(CLOCK_REALTIME);
	struct record stopped;
	uint64_t stream_no;
	sfsistat answer;

	/* Where a stream observes, the few whom it stops all the same are stopped at the end of the message. */
	if (stream == NULL || !stream->enforce || stream->transactional)
		return SMFIS_CONTINUE;
	stream_no = stream_id(&m->setup->keys, span_of(stream->name));
	judge(r, m, stream, stream_no, now, false);
	if (r->action != ACTION_REJECT && r->action != ACTION_DEFER) {
		free(r->why);
		r->why = NULL; /* it is judged again when the headers are known */
		return SMFIS_CONTINUE;
	}
	atomic_fetch_add(&count.stopped, 1);
	log_stop(id, m, stream, r, r->action == ACTION_DEFER ? "deferred" : "rejected");
	/* The header that may name the campaign has not come yet, and for one recipient alone it never will. */
	buf_clear(&m->campaign);
	select_campaign(stream, now, &m->campaign);
	m->campaign_id = campaign_id(&m->setup->keys, span_of(stream->name), buf_span(&m->campaign));
	stopped = touch_of(m, stream, stream_no, r, now);
	write_records(id, m, &stopped, 1, NULL);
	count_for_brakes(m, stream_no, r);
	buf_clear(&m->campaign);
	m->campaign_id = 0;
	answer = refuse(ctx, r->action, r->why);
	recipient_drop_last(m);
	return answer;
}

static sfsistat
on_rcpt(SMFICTX *ctx, char **argv)
{
	struct session *s = smfi_getpriv(ctx);
	struct recipient *r;
	sfsistat answer;

	if (s == NULL || s->mail == NULL)
		return go_on(s, SMFIP_NR_RCPT);
	r = recipient_add(s->mail, symbol_or(ctx, "{rcpt_addr}", argv[0] != NULL ? argv[0] : ""));
	if (r == NULL || s->mail->local || s->mail->pass == PASS_BACK || (s->steps & SMFIP_NR_RCPT) != 0)
		return go_on(s, SMFIP_NR_RCPT);
	if (!enter())
		return SMFIS_TEMPFAIL;
	answer = rcpt_verdict(ctx, s, r);
	leave();
	return answer;
}

/* ---- header and body ---- */

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = smfi_getpriv(ctx);
	struct mail *m = s != NULL ? s->mail : NULL;
	struct field *f;

	if (m == NULL)
		return go_on(s, SMFIP_NR_HDR);
	if (m->odd == NULL && m->nfields == MESSAGE_HEADERS_MAX)
		m->odd = "too many header fields";
	if (m->odd == NULL && m->text.n > HEADER_BYTES_MAX)
		m->odd = "header too large";
	/* Of such a message what is meant for us matters: it selects, and must not leave with it unless a signature covers it. */
	if (m->odd != NULL && ((!fields_is_control(m->setup->conf, span_of(name)) &&
	    !span_ieq(span_of(name), SPAN("DKIM-Signature"))) || m->nfields == 2 * MESSAGE_HEADERS_MAX ||
	    m->text.n > 2 * HEADER_BYTES_MAX))
		return go_on(s, SMFIP_NR_HDR);
	if (m->nfields == m->fields_cap) {
		m->fields_cap = m->fields_cap ? 2 * m->fields_cap : 32;
		m->field = xreallocarray(m->field, m->fields_cap, sizeof *m->field);
	}
	f = &m->field[m->nfields++];
	f->name = m->text.n;
	buf_adds(&m->text, name);
	f->nname = m->text.n - f->name;
	f->value = m->text.n;
	/* An MTA that does not keep the leading space took one away. */
	if ((s->steps & SMFIP_HDR_LEADSPC) == 0)
		buf_addc(&m->text, ' ');
	buf_adds(&m->text, value);
	f->nvalue = m->text.n - f->value;
	return go_on(s, SMFIP_NR_HDR);
}

/* From here on the fields do not move any more. */
static struct message
message_of(struct mail *m)
{
	if (m->header == NULL) {
		m->header = xcalloc(m->nfields + 1, sizeof *m->header);
		for (size_t i = 0; i < m->nfields; i++) {
			const struct field *f = &m->field[i];

			m->header[i].name = span_cut(buf_span(&m->text), f->name, f->name + f->nname);
			m->header[i].value = span_cut(buf_span(&m->text), f->value, f->value + f->nvalue);
		}
	}
	return (struct message){ .header = m->header, .nheaders = m->nfields, .body = buf_span(&m->body) };
}

/* A stream that is not in the settings is a typing error, and would go unseen. */
static void
warn_of_stream(const struct session *s, const struct mail *m, const struct message *message, const char *id)
{
	static struct log_rate rate;
	const struct conf *c = m->setup->conf;
	const struct header *wanted = message_header(message, span_of(c->stream_header));
	struct span name = wanted != NULL ? span_trim(wanted->value) : SPAN("");

	if (wanted != NULL && conf_stream(c, name) == NULL && (m->stream != NULL || s->mail->login[0] != '\0'))
		log_rated(&rate, "%s: %s: there is no stream \"%.*s\"; taken as %s", id, c->stream_header,
		    SPAN_ARG(span_cut(name, 0, 64)), m->stream != NULL ? m->stream->name : "no campaign mail");
}

static bool
select_mail(const struct session *s, struct mail *m, const char *id)
{
	static struct log_rate rate;
	struct envelope envelope = envelope_of(s);
	struct message message = message_of(m);

	if (m->pass == PASS_BACK) {
		m->stream = split_select(m->setup->conf, m->setup->sealer, &message, &m->campaign);
		if (m->stream == NULL && split_marked(&message))
			log_rated(&rate, "%s: untouched: its split marker is not ours, or the stream is gone", id);
	} else {
		m->stream = select_message(m->setup->conf, &envelope, &message, clock_read(CLOCK_REALTIME), &m->campaign);
		warn_of_stream(s, m, &message, id);
	}
	if (m->stream == NULL)
		return false;
	m->stream_id = stream_id(&m->setup->keys, span_of(m->stream->name));
	m->campaign_id = campaign_id(&m->setup->keys, span_of(m->stream->name), buf_span(&m->campaign));
	return true;
}

/* Does the message bear a marker that leads nowhere from here? */
static bool
pretends(struct mail *m)
{
	struct message message = message_of(m);

	return m->stream == NULL && split_marked(&message);
}

/* Always replied to: mail that nobody selects ends here, and its body is never sent to us. */
static sfsistat
on_end_of_header(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (s == NULL || s->mail == NULL)
		return SMFIS_ACCEPT;
	if (select_mail(s, s->mail, queue_id(ctx)) || pretends(s->mail))
		return SMFIS_CONTINUE;
	mail_end(s);
	return SMFIS_ACCEPT;
}

/* At the front, and of what is not tagged, only the header matters. */
static bool
wants_body(const struct mail *m)
{
	return m != NULL && m->odd == NULL && m->stream != NULL && m->pass != PASS_FRONT;
}

static sfsistat
on_body(SMFICTX *ctx, unsigned char *chunk, size_t n)
{
	struct session *s = smfi_getpriv(ctx);
	struct mail *m = s != NULL ? s->mail : NULL;

	if (wants_body(m)) {
		buf_add(&m->body, span_make(chunk, n));
		if (m->body.over) {
			atomic_fetch_add(&count.oversize, 1);
			buf_free(&m->body);
			m->odd = "oversize";
		}
	}
	return go_on(s, SMFIP_NR_BODY);
}

/* ---- end of message ---- */

/* The nearest thing to the policy's action that this sender and this MTA understand. */
static enum action
possible(const struct session *s, const struct mail *m, enum action a)
{
	if (a == ACTION_ROUTE)
		return ACTION_SEND;
	/* Behind the split a refusal would be a bounce. */
	if ((m->local || m->pass == PASS_BACK) && a == ACTION_REJECT)
		return ACTION_DISCARD;
	if (m->local && a == ACTION_DEFER)
		a = ACTION_HOLD;
	/* Before it, all would be held for one, and once more behind it. */
	if (m->pass == PASS_FRONT && a == ACTION_HOLD)
		return ACTION_SEND;
	if (a == ACTION_HOLD && (s->actions & SMFIF_QUARANTINE) == 0)
		return m->local ? ACTION_SEND : ACTION_DEFER;
	return a;
}

/*
 * What happens to the message as a whole.  When somebody still gets it, the
 * others are deleted from it, whatever was to be done to them: one of several
 * recipients can be neither refused nor deferred nor held any more.  Before a
 * split it is another matter: who is to be deferred or held goes on to the
 * back, where each is alone and is asked about again.
 */
static enum action
settle(const struct session *s, struct mail *m)
{
	/* When nobody gets it, the one that loses least: what is held or deferred is not gone. */
	static const enum action mildest[] = { ACTION_SEND, ACTION_HOLD, ACTION_DEFER, ACTION_REJECT, ACTION_DISCARD };
	size_t n[ACTION_DISCARD + 1] = { 0 };
	enum action whole = ACTION_SEND;

	for (size_t i = 0; i < m->nrecipients; i++) {
		m->recipient[i].action = possible(s, m, m->recipient[i].action);
		n[m->recipient[i].action]++;
	}
	for (size_t i = 0; m->nrecipients > 0 && i < sizeof mildest / sizeof *mildest; i++)
		if (n[mildest[i]] > 0) {
			whole = mildest[i];
			break;
		}
	for (size_t i = 0; m->pass == PASS_FRONT && whole == ACTION_SEND && i < m->nrecipients; i++)
		if (m->recipient[i].action == ACTION_DEFER)
			m->recipient[i].action = ACTION_SEND;
	/* An MTA that lets nobody be deleted treats all of them alike; `would` tells. */
	if ((whole == ACTION_SEND || whole == ACTION_HOLD) && (s->actions & SMFIF_DELRCPT) == 0)
		for (size_t i = 0; i < m->nrecipients; i++)
			m->recipient[i].action = whole;
	return whole;
}

static void
log_verdicts(const char *id, const struct mail *m, enum action whole)
{
	static const char *const verbs[] = {
		[ACTION_SEND] = "sent",
		[ACTION_REJECT] = "rejected",
		[ACTION_DEFER] = "deferred",
		[ACTION_HOLD] = "held",
		[ACTION_DISCARD] = "discarded",
	};

	for (size_t i = 0; i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];
		struct buf verb = BUF(128);

		/* Who goes on to the back is told about there. */
		if (r->would == ACTION_SEND || (r->action == ACTION_SEND && m->pass == PASS_FRONT))
			continue;
		if (r->would == ACTION_ROUTE && r->route[0] != '\0' && strcmp(m->route, r->route) == 0)
			buf_addf(&verb, "routed route=%s", r->route);
		else if (r->action == ACTION_SEND) {
			atomic_fetch_add(&count.would, 1);
			buf_addf(&verb, "would=%s%s", action_name(r->would),
			    m->stream->enforce ? " (cannot be done here)" : "");
		} else {
			atomic_fetch_add(&count.stopped, 1);
			if (deleted(r, whole) && whole != ACTION_REJECT && whole != ACTION_DEFER)
				buf_adds(&verb, "recipient deleted");
			else
				buf_adds(&verb, verbs[whole]);
			if (r->would != (deleted(r, whole) ? ACTION_DISCARD : whole))
				buf_addf(&verb, " wanted=%s", action_name(r->would));
		}
		log_stop(id, m, m->stream, r, buf_cstr(&verb));
		buf_free(&verb);
	}
}

static void
tag(struct mail *m, int64_t now, enum action whole, struct plan *plan)
{
	struct message message = message_of(m);
	struct tagging how = {
		.sealer = m->setup->sealer,
		.conf = m->setup->conf,
		.stream = m->stream,
		.campaign = m->campaign_id,
		.campaign_name = buf_span(&m->campaign),
	};
	struct addressee *to = xcalloc(m->nrecipients, sizeof *to);
	size_t n = 0;

	for (size_t i = 0; i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];

		if (!deleted(r, whole))
			to[n++] = (struct addressee){ r->who, r->opens, r->links };
	}
	/* Whoever was deleted had a part in this body all the same: it is nobody's own. */
	tagging_address(&how, to, n, m->nrecipients > 1, now);
	free(to);
	message_tag(&message, &how, plan);
}

#define ROUTE_HEADER "X-Rekindle-Route"

/* A message has one road: that of all who get it, or the usual one. */
static void
find_route(const char *id, struct mail *m, enum action whole)
{
	const char *route = NULL;

	m->route = "";
	for (size_t i = 0; m->pass != PASS_FRONT && !m->tagged && i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];

		if (deleted(r, whole))
			continue;
		if (route != NULL && strcmp(route, r->route) != 0) {
			log_info("%s: no route: its recipients have several (%s, %s)", id, route[0] != '\0' ? route : "the usual one",
			    r->route[0] != '\0' ? r->route : "the usual one");
			return;
		}
		route = r->route;
	}
	if (route != NULL)
		m->route = route;
}

/* In front of the mark, which stays the last edit; a client's own are among the deletions, which come first. */
static void
add_route(struct plan *p, const char *route)
{
	struct header_edit last;

	fields_edit(p, HEADER_ADD, 0, SPAN(ROUTE_HEADER), span_of(route));
	if (p->nheaders < 2 || p->header[p->nheaders - 2].change != HEADER_ADD)
		return;
	last = p->header[p->nheaders - 1];
	p->header[p->nheaders - 1] = p->header[p->nheaders - 2];
	p->header[p->nheaders - 2] = last;
}

/* Can this MTA do what the plan wants?  NULL, or why not. */
static const char *
plan_fault(const struct session *s, const struct plan *plan)
{
	unsigned long need = plan->body_changed ? SMFIF_CHGBODY : 0;

	for (size_t i = 0; i < plan->nheaders; i++) {
		const struct header_edit *e = &plan->header[i];

		need |= e->change == HEADER_ADD ? SMFIF_ADDHDRS : SMFIF_CHGHDRS;
		if (e->value != NULL && strlen(e->name) + strlen(e->value) > EDIT_VALUE_MAX)
			return "header value too long";
	}
	/* The header edit behind the body is what makes the body edit safe. */
	if (plan->body_changed && (plan->nheaders == 0 || plan->body.n == 0))
		return "no plan";
	return (need & ~s->actions) == 0 ? NULL : "MTA does not allow the changes";
}

static bool
edit_header(SMFICTX *ctx, const struct session *s, const struct header_edit *e)
{
	struct buf value = BUF(EDIT_VALUE_MAX + 2);
	char *text;
	int rc = MI_FAILURE;

	if (e->value != NULL) {
		if ((s->steps & SMFIP_HDR_LEADSPC) != 0)
			buf_addc(&value, ' ');
		buf_adds(&value, e->value);
	}
	text = loose(buf_cstr(&value));
	switch (e->change) {
	case HEADER_ADD:
		rc = smfi_addheader(ctx, e->name, text);
		break;
	case HEADER_DELETE:
		rc = smfi_chgheader(ctx, e->name, (int)e->index, NULL);
		break;
	case HEADER_REPLACE:
		rc = smfi_chgheader(ctx, e->name, (int)e->index, text);
		break;
	}
	buf_free(&value);
	return rc == MI_SUCCESS;
}

static bool
edit_headers(SMFICTX *ctx, const struct session *s, const struct plan *plan)
{
	for (size_t i = 0; i < plan->nheaders; i++)
		if (!edit_header(ctx, s, &plan->header[i]))
			return false;
	return true;
}

/* Recipients, hold, body, headers: in this order.  False: the MTA must not keep what it has. */
static bool
carry_out(SMFICTX *ctx, const struct session *s, struct mail *m, const struct plan *plan, enum action whole)
{
	for (size_t i = 0; i < m->nrecipients; i++)
		if (deleted(&m->recipient[i], whole) && smfi_delrcpt(ctx, m->recipient[i].address) != MI_SUCCESS)
			return false;
	if (whole == ACTION_HOLD && smfi_quarantine(ctx, loose("rekindle")) != MI_SUCCESS)
		return false;
	if (plan->body_changed &&
	    smfi_replacebody(ctx, (unsigned char *)plan->body.p, (int)plan->body.n) != MI_SUCCESS)
		return false;
	return edit_headers(ctx, s, plan);
}

static void
log_done(const char *id, const struct mail *m, const struct plan *plan, enum action whole)
{
	struct buf line = BUF(4096);
	size_t remaining = 0;

	for (size_t i = 0; i < m->nrecipients; i++)
		remaining += !deleted(&m->recipient[i], whole);
	buf_addf(&line, "%s: %s", id,
	    plan->untouched != NULL ? "untouched" : m->pass == PASS_FRONT ? "to be split" : "tagged");
	add_subject(&line, m);
	if (plan->untouched != NULL)
		add_pair(&line, "reason", span_of(plan->untouched));
	else if (m->pass != PASS_FRONT) {
		buf_addf(&line, " links=%zu pixel=%s", plan->edited_links, plan->pixel ? "yes" : "no");
		if (plan->skipped_links > 0)
			buf_addf(&line, " skipped=%zu", plan->skipped_links);
		buf_addf(&line, " bytes=%zu->%zu", m->body.n, plan->body_changed ? plan->body.n : m->body.n);
	}
	if (m->route[0] != '\0')
		add_pair(&line, "route", span_of(m->route));
	log_info("%s recipients=%zu%s", buf_cstr(&line), remaining, whole == ACTION_HOLD ? " held" : "");
	buf_free(&line);
}

/* What somebody should know of a message that went out all the same. */
static void
log_warnings(const char *id, const struct mail *m, const struct plan *plan)
{
	static struct log_rate track, clip, page;

	if (plan->warnings & WARN_TRACK)
		log_rated(&track, "%s: %s is malformed, taken as no; write yes, no, opens or links", id,
		    m->setup->conf->track_header);
	if (plan->warnings & WARN_OWN_PAGE)
		log_rated(&page, "%s: campaign=%.*s has places for the recipient's own page that lead nowhere: several recipients, or no such stream",
		    id, SPAN_ARG(buf_span(&m->campaign)));
	if (plan->warnings & WARN_CLIP)
		log_rated(&clip, "%s: HTML of campaign=%.*s is over %d bytes now; Gmail hides the rest of it, the pixel too", id,
		    SPAN_ARG(buf_span(&m->campaign)), CLIP_BYTES);
}

static const char *
why_stopped(const struct mail *m, enum action whole)
{
	for (size_t i = 0; i < m->nrecipients; i++)
		if (m->recipient[i].action == whole)
			return m->recipient[i].why;
	return NULL;
}

/* The message's own word about consent, for this message only. */
static void
lower(struct mail *m, const char *id)
{
	static struct log_rate rate;
	const struct conf *c = m->setup->conf;
	struct message message = message_of(m);
	enum consent said[2];

	if (!select_consent(c, &message, said))
		log_rated(&rate, "%s: %s is malformed, taken as denied; write granted, denied, unknown or"
		    " opens=granted; links=denied", id, c->consent_header);
	for (size_t i = 0; i < m->nrecipients; i++)
		select_lower(c, m->stream, said, &m->recipient[i].opens, &m->recipient[i].links);
}

/* For whoever reads the log: whose message this queue id is. */
static void
remember(const char *id, const struct mail *m, enum action whole, int64_t now)
{
	struct queued about = { .campaign = m->campaign_id, .stream = m->stream_id, .when = (uint32_t)(now / 1000) };
	struct queue *queue = filter->queue;
	struct who *who;
	size_t n = 0;

	if (queue == NULL || !has_queue_id(id))
		return;
	who = xcalloc(m->nrecipients + 1, sizeof *who);
	for (size_t i = 0; i < m->nrecipients; i++)
		if (!deleted(&m->recipient[i], whole))
			who[n++] = m->recipient[i].who;
	queue_add(queue, span_of(id), &about, who, n);
	free(who);
}

static bool
bears_mark(struct mail *m)
{
	struct message message = message_of(m);

	return m->odd == NULL && fields_bear_mark(&message, m->setup->sealer);
}

static bool
is_tagged_already(const struct plan *plan)
{
	return plan->untouched != NULL && strcmp(plan->untouched, "already tagged") == 0;
}

/* For a message that goes on. */
static void
make_plan(const struct session *s, struct mail *m, int64_t now, enum action whole, struct plan *plan)
{
	struct message message = message_of(m);
	const char *leave = m->odd, *fault;

	if (leave == NULL && m->nrecipients != 1 && m->stream->several_leave)
		leave = "several recipients";
	if (m->pass == PASS_FRONT) {
		if (!split_mark(&message, m->setup->sealer, m->stream, buf_span(&m->campaign), m->campaign_id,
			(uint32_t)(now / 1000), plan))
			plan->untouched = "no marker";
	} else if (leave == NULL)
		tag(m, now, whole, plan);
	else
		message_leave(&message, m->setup->conf, leave, plan);
	/* Such a message is left to the byte, but for what brought it here. */
	if (is_tagged_already(plan)) {
		split_strip(&message, plan);
		m->route = "";
	} else if (m->route[0] != '\0')
		add_route(plan, m->route);
	if ((fault = plan_fault(s, plan)) != NULL) {
		m->route = "";
		plan_free(plan);
		*plan = (struct plan){ .untouched = fault };
	}
}

/* Who gets it because this MTA, or this place, does not let the policy have its way. */
static void
reserve_rest(struct mail *m, int64_t now)
{
	for (size_t i = 0; i < m->nrecipients; i++)
		if (m->recipient[i].action == ACTION_SEND && !m->recipient[i].again) {
			struct recipient *r = &m->recipient[i];
			const struct throttle_question t = { .setup = m->setup, .stream = m->stream, .stream_id = m->stream_id,
				.class = r->class, .receiver = r->receiver, .now = now };

			reserve(r, m->stream, m->stream_id, now);
			throttle_take(filter->throttle, &t, &r->place);
		}
}

static sfsistat
finish(SMFICTX *ctx, struct session *s)
{
	static struct log_rate rate, hold;
	struct mail *m = s->mail;
	const char *id = queue_id(ctx);
	bool individual = m->nrecipients == 1, marked, elsewhere;
	int64_t now = clock_read(CLOCK_REALTIME);
	struct plan plan = { .untouched = m->odd };
	sfsistat answer = SMFIS_CONTINUE;
	enum action whole;

	m->tagged = bears_mark(m);
	judge_all(m, now);
	if (m->pass != PASS_FRONT)
		lower(m, id);
	if (m->pass == PASS_BACK && !individual)
		log_rated(&rate, "%s: comes from the split with several recipients; its transport needs"
		    " _destination_recipient_limit = 1", id);
	whole = settle(s, m);
	find_route(id, m, whole);
	log_verdicts(id, m, whole);
	if (whole == ACTION_REJECT || whole == ACTION_DEFER || whole == ACTION_DISCARD) {
		atomic_fetch_add(&count.messages, 1);
		record(id, m, &plan, whole, individual, false, now);
		count_all_for_brakes(m, false);
		return whole == ACTION_DISCARD ? SMFIS_DISCARD : refuse(ctx, whole, why_stopped(m, whole));
	}

	make_plan(s, m, now, whole, &plan);
	marked = m->pass == PASS_FRONT && plan.untouched == NULL;
	/* What was sent is counted once: not when it came through here before, and not when it will. */
	elsewhere = marked || is_tagged_already(&plan);
	if (!elsewhere)
		reserve_rest(m, now);
	if (!marked)
		remember(id, m, whole, now);
	if (!marked)
		atomic_fetch_add(&count.messages, 1);
	if (!carry_out(ctx, s, m, &plan, whole)) {
		/* Whoever hears of it may try again at once. */
		for (size_t i = 0; i < m->nrecipients; i++)
			give_back(&m->recipient[i]);
		atomic_fetch_add(&count.failed, 1);
		log_warn("%s: the MTA did not take the changes; message deferred", id);
		answer = SMFIS_TEMPFAIL;
		/* Not before: what the MTA did not take comes again, and would be over its cap then. */
	} else if (!record(id, m, &plan, whole, individual, elsewhere, now) && whole == ACTION_HOLD) {
		/* Nothing would ever release it. */
		atomic_fetch_add(&count.failed, 1);
		log_rated(&hold, "%s: cannot be remembered, and so not be held; message deferred", id);
		answer = SMFIS_TEMPFAIL;
	} else {
		count_all_for_brakes(m, elsewhere);
		if (!elsewhere)
			keep_reserved(m);
		if (!marked)
			atomic_fetch_add(plan.untouched != NULL ? &count.untouched : &count.tagged, 1);
		log_done(id, m, &plan, whole);
		log_warnings(id, m, &plan);
	}
	plan_free(&plan);
	return answer;
}

/* Mail that nobody selects is not changed, but a marker is ours alone: one that a client kept could select at a back listener. */
static sfsistat
unmark(SMFICTX *ctx, const struct session *s)
{
	static struct log_rate rate;
	struct message message = message_of(s->mail);
	struct plan plan = { 0 };
	sfsistat answer = SMFIS_CONTINUE;

	split_strip(&message, &plan);
	if (plan_fault(s, &plan) == NULL) {
		log_rated(&rate, "%s: a split marker that leads nowhere is taken out", queue_id(ctx));
		if (!edit_headers(ctx, s, &plan))
			answer = SMFIS_TEMPFAIL;
	}
	plan_free(&plan);
	return answer;
}

static sfsistat
on_end_of_message(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	sfsistat answer = SMFIS_CONTINUE;

	if (s == NULL || s->mail == NULL)
		return SMFIS_CONTINUE;
	if (s->mail->stream == NULL)
		answer = unmark(ctx, s);
	else if (enter()) {
		answer = finish(ctx, s);
		leave();
	} else
		answer = SMFIS_TEMPFAIL;
	mail_end(s);
	return answer;
}

static sfsistat
on_abort(SMFICTX *ctx)
{
	mail_end(smfi_getpriv(ctx));
	return SMFIS_CONTINUE;
}

static sfsistat
on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (s != NULL) {
		mail_end(s);
		buf_free(&s->room);
		free(s->client);
		free(s->daemon);
		free(s);
		smfi_setpriv(ctx, NULL);
	}
	return SMFIS_CONTINUE;
}

bool
filter_register(const struct filter *f)
{
	static char name[] = "rekindle";
	struct smfiDesc callbacks = {
		.xxfi_name = name,
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = ACTIONS,
		.xxfi_negotiate = on_negotiate,
		.xxfi_connect = on_connect,
		.xxfi_envfrom = on_mail,
		.xxfi_envrcpt = on_rcpt,
		.xxfi_header = on_header,
		.xxfi_eoh = on_end_of_header,
		.xxfi_body = on_body,
		.xxfi_eom = on_end_of_message,
		.xxfi_abort = on_abort,
		.xxfi_close = on_close,
	};

	filter = f;
	return smfi_register(callbacks) == MI_SUCCESS;
}
