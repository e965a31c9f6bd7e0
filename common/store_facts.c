/* store_facts.c -- what happened: the row of touches, what was said, who is held, what is stopped. */
#include <string.h>

#include "common/codec.h"
#include "common/store_env.h"
#include "common/store_rows.h"

#define TRY_PAGES 16 /* room for this much is enough to go on */

/* ---- writing ---- */

/*
 * The last number given out.  Tidying may have removed the last touch, so
 * the row alone does not tell: everything up to "tidied" was given out too,
 * and "given" (see catch_up).
 */
int
facts_last(struct store *s, MDB_txn *txn, uint64_t *out)
{
	uint64_t given = 0;
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = meta_get(txn, s->facts_meta, "tidied", out);

	if (rc != 0 || (rc = meta_get(txn, s->facts_meta, "given", &given)) != 0 ||
	    (rc = mdb_cursor_open(txn, s->touches, &cursor)) != 0)
		return rc;
	if (given > *out)
		*out = given;
	rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);
	mdb_cursor_close(cursor);
	if (rc == 0 && k.mv_size == 8 && get_be(k.mv_data, 8) > *out)
		*out = get_be(k.mv_data, 8);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
put_first(MDB_txn *txn, MDB_dbi dbi, MDB_val k, MDB_val v)
{
	int rc = mdb_put(txn, dbi, &k, &v, MDB_NOOVERWRITE);

	return rc == MDB_KEYEXIST ? 0 : rc;
}

#define NAME_MAX_BYTES 1024
#define DESTINATION_MAX_BYTES 4096

/* campaign -> stream id, length of the stream's name, stream's name, campaign's name. */
static int
put_campaign_names(struct store *s, MDB_txn *txn, const struct record *r)
{
	unsigned char key[8], value[9 + 255 + NAME_MAX_BYTES];
	struct span stream = span_cut(r->stream, 0, 255), name = span_cut(r->campaign, 0, NAME_MAX_BYTES);

	put_be(key, r->touch.campaign, 8);
	put_u64(value, r->touch.stream);
	value[8] = (unsigned char)stream.n;
	if (stream.n)
		memcpy(value + 9, stream.p, stream.n);
	memcpy(value + 9 + stream.n, name.p, name.n);
	return put_first(txn, s->campaigns, val(key, 8), val(value, 9 + stream.n + name.n));
}

static int
put_names(struct store *s, MDB_txn *txn, const struct record *r)
{
	const struct touch *t = &r->touch;
	unsigned char key[LINK_KEY];
	int rc = 0;

	if (r->address.n && r->address.n <= NAME_MAX_BYTES && !who_is_nobody(&t->who))
		rc = put_first(txn, s->names, val(&t->who, sizeof t->who), val(r->address.p, r->address.n));
	if (rc == 0 && r->destination.n && r->destination.n <= DESTINATION_MAX_BYTES && t->campaign && t->link) {
		row_link_key(key, t->campaign, t->link);
		rc = put_first(txn, s->links, val(key, LINK_KEY), val(r->destination.p, r->destination.n));
	}
	if (rc == 0 && r->stream.n && t->stream) {
		put_be(key, t->stream, 8);
		rc = put_first(txn, s->streams, val(key, 8), val(r->stream.p, r->stream.n > 255 ? 255 : r->stream.n));
	}
	if (rc == 0 && r->campaign.n && t->campaign)
		rc = put_campaign_names(s, txn, r);
	return rc;
}

/*
 * What was said first stays, unless the same millisecond has something
 * stricter, which wins in the sums too (profile.c).
 */
static bool
is_stricter(const struct touch *t, const struct touch *before)
{
	enum consent ours = (enum consent)(t->detail & 15), theirs = (enum consent)(before->detail & 15);

	if (t->kind == TOUCH_CONSENT)
		return consent_min(theirs, ours) != theirs;
	return t->kind == TOUCH_HELD && row_holds_longer(t->sent, before->sent);
}

int
facts_put_history(struct store *s, MDB_txn *txn, const struct touch *t, struct span source)
{
	unsigned char key[HISTORY_KEY], value[HISTORY_HEAD + SOURCE_MAX];
	MDB_val k, v;
	struct touch before;
	struct span unused;
	int rc;

	if (!touch_is_said(t) || (t->kind == TOUCH_CONSENT && (t->detail >> 4 > AXIS_LINKS || (t->detail & 15) > CONSENT_GRANTED)))
		return 0;
	k = val(key, row_history_key(key, t));
	if ((rc = mdb_get(txn, s->history, &k, &v)) != 0 && rc != MDB_NOTFOUND)
		return rc;
	if (rc == 0 && row_history_unpack(&before, &unused, val_span(k), val_span(v)) && !is_stricter(t, &before))
		return 0;
	v = val(value, row_history_pack(value, t, row_cut_source(source)));
	return mdb_put(txn, s->history, &k, &v, 0);
}

/* MDB_NOTFOUND: none. */
static int
take_holds(struct store *s, MDB_txn *txn, struct span id)
{
	unsigned char key[HOLD_KEY_MAX];
	size_t n = row_hold_key(key, id);
	MDB_val k = val(key, n), v;
	MDB_cursor *cursor;
	bool some = false;
	int rc;

	if ((rc = mdb_cursor_open(txn, s->holds, &cursor)) != 0)
		return rc;
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	while (rc == 0 && span_starts(val_span(k), span_make(key, n))) {
		some = true;
		if ((rc = mdb_cursor_del(cursor, 0)) == 0)
			rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	return some ? 0 : MDB_NOTFOUND;
}

/*
 * Queue ids come again, and lines of another time are of a message that was
 * removed by hand: its recipients have no say in whether this one goes.
 */
static int
take_stale_holds(struct store *s, MDB_txn *txn, const struct record *r)
{
	unsigned char key[HOLD_KEY_MAX];
	size_t n = row_hold_key(key, r->source);
	MDB_val k = val(key, n), v;
	MDB_cursor *cursor;
	struct touch before;
	bool stale;
	int rc;

	if ((rc = mdb_cursor_open(txn, s->holds, &cursor)) != 0)
		return rc;
	/* The others are of the same time. */
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	stale = rc == 0 && span_starts(val_span(k), span_make(key, n)) && touch_unpack(&before, val_span(v)) && before.when != r->touch.when;
	mdb_cursor_close(cursor);
	if (stale)
		rc = take_holds(s, txn, r->source);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
put_hold(struct store *s, MDB_txn *txn, const struct record *r)
{
	unsigned char key[HOLD_KEY_MAX], bytes[TOUCH_BYTES];
	MDB_val k, v = val(bytes, sizeof bytes);
	size_t n;
	int rc;

	if (r->touch.kind != TOUCH_SKIPPED || !(r->touch.flags & TOUCH_ON_HOLD) || !row_hold_id_good(r->source))
		return 0;
	if ((rc = take_stale_holds(s, txn, r)) != 0)
		return rc;
	n = row_hold_key(key, r->source);
	memcpy(key + n, &r->touch.who, sizeof r->touch.who);
	k = val(key, n + sizeof r->touch.who);
	touch_pack(&r->touch, bytes);
	return mdb_put(txn, s->holds, &k, &v, 0);
}

static int
put_touch(struct store *s, MDB_txn *txn, uint64_t seq, const struct touch *t)
{
	unsigned char key[8], bytes[TOUCH_BYTES];
	MDB_val k = val(key, sizeof key), v = val(bytes, sizeof bytes);

	put_be(key, seq, 8);
	touch_pack(t, bytes);
	return mdb_put(txn, s->touches, &k, &v, MDB_APPEND);
}

/* Is there room beside what touches leave alone (store_reserve), counted in pages that hold something as of txn, and `more` besides? */
static int
keep_reserve(struct store *s, MDB_txn *txn, uint64_t more)
{
	uint64_t used, page_size;
	MDB_envinfo info;
	int rc;

	if ((rc = mdb_env_info(s->facts.env, &info)) != 0 || (rc = env_pages(txn, s->facts.tables, &used, &page_size)) != 0)
		return rc;
	return (used + more) * page_size + store_reserve(info.me_mapsize) > info.me_mapsize ? MDB_MAP_FULL : 0;
}

/* *seq is the last number given out, before and after. */
static int
put_records(struct store *s, MDB_txn *txn, const struct record *r, size_t n, uint64_t *seq)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		if ((rc = put_names(s, txn, &r[i])) == 0 && r[i].touch.kind != 0 &&
		    (rc = facts_put_history(s, txn, &r[i].touch, r[i].source)) == 0 && (rc = put_hold(s, txn, &r[i])) == 0)
			rc = put_touch(s, txn, ++*seq, &r[i].touch);
	}
	return rc;
}

static int
append(struct store *s, const struct record *r, size_t n, uint64_t *seq, uint64_t journal, uint64_t from, uint64_t upto)
{
	char name[MARK_NAME];
	uint64_t mark = 0;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return rc;
	/* Read inside the transaction, so that numbers follow commit order and a fold misses no late-comer. */
	rc = facts_last(s, txn, seq);
	/*
	 * Here, and not before: who only reads does not see the last commit of a
	 * process that was killed in it until the next one has the write lock.
	 */
	if (rc == 0 && upto > 0 && (rc = meta_get(txn, s->facts_meta, row_mark_name(name, journal), &mark)) == 0 && mark > from)
		rc = MDB_NOTFOUND;
	if (rc == 0)
		rc = put_records(s, txn, r, n, seq);
	if (rc == 0 && upto > 0)
		rc = meta_put(txn, s->facts_meta, row_mark_name(name, journal), upto);
	if (rc == 0)
		rc = keep_reserve(s, txn, 0);
	if (rc == 0)
		return env_commit(&s->facts, txn);
	env_end(&s->facts, txn);
	return rc;
}

/* Somebody may have raised the limit meanwhile. */
static enum store_result
append_all(struct store *s, const struct record *r, size_t n, uint64_t *last, uint64_t journal, uint64_t from, uint64_t upto)
{
	uint64_t seq;
	int rc = append(s, r, n, &seq, journal, from, upto);

	if (rc == MDB_MAP_FULL && env_follow_limit(&s->facts))
		rc = append(s, r, n, &seq, journal, from, upto);
	if (rc == 0 && last != NULL)
		*last = seq;
	return env_result(&s->facts, rc, "write");
}

enum store_result
store_append(struct store *s, const struct record *r, size_t n, uint64_t *last)
{
	return append_all(s, r, n, last, 0, 0, 0);
}

enum store_result
store_append_from(struct store *s, const struct record *r, size_t n, uint64_t journal, uint64_t from, uint64_t upto)
{
	return append_all(s, r, n, NULL, journal, from, upto);
}

/* Into the reserve, if need be: the message is on its way already. */
static int
unhold(struct store *s, struct span id, const struct record *r, size_t n)
{
	uint64_t seq;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return rc;
	if ((rc = facts_last(s, txn, &seq)) == 0 && (rc = take_holds(s, txn, id)) == 0 &&
	    (rc = put_records(s, txn, r, n, &seq)) == 0)
		return env_commit(&s->facts, txn);
	env_end(&s->facts, txn);
	return rc;
}

enum store_result
store_unhold(struct store *s, struct span id, const struct record *r, size_t n)
{
	int rc;

	if (!row_hold_id_good(id))
		return STORE_NONE;
	rc = unhold(s, id, r, n);
	if (rc == MDB_MAP_FULL && env_follow_limit(&s->facts))
		rc = unhold(s, id, r, n);
	return env_result(&s->facts, rc, "write");
}

enum store_result
store_mark(struct store *s, uint64_t journal, uint64_t *upto)
{
	char name[MARK_NAME];
	MDB_txn *txn;
	int rc;

	*upto = 0;
	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->facts, rc, "read");
	rc = meta_get(txn, s->facts_meta, row_mark_name(name, journal), upto);
	env_end(&s->facts, txn);
	return env_result(&s->facts, rc, "read");
}

/* The same number over and over: a page and its way up are written and flushed all the same. */
static int
try(struct store *s)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return rc;
	if ((rc = meta_put(txn, s->facts_meta, "tried", 1)) == 0 && (rc = keep_reserve(s, txn, TRY_PAGES)) == 0)
		return env_commit(&s->facts, txn);
	env_end(&s->facts, txn);
	return rc;
}

enum store_result
store_try(struct store *s)
{
	int rc = try(s);

	if (rc == MDB_MAP_FULL && env_follow_limit(&s->facts))
		rc = try(s);
	return env_result(&s->facts, rc, "write");
}

/* ---- stopped campaigns: campaign -> since when, in milliseconds ---- */

enum store_result
store_stop_campaign(struct store *s, uint64_t campaign, int64_t when)
{
	unsigned char key[8], bytes[8];
	MDB_val k = val(key, sizeof key), v = val(bytes, sizeof bytes);
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return env_result(&s->facts, rc, "write");
	put_be(key, campaign, 8);
	put_u64(bytes, (uint64_t)when);
	/* Into the reserve, if need be: a full store must not keep dangerous links alive. */
	rc = when != 0 ? mdb_put(txn, s->stopped, &k, &v, MDB_NOOVERWRITE) : mdb_del(txn, s->stopped, &k, NULL);
	if (rc == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == MDB_KEYEXIST ? STORE_NONE : env_result(&s->facts, rc, "write");
}

enum store_result
store_stopped(struct store *s, uint64_t campaign, int64_t *when)
{
	unsigned char key[8];
	MDB_val k = val(key, sizeof key), v;
	MDB_stat st = { 0 };
	MDB_txn *txn;
	int rc;

	*when = 0;
	if (env_is_as_of(&s->facts, atomic_load(&s->none_stopped)))
		return STORE_NONE;
	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->facts, rc, "read");
	put_be(key, campaign, 8);
	if ((rc = mdb_get(txn, s->stopped, &k, &v)) == 0 && v.mv_size == 8)
		*when = (int64_t)get_u64(v.mv_data);
	else if (rc == MDB_NOTFOUND && mdb_stat(txn, s->stopped, &st) == 0 && st.ms_entries == 0)
		atomic_store(&s->none_stopped, mdb_txn_id(txn));
	env_end(&s->facts, txn);
	return env_result(&s->facts, rc, "read");
}

/* ---- brakes: kind, id -> since and until when, in milliseconds, and who ---- */

static int
put_brake(struct store *s, MDB_txn *txn, const struct brake_row *row, unsigned flags)
{
	unsigned char key[BRAKE_KEY], value[BRAKE_HEAD + SOURCE_MAX];
	struct span by = row_cut_source(row->by);
	MDB_val k = val(key, sizeof key), v = val(value, BRAKE_HEAD + by.n);

	row_brake_key(key, row->kind, row->id);
	put_u64(value, (uint64_t)row->since);
	put_u64(value + 8, (uint64_t)row->lifted);
	if (by.n > 0)
		memcpy(value + BRAKE_HEAD, by.p, by.n);
	return mdb_put(txn, s->brakes, &k, &v, flags);
}

/* Into the reserve, if need be, as with stopped campaigns. */
static enum store_result
end_brake_write(struct store *s, MDB_txn *txn, int rc)
{
	if (rc == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == MDB_KEYEXIST ? STORE_NONE : env_result(&s->facts, rc, "write");
}

enum store_result
store_brake(struct store *s, const struct brake_row *row, bool again)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return env_result(&s->facts, rc, "write");
	return end_brake_write(s, txn, put_brake(s, txn, row, again ? 0 : MDB_NOOVERWRITE));
}

enum store_result
store_lift_brake(struct store *s, uint8_t kind, uint64_t id, int64_t when, struct span by)
{
	unsigned char key[BRAKE_KEY];
	MDB_val k = val(key, sizeof key), v;
	struct brake_row row;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return env_result(&s->facts, rc, "write");
	row_brake_key(key, kind, id);
	if ((rc = mdb_get(txn, s->brakes, &k, &v)) == 0) {
		if (!row_brake_unpack(&row, val_span(k), val_span(v)))
			rc = MDB_CORRUPTED;
		else if (row.lifted != 0)
			rc = MDB_NOTFOUND;
	}
	row.lifted = when;
	row.by = by;
	return end_brake_write(s, txn, rc == 0 ? put_brake(s, txn, &row, 0) : rc);
}

enum store_result
store_end_brake(struct store *s, uint8_t kind, uint64_t id)
{
	unsigned char key[BRAKE_KEY];
	MDB_val k = val(key, sizeof key);
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return env_result(&s->facts, rc, "write");
	row_brake_key(key, kind, id);
	return end_brake_write(s, txn, mdb_del(txn, s->brakes, &k, NULL));
}

/* ---- reading ---- */

enum store_result
store_touches(struct store *s, uint64_t after, struct numbered *out, size_t max, size_t *n)
{
	unsigned char key[8];
	MDB_cursor *cursor;
	MDB_val k = val(key, sizeof key), v;
	MDB_txn *txn;
	int rc;

	*n = 0;
	if (after == UINT64_MAX)
		return STORE_OK;
	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->facts, rc, "read");
	put_be(key, after + 1, 8);
	if ((rc = mdb_cursor_open(txn, s->touches, &cursor)) == 0) {
		for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && *n < max;
		     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
			out[*n].seq = get_be(k.mv_data, 8);
			/* One of a newer program: it keeps its place and counts for nothing here. */
			if (!touch_unpack(&out[*n].touch, val_span(v)))
				out[*n].touch = (struct touch){ 0 };
			(*n)++;
		}
		mdb_cursor_close(cursor);
	}
	env_end(&s->facts, txn);
	return env_result(&s->facts, rc == MDB_NOTFOUND ? 0 : rc, "read");
}

/* The one behind the last one is mostly the next: that costs a fraction of a search. */
static int
seek_touch(MDB_cursor *cursor, uint64_t seq, bool next, MDB_val *v)
{
	unsigned char key[8];
	MDB_val k = val(key, sizeof key);

	if (next && mdb_cursor_get(cursor, &k, v, MDB_NEXT) == 0 && k.mv_size == 8 && get_be(k.mv_data, 8) == seq)
		return 0;
	put_be(key, seq, 8);
	k = val(key, sizeof key);
	return mdb_cursor_get(cursor, &k, v, MDB_SET);
}

enum store_result
store_touches_at(struct store *s, struct numbered *t, size_t n)
{
	MDB_cursor *cursor;
	MDB_txn *txn;
	MDB_val v;
	int rc;

	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return env_result(&s->facts, rc, "read");
	if ((rc = mdb_cursor_open(txn, s->touches, &cursor)) == 0) {
		for (size_t i = 0; i < n && (rc == 0 || rc == MDB_NOTFOUND); i++) {
			rc = seek_touch(cursor, t[i].seq, i > 0 && rc == 0 && t[i - 1].seq + 1 == t[i].seq, &v);
			if (rc != 0 || !touch_unpack(&t[i].touch, val_span(v)))
				t[i].touch = (struct touch){ 0 };
		}
		mdb_cursor_close(cursor);
	}
	env_end(&s->facts, txn);
	return env_result(&s->facts, rc == MDB_NOTFOUND ? 0 : rc, "read");
}

uint64_t
store_last(struct store *s)
{
	uint64_t seq = 0;
	MDB_txn *txn;

	if (env_begin(&s->facts, MDB_RDONLY, &txn) != 0)
		return 0;
	if (facts_last(s, txn, &seq) != 0)
		seq = 0;
	env_end(&s->facts, txn);
	return seq;
}

static bool
take_bytes(void *arg, struct span bytes)
{
	buf_add(arg, bytes);
	return true;
}

enum store_result
store_name(struct store *s, const struct who *w, struct buf *out)
{
	return env_lookup(&s->facts, s->names, w, sizeof *w, take_bytes, out);
}

enum store_result
store_destination(struct store *s, uint64_t campaign, uint16_t link, struct buf *out)
{
	unsigned char key[LINK_KEY];

	row_link_key(key, campaign, link);
	return env_lookup(&s->facts, s->links, key, sizeof key, take_bytes, out);
}

enum store_result
store_stream_name(struct store *s, uint64_t stream, struct buf *out)
{
	unsigned char key[8];

	put_be(key, stream, 8);
	return env_lookup(&s->facts, s->streams, key, sizeof key, take_bytes, out);
}

struct two_names {
	struct buf *stream, *name;
};

static bool
take_names(void *arg, struct span v)
{
	struct two_names *out = arg;
	size_t n;

	if (v.n < 9 || v.n < 9 + (n = (unsigned char)v.p[8]))
		return false;
	if (out->stream != NULL)
		buf_add(out->stream, span_cut(v, 9, 9 + n));
	if (out->name != NULL)
		buf_add(out->name, span_from(v, 9 + n));
	return true;
}

enum store_result
store_campaign_names(struct store *s, uint64_t campaign, struct buf *stream, struct buf *name)
{
	struct two_names out = { stream, name };
	unsigned char key[8];

	put_be(key, campaign, 8);
	return env_lookup(&s->facts, s->campaigns, key, sizeof key, take_names, &out);
}

struct wanted_source {
	const struct touch *touch;
	struct span key;
	struct buf *out;
	bool found;
};

static bool
take_source(void *arg, struct span v)
{
	struct wanted_source *w = arg;
	struct span source;
	struct touch t;

	if (!row_history_unpack(&t, &source, w->key, v))
		return false;
	/* Of one moment the stricter one is there, and the other's source is gone. */
	if ((w->found = t.kind != TOUCH_CONSENT || t.detail == w->touch->detail))
		buf_add(w->out, source);
	return true;
}

enum store_result
store_source(struct store *s, const struct touch *t, struct buf *out)
{
	unsigned char key[HISTORY_KEY];
	struct wanted_source w = { t, span_make(key, row_history_key(key, t)), out, false };
	enum store_result r = env_lookup(&s->facts, s->history, key, w.key.n, take_source, &w);

	return r == STORE_OK && !w.found ? STORE_NONE : r;
}

static bool
take_brake(void *arg, struct span v)
{
	struct brake_row *row = arg;
	const unsigned char key[BRAKE_KEY] = { 0 };
	uint8_t kind = row->kind;
	uint64_t id = row->id;
	bool good = row_brake_unpack(row, span_make(key, sizeof key), v);

	row->kind = kind;
	row->id = id;
	row->by = SPAN("");
	return good;
}

enum store_result
store_get_brake(struct store *s, uint8_t kind, uint64_t id, struct brake_row *row)
{
	unsigned char key[BRAKE_KEY];

	*row = (struct brake_row){ .kind = kind, .id = id };
	row_brake_key(key, kind, id);
	return env_lookup(&s->facts, s->brakes, key, sizeof key, take_brake, row);
}

enum store_result
store_stops(struct store *s, uint64_t campaign, enum brake *which, int64_t *since)
{
	enum store_result r = STORE_NONE;
	struct brake_row row;

	*which = BRAKE_NONE;
	*since = 0;
	for (enum brake b = BRAKE_NONE; b < BRAKES; b++) {
		if (!brake_stops(b))
			continue;
		if ((r = store_get_brake(s, (uint8_t)b, campaign, &row)) > STORE_NONE)
			return r;
		if (r == STORE_OK && row.lifted == 0) {
			*which = b;
			*since = row.since;
			return STORE_OK;
		}
	}
	if ((r = store_stopped(s, campaign, since)) == STORE_OK)
		*which = BRAKE_HAND;
	return r;
}
