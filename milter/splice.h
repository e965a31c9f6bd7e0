/* splice.h -- "replace these bytes": edits as offsets into the original, applied once. */
#ifndef REKINDLE_SPLICE_H
#define REKINDLE_SPLICE_H

#include "common/buf.h"

/* Bytes start..end of the original become text[at .. at + n]; start == end inserts. */
struct edit {
	size_t start, end;
	size_t at, n;
};

/* Edits in order, never overlapping; the texts of all of them in one buf. */
struct edits {
	struct edit *edit;
	size_t n, cap;
	struct buf text;
};

void edits_init(struct edits *, size_t max_text);
void edits_free(struct edits *);
void edits_clear(struct edits *);
/*
 * In any order (in the order of the original is cheapest); behind others at
 * the same place.  Once text.over is set the edits are worthless: ask at the end.
 */
void edits_add(struct edits *, size_t start, size_t end, struct span text);

/* With no edits, out gets a copy of in. */
void splice(struct buf *out, struct span in, const struct edit *, size_t n, struct span text);

/* The same for the bytes from..to of in; all edits must lie there. */
void splice_range(struct buf *out, struct span in, size_t from, size_t to, const struct edit *, size_t n,
    struct span text);

#endif
