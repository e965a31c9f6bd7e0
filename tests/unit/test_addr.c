#include "common/addr.h"
#include "tests/unit/unit.h"

static const struct {
	const char *what, *address, *normal; /* NULL: none */
} rows[] = {
	{ "plain", "reader@example.com", "reader@example.com" },
	{ "capitals", "Reader@Example.COM", "reader@example.com" },
	{ "angle brackets", "<reader@example.com>", "reader@example.com" },
	{ "a source route", "<@a.example,@b.example:reader@example.com>", "reader@example.com" },
	{ "a source route through a literal", "@[IPv6:2001:db8::1]:reader@example.com", "reader@example.com" },
	{ "a root dot", "reader@example.com.", "reader@example.com" },
	{ "a plus stays", "reader+news@example.com", "reader+news@example.com" },
	{ "dots stay", "r.e.a.d@example.com", "r.e.a.d@example.com" },
	{ "quotes without need", "\"a.b\"@x.example", "a.b@x.example" },
	{ "half quoted", "\"a\".b@x.example", "a.b@x.example" },
	{ "a backslash without need", "\"a\\.b\"@x.example", "a.b@x.example" },
	{ "quotes with need", "\"A B\"@x.example", "\"a b\"@x.example" },
	{ "an @ in quotes", "\"a@b\"@x.example", "\"a@b\"@x.example" },
	{ "an @ without quotes, as Postfix logs it", "a@b@x.example", "\"a@b\"@x.example" },
	{ "a quote in quotes", "\"a\\\"b\"@x.example", "\"a\\\"b\"@x.example" },
	{ "a backslash in quotes", "\"a\\\\b\"@x.example", "\"a\\\\b\"@x.example" },
	{ "two dots, as some carriers allowed", "a..b@x.example", "\"a..b\"@x.example" },
	{ "a dot at the end", "a.@x.example", "\"a.\"@x.example" },
	{ "an IPv4 literal", "a@[192.0.2.1]", "a@[192.0.2.1]" },
	{ "an IPv6 literal", "a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]" },
	{ "an underscore", "a@my_host.example.com", "a@my_host.example.com" },
	{ "hyphens where IDNA forbids them", "a@r3---sn.example.com", "a@r3---sn.example.com" },
	{ "one label", "root@localhost", "root@localhost" },
	{ "IDN",
	    "a@\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd0\xb8\xd1\x81\xd0\xbf\xd1\x8b\xd1\x82\xd0\xb0\xd0\xbd\xd0\xb8\xd0\xb5",
	    "a@xn--e1afmkfd.xn--80akhbyknj4f" },
	{ "IDN, capitals",
	    "a@\xd0\x9f\xd0\xa0\xd0\x98\xd0\x9c\xd0\x95\xd0\xa0.\xd0\x98\xd0\xa1\xd0\x9f\xd0\xab\xd0\xa2\xd0\x90\xd0\x9d\xd0\x98\xd0\x95",
	    "a@xn--e1afmkfd.xn--80akhbyknj4f" },
	{ "IDN as A-labels", "a@XN--E1AFMKFD.xn--80akhbyknj4f", "a@xn--e1afmkfd.xn--80akhbyknj4f" },
	{ "IDN with an ideographic dot",
	    "a@b\xc3\xbc"
	    "cher\xe3\x80\x82"
	    "example",
	    "a@xn--bcher-kva.example" },
	{ "IDN decomposed",
	    "a@bu\xcc\x88"
	    "cher.example",
	    "a@xn--bcher-kva.example" },
	{ "IDN with a root dot",
	    "a@b\xc3\xbc"
	    "cher.example.",
	    "a@xn--bcher-kva.example" },
	{ "sharp s is a letter of its own in domains",
	    "a@stra\xc3\x9f"
	    "e.example",
	    "a@xn--strae-oqa.example" },
	{ "UTF-8 local part",
	    "M\xc3\x9c"
	    "LLER@example.com",
	    "m\xc3\xbc"
	    "ller@example.com" },
	{ "UTF-8 local part, decomposed",
	    "Mu\xcc\x88"
	    "ller@example.com",
	    "m\xc3\xbc"
	    "ller@example.com" },
	{ "final sigma", "\xce\xa3\xce\x91\xce\xa3@example.com", "\xcf\x83\xce\xb1\xcf\x83@example.com" },
	{ "something that composes to ;", "a\xcd\xbe@example.com", "\"a;\"@example.com" },

	{ "nothing", "", NULL },
	{ "the null sender", "<>", NULL },
	{ "no domain", "reader", NULL },
	{ "an empty domain", "reader@", NULL },
	{ "a domain of a dot", "reader@.", NULL },
	{ "an empty label", "reader@a..b", NULL },
	{ "a dot at the start", "reader@.a", NULL },
	{ "no local part", "@example.com", NULL },
	{ "an empty quoted local part", "\"\"@example.com", NULL },
	{ "only a route", "@a,@b:", NULL },
	{ "an open quote", "\"a@example.com", NULL },
	{ "a backslash at the end", "a\\@", NULL },
	{ "a space without quotes", "a b@example.com", NULL },
	{ "a space around", " a@example.com", NULL },
	{ "a space in the domain", "a@exam ple.com", NULL },
	{ "a line break", "a@example.com\n", NULL },
	{ "a control character", "a\x01@example.com", NULL },
	{ "DEL", "a\x7f@example.com", NULL },
	{ "a C1 control", "a\xc2\x85@example.com", NULL },
	{ "not UTF-8", "a\xff@example.com", NULL },
	{ "not UTF-8 in the domain", "a@\xe4.example", NULL },
	{ "brackets inside", "a@<example.com>", NULL },
	{ "a second address", "<a@example.com>,<b@example.com>", NULL },
	{ "half a bracket", "a@example.com>", NULL },
	{ "an open literal", "a@[192.0.2.1", NULL },
	{ "an empty literal", "a@[]", NULL },
	{ "a label that maps to @",
	    "a@b\xef\xbc\xa0"
	    "c.example",
	    NULL },
	{ "a domain that IDNA forbids", "a@\xe2\x98\x83\xe2\x80\x8d.example", NULL },
};

static void
test_normal_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf b = BUF(ADDR_MAX);
		const char *want = rows[i].normal;
		bool ok = addr_normalise(&b, span_of(rows[i].address));

		if (ok != (want != NULL))
			fail_msg("%s: %s", rows[i].what, ok ? buf_cstr(&b) : "refused");
		if (!span_eq(buf_span(&b), span_of(ok ? want : "")))
			fail_msg("%s: %s", rows[i].what, buf_cstr(&b));
		buf_free(&b);
	}
}

static void
test_again_is_the_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf once = BUF(ADDR_MAX), twice = BUF(ADDR_MAX);

		if (addr_normalise(&once, span_of(rows[i].address))) {
			assert_true(addr_normalise(&twice, buf_span(&once)));
			assert_string_equal(buf_cstr(&once), buf_cstr(&twice));
		}
		buf_free(&once);
		buf_free(&twice);
	}
}

/* Plain addresses have a shorter way; those in brackets go the long one. */
static void
test_both_ways(void **state)
{
	static const char *const shapes[] = { "?@x.y", "a?b@x.y", "a?@x.y", "a@?", "a@?x.y", "a@x?y", "a@x.y?", "a.?c@x.y" };

	(void)state;
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (int c = 0; c < 256; c++) {
			struct buf plain = BUF(ADDR_MAX), in = BUF(ADDR_MAX), bare = BUF(ADDR_MAX), out = BUF(ADDR_MAX);
			bool ok;

			for (const char *s = shapes[i]; *s != '\0'; s++)
				buf_addc(&plain, *s == '?' ? (char)c : *s);
			buf_addc(&in, '<');
			buf_add(&in, buf_span(&plain));
			buf_addc(&in, '>');
			ok = addr_normalise(&bare, buf_span(&plain));
			if (ok != addr_normalise(&out, buf_span(&in)) || !span_eq(buf_span(&bare), buf_span(&out)))
				fail_msg("%s with %02x: %s, in brackets %s", shapes[i], (unsigned)c, buf_cstr(&bare), buf_cstr(&out));
			buf_free(&plain);
			buf_free(&in);
			buf_free(&bare);
			buf_free(&out);
		}
}

static void
test_nul(void **state)
{
	struct buf b = BUF(ADDR_MAX);

	(void)state;
	assert_false(addr_normalise(&b, SPAN("a\0b@example.com")));
	assert_false(addr_normalise(&b, SPAN("a@example.com\0")));
	assert_false(addr_normalise(&b, SPAN("a@b\xc3\xbc\0.example.com")));
	assert_int_equal(b.n, 0);
	buf_free(&b);
}

static void
test_length(void **state)
{
	char a[ADDR_MAX + 1];
	struct buf b = BUF(4 * ADDR_MAX), little = BUF(ADDR_MAX - 1);

	(void)state;
	memset(a, 'a', sizeof a);
	a[10] = '@';
	buf_adds(&b, ">");
	assert_true(addr_normalise(&b, span_make(a, ADDR_MAX)));
	assert_int_equal(b.n, 1 + ADDR_MAX);
	assert_false(addr_normalise(&b, span_make(a, ADDR_MAX + 1)));
	assert_int_equal(b.n, 1 + ADDR_MAX);
	/* No room for it: nothing is appended. */
	assert_false(addr_normalise(&little, span_make(a, ADDR_MAX)));
	assert_int_equal(little.n, 0);
	/* Longer once it is quoted. */
	a[5] = ' ';
	a[0] = a[9] = '"';
	buf_clear(&b);
	assert_true(addr_normalise(&b, span_make(a, ADDR_MAX)));
	memset(a + 1, '.', 8);
	a[0] = a[9] = '.';
	assert_false(addr_normalise(&b, span_make(a, ADDR_MAX)));
	assert_int_equal(b.n, ADDR_MAX);
	buf_free(&b);
	buf_free(&little);
}

static void
test_domain(void **state)
{
	(void)state;
	assert_true(span_eq(addr_domain(SPAN("a@example.com")), SPAN("example.com")));
	assert_true(span_eq(addr_domain(SPAN("\"a@b\"@example.com")), SPAN("example.com")));
	assert_true(span_eq(addr_domain(SPAN("a@[ipv6:::1]")), SPAN("[ipv6:::1]")));
	assert_int_equal(addr_domain(SPAN("nothing")).n, 0);
}

/* HMAC-SHA-256 with the key 00 01 .. 1f, computed by another program. */
static void
test_known_names(void **state)
{
	static const unsigned char want[16] = { 0xbd, 0xd1, 0x0c, 0xfc, 0x30, 0xfe, 0x9c, 0x06, 0xf9, 0x13, 0x21, 0xab,
		0x93, 0xf7, 0x8b, 0x21 };
	static const unsigned char want_long[16] = { 0x6b, 0x89, 0xaa, 0x6d, 0x4c, 0xfd, 0x8f, 0xed, 0xef, 0x6c, 0x3b, 0x81,
		0x81, 0xd9, 0xf3, 0x73 };
	struct keys k = { 0 };
	struct who w;
	char local[212];

	(void)state;
	for (size_t i = 0; i < KEY_BYTES; i++)
		k.identity[i] = (unsigned char)i;
	assert_true(addr_who(&k, SPAN("<Reader@EXAMPLE.com>"), &w));
	assert_memory_equal(w.b, want, sizeof want);
	assert_true(addr_who(&k, SPAN("Reader@EXAMPLE.com"), &w));
	assert_memory_equal(w.b, want, sizeof want);
	memset(local, 'R', sizeof local); /* more than a block of SHA-256 */
	memcpy(local + sizeof local - 12, "@example.com", 12);
	assert_true(addr_who(&k, span_make(local, sizeof local), &w));
	assert_memory_equal(w.b, want_long, sizeof want_long);
	assert_true(stream_id(&k, SPAN("news")) == 0x582e2ca1b4b8a5aa);
	assert_true(campaign_id(&k, SPAN("news"), SPAN("spring")) == 0x51a3b587ffc15796);
}

static void
test_names_differ(void **state)
{
	struct keys k = { .identity = { 1 } }, other = { .identity = { 2 } };
	struct who a, b, c = { { 7 } };

	(void)state;
	assert_true(addr_who(&k, SPAN("a@example.com"), &a));
	assert_true(addr_who(&k, SPAN("b@example.com"), &b));
	assert_false(who_eq(&a, &b));
	assert_true(addr_who(&other, SPAN("a@example.com"), &b));
	assert_false(who_eq(&a, &b));
	assert_true(addr_who(&k, SPAN("a@example.com"), &b));
	assert_true(who_eq(&a, &b)); /* and nothing of the other key stays */
	assert_false(addr_who(&k, SPAN("nobody"), &c));
	assert_int_equal(c.b[0], 7);

	uint64_t id = campaign_id(&k, SPAN("ab"), SPAN("c"));

	assert_true(id != campaign_id(&k, SPAN("a"), SPAN("bc")));
	assert_true(id != campaign_id(&other, SPAN("ab"), SPAN("c")));
	assert_true(stream_id(&k, SPAN("ab")) != campaign_id(&k, SPAN("ab"), SPAN("")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normal_form),
		cmocka_unit_test(test_again_is_the_same),
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_known_names),
		cmocka_unit_test(test_names_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
