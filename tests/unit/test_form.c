#include "tests/unit/unit.h"
#include "tracker/form.h"

#define URLENCODED "application/x-www-form-urlencoded"
#define MULTIPART "multipart/form-data; boundary=xyz"
#define PART(name, value) "--xyz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

/* Is there choice=keep, and what is the first `choice`?  NULL: none. */
static const struct {
	const char *what, *type, *body;
	bool says;
	const char *value;
} rows[] = {
	{ "a pair", URLENCODED, "choice=keep", true, "keep" },
	{ "a charset behind the type", URLENCODED "; charset=utf-8", "choice=keep", true, "keep" },
	{ "no type", "", "choice=keep", true, "keep" },
	{ "another type", "text/plain", "choice=keep", true, "keep" },
	{ "escapes in both", URLENCODED, "ch%6Fice=k%65ep", true, "keep" },
	{ "letter case does not matter", URLENCODED, "Choice=KEEP", true, "KEEP" },
	{ "a plus is a space", URLENCODED, "choice=a+b%2Bc", false, "a b+c" },
	{ "an escape that is none", URLENCODED, "choice=100%", false, "100%" },
	{ "half an escape", URLENCODED, "choice=%4", false, "%4" },
	{ "an escaped ampersand does not separate", URLENCODED, "a=%26choice=keep", false, NULL },
	{ "among others", URLENCODED, "a=b&choice=keep&c", true, "keep" },
	{ "the second of two", URLENCODED, "choice=less&choice=keep", true, "less" },
	{ "a line break behind it", URLENCODED, "choice=keep\r\n", true, "keep\r\n" },
	{ "a longer value", URLENCODED, "choice=keeps", false, "keeps" },
	{ "a shorter value", URLENCODED, "choice=kee", false, "kee" },
	{ "an empty value", URLENCODED, "choice=", false, "" },
	{ "no value", URLENCODED, "choice", false, "" },
	{ "a longer name", URLENCODED, "choices=keep", false, NULL },
	{ "nothing", URLENCODED, "", false, NULL },
	{ "only separators", URLENCODED, "&&=&", false, NULL },

	{ "a part", MULTIPART, PART("choice", "keep") "--xyz--\r\n", true, "keep" },
	{ "letter case of the type", "Multipart/Form-Data; charset=x; Boundary=\"xyz\"", PART("choice", "keep") "--xyz--", true, "keep" },
	{ "a semicolon in another parameter", "multipart/form-data; x=\"a;boundary=b\\\";\"; boundary=xyz", PART("choice", "keep"), true, "keep" },
	{ "a preamble and another part before it", MULTIPART, "hello\r\n" PART("a", "b") PART("choice", "keep") "--xyz--", true, "keep" },
	{ "no closing delimiter", MULTIPART, PART("choice", "keep"), true, "keep" },
	{ "no line break at the end either", MULTIPART, "--xyz\r\nContent-Disposition: form-data; name=choice\r\n\r\nkeep", true, "keep" },
	{ "bare line feeds", MULTIPART, "--xyz\nContent-Disposition: form-data; name=\"choice\"\n\nkeep\n--xyz--\n", true, "keep" },
	{ "blanks behind the delimiter", MULTIPART, "--xyz \t\r\nContent-Disposition: form-data; name=\"choice\"\r\n\r\nkeep\r\n--xyz--", true, "keep" },
	{ "nothing is an escape there", MULTIPART, PART("choice", "k%65ep+") "--xyz--", false, "k%65ep+" },
	{ "a value of two lines", MULTIPART, PART("choice", "a\r\nb") "--xyz--", false, "a\r\nb" },
	{ "a delimiter within a line is none", MULTIPART, PART("choice", "a--xyz\r\nb") "--xyz--", false, "a--xyz\r\nb" },
	{ "a longer boundary is another one", MULTIPART, PART("choice", "a\r\n--xyzzy\r\nb") "--xyz--", false, "a\r\n--xyzzy\r\nb" },
	{ "behind the end", MULTIPART, PART("a", "b") "--xyz--\r\n" PART("choice", "keep"), false, NULL },
	{ "an end before the first part", MULTIPART, "--xyz--\r\n" PART("choice", "keep"), false, NULL },
	{ "other fields in the header", MULTIPART,
	    "--xyz\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; filename=\"name=x\"; name=\"choice\"\r\n"
	    "X: y\r\n\r\nkeep\r\n--xyz--", true, "keep" },
	{ "a part without a name", MULTIPART, "--xyz\r\nContent-Disposition: form-data\r\n\r\nchoice\r\n" PART("choice", "keep"), true, "keep" },
	{ "a part without a header", MULTIPART, "--xyz\r\n\r\nchoice\r\n--xyz--", false, NULL },
	{ "a part without an end of its header", MULTIPART, "--xyz\r\nContent-Disposition: form-data; name=choice\r\n--xyz--", false, "" },
	{ "name and value in two parts", MULTIPART, PART("choice", "") PART("x", "keep") "--xyz--", false, "" },
	{ "another boundary", "multipart/form-data; boundary=abc", PART("choice", "keep"), false, NULL },
	{ "no boundary", "multipart/form-data", PART("choice", "keep"), false, NULL },
	{ "a boundary of 71 bytes", "multipart/form-data; boundary="
	    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1",
	    "--aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1\r\n"
	    "Content-Disposition: form-data; name=choice\r\n\r\nkeep\r\n", false, NULL },
	{ "a boundary of 70 bytes", "multipart/form-data; boundary="
	    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg",
	    "--aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg\r\n"
	    "Content-Disposition: form-data; name=choice\r\n\r\nkeep\r\n", true, "keep" },
	{ "only a delimiter", MULTIPART, "--xyz", false, NULL },
	{ "a pair, where parts were promised", MULTIPART, "choice=keep", false, NULL },
};

static void
test_forms(void **state)
{
	struct buf value = BUF(4096);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span type = span_of(rows[i].type), body = span_of(rows[i].body);
		bool found;

		assert_row(rows[i].what, form_says(type, body, SPAN("choice"), SPAN("keep")) == rows[i].says);
		buf_clear(&value);
		found = form_value(type, body, SPAN("choice"), &value);
		assert_row(rows[i].what, found == (rows[i].value != NULL));
		assert_span(rows[i].what, buf_span(&value), span_of(rows[i].value ? rows[i].value : ""));
	}
	buf_clear(&value);
	assert_false(form_says(SPAN(URLENCODED), SPAN("choice=keep%00"), SPAN("choice"), SPAN("keep")));
	assert_true(form_value(SPAN(URLENCODED), SPAN("choice=keep%00"), SPAN("choice"), &value));
	assert_span("an escaped NUL", buf_span(&value), span_make("keep", 5));
	buf_free(&value);
}

/* Wherever a body is cut the field is there as soon as its value is; the start of a delimiter behind it is no end yet. */
static void
test_cut_anywhere(void **state)
{
	static const char whole[] = PART("a", "keep") PART("choice", "keep") "--xyz--\r\n";
	size_t before = sizeof(PART("a", "keep") "--xyz\r\nContent-Disposition: form-data; name=\"choice\"\r\n\r\nkeep") - 1;

	(void)state;
	for (size_t n = 0; n < sizeof whole; n++) {
		bool partly = n > before + strlen("\r\n") && n < before + strlen("\r\n--xyz--") && n != before + strlen("\r\n--xyz");

		assert_int_equal(form_says(SPAN(MULTIPART), span_make(whole, n), SPAN("choice"), SPAN("keep")), n >= before && !partly);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
