/* test_brake.c -- when a brake goes on: each limit on both sides of its edge. */
#include "common/brake.h"

#include "tests/unit/unit.h"

static const struct brake_limits limits = { 5000, 200, 30, 10, 500, 200, 1000 };

static const struct {
	const char *says;
	enum brake kind;
	struct brake_counts counts;
	bool was;
	enum brake_level level;
} rates[] = {
	{ "nothing sent", BRAKE_COMPLAINTS, { 0 }, false, BRAKE_OFF },
	{ "three of a thousand complained", BRAKE_COMPLAINTS, { .sent = 1000, .complained = 3 }, false, BRAKE_ON },
	{ "of one more it is a warning", BRAKE_COMPLAINTS, { .sent = 1001, .complained = 3 }, false, BRAKE_WARN },
	{ "too few to say anything", BRAKE_COMPLAINTS, { .sent = 999, .complained = 999 }, false, BRAKE_OFF },
	{ "one of a thousand is a warning", BRAKE_COMPLAINTS, { .sent = 1000, .complained = 1 }, false, BRAKE_WARN },
	{ "of one more it is nothing", BRAKE_COMPLAINTS, { .sent = 1001, .complained = 1 }, false, BRAKE_OFF },
	{ "half of it known to be delivered counts", BRAKE_COMPLAINTS, { .sent = 4000, .delivered = 2000, .complained = 6 }, false,
	    BRAKE_ON },
	{ "less than half does not", BRAKE_COMPLAINTS, { .sent = 4000, .delivered = 1999, .complained = 6 }, false, BRAKE_WARN },
	{ "one in twenty is no address", BRAKE_BOUNCES, { .sent = 1000, .bounced = 50 }, false, BRAKE_ON },
	{ "nearly", BRAKE_BOUNCES, { .sent = 1000, .bounced = 49 }, false, BRAKE_WARN },
	{ "one in fifty is a warning", BRAKE_BOUNCES, { .sent = 1000, .bounced = 20 }, false, BRAKE_WARN },
	{ "less is not", BRAKE_BOUNCES, { .sent = 1000, .bounced = 19 }, false, BRAKE_OFF },
	{ "half of them stopped is allowed", BRAKE_SHARE, { .sent = 100, .skipped = 100, .by_class = 100 }, false, BRAKE_OFF },
	{ "one more is not", BRAKE_SHARE, { .sent = 99, .skipped = 101, .by_class = 101 }, false, BRAKE_ON },
	{ "of too few it says nothing", BRAKE_SHARE, { .skipped = 199, .by_class = 199 }, false, BRAKE_OFF },
	{ "who was spared counts", BRAKE_SHARE, { .sent = 150, .skipped = 50, .by_class = 50, .spared = 51 }, false, BRAKE_ON },
	{ "other causes do not", BRAKE_SHARE, { .sent = 50, .skipped = 150, .by_class = 100 }, false, BRAKE_OFF },
	{ "it stays on a little below", BRAKE_SHARE, { .sent = 1000, .spared = 451 }, true, BRAKE_ON },
	{ "and goes off at nine tenths", BRAKE_SHARE, { .sent = 1000, .spared = 450 }, true, BRAKE_OFF },
	{ "where it was off it stays off", BRAKE_SHARE, { .sent = 1000, .spared = 451 }, false, BRAKE_OFF },
	{ "no rate", BRAKE_HAND, { .sent = 1000, .complained = 1000, .bounced = 1000 }, false, BRAKE_OFF },
};

static void
rates_and_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rates); i++)
		assert_row(rates[i].says, brake_find(rates[i].kind, &rates[i].counts, &limits, rates[i].was).level == rates[i].level);
}

static void
all_of_it_is_off(void **state)
{
	static const struct brake_limits off = { 10000, 1, 10000, 10000, 10000, 10000, 1 };
	static const struct brake_counts worst = { .sent = 0, .skipped = 1000, .by_class = 1000, .delivered = 1000, .bounced = 1000,
		.complained = 1000 };

	(void)state;
	for (enum brake b = BRAKE_NONE; b < BRAKES; b++)
		assert_int_equal(brake_find(b, &worst, &off, false).level, BRAKE_OFF);
}

static const struct outage_limits watch = { 2000, 500, 6 };

static const struct {
	const char *says;
	struct outage sums;
	bool was, on;
} outages[] = {
	{ "as ever", { 1000, 200, 14000, 2800, 0, 0, 0 }, false, false },
	{ "a fifth of it", { 1000, 40, 14000, 2800, 0, 0, 0 }, false, false },
	{ "less than a fifth", { 1000, 39, 14000, 2800, 0, 0, 0 }, false, true },
	{ "it stays until it is half as much again", { 1000, 59, 14000, 2800, 0, 0, 0 }, true, true },
	{ "and then it is over", { 1000, 60, 14000, 2800, 0, 0, 0 }, true, false },
	{ "nothing at all", { 1000, 0, 14000, 2800, 0, 0, 0 }, false, true },
	{ "500 a day are enough", { 500, 0, 7000, 1400, 0, 0, 0 }, false, true },
	{ "fewer are not", { 500, 0, 6999, 1400, 0, 0, 0 }, false, false },
	{ "too few today: nothing begins", { 499, 0, 14000, 2800, 0, 0, 0 }, false, false },
	{ "and nothing ends", { 499, 0, 14000, 2800, 0, 0, 0 }, true, true },
	{ "few ever reacted", { 1000, 0, 14000, 49, 0, 0, 0 }, false, false },
	{ "a few more did", { 1000, 0, 14000, 50, 0, 0, 0 }, false, true },
	{ "taken back until less than none", { 1000, -3, 14000, 2800, 0, 0, 0 }, false, true },
	{ "no mail at all any more", { 0, 0, 0, 0, 0, 0, 0 }, true, false },
};

static void
readers_who_are_not_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(outages); i++)
		assert_row(outages[i].says, outage_find(&outages[i].sums, &watch, outages[i].was) == outages[i].on);
	assert_false(outage_find(&outages[2].sums, &(struct outage_limits){ 0, 500, 6 }, true));
}

static const struct {
	const char *says;
	struct outage sums;
	bool on;
} silences[] = {
	{ "six hours without a hit", { .hits_base = 5600, .sent_now = 500 }, true },
	{ "one hit", { .hits = 1, .hits_base = 5600, .sent_now = 500 }, false },
	{ "there were never many", { .hits_base = 5599, .sent_now = 500 }, false },
	{ "nothing was sent", { .hits_base = 5600, .sent_now = 499 }, false },
};

static void
nobody_is_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(silences); i++)
		assert_row(silences[i].says, outage_silent(&silences[i].sums, &watch) == silences[i].on);
	assert_false(outage_silent(&silences[0].sums, &(struct outage_limits){ 2000, 500, 0 }));
}

static const struct {
	unsigned ago;
	struct outage want;
} hours[] = {
	{ 0, { .reactions = 10, .hits = 100 } },
	{ 5, { .reactions = 10, .hits = 100 } },
	{ 6, { .reactions = 10, .sent_now = 1 } },
	{ 11, { .reactions = 10, .sent_now = 1 } },
	{ 12, { .reactions = 10, .sent = 1, .sent_now = 1 } },
	{ 23, { .reactions = 10, .sent = 1, .sent_now = 1 } },
	{ 24, { .reactions_base = 10, .sent = 1, .hits_base = 100 } },
	{ 35, { .reactions_base = 10, .sent = 1, .hits_base = 100 } },
	{ 36, { .reactions_base = 10, .sent_base = 1, .hits_base = 100 } },
	{ 359, { .reactions_base = 10, .sent_base = 1, .hits_base = 100 } },
	{ 360, { .sent_base = 1 } },
	{ 371, { .sent_base = 1 } },
	{ 372, { 0 } },
};

static void
hours_go_where_they_belong(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hours); i++) {
		struct outage o = { 0 };
		char row[32];

		snprintf(row, sizeof row, "%u hours ago", hours[i].ago);
		outage_add(&o, hours[i].ago, 1, 10, 100, &watch);
		assert_row(row, memcmp(&o, &hours[i].want, sizeof o) == 0);
	}
}

/* A campaign of each week: nobody has read it yet when it has just begun, and that is no outage at any hour. */
static void
a_weekly_campaign_is_no_outage(void **state)
{
	(void)state;
	for (unsigned now = 4 * 168; now < 5 * 168; now++) {
		struct outage o = { 0 };

		for (unsigned hour = now - OUTAGE_HOURS; hour <= now; hour++) {
			unsigned since = hour % 168;

			/* Half of those who react do so within four hours, and the others within two days. */
			outage_add(&o, now - hour, since == 0 ? 10000 : 0, since < 4 ? 500 : since < 48 ? 45 : 0, 1, &watch);
		}
		if (outage_find(&o, &watch, false))
			fail_msg("hour %u of the week: %lld reactions to %lld", now % 168, (long long)o.reactions, (long long)o.sent);
	}
}

static void
words(void **state)
{
	const struct brake_rate r = { BRAKE_ON, 3, 1000, 30, 1000 };
	struct buf b = BUF(200);

	(void)state;
	brake_explain(&b, &r);
	assert_span("rate", buf_span(&b), SPAN("0.30 % of 1000 (limit 0.30 %)"));
	buf_clear(&b);
	outage_explain(&b, &outages[2].sums, &watch);
	assert_span("outage", buf_span(&b), SPAN("reactions per message 0.039, usually 0.200 (limit 20.00 % of it)"));
	assert_string_equal(brake_name(BRAKE_SILENCE), "silence");
	assert_string_equal(brake_name(BRAKES), "unknown");
	assert_true(brake_stops(BRAKE_HAND) && brake_stops(BRAKE_BOUNCES) && !brake_stops(BRAKE_SHARE) && !brake_stops(BRAKE_NONE));
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_and_limits),
		cmocka_unit_test(all_of_it_is_off),
		cmocka_unit_test(readers_who_are_not_seen),
		cmocka_unit_test(nobody_is_seen),
		cmocka_unit_test(hours_go_where_they_belong),
		cmocka_unit_test(a_weekly_campaign_is_no_outage),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
