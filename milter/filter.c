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
#include "milter/fields.h"
#include "milter/mail.h"
#include "milter/select.h"

#define HEADER_BYTES_MAX (1024 * 1024) /* of all fields of one message; beyond it is not tagged */
#define RECIPIENTS_MAX 50000           /* of one message; beyond it passes untouched */
#define EDIT_VALUE_MAX 60000           /* Postfix cuts a header field there, libmilter refuses it at 65,534 */
#define REPLY_MAX 400
#define ROOM_MAX (128 * 1024)          /* for the next body, kept by a session that is open */

#define ACTIONS (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_DELRCPT | SMFIF_QUARANTINE | SMFIF_SETSYMLIST)
#define STEPS \
	(SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_HDR_LEADSPC | \
	    SMFIP_NR_CONN | SMFIP_NR_MAIL | SMFIP_NR_HDR | SMFIP_NR_BODY)

struct session {
	unsigned long actions, steps; /* as agreed with the MTA */
	char *client, *daemon;
	bool said_port, no_port; /* the MTA says on which port of its own it was reached; on none */
	struct mail *mail;
	struct buf room; /* memory of the last body, while there is no mail: new memory costs more than the copy into it */
};

static const struct filter *filter;

static struct {
	_Atomic uint64_t messages, tagged, untouched, stopped, would, oversize, failed;
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
		.unrecorded = record_failures(),
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

static const char *
queue_id(SMFICTX *ctx)
{
	return symbol_or(ctx, "i", NO_QUEUE_ID);
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

static void
recipient_free(const struct mail *m, struct recipient *r)
{
	judge_give_back(m, r);
	free(r->address);
	free(r->why);
}

static void
mail_free(struct mail *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->nrecipients; i++)
		recipient_free(m, &m->recipient[i]);
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

	m->with = filter;
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

/* ---- answers about a recipient ---- */

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
	m->nrecipients--;
	recipient_free(m, &m->recipient[m->nrecipients]);
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
	uint64_t stream_no;
	sfsistat answer;

	/* Where a stream observes, the few whom it stops all the same are stopped at the end of the message. */
	if (stream == NULL || !stream->enforce || stream->transactional)
		return SMFIS_CONTINUE;
	stream_no = stream_id(&m->setup->keys, span_of(stream->name));
	judge_one(r, m, stream, stream_no, now, false);
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
	record_stopped(id, m, stream, stream_no, r, now);
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
		record_all(id, m, &plan, whole, individual, false, now);
		record_count(m, false);
		return whole == ACTION_DISCARD ? SMFIS_DISCARD : refuse(ctx, whole, why_stopped(m, whole));
	}

	make_plan(s, m, now, whole, &plan);
	marked = m->pass == PASS_FRONT && plan.untouched == NULL;
	/* What was sent is counted once: not when it came through here before, and not when it will. */
	elsewhere = marked || is_tagged_already(&plan);
	if (!elsewhere)
		judge_reserve_rest(m, now);
	if (!marked)
		remember(id, m, whole, now);
	if (!marked)
		atomic_fetch_add(&count.messages, 1);
	if (!carry_out(ctx, s, m, &plan, whole)) {
		/* Whoever hears of it may try again at once. */
		for (size_t i = 0; i < m->nrecipients; i++)
			judge_give_back(m, &m->recipient[i]);
		atomic_fetch_add(&count.failed, 1);
		log_warn("%s: the MTA did not take the changes; message deferred", id);
		answer = SMFIS_TEMPFAIL;
		/* Not before: what the MTA did not take comes again, and would be over its cap then. */
	} else if (!record_all(id, m, &plan, whole, individual, elsewhere, now) && whole == ACTION_HOLD) {
		/* Nothing would ever release it. */
		atomic_fetch_add(&count.failed, 1);
		log_rated(&hold, "%s: cannot be remembered, and so not be held; message deferred", id);
		answer = SMFIS_TEMPFAIL;
	} else {
		record_count(m, elsewhere);
		if (!elsewhere)
			judge_keep(m);
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
