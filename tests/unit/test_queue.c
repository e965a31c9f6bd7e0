#include "milter/queue.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define NOW ((int64_t)1795000000000)

static const struct who ann = { { 1 } }, bob = { { 2 } }, nobody;
static const struct queued spring = { 7, 8, 1795000000 };

static char *dir;

static int
setup(void **state)
{
	(void)state;
	dir = temp_make();
	return 0;
}

static int
teardown(void **state)
{
	char path[600];

	(void)state;
	snprintf(path, sizeof path, "%s/queue-ids", dir);
	unlink(path);
	temp_remove(dir);
	return 0;
}

static enum queue_answer
ask(struct queue *q, const char *id, const struct who *who)
{
	struct queued about = { 0 };
	enum queue_answer a = queue_find(q, span_of(id), who, &about);

	assert_true((a != QUEUE_NONE) == (about.campaign != 0));
	return a;
}

static struct queue *
again(struct queue *q, int64_t now)
{
	queue_close(q);
	return queue_open(dir, now);
}

static void
test_answers(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	struct queued about;

	(void)state;
	queue_add(q, SPAN("4F2X"), &spring, &ann, 1);
	queue_add(q, SPAN("MANY"), &spring, (struct who[]){ ann, bob }, 2);
	queue_add(q, SPAN("ANON"), &spring, &nobody, 1);
	/* Before a restart, and after it. */
	for (int round = 0; round < 2; round++) {
		assert_int_equal(ask(q, "4F2X", &ann), QUEUE_RECIPIENT);
		assert_int_equal(ask(q, "4F2X", &bob), QUEUE_OTHER);
		assert_int_equal(ask(q, "4F2", &ann), QUEUE_NONE);
		assert_int_equal(ask(q, "MANY", &bob), QUEUE_RECIPIENT);
		assert_int_equal(ask(q, "ANON", &bob), QUEUE_ANYBODY);
		assert_int_equal(queue_find(q, SPAN("4F2X"), &ann, &about), QUEUE_RECIPIENT);
		assert_true(about.campaign == spring.campaign && about.stream == spring.stream && about.when == spring.when);
		q = again(q, NOW);
	}
	/* One recipient is done; then the message; both are still so after a restart. */
	queue_done(q, SPAN("MANY"), &bob);
	queue_remove(q, SPAN("4F2X"));
	for (int round = 0; round < 2; round++) {
		assert_int_equal(ask(q, "MANY", &bob), QUEUE_OTHER);
		assert_int_equal(ask(q, "MANY", &ann), QUEUE_RECIPIENT);
		assert_int_equal(ask(q, "4F2X", &ann), QUEUE_NONE);
		q = again(q, NOW);
	}
	/* A name is given again. */
	queue_add(q, SPAN("MANY"), &(struct queued){ 9, 8, 1795000000 }, &bob, 1);
	assert_int_equal(ask(q, "MANY", &ann), QUEUE_OTHER);
	assert_int_equal(queue_find(q, SPAN("MANY"), &bob, &about), QUEUE_RECIPIENT);
	assert_int_equal(about.campaign, 9);
	/* Behind a filter. */
	queue_follow(q, SPAN("MANY"), SPAN("NEXT"));
	queue_remove(q, SPAN("MANY"));
	queue_follow(q, SPAN("MANY"), SPAN("MORE"));
	assert_int_equal(ask(q, "NEXT", &bob), QUEUE_RECIPIENT);
	assert_int_equal(ask(q, "MORE", &bob), QUEUE_NONE);
	queue_close(q);
}

/* A filter takes a message for two, and the log says so twice; what became of them meanwhile stays said. */
static void
test_followed_twice(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	struct waiting w[QUEUE_WHO_MAX];

	(void)state;
	queue_add(q, SPAN("4F2X"), &spring, (struct who[]){ ann, bob }, 2);
	queue_follow(q, SPAN("4F2X"), SPAN("NEXT"));
	queue_done(q, SPAN("NEXT"), &ann);
	queue_defer(q, SPAN("NEXT"), &bob, BOUNCE_SOFT);
	queue_follow(q, SPAN("4F2X"), SPAN("NEXT"));
	assert_int_equal(ask(q, "NEXT", &ann), QUEUE_OTHER);
	assert_int_equal(queue_waiting(q, SPAN("NEXT"), w), 1);
	/* Of another message with that name nothing is left. */
	queue_add(q, SPAN("LATE"), &(struct queued){ 9, 8, 1795000001 }, &ann, 1);
	queue_follow(q, SPAN("LATE"), SPAN("NEXT"));
	assert_int_equal(ask(q, "NEXT", &ann), QUEUE_RECIPIENT);
	assert_int_equal(ask(q, "NEXT", &bob), QUEUE_OTHER);
	queue_close(q);
}

/* Seven days, and not a second more. */
static void
test_age(void **state)
{
	struct queue *q = queue_open(dir, NOW);

	(void)state;
	queue_add(q, SPAN("4F2X"), &spring, &ann, 1);
	queue_save(q, NOW + 1000 * (int64_t)QUEUE_SECONDS);
	assert_int_equal(ask(q, "4F2X", &ann), QUEUE_RECIPIENT);
	q = again(q, NOW + 1000 * (int64_t)QUEUE_SECONDS);
	assert_int_equal(ask(q, "4F2X", &ann), QUEUE_RECIPIENT);
	queue_save(q, NOW + 1000 * ((int64_t)QUEUE_SECONDS + 1));
	assert_int_equal(ask(q, "4F2X", &ann), QUEUE_NONE);
	q = again(q, NOW + 1000 * ((int64_t)QUEUE_SECONDS + 1));
	assert_int_equal(ask(q, "4F2X", &ann), QUEUE_NONE);
	queue_close(q);
}

static void
test_waiting(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	struct waiting w[QUEUE_WHO_MAX];

	(void)state;
	queue_add(q, SPAN("4F2X"), &spring, (struct who[]){ ann, bob }, 2);
	assert_int_equal(queue_waiting(q, SPAN("4F2X"), w), 0);
	queue_defer(q, SPAN("4F2X"), &ann, BOUNCE_SOFT);
	queue_defer(q, SPAN("4F2X"), &bob, BOUNCE_SOFT);
	queue_defer(q, SPAN("4F2X"), &bob, BOUNCE_POLICY);
	assert_int_equal(queue_waiting(q, SPAN("4F2X"), w), 2);
	queue_done(q, SPAN("4F2X"), &ann);
	assert_int_equal(queue_waiting(q, SPAN("4F2X"), w), 1);
	assert_true(who_eq(&w[0].who, &bob) && w[0].bounce == BOUNCE_POLICY && w[0].about.campaign == 7);
	queue_close(q);
}

/* As many recipients as are remembered one by one, and one more. */
static void
test_recipients(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	struct who who[QUEUE_WHO_MAX + 1];

	(void)state;
	for (size_t i = 0; i <= QUEUE_WHO_MAX; i++)
		who[i] = (struct who){ { 9, (uint8_t)i } };
	queue_add(q, SPAN("AAAA"), &spring, who, QUEUE_WHO_MAX);
	queue_add(q, SPAN("BBBB"), &spring, who, QUEUE_WHO_MAX + 1);
	assert_int_equal(ask(q, "AAAA", &who[QUEUE_WHO_MAX - 1]), QUEUE_RECIPIENT);
	assert_int_equal(ask(q, "AAAA", &ann), QUEUE_OTHER);
	assert_int_equal(ask(q, "BBBB", &who[0]), QUEUE_ANYBODY);
	queue_close(q);
}

static void
test_ids(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	char id[QUEUE_ID_MAX + 2];

	(void)state;
	memset(id, 'a', sizeof id);
	for (size_t n = QUEUE_ID_MAX; n <= QUEUE_ID_MAX + 1; n++) {
		struct queued about;

		queue_add(q, span_make(id, n), &spring, &ann, 1);
		assert_int_equal(queue_find(q, span_make(id, n), &ann, &about), n == QUEUE_ID_MAX ? QUEUE_RECIPIENT : QUEUE_NONE);
	}
	queue_add(q, SPAN(""), &spring, &ann, 1);
	assert_int_equal(ask(q, "", &ann), QUEUE_NONE);
	queue_close(q);
}

/* With more than there is room for the oldest go, one for each that comes; and the removed make room first. */
static void
test_full(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	char id[16];

	(void)state;
	for (unsigned i = 0; i < QUEUE_MAX + 10; i++) {
		snprintf(id, sizeof id, "Q%u", i);
		queue_add(q, span_of(id), &spring, &ann, 1);
	}
	assert_int_equal(ask(q, "Q9", &ann), QUEUE_NONE);
	assert_int_equal(ask(q, "Q10", &ann), QUEUE_RECIPIENT);
	for (unsigned i = 11; i < QUEUE_MAX; i++) {
		snprintf(id, sizeof id, "Q%u", i);
		queue_remove(q, span_of(id));
	}
	for (unsigned i = 0; i < QUEUE_MAX / 2; i++) {
		snprintf(id, sizeof id, "R%u", i);
		queue_add(q, span_of(id), &spring, &ann, 1);
	}
	assert_int_equal(ask(q, "Q10", &ann), QUEUE_RECIPIENT);
	snprintf(id, sizeof id, "Q%u", QUEUE_MAX + 9);
	assert_int_equal(ask(q, id, &ann), QUEUE_RECIPIENT);
	queue_close(q);
}

static long
file_size(void)
{
	char path[600];
	struct stat st;

	snprintf(path, sizeof path, "%s/queue-ids", dir);
	assert_int_equal(stat(path, &st), 0);
	return (long)st.st_size;
}

/* What has left the queue leaves the file. */
static void
test_file_stays_small(void **state)
{
	struct queue *q = queue_open(dir, NOW);
	char id[16];

	(void)state;
	queue_add(q, SPAN("4F2X"), &spring, &ann, 1);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(id, sizeof id, "Q%u", i);
		queue_add(q, span_of(id), &spring, &ann, 1);
		queue_remove(q, span_of(id));
		if (i % 100 == 0)
			queue_save(q, NOW);
	}
	assert_true(file_size() < 64 * 20000);
	q = again(q, NOW);
	assert_int_equal(file_size(), 2 * 64);
	assert_int_equal(ask(q, "4F2X", &ann), QUEUE_RECIPIENT);
	queue_close(q);
}

/* A file that was cut or overwritten anywhere loses what was there, and nothing else. */
static void
test_damage(void **state)
{
	static const struct {
		const char *what;
		long cut, spoil;
		bool first, last;
	} rows[] = {
		{ "nothing", 0, -1, true, true },
		{ "the last byte", 1, -1, true, false },
		{ "the last record", 64, -1, true, false },
		{ "all but the header", 128, -1, false, false },
		{ "some of the header", 150, -1, false, false },
		{ "all", 192, -1, false, false },
		{ "a byte of the first", 0, 64 + 41, false, true },
		{ "a byte of the last", 0, 128 + 63, true, false },
		{ "the version", 0, 17, false, false },
	};
	char path[600];

	(void)state;
	snprintf(path, sizeof path, "%s/queue-ids", dir);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct queue *q;
		int fd;

		unlink(path);
		q = queue_open(dir, NOW);
		queue_add(q, SPAN("4F2X"), &spring, &ann, 1);
		queue_add(q, SPAN("LAST"), &spring, &bob, 1);
		queue_close(q);
		assert_int_equal(file_size(), 192);
		assert_int_equal(truncate(path, 192 - rows[i].cut), 0);
		fd = open(path, O_RDWR);
		if (rows[i].spoil >= 0)
			assert_int_equal(pwrite(fd, "\xff", 1, rows[i].spoil), 1);
		close(fd);
		q = queue_open(dir, NOW);
		if ((ask(q, "4F2X", &ann) == QUEUE_RECIPIENT) != rows[i].first || (ask(q, "LAST", &bob) == QUEUE_RECIPIENT) != rows[i].last)
			fail_msg("%s", rows[i].what);
		queue_close(q);
	}
}

/* Where there can be no file, memory alone is enough. */
static void
test_no_directory(void **state)
{
	struct queue *q = queue_open("/nonexistent", NOW);

	(void)state;
	queue_add(q, SPAN("4F2X"), &spring, &ann, 1);
	queue_save(q, NOW);
	assert_int_equal(ask(q, "4F2X", &ann), QUEUE_RECIPIENT);
	queue_close(q);
	queue_close(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_age, setup, teardown),
		cmocka_unit_test_setup_teardown(test_followed_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recipients, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_stays_small, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
		cmocka_unit_test(test_no_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
