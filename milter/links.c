#include "milter/links.h"

#include <stdlib.h>

#include "common/mem.h"

void
links_init(struct links *l, const struct tagging *t)
{
	*l = (struct links){
		.tagging = t,
		.text = BUF(MESSAGE_LINKS_MAX * (size_t)TOKEN_DESTINATION_MAX),
		.urls = BUF(MESSAGE_LINKS_MAX * (size_t)TRACKED_URL_MAX),
	};
}

void
links_free(struct links *l)
{
	buf_free(&l->text);
	buf_free(&l->urls);
	free(l->link);
	free(l->slot);
}

enum mode
links_mode(const struct tagging *t, enum mode mode)
{
	return who_is_nobody(&t->who) ? mode_min(mode, MODE_ANONYMOUS) : mode;
}

struct claim
links_claim(const struct tagging *t, enum token_kind kind, enum mode mode)
{
	struct claim c = { .kind = kind, .mode = mode, .campaign = t->campaign };

	if (mode > MODE_ANONYMOUS) {
		c.who = t->who;
		c.when = t->when;
	}
	return c;
}

bool
links_add_url(const struct tagging *t, struct buf *out, const struct claim *claim, const char *end)
{
	size_t start = out->n;
	bool made;

	buf_adds(out, t->conf->tracking_url);
	buf_add(out, span_make((const char[]){ '/', (char)claim->kind, '/' }, 3));
	made = token_seal(t->sealer, claim, out);
	buf_adds(out, end);
	if (!made || out->over || out->n - start > TRACKED_URL_MAX)
		out->n = start;
	return out->n > start;
}

static struct span
text_of(const struct links *l, const struct link *k)
{
	return span_cut(buf_span(&l->text), k->at, k->at + k->n);
}

/* The slot of this destination, or the free one where it belongs. */
static uint32_t *
find_slot(const struct links *l, struct span dest, uint64_t h)
{
	for (size_t i = h & (l->nslots - 1);; i = (i + 1) & (l->nslots - 1)) {
		uint32_t no = l->slot[i];

		if (no == 0 || (l->link[no - 1].hash == h && span_eq(text_of(l, &l->link[no - 1]), dest)))
			return &l->slot[i];
	}
}

static void
fill_slots(struct links *l)
{
	free(l->slot);
	l->slot = xcalloc(l->nslots, sizeof *l->slot);
	for (size_t i = 0; i < l->n; i++)
		*find_slot(l, text_of(l, &l->link[i]), l->link[i].hash) = (uint32_t)i + 1;
}

static void
grow(struct links *l)
{
	l->cap = l->cap ? l->cap * 2 : 64;
	l->nslots = l->cap * 2;
	l->link = xreallocarray(l->link, l->cap, sizeof *l->link);
	fill_slots(l);
}

void
links_cut(struct links *l, size_t n)
{
	if (n >= l->n)
		return;
	/* The newest first: nothing that stays was put behind them. */
	for (size_t i = l->n; i-- > n;)
		*find_slot(l, text_of(l, &l->link[i]), l->link[i].hash) = 0;
	l->text.n = l->link[n].at;
	l->urls.n = l->link[n].url_at;
	l->n = n;
}

struct span
links_url(struct links *l, struct span dest, uint16_t *no)
{
	uint64_t h = span_hash(dest);
	struct claim claim;
	struct link *k;
	uint32_t *slot;

	if (l->n == l->cap)
		grow(l);
	slot = find_slot(l, dest, h);
	if (*slot == 0) {
		if (l->n == MESSAGE_LINKS_MAX || l->refused == LINKS_REFUSED_MAX)
			return SPAN("");
		k = &l->link[l->n];
		*k = (struct link){ .hash = h, .at = l->text.n, .n = dest.n, .url_at = l->urls.n };
		claim = links_claim(l->tagging, TOKEN_CLICK, links_mode(l->tagging, l->tagging->links));
		claim.link = (uint16_t)(l->n + 1);
		claim.text = dest;
		if (!links_add_url(l->tagging, &l->urls, &claim, "")) {
			l->refused++;
			return SPAN("");
		}
		k->url_n = l->urls.n - k->url_at;
		buf_add(&l->text, dest);
		*slot = (uint32_t)++l->n;
	}
	k = &l->link[*slot - 1];
	*no = (uint16_t)*slot;
	return span_cut(buf_span(&l->urls), k->url_at, k->url_at + k->url_n);
}
