/*
 * fuzz_proxy.c -- promises: a PROXY header reads the same whole and in pieces,
 * and with anything behind it; its length is exact and within the limit; more
 * is asked for only below the limit, and a refusal changes no peer.
 * The first byte chooses the size of the pieces.
 */
#include <stdint.h>
#include <stdlib.h>

#include "tracker/proxy.h"

static const struct peer before = { { 1, 2, 3 } };

static void
require(bool good)
{
	if (!good)
		abort();
}

/* Moved and exact, so that a look past the end is seen. */
static int
read_copy(struct span in, struct peer *peer)
{
	char *copy = malloc(in.n + 1);
	int n;

	if (in.n > 0)
		memcpy(copy, in.p, in.n);
	*peer = before;
	n = proxy_read(span_make(copy, in.n), peer);
	free(copy);
	require(n > 0 || memcmp(peer, &before, sizeof before) == 0);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_make(p + 1, n > 0 ? n - 1 : 0);
	struct peer whole, pieces;
	size_t have = 0;
	int all, m;

	if (n == 0)
		return 0;
	all = read_copy(in, &whole);
	require(all <= (int)in.n && all <= PROXY_HEADER_MAX);
	require(all != 0 || in.n < PROXY_HEADER_MAX);
	do {
		have = in.n - have <= p[0] ? in.n : have + p[0] + 1;
		m = read_copy(span_cut(in, 0, have), &pieces);
	} while (m == 0 && have < in.n);
	require(m == all && memcmp(&whole, &pieces, sizeof whole) == 0);
	if (all > 0) {
		require(read_copy(span_cut(in, 0, (size_t)all), &pieces) == all && memcmp(&whole, &pieces, sizeof whole) == 0);
		require(read_copy(span_cut(in, 0, (size_t)all - 1), &pieces) == 0);
	}
	return 0;
}
