/* fold.h -- facts into sums, exactly once. */
#ifndef REKINDLE_FOLD_H
#define REKINDLE_FOLD_H

#include "common/store.h"

/*
 * Touches in one transaction: the more, the more of them share a page that is
 * written and a flush.  Of ten million recipients these take at most some
 * 50,000 pages, 200 MB, which LMDB keeps for the next time.
 */
#define FOLD_BATCH 32768
/*
 * Touches that are put in the order of recipients before they are summed up
 * in batches: what a disk takes of pages here and there is the limit, and of
 * ten million recipients these share pages where FOLD_BATCH of them share none.
 */
#define FOLD_SWEEP (64 * FOLD_BATCH)
#define FOLD_REJUDGE 2000 /* people in one transaction */

/*
 * Sums up touches that nobody summed yet, a row of at most `length' of them
 * in the order of recipients: one call takes max, so that others get the lock
 * in between, and *n says how many these were.  Any number of processes may do
 * this at once: the cursor commits with the sums.  While a row is at work
 * recipients at its front are ahead of store_folded; who comes in between, or
 * after a crash, goes on with the same row (store_sweep).  STORE_NONE when all
 * is summed, STORE_MOVED when somebody else finished the row.  What the store
 * cannot take at once is summed up in parts; STORE_FULL when there is no room
 * for any of it: the row is kept, for another try.  row: all 0 at first; 16 bytes
 * for each touch until it is done.
 */
struct fold_row {
	uint64_t folded, upto;
	struct fold_place {
		uint64_t key, value; /* the first bytes of who, and the number */
	} from, *place;
	size_t n, cap;
};
enum store_result fold_sweep(struct store *, struct fold_row *row, size_t length, size_t max, size_t *n);
void fold_row_free(struct fold_row *);
/*
 * Until all is summed that there was when it was called, and judged by the
 * rules that hold.  What cannot be judged again, for lack of room, keeps
 * nobody's touches from being summed up.
 */
enum store_result fold_all(struct store *);

/*
 * The rules by which hits are judged together are the store's, so that all
 * processes judge alike.  Who reads the settings adopts theirs: the last one
 * wins, and with first_only only the first.  What was judged by others is judged
 * again, a part at a time: up to max people, or as many as there is room for.
 * STORE_NONE when nothing is left to judge; STORE_FULL when there is no room for one.
 */
enum store_result fold_adopt(struct store *, const struct rules *, bool first_only);
enum store_result fold_rejudge(struct store *, size_t max);

/*
 * Takes hits out of trails that are older than how->before, for their facts
 * are gone or go now; or later than how->future, by which a wrong clock may
 * have called them.  Campaigns, links and profiles keep what they counted, for
 * ever as it is judged now.  Of up to max people behind *from (nobody: from the
 * first one), which is left at the last of them.  STORE_NONE: that were all.
 */
enum store_result fold_age(struct store *, const struct tidy *how, struct who *from, size_t max);

/*
 * Forgets people.  Facts keep no touch, name, destination, history or other
 * record of theirs; state neither profile nor subscription nor trail.  What
 * campaigns counted of them stays, also when the state is built anew.
 *
 * With `entirely` that is all.  Else it stays known, under a keyed hash, that
 * nothing may be kept of them (consent denied on both axes, with source), and
 * which unsubscribe, complaint, bounce or hold still stands: so that no old
 * link brings them back, and no old list.
 *
 * Facts and state are two files: when somebody dies in between, whoever folds
 * next does the rest, before anything else.  after: touches up to there were
 * searched before, 0 none; touches that come while this runs are not missed.
 */
struct forgetting {
	const struct who *who; /* sorted (who_order), none twice */
	size_t n;
	int64_t now;           /* ms */
	bool entirely;
	struct span source;
	uint64_t after;        /* in, and out: searched up to here */
	/* Out. */
	uint64_t touches, stops; /* taken out; and how many people stay stopped */
};
enum store_result fold_forget(struct store *, struct forgetting *);
int who_order(const void *, const void *); /* for qsort */

/*
 * The time to prune by, in ms: the clock's, but no further ahead of what was
 * believed `elapsed` ms ago than a day for each hour of them.
 */
int64_t fold_believe(int64_t believed, int64_t clock, int64_t elapsed);

/*
 * A thread of low priority that every second folds, tidies and looks after
 * the store; of several processes' threads one folds at a time.  keep_facts in
 * milliseconds.  It adopts the rules, and when the
 * disk refuses it tries again each second: fold_start makes one attempt
 * before it returns, fold_want, for other rules, from any thread, none.
 */
struct fold;
struct fold *fold_start(struct store *, int64_t keep_facts, const struct rules *);
void fold_want(struct fold *, const struct rules *);
void fold_stop(struct fold *); /* NULL is fine */

#endif
