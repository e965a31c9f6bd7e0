/* Facts into sums: exactly once, in any order, however often it is interrupted. */
#include "common/fold.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "common/engage.h"
#include "common/text.h"

#include "tests/unit/unit.h"

#define MB ((uint64_t)1 << 20)
#define T0 ((int64_t)1769817600000) /* 2026-01-31 */

static struct store *
open_store(const char *dir)
{
	struct store_options o = { .dir = dir, .facts_size = 256 * MB, .state_size = 256 * MB, .create = true };
	struct buf why = BUF(512);
	struct store *s = store_open(&o, &why);

	if (s == NULL)
		fail_msg("store_open: %s", buf_cstr(&why));
	buf_free(&why);
	return s;
}

static struct who
person(unsigned n)
{
	struct who w = { .b = { 'p' } };

	memcpy(w.b + 12, &n, sizeof n);
	return w;
}

static void
append(struct store *s, const struct touch *t, size_t n)
{
	struct record *r = calloc(n, sizeof *r);

	for (size_t i = 0; i < n; i++)
		r[i].touch = t[i];
	assert_int_equal(store_append(s, r, n, NULL), STORE_OK);
	free(r);
}

/* A reproducible jumble of everything. */
static void
jumble(struct touch *t, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++) {
		unsigned a, b;

		seed = seed * 1103515245 + 12345;
		a = seed >> 8;
		seed = seed * 1103515245 + 12345;
		b = seed >> 8;
		t[i] = (struct touch){ .kind = (uint8_t)(1 + a % (TOUCH_KINDS - 1)), .verdict = (uint8_t)(1 + b % 7),
			.mode = MODE_IDENTIFIED, .flags = (uint8_t)(a >> 12 & 7), .when = T0 + (int64_t)(b % 10000000) * 1000,
			.campaign = 1 + a / 16 % 5, .stream = 1 + a / 128 % 3 };
		if (t[i].kind == TOUCH_SENT)
			t[i].detail = b % ENGAGE_CLASSES;
		if (t[i].kind == TOUCH_CLICK)
			t[i].link = (uint16_t)(1 + b % 4);
		if (b % 8 == 0) {
			t[i].mode = MODE_ANONYMOUS;
		} else
			t[i].who = person(b / 8 % 40);
		if (t[i].kind == TOUCH_OPEN && b % 8 == 1) {
			t[i].mode = MODE_DAYONLY;
			t[i].verdict = ROBOT_HUMAN;
			t[i].when -= t[i].when % DAY_MS;
			t[i].campaign = t[i].stream = 0;
		}
	}
}

/* ---- the whole state as one text, to compare ---- */

static bool
dump_person(void *arg, const struct who *w, const struct profile *p)
{
	unsigned char bytes[PROFILE_BYTES];

	profile_pack(p, bytes);
	text_add_hex(arg, w, sizeof *w);
	buf_addc(arg, '=');
	text_add_hex(arg, bytes, sizeof bytes);
	buf_addc(arg, '\n');
	return true;
}

static bool
dump_subscription(void *arg, const struct who *w, uint64_t stream, const struct subscription *sub)
{
	text_add_hex(arg, w, sizeof *w);
	buf_addf(arg, " %llu left %u joined %u\n", (unsigned long long)stream, sub->left, sub->joined);
	return true;
}

static bool
dump_link(void *arg, uint16_t link, const struct link_count *c)
{
	buf_addf(arg, " link %u:", link);
	text_add_hex(arg, c, sizeof *c);
	return true;
}

struct dump {
	struct store *s;
	struct buf *out;
};

static bool
dump_campaign(void *arg, uint64_t id, const struct campaign *c)
{
	struct dump *d = arg;

	buf_addf(d->out, "campaign %llu ", (unsigned long long)id);
	text_add_hex(d->out, c, sizeof *c);
	assert_int_equal(store_each_link(d->s, id, dump_link, d->out), STORE_OK);
	buf_addc(d->out, '\n');
	return true;
}

static void
dump(struct store *s, struct buf *out)
{
	struct dump d = { s, out };

	buf_init(out, 16 * MB);
	assert_int_equal(store_each_person(s, dump_person, out), STORE_OK);
	assert_int_equal(store_each_subscription(s, dump_subscription, out), STORE_OK);
	assert_int_equal(store_each_campaign(s, dump_campaign, &d), STORE_OK);
	assert_false(out->over);
	assert_true(out->n > 1000);
}

/* ---- tests ---- */

static void
any_order_and_any_batches_give_the_same_bytes(void **state)
{
	enum { N = 3000 };
	static const size_t batches[] = { 1, 7, 100, 3000, 9999 };
	struct touch *t = calloc(N, sizeof *t);
	struct buf want = BUF(0);

	(void)state;
	jumble(t, N, 1);
	for (size_t i = 0; i < COUNT(batches); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir);
		enum store_result r;
		size_t n, sum = 0;
		struct buf got;

		append(s, t, N);
		while ((r = fold_some(s, i ? batches[i] : 64, &n)) == STORE_OK)
			sum += n;
		assert_int_equal(r, STORE_NONE);
		assert_int_equal(sum, N);
		dump(s, &got);
		if (i == 0)
			want = got;
		else {
			if (!span_eq(buf_span(&want), buf_span(&got)))
				fail_msg("batches of %zu: another state", batches[i]);
			buf_free(&got);
		}
		store_close(s);
		temp_remove(dir);

		/* another order for the next round */
		for (size_t k = N - 1; k > 0; k--) {
			size_t j = (k * 7919 + i * 104729) % (k + 1);
			struct touch swap = t[k];

			t[k] = t[j];
			t[j] = swap;
		}
	}
	buf_free(&want);
	free(t);
}

static void
a_lost_state_is_rebuilt_to_the_same_bytes(void **state)
{
	enum { N = 2000 };
	struct touch *t = calloc(N, sizeof *t);
	char *dir = temp_make(), path[600];
	struct store *s = open_store(dir);
	struct buf before, after;
	bool more;

	(void)state;
	jumble(t, N, 2);
	append(s, t, N);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_tidy(s, &(struct tidy){ 0, INT64_MAX }, N, &more), STORE_OK); /* the days leave the row */
	dump(s, &before);
	store_close(s);
	snprintf(path, sizeof path, "%s/state.mdb", dir);
	assert_int_equal(unlink(path), 0);
	s = open_store(dir);
	assert_int_equal(store_folded(s), 0);
	assert_int_equal(fold_all(s), STORE_OK);
	dump(s, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	buf_free(&before);
	buf_free(&after);
	store_close(s);
	temp_remove(dir);
	free(t);
}

static void
days_alone_are_enough_to_rebuild(void **state)
{
	struct touch t = { .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .mode = MODE_DAYONLY, .who = person(1), .when = T0 };
	char *dir = temp_make(), path[600];
	struct store *s = open_store(dir);
	struct profile p;
	struct who w = person(1);
	bool more;

	(void)state;
	append(s, &t, 1);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_tidy(s, &(struct tidy){ 0, INT64_MAX }, 10, &more), STORE_OK);
	store_close(s);
	snprintf(path, sizeof path, "%s/state.mdb", dir);
	assert_int_equal(unlink(path), 0);
	s = open_store(dir);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.last_open, T0 / 1000);
	store_close(s);
	temp_remove(dir);
}

/* What is pruned after keep_facts may be forgotten by a rebuilt state, but not who said no. */
static void
a_rebuilt_state_knows_who_said_no(void **state)
{
	struct touch t[] = {
		{ .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .mode = MODE_IDENTIFIED, .who = person(1), .when = T0 },
		{ .kind = TOUCH_LEFT, .who = person(1), .stream = 3, .campaign = 5, .when = T0 },
		{ .kind = TOUCH_LEFT, .who = person(2), .when = T0 },
		{ .kind = TOUCH_COMPLAINED, .who = person(3), .when = T0 },
		{ .kind = TOUCH_BOUNCED, .who = person(4), .when = T0 },
		{ .kind = TOUCH_HELD, .who = person(5), .when = T0 },
		{ .kind = TOUCH_RELEASED, .who = person(5), .when = T0 + 5000 },
		{ .kind = TOUCH_CONSENT, .detail = AXIS_LINKS << 4 | CONSENT_GRANTED, .who = person(6), .when = T0 },
		{ .kind = TOUCH_CONSENT, .detail = AXIS_LINKS << 4 | CONSENT_DENIED, .who = person(6), .when = T0 + 5000 },
		{ .kind = TOUCH_LEFT, .who = person(7), .stream = 3, .when = T0 },
		{ .kind = TOUCH_JOINED, .who = person(7), .stream = 3, .when = T0 + 5000 },
	};
	const uint32_t then = T0 / 1000;
	char *dir = temp_make(), path[600];
	struct store *s = open_store(dir);
	struct subscription sub;
	struct numbered left;
	struct profile p;
	struct who w;
	bool more;
	size_t n;

	(void)state;
	append(s, t, COUNT(t));
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_tidy(s, &(struct tidy){ INT64_MAX, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, &left, 1, &n), STORE_OK);
	assert_int_equal(n, 0);
	store_close(s);
	snprintf(path, sizeof path, "%s/state.mdb", dir);
	assert_int_equal(unlink(path), 0);
	s = open_store(dir);
	assert_int_equal(fold_all(s), STORE_OK);

	w = person(1);
	assert_int_equal(store_subscription(s, &w, 3, &sub), STORE_OK);
	assert_int_equal(sub.left, then);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.left, 0);
	assert_int_equal(p.clicks, 0);
	w = person(2);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.left, then);
	w = person(3);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.complained, then);
	w = person(4);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.bounced, then);
	w = person(5);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.held, then);
	assert_int_equal(p.released, then + 5);
	w = person(6);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(profile_consent(&p, AXIS_LINKS), CONSENT_DENIED);
	w = person(7);
	assert_int_equal(store_subscription(s, &w, 3, &sub), STORE_OK);
	assert_int_equal(sub.left, then);
	assert_int_equal(sub.joined, then + 5);
	store_close(s);
	temp_remove(dir);
}

static struct touch
hit(enum touch_kind kind, unsigned n, uint16_t link, enum robot verdict, int64_t when)
{
	static const struct who nobody;

	return (struct touch){ .kind = (uint8_t)kind, .verdict = (uint8_t)verdict, .mode = n ? MODE_IDENTIFIED : MODE_ANONYMOUS,
		.who = n ? person(n) : nobody, .campaign = 5, .link = link, .when = when };
}

static void
campaigns_count_hits_and_recipients(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct touch t[] = {
		{ .kind = TOUCH_SENT, .who = person(1), .campaign = 5, .stream = 3, .detail = ENGAGE_NEW, .flags = TOUCH_TRACKED, .when = T0 },
		{ .kind = TOUCH_SENT, .who = person(2), .campaign = 5, .stream = 3, .detail = ENGAGE_INACTIVE,
		    .flags = TOUCH_OBSERVED, .when = T0 + 5000 },
		{ .kind = TOUCH_SKIPPED, .who = person(3), .campaign = 5, .stream = 3, .detail = CAUSE_BOUNCED, .when = T0 },
		hit(TOUCH_OPEN, 1, 0, ROBOT_PRIVACY_OPEN, T0 + 1), /* a machine first */
		hit(TOUCH_OPEN, 1, 0, ROBOT_HUMAN, T0 + 2),        /* then the person */
		hit(TOUCH_OPEN, 1, 0, ROBOT_PROXY_OPEN, T0 + 3),   /* and again */
		hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0 + 4),       /* a click without an open is an open too */
		hit(TOUCH_CLICK, 2, 2, ROBOT_HUMAN, T0 + 5),
		hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0 + 6),
		hit(TOUCH_CLICK, 3, 1, ROBOT_SCANNER, T0 + 7),
		hit(TOUCH_CLICK, 0, 1, ROBOT_HUMAN, T0 + 8),       /* nobody in particular */
		{ .kind = TOUCH_LEFT, .who = person(2), .campaign = 5, .stream = 3, .when = T0 + 9 },
		{ .kind = TOUCH_LEFT, .who = person(2), .campaign = 5, .stream = 3, .when = T0 + 10 },
	};
	struct subscription sub;
	struct link_count link;
	struct campaign c;
	struct profile p;
	struct who w;

	(void)state;
	append(s, t, COUNT(t));
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.stream, 3);
	assert_int_equal(c.sent, 2);
	assert_int_equal(c.tracked, 1);
	assert_int_equal(c.would_skip, 1);
	assert_int_equal(c.skipped, 1);
	assert_int_equal(c.sent_class[ENGAGE_NEW], 1);
	assert_int_equal(c.sent_class[ENGAGE_INACTIVE], 1);
	assert_int_equal(c.first, T0 / 1000);
	assert_int_equal(c.last, T0 / 1000 + 5);
	assert_int_equal(c.opens_all, 3);
	assert_int_equal(c.opens_human, 2);
	assert_int_equal(c.openers_all, 3); /* a click is an open here too */
	assert_int_equal(c.openers_human, 2);
	assert_int_equal(c.clicks_all, 5);
	assert_int_equal(c.clicks_human, 4);
	assert_int_equal(c.clickers_all, 2);
	assert_int_equal(c.clickers_human, 1);
	assert_int_equal(c.left, 1);
	assert_int_equal(store_link(s, 5, 1, &link), STORE_OK);
	assert_int_equal(link.clicks_all, 4);
	assert_int_equal(link.clicks_human, 3);
	assert_int_equal(link.clickers_all, 2);
	assert_int_equal(link.clickers_human, 1);
	assert_int_equal(store_link(s, 5, 2, &link), STORE_OK);
	assert_int_equal(link.clickers_human, 1);

	/* leaving one stream is the subscription's business */
	w = person(2);
	assert_int_equal(store_subscription(s, &w, 3, &sub), STORE_OK);
	assert_int_equal(sub.left, T0 / 1000);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.left, 0);
	assert_int_equal(p.clicks, 3);
	store_close(s);
	temp_remove(dir);
}

struct folder {
	struct store *s;
	size_t sum;
};

static void *
fold_until_all(void *arg)
{
	struct folder *f = arg;
	enum store_result r;
	size_t n;

	while ((r = fold_some(f->s, 97, &n)) == STORE_OK || r == STORE_MOVED)
		f->sum += n;
	return NULL;
}

static void
several_folders_count_each_touch_once(void **state)
{
	enum { N = 20000, FOLDERS = 4 };
	struct touch *t = calloc(N, sizeof *t);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct folder f[FOLDERS];
	pthread_t thread[FOLDERS];
	struct campaign c;
	size_t sum = 0;

	(void)state;
	for (size_t i = 0; i < N; i++)
		t[i] = hit(TOUCH_CLICK, 1 + i % 50, 1, ROBOT_HUMAN, T0 + (int64_t)i);
	append(s, t, N);
	for (int i = 0; i < FOLDERS; i++) {
		f[i] = (struct folder){ s, 0 };
		assert_int_equal(pthread_create(&thread[i], NULL, fold_until_all, &f[i]), 0);
	}
	for (int i = 0; i < FOLDERS; i++) {
		pthread_join(thread[i], NULL);
		sum += f[i].sum;
	}
	assert_int_equal(sum, N);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.clicks_all, N);
	assert_int_equal(c.clickers_all, 50);
	free(t);
	store_close(s);
	temp_remove(dir);
}

static void
killed_in_the_middle_again_and_again(void **state)
{
	enum { N = 20000 };
	struct touch *t = calloc(N, sizeof *t);
	char *dir = temp_make();
	uint64_t folded = 0;
	struct store *s;
	struct campaign c;
	unsigned kills = 0;

	(void)state;
	s = open_store(dir);
	for (size_t i = 0; i < N; i++)
		t[i] = hit(TOUCH_CLICK, 1 + i % 50, 1, ROBOT_HUMAN, T0 + (int64_t)i);
	append(s, t, N);
	store_close(s);
	/* Each child is killed right after it reports a batch, which is in the middle of the next one. */
	for (int i = 0; i < 8; i++) {
		int fd[2], status;
		char byte;
		pid_t pid;

		assert_int_equal(pipe(fd), 0);
		if ((pid = fork()) == 0) {
			size_t n;

			s = open_store(dir);
			while (fold_some(s, 500, &n) == STORE_OK)
				if (write(fd[1], "x", 1) != 1)
					break;
			_exit(0);
		}
		close(fd[1]);
		(void)!read(fd[0], &byte, 1);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		kills += WIFSIGNALED(status);
		close(fd[0]);
	}
	assert_true(kills > 0);
	s = open_store(dir);
	folded = store_folded(s);
	assert_in_range(folded, 500, N);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.clicks_all, N);
	assert_int_equal(c.clickers_all, 50);
	store_close(s);
	temp_remove(dir);
	free(t);
}

static void
the_thread_folds_by_itself(void **state)
{
	struct touch t = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct fold *f = fold_start(s, 90 * DAY_MS);

	(void)state;
	append(s, &t, 1);
	for (int i = 0; i < 1000 && store_folded(s) == 0; i++)
		usleep(10000);
	assert_int_equal(store_folded(s), 1);
	fold_stop(f);
	store_close(s);
	temp_remove(dir);
}

static void
a_clock_that_jumps_ahead_is_believed_slowly(void **state)
{
	static const struct {
		const char *says;
		int64_t believed, clock, elapsed, want;
	} rows[] = {
		{ "a second like any other", 1000, 2000, 1000, 2000 },
		{ "no time has gone by", 1000, 1000, 0, 1000 },
		{ "it went back", 5000, 1000, 1000, 1000 },
		{ "it runs a little fast", 1000, 1000 + 24000, 1000, 25000 },
		{ "it jumped", 1000, 1000 + 24001, 1000, 25000 },
		{ "by ten years, in a second", 0, 3650 * DAY_MS, 1000, 24000 },
		{ "by ten years, an hour ago", 0, 3650 * DAY_MS, 3600 * 1000, DAY_MS },
		{ "off for a month: caught up in some 30 hours", 0, 30 * DAY_MS, 30 * 3600 * 1000, 30 * DAY_MS },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].says, fold_believe(rows[i].believed, rows[i].clock, rows[i].elapsed) == rows[i].want);
}

/* A store that was left alone for a year, or a clock that is a year ahead: nobody can tell, so nothing goes at once. */
static void
nothing_is_pruned_at_once_after_a_year(void **state)
{
	struct touch t = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, (int64_t)time(NULL) * 1000 - 365 * DAY_MS);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct fold *f;
	struct numbered got;
	int64_t clock;
	size_t n;

	(void)state;
	append(s, &t, 1);
	f = fold_start(s, 90 * DAY_MS);
	for (int i = 0; i < 1000 && (store_folded(s) == 0 || !store_clock(s, &clock)); i++)
		usleep(10000);
	fold_stop(f);
	assert_true(clock >= t.when && clock < t.when + DAY_MS);
	assert_int_equal(store_touches(s, 0, &got, 1, &n), STORE_OK);
	assert_int_equal(n, 1);
	store_close(s);
	temp_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order_and_any_batches_give_the_same_bytes),
		cmocka_unit_test(a_lost_state_is_rebuilt_to_the_same_bytes),
		cmocka_unit_test(days_alone_are_enough_to_rebuild),
		cmocka_unit_test(a_rebuilt_state_knows_who_said_no),
		cmocka_unit_test(campaigns_count_hits_and_recipients),
		cmocka_unit_test(several_folders_count_each_touch_once),
		cmocka_unit_test(killed_in_the_middle_again_and_again),
		cmocka_unit_test(the_thread_folds_by_itself),
		cmocka_unit_test(a_clock_that_jumps_ahead_is_believed_slowly),
		cmocka_unit_test(nothing_is_pruned_at_once_after_a_year),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
