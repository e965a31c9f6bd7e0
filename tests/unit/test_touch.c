#include "common/touch.h"
#include "tests/unit/unit.h"

static const struct touch full = {
	.kind = TOUCH_CLICK,
	.verdict = ROBOT_HUMAN,
	.mode = MODE_FULL,
	.detail = 0x21,
	.flags = TOUCH_IMPORTED | TOUCH_TRACKED,
	.agent = 7,
	.link = 0x1234,
	.when = 0x0102030405060708,
	.who = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } },
	.campaign = 0xa1a2a3a4a5a6a7a8,
	.stream = 0xb1b2b3b4b5b6b7b8,
	.sent = 0xc1c2c3c4,
	.net = { 24, 192, 0, 2 },
};

/* The record as it is on disk for ever. */
static const unsigned char record[TOUCH_BYTES] = {
	1,
	4,
	1,
	4,
	0x21,
	3,
	7,
	0,
	0x34,
	0x12,
	0,
	0,
	0xc4,
	0xc3,
	0xc2,
	0xc1,
	8,
	7,
	6,
	5,
	4,
	3,
	2,
	1,
	1,
	2,
	3,
	4,
	5,
	6,
	7,
	8,
	9,
	10,
	11,
	12,
	13,
	14,
	15,
	16,
	0xa8,
	0xa7,
	0xa6,
	0xa5,
	0xa4,
	0xa3,
	0xa2,
	0xa1,
	0xb8,
	0xb7,
	0xb6,
	0xb5,
	0xb4,
	0xb3,
	0xb2,
	0xb1,
	24,
	192,
	0,
	2,
	0,
	0,
	0,
	0,
};

static void
test_layout(void **state)
{
	unsigned char out[TOUCH_BYTES], again[TOUCH_BYTES];
	struct touch t;

	(void)state;
	touch_pack(&full, out);
	assert_memory_equal(out, record, sizeof record);
	assert_true(touch_unpack(&t, span_make(record, sizeof record)));
	assert_int_equal(t.when, full.when);
	assert_int_equal(t.link, full.link);
	assert_int_equal(t.sent, full.sent);
	assert_true(who_eq(&t.who, &full.who));
	touch_pack(&t, again);
	assert_memory_equal(again, record, sizeof record);
}

static void
test_before_1970(void **state)
{
	unsigned char out[TOUCH_BYTES];
	struct touch t = full, back;

	(void)state;
	t.when = -1;
	touch_pack(&t, out);
	assert_true(touch_unpack(&back, span_make(out, sizeof out)));
	assert_int_equal(back.when, -1);
}

static const struct {
	const char *what;
	size_t at;
	unsigned char value;
	bool good;
} rows[] = {
	{ "version 0", 0, 0, false },
	{ "version 2", 0, 2, false },
	{ "no kind", 1, 0, false },
	{ "the last kind", 1, TOUCH_KINDS - 1, true },
	{ "a kind that nobody defined", 1, TOUCH_KINDS, false },
	{ "a byte left zero is used", 7, 1, false },
	{ "another", 10, 1, false },
	{ "a third", 11, 1, false },
	{ "the first of the tail", 64, 1, false },
	{ "the last byte", 71, 1, false },
	{ "a verdict of tomorrow is kept", 2, 99, true },
};

static void
test_refusals(void **state)
{
	struct touch t;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned char b[TOUCH_BYTES];

		memcpy(b, record, sizeof b);
		b[rows[i].at] = rows[i].value;
		if (touch_unpack(&t, span_make(b, sizeof b)) != rows[i].good)
			fail_msg("%s", rows[i].what);
	}
}

static void
test_every_length(void **state)
{
	unsigned char b[TOUCH_BYTES + 1] = { 0 };
	struct touch t;

	(void)state;
	memcpy(b, record, sizeof record);
	for (size_t n = 0; n <= sizeof b; n++)
		assert_int_equal(touch_unpack(&t, span_make(b, n)), n == TOUCH_BYTES);
}

static void
test_names(void **state)
{
	enum touch_kind k;

	(void)state;
	for (int i = 1; i < TOUCH_KINDS; i++) {
		assert_true(touch_parse(span_of(touch_name(i)), &k));
		assert_int_equal(k, i);
	}
	assert_string_equal(touch_name(TOUCH_OPEN), "opened");
	assert_string_equal(touch_name(0), "unknown");
	assert_string_equal(touch_name(TOUCH_KINDS), "unknown");
	assert_false(touch_parse(SPAN("unknown"), &k));
	assert_false(touch_parse(SPAN("open"), &k));
	assert_false(touch_parse(SPAN(""), &k));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_before_1970),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
