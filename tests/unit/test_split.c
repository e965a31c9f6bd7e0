/* The marker that a message bears from the front of a split to its back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "milter/select.h"
#include "milter/split.h"

#include "tagging.h"

#define LONGEST "0123456789012345678901234567890123456789012345678901234567890.-"
#define TEN "caf\xc3\xa9 bar "
#define FIFTY TEN TEN TEN TEN TEN

static const char settings[] = "data_dir = /tmp\nkey_file = /tmp/keys\ntracking_url = https://t.example.org\n"
			       "privacy_profile = classic\nsplit_front = F front.example\nsplit_back = B C\n"
			       "[stream weekly]\n[stream " LONGEST "]\n";

static struct conf *
conf_of(const char *text)
{
	struct buf errors = BUF(1 << 16);
	struct conf *c = conf_parse(span_of(text), "test", &errors);

	if (c == NULL)
		fail_msg("%s", buf_cstr(&errors));
	buf_free(&errors);
	return c;
}

static const struct {
	const char *sentence, *daemon;
	enum pass pass;
} passes[] = {
	{ "the front", "F", PASS_FRONT },
	{ "another front", "front.example", PASS_FRONT },
	{ "the back", "B", PASS_BACK },
	{ "another back", "C", PASS_BACK },
	{ "a name is exact", "f", PASS_ONLY },
	{ "and whole", "front", PASS_ONLY },
	{ "any other listener", "smtpd", PASS_ONLY },
	{ "an MTA that does not say", "", PASS_ONLY },
};

static void
test_pass(void **state)
{
	struct conf *c = conf_of(settings);

	(void)state;
	for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
		if (split_pass(c, span_of(passes[i].daemon)) != passes[i].pass)
			fail_msg("%s", passes[i].sentence);
	conf_free(c);
}

/* What the front makes of a message of these fields, as one line per edit; *token is the marker. */
static bool
marked(const struct sealer *sealer, const struct stream *stream, const char *campaign, struct header *header, size_t n,
    struct buf *edits, struct buf *token)
{
	struct message m = { .header = header, .nheaders = n };
	struct plan plan = { 0 };
	bool good = split_mark(&m, sealer, stream, span_of(campaign), 7, 1764000000, &plan);

	for (size_t i = 0; i < plan.nheaders; i++) {
		const struct header_edit *e = &plan.header[i];

		if (e->change == HEADER_ADD)
			buf_adds(token, e->value);
		buf_addf(edits, "%s%s %u\n", e->change == HEADER_ADD ? "+" : "-", e->name, e->index);
	}
	assert_false(plan.body_changed);
	plan_free(&plan);
	return good;
}

static const struct {
	const char *sentence;
	const char *stream, *campaign;
} trips[] = {
	{ "a stream and a campaign", "weekly", "spring" },
	{ "the general settings", "default", "2026-01-31" },
	{ "the campaign's name may have spaces", "weekly", " spring  sale " },
	{ "and any bytes", "weekly", "=?utf-8?Q?=C3?= caf\xc3\xa9 \xff" },
	{ "no name is a name", "weekly", "" },
	{ "as long as both may be", LONGEST, FIFTY FIFTY FIFTY FIFTY },
};

static void
test_what_the_front_says_the_back_hears(void **state)
{
	struct conf *c = conf_of(settings);
	struct sealer *sealer = sealer_new(&tagging_keys);

	(void)state;
	for (size_t i = 0; i < sizeof trips / sizeof *trips; i++) {
		const struct stream *from = conf_stream(c, span_of(trips[i].stream)), *to;
		struct buf edits = BUF(4096), token = BUF(TOKEN_MAX), campaign = BUF(1024), folded = BUF(8192);

		if (from == NULL || !marked(sealer, from, trips[i].campaign, NULL, 0, &edits, &token))
			fail_msg("%s: no marker", trips[i].sentence);
		assert_string_equal(buf_cstr(&edits), "+X-Rekindle-Split 0\n");
		/* One line of a header, by any standard. */
		assert_in_range(token.n, 20, 998 - sizeof "X-Rekindle-Split: ");
		for (size_t k = 0; k < token.n; k++)
			assert_in_range(token.p[k], '!', '~');

		buf_addf(&folded, " %s\r\n ", buf_cstr(&token));
		struct header header = { SPAN("x-rekindle-SPLIT"), buf_span(&folded) };
		struct message m = { .header = &header, .nheaders = 1 };

		assert_true(split_marked(&m));
		buf_adds(&campaign, "before ");
		to = split_select(c, sealer, &m, &campaign);
		if (to != from || !span_eq(span_from(buf_span(&campaign), 7), span_of(trips[i].campaign)))
			fail_msg("%s: %s, %s", trips[i].sentence, to != NULL ? to->name : "none", buf_cstr(&campaign));
		buf_free(&edits);
		buf_free(&token);
		buf_free(&campaign);
		buf_free(&folded);
	}
	sealer_free(sealer);
	conf_free(c);
}

static void
test_a_name_that_no_token_holds(void **state)
{
	struct conf *c = conf_of(settings);
	struct sealer *sealer = sealer_new(&tagging_keys);
	struct buf edits = BUF(4096), token = BUF(TOKEN_MAX), name = BUF(4096);
	struct header header = { SPAN("X-Rekindle-Split"), SPAN(" x") };

	(void)state;
	while (name.n < TOKEN_DESTINATION_MAX)
		buf_addc(&name, 'a');
	/* What pretends goes all the same. */
	assert_false(marked(sealer, &c->stream[1], buf_cstr(&name), &header, 1, &edits, &token));
	assert_string_equal(buf_cstr(&edits), "-X-Rekindle-Split 1\n");
	buf_free(&edits);
	buf_free(&token);
	buf_free(&name);
	sealer_free(sealer);
	conf_free(c);
}

static void
test_what_pretends_goes(void **state)
{
	static struct header header[] = {
		{ SPAN("X-Rekindle-Split"), SPAN(" a") }, { SPAN("X-Rekindle-Splits"), SPAN(" b") },
		{ SPAN("x-rekindle-split"), SPAN("") }, { SPAN("X-Rekindle-Campaign"), SPAN(" c") },
		{ SPAN("X-REKINDLE-SPLIT"), SPAN(" d") },
	};
	struct conf *c = conf_of(settings);
	struct sealer *sealer = sealer_new(&tagging_keys);
	struct buf edits = BUF(4096), token = BUF(TOKEN_MAX);

	(void)state;
	/* The last first, or the indexes would not be true any more; what the back needs stays. */
	assert_true(marked(sealer, &c->stream[1], "spring", header, 5, &edits, &token));
	assert_string_equal(buf_cstr(&edits), "-X-Rekindle-Split 3\n-X-Rekindle-Split 2\n-X-Rekindle-Split 1\n+X-Rekindle-Split 0\n");
	buf_free(&edits);
	buf_free(&token);
	sealer_free(sealer);
	conf_free(c);
}

/* A token of this kind and text, as the value of a field. */
static struct span
sealed(const struct sealer *sealer, enum token_kind kind, const char *text, struct buf *out)
{
	struct claim claim = { .kind = kind, .mode = MODE_ANONYMOUS, .campaign = 7, .who = { { 1 } }, .text = span_of(text) };

	buf_clear(out);
	assert_true(token_seal(sealer, &claim, out));
	return buf_span(out);
}

static void
test_what_is_no_marker(void **state)
{
	static const struct {
		const char *sentence;
		enum token_kind kind;
		const char *text;
	} rows[] = {
		{ "the mark of a tagged message", TOKEN_MARK, "weekly spring" },
		{ "an unsubscribe", TOKEN_LEAVE, "weekly spring" },
		{ "a stream that is gone", TOKEN_SPLIT, "daily spring" },
		{ "no stream", TOKEN_SPLIT, " spring" },
		{ "nothing", TOKEN_SPLIT, "" },
	};
	static const struct keys other_keys = { .n = 1, .token[0] = { .id = 'K', .made = "2026-11-22", .bytes = { 9 } } };
	struct conf *c = conf_of(settings);
	struct sealer *sealer = sealer_new(&tagging_keys), *other = sealer_new(&other_keys);
	struct buf value = BUF(TOKEN_MAX), good = BUF(TOKEN_MAX), campaign = BUF(1024);
	struct header header[2] = { { .name = SPAN("X-Rekindle-Split") }, { .name = SPAN("X-Rekindle-Split") } };
	struct message m = { .header = header, .nheaders = 1 };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		header[0].value = sealed(sealer, rows[i].kind, rows[i].text, &value);
		if (split_select(c, sealer, &m, &campaign) != NULL || campaign.n != 0)
			fail_msg("%s selects", rows[i].sentence);
	}
	header[0].value = sealed(other, TOKEN_SPLIT, "weekly spring", &value);
	assert_null(split_select(c, sealer, &m, &campaign));
	header[0].value = SPAN(" nonsense");
	assert_null(split_select(c, sealer, &m, &campaign));
	assert_true(split_marked(&m));

	/* One that is none does not hide the one that is. */
	m.nheaders = 2;
	header[1].value = sealed(sealer, TOKEN_SPLIT, "weekly spring", &good);
	assert_ptr_equal(split_select(c, sealer, &m, &campaign), &c->stream[1]);
	assert_string_equal(buf_cstr(&campaign), "spring");

	/* Under another name it is nothing. */
	header[0].name = header[1].name = SPAN("X-Rekindle-Id");
	assert_null(split_select(c, sealer, &m, &campaign));
	assert_false(split_marked(&m));
	buf_free(&value);
	buf_free(&good);
	buf_free(&campaign);
	sealer_free(sealer);
	sealer_free(other);
	conf_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pass),
		cmocka_unit_test(test_what_the_front_says_the_back_hears),
		cmocka_unit_test(test_a_name_that_no_token_holds),
		cmocka_unit_test(test_what_pretends_goes),
		cmocka_unit_test(test_what_is_no_marker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
