#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/conf.h"
#include "common/proc.h"
#include "common/setup.h"
#include "common/text.h"

/* The two that have no default, in one line of the file each. */
#define REQUIRED "tracking_url = https://links.example.com\nprivacy_profile = eu\n"

#define BIG (8 * 1024 * 1024)

static struct conf *
parse(const char *row, const char *text)
{
	struct buf errors = BUF(BIG);
	struct conf *c = conf_parse(span_of(text), "t", &errors);

	if (c == NULL || errors.n > 0)
		fail_msg("%s: %s", row, buf_cstr(&errors));
	buf_free(&errors);
	return c;
}

/* What is said about a faulty text, for the caller to free. */
static char *
faults(const char *row, struct span text)
{
	struct buf errors = BUF(BIG);
	struct conf *c = conf_parse(text, "t", &errors);

	if (c != NULL)
		fail_msg("%s: was accepted", row);
	assert_false(errors.over);
	buf_cstr(&errors);
	return buf_steal(&errors);
}

static char *
printed(const struct conf *c)
{
	struct buf out = BUF(BIG);

	conf_print(c, &out);
	buf_cstr(&out);
	return buf_steal(&out);
}

static size_t
count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* ---- faults ---- */

static void
each_fault_has_its_line_and_says_what_would_be_right(void **state)
{
	static const struct {
		const char *row, *text, *want;
	} rows[] = {
		{ "nothing at all", "", "t:1: `tracking_url' is required; add a line such as tracking_url = https://" },
		{ "missing, at the last line", "# a\n# b\nprivacy_profile = eu\n\n",
		    "t:4: `tracking_url' is required" },
		{ "missing words are listed", "tracking_url = http://a.example\n",
		    "t:1: `privacy_profile' is required; choose classic, eu or strict\n" },
		{ "missing, and the last line is in a section", "privacy_profile = eu\n[stream a]\ntransactional = yes\n",
		    "t:3: `tracking_url' is required; add a line such as tracking_url = https://links.example.com, before the first section\n" },
		{ "a slip", REQUIRED "trackin_url = x\n",
		    "t:3: there is no setting `trackin_url'; did you mean `tracking_url'?" },
		{ "the start of a name", REQUIRED "milter = x\n", "did you mean `milter_socket'?" },
		{ "upper case", REQUIRED "Data_Dir = /x\n", "did you mean `data_dir'?" },
		{ "a hyphen", REQUIRED "key-file = /x\n", "did you mean `key_file'?" },
		{ "nothing near", REQUIRED "colour = red\n",
		    "t:3: there is no setting `colour'; see rekindle.conf(5)" },
		{ "a slip for another section", REQUIRED "match_logon = a\n",
		    "did you mean `match_login', which belongs in a [stream NAME] section?" },
		{ "as near as one of another section", REQUIRED "[stream a]\ncampaig = x\n",
		    "did you mean `campaign'?" },
		{ "a stream's setting in the general section", REQUIRED "match_login = a\n",
		    "t:3: `match_login' is in the wrong section; it belongs in a [stream NAME] section" },
		{ "a policy's setting in a stream", REQUIRED "[stream a]\nsemi_days = 9\n",
		    "t:3: stream a: semi_days (9) must be more than engaged_days (30)" },
		{ "a policy's setting before it", REQUIRED "semi_days = 9\n",
		    "t:3: `semi_days' is in the wrong section; it belongs in the [policy] section, or in a [stream NAME] section" },
		{ "a cap without a time", REQUIRED "[policy]\ncap_new = 3\n",
		    "t:4: cap_new: `3' is no cap; write COUNT/TIME, as in 1/16h or 7/7d, or off" },
		{ "a cap of nothing", REQUIRED "[policy]\ncap_new = 0/7d\n", "t:4: cap_new: `0/7d' counts too far; use 1 to 24 messages" },
		{ "a cap of more than is known", REQUIRED "[policy]\ncap_new = 1/1d, 25/7d\n", "`25/7d' counts too far" },
		{ "a cap in no time", REQUIRED "[policy]\ncap_new = 1/0\n", "`1/0' is no time for a cap; use whole seconds, up to 3650d" },
		{ "a cap in half a second", REQUIRED "[policy]\ncap_new = 1/1500ms\n", "`1/1500ms' is no time for a cap" },
		{ "five caps", REQUIRED "[policy]\ncap_new = 1/1d, 1/2d, 1/3d, 1/4d, 1/5d\n", "cap_new: there are too many; at most 4" },
		{ "an empty cap", REQUIRED "[policy]\ncap_new =\n", "cap_new: is empty; use COUNT/TIME, as in 1/16h, or off" },
		{ "a general setting in a stream", REQUIRED "[stream a]\ndata_dir = /x\n",
		    "t:4: `data_dir' is in the wrong section; it belongs in the general settings" },
		{ "an overridable setting in the policy", REQUIRED "[policy]\nopens = off\n",
		    "t:4: `opens' is in the wrong section; it belongs in the general settings, before the first section, or in" },
		{ "set twice", REQUIRED "threads = 1\n\nthreads = 2\n", "t:5: `threads' is already set in line 3" },
		{ "set twice in a stream", REQUIRED "[stream a]\nopens = off\nopens = full\n",
		    "t:5: `opens' is already set in line 4" },
		{ "no equals sign", REQUIRED "threads 5\n", "t:3: `threads 5' is not a setting; write NAME = VALUE" },
		{ "no name", REQUIRED "= 5\n", "t:3: `= 5' is not a setting" },
		{ "an empty text", REQUIRED "data_dir =\n", "t:3: data_dir: is empty" },
		{ "an empty word", REQUIRED "opens =\n",
		    "t:3: opens: is empty; use off, anonymous, dayonly, identified or full" },
		{ "an unknown word", REQUIRED "enforce = maybe\n",
		    "t:3: enforce: `maybe' is not known; use observe or on" },
		{ "words in the wrong case", REQUIRED "enforce = ON\n",
		    "t:3: enforce: `ON' is not known; use observe or on" },
		{ "dayonly for links", REQUIRED "links = dayonly\n",
		    "t:3: links: `dayonly' keeps the day of the last open" },
		{ "dayonly for links: what is right", REQUIRED "links = dayonly\n",
		    "; use off, anonymous, identified or full\n" },
		{ "not a time", REQUIRED "answer_within = 250\n",
		    "t:3: answer_within: `250' is not a time; write a number and its unit" },
		{ "a time too long", REQUIRED "answer_within = 60001ms\n",
		    "t:3: answer_within: 60001ms is out of range; use 0 to 1m" },
		{ "a day less", REQUIRED "keep_facts = 23h\n",
		    "t:3: keep_facts: 23h is out of range; use 1d to 3650d" },
		{ "not a size", REQUIRED "max_message = ten\n", "t:3: max_message: `ten' is not a size" },
		{ "a size one byte less", REQUIRED "facts_size = 1048575\n",
		    "t:3: facts_size: 1048575 is out of range; use 1M to" },
		{ "a negative number", REQUIRED "threads = -1\n", "t:3: threads: `-1' is not a number; use 0 to 256" },
		{ "one too many", REQUIRED "threads = 257\n", "t:3: threads: 257 is out of range; use 0 to 256" },
		{ "more than 64 bits", REQUIRED "threads = 99999999999999999999999\n", "t:3: threads: `9999" },
		{ "no send", REQUIRED "[policy]\ninactive_min_sends = 0\n",
		    "t:4: inactive_min_sends: 0 is out of range; use 1 to 24" },
		{ "more sends than a profile has", REQUIRED "[policy]\ninactive_min_sends_engaged = 25\n",
		    "25 is out of range; use 1 to 24" },
		{ "a split without its back", REQUIRED "split_front = a b\n",
		    "t:3: split_front has no split_back; name the listeners on both sides of the split" },
		{ "a split without its front", REQUIRED "split_back = a\n", "t:3: split_back has no split_front;" },
		{ "a listener before and behind the split", REQUIRED "split_front = a b\nsplit_back = c b\n",
		    "t:4: split_front and split_back both name `b'; they must differ" },
		{ "semi as long as engaged", REQUIRED "[policy]\nsemi_days = 30\nengaged_days = 30\n",
		    "t:5: semi_days (30) must be more than engaged_days (30)" },
		{ "semi from the preset", REQUIRED "[policy]\nengaged_days = 90\npreset = weekly\n",
		    "t:4: semi_days (90) must be more" },
		{ "new for longer than new", REQUIRED "[policy]\nnew_days = 20\nnew_max_days = 19\n",
		    "t:5: new_max_days (19) must be at least new_days (20)" },
		{ "an unknown action", REQUIRED "[policy]\non_held = bounce\n",
		    "use send, reject, defer, hold, discard or route" },
		{ "a series that everybody gets", REQUIRED "[stream a]\nseries_stream = yes\ntransactional = yes\n",
		    "t:3: stream a is transactional and has series_stream; mail that everybody gets asks nobody back" },
		{ "TLS without a certificate", REQUIRED "https_listen = *:443\n",
		    "t:3: https_listen needs a certificate; name its files in tls_cert and tls_key" },
		{ "a certificate without a key", REQUIRED "tls_cert = /a /b\ntls_key = /c\n",
		    "t:4: tls_cert has 2 files and tls_key 1; each certificate needs its key" },
		{ "a certificate with a relative path", REQUIRED "tls_cert = a\ntls_key = /b\n",
		    "t:3: tls_cert: `a' is not an absolute path" },
		{ "a socket with a relative path", REQUIRED "http_listen = unix:a\n", "t:3: http_listen: `unix:a' is not a socket" },
		{ "a mode that is not octal", REQUIRED "socket_mode = 0668\n", "t:3: socket_mode: `0668' is not the mode" },
		{ "a mode says what one is", REQUIRED "socket_mode = 999\n", "write it in octal, such as 0660 or 0666\n" },
		{ "a mode with more than permissions", REQUIRED "socket_mode = 1777\n", "t:3: socket_mode: `1777' is not the mode" },
		{ "a proxy by name", REQUIRED "forwarded_from = unix, proxy.example\n",
		    "t:3: forwarded_from: `proxy.example' is not a network" },
		{ "a proxy with host bits", REQUIRED "proxy_protocol_from = 192.0.2.1/24\n",
		    "t:3: proxy_protocol_from: `192.0.2.1/24' has host bits set" },
		{ "lookups at no address", REQUIRED "ask_listen = unix:ask.sock\n", "t:3: ask_listen: `unix:ask.sock' is not a socket" },
		{ "lookups about no stream", REQUIRED "ask_stream = news\n[stream new]\n", "t:3: ask_stream: there is no [stream news]" },
		{ "a failure that refuses", REQUIRED "ask_failure = reject\n", "use none or defer" },
		{ "a route with a space", REQUIRED "route_inactive = slow: x\n", "t:3: route_inactive: `slow: x' is not a transport" },
		{ "a next hop without a transport", REQUIRED "[stream a]\nroute_new = :[192.0.2.1]\n", "t:4: route_new: `:[192.0.2.1]' is not" },
		{ "a transport that is a path", REQUIRED "route_semi = a/b:c\n", "t:3: route_semi: `a/b:c' is not a transport" },
		{ "a relative path", REQUIRED "data_dir = lib\n", "t:3: data_dir: `lib' is not an absolute path" },
		{ "no addresses at all", REQUIRED "http_listen = ,\n",
		    "t:3: http_listen: is empty; the default is 127.0.0.1:8025" },
		{ "a bad address", REQUIRED "http_listen = 80, localhost:, 81\n",
		    "t:3: http_listen: `localhost:' is not an address" },
		{ "a bad socket", REQUIRED "milter_socket = unix:rekindle/m.sock\n",
		    "t:3: milter_socket: `unix:rekindle/m.sock'" },
		{ "a header with a colon", REQUIRED "campaign_header = X-A:\n",
		    "t:3: campaign_header: `X-A:' is not a header name" },
		{ "a header that readers need", REQUIRED "campaign_header = subject\n",
		    "t:3: campaign_header: `subject' would be removed from every message" },
		{ "a header that their programs need", REQUIRED "track_header = Content-Type\n",
		    "t:3: track_header: `Content-Type' would be removed from every message" },
		{ "a header of our own", REQUIRED "stream_header = X-Rekindle-Id\n",
		    "t:3: stream_header: `X-Rekindle-Id' would be removed from every message" },
		{ "one header for both", REQUIRED "stream_header = x-rekindle-campaign\n",
		    "t:3: campaign_header and stream_header are both" },
		{ "one header for consent and campaign", REQUIRED "consent_header = x-rekindle-campaign\n",
		    "t:3: campaign_header and consent_header are both" },
		{ "one header for consent and stream", REQUIRED "consent_header = x-rekindle-stream\n",
		    "t:3: stream_header and consent_header are both" },
		{ "an unknown brace", REQUIRED "campaign = a {month}\n",
		    "t:3: campaign: `{month}' is not known here; the only" },
		{ "a subdomain with a dot", REQUIRED "untracked_domains = .a.example\n",
		    "`.a.example' is not a domain; write example.org" },
		{ "one header for track and consent", REQUIRED "track_header = x-rekindle-consent\n",
		    "t:3: consent_header and track_header are both" },
		{ "an address without a domain", REQUIRED "cfbl_address = fbl\n", "`fbl' is not an address that needs no" },
		{ "an address that breaks out", REQUIRED "unsubscribe_mailto = a>,<b@e.example\n", "`a>,<b@e.example' is not an address" },
		{ "an address with a display name", REQUIRED "cfbl_address = A <a@e.example>\n", "is not an address" },
		{ "a local part of 65", REQUIRED "cfbl_address = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@e.example\n",
		    "is not an address" },
		{ "a Feedback-ID of one part", REQUIRED "feedback_id = news\n", "`news' must be two to four parts" },
		{ "a Feedback-ID of five", REQUIRED "feedback_id = a:b:c:d:e\n", "must be two to four parts" },
		{ "a Feedback-ID that ends in nothing", REQUIRED "feedback_id = a:b:\n", "must be two to four parts" },
		{ "a Feedback-ID whose end changes", REQUIRED "feedback_id = a:{campaign}\n", "must be two to four parts" },
		{ "a Feedback-ID with an unknown brace", REQUIRED "feedback_id = {who}:a\n", "`{who}:a' is not known here" },
		{ "a Feedback-ID with a space", REQUIRED "feedback_id = a b:c\n", "`a b:c' is not a Feedback-ID" },
		{ "a pattern beyond ASCII", REQUIRED "untracked_urls = \xc3\xbc*\n", "is not a pattern" },
		{ "a parameter without a value", REQUIRED "url_parameters = utm_source\n", "`utm_source' is not a URL parameter" },
		{ "a parameter without a name", REQUIRED "url_parameters = =x\n", "`=x' is not a URL parameter" },
		{ "a parameter with an odd name", REQUIRED "url_parameters = a&b=x\n", "`a&b=x' has a name with other" },
		{ "two parameters as a query", REQUIRED "url_parameters = a=b&c=d\n", "`a=b&c=d' has a & in its value" },
		{ "two parameters without a comma", REQUIRED "url_parameters = a=b c=d\n", "`a=b c=d' has a = in its value" },
		{ "a quoted parameter", REQUIRED "url_parameters = a=\"b\"\n", "has a \" in its value" },
		{ "a parameter twice", REQUIRED "url_parameters = a=b, c=d, a=e\n", "url_parameters of stream default: `a=e' is there twice" },
		{ "a parameter with an unknown brace", REQUIRED "url_parameters = a=b, c={d}\n", "`{d}' is not known here" },
		{ "an empty text", REQUIRED "campaign =\n", "t:3: campaign: is empty; for the default" },
		{ "a network with host bits", REQUIRED "[stream a]\nmatch_network = 10.1.2.3/8\n",
		    "has host bits set; write 10.0.0.0/8" },
		{ "a v6 network with host bits", REQUIRED "[stream a]\nmatch_network = 2001:db8::1/33\n",
		    "write 2001:db8::/33" },
		{ "a long prefix", REQUIRED "[stream a]\nmatch_network = 10.0.0.0/33\n",
		    "has no good prefix length; use 0 to 32" },
		{ "no network", REQUIRED "[stream a]\nmatch_network = localhost\n", "`localhost' is not a network" },
		{ "nothing behind a header's colon", REQUIRED "[stream a]\nmatch_header = X-A: , X-B\n",
		    "`X-A:' has nothing behind" },
		{ "yes and no only", REQUIRED "[stream a]\ntransactional = true\n",
		    "`true' is not known; use no or yes" },
		{ "an unknown section", REQUIRED "[streams a]\nfoo = 1\n",
		    "t:3: there is no section `streams'; use [stream NAME] or [policy]" },
		{ "a section without an end", REQUIRED "[policy\n", "t:3: `[policy' does not end in ]" },
		{ "a comment behind a section", REQUIRED "[policy] # mine\n",
		    "t:3: `[policy] # mine' does not end in ]" },
		{ "a stream without a name", REQUIRED "[stream]\n", "t:3: a stream needs a name; write [stream NAME]" },
		{ "a stream's odd name", REQUIRED "[stream a b]\n", "t:3: `a b' is not a name for a stream" },
		{ "the default stream", REQUIRED "[stream default]\n",
		    "t:3: the stream `default' is the general settings" },
		{ "one stream twice", REQUIRED "[stream a]\n[stream b]\n[stream a]\n",
		    "t:5: the stream `a' is already in line 3" },
		{ "a named policy", REQUIRED "[policy b]\n",
		    "t:3: there is one policy, without a name; write [policy]" },
		{ "two policies", REQUIRED "[policy]\n[stream a]\n[policy]\n", "t:5: [policy] is already in line 3" },
		{ "a control character", REQUIRED "# tab\tis fine\n# bell\a is not\n",
		    "t:4: there is a control character (0x07)" },
		{ "a carriage return in a line", REQUIRED "threads = 1\rlog = syslog\n",
		    "t:3: there is a control character (0x0d)" },
		{ "Latin-1", REQUIRED "campaign = Fr\xfchling\n", "t:3: these bytes are not UTF-8" },
		{ "Latin-1, continued", REQUIRED "campaign = Fr\xfchling\n  in Paris\n",
		    "t:3: these bytes are not UTF-8" },
		{ "Latin-1 in a continuation", REQUIRED "campaign = a\n  Fr\xfchling\n",
		    "t:4: these bytes are not UTF-8" },
		{ "nothing to continue", "  # ok\n  threads = 1\n" REQUIRED,
		    "t:2: white space before `threads = 1' makes it part of" },
		{ "a continuation of nothing", "  x\n" REQUIRED,
		    "t:1: white space at the start continues a setting, and none came" },
		{ "a continued section", REQUIRED "[stream a]\n  x\n",
		    "t:4: white space at the start continues a setting, and none" },
		{ "settings indented below a section", REQUIRED "[stream a]\n\topens = off\n",
		    "t:4: white space before `opens = off' makes" },
		{ "an indented section", REQUIRED "http_listen = 80\n [policy]\n",
		    "t:4: white space before `[policy]' makes" },
		{ "an item in a continuation has that line", REQUIRED "http_listen = 80,\n# c\n\n  81,\r\n\tx:y\n 82\n",
		    "t:7: http_listen: `x:y' is not an address" },
		{ "after comments and continuations", "# a\n\n" REQUIRED "http_listen = 80,\n  81\n#\nthreads = x\n",
		    "t:8: threads: `x'" },
		{ "a value that begins in the next line", REQUIRED "threads =\n  x\n",
		    "t:4: threads: `x' is not a number" },
		{ "the last line has no end", REQUIRED "threads = x", "t:3: threads: `x'" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *got = faults(rows[i].row, span_of(rows[i].text));

		if (strstr(got, rows[i].want) == NULL)
			fail_msg("%s: got \"%s\", want \"%s\"", rows[i].row, got, rows[i].want);
		/* Only the empty file is wrong in two ways: one fault is not to cause others. */
		if (count_lines(got) != (rows[i].text[0] ? 1 : 2))
			fail_msg("%s: more than one fault: %s", rows[i].row, got);
		free(got);
	}
}

static void
urls_that_cannot_be_links(void **state)
{
	static const struct {
		const char *row, *url, *want;
	} rows[] = {
		{ "another scheme", "ftp://a.example", "is not an http or https URL" },
		{ "no scheme", "links.example.com", "is not an http or https URL" },
		{ "a query", "https://a.example/?x=1", "a query or fragment cannot stay" },
		{ "a fragment", "https://a.example/#x", "a query or fragment cannot stay" },
		{ "a user", "https://me@a.example/", "would be shown to every recipient" },
		{ "international, in letters",
		    "https://b\xc3\xbc"
		    "cher.example/",
		    "is not ASCII; write it in its xn-- form" },
		{ "no host", "https:///x", "is not a host name" },
		{ "a space in it", "https://a b.example", "is not a host name" },
		{ "an empty label", "https://a..example", "is not a host name" },
		{ "half an address", "https://127.1/", "is not a host name" },
		{ "a bracket left open", "https://[::1", "is not a host name" },
		{ "no v6 in brackets", "https://[a.example]/", "is not a host name" },
		{ "port 0", "https://a.example:0/", "has no good port" },
		{ "port 65536", "https://a.example:65536/", "has no good port" },
		{ "an empty port", "https://a.example:/", "has no good port" },
		{ "a quote in the path", "https://a.example/\"x", "must be percent-encoded" },
		{ "half an escape", "https://a.example/%4", "must be percent-encoded" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[200], *got;

		snprintf(text, sizeof text, "privacy_profile = eu\ntracking_url = %s\n", rows[i].url);
		got = faults(rows[i].row, span_of(text));
		if (strncmp(got, "t:2: tracking_url: ", 19) != 0 || strstr(got, rows[i].want) == NULL ||
		    count_lines(got) != 1)
			fail_msg("%s: got \"%s\", want \"%s\"", rows[i].row, got, rows[i].want);
		free(got);
	}
}

static void
urls_that_can(void **state)
{
	static const struct {
		const char *url, *want;
	} rows[] = {
		{ "http://a.example", "http://a.example" },
		{ "https://a.example/", "https://a.example" },
		{ "https://a.example:65535//", "https://a.example:65535" },
		{ "https://a.example/r/", "https://a.example/r" },
		{ "https://a.example/%7eme/x;y=z", "https://a.example/%7eme/x;y=z" },
		{ "https://[2001:db8::1]:8443/r", "https://[2001:db8::1]:8443/r" },
		{ "http://127.0.0.1:8025", "http://127.0.0.1:8025" },
		{ "https://xn--bcher-kva.example", "https://xn--bcher-kva.example" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[200];
		struct conf *c;

		snprintf(text, sizeof text, "privacy_profile = eu\ntracking_url = %s\n", rows[i].url);
		c = parse(rows[i].url, text);
		assert_string_equal(c->tracking_url, rows[i].want);
		conf_free(c);
	}
}

/* The slash at its end is no part of it. */
static void
the_longest_url(void **state)
{
	char text[400], path[255], *got;
	struct conf *c;

	(void)state;
	memset(path, 'p', sizeof path);
	for (int over = 0; over < 2; over++) {
		snprintf(text, sizeof text, "privacy_profile = eu\ntracking_url = https://a.example/%.*s/\n",
		    255 - (int)strlen("https://a.example/") + over, path);
		if (over) {
			got = faults("one byte more", span_of(text));
			assert_non_null(strstr(got, "a URL of 256 bytes leaves no room for links"));
			free(got);
		} else {
			c = parse("the longest", text);
			assert_int_equal(strlen(c->tracking_url), 255);
			conf_free(c);
		}
	}
}

static void
all_faults_are_told_in_file_order(void **state)
{
	char *got = faults("many",
	    SPAN(
		"[policy]\nsemi_days = 1\nengaged_days = x\nnew_days = 9\nnew_max_days = 8\n[stream !]\nopens = x\nlinks = y\n"
		"[nowhere]\nx = y\n\xff\n"));

	(void)state;
	assert_string_equal(got,
	    "t:3: engaged_days: `x' is not a number; use 1 to 3650\n"
	    "t:5: new_max_days (8) must be at least new_days (9)\n"
	    "t:6: `!' is not a name for a stream; use 1 to 63 letters, digits, - _ .\n"
	    "t:7: opens: `x' is not known; use off, anonymous, dayonly, identified or full\n"
	    "t:8: links: `y' is not known; use off, anonymous, identified or full\n"
	    "t:9: there is no section `nowhere'; use [stream NAME] or [policy]\n"
	    "t:11: these bytes are not UTF-8; save the file as UTF-8\n"
	    "t:11: `tracking_url' is required; add a line such as tracking_url = https://links.example.com, before the first section\n"
	    "t:11: `privacy_profile' is required; choose classic, eu or strict, before the first section\n");
	free(got);
}

static void
faults_have_an_end(void **state)
{
	struct buf text = BUF(BIG);
	char *got;

	(void)state;
	buf_adds(&text, REQUIRED);
	for (int i = 0; i < CONF_ERRORS_MAX; i++)
		buf_adds(&text, "x = y\n");
	got = faults("as many as are told", buf_span(&text));
	assert_int_equal(count_lines(got), CONF_ERRORS_MAX);
	assert_null(strstr(got, "more"));
	free(got);
	buf_adds(&text, "x = y\n");
	got = faults("one more", buf_span(&text));
	assert_int_equal(count_lines(got), CONF_ERRORS_MAX + 1);
	assert_non_null(strstr(got, "t:103: and 1 more\n"));
	free(got);
	buf_free(&text);
}

static void
a_nul_is_all_that_is_said(void **state)
{
	static const char text[] = "threads = x\nlog\0 = y\ntypo = 1\n";
	char *got = faults("NUL", (struct span){ text, sizeof text - 1 });

	(void)state;
	assert_string_equal(got, "t:2: there is a NUL byte; this is not a text file in UTF-8\n");
	free(got);
}

static void
long_values_are_cut_between_characters(void **state)
{
	struct buf text = BUF(BIG);
	char *got;

	(void)state;
	buf_adds(&text, REQUIRED "log = x");
	for (int i = 0; i < 100; i++)
		buf_adds(&text, "\xc3\xbc");
	buf_addc(&text, '\n');
	got = faults("long", buf_span(&text));
	assert_true(text_is_utf8(span_of(got)));
	assert_true(strlen(got) < 150);
	free(got);
	buf_free(&text);
}

static void
streams_have_an_end(void **state)
{
	struct buf text = BUF(BIG);
	struct conf *c;
	char *got;

	(void)state;
	buf_adds(&text, REQUIRED);
	for (int i = 1; i < CONF_STREAMS_MAX; i++)
		buf_addf(&text, "[stream s%d]\nmatch_login = u%d\n", i, i);
	c = parse("as many as there may be", buf_cstr(&text));
	assert_int_equal(c->nstreams, CONF_STREAMS_MAX);
	conf_free(c);
	buf_adds(&text, "[stream x]\nopens = wrong, but in no stream that exists\n");
	got = faults("one more", buf_span(&text));
	assert_string_equal(got, "t:2001: there are too many streams; at most 999\n");
	free(got);
	buf_free(&text);
}

static void
stream_names_have_an_end(void **state)
{
	char text[300], *got;

	(void)state;
	snprintf(text, sizeof text, REQUIRED "[stream %063d]\n", 7);
	conf_free(parse("63 characters", text));
	snprintf(text, sizeof text, REQUIRED "[stream %064d]\n", 7);
	got = faults("64 characters", span_of(text));
	assert_non_null(strstr(got, "is not a name for a stream"));
	free(got);
}

/* ---- values ---- */

static void
same_caps(const struct caps *a, const struct caps *b)
{
	assert_int_equal(a->n, b->n);
	for (unsigned i = 0; i < a->n; i++) {
		assert_int_equal(a->cap[i].count, b->cap[i].count);
		assert_int_equal(a->cap[i].seconds, b->cap[i].seconds);
	}
}

static void
same_policy(const struct policy *a, const struct policy *b)
{
	for (int i = 0; i < CAUSES; i++)
		assert_int_equal(a->on[i], b->on[i]);
	for (int i = 0; i < CAPS_KINDS; i++)
		same_caps(&a->caps[i], &b->caps[i]);
	for (int i = 0; i < ENGAGE_CLASSES; i++)
		same_caps(&a->stream_caps[i], &b->stream_caps[i]);
	assert_int_equal(a->settle, b->settle);
	assert_int_equal(a->soft_bounces, b->soft_bounces);
	assert_int_equal(a->soft_bounce_days, b->soft_bounce_days);
	assert_int_equal(a->series, b->series);
	assert_int_equal(a->rest_days, b->rest_days);
	assert_int_equal(a->series_steps, b->series_steps);
	assert_int_equal(a->series_gap_days, b->series_gap_days);
	assert_int_equal(a->series_wait_days, b->series_wait_days);
	assert_int_equal(a->winback_days, b->winback_days);
	assert_int_equal(a->holdout, b->holdout);
}

static void
defaults(void **state)
{
	struct conf *c = parse("only what is required", REQUIRED);
	struct policy weekly = policy_preset(PRESET_WEEKLY);
	const struct stream *s = &c->stream[0];

	(void)state;
	assert_string_equal(c->data_dir, LOCALSTATEDIR "/lib/rekindle");
	assert_string_equal(c->key_file, SYSCONFDIR "/rekindle/keys");
	assert_int_equal(c->privacy_profile, PRIVACY_EU);
	assert_string_equal(c->milter_socket, "unix:/var/spool/postfix/rekindle/milter.sock");
	assert_int_equal(c->http_listen.n, 1);
	assert_string_equal(c->http_listen.item[0], "127.0.0.1:8025");
	assert_int_equal(c->admin_listen.n, 0);
	assert_string_equal(c->campaign_header, "X-Rekindle-Campaign");
	assert_string_equal(c->stream_header, "X-Rekindle-Stream");
	assert_string_equal(c->consent_header, "X-Rekindle-Consent");
	assert_int_equal(c->answer_within, 250);
	assert_int_equal(c->record_within, 1000);
	assert_int_equal(c->request_within, 10000);
	assert_int_equal(c->idle_timeout, 60000);
	assert_int_equal(c->threads, 0);
	assert_int_equal(c->max_connections, 10000);
	assert_int_equal(c->max_message, 10 << 20);
	assert_int_equal(c->keep_facts, 90 * DAY_MS);
	assert_true(c->facts_size == (uint64_t)64 << 30 && c->state_size == (uint64_t)64 << 30);
	assert_false(c->log_syslog);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	assert_int_equal(c->stream[0].preset, PRESET_WEEKLY);
	assert_int_equal(c->stream[0].policy.engaged_days, weekly.engaged_days);
	assert_int_equal(c->stream[0].policy.new_max_days, weekly.new_max_days);
	assert_int_equal(c->stream[0].policy.on[CAUSE_NONE], ACTION_SEND);
	/* The table of settings and the preset say the same, whoever is asked. */
	same_policy(&c->stream[0].policy, &weekly);
	assert_int_equal(c->nstreams, 1);
	assert_false(c->enforce_any);
	assert_string_equal(s->name, "default");
	assert_string_equal(s->campaign, "{date}");
	assert_int_equal(s->opens, MODE_FULL);
	assert_int_equal(s->links, MODE_FULL);
	assert_int_equal(s->list_unsubscribe, UNSUBSCRIBE_ADD);
	assert_false(s->enforce || s->transactional || s->several_leave || s->match_list_unsubscribe);
	assert_false(s->track_asked || s->tag_signed || s->top_pixel || s->visible_url || s->text_links);
	assert_string_equal(s->unsubscribe_mailto, "");
	assert_string_equal(s->feedback_id, "");
	assert_string_equal(s->cfbl_address, "");
	assert_int_equal(s->untracked_domains.n + s->match_header.n + s->match_login.n, 0);
	assert_int_equal(s->untracked_urls.n + s->url_parameters.n + s->url_parameters_domains.n, 0);
	conf_free(c);
}

static void
lines_as_postfix_reads_them(void **state)
{
	struct conf *c = parse("lines", "\xef\xbb\xbf# a comment\r\n"
					"tracking_url=https://a.example\r\n"
					"  # a comment, not a continuation\r\n"
					"\r\n"
					"privacy_profile   =\r\n"
					"\t \r\n"
					"# in between\r\n"
					"   strict\r\n"
					"http_listen = 80 81,82,,\r\n"
					"\t83 ,\r\n"
					"#84\r\n"
					"\r\n"
					"  85   [::1]:86\r\n"
					"campaign = a # b = c \t\r\n"
					"[ stream\tnews ]\r\n"
					"match_header = X-Mailer: Big  Mailer,\r\n"
					"  Precedence:\r\n"
					"  bulk, X-News");
	static const char *const listen[] = { "80", "81", "82", "83", "85", "[::1]:86" };

	(void)state;
	assert_int_equal(c->privacy_profile, PRIVACY_STRICT);
	assert_int_equal(c->http_listen.n, COUNT(listen));
	for (size_t i = 0; i < COUNT(listen); i++)
		assert_string_equal(c->http_listen.item[i], listen[i]);
	assert_string_equal(c->stream[0].campaign, "a # b = c");
	assert_string_equal(c->stream[1].name, "news");
	assert_int_equal(c->stream[1].match_header.n, 3);
	assert_string_equal(c->stream[1].match_header.item[0], "X-Mailer: Big  Mailer");
	assert_string_equal(c->stream[1].match_header.item[1], "Precedence: bulk");
	assert_string_equal(c->stream[1].match_header.item[2], "X-News");
	conf_free(c);
}

static void
streams_override_the_general_settings(void **state)
{
	struct conf *c = parse("streams", REQUIRED
	    "enforce = on\nopens = anonymous\nuntracked_domains = a.example b.example\ncampaign = g\n"
	    "[stream x]\nopens = identified\nmatch_network = 192.0.2.0/24, 2001:db8::1\n"
	    "[policy]\non_inactive = hold\n"
	    "[stream y]\nenforce = observe\nuntracked_domains =\nlist_unsubscribe = off\nseveral_recipients = leave\n"
	    "match_list_unsubscribe = yes\nlinks = off\ncampaign = y-{date}\n");
	const struct stream *g = conf_stream(c, SPAN("default")), *x = conf_stream(c, SPAN("x")),
			    *y = conf_stream(c, SPAN("y"));

	(void)state;
	assert_non_null(g);
	assert_non_null(x);
	assert_non_null(y);
	assert_null(conf_stream(c, SPAN("z")));
	assert_null(conf_stream(c, SPAN("X")));
	assert_true(c->enforce_any);
	assert_true(g->enforce && x->enforce && !y->enforce);
	assert_int_equal(g->opens, MODE_ANONYMOUS);
	assert_int_equal(x->opens, MODE_IDENTIFIED);
	assert_int_equal(y->opens, MODE_ANONYMOUS);
	assert_int_equal(x->links, MODE_FULL);
	assert_int_equal(y->links, MODE_OFF);
	assert_int_equal(x->untracked_domains.n, 2);
	assert_int_equal(y->untracked_domains.n, 0);
	assert_string_equal(x->campaign, "g");
	assert_string_equal(y->campaign, "y-{date}");
	assert_int_equal(x->match_network.n, 2);
	assert_int_equal(y->match_network.n, 0);
	assert_true(y->match_list_unsubscribe && !x->match_list_unsubscribe);
	assert_true(y->several_leave && !x->several_leave);
	assert_int_equal(y->list_unsubscribe, UNSUBSCRIBE_OFF);
	assert_int_equal(c->stream[0].policy.on[CAUSE_INACTIVE], ACTION_HOLD);
	conf_free(c);
}

/* [policy] is for all streams, wherever it stands; a stream's own numbers and preset are its own. */
static void
streams_have_policies_of_their_own(void **state)
{
	static const char text[] = REQUIRED "[stream a]\nengaged_days = 20\n[stream b]\npreset = daily\non_held = defer\n"
		"[policy]\nengaged_days = 40\ncap_engaged = 2/1d\non_inactive = hold\n[stream c]\ncap_engaged = off\n[stream d]\n"
		"preset = daily\nsemi_days = 70\n";
	struct buf out = BUF(1 << 20);
	struct conf *c = parse("policies", text);
	const struct policy *a, *b, *d;

	(void)state;
	for (int round = 0; round < 2; round++) {
		a = &conf_stream(c, SPAN("a"))->policy;
		b = &conf_stream(c, SPAN("b"))->policy;
		d = &conf_stream(c, SPAN("d"))->policy;
		assert_int_equal(c->stream[0].policy.engaged_days, 40);
		assert_int_equal(a->engaged_days, 20);
		assert_int_equal(a->semi_days, 90);
		assert_int_equal(b->engaged_days, 15);
		assert_int_equal(b->on[CAUSE_HELD], ACTION_DEFER);
		assert_int_equal(a->on[CAUSE_HELD], ACTION_REJECT);
		assert_int_equal(b->on[CAUSE_INACTIVE], ACTION_HOLD);
		assert_int_equal(b->caps[CAPS_ENGAGED].n, 1);
		assert_int_equal(b->caps[CAPS_ENGAGED].cap[0].count, 2);
		assert_int_equal(b->caps[CAPS_ENGAGED].cap[0].seconds, 86400);
		assert_int_equal(conf_stream(c, SPAN("c"))->policy.caps[CAPS_ENGAGED].n, 0);
		assert_int_equal(d->semi_days, 70);
		assert_int_equal(d->engaged_days, 15);
		/* What is printed reads back to the same. */
		buf_clear(&out);
		conf_print(c, &out);
		conf_free(c);
		c = parse("printed", buf_cstr(&out));
	}
	conf_free(c);
	buf_free(&out);
}

static void
somebody_enforces(void **state)
{
	static const struct {
		const char *row, *text;
		bool want;
	} rows[] = {
		{ "nobody", REQUIRED "[stream a]\n", false },
		{ "one stream", REQUIRED "[stream a]\n[stream b]\nenforce = on\n", true },
		{ "only the general section", REQUIRED "enforce = on\n[stream a]\nenforce = observe\n", true },
		{ "one that is exempt", REQUIRED "[stream a]\nenforce = on\ntransactional = yes\n", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct conf *c = parse(rows[i].row, rows[i].text);

		assert_row(rows[i].row, c->enforce_any == rows[i].want);
		conf_free(c);
	}
}

static void
streams_that_keep_the_same_or_not(void **state)
{
	static const struct {
		const char *row, *text;
		bool opens, links;
	} rows[] = {
		{ "no stream of its own", REQUIRED "opens = off\n", false, false },
		{ "none says anything", REQUIRED "[stream a]\n[stream b]\n", false, false },
		{ "what the general section says, too", REQUIRED "opens = off\n[stream a]\nopens = off\n", false, false },
		{ "the last one keeps no opens", REQUIRED "[stream a]\n[stream b]\nopens = off\n", true, false },
		{ "the first one keeps fewer links", REQUIRED "[stream a]\nlinks = anonymous\n[stream b]\n", false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct conf *c = parse(rows[i].row, rows[i].text);

		assert_row(rows[i].row, c->opens_vary == rows[i].opens && c->links_vary == rows[i].links);
		conf_free(c);
	}
}

static void
presets_give_what_is_not_set(void **state)
{
	static const struct {
		const char *word;
		enum preset preset;
	} rows[] = { { "daily", PRESET_DAILY }, { "weekly", PRESET_WEEKLY }, { "monthly", PRESET_MONTHLY },
		{ "quarterly", PRESET_QUARTERLY } };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct policy want = policy_preset(rows[i].preset);
		char text[300];
		struct conf *c;

		snprintf(text, sizeof text,
		    REQUIRED "[policy]\ninactive_min_sends = 3\npreset = %s\nnew_max_days = 3650\n", rows[i].word);
		c = parse(rows[i].word, text);
		assert_int_equal(c->stream[0].preset, rows[i].preset);
		assert_int_equal(c->stream[0].policy.inactive_min_sends, 3);
		assert_int_equal(c->stream[0].policy.new_max_days, 3650);
		assert_int_equal(c->stream[0].policy.engaged_days, want.engaged_days);
		assert_int_equal(c->stream[0].policy.semi_days, want.semi_days);
		assert_int_equal(c->stream[0].policy.inactive_min_sends_engaged, want.inactive_min_sends_engaged);
		assert_int_equal(c->stream[0].policy.new_days, want.new_days);
		assert_int_equal(c->stream[0].policy.new_min_sends, want.new_min_sends);
		conf_free(c);
	}
}

/* The table's words are those that the rest of the program uses. */
static void
words_mean_what_they_say(void **state)
{
	char text[300];
	struct conf *c;

	(void)state;
	for (int a = ACTION_SEND; a <= ACTION_ROUTE; a++) {
		snprintf(text, sizeof text, REQUIRED "[policy]\non_held = %s\n", action_name(a));
		c = parse(text, text);
		assert_int_equal(c->stream[0].policy.on[CAUSE_HELD], a);
		conf_free(c);
	}
	for (int m = MODE_OFF; m <= MODE_FULL; m++) {
		snprintf(text, sizeof text, REQUIRED "opens = %s\n", mode_name(m));
		c = parse(text, text);
		assert_int_equal(c->stream[0].opens, m);
		conf_free(c);
	}
}

static void
edges_of_ranges_are_inside(void **state)
{
	static const char *const rows[] = { "answer_within = 0", "answer_within = 60s", "keep_facts = 1d",
		"keep_facts = 3650d", "facts_size = 1M", "facts_size = 1048576", "max_message = 1024", "threads = 256",
		"max_connections = 1", "[policy]\ninactive_min_sends = 1\ninactive_min_sends_engaged = 24",
		"[policy]\nengaged_days = 89", "[policy]\nnew_days = 60\nnew_max_days = 60", "admin_listen =",
		"https_listen =", "http_listen =\nhttps_listen = 443\ntls_cert = /a\ntls_key = /b", "http_listen = unix:/a", "socket_mode = 777", "proxy_protocol_from = ::1 unix", "ask_listen =", "ask_listen = 10040 unix:/a", "ask_stream = a\n[stream a]", "route_new = slow-1_a", "route_new = slow:", "route_new = slow:[::1]:25", "[stream a]\nmatch_network = 0.0.0.0/0 ::/0 10.0.0.1/32",
		"[stream a]\nmatch_sender_domain = .a.example b.example" };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[300];

		snprintf(text, sizeof text, REQUIRED "%s\n", rows[i]);
		conf_free(parse(rows[i], text));
	}
}

static void
lengths_have_an_edge(void **state)
{
	static const struct {
		const char *row, *start;
		int fill, max; /* bytes in the value, start included */
	} rows[] = {
		{ "path", "data_dir = /", 1, 1000 },
		{ "header name", "campaign_header = X", 1, 76 },
		{ "campaign", "campaign = x", 1, 190 },
		{ "unix socket", "milter_socket = unix:/", 6, 112 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf text = BUF(BIG);
		char *got;

		buf_addf(&text, REQUIRED "%s", rows[i].start);
		for (int n = rows[i].fill; n < rows[i].max; n++)
			buf_addc(&text, 'x');
		conf_free(parse(rows[i].row, buf_cstr(&text)));
		buf_addc(&text, 'x');
		got = faults(rows[i].row, buf_span(&text));
		assert_int_equal(count_lines(got), 1);
		free(got);
		buf_free(&text);
	}
}

/* ---- printing ---- */

static void
what_is_printed_reads_back_to_the_same(void **state)
{
	static const char *const rows[] = {
		REQUIRED,
		REQUIRED
		"http_listen = 1 2 3\nadmin_listen = [::1]:4\nkeep_facts = 1000h\nmax_message = 12345\nanswer_within = 1500ms\n"
		"split_front = A B\nsplit_back = C\nlog = syslog\nlog_level = debug\nenforce = on\nuntracked_domains = a.example, b.example\ncampaign = \xc3\xbc {date}\n"
		"[policy]\npreset = quarterly\nengaged_days = 7\non_held = discard\n"
		"[stream a]\nuntracked_domains =\nmatch_header = A: b\tc, D\ncampaign = = #\n[stream b]\n"
		"[stream c]\nlinks = off\ntransactional = yes\nopens = full\n",
		REQUIRED
		"url_parameters = utm_source=a b c, utm_campaign={campaign}-{date}, x={stream}\nfeedback_id = {campaign}:{stream}:e\n"
		"unsubscribe_mailto = a+b.c=d~e@e.example\ncfbl_address = f@e.example\nuntracked_urls = *.pdf e.example/*\n"
		"track = asked\nsigned_mail = tag\ntop_pixel = yes\ntext_links = yes\nvisible_url = track\n"
		"[stream a]\nfeedback_id =\nunsubscribe_mailto =\nurl_parameters =\ntrack = all\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct conf *c = parse("first", rows[i]);
		char *once = printed(c), *twice;

		conf_free(c);
		c = parse("printed", once);
		twice = printed(c);
		assert_string_equal(once, twice);
		conf_free(c);
		free(once);
		free(twice);
	}
}

static void
streams_print_only_what_differs(void **state)
{
	struct conf *c =
	    parse("streams", REQUIRED "opens = off\nuntracked_domains = a.example\n[stream a]\nopens = off\n"
				      "match_login = u v\nuntracked_domains =\n");
	char *got = printed(c);

	(void)state;
	assert_string_equal(strstr(got, "\n[stream"), "\n[stream a]\nuntracked_domains =\nmatch_login = u, v\n");
	conf_free(c);
	free(got);
}

/* ---- the sample and the manual ---- */

static char *
sample(void)
{
	struct buf out = BUF(BIG);

	conf_sample(&out);
	buf_cstr(&out);
	return buf_steal(&out);
}

/* Takes the # from lines that are settings or sections. */
static char *
uncommented(const char *text)
{
	struct span rest = span_of(text), line;
	struct buf out = BUF(BIG);

	while (span_split(&rest, '\n', &line)) {
		bool active = span_starts(line, SPAN("#")) && line.n > 1 && line.p[1] != ' ';

		buf_add(&out, active ? span_from(line, 1) : line);
		buf_addc(&out, '\n');
	}
	buf_cstr(&out);
	return buf_steal(&out);
}

static size_t
occurrences(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

static void
the_sample_has_every_key_once(void **state)
{
	char *text = sample(), line[100];
	const char *section, *name;

	(void)state;
	for (size_t i = 0; conf_setting(i, &section, &name); i++) {
		snprintf(line, sizeof line, "\n#%s =", name);
		assert_row(name, occurrences(text, line) == 1);
	}
	free(text);
}

static void
the_sample_works_once_the_required_are_filled_in(void **state)
{
	char *text = sample(), *all = uncommented(text), *got;
	struct buf filled = BUF(BIG);
	struct conf *c, *d = parse("defaults", REQUIRED);
	char *want = printed(d), *have;

	(void)state;
	got = faults("as it is", span_of(text));
	assert_int_equal(count_lines(got), 2); /* nothing but the two */
	assert_non_null(strstr(got, "`tracking_url' is required"));
	assert_non_null(strstr(got, "`privacy_profile' is required"));
	free(got);

	buf_adds(&filled, REQUIRED);
	buf_adds(&filled, text);
	c = parse("filled in", buf_cstr(&filled));
	have = printed(c);
	assert_string_equal(have, want);
	free(have);
	conf_free(c);

	/* What the sample shows are the defaults; its stream is there and differs in nothing. */
	c = parse("all uncommented", all);
	have = printed(c);
	assert_int_equal(strncmp(have, want, strlen(want)), 0);
	assert_string_equal(have + strlen(want), "\n[stream newsletter]\n");
	free(have);
	conf_free(c);
	conf_free(d);
	buf_free(&filled);
	free(want);
	free(all);
	free(text);
}

/* The manual names every setting with its default, as ".It Ic NAME No = VALUE". */
static void
the_manual_knows_every_setting(void **state)
{
	const char *top = getenv("top_srcdir"), *section, *name;
	struct buf man = BUF(BIG), why = BUF(1000);
	char path[1000], line[200], *text = sample();

	(void)state;
	snprintf(path, sizeof path, "%s/man/rekindle.conf.5", top ? top : ".");
	if (!file_read(path, BIG - 1, &man, &why))
		fail_msg("%s", buf_cstr(&why));
	for (size_t i = 0; conf_setting(i, &section, &name); i++) {
		const char *value;

		snprintf(line, sizeof line, "\n.It Ic %s No =", name);
		if (occurrences(buf_cstr(&man), line) != 1)
			fail_msg("the manual does not describe %s once", name);
		snprintf(line, sizeof line, "\n#%s =", name);
		/* The directories depend on how this was configured. */
		if ((value = strstr(text, line)) == NULL || strcmp(name, "data_dir") == 0 ||
		    strcmp(name, "key_file") == 0)
			continue;
		value += strlen(line);
		snprintf(line, sizeof line, "\n.It Ic %s No =%.*s\n", name, (int)strcspn(value, "\n"), value);
		if (strstr(buf_cstr(&man), line) == NULL)
			fail_msg("the manual has another default of %s, want %s", name, line);
	}
	buf_free(&man);
	buf_free(&why);
	free(text);
}

/* ---- addresses ---- */

static void
hosts_and_ports(void **state)
{
	static const struct {
		const char *text;
		bool good;
		const char *host;
		uint16_t port;
	} rows[] = {
		{ "127.0.0.1:8025", true, "127.0.0.1", 8025 },
		{ "localhost:0", true, "localhost", 0 },
		{ "[::1]:80", true, "::1", 80 },
		{ "[2001:db8::1]:65535", true, "2001:db8::1", 65535 },
		{ "*:443", true, "", 443 },
		{ "8025", true, "", 8025 },
		{ "65536", false, NULL, 0 },
		{ "host:65536", false, NULL, 0 },
		{ "host:", false, NULL, 0 },
		{ ":80", false, NULL, 0 },
		{ "", false, NULL, 0 },
		{ "host", false, NULL, 0 },
		{ "::1:80", false, NULL, 0 },
		{ "[::1]", false, NULL, 0 },
		{ "[::1", false, NULL, 0 },
		{ "[127.0.0.1]:80", false, NULL, 0 },
		{ "300.0.0.1:80", false, NULL, 0 },
		{ "host:+80", false, NULL, 0 },
		{ "host:000080", false, NULL, 0 },
		{ "ho st:80", false, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span host = SPAN("untouched");
		uint16_t port = 7;
		bool good = conf_host_port(span_of(rows[i].text), &host, &port);

		assert_row(rows[i].text, good == rows[i].good);
		assert_span(rows[i].text, host, good ? span_of(rows[i].host) : SPAN("untouched"));
		assert_row(rows[i].text, port == (good ? rows[i].port : 7));
	}
}

static void
milter_sockets_in_both_syntaxes(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: neither */
	} rows[] = {
		{ "unix:/run/m.sock", "unix:/run/m.sock" },
		{ "local:/run/m.sock", "unix:/run/m.sock" },
		{ "/run/m.sock", "unix:/run/m.sock" },
		{ "inet:8891@localhost", "inet:8891@localhost" },
		{ "inet:localhost:8891", "inet:8891@localhost" },
		{ "inet:127.0.0.1:8891", "inet:8891@127.0.0.1" },
		{ "inet:[::1]:8891", "inet6:8891@[::1]" },
		{ "inet6:8891@::1", "inet6:8891@[::1]" },
		{ "inet6:8891@[::1]", "inet6:8891@[::1]" },
		{ "inet6:8891@host.example", "inet6:8891@host.example" },
		{ "inet:8891", "inet:8891" },
		{ "inet:*:8891", "inet:8891" },
		{ "fd:3", "fd:3" },
		{ "unix:rekindle/m.sock", NULL },
		{ "unix:", NULL },
		{ "inet:0@localhost", NULL },
		{ "inet:localhost:0", NULL },
		{ "inet:65536@localhost", NULL },
		{ "inet:8891@", NULL },
		{ "inet:@localhost", NULL },
		{ "inet:8891@[localhost]", NULL },
		{ "inet:smtp@localhost", NULL },
		{ "inet:", NULL },
		{ "fd:", NULL },
		{ "fd:x", NULL },
		{ "tcp:8891@localhost", NULL },
		{ "8891", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf out = BUF(1000);

		assert_row(rows[i].text, conf_milter_socket(span_of(rows[i].text), &out) == (rows[i].want != NULL));
		assert_span(rows[i].text, buf_span(&out), span_of(rows[i].want ? rows[i].want : ""));
		buf_free(&out);
	}
}

static void
the_lowest_mode_wins(void **state)
{
	struct conf *c = parse("modes",
	    "tracking_url = http://a\nprivacy_profile = eu\nopens = identified\n[stream a]\nopens = off\n"
	    "links = anonymous\n");

	(void)state;
	assert_int_equal(conf_mode(c, &c->stream[0], AXIS_OPENS, CONSENT_UNKNOWN), MODE_DAYONLY); /* the profile's */
	assert_int_equal(conf_mode(c, &c->stream[0], AXIS_LINKS, CONSENT_UNKNOWN), MODE_ANONYMOUS);
	assert_int_equal(conf_mode(c, &c->stream[0], AXIS_OPENS, CONSENT_GRANTED), MODE_IDENTIFIED); /* both allow it */
	assert_int_equal(conf_mode(c, &c->stream[0], AXIS_OPENS, CONSENT_DENIED), MODE_OFF);
	assert_int_equal(conf_mode(c, &c->stream[1], AXIS_OPENS, CONSENT_GRANTED), MODE_OFF); /* the ceiling */
	assert_int_equal(conf_mode(c, &c->stream[1], AXIS_LINKS, CONSENT_GRANTED), MODE_ANONYMOUS);
	conf_free(c);
}

/* ---- files ---- */

#define KEYS                                                                          \
	"identity 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n" \
	"token A 2026-11-22 202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n"

static char *dir, conf_path[600], keys_path[600];

static int
files_make(void **state)
{
	(void)state;
	dir = temp_make();
	snprintf(conf_path, sizeof conf_path, "%s/rekindle.conf", dir);
	snprintf(keys_path, sizeof keys_path, "%s/keys", dir);
	return 0;
}

static int
files_remove(void **state)
{
	(void)state;
	unlink(conf_path);
	unlink(keys_path);
	temp_remove(dir);
	return 0;
}

static void
file_write(const char *path, const char *text, mode_t mode)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
conf_write(const char *more)
{
	char text[2000];

	snprintf(text, sizeof text, REQUIRED "key_file = %s\n%s", keys_path, more);
	file_write(conf_path, text, 0644);
}

static void
files_are_read_up_to_a_limit(void **state)
{
	struct buf out = BUF(100), why = BUF(2000);
	char want[800];

	(void)state;
	file_write(conf_path, "12345", 0644);
	assert_true(file_read(conf_path, 5, &out, &why));
	assert_span("just so", buf_span(&out), SPAN("12345"));
	buf_clear(&out);
	assert_false(file_read(conf_path, 4, &out, &why));
	snprintf(want, sizeof want, "%s: larger than 4 bytes", conf_path);
	assert_span("one too long", buf_span(&why), span_of(want));
	buf_clear(&why);
	assert_false(file_read(dir, 5, &out, &why));
	snprintf(want, sizeof want, "%s: Is a directory", dir);
	assert_span("a directory", buf_span(&why), span_of(want));
	buf_clear(&why);
	assert_false(file_read(keys_path, 5, &out, &why));
	snprintf(want, sizeof want, "%s: No such file or directory", keys_path);
	assert_span("nothing there", buf_span(&why), span_of(want));
	buf_free(&out);
	buf_free(&why);
}

static void
a_setup_needs_both_files(void **state)
{
	const struct {
		const char *row, *keys;
		mode_t mode;
		const char *conf, *want[2]; /* what follows the directory's name; NULL: nothing */
	} rows[] = {
		{ "both are good", KEYS, 0640, "", { NULL, NULL } },
		{ "no keys", NULL, 0, "",
		    { "/rekindle.conf:3: key_file: /", NULL } },
		{ "and what makes some", NULL, 0, "",
		    { "/keys: No such file or directory; restore it from your copy; where there never was one, `rekindle key new' makes it\n", NULL } },
		{ "keys for all", KEYS, 0644, "",
		    { "/keys: everybody may use these keys (mode 0644); chmod 0640 ", NULL } },
		{ "keys that all may write", KEYS, 0602, "", { "(mode 0602); chmod 0640 ", NULL } },
		{ "a broken key", "# c\nidentity 00\n" KEYS, 0600, "", { "/keys:2: ", NULL } },
		{ "faults in both", KEYS, 0644, "threads = x\n",
		    { "/rekindle.conf:4: threads: `x'", "/keys: everybody" } },
		{ "a list that is not there", KEYS, 0640, "\nagents_file = /nonexistent\n",
		    { "/rekindle.conf:5: agents_file: /nonexistent: No such file or directory\n", NULL } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf why = BUF(BIG);
		struct setup *s;
		size_t want = 0;

		conf_write(rows[i].conf);
		unlink(keys_path);
		if (rows[i].keys)
			file_write(keys_path, rows[i].keys, rows[i].mode);
		s = setup_load(conf_path, &why);
		for (; want < COUNT(rows[i].want) && rows[i].want[want]; want++)
			if (strstr(buf_cstr(&why), rows[i].want[want]) == NULL)
				fail_msg(
				    "%s: got \"%s\", want \"%s\"", rows[i].row, buf_cstr(&why), rows[i].want[want]);
		assert_row(rows[i].row, (s != NULL) == (want == 0));
		assert_row(rows[i].row, count_lines(buf_cstr(&why)) == want);
		setup_put(s);
		buf_free(&why);
	}
}

static void
settings_need_no_keys(void **state)
{
	struct buf why = BUF(BIG);
	struct conf *c;

	(void)state;
	unlink(keys_path);
	conf_write("");
	c = setup_conf(conf_path, &why);
	assert_non_null(c);
	conf_free(c);
	conf_write("threads = x\n");
	assert_null(setup_conf(conf_path, &why));
	assert_int_equal(count_lines(buf_cstr(&why)), 1);
	buf_free(&why);
}

static void
a_reload_replaces_all_or_nothing(void **state)
{
	struct buf why = BUF(BIG);
	struct setup_slot *slot;
	struct setup *first, *held, *now;

	(void)state;
	log_open("test_conf", false, LOG_LEVEL_ERROR);
	file_write(keys_path, KEYS, 0600);
	conf_write("threads = 1\n");
	first = setup_load(conf_path, &why);
	assert_non_null(first);
	slot = setup_slot_new(first);
	held = setup_get(slot);
	assert_ptr_equal(held, first);

	conf_write("threads = none\n");
	assert_false(setup_reload(slot, conf_path));
	now = setup_get(slot);
	assert_ptr_equal(now, first);
	setup_put(now);

	conf_write("threads = 2\n");
	assert_true(setup_reload(slot, conf_path));
	now = setup_get(slot);
	assert_int_equal(now->conf->threads, 2);
	assert_int_equal(held->conf->threads, 1); /* still good for who holds it */
	assert_int_equal(held->keys.n, 1);
	setup_put(held);
	setup_put(now);
	setup_put(now); /* the slot's own, which is not used any more */
	free(slot);
	buf_free(&why);
}

/* ---- a daemon's manners ---- */

/* Exit status of proc_arguments, or 100 when it returned; what it said in said. */
static int
arguments(const char *const *argv, char *said, size_t n)
{
	int pipes[2], status, argc = 0;
	ssize_t got, total = 0;
	pid_t pid;

	while (argv[argc])
		argc++;
	assert_int_equal(pipe(pipes), 0);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		dup2(pipes[1], 1);
		dup2(pipes[1], 2);
		printf("%s", proc_arguments(argc, (char **)(uintptr_t)argv, "rekindle-milter", NULL));
		fflush(NULL);
		_exit(100);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], said + total, n - 1 - (size_t)total)) > 0)
		total += got;
	said[total] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
arguments_of_a_daemon(void **state)
{
	static const struct {
		const char *row, *argv[5];
		int status;
		const char *said;
	} rows[] = {
		{ "none", { "x", NULL }, 100, SYSCONFDIR "/rekindle/rekindle.conf" },
		{ "a file", { "x", "-c", "/a/b", NULL }, 100, "/a/b" },
		{ "the version", { "x", "-V", NULL }, 0, "rekindle-milter " PACKAGE_VERSION "\n" },
		{ "help", { "x", "-h", NULL }, 0, "usage: rekindle-milter [-c FILE]" },
		{ "the version, in full", { "x", "--version", NULL }, 0, "rekindle-milter " PACKAGE_VERSION "\n" },
		{ "help, in full", { "x", "--help", NULL }, 0, "usage: rekindle-milter [-c FILE]" },
		{ "an unknown word", { "x", "--verbose", NULL }, 2, "usage: " },
		{ "a word with a value", { "x", "--help=yes", NULL }, 2, "usage: " },
		{ "a file without a name", { "x", "-c", NULL }, 2, "usage: " },
		{ "an unknown option", { "x", "-z", NULL }, 2, "usage: " },
		{ "an operand", { "x", "-c", "f", "start", NULL }, 2, "unexpected argument `start'" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char said[2000];

		assert_row(rows[i].row, arguments(rows[i].argv, said, sizeof said) == rows[i].status);
		if (strstr(said, rows[i].said) == NULL)
			fail_msg("%s: said \"%s\", want \"%s\"", rows[i].row, said, rows[i].said);
	}
}

static void
systemd_hears_of_readiness(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char got[300], name[200];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	proc_notify("READY=1"); /* nobody asks */
	for (int abstract = 0; abstract < 2; abstract++) {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ssize_t n;

		if (abstract)
			snprintf(name, sizeof name, "@rekindle-test-%d", (int)getpid());
		else
			snprintf(name, sizeof name, "%.100s/keys", dir);
		memset(sun.sun_path, 0, sizeof sun.sun_path);
		memcpy(sun.sun_path, name, strlen(name));
		if (abstract)
			sun.sun_path[0] = '\0';
		else
			unlink(name);
		assert_int_equal(bind(fd, (struct sockaddr *)&sun,
				     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
		    0);
		setenv("NOTIFY_SOCKET", name, 1);
		proc_notify("READY=1");
		n = recv(fd, got, sizeof got, MSG_DONTWAIT);
		assert_true(n > 0);
		assert_span(name, span_make(got, (size_t)n), SPAN("READY=1"));
		proc_notify("RELOADING=1");
		n = recv(fd, got, sizeof got, MSG_DONTWAIT);
		assert_true(n > 0);
		assert_true(span_starts(span_make(got, (size_t)n), SPAN("RELOADING=1\nMONOTONIC_USEC=")));
		close(fd);
	}
	unsetenv("NOTIFY_SOCKET");
}

static void
signals_are_blocked(void **state)
{
	sigset_t set, before, now;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	proc_block(&set);
	pthread_sigmask(SIG_SETMASK, &before, &now);
	assert_int_equal(sigismember(&now, SIGUSR1), 1);
	assert_int_equal(sigismember(&now, SIGPIPE), 1);
	assert_int_equal(sigismember(&now, SIGTERM), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_have_policies_of_their_own),
		cmocka_unit_test(each_fault_has_its_line_and_says_what_would_be_right),
		cmocka_unit_test(urls_that_cannot_be_links),
		cmocka_unit_test(urls_that_can),
		cmocka_unit_test(the_longest_url),
		cmocka_unit_test(all_faults_are_told_in_file_order),
		cmocka_unit_test(faults_have_an_end),
		cmocka_unit_test(a_nul_is_all_that_is_said),
		cmocka_unit_test(long_values_are_cut_between_characters),
		cmocka_unit_test(streams_have_an_end),
		cmocka_unit_test(stream_names_have_an_end),
		cmocka_unit_test(defaults),
		cmocka_unit_test(lines_as_postfix_reads_them),
		cmocka_unit_test(streams_override_the_general_settings),
		cmocka_unit_test(somebody_enforces),
		cmocka_unit_test(streams_that_keep_the_same_or_not),
		cmocka_unit_test(presets_give_what_is_not_set),
		cmocka_unit_test(words_mean_what_they_say),
		cmocka_unit_test(edges_of_ranges_are_inside),
		cmocka_unit_test(lengths_have_an_edge),
		cmocka_unit_test(what_is_printed_reads_back_to_the_same),
		cmocka_unit_test(streams_print_only_what_differs),
		cmocka_unit_test(the_sample_has_every_key_once),
		cmocka_unit_test(the_sample_works_once_the_required_are_filled_in),
		cmocka_unit_test(the_manual_knows_every_setting),
		cmocka_unit_test(hosts_and_ports),
		cmocka_unit_test(milter_sockets_in_both_syntaxes),
		cmocka_unit_test(the_lowest_mode_wins),
		cmocka_unit_test(files_are_read_up_to_a_limit),
		cmocka_unit_test(a_setup_needs_both_files),
		cmocka_unit_test(settings_need_no_keys),
		cmocka_unit_test(a_reload_replaces_all_or_nothing),
		cmocka_unit_test(arguments_of_a_daemon),
		cmocka_unit_test(systemd_hears_of_readiness),
		cmocka_unit_test(signals_are_blocked),
	};

	return cmocka_run_group_tests(tests, files_make, files_remove);
}
