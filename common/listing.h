/* listing.h -- what a row of somebody else's suppression list says.  Pure. */
#ifndef REKINDLE_LISTING_H
#define REKINDLE_LISTING_H

#include "common/buf.h"
#include "common/touch.h"

/*
 * Every system exports other columns with other words in them.  The table in
 * listing.c knows which columns make a list whose, and which word is which
 * stop; rekindle(1) has it for people.
 */
struct list_format;

/* A list whose columns are known. */
struct listing {
	const struct list_format *format;
	size_t address, reason, when, until, detail, stream; /* columns; LIST_NO_COLUMN: there is none */
	bool headless; /* the first record is a row already: addresses alone */
	struct buf plain; /* what csv_plain made of the row that was read last */
};
#define LIST_NO_COLUMN SIZE_MAX

/*
 * Looks at the first record.  name is that of a format, or empty: whichever
 * fits.  False with why; else end with listing_free.
 */
bool listing_find(struct listing *, const struct span *field, size_t n, struct span name, struct buf *why);
void listing_free(struct listing *);
const char *listing_name(const struct listing *);
/* "mailchimp, sendgrid, ...": every name that listing_find takes. */
void listing_names(struct buf *);

enum list_row {
	LIST_STOP,
	LIST_SKIP, /* good, and nobody is to be stopped: why says so in words that come again */
	LIST_BAD,  /* why */
};
struct listed {
	struct span address;
	enum touch_kind kind;
	int64_t when;       /* ms; 0: the list has no date */
	int64_t until;      /* ms; 0: for ever */
	struct span stream; /* "" everything */
	struct span detail; /* what the list gives as evidence, "" nothing */
};
/*
 * Spans point into the fields, or are good until the next row.  as: what a row of a list without reasons
 * says, and every row whose reason nobody knows; 0: the list's own.
 */
enum list_row listing_read(struct listing *, const struct span *field, size_t n, enum touch_kind as, struct listed *,
    struct buf *why);

/*
 * A date as such lists have it: what text_time reads; with hours and minutes
 * alone; of RFC 5322; and 31.01.2026 or 01/31/2026, with a time or without.
 * Without a zone it is UTC.  False for 02/03/2026, too, which is one day here
 * and another day there.
 */
bool listing_time(struct span, int64_t *ms);

#endif
