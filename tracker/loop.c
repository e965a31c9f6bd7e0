/* loop.c -- N event loops, each with its own listeners on the same addresses. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ip.h"
#include "common/log.h"
#include "common/mem.h"
#include "tracker/conn.h"
#include "tracker/tls.h"

#define GATHER_MAX 1024   /* touches */
#define GATHER_MS 2
#define ACCEPT_TURN 64 /* connections taken before others get a turn */
#define BUSY_WITHIN_MS 10
#define BUSY_EACH_MS 2   /* connections */
#define REST_BELOW 16    /* connections in one turn */
#define REST_US 100

/* ---- time ---- */

void
loop_tick(struct loop *l)
{
	if (l->ticked)
		return;
	l->ticked = true;
	l->now = clock_ms();
	l->wall = clock_read(CLOCK_REALTIME);
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
		l->over = true;
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
close_oldest(struct loop *l, enum state state)
{
	if (l->queue[state].first == NULL)
		return false;
	conn_close(l->queue[state].first);
	return true;
}

/* Idle, or through with its last answer: nobody misses it. */
static bool
close_oldest_idle(struct loop *l)
{
	return close_oldest(l, STATE_IDLE) || close_oldest(l, STATE_LINGER);
}

/*
 * Who has not got as far as a handshake is as idle as one can be, but a good
 * client is through with that in a moment.  And nearly all requests come in
 * one piece: a byte must not buy a place for longer than none.
 */
static bool
close_oldest_unheard(struct loop *l)
{
	return close_oldest(l, STATE_SHAKING) || close_oldest(l, STATE_READING);
}

static void
peer_of(struct peer *p, const struct sockaddr_storage *from)
{
	*p = PEER_LOCAL;
	if (from->ss_family == AF_INET6)
		memcpy(p->b, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	else if (from->ss_family == AF_INET)
		ip_from_v4(p->b, &((const struct sockaddr_in *)from)->sin_addr);
}

/* Too many connections, and none of ours is idle: somebody goes without an answer. */
static void
tell_full(struct loop *l)
{
	static struct log_rate rate;

	log_rated(&rate, "max_connections reached; clients are turned away");
	count(&l->counters.turned_away);
}

static void
turn_away(struct loop *l, int fd, enum listen_kind kind)
{
	static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n"
	    "Connection: close\r\n\r\n";

	if (kind != LISTEN_HTTPS) /* who could not read it before a handshake */
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

	if (close_oldest_idle(l) || close_oldest_unheard(l))
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
	unsigned max = in->kind == LISTEN_ADMIN ? UINT_MAX : l->setup->conf->max_connections;

	/* More than one may have to go: the administrator counts, and max may be less than it was. */
	while (!server_enter(l->server, max)) {
		if (close_oldest_idle(l))
			continue;
		tell_full(l);
		if (!close_oldest_unheard(l)) {
			turn_away(l, fd, in->kind);
			return true;
		}
	}
	peer_of(&peer, &from);
	conn_open(l, fd, &peer, in->kind);
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
loop_deed(struct loop *l, struct task *t)
{
	t->deed.next = NULL;
	if (l->deed == NULL) {
		l->deed = t;
		l->deed_since = l->now;
	} else
		l->last_deed->deed.next = &t->deed;
	l->last_deed = t;
	l->ntouches += t->deed.n;
}

/*
 * While one half of the clients was answered, the other half has sent its next
 * requests: as long as a look without waiting finds some, more touches can
 * share the flush.
 */
static bool
gathers(const struct loop *l)
{
	return l->deed != NULL && l->ticked && !l->over && l->ntouches < GATHER_MAX && l->now - l->deed_since < GATHER_MS;
}

/* Leaves what was gathered for this loop. */
static void
leave(struct loop *l)
{
	bool first;

	pthread_mutex_lock(&l->lock);
	first = l->done == NULL;
	if (first)
		l->done = l->gathered;
	else
		l->last_done->next = l->gathered;
	l->last_done = l->last_gathered;
	pthread_mutex_unlock(&l->lock);
	l->gathered = NULL;
	if (first)
		wake(l);
}

/* On the writer's thread, after the last deed of a flush, whosoever it is. */
static void
tell_loops(void *server)
{
	struct server *s = server;

	for (size_t i = 0; i < s->n; i++)
		if (s->loop[i]->gathered != NULL)
			leave(s->loop[i]);
}

void
loop_done(struct loop *l, struct task *t, bool last)
{
	t->next = NULL;
	if (l->gathered == NULL)
		l->gathered = t;
	else
		l->last_gathered->next = t;
	l->last_gathered = t;
	if (last)
		tell_loops(l->server);
}

static void
hand_over(struct loop *l)
{
	struct task *t, *next;
	size_t n;

	/* Who is answered at once, since it cannot be recorded, may have sent the next request already. */
	while ((t = l->deed) != NULL) {
		n = l->ntouches;
		l->deed = NULL;
		l->ntouches = 0;
		if (writer_add_list(l->writer, &t->deed, &l->last_deed->deed, n))
			return;
		basket_refused();
		for (; t != NULL; t = next) {
			next = (struct task *)t->deed.next;
			conn_unrecorded(t);
		}
		loop_reap(l);
	}
}

static struct task *
take_done(struct loop *l)
{
	struct task *t;

	pthread_mutex_lock(&l->lock);
	t = l->done;
	l->done = NULL;
	pthread_mutex_unlock(&l->lock);
	return t;
}

static struct ssl_ctx_st *
current_tls(struct server *s)
{
	struct ssl_ctx_st *tls;

	pthread_mutex_lock(&s->lock);
	tls = tls_get(s->tls);
	pthread_mutex_unlock(&s->lock);
	return tls;
}

/* Connections that wait to be accepted would be reset: take them first.  Those at systemd's sockets wait for the next one. */
static void
close_listeners(struct loop *l)
{
	struct listeners *all = &l->server->listeners;

	for (size_t i = 0; i < all->n && !l->server->handed_over; i++)
		for (size_t k = 0; k < all->at[i].n && !all->at[i].given; k++) {
			struct inlet in = { .loop = l, .fd = all->at[i].fd[k], .kind = all->at[i].kind };

			for (int taken = 0; taken < LISTEN_BACKLOG && accept_one(&in); taken++)
				;
		}
	listen_close(all, l->server->handed_over);
}

static void
begin_drain(struct loop *l)
{
	int64_t within = DRAIN_MS;

	l->draining = true;
	inlets_watch(l, false);
	for (size_t i = 0; i < l->ninlets; i++)
		l->inlet[i].fd = -1;
	if (atomic_fetch_sub(&l->server->listening, 1) == 1)
		close_listeners(l);
	evtimer_del(&l->pause);
	if (l->server->handed_over && l->setup->conf->request_within > within)
		within = l->setup->conf->request_within;
	/* Elsewhere a request that crosses our goodbye would be refused anyway; here it would have been answered. */
	if (!l->server->handed_over)
		close_all(l, STATE_IDLE);
	l->drain_until = l->now + within;
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
		tls_put(l->tls);
		l->tls = current_tls(l->server);
		proxies_free(&l->proxies);
		proxies_init(&l->proxies, l->setup->conf);
	}
	if (!l->draining && atomic_load(&l->stop))
		begin_drain(l);
	loop_reap(l);
}

/* ---- start and stop ---- */

static size_t
processors(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : (size_t)n;
}

struct server *
server_bind(const struct conf *conf, struct inherited *from, struct buf *why)
{
	struct server *s = xcalloc(1, sizeof *s);

	s->n = conf->threads > 0 ? conf->threads : processors();
	if (s->n > LOOPS_MAX)
		s->n = LOOPS_MAX;
	pthread_mutex_init(&s->lock, NULL);
	if (listen_open(&s->listeners, conf, s->n, from, why))
		return s;
	server_free(s);
	return NULL;
}

void
server_tls(struct server *s, struct ssl_ctx_st *tls)
{
	pthread_mutex_lock(&s->lock);
	tls_put(s->tls);
	s->tls = tls;
	pthread_mutex_unlock(&s->lock);
}

const struct listeners *
server_listeners(const struct server *s)
{
	return &s->listeners;
}

bool
server_wants_tls(const struct server *s)
{
	for (size_t i = 0; i < s->listeners.n; i++)
		if (s->listeners.at[i].kind == LISTEN_HTTPS)
			return true;
	return false;
}

/*
 * To fall asleep and be woken costs half as much as all that a new connection
 * takes, and so does each flush.  When many connect, and a look found only a
 * few of them, the next look comes a moment later, finds more, and more of
 * their touches share the flush.  Requests on open connections do not count:
 * those who wait for our answer before they ask again would not be more.
 */
static void
rest(struct loop *l)
{
	static const struct timespec moment = { 0, REST_US * 1000L };
	uint64_t accepted = atomic_load_explicit(&l->counters.accepted, memory_order_relaxed), turn = accepted - l->accepted_turn;
	int64_t past = l->now - l->busy_since;

	l->accepted_turn = accepted;
	if (past >= BUSY_WITHIN_MS) {
		l->busy = (int64_t)(accepted - l->accepted) >= BUSY_EACH_MS * past;
		l->accepted = accepted;
		l->busy_since = l->now;
	}
	if (l->busy && turn > 0 && turn < REST_BELOW)
		nanosleep(&moment, NULL);
}

static void *
run_loop(void *arg)
{
	struct loop *l = arg;

	loop_tick(l);
	while (!l->over) {
		rest(l);
		l->ticked = false;
		event_base_loop(l->base, l->deed == NULL ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
		if (!gathers(l))
			hand_over(l);
	}
	baskets_give(&l->baskets);
	return NULL;
}

/*
 * What every connection inherits.  A client of HTTP speaks first, so the
 * kernel may keep a connection to itself until there is something to read (or
 * a second has passed): then most of them are answered when they are
 * accepted.  Fails for Unix sockets, which need neither.
 */
static void
tune(int fd, bool admin)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (!admin)
		setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof one);
}

static void
add_inlets(struct loop *l, size_t index)
{
	struct server *s = l->server;
	int fd[LOOPS_MAX];
	size_t most = 0;

	for (size_t i = 0; i < s->listeners.n; i++)
		most += listen_share(&s->listeners.at[i], index, s->n, fd);
	l->inlet = xcalloc(most + 1, sizeof *l->inlet);
	for (size_t i = 0; i < s->listeners.n; i++) {
		size_t n = listen_share(&s->listeners.at[i], index, s->n, fd);

		for (size_t k = 0; k < n; k++) {
			struct inlet *in = &l->inlet[l->ninlets++];

			*in = (struct inlet){ .loop = l, .fd = fd[k], .kind = s->listeners.at[i].kind };
			tune(in->fd, in->kind == LISTEN_ADMIN);
			event_assign(&in->ev, l->base, in->fd, EV_READ | EV_PERSIST, on_accept, in);
		}
	}
	inlets_watch(l, true);
}

static struct loop *
loop_new(struct server *s, size_t index)
{
	struct loop *l = xcalloc(1, sizeof *l);
	struct event_config *how = event_config_new();
	uint64_t key;

	l->server = s;
	l->setup = setup_get(s->slot);
	l->tls = current_tls(s);
	proxies_init(&l->proxies, l->setup->conf);
	l->store = s->store;
	l->writer = s->writer;
	if (getrandom(&key, sizeof key, 0) != sizeof key)
		fatal("no random numbers: %s", strerror(errno));
	budget_init(&l->guesses, key, GUESSES_SETS);
	budget_init(&l->repeats, key, REPEATS_SETS);
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
	baskets_init(&l->baskets, l->base, s->writer, &l->counters.unrecorded, tell_loops, s);
	add_inlets(l, index);
	return l;
}

static void
loop_free(struct loop *l)
{
	struct task *t, *next;

	baskets_free(&l->baskets);
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
	tls_put(l->tls);
	proxies_free(&l->proxies);
	budget_free(&l->guesses);
	budget_free(&l->repeats);
	pthread_mutex_destroy(&l->lock);
	free(l->inlet);
	free(l);
}

void
server_start(struct server *s, struct setup_slot *slot, struct store *store, struct writer *writer)
{
	struct setup *first;
	char name[16];

	s->slot = slot;
	s->store = store;
	s->writer = writer;
	atomic_store(&s->listening, (unsigned)s->n);
	first = setup_get(slot);
	s->accesslog = accesslog_start(first->conf);
	setup_put(first);
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
server_reopen(struct server *s)
{
	struct setup *now = setup_get(s->slot);

	accesslog_reopen(s->accesslog, now->conf);
	setup_put(now);
}

void
server_stop(struct server *s, bool handed_over)
{
	s->handed_over = handed_over;
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
	accesslog_stop(s->accesslog);
	if (s->running) {
		for (size_t i = 0; i < s->n; i++)
			loop_free(s->loop[i]);
	} else
		listen_close(&s->listeners, false);
	tls_put(s->tls);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
