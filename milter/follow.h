/* follow.h -- a thread that follows Postfix's log: deliveries and bounces become touches. */
#ifndef REKINDLE_FOLLOW_H
#define REKINDLE_FOLLOW_H

#include "common/setup.h"
#include "common/store.h"
#include "common/writer.h"
#include "milter/queue.h"

/*
 * A delivery, and a bounce that is not hard, count for messages that the
 * queue knows (queue.h).  A hard bounce of any mail counts too, for somebody
 * whom the store knows, without a campaign.  Other mail of the server leaves
 * no trace.  A deferral is no touch; when the message expires it becomes a
 * soft bounce, or a policy one, by what was said last.
 *
 * The place in the log is remembered in data_dir ("mail-log.place") once the
 * touches are durable.  A crash in between makes a second or less of the log
 * be read twice: times of profiles are the same then, counters of campaigns
 * are not.  At the very first start the log is read from its end, and from there on after a
 * restart, also when nothing was in it yet.
 *
 * Of several processes that share data_dir one follows, and fills the queue:
 * the others warn that they do not, and one of them begins, where that one
 * was, when it has ended.
 *
 * Rotation by renaming is followed, also one that happens while nobody reads,
 * as long as the old file is beside the new one and not compressed; and
 * rotation by copying and truncating.
 */
struct follow;

struct follow_options {
	const char *log;  /* a path, "journal" or "journal:/directory" */
	const char *dir;  /* for the place */
	struct setup_slot *slot;
	struct store *store;
	struct writer *writer;
	struct queue *_Atomic *queue; /* opened once this process follows; the caller closes it, after the end */
};

/* No journal to be read, or no thread: fatal. */
struct follow *follow_start(const struct follow_options *);
/* NULL is fine.  False: it waits for a disk for longer than that, and still uses all of it. */
bool follow_stop(struct follow *, int64_t within_ms);

struct follow_stats {
	uint64_t lines;     /* that say something of a delivery, whoever's */
	uint64_t delivered, deferred, bounced, soft_bounced, policy_bounced; /* of ours */
};
void follow_stats(struct follow_stats *); /* of this process, also after the end */

#endif
