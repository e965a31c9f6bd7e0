/* budget.h -- how many bad tokens a network may send before we save ourselves the trouble.  Pure; of one loop. */
#ifndef REKINDLE_BUDGET_H
#define REKINDLE_BUDGET_H

#include "tracker/hit.h"

#define BUDGET_BURST 60       /* bad tokens at once: an old newsletter that a whole office opens after a key was destroyed */
#define BUDGET_EACH_MS 1000   /* and one more for each of these */
#define BUDGET_SETS 512
#define BUDGET_WAYS 8         /* 64 KB in all, whoever sends what */

/*
 * Charged for a token only after it has failed to open, and asked only about
 * what more is done about such failures: so no guesser can get a good link
 * of anybody refused, from behind the same address or elsewhere.  A source
 * is a /24 or, with IPv6, a /48: what one party may have at its disposal.
 * Where there are more sources than room the one with the least to its
 * charge is forgotten.
 */
struct budget {
	uint64_t key; /* so that nobody can choose sources that share a set */
	struct source {
		uint64_t net;
		int64_t paid; /* when all of it will be made up for, ms */
	} source[BUDGET_SETS][BUDGET_WAYS];
};

/* The key is any number that strangers do not know. */
void budget_init(struct budget *, uint64_t key);
/* One more bad token from this peer; now in ms, of a clock that only goes forward.  False when it was one too many. */
bool budget_charge(struct budget *, const struct peer *, int64_t now);

#endif
