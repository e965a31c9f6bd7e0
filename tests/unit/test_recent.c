/* Sends that the sums may not have yet: who sees them, for how long, and how many there may be. */
#include "milter/recent.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/unit.h"

#define TAG 2
#define OTHER 4

/* Number i of those whose sends lie in one shard. */
static struct who
who(unsigned i)
{
	return (struct who){ .b = { 7, (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16) } };
}

static uint64_t
reserve(struct recents *r, unsigned i, uint32_t when, uint16_t tag)
{
	struct recent found[RECENT_FOUND];
	struct who w = who(i);
	uint64_t reservation;

	recent_open(r, &w, tag, found);
	reservation = recent_reserve(r, &w, (struct recent){ when, tag });
	recent_close(r, &w);
	return reservation;
}

static size_t
find(struct recents *r, unsigned i, uint16_t tag, struct recent found[RECENT_FOUND])
{
	struct who w = who(i);
	size_t n = recent_open(r, &w, tag, found);

	recent_close(r, &w);
	return n;
}

static size_t
how_many(struct recents *r, unsigned i)
{
	struct recent found[RECENT_FOUND];

	return find(r, i, TAG, found);
}

static void
a_reservation_is_seen_until_it_is_dropped(void **state)
{
	struct recents *r = recents_new(1000);
	struct recent found[RECENT_FOUND];
	struct who w = who(1);
	uint64_t a, b;

	(void)state;
	assert_int_equal(how_many(r, 1), 0);
	a = reserve(r, 1, 100, TAG);
	b = reserve(r, 1, 101, OTHER);
	assert_int_equal(find(r, 1, TAG, found), 2);
	assert_true(found[0].when == 101 && found[0].tag == OTHER && found[1].when == 100 && found[1].tag == TAG);
	assert_int_equal(how_many(r, 2), 0);
	recent_drop(r, &w, a);
	assert_int_equal(find(r, 1, TAG, found), 1);
	assert_int_equal(found[0].when, 101);
	recent_keep(r, &w, b, 5);
	assert_int_equal(how_many(r, 1), 1);
	recents_free(r);
	recents_free(NULL);
}

/* What is kept goes when the state has it and somebody comes who needs a place; a reservation stays. */
static void
only_what_is_settled_goes(void **state)
{
	struct recents *r = recents_new(1000);
	struct who w = who(1);
	uint64_t a, b, c;

	(void)state;
	a = reserve(r, 1, 100, TAG);
	b = reserve(r, 1, 101, TAG);
	c = reserve(r, 1, 102, TAG);
	recent_keep(r, &w, a, 10);
	recent_keep(r, &w, c, 11);
	recents_settled(r, 10);
	reserve(r, 2, 103, TAG);
	assert_int_equal(how_many(r, 1), 3); /* kept in the very second */
	recents_settled(r, 20);
	reserve(r, 2, 104, TAG);
	assert_int_equal(how_many(r, 1), 2); /* the one that is not kept holds up the one behind it */
	recent_keep(r, &w, b, 19);
	reserve(r, 2, 105, TAG);
	assert_int_equal(how_many(r, 1), 0);
	assert_int_equal(recents_count(r), 3);
	recents_free(r);
}

/* A cap counts at most so many, of all streams or of one. */
static void
the_newest_are_found_of_all_and_of_the_stream(void **state)
{
	struct recents *r = recents_new(100000);
	struct recent found[RECENT_FOUND];
	size_t n, same = 0;

	(void)state;
	for (uint32_t i = 0; i < CAP_COUNT_MAX + 1; i++)
		reserve(r, 1, 1000 + i, TAG);
	for (uint32_t i = 0; i < CAP_COUNT_MAX + 1; i++)
		reserve(r, 1, 2000 + i, OTHER);
	n = find(r, 1, TAG, found);
	assert_int_equal(n, RECENT_FOUND);
	for (size_t i = 0; i < n; i++) {
		same += found[i].tag == TAG;
		assert_true(found[i].when != 1000 && found[i].when != 2000);
	}
	assert_int_equal(same, CAP_COUNT_MAX);
	recents_free(r);
}

static void
the_oldest_are_forgotten_when_there_is_no_place(void **state)
{
	struct recents *r = recents_new(64 * 64); /* 64 of one shard */
	uint64_t first = reserve(r, 0, 1, TAG);
	struct who w = who(0);

	(void)state;
	for (unsigned i = 1; i < 64; i++)
		reserve(r, i, 1, TAG);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(how_many(r, i), 1);
	reserve(r, 64, 1, TAG);
	assert_int_equal(how_many(r, 0), 0);
	assert_int_equal(how_many(r, 1), 1);
	assert_int_equal(how_many(r, 64), 1);
	assert_int_equal(recents_count(r), 64);
	/* What became of it is said to nobody. */
	recent_drop(r, &w, first);
	recent_keep(r, &w, first, 9);
	for (unsigned i = 1; i < 65; i++)
		assert_int_equal(how_many(r, i), 1);
	/* A hundred thousand later it is the same. */
	for (unsigned i = 0; i < 100000; i++)
		reserve(r, i, 1, TAG);
	assert_int_equal(recents_count(r), 64);
	assert_int_equal(how_many(r, 99999), 1);
	assert_int_equal(how_many(r, 99999 - 64), 0);
	recents_free(r);
}

static void
as_it_grows_all_are_found(void **state)
{
	struct recents *r = recents_new(64 * 16384);

	(void)state;
	for (unsigned i = 0; i < 16384; i++) {
		reserve(r, i, i + 1, TAG);
		if ((i & (i + 1)) == 0)
			for (unsigned j = 0; j <= i; j++)
				assert_int_equal(how_many(r, j), 1);
	}
	recents_free(r);
}

#define THREADS 8
#define ROUNDS 2000
static struct recents *shared;
static _Atomic unsigned went[ROUNDS];

/* Each sends to everybody whom no other has sent to. */
static void *
race(void *arg)
{
	struct recent found[RECENT_FOUND];

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct who w = { .b = { (uint8_t)i, (uint8_t)(i >> 8) } };
		uint64_t reservation = 0;

		if (recent_open(shared, &w, TAG, found) == 0)
			reservation = recent_reserve(shared, &w, (struct recent){ 1, TAG });
		recent_close(shared, &w);
		if (reservation != 0) {
			atomic_fetch_add(&went[i], 1);
			recent_keep(shared, &w, reservation, 1);
		}
	}
	return NULL;
}

static void
of_many_at_once_one_goes(void **state)
{
	pthread_t thread[THREADS];

	(void)state;
	shared = recents_new(100000);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, race, NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < ROUNDS; i++)
		assert_int_equal(went[i], 1);
	recents_free(shared);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reservation_is_seen_until_it_is_dropped),
		cmocka_unit_test(only_what_is_settled_goes),
		cmocka_unit_test(the_newest_are_found_of_all_and_of_the_stream),
		cmocka_unit_test(the_oldest_are_forgotten_when_there_is_no_place),
		cmocka_unit_test(as_it_grows_all_are_found),
		cmocka_unit_test(of_many_at_once_one_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
