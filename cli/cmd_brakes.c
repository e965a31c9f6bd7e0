/* rekindle brakes -- which campaigns are stopped, whose readers are not seen, and how near the limits all of them are. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/brake.h"
#include "common/mem.h"
#include "common/text.h"

#define NAME_CAP 4096
#define SHOWN_DAYS 14 /* campaigns that sent something since */
#define GROUPS_MAX 1000

struct brakes {
	struct cli *c;
	const char *name, *stream; /* of the campaign that is meant; NULL: all */
	uint64_t id;
	size_t found, shown;
	struct buf streams;
	struct emit *emit;  /* NULL: into the table */
	struct table table;
};

/* ---- rows ---- */

static bool
is_on(struct cli *c, enum brake kind, uint64_t id, struct brake_row *row)
{
	return store_get_brake(c->store, (uint8_t)kind, id, row) == STORE_OK && row->lifted == 0;
}

enum brake
brakes_of(struct cli *c, uint64_t id, int64_t *since)
{
	struct brake_row row;
	enum brake stop;

	if (store_stops(c->store, id, &stop, since) == STORE_OK)
		return stop;
	if (!is_on(c, BRAKE_SHARE, id, &row))
		return BRAKE_NONE;
	*since = row.since;
	return BRAKE_SHARE;
}

enum brake
brakes_of_receiver(struct cli *c, uint32_t receiver, int64_t *since)
{
	const struct {
		enum brake kind;
		uint64_t id;
	} rows[] = { { BRAKE_SILENCE, BRAKE_EVERYBODY }, { BRAKE_OUTAGE, BRAKE_EVERYBODY }, { BRAKE_OUTAGE, receiver } };
	struct brake_row row;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (is_on(c, rows[i].kind, rows[i].id, &row)) {
			*since = row.since;
			return rows[i].kind;
		}
	return BRAKE_NONE;
}

static void
campaign_names(struct cli *c, uint64_t id, const struct campaign *sums, struct buf *stream, struct buf *name)
{
	if (store_campaign_names(c->store, id, stream, name) == STORE_OK)
		return;
	buf_clear(stream);
	buf_clear(name);
	cli_stream_name(c, sums->stream, stream);
	buf_addf(name, "%016" PRIx64, id);
}

static struct brake_counts
counts_of(const struct campaign *s)
{
	return (struct brake_counts){ s->sent, s->skipped, s->by_class, s->spared, s->delivered, s->bounced, s->complained };
}

static void
emit_brake_rate(struct emit *e, const char *key, const struct brake_rate *r)
{
	emit_open(e, key, '{');
	emit_number(e, "count", r->part);
	emit_number(e, "of", r->of);
	emit_rate(e, "rate", r->part, r->of);
	emit_rate(e, "limit", r->limit, 10000);
	emit_number(e, "from", r->minimum);
	emit_close(e, '}');
}

static void
add_rate(struct table *t, const struct brake_rate *r)
{
	struct buf text = BUF(64);

	if (r->of == 0) {
		table_adds(t, "-");
		return;
	}
	buf_addf(&text, "%.2f %% / %.2f %%", (double)r->part * 100 / (double)r->of, (double)r->limit / 100);
	table_add(t, buf_span(&text));
	buf_free(&text);
}

static bool
show_campaign(void *arg, uint64_t id, const struct campaign *sums)
{
	static const struct {
		enum brake kind;
		const char *key;
	} rates[] = { { BRAKE_COMPLAINTS, "complaints" }, { BRAKE_BOUNCES, "bounces" }, { BRAKE_SHARE, "stopped_by_class" } };
	struct brakes *b = arg;
	struct buf stream = BUF(NAME_CAP), name = BUF(NAME_CAP), when = BUF(64);
	const struct conf *conf = b->c->setup->conf;
	struct brake_counts counts = counts_of(sums);
	const struct stream *of;
	int64_t since = 0;
	enum brake on = brakes_of(b->c, id, &since);

	if (on == BRAKE_NONE && (int64_t)sums->last * 1000 < b->c->now - SHOWN_DAYS * DAY_MS)
		goto out;
	campaign_names(b->c, id, sums, &stream, &name);
	of = conf_stream(conf, buf_span(&stream));
	if (of == NULL)
		of = &conf->stream[0];
	b->shown++;
	if (b->emit != NULL) {
		emit_open(b->emit, NULL, '{');
		emit_text(b->emit, "name", buf_span(&name));
		emit_text(b->emit, "stream", buf_span(&stream));
		emit_id(b->emit, "id", id);
		emit_string(b->emit, "brake", on == BRAKE_NONE ? "off" : brake_name(on));
		emit_flag(b->emit, "stopped", brake_stops(on));
		emit_time(b->emit, "since", since);
		emit_number(b->emit, "sent", sums->sent);
	} else {
		table_add(&b->table, buf_span(&name));
		table_add(&b->table, buf_span(&stream));
		table_addf(&b->table, "%" PRIu64, sums->sent);
	}
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct brake_rate r = brake_find(rates[i].kind, &counts, &of->policy.brake, false);

		if (b->emit != NULL)
			emit_brake_rate(b->emit, rates[i].key, &r);
		else
			add_rate(&b->table, &r);
	}
	if (b->emit != NULL)
		emit_close(b->emit, '}');
	else {
		table_adds(&b->table, on == BRAKE_NONE ? "off" : brake_name(on));
		if (on != BRAKE_NONE)
			print_when(&when, since, b->c->now);
		table_add(&b->table, buf_span(&when));
	}
out:
	buf_free(&stream);
	buf_free(&name);
	buf_free(&when);
	return true;
}

/* ---- streams ---- */

/* At RCPT no campaign is known: the share is then that of the stream's last 24 hours, and so is the brake. */
static bool
show_stream(struct brakes *b, const struct stream *stream)
{
	uint64_t id = stream_id(&b->c->setup->keys, span_of(stream->name));
	struct brake_counts counts;
	struct brake_row row = { 0 };
	struct brake_rate r;
	struct buf when = BUF(64);

	if (!is_on(b->c, BRAKE_SHARE, id, &row))
		return true;
	if (store_stream_counts(b->c->store, id, (uint32_t)(b->c->now / 3600000), &counts) != STORE_OK)
		return false;
	r = brake_find(BRAKE_SHARE, &counts, &stream->policy.brake, true);
	if (b->emit != NULL) {
		emit_open(b->emit, NULL, '{');
		emit_string(b->emit, "stream", stream->name);
		emit_string(b->emit, "brake", brake_name(BRAKE_SHARE));
		emit_time(b->emit, "since", row.since);
		emit_brake_rate(b->emit, "stopped_by_class", &r);
		emit_close(b->emit, '}');
	} else {
		print_when(&when, row.since, b->c->now);
		printf("\n%sStream %s%s at RCPT: policy would stop %.2f %% of 24 hours (limit %.2f %%), since %s; nobody is stopped there as inactive.\n",
		    print_red(), stream->name, print_plain(), r.of > 0 ? (double)r.part * 100 / (double)r.of : 0, (double)r.limit / 100,
		    buf_cstr(&when));
	}
	buf_free(&when);
	return true;
}

static bool
show_streams(struct brakes *b)
{
	const struct conf *conf = b->c->setup->conf;
	bool good = true;

	for (size_t i = 0; i < conf->nstreams; i++)
		good = show_stream(b, &conf->stream[i]) && good;
	return good;
}

/* ---- receivers ---- */

struct survey {
	uint32_t now;
	const struct outage_limits *limits;
	struct {
		uint32_t id;
		struct outage sums;
		int64_t sent, complained, bounced; /* of the last 24 hours */
	} group[GROUPS_MAX];
	size_t n;
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
	if (i == GROUPS_MAX)
		return true;
	if (i == s->n)
		s->group[s->n++].id = (uint32_t)id;
	outage_add(&s->group[i].sums, s->now - hour, v->tracked, v->opens_human + v->clicks_human, v->hits, s->limits);
	if (s->now - hour < 24) {
		s->group[i].sent += v->sent;
		s->group[i].complained += v->complained;
		s->group[i].bounced += v->bounced;
	}
	return true;
}

/* What is taken back later is taken from the hour in which it counted, and the group may be another one by then: not less than 0. */
static double
per_message(int64_t reactions, int64_t sent)
{
	return sent > 0 && reactions > 0 ? (double)reactions / (double)sent : 0;
}

static void
show_receiver(struct brakes *b, const struct survey *s, size_t i)
{
	const struct outage *o = &s->group[i].sums;
	const char *name = receivers_called(b->c->setup->receivers, s->group[i].id);
	struct brake_row row = { 0 };
	bool on = is_on(b->c, BRAKE_OUTAGE, s->group[i].id, &row);
	struct buf when = BUF(64);
	double last = per_message(o->reactions, o->sent), usual = per_message(o->reactions_base, o->sent_base);

	if (name == NULL)
		name = "others";
	if (b->emit != NULL) {
		emit_open(b->emit, NULL, '{');
		emit_string(b->emit, "receiver", name);
		emit_string(b->emit, "brake", on ? brake_name(BRAKE_OUTAGE) : "off");
		emit_time(b->emit, "since", on ? row.since : 0);
		emit_number(b->emit, "sent_24h", (uint64_t)s->group[i].sent);
		emit_number(b->emit, "complained_24h", (uint64_t)s->group[i].complained);
		emit_number(b->emit, "bounced_24h", (uint64_t)s->group[i].bounced);
		emit_rate(b->emit, "reactions_per_message", (uint64_t)(last * 10000), 10000);
		emit_rate(b->emit, "usually", (uint64_t)(usual * 10000), 10000);
		emit_close(b->emit, '}');
	} else {
		table_adds(&b->table, name);
		table_addf(&b->table, "%" PRId64, s->group[i].sent);
		table_addf(&b->table, "%" PRId64, s->group[i].complained);
		table_addf(&b->table, "%" PRId64, s->group[i].bounced);
		table_addf(&b->table, "%.3f", last);
		table_addf(&b->table, "%.3f", usual);
		table_adds(&b->table, on ? brake_name(BRAKE_OUTAGE) : "off");
		if (on)
			print_when(&when, row.since, b->c->now);
		table_add(&b->table, buf_span(&when));
	}
	buf_free(&when);
}

static bool
show_receivers(struct brakes *b)
{
	static const char *const head[] = { "receiver", "sent 24 h", "complained", "bounced", "reactions", "usually", "brake", "since" };
	struct survey *s = xcalloc(1, sizeof *s);
	bool good;

	s->now = (uint32_t)(b->c->now / 3600000);
	s->limits = &b->c->setup->conf->outage;
	good = store_each_volume(b->c->store, s->now - OUTAGE_HOURS, s->now, survey_hour, s) == STORE_OK;
	if (b->emit == NULL && s->n > 0) {
		b->table = TABLE("lrrrrrll");
		for (size_t i = 0; i < sizeof head / sizeof *head; i++)
			table_adds(&b->table, head[i]);
	}
	for (size_t i = 0; i < s->n; i++)
		show_receiver(b, s, i);
	if (b->emit == NULL && s->n > 0) {
		putchar('\n');
		table_print(&b->table, "", true);
		table_free(&b->table);
	}
	free(s);
	return good;
}

static void
show_everybody(struct brakes *b)
{
	static const struct {
		enum brake kind;
		const char *what;
	} rows[] = { { BRAKE_OUTAGE, "readers are hardly seen" }, { BRAKE_SILENCE, "no hit of anybody comes" } };
	struct brake_row row;
	struct buf when = BUF(64);

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (!is_on(b->c, rows[i].kind, BRAKE_EVERYBODY, &row))
			continue;
		if (b->emit != NULL) {
			emit_open(b->emit, NULL, '{');
			emit_string(b->emit, "receiver", "all");
			emit_string(b->emit, "brake", brake_name(rows[i].kind));
			emit_time(b->emit, "since", row.since);
			emit_close(b->emit, '}');
			continue;
		}
		buf_clear(&when);
		print_when(&when, row.since, b->c->now);
		printf("\n%sAll receivers%s: %s since %s; nobody is stopped as inactive.\n", print_red(), print_plain(), rows[i].what,
		    buf_cstr(&when));
	}
	buf_free(&when);
}

static int
list(struct cli *c)
{
	static const char *const head[] = { "campaign", "stream", "sent", "complaints", "bounces", "stopped by class", "brake", "since" };
	struct emit e = { 0 };
	struct brakes b = { .c = c, .table = TABLE("llrrrrll"), .emit = c->json ? &e : NULL };
	bool good;

	if (!cli_store(c))
		return EXIT_CANNOT;
	if (c->json) {
		emit_open(&e, NULL, '{');
		emit_open(&e, "campaigns", '[');
	} else
		for (size_t i = 0; i < sizeof head / sizeof *head; i++)
			table_adds(&b.table, head[i]);
	good = store_each_campaign(c->store, show_campaign, &b) <= STORE_NONE;
	if (c->json) {
		emit_close(&e, ']');
		emit_open(&e, "streams", '[');
	} else {
		if (b.shown > 0)
			table_print(&b.table, "", true);
		else
			printf("no campaign sent anything for %d days\n", SHOWN_DAYS);
		table_free(&b.table);
	}
	good = show_streams(&b) && good;
	if (c->json) {
		emit_close(&e, ']');
		emit_open(&e, "receivers", '[');
	}
	good = show_receivers(&b) && good;
	show_everybody(&b);
	if (c->json) {
		emit_close(&e, ']');
		emit_close(&e, '}');
		emit_end(&e);
	}
	if (!good)
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
	return good ? EXIT_FOUND : EXIT_CANNOT;
}

/* ---- stop and release ---- */

static bool
match(void *arg, uint64_t id, const struct campaign *sums)
{
	struct brakes *b = arg;
	struct buf stream = BUF(NAME_CAP), name = BUF(NAME_CAP);
	char hex[17];

	snprintf(hex, sizeof hex, "%016" PRIx64, id);
	campaign_names(b->c, id, sums, &stream, &name);
	if ((strcmp(hex, b->name) == 0 || strcmp(buf_cstr(&name), b->name) == 0) &&
	    (b->stream == NULL || strcmp(buf_cstr(&stream), b->stream) == 0)) {
		buf_addf(&b->streams, "%s%s", b->found++ ? ", " : "", buf_cstr(&stream));
		b->id = id;
	}
	buf_free(&stream);
	buf_free(&name);
	return true;
}

/* The campaign that is meant; with a stream, it need not have sent anything yet.  False: told why, in *status too. */
static bool
choose(struct brakes *b, int *status)
{
	uint64_t stream;

	*status = EXIT_CANNOT;
	if (store_each_campaign(b->c->store, match, b) > STORE_NONE) {
		cli_error("cannot read the store in %s", b->c->setup->conf->data_dir);
		return false;
	}
	if (b->found == 1)
		return true;
	if (b->found > 1) {
		cli_error("several streams have a campaign \"%s\": %s; say which with --stream", b->name, buf_cstr(&b->streams));
		*status = EXIT_USAGE;
		return false;
	}
	if (b->stream == NULL) {
		cli_error("there is no campaign \"%s\"; if it has not begun yet, say of which --stream it will be", b->name);
		*status = EXIT_NOTHING;
		return false;
	}
	if (!cli_stream(b->c, b->stream, &stream)) {
		*status = EXIT_USAGE;
		return false;
	}
	b->id = campaign_id(&b->c->setup->keys, span_of(b->stream), span_of(b->name));
	return true;
}

bool
brakes_campaign(struct cli *c, const char *name, const char *stream, uint64_t *id, int *status)
{
	struct brakes b = { .c = c, .name = name, .stream = stream, .streams = BUF(NAME_CAP) };
	bool found = choose(&b, status);

	*id = b.id;
	buf_free(&b.streams);
	return found;
}

/* How many were lifted; -1: told why not. */
static int
release(struct cli *c, uint64_t id, struct span by)
{
	static const enum brake kinds[] = { BRAKE_HAND, BRAKE_COMPLAINTS, BRAKE_BOUNCES, BRAKE_SHARE };
	int n = 0;

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		enum store_result r = store_lift_brake(c->store, (uint8_t)kinds[i], id, c->now, by);

		if (r > STORE_NONE) {
			cli_error("cannot write to the store in %s", c->setup->conf->data_dir);
			return -1;
		}
		n += r == STORE_OK;
	}
	return n;
}

static int
stop(struct cli *c, uint64_t id, struct span by)
{
	const struct brake_row row = { .kind = BRAKE_HAND, .id = id, .since = c->now, .by = by };
	struct brake_row there;

	if (is_on(c, BRAKE_HAND, id, &there))
		return 0;
	if (store_brake(c->store, &row, true) == STORE_OK)
		return 1;
	cli_error("cannot write to the store in %s", c->setup->conf->data_dir);
	return -1;
}

/* A stop that changes nothing says so: a new installation observes. */
static void
say_stopped(const struct brakes *b)
{
	const struct stream *s = conf_stream(b->c->setup->conf, b->found > 0 ? buf_span(&b->streams) : span_of(b->stream));

	if (s != NULL && s->transactional)
		printf("stopped, but its messages go out: stream %s is transactional\n", s->name);
	else if (s != NULL && !s->enforce)
		printf("stopped, but its messages go out: stream %s has enforce = observe\n", s->name);
	else
		printf("stopped: no more of its messages go out\n");
}

static int
change(struct cli *c, bool stopping, const char *name, const char *stream, const char *note)
{
	struct brakes b = { .c = c, .name = name, .stream = stream, .streams = BUF(NAME_CAP) };
	struct buf by = BUF(1024);
	struct emit e = { 0 };
	int status = EXIT_CANNOT, n;
	int64_t when;

	/* Before root is given up: it says who did it. */
	if (!cli_source(&by, span_of(note))) {
		status = cli_usage(c, "brakes: --reason must be one line of UTF-8, and not too long");
		goto out;
	}
	if (!cli_store(c) || !choose(&b, &status))
		goto out;
	status = EXIT_CANNOT;
	if ((n = stopping ? stop(c, b.id, buf_span(&by)) : release(c, b.id, buf_span(&by))) < 0)
		goto out;
	status = n > 0 ? EXIT_FOUND : EXIT_NOTHING;
	if (c->json) {
		emit_open(&e, NULL, '{');
		emit_id(&e, "id", b.id);
		emit_flag(&e, "stopped", stopping);
		emit_flag(&e, "already", n == 0);
		emit_close(&e, '}');
		emit_end(&e);
	} else if (n == 0)
		cli_error(stopping ? "this campaign is stopped already" : "no brake is on for this campaign");
	else if (stopping)
		say_stopped(&b);
	else
		printf("released: it goes on, and the same brake does not come back\n");
	if (!stopping && store_stopped(c->store, b.id, &when) == STORE_OK)
		cli_error("its links are stopped as well, and so it stays; `rekindle campaign start' ends that");
out:
	buf_free(&b.streams);
	buf_free(&by);
	return status;
}

int
cmd_brakes(struct cli *c)
{
	const char *stream = NULL, *note = NULL;
	const struct cli_option options[] = { { "stream", .text = &stream }, { "reason", .text = &note } };
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords == 0) {
		if (stream != NULL || note != NULL)
			return cli_usage(c, "brakes: --%s belongs to `brakes stop' and `brakes release'", stream != NULL ? "stream" : "reason");
		return list(c);
	}
	if (strcmp(c->word[0], "stop") != 0 && strcmp(c->word[0], "release") != 0)
		return cli_usage(c, "brakes: what is \"%s\"?", c->word[0]);
	if (c->nwords != 2)
		return cli_usage(c, "brakes %s: one campaign, in quotes when its name has spaces", c->word[0]);
	return change(c, strcmp(c->word[0], "stop") == 0, c->word[1], stream, note == NULL ? "" : note);
}
