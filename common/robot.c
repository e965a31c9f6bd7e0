/* robot.c -- machine or person?  From one request alone. */
#include <string.h>

#include "common/robot.h"

/* The one user agent of Gmail's prefetch: a person has a session open but may never look at this message. */
#define GMAIL_PREFETCH "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) " \
	"Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"

/* The two that fetch for a person who looks, and say so.  No list can call them machines. */
static bool
is_image_proxy(struct span agent)
{
	/* Nearly nobody else has this word, and few have its first letter. */
	struct span rest = agent;

	do
		rest = span_from(rest, span_find(rest, 'P') + 1);
	while (rest.n > 0 && !span_starts(rest, SPAN("roxy")));
	if (rest.n == 0)
		return false;
	return span_search(agent, SPAN("GoogleImageProxy")) < agent.n || span_search(agent, SPAN("YahooMailProxy")) < agent.n;
}

/* Fetched ahead, as browsers old and new say it. */
static bool
is_prefetch(const struct sighting *s)
{
	static const char *const words[] = { "prefetch", "prerender", "preview", "instant" };
	const struct span values[] = { s->purpose, s->x_purpose, s->x_moz };

	/* "prefetch;prerender", "prefetch;anonymous-client-ip" */
	if (span_istarts(s->sec_purpose, SPAN("prefetch")))
		return true;
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		for (size_t k = 0; values[i].n > 0 && k < sizeof words / sizeof *words; k++)
			if (span_ieq(values[i], span_of(words[k])))
				return true;
	return false;
}

/* What the lists say of the client's network; networks of scope clicks have readers behind the pixel. */
static bool
listed_network(const struct robots *robots, const struct sighting *s, bool *certain)
{
	struct robot_network n;

	if (robots == NULL || s->address == NULL || !robots_network(robots, s->address, &n) || (s->pixel && n.clicks_only))
		return false;
	*certain = n.certain;
	return true;
}

static struct judgement
judge(const struct robots *robots, const struct sighting *s)
{
	enum robot listed = ROBOT_NONE;
	bool certain = false, network;

	/* Rules of the mail trade first: generic ones misfire on them. */
	if (s->pixel && span_eq(s->agent, SPAN("Mozilla/5.0")))
		return (struct judgement){ ROBOT_PRIVACY_OPEN, EVIDENCE_APPLE };
	if (span_eq(s->agent, SPAN(GMAIL_PREFETCH)))
		return (struct judgement){ ROBOT_PREFETCH, EVIDENCE_GMAIL };
	if (s->head)
		return (struct judgement){ ROBOT_SCANNER, EVIDENCE_HEAD };
	/* Image proxies fetch for a person who looks; what follows links in their name is something else. */
	if (is_image_proxy(s->agent))
		return (struct judgement){ s->pixel ? ROBOT_PROXY_OPEN : ROBOT_SUSPECT, EVIDENCE_IMAGE_PROXY };
	if (is_prefetch(s))
		return (struct judgement){ ROBOT_PREFETCH, EVIDENCE_PREFETCH };
	if (robots != NULL && (listed = robots_agent(robots, s->agent)) != ROBOT_NONE)
		return (struct judgement){ listed, listed == ROBOT_HUMAN ? EVIDENCE_NONE : EVIDENCE_AGENT };
	network = listed_network(robots, s, &certain);
	if (network && certain)
		return (struct judgement){ ROBOT_SCANNER, EVIDENCE_NETWORK };
	if (s->agent.n == 0)
		return (struct judgement){ ROBOT_SUSPECT, EVIDENCE_NO_AGENT };
	if (network)
		return (struct judgement){ ROBOT_SUSPECT, EVIDENCE_MAYBE_NETWORK };
	return (struct judgement){ ROBOT_HUMAN, EVIDENCE_NONE };
}

struct judgement
robot_judge(const struct robots *robots, const struct sighting *s)
{
	struct judgement j = judge(robots, s);

	if (j.verdict == ROBOT_SUSPECT && s->soon)
		return (struct judgement){ ROBOT_SCANNER, EVIDENCE_EARLY_SUSPECT };
	return j;
}

static const char *const verdicts[] = {
	[ROBOT_NONE] = "none", [ROBOT_HUMAN] = "human", [ROBOT_PROXY_OPEN] = "proxy-open",
	[ROBOT_PRIVACY_OPEN] = "privacy-open", [ROBOT_PREFETCH] = "prefetch", [ROBOT_PREVIEW] = "preview",
	[ROBOT_SCANNER] = "scanner", [ROBOT_SUSPECT] = "suspect",
};
#define VERDICTS (sizeof verdicts / sizeof *verdicts)

const char *
robot_name(enum robot r)
{
	return (unsigned)r < VERDICTS ? verdicts[r] : "unknown";
}

static const struct {
	const char *name, *text;
} evidences[EVIDENCES] = {
	[EVIDENCE_NONE] = { "none", "nothing speaks against a person" },
	[EVIDENCE_APPLE] = { "apple-privacy", "Apple's privacy proxy, which fetches whether anybody looks or not" },
	[EVIDENCE_GMAIL] = { "gmail-prefetch", "Gmail's prefetch, before anybody looks" },
	[EVIDENCE_IMAGE_PROXY] = { "image-proxy", "an image proxy (Google, Yahoo)" },
	[EVIDENCE_HEAD] = { "head", "asked for the head alone" },
	[EVIDENCE_PREFETCH] = { "prefetch", "a header says that it is fetched ahead" },
	[EVIDENCE_AGENT] = { "agent", "its name is in the list of agents" },
	[EVIDENCE_NETWORK] = { "network", "its network is in the list of networks" },
	[EVIDENCE_MAYBE_NETWORK] = { "probable-network", "its network is in the list of networks, as probable" },
	[EVIDENCE_NO_AGENT] = { "no-agent", "it does not say what it is" },
	[EVIDENCE_EARLY_SUSPECT] = { "early-suspect", "suspect, and too soon after the message was tagged" },
	[EVIDENCE_HONEYPOT] = { "honeypot", "followed the hidden link, or came with it" },
	[EVIDENCE_BURST] = { "burst", "several links of one message at once" },
	[EVIDENCE_INSTANT] = { "instant", "at the moment of delivery" },
	[EVIDENCE_EARLY] = { "early", "too soon after delivery" },
	[EVIDENCE_CROWD] = { "crowd", "more hits than one recipient's are told apart" },
	[EVIDENCE_REPEAT] = { "repeat", "the same again at once: counted before" },
	[EVIDENCE_FOLDED_BACK] = { "folded-back", "suspect for its network alone, until a person's click followed" },
	[EVIDENCE_UNKNOWN] = { "unknown", "nobody wrote down why" },
};

_Static_assert(EVIDENCES <= EVIDENCE_MAX, "every evidence has its counter");

const char *
evidence_name(enum evidence e)
{
	return (unsigned)e < EVIDENCES ? evidences[e].name : "unknown";
}

const char *
evidence_explain(enum evidence e)
{
	return evidences[(unsigned)e < EVIDENCES ? e : EVIDENCE_UNKNOWN].text;
}

bool
evidence_parse(struct span s, enum evidence *out)
{
	for (size_t i = 0; i < EVIDENCES; i++) {
		if (span_eq(s, span_of(evidences[i].name))) {
			*out = (enum evidence)i;
			return true;
		}
	}
	return false;
}

bool
robot_parse(struct span s, enum robot *out)
{
	for (size_t i = 0; i < VERDICTS; i++) {
		if (span_eq(s, span_of(verdicts[i]))) {
			*out = (enum robot)i;
			return true;
		}
	}
	return false;
}

/*
 * Families, in the order in which they are looked for: the browsers name each
 * other, so that the most particular comes first.  Numbers are on disk: add at
 * the end of the numbers, anywhere in the order.
 */
static const struct family {
	unsigned char number;
	const char *text, *name;
} families[] = {
	{ 1, "GoogleImageProxy", "gmail" }, { 2, "YahooMailProxy", "yahoo" },
	{ 4, "Microsoft Outlook", "outlook" }, { 4, "MSOffice", "outlook" }, { 4, "ms-office", "outlook" },
	{ 4, "Outlook-iOS", "outlook" }, { 4, "Outlook-Android", "outlook" },
	{ 5, "Thunderbird", "thunderbird" }, { 13, "eM Client", "em-client" },
	{ 7, "Edg/", "edge" }, { 7, "EdgA/", "edge" }, { 7, "EdgiOS/", "edge" }, { 7, "Edge/", "edge" },
	{ 8, "OPR/", "opera" }, { 8, "Opera", "opera" }, { 9, "SamsungBrowser", "samsung" },
	{ 10, "Firefox/", "firefox" }, { 10, "FxiOS/", "firefox" },
	{ 14, "; wv)", "android-app" },
	{ 11, "CriOS/", "chrome" }, { 11, "Chrome/", "chrome" }, { 12, "Safari/", "safari" },
	{ 15, "MSIE ", "explorer" }, { 15, "Trident/", "explorer" },
	/* WebKit without a browser's name: Apple Mail, or an app that shows a page. */
	{ 6, "AppleWebKit/", "apple-mail" },
};

unsigned char
robot_family(struct span agent)
{
	if (span_eq(agent, SPAN("Mozilla/5.0")))
		return 3;
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (span_search(agent, span_of(families[i].text)) < agent.n)
			return families[i].number;
	return 0;
}

const char *
robot_family_name(unsigned char number)
{
	if (number == 3)
		return "apple-privacy";
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (families[i].number == number)
			return families[i].name;
	return "unknown";
}
