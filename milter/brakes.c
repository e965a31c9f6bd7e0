#include "milter/brakes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define ENTRIES_MAX 4096             /* campaigns at once; the longest unheard of is forgotten */
#define FORGET_MS (2 * (int64_t)86400 * 1000)
#define OUTAGE_EVERY 3               /* seconds */
#define RECEIVERS_KEPT 1000

/* A campaign, or a stream's last 24 hours. */
struct entry {
	uint64_t id, stream;
	bool of_stream;
	struct brake_limits limits;
	struct brake_counts store, base, own; /* read last; read first; by this process since then */
	int64_t first, seen;   /* ms */
	enum brake stop;
	bool share, share_lifted, known_share; /* on; lifted by hand; has its row */
	bool warned[BRAKES];
};

struct brakes {
	struct store *store;
	struct setup_slot *slot;
	struct throttle *throttle;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	struct entry *entry;
	size_t nentries, capentries;
	uint32_t out[RECEIVERS_KEPT]; /* groups that are not seen */
	size_t nout;
	bool silent, all_out;
};

/* ---- counting ---- */

static uint64_t
more(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What the store has of ours already must not count twice, and what it has not yet must count. */
static struct brake_counts
counts_of(const struct entry *e)
{
	return (struct brake_counts){
		.sent = more(e->store.sent, e->base.sent + e->own.sent),
		.skipped = more(e->store.skipped, e->base.skipped + e->own.skipped),
		.by_class = more(e->store.by_class, e->base.by_class + e->own.by_class),
		.spared = more(e->store.spared, e->base.spared + e->own.spared),
		.delivered = e->store.delivered,
		.bounced = e->store.bounced,
		.complained = e->store.complained,
	};
}

static void
read_counts(struct store *s, struct entry *e, int64_t now)
{
	struct campaign c;

	if (e->of_stream)
		store_stream_counts(s, e->stream, (uint32_t)(now / 3600000), &e->store);
	else if (store_campaign(s, e->id, &c) == STORE_OK) {
		e->store = (struct brake_counts){ c.sent, c.skipped, c.by_class, c.spared, c.delivered, c.bounced, c.complained };
		if (c.first != 0 && (int64_t)c.first * 1000 < e->first)
			e->first = (int64_t)c.first * 1000;
	}
}

/* What was put on or lifted by hand, or by another process. */
static void
read_rows(struct store *s, struct entry *e)
{
	struct brake_row row;
	enum brake stop;
	int64_t since;

	/* What cannot be read now has lifted nothing. */
	if (!e->of_stream && store_stops(s, e->id, &stop, &since) <= STORE_NONE)
		e->stop = stop;
	e->known_share = store_get_brake(s, BRAKE_SHARE, e->id, &row) == STORE_OK;
	e->share_lifted = e->known_share && row.lifted != 0;
	if (e->known_share && !e->share_lifted)
		e->share = true;
}

static void
forget_oldest(struct brakes *b)
{
	size_t oldest = 0;

	for (size_t i = 1; i < b->nentries; i++)
		if (b->entry[i].seen < b->entry[oldest].seen)
			oldest = i;
	b->entry[oldest] = b->entry[--b->nentries];
}

static struct entry *
find(struct brakes *b, uint64_t id)
{
	for (size_t i = b->nentries; i-- > 0;)
		if (b->entry[i].id == id)
			return &b->entry[i];
	return NULL;
}

/* A stream is called by its own id, a campaign by its; both are keyed hashes of 64 bits. */
static struct entry *
entry_of(struct brakes *b, uint64_t stream_id, uint64_t campaign, int64_t now)
{
	uint64_t id = campaign != 0 ? campaign : stream_id;
	struct entry *e = find(b, id);

	if (e != NULL)
		return e;
	if (b->nentries == ENTRIES_MAX)
		forget_oldest(b);
	if (b->nentries == b->capentries) {
		b->capentries = b->capentries ? 2 * b->capentries : 16;
		b->entry = xreallocarray(b->entry, b->capentries, sizeof *b->entry);
	}
	e = &b->entry[b->nentries++];
	*e = (struct entry){ .id = id, .stream = stream_id, .of_stream = campaign == 0, .first = now };
	read_counts(b->store, e, now);
	e->base = e->store;
	read_rows(b->store, e);
	return e;
}

/* ---- asking ---- */

static bool
is_out(const struct brakes *b, uint32_t receiver)
{
	for (size_t i = 0; i < b->nout; i++)
		if (b->out[i] == receiver)
			return true;
	return b->silent || b->all_out;
}

static bool
too_large_a_share(struct entry *e)
{
	struct brake_counts c = counts_of(e);

	e->share = !e->share_lifted && brake_find(BRAKE_SHARE, &c, &e->limits, e->share).level == BRAKE_ON;
	return e->share;
}

void
brakes_ask(struct brakes *b, const struct stream *stream, uint64_t stream_id, uint64_t campaign, uint32_t receiver, int64_t now,
    struct brakes_answer *a)
{
	struct entry *e;

	*a = (struct brakes_answer){ 0 };
	pthread_mutex_lock(&b->lock);
	e = entry_of(b, stream_id, campaign, now);
	e->limits = stream->policy.brake;
	e->seen = now;
	/* It may have begun while the clock was ahead. */
	if (e->first > now)
		e->first = now;
	a->stop = e->stop;
	a->spare = is_out(b, receiver);
	if (too_large_a_share(e))
		a->spare = true;
	a->first = campaign != 0 ? (uint32_t)(e->first / 1000) : 0;
	pthread_mutex_unlock(&b->lock);
}

static void
count(struct entry *e, enum brakes_event event)
{
	if (e == NULL)
		return;
	if (event == BRAKES_SENT || event == BRAKES_SPARED)
		e->own.sent++;
	else if (event == BRAKES_BY_CLASS || !e->of_stream)
		e->own.skipped++;
	e->own.spared += event == BRAKES_SPARED;
	e->own.by_class += event == BRAKES_BY_CLASS;
}

void
brakes_count(struct brakes *b, uint64_t stream_id, uint64_t campaign, enum brakes_event event)
{
	pthread_mutex_lock(&b->lock);
	count(find(b, campaign), event);
	count(find(b, stream_id), event);
	pthread_mutex_unlock(&b->lock);
}

void
brakes_stats(struct brakes *b, struct brakes_stats *s)
{
	*s = (struct brakes_stats){ 0 };
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < b->nentries; i++) {
		s->campaigns += b->entry[i].stop != BRAKE_NONE;
		s->shares += b->entry[i].share;
	}
	s->outages = b->nout + b->silent + b->all_out;
	pthread_mutex_unlock(&b->lock);
}

/* ---- the thread: campaigns ---- */

/* "campaign=spring stream=news"; of a stream its name alone. */
static void
add_names(struct store *s, const struct entry *e, struct buf *out)
{
	struct buf stream = BUF(256), name = BUF(1024);

	if (e->of_stream || store_campaign_names(s, e->id, &stream, &name) != STORE_OK)
		store_stream_name(s, e->stream, &stream);
	if (e->of_stream)
		buf_addf(out, "stream=%s, the last 24 hours", buf_cstr(&stream));
	else
		buf_addf(out, "campaign=\"%s\" stream=%s", buf_cstr(&name), buf_cstr(&stream));
	buf_free(&stream);
	buf_free(&name);
}

static void
put_on(struct brakes *b, const struct entry *e, enum brake kind, const struct brake_rate *r, int64_t now)
{
	const struct brake_row row = { .kind = (uint8_t)kind, .id = e->id, .since = now };
	struct buf line = BUF(4096), rate = BUF(256);

	/* One process finds that there is no row yet, and says so; or nobody, when it was lifted by hand. */
	if (store_brake(b->store, &row, false) != STORE_OK)
		return;
	add_names(b->store, e, &line);
	brake_explain(&rate, r);
	if (kind == BRAKE_SHARE)
		log_warn("brake on: share %s: policy would stop %s; inactive recipients pass", buf_cstr(&line), buf_cstr(&rate));
	else
		log_warn("brake on: %s %s: %s; the campaign is stopped until `rekindle brakes release'", brake_name(kind),
		    buf_cstr(&line), buf_cstr(&rate));
	buf_free(&line);
	buf_free(&rate);
}

static void
warn_of(struct brakes *b, struct entry *e, enum brake kind, const struct brake_rate *r)
{
	struct buf line = BUF(4096), rate = BUF(256);

	if (e->warned[kind])
		return;
	e->warned[kind] = true;
	add_names(b->store, e, &line);
	brake_explain(&rate, r);
	log_warn("brake near: %s %s: %s", brake_name(kind), buf_cstr(&line), buf_cstr(&rate));
	buf_free(&line);
	buf_free(&rate);
}

static void
say(struct brakes *b, const struct entry *e, enum brake kind, const char *what, const char *how)
{
	struct buf line = BUF(4096);

	add_names(b->store, e, &line);
	log_info("brake %s: %s %s: %s", what, brake_name(kind), buf_cstr(&line), how);
	buf_free(&line);
}

/* A copy of an entry, without the lock: the store may take its time. */
static void
look_at(struct brakes *b, struct entry *e, int64_t now)
{
	static const enum brake stops[] = { BRAKE_COMPLAINTS, BRAKE_BOUNCES };
	bool share = e->share;
	enum brake stop = e->stop;
	struct brake_counts c;

	read_counts(b->store, e, now);
	c = counts_of(e);
	for (size_t i = 0; i < sizeof stops / sizeof *stops && !e->of_stream; i++) {
		struct brake_rate r = brake_find(stops[i], &c, &e->limits, false);

		if (r.level == BRAKE_ON)
			put_on(b, e, stops[i], &r, now);
		else if (r.level == BRAKE_WARN)
			warn_of(b, e, stops[i], &r);
	}
	read_rows(b->store, e);
	e->share = share;
	if (too_large_a_share(e) && !e->known_share) {
		struct brake_rate r = brake_find(BRAKE_SHARE, &c, &e->limits, false);

		put_on(b, e, BRAKE_SHARE, &r, now);
	} else if (!e->share && e->known_share && !e->share_lifted && store_end_brake(b->store, BRAKE_SHARE, e->id) == STORE_OK)
		say(b, e, BRAKE_SHARE, "off", "policy would stop less than that now");
	if (stop != BRAKE_NONE && e->stop == BRAKE_NONE)
		say(b, e, stop, "off", "released by hand");
	else if (stop == BRAKE_NONE && e->stop == BRAKE_HAND)
		say(b, e, BRAKE_HAND, "on", "stopped by hand");
	if (share && e->share_lifted)
		say(b, e, BRAKE_SHARE, "off", "released by hand");
}

static void
look_at_all(struct brakes *b, int64_t now)
{
	struct entry *copy;
	size_t n;

	pthread_mutex_lock(&b->lock);
	for (size_t i = b->nentries; i-- > 0;)
		if (b->entry[i].seen < now - FORGET_MS)
			b->entry[i] = b->entry[--b->nentries];
	n = b->nentries;
	copy = xcalloc(n + 1, sizeof *copy);
	if (n > 0)
		memcpy(copy, b->entry, n * sizeof *copy);
	pthread_mutex_unlock(&b->lock);
	for (size_t i = 0; i < n; i++) {
		struct entry *e;

		if (copy[i].limits.min_share == 0)
			continue; /* nobody has asked yet: no settings */
		look_at(b, &copy[i], now);
		pthread_mutex_lock(&b->lock);
		if ((e = find(b, copy[i].id)) != NULL) {
			e->store = copy[i].store;
			/* What left the last 24 hours must not stay; a second's worth of ours is there with the next look. */
			if (e->of_stream) {
				e->base = e->store;
				e->own = (struct brake_counts){ 0 };
			}
			e->stop = copy[i].stop;
			if (copy[i].first < e->first)
				e->first = copy[i].first;
			e->known_share = copy[i].known_share;
			e->share_lifted = copy[i].share_lifted;
			/* Said already; who asks next finds the same. */
			if (e->share_lifted)
				e->share = false;
			memcpy(e->warned, copy[i].warned, sizeof e->warned);
		}
		pthread_mutex_unlock(&b->lock);
	}
	free(copy);
}

/* ---- the thread: outages ---- */

struct group {
	uint32_t id;
	struct outage sums;
};

struct survey {
	uint32_t now; /* hour */
	const struct outage_limits *limits;
	struct group group[RECEIVERS_KEPT];
	size_t n;
	struct outage all;
};

static bool
survey_hour(void *arg, uint32_t hour, enum volume_kind kind, uint64_t id, const struct volume *v)
{
	struct survey *s = arg;
	size_t i = 0;

	if (kind != VOLUME_RECEIVER || hour > s->now)
		return true;
	while (i < s->n && s->group[i].id != id)
		i++;
	if (i == s->n && s->n < RECEIVERS_KEPT)
		s->group[s->n++] = (struct group){ .id = (uint32_t)id };
	if (i < s->n)
		outage_add(&s->group[i].sums, s->now - hour, v->tracked, v->opens_human + v->clicks_human, v->hits, s->limits);
	outage_add(&s->all, s->now - hour, v->tracked, v->opens_human + v->clicks_human, v->hits, s->limits);
	return true;
}

/* Writes it down and says so, when it has changed. */
static void
turn(struct brakes *b, enum brake kind, uint64_t id, const char *whom, bool on, const struct outage *sums,
    const struct outage_limits *limits, int64_t now)
{
	const struct brake_row row = { .kind = (uint8_t)kind, .id = id, .since = now };
	struct buf rate = BUF(256);
	struct brake_row there;
	bool was = store_get_brake(b->store, (uint8_t)kind, id, &there) == STORE_OK;

	if (kind == BRAKE_OUTAGE)
		outage_explain(&rate, sums, limits);
	else
		buf_addf(&rate, "no hit for %u hours, while mail goes out", limits->silence);
	if (on && !was && store_brake(b->store, &row, false) == STORE_OK)
		log_warn("brake on: %s receiver=%s: %s; nobody there is stopped as inactive", brake_name(kind), whom, buf_cstr(&rate));
	else if (!on && was && store_end_brake(b->store, (uint8_t)kind, id) == STORE_OK)
		log_info("brake off: %s receiver=%s: readers are seen again", brake_name(kind), whom);
	buf_free(&rate);
}

static bool
was_out(const struct brakes *b, uint32_t id)
{
	for (size_t i = 0; i < b->nout; i++)
		if (b->out[i] == id)
			return true;
	return false;
}

static void
look_for_outages(struct brakes *b, int64_t now)
{
	struct setup *setup = setup_get(b->slot);
	const struct outage_limits *limits = &setup->conf->outage;
	struct survey *s = xcalloc(1, sizeof *s);
	uint32_t out[RECEIVERS_KEPT];
	bool all, silent;
	size_t n = 0;

	s->now = (uint32_t)(now / 3600000);
	s->limits = limits;
	if (store_each_volume(b->store, s->now - OUTAGE_HOURS, s->now, survey_hour, s) != STORE_OK)
		goto done;
	for (size_t i = 0; i < s->n; i++) {
		const struct group *g = &s->group[i];
		const char *name = receivers_called(setup->receivers, g->id);
		struct brake_row row;
		bool was = was_out(b, g->id) || store_get_brake(b->store, BRAKE_OUTAGE, g->id, &row) == STORE_OK;
		bool on = outage_find(&g->sums, limits, was);

		if (on)
			out[n++] = g->id;
		if (on != was || on != was_out(b, g->id))
			turn(b, BRAKE_OUTAGE, g->id, name != NULL ? name : "others", on, &g->sums, limits, now);
	}
	all = outage_find(&s->all, limits, b->all_out);
	silent = outage_silent(&s->all, limits);
	turn(b, BRAKE_OUTAGE, BRAKE_EVERYBODY, "all", all, &s->all, limits, now);
	turn(b, BRAKE_SILENCE, BRAKE_EVERYBODY, "all", silent, &s->all, limits, now);
	pthread_mutex_lock(&b->lock);
	memcpy(b->out, out, n * sizeof *out);
	b->nout = n;
	b->all_out = all;
	b->silent = silent;
	pthread_mutex_unlock(&b->lock);
done:
	free(s);
	setup_put(setup);
}

/* Waits a second; true when it is time to end. */
static bool
pause_or_stop(struct brakes *b)
{
	struct timespec until = clock_after(1000);
	int rc = 0;
	bool stop;

	pthread_mutex_lock(&b->lock);
	while (!b->stopping && rc == 0)
		rc = pthread_cond_timedwait(&b->wake, &b->lock, &until);
	stop = b->stopping;
	pthread_mutex_unlock(&b->lock);
	return stop;
}

static void *
run(void *arg)
{
	struct brakes *b = arg;

	for (unsigned second = 0; !pause_or_stop(b); second++) {
		int64_t now = clock_read(CLOCK_REALTIME);

		look_at_all(b, now);
		if (second % OUTAGE_EVERY == 0) {
			look_for_outages(b, now);
			throttle_sync(b->throttle, now);
		}
	}
	return NULL;
}

struct brakes *
brakes_start(struct store *store, struct setup_slot *slot, struct throttle *throttle)
{
	struct brakes *b = xcalloc(1, sizeof *b);

	b->store = store;
	b->slot = slot;
	b->throttle = throttle;
	pthread_mutex_init(&b->lock, NULL);
	clock_cond(&b->wake);
	look_for_outages(b, clock_read(CLOCK_REALTIME));
	if (pthread_create(&b->thread, NULL, run, b) != 0)
		fatal("cannot start the thread of brakes");
	pthread_setname_np(b->thread, "brakes");
	return b;
}

void
brakes_stop(struct brakes *b)
{
	if (b == NULL)
		return;
	pthread_mutex_lock(&b->lock);
	b->stopping = true;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->lock);
	pthread_join(b->thread, NULL);
	pthread_cond_destroy(&b->wake);
	pthread_mutex_destroy(&b->lock);
	free(b->entry);
	free(b);
}
