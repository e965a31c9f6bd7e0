/* verdict.h -- what happens to one recipient's next message in one stream.  Pure; one place, so that milter and CLI agree. */
#ifndef REKINDLE_VERDICT_H
#define REKINDLE_VERDICT_H

#include "common/conf.h"
#include "common/engage.h"

struct verdict {
	struct finding finding;
	enum cause cause;         /* CAUSE_NONE in a transactional stream */
	enum action wanted;       /* what the policy says */
	enum action action;       /* what is carried out: that, or ACTION_SEND where the stream only observes */
	enum mode opens, links;   /* how much may be kept of this recipient */
};

/*
 * p and s may be NULL: nobody knows this recipient, or not in this stream.
 *
 * Observing, nothing is carried out but what the recipient asked for: our own
 * List-Unsubscribe header promised that no more mail comes (RFC 8058), and a
 * complaint says the same.
 */
struct verdict verdict_find(const struct conf *, const struct stream *, const struct profile *p,
    const struct subscription *s, int64_t now);

/* The line that cause_explain gives for it, for SMTP replies, logs and people. */
void verdict_explain(struct buf *, const struct verdict *, const struct profile *p, const struct subscription *s, int64_t now);

#endif
