/* touch.h -- one fact about one recipient and one campaign: sent, opened, clicked, left ...  Pure. */
#ifndef REKINDLE_TOUCH_H
#define REKINDLE_TOUCH_H

#include <stdint.h>

#include "common/privacy.h"
#include "common/robot.h"
#include "common/who.h"

/* Numbers are on disk for ever: add at the end, never renumber. */
enum touch_kind {
	TOUCH_SENT = 1,       /* accepted for delivery; detail = class at that time (enum engage), 0xff unknown */
	TOUCH_SKIPPED = 2,    /* stopped by policy; detail = cause (enum cause) */
	TOUCH_OPEN = 3,
	TOUCH_CLICK = 4,
	TOUCH_LEFT = 5,       /* unsubscribed: from `stream`, or from everything when stream is 0 */
	TOUCH_JOINED = 6,     /* subscribed (again): lifts an earlier LEFT of the same scope; if global, BOUNCED and COMPLAINED */
	TOUCH_BOUNCED = 7,    /* hard bounce */
	TOUCH_COMPLAINED = 8,
	TOUCH_CONSENT = 9,    /* detail = axis << 4 | enum consent */
	TOUCH_HELD = 10,      /* stopped by hand */
	TOUCH_RELEASED = 11,  /* lifts HELD, BOUNCED, COMPLAINED and a global LEFT that are earlier; with a stream, that LEFT */
	TOUCH_DELIVERED = 12, /* taken by the next host, as the log tells; detail = DELIVERED_GATEWAY or 0 */
	TOUCH_KEPT = 13,      /* "keep me", by the recipient's own hand: engagement; with a stream, subscribes to it and lifts LESS */
	TOUCH_LESS = 14,      /* "less often": the same, but asks for fewer messages of `stream` from now on */
	TOUCH_SOFT_BOUNCED = 15, /* this message did not get there, the address may be good; detail = enum bounce */
	TOUCH_KINDS
};

#define TOUCH_IMPORTED 0x01    /* flags: came from `rekindle import`, not from us */
#define TOUCH_TRACKED 0x02     /* SENT: the recipient would have been seen reacting */
#define TOUCH_OBSERVED 0x04    /* SENT although policy would have stopped it (enforce = observe) */
#define TOUCH_SERIES 0x08      /* SENT: of the re-engagement series */
#define TOUCH_EXEMPT 0x10      /* SENT: of a transactional stream, which no cap counts */
#define TOUCH_HOLDOUT 0x20     /* SENT: policy would have stopped it, but for the control group */
#define TOUCH_SPARED 0x40      /* SENT: policy would have stopped it as inactive, but for a brake */
#define TOUCH_UNTOLD_CLICKS 0x01 /* agent; SENT: TOUCH_TRACKED, but no click would tell who it is of */
#define TOUCH_UNTOLD 0x02      /* ... and no open either: mode dayonly */
#define TOUCH_ON_HOLD 0x08     /* SKIPPED: in Postfix's hold queue; record.source is its queue id */

enum bounce {
	BOUNCE_SOFT,   /* for now: mailbox full, no answer, try later */
	BOUNCE_POLICY, /* for what the mail or the sender is: says nothing about the address */
	BOUNCE_HARD,   /* there is no such mailbox, and there will be none: never a detail, but a touch of its own */
};

#define DELIVERED_GATEWAY 0x01 /* that host is a gateway that scans links */

/*
 * `when` is when it happened, which for an import is long ago; in mode
 * dayonly it is midnight UTC of the day.  A touch says no more than its
 * mode allows: anonymous has no who, dayonly no campaign, link and verdict.
 */
struct touch {
	uint8_t kind;      /* enum touch_kind */
	uint8_t verdict;   /* enum robot; opens and clicks: what the request alone showed, and never changed */
	uint8_t mode;      /* enum mode it was recorded under */
	uint8_t detail;    /* by kind, above; opens and clicks: why that verdict (enum evidence) */
	uint8_t flags;
	uint8_t agent;     /* opens and clicks, mode full: robot_family; SENT: TOUCH_UNTOLD ... */
	uint16_t link;     /* clicks: 1 .. 65535 in order of appearance in the message, 0 the hidden one; SENT: how many there are */
	int64_t when;      /* milliseconds since 1970 */
	struct who who;
	uint64_t campaign; /* campaign_id or 0 */
	uint64_t stream;   /* stream_id or 0 */
	uint32_t sent;     /* hits: when the message was tagged, seconds; 0 unknown.  HELD: until when, 0 for ever.  SENT, SKIPPED on hold: receiver group */
	uint8_t net[8];    /* mode full: net[0] = prefix length 24 or 48, then its bytes; else zero */
};

/* On disk: version 1, little-endian, TOUCH_BYTES long. */
#define TOUCH_BYTES 72
void touch_pack(const struct touch *, unsigned char out[TOUCH_BYTES]);
/* False for another version or length, or a kind that nobody defined. */
bool touch_unpack(struct touch *, struct span);

/* When it happened, in seconds as sums keep them: at least 1, since 0 means never, and at most 2106. */
uint32_t touch_seconds(const struct touch *);

/*
 * What a recipient said, or what others said of one: LEFT, JOINED, BOUNCED,
 * COMPLAINED, CONSENT, HELD, RELEASED, KEPT, LESS.  It outlives the touch.
 */
bool touch_is_said(const struct touch *);

const char *touch_name(enum touch_kind); /* "sent", "opened" ... as in import and export files */
bool touch_parse(struct span, enum touch_kind *);

/*
 * A touch with the names that go with it.  The names are written the first
 * time only; a store without them still counts.  Spans are borrowed until
 * the touch is written.
 */
#define SOURCE_MAX 255
struct record {
	struct touch touch;
	struct span address;     /* as first seen; "" none */
	struct span stream;      /* stream name */
	struct span campaign;    /* campaign name */
	struct span destination; /* of touch.campaign, touch.link */
	struct span source;      /* who says so and how, of what leaves a line of history (store.h); UTF-8, cut to SOURCE_MAX bytes.  SKIPPED, on hold: queue id */
};
/* The bytes of all its names. */
size_t record_names(const struct record *);
/* A copy whose names lie at `to', where there is room for record_names; gives what is behind them. */
char *record_copy(struct record *, const struct record *, char *to);

#endif
