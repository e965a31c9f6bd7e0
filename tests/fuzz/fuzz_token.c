/*
 * Promises: nothing that a stranger makes opens; what we seal opens to the
 * same claim under its own kind only, and not after a change anywhere; what
 * opens, sealed again, is the same token; packing never makes one longer.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/codec.h"
#include "common/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static const struct keys keys = { .n = 2, .token = { { .id = 'A', .bytes = { 1 } }, { .id = 'B', .bytes = { 2 } } } };

static const enum token_kind kinds[] = { TOKEN_OPEN, TOKEN_CLICK, TOKEN_LEAVE, TOKEN_PREFERENCES, TOKEN_MARK,
	TOKEN_FEEDBACK, TOKEN_SPLIT };
#define KINDS (sizeof kinds / sizeof kinds[0])

/* Any bytes as a token; the first picks a key of ours, so that all of it is looked at. */
static void
stranger(const struct sealer *s, struct span in)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX), spelled = BUF(1 << 20);
	struct claim c;

	must(!token_open_any(s, in, &c, &text) && text.n == 0);
	buf_addc(&spelled, in.n % 2 ? 'A' : 'B');
	base64url_add(&spelled, in);
	must(!token_open_any(s, buf_span(&spelled), &c, &text) && text.n == 0);
	buf_free(&text);
	buf_free(&spelled);
}

static void
ours(const struct sealer *s, const unsigned char *p, size_t n)
{
	struct buf token = BUF(TOKEN_MAX), again = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c = {
		.kind = kinds[p[0] % KINDS],
		.mode = p[1] % (MODE_FULL + 1),
		.campaign = get_u64(p + 2),
		.when = get_u32(p + 10),
		.link = get_u16(p + 14),
		.text = span_make(p + 36, n - 36),
	}, back;
	size_t at = get_u16(p + 32);
	char change = (char)(p[34] ? p[34] : 1);

	memcpy(c.who.b, p + 16, sizeof c.who.b);
	if (!token_seal(s, &c, &token)) {
		must(token.n == 0 &&
		     (c.text.n > TOKEN_DESTINATION_MAX || ((c.kind == TOKEN_LEAVE || c.kind == TOKEN_PREFERENCES) && who_is_nobody(&c.who))));
		goto out;
	}
	for (size_t i = 0; i < KINDS; i++)
		must(token_open(s, kinds[i], buf_span(&token), &back, &text) == (kinds[i] == c.kind));
	must(token_open(s, c.kind, buf_span(&token), &back, &text));
	must(back.kind == c.kind && back.mode == c.mode && back.campaign == c.campaign && who_eq(&back.who, &c.who) &&
	     back.when == c.when && back.link == c.link && span_eq(back.text, c.text));
	must(token_seal(s, &back, &again) && span_eq(buf_span(&again), buf_span(&token)));
	buf_clear(&again);
	must(token_seal_packed(s, &back, SPAN(""), &again) && again.n >= token.n);

	must(!token_open_any(s, span_cut(buf_span(&token), 0, at % token.n), &back, &text));
	token.p[at % token.n] = (char)(token.p[at % token.n] ^ change);
	must(!token_open_any(s, buf_span(&token), &back, &text) && text.n == 0);
out:
	buf_free(&token);
	buf_free(&again);
	buf_free(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct sealer *s;

	if (s == NULL && (s = sealer_new(&keys)) == NULL)
		abort();
	stranger(s, span_make(data, n));
	if (n >= 36)
		ours(s, data, n);
	return 0;
}
