/* brakes.h -- which campaigns are stopped, and whose readers are not seen: what the store tells, and this process adds. */
#ifndef REKINDLE_BRAKES_H
#define REKINDLE_BRAKES_H

#include "common/brake.h"
#include "common/setup.h"
#include "common/store.h"
#include "common/throttle.h"

/*
 * A thread looks at the store every second, puts brakes on and takes them
 * off, and says so; who asks waits for no disk that is written to.  From any
 * thread.
 */
struct brakes;
/* The settings are those that `slot' has at each moment.  throttle is synced as well. */
struct brakes *brakes_start(struct store *, struct setup_slot *, struct throttle *);
void brakes_stop(struct brakes *); /* NULL is fine */

struct brakes_answer {
	bool spare;       /* nobody is stopped by class: question.outage */
	enum brake stop;  /* why the whole campaign is stopped: CAUSE_BRAKED; BRAKE_NONE */
	uint32_t first;   /* seconds: when its first message was seen; 0 without a campaign */
};
/*
 * campaign 0: not known yet, at RCPT; then the stream's last 24 hours stand
 * for it, and no campaign is stopped.  Reads the store the first time it hears of a campaign.
 */
void brakes_ask(struct brakes *, const struct stream *, uint64_t stream_id, uint64_t campaign, uint32_t receiver, int64_t now,
    struct brakes_answer *);

/* What happened to one recipient in the end; the same campaign as in the question. */
enum brakes_event { BRAKES_SENT, BRAKES_SPARED, BRAKES_STOPPED, BRAKES_BY_CLASS };
void brakes_count(struct brakes *, uint64_t stream_id, uint64_t campaign, enum brakes_event);

struct brakes_stats {
	uint64_t campaigns; /* stopped, of those that send here */
	uint64_t shares;    /* campaigns and streams of which too many would be stopped */
	uint64_t outages;   /* receiver groups, and the tracker */
};
void brakes_stats(struct brakes *, struct brakes_stats *);

#endif
