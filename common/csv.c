#include "common/csv.h"

static const char separators[] = { ',', ';', '\t' };

long
csv_begin(struct csv *c, struct span in)
{
	size_t count[sizeof separators] = { 0 }, best = 0;
	struct span head = span_cut(in, 0, 4);
	size_t skip = span_starts(in, SPAN("\xef\xbb\xbf")) ? 3 : 0;
	bool quoted = false;

	if (span_starts(in, SPAN("\xff\xfe")) || span_starts(in, SPAN("\xfe\xff")) ||
	    span_find(head, '\0') < head.n)
		return -1;
	for (size_t i = skip; i < in.n && (quoted || (in.p[i] != '\n' && in.p[i] != '\r')); i++) {
		quoted ^= in.p[i] == '"';
		for (size_t k = 0; k < sizeof separators && !quoted; k++)
			count[k] += in.p[i] == separators[k];
	}
	for (size_t k = 1; k < sizeof separators; k++)
		if (count[k] > count[best])
			best = k;
	c->separator = separators[best];
	return (long)skip;
}

static long
malformed(struct csv *c, const char *why)
{
	c->why = why;
	return -1;
}

/* The place behind a line break at i; 0: a line feed may still follow a CR. */
static size_t
behind_break(struct span in, size_t i, bool end)
{
	if (in.p[i] == '\n')
		return i + 1;
	if (i + 1 == in.n)
		return end ? i + 1 : 0;
	return in.p[i + 1] == '\n' ? i + 2 : i + 1;
}

/* Moves *at behind the closing quote of the field that opened before it.  0: need more. */
static long
read_quoted(struct csv *c, struct span in, size_t *at, bool end)
{
	for (size_t i = *at; i < in.n; i++) {
		if (in.p[i] != '"') {
			buf_addc(&c->text, in.p[i]);
			continue;
		}
		if (i + 1 < in.n && in.p[i + 1] == '"') {
			buf_addc(&c->text, in.p[i++]);
			continue;
		}
		*at = i + 1;
		return i + 1 < in.n || end;
	}
	return end ? malformed(c, "a quote is opened and never closed") : 0;
}

static bool
ends_field(const struct csv *c, char ch)
{
	return ch == c->separator || ch == '\n' || ch == '\r';
}

static long
read_record(struct csv *c, struct span in, bool end)
{
	for (size_t i = 0;;) {
		size_t from = c->text.n;

		if (i < in.n && in.p[i] == '"') {
			long r;

			i++;
			if ((r = read_quoted(c, in, &i, end)) <= 0)
				return r;
			if (i < in.n && !ends_field(c, in.p[i]))
				return malformed(c, "something follows a closing quote");
		} else {
			while (i < in.n && !ends_field(c, in.p[i]))
				buf_addc(&c->text, in.p[i++]);
		}
		if (i == in.n && !end)
			return 0;
		if (c->n == CSV_FIELDS_MAX)
			return malformed(c, "there are too many fields");
		c->field[c->n].from = from;
		c->field[c->n++].to = c->text.n;
		if (i == in.n)
			return (long)i;
		if (in.p[i] != c->separator)
			return (long)behind_break(in, i, end);
		i++;
	}
}

long
csv_read(struct csv *c, struct span in, bool end)
{
	struct span some = span_cut(in, 0, CSV_RECORD_MAX);
	long r;

	c->text.max = CSV_RECORD_MAX;
	buf_clear(&c->text);
	c->n = 0;
	if (in.n == 0)
		return 0;
	/* What lies behind the limit changes nothing, however much of it is there. */
	r = read_record(c, some, end && some.n == in.n);
	if (r == 0 && in.n > CSV_RECORD_MAX)
		return malformed(c, "the record is too long");
	return r;
}

size_t
csv_skip(struct span in)
{
	size_t at = span_find(in, '\n');

	return at < in.n ? at + 1 : in.n;
}

struct span
csv_field(const struct csv *c, size_t i)
{
	return i < c->n ? span_cut(buf_span(&c->text), c->field[i].from, c->field[i].to) : SPAN("");
}

void
csv_free(struct csv *c)
{
	buf_free(&c->text);
}

static bool
is_separator(char c)
{
	return memchr(separators, c, sizeof separators) != NULL;
}

/* Also for the separators that somebody else may read it with. */
static bool
wants_quotes(struct span s, char separator)
{
	if (s.n > 0 && (s.p[0] == ' ' || s.p[s.n - 1] == ' '))
		return true;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == separator || s.p[i] == '"' || s.p[i] == '\n' || s.p[i] == '\r' || is_separator(s.p[i]))
			return true;
	return false;
}

void
csv_write(struct buf *out, char separator, const struct span *field, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool quotes = wants_quotes(field[i], separator);

		if (i > 0)
			buf_addc(out, separator);
		if (!quotes) {
			buf_add(out, field[i]);
			continue;
		}
		buf_addc(out, '"');
		for (size_t k = 0; k < field[i].n; k++) {
			if (field[i].p[k] == '"')
				buf_addc(out, '"');
			buf_addc(out, field[i].p[k]);
		}
		buf_addc(out, '"');
	}
	buf_adds(out, "\r\n");
}

/* In some languages also in the width of an ideograph. */
static bool
is_formula(struct span s)
{
	static const struct span begin[] = {
		{ "=", 1 }, { "+", 1 }, { "-", 1 }, { "@", 1 }, { "\t", 1 }, { "\r", 1 }, { "\n", 1 },
		{ "\xef\xbc\x9d", 3 }, { "\xef\xbc\x8b", 3 }, { "\xef\xbc\x8d", 3 }, { "\xef\xbc\xa0", 3 },
	};

	for (size_t i = 0; i < sizeof begin / sizeof *begin; i++)
		if (span_starts(s, begin[i]))
			return true;
	return false;
}

/* Is this where a cell may begin, for a reader who separates at something else, or knows no quotes in the middle of a cell? */
static bool
begins_cell(struct span field, size_t i)
{
	return i == 0 || is_separator(field.p[i - 1]) || field.p[i - 1] == '\n' || field.p[i - 1] == '\r';
}

void
csv_text(struct buf *out, struct span field)
{
	for (size_t i = 0, k; i < field.n; i++) {
		if (begins_cell(field, i)) {
			/* Some leave these out before they look. */
			for (k = i; k < field.n && (field.p[k] == ' ' || field.p[k] == '"');)
				k++;
			if (field.p[i] == '\'' || is_formula(span_from(field, k)))
				buf_addc(out, '\'');
		}
		buf_addc(out, field.p[i]);
	}
}

void
csv_plain(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] != '\'' || !begins_cell(text, i))
			buf_addc(out, text.p[i]);
}
