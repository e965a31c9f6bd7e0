/* series.h -- rest, re-engagement series, sunset: where an inactive recipient is, and what comes next.  Pure. */
#ifndef REKINDLE_SERIES_H
#define REKINDLE_SERIES_H

#include "common/engage.h"

/*
 * A function of the sends, the reactions and the time, like the class, so
 * nobody has to move anybody on:
 *
 *	inactive, no mail for rest_days		resting
 *	then a message of the series is due,	re-engage 1 .. series_steps
 *	and the next series_gap_days after it
 *	series_wait_days after the last one	sunset: stopped, and kept
 *	winback_days after that, if at all	one more is due: win-back
 *
 * Any engagement ends it, since the class is not inactive then, and the next
 * time it begins anew.
 */
enum series_status {
	SERIES_NONE,    /* not inactive, or there is no series */
	SERIES_HOLDOUT, /* of the control group: goes on as if it were not inactive */
	SERIES_RESTING,
	SERIES_1, SERIES_2, SERIES_3, /* that step is due, or was sent last */
	SERIES_SUNSET,
	SERIES_WINBACK,
	SERIES_STATUSES
};

struct series {
	enum series_status status;
	bool due;      /* a message of the series may go now */
	unsigned sent; /* so many went since the silence began, at most PROFILE_SERIES */
	uint32_t next; /* seconds: when what comes next comes, a message or the sunset; 0 nothing, or now */
};

/* p and who may be NULL: nobody knows this recipient.  now in milliseconds. */
struct series series_find(const struct profile *p, const struct who *who, const struct policy *, const struct finding *, int64_t now);
/*
 * What is due, or comes at .next: SERIES_1 .. SERIES_3 or SERIES_WINBACK are
 * messages, SERIES_SUNSET is the end of the wait for an answer, SERIES_NONE
 * is nothing.
 */
enum series_status series_coming(const struct series *, const struct policy *);
/* Is this recipient of the control group? */
bool series_holdout(const struct who *, const struct policy *);

const char *series_name(enum series_status); /* "none" "holdout" "resting" "re-engage-1" ... "sunset" "win-back" */
bool series_parse(struct span, enum series_status *);

#endif
