/* store_tidy.c -- what leaves the facts: old touches, and people who are forgotten. */
#include <string.h>

#include "common/codec.h"
#include "common/mem.h"
#include "common/store_env.h"
#include "common/store_rows.h"

/* ---- what is old ---- */

static bool
is_day_only(const struct touch *t)
{
	return t->kind == TOUCH_OPEN && t->mode == MODE_DAYONLY && !who_is_nobody(&t->who);
}

/* Must this touch be remembered when it leaves the row?  The newest of its kind, detail and stream says all. */
static bool
is_kept(const struct touch *t)
{
	return touch_is_said(t) || is_day_only(t);
}

/* Within one second the longer hold wins, as in the sums (profile.c). */
static bool
is_newer(const struct touch *t, const struct touch *than)
{
	uint32_t ours = touch_seconds(t), theirs = touch_seconds(than);

	if (t->kind == TOUCH_HELD && t->sent != than->sent)
		return ours > theirs || (ours == theirs && row_holds_longer(t->sent, than->sent));
	return t->when > than->when;
}

static int
keep(struct store *s, MDB_txn *txn, const struct touch *t)
{
	unsigned char key[KEPT_KEY], bytes[KEPT_BYTES];
	MDB_val k = val(key, sizeof key), v;
	struct touch before;
	int rc;

	row_kept_key(key, t);
	if ((rc = mdb_get(txn, s->kept, &k, &v)) != 0 && rc != MDB_NOTFOUND)
		return rc;
	if (rc == 0 && row_kept_unpack(&before, val_span(k), val_span(v)) && !is_newer(t, &before))
		return 0;
	put_u64(bytes, t->when > 0 ? (uint64_t)t->when : 0);
	put_u32(bytes + 8, t->sent);
	v = val(bytes, t->kind == TOUCH_HELD && t->sent != 0 ? KEPT_BYTES : KEPT_BYTES - 4);
	return mdb_put(txn, s->kept, &k, &v, 0);
}

/*
 * Goes over the touches in (*from, folded], at most *max of them, and counts
 * down *max.  With `change`, takes the day-only ones out; without, stops at
 * the first of them.  *found says whether there was one.
 */
static int
take_days(struct store *s, MDB_txn *txn, uint64_t *from, uint64_t folded, size_t *max, bool change, bool *found)
{
	unsigned char key[8];
	MDB_val k = val(key, sizeof key), v;
	MDB_cursor *cursor;
	struct touch t;
	uint64_t seq;
	int rc;

	*found = false;
	if ((rc = mdb_cursor_open(txn, s->touches, &cursor)) != 0)
		return rc;
	put_be(key, *from + 1, 8);
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && *max > 0;
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT), (*max)--) {
		if ((seq = get_be(k.mv_data, 8)) > folded)
			break;
		if (touch_unpack(&t, val_span(v)) && is_day_only(&t)) {
			*found = true;
			if (!change)
				break;
			if ((rc = keep(s, txn, &t)) != 0 || (rc = mdb_cursor_del(cursor, 0)) != 0)
				break;
		}
		*from = seq;
	}
	mdb_cursor_close(cursor);
	if (rc == MDB_NOTFOUND) {
		/* Numbers in between were taken out before; another process may even have got further. */
		if (*from < folded)
			*from = folded;
		rc = 0;
	}
	return rc;
}

/*
 * A touch from the future was stamped by a clock that was wrong for a while,
 * and does not tell how old it is; the first one behind it that has a sound
 * time does.  Looked for in growing steps: there may be many of them.
 */
static int
age_behind(MDB_cursor *cursor, uint64_t seq, int64_t future, int64_t *when)
{
	unsigned char key[8];
	MDB_val k = val(key, sizeof key), v;
	struct touch t;
	int rc;

	*when = INT64_MAX;
	for (uint64_t step = 1; seq + step > seq; step = step ? step * 2 : 1) {
		put_be(key, seq + step, 8);
		k = val(key, sizeof key);
		rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
		if (rc == MDB_NOTFOUND && step > 1) {
			step = 0; /* too far; small steps again */
			continue;
		}
		if (rc != 0)
			return rc == MDB_NOTFOUND ? 0 : rc;
		seq = get_be(k.mv_data, 8);
		if (touch_unpack(&t, val_span(v)) && t.when <= future) {
			*when = t.when;
			return 0;
		}
	}
	return 0;
}

/* The touches at the head that are older than `before` and summed up; without `change` only looks for one. */
static int
take_old(struct store *s, MDB_txn *txn, uint64_t folded, const struct tidy *how, size_t *max, bool change, bool *found,
    uint64_t *last)
{
	int64_t behind = 0;    /* how old a touch from the future counts as, up to the next sound one; 0: not looked at */
	MDB_cursor *cursor, *ahead;
	struct touch t;
	MDB_val k, v;
	int rc;

	*found = false;
	if ((rc = mdb_cursor_open(txn, s->touches, &cursor)) != 0)
		return rc;
	if ((rc = mdb_cursor_open(txn, s->touches, &ahead)) != 0) {
		mdb_cursor_close(cursor);
		return rc;
	}
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0 && *max > 0;
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT), (*max)--) {
		uint64_t seq = get_be(k.mv_data, 8);
		bool known = touch_unpack(&t, val_span(v));

		if (seq > folded)
			break;
		if (!known || t.when <= how->future)
			behind = 0;
		else if (behind == 0 && (rc = age_behind(ahead, seq, how->future, &behind)) != 0)
			break;
		if (known && (behind != 0 ? behind : t.when) >= how->before)
			break;
		*found = true;
		if (!change)
			break;
		*last = seq;
		if (known && is_kept(&t) && (rc = keep(s, txn, &t)) != 0)
			break;
		if ((rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	}
	mdb_cursor_close(ahead);
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Is there anything to do?  Without a write transaction, which would cost a flush every second. */
static enum store_result
tidy_look(struct store *s, uint64_t folded, const struct tidy *how, size_t max, bool *days, bool *old, bool *more)
{
	uint64_t from = atomic_load(&s->scanned), tidied, unused;
	size_t left = max;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->facts, rc, "read");
	if ((rc = meta_get(txn, s->facts_meta, "tidied", &tidied)) == 0) {
		if (from < tidied)
			from = tidied;
		rc = take_days(s, txn, &from, folded, &left, false, days);
	}
	*more = left == 0;
	left = 1;
	if (rc == 0)
		rc = take_old(s, txn, folded, how, &left, false, old, &unused);
	env_end(&s->facts, txn);
	if (rc == 0)
		atomic_store(&s->scanned, from);
	return env_result(&s->facts, rc, "read");
}

static int
tidy_do(struct store *s, MDB_txn *txn, uint64_t folded, const struct tidy *how, size_t max, bool days, bool old, bool *more)
{
	uint64_t tidied, from, last = 0;
	bool found;
	size_t left;
	int rc;

	if ((rc = meta_get(txn, s->facts_meta, "tidied", &tidied)) != 0)
		return rc;
	/* What lies between was looked at without finding any. */
	from = atomic_load(&s->scanned);
	if (from < tidied)
		from = tidied;
	if (days) {
		left = max;
		if ((rc = take_days(s, txn, &from, folded, &left, true, &found)) != 0)
			return rc;
		*more |= left == 0;
	}
	if (old) {
		left = max;
		if ((rc = take_old(s, txn, folded, how, &left, true, &found, &last)) != 0)
			return rc;
		*more |= left == 0;
	}
	if (last > from)
		from = last;
	/* In the same transaction: the numbers that were taken out must not be given out again. */
	return meta_put(txn, s->facts_meta, "tidied", from);
}

enum store_result
store_tidy(struct store *s, const struct tidy *how, size_t max, bool *more)
{
	uint64_t folded = store_folded(s);
	bool days = false, old = false;
	enum store_result r;
	MDB_txn *txn;
	int rc;

	*more = false;
	if ((r = tidy_look(s, folded, how, max, &days, &old, more)) != STORE_OK || (!days && !old))
		return r;
	for (;; max /= 8) {
		if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
			return env_result(&s->facts, rc, "write");
		if ((rc = tidy_do(s, txn, folded, how, max, days, old, more)) == 0)
			rc = env_commit(&s->facts, txn);
		else
			env_end(&s->facts, txn);
		/* With little room left: in small steps, each of which makes more. */
		if (rc != MDB_MAP_FULL || max < 8)
			break;
		*more = true;
	}
	return env_result(&s->facts, rc, "tidy");
}

/* ---- people who are forgotten ---- */

static int
erase_touches(struct store *s, MDB_txn *txn, const struct erasure *e)
{
	unsigned char key[8];
	int rc = 0;

	for (size_t i = 0; i < e->nseq && rc == 0; i++) {
		MDB_val k = val(key, sizeof key);

		put_be(key, e->seq[i], 8);
		if ((rc = mdb_del(txn, s->touches, &k, NULL)) == MDB_NOTFOUND)
			rc = 0; /* old ones are pruned meanwhile */
	}
	return rc;
}

/* There are few lines, and no other way to find those of one person. */
static int
erase_holds(struct store *s, MDB_txn *txn, const struct erasure *e)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc;

	if ((rc = mdb_cursor_open(txn, s->holds, &cursor)) != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
		bool theirs = false;

		for (size_t i = 0; i < e->n && !theirs; i++)
			theirs = span_ends(val_span(k), span_make(&e->who[i], sizeof e->who[i]));
		if (theirs && (rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
erase_people(struct store *s, MDB_txn *txn, const struct erasure *e)
{
	int rc = 0;

	for (size_t i = 0; i < e->n && rc == 0; i++)
		if ((rc = row_delete_all_of(txn, s->names, &e->who[i])) == 0 &&
		    (rc = row_delete_all_of(txn, s->kept, &e->who[i])) == 0)
			rc = row_delete_all_of(txn, s->history, &e->who[i]);
	for (size_t i = 0; i < e->nlinks && rc == 0; i++) {
		unsigned char key[LINK_KEY];
		MDB_val k = val(key, sizeof key);

		row_link_key(key, e->link[i].campaign, e->link[i].link);
		if ((rc = mdb_del(txn, s->links, &k, NULL)) == MDB_NOTFOUND)
			rc = 0;
	}
	return rc;
}

static int
put_carried(struct store *s, MDB_txn *txn, const struct carried *c)
{
	unsigned char key[LINK_KEY], bytes[CAMPAIGN_BYTES];
	MDB_val k = val(key, row_carried_key(key, c)), v = val(bytes, c->of_link ? LINK_BYTES : CAMPAIGN_BYTES);

	if (c->of_link)
		row_pack_counters(bytes, &c->link_sums, LINK_BYTES);
	else
		row_pack_counters(bytes, &c->sums, CAMPAIGN_BYTES);
	return mdb_put(txn, s->carried, &k, &v, 0);
}

#define ERASING_META "erasing" /* number, and whom it is about */

static int
put_erasing(struct store *s, MDB_txn *txn, const struct erasure *e, uint64_t number)
{
	size_t bytes = e->n * sizeof *e->who;
	MDB_val k = val(ERASING_META, sizeof ERASING_META - 1), v = { 8 + bytes, NULL };
	int rc;

	if ((rc = mdb_put(txn, s->facts_meta, &k, &v, MDB_RESERVE)) != 0)
		return rc;
	put_u64(v.mv_data, number);
	if (bytes > 0)
		memcpy((unsigned char *)v.mv_data + 8, e->who, bytes);
	return 0;
}

struct erasing {
	uint64_t number;
	struct who **who; /* NULL: not wanted */
	size_t n;
};

static bool
take_erasing(void *arg, struct span v)
{
	struct erasing *e = arg;

	if (v.n < 8 || (v.n - 8) % sizeof **e->who != 0)
		return false;
	e->number = get_u64((const unsigned char *)v.p);
	e->n = (v.n - 8) / sizeof **e->who;
	if (e->who != NULL) {
		*e->who = xcalloc(e->n + 1, sizeof **e->who);
		memcpy(*e->who, v.p + 8, v.n - 8);
	}
	return true;
}

enum store_result
store_erasing(struct store *s, uint64_t *number, struct who **who, size_t *n)
{
	struct erasing e = { .who = who };
	enum store_result r = env_lookup(&s->facts, s->facts_meta, ERASING_META, sizeof ERASING_META - 1, take_erasing, &e);

	*number = e.number;
	*n = e.n;
	return r;
}

static int
end_erasing(struct store *s, MDB_txn *txn, uint64_t number)
{
	MDB_val k = val(ERASING_META, sizeof ERASING_META - 1);
	struct erasing e = { 0 };
	int rc = row_get(txn, s->facts_meta, k.mv_data, k.mv_size, take_erasing, &e);

	if (rc != 0)
		return rc;
	return e.number == number ? mdb_del(txn, s->facts_meta, &k, NULL) : MDB_NOTFOUND;
}

enum store_result
store_erased(struct store *s, uint64_t number)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return env_result(&s->facts, rc, "write");
	if ((rc = end_erasing(s, txn, number)) == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return env_result(&s->facts, rc, "write");
}

static int
erase(struct store *s, MDB_txn *txn, const struct erasure *e, uint64_t *number)
{
	uint64_t last;
	int rc;

	if ((rc = facts_last(s, txn, &last)) != 0)
		return rc;
	if (last > e->upto)
		return MDB_BAD_TXN;
	/* The last number may be among those that go, and must not be given out again. */
	if ((rc = meta_put(txn, s->facts_meta, "given", last)) != 0 || (rc = erase_touches(s, txn, e)) != 0 ||
	    (rc = erase_people(s, txn, e)) != 0 || (rc = erase_holds(s, txn, e)) != 0)
		return rc;
	for (size_t i = 0; i < e->ncarried && rc == 0; i++)
		rc = put_carried(s, txn, &e->carried[i]);
	for (size_t i = 0; i < e->nkeep && rc == 0; i++)
		if ((rc = keep(s, txn, &e->keep[i])) == 0 && e->keep[i].kind == TOUCH_CONSENT)
			rc = facts_put_history(s, txn, &e->keep[i], e->source);
	*number = mdb_txn_id(txn);
	return rc == 0 ? put_erasing(s, txn, e, *number) : rc;
}

enum store_result
store_erase(struct store *s, const struct erasure *e, uint64_t *number)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return env_result(&s->facts, rc, "write");
	if ((rc = erase(s, txn, e, number)) == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == MDB_BAD_TXN ? STORE_MOVED : env_result(&s->facts, rc, "erase");
}
