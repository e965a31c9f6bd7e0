/* http.c -- a strict HTTP/1.1 request reader over bytes that may arrive one at a time. */
#include <assert.h>
#include <stdio.h>

#include "common/scan.h"
#include "common/text.h"
#include "tracker/http.h"

/* What a byte may be part of. */
#define TCHAR 0x01 /* token: methods and field names (RFC 9110 section 5.6.2) */
#define URI 0x02   /* URI characters (RFC 3986), % among them, # not */
#define TEXT 0x04  /* field values: visible, space, tab, obs-text */
#define HOST 0x08  /* a host's name (RFC 3986 section 3.2.2), % among them */
#define PLAIN 0x10 /* of URI and HOST all but % */

#define T TCHAR
#define U (URI | PLAIN)
#define X TEXT
#define H HOST
static const unsigned char kind[256] = {
	['\t'] = X, [' '] = X,
	['!'] = T | U | X | H, ['"'] = X, ['#'] = T | X, ['$'] = T | U | X | H, ['%'] = T | URI | X | H,
	['&'] = T | U | X | H, ['\''] = T | U | X | H, ['('] = U | X | H, [')'] = U | X | H, ['*'] = T | U | X | H,
	['+'] = T | U | X | H, [','] = U | X | H, ['-'] = T | U | X | H, ['.'] = T | U | X | H, ['/'] = U | X,
	['0' ... '9'] = T | U | X | H,
	[':'] = U | X, [';'] = U | X | H, ['<'] = X, ['='] = U | X | H, ['>'] = X, ['?'] = U | X, ['@'] = U | X,
	['A' ... 'Z'] = T | U | X | H,
	['['] = U | X, ['\\'] = X, [']'] = U | X, ['^'] = T | X, ['_'] = T | U | X | H, ['`'] = T | X,
	['a' ... 'z'] = T | U | X | H,
	['{'] = X, ['|'] = T | X, ['}'] = X, ['~'] = T | U | X | H,
	[128 ... 255] = X,
};
#undef T
#undef U
#undef X
#undef H

static bool
is(char c, unsigned char what)
{
	return (kind[(unsigned char)c] & what) != 0;
}

/*
 * What each of them may be part of.  To the end whatever comes: nearly
 * everything is good, and without a branch for each byte that takes half of
 * the time.
 */
static unsigned
common_kind(struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n;
	unsigned common = 0xff;

	for (; end - p >= 4; p += 4)
		common &= (unsigned)(kind[p[0]] & kind[p[1]]) & (unsigned)(kind[p[2]] & kind[p[3]]);
	for (; p < end; p++)
		common &= kind[*p];
	return common;
}

static int
refuse(struct http_request *r, unsigned status)
{
	r->status = status;
	return -1;
}

/* How many bytes are at least plain ones of a path, looked at sixteen at a time: all of most paths but an end. */
static size_t
skip_plain(struct span s)
{
	size_t i = 0;

#ifdef __SSE2__
	for (; i + SCAN_BLOCK <= s.n; i += SCAN_BLOCK) {
		scan_block v = scan_load(s.p + i), low = _mm_or_si128(v, _mm_set1_epi8(0x20));
		scan_block letter = scan_upto(_mm_sub_epi8(low, _mm_set1_epi8('a')), 'z' - 'a');
		scan_block other = scan_upto(_mm_sub_epi8(v, _mm_set1_epi8('-')), '9' - '-'); /* - . / and the digits */

		if (scan_mask(_mm_or_si128(_mm_or_si128(letter, other), scan_equals(v, '_'))) != 0xffff)
			break;
	}
#endif
	return i;
}

/* Where each line ends, behind its LF; those that an earlier look went past are not in it. */
struct lines {
	uint16_t end[1 + HTTP_FIELDS_MAX];
};

/* The first byte from `at` on that may not be in a field's value; `stop` when there is none. */
static size_t
skip_text(struct span in, size_t at, size_t stop)
{
	in.n = stop;
	while ((at = scan_control(in, at)) < stop && in.p[at] == '\t')
		at++;
	return at;
}

/* What is here of the line that the search has got to.  As scan_head, and 0 where there is one more to look at. */
static inline int
scan_line(struct http_scan *s, struct http_request *r, struct span in, struct lines *lines)
{
	/* at is below HTTP_HEAD_MAX here, so the limits below cannot be jumped over. */
	size_t at = s->at, stop = s->lines == 0 ? (size_t)s->line + HTTP_LINE_MAX : HTTP_HEAD_MAX;

	if (!s->cr) {
		at = skip_text(in, at, stop < in.n ? stop : in.n);
		s->at = (uint16_t)at;
		if (at == in.n)
			return 0;
		if (is(in.p[at], TEXT))
			return refuse(r, s->lines == 0 ? 414 : 431);
		if (at >= HTTP_HEAD_MAX)
			return refuse(r, 431);
		if (in.p[at] != '\r')
			return refuse(r, 400);
		s->at = (uint16_t)++at;
		s->cr = true;
		if (at == in.n)
			return 0;
	}
	if (at >= HTTP_HEAD_MAX)
		return refuse(r, 431);
	if (in.p[at] != '\n')
		return refuse(r, 400);

	bool empty = ++at - s->line == 2, first = !s->began;

	s->cr = false;
	s->began = true;
	s->at = s->line = (uint16_t)at;
	if (empty && first) /* RFC 9112 section 2.2: one empty line in front is forgiven. */
		return 0;
	if (empty)
		return s->lines == 0 ? refuse(r, 400) : (int)at;
	if (s->lines == 1 + HTTP_FIELDS_MAX)
		return refuse(r, 431);
	lines->end[s->lines++] = s->at;
	return 0;
}

/*
 * Finds the empty line, and on the way refuses every byte and every size that
 * could make two readers see two different requests.  Refusals depend on the
 * position only, never on how many bytes happened to be there.
 */
static int
scan_head(struct http_scan *scan, struct http_request *r, struct span in, struct lines *lines)
{
	struct http_scan s = *scan;
	int n = 0;

	while (n == 0 && s.at < in.n)
		n = scan_line(&s, r, in, lines);
	*scan = s;
	return n;
}

static bool
read_method(struct http_request *r, struct span m)
{
	static const char *const others[] = { "PUT", "DELETE", "TRACE", "CONNECT", "PATCH" };

	if (m.n == 0 || !(common_kind(m) & TCHAR)) {
		r->status = 400;
		return false;
	}
	if (span_eq(m, SPAN("GET")))
		r->method = HTTP_GET;
	else if (span_eq(m, SPAN("HEAD")))
		r->method = HTTP_HEAD;
	else if (span_eq(m, SPAN("POST")))
		r->method = HTTP_POST;
	else if (span_eq(m, SPAN("OPTIONS")))
		r->method = HTTP_OPTIONS;
	else {
		r->method = HTTP_OTHER;
		for (size_t i = 0; i < sizeof others / sizeof *others; i++)
			if (span_eq(m, span_of(others[i])))
				return true;
		r->status = 501;
		return false;
	}
	return true;
}

static bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f');
}

/* These characters only, and every % begins an escape. */
static bool
is_escaped(struct span s, unsigned char what)
{
	unsigned common = common_kind(s);

	if (!(common & what))
		return false;
	if (common & PLAIN)
		return true;
	while ((s = span_from(s, span_find(s, '%'))).n > 0) {
		if (s.n < 3 || !is_hex(s.p[1]) || !is_hex(s.p[2]))
			return false;
		s = span_from(s, 3);
	}
	return true;
}

/* uri-host [ ":" port ], without userinfo. */
static bool
is_host(struct span s)
{
	size_t end = s.n > 0 && s.p[0] == '[' ? span_find(s, ']') : 0;

	if (end > 0) {
		if (end == s.n || end == 1)
			return false;
		for (size_t i = 1; i < end; i++)
			if (!is_hex(s.p[i]) && s.p[i] != ':' && s.p[i] != '.')
				return false;
		end++;
	} else {
		end = span_find(s, ':');
		if (!is_escaped(span_cut(s, 0, end), HOST))
			return false;
	}
	if (end < s.n && s.p[end++] != ':')
		return false;
	for (; end < s.n; end++)
		if (s.p[end] < '0' || s.p[end] > '9')
			return false;
	return true;
}

/* origin-form, absolute-form; asterisk- and authority-form only with the methods that have them. */
static bool
read_target(struct http_request *r, struct span target, bool connect, bool options)
{
	size_t skip = span_istarts(target, SPAN("http://")) ? 7 : span_istarts(target, SPAN("https://")) ? 8 : 0;

	if (target.n == 0 || !is_escaped(span_from(target, skip_plain(target)), URI))
		return false;
	if (connect) {
		r->path = span_cut(target, 0, 0);
		return is_host(target);
	}
	if (options && span_eq(target, SPAN("*"))) {
		r->path = target;
		return true;
	}
	if (skip > 0) {
		struct span rest = span_from(target, skip);
		size_t n = 0;

		while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
			n++;
		r->host = span_cut(rest, 0, n);
		if (n == 0 || rest.p[0] == ':' || !is_host(r->host))
			return false;
		target = span_from(rest, n);
	} else if (target.p[0] != '/')
		return false;

	size_t mark = span_find(target, '?');

	r->path = span_cut(target, 0, mark);
	r->query = span_from(target, mark + 1);
	if (r->path.n == 0)
		r->path = SPAN("/");
	return true;
}

static bool
read_version(struct http_request *r, struct span v)
{
	if (span_eq(v, SPAN("HTTP/1.1")))
		return true;
	if (span_eq(v, SPAN("HTTP/1.0"))) {
		r->http10 = true;
		return true;
	}
	bool other = v.n == 8 && span_starts(v, SPAN("HTTP/")) && v.p[5] >= '0' && v.p[5] <= '9' && v.p[6] == '.'
	    && v.p[7] >= '0' && v.p[7] <= '9';
	/* RFC 9110 section 2.5: a later 1.x is read as 1.1. */
	if (other && v.p[5] == '1')
		return true;
	r->status = other ? 505 : 400;
	return false;
}

static bool
read_line(struct http_request *r, struct span line)
{
	size_t a = span_find(line, ' ');
	struct span method = span_cut(line, 0, a), rest = span_from(line, a + 1);
	size_t b = span_find(rest, ' ');

	r->status = 400;
	if (a == line.n || b == rest.n)
		return false;
	if (!read_version(r, span_from(rest, b + 1)) || !read_method(r, method))
		return false;
	r->status = 400;
	return read_target(r, span_cut(rest, 0, b), span_eq(method, SPAN("CONNECT")), span_eq(method, SPAN("OPTIONS")));
}

/* What only the whole head can tell. */
struct seen {
	bool host, length, encoding, close, keep_alive, expect, expect_other, too_large;
	bool chunked, unknown; /* the last coding is chunked; there is one that we do not do */
};

static void
read_connection(struct seen *seen, struct span value)
{
	struct span word;

	while (span_split(&value, ',', &word)) {
		word = span_trim(word);
		if (span_ieq(word, SPAN("close")))
			seen->close = true;
		else if (span_ieq(word, SPAN("keep-alive")))
			seen->keep_alive = true;
	}
}

/* Digits only: a sign, a list or a space is how requests are smuggled. */
static bool
read_length(struct http_request *r, struct seen *seen, struct span value)
{
	if (seen->length || value.n == 0)
		return false;
	seen->length = true;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
		if (r->length <= HTTP_BODY_MAX)
			r->length = r->length * 10 + (size_t)(value.p[i] - '0');
	}
	seen->too_large = r->length > HTTP_BODY_MAX;
	return true;
}

/*
 * Several fields are one list (RFC 9112 section 6.1), in which chunked comes
 * last, and once.  An empty one would add nothing to it; but some look at the
 * first field alone, or at the last.
 */
static bool
read_encoding(struct seen *seen, struct span value)
{
	struct span word;

	seen->encoding = true;
	if (value.n == 0 || span_ends(value, SPAN(",")))
		return false;
	while (span_split(&value, ',', &word)) {
		if (seen->chunked)
			return false;
		word = span_trim(word);
		if (span_ieq(word, SPAN("chunked")))
			seen->chunked = true;
		else
			seen->unknown = true;
	}
	return true;
}

/* Of a repeated header that says nothing about framing, the first one holds. */
static bool
keep_first(struct span *to, struct span value)
{
	if (to->n == 0)
		*to = value;
	return true;
}

static bool
read_field(struct http_request *r, struct seen *seen, struct span line)
{
	size_t colon = scan_either(line, 0, ':', ':'); /* names are short */
	struct span name = span_cut(line, 0, colon), value = span_trim(span_from(line, colon + 1));

	if (colon == 0 || colon == line.n)
		return false;
	switch (name.n) {
	case 4:
		if (!span_ieq(name, SPAN("Host")))
			break;
		if (seen->host || !is_host(value))
			return false;
		seen->host = true;
		return keep_first(&r->host, value); /* the target's, if it has one */
	case 5:
		if (span_ieq(name, SPAN("X-Moz")))
			return keep_first(&r->x_moz, value);
		break;
	case 6:
		if (!span_ieq(name, SPAN("Expect")))
			break;
		if (span_ieq(value, SPAN("100-continue")))
			seen->expect = true;
		else
			seen->expect_other = true;
		break;
	case 7:
		if (span_ieq(name, SPAN("Purpose")))
			return keep_first(&r->purpose, value);
		break;
	case 9:
		if (span_ieq(name, SPAN("X-Purpose")))
			return keep_first(&r->x_purpose, value);
		break;
	case 10:
		if (span_ieq(name, SPAN("User-Agent")))
			return keep_first(&r->agent, value);
		if (span_ieq(name, SPAN("Connection")))
			read_connection(seen, value);
		break;
	case 11:
		if (span_ieq(name, SPAN("Sec-Purpose")))
			return keep_first(&r->sec_purpose, value);
		break;
	case 12:
		if (span_ieq(name, SPAN("Content-Type")))
			return keep_first(&r->content_type, value);
		break;
	case 14:
		if (span_ieq(name, SPAN("Content-Length")))
			return read_length(r, seen, value);
		break;
	case 15:
		if (span_ieq(name, SPAN("Accept-Language")))
			return keep_first(&r->accept_language, value);
		break;
	case 17:
		if (span_ieq(name, SPAN("Transfer-Encoding")))
			return read_encoding(seen, value);
		break;
	}
	return (common_kind(name) & TCHAR) != 0;
}

/* 0, or the status of a refusal. */
static unsigned
check(struct http_request *r, const struct seen *seen)
{
	if (!r->http10 && !seen->host)
		return 400;
	/* Where the body ends has to be beyond doubt. */
	if (seen->encoding && (seen->length || r->http10 || !seen->chunked))
		return 400;
	if (seen->encoding && seen->unknown)
		return 501;
	if (seen->too_large)
		return 413;
	r->chunked = seen->encoding;
	if ((r->length > 0 || r->chunked) && (r->method == HTTP_GET || r->method == HTTP_HEAD))
		return 400;
	if (seen->expect_other && !r->http10)
		return 417;
	r->keep = !seen->close && (!r->http10 || seen->keep_alive);
	r->expects = seen->expect && !r->http10 && (r->length > 0 || r->chunked);
	return 0;
}

/* n lines and the empty one; scan_head saw that each ends in CRLF and has no other control but tabs. */
static bool
read_head(struct http_request *r, struct span head, const struct lines *lines, size_t n)
{
	struct seen seen = { 0 };
	size_t at = span_starts(head, SPAN("\r\n")) ? 2 : 0;

	if (!read_line(r, span_cut(head, at, lines->end[0] - 2)))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!read_field(r, &seen, span_cut(head, lines->end[i - 1], lines->end[i] - 2))) {
			r->status = 400;
			return false;
		}
	r->status = check(r, &seen);
	return r->status == 0;
}

int
http_read(struct http_scan *scan, struct http_request *r, struct span in)
{
	struct lines lines;
	bool whole = scan->at == 0;
	int n;

	*r = (struct http_request){ 0 };
	if ((n = scan_head(scan, r, in, &lines)) <= 0)
		return n;
	if (!whole) { /* seldom: it came in pieces */
		*scan = (struct http_scan){ 0 };
		n = scan_head(scan, r, in, &lines);
	}
	return read_head(r, span_cut(in, 0, (size_t)n), &lines, scan->lines) ? n : -1;
}

/* ---- a body in chunks ---- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, NAME, VALUE, VALUE_LF, LAST_LF, OVER };

#define DIGITS_MAX 16

static unsigned
hex_value(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(ascii_lower(c) - 'a' + 10);
}

static bool
expect(struct http_chunks *s, bool good, unsigned state)
{
	s->state = (uint8_t)state;
	if (!good)
		s->status = 400;
	return good;
}

static bool
read_size(struct http_chunks *s, char c)
{
	unsigned size;

	if (is_hex(c)) {
		size = s->left * 16u + hex_value(c);
		s->left = (uint16_t)(size > HTTP_BODY_MAX ? HTTP_BODY_MAX + 1 : size);
		return expect(s, ++s->digits <= DIGITS_MAX, SIZE);
	}
	/* No space here: some drop it and some do not read on. */
	if (c == ';')
		return expect(s, s->digits > 0, EXTENSION);
	return expect(s, s->digits > 0 && c == '\r', SIZE_LF);
}

static bool
end_size(struct http_chunks *s, char c)
{
	if (!expect(s, c == '\n', s->left > 0 ? DATA : TRAILER))
		return false;
	s->digits = 0;
	s->length = (uint16_t)(s->length + s->left);
	if (s->length <= HTTP_BODY_MAX)
		return true;
	s->status = 413;
	return false;
}

/* One byte that is no data. */
static bool
read_frame(struct http_chunks *s, char c)
{
	switch (s->state) {
	case SIZE:
		return read_size(s, c);
	case EXTENSION:
		return is(c, TEXT) || expect(s, c == '\r', SIZE_LF);
	case SIZE_LF:
		return end_size(s, c);
	case DATA_CR:
		return expect(s, c == '\r', DATA_LF);
	case DATA_LF:
		return expect(s, c == '\n', SIZE);
	case TRAILER:
		return c == '\r' ? expect(s, true, LAST_LF) : expect(s, is(c, TCHAR), NAME);
	case NAME:
		return is(c, TCHAR) || expect(s, c == ':', VALUE);
	case VALUE:
		return is(c, TEXT) || expect(s, c == '\r', VALUE_LF);
	case VALUE_LF:
		return expect(s, c == '\n', TRAILER);
	default:
		return expect(s, c == '\n', OVER);
	}
}

int
http_chunked(struct http_chunks *s, struct span in)
{
	size_t stop = in.n < HTTP_CHUNKED_MAX ? in.n : HTTP_CHUNKED_MAX;

	while (s->at < stop) {
		if (s->state != DATA) {
			if (!read_frame(s, in.p[s->at++]))
				return -1;
			if (s->state == OVER)
				return s->at;
			continue;
		}
		size_t n = s->left < stop - s->at ? s->left : stop - s->at;

		s->at = (uint16_t)(s->at + n);
		s->left = (uint16_t)(s->left - n);
		if (s->left == 0)
			s->state = DATA_CR;
	}
	if (s->at < HTTP_CHUNKED_MAX)
		return 0;
	s->status = 413;
	return -1;
}

size_t
http_unchunk(char *p, size_t n)
{
	size_t from = 0, to = 0;

	for (;;) {
		size_t size = 0;

		for (; is_hex(p[from]); from++)
			size = size * 16 + hex_value(p[from]);
		if (size == 0)
			return to;
		from += span_find(span_make(p + from, n - from), '\n') + 1;
		memmove(p + to, p + from, size);
		to += size;
		from += size + 2;
	}
}

/* ---- small things ---- */

static bool
is_unreserved(unsigned char c)
{
	return ascii_alnum((char)c) || c == '-' || c == '.' || c == '_' || c == '~';
}

struct span
http_path(struct buf *scratch, struct span path)
{
	unsigned char byte;

	if (span_find(path, '%') == path.n)
		return path;
	buf_clear(scratch);
	for (size_t i = 0; i < path.n; i++) {
		if (path.p[i] == '%' && text_hex(span_cut(path, i + 1, i + 3), &byte, 1) && is_unreserved(byte)) {
			buf_addc(scratch, (char)byte);
			i += 2;
		} else
			buf_addc(scratch, path.p[i]);
	}
	return buf_span(scratch);
}

const char *
http_reason(unsigned status)
{
	switch (status) {
	case 200: return "OK";
	case 302: return "Found";
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	case 503: return "Service Unavailable";
	case 505: return "HTTP Version Not Supported";
	}
	return "Error";
}

/* Not strftime(3): its names follow the locale. */
void
http_date(char out[HTTP_DATE_BYTES], int64_t seconds)
{
	static const char days[7][4] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

	if (seconds < 0 || seconds > 253402300799) /* 9999-12-31: four digits */
		seconds = 0;

	/* Days to a date with years that begin in March, so that the leap day comes last. */
	unsigned day = (unsigned)(seconds / 86400), rest = (unsigned)(seconds % 86400);
	unsigned z = day + 719468, era = z / 146097, doe = z % 146097;
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), m = (5 * doy + 2) / 153;
	unsigned month = m < 10 ? m + 3 : m - 9, year = yoe + era * 400 + (month <= 2);

	int n = snprintf(out, HTTP_DATE_BYTES, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[day % 7],
	    doy - (153 * m + 2) / 5 + 1, months[month - 1], year % 10000, rest / 3600, rest / 60 % 60, rest % 60);
	assert(n == HTTP_DATE_BYTES - 1);
	(void)n;
}
