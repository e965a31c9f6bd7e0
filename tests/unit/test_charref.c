#include "milter/charref.h"
#include "tests/unit/unit.h"

static const struct row {
	const char *name, *in, *text, *attribute; /* attribute NULL: the same as in text */
} rows[] = {
	{ "nothing to decode", "a=1 b", "a=1 b", NULL },
	{ "an ampersand alone", "&", "&", NULL },
	{ "an ampersand before a space", "a & b", "a & b", NULL },
	{ "a name", "a&amp;b", "a&b", NULL },
	{ "names are decoded once", "&amp;amp;", "&amp;", NULL },
	{ "numbers are decoded once", "&#38;amp;", "&amp;", NULL },
	{ "upper case where the table has it", "&AMP;&LT", "&<", NULL },
	{ "no such name", "&nonsense;", "&nonsense;", NULL },
	{ "without semicolon at the end", "&eacute", "\xc3\xa9", NULL },
	{ "without semicolon before a space", "&copy x", "\xc2\xa9 x", NULL },
	{ "without semicolon before a letter", "&copyx", "\xc2\xa9x", "&copyx" },
	{ "without semicolon before a digit", "&copy1", "\xc2\xa9" "1", "&copy1" },
	{ "without semicolon before =", "?a=1&copy=2", "?a=1\xc2\xa9=2", "?a=1&copy=2" },
	{ "with semicolon before =", "&copy;=2", "\xc2\xa9=2", NULL },
	{ "the longest name wins", "&notin;", "\xe2\x88\x89", NULL },
	{ "a shorter name when the longer one does not fit", "&notit;", "\xc2\xacit;", "&notit;" },
	{ "query parameters that look like names", "?x=1&para=2&amp=3", "?x=1\xc2\xb6=2&=3", "?x=1&para=2&amp=3" },
	{ "a query parameter that only begins like names", "?x=1&order=2", "?x=1&order=2", NULL },
	{ "two characters in one name", "&NotEqualTilde;", "\xe2\x89\x82\xcc\xb8", NULL },
	{ "the first name of the table", "&AElig", "\xc3\x86", NULL },
	{ "the last name of the table", "&zwnj;", "\xe2\x80\x8c", NULL },
	{ "the longest name of the table", "&CounterClockwiseContourIntegral;", "\xe2\x88\xb3", NULL },
	{ "decimal", "&#65;&#066;", "AB", NULL },
	{ "hexadecimal", "&#x41;&#X42;", "AB", NULL },
	{ "a number without semicolon", "&#65b", "Ab", NULL },
	{ "hexadecimal takes all digits it can", "&#x41b", "\xd0\x9b", NULL },
	{ "no digits", "&#;&#x;&#xg", "&#;&#x;&#xg", NULL },
	{ "windows-1252: the euro", "&#128;", "\xe2\x82\xac", NULL },
	{ "windows-1252: the last", "&#x9f;", "\xc5\xb8", NULL },
	{ "just after windows-1252", "&#160;", "\xc2\xa0", NULL },
	{ "a hole of windows-1252", "&#129;", "\xc2\x81", NULL },
	{ "zero", "&#0;", "\xef\xbf\xbd", NULL },
	{ "before the surrogates", "&#xd7ff;", "\xed\x9f\xbf", NULL },
	{ "the first surrogate", "&#xd800;", "\xef\xbf\xbd", NULL },
	{ "the last surrogate", "&#xdfff;", "\xef\xbf\xbd", NULL },
	{ "after the surrogates", "&#xe000;", "\xee\x80\x80", NULL },
	{ "the last character", "&#x10ffff;", "\xf4\x8f\xbf\xbf", NULL },
	{ "one past the last character", "&#x110000;", "\xef\xbf\xbd", NULL },
	{ "a number that overflows", "&#99999999999999999999;", "\xef\xbf\xbd", NULL },
	{ "a hexadecimal number that wraps around", "&#x100000041;", "\xef\xbf\xbd", NULL },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *r = &rows[i];
		struct buf out = BUF(1000);

		charref_decode(&out, span_of(r->in), false);
		assert_span(r->name, buf_span(&out), span_of(r->text));
		buf_clear(&out);
		charref_decode(&out, span_of(r->in), true);
		assert_span(r->name, buf_span(&out), span_of(r->attribute ? r->attribute : r->text));
		buf_free(&out);
	}
}

static void
test_nul(void **state)
{
	struct buf out = BUF(100);

	(void)state;
	charref_decode(&out, span_make("&amp\0;", 6), true);
	assert_span("a NUL ends a name", buf_span(&out), span_make("&\0;", 3));
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_nul) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
