/* rekindle segment -- how many recipients are in each class, and who they are. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/text.h"

/* ---- sizes ---- */

struct left_stream {
	uint64_t stream;
	uint64_t people;
};

struct sizes {
	struct cli *c;
	uint64_t people;
	uint64_t class[ENGAGE_CLASSES], status[CAUSES];
	uint64_t series[SERIES_STATUSES];
	uint64_t loyal, at_risk, opaque;
	struct left_stream *left;
	size_t nleft;
};

static bool
count_person(void *arg, const struct who *who, const struct profile *p)
{
	struct sizes *s = arg;
	const struct policy *policy = &s->c->setup->conf->stream[0].policy;
	struct finding f = { .class = engage_class(p, policy, s->c->now) };
	enum cause status = status_of(p, NULL, &f, s->c->now);

	engage_overlays(&f, p, policy, s->c->now);
	s->people++;
	s->class[f.class]++;
	s->status[status]++;
	s->loyal += f.loyal;
	s->at_risk += f.at_risk;
	s->opaque += f.opaque;
	if (status == CAUSE_NONE && f.class == ENGAGE_INACTIVE) {
		f = engage_find(p, policy, s->c->now);
		s->series[series_find(p, who, policy, &f, s->c->now).status]++;
	}
	return true;
}

static bool
count_left(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	struct sizes *s = arg;
	size_t i = 0;

	(void)who;
	if (!unsubscribed(sub))
		return true;
	while (i < s->nleft && s->left[i].stream != stream)
		i++;
	if (i == s->nleft) {
		s->left = xreallocarray(s->left, s->nleft + 1, sizeof *s->left);
		s->left[s->nleft++] = (struct left_stream){ .stream = stream };
	}
	s->left[i].people++;
	return true;
}

static void
size_row(struct table *t, const char *name, uint64_t n, uint64_t of)
{
	table_adds(t, name);
	table_addf(t, "%" PRIu64, n);
	table_rate(t, n, of);
}

static void
print_sizes(const struct sizes *s)
{
	struct table t = TABLE("lrr");
	struct buf name = BUF(1024);

	table_adds(&t, "class");
	table_adds(&t, "people");
	table_adds(&t, "share");
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		size_row(&t, engage_name(i), s->class[i], s->people);
	size_row(&t, "all", s->people, s->people);
	table_print(&t, "", true);
	table_free(&t);

	t = TABLE("lrr");
	table_adds(&t, "of these, stopped whatever the class");
	table_adds(&t, "people");
	table_adds(&t, "share");
	for (enum cause i = CAUSE_NONE + 1; i < CAUSE_INACTIVE; i++)
		size_row(&t, status_name(i), s->status[i], s->people);
	for (size_t i = 0; i < s->nleft; i++) {
		buf_clear(&name);
		buf_adds(&name, "unsubscribed from ");
		cli_stream_name(s->c, s->left[i].stream, &name);
		size_row(&t, buf_cstr(&name), s->left[i].people, s->people);
	}
	putchar('\n');
	table_print(&t, "", true);
	table_free(&t);

	t = TABLE("lrr");
	table_adds(&t, "of the inactive, not stopped");
	table_adds(&t, "people");
	table_adds(&t, "share");
	for (enum series_status i = SERIES_HOLDOUT; i < SERIES_STATUSES; i++)
		size_row(&t, series_name(i), s->series[i], s->people);
	putchar('\n');
	table_print(&t, "", true);
	table_free(&t);

	t = TABLE("lrr");
	table_adds(&t, "of these, worth knowing");
	table_adds(&t, "people");
	table_adds(&t, "share");
	size_row(&t, "loyal", s->loyal, s->people);
	size_row(&t, "at-risk", s->at_risk, s->people);
	size_row(&t, "opaque", s->opaque, s->people);
	putchar('\n');
	table_print(&t, "", true);
	table_free(&t);
	buf_free(&name);
}

static void
emit_sizes(const struct sizes *s)
{
	struct emit e = { 0 };
	struct buf name = BUF(1024);

	emit_open(&e, NULL, '{');
	emit_number(&e, "people", s->people);
	emit_open(&e, "class", '{');
	for (enum engage i = 0; i < ENGAGE_CLASSES; i++)
		emit_number(&e, engage_name(i), s->class[i]);
	emit_close(&e, '}');
	emit_open(&e, "status", '{');
	for (enum cause i = CAUSE_NONE; i < CAUSE_INACTIVE; i++)
		emit_number(&e, status_name(i), s->status[i]);
	emit_close(&e, '}');
	emit_open(&e, "series", '{');
	for (enum series_status i = SERIES_HOLDOUT; i < SERIES_STATUSES; i++)
		emit_number(&e, series_name(i), s->series[i]);
	emit_close(&e, '}');
	emit_open(&e, "unsubscribed_from", '[');
	for (size_t i = 0; i < s->nleft; i++) {
		buf_clear(&name);
		cli_stream_name(s->c, s->left[i].stream, &name);
		emit_open(&e, NULL, '{');
		emit_text(&e, "stream", buf_span(&name));
		emit_number(&e, "people", s->left[i].people);
		emit_close(&e, '}');
	}
	emit_close(&e, ']');
	emit_number(&e, "loyal", s->loyal);
	emit_number(&e, "at_risk", s->at_risk);
	emit_number(&e, "opaque", s->opaque);
	emit_close(&e, '}');
	emit_end(&e);
	buf_free(&name);
}

static int
sizes(struct cli *c)
{
	struct sizes s = { .c = c };
	int status = EXIT_CANNOT;

	if (!cli_store(c))
		return EXIT_CANNOT;
	if (store_each_person(c->store, count_person, &s) > STORE_NONE
	    || store_each_subscription(c->store, count_left, &s) > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
	} else {
		if (c->json)
			emit_sizes(&s);
		else
			print_sizes(&s);
		status = s.people ? EXIT_FOUND : EXIT_NOTHING;
	}
	free(s.left);
	return status;
}

/* ---- export ---- */

struct export {
	struct cli *c;
	bool any_class, any_status;
	enum engage class;
	enum cause status;
	unsigned series; /* bits by enum series_status: only these; 0 any */
	uint64_t stream; /* 0: none in particular */
	const struct policy *policy; /* that stream's */
	enum format format;
	uint64_t written, nameless, stopped;
	struct buf name, row;
};

static void
write_csv(struct export *x, const struct profile *p, const struct finding *f, enum cause status, const struct series *s)
{
	unsigned score = engage_score(p, x->policy, x->c->now);
	struct buf *row = &x->row;

	buf_clear(row);
	format_address(row, buf_span(&x->name), x->format);
	buf_addf(row, ",%s,%s,%s", engage_name(f->class), reason_name(f->reason), status_name(status));
	csv_time(row, p->first_seen);
	csv_time(row, p->last_sent);
	csv_time(row, p->last_open);
	csv_time(row, p->last_click);
	buf_addf(row, ",%" PRIu32 ",%" PRIu32 ",%u,%u.%02u", p->sends, p->tracked_sends, f->silent_sends, score / 100,
	    score % 100);
	buf_addf(row, ",%s,%s,%s,%s", csv_flag(f->loyal), csv_flag(f->at_risk), csv_flag(f->opaque), series_name(s->status));
	csv_time(row, s->next);
	buf_adds(row, "\r\n");
	print_bytes(row);
}

static void
write_json(struct export *x, const struct profile *p, const struct finding *f, enum cause status, const struct series *s)
{
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_text(&e, "address", buf_span(&x->name));
	emit_string(&e, "class", engage_name(f->class));
	emit_string(&e, "reason", reason_name(f->reason));
	emit_string(&e, "status", status_name(status));
	emit_time(&e, "first_seen", (int64_t)p->first_seen * 1000);
	emit_time(&e, "last_sent", (int64_t)p->last_sent * 1000);
	emit_time(&e, "last_open", (int64_t)p->last_open * 1000);
	emit_time(&e, "last_click", (int64_t)p->last_click * 1000);
	emit_number(&e, "sends", p->sends);
	emit_number(&e, "tracked_sends", p->tracked_sends);
	emit_number(&e, "silent_sends", f->silent_sends);
	emit_number(&e, "score", engage_score(p, x->policy, x->c->now));
	emit_flag(&e, "loyal", f->loyal);
	emit_flag(&e, "at_risk", f->at_risk);
	emit_flag(&e, "opaque", f->opaque);
	emit_string(&e, "series", series_name(s->status));
	emit_time(&e, "next", (int64_t)s->next * 1000);
	emit_close(&e, '}');
	emit_end(&e);
}

static bool
export_person(void *arg, const struct who *who, const struct profile *p)
{
	struct export *x = arg;
	struct finding f = engage_find(p, x->policy, x->c->now);
	struct series series = series_find(p, who, x->policy, &f, x->c->now);
	struct subscription s;
	enum cause status;

	if (!x->any_class && f.class != x->class)
		return true;
	if (x->stream && store_subscription(x->c->store, who, x->stream, &s) == STORE_OK)
		status = status_of(p, &s, &f, x->c->now);
	else
		status = status_of(p, NULL, &f, x->c->now);
	if (!x->any_status && status != x->status)
		return true;
	if (x->series != 0 && (x->series >> series.status & 1) == 0)
		return true;
	buf_clear(&x->name);
	if (store_name(x->c->store, who, &x->name) != STORE_OK) {
		x->nameless++;
		return true;
	}
	x->written++;
	x->stopped += status != CAUSE_NONE;
	switch (x->format) {
	case FORMAT_CSV:
	case FORMAT_SHEET:
		write_csv(x, p, &f, status, &series);
		break;
	case FORMAT_JSON:
		write_json(x, p, &f, status, &series);
		break;
	case FORMAT_TEXT:
		print_bytes(&x->name);
		putchar('\n');
		break;
	}
	return !ferror(stdout);
}

static int
export(struct cli *c, const char *status, const char *stream, const char *format)
{
	struct export x = {
		.c = c, .any_status = true, .format = c->json ? FORMAT_JSON : FORMAT_CSV,
		.name = BUF(ADDR_MAX), .row = BUF(8 * ADDR_MAX),
	};
	const struct stream *known;
	enum store_result result;

	if (c->nwords > 2 || (c->nwords < 2 && !status))
		return cli_usage(c, "segment export: which class?");
	x.any_class = c->nwords < 2 || strcmp(c->word[1], "all") == 0;
	if (!x.any_class && !engage_parse(span_of(c->word[1]), &x.class))
		return cli_usage(c, "there is no class \"%s\"; one of new, engaged, semi-engaged, inactive, all", c->word[1]);
	if (status) {
		x.any_status = false;
		x.series = series_set(span_of(status));
		if (x.series == 0 && !status_parse(span_of(status), &x.status))
			return cli_usage(c, "there is no status \"%s\"; one of ok, complained, bounced, unsubscribed, held, "
			    SERIES_WORDS, status);
	}
	if (format && !format_parse(format, &x.format))
		return cli_usage(c, "there is no format \"%s\"; one of " FORMAT_WORDS, format);
	if (c->json && x.format != FORMAT_JSON)
		return cli_usage(c, "segment export: --json or --format %s, not both", format);
	if (!cli_store(c))
		return EXIT_CANNOT;
	if (stream && !cli_stream(c, stream, &x.stream))
		return EXIT_USAGE;
	/* One that only the store knows has the policy of all. */
	known = stream ? conf_stream(c->setup->conf, span_of(stream)) : NULL;
	x.policy = &(known ? known : &c->setup->conf->stream[0])->policy;

	if (x.format == FORMAT_CSV || x.format == FORMAT_SHEET)
		printf("%s,class,reason,status,first_seen,last_sent,last_open,last_click,sends,tracked_sends,silent_sends,"
		       "score,loyal,at_risk,opaque,series,next\r\n", format_address_column(x.format));
	result = store_each_person(c->store, export_person, &x);
	if (x.nameless)
		cli_error("%" PRIu64 " more are known by their hash only and cannot be listed", x.nameless);
	if (x.stopped && x.any_status)
		cli_error("%" PRIu64 " of these %" PRIu64 " are stopped (column status); --status ok leaves them out",
		    x.stopped, x.written);
	buf_free(&x.name);
	buf_free(&x.row);
	if (result > STORE_NONE) {
		cli_error("cannot read the store in %s: the list is not complete", c->setup->conf->data_dir);
		return EXIT_CANNOT;
	}
	return x.written ? EXIT_FOUND : EXIT_NOTHING;
}

int
cmd_segment(struct cli *c)
{
	const char *want_status = NULL, *stream = NULL, *format = NULL;
	const struct cli_option options[] = {
		{ "status", .text = &want_status },
		{ "stream", .text = &stream },
		{ "format", .text = &format },
	};
	int status;

	if (!cli_options(c, options, 3, &status))
		return status;
	if (c->nwords > 0 && strcmp(c->word[0], "export") == 0)
		return export(c, want_status, stream, format);
	if (c->nwords > 0)
		return cli_usage(c, "segment: what is \"%s\"?", c->word[0]);
	if (want_status || stream || format)
		return cli_usage(c, "segment: --status, --stream and --format belong to `segment export`");
	return sizes(c);
}
