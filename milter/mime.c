#include "milter/mime.h"

#include <assert.h>
#include <stdlib.h>

#include "common/codec.h"
#include "common/mem.h"
#include "common/scan.h"
#include "common/text.h"

static const char broken[] = "broken MIME", broken_header[] = "broken part header", bare_cr[] = "bare CR",
    mixed[] = "mixed line breaks", ambiguous[] = "ambiguous boundary", attachment[] = "attachment";

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_space(char c)
{
	return is_blank(c) || c == '\r' || c == '\n';
}

/* ---- header fields ---- */

/* Where the line at i ends: *next is behind its line break, which may be missing. */
static size_t
line_end(struct span in, size_t i, size_t *next)
{
	size_t lf = i + span_find(span_from(in, i), '\n');

	*next = lf < in.n ? lf + 1 : lf;
	return lf < in.n && lf > i && in.p[lf - 1] == '\r' ? lf - 1 : lf;
}

int
mime_field(struct span in, size_t *at, struct header *field)
{
	size_t i = *at, colon, end, next;

	if (i >= in.n)
		return 0;
	end = line_end(in, i, &next);
	if (end == i) {
		*at = next;
		return 0;
	}
	for (colon = i; colon < end && in.p[colon] > ' ' && in.p[colon] < 0x7f && in.p[colon] != ':';)
		colon++;
	field->name = span_cut(in, i, colon);
	while (colon < end && is_blank(in.p[colon]))
		colon++;
	if (field->name.n == 0 || colon == end || in.p[colon] != ':')
		return -1;
	while (next < in.n && is_blank(in.p[next]))
		end = line_end(in, next, &next);
	field->value = span_cut(in, colon + 1, end);
	*at = next;
	return 1;
}

/* The fields that say what a part is. */
struct entity {
	struct span type, encoding, disposition;
	unsigned ntypes, nencodings, ndispositions;
};

static void
entity_add(struct entity *e, const struct header *h)
{
	if (span_ieq(h->name, SPAN("Content-Type"))) {
		e->type = h->value;
		e->ntypes++;
	} else if (span_ieq(h->name, SPAN("Content-Transfer-Encoding"))) {
		e->encoding = h->value;
		e->nencodings++;
	} else if (span_ieq(h->name, SPAN("Content-Disposition"))) {
		e->disposition = h->value;
		e->ndispositions++;
	}
}

/* ---- structured values: words, comments, parameters ---- */

/* White space and comments.  False for a comment that does not end. */
static bool
skip_comments(struct span in, size_t *i)
{
	unsigned depth = 0;

	for (; *i < in.n; ++*i) {
		char c = in.p[*i];

		if (c == '(')
			depth++;
		else if (depth == 0 && !is_space(c))
			break;
		else if (c == ')')
			depth--;
		else if (c == '\\' && *i + 1 < in.n)
			++*i;
	}
	return depth == 0;
}

/* Lenient: "=" and the like are often left unquoted in boundaries. */
static struct span
word(struct span in, size_t *i, const char *stop)
{
	size_t start = *i;

	while (*i < in.n && !is_space(in.p[*i]) && in.p[*i] != '\0' && strchr(stop, in.p[*i]) == NULL)
		++*i;
	return span_cut(in, start, *i);
}

/* A parameter that may come in RFC 2231 pieces: name*0="..."; name*1*=%41 */
struct value {
	struct buf text;
	bool whole;
	unsigned pieces;
	bool bad;
};

/* The parameters that we look at. */
struct params {
	struct value boundary, charset;
	bool named; /* name or filename */
};

struct content_type {
	struct span type, subtype;
	struct params params;
};

/* charset'language'text%20text; only the first piece has the quotes. */
static void
add_extended(struct value *v, struct span s, bool first)
{
	if (first) {
		s = span_from(s, span_find(s, '\'') + 1);
		s = span_from(s, span_find(s, '\'') + 1);
	}
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			buf_addc(&v->text, s.p[i]);
			continue;
		}
		char byte;

		if (!text_hex(span_cut(s, i + 1, i + 3), &byte, 1)) {
			v->bad = true;
			return;
		}
		buf_addc(&v->text, byte);
		i += 2;
	}
}

/* `mark` is what stands between the name and "=": "", "*", "*0" or "*0*". */
static void
value_add(struct value *v, struct span mark, struct span text)
{
	bool extended = span_ends(mark, SPAN("*"));
	struct span number = span_cut(mark, 1, mark.n - (extended && mark.n > 1));

	if (number.n == 0) {
		v->bad = v->bad || v->whole || v->pieces > 0;
		v->whole = true;
	} else {
		unsigned n = 0;

		for (size_t i = 0; i < number.n; i++) {
			if (number.n > 3 || number.p[i] < '0' || number.p[i] > '9')
				v->bad = true;
			n = n * 10 + (unsigned)(number.p[i] - '0');
		}
		v->bad = v->bad || v->whole || n != v->pieces;
		v->pieces++;
	}
	if (v->bad)
		return;
	if (extended)
		add_extended(v, text, v->pieces <= 1);
	else
		buf_add(&v->text, text);
}

/* A quoted string, unfolded and unescaped.  False when it does not end. */
static bool
quoted(struct span in, size_t *i, struct buf *out)
{
	for (++*i; *i < in.n; ++*i) {
		char c = in.p[*i];

		if (c == '"') {
			++*i;
			return true;
		}
		if (c == '\\' && *i + 1 < in.n)
			c = in.p[++*i];
		if (c != '\r' && c != '\n')
			buf_addc(out, c);
	}
	return false;
}

static bool
parameter(struct params *p, struct span in, size_t *i)
{
	struct span name = word(in, i, "=;()\""), base;
	struct buf text = BUF(4096);
	struct value *v;
	bool good;

	if (name.n == 0 || !skip_comments(in, i) || *i == in.n || in.p[*i] != '=')
		return false;
	++*i;
	good = skip_comments(in, i) && *i < in.n;
	if (good && in.p[*i] == '"')
		good = quoted(in, i, &text);
	else if (good)
		buf_add(&text, word(in, i, ";()\""));
	base = span_cut(name, 0, span_find(name, '*'));
	v = span_ieq(base, SPAN("boundary")) ? &p->boundary : span_ieq(base, SPAN("charset")) ? &p->charset : NULL;
	p->named |= span_ieq(base, SPAN("name")) || span_ieq(base, SPAN("filename"));
	if (v != NULL) {
		if (text.n == 0 || text.over)
			v->bad = true;
		value_add(v, span_from(name, base.n), buf_span(&text));
		good = good && !v->bad && !v->text.over;
	}
	buf_free(&text);
	return good;
}

/* *( ";" name "=" value ), to the end. */
static bool
parameters(struct params *p, struct span in, size_t i)
{
	for (;;) {
		if (!skip_comments(in, &i))
			return false;
		if (i == in.n)
			return true;
		if (in.p[i] != ';')
			return false;
		++i;
		if (!skip_comments(in, &i))
			return false;
		if (i < in.n && in.p[i] != ';' && !parameter(p, in, &i))
			return false;
	}
}

static struct params
no_params(void)
{
	return (struct params){ .boundary.text = BUF(MIME_VALUE_MAX), .charset.text = BUF(MIME_VALUE_MAX) };
}

static void
params_free(struct params *p)
{
	buf_free(&p->boundary.text);
	buf_free(&p->charset.text);
}

/* type "/" subtype parameters.  Free t->params in either case. */
static bool
content_type(struct content_type *t, struct span in)
{
	size_t i = 0;

	*t = (struct content_type){ .params = no_params() };
	if (!skip_comments(in, &i))
		return false;
	t->type = word(in, &i, "/;()\"=,");
	if (!skip_comments(in, &i) || i == in.n || in.p[i++] != '/' || !skip_comments(in, &i))
		return false;
	t->subtype = word(in, &i, "/;()\"=,");
	return t->type.n > 0 && t->subtype.n > 0 && parameters(&t->params, in, i);
}

/* "inline" without a name: a page with a file's name is attached, wherever it is shown. */
static bool
is_inline(struct span disposition)
{
	struct params p = no_params();
	struct span how;
	size_t i = 0;
	bool good;

	good = skip_comments(disposition, &i);
	how = word(disposition, &i, ";()\"");
	good = good && span_ieq(how, SPAN("inline")) && parameters(&p, disposition, i) && !p.named;
	params_free(&p);
	return good;
}

/* The only word of a simple value, comments apart; empty when there are more. */
static struct span
only_word(struct span in)
{
	size_t i = 0;
	struct span w;

	if (!skip_comments(in, &i))
		return SPAN("");
	w = word(in, &i, ";()\"");
	return skip_comments(in, &i) && i == in.n ? w : SPAN("");
}

static enum mime_encoding
encoding(const struct entity *e)
{
	static const struct {
		struct span name;
		enum mime_encoding encoding;
	} table[] = {
		{ SPAN("7bit"), MIME_PLAIN }, { SPAN("8bit"), MIME_PLAIN }, { SPAN("binary"), MIME_BINARY },
		{ SPAN("quoted-printable"), MIME_QP }, { SPAN("base64"), MIME_BASE64 },
	};
	struct span name = only_word(e->encoding);

	if (e->nencodings == 0)
		return MIME_PLAIN;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (span_ieq(name, table[i].name))
			return table[i].encoding;
	return MIME_UNKNOWN;
}

/* ---- the walk ---- */

struct walk {
	struct mime *mime;
	struct span body;
	size_t cap;
	bool crlf; /* how lines end, as the first one does */
	bool near; /* a line begins with a boundary and is none: see has_boundary_start */
};

/* The boundaries around a place, "--" included, innermost first. */
struct frame {
	struct span dashed;
	const struct frame *up;
};

/* One entity: its fields and its content. */
struct place {
	struct entity entity;
	size_t header;     /* where its fields start */
	size_t start, end;
	size_t fields_end; /* where a new header field belongs */
	unsigned depth;
	bool empty;        /* without a blank line there is no place for any content */
	bool is_body;      /* the text of the message and no page that comes with it, as far as places can tell */
	const struct frame *in;
};

static void walk(struct walk *, const struct place *, const char *leave);

static void
leaf(struct walk *w, const struct place *at, struct mime_part part)
{
	struct mime *m = w->mime;
	struct span e = span_trim(at->entity.encoding);

	if (m->n == MIME_PARTS_MAX) {
		m->leave = "too many parts";
		return;
	}
	if (m->n == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 8;
		m->part = xreallocarray(m->part, w->cap, sizeof *m->part);
	}
	part.start = at->start;
	part.end = at->end;
	part.top = at->depth == 0;
	part.media = span_trim(span_cut(at->entity.type, 0, span_find(at->entity.type, ';')));
	part.encoding = encoding(&at->entity);
	part.has_encoding = e.n > 0;
	if (!part.top) {
		part.encoding_start = part.has_encoding ? (size_t)(e.p - w->body.p) : at->fields_end;
		part.encoding_end = part.encoding_start + e.n;
	}
	if (at->depth == 0 && m->leave == NULL && part.type == MIME_OTHER)
		m->leave = part.leave;
	m->part[m->n++] = part;
}

/* Has it line breaks of the other kind? */
static bool
has_other_breaks(const struct walk *w, struct span s)
{
	for (size_t i = span_find(s, '\n'); i < s.n; i += 1 + span_find(span_from(s, i + 1), '\n'))
		if ((i > 0 && s.p[i - 1] == '\r') != w->crlf)
			return true;
	return false;
}

/* The place of the first CR without LF, or s.n. */
static size_t
find_bare_cr(struct span s)
{
	return scan_pair(s, 0, '\r', '\n', false);
}

/*
 * Would who takes a bare CR for a line break find lines here that begin with
 * "--", and that we do not find, or find longer?
 */
static bool
cr_makes_boundary(struct span s)
{
	size_t line = 0;
	bool by_cr = false; /* the line began behind a bare CR */

	if (find_bare_cr(s) == s.n)
		return false;
	for (size_t i = 0; i <= s.n; i++) {
		bool cr = i < s.n && s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n');

		if (!cr && i < s.n && s.p[i] != '\n')
			continue;
		if ((cr || by_cr) && span_starts(span_cut(s, line, i), SPAN("--")))
			return true;
		line = i + 1;
		by_cr = cr;
	}
	return false;
}

/*
 * Does a line begin with a boundary?  By RFC 2046 that is enough to make it
 * one; we, and most, want nothing but white space behind it.  Who looked for
 * the ends of what is around a part came by every line of it, so there is none
 * to be found unless next_delimiter saw one.
 */
static bool
has_boundary_start(struct span s, const struct frame *in)
{
	for (size_t i = 0; i < s.n && in != NULL; i = scan_pair(s, i, '\n', '-', true) + 1)
		for (const struct frame *f = span_starts(span_from(s, i), SPAN("--")) ? in : NULL; f != NULL; f = f->up)
			if (span_starts(span_from(s, i), f->dashed))
				return true;
	return false;
}

/* The next line "--boundary" or "--boundary--" from i on. */
struct delimiter {
	size_t before; /* end of the content before it */
	size_t line;   /* its own start */
	size_t after;  /* start of the line after it */
	bool closes;
};

/* start: of the multipart; from: of a line. */
static bool
next_delimiter(struct walk *w, struct span in, size_t start, size_t from, struct span dashed, struct delimiter *d)
{
	for (;; from = scan_pair(in, from, '\n', '-', true) + 1) {
		size_t i = from + dashed.n, next;

		if (from >= in.n)
			return false;
		if (in.p[from] != '-' || !span_starts(span_from(in, from), dashed))
			continue;
		d->closes = span_starts(span_from(in, i), SPAN("--"));
		i += d->closes ? 2 : 0;
		while (i < in.n && is_blank(in.p[i]))
			i++;
		if (line_end(in, i, &next) == i) {
			d->before = d->line = from;
			d->after = next;
			break;
		}
		w->near = true;
	}
	if (d->before > start) { /* the line break before it is its own */
		d->before--;
		if (d->before > start && in.p[d->before - 1] == '\r')
			d->before--;
	}
	return true;
}

/*
 * A leaf of which nobody can say for all readers what it is.  A multipart to
 * some of them may have the very boundary of what is around it, and swallow
 * what comes after it; so when it says so anywhere, the message is left alone.
 */
static void
doubtful(struct walk *w, const struct place *at, const char *why)
{
	struct span header = span_cut(w->body, at->header, at->start > at->header ? at->start : at->end);

	if (at->depth > 0 && span_isearch(header, SPAN("multipart/")) < header.n)
		w->mime->leave = why;
	leaf(w, at, (struct mime_part){ .leave = why });
}

/* A field that everybody reads as we do: no NUL, no white space before the colon, no line of white space only. */
static bool
is_clear_field(const struct header *h)
{
	struct span rest = h->value, line;

	if (h->name.p[h->name.n] != ':' || span_find(rest, '\0') < rest.n)
		return false;
	for (bool first = true; span_split(&rest, '\n', &line); first = false)
		if (!first && span_trim(line).n == 0)
			return false;
	return true;
}

/*
 * Reads the header of a part and finds its content.  NULL, or why nobody can
 * say for all readers what it is, or where its content starts.
 */
static const char *
part_header(const struct walk *w, struct place *at)
{
	struct span in = span_cut(w->body, 0, at->end), header;
	size_t i = at->header;
	struct header h;
	int got;
	bool clear = true;

	at->fields_end = i;
	while ((got = mime_field(in, &i, &h)) > 0) {
		entity_add(&at->entity, &h);
		clear = clear && is_clear_field(&h);
		at->fields_end = i;
	}
	at->start = i;
	header = span_cut(in, at->header, at->fields_end);
	if (find_bare_cr(header) < header.n)
		return bare_cr;
	if (got < 0 || !clear)
		return broken_header;
	at->empty = at->start == at->fields_end;
	if (has_other_breaks(w, span_cut(in, at->header, at->start)))
		return mixed;
	return NULL;
}

/* One part between two delimiters: its header, then what it is. */
static void
child(struct walk *w, struct place at)
{
	const char *leave = part_header(w, &at);

	if (leave == broken_header)
		at = (struct place){ .header = at.header, .start = at.header, .fields_end = at.header, .end = at.end,
			.depth = at.depth, .in = at.in };
	walk(w, &at, leave);
}

/* All parts.  NULL, or why the multipart must stay whole; then some of them may have been added. */
static const char *
children(struct walk *w, const struct place *at, const struct frame *frame, bool alternative)
{
	struct span in = span_cut(w->body, 0, at->end);
	struct place part = { .depth = at->depth + 1, .in = frame };
	size_t start = at->start, n = 0;
	struct delimiter d;
	bool closed = false;

	for (; !closed && w->mime->leave == NULL && next_delimiter(w, in, at->start, start, frame->dashed, &d); n++) {
		if (has_other_breaks(w, span_cut(in, d.line > 1 ? d.line - 2 : 0, d.after)))
			return mixed;
		part.header = start;
		part.end = d.before > start ? d.before : start;
		part.is_body = at->is_body && (alternative || n == 1);
		if (n > 0)
			child(w, part);
		start = d.after;
		closed = d.closes;
	}
	if (n == 0)
		return broken;
	if (!closed && w->mime->leave == NULL) {
		part.header = start;
		part.end = in.n;
		part.is_body = at->is_body && (alternative || n == 1);
		child(w, part);
	}
	return NULL;
}

static void
multipart(struct walk *w, const struct place *at, const struct content_type *t)
{
	struct buf dashed = BUF(MIME_VALUE_MAX + 2);
	struct frame frame = { .up = at->in };
	size_t n = w->mime->n;
	const char *leave;

	buf_adds(&dashed, "--");
	buf_add(&dashed, buf_span(&t->params.boundary.text));
	frame.dashed = buf_span(&dashed);
	leave = children(w, at, &frame, span_ieq(t->subtype, SPAN("alternative")));
	buf_free(&dashed);
	if (leave != NULL) {
		w->mime->n = n;
		leaf(w, at, (struct mime_part){ .leave = leave });
	}
}

/* Would the boundary of this part match one around it? */
static bool
shadows(const struct frame *in, struct span boundary)
{
	for (; in != NULL; in = in->up)
		if (span_starts(span_from(in->dashed, 2), boundary))
			return true;
	return false;
}

/*
 * A boundary that all find.  White space at its end is dropped by some;
 * mime_write counts on that none has any of < > ".
 */
static bool
is_good_boundary(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f || strchr("<>\"", s.p[i]) != NULL)
			return false;
	return s.n > 0 && !is_blank(s.p[s.n - 1]);
}

/* Why a multipart must not be looked into, or NULL. */
static const char *
leave_multipart(const struct place *at, const struct content_type *t)
{
	static const struct {
		struct span subtype;
		const char *leave;
	} table[] = {
		{ SPAN("signed"), "multipart/signed" }, { SPAN("encrypted"), "multipart/encrypted" },
		{ SPAN("report"), "multipart/report" }, { SPAN("digest"), "multipart/digest" },
		{ SPAN("appledouble"), attachment },
	};
	enum mime_encoding e = encoding(&at->entity);

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (span_ieq(t->subtype, table[i].subtype))
			return table[i].leave;
	if (!is_good_boundary(buf_span(&t->params.boundary.text)) || (e != MIME_PLAIN && e != MIME_BINARY))
		return broken;
	return at->depth >= MIME_DEPTH_MAX ? "nested too deeply" : NULL;
}

static void
walk_multipart(struct walk *w, const struct place *at, const struct content_type *t)
{
	const char *leave = leave_multipart(at, t);

	/* Also when we do not look into it: others do. */
	if (t->params.boundary.text.n > 0 && shadows(at->in, buf_span(&t->params.boundary.text)))
		w->mime->leave = leave = ambiguous;
	if (at->depth == 0 && leave == NULL && cr_makes_boundary(w->body))
		leave = bare_cr;
	if (leave != NULL)
		leaf(w, at, (struct mime_part){ .leave = leave });
	else
		multipart(w, at, t);
}

/* Why text must stay as it is, or NULL. */
static const char *
leave_text(const struct walk *w, const struct place *at, const struct content_type *t, struct mime_part *part)
{
	struct span charset = span_trim(buf_span(&t->params.charset.text));
	enum charset_kind kind = charset.n > 0 ? charset_find(charset, &part->charset) : CHARSET_UTF8;

	part->utf8 = kind == CHARSET_UTF8 || kind == CHARSET_CONVERTED;
	if (t->params.named && !at->is_body)
		return attachment;
	if (w->near && has_boundary_start(span_cut(w->body, at->header, at->end), at->in))
		return ambiguous;
	if (at->empty)
		return "empty part";
	if (kind == CHARSET_UNKNOWN)
		return "unknown charset";
	return encoding(&at->entity) == MIME_UNKNOWN ? "unknown transfer encoding" : NULL;
}

static const char *
leave_other(const struct content_type *t)
{
	if (span_ieq(t->type, SPAN("message")))
		return "message/*";
	if (span_ieq(t->type, SPAN("application")) &&
	    (span_ieq(t->subtype, SPAN("pkcs7-mime")) || span_ieq(t->subtype, SPAN("x-pkcs7-mime"))))
		return "application/pkcs7-mime";
	return NULL;
}

static void
walk_type(struct walk *w, const struct place *at, const struct content_type *t)
{
	struct mime_part part = { .type = MIME_OTHER };

	if (span_ieq(t->type, SPAN("multipart"))) {
		walk_multipart(w, at, t);
		return;
	}
	if (span_ieq(t->type, SPAN("text")) && span_ieq(t->subtype, SPAN("plain")))
		part.type = MIME_TEXT;
	if (span_ieq(t->type, SPAN("text")) && span_ieq(t->subtype, SPAN("html")))
		part.type = MIME_HTML;
	part.leave = part.type == MIME_OTHER ? leave_other(t) : leave_text(w, at, t, &part);
	leaf(w, at, part);
}

static void
walk(struct walk *w, const struct place *at, const char *leave)
{
	static const struct content_type text = { .type = { "text", 4 }, .subtype = { "plain", 5 } };
	const struct entity *e = &at->entity;
	struct content_type t;

	if (leave == NULL && (e->ntypes > 1 || e->nencodings > 1 || e->ndispositions > 1))
		leave = "duplicate MIME header";
	if (leave != NULL) {
		doubtful(w, at, leave);
		return;
	}
	if (e->ndispositions > 0 && !is_inline(e->disposition)) {
		leaf(w, at, (struct mime_part){ .leave = attachment });
		return;
	}
	if (e->ntypes == 0) {
		walk_type(w, at, &text);
		return;
	}
	if (content_type(&t, e->type))
		walk_type(w, at, &t);
	else
		doubtful(w, at, "broken Content-Type");
	params_free(&t.params);
}

void
mime_walk(struct mime *m, const struct message *message)
{
	struct walk w = { .mime = m, .body = message->body };
	struct place top = { .end = message->body.n, .is_body = true };
	size_t lf = span_find(w.body, '\n');
	const char *leave = NULL;

	*m = (struct mime){ 0 };
	w.crlf = lf < w.body.n && lf > 0 && w.body.p[lf - 1] == '\r';
	for (size_t i = 0; i < message->nheaders; i++) {
		entity_add(&top.entity, &message->header[i]);
		if (find_bare_cr(message->header[i].value) < message->header[i].value.n)
			leave = bare_cr;
	}
	walk(&w, &top, leave);
}

void
mime_free(struct mime *m)
{
	free(m->part);
	*m = (struct mime){ 0 };
}

/* ---- text of a part ---- */

static struct span
content(struct span body, const struct mime_part *part)
{
	return span_cut(body, part->start, part->end);
}

/* How lines end here: as the first one does. */
static struct span
line_break(struct span s, struct span otherwise)
{
	size_t lf = span_find(s, '\n');

	if (lf == s.n)
		return otherwise;
	return lf > 0 && s.p[lf - 1] == '\r' ? SPAN("\r\n") : SPAN("\n");
}

static bool
read_qp(struct span raw, struct mime_text *t)
{
	struct span rest = raw;
	size_t cap = 0, likely = raw.n / 64 + 16; /* lines */
	bool soft;

	buf_room(&t->own, raw.n);
	for (;; t->nlines++) {
		if (t->nlines == cap) {
			cap = cap ? cap * 2 : likely;
			t->line = xreallocarray(t->line, cap, sizeof *t->line);
		}
		t->line[t->nlines] = (struct mime_line){ (uint32_t)(raw.n - rest.n), (uint32_t)t->own.n };
		if (rest.n == 0)
			return true;
		if (!qp_read_line(&t->own, &rest, &soft))
			return false;
	}
}

/* Bytes that no HTML in UTF-8 or another superset of ASCII has: the charset is lying. */
static const char *
odd_text(struct span text)
{
	if (span_find(text, '\0') < text.n)
		return "NUL in text";
	if (span_find(text, '\033') < text.n)
		return "escape sequences in text";
	if (span_starts(text, SPAN("\xff\xfe")) || span_starts(text, SPAN("\xfe\xff")))
		return "byte order mark of UTF-16";
	return NULL;
}

/* Binary is only edited where its lines are lines. */
static bool
odd_lines(struct span s)
{
	for (size_t i = span_find(s, '\r'); i < s.n; i += 1 + span_find(span_from(s, i + 1), '\r'))
		if (i + 1 == s.n || s.p[i + 1] != '\n')
			return true;
	if (line_break(s, SPAN("\n")).n == 1)
		return span_find(s, '\r') < s.n;
	for (size_t i = span_find(s, '\n'); i < s.n; i += 1 + span_find(span_from(s, i + 1), '\n'))
		if (i == 0 || s.p[i - 1] != '\r')
			return true;
	return false;
}

/* Takes the transfer encoding off. */
static const char *
read_bytes(struct span raw, enum mime_encoding encoding, struct mime_text *t)
{
	switch (encoding) {
	case MIME_PLAIN:
		t->bytes = raw;
		return NULL;
	case MIME_BINARY:
		t->bytes = raw;
		return odd_lines(raw) ? "binary with odd line breaks" : NULL;
	case MIME_QP:
		if (!read_qp(raw, t))
			return "broken quoted-printable";
		break;
	case MIME_BASE64:
		if (!base64_read(&t->own, raw))
			return "broken base64";
		break;
	case MIME_UNKNOWN:
		return "unknown transfer encoding";
	}
	t->bytes = buf_span(&t->own);
	return NULL;
}

/* Makes UTF-8 of the bytes. */
static const char *
read_charset(const struct mime_part *part, struct mime_text *t)
{
	const char *why;

	/* Lines that are lines in the transfer encoding are none in UTF-16 and UTF-32. */
	if ((part->encoding == MIME_PLAIN || part->encoding == MIME_BINARY) && span_find(t->bytes, '\0') < t->bytes.n)
		return "NUL in text";
	if ((why = charset_open(&t->charset, part->charset, t->bytes, &t->utf8)) != NULL)
		return why;
	t->text = buf_span(&t->utf8);
	/* ASCII that says it is UTF-16 becomes good Chinese.  Without a tag nothing speaks for the charset. */
	if (part->type == MIME_HTML && span_find(t->text, '<') == t->text.n)
		return "no markup in its charset";
	return NULL;
}

const char *
mime_read(struct span body, const struct mime_part *part, struct mime_text *t)
{
	struct span raw = content(body, part);
	const char *why;

	*t = (struct mime_text){ .own = BUF(raw.n + 4), .utf8 = BUF(CHARSET_ROOM(raw.n)) };
	if (part->leave != NULL && part->type == MIME_OTHER)
		return part->leave;
	if (raw.n >= UINT32_MAX)
		return "too large";
	why = read_bytes(raw, part->encoding, t);
	t->text = t->bytes;
	if (why == NULL && part->charset != NULL)
		why = read_charset(part, t);
	if (why == NULL)
		why = odd_text(t->text);
	return part->leave != NULL ? part->leave : why;
}

void
mime_text_free(struct mime_text *t)
{
	free(t->line);
	buf_free(&t->own);
	buf_free(&t->utf8);
	charset_close(&t->charset);
	*t = (struct mime_text){ 0 };
}

/* ---- edits back into the bytes ---- */

/*
 * Quoted-printable for one line's bytes, without its line break.  A CR or LF
 * among them was encoded and must stay so; qp_add would make a line break of it.
 */
static void
encode_line(struct buf *out, struct span line, struct span eol, bool soft)
{
	for (size_t lf; (lf = span_find(line, '\n')) < line.n; line = span_from(line, lf + 1)) {
		qp_add(out, span_cut(line, 0, lf), eol, true);
		buf_adds(out, "=0A=");
		buf_add(out, eol);
	}
	qp_add(out, line, eol, soft);
}

/* One raw line of quoted-printable: where its text ends, how it ends. */
struct ending {
	size_t text_end;  /* in the decoded text, without a hard line break */
	struct span hard; /* the hard line break, or empty */
	bool soft;
	bool last;        /* without any line break */
};

static struct ending
ending(struct span raw, const struct mime_text *t, size_t k)
{
	struct ending e = { .text_end = t->line[k + 1].text };
	size_t next, end = line_end(raw, t->line[k].raw, &next);
	struct span line = span_cut(raw, t->line[k].raw, end);

	while (line.n > 0 && is_blank(line.p[line.n - 1]))
		line.n--;
	e.soft = span_ends(line, SPAN("="));
	e.last = end == next;
	if (!e.soft) {
		e.hard = span_cut(raw, end, next);
		e.text_end -= e.hard.n;
	}
	return e;
}

/* The last line whose text starts at or before this place; it moves only forward. */
static size_t
line_of(const struct mime_text *t, size_t k, size_t text)
{
	size_t end = t->nlines;

	while (end - k > 1) {
		size_t middle = k + (end - k) / 2;

		if (t->line[middle].text <= text)
			k = middle;
		else
			end = middle;
	}
	return k;
}

/* The last line that an edit touches: the next one too when it takes a hard line break away. */
static size_t
last_line(struct span raw, const struct mime_text *t, size_t k, const struct edit *e)
{
	k = line_of(t, k, e->end > e->start ? e->end - 1 : e->end);
	if (k + 1 < t->nlines && e->end > e->start && e->end == t->line[k + 1].text && ending(raw, t, k).hard.n > 0)
		k++;
	return k;
}

/*
 * Raw lines first .. last with the edits that touch them, as quoted-printable
 * again; `line` is room for one, and eol for where the content has no line break behind them.
 */
static void
encode_run(struct buf *out, struct buf *line, struct span raw, struct span eol, const struct mime_text *t, size_t first,
    size_t last, const struct edit *edit, size_t n, struct span text)
{
	size_t from = t->line[first].text, to = t->line[last + 1].text, done = 0, here = 0;
	struct ending e = { 0 };

	eol = line_break(span_from(raw, t->line[first].raw), eol);
	buf_clear(line);
	for (size_t k = first; k <= last; k++) {
		e = ending(raw, t, k);
		while (here < n && edit[here].end <= e.text_end)
			here++;
		if (e.hard.n == 0 || (here < n && edit[here].start < e.text_end + e.hard.n))
			continue; /* a soft break, or a hard one that an edit takes away */
		splice_range(line, t->bytes, from, e.text_end, edit + done, here - done, text);
		encode_line(out, buf_span(line), eol, false);
		buf_add(out, e.hard);
		buf_clear(line);
		from = e.text_end + e.hard.n;
		done = here;
	}
	if (from < to || done < n || e.soft) {
		splice_range(line, t->bytes, from, to, edit + done, n - done, text);
		encode_line(out, buf_span(line), eol, e.soft);
		if (e.soft && e.last && span_ends(buf_span(out), eol)) /* it had no line break behind the "=" */
			out->n -= eol.n;
	}
}

static void
write_qp(struct span raw, size_t base, struct span eol, const struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct buf new = BUF(out->text.max), line = BUF(SIZE_MAX / 2);
	size_t k = 0;

	for (size_t i = 0, j; i < in->n; i = j) {
		size_t first = line_of(t, k, in->edit[i].start);

		k = last_line(raw, t, first, &in->edit[i]);
		for (j = i + 1; j < in->n && line_of(t, k, in->edit[j].start) == k; j++)
			k = last_line(raw, t, k, &in->edit[j]);
		encode_run(&new, &line, raw, eol, t, first, k, in->edit + i, j - i, buf_span(&in->text));
		edits_add(out, base + t->line[first].raw, base + t->line[k + 1].raw, buf_span(&new));
		out->text.over |= new.over;
		buf_clear(&new);
	}
	buf_free(&new);
	buf_free(&line);
}

/* White space around the characters stays, and with it the way the part ends. */
static void
write_base64(struct span raw, size_t base, struct span eol, const struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct span old = span_trim(raw);
	struct buf plain = BUF(out->text.max), new = BUF(out->text.max);
	size_t start = old.n > 0 ? base + (size_t)(old.p - raw.p) : base;

	splice(&plain, t->bytes, in->edit, in->n, buf_span(&in->text));
	base64_add_lines(&new, buf_span(&plain), eol);
	edits_add(out, start, start + old.n, span_cut(buf_span(&new), 0, new.n > eol.n ? new.n - eol.n : 0));
	out->text.over |= plain.over || new.over;
	buf_free(&plain);
	buf_free(&new);
}

/*
 * Could this line, edited from here on, have become a boundary, or have one
 * behind a bare CR?  No boundary has < > ", and the line was none before: what
 * comes before the first of them must have changed.
 */
static bool
may_be_boundary(struct span line, size_t edited)
{
	size_t n = 0;

	if (span_search(line, SPAN("\r--")) < line.n)
		return true;
	if (!span_starts(line, SPAN("--")))
		return false;
	while (n < line.n && line.p[n] != '<' && line.p[n] != '>' && line.p[n] != '"')
		n++;
	return edited < n;
}

/* Would a line that an edit touches become too long, or a boundary? */
static bool
needs_encoding(struct span text, const struct edits *in)
{
	struct buf line = BUF(MIME_LINE_MAX);
	bool needs = false;

	for (size_t i = 0, j; i < in->n && !needs; i = j) {
		const char *lf = memrchr(text.p, '\n', in->edit[i].start);
		size_t start = lf ? (size_t)(lf - text.p) + 1 : 0, end, next;

		end = line_end(text, in->edit[i].end, &next);
		for (j = i; j < in->n && (j == i || in->edit[j].start <= end); j++)
			if (in->edit[j].end > end)
				end = line_end(text, in->edit[j].end, &next);
		buf_clear(&line);
		splice_range(&line, text, start, end, in->edit + i, j - i, buf_span(&in->text));
		needs = line.over || may_be_boundary(buf_span(&line), in->edit[i].start - start);
	}
	buf_free(&line);
	return needs;
}

static void
become_qp(struct span body, const struct mime_part *part, const struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct span eol = line_break(body, SPAN("\r\n")); /* the content may have other ones, the header must not */
	struct buf plain = BUF(out->text.max), new = BUF(out->text.max);

	if (!part->top) {
		if (!part->has_encoding)
			buf_adds(&new, "Content-Transfer-Encoding: ");
		buf_adds(&new, "quoted-printable");
		if (!part->has_encoding)
			buf_add(&new, eol);
		edits_add(out, part->encoding_start, part->encoding_end, buf_span(&new));
		buf_clear(&new);
	}
	splice(&plain, t->bytes, in->edit, in->n, buf_span(&in->text));
	qp_add(&new, buf_span(&plain), eol, false);
	edits_add(out, part->start, part->end, buf_span(&new));
	out->text.over |= plain.over || new.over;
	buf_free(&plain);
	buf_free(&new);
}

/* Edits of the bytes.  True when the message itself became quoted-printable. */
static bool
write_bytes(struct span body, const struct mime_part *part, const struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct span raw = content(body, part);
	/* How its lines end; one that is a single line has none, and goes by the others. */
	struct span eol = line_break(raw, line_break(body, SPAN("\r\n")));

	if (part->encoding == MIME_QP) {
		write_qp(raw, part->start, eol, t, in, out);
		return false;
	}
	if (part->encoding == MIME_BASE64) {
		write_base64(raw, part->start, eol, t, in, out);
		return false;
	}
	if (needs_encoding(t->bytes, in)) {
		become_qp(body, part, t, in, out);
		return part->top;
	}
	for (size_t i = 0; i < in->n; i++) {
		const struct edit *e = &in->edit[i];

		edits_add(out, part->start + e->start, part->start + e->end,
		    span_cut(buf_span(&in->text), e->at, e->at + e->n));
	}
	return false;
}

bool
mime_write(struct span body, const struct mime_part *part, struct mime_text *t, const struct edits *in,
    struct edits *out)
{
	struct edits encoded;
	bool recoded = false;

	if (in->n == 0 || in->text.over) {
		out->text.over |= in->text.over;
		return false;
	}
	if (!t->charset.open)
		return write_bytes(body, part, t, in, out);

	edits_init(&encoded, out->text.max);
	if (!charset_write(&t->charset, t->bytes, t->text, in, &encoded))
		t->left = "edited text does not convert back";
	else if (encoded.n > 0)
		recoded = write_bytes(body, part, t, &encoded, out);
	edits_free(&encoded);
	return recoded;
}
