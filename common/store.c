#include "common/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/log.h"
#include "common/mem.h"

#define FACTS_SCHEMA 1
#define STATE_SCHEMA 5 /* who knows only an older one sums up nothing into it */
#define STATE_READ 2   /* from this one on sums are gone on with; of an older one all is summed up anew */
#define DEFAULT_SIZE ((uint64_t)64 << 30)
#define MAX_READERS 1024 /* LMDB's 126 run out: milter threads times processes */
#define MAX_TABLES 16    /* in one file */
#define SPARE_READERS 8
#define WALK_RENEW 1000     /* records that a walk looks at in one transaction */
#define TRY_PAGES 16                      /* room for this much is enough to go on */
#define LOCK_BYTES (128 * 1024)           /* more than LMDB's lock file with MAX_READERS takes */
#define RESERVE_MAX ((uint64_t)256 << 20) /* more than one batch of touches can copy and add */
#define ALONE_WITHIN_MS 1000              /* for the transactions of other threads to end */
#define REVIVE_MS 1000                    /* between attempts to open a file again */
#define FULL_BYTES ((uint64_t)1 << 20)    /* less than this is none */
#define DISK_LOW ((uint64_t)1 << 30)      /* or a twentieth of a smaller disk */
#define ALARM_AGAIN_MS ((int64_t)3600 * 1000)

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
	uint64_t limit;
	pthread_rwlock_t lock;
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
	bool create;
	int guard;            /* descriptor whose flock(2) says that we use dir */
	char locks[64];       /* which lock file we came with (locks_identity), "" unknown */
	struct alarm disk_low;
	pthread_mutex_t health_lock;
	struct store_health health;
	MDB_dbi touches, links, names, campaigns, streams, kept, history, stopped, carried, holds, brakes, facts_meta;
	MDB_dbi people, subscriptions, counters, link_counters, trails, past, volumes, state_meta;
	_Atomic uint64_t none_stopped; /* as of this transaction no campaign is */
	_Atomic uint64_t scanned; /* touches up to here hold nothing to tidy, as far as this process knows */
};

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
	struct seat {
		MDB_cursor *cursor;
		unsigned char key[32];
		size_t nkey; /* of the record that the cursor is on; 0 none */
	} people, trails;
};

/* ---- numbers on disk: values little-endian (codec.h), keys big-endian so that they sort ---- */

static void
put_be(unsigned char *p, uint64_t v, size_t bytes)
{
	for (; bytes > 0; v >>= 8)
		p[--bytes] = (unsigned char)v;
}

static uint64_t
get_be(const unsigned char *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static MDB_val
val(const void *p, size_t n)
{
	/* LMDB only writes through a value that it returns. */
	return (MDB_val){ n, (void *)(uintptr_t)p };
}

static struct span
val_span(MDB_val v)
{
	return span_make(v.mv_data, v.mv_size);
}

/* ---- errors ---- */

/* LMDB calls a write that was cut short an input/output error; a disk that has just filled up does that. */
static bool
is_disk_full(const struct env *e)
{
	struct statvfs fs;

	return statvfs(e->store->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

static enum store_result
result(struct env *e, int rc, const char *doing)
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

/* With no transaction open. */
static void
env_close(struct env *e)
{
	for (size_t i = 0; i < SPARE_READERS; i++)
		mdb_txn_abort(atomic_exchange(&e->spare[i], NULL));
	if (e->env != NULL)
		mdb_env_close(e->env);
	e->env = NULL;
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

/* On success the lock stays shared until env_end, env_rest or env_commit, which the same thread must call. */
static int
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

static void
env_end(struct env *e, MDB_txn *txn)
{
	mdb_txn_abort(txn);
	pthread_rwlock_unlock(&e->lock);
}

/* For a read that comes often: as env_end, and the next one begins at once. */
static void
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

static int
env_commit(struct env *e, MDB_txn *txn)
{
	int rc = mdb_txn_commit(txn);

	pthread_rwlock_unlock(&e->lock);
	return rc;
}

/* ---- open and close ---- */

static bool
say(struct buf *why, const char *path, const char *what)
{
	buf_addf(why, "%s: %s", path, what);
	return false;
}

/*
 * A descriptor below 3 is where lines for people go.  When the program was
 * started without them, ours would be next in line, and the first log line
 * would be written over the start of a database.
 */
static bool
hold_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd) /* the lowest that is free */
			return false;
	return true;
}

/* The disk's fault, and perhaps not for ever; whatever else is wrong a person has to mend before we start. */
static bool
may_pass(int rc)
{
	return rc == EIO || rc == EROFS || rc == ENOSPC || rc == EDQUOT;
}

/*
 * LMDB's lock file is mapped memory with holes.  On a full disk a reader in
 * a slot that nobody used before would die of SIGBUS, so it gets its blocks
 * now: 0, or ENOSPC and the like.  Where that cannot be asked for, it is as
 * before.  Not once LMDB has it open: closing any descriptor of a file ends
 * the process's locks on it.
 */
static int
fill_lock_file(const char *path)
{
	char lock[PATH_MAX + 40];
	int fd, rc = 0;

	snprintf(lock, sizeof lock, "%s-lock", path);
	if ((fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0660)) < 0)
		return may_pass(errno) ? errno : 0;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOCK_BYTES) != 0 && may_pass(errno))
		rc = errno;
	close(fd);
	return rc;
}

/*
 * Locks are mapped memory too, and a disk that hangs or has gone read-only
 * holds up, or kills, whoever writes to it, which each reader does.  So they
 * lie in memory where there is lock_dir: in a directory of its own for each
 * data_dir, by way of links to the files, because LMDB puts its lock file
 * beside the name that it was given.  False: there is none that we may trust.
 */
static bool
find_lock_dir(struct store *s, const char *parent)
{
	struct stat st, ours;
	char path[PATH_MAX], link[PATH_MAX + 32], target[PATH_MAX + 32], was[PATH_MAX + 32];
	ssize_t n;

	if (parent == NULL || *parent == '\0' || stat(s->dir, &st) != 0)
		return false;
	if ((size_t)snprintf(path, sizeof path, "%s/%llx-%llx", parent, (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino) >= sizeof path)
		return false;
	if (mkdir(path, 0770) != 0 && errno != EEXIST)
		return false;
	if (lstat(path, &ours) != 0 || !S_ISDIR(ours.st_mode) || (ours.st_mode & S_IWOTH) ||
	    (ours.st_uid != st.st_uid && ours.st_uid != geteuid()))
		return false;
	for (const char *const *name = (const char *const[]){ s->facts.name, s->state.name, NULL }; *name != NULL; name++) {
		snprintf(link, sizeof link, "%s/%s", path, *name);
		snprintf(target, sizeof target, "%s/%s", s->dir, *name);
		if (symlink(target, link) == 0)
			continue;
		if (errno != EEXIST || (n = readlink(link, was, sizeof was)) < 0)
			return false;
		/* The directory's old name, perhaps. */
		if (((size_t)n != strlen(target) || memcmp(was, target, (size_t)n) != 0) &&
		    (unlink(link) != 0 || symlink(target, link) != 0))
			return false;
	}
	s->lock_dir = xstrdup(path);
	return true;
}

const char *
store_lock_dir(const struct store *s)
{
	return s->lock_dir != NULL ? s->lock_dir : s->dir;
}

/* Which lock files do we use?  Device and inode, to be compared with what others use. */
static bool
locks_identity(const struct store *s, char *out, size_t size)
{
	char path[PATH_MAX + 32];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s-lock", store_lock_dir(s), s->facts.name);
	if (stat(path, &st) != 0)
		return false;
	snprintf(out, size, "%llx:%llx\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	return true;
}

/*
 * Who knows neither lock_dir nor store.lock has its locks beside the files:
 * LMDB's own programs, and ours of before.  Each process that has a file open
 * holds a lock on some byte of its lock file.
 */
static bool
is_locked_beside(const struct store *s)
{
	bool held = false;

	for (const char *const *name = (const char *const[]){ s->facts.name, s->state.name, NULL }; *name != NULL && !held; name++) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		char path[PATH_MAX + 32];
		int fd;

		snprintf(path, sizeof path, "%s/%s-lock", s->dir, *name);
		if ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
			continue;
		held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
		close(fd); /* we have no locks of our own here that would end with it */
	}
	return held;
}

/*
 * Two processes with different locks would destroy the files: with another
 * lock_dir, or one of the same name that is not the same, as containers have.
 * So everybody holds store.lock, which says where the locks of those who
 * came first are.  Where it cannot be written nothing else can be either.
 */
static bool
take_guard(struct store *s, struct buf *why)
{
	char path[PATH_MAX + 32], *ours = s->locks, theirs[64];
	ssize_t n;

	if (s->lock_dir != NULL && is_locked_beside(s)) {
		buf_addf(why, "%s: another process uses these files with other locks, beside them; end it first", s->dir);
		return false;
	}
	snprintf(path, sizeof path, "%s/store.lock", s->dir);
	if (!locks_identity(s, ours, sizeof s->locks) || (s->guard = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0660)) < 0)
		return true;
	if (flock(s->guard, LOCK_EX | LOCK_NB) == 0 && pwrite(s->guard, ours, strlen(ours), 0) == (ssize_t)strlen(ours))
		(void)!ftruncate(s->guard, (off_t)strlen(ours));
	/* Also from exclusive: others may have come in between, and then their word holds. */
	if (flock(s->guard, LOCK_SH) != 0 || (n = pread(s->guard, theirs, sizeof theirs, 0)) < 0)
		return true;
	if ((size_t)n == strlen(ours) && memcmp(ours, theirs, (size_t)n) == 0)
		return true;
	if (n == 0)
		return true; /* a full disk: it could not be written */
	buf_addf(why, "%s: another process uses these files with other locks; is lock_dir the same for all?", s->dir);
	return false;
}

static const struct table facts_tables[] = {
	{ "touches", offsetof(struct store, touches) }, { "links", offsetof(struct store, links) },
	{ "names", offsetof(struct store, names) }, { "campaigns", offsetof(struct store, campaigns) },
	{ "streams", offsetof(struct store, streams) }, { "kept", offsetof(struct store, kept) },
	{ "consents", offsetof(struct store, history) }, { "stopped", offsetof(struct store, stopped) },
	{ "carried", offsetof(struct store, carried) }, { "holds", offsetof(struct store, holds) },
	{ "brakes", offsetof(struct store, brakes) }, { "meta", offsetof(struct store, facts_meta) }, { NULL, 0 }
};
static const struct table state_tables[] = {
	{ "people", offsetof(struct store, people) }, { "subscriptions", offsetof(struct store, subscriptions) },
	{ "campaigns", offsetof(struct store, counters) }, { "links", offsetof(struct store, link_counters) },
	{ "trails", offsetof(struct store, trails) }, { "past", offsetof(struct store, past) },
	{ "volumes", offsetof(struct store, volumes) }, { "meta", offsetof(struct store, state_meta) }, { NULL, 0 }
};
static_assert(sizeof facts_tables / sizeof *facts_tables - 1 <= MAX_TABLES, "every table can be opened");
static_assert(sizeof state_tables / sizeof *state_tables - 1 <= MAX_TABLES, "every table can be opened");

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

static int
get_meta(MDB_txn *txn, MDB_dbi dbi, const char *name, uint64_t *out)
{
	MDB_val k = val(name, strlen(name)), v;
	int rc = mdb_get(txn, dbi, &k, &v);

	*out = 0;
	if (rc == 0 && v.mv_size == 8)
		*out = get_u64(v.mv_data);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
put_meta(MDB_txn *txn, MDB_dbi dbi, const char *name, uint64_t number)
{
	unsigned char bytes[8];
	MDB_val k = val(name, strlen(name)), v = val(bytes, sizeof bytes);

	put_u64(bytes, number);
	return mdb_put(txn, dbi, &k, &v, 0);
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
	if ((rc = get_meta(txn, env_meta(e), "schema", &schema)) != 0 || (schema != 0 && !is_older(e, schema))) {
		env_end(e, txn);
		return rc == 0 && schema != our_schema(e) ? MDB_VERSION_MISMATCH : rc;
	}
	if ((is_useless(e, schema) && (rc = empty_tables(e, txn)) != 0) ||
	    (rc = put_meta(txn, env_meta(e), "schema", our_schema(e))) != 0) {
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
		return say(why, e->name, mdb_strerror(rc));
	rc = get_meta(txn, env_meta(e), "schema", &schema);
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
		return say(why, e->name, "not a store of ours");
	if (rc == 0)
		rc = make_ours(e);
	return rc == 0 || say(why, e->name, mdb_strerror(rc));
}

static bool
env_prepare(struct env *e, bool create, struct buf *why)
{
	int dead, rc = open_tables(e->store, e, e->tables, MDB_RDONLY, 0);

	if (rc == MDB_NOTFOUND && create)
		rc = open_tables(e->store, e, e->tables, 0, MDB_CREATE);
	if (rc != 0)
		return say(why, e->name, rc == MDB_NOTFOUND ? "not a store of this version; restart the daemons" : mdb_strerror(rc));
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
	if ((rc = fill_lock_file(path)) != 0)
		return rc;
	if ((rc = mdb_env_create(&e->env)) == 0 && (rc = mdb_env_set_maxreaders(e->env, MAX_READERS)) == 0 &&
	    (rc = mdb_env_set_maxdbs(e->env, MAX_TABLES)) == 0 && (rc = mdb_env_set_mapsize(e->env, e->limit)) == 0)
		rc = mdb_env_open(e->env, path, MDB_NOSUBDIR | MDB_NOTLS, 0660);
	if (rc != 0)
		env_close(e);
	return rc;
}

static bool
env_start(struct env *e, bool create, struct buf *why)
{
	char path[PATH_MAX + 32];
	int rc;

	snprintf(path, sizeof path, "%s/%s", e->store->dir, e->name);
	if (!create && access(path, F_OK) != 0)
		return say(why, path, errno == ENOENT ? "no such file; has a daemon ever run with this data_dir?" : strerror(errno));
	if ((rc = env_open(e)) == 0)
		return env_prepare(e, create, why);
	if (!create || !may_pass(rc))
		return say(why, path, mdb_strerror(rc));
	log_warn("store: %s: cannot be opened: %s; links work, nothing is recorded", e->name, mdb_strerror(rc));
	return true;
}

/* Others may hold locks in a file that was removed since; a new one of that name would keep nobody out. */
static bool
locks_are_the_same(struct env *e)
{
	char now[64];

	if (e->store->locks[0] == '\0' || (locks_identity(e->store, now, sizeof now) && strcmp(now, e->store->locks) == 0))
		return true;
	log_rated(&e->rate, "store: the locks in %s are gone or others: restart all that uses them", store_lock_dir(e->store));
	return false;
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
	good = locks_are_the_same(e) && env_open(e) == 0;
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

/*
 * The last number given out.  Tidying may have removed the last touch, so
 * the row alone does not tell: everything up to "tidied" was given out too,
 * and "given" (see catch_up).
 */
static int
last_seq(struct store *s, MDB_txn *txn, uint64_t *out)
{
	uint64_t given = 0;
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = get_meta(txn, s->facts_meta, "tidied", out);

	if (rc != 0 || (rc = get_meta(txn, s->facts_meta, "given", &given)) != 0 ||
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

/*
 * Facts that were lost, or came back from an older copy, are behind their
 * sums.  A number that was summed up already must not be given out again: no
 * fold would ever look at its touch.
 */
static bool
catch_up(struct store *s, struct buf *why)
{
	uint64_t folded, last;
	struct sweep sweep;
	MDB_txn *txn;
	int rc;

	if (store_sweep(s, &folded, &sweep) == STORE_OK)
		folded = sweep.upto;
	if (s->facts.env == NULL || s->state.env == NULL || store_last(s) >= folded)
		return true;
	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return say(why, s->facts.name, mdb_strerror(rc));
	if ((rc = last_seq(s, txn, &last)) == 0 && last < folded) {
		log_warn("store: %s ends at touch %llu, the sums at %llu: touches were lost; new ones count from there on",
		    s->facts.name, (unsigned long long)last, (unsigned long long)folded);
		rc = put_meta(txn, s->facts_meta, "given", folded);
	}
	if (rc == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == 0 || say(why, s->facts.name, mdb_strerror(rc));
}

static void
env_init(struct store *s, struct env *e, const char *name, uint64_t size)
{
	pthread_rwlock_init(&e->lock, NULL);
	e->store = s;
	e->name = name;
	e->limit = size ? size : DEFAULT_SIZE;
}

static void limit_is(struct env *);

struct store *
store_open(const struct store_options *o, struct buf *why)
{
	struct store *s = xcalloc(1, sizeof *s);

	env_init(s, &s->facts, "facts.mdb", o->facts_size);
	env_init(s, &s->state, "state.mdb", o->state_size);
	s->facts.tables = facts_tables;
	s->facts.meta = offsetof(struct store, facts_meta);
	s->state.tables = state_tables;
	s->state.meta = offsetof(struct store, state_meta);
	pthread_mutex_init(&s->health_lock, NULL);
	s->dir = xstrdup(o->dir);
	s->create = o->create;
	s->guard = -1;
	if (strlen(o->dir) >= PATH_MAX - 32)
		say(why, o->dir, "path is too long");
	else if (!hold_standard())
		say(why, "/dev/null", strerror(errno));
	else {
		find_lock_dir(s, o->lock_dir);
		if (env_start(&s->facts, o->create, why) && take_guard(s, why) && env_start(&s->state, o->create, why) &&
		    (!o->create || catch_up(s, why))) {
			limit_is(&s->facts);
			limit_is(&s->state);
			return s;
		}
	}
	store_close(s);
	return NULL;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	env_close(&s->facts);
	env_close(&s->state);
	if (s->guard >= 0)
		close(s->guard);
	pthread_rwlock_destroy(&s->facts.lock);
	pthread_rwlock_destroy(&s->state.lock);
	pthread_mutex_destroy(&s->health_lock);
	free(s->dir);
	free(s->lock_dir);
	free(s);
}

bool
store_become_owner(const char *dir, struct buf *why)
{
	struct passwd *pw;
	struct stat st;

	if (stat(dir, &st) != 0)
		return say(why, dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return say(why, dir, "not a directory");
	if (geteuid() != 0 || st.st_uid == 0)
		return true;
	pw = getpwuid(st.st_uid);
	if ((pw != NULL ? initgroups(pw->pw_name, st.st_gid) : setgroups(0, NULL)) != 0 || setgid(st.st_gid) != 0 ||
	    setuid(st.st_uid) != 0)
		return say(why, dir, "cannot become its owner");
	return true;
}

/* ---- limits and health ---- */

/*
 * The limit is what the last daemon that was started or reloaded has in its
 * settings.  It is written down, so that the others learn of it when they
 * find the file full.  (LMDB's own record only ever grows.)  Where that
 * cannot be written the next one that can will.
 */
static void
limit_is(struct env *e)
{
	uint64_t was;
	MDB_txn *txn;
	int rc;

	if (!e->store->create || env_begin(e, MDB_RDONLY, &txn) != 0)
		return;
	rc = get_meta(txn, env_meta(e), "limit", &was);
	env_end(e, txn);
	if (rc != 0 || was == e->limit || env_begin(e, 0, &txn) != 0)
		return;
	if (put_meta(txn, env_meta(e), "limit", e->limit) == 0)
		env_commit(e, txn);
	else
		env_end(e, txn);
}

/* The file is full: has another process been told of a higher limit?  Then it is ours too, and there is room. */
static bool
follow_limit(struct env *e)
{
	uint64_t limit = 0;
	bool good = false;
	MDB_txn *txn;

	if (env_begin(e, MDB_RDONLY, &txn) != 0)
		return false;
	if (get_meta(txn, env_meta(e), "limit", &limit) != 0)
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

static void
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
		limit_is(e);
	}
}

void
store_limit(struct store *s, uint64_t facts_size, uint64_t state_size)
{
	env_limit(&s->facts, facts_size);
	env_limit(&s->state, state_size);
}

/* Pages that hold something, as of txn. */
static int
pages_used(MDB_txn *txn, const struct table *tables, uint64_t *pages, uint64_t *page_size)
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

/* Is it time for a line? */
static bool
alarm_rings(struct alarm *a, bool on, int64_t now)
{
	bool rings = on && (!a->on || now >= a->next_ms);

	a->on = on;
	if (rings)
		a->next_ms = now + ALARM_AGAIN_MS;
	return rings;
}

static void
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
	if ((rc = pages_used(txn, e->tables, &pages, &page_size)) == 0 && (rc = mdb_env_info(e->env, &info)) == 0) {
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

static bool
count_brake(void *arg, const struct brake_row *row)
{
	*(uint64_t *)arg += row->lifted == 0;
	return true;
}

void
store_watch(struct store *s)
{
	struct store_health h = { 0 };
	int64_t now = clock_ms();
	struct statvfs fs;

	env_watch(&s->facts, &h.facts, now);
	env_watch(&s->state, &h.state, now);
	h.last = store_last(s);
	h.folded = store_folded(s);
	store_each_brake(s, count_brake, &h.brakes);
	if (statvfs(s->dir, &fs) == 0) {
		uint64_t size = (uint64_t)fs.f_blocks * fs.f_frsize;

		h.disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
		h.disk_low = h.disk_free < (size / 20 < DISK_LOW ? size / 20 : DISK_LOW);
		if (alarm_rings(&s->disk_low, h.disk_low, now))
			log_warn("store: the disk of %s is nearly full: %llu MB are free", s->dir,
			    (unsigned long long)(h.disk_free >> 20));
	}
	h.seen_ms = clock_ms();
	pthread_mutex_lock(&s->health_lock);
	s->health = h;
	pthread_mutex_unlock(&s->health_lock);
}

void
store_health(struct store *s, struct store_health *out)
{
	pthread_mutex_lock(&s->health_lock);
	*out = s->health;
	pthread_mutex_unlock(&s->health_lock);
	out->seen_ms = clock_ms() - out->seen_ms;
}

/* ---- facts: writing ---- */

static int
put_first(MDB_txn *txn, MDB_dbi dbi, MDB_val k, MDB_val v)
{
	int rc = mdb_put(txn, dbi, &k, &v, MDB_NOOVERWRITE);

	return rc == MDB_KEYEXIST ? 0 : rc;
}

#define NAME_MAX_BYTES 1024
#define DESTINATION_MAX_BYTES 4096

static void
link_key(unsigned char key[10], uint64_t campaign, uint16_t link)
{
	put_be(key, campaign, 8);
	put_be(key + 8, link, 2);
}

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
	unsigned char key[10];
	int rc = 0;

	if (r->address.n && r->address.n <= NAME_MAX_BYTES && !who_is_nobody(&t->who))
		rc = put_first(txn, s->names, val(&t->who, sizeof t->who), val(r->address.p, r->address.n));
	if (rc == 0 && r->destination.n && r->destination.n <= DESTINATION_MAX_BYTES && t->campaign && t->link) {
		link_key(key, t->campaign, t->link);
		rc = put_first(txn, s->links, val(key, 10), val(r->destination.p, r->destination.n));
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
 * What recipients said, and what others said of them, line by line.  The
 * table began with consents alone, and has their name and their keys still,
 * so that no store had to be changed when the rest came:
 * who, when in milliseconds, axis -> consent, source;
 * who, when in milliseconds, kind, stream -> until when it holds (seconds), campaign, flags, source.
 */
#define CONSENT_KEY 25
#define HISTORY_KEY 33
#define HISTORY_HEAD 13

/* 0 is for ever, which is later than anything. */
static bool
holds_longer(uint32_t until, uint32_t than)
{
	return until - 1 > than - 1;
}

/* Returns its length. */
static size_t
history_key(unsigned char key[HISTORY_KEY], const struct touch *t)
{
	memcpy(key, t->who.b, 16);
	put_be(key + 16, t->when > 0 ? (uint64_t)t->when : 0, 8);
	if (t->kind == TOUCH_CONSENT) {
		key[24] = t->detail >> 4;
		return CONSENT_KEY;
	}
	key[24] = t->kind;
	put_be(key + 25, t->stream, 8);
	return HISTORY_KEY;
}

/* Head and source; returns how much of value that is. */
static size_t
history_pack(unsigned char *value, const struct touch *t, struct span source)
{
	size_t n = 1;

	if (t->kind == TOUCH_CONSENT) {
		value[0] = t->detail & 15;
	} else {
		put_u32(value, t->kind == TOUCH_HELD ? t->sent : 0);
		put_u64(value + 4, t->campaign);
		value[12] = t->flags;
		n = HISTORY_HEAD;
	}
	if (source.n)
		memcpy(value + n, source.p, source.n);
	return n + source.n;
}

static bool
history_unpack(struct touch *t, struct span *source, struct span key, struct span value)
{
	const unsigned char *k = (const unsigned char *)key.p, *v = (const unsigned char *)value.p;

	if (key.n != CONSENT_KEY && key.n != HISTORY_KEY)
		return false;
	*t = (struct touch){ .mode = MODE_IDENTIFIED, .when = (int64_t)get_be(k + 16, 8) };
	memcpy(t->who.b, k, 16);
	if (key.n == CONSENT_KEY) {
		if (k[24] > AXIS_LINKS || value.n == 0 || v[0] > CONSENT_GRANTED)
			return false;
		t->kind = TOUCH_CONSENT;
		t->detail = (uint8_t)(k[24] << 4 | v[0]);
		*source = span_from(value, 1);
		return true;
	}
	if (value.n < HISTORY_HEAD)
		return false;
	t->kind = k[24];
	t->stream = get_be(k + 25, 8);
	t->sent = get_u32(v);
	t->campaign = get_u64(v + 4);
	t->flags = v[12];
	*source = span_from(value, HISTORY_HEAD);
	return true;
}

/* As much as may be kept, cut between characters. */
static struct span
cut_source(struct span s)
{
	size_t n = s.n;

	if (n > SOURCE_MAX)
		for (n = SOURCE_MAX; n > 0 && (s.p[n] & 0xc0) == 0x80;)
			n--;
	return span_cut(s, 0, n);
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
	return t->kind == TOUCH_HELD && holds_longer(t->sent, before->sent);
}

static int
put_history(struct store *s, MDB_txn *txn, const struct touch *t, struct span source)
{
	unsigned char key[HISTORY_KEY], value[HISTORY_HEAD + SOURCE_MAX];
	MDB_val k, v;
	struct touch before;
	struct span unused;
	int rc;

	if (!touch_is_said(t) || (t->kind == TOUCH_CONSENT && (t->detail >> 4 > AXIS_LINKS || (t->detail & 15) > CONSENT_GRANTED)))
		return 0;
	k = val(key, history_key(key, t));
	if ((rc = mdb_get(txn, s->history, &k, &v)) != 0 && rc != MDB_NOTFOUND)
		return rc;
	if (rc == 0 && history_unpack(&before, &unused, val_span(k), val_span(v)) && !is_stricter(t, &before))
		return 0;
	v = val(value, history_pack(value, t, cut_source(source)));
	return mdb_put(txn, s->history, &k, &v, 0);
}

/* queue id, 0, who -> touch. */
#define HOLD_KEY_MAX (HOLD_ID_MAX + 1 + 16)

static size_t
hold_key(unsigned char key[HOLD_KEY_MAX], struct span id)
{
	memcpy(key, id.p, id.n);
	key[id.n] = 0;
	return id.n + 1;
}

static bool
hold_id_good(struct span id)
{
	return id.n > 0 && id.n <= HOLD_ID_MAX && memchr(id.p, 0, id.n) == NULL;
}

static int
put_hold(struct store *s, MDB_txn *txn, const struct record *r)
{
	unsigned char key[HOLD_KEY_MAX], bytes[TOUCH_BYTES];
	MDB_val k, v = val(bytes, sizeof bytes);
	size_t n;

	if (r->touch.kind != TOUCH_SKIPPED || !(r->touch.flags & TOUCH_ON_HOLD) || !hold_id_good(r->source))
		return 0;
	n = hold_key(key, r->source);
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

/*
 * To remove something LMDB must copy pages first, so a file without a free
 * page could never be tidied, and would be full for ever.  Touches therefore
 * leave some room for that, counted in pages that hold something as of txn,
 * and `more` besides.
 */
static int
keep_reserve(struct store *s, MDB_txn *txn, uint64_t more)
{
	uint64_t used, page_size, limit, reserve;
	MDB_envinfo info;
	int rc;

	if ((rc = mdb_env_info(s->facts.env, &info)) != 0 || (rc = pages_used(txn, facts_tables, &used, &page_size)) != 0)
		return rc;
	limit = info.me_mapsize / page_size;
	reserve = limit / 8 < RESERVE_MAX / page_size ? limit / 8 : RESERVE_MAX / page_size;
	return used + more + reserve > limit ? MDB_MAP_FULL : 0;
}

/* The name under which facts remember how much of a journal they have. */
#define MARK_NAME 32

static const char *
mark_name(char name[MARK_NAME], uint64_t journal)
{
	snprintf(name, MARK_NAME, "journal-%016llx", (unsigned long long)journal);
	return name;
}

/* *seq is the last number given out, before and after. */
static int
put_records(struct store *s, MDB_txn *txn, const struct record *r, size_t n, uint64_t *seq)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		if ((rc = put_names(s, txn, &r[i])) == 0 && r[i].touch.kind != 0 &&
		    (rc = put_history(s, txn, &r[i].touch, r[i].source)) == 0 && (rc = put_hold(s, txn, &r[i])) == 0)
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
	rc = last_seq(s, txn, seq);
	/*
	 * Here, and not before: who only reads does not see the last commit of a
	 * process that was killed in it until the next one has the write lock.
	 */
	if (rc == 0 && upto > 0 && (rc = get_meta(txn, s->facts_meta, mark_name(name, journal), &mark)) == 0 && mark > from)
		rc = MDB_NOTFOUND;
	if (rc == 0)
		rc = put_records(s, txn, r, n, seq);
	if (rc == 0 && upto > 0)
		rc = put_meta(txn, s->facts_meta, mark_name(name, journal), upto);
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

	if (rc == MDB_MAP_FULL && follow_limit(&s->facts))
		rc = append(s, r, n, &seq, journal, from, upto);
	if (rc == 0 && last != NULL)
		*last = seq;
	return result(&s->facts, rc, "write");
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

/* MDB_NOTFOUND: none. */
static int
take_holds(struct store *s, MDB_txn *txn, struct span id)
{
	unsigned char key[HOLD_KEY_MAX];
	size_t n = hold_key(key, id);
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

/* As long as they were, so this needs room for copies of pages only, out of the reserve if need be. */
static int
mark_holds(struct store *s, MDB_txn *txn, struct span id, bool leaving)
{
	unsigned char key[HOLD_KEY_MAX], bytes[TOUCH_BYTES];
	size_t n = hold_key(key, id);
	MDB_val k = val(key, n), v;
	MDB_cursor *cursor;
	bool some = false;
	struct touch t;
	int rc;

	if ((rc = mdb_cursor_open(txn, s->holds, &cursor)) != 0)
		return rc;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && span_starts(val_span(k), span_make(key, n));
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		MDB_val marked = val(bytes, sizeof bytes);

		some = true;
		if (!touch_unpack(&t, val_span(v))) {
			rc = MDB_CORRUPTED;
			break;
		}
		t.flags = (uint8_t)(leaving ? t.flags | TOUCH_LEAVING : t.flags & ~TOUCH_LEAVING);
		touch_pack(&t, bytes);
		if ((rc = mdb_cursor_put(cursor, &k, &marked, MDB_CURRENT)) != 0)
			break;
	}
	mdb_cursor_close(cursor);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	return some ? 0 : MDB_NOTFOUND;
}

enum store_result
store_leaving(struct store *s, struct span id, bool leaving)
{
	MDB_txn *txn;
	int rc;

	if (!hold_id_good(id))
		return STORE_NONE;
	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return result(&s->facts, rc, "write");
	if ((rc = mark_holds(s, txn, id, leaving)) == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return result(&s->facts, rc, "write");
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
	if ((rc = last_seq(s, txn, &seq)) == 0 && (rc = take_holds(s, txn, id)) == 0 &&
	    (rc = put_records(s, txn, r, n, &seq)) == 0)
		return env_commit(&s->facts, txn);
	env_end(&s->facts, txn);
	return rc;
}

enum store_result
store_unhold(struct store *s, struct span id, const struct record *r, size_t n)
{
	int rc;

	if (!hold_id_good(id))
		return STORE_NONE;
	rc = unhold(s, id, r, n);
	if (rc == MDB_MAP_FULL && follow_limit(&s->facts))
		rc = unhold(s, id, r, n);
	return result(&s->facts, rc, "write");
}

enum store_result
store_mark(struct store *s, uint64_t journal, uint64_t *upto)
{
	char name[MARK_NAME];
	MDB_txn *txn;
	int rc;

	*upto = 0;
	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return result(&s->facts, rc, "read");
	rc = get_meta(txn, s->facts_meta, mark_name(name, journal), upto);
	env_end(&s->facts, txn);
	return result(&s->facts, rc, "read");
}

/* The same number over and over: a page and its way up are written and flushed all the same. */
static int
try(struct store *s)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return rc;
	if ((rc = put_meta(txn, s->facts_meta, "tried", 1)) == 0 && (rc = keep_reserve(s, txn, TRY_PAGES)) == 0)
		return env_commit(&s->facts, txn);
	env_end(&s->facts, txn);
	return rc;
}

enum store_result
store_try(struct store *s)
{
	int rc = try(s);

	if (rc == MDB_MAP_FULL && follow_limit(&s->facts))
		rc = try(s);
	return result(&s->facts, rc, "write");
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
		return result(&s->facts, rc, "write");
	put_be(key, campaign, 8);
	put_u64(bytes, (uint64_t)when);
	/* Into the reserve, if need be: a full store must not keep dangerous links alive. */
	rc = when != 0 ? mdb_put(txn, s->stopped, &k, &v, MDB_NOOVERWRITE) : mdb_del(txn, s->stopped, &k, NULL);
	if (rc == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == MDB_KEYEXIST ? STORE_NONE : result(&s->facts, rc, "write");
}

/* Has nothing been committed since we saw that no campaign is stopped?  Reads a number, takes no transaction. */
static bool
none_stopped(struct store *s)
{
	MDB_envinfo info = { 0 };

	pthread_rwlock_rdlock(&s->facts.lock);
	mdb_env_info(s->facts.env, &info);
	pthread_rwlock_unlock(&s->facts.lock);
	return info.me_last_txnid != 0 && info.me_last_txnid == atomic_load(&s->none_stopped);
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
	if (none_stopped(s))
		return STORE_NONE;
	if ((rc = env_begin(&s->facts, MDB_RDONLY, &txn)) != 0)
		return result(&s->facts, rc, "read");
	put_be(key, campaign, 8);
	if ((rc = mdb_get(txn, s->stopped, &k, &v)) == 0 && v.mv_size == 8)
		*when = (int64_t)get_u64(v.mv_data);
	else if (rc == MDB_NOTFOUND && mdb_stat(txn, s->stopped, &st) == 0 && st.ms_entries == 0)
		atomic_store(&s->none_stopped, mdb_txn_id(txn));
	env_end(&s->facts, txn);
	return result(&s->facts, rc, "read");
}

/* ---- brakes: kind, id -> since and until when, in milliseconds, and who ---- */

#define BRAKE_KEY 9
#define BRAKE_HEAD 16

static void
brake_key(unsigned char key[BRAKE_KEY], uint8_t kind, uint64_t id)
{
	key[0] = kind;
	put_be(key + 1, id, 8);
}

static bool
brake_unpack(struct brake_row *row, struct span key, struct span value)
{
	const unsigned char *k = (const unsigned char *)key.p, *v = (const unsigned char *)value.p;

	if (key.n != BRAKE_KEY || value.n < BRAKE_HEAD)
		return false;
	*row = (struct brake_row){ k[0], get_be(k + 1, 8), (int64_t)get_u64(v), (int64_t)get_u64(v + 8), span_from(value, BRAKE_HEAD) };
	return true;
}

static int
put_brake(struct store *s, MDB_txn *txn, const struct brake_row *row, unsigned flags)
{
	unsigned char key[BRAKE_KEY], value[BRAKE_HEAD + SOURCE_MAX];
	struct span by = cut_source(row->by);
	MDB_val k = val(key, sizeof key), v = val(value, BRAKE_HEAD + by.n);

	brake_key(key, row->kind, row->id);
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
	return rc == MDB_KEYEXIST ? STORE_NONE : result(&s->facts, rc, "write");
}

enum store_result
store_brake(struct store *s, const struct brake_row *row, bool again)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return result(&s->facts, rc, "write");
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
		return result(&s->facts, rc, "write");
	brake_key(key, kind, id);
	if ((rc = mdb_get(txn, s->brakes, &k, &v)) == 0) {
		if (!brake_unpack(&row, val_span(k), val_span(v)))
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
		return result(&s->facts, rc, "write");
	brake_key(key, kind, id);
	return end_brake_write(s, txn, mdb_del(txn, s->brakes, &k, NULL));
}

/* ---- facts: reading ---- */

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
		return result(&s->facts, rc, "read");
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
	return result(&s->facts, rc == MDB_NOTFOUND ? 0 : rc, "read");
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
		return result(&s->facts, rc, "read");
	if ((rc = mdb_cursor_open(txn, s->touches, &cursor)) == 0) {
		for (size_t i = 0; i < n && (rc == 0 || rc == MDB_NOTFOUND); i++) {
			rc = seek_touch(cursor, t[i].seq, i > 0 && rc == 0 && t[i - 1].seq + 1 == t[i].seq, &v);
			if (rc != 0 || !touch_unpack(&t[i].touch, val_span(v)))
				t[i].touch = (struct touch){ 0 };
		}
		mdb_cursor_close(cursor);
	}
	env_end(&s->facts, txn);
	return result(&s->facts, rc == MDB_NOTFOUND ? 0 : rc, "read");
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

uint64_t
store_last(struct store *s)
{
	uint64_t seq = 0;
	MDB_txn *txn;

	if (env_begin(&s->facts, MDB_RDONLY, &txn) != 0)
		return 0;
	if (last_seq(s, txn, &seq) != 0)
		seq = 0;
	env_end(&s->facts, txn);
	return seq;
}

/* One value, handed to take() while the transaction lasts. */
static enum store_result
lookup(struct env *e, MDB_dbi dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *arg)
{
	MDB_val k = val(key, nkey), v;
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(e, MDB_RDONLY, &txn)) != 0)
		return result(e, rc, "read");
	if ((rc = mdb_get(txn, dbi, &k, &v)) == 0 && !take(arg, val_span(v)))
		rc = MDB_CORRUPTED;
	env_rest(e, txn);
	return result(e, rc, "read");
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
	return lookup(&s->facts, s->names, w, sizeof *w, take_bytes, out);
}

enum store_result
store_destination(struct store *s, uint64_t campaign, uint16_t link, struct buf *out)
{
	unsigned char key[10];

	link_key(key, campaign, link);
	return lookup(&s->facts, s->links, key, sizeof key, take_bytes, out);
}

enum store_result
store_stream_name(struct store *s, uint64_t stream, struct buf *out)
{
	unsigned char key[8];

	put_be(key, stream, 8);
	return lookup(&s->facts, s->streams, key, sizeof key, take_bytes, out);
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
	return lookup(&s->facts, s->campaigns, key, sizeof key, take_names, &out);
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

	if (!history_unpack(&t, &source, w->key, v))
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
	struct wanted_source w = { t, span_make(key, history_key(key, t)), out, false };
	enum store_result r = lookup(&s->facts, s->history, key, w.key.n, take_source, &w);

	return r == STORE_OK && !w.found ? STORE_NONE : r;
}

static bool
take_brake(void *arg, struct span v)
{
	struct brake_row *row = arg;
	const unsigned char key[BRAKE_KEY] = { 0 };
	uint8_t kind = row->kind;
	uint64_t id = row->id;
	bool good = brake_unpack(row, span_make(key, sizeof key), v);

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
	brake_key(key, kind, id);
	return lookup(&s->facts, s->brakes, key, sizeof key, take_brake, row);
}

/* ---- state: records and their bytes ---- */

#define CAMPAIGN_BYTES sizeof(struct campaign)
#define LINK_BYTES sizeof(struct link_count)
#define SUBSCRIPTION_KEY 24
#define TRAIL_KEY 28 /* who, campaign, and only of campaign 0 the day */
static_assert(TRAIL_KEY <= sizeof ((struct seat *)0)->key, "a seat has room for every key");

static_assert(sizeof(struct campaign) % 8 == 0 && sizeof(struct link_count) == 32, "only 64-bit counters");

/* A record of counters grows at its end: a shorter value reads as zeros there. */
static void
pack_counters(unsigned char *out, const void *record, size_t bytes)
{
	uint64_t number;

	for (size_t i = 0; i < bytes; i += 8) {
		memcpy(&number, (const char *)record + i, 8);
		put_u64(out + i, number);
	}
}

static bool
unpack_counters(void *record, size_t bytes, struct span v)
{
	uint64_t number;

	memset(record, 0, bytes);
	if (v.n > bytes || v.n % 8 != 0)
		return false;
	for (size_t i = 0; i < v.n; i += 8) {
		number = get_u64((const unsigned char *)v.p + i);
		memcpy((char *)record + i, &number, 8);
	}
	return true;
}

static bool
take_profile(void *arg, struct span v)
{
	return profile_unpack(arg, v);
}

static bool
take_subscription(void *arg, struct span v)
{
	return subscription_unpack(arg, v);
}

static bool
take_campaign(void *arg, struct span v)
{
	return unpack_counters(arg, CAMPAIGN_BYTES, v);
}

static bool
take_link(void *arg, struct span v)
{
	return unpack_counters(arg, LINK_BYTES, v);
}

static bool
take_trail(void *arg, struct span v)
{
	return trail_unpack(arg, v);
}

#define VOLUME_KEY 13 /* hour, kind, id */
#define VOLUME_BYTES sizeof(struct volume)
static_assert(sizeof(struct volume) % 8 == 0, "only 64-bit counters");

static bool
take_volume(void *arg, struct span v)
{
	return unpack_counters(arg, VOLUME_BYTES, v);
}

static void
volume_key(unsigned char key[VOLUME_KEY], uint32_t hour, enum volume_kind kind, uint64_t id)
{
	put_be(key, hour, 4);
	key[4] = (unsigned char)kind;
	put_be(key + 5, id, 8);
}

static void
subscription_key(unsigned char key[SUBSCRIPTION_KEY], const struct who *w, uint64_t stream)
{
	memcpy(key, w->b, 16);
	put_be(key + 16, stream, 8);
}

/* who, kind, detail, stream -> when, in milliseconds; of HELD also until when, in seconds, if not for ever. */
#define KEPT_KEY 26
#define KEPT_BYTES 12

static void
kept_key(unsigned char key[KEPT_KEY], const struct touch *t)
{
	memcpy(key, t->who.b, 16);
	key[16] = t->kind;
	key[17] = t->detail;
	put_be(key + 18, t->stream, 8);
}

static bool
kept_unpack(struct touch *t, struct span key, struct span value)
{
	const unsigned char *k = (const unsigned char *)key.p, *v = (const unsigned char *)value.p;

	if (key.n != KEPT_KEY || (value.n != KEPT_BYTES && value.n != KEPT_BYTES - 4))
		return false;
	*t = (struct touch){ .kind = k[16], .detail = k[17], .stream = get_be(k + 18, 8), .when = (int64_t)get_u64(v),
		.sent = value.n == KEPT_BYTES ? get_u32(v + 8) : 0,
		.mode = k[16] == TOUCH_OPEN ? MODE_DAYONLY : MODE_IDENTIFIED };
	memcpy(t->who.b, k, 16);
	return true;
}

static bool
take_past(void *arg, struct span v)
{
	return profile_unpack_hits(arg, v);
}

static size_t
trail_key(unsigned char key[TRAIL_KEY], const struct who *w, uint64_t campaign, uint32_t day)
{
	memcpy(key, w->b, 16);
	put_be(key + 16, campaign, 8);
	put_be(key + 24, day, 4);
	return campaign == 0 ? TRAIL_KEY : TRAIL_KEY - 4;
}

static bool
trail_unkey(struct span key, uint64_t *campaign, uint32_t *day)
{
	const unsigned char *k = (const unsigned char *)key.p;

	if (key.n != TRAIL_KEY && key.n != TRAIL_KEY - 4)
		return false;
	*campaign = get_be(k + 16, 8);
	*day = key.n == TRAIL_KEY ? (uint32_t)get_be(k + 24, 4) : 0;
	return true;
}

/* ---- state: reading ---- */

enum store_result
store_profile(struct store *s, const struct who *w, struct profile *p)
{
	return lookup(&s->state, s->people, w, sizeof *w, take_profile, p);
}

enum store_result
store_past(struct store *s, const struct who *w, struct profile *p)
{
	return lookup(&s->state, s->past, w, sizeof *w, take_past, p);
}

enum store_result
store_subscription(struct store *s, const struct who *w, uint64_t stream, struct subscription *out)
{
	unsigned char key[SUBSCRIPTION_KEY];

	subscription_key(key, w, stream);
	return lookup(&s->state, s->subscriptions, key, sizeof key, take_subscription, out);
}

static int
get_record(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t nkey, bool (*take)(void *, struct span), void *arg)
{
	MDB_val k = val(key, nkey), v;
	int rc = mdb_get(txn, dbi, &k, &v);

	return rc == 0 && !take(arg, val_span(v)) ? MDB_CORRUPTED : rc;
}

enum store_result
store_view(struct store *s, struct store_view *view)
{
	MDB_txn *txn = NULL;
	int rc = env_begin(&s->state, MDB_RDONLY, &txn);

	view->txn = rc == 0 ? txn : NULL;
	return result(&s->state, rc, "read");
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
		subscription_key(key, w, stream);
		if ((rc = get_record(view->txn, s->subscriptions, key, sizeof key, take_subscription, subroom)) == 0)
			*sub = subroom;
	}
	return result(&s->state, rc == MDB_NOTFOUND ? 0 : rc, "read");
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
	return lookup(&s->state, s->counters, key, sizeof key, take_campaign, out);
}

enum store_result
store_link(struct store *s, uint64_t campaign, uint16_t link, struct link_count *out)
{
	unsigned char key[10];

	link_key(key, campaign, link);
	return lookup(&s->state, s->link_counters, key, sizeof key, take_link, out);
}

#define SWEEP_META "sweep"
#define SWEEP_BYTES 24

static bool
take_sweep(void *arg, struct span v)
{
	const unsigned char *in = (const unsigned char *)v.p;

	if (v.n != SWEEP_BYTES)
		return false;
	*(struct sweep *)arg = (struct sweep){ get_u64(in), get_u64(in + 8), get_u64(in + 16) };
	return true;
}

enum store_result
store_sweep(struct store *s, uint64_t *folded, struct sweep *sweep)
{
	MDB_txn *txn;
	int rc;

	*folded = 0;
	*sweep = (struct sweep){ 0 };
	if ((rc = env_begin(&s->state, MDB_RDONLY, &txn)) != 0)
		return result(&s->state, rc, "read");
	if ((rc = get_meta(txn, s->state_meta, "folded", folded)) == 0)
		rc = get_record(txn, s->state_meta, SWEEP_META, sizeof SWEEP_META - 1, take_sweep, sweep);
	env_end(&s->state, txn);
	return result(&s->state, rc, "read");
}

uint64_t
store_folded(struct store *s)
{
	uint64_t folded = 0;
	MDB_txn *txn;

	if (env_begin(&s->state, MDB_RDONLY, &txn) != 0)
		return 0;
	if (get_meta(txn, s->state_meta, "folded", &folded) != 0)
		folded = 0;
	env_end(&s->state, txn);
	return folded;
}

/* ---- walks ---- */

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
	return result(e, rc == MDB_NOTFOUND ? 0 : rc, "read");
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

static bool
each_campaign(struct walk *w, struct span key, struct span value, bool *go_on)
{
	struct campaign c;

	if (key.n != 8 || !take_campaign(&c, value))
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

	if (!brake_unpack(&row, key, value))
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

	volume_key(key, from, 0, 0);
	if ((rc = env_begin(&s->state, MDB_RDONLY, &txn)) != 0)
		return result(&s->state, rc, "read");
	if ((rc = mdb_cursor_open(txn, s->volumes, &cursor)) == 0) {
		for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
			const unsigned char *at = k.mv_data;
			struct volume volume;

			if (k.mv_size != VOLUME_KEY || !take_volume(&volume, val_span(v))) {
				rc = MDB_CORRUPTED;
				break;
			}
			if (get_be(at, 4) > to || !fn(arg, (uint32_t)get_be(at, 4), (enum volume_kind)at[4], get_be(at + 5, 8), &volume))
				break;
		}
		mdb_cursor_close(cursor);
	}
	env_end(&s->state, txn);
	return result(&s->state, rc == MDB_NOTFOUND ? 0 : rc, "read");
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

	if (key.n != 10 || !take_link(&c, value))
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

	if (!trail_unkey(key, &campaign, &day) || !trail_unpack(&t, value))
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

	if (!kept_unpack(&t, key, value))
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

	if (!history_unpack(&t, &source, key, value))
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

	if (key.n == 8 ? !take_campaign(&c.sums, value) : key.n != 10 || !take_link(&c.link_sums, value))
		return false;
	c.of_link = key.n == 10;
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

static size_t
carried_key(unsigned char key[10], const struct carried *c)
{
	link_key(key, c->campaign, c->link);
	return c->of_link ? 10 : 8;
}

enum store_result
store_carried(struct store *s, struct carried *c)
{
	unsigned char key[10];
	size_t n = carried_key(key, c);

	c->sums = (struct campaign){ 0 };
	c->link_sums = (struct link_count){ 0 };
	return c->of_link ? lookup(&s->facts, s->carried, key, n, take_link, &c->link_sums)
			  : lookup(&s->facts, s->carried, key, n, take_campaign, &c->sums);
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

/* ---- folding ---- */

struct fold_txn *
fold_begin(struct store *s, uint64_t *folded)
{
	uint64_t schema;
	struct fold_txn *t;
	MDB_txn *txn;
	int rc;

	if (atomic_exchange(&s->state.full, false))
		follow_limit(&s->state);
	if ((rc = env_begin(&s->state, 0, &txn)) == 0) {
		/* A newer program has begun to sum up anew while we are still here: ours among its sums would be wrong for ever. */
		if ((rc = get_meta(txn, s->state_meta, "schema", &schema)) == 0 && schema != STATE_SCHEMA)
			rc = MDB_VERSION_MISMATCH;
		if (rc == 0)
			rc = get_meta(txn, s->state_meta, "folded", folded);
		if (rc != 0)
			env_end(&s->state, txn);
	}
	if (rc != 0) {
		result(&s->state, rc, "write");
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
	return result(&s->state, rc, "write");
}

enum store_result
fold_commit(struct fold_txn *t, uint64_t folded)
{
	struct store *s = t->store;
	int rc = end_step(t);

	if (rc == 0 && (rc = put_meta(t->whole, s->state_meta, "folded", folded)) == 0)
		return fold_commit_rest(t);
	fold_abort(t);
	return result(&s->state, rc, "write");
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
	    get_record(t->txn, dbi, key, nkey, take, out);

	if (rc != 0)
		memset(out, 0, size);
	return result(&t->store->state, rc, "read");
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
	return result(&t->store->state, rc, "write");
}

static enum store_result
fold_delete(struct fold_txn *t, MDB_dbi dbi, const void *key, size_t nkey)
{
	MDB_val k = val(key, nkey);
	int rc;

	leave_seats(t);
	rc = mdb_del(t->txn, dbi, &k, NULL);
	return result(&t->store->state, rc == MDB_NOTFOUND ? 0 : rc, "write");
}

enum store_result
fold_get_sweep(struct fold_txn *t, struct sweep *sweep)
{
	return fold_get(t, t->store->state_meta, SWEEP_META, sizeof SWEEP_META - 1, take_sweep, sweep, sizeof *sweep);
}

enum store_result
fold_put_sweep(struct fold_txn *t, const struct sweep *sweep)
{
	unsigned char bytes[SWEEP_BYTES];

	if (sweep == NULL)
		return fold_delete(t, t->store->state_meta, SWEEP_META, sizeof SWEEP_META - 1);
	put_u64(bytes, sweep->upto);
	put_u64(bytes + 8, sweep->who);
	put_u64(bytes + 16, sweep->seq);
	return fold_put(t, t->store->state_meta, SWEEP_META, sizeof SWEEP_META - 1, bytes, sizeof bytes);
}

enum store_result
fold_get_person(struct fold_txn *t, const struct who *w, struct profile *p)
{
	return fold_get(t, t->store->people, w, sizeof *w, take_profile, p, sizeof *p);
}

enum store_result
fold_put_person(struct fold_txn *t, const struct who *w, const struct profile *p)
{
	unsigned char bytes[PROFILE_BYTES];

	profile_pack(p, bytes);
	return fold_put(t, t->store->people, w, sizeof *w, bytes, sizeof bytes);
}

/* Every record of a table whose key starts with who. */
static int
delete_all_of(MDB_txn *txn, MDB_dbi dbi, const struct who *w)
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

enum store_result
fold_erase_person(struct fold_txn *t, const struct who *w)
{
	const MDB_dbi tables[] = { t->store->people, t->store->subscriptions, t->store->trails, t->store->past };
	int rc = 0;

	if ((t->records += STEP / 16) >= STEP)
		rc = next_step(t);
	leave_seats(t);
	for (size_t i = 0; i < sizeof tables / sizeof *tables && rc == 0; i++)
		rc = delete_all_of(t->txn, tables[i], w);
	return result(&t->store->state, rc, "write");
}

enum store_result
fold_get_subscription(struct fold_txn *t, const struct who *w, uint64_t stream, struct subscription *sub)
{
	unsigned char key[SUBSCRIPTION_KEY];

	subscription_key(key, w, stream);
	return fold_get(t, t->store->subscriptions, key, sizeof key, take_subscription, sub, sizeof *sub);
}

enum store_result
fold_put_subscription(struct fold_txn *t, const struct who *w, uint64_t stream, const struct subscription *sub)
{
	unsigned char key[SUBSCRIPTION_KEY], bytes[SUBSCRIPTION_BYTES];

	subscription_key(key, w, stream);
	subscription_pack(sub, bytes);
	return fold_put(t, t->store->subscriptions, key, sizeof key, bytes, sizeof bytes);
}

enum store_result
fold_get_campaign(struct fold_txn *t, uint64_t id, struct campaign *c)
{
	unsigned char key[8];

	put_be(key, id, 8);
	return fold_get(t, t->store->counters, key, sizeof key, take_campaign, c, sizeof *c);
}

enum store_result
fold_put_campaign(struct fold_txn *t, uint64_t id, const struct campaign *c)
{
	unsigned char key[8], bytes[CAMPAIGN_BYTES];

	put_be(key, id, 8);
	pack_counters(bytes, c, sizeof *c);
	return fold_put(t, t->store->counters, key, sizeof key, bytes, sizeof bytes);
}

enum store_result
fold_get_volume(struct fold_txn *t, uint32_t hour, enum volume_kind kind, uint64_t id, struct volume *v)
{
	unsigned char key[VOLUME_KEY];

	volume_key(key, hour, kind, id);
	return fold_get(t, t->store->volumes, key, sizeof key, take_volume, v, sizeof *v);
}

enum store_result
fold_put_volume(struct fold_txn *t, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	unsigned char key[VOLUME_KEY], bytes[VOLUME_BYTES];

	volume_key(key, hour, kind, id);
	pack_counters(bytes, v, sizeof *v);
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
		return result(&s->state, rc, "write");
	if ((rc = mdb_cursor_open(txn, s->volumes, &cursor)) != 0) {
		env_end(&s->state, txn);
		return result(&s->state, rc, "write");
	}
	for (size_t i = 0; i < DROP_MAX && (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST)) == 0; i++)
		if (k.mv_size != VOLUME_KEY || get_be(k.mv_data, 4) >= hour || (rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	mdb_cursor_close(cursor);
	if (rc == 0 || rc == MDB_NOTFOUND)
		rc = env_commit(&s->state, txn);
	else
		env_end(&s->state, txn);
	return result(&s->state, rc, "write");
}

enum store_result
fold_get_link(struct fold_txn *t, uint64_t campaign, uint16_t link, struct link_count *c)
{
	unsigned char key[10];

	link_key(key, campaign, link);
	return fold_get(t, t->store->link_counters, key, sizeof key, take_link, c, sizeof *c);
}

enum store_result
fold_put_link(struct fold_txn *t, uint64_t campaign, uint16_t link, const struct link_count *c)
{
	unsigned char key[10], bytes[LINK_BYTES];

	link_key(key, campaign, link);
	pack_counters(bytes, c, sizeof *c);
	return fold_put(t, t->store->link_counters, key, sizeof key, bytes, sizeof bytes);
}

enum store_result
fold_get_trail(struct fold_txn *t, const struct who *w, uint64_t campaign, uint32_t day, struct trail *trail)
{
	unsigned char key[TRAIL_KEY];
	size_t n = trail_key(key, w, campaign, day);

	*trail = (struct trail){ 0 };
	return fold_get(t, t->store->trails, key, n, take_trail, trail, sizeof *trail);
}

enum store_result
fold_put_trail(struct fold_txn *t, const struct who *w, uint64_t campaign, uint32_t day, const struct trail *trail)
{
	unsigned char key[TRAIL_KEY];
	size_t n = trail_key(key, w, campaign, day);
	struct buf bytes = BUF(TRAIL_BYTES_MAX);
	enum store_result r;

	if (trail_is_empty(trail))
		return fold_delete(t, t->store->trails, key, n);
	trail_pack(trail, &bytes);
	r = fold_put(t, t->store->trails, key, n, bytes.p, bytes.n);
	buf_free(&bytes);
	return r;
}

enum store_result
fold_get_past(struct fold_txn *t, const struct who *w, struct profile *p)
{
	return fold_get(t, t->store->past, w, sizeof *w, take_past, p, sizeof *p);
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
		return result(&t->store->state, rc, "read");
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (!span_starts(val_span(k), span_make(w, sizeof *w)))
			break;
		if (!trail_unkey(val_span(k), &campaign, &day) || !trail_unpack(&trail, val_span(v))) {
			rc = MDB_CORRUPTED;
			break;
		}
		fn(arg, campaign, day, &trail);
		trail_free(&trail);
	}
	mdb_cursor_close(cursor);
	return result(&t->store->state, rc == MDB_NOTFOUND ? 0 : rc, "read");
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
		return result(&t->store->state, rc, "read");
	rc = mdb_cursor_get(cursor, &k, &v, who_is_nobody(who) ? MDB_FIRST : MDB_SET_RANGE);
	if (rc == 0 && k.mv_size < sizeof *who)
		rc = MDB_CORRUPTED;
	if (rc == 0)
		memcpy(who, k.mv_data, sizeof *who);
	mdb_cursor_close(cursor);
	return result(&t->store->state, rc, "read");
}

static bool
take_rules(void *arg, struct span v)
{
	return rules_unpack(arg, v);
}

static bool
take_who(void *arg, struct span v)
{
	if (v.n != sizeof(struct who))
		return false;
	memcpy(arg, v.p, v.n);
	return true;
}

#define RULES_META "rules"
#define REJUDGED_META "rejudged"

enum store_result
store_rules(struct store *s, struct rules *r)
{
	return lookup(&s->state, s->state_meta, RULES_META, sizeof RULES_META - 1, take_rules, r);
}

bool
store_rejudging(struct store *s)
{
	struct who who;

	return lookup(&s->state, s->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1, take_who, &who) == STORE_OK;
}

enum store_result
fold_get_rules(struct fold_txn *t, struct rules *r)
{
	return fold_get(t, t->store->state_meta, RULES_META, sizeof RULES_META - 1, take_rules, r, sizeof *r);
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
	return fold_get(t, t->store->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1, take_who, from, sizeof *from);
}

enum store_result
fold_put_rejudged(struct fold_txn *t, const struct who *from)
{
	if (from != NULL)
		return fold_put(t, t->store->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1, from, sizeof *from);
	return fold_delete(t, t->store->state_meta, REJUDGED_META, sizeof REJUDGED_META - 1);
}

/* ---- housekeeping of facts ---- */

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
		return ours > theirs || (ours == theirs && holds_longer(t->sent, than->sent));
	return t->when > than->when;
}

static int
keep(struct store *s, MDB_txn *txn, const struct touch *t)
{
	unsigned char key[KEPT_KEY], bytes[KEPT_BYTES];
	MDB_val k = val(key, sizeof key), v;
	struct touch before;
	int rc;

	kept_key(key, t);
	if ((rc = mdb_get(txn, s->kept, &k, &v)) != 0 && rc != MDB_NOTFOUND)
		return rc;
	if (rc == 0 && kept_unpack(&before, val_span(k), val_span(v)) && !is_newer(t, &before))
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
		return result(&s->facts, rc, "read");
	if ((rc = get_meta(txn, s->facts_meta, "tidied", &tidied)) == 0) {
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
	return result(&s->facts, rc, "read");
}

static int
tidy_do(struct store *s, MDB_txn *txn, uint64_t folded, const struct tidy *how, size_t max, bool days, bool old, bool *more)
{
	uint64_t tidied, from, last = 0;
	bool found;
	size_t left;
	int rc;

	if ((rc = get_meta(txn, s->facts_meta, "tidied", &tidied)) != 0)
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
	return put_meta(txn, s->facts_meta, "tidied", from);
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
			return result(&s->facts, rc, "write");
		if ((rc = tidy_do(s, txn, folded, how, max, days, old, more)) == 0)
			rc = env_commit(&s->facts, txn);
		else
			env_end(&s->facts, txn);
		/* With little room left: in small steps, each of which makes more. */
		if (rc != MDB_MAP_FULL || max < 8)
			break;
		*more = true;
	}
	return result(&s->facts, rc, "tidy");
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
		if ((rc = delete_all_of(txn, s->names, &e->who[i])) == 0 &&
		    (rc = delete_all_of(txn, s->kept, &e->who[i])) == 0)
			rc = delete_all_of(txn, s->history, &e->who[i]);
	for (size_t i = 0; i < e->nlinks && rc == 0; i++) {
		unsigned char key[10];
		MDB_val k = val(key, sizeof key);

		link_key(key, e->link[i].campaign, e->link[i].link);
		if ((rc = mdb_del(txn, s->links, &k, NULL)) == MDB_NOTFOUND)
			rc = 0;
	}
	return rc;
}

static int
put_carried(struct store *s, MDB_txn *txn, const struct carried *c)
{
	unsigned char key[10], bytes[CAMPAIGN_BYTES];
	MDB_val k = val(key, carried_key(key, c)), v = val(bytes, c->of_link ? LINK_BYTES : CAMPAIGN_BYTES);

	if (c->of_link)
		pack_counters(bytes, &c->link_sums, LINK_BYTES);
	else
		pack_counters(bytes, &c->sums, CAMPAIGN_BYTES);
	return mdb_put(txn, s->carried, &k, &v, 0);
}

static int
erase(struct store *s, MDB_txn *txn, const struct erasure *e)
{
	uint64_t last;
	int rc;

	if ((rc = last_seq(s, txn, &last)) != 0)
		return rc;
	if (last > e->upto)
		return MDB_BAD_TXN;
	/* The last number may be among those that go, and must not be given out again. */
	if ((rc = put_meta(txn, s->facts_meta, "given", last)) != 0 || (rc = erase_touches(s, txn, e)) != 0 ||
	    (rc = erase_people(s, txn, e)) != 0 || (rc = erase_holds(s, txn, e)) != 0)
		return rc;
	for (size_t i = 0; i < e->ncarried && rc == 0; i++)
		rc = put_carried(s, txn, &e->carried[i]);
	for (size_t i = 0; i < e->nkeep && rc == 0; i++)
		if ((rc = keep(s, txn, &e->keep[i])) == 0 && e->keep[i].kind == TOUCH_CONSENT)
			rc = put_history(s, txn, &e->keep[i], e->source);
	return rc;
}

enum store_result
store_erase(struct store *s, const struct erasure *e)
{
	MDB_txn *txn;
	int rc;

	if ((rc = env_begin(&s->facts, 0, &txn)) != 0)
		return result(&s->facts, rc, "write");
	if ((rc = erase(s, txn, e)) == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == MDB_BAD_TXN ? STORE_MOVED : result(&s->facts, rc, "erase");
}

/* ---- the time that is believed ---- */

bool
store_clock(struct store *s, int64_t *ms)
{
	uint64_t number = 0;
	MDB_txn *txn;
	int rc;

	if (env_begin(&s->facts, MDB_RDONLY, &txn) != 0)
		return false;
	rc = get_meta(txn, s->facts_meta, "clock", &number);
	env_end(&s->facts, txn);
	*ms = (int64_t)number;
	return rc == 0 && number != 0;
}

void
store_set_clock(struct store *s, int64_t ms)
{
	MDB_txn *txn;

	if (env_begin(&s->facts, 0, &txn) != 0)
		return;
	if (put_meta(txn, s->facts_meta, "clock", (uint64_t)ms) == 0)
		env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
}
