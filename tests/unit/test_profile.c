#include "common/profile.h"
#include "common/text.h"
#include "tests/unit/unit.h"

#define DAY 86400
#define NOON INT64_C(1767268800) /* 2026-01-01T12:00:00Z, seconds */
#define MIDNIGHT (NOON - DAY / 2)

static struct touch
touch_at(enum touch_kind kind, int64_t s)
{
	return (struct touch){ .kind = kind, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .when = s * 1000 };
}

static struct profile
sum(const struct touch *t, size_t n)
{
	struct profile p = { 0 };

	for (size_t i = 0; i < n; i++)
		profile_add(&p, &t[i]);
	return p;
}

static void
test_sent(void **state)
{
	struct touch t[] = { touch_at(TOUCH_SENT, NOON), touch_at(TOUCH_SENT, NOON + 11),
		touch_at(TOUCH_SENT, NOON + 4) };
	struct profile p;

	(void)state;
	t[1].flags = TOUCH_TRACKED;
	p = sum(t, 3);
	assert_int_equal(p.sends, 3);
	assert_int_equal(p.tracked_sends, 1);
	assert_int_equal(p.first_seen, NOON);
	assert_int_equal(p.last_sent, NOON + 11);
	assert_int_equal(p.sent[0], (NOON + 10) | 1);
	assert_int_equal(p.sent[1], NOON + 4);
	assert_int_equal(p.sent[2], NOON);
	assert_int_equal(p.sent[3], 0);
}

static void
test_ring_keeps_the_newest(void **state)
{
	struct profile p = { 0 };
	struct touch t;

	(void)state;
	for (int i = 0; i <= PROFILE_SENDS; i++) {
		t = touch_at(TOUCH_SENT, NOON + 2 * i);
		profile_add(&p, &t);
	}
	assert_int_equal(p.sent[0], NOON + 2 * PROFILE_SENDS);
	assert_int_equal(p.sent[PROFILE_SENDS - 1], NOON + 2);
	/* Two at the same second are two. */
	t = touch_at(TOUCH_SENT, NOON + 2 * PROFILE_SENDS);
	profile_add(&p, &t);
	assert_int_equal(p.sent[1], NOON + 2 * PROFILE_SENDS);
	assert_int_equal(p.sends, PROFILE_SENDS + 2);
	t = touch_at(TOUCH_SENT, NOON);
	profile_add(&p, &t);
	assert_int_equal(p.sent[PROFILE_SENDS - 1], NOON + 4);
}

static const struct {
	const char *what;
	enum touch_kind kind;
	enum mode mode;
	enum robot verdict;
	struct profile want; /* all but first_seen */
	uint32_t day_opened, day_clicked;
	bool nothing;
} hits[] = {
	{ .what = "a person opens",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_IDENTIFIED,
	    .verdict = ROBOT_HUMAN,
	    .want = { .opens = 1, .last_open = NOON, .opened = { NOON | 1 } },
	    .day_opened = 1 },
	{ .what = "a person opens through a proxy",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_FULL,
	    .verdict = ROBOT_PROXY_OPEN,
	    .want = { .opens = 1, .last_open = NOON, .opened = { NOON | 1 } },
	    .day_opened = 1 },
	{ .what = "a privacy open",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_IDENTIFIED,
	    .verdict = ROBOT_PRIVACY_OPEN,
	    .want = { .machine_opens = 1, .last_machine = NOON, .opened = { NOON } } },
	{ .what = "a scanner opens",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_IDENTIFIED,
	    .verdict = ROBOT_SCANNER,
	    .want = { .machine_opens = 1, .last_machine = NOON } },
	{ .what = "a suspect is no person",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_IDENTIFIED,
	    .verdict = ROBOT_SUSPECT,
	    .want = { .machine_opens = 1, .last_machine = NOON } },
	{ .what = "a verdict of tomorrow is no person",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_IDENTIFIED,
	    .verdict = (enum robot)200,
	    .want = { .machine_opens = 1, .last_machine = NOON } },
	{ .what = "a person clicks",
	    .kind = TOUCH_CLICK,
	    .mode = MODE_IDENTIFIED,
	    .verdict = ROBOT_HUMAN,
	    .want = { .clicks = 1, .last_click = NOON },
	    .day_clicked = 1 },
	{ .what = "a scanner clicks",
	    .kind = TOUCH_CLICK,
	    .mode = MODE_FULL,
	    .verdict = ROBOT_SCANNER,
	    .want = { .machine_clicks = 1, .last_machine = NOON } },
	{ .what = "an open in dayonly leaves the day",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_DAYONLY,
	    .verdict = ROBOT_NONE,
	    .want = { .last_open = MIDNIGHT },
	    .nothing = true },
	{ .what = "so does a person's",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_DAYONLY,
	    .verdict = ROBOT_HUMAN,
	    .want = { .last_open = MIDNIGHT },
	    .nothing = true },
	{ .what = "so does a click",
	    .kind = TOUCH_CLICK,
	    .mode = MODE_DAYONLY,
	    .verdict = ROBOT_NONE,
	    .want = { .last_open = MIDNIGHT },
	    .nothing = true },
	{ .what = "a machine in dayonly leaves nothing",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_DAYONLY,
	    .verdict = ROBOT_PRIVACY_OPEN,
	    .nothing = true },
	{ .what = "anonymous leaves nothing",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_ANONYMOUS,
	    .verdict = ROBOT_HUMAN,
	    .nothing = true },
	{ .what = "off leaves nothing",
	    .kind = TOUCH_CLICK,
	    .mode = MODE_OFF,
	    .verdict = ROBOT_HUMAN,
	    .nothing = true },
	{ .what = "without a verdict only the acquaintance",
	    .kind = TOUCH_OPEN,
	    .mode = MODE_IDENTIFIED,
	    .verdict = ROBOT_NONE },
};

static void
test_hits(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hits); i++) {
		struct touch t = touch_at(hits[i].kind, NOON);
		struct profile want = hits[i].want, got;
		unsigned char a[PROFILE_BYTES], b[PROFILE_BYTES];

		t.mode = (uint8_t)hits[i].mode;
		t.verdict = (uint8_t)hits[i].verdict;
		got = sum(&t, 1);
		want.first_seen = hits[i].nothing ? 0 : NOON;
		if (hits[i].day_opened)
			want.open_days = (struct days){ NOON / DAY, { 1, 0 } };
		if (want.last_click)
			want.clicked[0] = want.last_click;
		if (want.opened[0] == 0 && want.last_open)
			want.last_day = want.last_open;
		if (hits[i].day_clicked)
			want.click_days = (struct days){ NOON / DAY, { 1, 0 } };
		profile_pack(&got, a);
		profile_pack(&want, b);
		assert_row(hits[i].what, memcmp(a, b, sizeof a) == 0);
	}
}

static void
test_standing(void **state)
{
	static const struct {
		enum touch_kind kind;
		size_t at;
		bool has_scope;
	} rows[] = {
		{ TOUCH_LEFT, offsetof(struct profile, left), true },
		{ TOUCH_JOINED, offsetof(struct profile, joined), true },
		{ TOUCH_RELEASED, offsetof(struct profile, released), true },
		{ TOUCH_BOUNCED, offsetof(struct profile, bounced), false },
		{ TOUCH_COMPLAINED, offsetof(struct profile, complained), false },
		{ TOUCH_HELD, offsetof(struct profile, held), true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct touch t[2] = { touch_at(rows[i].kind, NOON + 5), touch_at(rows[i].kind, NOON) };
		struct profile p = sum(t, 2);
		uint32_t v;

		memcpy(&v, (char *)&p + rows[i].at, sizeof v);
		assert_int_equal(v, NOON + 5);
		assert_false(touch_is_subscription(&t[0]));
		/* With a stream. */
		t[0].stream = t[1].stream = 7;
		p = sum(t, 2);
		memcpy(&v, (char *)&p + rows[i].at, sizeof v);
		assert_int_equal(v, rows[i].has_scope ? 0 : NOON + 5);
		assert_int_equal(p.first_seen, NOON);
		assert_int_equal(touch_is_subscription(&t[0]), rows[i].has_scope);
	}
}

static const struct {
	const char *what;
	int first_at, first, second_at, second, want;
} consents[] = {
	{ "granted", 0, CONSENT_GRANTED, 0, CONSENT_GRANTED, CONSENT_GRANTED },
	{ "granted, then denied", 0, CONSENT_GRANTED, 1, CONSENT_DENIED, CONSENT_DENIED },
	{ "denied, then granted", 0, CONSENT_DENIED, 1, CONSENT_GRANTED, CONSENT_GRANTED },
	{ "granted, then forgotten", 0, CONSENT_GRANTED, 1, CONSENT_UNKNOWN, CONSENT_UNKNOWN },
	{ "both at the same second: denied", 0, CONSENT_GRANTED, 0, CONSENT_DENIED, CONSENT_DENIED },
	{ "forgotten at the same second", 0, CONSENT_GRANTED, 0, CONSENT_UNKNOWN, CONSENT_UNKNOWN },
	{ "denied and forgotten at the same second", 0, CONSENT_UNKNOWN, 0, CONSENT_DENIED, CONSENT_DENIED },
	{ "nonsense changes nothing", 0, CONSENT_GRANTED, 1, 3, CONSENT_GRANTED },
};

static void
test_consent(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(consents); i++) {
		for (int axis = AXIS_OPENS; axis <= AXIS_LINKS; axis++) {
			struct touch t[2] = { touch_at(TOUCH_CONSENT, NOON + consents[i].first_at),
				touch_at(TOUCH_CONSENT, NOON + consents[i].second_at) };
			struct touch swapped[2];
			struct profile p;

			t[0].detail = (uint8_t)(axis << 4 | consents[i].first);
			t[1].detail = (uint8_t)(axis << 4 | consents[i].second);
			swapped[0] = t[1];
			swapped[1] = t[0];
			p = sum(t, 2);
			assert_row(consents[i].what, profile_consent(&p, axis) == (enum consent)consents[i].want);
			assert_row(consents[i].what, profile_consent(&p, !axis) == CONSENT_UNKNOWN);
			p = sum(swapped, 2);
			assert_row(consents[i].what, profile_consent(&p, axis) == (enum consent)consents[i].want);
		}
	}

	struct touch no_axis = touch_at(TOUCH_CONSENT, NOON);
	struct profile p;

	no_axis.detail = 2 << 4 | CONSENT_GRANTED;
	p = sum(&no_axis, 1);
	assert_true(p.consent[0] == 0 && p.consent[1] == 0);
}

static void
test_clamped(void **state)
{
	static const struct {
		int64_t ms;
		uint32_t s;
	} rows[] = {
		{ INT64_MIN, 1 },
		{ -1, 1 },
		{ 0, 1 },
		{ 1999, 1 },
		{ 2000, 2 },
		{ INT64_C(4294967295999), UINT32_MAX },
		{ INT64_C(4294967296000), UINT32_MAX },
		{ INT64_MAX, UINT32_MAX },
		{ INT64_C(4294967294999), UINT32_MAX - 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct touch t = touch_at(TOUCH_CLICK, 0);
		struct profile p;

		t.when = rows[i].ms;
		p = sum(&t, 1);
		assert_int_equal(p.last_click, rows[i].s);
		assert_int_equal(p.first_seen, rows[i].s);
	}
}

static void
test_days(void **state)
{
	struct touch t[] = { touch_at(TOUCH_CLICK, NOON), touch_at(TOUCH_CLICK, NOON - 127 * DAY),
		touch_at(TOUCH_CLICK, NOON - 128 * DAY), touch_at(TOUCH_CLICK, NOON - 64 * DAY),
		touch_at(TOUCH_CLICK, NOON - 63 * DAY), touch_at(TOUCH_CLICK, NOON + 60) };
	uint32_t day = NOON / DAY;
	struct profile p = sum(t, COUNT(t));

	(void)state;
	assert_true(days_has(&p.click_days, day));
	assert_true(days_has(&p.click_days, day - 63));
	assert_true(days_has(&p.click_days, day - 64));
	assert_true(days_has(&p.click_days, day - 127));
	assert_false(days_has(&p.click_days, day - 128)); /* one past the edge */
	assert_false(days_has(&p.click_days, day + 1));
	assert_int_equal(days_count(&p.click_days, 0, UINT32_MAX), 4);
	assert_int_equal(days_count(&p.click_days, day - 63, day), 2);
	assert_int_equal(days_count(&p.click_days, day - 64, day - 1), 2);
	assert_int_equal(days_count(&p.click_days, day, day - 1), 0);
	assert_int_equal(days_count(&p.open_days, 0, UINT32_MAX), 0);

	/* A record from nowhere: no endless loop, nothing out of bounds. */
	const struct days odd = { UINT32_MAX, { UINT64_MAX, UINT64_MAX } }, early = { 3, { UINT64_MAX, UINT64_MAX } };

	assert_int_equal(days_count(&odd, 0, UINT32_MAX), PROFILE_DAYS);
	assert_int_equal(days_count(&early, 0, UINT32_MAX), 4);
}

/* Any order of the same touches, and any day as the last one, gives the same days. */
static void
test_days_shift(void **state)
{
	(void)state;
	for (int64_t gap = 2; gap < 140; gap++) {
		struct touch up[] = {
			touch_at(TOUCH_OPEN, NOON),
			touch_at(TOUCH_OPEN, NOON + DAY),
			touch_at(TOUCH_OPEN, NOON + gap * DAY),
		};
		struct touch down[] = { up[2], up[1], up[0] };
		struct profile a = sum(up, 3), b = sum(down, 3);

		assert_memory_equal(&a.open_days.bits, &b.open_days.bits, sizeof a.open_days.bits);
		assert_int_equal(a.open_days.last, b.open_days.last);
		assert_int_equal(days_count(&a.open_days, 0, UINT32_MAX), 1 + (gap <= 127) + (gap <= 128));
		assert_int_equal(days_has(&a.open_days, NOON / DAY), gap <= 127);
		assert_int_equal(days_has(&a.open_days, NOON / DAY + 1), gap <= 128);
		assert_true(days_has(&a.open_days, (uint32_t)(NOON / DAY + gap)));
	}
}

/* Minutes with a click, newest first; of each the first and the last. */
static void
test_clicked(void **state)
{
	static const struct {
		const char *what;
		uint32_t at[12], n;
		struct { uint32_t last, before; } want[3];
	} rows[] = {
		{ "one", { 1000 }, 1, { { 1000, 0 } } },
		{ "two in a minute", { 1000, 1019 }, 2, { { 1019, 19 } } },
		{ "the other way round", { 1019, 1000 }, 2, { { 1019, 19 } } },
		{ "one between", { 1000, 1019, 1010 }, 3, { { 1019, 19 } } },
		{ "the next minute", { 1019, 1020 }, 2, { { 1020, 0 }, { 1019, 0 } } },
		{ "out of order", { 1200, 1019, 1140, 1199 }, 4, { { 1200, 0 }, { 1199, 59 }, { 1019, 0 } } },
		{ "more than are kept", { 60, 120, 180, 240, 300, 360, 420, 480, 540, 600 }, 10, { { 600, 0 }, { 540, 0 }, { 480, 0 } } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct profile p = { 0 };

		for (size_t k = 0; k < rows[i].n; k++)
			profile_add_hit(&p, true, &(struct judgement){ ROBOT_HUMAN, EVIDENCE_NONE }, rows[i].at[k]);
		for (size_t k = 0; k < COUNT(rows[i].want); k++)
			assert_row(rows[i].what, p.clicked[k] == rows[i].want[k].last && p.clicked_before[k] == rows[i].want[k].before);
	}
}

static void
test_repetitions_and_what_is_folded_back(void **state)
{
	struct profile p = { 0 };

	(void)state;
	profile_add_hit(&p, true, &(struct judgement){ ROBOT_HUMAN, EVIDENCE_NONE }, 1000);
	profile_add_hit(&p, true, &(struct judgement){ ROBOT_HUMAN, EVIDENCE_REPEAT }, 1030);
	assert_int_equal(p.clicks, 1);
	assert_int_equal(p.last_click, 1030);
	profile_add_hit(&p, true, &(struct judgement){ ROBOT_HUMAN, EVIDENCE_FOLDED_BACK }, 1060);
	assert_int_equal(p.clicks, 2);
	assert_int_equal(p.last_click, 1030);
	profile_add_hit(&p, false, &(struct judgement){ ROBOT_PRIVACY_OPEN, EVIDENCE_REPEAT }, 1000);
	assert_int_equal(p.machine_opens, 0);
	assert_int_equal(p.opened[0], 0);
	profile_add_hit(&p, false, &(struct judgement){ ROBOT_PROXY_OPEN, EVIDENCE_REPEAT }, 1000);
	assert_int_equal(p.opens, 0);
	assert_int_equal(p.last_open, 1000);
}

/* What is not of hits stays, and the day that mode dayonly keeps. */
static void
test_forgetting_hits(void **state)
{
	struct touch t = touch_at(TOUCH_OPEN, NOON - 3 * DAY);
	struct profile p = { 0 }, want;
	unsigned char a[PROFILE_BYTES], b[PROFILE_BYTES];

	(void)state;
	t.mode = MODE_DAYONLY;
	profile_add(&p, &t);
	t = touch_at(TOUCH_SENT, NOON);
	profile_add(&p, &t);
	want = p;
	assert_int_equal(want.last_open, NOON - 3 * DAY - NOON % DAY);
	for (int r = ROBOT_HUMAN; r <= ROBOT_SUSPECT; r++) {
		profile_add_hit(&p, false, &(struct judgement){ (enum robot)r, EVIDENCE_NONE }, NOON + 5);
		profile_add_hit(&p, true, &(struct judgement){ (enum robot)r, EVIDENCE_NONE }, NOON + 6);
	}
	profile_add_machines(&p, 3, 4);
	profile_forget_hits(&p);
	profile_pack(&p, a);
	profile_pack(&want, b);
	assert_memory_equal(a, b, sizeof a);
}

/* What is past goes through the disk, and takes the place of what was forgotten. */
static void
test_recalling_hits(void **state)
{
	struct touch t = touch_at(TOUCH_SENT, NOON);
	struct profile p = { 0 }, past = { 0 }, read;
	unsigned char a[PROFILE_BYTES], b[PROFILE_BYTES], bytes[PROFILE_HITS_BYTES + 1] = { 0 };

	(void)state;
	profile_add(&p, &t);
	for (int r = ROBOT_HUMAN; r <= ROBOT_SUSPECT; r++)
		for (uint32_t i = 0; i < 20; i++) {
			uint32_t s = NOON + 1000 * (i + 7 * (uint32_t)r);

			profile_add_hit(&p, i % 3 == 0, &(struct judgement){ (enum robot)r, EVIDENCE_NONE }, s);
			profile_add_hit(&past, i % 3 == 0, &(struct judgement){ (enum robot)r, EVIDENCE_NONE }, s);
		}
	profile_add_machines(&p, 3, 4);
	profile_add_machines(&past, 3, 4);
	profile_pack(&p, a);
	profile_pack_hits(&past, bytes);
	assert_true(profile_unpack_hits(&read, span_make(bytes, PROFILE_HITS_BYTES)));
	profile_add_hit(&p, true, &(struct judgement){ ROBOT_HUMAN, EVIDENCE_NONE }, NOON + 99 * DAY);
	profile_forget_hits(&p);
	profile_recall_hits(&p, &read);
	profile_pack(&p, b);
	assert_memory_equal(a, b, sizeof a);
	assert_false(profile_unpack_hits(&read, span_make(bytes, sizeof bytes)));
	bytes[0]++;
	assert_false(profile_unpack_hits(&read, span_make(bytes, PROFILE_HITS_BYTES)));
	assert_int_equal(read.clicks, 0);
}

static void
test_pack(void **state)
{
	unsigned char in[PROFILE_BYTES], out[PROFILE_BYTES], more[PROFILE_BYTES + 1] = { 3 };
	struct profile p;

	(void)state;
	/* Every field comes back from where it went. */
	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (unsigned char)(i * 7 + 1);
	in[0] = 3;
	assert_true(profile_unpack(&p, span_make(in, sizeof in)));
	profile_pack(&p, out);
	assert_memory_equal(out + 4, in + 4, 432);
	/* Version 2 had no more than this. */
	in[0] = 2;
	assert_false(profile_unpack(&p, span_make(in, sizeof in)));
	assert_true(profile_unpack(&p, span_make(in, 296)));
	profile_pack(&p, out);
	assert_int_equal(out[0], 3);
	assert_memory_equal(out + 4, in + 4, 288);
	assert_int_equal(p.last_regular, p.last_sent);
	assert_int_equal(p.sent_tag[0], 0);
	assert_true(p.streams); /* it may have */
	assert_int_equal(out[1], 1);
	assert_int_equal(out[2] | out[3], 0);
	for (size_t n = 0; n <= sizeof more; n++)
		assert_int_equal(profile_unpack(&p, span_make(more, n)), n == PROFILE_BYTES);
	in[0] = 1;
	assert_false(profile_unpack(&p, span_make(in, sizeof in)));
	in[0] = 0;
	assert_false(profile_unpack(&p, span_make(in, sizeof in)));
}

/* Where it lies, when it can be looked at there. */
static void
test_without_a_copy(void **state)
{
	_Alignas(8) unsigned char at[PROFILE_BYTES + 4];
	unsigned char in[PROFILE_BYTES], out[PROFILE_BYTES];
	bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
	struct profile room, p;

	(void)state;
	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (unsigned char)(i * 11 + 5);
	in[2] = in[3] = in[436] = in[437] = in[438] = in[439] = 0;
	for (unsigned version = 1; version <= 4; version++)
		for (size_t off = 0; off <= 4; off++) {
			size_t n = version == 2 ? 296 : PROFILE_BYTES;
			const struct profile *got;

			in[0] = (unsigned char)version;
			memcpy(at + off, in, n);
			got = profile_at(span_make(at + off, n), &room);
			assert_int_equal(got != NULL, version == 2 || version == 3);
			if (got == NULL)
				continue;
			assert_int_equal((const void *)got == at + off, little && version == 3 && off % 4 == 0);
			assert_true(profile_unpack(&p, span_make(in, n)));
			profile_pack(&p, out);
			profile_pack(got, at);
			assert_memory_equal(at, out, PROFILE_BYTES);
			assert_null(profile_at(span_make(at, n - 1), &room));
		}
}

/* ---- sends that are told apart ---- */

static void
test_kinds_of_sends(void **state)
{
	struct touch t[] = { touch_at(TOUCH_SENT, NOON), touch_at(TOUCH_SENT, NOON + 10), touch_at(TOUCH_SENT, NOON + 20) };
	struct profile p;

	(void)state;
	t[0].stream = 7;
	t[0].sent = 70;
	t[1].flags = TOUCH_SERIES;
	t[1].stream = 8;
	t[1].sent = 80;
	t[2].flags = TOUCH_EXEMPT;
	t[2].stream = 9;
	p = sum(t, 3);
	assert_int_equal(p.last_sent, NOON + 20);
	assert_int_equal(p.last_regular, NOON);
	assert_int_equal(p.series[0], NOON + 10);
	assert_int_equal(p.series[1], 0);
	/* An exempt one is counted, and no more. */
	assert_int_equal(p.sends, 3);
	assert_int_equal(p.sent_tag[0], profile_tag(8));
	assert_int_equal(p.sent_tag[1], profile_tag(7));
	assert_int_equal(p.sent[2], 0);
	assert_int_equal(p.stream_sent[0], NOON + 10);
	assert_int_equal(p.stream_tag[0], profile_tag(8));
	assert_int_equal(p.stream_tag[1], profile_tag(7));
	assert_int_equal(p.stream_sent[2], 0);
	t[1].when += 1000;
	p = sum(t, 3);
	assert_int_equal(profile_sent(&p, 0), NOON + 11);
	assert_int_equal(profile_sent(&p, 1), NOON);
	assert_int_equal(p.sent_tag[0], profile_tag(8) | 1);
	assert_int_equal(p.receiver, 0); /* the last send's */
	assert_int_equal(sum(t, 2).receiver, 80);
	assert_int_not_equal(profile_tag(0), 0);
}

/* However many of the others come, and in whatever order. */
static void
test_last_send_of_a_stream(void **state)
{
	struct touch t[2 * PROFILE_SENDS + 1];
	struct profile p;

	(void)state;
	t[0] = touch_at(TOUCH_SENT, NOON + 1);
	t[0].stream = 7;
	for (size_t i = 1; i < COUNT(t); i++) {
		t[i] = touch_at(TOUCH_SENT, NOON + 60 * (int64_t)i);
		t[i].stream = 10 + 2 * (i % (PROFILE_STREAMS - 1));
	}
	p = sum(t, COUNT(t));
	assert_int_equal(p.stream_sent[0], NOON + 60 * 2 * PROFILE_SENDS);
	assert_int_equal(p.stream_tag[PROFILE_STREAMS - 1], profile_tag(7));
	assert_int_equal(p.stream_sent[PROFILE_STREAMS - 1], NOON + 1);
	/* One more stream is one too many. */
	t[1].stream = 99;
	p = sum(t, COUNT(t));
	assert_int_equal(p.stream_tag[PROFILE_STREAMS - 1], profile_tag(99));
}

static void
test_soft_bounces(void **state)
{
	struct touch t = touch_at(TOUCH_SOFT_BOUNCED, NOON);
	struct profile p = { 0 };

	(void)state;
	t.detail = BOUNCE_POLICY;
	profile_add(&p, &t);
	assert_int_equal(p.soft_bounced[0], 0);
	t.detail = BOUNCE_SOFT;
	for (int i = 0; i < 5; i++, t.when += 1000)
		profile_add(&p, &t);
	assert_int_equal(p.soft_bounced[0], NOON + 4);
	assert_int_equal(p.soft_bounced[PROFILE_SOFT - 1], NOON + 2);
	assert_int_equal(p.bounced, 0);
}

/* Rows: when held and until when, in any order; what stands. */
static void
test_held_until(void **state)
{
	static const struct {
		const char *row;
		struct {
			int at;
			uint32_t until;
		} held[2];
		int want_at;
		uint32_t want;
	} rows[] = {
		{ "the later one says until when", { { 0, 0 }, { 5, 1000 } }, 5, 1000 },
		{ "for ever, later", { { 0, 1000 }, { 5, 0 } }, 5, 0 },
		{ "at the same second the longer one", { { 5, 1000 }, { 5, 2000 } }, 5, 2000 },
		{ "and nothing is longer than for ever", { { 5, 1000 }, { 5, 0 } }, 5, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (int swap = 0; swap < 2; swap++)
			for (uint64_t stream = 0; stream < 2; stream++) {
				struct profile p = { 0 };
				struct subscription s = { 0 };

				for (int k = 0; k < 2; k++) {
					struct touch t = touch_at(TOUCH_HELD, NOON + rows[i].held[k ^ swap].at);

					t.sent = rows[i].held[k ^ swap].until;
					t.stream = stream;
					profile_add(&p, &t);
					subscription_add(&s, &t);
				}
				assert_row(rows[i].row, (stream ? s.held : p.held) == NOON + (uint32_t)rows[i].want_at);
				assert_row(rows[i].row, (stream ? s.held_until : p.held_until) == rows[i].want);
				assert_row(rows[i].row, (stream ? p.held : s.held) == 0);
			}
}

/* ---- the promise: sums commute ---- */

static unsigned
random_below(unsigned n)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x >> 20) % n;
}

static struct touch
random_touch(void)
{
	struct touch t = touch_at(1 + random_below(TOUCH_KINDS - 1), NOON + random_below(200) * DAY);

	t.when += random_below(3) * 1000 + random_below(2) * 999;
	if (random_below(20) == 0)
		t.when = random_below(2) ? INT64_MAX : -5;
	t.mode = (uint8_t)random_below(MODE_FULL + 1);
	t.verdict = (uint8_t)random_below(ROBOT_SUSPECT + 1);
	t.detail = (uint8_t)(random_below(3) << 4 | random_below(4));
	t.flags = random_below(2) ? TOUCH_TRACKED : 0;
	if (t.kind == TOUCH_SENT && random_below(2))
		t.flags |= random_below(2) ? TOUCH_SERIES : TOUCH_EXEMPT;
	t.sent = random_below(3);
	t.stream = t.kind == TOUCH_SENT ? 2 * random_below(2 * PROFILE_STREAMS) : random_below(3);
	return t;
}

static void
shuffle(struct touch *t, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = random_below((unsigned)i);
		struct touch swap = t[i - 1];

		t[i - 1] = t[k];
		t[k] = swap;
	}
}

/* Folds in pieces, with a trip to the disk between them, as the fold thread does. */
static void
fold_in_pieces(const struct touch *t, size_t n, unsigned char out[PROFILE_BYTES], unsigned char sub[SUBSCRIPTION_BYTES])
{
	struct profile p = { 0 };
	struct subscription s = { 0 };

	for (size_t i = 0; i < n; i++) {
		profile_add(&p, &t[i]);
		subscription_add(&s, &t[i]);
		if (random_below(4) == 0) {
			profile_pack(&p, out);
			assert_true(profile_unpack(&p, span_make(out, PROFILE_BYTES)));
			subscription_pack(&s, sub);
			assert_true(subscription_unpack(&s, span_make(sub, SUBSCRIPTION_BYTES)));
		}
	}
	profile_pack(&p, out);
	subscription_pack(&s, sub);
}

static void
test_sums_commute(void **state)
{
	(void)state;
	for (int round = 0; round < 10000; round++) {
		struct touch t[60];
		size_t n = random_below(COUNT(t) + 1);
		unsigned char a[PROFILE_BYTES], b[PROFILE_BYTES], sa[SUBSCRIPTION_BYTES], sb[SUBSCRIPTION_BYTES];

		for (size_t i = 0; i < n; i++)
			t[i] = random_touch();
		fold_in_pieces(t, n, a, sa);
		shuffle(t, n);
		fold_in_pieces(t, n, b, sb);
		assert_memory_equal(a, b, sizeof a);
		assert_memory_equal(sa, sb, sizeof sa);
	}
}

/* Of dayonly only the latest day counts: the store may drop the others and rebuild. */
static void
test_dayonly_is_overwritten(void **state)
{
	struct touch t[2] = { touch_at(TOUCH_OPEN, NOON), touch_at(TOUCH_CLICK, NOON + DAY) };
	struct profile both, latest;
	unsigned char a[PROFILE_BYTES], b[PROFILE_BYTES];

	(void)state;
	t[0].mode = t[1].mode = MODE_DAYONLY;
	both = sum(t, 2);
	assert_int_equal(both.last_open, MIDNIGHT + DAY);
	t[1].kind = TOUCH_OPEN;
	t[1].when = (MIDNIGHT + DAY) * 1000;
	latest = sum(t + 1, 1);
	profile_pack(&both, a);
	profile_pack(&latest, b);
	assert_memory_equal(a, b, sizeof a);
}

static void
test_subscription(void **state)
{
	struct touch left = touch_at(TOUCH_LEFT, NOON), joined = touch_at(TOUCH_JOINED, NOON + 1),
		     released = touch_at(TOUCH_RELEASED, NOON + 2);
	struct touch sent = touch_at(TOUCH_SENT, NOON + 3);
	struct subscription s = { 0 };
	unsigned char b[SUBSCRIPTION_BYTES + 1] = { 0 };

	(void)state;
	subscription_add(&s, &left); /* without a stream: not ours */
	assert_int_equal(s.left, 0);
	left.stream = joined.stream = released.stream = sent.stream = 9;
	subscription_add(&s, &left);
	subscription_add(&s, &joined);
	subscription_add(&s, &sent);
	assert_int_equal(s.left, NOON);
	assert_int_equal(s.joined, NOON + 1);
	subscription_add(&s, &released);
	assert_int_equal(s.joined, NOON + 2);
	for (size_t n = 0; n <= sizeof b; n++)
		assert_int_equal(subscription_unpack(&s, span_make(b, n)), n == SUBSCRIPTION_BYTES || n == 8 || n == 16);
}

/* Each row: touches in one stream, and what stands afterwards. */
static const struct {
	const char *what;
	struct {
		enum touch_kind kind;
		int at;
	} touch[3];
	bool left, less;
} choices[] = {
	{ "nothing", { { 0, 0 } }, false, false },
	{ "less", { { TOUCH_LESS, 0 } }, false, true },
	{ "less, then kept", { { TOUCH_LESS, 0 }, { TOUCH_KEPT, 1 } }, false, false },
	{ "kept, then less", { { TOUCH_KEPT, 0 }, { TOUCH_LESS, 1 } }, false, true },
	{ "both at the same second: less", { { TOUCH_LESS, 0 }, { TOUCH_KEPT, 0 } }, false, true },
	{ "left, then kept", { { TOUCH_LEFT, 0 }, { TOUCH_KEPT, 1 } }, false, false },
	{ "left, then less", { { TOUCH_LEFT, 0 }, { TOUCH_LESS, 1 } }, false, true },
	{ "kept and left at the same second", { { TOUCH_KEPT, 0 }, { TOUCH_LEFT, 0 } }, true, false },
	{ "less and left at the same second", { { TOUCH_LESS, 0 }, { TOUCH_LEFT, 0 } }, true, true },
	{ "less, left and joined again: still less", { { TOUCH_LESS, 0 }, { TOUCH_LEFT, 1 }, { TOUCH_JOINED, 2 } }, false, true },
	{ "released does not undo it", { { TOUCH_LESS, 0 }, { TOUCH_RELEASED, 1 } }, false, true },
};

static void
test_choices(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(choices); i++) {
		struct subscription s = { 0 }, back;
		struct profile p = { 0 };
		unsigned char b[SUBSCRIPTION_BYTES];

		for (size_t k = 0; k < COUNT(choices[i].touch) && choices[i].touch[k].kind != 0; k++) {
			struct touch t = touch_at(choices[i].touch[k].kind, NOON + choices[i].touch[k].at);

			t.stream = 9;
			subscription_add(&s, &t);
			profile_add(&p, &t);
		}
		subscription_pack(&s, b);
		assert_true(subscription_unpack(&back, span_make(b, sizeof b)));
		assert_row(choices[i].what, (back.left != 0 && back.left >= back.joined) == choices[i].left);
		assert_row(choices[i].what, subscription_less(&back) == choices[i].less);
		assert_row(choices[i].what, p.left == 0 && p.joined == 0);
	}
}

/* Whoever presses a button of ours reads our mail, and silence before it proves nothing. */
static void
test_a_choice_is_engagement(void **state)
{
	static const enum touch_kind kinds[] = { TOUCH_KEPT, TOUCH_LESS };

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		for (uint64_t stream = 0; stream < 2; stream++) {
			struct touch t = touch_at(kinds[i], NOON);
			struct profile p;

			t.stream = stream;
			p = sum(&t, 1);
			assert_int_equal(p.chosen, NOON);
			assert_int_equal(p.affirmed, NOON);
			assert_int_equal(p.clicks, 0);
			profile_forget_hits(&p);
			assert_int_equal(p.chosen, NOON);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sent),
		cmocka_unit_test(test_ring_keeps_the_newest),
		cmocka_unit_test(test_hits),
		cmocka_unit_test(test_standing),
		cmocka_unit_test(test_consent),
		cmocka_unit_test(test_clamped),
		cmocka_unit_test(test_days),
		cmocka_unit_test(test_days_shift),
		cmocka_unit_test(test_clicked),
		cmocka_unit_test(test_repetitions_and_what_is_folded_back),
		cmocka_unit_test(test_forgetting_hits),
		cmocka_unit_test(test_recalling_hits),
		cmocka_unit_test(test_kinds_of_sends),
		cmocka_unit_test(test_last_send_of_a_stream), cmocka_unit_test(test_soft_bounces),
		cmocka_unit_test(test_held_until),
		cmocka_unit_test(test_pack),
		cmocka_unit_test(test_without_a_copy),
		cmocka_unit_test(test_sums_commute),
		cmocka_unit_test(test_dayonly_is_overwritten),
		cmocka_unit_test(test_subscription),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_a_choice_is_engagement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
