/* robot.c -- machine or person?  From one request alone. */
#include <string.h>

#include "common/robot.h"

/* The one user agent of Gmail's prefetch: a person has a session open but may never look at this message. */
#define GMAIL_PREFETCH "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) " \
	"Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"

/* What a machine calls itself; and the two image proxies, which have a person behind them. */
struct name {
	const char *text; /* lower case; a whole word, unless it ends in "/" */
	enum robot verdict;
};

/*
 * By first letter, so that an ordinary user agent costs one look per word.
 * Words, not substrings: CUBOT is a telephone, and Slack's own window
 * (Slack_SSB) has a person in front of it.
 */
#define LETTER(c) [(c) - 'a'] = (const struct name[])
#define END { NULL, ROBOT_NONE }
static const struct name *const names[26] = {
	LETTER('a') {
		{ "aiohttp/", ROBOT_SCANNER }, { "axios/", ROBOT_SCANNER }, { "apache-httpclient", ROBOT_SCANNER },
		{ "asynchttpclient", ROBOT_SCANNER }, { "ahrefsbot", ROBOT_SCANNER }, { "amazonbot", ROBOT_SCANNER },
		{ "applebot", ROBOT_SCANNER }, END },
	LETTER('b') {
		{ "barracuda", ROBOT_SCANNER }, { "barracudacentral", ROBOT_SCANNER }, { "bingpreview", ROBOT_PREVIEW },
		{ "bingbot", ROBOT_SCANNER },
		{ "baiduspider", ROBOT_SCANNER }, { "bytespider", ROBOT_SCANNER }, END },
	LETTER('c') {
		{ "curl/", ROBOT_SCANNER }, { "ccbot", ROBOT_SCANNER }, { "claudebot", ROBOT_SCANNER },
		{ "cloudmark", ROBOT_SCANNER }, END },
	LETTER('d') {
		{ "discordbot", ROBOT_PREVIEW }, { "duckduckbot", ROBOT_SCANNER }, { "dotbot", ROBOT_SCANNER }, END },
	LETTER('e') { { "embedly", ROBOT_PREVIEW }, { "electron-fetch", ROBOT_SCANNER }, END },
	LETTER('f') {
		{ "facebookexternalhit", ROBOT_PREVIEW }, { "facebot", ROBOT_PREVIEW }, { "forcepoint", ROBOT_SCANNER },
		{ "fireeye", ROBOT_SCANNER }, { "fortiguard", ROBOT_SCANNER }, END },
	LETTER('g') {
		{ "go-http-client", ROBOT_SCANNER }, { "googlebot", ROBOT_SCANNER }, { "gptbot", ROBOT_SCANNER },
		{ "guzzlehttp", ROBOT_SCANNER }, { "googleimageproxy", ROBOT_PROXY_OPEN }, END },
	LETTER('h') {
		{ "headlesschrome", ROBOT_SCANNER }, { "httpie/", ROBOT_SCANNER }, { "httpclient/", ROBOT_SCANNER },
		{ "htmlunit", ROBOT_SCANNER }, END },
	LETTER('i') { { "iframely", ROBOT_PREVIEW }, END },
	LETTER('j') { { "java/", ROBOT_SCANNER }, { "java-http-client", ROBOT_SCANNER }, END },
	LETTER('k') { { "kakaotalk-scrap", ROBOT_PREVIEW }, END },
	LETTER('l') {
		{ "linkedinbot", ROBOT_PREVIEW }, { "linespider", ROBOT_PREVIEW }, { "libwww-perl", ROBOT_SCANNER },
		{ "lwp::simple", ROBOT_SCANNER }, { "lwp-trivial", ROBOT_SCANNER }, { "libcurl", ROBOT_SCANNER }, END },
	LETTER('m') {
		{ "mimecast", ROBOT_SCANNER }, { "messagelabs", ROBOT_SCANNER }, { "mj12bot", ROBOT_SCANNER },
		{ "microsoftpreview", ROBOT_PREVIEW }, { "mattermost-bot", ROBOT_PREVIEW }, END },
	LETTER('n') { { "node-fetch", ROBOT_SCANNER }, END },
	LETTER('o') { { "okhttp/", ROBOT_SCANNER }, END },
	LETTER('p') {
		{ "python-requests", ROBOT_SCANNER }, { "python-urllib", ROBOT_SCANNER },
		{ "python-httpx", ROBOT_SCANNER },
		{ "python/", ROBOT_SCANNER }, { "phantomjs", ROBOT_SCANNER }, { "puppeteer", ROBOT_SCANNER },
		{ "playwright", ROBOT_SCANNER }, { "postmanruntime", ROBOT_SCANNER }, { "proofpoint", ROBOT_SCANNER },
		{ "perl/", ROBOT_SCANNER }, { "php/", ROBOT_SCANNER }, { "petalbot", ROBOT_SCANNER },
		{ "pinterestbot", ROBOT_PREVIEW }, END },
	LETTER('r') {
		{ "redditbot", ROBOT_PREVIEW }, { "reqwest/", ROBOT_SCANNER }, { "ruby/", ROBOT_SCANNER },
		{ "rest-client", ROBOT_SCANNER }, END },
	LETTER('s') {
		{ "slackbot", ROBOT_PREVIEW }, { "slack-imgproxy", ROBOT_PREVIEW },
		{ "skypeuripreview", ROBOT_PREVIEW },
		{ "snap url preview", ROBOT_PREVIEW }, { "safelinks", ROBOT_SCANNER }, { "scrapy", ROBOT_SCANNER },
		{ "selenium", ROBOT_SCANNER }, { "semrushbot", ROBOT_SCANNER }, { "sophos", ROBOT_SCANNER },
		{ "symantec", ROBOT_SCANNER }, END },
	LETTER('t') {
		{ "twitterbot", ROBOT_PREVIEW }, { "telegrambot", ROBOT_PREVIEW },
		{ "trendmicro", ROBOT_SCANNER }, END },
	LETTER('u') { { "urldefense", ROBOT_SCANNER }, { "undici", ROBOT_SCANNER }, END },
	LETTER('v') { { "viber", ROBOT_PREVIEW }, { "vkshare", ROBOT_PREVIEW }, END },
	LETTER('w') { { "whatsapp/", ROBOT_PREVIEW }, { "wget/", ROBOT_SCANNER }, { "winhttp", ROBOT_SCANNER }, END },
	LETTER('y') {
		{ "yahoomailproxy", ROBOT_PROXY_OPEN }, { "yahoo link preview", ROBOT_PREVIEW },
		{ "yandexbot", ROBOT_SCANNER }, END },
	LETTER('z') { { "zscaler", ROBOT_SCANNER }, END },
};

static bool
is_alnum(char c)
{
	c = ascii_lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Does s, which begins at a word, begin with this name? */
static bool
is_called(struct span s, const char *name)
{
	size_t n = 0;

	for (; name[n] != '\0'; n++)
		if (n == s.n || ascii_lower(s.p[n]) != name[n])
			return false;
	return n == s.n || name[n - 1] == '/' || !is_alnum(s.p[n]);
}

/* What the first name of ours in a user agent says; ROBOT_NONE when there is none. */
static enum robot
named(struct span agent)
{
	for (size_t i = 0; i < agent.n; i++) {
		char c = ascii_lower(agent.p[i]);

		if (c >= 'a' && c <= 'z' && names[c - 'a'] != NULL)
			for (const struct name *n = names[c - 'a']; n->text != NULL; n++)
				if (is_called(span_from(agent, i), n->text))
					return n->verdict;
		/* On to the next word. */
		while (i < agent.n && is_alnum(agent.p[i]))
			i++;
	}
	return ROBOT_NONE;
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

enum robot
robot_judge(const struct sighting *s)
{
	/* Rules of the mail trade first: generic ones misfire on them. */
	if (s->pixel && span_eq(s->agent, SPAN("Mozilla/5.0")))
		return ROBOT_PRIVACY_OPEN;
	if (span_eq(s->agent, SPAN(GMAIL_PREFETCH)))
		return ROBOT_PREFETCH;

	enum robot r = named(s->agent);

	if (s->head)
		return ROBOT_SCANNER;
	/* Image proxies fetch for a person who looks; what follows links in their name is something else. */
	if (r == ROBOT_PROXY_OPEN)
		return s->pixel ? r : ROBOT_SUSPECT;
	if (is_prefetch(s))
		return ROBOT_PREFETCH;
	if (s->agent.n == 0)
		return ROBOT_SUSPECT;
	return r == ROBOT_NONE ? ROBOT_HUMAN : r;
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
