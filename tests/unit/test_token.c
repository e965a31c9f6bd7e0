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

/* Format 1, from before texts were packed; a change here ends all links in the world. */
#define CLICK_TOKEN_1 \
	"KY53IA0ywD3yg-IRpZ4ERJmWByNlyPvETsmqUL0kMAirFLNVj9O9lUNv35OQT6a5YAvMzkRZceRH2hmlsWGROcaVw0sI6apNFkcXspqjecw"

/* What seals now, checked against an AES-SIV of another hand; the same holds. */
#define CLICK_TOKEN "KFhIWkat3WzQHJSR5zFlfA6N2cDA8eaFK2GVcIPS-ZinBHqrAaiYOGeOAlMHJP8w8U9r33OSX38d2fasyHEqB"
#define ANONYMOUS_OPEN_TOKEN "KQWx6O3ejWyhRsDwYeecTl0n7bvgnFOZLmQ"

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

#define SPRING "https://www.example.com/sale?utm_source=newsletter&utm_medium=email&utm_campaign=spring"

/* Sealed by format 1, and out in the world: they open for ever, and what is sealed now is shorter. */
static const struct {
	const char *name, *token;
	struct claim claim;
} old_tokens[] = {
	{ "an open, identified in full",
	    "KSdKEo0cVyb3jsjw3Rtj6vrBWlvQkLiasSzqkF4YDUP7uugXq7Zy63yBKC37R-g",
	    { .kind = TOKEN_OPEN, .mode = MODE_FULL, .campaign = CAMPAIGN, .who = WHO, .when = 1764000000, .text = SPAN("") } },
	{ "an anonymous open",
	    "KTANDp__tTw4ZMSRJcPrZgrDZv_iFb7hCNxI",
	    { .kind = TOKEN_OPEN, .mode = MODE_ANONYMOUS, .campaign = CAMPAIGN, .text = SPAN("") } },
	{ "a click",
	    "KY53IA0ywD3yg-IRpZ4ERJmWByNlyPvETsmqUL0kMAirFLNVj9O9lUNv35OQT6a5YAvMzkRZceRH2hmlsWGROcaVw0sI6apNFkcX"
	    "spqjecw",
	    { .kind = TOKEN_CLICK, .mode = MODE_IDENTIFIED, .campaign = CAMPAIGN, .who = WHO, .when = 1764000000, .link = 7,
		.text = SPAN("https://example.com/a?b=c&d=%20") } },
	{ "an anonymous click on the last link",
	    "KYBxOay79izvnv_NxD5eZoOl-q0N3G0x0m076K50mcZG3PG69A5d-i_h4vCVGcJTV4WfDu9UZ9ri9d2ZWCctpvQ7_3Bf78JRO7LF"
	    "D6sQd8suGGzN6LmUQt7-AMFH9BTiy_rqcjeDOmORz5aUXdhs7ZlN1Ig",
	    { .kind = TOKEN_CLICK, .mode = MODE_ANONYMOUS, .campaign = CAMPAIGN, .link = 65535, .text = SPAN(SPRING) } },
	{ "a click, by day, in the last second",
	    "Kp8GWpjh9C7bZH25ji8Td-FSv1Y7zmRjUyF5DhNowzALuG5apL6fknZQzJQfnnHL-KI6gOVgdGlfyOPLYaaIEKBd4lGdcgQV0AHs"
	    "Mo-No3WpdPvFllKVC5d1IDh18yX6f6L1w3nGNlgIqavxtZlfx8SlxTEqjUXjAQcdJ8RfKjEuSdUqh3ZjO",
	    { .kind = TOKEN_CLICK, .mode = MODE_DAYONLY, .campaign = 1, .who = WHO, .when = UINT32_MAX, .link = 256,
		.text = SPAN(SPRING) } },
	{ "bytes that no link has",
	    "K47k1DLdzmU2DZ7k-zbHQ5OHE4Mfir_5TktPRfbLK4dv7IYf2zY2KCNf91ZnzWuwsFpn5ApSM3NzCmO-9amn6OBHJ0U4xBZpmFA",
	    { .kind = TOKEN_CLICK, .mode = MODE_FULL, .campaign = CAMPAIGN, .who = WHO, .when = 1, .link = 1,
		.text = SPAN("http://b\303\274cher.example/\0\377") } },
	{ "an unsubscribe",
	    "KD0igTrcP0t_qTCfShdt3OmmuTSuA-95j1C20aPTPBDbS1iXP2bPODj7arMsTj9UwUUirJA",
	    { .kind = TOKEN_LEAVE, .mode = MODE_IDENTIFIED, .campaign = CAMPAIGN, .who = WHO, .when = 1764000000,
		.text = SPAN("weekly") } },
	{ "a mark",
	    "KHNvhGwkZqTnromEedLlEpVsHF5g1zLpxxB72gVYP-Wo",
	    { .kind = TOKEN_MARK, .mode = MODE_ANONYMOUS, .campaign = CAMPAIGN, .text = SPAN("weekly") } },
};

static void
test_old_tokens(void **state)
{
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c;

	(void)state;
	for (size_t i = 0; i < COUNT(old_tokens); i++) {
		struct span old = span_of(old_tokens[i].token);

		assert_row(old_tokens[i].name, token_open(s, old_tokens[i].claim.kind, old, &c, &text));
		same(&c, &old_tokens[i].claim);
		buf_clear(&out);
		assert_row(old_tokens[i].name, token_seal(s, &c, &out));
		assert_row(old_tokens[i].name, out.n < old.n);
	}
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
	char tokens[][sizeof CLICK_TOKEN_1] = { CLICK_TOKEN, CLICK_TOKEN_1 };

	(void)state;
	for (size_t k = 0; k < COUNT(tokens); k++) {
		char *t = tokens[k];
		size_t n = strlen(t);

		for (size_t i = 0; i < n; i++) {
			for (int bit = 0; bit < 8; bit++) {
				t[i] = (char)(t[i] ^ 1 << bit);
				refused(s, TOKEN_CLICK, span_make(t, n), "one bit changed");
				t[i] = (char)(t[i] ^ 1 << bit);
			}
		}
	}
	sealer_free(s);
}

static void
test_every_length(void **state)
{
	static const struct span tokens[] = { SPAN(CLICK_TOKEN), SPAN(CLICK_TOKEN_1) };
	struct sealer *s = sealer_new(&rfc_keys);

	(void)state;
	for (size_t k = 0; k < COUNT(tokens); k++) {
		char more[sizeof CLICK_TOKEN_1];

		for (size_t n = 0; n < tokens[k].n; n++) {
			refused(s, TOKEN_CLICK, span_cut(tokens[k], 0, n), "cut");
			refused(s, TOKEN_CLICK, span_from(tokens[k], n + 1), "cut at the front");
		}
		memcpy(more, tokens[k].p, tokens[k].n);
		for (int c = 0; c < 256; c++) {
			more[tokens[k].n] = (char)c;
			refused(s, TOKEN_CLICK, span_make(more, tokens[k].n + 1), "extended");
		}
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
	static const enum token_kind kinds[] = { TOKEN_OPEN, TOKEN_CLICK, TOKEN_LEAVE, TOKEN_PREFERENCES, TOKEN_MARK,
		TOKEN_FEEDBACK, TOKEN_SPLIT };
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c = click, back;

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		c.kind = kinds[i];
		buf_clear(&out);
		assert_true(token_seal(s, &c, &out));
		for (size_t k = 0; k < COUNT(kinds); k++) {
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
	assert_int_equal(out.n, TOKEN_OPEN_CHARS);
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
	c.kind = TOKEN_PREFERENCES;
	assert_false(token_seal(s, &c, &out));
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

/* The characters that the token of this claim takes. */
static size_t
sealed_chars(const struct sealer *s, const struct claim *c)
{
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim back;
	size_t n;

	assert_true(token_seal(s, c, &out));
	assert_true(token_open(s, c->kind, buf_span(&out), &back, &text));
	same(&back, c);
	n = out.n;
	buf_free(&out);
	buf_free(&text);
	return n;
}

static void
test_links(void **state)
{
	static const struct {
		const char *name;
		uint16_t link;
		size_t bytes;
	} rows[] = {
		{ "none", 0, 0 }, { "the first", 1, 1 }, { "the last in one byte", 254, 1 }, { "the first in three", 255, 3 },
		{ "and on", 256, 3 }, { "the last of all", 65535, 3 },
	};
	struct sealer *s = sealer_new(&rfc_keys);
	struct claim c = click;

	(void)state;
	c.text = SPAN("\n"); /* is not packed: 16 + 1 + 8 + 16 + 4 + link + 1 bytes */
	for (size_t i = 0; i < COUNT(rows); i++) {
		c.link = rows[i].link;
		assert_row(rows[i].name, sealed_chars(s, &c) == 1 + ((46 + rows[i].bytes) * 8 + 5) / 6);
	}
	sealer_free(s);
}

/* Sealed by another hand with our key: the head has one spelling. */
static void
test_heads(void **state)
{
	static const struct {
		const char *name, *token;
		bool opens;
	} rows[] = {
		{ "as it should be, but not packed",
		    "KD4jjv64NnK5ZLj9iYrbllJzbWqjC9fvycCQxIxzJ1Vwt6Pjqm-iHGMaWWH4QdHRlCkSGh-j8CKd_8N4dvxbQCLvH", true },
		{ "a low link in three bytes",
		    "KhmUiFOzaAVR1iuSfdWp3P_vV42t6v_CwSf4VaDIIsauwxstd3BBpSTADzITA71xXpRzuuGDKTMED8bJA2q2sBlOb6"
		    "a8", false },
		{ "the first link that needs three bytes",
		    "KkrOFIngQvuo7vhAgJdNIiTWd3i9EpNVBLt98PU8dDRdSqejlY2jLUGQ3LD0kp58BxIZ1O_vbIK509ti84VckbFYD7"
		    "mg", true },
		{ "link 0",
		    "KIt8HDW9-xvr8UhCdso8lwO-nQETsSotf1YYzNvpHGE5v5lmTKW81XZfG3DS50YXuXBHVqi7KEmXTjE3GDKPvAm8e", false },
		{ "a link cut in two",
		    "KXkaMZGdAHpcb8RJdigC99pyEZT4uawbN2JMvzQOj2cYxdEzwfDg2TP-5kd0N5cs", false },
		{ "time 0",
		    "KbDSozRdginhNIbTFfTEMJWd8HIBqwXpkdQhgxtxBxWV5UfHbx783k9oU4cmYSbAZ7SyTQQzRSnXmQ6ljudj-Fq5W", false },
		{ "somebody who is nobody",
		    "KdahYYQgY0ujlXW95vimfgNG_tI3oxyRaFbjICsqNo4ry7wldl2MY4KL7WNsLf49zZz_xeDIc1pN6HF9Xnlv0h6ZP", false },
		{ "a mode that there is not",
		    "KDh_5Bxjxpc_V4P-4YC6MLH9JkYpzFqhCYN-Z7Hp3oKUDeF_lrwef47LwQpMM3Mw6e7Dc-mhhw3Op-Ugnc-29qOgb", false },
		{ "a format that there is not",
		    "KQyKtG23h1PJET5MfTFJin_hQdfWayZKQBGvNtAuxcv2okWbnyUUUz60BPNGtObvi5Kx3vqE8TjaO0FpQSAX5ZFMV", false },
		{ "no text where some is packed",
		    "KhERUJvgILA3OvKEN6stOz2kniZcVrM4xmH53zO2zFsS0XgE1fjVRQiM1gX_4dw", false },
		{ "a campaign cut short",
		    "Ko-fgqJodTttbGHKkk51ar-uArAiZk0GS", false },
		{ "format 1",
		    "KxlRW8JL9HfMwErbO8fxdGeRFFd4sGec8ECHxYScrwfiYcWR-vnTid1muiIAaaESrdD8PgWH4SzANZXaEQ7Wdx84Wn"
		    "Fk", true },
		{ "format 1, more fields than there are",
		    "KBvAj5XAheziZEm3uWw8o_u3oJlgQxq6IMm97gUJIePO6UoVimgwqi6PMuX1Oz0dwf9ndtxz3OkHF3g0q_fnJuf9la"
		    "Cg", false },
		{ "format 1, link 0",
		    "KRfEOM6jCTmjgAyhCl-MwNJwmmNqTXMn7vuHy9ijYq4OCeIhCeJIsSKmm2hA7BBiSM_HoifWvJETJTbUzEl-iIICUt"
		    "3w", false },
		{ "format 1, and no more",
		    "KJFczPycpzYZMMyfTxvr9l5Y", false },
	};
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (!rows[i].opens)
			refused(s, TOKEN_CLICK, span_of(rows[i].token), rows[i].name);
		else
			assert_row(rows[i].name, token_open(s, TOKEN_CLICK, span_of(rows[i].token), &c, &text) &&
			    span_eq(c.text, SPAN("https://example.com/")));
	}
	sealer_free(s);
	buf_free(&text);
}

/* Packed only when that is shorter, and then what token_pack says travels. */
static void
test_packing(void **state)
{
	static const struct {
		const char *name;
		struct span text;
		bool packed;
	} rows[] = {
		{ "nothing", SPAN(""), false },
		{ "one letter", SPAN("a"), false },
		{ "a link", SPAN("https://example.com/"), true },
		{ "a campaign's link", SPAN(SPRING), true },
		{ "escapes", SPAN("https://example.org/%D0%BA%D0%BD%D0%B8%D0%B3%D0%B0?q=caf%C3%A9"), true },
		{ "letters beyond ASCII", SPAN("https://b\303\274cher.example/caf\303\251?utm_source=newsletter"), true },
		{ "no text at all", SPAN("\0\1\2\377\376\375\r\t"), false },
		{ "a link with a line feed", SPAN(SPRING "\n"), false },
	};
	unsigned char packed[TOKEN_DESTINATION_MAX];
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf one = BUF(TOKEN_MAX), two = BUF(TOKEN_MAX);
	struct claim c = click;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = token_pack(packed, rows[i].text), travels = n ? n : rows[i].text.n;

		c.text = rows[i].text;
		assert_row(rows[i].name, (n > 0) == rows[i].packed);
		assert_row(rows[i].name, travels <= c.text.n);
		assert_row(rows[i].name, sealed_chars(s, &c) == 1 + ((46 + travels) * 8 + 5) / 6);
		buf_clear(&one);
		buf_clear(&two);
		assert_true(token_seal(s, &c, &one));
		assert_true(token_seal_packed(s, &c, span_make(packed, n), &two));
		assert_span(rows[i].name, buf_span(&two), buf_span(&one));
	}
	sealer_free(s);
	buf_free(&one);
	buf_free(&two);
}

/* Only who has the key could seal these, and even then they do not open. */
static void
test_packed_badly(void **state)
{
	static const struct {
		const char *name;
		struct span packed;
	} rows[] = {
		{ "a zero behind it", SPAN("\x61\x6a\xb0\xf7\xbc\x13\x8c\xf4\xac\x40\x1b\x25\0") },
		{ "its last byte missing", SPAN("\x61\x6a\xb0\xf7\xbc\x13\x8c\xf4\xac\x40\x1b") },
		{ "longer than its text", SPAN("\xff\xff\xff\xd9\x3e\x73\xfe\x45\xd4\xfb\xa4\x30") },
		{ "one byte of zero", SPAN("\0") },
		{ "no packed text", SPAN("https://example.com/") },
	};
	static const struct span good = SPAN("\x61\x6a\xb0\xf7\xbc\x13\x8c\xf4\xac\x40\x1b\x25");
	struct sealer *s = sealer_new(&rfc_keys);
	struct buf out = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c = click, back;

	(void)state;
	c.text = SPAN(SPRING);
	assert_true(token_seal_packed(s, &c, good, &out));
	assert_true(token_open(s, TOKEN_CLICK, buf_span(&out), &back, &text));
	same(&back, &c);
	for (size_t i = 0; i < COUNT(rows); i++) {
		buf_clear(&out);
		assert_true(token_seal_packed(s, &c, rows[i].packed, &out));
		refused(s, TOKEN_CLICK, buf_span(&out), rows[i].name);
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
		cmocka_unit_test(test_old_tokens),
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
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_packing),
		cmocka_unit_test(test_packed_badly),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
