/* brake.h -- when is something wrong with a campaign, or with what we see of its readers?  Pure. */
#ifndef REKINDLE_BRAKE_H
#define REKINDLE_BRAKE_H

#include "common/buf.h"
#include "common/engage.h"

/* Numbers are on disk. */
enum brake {
	BRAKE_NONE,
	BRAKE_HAND,       /* somebody stopped this campaign */
	BRAKE_COMPLAINTS, /* too many of its recipients complained: it is stopped */
	BRAKE_BOUNCES,    /* too many of its addresses do not exist: it is stopped */
	BRAKE_SHARE,      /* policy would stop too large a share of it by class: they pass */
	BRAKE_OUTAGE,     /* a receiver group's readers are hardly seen: nobody there is stopped by class */
	BRAKE_SILENCE,    /* nobody at all is seen: nobody is stopped by class */
	BRAKES
};
const char *brake_name(enum brake); /* "hand" "complaints" ... */
/* Does it stop a campaign's mail?  The others let mail pass that would be stopped. */
static inline bool
brake_stops(enum brake b)
{
	return b == BRAKE_HAND || b == BRAKE_COMPLAINTS || b == BRAKE_BOUNCES;
}

/* The id of an outage that is about all receivers. */
#define BRAKE_EVERYBODY UINT64_MAX

enum brake_level { BRAKE_OFF, BRAKE_WARN, BRAKE_ON };

/* What became of the recipients of a campaign, or of a stream in the last 24 hours. */
struct brake_counts {
	uint64_t sent, skipped;
	uint64_t by_class, spared; /* of skipped, of sent: inactive, or after the sunset */
	uint64_t delivered, bounced, complained;
};

struct brake_rate {
	enum brake_level level;
	uint64_t part, of;
	unsigned limit;   /* in hundredths of a percent */
	uint64_t minimum; /* `of' must be so many */
};
/*
 * BRAKE_COMPLAINTS: of what was delivered, or sent, where less than half is
 * known to be delivered.  BRAKE_BOUNCES: hard ones, of what was sent.
 * BRAKE_SHARE: of all recipients so far, whom policy stops, or would but for
 * this brake, by class.  `was': it is on, and goes off only below nine tenths
 * of the limit, so that it does not flutter.
 */
struct brake_rate brake_find(enum brake, const struct brake_counts *, const struct brake_limits *, bool was);

/* ---- outages ---- */

#define OUTAGE_BASE_HOURS (14 * 24)
#define OUTAGE_LAG_HOURS 12 /* most readers have reacted by then */
#define OUTAGE_HOURS (OUTAGE_BASE_HOURS + 24 + OUTAGE_LAG_HOURS) /* so far back hours matter */

struct outage_limits {
	unsigned share;    /* hundredths of a percent; 0: off */
	unsigned min;      /* tracked sends a day */
	unsigned silence;  /* hours; 0: off */
};
/*
 * Reactions of the last 24 hours, beside the tracked sends of the 24 hours
 * that were over 12 hours ago, so that a campaign which has just begun is not
 * taken for one that nobody reads; and the same of the 14 days before.
 */
struct outage {
	int64_t sent, reactions, sent_base, reactions_base;
	int64_t hits, hits_base;    /* of whomever: the last limits.silence hours, and the 14 days before 24 hours ago */
	int64_t sent_now;           /* in the last 24 hours, without the last limits.silence */
};
/* Adds what one hour had; `ago' hours before the present one, which is 0. */
void outage_add(struct outage *, unsigned ago, int64_t tracked, int64_t reactions, int64_t hits, const struct outage_limits *);
/*
 * Below the share of what was usual.  Where nothing can be said it stays as it was;
 * and with less than limits.min sends a day over the 14 days, or less than 50 reactions in all of them, it is off.
 */
bool outage_find(const struct outage *, const struct outage_limits *, bool was);
/* Mail goes out, and not one hit comes where some hundred were usual. */
bool outage_silent(const struct outage *, const struct outage_limits *);

/* "0.31 % of 1200 (limit 0.3 %)" */
void brake_explain(struct buf *, const struct brake_rate *);
/* "reactions per message 0.021, usually 0.187 (limit 20 % of it)" */
void outage_explain(struct buf *, const struct outage *, const struct outage_limits *);

#endif
