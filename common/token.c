#include "common/token.h"

#include <assert.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "common/codec.h"
#include "common/mem.h"

/*
 * A token is the key's id and base64url(tag, ciphertext).  What is sealed:
 *
 *	byte 0		version in the high nibble, packing of the text in the
 *			low one (0: as it is; room for compression)
 *	byte 1		what follows (HAS_*) in the high nibble, mode in the low
 *	8 bytes		campaign
 *	16 bytes	who, with HAS_WHO
 *	4 bytes		when, with HAS_WHEN
 *	2 bytes		link, with HAS_LINK
 *	the rest	text
 *
 * What is zero is left out and what is there is not zero, so one claim has
 * one spelling.
 */
#define FORMAT 1
#define PLAIN 0 /* packing */

#define HAS_WHO 0x10
#define HAS_WHEN 0x20
#define HAS_LINK 0x40
#define HAS_UNKNOWN 0x80

#define TAG 16
#define HEAD_MAX (2 + 8 + 16 + 4 + 2)
#define PLAIN_MAX (HEAD_MAX + TOKEN_DESTINATION_MAX)

/* Associated data, with the kind behind it. */
static const char purpose[] = "rekindle token ";

static const enum token_kind kinds[] = { TOKEN_OPEN, TOKEN_CLICK, TOKEN_LEAVE, TOKEN_MARK, TOKEN_FEEDBACK,
	TOKEN_SPLIT };

/*
 * Setting a key costs four times what sealing a token does, so each key is
 * set once and every operation works on a copy.  Copying only reads the
 * original, which nobody changes after sealer_new.
 */
struct sealer {
	size_t n; /* the last one seals */
	struct keyed {
		char id;
		EVP_CIPHER_CTX *seal, *open;
	} key[KEYS_MAX];
};

static bool
set_key(struct keyed *k, const EVP_CIPHER *cipher, const struct token_key *key)
{
	k->id = key->id;
	k->seal = EVP_CIPHER_CTX_new();
	k->open = EVP_CIPHER_CTX_new();
	return k->seal != NULL && k->open != NULL &&
	       EVP_CipherInit_ex2(k->seal, cipher, key->bytes, NULL, 1, NULL) == 1 &&
	       EVP_CipherInit_ex2(k->open, cipher, key->bytes, NULL, 0, NULL) == 1;
}

struct sealer *
sealer_new(const struct keys *keys)
{
	struct sealer *s = xcalloc(1, sizeof *s);
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);
	bool ok = cipher != NULL && keys->n > 0 && EVP_CIPHER_get_key_length(cipher) == KEY_BYTES;

	for (size_t i = 0; ok && i < keys->n; i++)
		ok = set_key(&s->key[s->n++], cipher, &keys->token[i]);
	EVP_CIPHER_free(cipher); /* the contexts hold it */
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
	for (size_t i = 0; i < s->n; i++) {
		EVP_CIPHER_CTX_free(s->key[i].seal);
		EVP_CIPHER_CTX_free(s->key[i].open);
	}
	free(s);
}

/* A copy of a keyed context that has seen the associated data.  NULL: no memory. */
static EVP_CIPHER_CTX *
begin(const EVP_CIPHER_CTX *keyed, enum token_kind kind)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	unsigned char ad[sizeof purpose];
	int n;

	memcpy(ad, purpose, sizeof purpose);
	ad[sizeof purpose - 1] = (unsigned char)kind;
	if (c == NULL || EVP_CIPHER_CTX_copy(c, keyed) != 1 || EVP_CipherUpdate(c, NULL, &n, ad, sizeof ad) != 1) {
		EVP_CIPHER_CTX_free(c);
		return NULL;
	}
	return c;
}

/* out has room for TAG and n bytes. */
static bool
siv_seal(const struct keyed *k, enum token_kind kind, const unsigned char *in, size_t n, unsigned char *out)
{
	EVP_CIPHER_CTX *c = begin(k->seal, kind);
	int done = 0, end = 0;
	bool ok = c != NULL && EVP_CipherUpdate(c, out + TAG, &done, in, (int)n) == 1 && (size_t)done == n &&
		  EVP_CipherFinal_ex(c, out + TAG + done, &end) == 1 && end == 0 &&
		  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, out) == 1;

	EVP_CIPHER_CTX_free(c);
	return ok;
}

/* in is TAG and n bytes, n > 0.  What is in out means nothing when it is false. */
static bool
siv_open(const struct keyed *k, enum token_kind kind, const unsigned char *in, size_t n, unsigned char *out)
{
	EVP_CIPHER_CTX *c = begin(k->open, kind);
	unsigned char tag[TAG];
	int done = 0, end = 0;

	memcpy(tag, in, TAG);

	bool ok = c != NULL && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
		  EVP_CipherUpdate(c, out, &done, in + TAG, (int)n) == 1 && (size_t)done == n &&
		  EVP_CipherFinal_ex(c, out + done, &end) == 1;

	EVP_CIPHER_CTX_free(c);
	return ok;
}

/* Writes what stands before the text; at most HEAD_MAX bytes. */
static size_t
pack_head(const struct claim *c, unsigned char *p)
{
	unsigned char *start = p;
	unsigned char has = (unsigned char)((who_is_nobody(&c->who) ? 0 : HAS_WHO) | (c->when ? HAS_WHEN : 0) |
					    (c->link ? HAS_LINK : 0));

	*p++ = FORMAT << 4 | PLAIN;
	*p++ = (unsigned char)(has | c->mode);
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
	if (has & HAS_LINK) {
		put_u16(p, c->link);
		p += 2;
	}
	return (size_t)(p - start);
}

/* The length of what stands before the text, 0 when it is none of ours. */
static size_t
unpack_head(struct claim *c, const unsigned char *p, size_t n)
{
	if (n < 2 + 8 || p[0] != (FORMAT << 4 | PLAIN))
		return 0;

	unsigned has = p[1] & 0xf0, mode = p[1] & 0x0f;
	size_t length = 2 + 8 + (has & HAS_WHO ? 16 : 0) + (has & HAS_WHEN ? 4 : 0) + (has & HAS_LINK ? 2 : 0);

	if (has & HAS_UNKNOWN || mode > MODE_FULL || n < length)
		return 0;
	c->mode = (enum mode)mode;
	c->campaign = get_u64(p + 2);
	p += 2 + 8;
	if (has & HAS_WHO) {
		memcpy(c->who.b, p, sizeof c->who.b);
		p += sizeof c->who.b;
		if (who_is_nobody(&c->who))
			return 0;
	}
	if (has & HAS_WHEN) {
		c->when = get_u32(p);
		p += 4;
		if (c->when == 0)
			return 0;
	}
	if (has & HAS_LINK) {
		c->link = get_u16(p);
		if (c->link == 0)
			return 0;
	}
	return length;
}

/* What holds of every claim, whoever made it. */
static bool
is_sound(const struct claim *c)
{
	return c->text.n <= TOKEN_DESTINATION_MAX && (c->kind != TOKEN_LEAVE || !who_is_nobody(&c->who));
}

bool
token_seal(const struct sealer *s, const struct claim *c, struct buf *out)
{
	unsigned char plain[PLAIN_MAX], sealed[TAG + PLAIN_MAX];
	const struct keyed *k = &s->key[s->n - 1];
	size_t before = out->n, n;

	assert(c->mode <= MODE_FULL);
	if (!is_sound(c) || out->over)
		return false;

	n = pack_head(c, plain);
	if (c->text.n > 0)
		memcpy(plain + n, c->text.p, c->text.n);
	n += c->text.n;
	if (!siv_seal(k, c->kind, plain, n, sealed))
		return false;

	buf_addc(out, k->id);
	base64url_add(out, span_make(sealed, TAG + n));
	if (out->over)
		out->n = before;
	return !out->over;
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
	struct buf sealed = BUF(TAG + PLAIN_MAX);
	size_t n, head;
	bool ours, ok = false;

	buf_clear(text_out);
	*c = (struct claim){ .kind = kind, .text = SPAN("") };
	if (token.n < 2 || token.n > TOKEN_MAX || !base64url_read(&sealed, span_from(token, 1)) || sealed.n <= TAG)
		goto out;

	const struct keyed *k = find_key(s, token.p[0], &ours);

	n = sealed.n - TAG;
	ok = siv_open(k, kind, (const unsigned char *)sealed.p, n, plain) && ours;
	if (!ok)
		goto out;

	head = unpack_head(c, plain, n);
	buf_add(text_out, span_make(plain + head, n - head));
	c->text = buf_span(text_out);
	ok = head > 0 && !text_out->over && is_sound(c);
out:
	if (!ok) {
		buf_clear(text_out);
		*c = (struct claim){ .kind = kind, .text = SPAN("") };
	}
	buf_free(&sealed);
	return ok;
}

bool
token_open_any(const struct sealer *s, struct span token, struct claim *c, struct buf *text_out)
{
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (token_open(s, kinds[i], token, c, text_out))
			return true;
	}
	return false;
}
