/* message.h -- what tagging does to one message: a plan, made from the original bytes, before anything is sent.  Pure. */
#ifndef REKINDLE_MESSAGE_H
#define REKINDLE_MESSAGE_H

#include "common/conf.h"
#include "common/token.h"

/*
 * One header field as the MTA gave it: the value without the colon, with its
 * leading space, and with its line breaks if it is folded (LF or CRLF).
 */
struct header {
	struct span name, value;
};

#define MESSAGE_HEADERS_MAX 2000
#define MESSAGE_LINKS_MAX 10000  /* tracked links in one message; the rest stay as they are */
#define MESSAGE_GROWTH_MAX (8 * 1024 * 1024)

struct message {
	const struct header *header;
	size_t nheaders;
	struct span body; /* as transmitted: usually CRLF */
};

/* How to tag it.  Everything is borrowed. */
struct tagging {
	const struct sealer *sealer;
	const struct conf *conf;
	const struct stream *stream;
	uint64_t campaign;
	struct span campaign_name;
	int64_t now;             /* ms */
	struct who who;          /* nobody: several recipients, or none is known */
	enum mode opens, links;  /* effective; without a who at most MODE_ANONYMOUS */
	uint32_t when;           /* seconds */
	bool explain;            /* fill in the plan's notes */
};

/* One recipient of a message: the most that may be kept of them. */
struct addressee {
	struct who who;
	enum mode opens, links;
};

/*
 * Sets who, when, now and the modes.  One recipient gets tokens of its own.  Those
 * who share a body share tokens that name nobody, and nobody is counted more
 * closely than the strictest of them allows.  With n 0 nobody is known.
 */
void tagging_address(struct tagging *, const struct addressee *, size_t n, bool shared, int64_t now_ms);

enum header_change { HEADER_ADD, HEADER_DELETE, HEADER_REPLACE };

/* A change of one header field; index counts the fields of that name from 1.  Deletions come highest index first. */
struct header_edit {
	enum header_change change;
	unsigned index;
	char *name;
	char *value; /* without leading space; ASCII, no CR, LF or NUL */
};

struct tagged_link {
	uint16_t no; /* 1 .. in order of appearance; the same destination has the same number */
	struct span destination; /* in plan->text */
	uint64_t hash;           /* of the destination: span_hash */
};

/* What was decided, for people; only when asked for. */
struct part_note {
	struct span what;  /* its media type as the message has it; borrows from that */
	const char *encoding;
	const char *why;   /* it stays as it is; NULL: it was edited */
	size_t start, end; /* content, in the body */
	bool pixel, honeypot; /* are in this one */
};

struct link_note {
	size_t part;       /* index of its part's note */
	const char *why;   /* it stays as it is; NULL: tracked, or replaced */
	uint16_t no;       /* of the tagged link; 0 when it stays, or is the recipient's own page now */
	size_t at, n;      /* URL as the message has it, decoded, in plan->note_text */
};

enum plan_warning {
	WARN_CLIP = 1,  /* our bytes push an HTML part over CLIP_BYTES */
	WARN_TRACK = 2, /* a track header is malformed, and taken as no */
	WARN_OWN_PAGE = 4, /* a place for the recipient's own page leads nowhere: nobody's own message, or no such stream */
};
#define CLIP_BYTES (102 * 1024) /* Gmail hides what comes behind it, the pixel too */

struct plan {
	/* Why nothing was tagged, a fixed string such as "multipart/signed"; NULL: it was. */
	const char *untouched;
	bool body_changed;
	struct buf body;              /* the new body when body_changed */
	struct header_edit *header;
	size_t nheaders;
	struct tagged_link *link;
	size_t nlinks;                /* different destinations */
	size_t edited_links;          /* places */
	size_t skipped_links;         /* http(s) links left as they are, for any reason */
	bool pixel, honeypot;
	struct buf text;              /* what links point into */
	unsigned warnings;            /* enum plan_warning */
	struct part_note *part;
	size_t nparts, part_cap;
	struct link_note *seen;
	size_t nseen, seen_cap;
	struct buf note_text;
};

/*
 * Fills in the plan; whatever is odd about the message, the plan is a good
 * one: in any doubt it leaves the part or the message as it is and says why.
 * Control headers (conf->campaign_header, stream_header, consent_header, track_header, X-Rekindle-*)
 * are deleted even when nothing is tagged, except in a message that bears
 * our own valid mark (untouched "already tagged", no edits at all).
 * The last header edit is always the mark (X-Rekindle-Id), so that a body
 * change is followed by a header change (Postfix loses mail otherwise when a
 * milter dies in between).
 */
void message_tag(const struct message *, const struct tagging *, struct plan *);
/* The plan of a campaign message that is left alone, for a reason of the caller's: control headers go, nothing else. */
void message_leave(const struct message *, const struct conf *, const char *why, struct plan *);
void plan_free(struct plan *);

/*
 * Splits raw bytes into header fields (spans into raw) and body, for
 * `rekindle tag` and tests.  Accepts CRLF and LF.  The caller frees *headers.
 * False when it is not a message: no header, or too many fields.
 */
bool message_split(struct span raw, struct header **headers, size_t *n, struct span *body);
/* The raw message with the plan carried out, header changes too; what Postfix would send on. */
void message_apply(struct span raw, const struct plan *, struct buf *out);

/* First field of this name, or NULL.  ASCII case ignored. */
const struct header *message_header(const struct message *, struct span name);

#endif
