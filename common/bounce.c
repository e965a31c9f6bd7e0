#include "common/bounce.h"

#include "common/buf.h"
#include "common/text.h"

#define HOST_TEXT_MAX 400 /* "host NAME[ADDRESS] said: ", NAME being one of DNS */
#define COUNT(a) (sizeof(a) / sizeof *(a))

/*
 * What large providers say, in words that are theirs alone or everybody's.
 * The first that is found decides, so the order is: about the sender, then
 * surely about the address, then about the mail, then about room and rates,
 * and last what is said of both a dead address and an unwanted sender, which
 * says something only when nothing else does.
 */
static const struct phrase {
	const char *text; /* in lower case, words separated by one space */
	enum bounce bounce;
	bool weak;        /* only in an answer to RCPT, where the recipient is what was asked about, and beside a code that says little */
} phrases[] = {
	/* The sender's address or machine, whatever does not exist about it. */
	{ "sender address", BOUNCE_POLICY, false },
	{ "sender domain", BOUNCE_POLICY, false },
	{ "sender verify", BOUNCE_POLICY, false },
	{ "sender rejected", BOUNCE_POLICY, false },
	{ "sender denied", BOUNCE_POLICY, false },
	{ "domain of sender", BOUNCE_POLICY, false },
	{ "from address", BOUNCE_POLICY, false },
	{ "helo command rejected", BOUNCE_POLICY, false },
	{ "client host rejected", BOUNCE_POLICY, false },
	{ "reverse dns", BOUNCE_POLICY, false },
	{ "ptr record", BOUNCE_POLICY, false },
	{ "block list", BOUNCE_POLICY, false },       /* Microsoft S3140: "mailbox unavailable. ... on our block list" */
	{ "blocklist", BOUNCE_POLICY, false },
	{ "blacklist", BOUNCE_POLICY, false },
	{ "black listed", BOUNCE_POLICY, false },
	{ "spamhaus", BOUNCE_POLICY, false },
	{ "spamcop", BOUNCE_POLICY, false },
	{ "barracudacentral", BOUNCE_POLICY, false },
	{ "dnsbl", BOUNCE_POLICY, false },
	{ "dmarc", BOUNCE_POLICY, false },
	{ "dkim", BOUNCE_POLICY, false },
	{ "spf", BOUNCE_POLICY, false },
	{ "unauthenticated", BOUNCE_POLICY, false },  /* Gmail 5.7.26 */
	{ "senderauthenticated", BOUNCE_POLICY, false },
	{ "unsolicited", BOUNCE_POLICY, false },      /* Gmail 5.7.1, 4.7.28 */
	{ "relay access denied", BOUNCE_POLICY, false },
	{ "relaying denied", BOUNCE_POLICY, false },
	{ "too many invalid recipients", BOUNCE_POLICY, false },
	{ "user complaints", BOUNCE_POLICY, false },  /* Yahoo TSS04 */

	/* Some mailbox takes nothing now, but is one: before "disabled" and the like. */
	{ "receiving mail at a rate", BOUNCE_SOFT, false }, /* Gmail 5.2.1, of a mailbox that is well */
	{ "receiving mail too quickly", BOUNCE_SOFT, false },
	{ "temporarily disabled", BOUNCE_SOFT, false },
	{ "temporarily unavailable", BOUNCE_SOFT, false },
	{ "temporarily suspended", BOUNCE_SOFT, false },
	{ "temporary failure", BOUNCE_SOFT, false },

	/* The address. */
	{ "user unknown", BOUNCE_HARD, false },
	{ "unknown user", BOUNCE_HARD, false },
	{ "unknown recipient", BOUNCE_HARD, false },
	{ "recipient unknown", BOUNCE_HARD, false },
	{ "addressee unknown", BOUNCE_HARD, false },
	{ "address unknown", BOUNCE_HARD, false },
	{ "unknown address", BOUNCE_HARD, false },
	{ "unknown account", BOUNCE_HARD, false },
	{ "unknown mailbox", BOUNCE_HARD, false },
	{ "unknown local", BOUNCE_HARD, false },      /* "unknown local-part" */
	{ "unknown or illegal alias", BOUNCE_HARD, false }, /* iCloud */
	{ "no such user", BOUNCE_HARD, false },       /* Yandex, with 5.7.1 */
	{ "nosuchuser", BOUNCE_HARD, false },         /* Gmail's link */
	{ "no such recipient", BOUNCE_HARD, false },
	{ "no such mailbox", BOUNCE_HARD, false },
	{ "no such address", BOUNCE_HARD, false },
	{ "no such account", BOUNCE_HARD, false },
	{ "no such person", BOUNCE_HARD, false },
	{ "no such domain at this location", BOUNCE_HARD, false },
	{ "no mailbox", BOUNCE_HARD, false },
	{ "user not found", BOUNCE_HARD, false },     /* mail.ru, NetEase */
	{ "mailbox not found", BOUNCE_HARD, false },  /* QQ, Yahoo */
	{ "account not found", BOUNCE_HARD, false },
	{ "address not found", BOUNCE_HARD, false },
	{ "recipient not found", BOUNCE_HARD, false },
	{ "recipientnotfound", BOUNCE_HARD, false },  /* Exchange: RESOLVER.ADR.RecipientNotFound */
	{ "recipnotfound", BOUNCE_HARD, false },
	{ "user doesn't exist", BOUNCE_HARD, false },
	{ "user does not exist", BOUNCE_HARD, false },
	{ "user doesn't have a", BOUNCE_HARD, false }, /* Yahoo: "dd This user doesn't have a yahoo.com account" */
	{ "account does not exist", BOUNCE_HARD, false },
	{ "account doesn't exist", BOUNCE_HARD, false },
	{ "account that you tried to reach does not exist", BOUNCE_HARD, false }, /* Gmail */
	{ "address does not exist", BOUNCE_HARD, false },
	{ "address doesn't exist", BOUNCE_HARD, false },
	{ "mailbox does not exist", BOUNCE_HARD, false },
	{ "mailbox doesn't exist", BOUNCE_HARD, false },
	{ "recipient does not exist", BOUNCE_HARD, false },
	{ "non-existent account", BOUNCE_HARD, false }, /* QQ */
	{ "not a known user", BOUNCE_HARD, false },
	{ "not a valid user", BOUNCE_HARD, false },
	{ "not a valid mailbox", BOUNCE_HARD, false },
	{ "not a valid recipient", BOUNCE_HARD, false },
	{ "not our customer", BOUNCE_HARD, false },   /* Comcast */
	{ "account not available", BOUNCE_HARD, false },
	{ "invalid mailbox", BOUNCE_HARD, false },    /* mail.ru */
	{ "invalid recipient", BOUNCE_HARD, false },
	{ "destinataire invalide", BOUNCE_HARD, false }, /* Orange */
	{ "unrouteable address", BOUNCE_HARD, false }, /* Exim */
	{ "user is terminated", BOUNCE_HARD, false },
	{ "inactive email account", BOUNCE_HARD, false }, /* iCloud */
	{ "inactive user", BOUNCE_HARD, false },
	{ "account that you tried to reach is disabled", BOUNCE_HARD, false }, /* Gmail */
	{ "account that you tried to reach is inactive", BOUNCE_HARD, false },
	{ "account is disabled", BOUNCE_HARD, false },
	{ "account disabled", BOUNCE_HARD, false },
	{ "account has been disabled", BOUNCE_HARD, false }, /* Yahoo [#102] */
	{ "account has been closed", BOUNCE_HARD, false },
	{ "account closed", BOUNCE_HARD, false },
	{ "mailbox is disabled", BOUNCE_HARD, false }, /* Yahoo 554.30 */
	{ "mailbox disabled", BOUNCE_HARD, false },
	{ "mailbox is inactive", BOUNCE_HARD, false },
	{ "blocked due to inactivity", BOUNCE_HARD, false }, /* Free */
	{ "disabled or discontinued", BOUNCE_HARD, false },
	{ "nullmx", BOUNCE_HARD, false },             /* Postfix of RFC 7505, with 5.1.0 */
	{ "null mx", BOUNCE_HARD, false },
	{ "dns domain does not exist", BOUNCE_HARD, false }, /* Microsoft 5.4.310 */
	{ "host or domain name not found. name service error", BOUNCE_HARD, false }, /* Postfix 5.4.4 */
	{ "recipient address rejected: access denied", BOUNCE_HARD, true }, /* Microsoft 5.4.1: directory-based edge blocking */

	/* The mail. */
	{ "spam", BOUNCE_POLICY, false },
	{ "policy", BOUNCE_POLICY, false },
	{ "blocked", BOUNCE_POLICY, false },
	{ "banned", BOUNCE_POLICY, false },
	{ "virus", BOUNCE_POLICY, false },
	{ "malware", BOUNCE_POLICY, false },
	{ "phish", BOUNCE_POLICY, false },
	{ "content denied", BOUNCE_POLICY, false },   /* QQ */
	{ "content rejected", BOUNCE_POLICY, false },
	{ "poor reputation", BOUNCE_POLICY, false },
	{ "low reputation", BOUNCE_POLICY, false },
	{ "frequency limited", BOUNCE_POLICY, false }, /* QQ: "Ip frequency limited", "Domain frequency limited" */
	{ "not authorized", BOUNCE_POLICY, false },
	{ "rejected by recipient", BOUNCE_POLICY, false },
	{ "message size", BOUNCE_POLICY, false },
	{ "message too large", BOUNCE_POLICY, false },
	{ "dt:spm", BOUNCE_POLICY, false },           /* NetEase */

	/* Room and time. */
	{ "quota", BOUNCE_SOFT, false },
	{ "mailbox full", BOUNCE_SOFT, false },
	{ "mailbox is full", BOUNCE_SOFT, false },
	{ "inbox is full", BOUNCE_SOFT, false },
	{ "out of storage", BOUNCE_SOFT, false },     /* Gmail 4.2.2 */
	{ "storage allocation", BOUNCE_SOFT, false }, /* RFC 5321's words for 552 */
	{ "storage full", BOUNCE_SOFT, false },
	{ "insufficient system storage", BOUNCE_SOFT, false },
	{ "try again later", BOUNCE_SOFT, false },
	{ "rate limit", BOUNCE_SOFT, false },
	{ "too many connections", BOUNCE_SOFT, false },

	/* RFC 5321's own words for 550 and 553, which is all that some ever say (Outlook.com, GMX). */
	{ "mailbox unavailable", BOUNCE_HARD, true },
	{ "mailbox name not allowed", BOUNCE_HARD, true },
	{ "recipient rejected", BOUNCE_HARD, true },
	{ "address rejected", BOUNCE_HARD, true },
	{ "does not like recipient", BOUNCE_HARD, true },
};

/* Exact codes, or a whole subject with its dot at the end; the first that fits. */
static const struct rule {
	const char *code; /* without the class */
	enum bounce bounce;
} rules[] = {
	{ "1.1", BOUNCE_HARD },   /* no such mailbox */
	{ "1.2", BOUNCE_HARD },   /* no such system */
	{ "1.3", BOUNCE_HARD },   /* no such syntax */
	{ "1.6", BOUNCE_HARD },   /* moved, without a forwarding address */
	{ "1.10", BOUNCE_HARD },  /* null MX (RFC 7505) */
	{ "1.0", BOUNCE_SOFT },   /* "other": Exchange and others say it of senders as well */
	{ "1.4", BOUNCE_SOFT },   /* ambiguous */
	{ "1.", BOUNCE_POLICY },  /* 1.7, 1.8: the sender's address */
	{ "2.1", BOUNCE_HARD },   /* disabled */
	{ "2.3", BOUNCE_POLICY }, /* too long for this mailbox */
	{ "2.", BOUNCE_SOFT },    /* 2.2 full, 2.4 list */
	{ "3.4", BOUNCE_POLICY }, /* too big for this system */
	{ "3.", BOUNCE_SOFT },
	{ "4.4", BOUNCE_HARD },   /* no route: no MX, no address */
	{ "4.", BOUNCE_SOFT },    /* the network, 4.1 and 4.7 above all */
	{ "5.", BOUNCE_POLICY },  /* protocol: what we sent */
	{ "6.", BOUNCE_POLICY },  /* content */
	{ "7.17", BOUNCE_HARD },  /* the mailbox has another owner (RFC 7293) */
	{ "7.18", BOUNCE_HARD },  /* the domain has */
	{ "7.13", BOUNCE_HARD },  /* account disabled (RFC 5248 registry) */
	{ "7.", BOUNCE_POLICY },
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* An enhanced status code of class 2, 4 or 5 that stands free; not a piece of an address or a version. */
static bool
find_code(struct span s, char out[BOUNCE_CODE_MAX])
{
	for (size_t i = 0; i < s.n; i++) {
		size_t at = i, digits = 0, dots = 0;

		if ((s.p[i] != '2' && s.p[i] != '4' && s.p[i] != '5') ||
		    (i > 0 && (s.p[i - 1] == '.' || is_digit(s.p[i - 1]))))
			continue;
		for (at = i; at < s.n && at - i < 10; at++) {
			if (s.p[at] == '.' && digits > 0 && at + 1 < s.n && is_digit(s.p[at + 1])) {
				dots++;
				digits = 0;
			} else if (is_digit(s.p[at]) && digits < 3)
				digits++;
			else
				break;
		}
		if (dots != 2 || (at < s.n && is_digit(s.p[at])) || s.p[i + 1] != '.')
			continue;
		memcpy(out, s.p + i, at - i);
		out[at - i] = '\0';
		return true;
	}
	return false;
}

/* "550", "550-5.1.1", "#5.1.1", "[511]": between the words of a reply of several lines. */
static bool
is_number(struct span word)
{
	for (size_t i = 0; i < word.n; i++)
		if (!is_digit(word.p[i]) && strchr(".-#[]()", word.p[i]) == NULL)
			return false;
	return true;
}

static bool
is_white(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* On one line: a Diagnostic-Code may be folded anywhere. */
static void
add_flat(struct buf *out, struct span text)
{
	text = span_trim(span_cut(text, 0, BOUNCE_TEXT_MAX));
	for (size_t i = 0; i < text.n; i++)
		if (!is_white(text.p[i]))
			buf_addc(out, text.p[i]);
		else if (!is_white(text.p[i + 1])) /* there is one: white space at the end is gone */
			buf_addc(out, ' ');
}

/*
 * The words that were said, in lower case: without codes, which break phrases
 * in a reply of several lines, and without addresses, whose owners choose
 * what stands in them.
 */
static void
add_words(struct buf *out, struct span text)
{
	struct span word;

	while (span_split(&text, ' ', &word)) {
		if (span_find(word, '@') < word.n || is_number(word))
			continue;
		for (size_t i = 0; i < word.n; i++)
			buf_addc(out, ascii_lower(word.p[i]));
		buf_addc(out, ' ');
	}
}

/* "smtp; 550 ...", "host mx.example.com[192.0.2.1] said: 550 ...": from where the remote server speaks. */
static struct span
own_words(struct span text)
{
	static const struct span marks[] = { { "said: ", 6 }, { "refused to talk to me: ", 23 } };
	struct span type = span_cut(text, 0, span_find(text, ';')), head;

	if (type.n < 12 && span_find(type, ' ') == type.n && type.n < text.n)
		text = span_trim(span_from(text, type.n + 1));
	if (!span_starts(text, SPAN("host ")))
		return text;
	head = span_cut(text, 0, HOST_TEXT_MAX);
	for (size_t i = 0; i < COUNT(marks); i++)
		if (span_search(head, marks[i]) < head.n)
			return span_from(text, span_search(head, marks[i]) + marks[i].n);
	return text;
}

/* Three digits that begin a reply; 0: none. */
static unsigned
reply_code(struct span text)
{
	text = span_trim(text);
	if (text.n < 3 || !is_digit(text.p[0]) || !is_digit(text.p[1]) || !is_digit(text.p[2]) || (text.n > 3 && is_digit(text.p[3])))
		return 0;
	return (unsigned)(text.p[0] - '0') * 100 + (unsigned)(text.p[1] - '0') * 10 + (unsigned)(text.p[2] - '0');
}

/* "Other", or one that Microsoft uses for something else. */
static bool
is_vague(const char *code)
{
	static const char *const says_much[] = { ".6.0", ".7.0" };

	for (size_t i = 0; i < COUNT(says_much); i++)
		if (code[0] != '\0' && strcmp(code + 1, says_much[i]) == 0)
			return false;
	return code[0] == '\0' || span_ends(span_of(code), SPAN(".0")) || strcmp(code + 1, ".4.1") == 0;
}

static enum bounce
by_code(const char *code, enum bounce otherwise)
{
	const char *rest = strchr(code, '.');

	for (size_t i = 0; rest != NULL && i < COUNT(rules); i++) {
		struct span rule = span_of(rules[i].code), got = span_of(rest + 1);

		if (span_eq(got, rule) || (span_ends(rule, SPAN(".")) && span_starts(got, rule)))
			return rules[i].bounce;
	}
	return otherwise;
}

/* What is being asked when the refusal comes, as Postfix adds it.  Nobody has named a recipient at the first ones. */
enum stage { STAGE_BEFORE, STAGE_RCPT, STAGE_DATA };

static enum stage
stage_of(struct span text)
{
	static const char *const before[] = {
		"refused to talk to me:", "(in reply to MAIL FROM", "(in reply to EHLO", "(in reply to HELO",
		"(in reply to AUTH", "(in reply to STARTTLS",
	};

	for (size_t i = 0; i < COUNT(before); i++)
		if (span_search(text, span_of(before[i])) < text.n)
			return STAGE_BEFORE;
	return span_search(text, SPAN("(in reply to end of DATA")) < text.n || span_search(text, SPAN("(in reply to DATA")) < text.n
	    ? STAGE_DATA : STAGE_RCPT;
}

enum bounce
bounce_judge(struct span status, struct span text, char code[BOUNCE_CODE_MAX])
{
	struct buf flat = BUF(BOUNCE_TEXT_MAX), words = BUF(BOUNCE_TEXT_MAX + 1);
	struct span own;
	enum stage stage;
	enum bounce b;
	bool transient;

	add_flat(&flat, text);
	stage = stage_of(buf_span(&flat));
	own = own_words(buf_span(&flat));
	code[0] = '\0';
	if (!find_code(own, code))
		find_code(status, code);
	transient = code[0] != '\0' ? code[0] == '4' : reply_code(own) / 100 == 4;

	/* Where no recipient was asked about, a refusal without a reason is about the mail. */
	b = reply_code(own) == 556 ? BOUNCE_HARD : stage == STAGE_RCPT || transient ? BOUNCE_SOFT : BOUNCE_POLICY;
	b = by_code(code, b);
	add_words(&words, own);
	for (size_t i = 0; i < COUNT(phrases); i++)
		if (span_search(buf_span(&words), span_of(phrases[i].text)) < words.n &&
		    (!phrases[i].weak || (stage == STAGE_RCPT && is_vague(code)))) {
			b = phrases[i].bounce;
			break;
		}
	buf_free(&words);
	buf_free(&flat);
	if (b == BOUNCE_HARD && stage == STAGE_BEFORE)
		return transient ? BOUNCE_SOFT : BOUNCE_POLICY;
	/* Whoever says "later" may be asked later. */
	return b == BOUNCE_HARD && transient ? BOUNCE_SOFT : b;
}

const char *
bounce_name(enum bounce b)
{
	static const char *const names[] = { "soft", "policy", "hard" };

	return text_name(names, COUNT(names), (size_t)b);
}
