/* test_robots.c -- the lists of agents and networks: what they say, what is wrong with them, and that looking up agrees with looking at all. */
#include "common/robots.h"

#include <arpa/inet.h>

#include "tests/unit/unit.h"

static const struct {
	const char *says, *list, *agent;
	enum robot verdict;
} agents[] = {
	{ "a name", "scanner curl/\n", "curl/8", ROBOT_SCANNER },
	{ "shouted on both sides", "scanner CuRl/\n", "CURL/8", ROBOT_SCANNER },
	{ "inside of a word", "scanner curl/\n", "xcurl/8", ROBOT_NONE },
	{ "the word goes on", "scanner curl\n", "curls", ROBOT_NONE },
	{ "the word goes on behind a slash", "scanner curl/\n", "curl/x", ROBOT_SCANNER },
	{ "at the very end", "scanner curl\n", "a curl", ROBOT_SCANNER },
	{ "cut short", "scanner curl\n", "a cur", ROBOT_NONE },
	{ "behind a sign", "scanner curl\n", "(curl;", ROBOT_SCANNER },
	{ "with spaces in it", "preview snap url preview\n", "Snap URL Preview 1.0", ROBOT_PREVIEW },
	{ "with other spaces", "preview snap url preview\n", "Snap URL  Preview", ROBOT_NONE },
	{ "the first in the agent counts", "scanner bbb\npreview aaa\n", "aaa bbb", ROBOT_PREVIEW },
	{ "of two that start there the first in the list", "preview aaa\nscanner aaa bbb\n", "aaa bbb", ROBOT_PREVIEW },
	{ "and the other way round", "scanner aaa bbb\npreview aaa\n", "aaa bbb", ROBOT_SCANNER },
	{ "of one that is there twice too", "preview aaa\nscanner AAA\n", "aaa", ROBOT_PREVIEW },
	{ "a comment, an empty line, white space", "# scanner curl\n\n \t suspect \t curl \r\n", "curl", ROBOT_SUSPECT },
	{ "no line feed at the end", "prefetch curl", "curl", ROBOT_PREFETCH },
	{ "it starts with a digit", "scanner 360spider\n", "x 360Spider", ROBOT_SCANNER },
	{ "three characters", "scanner abc\n", "abc", ROBOT_SCANNER },
	{ "an empty list", "", "curl", ROBOT_NONE },
	{ "an empty agent", "scanner curl\n", "", ROBOT_NONE },
	{ "bytes beyond ASCII in the agent", "scanner curl\n", "\xff\xfe curl\xff", ROBOT_SCANNER },
};

static void
names(void **state)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(1000);

	(void)state;
	for (size_t i = 0; i < COUNT(agents); i++) {
		assert_row(agents[i].says, robots_read_agents(r, span_of(agents[i].list), "f", &errors) && errors.n == 0);
		assert_row(agents[i].says, robots_agent(r, span_of(agents[i].agent)) == agents[i].verdict);
	}
	buf_free(&errors);
	robots_free(r);
}

/* Where a name stands in an agent must not matter: what is looked at together has ends, too. */
static void
names_anywhere(void **state)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(1000);
	static const struct {
		const char *says, *before, *fill, *behind;
		enum robot verdict;
	} rows[] = {
		{ "behind signs", "", ";", "", ROBOT_SCANNER },
		{ "behind a word", "x", "y", " ", ROBOT_SCANNER },
		{ "inside of a word", "x", "y", "", ROBOT_NONE },
		{ "behind bytes that are letters but for a bit", "\xe1", "@", "[", ROBOT_SCANNER },
	};

	(void)state;
	assert_true(robots_read_agents(r, SPAN("scanner curl/\n"), "f", &errors));
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t n = 0; n < 70; n++) {
			struct buf agent = BUF(1000);

			buf_adds(&agent, rows[i].before);
			for (size_t k = 0; k < n; k++)
				buf_adds(&agent, rows[i].fill);
			buf_adds(&agent, rows[i].behind);
			buf_adds(&agent, "cUrl/8");
			assert_row(rows[i].says, robots_agent(r, buf_span(&agent)) == rows[i].verdict);
			buf_addc(&agent, ';');
			assert_row(rows[i].says, robots_agent(r, buf_span(&agent)) == rows[i].verdict);
			agent.n -= 3;
			assert_row(rows[i].says, robots_agent(r, buf_span(&agent)) == ROBOT_NONE);
			buf_free(&agent);
		}
	buf_free(&errors);
	robots_free(r);
}

static void
to_address(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	if (inet_pton(AF_INET, text, out + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, text, out), 1);
}

/* "-" none; else a (all) or c (clicks), and c (certain) or p (probable). */
static const struct {
	const char *says, *list, *address, *found;
} networks[] = {
	{ "the first address", "192.0.2.0/24 all certain x\n", "192.0.2.0", "ac" },
	{ "the last address", "192.0.2.0/24 clicks probable x\n", "192.0.2.255", "cp" },
	{ "one before", "192.0.2.0/24 all certain x\n", "192.0.1.255", "-" },
	{ "one behind", "192.0.2.0/24 all certain x\n", "192.0.3.0", "-" },
	{ "one address", "192.0.2.7 all certain x y z\n", "192.0.2.7", "ac" },
	{ "one address, its neighbour", "192.0.2.7 all certain x\n", "192.0.2.8", "-" },
	{ "IPv6", "2001:db8::/32 all probable x\n", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "ap" },
	{ "IPv6, one behind", "2001:db8::/32 all probable x\n", "2001:db9::", "-" },
	{ "a prefix that ends in a byte", "10.32.0.0/11 all certain x\n", "10.63.255.255", "ac" },
	{ "a prefix that ends in a byte, one behind", "10.32.0.0/11 all certain x\n", "10.64.0.0", "-" },
	{ "a prefix over 64", "2001:db8:0:1:8000::/65 all certain x\n", "2001:db8:0:1:8000::1", "ac" },
	{ "a prefix over 64, one before", "2001:db8:0:1:8000::/65 all certain x\n", "2001:db8:0:1:7fff::1", "-" },
	{ "everything", "0.0.0.0/0 clicks probable x\n", "255.255.255.255", "cp" },
	{ "everything of IPv4 is nothing of IPv6", "0.0.0.0/0 clicks probable x\n", "2001:db8::1", "-" },
	{ "everything of IPv6 is all there is", "::/0 clicks probable x\n", "192.0.2.1", "cp" },
	{ "the very last address", "::/0 all certain x\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ac" },
	{ "the smallest counts", "10.0.0.0/8 all certain x\n10.1.0.0/16 clicks probable y\n", "10.1.2.3", "cp" },
	{ "wherever it stands", "10.1.0.0/16 clicks probable y\n10.0.0.0/8 all certain x\n", "10.1.2.3", "cp" },
	{ "and around it the larger", "10.0.0.0/8 all certain x\n10.1.0.0/16 clicks probable y\n", "10.2.0.0", "ac" },
	{ "at its very end", "10.0.0.0/8 all certain x\n10.255.0.0/16 clicks probable y\n", "11.0.0.0", "-" },
	{ "three deep", "10.0.0.0/8 all certain x\n10.1.0.0/16 clicks probable y\n10.1.2.0/24 all probable z\n", "10.1.2.9", "ap" },
	{ "three deep, behind the inner one", "10.0.0.0/8 all certain x\n10.1.0.0/16 clicks probable y\n10.1.2.0/24 all probable z\n",
	    "10.1.3.0", "cp" },
	{ "the same network twice: the first", "10.0.0.0/8 all certain x\n10.0.0.0/8 clicks probable y\n", "10.0.0.1", "ac" },
	{ "neighbours", "10.0.0.0/9 all certain x\n10.128.0.0/9 clicks probable y\n", "10.128.0.0", "cp" },
	{ "tabs and comments", "# x\n\n\t10.0.0.0/8\tall \t certain\tx\r\n", "10.9.9.9", "ac" },
	{ "an empty list", "", "10.0.0.1", "-" },
};

static void
found(const struct robots *r, const uint8_t address[16], char out[3])
{
	struct robot_network n;

	strcpy(out, "-");
	if (!robots_network(r, address, &n))
		return;
	out[0] = n.clicks_only ? 'c' : 'a';
	out[1] = n.certain ? 'c' : 'p';
	out[2] = '\0';
}

static void
addresses(void **state)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(1000);
	uint8_t address[16];
	char got[3];

	(void)state;
	for (size_t i = 0; i < COUNT(networks); i++) {
		assert_row(networks[i].says, robots_read_networks(r, span_of(networks[i].list), "f", &errors) && errors.n == 0);
		to_address(networks[i].address, address);
		found(r, address, got);
		if (strcmp(got, networks[i].found) != 0)
			fail_msg("%s: %s, want %s", networks[i].says, got, networks[i].found);
	}
	buf_free(&errors);
	robots_free(r);
}

/* Thousands of networks inside each other and side by side: a binary search finds what looking at all of them finds. */
static void
a_search_finds_what_a_look_at_all_finds(void **state)
{
	enum { N = 3000 };
	static struct {
		uint32_t first;
		unsigned bits;
		bool certain;
	} list[N];
	struct robots *r = robots_new();
	struct buf text = BUF(1 << 20), errors = BUF(1000);
	unsigned seed = 7, hits = 0;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		seed = seed * 1103515245 + 12345;
		list[i].bits = 16 + seed / 65536 % 17;
		seed = seed * 1103515245 + 12345;
		/* Crowded: 10.0.0.0/12. */
		list[i].first = (10u << 24 | (seed >> 8 & 0xfffff)) & (UINT32_MAX << (32 - list[i].bits));
		list[i].certain = seed >> 30 & 1;
		buf_addf(&text, "%u.%u.%u.%u/%u all %s x\n", list[i].first >> 24, list[i].first >> 16 & 255, list[i].first >> 8 & 255,
		    list[i].first & 255, list[i].bits, list[i].certain ? "certain" : "probable");
	}
	assert_true(robots_read_networks(r, buf_span(&text), "f", &errors));
	for (unsigned k = 0; k < 20000; k++) {
		uint8_t address[16] = { [10] = 0xff, [11] = 0xff };
		struct robot_network got = { 0 };
		size_t best = N;
		uint32_t a;

		seed = seed * 1103515245 + 12345;
		a = 10u << 24 | (seed >> 8 & 0x1fffff);
		if (k < 2 * N) /* the edges */
			a = list[k / 2].first + (k % 2 ? (uint32_t)((1ull << (32 - list[k / 2].bits)) - 1) : 0);
		for (size_t i = 0; i < N; i++)
			if ((a & (UINT32_MAX << (32 - list[i].bits))) == list[i].first && (best == N || list[i].bits > list[best].bits))
				best = i;
		for (int i = 0; i < 4; i++)
			address[12 + i] = (uint8_t)(a >> (24 - 8 * i));
		if (robots_network(r, address, &got) != (best < N) || (best < N && got.certain != list[best].certain))
			fail_msg("%08x: another network", a);
		hits += best < N;
	}
	assert_in_range(hits, 6000, 19999);
	buf_free(&text);
	buf_free(&errors);
	robots_free(r);
}

static const struct {
	const char *says, *list, *error;
} agent_faults[] = {
	{ "no verdict", "curl/\n", "f:1: `curl/' is no verdict; use scanner, preview, prefetch, suspect or human, then a name\n" },
	{ "no name", "# c\nscanner\n", "f:2: `' is no name; use 3 to 64 printable ASCII characters, the first a letter or digit\n" },
	{ "a name of two characters", "scanner ab\n",
	    "f:1: `ab' is no name; use 3 to 64 printable ASCII characters, the first a letter or digit\n" },
	{ "a name that starts with a sign", "scanner (curl\n",
	    "f:1: `(curl' is no name; use 3 to 64 printable ASCII characters, the first a letter or digit\n" },
	{ "bytes beyond ASCII", "scanner c\xc3\xbcrl\n",
	    "f:1: `c??rl' is no name; use 3 to 64 printable ASCII characters, the first a letter or digit\n" },
	{ "two faults", "x y\nscanner curl\nz\n",
	    "f:1: `x' is no verdict; use scanner, preview, prefetch, suspect or human, then a name\n"
	    "f:3: `z' is no verdict; use scanner, preview, prefetch, suspect or human, then a name\n" },
}, network_faults[] = {
	{ "no network", "x all certain y\n", "f:1: `x' is not a network; write 192.0.2.0/24 or 2001:db8::/32\n" },
	{ "half an address", "10.0.0/8 all certain y\n", "f:1: `10.0.0/8' is not a network; write 192.0.2.0/24 or 2001:db8::/32\n" },
	{ "a prefix too long", "10.0.0.0/33 all certain y\n", "f:1: `10.0.0.0/33' has no good prefix length; use 0 to 32\n" },
	{ "a prefix too long for IPv6", "::/129 all certain y\n", "f:1: `::/129' has no good prefix length; use 0 to 128\n" },
	{ "an empty prefix", "10.0.0.0/ all certain y\n", "f:1: `10.0.0.0/' has no good prefix length; use 0 to 32\n" },
	{ "host bits", "10.0.0.1/8 all certain y\n", "f:1: `10.0.0.1/8' has host bits set; write the first address of the network\n" },
	{ "no scope", "\n10.0.0.0/8 some certain y\n", "f:2: `some' is no scope; use all or clicks behind the network\n" },
	{ "no certainty", "10.0.0.0/8 all y\n", "f:1: `y' is no certainty; use certain or probable behind the scope\n" },
	{ "no label", "10.0.0.0/8 all certain\n", "f:1: the label is missing; say last whose network this is\n" },
};

static void
faults(void **state)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(10000);

	(void)state;
	for (size_t i = 0; i < COUNT(agent_faults); i++) {
		buf_clear(&errors);
		assert_row(agent_faults[i].says, !robots_read_agents(r, span_of(agent_faults[i].list), "f", &errors));
		assert_span(agent_faults[i].says, buf_span(&errors), span_of(agent_faults[i].error));
		assert_int_equal(robots_agent(r, SPAN("curl")), ROBOT_NONE); /* a faulty list is no list */
	}
	for (size_t i = 0; i < COUNT(network_faults); i++) {
		buf_clear(&errors);
		assert_row(network_faults[i].says, !robots_read_networks(r, span_of(network_faults[i].list), "f", &errors));
		assert_span(network_faults[i].says, buf_span(&errors), span_of(network_faults[i].error));
	}
	buf_free(&errors);
	robots_free(r);
}

static void
limits(void **state)
{
	struct robots *r = robots_new();
	struct buf text = BUF(64 << 20), errors = BUF(100000);
	uint8_t address[16];
	char got[3];

	(void)state;
	for (unsigned i = 0; i < ROBOTS_NETWORKS_MAX; i++)
		buf_addf(&text, "10.%u.%u.%u all certain x\n", i >> 16, i >> 8 & 255, i & 255);
	assert_true(robots_read_networks(r, buf_span(&text), "f", &errors));
	to_address("10.15.66.63", address);
	found(r, address, got);
	assert_string_equal(got, "ac");
	to_address("10.15.66.64", address);
	found(r, address, got);
	assert_string_equal(got, "-");
	buf_adds(&text, "11.0.0.0/8 all certain x\n");
	assert_false(robots_read_networks(r, buf_span(&text), "f", &errors));
	assert_string_equal(buf_cstr(&errors), "f:1000001: there are too many networks; at most 1000000\n");

	buf_clear(&text);
	buf_clear(&errors);
	for (unsigned i = 0; i < ROBOTS_AGENTS_MAX; i++)
		buf_addf(&text, "scanner bot%u\n", i);
	assert_true(robots_read_agents(r, buf_span(&text), "f", &errors));
	assert_int_equal(robots_agent(r, SPAN("bot19999")), ROBOT_SCANNER);
	assert_int_equal(robots_agent(r, SPAN("bot20000")), ROBOT_NONE);
	buf_adds(&text, "scanner more\n");
	assert_false(robots_read_agents(r, buf_span(&text), "f", &errors));
	assert_string_equal(buf_cstr(&errors), "f:20001: there are too many names; at most 20000\n");

	/* Not every fault of a file that is something else is told. */
	buf_clear(&text);
	buf_clear(&errors);
	for (unsigned i = 0; i < ROBOTS_ERRORS_MAX + 7; i++)
		buf_adds(&text, "x\n");
	assert_false(robots_read_agents(r, buf_span(&text), "f", &errors));
	assert_int_equal(span_ends(buf_span(&errors), SPAN("f:107: and 7 more\n")), true);
	buf_free(&text);
	buf_free(&errors);
	robots_free(r);
}

/* What we ship is read as any other file would be. */
static void
ours_are_good(void **state)
{
	struct robots *r = robots_new();
	uint8_t address[16];
	char got[3];

	(void)state;
	robots_own_agents(r);
	robots_own_networks(r);
	assert_int_equal(robots_agent(r, SPAN("curl/8")), ROBOT_SCANNER);
	assert_int_equal(robots_agent(r, SPAN("Slackbot-LinkExpanding 1.0")), ROBOT_PREVIEW);
	to_address("40.94.29.84", address);
	found(r, address, got);
	assert_string_equal(got, "cp");
	to_address("192.0.2.1", address);
	found(r, address, got);
	assert_string_equal(got, "-");
	robots_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(names_anywhere),
		cmocka_unit_test(addresses),
		cmocka_unit_test(a_search_finds_what_a_look_at_all_finds),
		cmocka_unit_test(faults),
		cmocka_unit_test(limits),
		cmocka_unit_test(ours_are_good),
	};

	return cmocka_run_group_tests_name("robots", tests, NULL, NULL);
}
