/* maillog.h -- one line of Postfix's log: whose mail, and how its delivery went.  Pure. */
#ifndef REKINDLE_MAILLOG_H
#define REKINDLE_MAILLOG_H

#include "common/span.h"

#define MAILLOG_LINE_MAX 65536 /* bytes; Postfix's own lines end at some 2,000, syslog's at 8,192 */
#define MAILLOG_ID_MAX 23      /* of a queue id: 10 to 16 characters are what there is */

enum maillog_kind {
	MAILLOG_OTHER,     /* says nothing about a delivery */
	MAILLOG_DELIVERED, /* the next host, or the mailbox, has it */
	MAILLOG_PASSED_ON, /* a filter on this machine has it, and it goes on as `next` */
	MAILLOG_DEFERRED,  /* will be tried again */
	MAILLOG_BOUNCED,   /* failed for good */
	MAILLOG_EXPIRED,   /* whoever is still deferred gets no more tries; no recipient is named */
	MAILLOG_REMOVED,   /* no longer in the queue; no recipient is named */
};

/* When, as far as the line says: local time without a year, or all of it.  Month 0: nothing. */
struct maillog_time {
	int year;              /* 0: not said */
	int month, day, hour, minute, second, ms;
	bool zoned;            /* offset is what the line says; else it is this machine's time */
	int offset;            /* minutes east of Greenwich */
};

/* All spans point into the line. */
struct maillog {
	enum maillog_kind kind;
	struct maillog_time time;
	struct span id;        /* queue id */
	struct span to;        /* without <>, quotes as they are written */
	struct span orig_to;   /* before aliases and the like; empty: the same */
	struct span host;      /* of relay=: name, or "none", "local", "virtual" ... */
	struct span address;   /* of that host, or a socket; may be empty */
	struct span delay;     /* seconds with a fraction, as written */
	struct span status;    /* dsn=: "2.0.0" */
	struct span text;      /* what the next host said, or why; what is between the outer parentheses */
	struct span next;      /* of MAILLOG_PASSED_ON: the queue id behind the filter */
};

/*
 * Reads a whole line, without its line end: of syslog (Nov 23 05:28:51 host
 * postfix/smtp[1]: ...), RFC 3339 stamps included, of Postfix's own
 * maillog_file, or of journalctl -o short and -o short-iso.  Any syslog_name
 * will do, as in postfix-out/smtp or postfix/reeng/smtp; only programs that
 * deliver count (smtp, lmtp, local, virtual, pipe, error) and those that
 * tell the end (qmgr, oqmgr, postsuper).
 *
 * What strangers choose, addresses and replies, comes last or is quoted, and
 * never is another field: a line where it could be is MAILLOG_OTHER.
 */
void maillog_line(struct span line, struct maillog *);

/* The same for what comes without a stamp, as from systemd's journal: tag is SYSLOG_IDENTIFIER, "postfix/smtp". */
void maillog_message(struct span tag, struct span message, struct maillog *);

#endif
