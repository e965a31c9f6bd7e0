/*
 * ask.c -- Postfix's lookups.
 *
 * One thread, one event loop.  A client costs a few hundred bytes while it is
 * quiet: what it sends is read into memory that all share, and only what is
 * not whole, or what it does not take, is kept for it; both are bounded, and
 * nobody is read from who does not take his answers.
 *
 * Answers go out at the end of a turn, to all who asked in it.  One by one
 * they would wake who waits for them one by one, which costs more than the
 * lookup.
 */
#include "milter/ask.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/bind.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/verdict.h"
#include "milter/answer.h"
#include "milter/select.h"

#define LISTENERS_MAX 16
#define BACKLOG 512
#define ACCEPT_TURN 64               /* connections taken before others get a turn */
#define ACCEPT_PAUSE_MS 1000         /* without descriptors */
#define MAIL_DESCRIPTORS 256         /* left for mail and files; or a quarter, where there are few */
#define TURN_MAX 8                   /* clients whose answers wait for each other: while they read the next ones are looked up */
#define INPUT_MAX (2 * ANSWER_REQUEST_MAX)
#define OUTPUT_MAX (32 * 1024)       /* no more is answered before the client has taken it */
#define REASON_MAX 300

struct inlet {
	struct event ev;
	struct ask *ask;
	char *path; /* of a socket in the file system, or NULL */
	int fd;
};

struct client {
	struct event ev;
	struct ask *ask;
	int fd;
	struct answer_reader reader;
	struct buf in;    /* the beginning of a request, or what waits behind answers that are not taken */
	struct buf out;   /* what the client does not take */
	size_t sent;      /* of it */
	size_t from, to;  /* its answers of this turn, in ask->output */
	bool more;        /* there are whole requests in `in' */
	bool bad;         /* ... or nothing that can be understood: to be hung up on */
	int64_t since;    /* ms: the last whole request, or the connection */
	struct client *prev, *next; /* by since: the first is idle for longest */
};

struct ask {
	struct inlet inlet[LISTENERS_MAX];
	size_t ninlets;
	struct client *first, *last;
	size_t nclients;
	struct event_base *base;
	struct event woken, idle, pause;
	int wake, clock; /* the latter for idle: a timeout of the loop would be set and dropped at each wait */
	bool ended;
	pthread_t thread;

	struct setup_slot *slot;
	struct setup *setup;  /* the one that ids are of */
	uint64_t *id;         /* by number of a stream */
	struct store *store;
	char input[INPUT_MAX];
	struct buf room, text, output;
	bool looked;          /* at settings and clocks, in this turn */
	struct store_view view; /* the store, as it was at the first lookup of this turn */
	struct profile profile; /* of the lookup, when it has to be unpacked */
	struct subscription subscription;
	int64_t ms, now;      /* then: monotonic, and the time of day */
	struct client *turn[TURN_MAX]; /* who asked in it */
	size_t nturn;
	_Atomic uint64_t lookups, routed, stopped, unread, malformed, connections;
};

/* ---- settings and time ---- */

/* All have the same time, so the list is in the order of deadlines and one timer serves everybody; early is early enough. */
static void
arm(struct ask *a)
{
	struct itimerspec at = { 0 };
	int64_t left;

	if (a->first == NULL)
		return;
	left = a->first->since + a->setup->conf->ask_idle - a->ms;
	left = left > 0 ? left + 1 : 1;
	at.it_value = (struct timespec){ left / 1000, left % 1000 * 1000000 };
	timerfd_settime(a->clock, 0, &at, NULL);
}

/* Settings and keys of this moment.  Ids of streams are keyed hashes, and worth remembering. */
static void
take_setup(struct ask *a)
{
	struct setup *s = setup_get(a->slot);

	if (s == a->setup) {
		setup_put(s);
		return;
	}
	if (a->setup != NULL)
		setup_put(a->setup);
	a->setup = s;
	a->id = xreallocarray(a->id, s->conf->nstreams, sizeof *a->id);
	for (size_t i = 0; i < s->conf->nstreams; i++)
		a->id[i] = stream_id(&s->keys, span_of(s->conf->stream[i].name));
	arm(a); /* ask_idle may be another one */
}

/* Once in a turn, which is short: for each lookup it would take longer than to read the question and to write the answer. */
static void
look(struct ask *a)
{
	if (a->looked)
		return;
	a->looked = true;
	a->ms = clock_ms();
	a->now = clock_read(CLOCK_REALTIME);
	take_setup(a);
}

/* ---- the answer ---- */

/* What the policy service says of the session, as the milter sees it; policy_context stands for the listener. */
static const struct stream *
stream_of(const struct conf *c, const struct lookup *q)
{
	const struct envelope e = { .client = q->client, .login = q->login, .sender = q->sender, .daemon = q->context };

	switch (q->protocol) {
	case ANSWER_SOCKETMAP:
		return conf_stream(c, q->map);
	case ANSWER_TCP:
		return conf_stream(c, span_of(c->ask_stream));
	case ANSWER_POLICY:
		return span_eq(q->state, SPAN("RCPT")) ? select_envelope(c, &e) : NULL;
	default:
		return NULL;
	}
}

static enum answer
unknown_stream(const struct lookup *q, struct buf *text)
{
	static struct log_rate rate;

	if (q->protocol == ANSWER_POLICY)
		return ANSWER_NONE; /* other mail, or it cannot be known yet */
	buf_addf(text, "rekindle.conf has no stream %.*s", SPAN_ARG(span_cut(q->map, 0, 64)));
	log_rated(&rate, "a lookup names a stream that is not in the settings; write socketmap:...:NAME of one that is");
	return ANSWER_WRONG;
}

static enum answer
unreadable(struct ask *a, struct buf *text)
{
	static struct log_rate rate;

	atomic_fetch_add(&a->unread, 1);
	log_rated(&rate, "recipients cannot be looked up; Postfix is told %s", a->setup->conf->ask_defer ? "to wait" : "nothing");
	buf_adds(text, "no answer at the moment (rekindle)");
	return a->setup->conf->ask_defer ? ANSWER_LATER : ANSWER_NONE;
}

/*
 * The queue manager asks a table about messages that were accepted and
 * counted already, and what a table stops then is bounced.  Frequency, series
 * and class follow from that very count: they are for those who ask once, at
 * RCPT.  So a table stops for what was said alone.
 *
 * Who is not stopped gets the route of the class, where the stream does more
 * than observe.
 */
static enum answer
carry_out(const struct lookup *q, const struct stream *s, const struct verdict *v, struct buf *text)
{
	enum action action = q->protocol == ANSWER_POLICY || cause_was_said(v->cause) ? v->action : ACTION_SEND;

	switch (action) {
	case ACTION_REJECT:
		return ANSWER_REJECT;
	case ACTION_DEFER:
		return ANSWER_DEFER;
	case ACTION_HOLD:
		return ANSWER_HOLD;
	case ACTION_DISCARD:
		return ANSWER_DISCARD;
	default:
		if (!s->enforce || s->transactional)
			return ANSWER_NONE;
		buf_adds(text, s->route[v->finding.class]);
		return text->n > 0 ? ANSWER_ROUTE : ANSWER_NONE;
	}
}

/* One view of the store for a turn: to begin one takes as long as to look somebody up. */
static bool
find_person(struct ask *a, struct question *q)
{
	return (a->view.txn != NULL || store_view(a->store, &a->view) == STORE_OK) &&
	    store_view_person(a->store, &a->view, q->who, q->stream_id, &q->profile, &a->profile, &q->subscription, &a->subscription) == STORE_OK;
}

static enum answer
decide(struct ask *a, const struct lookup *q, struct buf *text)
{
	const struct conf *c = a->setup->conf;
	const struct stream *s = stream_of(c, q);
	enum answer answer;
	struct question question;
	struct verdict v;
	struct who who;

	if (s == NULL)
		return unknown_stream(q, text);
	/* Postfix asks for "*" too, and for domains. */
	if (s->transactional || span_find(q->key, '@') == q->key.n || !addr_who(&a->setup->keys, q->key, &who))
		return ANSWER_NONE;
	question = (struct question){ .conf = c, .stream = s, .stream_id = a->id[s - c->stream], .who = &who, .now = a->now };
	if (!find_person(a, &question))
		return unreadable(a, text);
	v = verdict_find(&question);
	answer = carry_out(q, s, &v, text);
	if (answer == ANSWER_NONE || answer == ANSWER_ROUTE)
		return answer;
	verdict_explain(text, &question, &v);
	buf_adds(text, " (rekindle)");
	return answer;
}

static void
answer(struct ask *a, const struct lookup *q)
{
	enum answer what;

	buf_clear(&a->text);
	what = decide(a, q, &a->text);
	atomic_fetch_add_explicit(&a->lookups, 1, memory_order_relaxed);
	if (what == ANSWER_ROUTE)
		atomic_fetch_add_explicit(&a->routed, 1, memory_order_relaxed);
	else if (what == ANSWER_REJECT || what == ANSWER_DEFER || what == ANSWER_DISCARD || what == ANSWER_HOLD)
		atomic_fetch_add_explicit(&a->stopped, 1, memory_order_relaxed);
	answer_write(&a->output, q->protocol, what, buf_span(&a->text));
}

/* ---- clients ---- */

static void
list_add(struct ask *a, struct client *c)
{
	c->since = a->ms;
	c->next = NULL;
	c->prev = a->last;
	*(a->last != NULL ? &a->last->next : &a->first) = c;
	a->last = c;
}

static void
list_take(struct ask *a, struct client *c)
{
	*(c->prev != NULL ? &c->prev->next : &a->first) = c->next;
	*(c->next != NULL ? &c->next->prev : &a->last) = c->prev;
}

static void
client_close(struct client *c)
{
	struct ask *a = c->ask;

	list_take(a, c);
	a->nclients--;
	atomic_store_explicit(&a->connections, a->nclients, memory_order_relaxed);
	event_del(&c->ev);
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

/* Sends as much as is taken; false when the client is gone. */
static bool
send_some(const struct client *c, struct span bytes, size_t *sent)
{
	while (*sent < bytes.n) {
		ssize_t n = send(c->fd, bytes.p + *sent, bytes.n - *sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return errno == EAGAIN;
		if (n > 0)
			*sent += (size_t)n;
	}
	return true;
}

static void on_client(evutil_socket_t, short, void *);

static void
watch(struct client *c, short what)
{
	if (event_get_events(&c->ev) == (what | EV_PERSIST))
		return;
	event_del(&c->ev);
	event_assign(&c->ev, c->ask->base, c->fd, (short)(what | EV_PERSIST), on_client, c);
	event_add(&c->ev, NULL);
}

/* What is left of the input, for the next time. */
static void
keep(struct client *c, struct span in)
{
	struct buf kept = BUF(INPUT_MAX);

	buf_add(&kept, in); /* which may be of c->in */
	buf_free(&c->in);
	c->in = kept;
}

static void
malformed(struct client *c)
{
	static struct log_rate rate;

	atomic_fetch_add_explicit(&c->ask->malformed, 1, memory_order_relaxed);
	log_rated(&rate, "a client speaks neither socketmap nor tcp_table nor the policy protocol, or asks for more than %d bytes; hung up",
	    ANSWER_REQUEST_MAX);
	client_close(c);
}

/* Sends what the turn has answered.  Who does not take it has it kept for him, and is not read from until he has. */
static void
end_turn(struct ask *a)
{
	struct span output = buf_span(&a->output);

	store_view_end(a->store, &a->view);
	for (size_t i = 0; i < a->nturn; i++) {
		struct client *c = a->turn[i];
		struct span own = span_cut(output, c->from, c->to);

		c->sent = 0;
		if (!send_some(c, own, &c->sent))
			client_close(c);
		else if (c->bad)
			malformed(c);
		else {
			buf_add(&c->out, span_from(own, c->sent));
			c->sent = 0;
			watch(c, c->out.n > 0 || c->more ? EV_WRITE : EV_READ);
		}
	}
	a->nturn = 0;
	a->looked = false;
	buf_clear(&a->output);
}

/* Answers what is whole, until there is OUTPUT_MAX to send.  Nobody is in a turn twice. */
static void
serve(struct client *c, struct span in)
{
	struct ask *a = c->ask;
	struct lookup q;
	int n = 0;

	c->from = a->output.n;
	while (in.n > 0 && a->output.n < c->from + OUTPUT_MAX && (n = answer_read(&c->reader, in, &a->room, &q)) > 0) {
		answer(a, &q);
		in = span_from(in, (size_t)n);
	}
	c->to = a->output.n;
	c->more = in.n > 0 && n > 0;
	c->bad = n < 0;
	if (in.n > 0 || c->in.n > 0)
		keep(c, in);
	if (c->to > c->from) {
		list_take(a, c);
		list_add(a, c);
		a->turn[a->nturn++] = c;
	} else if (c->bad)
		malformed(c);
	if (a->nturn == TURN_MAX || a->output.n >= OUTPUT_MAX)
		end_turn(a);
}

static void
on_readable(struct client *c)
{
	struct ask *a = c->ask;
	size_t kept = c->in.n; /* less than a request: whoever does not take his answers is not read from */
	ssize_t n;

	if (kept > 0)
		memcpy(a->input, c->in.p, kept);
	n = recv(c->fd, a->input + kept, sizeof a->input - kept, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(c);
		return;
	}
	serve(c, span_make(a->input, kept + (size_t)n));
}

static void
on_writable(struct client *c)
{
	if (!send_some(c, buf_span(&c->out), &c->sent)) {
		client_close(c);
		return;
	}
	if (c->sent < c->out.n)
		return;
	buf_free(&c->out);
	watch(c, EV_READ);
	serve(c, buf_span(&c->in));
}

static void
on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;

	(void)fd;
	look(c->ask);
	if ((what & EV_WRITE) != 0)
		on_writable(c);
	else
		on_readable(c);
}

static void
on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;
	uint64_t times;

	(void)what;
	(void)!read(fd, &times, sizeof times);
	look(a);
	end_turn(a);
	while (a->first != NULL && a->ms - a->first->since >= a->setup->conf->ask_idle)
		client_close(a->first);
	arm(a);
}

/* ---- connections ---- */

static void
client_new(struct ask *a, int fd)
{
	struct client *c = xcalloc(1, sizeof *c);
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* of no use for a socket in the file system, and no harm */
	c->ask = a;
	c->fd = fd;
	buf_init(&c->in, INPUT_MAX);
	buf_init(&c->out, OUTPUT_MAX + ANSWER_MAX);
	list_add(a, c);
	atomic_store_explicit(&a->connections, ++a->nclients, memory_order_relaxed);
	event_assign(&c->ev, a->base, fd, EV_READ | EV_PERSIST, on_client, c);
	event_add(&c->ev, NULL);
	if (a->first == c)
		arm(a);
}

static void
listen_on(struct ask *a, bool yes)
{
	for (size_t i = 0; i < a->ninlets; i++)
		if (yes)
			event_add(&a->inlet[i].ev, NULL);
		else
			event_del(&a->inlet[i].ev);
}

static void
on_pause_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	listen_on(arg, true);
}

/* No descriptor is left: whoever is idle gives his, or nobody is taken for a while. */
static bool
make_room(struct ask *a, int error)
{
	static struct log_rate rate;
	struct timeval tv = { ACCEPT_PAUSE_MS / 1000, 0 };

	log_rated(&rate, "cannot take connections for lookups: %s", strerror(error));
	end_turn(a);
	if (a->first != NULL) {
		client_close(a->first);
		return true;
	}
	listen_on(a, false);
	evtimer_add(&a->pause, &tv);
	return false;
}

/* Mail comes first: libmilter closes nothing to make room, and a message that waits for a descriptor waits for ask_idle. */
static unsigned
clients_max(const struct ask *a)
{
	unsigned most = a->setup->conf->ask_connections;
	struct rlimit limit;
	rlim_t mail;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return most;
	mail = limit.rlim_cur / 4 < MAIL_DESCRIPTORS ? limit.rlim_cur / 4 : MAIL_DESCRIPTORS;
	return most < limit.rlim_cur - mail ? most : (unsigned)(limit.rlim_cur - mail);
}

static bool
accept_one(struct inlet *in)
{
	struct ask *a = in->ask;
	size_t most;
	int fd = accept4(in->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd == -1 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
		return make_room(a, errno);
	if (fd == -1)
		return errno != EAGAIN; /* else that one connection is broken already */
	most = clients_max(a);
	if (a->nclients >= most)
		end_turn(a);
	while (a->first != NULL && a->nclients >= most)
		client_close(a->first);
	client_new(a, fd);
	return true;
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct inlet *in = arg;

	(void)fd, (void)what;
	look(in->ask);
	for (int i = 0; i < ACCEPT_TURN && accept_one(in); i++)
		;
}

/* ---- start and end ---- */

static bool
inlet_open(struct ask *a, const struct address *at, unsigned mode, const char **what)
{
	const char *path = address_path(at);
	struct buf name = BUF(1024);
	struct address bound;
	int fd = path != NULL ? bind_path(at, mode, BACKLOG, what) : bind_network(at, false, what);

	if (fd == -1)
		return false;
	*what = "listen";
	if ((path == NULL && listen(fd, BACKLOG) != 0) || !address_of(fd, &bound)) {
		int error = errno;

		close(fd);
		errno = error;
		return false;
	}
	if (path != NULL && geteuid() == 0)
		bind_give_away(path);
	a->inlet[a->ninlets++] = (struct inlet){ .ask = a, .path = path != NULL ? xstrdup(path) : NULL, .fd = fd };
	address_add(&name, &bound);
	log_info("listening for lookups on %s", buf_cstr(&name));
	buf_free(&name);
	return true;
}

static bool
inlets_open(struct ask *a, const char *text, unsigned mode, struct buf *why)
{
	const char *what = "";
	int error;
	size_t before = a->ninlets, n = 0;
	struct address *found = address_find(text, &n, why);

	for (size_t i = 0; i < n && why->n == 0; i++) {
		if (a->ninlets == LISTENERS_MAX)
			buf_addf(why, "cannot listen on %s: more than %d addresses", text, LISTENERS_MAX);
		else if (!inlet_open(a, &found[i], mode, &what) && !bind_optional(error = errno, n)) {
			buf_addf(why, "cannot listen on %s: ", text);
			bind_why(why, address_path(&found[i]), what, error);
		}
	}
	free(found);
	if (why->n == 0 && a->ninlets == before)
		buf_addf(why, "cannot listen on %s: no such address here", text);
	return why->n == 0;
}

static void
inlets_close(struct ask *a)
{
	for (size_t i = 0; i < a->ninlets; i++) {
		struct inlet *in = &a->inlet[i];

		/*
		 * When we may: if it stays, the next one sees that it is stale.  Before
		 * nobody listens there: from then on the name may be the next one's.
		 */
		if (in->path != NULL)
			unlink(in->path);
		close(in->fd);
		free(in->path);
	}
	a->ninlets = 0;
}

struct ask *
ask_open(const struct conf *c, struct buf *why)
{
	struct ask *a = xcalloc(1, sizeof *a);
	struct buf fault = BUF(4096);
	unsigned mode = 0;

	conf_octal(span_of(c->socket_mode), &mode);
	buf_init(&a->room, ANSWER_REQUEST_MAX);
	buf_init(&a->text, REASON_MAX);
	buf_init(&a->output, 2 * (OUTPUT_MAX + ANSWER_MAX));
	for (size_t i = 0; i < c->ask_listen.n; i++)
		if (!inlets_open(a, c->ask_listen.item[i], mode, &fault)) {
			conf_blame_item(c, "ask_listen", &c->ask_listen, i, why);
			buf_add(why, buf_span(&fault));
			buf_free(&fault);
			inlets_close(a);
			free(a);
			return NULL;
		}
	return a;
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;

	(void)fd, (void)what;
	a->ended = true;
}

static void *
run(void *arg)
{
	struct ask *a = arg;

	pthread_setname_np(pthread_self(), "ask");
	while (!a->ended && event_base_loop(a->base, EVLOOP_ONCE) == 0)
		end_turn(a);
	store_view_end(a->store, &a->view);
	return NULL;
}

void
ask_start(struct ask *a, struct setup_slot *slot, struct store *store)
{
	struct event_config *how;

	if (a == NULL)
		return;
	a->slot = slot;
	a->store = store;
	take_setup(a);
	how = event_config_new();
	event_config_set_flag(how, EVENT_BASE_FLAG_NOLOCK);
	if ((a->base = event_base_new_with_config(how)) == NULL || (a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1 ||
	    (a->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) == -1)
		fatal("cannot answer lookups: no event loop");
	event_config_free(how);
	event_assign(&a->woken, a->base, a->wake, EV_READ, on_wake, a);
	event_add(&a->woken, NULL);
	event_assign(&a->idle, a->base, a->clock, EV_READ | EV_PERSIST, on_idle, a);
	event_add(&a->idle, NULL);
	evtimer_assign(&a->pause, a->base, on_pause_end, a);
	for (size_t i = 0; i < a->ninlets; i++)
		event_assign(&a->inlet[i].ev, a->base, a->inlet[i].fd, EV_READ | EV_PERSIST, on_accept, &a->inlet[i]);
	listen_on(a, true);
	if (pthread_create(&a->thread, NULL, run, a) != 0)
		fatal("cannot start a thread");
}

void
ask_stop(struct ask *a)
{
	const uint64_t one = 1;

	if (a == NULL)
		return;
	(void)!write(a->wake, &one, sizeof one);
	pthread_join(a->thread, NULL);
	while (a->first != NULL)
		client_close(a->first);
	listen_on(a, false);
	inlets_close(a);
	event_base_free(a->base);
	close(a->wake);
	close(a->clock);
	setup_put(a->setup);
	a->setup = NULL;
	free(a->id);
	buf_free(&a->room);
	buf_free(&a->text);
	buf_free(&a->output);
}

void
ask_stats(const struct ask *a, struct ask_stats *s)
{
	*s = (struct ask_stats){
		.lookups = a->lookups,
		.routed = a->routed,
		.stopped = a->stopped,
		.unread = a->unread,
		.malformed = a->malformed,
		.connections = a->connections,
	};
}
