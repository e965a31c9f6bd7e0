#include "milter/message.h"

#include <stdlib.h>

#include "common/mem.h"
#include "milter/fields.h"
#include "milter/mime.h"
#include "milter/tag.h"

/* ---- header fields ---- */

const struct header *
message_header(const struct message *m, struct span name)
{
	for (size_t i = 0; i < m->nheaders; i++)
		if (span_ieq(m->header[i].name, name))
			return &m->header[i];
	return NULL;
}

void
tagging_address(struct tagging *t, const struct addressee *to, size_t n, bool shared, int64_t now_ms)
{
	t->opens = t->stream->opens;
	t->links = t->stream->links;
	for (size_t i = 0; i < n; i++) {
		t->opens = mode_min(t->opens, to[i].opens);
		t->links = mode_min(t->links, to[i].links);
	}
	if (n == 0) {
		t->opens = conf_mode(t->conf, t->stream, AXIS_OPENS, CONSENT_UNKNOWN);
		t->links = conf_mode(t->conf, t->stream, AXIS_LINKS, CONSENT_UNKNOWN);
	}
	t->who = (struct who){ 0 };
	if (n == 1 && !shared)
		t->who = to[0].who;
	t->now = now_ms;
	t->when = (uint32_t)(now_ms / 1000);
	if (who_is_nobody(&t->who)) {
		t->opens = mode_min(t->opens, MODE_ANONYMOUS);
		t->links = mode_min(t->links, MODE_ANONYMOUS);
		t->when = 0;
	}
}

/* ---- inline PGP ---- */

static const char inline_pgp[] = "inline PGP";

static bool
has_pgp(struct span text)
{
	static const struct span dashes = SPAN("-----"), armour = SPAN("BEGIN PGP");

	/* Of all that is in there the B is the rarest. */
	for (size_t i = 0, start; (i += span_find(span_from(text, i), 'B')) < text.n; i++) {
		if (i < dashes.n || !span_starts(span_from(text, i), armour))
			continue;
		start = i - dashes.n;
		if (span_starts(span_from(text, start), dashes) && (start == 0 || text.p[start - 1] == '\n' || text.p[start - 1] == '>'))
			return true;
	}
	return false;
}

static bool
part_has_pgp(struct span body, const struct mime_part *part)
{
	struct mime_text text;
	bool found;

	if (part->type == MIME_OTHER)
		return false;
	mime_read(body, part, &text); /* to look at, even if it must stay */
	found = has_pgp(text.text);
	mime_text_free(&text);
	return found;
}

/* ---- the parts ---- */

struct work {
	const struct message *message;
	struct tagging tagging; /* the caller's, with the modes that hold for this message */
	struct plan *plan;
	struct tagger tagger;
	struct edits edits;     /* of the body */
};

static bool
is_tracking(const struct tagging *t)
{
	return t->opens > MODE_OFF || t->links > MODE_OFF;
}

/* Why there is nothing to look for in this part, or NULL. */
static const char *
unwanted(const struct work *w, const struct mime_part *part)
{
	const struct tagging *t = &w->tagging;

	if (part->type == MIME_OTHER)
		return "neither text/html nor text/plain";
	if (part->type == MIME_TEXT && !t->stream->text_links && !t->stream->series)
		return "text_links = no";
	/*
	 * The recipient's own pages are put in whatever is tracked, in text because
	 * they are what a series is for; where there is no such recipient, somebody
	 * should know that their places lead nowhere.
	 */
	return NULL;
}

static void
note_part(struct work *w, const struct mime_part *part, const char *why, bool pixel, bool honeypot)
{
	static const char *const encodings[] = {
		[MIME_PLAIN] = "7bit or 8bit", [MIME_BINARY] = "binary", [MIME_QP] = "quoted-printable", [MIME_BASE64] = "base64",
		[MIME_UNKNOWN] = "unknown encoding",
	};
	struct plan *p = w->plan;

	if (!w->tagging.explain)
		return;
	if (p->nparts == p->part_cap) {
		p->part_cap = p->part_cap ? 2 * p->part_cap : 8;
		p->part = xreallocarray(p->part, p->part_cap, sizeof *p->part);
	}
	p->part[p->nparts++] = (struct part_note){
		part->media.n > 0 ? part->media : SPAN("text/plain"), encodings[part->encoding], why, part->start, part->end, pixel, honeypot,
	};
}

/* Edits of the text become edits of the body, and perhaps of its header.  NULL, or why the part stays as it is after all. */
static const char *
write_part(struct work *w, const struct mime_part *part, struct mime_text *text, const struct edits *edits)
{
	const struct header *h;

	if (!mime_write(w->message->body, part, text, edits, &w->edits))
		return text->left;
	h = message_header(w->message, SPAN("Content-Transfer-Encoding"));
	fields_edit(w->plan, h ? HEADER_REPLACE : HEADER_ADD, h ? 1 : 0, SPAN("Content-Transfer-Encoding"),
	    SPAN("quoted-printable"));
	/* Without it a strict reader would not look at the encoding. */
	if (message_header(w->message, SPAN("MIME-Version")) == NULL)
		fields_edit(w->plan, HEADER_ADD, 0, SPAN("MIME-Version"), SPAN("1.0"));
	return NULL;
}

/* Why the part stays as it is, or NULL. */
static const char *
tag_part(struct work *w, const struct mime_part *part)
{
	struct tag_place before = tag_here(&w->tagger);
	struct mime_text text;
	const char *why = mime_read(w->message->body, part, &text);
	struct edits edits;

	edits_init(&edits, MESSAGE_GROWTH_MAX);
	if (has_pgp(text.text))
		why = inline_pgp;
	if (why == NULL && part->type == MIME_TEXT)
		tag_plain(&w->tagger, text.text, part->utf8, &edits);
	else if (why == NULL && span_trim(text.text).n > 0)
		why = tag_html(&w->tagger, text.text, part->utf8, &edits);
	if (why == NULL)
		why = write_part(w, part, &text, &edits);
	if (why != NULL)
		tag_undo(&w->tagger, &before);
	if (why == NULL && edits.n == 0)
		why = is_tracking(&w->tagging) ? "nothing to tag" : "tracking is off";
	note_part(w, part, why, w->plan->pixel && !before.pixel, w->plan->honeypot && !before.honeypot);
	edits_free(&edits);
	mime_text_free(&text);
	return why;
}

/* ---- the message ---- */

/* All parts, then the header.  Why nothing was done, or NULL. */
static const char *
tag_parts(struct work *w, const struct mime *mime)
{
	const char *why = is_tracking(&w->tagging) ? "no text/html part" : "tracking is off";
	size_t control = w->plan->nheaders;
	bool seen = false;

	for (size_t i = 0; i < mime->n; i++) {
		const struct mime_part *part = &mime->part[i];
		const char *leave = unwanted(w, part);

		if (leave != NULL) {
			if (part_has_pgp(w->message->body, part))
				return inline_pgp;
			note_part(w, part, part->leave ? part->leave : leave, false, false);
			continue;
		}
		leave = tag_part(w, part);
		if (leave == inline_pgp)
			return leave;
		if (part->type != MIME_HTML)
			continue;
		if (!seen || leave == NULL) /* the first one speaks for all, unless another could be tagged */
			why = leave ? leave : "nothing to tag";
		seen = true;
	}
	if (w->edits.text.over || w->tagger.links.urls.over || w->tagger.links.text.over)
		return "grows too much";
	fields_add(w->plan, w->message, &w->tagging);
	return w->edits.n == 0 && w->plan->nheaders == control ? why : NULL;
}

static const char *
tag_body(struct work *w)
{
	struct plan *p = w->plan;
	struct mime mime;
	const char *why;

	mime_walk(&mime, w->message);
	why = mime.leave != NULL ? mime.leave : tag_parts(w, &mime);
	mime_free(&mime);
	if (why != NULL)
		return why;
	if (w->edits.n > 0) {
		splice(&p->body, w->message->body, w->edits.edit, w->edits.n, buf_span(&w->edits.text));
		if (p->body.over)
			return "grows too much";
		p->body_changed = true;
	}
	return fields_add_mark(p, &w->tagging) ? NULL : "no mark";
}

/* Everything but the first n header edits never happened. */
static void
undo(struct plan *p, size_t n)
{
	while (p->nheaders > n) {
		struct header_edit *e = &p->header[--p->nheaders];

		free(e->name);
		free(e->value);
	}
	buf_free(&p->body);
	buf_free(&p->text);
	free(p->link);
	p->link = NULL;
	p->nlinks = p->edited_links = 0;
	p->body_changed = p->pixel = p->honeypot = false;
	p->warnings &= WARN_TRACK | WARN_OWN_PAGE;
}

static void
tag(const struct message *m, const struct tagging *t, struct plan *p)
{
	struct work w = { .message = m, .tagging = *t, .plan = p };
	size_t control = p->nheaders;

	if (!fields_track(m, t, &w.tagging.opens, &w.tagging.links))
		p->warnings |= WARN_TRACK;
	edits_init(&w.edits, 4 * m->body.n + MESSAGE_GROWTH_MAX);
	tag_start(&w.tagger, m, &w.tagging, p);
	p->untouched = tag_body(&w);
	tag_end(&w.tagger);
	if (p->untouched != NULL)
		undo(p, control);
	edits_free(&w.edits);
}

void
message_leave(const struct message *m, const struct conf *conf, const char *why, struct plan *p)
{
	*p = (struct plan){ .untouched = why };
	fields_delete_control(p, m, conf, true);
}

void
message_tag(const struct message *m, const struct tagging *t, struct plan *p)
{
	*p = (struct plan){
		.body = BUF(m->body.n + MESSAGE_GROWTH_MAX),
		.note_text = BUF(SIZE_MAX),
	};
	if (m->nheaders > MESSAGE_HEADERS_MAX) {
		fields_delete_control(p, m, t->conf, true);
		p->untouched = "too many header fields";
		return;
	}
	if (fields_bear_mark(m, t->sealer)) {
		p->untouched = "already tagged";
		return;
	}
	fields_delete_control(p, m, t->conf, !t->stream->tag_signed);
	p->untouched = fields_leave(m, t->stream);
	if (p->untouched == NULL)
		tag(m, t, p);
}

void
plan_free(struct plan *p)
{
	undo(p, 0);
	free(p->header);
	free(p->part);
	free(p->seen);
	buf_free(&p->note_text);
	*p = (struct plan){ 0 };
}

/* ---- raw messages ---- */

/* Counts the header fields, and stores them when there is room for them; *body is where they end. */
static size_t
fields(struct span raw, size_t *body, struct header *out)
{
	struct header h;
	size_t n = 0;

	for (*body = 0; mime_field(raw, body, &h) > 0; n++)
		if (out != NULL)
			out[n] = h;
	return n;
}

bool
message_split(struct span raw, struct header **headers, size_t *n, struct span *body)
{
	size_t at;

	*n = fields(raw, &at, NULL);
	if (*n == 0 || *n > MESSAGE_HEADERS_MAX)
		return false;
	*headers = xcalloc(*n, sizeof **headers);
	fields(raw, &at, *headers);
	*body = span_from(raw, at);
	return true;
}

/* The field that an edit means, among those that are still there; n when there is none. */
static size_t
edited_field(const struct header *h, const struct header_edit **done, size_t n, const struct header_edit *e)
{
	unsigned index = 0;

	for (size_t i = 0; i < n && e->change != HEADER_ADD; i++)
		if (span_ieq(h[i].name, span_of(e->name)) && (done[i] == NULL || done[i]->change != HEADER_DELETE) &&
		    ++index == e->index)
			return i;
	return n;
}

/* How lines end here. */
static struct span
line_break(struct span raw)
{
	size_t lf = span_find(raw, '\n');

	return lf < raw.n && (lf == 0 || raw.p[lf - 1] != '\r') ? SPAN("\n") : SPAN("\r\n");
}

static void
add_field(struct buf *out, struct span name, const char *value, struct span eol)
{
	buf_add(out, name);
	buf_adds(out, ": ");
	buf_adds(out, value);
	buf_add(out, eol);
}

/* The old fields, each as it was, changed or gone, then the new ones. */
static void
apply_headers(struct span raw, const struct header *h, size_t n, const struct plan *p, struct buf *out)
{
	struct span eol = line_break(raw);
	const struct header_edit **done = xcalloc(n, sizeof *done);

	for (size_t i = 0; i < p->nheaders; i++) {
		size_t k = edited_field(h, done, n, &p->header[i]);

		if (k < n)
			done[k] = &p->header[i];
	}
	for (size_t i = 0; i < n; i++) {
		const char *end = i + 1 < n ? h[i + 1].name.p : raw.p + raw.n;

		if (done[i] == NULL)
			buf_add(out, span_make(h[i].name.p, (size_t)(end - h[i].name.p)));
		else if (done[i]->change == HEADER_REPLACE)
			add_field(out, h[i].name, done[i]->value, eol);
	}
	for (size_t i = 0; i < p->nheaders; i++) {
		if (p->header[i].change != HEADER_ADD)
			continue;
		if (out->n > 0 && !span_ends(buf_span(out), SPAN("\n"))) /* a message that ends in its header */
			buf_add(out, eol);
		add_field(out, span_of(p->header[i].name), p->header[i].value, eol);
	}
	free(done);
}

void
message_apply(struct span raw, const struct plan *p, struct buf *out)
{
	struct header *h;
	struct span body;
	const char *end;
	size_t n, head;

	if (!message_split(raw, &h, &n, &body)) {
		buf_add(out, raw);
		return;
	}
	/* The header ends with its last field's line break; what comes then, up to the body, is the blank line. */
	end = h[n - 1].value.p + h[n - 1].value.n;
	head = (size_t)(end - raw.p);
	if (head < raw.n && raw.p[head] == '\r')
		head++;
	if (head < raw.n && raw.p[head] == '\n')
		head++;
	apply_headers(span_cut(raw, 0, head), h, n, p, out);
	buf_add(out, span_cut(raw, head, raw.n - body.n));
	if (head == raw.n - body.n && body.n > 0 && p->nheaders > 0)
		buf_add(out, line_break(raw)); /* a body without a blank line before it, as mail servers add one */
	buf_add(out, p->body_changed ? buf_span(&p->body) : body);
	free(h);
}
