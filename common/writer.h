/* writer.h -- the thread that makes touches durable, many per flush. */
#ifndef REKINDLE_WRITER_H
#define REKINDLE_WRITER_H

#include "common/journal.h"

#define WRITER_WAITING_MAX 200000 /* touches; beyond that new ones are refused, mail and links go on */

/*
 * There is no batch size to tune on the way to an answer.  While one batch is
 * being flushed, and for a moment after it, the next one gathers, so a quiet
 * server answers after one disk flush and a busy one shares each flush among
 * all who wait.
 *
 * What is in the journal is durable; a second thread brings it to the store,
 * where others see it, at most every WRITER_PACE_MS.  A store that is full
 * or failing delays that, and nothing is lost until the journal is full too.
 * Without a journal (there was no room for one) touches go to the store
 * directly, and the same is true a little slower.
 */
struct writer;

#define WRITER_PACE_MS 100
#define WRITER_GATHER_MS 5 /* what nobody waits for */

/* Touches that become durable together.  The caller owns it until writer_add takes it. */
struct deed {
	struct deed *next;
	/*
	 * Called once, on the writer's thread: durable, or lost (store full or
	 * failing; logged and counted).  It owns the deed again and must not block.
	 * next is not NULL when more of the same flush are about to follow: who is
	 * going to wake somebody for it can do so once, at the last one.
	 */
	void (*done)(struct deed *, bool durable);
	/*
	 * Nobody waits for it, so no flush is made for it either: done may come
	 * when the touches are in the journal and survive the end of this process
	 * (WRITER_KEPT, below), some WRITER_GATHER_MS after writer_add.
	 */
	bool kept;
	size_t n;
	struct record *record; /* spans must stay good until done */
};

/*
 * With a journal of journal_size bytes (journal.h) in the first directory
 * where it can be had; both NULL: without.  That there is none is logged, and
 * done without.
 */
struct writer *writer_start(struct store *, const char *dir, const char *other_dir, uint64_t journal_size);
/* Writes what is waiting, then ends; no other call may be under way.  NULL is fine. */
void writer_stop(struct writer *);

/* False, and the deed stays the caller's, when too much is waiting or the writer is stopping. */
bool writer_add(struct writer *, struct deed *);
/*
 * The same for a list of deeds with n touches in all: one look at the lock,
 * one wake-up, and a good chance of one flush.  All are taken or none is.
 * Either all of them are `kept' or none is.
 */
bool writer_add_list(struct writer *, struct deed *first, struct deed *last, size_t n);

enum writer_result { WRITER_DURABLE, WRITER_KEPT, WRITER_LATE, WRITER_LOST };
/*
 * Copies the records and waits until they are durable, at most within_ms.
 * WRITER_LATE: not yet, but they will still be written.
 */
enum writer_result writer_write(struct writer *, const struct record *, size_t n, int64_t within_ms);
/*
 * The same without waiting for the disk.  WRITER_KEPT: the touches survive
 * the end of this process, however it ends, and reach the disk with the next
 * batch, some WRITER_PACE_MS later; only the machine's own end may come
 * between.  For what nobody was promised: that a message was sent.  Falls
 * back to writer_write where the journal is missing or full.
 */
enum writer_result writer_keep(struct writer *, const struct record *, size_t n, int64_t within_ms);

struct writer_stats {
	uint64_t durable, lost, refused, batches; /* touches, except batches */
	uint64_t waiting;
	struct journal_load journal; /* zero without one */
	bool failing; /* the store did not take the last batch, and does not take any yet */
};
void writer_stats(struct writer *, struct writer_stats *);

#endif
