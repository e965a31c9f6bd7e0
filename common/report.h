/* report.h -- mail that comes back: who unsubscribes, who complains, what bounced.  Pure. */
#ifndef REKINDLE_REPORT_H
#define REKINDLE_REPORT_H

#include "common/bounce.h"
#include "common/buf.h"
#include "common/token.h"

#define REPORT_MAIL_MAX (1024 * 1024) /* bytes that are worth reading; the rest of a message says nothing more */
#define REPORT_DEPTH_MAX 8            /* multiparts inside each other */
#define REPORT_PARTS_MAX 100
#define REPORT_TOKENS_MAX 64          /* what may be a token is tried so often */

enum report_kind {
	REPORT_NOTHING,   /* nothing that we act on; why says what was found instead */
	REPORT_LEAVE,     /* a message to an unsubscribe address: List-Unsubscribe with mailto (RFC 2369) */
	REPORT_COMPLAINT, /* ARF (RFC 5965, RFC 9477): Feedback-Type abuse or fraud */
	REPORT_BOUNCE,    /* DSN (RFC 3464): failed, and not merely delayed; bounce says what it means */
};

/*
 * Anybody can send us anything, so only a sealed token counts: the one in the
 * subject or address of an unsubscribe, the ones in the header of the message
 * that a report encloses.  `claim` is that token's; who is nobody when only
 * the mark of a message for several was found (TOKEN_MARK), and then a bounce
 * has the address that it names.
 *
 * A bounce may speak of several recipients: aliases and lists that the
 * message went on to.  What it says of the token's owner counts, found by
 * Original-Recipient or Final-Recipient; where it names the owner nowhere,
 * since addresses were rewritten or taken out, or more than once, the least
 * harmful of what it may have said: nobody is stopped for what befell somebody
 * else.  Without an owner it is the worst, of the address that goes with it.
 */
struct report {
	enum report_kind kind;
	const char *why;     /* of REPORT_NOTHING, a fixed string */
	struct claim claim;
	struct span address; /* of a bounce: Original-Recipient or Final-Recipient; may be empty; points into own */
	enum bounce bounce;  /* of a bounce */
	char status[BOUNCE_CODE_MAX]; /* of that one: "5.1.1"; may be empty */
	struct buf text, own;
};

void report_init(struct report *);
void report_free(struct report *);

/*
 * Reads a whole message, CRLF or LF, with or without the "From " line of a
 * mailbox in front.  `to` are addresses or address extensions that it was
 * sent to, as far as the MTA tells, one in a line.
 */
void report_read(struct report *, const struct keys *, const struct sealer *, struct span mail, struct span to);

#endif
