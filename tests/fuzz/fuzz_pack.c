/*
 * Promises: what is packed unpacks to the same bytes and takes at most twelve
 * for one; with the room that the packed text needs it is packed, with one
 * byte less not; and any bytes that unpack are just what packing makes.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define TEXT_MAX 300 /* longer ones are only slower */
#define PACKED_MAX (TEXT_MAX * 12 + 16)

static unsigned char packed[PACKED_MAX];
static char text[TEXT_MAX];

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
there_and_back(struct span in)
{
	size_t n = pack(packed, sizeof packed, in);

	must((n == 0) == (in.n == 0 || span_find(in, '\n') < in.n));
	if (n == 0)
		return;
	must(span_eq(span_make(text, unpack(text, sizeof text, span_make(packed, n))), in));
	must(unpack(text, in.n - 1, span_make(packed, n)) == 0);
	must(pack(packed, n - 1, in) == 0);
	must(pack(packed, n, in) == n);
}

/* Remembered or not. */
static void
shorter(struct span in)
{
	static unsigned char again[TEXT_MAX];
	size_t n = in.n > 0 ? pack(packed, in.n - 1, in) : 0;

	for (int i = 0; i < 2; i++)
		must(span_eq(span_make(again, pack_shorter(again, in)), span_make(packed, n)));
}

static void
back_and_there(struct span in)
{
	static char again[TEXT_MAX];
	size_t n = unpack(text, sizeof text, in);

	must(n <= sizeof text); /* and whatever it is, it ends */
	for (int i = 0; i < 2; i++)
		must(span_eq(span_make(again, unpack_again(again, sizeof again, in)), span_make(text, n)));
	must(n == 0 || unpack_again(again, n - 1, in) == 0);
	if (n > 0)
		must(span_eq(span_make(packed, pack(packed, sizeof packed, span_make(text, n))), in));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = span_cut(span_make(data, n), 0, TEXT_MAX);

	there_and_back(in);
	shorter(in);
	back_and_there(in);
	return 0;
}
