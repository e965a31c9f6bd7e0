#include "common/csv.h"
#include "tests/unit/unit.h"

/* Records as "[a][b] [c]"; "!" and why for a malformed one, whose first line is left out then. */
static void
read_all(struct span in, size_t step, struct buf *out)
{
	struct csv c = { 0 };
	long r, begin = csv_begin(&c, in);

	in = span_from(in, begin > 0 ? (size_t)begin : 0);
	for (size_t have = step < in.n ? step : in.n; in.n > 0;) {
		if ((r = csv_read(&c, span_cut(in, 0, have), have == in.n)) == 0) {
			assert_true(have < in.n);
			have = have + step < in.n ? have + step : in.n;
			continue;
		}
		for (size_t i = 0; r > 0 && i < c.n; i++)
			buf_addf(out, "[%.*s]", SPAN_ARG(csv_field(&c, i)));
		if (r < 0) {
			buf_addf(out, "!%s", c.why);
			r = (long)csv_skip(in);
		}
		buf_addc(out, ' ');
		in = span_from(in, (size_t)r);
		have = have > (size_t)r ? have - (size_t)r : 0;
		if (have == 0)
			have = step < in.n ? step : in.n;
	}
	csv_free(&c);
}

static const struct {
	const char *what, *in, *want;
} rows[] = {
	{ "one field", "a", "[a] " },
	{ "a line break behind it makes no other record", "a\r\n", "[a] " },
	{ "two records", "a,b\r\nc,d\r\n", "[a][b] [c][d] " },
	{ "line feeds alone", "a,b\nc,d\n", "[a][b] [c][d] " },
	{ "carriage returns alone", "a,b\rc,d", "[a][b] [c][d] " },
	{ "an empty line is a record of one empty field", "a\n\nb\n", "[a] [] [b] " },
	{ "empty fields", ",,\n", "[][][] " },
	{ "quotes", "\"a\",\"b\"\n", "[a][b] " },
	{ "a separator in quotes", "\"a,b\",c\n", "[a,b][c] " },
	{ "a line break in quotes", "\"a\r\nb\",c\n", "[a\r\nb][c] " },
	{ "a quote in quotes", "\"a\"\"b\"\n", "[a\"b] " },
	{ "only a quote", "\"\"\"\"\n", "[\"] " },
	{ "empty quotes", "\"\",x\n", "[][x] " },
	{ "quotes at the end", "x,\"a\"", "[x][a] " },
	{ "a quote within a field is itself", "a\"b,c\n", "[a\"b][c] " },
	{ "spaces belong to the field", " a , b \n", "[ a ][ b ] " },
	{ "a byte order mark", "\xef\xbb\xbf" "a,b\n", "[a][b] " },
	{ "semicolons", "a;b\nc,d;e\n", "[a][b] [c,d][e] " },
	{ "tabs", "a\tb\nc\td\n", "[a][b] [c][d] " },
	{ "commas where there are as many of both", "a,b;c\n", "[a][b;c] " },
	{ "separators in quotes do not count", "\"a;b;c;d\",e\n", "[a;b;c;d][e] " },
	{ "nor those of the second line", "a,b\n;;;;\n", "[a][b] [;;;;] " },
	{ "behind a closing quote", "\"a\"b,c\nd\n", "!something follows a closing quote [d] " },
	{ "a quote that is never closed", "a,\"b\nc\n", "!a quote is opened and never closed [c] " },
	{ "nothing", "", "" },
};

static void
records_and_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t step = 1; step < 30; step++) {
			struct buf got = BUF(10000);

			read_all(span_of(rows[i].in), step, &got);
			assert_span(rows[i].what, buf_span(&got), span_of(rows[i].want));
			buf_free(&got);
		}
}

static void
what_is_not_utf8_of_eight_bits_is_refused(void **state)
{
	static const struct {
		const char *what;
		struct span in;
		long want;
	} files[] = {
		{ "UTF-16, little end first", SPAN("\xff\xfe" "a\0"), -1 },
		{ "UTF-16, big end first", SPAN("\xfe\xff\0a"), -1 },
		{ "UTF-16 without a mark", SPAN("a\0b\0"), -1 },
		{ "UTF-8 with a mark", SPAN("\xef\xbb\xbf" "a"), 3 },
		{ "UTF-8 without", SPAN("\xc3\xa4" "a"), 0 },
		{ "half a mark", SPAN("\xef\xbb"), 0 },
		{ "nothing", SPAN(""), 0 },
	};
	struct csv c = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++)
		assert_row(files[i].what, csv_begin(&c, files[i].in) == files[i].want);
}

static void
too_much_of_it(void **state)
{
	static char in[CSV_RECORD_MAX + 2];
	struct csv c = { .separator = ',' };
	long r;

	(void)state;
	memset(in, 'x', sizeof in);
	assert_int_equal(csv_read(&c, span_make(in, CSV_RECORD_MAX), false), 0);
	assert_int_equal(csv_read(&c, span_make(in, CSV_RECORD_MAX), true), CSV_RECORD_MAX);
	assert_int_equal(csv_field(&c, 0).n, CSV_RECORD_MAX);
	assert_int_equal(csv_read(&c, span_make(in, CSV_RECORD_MAX + 1), true), -1);
	in[CSV_RECORD_MAX - 1] = '\n';
	assert_int_equal(csv_read(&c, span_make(in, sizeof in), true), CSV_RECORD_MAX);
	assert_int_equal(csv_skip(span_make(in, sizeof in)), CSV_RECORD_MAX);

	memset(in, ',', sizeof in);
	r = csv_read(&c, span_make(in, CSV_FIELDS_MAX - 1), true);
	assert_int_equal(r, CSV_FIELDS_MAX - 1);
	assert_int_equal(c.n, CSV_FIELDS_MAX);
	assert_int_equal(csv_read(&c, span_make(in, CSV_FIELDS_MAX), true), -1);
	assert_int_equal(csv_field(&c, CSV_FIELDS_MAX).n, 0);
	csv_free(&c);
}

static void
nothing_is_a_formula_and_all_comes_back(void **state)
{
	static const struct {
		const char *what, *field, *text;
	} fields[] = {
		{ "an address", "ann@example.org", "ann@example.org" },
		{ "a formula", "=1+1@example.org", "'=1+1@example.org" },
		{ "a plus", "+49@example.org", "'+49@example.org" },
		{ "a minus", "-1@example.org", "'-1@example.org" },
		{ "an at sign", "@SUM(A1)", "'@SUM(A1)" },
		{ "a tab", "\t=1", "'\t'=1" },
		{ "line breaks", "\r=1", "'\r'=1" },
		{ "of either kind", "\n=1", "'\n'=1" },
		{ "a wide equals sign", "\xef\xbc\x9d" "1", "'\xef\xbc\x9d" "1" },
		{ "a wide letter", "\xef\xbc\xa1" "1", "\xef\xbc\xa1" "1" },
		{ "an apostrophe of its own", "'=1+1@example.org", "''=1+1@example.org" },
		{ "or of anybody", "'t@example.org", "''t@example.org" },
		{ "one that comes later", "o'hara=1@example.org", "o'hara=1@example.org" },
		{ "a formula where a semicolon begins a cell", "x;=1+1@example.org", "x;'=1+1@example.org" },
		{ "or a comma", "x,=1", "x,'=1" },
		{ "or a tab", "x\t=1", "x\t'=1" },
		{ "or a line break", "x\n@A1;\r-1", "x\n'@A1;'\r'-1" },
		{ "each of several", ";=1;=2", ";'=1;'=2" },
		{ "behind spaces and quotes", "x; \"=1;y", "x;' \"=1;y" },
		{ "at the beginning, too", " =1", "' =1" },
		{ "an apostrophe there", "x;'=1", "x;''=1" },
		{ "semicolons alone", "a;b; c;", "a;b; c;" },
		{ "nothing", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(fields); i++) {
		struct buf out = BUF(100), back = BUF(100);

		csv_text(&out, span_of(fields[i].field));
		assert_span(fields[i].what, buf_span(&out), span_of(fields[i].text));
		csv_plain(&back, buf_span(&out));
		assert_span(fields[i].what, buf_span(&back), span_of(fields[i].field));
		buf_free(&out);
		buf_free(&back);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_a_formula_and_all_comes_back),
		cmocka_unit_test(records_and_fields),
		cmocka_unit_test(what_is_not_utf8_of_eight_bits_is_refused),
		cmocka_unit_test(too_much_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
