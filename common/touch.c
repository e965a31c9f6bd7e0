#include "common/touch.h"

#include "common/codec.h"

/*
 * Version 1:
 *
 *	 0 version	 1 kind		 2 verdict	 3 mode
 *	 4 detail	 5 flags	 6 agent	 7 zero
 *	 8 link		10 zero		12 sent
 *	16 when
 *	24 who
 *	40 campaign
 *	48 stream
 *	56 net
 *	64 zero
 */
#define TOUCH_VERSION 1

static const char *const names[TOUCH_KINDS] = {
	[TOUCH_SENT] = "sent",
	[TOUCH_SKIPPED] = "skipped",
	[TOUCH_OPEN] = "opened",
	[TOUCH_CLICK] = "clicked",
	[TOUCH_LEFT] = "left",
	[TOUCH_JOINED] = "joined",
	[TOUCH_BOUNCED] = "bounced",
	[TOUCH_COMPLAINED] = "complained",
	[TOUCH_CONSENT] = "consented",
	[TOUCH_HELD] = "held",
	[TOUCH_RELEASED] = "released",
	[TOUCH_DELIVERED] = "delivered",
	[TOUCH_KEPT] = "kept",
	[TOUCH_LESS] = "less",
	[TOUCH_SOFT_BOUNCED] = "soft-bounced",
};

void
touch_pack(const struct touch *t, unsigned char out[TOUCH_BYTES])
{
	memset(out, 0, TOUCH_BYTES);
	out[0] = TOUCH_VERSION;
	out[1] = t->kind;
	out[2] = t->verdict;
	out[3] = t->mode;
	out[4] = t->detail;
	out[5] = t->flags;
	out[6] = t->agent;
	put_u16(out + 8, t->link);
	put_u32(out + 12, t->sent);
	put_u64(out + 16, (uint64_t)t->when);
	memcpy(out + 24, t->who.b, sizeof t->who.b);
	put_u64(out + 40, t->campaign);
	put_u64(out + 48, t->stream);
	memcpy(out + 56, t->net, sizeof t->net);
}

bool
touch_unpack(struct touch *t, struct span s)
{
	static const unsigned char zero[8];
	const unsigned char *in = (const unsigned char *)s.p;

	if (s.n != TOUCH_BYTES || in[0] != TOUCH_VERSION || in[1] == 0 || in[1] >= TOUCH_KINDS)
		return false;
	/* Bytes that version 1 leaves zero: whoever fills them means something that we do not know. */
	if (in[7] != 0 || in[10] != 0 || in[11] != 0 || memcmp(in + 64, zero, sizeof zero) != 0)
		return false;

	*t = (struct touch){
		.kind = in[1],
		.verdict = in[2],
		.mode = in[3],
		.detail = in[4],
		.flags = in[5],
		.agent = in[6],
		.link = get_u16(in + 8),
		.sent = get_u32(in + 12),
		.when = (int64_t)get_u64(in + 16),
		.campaign = get_u64(in + 40),
		.stream = get_u64(in + 48),
	};
	memcpy(t->who.b, in + 24, sizeof t->who.b);
	memcpy(t->net, in + 56, sizeof t->net);
	return true;
}

bool
touch_is_said(const struct touch *t)
{
	switch (t->kind) {
	case TOUCH_LEFT:
	case TOUCH_JOINED:
	case TOUCH_BOUNCED:
	case TOUCH_COMPLAINED:
	case TOUCH_CONSENT:
	case TOUCH_HELD:
	case TOUCH_RELEASED:
	case TOUCH_KEPT:
	case TOUCH_LESS:
		return !who_is_nobody(&t->who);
	default:
		return false;
	}
}

uint32_t
touch_seconds(const struct touch *t)
{
	int64_t s = t->when / 1000;

	return s < 1 ? 1 : s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

const char *
touch_name(enum touch_kind kind)
{
	return kind > 0 && kind < TOUCH_KINDS ? names[kind] : "unknown";
}

bool
touch_parse(struct span s, enum touch_kind *kind)
{
	for (int i = 1; i < TOUCH_KINDS; i++) {
		if (span_ieq(s, span_of(names[i]))) {
			*kind = (enum touch_kind)i;
			return true;
		}
	}
	return false;
}

size_t
record_names(const struct record *r)
{
	return r->address.n + r->stream.n + r->campaign.n + r->destination.n + r->source.n;
}

static char *
move_name(struct span *s, char *to)
{
	char *end = to + s->n;

	if (s->n > 0)
		memcpy(to, s->p, s->n);
	s->p = to;
	return end;
}

char *
record_copy(struct record *copy, const struct record *r, char *to)
{
	*copy = *r;
	to = move_name(&copy->address, to);
	to = move_name(&copy->stream, to);
	to = move_name(&copy->campaign, to);
	to = move_name(&copy->destination, to);
	return move_name(&copy->source, to);
}
