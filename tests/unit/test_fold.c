/* Facts into sums: exactly once, in any order, however often it is interrupted. */
#include "common/fold.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "common/engage.h"
#include "common/text.h"

#include "tests/unit/unit.h"

#define MB ((uint64_t)1 << 20)
#define T0 ((int64_t)1769817600000) /* 2026-01-31 */

static struct store *
open_sized(const char *dir, uint64_t state_size)
{
	struct store_options o = { .dir = dir, .facts_size = 256 * MB, .state_size = state_size, .create = true };
	struct buf why = BUF(512);
	struct store *s = store_open(&o, &why);

	if (s == NULL)
		fail_msg("store_open: %s", buf_cstr(&why));
	buf_free(&why);
	return s;
}

static struct store *
open_store(const char *dir)
{
	return open_sized(dir, 256 * MB);
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
			.sent = a % 3 ? (uint32_t)(T0 / 1000 + b % 50) : 0,
			.mode = MODE_IDENTIFIED, .flags = (uint8_t)(a >> 12 & 7), .when = T0 + (int64_t)(b % 10000000) * 1000,
			.campaign = 1 + a / 16 % 5, .stream = 1 + a / 128 % 3 };
		if (t[i].kind == TOUCH_SENT)
			t[i].detail = b % ENGAGE_CLASSES;
		/* Crowded, so that there are bursts and repetitions. */
		if (a % 3 && t[i].kind != TOUCH_SENT) {
			t[i].when = T0 + b % 100 * 1000 + a % 4000;
			t[i].kind = a % 5 == 0 ? TOUCH_OPEN : a % 11 == 0 ? TOUCH_DELIVERED : TOUCH_CLICK;
		}
		if (t[i].kind == TOUCH_OPEN || t[i].kind == TOUCH_CLICK)
			t[i].detail = b % 5 ? EVIDENCE_NONE : (uint8_t)(b / 5 % EVIDENCES);
		if (t[i].kind == TOUCH_DELIVERED)
			t[i].detail = b % 20 == 0 ? DELIVERED_GATEWAY : 0;
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

/* Called in place of fold_commit (the linker's --wrap), for a test in which somebody writes on while we sum up. */
static unsigned writes_left;
static void (*meanwhile)(void); /* called once, instead */
enum store_result __real_fold_commit(struct fold_txn *, uint64_t folded);
enum store_result __wrap_fold_commit(struct fold_txn *, uint64_t folded);
static struct store *writer;

enum store_result
__wrap_fold_commit(struct fold_txn *t, uint64_t folded)
{
	enum store_result r = __real_fold_commit(t, folded);
	struct touch more = { .kind = TOUCH_OPEN, .mode = MODE_IDENTIFIED, .when = T0, .campaign = 1, .who = person(1) };

	if (meanwhile != NULL) {
		void (*once)(void) = meanwhile;

		meanwhile = NULL;
		once();
	}
	if (writes_left > 0) {
		writes_left--;
		append(writer, &more, 1);
	}
	return r;
}

/* The same of fold_commit_rest, for one who dies before or behind it. */
static enum { LIVES, DIES_BEFORE, DIES_BEHIND } fate;
static int no_room; /* so often there is none */
enum store_result __real_fold_commit_rest(struct fold_txn *);
enum store_result __wrap_fold_commit_rest(struct fold_txn *);

enum store_result
__wrap_fold_commit_rest(struct fold_txn *t)
{
	enum store_result r;

	if (fate == DIES_BEFORE)
		_exit(1);
	if (no_room > 0) {
		no_room--;
		fold_abort(t);
		return STORE_FULL;
	}
	r = __real_fold_commit_rest(t);
	if (fate == DIES_BEHIND)
		_exit(1);
	return r;
}

/* ---- the whole state as one text, to compare ---- */

struct dump {
	struct store *s;
	struct buf *out;
};

static bool
dump_trail(void *arg, uint64_t campaign, const struct trail *t)
{
	struct buf bytes = BUF(TRAIL_BYTES_MAX);

	trail_pack(t, &bytes);
	buf_addf(arg, " trail %llu ", (unsigned long long)campaign);
	text_add_hex(arg, bytes.p, bytes.n);
	buf_free(&bytes);
	return true;
}

static bool
dump_person(void *arg, const struct who *w, const struct profile *p)
{
	struct dump *d = arg;
	unsigned char bytes[PROFILE_BYTES];

	profile_pack(p, bytes);
	text_add_hex(d->out, w, sizeof *w);
	buf_addc(d->out, '=');
	text_add_hex(d->out, bytes, sizeof bytes);
	assert_int_equal(store_each_trail_of(d->s, w, dump_trail, d->out), STORE_OK);
	buf_addc(d->out, '\n');
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

	buf_init(out, 32 * MB);
	assert_int_equal(store_each_person(s, dump_person, &d), STORE_OK);
	assert_int_equal(store_each_subscription(s, dump_subscription, out), STORE_OK);
	assert_int_equal(store_each_campaign(s, dump_campaign, &d), STORE_OK);
	assert_false(out->over);
	assert_true(out->n > 1000);
}

struct hours {
	struct buf *out;
	struct volume all; /* groups of this hour together: a hit that comes before its recipient's first send is in none */
	uint32_t hour;
};

static void
add_numbers(struct buf *out, const void *record, size_t bytes)
{
	int64_t number;

	for (size_t i = 0; i < bytes; i += 8) {
		memcpy(&number, (const char *)record + i, 8);
		buf_addf(out, " %lld", (long long)number);
	}
	buf_addc(out, '\n');
}

static bool
dump_volume(void *arg, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	struct hours *h = arg;
	int64_t sum[sizeof *v / 8], more[sizeof *v / 8];

	if (kind == VOLUME_STREAM) {
		buf_addf(h->out, "%u stream %llu", hour, (unsigned long long)id);
		add_numbers(h->out, v, sizeof *v);
		return true;
	}
	if (hour != h->hour) {
		buf_addf(h->out, "%u", h->hour);
		add_numbers(h->out, &h->all, sizeof h->all);
		h->all = (struct volume){ 0 };
		h->hour = hour;
	}
	memcpy(sum, &h->all, sizeof sum);
	memcpy(more, v, sizeof more);
	for (size_t i = 0; i < COUNT(sum); i++)
		sum[i] += more[i];
	memcpy(&h->all, sum, sizeof sum);
	return true;
}

/* ---- tests ---- */

/* The next ones, a row of their own if nobody has begun one. */
static enum store_result
sum_up(struct store *s, size_t max, size_t *n)
{
	struct fold_row row = { 0 };
	enum store_result r = fold_sweep(s, &row, max, max, n);

	fold_row_free(&row);
	return r;
}

/* As keyed hashes are: no two people begin with the same bytes, and some of them do. */
static void
spread_people(struct touch *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!who_is_nobody(&t[i].who))
			t[i].who.b[i % 3 ? 0 : 7] = (uint8_t)(t[i].who.b[12] % 3 ? t[i].who.b[12] * 151 : 9);
}

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
		while ((r = sum_up(s, i ? batches[i] : 64, &n)) == STORE_OK)
			sum += n;
		assert_int_equal(r, STORE_NONE);
		assert_int_equal(sum, N);
		dump(s, &got);
		assert_int_equal(store_each_volume(s, 0, UINT32_MAX, dump_volume, &(struct hours){ .out = &got }), STORE_OK);
		assert_false(got.over);
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

/* A part of a row, and what there is to see meanwhile: so many touches, whoever summed them up. */
static void
sum_up_some(struct store *s, struct fold_row *row, size_t length, size_t max, size_t *sum)
{
	struct campaign c, all = { 0 };
	struct store_health h;
	enum store_result r;
	size_t n;

	/* Others may have finished the row. */
	if ((r = fold_sweep(s, row, length, max, &n)) == STORE_MOVED)
		r = fold_sweep(s, row, length, max, &n);
	assert_int_equal(r, STORE_OK);
	assert_true(n <= max);
	*sum += n;
	for (uint64_t id = 1; id <= 5; id++)
		if (store_campaign(s, id, &c) == STORE_OK)
			all.sent += c.sent + c.skipped + c.delivered + c.bounced + c.complained + c.clicks_all;
	assert_int_equal(all.sent, *sum);
	assert_true(store_folded(s) <= *sum);
	store_watch(s);
	store_health(s, &h);
	assert_int_equal(h.lag, store_last(s) - *sum);
}

static void
a_row_in_the_order_of_recipients_gives_the_same_bytes(void **state)
{
	enum { N = 3000, MORE = 500, LATER = 100 };
	static const struct rules strict = { 4000, 20000, 2, 6000, 120000, false };
	static const struct {
		const char *name;
		size_t length, max;
		bool alone; /* nobody goes on with a row but who began it */
	} cases[] = {
		{ "one transaction after the other, in the order in which touches came", N, N, true },
		{ "a few at a time", N, 13, true },
		{ "some at a time", N, 97, true },
		{ "some at a time, by several who take turns", N, 97, false },
		{ "short rows, of which the last is shorter", 700, 97, false },
		{ "parts that are as long as the row", 700, 700, false },
		{ "parts that are one short of the row", 700, 699, false },
	};
	struct touch *t = calloc(N, sizeof *t);
	struct buf want = BUF(0), got;

	(void)state;
	jumble(t, N, 4);
	for (size_t i = 0; i < N; i++) {
		/* Of kinds that a campaign counts one by one. */
		static const uint8_t kinds[] = { TOUCH_SENT, TOUCH_SKIPPED, TOUCH_DELIVERED, TOUCH_BOUNCED, TOUCH_COMPLAINED, TOUCH_CLICK };

		if (t[i].campaign == 0)
			t[i].campaign = 1;
		if (t[i].kind != TOUCH_CLICK)
			t[i].kind = kinds[i % 7 % 6];
		t[i].mode = MODE_IDENTIFIED;
		if (t[i].verdict == ROBOT_NONE)
			t[i].verdict = ROBOT_HUMAN;
	}
	spread_people(t, N);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fold_row row = { 0 }, other = { 0 };
		char *dir = temp_make();
		struct store *s = open_store(dir);
		size_t n = 0, sum = 0;
		enum store_result r;

		append(s, t, N - MORE);
		sum_up_some(s, &row, cases[i].length, cases[i].max, &sum);
		append(s, t + N - MORE, MORE); /* they come while a row is at work */
		while (sum < N - LATER)
			sum_up_some(s, cases[i].alone || sum % 2 ? &row : &other, cases[i].length, cases[i].max, &sum);
		assert_int_equal(fold_adopt(s, &strict, false), STORE_OK);
		while ((r = fold_sweep(s, &row, cases[i].length, cases[i].max, &n)) == STORE_OK || r == STORE_MOVED)
			sum += n;
		assert_int_equal(r, STORE_NONE);
		assert_int_equal(sum, N);
		assert_int_equal(store_folded(s), N);
		assert_int_equal(fold_all(s), STORE_OK);
		dump(s, &got);
		if (i == 0)
			want = got;
		else {
			if (!span_eq(buf_span(&want), buf_span(&got)))
				fail_msg("%s: another state", cases[i].name);
			buf_free(&got);
		}
		fold_row_free(&row);
		fold_row_free(&other);
		store_close(s);
		temp_remove(dir);
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
		{ .kind = TOUCH_SENT, .who = person(1), .campaign = 5, .stream = 3, .detail = ENGAGE_NEW, .flags = TOUCH_TRACKED,
		    .agent = TOUCH_UNTOLD_CLICKS, .when = T0 },
		{ .kind = TOUCH_SENT, .who = person(2), .campaign = 5, .stream = 3, .detail = ENGAGE_INACTIVE,
		    .flags = TOUCH_OBSERVED, .agent = TOUCH_UNTOLD | TOUCH_UNTOLD_CLICKS, .when = T0 + 5000 }, /* not tracked */
		{ .kind = TOUCH_SKIPPED, .who = person(3), .campaign = 5, .stream = 3, .detail = CAUSE_BOUNCED, .when = T0 },
		hit(TOUCH_OPEN, 1, 0, ROBOT_PRIVACY_OPEN, T0 + 1), /* a machine first */
		hit(TOUCH_OPEN, 1, 0, ROBOT_HUMAN, T0 + 2),        /* then the person */
		hit(TOUCH_OPEN, 1, 0, ROBOT_PROXY_OPEN, T0 + 60002),   /* and again */
		hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0 + 4),       /* a click without an open is an open too */
		hit(TOUCH_CLICK, 2, 2, ROBOT_HUMAN, T0 + 5),
		hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0 + 60004),
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
	assert_int_equal(c.untold, 0);
	assert_int_equal(c.untold_clicks, 1);
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

/* ---- what is taken back ---- */

static void
count_campaign(struct store *s, struct campaign *c, struct link_count *link, struct profile *p)
{
	struct who w = person(1);

	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 5, c), STORE_OK);
	assert_int_equal(store_link(s, 5, 1, link), STORE_OK);
	assert_int_equal(store_profile(s, &w, p), STORE_OK);
}

static void
a_late_touch_takes_back_what_was_counted(void **state)
{
	struct touch first = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0), before = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0 - 100 * DAY_MS);
	struct touch rest[] = { hit(TOUCH_CLICK, 1, 2, ROBOT_HUMAN, T0 + 10), hit(TOUCH_CLICK, 1, 3, ROBOT_HUMAN, T0 + 20) };
	struct touch person_again = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0 + DAY_MS);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct link_count link;
	struct campaign c;
	struct profile p;

	(void)state;
	before.campaign = 4; /* what another campaign saw stays */
	append(s, &before, 1);
	append(s, &first, 1);
	count_campaign(s, &c, &link, &p);
	assert_int_equal(c.clicks_human, 1);
	assert_int_equal(c.openers_human, 1);
	assert_int_equal(link.clickers_human, 1);
	assert_int_equal(p.last_click, T0 / 1000);
	assert_true(days_has(&p.click_days, T0 / DAY_MS));

	append(s, rest, 2);
	count_campaign(s, &c, &link, &p);
	assert_int_equal(c.clicks_all, 3);
	assert_int_equal(c.clicks_human, 0);
	assert_int_equal(c.clickers_all, 1);
	assert_int_equal(c.clickers_human, 0);
	assert_int_equal(c.openers_all, 1);
	assert_int_equal(c.openers_human, 0); /* the open that the click implied goes along */
	assert_int_equal(c.click_by[EVIDENCE_BURST], 3);
	assert_int_equal(c.click_by[EVIDENCE_NONE], 0);
	assert_int_equal(link.clicks_all, 1);
	assert_int_equal(link.clicks_human, 0);
	assert_int_equal(link.clickers_human, 0);
	assert_int_equal(p.clicks, 1);
	assert_int_equal(p.machine_clicks, 3);
	assert_int_equal(p.last_click, (T0 - 100 * DAY_MS) / 1000);
	assert_false(days_has(&p.click_days, T0 / DAY_MS));
	assert_int_equal(p.first_seen, (T0 - 100 * DAY_MS) / 1000);

	append(s, &person_again, 1);
	count_campaign(s, &c, &link, &p);
	assert_int_equal(c.clicks_human, 1);
	assert_int_equal(c.clickers_human, 1);
	assert_int_equal(link.clickers_human, 1);
	assert_int_equal(p.last_click, (T0 + DAY_MS) / 1000);
	store_close(s);
	temp_remove(dir);
}

static void
the_log_comes_after_the_hit(void **state)
{
	struct touch t = hit(TOUCH_OPEN, 1, 0, ROBOT_PROXY_OPEN, T0 + 1000), click = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0 + DAY_MS);
	struct touch delivered = hit(TOUCH_DELIVERED, 1, 0, ROBOT_NONE, T0);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct link_count link;
	struct campaign c;
	struct profile p;

	(void)state;
	append(s, &t, 1);
	append(s, &click, 1);
	count_campaign(s, &c, &link, &p);
	assert_int_equal(c.opens_human, 1);
	assert_int_equal(p.last_open, T0 / 1000 + 1);
	append(s, &delivered, 1);
	count_campaign(s, &c, &link, &p);
	assert_int_equal(c.opens_all, 1);
	assert_int_equal(c.opens_human, 0);
	assert_int_equal(c.open_by[EVIDENCE_INSTANT], 1);
	assert_int_equal(c.openers_human, 1); /* who clicked a day later has opened */
	assert_int_equal(p.last_open, 0);
	assert_int_equal(p.opens, 0);
	assert_int_equal(p.last_click, (T0 + DAY_MS) / 1000);
	store_close(s);
	temp_remove(dir);
}

static void
one_link_mail_is_counted(void **state)
{
	struct touch t[] = {
		{ .kind = TOUCH_SENT, .who = person(1), .campaign = 5, .link = 1, .when = T0 },
		{ .kind = TOUCH_SENT, .who = person(2), .campaign = 5, .link = 1, .when = T0 },
		{ .kind = TOUCH_SENT, .who = person(3), .campaign = 5, .link = 2, .when = T0 },
		{ .kind = TOUCH_SENT, .who = person(4), .campaign = 5, .when = T0 },
	};
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct campaign c;

	(void)state;
	append(s, t, COUNT(t));
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.linked, 3);
	assert_int_equal(c.one_link, 2);
	store_close(s);
	temp_remove(dir);
}

/* Figures of all recipients and of each reason say the same. */
static bool
add_up(void *arg, uint64_t id, const struct campaign *c)
{
	uint64_t opens = 0, clicks = 0;

	(void)arg;
	(void)id;
	for (size_t i = 0; i < EVIDENCE_MAX; i++) {
		opens += c->open_by[i];
		clicks += c->click_by[i];
	}
	assert_int_equal(opens, c->opens_all);
	assert_int_equal(clicks, c->clicks_all);
	assert_true(c->opens_human <= opens && c->clicks_human <= clicks && c->openers_human <= c->openers_all);
	assert_true(c->clickers_human <= c->clickers_all && c->clickers_all <= c->openers_all);
	return true;
}

static void
other_rules_judge_again_what_was_judged(void **state)
{
	enum { N = 3000 };
	static const struct rules strict = { 4000, 20000, 2, 6000, 120000, false };
	struct touch *t = calloc(N, sizeof *t);
	char *dir[2] = { temp_make(), temp_make() };
	struct store *s[2] = { open_store(dir[0]), open_store(dir[1]) };
	struct rules rules, first = RULES_DEFAULT;
	struct buf lenient, again, want;
	size_t n;

	(void)state;
	jumble(t, N, 3);
	for (int i = 0; i < 2; i++)
		append(s[i], t, N);
	/* One judged all by the old rules, the other never knew any but the new ones. */
	assert_int_equal(fold_adopt(s[0], &first, false), STORE_OK);
	assert_int_equal(fold_all(s[0]), STORE_OK);
	dump(s[0], &lenient);
	assert_int_equal(store_each_campaign(s[0], add_up, NULL), STORE_OK);
	assert_int_equal(fold_adopt(s[0], &strict, false), STORE_OK);
	assert_true(store_rejudging(s[0]));
	assert_int_equal(fold_adopt(s[0], &first, true), STORE_OK); /* somebody has spoken already */
	assert_int_equal(store_rules(s[0], &rules), STORE_OK);
	assert_int_equal(rules.burst_links, 2);
	for (n = 0; fold_rejudge(s[0], 3) == STORE_OK; n++)
		;
	assert_true(n > 5); /* in portions */
	assert_false(store_rejudging(s[0]));
	dump(s[0], &again);
	assert_int_equal(fold_adopt(s[1], &strict, false), STORE_OK);
	assert_int_equal(fold_all(s[1]), STORE_OK);
	dump(s[1], &want);
	assert_true(span_eq(buf_span(&again), buf_span(&want)));
	assert_false(span_eq(buf_span(&again), buf_span(&lenient)));
	assert_int_equal(store_each_campaign(s[1], add_up, NULL), STORE_OK);
	/* The same rules again are no work. */
	assert_int_equal(fold_adopt(s[1], &strict, false), STORE_OK);
	assert_int_equal(fold_rejudge(s[1], 1), STORE_NONE);
	buf_free(&lenient);
	buf_free(&again);
	buf_free(&want);
	for (int i = 0; i < 2; i++) {
		store_close(s[i]);
		temp_remove(dir[i]);
	}
	free(t);
}

/* Touches are lost in the middle of a row: a new one is not taken for one that was summed up ahead of the others. */
static void
facts_lost_in_the_middle_of_a_row(void **state)
{
	struct touch t[100];
	char *dir = temp_make(), path[600];
	struct store *s = open_store(dir);
	struct fold_row row = { 0 };
	struct sweep sweep;
	struct campaign c;
	uint64_t folded;
	size_t n;

	(void)state;
	for (size_t i = 0; i < COUNT(t); i++)
		t[i] = hit(TOUCH_CLICK, 1 + (unsigned)i, 1, ROBOT_HUMAN, T0);
	append(s, t, COUNT(t));
	assert_int_equal(fold_sweep(s, &row, COUNT(t), 30, &n), STORE_OK);
	assert_int_equal(n, 30);
	fold_row_free(&row);
	assert_int_equal(store_sweep(s, &folded, &sweep), STORE_OK);
	assert_int_equal(folded, 0);
	assert_int_equal(sweep.upto, COUNT(t));
	store_close(s);
	snprintf(path, sizeof path, "%s/facts.mdb", dir);
	assert_int_equal(unlink(path), 0);
	s = open_store(dir);
	append(s, t, 10);
	assert_int_equal(store_last(s), COUNT(t) + 10);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_folded(s), COUNT(t) + 10);
	assert_int_equal(store_sweep(s, &folded, &sweep), STORE_NONE);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.clicks_all, 30 + 10);
	store_close(s);
	temp_remove(dir);
}

struct folder {
	struct store *s;
	size_t sum, length;
};

static void *
fold_until_all(void *arg)
{
	struct fold_row row = { 0 };
	struct folder *f = arg;
	enum store_result r;
	size_t n;

	while ((r = fold_sweep(f->s, &row, f->length, 97, &n)) == STORE_OK || r == STORE_MOVED)
		f->sum += n;
	fold_row_free(&row);
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
		f[i] = (struct folder){ s, 0, i % 2 ? 97 : 5000 };
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
			struct fold_row row = { 0 };
			size_t n;

			s = open_store(dir);
			while (fold_sweep(s, &row, i % 2 ? 8000 : 500, 500, &n) == STORE_OK)
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
	struct fold *f = fold_start(s, 90 * DAY_MS, &RULES_DEFAULT);

	(void)state;
	append(s, &t, 1);
	for (int i = 0; i < 1000 && store_folded(s) == 0; i++)
		usleep(10000);
	assert_int_equal(store_folded(s), 1);
	fold_stop(f);
	store_close(s);
	temp_remove(dir);
}

/* Who is killed while it is its turn gives it to the next one. */
static void
one_process_at_a_time_folds(void **state)
{
	struct touch t = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0);
	char *dir = temp_make(), byte;
	int fd[2], status;
	struct store *s;
	struct fold *f;
	int64_t clock;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	if ((pid = fork()) == 0) {
		close(fd[0]);
		s = open_store(dir);
		if (store_take_turn(s, TURN_FOLD) && write(fd[1], "x", 1) == 1)
			(void)!read(fd[1], &byte, 1); /* until the end, of the test at the latest */
		_exit(1);
	}
	close(fd[1]);
	assert_int_equal(read(fd[0], &byte, 1), 1);
	s = open_store(dir);
	assert_false(store_take_turn(s, TURN_FOLD));
	assert_true(store_take_turn(s, TURN_MAIL_LOG));
	append(s, &t, 1);
	f = fold_start(s, 90 * DAY_MS, &RULES_DEFAULT);
	for (int i = 0; i < 3000 && !store_clock(s, &clock); i++) /* which is written after it folded, if it did */
		usleep(1000);
	assert_int_equal(store_folded(s), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	fold_want(f, &RULES_DEFAULT); /* at once */
	for (int i = 0; i < 10000 && store_folded(s) == 0; i++)
		usleep(1000);
	assert_int_equal(store_folded(s), 1);
	fold_stop(f);
	close(fd[0]);
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
	f = fold_start(s, 90 * DAY_MS, &RULES_DEFAULT);
	for (int i = 0; i < 1000 && (store_folded(s) == 0 || !store_clock(s, &clock)); i++)
		usleep(10000);
	fold_stop(f);
	assert_true(clock >= t.when && clock < t.when + DAY_MS);
	assert_int_equal(store_touches(s, 0, &got, 1, &n), STORE_OK);
	assert_int_equal(n, 1);
	store_close(s);
	temp_remove(dir);
}

/* What does not fit at once is summed up in parts; what does not fit at all waits for room; little by little it comes to the same. */
static void
too_much_at_once(void **state)
{
	enum { N = 30000 };
	struct touch *t = calloc(N, sizeof *t);
	char *small = temp_make(), *large = temp_make();
	struct store *s = open_sized(small, 8 * MB), *little = open_store(large);
	struct buf want, got;
	size_t n, sum = 0, parts = 0;
	struct sweep sweep;
	uint64_t folded;
	struct fold_row row = { 0 };
	enum store_result r;

	(void)state;
	jumble(t, N, 3);
	for (size_t i = 0; i < N; i++)
		t[i].who = person((unsigned)i);
	append(s, t, N);
	append(little, t, N);
	while ((r = fold_sweep(s, &row, N, N, &n)) == STORE_OK) {
		assert_true(n > 0 && n < N);
		sum += n;
		parts++;
	}
	assert_int_equal(r, STORE_FULL);
	assert_true(parts > 1 && sum < N);
	assert_int_equal(store_sweep(s, &folded, &sweep), STORE_OK);
	assert_int_equal(folded, 0); /* the row is not done, and others may go on with it */
	assert_int_equal(sweep.upto, N);
	assert_int_equal(row.n, N); /* nor is it read anew each time that there is no room */
	store_close(s);

	s = open_sized(small, 256 * MB);
	assert_int_equal(fold_sweep(s, &row, N, N, &n), STORE_OK);
	assert_int_equal(sum + n, N);
	assert_int_equal(row.n, 0);
	while ((r = sum_up(little, 1000, &n)) == STORE_OK)
		;
	assert_int_equal(r, STORE_NONE);
	dump(s, &got);
	dump(little, &want);
	assert_true(span_eq(buf_span(&got), buf_span(&want)));
	buf_free(&got);
	buf_free(&want);
	store_close(s);
	store_close(little);
	temp_remove(small);
	temp_remove(large);
	free(t);
}

/* What little room there is will do for judging again, too; and when there is none the touches are summed up all the same. */
static void
judging_again_with_little_room(void **state)
{
	enum { N = 8000 };
	static const struct rules strict = { 4000, 20000, 2, 6000, 120000, false };
	struct touch *t = calloc(N, sizeof *t);
	char *small = temp_make(), *large = temp_make();
	struct store *s = open_sized(small, 3300 * 1024), *roomy = open_store(large);
	struct rules first = RULES_DEFAULT;
	struct buf want, got;
	enum store_result r;

	(void)state;
	jumble(t, N, 3);
	for (size_t i = 0; i < N; i++)
		t[i].who = person((unsigned)i / 2);
	append(s, t, N);
	append(roomy, t, N);
	assert_int_equal(fold_adopt(s, &first, false), STORE_OK);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(fold_adopt(s, &strict, false), STORE_OK);
	while ((r = fold_rejudge(s, N)) == STORE_OK)
		;
	assert_int_equal(r, STORE_NONE);
	assert_int_equal(fold_adopt(roomy, &strict, false), STORE_OK);
	assert_int_equal(fold_all(roomy), STORE_OK);
	dump(s, &got);
	dump(roomy, &want);
	assert_true(span_eq(buf_span(&got), buf_span(&want)));
	buf_free(&got);
	buf_free(&want);
	store_close(s);
	store_close(roomy);
	temp_remove(small);
	temp_remove(large);
	free(t);
}

/* Which rules hold, waiting for a change to these; else those that stayed. */
static unsigned
burst_links_become(struct store *s, unsigned want)
{
	struct rules rules = { 0 };

	for (int i = 0; i < 3000; i++) {
		if (store_rules(s, &rules) == STORE_OK && rules.burst_links == want)
			break;
		usleep(10000);
	}
	return rules.burst_links;
}

/* A disk that refuses when a daemon starts or reloads: its rules hold as soon as there is room. */
static void
rules_are_adopted_when_the_disk_lets_us(void **state)
{
	struct rlimit was, none;
	struct rules rules = { 4000, 20000, 2, 6000, 120000, false };
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct fold *f;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = (struct rlimit){ 4096, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	f = fold_start(s, 90 * DAY_MS, &rules);
	assert_int_equal(store_rules(s, &rules), STORE_NONE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(burst_links_become(s, 2), 2);
	rules = (struct rules){ 4000, 20000, 3, 6000, 120000, false };
	fold_want(f, &rules);
	assert_int_equal(burst_links_become(s, 3), 3);
	fold_stop(f);
	store_close(s);
	temp_remove(dir);
}

static void
who_writes_on_is_not_waited_for(void **state)
{
	struct touch t = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0);
	char *dir = temp_make();
	struct store *s = open_store(dir);

	(void)state;
	append(s, &t, 1);
	writer = s;
	writes_left = 100;
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(writes_left, 99);
	assert_int_equal(store_folded(s), 1);
	writes_left = 0;
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_folded(s), 2);
	store_close(s);
	temp_remove(dir);
}

/* ---- what goes with the facts ---- */

static void
dump_campaigns(struct store *s, struct buf *out)
{
	struct dump d = { s, out };

	buf_init(out, 32 * MB);
	assert_int_equal(store_each_campaign(s, dump_campaign, &d), STORE_OK);
	assert_true(out->n > 100);
}

static bool
dump_profile(void *arg, const struct who *w, const struct profile *p)
{
	unsigned char bytes[PROFILE_BYTES];

	(void)w;
	profile_pack(p, bytes);
	text_add_hex(arg, bytes, sizeof bytes);
	return true;
}

static void
dump_counts(struct store *s, struct buf *out)
{
	dump_campaigns(s, out);
	assert_int_equal(store_each_person(s, dump_profile, out), STORE_OK);
	assert_false(out->over);
}

struct oldest {
	struct store *s;
	int64_t when;
	size_t hits, trails;
};

static bool
find_oldest(void *arg, uint64_t campaign, const struct trail *t)
{
	struct oldest *o = arg;

	(void)campaign;
	o->trails++;
	for (size_t i = 0; i < t->n; i++, o->hits++)
		o->when = t->hit[i].when < o->when ? t->hit[i].when : o->when;
	return true;
}

static bool
find_oldest_of(void *arg, const struct who *w, const struct profile *p)
{
	struct oldest *o = arg;

	(void)p;
	assert_int_equal(store_each_trail_of(o->s, w, find_oldest, o), STORE_OK);
	return true;
}

static struct oldest
oldest(struct store *s)
{
	struct oldest o = { s, INT64_MAX, 0, 0 };

	assert_int_equal(store_each_person(s, find_oldest_of, &o), STORE_OK);
	return o;
}

static void
age(struct store *s, int64_t before, size_t portion)
{
	struct who from = { { 0 } };
	enum store_result r;

	while ((r = fold_age(s, &(struct tidy){ before, INT64_MAX }, &from, portion)) == STORE_OK)
		;
	assert_int_equal(r, STORE_NONE);
}

static void
assert_same(const char *says, struct buf *a, struct buf *b)
{
	assert_row(says, span_eq(buf_span(a), buf_span(b)));
	buf_free(b);
}

/* Whatever goes: no sum changes by it, nor by other rules for what is left once these are taken back. */
static void
single_hits_go_and_sums_stay(void **state)
{
	enum { N = 3000 };
	static const struct rules strict = { 4000, 20000, 2, 6000, 60000, false };
	static const struct rules usual = { 2000, 10000, 3, 3000, 60000, true };
	struct touch *t = calloc(N, sizeof *t);

	(void)state;
	for (unsigned seed = 1; seed < 4; seed++) {
		char *dir = temp_make();
		struct store *s = open_store(dir);
		struct buf before, now;
		struct oldest o;
		size_t hits;

		/* The same people in the same campaigns, and again much later. */
		jumble(t, N, seed);
		jumble(t + N / 2, N / 2, seed + 10);
		for (size_t i = N / 2; i < N; i++)
			t[i].when += 100 * DAY_MS;
		append(s, t, N);
		assert_int_equal(fold_adopt(s, &usual, false), STORE_OK);
		assert_int_equal(fold_all(s), STORE_OK);
		dump_counts(s, &before);
		hits = oldest(s).hits;
		age(s, T0 + 100 * DAY_MS, seed);
		o = oldest(s);
		assert_true(o.when >= T0 + 100 * DAY_MS);
		assert_true(o.hits > 100 && o.hits < hits - 100);
		dump_counts(s, &now);
		assert_same("aging", &before, &now);
		assert_int_equal(fold_adopt(s, &strict, false), STORE_OK);
		assert_int_equal(fold_all(s), STORE_OK);
		dump_counts(s, &now);
		assert_false(span_eq(buf_span(&before), buf_span(&now)));
		buf_free(&now);
		assert_int_equal(fold_adopt(s, &usual, false), STORE_OK);
		assert_int_equal(fold_all(s), STORE_OK);
		dump_counts(s, &now);
		assert_same("other rules and back", &before, &now);
		age(s, INT64_MAX, 1000);
		assert_int_equal(oldest(s).hits, 0);
		dump_counts(s, &now);
		assert_same("all of it", &before, &now);
		buf_free(&before);
		store_close(s);
		temp_remove(dir);
	}
	free(t);
}

/* Who clicks when the facts of the first click are gone is no other person; and a click that is taken back takes no older one along. */
static void
a_late_click_is_nobody_else(void **state)
{
	const struct touch first[] = { hit(TOUCH_OPEN, 1, 0, ROBOT_HUMAN, T0), hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0 + 9000) };
	const struct touch late[] = {
		hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0 + 90 * DAY_MS), hit(TOUCH_CLICK, 1, 2, ROBOT_HUMAN, T0 + 90 * DAY_MS + 1000),
	};
	struct touch nowhere = hit(TOUCH_OPEN, 2, 0, ROBOT_HUMAN, T0);
	const struct touch last = hit(TOUCH_CLICK, 1, 3, ROBOT_HUMAN, T0 + 90 * DAY_MS + 2000); /* now they are a burst */
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct who w = person(1);
	struct link_count link;
	struct campaign c;
	struct profile p;

	(void)state;
	/* Of a hit without a campaign the key alone would tell the day. */
	nowhere.campaign = 0;
	append(s, &nowhere, 1);
	append(s, first, COUNT(first));
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(oldest(s).trails, 2);
	age(s, T0 + 80 * DAY_MS, 10);
	assert_int_equal(oldest(s).trails, 1);
	append(s, late, COUNT(late));
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.clicks_all, 3);
	assert_int_equal(c.clickers_all, 1);
	assert_int_equal(c.clickers_human, 1);
	assert_int_equal(c.openers_all, 1);
	assert_int_equal(store_link(s, 5, 1, &link), STORE_OK);
	assert_int_equal(link.clicks_all, 2);
	assert_int_equal(link.clickers_all, 1);
	assert_int_equal(link.clickers_human, 1);
	append(s, &last, 1);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.clicks_all, 4);
	assert_int_equal(c.clicks_human, 1);
	assert_int_equal(c.clickers_human, 1);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.clicks, 1);
	assert_int_equal(p.last_click, T0 / 1000 + 9);
	assert_int_equal(p.last_open, T0 / 1000);
	assert_int_equal(store_past(s, &w, &p), STORE_OK);
	assert_int_equal(p.last_click, T0 / 1000 + 9);
	assert_int_equal(fold_forget(s, &(struct forgetting){ .who = &w, .n = 1, .entirely = true, .source = SPAN("me") }), STORE_OK);
	assert_int_equal(store_past(s, &w, &p), STORE_NONE);
	store_close(s);
	temp_remove(dir);
}

/* The thread does it by itself: at once, for all that is older than keep_facts. */
static void
the_thread_takes_old_hits_out(void **state)
{
	const struct touch t = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0);
	const struct rules rules = RULES_DEFAULT;
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct fold *f;

	(void)state;
	append(s, &t, 1);
	assert_int_equal(fold_all(s), STORE_OK);
	store_set_clock(s, T0 + 91 * DAY_MS);
	f = fold_start(s, 90 * DAY_MS, &rules);
	for (int i = 0; i < 3000 && oldest(s).hits > 0; i++)
		usleep(10000);
	assert_int_equal(oldest(s).hits, 0);
	fold_stop(f);
	store_close(s);
	temp_remove(dir);
}

/* ---- forgetting ---- */

static struct store *
rebuilt(struct store *s, const char *dir)
{
	char path[600];

	store_close(s);
	snprintf(path, sizeof path, "%s/state.mdb", dir);
	assert_int_equal(unlink(path), 0);
	s = open_store(dir);
	assert_int_equal(fold_all(s), STORE_OK);
	return s;
}

static enum store_result
forget(struct store *s, const struct who *w, size_t n, bool entirely)
{
	struct forgetting f = { .who = w, .n = n, .now = T0 + 1000 * DAY_MS, .entirely = entirely, .source = SPAN("forgotten: me") };

	return fold_forget(s, &f);
}

static bool
add_line(void *arg, const struct touch *t, struct span source)
{
	buf_addf(arg, "%s %d %.*s\n", touch_name((enum touch_kind)t->kind), t->detail, SPAN_ARG(source));
	return true;
}

static bool
add_kept_line(void *arg, const struct touch *t)
{
	buf_addf(arg, "%s %llu\n", touch_name((enum touch_kind)t->kind), (unsigned long long)t->stream);
	return true;
}

static void
assert_gone(struct store *s, const struct who *w, const char *kept, const char *history)
{
	static struct numbered all[5000];
	struct buf text = BUF(10000);
	size_t n;

	assert_int_equal(store_touches(s, 0, all, COUNT(all), &n), STORE_OK);
	for (size_t i = 0; i < n; i++)
		assert_false(who_eq(&all[i].touch.who, w));
	assert_int_equal(store_name(s, w, &text), STORE_NONE);
	assert_int_equal(store_each_trail_of(s, w, dump_trail, &text), STORE_OK);
	assert_int_equal(text.n, 0);
	assert_int_equal(store_each_kept_of(s, w, add_kept_line, &text), STORE_OK);
	assert_span("kept", buf_span(&text), span_of(kept));
	buf_clear(&text);
	assert_int_equal(store_each_history_of(s, w, add_line, &text), STORE_OK);
	assert_span("history", buf_span(&text), span_of(history));
	buf_free(&text);
}

/* Some of their touches are summed up already, and some of those of others are not. */
static void
forgotten_in_the_middle_of_a_row(void **state)
{
	enum { N = 2000 };
	struct touch *t = calloc(N, sizeof *t);
	const struct who w[] = { person(3), person(4), person(5) };
	struct buf text[2], anew;
	enum store_result r;
	char path[600];

	(void)state;
	jumble(t, N, 6);
	for (int i = 0; i < 2; i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir);
		struct fold_row row = { 0 };
		size_t n;

		append(s, t, N);
		assert_int_equal(fold_sweep(s, &row, N, i == 0 ? N : N / 2, &n), STORE_OK);
		assert_int_equal(store_folded(s), i == 0 ? N : 0);
		assert_int_equal(forget(s, w, COUNT(w), true), STORE_OK);
		assert_int_equal(fold_sweep(s, &row, N, N, &n), i == 0 ? STORE_NONE : STORE_MOVED);
		assert_gone(s, &w[1], "", "");
		dump(s, &text[i]);
		/* What campaigns owe to them is added once to sums that are made anew, not with each part. */
		store_close(s);
		snprintf(path, sizeof path, "%s/state.mdb", dir);
		assert_int_equal(unlink(path), 0);
		s = open_store(dir);
		while ((r = fold_sweep(s, &row, N, 300, &n)) == STORE_OK)
			;
		assert_int_equal(r, STORE_NONE);
		dump(s, &anew);
		assert_true(span_eq(buf_span(&text[i]), buf_span(&anew)));
		buf_free(&anew);
		fold_row_free(&row);
		store_close(s);
		temp_remove(dir);
	}
	assert_true(span_eq(buf_span(&text[0]), buf_span(&text[1])));
	buf_free(&text[0]);
	buf_free(&text[1]);
	free(t);
}

/* Campaigns count as before, now and when all is summed up anew; of the people nothing is left. */
static void
campaigns_keep_what_the_forgotten_did(void **state)
{
	enum { N = 3000 };
	struct touch *t = calloc(N, sizeof *t), late = hit(TOUCH_CLICK, 5, 2, ROBOT_HUMAN, T0 + DAY_MS);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct buf before, after, full, anew;
	struct who w[] = { person(3), person(4), person(5), person(20), person(39) };
	struct profile p;
	uint64_t last;
	bool more;

	(void)state;
	jumble(t, N, 3);
	append(s, t, N);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_tidy(s, &(struct tidy){ 0, INT64_MAX }, N, &more), STORE_OK);
	dump_campaigns(s, &before);
	last = store_last(s);
	assert_int_equal(forget(s, w, 2, true), STORE_OK);
	assert_int_equal(forget(s, w + 2, 3, true), STORE_OK); /* again, to campaigns that carry something already */
	assert_int_equal(store_last(s), last);
	dump_campaigns(s, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	dump(s, &full);
	s = rebuilt(s, dir);
	dump(s, &anew);
	assert_true(span_eq(buf_span(&full), buf_span(&anew)));
	for (size_t i = 0; i < COUNT(w); i++) {
		assert_gone(s, &w[i], "", "");
		assert_int_equal(store_profile(s, &w[i], &p), STORE_NONE);
	}
	assert_int_equal(store_profile(s, &(struct who[]){ person(6) }[0], &p), STORE_OK);

	/* What comes later counts as anybody's. */
	append(s, &late, 1);
	assert_int_equal(fold_all(s), STORE_OK);
	buf_free(&full);
	buf_free(&anew);
	dump(s, &full);
	s = rebuilt(s, dir);
	dump(s, &anew);
	assert_true(span_eq(buf_span(&full), buf_span(&anew)));
	buf_free(&full);
	buf_free(&anew);
	buf_free(&before);
	buf_free(&after);
	store_close(s);
	temp_remove(dir);
	free(t);
}

/* The number of the last touch is not given out again when that one goes. */
static void
forgotten_touches_leave_their_numbers(void **state)
{
	struct touch t[] = { hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0), hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0) };
	struct who w[] = { person(1), person(2) };
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct numbered left[2];
	uint64_t number;
	size_t n;

	(void)state;
	append(s, t, 2);
	/* Who did not look at the last one erases nothing. */
	assert_int_equal(store_erase(s, &(struct erasure){ .who = w, .n = 2, .seq = (uint64_t[]){ 1 }, .nseq = 1, .upto = 1 }, &number),
	    STORE_MOVED);
	assert_int_equal(store_touches(s, 0, left, 2, &n), STORE_OK);
	assert_int_equal(n, 2);
	assert_int_equal(forget(s, w, 2, false), STORE_OK);
	assert_int_equal(store_last(s), 2);
	append(s, t, 1);
	assert_int_equal(store_last(s), 3);
	s = rebuilt(s, dir);
	assert_int_equal(store_folded(s), 3);
	store_close(s);
	temp_remove(dir);
}

static const char denied[] = "consented 1 forgotten: me\nconsented 17 forgotten: me\n";

static void
who_said_no_stays_stopped_when_forgotten(void **state)
{
	struct touch t[] = {
		{ .kind = TOUCH_LEFT, .who = person(1), .stream = 3, .campaign = 5, .when = T0 },
		{ .kind = TOUCH_LEFT, .who = person(2), .when = T0 },
		{ .kind = TOUCH_COMPLAINED, .who = person(2), .when = T0 },
		{ .kind = TOUCH_BOUNCED, .who = person(3), .when = T0 },
		{ .kind = TOUCH_RELEASED, .who = person(3), .when = T0 + 5000 },
		{ .kind = TOUCH_LEFT, .who = person(4), .stream = 3, .when = T0 },
		{ .kind = TOUCH_JOINED, .who = person(4), .stream = 3, .when = T0 + 5000 },
		{ .kind = TOUCH_LESS, .who = person(4), .stream = 4, .when = T0 },
		{ .kind = TOUCH_HELD, .who = person(5), .when = T0, .sent = (T0 + DAY_MS) / 1000 + 1 },
		{ .kind = TOUCH_HELD, .who = person(4), .when = T0, .sent = (T0 + DAY_MS) / 1000 },
		{ .kind = TOUCH_HELD, .who = person(3), .stream = 7, .when = T0 },
		{ .kind = TOUCH_HELD, .who = person(3), .stream = 8, .when = T0 },
		{ .kind = TOUCH_RELEASED, .who = person(3), .stream = 8, .when = T0 + 5000 },
		{ .kind = TOUCH_CONSENT, .who = person(5), .detail = AXIS_OPENS << 4 | CONSENT_GRANTED, .when = T0 },
	};
	static const struct {
		unsigned who;
		const char *kept;
	} rows[] = {
		{ 1, "left 3\nconsented 0\nconsented 0\n" },
		{ 2, "left 0\ncomplained 0\nconsented 0\nconsented 0\n" },
		{ 3, "consented 0\nconsented 0\nheld 7\n" },
		{ 4, "consented 0\nconsented 0\n" },
		{ 5, "consented 0\nconsented 0\nheld 0\n" },
	};
	struct who w[] = { person(1), person(2), person(3), person(4), person(5) };
	struct forgetting f = { .who = w, .n = COUNT(w), .now = T0 + DAY_MS, .source = SPAN("forgotten: me") };
	const struct finding fresh = { .class = ENGAGE_NEW };
	char *dir = temp_make();
	struct store *s = open_store(dir);

	(void)state;
	append(s, t, COUNT(t));
	assert_int_equal(fold_forget(s, &f), STORE_OK);
	assert_int_equal(f.touches, COUNT(t));
	assert_int_equal(f.stops, 4);
	assert_int_equal(f.after, COUNT(t));
	for (int round = 0; round < 2; round++) {
		struct subscription sub;
		struct profile p;

		for (size_t i = 0; i < COUNT(rows); i++)
			assert_gone(s, &w[i], rows[i].kept, denied);
		assert_int_equal(store_subscription(s, &w[0], 3, &sub), STORE_OK);
		assert_int_equal(sub.left, T0 / 1000);
		assert_int_equal(store_subscription(s, &w[3], 3, &sub), STORE_NONE);
		for (size_t i = 0; i < COUNT(w); i++) {
			static const enum cause causes[] = { CAUSE_NONE, CAUSE_COMPLAINED, CAUSE_NONE, CAUSE_NONE, CAUSE_HELD };

			assert_int_equal(store_profile(s, &w[i], &p), STORE_OK);
			assert_int_equal(profile_consent(&p, AXIS_OPENS), CONSENT_DENIED);
			assert_int_equal(profile_consent(&p, AXIS_LINKS), CONSENT_DENIED);
			assert_int_equal(engage_cause(&p, NULL, &fresh, f.now), causes[i]);
			assert_int_equal(engage_cause(&p, NULL, &fresh, f.now + 1000), causes[i] == CAUSE_HELD ? CAUSE_NONE : causes[i]);
		}
		s = rebuilt(s, dir);
	}
	/* And entirely, in the end. */
	f.entirely = true;
	f.after = 0;
	assert_int_equal(fold_forget(s, &f), STORE_OK);
	for (size_t i = 0; i < COUNT(w); i++)
		assert_gone(s, &w[i], "", "");
	store_close(s);
	temp_remove(dir);
}

static void
whoever_clicks_meanwhile_is_forgotten_too(void **state)
{
	struct touch t[] = { hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0), hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0) };
	struct who w = person(1);
	char *dir = temp_make();
	struct store *s = open_store(dir);

	(void)state;
	append(s, t, 2);
	writer = s;
	writes_left = 3; /* an open of person(1) behind each commit of sums */
	assert_int_equal(forget(s, &w, 1, false), STORE_OK);
	assert_int_equal(writes_left, 0);
	assert_gone(s, &w, "consented 0\nconsented 0\n", denied);
	store_close(s);
	temp_remove(dir);
}

static void
forget_too(void)
{
	struct who w = person(1);

	assert_int_equal(forget(writer, &w, 1, true), STORE_OK);
}

/* Two who forget the same one at the same time: campaigns are owed what was theirs once. */
static void
forgotten_by_two_at_once(void **state)
{
	const struct touch t[] = { hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0), hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0) };
	struct who w = person(1);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct link_count link;
	struct campaign c;

	(void)state;
	append(s, t, COUNT(t));
	writer = s;
	meanwhile = forget_too; /* behind the first look for what is theirs */
	assert_int_equal(forget(s, &w, 1, true), STORE_OK);
	assert_null(meanwhile);
	s = rebuilt(s, dir);
	assert_int_equal(store_campaign(s, 5, &c), STORE_OK);
	assert_int_equal(c.clicks_all, 2);
	assert_int_equal(c.clickers_human, 2);
	assert_int_equal(store_link(s, 5, 1, &link), STORE_OK);
	assert_int_equal(link.clicks_all, 2);
	store_close(s);
	temp_remove(dir);
}

/* Facts have forgotten, and whoever should have told the state so is dead: the next one does, before anything is summed up. */
static void
forgotten_by_one_who_dies(void **state)
{
	static const struct {
		int fate;
		bool entirely;
	} rows[] = { { DIES_BEFORE, false }, { DIES_BEFORE, true }, { DIES_BEHIND, false }, { DIES_BEHIND, true } };
	const struct touch t[] = { hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0), hit(TOUCH_CLICK, 2, 1, ROBOT_HUMAN, T0),
		{ .kind = TOUCH_COMPLAINED, .who = person(1), .when = T0 + 5000 } };
	const struct touch later = { .kind = TOUCH_SENT, .mode = MODE_IDENTIFIED, .who = person(1), .stream = 3, .campaign = 6,
		.when = T0 + 2000 * DAY_MS };
	struct who w = person(1);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir);
		struct buf text, anew;
		struct profile p;
		int status;
		pid_t pid;

		append(s, t, COUNT(t));
		assert_int_equal(fold_all(s), STORE_OK);
		store_close(s);
		if ((pid = fork()) == 0) {
			s = open_store(dir);
			fate = rows[i].fate;
			(void)forget(s, &w, 1, rows[i].entirely);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);

		s = open_store(dir);
		assert_int_equal(store_profile(s, &w, &p), rows[i].fate == DIES_BEFORE || !rows[i].entirely ? STORE_OK : STORE_NONE);
		assert_int_equal(p.clicks, rows[i].fate == DIES_BEFORE);
		/* What comes of them meanwhile is not forgotten with the rest. */
		if (i % 2 == 0)
			append(s, &later, 1);
		assert_int_equal(fold_all(s), STORE_OK);
		if (i % 2 == 0) {
			assert_int_equal(store_profile(s, &w, &p), STORE_OK);
			assert_int_equal(p.sends, 1);
			assert_int_equal(p.clicks, 0);
			assert_int_equal(p.complained, T0 / 1000 + 5);
		} else {
			assert_int_equal(store_profile(s, &w, &p), STORE_NONE);
			assert_gone(s, &w, "", "");
		}
		/* The facts have nothing else. */
		dump(s, &text);
		s = rebuilt(s, dir);
		dump(s, &anew);
		assert_true(span_eq(buf_span(&text), buf_span(&anew)));
		buf_free(&text);
		buf_free(&anew);
		store_close(s);
		temp_remove(dir);
	}
}

/* Facts have forgotten many, and the state has no room to do so at once: what comes must be summed up all the same. */
static void
forgotten_where_there_is_little_room(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct buf text, anew;
	struct touch t[5];
	struct who w[5];
	uint64_t number;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < COUNT(w); i++) {
		w[i] = person(i + 1);
		t[i] = hit(TOUCH_CLICK, i + 1, 1, ROBOT_HUMAN, T0);
	}
	qsort(w, COUNT(w), sizeof *w, who_order);
	append(s, t, COUNT(t));
	assert_int_equal(fold_all(s), STORE_OK);
	no_room = 1;
	assert_int_equal(forget(s, w, COUNT(w), false), STORE_FULL);
	append(s, t, 1);
	no_room = 3; /* for five, for two, for one */
	assert_int_equal(fold_all(s), STORE_FULL);
	assert_int_equal(no_room, 0);
	no_room = 2;
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_erasing(s, &number, NULL, &n), STORE_NONE);
	dump(s, &text);
	s = rebuilt(s, dir);
	dump(s, &anew);
	assert_true(span_eq(buf_span(&text), buf_span(&anew)));
	buf_free(&text);
	buf_free(&anew);
	store_close(s);
	temp_remove(dir);
}

static void
destinations_that_name_the_forgotten_go(void **state)
{
	static const struct {
		const char *what, *url;
		bool stays;
	} rows[] = {
		{ "as it is", "https://example.org/?to=Ann@Example.org&x", false },
		{ "escaped", "https://example.org/ann%40example.org", false },
		{ "of nobody", "https://example.org/sale", true },
		{ "of somebody else", "https://example.org/?to=joann@example.com", true },
	};
	struct who w = person(1);
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct buf url = BUF(1000);

	(void)state;
	for (uint16_t i = 0; i < COUNT(rows); i++) {
		struct record r = { .touch = hit(TOUCH_CLICK, 1, 1, ROBOT_HUMAN, T0), .address = SPAN("ann@example.org"),
			.destination = span_of(rows[i].url) };

		r.touch.link = i + 1;
		assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	}
	assert_int_equal(forget(s, &w, 1, false), STORE_OK);
	for (uint16_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].what, (store_destination(s, 5, i + 1, &url) == STORE_OK) == rows[i].stays);
	buf_free(&url);
	store_close(s);
	temp_remove(dir);
}

/* ---- what an hour has ---- */

#define HOUR ((uint32_t)(T0 / 3600000))
#define GROUP 77

static const struct {
	const char *says;
	struct touch touch[4];
	uint32_t hour;
	enum volume_kind kind;
	uint64_t id;
	struct volume want;
} volumes[] = {
	{ "a send counts for its group", { { .kind = TOUCH_SENT, .sent = GROUP, .flags = TOUCH_TRACKED } }, HOUR,
	    VOLUME_RECEIVER, GROUP, { .sent = 1, .tracked = 1, .sent_class[ENGAGE_NEW] = 1 } },
	{ "and for its stream, by class", { { .kind = TOUCH_SENT, .sent = GROUP, .detail = ENGAGE_SEMI } }, HOUR, VOLUME_STREAM, 5,
	    { .sent = 1, .sent_class[ENGAGE_SEMI] = 1 } },
	{ "of the series it is of no class", { { .kind = TOUCH_SENT, .flags = TOUCH_SERIES, .detail = ENGAGE_INACTIVE } }, HOUR,
	    VOLUME_STREAM, 5, { .sent = 1, .series = 1 } },
	{ "an exempt one takes part in no volume", { { .kind = TOUCH_SENT, .flags = TOUCH_EXEMPT } }, HOUR, VOLUME_STREAM, 5,
	    { .sent = 1 } },
	{ "nor does another system's", { { .kind = TOUCH_SENT, .flags = TOUCH_IMPORTED } }, HOUR, VOLUME_STREAM, 5, { .sent = 1 } },
	{ "stopped by class", { { .kind = TOUCH_SKIPPED, .detail = CAUSE_INACTIVE }, { .kind = TOUCH_SKIPPED, .detail = CAUSE_SUNSET } },
	    HOUR, VOLUME_STREAM, 5, { .by_class = 2 } },
	{ "stopped for another cause", { { .kind = TOUCH_SKIPPED, .detail = CAUSE_BOUNCED }, { .kind = TOUCH_SENT } }, HOUR,
	    VOLUME_STREAM, 5, { .sent = 1, .sent_class[ENGAGE_NEW] = 1 } },
	{ "spared", { { .kind = TOUCH_SENT, .flags = TOUCH_SPARED, .detail = ENGAGE_INACTIVE } }, HOUR, VOLUME_STREAM, 5,
	    { .sent = 1, .spared = 1, .sent_class[ENGAGE_INACTIVE] = 1 } },
	{ "reports go to the group of the last send", { { .kind = TOUCH_BOUNCED, .when = 3600000 },
	    { .kind = TOUCH_COMPLAINED, .when = 3600000 }, { .kind = TOUCH_SOFT_BOUNCED, .when = 3600000 },
	    { .kind = TOUCH_SENT, .sent = GROUP } }, HOUR + 1, VOLUME_RECEIVER, GROUP,
	    { .bounced = 1, .complained = 1, .soft_bounced = 1 } },
	{ "so do a person's clicks, in their own hour", { { .kind = TOUCH_SENT, .sent = GROUP },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .when = 3600000 * 2, .link = 1 } }, HOUR + 2, VOLUME_RECEIVER, GROUP,
	    { .clicks_human = 1 } },
	{ "hits of two hours, of the first one", { { .kind = TOUCH_SENT, .sent = GROUP },
	    { .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .when = 3600000 },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .when = 3600000 * 2 - 1, .link = 1 },
	    { .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .when = 3600000 * 2 } }, HOUR + 1, VOLUME_RECEIVER, GROUP,
	    { .opens_human = 1, .clicks_human = 1 } },
	{ "and of the second", { { .kind = TOUCH_SENT, .sent = GROUP },
	    { .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .when = 3600000 },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .when = 3600000 * 2 - 1, .link = 1 },
	    { .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .when = 3600000 * 2 } }, HOUR + 2, VOLUME_RECEIVER, GROUP,
	    { .opens_human = 1 } },
	{ "a machine's is a hit, and no more", { { .kind = TOUCH_SENT, .sent = GROUP },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_SCANNER, .detail = EVIDENCE_AGENT, .when = 3600000, .link = 1 } }, HOUR + 1,
	    VOLUME_RECEIVER, 0, { .hits = 1 } },
	{ "a burst takes back what it was", { { .kind = TOUCH_SENT, .sent = GROUP },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .when = 3600000, .link = 1 },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .when = 3600000, .link = 2 },
	    { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .when = 3600000, .link = 3 } }, HOUR + 1, VOLUME_RECEIVER, GROUP, { 0 } },
};

struct wanted_volume {
	uint32_t hour;
	enum volume_kind kind;
	uint64_t id;
	struct volume found;
};

static bool
pick_volume(void *arg, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	struct wanted_volume *w = arg;

	if (hour == w->hour && kind == w->kind && id == w->id)
		w->found = *v;
	return true;
}

/* Each touch by itself: what is taken back was counted before. */
static void
hours_have_their_sums(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(volumes); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir);
		struct wanted_volume w = { volumes[i].hour, volumes[i].kind, volumes[i].id, { 0 } };

		/* The last of them first, so that SENT comes first where it stands last. */
		for (size_t k = 0; k < COUNT(volumes[i].touch); k++) {
			size_t at = volumes[i].touch[0].kind == TOUCH_SENT ? k : COUNT(volumes[i].touch) - 1 - k;
			struct touch t = volumes[i].touch[at];

			if (t.kind == 0)
				continue;
			t.when += T0;
			t.mode = MODE_IDENTIFIED;
			t.who = person(1);
			t.campaign = 4;
			t.stream = 5;
			append(s, &t, 1);
			assert_int_equal(fold_all(s), STORE_OK);
		}
		assert_int_equal(store_each_volume(s, w.hour, w.hour, pick_volume, &w), STORE_OK);
		assert_row(volumes[i].says, memcmp(&w.found, &volumes[i].want, sizeof w.found) == 0);
		store_close(s);
		temp_remove(dir);
	}
}

static void
a_campaign_counts_what_became_of_it(void **state)
{
	static const struct touch touches[] = {
		{ .kind = TOUCH_SENT, .flags = TOUCH_SERIES }, { .kind = TOUCH_SENT, .flags = TOUCH_HOLDOUT },
		{ .kind = TOUCH_SENT, .flags = TOUCH_SPARED }, { .kind = TOUCH_DELIVERED }, { .kind = TOUCH_DELIVERED },
		{ .kind = TOUCH_BOUNCED }, { .kind = TOUCH_SOFT_BOUNCED, .detail = BOUNCE_SOFT },
		{ .kind = TOUCH_SOFT_BOUNCED, .detail = BOUNCE_POLICY }, { .kind = TOUCH_COMPLAINED },
		{ .kind = TOUCH_SKIPPED, .detail = CAUSE_SUNSET }, { .kind = TOUCH_SKIPPED, .detail = CAUSE_CAPPED },
	};
	char *dir = temp_make();
	struct store *s = open_store(dir);
	struct campaign c;

	(void)state;
	for (size_t i = 0; i < COUNT(touches); i++) {
		struct touch t = touches[i];

		t.when = T0;
		t.mode = MODE_IDENTIFIED;
		t.who = person((unsigned)i);
		t.campaign = 4;
		t.stream = 5;
		append(s, &t, 1);
	}
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_campaign(s, 4, &c), STORE_OK);
	assert_int_equal(c.sent, 3);
	assert_int_equal(c.series, 1);
	assert_int_equal(c.holdout, 1);
	assert_int_equal(c.spared, 1);
	assert_int_equal(c.delivered, 2);
	assert_int_equal(c.bounced, 1);
	assert_int_equal(c.soft_bounced, 1);
	assert_int_equal(c.policy_bounced, 1);
	assert_int_equal(c.complained, 1);
	assert_int_equal(c.skipped, 2);
	assert_int_equal(c.by_class, 1);
	store_close(s);
	temp_remove(dir);
}

static void
hours_of_long_ago_go(void **state)
{
	struct touch t[2] = { { .kind = TOUCH_SENT, .when = T0 }, { .kind = TOUCH_SENT, .when = T0 + 3600000 } };
	struct wanted_volume w = { HOUR, VOLUME_RECEIVER, 0, { 0 } };
	char *dir = temp_make();
	struct store *s = open_store(dir);

	(void)state;
	append(s, t, 2);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(fold_drop_volumes(s, HOUR), STORE_NONE);
	assert_int_equal(store_each_volume(s, 0, UINT32_MAX, pick_volume, &w), STORE_OK);
	assert_int_equal(w.found.sent, 1);
	assert_int_equal(fold_drop_volumes(s, HOUR + 1), STORE_OK);
	w.found.sent = 0;
	assert_int_equal(store_each_volume(s, 0, UINT32_MAX, pick_volume, &w), STORE_OK);
	assert_int_equal(w.found.sent, 0);
	w.hour = HOUR + 1;
	assert_int_equal(store_each_volume(s, 0, UINT32_MAX, pick_volume, &w), STORE_OK);
	assert_int_equal(w.found.sent, 1);
	store_close(s);
	temp_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hours_have_their_sums),
		cmocka_unit_test(a_campaign_counts_what_became_of_it),
		cmocka_unit_test(hours_of_long_ago_go),
		cmocka_unit_test(campaigns_keep_what_the_forgotten_did),
		cmocka_unit_test(forgotten_touches_leave_their_numbers),
		cmocka_unit_test(who_said_no_stays_stopped_when_forgotten),
		cmocka_unit_test(whoever_clicks_meanwhile_is_forgotten_too),
		cmocka_unit_test(forgotten_by_one_who_dies),
		cmocka_unit_test(forgotten_where_there_is_little_room),
		cmocka_unit_test(forgotten_by_two_at_once),
		cmocka_unit_test(destinations_that_name_the_forgotten_go),
		cmocka_unit_test(any_order_and_any_batches_give_the_same_bytes),
		cmocka_unit_test(a_row_in_the_order_of_recipients_gives_the_same_bytes),
		cmocka_unit_test(facts_lost_in_the_middle_of_a_row),
		cmocka_unit_test(forgotten_in_the_middle_of_a_row),
		cmocka_unit_test(too_much_at_once),
		cmocka_unit_test(judging_again_with_little_room),
		cmocka_unit_test(rules_are_adopted_when_the_disk_lets_us),
		cmocka_unit_test(who_writes_on_is_not_waited_for),
		cmocka_unit_test(single_hits_go_and_sums_stay),
		cmocka_unit_test(a_late_click_is_nobody_else),
		cmocka_unit_test(the_thread_takes_old_hits_out),
		cmocka_unit_test(a_lost_state_is_rebuilt_to_the_same_bytes),
		cmocka_unit_test(days_alone_are_enough_to_rebuild),
		cmocka_unit_test(a_rebuilt_state_knows_who_said_no),
		cmocka_unit_test(campaigns_count_hits_and_recipients),
		cmocka_unit_test(a_late_touch_takes_back_what_was_counted),
		cmocka_unit_test(the_log_comes_after_the_hit),
		cmocka_unit_test(one_link_mail_is_counted),
		cmocka_unit_test(other_rules_judge_again_what_was_judged),
		cmocka_unit_test(several_folders_count_each_touch_once),
		cmocka_unit_test(killed_in_the_middle_again_and_again),
		cmocka_unit_test(the_thread_folds_by_itself),
		cmocka_unit_test(one_process_at_a_time_folds),
		cmocka_unit_test(a_clock_that_jumps_ahead_is_believed_slowly),
		cmocka_unit_test(nothing_is_pruned_at_once_after_a_year),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
