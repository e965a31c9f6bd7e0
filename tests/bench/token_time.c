/*
 * token_time.c -- what one token costs: to seal for the milter, to open for the tracker.
 *
 * Processor time of one thread, the best of several rounds.  Beside it
 * OpenSSL's own AES-SIV, over as many bytes as a pixel's token seals.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/evp.h>

#include "common/pack.h"
#include "common/token.h"

#define ROUNDS 9
#define TIMES 20000
#define PIXEL_BYTES 29

static const struct keys keys = { .n = 1, .token[0] = { .id = 'K', .bytes = { 2 } } };
static struct sealer *sealer;
static struct claim pixel = { .kind = TOKEN_OPEN, .mode = MODE_IDENTIFIED, .campaign = 0x1122334455667788,
	.who = { { 1, 2, 3 } }, .when = 1764000000, .text = SPAN("") };
static struct claim click;
static unsigned char packed[TOKEN_DESTINATION_MAX];
static size_t npacked;
static struct buf pixel_token = BUF(TOKEN_MAX), click_token = BUF(TOKEN_MAX), text = BUF(TOKEN_DESTINATION_MAX),
		  out = BUF(TOKEN_MAX);

static bool
seal_pixel(void)
{
	buf_clear(&out);
	pixel.when++;
	return token_seal(sealer, &pixel, &out);
}

static bool
open_pixel(void)
{
	struct claim c;

	return token_open(sealer, TOKEN_OPEN, buf_span(&pixel_token), &c, &text);
}

static bool
seal_click(void)
{
	buf_clear(&out);
	click.when++;
	return token_seal_packed(sealer, &click, span_make(packed, npacked), &out);
}

static bool
open_click(void)
{
	struct claim c;

	return token_open(sealer, TOKEN_CLICK, buf_span(&click_token), &c, &text);
}

static bool
pack_click(void)
{
	unsigned char again[TOKEN_DESTINATION_MAX];

	return pack(again, sizeof again, click.text) == npacked;
}

static bool
unpack_click(void)
{
	char again[TOKEN_DESTINATION_MAX];

	return unpack(again, sizeof again, span_make(packed, npacked)) == click.text.n;
}

static EVP_CIPHER_CTX *theirs, *untouched;

static bool
openssl_key_set(void)
{
	unsigned char in[PIXEL_BYTES] = { 0 }, bytes[PIXEL_BYTES];
	int n;

	return EVP_EncryptInit_ex2(theirs, NULL, keys.token[0].bytes, NULL, NULL) == 1 &&
	       EVP_EncryptUpdate(theirs, bytes, &n, in, sizeof in) == 1;
}

static bool
openssl_copied(void)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	unsigned char in[PIXEL_BYTES] = { 0 }, bytes[PIXEL_BYTES];
	int n;
	bool ok = EVP_CIPHER_CTX_copy(c, untouched) == 1 && EVP_EncryptUpdate(c, bytes, &n, in, sizeof in) == 1;

	EVP_CIPHER_CTX_free(c);
	return ok;
}

static const struct {
	const char *name;
	bool (*run)(void);
} work[] = {
	{ "seal a pixel's token", seal_pixel },
	{ "open it", open_pixel },
	{ "seal a link's token, packed before", seal_click },
	{ "open it, and unpack", open_click },
	{ "pack a link", pack_click },
	{ "unpack it", unpack_click },
	{ "OpenSSL's AES-SIV, key set each time", openssl_key_set },
	{ "OpenSSL's AES-SIV, copied each time", openssl_copied },
};

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* whatever else the machine does */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int
main(void)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);

	pack_start();
	click = pixel;
	click.kind = TOKEN_CLICK;
	click.link = 7;
	click.text = SPAN("https://shop.harbourbooks.example/b/history-of-fog-17?utm_source=letter&utm_medium=email&utm_campaign=winter");
	npacked = token_pack(packed, click.text);
	theirs = EVP_CIPHER_CTX_new();
	untouched = EVP_CIPHER_CTX_new();
	if ((sealer = sealer_new(&keys)) == NULL || !token_seal(sealer, &pixel, &pixel_token) || !token_seal(sealer, &click, &click_token) ||
	    EVP_EncryptInit_ex2(theirs, cipher, keys.token[0].bytes, NULL, NULL) != 1 ||
	    EVP_EncryptInit_ex2(untouched, cipher, keys.token[0].bytes, NULL, NULL) != 1)
		errx(1, "cannot seal");
	for (size_t w = 0; w < sizeof work / sizeof work[0]; w++) {
		double best = 0;

		for (int round = 0; round < ROUNDS; round++) {
			double start = now(), took;

			for (int i = 0; i < TIMES; i++)
				if (!work[w].run())
					errx(1, "%s: wrong", work[w].name);
			took = (now() - start) / TIMES;
			best = round == 0 || took < best ? took : best;
		}
		printf("%-40s %8.0f ns\n", work[w].name, best);
	}
	return 0;
}
