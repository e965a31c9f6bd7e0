/*
 * Promises: a touch that unpacks packs to the same bytes; so does a profile,
 * but for its unused bytes; and a profile made of any touches is the same in
 * both orders.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/engage.h"
#include "common/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

/* Any record has a class and words for it. */
static void
judge(const struct profile *p, int64_t now)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct finding f = engage_find(p, &policy, now);
	struct buf b = BUF(2000);

	must(f.class < ENGAGE_CLASSES && f.silent_sends <= PROFILE_SENDS);
	engage_explain(&b, p, &policy, &f, now);
	cause_explain(&b, engage_cause(p, NULL, &f, now), p, NULL, &f, now);
	must(!b.over && span_find(buf_span(&b), '\n') == b.n);
	buf_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct profile forth = { 0 }, back = { 0 }, stored;
	unsigned char a[PROFILE_BYTES], b[PROFILE_BYTES], packed[TOUCH_BYTES];
	size_t pieces = n / TOUCH_BYTES;
	struct touch t;

	for (size_t i = 0; i < pieces; i++) {
		struct span s = span_make(data + i * TOUCH_BYTES, TOUCH_BYTES);

		if (touch_unpack(&t, s)) {
			touch_pack(&t, packed);
			must(memcmp(packed, s.p, sizeof packed) == 0);
			profile_add(&forth, &t);
		}
		if (touch_unpack(&t, span_make(data + (pieces - 1 - i) * TOUCH_BYTES, TOUCH_BYTES)))
			profile_add(&back, &t);
	}
	profile_pack(&forth, a);
	profile_pack(&back, b);
	must(memcmp(a, b, sizeof a) == 0);
	must(profile_unpack(&stored, span_make(a, sizeof a)));
	profile_pack(&stored, b);
	must(memcmp(a, b, sizeof a) == 0);
	judge(&forth, INT64_C(1767268800000));

	if (profile_unpack(&stored, span_make(data, n))) {
		profile_pack(&stored, a);
		must(memcmp(a + 4, data + 4, 292) == 0);
		judge(&stored, INT64_C(1767268800000));
	}
	return 0;
}
