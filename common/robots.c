/* robots.c -- what machines call themselves and where they live. */
#include "common/robots.h"

#include <endian.h>
#include <stdlib.h>

#include "common/datafile.h"
#include "common/ip.h"
#include "common/mem.h"
#include "common/robots_text.h" /* made from conf/agents and conf/networks */
#include "common/scan.h"
#include "common/text.h"

#define SLOTS 4096 /* of names, by their first three characters */

struct name {
	uint32_t at;   /* in text, lower case */
	uint32_t next; /* index + 1 of the next one in this slot, 0 none */
	uint8_t n, verdict;
};

/* 128 bits as a number that compares. */
struct address {
	uint64_t hi, lo;
};

/*
 * Networks nest or lie apart, so all of them together cut the addresses into
 * pieces.  Each piece is its first address and what holds from there on:
 * one binary search finds it.
 */
struct piece {
	struct address first;
	uint8_t says; /* LISTED and so on, 0 nothing */
};
#define LISTED 1
#define CLICKS_ONLY 2
#define CERTAIN 4

struct robots {
	struct buf text;
	struct name *name;
	size_t nnames, capnames;
	uint32_t slot[SLOTS];
	uint64_t some[SLOTS / 64]; /* a bit for each slot that has any: of most words this is all that is looked at */
	struct piece *piece;
	size_t npieces;
};

struct robots *
robots_new(void)
{
	struct robots *r = xcalloc(1, sizeof *r);

	r->text = BUF(ROBOTS_AGENTS_MAX * ROBOTS_NAME_MAX);
	return r;
}

void
robots_free(struct robots *r)
{
	if (r == NULL)
		return;
	buf_free(&r->text);
	free(r->name);
	free(r->piece);
	free(r);
}

/* ---- agents ---- */

/* The same for both cases of a letter, and for some signs that differ in that bit alone. */
static size_t
slot_of(const char *p)
{
	uint16_t two;

	memcpy(&two, p, sizeof two);
	return (((uint32_t)two | (uint32_t)(unsigned char)p[2] << 16 | 0x202020) * 2654435761u) >> 20;
}

_Static_assert(SLOTS == 1 << 12, "slot_of gives 12 bits");

static void
forget_agents(struct robots *r)
{
	memset(r->slot, 0, sizeof r->slot);
	memset(r->some, 0, sizeof r->some);
	buf_clear(&r->text);
	r->nnames = 0;
}

static void
add_name(struct robots *r, enum robot verdict, struct span name)
{
	if (r->nnames == r->capnames) {
		r->capnames = r->capnames ? 2 * r->capnames : 256;
		r->name = xreallocarray(r->name, r->capnames, sizeof *r->name);
	}
	r->name[r->nnames++] = (struct name){ .at = (uint32_t)r->text.n, .n = (uint8_t)name.n, .verdict = (uint8_t)verdict };
	for (size_t i = 0; i < name.n; i++)
		buf_addc(&r->text, ascii_lower(name.p[i]));
}

/* From the last to the first, so that the first in the file comes first in its slot. */
static void
link_names(struct robots *r)
{
	for (size_t i = r->nnames; i-- > 0;) {
		size_t slot = slot_of(r->text.p + r->name[i].at);

		r->name[i].next = r->slot[slot];
		r->slot[slot] = (uint32_t)i + 1;
		r->some[slot / 64] |= (uint64_t)1 << slot % 64;
	}
}

static bool
verdict_word(struct span word, enum robot *verdict)
{
	static const struct {
		const char *word;
		enum robot verdict;
	} words[] = {
		{ "scanner", ROBOT_SCANNER }, { "preview", ROBOT_PREVIEW }, { "prefetch", ROBOT_PREFETCH },
		{ "suspect", ROBOT_SUSPECT }, { "human", ROBOT_HUMAN },
	};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (span_eq(word, span_of(words[i].word))) {
			*verdict = words[i].verdict;
			return true;
		}
	return false;
}

static bool
is_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return false;
	return s.n >= ROBOTS_NAME_MIN && s.n <= ROBOTS_NAME_MAX && ascii_alnum(s.p[0]);
}

bool
robots_read_agents(struct robots *r, struct span text, const char *name, struct buf *errors)
{
	struct datafile in = { .name = name, .rest = text, .errors = errors };
	char what[DATAFILE_SHOWN_MAX + 1];
	struct span line;

	forget_agents(r);
	while (datafile_next(&in, &line)) {
		enum robot verdict = ROBOT_NONE;
		struct span word = datafile_word(&line);

		if (!verdict_word(word, &verdict))
			datafile_fault(&in, "`%s' is no verdict; use scanner, preview, prefetch, suspect or human, then a name",
			    datafile_shown(word, what));
		else if (!is_name(line))
			datafile_fault(&in, "`%s' is no name; use %d to %d printable ASCII characters, the first a letter or digit",
			    datafile_shown(line, what), ROBOTS_NAME_MIN, ROBOTS_NAME_MAX);
		else if (r->nnames == ROBOTS_AGENTS_MAX) {
			datafile_fault(&in, "there are too many names; at most %d", ROBOTS_AGENTS_MAX);
			break;
		} else
			add_name(r, verdict, line);
	}
	if (!datafile_good(&in)) {
		forget_agents(r);
		return false;
	}
	link_names(r);
	return true;
}

/* Does s, which begins at a word, begin with this name? */
static bool
is_called(const struct robots *r, const struct name *name, struct span s)
{
	const char *text = r->text.p + name->at;

	if (s.n < name->n)
		return false;
	for (size_t i = 0; i < name->n; i++)
		if (ascii_lower(s.p[i]) != text[i])
			return false;
	return s.n == name->n || text[name->n - 1] == '/' || !ascii_alnum(s.p[name->n]);
}

/* What s, which begins at a word, begins with; ROBOT_NONE nothing that is listed. */
static enum robot
called(const struct robots *r, struct span s)
{
	size_t slot = slot_of(s.p);

	if (!(r->some[slot / 64] >> slot % 64 & 1))
		return ROBOT_NONE;
	for (uint32_t k = r->slot[slot]; k != 0; k = r->name[k - 1].next)
		if (is_called(r, &r->name[k - 1], s))
			return (enum robot)r->name[k - 1].verdict;
	return ROBOT_NONE;
}

/* Words, not substrings: CUBOT is a telephone, and Slack's own window (Slack_SSB) has a person in front of it. */
enum robot
robots_agent(const struct robots *r, struct span agent)
{
	unsigned inside = 0; /* of a word that began in an earlier block */

	for (size_t i = 0; i < agent.n; i += SCAN_BLOCK) {
		unsigned words = scan_alnum(agent, i), starts = words & ~(words << 1 | inside);

		inside = words >> (SCAN_BLOCK - 1) & 1;
		for (; starts != 0; starts &= starts - 1) {
			size_t at = i + (unsigned)__builtin_ctz(starts);
			struct span rest = { agent.p + at, agent.n - at };
			enum robot verdict = rest.n < ROBOTS_NAME_MIN ? ROBOT_NONE : called(r, rest);

			if (verdict != ROBOT_NONE)
				return verdict;
		}
	}
	return ROBOT_NONE;
}

/* ---- networks ---- */

static int
compare(struct address a, struct address b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	return a.lo < b.lo ? -1 : a.lo > b.lo;
}

static struct address
address_of(const uint8_t b[16])
{
	struct address a;

	memcpy(&a, b, sizeof a);
	a.hi = be64toh(a.hi);
	a.lo = be64toh(a.lo);
	return a;
}

struct network {
	struct address first, last;
	unsigned line;
	uint8_t bits, says;
};

/* The bits behind the first n, all of them set. */
static struct address
host_bits(unsigned n)
{
	return (struct address){ n == 0 ? UINT64_MAX : n < 64 ? UINT64_MAX >> n : 0,
		n <= 64 ? UINT64_MAX : n < 128 ? UINT64_MAX >> (n - 64) : 0 };
}

/* 192.0.2.0/24, 2001:db8::/32, or one address.  False told to the reader. */
static bool
read_network(struct datafile *in, struct span word, struct network *out)
{
	size_t slash = span_find(word, '/');
	char what[DATAFILE_SHOWN_MAX + 1];
	uint8_t bytes[16];
	unsigned most = ip_read(span_cut(word, 0, slash), bytes);
	uint64_t bits = most;

	if (most == 0) {
		datafile_fault(in, "`%s' is not a network; write 192.0.2.0/24 or 2001:db8::/32", datafile_shown(word, what));
		return false;
	}
	if (slash < word.n && (word.n - slash > 4 || !text_u64(span_from(word, slash + 1), &bits) || bits > most)) {
		datafile_fault(in, "`%s' has no good prefix length; use 0 to %u", datafile_shown(word, what), most);
		return false;
	}
	out->bits = (uint8_t)(bits + 128 - most);
	out->first = out->last = address_of(bytes);

	struct address host = host_bits(out->bits);

	if ((out->first.hi & host.hi) != 0 || (out->first.lo & host.lo) != 0) {
		datafile_fault(in, "`%s' has host bits set; write the first address of the network", datafile_shown(word, what));
		return false;
	}
	out->last.hi |= host.hi;
	out->last.lo |= host.lo;
	return true;
}

static bool
read_row(struct datafile *in, struct span line, struct network *out)
{
	struct span network = datafile_word(&line), scope = datafile_word(&line), certainty = datafile_word(&line);
	char what[DATAFILE_SHOWN_MAX + 1];

	*out = (struct network){ .line = in->line, .says = LISTED };
	if (!read_network(in, network, out))
		return false;
	if (span_eq(scope, SPAN("clicks")))
		out->says |= CLICKS_ONLY;
	else if (!span_eq(scope, SPAN("all"))) {
		datafile_fault(in, "`%s' is no scope; use all or clicks behind the network", datafile_shown(scope, what));
		return false;
	}
	if (span_eq(certainty, SPAN("certain")))
		out->says |= CERTAIN;
	else if (!span_eq(certainty, SPAN("probable"))) {
		datafile_fault(in, "`%s' is no certainty; use certain or probable behind the scope", datafile_shown(certainty, what));
		return false;
	}
	if (line.n == 0) {
		datafile_fault(in, "the label is missing; say last whose network this is");
		return false;
	}
	return true;
}

/* By where they begin, the larger one first; of the same network the first in the file. */
static int
by_first(const void *a, const void *b)
{
	const struct network *x = a, *y = b;
	int c = compare(x->first, y->first);

	if (c != 0)
		return c;
	if (x->bits != y->bits)
		return x->bits < y->bits ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

static void
add_piece(struct robots *r, struct address first, uint8_t says)
{
	/* Nothing lies between: what came before at this place was empty. */
	if (r->npieces > 0 && compare(r->piece[r->npieces - 1].first, first) == 0)
		r->npieces--;
	if (r->npieces > 0 ? r->piece[r->npieces - 1].says == says : says == 0)
		return;
	r->piece[r->npieces++] = (struct piece){ first, says };
}

/* Behind the last address of a network; false when nothing is. */
static bool
after(struct address a, struct address *out)
{
	out->lo = a.lo + 1;
	out->hi = a.hi + (out->lo == 0);
	return out->lo != 0 || out->hi != 0;
}

/* Networks nest at most 129 deep, for each one inside has a longer prefix. */
static void
cut(struct robots *r, const struct network *n, size_t count)
{
	const struct network *open[130];
	struct address next;
	size_t depth = 0;

	r->piece = xreallocarray(NULL, 2 * count + 1, sizeof *r->piece);
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && n[i].bits == n[i - 1].bits && compare(n[i].first, n[i - 1].first) == 0)
			continue;
		for (; depth > 0 && compare(open[depth - 1]->last, n[i].first) < 0; depth--)
			if (after(open[depth - 1]->last, &next))
				add_piece(r, next, depth > 1 ? open[depth - 2]->says : 0);
		add_piece(r, n[i].first, n[i].says);
		open[depth++] = &n[i];
	}
	for (; depth > 0; depth--)
		if (after(open[depth - 1]->last, &next))
			add_piece(r, next, depth > 1 ? open[depth - 2]->says : 0);
}

bool
robots_read_networks(struct robots *r, struct span text, const char *name, struct buf *errors)
{
	struct datafile in = { .name = name, .rest = text, .errors = errors };
	struct network *list = NULL, row;
	size_t n = 0, cap = 0;
	struct span line;

	free(r->piece);
	r->piece = NULL;
	r->npieces = 0;
	while (datafile_next(&in, &line)) {
		if (n == ROBOTS_NETWORKS_MAX) {
			datafile_fault(&in, "there are too many networks; at most %d", ROBOTS_NETWORKS_MAX);
			break;
		}
		if (!read_row(&in, line, &row))
			continue;
		if (n == cap) {
			cap = cap ? 2 * cap : 256;
			list = xreallocarray(list, cap, sizeof *list);
		}
		list[n++] = row;
	}
	if (datafile_good(&in) && n > 0) {
		qsort(list, n, sizeof *list, by_first);
		cut(r, list, n);
	}
	free(list);
	return in.faults == 0;
}

bool
robots_network(const struct robots *r, const uint8_t bytes[16], struct robot_network *out)
{
	struct address a = address_of(bytes);
	size_t low = 0, high = r->npieces;

	/* The last piece that begins at or before the address. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(r->piece[middle].first, a) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || r->piece[low - 1].says == 0)
		return false;
	*out = (struct robot_network){ .clicks_only = r->piece[low - 1].says & CLICKS_ONLY,
		.certain = r->piece[low - 1].says & CERTAIN };
	return true;
}

/* ---- what we ship ---- */

static void
read_own(struct robots *r, const char *const *lines, size_t n,
    bool (*read)(struct robots *, struct span, const char *, struct buf *))
{
	struct buf text = BUF(1024 * 1024), errors = BUF(1024);

	datafile_join(&text, lines, n);
	read(r, buf_span(&text), "built in", &errors);
	buf_free(&text);
	buf_free(&errors);
}

void
robots_own_agents(struct robots *r)
{
	read_own(r, own_agents, sizeof own_agents / sizeof *own_agents, robots_read_agents);
}

void
robots_own_networks(struct robots *r)
{
	read_own(r, own_networks, sizeof own_networks / sizeof *own_networks, robots_read_networks);
}
