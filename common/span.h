/* span.h -- borrowed bytes.  A span owns nothing and may hold any byte, NUL included. */
#ifndef REKINDLE_SPAN_H
#define REKINDLE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(literal) ((struct span){ (literal), sizeof(literal) - 1 })
/* For printf: "%.*s". */
#define SPAN_ARG(s) (int)(s).n, (s).p

static inline struct span
span_of(const char *s)
{
	return (struct span){ s, s ? strlen(s) : 0 };
}

static inline struct span
span_make(const void *p, size_t n)
{
	return (struct span){ p, n };
}

/* The bytes from..to; both ends are clamped to the span. */
static inline struct span
span_cut(struct span s, size_t from, size_t to)
{
	if (to > s.n)
		to = s.n;
	if (from > to)
		from = to;
	return (struct span){ s.p ? s.p + from : s.p, to - from };
}

static inline struct span
span_from(struct span s, size_t from)
{
	return span_cut(s, from, s.n);
}

static inline bool
span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
span_starts(struct span s, struct span start)
{
	return s.n >= start.n && span_eq(span_cut(s, 0, start.n), start);
}

static inline bool
span_ends(struct span s, struct span end)
{
	return s.n >= end.n && span_eq(span_from(s, s.n - end.n), end);
}

/* Copies it to where there is room for it, and gives what is behind. */
static inline char *
span_put(char *to, struct span s)
{
	if (s.n > 0)
		memcpy(to, s.p, s.n);
	return to + s.n;
}

/* Index of the first c, or s.n when there is none. */
static inline size_t
span_find(struct span s, char c)
{
	const char *hit = s.n ? memchr(s.p, c, s.n) : NULL;

	return hit ? (size_t)(hit - s.p) : s.n;
}

/* ASCII only, whatever the locale: mail and HTTP keywords are ASCII. */
static inline char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool
ascii_alnum(char c)
{
	return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || (c >= '0' && c <= '9');
}

bool span_ieq_slowly(const char *, const char *, size_t n);

/* Most who write a name write it as everybody does; of a literal's length that is two or three instructions. */
static inline bool
span_ieq_bytes(const char *a, const char *b, size_t n)
{
	return n == 0 || memcmp(a, b, n) == 0 || span_ieq_slowly(a, b, n);
}

/* Equal, ASCII case ignored?  Most names that are compared differ in length already. */
static inline bool
span_ieq(struct span a, struct span b)
{
	return a.n == b.n && span_ieq_bytes(a.p, b.p, a.n);
}

static inline bool
span_istarts(struct span s, struct span start)
{
	return s.n >= start.n && span_ieq_bytes(s.p, start.p, start.n);
}

static inline bool
span_iends(struct span s, struct span end)
{
	return s.n >= end.n && span_ieq(span_from(s, s.n - end.n), end);
}

size_t span_search(struct span, struct span needle);  /* index, or n when absent */
size_t span_isearch(struct span, struct span needle); /* the same, ASCII case ignored */
uint64_t span_hash(struct span);                      /* for tables in memory: the value may differ between machines */
struct span span_trim(struct span);                   /* without SP, HT, CR, LF at both ends */

/*
 * Takes the piece before the next sep from *rest into *piece.  False when
 * nothing is left.  "a,,b" gives "a", "", "b"; "a," gives "a"; "" nothing.
 */
bool span_split(struct span *rest, char sep, struct span *piece);

#endif
