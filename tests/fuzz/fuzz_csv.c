/*
 * Promises of tables: where a file is cut makes no difference to what is read
 * of it; records of any fields, written with any separator, read back as what
 * they were, and so do those that spreadsheets take for no formula; and no row of any list stops an address that is not in it.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/csv.h"
#include "common/listing.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

/* A prefix is enough, or more is needed; but never something else is read. */
static void
check_cuts(struct span in)
{
	struct csv whole = { 0 }, part = { 0 };
	long begin = csv_begin(&whole, in), all, some;

	if (begin < 0)
		return;
	part.separator = whole.separator;
	in = span_from(in, (size_t)begin);
	all = csv_read(&whole, in, true);
	must(in.n == 0 ? all == 0 : all != 0 && all <= (long)in.n);
	for (size_t cut = 0; cut < in.n; cut += 1 + cut / 64) {
		if ((some = csv_read(&part, span_cut(in, 0, cut), false)) == 0)
			continue;
		must(some == all);
		must(some < 0 || part.n == whole.n);
		for (size_t i = 0; some > 0 && i < part.n; i++)
			must(span_eq(csv_field(&part, i), csv_field(&whole, i)));
	}
	csv_free(&whole);
	csv_free(&part);
}

/* The input cut into fields at its NULs. */
static void
check_round_trip(struct span in)
{
	static const char separators[] = { ',', ';', '\t' };
	struct span field[50], rest = in;
	struct buf out = BUF(CSV_RECORD_MAX);
	struct csv c = { .separator = separators[in.n % 3] };
	size_t n = 0;

	while (n < 50 && span_split(&rest, '\0', &field[n]))
		n++;
	if (n == 0)
		return;
	csv_write(&out, c.separator, field, n);
	if (!out.over) {
		must(csv_read(&c, buf_span(&out), true) == (long)out.n);
		must(c.n == n);
		for (size_t i = 0; i < n; i++)
			must(span_eq(csv_field(&c, i), field[i]));
	}
	buf_free(&out);
	csv_free(&c);
}

static bool
is_one_of(char c, struct span set)
{
	return span_find(set, c) < set.n;
}

/* What csv_text makes of a field never begins a formula, whatever separates, and csv_plain takes it back. */
static void
check_text(struct span in)
{
	struct buf text = BUF(2 * in.n), back = BUF(in.n);

	csv_text(&text, in);
	for (size_t i = 0; i < text.n; i++)
		if (i == 0 || is_one_of(text.p[i - 1], SPAN(",;\t\r\n")))
			must(!is_one_of(text.p[i], SPAN("=+-@")));
	csv_plain(&back, buf_span(&text));
	must(!text.over && span_eq(buf_span(&back), in));
	buf_free(&text);
	buf_free(&back);
}

/* As it stands in a field, or as a spreadsheet's field means it. */
static bool
is_there(const struct span *field, size_t n, struct span address)
{
	bool found = false;

	for (size_t i = 0; i < n && !found; i++) {
		struct buf plain = BUF(field[i].n);

		csv_plain(&plain, span_trim(field[i]));
		found = span_eq(span_trim(field[i]), address) || span_eq(buf_span(&plain), address);
		buf_free(&plain);
	}
	return found;
}

static void
check_listing(struct span in)
{
	struct csv c = { 0 };
	struct span field[CSV_FIELDS_MAX];
	struct buf why = BUF(10000);
	struct listing l = { 0 };
	struct listed r;
	long n, begin = csv_begin(&c, in);

	if (begin < 0 || (n = csv_read(&c, in = span_from(in, (size_t)begin), true)) <= 0)
		goto out;
	for (size_t i = 0; i < c.n; i++)
		field[i] = csv_field(&c, i);
	if (!listing_find(&l, field, c.n, SPAN(""), &why)) {
		must(why.n > 0);
		goto out;
	}
	while ((in = span_from(in, (size_t)n)).n > 0 && (n = csv_read(&c, in, true)) > 0) {
		enum list_row said;

		for (size_t i = 0; i < c.n; i++)
			field[i] = csv_field(&c, i);
		buf_clear(&why);
		said = listing_read(&l, field, c.n, 0, &r, &why);
		must(said == LIST_STOP || why.n > 0);
		must(said != LIST_STOP || (r.kind != 0 && r.address.n > 0 && is_there(field, c.n, r.address)));
	}
out:
	listing_free(&l);
	buf_free(&why);
	csv_free(&c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_make(p, n);

	check_cuts(in);
	check_round_trip(in);
	check_text(in);
	check_listing(in);
	return 0;
}
