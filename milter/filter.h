/* filter.h -- libmilter's callbacks: what is asked of a connection, and what is done to its messages. */
#ifndef REKINDLE_FILTER_H
#define REKINDLE_FILTER_H

#include "common/setup.h"
#include "common/throttle.h"
#include "common/writer.h"
#include "milter/queue.h"
#include "milter/brakes.h"
#include "milter/recent.h"

/* What all sessions share.  libmilter's callbacks get no argument of ours, so there is one. */
struct filter {
	struct setup_slot *slot;
	struct store *store;
	struct writer *writer;
	struct queue *_Atomic queue; /* NULL: this process does not read the mail log, or not yet */
	struct recents *recents;
	struct brakes *brakes;
	struct throttle *throttle;
};

/* Tells libmilter about the callbacks; they look at the filter from smfi_main on.  False when it refuses. */
bool filter_register(const struct filter *);

/*
 * libmilter stops without waiting for its workers.  Waits until none of them
 * uses store or writer any more, at most within_ms; from then on none does:
 * a message that comes too late gets a temporary failure and is sent again.
 * False when one is still at it.
 */
bool filter_drain(int64_t within_ms);

struct filter_stats {
	uint64_t messages;  /* campaign mail that reached its end */
	uint64_t tagged, untouched;
	uint64_t stopped;   /* recipients */
	uint64_t would;     /* recipients that policy would have stopped (observe) */
	uint64_t oversize;
	uint64_t unrecorded; /* touches: late or lost */
	uint64_t failed;    /* messages that the MTA was told to try again, after a fault of ours */
};
void filter_stats(struct filter_stats *);

#endif
