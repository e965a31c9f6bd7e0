#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"

#define BUF_SMALL 8192

void
buf_init(struct buf *b, size_t max)
{
	*b = BUF(max);
}

void
buf_free(struct buf *b)
{
	size_t max = b->max;

	free(b->p);
	*b = BUF(max);
}

void
buf_clear(struct buf *b)
{
	b->n = 0;
	b->over = false;
}

char *
buf_more(struct buf *b, size_t n)
{
	if (b->over || n > b->max - b->n || b->n > b->max) {
		b->over = true;
		return NULL;
	}
	if (b->cap - b->n <= n) {
		size_t cap = b->cap ? b->cap : 64;

		while (cap - b->n <= n) /* to grow costs more than the room, while that is small */
			cap *= cap < BUF_SMALL ? 4 : 2;
		b->p = xrealloc(b->p, cap);
		b->cap = cap;
	}
	return b->p + b->n;
}

void
buf_add(struct buf *b, struct span s)
{
	char *room;

	if (s.n == 0 || (room = buf_room(b, s.n)) == NULL)
		return;
	memcpy(room, s.p, s.n);
	b->n += s.n;
}

void
buf_adds(struct buf *b, const char *s)
{
	buf_add(b, span_of(s));
}

void
buf_addc(struct buf *b, char c)
{
	char *room = buf_room(b, 1);

	if (room == NULL)
		return;
	*room = c;
	b->n++;
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
	char small[256], *room;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->over = true;
		return;
	}
	if ((size_t)n < sizeof small) {
		buf_add(b, span_make(small, (size_t)n));
		return;
	}
	if ((room = buf_room(b, (size_t)n)) == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(room, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
}

const char *
buf_cstr(struct buf *b)
{
	if (b->p == NULL)
		return "";
	b->p[b->n] = '\0';
	return b->p;
}

char *
buf_steal(struct buf *b)
{
	char *s = b->p ? b->p : xmalloc(1);

	s[b->n] = '\0';
	b->p = NULL;
	buf_free(b);
	return s;
}
