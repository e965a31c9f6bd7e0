/* What a guesser has to spend, and that nobody else pays for it. */
#include "tracker/budget.h"

#include "tests/unit/unit.h"

static struct peer
v4(unsigned a, unsigned b, unsigned c, unsigned d)
{
	return (struct peer){ .b = { [10] = 0xff, 0xff, (uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d } };
}

static struct peer
v6(unsigned third, unsigned fourth)
{
	return (struct peer){ .b = { 0x20, 0x01, 0x0d, 0xb8, (uint8_t)(third >> 8), (uint8_t)third, (uint8_t)(fourth >> 8),
				   (uint8_t)fourth, [15] = 1 } };
}

/* How many of n at one moment are within the budget? */
static int
charge(struct budget *b, struct peer p, int64_t now, int n)
{
	int good = 0;

	for (int i = 0; i < n; i++)
		good += budget_charge(b, budget_net(&p), GUESSES_BURST, GUESSES_EACH_MS, now);
	return good;
}

static void
rows(void **state)
{
	struct budget b;
	const struct {
		const char *says;
		struct peer peer;
		int64_t now;
		int n, good;
	} row[] = {
		{ "as many at once as the burst", v4(192, 0, 2, 1), 1000, GUESSES_BURST, GUESSES_BURST },
		{ "and not one more", v4(192, 0, 2, 1), 1000, 1, 0 },
		{ "the neighbour pays too", v4(192, 0, 2, 255), 1000, 1, 0 },
		{ "the next network does not", v4(192, 0, 3, 1), 1000, 1, 1 },
		{ "a moment too early", v4(192, 0, 2, 1), 1000 + GUESSES_EACH_MS - 1, 1, 0 },
		{ "one more when it is time", v4(192, 0, 2, 1), 1000 + GUESSES_EACH_MS, 2, 1 },
		{ "what was refused cost nothing", v4(192, 0, 2, 1), 1000 + GUESSES_EACH_MS, 1000, 0 },
		{ "nearly all is forgotten", v4(192, 0, 2, 1), 1000 + GUESSES_BURST * GUESSES_EACH_MS, 1000, GUESSES_BURST - 1 },
		{ "all is forgotten", v4(192, 0, 2, 1), 9000 + 2 * GUESSES_BURST * GUESSES_EACH_MS, 1000, GUESSES_BURST },
		{ "a /48", v6(7, 1), 0, GUESSES_BURST, GUESSES_BURST },
		{ "the same /48", v6(7, 0xffff), 0, 1, 0 },
		{ "the next /48", v6(8, 1), 0, 1, 1 },
		{ "the first bytes of an IPv6 address are no IPv4 address", v4(0x20, 0x01, 0x0d, 0xb8), 0, 1, 1 },
	};

	(void)state;
	budget_init(&b, 42, GUESSES_SETS);
	for (size_t i = 0; i < COUNT(row); i++)
		assert_row(row[i].says, charge(&b, row[i].peer, row[i].now, row[i].n) == row[i].good);
	budget_free(&b);
}

/* More sources than room, all of them charged to the brim: the table stays as it is, and who is new is not refused. */
static void
a_flood_of_sources_is_forgiven_not_remembered(void **state)
{
	struct budget b;
	unsigned n = 4 * GUESSES_SETS * BUDGET_WAYS;

	(void)state;
	budget_init(&b, 7, GUESSES_SETS);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(charge(&b, v4(10 + (i >> 16), i >> 8, i, 1), 1000, GUESSES_BURST), GUESSES_BURST);
	budget_free(&b);
}

/* One heavy guesser among a few thousand sources with a bad link each stays known. */
static void
the_heaviest_is_not_forgotten(void **state)
{
	struct budget b;

	(void)state;
	budget_init(&b, 7, GUESSES_SETS);
	assert_int_equal(charge(&b, v4(192, 0, 2, 1), 1000, GUESSES_BURST), GUESSES_BURST);
	for (unsigned i = 0; i < 20000; i++)
		charge(&b, v4(10, i >> 8, i, 1), 1000, 1);
	assert_int_equal(charge(&b, v4(192, 0, 2, 1), 1000, 1), 0);
	budget_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows),
		cmocka_unit_test(a_flood_of_sources_is_forgiven_not_remembered),
		cmocka_unit_test(the_heaviest_is_not_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
