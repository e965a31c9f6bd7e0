#include "common/siv.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/mem.h"

#define BLOCK 16

/*
 * OpenSSL has AES-SIV, but sets both keys and three contexts up for every
 * text, which takes 5 us, or 1.3 us when all of it is copied, for two blocks
 * of 20 ns each.  So here the mode is by the book, and OpenSSL's part is what
 * must not be written at home: AES itself, chained blocks or independent ones,
 * with keys that stay set.
 */
struct engine {
	EVP_CIPHER_CTX *mac, *ctr; /* AES-128-CBC and -ECB, each with its half of the key */
	unsigned char last[BLOCK]; /* what mac goes on from */
	bool lost;                 /* that is not known any more */
};

/*
 * A context is for one thread at a time, so there are a few, made as threads
 * meet here.  Each thread looks at a place of its own first: in the rule it
 * finds there what it left, with nobody to wait for.
 */
#define PLACES 8

struct siv {
	struct engine first; /* only copied */
	unsigned char whole[BLOCK], part[BLOCK]; /* K1 and K2 of RFC 4493 */
	unsigned char start[BLOCK];              /* of S2V, doubled once */
	struct {
		_Atomic(struct engine *) spare;
		char far[64 - sizeof(void *)]; /* from the next one: each in a cache line of its own */
	} place[PLACES];
};

/* ---- contexts ---- */

static void
engine_clear(struct engine *e)
{
	EVP_CIPHER_CTX_free(e->mac);
	EVP_CIPHER_CTX_free(e->ctr);
}

static struct engine *
engine_copy(const struct engine *from)
{
	struct engine *e = xcalloc(1, sizeof *e);

	memcpy(e->last, from->last, BLOCK);
	if ((e->mac = EVP_CIPHER_CTX_new()) != NULL && (e->ctr = EVP_CIPHER_CTX_new()) != NULL &&
	    EVP_CIPHER_CTX_copy(e->mac, from->mac) == 1 && EVP_CIPHER_CTX_copy(e->ctr, from->ctr) == 1)
		return e;
	engine_clear(e);
	free(e);
	return NULL;
}

static size_t
my_place(void)
{
	static atomic_uint threads;
	static _Thread_local unsigned mine; /* and one, so that 0 is none yet */

	if (mine == 0)
		mine = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % PLACES + 1;
	return mine - 1;
}

/* NULL: no memory. */
static struct engine *
take(struct siv *s)
{
	size_t at = my_place();
	struct engine *e;

	for (size_t i = 0; i < PLACES; i++, at = (at + 1) % PLACES)
		if (atomic_load_explicit(&s->place[at].spare, memory_order_relaxed) != NULL &&
		    (e = atomic_exchange_explicit(&s->place[at].spare, NULL, memory_order_acquire)) != NULL)
			return e;
	return engine_copy(&s->first);
}

static void
give_back(struct siv *s, struct engine *e)
{
	size_t at = my_place();

	for (size_t i = 0; i < PLACES && !e->lost; i++, at = (at + 1) % PLACES) {
		struct engine *none = NULL;

		if (atomic_compare_exchange_strong_explicit(&s->place[at].spare, &none, e, memory_order_release,
			memory_order_relaxed))
			return;
	}
	engine_clear(e);
	free(e);
}

static bool
aes(EVP_CIPHER_CTX *c, unsigned char *out, const unsigned char *in, size_t blocks)
{
	int n = (int)(blocks * BLOCK), done;

	return EVP_EncryptUpdate(c, out, &done, in, n) == 1 && done == n;
}

/* ---- RFC 4493 and RFC 5297, section 2 ---- */

static void
xor_block(unsigned char *to, const unsigned char *with)
{
	uint64_t a[2], b[2];

	memcpy(a, to, BLOCK);
	memcpy(b, with, BLOCK);
	a[0] ^= b[0];
	a[1] ^= b[1];
	memcpy(to, a, BLOCK);
}

/* In place, as if the context had never seen anything: to set it back costs more than what stands there now. */
static bool
cbc(struct engine *e, unsigned char *text, size_t blocks)
{
	xor_block(text, e->last);
	if (!aes(e->mac, text, text, blocks)) {
		e->lost = true;
		return false;
	}
	memcpy(e->last, text + (blocks - 1) * BLOCK, BLOCK);
	return true;
}

/* Times x in the field of 2^128 elements; the same steps whatever the bits. */
static void
dbl(unsigned char out[BLOCK], const unsigned char in[BLOCK])
{
	unsigned carry = in[0] >> 7;

	for (size_t i = 0; i < BLOCK - 1; i++)
		out[i] = (unsigned char)(in[i] << 1 | in[i + 1] >> 7);
	out[BLOCK - 1] = (unsigned char)(in[BLOCK - 1] << 1 ^ carry * 0x87);
}

/* Room is left behind the n bytes, which are changed, for a block. */
static bool
cmac(const struct siv *s, struct engine *e, unsigned char *text, size_t n, unsigned char out[BLOCK])
{
	size_t last = n > 0 ? (n - 1) / BLOCK * BLOCK : 0;

	if (n - last < BLOCK) {
		memset(text + n, 0, BLOCK - (n - last));
		text[n] = 0x80;
		xor_block(text + last, s->part);
	} else
		xor_block(text + last, s->whole);
	if (!cbc(e, text, last / BLOCK + 1))
		return false;
	memcpy(out, e->last, BLOCK);
	return true;
}

/* S2V of the purpose and this text. */
static bool
s2v(const struct siv *s, struct engine *e, const struct siv_purpose *p, const unsigned char *in, size_t n,
    unsigned char out[SIV_TAG])
{
	unsigned char text[SIV_TEXT_MAX + BLOCK];

	assert(n <= SIV_TEXT_MAX);
	if (n > 0)
		memcpy(text, in, n);
	if (n >= BLOCK) {
		xor_block(text + n - BLOCK, p->b);
	} else {
		unsigned char d[BLOCK];

		memset(text + n, 0, BLOCK - n);
		text[n] = 0x80;
		dbl(d, p->b);
		xor_block(text, d);
		n = BLOCK;
	}
	return cmac(s, e, text, n, out);
}

/* Counts from the tag, two bits of which are cleared so that 32 bits of it never overflow. */
static bool
crypt(const struct engine *e, const unsigned char tag[SIV_TAG], const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char stream[SIV_TEXT_MAX];
	size_t blocks = (n + BLOCK - 1) / BLOCK, done = 0;
	uint32_t low;

	if (n == 0)
		return true;
	for (size_t i = 0; i < blocks; i++)
		memcpy(stream + i * BLOCK, tag, BLOCK - 4);
	low = ((uint32_t)tag[12] & 0x7f) << 24 | (uint32_t)tag[13] << 16 | (uint32_t)tag[14] << 8 | tag[15];
	for (size_t i = 0; i < blocks; i++, low++) {
		unsigned char *b = stream + i * BLOCK;

		b[8] &= 0x7f;
		b[12] = (unsigned char)(low >> 24);
		b[13] = (unsigned char)(low >> 16);
		b[14] = (unsigned char)(low >> 8);
		b[15] = (unsigned char)low;
	}
	if (!aes(e->ctr, stream, stream, blocks))
		return false;
	for (; done + BLOCK <= n; done += BLOCK) {
		xor_block(stream + done, in + done);
		memcpy(out + done, stream + done, BLOCK);
	}
	for (; done < n; done++)
		out[done] = in[done] ^ stream[done];
	return true;
}

/* ---- for others ---- */

static EVP_CIPHER_CTX *
keyed(const char *name, const unsigned char *key)
{
	static const unsigned char zero[BLOCK];
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	bool good = cipher != NULL && c != NULL && EVP_EncryptInit_ex2(c, cipher, key, zero, NULL) == 1 &&
	    EVP_CIPHER_CTX_set_padding(c, 0) == 1;

	EVP_CIPHER_free(cipher); /* the context holds it */
	if (good)
		return c;
	EVP_CIPHER_CTX_free(c);
	return NULL;
}

struct siv *
siv_new(const unsigned char key[SIV_KEY])
{
	struct siv *s = xcalloc(1, sizeof *s);
	unsigned char zero[2 * BLOCK] = { 0 }, mac[BLOCK] = { 0 };

	s->first.mac = keyed("AES-128-CBC", key);
	s->first.ctr = keyed("AES-128-ECB", key + SIV_KEY / 2);
	if (s->first.mac == NULL || s->first.ctr == NULL || !cbc(&s->first, mac, 1))
		goto fail;
	dbl(s->whole, mac);
	dbl(s->part, s->whole);
	if (!cmac(s, &s->first, zero, BLOCK, mac))
		goto fail;
	dbl(s->start, mac);
	goto out;

fail:
	siv_free(s);
	s = NULL;
out:
	/* Whoever has these has half of the key. */
	explicit_bzero(mac, sizeof mac);
	explicit_bzero(zero, sizeof zero);
	return s;
}

void
siv_free(struct siv *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < PLACES; i++) {
		struct engine *e = atomic_load(&s->place[i].spare);

		if (e != NULL)
			engine_clear(e);
		free(e);
	}
	engine_clear(&s->first);
	OPENSSL_cleanse(s, sizeof *s);
	free(s);
}

bool
siv_purpose(struct siv *s, struct span associated, struct siv_purpose *out)
{
	unsigned char text[SIV_TEXT_MAX + BLOCK];
	struct engine *e = take(s);
	bool ok;

	assert(associated.n <= SIV_TEXT_MAX);
	if (associated.n > 0)
		memcpy(text, associated.p, associated.n);
	if (e == NULL)
		return false;
	ok = cmac(s, e, text, associated.n, out->b);
	xor_block(out->b, s->start);
	give_back(s, e);
	return ok;
}

bool
siv_seal(struct siv *s, const struct siv_purpose *p, const unsigned char *in, size_t n, unsigned char *out)
{
	struct engine *e = take(s);
	bool ok;

	if (e == NULL)
		return false;
	ok = s2v(s, e, p, in, n, out) && crypt(e, out, in, n, out + SIV_TAG);
	give_back(s, e);
	return ok;
}

bool
siv_open(struct siv *s, const struct siv_purpose *p, const unsigned char *in, size_t n, unsigned char *out)
{
	struct engine *e = take(s);
	unsigned char tag[SIV_TAG];
	bool ok;

	if (e == NULL)
		return false;
	ok = crypt(e, in, in + SIV_TAG, n, out) && s2v(s, e, p, out, n, tag) && CRYPTO_memcmp(tag, in, SIV_TAG) == 0;
	give_back(s, e);
	return ok;
}
