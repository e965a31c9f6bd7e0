#include "common/verdict.h"

#include "common/text.h"

#define DAY 86400u

static bool
is_their_own_word(enum cause c)
{
	return c == CAUSE_UNSUBSCRIBED || c == CAUSE_COMPLAINED;
}

static uint32_t
seconds(int64_t ms)
{
	return ms <= 0 ? 0 : ms / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ms / 1000);
}

static uint32_t
later(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

size_t
verdict_caps(const struct question *q, const struct finding *f, struct held_caps held[VERDICT_CAPS])
{
	const struct policy *policy = &q->stream->policy;
	uint16_t tag = profile_tag(q->stream_id);
	bool loyal = f->class == ENGAGE_ENGAGED && f->loyal && policy->caps[CAPS_LOYAL].n > 0;
	bool less = q->subscription != NULL && subscription_less(q->subscription);
	size_t n = 0;

	if (q->stream->transactional || q->stream->series)
		return 0;
	if (policy->caps[loyal ? CAPS_LOYAL : (int)f->class].n > 0)
		held[n++] = (struct held_caps){ &policy->caps[loyal ? CAPS_LOYAL : (int)f->class], 0 };
	if (policy->stream_caps[f->class].n > 0)
		held[n++] = (struct held_caps){ &policy->stream_caps[f->class], tag };
	if (less && policy->caps[CAPS_LESS].n > 0)
		held[n++] = (struct held_caps){ &policy->caps[CAPS_LESS], tag };
	return n;
}

/* When the last of them is free; 0: now. */
static uint32_t
capped_until(const struct question *q, const struct finding *f)
{
	struct held_caps held[VERDICT_CAPS];
	size_t n = verdict_caps(q, f, held);
	uint32_t until = 0;

	for (size_t i = 0; i < n; i++)
		until = later(until,
		    caps_free(held[i].caps, held[i].tag, q->profile, q->recent, q->nrecent, seconds(q->now)));
	return until;
}

/* So many in a row, with no delivery since the first of them. */
static uint32_t
soft_bounced_until(const struct question *q)
{
	const struct policy *policy = &q->stream->policy;
	const struct profile *p = q->profile;
	uint64_t until;

	if (p == NULL || policy->soft_bounces == 0)
		return 0;

	uint32_t first = p->soft_bounced[policy->soft_bounces - 1];

	/* Who is released, or subscribes again, is tried anew. */
	if (first == 0 || first <= later(p->delivered, later(p->joined, p->released)))
		return 0;
	until = p->soft_bounced[0] + (uint64_t)policy->soft_bounce_days * DAY;
	return until <= seconds(q->now) ? 0 : until > UINT32_MAX ? UINT32_MAX : (uint32_t)until;
}

/* When one went that the profile does not have yet: two that come together are one too many.  0: none did. */
static uint32_t
just_sent(const struct question *q)
{
	uint16_t tag = profile_tag(q->stream_id);
	uint32_t last = 0;

	for (size_t i = 0; i < q->nrecent; i++)
		if (q->recent[i].tag == tag && q->recent[i].when > (q->profile != NULL ? q->profile->series[0] : 0))
			last = later(last, q->recent[i].when);
	return last;
}

/* A message of the series is for those whose turn it is. */
static enum cause
series_cause(const struct question *q, struct verdict *v)
{
	uint32_t sent = just_sent(q);

	v->next = v->series.next;
	switch (v->series.status) {
	case SERIES_NONE:
	case SERIES_HOLDOUT:
	case SERIES_STATUSES:
		v->next = 0;
		return CAUSE_NOT_DUE;
	case SERIES_SUNSET:
		return CAUSE_SUNSET;
	default:
		if (v->series.due && sent != 0)
			v->next = sent + q->stream->policy.series_gap_days * DAY;
		return v->series.due && sent == 0 ? CAUSE_NONE : CAUSE_RESTING;
	}
}

/* Any other is for those who are not inactive. */
static enum cause
inactive_cause(const struct question *q, struct verdict *v)
{
	bool sunset = v->series.status == SERIES_SUNSET || v->series.status == SERIES_WINBACK;

	if (q->outage) {
		v->spared = true;
		return CAUSE_NONE;
	}
	if (series_holdout(q->who, &q->stream->policy)) {
		v->holdout = true;
		return CAUSE_NONE;
	}
	return sunset ? CAUSE_SUNSET : CAUSE_INACTIVE;
}

static enum cause
find_cause(const struct question *q, struct verdict *v)
{
	enum cause cause = engage_cause(q->profile, q->subscription, &v->finding, q->now);

	if (cause == CAUSE_HELD)
		v->next = engage_held_until(q->profile, q->subscription, q->now);
	if (cause != CAUSE_NONE && cause != CAUSE_INACTIVE)
		return cause;
	if (q->imposed == CAUSE_BRAKED) {
		v->next = q->imposed_until;
		return CAUSE_BRAKED;
	}
	if (q->stream->series)
		cause = series_cause(q, v);
	else if (cause == CAUSE_INACTIVE)
		cause = inactive_cause(q, v);
	if (cause != CAUSE_NONE)
		return cause;
	if ((v->next = soft_bounced_until(q)) != 0)
		return CAUSE_SOFT_BOUNCED;
	if ((v->next = capped_until(q, &v->finding)) != 0)
		return CAUSE_CAPPED;
	v->next = q->imposed_until;
	return q->imposed;
}

struct verdict
verdict_find(const struct question *q)
{
	const struct stream *stream = q->stream;
	const struct profile *p = q->profile;
	struct verdict v = { .finding = engage_find(p, &stream->policy, q->now) };

	v.series = series_find(p, q->who, &stream->policy, &v.finding, q->now);
	v.cause = stream->transactional ? CAUSE_NONE : find_cause(q, &v);
	v.wanted = stream->policy.on[v.cause];
	v.action = stream->enforce || is_their_own_word(v.cause) ? v.wanted : ACTION_SEND;
	v.opens = conf_mode(q->conf, stream, AXIS_OPENS, p != NULL ? profile_consent(p, AXIS_OPENS) : CONSENT_UNKNOWN);
	v.links = conf_mode(q->conf, stream, AXIS_LINKS, p != NULL ? profile_consent(p, AXIS_LINKS) : CONSENT_UNKNOWN);
	return v;
}

/* ---- words ---- */

static void
add_next(struct buf *b, const char *before, uint32_t next)
{
	if (next != 0) {
		buf_adds(b, before);
		text_add_time(b, (int64_t)next * 1000);
	}
}

/* "; re-engagement step 1 of 3 is due" and the like. */
static void
add_series(struct buf *b, const struct question *q, const struct series *s)
{
	switch (s->status) {
	case SERIES_RESTING:
		add_next(b, "; rests until ", s->next);
		break;
	case SERIES_1:
	case SERIES_2:
	case SERIES_3:
		if (s->due)
			buf_addf(b, "; re-engagement step %d of %u is due", s->status - SERIES_1 + 1, q->stream->policy.series_steps);
		else {
			buf_addf(b, "; re-engagement step %d of %u was sent", s->status - SERIES_1 + 1, q->stream->policy.series_steps);
			add_next(b, s->sent < q->stream->policy.series_steps ? ", the next is due " : ", sunset ", s->next);
		}
		break;
	case SERIES_WINBACK:
		buf_adds(b, s->due ? "; the win-back message is due" : "; the win-back message was sent");
		break;
	case SERIES_SUNSET:
		add_next(b, "; the win-back message is due ", s->next);
		break;
	default:
		break;
	}
}

void
verdict_explain(struct buf *b, const struct question *q, const struct verdict *v)
{
	const struct policy *policy = &q->stream->policy;

	switch (v->cause) {
	case CAUSE_INACTIVE:
		cause_explain(b, v->cause, q->profile, q->subscription, &v->finding, q->now);
		add_series(b, q, &v->series);
		break;
	case CAUSE_SUNSET:
		buf_addf(b, "recipient gave no sign of life, and did not answer %u re-engagement message%s", v->series.sent,
		    v->series.sent == 1 ? "" : "s");
		add_series(b, q, &v->series);
		break;
	case CAUSE_SOFT_BOUNCED:
		buf_addf(b, "the last %u messages to this recipient did not arrive", policy->soft_bounces);
		add_next(b, "; tried again from ", v->next);
		break;
	case CAUSE_CAPPED:
		buf_adds(b, "recipient had enough messages for now");
		add_next(b, "; the next one may come ", v->next);
		break;
	case CAUSE_RESTING:
		buf_adds(b, "not yet time for a re-engagement message");
		add_next(b, "; the next one is due ", v->next);
		break;
	case CAUSE_NOT_DUE:
		buf_adds(b, v->series.status == SERIES_HOLDOUT ? "recipient is in the control group, which gets no re-engagement messages" :
		    "recipient is not inactive, so no re-engagement message is due");
		break;
	case CAUSE_THROTTLED:
		buf_adds(b, "too much mail for now");
		add_next(b, "; try again from ", v->next);
		break;
	case CAUSE_BRAKED:
		buf_adds(b, "the campaign is stopped");
		add_next(b, "; until ", v->next);
		break;
	default:
		cause_explain(b, v->cause, q->profile, q->subscription, &v->finding, q->now);
		break;
	}
}
