#include "tracker/form.h"

#include "common/text.h"

#define BOUNDARY_MAX 70 /* RFC 2046 section 5.1.1 */

/* What is left of a body, and how to read it. */
struct form {
	struct span rest;
	struct span boundary; /* multipart; empty: urlencoded */
	bool over;
};

/* Spans of the body; both are escaped when coded. */
struct field {
	struct span name, value;
	bool coded;
};

/*
 * The next delimiter line: where it starts, and in *after where what follows
 * it does.  The length of the body when there is none.  A delimiter begins a
 * line and fills it: a longer boundary that begins like ours is another one.
 */
static size_t
find_delimiter(const struct form *f, size_t from, size_t *after, bool *last)
{
	struct span body = f->rest;

	for (size_t at; (at = from + span_search(span_from(body, from), SPAN("--"))) < body.n; from = at + 1) {
		struct span tail = span_from(body, at + 2);
		size_t end;

		if ((at > 0 && body.p[at - 1] != '\n') || !span_starts(tail, f->boundary))
			continue;
		tail = span_from(tail, f->boundary.n);
		end = span_find(tail, '\n');
		*after = at + 2 + f->boundary.n + end + (end < tail.n);
		*last = span_starts(tail, SPAN("--"));
		if (*last || span_trim(span_cut(tail, 0, end)).n == 0)
			return at;
	}
	return body.n;
}

static struct span
without_line_break(struct span s)
{
	if (span_ends(s, SPAN("\n")))
		s.n--;
	if (span_ends(s, SPAN("\r")))
		s.n--;
	return s;
}

/* The header and the content of one part.  False for a part without a name. */
static bool
read_part(struct span part, struct field *field)
{
	struct span line;

	*field = (struct field){ 0 };
	while (span_split(&part, '\n', &line)) {
		size_t colon = span_find(line, ':');

		line = span_trim(line);
		if (line.n == 0)
			break;
		if (span_ieq(span_trim(span_cut(line, 0, colon)), SPAN("Content-Disposition")))
			field->name = text_parameter(span_from(line, colon + 1), SPAN("name"));
	}
	field->value = part;
	return field->name.n > 0;
}

static bool
next_part(struct form *f, struct field *field)
{
	size_t after, end;
	bool last;

	while (!f->over) {
		/* We stand behind a delimiter line. */
		after = f->rest.n;
		end = find_delimiter(f, 0, &after, &last);
		f->over = end == f->rest.n || last;

		struct span part = without_line_break(span_cut(f->rest, 0, end));

		f->rest = span_from(f->rest, after);
		if (read_part(part, field))
			return true;
	}
	return false;
}

static bool
next_pair(struct form *f, struct field *field)
{
	struct span pair;

	if (!span_split(&f->rest, '&', &pair))
		return false;

	size_t eq = span_find(pair, '=');

	*field = (struct field){ span_trim(span_cut(pair, 0, eq)), span_from(pair, eq + 1), true };
	return true;
}

static bool
next_field(struct form *f, struct field *field)
{
	return f->boundary.n > 0 ? next_part(f, field) : next_pair(f, field);
}

static struct form
form_start(struct span type, struct span body)
{
	struct form f = { .rest = body };
	size_t after;
	bool last;

	if (!span_ieq(span_trim(span_cut(type, 0, span_find(type, ';'))), SPAN("multipart/form-data")))
		return f;
	f.boundary = text_parameter(type, SPAN("boundary"));
	if (f.boundary.n == 0 || f.boundary.n > BOUNDARY_MAX) {
		f.rest = span_cut(body, 0, 0);
		return f;
	}
	f.over = find_delimiter(&f, 0, &after, &last) == body.n || last;
	if (!f.over)
		f.rest = span_from(body, after);
	return f;
}

/* The next byte of a value, and how far it goes.  An escape that is none stands for itself, as in browsers. */
static char
next_byte(struct span s, size_t *i, bool coded)
{
	unsigned char byte;
	char c = s.p[*i];

	if (coded && c == '%' && text_hex(span_cut(s, *i + 1, *i + 3), &byte, 1)) {
		*i += 3;
		return (char)byte;
	}
	++*i;
	return coded && c == '+' ? ' ' : c;
}

static bool
says(struct span s, bool coded, struct span want)
{
	size_t i = 0, k = 0;

	s = span_trim(s);
	while (i < s.n && k < want.n)
		if (ascii_lower(next_byte(s, &i, coded)) != ascii_lower(want.p[k++]))
			return false;
	return i == s.n && k == want.n;
}

bool
form_says(struct span type, struct span body, struct span name, struct span value)
{
	struct form f = form_start(type, body);
	struct field field;

	while (next_field(&f, &field))
		if (says(field.name, field.coded, name) && says(field.value, field.coded, value))
			return true;
	return false;
}

bool
form_value(struct span type, struct span body, struct span name, struct buf *out)
{
	struct form f = form_start(type, body);
	struct field field;

	while (next_field(&f, &field)) {
		if (!says(field.name, field.coded, name))
			continue;
		for (size_t i = 0; i < field.value.n;)
			buf_addc(out, next_byte(field.value, &i, field.coded));
		return true;
	}
	return false;
}
