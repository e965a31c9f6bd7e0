/* rekindle tag -- what the milter would do to a message, without Postfix. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/ip.h"
#include "common/mem.h"
#include "milter/fields.h"
#include "milter/message.h"
#include "milter/select.h"

#define NAME_CAP 4096
#define LINE_CAP 4096

/* ---- differences ---- */

#define DIFF_CONTEXT 3
#define DIFF_EDITS_MAX 2000 /* the search takes the square of it; beyond, all is shown as replaced */

struct text {
	struct span *line; /* with their line breaks */
	size_t n;
};

static struct text
text_lines(struct span s)
{
	struct text t = { 0 };
	size_t cap = 0;

	while (s.n > 0) {
		size_t n = span_find(s, '\n') + 1;

		if (t.n == cap) {
			cap = cap ? 2 * cap : 256;
			t.line = xreallocarray(t.line, cap, sizeof *t.line);
		}
		t.line[t.n++] = span_cut(s, 0, n);
		s = span_from(s, n);
	}
	return t;
}

/* Lines start .. end of the old text are replaced by lines new_start .. new_end of the new one. */
struct change {
	size_t start, end, new_start, new_end;
};

struct changes {
	struct change *change;
	size_t n, cap;
};

static void
changes_add(struct changes *c, struct change k)
{
	struct change *last = c->n ? &c->change[c->n - 1] : NULL;

	if (last && last->end == k.start && last->new_end == k.new_start) {
		last->end = k.end;
		last->new_end = k.new_end;
		return;
	}
	if (c->n == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 64;
		c->change = xreallocarray(c->change, c->cap, sizeof *c->change);
	}
	c->change[c->n++] = k;
}

/*
 * Myers' greedy search between a[0..n] and b[0..m]: how far each diagonal gets
 * with d edits, kept for every d, and walked back from the end.  Edits come
 * out last first.  False when there are more than DIFF_EDITS_MAX.
 */
static bool
search(const struct span *a, size_t n, const struct span *b, size_t m, struct change *edit, size_t *nedits)
{
	int64_t **far = xcalloc(DIFF_EDITS_MAX + 1, sizeof *far);
	int64_t x = 0, y = 0, d;
	bool found = false;

	for (d = 0; d <= DIFF_EDITS_MAX && !found; d++) {
		const int64_t *before = d ? far[d - 1] + (d - 1) : NULL;
		int64_t *now = (far[d] = xcalloc((size_t)(2 * d + 1), sizeof **far)) + d;

		for (int64_t k = -d; k <= d && !found; k += 2) {
			if (d == 0)
				x = 0;
			else if (k == -d || (k != d && before[k - 1] < before[k + 1]))
				x = before[k + 1];
			else
				x = before[k - 1] + 1;
			y = x - k;
			while (x < (int64_t)n && y >= 0 && y < (int64_t)m && span_eq(a[x], b[y])) {
				x++;
				y++;
			}
			now[k] = x;
			found = x >= (int64_t)n && y >= (int64_t)m;
		}
	}
	*nedits = 0;
	for (d--, x = (int64_t)n, y = (int64_t)m; found && d > 0; d--) {
		const int64_t *before = far[d - 1] + (d - 1);
		int64_t k = x - y;
		bool down = k == -d || (k != d && before[k - 1] < before[k + 1]);
		int64_t px = down ? before[k + 1] : before[k - 1], py = px - (down ? k + 1 : k - 1);

		edit[(*nedits)++] = (struct change){
			(size_t)px, (size_t)px + !down, (size_t)py, (size_t)py + down };
		x = px;
		y = py;
	}
	for (size_t i = 0; i <= DIFF_EDITS_MAX; i++)
		free(far[i]);
	free(far);
	return found;
}

static struct changes
compare(const struct text *a, const struct text *b)
{
	struct changes c = { 0 };
	struct change *edit;
	size_t head = 0, tail = 0, n;

	while (head < a->n && head < b->n && span_eq(a->line[head], b->line[head]))
		head++;
	while (tail < a->n - head && tail < b->n - head && span_eq(a->line[a->n - 1 - tail], b->line[b->n - 1 - tail]))
		tail++;
	if (head + tail == a->n && a->n == b->n)
		return c;
	edit = xcalloc(DIFF_EDITS_MAX + 1, sizeof *edit);
	if (search(a->line + head, a->n - head - tail, b->line + head, b->n - head - tail, edit, &n)) {
		while (n-- > 0)
			changes_add(&c, (struct change){ edit[n].start + head, edit[n].end + head, edit[n].new_start + head,
				edit[n].new_end + head });
	} else {
		changes_add(&c, (struct change){ head, a->n - tail, head, b->n - tail });
	}
	free(edit);
	return c;
}

/* One line; the line break is shown where it is not the message's usual one. */
static void
print_line(char sign, struct span line, bool crlf)
{
	struct buf safe = BUF(4 * line.n + 64);
	struct span text = line, eol = SPAN("");
	const char *colour = sign == '-' ? print_red() : sign == '+' ? print_green() : "";

	if (span_ends(text, SPAN("\r\n")))
		eol = SPAN("\r\n");
	else if (span_ends(text, SPAN("\n")))
		eol = SPAN("\n");
	text = span_cut(text, 0, text.n - eol.n);
	/* A tab obeys nobody, and reads better as itself. */
	while (text.n > 0) {
		size_t n = span_find(text, '\t');

		print_safe(&safe, span_cut(text, 0, n));
		if (n < text.n)
			buf_addc(&safe, '\t');
		text = span_from(text, n + 1);
	}
	if (eol.n == 2 && !crlf)
		buf_adds(&safe, "\\r");
	else if (eol.n == 1 && crlf)
		buf_adds(&safe, "\\n");
	else if (eol.n == 0)
		buf_adds(&safe, "\\ no line break");
	printf("%s%c%.*s%s\n", colour, sign, SPAN_ARG(buf_span(&safe)), *colour ? print_plain() : "");
	buf_free(&safe);
}

/* Changes i .. j - 1 stand so near that they are shown together. */
static void
print_hunk(const struct text *a, const struct text *b, const struct change *k, size_t n, bool crlf)
{
	const struct change *last = &k[n - 1];
	size_t before = k->start < DIFF_CONTEXT ? k->start : DIFF_CONTEXT;
	size_t after = a->n - last->end < DIFF_CONTEXT ? a->n - last->end : DIFF_CONTEXT;
	size_t at = k->start - before;

	printf("%s@@ -%zu,%zu +%zu,%zu @@%s\n", print_bold(), at + 1, last->end + after - at, k->new_start - before + 1,
	    last->new_end + after - (k->new_start - before), print_plain());
	for (size_t i = 0; i < n; i++) {
		while (at < k[i].start)
			print_line(' ', a->line[at++], crlf);
		while (at < k[i].end)
			print_line('-', a->line[at++], crlf);
		for (size_t j = k[i].new_start; j < k[i].new_end; j++)
			print_line('+', b->line[j], crlf);
	}
	while (at < last->end + after)
		print_line(' ', a->line[at++], crlf);
}

static void
print_diff(struct span old, struct span new)
{
	struct text a = text_lines(old), b = text_lines(new);
	struct changes c = compare(&a, &b);
	bool crlf = a.n > 0 && span_ends(a.line[0], SPAN("\r\n"));

	for (size_t i = 0, j; i < c.n; i = j) {
		for (j = i + 1; j < c.n && c.change[j].start - c.change[j - 1].end <= 2 * DIFF_CONTEXT; j++)
			;
		print_hunk(&a, &b, &c.change[i], j - i, crlf);
	}
	free(c.change);
	free(a.line);
	free(b.line);
}

/* ---- the message ---- */

struct recipient {
	const char *address;
	struct who who; /* nobody: not an address */
	struct verdict verdict;
	struct buf text; /* what happens */
};

struct tag {
	struct cli *c;
	const struct stream *stream; /* NULL: not campaign mail */
	struct buf campaign;
	struct recipient *recipient;
	size_t nrecipients;
	enum mode opens, links; /* effective */
	bool explain;
	struct plan plan;
	struct buf raw, result;
	bool too_long;
};

static bool
read_message(struct tag *t, FILE *file, const char *name)
{
	uint64_t max = t->c->setup->conf->max_message;
	char *room;
	size_t n;

	/* One byte more tells whether it is too long. */
	t->raw.max = max < SIZE_MAX - 65536 ? (size_t)max + 65536 : SIZE_MAX;
	while (t->raw.n <= max && (room = buf_room(&t->raw, 65536)) && (n = fread(room, 1, 65536, file)) > 0)
		buf_grew(&t->raw, n);
	t->too_long = t->raw.n > max;
	if (ferror(file))
		cli_error("cannot read %s: %s", name, strerror(errno));
	return !ferror(file);
}

/* Whatever of a message that is too long has not been read yet. */
static void
copy_rest(FILE *file)
{
	char some[65536];
	size_t n;

	while ((n = fread(some, 1, sizeof some, file)) > 0)
		fwrite(some, 1, n, stdout);
}

/*
 * What is forced on the command line is taken as the message's own wish: the
 * control headers stand there in place of those it has.
 */
static struct message
with_wishes(const struct message *m, struct header *copy, const struct conf *conf, const char *stream,
    const char *campaign)
{
	size_t n = 0;

	if (stream)
		copy[n++] = (struct header){ span_of(conf->stream_header), span_of(stream) };
	if (campaign)
		copy[n++] = (struct header){ span_of(conf->campaign_header), span_of(campaign) };
	for (size_t i = 0; i < m->nheaders; i++) {
		if (stream && span_ieq(m->header[i].name, span_of(conf->stream_header)))
			continue;
		if (campaign && span_ieq(m->header[i].name, span_of(conf->campaign_header)))
			continue;
		copy[n++] = m->header[i];
	}
	return (struct message){ copy, n, m->body };
}

/* Class, verdict and modes of one recipient, as the milter finds them. */
static void
judge(struct tag *t, struct recipient *r, const char *address, uint64_t stream)
{
	const struct conf *conf = t->c->setup->conf;
	struct profile profile = { 0 };
	struct subscription subscription = { 0 };
	bool known = false, subscribed = false;
	struct question q;

	*r = (struct recipient){ .address = address, .text = BUF(LINE_CAP) };
	if (!addr_who(&t->c->setup->keys, span_of(address), &r->who))
		r->who = (struct who){ 0 };
	else if (t->c->store
	    && store_person(t->c->store, &r->who, stream, &profile, &known, &subscription, &subscribed) != STORE_OK)
		known = subscribed = false;
	q = (struct question){
		.conf = conf,
		.stream = t->stream,
		.stream_id = stream,
		.who = &r->who,
		.profile = known ? &profile : NULL,
		.subscription = subscribed ? &subscription : NULL,
		.now = t->c->now,
	};
	r->verdict = verdict_find(&q);
	print_verdict(&r->text, &q, &r->verdict);
}

/* The message's own word about consent. */
static void
lower(const struct tag *t, const struct message *m, struct tagging *how)
{
	const struct conf *conf = t->c->setup->conf;
	enum consent said[2];

	if (!select_consent(conf, m, said))
		cli_error("%s is malformed, taken as denied; write granted, denied, unknown or opens=granted; links=denied",
		    conf->consent_header);
	select_lower(conf, t->stream, said, &how->opens, &how->links);
}

static void
make_plan(struct tag *t, const struct message *m)
{
	const struct keys *keys = &t->c->setup->keys;
	struct addressee *to = xcalloc(t->nrecipients, sizeof *to);
	struct tagging how = {
		.sealer = t->c->setup->sealer,
		.conf = t->c->setup->conf,
		.stream = t->stream,
		.campaign = campaign_id(keys, span_of(t->stream->name), buf_span(&t->campaign)),
		.campaign_name = buf_span(&t->campaign),
		.explain = t->explain,
	};

	for (size_t i = 0; i < t->nrecipients; i++) {
		const struct recipient *r = &t->recipient[i];

		to[i] = (struct addressee){ r->who, r->verdict.opens, r->verdict.links };
	}
	tagging_address(&how, to, t->nrecipients, t->nrecipients > 1, t->c->now);
	free(to);
	lower(t, m, &how);
	if (!fields_track(m, &how, &how.opens, &how.links))
		cli_error("%s is malformed, taken as no; write yes, no, opens or links", how.conf->track_header);
	t->opens = how.opens;
	t->links = how.links;
	if (t->nrecipients > 1 && t->stream->several_leave)
		message_leave(m, how.conf, "several recipients", &t->plan);
	else
		message_tag(m, &how, &t->plan);
}

/* ---- what is said ---- */

static const char *
change_name(enum header_change change)
{
	static const char *const words[] = { [HEADER_ADD] = "add", [HEADER_DELETE] = "delete", [HEADER_REPLACE] = "replace" };

	return words[change];
}

static struct span
link_url(const struct plan *p, const struct link_note *n)
{
	return span_cut(buf_span(&p->note_text), n->at, n->at + n->n);
}

/* Where the tracked link leads, when that is not just the URL that stands there. */
static void
print_link(const struct plan *p, const struct link_note *n)
{
	struct span url = link_url(p, n);
	struct buf line = BUF(8 * TOKEN_DESTINATION_MAX + LINE_CAP);

	if (n->why)
		buf_addf(&line, "  left     ");
	else if (n->no == 0)
		buf_addf(&line, "  page     ");
	else
		buf_addf(&line, "  link %-4u", n->no);
	print_safe(&line, span_cut(url, 0, TOKEN_DESTINATION_MAX));
	if (n->why)
		buf_addf(&line, "  (%s)", n->why);
	else if (n->no == 0)
		buf_addf(&line, "  (becomes the recipient's own page)");
	else if (!span_eq(url, p->link[n->no - 1].destination)) {
		buf_adds(&line, "  (leads to ");
		print_safe(&line, p->link[n->no - 1].destination);
		buf_addc(&line, ')');
	}
	printf("%s\n", buf_cstr(&line));
	buf_free(&line);
}

static const char *
part_words(const struct part_note *n)
{
	if (n->honeypot)
		return n->pixel ? "tagged, with the hidden link and the pixel" : "tagged, with the hidden link";
	return n->pixel ? "tagged, with the pixel" : "tagged";
}

/* Each part with its links, then the header: what was decided, and why. */
static void
print_explanation(const struct plan *p)
{
	size_t k = 0;

	for (size_t i = 0; i < p->nparts; i++) {
		const struct part_note *n = &p->part[i];

		struct buf what = BUF(LINE_CAP);

		print_safe(&what, span_cut(n->what, 0, 200));
		printf("part %zu: %s, %s, %zu bytes: %s%s\n", i + 1, buf_cstr(&what), n->encoding, n->end - n->start,
		    n->why ? "left alone, " : part_words(n), n->why ? n->why : "");
		buf_free(&what);
		for (; k < p->nseen && p->seen[k].part == i; k++)
			if (p->seen[k].why || !p->untouched) /* in a message that is left alone after all no link leads anywhere */
				print_link(p, &p->seen[k]);
	}
	for (size_t i = 0; i < p->nheaders; i++) {
		const struct header_edit *h = &p->header[i];
		struct buf line = BUF(LINE_CAP);

		print_safe(&line, span_of(h->change == HEADER_DELETE ? "" : h->value));
		printf("header: %s %s%s%s\n", change_name(h->change), h->name, line.n ? ": " : "", buf_cstr(&line));
		buf_free(&line);
	}
	if (p->warnings & WARN_OWN_PAGE)
		printf("warning: a place for the recipient's own page leads nowhere; the links above say why\n");
	if (p->warnings & WARN_CLIP)
		printf("warning: the HTML is over %d bytes now; Gmail hides the rest of it, the pixel too\n", CLIP_BYTES);
}

static void
emit_explanation(struct emit *e, const struct plan *p)
{
	size_t k = 0;

	emit_open(e, "parts", '[');
	for (size_t i = 0; i < p->nparts; i++) {
		const struct part_note *n = &p->part[i];

		emit_open(e, NULL, '{');
		emit_text(e, "type", n->what);
		emit_string(e, "encoding", n->encoding);
		emit_number(e, "bytes", n->end - n->start);
		if (n->why)
			emit_string(e, "left", n->why);
		emit_flag(e, "pixel", n->pixel);
		emit_flag(e, "honeypot", n->honeypot);
		emit_open(e, "links", '[');
		for (; k < p->nseen && p->seen[k].part == i; k++) {
			emit_open(e, NULL, '{');
			emit_text(e, "url", link_url(p, &p->seen[k]));
			if (p->seen[k].why)
				emit_string(e, "left", p->seen[k].why);
			else if (p->seen[k].no == 0)
				emit_flag(e, "page", true);
			else
				emit_number(e, "link", p->seen[k].no);
			emit_close(e, '}');
		}
		emit_close(e, ']');
		emit_close(e, '}');
	}
	emit_close(e, ']');
}

static void
emit_summary(const struct tag *t)
{
	struct emit e = { 0 };

	emit_open(&e, NULL, '{');
	emit_flag(&e, "selected", t->stream != NULL);
	emit_flag(&e, "tagged", t->stream && !t->plan.untouched);
	if (t->plan.untouched)
		emit_string(&e, "untouched", t->plan.untouched);
	if (t->stream) {
		emit_string(&e, "stream", t->stream->name);
		emit_text(&e, "campaign", buf_span(&t->campaign));
		emit_open(&e, "recipients", '[');
		for (size_t i = 0; i < t->nrecipients; i++) {
			const struct recipient *r = &t->recipient[i];

			emit_open(&e, NULL, '{');
			emit_string(&e, "address", r->address);
			emit_string(&e, "class", engage_name(r->verdict.finding.class));
			emit_string(&e, "cause", cause_name(r->verdict.cause));
			emit_string(&e, "action", action_name(r->verdict.wanted));
			emit_flag(&e, "carried_out", r->verdict.action == r->verdict.wanted);
			emit_text(&e, "text", buf_span(&r->text));
			emit_close(&e, '}');
		}
		emit_close(&e, ']');
		emit_string(&e, "opens", mode_name(t->opens));
		emit_string(&e, "links", mode_name(t->links));
		emit_flag(&e, "pixel", t->plan.pixel);
		emit_number(&e, "edited_links", t->plan.edited_links);
		emit_number(&e, "skipped_links", t->plan.skipped_links);
		emit_open(&e, "destinations", '[');
		for (size_t i = 0; i < t->plan.nlinks; i++) {
			emit_open(&e, NULL, '{');
			emit_number(&e, "link", t->plan.link[i].no);
			emit_text(&e, "destination", t->plan.link[i].destination);
			emit_close(&e, '}');
		}
		emit_close(&e, ']');
		emit_open(&e, "headers", '[');
		for (size_t i = 0; i < t->plan.nheaders; i++) {
			const struct header_edit *h = &t->plan.header[i];

			emit_open(&e, NULL, '{');
			emit_string(&e, "change", change_name(h->change));
			emit_string(&e, "name", h->name);
			if (h->value)
				emit_string(&e, "value", h->value);
			emit_close(&e, '}');
		}
		emit_close(&e, ']');
		emit_flag(&e, "over_clip_size", t->plan.warnings & WARN_CLIP);
		if (t->explain)
			emit_explanation(&e, &t->plan);
	}
	emit_number(&e, "bytes_before", t->raw.n);
	emit_number(&e, "bytes_after", t->result.n);
	emit_close(&e, '}');
	emit_end(&e);
}

static void
say(const struct tag *t)
{
	const struct plan *p = &t->plan;

	if (!t->stream) {
		cli_error("left alone: %s", p->untouched);
		return;
	}
	cli_error("campaign \"%.*s\" of stream %s, opens %s, links %s", SPAN_ARG(buf_span(&t->campaign)), t->stream->name,
	    mode_name(t->opens), mode_name(t->links));
	for (size_t i = 0; i < t->nrecipients; i++) {
		const struct recipient *r = &t->recipient[i];

		cli_error("%s: %s, %.*s%s", r->address, engage_name(r->verdict.finding.class), SPAN_ARG(buf_span(&r->text)),
		    who_is_nobody(&r->who) ? "; this is not an address, so nobody is told apart" : "");
	}
	if (t->nrecipients != 1)
		cli_error("%s: nobody is told apart; --to ADDRESS shows a message of its own",
		    t->nrecipients ? "several recipients" : "no recipient");
	if (p->untouched)
		cli_error("left alone: %s", p->untouched);
	else
		cli_error("tagged links=%zu places=%zu left=%zu pixel=%s headers=%zu bytes=%zu->%zu", p->nlinks,
		    p->edited_links, p->skipped_links, p->pixel ? "yes" : "no", p->nheaders, t->raw.n, t->result.n);
}

/* Why nothing selects it.  Who reads the settings finds a rule that fits, and not that the client is a stranger's. */
static const char *
why_not_selected(const struct conf *conf, const struct envelope *e, const struct message *m, int64_t now)
{
	struct envelope known = *e;
	struct buf campaign = BUF(NAME_CAP);
	bool fits;

	known.login = SPAN("\x01"); /* of anybody, and in no list */
	fits = e->login.n == 0 && select_message(conf, &known, m, now, &campaign);
	buf_free(&campaign);
	if (fits)
		return "it would be campaign mail, but the client neither logged in nor is in trusted_networks, see rekindle.conf(5)";
	if (e->sender.n == 0)
		return "no rule selects it as campaign mail, and without --from it has no sender; see match_ in rekindle.conf(5)";
	return "no rule selects it as campaign mail; see match_ in rekindle.conf(5), or use --stream";
}

/* Selects and plans.  Afterwards plan.untouched says why the message is left alone, or is NULL. */
static void
work(struct tag *t, const struct envelope *envelope, const struct words *to, const char *stream, const char *campaign)
{
	struct header *header = NULL, *copy = NULL;
	struct message m = { 0 }, wished;
	uint64_t id;

	if (t->too_long) {
		t->plan.untouched = "over max_message";
		return;
	}
	if (!message_split(buf_span(&t->raw), &header, &m.nheaders, &m.body)) {
		t->plan.untouched = "not a message: no header, or too many fields";
		return;
	}
	m.header = header;
	copy = xcalloc(m.nheaders + 2, sizeof *copy);
	wished = with_wishes(&m, copy, t->c->setup->conf, stream, campaign);
	t->stream = select_message(t->c->setup->conf, envelope, &wished, t->c->now, &t->campaign);
	if (!t->stream) {
		t->plan.untouched = why_not_selected(t->c->setup->conf, envelope, &wished, t->c->now);
	} else {
		id = stream_id(&t->c->setup->keys, span_of(t->stream->name));
		t->recipient = xcalloc(to->n + 1, sizeof *t->recipient);
		for (; t->nrecipients < to->n; t->nrecipients++)
			judge(t, &t->recipient[t->nrecipients], to->item[t->nrecipients], id);
		make_plan(t, &m);
	}
	free(copy);
	free(header);
}

static void
tag_free(struct tag *t)
{
	for (size_t i = 0; i < t->nrecipients; i++)
		buf_free(&t->recipient[i].text);
	free(t->recipient);
	plan_free(&t->plan);
	buf_free(&t->campaign);
	buf_free(&t->raw);
	buf_free(&t->result);
}

int
cmd_tag(struct cli *c)
{
	const char *from = NULL, *login = NULL, *client = NULL, *daemon_name = NULL, *stream = NULL, *campaign = NULL;
	struct words to = { 0 };
	struct tag t = { .c = c, .campaign = BUF(NAME_CAP) };
	bool diff = false;
	const struct cli_option options[] = {
		{ "from", .text = &from }, { "to", .list = &to }, { "login", .text = &login }, { "client", .text = &client },
		{ "daemon", .text = &daemon_name }, { "stream", .text = &stream }, { "campaign", .text = &campaign },
		{ "diff", .flag = &diff }, { "explain", .flag = &t.explain },
	};
	const char *name = "-";
	FILE *file = stdin;
	uint8_t ip[16];
	uint64_t id;
	int status;

	if (!cli_options(c, options, sizeof options / sizeof options[0], &status))
		goto out;
	status = EXIT_USAGE;
	if (c->nwords > 1) {
		cli_usage(c, "tag: one message");
		goto out;
	}
	if (diff && (c->json || t.explain)) {
		cli_usage(c, "tag: --diff alone, without --json and --explain");
		goto out;
	}
	if (client && ip_read(span_of(client), ip) == 0) {
		cli_usage(c, "\"%s\" is not the address of a client; write 192.0.2.1 or 2001:db8::1", client);
		goto out;
	}
	status = EXIT_CANNOT;
	if (!cli_setup(c))
		goto out;
	/* Opened before root is given up: the file is the caller's. */
	if (c->nwords == 1 && strcmp(c->word[0], "-") != 0 && !(file = fopen(name = c->word[0], "re"))) {
		cli_error("cannot read %s: %s", name, strerror(errno));
		goto out;
	}
	if (!read_message(&t, file, name) || !cli_store_if_any(c))
		goto out;
	if (stream && !conf_stream(c->setup->conf, span_of(stream))) {
		(void)cli_stream(c, stream, &id);
		status = EXIT_USAGE;
		goto out;
	}

	work(&t, &(struct envelope){ span_of(client ? client : "127.0.0.1"), span_of(login ? login : ""), span_of(from ? from : ""),
	    span_of(daemon_name ? daemon_name : "") }, &to, stream, campaign);
	t.result.max = t.raw.n + MESSAGE_GROWTH_MAX + 65536;
	/* Even a message that is not tagged may lose its control headers. */
	if (t.plan.nheaders > 0 || t.plan.body_changed)
		message_apply(buf_span(&t.raw), &t.plan, &t.result);
	else
		buf_add(&t.result, buf_span(&t.raw));
	if (t.result.over) {
		cli_error("the tagged message would be too long");
		goto out;
	}

	if (c->json)
		emit_summary(&t);
	else if (diff)
		print_diff(buf_span(&t.raw), buf_span(&t.result));
	else if (t.explain)
		print_explanation(&t.plan);
	else
		print_bytes(&t.result);
	if (t.too_long && !c->json && !diff && !t.explain)
		copy_rest(file);
	say(&t);
	status = t.plan.untouched ? EXIT_NOTHING : EXIT_FOUND;
out:
	tag_free(&t);
	free(to.item);
	if (file && file != stdin)
		fclose(file);
	return status;
}
