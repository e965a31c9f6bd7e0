/* store.c -- the two files together. */
#include "common/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/store_env.h"

#define DISK_LOW ((uint64_t)1 << 30) /* or a twentieth of a smaller disk */

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

/* ---- open and close ---- */

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
		return store_fault(why, s->facts.name, mdb_strerror(rc));
	if ((rc = facts_last(s, txn, &last)) == 0 && last < folded) {
		log_warn("store: %s ends at touch %llu, the sums at %llu: touches were lost; new ones count from there on",
		    s->facts.name, (unsigned long long)last, (unsigned long long)folded);
		rc = meta_put(txn, s->facts_meta, "given", folded);
	}
	if (rc == 0)
		rc = env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
	return rc == 0 || store_fault(why, s->facts.name, mdb_strerror(rc));
}

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
	buf_init(&s->no_locks, 3 * PATH_MAX);
	s->dir = xstrdup(o->dir);
	s->create = o->create;
	s->damaged = o->damaged;
	s->guard = -1;
	if (strlen(o->dir) >= PATH_MAX - 32)
		store_fault(why, o->dir, "path is too long");
	else if (!hold_standard())
		store_fault(why, "/dev/null", strerror(errno));
	else {
		locks_find(s, o->lock_dir);
		if (env_start(&s->facts, o->create, why) && locks_guard(s, why) && env_start(&s->state, o->create, why) &&
		    (!o->create || catch_up(s, why))) {
			env_write_limit(&s->facts);
			env_write_limit(&s->state);
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
	buf_free(&s->no_locks);
	free(s);
}

bool
store_become_owner(const char *dir, struct buf *why)
{
	struct passwd *pw;
	struct stat st;

	if (stat(dir, &st) != 0)
		return store_fault(why, dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return store_fault(why, dir, "not a directory");
	if (geteuid() != 0 || st.st_uid == 0)
		return true;
	pw = getpwuid(st.st_uid);
	if ((pw != NULL ? initgroups(pw->pw_name, st.st_gid) : setgroups(0, NULL)) != 0 || setgid(st.st_gid) != 0 ||
	    setuid(st.st_uid) != 0)
		return store_fault(why, dir, "cannot become its owner");
	return true;
}

/* ---- limits and health ---- */

void
store_limit(struct store *s, uint64_t facts_size, uint64_t state_size)
{
	env_limit(&s->facts, facts_size);
	env_limit(&s->state, state_size);
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
	uint64_t last, folded;
	struct sweep sweep;
	struct statvfs fs;

	env_watch(&s->facts, &h.facts, now);
	/* Who records nothing any more, because it is tight, would not find out that another one has raised the limit. */
	if (store_is_tight(&h.facts) && env_follow_limit(&s->facts))
		env_watch(&s->facts, &h.facts, now);
	env_watch(&s->state, &h.state, now);
	last = store_last(s);
	store_sweep(s, &folded, &sweep);
	folded += sweep.done;
	h.lag = last > folded ? last - folded : 0;
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

/* ---- the time that is believed ---- */

bool
store_clock(struct store *s, int64_t *ms)
{
	uint64_t number = 0;
	MDB_txn *txn;
	int rc;

	if (env_begin(&s->facts, MDB_RDONLY, &txn) != 0)
		return false;
	rc = meta_get(txn, s->facts_meta, "clock", &number);
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
	if (meta_put(txn, s->facts_meta, "clock", (uint64_t)ms) == 0)
		env_commit(&s->facts, txn);
	else
		env_end(&s->facts, txn);
}
