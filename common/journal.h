/* journal.h -- touches are safe with one write and one flush, before the store has them.  One file for each process that writes. */
#ifndef REKINDLE_JOURNAL_H
#define REKINDLE_JOURNAL_H

#include "common/store.h"

/*
 * A commit of LMDB takes two flushes and writes seven pages or more that lie
 * scattered; whoever waits for it waits for all of them.  A journal is a file
 * of fixed size, written from its start to its end and round again, whose
 * blocks exist already: appending takes one write, and making it durable one
 * flush.  The store gets the touches a moment later, many in one transaction,
 * together with the place up to which it has them (store_append_from), so that
 * each gets there exactly once, whatever dies in between.
 *
 * The files are data_dir/journal-0, -1 ...; a process holds one by an OFD
 * lock, which ends with the process.  What a dead process left behind goes to
 * the store when the next one opens a journal, or the CLI looks.
 *
 * Places are bytes since the journal was made; they never go back.
 */
struct journal;

#define JOURNALS_MAX 64
#define JOURNAL_MIN ((uint64_t)64 * 1024)
#define JOURNAL_NAME_MAX 8192                            /* longer names are cut here, and not taken by the store */
#define JOURNAL_RECORD_MAX (TOUCH_BYTES + 5 * (2 + JOURNAL_NAME_MAX) + 24 + 8)

/*
 * The first file that nobody holds, made when there is none, with room for
 * size bytes (at least JOURNAL_MIN).  What dead processes left in theirs is in
 * the store afterwards, or, where the store cannot be written now, stays where
 * it is: in ours it waits for journal_take, in others for the next who looks.
 * NULL with one line in why: the touches must go to the store directly.  So it
 * is where the disk has less free than four times that size.
 */
struct journal *journal_open(const char *dir, uint64_t size, struct store *, struct buf *why);
void journal_close(struct journal *); /* NULL is fine */

enum journal_result {
	JOURNAL_OK,
	JOURNAL_FULL,  /* no room for all of them: nothing was added */
	JOURNAL_BUSY,  /* somebody else's write hangs: nothing was added */
	JOURNAL_ERROR, /* logged; nothing was added.  Also after a flush that failed, until the store has what it was for */
};
/*
 * Appends all of them or none.  What was put survives the end of this
 * process, however it ends, and after journal_flush that of the machine.
 * From any thread; waits at most within_ms for the others (-1: as long as it
 * takes).
 */
enum journal_result journal_put(struct journal *, const struct record *, size_t n, int64_t within_ms);
/* The same for records that lie in several places: those of the first one first. */
struct journal_piece {
	const struct record *record;
	size_t n;
};
enum journal_result journal_put_pieces(struct journal *, const struct journal_piece *, size_t n, int64_t within_ms);
/* All that was put before this call is on disk.  False: logged; it may be there or not. */
bool journal_flush(struct journal *);

/*
 * The records that the store does not have yet, up to max, oldest first; *to
 * is the place after the last one.  Their spans are good until the next call.
 * Of one thread.
 */
size_t journal_take(struct journal *, struct record *, size_t max, uint64_t *to);
/* The store has them: store_append_from says so with this id, from this place on.  Makes room. */
uint64_t journal_id(const struct journal *);
uint64_t journal_place(const struct journal *);
void journal_moved(struct journal *, uint64_t to);

struct journal_load {
	uint64_t waiting, size; /* bytes */
	uint64_t put, moved;    /* places: all that was put is before the one, and the store has what is before the other */
};
void journal_load(struct journal *, struct journal_load *);

/*
 * Waits until the store has what living processes had acknowledged when this
 * was called, at most within_ms: whoever asks after that sees what was
 * answered before.  With `dead_too` it also gets what dead ones left; only for
 * a store that was opened with `create`, which sees to it that numbers go on
 * behind the sums.
 */
void journal_settle(const char *dir, struct store *, int64_t within_ms, bool dead_too);

/* ---- the bytes of one record, for journal.c and its tests.  Pure. ---- */

/* Appends the record that begins at `place`. */
void journal_pack(struct buf *, const struct record *, uint64_t place);
/*
 * > 0: bytes taken, a multiple of 8; the record's spans point into `in`.
 * 0: what is here is no record that was written at this place.
 * -1: it was, but means nothing to this program; *skip is its length.
 */
long journal_unpack(struct record *, struct span in, uint64_t place, size_t *skip);

#endif
