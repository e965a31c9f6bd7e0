#include "common/codec.h"
#include "tests/unit/unit.h"

/* RFC 4648 section 10, without padding, and the two characters that make it base64url. */
static const struct {
	const char *bytes, *text;
} url_rows[] = {
	{ "", "" },
	{ "f", "Zg" },
	{ "fo", "Zm8" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg" },
	{ "fooba", "Zm9vYmE" },
	{ "foobar", "Zm9vYmFy" },
	{ "\xfb\xff\xfe", "-__-" },
};

static void
test_url(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(url_rows); i++) {
		struct buf b = BUF(100);

		base64url_add(&b, span_of(url_rows[i].bytes));
		assert_span(url_rows[i].bytes, buf_span(&b), span_of(url_rows[i].text));
		buf_clear(&b);
		assert_true(base64url_read(&b, span_of(url_rows[i].text)));
		assert_span(url_rows[i].text, buf_span(&b), span_of(url_rows[i].bytes));
		buf_free(&b);
	}
}

static const struct {
	const char *what, *text;
} url_bad[] = {
	{ "a lone character", "Z" },
	{ "a lone character after a group", "Zm9vZ" },
	{ "padding", "Zg==" },
	{ "four bits that stand for nothing", "Zh" },
	{ "two bits that stand for nothing", "Zm9" },
	{ "the other alphabet", "+/+/" },
	{ "a space", "Zm 8" },
	{ "a line break at the end", "Zm8\n" },
	{ "a byte above ASCII", "Zm\xc3" },
};

static void
test_url_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(url_bad); i++) {
		struct buf b = BUF(100);

		buf_adds(&b, "kept");
		if (base64url_read(&b, span_of(url_bad[i].text)))
			fail_msg("accepted: %s", url_bad[i].what);
		assert_span(url_bad[i].what, buf_span(&b), SPAN("kept"));
		buf_free(&b);
	}
}

/* Of the 64 last characters exactly those with zero spare bits are good. */
static void
test_url_one_spelling(void **state)
{
	struct buf b = BUF(10);
	unsigned good2 = 0, good3 = 0;

	(void)state;
	for (int c = 0; c < 256; c++) {
		char two[2] = { 'A', (char)c }, three[3] = { 'A', 'A', (char)c };

		buf_clear(&b);
		good2 += base64url_read(&b, span_make(two, 2));
		buf_clear(&b);
		good3 += base64url_read(&b, span_make(three, 3));
	}
	assert_int_equal(good2, 4);
	assert_int_equal(good3, 16);
	buf_free(&b);
}

static void
test_url_cap(void **state)
{
	struct buf fits = BUF(4), short_by_one = BUF(3);

	(void)state;
	base64url_add(&fits, SPAN("foo"));
	assert_span("at the cap", buf_span(&fits), SPAN("Zm9v"));
	base64url_add(&short_by_one, SPAN("foo"));
	assert_true(short_by_one.over);
	assert_int_equal(short_by_one.n, 0);
	buf_clear(&short_by_one);
	assert_true(base64url_read(&short_by_one, SPAN("Zm9v")));
	assert_false(base64url_read(&short_by_one, SPAN("Zm9v")));
	assert_span("full", buf_span(&short_by_one), SPAN("foo"));
	buf_free(&fits);
	buf_free(&short_by_one);
}

static const struct {
	const char *what, *text, *bytes; /* NULL: refused */
} mime_rows[] = {
	{ "nothing", "", "" },
	{ "only white space", " \r\n\t", "" },
	{ "padded twice", "Zg==", "f" },
	{ "padded once", "Zm8=", "fo" },
	{ "whole", "Zm9v", "foo" },
	{ "padding forgotten", "Zg", "f" },
	{ "broken into lines", "Zm\r\n9v\r\nYg\r\n==\r\n", "foob" },
	{ "padding apart", "Zg=\n=\n", "f" },
	{ "spare bits, as some write them", "Zh==", "f" },
	{ "both special characters", "+/+/", "\xfb\xff\xbf" },
	{ "odd line lengths", "Z\nm9\nvYm\nFy\nZm9vYmFyZm9v\nY\n", NULL },
	{ "odd line lengths that add up", "Z\nm9\nvYm\nFy\nZm9vYmFyZm9v\nYg\n==\n", "foobarfoobarfoob" },
	{ "empty lines and white space at the ends of lines", "\r\n\r\nZm9v \t\r\n\r\nYmFy\t\n \n", "foobar" },
	{ "one padding short", "Zg=", NULL },
	{ "one padding too many", "Zm8==", NULL },
	{ "padding after a whole group", "Zm9v=", NULL },
	{ "only padding", "====", NULL },
	{ "data after padding", "Zg==Zg==", NULL },
	{ "data after padding, on a line of its own", "Zm9vZg==\r\nZm9v\r\n", NULL },
	{ "padding in the middle", "Zg=v", NULL },
	{ "a foreign byte in a whole group", "Zm9vZ*9vZm9v", NULL },
	{ "a foreign byte behind the padding", "Zg==.", NULL },
	{ "a lone last character", "Zm9vZ", NULL },
	{ "a foreign byte", "Zm9v!", NULL },
	{ "the other alphabet", "-_-_", NULL },
	{ "a byte above ASCII", "Zm9\xf6", NULL },
};

static void
test_mime_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(mime_rows); i++) {
		struct buf b = BUF(100);
		bool ok;

		buf_adds(&b, ">");
		ok = base64_read(&b, span_of(mime_rows[i].text));
		if (ok != (mime_rows[i].bytes != NULL))
			fail_msg("%s", mime_rows[i].what);
		assert_span(mime_rows[i].what, buf_span(&b), span_of(ok ? buf_cstr(&b) : ">"));
		if (ok && !span_eq(span_from(buf_span(&b), 1), span_of(mime_rows[i].bytes)))
			fail_msg("%s", mime_rows[i].what);
		buf_free(&b);
	}
}

static void
test_mime_lines(void **state)
{
	char in[58];
	struct buf b = BUF(1000), back = BUF(1000);

	(void)state;
	memset(in, 'x', sizeof in);
	base64_add_lines(&b, SPAN(""), SPAN("\r\n"));
	assert_int_equal(b.n, 0);
	base64_add_lines(&b, span_make(in, 57), SPAN("\r\n"));
	assert_int_equal(b.n, 78); /* one full line */
	buf_clear(&b);
	base64_add_lines(&b, span_make(in, 58), SPAN("\n"));
	assert_int_equal(b.n, 77 + 5);
	assert_memory_equal(b.p + 77, "eA==\n", 5);
	assert_true(base64_read(&back, buf_span(&b)));
	assert_span("back", buf_span(&back), span_make(in, 58));
	buf_free(&b);
	buf_free(&back);
}

static void
test_mime_round(void **state)
{
	struct buf b = BUF(10000), back = BUF(10000);
	char in[300];

	(void)state;
	srand(1);
	for (size_t n = 0; n < sizeof in; n++) {
		for (size_t i = 0; i < n; i++)
			in[i] = (char)rand();
		buf_clear(&b);
		buf_clear(&back);
		base64_add_lines(&b, span_make(in, n), SPAN("\r\n"));
		if (n > 0) { /* the room that the header asks for, and one byte less */
			back.max = BASE64_ROOM(b.n) - 1;
			assert_false(base64_read(&back, buf_span(&b)));
			assert_true(back.n == 0 && back.over);
			buf_clear(&back);
		}
		back.max = BASE64_ROOM(b.n);
		assert_true(base64_read(&back, buf_span(&b)));
		assert_span("base64", buf_span(&back), span_make(in, n));
		buf_clear(&b);
		buf_clear(&back);
		base64url_add(&b, span_make(in, n));
		assert_true(base64url_read(&back, buf_span(&b)));
		assert_span("base64url", buf_span(&back), span_make(in, n));
	}
	buf_free(&b);
	buf_free(&back);
}

static const struct {
	const char *what, *line, *bytes; /* NULL: refused */
	bool soft;
} qp_rows[] = {
	{ "nothing", "", "", false },
	{ "text", "text", "text", false },
	{ "an escape", "a=3Db", "a=b", false },
	{ "small digits", "a=3db", "a=b", false },
	{ "escapes in a row", "=C3=A4", "\xc3\xa4", false },
	{ "an escape at the end", "a=20", "a ", false },
	{ "a soft break", "text=", "text", true },
	{ "a soft break alone", "=", "", true },
	{ "a space before a soft break stays", "text =", "text ", true },
	{ "spaces after a soft break go", "text= \t", "text", true },
	{ "trailing white space goes", "text \t ", "text", false },
	{ "only white space", "  ", "", false },
	{ "white space inside stays", "a \tb", "a \tb", false },
	{ "raw bytes above ASCII stay", "\xe4", "\xe4", false },
	{ "a cut escape", "a=3", NULL, false },
	{ "no digits", "a=zzb", NULL, false },
	{ "one digit", "a=3zb", NULL, false },
	{ "two equals signs", "a==", NULL, false },
	{ "an equals sign before an escape", "==3D", NULL, false },
	{ "an escape cut by white space", "=3 ", NULL, false },
	{ "cut before a soft break", "=3=", NULL, false },
	{ "one line of two", "a\nb", "a\n", false },
	{ "an empty line", "\r\nb", "\r\n", false },
	{ "a line break stays as it is", "a\r\nb", "a\r\n", false },
	{ "a soft break before a line break", "a=\r\nb", "a", true },
	{ "spaces after a soft break, before a line break", "a= \t\nb", "a", true },
	{ "white space before a line break goes", "a \t\r\nb", "a\r\n", false },
	{ "encoded white space before a line break stays", "a=20\r\nb", "a \r\n", false },
	{ "a lone CR stays", "a\rb\r", "a\rb\r", false },
	{ "CR CR LF", "a \r\r\nb", "a \r\r\n", false },
	{ "a soft break before CR CR LF is none", "a=\r\r\nb", NULL, false },
	{ "an escape cut by a line break", "a=3\nD", NULL, false },
	{ "sixteen bytes and an escape", "abcdefghijklmnop=3Dq", "abcdefghijklmnop=q", false },
	{ "an escape across sixteen bytes", "abcdefghijklmno=3Dq", "abcdefghijklmno=q", false },
};

static void
test_qp_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(qp_rows); i++) {
		struct span line = span_of(qp_rows[i].line);
		struct buf b = BUF(100);
		bool soft, ok;

		buf_adds(&b, ">");
		ok = qp_read_line(&b, &line, &soft);
		if (ok != (qp_rows[i].bytes != NULL) || (ok && soft != qp_rows[i].soft))
			fail_msg("%s", qp_rows[i].what);
		assert_span(qp_rows[i].what, line, ok ? span_from(span_of(qp_rows[i].line), span_find(span_of(qp_rows[i].line), '\n') + 1)
						      : span_of(qp_rows[i].line));
		if (!span_eq(span_from(buf_span(&b), 1), span_of(ok ? qp_rows[i].bytes : "")))
			fail_msg("%s: \"%s\"", qp_rows[i].what, buf_cstr(&b));
		buf_free(&b);
	}
}

#define A10 "aaaaaaaaaa"
#define A70 A10 A10 A10 A10 A10 A10 A10

static const struct {
	const char *what, *bytes, *text;
	bool soft_end;
} qp_out[] = {
	{ "nothing", "", "", false },
	{ "nothing, left open", "", "", true },
	{ "text", "text", "text", false },
	{ "text, left open", "text", "text=\r\n", true },
	{ "an equals sign", "a=b", "a=3Db", false },
	{ "UTF-8", "\xc3\xa4", "=C3=A4", false },
	{ "line breaks stay as they are", "a\r\nb\nc\r\n", "a\r\nb\nc\r\n", false },
	{ "a line break ends an open end", "a\r\n", "a\r\n", true },
	{ "a lone CR", "a\rb", "a=0Db", false },
	{ "CR CR LF", "a\r\r\n", "a=0D\r\n", false },
	{ "a space at the end of a line", "a \r\nb", "a=20\r\nb", false },
	{ "a tab at the end of a line", "a\t\nb", "a=09\nb", false },
	{ "a space at the end", "a ", "a=20", false },
	{ "a space at an open end", "a ", "a =\r\n", true },
	{ "a space inside", "a b", "a b", false },
	{ "a dot alone", ".", "=2E", false },
	{ "a dot inside", "a.", "a.", false },
	{ "what looks like a boundary", "--x", "=2D-x", false },
	{ "a dash", "-x", "-x", false },
	{ "what looks like a mailbox separator", "From x", "=46rom x", false },
	{ "and does not", "Fromage", "Fromage", false },
	{ "76 characters", A70 "bbbbbb", A70 "bbbbbb", false },
	{ "77 characters", A70 "bbbbbbb", A70 "bbbbb=\r\nbb", false },
	{ "75 characters, left open", A70 "bbbbb", A70 "bbbbb=\r\n", true },
	{ "76 characters, left open", A70 "bbbbbb", A70 "bbbbb=\r\nb=\r\n", true },
	{ "an escape that fits at the end", A70 "bbb=", A70 "bbb=3D", false },
	{ "an escape that does not", A70 "bbbb=", A70 "bbbb=\r\n=3D", false },
	{ "an escape that leaves no room to go on", A70 "bbb=c", A70 "bbb=\r\n=3Dc", false },
	{ "76 characters and a line break", A70 "bbbbbb\n", A70 "bbbbbb\n", false },
	{ "a dot after a soft break", A70 "bbbbb.c", A70 "bbbbb=\r\n=2Ec", false },
};

static void
test_qp_add(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(qp_out); i++) {
		struct buf b = BUF(300);

		qp_add(&b, span_of(qp_out[i].bytes), SPAN("\r\n"), qp_out[i].soft_end);
		assert_span(qp_out[i].what, buf_span(&b), span_of(qp_out[i].text));
		buf_free(&b);
	}
}

/* Reads lines as the MIME reader does. */
static void
qp_read(struct buf *out, struct span text)
{
	while (text.n > 0) {
		size_t n = span_find(text, '\n');
		struct span line = span_cut(text, 0, n);
		bool soft;

		line.n -= span_ends(line, SPAN("\r")) && n < text.n;
		assert_true(line.n <= 76);
		assert_true(qp_read_line(out, &text, &soft));
	}
}

static void
test_qp_round(void **state)
{
	static const char likely[] = "  \t\r\n\r\n.-=aF\xe4";
	struct buf b = BUF(10000), back = BUF(10000);
	char in[400];

	(void)state;
	srand(2);
	for (size_t n = 0; n < sizeof in; n++) {
		for (size_t i = 0; i < n; i++)
			in[i] = n % 2 ? (char)rand() : likely[(size_t)rand() % (sizeof likely - 1)];
		for (int soft = 0; soft < 2; soft++) {
			buf_clear(&b);
			buf_clear(&back);
			qp_add(&b, span_make(in, n), n % 3 ? SPAN("\r\n") : SPAN("\n"), soft);
			qp_read(&back, buf_span(&b));
			assert_span("quoted-printable", buf_span(&back), span_make(in, n));
		}
	}
	buf_free(&b);
	buf_free(&back);
}

static void
test_numbers(void **state)
{
	unsigned char b[8];

	(void)state;
	put_u64(b, 0x0102030405060708);
	assert_memory_equal(b, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
	assert_true(get_u64(b) == 0x0102030405060708);
	put_u32(b, 0xfffefdfc);
	assert_memory_equal(b, "\xfc\xfd\xfe\xff", 4);
	assert_true(get_u32(b) == 0xfffefdfc);
	put_u16(b, 0xfffe);
	assert_memory_equal(b, "\xfe\xff", 2);
	assert_int_equal(get_u16(b), 0xfffe);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_url_bad),
		cmocka_unit_test(test_url_one_spelling),
		cmocka_unit_test(test_url_cap),
		cmocka_unit_test(test_mime_read),
		cmocka_unit_test(test_mime_lines),
		cmocka_unit_test(test_mime_round),
		cmocka_unit_test(test_qp_read),
		cmocka_unit_test(test_qp_add),
		cmocka_unit_test(test_qp_round),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
