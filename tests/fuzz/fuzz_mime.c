/*
 * Leaves are in order, disjoint and inside the body.  Nothing to do adds no
 * edit.  Edits of all parts at once: each text reads back as it was edited,
 * or is as it was when mime_write said so; all other bytes are the same, but a
 * transfer encoding; the parts are where they were; no line becomes too long;
 * the size stays within bounds; and nothing in an edited part is a boundary to
 * anybody, however he reads line breaks.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"
#include "milter/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MIXED "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"

/* What comes before the input, so that it need not find out about MIME by itself.  All but one have the boundary b. */
static const char *const starts[] = {
	"",
	MIXED "Content-Type: text/html\r\n\r\n",
	MIXED "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
	MIXED "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n",
	MIXED "Content-Type: text/html; charset=iso-2022-jp\r\n\r\n<p>",
	MIXED "Content-Type: text/html; charset=utf-16be\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=00<",
	MIXED "Content-Type: multipart/related; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/html\r\n\r\n",
	MIXED,
};

/* What is known of a part before, and expected after. */
struct expected {
	struct buf text;
	bool edited;
};

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
check_leaves(const struct mime *m, struct span body)
{
	size_t done = 0;

	must(m->n <= MIME_PARTS_MAX);
	for (size_t i = 0; i < m->n; i++) {
		const struct mime_part *p = &m->part[i];

		must(p->start >= done && p->end >= p->start && p->end <= body.n);
		must(p->top || (p->encoding_start >= done && p->encoding_end >= p->encoding_start &&
		    p->encoding_end <= p->start));
		done = p->end;
	}
}

/*
 * Edits at places that the input chooses.  They take no line break away and
 * bring none about, and leave a byte order mark alone: then the edited text is
 * one that can be read again.
 */
static void
some_edits(struct edits *e, struct span text, unsigned seed)
{
	static const char *const texts[] = { "<a href=\"https://t.example.org/?id=1\">", "", "-", "--b", "b<" };

	for (size_t i = 3 + seed % 61; i < text.n; i += 1 + seed % 251) {
		size_t end = i;

		while (end < text.n && end < i + seed % 7 && text.p[end] != '\r' && text.p[end] != '\n')
			end++;
		seed = seed * 1103515245 + 12345;
		if (text.p[i - 1] == '\r' && end < text.n && text.p[end] == '\n')
			continue;
		edits_add(e, i, end, span_of(texts[seed / 65536 % 5]));
		i = end;
	}
}

static size_t
longest_line(struct span s)
{
	size_t longest = 0;

	for (struct span line; span_split(&s, '\n', &line);) {
		size_t n = line.n - span_ends(line, SPAN("\r"));

		if (n > longest)
			longest = n;
	}
	return longest;
}

static bool
has_boundary(struct span s)
{
	for (size_t i; (i = span_search(s, SPAN("--b"))) < s.n; s = span_from(s, i + 1))
		if (i > 0 && (s.p[i - 1] == '\r' || s.p[i - 1] == '\n'))
			return true;
	return false;
}

/* Edits one part; the edits of the body go to raw. */
static void
edit_part(struct span body, const struct mime_part *p, struct expected *x, unsigned seed, struct edits *raw,
    bool *recoded)
{
	struct mime_text t;
	struct edits edits;
	size_t before = raw->n;

	*x = (struct expected){ .text = BUF(64 << 20) };
	edits_init(&edits, 16 << 20);
	if (mime_read(body, p, &t) == NULL) {
		must(!mime_write(body, p, &t, &edits, raw) && raw->n == before && t.left == NULL);
		some_edits(&edits, t.text, seed);
		splice(&x->text, t.text, edits.edit, edits.n, buf_span(&edits.text));
		*recoded |= mime_write(body, p, &t, &edits, raw);
		x->edited = raw->n > before;
		must(t.left == NULL || !x->edited);
		must(x->edited || t.left != NULL || span_eq(buf_span(&x->text), t.text));
		for (size_t i = before; i < raw->n; i++)
			must((raw->edit[i].start >= p->start && raw->edit[i].end <= p->end) ||
			    (raw->edit[i].start == p->encoding_start && raw->edit[i].end == p->encoding_end));
	}
	mime_text_free(&t);
	edits_free(&edits);
}

static void
check_part(struct span old, const struct mime_part *a, struct span new, const struct mime_part *b,
    const struct expected *x, bool inside)
{
	struct mime_text t;
	const char *why;

	must(a->type == b->type && (a->leave == NULL) == (b->leave == NULL));
	if (!x->edited) {
		must(span_eq(span_cut(old, a->start, a->end), span_cut(new, b->start, b->end)));
		return;
	}
	why = mime_read(new, b, &t);
	if (why != NULL)
		must(strcmp(why, "no markup in its charset") == 0 && span_find(buf_span(&x->text), '<') == x->text.n);
	else
		must(span_eq(t.text, buf_span(&x->text)));
	if (inside && !has_boundary(span_cut(old, a->start, a->end))) /* as parts may that nobody edits */
		must(!has_boundary(span_cut(new, b->start, b->end)));
	mime_text_free(&t);
}

/* The message's own Content-Transfer-Encoding, as the caller of mime_write is told to change it. */
static void
recode(struct message *m, const struct header *old, struct header *new)
{
	static const struct header qp = { { "Content-Transfer-Encoding", 25 }, { " quoted-printable", 17 } };
	bool found = false;

	for (size_t i = 0; i < m->nheaders; i++) {
		bool this = span_ieq(old[i].name, qp.name);

		new[i] = this ? qp : old[i];
		found |= this;
	}
	if (!found)
		new[m->nheaders++] = qp;
	m->header = new;
}

static void
check(const struct message *m, unsigned seed, bool inside)
{
	struct message changed = *m;
	struct header *h = xcalloc(m->nheaders + 1, sizeof *h);
	struct buf body = BUF(128 << 20);
	struct expected *x;
	struct mime before, after;
	struct edits raw;
	bool recoded = false;

	mime_walk(&before, m);
	check_leaves(&before, m->body);
	x = xcalloc(before.n + 1, sizeof *x);
	edits_init(&raw, 64 << 20);
	for (size_t i = 0; i < before.n; i++)
		edit_part(m->body, &before.part[i], &x[i], seed + (unsigned)i, &raw, &recoded);
	splice(&body, m->body, raw.edit, raw.n, buf_span(&raw.text));
	must(!body.over && !raw.text.over);
	changed.body = buf_span(&body);
	if (recoded)
		recode(&changed, m->header, h);
	mime_walk(&after, &changed);
	must(after.n == before.n && (after.leave == NULL) == (before.leave == NULL));
	for (size_t i = 0; i < before.n; i++)
		check_part(m->body, &before.part[i], changed.body, &after.part[i], &x[i], inside);
	must(longest_line(changed.body) <= MIME_LINE_MAX || longest_line(changed.body) <= longest_line(m->body));
	must(changed.body.n <= 4 * (m->body.n + 40 * 4 * (m->body.n + 1)) + 60 * before.n);
	for (size_t i = 0; i < before.n; i++)
		buf_free(&x[i].text);
	mime_free(&before);
	mime_free(&after);
	edits_free(&raw);
	buf_free(&body);
	free(x);
	free(h);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf raw = BUF(1 << 24);
	struct header *h = NULL;
	struct message m;
	unsigned start;

	if (size < 2)
		return 0;
	start = (data[size - 1] ^ '\n') % (sizeof starts / sizeof *starts); /* a text file is a message as it is */
	buf_adds(&raw, starts[start]);
	buf_add(&raw, span_make(data, size - 1));
	if (message_split(buf_span(&raw), &h, &m.nheaders, &m.body)) {
		m.header = h;
		check(&m, data[size - 2] * 7919u, start > 0);
		free(h);
	}
	buf_free(&raw);
	return 0;
}
