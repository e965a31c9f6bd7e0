/* test_pace.c -- how much may go out now: to the minute, and never more than the limit in any stretch of time. */
#include "common/pace.h"

#include "tests/unit/unit.h"

#define M0 29500000u /* some minute of 2026 */

static void
minutes_add_up(void **state)
{
	struct pace p = { 0 };

	(void)state;
	assert_int_equal(pace_sum(&p, 0, UINT32_MAX), 0);
	pace_add(&p, M0, 3);
	pace_add(&p, M0 + 10, 5);
	pace_add(&p, M0 + 4, 7);
	assert_int_equal(pace_sum(&p, M0, M0 + 10), 15);
	assert_int_equal(pace_sum(&p, M0 + 1, M0 + 10), 12);
	assert_int_equal(pace_sum(&p, M0, M0 + 9), 10);
	pace_take(&p, M0 + 4, 2);
	assert_int_equal(pace_sum(&p, M0 + 4, M0 + 4), 5);
	pace_take(&p, M0 + 4, 9); /* no more than there is */
	assert_int_equal(pace_sum(&p, M0, M0 + 10), 8);
	pace_take(&p, M0 + 11, 1);
	pace_add(&p, M0 + PACE_MINUTES, 1); /* the first one is forgotten */
	assert_int_equal(pace_sum(&p, 0, UINT32_MAX), 6);
	pace_add(&p, M0, 1); /* too long ago */
	pace_take(&p, M0, 1);
	assert_int_equal(pace_sum(&p, 0, UINT32_MAX), 6);
	pace_add(&p, M0 + 3 * PACE_MINUTES, 1);
	assert_int_equal(pace_sum(&p, 0, UINT32_MAX), 1);
}

/* A clock that was years ahead and is put right: what is sent from then on counts. */
static void
clock_put_back(void **state)
{
	struct pace p = { 0 };

	(void)state;
	pace_add(&p, M0 + 400 * 1440, 9);
	pace_add(&p, M0, 2);
	assert_int_equal(pace_sum(&p, M0 - 60, M0), 2);
	assert_int_equal(pace_free(&p, 2, 60, 60 * M0), 60 * (M0 + 61));
	pace_add(&p, M0 - 60, 3);
	pace_take(&p, M0, 1);
	assert_int_equal(pace_sum(&p, M0 - 60, M0), 4);
}

static const struct {
	const char *says;
	uint64_t count;
	unsigned minutes;
	uint32_t ago; /* seconds since the start of M0, in which 3 were sent, and 2 five minutes later */
	uint32_t until; /* the same; 0: at once */
} frees[] = {
	{ "room for one more", 6, 60, 400, 0 },
	{ "none", 5, 60, 400, 61 * 60 },
	{ "when the first minute has left there is", 5, 60, 61 * 60, 0 },
	{ "a second before there is not", 5, 60, 61 * 60 - 1, 61 * 60 },
	{ "two would be over", 3, 60, 400, 61 * 60 },
	{ "of two the later minute decides", 2, 60, 400, 66 * 60 },
	{ "a minute's window", 1, 1, 59, 2 * 60 },
	{ "a minute's window, the minute after", 1, 1, 119, 2 * 60 },
	{ "a minute's window is over", 1, 1, 120, 0 },
	{ "a day", 5, 1440, 400, 1441 * 60 },
};

static void
when_there_is_room(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(frees); i++) {
		struct pace p = { 0 };
		uint32_t want = frees[i].until == 0 ? 0 : M0 * 60 + frees[i].until;

		pace_add(&p, M0, 3);
		if (frees[i].ago >= 300)
			pace_add(&p, M0 + 5, 2);
		assert_row(frees[i].says, pace_free(&p, frees[i].count, frees[i].minutes, M0 * 60 + frees[i].ago) == want);
	}
}

/* Whoever sends as soon as he may sends no more than the limit in any stretch of that length, to the second; and always at the moment told. */
static void
no_stretch_has_more(void **state)
{
	enum { SENDS = 3000, COUNT_MAX = 7, MINUTES = 5 };
	static uint32_t when[SENDS];
	struct pace p = { 0 };
	uint32_t now = M0 * 60 + 17;

	(void)state;
	for (size_t i = 0; i < SENDS; i++) {
		uint32_t until = pace_free(&p, COUNT_MAX, MINUTES, now);

		if (until != 0) {
			assert_true(until > now);
			now = until;
			assert_int_equal(pace_free(&p, COUNT_MAX, MINUTES, now), 0);
		}
		pace_add(&p, now / 60, 1);
		when[i] = now;
		if (i >= COUNT_MAX)
			assert_true(when[i] - when[i - COUNT_MAX] >= MINUTES * 60);
		now += (uint32_t)(i * 7919 % 90);
	}
}

static const struct {
	const char *says;
	uint64_t part, all;
	unsigned share;
	uint64_t free;
	bool good;
} shares[] = {
	{ "the first of all", 0, 0, 3000, 0, false },
	{ "the first of all, where some are free", 0, 0, 3000, 1, true },
	{ "the third of ten", 2, 9, 3000, 0, true },
	{ "the third of nine", 2, 8, 3000, 0, false },
	{ "the last that is free", 99, 99, 3000, 100, true },
	{ "the next", 100, 100, 3000, 100, false },
	{ "no limit", 1000, 1000, 10000, 0, true },
	{ "none at all", 0, 1000000, 0, 0, false },
};

static void
shares_of_a_day(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(shares); i++)
		assert_row(shares[i].says, pace_share(shares[i].part, shares[i].all, shares[i].share, shares[i].free) == shares[i].good);
}

static const struct {
	const char *says;
	enum engage class;
	bool series, second_half;
	uint64_t today[PACE_KINDS];
	bool good;
} warmups[] = {
	{ "the last one of the day", ENGAGE_ENGAGED, false, false, { 99, 0, 0 }, true },
	{ "one too many", ENGAGE_ENGAGED, false, false, { 100, 0, 0 }, false },
	{ "a new recipient", ENGAGE_NEW, false, false, { 99, 0, 0 }, true },
	{ "semi-engaged, too early", ENGAGE_SEMI, false, false, { 0, 0, 0 }, false },
	{ "semi-engaged, later", ENGAGE_SEMI, false, true, { 50, 29, 5 }, true },
	{ "semi-engaged, over the share", ENGAGE_SEMI, false, true, { 50, 30, 0 }, false },
	{ "semi-engaged, over the volume", ENGAGE_SEMI, false, true, { 100, 0, 0 }, false },
	{ "inactive, too early", ENGAGE_INACTIVE, false, false, { 0, 0, 0 }, false },
	{ "inactive, later", ENGAGE_INACTIVE, false, true, { 50, 30, 4 }, true },
	{ "inactive, over the share", ENGAGE_INACTIVE, false, true, { 50, 0, 5 }, false },
	{ "of the series, whatever the class", ENGAGE_NEW, true, false, { 0, 0, 0 }, false },
	{ "of the series, later", ENGAGE_NEW, true, true, { 0, 0, 4 }, true },
};

static void
warming_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(warmups); i++) {
		const struct warmup w = { 100, warmups[i].second_half, 3000, 500 };

		assert_row(warmups[i].says,
		    pace_warm(&w, pace_kind(warmups[i].class, warmups[i].series), warmups[i].today) == warmups[i].good);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minutes_add_up),
		cmocka_unit_test(clock_put_back),
		cmocka_unit_test(when_there_is_room),
		cmocka_unit_test(no_stretch_has_more),
		cmocka_unit_test(shares_of_a_day),
		cmocka_unit_test(warming_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
