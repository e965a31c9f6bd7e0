/* fields.h -- the header fields that tagging reads, adds and takes away.  Pure. */
#ifndef REKINDLE_FIELDS_H
#define REKINDLE_FIELDS_H

#include "milter/message.h"

/* Why the header forbids to touch this message, a fixed string, or NULL. */
const char *fields_leave(const struct message *, const struct stream *);
/* Does it bear our own valid mark? */
bool fields_bear_mark(const struct message *, const struct sealer *);

/*
 * What the message's track headers allow, the least of several: lowers the
 * modes, never raises them.  Without one the stream says.  False when one is
 * malformed, which counts as no.
 */
bool fields_track(const struct message *, const struct tagging *, enum mode *opens, enum mode *links);

/* Appends one edit to the plan; copies name and value. */
void fields_edit(struct plan *, enum header_change, unsigned index, struct span name, struct span value);
/* Is this a header for us alone: one that the settings name, or any X-Rekindle-*? */
bool fields_is_control(const struct conf *, struct span name);
/*
 * Deletes our control headers.  With keep_signed those that the settings name
 * stay where a DKIM-Signature covers them (its h= tag, RFC 6376): the message
 * is not ours to break.
 */
void fields_delete_control(struct plan *, const struct message *, const struct conf *, bool keep_signed);
/* What a message's pages for unsubscribing are about: its stream; empty, which is everything, for the series. */
struct span fields_stream(const struct tagging *);
/* List-Unsubscribe, Feedback-ID, CFBL-*: what the stream wants and the message has not. */
void fields_add(struct plan *, const struct message *, const struct tagging *);
/* The mark, which is always the last edit.  False when it cannot be made. */
bool fields_add_mark(struct plan *, const struct tagging *);

/* Appends a template with {campaign}, {stream} and {date} filled in, all of it by way of add. */
void fields_fill(struct buf *out, struct span template, const struct tagging *, void (*add)(struct buf *, struct span));

#endif
