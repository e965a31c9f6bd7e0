#include "milter/url.h"
#include "milter/plain.h"
#include "tests/unit/unit.h"

static void
test_split(void **state)
{
	static const struct {
		const char *name, *url, *authority, *host, *path; /* NULL: no web URL with a host */
	} rows[] = {
		{ "a host alone", "https://e.com", "e.com", "e.com", "" },
		{ "all of it", "http://user:pw@e.com:9090/path?a=b#c", "e.com:9090", "e.com", "/path?a=b#c" },
		{ "two at signs", "https://a@b@e.com/", "e.com", "e.com", "/" },
		{ "any case of scheme", "HttpS://E.com/", "E.com", "E.com", "/" },
		{ "an IPv6 address", "http://[2001:db8::1]:80/x", "[2001:db8::1]:80", "[2001:db8::1]", "/x" },
		{ "a final dot", "http://e.com./x", "e.com.", "e.com", "/x" },
		{ "a query behind the host", "http://e.com?x@y", "e.com", "e.com", "?x@y" },
		{ "a backslash ends the host", "http://e.com\\@f.com", "e.com", "e.com", "\\@f.com" },
		{ "beyond ASCII", "http://\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84/\xc3\xa9", "\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84",
		    "\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84", "/\xc3\xa9" },
		{ "no host", "http:///x", NULL, NULL, NULL },
		{ "only a scheme", "http://", NULL, NULL, NULL },
		{ "another scheme", "ftp://e.com/", NULL, NULL, NULL },
		{ "one slash", "http:/e.com/", NULL, NULL, NULL },
		{ "nothing", "", NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct url u;
		bool good = url_split(span_of(rows[i].url), &u);

		assert_row(rows[i].name, good == (rows[i].host != NULL));
		if (!good)
			continue;
		assert_span(rows[i].name, u.authority, span_of(rows[i].authority));
		assert_span(rows[i].name, u.host, span_of(rows[i].host));
		assert_span(rows[i].name, u.path, span_of(rows[i].path));
	}
}

static void
test_fits(void **state)
{
	static const struct {
		const char *name, *url, *pattern;
		bool fits;
	} rows[] = {
		{ "the whole URL", "https://e.com/a", "https://e.com/a", true },
		{ "another scheme", "http://e.com/a", "https://e.com/a", false },
		{ "without a scheme, any", "http://e.com/a", "e.com/a", true },
		{ "the beginning is not enough", "http://e.com/ab", "e.com/a", false },
		{ "nor the end", "http://www.e.com/a", "e.com/a", false },
		{ "a star at the end", "https://e.com/account/7", "e.com/account/*", true },
		{ "a star for nothing", "https://e.com/account/", "e.com/account/*", true },
		{ "a star at the beginning", "https://e.com/x/terms.PDF", "*.pdf", true },
		{ "a star in the middle goes as far as it must", "https://e.com/a/b/c/b/d", "e.com/*/b/d", true },
		{ "two stars", "https://shop.e.com/leave?x", "*.e.com/*leave*", true },
		{ "two stars that do not fit", "https://shop.e.com/stay?x", "*.e.com/*leave*", false },
		{ "only stars", "https://e.com/", "**", true },
		{ "letter case does not matter", "HTTPS://E.com/A", "e.COM/a", true },
		{ "a second :// belongs to the text", "https://e.com/?u=http://f.com", "e.com/?u=*", true },
		{ "nothing fits nothing", "https://", "", true },
		{ "nothing does not fit a URL", "https://e.com", "", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].name, url_fits(span_of(rows[i].url), span_of(rows[i].pattern)) == rows[i].fits);
}

static void
test_fitting_goes_back_only_once(void **state)
{
	char url[2000];

	(void)state;
	memset(url, 'a', sizeof url);
	memcpy(url, "http://", 7);
	assert_false(url_fits(span_make(url, sizeof url), SPAN("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b")));
}

static void
test_parameters(void **state)
{
	static const struct {
		const char *name, *url, *out;
	} rows[] = {
		{ "no query", "https://e.com/a", "https://e.com/a?p=1" },
		{ "an empty query", "https://e.com/a?", "https://e.com/a?p=1" },
		{ "a query", "https://e.com/a?test=1", "https://e.com/a?test=1&p=1" },
		{ "a query that ends in &", "https://e.com/a?test=1&", "https://e.com/a?test=1&p=1" },
		{ "before the fragment", "https://e.com/a#x", "https://e.com/a?p=1#x" },
		{ "an empty query before the fragment", "https://e.com/a?#x", "https://e.com/a?p=1#x" },
		{ "a query and a fragment", "https://e.com/a?b#x?y", "https://e.com/a?b&p=1#x?y" },
		{ "a question mark in the fragment", "https://e.com/#/a?b", "https://e.com/?p=1#/a?b" },
		{ "a host alone", "https://e.com", "https://e.com?p=1" },
		{ "arrays stay as they are", "https://e.com/?baz[]=1&baz[]=2", "https://e.com/?baz[]=1&baz[]=2&p=1" },
		{ "a name without a value stays so", "https://e.com/?a", "https://e.com/?a&p=1" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf out = BUF(1000);

		url_add_parameter(&out, span_of(rows[i].url), SPAN("p=1"));
		assert_span(rows[i].name, buf_span(&out), span_of(rows[i].out));
		assert_row(rows[i].name, !url_has_parameter(span_of(rows[i].url), SPAN("p")));
		assert_row(rows[i].name, url_has_parameter(buf_span(&out), SPAN("p")));
		buf_free(&out);
	}
	assert_true(url_has_parameter(SPAN("https://e.com/?p"), SPAN("p")));
	assert_true(url_has_parameter(SPAN("https://e.com/?a&p=&b"), SPAN("p")));
	assert_false(url_has_parameter(SPAN("https://e.com/p=1?pp=1&P=1#p=1"), SPAN("p")));
}

static void
test_encoding(void **state)
{
	struct buf out = BUF(1000);

	(void)state;
	url_encode(&out, span_make("aZ0-_.~ &=+%#\0\xc3\xa9", 16));
	assert_span("all", buf_span(&out), SPAN("aZ0-_.~%20%26%3D%2B%25%23%00%C3%A9"));
	buf_free(&out);
}

/* URLs in plain text, each in [ ]. */
static void
test_plain(void **state)
{
	static const struct {
		const char *name, *text, *out;
		bool not_utf8;
	} rows[] = {
		{ "a URL alone", "http://github.com/atech/postal", "[http://github.com/atech/postal]", false },
		{ "in a sentence", "Hello there, http://mautic.org!", "Hello there, [http://mautic.org]!", false },
		{ "two, the second before a full stop", "See http://a.org and https://b.org/x.", "See [http://a.org] and [https://b.org/x].", false },
		{ "in brackets of all kinds", "[http://a.org] [http://a.org/], (http://a.org) {http://a.org} <http://a.org>",
		    "[[http://a.org]] [[http://a.org/]], ([http://a.org]) {[http://a.org]} <[http://a.org]>", false },
		{ "before punctuation", "http://a.org, http://a.org. http://a.org: http://a.org; http://a.org! http://a.org?",
		    "[http://a.org], [http://a.org]. [http://a.org]: [http://a.org]; [http://a.org]! [http://a.org]?", false },
		{ "in quotes", "'http://a.org' \"http://a.org\" \xe2\x80\x9chttp://a.org\xe2\x80\x9d",
		    "'[http://a.org]' \"[http://a.org]\" \xe2\x80\x9c[http://a.org]\xe2\x80\x9d", false },
		{ "a query, and one before a full stop", "http://a.org/?a=1&b=2 http://a.org/?a=1&b=2.", "[http://a.org/?a=1&b=2] [http://a.org/?a=1&b=2].", false },
		{ "a query with a merge tag before a question mark", "http://a.org/?{a}?", "[http://a.org/?{a}]?", false },
		{ "underscores", "http://a.org/?a=_b_#c_ x", "[http://a.org/?a=_b_#c_] x", false },
		{ "a bracket that was opened in it", "(http://a.org/x_(y)) http://a.org/x_(y)", "([http://a.org/x_(y)]) [http://a.org/x_(y)]", false },
		{ "brackets and punctuation at the end", "(see http://a.org/x).)", "(see [http://a.org/x]).)", false },
		{ "the default in a merge tag", "{website|https://x.org}", "{website|{https://x.org}}", false },
		{ "between stars", "*http://a.org/x* **http://a.org/x**, *see http://a.org/x.* http://a.org/x*.", "*[http://a.org/x]* **[http://a.org/x]**, *see [http://a.org/x].* [http://a.org/x]*.", false },
		{ "between bars", "|http://a.org/x| |http://a.org/x|x| | http://a.org/x|\n||http://a.org/x||", "|[http://a.org/x]| |[http://a.org/x|x]| | [http://a.org/x]|\n||[http://a.org/x]||", false },
		{ "stars and bars in brackets, and around them", "(*http://a.org/x*) *(http://a.org/x)* [|http://a.org/(x)|]", "(*[http://a.org/x]*) *([http://a.org/x])* [|[http://a.org/(x)]|]", false },
		{ "stars and bars inside", "http://a.org/*/x|y?q=*a*|b|c#*|d *http://a.org/x*y*", "[http://a.org/*/x|y?q=*a*|b|c#*|d] *[http://a.org/x*y]*", false },
		{ "nothing but stars and bars", "http://* https://| http://*|*", "http://* https://| http://*|*", false },
		{ "a merge tag between bars, and one whose default a bar ends", "|{website|https://x.org}| {website|https://x.org|}", "|{website|{https://x.org}}| {website|{https://x.org}|}", false },
		{ "a bar before it and no brace behind, or only that", "a|https://x.org b|https://x.org, {https://x.org}", "a|[https://x.org] b|[https://x.org], {[https://x.org]}", false },
		{ "twice on a line, at its ends", "http://a.org http://a.org", "[http://a.org] [http://a.org]", false },
		{ "longest first", "http://g.com/ http://g.com/t.html http://g.com/b.cgi?f=t", "[http://g.com/] [http://g.com/t.html] [http://g.com/b.cgi?f=t]", false },
		{ "any case", "HTTP://A.org Https://b.org", "[HTTP://A.org] [Https://b.org]", false },
		{ "none", "www.a.org mailto:a@b.org http: http:/ http:// https://. ftp://a.org", "www.a.org mailto:a@b.org http: http:/ http:// https://. ftp://a.org", false },
		{ "inside a word", "xhttp://a.org 1https://a.org _http://a.org", "xhttp://a.org 1https://a.org _http://a.org", false },
		{ "behind punctuation", "URL:http://a.org =https://a.org", "URL:[http://a.org] =[https://a.org]", false },
		{ "one in another", "http://a.org/?u=http://b.org", "[http://a.org/?u=http://b.org]", false },
		{ "Cyrillic", "\xd0\x92\xd0\xbe\xd1\x82 http://\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84/\xd1\x8f.", "\xd0\x92\xd0\xbe\xd1\x82 [http://\xd1\x81\xd0\xb0\xd0\xb9\xd1\x82.\xd1\x80\xd1\x84/\xd1\x8f].", false },
		{ "a Chinese full stop", "\xe8\xaf\xb7\xe7\x9c\x8bhttps://a.cn/x\xe3\x80\x82", "\xe8\xaf\xb7\xe7\x9c\x8b[https://a.cn/x]\xe3\x80\x82", false },
		{ "bytes of another charset end it", "http://a.org/\xe9t\xe9", "[http://a.org/]\xe9t\xe9", true },
		{ "a byte of another charset may take the first letter", "\xc4http://a.org", "\xc4http://a.org", true },
		{ "bytes that are no UTF-8 end it", "http://a.org/\xe9t", "[http://a.org/]\xe9t", false },
		{ "at the end of a line", "http://a.org/x\r\nhttp://a.org/y\n", "[http://a.org/x]\r\n[http://a.org/y]\n", false },
		{ "only colons", "::::://://", "::::://://", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span text = span_of(rows[i].text);
		struct buf out = BUF(1000);
		struct plain_url u;
		size_t done = 0;

		for (size_t at = 0; plain_next(text, !rows[i].not_utf8, &at, &u); done = u.end) {
			buf_add(&out, span_cut(text, done, u.start));
			buf_addf(&out, u.placeholder ? "{%.*s}" : "[%.*s]", SPAN_ARG(span_cut(text, u.start, u.end)));
			assert_row(rows[i].name, u.start >= done && u.end > u.start && at >= u.end);
		}
		buf_add(&out, span_from(text, done));
		assert_span(rows[i].name, buf_span(&out), span_of(rows[i].out));
		buf_free(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_fits),
		cmocka_unit_test(test_fitting_goes_back_only_once),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
