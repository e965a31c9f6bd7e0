#include "common/text.h"

#include <stdio.h>
#include <time.h>

#include "common/scan.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool
text_u64(struct span s, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(s.p[i] - '0');

		if (!is_digit(s.p[i]) || v > (UINT64_MAX - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*out = v;
	return true;
}

struct unit {
	const char *word;
	uint64_t size;
};

/* From large to small, as they are printed. */
static const struct unit durations[] = {
	{ "w", 7 * (uint64_t)DAY_MS }, { "d", DAY_MS }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 }
};
static const struct unit sizes[] = {
	{ "G", 1 << 30 }, { "M", 1 << 20 }, { "k", 1 << 10 }, { "", 1 }, { NULL, 0 }
};

static bool
quantity(struct span s, const struct unit *units, uint64_t max, uint64_t *out)
{
	size_t digits = 0;
	uint64_t v;

	while (digits < s.n && is_digit(s.p[digits]))
		digits++;
	if (!text_u64(span_cut(s, 0, digits), &v))
		return false;
	for (; units->word != NULL; units++) {
		if (!span_ieq(span_from(s, digits), span_of(units->word)))
			continue;
		if (v > max / units->size)
			return false;
		*out = v * units->size;
		return true;
	}
	return false;
}

bool
text_duration(struct span s, int64_t *ms)
{
	uint64_t v;

	if (span_eq(s, SPAN("0"))) {
		*ms = 0;
		return true;
	}
	if (!quantity(s, durations, INT64_MAX, &v))
		return false;
	*ms = (int64_t)v;
	return true;
}

bool
text_size(struct span s, uint64_t *bytes)
{
	return quantity(s, sizes, UINT64_MAX, bytes);
}

static void
add_quantity(struct buf *b, uint64_t v, const struct unit *units)
{
	while (v % units->size != 0)
		units++;
	buf_addf(b, "%llu%s", (unsigned long long)(v / units->size), units->word);
}

void
text_add_duration(struct buf *b, int64_t ms)
{
	/* Weeks only when somebody asks for them: "30d" stays "30d", and "28d" does not become "4w". */
	if (ms == 0)
		buf_adds(b, "0");
	else
		add_quantity(b, (uint64_t)ms, durations + 1);
}

void
text_add_size(struct buf *b, uint64_t bytes)
{
	if (bytes == 0)
		buf_adds(b, "0");
	else
		add_quantity(b, bytes, sizes);
}

/* n digits at *at; moves on. */
static bool
digits(struct span s, size_t *at, size_t n, int *out)
{
	uint64_t v;

	if (*at + n > s.n || !text_u64(span_cut(s, *at, *at + n), &v))
		return false;
	*at += n;
	*out = (int)v;
	return true;
}

static bool
literal(struct span s, size_t *at, char c)
{
	if (*at >= s.n || ascii_lower(s.p[*at]) != ascii_lower(c))
		return false;
	(*at)++;
	return true;
}

/* RFC 3339 section 5.6: time-secfrac and time-offset. */
static bool
fraction_and_zone(struct span s, size_t *at, int64_t *ms)
{
	int64_t unit = 100;
	int hours, minutes, sign;

	if (literal(s, at, '.')) {
		size_t start = *at;

		for (; *at < s.n && is_digit(s.p[*at]); (*at)++, unit /= 10)
			*ms += (s.p[*at] - '0') * unit;
		if (*at == start)
			return false;
	}
	if (literal(s, at, 'Z'))
		return true;
	sign = literal(s, at, '+') ? 1 : literal(s, at, '-') ? -1 : 0;
	if (sign == 0 || !digits(s, at, 2, &hours) || !literal(s, at, ':') || !digits(s, at, 2, &minutes) ||
	    hours > 23 || minutes > 59)
		return false;
	*ms -= sign * (hours * 60 + minutes) * (int64_t)60000;
	return true;
}

static bool
is_date(const struct tm *tm)
{
	static const int lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year = tm->tm_year + 1900;
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return tm->tm_mon >= 0 && tm->tm_mon < 12 && tm->tm_mday >= 1 && tm->tm_mday <= lengths[tm->tm_mon] &&
	    (tm->tm_mon != 1 || tm->tm_mday < 29 || leap) && tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

bool
text_time(struct span s, int64_t *out)
{
	struct tm tm = { 0 };
	uint64_t seconds;
	size_t at = 0;
	int64_t ms = 0;

	if (text_u64(s, &seconds)) {
		if (seconds > INT64_MAX / 1000)
			return false;
		*out = (int64_t)seconds * 1000;
		return true;
	}
	if (!digits(s, &at, 4, &tm.tm_year) || !literal(s, &at, '-') || !digits(s, &at, 2, &tm.tm_mon) ||
	    !literal(s, &at, '-') || !digits(s, &at, 2, &tm.tm_mday))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	if (at < s.n && (!(literal(s, &at, 'T') || literal(s, &at, ' ')) || !digits(s, &at, 2, &tm.tm_hour) ||
			    !literal(s, &at, ':') || !digits(s, &at, 2, &tm.tm_min) || !literal(s, &at, ':') ||
			    !digits(s, &at, 2, &tm.tm_sec) || !fraction_and_zone(s, &at, &ms)))
		return false;
	if (at != s.n || !is_date(&tm))
		return false;
	*out = (int64_t)timegm(&tm) * 1000 + ms;
	return true;
}

static void
add_time(struct buf *b, int64_t ms, const char *fmt)
{
	/* Rounds down, before 1970 too. */
	time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
	struct tm tm;
	char out[64];

	if (gmtime_r(&seconds, &tm) == NULL)
		buf_adds(b, "?");
	else
		buf_add(b, span_make(out, strftime(out, sizeof out, fmt, &tm)));
}

void
text_add_time(struct buf *b, int64_t ms)
{
	add_time(b, ms, "%Y-%m-%dT%H:%M:%SZ");
}

void
text_add_day(struct buf *b, int64_t ms)
{
	add_time(b, ms, "%Y-%m-%d");
}

static const char hex[] = "0123456789abcdef";

void
text_add_hex(struct buf *b, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	char *room = buf_room(b, 2 * n);

	if (room == NULL)
		return;
	for (size_t i = 0; i < n; i++) {
		*room++ = hex[p[i] >> 4];
		*room++ = hex[p[i] & 15];
	}
	buf_grew(b, 2 * n);
}

bool
text_hex(struct span s, void *out, size_t n)
{
	unsigned char *p = out;

	if (s.n != 2 * n)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		const char *d = s.p[i] ? strchr(hex, ascii_lower(s.p[i])) : NULL;

		if (d == NULL)
			return false;
		p[i / 2] = (unsigned char)(i % 2 ? p[i / 2] << 4 | (d - hex) : d - hex);
	}
	return true;
}

const char *
text_name(const char *const *names, size_t n, size_t i)
{
	return i < n ? names[i] : "unknown";
}

size_t
text_find_name(const char *const *names, size_t n, struct span s)
{
	size_t i = 0;

	while (i < n && !span_ieq(s, span_of(names[i])))
		i++;
	return i;
}

size_t
text_utf8(struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t n;

	if (s.n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
	if (n == 0 || s.n < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what is past U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool
text_is_ascii(struct span s)
{
	return scan_high(s, 0) == s.n;
}

bool
text_is_utf8(struct span s)
{
	size_t n;

	for (; s.n > 0; s = span_from(s, n))
		if ((n = text_utf8(s)) == 0)
			return false;
	return true;
}

void
text_add_json(struct buf *b, struct span s)
{
	size_t n;

	buf_addc(b, '"');
	for (; s.n > 0; s = span_from(s, n ? n : 1)) {
		unsigned char c = (unsigned char)s.p[0];

		n = text_utf8(s);
		if (n == 0)
			buf_adds(b, "\\ufffd");
		else if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			buf_addf(b, "\\u%04x", c);
		else
			buf_add(b, span_cut(s, 0, n));
	}
	buf_addc(b, '"');
}

void
text_add_csv(struct buf *b, struct span s)
{
	bool quote = false;

	for (size_t i = 0; i < s.n; i++)
		if (strchr(",;\t\"\r\n", s.p[i]) != NULL || s.p[i] == '\0')
			quote = true;
	if (!quote) {
		buf_add(b, s);
		return;
	}
	buf_addc(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			buf_addc(b, '"');
		buf_addc(b, s.p[i]);
	}
	buf_addc(b, '"');
}

void
text_add_percent(struct buf *b, char c)
{
	static const char digit[] = "0123456789ABCDEF";

	buf_add(b, span_make((const char[]){ '%', digit[(unsigned char)c >> 4], digit[c & 15] }, 3));
}

void
text_add_html(struct buf *b, struct span s)
{
	static const char *const references[] = {
		['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;",
	};
	size_t done = 0;

	for (size_t i = scan_markup(s, 0); i < s.n; i = scan_markup(s, done)) {
		buf_add(b, span_cut(s, done, i));
		buf_adds(b, references[(unsigned char)s.p[i]]);
		done = i + 1;
	}
	buf_add(b, span_from(s, done));
}

#define DISTANCE_MAX 64 /* longer words are not typing errors of ours */

unsigned
text_distance(struct span a, struct span b)
{
	unsigned row[3][DISTANCE_MAX + 1];
	unsigned *before = row[0], *last = row[1], *now = row[2];

	if (a.n > DISTANCE_MAX || b.n > DISTANCE_MAX)
		return (unsigned)(a.n > b.n ? a.n : b.n);
	for (unsigned j = 0; j <= b.n; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *spare = before;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned d = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);

			d = d < last[j] + 1 ? d : last[j] + 1;
			d = d < now[j - 1] + 1 ? d : now[j - 1] + 1;
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && before[j - 2] + 1 < d)
				d = before[j - 2] + 1;
			now[j] = d;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[b.n];
}

/*
 * Takes one parameter, ` name=value`, from what stands between semicolons.
 * In a quoted value a semicolon is one like any other byte (RFC 9110 section
 * 5.6.6); no value that we look for has anything to unescape.
 */
static void
next_parameter(struct span *rest, struct span *name, struct span *value)
{
	size_t i = 0, start;
	bool quoted = false;

	while (i < rest->n && rest->p[i] != '=' && rest->p[i] != ';')
		i++;
	*name = span_trim(span_cut(*rest, 0, i));
	*value = span_cut(*rest, i, i);
	if (i < rest->n && rest->p[i] == '=') {
		start = ++i;
		if (i < rest->n && rest->p[i] == '"') {
			quoted = true;
			start = ++i;
			while (i < rest->n && rest->p[i] != '"')
				i += rest->p[i] == '\\' ? 2 : 1;
			*value = span_cut(*rest, start, i);
		}
		while (i < rest->n && rest->p[i] != ';')
			i++;
		if (!quoted)
			*value = span_trim(span_cut(*rest, start, i));
	}
	*rest = span_from(*rest, i + 1);
}

struct span
text_parameter(struct span header, struct span wanted)
{
	struct span rest = span_from(header, span_find(header, ';') + 1), name, value;

	while (rest.n > 0) {
		next_parameter(&rest, &name, &value);
		if (span_ieq(name, wanted))
			return value;
	}
	return (struct span){ 0 };
}
