/* Many touches per flush, none lost, none answered before it is on disk. */
#include "common/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/fold.h"
#include "tests/unit/unit.h"

#define MB ((uint64_t)1 << 20)

struct fixture {
	char *dir;
	struct store *s;
	struct writer *w;
};

static struct fixture
start_with(uint64_t size, uint64_t journal)
{
	struct fixture f = { .dir = temp_make() };
	struct store_options o = { .dir = f.dir, .facts_size = size, .state_size = MB, .create = true };
	struct buf why = BUF(512);

	if ((f.s = store_open(&o, &why)) == NULL)
		fail_msg("store_open: %s", buf_cstr(&why));
	buf_free(&why);
	f.w = writer_start(f.s, NULL, journal ? f.dir : NULL, journal);
	return f;
}

static struct fixture
start(uint64_t size)
{
	return start_with(size, 0);
}

static void
end(struct fixture *f)
{
	writer_stop(f->w);
	store_close(f->s);
	temp_remove(f->dir);
}

static struct record
touch_of(uint16_t link)
{
	return (struct record){ .touch = { .kind = TOUCH_CLICK, .campaign = 1, .link = link, .when = 1000 } };
}

static void
a_written_touch_is_there(void **state)
{
	struct fixture f = start(64 * MB);
	struct record r[2] = { touch_of(1), touch_of(2) };
	struct buf out = BUF(100);
	char destination[] = "https://example.org/";

	(void)state;
	r[1].destination = span_of(destination);
	assert_int_equal(writer_write(f.w, r, 2, 10000), WRITER_DURABLE);
	memset(destination, 'x', sizeof destination - 1); /* the writer has its own copy */
	assert_int_equal(store_last(f.s), 2);
	assert_int_equal(store_destination(f.s, 1, 2, &out), STORE_OK);
	assert_span("destination", buf_span(&out), SPAN("https://example.org/"));
	buf_free(&out);
	end(&f);
}

static void
one_who_gives_up_waiting_loses_nothing(void **state)
{
	struct fixture f = start(64 * MB);
	struct record r = touch_of(1);
	unsigned late = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		enum writer_result got = writer_write(f.w, &r, 1, 0);

		assert_int_not_equal(got, WRITER_LOST);
		late += got == WRITER_LATE;
	}
	assert_true(late > 0);
	writer_stop(f.w);
	f.w = NULL;
	assert_int_equal(store_last(f.s), 100);
	end(&f);
}

static void *
write_many(void *arg)
{
	struct fixture *f = arg;
	struct record r = touch_of(1);
	size_t durable = 0;

	for (int i = 0; i < 50; i++)
		durable += writer_write(f->w, &r, 1, 60000) == WRITER_DURABLE;
	return (void *)durable;
}

static void
a_flush_is_shared(void **state)
{
	enum { THREADS = 32 };
	struct fixture f = start(64 * MB);
	pthread_t thread[THREADS];
	struct writer_stats stats;
	void *durable;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, write_many, &f), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &durable);
		assert_int_equal((size_t)durable, 50);
	}
	writer_stats(f.w, &stats);
	assert_int_equal(stats.durable, THREADS * 50);
	assert_int_equal(stats.waiting, 0);
	assert_true(stats.batches < THREADS * 50);
	assert_int_equal(store_last(f.s), THREADS * 50);
	end(&f);
}

static void
a_full_store_says_lost_and_goes_on(void **state)
{
	struct fixture f = start(MB);
	struct record *many = calloc(20000, sizeof *many), one = touch_of(1);
	struct writer_stats stats;

	(void)state;
	for (int i = 0; i < 20000; i++)
		many[i] = touch_of(1);
	assert_int_equal(writer_write(f.w, many, 20000, 60000), WRITER_LOST);
	writer_stats(f.w, &stats);
	assert_true(stats.failing);
	assert_int_equal(stats.lost, 20000);
	/* what fits is recorded again at once */
	assert_int_equal(writer_write(f.w, &one, 1, 60000), WRITER_DURABLE);
	writer_stats(f.w, &stats);
	assert_false(stats.failing);
	free(many);
	end(&f);
}

/* Nobody sends hits to a tracker that is not ready: it has to find out by itself. */
static void
a_failure_ends_without_a_hit(void **state)
{
	struct fixture f = start(MB);
	struct record *many = calloc(2000, sizeof *many), one = touch_of(1);
	struct writer_stats stats;
	bool more;

	(void)state;
	for (int i = 0; i < 2000; i++)
		many[i] = touch_of(1);
	while (writer_write(f.w, many, 2000, 60000) == WRITER_DURABLE)
		;
	while (writer_write(f.w, &one, 1, 60000) == WRITER_DURABLE)
		;
	sleep(2);
	writer_stats(f.w, &stats);
	assert_true(stats.failing); /* as full as before */
	assert_int_equal(fold_all(f.s), STORE_OK);
	assert_int_equal(store_tidy(f.s, &(struct tidy){ 2000, INT64_MAX }, 20000, &more), STORE_OK);
	for (int i = 0; i < 50 && stats.failing; i++) {
		usleep(100000);
		writer_stats(f.w, &stats);
	}
	assert_false(stats.failing);
	assert_int_equal(writer_write(f.w, many, 2000, 60000), WRITER_DURABLE);
	free(many);
	end(&f);
}

static void
too_much_is_refused(void **state)
{
	struct fixture f = start(64 * MB);
	struct deed d = { .n = WRITER_WAITING_MAX + 1 };
	struct writer_stats stats;

	(void)state;
	assert_false(writer_add(f.w, &d));
	writer_stats(f.w, &stats);
	assert_int_equal(stats.refused, WRITER_WAITING_MAX + 1);
	assert_int_equal(stats.waiting, 0);
	end(&f);
}

/* ---- with a journal ---- */

static void
await_last(struct store *s, uint64_t last)
{
	for (int i = 0; i < 2000 && store_last(s) < last; i++)
		usleep(5000);
	assert_int_equal(store_last(s), last);
}

static void
what_is_durable_comes_to_the_store(void **state)
{
	struct fixture f = start_with(64 * MB, JOURNAL_MIN);
	struct record r = touch_of(1);
	struct writer_stats stats;

	(void)state;
	assert_int_equal(writer_write(f.w, &r, 1, 10000), WRITER_DURABLE);
	await_last(f.s, 1);
	assert_int_equal(writer_keep(f.w, &r, 1, 10000), WRITER_KEPT);
	await_last(f.s, 2);
	writer_stats(f.w, &stats);
	assert_int_equal(stats.durable, 2);
	end(&f);
}

static void *
write_and_keep(void *arg)
{
	struct fixture *f = arg;
	struct record r = touch_of(1);

	for (int i = 0; i < 400; i++) {
		enum writer_result got = i % 4 ? writer_keep(f->w, &r, 1, 60000) : writer_write(f->w, &r, 1, 60000);

		if (got != WRITER_DURABLE && got != WRITER_KEPT)
			return f;
	}
	return NULL;
}

/* The ring is a few hundred touches long, so all of them run into its end. */
static void
many_threads_and_a_small_journal(void **state)
{
	enum { THREADS = 16 };
	struct fixture f = start_with(64 * MB, JOURNAL_MIN);
	pthread_t thread[THREADS];
	void *failed;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, write_and_keep, &f), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	writer_stop(f.w);
	f.w = NULL;
	assert_int_equal(store_last(f.s), THREADS * 400);
	end(&f);
}

static void
more_than_the_journal_takes_goes_past_it(void **state)
{
	struct fixture f = start_with(64 * MB, JOURNAL_MIN);
	struct record *many = calloc(5000, sizeof *many);

	(void)state;
	for (int i = 0; i < 5000; i++)
		many[i] = touch_of(1);
	assert_int_equal(writer_write(f.w, many, 5000, 60000), WRITER_DURABLE);
	assert_int_equal(store_last(f.s), 5000);
	free(many);
	end(&f);
}

static void
a_full_store_is_waited_for(void **state)
{
	struct fixture f = start_with(MB, JOURNAL_MIN);
	struct record one = touch_of(1);
	struct writer_stats stats = { 0 };
	uint64_t durable, full;
	bool more;

	(void)state;
	while (writer_keep(f.w, &one, 1, 60000) != WRITER_LOST)
		;
	writer_stats(f.w, &stats);
	assert_true(stats.failing);
	assert_true(stats.journal.waiting > stats.journal.size / 2);
	assert_int_equal(stats.lost, 1);
	durable = stats.durable;
	full = store_last(f.s);
	assert_true(full < durable);
	assert_int_equal(fold_all(f.s), STORE_OK);
	assert_int_equal(store_tidy(f.s, &(struct tidy){ 2000, INT64_MAX }, 20000, &more), STORE_OK);
	await_last(f.s, durable);
	for (int i = 0; i < 2000 && stats.failing; i++) {
		usleep(5000);
		writer_stats(f.w, &stats);
	}
	assert_false(stats.failing);
	assert_int_equal(stats.journal.waiting, 0);
	end(&f);
}

/* ---- lists ---- */

enum { DEEDS = 100 };

static struct listed {
	struct deed deed;
	struct record record;
	_Atomic bool over;
	bool durable, more;
} listed[DEEDS];

static void
listed_done(struct deed *d, bool durable)
{
	struct listed *l = (struct listed *)d;

	l->durable = durable;
	l->more = d->next != NULL;
	l->over = true;
}

/* The store has touches 1 .. n, in order, and none twice. */
static void
assert_in_order(const struct fixture *f, size_t n)
{
	struct numbered touch[DEEDS + 1];
	size_t found;

	assert_int_equal(store_touches(f->s, 0, touch, n, &found), STORE_OK);
	assert_int_equal(found, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(touch[i].touch.link, i + 1);
}

/* Each by itself. */
static void
add_kept(const struct fixture *f)
{
	for (size_t i = 0; i < DEEDS; i++) {
		listed[i] = (struct listed){ .record = touch_of((uint16_t)(i + 1)) };
		listed[i].deed = (struct deed){ .done = listed_done, .kept = true, .n = 1, .record = &listed[i].record };
		assert_true(writer_add(f->w, &listed[i].deed));
	}
}

/* Whoever wakes somebody at the last deed of a flush has woken him for each of them. */
static void
a_list_is_told_of_together(void **state)
{
	struct fixture f = start(64 * MB);
	struct writer_stats stats;
	size_t last = 0;

	(void)state;
	for (size_t i = 0; i < DEEDS; i++) {
		listed[i] = (struct listed){ .record = touch_of((uint16_t)(i + 1)) };
		listed[i].deed = (struct deed){ .next = i + 1 < DEEDS ? &listed[i + 1].deed : NULL, .done = listed_done,
			.n = 1, .record = &listed[i].record };
	}
	assert_true(writer_add_list(f.w, &listed[0].deed, &listed[DEEDS - 1].deed, DEEDS));
	while (!listed[DEEDS - 1].over)
		usleep(1000);
	writer_stats(f.w, &stats);
	assert_int_equal(stats.durable, DEEDS);
	for (size_t i = 0; i < DEEDS; i++) {
		assert_true(listed[i].over && listed[i].durable);
		last += !listed[i].more;
	}
	assert_false(listed[DEEDS - 1].more);
	assert_int_equal(last, stats.batches);
	assert_in_order(&f, DEEDS);
	end(&f);
}

/* Nobody waits for them: they gather, and survive the end of the process all the same. */
static void
kept_ones_share_a_write(void **state)
{
	struct fixture f = start_with(64 * MB, 4 * MB);
	struct writer_stats stats;

	(void)state;
	add_kept(&f);
	while (!listed[DEEDS - 1].over)
		usleep(1000);
	writer_stats(f.w, &stats);
	assert_int_equal(stats.durable, DEEDS);
	assert_int_equal(stats.waiting, 0);
	assert_true(stats.batches < DEEDS);
	for (size_t i = 0; i < DEEDS; i++)
		assert_true(listed[i].over && listed[i].durable);
	writer_stop(f.w);
	f.w = NULL;
	assert_in_order(&f, DEEDS);
	end(&f);
}

/* One for which somebody waits takes those before it along, and does not wait for more of them. */
static void
a_waited_one_among_kept_ones(void **state)
{
	struct fixture f = start_with(64 * MB, 4 * MB);
	struct record r = touch_of(DEEDS + 1);

	(void)state;
	add_kept(&f);
	assert_int_equal(writer_write(f.w, &r, 1, 10000), WRITER_DURABLE);
	for (size_t i = 0; i < DEEDS; i++)
		assert_true(listed[i].over && listed[i].durable);
	writer_stop(f.w);
	f.w = NULL;
	assert_in_order(&f, DEEDS + 1);
	end(&f);
}

static void
a_list_that_is_too_much_is_refused_whole(void **state)
{
	struct fixture f = start(64 * MB);
	struct deed b = { .n = WRITER_WAITING_MAX }, a = { .next = &b, .n = 1 };

	(void)state;
	assert_false(writer_add_list(f.w, &a, &b, WRITER_WAITING_MAX + 1));
	assert_ptr_equal(a.next, &b);
	end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_written_touch_is_there),
		cmocka_unit_test(one_who_gives_up_waiting_loses_nothing),
		cmocka_unit_test(a_flush_is_shared),
		cmocka_unit_test(a_full_store_says_lost_and_goes_on),
		cmocka_unit_test(a_failure_ends_without_a_hit),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(what_is_durable_comes_to_the_store),
		cmocka_unit_test(many_threads_and_a_small_journal),
		cmocka_unit_test(more_than_the_journal_takes_goes_past_it),
		cmocka_unit_test(a_full_store_is_waited_for),
		cmocka_unit_test(a_list_is_told_of_together),
		cmocka_unit_test(kept_ones_share_a_write),
		cmocka_unit_test(a_waited_one_among_kept_ones),
		cmocka_unit_test(a_list_that_is_too_much_is_refused_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
