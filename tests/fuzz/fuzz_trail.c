/*
 * Promises: a trail that unpacks packs to the same bytes, one of an older
 * program to what unpacks to the same; the same touches in any order and in any
 * portions give the same bytes; every hit is in the figures once; a trail stays
 * within its size; and what goes with the facts changes no figure and no verdict.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/trail.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define PIECE 6

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static struct touch
touch_from(const uint8_t *p)
{
	struct touch t = { .kind = p[0] % 8 == 7 ? TOUCH_DELIVERED : p[0] % 8 == 6 ? TOUCH_LEFT : p[0] % 2 ? TOUCH_OPEN : TOUCH_CLICK,
		.mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 1, .verdict = (uint8_t)(1 + p[0] / 8 % 8), .detail = p[1],
		.when = (int64_t)1795348800000 + 200 * (int64_t)(p[2] | (p[3] & 15) << 8), .link = p[4] % 16 == 15 ? 65535 : p[4] % 16,
		.sent = p[5] ? 1795348800u + p[5] % 64 : 0 };

	if (p[3] == 255)
		t.when = p[2] % 2 ? INT64_MAX : INT64_MIN;
	return t;
}

static void
gather(const uint8_t *data, size_t n, bool back, size_t portion, struct buf *out)
{
	const struct rules rules = RULES_DEFAULT;

	for (size_t i = 0; i < n;) {
		struct trail trail = { 0 };

		if (out->n > 0)
			must(trail_unpack(&trail, buf_span(out)));
		for (size_t k = 0; i < n && k < portion; i++, k++) {
			struct touch t = touch_from(data + PIECE * (back ? n - 1 - i : i));

			if (trail_wants(&t))
				trail_add(&trail, &t);
		}
		trail_judge(&trail, &rules);
		buf_clear(out);
		trail_pack(&trail, out);
		must(!out->over);
		trail_free(&trail);
	}
}

static void
check_figures(struct span bytes)
{
	int64_t opens = 0, clicks = 0;
	struct trail t;
	struct tally y;

	must(trail_unpack(&t, bytes));
	trail_tally(&t, &y);
	for (size_t i = 0; i < EVIDENCE_MAX; i++) {
		opens += y.opens[i];
		clicks += y.clicks[i];
	}
	must(opens == y.opens_all && clicks == y.clicks_all && y.opens_human <= opens && y.clicks_human <= clicks);
	must(y.openers_human <= y.openers_all && y.clickers_human <= y.clickers_all && y.clickers_all <= y.openers_all);
	trail_free(&t);
}

static void
check_parting(struct span bytes, int64_t before)
{
	const struct rules rules = RULES_DEFAULT;
	struct trail t, past;
	struct tally all, gone, left;
	int64_t a[sizeof all / 8], b[sizeof all / 8], c[sizeof all / 8];

	must(trail_unpack(&t, bytes));
	trail_tally(&t, &all);
	trail_part(&t, &rules, before, INT64_MAX, &past);
	trail_tally(&past, &gone);
	trail_tally(&t, &left);
	/* Both know of an unsubscription that it was; only one of them counts it. */
	must(gone.left == 0);
	memcpy(a, &all, sizeof a);
	memcpy(b, &gone, sizeof b);
	memcpy(c, &left, sizeof c);
	for (size_t i = 0; i < sizeof a / 8; i++)
		must(a[i] == b[i] + c[i]);
	trail_judge(&t, &rules);
	must(!t.took_back);
	trail_free(&t);
	trail_free(&past);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf forth = BUF(TRAIL_BYTES_MAX), back = BUF(TRAIL_BYTES_MAX);
	struct trail t;

	if (trail_unpack(&t, span_make(data, n))) {
		trail_pack(&t, &forth);
		must(data[0] == 1 || span_eq(buf_span(&forth), span_make(data, n)));
		trail_free(&t);
		must(trail_unpack(&t, buf_span(&forth)));
		trail_pack(&t, &back);
		must(span_eq(buf_span(&forth), buf_span(&back)));
		buf_clear(&back);
	}
	trail_free(&t);
	buf_clear(&forth);
	gather(data, n / PIECE, false, 1000, &forth);
	gather(data, n / PIECE, true, 1 + n % 17, &back);
	must(span_eq(buf_span(&forth), buf_span(&back)));
	if (forth.n > 0) {
		check_figures(buf_span(&forth));
		check_parting(buf_span(&forth), (int64_t)1795348800000 + 200 * (int64_t)(data[0] | (data[1] & 15) << 8));
	}
	buf_free(&forth);
	buf_free(&back);
	return 0;
}
