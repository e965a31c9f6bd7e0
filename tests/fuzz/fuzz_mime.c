/*
 * Leaves are in order, disjoint and inside the body.  Text that was edited and
 * written back reads back as the edited text, with the parts where they were.
 */
#include <stdint.h>
#include <stdlib.h>

#include "milter/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_leaves(const struct mime *m, struct span body)
{
	size_t done = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct mime_part *p = &m->part[i];

		if (p->start < done || p->end < p->start || p->end > body.n)
			abort();
		if (!p->top && (p->encoding_start < done || p->encoding_end < p->encoding_start || p->encoding_end > p->start))
			abort();
		done = p->end;
	}
	if (m->n > MIME_PARTS_MAX)
		abort();
}

/* Edits at places that the input chooses. */
static void
some_edits(struct edits *e, struct span text, unsigned seed)
{
	for (size_t i = seed % 61; i < text.n; i += 1 + seed % 251) {
		size_t end = i + seed % 7 < text.n ? i + seed % 7 : text.n;

		edits_add(e, i, end, SPAN("<a href=\"https://t.example.org/?id=1\">"));
		i = end;
		seed = seed * 1103515245 + 12345;
	}
}

static void
check_part(const struct message *m, const struct mime *mime, size_t i, unsigned seed)
{
	struct edits edits, raw;
	struct buf want = BUF(64 << 20), body = BUF(64 << 20);
	struct mime_text before, after;
	struct message changed = *m;
	struct mime again;

	edits_init(&edits, 16 << 20);
	edits_init(&raw, 64 << 20);
	if (mime_read(m->body, &mime->part[i], &before) == NULL) {
		some_edits(&edits, before.text, seed);
		splice(&want, before.text, edits.edit, edits.n, buf_span(&edits.text));
		if (!mime_write(m->body, &mime->part[i], &before, &edits, &raw)) {
			splice(&body, m->body, raw.edit, raw.n, buf_span(&raw.text));
			if (body.over || raw.text.over)
				abort();
			changed.body = buf_span(&body);
			mime_walk(&again, &changed);
			if (again.n != mime->n || mime_read(changed.body, &again.part[i], &after) != NULL)
				abort();
			if (!span_eq(after.text, buf_span(&want)))
				abort();
			mime_text_free(&after);
			mime_free(&again);
		}
	}
	mime_text_free(&before);
	edits_free(&edits);
	edits_free(&raw);
	buf_free(&want);
	buf_free(&body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span raw = span_make(data, size);
	struct header *h = NULL;
	struct message m;
	struct mime mime;

	if (size == 0 || !message_split(span_from(raw, 1), &h, &m.nheaders, &m.body))
		return 0;
	m.header = h;
	mime_walk(&mime, &m);
	check_leaves(&mime, m.body);
	for (size_t i = 0; i < mime.n && i < 20; i++)
		check_part(&m, &mime, i, data[0] * 7919u + (unsigned)i);
	mime_free(&mime);
	free(h);
	return 0;
}
