/*
 * split.h -- one message for many, seen twice: before the MTA splits it and after.  Pure.
 *
 * Before (a front listener) there is a sender who can be told no, and all
 * recipients share one body.  After (a back listener) each copy has a
 * recipient of its own, and nobody is left to be told anything.  A marker in
 * the header, sealed, carries from one to the other what only the front can
 * know: the stream, which may follow from a login, and the campaign, whose
 * name may follow from the day.
 */
#ifndef REKINDLE_SPLIT_H
#define REKINDLE_SPLIT_H

#include "milter/message.h"

enum pass {
	PASS_ONLY,  /* a listener like any other: what comes is tagged as it is */
	PASS_FRONT, /* recipients are decided about, the message gets its marker */
	PASS_BACK,  /* what bears a marker is tagged, and nothing else */
};

/* By {daemon_name} and the settings split_front and split_back. */
enum pass split_pass(const struct conf *, struct span daemon);

/* Is there a field of the marker's name, whatever it says? */
bool split_marked(const struct message *);

/*
 * The stream that the front chose; the campaign's name is appended to
 * *campaign.  NULL, nothing appended: no field is a marker of ours, or its
 * stream is no longer in the settings.
 */
const struct stream *split_select(const struct conf *, const struct sealer *, const struct message *,
    struct buf *campaign);

/* Appends to the plan: every field of the marker's name goes. */
void split_strip(const struct message *, struct plan *);

/*
 * The plan at the front: what pretends to be a marker goes, ours comes, last;
 * all else is left for the back.  campaign: at most 200 bytes, of this stream
 * and with this id.  False when the marker cannot be made; then the plan only
 * strips.
 */
bool split_mark(const struct message *, const struct sealer *, const struct stream *, struct span campaign, uint64_t id,
    uint32_t when, struct plan *);

#endif
