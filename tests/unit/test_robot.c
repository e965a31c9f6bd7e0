/* test_robot.c -- machine or person, from one request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/robot.h"

#define GMAIL_PREFETCH "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) " \
	"Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
#define GMAIL_PROXY "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
#define YAHOO_PROXY "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
#define CHROME "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"

static struct robots *own; /* what we ship */

/* People: browsers and mail programs as they present themselves. */
static const char *const people[] = {
	CHROME,
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36",
	"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0",
	"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/117.0",
	"Mozilla/5.0 (Android 13; Mobile; rv:121.0) Gecko/121.0 Firefox/121.0",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/120.0 Mobile/15E148 Safari/605.1.15",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/120.0.6099.50 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36 OPR/105.0.0.0",
	"Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Linux; Android 9; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Mobile Safari/537.36",
	"Mozilla/5.0 (Linux; Android 12; Pixel 6; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/110.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/440.0;FBDV/iPhone14,5]",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [LinkedInApp]/9.29",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:115.0) Gecko/20100101 Thunderbird/115.5.0",
	"Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
	"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/8.0; .NET4.0C; .NET4.0E; Microsoft Outlook 16.0.4266; ms-office; MSOffice 16)",
	"Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.12026; Pro)",
	"Outlook-iOS/723.4027091.prod.iphone (4.2320.0)",
	"Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
	"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) eM Client/9.2.2054 Chrome/112.0.0.0 Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Evolution/3.46.4",
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) QtWebEngine/5.15.13 Chrome/87.0.4280.144 Safari/537.36 KMail",
	"Dalvik/2.1.0 (Linux; U; Android 11; Redmi Note 9 Build/RP1A.200720.011)",
	"Mail/3696.120.41.1.4 CFNetwork/1335.0.3.2 Darwin/21.6.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Slack_SSB/4.29.149 Chrome/106.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Teams/1.6.00 Chrome/102.0.0.0 Electron/19.1.8 Safari/537.36",
	"Mozilla/5.0 (compatible; Konqueror/4.14; Linux) KHTML/4.14.9 (like Gecko)",
	"Lynx/2.9.0dev.12 libwww-FM/2.14 SSL-MM/1.4.1",
	"Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; en) Presto/2.12.423 Version/12.16",
};

static void
test_people(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof people / sizeof *people; i++) {
		for (int pixel = 0; pixel < 2; pixel++) {
			struct sighting s = { .pixel = pixel, .agent = span_of(people[i]) };

			if (robot_judge(own, &s).verdict != ROBOT_HUMAN)
				fail_msg("%s: %s", people[i], robot_name(robot_judge(own, &s).verdict));
		}
	}
	assert_true(robot_is_human(ROBOT_HUMAN));
	assert_true(robot_is_human(ROBOT_PROXY_OPEN));
	for (int r = ROBOT_PRIVACY_OPEN; r <= ROBOT_SUSPECT; r++)
		assert_false(robot_is_human((enum robot)r));
}

static const struct {
	const char *says, *agent;
	enum robot pixel, click;
} rules[] = {
	{ "Apple's privacy proxy, on the pixel only", "Mozilla/5.0", ROBOT_PRIVACY_OPEN, ROBOT_HUMAN },
	{ "one character more is somebody else", "Mozilla/5.0 ", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "one less too", "Mozilla/5.", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "Gmail's prefetch", GMAIL_PREFETCH, ROBOT_PREFETCH, ROBOT_PREFETCH },
	{ "Gmail's prefetch, but for the end", GMAIL_PREFETCH " x", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "Gmail's image proxy", GMAIL_PROXY, ROBOT_PROXY_OPEN, ROBOT_SUSPECT },
	{ "Yahoo's image proxy", YAHOO_PROXY, ROBOT_PROXY_OPEN, ROBOT_SUSPECT },
	{ "no name at all", "", ROBOT_SUSPECT, ROBOT_SUSPECT },
	{ "curl", "curl/7.88.1", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "curl, shouted", "CURL/7", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "a word with curl in it", "Mozilla/5.0 (Xcurl/1)", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "wget", "Wget/1.21.3", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "requests", "python-requests/2.31.0", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "urllib", "Python-urllib/3.11", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "aiohttp", "Python/3.11 aiohttp/3.9.1", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Go", "Go-http-client/2.0", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "okhttp", "okhttp/4.12.0", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Java", "Java/17.0.9", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Java without a version is a word like others", "Mozilla/5.0 (Java)", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "Apache's client", "Apache-HttpClient/4.5.14 (Java/17.0.9)", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "headless Chrome", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "PhantomJS", "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Barracuda Central", "Mozilla/5.0 (compatible; BarracudaCentral/1.0)", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Barracuda", "Mozilla/5.0 (compatible; Barracuda Sentinel (EE); +https://www.barracuda.com)", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Mimecast", "Mozilla/5.0 Mimecast", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Proofpoint", "Proofpoint/1.0", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Googlebot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ROBOT_SCANNER, ROBOT_SCANNER },
	{ "Slack's unfurler", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Slack's image proxy", "Slack-ImgProxy (+https://api.slack.com/robots)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "WhatsApp", "WhatsApp/2.23.20.0 A", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Facebook", "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Twitter", "Twitterbot/1.0", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "LinkedIn", "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Telegram", "TelegramBot (like TwitterBot)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Discord", "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Skype", "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Bing", "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Viber", "Viber/13.3.0", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Line", "Mozilla/5.0 (compatible; Linespider/1.1; +https://lin.ee/4dwXkTH)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "Yahoo's previews", "Mozilla/5.0 (compatible; Yahoo Link Preview; https://help.yahoo.com/kb/mail/SLN23615.html)", ROBOT_PREVIEW, ROBOT_PREVIEW },
	{ "bytes beyond ASCII", "\xff\xfe\xc3\xa9", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "a name cut short at the end", "Mozilla/5.0 slackbo", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "a name that goes on", "Mozilla/5.0 slackbots", ROBOT_HUMAN, ROBOT_HUMAN },
	{ "a name at the very end", "Mozilla/5.0 slackbot", ROBOT_PREVIEW, ROBOT_PREVIEW },
};

static void
test_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		struct sighting s = { .pixel = true, .agent = span_of(rules[i].agent) };

		if (robot_judge(own, &s).verdict != rules[i].pixel)
			fail_msg("%s, pixel: %s", rules[i].says, robot_name(robot_judge(own, &s).verdict));
		s.pixel = false;
		if (robot_judge(own, &s).verdict != rules[i].click)
			fail_msg("%s, click: %s", rules[i].says, robot_name(robot_judge(own, &s).verdict));
	}
}

static void
test_headers(void **state)
{
	static const struct {
		const char *says;
		struct sighting s;
		enum robot is;
	} cases[] = {
		{ "HEAD", { .head = true, .agent = { CHROME, sizeof CHROME - 1 } }, ROBOT_SCANNER },
		{ "HEAD by an image proxy", { .head = true, .pixel = true, .agent = { YAHOO_PROXY, sizeof YAHOO_PROXY - 1 } }, ROBOT_SCANNER },
		{ "Sec-Purpose", { .agent = { CHROME, sizeof CHROME - 1 }, .sec_purpose = { "prefetch", 8 } }, ROBOT_PREFETCH },
		{ "Sec-Purpose and more", { .agent = { CHROME, sizeof CHROME - 1 }, .sec_purpose = { "Prefetch;prerender", 18 } }, ROBOT_PREFETCH },
		{ "Sec-Purpose of another kind", { .agent = { CHROME, sizeof CHROME - 1 }, .sec_purpose = { "navigate", 8 } }, ROBOT_HUMAN },
		{ "Purpose", { .agent = { CHROME, sizeof CHROME - 1 }, .purpose = { "prefetch", 8 } }, ROBOT_PREFETCH },
		{ "X-Purpose", { .agent = { CHROME, sizeof CHROME - 1 }, .x_purpose = { "preview", 7 } }, ROBOT_PREFETCH },
		{ "X-Moz", { .agent = { CHROME, sizeof CHROME - 1 }, .x_moz = { "prefetch", 8 } }, ROBOT_PREFETCH },
		{ "X-Moz of another kind", { .agent = { CHROME, sizeof CHROME - 1 }, .x_moz = { "livebookmarks", 13 } }, ROBOT_HUMAN },
		{ "prefetch by nobody", { .purpose = { "prefetch", 8 } }, ROBOT_PREFETCH },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (robot_judge(own, &cases[i].s).verdict != cases[i].is)
			fail_msg("%s: %s", cases[i].says, robot_name(robot_judge(own, &cases[i].s).verdict));
}

static void
test_names(void **state)
{
	enum robot back;

	(void)state;
	for (int r = ROBOT_NONE; r <= ROBOT_SUSPECT; r++) {
		back = ROBOT_NONE;
		assert_true(robot_parse(span_of(robot_name((enum robot)r)), &back));
		assert_int_equal(back, r);
	}
	assert_string_equal(robot_name((enum robot)(ROBOT_SUSPECT + 1)), "unknown");
	assert_false(robot_parse(SPAN("unknown"), &back));
	assert_false(robot_parse(SPAN(""), &back));
	assert_false(robot_parse(SPAN("Human"), &back));
}

static void
test_families(void **state)
{
	static const struct {
		const char *agent, *family;
	} cases[] = {
		{ "Mozilla/5.0", "apple-privacy" }, { GMAIL_PROXY, "gmail" }, { YAHOO_PROXY, "yahoo" }, { CHROME, "chrome" },
		{ CHROME " Edg/120.0.0.0", "edge" }, { CHROME " OPR/105.0.0.0", "opera" },
		{ "Mozilla/5.0 (X11) Gecko/20100101 Firefox/121.0", "firefox" },
		{ "Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/115.5.0", "thunderbird" },
		{ "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15", "safari" },
		{ "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko)", "apple-mail" },
		{ "Mozilla/4.0 (compatible; MSIE 7.0; Microsoft Outlook 16.0; ms-office)", "outlook" },
		{ "curl/8", "unknown" }, { "", "unknown" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(robot_family_name(robot_family(span_of(cases[i].agent))), cases[i].family);
	assert_string_equal(robot_family_name(255), "unknown");
}

/* 192.0.2.0/24 is certain, 198.51.100.0/24 probable for clicks; the rest is as we ship it. */
static const struct {
	const char *says;
	bool pixel, head, soon;
	const char *agent;
	uint8_t network; /* first byte of the address, 0 unknown */
	enum robot verdict;
	enum evidence evidence;
} evidence[] = {
	{ "a person", false, false, false, CHROME, 0, ROBOT_HUMAN, EVIDENCE_NONE },
	{ "a person, soon after tagging: weak alone", false, false, true, CHROME, 0, ROBOT_HUMAN, EVIDENCE_NONE },
	{ "Apple's proxy", true, false, false, "Mozilla/5.0", 0, ROBOT_PRIVACY_OPEN, EVIDENCE_APPLE },
	{ "Apple's proxy from anywhere, before all lists", true, false, true, "Mozilla/5.0", 192, ROBOT_PRIVACY_OPEN, EVIDENCE_APPLE },
	{ "Gmail's prefetch", true, false, false, GMAIL_PREFETCH, 192, ROBOT_PREFETCH, EVIDENCE_GMAIL },
	{ "Gmail's proxy, in a listed network", true, false, true, GMAIL_PROXY, 192, ROBOT_PROXY_OPEN, EVIDENCE_IMAGE_PROXY },
	{ "an image proxy follows a link", false, false, false, GMAIL_PROXY, 0, ROBOT_SUSPECT, EVIDENCE_IMAGE_PROXY },
	{ "and soon", false, false, true, GMAIL_PROXY, 0, ROBOT_SCANNER, EVIDENCE_EARLY_SUSPECT },
	{ "HEAD", false, true, false, CHROME, 0, ROBOT_SCANNER, EVIDENCE_HEAD },
	{ "a listed agent", false, false, false, "curl/8.1", 0, ROBOT_SCANNER, EVIDENCE_AGENT },
	{ "a listed agent in a listed network", false, false, false, "curl/8.1", 192, ROBOT_SCANNER, EVIDENCE_AGENT },
	{ "a certain network, link", false, false, false, CHROME, 192, ROBOT_SCANNER, EVIDENCE_NETWORK },
	{ "a certain network, pixel", true, false, false, CHROME, 192, ROBOT_SCANNER, EVIDENCE_NETWORK },
	{ "a probable network, link", false, false, false, CHROME, 198, ROBOT_SUSPECT, EVIDENCE_MAYBE_NETWORK },
	{ "a probable network, link, soon", false, false, true, CHROME, 198, ROBOT_SCANNER, EVIDENCE_EARLY_SUSPECT },
	{ "a network for clicks, pixel", true, false, false, CHROME, 198, ROBOT_HUMAN, EVIDENCE_NONE },
	{ "no agent", true, false, false, "", 0, ROBOT_SUSPECT, EVIDENCE_NO_AGENT },
	{ "no agent, soon", true, false, true, "", 0, ROBOT_SCANNER, EVIDENCE_EARLY_SUSPECT },
	{ "no agent in a certain network", false, false, false, "", 192, ROBOT_SCANNER, EVIDENCE_NETWORK },
	{ "another network", false, false, false, CHROME, 203, ROBOT_HUMAN, EVIDENCE_NONE },
	{ "a name that the list calls human, in a certain network", false, false, false, "OurApp/1", 192, ROBOT_HUMAN, EVIDENCE_NONE },
};

static void
test_evidence(void **state)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(1000);

	(void)state;
	assert_true(robots_read_agents(r, SPAN("scanner curl/\nhuman ourapp\n"), "a", &errors));
	assert_true(robots_read_networks(r, SPAN("192.0.2.0/24 all certain x\n198.51.100.0/24 clicks probable y\n"), "n", &errors));
	for (size_t i = 0; i < sizeof evidence / sizeof *evidence; i++) {
		uint8_t address[16] = { [10] = 0xff, [11] = 0xff, [12] = evidence[i].network,
			[13] = evidence[i].network == 198 ? 51 : 0, [14] = evidence[i].network == 198 ? 100 : 2, [15] = 9 };
		struct sighting s = { .pixel = evidence[i].pixel, .head = evidence[i].head, .soon = evidence[i].soon,
			.agent = span_of(evidence[i].agent), .address = evidence[i].network ? address : NULL };
		struct judgement j = robot_judge(r, &s);

		if (j.verdict != evidence[i].verdict || j.evidence != evidence[i].evidence)
			fail_msg("%s: %s by %s", evidence[i].says, robot_name(j.verdict), evidence_name(j.evidence));
	}
	/* Without lists mail's own rules are left. */
	struct sighting apple = { .pixel = true, .agent = SPAN("Mozilla/5.0") }, curl = { .agent = SPAN("curl/8") };

	assert_int_equal(robot_judge(NULL, &apple).verdict, ROBOT_PRIVACY_OPEN);
	assert_int_equal(robot_judge(NULL, &curl).verdict, ROBOT_HUMAN);
	buf_free(&errors);
	robots_free(r);
}

static void
test_evidence_names(void **state)
{
	enum evidence back;

	(void)state;
	for (int e = 0; e < EVIDENCES; e++) {
		assert_true(evidence_parse(span_of(evidence_name((enum evidence)e)), &back));
		assert_int_equal(back, e);
		assert_true(strlen(evidence_explain((enum evidence)e)) > 5);
	}
	assert_false(evidence_parse(SPAN("guess"), &back));
	assert_string_equal(evidence_name(EVIDENCES), "unknown");
}

int
main(void)
{
	own = robots_new();
	robots_own_agents(own);
	robots_own_networks(own);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_people),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_evidence),
		cmocka_unit_test(test_evidence_names),
		cmocka_unit_test(test_families),
	};

	int failed = cmocka_run_group_tests_name("robot", tests, NULL, NULL);

	robots_free(own);
	return failed;
}
