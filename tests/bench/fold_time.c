/*
 * fold_time.c -- how many touches a second are summed up, when there are many recipients.
 *
 *	fold_time [-a] DIRECTORY [PEOPLE [TOUCHES [ROUNDS]]]
 *
 * Makes a store with so many profiles (10,000,000) in the directory, unless
 * it has one, adds touches (2,000,000) of recipients at random, and folds
 * them: of ten touches six are sends, three opens and one a click, in twenty
 * campaigns.  Beside it, in the same rounds (3), a bare LMDB gets the records
 * of recipients at random and puts them back, 10,000 in one transaction: what
 * a fold would take at least that did nothing but write profiles as touches
 * come.  The store stays, for the next time.  With -a the touches are added,
 * and that is all.
 *
 * Time in which somebody else had the processor is counted apart: what is
 * left is processor and disk, and much the same however busy the machine is.
 */
#include <err.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "common/codec.h"
#include "common/fold.h"
#include "common/mem.h"
#include "tests/bench/median.h"

#define CHUNK 20000
#define BARE_BATCH 10000
#define BARE_PUTS 300000
#define ROUNDS_MAX 100
#define CAMPAIGNS 20

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t
written(void)
{
	char line[128];
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "r");

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "write_bytes: %llu", &n) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return n;
}

/* Seconds in which this thread could have run and somebody else did: the load's part of a figure. */
static double
delayed(void)
{
	unsigned long long ran, waited = 0;
	FILE *f = fopen("/proc/thread-self/schedstat", "r");

	if (f != NULL && fscanf(f, "%llu %llu", &ran, &waited) != 2)
		waited = 0;
	if (f != NULL)
		fclose(f);
	return (double)waited / 1e9;
}

static uint64_t
next_random(void)
{
	static uint64_t x;

	if (x == 0)
		x = (uint64_t)time(NULL) * 2 + 1; /* not those of the last time */
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x * 0x2545f4914f6cdd1d;
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

static void
must(enum store_result r, const char *what)
{
	if (r != STORE_OK && r != STORE_NONE)
		errx(1, "%s: %d", what, r);
}

static void
make_people(struct store *s, uint64_t people, uint32_t at)
{
	struct profile p = { .first_seen = at, .last_sent = at, .last_open = at, .sends = 9, .tracked_sends = 9, .opens = 3 };
	uint64_t folded;

	for (uint64_t n = 0; n < people;) {
		struct fold_txn *txn = fold_begin(s, &folded);

		if (txn == NULL)
			errx(1, "cannot make people");
		for (uint64_t end = n + 200000; n < end && n < people; n++) {
			struct who w = person(n, people);

			must(fold_put_person(txn, &w, &p), "people");
		}
		must(fold_commit(txn, folded), "people");
	}
}

static void
add_touches(struct store *s, uint64_t touches, uint64_t people, int64_t at)
{
	struct record *r = xcalloc(CHUNK, sizeof *r);

	for (uint64_t done = 0; done < touches; done += CHUNK) {
		for (size_t i = 0; i < CHUNK; i++) {
			uint64_t dice = next_random();
			unsigned kind = (unsigned)(dice % 10);

			r[i].touch = (struct touch){ .kind = kind < 6 ? TOUCH_SENT : kind < 9 ? TOUCH_OPEN : TOUCH_CLICK,
				.mode = MODE_IDENTIFIED, .verdict = kind < 6 ? ROBOT_NONE : ROBOT_HUMAN, .when = at + (int64_t)(done + i),
				.link = kind == 9 ? 1 + dice / 16 % 8 : 0, .flags = TOUCH_TRACKED, .stream = 1,
				.campaign = 1 + dice / 1024 % CAMPAIGNS, .who = person(next_random() % people, people) };
		}
		must(store_append(s, r, CHUNK, NULL), "touches");
	}
	free(r);
}

/* ---- what it takes ---- */

struct meter {
	double start, cpu, delayed;
	uint64_t written;
};

static struct meter
meter_read(void)
{
	return (struct meter){ now(), cpu(), delayed(), written() };
}

/* How many a second, but for what others had of the processor. */
static double
report(const char *what, const struct meter *since, uint64_t n)
{
	struct meter at = meter_read();
	double all = at.start - since->start, others = at.delayed - since->delayed, used = at.cpu - since->cpu;

	printf("%s: %.0f/s, %.0f/s without waiting for a processor; each CPU %.1f us, disk %.1f us, %.0f bytes of pages made dirty\n", what,
	    (double)n / all, (double)n / (all - others), used * 1e6 / (double)n, (all - others - used) * 1e6 / (double)n,
	    (double)(at.written - since->written) / (double)n);
	fflush(stdout);
	return (double)n / (all - others);
}

/* ---- a bare LMDB ---- */

static void
must_lmdb(int rc, const char *what)
{
	if (rc != 0)
		errx(1, "bare LMDB: %s: %s", what, mdb_strerror(rc));
}

static int
by_who(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct who));
}

static void
bare_batch(MDB_env *env, MDB_dbi dbi, struct who *w, uint64_t people)
{
	unsigned char bytes[PROFILE_BYTES];
	MDB_txn *txn;

	for (size_t i = 0; i < BARE_BATCH; i++)
		w[i] = person(next_random() % people, people);
	qsort(w, BARE_BATCH, sizeof *w, by_who);
	must_lmdb(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	for (size_t i = 0; i < BARE_BATCH; i++) {
		MDB_val k = { sizeof w[i], &w[i] }, v;

		must_lmdb(mdb_get(txn, dbi, &k, &v), "get");
		if (v.mv_size != sizeof bytes)
			errx(1, "bare LMDB: not a profile");
		memcpy(bytes, v.mv_data, sizeof bytes);
		v.mv_data = bytes;
		must_lmdb(mdb_put(txn, dbi, &k, &v, 0), "put");
	}
	must_lmdb(mdb_txn_commit(txn), "commit");
}

/* Over the same file, while the store is closed; what it holds does not change. */
static double
bare(const char *path, uint64_t people)
{
	struct who *w = xcalloc(BARE_BATCH, sizeof *w);
	struct meter meter;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	double rate;

	must_lmdb(mdb_env_create(&env), "create");
	must_lmdb(mdb_env_set_maxdbs(env, 16), "tables");
	must_lmdb(mdb_env_set_maxreaders(env, 1024), "readers");
	must_lmdb(mdb_env_set_mapsize(env, (size_t)64 << 30), "size");
	must_lmdb(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS, 0660), path);
	must_lmdb(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "begin");
	must_lmdb(mdb_dbi_open(txn, "people", 0, &dbi), "people");
	must_lmdb(mdb_txn_commit(txn), "people");
	meter = meter_read();
	for (size_t n = 0; n < BARE_PUTS; n += BARE_BATCH)
		bare_batch(env, dbi, w, people);
	rate = report("bare LMDB", &meter, BARE_PUTS);
	mdb_env_close(env);
	free(w);
	return rate;
}

/* ---- rounds ---- */

static struct store *
open_store(const char *dir)
{
	struct store_options o = { .dir = dir, .create = true };
	struct buf why = BUF(1024);
	struct store *s;

	if (!store_become_owner(dir, &why) || (s = store_open(&o, &why)) == NULL)
		errx(1, "%s", buf_cstr(&why));
	buf_free(&why);
	return s;
}

static double
fold(struct store *s, uint64_t touches, uint64_t people)
{
	struct meter meter;

	must(fold_all(s), "what is left");
	add_touches(s, touches, people, (int64_t)time(NULL) * 1000);
	meter = meter_read();
	must(fold_all(s), "fold");
	return report("fold", &meter, touches);
}

int
main(int argc, char **argv)
{
	uint64_t people = 10000000, touches = 2000000;
	double folded[ROUNDS_MAX], ratio[ROUNDS_MAX], start;
	size_t rounds = 3;
	char path[4096];
	struct store *s;
	struct who w;
	struct profile p;

	bool only_add = argc > 1 && strcmp(argv[1], "-a") == 0;

	argv += only_add;
	argc -= only_add;
	if (argc < 2)
		errx(2, "fold_time [-a] DIRECTORY [PEOPLE [TOUCHES [ROUNDS]]]");
	if (argc > 2)
		people = strtoull(argv[2], NULL, 10);
	if (argc > 3)
		touches = strtoull(argv[3], NULL, 10);
	if (argc > 4)
		rounds = strtoull(argv[4], NULL, 10);
	if (rounds < 1 || rounds > ROUNDS_MAX)
		errx(2, "1 to %d rounds", ROUNDS_MAX);
	s = open_store(argv[1]);
	if (only_add) {
		add_touches(s, touches, people, (int64_t)time(NULL) * 1000);
		store_close(s);
		return 0;
	}
	snprintf(path, sizeof path, "%s/state.mdb", store_lock_dir(s));
	w = person(people - 1, people);
	start = now();
	if (store_profile(s, &w, &p) != STORE_OK) {
		make_people(s, people, (uint32_t)time(NULL) - 86400 * 7);
		printf("%llu people made in %.0f s\n", (unsigned long long)people, now() - start);
	}
	for (size_t i = 0; i < rounds; i++) {
		double of_bare;

		folded[i] = fold(s, touches, people);
		store_close(s);
		of_bare = bare(path, people);
		ratio[i] = folded[i] / of_bare;
		s = open_store(argv[1]);
	}
	store_close(s);
	printf("median of %zu: %.0f touches/s folded, %.2f of a bare LMDB\n", rounds, median(folded, rounds), median(ratio, rounds));
	return 0;
}
