/*
 * fuzz_forwarded.c -- promises: a peer that is no proxy of ours is the client
 * whatever the head says; whatever a client wrote into the field, what our own
 * proxy added behind it is who the client is, for both fields.
 * The first byte chooses the field.
 */
#include <stdint.h>
#include <stdlib.h>

#include "tracker/proxy.h"

static struct proxies proxies[2];

static void
require(bool good)
{
	if (!good)
		abort();
}

static void
prepare(void)
{
	static const char *const words[] = { "x-forwarded-for", "forwarded" };

	for (int i = 0; i < 2; i++) {
		struct buf text = BUF(4096), errors = BUF(4096);
		struct conf *conf;

		buf_addf(&text, "tracking_url = https://t.example\nprivacy_profile = eu\nforwarded_from = 10.0.0.0/8 fd00::/8 unix\n"
		    "forwarded_header = %s\n", words[i]);
		conf = conf_parse(buf_span(&text), "fuzz", &errors);
		require(conf != NULL);
		proxies_init(&proxies[i], conf);
		conf_free(conf);
		buf_free(&text);
	}
}

/* What http_read lets through in a head has no control characters but tabs, and CRLF at the end of lines. */
static void
add_value(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_addc(out, (unsigned char)s.p[i] < ' ' && s.p[i] != '\t' ? ' ' : s.p[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct peer stranger = { .b = { [10] = 0xff, 0xff, 192, 0, 2, 1 } }, own = { .b = { [10] = 0xff, 0xff, 10, 9, 8, 7 } };
	const struct peer real = { .b = { [10] = 0xff, 0xff, 203, 0, 113, 9 } };
	struct span value = span_make(p + 1, n > 0 ? n - 1 : 0), rest = value, line;
	struct buf head = BUF(1 << 20);
	struct peer client;
	bool rfc;

	if (n == 0)
		return 0;
	if (proxies[0].forwarded_from.item == NULL)
		prepare();
	rfc = p[0] & 1;

	buf_adds(&head, "GET / HTTP/1.1\r\nHost: t\r\n");
	while (span_split(&rest, '\n', &line)) {
		buf_adds(&head, rfc ? "Forwarded: " : "X-Forwarded-For: ");
		add_value(&head, line);
		buf_adds(&head, "\r\n");
	}
	client = proxy_client(&proxies[rfc], buf_span(&head), stranger);
	require(memcmp(&client, &stranger, sizeof client) == 0);
	client = proxy_client(&proxies[rfc], buf_span(&head), own);
	require(memcmp(&client, &PEER_LOCAL, sizeof client) != 0);

	/* As a proxy adds it: behind what is there, in the same field. */
	if (head.n > 25)
		head.n -= 2;
	buf_adds(&head, head.n > 25 ? ", " : rfc ? "Forwarded: " : "X-Forwarded-For: ");
	buf_adds(&head, rfc ? "for=203.0.113.9;proto=https\r\n\r\n" : "203.0.113.9\r\n\r\n");
	client = proxy_client(&proxies[rfc], buf_span(&head), own);
	require(memcmp(&client, &real, sizeof client) == 0);
	buf_free(&head);
	return 0;
}
