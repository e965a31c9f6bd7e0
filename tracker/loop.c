/* loop.c -- N event loops, each with its own listeners on the same addresses. */
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "tracker/conn.h"

#define BACKLOG 4096
#define ACCEPT_TURN 64   /* connections taken before others get a turn */
#define LISTENERS_MAX 64

/* One address, listened on by every loop (http) or by the first one (admin). */
struct listener {
	int fd[LOOPS_MAX];
	size_t n;
	bool admin;
};

struct server {
	struct loop *loop[LOOPS_MAX];
	size_t n;
	bool running;
	struct listener listener[LISTENERS_MAX];
	size_t nlisteners;
	_Atomic unsigned connections;
	struct setup_slot *slot;
	struct store *store;
	struct writer *writer;
};

/* ---- time ---- */

static int64_t
clock_ms(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
loop_tick(struct loop *l)
{
	l->now = clock_ms(CLOCK_MONOTONIC);
	l->wall = clock_ms(CLOCK_REALTIME);
}

const char *
loop_date(struct loop *l)
{
	int64_t second = l->wall / 1000;

	if (second != l->date_of) {
		http_date(l->date, second);
		l->date_of = second;
	}
	return l->date;
}

/*
 * All connections in one state have the same time limit, so each queue is in
 * order of deadlines by itself and one timer serves everybody: to start or
 * stop a limit costs two pointers.  (After a reload with a shorter limit the
 * older ones still have theirs.)
 */
static void
arm(struct loop *l, int64_t when)
{
	int64_t left = when > l->now ? when - l->now : 0;
	struct timeval tv = { left / 1000, left % 1000 * 1000 };

	if (l->armed != 0 && l->armed <= when)
		return;
	l->armed = when;
	evtimer_add(&l->timer, &tv);
}

static void
unlink_conn(struct loop *l, struct conn *c)
{
	struct queue *q = &l->queue[c->state];

	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		q->first = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	else
		q->last = c->prev;
}

void
loop_enter(struct loop *l, struct conn *c, enum state state, int64_t within_ms)
{
	struct queue *q = &l->queue[state];

	if (c->state != STATE_CLOSED)
		unlink_conn(l, c);
	c->state = (uint8_t)state;
	c->deadline = l->now + within_ms;
	c->next = NULL;
	c->prev = q->last;
	if (q->last != NULL)
		q->last->next = c;
	else
		q->first = c;
	q->last = c;
	if (q->first == c)
		arm(l, c->deadline);
}

void
loop_drop(struct loop *l, struct conn *c)
{
	unlink_conn(l, c);
	c->state = STATE_CLOSED;
	c->next = l->closed;
	l->closed = c;
	l->nconns--;
}

static void
close_all(struct loop *l, enum state state)
{
	while (l->queue[state].first != NULL)
		conn_close(l->queue[state].first);
}

static void
end_if_drained(struct loop *l)
{
	if (!l->draining)
		return;
	if (l->now >= l->drain_until)
		for (unsigned s = 0; s < STATES; s++)
			close_all(l, (enum state)s);
	if (l->nconns == 0)
		event_base_loopbreak(l->base);
}

void
loop_reap(struct loop *l)
{
	struct conn *c;

	end_if_drained(l);
	while ((c = l->closed) != NULL) {
		l->closed = c->next;
		free(c);
	}
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;

	(void)fd;
	(void)what;
	loop_tick(l);
	l->armed = 0;
	for (unsigned s = 0; s < STATES; s++)
		while (l->queue[s].first != NULL && l->queue[s].first->deadline <= l->now)
			conn_expire(l->queue[s].first);
	for (unsigned s = 0; s < STATES; s++)
		if (l->queue[s].first != NULL)
			arm(l, l->queue[s].first->deadline);
	if (l->draining)
		arm(l, l->drain_until);
	loop_reap(l);
}

/* ---- connections ---- */

bool
server_enter(struct server *s, unsigned max)
{
	if (atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) < max)
		return true;
	server_leave(s);
	return false;
}

void
server_leave(struct server *s)
{
	atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
}

static bool
close_oldest_idle(struct loop *l)
{
	struct conn *c = l->queue[STATE_IDLE].first;

	if (c == NULL)
		return false;
	conn_close(c);
	return true;
}

static void
peer_of(struct peer *p, const struct sockaddr_storage *from)
{
	*p = (struct peer){ .b = { [10] = 0xff, [11] = 0xff } };
	if (from->ss_family == AF_INET6)
		memcpy(p->b, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	else if (from->ss_family == AF_INET)
		memcpy(p->b + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
}

/* Too many connections, and none of ours is idle. */
static void
turn_away(struct loop *l, int fd)
{
	static struct log_rate rate;
	static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n"
	    "Connection: close\r\n\r\n";

	log_rated(&rate, "max_connections reached; clients are turned away");
	count(&l->counters.turned_away);
	(void)!send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	/* Closing over unread input would throw the answer away. */
	shutdown(fd, SHUT_WR);
	(void)!recv(fd, l->input, sizeof l->input, MSG_DONTWAIT);
	close(fd);
}

static void
inlets_watch(struct loop *l, bool on)
{
	for (size_t i = 0; i < l->ninlets; i++) {
		struct inlet *in = &l->inlet[i];

		if (in->fd == -1 || in->on == on)
			continue;
		if (on)
			event_add(&in->ev, NULL);
		else
			event_del(&in->ev);
		in->on = on;
	}
}

static void
on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	inlets_watch(arg, true);
}

/* No descriptors or memory: make room, or stop listening for a moment, since the listener would stay ready. */
static bool
make_room(struct loop *l, int error)
{
	static struct log_rate rate;
	struct timeval tv = { 0, ACCEPT_PAUSE_MS * 1000 };

	if (close_oldest_idle(l))
		return true;
	log_rated(&rate, "cannot take connections: %s", strerror(error));
	inlets_watch(l, false);
	evtimer_add(&l->pause, &tv);
	return false;
}

static bool
accept_one(struct inlet *in)
{
	struct loop *l = in->loop;
	struct sockaddr_storage from;
	socklen_t n = sizeof from;
	struct peer peer;
	int fd;

	if ((fd = accept4(in->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)) == -1) {
		switch (errno) {
		case EAGAIN:
			return false;
		case EMFILE:
		case ENFILE:
		case ENOBUFS:
		case ENOMEM:
			return make_room(l, errno);
		default: /* that one connection is broken already */
			return true;
		}
	}
	count(&l->counters.accepted);

	/* Strangers who take all places must not blind the administrator. */
	unsigned max = in->admin ? UINT_MAX : l->setup->conf->max_connections;

	if (!server_enter(l->server, max) && !(close_oldest_idle(l) && server_enter(l->server, max))) {
		turn_away(l, fd);
		return true;
	}
	peer_of(&peer, &from);
	conn_open(l, fd, &peer, in->admin);
	return true;
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct inlet *in = arg;

	(void)fd;
	(void)what;
	loop_tick(in->loop);
	for (int i = 0; i < ACCEPT_TURN && accept_one(in); i++)
		;
	loop_reap(in->loop);
}

/* ---- word from other threads ---- */

static void
wake(struct loop *l)
{
	const uint64_t one = 1;

	(void)!write(l->wake, &one, sizeof one); /* full: it is awake */
}

void
loop_done(struct loop *l, struct task *t)
{
	bool first;

	t->next = NULL;
	pthread_mutex_lock(&l->lock);
	first = l->done == NULL;
	*l->done_end = t;
	l->done_end = &t->next;
	pthread_mutex_unlock(&l->lock);
	if (first)
		wake(l);
}

static struct task *
take_done(struct loop *l)
{
	struct task *t;

	pthread_mutex_lock(&l->lock);
	t = l->done;
	l->done = NULL;
	l->done_end = &l->done;
	pthread_mutex_unlock(&l->lock);
	return t;
}

/* Connections that wait to be accepted would be reset: take them first. */
static void
begin_drain(struct loop *l)
{
	l->draining = true;
	l->drain_until = l->now + DRAIN_MS;
	evtimer_del(&l->pause);
	for (size_t i = 0; i < l->ninlets; i++) {
		struct inlet *in = &l->inlet[i];

		for (int k = 0; k < BACKLOG && accept_one(in); k++)
			;
		if (in->on)
			event_del(&in->ev);
		evtimer_del(&l->pause);
		in->on = false;
		close(in->fd);
		in->fd = -1;
	}
	close_all(l, STATE_IDLE);
	arm(l, l->drain_until);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct task *t, *next;
	uint64_t n;

	(void)what;
	(void)!read(fd, &n, sizeof n);
	loop_tick(l);
	for (t = take_done(l); t != NULL; t = next) {
		next = t->next;
		conn_recorded(t);
	}
	if (atomic_exchange(&l->reload, false)) {
		setup_put(l->setup);
		l->setup = setup_get(l->server->slot);
	}
	if (!l->draining && atomic_load(&l->stop))
		begin_drain(l);
	loop_reap(l);
}

/* ---- listeners ---- */

static int
open_socket(const struct addrinfo *ai, const struct sockaddr *to, bool shared, const char **what)
{
	int one = 1, fd;

	*what = "socket";
	if ((fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	*what = "bind";
	if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == -1)
		goto fail;
	if (bind(fd, to, ai->ai_addrlen) == -1)
		goto fail;
	return fd;
fail:
	one = errno;
	close(fd);
	errno = one;
	return -1;
}

/*
 * Every loop has a socket of its own, and the kernel spreads connections over
 * them.  The first bind is made alone: with SO_REUSEPORT a second tracker
 * started by mistake would quietly get half of the hits.
 */
static bool
listen_on(struct server *s, const struct addrinfo *ai, bool admin, const char **what)
{
	struct listener *l = &s->listener[s->nlisteners];
	struct sockaddr_storage name;
	socklen_t n = sizeof name;
	size_t wanted = admin ? 1 : s->n;
	int fd;

	memcpy(&name, ai->ai_addr, ai->ai_addrlen);
	l->admin = admin;
	l->n = 0;
	if ((fd = open_socket(ai, ai->ai_addr, false, what)) == -1)
		return false;
	if (wanted > 1) {
		if (getsockname(fd, (struct sockaddr *)&name, &n) == -1) {
			close(fd);
			return false;
		}
		close(fd);
	} else
		l->fd[l->n++] = fd;
	while (l->n < wanted && (fd = open_socket(ai, (struct sockaddr *)&name, true, what)) != -1)
		l->fd[l->n++] = fd;
	*what = "listen";
	for (size_t i = 0; fd != -1 && i < l->n; i++)
		if (listen(l->fd[i], BACKLOG) == -1)
			fd = -1;
	if (fd != -1) {
		s->nlisteners++;
		return true;
	}
	for (size_t i = 0; i < l->n; i++)
		close(l->fd[i]);
	return false;
}

static void
log_listener(const struct listener *l)
{
	struct sockaddr_storage name;
	socklen_t n = sizeof name;
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(l->fd[0], (struct sockaddr *)&name, &n) == -1 ||
	    getnameinfo((struct sockaddr *)&name, n, host, sizeof host, port, sizeof port,
		NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	log_info(name.ss_family == AF_INET6 ? "listening on %s [%s]:%s" : "listening on %s %s:%s",
	    l->admin ? "admin" : "http", host, port);
}

static bool
bind_address(struct server *s, const char *text, bool admin, struct buf *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *all;
	char port[8], host[256];
	struct span name;
	uint16_t number;
	const char *what;
	size_t before = s->nlisteners;
	int rc;

	if (!conf_host_port(span_of(text), &name, &number) || name.n >= sizeof host) {
		buf_addf(why, "cannot listen on %s: not HOST:PORT", text);
		return false;
	}
	snprintf(host, sizeof host, "%.*s", SPAN_ARG(name));
	snprintf(port, sizeof port, "%u", number);
	if ((rc = getaddrinfo(name.n ? host : NULL, port, &hints, &all)) != 0) {
		buf_addf(why, "cannot listen on %s: %s", text, gai_strerror(rc));
		return false;
	}
	for (const struct addrinfo *ai = all; ai != NULL && !why->n; ai = ai->ai_next) {
		if (s->nlisteners == LISTENERS_MAX)
			buf_addf(why, "cannot listen on %s: more than %d addresses", text, LISTENERS_MAX);
		else if (listen_on(s, ai, admin, &what))
			log_listener(&s->listener[s->nlisteners - 1]);
		else if (errno != EAFNOSUPPORT && !(errno == EADDRNOTAVAIL && all->ai_next != NULL))
			/* A machine without IPv6, or a name that has more addresses than this machine, is fine. */
			buf_addf(why, "cannot listen on %s: %s: %s", text, what, strerror(errno));
	}
	freeaddrinfo(all);
	if (why->n == 0 && s->nlisteners == before)
		buf_addf(why, "cannot listen on %s: no such address here", text);
	return why->n == 0;
}

static size_t
processors(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : (size_t)n;
}

struct server *
server_bind(const struct conf *conf, struct buf *why)
{
	struct server *s = xcalloc(1, sizeof *s);

	s->n = conf->threads > 0 ? conf->threads : processors();
	if (s->n > LOOPS_MAX)
		s->n = LOOPS_MAX;
	for (size_t i = 0; i < conf->http_listen.n; i++)
		if (!bind_address(s, conf->http_listen.item[i], false, why))
			goto fail;
	for (size_t i = 0; i < conf->admin_listen.n; i++)
		if (!bind_address(s, conf->admin_listen.item[i], true, why))
			goto fail;
	return s;

fail:
	server_free(s);
	return NULL;
}

/* ---- start and stop ---- */

static void *
run_loop(void *arg)
{
	struct loop *l = arg;

	loop_tick(l);
	event_base_dispatch(l->base);
	return NULL;
}

static void
add_inlets(struct loop *l, size_t index)
{
	struct server *s = l->server;

	l->inlet = xcalloc(s->nlisteners + 1, sizeof *l->inlet);
	for (size_t i = 0; i < s->nlisteners; i++) {
		struct inlet *in = &l->inlet[l->ninlets];

		if (index >= s->listener[i].n)
			continue;
		*in = (struct inlet){ .loop = l, .fd = s->listener[i].fd[index], .admin = s->listener[i].admin };
		event_assign(&in->ev, l->base, in->fd, EV_READ | EV_PERSIST, on_accept, in);
		l->ninlets++;
	}
	inlets_watch(l, true);
}

static struct loop *
loop_new(struct server *s, size_t index)
{
	struct loop *l = xcalloc(1, sizeof *l);
	struct event_config *how = event_config_new();

	l->server = s;
	l->setup = setup_get(s->slot);
	l->store = s->store;
	l->writer = s->writer;
	l->done_end = &l->done;
	l->date_of = -1;
	pthread_mutex_init(&l->lock, NULL);
	buf_init(&l->out, 256 * 1024);
	if (how == NULL || event_config_set_flag(how, EVENT_BASE_FLAG_NOLOCK) != 0 ||
	    (l->base = event_base_new_with_config(how)) == NULL)
		fatal("cannot make an event loop");
	event_config_free(how);
	if ((l->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) == -1)
		fatal("eventfd: %s", strerror(errno));
	event_assign(&l->wake_ev, l->base, l->wake, EV_READ | EV_PERSIST, on_wake, l);
	event_add(&l->wake_ev, NULL);
	evtimer_assign(&l->timer, l->base, on_timer, l);
	evtimer_assign(&l->pause, l->base, on_pause_over, l);
	add_inlets(l, index);
	return l;
}

static void
loop_free(struct loop *l)
{
	struct task *t, *next;

	for (t = take_done(l); t != NULL; t = next) {
		next = t->next;
		task_free(t);
	}
	for (t = l->spare; t != NULL; t = next) {
		next = t->next;
		task_free(t);
	}
	event_del(&l->wake_ev);
	event_base_free(l->base);
	close(l->wake);
	buf_free(&l->out);
	setup_put(l->setup);
	pthread_mutex_destroy(&l->lock);
	free(l->inlet);
	free(l);
}

void
server_start(struct server *s, struct setup_slot *slot, struct store *store, struct writer *writer)
{
	char name[16];

	s->slot = slot;
	s->store = store;
	s->writer = writer;
	/* All loops first: a page of numbers looks at each of them. */
	for (size_t i = 0; i < s->n; i++)
		s->loop[i] = loop_new(s, i);
	for (size_t i = 0; i < s->n; i++) {
		if (pthread_create(&s->loop[i]->thread, NULL, run_loop, s->loop[i]) != 0)
			fatal("cannot start a thread");
		snprintf(name, sizeof name, "loop %u", (unsigned)i & 0xffff);
		pthread_setname_np(s->loop[i]->thread, name);
	}
	s->running = true;
}

void
server_reload(struct server *s)
{
	for (size_t i = 0; i < s->n; i++) {
		atomic_store(&s->loop[i]->reload, true);
		wake(s->loop[i]);
	}
}

void
server_stop(struct server *s)
{
	for (size_t i = 0; i < s->n; i++) {
		atomic_store(&s->loop[i]->stop, true);
		wake(s->loop[i]);
	}
	for (size_t i = 0; i < s->n; i++)
		pthread_join(s->loop[i]->thread, NULL);
}

void
server_free(struct server *s)
{
	if (s == NULL)
		return;
	if (s->running) {
		for (size_t i = 0; i < s->n; i++)
			loop_free(s->loop[i]);
	} else {
		/* The loops never took these over. */
		for (size_t i = 0; i < s->nlisteners; i++)
			for (size_t k = 0; k < s->listener[i].n; k++)
				close(s->listener[i].fd[k]);
	}
	free(s);
}

/* ---- pages for the administrator ---- */

static void
add_metric(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name, (unsigned long long)value);
}

static void
add_hits(const struct server *s, struct buf *out)
{
	static const char *const kinds[HIT_KINDS] = { [HIT_OPEN] = "open", [HIT_CLICK] = "click" };

	buf_adds(out, "# HELP rekindle_hits_total Hits with a good token, HEAD included.\n"
	    "# TYPE rekindle_hits_total counter\n");
	for (unsigned k = 0; k < HIT_KINDS; k++) {
		for (unsigned v = ROBOT_NONE + 1; kinds[k] != NULL && v <= ROBOT_SUSPECT; v++) {
			uint64_t n = 0;

			for (size_t i = 0; i < s->n; i++)
				n += atomic_load_explicit(&s->loop[i]->counters.hits[k][v], memory_order_relaxed);
			buf_addf(out, "rekindle_hits_total{kind=\"%s\",verdict=\"%s\"} %llu\n", kinds[k],
			    robot_name((enum robot)v), (unsigned long long)n);
		}
	}
}

/* The plain counters, by where they lie in struct counters. */
static const struct {
	size_t at;
	const char *name, *help;
} plain[] = {
#define COUNTER(member, name, help) { offsetof(struct counters, member), "rekindle_" name "_total", help }
	COUNTER(accepted, "connections_accepted", "Connections taken."),
	COUNTER(turned_away, "connections_turned_away", "Connections refused because of max_connections."),
	COUNTER(requests, "requests", "Well-formed requests."),
	COUNTER(malformed, "requests_malformed", "Requests refused unread."),
	COUNTER(timeouts, "requests_timeout", "Requests that took longer than request_within."),
	COUNTER(not_found, "not_found", "Requests for a page or with a token that we do not know."),
	COUNTER(leaves, "unsubscribes", "Unsubscribes recorded."),
	COUNTER(late, "answers_late", "Hits answered before their touch was durable."),
	COUNTER(unrecorded, "hits_unrecorded", "Hits whose touches could not be written."),
	COUNTER(sorry, "unsubscribes_deferred", "Unsubscribes answered with 503."),
#undef COUNTER
};

static void
add_counters(const struct server *s, struct buf *out)
{
	for (size_t p = 0; p < sizeof plain / sizeof *plain; p++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < s->n; i++)
			sum += atomic_load_explicit((_Atomic uint64_t *)((char *)&s->loop[i]->counters + plain[p].at),
			    memory_order_relaxed);
		add_metric(out, plain[p].name, "counter", plain[p].help, sum);
	}
}

static void
add_store(const struct server *s, struct buf *out)
{
	struct store_size facts, state;
	struct writer_stats w;
	uint64_t folded = store_folded(s->store), last = store_last(s->store);

	writer_stats(s->writer, &w);
	store_sizes(s->store, &facts, &state);
	add_metric(out, "rekindle_touches_durable_total", "counter", "Touches on disk.", w.durable);
	add_metric(out, "rekindle_touches_lost_total", "counter", "Touches that could not be written.", w.lost);
	add_metric(out, "rekindle_touches_refused_total", "counter", "Touches refused: too many wait.", w.refused);
	add_metric(out, "rekindle_writer_batches_total", "counter", "Flushes to disk.", w.batches);
	add_metric(out, "rekindle_touches_waiting", "gauge", "Touches on their way to disk.", w.waiting);
	add_metric(out, "rekindle_writer_failing", "gauge", "1 when the last batch could not be written.", w.failing);
	add_metric(out, "rekindle_fold_lag", "gauge", "Touches not yet summed up.", last > folded ? last - folded : 0);
	add_metric(out, "rekindle_facts_used_bytes", "gauge", "Used by facts.", facts.used);
	add_metric(out, "rekindle_facts_limit_bytes", "gauge", "The most that facts may use.", facts.limit);
	add_metric(out, "rekindle_state_used_bytes", "gauge", "Used by state.", state.used);
	add_metric(out, "rekindle_state_limit_bytes", "gauge", "The most that state may use.", state.limit);
}

bool
server_page(struct server *s, struct span path, struct hit *h)
{
	struct writer_stats w;

	if (span_eq(path, SPAN("/readyz"))) {
		writer_stats(s->writer, &w);
		hit_plain(h, w.failing ? 503 : 200,
		    w.failing ? SPAN("touches cannot be written\n") : SPAN("ready\n"));
		return true;
	}
	if (span_eq(path, SPAN("/metrics"))) {
		buf_clear(&h->spare);
		add_hits(s, &h->spare);
		add_counters(s, &h->spare);
		add_metric(&h->spare, "rekindle_connections", "gauge", "Open connections.",
		    atomic_load_explicit(&s->connections, memory_order_relaxed));
		add_store(s, &h->spare);
		hit_plain(h, 200, buf_span(&h->spare));
		return true;
	}
	return false;
}
