#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/print.h"
#include "common/addr.h"
#include "common/csv.h"
#include "common/mem.h"
#include "common/text.h"

/* ---- for people ---- */

void
print_bytes(const struct buf *b)
{
	if (b->n > 0)
		fwrite(b->p, 1, b->n, stdout);
}

/* One character of UTF-8, n bytes long. */
static uint32_t
code_point(struct span s, size_t n)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t c = (unsigned char)s.p[0] & first[n];

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s.p[i] & 0x3f);
	return c;
}

/* Terminals obey C0 and C1; Unicode's bidirectional controls make a text look like another one. */
static bool
is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f
	    || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void
print_safe(struct buf *out, struct span s)
{
	while (s.n > 0) {
		size_t n = text_utf8(s);

		if (n == 0)
			n = 1;
		else if (!is_control(code_point(s, n))) {
			buf_add(out, span_cut(s, 0, n));
			s = span_from(s, n);
			continue;
		}
		for (size_t i = 0; i < n; i++)
			buf_addf(out, "\\x%02x", (unsigned char)s.p[i]);
		s = span_from(s, n);
	}
}

static void
plural(struct buf *out, int64_t n, const char *unit)
{
	buf_addf(out, "%" PRId64 " %s%s", n, unit, n == 1 ? "" : "s");
}

void
print_age(struct buf *out, int64_t ms, int64_t now)
{
	int64_t seconds = (now - ms) / 1000;
	bool future = seconds < 0;

	if (future)
		seconds = -seconds;
	if (seconds < 60) {
		buf_adds(out, future ? "in a moment" : "just now");
		return;
	}
	if (future)
		buf_adds(out, "in ");
	if (seconds < 3600)
		plural(out, seconds / 60, "minute");
	else if (seconds < 2 * 86400)
		plural(out, seconds / 3600, "hour");
	else if (seconds < (int64_t)366 * 86400)
		plural(out, seconds / 86400, "day");
	else
		plural(out, seconds / 86400 / 365, "year");
	if (!future)
		buf_adds(out, " ago");
}

void
print_when(struct buf *out, int64_t ms, int64_t now)
{
	time_t t = (time_t)(ms / 1000);
	char text[64];
	struct tm tm;

	if (ms == 0) {
		buf_adds(out, "never");
		return;
	}
	gmtime_r(&t, &tm);
	strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC (", &tm);
	buf_adds(out, text);
	print_age(out, ms, now);
	buf_adds(out, ")");
}

void
print_rate(struct buf *out, uint64_t part, uint64_t whole)
{
	if (whole == 0)
		buf_adds(out, "-");
	else
		buf_addf(out, "%.1f %%", 100.0 * (double)part / (double)whole);
}

static const char *
coloured(const char *sequence)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if ((no && *no) || !term || strcmp(term, "dumb") == 0 || !isatty(STDOUT_FILENO))
		return "";
	return sequence;
}

const char *print_bold(void) { return coloured("\033[1m"); }
const char *print_red(void) { return coloured("\033[31m"); }
const char *print_green(void) { return coloured("\033[32m"); }
const char *print_plain(void) { return coloured("\033[0m"); }

void
print_field(const char *label, const struct buf *text)
{
	printf("  %-17s %.*s\n", label, SPAN_ARG(buf_span(text)));
}

void
print_fieldf(const char *label, const char *fmt, ...)
{
	va_list ap;

	printf("  %-17s ", label);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void
table_free(struct table *t)
{
	buf_free(&t->text);
	free(t->end);
	t->end = NULL;
	t->n = t->cap = 0;
}

static void
cell_end(struct table *t)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->end = xreallocarray(t->end, t->cap, sizeof *t->end);
	}
	t->end[t->n++] = t->text.n;
}

void
table_add(struct table *t, struct span cell)
{
	print_safe(&t->text, cell);
	cell_end(t);
}

void
table_adds(struct table *t, const char *cell)
{
	table_add(t, span_of(cell));
}

void
table_addf(struct table *t, const char *fmt, ...)
{
	char cell[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cell, sizeof cell, fmt, ap);
	va_end(ap);
	table_adds(t, cell);
}

void
table_rate(struct table *t, uint64_t part, uint64_t whole)
{
	print_rate(&t->text, part, whole);
	cell_end(t);
}

static struct span
cell_at(const struct table *t, size_t i)
{
	return span_cut(buf_span(&t->text), i ? t->end[i - 1] : 0, t->end[i]);
}

/* Code points: near enough to columns for names and addresses. */
static size_t
width(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* One row, without white space at its end. */
static void
print_row(const struct table *t, size_t first, const size_t *widest, const char *indent, bool headed)
{
	struct buf row = BUF(TABLE_MAX_BYTES);

	for (size_t column = 0; t->align[column]; column++) {
		struct span cell = cell_at(t, first + column);
		int pad = (int)(widest[column] - width(cell));
		bool right = t->align[column] == 'r';

		buf_addf(&row, "%s%*s", column ? "  " : "", right ? pad : 0, "");
		buf_add(&row, cell);
		buf_addf(&row, "%*s", right ? 0 : pad, "");
	}
	while (row.n > 0 && row.p[row.n - 1] == ' ')
		row.n--;
	printf("%s%s%.*s%s\n", indent, headed ? print_bold() : "", SPAN_ARG(buf_span(&row)), headed ? print_plain() : "");
	buf_free(&row);
}

void
table_print(const struct table *t, const char *indent, bool headed)
{
	size_t columns = strlen(t->align);
	size_t *widest = xcalloc(columns, sizeof *widest);

	for (size_t i = 0; i < t->n; i++)
		if (width(cell_at(t, i)) > widest[i % columns])
			widest[i % columns] = width(cell_at(t, i));
	for (size_t i = 0; i + columns <= t->n; i += columns)
		print_row(t, i, widest, indent, headed && i == 0);
	free(widest);
}

/* ---- what happens to the next message ---- */

void
print_verdict(struct buf *out, const struct question *q, const struct verdict *v)
{
	static const char *const done[] = {
		[ACTION_SEND] = "sent",
		[ACTION_REJECT] = "rejected",
		[ACTION_DEFER] = "deferred",
		[ACTION_HOLD] = "put on hold",
		[ACTION_DISCARD] = "discarded",
		[ACTION_ROUTE] = "sent by the slow route",
	};

	if (v->action == v->wanted)
		buf_addf(out, "is %s", done[v->action]);
	else
		buf_addf(out, "would be %s (observe only)", done[v->wanted]);
	if (q->stream->transactional)
		buf_adds(out, " (transactional: exempt from policy)");
	if (v->cause == CAUSE_NONE)
		return;
	buf_adds(out, ": ");
	verdict_explain(out, q, v);
}

enum cause
status_of(const struct profile *p, const struct subscription *s, const struct finding *f, int64_t now)
{
	enum cause cause = engage_cause(p, s, f, now);

	return cause == CAUSE_INACTIVE ? CAUSE_NONE : cause;
}

const char *
status_name(enum cause cause)
{
	return cause == CAUSE_NONE ? "ok" : cause_name(cause);
}

bool
status_parse(struct span word, enum cause *cause)
{
	for (enum cause i = CAUSE_NONE; i < CAUSE_INACTIVE; i++)
		if (span_ieq(word, span_of(status_name(i)))) {
			*cause = i;
			return true;
		}
	return false;
}

uint32_t
status_since(enum cause cause, const struct profile *p, const struct subscription *s)
{
	switch (cause) {
	case CAUSE_COMPLAINED:
		return p ? p->complained : 0;
	case CAUSE_BOUNCED:
		return p ? p->bounced : 0;
	case CAUSE_UNSUBSCRIBED:
		return s && unsubscribed(s) ? s->left : p ? p->left : 0;
	case CAUSE_HELD:
		return s && s->held > (p ? p->held : 0) ? s->held : p ? p->held : 0;
	default:
		return 0;
	}
}

bool
unsubscribed(const struct subscription *s)
{
	return engage_cause(NULL, s, &(struct finding){ .class = ENGAGE_NEW }, 0) == CAUSE_UNSUBSCRIBED;
}

unsigned
series_set(struct span word)
{
	enum series_status s;

	if (span_ieq(word, SPAN("re-engage")))
		return 1u << SERIES_1 | 1u << SERIES_2 | 1u << SERIES_3;
	return series_parse(word, &s) && s != SERIES_NONE ? 1u << s : 0;
}

/* ---- lists ---- */

void
format_address(struct buf *row, struct span address, enum format format)
{
	struct buf text = BUF(4 * ADDR_MAX);

	if (format == FORMAT_SHEET) {
		csv_text(&text, address);
		address = buf_span(&text);
	}
	text_add_csv(row, address);
	buf_free(&text);
}

/* By its name `suppress import' knows that apostrophes are to be taken off again. */
const char *
format_address_column(enum format format)
{
	return format == FORMAT_SHEET ? "address_text" : "address";
}

bool
format_parse(const char *name, enum format *format)
{
	static const char *const names[] = { [FORMAT_CSV] = "csv", [FORMAT_JSON] = "json", [FORMAT_TEXT] = "text",
		[FORMAT_SHEET] = "spreadsheet" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0) {
			*format = (enum format)i;
			return true;
		}
	return false;
}

void
csv_time(struct buf *row, uint32_t seconds)
{
	buf_addc(row, ',');
	if (seconds)
		text_add_time(row, (int64_t)seconds * 1000);
}

const char *
csv_flag(bool flag)
{
	return flag ? "true" : "false";
}

/* ---- for machines ---- */

static void
emit_line(const struct emit *e)
{
	if (e->lines)
		printf("\n%*s", (int)(2 * e->depth), "");
}

static void
emit_key(struct emit *e, const char *key)
{
	if (e->comma)
		putchar(',');
	if (e->depth > 0)
		emit_line(e);
	if (key)
		printf(e->lines ? "\"%s\": " : "\"%s\":", key);
	e->comma = true;
}

void
emit_open(struct emit *e, const char *key, char bracket)
{
	emit_key(e, key);
	putchar(bracket);
	e->comma = false;
	e->depth++;
}

void
emit_close(struct emit *e, char bracket)
{
	e->depth--;
	if (e->comma)
		emit_line(e);
	putchar(bracket);
	e->comma = true;
}

void
emit_text(struct emit *e, const char *key, struct span s)
{
	/* Six bytes for each at worst, and the quotes. */
	struct buf quoted = BUF(6 * s.n + 2);

	emit_key(e, key);
	text_add_json(&quoted, s);
	print_bytes(&quoted);
	buf_free(&quoted);
}

void
emit_string(struct emit *e, const char *key, const char *s)
{
	emit_text(e, key, span_of(s));
}

void
emit_number(struct emit *e, const char *key, uint64_t n)
{
	emit_key(e, key);
	printf("%" PRIu64, n);
}

void
emit_null(struct emit *e, const char *key)
{
	emit_key(e, key);
	fputs("null", stdout);
}

void
emit_flag(struct emit *e, const char *key, bool flag)
{
	emit_key(e, key);
	fputs(flag ? "true" : "false", stdout);
}

void
emit_time(struct emit *e, const char *key, int64_t ms)
{
	struct buf text = BUF(64);

	text_add_time(&text, ms);
	if (ms != 0)
		emit_text(e, key, buf_span(&text));
	else
		emit_null(e, key);
	buf_free(&text);
}

void
emit_rate(struct emit *e, const char *key, uint64_t part, uint64_t whole)
{
	if (whole == 0) {
		emit_null(e, key);
		return;
	}
	emit_key(e, key);
	printf("%.4f", (double)part / (double)whole);
}

void
emit_hex(struct emit *e, const char *key, const void *p, size_t n)
{
	struct buf text = BUF(2 * n);

	text_add_hex(&text, p, n);
	emit_text(e, key, buf_span(&text));
	buf_free(&text);
}

void
emit_id(struct emit *e, const char *key, uint64_t id)
{
	char text[17];

	snprintf(text, sizeof text, "%016" PRIx64, id);
	emit_string(e, key, text);
}

void
emit_end(struct emit *e)
{
	putchar('\n');
	e->comma = false;
}

void
emit_tally(uint64_t done, uint64_t already, uint64_t bad)
{
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_number(&e, "done", done);
	emit_number(&e, "already", already);
	emit_number(&e, "bad", bad);
	emit_close(&e, '}');
	emit_end(&e);
}
