/* links.h -- the tracked links of one message: each destination gets a number and one URL, made once.  Pure. */
#ifndef REKINDLE_LINKS_H
#define REKINDLE_LINKS_H

#include "milter/message.h"

/* A hash table of destinations.  Offsets, because the buffers grow. */
struct links {
	const struct tagging *tagging;
	struct link {
		uint64_t hash;
		size_t at, n;         /* destination, in text */
		size_t url_at, url_n; /* in urls */
	} *link;
	size_t n, cap;
	uint32_t *slot;               /* link index + 1, or 0 */
	size_t nslots;
	size_t refused;               /* that turned out to be too long: packing is work, and somebody may want us to work */
	struct buf text, urls;
};

void links_init(struct links *, const struct tagging *);
void links_free(struct links *);

/*
 * The tracked URL that leads to this destination, the same one each time, and
 * its number, from 1.  Good until the next call.  Empty when it cannot be
 * made: too long, one of more than MESSAGE_LINKS_MAX, or after LINKS_REFUSED_MAX
 * that were too long.
 */
#define LINKS_REFUSED_MAX 1000
struct span links_url(struct links *, struct span destination, uint16_t *no);
/* Forgets all but the first n. */
void links_cut(struct links *, size_t n);

/* What a URL of ours says of this recipient: nothing at all when it is anonymous. */
struct claim links_claim(const struct tagging *, enum token_kind, enum mode);
/* The mode that an axis has for whom this is addressed to. */
enum mode links_mode(const struct tagging *, enum mode);
/* Appends tracking_url "/" kind "/" token end.  False, and nothing is appended, when it would be over TRACKED_URL_MAX. */
bool links_add_url(const struct tagging *, struct buf *, const struct claim *, const char *end);

#endif
