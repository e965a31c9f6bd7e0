/* budget.h -- how much of the same somebody may send before we save ourselves the trouble.  Pure; of one loop. */
#ifndef REKINDLE_BUDGET_H
#define REKINDLE_BUDGET_H

#include "tracker/hit.h"

/*
 * Bad tokens of one network are charged only after they have failed to open,
 * and asked is only about what more is done about such failures: so no
 * guesser can get a good link of anybody refused, from behind the same
 * address or elsewhere.
 */
#define GUESSES_BURST 60     /* at once: an old newsletter that a whole office opens after a key was destroyed */
#define GUESSES_EACH_MS 1000 /* and one more for each of these */
#define BUDGET_WAYS 8        /* places in a set: one line of the processor's cache */
#define GUESSES_SETS 512     /* 32 KB */
#define REPEATS_SETS 2048    /* 128 KB */

/*
 * Who is charged is a number.  Where there are more of them than room the one
 * with the least to its charge is forgotten.  Two in one set have one account
 * together once in two million times, and nobody can choose whose.
 */
struct budget {
	uint64_t key; /* so that nobody can choose numbers that share a set */
	size_t sets;
	uint64_t *account; /* when all of it will be made up for, ms, and below that a mark of whose it is */
};

/* The key is any number that strangers do not know; the number of sets is a power of two. */
void budget_init(struct budget *, uint64_t key, size_t sets);
void budget_free(struct budget *);
/* Soon id will be charged: its account may come nearer meanwhile. */
void budget_expect(const struct budget *, uint64_t id);
/*
 * One more of id; now in ms, of a clock that only goes forward and starts with the machine.  False when it
 * was one too many: more than `burst' at once, and one for every each_ms.
 */
bool budget_charge(struct budget *, uint64_t id, unsigned burst, int64_t each_ms, int64_t now);
/* A /24 or, with IPv6, a /48: what one party may have at its disposal. */
uint64_t budget_net(const struct peer *);

#endif
