/* IP addresses as 16 bytes. */
#include "common/ip.h"
#include "tests/unit/unit.h"

static void
reading(void **state)
{
	static const struct {
		const char *text;
		unsigned bits;
		const char *want; /* hexadecimal */
	} rows[] = {
		{ "192.0.2.1", 32, "00000000000000000000ffffc0000201" },
		{ "::ffff:192.0.2.1", 128, "00000000000000000000ffffc0000201" },
		{ "2001:db8::1", 128, "20010db8000000000000000000000001" },
		{ "::", 128, "00000000000000000000000000000000" },
		{ "192.0.2.256", 0, NULL },
		{ "192.0.2", 0, NULL },
		{ "192.0.2.01x", 0, NULL },
		{ " 192.0.2.1", 0, NULL },
		{ "[::1]", 0, NULL },
		{ "fe80::1%lo", 0, NULL },
		{ "", 0, NULL },
		{ "2001:db8:0000:0000:0000:0000:0000:0001:0000:0000:0000", 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t out[16] = { 1, 2, 3 };
		char hex[33] = "";

		assert_row(rows[i].text, ip_read(span_of(rows[i].text), out) == rows[i].bits);
		for (size_t k = 0; k < sizeof out; k++)
			snprintf(hex + 2 * k, 3, "%02x", out[k]);
		assert_span(rows[i].text, span_of(hex), span_of(rows[i].want != NULL ? rows[i].want : "01020300000000000000000000000000"));
	}
	/* No text is longer for what stands behind a NUL. */
	assert_int_equal(ip_read((struct span){ "::1\0x", 5 }, (uint8_t[16]){ 0 }), 0);
}

static void
which_kind(void **state)
{
	uint8_t a[16];

	(void)state;
	ip_from_v4(a, (const uint8_t[]){ 192, 0, 2, 1 });
	assert_true(ip_is_v4(a));
	a[9] = 1;
	assert_false(ip_is_v4(a));
}

static void
networks(void **state)
{
	uint8_t a[16], b[16];

	(void)state;
	assert_int_equal(ip_read(SPAN("2001:db8::"), a), 128);
	for (unsigned at = 0; at < 128; at++) {
		memcpy(b, a, sizeof b);
		b[at / 8] ^= (uint8_t)(0x80 >> at % 8);
		for (unsigned bits = 0; bits <= 128; bits++)
			assert_int_equal(ip_same(a, b, bits), bits <= at);
	}
	assert_true(ip_same(a, a, 128));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading),
		cmocka_unit_test(which_kind),
		cmocka_unit_test(networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
