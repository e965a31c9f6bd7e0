/* rekindle token -- what a tracking URL says. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/text.h"
#include "common/token.h"

#define NAME_CAP 4096
#define URL_MAX 8192

struct answer {
	struct cli *c;
	struct claim claim;
	struct buf stream, campaign, address; /* "" when unknown */
};

static const char *
kind_name(enum token_kind kind)
{
	switch (kind) {
	case TOKEN_OPEN:
		return "open";
	case TOKEN_CLICK:
		return "click";
	case TOKEN_LEAVE:
		return "unsubscribe";
	case TOKEN_PREFERENCES:
		return "preferences";
	case TOKEN_MARK:
		return "mark";
	case TOKEN_FEEDBACK:
		return "feedback";
	case TOKEN_SPLIT:
		return "split marker";
	}
	return "unknown";
}

/* The others may name a recipient in any mode, and nobody is tracked by them. */
static bool
tracks(enum token_kind kind)
{
	return kind == TOKEN_OPEN || kind == TOKEN_CLICK;
}

/*
 * The token in a tracking URL, wherever the tracker is reached, in a path as
 * a web server's log has it, or in the subject of a mail that unsubscribes;
 * any other text is taken for the token itself.
 */
static struct span
token_in(struct span text)
{
	text = span_trim(text);
	for (size_t i = text.n; i > 0; i--)
		if (text.p[i - 1] == ' ')
			return span_from(text, i);
	if (span_find(text, '/') == text.n)
		return text;
	text = span_cut(text, 0, span_find(text, '#'));
	text = span_cut(text, 0, span_find(text, '?'));
	for (size_t i = text.n; i > 0; i--)
		if (text.p[i - 1] == '/') {
			text = span_from(text, i);
			break;
		}
	if (span_ends(text, SPAN(".gif")))
		text = span_cut(text, 0, text.n - 4);
	return text;
}

static void
look_up(struct answer *a)
{
	const struct claim *k = &a->claim;
	struct cli *c = a->c;

	if (c->store && k->campaign
	    && store_campaign_names(c->store, k->campaign, &a->stream, &a->campaign) != STORE_OK) {
		buf_clear(&a->stream);
		buf_clear(&a->campaign);
	}
	if (k->kind == TOKEN_LEAVE || k->kind == TOKEN_PREFERENCES || k->kind == TOKEN_MARK || k->kind == TOKEN_FEEDBACK) {
		buf_clear(&a->stream);
		buf_add(&a->stream, k->text);
	}
	if (k->kind == TOKEN_SPLIT) {
		size_t space = span_find(k->text, ' ');

		buf_clear(&a->stream);
		buf_clear(&a->campaign);
		buf_add(&a->stream, span_cut(k->text, 0, space));
		buf_add(&a->campaign, span_from(k->text, space + 1));
	}
	if (c->store && !who_is_nobody(&k->who) && store_name(c->store, &k->who, &a->address) != STORE_OK)
		buf_clear(&a->address);
}

static void
field_text(const char *label, struct span s)
{
	struct buf safe = BUF(4 * URL_MAX);

	print_safe(&safe, s);
	print_field(label, &safe);
	buf_free(&safe);
}

static void
print_answer(const struct answer *a)
{
	const struct claim *k = &a->claim;
	struct buf text = BUF(NAME_CAP);

	print_fieldf("Kind", "%s", kind_name(k->kind));
	if (a->campaign.n > 0)
		field_text("Campaign", buf_span(&a->campaign));
	print_fieldf("Campaign id", "%016" PRIx64, k->campaign);
	if (a->stream.n > 0)
		field_text("Stream", buf_span(&a->stream));
	if (who_is_nobody(&k->who)) {
		print_fieldf("Recipient", "nobody in particular");
	} else {
		if (a->address.n > 0)
			field_text("Recipient", buf_span(&a->address));
		text_add_hex(&text, k->who.b, sizeof k->who.b);
		print_field("Recipient's hash", &text);
	}
	if (k->when) {
		buf_clear(&text);
		print_when(&text, (int64_t)k->when * 1000, a->c->now);
		print_field("Made", &text);
	}
	print_fieldf("Privacy mode", "%s", tracks(k->kind) ? mode_name(k->mode) : "none: it tracks nothing");
	if (k->kind == TOKEN_CLICK) {
		print_fieldf("Link", "%u", k->link);
		field_text("Destination", k->text);
	}
	buf_free(&text);
}

static void
emit_answer(const struct answer *a)
{
	const struct claim *k = &a->claim;
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_string(&e, "kind", kind_name(k->kind));
	emit_id(&e, "campaign_id", k->campaign);
	if (a->campaign.n > 0)
		emit_text(&e, "campaign", buf_span(&a->campaign));
	if (a->stream.n > 0)
		emit_text(&e, "stream", buf_span(&a->stream));
	if (!who_is_nobody(&k->who))
		emit_hex(&e, "who", k->who.b, sizeof k->who.b);
	if (a->address.n > 0)
		emit_text(&e, "address", buf_span(&a->address));
	emit_time(&e, "made", (int64_t)k->when * 1000);
	if (tracks(k->kind))
		emit_string(&e, "mode", mode_name(k->mode));
	if (k->kind == TOKEN_CLICK) {
		emit_number(&e, "link", k->link);
		emit_text(&e, "destination", k->text);
	}
	emit_close(&e, '}');
	emit_end(&e);
}

int
cmd_token(struct cli *c)
{
	struct answer a = { .c = c, .stream = BUF(NAME_CAP), .campaign = BUF(NAME_CAP), .address = BUF(ADDR_MAX) };
	struct lines in = { .file = stdin };
	struct buf text = BUF(TOKEN_MAX);
	struct span token;
	bool cut;
	int status;

	if (!cli_options(c, NULL, 0, &status))
		return status;
	if (c->nwords != 1)
		return cli_usage(c, "token: one token or URL");
	if (!cli_store_if_any(c))
		return EXIT_CANNOT;
	if (strcmp(c->word[0], "-") != 0)
		token = span_of(c->word[0]);
	else if (!lines_next(&in, &token, &cut))
		token = SPAN("");
	if (token_open_any(c->setup->sealer, token_in(span_trim(token)), &a.claim, &text)) {
		look_up(&a);
		if (c->json)
			emit_answer(&a);
		else
			print_answer(&a);
		status = EXIT_FOUND;
	} else {
		cli_error("not a token of ours: cut, changed, or sealed with a key that is not in %s",
		    c->setup->conf->key_file);
		status = EXIT_NOTHING;
	}
	buf_free(&in.line);
	buf_free(&text);
	buf_free(&a.stream);
	buf_free(&a.campaign);
	buf_free(&a.address);
	return status;
}
