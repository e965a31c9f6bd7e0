/*
 * Promises: OpenSSL's own AES-SIV seals the same bytes and opens ours; what
 * was sealed opens to the same text; a stranger's bytes, or ours with one
 * changed, open for neither.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/siv.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

/* With a tag to open; without one it seals, and gives it. */
static bool
theirs(const unsigned char *key, struct span ad, const unsigned char *in, size_t n, unsigned char *out, unsigned char *tag, int sealing)
{
	static EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int done;
	bool ok;

	if (cipher == NULL)
		cipher = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);
	must(EVP_CipherInit_ex2(c, cipher, key, NULL, sealing, NULL) == 1 &&
	     EVP_CipherUpdate(c, NULL, &done, (const unsigned char *)ad.p, (int)ad.n) == 1);
	ok = (sealing || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, SIV_TAG, tag) == 1) &&
	     EVP_CipherUpdate(c, out, &done, in, (int)n) == 1 && EVP_CipherFinal_ex(c, out + n, &done) == 1 &&
	     (!sealing || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, SIV_TAG, tag) == 1);
	EVP_CIPHER_CTX_free(c);
	return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static unsigned char sealed[SIV_TAG + SIV_TEXT_MAX], out[SIV_TEXT_MAX], other[SIV_TEXT_MAX], stranger[SIV_TAG + SIV_TEXT_MAX];
	unsigned char key[SIV_KEY] = { 0 }, tag[SIV_TAG];
	struct siv_purpose p;
	struct span ad;
	struct siv *s;

	/* Key, length of the associated data, that, text; OpenSSL 3.0 does not do empty ones of either. */
	if (n < 1 + sizeof key / 4 + 2)
		return 0;
	memcpy(key, data, sizeof key / 4);
	key[SIV_KEY - 1] = data[0];
	data += sizeof key / 4;
	n -= sizeof key / 4;
	ad = span_make(data + 1, 1 + data[0] % (n > 64 ? 64 : n - 2));
	data += 1 + ad.n;
	n -= 1 + ad.n;
	if (n == 0 || n > SIV_TEXT_MAX - SIV_TAG)
		return 0;

	must((s = siv_new(key)) != NULL && siv_purpose(s, ad, &p));
	must(siv_seal(s, &p, data, n, sealed));
	must(theirs(key, ad, data, n, out, tag, 1) && memcmp(tag, sealed, SIV_TAG) == 0 && memcmp(out, sealed + SIV_TAG, n) == 0);
	must(siv_open(s, &p, sealed, n, out) && memcmp(out, data, n) == 0);
	memcpy(tag, sealed, SIV_TAG);
	must(theirs(key, ad, sealed + SIV_TAG, n, out, tag, 0) && memcmp(out, data, n) == 0);

	sealed[data[0] * 257u % (SIV_TAG + n)] ^= (unsigned char)(1 << data[n - 1] % 8);
	memcpy(tag, sealed, SIV_TAG);
	must(!siv_open(s, &p, sealed, n, out) && !theirs(key, ad, sealed + SIV_TAG, n, other, tag, 0));
	memset(stranger, data[0], SIV_TAG);
	memcpy(stranger + SIV_TAG, data, n);
	must(!siv_open(s, &p, stranger, n, out));
	if (n > SIV_TAG)
		must(!siv_open(s, &p, data, n - SIV_TAG, out));
	siv_free(s);
	return 0;
}
