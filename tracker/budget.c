/* budget.c -- how many bad tokens a network may send before we save ourselves the trouble. */
#include "tracker/budget.h"

#include "common/ip.h"

void
budget_init(struct budget *b, uint64_t key)
{
	memset(b, 0, sizeof *b);
	b->key = key;
}

/* Never 0, which is an empty place: IPv4 is marked, and so is IPv6. */
static uint64_t
net_of(const struct peer *peer)
{
	bool v4 = ip_is_v4(peer->b);
	const uint8_t *p = v4 ? peer->b + 12 : peer->b;
	uint64_t net = v4 ? 4 : 6;

	for (int i = 0; i < (v4 ? 3 : 6); i++)
		net = net << 8 | p[i];
	return net;
}

/* The finalizer of MurmurHash3: each bit of the key and the net moves half of the result's. */
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
budget_charge(struct budget *b, const struct peer *peer, int64_t now)
{
	uint64_t net = net_of(peer);
	struct source *set = b->source[mix(mix(net ^ b->key) + b->key) % BUDGET_SETS], *s = &set[0];

	for (int i = 0; i < BUDGET_WAYS; i++) {
		if (set[i].net == net) {
			s = &set[i];
			break;
		}
		if (set[i].paid < s->paid)
			s = &set[i];
	}
	if (s->net != net)
		*s = (struct source){ .net = net, .paid = now };
	if (s->paid < now)
		s->paid = now;
	if (s->paid + BUDGET_EACH_MS > now + (int64_t)BUDGET_BURST * BUDGET_EACH_MS)
		return false; /* and nothing on top: a minute after the last one all is forgotten */
	s->paid += BUDGET_EACH_MS;
	return true;
}
