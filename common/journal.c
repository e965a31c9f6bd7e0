#include "common/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/log.h"
#include "common/mem.h"

/*
 * A file:
 *
 *	  0 "REKINDLE"	  8 version	 16 id	 24 size of the ring
 *	 32 moved: the store has everything before this place
 *	 40 zero up to HEAD
 *	HEAD the ring; place p lies at HEAD + p % size
 *
 * A record, little-endian, padded with zeros to a multiple of 8:
 *
 *	  0 place	  8 length of what follows after 24	 12 zero
 *	 16 check over all the rest
 *	 24 touch, then address, stream, campaign, destination and source, each with its length in 2 bytes
 *
 * The place tells this lap from the one before.  No record crosses the end of
 * the ring: what would is written at its start, after a record of length
 * SKIPPED where there is room for one.
 *
 * "moved" is the store's word, repeated here without a flush.  It is for a
 * store that was deleted, or came back from an older copy: what it once had
 * is not given to it a second time.
 */
#define FORMAT 1
#define HEAD 4096
#define RECORD_HEAD 24
#define NAMES 5
#define SKIPPED UINT32_MAX
#define CHUNK (1024 * 1024) /* read at once; more than JOURNAL_RECORD_MAX */
#define ROOM 4              /* times its size must be free when one is made */
#define SETTLE_MS 3         /* between two looks */
#define RECOVER_MAX 8192    /* records in one transaction */

static const char magic[8] = "REKINDLE";

struct journal {
	int fd;
	uint64_t id, size;
	pthread_mutex_t lock;
	pthread_cond_t free;    /* for the next to put */
	bool putting;
	uint64_t head;          /* where the next record goes */
	struct buf out;         /* of the one who puts */
	_Atomic uint64_t moved; /* written by the thread that moves */
	_Atomic uint64_t doubt; /* a flush failed: what was put before this place may never reach the disk */
	char *in;               /* that thread's */
	struct log_rate rate;
	char path[PATH_MAX];
};

/* ---- one record ---- */

/* Tells torn writes and old laps, not attackers: the file is ours alone. */
static uint64_t
check_of(const unsigned char *p, size_t n, uint64_t place)
{
	uint64_t h = place * 0x9e3779b97f4a7c15 + n;

	for (size_t i = 0; i < n; i += 8) { /* n is a multiple of 8 */
		h = (h ^ get_u64(p + i)) * 0xff51afd7ed558ccd;
		h ^= h >> 32;
	}
	return h;
}

static unsigned char *
put_name(unsigned char *p, struct span s)
{
	put_u16(p, (uint16_t)s.n);
	if (s.n > 0)
		memcpy(p + 2, s.p, s.n);
	return p + 2 + s.n;
}

/* What lies behind it, up to the end of the ring, is empty. */
static void
add_skip(struct buf *out, uint64_t place)
{
	unsigned char head[RECORD_HEAD] = { 0 };

	put_u64(head, place);
	put_u32(head + 8, SKIPPED);
	buf_add(out, span_make((const char *)head, sizeof head));
}

void
journal_pack(struct buf *out, const struct record *r, uint64_t place)
{
	struct span name[] = { r->address, r->stream, r->campaign, r->destination, r->source };
	size_t n = TOUCH_BYTES;
	unsigned char *head, *p;

	for (size_t i = 0; i < NAMES; i++) {
		name[i] = span_cut(name[i], 0, JOURNAL_NAME_MAX);
		n += 2 + name[i].n;
	}
	n = (n + 7) / 8 * 8;
	if ((head = (unsigned char *)buf_room(out, RECORD_HEAD + n)) == NULL)
		return;
	memset(head + RECORD_HEAD + n - 8, 0, 8);
	p = head + RECORD_HEAD;
	touch_pack(&r->touch, p);
	p += TOUCH_BYTES;
	for (size_t i = 0; i < NAMES; i++)
		p = put_name(p, name[i]);
	put_u64(head, place);
	put_u32(head + 8, (uint32_t)n);
	put_u32(head + 12, 0);
	put_u64(head + 16, check_of(head + RECORD_HEAD, n, place));
	buf_grew(out, RECORD_HEAD + n);
}

static bool
take_name(struct span *in, struct span *name)
{
	size_t n;

	if (in->n < 2)
		return false;
	n = get_u16((const unsigned char *)in->p);
	if (in->n - 2 < n)
		return false;
	*name = span_cut(*in, 2, 2 + n);
	*in = span_from(*in, 2 + n);
	return true;
}

/* A record with kind 0 writes names only; touch_unpack knows no such kind. */
static bool
take_touch(struct span *in, struct touch *t)
{
	unsigned char bytes[TOUCH_BYTES];
	bool names_only;

	if (in->n < TOUCH_BYTES)
		return false;
	memcpy(bytes, in->p, TOUCH_BYTES);
	names_only = bytes[1] == 0;
	if (names_only)
		bytes[1] = TOUCH_SENT;
	if (!touch_unpack(t, span_make((const char *)bytes, sizeof bytes)))
		return false;
	if (names_only)
		t->kind = 0;
	*in = span_from(*in, TOUCH_BYTES);
	return true;
}

long
journal_unpack(struct record *r, struct span in, uint64_t place, size_t *skip)
{
	const unsigned char *p = (const unsigned char *)in.p;
	size_t n;

	if (in.n < RECORD_HEAD || get_u64(p) != place || get_u32(p + 12) != 0)
		return 0;
	n = get_u32(p + 8);
	if (n == 0 || n % 8 != 0 || n > in.n - RECORD_HEAD || n > JOURNAL_RECORD_MAX || get_u64(p + 16) != check_of(p + RECORD_HEAD, n, place))
		return 0;
	*skip = RECORD_HEAD + n;
	in = span_cut(in, RECORD_HEAD, RECORD_HEAD + n);
	if (!take_touch(&in, &r->touch) || !take_name(&in, &r->address) || !take_name(&in, &r->stream) ||
	    !take_name(&in, &r->campaign) || !take_name(&in, &r->destination) || !take_name(&in, &r->source))
		return -1;
	return (long)*skip;
}

/* ---- the file ---- */

static bool
complain(struct buf *why, const char *path, const char *what)
{
	buf_addf(why, "%s%s: %s", why->n > 0 ? "; " : "", path, what);
	return false;
}

static bool
write_at(int fd, const void *p, size_t n, uint64_t at)
{
	const char *from = p;
	ssize_t got;

	for (; n > 0; n -= (size_t)got, from += got, at += (size_t)got)
		if ((got = pwrite(fd, from, n, (off_t)at)) <= 0) {
			if (got < 0 && errno == EINTR) {
				got = 0;
				continue;
			}
			if (got == 0)
				errno = ENOSPC;
			return false;
		}
	return true;
}

/* Fewer than n at the end of the file only. */
static ssize_t
read_at(int fd, void *p, size_t n, uint64_t at)
{
	size_t done = 0;
	ssize_t got;

	while (done < n) {
		got = pread(fd, (char *)p + done, n - done, (off_t)(at + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static bool
write_zeros(int fd, uint64_t from, uint64_t to)
{
	static const char zero[64 * 1024];

	for (uint64_t n; from < to; from += n) {
		n = to - from < sizeof zero ? to - from : sizeof zero;
		if (!write_at(fd, zero, n, from))
			return false;
	}
	return true;
}

static bool
try_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* The lock is worth something only as long as others find the same file behind the name. */
static bool
is_still_at(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static void
put_moved(struct journal *j, uint64_t to)
{
	unsigned char bytes[8];

	put_u64(bytes, to);
	(void)write_at(j->fd, bytes, sizeof bytes, 32);
}

/* It must not be what fills the disk. */
static bool
has_room(int fd, uint64_t size)
{
	struct statvfs st;

	return fstatvfs(fd, &st) != 0 || (uint64_t)st.f_bavail * st.f_frsize / ROOM >= size;
}

/* All blocks are written, so that a later flush has the data to write and nothing else. */
static bool
make(struct journal *j, uint64_t size)
{
	unsigned char head[40] = { 0 };

	if (ftruncate(j->fd, 0) != 0)
		return false;
	if (!has_room(j->fd, size)) {
		errno = ENOSPC;
		return false;
	}
	if (getrandom(&j->id, sizeof j->id, 0) != sizeof j->id)
		return false;
	j->size = size;
	memcpy(head, magic, sizeof magic);
	put_u64(head + 8, FORMAT);
	put_u64(head + 16, j->id);
	put_u64(head + 24, size);
	if (!write_zeros(j->fd, 0, HEAD + size) || fdatasync(j->fd) != 0)
		return false;
	return write_at(j->fd, head, sizeof head, 0) && fdatasync(j->fd) == 0;
}

/* False: not a journal, or of another kind.  An empty file is one that somebody did not finish. */
static bool
read_head(struct journal *j, bool *empty)
{
	unsigned char head[40];
	ssize_t n = read_at(j->fd, head, sizeof head, 0);
	static const unsigned char zero[sizeof head];
	struct stat st;

	*empty = n >= 0 && ((size_t)n < sizeof head || memcmp(head, zero, sizeof head) == 0);
	if (n != sizeof head || memcmp(head, magic, sizeof magic) != 0 || get_u64(head + 8) != FORMAT)
		return false;
	j->id = get_u64(head + 16);
	j->size = get_u64(head + 24);
	atomic_store(&j->moved, get_u64(head + 32));
	return j->size >= JOURNAL_MIN && j->size % 8 == 0 && fstat(j->fd, &st) == 0 && j->size + HEAD <= (uint64_t)st.st_size;
}

/*
 * Reads records from place on, up to max and before `end`, and says where it
 * stopped: there, at the end of what was written, or where in[] is full.
 * What is being put just now lies behind the head and looks complete before
 * it is.
 */
static size_t
read_records(struct journal *j, struct record *r, size_t max, uint64_t place, uint64_t end, uint64_t *to, bool *readable)
{
	uint64_t offset = place % j->size, left = j->size - offset;
	size_t n = 0, at = 0, skip, have;
	ssize_t got;
	long took;

	*to = place;
	if (left < RECORD_HEAD) { /* no room for a record of any kind */
		*to = place += left;
		offset = 0;
		left = j->size;
	}
	have = left < CHUNK ? left : CHUNK;
	if (end - place < have)
		have = (size_t)(end - place);
	got = read_at(j->fd, j->in, have, HEAD + offset);
	*readable = got >= 0;
	if (got < 0) {
		log_rated(&j->rate, "store: cannot read %s: %s", j->path, strerror(errno));
		return 0;
	}
	have = (size_t)got;
	while (n < max && at < have) {
		struct span in = span_make(j->in + at, have - at);

		if (in.n >= RECORD_HEAD && get_u64((unsigned char *)in.p) == place + at &&
		    get_u32((unsigned char *)in.p + 8) == SKIPPED) {
			*to = place + left;
			return n;
		}
		if ((took = journal_unpack(&r[n], in, place + at, &skip)) == 0)
			break;
		if (took < 0)
			log_rated(&j->rate, "store: %s: a touch of a kind that this version does not know is left out", j->path);
		else
			n++;
		at += skip;
		*to = place + at;
	}
	return n;
}

/* Where what was written ends.  Records that cannot be read end it. */
static uint64_t
find_end(struct journal *j, uint64_t place, bool *readable)
{
	struct record *r = xcalloc(RECOVER_MAX, sizeof *r);
	uint64_t to = place, start = place;

	do {
		place = to;
		read_records(j, r, RECOVER_MAX, place, place + j->size, &to, readable);
	} while (to != place && to - start <= j->size);
	free(r);
	return place;
}

/*
 * What is not waiting is zero.  The store is the only place that remembers
 * who did what, and in mode dayonly forgets the order of things.  And what
 * lies behind a hole after a power cut, of which nobody was told that it is
 * safe, must not come to life when the hole is filled.
 */
static bool
wipe_between(struct journal *j, uint64_t from, uint64_t to)
{
	uint64_t begin = from % j->size, end = to % j->size;

	if (to - from >= j->size)
		return write_zeros(j->fd, HEAD, HEAD + j->size);
	if (begin <= end)
		return write_zeros(j->fd, HEAD + begin, HEAD + end);
	return write_zeros(j->fd, HEAD + begin, HEAD + j->size) && write_zeros(j->fd, HEAD, HEAD + end);
}

/* Gives the store what it does not have.  False when that did not work: it stays. */
static bool
recover(struct journal *j, struct store *s)
{
	struct record *r = xcalloc(RECOVER_MAX, sizeof *r);
	uint64_t was = atomic_load(&j->moved), place = was, begin, mark, to, touches = 0;
	bool good = store_mark(s, j->id, &mark) == STORE_OK, readable;
	enum store_result result;
	size_t n;

	if (good && mark > place)
		place = mark;
	begin = place;
	while (good) {
		n = read_records(j, r, RECOVER_MAX, place, place + j->size, &to, &readable);
		good = readable;
		if (!good || to == place)
			break;
		result = store_append_from(s, r, n, j->id, place, to);
		if (result == STORE_NONE) /* now it is known */
			good = store_mark(s, j->id, &mark) == STORE_OK && mark > place;
		else
			good = result == STORE_OK;
		if (good && result == STORE_OK)
			touches += n;
		if (good)
			place = result == STORE_OK ? to : mark;
	}
	if (touches > 0)
		log_info("store: %llu touches of a process that ended early are in the store now", (unsigned long long)touches);
	/* Nobody may ever take this file for himself again, and what lies behind damage waits for nobody. */
	if (place != was && !(good ? wipe_between(j, place, place + j->size) : wipe_between(j, begin, place)))
		log_rated(&j->rate, "store: cannot wipe %s: %s", j->path, strerror(errno));
	atomic_store(&j->moved, place);
	put_moved(j, place);
	free(r);
	return good;
}

/* Not ours, or of another version: whoever made it may want it back. */
static bool
set_aside(struct journal *j, struct buf *why)
{
	char aside[PATH_MAX + 8];
	int fd;

	snprintf(aside, sizeof aside, "%s.bad", j->path);
	if (rename(j->path, aside) != 0 || (fd = open(j->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660)) < 0)
		return complain(why, j->path, strerror(errno));
	close(j->fd);
	j->fd = fd;
	log_error("store: %s is no journal that this version knows; it is %s now", j->path, aside);
	return try_lock(fd) || complain(why, j->path, "somebody else was faster");
}

/* The lock is ours.  Makes it ready for journal_put; false with why. */
static bool
adopt(struct journal *j, struct store *s, uint64_t size, struct buf *why)
{
	bool empty, readable, clean, known = read_head(j, &empty);
	uint64_t start, mark;

	if (!known && !empty && !set_aside(j, why))
		return false;
	/* What is said to be moved may be behind the truth by now: a place must not be given out again. */
	if (known && store_mark(s, j->id, &mark) != STORE_OK)
		return complain(why, j->path, "the store does not tell what it has of it");
	clean = known && recover(j, s);
	start = atomic_load(&j->moved);
	if (!known || (clean && j->size != size)) {
		atomic_store(&j->moved, 0);
		j->head = 0;
		if (make(j, size))
			return true;
		complain(why, j->path, strerror(errno));
		if (ftruncate(j->fd, 0) != 0) /* the store needs the room more */
			log_warn("store: cannot empty %s: %s", j->path, strerror(errno));
		return false;
	}
	j->head = find_end(j, start, &readable);
	if (!readable)
		return complain(why, j->path, "cannot be read"); /* now; what is in it stays */
	return wipe_between(j, j->head, start + j->size) || complain(why, j->path, strerror(errno));
}

static struct journal *
journal_new(int fd, const char *path)
{
	struct journal *j = xcalloc(1, sizeof *j);

	j->fd = fd;
	j->in = xmalloc(CHUNK);
	buf_init(&j->out, 64 * 1024 * 1024);
	pthread_mutex_init(&j->lock, NULL);
	clock_cond(&j->free);
	snprintf(j->path, sizeof j->path, "%s", path);
	return j;
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	close(j->fd);
	pthread_cond_destroy(&j->free);
	pthread_mutex_destroy(&j->lock);
	buf_free(&j->out);
	free(j->in);
	free(j);
}

/* A new name in the directory must survive too. */
static void
flush_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

struct journal *
journal_open(const char *dir, uint64_t size, struct store *s, struct buf *why)
{
	struct journal *mine = NULL, *j;
	char path[PATH_MAX];
	int fd;

	size = (size < JOURNAL_MIN ? JOURNAL_MIN : size) / HEAD * HEAD;
	for (int no = 0; no < JOURNALS_MAX; no++) {
		if ((size_t)snprintf(path, sizeof path, "%s/journal-%d", dir, no) >= sizeof path) {
			complain(why, dir, "path is too long");
			break;
		}
		/* Once we have one, only those that exist matter, and they need not follow without a gap. */
		if ((fd = open(path, O_RDWR | O_CLOEXEC | (mine == NULL ? O_CREAT : 0), 0660)) < 0) {
			if (mine == NULL) {
				complain(why, path, strerror(errno));
				break;
			}
			continue;
		}
		if (!try_lock(fd) || !is_still_at(fd, path)) {
			close(fd);
			continue;
		}
		j = journal_new(fd, path);
		if (mine == NULL) {
			if (adopt(j, s, size, why))
				mine = j;
			else
				journal_close(j);
			if (mine == NULL)
				break;
		} else {
			bool empty;

			if (read_head(j, &empty))
				recover(j, s);
			journal_close(j);
		}
	}
	if (mine != NULL)
		flush_dir(dir);
	else if (why->n == 0)
		complain(why, dir, "all journals are in use");
	return mine;
}

/* ---- putting ---- */

/* One at a time writes.  Others learn how full it is even when that one hangs. */
static bool
begin_put(struct journal *j, int64_t within_ms)
{
	struct timespec until = clock_after(within_ms);
	bool mine;
	int rc = 0;

	pthread_mutex_lock(&j->lock);
	while (j->putting && rc == 0)
		rc = within_ms < 0 ? pthread_cond_wait(&j->free, &j->lock) : pthread_cond_timedwait(&j->free, &j->lock, &until);
	mine = !j->putting;
	j->putting = true;
	pthread_mutex_unlock(&j->lock);
	return mine;
}

static void
end_put(struct journal *j, uint64_t head)
{
	pthread_mutex_lock(&j->lock);
	j->head = head;
	j->putting = false;
	pthread_mutex_unlock(&j->lock);
	pthread_cond_signal(&j->free);
}

/* What is being packed into j->out, to be written from place `begin` on. */
struct packing {
	uint64_t begin, place; /* where the next one goes */
	size_t split;          /* from here on at the start of the ring */
};

/* False: with this one they are more than the ring. */
static bool
pack_one(struct journal *j, struct packing *p, const struct record *r)
{
	size_t at = j->out.n;
	uint64_t left = j->size - p->place % j->size;

	if (p->place % j->size == 0 && p->place != p->begin)
		p->split = at; /* the one before fitted exactly */
	journal_pack(&j->out, r, p->place);
	if (j->out.n - at > left) { /* again, at the start */
		j->out.n = at;
		if (left >= RECORD_HEAD)
			add_skip(&j->out, p->place);
		p->split = at = j->out.n;
		p->place += left;
		journal_pack(&j->out, r, p->place);
	}
	p->place += j->out.n - at;
	return !j->out.over && p->place - p->begin <= j->size;
}

static bool
pack_all(struct journal *j, struct packing *p, const struct journal_piece *piece, size_t n)
{
	*p = (struct packing){ j->head, j->head, SIZE_MAX };
	buf_clear(&j->out);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < piece[i].n; k++)
			if (!pack_one(j, p, &piece[i].record[k]))
				return false;
	return true;
}

enum journal_result
journal_put_pieces(struct journal *j, const struct journal_piece *piece, size_t n, int64_t within_ms)
{
	enum journal_result result = JOURNAL_OK;
	struct packing p;
	size_t first;
	bool fits;

	if (!begin_put(j, within_ms))
		return JOURNAL_BUSY;
	fits = pack_all(j, &p, piece, n);
	first = p.split < j->out.n ? p.split : j->out.n;
	if (atomic_load(&j->doubt) > atomic_load(&j->moved))
		result = JOURNAL_ERROR; /* behind a hole it would be as good as lost */
	else if (!fits || p.place - atomic_load(&j->moved) > j->size)
		result = JOURNAL_FULL;
	/* The second piece first: until the first is there, nobody reads on to it. */
	else if (!write_at(j->fd, j->out.p + first, j->out.n - first, HEAD) ||
	    !write_at(j->fd, j->out.p, first, HEAD + p.begin % j->size)) {
		log_rated(&j->rate, "store: cannot write %s: %s", j->path, strerror(errno));
		(void)wipe_between(j, p.begin, p.place);
		result = JOURNAL_ERROR;
	}
	end_put(j, result == JOURNAL_OK ? p.place : p.begin);
	return result;
}

enum journal_result
journal_put(struct journal *j, const struct record *r, size_t n, int64_t within_ms)
{
	return journal_put_pieces(j, &(struct journal_piece){ r, n }, 1, within_ms);
}

bool
journal_flush(struct journal *j)
{
	if (fdatasync(j->fd) == 0)
		return true;
	log_rated(&j->rate, "store: cannot flush %s: %s", j->path, strerror(errno));
	pthread_mutex_lock(&j->lock);
	atomic_store(&j->doubt, j->head);
	pthread_mutex_unlock(&j->lock);
	return false;
}

/* ---- moving ---- */

size_t
journal_take(struct journal *j, struct record *r, size_t max, uint64_t *to)
{
	uint64_t place = atomic_load(&j->moved), head;
	bool readable;
	size_t n;

	pthread_mutex_lock(&j->lock);
	head = j->head;
	pthread_mutex_unlock(&j->lock);
	*to = place;
	if (place == head)
		return 0;
	n = read_records(j, r, max, place, head, to, &readable);
	if (n == 0 && *to > place && *to < head) /* the end of the ring, and nothing else */
		n = read_records(j, r, max, *to, head, to, &readable);
	if (n == 0 && readable && *to == place) {
		log_error("store: %s: %llu bytes were damaged and are left out", j->path, (unsigned long long)(head - place));
		*to = head;
	}
	return n;
}

uint64_t
journal_id(const struct journal *j)
{
	return j->id;
}

uint64_t
journal_place(const struct journal *j)
{
	return atomic_load(&j->moved);
}

void
journal_moved(struct journal *j, uint64_t to)
{
	if (!wipe_between(j, atomic_load(&j->moved), to)) /* before anybody may write there */
		log_rated(&j->rate, "store: cannot wipe %s: %s", j->path, strerror(errno));
	atomic_store(&j->moved, to);
	put_moved(j, to);
}

void
journal_load(struct journal *j, struct journal_load *out)
{
	pthread_mutex_lock(&j->lock);
	out->put = j->head;
	out->moved = atomic_load(&j->moved);
	out->waiting = out->put - out->moved;
	out->size = j->size;
	pthread_mutex_unlock(&j->lock);
}

/* ---- those of others ---- */

static void
wait_for(const struct journal *j, struct store *s, uint64_t end, int64_t until)
{
	struct timespec pause = { .tv_nsec = SETTLE_MS * 1000000 };
	uint64_t mark;

	while (store_mark(s, j->id, &mark) == STORE_OK && mark < end && clock_ms() < until)
		nanosleep(&pause, NULL);
}

void
journal_settle(const char *dir, struct store *s, int64_t within_ms, bool dead_too)
{
	int64_t until = clock_ms() + within_ms;
	char path[PATH_MAX];
	struct journal *j;
	uint64_t mark;
	bool empty;
	int fd;

	for (int no = 0; no < JOURNALS_MAX; no++) {
		if ((size_t)snprintf(path, sizeof path, "%s/journal-%d", dir, no) >= sizeof path ||
		    (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
			continue;
		j = journal_new(fd, path);
		if (try_lock(fd)) {
			if (dead_too && read_head(j, &empty))
				recover(j, s);
		} else if (read_head(j, &empty) && store_mark(s, j->id, &mark) == STORE_OK) {
			uint64_t from, end, moved = atomic_load(&j->moved);
			bool readable;

			/* What is moved while we look is wiped, and what lies behind it would not be seen. */
			do {
				from = moved > mark ? moved : mark;
				end = find_end(j, from, &readable);
			} while (store_mark(s, j->id, &mark) == STORE_OK && mark > from && clock_ms() < until);
			if (end > from)
				wait_for(j, s, end, until);
		}
		journal_close(j);
	}
}
