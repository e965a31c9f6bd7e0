#include "common/caps.h"

#include "common/text.h"

#define AHEAD 300 /* seconds: what is later than that was sent by a clock that was wrong */

/* Sends of a recipient, newest first, as many as any cap can count; of those that all windows have forgotten not all. */
struct sends {
	uint32_t when[CAP_COUNT_MAX];
	size_t n;
	uint32_t now, forgotten;
};

/* What was sent then, or before, is in no window any more. */
static void
forget(struct sends *s, const struct cap *c)
{
	uint32_t before = c->seconds < s->now ? s->now - c->seconds : 0;

	if (before < s->forgotten)
		s->forgotten = before;
}

static void
add(struct sends *s, uint32_t when)
{
	size_t i = s->n;

	if (when > s->now && when - s->now > AHEAD)
		return;
	if (s->n < CAP_COUNT_MAX)
		s->n++;
	else if (when <= s->when[--i])
		return;
	for (; i > 0 && s->when[i - 1] < when; i--)
		s->when[i] = s->when[i - 1];
	s->when[i] = when;
}

static uint16_t
stream_of(uint16_t tag)
{
	return (uint16_t)(tag & ~1u);
}

static void
add_last_of(struct sends *s, uint16_t tag, const struct profile *p, const struct recent *recent, size_t n)
{
	size_t i = 0;

	while (i < PROFILE_STREAMS && p->stream_tag[i] != tag)
		i++;
	if (i == PROFILE_STREAMS)
		return;
	for (size_t k = 0; k < n; k++)
		if (recent[k].tag == tag && recent[k].when == p->stream_sent[i])
			return;
	add(s, p->stream_sent[i]);
}

/* Each of the recent ones that stands in the profile too is one send and not two. */
static void
collect(struct sends *s, uint16_t tag, const struct profile *p, const struct recent *recent, size_t n)
{
	bool taken[PROFILE_SENDS] = { false }, known = false;

	for (size_t k = 0; k < n; k++) {
		size_t i = 0;

		if (recent[k].tag == 0 || (tag != 0 && recent[k].tag != tag))
			continue;
		while (p != NULL && i < PROFILE_SENDS &&
		    (taken[i] || stream_of(p->sent_tag[i]) != recent[k].tag || profile_sent(p, i) != recent[k].when))
			i++;
		if (p != NULL && i < PROFILE_SENDS)
			taken[i] = true;
		else
			add(s, recent[k].when);
	}
	for (size_t i = 0; p != NULL && i < PROFILE_SENDS && (p->sent[i] | 1u) > s->forgotten && p->sent[i] != 0; i++) {
		uint16_t stream = stream_of(p->sent_tag[i]);

		if (tag == 0 || stream == tag) {
			add(s, profile_sent(p, i));
			known = true;
		}
	}
	/* The newest sends may all be of other streams. */
	if (p != NULL && tag != 0 && !known)
		add_last_of(s, tag, p, recent, n);
}

uint32_t
caps_free(const struct caps *caps, uint16_t tag, const struct profile *p, const struct recent *recent, size_t n, uint32_t now)
{
	struct sends sends = { .now = now, .forgotten = now };
	uint64_t latest = 0;

	if (caps->n == 0)
		return 0;
	for (size_t i = 0; i < caps->n; i++)
		forget(&sends, &caps->cap[i]);
	collect(&sends, tag, p, recent, n);
	for (size_t i = 0; i < caps->n; i++) {
		const struct cap *c = &caps->cap[i];

		if (sends.n >= c->count && (uint64_t)sends.when[c->count - 1] + c->seconds > latest)
			latest = (uint64_t)sends.when[c->count - 1] + c->seconds;
	}
	return latest <= now ? 0 : latest > UINT32_MAX ? UINT32_MAX : (uint32_t)latest;
}

unsigned
caps_sent(const struct cap *c, uint16_t tag, const struct profile *p, const struct recent *recent, size_t n, uint32_t now)
{
	struct sends sends = { .now = now, .forgotten = now };
	unsigned sent = 0;

	forget(&sends, c);
	collect(&sends, tag, p, recent, n);
	while (sent < sends.n && (uint64_t)sends.when[sent] + c->seconds > now)
		sent++;
	return sent;
}

void
caps_add_text(struct buf *b, const struct caps *caps)
{
	for (size_t i = 0; i < caps->n; i++) {
		buf_addf(b, "%s%u/", i > 0 ? ", " : "", caps->cap[i].count);
		text_add_duration(b, (int64_t)caps->cap[i].seconds * 1000);
	}
	if (caps->n == 0)
		buf_adds(b, "off");
}
