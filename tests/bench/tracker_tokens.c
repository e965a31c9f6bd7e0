/*
 * tracker_tokens.c -- tokens as the milter makes them, one for each line.
 *
 *	tracker_tokens KEYFILE STREAM CAMPAIGN COUNT PEOPLE [LINKS]
 *
 * Message n is for (n modulo PEOPLE)reader@example.com, and all were sent at
 * different seconds of last week, so that no two tokens are the same.  With
 * LINKS the tokens are those of clicks, on so many links in turn.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/addr.h"
#include "common/setup.h"
#include "common/token.h"

#define WEEK (7 * 86400u)

int
main(int argc, char **argv)
{
	struct buf text = BUF(KEY_FILE_MAX), why = BUF(4096), token = BUF(TOKEN_MAX);
	struct claim c = { .kind = TOKEN_OPEN, .mode = MODE_IDENTIFIED, .text = SPAN("") };
	unsigned long count, people, links;
	struct sealer *sealer;
	uint32_t now = (uint32_t)time(NULL);
	static struct keys keys;
	char address[64], link[128];

	if (argc < 6)
		errx(2, "tracker_tokens KEYFILE STREAM CAMPAIGN COUNT PEOPLE [LINKS]");
	count = strtoul(argv[4], NULL, 10);
	people = strtoul(argv[5], NULL, 10);
	links = argc > 6 ? strtoul(argv[6], NULL, 10) : 0;
	if (!file_read(argv[1], KEY_FILE_MAX, &text, &why) || !keys_parse(&keys, buf_span(&text), &why))
		errx(1, "%s", buf_cstr(&why));
	if ((sealer = sealer_new(&keys)) == NULL || people == 0)
		errx(1, "no sealer");
	c.campaign = campaign_id(&keys, span_of(argv[2]), span_of(argv[3]));
	for (unsigned long n = 0; n < count; n++) {
		snprintf(address, sizeof address, "%lureader@example.com", n % people);
		if (!addr_who(&keys, span_of(address), &c.who))
			errx(1, "%s", address);
		c.when = now - 3600 - (uint32_t)(n / people % WEEK);
		if (links > 0) {
			c.kind = TOKEN_CLICK;
			c.link = (uint16_t)(1 + n % links);
			snprintf(link, sizeof link, "https://shop.harbourbooks.example/b/history-of-fog-%u?utm_source=letter&"
			    "utm_medium=email&utm_campaign=winter", c.link);
			c.text = span_of(link);
		}
		buf_clear(&token);
		if (!token_seal(sealer, &c, &token))
			errx(1, "token %lu", n);
		puts(buf_cstr(&token));
	}
	return 0;
}
