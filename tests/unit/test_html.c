#include <time.h>

#include "milter/html.h"
#include "tests/unit/unit.h"

/*
 * A document as a string of tokens: T(text) R(raw text) C(comment), an S or E
 * for tags with the name and the attributes as name=value, quotes kept, X for
 * a tag that is cut off; "/" for self-closing, "~" for what only the end ends.
 */
static void
describe(struct span in, struct buf *out)
{
	struct html h;
	struct html_token t;
	struct html_attr a;

	html_init(&h, in);
	while (html_next(&h, &t)) {
		struct span all = span_cut(in, t.start, t.end);

		buf_addc(out, t.kind == HTML_TEXT && t.raw ? 'R' : "TSECX"[t.kind]);
		buf_adds(out, t.open ? "~(" : "(");
		buf_add(out, t.kind == HTML_START || t.kind == HTML_END ? t.name : all);
		for (size_t i = t.attrs; t.kind == HTML_START && html_attr(&h, &i, &a);) {
			buf_addc(out, ' ');
			buf_add(out, span_cut(in, a.start, a.end));
			if (a.has_value) {
				buf_addc(out, '=');
				buf_add(out, a.value);
			}
		}
		buf_adds(out, t.self_closing ? "/)" : ")");
	}
}

static const struct row {
	const char *name, *in, *out;
} rows[] = {
	{ "nothing", "", "" },
	{ "text", "abc", "T(abc)" },
	{ "a tag between text", "x<a>y</a>z", "T(x)S(a)T(y)E(a)T(z)" },
	{ "quotes of all kinds", "<a x=1 y='2' z=\"3\">", "S(a x=1=1 y='2'=2 z=\"3\"=3)" },
	{ "spaces around =", "<a href = \"u\">", "S(a href = \"u\"=u)" },
	{ "line breaks and tabs between attributes", "<a\n\thref='u'\r\n>", "S(a href='u'=u)" },
	{ "a form feed is white space", "<a\fb>", "S(a b)" },
	{ "> in quotes does not end a tag", "<a t=\"x > y\" u='>'>", "S(a t=\"x > y\"=x > y u='>'=>)" },
	{ "> ends an unquoted value", "<a x=y>z", "S(a x=y=y)T(z)" },
	{ "/ belongs to an unquoted value", "<a x=u/>", "S(a x=u/=u/)" },
	{ "self-closing", "<br/><br />", "S(br/)S(br/)" },
	{ "a slash in the middle closes nothing", "<a/b/c>", "S(a b c)" },
	{ "a value and a slash", "<a x=\"1\"/>", "S(a x=\"1\"=1/)" },
	{ "an attribute without a value", "<a b c=1>", "S(a b c=1=1)" },
	{ "an empty quoted value", "<a b=\"\">", "S(a b=\"\"=)" },
	{ "= and nothing behind it", "<a b=>", "S(a b=)" },
	{ "a leading = belongs to the name", "<a =b=c>", "S(a =b=c=c)" },
	{ "attributes without space between", "<a b=\"1\"c='2'd>", "S(a b=\"1\"=1 c='2'=2 d)" },
	{ "a quote inside an unquoted value", "<a b=c\"d>", "S(a b=c\"d=c\"d)" },
	{ "a quote in a name", "<a b\"='c'>", "S(a b\"='c'=c)" },
	{ "< inside a tag", "<a <b>", "S(a <b)" },
	{ "duplicates come as they are", "<a b=1 b=2>", "S(a b=1=1 b=2=2)" },
	{ "a name with a digit", "<h1>", "S(h1)" },
	{ "< before a space is text", "1 < 2", "T(1 < 2)" },
	{ "< before a digit is text", "<3>", "T(<3>)" },
	{ "< at the end is text", "x<", "T(x<)" },
	{ "</ at the end is text", "x</", "T(x</)" },
	{ "< before a tag", "<<a>", "T(<)S(a)" },
	{ "</> vanishes", "a</>b", "T(a)C(</>)T(b)" },
	{ "</ and no letter is a comment", "</ a>b", "C(</ a>)T(b)" },
	{ "an end tag with attributes", "</a b=\">\">c", "E(a)T(c)" },
	{ "an end tag with space", "</body >", "E(body)" },
	{ "doctype", "<!DOCTYPE html PUBLIC \"a\">b", "C(<!DOCTYPE html PUBLIC \"a\">)T(b)" },
	{ "a processing instruction", "<?xml v='>'?>", "C(<?xml v='>)T('?>)" },
	{ "CDATA is a bogus comment", "<![CDATA[ <a> ]]>", "C(<![CDATA[ <a>)T( ]]>)" },
	{ "<! at the end", "<!", "C~(<!)" },
	{ "a comment", "<!-- <a> -->b", "C(<!-- <a> -->)T(b)" },
	{ "an empty comment", "<!---->b", "C(<!---->)T(b)" },
	{ "an abrupt comment", "<!-->b", "C(<!-->)T(b)" },
	{ "an abrupt comment with a dash", "<!--->b", "C(<!--->)T(b)" },
	{ "no abrupt end with other text", "<!--a>b-->", "C(<!--a>b-->)" },
	{ "a comment that ends in --!>", "<!--a--!>b", "C(<!--a--!>)T(b)" },
	{ "an empty one that ends in --!>", "<!----!>b", "C(<!----!>)T(b)" },
	{ "one dash too few for --!>", "<!---!>b-->", "C(<!---!>b-->)" },
	{ "three dashes", "<!--a--->b", "C(<!--a--->)T(b)" },
	{ "an inner start", "<!-- <!-- -->b", "C(<!-- <!-- -->)T(b)" },
	{ "a comment without an end", "<!-- a >", "C~(<!-- a >)" },
	{ "a conditional comment", "<!--[if mso]><a><![endif]-->", "C(<!--[if mso]><a><![endif]-->)" },
	{ "a downlevel-revealed conditional", "<![if !mso]><a><![endif]>", "C(<![if !mso]>)S(a)C(<![endif]>)" },
	{ "cut in the name", "x<htm", "T(x)X(<htm)" },
	{ "cut in the attributes", "<htm  thats all folks", "X(<htm  thats all folks)" },
	{ "cut after a name and =", "<a b=", "X(<a b=)" },
	{ "cut in a quoted value", "<a b=\"c><d>", "X(<a b=\"c><d>)" },
	{ "cut in an unquoted value", "<a b=c", "X(<a b=c)" },
	{ "cut after a quoted value", "<a b=\"c\"", "X(<a b=\"c\")" },
	{ "cut in an end tag", "</a b", "X(</a b)" },
	{ "script", "<script>a<b></a></script>c", "S(script)R(a<b></a>)E(script)T(c)" },
	{ "script ends in any case", "<SCRIPT>a</ScRiPt >", "S(SCRIPT)R(a)E(ScRiPt)" },
	{ "an empty script", "<script></script>", "S(script)E(script)" },
	{ "not quite the end of a script", "<script></scriptx></script>", "S(script)R(</scriptx>)E(script)" },
	{ "an end tag cut off is text of the script", "<script>a</script", "S(script)R~(a</script)" },
	{ "a script in a comment in a script", "<script><!--<script></script>--></script>b",
	    "S(script)R(<!--<script></script>-->)E(script)T(b)" },
	{ "a comment in a script hides no end", "<script><!--</script>b", "S(script)R(<!--)E(script)T(b)" },
	{ "an abrupt comment in a script", "<script><!--><script></script>b",
	    "S(script)R(<!--><script>)E(script)T(b)" },
	{ "a comment in a script that ended", "<script><!-- --><script></script>b",
	    "S(script)R(<!-- --><script>)E(script)T(b)" },
	{ "style", "<style>a<b></style>", "S(style)R(a<b>)E(style)" },
	{ "title", "<title><a></title>", "S(title)R(<a>)E(title)" },
	{ "textarea", "<textarea><a></title></textarea>", "S(textarea)R(<a></title>)E(textarea)" },
	{ "xmp", "<xmp><a></xmp>", "S(xmp)R(<a>)E(xmp)" },
	{ "iframe", "<iframe><a></iframe>", "S(iframe)R(<a>)E(iframe)" },
	{ "noembed", "<noembed><a></noembed>", "S(noembed)R(<a>)E(noembed)" },
	{ "noframes", "<noframes><a></noframes>", "S(noframes)R(<a>)E(noframes)" },
	{ "noscript is markup", "<noscript><a></noscript>", "S(noscript)S(a)E(noscript)" },
	{ "a self-closing style opens all the same", "<style/><a></style>", "S(style/)R(<a>)E(style)" },
	{ "plaintext never ends", "<plaintext><a></plaintext>", "S(plaintext)R~(<a></plaintext>)" },
	{ "a stray end tag of a raw element", "</style><a>", "E(style)S(a)" },
	{ "raw text without an end", "<title>a<b>", "S(title)R~(a<b>)" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf out = BUF(1000);

		describe(span_of(rows[i].in), &out);
		assert_span(rows[i].name, buf_span(&out), span_of(rows[i].out));
		buf_free(&out);
	}
}

static void
test_nul_is_a_byte_like_others(void **state)
{
	static const char in[] = "<a\0b c=\0d>\0";
	struct buf out = BUF(100);

	(void)state;
	describe(span_make(in, sizeof in - 1), &out);
	assert_span("NUL", buf_span(&out), span_make("S(a\0b c=\0d=\0d)T(\0)", 18));
	buf_free(&out);
}

/* Extents lie end to end, for every beginning and end of every case. */
static void
test_tokens_are_the_input(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t from = 0; from <= strlen(rows[i].in); from++)
			for (size_t to = from; to <= strlen(rows[i].in); to++) {
				struct span in = span_cut(span_of(rows[i].in), from, to);
				struct html_token t;
				struct html h;
				size_t at = 0;

				html_init(&h, in);
				while (html_next(&h, &t)) {
					assert_row(rows[i].name, t.start == at && t.end > at);
					at = t.end;
				}
				assert_row(rows[i].name, at == in.n);
			}
}

/* Ten times as much must not take a hundred times as long. */
static void
test_linear_time(void **state)
{
	static const char *units[] = {
		"<", "</", "<!", "<!--", "<!-- -", "-", "<a ", "<a =\"", "<a b='", "<script>", "<script><!--<script>",
		"<title>", "</title", "<title></titl", "<a/", "&", "<a b=c\"", "<![CDATA[", "<style></styl>",
	};
	const size_t n = 2000000;
	char *big = malloc(n);

	(void)state;
	for (size_t i = 0; i < COUNT(units); i++) {
		struct html_token t;
		struct html h;
		clock_t start = clock();
		size_t unit = strlen(units[i]);

		for (size_t k = 0; k < n; k++)
			big[k] = units[i][k % unit];
		html_init(&h, span_make(big, n));
		while (html_next(&h, &t))
			continue;
		assert_row(units[i], (clock() - start) / CLOCKS_PER_SEC < 5);
	}
	free(big);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_nul_is_a_byte_like_others),
		cmocka_unit_test(test_tokens_are_the_input), cmocka_unit_test(test_linear_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
