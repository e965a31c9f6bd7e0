/* admin.c -- pages for the administrator: is it ready, and its numbers. */
#include <stddef.h>

#include "tracker/admin.h"

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
	COUNTER(turned_away, "connections_turned_away", "Connections refused because of max_connections."),
	COUNTER(handshakes, "tls_handshakes", "TLS handshakes completed."),
	COUNTER(handshakes_failed, "tls_handshakes_failed", "TLS handshakes that failed or took longer than request_within."),
	COUNTER(requests, "requests", "Well-formed requests."),
	COUNTER(malformed, "requests_malformed", "Requests refused unread."),
	COUNTER(timeouts, "requests_timeout", "Requests that took longer than request_within."),
	COUNTER(not_found, "not_found", "Requests for a page or with a token that we do not know."),
	COUNTER(leaves, "unsubscribes", "Unsubscribes recorded."),
	COUNTER(late, "answers_late", "Hits answered before their touch was durable."),
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
add_store(const struct server *s, struct buf *out)
{
	struct store_size facts, state;
	struct writer_stats w;
	uint64_t folded = store_folded(s->store), last = store_last(s->store);

	writer_stats(s->writer, &w);
	store_sizes(s->store, &facts, &state);
	add_metric(out, "rekindle_touches_durable_total", "counter", "Touches on disk.", w.durable);
	add_metric(out, "rekindle_touches_lost_total", "counter", "Touches that could not be written.", w.lost);
	add_metric(out, "rekindle_touches_refused_total", "counter", "Touches refused: too many wait.", w.refused);
	add_metric(out, "rekindle_writer_batches_total", "counter", "Flushes to disk.", w.batches);
	add_metric(out, "rekindle_touches_waiting", "gauge", "Touches on their way to disk.", w.waiting);
	add_metric(out, "rekindle_writer_failing", "gauge", "1 when the last batch could not be written.", w.failing);
	add_metric(out, "rekindle_fold_lag", "gauge", "Touches not yet summed up.", last > folded ? last - folded : 0);
	add_metric(out, "rekindle_facts_used_bytes", "gauge", "Used by facts.", facts.used);
	add_metric(out, "rekindle_facts_limit_bytes", "gauge", "The most that facts may use.", facts.limit);
	add_metric(out, "rekindle_state_used_bytes", "gauge", "Used by state.", state.used);
	add_metric(out, "rekindle_state_limit_bytes", "gauge", "The most that state may use.", state.limit);
}

bool
admin_page(struct server *s, struct span path, struct hit *h)
{
	struct writer_stats w;

	if (span_eq(path, SPAN("/readyz"))) {
		writer_stats(s->writer, &w);
		hit_plain(h, w.failing ? 503 : 200,
		    w.failing ? SPAN("touches cannot be written\n") : SPAN("ready\n"));
		return true;
	}
	if (span_eq(path, SPAN("/metrics"))) {
		buf_clear(&h->spare);
		add_hits(s, &h->spare);
		add_counters(s, &h->spare);
		add_metric(&h->spare, "rekindle_connections", "gauge", "Open connections.",
		    atomic_load_explicit(&s->connections, memory_order_relaxed));
		add_store(s, &h->spare);
		hit_plain(h, 200, buf_span(&h->spare));
		return true;
	}
	return false;
}
