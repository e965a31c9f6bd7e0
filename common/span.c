#include "common/span.h"

bool
span_ieq_slowly(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i] && ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	return true;
}

size_t
span_search(struct span s, struct span needle)
{
	const char *hit;

	if (needle.n == 0)
		return 0;
	if (s.n < needle.n)
		return s.n;
	hit = memmem(s.p, s.n, needle.p, needle.n);
	return hit ? (size_t)(hit - s.p) : s.n;
}

size_t
span_isearch(struct span s, struct span needle)
{
	if (needle.n == 0)
		return 0;
	for (size_t i = 0; i + needle.n <= s.n; i++)
		if (span_ieq(span_cut(s, i, i + needle.n), needle))
			return i;
	return s.n;
}

uint64_t
span_hash(struct span s)
{
	uint64_t h = s.n, v;

	for (; s.n >= sizeof v; s.p += sizeof v, s.n -= sizeof v) {
		memcpy(&v, s.p, sizeof v);
		h = (h ^ v) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	if (s.n > 0) {
		v = 0;
		memcpy(&v, s.p, s.n);
		h = (h ^ v) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return h;
}

static bool
is_blank(char c)
{
	return (unsigned char)c <= ' ' && (c == ' ' || c == '\t' || c == '\r' || c == '\n');
}

struct span
span_trim(struct span s)
{
	while (s.n > 0 && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool
span_split(struct span *rest, char sep, struct span *piece)
{
	size_t at;

	if (rest->n == 0)
		return false;
	at = span_find(*rest, sep);
	*piece = span_cut(*rest, 0, at);
	*rest = span_from(*rest, at + 1);
	return true;
}
