/*
 * fold_time.c -- how many touches a second are summed up, when there are many recipients.
 *
 *	fold_time [-a] DIRECTORY [PEOPLE [TOUCHES]]
 *
 * Makes a store with so many profiles (10,000,000) in the directory, unless
 * it has one, adds touches (2,000,000) of recipients at random, and folds
 * them: of ten touches six are sends, three opens and one a click, in twenty
 * campaigns.  The store stays, for the next time.  With -a the touches are
 * added, and that is all.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "common/codec.h"
#include "common/fold.h"
#include "common/mem.h"

#define CHUNK 20000
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

int
main(int argc, char **argv)
{
	uint64_t people = 10000000, touches = 2000000;
	struct store_options o = { .create = true };
	struct buf why = BUF(1024);
	char path[4096];
	struct stat state;
	double start, used;
	uint64_t bytes;
	struct store *s;
	struct who w;
	struct profile p;

	bool only_add = argc > 1 && strcmp(argv[1], "-a") == 0;

	argv += only_add;
	argc -= only_add;
	if (argc < 2)
		errx(2, "fold_time [-a] DIRECTORY [PEOPLE [TOUCHES]]");
	o.dir = argv[1];
	if (argc > 2)
		people = strtoull(argv[2], NULL, 10);
	if (argc > 3)
		touches = strtoull(argv[3], NULL, 10);
	if (!store_become_owner(argv[1], &why) || (s = store_open(&o, &why)) == NULL)
		errx(1, "%s", buf_cstr(&why));
	if (only_add) {
		add_touches(s, touches, people, (int64_t)time(NULL) * 1000);
		store_close(s);
		return 0;
	}
	w = person(people - 1, people);
	start = now();
	if (store_profile(s, &w, &p) != STORE_OK) {
		make_people(s, people, (uint32_t)time(NULL) - 86400 * 7);
		printf("%llu people made in %.0f s\n", (unsigned long long)people, now() - start);
	}
	must(fold_all(s), "what is left");
	start = now();
	add_touches(s, touches, people, (int64_t)time(NULL) * 1000);
	printf("%llu touches appended, %.0f/s\n", (unsigned long long)touches, (double)touches / (now() - start));
	fflush(stdout);

	start = now();
	used = cpu();
	bytes = written();
	must(fold_all(s), "fold");
	snprintf(path, sizeof path, "%s/state.mdb", argv[1]);
	if (stat(path, &state) != 0)
		err(1, "%s", path);
	printf("%llu touches folded: %.0f/s, CPU %.1f us and %.0f bytes written for each; state.mdb %.1f GB\n", (unsigned long long)touches,
	    (double)touches / (now() - start), (cpu() - used) * 1e6 / (double)touches, (double)(written() - bytes) / (double)touches,
	    (double)state.st_size / 1e9);
	store_close(s);
	return 0;
}
