#include "milter/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/codec.h"
#include "common/log.h"
#include "common/mem.h"

/*
 * Entries lie in a ring in the order in which they came, so the oldest is the
 * first; those of one id are also a chain.  One that is removed stays a dead
 * place in the ring until it is the first, or until there is no room and the
 * dead are most of it.
 *
 * The file is a header and then records of the same size, each with a
 * checksum, so a damaged one spoils none but itself:
 *
 *	 0 checksum of the rest	 4 when; 0: gone, one recipient or (nobody) all
 *	 8 campaign	16 stream	24 who
 *	40 length of the id, and the id
 */
#define RECORD_BYTES 64
#define HEADER "rekindle queue-ids 1\n"
#define PENDING_MAX (65536 * RECORD_BYTES) /* between two saves; what is more is not in the file */
#define FIRST_CAP 1024
#define SLACK 16384                        /* records that may be old before the file is written anew */
#define NOWHERE UINT32_MAX

struct entry {
	struct queued about;
	struct who who;
	uint32_t next;            /* in the chain: a place in the ring, NOWHERE at its end */
	uint8_t nid;              /* 0: dead */
	int8_t deferred;          /* enum bounce; -1: was not */
	char id[QUEUE_ID_MAX];
};

struct queue {
	pthread_mutex_t lock;
	struct entry *ring;
	uint32_t *chain;          /* by hash of the id; cap of them */
	uint32_t cap, first, n, dead;
	struct buf pending;
	/* Of the one thread that saves. */
	char *path;
	int fd;                   /* -1: there is no file */
	uint64_t records;         /* in it */
};

/* ---- the ring; with the lock ---- */

static uint32_t *
chain_of(struct queue *q, struct span id)
{
	return &q->chain[span_hash(id) & (q->cap - 1)];
}

static struct span
id_of(const struct entry *e)
{
	return span_make(e->id, e->nid);
}

static void
link_in(struct queue *q, uint32_t place)
{
	uint32_t *head = chain_of(q, id_of(&q->ring[place]));

	q->ring[place].next = *head;
	*head = place;
}

static void
unlink_entry(struct queue *q, uint32_t place)
{
	uint32_t *at = chain_of(q, id_of(&q->ring[place]));

	while (*at != place)
		at = &q->ring[*at].next;
	*at = q->ring[place].next;
	q->ring[place].nid = 0;
	q->dead++;
}

/* Dead ones at the front make room. */
static void
trim(struct queue *q)
{
	while (q->n > 0 && q->ring[q->first].nid == 0) {
		q->first = (q->first + 1) & (q->cap - 1);
		q->n--;
		q->dead--;
	}
}

static void
drop_first(struct queue *q)
{
	unlink_entry(q, q->first);
	trim(q);
}

/* The living ones into a ring of this size. */
static void
resize(struct queue *q, uint32_t cap)
{
	struct entry *old = q->ring;
	uint32_t from = q->first, n = q->n, mask = q->cap - 1;

	free(q->chain);
	q->ring = xcalloc(cap, sizeof *q->ring);
	q->chain = xcalloc(cap, sizeof *q->chain);
	memset(q->chain, 0xff, cap * sizeof *q->chain);
	q->cap = cap;
	q->first = q->n = q->dead = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct entry *e = &old[(from + i) & mask];

		if (e->nid == 0)
			continue;
		q->ring[q->n] = *e;
		link_in(q, q->n++);
	}
	free(old);
}

static void
insert(struct queue *q, struct span id, const struct queued *about, const struct who *who)
{
	struct entry *e;
	uint32_t place;

	if (q->n == q->cap) {
		if (q->dead > q->n / 2)
			resize(q, q->cap);
		else if (q->cap < QUEUE_MAX)
			resize(q, 2 * q->cap);
		else
			drop_first(q);
	}
	place = (q->first + q->n++) & (q->cap - 1);
	e = &q->ring[place];
	*e = (struct entry){ .about = *about, .who = *who, .nid = (uint8_t)id.n, .deferred = -1 };
	memcpy(e->id, id.p, id.n);
	link_in(q, place);
}

static bool
has_id(const struct entry *e, struct span id)
{
	return span_eq(id_of(e), id);
}

/* All of its recipients, or one.  True when there was one. */
static bool
remove_id(struct queue *q, struct span id, const struct who *who)
{
	uint32_t place = *chain_of(q, id);
	bool any = false;

	while (place != NOWHERE) {
		uint32_t next = q->ring[place].next;

		if (has_id(&q->ring[place], id) && (who_is_nobody(who) || who_eq(who, &q->ring[place].who))) {
			unlink_entry(q, place);
			any = true;
		}
		place = next;
	}
	trim(q);
	return any;
}

/* ---- records ---- */

/* FNV-1a: against a torn or overwritten record, not against anybody's intent. */
static uint32_t
checksum(const unsigned char *p, size_t n)
{
	uint32_t h = 0x811c9dc5;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x01000193;
	return h;
}

static void
add_record(struct buf *out, struct span id, const struct queued *about, const struct who *who)
{
	unsigned char b[RECORD_BYTES] = { 0 };

	put_u32(b + 4, about->when);
	put_u64(b + 8, about->campaign);
	put_u64(b + 16, about->stream);
	memcpy(b + 24, who->b, sizeof who->b);
	b[40] = (unsigned char)id.n;
	memcpy(b + 41, id.p, id.n);
	put_u32(b, checksum(b + 4, sizeof b - 4));
	buf_add(out, span_make(b, sizeof b));
}

static void
take_record(struct queue *q, const unsigned char *b, uint32_t oldest)
{
	struct queued about = { .when = get_u32(b + 4), .campaign = get_u64(b + 8), .stream = get_u64(b + 16) };
	struct span id = span_make(b + 41, b[40]);
	struct who who;

	if (get_u32(b) != checksum(b + 4, RECORD_BYTES - 4) || id.n == 0 || id.n > QUEUE_ID_MAX)
		return;
	memcpy(who.b, b + 24, sizeof who.b);
	if (about.when == 0)
		remove_id(q, id, &who);
	else if (about.when >= oldest)
		insert(q, id, &about, &who);
}

/* ---- the file ---- */

static bool
write_all(int fd, struct span s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		s = span_from(s, (size_t)n);
	}
	return true;
}

/* Headers are as long as records, so all begin at multiples of that. */
static void
add_header(struct buf *out)
{
	char header[RECORD_BYTES] = HEADER;

	buf_add(out, span_make(header, sizeof header));
}

static void
give_up(struct queue *q, const char *what)
{
	log_warn("%s: cannot be %s: %s; bounces of mail that is in the queue at a restart will name no campaign", q->path, what,
	    strerror(errno));
	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
}

static void
read_file(struct queue *q, uint32_t oldest)
{
	unsigned char chunk[1024 * RECORD_BYTES];
	char header[RECORD_BYTES] = HEADER;
	bool first = true;
	FILE *f = fopen(q->path, "re");
	size_t n;

	if (f == NULL)
		return;
	while ((n = fread(chunk, RECORD_BYTES, sizeof chunk / RECORD_BYTES, f)) > 0) {
		for (size_t i = 0; i < n; i++, first = false) {
			if (first && memcmp(chunk, header, sizeof header) != 0) {
				fclose(f); /* another version's */
				return;
			}
			if (!first)
				take_record(q, chunk + i * RECORD_BYTES, oldest);
		}
	}
	fclose(f);
}

/* All that is alive, as a new file in the place of the old one. */
static void
write_anew(struct queue *q)
{
	struct buf all = BUF(((size_t)QUEUE_MAX + 1) * RECORD_BYTES), path = BUF(4096);
	bool good;
	int fd;

	add_header(&all);
	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < q->n; i++) {
		const struct entry *e = &q->ring[(q->first + i) & (q->cap - 1)];

		if (e->nid > 0)
			add_record(&all, id_of(e), &e->about, &e->who);
	}
	buf_clear(&q->pending); /* it is among them */
	pthread_mutex_unlock(&q->lock);

	buf_addf(&path, "%s.new", q->path);
	fd = open(buf_cstr(&path), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0640);
	good = fd >= 0 && write_all(fd, buf_span(&all)) && rename(buf_cstr(&path), q->path) == 0;
	if (good) {
		if (q->fd >= 0)
			close(q->fd);
		q->fd = fd;
		q->records = all.n / RECORD_BYTES - 1;
	} else {
		give_up(q, "written");
		if (fd >= 0) {
			close(fd);
			unlink(buf_cstr(&path));
		}
	}
	buf_free(&all);
	buf_free(&path);
}

/* ---- for all ---- */

struct queue *
queue_open(const char *dir, int64_t now_ms)
{
	struct queue *q = xcalloc(1, sizeof *q);
	struct buf path = BUF(4096);

	pthread_mutex_init(&q->lock, NULL);
	buf_init(&q->pending, PENDING_MAX);
	buf_addf(&path, "%s/queue-ids", dir);
	q->path = buf_steal(&path);
	q->fd = -1;
	resize(q, FIRST_CAP);
	read_file(q, (uint32_t)(now_ms / 1000 - QUEUE_SECONDS));
	write_anew(q);
	return q;
}

void
queue_close(struct queue *q)
{
	if (q == NULL)
		return;
	if (q->fd >= 0) {
		write_all(q->fd, buf_span(&q->pending)); /* what fails is lost, and was said to be */
		close(q->fd);
	}
	buf_free(&q->pending);
	pthread_mutex_destroy(&q->lock);
	free(q->ring);
	free(q->chain);
	free(q->path);
	free(q);
}

static bool
is_good(struct span id)
{
	return id.n > 0 && id.n <= QUEUE_ID_MAX;
}

/* With the lock. */
static void
add(struct queue *q, struct span id, const struct queued *about, const struct who *who)
{
	insert(q, id, about, who);
	add_record(&q->pending, id, about, who);
}

/* With the lock. */
static void
drop(struct queue *q, struct span id, const struct who *who)
{
	if (is_good(id) && remove_id(q, id, who))
		add_record(&q->pending, id, &(struct queued){ 0 }, who);
}

void
queue_add(struct queue *q, struct span id, const struct queued *about, const struct who *who, size_t n)
{
	static const struct who anybody;
	size_t known = 0;

	if (!is_good(id) || about->when == 0)
		return;
	pthread_mutex_lock(&q->lock);
	/* The queue has many names to give, but not for ever: whoever had this one is gone. */
	drop(q, id, &anybody);
	for (size_t i = 0; n <= QUEUE_WHO_MAX && i < n; i++) {
		if (who_is_nobody(&who[i]))
			continue;
		add(q, id, about, &who[i]);
		known++;
	}
	if (known == 0)
		add(q, id, about, &anybody);
	pthread_mutex_unlock(&q->lock);
}

enum queue_answer
queue_find(struct queue *q, struct span id, const struct who *who, struct queued *out)
{
	enum queue_answer answer = QUEUE_NONE;

	pthread_mutex_lock(&q->lock);
	for (uint32_t place = *chain_of(q, id); place != NOWHERE && answer != QUEUE_RECIPIENT; place = q->ring[place].next) {
		const struct entry *e = &q->ring[place];

		if (!has_id(e, id))
			continue;
		*out = e->about;
		answer = who_is_nobody(&e->who) ? QUEUE_ANYBODY : who_eq(&e->who, who) ? QUEUE_RECIPIENT : QUEUE_OTHER;
	}
	pthread_mutex_unlock(&q->lock);
	return answer;
}

void
queue_defer(struct queue *q, struct span id, const struct who *who, enum bounce bounce)
{
	pthread_mutex_lock(&q->lock);
	for (uint32_t place = *chain_of(q, id); place != NOWHERE; place = q->ring[place].next)
		if (has_id(&q->ring[place], id) && who_eq(&q->ring[place].who, who))
			q->ring[place].deferred = (int8_t)bounce;
	pthread_mutex_unlock(&q->lock);
}

void
queue_done(struct queue *q, struct span id, const struct who *who)
{
	if (who_is_nobody(who))
		return;
	pthread_mutex_lock(&q->lock);
	drop(q, id, who);
	pthread_mutex_unlock(&q->lock);
}

size_t
queue_waiting(struct queue *q, struct span id, struct waiting out[QUEUE_WHO_MAX])
{
	size_t n = 0;

	pthread_mutex_lock(&q->lock);
	for (uint32_t place = *chain_of(q, id); place != NOWHERE && n < QUEUE_WHO_MAX; place = q->ring[place].next) {
		const struct entry *e = &q->ring[place];

		if (has_id(e, id) && e->deferred >= 0)
			out[n++] = (struct waiting){ e->who, (enum bounce)e->deferred, e->about };
	}
	pthread_mutex_unlock(&q->lock);
	return n;
}

/* Is this id known as that message's, or as what became of it?  With the lock. */
static bool
is_known_as(struct queue *q, struct span id, const struct queued *about)
{
	for (uint32_t place = *chain_of(q, id); place != NOWHERE; place = q->ring[place].next) {
		const struct entry *e = &q->ring[place];

		if (has_id(e, id) && e->about.campaign == about->campaign && e->about.stream == about->stream && e->about.when >= about->when)
			return true;
	}
	return false;
}

void
queue_follow(struct queue *q, struct span id, struct span next)
{
	struct who who[QUEUE_WHO_MAX];
	struct queued about = { 0 };
	size_t n = 0;

	pthread_mutex_lock(&q->lock);
	for (uint32_t place = *chain_of(q, id); place != NOWHERE && n < QUEUE_WHO_MAX; place = q->ring[place].next) {
		if (!has_id(&q->ring[place], id))
			continue;
		about = q->ring[place].about;
		who[n++] = q->ring[place].who;
	}
	/* The log says it once for each recipient, and what became of some of them behind the filter may stand in between. */
	if (n > 0 && is_known_as(q, next, &about))
		n = 0;
	pthread_mutex_unlock(&q->lock);
	if (n > 0)
		queue_add(q, next, &about, who, n);
}

void
queue_remove(struct queue *q, struct span id)
{
	pthread_mutex_lock(&q->lock);
	drop(q, id, &(struct who){ { 0 } });
	pthread_mutex_unlock(&q->lock);
}

void
queue_leave(struct queue *q)
{
	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
}

void
queue_save(struct queue *q, int64_t now_ms)
{
	uint32_t oldest = (uint32_t)(now_ms / 1000 - QUEUE_SECONDS);
	struct buf batch;
	uint32_t alive;

	pthread_mutex_lock(&q->lock);
	while (q->n > 0 && q->ring[q->first].about.when < oldest)
		drop_first(q);
	alive = q->n - q->dead;
	batch = q->pending;
	buf_init(&q->pending, PENDING_MAX);
	pthread_mutex_unlock(&q->lock);

	if (q->fd >= 0 && batch.n > 0) {
		if (write_all(q->fd, buf_span(&batch)))
			q->records += batch.n / RECORD_BYTES;
		else
			give_up(q, "written");
	}
	buf_free(&batch);
	if (q->fd >= 0 && q->records > 2 * (uint64_t)alive + SLACK)
		write_anew(q);
}
