#include "common/pace.h"

#include <string.h>

#define WHOLE 10000u

static uint32_t
oldest(const struct pace *p)
{
	return p->minute < PACE_MINUTES ? 0 : p->minute - PACE_MINUTES + 1;
}

static void
go_on_to(struct pace *p, uint32_t minute)
{
	if (minute <= p->minute)
		return;
	if (minute - p->minute >= PACE_MINUTES)
		memset(p->slot, 0, sizeof p->slot);
	else
		for (uint32_t m = p->minute + 1; m <= minute; m++)
			p->slot[m % PACE_MINUTES] = 0;
	p->minute = minute;
}

void
pace_add(struct pace *p, uint32_t minute, uint32_t n)
{
	/* The clock was ahead and has been put right: else nothing would count until it is that late again. */
	if (p->minute > minute && p->minute - minute > 2 * PACE_MINUTES)
		*p = (struct pace){ 0 };
	go_on_to(p, minute);
	if (minute >= oldest(p))
		p->slot[minute % PACE_MINUTES] += n;
}

void
pace_take(struct pace *p, uint32_t minute, uint32_t n)
{
	uint32_t *slot = &p->slot[minute % PACE_MINUTES];

	if (minute > p->minute || minute < oldest(p))
		return;
	*slot -= n < *slot ? n : *slot;
}

uint64_t
pace_sum(const struct pace *p, uint32_t from, uint32_t to)
{
	uint64_t sum = 0;

	if (from < oldest(p))
		from = oldest(p);
	for (uint32_t m = from; m <= to && m <= p->minute; m++)
		sum += p->slot[m % PACE_MINUTES];
	return sum;
}

uint32_t
pace_free(const struct pace *p, uint64_t count, unsigned minutes, uint32_t now)
{
	uint32_t minute = now / 60, from = minute < minutes ? 0 : minute - minutes;
	uint64_t sum = pace_sum(p, from, p->minute);

	if (sum < count)
		return 0;
	/* From the oldest minute on they leave; the last one to leave is the one that makes room. */
	for (uint32_t m = from > oldest(p) ? from : oldest(p); m <= p->minute; m++) {
		sum -= p->slot[m % PACE_MINUTES];
		if (sum < count)
			return (m + minutes + 1) * 60;
	}
	return (p->minute + minutes + 1) * 60;
}

bool
pace_share(uint64_t part, uint64_t all, unsigned share, uint64_t free)
{
	return part < free || share >= WHOLE || (double)(part + 1) * WHOLE <= (double)(all + 1) * share;
}

enum pace_kind
pace_kind(enum engage class, bool series)
{
	return series || class == ENGAGE_INACTIVE ? PACE_LOW : class == ENGAGE_SEMI ? PACE_SEMI : PACE_ALL;
}

bool
pace_warm(const struct warmup *w, enum pace_kind kind, const uint64_t today[PACE_KINDS])
{
	unsigned share = kind == PACE_LOW ? w->share_inactive : w->share_semi;

	if (today[PACE_ALL] >= w->volume)
		return false;
	if (kind == PACE_ALL)
		return true;
	return w->second_half && (double)(today[kind] + 1) * WHOLE <= (double)w->volume * share;
}
