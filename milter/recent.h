/* recent.h -- sends that the sums may not have yet, so that two messages at once do not both find room under one cap. */
#ifndef REKINDLE_RECENT_H
#define REKINDLE_RECENT_H

#include <stddef.h>

#include "common/caps.h"
#include "common/who.h"

/*
 * From the decision to send until the state has the touch, a second or so
 * later, a send is known here alone.  Who decides holds the recipient's lock
 * from looking to reserving, so of many that come at once each sees those
 * before it.  A reservation is kept when the touch was recorded, or dropped
 * when the message does not go out after all.
 *
 * Bounded: when all places are taken, the oldest sends are forgotten.  A send
 * takes 48 bytes while it is here.  All functions from any thread.
 */
struct recents;

#define RECENT_MAX (1024 * 1024)
#define RECENT_FOUND (2 * CAP_COUNT_MAX)

/* With room for about max sends; memory is taken as it is needed. */
struct recents *recents_new(size_t max);
void recents_free(struct recents *); /* NULL is fine */

/*
 * Locks the recipient and returns how many sends are in out: the newest
 * CAP_COUNT_MAX of all streams and of the one with this tag, newest first.
 */
size_t recent_open(struct recents *, const struct who *, uint16_t tag, struct recent out[RECENT_FOUND]);
/* Between recent_open and recent_close.  Never 0. */
uint64_t recent_reserve(struct recents *, const struct who *, struct recent);
void recent_close(struct recents *, const struct who *);

/* The touch is recorded, now (seconds of any clock that does not go back). */
void recent_keep(struct recents *, const struct who *, uint64_t reservation, uint32_t now);
/* It was never sent. */
void recent_drop(struct recents *, const struct who *, uint64_t reservation);

/* The state has all that was kept before this second, of the same clock. */
void recents_settled(struct recents *, uint32_t before);
/* How many places are taken, for tests: those that may go are still counted until somebody needs their place. */
size_t recents_count(struct recents *);

#endif
