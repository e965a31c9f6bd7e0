/* trail.h -- what one recipient left behind in one campaign: hits, judged together.  Pure. */
#ifndef REKINDLE_TRAIL_H
#define REKINDLE_TRAIL_H

#include "common/buf.h"
#include "common/touch.h"

/*
 * A hit is recorded with what its request alone shows (robot.h).  Burst,
 * honeypot, the time of delivery and repetition show only in what else the
 * same recipient did, before or after, and the touches may come in any
 * order.  So a trail is a set: any order of the same touches, in any
 * portions, gives the same bytes, and what it means is a function of those
 * and of the rules.  A touch that comes late may take back what was counted
 * before.
 *
 * Its size is bounded.  Of more than 2 * TRAIL_END hits the first and the last
 * TRAIL_END are kept; those in between, and what lies within HONEYPOT_WINDOW or
 * burst_window of them, count as machines' (EVIDENCE_CROWD).
 */
#define TRAIL_END 64
#define TRAIL_HITS (2 * TRAIL_END)
#define TRAIL_DELIVERIES 4 /* the newest */

/* Times in milliseconds. */
struct rules {
	int64_t instant, early;  /* after delivery: a scanner, suspect */
	unsigned burst_links;    /* so many different links ... */
	int64_t burst_window;    /* ... within this time are a scanner's */
	int64_t dedupe;          /* the same token within this time is one event */
	bool fold_back;          /* a suspect for its network alone is a person once a person's click follows */
};
#define RULES_DEFAULT ((struct rules){ 2000, 10000, 3, 3000, 60000, true })
#define BURST_LINKS_SURE 2    /* behind a gateway, and soon after the message was tagged */
#define HONEYPOT_WINDOW 10000 /* before and after who followed the hidden link */

/* On disk; changed rules are another version of everything they judged. */
#define RULES_BYTES 40
void rules_pack(const struct rules *, unsigned char out[RULES_BYTES]);
bool rules_unpack(struct rules *, struct span);

struct trail_hit {
	int64_t when;     /* ms */
	uint32_t sent;    /* touch.sent */
	uint16_t link;
	bool click;       /* else an open */
	struct judgement at_hit, final;
	/* As it was counted last, and not on disk: `fresh` was not counted yet. */
	bool fresh;
	struct judgement counted;
};

#define GONE_OPENER 1
#define GONE_OPENER_HUMAN 2
#define GONE_CLICKER 4 /* from now on clicks of the same recipient make no clicker of a link: which ones did is not known */
#define GONE_CLICKER_HUMAN 8
#define GONE_ALL 15
#define LEFT_ONCE 1

struct trail {
	struct trail_hit *hit; /* in order of time */
	size_t n, cap;
	uint64_t opens, clicks; /* all that ever came */
	int64_t gap_first, gap_last; /* of those in between that are not kept; 0 none */
	int64_t delivered[TRAIL_DELIVERIES]; /* newest first, 0 none */
	uint32_t left;    /* earliest LEFT, seconds; 0 never, LEFT_ONCE: the time went with the facts */
	bool gateway;     /* delivered to a host that scans links */
	unsigned char *links; /* which links were ever clicked: bit (link % 8) of byte link / 8 */
	size_t nlinks;    /* bytes */
	unsigned char gone; /* what the hits were counted as that went with their facts: GONE_OPENER ... */
	bool took_back;   /* what was counted before does not stand, or not all that is new is in here */
};

void trail_free(struct trail *);
/* Is this touch a part of a trail? */
bool trail_wants(const struct touch *);
/* Adds one; nothing is judged yet. */
void trail_add(struct trail *, const struct touch *);
/* Sorts, drops what is too much, and judges all. */
void trail_judge(struct trail *, const struct rules *);

/*
 * Moves what is older than `before`, or comes after `future`, into *past, an
 * empty trail: the facts of it are gone.  Campaigns and links keep what they
 * counted.  Here stays, without a time, that this recipient is among the
 * openers and clickers, so that nobody is counted twice.  What is so near to a
 * younger hit that one may judge the other goes with that one; times of
 * delivery go when no hit needs them.  False: nothing is old.
 */
bool trail_part(struct trail *, const struct rules *, int64_t before, int64_t future, struct trail *past);
/* Nothing in it any more, not even that? */
bool trail_is_empty(const struct trail *);

/* Appends; of who opened once some 20 bytes, and of nobody more than TRAIL_BYTES_MAX.  Hits are in order: it was judged. */
void trail_pack(const struct trail *, struct buf *);
/* False, and an empty trail, when it is none of ours.  What it has was counted. */
bool trail_unpack(struct trail *, struct span);
#define TRAIL_LINK_BYTES (65536 / 8)
#define TRAIL_HEAD_MAX 96
#define TRAIL_HIT_MAX 24
#define TRAIL_BYTES_MAX (TRAIL_HEAD_MAX + TRAIL_LINK_BYTES + TRAIL_HIT_MAX * TRAIL_HITS)

/* What a trail adds to its campaign, besides what went with the facts; human <= all, together with that. */
struct tally {
	int64_t opens_all, opens_human, clicks_all, clicks_human;
	int64_t openers_all, openers_human, clickers_all, clickers_human; /* 0 or 1 */
	int64_t left;                                                     /* 0 or 1 */
	int64_t opens[EVIDENCE_MAX], clicks[EVIDENCE_MAX];                /* all of them, by enum evidence */
};
void trail_tally(const struct trail *, struct tally *);

/* Does this hit count as a person's, and is it no repetition of one that did? */
static inline bool
trail_counts(const struct judgement *j)
{
	return robot_is_human(j->verdict) && j->evidence != EVIDENCE_REPEAT;
}

#endif
