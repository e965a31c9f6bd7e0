/* rekindle import -- touches as JSON lines, with their own dates. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/bounce.h"
#include "common/clock.h"
#include "common/csv.h"
#include "common/engage.h"
#include "common/mem.h"
#include "common/text.h"
#include "common/token.h"

#define STREAM_MAX 63
#define CAMPAIGN_MAX 200
#define CLOCK_SLACK 60000 /* ms: two machines' clocks */
#define PROGRESS_MS 200
#define CLASS_UNKNOWN 0xff /* detail of a SENT that says none: counts in no class */
#define WHY_MAX 4096
#define STREAMS_TOLD_MAX 100
#define SOURCE_TEXT_MAX (SOURCE_MAX - (sizeof "import: " - 1))
#define FOLD_EVERY 8 /* batches: summing up costs a flush of its own */

static const char *const known_fields[] = {
	"type", "address", "who", "at", "stream", "stream_id", "campaign", "campaign_id", "link", "url", "verdict", "evidence", "class",
	"cause", "tracked", "observed", "axis", "value", "source", "mode", "sent", "agent", "net", "imported",
	"links", "gateway", "until", "series", "exempt", "holdout", "bounce", "untold",
};

struct import {
	struct cli *c;
	const char *name; /* of the file, for messages */
	bool consents;    /* lines are consents and nothing else; they need no type */
	struct lines in;
	struct batch *batch;
	uint64_t first; /* line of which the batch has a touch */
	uint64_t imported, bad, left_out;
	uint64_t nameless; /* kept, but not for whom the line was about */
	uint64_t sends, named; /* SENT; opens and clicks that say who */
	uint64_t doubled;  /* lines that made two touches */
	unsigned unfolded; /* batches */
	bool consented;    /* among what is not summed up yet */
	bool field_told;
	char **stream_told; /* names that no setting knows */
	size_t nstream_told;
	struct buf why;
	struct buf source;  /* of the consent in this line */
	/* Progress. */
	bool show;
	uint64_t size; /* 0: not known */
	int64_t started, next;
};

bool
touch_word(struct span word, enum touch_kind *kind)
{
	static const struct {
		const char *word;
		enum touch_kind kind;
	} aliases[] = {
		{ "open", TOUCH_OPEN }, { "click", TOUCH_CLICK }, { "consent", TOUCH_CONSENT }, { "unsubscribed", TOUCH_LEFT },
	};

	for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
		if (span_eq(word, span_of(aliases[i].word))) {
			*kind = aliases[i].kind;
			return true;
		}
	return touch_parse(word, kind);
}

/* ---- one line into one touch ---- */

static bool wrong(struct import *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Says what is wrong with the line; always false. */
static bool
wrong(struct import *im, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_clear(&im->why);
	buf_adds(&im->why, text);
	return false;
}

/* A text field; empty when it is absent. */
static bool
get_text(struct import *im, const json_t *o, const char *name, struct span *out)
{
	const json_t *v = json_object_get(o, name);

	*out = SPAN("");
	if (!v || json_is_null(v))
		return true;
	if (!json_is_string(v))
		return wrong(im, "%s must be text in quotes", name);
	*out = span_make(json_string_value(v), json_string_length(v));
	return true;
}

static bool
get_flag(struct import *im, const json_t *o, const char *name, bool unset, bool *out)
{
	const json_t *v = json_object_get(o, name);

	*out = unset;
	if (!v || json_is_null(v))
		return true;
	if (!json_is_boolean(v))
		return wrong(im, "%s must be true or false", name);
	*out = json_is_true(v);
	return true;
}

/* A time as text or as seconds since 1970; *out stays when it is absent. */
static bool
get_time(struct import *im, const json_t *o, const char *name, int64_t *out)
{
	const json_t *v = json_object_get(o, name);
	int64_t ms;

	if (!v || json_is_null(v))
		return true;
	if (json_is_integer(v)) {
		if (json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
			return wrong(im, "%s must be seconds since 1970, or text like \"2026-01-31T12:00:00Z\"", name);
		ms = (int64_t)json_integer_value(v) * 1000;
	} else if (!json_is_string(v) || !text_time(span_make(json_string_value(v), json_string_length(v)), &ms)) {
		return wrong(im, "%s is not a date; write \"2026-01-31T12:00:00Z\" or \"2026-01-31\"", name);
	}
	if (ms < 0)
		return wrong(im, "%s is before 1970", name);
	if (ms > clock_read(CLOCK_REALTIME) + CLOCK_SLACK)
		return wrong(im, "%s is in the future", name);
	*out = ms;
	return true;
}

static bool
get_id(struct import *im, const json_t *o, const char *name, uint64_t *id)
{
	struct span text;
	uint8_t b[8];

	if (!get_text(im, o, name, &text))
		return false;
	if (text.n == 0)
		return true;
	if (!text_hex(text, b, sizeof b))
		return wrong(im, "%s must be 16 hexadecimal digits", name);
	*id = 0;
	for (size_t i = 0; i < sizeof b; i++)
		*id = *id << 8 | b[i];
	return true;
}

bool
import_is_stream_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' || !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", s.p[i]))
			return false;
	return s.n <= STREAM_MAX;
}

static bool
has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return true;
	return false;
}

/* Stream and campaign, by name or by the ids that export writes when nobody knows the name. */
static bool
read_campaign(struct import *im, const json_t *o, struct record *r)
{
	const struct keys *keys = &im->c->setup->keys;
	struct touch *t = &r->touch;
	bool needs_stream = t->kind == TOUCH_LEFT || t->kind == TOUCH_JOINED || t->kind == TOUCH_RELEASED ||
	    t->kind == TOUCH_KEPT || t->kind == TOUCH_LESS;

	if (!get_text(im, o, "stream", &r->stream) || !get_text(im, o, "campaign", &r->campaign)
	    || !get_id(im, o, "stream_id", &t->stream) || !get_id(im, o, "campaign_id", &t->campaign))
		return false;
	if (!import_is_stream_name(r->stream))
		return wrong(im, "stream must be letters, digits, - _ and ., at most %d", STREAM_MAX);
	if (r->campaign.n > CAMPAIGN_MAX || has_control(r->campaign))
		return wrong(im, "campaign must be at most %d bytes, without control characters", CAMPAIGN_MAX);
	if (r->campaign.n > 0 && r->stream.n == 0) {
		/* Without its stream this would be taken for a wish about everything. */
		if (needs_stream)
			return wrong(im, "campaign needs a stream here: from which newsletter is it?");
		r->stream = span_of(im->c->setup->conf->stream[0].name);
	}
	if (r->stream.n > 0)
		t->stream = stream_id(keys, r->stream);
	if (r->campaign.n > 0)
		t->campaign = campaign_id(keys, r->stream, r->campaign);
	return true;
}

static bool
read_who(struct import *im, const json_t *o, struct record *r, bool may_be_nobody)
{
	struct span hex;

	if (!get_text(im, o, "address", &r->address) || !get_text(im, o, "who", &hex))
		return false;
	if (r->address.n > 0 && hex.n > 0)
		return wrong(im, "address or who, not both");
	if (r->address.n > 0)
		return addr_who(&im->c->setup->keys, r->address, &r->touch.who)
		    || wrong(im, "\"%.*s\" is not an address", SPAN_ARG(span_cut(r->address, 0, 200)));
	if (hex.n > 0)
		return text_hex(hex, r->touch.who.b, sizeof r->touch.who.b) || wrong(im, "who must be 32 hexadecimal digits");
	return may_be_nobody || wrong(im, "address is missing");
}

static bool
read_net(struct import *im, const json_t *o, struct touch *t)
{
	char address[INET6_ADDRSTRLEN];
	struct span text;
	uint8_t b[16];
	uint64_t bits = 0;
	size_t slash;
	bool v6;

	if (!get_text(im, o, "net", &text))
		return false;
	if (text.n == 0)
		return true;
	slash = span_find(text, '/');
	v6 = span_find(text, ':') < slash;
	snprintf(address, sizeof address, "%.*s", SPAN_ARG(span_cut(text, 0, slash)));
	if (slash >= sizeof address || !text_u64(span_from(text, slash + 1), &bits) || bits != (v6 ? 48 : 24)
	    || inet_pton(v6 ? AF_INET6 : AF_INET, address, b) != 1)
		return wrong(im, "net must be like 192.0.2.0/24 or 2001:db8:1::/48");
	t->net[0] = (uint8_t)bits;
	memcpy(t->net + 1, b, bits / 8);
	return true;
}

static bool
read_agent(struct import *im, const json_t *o, struct touch *t)
{
	struct span text;

	if (!get_text(im, o, "agent", &text))
		return false;
	for (unsigned i = 1; text.n > 0 && i < 256; i++)
		if (span_eq(text, span_of(robot_family_name((unsigned char)i)))) {
			t->agent = (unsigned char)i;
			break;
		}
	return true;
}

/* Which rule gave the verdict; one that only another version knows is none of ours. */
static bool
read_evidence(struct import *im, const json_t *o, struct touch *t)
{
	enum evidence evidence = robot_is_human(t->verdict) ? EVIDENCE_NONE : EVIDENCE_UNKNOWN;
	struct span text;

	if (!get_text(im, o, "evidence", &text))
		return false;
	if (text.n > 0 && !evidence_parse(text, &evidence))
		return wrong(im, "there is no evidence \"%.*s\"", SPAN_ARG(span_cut(text, 0, 50)));
	t->detail = (uint8_t)evidence;
	return true;
}

/* Opens and clicks. */
static bool
read_hit(struct import *im, const json_t *o, struct record *r)
{
	struct touch *t = &r->touch;
	const json_t *link = json_object_get(o, "link");
	enum robot verdict = ROBOT_HUMAN;
	struct span text;
	int64_t sent = 0;

	if (!get_text(im, o, "verdict", &text))
		return false;
	if (text.n > 0 && (!robot_parse(text, &verdict) || verdict == ROBOT_NONE))
		return wrong(im, "there is no verdict \"%.*s\"; one of human, proxy-open, privacy-open, prefetch, preview, "
		    "scanner, suspect", SPAN_ARG(span_cut(text, 0, 50)));
	t->verdict = (uint8_t)verdict;
	if (!read_evidence(im, o, t))
		return false;
	if (!get_time(im, o, "sent", &sent) || !read_agent(im, o, t) || !read_net(im, o, t))
		return false;
	t->sent = (uint32_t)(sent / 1000);
	if (t->kind != TOUCH_CLICK)
		return true;
	if (link && !json_is_null(link)) {
		if (!json_is_integer(link) || json_integer_value(link) < 1 || json_integer_value(link) > UINT16_MAX)
			return wrong(im, "link must be a number from 1 to %d", UINT16_MAX);
		t->link = (uint16_t)json_integer_value(link);
	}
	if (!get_text(im, o, "url", &r->destination))
		return false;
	if (r->destination.n > TOKEN_DESTINATION_MAX || has_control(r->destination))
		return wrong(im, "url must be at most %d bytes, without control characters", TOKEN_DESTINATION_MAX);
	if (t->link == 0 || t->campaign == 0)
		r->destination = SPAN("");
	return true;
}

static bool
read_untold(struct import *im, const json_t *o, struct touch *t)
{
	struct span text;

	if (!get_text(im, o, "untold", &text))
		return false;
	if (span_eq(text, SPAN("all")))
		t->agent = TOUCH_UNTOLD_CLICKS | TOUCH_UNTOLD;
	else if (span_eq(text, SPAN("clicks")))
		t->agent = TOUCH_UNTOLD_CLICKS;
	else if (text.n > 0)
		return wrong(im, "untold must be all or clicks");
	return true;
}

static bool
read_sent(struct import *im, const json_t *o, struct touch *t)
{
	const json_t *links = json_object_get(o, "links");
	enum engage class = ENGAGE_NEW;
	bool tracked, observed, series, exempt, holdout;
	struct span text;

	if (!get_text(im, o, "class", &text) || !get_flag(im, o, "tracked", true, &tracked)
	    || !get_flag(im, o, "observed", false, &observed) || !get_flag(im, o, "series", false, &series)
	    || !get_flag(im, o, "exempt", false, &exempt) || !get_flag(im, o, "holdout", false, &holdout) || !read_untold(im, o, t))
		return false;
	if (text.n > 0 && !engage_parse(text, &class))
		return wrong(im, "there is no class \"%.*s\"; one of new, engaged, semi-engaged, inactive",
		    SPAN_ARG(span_cut(text, 0, 50)));
	if (links && !json_is_null(links)) {
		if (!json_is_integer(links) || json_integer_value(links) < 0 || json_integer_value(links) > UINT16_MAX)
			return wrong(im, "links must be a number from 0 to %d", UINT16_MAX);
		t->link = (uint16_t)json_integer_value(links);
	}
	t->detail = text.n > 0 ? (uint8_t)class : CLASS_UNKNOWN;
	t->flags |= (tracked ? TOUCH_TRACKED : 0) | (observed ? TOUCH_OBSERVED : 0) | (series ? TOUCH_SERIES : 0) |
	    (exempt ? TOUCH_EXEMPT : 0) | (holdout ? TOUCH_HOLDOUT : 0);
	return true;
}

static bool
read_delivered(struct import *im, const json_t *o, struct touch *t)
{
	bool gateway;

	if (!get_flag(im, o, "gateway", false, &gateway))
		return false;
	t->detail = gateway ? DELIVERED_GATEWAY : 0;
	return t->campaign != 0 || wrong(im, "campaign is missing: of which message is this the delivery?");
}

static bool
read_skipped(struct import *im, const json_t *o, struct touch *t)
{
	struct span text;

	if (!get_text(im, o, "cause", &text))
		return false;
	for (int i = 0; text.n > 0 && i < CAUSES; i++)
		if (span_eq(text, span_of(cause_name((enum cause)i)))) {
			t->detail = (uint8_t)i;
			return true;
		}
	return text.n == 0 || wrong(im, "there is no cause \"%.*s\"", SPAN_ARG(span_cut(text, 0, 50)));
}

static bool
read_soft_bounced(struct import *im, const json_t *o, struct touch *t)
{
	struct span text;

	if (!get_text(im, o, "bounce", &text))
		return false;
	t->detail = span_eq(text, SPAN("policy")) ? BOUNCE_POLICY : BOUNCE_SOFT;
	return text.n == 0 || span_eq(text, span_of(bounce_name((enum bounce)t->detail))) || wrong(im, "bounce must be soft or policy");
}

/*
 * How the consent was given.  That it came in a file stays with it: no file
 * can say that it was said to us.  What an export says of that is not said
 * again.
 */
static bool
read_source(struct import *im, const json_t *o, struct span *source)
{
	struct span text;
	bool again;

	if (!get_text(im, o, "source", &text))
		return false;
	again = span_eq(text, SPAN("import")) || span_starts(text, SPAN("import: "));
	if (text.n > (again ? SOURCE_MAX : SOURCE_TEXT_MAX) || has_control(text))
		return wrong(im, "source must be at most %zu bytes, without control characters", SOURCE_TEXT_MAX);
	buf_clear(&im->source);
	if (!again)
		buf_adds(&im->source, text.n > 0 ? "import: " : "import");
	buf_add(&im->source, text);
	*source = buf_span(&im->source);
	return true;
}

static bool
read_consent(struct import *im, const json_t *o, struct record *r)
{
	struct span axis, value;
	enum consent consent;

	if (!get_text(im, o, "axis", &axis) || !get_text(im, o, "value", &value) || !read_source(im, o, &r->source))
		return false;
	if (!span_eq(axis, SPAN("opens")) && !span_eq(axis, SPAN("links")))
		return wrong(im, "axis must be \"opens\" or \"links\"");
	if (!consent_parse(value, &consent))
		return wrong(im, "value must be \"granted\", \"denied\" or \"unknown\"");
	r->touch.detail = (uint8_t)((span_eq(axis, SPAN("opens")) ? AXIS_OPENS : AXIS_LINKS) << 4 | consent);
	return true;
}

/* A hold may end in the future. */
static bool
read_held(struct import *im, const json_t *o, struct record *r)
{
	struct span text;
	int64_t until;

	if (!get_text(im, o, "until", &text) || !read_source(im, o, &r->source))
		return false;
	if (text.n == 0)
		return true;
	if (!text_time(text, &until) || until < 1000 || until / 1000 > UINT32_MAX)
		return wrong(im, "until is not a date; write \"2026-01-31T12:00:00Z\" or \"2026-01-31\"");
	r->touch.sent = (uint32_t)(until / 1000);
	return true;
}

static bool
is_hit(const struct touch *t)
{
	return t->kind == TOUCH_OPEN || t->kind == TOUCH_CLICK;
}

/* Names in *r point into o. */
static bool
read_touch(struct import *im, const json_t *o, struct record *r)
{
	struct touch *t = &r->touch;
	enum mode mode = MODE_IDENTIFIED;
	enum touch_kind kind;
	struct span type, text;

	if (!json_is_object(o))
		return wrong(im, "not an object; write {\"type\": ..., \"address\": ..., \"at\": ...}");
	if (!get_text(im, o, "type", &type) || !get_text(im, o, "mode", &text))
		return false;
	if (type.n == 0 && im->consents)
		type = SPAN("consented");
	if (type.n == 0)
		return wrong(im, "type is missing; one of " TOUCH_WORDS);
	if (!touch_word(type, &kind))
		return wrong(im, "there is no type \"%.*s\"; one of " TOUCH_WORDS, SPAN_ARG(span_cut(type, 0, 50)));
	if (im->consents && kind != TOUCH_CONSENT)
		return wrong(im, "type is \"%.*s\"; this is for \"consented\" alone, `rekindle import' takes all", SPAN_ARG(type));
	if (text.n > 0 && (!mode_parse(text, &mode) || mode == MODE_OFF))
		return wrong(im, "mode must be anonymous, dayonly, identified or full");
	*r = (struct record){ .touch = {
		.kind = (uint8_t)kind, .mode = (uint8_t)mode, .flags = TOUCH_IMPORTED, .when = im->c->now } };
	if (!get_time(im, o, "at", &t->when) || !read_campaign(im, o, r))
		return false;
	if (!read_who(im, o, r, mode == MODE_ANONYMOUS && (is_hit(t) || kind == TOUCH_SENT)))
		return false;
	switch (kind) {
	case TOUCH_SENT:
		return read_sent(im, o, t);
	case TOUCH_SKIPPED:
		return read_skipped(im, o, t);
	case TOUCH_OPEN:
	case TOUCH_CLICK:
		return read_hit(im, o, r);
	case TOUCH_CONSENT:
		return read_consent(im, o, r);
	case TOUCH_DELIVERED:
		return read_delivered(im, o, t);
	case TOUCH_HELD:
		return read_held(im, o, r);
	case TOUCH_SOFT_BOUNCED:
		return read_soft_bounced(im, o, t);
	default:
		return !touch_is_said(t) || read_source(im, o, &r->source);
	}
}

/* ---- what may be kept of it ---- */

/* As the store and the lines that wait to be written know it. */
static enum consent
consent_of(const struct import *im, const struct who *who, enum axis axis)
{
	struct profile p;

	if (store_profile(im->c->store, who, &p) != STORE_OK)
		p = (struct profile){ 0 };
	for (size_t i = 0; im->consented && i < im->batch->n; i++) {
		const struct touch *t = &im->batch->record[i].touch;

		if (t->kind == TOUCH_CONSENT && who_eq(&t->who, who))
			profile_add(&p, t);
	}
	return profile_consent(&p, axis);
}

static void
keep(struct import *im, const struct record *r)
{
	if (im->batch->n == 0)
		im->first = im->in.number;
	if (r->touch.kind == TOUCH_CONSENT)
		im->consented = true;
	batch_add(im->batch, r);
}

/* The stream whose ceilings hold: by name, or by the id that an export has when nobody knows the name. */
static const struct stream *
stream_of(const struct import *im, const struct record *r)
{
	const struct conf *conf = im->c->setup->conf;
	const struct stream *named = r->stream.n ? conf_stream(conf, r->stream) : NULL;

	for (size_t i = 0; named == NULL && r->touch.stream != 0 && i < conf->nstreams; i++)
		if (stream_id(&im->c->setup->keys, span_of(conf->stream[i].name)) == r->touch.stream)
			named = &conf->stream[i];
	return named ? named : &conf->stream[0];
}

/*
 * History is no way around the recipient's choice: an open or a click is kept
 * as it would be if it came in now.  What the tracker does with a hit is done
 * here: in dayonly the recipient keeps the day, and the campaign its count.
 */
static void
keep_hit(struct import *im, struct record *r)
{
	const struct conf *conf = im->c->setup->conf;
	enum axis axis = r->touch.kind == TOUCH_OPEN ? AXIS_OPENS : AXIS_LINKS;
	struct touch *t = &r->touch;
	enum mode mode = (enum mode)t->mode;
	struct record day;

	mode = mode_min(mode, conf_mode(conf, stream_of(im, r), axis,
	    who_is_nobody(&t->who) ? CONSENT_UNKNOWN : consent_of(im, &t->who, axis)));
	if (mode == MODE_DAYONLY && t->kind == TOUCH_OPEN && robot_is_human(t->verdict)) {
		day = (struct record){ .touch = { .kind = TOUCH_OPEN, .mode = MODE_DAYONLY, .flags = TOUCH_IMPORTED,
		    .when = t->when - t->when % DAY_MS, .who = t->who }, .address = r->address };
		im->named++;
		keep(im, &day);
		if (t->campaign == 0)
			return;
		im->doubled++;
	}
	if (mode == MODE_OFF || (mode < MODE_IDENTIFIED && t->campaign == 0)) {
		im->left_out++;
		return;
	}
	t->mode = (uint8_t)(mode == MODE_DAYONLY ? MODE_ANONYMOUS : mode);
	if (mode < MODE_IDENTIFIED) {
		im->nameless += !who_is_nobody(&t->who);
		t->who = (struct who){ 0 };
		t->sent = 0;
		r->address = SPAN("");
	}
	if (mode < MODE_FULL) {
		t->agent = 0;
		memset(t->net, 0, sizeof t->net);
	}
	im->named += !who_is_nobody(&t->who);
	keep(im, r);
}

/* ---- the file ---- */

static void
wipe_progress(const struct import *im)
{
	if (im->show)
		fputs("\r\033[K", stderr);
}

/* Once for each name, for it may be misspelt in every line. */
static void
tell_unknown_stream(struct import *im, struct span name)
{
	if (name.n == 0 || conf_stream(im->c->setup->conf, name) || im->nstream_told == STREAMS_TOLD_MAX)
		return;
	for (size_t i = 0; i < im->nstream_told; i++)
		if (span_eq(name, span_of(im->stream_told[i])))
			return;
	im->stream_told = xreallocarray(im->stream_told, im->nstream_told + 1, sizeof *im->stream_told);
	im->stream_told[im->nstream_told++] = xstrndup(name.p, name.n);
	wipe_progress(im);
	cli_error("%s:%" PRIu64 ": stream `%.*s' is not in the settings%s", im->name, im->in.number, SPAN_ARG(name),
	    im->nstream_told == STREAMS_TOLD_MAX ? "; other such names are not told" : "");
}

static void
tell_unknown_field(struct import *im, const json_t *o)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)o, name, value) {
		bool known = false;

		for (size_t i = 0; i < sizeof known_fields / sizeof known_fields[0]; i++)
			known = known || strcmp(name, known_fields[i]) == 0;
		if (known)
			continue;
		wipe_progress(im);
		cli_error("%s:%" PRIu64 ": field \"%.50s\" is not known and not used (told once)", im->name, im->in.number,
		    name);
		im->field_told = true;
		return;
	}
}

static void
progress(struct import *im)
{
	int64_t now, elapsed;

	if (!im->show || im->in.number % 64 != 0 || (now = clock_ms()) < im->next)
		return;
	im->next = now + PROGRESS_MS;
	elapsed = now - im->started > 0 ? now - im->started : 1;
	wipe_progress(im);
	if (im->size > 0) {
		static const char bar[] = "##############################";
		unsigned share = (unsigned)(im->in.bytes >= im->size ? 100 : im->in.bytes * 100 / im->size);
		int full = (int)(share * (sizeof bar - 1) / 100);

		fprintf(stderr, "[%.*s%*s] %3u %%  ", full, bar, (int)(sizeof bar - 1) - full, "", share);
	}
	fprintf(stderr, "%" PRIu64 " lines, %" PRIu64 "/s", im->in.number, im->in.number * 1000 / (uint64_t)elapsed);
}

static void
read_line(struct import *im, struct span line)
{
	struct record r;
	json_error_t error;
	json_t *o = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &error);
	bool good;

	good = o ? read_touch(im, o, &r) : wrong(im, "not JSON: %s", error.text);
	if (!good) {
		wipe_progress(im);
		cli_error("%s:%" PRIu64 ": %s", im->name, im->in.number, buf_cstr(&im->why));
		im->bad++;
	} else {
		if (!im->field_told)
			tell_unknown_field(im, o);
		tell_unknown_stream(im, r.stream);
		im->sends += r.touch.kind == TOUCH_SENT;
		if (is_hit(&r.touch))
			keep_hit(im, &r);
		else
			keep(im, &r);
	}
	json_decref(o);
}

/* The next lines look up consent in what is summed up, so it must not wait there. */
static bool
flush(struct import *im)
{
	size_t n = im->batch->n;

	if (n == 0)
		return true;
	if (!batch_write(im->c, im->batch)) {
		wipe_progress(im);
		cli_error("%s: stopped: from line %" PRIu64 " on nothing is imported; %" PRIu64 " touch%s before it %s", im->name,
		    im->first, im->imported, im->imported == 1 ? "" : "es", im->imported == 1 ? "is" : "are");
		return false;
	}
	im->imported += n;
	if (++im->unfolded == FOLD_EVERY || im->consented) {
		cli_fold(im->c);
		im->unfolded = 0;
		im->consented = false;
	}
	return true;
}

/* False: cannot go on, told why. */
static bool
read_file(struct import *im)
{
	struct span line;
	bool cut;

	while (lines_next(&im->in, &line, &cut)) {
		progress(im);
		if (cut) {
			wipe_progress(im);
			cli_error("%s:%" PRIu64 ": the line is longer than %d bytes", im->name, im->in.number, LINE_MAX_BYTES);
			im->bad++;
		} else if (span_trim(line).n > 0) {
			read_line(im, line);
		}
		/* One line may make two records. */
		if (im->batch->n + 2 > BATCH_MAX && !flush(im))
			return false;
	}
	if (ferror(im->in.file)) {
		cli_error("cannot read %s: %s", im->name, strerror(errno));
		return flush(im) && false;
	}
	return flush(im);
}

static void
say(const struct import *im)
{
	struct emit e = { 0 };

	wipe_progress(im);
	if (im->nameless && im->sends && !im->named)
		cli_error("no open or click of %s may say who it was, so its recipients look silent; import the opens as well, or consents first",
		    im->name);
	if (!im->c->json) {
		printf("imported %" PRIu64 " touch%s from %" PRIu64 " line%s", im->imported, im->imported == 1 ? "" : "es",
		    im->in.number, im->in.number == 1 ? "" : "s");
		if (im->doubled)
			printf(" (%" PRIu64 " of these made two: a day for the recipient, a count for the campaign)", im->doubled);
		if (im->bad)
			printf("; %" PRIu64 " bad line%s", im->bad, im->bad == 1 ? "" : "s");
		putchar('\n');
		if (im->nameless)
			printf("opens and clicks counted without a name, as privacy_profile and consent demand: %" PRIu64 "\n",
			    im->nameless);
		if (im->left_out)
			printf("opens and clicks left out, as privacy_profile and consent demand: %" PRIu64 "\n", im->left_out);
		return;
	}
	emit_open(&e, NULL, '{');
	emit_number(&e, "lines", im->in.number);
	emit_number(&e, "imported", im->imported);
	emit_number(&e, "nameless", im->nameless);
	emit_number(&e, "left_out", im->left_out);
	emit_number(&e, "bad", im->bad);
	emit_close(&e, '}');
	emit_end(&e);
}

int
import_file(struct cli *c, const char *file, bool consents)
{
	struct import im = { .c = c, .name = "-", .consents = consents, .in.file = stdin, .why = BUF(WHY_MAX), .source = BUF(WHY_MAX) };
	struct stat st;
	int status;

	/* Opened before root is given up: the file is the caller's. */
	if (file && strcmp(file, "-") != 0) {
		im.name = file;
		if (!(im.in.file = fopen(im.name, "re"))) {
			cli_error("cannot read %s: %s", im.name, strerror(errno));
			return EXIT_CANNOT;
		}
	}
	status = EXIT_CANNOT;
	if (fstat(fileno(im.in.file), &st) == 0 && S_ISREG(st.st_mode))
		im.size = (uint64_t)st.st_size;
	if (!cli_store(c))
		goto out;
	im.show = isatty(STDERR_FILENO);
	im.started = clock_ms();
	im.batch = xcalloc(1, sizeof *im.batch);
	if (read_file(&im)) {
		say(&im);
		status = im.bad ? EXIT_CANNOT : im.imported ? EXIT_FOUND : EXIT_NOTHING;
	}
	cli_fold(c);
out:
	if (im.in.file != stdin)
		fclose(im.in.file);
	free(im.batch);
	for (size_t i = 0; i < im.nstream_told; i++)
		free(im.stream_told[i]);
	free(im.stream_told);
	buf_free(&im.in.line);
	buf_free(&im.why);
	buf_free(&im.source);
	return status;
}

/* ---- rows of other systems' lists ---- */

struct json_rows {
	import_row_fn *fn;
	void *arg;
	uint64_t row;
};

/* Numbers as text, of an object its "code" (Brevo has them so); anything else is empty. */
static struct span
row_value(const json_t *v, struct buf *numbers, size_t *from)
{
	const json_t *code = json_is_object(v) ? json_object_get(v, "code") : v;

	*from = SIZE_MAX;
	if (json_is_string(code))
		return span_make(json_string_value(code), json_string_length(code));
	if (!json_is_integer(code))
		return SPAN("");
	*from = numbers->n;
	buf_addf(numbers, "%" JSON_INTEGER_FORMAT, json_integer_value(code));
	return span_make("", numbers->n - *from);
}

static bool
json_row(struct json_rows *j, json_t *o)
{
	struct span name[CSV_FIELDS_MAX], value[CSV_FIELDS_MAX];
	size_t from[CSV_FIELDS_MAX], n = 0;
	struct buf numbers = BUF(CSV_FIELDS_MAX * 32);
	const char *key;
	json_t *v;
	bool good;

	if (json_object_size(o) > CSV_FIELDS_MAX)
		return j->fn(j->arg, NULL, NULL, json_object_size(o), ++j->row);
	json_object_foreach(o, key, v) {
		name[n] = span_of(key);
		value[n] = row_value(v, &numbers, &from[n]);
		n++;
	}
	for (size_t i = 0; i < n; i++)
		if (from[i] != SIZE_MAX)
			value[i] = span_cut(buf_span(&numbers), from[i], from[i] + value[i].n);
	good = j->fn(j->arg, name, value, n, ++j->row);
	buf_free(&numbers);
	return good;
}

/* The objects of an array; of an object its first array of objects, or itself. */
static bool
json_rows(struct json_rows *j, json_t *value)
{
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach(value, key, v)
			if (json_is_array(v) && (json_array_size(v) == 0 || json_is_object(json_array_get(v, 0))))
				return json_rows(j, v);
		return json_row(j, value);
	}
	json_array_foreach(value, i, v)
		if (json_is_object(v) ? !json_row(j, v) : !j->fn(j->arg, NULL, NULL, 0, ++j->row))
			return false;
	return true;
}

bool
import_json_rows(FILE *in, const char *file, import_row_fn *fn, void *arg)
{
	struct json_rows j = { fn, arg, 0 };
	json_error_t error;
	bool good = true;
	json_t *value;
	int ch;

	while (good && (ch = getc(in)) != EOF) {
		if (ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t')
			continue;
		ungetc(ch, in);
		if (!(value = json_loadf(in, JSON_DISABLE_EOF_CHECK, &error))) {
			cli_error("%s: not JSON behind row %" PRIu64 ": %s", file, j.row, error.text);
			return false;
		}
		good = json_rows(&j, value);
		json_decref(value);
	}
	return good;
}

int
cmd_import(struct cli *c)
{
	int status;

	if (!cli_options(c, NULL, 0, &status))
		return status;
	if (c->nwords > 1)
		return cli_usage(c, "import: one file");
	return import_file(c, c->nwords ? c->word[0] : NULL, false);
}
