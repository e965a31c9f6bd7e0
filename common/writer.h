/* writer.h -- the thread that makes touches durable, many per flush. */
#ifndef REKINDLE_WRITER_H
#define REKINDLE_WRITER_H

#include "common/store.h"

#define WRITER_WAITING_MAX 200000 /* touches; beyond that new ones are refused, mail and links go on */

/*
 * There is no timer and no batch size to tune.  While one batch is being
 * committed the next one gathers, so a quiet server answers after one disk
 * flush and a busy one shares each flush among all who wait for it.
 */
struct writer;

/* Touches that become durable together.  The caller owns it until writer_add takes it. */
struct deed {
	struct deed *next;
	/*
	 * Called once, on the writer's thread: durable, or lost (store full or
	 * failing; logged and counted).  It owns the deed again and must not block.
	 */
	void (*done)(struct deed *, bool durable);
	size_t n;
	struct record *record; /* spans must stay good until done */
};

struct writer *writer_start(struct store *);
/* Writes what is waiting, then ends; no other call may be under way.  NULL is fine. */
void writer_stop(struct writer *);

/* False, and the deed stays the caller's, when too much is waiting or the writer is stopping. */
bool writer_add(struct writer *, struct deed *);

enum writer_result { WRITER_DURABLE, WRITER_LATE, WRITER_LOST };
/*
 * Copies the records and waits until they are durable, at most within_ms.
 * WRITER_LATE: not yet, but they will still be written.
 */
enum writer_result writer_write(struct writer *, const struct record *, size_t n, int64_t within_ms);

struct writer_stats {
	uint64_t durable, lost, refused, batches; /* touches, except batches */
	uint64_t waiting;
	bool failing; /* the last batch was not written, and writing does not work again yet */
};
void writer_stats(struct writer *, struct writer_stats *);

#endif
