/* test_trail.c -- one recipient's hits in one campaign, judged together: any order, any portions, and late touches too. */
#include "common/codec.h"
#include "common/trail.h"

#include "tests/unit/unit.h"

#define T0 ((int64_t)1795348800000)
#define S 1000

/*
 * A story is one touch after the other: "c1@0" clicks link 1 at 0 ms, "o@500"
 * opens; behind it may stand what the request showed: h human (as without),
 * x image proxy, a Apple, f prefetch, v preview, s scanner, n probable network,
 * g no agent, t the hidden link; then ":" and when it was tagged, in seconds from T0.
 * "d@0" is a delivery, "D@0" one to a gateway, "l@0" an unsubscription.
 */
static struct touch
read_one(const char **p)
{
	struct touch t = { .mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 5, .kind = TOUCH_CLICK, .verdict = ROBOT_HUMAN };
	char *end;

	switch (*(*p)++) {
	case 'o':
		t.kind = TOUCH_OPEN;
		break;
	case 'd':
		t.kind = TOUCH_DELIVERED;
		break;
	case 'D':
		t.kind = TOUCH_DELIVERED;
		t.detail = DELIVERED_GATEWAY;
		break;
	case 'l':
		t.kind = TOUCH_LEFT;
		break;
	default:
		t.link = (uint16_t)strtoul(*p, &end, 10);
		*p = end;
	}
	t.when = T0 + strtol(*p + 1, &end, 10);
	*p = end;
	for (; **p != '\0' && **p != ' '; ++*p) {
		static const struct {
			char letter;
			enum robot verdict;
			enum evidence evidence;
		} shown[] = {
			{ 'x', ROBOT_PROXY_OPEN, EVIDENCE_IMAGE_PROXY }, { 'a', ROBOT_PRIVACY_OPEN, EVIDENCE_APPLE },
			{ 'f', ROBOT_PREFETCH, EVIDENCE_PREFETCH }, { 'v', ROBOT_PREVIEW, EVIDENCE_AGENT },
			{ 's', ROBOT_SCANNER, EVIDENCE_AGENT }, { 'n', ROBOT_SUSPECT, EVIDENCE_MAYBE_NETWORK },
			{ 'g', ROBOT_SUSPECT, EVIDENCE_NO_AGENT }, { 't', ROBOT_SCANNER, EVIDENCE_HONEYPOT },
		};

		for (size_t i = 0; i < COUNT(shown); i++)
			if (shown[i].letter == **p) {
				t.verdict = (uint8_t)shown[i].verdict;
				t.detail = (uint8_t)shown[i].evidence;
			}
		if (**p == ':') {
			t.sent = (uint32_t)(T0 / 1000 + strtol(*p + 1, &end, 10));
			*p = end - 1;
		}
	}
	while (**p == ' ')
		++*p;
	return t;
}

static size_t
read_story(const char *text, struct touch *t)
{
	size_t n = 0;

	while (*text != '\0')
		t[n++] = read_one(&text);
	return n;
}

static const struct row {
	const char *says, *story;
	const char *verdicts; /* of each hit in order of time: H counts, R is a repetition, and the rest as evidence letters */
} rows[] = {
	{ "one click is a person's", "c1@0", "H" },
	{ "an open and a click", "o@0 c1@9000", "HH" },
	/* bursts: 3 links in 3 seconds */
	{ "three links in three seconds, to the millisecond", "c1@0 c2@1500 c3@3000", "BBB" },
	{ "three links, a millisecond more", "c1@0 c2@1500 c3@3001", "HHH" },
	{ "two links at once are no burst", "c1@0 c2@1", "HH" },
	{ "the same link three times is no burst", "c1@0 c1@1 c1@2", "HRR" },
	{ "the first click is taken back", "c1@0 c2@2900 c3@2950 c4@3100", "BBBB" },
	{ "a chain of bursts", "c1@0 c2@1000 c3@2000 c4@3500 c5@4900", "BBBBB" },
	{ "who is in no window stays", "c1@0 c2@5000 c3@5001 c4@5002", "HBBB" },
	{ "a repeated link inside a burst is in it too", "c1@0 c1@100 c2@200 c3@300", "BBBB" },
	{ "a click after the burst is a person's", "c1@0 c2@10 c3@20 c2@3600000", "BBBH" },
	{ "the open around it is the scanner's as well", "o@0 c1@3000 c2@3001 c3@3002", "BBBB" },
	{ "an open a millisecond further away is not", "o@0 c1@3001 c2@3002 c3@3003", "HBBB" },
	{ "nor the one behind it", "c1@0 c2@1 c3@2 o@3003", "BBBH" },
	{ "but one right behind it", "c1@0 c2@1 c3@2 o@3002", "BBBB" },
	{ "Gmail's proxy at that moment too", "o@0x c1@10 c2@20 c3@30", "BBBB" },
	{ "Apple's stays what it is", "o@0a c1@10 c2@20 c3@30", "ABBB" },
	{ "what says that it scans makes others' a burst", "c1@0s c2@10s c3@20", "ssB" },
	{ "prefetches do not", "c1@0f c2@10f c3@20", "ffH" },
	{ "previews do not", "c1@0v c2@10v c3@20", "vvH" },
	{ "the hidden link is no link for that", "c1@0 c2@10 c0@20000t", "HHt" },
	/* soon after tagging, two links are enough */
	{ "two links within ten seconds of tagging", "c1@9000:0 c2@9999:0", "BB" },
	{ "one of them a millisecond later", "c1@9000:0 c2@10000:0", "HH" },
	{ "one alone is nothing", "c1@1:0", "H" },
	{ "a clock of another machine says that it is yet to be tagged", "c1@-2000:0 c2@-1999:0", "HH" },
	{ "two links too far apart", "c1@0:0 c2@3001:0", "HH" },
	/* gateways: two are enough */
	{ "behind a gateway two links", "D@0 c1@60000 c2@63000", "BB" },
	{ "behind a gateway, a millisecond more", "D@0 c1@60000 c2@63001", "HH" },
	{ "behind a gateway, one link", "D@0 c1@60000", "H" },
	/* delivery */
	{ "within two seconds of the delivery", "d@0 c1@1999", "I" },
	{ "after two seconds", "d@0 c1@2000", "E" },
	{ "within ten seconds", "d@0 c1@9999", "E" },
	{ "after ten seconds", "d@0 c1@10000", "H" },
	{ "an open too", "d@0 o@1999x o@9999 o@10000", "IEH" },
	{ "Apple's open is no matter of time", "d@0 o@10a", "A" },
	{ "a suspect that is early is a scanner", "d@0 c1@5000n", "E" },
	{ "the delivery told twice", "d@0 d@0 c1@10000", "H" },
	{ "of two messages, the delivery before the hit", "d@0 d@100000 c1@50000 c1@101000", "HI" },
	{ "of two messages, the delivery of its own", "d@5000 d@100000 c1@101000:0 c2@101500:99", "HI" },
	{ "before its delivery", "d@5000 c1@4000:0", "E" },
	{ "of a message before all that was told", "d@5000 c1@4000", "H" },
	/* the hidden link */
	{ "with the hidden link, ten seconds around", "c1@0 c0@10000t c2@20000", "ttt" },
	{ "a millisecond further away", "c1@0 c0@10001t c2@20002", "HtH" },
	{ "opens with it", "o@0 c0@10t", "tt" },
	/* suspects */
	{ "a probable network alone is suspect", "c1@0n", "n" },
	{ "until a person's click follows", "c1@0n c1@900000", "FH" },
	{ "an open does not", "c1@0n o@900000", "nH" },
	{ "nor one before", "c1@0 c2@900000n", "Hn" },
	{ "nor one that is a repetition of a burst", "c1@0n c2@900000 c3@900001 c4@900002", "nBBB" },
	{ "a burst of suspects is a scanner's", "c1@0n c2@1n c3@2n c4@900000", "BBBH" },
	{ "no agent is not folded back", "c1@0g c1@900000", "gH" },
	{ "a scanner makes nothing of it either", "c1@0g c1@900000s", "gs" },
	/* repetitions: 60 seconds */
	{ "a double click", "c1@0 c1@300", "HR" },
	{ "within a minute", "c1@0 c1@59999", "HR" },
	{ "after a minute", "c1@0 c1@60000", "HH" },
	{ "another link", "c1@0 c2@300", "HH" },
	{ "an open and a click are two", "o@0 c1@300", "HH" },
	{ "a click of a link that nobody told, too", "o@0 c0@300", "HH" },
	{ "two links in turn, the first one again after a minute", "c1@0 c2@10000 c1@20000 c2@30000 c1@60000 c2@69999", "HHRRHR" },
	{ "counted from the last that counted", "c1@0 c1@40000 c1@80000", "HRH" },
	{ "a proxy's and a browser's open are one", "o@0x o@300", "HR" },
	{ "Apple's, twice", "o@0a o@300a", "AR" },
	{ "Apple's and a person's", "o@0a o@300", "AH" },
	{ "a machine between does not matter", "c1@0s c1@300", "sH" },
	{ "machines are not damped", "c1@0s c1@1s", "ss" },
	{ "a person before a machine stays, and a machine before a person too", "o@0 o@99000s o@200000 o@300000s", "HsHs" },
};

static char
letter(const struct trail_hit *h)
{
	static const char letters[EVIDENCES] = {
		[EVIDENCE_NONE] = 'H', [EVIDENCE_IMAGE_PROXY] = 'H', [EVIDENCE_APPLE] = 'A', [EVIDENCE_PREFETCH] = 'f',
		[EVIDENCE_NO_AGENT] = 'g', [EVIDENCE_MAYBE_NETWORK] = 'n', [EVIDENCE_HONEYPOT] = 't', [EVIDENCE_BURST] = 'B',
		[EVIDENCE_INSTANT] = 'I', [EVIDENCE_EARLY] = 'E', [EVIDENCE_CROWD] = 'C', [EVIDENCE_REPEAT] = 'R',
		[EVIDENCE_FOLDED_BACK] = 'F',
	};

	if (h->final.evidence == EVIDENCE_AGENT)
		return h->final.verdict == ROBOT_PREVIEW ? 'v' : 's';
	return letters[h->final.evidence];
}

static void
each_story(void **state)
{
	const struct rules rules = RULES_DEFAULT;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct touch t[16];
		size_t n = read_story(rows[i].story, t);
		struct trail trail = { 0 };
		char got[17] = "";

		for (size_t k = 0; k < n; k++)
			trail_add(&trail, &t[k]);
		trail_judge(&trail, &rules);
		for (size_t k = 0; k < trail.n; k++) {
			got[k] = letter(&trail.hit[k]);
			/* What counts as a person's is what the letters say. */
			assert_row(rows[i].says, trail_counts(&trail.hit[k].final) == (got[k] == 'H' || got[k] == 'F'));
		}
		if (strcmp(got, rows[i].verdicts) != 0)
			fail_msg("%s: \"%s\" is %s, want %s", rows[i].says, rows[i].story, got, rows[i].verdicts);
		trail_free(&trail);
	}
}

static void
other_rules_judge_otherwise(void **state)
{
	static const struct {
		const char *says, *story;
		struct rules rules;
		const char *verdicts;
	} cases[] = {
		{ "two links are a burst", "c1@0 c2@3000", { 2000, 10000, 2, 3000, 60000, true }, "BB" },
		{ "four are not enough for five", "c1@0 c2@1 c3@2 c4@3", { 2000, 10000, 5, 3000, 60000, true }, "HHHH" },
		{ "a window of nothing", "c1@0 c2@0 c3@0 c4@1", { 2000, 10000, 3, 0, 60000, true }, "BBBH" },
		{ "no damping", "c1@0 c1@0", { 2000, 10000, 3, 3000, 0, true }, "HH" },
		{ "no folding back", "c1@0n c1@900000", { 2000, 10000, 3, 3000, 60000, false }, "nH" },
		{ "no hurry", "d@0 c1@0", { 0, 0, 3, 3000, 60000, true }, "H" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct touch t[16];
		size_t n = read_story(cases[i].story, t);
		struct trail trail = { 0 };
		char got[17] = "";

		for (size_t k = 0; k < n; k++)
			trail_add(&trail, &t[k]);
		trail_judge(&trail, &cases[i].rules);
		for (size_t k = 0; k < trail.n; k++)
			got[k] = letter(&trail.hit[k]);
		if (strcmp(got, cases[i].verdicts) != 0)
			fail_msg("%s: %s, want %s", cases[i].says, got, cases[i].verdicts);
		trail_free(&trail);
	}
}

/* ---- properties ---- */

static unsigned
next_random(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8 & 0x7fffff;
}

/* A jumble that has bursts, repetitions, deliveries and hidden links in it, and twins. */
static void
jumble(struct touch *t, size_t n, unsigned seed, int64_t span)
{
	static const struct judgement shown[] = {
		{ ROBOT_HUMAN, EVIDENCE_NONE }, { ROBOT_HUMAN, EVIDENCE_NONE }, { ROBOT_PROXY_OPEN, EVIDENCE_IMAGE_PROXY },
		{ ROBOT_PRIVACY_OPEN, EVIDENCE_APPLE }, { ROBOT_PREFETCH, EVIDENCE_GMAIL }, { ROBOT_PREVIEW, EVIDENCE_AGENT },
		{ ROBOT_SCANNER, EVIDENCE_NETWORK }, { ROBOT_SUSPECT, EVIDENCE_MAYBE_NETWORK },
		{ ROBOT_SUSPECT, EVIDENCE_NO_AGENT }, { (enum robot)100, EVIDENCE_NONE },
	};

	for (size_t i = 0; i < n; i++) {
		unsigned a = next_random(&seed), b = next_random(&seed);
		const struct judgement *j = &shown[next_random(&seed) % COUNT(shown)];

		if (i > 0 && a % 16 == 0) {
			t[i] = t[i - 1];
			continue;
		}
		t[i] = (struct touch){ .kind = a % 3 ? TOUCH_CLICK : TOUCH_OPEN, .mode = MODE_IDENTIFIED, .who = { { 1 } },
			.campaign = 5, .verdict = (uint8_t)j->verdict, .detail = (uint8_t)j->evidence,
			.when = T0 + b % span, .sent = a % 5 ? (uint32_t)(T0 / 1000 + a % 7) : 0 };
		if (t[i].kind == TOUCH_CLICK)
			t[i].link = (uint16_t)(1 + a / 16 % 6);
		if (t[i].kind == TOUCH_CLICK && b % 64 == 0) {
			t[i].link = 0;
			t[i].verdict = ROBOT_SCANNER;
			t[i].detail = EVIDENCE_HONEYPOT;
		}
		if (a % 32 == 1) {
			t[i].kind = TOUCH_DELIVERED;
			t[i].detail = a / 32 % 8 == 0 ? DELIVERED_GATEWAY : 0;
		} else if (a % 64 == 2)
			t[i].kind = TOUCH_LEFT;
	}
}

static void
shuffle(struct touch *t, size_t n, unsigned seed)
{
	for (size_t k = n; k-- > 1;) {
		size_t j = next_random(&seed) % (k + 1);
		struct touch swap = t[k];

		t[k] = t[j];
		t[j] = swap;
	}
}

/* Adds in portions, each time through the bytes. */
static void
gather(const struct touch *t, size_t n, unsigned seed, struct buf *out)
{
	const struct rules rules = RULES_DEFAULT;

	*out = BUF(TRAIL_BYTES_MAX);
	for (size_t i = 0; i < n;) {
		size_t portion = 1 + next_random(&seed) % 40;
		struct trail trail = { 0 };

		if (out->n > 0)
			assert_true(trail_unpack(&trail, buf_span(out)));
		for (; i < n && portion-- > 0; i++)
			if (trail_wants(&t[i]))
				trail_add(&trail, &t[i]);
		trail_judge(&trail, &rules);
		buf_clear(out);
		trail_pack(&trail, out);
		assert_false(out->over);
		trail_free(&trail);
	}
}

static void
any_order_and_any_portions_give_the_same_bytes(void **state)
{
	static const size_t sizes[] = { 1, 5, 30, TRAIL_HITS - 2, TRAIL_HITS + 40, 900 };
	struct touch t[900];
	size_t bursts = 0;

	(void)state;
	for (unsigned seed = 0; seed < 60; seed++) {
		size_t n = sizes[seed % COUNT(sizes)];
		struct trail trail;
		struct buf want;

		jumble(t, n, seed, seed % 2 ? 200 * S : 3000 * S);
		gather(t, n, 1000000, &want);
		for (unsigned round = 1; round < 6; round++) {
			struct buf got;

			shuffle(t, n, seed * 31 + round);
			gather(t, n, seed * 17 + round, &got);
			if (!span_eq(buf_span(&got), buf_span(&want)))
				fail_msg("%zu touches of seed %u: another trail in round %u", n, seed, round);
			buf_free(&got);
		}
		assert_true(trail_unpack(&trail, buf_span(&want)));
		for (size_t i = 0; i < trail.n; i++)
			bursts += trail.hit[i].final.evidence == EVIDENCE_BURST;
		trail_free(&trail);
		buf_free(&want);
	}
	assert_true(bursts > 100); /* there was something to take back */
}

/* The last human click and open, as the profile takes them, 0 none. */
static void
last_human(const struct touch *t, size_t n, int64_t *open, int64_t *click)
{
	const struct rules rules = RULES_DEFAULT;
	struct trail trail = { 0 };

	*open = *click = 0;
	for (size_t i = 0; i < n; i++)
		trail_add(&trail, &t[i]);
	trail_judge(&trail, &rules);
	for (size_t i = 0; i < trail.n; i++)
		if (robot_is_human(trail.hit[i].final.verdict))
			*(trail.hit[i].click ? click : open) = trail.hit[i].when;
	trail_free(&trail);
}

static void
machines_never_raise(void **state)
{
	struct touch t[121];

	(void)state;
	for (unsigned seed = 0; seed < 400; seed++) {
		int64_t open, click, more_open, more_click;
		size_t n = 1 + seed % 120;

		jumble(t, n, seed, 300 * S);
		t[n] = (struct touch){ .kind = seed % 2 ? TOUCH_CLICK : TOUCH_OPEN, .mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 5,
			.verdict = (uint8_t)(ROBOT_PRIVACY_OPEN + seed % 5), .detail = EVIDENCE_AGENT, .link = seed % 2 ? 1 + seed % 9 : 0,
			.when = T0 + seed * 997 % (300 * S) };
		last_human(t, n, &open, &click);
		last_human(t, n + 1, &more_open, &more_click);
		if (more_open > open || more_click > click)
			fail_msg("seed %u: a machine's hit raised something", seed);
	}
}

/* A person's click raises what is known of them, unless it is a part of a burst; never does it lower what is no part of that. */
static void
people_never_lower(void **state)
{
	struct touch t[121];

	(void)state;
	for (unsigned seed = 0; seed < 400; seed++) {
		int64_t open, click, more_open, more_click;
		size_t n = 1 + seed % 120;

		jumble(t, n, seed, 300 * S);
		/* Out of everybody's window. */
		t[n] = (struct touch){ .kind = seed % 2 ? TOUCH_CLICK : TOUCH_OPEN, .mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 5,
			.verdict = ROBOT_HUMAN, .link = seed % 2 ? 1 + seed % 9 : 0, .when = T0 + 400 * S + seed * 997 % (300 * S) };
		last_human(t, n, &open, &click);
		last_human(t, n + 1, &more_open, &more_click);
		assert_true(more_open >= open && more_click >= click);
		assert_true(seed % 2 ? more_click == t[n].when : more_open == t[n].when);
	}
}

static void
more_than_are_kept(void **state)
{
	const struct rules rules = RULES_DEFAULT;
	struct trail trail = { 0 };
	struct tally y;

	(void)state;
	for (unsigned i = 0; i <= TRAIL_HITS; i++) {
		struct touch t = { .kind = TOUCH_CLICK, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .who = { { 1 } }, .campaign = 5,
			.link = 1, .when = T0 + (int64_t)i * 3600 * S };

		trail_add(&trail, &t);
		if (i + 1 < TRAIL_HITS)
			continue;
		trail_judge(&trail, &rules);
		trail_tally(&trail, &y);
		assert_int_equal(trail.n, TRAIL_HITS);
		assert_int_equal(y.clicks_all, i + 1);
		assert_int_equal(y.clicks_human, TRAIL_HITS);
		assert_int_equal(y.clicks[EVIDENCE_CROWD], i + 1 - TRAIL_HITS);
		assert_int_equal(y.clickers_human, 1);
	}
	/* The middle one went. */
	assert_int_equal(trail.hit[TRAIL_END - 1].when, T0 + (TRAIL_END - 1) * (int64_t)3600 * S);
	assert_int_equal(trail.hit[TRAIL_END].when, T0 + (TRAIL_END + 1) * (int64_t)3600 * S);
	trail_free(&trail);
}

/* The first click of a burst is kept, the rest of it is not: that makes no person of the first. */
static void
what_is_dropped_raises_nobody(void **state)
{
	const struct rules rules = RULES_DEFAULT;
	struct touch t = { .kind = TOUCH_CLICK, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .who = { { 1 } }, .campaign = 5 };
	struct trail trail = { 0 };

	(void)state;
	for (unsigned i = 0; i < 2 * TRAIL_END; i++) {
		t.when = T0 + (int64_t)i * 3600 * S;
		t.link = 1;
		trail_add(&trail, &t);
		for (unsigned k = 0; i == TRAIL_END - 1 && k < 2; k++) {
			t.when++;
			t.link++;
			trail_add(&trail, &t);
		}
	}
	trail_judge(&trail, &rules);
	assert_int_equal(trail.n, TRAIL_HITS);
	assert_int_equal(trail.hit[TRAIL_END - 2].final.verdict, ROBOT_HUMAN);
	assert_int_equal(trail.hit[TRAIL_END - 1].link, 1);
	assert_int_equal(trail.hit[TRAIL_END - 1].final.evidence, EVIDENCE_CROWD);
	assert_int_equal(trail.hit[TRAIL_END].final.verdict, ROBOT_HUMAN);
	trail_free(&trail);
}

/* Whatever the verdicts: each hit is in the figures once. */
static void
figures_add_up(void **state)
{
	const struct rules rules = RULES_DEFAULT;
	struct touch t[500];

	(void)state;
	for (unsigned seed = 0; seed < 50; seed++) {
		int64_t opens = 0, clicks = 0, human = 0;
		struct trail trail = { 0 };
		struct tally y;

		jumble(t, 500, seed, 5000 * S);
		for (size_t i = 0; i < 10 * (seed + 1); i++)
			trail_add(&trail, &t[i]);
		trail_judge(&trail, &rules);
		trail_tally(&trail, &y);
		for (size_t i = 0; i < EVIDENCE_MAX; i++) {
			opens += y.opens[i];
			clicks += y.clicks[i];
		}
		human = y.opens[EVIDENCE_NONE] + y.opens[EVIDENCE_IMAGE_PROXY];
		assert_int_equal(opens, y.opens_all);
		assert_int_equal(clicks, y.clicks_all);
		assert_int_equal(human, y.opens_human);
		human = y.clicks[EVIDENCE_NONE] + y.clicks[EVIDENCE_IMAGE_PROXY] + y.clicks[EVIDENCE_FOLDED_BACK];
		assert_int_equal(human, y.clicks_human);
		trail_free(&trail);
	}
}

static void
what_is_no_trail(void **state)
{
	static const struct {
		const char *says;
		struct touch t;
		bool wants;
	} cases[] = {
		{ "an open", { .kind = TOUCH_OPEN, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .who = { { 1 } }, .campaign = 5 }, true },
		{ "of no campaign too", { .kind = TOUCH_OPEN, .mode = MODE_FULL, .verdict = ROBOT_HUMAN, .who = { { 1 } } }, true },
		{ "an open of nobody", { .kind = TOUCH_OPEN, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .campaign = 5 }, false },
		{ "the day of an open", { .kind = TOUCH_OPEN, .mode = MODE_DAYONLY, .verdict = ROBOT_HUMAN, .who = { { 1 } } }, false },
		{ "no verdict", { .kind = TOUCH_OPEN, .mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 5 }, false },
		{ "a delivery", { .kind = TOUCH_DELIVERED, .mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 5 }, true },
		{ "a delivery of nothing", { .kind = TOUCH_DELIVERED, .mode = MODE_IDENTIFIED, .who = { { 1 } } }, false },
		{ "sent", { .kind = TOUCH_SENT, .mode = MODE_IDENTIFIED, .who = { { 1 } }, .campaign = 5 }, false },
	};
	struct buf b = BUF(100);
	struct trail t;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_row(cases[i].says, trail_wants(&cases[i].t) == cases[i].wants);
	assert_false(trail_unpack(&t, SPAN("")));
	assert_int_equal(t.n, 0);
	t = (struct trail){ 0 };
	trail_pack(&t, &b);
	assert_true(trail_unpack(&t, buf_span(&b)));
	assert_false(trail_unpack(&t, span_cut(buf_span(&b), 0, b.n - 1))); /* cut */
	buf_addc(&b, 0);
	assert_false(trail_unpack(&t, buf_span(&b))); /* extended */
	b.n--;
	b.p[0] = 3;
	assert_false(trail_unpack(&t, buf_span(&b))); /* another version */
	buf_free(&b);
}

/* ---- on disk ---- */

static void
put_when(unsigned char *p, int64_t when)
{
	put_u32(p, (uint32_t)when);
	put_u16(p + 4, (uint16_t)(when >> 32));
}

/* As the program before wrote it. */
static void
pack_1(const struct trail *t, struct buf *out)
{
	unsigned char p[26 + 12];
	size_t n = 26, deliveries = 0;

	while (deliveries < TRAIL_DELIVERIES && t->delivered[deliveries] != 0)
		deliveries++;
	p[0] = 1;
	p[1] = (unsigned char)((t->gateway ? 1 : 0) | (t->gap_first != 0 ? 2 : 0) | deliveries << 4);
	put_u16(p + 2, (uint16_t)t->nlinks);
	put_u64(p + 4, t->opens);
	put_u64(p + 12, t->clicks);
	put_u32(p + 20, t->left);
	p[24] = (unsigned char)t->n;
	p[25] = t->gone;
	if (t->gap_first != 0) {
		put_when(p + n, t->gap_first);
		put_when(p + n + 6, t->gap_last);
		n += 12;
	}
	buf_add(out, span_make(p, n));
	for (size_t i = 0; i < deliveries; i++) {
		put_when(p, t->delivered[i]);
		buf_add(out, span_make(p, 6));
	}
	buf_add(out, span_make(t->links, t->nlinks));
	for (size_t i = 0; i < t->n; i++) {
		const struct trail_hit *h = &t->hit[i];

		put_when(p, h->when);
		put_u16(p + 6, h->link);
		put_u32(p + 8, h->sent);
		p[12] = (unsigned char)((unsigned)h->click << 7 | (unsigned)h->at_hit.verdict);
		p[13] = (unsigned char)h->at_hit.evidence;
		p[14] = (unsigned char)h->final.verdict;
		p[15] = (unsigned char)h->final.evidence;
		buf_add(out, span_make(p, 16));
	}
}

static void
trails_of_the_program_before_are_read(void **state)
{
	struct touch t[900];
	size_t gaps = 0;

	(void)state;
	for (unsigned seed = 0; seed < 40; seed++) {
		size_t n = seed % 4 == 3 ? 900 : 1 + seed;
		struct buf want, old = BUF(TRAIL_BYTES_MAX), got = BUF(TRAIL_BYTES_MAX);
		struct trail trail;

		jumble(t, n, seed, 3000 * S);
		gather(t, n, 1000000, &want);
		assert_true(trail_unpack(&trail, buf_span(&want)));
		gaps += trail.gap_first != 0;
		pack_1(&trail, &old);
		trail_free(&trail);
		assert_true(trail_unpack(&trail, buf_span(&old)));
		trail_pack(&trail, &got);
		trail_free(&trail);
		assert_true(span_eq(buf_span(&got), buf_span(&want)));
		assert_false(trail_unpack(&trail, span_cut(buf_span(&old), 0, old.n - 1)));
		assert_int_equal(trail.n, 0);
		buf_free(&want);
		buf_free(&old);
		buf_free(&got);
	}
	assert_true(gaps > 5);
}

/* The last moment that there is, and the largest number. */
#define LAST 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f
#define MOST 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1
#define ONE_HIT 2, 0, 1, 0, 0, 1, 0, 0
#define TWO_HITS 2, 0, 2, 0, 0, 2, 0, 0

static void
one_spelling_of_each_row(void **state)
{
	static const struct {
		const char *says;
		bool good;
		size_t n;
		unsigned char row[64];
	} cases[] = {
		{ "nothing in it", true, 8, { 2 } },
		{ "a flag that nobody knows", false, 8, { 2, 4 } },
		{ "all that is gone", true, 8, { 2, 0, 0, GONE_ALL } },
		{ "more than all", false, 8, { 2, 0, 0, GONE_ALL + 1 } },
		{ "a number in more bytes than it needs", false, 9, { 2, 0, 0, 0, 0, 0x80, 0, 0, 0 } },
		{ "the largest number", true, 17, { 2, 0, 0, 0, 0, MOST, 0, 0 } },
		{ "a larger one", false, 17, { 2, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 0, 0 } },
		{ "a longer one", false, 18, { 2, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81, 0, 0, 0 } },
		{ "left at the latest", true, 12, { 2, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xf } },
		{ "left later", false, 12, { 2, 0, 0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10 } },
		{ "a gap of one moment", true, 10, { 2, 2, 0, 0, 0, 0, 0, 0, 1, 0 } },
		{ "a gap that is none", false, 10, { 2, 2, 0, 0, 0, 0, 0, 0, 0, 1 } },
		{ "a gap at the last moment", true, 16, { 2, 2, 0, 0, 0, 0, 0, 0, LAST, 0 } },
		{ "one that ends behind it", false, 16, { 2, 2, 0, 0, 0, 0, 0, 0, LAST, 1 } },
		{ "two deliveries", true, 10, { 2, 0x20, 0, 0, 0, 0, 0, 0, 5, 4 } },
		{ "one of them at no time", false, 10, { 2, 0x20, 0, 0, 0, 0, 0, 0, 5, 5 } },
		{ "the same one twice", false, 10, { 2, 0x20, 0, 0, 0, 0, 0, 0, 5, 0 } },
		{ "as many as are kept", true, 12, { 2, 0x40, 0, 0, 0, 0, 0, 0, 5, 1, 1, 1 } },
		{ "and one more", false, 13, { 2, 0x50, 0, 0, 0, 0, 0, 0, 5, 1, 1, 1, 1 } },
		{ "an open", true, 10, { ONE_HIT, 0x58, 5 } },
		{ "a click", true, 11, { ONE_HIT, 0xd8, 5, 3 } },
		{ "of the hidden link", true, 10, { ONE_HIT, 0xf8, 5 } },
		{ "two at the last moment", true, 18, { TWO_HITS, 0x58, LAST, 0x58, 0 } },
		{ "one behind it", false, 18, { TWO_HITS, 0x58, LAST, 0x58, 1 } },
		{ "a flag of a hit that nobody knows", false, 10, { ONE_HIT, 0x59, 5 } },
		{ "an open with a link", false, 10, { ONE_HIT, 0x78, 5 } },
		{ "when it was sent", true, 11, { ONE_HIT, 0x18, 5, 7 } },
		{ "said although it is the same", false, 11, { ONE_HIT, 0x18, 5, 0 } },
		{ "a link that is the same", false, 11, { ONE_HIT, 0xd8, 5, 0 } },
		{ "the last link", true, 13, { ONE_HIT, 0xd8, 5, 0xff, 0xff, 3 } },
		{ "one behind it", false, 13, { ONE_HIT, 0xd8, 5, 0x80, 0x80, 4 } },
		{ "a judgement", true, 12, { ONE_HIT, 0x48, 5, 1, EVIDENCES - 1 } },
		{ "for a reason that nobody knows", false, 12, { ONE_HIT, 0x48, 5, 1, EVIDENCES } },
		{ "a judgement that is the same", false, 12, { ONE_HIT, 0x48, 5, 0, 0 } },
		{ "another one counts", true, 12, { ONE_HIT, 0x50, 5, 1, 0 } },
		{ "the same one counts", false, 12, { ONE_HIT, 0x50, 5, 0, 0 } },
		{ "a hit that is not told of", false, 10, { 2, 0, 0, 0, 0, 1, 0, 0, 0x58, 5 } },
		{ "before: nothing in it", true, 26, { 1 } },
		{ "before: a flag that nobody knows", false, 26, { 1, 4 } },
		{ "before: more than all is gone", false, 26, { 1, [25] = GONE_ALL + 1 } },
		{ "before: two deliveries", true, 38, { 1, 0x20, [26] = 5, [32] = 4 } },
		{ "before: the same one twice", false, 38, { 1, 0x20, [26] = 5, [32] = 5 } },
		{ "before: a gap of one moment", true, 38, { 1, 2, [26] = 5, [32] = 5 } },
		{ "before: a gap that ends before it begins", false, 38, { 1, 2, [26] = 5, [32] = 4 } },
		{ "before: two hits", true, 58, { 1, [24] = 2, [26] = 5, [42] = 5 } },
		{ "before: two hits in no order", false, 58, { 1, [24] = 2, [26] = 5, [42] = 4 } },
		{ "before: a reason that nobody knows", false, 42, { 1, [24] = 1, [26] = 5, [39] = EVIDENCES } },
	};
	struct buf b = BUF(TRAIL_BYTES_MAX);
	struct trail t;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct span row = span_make(cases[i].row, cases[i].n);

		assert_row(cases[i].says, trail_unpack(&t, row) == cases[i].good);
		buf_clear(&b);
		trail_pack(&t, &b);
		trail_free(&t);
		if (cases[i].good && cases[i].row[0] == 2)
			assert_row(cases[i].says, span_eq(buf_span(&b), row));
		for (size_t k = 0; k < row.n && cases[i].good; k++)
			assert_row(cases[i].says, !trail_unpack(&t, span_cut(row, 0, k)));
	}
	buf_free(&b);
}

/* All that there may be, each as long as it gets. */
static void
the_largest_trail_has_room(void **state)
{
	struct trail_hit hit[TRAIL_HITS];
	unsigned char links[TRAIL_LINK_BYTES + 1] = { 0 };
	struct trail t = { .hit = hit, .n = TRAIL_HITS, .opens = UINT64_MAX, .clicks = UINT64_MAX, .left = UINT32_MAX, .gateway = true,
		.gone = GONE_ALL, .links = links, .nlinks = TRAIL_LINK_BYTES, .gap_first = (int64_t)1 << 47, .gap_last = ((int64_t)1 << 48) - 1,
		.delivered = { ((int64_t)1 << 48) - 1, (int64_t)3 << 46, (int64_t)2 << 46, 1 } }, again;
	char room[TRAIL_BYTES_MAX + 1];
	struct buf b = BUF_ON(room), more = BUF(2 * TRAIL_BYTES_MAX);

	(void)state;
	for (size_t i = 0; i < TRAIL_HITS; i++)
		hit[i] = (struct trail_hit){ .when = 1 + ((int64_t)i << 41), .sent = UINT32_MAX - i % 2, .link = (uint16_t)(65535 - i % 2),
			.click = true, .at_hit = { 200 + i % 2, EVIDENCE_REPEAT }, .final = { 210, EVIDENCE_UNKNOWN } };
	trail_pack(&t, &b);
	assert_false(b.over);
	assert_true(trail_unpack(&again, buf_span(&b)));
	trail_pack(&again, &more);
	trail_free(&again);
	assert_true(span_eq(buf_span(&b), buf_span(&more)));

	t.nlinks++;
	buf_clear(&more);
	trail_pack(&t, &more);
	assert_false(trail_unpack(&again, buf_span(&more)));
	buf_free(&more);
}

/* What most people leave behind is small, and one who leaves much shares a page with others. */
static void
a_trail_is_small(void **state)
{
	static const struct {
		const char *says;
		size_t hits, most;
	} cases[] = { { "one open", 1, 20 }, { "five of them", 5, 45 }, { "more than are kept", 1000, 800 } };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct touch open = { .kind = TOUCH_OPEN, .mode = MODE_IDENTIFIED, .verdict = ROBOT_HUMAN, .who = { { 1 } }, .campaign = 5 };
		struct touch t[1000];
		struct trail trail;
		struct buf b;

		for (size_t k = 0; k < cases[i].hits; k++) {
			t[k] = open;
			t[k].when = T0 + (int64_t)k * 3600 * S;
		}
		gather(t, cases[i].hits, 1, &b);
		assert_row(cases[i].says, b.n <= cases[i].most);
		assert_true(trail_unpack(&trail, buf_span(&b)));
		assert_row(cases[i].says, trail.n == (cases[i].hits < TRAIL_HITS ? cases[i].hits : TRAIL_HITS));
		trail_free(&trail);
		buf_free(&b);
	}
}

/* A story whose facts up to a time are gone; then a late hit.  What is counted of both together. */
static void
what_goes_with_the_facts(void **state)
{
	static const struct {
		const char *says, *story;
		long before;      /* ms from T0 */
		const char *late; /* comes afterwards */
		size_t left;      /* hits of the first story that are still in the trail */
		int opens, clicks, openers_human, clickers_all, clickers_human, lefts;
	} cases[] = {
		{ "an open that is old enough", "o@0", 1, "", 0, 1, 0, 1, 0, 0, 0 },
		{ "an open that is not", "o@0", 0, "", 1, 1, 0, 1, 0, 0, 0 },
		{ "who opens again is one opener", "o@0", 100000, "o@200000", 0, 2, 0, 1, 0, 0, 0 },
		{ "who clicks again is one clicker", "c1@0", 100000, "c1@200000", 0, 0, 2, 1, 1, 1, 0 },
		{ "an opener may still become a clicker", "o@0", 100000, "c1@200000", 0, 1, 1, 1, 1, 1, 0 },
		{ "and a scanned one a person", "o@0s c1@0s", 100000, "c1@200000", 0, 1, 2, 1, 1, 1, 0 },
		{ "a repetition stays beside what it repeats", "o@0 o@60000", 30000, "", 2, 2, 0, 1, 0, 0, 0 },
		{ "a millisecond further away it does not", "o@0 o@60001", 30000, "", 1, 2, 0, 1, 0, 0, 0 },
		{ "an unsubscription is one", "l@0", 100000, "l@200000", 0, 0, 0, 0, 0, 0, 1 },
		{ "of a delivery nothing stays", "D@0", 100000, "", 0, 0, 0, 0, 0, 0, 0 },
		{ "a burst goes as it was judged", "c1@0 c2@1 c3@2", 100000, "c1@200000", 0, 0, 4, 1, 1, 1, 0 },
	};
	const struct rules rules = RULES_DEFAULT;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct touch t[20];
		struct trail trail = { 0 }, past;
		struct tally gone, y;
		struct buf bytes = BUF(TRAIL_BYTES_MAX);
		size_t n = read_story(cases[i].story, t);

		for (size_t k = 0; k < n; k++)
			trail_add(&trail, &t[k]);
		trail_judge(&trail, &rules);
		assert_row(cases[i].says, trail_part(&trail, &rules, T0 + cases[i].before, INT64_MAX, &past) == (cases[i].left == 0 || trail.n < n));
		trail_tally(&past, &gone);
		assert_row(cases[i].says, trail.n == cases[i].left);
		trail_pack(&trail, &bytes);
		trail_free(&trail);
		assert_true(trail_unpack(&trail, buf_span(&bytes)));
		n = read_story(cases[i].late, t);
		for (size_t k = 0; k < n; k++)
			trail_add(&trail, &t[k]);
		trail_judge(&trail, &rules);
		assert_row(cases[i].says, !trail.took_back);
		trail_tally(&trail, &y);
		assert_row(cases[i].says, gone.opens_all + y.opens_all == cases[i].opens && gone.clicks_all + y.clicks_all == cases[i].clicks);
		assert_row(cases[i].says, gone.openers_human + y.openers_human == cases[i].openers_human);
		assert_row(cases[i].says, gone.clickers_all + y.clickers_all == cases[i].clickers_all);
		assert_row(cases[i].says, gone.clickers_human + y.clickers_human == cases[i].clickers_human);
		assert_row(cases[i].says, gone.left + y.left == cases[i].lefts);
		assert_row(cases[i].says, trail_is_empty(&trail) == (cases[i].opens + cases[i].clicks + cases[i].lefts == 0));
		trail_free(&trail);
		trail_free(&past);
		buf_free(&bytes);
	}
}

/* A clock that was wrong for a while: when its hits happened nobody knows, and their facts go like others. */
static void
hits_from_the_future_go_too(void **state)
{
	const struct rules rules = RULES_DEFAULT;
	struct trail trail = { 0 }, past;
	struct touch t[3];

	(void)state;
	for (size_t i = 0, n = read_story("o@0 c1@5000 d@6000", t); i < n; i++)
		trail_add(&trail, &t[i]);
	trail_judge(&trail, &rules);
	assert_false(trail_part(&trail, &rules, T0, T0 + 6000, &past));
	trail_free(&past);
	assert_true(trail_part(&trail, &rules, T0, T0 + 4999, &past));
	assert_true(trail.n == 1 && !trail.hit[0].click && trail.gone == (GONE_OPENER | GONE_OPENER_HUMAN | GONE_CLICKER | GONE_CLICKER_HUMAN));
	assert_true(past.n == 1 && past.clicks == 1 && trail.clicks == 0 && trail.delivered[0] == 0);
	trail_free(&trail);
	trail_free(&past);
}

/* The figures of any trail are those of what went and of what is left, and no time is left that is old. */
static void
parting_changes_no_figure(void **state)
{
	const struct rules rules = RULES_DEFAULT;
	struct touch t[900];
	size_t parted = 0;

	(void)state;
	for (unsigned seed = 0; seed < 200; seed++) {
		static const size_t sizes[] = { 5, 30, TRAIL_HITS + 40, 900 };
		size_t n = sizes[seed % COUNT(sizes)];
		int64_t before = T0 + (int64_t)(seed % 19) * 200 * S;
		struct trail trail = { 0 }, past;
		struct tally all, gone, left;
		int64_t a[sizeof all / 8], b[sizeof all / 8], c[sizeof all / 8];

		jumble(t, n, seed, 3000 * S);
		for (size_t i = 0; i < n; i++)
			if (trail_wants(&t[i]))
				trail_add(&trail, &t[i]);
		trail_judge(&trail, &rules);
		trail_tally(&trail, &all);
		parted += trail_part(&trail, &rules, before, INT64_MAX, &past);
		trail_tally(&past, &gone);
		trail_tally(&trail, &left);
		memcpy(a, &all, sizeof a);
		memcpy(b, &gone, sizeof b);
		memcpy(c, &left, sizeof c);
		for (size_t i = 0; i < COUNT(a); i++)
			if (a[i] != b[i] + c[i])
				fail_msg("seed %u: figure %zu is %lld of %lld", seed, i, (long long)(b[i] + c[i]), (long long)a[i]);
		for (size_t i = 1; i < trail.n && trail.hit[i - 1].when < before; i++)
			assert_true(trail.hit[i].when - trail.hit[i - 1].when <= rules.dedupe);
		/* Those that are left know nothing new; `fresh' ones were never counted, which is what took_back asks for. */
		for (size_t i = 0; i < trail.n; i++) {
			trail.hit[i].fresh = false;
			trail.hit[i].counted = trail.hit[i].final;
		}
		trail.took_back = false;
		trail_judge(&trail, &rules);
		assert_false(trail.took_back);
		trail_free(&trail);
		trail_free(&past);
	}
	assert_true(parted > 100);
}

static void
rules_survive_the_disk(void **state)
{
	struct rules in = { 1, 2, 3, 4, 5, true }, out;
	unsigned char bytes[RULES_BYTES];

	(void)state;
	rules_pack(&in, bytes);
	assert_true(rules_unpack(&out, span_make(bytes, sizeof bytes)));
	assert_int_equal(out.instant, 1);
	assert_int_equal(out.early, 2);
	assert_int_equal(out.burst_links, 3);
	assert_int_equal(out.burst_window, 4);
	assert_int_equal(out.dedupe, 5);
	assert_true(out.fold_back);
	assert_false(rules_unpack(&out, span_make(bytes, sizeof bytes - 1)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_story),
		cmocka_unit_test(other_rules_judge_otherwise),
		cmocka_unit_test(any_order_and_any_portions_give_the_same_bytes),
		cmocka_unit_test(machines_never_raise),
		cmocka_unit_test(people_never_lower),
		cmocka_unit_test(more_than_are_kept),
		cmocka_unit_test(what_is_dropped_raises_nobody),
		cmocka_unit_test(figures_add_up),
		cmocka_unit_test(what_goes_with_the_facts),
		cmocka_unit_test(hits_from_the_future_go_too),
		cmocka_unit_test(parting_changes_no_figure),
		cmocka_unit_test(what_is_no_trail),
		cmocka_unit_test(trails_of_the_program_before_are_read),
		cmocka_unit_test(one_spelling_of_each_row),
		cmocka_unit_test(the_largest_trail_has_room),
		cmocka_unit_test(a_trail_is_small),
		cmocka_unit_test(rules_survive_the_disk),
	};

	return cmocka_run_group_tests_name("trail", tests, NULL, NULL);
}
