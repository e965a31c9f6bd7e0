/* Promises of the policy, over random lives under random policies; see policy.h for each of them. */
#include "tests/unit/policy.h"
#include "tests/unit/unit.h"

#define LIVES 100000

static uint64_t
next_random(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x * 0x2545f4914f6cdd1d;
}

static void
promises_are_kept(void **state)
{
	static uint8_t bytes[1000];
	unsigned classes[ENGAGE_CLASSES] = { 0 }, causes[CAUSES] = { 0 };

	(void)state;
	for (unsigned i = 0; i < LIVES; i++) {
		size_t n = 8 + next_random() % 400;
		const char *broken;
		struct life l;
		struct profile p;
		struct subscription s;

		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)(next_random() >> 40);
		broken = promise_life(span_make(bytes, n));
		if (broken == NULL && i % 20 == 0)
			broken = promise_sends(span_make(bytes, n));
		if (broken != NULL)
			fail_msg("life %u: not kept: %s", i, broken);
		life_make(&l, span_make(bytes, n));
		p = life_profile(&l);
		s = life_subscription(&l);
		for (int k = 0; k < 2; k++) {
			struct question q = life_question(&l, k, &p, &s, l.now * 1000);
			struct verdict v = verdict_find(&q);

			classes[v.finding.class]++;
			causes[v.cause]++;
		}
	}
	/* Nothing is promised of what never came up; nobody is throttled or braked here. */
	for (size_t i = 0; i < ENGAGE_CLASSES; i++)
		assert_row(engage_name((enum engage)i), classes[i] > LIVES / 100);
	for (size_t i = 0; i < CAUSE_THROTTLED; i++)
		assert_row(cause_name((enum cause)i), causes[i] > LIVES / 1000);
}

/* Any bytes of a profile's length are some profile: clocks that were wrong, sums that cannot be. */
static void
any_record_has_a_verdict(void **state)
{
	static unsigned char bytes[PROFILE_BYTES];
	static struct life l;

	(void)state;
	for (unsigned i = 0; i < LIVES; i++) {
		struct profile p;
		int64_t now;

		for (size_t k = 0; k < sizeof bytes; k++)
			bytes[k] = (unsigned char)(next_random() >> 40);
		life_make(&l, span_make(bytes, sizeof bytes));
		bytes[0] = 3;
		assert_true(profile_unpack(&p, span_make(bytes, sizeof bytes)));
		now = (int64_t)next_random() >> next_random() % 64;
		for (int k = 0; k < 2; k++) {
			struct question q = life_question(&l, k, &p, NULL, now);
			struct verdict v = verdict_find(&q);

			assert_in_range(v.finding.class, 0, ENGAGE_CLASSES - 1);
			assert_true(life_counts(&p, &q.stream->policy, now));
			assert_in_range(v.cause, 0, CAUSES - 1);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promises_are_kept),
		cmocka_unit_test(any_record_has_a_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
