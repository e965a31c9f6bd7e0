/* throttle.h -- how much mail may go out now, over all connections of this process: shares, receivers' limits, warm-up. */
#ifndef REKINDLE_THROTTLE_H
#define REKINDLE_THROTTLE_H

#include "common/pace.h"
#include "common/setup.h"
#include "common/store.h"

/*
 * Counted in memory, so that no two connections take the same place, and
 * begun with what the store has of the last day.  From any thread.
 */
struct throttle;
struct throttle *throttle_new(struct store *); /* for the whole life of the process */
/* Takes over what others have sent since: every now and then, from one thread. */
void throttle_sync(struct throttle *, int64_t now);

/* Everything is borrowed. */
struct throttle_question {
	const struct setup *setup;
	const struct stream *stream; /* a transactional one is always let through, and counted nowhere */
	uint64_t stream_id;
	enum engage class;
	uint32_t receiver;   /* group, 0 none */
	uint32_t first;      /* seconds: when the campaign's first message was seen; 0 unknown */
	int64_t now;         /* ms */
	bool look;           /* do not take the place, only ask: it is asked again */
};
/* A place that was taken.  Zeroed: none. */
struct place {
	bool taken;
	enum pace_kind kind;
	uint32_t minute, receiver;
	uint64_t stream;
};
/*
 * True: there is room, and unless it was only asked it is taken: the message
 * counts as sent from now on.  False, with the second from which there may be
 * room again, or 0: CAUSE_THROTTLED.
 */
bool throttle_ask(struct throttle *, const struct throttle_question *, struct place *, uint32_t *until);
/* Takes a place whether there is room or not: for mail that goes out all the same.  Does nothing when there is one already. */
void throttle_take(struct throttle *, const struct throttle_question *, struct place *);
/* Gives the place back, for mail that was not sent after all.  Also fine without one. */
void throttle_undo(struct throttle *, struct place *);

uint64_t throttle_count(struct throttle *); /* how often the answer was no */

#endif
