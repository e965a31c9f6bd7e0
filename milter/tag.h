/* tag.h -- tags one text: finds its links, puts tracked ones in their place, and the pixel.  Pure. */
#ifndef REKINDLE_TAG_H
#define REKINDLE_TAG_H

#include "milter/links.h"
#include "milter/splice.h"
#include "milter/url.h"

/* What all texts of a message share. */
struct tagger {
	const struct tagging *tagging; /* with the modes that hold for this message */
	struct plan *plan;
	struct links links;
	struct url own;        /* the tracking_url */
	bool has_own;
	size_t own_pages;      /* places for the recipient's own page, at most MESSAGE_LINKS_MAX */
	struct buf targets;    /* List-Unsubscribe targets, each behind a line feed */
	struct buf parameters; /* to be added to URLs, encoded: name=value, each behind a line feed */
	struct buf scratch, url;
	struct buf visible;    /* text of a link */
};

void tag_start(struct tagger *, const struct message *, const struct tagging *, struct plan *);
/* The plan gets the links. */
void tag_end(struct tagger *);

/*
 * Edits of a part's text; utf8 says that its bytes over 127 are UTF-8.  The
 * plan's counters, and plan->pixel, go along.  NULL, or why the text must stay
 * as it is: then the edits mean nothing, and tag_undo takes back what was counted.
 */
const char *tag_html(struct tagger *, struct span text, bool utf8, struct edits *);
void tag_plain(struct tagger *, struct span text, bool utf8, struct edits *);

/* Where the counting stood, to go back there. */
struct tag_place {
	size_t links, edited, skipped, seen;
	bool pixel, honeypot;
	unsigned warnings;
};
struct tag_place tag_here(const struct tagger *);
void tag_undo(struct tagger *, const struct tag_place *);

#endif
