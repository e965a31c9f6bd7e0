/* record.c -- what the filter did, as touches and for the brakes. */
#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "milter/mail.h"

static _Atomic uint64_t unrecorded;

uint64_t
record_failures(void)
{
	return unrecorded;
}

static void
write_records(const char *id, const struct mail *m, const struct record *records, size_t n, bool *written)
{
	static struct log_rate rate;
	enum writer_result rc = WRITER_DURABLE;

	if (n > 0)
		rc = writer_keep(m->with->writer, records, n, m->setup->conf->record_within);
	if (written != NULL)
		*written = rc != WRITER_LOST;
	if (rc == WRITER_DURABLE || rc == WRITER_KEPT)
		return;
	atomic_fetch_add(&unrecorded, n);
	log_rated(&rate, "%s: touches are %s; mail goes on", id, rc == WRITER_LATE ? "written late" : "lost");
}

/*
 * That mail was sent or stopped is no reader's behaviour: the touch has its
 * recipient in every privacy mode.  Of a cause that was said the store has
 * the name as well, unless that was erased, and then it stays so.
 */
static struct record
touch_of(const struct mail *m, const struct stream *stream, uint64_t stream_id, const struct recipient *r, int64_t now)
{
	bool sent = r->action == ACTION_SEND;
	uint8_t flags = 0;

	if (sent)
		flags = (!action_goes_out(r->would) ? TOUCH_OBSERVED : 0) | (stream->series ? TOUCH_SERIES : 0) |
		    (stream->transactional ? TOUCH_EXEMPT : 0) | (r->holdout ? TOUCH_HOLDOUT : 0) | (r->spared ? TOUCH_SPARED : 0);
	return (struct record){
		.touch = {
			.kind = sent ? TOUCH_SENT : TOUCH_SKIPPED,
			.mode = who_is_nobody(&r->who) ? MODE_ANONYMOUS : MODE_IDENTIFIED,
			.detail = sent ? (uint8_t)r->class : (uint8_t)r->cause,
			.flags = flags,
			.when = now,
			.who = r->who,
			.campaign = m->campaign_id,
			.stream = stream_id,
			.sent = sent ? r->receiver : 0,
		},
		.address = who_is_nobody(&r->who) || (!sent && cause_was_said(r->cause)) ? SPAN("") : span_of(r->address),
		.stream = span_of(stream->name),
		.campaign = buf_span(&m->campaign),
	};
}

/*
 * Which labels (link numbers with their destinations) this process wrote
 * already: all messages of a campaign have the same ones.  A table of hashes
 * that forgets when it is full; writing a label again does no harm.
 */
#define LABELS 65536
#define LABEL_TRIES 8
static _Atomic uint64_t labels[LABELS];

static uint64_t
label_hash(uint64_t campaign, const struct tagged_link *l)
{
	uint64_t h = (l->hash ^ campaign ^ (uint64_t)l->no << 48) * 0x9e3779b97f4a7c15u;

	h ^= h >> 32;
	return h != 0 ? h : 1;
}

static bool
label_known(uint64_t hash)
{
	for (size_t i = 0; i < LABEL_TRIES; i++)
		if (atomic_load_explicit(&labels[(hash + i) % LABELS], memory_order_relaxed) == hash)
			return true;
	return false;
}

static void
label_remember(uint64_t hash)
{
	size_t at = hash % LABELS;

	for (size_t i = 0; i < LABEL_TRIES; i++)
		if (atomic_load_explicit(&labels[(hash + i) % LABELS], memory_order_relaxed) == 0) {
			at = (hash + i) % LABELS;
			break;
		}
	atomic_store_explicit(&labels[at], hash, memory_order_relaxed);
}

/* Silence says something only of a recipient whose reaction would have been noticed. */
static bool
would_be_seen(const struct recipient *r, const struct plan *plan)
{
	return !who_is_nobody(&r->who) &&
	    ((plan->pixel && r->opens >= MODE_DAYONLY) || (plan->nlinks > 0 && r->links >= MODE_DAYONLY));
}

/* Which reactions would be counted, but not tell whose they are. */
static uint8_t
untold(const struct recipient *r, const struct plan *plan)
{
	bool clicks = plan->nlinks > 0 && r->links >= MODE_IDENTIFIED, opens = plan->pixel && r->opens >= MODE_IDENTIFIED;

	return clicks ? 0 : opens ? TOUCH_UNTOLD_CLICKS : TOUCH_UNTOLD_CLICKS | TOUCH_UNTOLD;
}

bool
record_all(const char *id, const struct mail *m, const struct plan *plan, enum action whole, bool individual, bool elsewhere,
    int64_t now)
{
	struct record *records = xcalloc(m->nrecipients + plan->nlinks + 1, sizeof *records);
	uint64_t *hashes = xcalloc(plan->nlinks + 1, sizeof *hashes);
	size_t n = 0, nhashes = 0;
	bool written;

	for (size_t i = 0; i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];

		if (r->again || (elsewhere && r->action == ACTION_SEND))
			continue;
		records[n] = touch_of(m, m->stream, m->stream_id, r, now);
		if (individual && !deleted(r, whole) && would_be_seen(r, plan)) {
			records[n].touch.flags |= TOUCH_TRACKED;
			records[n].touch.agent = untold(r, plan);
			records[n].touch.link = (uint16_t)plan->nlinks; /* at most MESSAGE_LINKS_MAX */
		}
		if (whole == ACTION_HOLD && !deleted(r, whole) && has_queue_id(id)) {
			records[n].touch.flags |= TOUCH_ON_HOLD;
			records[n].touch.sent = r->receiver;
			records[n].source = span_of(id);
		}
		n++;
	}
	for (size_t i = 0; i < plan->nlinks; i++) {
		const struct tagged_link *l = &plan->link[i];
		uint64_t hash = label_hash(m->campaign_id, l);

		if (label_known(hash))
			continue;
		hashes[nhashes++] = hash;
		records[n++] = (struct record){
			.touch = { .campaign = m->campaign_id, .stream = m->stream_id, .link = l->no, .when = now },
			.destination = l->destination,
		};
	}
	write_records(id, m, records, n, &written);
	for (size_t i = 0; written && i < nhashes; i++)
		label_remember(hashes[i]);
	free(hashes);
	free(records);
	return written;
}

/* What brakes look at. */
static void
count_one(const struct mail *m, uint64_t stream_id, const struct recipient *r)
{
	enum brakes_event e = r->spared ? BRAKES_SPARED : BRAKES_SENT;

	if (r->action != ACTION_SEND)
		e = r->cause == CAUSE_INACTIVE || r->cause == CAUSE_SUNSET ? BRAKES_BY_CLASS : BRAKES_STOPPED;
	brakes_count(m->with->brakes, stream_id, m->campaign_id, e);
}

void
record_count(const struct mail *m, bool elsewhere)
{
	for (size_t i = 0; i < m->nrecipients; i++) {
		const struct recipient *r = &m->recipient[i];

		if (!r->again && !m->stream->transactional && !(elsewhere && r->action == ACTION_SEND))
			count_one(m, m->stream_id, r);
	}
}

void
record_stopped(const char *id, const struct mail *m, const struct stream *stream, uint64_t stream_id, const struct recipient *r,
    int64_t now)
{
	struct record stopped = touch_of(m, stream, stream_id, r, now);

	write_records(id, m, &stopped, 1, NULL);
	count_one(m, stream_id, r);
}
