/* siv.h -- AES-SIV (RFC 5297) with a key that is set once: encrypts and authenticates, deterministically.  Pure. */
#ifndef REKINDLE_SIV_H
#define REKINDLE_SIV_H

#include <stdbool.h>
#include <stddef.h>

#include "common/span.h"

#define SIV_KEY 32       /* bytes: half to authenticate, half to encrypt (AES-SIV-CMAC-256) */
#define SIV_TAG 16
#define SIV_TEXT_MAX 4096 /* bytes of one plaintext */

/* A key.  Any number of threads may seal and open with it at the same time. */
struct siv;
struct siv *siv_new(const unsigned char key[SIV_KEY]); /* NULL when the crypto library refuses */
void siv_free(struct siv *);                           /* NULL is fine */

/*
 * What the text belongs to: RFC 5297's one string of associated data, hashed
 * with the key beforehand, since it is the same for many texts.
 */
struct siv_purpose {
	unsigned char b[16];
};
/* False when there is no memory. */
bool siv_purpose(struct siv *, struct span associated, struct siv_purpose *out);

/* Tag, then n bytes of ciphertext, into out, which does not overlap in.  n <= SIV_TEXT_MAX.  False when there is no memory. */
bool siv_seal(struct siv *, const struct siv_purpose *, const unsigned char *in, size_t n, unsigned char *out);
/*
 * The other way: `in` is the tag and n bytes.  False, in the same time, for
 * anything but what siv_seal gave for this key and purpose; what is in out
 * means nothing then.
 */
bool siv_open(struct siv *, const struct siv_purpose *, const unsigned char *in, size_t n, unsigned char *out);

#endif
