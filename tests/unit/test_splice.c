#include "milter/splice.h"
#include "tests/unit/unit.h"

struct change {
	size_t start, end;
	const char *text;
};

static const struct row {
	const char *name, *in;
	struct change change[4];
	size_t n;
	const char *out;
} rows[] = {
	{ "no edits: the same bytes", "abcdef", { { 0, 0, NULL } }, 0, "abcdef" },
	{ "an empty original", "", { { 0, 0, "x" } }, 1, "x" },
	{ "an insertion at the start", "abc", { { 0, 0, "x" } }, 1, "xabc" },
	{ "an insertion at the end", "abc", { { 3, 3, "x" } }, 1, "abcx" },
	{ "a replacement", "abcdef", { { 2, 4, "XYZ" } }, 1, "abXYZef" },
	{ "a deletion", "abcdef", { { 2, 4, "" } }, 1, "abef" },
	{ "everything goes", "abcdef", { { 0, 6, "" } }, 1, "" },
	{ "neighbours that touch", "abcdef", { { 1, 3, "x" }, { 3, 5, "y" } }, 2, "axyf" },
	{ "added in another order", "abcdef", { { 4, 5, "y" }, { 1, 2, "x" }, { 3, 3, "-" } }, 3, "axc-dyf" },
	{ "two at one place stay in the order of adding", "ab", { { 1, 1, "x" }, { 1, 1, "y" } }, 2, "axyb" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *r = &rows[i];
		struct buf out = BUF(1000);
		struct edits e;

		edits_init(&e, 1000);
		for (size_t k = 0; k < r->n; k++)
			edits_add(&e, r->change[k].start, r->change[k].end, span_of(r->change[k].text));
		splice(&out, span_of(r->in), e.edit, e.n, buf_span(&e.text));
		assert_span(r->name, buf_span(&out), span_of(r->out));
		edits_clear(&e);
		buf_clear(&out);
		splice(&out, span_of(r->in), e.edit, e.n, buf_span(&e.text));
		assert_span(r->name, buf_span(&out), span_of(r->in));
		edits_free(&e);
		buf_free(&out);
	}
}

static void
test_range(void **state)
{
	struct buf out = BUF(100);
	struct edits e;

	(void)state;
	edits_init(&e, 100);
	edits_add(&e, 2, 4, SPAN("X"));
	splice_range(&out, SPAN("abcdef"), 1, 5, e.edit, e.n, buf_span(&e.text));
	assert_span("only the bytes of the range", buf_span(&out), SPAN("bXe"));
	edits_free(&e);
	buf_free(&out);
}

static void
test_cap(void **state)
{
	struct edits e;

	(void)state;
	edits_init(&e, 3);
	edits_add(&e, 0, 0, SPAN("abc"));
	assert_false(e.text.over);
	edits_add(&e, 0, 0, SPAN("d"));
	assert_true(e.text.over);
	edits_free(&e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_range), cmocka_unit_test(test_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
