/* buf.h -- owned bytes that grow, up to a cap. */
#ifndef REKINDLE_BUF_H
#define REKINDLE_BUF_H

#include "common/span.h"

/*
 * Adding past the cap adds nothing and sets `over`, which stays set until
 * buf_clear: build first, ask once at the end.  So no input can make a
 * buffer grow without bound, and no caller has to check every addition.
 */
struct buf {
	char *p;
	size_t n, cap, max;
	bool over;
};

#define BUF(limit) ((struct buf){ .max = (limit) })
/* On an array of chars, one more than may be added: never grows, and is never freed. */
#define BUF_ON(array) ((struct buf){ .p = (array), .cap = sizeof(array), .max = sizeof(array) - 1 })

void buf_init(struct buf *, size_t max);
void buf_free(struct buf *); /* may be used again afterwards, with the same cap */
void buf_clear(struct buf *); /* empty, not over; keeps its memory */

void buf_add(struct buf *, struct span);
void buf_adds(struct buf *, const char *);
void buf_addc(struct buf *, char);
void buf_addf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* n writable bytes at the end, or NULL (and over) past the cap; buf_grew says how many were used. */
char *buf_more(struct buf *, size_t n); /* for buf_room: when they are not there yet */
static inline char *
buf_room(struct buf *b, size_t n)
{
	/* One byte more than asked for, so that buf_cstr always has room for its NUL. */
	if (n < b->cap - b->n && b->n + n <= b->max && !b->over)
		return b->p + b->n;
	return buf_more(b, n);
}
static inline void
buf_grew(struct buf *b, size_t n)
{
	b->n += n;
}

/* The bytes so far; good until the next change. */
static inline struct span
buf_span(const struct buf *b)
{
	return (struct span){ b->p ? b->p : "", b->n };
}

/* The same as a C string (NUL behind the bytes, not counted). */
const char *buf_cstr(struct buf *);

/* The bytes as a C string that the caller frees; the buf is empty afterwards. */
char *buf_steal(struct buf *);

#endif
