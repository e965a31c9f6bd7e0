/* budget.c -- how much of the same somebody may send before we save ourselves the trouble. */
#include "tracker/budget.h"

#include <assert.h>
#include <stdlib.h>

#include "common/ip.h"
#include "common/mem.h"

void
budget_init(struct budget *b, uint64_t key, size_t sets)
{
	assert((sets & (sets - 1)) == 0);
	*b = (struct budget){ .key = key, .sets = sets, .account = xcalloc(sets * BUDGET_WAYS, sizeof *b->account) };
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

bool
budget_charge(struct budget *b, uint64_t id, unsigned burst, int64_t each_ms, int64_t now)
{
	struct account *set = b->account + (mix(mix(id ^ b->key) + b->key) & (b->sets - 1)) * BUDGET_WAYS, *a = NULL;
	int64_t least = INT64_MAX;
	int oldest = 0;

	/* Which one it is cannot be foreseen, so that a branch for each would be the wrong one. */
	for (int i = 0; i < BUDGET_WAYS; i++) {
		oldest = set[i].paid < least ? i : oldest;
		least = set[i].paid < least ? set[i].paid : least;
		a = set[i].id == id ? &set[i] : a;
	}
	if (a == NULL) {
		a = &set[oldest];
		*a = (struct account){ .id = id, .paid = now };
	}
	if (a->paid < now)
		a->paid = now;
	if (a->paid + each_ms > now + (int64_t)burst * each_ms)
		return false; /* and nothing on top: burst times each_ms after the last one all is forgotten */
	a->paid += each_ms;
	return true;
}
