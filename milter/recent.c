#include "milter/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec.h"
#include "common/mem.h"

#define SHARDS 64
#define FEWEST 16   /* places of a shard that has any */
#define WALK_MAX 512 /* entries of one bucket: somebody may get thousands of messages, without a cap */

enum state { FREE, RESERVED, KEPT };

struct send {
	struct who who;
	uint64_t before; /* the next older one of its bucket, + 1; gone when it is older than the oldest */
	uint32_t when, kept;
	uint16_t tag;
	uint8_t state;
};

/*
 * Sends in the order in which they came, in a ring: number i is at place
 * i % size.  The oldest go first, so a bucket is a list from newer to older
 * that simply ends where the ring does, and nothing is ever unlinked.
 */
struct shard {
	pthread_mutex_t lock;
	struct send *ring;
	uint64_t *bucket;     /* by the who's hash: its newest, + 1 */
	size_t size, max;     /* powers of two */
	uint64_t oldest, next; /* numbers */
};

struct recents {
	struct shard shard[SHARDS];
	_Atomic uint32_t settled;
};

struct recents *
recents_new(size_t max)
{
	struct recents *r = xcalloc(1, sizeof *r);
	size_t each = FEWEST;

	while (each < max / SHARDS)
		each *= 2;
	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&r->shard[i].lock, NULL);
		r->shard[i].max = each;
	}
	return r;
}

void
recents_free(struct recents *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_destroy(&r->shard[i].lock);
		free(r->shard[i].ring);
		free(r->shard[i].bucket);
	}
	free(r);
}

/* A who is a keyed hash already. */
static struct shard *
shard_of(struct recents *r, const struct who *who)
{
	return &r->shard[who->b[0] % SHARDS];
}

static struct send *
send_at(const struct shard *s, uint64_t number)
{
	return &s->ring[number & (s->size - 1)];
}

static uint64_t *
bucket_of(const struct shard *s, const struct who *who)
{
	return &s->bucket[get_u64(who->b + 1) & (s->size - 1)];
}

static void
put(struct shard *s, uint64_t number, const struct send *send)
{
	struct send *to = send_at(s, number);
	uint64_t *bucket = bucket_of(s, &send->who);

	*to = *send;
	to->before = *bucket;
	*bucket = number + 1;
}

static void
grow(struct shard *s)
{
	struct shard was = *s;

	s->size = was.size > 0 ? 2 * was.size : FEWEST;
	s->ring = xcalloc(s->size, sizeof *s->ring);
	s->bucket = xcalloc(s->size, sizeof *s->bucket);
	for (uint64_t i = was.oldest; i < was.next; i++)
		put(s, i, send_at(&was, i));
	free(was.ring);
	free(was.bucket);
}

static bool
may_go(const struct send *send, uint32_t settled)
{
	return send->state == FREE || (send->state == KEPT && send->kept < settled);
}

size_t
recent_open(struct recents *r, const struct who *who, uint16_t tag, struct recent out[RECENT_FOUND])
{
	struct shard *s = shard_of(r, who);
	size_t n = 0, same = 0, steps = 0;

	pthread_mutex_lock(&s->lock);
	if (s->size == 0)
		return 0;
	for (uint64_t at = *bucket_of(s, who); at > s->oldest && same < CAP_COUNT_MAX && steps < WALK_MAX; steps++) {
		const struct send *send = send_at(s, at - 1);

		if (send->state != FREE && memcmp(&send->who, who, sizeof *who) == 0 &&
		    (send->tag == tag || n - same < CAP_COUNT_MAX)) {
			out[n++] = (struct recent){ send->when, send->tag };
			same += send->tag == tag;
		}
		at = send->before;
	}
	return n;
}

uint64_t
recent_reserve(struct recents *r, const struct who *who, struct recent recent)
{
	struct shard *s = shard_of(r, who);
	uint32_t settled = atomic_load_explicit(&r->settled, memory_order_relaxed);

	while (s->oldest < s->next && may_go(send_at(s, s->oldest), settled))
		s->oldest++;
	if (s->next - s->oldest == s->size) {
		if (s->size < s->max)
			grow(s);
		else
			s->oldest++;
	}
	put(s, s->next, &(struct send){ .who = *who, .when = recent.when, .tag = recent.tag, .state = RESERVED });
	return ++s->next;
}

void
recent_close(struct recents *r, const struct who *who)
{
	pthread_mutex_unlock(&shard_of(r, who)->lock);
}

static void
set(struct recents *r, const struct who *who, uint64_t reservation, enum state state, uint32_t now)
{
	struct shard *s = shard_of(r, who);

	pthread_mutex_lock(&s->lock);
	/* It may be among those that were forgotten. */
	if (reservation > s->oldest) {
		send_at(s, reservation - 1)->state = (uint8_t)state;
		send_at(s, reservation - 1)->kept = now;
	}
	pthread_mutex_unlock(&s->lock);
}

void
recent_keep(struct recents *r, const struct who *who, uint64_t reservation, uint32_t now)
{
	set(r, who, reservation, KEPT, now);
}

void
recent_drop(struct recents *r, const struct who *who, uint64_t reservation)
{
	set(r, who, reservation, FREE, 0);
}

void
recents_settled(struct recents *r, uint32_t before)
{
	atomic_store_explicit(&r->settled, before, memory_order_relaxed);
}

size_t
recents_count(struct recents *r)
{
	size_t n = 0;

	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_lock(&r->shard[i].lock);
		n += (size_t)(r->shard[i].next - r->shard[i].oldest);
		pthread_mutex_unlock(&r->shard[i].lock);
	}
	return n;
}
