/* select.c -- is this campaign mail?  The streams' match_ rules, in file order. */

#include "common/ip.h"
#include "common/text.h"
#include "milter/select.h"

#define CAMPAIGN_NAME_MAX 200

/* ---- client networks ---- */

/* Postfix and Sendmail write IPv6 clients as in a Received: header. */
static unsigned
read_address(struct span text, unsigned char out[16])
{
	if (span_istarts(text, SPAN("IPv6:")))
		text = span_from(text, 5);
	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = span_cut(text, 1, text.n - 1);
	return ip_read(text, out);
}

/* rule: an address, or an address and a prefix length.  Anything else matches nobody. */
static bool
in_network(struct span client, struct span rule)
{
	size_t slash = span_find(rule, '/');
	struct span text = span_cut(rule, 0, slash);
	unsigned char a[16], network[16];
	unsigned most = read_address(text, network);
	uint64_t bits = most;

	if (most == 0 || read_address(client, a) == 0)
		return false;
	if (slash < rule.n && (!text_u64(span_from(rule, slash + 1), &bits) || bits > most))
		return false;
	bits += 128 - most;
	/* An IPv4 client is written either way, and is in no network of IPv6. */
	if (ip_is_v4(a) != ip_is_v4(network) || (ip_is_v4(a) && bits < 96))
		return false;
	return ip_same(a, network, (unsigned)bits);
}

/* ---- the other rules ---- */

/* Without <>; "" for the null sender. */
static struct span
sender_domain(struct span sender)
{
	size_t at;

	sender = span_trim(sender);
	if (sender.n >= 2 && sender.p[0] == '<' && sender.p[sender.n - 1] == '>')
		sender = span_cut(sender, 1, sender.n - 1);
	for (at = sender.n; at > 0 && sender.p[at - 1] != '@'; at--)
		;
	if (at == 0)
		return SPAN("");
	sender = span_from(sender, at);
	return span_ends(sender, SPAN(".")) ? span_cut(sender, 0, sender.n - 1) : sender;
}

/* "example.org" is that domain; ".example.org" that one and all below it. */
static bool
domain_matches(struct span domain, struct span rule)
{
	if (domain.n == 0)
		return false;
	if (!span_starts(rule, SPAN(".")))
		return span_ieq(domain, rule);
	return span_iends(domain, rule) || span_ieq(domain, span_from(rule, 1));
}

/* A field's value on one line: RFC 5322 unfolding takes the line breaks out and leaves the spaces. */
static void
unfold(struct buf *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] != '\r' && value.p[i] != '\n')
			buf_addc(out, value.p[i]);
}

/* "Name": there is such a field.  "Name: text": one of them contains the text. */
static bool
header_matches(const struct message *m, struct span rule)
{
	size_t colon = span_find(rule, ':');
	struct span name = span_trim(span_cut(rule, 0, colon)), text = span_trim(span_from(rule, colon + 1));
	bool hit = false;

	for (size_t i = 0; i < m->nheaders && !hit; i++) {
		const struct header *h = &m->header[i];
		struct buf line;

		if (!span_ieq(h->name, name))
			continue;
		if (text.n == 0)
			return true;
		buf_init(&line, h->value.n);
		unfold(&line, h->value);
		hit = span_isearch(buf_span(&line), text) < line.n;
		buf_free(&line);
	}
	return hit;
}

static bool
in_networks(struct span client, const struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (in_network(client, span_of(l->item[i])))
			return true;
	return false;
}

/* By what the server knows for itself, and no client can make up. */
static bool
server_matches(const struct stream *s, const struct envelope *e)
{
	return conf_list_has(&s->match_login, e->login) || conf_list_has(&s->match_daemon, e->daemon) ||
	    in_networks(e->client, &s->match_network);
}

/*
 * May this client send campaigns at all?  A stranger can write any sender
 * address and any header; were they believed, mail that comes in could be
 * tagged, and whoever reads a mailbox here could have any link sealed.
 */
static bool
is_trusted(const struct conf *c, const struct envelope *e)
{
	if (e->login.n > 0 || in_networks(e->client, &c->trusted_networks))
		return true;
	for (size_t i = 0; i < c->nstreams; i++)
		if (server_matches(&c->stream[i], e))
			return true;
	return false;
}

static bool
envelope_matches(const struct stream *s, const struct envelope *e)
{
	struct span domain = sender_domain(e->sender);

	if (server_matches(s, e))
		return true;
	for (size_t i = 0; i < s->match_sender_domain.n; i++)
		if (domain_matches(domain, span_of(s->match_sender_domain.item[i])))
			return true;
	return false;
}

static bool
headers_match(const struct stream *s, const struct message *m)
{
	if (s->match_list_unsubscribe && message_header(m, SPAN("List-Unsubscribe")) != NULL)
		return true;
	for (size_t i = 0; i < s->match_header.n; i++)
		if (header_matches(m, span_of(s->match_header.item[i])))
			return true;
	return false;
}

/* File order; the general section's own rules are asked last. */
static const struct stream *
stream_at(const struct conf *c, size_t i)
{
	return &c->stream[(i + 1) % c->nstreams];
}

static bool
has_rules(const struct stream *s)
{
	return s->match_header.n + s->match_login.n + s->match_network.n + s->match_sender_domain.n + s->match_daemon.n > 0 ||
	    s->match_list_unsubscribe;
}

/* Is there a stream that only the stream header leads to? */
static bool
header_may_name(const struct conf *c)
{
	for (size_t i = 1; i < c->nstreams; i++)
		if (!has_rules(&c->stream[i]))
			return true;
	return false;
}

/*
 * The answer at RCPT must be the one that the headers will confirm, or a
 * receipt would be refused for a newsletter's sake: a stream behind one that
 * asks for headers cannot be known yet, and none can where the stream header
 * may still name another.
 */
const struct stream *
select_envelope(const struct conf *c, const struct envelope *e)
{
	if (header_may_name(c) || !is_trusted(c, e))
		return NULL;
	for (size_t i = 0; i < c->nstreams; i++) {
		const struct stream *s = stream_at(c, i);

		if (envelope_matches(s, e))
			return s;
		if (s->match_header.n > 0 || s->match_list_unsubscribe)
			return NULL;
	}
	return NULL;
}

/* ---- the campaign's name ---- */

/* Cuts what was added after `from` to at most CAMPAIGN_NAME_MAX bytes, between characters. */
static void
cut_name(struct buf *name, size_t from)
{
	size_t n = from + CAMPAIGN_NAME_MAX;

	if (name->n <= n)
		return;
	/* Back over the continuation bytes of a character that the cut would split; not far in bytes that are none. */
	for (size_t back = 0; back < 3 && ((unsigned char)name->p[n] & 0xc0) == 0x80; back++)
		n--;
	if (((unsigned char)name->p[n] & 0xc0) == 0x80)
		n = from + CAMPAIGN_NAME_MAX;
	name->n = n;
	while (name->n > from && name->p[name->n - 1] == ' ')
		name->n--;
}

static bool
name_from_header(struct buf *name, struct span value)
{
	size_t from = name->n;

	value = span_trim(value);
	for (size_t i = 0; i < value.n && name->n < from + CAMPAIGN_NAME_MAX + 4; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c == '\t')
			c = ' ';
		if (c >= ' ' && c != 0x7f)
			buf_addc(name, (char)c);
	}
	cut_name(name, from);
	return name->n > from;
}

void
select_campaign(const struct stream *s, int64_t now_ms, struct buf *name)
{
	struct span rest = span_of(s->campaign != NULL && s->campaign[0] != '\0' ? s->campaign : s->name);
	size_t from = name->n, at;

	while ((at = span_search(rest, SPAN("{date}"))) < rest.n) {
		buf_add(name, span_cut(rest, 0, at));
		text_add_day(name, now_ms);
		rest = span_from(rest, at + 6);
	}
	buf_add(name, rest);
	cut_name(name, from);
}

/* ---- all together ---- */

const struct stream *
select_message(const struct conf *c, const struct envelope *e, const struct message *m, int64_t now_ms,
    struct buf *campaign)
{
	const struct header *named = message_header(m, span_of(c->campaign_header));
	const struct header *wanted = message_header(m, span_of(c->stream_header));
	const struct stream *s;

	if (!is_trusted(c, e))
		return NULL;
	s = wanted != NULL ? conf_stream(c, span_trim(wanted->value)) : NULL;
	for (size_t i = 0; s == NULL && i < c->nstreams; i++)
		if (envelope_matches(stream_at(c, i), e) || headers_match(stream_at(c, i), m))
			s = stream_at(c, i);
	if (s == NULL && named != NULL)
		s = &c->stream[0];
	if (s == NULL)
		return NULL;
	if (named == NULL || !name_from_header(campaign, named->value))
		select_campaign(s, now_ms, campaign);
	return s;
}

/* ---- consent for this message ---- */

bool
select_consent(const struct conf *c, const struct message *m, enum consent out[2])
{
	bool good = true;

	out[AXIS_OPENS] = out[AXIS_LINKS] = CONSENT_GRANTED;
	for (size_t i = 0; i < m->nheaders; i++) {
		enum consent said[2] = { CONSENT_DENIED, CONSENT_DENIED };

		if (!span_ieq(m->header[i].name, span_of(c->consent_header)))
			continue;
		if (!consent_parse_axes(m->header[i].value, said))
			good = false;
		out[AXIS_OPENS] = consent_min(out[AXIS_OPENS], said[AXIS_OPENS]);
		out[AXIS_LINKS] = consent_min(out[AXIS_LINKS], said[AXIS_LINKS]);
	}
	return good;
}

void
select_lower(const struct conf *c, const struct stream *s, const enum consent said[2], enum mode *opens, enum mode *links)
{
	*opens = mode_min(*opens, conf_mode(c, s, AXIS_OPENS, said[AXIS_OPENS]));
	*links = mode_min(*links, conf_mode(c, s, AXIS_LINKS, said[AXIS_LINKS]));
}
