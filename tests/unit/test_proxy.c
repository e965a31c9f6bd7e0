/* test_proxy.c -- what a PROXY header says, where it ends, and who is believed about whom. */
#include <arpa/inet.h>

#include "tests/unit/unit.h"
#include "tracker/proxy.h"

#define BYTES(literal) { literal, sizeof(literal) - 1 }
#define SIGN "\r\n\r\n\0\r\nQUIT\n"

/* The address as text; "-" for one that was not touched, "unix" for a local one. */
static const char *
peer_text(const struct peer *peer, char text[INET6_ADDRSTRLEN])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (memcmp(peer->b, PEER_LOCAL.b, 16) == 0)
		return "unix";
	if (memcmp(peer->b, mapped, 12) == 0)
		return inet_ntop(AF_INET, peer->b + 12, text, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6, peer->b, text, INET6_ADDRSTRLEN);
}

static struct peer
peer_of(const char *text)
{
	struct peer p = { .b = { [10] = 0xff, [11] = 0xff } };

	if (strcmp(text, "unix") == 0)
		return PEER_LOCAL;
	if (inet_pton(AF_INET, text, p.b + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, text, p.b), 1);
	return p;
}

#define V1(line) BYTES("PROXY " line "\r\n")

static const struct {
	const char *says;
	struct span in;
	int n; /* 1: all of it */
	const char *peer; /* NULL: as before */
} headers[] = {
	{ "version 1, IPv4", V1("TCP4 192.0.2.7 203.0.113.1 56324 443"), 1, "192.0.2.7" },
	{ "version 1, IPv6", V1("TCP6 2001:db8::7 ::1 56324 443"), 1, "2001:db8::7" },
	{ "the longest line there may be",
	    V1("TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535"), 1,
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
	{ "version 1, unknown", V1("UNKNOWN"), 1, NULL },
	{ "unknown with something behind it", V1("UNKNOWN ffff::1 x \x01 1 2"), 1, NULL },
	{ "unknown and a line of 107 bytes", V1("UNKNOWN 1234567890123456789012345678901234567890123456789012345678901234"
	    "567890123456789012345678901"), 1, NULL },
	{ "unknown and a line of 108 bytes", V1("UNKNOWN 1234567890123456789012345678901234567890123456789012345678901234"
	    "5678901234567890123456789012"), -1, NULL },
	{ "no end within the limit", BYTES("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), -1, NULL },
	{ "UNKNOWNS", V1("UNKNOWNS"), -1, NULL },
	{ "another family", V1("UDP4 192.0.2.7 203.0.113.1 1 2"), -1, NULL },
	{ "lower case", BYTES("proxy TCP4 192.0.2.7 203.0.113.1 1 2\r\n"), -1, NULL },
	{ "an IPv6 address in TCP4", V1("TCP4 ::1 203.0.113.1 1 2"), -1, NULL },
	{ "an IPv4 address in TCP6", V1("TCP6 192.0.2.7 ::1 1 2"), -1, NULL },
	{ "IPv4 in an IPv6 address", V1("TCP6 ::ffff:192.0.2.7 ::1 1 2"), 1, "192.0.2.7" },
	{ "a name", V1("TCP4 localhost 203.0.113.1 1 2"), -1, NULL },
	{ "an address of three numbers", V1("TCP4 192.0.2 203.0.113.1 1 2"), -1, NULL },
	{ "two spaces", V1("TCP4  192.0.2.7 203.0.113.1 1 2"), -1, NULL },
	{ "a space at the end", V1("TCP4 192.0.2.7 203.0.113.1 1 2 "), -1, NULL },
	{ "a word at the end", V1("TCP4 192.0.2.7 203.0.113.1 1 2 3"), -1, NULL },
	{ "no second port", V1("TCP4 192.0.2.7 203.0.113.1 1"), -1, NULL },
	{ "the highest port", V1("TCP4 192.0.2.7 203.0.113.1 65535 0"), 1, "192.0.2.7" },
	{ "one higher", V1("TCP4 192.0.2.7 203.0.113.1 65536 0"), -1, NULL },
	{ "a port with a zero in front", V1("TCP4 192.0.2.7 203.0.113.1 01 2"), -1, NULL },
	{ "a port with a sign", V1("TCP4 192.0.2.7 203.0.113.1 +1 2"), -1, NULL },
	{ "a bare LF", BYTES("PROXY TCP4 192.0.2.7 203.0.113.1 1 2\n"), -1, NULL },
	{ "NUL inside of an address", V1("TCP4 192.0.2.7\0 203.0.113.1 1 2"), -1, NULL },
	{ "an empty line", V1(""), -1, NULL },
	{ "an unspecified address names nobody", V1("TCP6 :: ::1 1 2"), 1, NULL },

	{ "version 2, IPv4", BYTES(SIGN "\x21\x11\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), 1, "192.0.2.7" },
	{ "version 2, IPv6", BYTES(SIGN "\x21\x21\0\x24" " \1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\7" "0123456789abcdef" "\xdc\4\1\xbb"), 1,
	    "2001:db8::7" },
	{ "datagrams of the client", BYTES(SIGN "\x21\x12\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), 1, "192.0.2.7" },
	{ "something behind the addresses", BYTES(SIGN "\x21\x11\0\x10" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb" "\4\0\1x"), 1,
	    "192.0.2.7" },
	{ "the proxy itself", BYTES(SIGN "\x20\0\0\0"), 1, NULL },
	{ "the proxy itself, with addresses", BYTES(SIGN "\x20\x11\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), 1, NULL },
	{ "no family", BYTES(SIGN "\x21\0\0\3abc"), 1, NULL },
	{ "a family without a transport", BYTES(SIGN "\x21\x10\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), -1, NULL },
	{ "a transport without a family", BYTES(SIGN "\x21\1\0\0"), -1, NULL },
	{ "a family that is to come", BYTES(SIGN "\x21\x41\0\0"), -1, NULL },
	{ "a transport that is to come", BYTES(SIGN "\x21\x13\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), -1, NULL },
	{ "version 3", BYTES(SIGN "\x31\x11\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), -1, NULL },
	{ "a command that is to come", BYTES(SIGN "\x22\0\0\0"), -1, NULL },
	{ "too short for IPv4", BYTES(SIGN "\x21\x11\0\x0b" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1"), -1, NULL },
	{ "too short for IPv6", BYTES(SIGN "\x21\x21\0\x0c" "\xc0\0\2\7" "\xcb\0\x71\1" "\xdc\4\1\xbb"), -1, NULL },
	{ "one byte more than we take", BYTES(SIGN "\x21\x11\x0f\xf1"), -1, NULL },

	{ "a request", BYTES("GET / HTTP/1.1\r\n"), -1, NULL },
	{ "a TLS hello", BYTES("\x16\3\1\2\0"), -1, NULL },
	{ "nearly version 1", BYTES("PROXX"), -1, NULL },
	{ "nearly version 2", BYTES("\r\n\r\n\0\r\nQUIX"), -1, NULL },
};

/* Whole, byte by byte, and with a request behind it. */
static void
headers_read_the_same_however_they_arrive(void **state)
{
	char text[INET6_ADDRSTRLEN];

	(void)state;
	for (size_t i = 0; i < COUNT(headers); i++) {
		const char *row = headers[i].says, *want = headers[i].peer != NULL ? headers[i].peer : "198.51.100.1";
		struct span in = headers[i].in;
		struct peer peer = peer_of("198.51.100.1");
		int all = headers[i].n == 1 ? (int)in.n : -1, n = proxy_read(in, &peer);
		struct buf longer = BUF(1024);

		if (n != all)
			fail_msg("%s: got %d, want %d", row, n, all);
		if (strcmp(peer_text(&peer, text), want) != 0)
			fail_msg("%s: got %s, want %s", row, peer_text(&peer, text), want);

		n = 0;
		for (size_t k = 0; k <= in.n && n == 0; k++)
			n = proxy_read(span_cut(in, 0, k), &peer);
		assert_row(row, n == all);
		assert_string_equal(peer_text(&peer, text), want);

		buf_add(&longer, in);
		buf_adds(&longer, "GET / HTTP/1.1\r\n");
		assert_row(row, proxy_read(buf_span(&longer), &peer) == all);
		buf_free(&longer);
	}
}

static void
the_longest_header_is_taken(void **state)
{
	static char bytes[PROXY_HEADER_MAX + 16] = SIGN "\x21\x11\x0f\xf0\xc0\0\2\7";
	struct peer peer;

	(void)state;
	assert_int_equal(proxy_read(span_make(bytes, sizeof bytes), &peer), PROXY_HEADER_MAX);
	assert_int_equal(proxy_read(span_make(bytes, PROXY_HEADER_MAX - 1), &peer), 0);
}

static const struct {
	const char *says, *trusted, *from, *fields, *client;
	bool rfc;
} forwarded[] = {
	{ "nobody is trusted", "", "127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1", false },
	{ "a stranger says something", "127.0.0.1", "127.0.0.2", "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.2", false },
	{ "our proxy says it", "127.0.0.1", "127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", false },
	{ "our proxy says nothing", "127.0.0.1", "127.0.0.1", "X-Forwarded-Fo: 192.0.2.1\r\n", "127.0.0.1", false },
	{ "a client lied before it", "127.0.0.1", "127.0.0.1", "X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n", "192.0.2.1", false },
	{ "a client lied in a field before it", "127.0.0.1", "127.0.0.1",
	    "X-Forwarded-For: 198.51.100.1\r\nA: b\r\nX-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", false },
	{ "two proxies of ours", "127.0.0.1 10.0.0.0/8", "127.0.0.1", "X-Forwarded-For: 192.0.2.1, 10.255.255.255\r\n", "192.0.2.1",
	    false },
	{ "two proxies, a field each", "127.0.0.1 10.0.0.0/8", "127.0.0.1",
	    "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for:10.1.2.3\r\n", "192.0.2.1", false },
	{ "one beside the network", "127.0.0.1 10.0.0.0/8", "127.0.0.1", "X-Forwarded-For: 192.0.2.1, 11.0.0.0\r\n", "11.0.0.0", false },
	{ "a client in our network", "127.0.0.1 10.0.0.0/8", "127.0.0.1", "X-Forwarded-For: 10.0.0.9\r\n", "10.0.0.9", false },
	{ "a network that ends inside of a byte", "127.0.0.1 10.32.0.0/11", "127.0.0.1", "X-Forwarded-For: 192.0.2.1, 10.63.1.1\r\n",
	    "192.0.2.1", false },
	{ "and what is beside it", "127.0.0.1 10.32.0.0/11", "127.0.0.1", "X-Forwarded-For: 192.0.2.1, 10.64.1.1\r\n", "10.64.1.1",
	    false },
	{ "IPv6", "2001:db8::/32", "2001:db8::1", "X-Forwarded-For: 2001:db9::1, 2001:db8:ffff::1\r\n", "2001:db9::1", false },
	{ "IPv6 in brackets, with a port", "::1", "::1", "X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1", false },
	{ "IPv4 with a port", "::1", "::1", "X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1", false },
	{ "IPv4 in IPv6", "::1 10.0.0.0/8", "::1", "X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.1\r\n", "192.0.2.1", false },
	{ "a socket in the file system", "unix", "unix", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", false },
	{ "a socket that is not trusted", "127.0.0.1", "unix", "X-Forwarded-For: 192.0.2.1\r\n", "unix", false },
	{ "nobody says of himself that he is local", "127.0.0.1 unix", "127.0.0.1", "X-Forwarded-For: 192.0.2.1, ::\r\n", "127.0.0.1",
	    false },
	{ "no address", "127.0.0.1 10.0.0.0/8", "127.0.0.1", "X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.1\r\n", "10.0.0.1", false },
	{ "a port that is none", "127.0.0.1", "127.0.0.1", "X-Forwarded-For: 192.0.2.1:a/b\r\n", "127.0.0.1", false },
	{ "empty elements", "127.0.0.1", "127.0.0.1", "X-Forwarded-For: 192.0.2.1,, ,\r\n", "192.0.2.1", false },
	{ "nothing at all", "127.0.0.1", "127.0.0.1", "X-Forwarded-For:\r\n", "127.0.0.1", false },
	{ "the other field", "127.0.0.1", "127.0.0.1", "Forwarded: for=192.0.2.1\r\n", "127.0.0.1", false },

	{ "RFC 7239", "127.0.0.1", "127.0.0.1", "Forwarded: for=192.0.2.1;proto=https;by=203.0.113.43\r\n", "192.0.2.1", true },
	{ "parameters in any order and case", "127.0.0.1", "127.0.0.1", "forwarded: proto=https; FOR=192.0.2.1\r\n", "192.0.2.1", true },
	{ "quoted", "127.0.0.1", "127.0.0.1", "Forwarded: for=\"[2001:db8:cafe::17]:4711\"\r\n", "2001:db8:cafe::17", true },
	{ "a comma inside of quotes", "127.0.0.1", "127.0.0.1", "Forwarded: for=198.51.100.1, for=192.0.2.1;host=\"a,b\"\r\n",
	    "192.0.2.1", true },
	{ "two hops", "127.0.0.1 10.0.0.1", "127.0.0.1", "Forwarded: for=192.0.2.1, for=\"10.0.0.1:80\"\r\n", "192.0.2.1", true },
	{ "a quote that the client left open", "127.0.0.1", "127.0.0.1", "Forwarded: for=\"198.51.100.1, for=192.0.2.1\r\n", "192.0.2.1",
	    true },
	{ "a quote that nobody opened", "127.0.0.1", "127.0.0.1", "Forwarded: for=192.0.2.1\"\r\n", "127.0.0.1", true },
	{ "a hidden name", "127.0.0.1", "127.0.0.1", "Forwarded: for=_hidden\r\n", "127.0.0.1", true },
	{ "twice in one element", "127.0.0.1", "127.0.0.1", "Forwarded: for=192.0.2.1;for=192.0.2.2\r\n", "127.0.0.1", true },
	{ "an element without it", "127.0.0.1", "127.0.0.1", "Forwarded: for=192.0.2.1, by=192.0.2.2\r\n", "127.0.0.1", true },
	{ "the other field", "127.0.0.1", "127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1", true },
};

static void
only_our_own_proxies_are_believed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(forwarded); i++) {
		struct buf text = BUF(4096), errors = BUF(4096), head = BUF(4096);
		struct peer from = peer_of(forwarded[i].from), client;
		char shown[INET6_ADDRSTRLEN];
		struct proxies proxies;
		struct conf *conf;

		buf_addf(&text, "tracking_url = https://t.example\nprivacy_profile = eu\nforwarded_from = %s\nforwarded_header = %s\n",
		    forwarded[i].trusted, forwarded[i].rfc ? "forwarded" : "x-forwarded-for");
		conf = conf_parse(buf_span(&text), "t", &errors);
		assert_non_null(conf);
		proxies_init(&proxies, conf);
		buf_addf(&head, "GET / HTTP/1.1\r\nHost: t\r\n%s\r\n", forwarded[i].fields);
		client = proxy_client(&proxies, buf_span(&head), from);
		if (strcmp(peer_text(&client, shown), forwarded[i].client) != 0)
			fail_msg("%s: got %s, want %s", forwarded[i].says, peer_text(&client, shown), forwarded[i].client);
		proxies_free(&proxies);
		conf_free(conf);
		buf_free(&text);
		buf_free(&errors);
		buf_free(&head);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_read_the_same_however_they_arrive),
		cmocka_unit_test(the_longest_header_is_taken),
		cmocka_unit_test(only_our_own_proxies_are_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
