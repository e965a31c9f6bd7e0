/* rekindle campaign -- what became of each campaign; raw and human figures side by side. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/engage.h"
#include "common/mem.h"
#include "common/text.h"

#define NAME_CAP 4096
#define URL_CAP 8192

struct row {
	uint64_t id;
	struct campaign sums;
	int64_t stopped;     /* its links, since when; 0 they work */
	char *stream, *name; /* "" when the store does not know */
};

struct rows {
	struct cli *c;
	struct row *row;
	size_t n, cap;
};

static bool
take_row(void *arg, uint64_t id, const struct campaign *sums)
{
	struct rows *r = arg;
	struct buf stream = BUF(NAME_CAP), name = BUF(NAME_CAP);

	if (r->n == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->row = xreallocarray(r->row, r->cap, sizeof *r->row);
	}
	if (store_campaign_names(r->c->store, id, &stream, &name) != STORE_OK) {
		buf_clear(&stream);
		buf_clear(&name);
		if (sums->stream)
			cli_stream_name(r->c, sums->stream, &stream);
	}
	r->row[r->n] = (struct row){ .id = id, .sums = *sums, .stream = buf_steal(&stream), .name = buf_steal(&name) };
	store_stopped(r->c->store, id, &r->row[r->n++].stopped);
	return true;
}

static void
rows_free(struct rows *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->row[i].stream);
		free(r->row[i].name);
	}
	free(r->row);
}

/* The newest first; then by name, so that the order is always the same. */
static int
by_age(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int names;

	if (x->sums.first != y->sums.first)
		return x->sums.first < y->sums.first ? 1 : -1;
	if ((names = strcmp(x->name, y->name)) != 0)
		return names;
	return x->id < y->id ? -1 : x->id > y->id;
}

static bool
load(struct cli *c, struct rows *r)
{
	if (!cli_store(c))
		return false;
	r->c = c;
	if (store_each_campaign(c->store, take_row, r) > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		return false;
	}
	if (r->n > 0)
		qsort(r->row, r->n, sizeof *r->row, by_age);
	return true;
}

/* A campaign whose name is unknown is called by its id. */
static const char *
called(const struct row *r, char id[17])
{
	snprintf(id, 17, "%016" PRIx64, r->id);
	return *r->name ? r->name : id;
}

/*
 * What rates are of.  People can only be seen reacting to messages that were
 * tracked, by name where their mode allows that; and where hits are counted
 * but nobody is told apart (anonymous, dayonly) there is no rate of people at
 * all, rather than one of 0.  Who clicked has opened, so one of both will do.
 */
static bool
openers_known(const struct campaign *s)
{
	return s->opens_all == 0 || s->openers_all > 0 || (s->untold > 0 && s->tracked > s->untold);
}

static bool
clickers_known(const struct campaign *s)
{
	return s->clicks_all == 0 || s->clickers_all > 0 || (s->untold_clicks > 0 && s->tracked > s->untold_clicks);
}

static uint64_t
open_base(const struct campaign *s)
{
	return openers_known(s) ? s->tracked - s->untold : 0;
}

static uint64_t
click_base(const struct campaign *s)
{
	return clickers_known(s) ? s->tracked - s->untold_clicks : 0;
}

/* Of people who opened, raw or human, as a base for those who clicked. */
static uint64_t
clicked_base(const struct campaign *s, uint64_t openers)
{
	return openers_known(s) && clickers_known(s) ? openers : 0;
}

/* Sent without a class: imported mail, of which nobody knows any more what its recipients were. */
static uint64_t
sent_unknown(const struct campaign *s)
{
	uint64_t known = 0;

	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		known += s->sent_class[i];
	return s->sent > known ? s->sent - known : 0;
}

/* ---- list ---- */

static void
emit_people(struct emit *e, const char *key, uint64_t n, bool known)
{
	if (known)
		emit_number(e, key, n);
	else
		emit_null(e, key);
}

static void
emit_sums(struct emit *e, const struct row *r)
{
	const struct campaign *s = &r->sums;
	char id[17];

	emit_string(e, "name", called(r, id));
	emit_string(e, "stream", r->stream);
	emit_id(e, "id", r->id);
	emit_time(e, "first_sent", (int64_t)s->first * 1000);
	emit_time(e, "last_sent", (int64_t)s->last * 1000);
	emit_number(e, "sent", s->sent);
	emit_number(e, "tracked", s->tracked);
	emit_number(e, "open_rates_of", open_base(s));
	emit_number(e, "click_rates_of", click_base(s));
	emit_number(e, "skipped", s->skipped);
	emit_number(e, "would_skip", s->would_skip);
	emit_number(e, "unsubscribed", s->left);
	emit_number(e, "delivered", s->delivered);
	emit_number(e, "bounced", s->bounced);
	emit_number(e, "soft_bounced", s->soft_bounced);
	emit_number(e, "policy_bounced", s->policy_bounced);
	emit_number(e, "complained", s->complained);
	emit_number(e, "series", s->series);
	emit_number(e, "holdout", s->holdout);
	emit_number(e, "stopped_by_class", s->by_class);
	emit_number(e, "spared", s->spared);
	emit_open(e, "sent_class", '{');
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		emit_number(e, engage_name(i), s->sent_class[i]);
	if (sent_unknown(s))
		emit_number(e, "unknown", sent_unknown(s));
	emit_close(e, '}');
	emit_open(e, "raw", '{');
	emit_number(e, "opens", s->opens_all);
	emit_people(e, "openers", s->openers_all, openers_known(s));
	emit_rate(e, "open_rate", s->openers_all, open_base(s));
	emit_number(e, "clicks", s->clicks_all);
	emit_people(e, "clickers", s->clickers_all, clickers_known(s));
	emit_rate(e, "click_rate", s->clickers_all, click_base(s));
	emit_rate(e, "click_to_open", s->clickers_all, clicked_base(s, s->openers_all));
	emit_close(e, '}');
	emit_open(e, "human", '{');
	emit_number(e, "opens", s->opens_human);
	emit_people(e, "openers", s->openers_human, openers_known(s));
	emit_rate(e, "open_rate", s->openers_human, open_base(s));
	emit_number(e, "clicks", s->clicks_human);
	emit_people(e, "clickers", s->clickers_human, clickers_known(s));
	emit_rate(e, "click_rate", s->clickers_human, click_base(s));
	emit_rate(e, "click_to_open", s->clickers_human, clicked_base(s, s->openers_human));
	emit_close(e, '}');
	emit_time(e, "links_stopped", r->stopped);
}

static void
print_list(const struct rows *r)
{
	static const char *const head[] = { "campaign", "stream", "first sent", "sent", "stopped", "opened", "clicked", "links" };
	struct table t = TABLE("lllrrrrr");
	struct buf day = BUF(64);
	char id[17];

	for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
		table_adds(&t, head[i]);
	for (size_t i = 0; i < r->n; i++) {
		const struct campaign *s = &r->row[i].sums;

		buf_clear(&day);
		if (s->first)
			text_add_day(&day, (int64_t)s->first * 1000);
		table_adds(&t, called(&r->row[i], id));
		table_adds(&t, r->row[i].stream);
		table_add(&t, s->first ? buf_span(&day) : SPAN("-"));
		table_addf(&t, "%" PRIu64, s->sent);
		table_addf(&t, "%" PRIu64, s->skipped);
		table_rate(&t, s->openers_human, open_base(s));
		table_rate(&t, s->clickers_human, click_base(s));
		table_adds(&t, r->row[i].stopped ? "stopped" : "work");
	}
	table_print(&t, "", true);
	table_free(&t);
	buf_free(&day);
}

static int
list(struct cli *c)
{
	struct rows r = { 0 };
	struct emit e = { 0 };
	int status = EXIT_CANNOT;

	if (!load(c, &r))
		goto out;
	status = r.n ? EXIT_FOUND : EXIT_NOTHING;
	if (c->json) {
		emit_open(&e, NULL, '[');
		for (size_t i = 0; i < r.n; i++) {
			emit_open(&e, NULL, '{');
			emit_sums(&e, &r.row[i]);
			emit_close(&e, '}');
		}
		emit_close(&e, ']');
		emit_end(&e);
	} else if (r.n == 0) {
		cli_error("no campaign yet");
	} else {
		print_list(&r);
	}
out:
	rows_free(&r);
	return status;
}

/* ---- show ---- */

/* The one row that is meant, by name or id.  NULL: told why, in *status too. */
static const struct row *
choose(const struct rows *r, const char *name, const char *stream, int *status)
{
	const struct row *found = NULL;
	struct buf streams = BUF(NAME_CAP);
	uint64_t stream_id;
	size_t n = 0;
	char id[17];

	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = &r->row[i];

		snprintf(id, sizeof id, "%016" PRIx64, row->id);
		if (strcmp(id, name) != 0 && strcmp(row->name, name) != 0)
			continue;
		if (stream && strcmp(row->stream, stream) != 0)
			continue;
		found = row;
		buf_addf(&streams, "%s%s", n++ ? ", " : "", row->stream);
	}
	if (n == 0 && stream && !cli_stream(r->c, stream, &stream_id)) {
		*status = EXIT_USAGE;
	} else if (n == 0) {
		cli_error("there is no campaign \"%s\"%s%s; `rekindle campaign` lists them", name, stream ? " in stream " : "",
		    stream ? stream : "");
		*status = EXIT_NOTHING;
	} else if (n > 1) {
		cli_error("several streams have a campaign \"%s\": %s; say which with --stream", name, buf_cstr(&streams));
		*status = EXIT_USAGE;
		found = NULL;
	}
	buf_free(&streams);
	return found;
}

/* A count of people, or "-" where they are not told apart: a 0 would say that nobody did it. */
static void
table_people(struct table *t, uint64_t n, bool known)
{
	if (known)
		table_addf(t, "%" PRIu64, n);
	else
		table_adds(t, "-");
}

static void
figures(struct table *t, const char *label, uint64_t raw, uint64_t human, uint64_t of, bool known)
{
	table_adds(t, label);
	table_people(t, raw, known);
	table_rate(t, raw, of);
	table_people(t, human, known);
	table_rate(t, human, of);
}

static void
hits(struct table *t, const char *label, uint64_t raw, uint64_t human)
{
	table_adds(t, label);
	table_addf(t, "%" PRIu64, raw);
	table_adds(t, "");
	table_addf(t, "%" PRIu64, human);
	table_adds(t, "");
}

static void
print_sums(const struct row *r, int64_t now)
{
	const struct campaign *s = &r->sums;
	struct table t = TABLE("lrrrr");
	struct buf text = BUF(NAME_CAP);
	char id[17];

	print_safe(&text, span_of(called(r, id)));
	printf("%s%s%s\n", print_bold(), buf_cstr(&text), print_plain());
	print_fieldf("Stream", "%s", *r->stream ? r->stream : "-");
	buf_clear(&text);
	print_when(&text, (int64_t)s->first * 1000, now);
	print_field("First sent", &text);
	buf_clear(&text);
	print_when(&text, (int64_t)s->last * 1000, now);
	print_field("Last sent", &text);
	if (s->untold_clicks == 0)
		print_fieldf("Sent", "%" PRIu64 ", of which %" PRIu64 " tracked; rates are of these", s->sent, s->tracked);
	else {
		print_fieldf("Sent", "%" PRIu64 ", of which %" PRIu64 " tracked", s->sent, s->tracked);
		if (s->tracked == s->untold)
			print_fieldf("Rates are of", "nobody: none of the readers would be known (privacy_profile, consent)");
		else
			print_fieldf("Rates are of", "%" PRIu64 " whose readers would be known, %" PRIu64 " for clicks",
			    s->tracked - s->untold, s->tracked - s->untold_clicks);
	}
	print_fieldf("Stopped", "%" PRIu64 "%s", s->skipped, s->skipped ? " by policy" : "");
	if (s->would_skip)
		print_fieldf("Would be stopped", "%" PRIu64 " (observe only: sent all the same)", s->would_skip);
	if (s->series + s->holdout + s->spared > 0)
		print_fieldf("Of those sent", "%" PRIu64 " re-engagement, %" PRIu64 " to the control group, %" PRIu64 " spared by a brake",
		    s->series, s->holdout, s->spared);
	if (s->delivered > 0)
		print_fieldf("Delivered", "%" PRIu64, s->delivered);
	if (s->bounced + s->soft_bounced + s->policy_bounced > 0)
		print_fieldf("Bounced", "%" PRIu64 " hard, %" PRIu64 " soft, %" PRIu64 " refused for what the mail is", s->bounced,
		    s->soft_bounced, s->policy_bounced);
	if (s->complained > 0)
		print_fieldf("Complained", "%" PRIu64, s->complained);
	print_fieldf("Unsubscribed", "%" PRIu64, s->left);
	buf_free(&text);

	table_adds(&t, "");
	table_adds(&t, "raw");
	table_adds(&t, "");
	table_adds(&t, "human");
	table_adds(&t, "");
	figures(&t, "people who opened", s->openers_all, s->openers_human, open_base(s), openers_known(s));
	figures(&t, "people who clicked", s->clickers_all, s->clickers_human, click_base(s), clickers_known(s));
	table_adds(&t, "click-to-open rate");
	table_adds(&t, "");
	table_rate(&t, s->clickers_all, clicked_base(s, s->openers_all));
	table_adds(&t, "");
	table_rate(&t, s->clickers_human, clicked_base(s, s->openers_human));
	hits(&t, "opens", s->opens_all, s->opens_human);
	hits(&t, "clicks", s->clicks_all, s->clicks_human);
	putchar('\n');
	table_print(&t, "  ", true);
	table_free(&t);
	if (!openers_known(s) || !clickers_known(s))
		printf("\n  People: - where hits are counted but nobody is told apart (modes anonymous and dayonly).\n");

	t = TABLE("lrr");
	table_adds(&t, "class when sent");
	table_adds(&t, "messages");
	table_adds(&t, "share");
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++) {
		table_adds(&t, engage_name(i));
		table_addf(&t, "%" PRIu64, s->sent_class[i]);
		table_rate(&t, s->sent_class[i], s->sent);
	}
	if (sent_unknown(s)) {
		table_adds(&t, "unknown");
		table_addf(&t, "%" PRIu64, sent_unknown(s));
		table_rate(&t, sent_unknown(s), s->sent);
	}
	putchar('\n');
	table_print(&t, "  ", true);
	table_free(&t);
}

/* ---- which rule said what ---- */

static uint64_t
by_machines(const uint64_t by[EVIDENCE_MAX], uint64_t human)
{
	uint64_t all = 0;

	for (enum evidence i = 0; i < EVIDENCES; i++)
		all += by[i];
	return all > human ? all - human : 0;
}

static void
print_machines(const struct campaign *s)
{
	struct table t = TABLE("lrrrrl");

	table_adds(&t, "hits by evidence");
	table_adds(&t, "opens");
	table_adds(&t, "share");
	table_adds(&t, "clicks");
	table_adds(&t, "share");
	table_adds(&t, "");
	for (enum evidence i = 0; i < EVIDENCES; i++) {
		if (s->open_by[i] == 0 && s->click_by[i] == 0)
			continue;
		table_adds(&t, evidence_name(i));
		table_addf(&t, "%" PRIu64, s->open_by[i]);
		table_rate(&t, s->open_by[i], s->opens_all);
		table_addf(&t, "%" PRIu64, s->click_by[i]);
		table_rate(&t, s->click_by[i], s->clicks_all);
		table_adds(&t, evidence_explain(i));
	}
	table_adds(&t, "raw");
	table_addf(&t, "%" PRIu64, s->opens_all);
	table_adds(&t, "");
	table_addf(&t, "%" PRIu64, s->clicks_all);
	table_adds(&t, "");
	table_adds(&t, "all of them");
	table_adds(&t, "human");
	table_addf(&t, "%" PRIu64, s->opens_human);
	table_rate(&t, s->opens_human, s->opens_all);
	table_addf(&t, "%" PRIu64, s->clicks_human);
	table_rate(&t, s->clicks_human, s->clicks_all);
	table_adds(&t, "what counts");
	table_adds(&t, "machines, repeats");
	table_addf(&t, "%" PRIu64, by_machines(s->open_by, s->opens_human));
	table_rate(&t, by_machines(s->open_by, s->opens_human), s->opens_all);
	table_addf(&t, "%" PRIu64, by_machines(s->click_by, s->clicks_human));
	table_rate(&t, by_machines(s->click_by, s->clicks_human), s->clicks_all);
	table_adds(&t, "what does not");
	putchar('\n');
	table_print(&t, "  ", true);
	table_free(&t);

	t = TABLE("lrr");
	table_adds(&t, "unverifiable");
	table_addf(&t, "%" PRIu64, s->one_link);
	table_rate(&t, s->one_link, s->linked);
	putchar('\n');
	table_print(&t, "  ", false);
	table_free(&t);
	printf("  Of %" PRIu64 " message%s with links: those with a single one, where no burst can show who clicked.\n", s->linked,
	    s->linked == 1 ? "" : "s");
}

static void
emit_machines(struct emit *e, const struct campaign *s)
{
	const struct {
		const char *name;
		const uint64_t *by;
	} kinds[] = { { "opens", s->open_by }, { "clicks", s->click_by } };

	emit_open(e, "evidence", '{');
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		emit_open(e, kinds[k].name, '{');
		for (enum evidence i = 0; i < EVIDENCES; i++)
			if (kinds[k].by[i] > 0)
				emit_number(e, evidence_name(i), kinds[k].by[i]);
		emit_close(e, '}');
	}
	emit_close(e, '}');
	emit_number(e, "linked", s->linked);
	emit_number(e, "unverifiable", s->one_link);
	emit_rate(e, "unverifiable_share", s->one_link, s->linked);
}

struct links {
	struct cli *c;
	uint64_t campaign;
	struct emit *emit; /* NULL: into the table */
	struct table table;
	size_t n;
};

static bool
take_link(void *arg, uint16_t link, const struct link_count *k)
{
	struct links *l = arg;
	struct buf url = BUF(URL_CAP);
	bool known = k->clicks_all == 0 || k->clickers_all > 0;

	store_destination(l->c->store, l->campaign, link, &url);
	l->n++;
	if (l->emit) {
		emit_open(l->emit, NULL, '{');
		emit_number(l->emit, "link", link);
		emit_text(l->emit, "destination", buf_span(&url));
		emit_number(l->emit, "clicks_raw", k->clicks_all);
		emit_number(l->emit, "clicks_human", k->clicks_human);
		emit_people(l->emit, "clickers_raw", k->clickers_all, known);
		emit_people(l->emit, "clickers_human", k->clickers_human, known);
		emit_close(l->emit, '}');
	} else {
		table_addf(&l->table, "%u", link);
		table_people(&l->table, k->clickers_all, known);
		table_people(&l->table, k->clickers_human, known);
		table_addf(&l->table, "%" PRIu64, k->clicks_all);
		table_addf(&l->table, "%" PRIu64, k->clicks_human);
		table_add(&l->table, url.n ? buf_span(&url) : SPAN("-"));
	}
	buf_free(&url);
	return true;
}

static int
show(struct cli *c, const char *name, const char *stream, bool machines)
{
	static const char *const head[] = { "link", "people raw", "human", "clicks raw", "human", "destination" };
	struct emit e = { 0 };
	struct links l = { .c = c, .table = TABLE("rrrrrl") };
	struct rows r = { 0 };
	const struct row *row;
	struct buf since = BUF(256);
	int status = EXIT_CANNOT;

	if (!load(c, &r) || !(row = choose(&r, name, stream, &status)))
		goto out;
	status = EXIT_FOUND;
	l.campaign = row->id;
	if (c->json) {
		emit_open(&e, NULL, '{');
		emit_sums(&e, row);
		if (machines)
			emit_machines(&e, &row->sums);
		emit_open(&e, "links", '[');
		l.emit = &e;
	} else {
		print_sums(row, c->now);
		if (machines)
			print_machines(&row->sums);
		if (row->stopped != 0) {
			print_when(&since, row->stopped, c->now);
			printf("\n%sLinks are stopped%s since %s: they show a warning.\n", print_red(), print_plain(), buf_cstr(&since));
		}
		for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
			table_adds(&l.table, head[i]);
	}
	if (store_each_link(c->store, row->id, take_link, &l) > STORE_NONE) {
		cli_error("cannot read the store in %s: the links are not complete", c->setup->conf->data_dir);
		status = EXIT_CANNOT;
	}
	if (c->json) {
		emit_close(&e, ']');
		emit_close(&e, '}');
		emit_end(&e);
	} else if (l.n > 0) {
		putchar('\n');
		table_print(&l.table, "  ", true);
	}
out:
	buf_free(&since);
	table_free(&l.table);
	rows_free(&r);
	return status;
}

/* ---- stop and start ---- */

static int
change(struct cli *c, bool stop, const char *name, const char *stream)
{
	struct emit e = { 0 };
	struct rows r = { 0 };
	const struct row *row;
	enum store_result result;
	int status = EXIT_CANNOT;

	if (!load(c, &r) || !(row = choose(&r, name, stream, &status)))
		goto out;
	result = store_stop_campaign(c->store, row->id, stop ? c->now : 0);
	if (result > STORE_NONE) {
		cli_error("cannot write to the store in %s", c->setup->conf->data_dir);
		goto out;
	}
	status = result == STORE_OK ? EXIT_FOUND : EXIT_NOTHING;
	if (c->json) {
		emit_open(&e, NULL, '{');
		emit_id(&e, "id", row->id);
		emit_flag(&e, "stopped", stop);
		emit_flag(&e, "already", result == STORE_NONE);
		emit_close(&e, '}');
		emit_end(&e);
	} else if (result == STORE_NONE)
		cli_error("this campaign was %s", stop ? "stopped already" : "not stopped");
	else
		printf("%s\n", stop ? "stopped: its links show a warning; unsubscribe links go on working"
				    : "started: its links work again");
out:
	rows_free(&r);
	return status;
}

int
cmd_campaign(struct cli *c)
{
	const char *stream = NULL;
	bool machines = false;
	const struct cli_option options[] = { { "stream", .text = &stream }, { "machines", .flag = &machines } };
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords == 0 || (c->nwords == 1 && strcmp(c->word[0], "list") == 0)) {
		if (stream || machines)
			return cli_usage(c, "campaign: --%s belongs to `campaign show`", stream ? "stream" : "machines");
		return list(c);
	}
	if (strcmp(c->word[0], "stop") == 0 || strcmp(c->word[0], "start") == 0) {
		if (c->nwords != 2)
			return cli_usage(c, "campaign %s: one name, in quotes when it has spaces", c->word[0]);
		if (machines)
			return cli_usage(c, "campaign %s: --machines belongs to `campaign show`", c->word[0]);
		return change(c, strcmp(c->word[0], "stop") == 0, c->word[1], stream);
	}
	if (strcmp(c->word[0], "show") != 0)
		return cli_usage(c, "campaign: what is \"%s\"?", c->word[0]);
	if (c->nwords != 2)
		return cli_usage(c, "campaign show: one name, in quotes when it has spaces");
	return show(c, c->word[1], stream, machines);
}
