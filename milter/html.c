#include "milter/html.h"

enum tag_end { TAG_MORE, TAG_END, TAG_SELF_CLOSED, TAG_CUT };

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool
is_alpha(char c)
{
	c = ascii_lower(c);
	return c >= 'a' && c <= 'z';
}

static bool
is_alnum(char c)
{
	return is_alpha(c) || (c >= '0' && c <= '9');
}

static char
at(struct span in, size_t i)
{
	return i < in.n ? in.p[i] : '\0';
}

static size_t
find(struct span in, size_t from, char c)
{
	return from + span_find(span_from(in, from), c);
}

void
html_init(struct html *h, struct span in)
{
	*h = (struct html){ .in = in };
}

/* White space and stray slashes; *i ends behind the ">" or "/>" when one comes. */
static enum tag_end
before_attribute(struct span in, size_t *i)
{
	while (*i < in.n) {
		char c = in.p[*i];

		if (c == '>') {
			++*i;
			return TAG_END;
		}
		if (c == '/' && at(in, *i + 1) == '>') {
			*i += 2;
			return TAG_SELF_CLOSED;
		}
		if (!is_space(c) && c != '/')
			return TAG_MORE;
		++*i;
	}
	return TAG_CUT;
}

/* After the "=".  False when the end of the input cuts it off. */
static bool
attribute_value(struct span in, size_t *i, struct html_attr *a)
{
	size_t start;

	while (*i < in.n && is_space(in.p[*i]))
		++*i;
	if (*i == in.n)
		return false;
	if (in.p[*i] == '>')
		return true; /* `<a href=>`: an empty value */
	a->has_value = true;
	if (in.p[*i] == '"' || in.p[*i] == '\'') {
		a->quote = in.p[*i];
		start = ++*i;
		*i = find(in, start, a->quote);
		a->value = span_cut(in, start, *i);
		if (*i == in.n)
			return false;
		a->end = ++*i;
		return true;
	}
	start = *i;
	while (*i < in.n && !is_space(in.p[*i]) && in.p[*i] != '>')
		++*i;
	a->value = span_cut(in, start, *i);
	a->end = *i;
	return *i < in.n;
}

/* At the first byte of a name.  False when the end of the input cuts the tag off. */
static bool
attribute(struct span in, size_t *i, struct html_attr *a)
{
	size_t j;

	*a = (struct html_attr){ .start = *i, .value = span_cut(in, *i, *i) };
	for (++*i; *i < in.n; ++*i) { /* a leading "=" belongs to the name */
		char c = in.p[*i];

		if (is_space(c) || c == '/' || c == '>' || c == '=')
			break;
	}
	a->end = *i;
	a->name = span_cut(in, a->start, a->end);
	for (j = *i; j < in.n && is_space(in.p[j]);)
		j++;
	if (at(in, j) != '=' || j >= in.n)
		return j < in.n;
	a->end = *i = j + 1;
	return attribute_value(in, i, a);
}

bool
html_attr(const struct html *h, size_t *i, struct html_attr *a)
{
	return before_attribute(h->in, i) == TAG_MORE && attribute(h->in, i, a);
}

/* What the text behind this start tag is. */
static enum html_raw
raw_kind(struct span name)
{
	static const struct {
		struct span name;
		enum html_raw raw;
	} table[] = {
		{ SPAN("title"), HTML_RCDATA }, { SPAN("textarea"), HTML_RCDATA },
		{ SPAN("style"), HTML_RAWTEXT }, { SPAN("xmp"), HTML_RAWTEXT }, { SPAN("iframe"), HTML_RAWTEXT },
		{ SPAN("noembed"), HTML_RAWTEXT }, { SPAN("noframes"), HTML_RAWTEXT },
		{ SPAN("script"), HTML_SCRIPT }, { SPAN("plaintext"), HTML_PLAINTEXT },
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (span_ieq(name, table[i].name))
			return table[i].raw;
	return HTML_DATA;
}

/* A tag starts at t->start; its name at j. */
static void
tag(struct html *h, struct html_token *t, size_t j)
{
	struct span in = h->in;
	struct html_attr a;
	enum tag_end end;
	size_t name = j;

	while (j < in.n && !is_space(in.p[j]) && in.p[j] != '/' && in.p[j] != '>')
		j++;
	t->name = span_cut(in, name, j);
	t->attrs = j;
	while ((end = before_attribute(in, &j)) == TAG_MORE)
		if (!attribute(in, &j, &a)) {
			end = TAG_CUT;
			break;
		}
	if (end == TAG_CUT) {
		t->kind = HTML_CUT;
		h->at = in.n;
		return;
	}
	h->at = j;
	t->self_closing = end == TAG_SELF_CLOSED;
	if (t->kind == HTML_START && (h->raw = raw_kind(t->name)) != HTML_DATA)
		h->raw_name = t->name;
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

/* Does markup start at this "<"?  Otherwise it is text. */
static bool
is_markup(const struct html *h, size_t i)
{
	struct span in = h->in;
	char c = at(in, i + 1);

	if (h->conditional && span_starts(span_from(in, i), SPAN("<!--")))
		return false;
	return is_alpha(c) || c == '!' || c == '?' || (c == '/' && i + 2 < in.n);
}

static void
markup(struct html *h, struct html_token *t)
{
	struct span in = h->in;
	size_t i = t->start;
	char c = in.p[i + 1];

	if (is_alpha(c) || (c == '/' && is_alpha(in.p[i + 2]))) {
		t->kind = c == '/' ? HTML_END : HTML_START;
		tag(h, t, c == '/' ? i + 2 : i + 1);
		return;
	}
	t->kind = HTML_COMMENT;
	if (span_starts(span_from(in, i), SPAN("<!--"))) {
		h->at = comment(in, i, &t->open);
		return;
	}
	h->at = find(in, i + 2, '>');
	t->open = h->at == in.n;
	h->at += !t->open;
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
	return is_space(c) || c == '/' || c == '>';
}

/* Does "<script" or "</script", then white space, "/" or ">" stand here? */
static bool
script_tag(struct span in, size_t i, struct span tag_start)
{
	char c = at(in, i + tag_start.n);

	return i + tag_start.n < in.n && span_istarts(span_cut(in, i, i + tag_start.n), tag_start) &&
	    (is_space(c) || c == '/' || c == '>');
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

bool
html_next(struct html *h, struct html_token *t)
{
	size_t start = h->at, i;

	*t = (struct html_token){ .kind = HTML_TEXT, .start = start };
	if (start >= h->in.n)
		return false;
	if (h->raw != HTML_DATA) {
		t->raw = true;
		h->at = raw_end(h, start);
		t->open = h->at == h->in.n;
		h->raw = HTML_DATA;
	}
	if (h->at == start) {
		t->raw = false;
		for (i = find(h->in, start, '<'); i < h->in.n && !is_markup(h, i);)
			i = find(h->in, i + 1, '<');
		if (i == start)
			markup(h, t);
		else
			h->at = i;
	}
	t->end = h->at;
	return true;
}

/* Is one of the words of an expression such as "gte mso 9" or "(mso)|(IE)" a program that reads what is inside? */
static bool
names_reader(struct span expression)
{
	static const struct span readers[] = { SPAN("mso"), SPAN("vml"), SPAN("ie"), SPAN("outlook") };
	size_t start, end;

	for (start = 0; start < expression.n; start = end + 1) {
		for (end = start; end < expression.n && is_alnum(expression.p[end]);)
			end++;
		for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
			if (span_ieq(span_cut(expression, start, end), readers[i]))
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
	if (is_alnum(at(comment, opening.n)) || at(comment, start) != '>' || !names_reader(expression) ||
	    span_find(expression, '<') < expression.n || span_find(expression, '>') < expression.n)
		return false;
	html_init(inside, span_cut(h->in, 0, t->end - closing.n));
	inside->at = t->start + start + 1;
	inside->conditional = true;
	return true;
}
