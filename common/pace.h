/* pace.h -- how much mail may go out now?  Sums by the minute, and what shares, limits and a warm-up make of them.  Pure. */
#ifndef REKINDLE_PACE_H
#define REKINDLE_PACE_H

#include <stdint.h>

#include "common/engage.h"

/*
 * What went out in each of the last PACE_MINUTES, which is a day and more.
 * Minutes are since 1970.  A send of the future is one of the newest minute
 * that there is; one of too long ago is forgotten, but one of more than twice
 * PACE_MINUTES ago tells that the clock was ahead, and all before it is.
 */
#define PACE_MINUTES 1536
struct pace {
	uint32_t minute; /* the newest; 0 nothing yet */
	uint32_t slot[PACE_MINUTES];
};
void pace_add(struct pace *, uint32_t minute, uint32_t n);
/* Takes back at most what is there. */
void pace_take(struct pace *, uint32_t minute, uint32_t n);
/* Of minutes from .. to, both inclusive. */
uint64_t pace_sum(const struct pace *, uint32_t from, uint32_t to);

/*
 * The moment, in seconds, from which one more keeps `count' in any `minutes'
 * (1 .. 1440); 0: at once.  A minute counts as a whole while any of it is
 * within them, so the limit holds for any stretch of time, to the second.
 */
uint32_t pace_free(const struct pace *, uint64_t count, unsigned minutes, uint32_t now);

/*
 * May one more be sent of those of which `part' of `all' were, when they are to
 * be no more than `share' (hundredths of a percent) of all?  The first `free' always may.
 */
bool pace_share(uint64_t part, uint64_t all, unsigned share, uint64_t free);

/*
 * A warm-up: so many messages on each UTC day since the first.  Engaged
 * recipients first: only they and new ones get mail in the first half of the
 * days, rounded up; later semi-engaged ones may take share_semi of the day's
 * volume, and inactive ones and the series share_inactive.
 */
struct warmup {
	uint64_t volume;  /* of this day */
	bool second_half;
	unsigned share_semi, share_inactive;
};
enum pace_kind { PACE_ALL, PACE_SEMI, PACE_LOW, PACE_KINDS }; /* all; semi-engaged; inactive or of the series */
enum pace_kind pace_kind(enum engage, bool series);
/* today: what was sent today, by kind; PACE_ALL has all of them. */
bool pace_warm(const struct warmup *, enum pace_kind, const uint64_t today[PACE_KINDS]);

#endif
