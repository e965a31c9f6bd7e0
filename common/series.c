#include "common/series.h"

#include "common/codec.h"
#include "common/text.h"

#define DAY 86400u

static const char *const names[SERIES_STATUSES] = {
	[SERIES_NONE] = "none",
	[SERIES_HOLDOUT] = "holdout",
	[SERIES_RESTING] = "resting",
	[SERIES_1] = "re-engage-1",
	[SERIES_2] = "re-engage-2",
	[SERIES_3] = "re-engage-3",
	[SERIES_SUNSET] = "sunset",
	[SERIES_WINBACK] = "win-back",
};

const char *
series_name(enum series_status s)
{
	return text_name(names, SERIES_STATUSES, s);
}

bool
series_parse(struct span s, enum series_status *out)
{
	size_t i = text_find_name(names, SERIES_STATUSES, s);

	if (i == SERIES_STATUSES)
		return false;
	*out = (enum series_status)i;
	return true;
}

/* The bytes of a who are keyed, so any of them will do. */
bool
series_holdout(const struct who *who, const struct policy *policy)
{
	return who != NULL && !who_is_nobody(who) && get_u32(who->b + 12) % 1000 < policy->holdout;
}

static uint64_t
days_after(uint32_t when, unsigned days)
{
	return when + (uint64_t)days * DAY;
}

/* It is due from then on. */
static struct series
step(enum series_status status, unsigned sent, uint64_t when, uint64_t now)
{
	bool due = when <= now;

	return (struct series){ status, due, sent, due ? 0 : (uint32_t)when };
}

/* Between one message and what follows it the last step is where one is. */
static struct series
after(unsigned sent, const struct profile *p, const struct policy *policy, uint64_t now)
{
	uint64_t sunset = days_after(p->series[0], policy->series_wait_days);

	if (sent < policy->series_steps) {
		uint64_t when = days_after(p->series[0], policy->series_gap_days);

		return step(SERIES_1 + (int)(when <= now ? sent : sent - 1), sent, when, now);
	}
	if (now < sunset)
		return (struct series){ sent > policy->series_steps ? SERIES_WINBACK : SERIES_1 + (int)policy->series_steps - 1,
			false, sent, (uint32_t)sunset };
	if (sent == policy->series_steps && policy->winback_days > 0) {
		uint64_t when = sunset + (uint64_t)policy->winback_days * DAY;

		return step(when <= now ? SERIES_WINBACK : SERIES_SUNSET, sent, when, now);
	}
	return (struct series){ .status = SERIES_SUNSET, .sent = sent };
}

enum series_status
series_coming(const struct series *s, const struct policy *policy)
{
	switch (s->status) {
	case SERIES_RESTING:
		return SERIES_1;
	case SERIES_1:
	case SERIES_2:
	case SERIES_3:
		return s->due ? s->status : s->sent < policy->series_steps ? s->status + 1 : SERIES_SUNSET;
	case SERIES_WINBACK:
		return s->due ? SERIES_WINBACK : SERIES_SUNSET;
	case SERIES_SUNSET:
		return s->next != 0 ? SERIES_WINBACK : SERIES_NONE;
	default:
		return SERIES_NONE;
	}
}

struct series
series_find(const struct profile *p, const struct who *who, const struct policy *policy, const struct finding *f, int64_t now_ms)
{
	uint64_t now = now_ms > 0 ? (uint64_t)now_ms / 1000 : 0, rested;
	uint32_t since;
	unsigned sent = 0;

	if (p == NULL || f->class != ENGAGE_INACTIVE || !policy->series)
		return (struct series){ SERIES_NONE, false, 0, 0 };
	if (series_holdout(who, policy))
		return (struct series){ SERIES_HOLDOUT, false, 0, 0 };
	while (sent < PROFILE_SERIES && p->series[sent] > f->silent_since)
		sent++;
	if (sent > 0)
		return after(sent, p, policy, now);
	/* The rest begins with the last regular message, or when silence became too long, whatever came later. */
	rested = p->last_regular;
	since = f->last_engaged != 0 ? f->silent_since : p->first_seen;
	if (days_after(since, policy->semi_days) > rested)
		rested = days_after(since, policy->semi_days);
	rested += (uint64_t)policy->rest_days * DAY;
	return step(rested <= now ? SERIES_1 : SERIES_RESTING, 0, rested, now);
}
