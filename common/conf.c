#include "common/conf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/un.h>

#include "common/caps.h"
#include "common/ip.h"
#include "common/mem.h"
#include "common/page.h"
#include "common/receivers.h"
#include "common/text.h"

#define STREAM_NAME_MAX 63
#define PATH_LENGTH_MAX 1000
#define FIELD_NAME_MAX 76
#define TRACKING_URL_LENGTH_MAX 255
#define CAMPAIGN_LENGTH_MAX 190 /* {date} makes it 4 longer; a message's own name is cut to 200 */
#define FEEDBACK_ID_LENGTH_MAX 200
#define ROUTE_LENGTH_MAX 250
#define NAME_GUESS_MAX 40       /* no "did you mean" for longer names: the distance is quadratic */
#define SHOWN_MAX 60            /* of a value, in a message */

/* Enumerations are written through unsigned, whichever they are. */
#define IS_UNSIGNED(type) _Static_assert(sizeof(type) == sizeof(unsigned), #type)
IS_UNSIGNED(enum mode);
IS_UNSIGNED(enum action);
IS_UNSIGNED(enum preset);
IS_UNSIGNED(enum log_level);
IS_UNSIGNED(enum privacy_profile);
IS_UNSIGNED(enum unsubscribe_headers);

/* ---- checks: false says in why what is wrong, and what would be right ---- */

typedef bool check_fn(struct span *value, struct buf *why); /* may shorten the value */

/* As much of a value as a message should show; cut between characters. */
static struct span
shown(struct span s)
{
	size_t n = s.n;

	if (n > SHOWN_MAX) {
		n = SHOWN_MAX;
		while (n > 0 && (s.p[n] & 0xc0) == 0x80)
			n--;
	}
	return span_cut(s, 0, n);
}
#define SHOWN(s) SPAN_ARG(shown(s))

#define WRONG(why, ...) (buf_addf((why), __VA_ARGS__), false)

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_word(char c)
{
	return ascii_alnum(c) || c == '-' || c == '_';
}

static bool
is_white(char c)
{
	return c == ' ' || c == '\t';
}

/* A host name in ASCII, or a dotted quad. */
static bool
is_host(struct span s)
{
	unsigned char bytes[16];
	bool number = true;
	size_t label = 0;

	if (s.n == 0 || s.n > 253)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!is_word(s.p[i]) || ++label > 63)
			return false;
		number = number && is_digit(s.p[i]);
	}
	if (label == 0)
		return false;
	/* 300.1.1.1 and 127.1 are nobody's name. */
	return !number || ip_read(s, bytes) == 32;
}

static bool
is_ipv6(struct span s)
{
	unsigned char bytes[16];

	return ip_read(s, bytes) == 128;
}

static bool
read_port(struct span s, uint16_t *port)
{
	uint64_t n;

	if (s.n > 5 || !text_u64(s, &n) || n > UINT16_MAX)
		return false;
	*port = (uint16_t)n;
	return true;
}

bool
conf_host_port(struct span s, struct span *host, uint16_t *port)
{
	struct span h = SPAN(""), digits = s;

	if (span_starts(s, SPAN("["))) {
		size_t close = span_find(s, ']');

		h = span_cut(s, 1, close);
		digits = span_from(s, close + 1);
		if (!is_ipv6(h) || !span_starts(digits, SPAN(":")))
			return false;
		digits = span_from(digits, 1);
	} else if (span_find(s, ':') < s.n) {
		h = span_cut(s, 0, span_find(s, ':'));
		digits = span_from(s, h.n + 1);
		if (span_eq(h, SPAN("*")))
			h = SPAN("");
		else if (!is_host(h))
			return false;
	}
	if (!read_port(digits, port))
		return false;
	*host = h;
	return true;
}

/*
 * PORT@HOST is libmilter's order, HOST:PORT Postfix's; an @ tells them apart.
 * A relative path would be relative to the queue directory for Postfix and to
 * who knows what for us: false.
 */
bool
conf_milter_socket(struct span s, struct buf *libmilter)
{
	size_t colon = span_find(s, ':');
	struct span family = span_cut(s, 0, colon), rest = span_from(s, colon + 1), host;
	uint16_t port;
	uint64_t fd;

	if (span_starts(s, SPAN("/"))) {
		family = SPAN("unix");
		rest = s;
	}
	if (span_eq(family, SPAN("unix")) || span_eq(family, SPAN("local"))) {
		if (!span_starts(rest, SPAN("/")) || rest.n >= sizeof((struct sockaddr_un *)NULL)->sun_path)
			return false;
		buf_addf(libmilter, "unix:%.*s", SPAN_ARG(rest));
		return true;
	}
	if (span_eq(family, SPAN("fd"))) {
		if (!text_u64(rest, &fd) || fd > 65535)
			return false;
		buf_addf(libmilter, "fd:%u", (unsigned)fd);
		return true;
	}
	if (!span_eq(family, SPAN("inet")) && !span_eq(family, SPAN("inet6")))
		return false;
	if (span_find(rest, '@') < rest.n) {
		struct span at = span_from(rest, span_find(rest, '@') + 1);

		host = at;
		if (span_starts(at, SPAN("[")) && span_ends(at, SPAN("]")))
			host = span_cut(at, 1, at.n - 1);
		if (!read_port(span_cut(rest, 0, span_find(rest, '@')), &port) ||
		    !(is_ipv6(host) || (host.n == at.n && is_host(host))))
			return false;
	} else if (!conf_host_port(rest, &host, &port))
		return false;
	if (port == 0)
		return false;
	if (is_ipv6(host))
		buf_addf(libmilter, "inet6:%u@[%.*s]", port, SPAN_ARG(host));
	else if (host.n > 0)
		buf_addf(libmilter, "%.*s:%u@%.*s", SPAN_ARG(family), port, SPAN_ARG(host));
	else
		buf_addf(libmilter, "%.*s:%u", SPAN_ARG(family), port);
	return true;
}

static bool
check_path(struct span *s, struct buf *why)
{
	if (!span_starts(*s, SPAN("/")))
		return WRONG(why, "`%.*s' is not an absolute path; start it with /", SHOWN(*s));
	if (s->n > PATH_LENGTH_MAX)
		return WRONG(why, "a path of %zu bytes is too long; at most %d", s->n, PATH_LENGTH_MAX);
	return true;
}

/* A file, systemd's journal, or one in a directory. */
static bool
check_mail_log(struct span *s, struct buf *why)
{
	struct span path = *s;

	if (span_eq(*s, SPAN("journal")))
		return true;
	if (span_starts(*s, SPAN("journal:")))
		path = span_from(*s, 8);
	if (!span_starts(path, SPAN("/")))
		return WRONG(why, "`%.*s' is neither a path that starts with / nor journal nor journal:/DIRECTORY", SHOWN(*s));
	return check_path(&path, why);
}

/* It has a template, or has not: setup_pages looks. */
static bool
check_language(struct span *s, struct buf *why)
{
	for (size_t i = 0; i < s->n; i++)
		if (!is_word(s->p[i]) || s->p[i] == '_' || s->n > PAGE_TAG_MAX)
			return WRONG(why, "`%.*s' is not a language; write en, de or zh-Hant", SHOWN(*s));
	return true;
}

static bool
check_title(struct span *s, struct buf *why)
{
	if (s->n > PAGE_STREAM_SHOWN)
		return WRONG(why, "a title of %zu bytes is too long; at most %d", s->n, PAGE_STREAM_SHOWN);
	if (!text_is_utf8(*s))
		return WRONG(why, "the title is not UTF-8");
	return true;
}

/* Is this the part of a URL after the host, without query and fragment? */
static bool
is_url_path(struct span s)
{
	unsigned char byte;

	if (s.n > 0 && s.p[0] != '/')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%') {
			if (!text_hex(span_cut(s, i + 1, i + 3), &byte, 1))
				return false;
		} else if (s.p[i] == '\0' || (!is_word(s.p[i]) && !strchr("/.~!$&'()*+,;=:@", s.p[i])))
			return false;
	}
	return true;
}

/* The slash at the end goes: what is appended starts with one. */
static bool
check_tracking_url(struct span *s, struct buf *why)
{
	size_t scheme = span_starts(*s, SPAN("https://")) ? 8 : span_starts(*s, SPAN("http://")) ? 7 : 0;
	struct span rest = span_from(*s, scheme), authority = span_cut(rest, 0, span_find(rest, '/'));
	struct span host, v6 = { NULL, 0 };
	uint16_t port = 443;

	if (scheme == 0)
		return WRONG(why, "`%.*s' is not an http or https URL; write https://links.example.com", SHOWN(*s));
	if (span_find(*s, '?') < s->n || span_find(*s, '#') < s->n)
		return WRONG(why, "a query or fragment cannot stay; end the URL before the ? or #");
	if (span_find(authority, '@') < authority.n)
		return WRONG(why, "a user name or password in the URL would be shown to every recipient; leave it out");
	for (size_t i = 0; i < authority.n; i++)
		if (authority.p[i] & 0x80)
			return WRONG(why, "host `%.*s' is not ASCII; write it in its xn-- form", SHOWN(authority));
	if (span_starts(authority, SPAN("["))) {
		size_t close = span_find(authority, ']');

		v6 = span_cut(authority, 1, close < authority.n ? close : 0);
		host = span_cut(authority, 0, close + 1);
	} else
		host = span_cut(authority, 0, span_find(authority, ':'));
	if (v6.p ? !is_ipv6(v6) : !is_host(host))
		return WRONG(why, "`%.*s' is not a host name or address; write https://links.example.com", SHOWN(host));
	if (host.n < authority.n &&
	    (authority.p[host.n] != ':' || !read_port(span_from(authority, host.n + 1), &port) || port == 0))
		return WRONG(why, "`%.*s' has no good port; use 1 to 65535 or leave it out", SHOWN(authority));
	if (!is_url_path(span_from(rest, authority.n)))
		return WRONG(why, "the path `%.*s' has a character that must be percent-encoded",
		    SHOWN(span_from(rest, authority.n)));
	while (span_ends(*s, SPAN("/")))
		s->n--;
	if (s->n > TRACKING_URL_LENGTH_MAX)
		return WRONG(why, "a URL of %zu bytes leaves no room for links; at most %d",
		    s->n, TRACKING_URL_LENGTH_MAX);
	return true;
}

static bool
check_milter_socket(struct span *s, struct buf *why)
{
	struct buf libmilter = BUF(1024);
	bool good = conf_milter_socket(*s, &libmilter);

	buf_free(&libmilter);
	if (!good)
		return WRONG(why,
		    "`%.*s' is not a socket; write unix:/PATH (absolute, at most 107 bytes), inet:HOST:PORT"
		    " or inet:PORT@HOST",
		    SHOWN(*s));
	return true;
}

static bool
check_listen(struct span *s, struct buf *why)
{
	struct span host, path = span_from(*s, 5);
	uint16_t port;

	if (span_starts(*s, SPAN("unix:"))) {
		if (!span_starts(path, SPAN("/")) || path.n >= sizeof((struct sockaddr_un *)NULL)->sun_path)
			return WRONG(why, "`%.*s' is not a socket; write unix:/PATH (absolute, at most 107 bytes)", SHOWN(*s));
		return true;
	}
	if (!conf_host_port(*s, &host, &port))
		return WRONG(why,
		    "`%.*s' is not an address to listen on; write HOST:PORT, [IPV6]:PORT, *:PORT, PORT or unix:/PATH",
		    SHOWN(*s));
	return true;
}

bool
conf_octal(struct span s, unsigned *mode)
{
	unsigned n = 0;

	if (s.n < 3 || s.n > 4)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '7')
			return false;
		n = n * 8 + (unsigned)(s.p[i] - '0');
	}
	if (n > 0777)
		return false;
	*mode = n;
	return true;
}

static bool
check_octal(struct span *s, struct buf *why)
{
	unsigned mode;

	if (!conf_octal(*s, &mode))
		return WRONG(why, "`%.*s' is not the mode of a socket; write it in octal, such as 0660 or 0666", SHOWN(*s));
	return true;
}

static bool
check_field_name(struct span *s, struct buf *why)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->p[i] < 33 || s->p[i] > 126 || s->p[i] == ':')
			return WRONG(why,
			    "`%.*s' is not a header name; use letters, digits and -, without colon or space",
			    SHOWN(*s));
	if (s->n == 0 || s->n > FIELD_NAME_MAX)
		return WRONG(why, "a header name has 1 to %d characters", FIELD_NAME_MAX);
	return true;
}

/* A header that is ours alone, since it is removed: what readers, filters and we ourselves go by is not to be had. */
static bool
check_control_name(struct span *s, struct buf *why)
{
	static const char *const names[] = { "Auto-Submitted", "Bcc", "Cc", "Date", "DKIM-Signature", "Feedback-ID", "From",
		"In-Reply-To", "Message-ID", "MIME-Version", "Precedence", "Received", "References", "Reply-To", "Return-Path",
		"Sender", "Subject", "To", "X-Rekindle-Id", "X-Rekindle-Route", "X-Rekindle-Split" };
	static const char *const beginnings[] = { "ARC-", "CFBL-", "Content-", "List-", "Resent-" };
	bool taken = false;

	if (!check_field_name(s, why))
		return false;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		taken = taken || span_ieq(*s, span_of(names[i]));
	for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
		taken = taken || span_istarts(*s, span_of(beginnings[i]));
	if (taken)
		return WRONG(why, "`%.*s' would be removed from every message; name a header that nobody else needs, such as X-Campaign",
		    SHOWN(*s));
	return true;
}

static bool
check_match_header(struct span *s, struct buf *why)
{
	size_t colon = span_find(*s, ':');
	struct span name = span_cut(*s, 0, colon);

	if (!check_field_name(&name, why))
		return false;
	if (colon < s->n && span_trim(span_from(*s, colon + 1)).n == 0)
		return WRONG(why, "`%.*s' has nothing behind the colon; write %.*s alone to match any value", SHOWN(*s),
		    SHOWN(name));
	return true;
}

/* Postfix's rule: host bits must be zero, else somebody meant something else. */
static bool
check_network(struct span *s, struct buf *why)
{
	struct span text = span_cut(*s, 0, span_find(*s, '/'));
	unsigned char address[16], masked[16];
	unsigned bits = ip_read(text, address);
	const unsigned char *bytes = address + (128 - bits) / 8;
	uint64_t prefix = bits;
	char right[INET6_ADDRSTRLEN];

	if (bits == 0)
		return WRONG(why, "`%.*s' is not a network; write an address, or 192.0.2.0/24 or 2001:db8::/32",
		    SHOWN(*s));
	if (text.n < s->n && (s->n - text.n > 4 || !text_u64(span_from(*s, text.n + 1), &prefix) || prefix > bits))
		return WRONG(why, "`%.*s' has no good prefix length; use 0 to %u", SHOWN(*s), bits);
	for (unsigned i = 0; i < bits / 8; i++) {
		uint64_t keep = prefix > 8 * i ? prefix - 8 * i : 0;

		masked[i] = keep >= 8 ? bytes[i] : bytes[i] & (unsigned char)(0xff00 >> keep);
	}
	if (memcmp(bytes, masked, bits / 8) != 0)
		return WRONG(why, "`%.*s' has host bits set; write %s/%u", SHOWN(*s),
		    inet_ntop(bits == 32 ? AF_INET : AF_INET6, masked, right, sizeof right), (unsigned)prefix);
	return true;
}

static bool
check_proxy(struct span *s, struct buf *why)
{
	return span_eq(*s, SPAN("unix")) || check_network(s, why);
}

static bool
check_domain(struct span *s, struct buf *why)
{
	if (!is_host(*s))
		return WRONG(why, "`%.*s' is not a domain; write example.org (xn-- form if it is international)",
		    SHOWN(*s));
	return true;
}

static bool
check_sender_domain(struct span *s, struct buf *why)
{
	if (!is_host(span_starts(*s, SPAN(".")) ? span_from(*s, 1) : *s))
		return WRONG(why, "`%.*s' is not a domain; write example.org, or .example.org for all below it",
		    SHOWN(*s));
	return true;
}

static bool
check_campaign(struct span *s, struct buf *why)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->p[i] == '{' && !span_starts(span_from(*s, i), SPAN("{date}")))
			return WRONG(why, "`%.*s' is not known here; the only thing in braces is {date}",
			    SHOWN(span_from(*s, i)));
	if (s->n > CAMPAIGN_LENGTH_MAX)
		return WRONG(why, "a campaign name of %zu bytes is too long; at most %d", s->n, CAMPAIGN_LENGTH_MAX);
	return true;
}

/* All braces are {campaign}, {stream} or {date}. */
static bool
check_placeholders(struct span s, struct buf *why)
{
	static const struct span known[] = { SPAN("{campaign}"), SPAN("{stream}"), SPAN("{date}") };
	struct span rest;

	for (size_t i = 0, k; (i += span_find(span_from(s, i), '{')) < s.n; i++) {
		rest = span_from(s, i);
		for (k = 0; k < sizeof known / sizeof *known && !span_starts(rest, known[k]);)
			k++;
		if (k == sizeof known / sizeof *known)
			return WRONG(why, "`%.*s' is not known here; in braces there may be {campaign}, {stream} or {date}",
			    SHOWN(rest));
	}
	return true;
}

static bool
is_printable(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

/* A mailbox that goes into a header and a mailto: URL without quoting. */
static bool
check_address(struct span *s, struct buf *why)
{
	size_t at = span_find(*s, '@');
	struct span local = span_cut(*s, 0, at);
	bool good = local.n > 0 && local.n <= 64 && is_host(span_from(*s, at + 1));

	for (size_t i = 0; i < local.n; i++)
		good = good && (is_word(local.p[i]) || strchr(".+=~", local.p[i] ? local.p[i] : 'x') != NULL);
	if (!good)
		return WRONG(why, "`%.*s' is not an address that needs no quoting; write unsubscribe@example.org", SHOWN(*s));
	return true;
}

/* Google's form: up to three identifiers of one's own, then the sender's. */
static bool
check_feedback_id(struct span *s, struct buf *why)
{
	struct span rest = *s, part = SPAN("");
	size_t n = 0;

	if (!is_printable(*s) || s->n > FEEDBACK_ID_LENGTH_MAX)
		return WRONG(why, "`%.*s' is not a Feedback-ID; write {campaign}:{stream}:news:example, at most %d characters",
		    SHOWN(*s), FEEDBACK_ID_LENGTH_MAX);
	while (span_split(&rest, ':', &part))
		n++;
	if (n < 2 || n > 4 || part.n == 0 || span_find(part, '{') < part.n || span_ends(*s, SPAN(":")))
		return WRONG(why, "`%.*s' must be two to four parts with : between them, the last one always the same",
		    SHOWN(*s));
	return check_placeholders(*s, why);
}

static bool
check_pattern(struct span *s, struct buf *why)
{
	if (!is_printable(*s))
		return WRONG(why, "`%.*s' is not a pattern; write example.org/account/*, non-ASCII percent-encoded", SHOWN(*s));
	return true;
}

static bool
check_parameter(struct span *s, struct buf *why)
{
	size_t eq = span_find(*s, '=');

	if (eq == 0 || eq == s->n)
		return WRONG(why, "`%.*s' is not a URL parameter; write utm_source=newsletter", SHOWN(*s));
	for (size_t i = 0; i < eq; i++)
		if (!is_word(s->p[i]) && s->p[i] != '.')
			return WRONG(why, "`%.*s' has a name with other characters than letters, digits, - _ and .",
			    SHOWN(*s));
	for (size_t i = eq + 1; i < s->n; i++)
		if (s->p[i] != '\0' && strchr("&;\"=", s->p[i]) != NULL)
			return WRONG(why, "`%.*s' has a %c in its value; separate parameters with commas, and leave quotes out",
			    SHOWN(*s), s->p[i]);
	return check_placeholders(span_from(*s, eq), why);
}

/* A transport of master.cf, alone or with the next hop, as transport(5) has it. */
static bool
check_route(struct span *s, struct buf *why)
{
	size_t colon = span_find(*s, ':');

	for (size_t i = 0; i < s->n; i++)
		if (i < colon ? !is_word(s->p[i]) : s->p[i] <= ' ' || s->p[i] > '~')
			colon = 0;
	if (colon == 0 || s->n > ROUTE_LENGTH_MAX)
		return WRONG(why, "`%.*s' is not a transport; write reengage, or slow:[192.0.2.1]:25, at most %d characters", SHOWN(*s),
		    ROUTE_LENGTH_MAX);
	return true;
}

static bool
check_receiver_limit(struct span *s, struct buf *why)
{
	struct receiver_limit limit;
	struct span name;

	return receiver_limit_parse(*s, &name, &limit, why);
}

static bool
check_day(struct span *s, struct buf *why)
{
	int64_t ms;

	if (s->n != 10 || s->p[4] != '-' || !text_time(*s, &ms) || ms < 0)
		return WRONG(why, "`%.*s' is not a day; write 2026-01-31", SHOWN(*s));
	return true;
}

static bool
check_volume(struct span *s, struct buf *why)
{
	uint64_t n;

	if (!text_u64(*s, &n) || n < 1 || n > 1000000000)
		return WRONG(why, "`%.*s' is not a number of messages; use 1 to 1000000000", SHOWN(*s));
	return true;
}

/* ---- the table ---- */

enum section { GENERAL, STREAM, POLICY, SECTIONS, NOWHERE = SECTIONS };
#define IN(section) (1u << (section))

enum type {
	TEXT,     /* char * */
	LIST,     /* struct list; items end at commas or white space */
	COMMAS,   /* struct list; items end at commas */
	BOOL,     /* bool, by words */
	WORD,     /* an enum, by words */
	NUMBER,   /* unsigned */
	DURATION, /* int64_t, milliseconds */
	SIZE,     /* uint64_t, bytes */
	CAPS,     /* struct caps */
	PERCENT,  /* unsigned, in hundredths of a percent */
};

struct word {
	const char *word;
	unsigned value;
	const char *refused; /* why this one, although it exists, cannot be here */
};

static const struct word no_yes[] = { { "no", false, NULL }, { "yes", true, NULL }, { NULL, 0, NULL } };
static const struct word enforce_words[] = { { "observe", false, NULL }, { "on", true, NULL }, { NULL, 0, NULL } };
static const struct word log_words[] = { { "stderr", false, NULL }, { "syslog", true, NULL }, { NULL, 0, NULL } };
static const struct word log_level_words[] = {
	{ "error", LOG_LEVEL_ERROR, NULL }, { "warn", LOG_LEVEL_WARN, NULL }, { "info", LOG_LEVEL_INFO, NULL },
	{ "debug", LOG_LEVEL_DEBUG, NULL }, { NULL, 0, NULL }
};
static const struct word privacy_words[] = {
	{ "classic", PRIVACY_CLASSIC, NULL }, { "eu", PRIVACY_EU, NULL }, { "strict", PRIVACY_STRICT, NULL },
	{ NULL, 0, NULL }
};
static const struct word opens_words[] = {
	{ "off", MODE_OFF, NULL }, { "anonymous", MODE_ANONYMOUS, NULL }, { "dayonly", MODE_DAYONLY, NULL },
	{ "identified", MODE_IDENTIFIED, NULL }, { "full", MODE_FULL, NULL }, { NULL, 0, NULL }
};
static const struct word links_words[] = {
	{ "off", MODE_OFF, NULL }, { "anonymous", MODE_ANONYMOUS, NULL },
	{ "dayonly", MODE_DAYONLY, "keeps the day of the last open and has no meaning for links" },
	{ "identified", MODE_IDENTIFIED, NULL }, { "full", MODE_FULL, NULL }, { NULL, 0, NULL }
};
static const struct word unsubscribe_words[] = {
	{ "add", UNSUBSCRIBE_ADD, NULL }, { "replace", UNSUBSCRIBE_REPLACE, NULL }, { "off", UNSUBSCRIBE_OFF, NULL },
	{ NULL, 0, NULL }
};
static const struct word track_words[] = { { "all", false, NULL }, { "asked", true, NULL }, { NULL, 0, NULL } };
static const struct word signed_words[] = { { "leave", false, NULL }, { "tag", true, NULL }, { NULL, 0, NULL } };
static const struct word off_on[] = { { "off", false, NULL }, { "on", true, NULL }, { NULL, 0, NULL } };
static const struct word visible_words[] = { { "skip", false, NULL }, { "track", true, NULL }, { NULL, 0, NULL } };
static const struct word several_words[] = { { "anonymous", false, NULL }, { "leave", true, NULL }, { NULL, 0, NULL } };
static const struct word forwarded_words[] = {
	{ "x-forwarded-for", false, NULL }, { "forwarded", true, NULL }, { NULL, 0, NULL }
};
static const struct word failure_words[] = { { "none", false, NULL }, { "defer", true, NULL }, { NULL, 0, NULL } };
static const struct word preset_words[] = {
	{ "daily", PRESET_DAILY, NULL }, { "weekly", PRESET_WEEKLY, NULL }, { "monthly", PRESET_MONTHLY, NULL },
	{ "quarterly", PRESET_QUARTERLY, NULL }, { NULL, 0, NULL }
};
static const struct word action_words[] = {
	{ "send", ACTION_SEND, NULL }, { "reject", ACTION_REJECT, NULL }, { "defer", ACTION_DEFER, NULL },
	{ "hold", ACTION_HOLD, NULL }, { "discard", ACTION_DISCARD, NULL }, { "route", ACTION_ROUTE, NULL }, { NULL, 0, NULL }
};

struct setting {
	const char *name;
	unsigned in;            /* sections */
	enum type type;
	size_t at;              /* in struct stream when it may stand in a stream, else in struct conf */
	const char *value;      /* default; NULL: required, or the preset's; of a text "" if it may be empty */
	const char *help;       /* one line */
	const char *example;    /* of a required one */
	check_fn *check;        /* text and items of lists */
	const struct word *words;
	int64_t min, max;       /* numbers, durations and sizes; lists: number of items, max 0 = any */
};

#define OF_CONF(member) .at = offsetof(struct conf, member)
#define OF_STREAM(member) .at = offsetof(struct stream, member)
#define RANGE(from, to) .min = (from), .max = (to)
#define MINUTE_MS ((int64_t)60 * 1000)
#define MEGABYTE ((int64_t)1024 * 1024)

/*
 * Everything else in this file follows from this table, and conf_print and
 * the sample keep its order.  General settings, then those that a stream may
 * override, streams' own, policy.
 */
static const struct setting settings[] = {
	{ "tracking_url", IN(GENERAL), TEXT, OF_CONF(tracking_url), .example = "https://links.example.com",
	    .check = check_tracking_url,
	    .help = "The tracker as recipients reach it; pixels and tracked links start with this URL." },
	{ "privacy_profile", IN(GENERAL), WORD, OF_CONF(privacy_profile), .example = "eu", .words = privacy_words,
	    .help = "How much may be kept of a recipient whose consent is not known." },
	{ "data_dir", IN(GENERAL), TEXT, OF_CONF(data_dir), .value = LOCALSTATEDIR "/lib/rekindle", .check = check_path,
	    .help = "Directory of the two database files; on a local disk." },
	{ "lock_dir", IN(GENERAL), TEXT, OF_CONF(lock_dir), .value = "/run/rekindle", .check = check_path,
	    .help = "Directory in memory for the locks of the database; where there is none they are in data_dir." },
	{ "key_file", IN(GENERAL), TEXT, OF_CONF(key_file), .value = SYSCONFDIR "/rekindle/keys", .check = check_path,
	    .help = "The keys that seal tokens and name recipients; `rekindle key new' makes it." },
	{ "milter_socket", IN(GENERAL), TEXT, OF_CONF(milter_socket),
	    .value = "unix:/var/spool/postfix/rekindle/milter.sock", .check = check_milter_socket,
	    .help = "Where Postfix reaches the milter: unix:/PATH, inet:HOST:PORT or inet:PORT@HOST." },
	{ "http_listen", IN(GENERAL), LIST, OF_CONF(http_listen), .value = "127.0.0.1:8025", .check = check_listen,
	    .help = "Addresses the tracker answers on: HOST:PORT, [IPV6]:PORT, *:PORT, PORT or unix:/PATH." },
	{ "https_listen", IN(GENERAL), LIST, OF_CONF(https_listen), .value = "", .check = check_listen,
	    .help = "Addresses it answers on with TLS; needs tls_cert and tls_key." },
	{ "admin_listen", IN(GENERAL), LIST, OF_CONF(admin_listen), .value = "", .check = check_listen,
	    .help = "Addresses that answer /healthz, /readyz and /metrics; not for the internet." },
	{ "socket_mode", IN(GENERAL), TEXT, OF_CONF(socket_mode), .value = "0660", .check = check_octal,
	    .help = "Who may connect to a unix:/PATH: the mode of the socket's file." },
	{ "tls_cert", IN(GENERAL), LIST, OF_CONF(tls_cert), .value = "", .check = check_path,
	    .help = "Certificates with their chains (fullchain.pem), one for each tracking domain; PEM files." },
	{ "tls_key", IN(GENERAL), LIST, OF_CONF(tls_key), .value = "", .check = check_path,
	    .help = "Their private keys (privkey.pem), in the same order." },
	{ "proxy_protocol_from", IN(GENERAL), LIST, OF_CONF(proxy_protocol_from), .value = "", .check = check_proxy,
	    .help = "Proxies that begin each connection with a PROXY header: networks, or unix." },
	{ "forwarded_from", IN(GENERAL), LIST, OF_CONF(forwarded_from), .value = "", .check = check_proxy,
	    .help = "Proxies that say in a header field whom they ask for: networks, or unix." },
	{ "forwarded_header", IN(GENERAL), BOOL, OF_CONF(forwarded_rfc), .value = "x-forwarded-for",
	    .words = forwarded_words,
	    .help = "In which field they say it; the one that they set, not one that they let through." },
	{ "access_log", IN(GENERAL), TEXT, OF_CONF(access_log), .value = "", .check = check_path,
	    .help = "File for one line per request, in the combined format, without tokens and persons; empty: none." },
	{ "mail_log", IN(GENERAL), TEXT, OF_CONF(mail_log), .value = "", .check = check_mail_log,
	    .help = "Postfix's log, for deliveries and bounces: /var/log/mail.log, or journal; empty: none is read." },
	{ "ask_listen", IN(GENERAL), LIST, OF_CONF(ask_listen), .value = "", .check = check_listen,
	    .help = "Addresses at which the milter answers Postfix's lookups: socketmap, policy service, tcp_table." },
	{ "ask_stream", IN(GENERAL), TEXT, OF_CONF(ask_stream), .value = "default",
	    .help = "The stream of a tcp_table, whose lookups cannot say which one they mean." },
	{ "ask_failure", IN(GENERAL), BOOL, OF_CONF(ask_defer), .value = "none", .words = failure_words,
	    .help = "The answer while the store cannot be read: none, as for anybody unknown, or defer." },
	{ "ask_connections", IN(GENERAL), NUMBER, OF_CONF(ask_connections), .value = "1000", RANGE(1, 60000),
	    .help = "Connections with lookups at once; for another one, the one that is idle longest is closed." },
	{ "ask_idle", IN(GENERAL), DURATION, OF_CONF(ask_idle), .value = "10m", RANGE(100, 24 * 60 * MINUTE_MS),
	    .help = "How long such a connection may go without a whole lookup." },
	{ "pages_dir", IN(GENERAL), TEXT, OF_CONF(pages_dir), .value = "", .check = check_path,
	    .help = "Templates of the tracker's pages, a file for each language, and style.css; empty: those built in." },
	{ "pages_language", IN(GENERAL), TEXT, OF_CONF(pages_language), .value = "en", .check = check_language,
	    .help = "Language of the tracker's pages for readers who ask for none that there is." },
	{ "trusted_networks", IN(GENERAL), LIST, OF_CONF(trusted_networks), .value = "127.0.0.0/8, ::1/128",
	    .check = check_network,
	    .help = "Clients, besides those that logged in, whose sender address and headers select mail." },
	{ "split_front", IN(GENERAL), LIST, OF_CONF(split_front), .value = "",
	    .help = "Listeners, by milter_macro_daemon_name, whose mail Postfix splits into one message per recipient." },
	{ "split_back", IN(GENERAL), LIST, OF_CONF(split_back), .value = "",
	    .help = "Listeners to which the split mail comes back; there it is tagged." },
	{ "campaign_header", IN(GENERAL), TEXT, OF_CONF(campaign_header), .value = "X-Rekindle-Campaign",
	    .check = check_control_name,
	    .help = "Header that names the campaign and selects the message; removed before delivery." },
	{ "stream_header", IN(GENERAL), TEXT, OF_CONF(stream_header), .value = "X-Rekindle-Stream",
	    .check = check_control_name,
	    .help = "Header that names the stream; removed before delivery." },
	{ "consent_header", IN(GENERAL), TEXT, OF_CONF(consent_header), .value = "X-Rekindle-Consent",
	    .check = check_control_name,
	    .help = "Header that lowers what may be kept of this message; removed before delivery." },
	{ "track_header", IN(GENERAL), TEXT, OF_CONF(track_header), .value = "X-Rekindle-Track",
	    .check = check_control_name,
	    .help = "Header that says what of this message is tracked: yes, no, opens or links; removed before delivery." },
	{ "answer_within", IN(GENERAL), DURATION, OF_CONF(answer_within), .value = "250ms", .max = MINUTE_MS,
	    .help = "How long a hit waits for the disk at most before it is answered." },
	{ "record_within", IN(GENERAL), DURATION, OF_CONF(record_within), .value = "1s", .max = MINUTE_MS,
	    .help = "How long a message waits at most to be recorded before it goes on." },
	{ "request_within", IN(GENERAL), DURATION, OF_CONF(request_within), .value = "10s", RANGE(100, 10 * MINUTE_MS),
	    .help = "How long one whole HTTP request may take to arrive." },
	{ "idle_timeout", IN(GENERAL), DURATION, OF_CONF(idle_timeout), .value = "60s", RANGE(100, 60 * MINUTE_MS),
	    .help = "How long an HTTP connection may be idle between requests." },
	{ "threads", IN(GENERAL), NUMBER, OF_CONF(threads), .value = "0", .max = 256,
	    .help = "Threads of the tracker; 0 is one for each processor." },
	{ "max_connections", IN(GENERAL), NUMBER, OF_CONF(max_connections), .value = "10000", RANGE(1, 1000000),
	    .help = "HTTP connections at once; for another one, the one that is idle longest is closed." },
	{ "max_repeats", IN(GENERAL), NUMBER, OF_CONF(max_repeats), .value = "100", RANGE(0, 100000),
	    .help = "Hits of one recipient on one link that are recorded in an hour; 0: all." },
	{ "max_message", IN(GENERAL), SIZE, OF_CONF(max_message), .value = "10M", RANGE(1024, 1024 * MEGABYTE),
	    .help = "Larger messages are passed untouched." },
	{ "keep_facts", IN(GENERAL), DURATION, OF_CONF(keep_facts), .value = "90d", RANGE(DAY_MS, 3650 * DAY_MS),
	    .help = "How long single touches are kept once they are summed up." },
	{ "agents_file", IN(GENERAL), TEXT, OF_CONF(agents_file), .value = "", .check = check_path,
	    .help = "List of what machines call themselves; empty: the one that was built in." },
	{ "networks_file", IN(GENERAL), TEXT, OF_CONF(networks_file), .value = "", .check = check_path,
	    .help = "List of networks in which machines follow links; empty: the one that was built in." },
	{ "receivers_file", IN(GENERAL), TEXT, OF_CONF(receivers_file), .value = "", .check = check_path,
	    .help = "List of who takes the mail of which domains; empty: the one that was built in." },
	{ "receiver_limit", IN(GENERAL), COMMAS, OF_CONF(receiver_limit), .value = "", .check = check_receiver_limit,
	    .help = "How much may go to a group of receivers_file: GROUP COUNT/TIME, as in google 5000/1h, microsoft 2000/1h." },
	{ "outage_share", IN(GENERAL), PERCENT, OF_CONF(outage.share), .value = "20%", RANGE(0, 10000),
	    .help = "A receiver group with less than this part of its usual reactions is not seen: nobody there is stopped as inactive." },
	{ "outage_min", IN(GENERAL), NUMBER, OF_CONF(outage.min), .value = "500", RANGE(1, 1000000000),
	    .help = "So many tracked messages a day are needed to say so." },
	{ "outage_silence", IN(GENERAL), NUMBER, OF_CONF(outage.silence), .value = "6", RANGE(0, 23),
	    .help = "So many hours without any hit, while mail goes out, are an outage of our own; 0: never." },
	{ "instant", IN(GENERAL), DURATION, OF_CONF(rules.instant), .value = "2s", .max = MINUTE_MS,
	    .help = "A hit this soon after delivery is a scanner's." },
	{ "early", IN(GENERAL), DURATION, OF_CONF(rules.early), .value = "10s", .max = 10 * MINUTE_MS,
	    .help = "A hit this soon after delivery is suspect; at least instant." },
	{ "burst_links", IN(GENERAL), NUMBER, OF_CONF(rules.burst_links), .value = "3", RANGE(2, 50),
	    .help = "So many different links of one message within burst_window are a scanner's." },
	{ "burst_window", IN(GENERAL), DURATION, OF_CONF(rules.burst_window), .value = "3s", .max = MINUTE_MS,
	    .help = "See burst_links." },
	{ "settle", IN(GENERAL), DURATION, OF_CONF(settle), .value = "2m", .max = SETTLE_MAX * 1000,
	    .help = "How old a click must be before it may change a class." },
	{ "dedupe", IN(GENERAL), DURATION, OF_CONF(rules.dedupe), .value = "60s", .max = 60 * MINUTE_MS,
	    .help = "The same link or pixel of the same recipient again within this time is one event." },
	{ "fold_back", IN(GENERAL), BOOL, OF_CONF(rules.fold_back), .value = "yes", .words = no_yes,
	    .help = "Whether clicks suspect for a probable network alone count once a person's click follows." },
	{ "head_counts", IN(GENERAL), BOOL, OF_CONF(head_counts), .value = "no", .words = no_yes,
	    .help = "Whether HEAD requests are recorded, as hits of machines." },
	{ "facts_size", IN(GENERAL), SIZE, OF_CONF(facts_size), .value = "64G",
	    RANGE(MEGABYTE, 16 * MEGABYTE * MEGABYTE),
	    .help = "The most that the file of touches may grow to." },
	{ "state_size", IN(GENERAL), SIZE, OF_CONF(state_size), .value = "64G",
	    RANGE(MEGABYTE, 16 * MEGABYTE * MEGABYTE),
	    .help = "The most that the file of sums may grow to." },
	{ "journal_size", IN(GENERAL), SIZE, OF_CONF(journal_size), .value = "8M", RANGE(65536, 1024 * MEGABYTE),
	    .help = "How much may wait in each daemon's journal for its way into the file of touches." },
	{ "log", IN(GENERAL), BOOL, OF_CONF(log_syslog), .value = "stderr", .words = log_words,
	    .help = "Where log lines go; systemd's journal reads standard error." },
	{ "log_level", IN(GENERAL), WORD, OF_CONF(log_level), .value = "info", .words = log_level_words,
	    .help = "How much is logged; only debug shows addresses." },

	{ "enforce", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(enforce), .value = "observe", .words = enforce_words,
	    .help = "Whether verdicts are carried out, or only computed, logged and counted." },
	{ "opens", IN(GENERAL) | IN(STREAM), WORD, OF_STREAM(opens), .value = "full", .words = opens_words,
	    .help = "The most that is kept of an open; privacy_profile and consent lower it." },
	{ "links", IN(GENERAL) | IN(STREAM), WORD, OF_STREAM(links), .value = "full", .words = links_words,
	    .help = "The most that is kept of a click; privacy_profile and consent lower it." },
	{ "track", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(track_asked), .value = "all", .words = track_words,
	    .help = "Whether all campaign mail is tracked, or only what the track_header asks for." },
	{ "signed_mail", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(tag_signed), .value = "leave",
	    .words = signed_words,
	    .help = "Mail that is signed already (DKIM, ARC) is left alone, or tagged, which breaks the signature." },
	{ "top_pixel", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(top_pixel), .value = "no", .words = no_yes,
	    .help = "A second pixel behind <body>, for mail programs that cut long messages." },
	{ "text_links", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(text_links), .value = "no", .words = no_yes,
	    .help = "Whether URLs in text/plain are tracked too, where recipients see them." },
	{ "honeypot", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(honeypot), .value = "off", .words = off_on,
	    .help = "A hidden link in each message, that only machines follow; mind filters, and patents." },
	{ "visible_url", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(visible_url), .value = "skip",
	    .words = visible_words,
	    .help = "Links whose text is itself a URL: filters suspect those that lead elsewhere." },
	{ "list_unsubscribe", IN(GENERAL) | IN(STREAM), WORD, OF_STREAM(list_unsubscribe), .value = "add",
	    .words = unsubscribe_words,
	    .help = "One-click List-Unsubscribe headers: add where absent, replace the sender's, or none." },
	{ "stream_title", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(stream_title), .value = "", .check = check_title,
	    .help = "What recipients know a stream as, on the tracker's pages; empty: its name." },
	{ "unsubscribe_mailto", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(unsubscribe_mailto), .value = "",
	    .check = check_address,
	    .help = "Address for unsubscribing by mail, beside the URL in List-Unsubscribe; the subject says who." },
	{ "feedback_id", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(feedback_id), .value = "",
	    .check = check_feedback_id,
	    .help = "Feedback-ID header, as in {campaign}:{stream}:news:example; the last part is always the same." },
	{ "cfbl_address", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(cfbl_address), .value = "",
	    .check = check_address,
	    .help = "Address for complaint reports (CFBL-Address, RFC 9477); the DKIM signature must cover it." },
	{ "several_recipients", IN(GENERAL) | IN(STREAM), BOOL, OF_STREAM(several_leave), .value = "anonymous",
	    .words = several_words,
	    .help = "A message for several recipients gets anonymous tokens, or is left alone." },
	{ "untracked_domains", IN(GENERAL) | IN(STREAM), LIST, OF_STREAM(untracked_domains), .value = "",
	    .check = check_domain,
	    .help = "Links to these domains, and below them, stay as they are." },
	{ "untracked_urls", IN(GENERAL) | IN(STREAM), LIST, OF_STREAM(untracked_urls), .value = "",
	    .check = check_pattern,
	    .help = "Links that fit one of these patterns stay as they are; * is any text: example.com/account/*." },
	{ "url_parameters", IN(GENERAL) | IN(STREAM), COMMAS, OF_STREAM(url_parameters), .value = "",
	    .check = check_parameter,
	    .help = "Added to tracked links that have none of this name: utm_source=news, utm_campaign={campaign}." },
	{ "url_parameters_domains", IN(GENERAL) | IN(STREAM), LIST, OF_STREAM(url_parameters_domains), .value = "",
	    .check = check_domain,
	    .help = "They are added only to links to these domains, and below them; empty: to all." },
	{ "campaign", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(campaign), .value = "{date}", .check = check_campaign,
	    .help = "Campaign name of messages that name none; {date} becomes 2026-01-31." },

	{ "route_new", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(route[ENGAGE_NEW]), .value = "", .check = check_route,
	    .help = "Postfix transport by which mail for new recipients goes out; empty: the usual one." },
	{ "route_engaged", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(route[ENGAGE_ENGAGED]), .value = "", .check = check_route,
	    .help = "For engaged ones." },
	{ "route_semi", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(route[ENGAGE_SEMI]), .value = "", .check = check_route,
	    .help = "For semi-engaged ones." },
	{ "route_inactive", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(route[ENGAGE_INACTIVE]), .value = "", .check = check_route,
	    .help = "For inactive ones; of use where on_inactive lets their mail go out." },

	{ "route_slow", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(route_slow), .value = "", .check = check_route,
	    .help = "For whom the policy says route, whatever their class; empty: their mail goes the usual way." },

	{ "warmup_start", IN(GENERAL) | IN(STREAM), TEXT, OF_STREAM(warmup_start), .value = "", .check = check_day,
	    .help = "First day (UTC) of the warm-up of a new sending address, as 2026-01-31; empty: none." },
	{ "warmup", IN(GENERAL) | IN(STREAM), LIST, OF_STREAM(warmup),
	    .value = "50, 100, 200, 500, 1000, 2000, 4000, 8000, 16000, 32000", .check = check_volume,
	    .help = "How many messages may go out on each day of it; behind the last there is no limit." },
	{ "match_header", IN(STREAM), COMMAS, OF_STREAM(match_header), .value = "", .check = check_match_header,
	    .help = "Header fields, separated by commas: NAME (present) or NAME: TEXT (its value contains TEXT)." },
	{ "match_login", IN(STREAM), LIST, OF_STREAM(match_login), .value = "",
	    .help = "SASL login names." },
	{ "match_network", IN(STREAM), LIST, OF_STREAM(match_network), .value = "", .check = check_network,
	    .help = "Client addresses and networks, as in 192.0.2.0/24 or 2001:db8::/32." },
	{ "match_sender_domain", IN(STREAM), LIST, OF_STREAM(match_sender_domain), .value = "",
	    .check = check_sender_domain,
	    .help = "Domains of the envelope sender; .example.org is example.org and all below it." },
	{ "match_daemon", IN(STREAM), LIST, OF_STREAM(match_daemon), .value = "",
	    .help = "Listeners, by Postfix's milter_macro_daemon_name." },
	{ "match_list_unsubscribe", IN(STREAM), BOOL, OF_STREAM(match_list_unsubscribe), .value = "no", .words = no_yes,
	    .help = "Every message that has a List-Unsubscribe header." },
	{ "transactional", IN(STREAM), BOOL, OF_STREAM(transactional), .value = "no", .words = no_yes,
	    .help = "Receipts, password resets and the like: exempt from policy, never stopped." },

	{ "preset", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(preset), .value = "weekly", .words = preset_words,
	    .help = "How often you send; gives the numbers below that are not set." },
	{ "engaged_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.engaged_days), RANGE(1, 3650),
	    .help = "Engaged: the last human reaction is at most this many days ago." },
	{ "semi_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.semi_days), RANGE(1, 3650),
	    .help = "Semi-engaged: at most this many days ago; more than engaged_days." },
	{ "inactive_min_sends", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.inactive_min_sends), RANGE(1, PROFILE_SENDS),
	    .help = "Nobody is inactive before this many tracked sends without a reaction." },
	{ "inactive_min_sends_engaged", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.inactive_min_sends_engaged),
	    RANGE(1, PROFILE_SENDS),
	    .help = "The same for recipients who reacted once." },
	{ "new_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.new_days), RANGE(1, 3650),
	    .help = "New: never reacted, and known for less than this many days." },
	{ "new_min_sends", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.new_min_sends), RANGE(1, PROFILE_SENDS),
	    .help = "Or with less than this many tracked sends." },
	{ "new_max_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.new_max_days), RANGE(1, 3650),
	    .help = "But nobody is new for longer; at least new_days." },
	{ "on_complained", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_COMPLAINED]), .value = "reject",
	    .words = action_words,
	    .help = "What happens to mail for recipients who complained." },
	{ "on_bounced", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_BOUNCED]), .value = "reject", .words = action_words,
	    .help = "For addresses that do not exist." },
	{ "on_unsubscribed", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_UNSUBSCRIBED]), .value = "reject",
	    .words = action_words,
	    .help = "For recipients who unsubscribed." },
	{ "on_held", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_HELD]), .value = "reject", .words = action_words,
	    .help = "For recipients stopped by hand." },
	{ "on_inactive", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_INACTIVE]), .value = "reject", .words = action_words,
	    .help = "For inactive recipients." },
	{ "on_soft_bounced", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_SOFT_BOUNCED]), .value = "reject",
	    .words = action_words,
	    .help = "For addresses whose last soft_bounces messages did not arrive." },
	{ "on_capped", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_CAPPED]), .value = "reject",
	    .words = action_words,
	    .help = "For recipients who had enough messages for now; see cap_new and so on." },
	{ "on_resting", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_RESTING]), .value = "reject",
	    .words = action_words,
	    .help = "For a re-engagement message that comes before its time." },
	{ "on_sunset", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_SUNSET]), .value = "reject",
	    .words = action_words,
	    .help = "For recipients whose re-engagement series ended without an answer." },
	{ "on_not_due", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_NOT_DUE]), .value = "reject",
	    .words = action_words,
	    .help = "For a re-engagement message to somebody who is in no series." },
	{ "on_throttled", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_THROTTLED]), .value = "defer",
	    .words = action_words,
	    .help = "For mail beyond the shares and volumes of a day." },
	{ "on_braked", IN(POLICY) | IN(STREAM), WORD, OF_STREAM(policy.on[CAUSE_BRAKED]), .value = "defer",
	    .words = action_words,
	    .help = "For the rest of a campaign that a brake stopped." },
	{ "cap_new", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.caps[CAPS_NEW]), .value = "3/7d",
	    .help = "How many messages of all streams a new recipient gets: COUNT/TIME, several with commas, or off." },
	{ "cap_engaged", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.caps[CAPS_ENGAGED]), .value = "1/16h, 7/7d",
	    .help = "An engaged one." },
	{ "cap_loyal", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.caps[CAPS_LOYAL]), .value = "off",
	    .help = "A loyal one, in place of cap_engaged; off: as other engaged ones." },
	{ "cap_semi", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.caps[CAPS_SEMI]), .value = "1/3d, 2/7d",
	    .help = "A semi-engaged one." },
	{ "cap_inactive", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.caps[CAPS_INACTIVE]), .value = "off",
	    .help = "An inactive one, where on_inactive lets mail pass." },
	{ "cap_less", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.caps[CAPS_LESS]), .value = "1/30d",
	    .help = "Who asked for less often: of this stream's messages, besides the caps of the class." },
	{ "stream_cap_new", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.stream_caps[ENGAGE_NEW]), .value = "off",
	    .help = "The same as cap_new, of messages of one stream alone." },
	{ "stream_cap_engaged", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.stream_caps[ENGAGE_ENGAGED]),
	    .value = "off",
	    .help = "The same as cap_engaged, of messages of one stream alone." },
	{ "stream_cap_semi", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.stream_caps[ENGAGE_SEMI]), .value = "off",
	    .help = "The same as cap_semi, of messages of one stream alone." },
	{ "stream_cap_inactive", IN(POLICY) | IN(STREAM), CAPS, OF_STREAM(policy.stream_caps[ENGAGE_INACTIVE]),
	    .value = "off",
	    .help = "The same as cap_inactive, of messages of one stream alone." },
	{ "soft_bounces", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.soft_bounces), .value = "3",
	    RANGE(0, PROFILE_SOFT),
	    .help = "So many messages in a row that did not arrive stop mail for soft_bounce_days; 0: never." },
	{ "soft_bounce_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.soft_bounce_days), .value = "30",
	    RANGE(1, 3650),
	    .help = "See soft_bounces." },
	{ "series", IN(POLICY) | IN(STREAM), BOOL, OF_STREAM(policy.series), .value = "on", .words = off_on,
	    .help = "Whether inactive recipients get a re-engagement series before the sunset." },
	{ "rest_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.rest_days), .value = "30", RANGE(0, 3650),
	    .help = "How long an inactive recipient gets no mail before the series begins." },
	{ "series_steps", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.series_steps), .value = "3",
	    RANGE(1, PROFILE_SERIES - 1),
	    .help = "Messages of the series." },
	{ "series_gap_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.series_gap_days), .value = "7",
	    RANGE(1, 365),
	    .help = "Days between them." },
	{ "series_wait_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.series_wait_days), .value = "14",
	    RANGE(1, 365),
	    .help = "Days of silence after the last one; then the sunset." },
	{ "winback_days", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.winback_days), .value = "0", RANGE(0, 3650),
	    .help = "So many days after the sunset one last message is due; 0: none." },
	{ "holdout", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.holdout), .value = "50", RANGE(0, 1000),
	    .help = "Of 1000 recipients so many go on as if nobody were inactive: a control group, to measure with." },
	{ "brake_share", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.brake.share), .value = "50%", RANGE(1, 10000),
	    .help = "At most this part of a campaign's recipients is stopped as inactive; else all of them pass; 100%: off." },
	{ "brake_min", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.brake.min_share), .value = "200", RANGE(1, 1000000000),
	    .help = "But not before so many recipients of it were seen." },
	{ "brake_complaints", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.brake.complaints), .value = "0.3%", RANGE(1, 10000),
	    .help = "A campaign of which this part complained is stopped, until `rekindle brakes release'; 100%: off." },
	{ "brake_complaints_warn", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.brake.complaints_warn), .value = "0.1%",
	    RANGE(1, 10000),
	    .help = "And a warning is logged at this part." },
	{ "brake_bounces", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.brake.bounces), .value = "5%", RANGE(1, 10000),
	    .help = "The same for addresses that do not exist; 100%: off." },
	{ "brake_bounces_warn", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.brake.bounces_warn), .value = "2%", RANGE(1, 10000),
	    .help = "And a warning is logged at this part." },
	{ "brake_sent", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.brake.min_sent), .value = "1000", RANGE(1, 1000000000),
	    .help = "Both need so many messages of the campaign." },
	{ "share_semi", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.share_semi), .value = "30%", RANGE(0, 10000),
	    .help = "At most this part of a day's mail goes to semi-engaged recipients; 100%: off." },
	{ "share_inactive", IN(POLICY) | IN(STREAM), PERCENT, OF_STREAM(policy.share_inactive), .value = "5%", RANGE(0, 10000),
	    .help = "And this part is to inactive ones, the re-engagement series included; 100%: off." },
	{ "share_min", IN(POLICY) | IN(STREAM), NUMBER, OF_STREAM(policy.share_min), .value = "1000", RANGE(0, 1000000000),
	    .help = "So many of each of them may go in a day, whatever their share is." },
	{ "head_start", IN(POLICY) | IN(STREAM), DURATION, OF_STREAM(policy.head_start), .value = "0", RANGE(0, 7 * DAY_MS),
	    .help = "Engaged recipients of a campaign come first: the others wait so long after its first message; 0: off." },
	{ "series_stream", IN(STREAM), BOOL, OF_STREAM(series), .value = "no", .words = no_yes,
	    .help = "The messages of this stream are those of the re-engagement series." },
};
#define NSETTINGS (sizeof settings / sizeof *settings)

static bool
is_presets(const struct setting *s)
{
	return (s->in & IN(POLICY)) != 0 && s->value == NULL;
}

static bool
is_required(const struct setting *s)
{
	return s->value == NULL && !is_presets(s);
}

static const struct setting *
setting_named(struct span name)
{
	for (size_t i = 0; i < NSETTINGS; i++)
		if (span_eq(span_of(settings[i].name), name))
			return &settings[i];
	return NULL;
}

/* Where the value is.  The general section's streams' settings are those of the default stream. */
static void *
place(const struct conf *c, size_t stream, const struct setting *s)
{
	char *base = s->in & IN(STREAM) ? (char *)&c->stream[stream] : (char *)c;

	return base + s->at;
}

bool
conf_setting(size_t i, const char **section, const char **name)
{
	if (i >= NSETTINGS)
		return false;
	*section = settings[i].in & IN(GENERAL) ? "" : settings[i].in & IN(POLICY) ? "policy" : "stream";
	*name = settings[i].name;
	return true;
}

/* ---- values: out of the settings ---- */

static void
add_value(const struct setting *s, const void *at, struct buf *out)
{
	const struct list *l = at;
	unsigned value;

	switch (s->type) {
	case TEXT:
		buf_adds(out, *(char *const *)at);
		break;
	case LIST:
	case COMMAS:
		for (size_t i = 0; i < l->n; i++)
			buf_addf(out, "%s%s", i > 0 ? ", " : "", l->item[i]);
		break;
	case BOOL:
	case WORD:
		value = s->type == BOOL ? *(const bool *)at : *(const unsigned *)at;
		for (const struct word *w = s->words; w->word; w++)
			if (w->value == value)
				buf_adds(out, w->word);
		break;
	case NUMBER:
		buf_addf(out, "%u", *(const unsigned *)at);
		break;
	case DURATION:
		text_add_duration(out, *(const int64_t *)at);
		break;
	case SIZE:
		text_add_size(out, *(const uint64_t *)at);
		break;
	case CAPS:
		caps_add_text(out, at);
		break;
	case PERCENT:
		value = *(const unsigned *)at;
		buf_addf(out, "%u", value / 100);
		if (value % 100 != 0)
			buf_addf(out, value % 10 ? ".%02u" : ".%u", value % 10 ? value % 100 : value % 100 / 10);
		buf_addc(out, '%');
		break;
	}
}

/* "off, on or whatever", "1 to 24"; nothing for text and lists. */
static void
add_allowed(const struct setting *s, struct buf *out)
{
	switch (s->type) {
	case BOOL:
	case WORD:
		for (const struct word *w = s->words; w->word; w++)
			if (!w->refused)
				buf_addf(out, "%s%s", w == s->words ? "" : w[1].word ? ", " : " or ", w->word);
		break;
	case NUMBER:
		buf_addf(out, "%u to %u", (unsigned)s->min, (unsigned)s->max);
		break;
	case DURATION:
		text_add_duration(out, s->min);
		buf_adds(out, " to ");
		text_add_duration(out, s->max);
		break;
	case SIZE:
		text_add_size(out, (uint64_t)s->min);
		buf_adds(out, " to ");
		text_add_size(out, (uint64_t)s->max);
		break;
	case CAPS:
		buf_adds(out, "COUNT/TIME, with commas between several, or off");
		break;
	case PERCENT:
		buf_addf(out, s->min == 0 ? "0%% to 100%%" : "0.01%% to 100%%");
		break;
	default:
		break;
	}
}

static void
add_setting(const struct setting *s, const void *at, struct buf *out)
{
	size_t start;

	buf_addf(out, "%s =", s->name);
	start = out->n;
	buf_addc(out, ' ');
	add_value(s, at, out);
	if (out->n == start + 1) /* nothing */
		out->n--;
	buf_addc(out, '\n');
}

/* A list is equal when its text is, and so is all the rest. */
static bool
same_value(const struct setting *s, const void *a, const void *b)
{
	struct buf x, y;
	bool same;

	if ((s->type == LIST || s->type == COMMAS) && ((const struct list *)a)->item == ((const struct list *)b)->item)
		return true; /* borrowed */
	buf_init(&x, SIZE_MAX / 4);
	buf_init(&y, SIZE_MAX / 4);
	add_value(s, a, &x);
	add_value(s, b, &y);
	same = span_eq(buf_span(&x), buf_span(&y));
	buf_free(&x);
	buf_free(&y);
	return same;
}

/* A preset of a stream's own gives numbers that would be read again as others. */
static bool
is_said(const struct conf *c, size_t stream, const struct setting *s)
{
	return !same_value(s, place(c, stream, s), place(c, 0, s)) ||
	    (is_presets(s) && c->stream[stream].preset != c->stream[0].preset);
}

/* Of a stream only what it does not have from the general section, or the policy. */
void
conf_print(const struct conf *c, struct buf *out)
{
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].in & IN(GENERAL))
			add_setting(&settings[i], place(c, 0, &settings[i]), out);
	buf_adds(out, "\n[policy]\n");
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].in & IN(POLICY))
			add_setting(&settings[i], place(c, 0, &settings[i]), out);
	for (size_t k = 1; k < c->nstreams; k++) {
		buf_addf(out, "\n[stream %s]\n", c->stream[k].name);
		for (size_t i = 0; i < NSETTINGS; i++) {
			const struct setting *s = &settings[i];

			if (s->in & IN(STREAM) && is_said(c, k, s))
				add_setting(s, place(c, k, s), out);
		}
	}
}

static unsigned
presets_number(const struct setting *s, enum preset preset)
{
	struct policy policy = policy_preset(preset);

	return *(unsigned *)((char *)&policy + (s->at - offsetof(struct stream, policy)));
}

/* What it is for; what it may be and is; and the line itself, to take the # away. */
static void
add_sample(const struct setting *s, struct buf *out)
{
	size_t start;

	buf_addf(out, "# %s\n# ", s->help);
	start = out->n;
	add_allowed(s, out);
	if (out->n > start)
		buf_adds(out, ".  ");
	if (is_required(s)) {
		buf_addf(out, "Required.\n#%s = %s\n\n", s->name, s->example);
	} else if (is_presets(s)) {
		buf_adds(out, "Default:");
		for (const struct word *w = preset_words; w->word; w++)
			buf_addf(out, "%s %s %u", w == preset_words ? "" : ",", w->word, presets_number(s, w->value));
		buf_addf(out, ".\n#%s = %u\n\n", s->name, presets_number(s, PRESET_WEEKLY));
	} else if (*s->value)
		buf_addf(out, "Default: %s.\n#%s = %s\n\n", s->value, s->name, s->value);
	else
		buf_addf(out, "Default: none.\n#%s =\n\n", s->name);
}

void
conf_sample(struct buf *out)
{
	buf_adds(out, "# Settings of rekindle-milter, rekindle-tracker and rekindle; see rekindle.conf(5).\n"
		      "# Every one is here with its default, commented out.\n"
		      "# `rekindle conf --check' finds mistakes, `rekindle conf' prints what is in force.\n"
		      "#\n"
		      "# A line that starts with white space continues the line before, as in Postfix:\n"
		      "# take the # away, and nothing else stays before the name.\n\n");
	for (size_t i = 0; i < NSETTINGS; i++) {
		const struct setting *s = &settings[i];

		if (s->in == IN(GENERAL))
			add_sample(s, out);
	}
	buf_adds(out, "# The next ones may also stand in a stream, for that stream alone.\n\n");
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].in == (IN(GENERAL) | IN(STREAM)))
			add_sample(&settings[i], out);
	buf_adds(out,
	    "# A newsletter or sender, as often as needed, each with a name (letters, digits, - _ .).  Mail is of\n"
	    "# this stream when any one of the match_ settings fits; the others start with the general value above.\n"
	    "#[stream newsletter]\n\n");
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].in == IN(STREAM))
			add_sample(&settings[i], out);
	buf_adds(out, "# Who is engaged, and what happens to mail for those who are not to get it.  Each of these may also\n"
		      "# stand in a stream, for that stream alone.\n[policy]\n\n");
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].in & IN(POLICY))
			add_sample(&settings[i], out);
	out->n -= out->n > 0; /* one empty line less at the end */
}

/* ---- values: into the settings ---- */

/* A physical line's part of a logical line. */
struct piece {
	size_t at;
	unsigned line;
};

struct fault {
	unsigned line;
	char *what;
};

struct parser {
	struct conf *conf;
	unsigned line;			   /* being read */
	enum section section;		   /* NOWHERE: unknown, its settings are skipped */
	size_t stream;			   /* which one, in a stream's section */
	unsigned set[SECTIONS][NSETTINGS]; /* in which line; streams': of this stream */
	bool bad[NSETTINGS];
	unsigned policy_line;  /* of [policy], 0 not yet */
	unsigned *stream_line; /* of each stream */
	bool (*own)[NSETTINGS]; /* of each stream: what it has said itself */
	struct buf text;       /* the logical line, continuations joined by one space */
	struct piece *piece;
	size_t npieces, cappieces;
	bool broken; /* the line that a continuation would continue was refused */
	struct fault fault[CONF_ERRORS_MAX];
	size_t nfaults, nmore;
};

static void fault(struct parser *, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Kept in file order; those found at the same line in the order found. */
static void
fault(struct parser *p, unsigned line, const char *fmt, ...)
{
	struct fault f = { .line = line };
	size_t i = p->nfaults;
	va_list ap;

	if (p->nfaults == CONF_ERRORS_MAX) {
		p->nmore++;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&f.what, fmt, ap) < 0)
		f.what = xstrdup("no memory to say what");
	va_end(ap);
	for (; i > 0 && p->fault[i - 1].line > line; i--)
		p->fault[i] = p->fault[i - 1];
	p->fault[i] = f;
	p->nfaults++;
}

/* Which line an offset in the logical line comes from. */
static unsigned
line_at(const struct parser *p, size_t at)
{
	size_t low = 0, high = p->npieces;

	if (p->npieces == 0)
		return p->line;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (p->piece[middle].at <= at)
			low = middle;
		else
			high = middle;
	}
	return p->piece[low].line;
}

static void
list_free(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->item[i]);
	free(l->item);
	free(l->line);
	*l = (struct list){ 0 };
}

/*
 * A stream starts as a copy of the default one and borrows its strings until
 * it has its own, so that many streams with long general lists stay small.
 */
static void
value_free(struct conf *c, size_t stream, const struct setting *s)
{
	void *at = place(c, stream, s), *general = place(c, 0, s);

	if (s->type == TEXT) {
		if (at == general || *(char **)at != *(char **)general)
			free(*(char **)at);
		*(char **)at = NULL;
	} else if (s->type == LIST || s->type == COMMAS) {
		if (at == general || ((struct list *)at)->item != ((struct list *)general)->item)
			list_free(at);
		*(struct list *)at = (struct list){ 0 };
	}
}

/* The next item of a list; false at the end. */
static bool
next_item(enum type type, struct span *rest, struct span *item)
{
	while (rest->n > 0) {
		size_t n = 0;

		while (n < rest->n && rest->p[n] != ',' && (type == COMMAS || !is_white(rest->p[n])))
			n++;
		*item = span_trim(span_cut(*rest, 0, n));
		*rest = span_from(*rest, n + 1);
		if (item->n > 0)
			return true;
	}
	return false;
}

/* Faults are told at the item's own line; text is the logical line. */
static bool
read_list(struct parser *p, const struct setting *s, struct list *l, struct span value, const char *text)
{
	struct span rest = value, item;
	struct buf why = BUF(1024);
	size_t cap = 0;
	bool good = true;

	while (next_item(s->type, &rest, &item)) {
		buf_clear(&why);
		if (s->check && !s->check(&item, &why)) {
			fault(p, line_at(p, (size_t)(item.p - text)), "%s: %s", s->name, buf_cstr(&why));
			good = false;
			continue;
		}
		if (l->n == cap) {
			cap = cap ? 2 * cap : 4;
			l->item = xreallocarray(l->item, cap, sizeof *l->item);
			l->line = xreallocarray(l->line, cap, sizeof *l->line);
		}
		l->line[l->n] = line_at(p, (size_t)(item.p - text));
		l->item[l->n++] = xstrndup(item.p, item.n);
	}
	buf_free(&why);
	if (good && l->n < (size_t)s->min) {
		fault(p, line_at(p, (size_t)(value.p - text)), "%s: is empty; the default is %s", s->name, s->value);
		good = false;
	}
	return good;
}

static bool
read_word(const struct setting *s, struct span value, unsigned *out, struct buf *why)
{
	for (const struct word *w = s->words; w->word; w++) {
		if (!span_eq(span_of(w->word), value))
			continue;
		if (!w->refused) {
			*out = w->value;
			return true;
		}
		buf_addf(why, "`%s' %s; use ", w->word, w->refused);
		add_allowed(s, why);
		return false;
	}
	if (value.n == 0)
		buf_adds(why, "is empty; use ");
	else
		buf_addf(why, "`%.*s' is not known; use ", SHOWN(value));
	add_allowed(s, why);
	return false;
}

/* Numbers of all three kinds, range included. */
static bool
read_number(const struct setting *s, struct span value, int64_t *out, struct buf *why)
{
	uint64_t n = 0;
	int64_t ms = 0;

	switch (s->type) {
	case DURATION:
		if (!text_duration(value, &ms))
			return WRONG(why,
			    "`%.*s' is not a time; write a number and its unit, as in 250ms, 10s, 5m, 2h, 30d or 4w",
			    SHOWN(value));
		n = ms < 0 ? UINT64_MAX : (uint64_t)ms;
		break;
	case SIZE:
		if (!text_size(value, &n))
			return WRONG(why,
			    "`%.*s' is not a size; write bytes, or a number and its unit, as in 64k, 10M or 2G",
			    SHOWN(value));
		break;
	default:
		if (!text_u64(value, &n)) {
			buf_addf(why, "`%.*s' is not a number; use ", SHOWN(value));
			add_allowed(s, why);
			return false;
		}
	}
	if (n < (uint64_t)s->min || n > (uint64_t)s->max) {
		buf_addf(why, "%.*s is out of range; use ", SHOWN(value));
		add_allowed(s, why);
		return false;
	}
	*out = (int64_t)n;
	return true;
}

/* "1/16h, 7/7d" or "off". */
static bool
read_caps(struct span value, struct caps *out, struct buf *why)
{
	struct caps caps = { 0 };
	struct span rest = value, item;

	while (!span_eq(value, SPAN("off")) && next_item(COMMAS, &rest, &item)) {
		size_t slash = span_find(item, '/');
		uint64_t count;
		int64_t ms;

		if (!text_u64(span_trim(span_cut(item, 0, slash)), &count) ||
		    !text_duration(span_trim(span_from(item, slash + 1)), &ms))
			return WRONG(why, "`%.*s' is no cap; write COUNT/TIME, as in 1/16h or 7/7d, or off", SHOWN(item));
		if (count < 1 || count > CAP_COUNT_MAX)
			return WRONG(why, "`%.*s' counts too far; use 1 to %d messages", SHOWN(item), CAP_COUNT_MAX);
		if (ms < 1000 || ms % 1000 != 0 || ms > 3650 * DAY_MS)
			return WRONG(why, "`%.*s' is no time for a cap; use whole seconds, up to 3650d", SHOWN(item));
		if (caps.n == CAP_WINDOWS)
			return WRONG(why, "there are too many; at most %d", CAP_WINDOWS);
		caps.cap[caps.n++] = (struct cap){ (unsigned)count, (uint32_t)(ms / 1000) };
	}
	if (caps.n == 0 && !span_eq(value, SPAN("off")))
		return WRONG(why, "is empty; use COUNT/TIME, as in 1/16h, or off");
	*out = caps;
	return true;
}

/* "5%", "0.3 %", "12.34%". */
static bool
read_percent(const struct setting *s, struct span value, unsigned *out, struct buf *why)
{
	struct span number = span_ends(value, SPAN("%")) ? span_trim(span_cut(value, 0, value.n - 1)) : SPAN("");
	size_t dot = span_find(number, '.');
	struct span rest = span_from(number, dot + 1);
	uint64_t whole, part = 0;

	if (!text_u64(span_cut(number, 0, dot), &whole) || whole > 100 ||
	    (dot < number.n && (rest.n > 2 || !text_u64(rest, &part)))) {
		buf_addf(why, "`%.*s' is no percentage; write 5%% or 0.3%%, with two decimals at most", SHOWN(value));
		return false;
	}
	whole = whole * 100 + (rest.n == 1 ? part * 10 : part);
	if (whole < (uint64_t)s->min || whole > (uint64_t)s->max) {
		buf_addf(why, "%.*s is out of range; use ", SHOWN(value));
		add_allowed(s, why);
		return false;
	}
	*out = (unsigned)whole;
	return true;
}

/* Anything but a list. */
static bool
read_one(const struct setting *s, void *at, struct span value, struct buf *why)
{
	unsigned word = 0;
	int64_t n = 0;

	switch (s->type) {
	case TEXT:
		if (value.n == 0 && (!s->value || *s->value))
			return WRONG(why, "is empty; for the default, leave the line out");
		if (value.n > 0 && s->check && !s->check(&value, why))
			return false;
		*(char **)at = xstrndup(value.p, value.n);
		return true;
	case BOOL:
		if (!read_word(s, value, &word, why))
			return false;
		*(bool *)at = word;
		return true;
	case WORD:
		return read_word(s, value, at, why);
	case NUMBER:
		if (!read_number(s, value, &n, why))
			return false;
		*(unsigned *)at = (unsigned)n;
		return true;
	case DURATION:
		return read_number(s, value, at, why);
	case SIZE:
		if (!read_number(s, value, &n, why))
			return false;
		*(uint64_t *)at = (uint64_t)n;
		return true;
	case CAPS:
		return read_caps(value, at, why);
	case PERCENT:
		return read_percent(s, value, at, why);
	default:
		return false;
	}
}

/* The old value stays when the new one is bad, for conf_parse_anyway. */
static bool
read_value(struct parser *p, size_t stream, const struct setting *s, struct span value, const char *text)
{
	void *at = place(p->conf, stream, s);
	struct buf why = BUF(1024);
	bool good;

	if (s->type == LIST || s->type == COMMAS) {
		struct list fresh = { 0 };

		if ((good = read_list(p, s, &fresh, value, text))) {
			value_free(p->conf, stream, s);
			*(struct list *)at = fresh;
		} else
			list_free(&fresh);
	} else if (s->type == TEXT) {
		char *fresh = NULL;

		if ((good = read_one(s, &fresh, value, &why))) {
			value_free(p->conf, stream, s);
			*(char **)at = fresh;
		}
	} else
		good = read_one(s, at, value, &why);
	if (why.n > 0)
		fault(p, line_at(p, (size_t)(value.p - text)), "%s: %s", s->name, buf_cstr(&why));
	buf_free(&why);
	return good;
}

/* ---- lines ---- */

static const char *
where_it_belongs(const struct setting *s)
{
	if (s->in == IN(STREAM))
		return "in a [stream NAME] section";
	if (s->in == (IN(POLICY) | IN(STREAM)))
		return "in the [policy] section, or in a [stream NAME] section";
	if (s->in == IN(GENERAL))
		return "in the general settings, before the first section";
	return "in the general settings, before the first section, or in a [stream NAME] section";
}

/* The setting that was probably meant, preferably of this section; NULL when none is near. */
static const struct setting *
nearest(enum section section, struct span name)
{
	const struct setting *best = NULL;
	char lower[NAME_GUESS_MAX];
	unsigned least;

	if (name.n > sizeof lower)
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		lower[i] = ascii_lower(name.p[i]);
	name.p = lower;
	least = 2 * (2 + (unsigned)name.n / 4); /* twice, so that a foreign section loses a tie */
	for (size_t i = 0; i < NSETTINGS; i++) {
		struct span s = span_of(settings[i].name);
		unsigned d = 2 * (name.n >= 4 && span_starts(s, name) ? 1 : text_distance(s, name));

		d += !(settings[i].in & IN(section));
		if (d < least) {
			least = d;
			best = &settings[i];
		}
	}
	return best;
}

static void
read_setting(struct parser *p, struct span text)
{
	unsigned line = p->piece[0].line;
	size_t eq = span_find(text, '=');
	struct span name = span_trim(span_cut(text, 0, eq)), value = span_trim(span_from(text, eq + 1));
	const struct setting *s = setting_named(name);
	unsigned *set;

	if (p->section == NOWHERE)
		return;
	if (eq == text.n || name.n == 0) {
		fault(p, line, "`%.*s' is not a setting; write NAME = VALUE", SHOWN(text));
		return;
	}
	if (s == NULL) {
		s = nearest(p->section, name);
		if (s == NULL)
			fault(p, line, "there is no setting `%.*s'; see rekindle.conf(5) for those there are",
			    SHOWN(name));
		else if (s->in & IN(p->section))
			fault(p, line, "there is no setting `%.*s'; did you mean `%s'?", SHOWN(name), s->name);
		else
			fault(p, line, "there is no setting `%.*s'; did you mean `%s', which belongs %s?", SHOWN(name),
			    s->name, where_it_belongs(s));
		return;
	}
	if (!(s->in & IN(p->section))) {
		fault(p, line, "`%s' is in the wrong section; it belongs %s", s->name, where_it_belongs(s));
		return;
	}
	set = &p->set[p->section][s - settings];
	if (*set != 0) {
		fault(p, line, "`%s' is already set in line %u; keep one of them", s->name, *set);
		return;
	}
	*set = line;
	if (p->section == STREAM)
		p->own[p->stream][s - settings] = true;
	if (!read_value(p, p->section == STREAM ? p->stream : 0, s, value, text.p))
		p->bad[s - settings] = true;
}

static bool
is_stream_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_word(s.p[i]) && s.p[i] != '.')
			return false;
	return s.n > 0 && s.n <= STREAM_NAME_MAX;
}

/* A stream's section begins, good name or not: its settings are to be looked at. */
static void
begin_stream(struct parser *p, unsigned line, struct span name)
{
	struct conf *c = p->conf;

	if (!is_stream_name(name))
		fault(p, line, "`%.*s' is not a name for a stream; use 1 to %d letters, digits, - _ .", SHOWN(name),
		    STREAM_NAME_MAX);
	else if (span_eq(name, SPAN("default")))
		fault(p, line,
		    "the stream `default' is the general settings themselves; set them before the first section");
	else
		for (size_t i = 1; i < c->nstreams; i++)
			if (span_eq(span_of(c->stream[i].name), name)) {
				fault(p, line,
				    "the stream `%s' is already in line %u; keep one of them, or rename this one",
				    c->stream[i].name, p->stream_line[i]);
				break;
			}
	if (c->nstreams == CONF_STREAMS_MAX) {
		fault(p, line, "there are too many streams; at most %d", CONF_STREAMS_MAX - 1);
		return;
	}
	c->stream = xreallocarray(c->stream, c->nstreams + 1, sizeof *c->stream);
	p->stream_line = xreallocarray(p->stream_line, c->nstreams + 1, sizeof *p->stream_line);
	p->own = xreallocarray(p->own, c->nstreams + 1, sizeof *p->own);
	memset(p->own[c->nstreams], 0, sizeof *p->own);
	c->stream[c->nstreams] = c->stream[0];
	c->stream[c->nstreams].name = xstrndup(name.p, name.n);
	p->stream_line[c->nstreams] = line;
	memset(p->set[STREAM], 0, sizeof p->set[STREAM]);
	p->section = STREAM;
	p->stream = c->nstreams++;
}

static void
read_section(struct parser *p, struct span text)
{
	unsigned line = p->piece[0].line;
	struct span inside = span_trim(span_cut(text, 1, text.n - 1)), name;
	size_t n = 0;

	p->section = NOWHERE;
	if (!span_ends(text, SPAN("]"))) {
		fault(p, line,
		    "`%.*s' does not end in ]; write [stream NAME] or [policy], and nothing else in the line",
		    SHOWN(text));
		return;
	}
	while (n < inside.n && !is_white(inside.p[n]))
		n++;
	name = span_trim(span_from(inside, n));
	inside = span_cut(inside, 0, n);
	if (span_eq(inside, SPAN("stream"))) {
		if (name.n == 0)
			fault(p, line, "a stream needs a name; write [stream NAME]");
		else
			begin_stream(p, line, name);
	} else if (span_eq(inside, SPAN("policy"))) {
		p->section = POLICY;
		if (name.n > 0)
			fault(p, line, "there is one policy, without a name; write [policy]");
		else if (p->policy_line > 0)
			fault(p, line, "[policy] is already in line %u; put all of its settings there", p->policy_line);
		else
			p->policy_line = line;
	} else
		fault(p, line, "there is no section `%.*s'; use [stream NAME] or [policy]", SHOWN(inside));
}

static void
end_logical(struct parser *p)
{
	struct span text = buf_span(&p->text);

	if (p->npieces > 0) {
		if (text.p[0] == '[')
			read_section(p, text);
		else
			read_setting(p, text);
	}
	buf_clear(&p->text);
	p->npieces = 0;
}

/*
 * What people indent below a section, or leave a blank before when they take
 * away a #, would vanish in the value of the line before.
 */
static bool
looks_indented(struct span line)
{
	size_t eq = span_find(line, '=');

	return (eq < line.n && setting_named(span_trim(span_cut(line, 0, eq)))) ||
	       span_starts(line, SPAN("[stream ")) || span_starts(line, SPAN("[policy]"));
}

static bool
is_readable(struct parser *p, struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if (((unsigned char)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f) {
			fault(p, p->line, "there is a control character (0x%02x); remove it", (unsigned char)line.p[i]);
			return false;
		}
	if (!text_is_utf8(line)) {
		fault(p, p->line, "these bytes are not UTF-8; save the file as UTF-8");
		return false;
	}
	return true;
}

static void
read_line(struct parser *p, struct span raw)
{
	struct span line = span_trim(raw);
	bool indented = raw.n > 0 && is_white(raw.p[0]);

	if (span_ends(raw, SPAN("\r")))
		raw.n--;
	if (line.n == 0 || line.p[0] == '#') {
		is_readable(p, raw);
		return;
	}
	if (!indented) {
		end_logical(p);
		p->broken = false;
	}
	if (!is_readable(p, raw)) {
		p->broken = p->broken || !indented;
		return;
	}
	if (indented) {
		if (p->broken)
			return;
		if (looks_indented(line)) {
			fault(p, p->line,
			    "white space before `%.*s' makes it part of the line before; start it at the left margin",
			    SHOWN(line));
			return;
		}
		if (p->npieces == 0 || p->text.p[0] == '[') {
			fault(p, p->line,
			    "white space at the start continues a setting, and none came before; remove it");
			return;
		}
		buf_addc(&p->text, ' ');
	}
	if (p->npieces == p->cappieces) {
		p->cappieces = p->cappieces ? 2 * p->cappieces : 16;
		p->piece = xreallocarray(p->piece, p->cappieces, sizeof *p->piece);
	}
	p->piece[p->npieces++] = (struct piece){ p->text.n, p->line };
	buf_add(&p->text, line);
}

/* ---- the whole ---- */

static void
set_defaults(struct parser *p)
{
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].value)
			read_value(p, 0, &settings[i], span_of(settings[i].value), settings[i].value);
	assert(p->nfaults == 0);
}

static void
count_lines(struct parser *p, struct span text)
{
	for (size_t i = 0; i < text.n; i++)
		p->line += text.p[i] == '\n';
}

static void
read_lines(struct parser *p, struct span text)
{
	struct span line;

	/* Editors of another world put a mark at the start of UTF-8. */
	if (span_starts(text, SPAN("\xef\xbb\xbf")))
		text = span_from(text, 3);
	while (span_split(&text, '\n', &line)) {
		p->line++;
		read_line(p, line);
	}
	end_logical(p);
	if (p->line == 0)
		p->line = 1; /* an empty file has a first line, to say that things are missing */
}

/* A value of a setting as it stands in memory. */
static size_t
size_of(const struct setting *s)
{
	switch (s->type) {
	case TEXT:
		return sizeof(char *);
	case LIST:
	case COMMAS:
		return sizeof(struct list);
	case BOOL:
		return sizeof(bool);
	case WORD:
	case NUMBER:
	case PERCENT:
		return sizeof(unsigned);
	case DURATION:
	case SIZE:
		return sizeof(uint64_t);
	case CAPS:
		return sizeof(struct caps);
	}
	return 0;
}

/*
 * What a stream's policy does not say itself it has from its own preset, or
 * from [policy], wherever that stands.  Numbers that nobody set are 0: all of
 * a preset's are at least 1.
 */
static void
apply_policy(struct parser *p)
{
	struct conf *c = p->conf;

	for (size_t k = 0; k < c->nstreams; k++)
		for (size_t i = 0; i < NSETTINGS; i++) {
			const struct setting *s = &settings[i];
			void *at = place(c, k, s);

			if ((s->in & IN(POLICY)) == 0 || (k > 0 && p->own[k][i]))
				continue;
			if (k == 0 && is_presets(s) && *(unsigned *)at == 0)
				*(unsigned *)at = presets_number(s, c->stream[0].preset);
			else if (k > 0 && is_presets(s) && p->own[k][setting_named(SPAN("preset")) - settings])
				*(unsigned *)at = presets_number(s, c->stream[k].preset);
			else if (k > 0)
				memcpy(at, place(c, 0, s), size_of(s));
		}
	for (size_t k = 0; k < c->nstreams; k++) {
		c->stream[k].policy.on[CAUSE_NONE] = ACTION_SEND;
		c->stream[k].policy.settle = (unsigned)((c->settle + 999) / 1000);
	}
}

static bool
is_bad(const struct parser *p, const char *name)
{
	return p->bad[setting_named(span_of(name)) - settings];
}

/* The later of the lines that set these; the last of the file when none does. */
static unsigned
later_line(const struct parser *p, enum section section, const char *a, const char *b)
{
	unsigned x = p->set[section][setting_named(span_of(a)) - settings];
	unsigned y = p->set[section][setting_named(span_of(b)) - settings];

	return x > y ? x : y > 0 ? y : p->line;
}

/* Two settings that name headers. */
static void
check_apart(struct parser *p, const char *a, const char *name_a, const char *b, const char *name_b)
{
	if (span_ieq(span_of(name_a), span_of(name_b)))
		fault(p, later_line(p, GENERAL, a, b), "%s and %s are both `%.*s'; they must differ", a, b,
		    SHOWN(span_of(name_b)));
}

/* A listener that marked for itself would tag nothing, and mail that is marked must be met again. */
static void
check_split(struct parser *p)
{
	const struct list *front = &p->conf->split_front, *back = &p->conf->split_back;
	unsigned line = later_line(p, GENERAL, "split_front", "split_back");

	if (is_bad(p, "split_front") || is_bad(p, "split_back"))
		return;
	if ((front->n > 0) != (back->n > 0))
		fault(p, line, "%s has no %s; name the listeners on both sides of the split",
		    front->n > 0 ? "split_front" : "split_back", front->n > 0 ? "split_back" : "split_front");
	for (size_t i = 0; i < front->n; i++)
		for (size_t k = 0; k < back->n; k++)
			if (strcmp(front->item[i], back->item[k]) == 0) {
				fault(p, line, "split_front and split_back both name `%.*s'; they must differ",
				    SHOWN(span_of(back->item[k])));
				return;
			}
}

/* Somewhere to answer, and for TLS a key for each certificate. */
static void
check_listeners(struct parser *p)
{
	const struct conf *c = p->conf;
	unsigned line = later_line(p, GENERAL, "tls_cert", "tls_key");

	if (c->http_listen.n + c->https_listen.n == 0)
		fault(p, later_line(p, GENERAL, "http_listen", "https_listen"),
		    "http_listen: is empty; the default is %s", setting_named(SPAN("http_listen"))->value);
	if (is_bad(p, "tls_cert") || is_bad(p, "tls_key"))
		return;
	if (c->tls_cert.n != c->tls_key.n)
		fault(p, line, "tls_cert has %zu files and tls_key %zu; each certificate needs its key, in the same order",
		    c->tls_cert.n, c->tls_key.n);
	else if (c->https_listen.n > 0 && c->tls_cert.n == 0)
		fault(p, later_line(p, GENERAL, "https_listen", "https_listen"),
		    "https_listen needs a certificate; name its files in tls_cert and tls_key");
}

/* Streams come behind the settings that name one. */
static void
check_ask(struct parser *p)
{
	struct span name = span_of(p->conf->ask_stream);

	if (conf_stream(p->conf, name) == NULL && !is_bad(p, "ask_stream"))
		fault(p, later_line(p, GENERAL, "ask_stream", "ask_stream"), "ask_stream: there is no [stream %.*s]", SHOWN(name));
}

/* Of two parameters of one name only the first would ever be added. */
static void
check_parameters(struct parser *p, const struct stream *stream)
{
	const struct list *l = &stream->url_parameters;

	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; k < i; k++) {
			struct span a = span_of(l->item[i]), name = span_cut(a, 0, span_find(a, '=') + 1);

			if (span_starts(span_of(l->item[k]), name))
				fault(p, p->line, "url_parameters of stream %s: `%.*s' is there twice; keep one of them",
				    stream->name, SHOWN(a));
		}
}

/* The same of a stream that has numbers of its own. */
static void
check_stream_policy(struct parser *p, size_t k)
{
	const struct stream *stream = &p->conf->stream[k];
	const struct policy *q = &stream->policy, *general = &p->conf->stream[0].policy;

	if (q->semi_days <= q->engaged_days && general->semi_days > general->engaged_days && !is_bad(p, "semi_days") &&
	    !is_bad(p, "engaged_days"))
		fault(p, p->stream_line[k], "stream %s: semi_days (%u) must be more than engaged_days (%u)", stream->name,
		    q->semi_days, q->engaged_days);
	if (stream->transactional && stream->series)
		fault(p, p->stream_line[k], "stream %s is transactional and has series_stream; mail that everybody gets asks nobody back",
		    stream->name);
	if (q->new_max_days < q->new_days && general->new_max_days >= general->new_days && !is_bad(p, "new_max_days") &&
	    !is_bad(p, "new_days"))
		fault(p, p->stream_line[k], "stream %s: new_max_days (%u) must be at least new_days (%u)", stream->name,
		    q->new_max_days, q->new_days);
}

/* What two settings say together. */
static void
check_together(struct parser *p)
{
	const struct conf *c = p->conf;
	const struct policy *q = &c->stream[0].policy;
	const struct {
		const char *name, *value;
	} headers[] = {
		{ "campaign_header", c->campaign_header }, { "stream_header", c->stream_header },
		{ "consent_header", c->consent_header }, { "track_header", c->track_header },
	};

	if (q->semi_days <= q->engaged_days && !is_bad(p, "semi_days") && !is_bad(p, "engaged_days"))
		fault(p, later_line(p, POLICY, "semi_days", "engaged_days"),
		    "semi_days (%u) must be more than engaged_days (%u)", q->semi_days, q->engaged_days);
	if (c->rules.early < c->rules.instant && !is_bad(p, "early") && !is_bad(p, "instant"))
		fault(p, later_line(p, GENERAL, "early", "instant"), "early must be at least instant");
	if (q->new_max_days < q->new_days && !is_bad(p, "new_max_days") && !is_bad(p, "new_days"))
		fault(p, later_line(p, POLICY, "new_max_days", "new_days"),
		    "new_max_days (%u) must be at least new_days (%u)", q->new_max_days, q->new_days);
	for (size_t k = 1; k < c->nstreams; k++)
		check_stream_policy(p, k);
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		for (size_t j = i + 1; j < sizeof headers / sizeof *headers; j++)
			check_apart(p, headers[i].name, headers[i].value, headers[j].name, headers[j].value);
	check_split(p);
	check_listeners(p);
	check_ask(p);
	for (size_t i = 0; i < c->nstreams; i++)
		if (i == 0 || c->stream[i].url_parameters.item != c->stream[0].url_parameters.item)
			check_parameters(p, &c->stream[i]);
}

static void
check_required(struct parser *p)
{
	/* The line told is the last one, and that is no place for them where there are sections. */
	const char *where = p->conf->nstreams > 1 || p->policy_line > 0 ? ", before the first section" : "";

	for (size_t i = 0; i < NSETTINGS; i++) {
		const struct setting *s = &settings[i];
		struct buf allowed = BUF(1024);

		if (!is_required(s) || p->set[GENERAL][i] > 0)
			continue;
		add_allowed(s, &allowed);
		if (allowed.n > 0)
			fault(p, p->line, "`%s' is required; choose %s%s", s->name, buf_cstr(&allowed), where);
		else
			fault(p, p->line, "`%s' is required; add a line such as %s = %s%s", s->name, s->name, s->example, where);
		buf_free(&allowed);
	}
}

static void
report(struct parser *p, const char *name, struct buf *errors)
{
	for (size_t i = 0; i < p->nfaults; i++) {
		buf_addf(errors, "%s:%u: %s\n", name, p->fault[i].line, p->fault[i].what);
		free(p->fault[i].what);
	}
	if (p->nmore > 0)
		buf_addf(errors, "%s:%u: and %zu more\n", name, p->line, p->nmore);
}

struct conf *
conf_parse_anyway(struct span text, const char *name, struct buf *errors, bool *good)
{
	struct parser *p = xcalloc(1, sizeof *p);
	struct conf *c = p->conf = xcalloc(1, sizeof *c);

	c->stream = xcalloc(1, sizeof *c->stream);
	c->nstreams = 1;
	c->stream[0].name = xstrdup("default");
	buf_init(&p->text, 2 * text.n + 16);
	set_defaults(p);

	p->section = GENERAL;
	if (span_find(text, '\0') < text.n) {
		/* UTF-16, or no text at all: anything else that can be said is noise. */
		count_lines(p, span_cut(text, 0, span_find(text, '\0')));
		fault(p, ++p->line, "there is a NUL byte; this is not a text file in UTF-8");
	} else {
		read_lines(p, text);
		apply_policy(p);
		check_together(p);
		check_required(p);
	}
	for (size_t i = 0; i < c->nstreams; i++) {
		c->enforce_any = c->enforce_any || (c->stream[i].enforce && !c->stream[i].transactional);
		c->opens_vary = c->opens_vary || c->stream[i].opens != c->stream[0].opens;
		c->links_vary = c->links_vary || c->stream[i].links != c->stream[0].links;
	}

	c->file = xstrdup(name);
	c->line = xcalloc(NSETTINGS, sizeof *c->line);
	memcpy(c->line, p->set[GENERAL], NSETTINGS * sizeof *c->line);

	*good = p->nfaults == 0;
	report(p, name, errors);
	buf_free(&p->text);
	free(p->piece);
	free(p->stream_line);
	free(p->own);
	free(p);
	return c;
}

struct conf *
conf_parse(struct span text, const char *name, struct buf *errors)
{
	bool good;
	struct conf *c = conf_parse_anyway(text, name, errors, &good);

	if (!good) {
		conf_free(c);
		return NULL;
	}
	return c;
}

void
conf_free(struct conf *c)
{
	if (c == NULL)
		return;
	/* Last to first: the others may have borrowed from the default one. */
	for (size_t k = c->nstreams; k-- > 0;) {
		for (size_t i = 0; i < NSETTINGS; i++)
			if (settings[i].in & IN(STREAM))
				value_free(c, k, &settings[i]);
		free(c->stream[k].name);
	}
	for (size_t i = 0; i < NSETTINGS; i++)
		if (!(settings[i].in & IN(STREAM)))
			value_free(c, 0, &settings[i]);
	free(c->stream);
	free(c->file);
	free(c->line);
	free(c);
}

static void
add_blame(const struct conf *c, unsigned line, const char *name, struct buf *out)
{
	if (line > 0)
		buf_addf(out, "%s:%u: ", c->file, line);
	buf_addf(out, "%s: ", name);
}

void
conf_blame(const struct conf *c, const char *name, struct buf *out)
{
	add_blame(c, c->line != NULL ? c->line[setting_named(span_of(name)) - settings] : 0, name, out);
}

void
conf_blame_item(const struct conf *c, const char *name, const struct list *l, size_t i, struct buf *out)
{
	add_blame(c, l->line != NULL ? l->line[i] : 0, name, out);
}

bool
conf_list_has(const struct list *l, struct span item)
{
	for (size_t i = 0; i < l->n; i++)
		if (span_eq(span_of(l->item[i]), item))
			return true;
	return false;
}

bool
conf_list_eq(const struct list *a, const struct list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->item[i], b->item[i]) != 0)
			return false;
	return true;
}

const struct stream *
conf_stream(const struct conf *c, struct span name)
{
	for (size_t i = 0; i < c->nstreams; i++)
		if (span_eq(span_of(c->stream[i].name), name))
			return &c->stream[i];
	return NULL;
}

enum mode
conf_mode(const struct conf *c, const struct stream *s, enum axis axis, enum consent consent)
{
	return mode_min(axis == AXIS_OPENS ? s->opens : s->links, privacy_allows(c->privacy_profile, axis, consent));
}
