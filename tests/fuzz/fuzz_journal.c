/*
 * Promises: bytes that unpack at a place do so at no other place, stay within
 * the input, and pack to the same bytes again; a record that was packed
 * unpacks to itself, and not when a bit of it is wrong.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
must_be_within(struct span s, struct span in)
{
	must(s.n == 0 || (s.p >= in.p && s.p + s.n <= in.p + in.n));
}

static long
unpack(struct record *r, struct span in, uint64_t place)
{
	size_t skip = 0;
	long n = journal_unpack(r, in, place, &skip);

	if (n > 0) {
		must((size_t)n == skip && skip <= in.n && skip % 8 == 0);
		must_be_within(r->address, in);
		must_be_within(r->stream, in);
		must_be_within(r->campaign, in);
		must_be_within(r->destination, in);
		must_be_within(r->source, in);
	} else
		must(n == 0 || (skip > 0 && skip <= in.n));
	return n;
}

static struct span
some(const uint8_t **data, size_t *n)
{
	size_t take = *n > 0 ? **data % (*n) : 0;
	struct span s = span_make((const char *)*data, take);

	*data += take;
	*n -= take;
	return s;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf packed = BUF(JOURNAL_RECORD_MAX), again = BUF(JOURNAL_RECORD_MAX);
	struct record r, got;
	uint64_t place = 0;

	if (n >= 8)
		memcpy(&place, data, 8);
	unpack(&r, span_make((const char *)data, n), place);

	if (n >= 8 + TOUCH_BYTES && touch_unpack(&r.touch, span_make((const char *)data + 8, TOUCH_BYTES))) {
		const uint8_t *rest = data + 8 + TOUCH_BYTES;
		size_t left = n - 8 - TOUCH_BYTES, bit = n > 0 ? data[0] : 0;

		r.address = some(&rest, &left);
		r.stream = some(&rest, &left);
		r.campaign = some(&rest, &left);
		r.destination = some(&rest, &left);
		r.source = some(&rest, &left);
		journal_pack(&packed, &r, place);
		must(!packed.over);
		must(unpack(&got, buf_span(&packed), place) == (long)packed.n);
		must(span_eq(got.address, r.address) && span_eq(got.destination, r.destination) && span_eq(got.source, r.source));
		journal_pack(&again, &got, place);
		must(span_eq(buf_span(&packed), buf_span(&again)));
		must(unpack(&got, buf_span(&packed), place + 8) == 0);
		must(unpack(&got, span_cut(buf_span(&packed), 0, packed.n - 1), place) == 0);
		bit = bit * packed.n / 256;
		packed.p[bit] ^= (char)(1 << (n % 8));
		must(unpack(&got, buf_span(&packed), place) == 0);
	}
	buf_free(&packed);
	buf_free(&again);
	return 0;
}
