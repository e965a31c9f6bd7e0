/*
 * Promises of URLs: the pieces of a URL lie in it, in order, nothing lost; a
 * pattern fits exactly where a matcher that tries everything says so; a URL
 * with a parameter more is the same to the byte but for that parameter; what
 * is encoded decodes to itself.  Of plain text: the URLs come in order, hold
 * nothing that ends a URL, and none that stands free is passed over.  A text
 * that repeats itself for long is read in no time (-timeout sees to that).
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/text.h"
#include "milter/plain.h"
#include "milter/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static bool
inside(struct span s, struct span whole)
{
	return s.n == 0 || (s.p >= whole.p && s.p + s.n <= whole.p + whole.n);
}

static bool
has_any(struct span s, const char *set)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '\0' && strchr(set, s.p[i]) != NULL)
			return true;
	return false;
}

static void
check_split(struct span in)
{
	struct url u;

	if (!url_split(in, &u))
		return;
	must(url_is_web(in) && u.host.n > 0);
	must(inside(u.authority, in) && inside(u.path, in) && inside(u.host, u.authority));
	must(u.host.p == u.authority.p && !has_any(u.authority, "/\\?#@"));
	must(u.host.p[0] == '[' || !has_any(u.host, ":"));
	/* What is left out of authority and path is the scheme, a user, and nothing else. */
	must(u.path.n == 0 || u.path.p + u.path.n == in.p + in.n);
	must(u.path.n == 0 || has_any(span_cut(u.path, 0, 1), "/\\?#"));
	must(u.path.n == 0 ? u.authority.p + u.authority.n == in.p + in.n : u.authority.p + u.authority.n == u.path.p);
	must(url_in_domain(u.host, u.host) || span_starts(u.host, SPAN(".")));
}

/* Every way there is; so only for short ones. */
static bool
fits(struct span url, struct span pattern)
{
	if (pattern.n == 0)
		return url.n == 0;
	if (pattern.p[0] == '*')
		return fits(url, span_from(pattern, 1)) || (url.n > 0 && fits(span_from(url, 1), pattern));
	return url.n > 0 && ascii_lower(url.p[0]) == ascii_lower(pattern.p[0]) && fits(span_from(url, 1), span_from(pattern, 1));
}

static void
check_fits(struct span url, struct span pattern)
{
	struct span rest;

	url = span_cut(url, 0, 20);
	pattern = span_cut(pattern, 0, 6);
	rest = url;
	if (span_search(pattern, SPAN("://")) == pattern.n)
		rest = span_from(url, span_search(url, SPAN("://")) + 3);
	must(url_fits(url, pattern) == fits(rest, pattern));
	must(url_fits(url, SPAN("*")) && url_fits(url, SPAN("**")));
}

static struct span
decode(struct buf *out, struct span s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			must(s.p[i] > ' ' && s.p[i] < 0x7f && !has_any(span_cut(s, i, i + 1), ":/?#[]@!$&'()*+,;=\"<>\\^`{|}"));
			buf_addc(out, s.p[i]);
			continue;
		}
		must(i + 2 < s.n && strchr(hex, s.p[i + 1]) != NULL && strchr(hex, s.p[i + 2]) != NULL);
		buf_addc(out, (char)((strchr(hex, s.p[i + 1]) - hex) << 4 | (strchr(hex, s.p[i + 2]) - hex)));
		i += 2;
	}
	return buf_span(out);
}

static void
check_parameter(struct span url, struct span value)
{
	struct buf pair = BUF(SIZE_MAX), out = BUF(SIZE_MAX), plain = BUF(SIZE_MAX);
	size_t fragment = span_find(url, '#');
	struct span before = span_cut(url, 0, fragment), middle;

	buf_adds(&pair, "p~q=");
	url_encode(&pair, value);
	must(span_eq(decode(&plain, span_from(buf_span(&pair), 4)), value));
	url_add_parameter(&out, url, buf_span(&pair));
	must(url_has_parameter(buf_span(&out), SPAN("p~q")));
	must(!url_has_parameter(url, SPAN("p~q")) || span_search(before, SPAN("p~q")) < before.n);
	must(span_starts(buf_span(&out), before) && span_ends(buf_span(&out), span_from(url, fragment)));
	middle = span_cut(buf_span(&out), before.n, out.n - (url.n - fragment));
	if (middle.n == pair.n + 1) {
		must(middle.p[0] == (span_find(before, '?') < before.n ? '&' : '?'));
		middle = span_from(middle, 1);
	} else { /* there is a separator already */
		must(span_ends(before, SPAN("?")) || span_ends(before, SPAN("&")));
	}
	must(span_eq(middle, buf_span(&pair)));
	buf_free(&pair);
	buf_free(&out);
	buf_free(&plain);
}

static size_t
scheme(struct span s)
{
	return span_istarts(s, SPAN("http://")) ? 7 : span_istarts(s, SPAN("https://")) ? 8 : 0;
}

static bool
is_word(char c)
{
	char l = ascii_lower(c);

	return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Is there the beginning of a URL between from and to, with a letter behind it that cannot be punctuation? */
static void
none_between(struct span text, bool utf8, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		size_t n = scheme(span_from(text, i));
		char before = i > 0 ? text.p[i - 1] : ' ';

		must(n == 0 || i + n >= text.n || !is_word(text.p[i + n]) || is_word(before) || (!utf8 && (unsigned char)before > 0x7f));
	}
}

static void
check_plain(struct span text, bool utf8)
{
	struct plain_url u;
	size_t at = 0, done = 0;

	while (plain_next(text, utf8, &at, &u)) {
		struct span url = span_cut(text, u.start, u.end);

		must(u.start >= done && u.end > u.start && u.end <= at && at <= text.n);
		must(scheme(url) > 0 && url.n > scheme(url));
		must(!has_any(url, " \t\r\n\f\v\"<>`\x7f") && !has_any(span_from(url, url.n - 1), ".,:;!?'*|"));
		for (size_t i = 0; i < url.n; i++)
			must((unsigned char)url.p[i] > ' ' && (utf8 || (unsigned char)url.p[i] < 0x80));
		must(text_is_utf8(url));
		must(u.start == 0 || !is_word(text.p[u.start - 1]));
		must(!u.placeholder || (text.p[u.start - 1] == '|' && (text.p[u.end] == '}' || text.p[u.end] == '|')));
		none_between(text, utf8, done, u.start);
		done = at;
	}
	must(at == text.n);
	none_between(text, utf8, done, text.n);
}

/* The same again and again: 300 KB of it. */
static void
check_long(struct span unit, bool utf8)
{
	struct buf text = BUF(1 << 20);
	struct plain_url u;

	while (unit.n > 0 && text.n < 300000)
		buf_add(&text, unit);
	for (size_t at = 0; plain_next(buf_span(&text), utf8, &at, &u);)
		continue;
	url_has_merge_tag(buf_span(&text));
	url_is_shown(buf_span(&text));
	buf_free(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_make(data, size), first;
	unsigned flags;

	if (size == 0)
		return 0;
	flags = data[0];
	in = span_from(in, 1);
	first = span_cut(in, 0, span_find(in, '\n'));
	check_split(first);
	check_fits(first, span_from(in, first.n + 1));
	check_parameter(first, span_from(in, first.n + 1));
	check_plain(in, flags & 1);
	url_is_shown(in);
	if (flags >> 4 == 15 && size % 32 == 0)
		check_long(in, flags & 1);
	return 0;
}
