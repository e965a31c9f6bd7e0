/* Numbers, times and quoting. */
#include "common/text.h"

#include "tests/unit/unit.h"

static void
numbers(void **state)
{
	static const struct {
		const char *row, *text;
		bool ok;
		uint64_t want;
	} rows[] = {
		{ "zero", "0", true, 0 },
		{ "the largest", "18446744073709551615", true, UINT64_MAX },
		{ "one past it", "18446744073709551616", false, 0 },
		{ "ten times too large", "99999999999999999999", false, 0 },
		{ "nothing", "", false, 0 },
		{ "a sign", "-1", false, 0 },
		{ "a plus", "+1", false, 0 },
		{ "a space", " 1", false, 0 },
		{ "a letter behind", "1x", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t got = 4711;

		assert_row(rows[i].row, text_u64(span_of(rows[i].text), &got) == rows[i].ok);
		assert_row(rows[i].row, got == (rows[i].ok ? rows[i].want : 4711));
	}
}

static void
durations_and_sizes(void **state)
{
	static const struct {
		const char *row, *text;
		bool ok;
		int64_t want;
		const char *printed;
	} rows[] = {
		{ "milliseconds", "250ms", true, 250, "250ms" },
		{ "seconds", "10s", true, 10000, "10s" },
		{ "minutes", "5m", true, 300000, "5m" },
		{ "hours", "2h", true, 7200000, "2h" },
		{ "days", "90d", true, 90 * DAY_MS, "90d" },
		{ "weeks are printed as days", "4w", true, 28 * DAY_MS, "28d" },
		{ "the largest unit that fits", "120s", true, 120000, "2m" },
		{ "a bare zero", "0", true, 0, "0" },
		{ "a bare number has no unit", "10", false, 0, NULL },
		{ "too large", "99999999999999999d", false, 0, NULL },
		{ "unknown unit", "3y", false, 0, NULL },
		{ "no number", "ms", false, 0, NULL },
		{ "a fraction", "1.5s", false, 0, NULL },
	};
	struct buf b = BUF(64);
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t got = 0;

		assert_row(rows[i].row, text_duration(span_of(rows[i].text), &got) == rows[i].ok);
		assert_row(rows[i].row, got == rows[i].want);
		if (!rows[i].ok)
			continue;
		buf_clear(&b);
		text_add_duration(&b, got);
		assert_span(rows[i].row, buf_span(&b), span_of(rows[i].printed));
	}
	assert_true(text_size(SPAN("10M"), &size));
	assert_int_equal(size, 10 << 20);
	assert_true(text_size(SPAN("64K"), &size));
	assert_int_equal(size, 65536);
	assert_true(text_size(SPAN("17"), &size));
	assert_int_equal(size, 17);
	assert_true(text_size(SPAN("16777215G"), &size));
	assert_false(text_size(SPAN("99999999999G"), &size));
	buf_clear(&b);
	text_add_size(&b, (uint64_t)3 << 29);
	assert_span("1.5 G is printed in M", buf_span(&b), SPAN("1536M"));
	buf_free(&b);
}

static void
times(void **state)
{
	static const struct {
		const char *row, *text;
		bool ok;
		int64_t want;
	} rows[] = {
		{ "a day", "2026-01-31", true, 1769817600000 },
		{ "UTC", "2026-01-31T12:00:00Z", true, 1769860800000 },
		{ "a zone", "2026-01-31T14:00:00+02:00", true, 1769860800000 },
		{ "a zone to the west", "2026-01-31T06:30:00-05:30", true, 1769860800000 },
		{ "a fraction", "2026-01-31T12:00:00.25Z", true, 1769860800250 },
		{ "finer than we keep", "2026-01-31T12:00:00.2509999Z", true, 1769860800250 },
		{ "small letters", "2026-01-31t12:00:00z", true, 1769860800000 },
		{ "seconds since 1970", "1769860800", true, 1769860800000 },
		{ "a leap day", "2024-02-29", true, 1709164800000 },
		{ "no leap day", "2026-02-29", false, 0 },
		{ "nor in 1900", "1900-02-29", false, 0 },
		{ "month 13", "2026-13-01", false, 0 },
		{ "day 0", "2026-01-00", false, 0 },
		{ "hour 24", "2026-01-31T24:00:00Z", false, 0 },
		{ "no zone", "2026-01-31T12:00:00", false, 0 },
		{ "zone without colon", "2026-01-31T12:00:00+0200", false, 0 },
		{ "a dot without digits", "2026-01-31T12:00:00.Z", false, 0 },
		{ "something behind", "2026-01-31x", false, 0 },
		{ "nothing", "", false, 0 },
	};
	struct buf b = BUF(64);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t got = 0;

		assert_row(rows[i].row, text_time(span_of(rows[i].text), &got) == rows[i].ok);
		if (got != rows[i].want)
			fail_msg("%s: %lld", rows[i].row, (long long)got);
	}
	text_add_time(&b, 1769860800999);
	buf_addc(&b, ' ');
	text_add_day(&b, 1769860800999);
	buf_addc(&b, ' ');
	text_add_time(&b, -1);
	assert_span("printed", buf_span(&b), SPAN("2026-01-31T12:00:00Z 2026-01-31 1969-12-31T23:59:59Z"));
	buf_free(&b);
}

static void
quoting(void **state)
{
	struct buf b = BUF(256);

	(void)state;
	text_add_json(&b, SPAN("a\"\\\n\x01\x7f\xc3\xa4\xff\xed\xa0\x80"));
	assert_span("json", buf_span(&b),
	    SPAN("\"a\\\"\\\\\\u000a\\u0001\\u007f\xc3\xa4\\ufffd\\ufffd\\ufffd\\ufffd\""));
	buf_clear(&b);
	text_add_csv(&b, SPAN("plain"));
	buf_addc(&b, ',');
	text_add_csv(&b, SPAN("a;b"));
	buf_addc(&b, ',');
	text_add_csv(&b, SPAN("a,\"b\"\r\n"));
	assert_span("csv", buf_span(&b), SPAN("plain,\"a;b\",\"a,\"\"b\"\"\r\n\""));
	buf_clear(&b);
	text_add_html(&b, SPAN("<a href=\"x\" b='y'>&"));
	assert_span("html", buf_span(&b), SPAN("&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;"));
	buf_clear(&b);
	text_add_hex(&b, "\x00\xffz", 3);
	assert_span("hex", buf_span(&b), SPAN("00ff7a"));
	buf_free(&b);
}

static void
reading_hex(void **state)
{
	unsigned char out[2] = { 9, 9 };

	(void)state;
	assert_true(text_hex(SPAN("0aFf"), out, 2));
	assert_int_equal(out[0], 0x0a);
	assert_int_equal(out[1], 0xff);
	assert_false(text_hex(SPAN("0aF"), out, 2));
	assert_false(text_hex(SPAN("0aFf0"), out, 2));
	assert_false(text_hex(SPAN("0aFg"), out, 2));
	assert_false(text_hex(span_make("0a\0f", 4), out, 2));
}

static void
utf8(void **state)
{
	static const struct {
		const char *row;
		struct span bytes;
		size_t want;
	} rows[] = {
		{ "ASCII", SPAN("a"), 1 },
		{ "the last of two bytes", SPAN("\xdf\xbf"), 2 },
		{ "overlong slash", SPAN("\xc0\xaf"), 0 },
		{ "first of three", SPAN("\xe0\xa0\x80"), 3 },
		{ "overlong three", SPAN("\xe0\x9f\xbf"), 0 },
		{ "before the surrogates", SPAN("\xed\x9f\xbf"), 3 },
		{ "a surrogate", SPAN("\xed\xa0\x80"), 0 },
		{ "the last character", SPAN("\xf4\x8f\xbf\xbf"), 4 },
		{ "one past it", SPAN("\xf4\x90\x80\x80"), 0 },
		{ "cut short", SPAN("\xe2\x82"), 0 },
		{ "a lone continuation", SPAN("\x80"), 0 },
		{ "nothing", SPAN(""), 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].row, text_utf8(rows[i].bytes) == rows[i].want);
	assert_true(text_is_utf8(SPAN("\xd0\xbf\xd1\x80")));
	assert_false(text_is_utf8(SPAN("ok\xff")));
}

static void
distances(void **state)
{
	(void)state;
	assert_int_equal(text_distance(SPAN("data_dir"), SPAN("data_dir")), 0);
	assert_int_equal(text_distance(SPAN("date_dir"), SPAN("data_dir")), 1);
	assert_int_equal(text_distance(SPAN("adta_dir"), SPAN("data_dir")), 1); /* swapped neighbours */
	assert_int_equal(text_distance(SPAN("datadir"), SPAN("data_dir")), 1);
	assert_int_equal(text_distance(SPAN(""), SPAN("abc")), 3);
	assert_int_equal(text_distance(SPAN("kitten"), SPAN("sitting")), 3);
}

static const struct {
	const char *what, *header, *want;
} parameters[] = {
	{ "a token", "text/plain; charset=utf-8", "utf-8" },
	{ "quoted", "text/plain; charset=\"utf-8\"", "utf-8" },
	{ "blanks and letter case", "x ;\tCharSet = utf-8 ; y", "utf-8" },
	{ "the first of two", "x; charset=a; charset=b", "a" },
	{ "a semicolon in quotes", "x; a=\";charset=no\"; charset=\"a;b\"", "a;b" },
	{ "an escaped quote", "x; a=\"\\\";charset=no\"; charset=yes", "yes" },
	{ "quotes that do not end", "x; a=\"; charset=no", "" },
	{ "a backslash at the end", "x; charset=\"\\", "\\" },
	{ "no value", "x; charset", "" },
	{ "an empty one", "x; charset=; y", "" },
	{ "an empty one in quotes", "x; charset=\"\"; y", "" },
	{ "before the first semicolon there is none", "charset=no", "" },
	{ "nothing", "", "" },
};

static void
test_parameters(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(parameters); i++)
		assert_span(parameters[i].what, text_parameter(span_of(parameters[i].header), SPAN("charset")), span_of(parameters[i].want));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(durations_and_sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(quoting),
		cmocka_unit_test(reading_hex),
		cmocka_unit_test(utf8),
		cmocka_unit_test(distances),
		cmocka_unit_test(test_parameters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
