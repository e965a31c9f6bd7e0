/* ask.h -- Postfix's lookups, answered from the store by a thread of their own: routes and verdicts. */
#ifndef REKINDLE_ASK_H
#define REKINDLE_ASK_H

#include "common/setup.h"
#include "common/store.h"

struct ask;

/* Listens at ask_listen, and logs where.  Before privileges are dropped.  NULL with why. */
struct ask *ask_open(const struct conf *, struct buf *why);
/*
 * Starts the thread; signals must be blocked.  It answers with the slot's
 * settings of the moment, and reads the store alone: a lookup records
 * nothing, since Postfix repeats them and remembers answers.  NULL is fine,
 * here and below.
 */
void ask_start(struct ask *, struct setup_slot *, struct store *);
/* Ends the thread and all connections; from then on nothing uses the store.  Statistics stay. */
void ask_stop(struct ask *);

struct ask_stats {
	uint64_t lookups;
	uint64_t routed, stopped; /* answers that were other than `no opinion' */
	uint64_t unread;          /* the store could not be read */
	uint64_t malformed;       /* clients that were hung up on */
	uint64_t connections;     /* now */
};
void ask_stats(const struct ask *, struct ask_stats *);

#endif
