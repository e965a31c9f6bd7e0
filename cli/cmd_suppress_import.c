/* rekindle suppress import -- take over the suppression list of another system. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/csv.h"
#include "common/listing.h"
#include "common/mem.h"
#include "common/text.h"

#define WHYS_MAX 16
#define CLOCK_SLACK 60000 /* ms: two machines' clocks */
#define CHUNK (2 * CSV_RECORD_MAX)
#define TAKEN_SLOTS 4096 /* at first; enough for a batch */

/* Rows that were left out for one reason. */
struct why {
	char *text;
	uint64_t n;
};

/* A stop that was taken over and that the store cannot tell of yet. */
struct taken {
	struct who who;
	uint64_t stream;
	uint32_t when; /* seconds; 0: this place is free */
	uint32_t until; /* of a hold; 0 for ever */
	uint8_t kind;
};

struct import {
	struct cli *c;
	const struct suppress_import *how;
	const char *name;       /* of the file, for messages */
	bool rows;              /* places are rows, not lines */
	enum touch_kind as;
	uint64_t stream_id;
	int64_t list_time;      /* of rows without a date, ms */
	struct buf user;        /* "cli: root" */
	struct listing listing;
	bool begun;
	size_t width;           /* CSV: how many columns the first line names */
	/* JSON: names of columns, those of the first row first. */
	char **column;
	size_t ncolumns;
	struct batch *batch;
	/* A hash table, of what is in the batch; of a dry run, which never writes one, of the whole list. */
	struct taken *taken;
	size_t ntaken, slots;
	uint64_t read, added, known, overtaken, bad;
	uint64_t by_kind[TOUCH_KINDS];
	struct why why[WHYS_MAX];
	size_t nwhys;
};

static bool
wrong(struct import *im, uint64_t at, const char *why)
{
	cli_error("%s:%s%" PRIu64 ": %s", im->name, im->rows ? " row " : "", at, why);
	im->bad++;
	return !im->how->strict;
}

/* The last one stands for all that are too many. */
static void
left_out(struct import *im, const char *text)
{
	size_t i = 0;

	while (i < im->nwhys && strcmp(im->why[i].text, text) != 0)
		i++;
	if (i == WHYS_MAX)
		i = WHYS_MAX - 1;
	if (i == im->nwhys)
		im->why[im->nwhys++].text = xstrdup(text);
	im->why[i].n++;
}

/* What the sums say of the same stop: when it was and until when, when it was lifted, and does it stand? */
static void
sums_of(const struct listed *r, bool of_stream, const struct profile *p, const struct subscription *sub, uint32_t *stop,
    uint32_t *until, uint32_t *lifted)
{
	*until = 0;
	*lifted = p->joined > p->released ? p->joined : p->released;
	switch (r->kind) {
	case TOUCH_HELD:
		*stop = of_stream ? sub->held : p->held;
		*until = of_stream ? sub->held_until : p->held_until;
		*lifted = of_stream ? sub->released : p->released;
		break;
	case TOUCH_LEFT:
		*stop = of_stream ? sub->left : p->left;
		if (of_stream)
			*lifted = sub->joined;
		break;
	case TOUCH_BOUNCED:
		*stop = p->bounced;
		break;
	default:
		*stop = p->complained;
		break;
	}
}

static struct taken *
find_taken(const struct import *im, const struct who *who, uint64_t stream, uint8_t kind)
{
	unsigned char key[sizeof who->b + sizeof stream + 1];
	struct taken *t;
	size_t i;

	memcpy(key, who->b, sizeof who->b);
	memcpy(key + sizeof who->b, &stream, sizeof stream);
	key[sizeof key - 1] = kind;
	i = span_hash(span_make((const char *)key, sizeof key));
	for (i &= im->slots - 1; (t = &im->taken[i])->when != 0; i = (i + 1) & (im->slots - 1))
		if (who_eq(&t->who, who) && t->stream == stream && t->kind == kind)
			break;
	return t;
}

static void
make_room(struct import *im)
{
	struct taken *old = im->taken;
	size_t n = im->slots;

	if (2 * im->ntaken < n)
		return;
	im->slots = n > 0 ? 2 * n : TAKEN_SLOTS;
	im->taken = xcalloc(im->slots, sizeof *im->taken);
	for (size_t i = 0; i < n; i++)
		if (old[i].when != 0)
			*find_taken(im, &old[i].who, old[i].stream, old[i].kind) = old[i];
	free(old);
}

/* The store has it now. */
static void
forget_taken(struct import *im)
{
	memset(im->taken, 0, im->slots * sizeof *im->taken);
	im->ntaken = 0;
}

/* "cli: root: sendgrid bounces.csv: 550 5.1.1 no such user" */
static void
make_source(const struct import *im, struct span detail, struct buf *out)
{
	const char *slash = strrchr(im->name, '/');

	buf_add(out, buf_span(&im->user));
	buf_addf(out, ": %s %s", listing_name(&im->listing), slash ? slash + 1 : im->name);
	if (detail.n == 0)
		return;
	buf_adds(out, ": ");
	for (size_t i = 0; i < detail.n && i < SOURCE_MAX; i++)
		buf_addc(out, (unsigned char)detail.p[i] < ' ' || detail.p[i] == 0x7f ? ' ' : detail.p[i]);
}

/* False: cannot go on, told why. */
static bool
stop(struct import *im, uint64_t at, const struct listed *row)
{
	struct cli *c = im->c;
	struct record r = { .touch = { .kind = (uint8_t)row->kind, .mode = MODE_IDENTIFIED, .flags = TOUCH_IMPORTED,
		.when = row->when ? row->when : im->list_time, .sent = (uint32_t)(row->until / 1000) } };
	bool scoped = row->kind == TOUCH_LEFT || row->kind == TOUCH_HELD, known, subscribed;
	struct buf source = BUF(4096);
	struct subscription sub;
	struct taken *before;
	struct profile p;
	uint32_t stop, until, lifted;
	bool longer;

	if (!addr_who(&c->setup->keys, row->address, &r.touch.who)) {
		/* Our own export has the hash of who is known by nothing else. */
		if (strcmp(listing_name(&im->listing), "rekindle") != 0 ||
		    !text_hex(row->address, r.touch.who.b, sizeof r.touch.who.b))
			return wrong(im, at, "this is not an address");
	} else {
		r.address = row->address;
	}
	if (row->stream.n > 0 && !import_is_stream_name(row->stream))
		return wrong(im, at, "the stream must be letters, digits, - _ and .");
	if (scoped && row->stream.n > 0) {
		r.stream = row->stream;
		r.touch.stream = stream_id(&c->setup->keys, row->stream);
	} else if (row->kind == TOUCH_LEFT && im->how->stream) {
		r.stream = span_of(im->how->stream);
		r.touch.stream = im->stream_id;
	}
	if (r.touch.when < 0 || r.touch.when > c->now + CLOCK_SLACK)
		return wrong(im, at, r.touch.when < 0 ? "the date is before 1970" : "the date is in the future");
	if (row->until && (row->until <= c->now || row->until / 1000 > UINT32_MAX)) {
		left_out(im, "the hold is over");
		return true;
	}
	if (store_person(c->store, &r.touch.who, r.touch.stream, &p, &known, &sub, &subscribed) > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		return false;
	}
	sums_of(row, r.touch.stream != 0, &p, &sub, &stop, &until, &lifted);
	make_room(im);
	before = find_taken(im, &r.touch.who, r.touch.stream, r.touch.kind);
	if (before->when != 0 && before->when >= stop) {
		stop = before->when;
		until = before->until;
	}
	/* Of holds since the same moment the longest counts; and one that is over, or ends before, says nothing of this one. */
	longer = until != 0 && (r.touch.sent == 0 || r.touch.sent > until);
	if (stop > touch_seconds(&r.touch) ||
	    (!longer && (stop == touch_seconds(&r.touch) || (row->when == 0 && stop != 0 && stop >= lifted)))) {
		im->known++;
		return true;
	}
	if (lifted > touch_seconds(&r.touch)) {
		im->overtaken++;
		return true;
	}
	im->ntaken += before->when == 0;
	*before = (struct taken){ r.touch.who, r.touch.stream, touch_seconds(&r.touch), r.touch.sent, r.touch.kind };
	im->added++;
	im->by_kind[row->kind]++;
	if (im->how->dry_run)
		return true;
	make_source(im, row->detail, &source);
	r.source = buf_span(&source);
	batch_add(im->batch, &r);
	buf_free(&source);
	if (im->batch->n < BATCH_MAX)
		return true;
	if (batch_write(c, im->batch)) {
		cli_fold(c);
		forget_taken(im);
		return true;
	}
	cli_error("%s: stopped: from the last %d rows before %s %" PRIu64 " on nothing is imported", im->name, BATCH_MAX,
	    im->rows ? "row" : "line", at);
	return false;
}

/* False: cannot go on, told why. */
static bool
read_row(struct import *im, const struct span *field, size_t n, uint64_t at)
{
	struct buf why = BUF(1024);
	struct listed row;
	bool good = true;

	im->read++;
	switch (listing_read(&im->listing, field, n, im->as, &row, &why)) {
	case LIST_STOP:
		good = stop(im, at, &row);
		break;
	case LIST_SKIP:
		left_out(im, buf_cstr(&why));
		break;
	case LIST_BAD:
		good = wrong(im, at, buf_cstr(&why));
		break;
	}
	buf_free(&why);
	return good;
}

/* What stands behind the last column is told, and so is not dropped unseen: a separator without quotes moves all that follows it. */
static bool
has_surplus(const struct import *im, const struct span *field, size_t n)
{
	for (size_t i = im->width; i < n; i++)
		if (span_trim(field[i]).n > 0)
			return true;
	return false;
}

static bool
refuse_surplus(struct import *im, size_t n, uint64_t at)
{
	struct buf why = BUF(256);
	bool good;

	im->read++;
	if (im->listing.headless)
		buf_addf(&why, "it has %zu columns, which no first line names", n);
	else
		buf_addf(&why, "it has %zu columns and the first line %zu; is something with a separator in it not in quotes?", n, im->width);
	good = wrong(im, at, buf_cstr(&why));
	buf_free(&why);
	return good;
}

static bool
begin(struct import *im, const struct span *name, size_t n)
{
	struct buf why = BUF(1024);

	if (im->begun)
		return true;
	im->begun = listing_find(&im->listing, name, n, span_of(im->how->format), &why);
	if (!im->begun)
		cli_error("%s: %s", im->name, buf_cstr(&why));
	buf_free(&why);
	return im->begun;
}

/* ---- JSON ---- */

static bool
is_column(const struct import *im, struct span name)
{
	for (size_t i = 0; i < im->ncolumns; i++)
		if (span_eq(name, span_of(im->column[i])))
			return true;
	return false;
}

/* What has a column keeps it: the rows that follow may have that one alone, and what the new one says may be something else. */
static void
fill_columns(struct listing *l, const struct listing *more)
{
	const struct {
		size_t *column, other;
	} columns[] = {
		{ &l->reason, more->reason }, { &l->when, more->when }, { &l->until, more->until }, { &l->detail, more->detail },
		{ &l->stream, more->stream },
	};

	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
		if (*columns[i].column == LIST_NO_COLUMN)
			*columns[i].column = columns[i].other;
}

/* Objects need not all have all names: what the first one lacks is a column too.  False: then it would be another's list. */
static bool
take_columns(struct import *im, const struct span *name, size_t n)
{
	struct listing more = { 0 };
	struct span column[CSV_FIELDS_MAX];
	struct buf why = BUF(1024);
	size_t had = im->ncolumns;
	bool good;

	for (size_t i = 0; i < n && im->ncolumns < CSV_FIELDS_MAX; i++)
		if (!is_column(im, name[i])) {
			im->column = xreallocarray(im->column, im->ncolumns + 1, sizeof *im->column);
			im->column[im->ncolumns++] = xstrndup(name[i].p, name[i].n);
		}
	if (im->ncolumns == had)
		return true;
	for (size_t i = 0; i < im->ncolumns; i++)
		column[i] = span_of(im->column[i]);
	good = listing_find(&more, column, im->ncolumns, span_of(im->how->format), &why) && more.format == im->listing.format;
	if (good)
		fill_columns(&im->listing, &more);
	listing_free(&more);
	while (!good && im->ncolumns > had)
		free(im->column[--im->ncolumns]);
	buf_free(&why);
	return good;
}

static bool
json_row(void *arg, const struct span *name, const struct span *value, size_t n, uint64_t at)
{
	struct import *im = arg;
	struct span *field;
	bool good;

	if (n == 0) {
		im->read++;
		return wrong(im, at, "it is no object of names and values");
	}
	if (name == NULL) {
		im->read++;
		return wrong(im, at, "there are too many fields");
	}
	if (!begin(im, name, n))
		return false;
	if (!take_columns(im, name, n)) {
		im->read++;
		return wrong(im, at, "it has other names than the rows before it, as in another's list; --format says whose it is");
	}
	field = xcalloc(im->ncolumns + 1, sizeof *field);
	for (size_t i = 0; i < im->ncolumns; i++) {
		field[i] = SPAN("");
		for (size_t k = 0; k < n; k++)
			if (span_eq(name[k], span_of(im->column[i])))
				field[i] = value[k];
	}
	good = read_row(im, field, im->ncolumns, at);
	free(field);
	return good;
}

/* ---- CSV ---- */

static uint64_t
count_lines(struct span s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '\n' || (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'));
	return n;
}

/* False: cannot go on, told why. */
static bool
take_record(struct import *im, struct csv *csv, uint64_t line)
{
	static struct span field[CSV_FIELDS_MAX];
	bool first = !im->begun;

	for (size_t i = 0; i < csv->n; i++)
		field[i] = csv_field(csv, i);
	if (csv->n == 1 && span_trim(field[0]).n == 0)
		return true;
	if (!begin(im, field, csv->n))
		return false;
	if (first)
		im->width = im->listing.headless ? 1 : csv->n;
	if (has_surplus(im, field, csv->n))
		return refuse_surplus(im, csv->n, line);
	return (first && !im->listing.headless) || read_row(im, field, csv->n, line);
}

static bool
read_csv(struct import *im, FILE *in, struct buf *have)
{
	struct csv csv = { 0 };
	struct span rest = buf_span(have);
	long skip = csv_begin(&csv, rest), n;
	uint64_t line = 1;
	bool end = feof(in), good = true, lost = false; /* in a line that could not be read, and that goes on */

	if (skip < 0) {
		cli_error("%s: this is UTF-16 or UTF-32; save it as UTF-8", im->name);
		return false;
	}
	rest = span_from(rest, (size_t)skip);
	while (good && (rest.n > 0 || !end)) {
		if ((n = lost ? (long)csv_skip(rest) : csv_read(&csv, rest, end)) == 0) {
			struct buf more = BUF(2 * CHUNK);
			char *room;
			size_t got;

			buf_add(&more, rest);
			room = buf_room(&more, CHUNK);
			got = fread(room, 1, CHUNK, in);
			buf_grew(&more, got);
			end = got < CHUNK;
			buf_free(have);
			*have = more;
			rest = buf_span(have);
			continue;
		}
		if (n < 0) {
			im->read++;
			good = wrong(im, line, csv.why);
			n = (long)csv_skip(rest);
			lost = true;
		} else if (!lost) {
			good = take_record(im, &csv, line);
		}
		/* Its rest would be somebody else's address. */
		if (lost)
			lost = rest.p[n - 1] != '\n';
		line += count_lines(span_cut(rest, 0, (size_t)n));
		rest = span_from(rest, (size_t)n);
	}
	csv_free(&csv);
	return good;
}

static bool
read_file(struct import *im, FILE *in)
{
	struct buf have = BUF(2 * CHUNK);
	struct span start;
	bool good;
	int ch;

	/* An array or an object is JSON: no list of ours begins with either. */
	while ((ch = getc(in)) == ' ' || ch == '\n' || ch == '\r' || ch == '\t')
		;
	if (ch == '{' || ch == '[') {
		ungetc(ch, in);
		im->rows = true;
		good = import_json_rows(in, im->name, json_row, im);
	} else {
		char *room = buf_room(&have, CHUNK);

		if (ch != EOF)
			room[0] = (char)ch;
		buf_grew(&have, ch == EOF ? 0 : 1 + fread(room + 1, 1, CHUNK - 1, in));
		start = buf_span(&have);
		good = start.n == 0 || read_csv(im, in, &have);
	}
	if (ferror(in)) {
		cli_error("cannot read %s: %s", im->name, strerror(errno));
		good = false;
	}
	buf_free(&have);
	return good;
}

/* ---- the answer ---- */

static void
say(const struct import *im)
{
	const char *would = im->how->dry_run ? "would add" : "added";
	struct emit e = { 0 };

	if (!im->c->json) {
		printf("%s: %" PRIu64 " row%s in the format %s: %s %" PRIu64, im->name, im->read, im->read == 1 ? "" : "s",
		    im->begun ? listing_name(&im->listing) : "nothing", would, im->added);
		for (size_t i = 0, n = 0; i < TOUCH_KINDS; i++)
			if (im->by_kind[i])
				printf("%s%s %" PRIu64, n++ ? ", " : ": ", suppress_word((enum touch_kind)i), im->by_kind[i]);
		printf("\nknown already: %" PRIu64 "\n", im->known);
		if (im->overtaken)
			printf("older than a subscription or release: %" PRIu64 "\n", im->overtaken);
		for (size_t i = 0; i < im->nwhys; i++)
			printf("left out: %" PRIu64 ": %s\n", im->why[i].n, im->why[i].text);
		if (im->bad)
			printf("bad: %" PRIu64 "\n", im->bad);
		return;
	}
	emit_open(&e, NULL, '{');
	emit_string(&e, "format", im->begun ? listing_name(&im->listing) : "");
	emit_flag(&e, "dry_run", im->how->dry_run);
	emit_number(&e, "rows", im->read);
	emit_number(&e, "added", im->added);
	emit_open(&e, "as", '{');
	for (size_t i = 0; i < TOUCH_KINDS; i++)
		if (im->by_kind[i])
			emit_number(&e, suppress_word((enum touch_kind)i), im->by_kind[i]);
	emit_close(&e, '}');
	emit_number(&e, "known", im->known);
	emit_number(&e, "overtaken", im->overtaken);
	emit_open(&e, "left_out", '[');
	for (size_t i = 0; i < im->nwhys; i++) {
		emit_open(&e, NULL, '{');
		emit_string(&e, "why", im->why[i].text);
		emit_number(&e, "rows", im->why[i].n);
		emit_close(&e, '}');
	}
	emit_close(&e, ']');
	emit_number(&e, "bad", im->bad);
	emit_close(&e, '}');
	emit_end(&e);
}

/* A row without a date was stopped before the list was written: who subscribed after that stays. */
static bool
find_list_time(struct import *im, FILE *in)
{
	struct stat st;

	im->list_time = im->c->now;
	if (im->how->at)
		return listing_time(span_of(im->how->at), &im->list_time) && im->list_time <= im->c->now + CLOCK_SLACK;
	if (fstat(fileno(in), &st) == 0 && S_ISREG(st.st_mode) && (int64_t)st.st_mtime * 1000 < im->c->now && st.st_mtime > 0)
		im->list_time = (int64_t)st.st_mtime * 1000;
	return true;
}

static int
import(struct import *im, FILE *in)
{
	struct cli *c = im->c;
	bool good;

	if (!cli_store(c))
		return EXIT_CANNOT;
	if (im->how->stream && !cli_stream(c, im->how->stream, &im->stream_id))
		return EXIT_USAGE;
	im->batch = xcalloc(1, sizeof *im->batch);
	good = read_file(im, in);
	good = batch_write(c, im->batch) && good;
	free(im->batch);
	cli_fold(c);
	if (im->begun)
		say(im);
	else if (good && !im->bad)
		cli_error("%s: there is nothing in it", im->name);
	if (!good || im->bad)
		return EXIT_CANNOT;
	return im->added || im->known ? EXIT_FOUND : EXIT_NOTHING;
}

int
suppress_import(struct cli *c, const struct suppress_import *how)
{
	struct import im = { .c = c, .how = how, .name = "-", .user = BUF(1024) };
	FILE *in = stdin;
	int status;

	if (how->as && !suppress_kind(how->as, &im.as))
		return cli_usage(c, "there is no cause \"%s\"; one of held, unsubscribed, complained, bounced", how->as);
	/* Opened before root is given up: the file is the caller's. */
	if (how->file && strcmp(how->file, "-") != 0) {
		im.name = how->file;
		if (!(in = fopen(im.name, "re"))) {
			cli_error("cannot read %s: %s", im.name, strerror(errno));
			return EXIT_CANNOT;
		}
	}
	(void)cli_source(&im.user, SPAN(""));
	if (!find_list_time(&im, in))
		status = cli_usage(c, "\"%s\" is no date in the past; write 2026-01-31 or 2026-01-31T12:00:00Z", how->at);
	else
		status = import(&im, in);
	if (in != stdin)
		fclose(in);
	for (size_t i = 0; i < im.nwhys; i++)
		free(im.why[i].text);
	for (size_t i = 0; i < im.ncolumns; i++)
		free(im.column[i]);
	free(im.column);
	free(im.taken);
	listing_free(&im.listing);
	buf_free(&im.user);
	return status;
}
