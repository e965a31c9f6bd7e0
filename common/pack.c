#include "common/pack.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/pack_text.h"

/*
 * A context mixing model, made small and still.  Bit by bit, four contexts
 * are asked what they saw in the training text: each answers how sure it is
 * of a 1, as a logarithm of odds ("lean", 16 to the factor e).  The answers
 * are added with weights that depend on the bits of this byte so far, and
 * the sum's probability drives an arithmetic coder.
 *
 * Everything is learned before the first text and nothing after it, so a
 * token depends on no other.  All of it is integer arithmetic: all machines
 * must agree to the last bit, for ever.
 */
#define SLOT_BITS 17
#define SLOTS (1u << SLOT_BITS) /* half of them are used */
#define NODES 15                /* three levels and the root: the four bits of half a byte */

#define LEAN_MAX 127
#define BIAS 16        /* an answer that is always there */
#define WEIGHT_BITS 12 /* a weight of 1.0 is this many bits up; then a sum has 256 to the factor e */

#define END '\n'

/* What the next byte is judged by. */
enum { TWO, FOUR, WORD, KIND, CONTEXTS };

static struct model {
	struct slot {
		uint8_t check; /* 0: free */
		int8_t lean[NODES];
	} slot[SLOTS];
	int32_t weight[256][CONTEXTS + 1];
	uint16_t squash[4096];
} model;

/* ---- numbers ---- */

/* 65536 / (1 + exp(-x / 256)) for x = -2048, -1920 .. 2048. */
static const uint16_t logistic[] = {
	22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911, 53581,
	57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514,
};

/* The probability of a 1, of 65536; never 0 and never all. */
static uint32_t
squash(int32_t sum)
{
	int32_t at = sum + 2048;

	return model.squash[at < 0 ? 0 : at > 4095 ? 4095 : at];
}

static void
make_squash(void)
{
	for (uint32_t i = 0; i < 4096; i++)
		model.squash[i] = (uint16_t)((logistic[i / 128] * (128 - i % 128) + logistic[i / 128 + 1] * (i % 128)) / 128);
}

/* The other way, rounded to a lean: the least whose upper edge is not below. */
static int8_t
lean_of(uint32_t probability)
{
	int lean = -LEAN_MAX;

	for (int step = 128; step > 0; step /= 2)
		if (lean + step <= LEAN_MAX && squash((lean + step) * 16 - 8) < probability)
			lean += step;
	return (int8_t)lean;
}

static uint32_t
mix(uint32_t a, uint32_t b)
{
	uint32_t h = a * 0x2c1b3c6d + b * 0x297a2d39 + 0x7ed55d16;

	h ^= h >> 15;
	h *= 0x85ebca6b;
	return h ^ h >> 13;
}

/* ---- where we are in a text ---- */

struct place {
	uint32_t last;  /* the last four bytes */
	uint32_t word;  /* of the letters since the last byte that was none, upper case or lower */
	uint32_t kinds; /* which kinds of character there were since the last separator ... */
	uint32_t run;   /* ... and how many, as far as we count: what tells one sort of id from another */
	uint32_t bits;  /* of this byte so far, with a 1 in front */
	uint32_t node;  /* where the next bit is asked for in this half's slots; 0 is the root */
	uint32_t context[CONTEXTS];
};

#define RUN_MAX 20

static uint32_t
kind_of(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return 1;
	if (c >= 'a' && c <= 'z')
		return c <= 'f' ? 2 : 3;
	if (c >= 'A' && c <= 'Z')
		return c <= 'F' ? 4 : 5;
	if (c == '-' || c == '_' || c == '.')
		return 6;
	return c == '%' ? 7 : 0;
}

static void
set_contexts(struct place *p)
{
	p->bits = 1;
	p->node = 0;
	p->context[TWO] = mix(1, p->last & 0xffff);
	p->context[FOUR] = mix(2, p->last);
	p->context[WORD] = mix(3, p->word);
	p->context[KIND] = mix(mix(4, p->kinds), p->run);
}

static void
place_start(struct place *p)
{
	*p = (struct place){ .last = 0x01010101u * END };
	set_contexts(p);
}

static void
place_byte(struct place *p, unsigned char c)
{
	bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;

	p->last = p->last << 8 | c;
	p->word = letter ? mix(p->word + 1, c | 0x20) : 0;
	if (c == '/' || c == '?' || c == '&' || c == '=' || c == '#') {
		p->kinds = 0;
		p->run = 0;
	} else {
		p->kinds |= 1u << kind_of(c);
		p->run += p->run < RUN_MAX;
	}
	set_contexts(p);
}

static void
place_bit(struct place *p, int bit)
{
	p->bits = p->bits << 1 | (uint32_t)bit;
	p->node = p->bits < 32 && p->bits >= 16 ? 0 : p->node * 2 + 1 + (uint32_t)bit;
}

/* Where the slot of a context, for this half of the byte, should be, and how it is known. */
static uint32_t
hash(const struct place *p, int context)
{
	return mix(p->context[context], p->bits);
}

static uint8_t
check_of(uint32_t h)
{
	return (uint8_t)(h % 255 + 1);
}

/* The number of the slot with this hash; a free one when the text had none of it. */
static uint32_t
find(uint32_t h)
{
	uint32_t i = h >> (32 - SLOT_BITS);
	uint8_t check = check_of(h);

	while (model.slot[i].check != 0 && model.slot[i].check != check)
		i = (i + 1) % SLOTS;
	return i;
}

/* The sum of the answers, on squash's scale.  Weights are small: learning leaves none over 2. */
static int32_t
sum_up(const int32_t *weight, int two, int four, int word, int kind)
{
	int32_t sum = weight[TWO] * two + weight[FOUR] * four + weight[WORD] * word + weight[KIND] * kind +
		      weight[CONTEXTS] * BIAS;

	return sum / (1 << (WEIGHT_BITS - 4));
}

/* ---- learning ---- */

/*
 * While it learns, a node is a probability and how often it was asked, and
 * how much such a node may be trusted is learned too, for each context: the
 * next text will agree with what was seen once in a word more often than
 * with what was seen once after two characters.  In the end both become the
 * node's lean.
 */
#define SEEN_MAX 15
#define LEVELS 32
#define TRUST_RATE 50
#define WEIGHT_RATE 10

struct learner {
	struct {
		uint16_t p[NODES]; /* of a 1, of 4096 */
		uint8_t seen[NODES], context;
	} slot[SLOTS];
	int32_t trust[CONTEXTS][SEEN_MAX + 1][LEVELS]; /* of a 1, of 65536 */
};

static int32_t *
trust_of(struct learner *l, int context, uint32_t slot, uint32_t node)
{
	return &l->trust[context][l->slot[slot].seen[node]][l->slot[slot].p[node] / (4096 / LEVELS)];
}

static uint32_t
claim(struct learner *l, const struct place *p, int context)
{
	uint32_t h = hash(p, context), i = find(h);

	if (model.slot[i].check == 0) {
		model.slot[i].check = check_of(h);
		l->slot[i].context = (uint8_t)context;
		for (int n = 0; n < NODES; n++)
			l->slot[i].p[n] = 2048;
	}
	return i;
}

static void
learn_bit(struct learner *l, struct place *p, const uint32_t *slot, int bit)
{
	int32_t *weight = model.weight[p->bits];
	int8_t lean[CONTEXTS];
	uint32_t node = p->node;
	int32_t miss;

	for (int i = 0; i < CONTEXTS; i++)
		lean[i] = l->slot[slot[i]].seen[node] ? lean_of((uint32_t)*trust_of(l, i, slot[i], node)) : 0;
	miss = bit * 65536 - (int32_t)squash(sum_up(weight, lean[TWO], lean[FOUR], lean[WORD], lean[KIND]));
	for (int i = 0; i < CONTEXTS; i++) {
		uint16_t *prob = &l->slot[slot[i]].p[node];
		uint8_t *seen = &l->slot[slot[i]].seen[node];
		int32_t *trust = trust_of(l, i, slot[i], node);

		weight[i] += lean[i] * miss / 1024 * WEIGHT_RATE / 256;
		if (*seen > 0)
			*trust += (bit * 65535 - *trust) / TRUST_RATE;
		*prob = (uint16_t)(*prob + (bit * 4095 - *prob) * 2 / (2 * *seen + 3));
		*seen += *seen < SEEN_MAX;
	}
	weight[CONTEXTS] += BIAS * miss / 1024 * WEIGHT_RATE / 256;
	place_bit(p, bit);
}

static void
learn_byte(struct learner *l, struct place *p, unsigned char c)
{
	uint32_t slot[CONTEXTS];

	for (int i = 7; i >= 0; i--) {
		if (p->node == 0)
			for (int k = 0; k < CONTEXTS; k++)
				slot[k] = claim(l, p, k);
		learn_bit(l, p, slot, c >> i & 1);
	}
	place_byte(p, c);
}

static void
learn(void)
{
	struct learner *l = xcalloc(1, sizeof *l);
	struct place p;

	make_squash();
	for (int i = 0; i < CONTEXTS; i++)
		for (int seen = 0; seen <= SEEN_MAX; seen++)
			for (int level = 0; level < LEVELS; level++)
				l->trust[i][seen][level] = (level * 2 + 1) * (65536 / LEVELS / 2);
	for (int bits = 0; bits < 256; bits++)
		for (int i = 0; i < CONTEXTS; i++)
			model.weight[bits][i] = (1 << WEIGHT_BITS) * 3 / 10;

	place_start(&p);
	for (const char *c = pack_text; *c != '\0'; c++) {
		learn_byte(l, &p, (unsigned char)*c);
		if (*c == END)
			place_start(&p);
	}

	for (uint32_t i = 0; i < SLOTS; i++)
		for (uint32_t n = 0; n < NODES; n++)
			if (l->slot[i].seen[n] > 0)
				model.slot[i].lean[n] = lean_of((uint32_t)*trust_of(l, l->slot[i].context, i, n));
	free(l);
}

void
pack_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, learn);
}

/* ---- coding ---- */

/*
 * The interval low..high narrows with each bit, and bytes in which both ends
 * agree are done: written by the packer, taken from `value` by the unpacker.
 */
struct coder {
	struct place place;
	const struct slot *slot[CONTEXTS];
	uint32_t low, high;
};

static void
coder_start(struct coder *c)
{
	*c = (struct coder){ .high = UINT32_MAX };
	place_start(&c->place);
}

/* Slots are all over the place: ask for all of them before waiting for one. */
static void
find_slots(struct coder *c)
{
	uint32_t h[CONTEXTS];

	for (int i = 0; i < CONTEXTS; i++) {
		h[i] = hash(&c->place, i);
		__builtin_prefetch(&model.slot[h[i] >> (32 - SLOT_BITS)]);
	}
	for (int i = 0; i < CONTEXTS; i++)
		c->slot[i] = &model.slot[find(h[i])];
}

/* The last number of the lower part, which stands for a 1. */
static uint32_t
coder_split(struct coder *c)
{
	const struct place *p = &c->place;
	const struct slot **s = c->slot;
	uint32_t n = p->node;
	int32_t sum;

	if (n == 0)
		find_slots(c);
	sum = sum_up(model.weight[p->bits], s[TWO]->lean[n], s[FOUR]->lean[n], s[WORD]->lean[n], s[KIND]->lean[n]);
	return c->low + (uint32_t)((uint64_t)(c->high - c->low) * squash(sum) >> 16);
}

static void
coder_take(struct coder *c, int bit, uint32_t split)
{
	if (bit)
		c->high = split;
	else
		c->low = split + 1;
	place_bit(&c->place, bit);
}

static bool
coder_byte_done(const struct coder *c)
{
	return (c->low ^ c->high) < 1u << 24;
}

static void
coder_shift(struct coder *c)
{
	c->low <<= 8;
	c->high = c->high << 8 | 0xff;
}

/*
 * The fewest bytes that, with zeros behind them for ever, are in the
 * interval: there is just one such number of so few bytes that ends the
 * highest.  Gives how many, at most 4.
 */
static size_t
coder_end(const struct coder *c, unsigned char *end)
{
	size_t n = 0;
	uint32_t v = 0;

	while (v < c->low) {
		n++;
		v = n < 4 ? c->high & ~(UINT32_MAX >> 8 * n) : c->high;
	}
	for (size_t i = 0; i < n; i++)
		end[i] = (unsigned char)(v >> (24 - 8 * i));
	return n;
}

size_t
pack(unsigned char *out, size_t room, struct span text)
{
	struct coder c;
	unsigned char end[4];
	size_t n = 0, nend;

	if (text.n == 0 || memchr(text.p, END, text.n) != NULL)
		return 0;
	pack_start();
	coder_start(&c);
	for (size_t i = 0; i <= text.n; i++) {
		unsigned char byte = i < text.n ? (unsigned char)text.p[i] : END;

		for (int k = 7; k >= 0; k--) {
			coder_take(&c, byte >> k & 1, coder_split(&c));
			for (; coder_byte_done(&c); coder_shift(&c)) {
				if (n == room)
					return 0;
				out[n++] = (unsigned char)(c.high >> 24);
			}
		}
		place_byte(&c.place, byte);
	}
	nend = coder_end(&c, end);
	if (nend > room - n)
		return 0;
	memcpy(out + n, end, nend);
	n += nend;
	while (n > 0 && out[n - 1] == 0) /* they are there for ever anyway */
		n--;
	return n;
}

/* ---- the other way ---- */

/* A byte of the packed text, or one of the zeros behind it. */
static uint32_t
byte_at(struct span packed, size_t i)
{
	return i < packed.n ? (unsigned char)packed.p[i] : 0;
}

/* Does the packed text end as the packer ends it?  The bytes before `done` have been forced already. */
static bool
is_ended(const struct coder *c, struct span packed, size_t done)
{
	unsigned char end[4];
	size_t n = coder_end(c, end);

	if (packed.n > done + n || packed.p[packed.n - 1] == 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (byte_at(packed, done + i) != end[i])
			return false;
	return true;
}

size_t
unpack(char *out, size_t room, struct span packed)
{
	struct coder c;
	uint32_t value = 0;
	size_t at = 0;

	if (packed.n == 0)
		return 0;
	pack_start();
	coder_start(&c);
	while (at < 4)
		value = value << 8 | byte_at(packed, at++);
	for (size_t n = 0;; n++) {
		for (int k = 0; k < 8; k++) {
			uint32_t split = coder_split(&c);

			coder_take(&c, value <= split, split);
			for (; coder_byte_done(&c); coder_shift(&c))
				value = value << 8 | byte_at(packed, at++);
		}

		unsigned char byte = (unsigned char)c.place.bits;

		if (byte == END)
			return is_ended(&c, packed, at - 4) ? n : 0;
		if (n == room)
			return 0;
		out[n] = (char)byte;
		place_byte(&c.place, byte);
	}
}

/* ---- what was packed or unpacked before ---- */

/*
 * A text can be in one of a few places, the newest first, and the oldest
 * makes room.  It is compared in full, so a hash that meets another only
 * costs time.  Locks are held to compare and copy, never while packing.
 */
#define WAYS 4
#define SETS (PACK_KEPT / WAYS)
#define LOCKS 64

struct kept {
	uint64_t hash;
	size_t nfrom, nto;
	char bytes[]; /* what came in, what went out */
};

struct memory {
	struct kept *kept[SETS][WAYS];
	pthread_mutex_t lock[LOCKS];
};

static struct memory packed_before = { .lock = { [0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER } };
static struct memory unpacked_before = { .lock = { [0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER } };

/* False when it is not there, or is longer than room. */
static bool
recall(struct memory *m, uint64_t h, struct span from, void *out, size_t room, size_t *n)
{
	struct kept *const *set = m->kept[h % SETS];
	bool found = false;

	pthread_mutex_lock(&m->lock[h % LOCKS]);
	for (int i = 0; i < WAYS && set[i] != NULL && !found; i++) {
		const struct kept *k = set[i];

		if (k->hash != h || k->nto > room || !span_eq(span_make(k->bytes, k->nfrom), from))
			continue;
		found = true;
		*n = k->nto;
		memcpy(out, k->bytes + k->nfrom, k->nto);
	}
	pthread_mutex_unlock(&m->lock[h % LOCKS]);
	return found;
}

/* Two threads may keep the same text at the same time: then it is there twice, until it makes room. */
static void
keep(struct memory *m, uint64_t h, struct span from, const void *to, size_t n)
{
	struct kept **set = m->kept[h % SETS], *k = xmalloc(sizeof *k + from.n + n), *oldest;

	k->hash = h;
	k->nfrom = from.n;
	k->nto = n;
	memcpy(k->bytes, from.p, from.n);
	memcpy(k->bytes + from.n, to, n);

	pthread_mutex_lock(&m->lock[h % LOCKS]);
	oldest = set[WAYS - 1];
	memmove(set + 1, set, (WAYS - 1) * sizeof *set);
	set[0] = k;
	pthread_mutex_unlock(&m->lock[h % LOCKS]);
	free(oldest);
}

size_t
pack_shorter(unsigned char *out, struct span text)
{
	uint64_t h;
	size_t n;

	if (text.n == 0)
		return 0;
	if (text.n > PACK_KEPT_TEXT_MAX)
		return pack(out, text.n - 1, text);
	h = span_hash(text);
	if (!recall(&packed_before, h, text, out, text.n, &n)) {
		n = pack(out, text.n - 1, text);
		keep(&packed_before, h, text, out, n);
	}
	return n;
}

size_t
unpack_again(char *out, size_t room, struct span packed)
{
	uint64_t h = span_hash(packed);
	size_t n;

	if (recall(&unpacked_before, h, packed, out, room, &n))
		return n;
	n = unpack(out, room, packed);
	if (n > 0 && n <= PACK_KEPT_TEXT_MAX)
		keep(&unpacked_before, h, packed, out, n);
	return n;
}
