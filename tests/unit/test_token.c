#include <pthread.h>

#include "common/token.h"
#include "tests/unit/unit.h"

#define WHO                                                                   \
	{                                                                     \
		{                                                             \
			1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 \
		}                                                             \
	}
#define CAMPAIGN 0x0123456789abcdef

/* RFC 5297's example key (appendix A.1). */
static const struct keys rfc_keys = {
	.n = 1,
	.token[0] = {
		.id = 'K',
		.bytes = {
			0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1, 0xf0,
			0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
		},
	},
};

static const struct claim click = {
	.kind = TOKEN_CLICK,
	.mode = MODE_IDENTIFIED,
	.campaign = CAMPAIGN,
	.who = WHO,
	.when = 1764000000,
	.link = 7,
	.text = { "https://example.com/a?b=c&d=%20", 31 },
};

/* By an AES-SIV of another hand, checked against the RFC's example; a change here ends all links in the world. */
#define CLICK_TOKEN \
	"KY53IA0ywD3yg-IRpZ4ERJmWByNlyPvETsmqUL0kMAirFLNVj9O9lUNv35OQT6a5YAvMzkRZceRH2hmlsWGROcaVw0sI6apNFkcXspqjecw"
#define ANONYMOUS_OPEN_TOKEN "KTANDp__tTw4ZMSRJcPrZgrDZv_iFb7hCNxI"

static void
same(const struct claim *a, const struct claim *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->mode, b->mode);
	assert_true(a->campaign == b->campaign);
	assert_true(who_eq(&a->who, &b->who));
	assert_int_equal(a->when, b->when);
	assert_int_equal(a->link, b->link);
	assert_true(span_eq(a->text, b->text));
}

static void
test_known_answer(void **state)
{
	const struct claim open = {
		.kind = TOKEN_OPEN, .mode = MODE_ANONYMOUS, .campaign = CAMPAIGN, .text = SPAN("")
	};
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c;

	(void)state;
	assert_true(token_seal(s, &click, &out));
	assert_string_equal(buf_cstr(&out), CLICK_TOKEN);
	assert_true(token_open(s, TOKEN_CLICK, SPAN(CLICK_TOKEN), &c, &text));
	same(&c, &click);

	buf_clear(&out);
	assert_true(token_seal(s, &open, &out));
	assert_string_equal(buf_cstr(&out), ANONYMOUS_OPEN_TOKEN);
	assert_true(token_open_any(s, SPAN(ANONYMOUS_OPEN_TOKEN), &c, &text));
	same(&c, &open);
	sealer_free(s);
	buf_free(&out);
	buf_free(&text);
}

/* Nothing opens it, and a refusal leaves nothing behind. */
static void
refused(const struct sealer *s, enum token_kind kind, struct span token, const char *what)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c;

	buf_adds(&text, "before");
	if (token_open(s, kind, token, &c, &text))
		fail_msg("accepted: %s: %.*s", what, SPAN_ARG(token));
	assert_int_equal(text.n, 0);
	assert_int_equal(c.text.n, 0);
	assert_true(c.campaign == 0 && who_is_nobody(&c.who) && c.mode == MODE_OFF && c.link == 0 && c.when == 0);
	buf_free(&text);
}

static void
test_every_bit(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	char t[] = CLICK_TOKEN;

	(void)state;
	for (size_t i = 0; i < sizeof t - 1; i++) {
		for (int bit = 0; bit < 8; bit++) {
			t[i] = (char)(t[i] ^ 1 << bit);
			refused(s, TOKEN_CLICK, span_make(t, sizeof t - 1), "one bit changed");
			t[i] = (char)(t[i] ^ 1 << bit);
		}
	}
	sealer_free(s);
}

static void
test_every_length(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	char more[] = CLICK_TOKEN "A";

	(void)state;
	for (size_t n = 0; n < sizeof CLICK_TOKEN - 1; n++) {
		refused(s, TOKEN_CLICK, span_make(CLICK_TOKEN, n), "cut");
		refused(s, TOKEN_CLICK, span_from(SPAN(CLICK_TOKEN), n + 1), "cut at the front");
	}
	for (int c = 0; c < 256; c++) {
		more[sizeof more - 2] = (char)c;
		refused(s, TOKEN_CLICK, span_make(more, sizeof more - 1), "extended");
	}
	refused(s, TOKEN_CLICK, SPAN(CLICK_TOKEN "\0"), "a NUL behind");
	refused(s, TOKEN_CLICK, SPAN(CLICK_TOKEN CLICK_TOKEN), "twice");
	sealer_free(s);
}

/* The last character has spare bits: of all others none may open the token. */
static void
test_last_character(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	struct claim c = click;
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	unsigned good = 0;

	(void)state;
	for (size_t n = 20; n < 23; n++) {
		c.text = span_cut(click.text, 0, n);
		buf_clear(&out);
		assert_true(token_seal(s, &c, &out));
		for (int last = 0; last < 256; last++) {
			struct claim back;

			out.p[out.n - 1] = (char)last;
			good += token_open(s, TOKEN_CLICK, buf_span(&out), &back, &text);
		}
	}
	assert_int_equal(good, 3); /* one per length */
	sealer_free(s);
	buf_free(&out);
	buf_free(&text);
}

static void
test_kinds(void **state)
{
	static const enum token_kind kinds[] = { TOKEN_OPEN, TOKEN_CLICK, TOKEN_LEAVE, TOKEN_MARK, TOKEN_FEEDBACK, TOKEN_SPLIT };
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c = click, back;

	(void)state;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		c.kind = kinds[i];
		buf_clear(&out);
		assert_true(token_seal(s, &c, &out));
		for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
			if (k != i)
				refused(s, kinds[k], buf_span(&out), "another kind");
		}
		assert_true(token_open(s, kinds[i], buf_span(&out), &back, &text));
		same(&back, &c);
		assert_true(token_open_any(s, buf_span(&out), &back, &text));
		same(&back, &c);
	}
	assert_false(token_open_any(s, SPAN("Kx"), &back, &text));
	sealer_free(s);
	buf_free(&out);
	buf_free(&text);
}

static void
test_keys(void **state)
{
	struct keys keys = rfc_keys, foreign = rfc_keys;
	struct sealer *old = sealer_new(&rfc_keys), *s, *without, *other;
	struct buf text = BUF(TOKEN_DESTINATION_MAX), out = BUF(TOKEN_MAX);
	unsigned char random[KEY_BYTES] = { 5 };
	struct claim c;

	(void)state;
	assert_true(keys_rotate(&keys, random, 0));
	s = sealer_new(&keys);
	assert_true(token_open(s, TOKEN_CLICK, SPAN(CLICK_TOKEN), &c, &text));
	same(&c, &click);
	assert_true(token_seal(s, &click, &out));
	assert_int_equal(out.p[0], 'L');
	assert_true(token_open(s, TOKEN_CLICK, buf_span(&out), &c, &text));
	refused(old, TOKEN_CLICK, buf_span(&out), "a key that this node has not got yet");

	/* Destroying the first key ends its links and no others. */
	keys.token[0] = keys.token[1];
	keys.n = 1;
	without = sealer_new(&keys);
	refused(without, TOKEN_CLICK, SPAN(CLICK_TOKEN), "a destroyed key");
	assert_true(token_open(without, TOKEN_CLICK, buf_span(&out), &c, &text));

	foreign.token[0].bytes[31] ^= 1;
	other = sealer_new(&foreign);
	refused(other, TOKEN_CLICK, SPAN(CLICK_TOKEN), "another server's key of the same id");

	keys.n = 0;
	assert_null(sealer_new(&keys));
	sealer_free(NULL);
	sealer_free(old);
	sealer_free(s);
	sealer_free(without);
	sealer_free(other);
	buf_free(&text);
	buf_free(&out);
}

static void
test_lengths(void **state)
{
	static char long_text[TOKEN_DESTINATION_MAX + 1];
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(2 * TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX), little = BUF(10);
	struct claim c = click, back;

	(void)state;
	memset(long_text, 'x', sizeof long_text);
	buf_adds(&out, ">");
	c.text = span_make(long_text, TOKEN_DESTINATION_MAX);
	assert_true(token_seal(s, &c, &out));
	assert_true(out.n - 1 <= TOKEN_MAX);
	assert_true(token_open(s, TOKEN_CLICK, span_from(buf_span(&out), 1), &back, &text));
	same(&back, &c);
	assert_false(token_open(s, TOKEN_CLICK, span_from(buf_span(&out), 1), &back, &little));
	assert_int_equal(little.n, 0);

	size_t n = out.n;

	c.text.n++;
	assert_false(token_seal(s, &c, &out));
	assert_int_equal(out.n, n);
	/* No room: nothing is appended. */
	assert_false(token_seal(s, &click, &little));
	assert_int_equal(little.n, 0);
	sealer_free(s);
	buf_free(&out);
	buf_free(&text);
	buf_free(&little);
}

static void
test_far_too_long(void **state)
{
	static char t[TOKEN_MAX + 2];
	struct sealer *s = sealer_new(&rfc_keys);

	(void)state;
	memset(t, 'A', sizeof t);
	t[0] = 'K';
	for (size_t n = TOKEN_MAX - 3; n <= sizeof t; n++)
		refused(s, TOKEN_CLICK, span_make(t, n), "long");
	sealer_free(s);
}

static void
test_pixel_is_short(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX);
	struct claim c = { .kind = TOKEN_OPEN,
		.mode = MODE_FULL,
		.campaign = UINT64_MAX,
		.who = WHO,
		.when = UINT32_MAX,
		.text = SPAN("") };

	(void)state;
	assert_true(token_seal(s, &c, &out));
	assert_true(out.n <= TOKEN_OPEN_CHARS);
	assert_true(strlen("https://t.example.com/o/") + out.n + strlen(".gif") <= 100);
	sealer_free(s);
	buf_free(&out);
}

static void
test_same_claim_same_token(void **state)
{
	struct sealer *a = sealer_new(&rfc_keys), *b = sealer_new(&rfc_keys);
	struct buf one = BUF(TOKEN_MAX), two = BUF(TOKEN_MAX);

	(void)state;
	assert_true(token_seal(a, &click, &one));
	assert_true(token_seal(b, &click, &two));
	assert_string_equal(buf_cstr(&one), buf_cstr(&two));
	sealer_free(a);
	sealer_free(b);
	buf_free(&one);
	buf_free(&two);
}

static void
test_leave_needs_somebody(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	struct claim c = { .kind = TOKEN_LEAVE, .mode = MODE_ANONYMOUS, .text = SPAN("news") };
	struct buf out = BUF(TOKEN_MAX);

	(void)state;
	assert_false(token_seal(s, &c, &out));
	assert_int_equal(out.n, 0);
	c.who = click.who;
	assert_true(token_seal(s, &c, &out));
	sealer_free(s);
	buf_free(&out);
}

/* Any bytes travel, NUL too. */
static void
test_to_the_byte(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c = click, back;
	char all[256];

	(void)state;
	for (size_t i = 0; i < sizeof all; i++)
		all[i] = (char)i;
	for (size_t n = 0; n <= sizeof all; n++) {
		c.text = span_make(all, n);
		buf_clear(&out);
		assert_true(token_seal(s, &c, &out));
		assert_true(token_open(s, TOKEN_CLICK, buf_span(&out), &back, &text));
		same(&back, &c);
	}
	sealer_free(s);
	buf_free(&out);
	buf_free(&text);
}

static const struct sealer *shared;

/* One sealer, many threads: NULL when every answer was right. */
static void *
many(void *arg)
{
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c = click, back;
	void *wrong = NULL;

	c.link = *(uint16_t *)arg;
	for (int i = 0; i < 2000; i++) {
		buf_clear(&out);
		c.when++;
		if (!token_seal(shared, &c, &out) || !token_open(shared, TOKEN_CLICK, buf_span(&out), &back, &text) ||
		    back.when != c.when || back.link != c.link ||
		    token_open(shared, TOKEN_OPEN, buf_span(&out), &back, &text))
			wrong = arg;
	}
	buf_free(&out);
	buf_free(&text);
	return wrong;
}

static void
test_threads(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	uint16_t no[4] = { 1, 2, 3, 4 };
	pthread_t thread[4];

	(void)state;
	shared = s;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, many, &no[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		void *wrong;

		assert_int_equal(pthread_join(thread[i], &wrong), 0);
		assert_null(wrong);
	}
	sealer_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answer),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_last_character),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_far_too_long),
		cmocka_unit_test(test_pixel_is_short),
		cmocka_unit_test(test_same_claim_same_token),
		cmocka_unit_test(test_leave_needs_somebody),
		cmocka_unit_test(test_to_the_byte),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
