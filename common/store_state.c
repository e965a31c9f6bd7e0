/* store_state.c -- what the facts add up to: read by all, written by the fold. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec.h"
#include "common/mem.h"
#include "common/store_env.h"
#include "common/store_rows.h"

/* Names in the meta table. */
#define SWEEP_META "sweep"
#define RULES_META "rules"
#define REJUDGED_META "rejudged"
#define ERASED_META "erased"

/* ---- reading ---- */

enum store_result
store_profile(struct store *s, const struct who *w, struct profile *p)
{
	return env_lookup(&s->state, s->people, w, sizeof *w, row_take_profile, p);
}

/* No transaction has this number.  It stays: a state that is summed up anew hears of the same people again. */
#define SOMEBODY_SPOKE UINT64_MAX

bool
store_no_consents(struct store *s)
{
	uint64_t as_of = atomic_load(&s->none_consented), none = 0;
	MDB_txn *txn;
	int rc;

	if (as_of == SOMEBODY_SPOKE)
		return false;
	if (env_is_as_of(&s->state, as_of))
		return true;
	if (env_begin(&s->state, MDB_RDONLY, &txn) != 0)
		return false;
	if ((rc = meta_get(txn, s->state_meta, META_NO_CONSENTS, &none)) == 0)
		atomic_store(&s->none_consented, none == 1 ? mdb_txn_id(txn) : SOMEBODY_SPOKE);
	env_end(&s->state, txn);
	return rc == 0 && none == 1;
}

enum store_result
store_past(struct store *s, const struct who *w, struct profile *p)
{
	return env_lookup(&s->state, s->past, w, sizeof *w, row_take_past, p);
}

enum store_result
store_subscription(struct store *s, const struct who *w, uint64_t stream, struct subscription *out)
{
	unsigned char key[SUBSCRIPTION_KEY];

	row_subscription_key(key, w, stream);
	return env_lookup(&s->state, s->subscriptions, key, sizeof key, row_take_subscription, out);
}

enum store_result
store_view(struct store *s, struct store_view *view)
{
	MDB_txn *txn = NULL;
	int rc = env_begin(&s->state, MDB_RDONLY, &txn);

	view->txn = rc == 0 ? txn : NULL;
	return env_result(&s->state, rc, "read");
}

void
store_view_end(struct store *s, struct store_view *view)
{
	if (view->txn != NULL)
		env_rest(&s->state, view->txn);
	view->txn = NULL;
}

enum store_result
store_view_person(struct store *s, const struct store_view *view, const struct who *w, uint64_t stream, const struct profile **p,
    struct profile *room, const struct subscription **sub, struct subscription *subroom)
{
	unsigned char key[SUBSCRIPTION_KEY];
	MDB_val k = val(w, sizeof *w), v;
	int rc = mdb_get(view->txn, s->people, &k, &v);

	*p = NULL;
	*sub = NULL;
	if (rc == 0 && (*p = profile_at(val_span(v), room)) == NULL)
		rc = MDB_CORRUPTED;
	/* Most people never said a word about a single stream, and one lookup is half of the work. */
	if (rc == 0 && (*p)->streams) {
		row_subscription_key(key, w, stream);
		if ((rc = row_get(view->txn, s->subscriptions, key, sizeof key, row_take_subscription, subroom)) == 0)
			*sub = subroom;
	}
	return env_result(&s->state, rc == MDB_NOTFOUND ? 0 : rc, "read");
}

enum store_result
store_person(struct store *s, const struct who *w, uint64_t stream, struct profile *p, bool *known,
    struct subscription *sub, bool *subscribed)
{
	const struct subscription *subscription = NULL;
	const struct profile *profile = NULL;
	struct store_view view;
	enum store_result r;

	if ((r = store_view(s, &view)) == STORE_OK)
		r = store_view_person(s, &view, w, stream, &profile, p, &subscription, sub);
	*known = profile != NULL;
	*subscribed = subscription != NULL;
	if (!*known)
		*p = (struct profile){ 0 };
	else if (profile != p)
		*p = *profile;
	if (!*subscribed)
		*sub = (struct subscription){ 0 };
	store_view_end(s, &view);
	return r;
}

enum store_result
store_campaign(struct store *s, uint64_t campaign, struct campaign *out)
{
	unsigned char key[8];

	put_be(key, campaign, 8);
	return env_lookup(&s->state, s->counters, key, sizeof key, row_take_campaign, out);
}

enum store_result
store_link(struct store *s, uint64_t campaign, uint16_t link, struct link_count *out)
{
	unsigned char key[LINK_KEY];

	row_link_key(key, campaign, link);
	return env_lookup(&s->state, s->link_counters, key, sizeof key, row_take_link, out);
}

enum store_result
store_sweep(struct store *s, uint64_t *folded, struct sweep *sweep)
{
	MDB_txn *txn;
	int rc;

	*folded = 0;
	*sweep = (struct sweep){ 0 };
	if ((rc = env_begin(&s->state, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->state, rc, "read");
	if ((rc = meta_get(txn, s->state_meta, "folded", folded)) == 0)
		rc = row_get(txn, s->state_meta, SWEEP_META, sizeof SWEEP_META - 1, row_take_sweep, sweep);
	env_end(&s->state, txn);
	return env_result(&s->state, rc, "read");
}

uint64_t
store_folded(struct store *s)
{
	uint64_t folded = 0;
	MDB_txn *txn;

	if (env_begin(&s->state, MDB_RDONLY, &txn) != 0)
		return 0;
	if (meta_get(txn, s->state_meta, "folded", &folded) != 0)
		folded = 0;
	env_end(&s->state, txn);
	return folded;
}

/* ---- folding ---- */

/*
 * LMDB keeps the pages that a transaction changed in one sorted list, and
 * pages that are reused come in any order: with 100,000 of them most of the
 * time goes into shifting that list.  So a long fold is a row of child
 * transactions, each with a short list of its own, which are merged in order.
 */
#define STEP 4096 /* records in one child */

struct fold_txn {
	struct store *store;
	MDB_txn *whole, *txn; /* txn: the child at work, or whole itself */
	size_t records;       /* since it began */
	/*
	 * Where people and trails were read last: what is read is mostly written next,
	 * and what comes next mostly lies near, so half of the searches are saved.
	 */
	bool consented; /* and the file says so */
	struct seat {
		MDB_cursor *cursor;
		unsigned char key[32];
		size_t nkey; /* of the record that the cursor is on; 0 none */
	} people, trails;
};

static_assert(TRAIL_KEY <= sizeof ((struct seat *)0)->key, "a seat has room for every key");

struct fold_txn *
fold_begin(struct store *s, uint64_t *folded)
{
	uint64_t schema;
	struct fold_txn *t;
	MDB_txn *txn;
	int rc;

	if (atomic_exchange(&s->state.full, false))
		env_follow_limit(&s->state);
	if ((rc = env_begin(&s->state, 0, &txn)) == 0) {
		/* A newer program has begun to sum up anew while we are still here: ours among its sums would be wrong for ever. */
		if ((rc = meta_get(txn, s->state_meta, "schema", &schema)) == 0 && schema != STATE_SCHEMA)
			rc = MDB_VERSION_MISMATCH;
		if (rc == 0)
			rc = meta_get(txn, s->state_meta, "folded", folded);
		if (rc != 0)
			env_end(&s->state, txn);
	}
	if (rc != 0) {
		env_result(&s->state, rc, "write");
		return NULL;
	}
	t = xmalloc(sizeof *t);
	*t = (struct fold_txn){ .store = s, .whole = txn, .txn = txn };
	return t;
}

static void
leave_seats(struct fold_txn *t)
{
	mdb_cursor_close(t->people.cursor);
	mdb_cursor_close(t->trails.cursor);
	t->people = t->trails = (struct seat){ 0 };
}

void
fold_abort(struct fold_txn *t)
{
	leave_seats(t);
	env_end(&t->store->state, t->whole); /* takes a child along */
	free(t);
}

/* The child's changes become the whole's. */
static int
end_step(struct fold_txn *t)
{
	int rc;

	leave_seats(t);
	rc = t->txn != t->whole ? mdb_txn_commit(t->txn) : 0;
	t->txn = t->whole;
	t->records = 0;
	return rc;
}

static int
next_step(struct fold_txn *t)
{
	MDB_txn *child;
	int rc = end_step(t);

	if (rc == 0 && (rc = mdb_txn_begin(t->store->state.env, t->whole, 0, &child)) == 0)
		t->txn = child;
	return rc;
}

enum store_result
fold_commit_rest(struct fold_txn *t)
{
	struct store *s = t->store;
	int rc = end_step(t);

	if (rc == 0)
		rc = env_commit(&s->state, t->whole);
	else
		env_end(&s->state, t->whole);
	free(t);
	return env_result(&s->state, rc, "write");
}

enum store_result
fold_commit(struct fold_txn *t, uint64_t folded)
{
	struct store *s = t->store;
	int rc = end_step(t);

	if (rc == 0 && (rc = meta_put(t->whole, s->state_meta, "folded", folded)) == 0)
		return fold_commit_rest(t);
	fold_abort(t);
	return env_result(&s->state, rc, "write");
}

static struct seat *
seat_of(struct fold_txn *t, MDB_dbi dbi)
{
	return dbi == t->store->people ? &t->people : dbi == t->store->trails ? &t->trails : NULL;
}

static int
take_seat(struct fold_txn *t, struct seat *seat, MDB_dbi dbi)
{
	seat->nkey = 0;
	return seat->cursor != NULL ? 0 : mdb_cursor_open(t->txn, dbi, &seat->cursor);
}

static int
get_seated(struct fold_txn *t, struct seat *seat, MDB_dbi dbi, MDB_val k, bool (*take)(void *, struct span), void *out)
{
	MDB_val key = k, v;
	int rc = take_seat(t, seat, dbi);

	if (rc != 0 || (rc = mdb_cursor_get(seat->cursor, &key, &v, MDB_SET)) != 0)
		return rc;
	if (!take(out, val_span(v)))
		return MDB_CORRUPTED;
	memcpy(seat->key, k.mv_data, k.mv_size);
	seat->nkey = k.mv_size;
	return 0;
}

static int
put_seated(struct fold_txn *t, struct seat *seat, MDB_dbi dbi, MDB_val k, MDB_val v)
{
	bool on_it = seat->nkey == k.mv_size && memcmp(seat->key, k.mv_data, k.mv_size) == 0;
	int rc = take_seat(t, seat, dbi);

	return rc != 0 ? rc : mdb_cursor_put(seat->cursor, &k, &v, on_it ? MDB_CURRENT : 0);
}

static enum store_result
fold_get(struct fold_txn *t, MDB_dbi dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *out, size_t size)
{
	struct seat *seat = seat_of(t, dbi);
	int rc = seat != NULL ? get_seated(t, seat, dbi, val(key, nkey), take, out) :
	    row_get(t->txn, dbi, key, nkey, take, out);

	if (rc != 0)
		memset(out, 0, size);
	return env_result(&t->store->state, rc, "read");
}

static enum store_result
fold_put(struct fold_txn *t, MDB_dbi dbi, const void *key, size_t nkey, const void *value, size_t n)
{
	struct seat *seat = seat_of(t, dbi);
	MDB_val k = val(key, nkey), v = val(value, n);
	int rc = 0;

	if (t->records++ == STEP)
		rc = next_step(t);
	if (rc == 0)
		rc = seat != NULL ? put_seated(t, seat, dbi, k, v) : mdb_put(t->txn, dbi, &k, &v, 0);
	return env_result(&t->store->state, rc, "write");
}

static enum store_result
fold_delete(struct fold_txn *t, MDB_dbi dbi, const void *key, size_t nkey)
{
	MDB_val k = val(key, nkey);
	int rc;

	leave_seats(t);
	rc = mdb_del(t->txn, dbi, &k, NULL);
	return env_result(&t->store->state, rc == MDB_NOTFOUND ? 0 : rc, "write");
}

enum store_result
fold_get_sweep(struct fold_txn *t, struct sweep *sweep)
{
	return fold_get(t, t->store->state_meta, SWEEP_META, sizeof SWEEP_META - 1, row_take_sweep, sweep, sizeof *sweep);
}

enum store_result
fold_put_sweep(struct fold_txn *t, const struct sweep *sweep)
{
	unsigned char bytes[SWEEP_BYTES];

	if (sweep == NULL)
		return fold_delete(t, t->store->state_meta, SWEEP_META, sizeof SWEEP_META - 1);
	row_put_sweep(bytes, sweep);
	return fold_put(t, t->store->state_meta, SWEEP_META, sizeof SWEEP_META - 1, bytes, sizeof bytes);
}

enum store_result
fold_get_person(struct fold_txn *t, const struct who *w, struct profile *p)
{
	return fold_get(t, t->store->people, w, sizeof *w, row_take_profile, p, sizeof *p);
}

/* From now on whoever wants to know has to look at each profile. */
static enum store_result
tell_consented(struct fold_txn *t)
{
	uint64_t none;
	int rc = meta_get(t->txn, t->store->state_meta, META_NO_CONSENTS, &none);

	if (rc == 0 && none != 0)
		rc = meta_put(t->txn, t->store->state_meta, META_NO_CONSENTS, 0);
	t->consented = rc == 0;
	return env_result(&t->store->state, rc, "write");
}

enum store_result
fold_put_person(struct fold_txn *t, const struct who *w, const struct profile *p)
{
	unsigned char bytes[PROFILE_BYTES];

	if (!t->consented && (profile_consent(p, AXIS_OPENS) != CONSENT_UNKNOWN || profile_consent(p, AXIS_LINKS) != CONSENT_UNKNOWN)) {
		enum store_result r = tell_consented(t);

		if (r != STORE_OK)
			return r;
	}
	profile_pack(p, bytes);
	return fold_put(t, t->store->people, w, sizeof *w, bytes, sizeof bytes);
}

enum store_result
fold_erase_person(struct fold_txn *t, const struct who *w)
{
	const MDB_dbi tables[] = { t->store->people, t->store->subscriptions, t->store->trails, t->store->past };
	int rc = 0;

	if ((t->records += STEP / 16) >= STEP)
		rc = next_step(t);
	leave_seats(t);
	for (size_t i = 0; i < sizeof tables / sizeof *tables && rc == 0; i++)
		rc = row_delete_all_of(t->txn, tables[i], w);
	return env_result(&t->store->state, rc, "write");
}

enum store_result
fold_get_subscription(struct fold_txn *t, const struct who *w, uint64_t stream, struct subscription *sub)
{
	unsigned char key[SUBSCRIPTION_KEY];

	row_subscription_key(key, w, stream);
	return fold_get(t, t->store->subscriptions, key, sizeof key, row_take_subscription, sub, sizeof *sub);
}

enum store_result
fold_put_subscription(struct fold_txn *t, const struct who *w, uint64_t stream, const struct subscription *sub)
{
	unsigned char key[SUBSCRIPTION_KEY], bytes[SUBSCRIPTION_BYTES];

	row_subscription_key(key, w, stream);
	subscription_pack(sub, bytes);
	return fold_put(t, t->store->subscriptions, key, sizeof key, bytes, sizeof bytes);
}

enum store_result
fold_get_campaign(struct fold_txn *t, uint64_t id, struct campaign *c)
{
	unsigned char key[8];

	put_be(key, id, 8);
	return fold_get(t, t->store->counters, key, sizeof key, row_take_campaign, c, sizeof *c);
}

enum store_result
fold_put_campaign(struct fold_txn *t, uint64_t id, const struct campaign *c)
{
	unsigned char key[8], bytes[CAMPAIGN_BYTES];

	put_be(key, id, 8);
	row_pack_counters(bytes, c, sizeof *c);
	return fold_put(t, t->store->counters, key, sizeof key, bytes, sizeof bytes);
}

enum store_result
fold_get_volume(struct fold_txn *t, uint32_t hour, enum volume_kind kind, uint64_t id, struct volume *v)
{
	unsigned char key[VOLUME_KEY];

	row_volume_key(key, hour, kind, id);
	return fold_get(t, t->store->volumes, key, sizeof key, row_take_volume, v, sizeof *v);
}

enum store_result
fold_put_volume(struct fold_txn *t, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	unsigned char key[VOLUME_KEY], bytes[VOLUME_BYTES];

	row_volume_key(key, hour, kind, id);
	row_pack_counters(bytes, v, sizeof *v);
	return fold_put(t, t->store->volumes, key, sizeof key, bytes, sizeof bytes);
}

static bool
found_old(void *arg, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	(void)hour, (void)kind, (void)id, (void)v;
	*(bool *)arg = true;
	return false;
}

#define DROP_MAX 1000

enum store_result
fold_drop_volumes(struct store *s, uint32_t hour)
{
	MDB_val k, v;
	MDB_cursor *cursor;
	MDB_txn *txn;
	bool any = false;
	int rc;

	/* Mostly there is nothing to do, and looking waits for nobody. */
	if (hour == 0 || store_each_volume(s, 0, hour - 1, found_old, &any) != STORE_OK || !any)
		return STORE_NONE;
	if ((rc = env_begin(&s->state, 0, &txn)) != 0)
		return env_result(&s->state, rc, "write");
	if ((rc = mdb_cursor_open(txn, s->volumes, &cursor)) != 0) {
		env_end(&s->state, txn);
		return env_result(&s->state, rc, "write");
	}
	for (size_t i = 0; i < DROP_MAX && (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST)) == 0; i++)
		if (k.mv_size != VOLUME_KEY || get_be(k.mv_data, 4) >= hour || (rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	mdb_cursor_close(cursor);
	if (rc == 0 || rc == MDB_NOTFOUND)
		rc = env_commit(&s->state, txn);
	else
		env_end(&s->state, txn);
	return env_result(&s->state, rc, "write");
}

enum store_result
fold_get_link(struct fold_txn *t, uint64_t campaign, uint16_t link, struct link_count *c)
{
	unsigned char key[LINK_KEY];

	row_link_key(key, campaign, link);
	return fold_get(t, t->store->link_counters, key, sizeof key, row_take_link, c, sizeof *c);
}

enum store_result
fold_put_link(struct fold_txn *t, uint64_t campaign, uint16_t link, const struct link_count *c)
{
	unsigned char key[LINK_KEY], bytes[LINK_BYTES];

	row_link_key(key, campaign, link);
	row_pack_counters(bytes, c, sizeof *c);
	return fold_put(t, t->store->link_counters, key, sizeof key, bytes, sizeof bytes);
}

enum store_result
fold_get_trail(struct fold_txn *t, const struct who *w, uint64_t campaign, uint32_t day, struct trail *trail)
{
	unsigned char key[TRAIL_KEY];
	size_t n = row_trail_key(key, w, campaign, day);

	*trail = (struct trail){ 0 };
	return fold_get(t, t->store->trails, key, n, row_take_trail, trail, sizeof *trail);
}

enum store_result
fold_put_trail(struct fold_txn *t, const struct who *w, uint64_t campaign, uint32_t day, const struct trail *trail)
{
	unsigned char key[TRAIL_KEY];
	size_t n = row_trail_key(key, w, campaign, day);
	char room[TRAIL_BYTES_MAX + 1];
	struct buf bytes = BUF_ON(room);

	if (trail_is_empty(trail))
		return fold_delete(t, t->store->trails, key, n);
	trail_pack(trail, &bytes);
	return fold_put(t, t->store->trails, key, n, bytes.p, bytes.n);
}

enum store_result
fold_get_past(struct fold_txn *t, const struct who *w, struct profile *p)
{
	return fold_get(t, t->store->past, w, sizeof *w, row_take_past, p, sizeof *p);
}

enum store_result
fold_put_past(struct fold_txn *t, const struct who *w, const struct profile *p)
{
	unsigned char bytes[PROFILE_HITS_BYTES];

	profile_pack_hits(p, bytes);
	return fold_put(t, t->store->past, w, sizeof *w, bytes, sizeof bytes);
}

enum store_result
fold_each_trail(struct fold_txn *t, const struct who *w, fold_trail_fn *fn, void *arg)
{
	MDB_val k = val(w, sizeof *w), v;
	MDB_cursor *cursor;
	struct trail trail;
	uint64_t campaign;
	uint32_t day;
	int rc;

	if ((rc = mdb_cursor_open(t->txn, t->store->trails, &cursor)) != 0)
		return env_result(&t->store->state, rc, "read");
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (!span_starts(val_span(k), span_make(w, sizeof *w)))
			break;
		if (!row_trail_unkey(val_span(k), &campaign, &day) || !trail_unpack(&trail, val_span(v))) {
			rc = MDB_CORRUPTED;
			break;
		}
		fn(arg, campaign, day, &trail);
		trail_free(&trail);
	}
	mdb_cursor_close(cursor);
	return env_result(&t->store->state, rc == MDB_NOTFOUND ? 0 : rc, "read");
}

enum store_result
fold_next_trail(struct fold_txn *t, struct who *who)
{
	unsigned char key[TRAIL_KEY + 1];
	MDB_val k = val(key, sizeof key), v;
	MDB_cursor *cursor;
	int rc;

	/* Behind all of this one's, and before anybody else's. */
	memset(key, 0xff, sizeof key);
	memcpy(key, who, sizeof *who);
	if ((rc = mdb_cursor_open(t->txn, t->store->trails, &cursor)) != 0)
		return env_result(&t->store->state, rc, "read");
	rc = mdb_cursor_get(cursor, &k, &v, who_is_nobody(who) ? MDB_FIRST : MDB_SET_RANGE);
	if (rc == 0 && k.mv_size < sizeof *who)
		rc = MDB_CORRUPTED;
	if (rc == 0)
		memcpy(who, k.mv_data, sizeof *who);
	mdb_cursor_close(cursor);
	return env_result(&t->store->state, rc, "read");
}

enum store_result
store_rules(struct store *s, struct rules *r)
{
	return env_lookup(&s->state, s->state_meta, RULES_META, sizeof RULES_META - 1, row_take_rules, r);
}

bool
store_rejudging(struct store *s)
{
	struct who who;

	return env_lookup(&s->state, s->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1, row_take_who, &who) == STORE_OK;
}

enum store_result
fold_get_rules(struct fold_txn *t, struct rules *r)
{
	return fold_get(t, t->store->state_meta, RULES_META, sizeof RULES_META - 1, row_take_rules, r, sizeof *r);
}

enum store_result
fold_put_rules(struct fold_txn *t, const struct rules *r)
{
	unsigned char bytes[RULES_BYTES];

	rules_pack(r, bytes);
	return fold_put(t, t->store->state_meta, RULES_META, sizeof RULES_META - 1, bytes, sizeof bytes);
}

enum store_result
fold_get_rejudged(struct fold_txn *t, struct who *from)
{
	return fold_get(t, t->store->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1, row_take_who, from, sizeof *from);
}

enum store_result
fold_put_rejudged(struct fold_txn *t, const struct who *from)
{
	if (from != NULL)
		return fold_put(t, t->store->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1, from, sizeof *from);
	return fold_delete(t, t->store->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1);
}

static bool
take_number(void *arg, struct span v)
{
	if (v.n != 8)
		return false;
	*(uint64_t *)arg = get_u64((const unsigned char *)v.p);
	return true;
}

enum store_result
fold_get_erased(struct fold_txn *t, uint64_t *number)
{
	return fold_get(t, t->store->state_meta, ERASED_META, sizeof ERASED_META - 1, take_number, number, sizeof *number);
}

enum store_result
fold_put_erased(struct fold_txn *t, uint64_t number)
{
	unsigned char bytes[8];

	put_u64(bytes, number);
	return fold_put(t, t->store->state_meta, ERASED_META, sizeof ERASED_META - 1, bytes, sizeof bytes);
}
