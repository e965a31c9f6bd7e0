/* caps.h -- how many messages in how much time?  Pure. */
#ifndef REKINDLE_CAPS_H
#define REKINDLE_CAPS_H

#include "common/engage.h"

/* A send that the profile may not have yet. */
struct recent {
	uint32_t when; /* seconds */
	uint16_t tag;  /* profile_tag; 0 exempt */
};

/*
 * The moment, in seconds, from which one more message keeps these caps; 0:
 * at once.  A window of N seconds is open at its far end: what was sent
 * exactly N seconds ago is out of it.  With a tag only that stream's sends
 * count, with 0 those of all streams; exempt ones never do, nor what is far
 * in the future, where a clock was wrong.  recent may repeat what the profile
 * has; p may be NULL.
 */
uint32_t caps_free(const struct caps *, uint16_t tag, const struct profile *p, const struct recent *, size_t n, uint32_t now);

/* How many messages are in this window now, as caps_free counts them; at most CAP_COUNT_MAX. */
unsigned caps_sent(const struct cap *, uint16_t tag, const struct profile *p, const struct recent *, size_t n, uint32_t now);

/* "1/16h, 7/7d" or "off". */
void caps_add_text(struct buf *, const struct caps *);

#endif
