/* store_rows.h -- keys and values of the store's tables, as bytes.  A part of the store: everybody else includes common/store.h. */
#ifndef REKINDLE_STORE_ROWS_H
#define REKINDLE_STORE_ROWS_H

#include "common/store.h"

#define FACTS_SCHEMA 1
#define META_NO_CONSENTS "no consents" /* of state: 1 while nobody ever said what may be kept of them */
#define STATE_SCHEMA 7 /* who knows only an older one sums up nothing into it */
#define STATE_READ 2 /* from this one on sums are gone on with; of an older one all is summed up anew */

/* Numbers in values are little-endian (codec.h), those in keys big-endian so that they sort. */
static inline void
put_be(unsigned char *p, uint64_t v, size_t bytes)
{
	for (; bytes > 0; v >>= 8)
		p[--bytes] = (unsigned char)v;
}

static inline uint64_t
get_be(const unsigned char *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

/*
 * Each row_take_* reads a value into what it is handed, a struct of that
 * name; false when it is none of ours.  Each row_*_key returns the key's
 * length where it has several.
 */

/* ---- facts ---- */

#define LINK_KEY 10 /* campaign, link */

void row_link_key(unsigned char key[LINK_KEY], uint64_t campaign, uint16_t link);

/*
 * What recipients said, and what others said of them, line by line.  The
 * table began with consents alone, and has their name and their keys still,
 * so that no store had to be changed when the rest came:
 * who, when in milliseconds, axis -> consent, source;
 * who, when in milliseconds, kind, stream -> until when it holds (seconds), campaign, flags, source.
 */
#define CONSENT_KEY 25
#define HISTORY_KEY 33
#define HISTORY_HEAD 13

size_t row_history_key(unsigned char key[HISTORY_KEY], const struct touch *);
/* Head and source, which has at most SOURCE_MAX bytes; returns how much of value that is. */
size_t row_history_pack(unsigned char value[HISTORY_HEAD + SOURCE_MAX], const struct touch *, struct span source);
bool row_history_unpack(struct touch *, struct span *source, struct span key, struct span value);
/* As much of it as may be kept, cut between characters. */
struct span row_cut_source(struct span);

/* queue id, 0, who -> touch. */
#define HOLD_KEY_MAX (HOLD_ID_MAX + 1 + 16)

/* The part of it that all recipients of a message share. */
size_t row_hold_key(unsigned char key[HOLD_KEY_MAX], struct span id);
bool row_hold_id_good(struct span id);

/* kind, id -> since and until when, in milliseconds, and who. */
#define BRAKE_KEY 9
#define BRAKE_HEAD 16

void row_brake_key(unsigned char key[BRAKE_KEY], uint8_t kind, uint64_t id);
bool row_brake_unpack(struct brake_row *, struct span key, struct span value);

/* who, kind, detail, stream -> when, in milliseconds; of HELD also until when, in seconds, if not for ever. */
#define KEPT_KEY 26
#define KEPT_BYTES 12

void row_kept_key(unsigned char key[KEPT_KEY], const struct touch *);
bool row_kept_unpack(struct touch *, struct span key, struct span value);
/* Of two moments until when somebody is held: 0 is for ever, which is later than anything. */
bool row_holds_longer(uint32_t until, uint32_t than);

size_t row_carried_key(unsigned char key[LINK_KEY], const struct carried *);

/* The name under which facts remember how much of a journal they have. */
#define MARK_NAME 32

const char *row_mark_name(char name[MARK_NAME], uint64_t journal);

/* ---- state ---- */

#define CAMPAIGN_BYTES sizeof(struct campaign)
#define LINK_BYTES sizeof(struct link_count)
#define VOLUME_BYTES sizeof(struct volume)
#define SUBSCRIPTION_KEY 24 /* who, stream */
#define TRAIL_KEY 28        /* who, campaign, and only of campaign 0 the day */
#define VOLUME_KEY 13       /* hour, kind, id */
#define SWEEP_BYTES 32

void row_subscription_key(unsigned char key[SUBSCRIPTION_KEY], const struct who *, uint64_t stream);
size_t row_trail_key(unsigned char key[TRAIL_KEY], const struct who *, uint64_t campaign, uint32_t day);
bool row_trail_unkey(struct span key, uint64_t *campaign, uint32_t *day);
void row_volume_key(unsigned char key[VOLUME_KEY], uint32_t hour, enum volume_kind, uint64_t id);

/* A record of counters, which grows at its end: a shorter value reads as zeros there. */
void row_pack_counters(unsigned char *out, const void *record, size_t bytes);

bool row_take_profile(void *, struct span value);
bool row_take_past(void *profile, struct span value);
bool row_take_subscription(void *, struct span value);
bool row_take_campaign(void *, struct span value);
bool row_take_link(void *, struct span value);
bool row_take_trail(void *, struct span value);
bool row_take_volume(void *, struct span value);
bool row_take_rules(void *, struct span value);
bool row_take_who(void *, struct span value);
bool row_take_sweep(void *, struct span value);
void row_put_sweep(unsigned char bytes[SWEEP_BYTES], const struct sweep *);

#endif
