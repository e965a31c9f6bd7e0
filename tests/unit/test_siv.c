#include "common/siv.h"

#include <pthread.h>

#include <openssl/evp.h>

#include "tests/unit/unit.h"

#define LENGTHS 2101

/* RFC 5297, appendix A.1. */
static const unsigned char rfc_key[SIV_KEY] = {
	0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1, 0xf0,
	0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
};

static void
test_rfc_example(void **state)
{
	static const unsigned char ad[24] = {
		0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
		0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
	};
	static const unsigned char text[14] = {
		0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
	};
	static const unsigned char sealed[30] = {
		0x85, 0x63, 0x2d, 0x07, 0xc6, 0xe8, 0xf3, 0x7f, 0x95, 0x0a, 0xcd, 0x32, 0x0a, 0x2e, 0xcc, 0x93,
		0x40, 0xc0, 0x2b, 0x96, 0x90, 0xc4, 0xdc, 0x04, 0xda, 0xef, 0x7f, 0x6a, 0xfe, 0x5c,
	};
	struct siv *s = siv_new(rfc_key);
	unsigned char out[64];
	struct siv_purpose p;

	(void)state;
	assert_non_null(s);
	assert_true(siv_purpose(s, span_make(ad, sizeof ad), &p));
	assert_true(siv_seal(s, &p, text, sizeof text, out));
	assert_memory_equal(out, sealed, sizeof sealed);
	assert_true(siv_open(s, &p, sealed, sizeof text, out));
	assert_memory_equal(out, text, sizeof text);
	siv_free(s);
	siv_free(NULL);
}

/* ---- OpenSSL's own says the same ---- */

static EVP_CIPHER_CTX *
their_context(const unsigned char *key, struct span ad, int sealing)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	assert_int_equal(EVP_CipherInit_ex2(c, cipher, key, NULL, sealing, NULL), 1);
	assert_int_equal(EVP_CipherUpdate(c, NULL, &n, (const unsigned char *)ad.p, (int)ad.n), 1);
	EVP_CIPHER_free(cipher);
	return c;
}

static void
they_seal(const unsigned char *key, struct span ad, const unsigned char *in, size_t n, unsigned char *out)
{
	EVP_CIPHER_CTX *c = their_context(key, ad, 1);
	int done;

	assert_int_equal(EVP_CipherUpdate(c, out + SIV_TAG, &done, in, (int)n), 1);
	assert_int_equal(done, n);
	assert_int_equal(EVP_CipherFinal_ex(c, out + SIV_TAG + n, &done), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, SIV_TAG, out), 1);
	EVP_CIPHER_CTX_free(c);
}

static bool
they_open(const unsigned char *key, struct span ad, unsigned char *in, size_t n, unsigned char *out)
{
	EVP_CIPHER_CTX *c = their_context(key, ad, 0);
	int done;
	bool ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, SIV_TAG, in) == 1 &&
		  EVP_CipherUpdate(c, out, &done, in + SIV_TAG, (int)n) == 1 && EVP_CipherFinal_ex(c, out + n, &done) == 1;

	EVP_CIPHER_CTX_free(c);
	return ok;
}

/* Bytes without a pattern, the same ones each time. */
static void
fill(unsigned char *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (unsigned char)(seed >> 24);
	}
}

static void
test_every_length(void **state)
{
	static unsigned char text[LENGTHS], ours[SIV_TAG + LENGTHS], theirs[SIV_TAG + LENGTHS], back[LENGTHS];

	(void)state;
	for (size_t n = 0; n < LENGTHS; n++) {
		unsigned char key[SIV_KEY], ad[40];
		struct span about = span_make(ad, 1 + n % sizeof ad); /* they forget an empty one: CVE-2023-2975 */
		struct siv_purpose p;
		struct siv *s;

		fill(key, sizeof key, (uint32_t)n);
		fill(ad, sizeof ad, (uint32_t)n + 70000);
		fill(text, n, (uint32_t)n + 140000);
		s = siv_new(key);
		assert_true(siv_purpose(s, about, &p));
		assert_true(siv_seal(s, &p, text, n, ours));
		if (n > 0) { /* nor do they take an empty text */
			they_seal(key, about, text, n, theirs);
			assert_memory_equal(ours, theirs, SIV_TAG + n);
			assert_true(they_open(key, about, ours, n, back));
			assert_memory_equal(back, text, n);
		}
		assert_true(siv_open(s, &p, ours, n, back));
		assert_memory_equal(back, text, n);

		ours[n * 7 % (SIV_TAG + n)] ^= (unsigned char)(1 << n % 8);
		assert_false(siv_open(s, &p, ours, n, back));
		siv_free(s);
	}
}

/* Two bits of the tag are cleared before it counts: the text stays right, and only the comparison sees them. */
static void
test_every_bit(void **state)
{
	unsigned char text[20], sealed[SIV_TAG + sizeof text], back[sizeof text];
	struct siv *s = siv_new(rfc_key);
	struct siv_purpose p;

	(void)state;
	fill(text, sizeof text, 1);
	assert_true(siv_purpose(s, SPAN("x"), &p));
	assert_true(siv_seal(s, &p, text, sizeof text, sealed));
	for (size_t i = 0; i < 8 * sizeof sealed; i++) {
		sealed[i / 8] ^= (unsigned char)(1 << i % 8);
		assert_false(siv_open(s, &p, sealed, sizeof text, back));
		sealed[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	assert_true(siv_open(s, &p, sealed, sizeof text, back));
	siv_free(s);
}

/* The counter starts anywhere below 2^31, and never runs into the bits that were cleared. */
static void
test_counters(void **state)
{
	static unsigned char text[1024], ours[SIV_TAG + sizeof text], theirs[SIV_TAG + sizeof text];
	struct siv *s = siv_new(rfc_key);
	struct siv_purpose p;
	unsigned high = 0, carried = 0;

	(void)state;
	assert_true(siv_purpose(s, SPAN("x"), &p));
	for (uint32_t i = 0; i < 5000; i++) {
		fill(text, sizeof text, i);
		assert_true(siv_seal(s, &p, text, sizeof text, ours));
		they_seal(rfc_key, SPAN("x"), text, sizeof text, theirs);
		assert_memory_equal(ours, theirs, sizeof ours);
		high += (ours[8] & ours[12] & 0x80) != 0;
		carried += ours[15] > 256 - sizeof text / 16;
	}
	assert_true(high > 0 && carried > 0);
	siv_free(s);
}

static void
test_purposes(void **state)
{
	static const struct span purposes[] = { SPAN(""), SPAN("a"), SPAN("b"), SPAN("0123456789abcdef"), SPAN("0123456789abcdef0") };
	unsigned char sealed[SIV_TAG + 4], back[4];
	struct siv *s = siv_new(rfc_key);

	(void)state;
	for (size_t i = 0; i < COUNT(purposes); i++) {
		struct siv_purpose here, there;

		assert_true(siv_purpose(s, purposes[i], &here));
		assert_true(siv_seal(s, &here, (const unsigned char *)"text", 4, sealed));
		for (size_t k = 0; k < COUNT(purposes); k++) {
			assert_true(siv_purpose(s, purposes[k], &there));
			assert_int_equal(siv_open(s, &there, sealed, 4, back), i == k);
		}
	}
	siv_free(s);
}

/* ---- threads ---- */

#define THREADS 24 /* more than there are places for contexts */

static struct siv *shared;

static void *
seal_and_open(void *arg)
{
	unsigned char text[100], sealed[SIV_TAG + sizeof text], back[sizeof text];
	struct siv_purpose p;
	uint32_t seed = *(uint32_t *)arg;

	for (uint32_t i = 0; i < 2000; i++) {
		size_t n = i % sizeof text + 1;

		fill(text, n, seed + i);
		if (!siv_purpose(shared, SPAN("thread"), &p) || !siv_seal(shared, &p, text, n, sealed) ||
		    !siv_open(shared, &p, sealed, n, back) || memcmp(text, back, n) != 0)
			return arg;
	}
	return NULL;
}

static void
test_threads(void **state)
{
	pthread_t thread[THREADS];
	uint32_t seed[THREADS];
	void *failed;

	(void)state;
	shared = siv_new(rfc_key);
	for (size_t i = 0; i < THREADS; i++) {
		seed[i] = (uint32_t)i * 100000;
		assert_int_equal(pthread_create(&thread[i], NULL, seal_and_open, &seed[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	siv_free(shared);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc_example),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_purposes),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
