/* A year of weekly campaigns (tests/bench/year.h), smaller: who is dead is found out, who reads is left alone, and machines are nobody. */
#include "tests/bench/year.h"
#include "tests/unit/unit.h"

#define PEOPLE 4000

static struct year
run(const char *more, bool filter)
{
	struct buf text = BUF(10000), why = BUF(1000);
	struct conf *conf;
	struct year y;

	buf_addf(&text, "tracking_url = https://t.example\nprivacy_profile = classic\n[policy]\n%s", more);
	conf = conf_parse(buf_span(&text), "t", &why);
	if (conf == NULL)
		fail_msg("%s", buf_cstr(&why));
	y = year_run(conf, PEOPLE, filter);
	conf_free(conf);
	buf_free(&text);
	return y;
}

static double
share(uint64_t part, uint64_t whole)
{
	return (double)part / (double)whole;
}

static uint64_t
ever_stopped(const struct year *y, enum group g)
{
	return y->group[g].stopped;
}

static void
a_year(void **state)
{
	static const enum group silent[] = { GROUP_SILENT, GROUP_APPLE_SILENT };
	struct year y = run("", true);

	(void)state;
	assert_int_equal(y.all.people, PEOPLE);
	assert_int_equal(y.all.after_leaving, 0);
	assert_true(share(y.all.dead_sent, y.all.dead_offered) <= 0.2);
	assert_true(share(ever_stopped(&y, GROUP_READERS), y.group[GROUP_READERS].people) <= 0.004);
	for (size_t i = 0; i < COUNT(silent); i++) {
		const struct year_sums *s = &y.group[silent[i]];

		/* All of them but the control group, and none comes back. */
		assert_int_equal(s->stopped + s->holdout, s->people);
		assert_int_equal(s->returned, 0);
		assert_int_equal(s->end[CAUSE_SUNSET], s->stopped);
		/* Weekly mail until there were enough, and then three messages. */
		assert_true(s->series == 3 * s->stopped);
		assert_true(share(s->sent - 52 * s->holdout, s->stopped) <= (silent[i] == GROUP_APPLE_SILENT ? 26 : 13));
	}
	/* One bounce is enough. */
	assert_int_equal(y.group[GROUP_DEAD_BOUNCE].dead_sent, y.group[GROUP_DEAD_BOUNCE].end[CAUSE_BOUNCED]);
}

static void
machines_are_nobody(void **state)
{
	struct year with = run("", true), without = run("", false);

	(void)state;
	/* Whoever follows all links at once, or two of them, is seen through; who follows one, much later, is not. */
	assert_int_equal(ever_stopped(&without, GROUP_APPLE_SILENT) + ever_stopped(&without, GROUP_GATEWAY_SILENT), 0);
	assert_true(share(ever_stopped(&with, GROUP_GATEWAY_SILENT), with.group[GROUP_GATEWAY_SILENT].people) > 0.4);
	/* And nobody pays for it who is behind none. */
	assert_int_equal(ever_stopped(&with, GROUP_READERS), ever_stopped(&without, GROUP_READERS));
}

static void
without_a_series_everybody_rests(void **state)
{
	struct year y = run("series = off\nholdout = 0\n", true);

	(void)state;
	assert_int_equal(y.all.series, 0);
	assert_int_equal(y.all.end[CAUSE_SUNSET], 0);
	assert_int_equal(y.group[GROUP_SILENT].end[CAUSE_INACTIVE], y.group[GROUP_SILENT].people);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_year),
		cmocka_unit_test(machines_are_nobody),
		cmocka_unit_test(without_a_series_everybody_rests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
