/* fold.h -- facts into sums, exactly once. */
#ifndef REKINDLE_FOLD_H
#define REKINDLE_FOLD_H

#include "common/store.h"

/*
 * Sums up to max touches that nobody summed yet; *n says how many.  Any
 * number of processes may do this at once: the cursor commits with the sums.
 * STORE_NONE when all is summed.
 */
enum store_result fold_some(struct store *, size_t max, size_t *n);
/* Until all is summed. */
enum store_result fold_all(struct store *);

/*
 * The time to prune by, in ms: the clock's, but no further ahead of what was
 * believed `elapsed` ms ago than a day for each hour of them.
 */
int64_t fold_believe(int64_t believed, int64_t clock, int64_t elapsed);

/* A thread that every second folds, tidies and looks after the store; keep_facts in milliseconds. */
struct fold;
struct fold *fold_start(struct store *, int64_t keep_facts);
void fold_stop(struct fold *); /* NULL is fine */

#endif
