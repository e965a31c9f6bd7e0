#include "common/verdict.h"

static bool
is_their_own_word(enum cause c)
{
	return c == CAUSE_UNSUBSCRIBED || c == CAUSE_COMPLAINED;
}

struct verdict
verdict_find(const struct conf *c, const struct stream *stream, const struct profile *p, const struct subscription *s,
    int64_t now)
{
	struct verdict v = { .finding = engage_find(p, &c->policy, now) };

	v.cause = stream->transactional ? CAUSE_NONE : engage_cause(p, s, &v.finding);
	v.wanted = c->policy.on[v.cause];
	v.action = stream->enforce || is_their_own_word(v.cause) ? v.wanted : ACTION_SEND;
	v.opens = conf_mode(c, stream, AXIS_OPENS, p != NULL ? profile_consent(p, AXIS_OPENS) : CONSENT_UNKNOWN);
	v.links = conf_mode(c, stream, AXIS_LINKS, p != NULL ? profile_consent(p, AXIS_LINKS) : CONSENT_UNKNOWN);
	return v;
}

void
verdict_explain(struct buf *out, const struct verdict *v, const struct profile *p, const struct subscription *s, int64_t now)
{
	cause_explain(out, v->cause, p, s, &v->finding, now);
}
