/* What stands between a recipient and the next message: frequency, the series, and in which order. */
#include "common/addr.h"
#include "common/verdict.h"
#include "tests/unit/unit.h"

#define NOW INT64_C(1767268800) /* 2026-01-01T12:00:00Z, seconds */
#define HOUR 3600
#define DAY 86400
#define NEWS 7
#define OTHER 8
#define REQUIRED "tracking_url = https://t.example\nprivacy_profile = classic\n"

/* Somebody in nobody's control group, and somebody in everybody's. */
static const struct who ann = { { [0] = 1, [12] = 0xe7, [13] = 3 } }, control = { { [0] = 2 } };

static struct conf *
settings(const char *text)
{
	struct buf b = BUF(10000), why = BUF(1000);
	struct conf *c;

	buf_addf(&b, "%s%s", REQUIRED, text);
	c = conf_parse(buf_span(&b), "t", &why);
	if (c == NULL)
		fail_msg("%s", buf_cstr(&why));
	buf_free(&b);
	return c;
}

static void
add(struct profile *p, enum touch_kind kind, int64_t seconds, uint64_t stream, unsigned flags)
{
	profile_add(p, &(struct touch){ .kind = (uint8_t)kind, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .when = seconds * 1000,
	    .stream = stream, .flags = (uint8_t)flags });
}

/* Opened an hour before the first of so many daily messages, the last one so long ago. */
static struct profile
silent(unsigned sends, int64_t last)
{
	struct profile p = { 0 };

	add(&p, TOUCH_OPEN, last - (int64_t)sends * DAY - HOUR, 0, 0);
	for (unsigned i = 0; i < sends; i++)
		add(&p, TOUCH_SENT, last - (int64_t)i * DAY, NEWS, TOUCH_TRACKED);
	return p;
}

static struct verdict
ask(struct question *q, struct buf *why)
{
	struct verdict v = verdict_find(q);

	buf_clear(why);
	verdict_explain(why, q, &v);
	for (size_t i = 0; i < why->n; i++)
		assert_in_range(why->p[i], ' ', '~');
	return v;
}

/* ---- caps ---- */

static void
windows_end_exactly(void **state)
{
	static const struct {
		const char *row;
		struct caps caps;
		int64_t sent[4]; /* seconds before NOW; 0 none */
		uint32_t free;   /* seconds after NOW; 0 at once */
	} rows[] = {
		{ "nothing was sent", { 1, { { 1, 16 * HOUR } } }, { 0 }, 0 },
		{ "off", { 0, { { 0, 0 } } }, { 1, 1, 1, 1 }, 0 },
		{ "one second too early", { 1, { { 1, 16 * HOUR } } }, { 16 * HOUR - 1 }, 1 },
		{ "to the second", { 1, { { 1, 16 * HOUR } } }, { 16 * HOUR }, 0 },
		{ "the second newest decides", { 1, { { 2, HOUR } } }, { 10, 20 }, HOUR - 20 },
		{ "the second newest is out of it", { 1, { { 2, HOUR } } }, { 10, HOUR }, 0 },
		{ "both windows", { 2, { { 1, 100 }, { 2, DAY } } }, { 50, 60 }, DAY - 60 },
		{ "both windows, the other way", { 2, { { 1, DAY }, { 2, HOUR } } }, { 50, 60 }, DAY - 50 },
		{ "the next second", { 1, { { 1, 1 } } }, { 1 }, 0 },
		{ "of the future", { 1, { { 1, 10 } } }, { -5 }, 15 },
		{ "of a clock that was wrong", { 1, { { 1, 10 } } }, { -301 }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (int known = 0; known < 3; known++) { /* in the profile, beside it, and in both */
			struct profile p = { 0 };
			struct recent recent[4];
			size_t n = 0;

			for (size_t k = 0; k < 4 && rows[i].sent[k] != 0; k++) {
				if (known != 1)
					add(&p, TOUCH_SENT, NOW - rows[i].sent[k], NEWS, k % 2 ? TOUCH_TRACKED : 0);
				if (known != 0)
					recent[n++] = (struct recent){ (uint32_t)(NOW - rows[i].sent[k]), profile_tag(NEWS) };
			}
			assert_row(rows[i].row, caps_free(&rows[i].caps, 0, &p, recent, n, NOW) == (rows[i].free ? NOW + rows[i].free : 0));
			assert_row(rows[i].row, caps_free(&rows[i].caps, profile_tag(OTHER), &p, recent, n, NOW) == 0);
			/* A cap is full exactly while one has to wait for it. */
			for (size_t k = 0; k < rows[i].caps.n; k++) {
				const struct caps alone = { 1, { rows[i].caps.cap[k] } };
				unsigned sent = caps_sent(&alone.cap[0], 0, &p, recent, n, NOW);

				assert_row(rows[i].row, (sent >= alone.cap[0].count) == (caps_free(&alone, 0, &p, recent, n, NOW) != 0));
				assert_row(rows[i].row, caps_sent(&alone.cap[0], profile_tag(OTHER), &p, recent, n, NOW) == 0);
			}
		}
}

static void
two_at_one_second_are_two(void **state)
{
	static const struct caps twice = { 1, { { 2, HOUR } } };
	struct recent recent[2] = { { NOW - 10, profile_tag(NEWS) }, { NOW - 10, profile_tag(NEWS) } };
	struct profile p = { 0 };

	(void)state;
	assert_int_equal(caps_free(&twice, 0, NULL, recent, 1, NOW), 0);
	assert_int_equal(caps_free(&twice, 0, NULL, recent, 2, NOW), NOW - 10 + HOUR);
	/* The profile has one of them by now. */
	add(&p, TOUCH_SENT, NOW - 10, NEWS, 0);
	assert_int_equal(caps_free(&twice, 0, &p, recent, 1, NOW), 0);
	assert_int_equal(caps_free(&twice, 0, &p, recent, 2, NOW), NOW - 10 + HOUR);
	add(&p, TOUCH_SENT, NOW - 10, NEWS, 0);
	assert_int_equal(caps_free(&twice, 0, &p, recent, 2, NOW), NOW - 10 + HOUR);
	/* Receipts count for nothing. */
	p = (struct profile){ 0 };
	add(&p, TOUCH_SENT, NOW - 10, NEWS, TOUCH_EXEMPT);
	add(&p, TOUCH_SENT, NOW - 11, NEWS, TOUCH_EXEMPT);
	recent[0].tag = 0;
	assert_int_equal(caps_free(&twice, 0, &p, recent, 1, NOW), 0);
}

/* A letter a month for who wants less, whatever the others send. */
static void
many_messages_of_others_hide_none(void **state)
{
	static const struct caps once = { 1, { { 1, 30 * DAY } } }, twice = { 1, { { 2, 30 * DAY } } };
	struct recent recent = { NOW - 20 * DAY, profile_tag(NEWS) };
	struct profile p = { 0 };

	(void)state;
	add(&p, TOUCH_SENT, NOW - 20 * DAY, NEWS, 0);
	for (int i = 0; i < 2 * PROFILE_SENDS; i++)
		add(&p, TOUCH_SENT, NOW - 10 * DAY + i * HOUR, OTHER, 0);
	assert_int_equal(caps_free(&once, profile_tag(NEWS), &p, NULL, 0, NOW), NOW + 10 * DAY);
	assert_int_equal(caps_free(&once, profile_tag(NEWS), &p, &recent, 1, NOW), NOW + 10 * DAY);
	/* It is one and not two. */
	assert_int_equal(caps_free(&twice, profile_tag(NEWS), &p, &recent, 1, NOW), 0);
	recent.when++;
	assert_int_equal(caps_free(&twice, profile_tag(NEWS), &p, &recent, 1, NOW), NOW + 10 * DAY);
	/* Nor do any receipts push out what counts, or prove silence. */
	p = (struct profile){ 0 };
	add(&p, TOUCH_SENT, NOW - 20 * DAY, OTHER, 0);
	for (int i = 0; i < 2 * PROFILE_SENDS; i++)
		add(&p, TOUCH_SENT, NOW - 10 * DAY + i * HOUR, NEWS, TOUCH_EXEMPT | TOUCH_TRACKED);
	assert_int_equal(caps_free(&once, 0, &p, NULL, 0, NOW), NOW + 10 * DAY);
	assert_int_equal(engage_find(&p, &(struct policy){ 0 }, NOW * 1000).silent_sends, 0);
	/* Of which stream a send is the version before did not say. */
	p.sent_tag[0] = 0;
	memset(p.stream_tag, 0, sizeof p.stream_tag);
	assert_int_equal(caps_free(&once, 0, &p, NULL, 0, NOW), NOW + 10 * DAY);
	assert_int_equal(caps_free(&once, profile_tag(OTHER), &p, NULL, 0, NOW), 0);
}

static void
caps_by_class_and_stream(void **state)
{
	struct conf *c = settings("enforce = on\n[stream news]\nstream_cap_engaged = 1/1d\n[stream receipts]\ntransactional = yes\n"
				  "[policy]\ncap_engaged = 2/1d\ncap_loyal = 3/1d\ncap_semi = off\ncap_new = 1/7d\n");
	struct buf why = BUF(1000);
	struct profile p = { 0 };
	struct subscription s = { 0 };
	struct question q = { .conf = c, .stream = conf_stream(c, SPAN("news")), .stream_id = NEWS, .who = &ann, .profile = &p,
		.now = NOW * 1000 };
	struct verdict v;

	(void)state;
	add(&p, TOUCH_OPEN, NOW - 5 * DAY, 0, 0);
	assert_int_equal(ask(&q, &why).cause, CAUSE_NONE);
	add(&p, TOUCH_SENT, NOW - HOUR, NEWS, 0);
	v = ask(&q, &why);
	assert_int_equal(v.cause, CAUSE_CAPPED);
	assert_int_equal(v.action, ACTION_REJECT);
	assert_int_equal(v.next, NOW - HOUR + DAY);
	assert_string_equal(buf_cstr(&why), "recipient had enough messages for now; the next one may come 2026-01-02T11:00:00Z");
	q.stream = &c->stream[0]; /* another stream, with the general caps */
	q.stream_id = OTHER;
	assert_int_equal(ask(&q, &why).cause, CAUSE_NONE);
	add(&p, TOUCH_SENT, NOW - HOUR - 1, OTHER, 0);
	assert_int_equal(ask(&q, &why).cause, CAUSE_CAPPED);
	q.stream = conf_stream(c, SPAN("receipts"));
	assert_int_equal(ask(&q, &why).cause, CAUSE_NONE);
	/* Who asked for less gets one a month of this stream. */
	q.stream = &c->stream[0];
	q.now = (NOW + 2 * DAY) * 1000;
	q.subscription = &s;
	assert_int_equal(ask(&q, &why).cause, CAUSE_NONE);
	s.less = NOW;
	assert_int_equal(ask(&q, &why).next, NOW - HOUR - 1 + 30 * DAY);
	conf_free(c);
	buf_free(&why);
}

/* ---- the series ---- */

static void
the_series_step_by_step(void **state)
{
	struct conf *c = settings("enforce = on\n[stream series]\nseries_stream = yes\n[policy]\nwinback_days = 100\n");
	struct policy *policy = &c->stream[0].policy;
	struct profile p = silent(18, NOW);
	struct finding f;
	struct series s;
	int64_t now = NOW;

	(void)state;
	/* Silent for 18 days only: not inactive before day 90, though enough was sent. */
	f = engage_find(&p, policy, now * 1000);
	assert_int_equal(series_find(&p, &ann, policy, &f, now * 1000).status, SERIES_NONE);
	now = NOW - 18 * DAY - HOUR + 90 * DAY + 1;
	f = engage_find(&p, policy, now * 1000);
	s = series_find(&p, &ann, policy, &f, now * 1000);
	assert_int_equal(s.status, SERIES_RESTING);
	assert_int_equal(s.next, now - 1 + 30 * DAY);
	assert_int_equal(series_coming(&s, policy), SERIES_1);
	for (unsigned step = 0; step < 3; step++) {
		now = s.next - 1;
		f = engage_find(&p, policy, now * 1000);
		assert_false(series_find(&p, &ann, policy, &f, now * 1000).due);
		now++;
		f = engage_find(&p, policy, now * 1000);
		s = series_find(&p, &ann, policy, &f, now * 1000);
		assert_true(s.due);
		assert_int_equal(s.status, SERIES_1 + (int)step);
		assert_int_equal(series_coming(&s, policy), SERIES_1 + (int)step);
		add(&p, TOUCH_SENT, now, 9, TOUCH_SERIES | TOUCH_TRACKED);
		f = engage_find(&p, policy, now * 1000);
		s = series_find(&p, &ann, policy, &f, now * 1000);
		assert_false(s.due);
		assert_int_equal(s.status, SERIES_1 + (int)step);
		assert_int_equal(s.next, now + (step < 2 ? 7 : 14) * DAY);
		assert_int_equal(series_coming(&s, policy), step < 2 ? SERIES_1 + (int)step + 1 : SERIES_SUNSET);
	}
	now = s.next;
	s = series_find(&p, &ann, policy, &f, now * 1000);
	assert_int_equal(s.status, SERIES_SUNSET);
	assert_int_equal(s.next, now + 100 * DAY);
	assert_int_equal(series_coming(&s, policy), SERIES_WINBACK);
	now = s.next;
	s = series_find(&p, &ann, policy, &f, now * 1000);
	assert_int_equal(series_coming(&s, policy), SERIES_WINBACK);
	assert_int_equal(s.status, SERIES_WINBACK);
	assert_true(s.due);
	add(&p, TOUCH_SENT, now, 9, TOUCH_SERIES);
	assert_int_equal(series_find(&p, &ann, policy, &f, (now + 13 * DAY) * 1000).status, SERIES_WINBACK);
	s = series_find(&p, &ann, policy, &f, (now + 14 * DAY) * 1000);
	assert_int_equal(s.status, SERIES_SUNSET);
	assert_int_equal(s.next, 0);
	assert_int_equal(series_coming(&s, policy), SERIES_NONE);
	/* Any life ends it, and the next silence begins anew. */
	add(&p, TOUCH_KEPT, now + 20 * DAY, 0, 0);
	f = engage_find(&p, policy, (now + 21 * DAY) * 1000);
	assert_int_equal(f.class, ENGAGE_ENGAGED);
	for (int i = 0; i < 18; i++)
		add(&p, TOUCH_SENT, now + (21 + i) * DAY, NEWS, TOUCH_TRACKED);
	now += 200 * DAY;
	f = engage_find(&p, policy, now * 1000);
	s = series_find(&p, &ann, policy, &f, now * 1000);
	assert_int_equal(f.class, ENGAGE_INACTIVE);
	assert_int_equal(s.status, SERIES_1);
	assert_int_equal(s.sent, 0);
	conf_free(c);
}

static void
who_gets_what(void **state)
{
	struct conf *c = settings("enforce = on\n[stream series]\nseries_stream = yes\n[stream quiet]\nenforce = observe\n");
	const struct stream *general = &c->stream[0], *series = conf_stream(c, SPAN("series")), *quiet = conf_stream(c, SPAN("quiet"));
	struct buf why = BUF(1000);
	struct profile reader = { 0 }, resting = silent(18, NOW - 89 * DAY), due = silent(18, NOW - 200 * DAY),
		       gone = silent(18, NOW - 300 * DAY), soft = { 0 };
	const struct {
		const char *row;
		const struct stream *stream;
		const struct profile *profile;
		const struct who *who;
		bool outage;
		enum cause imposed, want;
		enum action action;
		const char *words;
	} rows[] = {
		{ "a newsletter for a reader", general, &reader, &ann, false, 0, CAUSE_NONE, ACTION_SEND, "nothing stands in the way" },
		{ "a newsletter for who rests", general, &resting, &ann, false, 0, CAUSE_INACTIVE, ACTION_REJECT,
		    "recipient inactive, no human engagement for 107 days, over 18 messages; rests until 2026-01-14T11:00:00Z" },
		{ "a newsletter for whom the series is due", general, &due, &ann, false, 0, CAUSE_INACTIVE, ACTION_REJECT,
		    "recipient inactive, no human engagement for 218 days, over 18 messages; re-engagement step 1 of 3 is due" },
		{ "a newsletter after the sunset", general, &gone, &ann, false, 0, CAUSE_SUNSET, ACTION_REJECT,
		    "recipient gave no sign of life, and did not answer 3 re-engagement messages" },
		{ "a newsletter for the control group", general, &due, &control, false, 0, CAUSE_NONE, ACTION_SEND, NULL },
		{ "a newsletter when nobody's reactions are seen", general, &due, &ann, true, 0, CAUSE_NONE, ACTION_SEND, NULL },
		{ "a newsletter while observing", quiet, &due, &ann, false, 0, CAUSE_INACTIVE, ACTION_SEND, NULL },
		{ "the series for a reader", series, &reader, &ann, false, 0, CAUSE_NOT_DUE, ACTION_REJECT,
		    "recipient is not inactive, so no re-engagement message is due" },
		{ "the series for who rests", series, &resting, &ann, false, 0, CAUSE_RESTING, ACTION_REJECT,
		    "not yet time for a re-engagement message; the next one is due 2026-01-14T11:00:00Z" },
		{ "the series for whom it is due", series, &due, &ann, false, 0, CAUSE_NONE, ACTION_SEND, NULL },
		{ "the series for the control group", series, &due, &control, false, 0, CAUSE_NOT_DUE, ACTION_REJECT,
		    "recipient is in the control group, which gets no re-engagement messages" },
		{ "the series after the sunset", series, &gone, &ann, false, 0, CAUSE_SUNSET, ACTION_REJECT, NULL },
		{ "the series for nobody known", series, NULL, NULL, false, 0, CAUSE_NOT_DUE, ACTION_REJECT, NULL },
		{ "a stopped campaign", general, &reader, &ann, false, CAUSE_BRAKED, CAUSE_BRAKED, ACTION_DEFER, "the campaign is stopped" },
		{ "enough for today", general, &reader, &ann, false, CAUSE_THROTTLED, CAUSE_THROTTLED, ACTION_DEFER,
		    "too much mail for now" },
		{ "enough for today, for who is inactive anyway", general, &due, &ann, false, CAUSE_THROTTLED, CAUSE_INACTIVE, ACTION_REJECT,
		    NULL },
		{ "three that did not arrive", general, &soft, &ann, false, 0, CAUSE_SOFT_BOUNCED, ACTION_REJECT,
		    "the last 3 messages to this recipient did not arrive; tried again from 2026-01-30T12:00:00Z" },
	};

	(void)state;
	add(&reader, TOUCH_OPEN, NOW - DAY, 0, 0);
	for (int i = 3; i > 0; i--) {
		add(&gone, TOUCH_SENT, NOW - (20 + 7 * i) * DAY, 9, TOUCH_SERIES);
		add(&soft, TOUCH_SOFT_BOUNCED, NOW - i * DAY, NEWS, 0);
	}
	soft.soft_bounced[0] = NOW - DAY;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct question q = { .conf = c, .stream = rows[i].stream, .stream_id = NEWS, .who = rows[i].who,
			.profile = rows[i].profile, .now = NOW * 1000, .outage = rows[i].outage, .imposed = rows[i].imposed };
		struct verdict v = ask(&q, &why);

		if (v.cause != rows[i].want || v.action != rows[i].action)
			fail_msg("%s: %s, %s: %s", rows[i].row, cause_name(v.cause), action_name(v.action), buf_cstr(&why));
		if (rows[i].words != NULL)
			assert_span(rows[i].row, buf_span(&why), span_of(rows[i].words));
		assert_row(rows[i].row, v.holdout == (rows[i].who == &control && rows[i].stream == general));
		assert_row(rows[i].row, v.spared == rows[i].outage);
	}
	/* A message of the series that nobody has summed up yet, beside one of another stream and one of long ago. */
	for (int i = 0; i < 3; i++) {
		const struct recent just[] = { { (uint32_t)NOW, profile_tag(i == 0 ? NEWS : OTHER) }, { (uint32_t)NOW - 300 * DAY, profile_tag(NEWS) } };
		struct profile answered = due;
		struct question q = { .conf = c, .stream = series, .stream_id = NEWS, .who = &ann, .profile = &answered,
			.now = NOW * 1000, .recent = just, .nrecent = 2 };
		struct verdict v;

		if (i == 1)
			add(&answered, TOUCH_SENT, NOW - 250 * DAY, NEWS, TOUCH_SERIES);
		else if (i == 2)
			q.nrecent = 1;
		v = ask(&q, &why);
		assert_int_equal(v.cause, i == 0 ? CAUSE_RESTING : CAUSE_NONE);
		assert_int_equal(v.next, i == 0 ? NOW + 7 * DAY : 0);
	}
	/* One that arrived, and time, both end it. */
	add(&soft, TOUCH_DELIVERED, NOW - HOUR, 0, 0);
	assert_int_equal(verdict_find(&(struct question){ .conf = c, .stream = general, .profile = &soft, .now = NOW * 1000 }).cause,
	    CAUSE_NONE);
	soft.delivered = 0;
	assert_int_equal(verdict_find(&(struct question){ .conf = c, .stream = general, .profile = &soft,
	    .now = (NOW + 29 * DAY) * 1000 }).cause, CAUSE_NONE);
	conf_free(c);
	buf_free(&why);
}

static void
held_by_hand_until(void **state)
{
	struct conf *c = settings("enforce = on\n");
	struct profile p = { .first_seen = NOW, .held = NOW - DAY, .held_until = NOW + DAY };
	struct subscription s = { 0 };
	struct question q = { .conf = c, .stream = &c->stream[0], .profile = &p, .subscription = &s, .now = NOW * 1000 };
	struct buf why = BUF(1000);

	(void)state;
	assert_int_equal(ask(&q, &why).cause, CAUSE_HELD);
	assert_string_equal(buf_cstr(&why), "recipient held back by hand on 2025-12-31, until 2026-01-02");
	assert_int_equal(ask(&q, &why).next, NOW + DAY);
	/* Of two the one that ends last. */
	s.held = NOW;
	s.held_until = NOW + 2 * DAY;
	assert_int_equal(ask(&q, &why).next, NOW + 2 * DAY);
	assert_string_equal(buf_cstr(&why), "recipient held back by hand on 2026-01-01, until 2026-01-03");
	s.held_until = NOW + 1;
	assert_int_equal(ask(&q, &why).next, NOW + DAY);
	s.held_until = 0;
	assert_int_equal(ask(&q, &why).next, 0);
	s.held = 0;
	q.now = (NOW + DAY) * 1000;
	assert_int_equal(ask(&q, &why).cause, CAUSE_NONE);
	s.held = NOW;
	assert_int_equal(ask(&q, &why).cause, CAUSE_HELD);
	assert_string_equal(buf_cstr(&why), "recipient held back by hand on 2026-01-01");
	s.released = NOW + 1;
	assert_int_equal(ask(&q, &why).cause, CAUSE_NONE);
	conf_free(c);
	buf_free(&why);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_end_exactly),
		cmocka_unit_test(two_at_one_second_are_two),
		cmocka_unit_test(many_messages_of_others_hide_none),
		cmocka_unit_test(caps_by_class_and_stream),
		cmocka_unit_test(the_series_step_by_step),
		cmocka_unit_test(who_gets_what),
		cmocka_unit_test(held_by_hand_until),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
