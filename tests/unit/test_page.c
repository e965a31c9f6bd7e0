#include "common/page.h"
#include "tests/unit/unit.h"

/* Every page must be there; what a test is not about says its name and nothing else. */
#define EMPTY(page) "{{#" page "}}{{/" page "}}"
#define ALL_BUT_LEAVE \
	EMPTY("left") EMPTY("left-all") EMPTY("preferences") EMPTY("kept") EMPTY("less") EMPTY("joined") EMPTY("sorry") EMPTY("stopped")
#define ALL EMPTY("leave") ALL_BUT_LEAVE

static const struct template *
template_of(struct pages *p, const char *text)
{
	struct buf why = BUF(65536);

	if (!pages_add(p, SPAN("en"), span_of(text), "en.html", &why))
		fail_msg("%s: %s", text, buf_cstr(&why));
	buf_free(&why);
	return pages_choose(p, SPAN(""));
}

static const struct {
	const char *what, *text;
	enum page page;
	struct page_values values;
	const char *want;
} fillings[] = {
	{ "text only", "Hello" ALL, PAGE_LEAVE, { .stream = SPAN("") }, "Hello" },
	{ "a value", "a {{stream}} b" ALL, PAGE_LEAVE, { .stream = SPAN("news") }, "a news b" },
	{ "blanks in the braces", "{{ stream }}{{# stream }}x{{/ stream }}" ALL, PAGE_LEAVE, { .stream = SPAN("news") }, "newsx" },
	{ "every value", "{{stream}} {{preferences-url}} {{undo}} {{after}}" ALL, PAGE_LEAVE,
	    { SPAN("s"), SPAN("../p/T"), SPAN("undo-all"), SPAN("17") }, "s ../p/T undo-all 17" },
	{ "a value is escaped", "<b title='{{stream}}'>" ALL, PAGE_LEAVE, { .stream = SPAN("<i>&\"'</i>{{stream}}") },
	    "<b title='&lt;i&gt;&amp;&quot;&#39;&lt;/i&gt;{{stream}}'>" },
	{ "an empty value", "a{{stream}}b" ALL, PAGE_LEAVE, { .stream = SPAN("") }, "ab" },
	{ "the page's own section", "{{#leave}}one{{/leave}}{{#left}}two{{/left}}" ALL, PAGE_LEFT, { .stream = SPAN("") }, "two" },
	{ "left is not left-all", "{{#left}}one{{/left}}{{#left-all}}two{{/left-all}}" ALL, PAGE_LEFT_ALL, { .stream = SPAN("") }, "two" },
	{ "all but one page", "{{^leave}}not{{/leave}} leave" ALL, PAGE_LEAVE, { .stream = SPAN("") }, " leave" },
	{ "another page", "{{^leave}}not{{/leave}} leave" ALL, PAGE_SORRY, { .stream = SPAN("") }, "not leave" },
	{ "a section of a value that is there", "{{#stream}}of {{stream}}{{/stream}}{{^stream}}all{{/stream}}" ALL, PAGE_KEPT,
	    { .stream = SPAN("x") }, "of x" },
	{ "a section of a value that is not", "{{#stream}}of {{stream}}{{/stream}}{{^stream}}all{{/stream}}" ALL, PAGE_KEPT,
	    { .stream = SPAN("") }, "all" },
	{ "sections inside sections", "1{{#kept}}2{{#stream}}3{{#undo}}4{{/undo}}5{{/stream}}6{{/kept}}7" ALL, PAGE_KEPT,
	    { .stream = SPAN("x") }, "1235" "67" },
	{ "all of it left out", "1{{#kept}}2{{#stream}}3{{#undo}}4{{/undo}}5{{/stream}}6{{/kept}}7" ALL, PAGE_LESS,
	    { .stream = SPAN("x"), .undo = SPAN("x") }, "17" },
	{ "a mark that has a line for itself takes it along", "a\n  {{#leave}} \nb\n{{/leave}}\nc" ALL, PAGE_LEAVE, { .stream = SPAN("") },
	    "a\nb\nc" },
	{ "and the next one too", "{{#leave}}\n{{#undo}}\nx\n{{/undo}}\n{{/leave}}\nc" ALL, PAGE_LEAVE, { .stream = SPAN("") }, "c" },
	{ "not when anything stands beside it", "a\n{{#leave}}b\n{{/leave}}c\n" ALL, PAGE_LEAVE, { .stream = SPAN("") }, "a\nb\nc\n" },
	{ "nor does a value", "a\n{{stream}}\nb" ALL, PAGE_LEAVE, { .stream = SPAN("") }, "a\n\nb" },
	{ "single braces are text", "{a} } { " ALL, PAGE_LEAVE, { .stream = SPAN("") }, "{a} } { " },
	{ "a long name is cut between characters", "{{stream}}" ALL, PAGE_LEAVE,
	    { .stream = SPAN("0123456789012345678901234567890123456789012345678901234567890123"
	                     "more") }, "0123456789012345678901234567890123456789012345678901234567890123" },
	{ "not within one", "{{stream}}" ALL, PAGE_LEAVE,
	    { .stream = SPAN("012345678901234567890123456789012345678901234567890123456789012\303\274more") },
	    "012345678901234567890123456789012345678901234567890123456789012" },
};

static void
test_fill(void **state)
{
	struct buf out = BUF(PAGE_BYTES_MAX);

	(void)state;
	for (size_t i = 0; i < COUNT(fillings); i++) {
		struct pages *p = pages_new();

		buf_clear(&out);
		page_fill(template_of(p, fillings[i].text), fillings[i].page, &fillings[i].values, &out);
		assert_span(fillings[i].what, buf_span(&out), span_of(fillings[i].want));
		pages_free(p);
	}
	buf_free(&out);
}

static const struct {
	const char *what, *text, *why; /* its start */
} faults[] = {
	{ "lines are counted over those that go", "\n{{#leave}}\n{{/leave}}\n{{name}}" ALL, "en.html:4: {{name}} is not known" },
	{ "a value that nobody knows", "\n{{name}}" ALL, "en.html:2: {{name}} is not known; values are stream" },
	{ "an empty one", "{{}}" ALL, "en.html:1: {{}} is not known" },
	{ "a page as a value", "{{leave}}" ALL, "en.html:1: {{leave}} is a page, not a value; write {{#leave}}" },
	{ "a section that nobody knows", "a\nb\n{{#x}}{{/x}}" ALL, "en.html:3: {{#x}} is not known" },
	{ "not closed", "\n{{#stream}}x" ALL, "en.html:2: {{#stream}} is not closed by {{/stream}}" },
	{ "closed twice", "{{#stream}}{{/stream}}\n{{/stream}}" ALL, "en.html:2: {{/stream}} closes nothing" },
	{ "crossed", "{{#stream}}\n{{#undo}}\n{{/stream}}\n{{/undo}}" ALL,
	    "en.html:3: {{/stream}} stands where {{/undo}} must close the section of line 2" },
	{ "braces that do not end", "x {{stream" ALL_BUT_LEAVE, "en.html:1: {{stream{{#left}} is not known" },
	{ "nor anywhere else", ALL "\n{{stream", "en.html:2: {{ without }} on the same line" },
	{ "over two lines", ALL "{{stream\n}}", "en.html:1: {{ without }} on the same line" },
	{ "a page is missing", ALL_BUT_LEAVE, "en.html:1: there is no {{#leave}} ... {{/leave}}: what shall that page say?" },
	{ "a page that is only not meant", "{{^leave}}x{{/leave}}" ALL_BUT_LEAVE, "en.html:1: there is no {{#leave}}" },
	{ "not UTF-8", "\344" ALL, "en.html:1: is not UTF-8" },
	{ "nine sections inside each other", "{{#undo}}{{#undo}}{{#undo}}{{#undo}}{{#undo}}{{#undo}}{{#undo}}{{#undo}}{{#undo}}", 
	    "en.html:1: more than 8 sections inside each other" },
};

static void
test_faults(void **state)
{
	struct buf why = BUF(65536);

	(void)state;
	for (size_t i = 0; i < COUNT(faults); i++) {
		struct pages *p = pages_new();

		buf_clear(&why);
		if (pages_add(p, SPAN("en"), span_of(faults[i].text), "en.html", &why))
			fail_msg("%s: taken", faults[i].what);
		if (!span_starts(buf_span(&why), span_of(faults[i].why)))
			fail_msg("%s: %s", faults[i].what, buf_cstr(&why));
		assert_null(pages_choose(p, SPAN("en")));
		pages_free(p);
	}
	buf_free(&why);
}

/* All of them, not only the first. */
static void
test_every_fault_is_told(void **state)
{
	struct pages *p = pages_new();
	struct buf why = BUF(65536);

	(void)state;
	assert_false(pages_add(p, SPAN("de"), SPAN("{{a}}\n{{b}}\n{{#left}}"), "x", &why));
	assert_non_null(strstr(buf_cstr(&why), "x:1: "));
	assert_non_null(strstr(buf_cstr(&why), "x:2: "));
	assert_non_null(strstr(buf_cstr(&why), "x:3: "));
	pages_free(p);
	buf_free(&why);
}

static void
test_limits(void **state)
{
	struct buf text = BUF(4 * PAGE_FILE_MAX), why = BUF(65536);
	struct pages *p = pages_new();

	(void)state;
	/* 18 marks for the pages; so many others, one of which is too many. */
	buf_adds(&text, ALL);
	for (int i = 18; i < PAGE_PIECES_MAX - 1; i++)
		buf_adds(&text, "{{stream}}");
	assert_true(pages_add(p, SPAN("en"), buf_span(&text), "x", &why));
	buf_adds(&text, "{{stream}}");
	assert_false(pages_add(p, SPAN("de"), buf_span(&text), "x", &why));
	assert_string_equal(buf_cstr(&why), "x:1: more than 400 placeholders\n");

	buf_clear(&text);
	buf_adds(&text, ALL);
	while (text.n < PAGE_FILE_MAX)
		buf_addc(&text, 'x');
	assert_true(pages_add(p, SPAN("de"), buf_span(&text), "x", &why));
	buf_addc(&text, 'x');
	assert_false(pages_add(p, SPAN("fr"), buf_span(&text), "x", &why));

	assert_false(pages_add(p, SPAN("EN"), SPAN(ALL), "x", &why)); /* a second one */
	static const char *const bad[] = { "", "-", "en-", "-en", "e n", "en_US", "../x", "abcdefghijklmnopqrstuvwxyzabcdefghij" };
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_row(bad[i], !pages_add(p, span_of(bad[i]), SPAN(ALL), "x", &why));
	for (int i = 2; i < PAGE_LANGUAGES_MAX; i++) {
		char tag[8];

		snprintf(tag, sizeof tag, "x%d", i);
		assert_true(pages_add(p, span_of(tag), SPAN(ALL), "x", &why));
	}
	assert_false(pages_add(p, SPAN("fr"), SPAN(ALL), "x", &why));
	pages_free(p);
	buf_free(&text);
	buf_free(&why);
}

/* The longest that can be: it still fits. */
static void
test_the_longest_page(void **state)
{
	struct buf text = BUF(2 * PAGE_FILE_MAX), name = BUF(4096), why = BUF(4096), out = BUF(PAGE_BYTES_MAX);
	struct pages *p = pages_new();

	(void)state;
	buf_adds(&text, ALL);
	for (int i = 18; i < PAGE_PIECES_MAX - 1; i++)
		buf_adds(&text, "{{stream}}");
	while (text.n < PAGE_FILE_MAX)
		buf_addc(&text, 'x');
	for (int i = 0; i < 1000; i++)
		buf_addc(&name, '"');
	assert_true(pages_add(p, SPAN("en"), buf_span(&text), "x", &why));
	page_fill(pages_choose(p, SPAN("")), PAGE_LEAVE, &(struct page_values){ .stream = buf_span(&name) }, &out);
	assert_false(out.over);
	assert_true(out.n > PAGE_FILE_MAX);
	pages_free(p);
	buf_free(&text);
	buf_free(&name);
	buf_free(&why);
	buf_free(&out);
}

/* There are en (the default), de, zh-Hant, zh and pt-BR. */
static const struct {
	const char *what, *accept, *want;
} choices[] = {
	{ "no header", "", "en" },
	{ "one of ours", "de", "de" },
	{ "letter case", "DE", "de" },
	{ "a region that we have not", "de-CH", "de" },
	{ "several subtags off the end", "de-Latn-CH-1996", "de" },
	{ "a region that we have", "pt-br", "pt-BR" },
	{ "a wider range than ours", "pt", "en" },
	{ "a script", "zh-Hant-TW", "zh-Hant" },
	{ "another script", "zh-Hans-CN", "zh" },
	{ "a private subtag goes with its x", "zh-Hant-x-foo", "zh-Hant" },
	{ "one that we have not", "fr", "en" },
	{ "not the first", "fr, de", "de" },
	{ "the first of two", "de, zh", "de" },
	{ "weights decide", "de;q=0.3, zh;q=0.8", "zh" },
	{ "one without a weight is heaviest", "de;q=0.9, zh", "zh" },
	{ "three digits", "de;q=0.801, zh;q=0.802", "zh" },
	{ "equal weights: the first", "zh;q=0.5, de;q=0.5", "zh" },
	{ "a browser's", "mk-MK,mk;q=0.9,de;q=0.8,en;q=0.7", "de" },
	{ "weight 0 is never", "de;q=0, fr", "en" },
	{ "weight 0.000 too", "de;q=0.000", "en" },
	{ "a region of what is refused", "de-CH, de;q=0", "en" },
	{ "a region is refused, the rest is not", "de-CH;q=0, de", "de" },
	{ "what is refused may not come in by a longer range", "zh-Hant-TW, zh-Hant;q=0", "zh" },
	{ "a star asks for nothing", "*", "en" },
	{ "nor before others", "*, de;q=0.1", "de" },
	{ "blanks", " de ; q=0.5 ,\tzh ;q=0.6", "zh" },
	{ "empty elements", ",,de,", "de" },
	{ "a weight over 1", "de;q=1.001, zh;q=0.1", "zh" },
	{ "a weight of four digits", "de;q=0.8000, zh;q=0.1", "zh" },
	{ "a negative weight", "de;q=-1, zh;q=0.1", "zh" },
	{ "no weight behind q=", "de;q=, zh;q=0.1", "zh" },
	{ "another parameter", "de;level=1, zh;q=0.1", "zh" },
	{ "nonsense", "\"; DROP TABLE, \x01, de_DE, ../en", "en" },
	{ "the 33rd is not looked at", "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,de", "en" },
	{ "the 32nd is", "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,de", "de" },
};

static void
test_languages(void **state)
{
	static const char *const ours[] = { "de", "en", "zh-Hant", "zh", "pt-BR" };
	struct pages *p = pages_new();
	struct buf why = BUF(4096);

	(void)state;
	for (size_t i = 0; i < COUNT(ours); i++)
		assert_true(pages_add(p, span_of(ours[i]), SPAN(ALL), "x", &why));
	assert_true(pages_default(p, SPAN("EN")));
	assert_false(pages_default(p, SPAN("fr")));
	for (size_t i = 0; i < COUNT(choices); i++)
		assert_span(choices[i].what, template_tag(pages_choose(p, span_of(choices[i].accept))), span_of(choices[i].want));
	pages_list(p, &why);
	assert_string_equal(buf_cstr(&why), "de, en, zh-Hant, zh, pt-BR");
	pages_free(p);
	buf_free(&why);
}

/* What is shipped: each page of each language by itself, what it has to have and what it must not. */
static void
test_builtin(void **state)
{
	static const char *const tags[] = { "en", "de", "mk", "zh" };
	struct page_values values = { SPAN("a<b>"), SPAN("../p/TOKEN"), SPAN("undo"), SPAN("17") };
	struct pages *p = pages_new();
	struct buf out = BUF(PAGE_BYTES_MAX), other = BUF(PAGE_BYTES_MAX);

	(void)state;
	pages_add_builtin(p, false);
	for (size_t i = 0; i < COUNT(tags); i++) {
		const struct template *t = pages_choose(p, span_of(tags[i]));

		assert_span(tags[i], template_tag(t), span_of(tags[i]));
		for (enum page page = 0; page < PAGES; page++) {
			const char *text;
			char lang[32];

			buf_clear(&out);
			page_fill(t, page, &values, &out);
			text = buf_cstr(&out);
			snprintf(lang, sizeof lang, "<html lang=\"%s", tags[i]);
			assert_row(page_name(page), strstr(text, lang) != NULL && strstr(text, "dir=\"ltr\"") != NULL);
			assert_row(page_name(page), strstr(text, "<h1>") != NULL && strstr(strstr(text, "<h1>") + 1, "<h1>") == NULL);
			assert_row(page_name(page), strstr(text, "name=\"viewport\"") != NULL);
			assert_row(page_name(page), strstr(text, "<script") == NULL && strstr(text, "style=") == NULL);
			assert_row(page_name(page), strstr(text, "{{") == NULL && strstr(text, "a<b>") == NULL);
			assert_row(page_name(page), (strstr(text, "value=\"One-Click\"") != NULL) == (page == PAGE_LEAVE));
			assert_row(page_name(page), (strstr(text, "value=\"keep\"") != NULL) == (page == PAGE_PREFERENCES));
			assert_row(page_name(page), strstr(text, "value=\"undo\"") != NULL && strstr(text, "value=\"17\"") != NULL);
			assert_row(page_name(page), strstr(text, "href=\"../p/TOKEN\"") != NULL);
			/* No two pages say the same. */
			for (enum page k = 0; k < page; k++) {
				buf_clear(&other);
				page_fill(t, k, &values, &other);
				assert_row(page_name(page), !span_eq(buf_span(&out), buf_span(&other)));
			}
		}
	}
	assert_true(span_search(pages_css(p), SPAN("button")) < pages_css(p).n);
	assert_true(span_search(pages_css(p), SPAN("url(")) == pages_css(p).n);
	pages_free(p);
	buf_free(&out);
	buf_free(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_every_fault_is_told),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_the_longest_page),
		cmocka_unit_test(test_languages),
		cmocka_unit_test(test_builtin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
