/* rekindle export -- all touches as JSON lines that `rekindle import` reads back. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/engage.h"
#include "common/mem.h"
#include "common/text.h"

#define BATCH 1000
#define NAME_CAP 4096
#define URL_CAP 8192

struct export {
	struct cli *c;
	int64_t since;
	enum touch_kind only; /* 0: all */
	uint64_t n;
	struct buf scratch;
	/* Of the campaign that was looked up last: touches of one campaign come in runs. */
	uint64_t campaign;
	struct buf stream, name;
};

static void
emit_who(struct export *x, struct emit *e, const struct who *who)
{
	if (who_is_nobody(who))
		return;
	buf_clear(&x->scratch);
	if (store_name(x->c->store, who, &x->scratch) == STORE_OK)
		emit_text(e, "address", buf_span(&x->scratch));
	else
		emit_hex(e, "who", who->b, sizeof who->b);
}

static void
look_up_campaign(struct export *x, uint64_t campaign)
{
	if (x->campaign == campaign)
		return;
	x->campaign = campaign;
	buf_clear(&x->stream);
	buf_clear(&x->name);
	if (store_campaign_names(x->c->store, campaign, &x->stream, &x->name) != STORE_OK)
		buf_clear(&x->name);
}

/*
 * By name where import finds the same ids again; else by id.  A touch whose
 * own stream is another than its campaign's (an unsubscription from
 * everything, say) keeps both apart.
 */
static void
emit_campaign(struct export *x, struct emit *e, const struct touch *t)
{
	bool hit = t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;

	if (t->campaign) {
		look_up_campaign(x, t->campaign);
		if (x->name.n > 0
		    && (stream_id(&x->c->setup->keys, buf_span(&x->stream)) == t->stream || (hit && t->stream == 0))) {
			emit_text(e, "stream", buf_span(&x->stream));
			emit_text(e, "campaign", buf_span(&x->name));
			return;
		}
		emit_id(e, "campaign_id", t->campaign);
	}
	if (t->stream == 0)
		return;
	buf_clear(&x->scratch);
	if (store_stream_name(x->c->store, t->stream, &x->scratch) == STORE_OK)
		emit_text(e, "stream", buf_span(&x->scratch));
	else
		emit_id(e, "stream_id", t->stream);
}

static void
emit_hit(struct export *x, struct emit *e, const struct touch *t)
{
	char address[INET6_ADDRSTRLEN];
	uint8_t bytes[16] = { 0 };

	if (t->kind == TOUCH_CLICK) {
		buf_clear(&x->scratch);
		if (t->link)
			emit_number(e, "link", t->link);
		if (t->link && store_destination(x->c->store, t->campaign, t->link, &x->scratch) == STORE_OK)
			emit_text(e, "url", buf_span(&x->scratch));
	}
	/* Only the day of an open (dayonly) has none. */
	if (t->verdict != ROBOT_NONE)
		emit_string(e, "verdict", robot_name((enum robot)t->verdict));
	if (t->detail != EVIDENCE_NONE && t->detail < EVIDENCES)
		emit_string(e, "evidence", evidence_name((enum evidence)t->detail));
	if (t->sent)
		emit_time(e, "sent", (int64_t)t->sent * 1000);
	if (t->agent)
		emit_string(e, "agent", robot_family_name(t->agent));
	if (t->net[0] == 0)
		return;
	memcpy(bytes, t->net + 1, sizeof t->net - 1);
	if (inet_ntop(t->net[0] <= 32 ? AF_INET : AF_INET6, bytes, address, sizeof address)) {
		buf_clear(&x->scratch);
		buf_addf(&x->scratch, "%s/%u", address, t->net[0]);
		emit_text(e, "net", buf_span(&x->scratch));
	}
}

static void
emit_touch(struct export *x, const struct touch *t)
{
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_string(&e, "type", touch_name((enum touch_kind)t->kind));
	emit_time(&e, "at", t->when);
	emit_who(x, &e, &t->who);
	emit_campaign(x, &e, t);
	switch (t->kind) {
	case TOUCH_SENT:
		if (t->detail < ENGAGE_CLASSES)
			emit_string(&e, "class", engage_name((enum engage)t->detail));
		emit_flag(&e, "tracked", t->flags & TOUCH_TRACKED);
		if (t->flags & TOUCH_OBSERVED)
			emit_flag(&e, "observed", true);
		if (t->link)
			emit_number(&e, "links", t->link);
		break;
	case TOUCH_SKIPPED:
		if (t->detail < CAUSES)
			emit_string(&e, "cause", cause_name((enum cause)t->detail));
		break;
	case TOUCH_OPEN:
	case TOUCH_CLICK:
		emit_hit(x, &e, t);
		break;
	case TOUCH_DELIVERED:
		if (t->detail & DELIVERED_GATEWAY)
			emit_flag(&e, "gateway", true);
		break;
	case TOUCH_CONSENT:
		emit_string(&e, "axis", axis_name((enum axis)(t->detail >> 4)));
		emit_string(&e, "value", consent_name((enum consent)(t->detail & 15)));
		buf_clear(&x->scratch);
		if (store_source(x->c->store, t, &x->scratch) == STORE_OK && x->scratch.n > 0)
			emit_text(&e, "source", buf_span(&x->scratch));
		break;
	}
	emit_string(&e, "mode", mode_name((enum mode)t->mode));
	if (t->flags & TOUCH_IMPORTED)
		emit_flag(&e, "imported", true);
	emit_close(&e, '}');
	emit_end(&e);
	x->n++;
}

static bool
wanted(const struct export *x, const struct touch *t)
{
	return t->when >= x->since && (!x->only || x->only == t->kind);
}

/*
 * What outlives the row of facts: the day of the last open, which is all that
 * mode dayonly keeps, and what recipients said before the oldest fact.
 */
static bool
export_kept(void *arg, const struct touch *t)
{
	struct export *x = arg;

	if (wanted(x, t))
		emit_touch(x, t);
	return !ferror(stdout);
}

static bool
export_all(struct export *x)
{
	struct numbered *some = xcalloc(BATCH, sizeof *some);
	enum store_result r;
	uint64_t after = 0;
	size_t n;

	while ((r = store_touches(x->c->store, after, some, BATCH, &n)) == STORE_OK && n > 0 && !ferror(stdout)) {
		for (size_t i = 0; i < n; i++)
			if (wanted(x, &some[i].touch))
				emit_touch(x, &some[i].touch);
		after = some[n - 1].seq;
	}
	free(some);
	return r <= STORE_NONE && store_each_kept(x->c->store, export_kept, x) <= STORE_NONE;
}

int
cmd_export(struct cli *c)
{
	const char *since = NULL, *type = NULL;
	const struct cli_option options[] = { { "since", .text = &since }, { "type", .text = &type } };
	struct export x = {
		.c = c, .since = INT64_MIN, .scratch = BUF(URL_CAP), .stream = BUF(NAME_CAP), .name = BUF(NAME_CAP),
	};
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords > 0)
		return cli_usage(c, "export: what is \"%s\"? It writes to standard output", c->word[0]);
	if (since && !text_time(span_of(since), &x.since))
		return cli_usage(c, "\"%s\" is not a date; write 2026-01-31 or 2026-01-31T12:00:00Z", since);
	if (type && !touch_word(span_of(type), &x.only))
		return cli_usage(c, "there is no type \"%s\"; one of " TOUCH_WORDS, type);
	if (!cli_store(c))
		return EXIT_CANNOT;
	status = EXIT_FOUND;
	if (!export_all(&x)) {
		cli_error("cannot read the store in %s: the export is not complete", c->setup->conf->data_dir);
		status = EXIT_CANNOT;
	} else if (x.n == 0) {
		status = EXIT_NOTHING;
	}
	buf_free(&x.scratch);
	buf_free(&x.stream);
	buf_free(&x.name);
	return status;
}
