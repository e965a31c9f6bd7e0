#include "common/engage.h"
#include "common/text.h"
#include "tests/unit/unit.h"

#define DAY INT64_C(86400)
#define NOW INT64_C(1767268800) /* 2026-01-01T12:00:00Z, seconds */

static void
touch_it(struct profile *p, enum touch_kind kind, enum robot verdict, enum mode mode, int64_t s, uint8_t flags)
{
	struct touch t = { .kind = (uint8_t)kind,
		.verdict = (uint8_t)verdict,
		.mode = (uint8_t)mode,
		.when = s * 1000,
		.flags = flags };

	profile_add(p, &t);
}

static void
send_at(struct profile *p, int64_t s, bool tracked)
{
	touch_it(p, TOUCH_SENT, ROBOT_NONE, MODE_IDENTIFIED, s, tracked ? TOUCH_TRACKED : 0);
}

static void
exempt_at(struct profile *p, int64_t s)
{
	touch_it(p, TOUCH_SENT, ROBOT_NONE, MODE_IDENTIFIED, s, TOUCH_TRACKED | TOUCH_EXEMPT);
}

static void
open_at(struct profile *p, int64_t s, enum robot verdict)
{
	touch_it(p, TOUCH_OPEN, verdict, MODE_IDENTIFIED, s, 0);
}

static void
click_at(struct profile *p, int64_t s)
{
	touch_it(p, TOUCH_CLICK, ROBOT_HUMAN, MODE_IDENTIFIED, s, 0);
}

/* A life in seconds before NOW; 0: not at all. */
struct life {
	int64_t known;		 /* first tracked send */
	int64_t opened, clicked; /* by a person */
	int64_t day_opened;	 /* in mode dayonly */
	int64_t privacy;	 /* five privacy opens, the last then */
	unsigned sends;		 /* tracked ones, one per hour, the last an hour ago */
	unsigned untracked;	 /* likewise */
	int64_t joined;		 /* subscribed again */
	int64_t receipt;	 /* a tracked one of a transactional stream */
};

static struct profile
live(const struct life *l)
{
	struct profile p = { 0 };

	if (l->known)
		send_at(&p, NOW - l->known, true);
	for (unsigned i = 1; i <= l->sends; i++)
		send_at(&p, NOW - 3600 * i, true);
	for (unsigned i = 1; i <= l->untracked; i++)
		send_at(&p, NOW - 3600 * i, false);
	if (l->receipt)
		exempt_at(&p, NOW - l->receipt);
	if (l->joined)
		touch_it(&p, TOUCH_JOINED, ROBOT_NONE, MODE_IDENTIFIED, NOW - l->joined, 0);
	if (l->opened)
		open_at(&p, NOW - l->opened, ROBOT_HUMAN);
	if (l->clicked)
		click_at(&p, NOW - l->clicked);
	if (l->day_opened)
		touch_it(&p, TOUCH_OPEN, ROBOT_NONE, MODE_DAYONLY, NOW - l->day_opened, 0);
	for (int i = 0; l->privacy && i < PROFILE_OPENS; i++)
		open_at(&p, NOW - l->privacy - 2 * i, ROBOT_PRIVACY_OPEN);
	return p;
}

static const struct {
	const char *what;
	struct life life;
	enum engage class;
	enum reason reason;
} rows[] = {
	/* engaged: weekly, 30 days */
	{ "opened on the last day", { .known = 300 * DAY, .opened = 30 * DAY, .sends = 20 }, ENGAGE_ENGAGED,
	    REASON_RECENT },
	{ "opened a second too early", { .known = 300 * DAY, .opened = 30 * DAY + 1, .sends = 20 }, ENGAGE_SEMI,
	    REASON_COOLING },
	{ "clicked on the last day", { .known = 300 * DAY, .clicked = 30 * DAY, .sends = 20 }, ENGAGE_ENGAGED,
	    REASON_RECENT },
	{ "clicked a second too early", { .known = 300 * DAY, .clicked = 30 * DAY + 1, .sends = 20 }, ENGAGE_SEMI,
	    REASON_COOLING },
	{ "a click counts when the open is old",
	    { .known = 300 * DAY, .opened = 200 * DAY, .clicked = DAY, .sends = 20 }, ENGAGE_ENGAGED, REASON_RECENT },
	{ "an open counts when the click is old",
	    { .known = 300 * DAY, .opened = DAY, .clicked = 200 * DAY, .sends = 20 }, ENGAGE_ENGAGED, REASON_RECENT },
	{ "opened in the future, where a clock was wrong", { .known = 300 * DAY, .opened = -5 * DAY, .sends = 20 },
	    ENGAGE_ENGAGED, REASON_RECENT },
	/* semi-engaged: 90 days */
	{ "semi-engaged on the last day", { .known = 300 * DAY, .opened = 90 * DAY, .sends = 20 }, ENGAGE_SEMI,
	    REASON_COOLING },
	{ "a second later inactive", { .known = 300 * DAY, .opened = 90 * DAY + 1, .sends = 20 }, ENGAGE_INACTIVE,
	    REASON_SILENT },
	/* sends without a reaction: 18 once engaged, 11 never engaged */
	{ "once engaged, 17 sends", { .known = 300 * DAY, .opened = 200 * DAY, .sends = 17 }, ENGAGE_SEMI,
	    REASON_FEW_SENDS },
	{ "once engaged, 18 sends", { .known = 300 * DAY, .opened = 200 * DAY, .sends = 18 }, ENGAGE_INACTIVE,
	    REASON_SILENT },
	{ "never engaged, 10 sends", { .known = 300 * DAY, .sends = 9 }, ENGAGE_SEMI, REASON_FEW_SENDS },
	{ "never engaged, 11 sends", { .known = 300 * DAY, .sends = 10 }, ENGAGE_INACTIVE, REASON_SILENT },
	{ "nothing sent since", { .known = 300 * DAY, .opened = 200 * DAY }, ENGAGE_SEMI, REASON_FEW_SENDS },
	/* new: 30 days or 5 sends, at most 60 days */
	{ "known for a second less than 30 days", { .known = 30 * DAY - 1, .sends = 20 }, ENGAGE_NEW, REASON_GRACE },
	{ "known for 30 days, many sends", { .known = 30 * DAY, .sends = 20 }, ENGAGE_SEMI, REASON_YOUNG },
	{ "never engaged, known for 90 days", { .known = 90 * DAY, .sends = 20 }, ENGAGE_SEMI, REASON_YOUNG },
	{ "never engaged, a second more", { .known = 90 * DAY + 1, .sends = 20 }, ENGAGE_INACTIVE, REASON_SILENT },
	{ "known for 30 days, 4 sends", { .known = 30 * DAY, .sends = 3 }, ENGAGE_NEW, REASON_GRACE },
	{ "known for 30 days, 5 sends", { .known = 30 * DAY, .sends = 4 }, ENGAGE_SEMI, REASON_FEW_SENDS },
	{ "4 sends, a second less than 60 days", { .known = 60 * DAY - 1, .sends = 3 }, ENGAGE_NEW, REASON_GRACE },
	{ "4 sends, 60 days", { .known = 60 * DAY, .sends = 3 }, ENGAGE_SEMI, REASON_FEW_SENDS },
	{ "first seen in the future", { .known = -DAY }, ENGAGE_NEW, REASON_GRACE },
	{ "an empty record", { 0 }, ENGAGE_NEW, REASON_GRACE },
	/* untracked mail proves nothing */
	{ "engaged once, untracked since", { .known = 300 * DAY, .opened = 200 * DAY, .untracked = 24 }, ENGAGE_SEMI,
	    REASON_UNTRACKED },
	{ "untracked sends do not fill up the count",
	    { .known = 300 * DAY, .opened = 200 * DAY, .sends = 12, .untracked = 12 }, ENGAGE_SEMI, REASON_FEW_SENDS },
	/* who subscribes again is not judged by the silence before */
	{ "silent for long, subscribed again before the last 17 of 20 sends",
	    { .known = 300 * DAY, .opened = 200 * DAY, .sends = 20, .joined = 17 * 3600 + 1 }, ENGAGE_SEMI, REASON_FEW_SENDS },
	{ "silent for long, subscribed again before the last 18",
	    { .known = 300 * DAY, .opened = 200 * DAY, .sends = 20, .joined = 18 * 3600 + 1 }, ENGAGE_INACTIVE, REASON_SILENT },
	/* a day counts to its end, and no longer than until now */
	{ "only the day is known: its end counts",
	    { .known = 300 * DAY, .day_opened = 30 * DAY + DAY / 2, .sends = 20 }, ENGAGE_ENGAGED, REASON_RECENT },
	{ "only the day is known: it ended too early",
	    { .known = 300 * DAY, .day_opened = 31 * DAY + DAY / 2, .sends = 20 }, ENGAGE_SEMI, REASON_COOLING },
	{ "only the day is known: today", { .known = 300 * DAY, .day_opened = 1, .sends = 20 }, ENGAGE_ENGAGED,
	    REASON_RECENT },
	{ "a time at midnight is a time, not a day", { .known = 300 * DAY, .opened = 30 * DAY + DAY / 2, .sends = 20 },
	    ENGAGE_SEMI, REASON_COOLING },
	/* behind a privacy proxy: clicks, for twice the time */
	{ "opaque: clicked 60 days ago", { .known = 300 * DAY, .clicked = 60 * DAY, .privacy = DAY, .sends = 20 },
	    ENGAGE_ENGAGED, REASON_RECENT },
	{ "opaque: a second longer ago", { .known = 300 * DAY, .clicked = 60 * DAY + 1, .privacy = DAY, .sends = 20 },
	    ENGAGE_SEMI, REASON_COOLING },
	{ "opaque: clicked 180 days ago", { .known = 300 * DAY, .clicked = 180 * DAY, .privacy = DAY, .sends = 20 },
	    ENGAGE_SEMI, REASON_COOLING },
	{ "opaque: a second longer ago than that",
	    { .known = 300 * DAY, .clicked = 180 * DAY + 1, .privacy = DAY, .sends = 20 }, ENGAGE_INACTIVE,
	    REASON_SILENT },
	{ "opaque: old opens keep their time, no more",
	    { .known = 300 * DAY, .opened = 31 * DAY, .privacy = DAY, .sends = 20 }, ENGAGE_SEMI, REASON_COOLING },
	{ "opaque: nobody is moved down by a machine",
	    { .known = 300 * DAY, .opened = 29 * DAY, .privacy = DAY, .sends = 20 }, ENGAGE_ENGAGED, REASON_RECENT },
	{ "opaque: never clicked", { .known = 300 * DAY, .privacy = DAY, .sends = 20 }, ENGAGE_INACTIVE,
	    REASON_SILENT },
	{ "opaque: new for twice the time", { .known = 60 * DAY - 1, .privacy = DAY, .sends = 20 }, ENGAGE_NEW,
	    REASON_GRACE },
	{ "opaque: and no longer", { .known = 60 * DAY, .privacy = DAY, .sends = 20 }, ENGAGE_SEMI, REASON_YOUNG },
	{ "opaque: silence takes twice the time", { .known = 180 * DAY, .privacy = DAY, .sends = 20 }, ENGAGE_SEMI, REASON_YOUNG },
	{ "opaque: a second more", { .known = 180 * DAY + 1, .privacy = DAY, .sends = 20 }, ENGAGE_INACTIVE, REASON_SILENT },
};

static void
test_classes(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct profile p = live(&rows[i].life);
		struct finding f = engage_find(&p, &policy, NOW * 1000);

		if (f.class != rows[i].class || f.reason != rows[i].reason)
			fail_msg("%s: %s, %s", rows[i].what, engage_name(f.class), reason_name(f.reason));
	}
}

/* The whole day counts, to its last second. */
static void
test_day_boundary(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct profile p = { 0 };
	int64_t last = NOW + DAY / 2 - 1; /* 23:59:59 */

	(void)state;
	touch_it(&p, TOUCH_OPEN, ROBOT_NONE, MODE_DAYONLY, NOW, 0);
	assert_int_equal(engage_find(&p, &policy, (last + 30 * DAY) * 1000).class, ENGAGE_ENGAGED);
	assert_int_equal(engage_find(&p, &policy, (last + 30 * DAY + 1) * 1000).class, ENGAGE_SEMI);
	assert_int_equal(engage_find(&p, &policy, NOW * 1000).last_engaged, NOW - DAY / 2);
}

static void
test_nobody_knows(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct finding f = engage_find(NULL, &policy, NOW * 1000);

	(void)state;
	assert_int_equal(f.class, ENGAGE_NEW);
	assert_int_equal(f.reason, REASON_GRACE);
	assert_int_equal(engage_cause(NULL, NULL, &f, NOW * 1000), CAUSE_NONE);
}

/* Known through mail that was never tracked. */
static void
test_never_tracked(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct profile p = { 0 };
	struct finding f;

	(void)state;
	for (int i = 0; i < 30; i++)
		send_at(&p, NOW - 300 * DAY + i * DAY, false);
	f = engage_find(&p, &policy, NOW * 1000);
	assert_int_equal(f.class, ENGAGE_SEMI);
	assert_int_equal(f.reason, REASON_UNTRACKED);
	/* One tracked one among them is too few to judge. */
	send_at(&p, NOW - DAY, true);
	f = engage_find(&p, &policy, NOW * 1000);
	assert_int_equal(f.reason, REASON_FEW_SENDS);
	assert_int_equal(f.silent_sends, 1);
}

static void
test_sends_since(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct profile p = { 0 };

	(void)state;
	open_at(&p, NOW - 100, ROBOT_HUMAN);
	send_at(&p, NOW - 100, true); /* at the same second: what was opened then may be this one */
	assert_int_equal(engage_find(&p, &policy, NOW * 1000).silent_sends, 0);
	send_at(&p, NOW - 98, true);
	assert_int_equal(engage_find(&p, &policy, NOW * 1000).silent_sends, 1);
	for (int i = 0; i < 2 * PROFILE_SENDS; i++)
		send_at(&p, NOW - 50, true);
	assert_int_equal(engage_find(&p, &policy, NOW * 1000).silent_sends, PROFILE_SENDS);
}

static void
test_four_privacy_opens_are_not_five(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct profile p = { 0 };

	(void)state;
	for (int i = 0; i < PROFILE_OPENS; i++) {
		assert_false(engage_find(&p, &policy, NOW * 1000).opaque);
		open_at(&p, NOW - 100 + i, ROBOT_PRIVACY_OPEN);
	}
	assert_true(engage_find(&p, &policy, NOW * 1000).opaque);
	open_at(&p, NOW - 50, ROBOT_SCANNER);
	assert_true(engage_find(&p, &policy, NOW * 1000).opaque);
	open_at(&p, NOW, ROBOT_HUMAN);
	assert_false(engage_find(&p, &policy, NOW * 1000).opaque);
}

static void
test_loyal(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct profile p = { 0 };
	struct finding f;

	(void)state;
	open_at(&p, NOW - 89 * DAY, ROBOT_HUMAN);
	open_at(&p, NOW - 5 * DAY, ROBOT_HUMAN);
	open_at(&p, NOW - 4 * DAY, ROBOT_HUMAN);
	assert_false(engage_find(&p, &policy, NOW * 1000).loyal); /* no click */
	click_at(&p, NOW - 4 * DAY + 60);
	f = engage_find(&p, &policy, NOW * 1000);
	assert_true(f.loyal); /* the 90th day counts */
	assert_false(f.at_risk);
	assert_false(engage_find(&p, &policy, (NOW + DAY) * 1000).loyal); /* the 91st does not */
	/* Cooling off: at risk. */
	f = engage_find(&p, &policy, (NOW + 40 * DAY) * 1000);
	assert_int_equal(f.class, ENGAGE_SEMI);
	assert_true(f.at_risk);
	assert_false(f.loyal);
	/* Two days were never loyal. */
	memset(&p, 0, sizeof p);
	click_at(&p, NOW - 50 * DAY);
	click_at(&p, NOW - 49 * DAY);
	assert_false(engage_find(&p, &policy, NOW * 1000).at_risk);
}

static void
test_score(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct profile p = { 0 };

	(void)state;
	assert_int_equal(engage_score(&p, &policy, NOW * 1000), 0);
	open_at(&p, NOW, ROBOT_HUMAN);
	assert_int_equal(engage_score(&p, &policy, NOW * 1000), 100);
	assert_int_equal(engage_score(&p, &policy, (NOW + 30 * DAY) * 1000), 50);
	assert_int_equal(engage_score(&p, &policy, (NOW + 60 * DAY) * 1000), 25);
	click_at(&p, NOW);
	assert_int_equal(engage_score(&p, &policy, NOW * 1000), 100); /* has yet to settle */
	assert_int_equal(engage_score(&p, &policy, (NOW + 120) * 1000), 500);
	assert_int_equal(engage_score(&p, &policy, (NOW + 127 * DAY) * 1000), 26);
	assert_int_equal(engage_score(&p, &policy, (NOW + 128 * DAY) * 1000), 0);
	open_at(&p, NOW + DAY, ROBOT_SCANNER);
	assert_int_equal(engage_score(&p, &policy, (NOW + 120) * 1000), 500);
	/* Where only the day is kept, it is an opened day. */
	memset(&p, 0, sizeof p);
	touch_it(&p, TOUCH_OPEN, ROBOT_NONE, MODE_DAYONLY, NOW, 0);
	assert_int_equal(engage_score(&p, &policy, NOW * 1000), 100);
}

static const struct {
	enum preset preset;
	unsigned engaged, semi, never, once, days, sends, most;
} presets[] = {
	{ PRESET_DAILY, 15, 60, 16, 16, 30, 5, 45 },
	{ PRESET_WEEKLY, 30, 90, 11, 18, 30, 5, 60 },
	{ PRESET_MONTHLY, 60, 180, 5, 5, 60, 3, 90 },
	{ PRESET_QUARTERLY, 120, 270, 3, 3, 90, 2, 180 },
};

static void
test_presets(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(presets); i++) {
		struct policy p = policy_preset(presets[i].preset);

		assert_int_equal(p.engaged_days, presets[i].engaged);
		assert_int_equal(p.semi_days, presets[i].semi);
		assert_int_equal(p.inactive_min_sends, presets[i].never);
		assert_int_equal(p.inactive_min_sends_engaged, presets[i].once);
		assert_int_equal(p.new_days, presets[i].days);
		assert_int_equal(p.new_min_sends, presets[i].sends);
		assert_int_equal(p.new_max_days, presets[i].most);
		assert_true(p.inactive_min_sends_engaged <= PROFILE_SENDS);
		assert_int_equal(p.on[CAUSE_NONE], ACTION_SEND);
		for (int c = CAUSE_NONE + 1; c < CAUSES; c++)
			assert_int_equal(p.on[c], c < CAUSE_THROTTLED ? ACTION_REJECT : ACTION_DEFER);
	}
}

/* ---- causes ---- */

static const struct {
	const char *what;
	struct profile p;
	struct subscription s;
	bool inactive;
	enum cause cause;
	const char *words;
} causes[] = {
	{ .what = "nothing", .cause = CAUSE_NONE, .words = "nothing stands in the way" },
	{ .what = "complained",
	    .p = { .complained = NOW },
	    .cause = CAUSE_COMPLAINED,
	    .words = "recipient complained on 2026-01-01" },
	{ .what = "complained, released at the same second",
	    .p = { .complained = NOW, .released = NOW },
	    .cause = CAUSE_COMPLAINED },
	{ .what = "complained, released a second later",
	    .p = { .complained = NOW, .released = NOW + 1 },
	    .cause = CAUSE_NONE },
	{ .what = "complained, subscribed again later",
	    .p = { .complained = NOW, .joined = NOW + 1 },
	    .cause = CAUSE_NONE },
	{ .what = "released, then complained",
	    .p = { .complained = NOW + 1, .released = NOW },
	    .cause = CAUSE_COMPLAINED },
	{ .what = "bounced",
	    .p = { .bounced = NOW },
	    .cause = CAUSE_BOUNCED,
	    .words = "mail to this recipient bounced for good on 2026-01-01" },
	{ .what = "bounced, released at the same second",
	    .p = { .bounced = NOW, .released = NOW },
	    .cause = CAUSE_BOUNCED },
	{ .what = "bounced, released a second later",
	    .p = { .bounced = NOW, .released = NOW + 1 },
	    .cause = CAUSE_NONE },
	{ .what = "left everything",
	    .p = { .left = NOW },
	    .cause = CAUSE_UNSUBSCRIBED,
	    .words = "recipient unsubscribed on 2026-01-01" },
	{ .what = "left, joined at the same second", .p = { .left = NOW, .joined = NOW }, .cause = CAUSE_UNSUBSCRIBED },
	{ .what = "left, joined a second later", .p = { .left = NOW, .joined = NOW + 1 }, .cause = CAUSE_NONE },
	{ .what = "left the stream",
	    .s = { .left = NOW + DAY },
	    .cause = CAUSE_UNSUBSCRIBED,
	    .words = "recipient unsubscribed on 2026-01-02" },
	{ .what = "left the stream, joined at the same second", .s = { .left = NOW, .joined = NOW }, .cause = CAUSE_UNSUBSCRIBED },
	{ .what = "left the stream, joined a second later", .s = { .left = NOW, .joined = NOW + 1 }, .cause = CAUSE_NONE },
	{ .what = "left the stream, joined everything",
	    .p = { .joined = NOW + 9 },
	    .s = { .left = NOW },
	    .cause = CAUSE_UNSUBSCRIBED },
	{ .what = "left everything, joined the stream",
	    .p = { .left = NOW },
	    .s = { .joined = NOW + 9 },
	    .cause = CAUSE_UNSUBSCRIBED },
	{ .what = "held",
	    .p = { .held = NOW },
	    .cause = CAUSE_HELD,
	    .words = "recipient held back by hand on 2026-01-01" },
	{ .what = "held, released at the same second", .p = { .held = NOW, .released = NOW }, .cause = CAUSE_HELD },
	{ .what = "held, released a second later", .p = { .held = NOW, .released = NOW + 1 }, .cause = CAUSE_NONE },
	{ .what = "joining does not lift a hold", .p = { .held = NOW, .joined = NOW + 9 }, .cause = CAUSE_HELD },
	{ .what = "inactive", .inactive = true, .cause = CAUSE_INACTIVE },
	{ .what = "a complaint comes first",
	    .p = { .complained = NOW, .bounced = NOW, .left = NOW, .held = NOW },
	    .inactive = true,
	    .cause = CAUSE_COMPLAINED },
	{ .what = "then a bounce",
	    .p = { .bounced = NOW, .left = NOW, .held = NOW },
	    .inactive = true,
	    .cause = CAUSE_BOUNCED },
	{ .what = "then leaving", .p = { .left = NOW, .held = NOW }, .inactive = true, .cause = CAUSE_UNSUBSCRIBED },
	{ .what = "then a hold", .p = { .held = NOW }, .inactive = true, .cause = CAUSE_HELD },
};

static void
test_causes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(causes); i++) {
		struct finding f = { .class = causes[i].inactive ? ENGAGE_INACTIVE : ENGAGE_ENGAGED };
		struct buf b = BUF(300);

		if (engage_cause(&causes[i].p, &causes[i].s, &f, NOW * 1000) != causes[i].cause)
			fail_msg("%s: %s", causes[i].what, cause_name(engage_cause(&causes[i].p, &causes[i].s, &f, NOW * 1000)));
		cause_explain(&b, causes[i].cause, &causes[i].p, &causes[i].s, &f, NOW * 1000);
		if (causes[i].words != NULL)
			assert_span(causes[i].what, buf_span(&b), span_of(causes[i].words));
		for (size_t k = 0; k < b.n; k++)
			assert_row(causes[i].what, b.p[k] >= ' ' && b.p[k] <= '~');
		buf_free(&b);
	}
}

static void
test_no_record_but_a_subscription(void **state)
{
	struct subscription s = { .left = NOW };
	struct finding f = { .class = ENGAGE_NEW };
	struct buf b = BUF(300);

	(void)state;
	assert_int_equal(engage_cause(NULL, &s, &f, NOW * 1000), CAUSE_UNSUBSCRIBED);
	cause_explain(&b, CAUSE_UNSUBSCRIBED, NULL, &s, &f, NOW * 1000);
	assert_string_equal(buf_cstr(&b), "recipient unsubscribed on 2026-01-01");
	buf_free(&b);
}

/* ---- words ---- */

static const struct {
	struct life life;
	const char *words;
} words[] = {
	{ { .known = 300 * DAY, .opened = 3 * DAY, .sends = 5 },
	    "engaged: last opened 3 days ago, on 2025-12-29 (limit 30 days)" },
	{ { .known = 300 * DAY, .clicked = DAY, .sends = 5 },
	    "engaged: last clicked 1 day ago, on 2025-12-31 (limit 30 days)" },
	{ { .known = 300 * DAY, .day_opened = 1, .sends = 5 },
	    "engaged: last opened today, on 2026-01-01 (limit 30 days)" },
	{ { .known = 300 * DAY, .clicked = DAY - 1, .sends = 5 },
	    "engaged: last clicked yesterday, on 2025-12-31 (limit 30 days)" },
	{ { .known = 300 * DAY, .opened = 45 * DAY, .sends = 5 },
	    "semi-engaged: last opened 45 days ago, on 2025-11-17 (engaged up to 30 days, semi-engaged up to 90)" },
	{ { .known = 3 * DAY }, "new: known for 3 days, since 2025-12-29, with 1 tracked send, no human engagement yet "
				"(new below 30 days or 5 sends, and below 60 days)" },
	{ { 0 }, "new: nothing is known yet" },
	{ { .known = 300 * DAY, .opened = 214 * DAY, .sends = 20 },
	    "inactive: no human engagement for 214 days, over 20 sends (limit 90 days, 18 sends)" },
	{ { .known = 300 * DAY, .opened = 214 * DAY, .sends = 40 },
	    "inactive: no human engagement for 214 days, over at least 24 sends (limit 90 days, 18 sends)" },
	{ { .known = 300 * DAY, .sends = 19 },
	    "inactive: no human engagement ever, known for 300 days, over 20 sends (limit 11 sends)" },
	{ { .known = 300 * DAY, .opened = 214 * DAY, .sends = 1 },
	    "semi-engaged: no human engagement for 214 days, but over only 1 tracked send (inactive from 18 sends)" },
	{ { .known = 300 * DAY, .opened = 200 * DAY },
	    "semi-engaged: no human engagement for 200 days, but nothing sent since 2025-06-15 (inactive from 18 sends)" },
	{ { .known = 300 * DAY, .opened = 200 * DAY, .receipt = DAY },
	    "semi-engaged: no human engagement for 200 days, but nothing sent since 2025-06-15 except transactional mail "
	    "(inactive from 18 sends)" },
	{ { .receipt = 300 * DAY },
	    "semi-engaged: no human engagement ever, known for 300 days, but nothing sent so far except transactional mail "
	    "(inactive from 11 sends)" },
	{ { .known = 300 * DAY, .opened = 200 * DAY, .untracked = 3 },
	    "semi-engaged: nothing sent since the last engagement on 2025-06-15 could be tracked, so silence proves nothing" },
	{ { .known = 300 * DAY, .clicked = 50 * DAY, .opened = 45 * DAY, .privacy = DAY, .sends = 5 },
	    "engaged: last clicked 50 days ago, on 2025-11-12 (limit 60 days); "
	    "the last opens are all privacy opens, so clicks count, for twice the time" },
};

static void
test_words(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	for (size_t i = 0; i < COUNT(words); i++) {
		struct profile p = live(&words[i].life);
		struct finding f = engage_find(&p, &policy, NOW * 1000);
		struct buf b = BUF(1000);

		engage_explain(&b, &p, &policy, &f, NOW * 1000);
		assert_string_equal(buf_cstr(&b), words[i].words);
		buf_free(&b);
	}
}

static void
test_words_of_nobody(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct finding f = engage_find(NULL, &policy, NOW * 1000);
	struct buf b = BUF(1000);

	(void)state;
	engage_explain(&b, NULL, &policy, &f, NOW * 1000);
	assert_string_equal(buf_cstr(&b), "new: nothing is known yet");
	buf_free(&b);
}

static void
test_inactive_in_a_reply(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);
	struct life l = { .known = 300 * DAY, .opened = 214 * DAY, .sends = 20 };
	struct profile p = live(&l);
	struct finding f = engage_find(&p, &policy, NOW * 1000);
	struct buf b = BUF(1000);

	(void)state;
	cause_explain(&b, engage_cause(&p, NULL, &f, NOW * 1000), &p, NULL, &f, NOW * 1000);
	assert_string_equal(buf_cstr(&b), "recipient inactive, no human engagement for 214 days, over 20 messages");
	buf_free(&b);
}

static void
test_names(void **state)
{
	enum engage e;
	enum action a;

	(void)state;
	for (int i = 0; i < ENGAGE_CLASSES; i++) {
		assert_true(engage_parse(span_of(engage_name(i)), &e));
		assert_int_equal(e, i);
	}
	for (int i = ACTION_SEND; i <= ACTION_DISCARD; i++) {
		assert_true(action_parse(span_of(action_name(i)), &a));
		assert_int_equal(a, i);
	}
	assert_false(engage_parse(SPAN("semi"), &e));
	assert_false(action_parse(SPAN(""), &a));
	assert_string_equal(engage_name(ENGAGE_CLASSES), "unknown");
	assert_string_equal(cause_name(CAUSES), "unknown");
	assert_string_equal(reason_name(REASON_FEW_SENDS), "few-sends");
	assert_string_equal(cause_name(CAUSE_NONE), "none");
}

/* ---- promises over random lives ---- */

static unsigned
random_below(unsigned n)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x >> 20) % n;
}

static struct profile
random_life(void)
{
	struct profile p = { 0 };
	unsigned n = random_below(60), span = 1 + random_below(400);

	for (unsigned i = 0; i < n; i++) {
		int64_t at = NOW - random_below(span) * DAY - random_below(86400);

		switch (random_below(8)) {
		case 0:
			open_at(&p, at, ROBOT_HUMAN);
			break;
		case 1:
			click_at(&p, at);
			break;
		case 2:
			open_at(&p, at, ROBOT_PRIVACY_OPEN);
			break;
		case 3:
			touch_it(&p, TOUCH_OPEN, ROBOT_NONE, MODE_DAYONLY, at, 0);
			break;
		default:
			send_at(&p, at, random_below(4) != 0);
			break;
		}
	}
	return p;
}

/* How far a class is from being stopped. */
static int
warmth(const struct profile *p, const struct policy *policy, int64_t now)
{
	static const int rank[] = { [ENGAGE_ENGAGED] = 3, [ENGAGE_NEW] = 2, [ENGAGE_SEMI] = 1, [ENGAGE_INACTIVE] = 0 };

	return rank[engage_find(p, policy, now * 1000).class];
}

static struct policy
doubled(struct policy p)
{
	p.engaged_days *= 2;
	p.semi_days *= 2;
	p.new_days *= 2;
	p.new_max_days *= 2;
	return p;
}

static void
test_people_never_lower(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct profile p = random_life();

		if (random_below(2))
			click_at(&p, NOW - policy.settle);
		else
			open_at(&p, NOW, random_below(2) ? ROBOT_HUMAN : ROBOT_PROXY_OPEN);
		assert_int_equal(engage_find(&p, &policy, NOW * 1000).class, ENGAGE_ENGAGED);
	}
}

/* ---- a click settles before it counts ---- */

static const struct {
	const char *what;
	int clicked[4]; /* seconds before NOW, 0 ends */
	int counts;     /* which of them is the last engagement; 0 none */
	unsigned settle;
} settling[] = {
	{ "settled, to the second", { 120 }, 120, 120 },
	{ "a second too young", { 119 }, 0, 120 },
	{ "the one before it counts", { 5, 300 }, 300, 120 },
	{ "the one before it, long ago", { 5, 40 * DAY }, 40 * DAY, 120 },
	{ "two that are too young", { 5, 100, 4000 }, 4000, 120 },
	{ "of one minute the first has settled", { 110, 130 }, 130, 120 },
	{ "nothing has to settle", { 1 }, 1, 0 },
	{ "the longest that may be set", { 100, 359, 360 }, 360, SETTLE_MAX },
	{ "in the future, where a clock was wrong", { -300 }, -300, 120 },
	{ "in the future, a little", { -119 }, 0, 120 },
};

static void
test_settling(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	assert_int_equal(policy.settle, 120);
	for (size_t i = 0; i < COUNT(settling); i++) {
		struct profile p = { 0 };
		struct finding f;

		for (size_t k = 0; k < COUNT(settling[i].clicked) && settling[i].clicked[k] != 0; k++)
			click_at(&p, NOW - settling[i].clicked[k]);
		policy.settle = settling[i].settle;
		f = engage_find(&p, &policy, NOW * 1000);
		assert_row(settling[i].what, f.last_engaged == (settling[i].counts ? (uint32_t)(NOW - settling[i].counts) : 0));
		assert_row(settling[i].what, f.unsettled == (settling[i].counts != settling[i].clicked[0]));
	}
}

/* As long as it has not settled a click changes nothing at all, however many there are. */
static void
test_unsettled_clicks_change_nothing(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct profile p = random_life();
		struct finding before = engage_find(&p, &policy, NOW * 1000), after;
		unsigned score = engage_score(&p, &policy, NOW * 1000);

		for (unsigned n = 1 + random_below(40); n > 0; n--)
			click_at(&p, NOW - random_below(policy.settle));
		after = engage_find(&p, &policy, NOW * 1000);
		assert_int_equal(after.class, before.class);
		assert_int_equal(after.loyal, before.loyal);
		assert_int_equal(engage_score(&p, &policy, NOW * 1000), score);
		assert_true(after.unsettled);
		/* And then it does. */
		assert_int_equal(engage_find(&p, &policy, (NOW + policy.settle) * 1000).class, ENGAGE_ENGAGED);
	}
}

/*
 * Scanners change nothing.  Privacy opens move nobody down, and nobody
 * further up than the doubled windows that they bring.
 */
static void
test_machines_never_raise(void **state)
{
	static const enum robot machines[] = { ROBOT_PREFETCH, ROBOT_PREVIEW, ROBOT_SCANNER, ROBOT_SUSPECT };
	struct policy policy = policy_preset(PRESET_WEEKLY), twice = doubled(policy);

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct profile p = random_life();
		int before = warmth(&p, &policy, NOW), most = warmth(&p, &twice, NOW);

		if (p.first_seen == 0)
			continue;
		for (int k = 0; k < 10; k++)
			touch_it(&p, random_below(2) ? TOUCH_OPEN : TOUCH_CLICK, machines[random_below(4)], MODE_FULL,
			    NOW - k, 0);
		assert_int_equal(warmth(&p, &policy, NOW), before);
		for (int k = 0; k < 10; k++) {
			open_at(&p, NOW - k, ROBOT_PRIVACY_OPEN);
			assert_true(warmth(&p, &policy, NOW) >= before);
			assert_true(
			    warmth(&p, &policy, NOW) <= most || engage_find(&p, &policy, NOW * 1000).opaque == false);
		}
	}
}

/* Without touches time only cools. */
static void
test_time_only_cools(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct profile p = random_life();
		int before = warmth(&p, &policy, NOW);

		for (int day = 1; day < 400; day++) {
			int after = warmth(&p, &policy, NOW + day * DAY);

			assert_true(after <= before);
			before = after;
		}
	}
}

/* One more untracked send is neutral. */
static void
test_untracked_is_neutral(void **state)
{
	struct policy policy = policy_preset(PRESET_WEEKLY);

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct profile p = random_life();
		int before = warmth(&p, &policy, NOW);

		send_at(&p, NOW, false);
		assert_true(warmth(&p, &policy, NOW) >= before);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_day_boundary),
		cmocka_unit_test(test_nobody_knows),
		cmocka_unit_test(test_never_tracked),
		cmocka_unit_test(test_sends_since),
		cmocka_unit_test(test_four_privacy_opens_are_not_five),
		cmocka_unit_test(test_loyal),
		cmocka_unit_test(test_score),
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_no_record_but_a_subscription),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_words_of_nobody),
		cmocka_unit_test(test_inactive_in_a_reply),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_people_never_lower),
		cmocka_unit_test(test_settling),
		cmocka_unit_test(test_unsettled_clicks_change_nothing),
		cmocka_unit_test(test_machines_never_raise),
		cmocka_unit_test(test_time_only_cools),
		cmocka_unit_test(test_untracked_is_neutral),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
