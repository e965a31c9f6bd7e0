/* engage.h -- how warm is this recipient, and what follows?  Pure: no clock, no store, no log. */
#ifndef REKINDLE_ENGAGE_H
#define REKINDLE_ENGAGE_H

#include "common/buf.h"
#include "common/profile.h"

/* Numbers are on disk (detail of a SENT touch). */
enum engage { ENGAGE_NEW, ENGAGE_ENGAGED, ENGAGE_SEMI, ENGAGE_INACTIVE, ENGAGE_CLASSES };

/* Why this class, in the order in which it is decided. */
enum reason {
	REASON_RECENT,    /* human engagement within engaged_days */
	REASON_COOLING,   /* within semi_days */
	REASON_GRACE,     /* never engaged, not known long or often enough */
	REASON_FEW_SENDS, /* silent, but too few tracked sends to judge */
	REASON_YOUNG,     /* never engaged, and not known for semi_days yet */
	REASON_UNTRACKED, /* nothing sent since may be tracked: silence proves nothing */
	REASON_SILENT,    /* silent for long enough, over enough sends */
};

/* What stands in the way of the next message; looked at in this order.  Numbers are on disk. */
enum cause {
	CAUSE_NONE,
	CAUSE_COMPLAINED,
	CAUSE_BOUNCED,
	CAUSE_UNSUBSCRIBED, /* from this stream or from everything */
	CAUSE_HELD,         /* by hand */
	CAUSE_INACTIVE,     /* by class */
	CAUSE_SOFT_BOUNCED, /* the last messages did not get there */
	CAUSE_CAPPED,       /* enough messages for now */
	CAUSE_RESTING,      /* a series message too early */
	CAUSE_SUNSET,       /* the series is over, without an answer */
	CAUSE_NOT_DUE,      /* a series message for somebody who is in no series */
	CAUSE_THROTTLED,    /* not now: shares and volumes */
	CAUSE_BRAKED,       /* the whole campaign was stopped */
	CAUSES
};

enum action { ACTION_SEND, ACTION_REJECT, ACTION_DEFER, ACTION_HOLD, ACTION_DISCARD, ACTION_ROUTE };

/* By whichever transport. */
static inline bool
action_goes_out(enum action a)
{
	return a == ACTION_SEND || a == ACTION_ROUTE;
}

/* What the recipient, a receiver or a person has said; the others follow from class, frequency and what was sent. */
static inline bool
cause_was_said(enum cause c)
{
	return c == CAUSE_COMPLAINED || c == CAUSE_BOUNCED || c == CAUSE_UNSUBSCRIBED || c == CAUSE_HELD;
}

/* "3/7d": at most so many messages in any so many seconds. */
#define CAP_WINDOWS 4
#define CAP_COUNT_MAX PROFILE_SENDS
struct cap {
	unsigned count; /* 1 .. CAP_COUNT_MAX */
	uint32_t seconds;
};
/* All of them hold; none: off. */
struct caps {
	unsigned n;
	struct cap cap[CAP_WINDOWS];
};
enum cap_kind {
	CAPS_NEW, CAPS_ENGAGED, CAPS_SEMI, CAPS_INACTIVE, /* by enum engage */
	CAPS_LOYAL, /* instead of the class's */
	CAPS_LESS,  /* of this stream's messages, for who asked for less; besides the class's */
	CAPS_KINDS
};

#define SETTLE_MAX 360 /* seconds: PROFILE_CLICKS minutes reach further back, always */

/* When a brake goes on (brake.h).  Shares are in hundredths of a percent. */
struct brake_limits {
	unsigned share, min_share; /* of a campaign's recipients stopped by class; it must have so many; 10000: off */
	unsigned complaints, complaints_warn, bounces, bounces_warn; /* 10000: off */
	unsigned min_sent;         /* messages of a campaign, before its rates say anything */
};

/* Days and counts, both inclusive; the presets are in engage.c.  Send counts are 1 .. PROFILE_SENDS. */
struct policy {
	unsigned engaged_days, semi_days;
	unsigned inactive_min_sends;         /* never engaged */
	unsigned inactive_min_sends_engaged; /* engaged once */
	unsigned new_days, new_min_sends, new_max_days;
	unsigned settle;                     /* seconds before a click counts, at most SETTLE_MAX: a burst may take it back */
	struct caps caps[CAPS_KINDS];        /* of messages of all streams */
	struct caps stream_caps[ENGAGE_CLASSES]; /* of this stream's alone */
	unsigned soft_bounces, soft_bounce_days; /* so many in a row stop mail for so long; 0 bounces: off */
	bool series;                         /* is there a re-engagement series? */
	unsigned rest_days;                  /* without mail before it */
	unsigned series_steps;               /* 1 .. 3 */
	unsigned series_gap_days, series_wait_days; /* between the steps, after the last */
	unsigned winback_days;               /* after the sunset one more try; 0: none */
	unsigned holdout;                    /* of 1000 recipients, whose inactivity changes nothing: a control group */
	enum action on[CAUSES];              /* by cause; [CAUSE_NONE] is ACTION_SEND */
	struct brake_limits brake;
	unsigned share_semi, share_inactive; /* of all mail of a day, in hundredths of a percent; 10000: off */
	unsigned share_min;                  /* so many of each of them may go whatever their share is */
	int64_t head_start;                  /* ms by which engaged recipients of a campaign come first; 0: off */
};

enum preset { PRESET_DAILY, PRESET_WEEKLY, PRESET_MONTHLY, PRESET_QUARTERLY };
struct policy policy_preset(enum preset);

struct finding {
	enum engage class;
	enum reason reason;
	/* Overlays: worth knowing besides the class. */
	bool loyal;   /* 3 engaged days in 90, one with a click */
	bool at_risk; /* was loyal when last engaged, now semi-engaged or inactive */
	bool opaque;  /* the last opens are all privacy opens: judged by clicks, windows doubled */
	bool clicked; /* what last_engaged was: a click; else an open */
	bool unsettled; /* there is a click that is too young to count */
	uint32_t last_engaged;  /* seconds, 0 never; midnight when only the day is kept */
	uint32_t silent_since;  /* seconds: silence counts from here, the last engagement or the last time they subscribed; 0 always */
	unsigned silent_sends;  /* tracked sends since then, at most PROFILE_SENDS */
};

/*
 * p may be NULL: a recipient nobody knows (new).  now in milliseconds.  A
 * class is a function of the record and the time, so it is right at every
 * instant and nobody has to run a nightly job.
 */
struct finding engage_find(const struct profile *p, const struct policy *, int64_t now);
/* The class alone, of somebody who is known: reads little of the record, for who counts all of them. */
enum engage engage_class(const struct profile *p, const struct policy *, int64_t now);
/* The overlays of a finding that has its class and nothing else. */
void engage_overlays(struct finding *, const struct profile *p, const struct policy *, int64_t now);
/* Ranks only: a day with a click 5, with only an open 1, half-life 30 days, times 100. */
unsigned engage_score(const struct profile *p, const struct policy *, int64_t now);

/*
 * What the recipient's own record says: complained, bounced, unsubscribed,
 * held, or inactive.  p may be NULL; s is this stream's subscription or NULL.
 * A stop at the same second as what lifts it wins.  now in milliseconds.
 */
enum cause engage_cause(const struct profile *p, const struct subscription *s, const struct finding *, int64_t now);

/* Held by hand until then, by the hold that ends last, in seconds; 0 not at all, or for ever. */
uint32_t engage_held_until(const struct profile *, const struct subscription *, int64_t now);

/* One line for people: "inactive: no human engagement for 214 days, over 26 sends (limit 90 days, 11 sends)". */
void engage_explain(struct buf *, const struct profile *, const struct policy *, const struct finding *, int64_t now);
/* One line for an SMTP reply or log: "recipient unsubscribed on 2026-02-01".  No address, ASCII, no line break. */
void cause_explain(struct buf *, enum cause, const struct profile *, const struct subscription *, const struct finding *, int64_t now);

const char *engage_name(enum engage); /* "new" "engaged" "semi-engaged" "inactive" */
bool engage_parse(struct span, enum engage *);
const char *reason_name(enum reason);
const char *cause_name(enum cause);   /* "none" "complained" ...: also the status word */
const char *action_name(enum action);
bool action_parse(struct span, enum action *);

#endif
