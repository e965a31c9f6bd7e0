#include "common/token.h"

#include <assert.h>
#include <stdlib.h>

#include "common/codec.h"
#include "common/mem.h"
#include "common/pack.h"
#include "common/siv.h"

/*
 * A token is the key's id and base64url(tag, ciphertext).  What is sealed:
 *
 *	byte 0		0x80, PACKED, mode (3 bits), what follows (HAS_*, 3 bits)
 *	8 bytes		campaign
 *	16 bytes	who, with HAS_WHO
 *	4 bytes		when, with HAS_WHEN
 *	1 or 3 bytes	link, with HAS_LINK: below 255 in one byte, else 255
 *			and two bytes
 *	the rest	text; with PACKED as pack.c packs it
 *
 * What is zero is left out and what is there is not zero, the link takes the
 * fewest bytes, and what is packed is shorter for it and spelled as pack.c
 * spells it: so one claim has one spelling.  Only a text that came unpacked
 * is not tried again; we make no such token when packing pays, and nobody
 * else makes any.
 *
 * Format 1, which is no longer made but opens for ever, has 0x10 for byte 0,
 * then the HAS_* in the high nibble and the mode in the low one, always two
 * bytes of link, and never packs.
 */
#define FORMAT_1 0x10
#define FORMAT_2 0x80
#define PACKED 0x40

#define HAS_WHO 1
#define HAS_WHEN 2
#define HAS_LINK 4
#define HAS_ALL 7

#define LINK_LONG 255

#define HEAD_MAX (2 + 8 + 16 + 4 + 3)
#define PLAIN_MAX (HEAD_MAX + TOKEN_DESTINATION_MAX)
static_assert(PLAIN_MAX <= SIV_TEXT_MAX && KEY_BYTES == SIV_KEY, "what is sealed, and with what");

/* Associated data, with the kind behind it. */
static const char purpose[] = "rekindle token ";

static const enum token_kind kinds[] = { TOKEN_OPEN, TOKEN_CLICK, TOKEN_LEAVE, TOKEN_PREFERENCES, TOKEN_MARK,
	TOKEN_FEEDBACK, TOKEN_SPLIT };
#define KINDS (sizeof kinds / sizeof kinds[0])

/* Each kind has a purpose of its own. */
struct sealer {
	size_t n; /* the last one seals */
	struct keyed {
		char id;
		struct siv *siv;
		struct siv_purpose purpose[KINDS];
	} key[KEYS_MAX];
};

static bool
set_key(struct keyed *k, const struct token_key *key)
{
	char associated[sizeof purpose];
	bool ok;

	k->id = key->id;
	k->siv = siv_new(key->bytes);
	ok = k->siv != NULL;
	memcpy(associated, purpose, sizeof purpose);
	for (size_t i = 0; ok && i < KINDS; i++) {
		associated[sizeof purpose - 1] = (char)kinds[i];
		ok = siv_purpose(k->siv, span_make(associated, sizeof associated), &k->purpose[i]);
	}
	return ok;
}

struct sealer *
sealer_new(const struct keys *keys)
{
	struct sealer *s = xcalloc(1, sizeof *s);
	bool ok = keys->n > 0;

	for (size_t i = 0; ok && i < keys->n; i++)
		ok = set_key(&s->key[s->n++], &keys->token[i]);
	if (!ok) {
		sealer_free(s);
		return NULL;
	}
	return s;
}

void
sealer_free(struct sealer *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		siv_free(s->key[i].siv);
	free(s);
}

/* NULL: no such kind. */
static const struct siv_purpose *
purpose_of(const struct keyed *k, enum token_kind kind)
{
	for (size_t i = 0; i < KINDS; i++)
		if (kinds[i] == kind)
			return &k->purpose[i];
	return NULL;
}

/* Writes what stands before the text; at most HEAD_MAX bytes. */
static size_t
write_head(const struct claim *c, bool packed, unsigned char *p)
{
	unsigned char *start = p;
	unsigned has = (who_is_nobody(&c->who) ? 0 : HAS_WHO) | (c->when ? HAS_WHEN : 0) | (c->link ? HAS_LINK : 0);

	*p++ = (unsigned char)(FORMAT_2 | (packed ? PACKED : 0) | (unsigned)c->mode << 3 | has);
	put_u64(p, c->campaign);
	p += 8;
	if (has & HAS_WHO) {
		memcpy(p, c->who.b, sizeof c->who.b);
		p += sizeof c->who.b;
	}
	if (has & HAS_WHEN) {
		put_u32(p, c->when);
		p += 4;
	}
	if (has & HAS_LINK && c->link < LINK_LONG) {
		*p++ = (unsigned char)c->link;
	} else if (has & HAS_LINK) {
		*p++ = LINK_LONG;
		put_u16(p, c->link);
		p += 2;
	}
	return (size_t)(p - start);
}

/* Takes n bytes from the front; NULL, and nothing taken, when there are not so many. */
static const unsigned char *
take(struct span *rest, size_t n)
{
	const unsigned char *p = (const unsigned char *)rest->p;

	if (rest->n < n)
		return NULL;
	*rest = span_from(*rest, n);
	return p;
}

static bool
read_link(struct claim *c, struct span *rest, bool first_format)
{
	const unsigned char *p = take(rest, first_format ? 2 : 1);

	if (p == NULL)
		return false;
	if (first_format || *p == LINK_LONG) {
		if (!first_format && (p = take(rest, 2)) == NULL)
			return false;
		c->link = get_u16(p);
		return c->link >= (first_format ? 1 : LINK_LONG);
	}
	c->link = *p;
	return c->link > 0;
}

/* What follows the first byte or two, in either format. */
static bool
read_fields(struct claim *c, struct span *rest, unsigned has, bool first_format)
{
	const unsigned char *p = take(rest, 8);

	if (p == NULL)
		return false;
	c->campaign = get_u64(p);
	if (has & HAS_WHO) {
		if ((p = take(rest, sizeof c->who.b)) == NULL)
			return false;
		memcpy(c->who.b, p, sizeof c->who.b);
		if (who_is_nobody(&c->who))
			return false;
	}
	if (has & HAS_WHEN) {
		if ((p = take(rest, 4)) == NULL || (c->when = get_u32(p)) == 0)
			return false;
	}
	return !(has & HAS_LINK) || read_link(c, rest, first_format);
}

/* Takes what stands before the text from *rest.  False when it is none of ours. */
static bool
read_head(struct claim *c, struct span *rest, bool *packed)
{
	const unsigned char *p = take(rest, 1);
	unsigned has, mode;

	if (p == NULL)
		return false;
	bool first_format = *p == FORMAT_1;

	if (first_format) {
		if ((p = take(rest, 1)) == NULL)
			return false;
		has = *p >> 4;
		mode = *p & 0x0f;
		*packed = false;
	} else {
		if (!(*p & FORMAT_2))
			return false;
		has = *p & HAS_ALL;
		mode = *p >> 3 & 7;
		*packed = *p & PACKED;
	}
	if (has > HAS_ALL || mode > MODE_FULL)
		return false;
	c->mode = (enum mode)mode;
	return read_fields(c, rest, has, first_format);
}

/* Appends the text.  False when it is not packed as we pack, or too long. */
static bool
read_text(struct buf *out, struct span rest, bool packed)
{
	char text[TOKEN_DESTINATION_MAX];
	size_t n;

	if (packed) {
		n = unpack_again(text, sizeof text, rest);
		if (n <= rest.n)
			return false;
		rest = span_make(text, n);
	}
	buf_add(out, rest);
	return !out->over;
}

/* What holds of every claim, whoever made it. */
static bool
is_sound(const struct claim *c)
{
	bool personal = c->kind == TOKEN_LEAVE || c->kind == TOKEN_PREFERENCES;

	return c->text.n <= TOKEN_DESTINATION_MAX && (!personal || !who_is_nobody(&c->who));
}

size_t
token_pack(unsigned char *out, struct span text)
{
	if (text.n == 0 || text.n > TOKEN_DESTINATION_MAX)
		return 0;
	return pack_shorter(out, text);
}

bool
token_seal_packed(const struct sealer *s, const struct claim *c, struct span packed, struct buf *out)
{
	unsigned char plain[PLAIN_MAX], sealed[SIV_TAG + PLAIN_MAX];
	const struct keyed *k = &s->key[s->n - 1];
	const struct siv_purpose *for_kind = purpose_of(k, c->kind);
	struct span text = packed.n > 0 ? packed : c->text;
	size_t before = out->n, n;

	assert(c->mode <= MODE_FULL && packed.n <= c->text.n);
	if (!is_sound(c) || out->over)
		return false;

	n = write_head(c, packed.n > 0, plain);
	if (text.n > 0)
		memcpy(plain + n, text.p, text.n);
	n += text.n;
	if (for_kind == NULL || !siv_seal(k->siv, for_kind, plain, n, sealed))
		return false;

	buf_addc(out, k->id);
	base64url_add(out, span_make(sealed, SIV_TAG + n));
	if (out->over)
		out->n = before;
	return !out->over;
}

bool
token_seal(const struct sealer *s, const struct claim *c, struct buf *out)
{
	unsigned char packed[TOKEN_DESTINATION_MAX];

	return token_seal_packed(s, c, span_make(packed, token_pack(packed, c->text)), out);
}

/* The key of this id; any key, and *ours false, when there is none. */
static const struct keyed *
find_key(const struct sealer *s, char id, bool *ours)
{
	const struct keyed *found = &s->key[s->n - 1];

	*ours = false;
	for (size_t i = 0; i < s->n; i++) {
		if (s->key[i].id == id) {
			found = &s->key[i];
			*ours = true;
		}
	}
	return found;
}

/*
 * Whatever is wrong inside a well-formed token, it is decrypted and compared
 * in full, with some key, before it is refused: how long that takes says
 * nothing about which keys exist or how close a guess was.
 */
bool
token_open(const struct sealer *s, enum token_kind kind, struct span token, struct claim *c, struct buf *text_out)
{
	unsigned char plain[PLAIN_MAX];
	char bytes[SIV_TAG + PLAIN_MAX + 1];
	struct buf sealed = BUF_ON(bytes);
	struct span rest;
	bool ours, packed, ok = false;
	size_t n;

	buf_clear(text_out);
	*c = (struct claim){ .kind = kind, .text = SPAN("") };
	if (token.n < 2 || token.n > TOKEN_MAX || !base64url_read(&sealed, span_from(token, 1)) || sealed.n <= SIV_TAG)
		goto out;

	const struct keyed *k = find_key(s, token.p[0], &ours);
	const struct siv_purpose *for_kind = purpose_of(k, kind);

	n = sealed.n - SIV_TAG;
	ok = for_kind != NULL && siv_open(k->siv, for_kind, (const unsigned char *)sealed.p, n, plain) && ours;
	if (!ok)
		goto out;

	rest = span_make(plain, n);
	ok = read_head(c, &rest, &packed) && read_text(text_out, rest, packed);
	c->text = buf_span(text_out);
	ok = ok && is_sound(c);
out:
	if (!ok) {
		buf_clear(text_out);
		*c = (struct claim){ .kind = kind, .text = SPAN("") };
	}
	return ok;
}

bool
token_open_any(const struct sealer *s, struct span token, struct claim *c, struct buf *text_out)
{
	for (size_t i = 0; i < KINDS; i++) {
		if (token_open(s, kinds[i], token, c, text_out))
			return true;
	}
	return false;
}
