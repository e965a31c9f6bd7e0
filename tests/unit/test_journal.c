/* What was put is in the store once, whatever dies in between; and then nowhere else. */
#include "common/journal.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

#define MB ((uint64_t)1 << 20)

struct fixture {
	char *dir;
	struct store *s;
	struct journal *j;
};

static struct store *
open_store(const char *dir, uint64_t size)
{
	struct store_options o = { .dir = dir, .facts_size = size, .state_size = MB, .create = true };
	struct buf why = BUF(512);
	struct store *s = store_open(&o, &why);

	if (s == NULL)
		fail_msg("store_open: %s", buf_cstr(&why));
	buf_free(&why);
	return s;
}

static struct journal *
open_journal(const char *dir, struct store *s)
{
	struct buf why = BUF(512);
	struct journal *j = journal_open(dir, JOURNAL_MIN, s, &why);

	if (j == NULL)
		fail_msg("journal_open: %s", buf_cstr(&why));
	buf_free(&why);
	return j;
}

static struct fixture
start(void)
{
	struct fixture f = { .dir = temp_make() };

	f.s = open_store(f.dir, 64 * MB);
	f.j = open_journal(f.dir, f.s);
	return f;
}

static void
end(struct fixture *f)
{
	journal_close(f->j);
	store_close(f->s);
	temp_remove(f->dir);
}

static struct record
touch_of(uint16_t link)
{
	return (struct record){
		.touch = { .kind = TOUCH_CLICK, .campaign = 1, .link = link, .when = 1000, .who = { .b = { 1, 2, 3 } } },
		.address = SPAN("reader@example.org"),
	};
}

static void
put(struct journal *j, uint16_t link)
{
	struct record r = touch_of(link);

	assert_int_equal(journal_put(j, &r, 1, -1), JOURNAL_OK);
}

/* As a process does that dies: what it held is let go, nothing else happens. */
static void
die_and_rise(struct fixture *f)
{
	journal_close(f->j);
	f->j = open_journal(f->dir, f->s);
}

static void
assert_links(struct store *s, size_t n)
{
	struct numbered t[64];
	size_t got;

	assert_int_equal(store_touches(s, 0, t, COUNT(t), &got), STORE_OK);
	assert_int_equal(got, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(t[i].touch.link, i + 1);
}

static void
what_was_put_outlives_the_process(void **state)
{
	struct fixture f = start();
	struct buf name = BUF(100);
	struct who who = { .b = { 1, 2, 3 } };

	(void)state;
	for (uint16_t i = 1; i <= 3; i++)
		put(f.j, i);
	assert_links(f.s, 0);
	die_and_rise(&f);
	assert_links(f.s, 3);
	assert_int_equal(store_name(f.s, &who, &name), STORE_OK);
	assert_span("with its names", buf_span(&name), SPAN("reader@example.org"));
	die_and_rise(&f);
	assert_links(f.s, 3);
	put(f.j, 4);
	die_and_rise(&f);
	assert_links(f.s, 4);
	buf_free(&name);
	end(&f);
}

static void
kill_9_loses_nothing(void **state)
{
	struct fixture f = { .dir = temp_make() };
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		f.s = open_store(f.dir, 64 * MB);
		f.j = open_journal(f.dir, f.s);
		for (uint16_t i = 1; i <= 50; i++)
			put(f.j, i);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	f.s = open_store(f.dir, 64 * MB);
	f.j = open_journal(f.dir, f.s);
	assert_links(f.s, 50);
	end(&f);
}

static void
dying_after_the_commit_counts_nothing_twice(void **state)
{
	struct fixture f = start();
	struct record r[4];
	uint64_t to;

	(void)state;
	for (uint16_t i = 1; i <= 3; i++)
		put(f.j, i);
	assert_int_equal(journal_take(f.j, r, 2, &to), 2);
	assert_int_equal(store_append_from(f.s, r, 2, journal_id(f.j), journal_place(f.j), to), STORE_OK);
	die_and_rise(&f); /* before journal_moved */
	assert_links(f.s, 3);
	end(&f);
}

static void
a_lost_store_does_not_get_old_touches_again(void **state)
{
	struct fixture f = start();
	struct record r[4];
	char path[600];
	uint64_t to;

	(void)state;
	put(f.j, 7);
	assert_int_equal(journal_take(f.j, r, 4, &to), 1);
	assert_int_equal(store_append_from(f.s, r, 1, journal_id(f.j), journal_place(f.j), to), STORE_OK);
	journal_moved(f.j, to);
	put(f.j, 1);
	journal_close(f.j);
	store_close(f.s);
	snprintf(path, sizeof path, "%s/facts.mdb", f.dir);
	assert_int_equal(unlink(path), 0);
	f.s = open_store(f.dir, 64 * MB);
	f.j = open_journal(f.dir, f.s);
	assert_links(f.s, 1);
	end(&f);
}

/* Lengths of all kinds, so that every place at the end of the ring is met. */
static void
round_and_round(void **state)
{
	struct fixture f = start();
	static char text[2000];
	struct record in[8], out[8];
	struct journal_load load;
	unsigned seed = 1;
	uint64_t to;

	(void)state;
	memset(text, 'x', sizeof text);
	for (unsigned round = 0; round < 3000; round++) {
		size_t n = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 8, got = 0;

		for (size_t i = 0; i < n; i++) {
			in[i] = touch_of((uint16_t)(round * 8 + i));
			in[i].destination = span_make(text, (seed = seed * 1103515245 + 12345) / 65536 % sizeof text);
			in[i].campaign = span_make(text, seed / 65536 % 17);
			in[i].touch.kind = seed / 65536 % 5 == 0 ? 0 : TOUCH_CLICK;
		}
		/* In one piece, or in two, of which one may be empty. */
		const size_t cut = round % 3 == 0 ? n : round % (n + 1);
		const struct journal_piece piece[] = { { in, cut }, { in + cut, n - cut } };

		assert_int_equal(journal_put_pieces(f.j, piece, COUNT(piece), -1), JOURNAL_OK);
		while (got < n) {
			size_t more = journal_take(f.j, out, 1 + round % 8, &to);

			assert_true(more > 0);
			for (size_t i = 0; i < more; i++) {
				assert_int_equal(out[i].touch.kind, in[got + i].touch.kind);
				assert_int_equal(out[i].touch.link, in[got + i].touch.link);
				assert_span("destination", out[i].destination, in[got + i].destination);
				assert_span("campaign", out[i].campaign, in[got + i].campaign);
				assert_span("address", out[i].address, in[got + i].address);
			}
			got += more;
			journal_moved(f.j, to);
		}
		assert_int_equal(got, n);
	}
	journal_load(f.j, &load);
	assert_int_equal(load.waiting, 0);
	assert_true(to > 100 * load.size);
	end(&f);
}

#define RACED 200000

static void *
put_all(void *arg)
{
	struct journal *j = arg;
	struct record r[50];

	for (unsigned done = 0, n; done < RACED; done += n) {
		n = 1 + done % COUNT(r);
		for (unsigned i = 0; i < n; i++)
			r[i] = touch_of((uint16_t)(done + i));
		while (journal_put(j, r, n, -1) == JOURNAL_FULL)
			sched_yield();
	}
	return NULL;
}

/* What is being put is complete before the one who takes may see it. */
static void
taking_while_putting(void **state)
{
	struct fixture f = start();
	struct record r[500];
	struct journal_load load;
	pthread_t thread;
	uint64_t to;
	unsigned got = 0;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, put_all, f.j), 0);
	while (got < RACED) {
		size_t n = journal_take(f.j, r, COUNT(r), &to);

		for (size_t i = 0; i < n; i++)
			assert_int_equal(r[i].touch.link, (uint16_t)got++);
		if (n > 0)
			journal_moved(f.j, to);
		journal_load(f.j, &load);
		assert_true(load.waiting <= load.size);
	}
	pthread_join(thread, NULL);
	end(&f);
}

static void
a_full_one_takes_all_or_nothing(void **state)
{
	struct fixture f = start();
	struct record two[2] = { touch_of(1), touch_of(2) }, out[8];
	struct journal_load load;
	size_t put_in = 0, taken = 0, n;
	uint64_t to;

	(void)state;
	while (journal_put(f.j, two, 2, -1) == JOURNAL_OK)
		put_in += 2;
	journal_load(f.j, &load);
	assert_true(load.size - load.waiting < 2 * (TOUCH_BYTES + 24 + 10 + 18 + 8));
	assert_int_equal(journal_put(f.j, two, 2, -1), JOURNAL_FULL);
	n = journal_take(f.j, out, 8, &to);
	assert_int_equal(n, 8);
	journal_moved(f.j, to);
	taken += n;
	assert_int_equal(journal_put(f.j, two, 2, -1), JOURNAL_OK);
	put_in += 2;
	while ((n = journal_take(f.j, out, 8, &to)) > 0) {
		taken += n;
		journal_moved(f.j, to);
	}
	assert_int_equal(taken, put_in);
	end(&f);
}

static void
a_full_store_leaves_it_where_it_is(void **state)
{
	struct fixture f = { .dir = temp_make() };
	struct record one = touch_of(9), *many = calloc(1000, sizeof *many);
	struct store *large;
	struct journal_load load;
	uint64_t last;

	(void)state;
	f.s = open_store(f.dir, MB);
	f.j = open_journal(f.dir, f.s);
	for (int i = 0; i < 1000; i++)
		many[i] = touch_of(1);
	while (store_append(f.s, many, 1000, NULL) == STORE_OK)
		;
	while (store_append(f.s, &one, 1, &last) == STORE_OK)
		;
	put(f.j, 1);
	die_and_rise(&f);
	journal_load(f.j, &load);
	assert_true(load.waiting > 0);
	assert_int_equal(store_last(f.s), last);
	journal_close(f.j);
	store_close(f.s);
	large = f.s = open_store(f.dir, 64 * MB);
	f.j = open_journal(f.dir, large);
	assert_int_equal(store_last(f.s), last + 1);
	free(many);
	end(&f);
}

static bool
file_has(const char *path, const char *text)
{
	struct stat st;
	char *bytes;
	bool found;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	bytes = malloc((size_t)st.st_size);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	found = span_search(span_make(bytes, (size_t)st.st_size), span_of(text)) < (size_t)st.st_size;
	free(bytes);
	close(fd);
	return found;
}

/* `forget' and mode dayonly would not be true otherwise. */
static void
nothing_stays_of_what_was_moved(void **state)
{
	struct fixture f = start();
	struct record out[4];
	char path[600];
	uint64_t to;

	(void)state;
	snprintf(path, sizeof path, "%s/journal-0", f.dir);
	put(f.j, 1);
	assert_true(file_has(path, "reader@example.org"));
	assert_int_equal(journal_take(f.j, out, 4, &to), 1);
	journal_moved(f.j, to);
	assert_false(file_has(path, "reader@example.org"));
	put(f.j, 1);
	die_and_rise(&f);
	assert_false(file_has(path, "reader@example.org"));
	end(&f);
}

static void
nothing_stays_of_what_others_moved(void **state)
{
	struct fixture f = start();
	struct journal *dead = open_journal(f.dir, f.s);
	char path[600];

	(void)state;
	snprintf(path, sizeof path, "%s/journal-1", f.dir);
	put(dead, 1);
	journal_close(dead);
	assert_true(file_has(path, "reader@example.org"));
	journal_settle(f.dir, f.s, 0, true);
	assert_links(f.s, 1);
	assert_false(file_has(path, "reader@example.org"));
	end(&f);
}

/* Zeros are no record, not even at place 0. */
static void
an_unused_one_holds_nothing(void **state)
{
	struct fixture f = start();
	struct record r;
	uint64_t mark, id = journal_id(f.j);
	char zero[256] = { 0 };
	size_t skip;

	(void)state;
	assert_int_equal(journal_unpack(&r, span_make(zero, sizeof zero), 0, &skip), 0);
	die_and_rise(&f);
	assert_int_equal(journal_id(f.j), id);
	assert_int_equal(store_mark(f.s, id, &mark), STORE_OK);
	assert_int_equal(mark, 0);
	end(&f);
}

/* The mark never goes back, and what is before it is not given again. */
static void
a_store_that_has_more_says_so(void **state)
{
	struct fixture f = start();
	struct record r = touch_of(1);
	uint64_t mark, id = journal_id(f.j);

	(void)state;
	assert_int_equal(store_append_from(f.s, &r, 1, id, 0, 256), STORE_OK);
	assert_int_equal(store_append_from(f.s, &r, 1, id, 128, 384), STORE_NONE);
	assert_int_equal(store_mark(f.s, id, &mark), STORE_OK);
	assert_int_equal(mark, 256);
	assert_links(f.s, 1);
	end(&f);
}

static void
flip(const char *path, off_t at)
{
	unsigned char b;
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= 0x40;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

/* As after a power cut: a hole, and behind it records that were never flushed. */
static void
what_lies_behind_damage_stays_dead(void **state)
{
	enum { LENGTH = 24 + 104 }; /* of one of these records */

	(void)state;
	for (off_t at = LENGTH; at < 2 * LENGTH; at += 5) {
		struct fixture f = start();
		char path[600];

		snprintf(path, sizeof path, "%s/journal-0", f.dir);
		for (uint16_t i = 1; i <= 4; i++)
			put(f.j, i);
		journal_close(f.j);
		flip(path, 4096 + at);
		f.j = open_journal(f.dir, f.s);
		assert_links(f.s, 1);
		put(f.j, 2);
		die_and_rise(&f);
		assert_links(f.s, 2);
		end(&f);
	}
}

static void
each_process_has_its_own(void **state)
{
	struct fixture f = start();
	struct journal *other = open_journal(f.dir, f.s), *third;

	(void)state;
	assert_int_not_equal(journal_id(f.j), journal_id(other));
	put(other, 2);
	put(f.j, 1);
	die_and_rise(&f); /* the living one's is left alone */
	assert_links(f.s, 1);
	journal_close(other);
	third = open_journal(f.dir, f.s); /* whoever comes next, whatever number it had */
	assert_links(f.s, 2);
	journal_close(third);
	end(&f);
}

static void *
move_later(void *arg)
{
	struct fixture *f = arg;
	struct record r[8];
	uint64_t to;
	size_t n;

	usleep(30000);
	n = journal_take(f->j, r, COUNT(r), &to);
	assert_int_equal(store_append_from(f->s, r, n, journal_id(f->j), journal_place(f->j), to), STORE_OK);
	journal_moved(f->j, to);
	return NULL;
}

static void
whoever_asks_sees_what_was_put_before(void **state)
{
	struct fixture f = start();
	struct journal *dead = open_journal(f.dir, f.s);
	pthread_t thread;

	(void)state;
	put(dead, 1);
	journal_close(dead);
	journal_settle(f.dir, f.s, 0, true);
	assert_links(f.s, 1);
	put(f.j, 2);
	put(f.j, 3);
	assert_int_equal(pthread_create(&thread, NULL, move_later, &f), 0);
	journal_settle(f.dir, f.s, 60000, true);
	assert_links(f.s, 3);
	pthread_join(thread, NULL);
	put(f.j, 4);
	journal_settle(f.dir, f.s, 0, true); /* waits no longer than it should */
	assert_links(f.s, 3);
	end(&f);
}

static void
a_file_of_others_is_set_aside(void **state)
{
	struct fixture f = { .dir = temp_make() };
	char path[600];
	int fd;

	(void)state;
	snprintf(path, sizeof path, "%s/journal-0", f.dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "REKINDLE, a novel in three volumes, by many hands", 49), 49);
	close(fd);
	f.s = open_store(f.dir, 64 * MB);
	f.j = open_journal(f.dir, f.s);
	put(f.j, 1);
	die_and_rise(&f);
	assert_links(f.s, 1);
	snprintf(path, sizeof path, "%s/journal-0.bad", f.dir);
	assert_true(file_has(path, "a novel"));
	unlink(path);
	end(&f);
}

static void
another_size_is_taken_when_it_is_empty(void **state)
{
	struct fixture f = start();
	struct buf why = BUF(512);
	struct journal_load load;

	(void)state;
	put(f.j, 1);
	journal_close(f.j);
	f.j = journal_open(f.dir, 2 * JOURNAL_MIN, f.s, &why);
	assert_non_null(f.j);
	journal_load(f.j, &load);
	assert_int_equal(load.size, 2 * JOURNAL_MIN);
	assert_links(f.s, 1);
	put(f.j, 2);
	die_and_rise(&f);
	assert_links(f.s, 2);
	buf_free(&why);
	end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_outlives_the_process),
		cmocka_unit_test(kill_9_loses_nothing),
		cmocka_unit_test(dying_after_the_commit_counts_nothing_twice),
		cmocka_unit_test(a_lost_store_does_not_get_old_touches_again),
		cmocka_unit_test(round_and_round),
		cmocka_unit_test(taking_while_putting),
		cmocka_unit_test(a_full_one_takes_all_or_nothing),
		cmocka_unit_test(a_full_store_leaves_it_where_it_is),
		cmocka_unit_test(nothing_stays_of_what_was_moved),
		cmocka_unit_test(nothing_stays_of_what_others_moved),
		cmocka_unit_test(an_unused_one_holds_nothing),
		cmocka_unit_test(a_store_that_has_more_says_so),
		cmocka_unit_test(what_lies_behind_damage_stays_dead),
		cmocka_unit_test(each_process_has_its_own),
		cmocka_unit_test(whoever_asks_sees_what_was_put_before),
		cmocka_unit_test(a_file_of_others_is_set_aside),
		cmocka_unit_test(another_size_is_taken_when_it_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
