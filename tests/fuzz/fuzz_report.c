/*
 * Promises of mail that comes back: whatever it says, nobody is named but by
 * a token of ours, and one byte less of that token names nobody; the answer is
 * the same with and without a mailbox's "From " line; what is no report of
 * anything says why.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/addr.h"
#include "common/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static const struct keys keys = { .identity = { 1 }, .token = { { .id = 'A', .bytes = { 2 } } }, .n = 1 };
static struct who ann; /* ann@example.com, as in the seeds */
static struct sealer *sealer;
static struct buf token = BUF(TOKEN_MAX);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
prepare(void)
{
	struct claim claim = { .kind = TOKEN_LEAVE, .mode = MODE_IDENTIFIED, .campaign = 7, .text = SPAN("news") };

	must(addr_who(&keys, SPAN("ann@example.com"), &ann));
	claim.who = ann;
	sealer = sealer_new(&keys);
	must(sealer != NULL && token_seal(sealer, &claim, &token));
}

static void
check(struct span mail, bool whole)
{
	struct report r, again;
	struct buf framed = BUF(4 << 20);

	report_init(&r);
	report_init(&again);
	report_read(&r, &keys, sealer, mail, SPAN(""));
	must((r.kind == REPORT_NOTHING) == (r.why != NULL));
	if (who_is_nobody(&r.claim.who))
		must(r.kind == REPORT_NOTHING || r.kind == REPORT_BOUNCE);
	else
		must(whole && who_eq(&r.claim.who, &ann));
	if (r.kind == REPORT_BOUNCE)
		must(r.claim.kind != 0 && (r.bounce != BOUNCE_HARD || r.status[0] != '4'));
	if (!span_starts(mail, SPAN("From ")) && mail.n < REPORT_MAIL_MAX) {
		buf_adds(&framed, "From x\n");
		buf_add(&framed, mail);
		report_read(&again, &keys, sealer, buf_span(&framed), SPAN(""));
		must(again.kind == r.kind && again.why == r.why && span_eq(again.address, r.address));
	}
	report_free(&r);
	report_free(&again);
	buf_free(&framed);
}

/*
 * The fuzzer writes {u} where the token goes, as tests/data/reports does; and
 * once more with a full stop for its last character, which the fuzzer would
 * else put back.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_make(p, n);

	if (sealer == NULL)
		prepare();
	for (size_t cut = 0; cut < 2; cut++) {
		struct buf mail = BUF(4 << 20);

		for (size_t i = 0; i < in.n; i++) {
			if (span_starts(span_from(in, i), SPAN("{u}"))) {
				buf_add(&mail, span_cut(buf_span(&token), 0, token.n - cut));
				if (cut)
					buf_addc(&mail, '.');
				i += 2;
			} else
				buf_addc(&mail, in.p[i]);
		}
		check(buf_span(&mail), cut == 0);
		buf_free(&mail);
	}
	return 0;
}
