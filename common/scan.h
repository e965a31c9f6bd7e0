/* scan.h -- sixteen bytes at a look: the loops that every byte of a message passes through. */
#ifndef REKINDLE_SCAN_H
#define REKINDLE_SCAN_H

#include "common/span.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/*
 * memchr looks at more bytes at once, and is better where what it looks for
 * is far.  In mail it is near: a line, a name or a value is done here before
 * memchr has begun.  Machines without SSE2 get plain loops and the same answers.
 */
#ifdef __SSE2__
typedef __m128i scan_block;

static inline scan_block
scan_load(const char *p)
{
	return _mm_loadu_si128((const void *)p);
}

/* All ones where the byte is c. */
static inline scan_block
scan_equals(scan_block v, char c)
{
	return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

/* A bit for each byte of all ones, the first byte's the lowest. */
static inline unsigned
scan_mask(scan_block v)
{
	return (unsigned)_mm_movemask_epi8(v);
}
#endif

#ifdef __SSE2__
/* All ones where the byte is a or b. */
static inline scan_block
scan_eithers(scan_block v, char a, char b)
{
	return _mm_or_si128(scan_equals(v, a), scan_equals(v, b));
}

/* All ones where the byte is at most max, as unsigned ones. */
static inline scan_block
scan_upto(scan_block v, unsigned char max)
{
	return _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8((char)max)), v);
}
#endif

/* The first a or b from i on, or s.n. */
static inline size_t
scan_either(struct span s, size_t i, char a, char b)
{
#ifdef __SSE2__
	for (; i + 16 <= s.n; i += 16) {
		unsigned mask = scan_mask(scan_eithers(scan_load(s.p + i), a, b));

		if (mask != 0)
			return i + (unsigned)__builtin_ctz(mask);
	}
#endif
	while (i < s.n && s.p[i] != a && s.p[i] != b)
		i++;
	return i;
}

/* The first control character of ASCII from i on, or s.n. */
static inline size_t
scan_control(struct span s, size_t i)
{
#ifdef __SSE2__
	for (; i + 16 <= s.n; i += 16) {
		scan_block v = scan_load(s.p + i);
		unsigned mask = scan_mask(_mm_or_si128(scan_upto(v, ' ' - 1), scan_equals(v, 0x7f)));

		if (mask != 0)
			return i + (unsigned)__builtin_ctz(mask);
	}
#endif
	while (i < s.n && (unsigned char)s.p[i] >= ' ' && s.p[i] != 0x7f)
		i++;
	return i;
}

/* The first byte above ASCII from i on, or s.n. */
static inline size_t
scan_high(struct span s, size_t i)
{
#ifdef __SSE2__
	for (; i + 16 <= s.n; i += 16) {
		unsigned mask = scan_mask(scan_load(s.p + i));

		if (mask != 0)
			return i + (unsigned)__builtin_ctz(mask);
	}
#endif
	while (i < s.n && (unsigned char)s.p[i] < 0x80)
		i++;
	return i;
}

/* The first & < > " or ' from i on, or s.n. */
static inline size_t
scan_markup(struct span s, size_t i)
{
#ifdef __SSE2__
	for (; i + 16 <= s.n; i += 16) {
		scan_block v = scan_load(s.p + i);
		unsigned mask = scan_mask(_mm_or_si128(_mm_or_si128(scan_eithers(v, '"', '&'), scan_equals(v, '\'')), scan_eithers(v, '<', '>')));

		if (mask != 0)
			return i + (unsigned)__builtin_ctz(mask);
	}
#endif
	for (; i < s.n; i++)
		if (s.p[i] == '&' || s.p[i] == '<' || s.p[i] == '>' || s.p[i] == '"' || s.p[i] == '\'')
			break;
	return i;
}

#define SCAN_BLOCK 16

/* A bit for each of the 16 bytes from i on, the first byte's the lowest: is it a letter or a digit of ASCII?  Behind s there is none. */
static inline unsigned
scan_alnum(struct span s, size_t i)
{
#ifdef __SSE2__
	char last[SCAN_BLOCK] = { 0 };
	const char *p = s.p + i;
	scan_block v, letter, digit;

	if (i + SCAN_BLOCK > s.n)
		p = memcpy(last, p, s.n - i);
	v = scan_load(p);
	/* From the range's first on, counted from 0: so one comparison is enough for each. */
	letter = scan_upto(_mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a')), 'z' - 'a');
	digit = scan_upto(_mm_sub_epi8(v, _mm_set1_epi8('0')), 9);
	return scan_mask(_mm_or_si128(letter, digit));
#else
	unsigned mask = 0;

	for (size_t k = 0; k < SCAN_BLOCK && i + k < s.n; k++)
		mask |= (unsigned)ascii_alnum(s.p[i + k]) << k;
	return mask;
#endif
}

#ifdef __SSE2__
/* All ones where there is an a, and a b behind it, or, with `flip` all ones, none. */
static inline scan_block
scan_pair_block(const char *p, char a, char b, scan_block flip)
{
	return _mm_and_si128(scan_equals(scan_load(p), a), _mm_xor_si128(scan_equals(scan_load(p + 1), b), flip));
}
#endif

/*
 * The first place, from i on, of an a with a b behind it, or, when not
 * `followed`, of one with something else or nothing behind it; s.n when there
 * is none.
 */
static inline size_t
scan_pair(struct span s, size_t i, char a, char b, bool followed)
{
#ifdef __SSE2__
	const scan_block flip = _mm_set1_epi8(followed ? 0 : -1);

	while (i + 65 <= s.n) {
		scan_block v0 = scan_pair_block(s.p + i, a, b, flip), v1 = scan_pair_block(s.p + i + 16, a, b, flip),
			   v2 = scan_pair_block(s.p + i + 32, a, b, flip), v3 = scan_pair_block(s.p + i + 48, a, b, flip);

		if (scan_mask(_mm_or_si128(_mm_or_si128(v0, v1), _mm_or_si128(v2, v3))) != 0) {
			uint64_t mask = scan_mask(v0) | scan_mask(v1) << 16 | (uint64_t)scan_mask(v2) << 32 |
			    (uint64_t)scan_mask(v3) << 48;

			return i + (unsigned)__builtin_ctzll(mask);
		}
		i += 64;
	}
#endif
	for (; i < s.n; i++)
		if (s.p[i] == a && (i + 1 < s.n && s.p[i + 1] == b) == followed)
			return i;
	return s.n;
}

/*
 * Copies what is before the first a or b, at most all of s, and says how much
 * that is.  What is behind it in the first s.n bytes of `to` may be overwritten.
 */
static inline size_t
scan_copy(char *to, struct span s, char a, char b)
{
	size_t i = 0;

#ifdef __SSE2__
	for (; i + 16 <= s.n; i += 16) {
		scan_block v = scan_load(s.p + i);
		unsigned mask = scan_mask(scan_eithers(v, a, b));

		_mm_storeu_si128((void *)(to + i), v);
		if (mask != 0)
			return i + (unsigned)__builtin_ctz(mask);
	}
#endif
	for (; i < s.n && s.p[i] != a && s.p[i] != b; i++)
		to[i] = s.p[i];
	return i;
}

#endif
