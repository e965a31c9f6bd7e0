/* verdict.h -- what happens to one recipient's next message in one stream.  Pure; one place, so that milter and CLI agree. */
#ifndef REKINDLE_VERDICT_H
#define REKINDLE_VERDICT_H

#include "common/caps.h"
#include "common/conf.h"
#include "common/engage.h"
#include "common/series.h"

/* Everything is borrowed.  What is not set is not known, or not the case. */
struct question {
	const struct conf *conf;
	const struct stream *stream;
	uint64_t stream_id;
	const struct who *who;                /* NULL, or nobody */
	const struct profile *profile;        /* NULL: nobody knows this recipient */
	const struct subscription *subscription; /* NULL: nor in this stream */
	int64_t now;                          /* ms */
	const struct recent *recent;          /* sends that the profile may not have yet */
	size_t nrecent;
	bool outage;         /* reactions of this recipient's receiver are not seen: silence proves nothing */
	enum cause imposed;  /* CAUSE_THROTTLED or CAUSE_BRAKED: found elsewhere; CAUSE_NONE */
	uint32_t imposed_until; /* seconds, 0 unknown */
};

struct verdict {
	struct finding finding;
	struct series series;
	enum cause cause;         /* CAUSE_NONE in a transactional stream */
	enum action wanted;       /* what the policy says */
	enum action action;       /* what is carried out: that, or ACTION_SEND where the stream only observes */
	enum mode opens, links;   /* how much may be kept of this recipient */
	uint32_t next;            /* seconds: when the cause may be gone; 0 unknown, or never */
	bool holdout;             /* would have been stopped, but for the control group */
	bool spared;              /* would have been stopped as inactive, but for the outage */
};

/*
 * Observing, nothing is carried out but what the recipient asked for: our own
 * List-Unsubscribe header promised that no more mail comes (RFC 8058), and a
 * complaint says the same.
 *
 * The first that applies: what the recipient's own record says, a campaign
 * that was stopped, series and sunset, soft bounces, frequency, shares.
 */
struct verdict verdict_find(const struct question *);

/*
 * The caps that hold for this recipient in this stream, all of them together;
 * returns how many there are.  With tag 0 they count the messages of all
 * streams.  None in a transactional stream, and none in that of the series.
 */
#define VERDICT_CAPS 3
struct held_caps {
	const struct caps *caps;
	uint16_t tag;
};
size_t verdict_caps(const struct question *, const struct finding *, struct held_caps[VERDICT_CAPS]);

/* One line for SMTP replies, logs and people: why, and until when.  No address, ASCII, no line break. */
void verdict_explain(struct buf *out, const struct question *, const struct verdict *);

#endif
