/* admin.c -- pages for the administrator: is it ready, and its numbers. */
#include <stddef.h>
#include <stdio.h>

#include "tracker/admin.h"

#define STORE_HANGS_MS 10000 /* it is looked at every second */
#define METRICS_HEAD "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nCache-Control: no-store\r\n"

static void
add_metric(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name, (unsigned long long)value);
}

static void
add_hits(const struct server *s, struct buf *out)
{
	static const char *const kinds[HIT_KINDS] = { [HIT_OPEN] = "open", [HIT_CLICK] = "click" };

	buf_adds(out, "# HELP rekindle_hits_total Hits with a good token, HEAD included.\n"
	    "# TYPE rekindle_hits_total counter\n");
	for (unsigned k = 0; k < HIT_KINDS; k++) {
		for (unsigned v = ROBOT_NONE + 1; kinds[k] != NULL && v <= ROBOT_SUSPECT; v++) {
			uint64_t n = 0;

			for (size_t i = 0; i < s->n; i++)
				n += atomic_load_explicit(&s->loop[i]->counters.hits[k][v], memory_order_relaxed);
			buf_addf(out, "rekindle_hits_total{kind=\"%s\",verdict=\"%s\"} %llu\n", kinds[k],
			    robot_name((enum robot)v), (unsigned long long)n);
		}
	}
}

/* The plain counters, by where they lie in struct counters. */
static const struct {
	size_t at;
	const char *name, *help;
} plain[] = {
#define COUNTER(member, name, help) { offsetof(struct counters, member), "rekindle_" name "_total", help }
	COUNTER(accepted, "connections_accepted", "Connections taken."),
	COUNTER(turned_away, "connections_turned_away", "Connections refused, or cut off before their request, because of max_connections."),
	COUNTER(handshakes, "tls_handshakes", "TLS handshakes completed."),
	COUNTER(handshakes_failed, "tls_handshakes_failed", "TLS handshakes that failed or took longer than request_within."),
	COUNTER(requests, "requests", "Well-formed requests."),
	COUNTER(malformed, "requests_malformed", "Requests refused unread."),
	COUNTER(timeouts, "requests_timeout", "Requests that took longer than request_within."),
	COUNTER(not_found, "not_found", "Requests for a page or with a token that we do not know."),
	COUNTER(forged, "tokens_refused", "Requests with a token that does not open: forged, cut or foreign."),
	COUNTER(guesses, "tokens_over_budget", "Of these, from sources that send many of them."),
	COUNTER(leaves, "unsubscribes", "Unsubscribes recorded."),
	COUNTER(late, "answers_late", "Hits answered before their touch was durable."),
	COUNTER(repeats, "hits_repeated", "Hits not recorded because the same recipient had max_repeats at the same link."),
	COUNTER(unrecorded, "hits_unrecorded", "Hits whose touches could not be written."),
	COUNTER(sorry, "unsubscribes_deferred", "Unsubscribes answered with 503."),
#undef COUNTER
};

static void
add_counters(const struct server *s, struct buf *out)
{
	for (size_t p = 0; p < sizeof plain / sizeof *plain; p++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < s->n; i++)
			sum += atomic_load_explicit((_Atomic uint64_t *)((char *)&s->loop[i]->counters + plain[p].at),
			    memory_order_relaxed);
		add_metric(out, plain[p].name, "counter", plain[p].help, sum);
	}
}

static void
add_file(struct buf *out, const char *file, const struct store_file *f)
{
	const struct {
		const char *name, *help;
		uint64_t value;
	} rows[] = {
		{ "open", "1 when the file is open.", f->open },
		{ "used_bytes", "Used by records; what is freed is used again.", f->used },
		{ "size_bytes", "Size of the file.", f->size },
		{ "limit_bytes", "The most that may be used.", f->limit },
		{ "reader_seconds", "How long the oldest reader has kept freed space from being used again.", f->held_ms / 1000 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char name[64];

		snprintf(name, sizeof name, "rekindle_%s_%s", file, rows[i].name);
		add_metric(out, name, "gauge", rows[i].help, rows[i].value);
	}
}

/* From what the fold's thread saw last: a disk that hangs must not hold up the one who asks what is wrong. */
static void
add_store(const struct server *s, struct buf *out)
{
	struct store_health h;
	struct writer_stats w;

	writer_stats(s->writer, &w);
	store_health(s->store, &h);
	add_metric(out, "rekindle_touches_durable_total", "counter",
	    "Touches on disk, or in the journal where nobody waits for the disk.", w.durable);
	add_metric(out, "rekindle_touches_lost_total", "counter", "Touches that could not be written.", w.lost);
	add_metric(out, "rekindle_touches_refused_total", "counter", "Touches refused: too many wait.", w.refused);
	add_metric(out, "rekindle_writer_batches_total", "counter",
	    "Batches of touches written; one flush each, or none where nobody waits for the disk.", w.batches);
	add_metric(out, "rekindle_touches_waiting", "gauge", "Touches on their way to disk.", w.waiting);
	add_metric(out, "rekindle_journal_waiting_bytes", "gauge", "In the journal, and not in facts yet.", w.journal.waiting);
	add_metric(out, "rekindle_journal_size_bytes", "gauge", "Room in the journal; 0 when there is none.", w.journal.size);
	add_metric(out, "rekindle_writer_failing", "gauge", "1 when facts did not take the last batch.", w.failing);
	add_metric(out, "rekindle_fold_lag", "gauge", "Touches not yet summed up.", h.lag);
	add_metric(out, "rekindle_store_seen_seconds", "gauge", "Since the store was last looked at; grows when the disk hangs.",
	    h.seen_ms > 0 ? (uint64_t)h.seen_ms / 1000 : 0);
	add_metric(out, "rekindle_brakes_on", "gauge", "Brakes that are on; `rekindle brakes' has their names.", h.brakes);
	add_metric(out, "rekindle_disk_free_bytes", "gauge", "Free on the disk of data_dir.", h.disk_free);
	add_file(out, "facts", &h.facts);
	add_file(out, "state", &h.state);
}

static void
add_access_log(const struct server *s, struct buf *out)
{
	struct accesslog_stats a;

	accesslog_stats(s->accesslog, &a);
	add_metric(out, "rekindle_access_log_lines_total", "counter", "Lines written to access_log.", a.written);
	add_metric(out, "rekindle_access_log_lost_total", "counter", "Lines that could not be written, or not soon enough.", a.lost);
}

static void
add_process(struct buf *out)
{
	static const char info[] = "rekindle_build_info";

	buf_addf(out, "# HELP %s What is running.\n# TYPE %s gauge\n%s{version=\"%s\"} 1\n", info, info, info, PACKAGE_VERSION);
}

/* ---- is it ready? ---- */

/* What is wrong, a line each; nothing when all is well.  What only threatens is said, too, but is no reason to turn hits away. */
static bool
add_faults(const struct server *s, struct buf *out)
{
	struct store_health h;
	struct writer_stats w;
	bool bad = false;

	writer_stats(s->writer, &w);
	store_health(s->store, &h);
	const struct {
		bool wrong, threat;
		const char *what;
	} rows[] = {
		{ w.failing, false, "touches cannot be written" },
		{ w.journal.waiting > w.journal.size / 2, true, "the journal is filling up" },
		{ w.waiting > WRITER_WAITING_MAX / 2, false, "touches wait: the disk does not keep up" },
		{ h.seen_ms > STORE_HANGS_MS, false, "the store does not answer: the disk hangs" },
		{ !h.facts.open, false, "facts.mdb cannot be opened" },
		{ !h.state.open, false, "state.mdb cannot be opened" },
		{ store_nearly_full(&h.facts), true, "facts.mdb is nearly full: raise facts_size" },
		{ store_nearly_full(&h.state), true, "state.mdb is nearly full: raise state_size" },
		{ h.disk_low, true, "the disk of data_dir is nearly full" },
		{ h.facts.held_ms > STORE_READER_LONG_MS || h.state.held_ms > STORE_READER_LONG_MS, true,
		    "a process has been reading for long and keeps space from being freed" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (!rows[i].wrong)
			continue;
		buf_addf(out, "%s%s\n", rows[i].threat ? "warning: " : "", rows[i].what);
		bad |= !rows[i].threat;
	}
	return bad;
}

bool
admin_page(struct server *s, struct span path, struct hit *h)
{
	if (span_eq(path, SPAN("/readyz"))) {
		bool bad;

		buf_clear(&h->spare);
		if (!(bad = add_faults(s, &h->spare)))
			buf_adds(&h->spare, "ready\n");
		hit_plain(h, bad ? 503 : 200, buf_span(&h->spare));
		return true;
	}
	if (span_eq(path, SPAN("/metrics"))) {
		buf_clear(&h->spare);
		add_hits(s, &h->spare);
		add_counters(s, &h->spare);
		add_metric(&h->spare, "rekindle_connections", "gauge", "Open connections.",
		    atomic_load_explicit(&s->connections, memory_order_relaxed));
		add_store(s, &h->spare);
		add_access_log(s, &h->spare);
		add_process(&h->spare);
		hit_plain(h, 200, buf_span(&h->spare));
		h->head = SPAN(METRICS_HEAD);
		return true;
	}
	return false;
}
