#include "milter/splice.h"

#include <assert.h>
#include <stdlib.h>

#include "common/mem.h"

void
edits_init(struct edits *e, size_t max_text)
{
	*e = (struct edits){ .text = BUF(max_text) };
}

void
edits_free(struct edits *e)
{
	free(e->edit);
	buf_free(&e->text);
	e->edit = NULL;
	e->n = e->cap = 0;
}

void
edits_clear(struct edits *e)
{
	e->n = 0;
	buf_clear(&e->text);
}

void
edits_add(struct edits *e, size_t start, size_t end, struct span text)
{
	size_t i = e->n;

	assert(start <= end);
	if (e->n == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 16;
		e->edit = xreallocarray(e->edit, e->cap, sizeof *e->edit);
	}
	for (; i > 0 && e->edit[i - 1].start > start; i--)
		e->edit[i] = e->edit[i - 1];
	assert(i == 0 || e->edit[i - 1].end <= start);
	assert(i == e->n || end <= e->edit[i + 1].start);
	e->edit[i] = (struct edit){ start, end, e->text.n, text.n };
	e->n++;
	buf_add(&e->text, text);
}

void
splice_range(struct buf *out, struct span in, size_t from, size_t to, const struct edit *edit, size_t n,
    struct span text)
{
	for (size_t i = 0; i < n; i++) {
		const struct edit *e = &edit[i];

		assert(e->start >= from && e->end <= to);
		buf_add(out, span_cut(in, from, e->start));
		buf_add(out, span_cut(text, e->at, e->at + e->n));
		from = e->end;
	}
	buf_add(out, span_cut(in, from, to));
}

void
splice(struct buf *out, struct span in, const struct edit *edit, size_t n, struct span text)
{
	size_t size = in.n;

	/* A body that grows bit by bit would be copied as often as it doubles. */
	for (size_t i = 0; i < n; i++)
		size += edit[i].n - (edit[i].end - edit[i].start);
	buf_room(out, size);
	splice_range(out, in, 0, in.n, edit, n, text);
}
