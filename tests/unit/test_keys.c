#include "common/keys.h"
#include "tests/unit/unit.h"

#define H0 "0000000000000000000000000000000000000000000000000000000000000000"
#define H1 "1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "2222222222222222222222222222222222222222222222222222222222222222"
#define H3 "3333333333333333333333333333333333333333333333333333333333333333"
#define HF "FFffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static const struct {
	const char *what, *text, *why; /* why begins so; NULL: good */
	size_t n;
} rows[] = {
	{ "the least", "identity " H1 "\ntoken A 2026-11-22 " H2 "\n", NULL, 1 },
	{ "no line break at the end", "identity " H1 "\ntoken A 2026-11-22 " H2, NULL, 1 },
	{ "CRLF, comments, blank lines, tabs",
	    "# keys\r\n\r\n  identity\t" H1 "\r\n #x\ntoken  z\t2026-02-28 " HF " \r\n", NULL, 1 },
	{ "tokens first", "token A 2026-11-22 " H2 "\nidentity " H1 "\n", NULL, 1 },
	{ "two tokens", "identity " H1 "\ntoken B 2026-11-22 " H2 "\ntoken A 2026-11-23 " H3 "\n", NULL, 2 },
	{ "nothing", "", "line 1: the file ends without an identity", 0 },
	{ "no identity", "token A 2026-11-22 " H2 "\n", "line 1: the file ends without an identity", 0 },
	{ "no token", "#\nidentity " H1 "\n", "line 2: the file ends without a token", 0 },
	{ "an unknown word", "identity " H1 "\nkey A\n", "line 2: want a line", 0 },
	{ "identity cut by one digit", "identity 1" H1 "\n", "line 1: want: identity", 0 },
	{ "identity with more behind", "identity " H1 " x\n", "line 1: want: identity", 0 },
	{ "identity without digits", "identity\n", "line 1: want: identity", 0 },
	{ "identity twice", "identity " H1 "\nidentity " H2 "\n", "line 2: a second identity", 0 },
	{ "a zero key", "identity " H0 "\n", "line 1: this key is all zero", 0 },
	{ "a zero token key", "token A 2026-11-22 " H0 "\n", "line 1: this key is all zero", 0 },
	{ "a short token key", "token A 2026-11-22 22\n", "line 1: want: token", 0 },
	{ "a long id", "token AB 2026-11-22 " H2 "\n", "line 1: want: token", 0 },
	{ "an id that is no letter", "token - 2026-11-22 " H2 "\n", "line 1: want: token", 0 },
	{ "a day that is none", "token A 2026-02-30 " H2 "\n", "line 1: want: token", 0 },
	{ "a time instead of a day", "token A 1764000000 " H2 "\n", "line 1: want: token", 0 },
	{ "an id twice", "token A 2026-11-22 " H2 "\ntoken A 2026-11-22 " H3 "\n", "line 2: this key id", 0 },
	{ "a token key twice", "token A 2026-11-22 " H2 "\ntoken B 2026-11-22 " H2 "\n", "line 2: this key is", 0 },
	{ "one key for both", "identity " H1 "\ntoken A 2026-11-22 " H1 "\n", "line 2: this key is", 0 },
	{ "one key for both, the other way", "token A 2026-11-22 " H1 "\nidentity " H1 "\n", "line 2: this key is", 0 },
};

static void
test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct keys k;
		struct buf why = BUF(1000);
		bool ok = keys_parse(&k, span_of(rows[i].text), &why);

		if (ok != (rows[i].why == NULL) || (ok && k.n != rows[i].n))
			fail_msg("%s: %s", rows[i].what, buf_cstr(&why));
		if (!ok && !span_starts(buf_span(&why), span_of(rows[i].why)))
			fail_msg("%s: %s", rows[i].what, buf_cstr(&why));
		if (ok && why.n != 0)
			fail_msg("%s: %s", rows[i].what, buf_cstr(&why));
		buf_free(&why);
	}
}

static void
test_nothing_left_of_a_bad_file(void **state)
{
	static const struct keys none;
	struct keys k;
	struct buf why = BUF(1000);

	(void)state;
	assert_false(keys_parse(&k, SPAN("identity " H1 "\ntoken A 2026-11-22 " H2 "\n?\n"), &why));
	assert_memory_equal(&k, &none, sizeof k);
	buf_free(&why);
}

static void
test_too_long(void **state)
{
	static char text[KEY_FILE_MAX + 1];
	static const char good[] = "identity " H1 "\ntoken A 2026-11-22 " H2 "\n";
	struct keys k;
	struct buf why = BUF(1000);

	(void)state;
	memset(text, '\n', sizeof text);
	memcpy(text, good, sizeof good - 1);
	assert_true(keys_parse(&k, span_make(text, KEY_FILE_MAX), &why));
	assert_false(keys_parse(&k, span_make(text, KEY_FILE_MAX + 1), &why));
	buf_free(&why);
}

/* Fills up all ids; what is printed reads back to the same. */
static void
test_rotate(void **state)
{
	struct keys k = { .identity = { 1 } }, back;
	unsigned char random[KEY_BYTES] = { 9 };
	struct buf out = BUF(KEY_FILE_MAX), why = BUF(1000);

	(void)state;
	for (size_t i = 0; i < KEYS_MAX; i++) {
		random[1] = (unsigned char)i;
		assert_true(keys_rotate(&k, random, INT64_C(1795305600000)));
		assert_int_equal(k.n, i + 1);
		assert_string_equal(k.token[i].made, "2026-11-22");
		assert_memory_equal(k.token[i].bytes, random, KEY_BYTES);
		buf_clear(&out);
		keys_print(&k, &out);
		assert_false(out.over);
		if (!keys_parse(&back, buf_span(&out), &why))
			fail_msg("%s", buf_cstr(&why));
		assert_memory_equal(&back, &k, sizeof k);
	}
	assert_int_equal(k.token[0].id, 'A');
	assert_int_equal(k.token[KEYS_MAX - 1].id, '9');
	assert_false(keys_rotate(&k, random, 0));
	assert_int_equal(k.n, KEYS_MAX);
	buf_free(&out);
	buf_free(&why);
}

static void
test_a_destroyed_id_comes_back_last(void **state)
{
	struct keys k = { .n = 1, .token[0].id = '8' };
	unsigned char random[KEY_BYTES] = { 9 };

	(void)state;
	assert_true(keys_rotate(&k, random, 0));
	assert_int_equal(k.token[1].id, '9');
	assert_true(keys_rotate(&k, random, 0));
	assert_int_equal(k.token[2].id, 'A');
	k.token[0].id = 'B';
	assert_true(keys_rotate(&k, random, 0));
	assert_int_equal(k.token[3].id, 'C');
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_nothing_left_of_a_bad_file),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_rotate),
		cmocka_unit_test(test_a_destroyed_id_comes_back_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
