#include "milter/html.h"

#include "common/scan.h"

/* ---- bytes ---- */

/* What a byte is, and what it ends.  One look for each byte of a name. */
enum {
	SPACE = 1,
	ALPHA = 2,
	DIGIT = 4,
	ENDS_NAME = 8,   /* of a tag */
	ENDS_ATTR = 16,  /* the name of an attribute */
	ENDS_VALUE = 32, /* without quotes */
};

/* What is rare stays out of the way of what every token passes: there it would cost registers. */
#define RARE __attribute__((noinline))

#define SPACE_CLASS (SPACE | ENDS_NAME | ENDS_ATTR | ENDS_VALUE)

static const unsigned char classes[256] = {
	['\t'] = SPACE_CLASS, ['\n'] = SPACE_CLASS, ['\f'] = SPACE_CLASS, ['\r'] = SPACE_CLASS, [' '] = SPACE_CLASS,
	['>'] = ENDS_NAME | ENDS_ATTR | ENDS_VALUE, ['/'] = ENDS_NAME | ENDS_ATTR, ['='] = ENDS_ATTR,
	['A' ... 'Z'] = ALPHA, ['a' ... 'z'] = ALPHA, ['0' ... '9'] = DIGIT,
};

static inline bool
is(char c, unsigned class)
{
	return (classes[(unsigned char)c] & class) != 0;
}

static inline bool
is_space(char c)
{
	return is(c, SPACE);
}

static inline char
at(struct span in, size_t i)
{
	return i < in.n ? in.p[i] : '\0';
}

static inline size_t
find(struct span in, size_t from, char c)
{
	const char *hit = from < in.n ? memchr(in.p + from, c, in.n - from) : NULL;

	return hit != NULL ? (size_t)(hit - in.p) : in.n;
}

/* The first byte of the class from i on, or in.n. */
static inline size_t
skip_to(struct span in, size_t i, unsigned class)
{
	while (i < in.n && !is(in.p[i], class))
		i++;
	return i;
}

static inline size_t
skip_space(struct span in, size_t i)
{
	while (i < in.n && is_space(in.p[i]))
		i++;
	return i;
}

void
html_init(struct html *h, struct span in)
{
	memset(h, 0, offsetof(struct html, open)); /* what is above depth nobody reads */
	h->in = in;
}

void
html_copy(struct html *to, const struct html *from)
{
	memcpy(to, from, offsetof(struct html, open) + from->depth * sizeof *from->open);
}

/* ---- tags and attributes ---- */

enum tag_end { TAG_MORE, TAG_END, TAG_SELF_CLOSED, TAG_CUT };

/* White space and stray slashes; *i ends behind the ">" or "/>" when one comes. */
static inline enum tag_end
before_attribute(struct span in, size_t *i)
{
	while (*i < in.n) {
		char c = in.p[*i];

		if (!is(c, ENDS_NAME))
			return TAG_MORE;
		++*i;
		if (c == '>')
			return TAG_END;
		if (c == '/' && at(in, *i) == '>') {
			++*i;
			return TAG_SELF_CLOSED;
		}
	}
	return TAG_CUT;
}

/* After the "=".  False when the end of the input cuts it off. */
static inline bool
attribute_value(struct span in, size_t *i, struct html_attr *a)
{
	size_t start = skip_space(in, *i);

	*i = start;
	if (start == in.n)
		return false;
	if (in.p[start] == '>')
		return true; /* `<a href=>`: an empty value */
	a->has_value = true;
	if (in.p[start] == '"' || in.p[start] == '\'') {
		a->quote = in.p[start++];
		*i = scan_either(in, start, a->quote, a->quote);
		a->value = (struct span){ in.p + start, *i - start };
		if (*i == in.n)
			return false;
		a->end = ++*i;
		return true;
	}
	*i = skip_to(in, start, ENDS_VALUE);
	a->value = (struct span){ in.p + start, *i - start };
	a->end = *i;
	return *i < in.n;
}

/* At the first byte of a name.  False when the end of the input cuts the tag off. */
static inline bool
attribute(struct span in, size_t *i, struct html_attr *a)
{
	size_t start = *i, end = skip_to(in, start + 1, ENDS_ATTR), equals; /* a leading "=" belongs to the name */

	*a = (struct html_attr){ .start = start, .end = end, .name = { in.p + start, end - start },
		.value = { in.p + start, 0 } };
	*i = end;
	equals = skip_space(in, end);
	if (equals == in.n)
		return false;
	if (in.p[equals] != '=')
		return true;
	a->end = *i = equals + 1;
	return attribute_value(in, i, a);
}

bool
html_attr(const struct html *h, size_t *i, struct html_attr *a)
{
	return before_attribute(h->in, i) == TAG_MORE && attribute(h->in, i, a);
}

/*
 * Past the "=" at stop, which may begin a name itself.  All that comes before
 * it goes in one turn: to look for the same "=" behind each name takes
 * quadratic time.  False when the end of the input cuts an attribute off.
 */
RARE static bool
skip_odd_attributes(struct span in, size_t *i, size_t stop)
{
	struct html_attr a;

	do {
		before_attribute(in, i);
		if (!attribute(in, i, &a))
			return false;
	} while (*i <= stop);
	return true;
}

/*
 * To the end of a tag, as html_attr would come there.  What is before the next
 * "=" are names and what parts them, so a ">" that comes first ends the tag.
 */
static inline enum tag_end
skip_attributes(struct span in, size_t *i)
{
	struct html_attr a;
	enum tag_end end;
	size_t stop;

	if (*i < in.n && in.p[*i] == '>') { /* most end tags */
		++*i;
		return TAG_END;
	}
	while ((stop = scan_either(in, *i, '=', '>')) < in.n && in.p[stop] == '=') {
		if (stop > *i && !is(in.p[stop - 1], ENDS_NAME)) {
			*i = stop + 1;
			if (at(in, *i) == '"') { /* nearly all of them */
				*i = scan_either(in, *i + 1, '"', '"') + 1;
				if (*i > in.n)
					return TAG_CUT;
			} else if (!attribute_value(in, i, &a))
				return TAG_CUT;
		} else if (!skip_odd_attributes(in, i, stop))
			return TAG_CUT;
	}
	if (stop == in.n)
		return TAG_CUT;
	end = stop > *i && in.p[stop - 1] == '/' ? TAG_SELF_CLOSED : TAG_END;
	*i = stop + 1;
	return end;
}

/* ---- elements that change what comes after them ---- */

/* Is the name this word of small letters?  The lengths are known to agree. */
static inline bool
is_word(struct span name, const char *word)
{
	for (size_t i = 0; i < name.n; i++)
		if (ascii_lower(name.p[i]) != word[i])
			return false;
	return true;
}

/* What the text behind this start tag is, outside of svg and math. */
static enum html_raw
raw_kind(struct span name)
{
	switch (name.n) {
	case 3:
		return is_word(name, "xmp") ? HTML_RAWTEXT : HTML_DATA;
	case 5:
		return is_word(name, "style") ? HTML_RAWTEXT : is_word(name, "title") ? HTML_RCDATA : HTML_DATA;
	case 6:
		return is_word(name, "script") ? HTML_SCRIPT : is_word(name, "iframe") ? HTML_RAWTEXT : HTML_DATA;
	case 7:
		return is_word(name, "noembed") ? HTML_RAWTEXT : HTML_DATA;
	case 8:
		return is_word(name, "textarea") ? HTML_RCDATA : is_word(name, "noframes") ? HTML_RAWTEXT : HTML_DATA;
	case 9:
		return is_word(name, "plaintext") ? HTML_PLAINTEXT : HTML_DATA;
	default:
		return HTML_DATA;
	}
}

static bool
is_one_of(struct span name, const struct span *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (words[i].n == name.n && is_word(name, words[i].p))
			return true;
	return false;
}

#define WORDS(list) (list), sizeof(list) / sizeof *(list)

/* ---- svg and math ---- */

static const struct span annotation = SPAN("annotation-xml");

static bool
is_void(struct span name)
{
	static const struct span voids[] = {
		SPAN("area"), SPAN("base"), SPAN("basefont"), SPAN("bgsound"), SPAN("br"), SPAN("embed"), SPAN("hr"),
		SPAN("img"), SPAN("input"), SPAN("keygen"), SPAN("link"), SPAN("meta"), SPAN("param"), SPAN("source"),
		SPAN("track"), SPAN("wbr"),
	};

	return is_one_of(name, WORDS(voids));
}

static bool
is_table_tag(struct span name)
{
	static const struct span parts[] = {
		SPAN("table"), SPAN("caption"), SPAN("col"), SPAN("colgroup"), SPAN("tbody"), SPAN("td"), SPAN("tfoot"),
		SPAN("th"), SPAN("thead"), SPAN("tr"),
	};

	return is_one_of(name, WORDS(parts));
}

/* The attribute of this name, in small letters: the first one counts. */
static bool
find_attr(const struct html *h, const struct html_token *t, struct span name, struct html_attr *a)
{
	for (size_t i = t->attrs; html_attr(h, &i, a);)
		if (span_ieq(a->name, name))
			return true;
	return false;
}

/* Does this start tag end all svg and math around it? */
static bool
breaks_out(const struct html *h, const struct html_token *t)
{
	static const struct span names[] = {
		SPAN("b"), SPAN("big"), SPAN("blockquote"), SPAN("body"), SPAN("br"), SPAN("center"), SPAN("code"),
		SPAN("dd"), SPAN("div"), SPAN("dl"), SPAN("dt"), SPAN("em"), SPAN("embed"), SPAN("h1"), SPAN("h2"),
		SPAN("h3"), SPAN("h4"), SPAN("h5"), SPAN("h6"), SPAN("head"), SPAN("hr"), SPAN("i"), SPAN("img"),
		SPAN("li"), SPAN("listing"), SPAN("menu"), SPAN("meta"), SPAN("nobr"), SPAN("ol"), SPAN("p"),
		SPAN("pre"), SPAN("ruby"), SPAN("s"), SPAN("small"), SPAN("span"), SPAN("strong"), SPAN("strike"),
		SPAN("sub"), SPAN("sup"), SPAN("table"), SPAN("tt"), SPAN("u"), SPAN("ul"), SPAN("var"),
	};
	struct html_attr a;

	if (span_ieq(t->name, SPAN("font")))
		return find_attr(h, t, SPAN("color"), &a) || find_attr(h, t, SPAN("face"), &a) ||
		    find_attr(h, t, SPAN("size"), &a);
	return is_one_of(t->name, WORDS(names));
}

static enum html_space
root_space(struct span name)
{
	if (name.n == 3 && is_word(name, "svg"))
		return SVG_SPACE;
	if (name.n == 4 && is_word(name, "math"))
		return MATH_SPACE;
	return HTML_SPACE;
}

static struct html_open *
innermost(struct html *h)
{
	return &h->open[h->depth - 1];
}

static bool
is_html_encoding(struct span value)
{
	return span_ieq(value, SPAN("text/html")) || span_ieq(value, SPAN("application/xhtml+xml"));
}

/* What start tags mean in an element of svg or math that opens here. */
static enum html_inside
inside(struct html *h, const struct html_token *t, enum html_space space)
{
	static const struct span svg[] = { SPAN("foreignobject"), SPAN("desc"), SPAN("title") };
	static const struct span math[] = { SPAN("mi"), SPAN("mo"), SPAN("mn"), SPAN("ms"), SPAN("mtext") };
	struct html_attr a;

	if (space == SVG_SPACE)
		return is_one_of(t->name, WORDS(svg)) ? INSIDE_HTML : INSIDE_SAME;
	if (is_one_of(t->name, WORDS(math)))
		return INSIDE_WORDS;
	if (!span_ieq(t->name, annotation) || !find_attr(h, t, SPAN("encoding"), &a))
		return INSIDE_SAME;
	if (span_find(a.value, '&') < a.value.n) /* nobody writes it so; nothing is decoded here */
		h->lost = true;
	return is_html_encoding(a.value) ? INSIDE_HTML : INSIDE_SAME;
}

static void
push(struct html *h, const struct html_token *t, enum html_space space)
{
	if (h->depth == HTML_OPEN_MAX) {
		h->lost = true;
		return;
	}
	h->open[h->depth++] = (struct html_open){
		t->name, space, space == HTML_SPACE ? INSIDE_HTML : inside(h, t, space),
	};
}

/* Does this start tag make an element of svg or math?  Or end them, which it does not do here. */
static bool
is_foreign(struct html *h, struct span name)
{
	const struct html_open *in = innermost(h);

	if (in->space == MATH_SPACE && span_ieq(in->name, annotation) && root_space(name) == SVG_SPACE)
		return false;
	if (in->inside == INSIDE_WORDS)
		return span_ieq(name, SPAN("mglyph")) || span_ieq(name, SPAN("malignmark"));
	return in->inside == INSIDE_SAME;
}

/* Out of svg and math, as far as the next place where HTML may stand. */
static void
break_out(struct html *h)
{
	while (h->depth > 0 && innermost(h)->inside == INSIDE_SAME)
		h->depth--;
	if (h->depth == 0)
		h->unsure = false;
}

/* Inside HTML inside svg, but in a table that is open there? */
static bool
in_table(const struct html *h)
{
	for (size_t i = h->depth; i-- > 0 && h->open[i].space == HTML_SPACE;)
		if (span_ieq(h->open[i].name, SPAN("table")))
			return true;
	return false;
}

/* A start tag of HTML somewhere inside svg or math. */
static void
open_html(struct html *h, const struct html_token *t)
{
	if (is_table_tag(t->name) && !in_table(h))
		h->unsure = true; /* it would close the svg if that were in a table itself */
	if (!is_void(t->name))
		push(h, t, HTML_SPACE);
}

/* A start tag that begins svg or math, or stands inside. */
RARE static void
start_foreign(struct html *h, const struct html_token *t, enum html_space root, enum html_raw raw)
{
	if (h->unsure && (raw != HTML_DATA || (root != HTML_SPACE && root != innermost(h)->space)))
		h->lost = true;
	if (h->depth > 0 && is_foreign(h, t->name)) {
		if (!breaks_out(h, t)) {
			if (!t->self_closing)
				push(h, t, innermost(h)->space);
			return;
		}
		break_out(h);
	}
	if (root != HTML_SPACE) {
		if (!t->self_closing)
			push(h, t, root);
		return;
	}
	if (raw != HTML_DATA) {
		h->raw = raw;
		h->raw_name = t->name;
	}
	if (h->depth > 0)
		open_html(h, t);
}

static inline void
start_tag(struct html *h, const struct html_token *t)
{
	enum html_space root = root_space(t->name);
	enum html_raw raw = raw_kind(t->name);

	if (h->depth > 0 || root != HTML_SPACE || raw != HTML_DATA)
		start_foreign(h, t, root, raw);
}

/*
 * An end tag inside svg or math.  It ends the innermost element of its name,
 * and what is in it, unless HTML lies between: then, and when there is none of
 * its name, HTML's rules and what is open outside decide.  Once unsure, open[]
 * is the most that may be open: only what surely ends leaves it.
 */
RARE static void
end_tag(struct html *h, const struct html_token *t)
{
	for (size_t i = h->depth; i-- > 0;) {
		bool last = i + 1 == h->depth;

		if ((last || (h->open[i].space != HTML_SPACE && !h->unsure)) && span_ieq(h->open[i].name, t->name)) {
			h->depth = i;
			h->unsure = h->unsure && i > 0;
			return;
		}
		if (h->open[i].space == HTML_SPACE)
			break;
	}
	h->unsure = h->depth > 0;
}

/* ---- markup ---- */

static const struct span comment_start = SPAN("<!--");
static const struct span cdata_start = SPAN("<![CDATA["), cdata_end = SPAN("]]>");

/* A tag starts at t->start; its name, which begins with a letter, at j. */
static void
tag(struct html *h, struct html_token *t, size_t j)
{
	struct span in = h->in;
	enum tag_end end;
	size_t name = j;

	j = skip_to(in, j + 1, ENDS_NAME);
	t->name = (struct span){ in.p + name, j - name };
	t->attrs = j;
	end = skip_attributes(in, &j);
	if (end == TAG_CUT) {
		t->kind = HTML_CUT;
		h->at = in.n;
		return;
	}
	h->at = j;
	t->self_closing = end == TAG_SELF_CLOSED;
	if (t->kind == HTML_START)
		start_tag(h, t);
	else if (h->depth > 0)
		end_tag(h, t);
}

/*
 * From "<!--".  It ends at the first "-->" or "--!>" behind that, or at once
 * with "<!-->" or "<!--->".
 */
static size_t
comment(struct span in, size_t start, bool *open)
{
	size_t text = start + 4;

	for (size_t i = find(in, text, '>'); i < in.n; i = find(in, i + 1, '>')) {
		size_t n = i - text;
		const char *p = in.p + i;

		if (n == 0 || (n == 1 && p[-1] == '-') || (n >= 2 && p[-1] == '-' && p[-2] == '-') ||
		    (n >= 3 && p[-1] == '!' && p[-2] == '-' && p[-3] == '-'))
			return i + 1;
	}
	*open = true;
	return in.n;
}

/* Does markup start at i?  A "<" before anything else is text. */
static inline bool
is_markup(const struct html *h, size_t i)
{
	struct span in = h->in;
	char c;

	if (in.p[i] != '<' || i + 1 == in.n)
		return false;
	c = in.p[i + 1];
	if (is(c, ALPHA))
		return true;
	if (c == '/')
		return i + 2 < in.n;
	return c == '?' || (c == '!' && !(h->conditional && span_starts(span_from(in, i), comment_start)));
}

/* Markup that is no tag. */
RARE static void
declaration(struct html *h, struct html_token *t)
{
	struct span in = h->in, rest;
	size_t i = t->start;

	t->kind = HTML_COMMENT;
	rest = span_from(in, i);
	if (span_starts(rest, comment_start)) {
		h->at = comment(in, i, &t->open);
		return;
	}
	if (h->depth > 0 && span_starts(rest, cdata_start)) {
		h->lost = h->lost || h->unsure;
		if (innermost(h)->space != HTML_SPACE) {
			h->at = i + cdata_start.n;
			h->raw = HTML_CDATA;
			return;
		}
	}
	h->at = find(in, i + 2, '>');
	t->open = h->at == in.n;
	h->at += !t->open;
}

static inline void
markup(struct html *h, struct html_token *t)
{
	size_t i = t->start;
	char c = h->in.p[i + 1];

	if (is(c, ALPHA)) {
		t->kind = HTML_START;
		tag(h, t, i + 1);
	} else if (c == '/' && is(h->in.p[i + 2], ALPHA)) {
		t->kind = HTML_END;
		tag(h, t, i + 2);
	} else
		declaration(h, t);
}

/* Is this "<" the start of the end tag that closes the raw element? */
static bool
closes(const struct html *h, size_t i)
{
	size_t end = i + 2 + h->raw_name.n;
	char c;

	if (end >= h->in.n || h->in.p[i + 1] != '/' || !span_ieq(span_cut(h->in, i + 2, end), h->raw_name))
		return false;
	c = h->in.p[end];
	return is(c, ENDS_NAME);
}

/* Does "<script" or "</script", then white space, "/" or ">" stand here? */
static bool
script_tag(struct span in, size_t i, struct span tag_start)
{
	char c = at(in, i + tag_start.n);

	return i + tag_start.n < in.n && span_istarts(span_cut(in, i, i + tag_start.n), tag_start) &&
	    (is(c, ENDS_NAME));
}

/*
 * The states of script data: inside "<!--" an inner "<script>" hides its
 * "</script>", until "-->".
 */
static size_t
script_end(const struct html *h, size_t i)
{
	struct span in = h->in;
	enum { PLAIN, ESCAPED, TWICE } state = PLAIN;
	size_t dashes = 0;

	for (; i < in.n; i++) {
		char c = in.p[i];

		if (state == PLAIN && c != '<') {
			i = find(in, i, '<');
			if (i == in.n)
				break;
			c = '<';
		}
		if (c == '-') {
			dashes++;
			continue;
		}
		if (c == '>' && dashes >= 2)
			state = PLAIN;
		dashes = 0;
		if (c != '<')
			continue;
		if (state != TWICE && closes(h, i))
			return i;
		if (state == PLAIN && span_starts(span_from(in, i), SPAN("<!--"))) {
			state = ESCAPED;
			dashes = 2;
			i += 3;
		} else if (state == ESCAPED && script_tag(in, i, SPAN("<script"))) {
			state = TWICE;
		} else if (state == TWICE && script_tag(in, i, SPAN("</script"))) {
			state = ESCAPED;
		}
	}
	return in.n;
}

static size_t
raw_end(const struct html *h, size_t i)
{
	if (h->raw == HTML_PLAINTEXT)
		return h->in.n;
	if (h->raw == HTML_SCRIPT)
		return script_end(h, i);
	for (i = find(h->in, i, '<'); i < h->in.n; i = find(h->in, i + 1, '<'))
		if (closes(h, i))
			return i;
	return h->in.n;
}

/* The text of a CDATA section, or the mark behind it. */
RARE static void
cdata(struct html *h, struct html_token *t)
{
	size_t n = span_search(span_from(h->in, t->start), cdata_end);

	if (n == 0) {
		t->kind = HTML_COMMENT;
		h->at = t->start + cdata_end.n;
		h->raw = HTML_DATA;
		return;
	}
	t->cdata = true;
	h->at = t->start + n;
	t->open = h->at == h->in.n;
}

/* Of a raw element; it may be none, when its end tag comes at once. */
RARE static void
raw_text(struct html *h, struct html_token *t)
{
	h->at = raw_end(h, t->start);
	h->raw = HTML_DATA;
	t->raw = h->at > t->start;
	t->open = h->at == h->in.n;
}

bool
html_next(struct html *h, struct html_token *t)
{
	size_t start = h->at, i = start;

	*t = (struct html_token){ .kind = HTML_TEXT, .start = start };
	if (start >= h->in.n)
		return false;
	if (h->raw == HTML_CDATA)
		cdata(h, t);
	else if (h->raw != HTML_DATA)
		raw_text(h, t);
	if (h->at == start && is_markup(h, start)) {
		markup(h, t);
	} else if (h->at == start) {
		do
			i = scan_either(h->in, i + 1, '<', '<');
		while (i < h->in.n && !is_markup(h, i));
		h->at = i;
	}
	t->end = h->at;
	return true;
}

/* ---- conditional comments ---- */

/* Is one of the words of an expression such as "gte mso 9" or "(mso)|(IE)" a program that reads what is inside? */
static bool
names_reader(struct span expression)
{
	static const struct span readers[] = { SPAN("mso"), SPAN("vml"), SPAN("ie"), SPAN("outlook") };
	size_t start, end;

	for (start = 0; start < expression.n; start = end + 1) {
		for (end = start; end < expression.n && is(expression.p[end], ALPHA | DIGIT);)
			end++;
		if (end > start && is_one_of(span_cut(expression, start, end), WORDS(readers)))
			return true;
	}
	return false;
}

bool
html_conditional(const struct html *h, const struct html_token *t, struct html *inside)
{
	static const struct span opening = SPAN("<!--[if"), closing = SPAN("<![endif]-->");
	struct span comment = span_cut(h->in, t->start, t->end), expression;
	size_t start;

	if (t->kind != HTML_COMMENT || !span_istarts(comment, opening) || !span_iends(comment, closing))
		return false;
	expression = span_from(comment, opening.n);
	expression = span_cut(expression, 0, span_find(expression, ']'));
	start = opening.n + expression.n + 1;
	if (is(at(comment, opening.n), ALPHA | DIGIT) || at(comment, start) != '>' || !names_reader(expression) ||
	    span_find(expression, '<') < expression.n || span_find(expression, '>') < expression.n)
		return false;
	html_init(inside, span_cut(h->in, 0, t->end - closing.n));
	inside->at = t->start + start + 1;
	inside->conditional = true;
	return true;
}
