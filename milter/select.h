/* select.h -- is this campaign mail, and of which stream and campaign?  Pure. */
#ifndef REKINDLE_SELECT_H
#define REKINDLE_SELECT_H

#include "milter/message.h"

/* What the SMTP session says.  Empty spans: not known. */
struct envelope {
	struct span client; /* numeric address of the client, as text */
	struct span login;  /* SASL login */
	struct span sender; /* envelope sender, with or without <> ; empty for the null sender */
	struct span daemon; /* {daemon_name} */
};

/*
 * Sender address and headers count only from a client that logged in, that is
 * in trusted_networks, or that a match_login, match_network or match_daemon
 * rule names.
 */

/* By the envelope alone, at RCPT time.  NULL: cannot say yet. */
const struct stream *select_envelope(const struct conf *, const struct envelope *);

/*
 * With the headers too.  NULL: no campaign mail, leave it alone.  Else the
 * campaign's name is appended to *campaign: from the campaign header
 * (trimmed, unfolded, control bytes removed, RFC 2047 words left as they are,
 * cut to 200 bytes at a character), or the stream's template.
 * Order: the stream header, if it names a stream of ours; the streams'
 * match_ rules in file order; the campaign header alone gives the default one.
 */
const struct stream *select_message(const struct conf *, const struct envelope *, const struct message *, int64_t now_ms, struct buf *campaign);

/*
 * What the message's consent headers say, by enum axis; the strictest of
 * several.  Granted when there is none: it may only lower.  False when one is
 * malformed, which counts as denied.
 */
bool select_consent(const struct conf *, const struct message *, enum consent out[2]);

/* How much may be kept of a recipient when the message says so: lowers opens and links, by enum axis, never raises. */
void select_lower(const struct conf *, const struct stream *, const enum consent said[2], enum mode *opens, enum mode *links);

/* Appends the stream's own name for a campaign: its template with the date filled in, at most 200 bytes. */
void select_campaign(const struct stream *, int64_t now_ms, struct buf *name);

#endif
