#include "milter/plain.h"

#include "common/text.h"

static bool
is_word(char c)
{
	return ascii_alnum(c) || c == '_';
}

/* A colon stands at i.  Is it that of "http://" or "https://", and where does that start? */
static bool
scheme_before(struct span text, size_t i, bool utf8, size_t *start)
{
	struct span before = span_cut(text, 0, i);

	if (!span_starts(span_from(text, i), SPAN("://")))
		return false;
	if (span_iends(before, SPAN("https")))
		*start = i - 5;
	else if (span_iends(before, SPAN("http")))
		*start = i - 4;
	else
		return false;
	if (*start == 0)
		return true;
	/* In other charsets the "h" may be the second byte of a character. */
	return !is_word(text.p[*start - 1]) && (utf8 || (unsigned char)text.p[*start - 1] < 0x80);
}

/* Quotes and the full stops and brackets of East Asia, which end a URL as their ASCII relatives do. */
static bool
is_stop(struct span s)
{
	static const struct span stops[] = {
		SPAN("\xc2\xa0"), SPAN("\xc2\xab"), SPAN("\xc2\xbb"), SPAN("\xe2\x80\x9c"), SPAN("\xe2\x80\x9d"),
		SPAN("\xe2\x80\x9e"), SPAN("\xe2\x80\x98"), SPAN("\xe2\x80\x99"), SPAN("\xe2\x80\x9a"), SPAN("\xe2\x80\xa6"),
		SPAN("\xe2\x80\xb9"), SPAN("\xe2\x80\xba"),
		SPAN("\xe3\x80\x80"), SPAN("\xe3\x80\x81"), SPAN("\xe3\x80\x82"), SPAN("\xef\xbc\x8c"), SPAN("\xef\xbc\x8e"),
		SPAN("\xef\xbc\x9a"), SPAN("\xef\xbc\x9b"), SPAN("\xef\xbc\x81"), SPAN("\xef\xbc\x9f"), SPAN("\xef\xbc\x88"),
		SPAN("\xef\xbc\x89"), SPAN("\xe3\x80\x8a"), SPAN("\xe3\x80\x8b"), SPAN("\xe3\x80\x8c"), SPAN("\xe3\x80\x8d"),
		SPAN("\xe3\x80\x8e"), SPAN("\xe3\x80\x8f"), SPAN("\xe3\x80\x90"), SPAN("\xe3\x80\x91"), SPAN("\xe0\xa5\xa4"),
		SPAN("\xd8\x8c"), SPAN("\xd8\x9b"), SPAN("\xd8\x9f"),
	};

	for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
		if (span_starts(s, stops[i]))
			return true;
	return false;
}

/* Where the URL that starts before i ends, whatever follows it in the sentence. */
static size_t
reach(struct span text, size_t i, bool utf8)
{
	while (i < text.n) {
		unsigned char c = (unsigned char)text.p[i];
		size_t n = 1;

		if (c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' || c == '`')
			break;
		if (c > 0x7f && (!utf8 || (n = text_utf8(span_from(text, i))) == 0 || is_stop(span_from(text, i))))
			break;
		i += n;
	}
	return i;
}

/*
 * Punctuation at the end, stars of what is *bold* and bars of a table, and
 * brackets that close what the URL did not open.
 */
static size_t
trim(struct span text, size_t start, size_t end)
{
	static const char open[] = "([{", close[] = ")]}";
	size_t extra[3] = { 0 }; /* closed more often than opened */

	for (size_t k = 0; k < 3; k++) {
		size_t opened = 0, closed = 0;

		for (size_t i = start; i < end; i++) {
			opened += text.p[i] == open[k];
			closed += text.p[i] == close[k];
		}
		extra[k] = closed > opened ? closed - opened : 0;
	}
	for (; end > start; end--) {
		char c = text.p[end - 1];
		const char *bracket = c ? strchr(close, c) : NULL;

		if (bracket != NULL && extra[bracket - close] > 0)
			extra[bracket - close]--;
		else if (c == '\0' || strchr(".,:;!?'*|", c) == NULL)
			break;
	}
	return end;
}

/*
 * Behind the URL: a letter in a charset that we do not read, or the space and
 * line break that format=flowed with delsp=yes takes out (RFC 3676 section 4.1).
 */
static bool
may_go_on(struct span text, size_t i)
{
	struct span rest = span_from(text, i);

	if (rest.n > 0 && (unsigned char)rest.p[0] > 0x7f)
		return !is_stop(rest);
	return span_starts(rest, SPAN(" \r\n")) || span_starts(rest, SPAN(" \n"));
}

/* Of a merge tag, {name|URL}; a further bar may follow. */
static bool
is_default(struct span text, size_t start, size_t end)
{
	while (end < text.n && text.p[end] == '|')
		end++;
	return start > 0 && text.p[start - 1] == '|' && end < text.n && text.p[end] == '}';
}

bool
plain_next(struct span text, bool utf8, size_t *at, struct plain_url *u)
{
	for (size_t i = *at; (i += span_find(span_from(text, i), ':')) < text.n; i++) {
		size_t far;

		if (!scheme_before(text, i, utf8, &u->start) || u->start < *at)
			continue;
		far = reach(text, i + 3, utf8);
		u->end = trim(text, u->start, far);
		if (u->end <= i + 3) {
			i = far - 1;
			continue;
		}
		u->placeholder = is_default(text, u->start, u->end);
		u->unclear = may_go_on(text, far);
		*at = far;
		return true;
	}
	*at = text.n;
	return false;
}
