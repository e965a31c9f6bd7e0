/* profile.h -- the sum of one recipient's touches.  Sums commute: any order of the same touches gives the same bytes.  Pure. */
#ifndef REKINDLE_PROFILE_H
#define REKINDLE_PROFILE_H

#include "common/touch.h"

#define PROFILE_SENDS 24 /* newest sends kept; every send threshold in the policy is at most this */
#define PROFILE_OPENS 5  /* newest opens kept, to tell "privacy opens only" */
#define PROFILE_CLICKS 8 /* newest minutes with a click kept: a click must settle before it counts (engage.h) */
#define PROFILE_DAYS 128
#define PROFILE_SERIES 4 /* newest messages of a re-engagement series kept: three steps and a win-back */
#define PROFILE_SOFT 3   /* newest soft bounces kept */
#define PROFILE_STREAMS 8 /* streams whose last send is kept, those with the newest */

/* Lies on any fourth byte, as in a record (struct profile). */
typedef uint64_t profile_u64 __attribute__((aligned(4)));

/*
 * Which of the 128 days up to and including `last` had something.  Bit i of
 * the pair is day last - i.  `last` is a day number since 1970; 0: none.
 */
struct days {
	uint32_t last;
	profile_u64 bits[2];
};

/*
 * Times are seconds since 1970, 0 = never.  Everything is a maximum, a
 * minimum, a count or the newest k of a set, so that nodes which see the
 * touches in different orders agree.
 *
 * Where numbers are little-endian this is the record itself, byte for byte,
 * so that who asks about ten million recipients reads no more of each than
 * the answer needs (profile_at).
 */
struct profile {
	uint8_t version;       /* of a record, PROFILE_VERSION; nothing else looks at it */
	uint8_t streams;       /* not 0: there may be subscriptions, something was said about a single stream */
	uint8_t unused[2];
	uint32_t first_seen;   /* the earliest touch */
	uint32_t last_sent;
	uint32_t last_open;    /* human; in dayonly midnight UTC of the day */
	uint32_t last_click;   /* human */
	uint32_t last_machine; /* any machine touch */
	uint32_t sends, tracked_sends;          /* exempt ones too */
	uint32_t opens, clicks;                 /* human */
	uint32_t machine_opens, machine_clicks;
	uint32_t left, joined, bounced, complained, held, released; /* of all streams */
	uint32_t affirmed; /* the last JOINED, KEPT or LESS, of whatever scope: silence before it proves nothing */
	uint32_t last_day; /* the last day-only open alone, for last_open is summed up anew when an open is taken back */
	uint32_t chosen;   /* the last KEPT or LESS: nothing shows better that somebody reads, and no machine presses buttons */
	/*
	 * By enum axis: seconds << 2 | rank, 0 = never asked, so that the newest
	 * wins and at the same second the stricter one (see profile_consent).
	 */
	profile_u64 consent[2];
	/*
	 * Newest first.  Lowest bit: 1 = tracked (sends), human (opens; 0 is a
	 * privacy open, other machines are not in here); the rest: seconds, even.
	 * Exempt sends are not in here: they prove no silence, and no cap counts them.
	 */
	uint32_t sent[PROFILE_SENDS];
	uint32_t opened[PROFILE_OPENS];
	uint32_t clicked[PROFILE_CLICKS];       /* human, the last of each minute, newest first */
	uint8_t clicked_before[PROFILE_CLICKS]; /* so many seconds before it was the first of this minute */
	struct days open_days, click_days;      /* human, identified or full */
	/* Version 2 had no more than this. */
	uint32_t held_until;    /* of the last HELD; 0 for ever */
	uint32_t delivered;     /* last taken by the next host */
	uint32_t last_regular;  /* last send that is neither exempt nor of a series */
	uint32_t receiver;      /* group of the last send (touch.sent), 0 none */
	uint32_t series[PROFILE_SERIES];     /* sends of a series, newest first */
	uint32_t soft_bounced[PROFILE_SOFT]; /* newest first; BOUNCE_POLICY is not in here */
	uint32_t stream_sent[PROFILE_STREAMS]; /* last send of a stream, exempt ones apart, newest first */
	uint16_t sent_tag[PROFILE_SENDS]; /* profile_tag of its stream, or 0: before version 3, which counts for all streams alone; lowest bit: that of the second */
	uint16_t stream_tag[PROFILE_STREAMS];  /* which stream that was; each only once */
	uint8_t unused_end[4];
};

/* On disk: version 3, little-endian, what is unused zero-filled. */
#define PROFILE_VERSION 3
#define PROFILE_BYTES 440
void profile_pack(const struct profile *, unsigned char out[PROFILE_BYTES]);
/* Version 2 is read too: what it does not have is 0.  False for another version or length. */
bool profile_unpack(struct profile *, struct span);
/*
 * The same without a copy: the profile in the record itself, good for as long
 * as that; or in *room, when it must be unpacked.  NULL where profile_unpack is false.
 */
static inline const struct profile *
profile_at(struct span s, struct profile *room)
{
	if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && s.n == PROFILE_BYTES && s.p[0] == PROFILE_VERSION &&
	    (uintptr_t)s.p % _Alignof(struct profile) == 0)
		return (const struct profile *)(const void *)s.p;
	return profile_unpack(room, s) ? room : NULL;
}
/* Hits alone. */
#define PROFILE_HITS_BYTES 132
void profile_pack_hits(const struct profile *, unsigned char out[PROFILE_HITS_BYTES]);
bool profile_unpack_hits(struct profile *, struct span);

/* What stands for a stream among one recipient's sends: 15 bits, never 0, and an empty lowest one. */
uint16_t profile_tag(uint64_t stream);
/* The i-th newest send, to the second; 0: there are not so many. */
static inline uint32_t
profile_sent(const struct profile *p, size_t i)
{
	return (p->sent[i] & ~1u) | (p->sent_tag[i] & 1u);
}

/*
 * Adds one touch of this recipient; any kind.  Of a touch of a single stream
 * (LEFT, JOINED, RELEASED with a stream) only its time counts here
 * (first_seen), the rest belongs to the subscription.  An open or click in
 * mode dayonly leaves the day in last_open and no other trace; one in a lower
 * mode, or with no verdict in a higher one, leaves none.
 */
void profile_add(struct profile *, const struct touch *);

/*
 * Opens and clicks that may be taken back later (trail.h) are added with the
 * verdict as judged, of mode identified or full.  A repetition counts for its
 * time alone.  What was taken back cannot be subtracted from maxima: then all
 * of them are forgotten, and those that stand are added anew.
 */
void profile_add_hit(struct profile *, bool click, const struct judgement *, uint32_t seconds);
/* Hits that are not told apart: only counted. */
void profile_add_machines(struct profile *, uint64_t opens, uint64_t clicks);
void profile_forget_hits(struct profile *);
/* What was forgotten becomes that of `past`, a profile of hits alone. */
void profile_recall_hits(struct profile *, const struct profile *past);

enum consent profile_consent(const struct profile *, enum axis);

/* Is this day set? */
bool days_has(const struct days *, uint32_t day);
/* Set bits among the days from..to (day numbers, inclusive). */
unsigned days_count(const struct days *, uint32_t from, uint32_t to);
/* Was only the day of the last open kept?  Then no bit stands for it. */
static inline bool
profile_open_is_day(const struct profile *p)
{
	const uint32_t day = 24 * 3600;

	return p->last_open != 0 && p->last_open % day == 0 && !days_has(&p->open_days, p->last_open / day);
}
/* The 128 days up to this one: bit i of the pair is day - i. */
void days_until(const struct days *, uint32_t day, uint64_t bits[2]);

/* One recipient in one stream. */
struct subscription {
	uint32_t left, joined; /* seconds; left when left > joined, or at the same second */
	uint32_t less, kept;   /* the same: fewer messages are wanted when less > kept, or at the same second */
	uint32_t held, released; /* stopped by hand when held > released, or at the same second ... */
	uint32_t held_until;   /* ... and until then; 0 for ever */
};
#define SUBSCRIPTION_BYTES 28
void subscription_pack(const struct subscription *, unsigned char out[SUBSCRIPTION_BYTES]);
/* False for another length; 8 and 16 bytes are good as well: from before anybody could ask for less, and hold. */
bool subscription_unpack(struct subscription *, struct span);
void subscription_add(struct subscription *, const struct touch *);
/* Does the recipient want fewer messages?  Says nothing about having left. */
bool subscription_less(const struct subscription *);
/* Is this touch about one stream only? */
bool touch_is_subscription(const struct touch *);

#endif
