/* basket.h -- touches for which nobody waits: gathered by one loop, and given to the writer many at a time. */
#ifndef REKINDLE_BASKET_H
#define REKINDLE_BASKET_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/writer.h"

struct baskets {
	struct writer *writer;
	_Atomic uint64_t *unrecorded; /* hits whose touches were lost */
	void (*last)(void *);
	void *arg;
	struct event timer;
	bool timed;
	struct basket *now;           /* the one that is being filled, or NULL */
	/* Others bring them back. */
	pthread_mutex_t lock;
	struct basket *spare;
	unsigned nspare;
	unsigned out; /* in use: ours and those that the writer has */
};

/*
 * All of it is of the thread that runs this event base.  `last' is called with
 * arg on the writer's thread, when the last deed of a flush was a basket.
 */
void baskets_init(struct baskets *, struct event_base *, struct writer *, _Atomic uint64_t *unrecorded, void (*last)(void *), void *arg);
/* Copies the records of one hit: they are recorded as a whole, or not at all.  To the writer when a basket is full, or a moment later. */
void baskets_keep(struct baskets *, const struct record *, size_t n);
/* To the writer with what there is. */
void baskets_give(struct baskets *);
/* After writer_stop. */
void baskets_free(struct baskets *);

/* Says, but not each time, that the writer took no more. */
void basket_refused(void);

#endif
