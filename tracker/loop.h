/* loop.h -- N event loops, each with its own listeners on the same addresses; nothing is shared on the way of a hit. */
#ifndef REKINDLE_LOOP_H
#define REKINDLE_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/setup.h"
#include "common/store.h"
#include "common/writer.h"
#include "tracker/accesslog.h"
#include "tracker/basket.h"
#include "tracker/budget.h"
#include "tracker/hit.h"
#include "tracker/listen.h"
#include "tracker/proxy.h"

#define ACCEPT_PAUSE_MS 100 /* when descriptors or memory are short */
#define DRAIN_MS 5000       /* requests in flight may finish when we stop */

struct server;
struct ssl_ctx_st; /* tls.h */

/* Opens all listeners and logs them; see listen_open.  Before privileges are dropped.  NULL with why. */
struct server *server_bind(const struct conf *, struct inherited *, struct buf *why);
/* To pass them on. */
const struct listeners *server_listeners(const struct server *);
/* Certificates for new connections; takes the reference.  Before server_start, and before server_reload. */
void server_tls(struct server *, struct ssl_ctx_st *);
/* Is there a listener that needs them? */
bool server_wants_tls(const struct server *);
void server_start(struct server *, struct setup_slot *, struct store *, struct writer *);
/* The slot has a new setup. */
void server_reload(struct server *);
/* Log files may have been moved away, or have another name in the slot's setup. */
void server_reopen(struct server *);
/*
 * No new connections; returns when requests in flight are answered, or after
 * DRAIN_MS.  Handed over: another process accepts from the same sockets
 * already, so clients keep their connections for one more request, for
 * request_within.
 */
void server_stop(struct server *, bool handed_over);
/* After writer_stop: the touches on their way belong to the writer until then. */
void server_free(struct server *);

/* ---- what conn.c needs to know of its loop ---- */

/* Where a connection stands; each state has its own time limit, and its own queue in order of deadlines. */
enum state {
	STATE_SHAKING, /* before the first request: PROXY header, TLS handshake; request_within */
	STATE_IDLE,    /* between requests */
	STATE_READING, /* a request has begun */
	STATE_WAITING, /* for its touch to be durable: answer_within */
	STATE_LEAVING, /* for its LEFT to be durable: longer, since a 200 is a promise */
	STATE_WRITING, /* the socket did not take all of an answer */
	STATE_LINGER,  /* answered; waits for the client to hang up, so that it reads the answer first */
	STATES,
	STATE_CLOSED = STATES,
};

struct queue {
	struct conn *first, *last;
};

/* Of one loop; only its thread adds, but for `unrecorded'. */
struct counters {
	_Atomic uint64_t accepted, turned_away, handshakes, handshakes_failed, requests, malformed, timeouts, not_found,
	    forged, guesses, repeats;
	_Atomic uint64_t hits[HIT_KINDS][ROBOT_SUSPECT + 1];
	_Atomic uint64_t leaves, late, unrecorded, sorry;
};

static inline void
count(_Atomic uint64_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

struct inlet {
	struct event ev;
	struct loop *loop;
	int fd;
	enum listen_kind kind;
	bool on;
};

struct loop {
	struct server *server;
	pthread_t thread;
	struct event_base *base;
	struct setup *setup;   /* our own references, replaced between events */
	struct ssl_ctx_st *tls;
	struct proxies proxies;
	struct store *store;
	struct writer *writer;
	int64_t now;           /* monotonic ms, as of this event */
	int64_t wall;          /* ms since 1970 */
	int64_t date_of;       /* the second that date is about */
	char date[HTTP_DATE_BYTES];

	struct queue queue[STATES];
	struct conn *closed;   /* freed when nobody can hold a pointer any more */
	unsigned nconns;
	struct event timer;
	int64_t armed;         /* when the timer will fire; 0: not at all */

	struct inlet *inlet;
	size_t ninlets;
	struct event pause;
	bool draining;
	int64_t drain_until;

	/*
	 * A turn is all that was ready when we looked.  The touches of one or of a
	 * few go to the writer together, and come back together: two wake-ups for
	 * as many hits as there are in them.
	 */
	bool ticked;           /* the clocks have been read in this turn */
	bool over;
	struct task *deed, *last_deed; /* of this turn, linked by deed.next */
	size_t ntouches;               /* in them */
	int64_t deed_since;            /* when the first of them came */
	bool busy;                     /* many connect */
	int64_t busy_since;            /* begin of the time in which they are counted */
	uint64_t accepted, accepted_turn; /* of the counter: then, and when this turn began */
	struct baskets baskets;        /* touches for which nobody waits */

	struct task *spare;    /* ready for use */
	unsigned nspare;
	struct span path;      /* of a page that is asked for, while it is answered */
	struct peer peer;      /* ... and who asks, behind a proxy too */
	struct buf out;        /* the answer that is being written */
	char input[HTTP_INPUT_MAX]; /* most requests are read, answered and forgotten in here */

	/* What other threads leave for us; wake is an eventfd. */
	struct event wake_ev;
	int wake;
	_Atomic bool reload, stop;
	pthread_mutex_t lock;
	struct task *done, *last_done;
	/* The writer's thread only: what it is about to leave. */
	struct task *gathered, *last_gathered;

	struct counters counters;
	struct budget guesses; /* of a network */
	struct budget repeats; /* of a recipient at one link */
	bool tight;            /* facts have room for nothing but what somebody said */
	int64_t looked;        /* when that was seen */
};

/* What all loops share. */
struct server {
	struct loop *loop[LOOPS_MAX];
	size_t n;
	bool running;
	struct listeners listeners;
	_Atomic unsigned listening;  /* loops that still accept; the last one to stop closes the sockets */
	bool handed_over;            /* set before any loop stops */
	_Atomic unsigned connections;
	struct setup_slot *slot;
	struct store *store;
	struct writer *writer;
	pthread_mutex_t lock;
	struct ssl_ctx_st *tls; /* under the lock; NULL: nobody speaks it */
	struct accesslog *accesslog;
};

/* Every callback begins with the one, which reads the clocks once in a turn, and ends with the other, which frees what was dropped. */
void loop_tick(struct loop *);
void loop_reap(struct loop *);
/* Moves to the end of a state's queue; its time limit begins now. */
void loop_enter(struct loop *, struct conn *, enum state, int64_t within_ms);
/* Takes it out of its queue; freed by loop_reap. */
void loop_drop(struct loop *, struct conn *);
const char *loop_date(struct loop *);
/* To the writer, at the end of this turn. */
void loop_deed(struct loop *, struct task *);
/* On the writer's thread: the touches of a task are durable, or lost.  The loops hear of it when `last`. */
void loop_done(struct loop *, struct task *, bool last);

/* One connection more or less, over all loops.  False when there would be more than allowed: not counted then. */
bool server_enter(struct server *, unsigned max);
void server_leave(struct server *);

#endif
