#include "milter/url.h"

#include "common/scan.h"
#include "common/text.h"

/* Where what names the server ends. */
static size_t
authority_end(struct span s)
{
	static const bool ends[256] = { ['/'] = true, ['\\'] = true, ['?'] = true, ['#'] = true };
	size_t i = 0;

	while (i < s.n && !ends[(unsigned char)s.p[i]])
		i++;
	return i;
}

bool
url_is_web(struct span s)
{
	return (span_istarts(s, SPAN("http://")) && s.n > 7) || (span_istarts(s, SPAN("https://")) && s.n > 8);
}

bool
url_split(struct span s, struct url *u)
{
	size_t i, at;

	if (!url_is_web(s))
		return false;
	s = span_from(s, ascii_lower(s.p[4]) == 's' ? 8 : 7);
	i = authority_end(s);
	u->authority = span_cut(s, 0, i);
	u->path = span_from(s, i);
	while ((at = span_find(u->authority, '@')) < u->authority.n)
		u->authority = span_from(u->authority, at + 1);
	u->host = u->authority;
	if (u->host.n > 0 && u->host.p[0] == '[')
		u->host = span_cut(u->host, 0, span_find(u->host, ']') + 1);
	else
		u->host = span_cut(u->host, 0, span_find(u->host, ':'));
	if (span_ends(u->host, SPAN(".")))
		u->host.n--;
	return u->host.n > 0;
}

bool
url_in_domain(struct span host, struct span domain)
{
	if (span_starts(domain, SPAN(".")))
		domain = span_from(domain, 1);
	return domain.n > 0 && span_iends(host, domain) &&
	    (host.n == domain.n || host.p[host.n - domain.n - 1] == '.');
}

/* Greedy, with one way back: to the last "*", which takes one character more. */
bool
url_fits(struct span url, struct span pattern)
{
	size_t i = 0, k = 0, star = pattern.n, after = 0;

	if (span_search(pattern, SPAN("://")) == pattern.n)
		url = span_from(url, span_search(url, SPAN("://")) + 3);
	while (i < url.n) {
		if (k < pattern.n && pattern.p[k] == '*') {
			star = k++;
			after = i;
		} else if (k < pattern.n && ascii_lower(pattern.p[k]) == ascii_lower(url.p[i])) {
			k++;
			i++;
		} else if (star < pattern.n) {
			k = star + 1;
			i = ++after;
		} else {
			return false;
		}
	}
	while (k < pattern.n && pattern.p[k] == '*')
		k++;
	return k == pattern.n;
}

bool
url_has_merge_tag(struct span s)
{
	static const struct {
		struct span open, close;
	} tags[] = {
		{ SPAN("{"), SPAN("}") }, { SPAN("%%"), SPAN("%%") }, { SPAN("*|"), SPAN("|*") },
		{ SPAN("[["), SPAN("]]") },
	};

	if (scan_either(s, 0, '{', '%') == s.n && scan_either(s, 0, '*', '[') == s.n) /* most have nothing of the kind */
		return false;
	for (size_t i = 0; i < sizeof tags / sizeof *tags && s.n > 0; i++) {
		struct span rest = span_from(s, span_search(s, tags[i].open));

		rest = span_from(rest, tags[i].open.n);
		if (rest.n > 0 && span_search(rest, tags[i].close) < rest.n)
			return true;
	}
	return false;
}

/* ---- link text that is itself a URL ---- */

static struct span
trim_text(struct span s)
{
	struct span before;

	do {
		before = s = span_trim(s);
		if (span_starts(s, SPAN("\xc2\xa0")))
			s = span_from(s, 2);
		if (span_ends(s, SPAN("\xc2\xa0")))
			s.n -= 2;
	} while (s.n < before.n);
	return s;
}

static bool
is_letter(char c)
{
	char l = ascii_lower(c);

	return (l >= 'a' && l <= 'z') || (unsigned char)c > 0x7f;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Two labels or more, the last of letters. */
static bool
is_host(struct span s)
{
	struct span label = SPAN("");
	size_t n = 0;

	if (span_ends(s, SPAN(".")))
		return false;
	while (span_split(&s, '.', &label)) {
		if (label.n == 0)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!is_letter(label.p[i]) && !is_digit(label.p[i]) && label.p[i] != '-')
				return false;
		n++;
	}
	if (n < 2 || label.n < 2)
		return false;
	for (size_t i = 0; i < label.n && !span_istarts(label, SPAN("xn--")); i++)
		if (!is_letter(label.p[i]))
			return false;
	return true;
}

bool
url_is_shown(struct span s)
{
	size_t i;

	s = trim_text(s);
	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ')
			return false;
	if (url_is_web(s) || (span_istarts(s, SPAN("www.")) && s.n > 4))
		return true;
	for (i = 0; i < s.n && strchr("/?#:", s.p[i] ? s.p[i] : 'x') == NULL;)
		i++;
	return is_host(span_cut(s, 0, i));
}

/* ---- the query ---- */

bool
url_has_parameter(struct span url, struct span name)
{
	struct span query = span_cut(url, 0, span_find(url, '#')), pair;

	query = span_from(query, span_find(query, '?') + 1);
	while (span_split(&query, '&', &pair))
		if (span_eq(span_cut(pair, 0, span_find(pair, '=')), name))
			return true;
	return false;
}

void
url_add_parameter(struct buf *out, struct span url, struct span pair)
{
	size_t fragment = span_find(url, '#');
	struct span before = span_cut(url, 0, fragment);
	size_t query = span_find(before, '?');

	buf_add(out, before);
	if (query == before.n)
		buf_addc(out, '?');
	else if (query + 1 < before.n && before.p[before.n - 1] != '&')
		buf_addc(out, '&');
	buf_add(out, pair);
	buf_add(out, span_from(url, fragment));
}

void
url_encode(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c < 0x80 && c > 0 && (is_letter((char)c) || is_digit((char)c) || strchr("-_.~", c) != NULL))
			buf_addc(out, (char)c);
		else
			text_add_percent(out, text.p[i]);
	}
}
