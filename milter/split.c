/* split.c -- the marker that a message bears between two listeners. */
#include "milter/fields.h"
#include "milter/split.h"

static const char marker[] = "X-Rekindle-Split";

enum pass
split_pass(const struct conf *c, struct span daemon)
{
	if (conf_list_has(&c->split_front, daemon))
		return PASS_FRONT;
	return conf_list_has(&c->split_back, daemon) ? PASS_BACK : PASS_ONLY;
}

bool
split_marked(const struct message *m)
{
	return message_header(m, span_of(marker)) != NULL;
}

/* The sealed text is the stream's name, which has no space, a space, and the campaign's name. */
static const struct stream *
read_marker(const struct conf *c, const struct sealer *sealer, struct span value, struct buf *campaign)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	const struct stream *s = NULL;
	struct claim claim;

	if (token_open(sealer, TOKEN_SPLIT, span_trim(value), &claim, &text)) {
		size_t space = span_find(claim.text, ' ');

		s = conf_stream(c, span_cut(claim.text, 0, space));
		if (s != NULL)
			buf_add(campaign, span_from(claim.text, space + 1));
	}
	buf_free(&text);
	return s;
}

const struct stream *
split_select(const struct conf *c, const struct sealer *sealer, const struct message *m, struct buf *campaign)
{
	const struct stream *s = NULL;

	/* The front's own comes last. */
	for (size_t i = m->nheaders; i-- > 0 && s == NULL;)
		if (span_ieq(m->header[i].name, span_of(marker)))
			s = read_marker(c, sealer, m->header[i].value, campaign);
	return s;
}

void
split_strip(const struct message *m, struct plan *p)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->nheaders; i++)
		n += span_ieq(m->header[i].name, span_of(marker));
	for (; n > 0; n--)
		fields_edit(p, HEADER_DELETE, n, span_of(marker), SPAN(""));
}

bool
split_mark(const struct message *m, const struct sealer *sealer, const struct stream *stream, struct span campaign,
    uint64_t id, uint32_t when, struct plan *p)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX), token = BUF(TOKEN_MAX);
	struct claim claim = { .kind = TOKEN_SPLIT, .mode = MODE_ANONYMOUS, .campaign = id, .when = when };
	bool good;

	split_strip(m, p);
	buf_addf(&text, "%s ", stream->name);
	buf_add(&text, campaign);
	claim.text = buf_span(&text);
	good = !text.over && token_seal(sealer, &claim, &token);
	if (good)
		fields_edit(p, HEADER_ADD, 0, span_of(marker), buf_span(&token));
	buf_free(&text);
	buf_free(&token);
	return good;
}
