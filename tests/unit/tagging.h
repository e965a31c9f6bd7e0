/* tagging.h -- what tests of tagging need: keys, a stream, and tagged text made readable. */
#ifndef REKINDLE_TAGGING_H
#define REKINDLE_TAGGING_H

#include "common/text.h"
#include "milter/charref.h"
#include "milter/message.h"

#define TRACKING "https://t.example.org/r"

static const struct keys tagging_keys = {
	.n = 1,
	.identity = { 1, 2, 3 },
	.token[0] = { .id = 'K', .made = "2026-11-22", .bytes = { 4, 5, 6, 7, 8, 9, 10, 11 } },
};

static char tagging_domain[] = ".untracked.example";
static char *tagging_domains[] = { tagging_domain };

struct rig {
	struct stream stream;
	struct conf conf;
	struct tagging tagging;
	struct sealer *sealer;
};

static inline void
rig_init(struct rig *r)
{
	static char stream[] = "weekly", campaign[] = "X-Campaign", stream_header[] = "X-Stream",
		    consent[] = "X-Consent", track[] = "X-Track", url[] = TRACKING;

	*r = (struct rig){ .sealer = sealer_new(&tagging_keys) };
	r->stream = (struct stream){
		.name = stream, .opens = MODE_FULL, .links = MODE_FULL, .list_unsubscribe = UNSUBSCRIBE_OFF,
		.untracked_domains = { tagging_domains, 1, NULL },
	};
	r->conf = (struct conf){ .tracking_url = url, .campaign_header = campaign, .stream_header = stream_header,
		.consent_header = consent, .track_header = track };
	r->tagging = (struct tagging){
		.sealer = r->sealer, .conf = &r->conf, .stream = &r->stream, .campaign = 0x1122334455667788,
		.campaign_name = SPAN("Spring Sale"), .now = 1764000000000,
		.who = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } },
		.opens = MODE_IDENTIFIED, .links = MODE_IDENTIFIED, .when = 1764000000,
	};
}

static inline void
rig_free(struct rig *r)
{
	sealer_free(r->sealer);
}

/* Is there a URL of ours at the start of s?  Its token is opened and *n is its length; then the claim is good. */
static inline bool
rig_url(const struct rig *r, struct span s, size_t *n, struct claim *c, struct buf *text)
{
	static const struct span ours = SPAN(TRACKING "/");
	size_t i = ours.n + 2;

	if (!span_starts(s, ours) || s.n < i || s.p[i - 1] != '/')
		return false;
	while (i < s.n && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", s.p[i]) != NULL && s.p[i])
		i++;
	*n = i;
	return token_open(r->sealer, (enum token_kind)s.p[ours.n], span_cut(s, ours.n + 2, i), c, text);
}

/* Tracked links become [destination], the pixel [PIXEL], so that a test can say what it wants to see. */
static inline void
rig_readable(const struct rig *r, struct span s, struct buf *out)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c;
	size_t n;

	for (size_t i = 0; i < s.n;) {
		static const struct span img = SPAN("<img src=\"");

		if (span_starts(span_from(s, i), img) && rig_url(r, span_from(s, i + img.n), &n, &c, &text)) {
			buf_adds(out, "[PIXEL]");
			i += span_find(span_from(s, i), '>') + 1;
		} else if (rig_url(r, span_from(s, i), &n, &c, &text)) {
			buf_addc(out, '[');
			buf_add(out, c.text);
			buf_addc(out, ']');
			i += n;
		} else {
			buf_addc(out, s.p[i++]);
		}
	}
	buf_free(&text);
}

#endif
