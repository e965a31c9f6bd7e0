/* store_env.c -- one LMDB file: opened, limited, watched, and what LMDB does not forgive. */
#include "common/store_env.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/store_rows.h"

#define DEFAULT_SIZE ((uint64_t)64 << 30)
#define MAX_READERS 1024 /* LMDB's 126 run out: milter threads times processes */
#define ALONE_WITHIN_MS 1000 /* for the transactions of other threads to end */
#define REVIVE_MS 1000 /* between attempts to open a file again */
#define FULL_BYTES ((uint64_t)1 << 20) /* less than this is none */
#define ALARM_AGAIN_MS ((int64_t)3600 * 1000)

/* ---- errors ---- */

/* LMDB calls a write that was cut short an input/output error; a disk that has just filled up does that. */
static bool
is_disk_full(const struct env *e)
{
	struct statvfs fs;

	return statvfs(e->store->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

enum store_result
env_result(struct env *e, int rc, const char *doing)
{
	if (rc == EIO && is_disk_full(e))
		rc = ENOSPC;
	if (rc == 0)
		return STORE_OK;
	if (rc == MDB_NOTFOUND)
		return STORE_NONE;
	if (rc == MDB_MAP_FULL)
		atomic_store(&e->full, true);
	log_rated(&e->rate, "store: %s: cannot %s: %s", e->name, doing,
	    rc == MDB_MAP_FULL ? "the file has reached its size limit" : mdb_strerror(rc));
	return rc == MDB_MAP_FULL || rc == ENOSPC || rc == EDQUOT || rc == MDB_TXN_FULL ? STORE_FULL : STORE_ERROR;
}

bool
store_fault(struct buf *why, const char *path, const char *what)
{
	buf_addf(why, "%s: %s", path, what);
	return false;
}

/* ---- transactions ---- */

/*
 * False: somebody does not come to an end, perhaps because the disk hangs,
 * or it is this very thread, which asks from within a walk.
 */
static bool
env_alone(struct env *e)
{
	struct timespec until = clock_after(ALONE_WITHIN_MS);

	return pthread_rwlock_clockwrlock(&e->lock, CLOCK_MONOTONIC, &until) == 0;
}

void
env_close(struct env *e)
{
	for (size_t i = 0; i < SPARE_READERS; i++)
		mdb_txn_abort(atomic_exchange(&e->spare[i], NULL));
	if (e->env != NULL)
		mdb_env_close(e->env);
	e->env = NULL;
	/* What is known as of one of its transactions says nothing of a file that comes in its place. */
	atomic_store(&e->store->none_stopped, 0);
	atomic_store(&e->store->none_consented, 0);
}

/* With no transaction open.  Size 0: as large as whoever wrote last has it.  Never smaller than what is in use. */
static int
env_resize(struct env *e, uint64_t size)
{
	MDB_envinfo info;
	int rc;

	if ((rc = mdb_env_set_mapsize(e->env, size)) != 0) {
		env_close(e); /* it may have no map any more, and would not notice */
		return rc;
	}
	if ((rc = mdb_env_info(e->env, &info)) == 0)
		e->limit = info.me_mapsize;
	return rc;
}

/* Another process made the file larger than our map: follow. */
static int
follow_size(struct env *e)
{
	int rc = MDB_PANIC;

	if (!env_alone(e))
		return MDB_MAP_RESIZED;
	if (e->env != NULL)
		rc = env_resize(e, 0);
	pthread_rwlock_unlock(&e->lock);
	return rc;
}

static bool env_revive(struct env *);

static int
begin(struct env *e, unsigned flags, MDB_txn **txn)
{
	int rc;

	if (e->env == NULL)
		return MDB_PANIC;
	for (size_t i = 0; flags == MDB_RDONLY && i < SPARE_READERS; i++) {
		if (atomic_load_explicit(&e->spare[i], memory_order_relaxed) == NULL ||
		    (*txn = atomic_exchange(&e->spare[i], NULL)) == NULL)
			continue;
		if ((rc = mdb_txn_renew(*txn)) != 0)
			mdb_txn_abort(*txn);
		return rc;
	}
	return mdb_txn_begin(e->env, NULL, flags, txn);
}

int
env_begin(struct env *e, unsigned flags, MDB_txn **txn)
{
	int rc = 0, dead;

	for (int tries = 0; tries < 3; tries++) {
		pthread_rwlock_rdlock(&e->lock);
		if ((rc = begin(e, flags, txn)) == 0)
			return 0;
		if (rc == MDB_READERS_FULL)
			mdb_reader_check(e->env, &dead);
		pthread_rwlock_unlock(&e->lock);
		if (rc == MDB_MAP_RESIZED)
			rc = follow_size(e);
		else if (rc == MDB_PANIC)
			rc = env_revive(e) ? 0 : MDB_PANIC;
		else if (rc == MDB_READERS_FULL)
			rc = 0;
		if (rc != 0)
			return rc;
	}
	return MDB_READERS_FULL;
}

void
env_end(struct env *e, MDB_txn *txn)
{
	mdb_txn_abort(txn);
	pthread_rwlock_unlock(&e->lock);
}

void
env_rest(struct env *e, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	for (size_t i = 0; i < SPARE_READERS && txn != NULL; i++) {
		MDB_txn *none = NULL;

		if (atomic_compare_exchange_strong(&e->spare[i], &none, txn))
			txn = NULL;
	}
	if (txn != NULL)
		mdb_txn_abort(txn);
	pthread_rwlock_unlock(&e->lock);
}

bool
env_is_as_of(struct env *e, uint64_t txn)
{
	MDB_envinfo info = { 0 };

	if (txn == 0)
		return false;
	pthread_rwlock_rdlock(&e->lock);
	mdb_env_info(e->env, &info);
	pthread_rwlock_unlock(&e->lock);
	return info.me_last_txnid == txn;
}

int
env_commit(struct env *e, MDB_txn *txn)
{
	int rc = mdb_txn_commit(txn);

	pthread_rwlock_unlock(&e->lock);
	return rc;
}

/* ---- open and close ---- */

static int
open_tables(struct store *s, struct env *e, const struct table *t, unsigned txn_flags, unsigned dbi_flags)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(e, txn_flags, &txn)) != 0)
		return rc;
	for (; t->name != NULL && rc == 0; t++)
		rc = mdb_dbi_open(txn, t->name, dbi_flags, (MDB_dbi *)((char *)s + t->dbi));
	if (rc == 0)
		return env_commit(e, txn); /* a read transaction must be committed too, or the handles are lost */
	env_end(e, txn);
	return rc;
}

static MDB_dbi
env_meta(const struct env *e)
{
	return *(const MDB_dbi *)((const char *)e->store + e->meta);
}

/* Sums of an older kind are emptied: they come back from the facts. */
static int
empty_tables(struct env *e, MDB_txn *txn)
{
	int rc = 0;

	for (const struct table *t = e->tables; t->name != NULL && rc == 0; t++)
		rc = mdb_drop(txn, *(MDB_dbi *)((char *)e->store + t->dbi), 0);
	return rc;
}

static uint64_t
our_schema(const struct env *e)
{
	return e == &e->store->state ? STATE_SCHEMA : FACTS_SCHEMA;
}

static bool
is_older(const struct env *e, uint64_t schema)
{
	return e == &e->store->state && schema > 0 && schema < our_schema(e);
}

/* Is it so old that its sums are of no use? */
static bool
is_useless(const struct env *e, uint64_t schema)
{
	return is_older(e, schema) && schema < STATE_READ;
}

/*
 * Makes a new file ours, or an older one.  What was looked at before is
 * looked at again under the lock: of two programs that start at once the
 * second one would else throw away what the first one has summed up anew.
 */
static int
make_ours(struct env *e)
{
	uint64_t schema = 0;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(e, 0, &txn)) != 0)
		return rc;
	if ((rc = meta_get(txn, env_meta(e), "schema", &schema)) != 0 || (schema != 0 && !is_older(e, schema))) {
		env_end(e, txn);
		return rc == 0 && schema != our_schema(e) ? MDB_VERSION_MISMATCH : rc;
	}
	/* What an older program did not keep an eye on is not known. */
	if ((is_useless(e, schema) && (rc = empty_tables(e, txn)) != 0) ||
	    (e == &e->store->state && (schema == 0 || is_useless(e, schema)) &&
	    (rc = meta_put(txn, env_meta(e), META_NO_CONSENTS, 1)) != 0) ||
	    (rc = meta_put(txn, env_meta(e), "schema", our_schema(e))) != 0) {
		env_end(e, txn);
		return rc;
	}
	if ((rc = env_commit(e, txn)) == 0 && schema != 0)
		log_info("store: %s is of an older version: %s", e->name,
		    is_useless(e, schema) ? "summing up anew" : "going on with its sums");
	return rc;
}

/* A file of another schema is refused, not guessed at; but sums are made anew by who may make files. */
static bool
check_schema(struct env *e, bool create, struct buf *why)
{
	uint64_t schema;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(e, MDB_RDONLY, &txn)) != 0)
		return store_fault(why, e->name, mdb_strerror(rc));
	rc = meta_get(txn, env_meta(e), "schema", &schema);
	env_end(e, txn);
	if (rc == 0 && schema == our_schema(e))
		return true;
	if (rc == 0 && schema != 0 && !(is_older(e, schema) && create)) {
		buf_addf(why, "%s: schema %llu, this program knows %llu%s", e->name, (unsigned long long)schema,
		    (unsigned long long)our_schema(e),
		    is_useless(e, schema) ? "; restart the daemons, which will sum up anew" :
		    is_older(e, schema) ? "; restart the daemons" : "");
		return false;
	}
	if (rc == 0 && !create)
		return store_fault(why, e->name, "not a store of ours");
	if (rc == 0)
		rc = make_ours(e);
	return rc == 0 || store_fault(why, e->name, mdb_strerror(rc));
}

static bool
env_prepare(struct env *e, bool create, struct buf *why)
{
	int dead, rc = open_tables(e->store, e, e->tables, MDB_RDONLY, 0);

	if (rc == MDB_NOTFOUND && create)
		rc = open_tables(e->store, e, e->tables, 0, MDB_CREATE);
	if (rc != 0)
		return store_fault(why, e->name, rc == MDB_NOTFOUND ? "not a store of this version; restart the daemons" : mdb_strerror(rc));
	/* Another thread may find the file failing again, and close it. */
	pthread_rwlock_rdlock(&e->lock);
	if (e->env != NULL)
		mdb_reader_check(e->env, &dead);
	pthread_rwlock_unlock(&e->lock);
	return check_schema(e, create, why);
}

/* The file alone, without tables: 0, or why not. */
static int
env_open(struct env *e)
{
	const struct store *s = e->store;
	char path[PATH_MAX + 32];
	int rc;

	snprintf(path, sizeof path, "%s/%s", s->lock_dir != NULL ? s->lock_dir : s->dir, e->name);
	if ((rc = locks_fill(path)) != 0)
		return rc;
	if ((rc = mdb_env_create(&e->env)) == 0 && (rc = mdb_env_set_maxreaders(e->env, MAX_READERS)) == 0 &&
	    (rc = mdb_env_set_maxdbs(e->env, MAX_TABLES)) == 0 && (rc = mdb_env_set_mapsize(e->env, e->limit)) == 0)
		rc = mdb_env_open(e->env, path, MDB_NOSUBDIR | MDB_NOTLS, 0660);
	if (rc != 0)
		env_close(e);
	return rc;
}

bool
env_start(struct env *e, bool create, struct buf *why)
{
	char path[PATH_MAX + 32];
	int rc;

	snprintf(path, sizeof path, "%s/%s", e->store->dir, e->name);
	if (!create && access(path, F_OK) != 0)
		return store_fault(why, path, errno == ENOENT ? "no such file; has a daemon ever run with this data_dir?" : strerror(errno));
	if ((rc = env_open(e)) == 0)
		return env_prepare(e, create, why);
	if (rc == MDB_INVALID && e->store->damaged) {
		e->damaged = true;
		log_error("store: %s: is damaged: %s; links work without it until it is mended and this program restarted",
		    e->name, mdb_strerror(rc));
		return true;
	}
	if (!create || !locks_may_pass(rc))
		return store_fault(why, path, mdb_strerror(rc));
	log_warn("store: %s: cannot be opened: %s; links work, nothing is recorded", e->name, mdb_strerror(rc));
	return true;
}

/*
 * After a write error that left the file's state open LMDB wants it closed
 * and opened again; the same for a file that could not be opened at all.
 * The tables get their old numbers, since they are opened in the same order.
 */
static bool
env_revive(struct env *e)
{
	int64_t now = clock_ms(), not_before = atomic_load(&e->revive_ms);
	struct buf why = BUF(1024);
	MDB_txn *txn;
	bool good;

	if (e->damaged)
		return false;
	if (now < not_before || !atomic_compare_exchange_strong(&e->revive_ms, &not_before, now + REVIVE_MS))
		return false;
	if (!env_alone(e))
		return false;
	if (e->env != NULL && mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn) == 0) {
		mdb_txn_abort(txn); /* another thread was faster */
		pthread_rwlock_unlock(&e->lock);
		return true;
	}
	env_close(e);
	good = locks_same(e) && env_open(e) == 0;
	pthread_rwlock_unlock(&e->lock);
	if (!good)
		return false;
	/* Whoever comes in between finds the tables as they were, or none, which is an error like any other. */
	if (!(good = env_prepare(e, e->store->create, &why)))
		log_warn("store: %s", buf_cstr(&why));
	else
		log_info("store: %s: opened again", e->name);
	buf_free(&why);
	return good;
}

void
env_init(struct store *s, struct env *e, const char *name, uint64_t size)
{
	pthread_rwlock_init(&e->lock, NULL);
	e->store = s;
	e->name = name;
	e->limit = size ? size : DEFAULT_SIZE;
}

/* ---- limits and health ---- */

/*
 * The limit is what the last daemon that was started or reloaded has in its
 * settings.  It is written down, so that the others learn of it when they
 * find the file full.  (LMDB's own record only ever grows.)  Where that
 * cannot be written the next one that can will.
 */
void
env_write_limit(struct env *e)
{
	uint64_t was;
	MDB_txn *txn;
	int rc;

	if (!e->store->create || env_begin(e, MDB_RDONLY, &txn) != 0)
		return;
	rc = meta_get(txn, env_meta(e), "limit", &was);
	env_end(e, txn);
	if (rc != 0 || was == e->limit || env_begin(e, 0, &txn) != 0)
		return;
	if (meta_put(txn, env_meta(e), "limit", e->limit) == 0)
		env_commit(e, txn);
	else
		env_end(e, txn);
}

bool
env_follow_limit(struct env *e)
{
	uint64_t limit = 0;
	bool good = false;
	MDB_txn *txn;

	if (env_begin(e, MDB_RDONLY, &txn) != 0)
		return false;
	if (meta_get(txn, env_meta(e), "limit", &limit) != 0)
		limit = 0;
	env_end(e, txn);
	if (limit <= e->limit || !env_alone(e))
		return false;
	if (e->env != NULL && limit > e->limit)
		good = env_resize(e, limit) == 0;
	pthread_rwlock_unlock(&e->lock);
	if (good)
		log_info("store: %s: may now grow to %llu MB", e->name, (unsigned long long)(limit >> 20));
	return good;
}

void
env_limit(struct env *e, uint64_t size)
{
	bool good = false;

	if (size == 0)
		size = DEFAULT_SIZE;
	if (size == e->limit)
		return;
	if (env_alone(e)) {
		if (e->env == NULL) {
			e->limit = size;
			good = true;
		} else
			good = env_resize(e, size) == 0;
		pthread_rwlock_unlock(&e->lock);
	}
	if (!good)
		log_warn("store: %s: the new limit cannot be set now; that needs a restart", e->name);
	else {
		log_info("store: %s: may now grow to %llu MB", e->name, (unsigned long long)(e->limit >> 20));
		env_write_limit(e);
	}
}

int
env_pages(MDB_txn *txn, const struct table *tables, uint64_t *pages, uint64_t *page_size)
{
	MDB_stat st;
	int rc;

	*pages = 2;
	for (MDB_dbi dbi = 0; dbi == 0 || dbi == 1 || tables[dbi - 2].name != NULL; dbi++) {
		if ((rc = mdb_stat(txn, dbi, &st)) != 0)
			return rc;
		*pages += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
	}
	*page_size = st.ms_psize;
	return 0;
}

/* The oldest of those who read. */
struct oldest {
	long pid;
	size_t txn;
};

/* mdb_reader_list tells in text: process, thread, transaction or "-". */
static int
see_reader(const char *line, void *arg)
{
	struct oldest *o = arg;
	long pid;
	size_t txn;

	if (sscanf(line, "%ld %*x %zu", &pid, &txn) == 2 && (o->pid == 0 || txn < o->txn))
		*o = (struct oldest){ pid, txn };
	return 0;
}

/* For how long the oldest reader has been at the same transaction, while others went on; in ms. */
static int64_t
see_readers(struct env *e, int64_t now)
{
	struct oldest o = { 0 };
	MDB_envinfo info;

	if (mdb_reader_list(e->env, see_reader, &o) < 0 || mdb_env_info(e->env, &info) != 0 || o.pid == 0 ||
	    o.txn >= info.me_last_txnid) {
		e->held_pid = 0;
		return 0;
	}
	if (o.pid != e->held_pid || o.txn != e->held_txn) {
		e->held_pid = o.pid;
		e->held_txn = o.txn;
		e->held_since = now;
	}
	return now - e->held_since;
}

bool
alarm_rings(struct alarm *a, bool on, int64_t now)
{
	bool rings = on && (!a->on || now >= a->next_ms);

	a->on = on;
	if (rings)
		a->next_ms = now + ALARM_AGAIN_MS;
	return rings;
}

void
env_watch(struct env *e, struct store_file *out, int64_t now)
{
	uint64_t pages, page_size;
	MDB_envinfo info;
	MDB_txn *txn;
	int64_t held;
	int dead, rc;

	*out = (struct store_file){ .limit = e->limit };
	if (env_begin(e, MDB_RDONLY, &txn) != 0)
		return;
	mdb_reader_check(e->env, &dead);
	if ((rc = env_pages(txn, e->tables, &pages, &page_size)) == 0 && (rc = mdb_env_info(e->env, &info)) == 0) {
		out->open = true;
		out->used = pages * page_size;
		out->size = (uint64_t)(info.me_last_pgno + 1) * page_size;
		out->limit = info.me_mapsize;
	}
	env_end(e, txn);
	if (rc != 0)
		return;

	pthread_rwlock_rdlock(&e->lock);
	held = e->env != NULL ? see_readers(e, now) : 0;
	pthread_rwlock_unlock(&e->lock);
	out->held_ms = held > 0 ? (uint64_t)held : 0;
	if (alarm_rings(&e->held, held > STORE_READER_LONG_MS, now))
		log_warn("store: %s: process %ld has been reading for %lld seconds; no space is freed until it goes on or ends. "
		    "Is it stopped?", e->name, e->held_pid, (long long)held / 1000);
	if (alarm_rings(&e->nearly_full, store_nearly_full(out), now))
		log_warn("store: %s: %llu of %llu MB are used; raise %s and reload", e->name, (unsigned long long)(out->used >> 20),
		    (unsigned long long)(out->limit >> 20), e == &e->store->facts ? "facts_size" : "state_size");
}

/* ---- records ---- */

int
meta_get(MDB_txn *txn, MDB_dbi dbi, const char *name, uint64_t *out)
{
	MDB_val k = val(name, strlen(name)), v;
	int rc = mdb_get(txn, dbi, &k, &v);

	*out = 0;
	if (rc == 0 && v.mv_size == 8)
		*out = get_u64(v.mv_data);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
meta_put(MDB_txn *txn, MDB_dbi dbi, const char *name, uint64_t number)
{
	unsigned char bytes[8];
	MDB_val k = val(name, strlen(name)), v = val(bytes, sizeof bytes);

	put_u64(bytes, number);
	return mdb_put(txn, dbi, &k, &v, 0);
}

int
row_get(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *arg)
{
	MDB_val k = val(key, nkey), v;
	int rc = mdb_get(txn, dbi, &k, &v);

	return rc == 0 && !take(arg, val_span(v)) ? MDB_CORRUPTED : rc;
}

enum store_result
env_lookup(struct env *e, MDB_dbi dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *arg)
{
	MDB_val k = val(key, nkey), v;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(e, MDB_RDONLY, &txn)) != 0)
		return env_result(e, rc, "read");
	if ((rc = mdb_get(txn, dbi, &k, &v)) == 0 && !take(arg, val_span(v)))
		rc = MDB_CORRUPTED;
	env_rest(e, txn);
	return env_result(e, rc, "read");
}

int
row_delete_all_of(MDB_txn *txn, MDB_dbi dbi, const struct who *w)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc;

	if ((rc = mdb_cursor_open(txn, dbi, &cursor)) != 0)
		return rc;
	do {
		k = val(w, sizeof *w);
		rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
		if (rc == 0 && !span_starts(val_span(k), span_make(w, sizeof *w)))
			rc = MDB_NOTFOUND;
	} while (rc == 0 && (rc = mdb_cursor_del(cursor, 0)) == 0);
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}
