/* store_locks.c -- where the store's locks lie, and that everybody uses the same ones. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/store_env.h"

#define LOCK_BYTES (128 * 1024) /* more than LMDB's lock file with MAX_READERS takes */

/* The disk's fault, and perhaps not for ever; whatever else is wrong a person has to mend before we start. */
bool
locks_may_pass(int rc)
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
int
locks_fill(const char *path)
{
	char lock[PATH_MAX + 40];
	int fd, rc = 0;

	snprintf(lock, sizeof lock, "%s-lock", path);
	if ((fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0660)) < 0)
		return locks_may_pass(errno) ? errno : 0;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOCK_BYTES) != 0 && locks_may_pass(errno))
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
bool
locks_find(struct store *s, const char *parent)
{
	struct stat st, ours;
	char path[PATH_MAX], link[PATH_MAX + 32], target[PATH_MAX + 32], was[PATH_MAX + 32];
	ssize_t n;

	if (parent == NULL || *parent == '\0' || stat(s->dir, &st) != 0)
		return false;
	if ((size_t)snprintf(path, sizeof path, "%s/%llx-%llx", parent, (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino) >= sizeof path)
		return store_fault(&s->no_locks, parent, "path is too long");
	if (mkdir(path, 0770) != 0 && errno != EEXIST)
		return store_fault(&s->no_locks, parent, strerror(errno));
	if (lstat(path, &ours) != 0 || !S_ISDIR(ours.st_mode) || (ours.st_mode & S_IWOTH) ||
	    (ours.st_uid != st.st_uid && ours.st_uid != geteuid()))
		return store_fault(&s->no_locks, path, "no directory of the daemons' user alone; remove it while none runs");
	for (const char *const *name = (const char *const[]){ s->facts.name, s->state.name, NULL }; *name != NULL; name++) {
		snprintf(link, sizeof link, "%s/%s", path, *name);
		snprintf(target, sizeof target, "%s/%s", s->dir, *name);
		if (symlink(target, link) == 0)
			continue;
		if (errno != EEXIST || (n = readlink(link, was, sizeof was)) < 0)
			return store_fault(&s->no_locks, link, strerror(errno));
		/* The directory's old name, perhaps. */
		if (((size_t)n != strlen(target) || memcmp(was, target, (size_t)n) != 0) &&
		    (unlink(link) != 0 || symlink(target, link) != 0))
			return store_fault(&s->no_locks, link, strerror(errno));
	}
	s->lock_dir = xstrdup(path);
	return true;
}

const char *
store_lock_dir(const struct store *s)
{
	return s->lock_dir != NULL ? s->lock_dir : s->dir;
}

const char *
store_no_locks(struct store *s)
{
	return s->no_locks.n > 0 ? buf_cstr(&s->no_locks) : NULL;
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
bool
locks_guard(struct store *s, struct buf *why)
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

/* A byte of store.lock for each, locked by our description of it: it ends with that, and not when another one is closed. */
static bool
lock_turn(struct store *s, enum turn turn, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = turn, .l_len = 1 };

	return s->guard < 0 || fcntl(s->guard, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

bool
store_take_turn(struct store *s, enum turn turn)
{
	return lock_turn(s, turn, F_WRLCK);
}

void
store_end_turn(struct store *s, enum turn turn)
{
	lock_turn(s, turn, F_UNLCK);
}

/* Others may hold locks in a file that was removed since; a new one of that name would keep nobody out. */
bool
locks_same(struct env *e)
{
	char now[64];

	if (e->store->locks[0] == '\0' || (locks_identity(e->store, now, sizeof now) && strcmp(now, e->store->locks) == 0))
		return true;
	log_rated(&e->rate, "store: the locks in %s are gone or others: restart all that uses them", store_lock_dir(e->store));
	return false;
}
