/* proxy.c -- who is behind a proxy. */
#include <stdlib.h>

#include "common/ip.h"
#include "common/mem.h"
#include "common/text.h"
#include "tracker/proxy.h"

/* ---- addresses ---- */

static bool
is_local(const uint8_t b[16])
{
	return memcmp(b, PEER_LOCAL.b, 16) == 0;
}

/* ---- the PROXY protocol ---- */

/* 0 to 65535, as a proxy writes it. */
static bool
is_port(struct span s)
{
	uint64_t n;

	return s.n > 0 && s.n <= 5 && (s.n == 1 || s.p[0] != '0') && text_u64(s, &n) && n <= UINT16_MAX;
}

/* The line behind "PROXY ", without CRLF. */
static bool
read_v1(struct span line, struct peer *peer)
{
	struct span word[5], rest = line;
	struct peer from, to;
	unsigned bits;
	size_t n = 0;

	if (span_eq(line, SPAN("UNKNOWN")) || span_starts(line, SPAN("UNKNOWN ")))
		return true;
	while (n < 5 && span_split(&rest, ' ', &word[n]))
		n++;
	if (n < 5 || rest.n > 0 || line.p[line.n - 1] == ' ')
		return false;
	bits = span_eq(word[0], SPAN("TCP4")) ? 32 : 128;
	if (bits == 128 && !span_eq(word[0], SPAN("TCP6")))
		return false;
	if (ip_read(word[1], from.b) != bits || ip_read(word[2], to.b) != bits)
		return false;
	if (!is_port(word[3]) || !is_port(word[4]))
		return false;
	if (!is_local(from.b))
		*peer = from;
	return true;
}

/* The addresses of version 2, and what is behind them. */
static bool
read_v2(unsigned char command, unsigned char family, struct span rest, struct peer *peer)
{
	static const size_t least[] = { 0, 12, 36, 216 }; /* of unspecified, IPv4, IPv6, Unix */

	if (command == 0x20) /* LOCAL: the proxy itself asks, and the rest means nothing */
		return true;
	if (command != 0x21 || (family >> 4) > 3 || (family & 15) > 2 || (family >> 4 == 0) != ((family & 15) == 0) ||
	    rest.n < least[family >> 4])
		return false;
	if (family >> 4 == 1) {
		ip_from_v4(peer->b, rest.p);
	} else if (family >> 4 == 2 && !is_local((const uint8_t *)rest.p))
		memcpy(peer->b, rest.p, 16);
	return true;
}

int
proxy_read(struct span in, struct peer *peer)
{
	static const struct span v1 = SPAN("PROXY "), v2 = SPAN("\r\n\r\n\0\r\nQUIT\n");

	if (in.n == 0)
		return 0;

	struct span sign = in.p[0] == v1.p[0] ? v1 : v2;

	if (!span_starts(in, span_cut(sign, 0, in.n)))
		return -1;
	if (in.n <= sign.n)
		return 0;
	if (sign.p == v1.p) {
		size_t end = span_find(span_cut(in, 0, PROXY_V1_MAX), '\n');

		if (end == PROXY_V1_MAX || (end < in.n && in.p[end - 1] != '\r'))
			return -1;
		if (end == in.n)
			return 0;
		return read_v1(span_cut(in, v1.n, end - 1), peer) ? (int)end + 1 : -1;
	}
	if (in.n < 16)
		return 0;

	const unsigned char *p = (const unsigned char *)in.p;
	size_t length = 16 + ((size_t)p[14] << 8 | p[15]);

	if (length > PROXY_HEADER_MAX)
		return -1;
	if (in.n < length)
		return 0;
	return read_v2(p[12], p[13], span_cut(in, 16, length), peer) ? (int)length : -1;
}

/* ---- networks ---- */

static struct networks
read_networks(const struct list *l)
{
	struct networks all = { .item = xcalloc(l->n + 1, sizeof *all.item) };

	for (size_t i = 0; i < l->n; i++) {
		struct span s = span_of(l->item[i]), text = span_cut(s, 0, span_find(s, '/'));
		struct network *net = &all.item[all.n];
		unsigned most;
		uint64_t bits;

		/* The settings were checked: this is a network or the word. */
		if (span_eq(s, SPAN("unix"))) {
			all.local = true;
			continue;
		}
		if ((most = ip_read(text, net->b)) == 0)
			continue;
		if (!text_u64(span_from(s, text.n + 1), &bits))
			bits = most;
		net->bits = (uint8_t)(bits + 128 - most);
		all.n++;
	}
	return all;
}

bool
networks_have(const struct networks *all, const struct peer *peer)
{
	if (is_local(peer->b))
		return all->local;
	for (size_t i = 0; i < all->n; i++)
		if (ip_same(all->item[i].b, peer->b, all->item[i].bits))
			return true;
	return false;
}

void
proxies_init(struct proxies *p, const struct conf *conf)
{
	*p = (struct proxies){
		.header_from = read_networks(&conf->proxy_protocol_from),
		.forwarded_from = read_networks(&conf->forwarded_from),
		.rfc = conf->forwarded_rfc,
	};
}

void
proxies_free(struct proxies *p)
{
	free(p->header_from.item);
	free(p->forwarded_from.item);
}

/* ---- X-Forwarded-For and Forwarded ---- */

static bool
is_port_or_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = ascii_lower(s.p[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
			return false;
	}
	return s.n > 0;
}

/* 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80 */
static bool
read_node(struct span s, struct peer *peer)
{
	size_t colon = span_find(s, ':');
	struct span host = span_cut(s, 0, colon), behind = span_from(s, colon);

	if (span_starts(s, SPAN("["))) {
		size_t close = span_find(s, ']');

		if (close == s.n)
			return false;
		host = span_cut(s, 1, close);
		behind = span_from(s, close + 1);
		if (behind.n > 0 && (behind.p[0] != ':' || !is_port_or_name(span_from(behind, 1))))
			return false;
		return ip_read(host, peer->b) == 128;
	}
	if (ip_read(host, peer->b) == 32)
		return behind.n == 0 || is_port_or_name(span_from(behind, 1));
	return ip_read(s, peer->b) == 128;
}

/*
 * Takes the last element from *rest.  From the right, because what is on the
 * left may be anybody's: an open quote there must not swallow what our own
 * proxy wrote.  False when nothing is left, or a quote has no beginning.
 */
static bool
last_element(struct span *rest, struct span *element)
{
	size_t at = rest->n;

	if (rest->n == 0)
		return false;
	while (at > 0 && rest->p[at - 1] != ',') {
		at--;
		if (rest->p[at] != '"')
			continue;
		do {
			if (at == 0)
				return false;
			at--;
		} while (rest->p[at] != '"');
	}
	*element = span_trim(span_from(*rest, at));
	*rest = span_cut(*rest, 0, at > 0 ? at - 1 : 0);
	return true;
}

/* The node of `for=...;by=...`; quotes are taken off.  Empty when there is none, or two. */
static struct span
node_for(struct span element)
{
	struct span found = { NULL, 0 }, pair;

	/* No address has a ; in it, so one inside of quotes makes nothing right. */
	while (span_split(&element, ';', &pair)) {
		pair = span_trim(pair);
		if (!span_istarts(pair, SPAN("for=")))
			continue;
		if (found.n > 0)
			return (struct span){ NULL, 0 };
		found = span_from(pair, 4);
		if (found.n >= 2 && found.p[0] == '"' && found.p[found.n - 1] == '"')
			found = span_cut(found, 1, found.n - 1);
	}
	return found;
}

/* Takes the last line of the head, without the one that ends it; false at the request line. */
static bool
last_line(struct span *head, struct span *line)
{
	size_t at = head->n;

	while (at > 0 && head->p[at - 1] != '\n')
		at--;
	if (at == 0)
		return false;
	*line = span_from(*head, at);
	*head = span_cut(*head, 0, at - 1);
	if (span_ends(*head, SPAN("\r")))
		head->n--;
	return true;
}

struct peer
proxy_client(const struct proxies *p, struct span head, struct peer from)
{
	struct span name = p->rfc ? SPAN("Forwarded:") : SPAN("X-Forwarded-For:"), line, element;
	struct peer next;

	if (!networks_have(&p->forwarded_from, &from))
		return from;
	while (last_line(&head, &line)) {
		if (!span_istarts(line, name))
			continue;
		line = span_trim(span_from(line, name.n));
		while (line.n > 0) {
			if (!last_element(&line, &element))
				return from;
			if (element.n == 0)
				continue; /* an empty element of a list is none (RFC 9110 section 5.6.1) */
			if (!read_node(p->rfc ? node_for(element) : element, &next) || is_local(next.b))
				return from;
			from = next;
			if (!networks_have(&p->forwarded_from, &from))
				return from;
		}
	}
	return from;
}
