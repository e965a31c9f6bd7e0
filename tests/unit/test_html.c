#include <time.h>

#include "milter/html.h"
#include "tests/unit/unit.h"

/*
 * A document as a string of tokens: T(text) R(raw text) D(CDATA) C(comment), an S or E
 * for tags with the name and the attributes as name=value, quotes kept, X for
 * a tag that is cut off; "/" for self-closing, "~" for what only the end ends.
 */
static void
describe_from(struct html h, struct buf *out)
{
	struct html_token t;
	struct html_attr a;

	while (html_next(&h, &t)) {
		struct span all = span_cut(h.in, t.start, t.end);

		buf_addc(out, t.raw ? 'R' : t.cdata ? 'D' : "TSECX"[t.kind]);
		buf_adds(out, t.open ? "~(" : "(");
		buf_add(out, t.kind == HTML_START || t.kind == HTML_END ? t.name : all);
		for (size_t i = t.attrs; t.kind == HTML_START && html_attr(&h, &i, &a);) {
			buf_addc(out, ' ');
			buf_add(out, span_cut(h.in, a.start, a.end));
			if (a.has_value) {
				buf_addc(out, '=');
				buf_add(out, a.value);
			}
		}
		buf_adds(out, t.self_closing ? "/)" : ")");
	}
}

static void
describe(struct span in, struct buf *out)
{
	struct html h;

	html_init(&h, in);
	describe_from(h, out);
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
	{ "CDATA outside of svg is a bogus comment", "<![CDATA[ <a> ]]>", "C(<![CDATA[ <a>)T( ]]>)" },
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
	{ "a quote right behind = in front", "<a =\"b>\">", "S(a =\"b)T(\">)" },
	{ "= behind a quoted value begins a name", "<a b=\"c\"=\"d>", "S(a b=\"c\"=c =\"d)" },
	{ "= behind a slash begins a name", "<a b/=\"c>", "S(a b =\"c)" },
	{ "= behind spaces belongs to the name before", "<a b  =\">\">", "S(a b  =\">\"=>)" },
	{ "/ after an unquoted value and space", "<a b=c />", "S(a b=c=c/)" },
	{ "/ after a name", "<a bcdefghijklmnopqrstuvwxyz/>", "S(a bcdefghijklmnopqrstuvwxyz/)" },
	{ "a value longer than one look", "<a b=\"0123456789012345678>'89\"/>", "S(a b=\"0123456789012345678>'89\"=0123456789012345678>'89/)" },
	{ "a style in svg", "<svg><style><a></style><b>", "S(svg)S(style)S(a)E(style)S(b)" },
	{ "a style behind svg", "<svg></svg><style><a></style>", "S(svg)E(svg)S(style)R(<a>)E(style)" },
	{ "a style behind a self-closing svg", "<svg/><style><a></style>", "S(svg/)S(style)R(<a>)E(style)" },
	{ "a style behind what no svg has", "<svg><p><style><a></style>", "S(svg)S(p)S(style)R(<a>)E(style)" },
	{ "a style in HTML in svg", "<svg><desc><style><a></style></desc><style><a>", "S(svg)S(desc)S(style)R(<a>)E(style)E(desc)S(style)S(a)" },
	{ "a title in svg holds HTML", "<svg><title><a><style><b></style></title>", "S(svg)S(title)S(a)S(style)R(<b>)E(style)E(title)" },
	{ "a style in math", "<math><style><a></style><mi><style><a></style>", "S(math)S(style)S(a)E(style)S(mi)S(style)R(<a>)E(style)" },
	{ "font is an element of svg", "<svg><font><style><a>", "S(svg)S(font)S(style)S(a)" },
	{ "font with a color is not", "<svg><font color=x><style><a>", "S(svg)S(font color=x=x)S(style)R~(<a>)" },
	{ "CDATA in svg", "<svg><![CDATA[<a>]]><b>", "S(svg)C(<![CDATA[)D(<a>)C(]]>)S(b)" },
	{ "CDATA in svg, empty", "<svg><![CDATA[]]>x", "S(svg)C(<![CDATA[)C(]]>)T(x)" },
	{ "CDATA in svg, with brackets", "<svg><![CDATA[]]]>x", "S(svg)C(<![CDATA[)D(])C(]]>)T(x)" },
	{ "CDATA in svg without an end", "<svg><![CDATA[a]]", "S(svg)C(<![CDATA[)D~(a]])" },
	{ "CDATA in svg in small letters", "<svg><![cdata[a]]>", "S(svg)C(<![cdata[a]]>)" },
	{ "CDATA in HTML in svg", "<svg><desc><b><![CDATA[a]]>", "S(svg)S(desc)S(b)C(<![CDATA[a]]>)" },
};

static const struct {
	const char *name, *in;
	bool lost;
} losses[] = {
	{ "svg that ends well", "<svg><g></g></svg><style>", false },
	{ "svg that another end tag may have ended", "<svg></div>", false },
	{ "... before a style", "<svg></div><style>", true },
	{ "... before CDATA", "<svg></div><![CDATA[", true },
	{ "... before math", "<svg></div><math>", true },
	{ "... before what no svg has", "<svg></div><p><style>", false },
	{ "... before its own end", "<svg></div></svg><style>", false },
	{ "HTML in svg that ends well", "<svg><desc><b></b></desc><style>", false },
	{ "HTML in svg that is left open", "<svg><desc><b></desc><style>", true },
	{ "a table around svg could take a cell", "<svg><desc><td></td></desc><style>", true },
	{ "an encoding that is plain", "<math><annotation-xml encoding=text/html>", false },
	{ "an encoding that is not", "<math><annotation-xml encoding='text/htm&#108;'>", true },
	{ "as deep as we follow", "<svg><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g>", false },
	{ "one too deep", "<svg><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g>", true },
	{ "one that closes itself there", "<svg><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g><g/>", false },
};

static void
test_losses(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(losses); i++) {
		struct html_token t;
		struct html h;

		html_init(&h, span_of(losses[i].in));
		while (html_next(&h, &t))
			continue;
		assert_row(losses[i].name, h.lost == losses[i].lost);
	}
}

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

/* What is inside the first token; NULL: it is no conditional comment. */
static const struct row conditionals[] = {
	{ "for Outlook", "<!--[if mso]><a>x</a><![endif]-->y", "S(a)T(x)E(a)" },
	{ "nothing inside", "<!--[if mso]><![endif]-->", "" },
	{ "a comparison", "<!--[if gte mso 9]>x<![endif]-->", "T(x)" },
	{ "alternatives without spaces", "<!--[if (mso)|(IE)]>x<![endif]-->", "T(x)" },
	{ "in any case", "<!--[IF (GTE MSO 12)&(!VML)]>x<![EndIf]-->", "T(x)" },
	{ "Internet Explorer", "<!--[if lt IE 9]>x<![endif]-->", "T(x)" },
	{ "a name as a part of another", "<!--[if gte mso9]>x<![endif]-->", NULL },
	{ "a condition about nobody", "<!--[if true]>x<![endif]-->", NULL },
	{ "no space behind the if, but no letter", "<!--[if(mso)]>x<![endif]-->", "T(x)" },
	{ "a letter behind the if", "<!--[ifs mso]>x<![endif]-->", NULL },
	{ "a space before the bracket", "<!-- [if mso]>x<![endif]-->", NULL },
	{ "a space behind the bracket", "<!--[if mso] >x<![endif]-->", NULL },
	{ "markup in the condition", "<!--[if mso <a>]>x<![endif]-->", NULL },
	{ "an end but no beginning", "<!--[if mso<![endif]-->", NULL },
	{ "a beginning but no end", "<!--[if mso]>x-->", NULL },
	{ "an end that comes too early", "<!--[if mso]>x<![endif]>y-->", NULL },
	{ "an end that only the input ends", "<!--[if mso]>x<![endif]", NULL },
	{ "a comment that ends in --!>", "<!--[if mso]>x<![endif]--!>", NULL },
	{ "a revealed condition", "<![if mso]>x<![endif]-->", NULL },
	{ "a revealed condition for all others", "<!--[if !mso]><!-->x<!--<![endif]-->", NULL },
	{ "what looks like a comment in there", "<!--[if mso]><!-- <a><!--[if mso]><b><![endif]-->", "T(<!-- )S(a)T(<!--[if mso]>)S(b)" },
	{ "what browsers drop in there", "<!--[if mso]><!x></><?y><![endif]-->", "C(<!x>)C(</>)C(<?y>)" },
	{ "the first of two ends", "<!--[if mso]>x<![endif]>y<![endif]-->", "T(x)C(<![endif]>)T(y)" },
	{ "a tag that is cut off", "<!--[if mso]>x<a b=\"<![endif]-->\">", "T(x)X(<a b=\")" },
	{ "a raw element without an end", "<!--[if mso]><style><a><![endif]--></style>", "S(style)R~(<a>)" },
	{ "a script in there hides no end", "<!--[if mso]><script><!--<script></script><![endif]-->", "S(script)R~(<!--<script></script>)" },
	{ "text", "[if mso]>x<![endif]-->", NULL },
	{ "a tag", "<a b=\"<!--[if mso]>x<![endif]-->\">", NULL },
};

static void
test_conditionals(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(conditionals); i++) {
		const struct row *row = &conditionals[i];
		struct buf out = BUF(1000);
		struct html h, inside;
		struct html_token t;
		bool found;

		html_init(&h, span_of(row->in));
		assert_row(row->name, html_next(&h, &t));
		found = html_conditional(&h, &t, &inside);
		assert_row(row->name, found == (row->out != NULL));
		if (found) {
			describe_from(inside, &out);
			assert_span(row->name, buf_span(&out), span_of(row->out));
		}
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
		"<!--[if mso]><!", "<!--[if mso]>x<![endif]-->", "<!--[if ", "<!--[if mso]>-->",
		"<svg>", "<svg><desc>", "<svg><![CDATA[", "<svg><![CDATA[]]>", "<svg></b>", "<math><mi><b>", "<svg><font color", "<a =",
	};
	/* What only the end makes slow, or what the start does. */
	static const struct span begin = SPAN("<a "), end = SPAN(" =1>");
	static const char *names[] = { "a ", "a/", "a", "/", " ", "a  \t" };
	const size_t n = 2000000;
	char *big = malloc(n);

	(void)state;
	for (size_t i = 0; i < COUNT(units) + COUNT(names); i++) {
		const char *row = i < COUNT(units) ? units[i] : names[i - COUNT(units)];
		struct html_token t;
		struct html h, inside;
		clock_t start = clock();
		size_t unit = strlen(row);

		for (size_t k = 0; k < n; k++)
			big[k] = row[k % unit];
		if (i >= COUNT(units)) {
			memcpy(big, begin.p, begin.n);
			memcpy(big + n - end.n, end.p, end.n);
		}
		html_init(&h, span_make(big, n));
		while (html_next(&h, &t))
			if (html_conditional(&h, &t, &inside))
				while (html_next(&inside, &t))
					continue;
		assert_row(row, (clock() - start) / CLOCKS_PER_SEC < 5);
	}
	free(big);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_conditionals), cmocka_unit_test(test_nul_is_a_byte_like_others),
		cmocka_unit_test(test_tokens_are_the_input), cmocka_unit_test(test_losses),
		cmocka_unit_test(test_linear_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
