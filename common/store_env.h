/*
 * store_env.h -- one LMDB file, and the store that has two of them.  A part of the store: everybody else includes common/store.h.
 *
 * Codes (int) are LMDB's and errno's; env_result makes a store_result of one.
 */
#ifndef REKINDLE_STORE_ENV_H
#define REKINDLE_STORE_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/log.h"
#include "common/store.h"

#define SPARE_READERS 8
#define MAX_TABLES 16 /* in one file */

struct table {
	const char *name;
	size_t dbi; /* offset in struct store */
};

/* Something that somebody should look at: said when it begins, every hour while it lasts, and when it is over. */
struct alarm {
	bool on;
	int64_t next_ms;
};

/*
 * One LMDB file.  The lock is shared by everybody inside a transaction.  It
 * is taken alone where LMDB wants no transaction of ours open and does not
 * check: to change the map's size, and to close and open the file again after
 * a write error that LMDB does not get over by itself (MDB_PANIC).
 */
struct env {
	struct store *store;
	MDB_env *env; /* NULL: could not be opened; tried again every REVIVE_MS */
	const char *name;
	const struct table *tables;
	size_t meta;  /* offset of its meta table in struct store */
	_Atomic uint64_t limit; /* changed with the lock, looked at without */
	pthread_rwlock_t lock;
	bool damaged;              /* no database any more: nobody tries again before the next start */
	_Atomic bool full;         /* the last write found no room: another process may have raised the limit */
	_Atomic int64_t revive_ms; /* not before */
	struct log_rate rate;
	/*
	 * Read transactions that are over and may be had again: they keep their
	 * memory and their slot among the readers, but no page.
	 */
	MDB_txn *_Atomic spare[SPARE_READERS];
	struct alarm nearly_full, held;
	int64_t held_since; /* when the oldest reader was first seen at its transaction */
	long held_pid;
	size_t held_txn;
};

struct store {
	struct env facts, state;
	char *dir, *lock_dir; /* lock_dir NULL: locks are in dir */
	struct buf no_locks;  /* why, where lock_dir was asked for */
	bool create, damaged; /* as in struct store_options */
	int guard;            /* descriptor whose flock(2) says that we use dir */
	char locks[64];       /* which lock file we came with (locks_identity), "" unknown */
	struct alarm disk_low;
	pthread_mutex_t health_lock;
	struct store_health health;
	MDB_dbi touches, links, names, campaigns, streams, kept, history, stopped, carried, holds, brakes, facts_meta;
	MDB_dbi people, subscriptions, counters, link_counters, trails, past, volumes, state_meta;
	_Atomic uint64_t none_stopped;    /* as of this transaction of facts no campaign is */
	_Atomic uint64_t none_consented;  /* as of this one of state nobody has; see store_no_consents */
	_Atomic uint64_t scanned; /* touches up to here hold nothing to tidy, as far as this process knows */
};

static inline MDB_val
val(const void *p, size_t n)
{
	/* LMDB only writes through a value that it returns. */
	return (MDB_val){ n, (void *)(uintptr_t)p };
}

static inline struct span
val_span(MDB_val v)
{
	return span_make(v.mv_data, v.mv_size);
}

/* ---- a file ---- */

/* size 0: the default. */
void env_init(struct store *, struct env *, const char *name, uint64_t size);
/* Opens file and tables.  A daemon (create) goes on without a file that the disk alone keeps from it.  False with why. */
bool env_start(struct env *, bool create, struct buf *why);
/* With no transaction open. */
void env_close(struct env *);
/* Logs what went wrong; a full map or disk is STORE_FULL, MDB_NOTFOUND STORE_NONE. */
enum store_result env_result(struct env *, int rc, const char *doing);

/* ---- transactions ---- */

/* Has nothing been committed since the transaction with this number?  Takes no transaction itself. */
bool env_is_as_of(struct env *, uint64_t txn);

/* On success the lock stays shared until env_end, env_rest or env_commit, which the same thread must call. */
int env_begin(struct env *, unsigned flags, MDB_txn **);
void env_end(struct env *, MDB_txn *);
/* For a read that comes often: as env_end, and the next one begins at once. */
void env_rest(struct env *, MDB_txn *);
int env_commit(struct env *, MDB_txn *);

/* ---- limits and health ---- */

/* The new limit, and to write it down. */
void env_limit(struct env *, uint64_t size);
void env_write_limit(struct env *);
/* The file is full: has another process been told of a higher limit?  Then it is ours too, and there is room. */
bool env_follow_limit(struct env *);
/* Pages that hold something, as of txn. */
int env_pages(MDB_txn *, const struct table *, uint64_t *pages, uint64_t *page_size);
void env_watch(struct env *, struct store_file *, int64_t now);
/* Is it time for a line? */
bool alarm_rings(struct alarm *, bool on, int64_t now);

/* ---- records ---- */

/* A number by its name, 0 when there is none. */
int meta_get(MDB_txn *, MDB_dbi, const char *name, uint64_t *);
int meta_put(MDB_txn *, MDB_dbi, const char *name, uint64_t);
/* One value, handed to take() while the transaction lasts; MDB_CORRUPTED when it is none of ours. */
int row_get(MDB_txn *, MDB_dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *arg);
enum store_result env_lookup(struct env *, MDB_dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *arg);
/* Every record of a table whose key starts with who. */
int row_delete_all_of(MDB_txn *, MDB_dbi, const struct who *);

/* ---- parts of the store that others of them need ---- */

/* Adds "path: what" to why; false. */
bool store_fault(struct buf *why, const char *path, const char *what);
/* The last number given out. */
int facts_last(struct store *, MDB_txn *, uint64_t *);
int facts_put_history(struct store *, MDB_txn *, const struct touch *, struct span source);

/* store_locks.c. */
bool locks_may_pass(int rc);
int locks_fill(const char *path);
bool locks_find(struct store *, const char *parent);
bool locks_guard(struct store *, struct buf *why);
bool locks_same(struct env *);

#endif
