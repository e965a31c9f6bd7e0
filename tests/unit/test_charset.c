#include "milter/charset.h"
#include "tests/unit/unit.h"

static const struct {
	const char *label;
	enum charset_kind kind;
	const char *name;
} labels[] = {
	{ "utf-8", CHARSET_UTF8, NULL },
	{ "UTF8", CHARSET_UTF8, NULL },
	{ "us-ascii", CHARSET_SUPERSET, NULL },
	{ "ANSI_X3.4-1968", CHARSET_SUPERSET, NULL },
	{ "ISO-8859-1", CHARSET_SUPERSET, NULL },
	{ "iso-8859-16", CHARSET_SUPERSET, NULL },
	{ "iso-8859-17", CHARSET_UNKNOWN, NULL },
	{ "iso-8859-0", CHARSET_UNKNOWN, NULL },
	{ "iso-8859-", CHARSET_UNKNOWN, NULL },
	{ "iso-8859-1x", CHARSET_UNKNOWN, NULL },
	{ "iso-8859-8-i", CHARSET_SUPERSET, NULL },
	{ "windows-1250", CHARSET_SUPERSET, NULL },
	{ "windows-1258", CHARSET_SUPERSET, NULL },
	{ "windows-1259", CHARSET_UNKNOWN, NULL },
	{ "cp1251", CHARSET_SUPERSET, NULL },
	{ "windows-874", CHARSET_SUPERSET, NULL },
	{ "tis-620", CHARSET_SUPERSET, NULL },
	{ "koi8-r", CHARSET_SUPERSET, NULL },
	{ "gb2312", CHARSET_SUPERSET, NULL },
	{ "GB18030", CHARSET_SUPERSET, NULL },
	{ "big5", CHARSET_SUPERSET, NULL },
	{ "Shift_JIS", CHARSET_SUPERSET, NULL },
	{ "euc-jp", CHARSET_SUPERSET, NULL },
	{ "ks_c_5601-1987", CHARSET_SUPERSET, NULL },
	{ "macintosh", CHARSET_SUPERSET, NULL },
	{ "johab", CHARSET_UNKNOWN, NULL },
	{ "cp1361", CHARSET_UNKNOWN, NULL },
	{ "ebcdic-us", CHARSET_UNKNOWN, NULL },
	{ "ibm037", CHARSET_UNKNOWN, NULL },
	{ "hz-gb-2312", CHARSET_UNKNOWN, NULL },
	{ "iso-2022-cn-ext", CHARSET_UNKNOWN, NULL },
	{ "iso-2022-jp-3", CHARSET_UNKNOWN, NULL },
	{ "utf-8//translit", CHARSET_UNKNOWN, NULL },
	{ "iso-2022-jp//ignore", CHARSET_UNKNOWN, NULL },
	{ "", CHARSET_UNKNOWN, NULL },
	{ "ISO-2022-JP", CHARSET_CONVERTED, "ISO-2022-JP" },
	{ "csISO2022JP", CHARSET_CONVERTED, "ISO-2022-JP" },
	{ "iso-2022-kr", CHARSET_CONVERTED, "ISO-2022-KR" },
	{ "utf-16", CHARSET_CONVERTED, "UTF-16" },
	{ "unicode", CHARSET_CONVERTED, "UTF-16" },
	{ "UTF-16LE", CHARSET_CONVERTED, "UTF-16LE" },
};

static void
test_labels(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(labels); i++) {
		const char *name = NULL;

		assert_row(labels[i].label, charset_find(span_of(labels[i].label), &name) == labels[i].kind);
		assert_row(labels[i].label, (name == NULL) == (labels[i].name == NULL));
		if (name != NULL)
			assert_string_equal(name, labels[i].name);
	}
}

/*
 * The promise of CHARSET_SUPERSET, held against the machine's own tables: no
 * character outside ASCII has a byte that is markup or white space.
 */
static void
test_supersets(void **state)
{
	static const char *const names[] = {
		"ISO-8859-2", "ISO-8859-6", "ISO-8859-8", "ISO-8859-16", "CP1250", "CP1256", "CP1258", "CP874", "TIS-620",
		"KOI8-R", "KOI8-U", "KOI8-T", "VISCII", "CP437", "CP850", "CP852", "CP855", "CP866", "MACINTOSH",
		"GBK", "GB18030", "BIG5", "BIG5-HKSCS", "EUC-TW", "SJIS", "CP932", "EUC-JP", "CP949", "EUC-KR", "EUC-CN",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		iconv_t cd = iconv_open(names[i], "UTF-32LE");

		assert_row(names[i], cd != (iconv_t)-1);
		for (uint32_t c = 0x80; c < 0x30000; c++) {
			unsigned char in[4] = { (unsigned char)c, (unsigned char)(c >> 8), (unsigned char)(c >> 16), 0 };
			char out[16], *from = (char *)in, *to = out;
			size_t left = sizeof in, room = sizeof out;

			iconv(cd, NULL, NULL, NULL, NULL);
			if (iconv(cd, &from, &left, &to, &room) != 0 || iconv(cd, NULL, NULL, &to, &room) != 0)
				continue;
			for (const char *p = out; p < to; p++)
				if (memchr("<>\"'&/= \t\r\n\f", *p, 12) != NULL)
					fail_msg("%s: U+%04X has byte %02x", names[i], c, (unsigned char)*p);
		}
		iconv_close(cd);
	}
}

#define NICHI "\xe6\x97\xa5"
#define JIS "\033$B"
#define ASCII "\033(B"
#define B(s) s, sizeof(s) - 1

/* Each OLD in the text becomes `new`. */
static const struct {
	const char *what, *name;
	const char *bytes;
	size_t n;
	const char *utf8; /* the text; NULL: why says why there is none */
	const char *new;
	const char *out;
	size_t nout;
	const char *why;
} rows[] = {
	{ "Japanese around an edit", "ISO-2022-JP", B(JIS "F|" ASCII "<OLD>" JIS "F|" ASCII), NICHI "<OLD>" NICHI, "N", B(JIS "F|" ASCII "<N>" JIS "F|" ASCII), NULL },
	{ "an edit right behind Japanese", "ISO-2022-JP", B(JIS "F|" ASCII "OLD>"), NICHI "OLD>", "N", B(JIS "F|" ASCII "N>"), NULL },
	{ "an edit right before Japanese", "ISO-2022-JP", B("<OLD" JIS "F|" ASCII), "<OLD" NICHI, "N", B("<N" JIS "F|" ASCII), NULL },
	{ "an edit between Japanese", "ISO-2022-JP", B(JIS "F|" ASCII "OLD" JIS "F|" ASCII "<"), NICHI "OLD" NICHI "<", "N", B(JIS "F|" ASCII "N" JIS "F|" ASCII "<"), NULL },
	{ "what kept two Japanese apart goes", "ISO-2022-JP", B(JIS "F|" ASCII "OLD" JIS "F|" ASCII "<"), NICHI "OLD" NICHI "<", "", B(JIS "F|F|" ASCII "<"), NULL },
	{ "an edit at the very end", "ISO-2022-JP", B(JIS "F|" ASCII "OLD"), NICHI "OLD", "N", B(JIS "F|" ASCII "N"), NULL },
	{ "nothing comes after it", "ISO-2022-JP", B(JIS "F|" ASCII "OLD"), NICHI "OLD", "", B(JIS "F|" ASCII), NULL },
	{ "two edits side by side", "ISO-2022-JP", B(JIS "F|" ASCII "OLDOLD" JIS "F|" ASCII), NICHI "OLDOLD" NICHI, "N", B(JIS "F|" ASCII "NN" JIS "F|" ASCII), NULL },
	{ "one character between two edits", "ISO-2022-JP", B("OLD" JIS "F|" ASCII "OLD"), "OLD" NICHI "OLD", "N", B("N" JIS "F|" ASCII "N"), NULL },
	{ "the end of a line behind it", "ISO-2022-JP", B(JIS "F|" ASCII "OLD\r\n"), NICHI "OLD\r\n", "N", B(JIS "F|" ASCII "N\r\n"), NULL },
	{ "only ASCII", "ISO-2022-JP", B("aOLDb"), "aOLDb", "N", B("aNb"), NULL },
	{ "new text that is not ASCII", "ISO-2022-JP", B("aOLDb"), "aOLDb", NICHI, B("a" JIS "F|" ASCII "b"), NULL },
	{ "new text that the charset does not have", "ISO-2022-JP", B("aOLDb"), "aOLDb", "\xf0\x9f\x98\x80", NULL, 0, NULL },
	{ "new text that the charset drops without a word", "ISO-2022-JP-2", B("aOLDb"), "aOLDb", "\xf3\xa0\x81\x81", NULL, 0, NULL },
	{ "Korean", "ISO-2022-KR", B("\033$)C<\x0e\x47\x51\x0fOLD>"), "<\xed\x95\x9cOLD>", "N", B("\033$)C<\x0e\x47\x51\x0fN>"), NULL },
	{ "Korean, an edit at its start", "ISO-2022-KR", B("\033$)COLD"), "OLD", "N", B("\033$)CN"), NULL },
	{ "Chinese", "ISO-2022-CN", B("<OLD>\033$)A\x0eHU\x0f\n"), "<OLD>" NICHI "\n", "N", B("<N>\033$)A\x0eHU\x0f\n"), NULL },
	{ "UTF-16, little end first", "UTF-16", B("\xff\xfe<\0O\0L\0D\0\xe5\x65"), "\xef\xbb\xbf<OLD" NICHI, "Nn", B("\xff\xfe<\0N\0n\0\xe5\x65"), NULL },
	{ "UTF-16, big end first", "UTF-16", B("\xfe\xff\0<\0O\0L\0D\x65\xe5"), "\xef\xbb\xbf<OLD" NICHI, "N", B("\xfe\xff\0<\0N\x65\xe5"), NULL },
	{ "UTF-16LE without a mark", "UTF-16LE", B("O\0L\0D\0"), "OLD", "N", B("N\0"), NULL },
	{ "a surrogate pair", "UTF-16BE", B("\xd8\x3d\xde\0\0O\0L\0D"), "\xf0\x9f\x98\x80OLD", "N", B("\xd8\x3d\xde\0\0N"), NULL },
	{ "UTF-32", "UTF-32", B("\0\0\xfe\xff\0\0\0O\0\0\0L\0\0\0D"), "\xef\xbb\xbfOLD", "N", B("\0\0\xfe\xff\0\0\0N"), NULL },
	{ "UTF-7, where nothing is in base64 next to it", "UTF-7", B("+ZeU OLD-a"), NICHI " OLD-a", "N", B("+ZeU N-a"), NULL },

	{ "UTF-16 without a mark", "UTF-16", B("<\0a\0"), NULL, NULL, NULL, 0, "no byte order mark" },
	{ "UTF-16, half a character", "UTF-16", B("\xff\xfe<"), NULL, NULL, NULL, 0, "text is not in its charset" },
	{ "UTF-16, half a pair", "UTF-16LE", B("\x3d\xd8<\0"), NULL, NULL, NULL, 0, "text is not in its charset" },
	{ "UTF-32 above Unicode", "UTF-32BE", B("\0\x11\0\0"), NULL, NULL, NULL, 0, "text is not in its charset" },
	{ "ISO-2022-JP with eight bits", "ISO-2022-JP", B("caf\xe9"), NULL, NULL, NULL, 0, "text is not in its charset" },
	{ "a cut escape sequence", "ISO-2022-JP", B("a\033$"), NULL, NULL, NULL, 0, "text is not in its charset" },
	{ "JIS-Roman instead of ASCII", "ISO-2022-JP", B(JIS "F|\033(J<a>"), NULL, NULL, NULL, 0, "charset does not convert back" },
	{ "a shift too many", "ISO-2022-JP", B(ASCII "<a>"), NULL, NULL, NULL, 0, "charset does not convert back" },
	{ "a shift at the end that shifts nothing", "ISO-2022-JP", B("<a>" ASCII), NULL, NULL, NULL, 0, "charset does not convert back" },
	{ "UTF-7 with markup as it is", "UTF-7", B("<a>"), NULL, NULL, NULL, 0, "charset does not convert back" },
};

static void
edit_old(struct edits *in, struct span text, const char *new)
{
	for (size_t at = 0; (at += span_search(span_from(text, at), SPAN("OLD"))) < text.n; at += 3)
		edits_add(in, at, at + 3, span_of(new));
}

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span bytes = span_make(rows[i].bytes, rows[i].n);
		struct buf utf8 = BUF(CHARSET_ROOM(bytes.n)), after = BUF(1000);
		struct charset c;
		struct edits in, out;
		const char *why = charset_open(&c, rows[i].name, bytes, &utf8);
		bool good;

		if (rows[i].utf8 == NULL) {
			assert_row(rows[i].what, why != NULL);
			assert_string_equal(why, rows[i].why);
			charset_close(&c);
			buf_free(&utf8);
			continue;
		}
		assert_row(rows[i].what, why == NULL);
		assert_span(rows[i].what, buf_span(&utf8), span_of(rows[i].utf8));
		edits_init(&in, 1000);
		edits_init(&out, 1000);
		edit_old(&in, buf_span(&utf8), rows[i].new);
		good = charset_write(&c, bytes, buf_span(&utf8), &in, &out);
		assert_row(rows[i].what, good == (rows[i].out != NULL));
		splice(&after, bytes, out.edit, out.n, buf_span(&out.text));
		assert_span(rows[i].what, buf_span(&after), good ? span_make(rows[i].out, rows[i].nout) : bytes);
		edits_free(&in);
		edits_free(&out);
		charset_close(&c);
		buf_free(&utf8);
		buf_free(&after);
	}
}

/* An edit of one place changes nothing elsewhere: the edit of the bytes is as small as it can be. */
static void
test_small_edits(void **state)
{
	struct span bytes = SPAN(JIS "F|" ASCII "\r\n<a href=\"OLD\">" JIS "F|" ASCII "</a>\r\n");
	struct buf utf8 = BUF(1000);
	struct charset c;
	struct edits in, out;

	(void)state;
	assert_null(charset_open(&c, "ISO-2022-JP", bytes, &utf8));
	edits_init(&in, 100);
	edits_init(&out, 100);
	edit_old(&in, buf_span(&utf8), "new");
	assert_true(charset_write(&c, bytes, buf_span(&utf8), &in, &out));
	assert_int_equal(out.n, 1);
	assert_int_equal(out.edit[0].start, span_search(bytes, SPAN("OLD")));
	assert_int_equal(out.edit[0].end - out.edit[0].start, 3);
	assert_int_equal(out.edit[0].n, 3);
	edits_free(&in);
	edits_free(&out);
	charset_close(&c);
	buf_free(&utf8);
}

/* The shift at the end of the text belongs to both edits. */
static void
test_end(void **state)
{
	struct span bytes = SPAN("a" JIS "F|" ASCII);
	struct buf utf8 = BUF(1000), after = BUF(1000);
	struct charset c;
	struct edits in, out;

	(void)state;
	assert_null(charset_open(&c, "ISO-2022-JP", bytes, &utf8));
	edits_init(&in, 100);
	edits_init(&out, 100);
	edits_add(&in, 0, 1, SPAN("b"));
	edits_add(&in, utf8.n, utf8.n, SPAN("N"));
	assert_true(charset_write(&c, bytes, buf_span(&utf8), &in, &out));
	splice(&after, bytes, out.edit, out.n, buf_span(&out.text));
	assert_span("both ends", buf_span(&after), SPAN("b" JIS "F|" ASCII "N"));
	edits_free(&in);
	edits_free(&out);
	charset_close(&c);
	buf_free(&utf8);
	buf_free(&after);
}

/* More than one piece of conversion, and edits all over it. */
static void
test_long(void **state)
{
	struct buf bytes = BUF(1000000), want = BUF(1000000), utf8 = BUF(2000000), after = BUF(1000000);
	struct charset c;
	struct edits in, out;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		buf_adds(&bytes, JIS "F|F|F|" ASCII "<a href=\"OLD\">" JIS "F|" ASCII "</a>\r\n");
		buf_adds(&want, JIS "F|F|F|" ASCII "<a href=\"https://t/\">" JIS "F|" ASCII "</a>\r\n");
	}
	assert_null(charset_open(&c, "ISO-2022-JP", buf_span(&bytes), &utf8));
	edits_init(&in, 1000000);
	edits_init(&out, 1000000);
	edit_old(&in, buf_span(&utf8), "https://t/");
	assert_true(charset_write(&c, buf_span(&bytes), buf_span(&utf8), &in, &out));
	splice(&after, buf_span(&bytes), out.edit, out.n, buf_span(&out.text));
	assert_true(span_eq(buf_span(&after), buf_span(&want)));
	edits_free(&in);
	edits_free(&out);
	charset_close(&c);
	buf_free(&bytes);
	buf_free(&want);
	buf_free(&utf8);
	buf_free(&after);
}

/* No room for what the edits need: nothing is added. */
static void
test_cap(void **state)
{
	struct span bytes = SPAN(JIS "F|" ASCII "OLD");
	struct buf utf8 = BUF(1000);
	struct charset c;
	struct edits in, out;

	(void)state;
	assert_null(charset_open(&c, "ISO-2022-JP", bytes, &utf8));
	edits_init(&in, 100);
	edit_old(&in, buf_span(&utf8), "0123456789");
	for (size_t cap = 9; cap <= 100; cap += 91) {
		edits_init(&out, cap);
		assert_int_equal(charset_write(&c, bytes, buf_span(&utf8), &in, &out), cap == 100);
		assert_int_equal(out.n, cap == 100);
		edits_free(&out);
	}
	edits_free(&in);
	charset_close(&c);
	buf_free(&utf8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_labels), cmocka_unit_test(test_supersets), cmocka_unit_test(test_rows),
		cmocka_unit_test(test_small_edits), cmocka_unit_test(test_end), cmocka_unit_test(test_long), cmocka_unit_test(test_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
