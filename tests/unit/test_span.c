/* Borrowed and owned bytes. */
#include "tests/unit/unit.h"

static void
cuts_are_clamped(void **state)
{
	static const struct {
		const char *row;
		size_t from, to;
		const char *want;
	} rows[] = {
		{ "the whole", 0, 5, "hello" },
		{ "past the end", 3, 99, "lo" },
		{ "both past the end", 7, 99, "" },
		{ "backwards", 4, 2, "" },
		{ "nothing", 2, 2, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_span(rows[i].row, span_cut(SPAN("hello"), rows[i].from, rows[i].to), span_of(rows[i].want));
	assert_int_equal(span_cut((struct span){ NULL, 0 }, 0, 9).n, 0);
}

static void
comparing_ignores_ascii_case_only(void **state)
{
	(void)state;
	assert_true(span_ieq(SPAN("Content-Type"), SPAN("cONTENT-tYPE")));
	assert_false(span_ieq(SPAN("a"), SPAN("ab")));
	assert_false(span_ieq(SPAN("[a"), SPAN("{a"))); /* 0x5b and 0x7b differ by the case bit */
	assert_false(span_ieq(SPAN("\xc3\xa4"), SPAN("\xc3\x84")));
	assert_true(span_istarts(SPAN("HTTPS://x"), SPAN("https:")));
	assert_false(span_istarts(SPAN("http"), SPAN("https:")));
	assert_true(span_iends(SPAN("x.Example.ORG"), SPAN(".example.org")));
	assert_true(span_ends(SPAN("abc"), SPAN("")));
}

static void
searching(void **state)
{
	(void)state;
	assert_int_equal(span_find(SPAN("a:b"), ':'), 1);
	assert_int_equal(span_find(SPAN("ab"), ':'), 2);
	assert_int_equal(span_find((struct span){ NULL, 0 }, ':'), 0);
	assert_int_equal(span_search(SPAN("xxabab"), SPAN("ab")), 2);
	assert_int_equal(span_search(SPAN("xxa"), SPAN("ab")), 3);
	assert_int_equal(span_search(SPAN("a"), SPAN("ab")), 1);
	assert_int_equal(span_isearch(SPAN("xxAb"), SPAN("aB")), 2);
	assert_int_equal(span_isearch(SPAN("x"), SPAN("aB")), 1);
}

static void
hashes_go_by_every_byte(void **state)
{
	char text[40] = { 0 };

	(void)state;
	assert_true(span_hash(SPAN("")) == span_hash((struct span){ NULL, 0 }));
	for (size_t n = 1; n < sizeof text; n++) {
		uint64_t h = span_hash(span_make(text, n));

		assert_true(h != span_hash(span_make(text, n - 1))); /* zeros too */
		for (size_t i = 0; i < n; i++) {
			text[i] = 1;
			assert_true(h != span_hash(span_make(text, n)));
			text[i] = 0;
		}
		text[n] = 1; /* behind it */
		assert_true(h == span_hash(span_make(text, n)));
		text[n] = 0;
	}
}

static void
splitting_gives_every_piece(void **state)
{
	struct span rest = SPAN("a,,b,"), piece;

	(void)state;
	assert_true(span_split(&rest, ',', &piece));
	assert_span("first", piece, SPAN("a"));
	assert_true(span_split(&rest, ',', &piece));
	assert_span("empty one", piece, SPAN(""));
	assert_true(span_split(&rest, ',', &piece));
	assert_span("third", piece, SPAN("b"));
	assert_false(span_split(&rest, ',', &piece));
	assert_span("trim", span_trim(SPAN(" \t\r\n x y \n")), SPAN("x y"));
	assert_span("trim all", span_trim(SPAN(" \t")), SPAN(""));
}

static void
a_buf_stops_at_its_cap(void **state)
{
	struct buf b = BUF(8);

	(void)state;
	buf_adds(&b, "1234567");
	assert_false(b.over);
	buf_addc(&b, '8');
	assert_false(b.over);
	buf_addc(&b, '9');
	assert_true(b.over);
	assert_span("one past the cap adds nothing", buf_span(&b), SPAN("12345678"));
	buf_clear(&b);
	assert_false(b.over);
	buf_addf(&b, "%s", "123456789");
	assert_true(b.over);
	assert_int_equal(b.n, 0);
	buf_addc(&b, 'x');
	assert_int_equal(b.n, 0); /* over stays until clear, so that no hole goes unnoticed */
	buf_free(&b);
	assert_string_equal(buf_cstr(&b), "");
}

static void
a_buf_formats_what_is_longer_than_its_first_guess(void **state)
{
	struct buf b = BUF(10000);
	char *s;

	(void)state;
	for (int n = 250; n < 262; n++) {
		buf_clear(&b);
		buf_addf(&b, "%0*d|", n, 7);
		assert_int_equal(b.n, n + 1);
		assert_int_equal(b.p[b.n - 1], '|');
		assert_int_equal(strlen(buf_cstr(&b)), n + 1);
	}
	s = buf_steal(&b);
	assert_int_equal(strlen(s), 262);
	free(s);
	assert_int_equal(b.n, 0);
	s = buf_steal(&b);
	assert_string_equal(s, "");
	free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_are_clamped),
		cmocka_unit_test(comparing_ignores_ascii_case_only),
		cmocka_unit_test(searching),
		cmocka_unit_test(hashes_go_by_every_byte),
		cmocka_unit_test(splitting_gives_every_piece),
		cmocka_unit_test(a_buf_stops_at_its_cap),
		cmocka_unit_test(a_buf_formats_what_is_longer_than_its_first_guess),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
