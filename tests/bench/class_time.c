/*
 * class_time.c -- what a class costs, beside the least that its work could cost.
 *
 *	class_time DIRECTORY [PEOPLE [ROUNDS [--rows]]]
 *
 * Makes a store with so many recipients (10,000,000) in the directory, unless
 * it has one.  Then, in ROUNDS (7) neighbouring pairs, CPU time of this thread:
 *
 *	one recipient, at random: profile, subscription and verdict	beside mdb_get of the profile in a transaction
 *	all of them: class and what stands in the way			beside a cursor that looks at every record
 *
 * The latter is what `rekindle segment` does, but for loyal, at-risk and series.
 *
 * With --rows it measures nothing, and writes what the class comes from, of
 * everybody, as comma-separated numbers: for SQLite (policy.py).
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/codec.h"
#include "common/fold.h"
#include "common/mem.h"
#include "common/verdict.h"
#include "tests/bench/median.h"

#define NOW INT64_C(1795348800) /* 2026-11-22T12:00:00Z, seconds */
#define DAY 86400
#define LOOKUPS 300000
#define ROUNDS_MAX 99
#define NEWS 7

static uint64_t random_state = 88172645463325252;

static uint64_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1d;
}

static uint32_t
below(uint32_t n)
{
	return (uint32_t)((next_random() >> 32) * n >> 32);
}

static double
cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Number n of `people`; in order, and spread as keyed hashes are. */
static struct who
person(uint64_t n, uint64_t people)
{
	uint64_t high = UINT64_MAX / people * n + 1;
	struct who w;

	for (size_t i = 0; i < 8; i++)
		w.b[i] = (uint8_t)(high >> (56 - 8 * i));
	put_u64(w.b + 8, high * 0x9e3779b97f4a7c15);
	return w;
}

/* Weekly mail for up to half a year; half of them read some of it, some click, and machines look at a third. */
static struct profile
life(void)
{
	struct profile p = { 0 };
	unsigned sends = 1 + below(26), reads = below(2) ? 0 : 1 + below(9);

	for (unsigned i = sends; i-- > 0;) {
		int64_t at = NOW - (int64_t)i * 7 * DAY - (int64_t)below(DAY);
		struct touch t = { .kind = TOUCH_SENT, .flags = TOUCH_TRACKED, .stream = NEWS, .when = at * 1000, .mode = MODE_IDENTIFIED };

		profile_add(&p, &t);
		t.verdict = ROBOT_HUMAN;
		t.when += (int64_t)below(2 * DAY) * 1000;
		t.kind = TOUCH_OPEN;
		if (below(10) < reads)
			profile_add(&p, &t);
		t.kind = TOUCH_CLICK;
		if (below(40) < reads)
			profile_add(&p, &t);
		t.kind = TOUCH_OPEN;
		t.verdict = ROBOT_PRIVACY_OPEN;
		if (below(3) == 0)
			profile_add(&p, &t);
	}
	if (below(50) == 0)
		p.left = NOW - below(90) * DAY;
	if (below(50) == 0)
		p.bounced = NOW - below(90) * DAY;
	return p;
}

static void
make_people(struct store *s, uint64_t people)
{
	uint64_t folded;

	for (uint64_t n = 0; n < people;) {
		struct fold_txn *txn = fold_begin(s, &folded);

		if (txn == NULL)
			errx(1, "cannot make people");
		for (uint64_t end = n + 200000; n < end && n < people; n++) {
			struct who w = person(n, people);
			struct profile p = life();
			struct subscription sub = { .joined = p.first_seen };

			if (fold_put_person(txn, &w, &p) != STORE_OK ||
			    (n % 10 == 0 && fold_put_subscription(txn, &w, NEWS, &sub) != STORE_OK))
				errx(1, "cannot make people");
		}
		if (fold_commit(txn, folded) != STORE_OK)
			errx(1, "cannot make people");
	}
}

/* ---- the least ---- */

struct bare {
	MDB_env *env;
	MDB_dbi people;
};

static void
must(int rc, const char *what)
{
	if (rc != 0)
		errx(1, "%s: %s", what, mdb_strerror(rc));
}

/* The same file, read only, as LMDB alone opens it. */
static struct bare
open_bare(const char *dir)
{
	struct bare b;
	char path[4096];
	MDB_txn *txn;

	snprintf(path, sizeof path, "%s/state.mdb", dir);
	must(mdb_env_create(&b.env), "mdb_env_create");
	must(mdb_env_set_maxdbs(b.env, 16), "mdb_env_set_maxdbs");
	must(mdb_env_open(b.env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOTLS | MDB_NOLOCK, 0), path);
	must(mdb_txn_begin(b.env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
	must(mdb_dbi_open(txn, "people", 0, &b.people), "people");
	must(mdb_txn_commit(txn), "mdb_txn_commit");
	return b;
}

static volatile uint64_t sink;

static double
bare_lookups(const struct bare *b, const struct who *who)
{
	double before = cpu();

	for (size_t i = 0; i < LOOKUPS; i++) {
		MDB_val k = { sizeof who[i], (void *)(uintptr_t)&who[i] }, v;
		MDB_txn *txn;

		must(mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
		must(mdb_get(txn, b->people, &k, &v), "mdb_get");
		sink += ((const unsigned char *)v.mv_data)[4];
		mdb_txn_abort(txn);
	}
	return (cpu() - before) / LOOKUPS;
}

static double
bare_walk(const struct bare *b, uint64_t *seen)
{
	double before = cpu();
	MDB_cursor *cursor;
	MDB_val k, v;
	MDB_txn *txn;
	int rc;

	*seen = 0;
	must(mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
	must(mdb_cursor_open(txn, b->people, &cursor), "mdb_cursor_open");
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		sink += ((const unsigned char *)v.mv_data)[4];
		++*seen;
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	return cpu() - before;
}

/* ---- ours ---- */

static double
our_lookups(struct store *s, const struct conf *conf, const struct who *who)
{
	double before = cpu();

	for (size_t i = 0; i < LOOKUPS; i++) {
		struct profile p;
		struct subscription sub;
		bool known, subscribed;
		struct verdict v;

		if (store_person(s, &who[i], NEWS, &p, &known, &sub, &subscribed) != STORE_OK || !known)
			errx(1, "cannot read");
		v = verdict_find(&(struct question){ .conf = conf, .stream = &conf->stream[0], .stream_id = NEWS, .who = &who[i],
		    .profile = &p, .subscription = subscribed ? &sub : NULL, .now = NOW * 1000 });
		sink += v.cause;
	}
	return (cpu() - before) / LOOKUPS;
}

struct sizes {
	const struct policy *policy;
	uint64_t people, class[ENGAGE_CLASSES], status[CAUSES];
};

static bool
count_person(void *arg, const struct who *who, const struct profile *p)
{
	struct sizes *s = arg;
	struct finding f = { .class = engage_class(p, s->policy, NOW * 1000) };

	(void)who;
	s->people++;
	s->class[f.class]++;
	s->status[engage_cause(p, NULL, &f, NOW * 1000)]++;
	return true;
}

static double
our_walk(struct store *s, const struct conf *conf, struct sizes *sizes)
{
	double before = cpu();

	*sizes = (struct sizes){ .policy = &conf->stream[0].policy };
	if (store_each_person(s, count_person, sizes) != STORE_OK)
		errx(1, "cannot read");
	return cpu() - before;
}

/* ---- for SQLite ---- */

/* What the class comes from, as columns; the sends that are newer than the last engagement are counted already. */
static bool
write_row(void *arg, const struct who *who, const struct profile *p)
{
	struct sizes *s = arg;
	struct finding f = engage_find(p, s->policy, NOW * 1000);

	for (size_t i = 0; i < sizeof who->b; i++)
		printf("%02x", who->b[i]);
	printf(",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%u,%u,%" PRIu32 ",%" PRIu32 ",%" PRIu32 "\n",
	    p->first_seen, p->last_sent, p->last_open, p->last_click, p->sends, p->tracked_sends, f.silent_sends, f.opaque, p->left,
	    p->bounced, p->complained);
	return true;
}

static void
measure(struct store *s, const struct bare *b, const struct conf *conf, uint64_t people, size_t rounds)
{
	double ours[ROUNDS_MAX], bare[ROUNDS_MAX], ratio[ROUNDS_MAX];
	struct who *who = xcalloc(LOOKUPS, sizeof *who);
	struct sizes sizes;
	uint64_t seen;

	for (size_t i = 0; i < rounds; i++) {
		for (size_t k = 0; k < LOOKUPS; k++)
			who[k] = person(next_random() % people, people);
		/* The first to come would warm the caches for the second. */
		bare_lookups(b, who);
		if (i % 2)
			ours[i] = our_lookups(s, conf, who);
		bare[i] = bare_lookups(b, who);
		if (i % 2 == 0)
			ours[i] = our_lookups(s, conf, who);
		ratio[i] = bare[i] / ours[i];
	}
	printf("lookup ours_us=%.3f bare_us=%.3f ratio=%.3f\n", median(ours, rounds) * 1e6, median(bare, rounds) * 1e6, median(ratio, rounds));
	fflush(stdout);
	for (size_t i = 0; i < rounds; i++) {
		if (i % 2)
			ours[i] = our_walk(s, conf, &sizes);
		bare[i] = bare_walk(b, &seen);
		if (i % 2 == 0)
			ours[i] = our_walk(s, conf, &sizes);
		if (seen != sizes.people)
			errx(1, "%" PRIu64 " people, and %" PRIu64 " records", sizes.people, seen);
		ratio[i] = ours[i] / bare[i];
	}
	printf("walk people=%" PRIu64 " ours_s=%.3f bare_s=%.3f ratio=%.3f\n", seen, median(ours, rounds), median(bare, rounds),
	    median(ratio, rounds));
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		printf("class %s %" PRIu64 "\n", engage_name(i), sizes.class[i]);
	free(who);
}

int
main(int argc, char **argv)
{
	const char *dir = argc > 1 ? argv[1] : NULL;
	uint64_t people = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000000;
	size_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : 7;
	struct buf why = BUF(10000);
	struct store_options options = { .dir = dir, .create = true, .state_size = UINT64_C(64) << 30 };
	struct conf *conf = conf_parse(SPAN("tracking_url = https://t.example\nprivacy_profile = classic\nenforce = on\n"), "default", &why);
	struct store *s;
	struct profile p;
	struct who first, last;

	if (dir == NULL || people == 0 || rounds == 0 || rounds > ROUNDS_MAX)
		errx(2, "usage: class_time DIRECTORY [PEOPLE [ROUNDS [--rows]]]");
	if (conf == NULL || (s = store_open(&options, &why)) == NULL)
		errx(1, "%s", buf_cstr(&why));
	first = person(0, people);
	last = person(people - 1, people);
	if (store_profile(s, &first, &p) != STORE_OK || store_profile(s, &last, &p) != STORE_OK)
		make_people(s, people);
	if (argc > 4) {
		struct sizes sizes = { .policy = &conf->stream[0].policy };

		if (store_each_person(s, write_row, &sizes) != STORE_OK)
			errx(1, "cannot read");
	} else {
		struct bare b = open_bare(dir);

		measure(s, &b, conf, people, rounds);
		mdb_env_close(b.env);
	}
	store_close(s);
	conf_free(conf);
	buf_free(&why);
	return 0;
}
