/* The two files on disk: order, names, walks, limits, other processes. */
#include "common/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/codec.h"
#include "common/engage.h"
#include "common/fold.h"
#include "common/text.h"
#include "tests/unit/unit.h"

#define MB ((uint64_t)1 << 20)

static struct store *
open_store(const char *dir, uint64_t size)
{
	struct store_options o = { .dir = dir, .facts_size = size, .state_size = size, .create = true };
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

static struct record
click(unsigned n, int64_t when)
{
	return (struct record){ .touch = { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .mode = MODE_IDENTIFIED, .who = person(n),
				    .campaign = 7, .stream = 3, .link = 1, .when = when } };
}

static void
touches_come_back_in_order(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 0);
	struct numbered got[10];
	struct record r[3];
	uint64_t last;
	size_t n;

	(void)state;
	assert_int_equal(store_last(s), 0);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < 3; i++)
		r[i] = click(i, 1000 + i);
	assert_int_equal(store_append(s, r, 3, &last), STORE_OK);
	assert_int_equal(last, 3);
	assert_int_equal(store_append(s, r, 2, &last), STORE_OK);
	assert_int_equal(last, 5);
	assert_int_equal(store_touches(s, 1, got, 3, &n), STORE_OK);
	assert_int_equal(n, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(got[i].seq, i + 2);
	assert_int_equal(got[0].touch.when, 1001);
	assert_int_equal(store_touches(s, 5, got, 10, &n), STORE_OK);
	assert_int_equal(n, 0);
	store_close(s);

	/* and after opening again */
	s = open_store(dir, 0);
	assert_int_equal(store_last(s), 5);
	store_close(s);
	temp_remove(dir);
}

static void
names_are_kept_as_first_seen(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 0);
	struct record r = click(1, 1);
	struct buf a = BUF(1000), b = BUF(1000);
	struct who nobody = { 0 };
	uint64_t last;

	(void)state;
	r.address = SPAN("Ann@Example.org");
	r.stream = SPAN("news");
	r.campaign = SPAN("spring");
	r.destination = SPAN("https://example.org/?a=1&b=2");
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	r.address = SPAN("ann@example.org");
	r.destination = SPAN("https://evil.example/");
	r.touch.kind = 0; /* names only */
	assert_int_equal(store_append(s, &r, 1, &last), STORE_OK);
	assert_int_equal(last, 1);

	assert_int_equal(store_name(s, &r.touch.who, &a), STORE_OK);
	assert_span("address", buf_span(&a), SPAN("Ann@Example.org"));
	assert_int_equal(store_name(s, &nobody, &a), STORE_NONE);
	buf_clear(&a);
	assert_int_equal(store_destination(s, 7, 1, &a), STORE_OK);
	assert_span("destination", buf_span(&a), SPAN("https://example.org/?a=1&b=2"));
	assert_int_equal(store_destination(s, 7, 2, &a), STORE_NONE);
	buf_clear(&a);
	assert_int_equal(store_campaign_names(s, 7, &a, &b), STORE_OK);
	assert_span("stream", buf_span(&a), SPAN("news"));
	assert_span("campaign", buf_span(&b), SPAN("spring"));
	buf_clear(&a);
	assert_int_equal(store_stream_name(s, 3, &a), STORE_OK);
	assert_span("stream by its id", buf_span(&a), SPAN("news"));
	buf_free(&a);
	buf_free(&b);
	store_close(s);
	temp_remove(dir);
}

static void
a_full_file_refuses_and_keeps_what_it_has(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, MB);
	struct record *r = calloc(1000, sizeof *r);
	enum store_result res = STORE_OK;
	struct numbered *got = calloc(40000, sizeof *got);
	uint64_t last = 0, good = 0;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		r[i] = click(i, i);
	for (int i = 0; i < 100 && res == STORE_OK; i++)
		if ((res = store_append(s, r, 1000, &last)) == STORE_OK)
			good = last;
	assert_int_equal(res, STORE_FULL);
	assert_true(good >= 1000);
	assert_int_equal(store_touches(s, 0, got, 40000, &n), STORE_OK);
	assert_int_equal(n, good);
	store_close(s);

	/* a larger limit at the next start is all it takes */
	s = open_store(dir, 16 * MB);
	assert_int_equal(store_append(s, r, 1000, &last), STORE_OK);
	assert_int_equal(last, good + 1000);
	free(r);
	free(got);
	store_close(s);
	temp_remove(dir);
}

struct count {
	unsigned n;
	struct who last;
	unsigned stop_at;
};

static bool
count_person(void *arg, const struct who *w, const struct profile *p)
{
	struct count *c = arg;

	assert_true(c->n == 0 || memcmp(&c->last, w, sizeof *w) < 0);
	assert_int_equal(p->clicks, 1);
	c->last = *w;
	return ++c->n != c->stop_at;
}

static bool
count_subscription(void *arg, const struct who *w, uint64_t stream, const struct subscription *sub)
{
	struct count *c = arg;

	assert_int_equal(stream, sub->left);
	c->last = *w;
	c->n++;
	return true;
}

static void
a_walk_sees_everybody_once_across_its_renewals(void **state)
{
	static const unsigned sizes[] = { 0, 1, 999, 1000, 1001, 2500 };
	struct profile p = { .clicks = 1 };

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir, 64 * MB);
		struct count c = { 0 };
		struct fold_txn *t;
		uint64_t folded;

		assert_non_null(t = fold_begin(s, &folded));
		for (unsigned k = 0; k < sizes[i]; k++) {
			struct who w = person(k);

			assert_int_equal(fold_put_person(t, &w, &p), STORE_OK);
		}
		assert_int_equal(fold_commit(t, 1), STORE_OK);
		assert_int_equal(store_each_person(s, count_person, &c), STORE_OK);
		assert_int_equal(c.n, sizes[i]);
		c = (struct count){ .stop_at = 1 };
		assert_int_equal(store_each_person(s, count_person, &c), STORE_OK);
		assert_int_equal(c.n, sizes[i] > 0);
		store_close(s);
		temp_remove(dir);
	}
}

static void
a_walk_over_one_recipients_subscriptions_stays_with_them(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct fold_txn *t;
	uint64_t folded;

	(void)state;
	assert_non_null(t = fold_begin(s, &folded));
	for (unsigned k = 0; k < 3; k++)
		for (uint32_t stream = 1; stream <= 1 + k; stream++) {
			struct subscription sub = { .left = stream };
			struct who w = person(k);

			assert_int_equal(fold_put_subscription(t, &w, stream, &sub), STORE_OK);
		}
	assert_int_equal(fold_commit(t, 1), STORE_OK);
	for (unsigned k = 0; k < 4; k++) {
		struct count c = { 0 };
		struct who w = person(k);

		assert_int_equal(store_each_subscription_of(s, &w, count_subscription, &c), STORE_OK);
		assert_int_equal(c.n, k < 3 ? k + 1 : 0);
	}
	store_close(s);
	temp_remove(dir);
}

static void
counters_and_records_survive_the_disk(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct campaign c = { .stream = 1, .first = 2, .sent = UINT64_MAX, .left = 4 }, c2;
	struct link_count l = { 1, 2, 3, UINT64_MAX }, l2;
	struct trail trail = { 0 };
	struct touch hit = { .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN, .link = 3, .when = 5000 };
	struct who w = person(1);
	struct fold_txn *t;
	uint64_t folded;

	(void)state;
	assert_non_null(t = fold_begin(s, &folded));
	assert_int_equal(folded, 0);
	assert_int_equal(fold_get_campaign(t, 9, &c2), STORE_NONE);
	assert_int_equal(c2.sent, 0);
	assert_int_equal(fold_put_campaign(t, 9, &c), STORE_OK);
	assert_int_equal(fold_put_link(t, 9, 1, &l), STORE_OK);
	trail_add(&trail, &hit);
	assert_int_equal(fold_put_trail(t, &w, 9, 0, &trail), STORE_OK);
	trail_free(&trail);
	assert_int_equal(fold_commit(t, 17), STORE_OK);
	assert_int_equal(store_folded(s), 17);
	assert_int_equal(store_campaign(s, 9, &c2), STORE_OK);
	assert_memory_equal(&c, &c2, sizeof c);
	assert_int_equal(store_link(s, 9, 1, &l2), STORE_OK);
	assert_memory_equal(&l, &l2, sizeof l);
	assert_int_equal(store_link(s, 9, 2, &l2), STORE_NONE);
	assert_non_null(t = fold_begin(s, &folded));
	assert_int_equal(folded, 17);
	assert_int_equal(fold_get_trail(t, &w, 9, 0, &trail), STORE_OK);
	assert_int_equal(trail.n, 1);
	assert_int_equal(trail.hit[0].link, 3);
	trail_free(&trail);
	assert_int_equal(fold_get_trail(t, &w, 8, 0, &trail), STORE_NONE);
	assert_int_equal(fold_get_trail(t, &w, 0, 9, &trail), STORE_NONE);
	w = person(2);
	assert_int_equal(fold_get_trail(t, &w, 9, 0, &trail), STORE_NONE);
	fold_abort(t);
	store_close(s);
	temp_remove(dir);
}

/* Whoever was read last, and however many were written before: who is written is who was meant. */
static void
one_is_read_and_another_is_written(void **state)
{
	enum { PEOPLE = 3000, TIMES = 12000 };
	static uint32_t clicks[PEOPLE];
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct profile p = { 0 };
	struct fold_txn *t;
	unsigned seed = 7;
	uint64_t folded;

	(void)state;
	assert_non_null(t = fold_begin(s, &folded));
	for (uint32_t i = 1; i <= TIMES; i++) {
		unsigned read = (seed = seed * 1103515245 + 12345) / 65536 % PEOPLE;
		unsigned write = i % 3 ? read : (seed = seed * 1103515245 + 12345) / 65536 % PEOPLE;
		struct who r = person(read), w = person(write);

		assert_int_equal(fold_get_person(t, &r, &p), clicks[read] ? STORE_OK : STORE_NONE);
		assert_int_equal(p.clicks, clicks[read]);
		if (i % 1000 == 0) {
			assert_int_equal(fold_erase_person(t, &r), STORE_OK);
			clicks[read] = 0;
		}
		p.clicks = clicks[write] = i;
		assert_int_equal(fold_put_person(t, &w, &p), STORE_OK);
	}
	assert_int_equal(fold_commit(t, 1), STORE_OK);
	for (unsigned i = 0; i < PEOPLE; i++) {
		struct who w = person(i);

		assert_int_equal(store_profile(s, &w, &p), clicks[i] ? STORE_OK : STORE_NONE);
		if (clicks[i])
			assert_int_equal(p.clicks, clicks[i]);
	}
	store_close(s);
	temp_remove(dir);
}

static void
set_clicks(struct store *s, unsigned number, uint32_t clicks)
{
	struct profile p = { .clicks = clicks };
	struct who w = person(number);
	struct fold_txn *t;
	uint64_t folded;

	assert_non_null(t = fold_begin(s, &folded));
	assert_int_equal(fold_put_person(t, &w, &p), STORE_OK);
	assert_int_equal(fold_commit(t, folded + 1), STORE_OK);
}

static void
a_view_is_of_one_moment(void **state)
{
	const struct who one = person(1), two = person(2);
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct subscription subroom;
	const struct subscription *sub;
	const struct profile *p, *other;
	struct profile room[2], after;
	struct store_view view;
	bool known, subscribed;

	(void)state;
	for (int again = 0; again < 3; again++) {
		set_clicks(s, 1, 1);
		assert_int_equal(store_view(s, &view), STORE_OK);
		assert_int_equal(store_view_person(s, &view, &one, 7, &p, &room[0], &sub, &subroom), STORE_OK);
		assert_int_equal(p->clicks, 1);
		assert_null(sub);
		for (int i = 0; i < 20; i++)
			set_clicks(s, 1, 5);
		if (again == 0)
			set_clicks(s, 2, 5);
		assert_int_equal(store_view_person(s, &view, &two, 7, &other, &room[1], &sub, &subroom), STORE_OK);
		assert_int_equal(other == NULL ? 0 : other->clicks, again > 0 ? 5 : 0);
		assert_int_equal(p->clicks, 1); /* which may be in the file itself */
		store_view_end(s, &view);
		assert_int_equal(store_person(s, &one, 7, &after, &known, &subroom, &subscribed), STORE_OK);
		assert_true(known && !subscribed);
		assert_int_equal(after.clicks, 5);
	}
	store_close(s);
	temp_remove(dir);
}

/* As an older or newer program would have left it. */
static void
set_meta(const char *dir, const char *file, char *name, const uint64_t *number, size_t n)
{
	unsigned char bytes[8 * 4];
	MDB_val k = { strlen(name), name }, v = { 8 * n, bytes };
	char path[600];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	assert_true(v.mv_size <= sizeof bytes);
	for (size_t i = 0; i < n; i++)
		put_u64(bytes + 8 * i, number[i]);
	snprintf(path, sizeof path, "%s/%s", dir, file);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
set_schema(const char *dir, const char *file, uint64_t schema)
{
	char name[] = "schema";

	set_meta(dir, file, name, &schema, 1);
}

#define PROFILE_BYTES_2 296

/* As a program of schema 2 would have left it: profiles of version 2, and no tables that came later. */
static void
make_old(const char *dir)
{
	static const char *const later[] = { "past", "volumes" };
	char path[600];
	MDB_cursor *cursor;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val k, v;
	int rows = 0;

	snprintf(path, sizeof path, "%s/state.mdb", dir);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	for (size_t i = 0; i < COUNT(later); i++) {
		assert_int_equal(mdb_dbi_open(txn, later[i], 0, &dbi), 0);
		assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	}
	assert_int_equal(mdb_dbi_open(txn, "people", 0, &dbi), 0);
	assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
	for (; mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0; rows++) {
		unsigned char bytes[PROFILE_BYTES_2];
		MDB_val old = { sizeof bytes, bytes };

		assert_int_equal(v.mv_size, PROFILE_BYTES);
		memcpy(bytes, v.mv_data, sizeof bytes);
		bytes[0] = 2;
		bytes[1] = 0;
		assert_int_equal(mdb_cursor_put(cursor, &k, &old, MDB_CURRENT), 0);
	}
	assert_int_equal(rows, 2);
	mdb_cursor_close(cursor);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	set_schema(dir, "state.mdb", 2);
}

static void
assert_consents(struct store *s)
{
	struct profile p;
	struct who w = person(1);

	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(profile_consent(&p, AXIS_OPENS), CONSENT_DENIED);
	assert_int_equal(profile_consent(&p, AXIS_LINKS), CONSENT_GRANTED);
	w = person(2);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(profile_consent(&p, AXIS_OPENS), CONSENT_UNKNOWN);
	assert_int_equal(profile_consent(&p, AXIS_LINKS), CONSENT_DENIED);
}

/* From whatever version, with the facts or after they are gone: what people said stands. */
static void
consents_stay_across_an_upgrade(void **state)
{
	static const struct {
		unsigned person, axis, given;
	} said[] = { { 1, AXIS_OPENS, CONSENT_GRANTED }, { 1, AXIS_OPENS, CONSENT_DENIED }, { 1, AXIS_LINKS, CONSENT_GRANTED },
		{ 2, AXIS_LINKS, CONSENT_DENIED } };
	char *dir = temp_make();
	struct store_options reader = { .dir = dir, .facts_size = 64 * MB, .state_size = 64 * MB };
	struct store *s = open_store(dir, 64 * MB);
	struct record r = { .touch.kind = TOUCH_CONSENT, .touch.mode = MODE_IDENTIFIED, .source = SPAN("form") };
	struct buf why = BUF(512);
	bool more;

	(void)state;
	for (size_t i = 0; i < COUNT(said); i++) {
		r.touch.who = person(said[i].person);
		r.touch.when = (int64_t)(1000 + i) * 1000;
		r.touch.detail = (uint8_t)(said[i].axis << 4 | said[i].given);
		assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	}
	assert_int_equal(fold_all(s), STORE_OK);
	for (int tidied = 0; tidied < 2; tidied++) {
		assert_consents(s);
		store_close(s);
		make_old(dir);
		buf_clear(&why);
		assert_null(store_open(&reader, &why));
		assert_string_equal(buf_cstr(&why), "state.mdb: not a store of this version; restart the daemons");
		s = open_store(dir, 64 * MB);
		assert_consents(s);
		/* They are what is said of them from now on, too; and rows that were read old are written new. */
		r.touch.who = person(2);
		r.touch.when += 1000;
		assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
		assert_int_equal(fold_all(s), STORE_OK);
		assert_consents(s);
		if (tidied == 0)
			assert_int_equal(store_tidy(s, &(struct tidy){ INT64_MAX, INT64_MAX }, 1000, &more), STORE_OK);
		/* So old that all is summed up anew. */
		store_close(s);
		set_schema(dir, "state.mdb", 1);
		s = open_store(dir, 64 * MB);
		assert_int_equal(fold_all(s), STORE_OK);
	}
	assert_consents(s);
	buf_free(&why);
	store_close(s);
	temp_remove(dir);
}

/* Once somebody has said something, everybody is looked up; and where an older program did not keep an eye on it. */
static void
whether_anybody_ever_consented_is_known(void **state)
{
	static const uint8_t said[] = { AXIS_LINKS << 4 | CONSENT_GRANTED, AXIS_OPENS << 4 | CONSENT_DENIED };
	char no_consents[] = "no consents";
	uint64_t zero = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(said); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir, 64 * MB);
		struct record r = click(1, 1);

		assert_true(store_no_consents(s));
		assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
		assert_int_equal(fold_all(s), STORE_OK);
		assert_true(store_no_consents(s));
		assert_true(store_no_consents(s)); /* from what it remembers */
		r.touch = (struct touch){ .kind = TOUCH_CONSENT, .detail = said[i], .who = person(2), .when = 2000 };
		assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
		assert_true(store_no_consents(s));
		assert_int_equal(fold_all(s), STORE_OK);
		assert_false(store_no_consents(s));
		store_close(s);
		s = open_store(dir, 64 * MB);
		assert_false(store_no_consents(s));
		/* Summed up anew, it comes back with what was said. */
		store_close(s);
		set_schema(dir, "state.mdb", 1);
		s = open_store(dir, 64 * MB);
		assert_true(store_no_consents(s));
		assert_int_equal(fold_all(s), STORE_OK);
		assert_false(store_no_consents(s));
		store_close(s);
		temp_remove(dir);
	}

	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);

	assert_true(store_no_consents(s));
	store_close(s);
	set_meta(dir, "state.mdb", no_consents, &zero, 1);
	set_schema(dir, "state.mdb", 5);
	s = open_store(dir, 64 * MB);
	assert_false(store_no_consents(s));
	store_close(s);
	temp_remove(dir);
}

static uint64_t
last_commit(const char *dir)
{
	char path[600];
	MDB_envinfo info;
	MDB_env *env;

	snprintf(path, sizeof path, "%s/state.mdb", dir);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_env_info(env, &info), 0);
	mdb_env_close(env);
	return info.me_last_txnid;
}

/* What is known of one file says nothing of another one with as many commits. */
static void
a_state_that_comes_in_place_of_another_is_looked_at(void **state)
{
	char *dir = temp_make(), *other = temp_make(), from[600], to[600], nothing[] = "nothing";
	struct record r = { .touch = { .kind = TOUCH_CONSENT, .detail = AXIS_LINKS << 4 | CONSENT_DENIED, .who = person(2), .when = 2000 } };
	struct store *s = open_store(other, 64 * MB);
	uint64_t zero = 0;
	struct profile p;

	(void)state;
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	assert_int_equal(fold_all(s), STORE_OK);
	store_close(s);
	store_close(open_store(dir, 64 * MB));
	while (last_commit(dir) < last_commit(other))
		set_meta(dir, "state.mdb", nothing, &zero, 1);
	s = open_store(dir, 64 * MB);
	assert_true(store_no_consents(s));

	/* There is no such room for a map, so the file is closed, and opened again when somebody wants something of it. */
	store_limit(s, 64 * MB, (uint64_t)1 << 60);
	snprintf(from, sizeof from, "%s/state.mdb", other);
	snprintf(to, sizeof to, "%s/state.mdb", dir);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(store_profile(s, &r.touch.who, &p), STORE_OK);
	assert_false(store_no_consents(s));
	store_close(s);
	temp_remove(dir);
	temp_remove(other);
}

/* A row that an older program began, which did not count what it had done of it. */
static void
a_row_that_an_older_program_began_is_gone_on_with(void **state)
{
	char *dir = temp_make(), name[] = "sweep";
	struct store *s = open_store(dir, 64 * MB);
	struct record r[3] = { click(1, 1), click(2, 1), click(3, 1) };
	struct fold_row row = { 0 };
	struct store_health h;
	struct campaign c;
	struct sweep sweep;
	uint64_t folded;
	size_t n;

	(void)state;
	assert_int_equal(store_append(s, r, 3, NULL), STORE_OK);
	assert_int_equal(fold_sweep(s, &row, 3, 1, &n), STORE_OK);
	fold_row_free(&row);
	assert_int_equal(store_sweep(s, &folded, &sweep), STORE_OK);
	assert_int_equal(sweep.done, 1);
	store_close(s);
	set_meta(dir, "state.mdb", name, (const uint64_t[]){ sweep.upto, sweep.who, sweep.seq }, 3);
	s = open_store(dir, 64 * MB);
	store_watch(s);
	store_health(s, &h);
	assert_int_equal(h.lag, 3);
	assert_int_equal(fold_all(s), STORE_OK);
	store_watch(s);
	store_health(s, &h);
	assert_int_equal(h.lag, 0);
	assert_int_equal(store_campaign(s, r[0].touch.campaign, &c), STORE_OK);
	assert_int_equal(c.clicks_all, 3);
	store_close(s);
	temp_remove(dir);
}

static void
sums_of_an_older_program_are_made_anew(void **state)
{
	char *dir = temp_make();
	struct store_options reader = { .dir = dir, .facts_size = 64 * MB, .state_size = 64 * MB };
	struct store *s = open_store(dir, 64 * MB);
	struct record r = click(1, 1);
	struct who w = person(1);
	struct buf why = BUF(512);
	struct campaign c;
	struct profile p;

	(void)state;
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	assert_int_equal(fold_all(s), STORE_OK);
	store_close(s);
	set_schema(dir, "state.mdb", 1);

	/* Who may not make files leaves them alone. */
	assert_null(store_open(&reader, &why));
	assert_string_equal(buf_cstr(&why), "state.mdb: schema 1, this program knows 7; restart the daemons, which will sum up anew");
	s = open_store(dir, 64 * MB);
	assert_int_equal(store_folded(s), 0);
	assert_int_equal(store_profile(s, &w, &p), STORE_NONE);
	assert_int_equal(fold_all(s), STORE_OK);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.clicks, 1);
	assert_int_equal(store_campaign(s, r.touch.campaign, &c), STORE_OK);
	assert_int_equal(c.clicks_all, 1);
	store_close(s);

	/* Where sums may be gone on with they are, and who knows no better from then on keeps out of them. */
	set_schema(dir, "state.mdb", 2);
	buf_clear(&why);
	assert_null(store_open(&reader, &why));
	assert_string_equal(buf_cstr(&why), "state.mdb: schema 2, this program knows 7; restart the daemons");
	s = open_store(dir, 64 * MB);
	assert_int_equal(store_folded(s), 1);
	assert_int_equal(store_profile(s, &w, &p), STORE_OK);
	assert_int_equal(p.clicks, 1);
	store_close(s);
	buf_clear(&why);
	s = store_open(&reader, &why);
	assert_non_null(s);
	store_close(s);

	/* What is newer than we are nobody guesses at; and facts are never made anew. */
	set_schema(dir, "state.mdb", 8);
	buf_clear(&why);
	reader.create = true;
	assert_null(store_open(&reader, &why));
	assert_string_equal(buf_cstr(&why), "state.mdb: schema 8, this program knows 7");
	set_schema(dir, "state.mdb", 7);
	set_schema(dir, "facts.mdb", 2);
	buf_clear(&why);
	assert_null(store_open(&reader, &why));
	assert_string_equal(buf_cstr(&why), "facts.mdb: schema 2, this program knows 1");
	buf_free(&why);
	temp_remove(dir);
}

struct appender {
	struct store *s;
	int fails;
};

static void *
append_many(void *arg)
{
	struct appender *a = arg;

	for (unsigned i = 0; i < 50; i++) {
		struct record r = click(i, i);
		struct profile p;
		struct who w = person(i);

		if (store_append(a->s, &r, 1, NULL) != STORE_OK || store_profile(a->s, &w, &p) != STORE_NONE)
			a->fails++;
	}
	return NULL;
}

/* LMDB's default of 126 reader slots, bound to threads, would not survive this. */
static void
many_threads_and_a_second_process(void **state)
{
	enum { THREADS = 200 };
	char *dir = temp_make();
	pthread_t thread[THREADS];
	struct appender a[THREADS];
	struct store *s;
	int status;
	pid_t pid;

	(void)state;
	if ((pid = fork()) == 0) {
		s = open_store(dir, 256 * MB);
		a[0] = (struct appender){ s, 0 };
		append_many(&a[0]);
		store_close(s);
		_exit(a[0].fails);
	}
	s = open_store(dir, 256 * MB);
	for (int i = 0; i < THREADS; i++) {
		a[i] = (struct appender){ s, 0 };
		assert_int_equal(pthread_create(&thread[i], NULL, append_many, &a[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(a[i].fails, 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(store_last(s), (THREADS + 1) * 50);
	store_close(s);
	temp_remove(dir);
}

static void
a_process_killed_while_it_writes_leaves_whole_touches(void **state)
{
	char *dir = temp_make();
	struct store *s;
	struct numbered *got = calloc(200000, sizeof *got);
	size_t n;

	(void)state;
	for (int round = 0; round < 3; round++) {
		int fd[2], status;
		uint64_t acknowledged = 0, word;
		pid_t pid;

		assert_int_equal(pipe(fd), 0);
		if ((pid = fork()) == 0) {
			s = open_store(dir, 256 * MB);
			for (unsigned i = 0;; i++) {
				struct record r = click(i, i);

				if (store_append(s, &r, 1, &word) != STORE_OK || write(fd[1], &word, sizeof word) != sizeof word)
					_exit(1);
			}
		}
		close(fd[1]);
		for (int i = 0; i < 100 && read(fd[0], &word, sizeof word) == sizeof word; i++)
			acknowledged = word;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(fd[0], &word, sizeof word) == sizeof word)
			acknowledged = word;
		close(fd[0]);

		s = open_store(dir, 256 * MB);
		assert_true(acknowledged >= 100);
		assert_int_equal(store_touches(s, 0, got, 200000, &n), STORE_OK);
		assert_in_range(n, acknowledged, acknowledged + 1); /* one may be written and not yet told */
		for (size_t i = 0; i < n; i++)
			assert_int_equal(got[i].seq, i + 1);
		store_close(s);
	}
	free(got);
	temp_remove(dir);
}

/* Another process opened the file with a larger limit and filled it beyond ours: we follow. */
static void
a_file_that_grew_elsewhere(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, MB);
	struct record r = click(1, 1);
	uint64_t last;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	if ((pid = fork()) == 0) {
		/* LMDB must not be used across a fork: the child is another program. */
		execl("/proc/self/exe", "test_store", "grow", dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(store_append(s, &r, 1, &last), STORE_OK);
	assert_int_equal(last, 50002);
	store_close(s);
	temp_remove(dir);
}

static int
grow(const char *dir)
{
	struct store *s = open_store(dir, 64 * MB);
	struct record r = click(1, 1), *many = calloc(50000, sizeof *many);
	enum store_result res;

	for (int i = 0; i < 50000; i++)
		many[i] = r;
	res = store_append(s, many, 50000, NULL);
	free(many);
	store_close(s);
	return res == STORE_OK ? 0 : 1;
}

static void
a_reader_of_nothing_is_told_so(void **state)
{
	char *dir = temp_make();
	struct store_options o = { .dir = dir };
	struct buf why = BUF(512);

	(void)state;
	assert_null(store_open(&o, &why));
	assert_true(span_search(buf_span(&why), SPAN("facts.mdb: no such file")) < why.n);
	assert_int_equal(access(dir, F_OK), 0);
	buf_clear(&why);
	o.dir = "/nonexistent/rekindle";
	o.create = true;
	assert_null(store_open(&o, &why));
	assert_true(why.n > 0);
	buf_free(&why);
	temp_remove(dir);
}

static struct record
day_open(unsigned n, uint32_t day)
{
	return (struct record){ .touch = { .kind = TOUCH_OPEN, .verdict = ROBOT_HUMAN, .mode = MODE_DAYONLY, .who = person(n),
				    .when = day * DAY_MS } };
}

static void
set_folded(struct store *s, uint64_t to)
{
	struct fold_txn *t;
	uint64_t folded;

	assert_non_null(t = fold_begin(s, &folded));
	assert_int_equal(fold_commit(t, to), STORE_OK);
}

static bool
count_kept(void *arg, const struct touch *t)
{
	struct who one = person(1);

	if (who_eq(&t->who, &one) && t->kind == TOUCH_OPEN)
		assert_int_equal(t->when, 102 * DAY_MS);
	++*(unsigned *)arg;
	return true;
}

static void
days_leave_the_row_once_they_are_summed_up(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct record r[] = { day_open(1, 100), click(1, 5), day_open(1, 102), day_open(2, 7), day_open(1, 101) };
	struct numbered got[10];
	unsigned days = 0;
	uint64_t last;
	bool more;
	size_t n;

	(void)state;
	assert_int_equal(store_append(s, r, 5, NULL), STORE_OK);
	assert_int_equal(store_tidy(s, &(struct tidy){ 0, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 5); /* nothing is summed up yet */
	set_folded(s, 4);
	assert_int_equal(store_tidy(s, &(struct tidy){ 0, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 2);
	assert_int_equal(got[0].seq, 2);
	assert_int_equal(got[1].seq, 5);
	set_folded(s, 5);
	assert_int_equal(store_tidy(s, &(struct tidy){ 0, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_each_kept(s, count_kept, &days), STORE_OK);
	assert_int_equal(days, 2);

	/* the number of the removed last touch is not given out again, or a fold would miss the next one */
	assert_int_equal(store_last(s), 5);
	store_close(s);
	s = open_store(dir, 64 * MB);
	assert_int_equal(store_append(s, r + 1, 1, &last), STORE_OK);
	assert_int_equal(last, 6);
	store_close(s);
	temp_remove(dir);
}

static void
old_touches_go_when_they_are_summed_up(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct numbered got[10];
	struct record r[5];
	uint64_t last;
	bool more;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		r[i] = click(i, 1000 + i);
	assert_int_equal(store_append(s, r, 5, NULL), STORE_OK);
	assert_int_equal(store_tidy(s, &(struct tidy){ 1003, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 5);
	set_folded(s, 2);
	assert_int_equal(store_tidy(s, &(struct tidy){ 1003, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 3);
	set_folded(s, 5);
	assert_int_equal(store_tidy(s, &(struct tidy){ 1003, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 2);
	assert_int_equal(got[0].touch.when, 1003); /* as old as the limit, not older */
	assert_int_equal(store_tidy(s, &(struct tidy){ 9999, INT64_MAX }, 1, &more), STORE_OK);
	assert_true(more);
	assert_int_equal(store_tidy(s, &(struct tidy){ 9999, INT64_MAX }, 1000, &more), STORE_OK);
	assert_false(more);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 0);
	assert_int_equal(store_append(s, r, 1, &last), STORE_OK);
	assert_int_equal(last, 6);
	store_close(s);
	temp_remove(dir);
}

/* To delete takes pages, too: a file that is full to the last one would stay so for ever. */
static void
a_full_file_can_be_tidied_and_goes_on(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, MB);
	struct record *r = calloc(1000, sizeof *r);
	struct numbered one;
	uint64_t last = 0;
	bool more;
	size_t n;

	(void)state;
	/* half of them leave a day behind, which takes room of its own */
	for (unsigned i = 0; i < 1000; i++)
		r[i] = i % 2 ? click(i, 1) : day_open(i, 1);
	for (int round = 0; round < 3; round++) {
		for (size_t batch = 1000; batch > 0; batch /= 10)
			while (store_append(s, r, batch, &last) == STORE_OK)
				;
		set_folded(s, last);
		do
			assert_int_equal(store_tidy(s, &(struct tidy){ INT64_MAX, INT64_MAX }, 20000, &more), STORE_OK);
		while (more);
		assert_int_equal(store_touches(s, 0, &one, 1, &n), STORE_OK);
		assert_int_equal(n, 0);
	}
	assert_int_equal(store_append(s, r, 1000, NULL), STORE_OK);
	free(r);
	store_close(s);
	temp_remove(dir);
}

static bool
count_any(void *arg, const struct touch *t)
{
	(void)t;
	++*(unsigned *)arg;
	return true;
}

/* Pruning gets further than the search for days does when that took some out in between. */
static void
an_old_day_is_kept_when_its_touch_goes(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct record r[] = { day_open(1, 1), click(2, 1), day_open(3, 1), click(4, 1) };
	unsigned days = 0;
	bool more;

	(void)state;
	assert_int_equal(store_append(s, r, 4, NULL), STORE_OK);
	set_folded(s, 4);
	do
		assert_int_equal(store_tidy(s, &(struct tidy){ INT64_MAX, INT64_MAX }, 2, &more), STORE_OK);
	while (more);
	assert_int_equal(store_each_kept(s, count_any, &days), STORE_OK);
	assert_int_equal(days, 2);
	store_close(s);
	temp_remove(dir);
}

static void
facts_that_were_lost_do_not_take_new_ones_along(void **state)
{
	char *dir = temp_make(), path[600];
	struct store *s = open_store(dir, 64 * MB);
	struct record r[] = { click(1, 1), click(2, 1), click(3, 1) };
	uint64_t last;

	(void)state;
	assert_int_equal(store_append(s, r, 3, NULL), STORE_OK);
	set_folded(s, 3);
	store_close(s);
	snprintf(path, sizeof path, "%s/facts.mdb", dir);
	assert_int_equal(unlink(path), 0);

	s = open_store(dir, 64 * MB);
	assert_int_equal(store_last(s), 3);
	assert_int_equal(store_append(s, r, 1, &last), STORE_OK);
	assert_int_equal(last, 4); /* 1 would never be summed up */
	store_close(s);
	temp_remove(dir);
}

/* In a program that was started without standard error the first log line would go to a database. */
static void
no_database_is_standard_error(void **state)
{
	char *dir = temp_make();
	struct stat st, file;
	struct store *s;
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10), bad = 0;
	char path[600];

	(void)state;
	assert_true(saved >= 0);
	close(STDERR_FILENO);
	s = open_store(dir, 64 * MB);
	bad += fstat(STDERR_FILENO, &st) != 0;
	for (int i = 0; i < 4; i++) {
		static const char *const names[] = { "facts.mdb", "facts.mdb-lock", "state.mdb", "state.mdb-lock" };

		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		bad += stat(path, &file) != 0 || (file.st_dev == st.st_dev && file.st_ino == st.st_ino);
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_int_equal(bad, 0);
	store_close(s);
	temp_remove(dir);
}

/* A hole in there is a SIGBUS when a full disk meets many readers. */
static void
the_lock_file_has_no_holes(void **state)
{
	char *dir = temp_make(), path[600];
	struct store *s = open_store(dir, 64 * MB);
	struct stat st;

	(void)state;
	snprintf(path, sizeof path, "%s/facts.mdb-lock", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= 128 * 1024); /* LOCK_BYTES */
	assert_true((int64_t)st.st_blocks * 512 >= st.st_size);
	store_close(s);
	temp_remove(dir);
}

static struct record
consent(unsigned n, enum axis axis, enum consent what, int64_t when, const char *source)
{
	return (struct record){
		.touch = { .kind = TOUCH_CONSENT, .mode = MODE_IDENTIFIED, .detail = (uint8_t)(axis << 4 | what),
		    .when = when, .who = person(n) },
		.source = span_of(source),
	};
}

/* "1000 opens granted cli: root\n" */
static bool
write_line(void *arg, const struct touch *t, struct span source)
{
	buf_addf(arg, "%lld ", (long long)t->when);
	if (t->kind == TOUCH_CONSENT)
		buf_addf(arg, "%s %s", axis_name((enum axis)(t->detail >> 4)), consent_name((enum consent)(t->detail & 15)));
	else
		buf_addf(arg, "%s of %llu by %llu until %u", touch_name((enum touch_kind)t->kind), (unsigned long long)t->stream,
		    (unsigned long long)t->campaign, t->sent);
	buf_addf(arg, " %.*s\n", SPAN_ARG(source));
	return true;
}

static void
check_history(struct store *s, unsigned n, const char *want)
{
	struct buf got = BUF(10000);
	struct who w = person(n);

	assert_int_equal(store_each_history_of(s, &w, write_line, &got), STORE_OK);
	assert_span("history", buf_span(&got), span_of(want));
	buf_free(&got);
}

static bool
stop_at_once(void *arg, const struct touch *t, struct span source)
{
	(void)t, (void)source;
	++*(unsigned *)arg;
	return false;
}

static void
how_consent_was_given_outlives_its_touch(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct record r[] = {
		consent(1, AXIS_OPENS, CONSENT_GRANTED, 1000, "cli: root: double opt-in"),
		consent(1, AXIS_LINKS, CONSENT_GRANTED, 1000, ""),
		consent(1, AXIS_OPENS, CONSENT_DENIED, 70000, "import"),
		consent(2, AXIS_OPENS, CONSENT_DENIED, 1000, "another's"),
		click(1, 1500),
	};
	static const char all[] = "1000 opens granted cli: root: double opt-in\n1000 links granted \n70000 opens denied import\n";
	struct numbered got[10];
	struct buf source = BUF(1000);
	struct who w = person(1);
	unsigned seen = 0;
	bool more;
	size_t n;

	(void)state;
	r[4].source = SPAN("no consent, nothing to keep");
	assert_int_equal(store_append(s, r, COUNT(r), NULL), STORE_OK);
	check_history(s, 1, all);
	check_history(s, 2, "1000 opens denied another's\n");
	check_history(s, 3, "");
	assert_int_equal(store_each_history_of(s, &w, stop_at_once, &seen), STORE_OK);
	assert_int_equal(seen, 1);

	set_folded(s, 5);
	assert_int_equal(store_tidy(s, &(struct tidy){ DAY_MS, INT64_MAX }, 1000, &more), STORE_OK);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 0);
	store_close(s);
	s = open_store(dir, 64 * MB);
	check_history(s, 1, all);

	assert_int_equal(store_source(s, &r[0].touch, &source), STORE_OK);
	assert_span("source", buf_span(&source), SPAN("cli: root: double opt-in"));
	r[0].touch.detail = AXIS_OPENS << 4 | CONSENT_DENIED; /* at that time, but not this */
	assert_int_equal(store_source(s, &r[0].touch, &source), STORE_NONE);
	r[0].touch.when++;
	assert_int_equal(store_source(s, &r[0].touch, &source), STORE_NONE);
	buf_free(&source);
	store_close(s);
	temp_remove(dir);
}

static void
of_one_moment_the_stricter_consent_is_kept_and_the_first_word(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct record r[] = {
		consent(1, AXIS_OPENS, CONSENT_GRANTED, 5000, "first"),
		consent(1, AXIS_OPENS, CONSENT_GRANTED, 5000, "second"),
		consent(1, AXIS_LINKS, CONSENT_GRANTED, 5000, "granted"),
		consent(1, AXIS_LINKS, CONSENT_DENIED, 5000, "denied"),
		consent(1, AXIS_LINKS, CONSENT_UNKNOWN, 5000, "unknown"),
		consent(1, AXIS_LINKS, CONSENT_DENIED, -1, "before all time"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT(r); i++)
		assert_int_equal(store_append(s, &r[i], 1, NULL), STORE_OK);
	check_history(s, 1, "0 links denied before all time\n5000 opens granted first\n5000 links denied denied\n");
	store_close(s);
	temp_remove(dir);
}

static void
a_source_is_cut_between_characters(void **state)
{
	char *dir = temp_make(), text[SOURCE_MAX + 2], want[400];
	struct store *s = open_store(dir, 64 * MB);
	struct record r;

	(void)state;
	memset(text, 'x', sizeof text);
	text[SOURCE_MAX] = '\0';
	r = consent(1, AXIS_OPENS, CONSENT_GRANTED, 1, text);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	snprintf(want, sizeof want, "1 opens granted %s\n", text);
	check_history(s, 1, want); /* just fits */
	memcpy(text + SOURCE_MAX - 1, "\xc3\xbc", 2);
	text[SOURCE_MAX + 1] = '\0';
	r = consent(2, AXIS_OPENS, CONSENT_GRANTED, 1, text);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	snprintf(want, sizeof want, "1 opens granted %.*s\n", SOURCE_MAX - 1, text);
	check_history(s, 2, want); /* one too many, in the middle of a character */
	store_close(s);
	temp_remove(dir);
}

static struct record
said(unsigned n, enum touch_kind kind, uint64_t stream, int64_t when, uint32_t until, const char *source)
{
	return (struct record){ .touch = { .kind = (uint8_t)kind, .mode = MODE_IDENTIFIED, .when = when, .who = person(n),
		.stream = stream, .sent = until, .campaign = 7 }, .source = span_of(source) };
}

static void
every_word_leaves_a_line_of_history(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct record r[] = {
		said(1, TOUCH_LEFT, 3, 5000, 99, "one-click"),
		said(1, TOUCH_HELD, 0, 6000, 900, "cli: root: on holiday"),
		said(1, TOUCH_HELD, 0, 6000, 800, "shorter"),
		said(1, TOUCH_HELD, 4, 6000, 700, "another stream"),
		said(1, TOUCH_RELEASED, 0, 7000, 0, "cli: root"),
		consent(1, AXIS_LINKS, CONSENT_GRANTED, 5000, "a form"),
		said(2, TOUCH_HELD, 0, 1000, 5, "until then"),
		said(2, TOUCH_HELD, 0, 1000, 0, "for ever"),
		said(2, TOUCH_HELD, 0, 1000, 6, "not so long"),
		said(2, TOUCH_BOUNCED, 0, 1000, 5, "mail log: 550 5.1.1"),
		said(3, TOUCH_SENT, 0, 1000, 0, "no word"),
		said(3, TOUCH_DELIVERED, 0, 1000, 0, "none either"),
		said(4, TOUCH_JOINED, 1, 1000, 0, ""),
		said(4, TOUCH_COMPLAINED, 0, 2000, 0, "report"),
		said(4, TOUCH_KEPT, 1, 3000, 0, "button"),
		said(4, TOUCH_LESS, 1, 4000, 0, "button"),
	};
	struct buf source = BUF(1000);

	(void)state;
	for (size_t i = 0; i < COUNT(r); i++)
		assert_int_equal(store_append(s, &r[i], 1, NULL), STORE_OK);
	/* Of a touch that is no hold `sent' means something else. */
	check_history(s, 1, "5000 links granted a form\n5000 left of 3 by 7 until 0 one-click\n"
			    "6000 held of 0 by 7 until 900 cli: root: on holiday\n6000 held of 4 by 7 until 700 another stream\n"
			    "7000 released of 0 by 7 until 0 cli: root\n");
	check_history(s, 2, "1000 bounced of 0 by 7 until 0 mail log: 550 5.1.1\n1000 held of 0 by 7 until 0 for ever\n");
	check_history(s, 3, "");
	check_history(s, 4, "1000 joined of 1 by 7 until 0 \n2000 complained of 0 by 7 until 0 report\n"
			    "3000 kept of 1 by 7 until 0 button\n4000 less of 1 by 7 until 0 button\n");
	assert_int_equal(store_source(s, &r[0].touch, &source), STORE_OK);
	assert_span("source", buf_span(&source), SPAN("one-click"));
	assert_int_equal(store_source(s, &r[10].touch, &source), STORE_NONE);
	buf_free(&source);
	store_close(s);
	temp_remove(dir);
}

/* "held 6000 until 900\n" */
static bool
write_kept(void *arg, const struct touch *t)
{
	buf_addf(arg, "%s %lld until %u\n", touch_name((enum touch_kind)t->kind), (long long)t->when, t->sent);
	return true;
}

static void
a_hold_keeps_its_end_when_its_touch_goes(void **state)
{
	static const struct {
		const char *what;
		uint32_t first, second;
		int64_t after; /* so much later is the second, ms */
		const char *want;
	} rows[] = {
		{ "a later one counts", 900, 800, 1000, "held 2000 until 800\n" },
		{ "also when it is for ever", 900, 0, 1000, "held 2000 until 0\n" },
		{ "of one second the longer one", 900, 800, 1, "held 1000 until 900\n" },
		{ "whichever comes first", 800, 900, -1, "held 999 until 900\n" },
		{ "and for ever is longest", 0, 900, 1, "held 1000 until 0\n" },
		{ "whichever comes first", 900, 0, 1, "held 1001 until 0\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir, 64 * MB);
		struct record r[] = {
			said(1, TOUCH_HELD, 0, 1000, rows[i].first, ""), said(1, TOUCH_HELD, 0, 1000 + rows[i].after, rows[i].second, "")
		};
		struct buf got = BUF(1000);
		struct who w = person(1);
		bool more;

		assert_int_equal(store_append(s, r, 2, NULL), STORE_OK);
		set_folded(s, 2);
		assert_int_equal(store_tidy(s, &(struct tidy){ DAY_MS, INT64_MAX }, 1000, &more), STORE_OK);
		assert_int_equal(store_each_kept_of(s, &w, write_kept, &got), STORE_OK);
		assert_span(rows[i].what, buf_span(&got), span_of(rows[i].want));
		w = person(2);
		assert_int_equal(store_each_kept_of(s, &w, write_kept, &got), STORE_OK);
		assert_span("another has none", buf_span(&got), span_of(rows[i].want));
		buf_free(&got);
		store_close(s);
		temp_remove(dir);
	}
}

/* ---- limits, other processes, and what a disk may do ---- */

/* This program again, as another process: its exit status. */
static int
another(const char *what, const char *dir, const char *lock_dir)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl("/proc/self/exe", "test_store", what, dir, lock_dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* An upgrade restarts one daemon after the other; what the last old one sums up must not get among the new sums. */
static void
nobody_sums_up_beside_a_newer_program(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 64 * MB);
	struct record r = click(1, 1);
	struct who w = person(1);
	struct profile p;

	(void)state;
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	assert_int_equal(another("upgrade", dir, ""), 0);
	assert_int_equal(fold_all(s), STORE_ERROR);
	assert_int_equal(store_folded(s), 0);
	assert_int_equal(store_profile(s, &w, &p), STORE_NONE);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK); /* facts are the same for both */
	store_close(s);
	temp_remove(dir);
}

/* A daemon whose settings say 16 MB now. */
static int
raise_limit(const char *dir)
{
	struct store *s = open_store(dir, MB);

	store_limit(s, 16 * MB, 16 * MB);
	store_close(s);
	return 0;
}

static void
fill(struct store *s)
{
	struct record *r = calloc(1000, sizeof *r);
	enum store_result res = STORE_OK;

	for (unsigned i = 0; i < 1000; i++)
		r[i] = click(i, i);
	for (int i = 0; i < 100 && res == STORE_OK; i++)
		res = store_append(s, r, 1000, NULL);
	assert_int_equal(res, STORE_FULL);
	free(r);
}

static void
a_limit_that_another_process_raised_is_ours_when_we_need_it(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, MB);
	struct store_health h;
	struct fold_txn *t;
	struct record r = click(1, 1);
	struct profile p = { .clicks = 1 };
	enum store_result res = STORE_OK;
	uint64_t folded;

	(void)state;
	fill(s);
	assert_int_equal(another("limit", dir, ""), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK); /* not one is lost */
	store_watch(s);
	store_health(s, &h);
	assert_int_equal(h.facts.limit, 16 * MB);
	assert_int_equal(h.state.limit, MB);
	assert_false(store_nearly_full(&h.facts));

	/* The sums follow at the next fold. */
	for (int round = 0; round < 2; round++) {
		assert_non_null(t = fold_begin(s, &folded));
		res = STORE_OK;
		for (unsigned i = 0; i < 6000 && res == STORE_OK; i++) {
			struct who w = person(i);

			res = fold_put_person(t, &w, &p);
		}
		if (round == 0) {
			assert_int_equal(res, STORE_FULL);
			fold_abort(t);
		} else
			assert_int_equal(res == STORE_OK ? fold_commit(t, 1) : res, STORE_OK);
	}
	store_close(s);
	temp_remove(dir);
}

static void
a_limit_is_changed_while_everybody_goes_on(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, MB);
	struct record r = click(1, 1);
	struct store_health h;

	(void)state;
	fill(s);
	store_watch(s);
	store_health(s, &h);
	assert_true(store_nearly_full(&h.facts));
	store_limit(s, 4 * MB, MB);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	/* Lower than what is used is as low as it can be; touches that are there stay. */
	store_limit(s, 4096, MB);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_FULL);
	assert_true(store_last(s) > 1000);
	store_close(s);
	/* The word of the last one who was told counts, and a start is being told. */
	s = open_store(dir, 2 * MB);
	store_watch(s);
	store_health(s, &h);
	assert_int_equal(h.facts.limit, 2 * MB);
	store_close(s);
	temp_remove(dir);
}

/*
 * LMDB calls this one.  A write to one of the first two pages that fails, the
 * last step of a commit, leaves it in a state that only opening again ends.
 */
static _Atomic bool disk_fails;

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (atomic_load(&disk_fails) && at < 8192) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, p, n, at);
}

static void
a_failing_disk_that_recovers(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 4 * MB);
	struct record r[3] = { click(1, 1), click(2, 2), click(3, 3) };
	struct numbered got[10];
	uint64_t last;
	size_t n;

	(void)state;
	assert_int_equal(store_append(s, r, 1, NULL), STORE_OK);
	atomic_store(&disk_fails, true);
	assert_int_equal(store_append(s, r, 2, NULL), STORE_ERROR);
	assert_int_equal(store_append(s, r, 2, NULL), STORE_ERROR);
	atomic_store(&disk_fails, false);
	/* At most a second later. */
	for (int i = 0; i < 300 && store_try(s) != STORE_OK; i++)
		usleep(10000);
	assert_int_equal(store_append(s, r + 2, 1, &last), STORE_OK);
	assert_int_equal(last, 2);
	assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
	assert_int_equal(n, 2);
	assert_int_equal(got[1].touch.when, 3); /* what was said not to be there is not */
	store_close(s);
	temp_remove(dir);
}

static int
open_with(const char *dir, const char *lock_dir)
{
	struct store_options o = { .dir = dir, .lock_dir = lock_dir, .create = true };
	struct buf why = BUF(512);
	struct store *s = store_open(&o, &why);
	bool other = span_search(buf_span(&why), SPAN("other locks")) < why.n;

	buf_free(&why);
	if (s == NULL)
		return other ? 2 : 1;
	store_close(s);
	return 0;
}

static void
remove_locks(const char *dir)
{
	char command[700];

	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

/* A program that knows of locks only what LMDB does by itself. */
static void
locks_of_who_knows_no_lock_dir_are_seen(void **state)
{
	char *dir = temp_make(), *here = temp_make(), path[700];
	int ready[2], end[2];
	char byte = 0;
	pid_t pid;

	(void)state;
	store_close(open_store(dir, 0));
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	if ((pid = fork()) == 0) {
		MDB_env *env;

		snprintf(path, sizeof path, "%s/state.mdb", dir);
		close(end[1]);
		if (mdb_env_create(&env) != 0 || mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY, 0) != 0)
			_exit(1);
		_exit(write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) != 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(another("open", dir, here), 2);
	assert_int_equal(another("open", dir, ""), 0);
	close(end[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(another("open", dir, here), 0);
	close(ready[0]);
	close(end[0]);
	remove_locks(here);
	free(here);
	temp_remove(dir);
}

static void
locks_elsewhere_are_the_same_for_all(void **state)
{
	char *dir = temp_make(), *here = temp_make(), *there = temp_make(), lock[700];
	struct store_options o = { .dir = dir, .lock_dir = here, .create = true };
	struct buf why = BUF(512);
	struct store *s = store_open(&o, &why);
	struct record r = click(1, 1);

	(void)state;
	assert_non_null(s);
	snprintf(lock, sizeof lock, "%s/facts.mdb-lock", dir);
	assert_int_not_equal(access(lock, F_OK), 0);
	assert_null(store_no_locks(s));
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	assert_int_equal(another("open", dir, here), 0);
	assert_int_equal(another("open", dir, there), 2);
	assert_int_equal(another("open", dir, ""), 2);
	store_close(s);
	/* Nobody is there now: whoever comes decides. */
	assert_int_equal(another("open", dir, there), 0);
	o.lock_dir = "/nonexistent";
	assert_non_null(s = store_open(&o, &why));
	assert_string_equal(store_no_locks(s), "/nonexistent: No such file or directory");
	assert_int_equal(access(lock, F_OK), 0);
	assert_int_equal(another("open", dir, here), 2);
	assert_int_equal(another("open", dir, ""), 0);
	assert_int_equal(store_last(s), 1);
	store_close(s);

	/* A directory that everybody may write to is none. */
	remove_locks(here);
	assert_int_equal(mkdir(here, 0700), 0);
	o.lock_dir = here;
	assert_non_null(s = store_open(&o, &why));
	store_close(s);
	snprintf(lock, sizeof lock, "chmod 0777 '%s'/*", here);
	assert_int_equal(system(lock), 0);
	assert_non_null(s = store_open(&o, &why));
	assert_non_null(strstr(store_no_locks(s), ": no directory of the daemons' user alone"));
	assert_int_equal(another("open", dir, ""), 0);
	store_close(s);
	o.lock_dir = "";
	assert_non_null(s = store_open(&o, &why));
	assert_null(store_no_locks(s));
	store_close(s);
	buf_free(&why);
	remove_locks(here);
	remove_locks(there);
	free(here);
	free(there);
	temp_remove(dir);
}

/* Opened again with a new lock file it would write at the same time as those who hold the old one. */
static void
locks_that_were_removed_are_not_made_anew(void **state)
{
	char *dir = temp_make(), *here = temp_make(), command[700];
	struct store_options o = { .dir = dir, .lock_dir = here, .create = true };
	struct buf why = BUF(512);
	struct store *s = store_open(&o, &why);
	struct record r = click(1, 1);

	(void)state;
	assert_non_null(s);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	snprintf(command, sizeof command, "rm '%s'/*/*-lock", here);
	assert_int_equal(system(command), 0);
	atomic_store(&disk_fails, true);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_ERROR);
	atomic_store(&disk_fails, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_try(s), STORE_ERROR);
	store_close(s);
	/* Once nobody has the old ones any more. */
	assert_non_null(s = store_open(&o, &why));
	assert_int_equal(store_try(s), STORE_OK);
	assert_int_equal(store_last(s), 1);
	store_close(s);
	buf_free(&why);
	remove_locks(here);
	free(here);
	temp_remove(dir);
}

static void
touches_from_the_future_hold_up_nothing(void **state)
{
	static const struct {
		const char *says;
		int64_t when[6];
		unsigned stay;
	} rows[] = {
		{ "nothing from the future", { 1, 2, 3, 100, 101, 102 }, 3 },
		{ "one at the head, with old ones behind it", { 999, 2, 3, 100, 101, 102 }, 3 },
		{ "one at the head, with a young one behind it", { 999, 100, 101, 102, 103, 104 }, 6 },
		{ "many, in the middle", { 1, 999, 998, 997, 3, 100 }, 1 },
		{ "between an old one and a young one: as old as the young one", { 1, 999, 100, 101, 102, 103 }, 5 },
		{ "at the end: nobody knows", { 1, 2, 3, 4, 999, 999 }, 2 },
		{ "nothing else", { 999, 999, 999, 999, 999, 999 }, 6 },
		{ "as late as can be", { 500, 500, 500, 500, 500, 1 }, 6 },
		{ "too late", { 501, 501, 501, 501, 501, 1 }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *dir = temp_make();
		struct store *s = open_store(dir, 4 * MB);
		struct numbered got[10];
		struct record r[6];
		bool more;
		size_t n;

		for (unsigned k = 0; k < 6; k++)
			r[k] = click(k, rows[i].when[k]);
		assert_int_equal(store_append(s, r, 6, NULL), STORE_OK);
		set_folded(s, 6);
		assert_int_equal(store_tidy(s, &(struct tidy){ 50, 500 }, 1000, &more), STORE_OK);
		assert_int_equal(store_touches(s, 0, got, 10, &n), STORE_OK);
		assert_row(rows[i].says, n == rows[i].stay);
		store_close(s);
		temp_remove(dir);
	}
}

/* Seen by whoever has the files open, at once, and still there after the sums are lost and the touches tidied away. */
static void
a_stopped_campaign_is_stopped_for_everybody(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, 0);
	char state_file[600];
	int64_t when;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(store_stopped(s, 7, &when), STORE_NONE);
	assert_int_equal(store_stopped(s, 7, &when), STORE_NONE); /* this time out of memory */
	if ((pid = fork()) == 0) {
		struct store *other = open_store(dir, 0);

		_exit(store_stop_campaign(other, 7, 1234) == STORE_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(store_stopped(s, 7, &when), STORE_OK);
	assert_int_equal(when, 1234);
	assert_int_equal(store_stop_campaign(s, 9, 5), STORE_OK);
	assert_int_equal(store_stopped(s, 8, &when), STORE_NONE);
	assert_int_equal(when, 0);
	assert_int_equal(store_stop_campaign(s, 7, 9999), STORE_NONE); /* already, and since then */
	store_close(s);

	snprintf(state_file, sizeof state_file, "%s/state.mdb", dir);
	assert_int_equal(unlink(state_file), 0);
	s = open_store(dir, 0);
	assert_int_equal(store_stopped(s, 7, &when), STORE_OK);
	assert_int_equal(when, 1234);
	assert_int_equal(store_stop_campaign(s, 7, 0), STORE_OK);
	assert_int_equal(store_stop_campaign(s, 7, 0), STORE_NONE);
	assert_int_equal(store_stopped(s, 7, &when), STORE_NONE);
	assert_int_equal(store_stopped(s, 9, &when), STORE_OK);
	store_close(s);
	temp_remove(dir);
}

/* No room for another touch, and yet its links can be stopped. */
static void
a_campaign_can_be_stopped_when_the_store_is_full(void **state)
{
	char *dir = temp_make();
	struct store *s = open_store(dir, MB);
	struct record r = click(1, 1000);
	int64_t when;

	(void)state;
	while (store_append(s, &r, 1, NULL) == STORE_OK)
		;
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_FULL);
	assert_int_equal(store_stop_campaign(s, 7, 1234), STORE_OK);
	assert_int_equal(store_stopped(s, 7, &when), STORE_OK);
	store_close(s);
	temp_remove(dir);
}

static void
what_stops_a_campaign(void **state)
{
	static const struct {
		const char *says;
		enum brake put, lifted; /* BRAKE_NONE: nothing */
		bool links;
		enum brake want;
		int64_t since;
	} rows[] = {
		{ "nothing", BRAKE_NONE, BRAKE_NONE, false, BRAKE_NONE, 0 },
		{ "a person", BRAKE_HAND, BRAKE_NONE, false, BRAKE_HAND, 5 },
		{ "its complaints", BRAKE_COMPLAINTS, BRAKE_NONE, false, BRAKE_COMPLAINTS, 5 },
		{ "its bounces", BRAKE_BOUNCES, BRAKE_NONE, false, BRAKE_BOUNCES, 5 },
		{ "no brake that was lifted", BRAKE_BOUNCES, BRAKE_BOUNCES, false, BRAKE_NONE, 0 },
		{ "no brake that lets mail pass", BRAKE_SHARE, BRAKE_NONE, false, BRAKE_NONE, 0 },
		{ "links that warn", BRAKE_NONE, BRAKE_NONE, true, BRAKE_HAND, 9 },
		{ "links that warn, whatever passes", BRAKE_SHARE, BRAKE_NONE, true, BRAKE_HAND, 9 },
		{ "and whatever was lifted", BRAKE_HAND, BRAKE_HAND, true, BRAKE_HAND, 9 },
		{ "a brake before links that warn", BRAKE_COMPLAINTS, BRAKE_NONE, true, BRAKE_COMPLAINTS, 5 },
	};
	char *dir = temp_make();
	struct store *s = open_store(dir, 0);
	enum brake which;
	int64_t since;

	(void)state;
	for (uint64_t i = 0; i < COUNT(rows); i++) {
		const struct brake_row row = { .kind = (uint8_t)rows[i].put, .id = i, .since = 5 };

		if (rows[i].put != BRAKE_NONE)
			assert_int_equal(store_brake(s, &row, false), STORE_OK);
		if (rows[i].lifted != BRAKE_NONE)
			assert_int_equal(store_lift_brake(s, (uint8_t)rows[i].lifted, i, 7, SPAN("me")), STORE_OK);
		if (rows[i].links)
			assert_int_equal(store_stop_campaign(s, i, 9), STORE_OK);
		assert_row(rows[i].says, store_stops(s, i, &which, &since) == (rows[i].want == BRAKE_NONE ? STORE_NONE : STORE_OK));
		assert_row(rows[i].says, which == rows[i].want && since == rows[i].since);
	}
	store_close(s);
	temp_remove(dir);
}

/* ---- what lies in the hold queue ---- */

static bool
write_hold(void *arg, struct span id, const struct touch *t)
{
	unsigned n;

	memcpy(&n, t->who.b + 12, sizeof n);
	buf_addf(arg, "%.*s:%u:%u ", SPAN_ARG(id), n, t->detail);
	return true;
}

static bool
write_one_hold(void *arg, struct span id, const struct touch *t)
{
	(void)write_hold(arg, id, t);
	return false;
}

static void
holds(struct store *s, const char *row, const char *want)
{
	struct buf got = BUF(4096);

	assert_row(row, store_each_hold(s, write_hold, &got) == STORE_OK);
	assert_span(row, buf_span(&got), span_of(want));
	buf_free(&got);
}

static struct record
held(unsigned n, const char *id, uint8_t cause)
{
	return (struct record){ .touch = { .kind = TOUCH_SKIPPED, .mode = MODE_IDENTIFIED, .flags = TOUCH_ON_HOLD, .detail = cause,
				    .who = person(n), .campaign = 7, .stream = 3, .when = 1000 }, .source = span_of(id) };
}

static void
what_is_held_is_listed_until_it_is_not(void **state)
{
	char *dir = temp_make(), longest[HOLD_ID_MAX + 2] = "", too_long[HOLD_ID_MAX + 2] = "";
	struct store *s = open_store(dir, 0);
	struct record sent = { .touch = { .kind = TOUCH_SENT, .mode = MODE_IDENTIFIED, .who = person(1), .when = 2000 } };
	struct record first[] = { held(1, "4F2X", CAUSE_CAPPED), held(2, "4F2X", CAUSE_INACTIVE), held(3, "4F2", CAUSE_CAPPED) };
	struct buf one = BUF(256);
	struct numbered got[10];
	struct record r;
	uint64_t number;
	size_t n;

	(void)state;
	memset(longest, 'Z', HOLD_ID_MAX);
	memset(too_long, 'Z', HOLD_ID_MAX + 1);
	holds(s, "nothing yet", "");
	assert_int_equal(store_append(s, first, COUNT(first), NULL), STORE_OK);
	holds(s, "by queue id and recipient", "4F2:3:7 4F2X:1:7 4F2X:2:5 ");
	assert_int_equal(store_each_hold(s, write_one_hold, &one), STORE_OK);
	assert_span("a walk that ends", buf_span(&one), SPAN("4F2:3:7 "));

	r = held(4, longest, CAUSE_CAPPED);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	assert_int_equal(store_unhold(s, span_of(longest), NULL, 0), STORE_OK);
	r = held(4, too_long, CAUSE_CAPPED);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	r = held(4, "", CAUSE_CAPPED);
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	r = held(4, "5", CAUSE_CAPPED);
	r.touch.flags = 0;
	assert_int_equal(store_append(s, &r, 1, NULL), STORE_OK);
	holds(s, "none without a queue id that can be one", "4F2:3:7 4F2X:1:7 4F2X:2:5 ");
	assert_int_equal(store_last(s), 7);

	assert_int_equal(store_unhold(s, SPAN("4F"), &sent, 1), STORE_NONE);
	assert_int_equal(store_unhold(s, span_of(too_long), &sent, 1), STORE_NONE);
	assert_int_equal(store_unhold(s, SPAN(""), &sent, 1), STORE_NONE);
	assert_int_equal(store_last(s), 7);
	assert_int_equal(store_unhold(s, SPAN("4F2X"), &sent, 1), STORE_OK);
	holds(s, "all of one message at once", "4F2:3:7 ");
	assert_int_equal(store_touches(s, 7, got, 10, &n), STORE_OK);
	assert_true(n == 1 && got[0].touch.kind == TOUCH_SENT && got[0].seq == 8);
	assert_int_equal(store_unhold(s, SPAN("4F2X"), &sent, 1), STORE_NONE);
	assert_int_equal(store_last(s), 8);
	store_close(s);
	s = open_store(dir, 0);
	holds(s, "and after opening again", "4F2:3:7 ");
	assert_int_equal(store_append(s, first, COUNT(first), NULL), STORE_OK);
	assert_int_equal(store_erase(s, &(struct erasure){ .who = (struct who[]){ person(9), person(1), person(3) }, .n = 3,
	    .upto = store_last(s) }, &number), STORE_OK);
	holds(s, "not those of who was forgotten", "4F2X:2:5 ");
	first[0].touch.when = first[2].touch.when = 3000;
	first[2].source = SPAN("4F2X");
	assert_int_equal(store_append(s, (struct record[]){ first[0], first[2] }, 2, NULL), STORE_OK);
	holds(s, "of another message with the same queue id only its own", "4F2X:1:7 4F2X:3:7 ");
	store_close(s);
	buf_free(&one);
	temp_remove(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touches_come_back_in_order),
		cmocka_unit_test(a_stopped_campaign_is_stopped_for_everybody),
		cmocka_unit_test(a_campaign_can_be_stopped_when_the_store_is_full),
		cmocka_unit_test(what_stops_a_campaign),
		cmocka_unit_test(names_are_kept_as_first_seen),
		cmocka_unit_test(a_full_file_refuses_and_keeps_what_it_has),
		cmocka_unit_test(a_walk_sees_everybody_once_across_its_renewals),
		cmocka_unit_test(a_walk_over_one_recipients_subscriptions_stays_with_them),
		cmocka_unit_test(whether_anybody_ever_consented_is_known),
		cmocka_unit_test(a_state_that_comes_in_place_of_another_is_looked_at),
		cmocka_unit_test(a_row_that_an_older_program_began_is_gone_on_with),
		cmocka_unit_test(sums_of_an_older_program_are_made_anew),
		cmocka_unit_test(consents_stay_across_an_upgrade),
		cmocka_unit_test(nobody_sums_up_beside_a_newer_program),
		cmocka_unit_test(counters_and_records_survive_the_disk),
		cmocka_unit_test(one_is_read_and_another_is_written),
		cmocka_unit_test(a_view_is_of_one_moment),
		cmocka_unit_test(many_threads_and_a_second_process),
		cmocka_unit_test(a_process_killed_while_it_writes_leaves_whole_touches),
		cmocka_unit_test(a_file_that_grew_elsewhere),
		cmocka_unit_test(a_reader_of_nothing_is_told_so),
		cmocka_unit_test(days_leave_the_row_once_they_are_summed_up),
		cmocka_unit_test(old_touches_go_when_they_are_summed_up),
		cmocka_unit_test(a_full_file_can_be_tidied_and_goes_on),
		cmocka_unit_test(an_old_day_is_kept_when_its_touch_goes),
		cmocka_unit_test(facts_that_were_lost_do_not_take_new_ones_along),
		cmocka_unit_test(no_database_is_standard_error),
		cmocka_unit_test(the_lock_file_has_no_holes),
		cmocka_unit_test(how_consent_was_given_outlives_its_touch),
		cmocka_unit_test(of_one_moment_the_stricter_consent_is_kept_and_the_first_word),
		cmocka_unit_test(a_source_is_cut_between_characters),
		cmocka_unit_test(every_word_leaves_a_line_of_history),
		cmocka_unit_test(a_hold_keeps_its_end_when_its_touch_goes),
		cmocka_unit_test(a_limit_that_another_process_raised_is_ours_when_we_need_it),
		cmocka_unit_test(a_limit_is_changed_while_everybody_goes_on),
		cmocka_unit_test(a_failing_disk_that_recovers),
		cmocka_unit_test(locks_elsewhere_are_the_same_for_all),
		cmocka_unit_test(locks_of_who_knows_no_lock_dir_are_seen),
		cmocka_unit_test(locks_that_were_removed_are_not_made_anew),
		cmocka_unit_test(touches_from_the_future_hold_up_nothing),
		cmocka_unit_test(what_is_held_is_listed_until_it_is_not),
	};

	if (argc == 3 && strcmp(argv[1], "grow") == 0)
		return grow(argv[2]);
	if (argc == 4 && strcmp(argv[1], "limit") == 0)
		return raise_limit(argv[2]);
	if (argc == 4 && strcmp(argv[1], "upgrade") == 0) {
		set_schema(argv[2], "state.mdb", 8);
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "open") == 0)
		return open_with(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
