/* budget.c -- how much of the same somebody may send before we save ourselves the trouble. */
#include "tracker/budget.h"

#include <assert.h>
#include <stdlib.h>

#include "common/ip.h"
#include "common/mem.h"

#define LINE 64
#define MARK_BITS 24 /* what is left holds 34 years */
#define MARK ((1U << MARK_BITS) - 1)

static_assert(BUDGET_WAYS * sizeof(uint64_t) == LINE, "whoever looks at one account of a set has them all");

void
budget_init(struct budget *b, uint64_t key, size_t sets)
{
	assert((sets & (sets - 1)) == 0);
	*b = (struct budget){ .key = key, .sets = sets, .account = xcalloc_aligned(LINE, sets * LINE) };
}

void
budget_free(struct budget *b)
{
	free(b->account);
}

/* Never 0: IPv4 is marked, and so is IPv6. */
uint64_t
budget_net(const struct peer *peer)
{
	bool v4 = ip_is_v4(peer->b);
	const uint8_t *p = v4 ? peer->b + 12 : peer->b;
	uint64_t net = v4 ? 4 : 6;

	for (int i = 0; i < (v4 ? 3 : 6); i++)
		net = net << 8 | p[i];
	return net;
}

/* The finalizer of MurmurHash3: each bit of the key and the number moves half of the result's. */
static uint64_t
mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdU;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53U;
	return x ^ x >> 33;
}

/* Its low bits tell the set, its high ones are the mark. */
static uint64_t
place(const struct budget *b, uint64_t id)
{
	return mix(mix(id ^ b->key) + b->key);
}

static uint64_t *
set_of(const struct budget *b, uint64_t at)
{
	return b->account + (at & (b->sets - 1)) * BUDGET_WAYS;
}

void
budget_expect(const struct budget *b, uint64_t id)
{
	__builtin_prefetch(set_of(b, place(b, id)), 1);
}

bool
budget_charge(struct budget *b, uint64_t id, unsigned burst, int64_t each_ms, int64_t now)
{
	uint64_t at = place(b, id), mark = at >> (64 - MARK_BITS), least = UINT64_MAX;
	uint64_t *set = set_of(b, at), *a = NULL, *oldest = set;
	int64_t paid;

	/* Which one it is cannot be foreseen, so that a branch for each would be the wrong one. */
	for (int i = 0; i < BUDGET_WAYS; i++) {
		oldest = set[i] < least ? &set[i] : oldest;
		least = set[i] < least ? set[i] : least;
		a = (set[i] & MARK) == mark ? &set[i] : a;
	}
	paid = a != NULL ? (int64_t)(*a >> MARK_BITS) : now;
	if (a == NULL)
		a = oldest;
	if (paid < now)
		paid = now;
	if (paid + each_ms <= now + (int64_t)burst * each_ms) {
		*a = (uint64_t)(paid + each_ms) << MARK_BITS | mark;
		return true;
	}
	return false; /* and nothing on top: burst times each_ms after the last one all is forgotten */
}
