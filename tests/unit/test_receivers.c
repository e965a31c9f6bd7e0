/* test_receivers.c -- whose mail goes to whom, and what is wrong with a list. */
#include "common/receivers.h"

#include "tests/unit/unit.h"

static const struct keys keys = { .n = 1, .identity = { 1, 2, 3 } };

static const struct {
	const char *says, *list, *address, *group; /* NULL: none */
} addresses[] = {
	{ "an address", "a: x.org\n", "u@x.org", "a" },
	{ "in brackets", "a: x.org\n", "<u@x.org>", "a" },
	{ "shouted", "a: x.org\n", "U@X.ORG", "a" },
	{ "shouted in the list", "A: X.Org\n", "u@x.org", "a" },
	{ "with the dot of the root", "a: x.org\n", "u@x.org.", "a" },
	{ "a domain alone", "a: x.org\n", "x.org", "a" },
	{ "behind the last @", "a: x.org\n", "\"u@y.org\"@x.org", "a" },
	{ "not below it", "a: x.org\n", "u@m.x.org", NULL },
	{ "not above it", "a: m.x.org\n", "u@x.org", NULL },
	{ "one that ends like it", "a: x.org\n", "u@xx.org", NULL },
	{ "no domain", "a: x.org\n", "u@", NULL },
	{ "nothing", "a: x.org\n", "", NULL },
	{ "an empty list", "", "u@x.org", NULL },
	{ "the second of a line", "a: x.org \t y.org\n", "u@y.org", "a" },
	{ "a group comes again", "a: x.org\nb: z.org\nA: y.org\n", "u@y.org", "a" },
	{ "comment, empty line, carriage return, no line feed at the end", "# a: x.org\n\n \r\nb: x.org\r", "u@x.org", "b" },
	{ "a group without domains", "a:\nb: x.org\n", "u@x.org", "b" },
};

static void
whose_mail_it_is(void **state)
{
	struct receivers *r = receivers_new();
	struct buf errors = BUF(1000);

	(void)state;
	for (size_t i = 0; i < COUNT(addresses); i++) {
		const char *called;

		assert_row(addresses[i].says, receivers_read(r, span_of(addresses[i].list), "f", &errors) && errors.n == 0);
		receivers_seal(r, &keys);
		called = receivers_called(r, receivers_of(r, span_of(addresses[i].address)));
		assert_row(addresses[i].says, addresses[i].group == NULL ? called == NULL :
		    called != NULL && strcmp(called, addresses[i].group) == 0);
	}
	buf_free(&errors);
	receivers_free(r);
}

static const struct {
	const char *says, *list, *fault;
} faults[] = {
	{ "no colon", "google gmail.com\n", "f:1: `google gmail.com' is no group; write NAME: and its domains, the name of 1 to 32"
	    " letters, digits and -\n" },
	{ "a name with a space", "\na b: x.org\n", "f:2: `a b' is no group;" },
	{ "a name too long", "aaaaaaaaaabbbbbbbbbbccccccccccddd: x.org\n", "f:1: `aaaaaaaaaabbbbbbbbbbccccccccccddd' is no group;" },
	{ "no name", ": x.org\n", "f:1: `' is no group;" },
	{ "one label", "a: localhost\n", "f:1: `localhost' is no domain; write example.org" },
	{ "an address", "a: u@x.org\n", "f:1: `u@x.org' is no domain;" },
	{ "an empty label", "a: x..org\n", "f:1: `x..org' is no domain;" },
	{ "a dot at the start", "a: .x.org\n", "f:1: `.x.org' is no domain;" },
	{ "a dot at the end", "a: x.org.\n", "f:1: `x.org.' is no domain;" },
	{ "beyond ASCII", "a: b\xc3\xbc" "cher.de\n", "f:1: `b??cher.de' is no domain;" },
	{ "the same in two groups", "a: x.org\nb: X.org\n", "f:2: `X.org' is in group a already; keep one of them\n" },
	{ "the same twice in one", "a: x.org x.org\n", "f:1: `x.org' is in group a already;" },
};

static void
what_is_wrong(void **state)
{
	struct receivers *r = receivers_new();

	(void)state;
	for (size_t i = 0; i < COUNT(faults); i++) {
		struct buf errors = BUF(1000);

		assert_row(faults[i].says, !receivers_read(r, span_of(faults[i].list), "f", &errors));
		if (!span_starts(buf_span(&errors), span_of(faults[i].fault)))
			fail_msg("%s: %s", faults[i].says, buf_cstr(&errors));
		assert_row(faults[i].says, receivers_count(r) == 0 && receivers_of(r, SPAN("u@x.org")) == 0);
		buf_free(&errors);
	}
	receivers_free(r);
}

/* One past the edge is refused, with a line that says so. */
static void
numbers_have_an_end(void **state)
{
	struct receivers *r = receivers_new();
	struct buf list = BUF(RECEIVERS_FILE_MAX), errors = BUF(100000);

	(void)state;
	for (int i = 0; i < RECEIVERS_MAX; i++)
		buf_addf(&list, "g%d: d%d.org\n", i, i);
	assert_true(receivers_read(r, buf_span(&list), "f", &errors));
	assert_int_equal(receivers_count(r), RECEIVERS_MAX);
	buf_adds(&list, "more: x.org\n");
	assert_false(receivers_read(r, buf_span(&list), "f", &errors));
	assert_span("groups", buf_span(&errors), SPAN("f:501: there are too many groups; at most 500\n"));

	buf_clear(&list);
	buf_clear(&errors);
	for (int i = 0; i < RECEIVERS_DOMAINS_MAX; i++)
		buf_addf(&list, "g: d%d.org\n", i);
	assert_true(receivers_read(r, buf_span(&list), "f", &errors));
	buf_adds(&list, "g: x.org\n");
	assert_false(receivers_read(r, buf_span(&list), "f", &errors));
	assert_span("domains", buf_span(&errors), SPAN("f:50001: there are too many domains; at most 50000\n"));

	buf_clear(&list);
	buf_clear(&errors);
	for (int i = 0; i <= RECEIVERS_ERRORS_MAX; i++)
		buf_adds(&list, "a: b\n");
	assert_false(receivers_read(r, buf_span(&list), "f", &errors));
	assert_true(span_ends(buf_span(&errors), SPAN("f:101: and 1 more\n")));
	buf_free(&list);
	buf_free(&errors);
	receivers_free(r);
}

static void
what_we_ship(void **state)
{
	static const struct {
		const char *domain, *group;
	} known[] = {
		{ "gmail.com", "google" }, { "hotmail.co.uk", "microsoft" }, { "yahoo.fr", "yahoo" }, { "aol.com", "yahoo" },
		{ "icloud.com", "apple" }, { "web.de", "gmx" }, { "mail.ru", "mailru" }, { "ya.ru", "yandex" }, { "qq.com", "tencent" },
		{ "126.com", "netease" }, { "wanadoo.fr", "orange" }, { "libero.it", "libero" }, { "seznam.cz", "seznam" },
		{ "t-online.de", "t-online" }, { "comcast.net", "comcast" }, { "pm.me", "proton" },
	};
	struct receivers *r = receivers_new();

	(void)state;
	receivers_own(r);
	receivers_seal(r, &keys);
	assert_true(receivers_count(r) > 50);
	for (size_t i = 0; i < COUNT(known); i++)
		assert_string_equal(receivers_called(r, receivers_of(r, span_of(known[i].domain))), known[i].group);
	assert_int_equal(receivers_of(r, SPAN("u@example.org")), 0);
	for (size_t i = 0; i < receivers_count(r); i++)
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(receivers_id(r, i), receivers_id(r, k));
	receivers_free(r);
}

static const struct {
	const char *says, *text;
	bool good;
	uint32_t count, seconds;
} limits[] = {
	{ "an hour", "google 5000/1h", true, 5000, 3600 },
	{ "spaces", "google \t 5 / 2m", true, 5, 120 },
	{ "one in a minute", "a 1/60s", true, 1, 60 },
	{ "less than a minute", "a 1/59s", false, 0, 0 },
	{ "a day", "a 1/1d", true, 1, 86400 },
	{ "more than a day", "a 1/1441m", false, 0, 0 },
	{ "no whole minutes", "a 1/90s", false, 0, 0 },
	{ "none at all", "a 0/1h", false, 0, 0 },
	{ "the most", "a 1000000000/1h", true, 1000000000, 3600 },
	{ "too many", "a 1000000001/1h", false, 0, 0 },
	{ "no time", "a 5", false, 0, 0 },
	{ "no group", "5/1h", false, 0, 0 },
	{ "nothing", "", false, 0, 0 },
};

static void
how_much_may_go_there(void **state)
{
	struct receivers *r = receivers_new();
	struct receiver_limit limit = { 7, 60 }, got;
	struct buf why = BUF(1000);

	(void)state;
	for (size_t i = 0; i < COUNT(limits); i++) {
		struct span name;

		buf_clear(&why);
		assert_row(limits[i].says, receiver_limit_parse(span_of(limits[i].text), &name, &got, &why) == limits[i].good);
		assert_row(limits[i].says, (why.n == 0) == limits[i].good);
		assert_row(limits[i].says, !limits[i].good || (got.count == limits[i].count && got.seconds == limits[i].seconds));
	}
	buf_clear(&why);
	assert_true(receivers_read(r, SPAN("a: x.org\nb: y.org\n"), "f", &why));
	receivers_seal(r, &keys);
	assert_int_equal(receivers_set_limit(r, SPAN("c"), &limit), RECEIVERS_NO_GROUP);
	assert_int_equal(receivers_set_limit(r, SPAN("B"), &limit), RECEIVERS_SET);
	assert_int_equal(receivers_set_limit(r, SPAN("b"), &(struct receiver_limit){ 9, 120 }), RECEIVERS_TWICE);
	assert_false(receivers_limit(r, receivers_of(r, SPAN("x.org")), &got));
	assert_false(receivers_limit(r, 0, &got));
	assert_true(receivers_limit(r, receivers_of(r, SPAN("y.org")), &got));
	assert_int_equal(got.count, 7);
	buf_free(&why);
	receivers_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whose_mail_it_is),
		cmocka_unit_test(what_is_wrong),
		cmocka_unit_test(numbers_have_an_end),
		cmocka_unit_test(what_we_ship),
		cmocka_unit_test(how_much_may_go_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
