/* store_walk.c -- all records of a table, one after the other. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/store_env.h"
#include "common/store_rows.h"

#define WALK_RENEW 1000 /* records that a walk looks at in one transaction */
#define WALK_KEY_MAX 96

struct walk {
	bool (*each)(struct walk *, struct span key, struct span value, bool *go_on); /* false: not a record of ours */
	struct span prefix;
	uintptr_t page, step; /* of the record looked at last, and how far it was from the one before; see fetch_ahead */
	bool in_order;
	void *fn_arg;
	union {
		store_person_fn *person;
		store_campaign_fn *campaign;
		store_link_fn *link;
		store_subscription_fn *subscription;
		store_touch_fn *kept;
		store_history_fn *history;
		store_carried_fn *carried;
		store_trail_fn *trail;
		store_hold_fn *hold;
		store_brake_fn *brake;
	} fn;
};

/*
 * Up to WALK_RENEW records from *key on, which is left at the last one seen.
 * A read transaction that lives long keeps every page that is replaced
 * meanwhile, so a walk gives its own up now and then.
 */
static int
walk_some(struct env *e, MDB_dbi dbi, struct walk *w, unsigned char *key, size_t *nkey, bool *go_on)
{
	MDB_val k = val(key, *nkey), v, last = k;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int rc;
	size_t seen = 0;
	bool first = true;

	if ((rc = env_begin(e, MDB_RDONLY, &txn)) != 0)
		return rc;
	if ((rc = mdb_cursor_open(txn, dbi, &cursor)) != 0) {
		env_end(e, txn);
		return rc;
	}
	rc = mdb_cursor_get(cursor, &k, &v, *nkey ? MDB_SET_RANGE : MDB_FIRST);
	for (; rc == 0 && *go_on && seen < WALK_RENEW; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT), first = false) {
		if (first && *nkey > w->prefix.n && span_eq(val_span(k), span_make(key, *nkey)))
			continue; /* the last one of the round before */
		if (w->prefix.n != 0 && !span_starts(val_span(k), w->prefix)) {
			rc = MDB_NOTFOUND;
			break;
		}
		if (k.mv_size > WALK_KEY_MAX || !w->each(w, val_span(k), val_span(v), go_on)) {
			rc = MDB_CORRUPTED;
			break;
		}
		last = k;
		seen++;
	}
	if (seen > 0) {
		*nkey = last.mv_size;
		memcpy(key, last.mv_data, *nkey);
	}
	mdb_cursor_close(cursor);
	env_end(e, txn);
	return rc;
}

static enum store_result
walk(struct env *e, MDB_dbi dbi, struct walk *w)
{
	unsigned char key[WALK_KEY_MAX];
	size_t nkey = w->prefix.n;
	bool go_on = true;
	int rc = 0;

	if (nkey)
		memcpy(key, w->prefix.p, nkey);
	while (rc == 0 && go_on)
		rc = walk_some(e, dbi, w, key, &nkey, &go_on);
	return env_result(e, rc == MDB_NOTFOUND ? 0 : rc, "read");
}

#define LINE 64
#define PAGE 4096

/*
 * Most of what a walk costs is waiting for memory, and most of that for the
 * first look into a page.  Where a store was written in the order of its keys,
 * or compacted, page follows page: then what lies one page further is asked for
 * now, and is there when its turn comes.  Elsewhere nobody can tell which page
 * comes next, and all of one is asked for as the walk gets to it.  Asking does
 * no harm, wherever it points.
 */
static void
fetch_ahead(struct walk *w, const char *record)
{
	uintptr_t at = (uintptr_t)record, page = at / PAGE * PAGE;

	if (page != w->page) {
		w->in_order = page - w->page == w->step;
		w->step = page - w->page;
		w->page = page;
		for (size_t i = 0; i < PAGE && !w->in_order; i += LINE)
			__builtin_prefetch((const void *)(page + i));
	}
	if (w->in_order)
		for (size_t i = 0; i < PROFILE_BYTES + LINE; i += LINE)
			__builtin_prefetch((const void *)(at + w->step + i - LINE));
}

static bool
each_person(struct walk *w, struct span key, struct span value, bool *go_on)
{
	const struct profile *p;
	struct profile room;

	fetch_ahead(w, value.p);
	if (key.n != sizeof(struct who) || (p = profile_at(value, &room)) == NULL)
		return false;
	*go_on = w->fn.person(w->fn_arg, (const struct who *)key.p, p);
	return true;
}

enum store_result
store_each_person(struct store *s, store_person_fn *fn, void *arg)
{
	struct walk w = { .each = each_person, .fn_arg = arg, .fn.person = fn };

	return walk(&s->state, s->people, &w);
}

enum store_result
store_each_touch(struct store *s, store_touch_fn *fn, void *arg)
{
	struct numbered *some = xcalloc(WALK_RENEW, sizeof *some);
	enum store_result r;
	uint64_t after = 0;
	bool go_on = true;
	size_t n;

	while ((r = store_touches(s, after, some, WALK_RENEW, &n)) == STORE_OK && n > 0 && go_on) {
		for (size_t i = 0; i < n && go_on; i++)
			go_on = fn(arg, &some[i].touch);
		after = some[n - 1].seq;
	}
	free(some);
	return r;
}

static bool
each_campaign(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct campaign c;

	if (key.n != 8 || !row_take_campaign(&c, value))
		return false;
	*go_on = w->fn.campaign(w->fn_arg, get_be((const unsigned char *)key.p, 8), &c);
	return true;
}

enum store_result
store_each_campaign(struct store *s, store_campaign_fn *fn, void *arg)
{
	struct walk w = { .each = each_campaign, .fn_arg = arg, .fn.campaign = fn };

	return walk(&s->state, s->counters, &w);
}

static bool
each_brake(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct brake_row row;

	if (!row_brake_unpack(&row, key, value))
		return false;
	*go_on = w->fn.brake(w->fn_arg, &row);
	return true;
}

enum store_result
store_each_brake(struct store *s, store_brake_fn *fn, void *arg)
{
	struct walk w = { .each = each_brake, .fn_arg = arg, .fn.brake = fn };

	return walk(&s->facts, s->brakes, &w);
}

/* In one short transaction: rows are few, some thousand for all the hours that there are. */
enum store_result
store_each_volume(struct store *s, uint32_t from, uint32_t to, store_volume_fn *fn, void *arg)
{
	unsigned char key[VOLUME_KEY];
	MDB_val k = val(key, sizeof key), v;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int rc;

	row_volume_key(key, from, 0, 0);
	if ((rc = env_begin(&s->state, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->state, rc, "read");
	if ((rc = mdb_cursor_open(txn, s->volumes, &cursor)) == 0) {
		for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
			const unsigned char *at = k.mv_data;
			struct volume volume;

			if (k.mv_size != VOLUME_KEY || !row_take_volume(&volume, val_span(v))) {
				rc = MDB_CORRUPTED;
				break;
			}
			if (get_be(at, 4) > to || !fn(arg, (uint32_t)get_be(at, 4), (enum volume_kind)at[4], get_be(at + 5, 8), &volume))
				break;
		}
		mdb_cursor_close(cursor);
	}
	env_end(&s->state, txn);
	return env_result(&s->state, rc == MDB_NOTFOUND ? 0 : rc, "read");
}

struct of_stream {
	uint64_t id;
	struct brake_counts *counts;
};

static bool
add_hour(void *arg, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	struct of_stream *s = arg;

	(void)hour;
	if (kind == VOLUME_STREAM && id == s->id) {
		s->counts->sent += (uint64_t)v->sent;
		s->counts->skipped += (uint64_t)v->by_class;
		s->counts->by_class += (uint64_t)v->by_class;
		s->counts->spared += (uint64_t)v->spared;
	}
	return true;
}

enum store_result
store_stream_counts(struct store *s, uint64_t stream, uint32_t hour, struct brake_counts *counts)
{
	*counts = (struct brake_counts){ 0 };
	return store_each_volume(s, hour - 24, hour, add_hour, &(struct of_stream){ stream, counts });
}

static bool
each_link(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct link_count c;

	if (key.n != LINK_KEY || !row_take_link(&c, value))
		return false;
	*go_on = w->fn.link(w->fn_arg, (uint16_t)get_be((const unsigned char *)key.p + 8, 2), &c);
	return true;
}

enum store_result
store_each_link(struct store *s, uint64_t campaign, store_link_fn *fn, void *arg)
{
	unsigned char prefix[8];
	struct walk w = { .each = each_link, .prefix = span_make(prefix, 8), .fn_arg = arg, .fn.link = fn };

	put_be(prefix, campaign, 8);
	return walk(&s->state, s->link_counters, &w);
}

static bool
each_subscription(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct subscription sub;
	struct who who;

	if (key.n != SUBSCRIPTION_KEY || !subscription_unpack(&sub, value))
		return false;
	memcpy(&who, key.p, sizeof who);
	*go_on = w->fn.subscription(w->fn_arg, &who, get_be((const unsigned char *)key.p + 16, 8), &sub);
	return true;
}

enum store_result
store_each_subscription(struct store *s, store_subscription_fn *fn, void *arg)
{
	struct walk w = { .each = each_subscription, .fn_arg = arg, .fn.subscription = fn };

	return walk(&s->state, s->subscriptions, &w);
}

enum store_result
store_each_subscription_of(struct store *s, const struct who *who, store_subscription_fn *fn, void *arg)
{
	struct walk w = {
		.each = each_subscription, .prefix = span_make(who, sizeof *who), .fn_arg = arg, .fn.subscription = fn
	};

	return walk(&s->state, s->subscriptions, &w);
}

static bool
each_trail(struct walk *w, struct span key, struct span value, bool *go_on)
{
	uint64_t campaign;
	struct trail t;
	uint32_t day;

	if (!row_trail_unkey(key, &campaign, &day) || !trail_unpack(&t, value))
		return false;
	*go_on = w->fn.trail(w->fn_arg, campaign, &t);
	trail_free(&t);
	return true;
}

enum store_result
store_each_trail_of(struct store *s, const struct who *who, store_trail_fn *fn, void *arg)
{
	struct walk w = { .each = each_trail, .prefix = span_make(who, sizeof *who), .fn_arg = arg, .fn.trail = fn };

	return walk(&s->state, s->trails, &w);
}

static bool
each_kept(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct touch t;

	if (!row_kept_unpack(&t, key, value))
		return false;
	*go_on = w->fn.kept(w->fn_arg, &t);
	return true;
}

enum store_result
store_each_kept(struct store *s, store_touch_fn *fn, void *arg)
{
	struct walk w = { .each = each_kept, .fn_arg = arg, .fn.kept = fn };

	return walk(&s->facts, s->kept, &w);
}

enum store_result
store_each_kept_of(struct store *s, const struct who *who, store_touch_fn *fn, void *arg)
{
	struct walk w = { .each = each_kept, .prefix = span_make(who, sizeof *who), .fn_arg = arg, .fn.kept = fn };

	return walk(&s->facts, s->kept, &w);
}

static bool
each_history(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct span source;
	struct touch t;

	if (!row_history_unpack(&t, &source, key, value))
		return false;
	*go_on = w->fn.history(w->fn_arg, &t, source);
	return true;
}

enum store_result
store_each_history_of(struct store *s, const struct who *who, store_history_fn *fn, void *arg)
{
	struct walk w = { .each = each_history, .prefix = span_make(who, sizeof *who), .fn_arg = arg, .fn.history = fn };

	return walk(&s->facts, s->history, &w);
}

/* ---- what is carried of those who were forgotten: campaign, or campaign and link -> counters ---- */

static bool
each_carried(struct walk *w, struct span key, struct span value, bool *go_on)
{
	const unsigned char *k = (const unsigned char *)key.p;
	struct carried c = { .campaign = get_be(k, key.n < 8 ? key.n : 8) };

	if (key.n == 8 ? !row_take_campaign(&c.sums, value) : key.n != LINK_KEY || !row_take_link(&c.link_sums, value))
		return false;
	c.of_link = key.n == LINK_KEY;
	c.link = (uint16_t)get_be(k + 8, key.n - 8);
	*go_on = w->fn.carried(w->fn_arg, &c);
	return true;
}

enum store_result
store_each_carried(struct store *s, store_carried_fn *fn, void *arg)
{
	struct walk w = { .each = each_carried, .fn_arg = arg, .fn.carried = fn };

	return walk(&s->facts, s->carried, &w);
}

enum store_result
store_carried(struct store *s, struct carried *c)
{
	unsigned char key[LINK_KEY];
	size_t n = row_carried_key(key, c);

	c->sums = (struct campaign){ 0 };
	c->link_sums = (struct link_count){ 0 };
	return c->of_link ? env_lookup(&s->facts, s->carried, key, n, row_take_link, &c->link_sums)
			  : env_lookup(&s->facts, s->carried, key, n, row_take_campaign, &c->sums);
}

static bool
each_hold(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct touch t;

	if (key.n < 1 + 1 + sizeof t.who || !touch_unpack(&t, value))
		return false;
	*go_on = w->fn.hold(w->fn_arg, span_cut(key, 0, key.n - sizeof t.who - 1), &t);
	return true;
}

enum store_result
store_each_hold(struct store *s, store_hold_fn *fn, void *arg)
{
	struct walk w = { .each = each_hold, .fn_arg = arg, .fn.hold = fn };

	return walk(&s->facts, s->holds, &w);
}
