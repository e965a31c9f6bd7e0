#include "common/addr.h"

#include <pthread.h>
#include <stdlib.h>

#include <idn2.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <unicase.h>
#include <uninorm.h>

#include "common/codec.h"
#include "common/text.h"

/* A control character, in ASCII or (C1, spelled in UTF-8) above it. */
static bool
has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < ' ' || c == 0x7f)
			return true;
		if (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0)
			return true;
	}
	return false;
}

/* May this stand in a dot-atom?  RFC 5322 atext, and all of UTF-8 beyond ASCII (RFC 6532). */
static bool
is_atext(char c)
{
	return (unsigned char)c > 0x7f || (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_dot_atom(struct span s)
{
	bool dot = true; /* one here would be at the start or the second in a row */

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '.' && !is_atext(s.p[i]))
			return false;
		if (s.p[i] == '.' && dot)
			return false;
		dot = s.p[i] == '.';
	}
	return !dot;
}

/* <> and the source route (RFC 5321 appendix C) say how the mail travels, not whose mailbox it is. */
static struct span
bare(struct span s)
{
	bool literal = false;

	if (span_starts(s, SPAN("<")) && span_ends(s, SPAN(">")))
		s = span_cut(s, 1, s.n - 1);
	if (!span_starts(s, SPAN("@")))
		return s;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '[' || s.p[i] == ']')
			literal = s.p[i] == '[';
		else if (s.p[i] == ':' && !literal)
			return span_from(s, i + 1);
	}
	return s;
}

/*
 * Appends what the local part means: quotes and backslashes taken off.
 * "a.b", "a".b and a.b are one mailbox.  False when a quote stays open, or
 * for what, outside quotes, speaks of a list of addresses.
 */
static bool
unquote(struct buf *out, struct span s)
{
	bool quoted = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"') {
			quoted = !quoted;
			continue;
		}
		if (!quoted && strchr(" <>,", s.p[i]) != NULL)
			return false;
		if (s.p[i] == '\\' && ++i == s.n)
			return false;
		buf_addc(out, s.p[i]);
	}
	return !quoted;
}

/* Appends the content, lower-cased; beyond ASCII case-folded and composed (NFC). */
static bool
fold_case(struct buf *out, struct span s)
{
	if (text_is_ascii(s)) {
		for (size_t i = 0; i < s.n; i++)
			buf_addc(out, ascii_lower(s.p[i]));
		return true;
	}

	size_t n;
	uint8_t *folded = u8_casefold((const uint8_t *)s.p, s.n, NULL, UNINORM_NFC, NULL, &n);

	if (folded == NULL)
		return false;
	buf_add(out, span_make(folded, n));
	free(folded);
	return true;
}

/* Appends the content as a local part: quoted only when it has to be. */
static void
quote(struct buf *out, struct span s)
{
	if (is_dot_atom(s)) {
		buf_add(out, s);
		return;
	}
	buf_addc(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_addc(out, '\\');
		buf_addc(out, s.p[i]);
	}
	buf_addc(out, '"');
}

static bool
add_local(struct buf *out, struct span local)
{
	struct buf meant = BUF(ADDR_MAX), folded = BUF(4 * ADDR_MAX);
	bool ok = unquote(&meant, local) && meant.n > 0 && fold_case(&folded, buf_span(&meant)) && !folded.over;

	if (ok)
		quote(out, buf_span(&folded));
	buf_free(&meant);
	buf_free(&folded);
	return ok;
}

/* Appends in lower case.  False for characters that no domain has, and for empty labels. */
static bool
add_ascii_domain(struct buf *out, struct span s)
{
	bool dot = true;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c <= ' ' || c > '~' || strchr("()<>@,;:\\\"[]", c) != NULL || (c == '.' && dot))
			return false;
		dot = c == '.';
		buf_addc(out, ascii_lower(c));
	}
	return !dot;
}

/* [192.0.2.1], [IPv6:2001:db8::1] */
static bool
add_literal(struct buf *out, struct span s)
{
	struct span inside = span_cut(s, 1, s.n - 1);

	if (inside.n == 0 || !span_ends(s, SPAN("]")))
		return false;
	for (size_t i = 0; i < inside.n; i++) {
		if (inside.p[i] <= ' ' || inside.p[i] > '~' || strchr("[]\\\"@<>", inside.p[i]) != NULL)
			return false;
	}
	for (size_t i = 0; i < s.n; i++)
		buf_addc(out, ascii_lower(s.p[i]));
	return true;
}

bool
addr_host(struct buf *out, struct span s)
{
	struct buf text = BUF(ADDR_MAX);
	uint8_t *found = NULL;
	bool ok = false;

	buf_add(&text, s);
	if (idn2_lookup_u8((const uint8_t *)buf_cstr(&text), &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) ==
	    IDN2_OK) {
		struct span a = span_of((char *)found);

		ok = add_ascii_domain(out, a.n > 1 && span_ends(a, SPAN(".")) ? span_cut(a, 0, a.n - 1) : a);
	}
	idn2_free(found);
	buf_free(&text);
	return ok;
}

/*
 * An ASCII domain is in its normal form once it is in lower case, A-labels
 * too; IDNA has no say in it, for it would refuse names that have mail, such
 * as those with an underscore or with hyphens in third and fourth place.
 */
static bool
add_domain(struct buf *out, struct span s)
{
	if (span_starts(s, SPAN("[")))
		return add_literal(out, s);
	if (text_is_ascii(s))
		return add_ascii_domain(out, s.n > 1 && span_ends(s, SPAN(".")) ? span_cut(s, 0, s.n - 1) : s);

	return addr_host(out, s);
}

/* Index of the @ before the domain, or n.  The local part may have others, the domain has none. */
static size_t
last_at(struct span s)
{
	size_t i = s.n;

	while (i > 0 && s.p[i - 1] != '@')
		i--;
	return i > 0 ? i - 1 : s.n;
}

bool
addr_normalise(struct buf *out, struct span address)
{
	struct buf normal = BUF(ADDR_MAX);
	bool ok = false;

	if (address.n > ADDR_MAX || has_control(address) || !text_is_utf8(address))
		return false;

	struct span s = bare(address);
	size_t at = last_at(s);

	if (at < s.n && add_local(&normal, span_cut(s, 0, at))) {
		buf_addc(&normal, '@');
		ok = add_domain(&normal, span_from(s, at + 1)) && !normal.over;
	}
	if (ok) {
		size_t before = out->n;

		buf_add(out, buf_span(&normal));
		ok = out->n - before == normal.n;
	}
	buf_free(&normal);
	return ok;
}

struct span
addr_domain(struct span normal)
{
	return span_from(normal, last_at(normal) + 1);
}

/*
 * Finding HMAC and SHA-256 by their names costs several times what the digest
 * does, and making a context as much as the digest.  So the first is done
 * once, and each thread keeps a context of its own, a copy; the key is set
 * anew for every digest.
 */
static EVP_MAC_CTX *unkeyed;
static pthread_key_t own;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
free_own(void *c)
{
	EVP_MAC_CTX_free(c);
}

static void
make_unkeyed(void)
{
	char sha256[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0), OSSL_PARAM_construct_end()
	};
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	unkeyed = EVP_MAC_CTX_new(hmac);
	EVP_MAC_free(hmac); /* the context holds it */
	if (unkeyed == NULL || EVP_MAC_CTX_set_params(unkeyed, params) != 1 || pthread_key_create(&own, free_own) != 0)
		abort();
}

static EVP_MAC_CTX *
own_context(void)
{
	EVP_MAC_CTX *c;

	pthread_once(&once, make_unkeyed);
	if ((c = pthread_getspecific(own)) == NULL && (c = EVP_MAC_CTX_dup(unkeyed)) != NULL && pthread_setspecific(own, c) != 0)
		abort();
	return c;
}

/* No memory for a digest of a few bytes is the end, as everywhere (mem.h). */
static void
keyed(const struct keys *k, struct span text, unsigned char digest[32])
{
	EVP_MAC_CTX *c = own_context();
	size_t n = 0;

	if (c == NULL || EVP_MAC_init(c, k->identity, sizeof k->identity, NULL) != 1 ||
	    EVP_MAC_update(c, (const unsigned char *)text.p, text.n) != 1 || EVP_MAC_final(c, digest, &n, 32) != 1 || n != 32)
		abort();
}

bool
addr_who(const struct keys *k, struct span address, struct who *w)
{
	struct buf normal = BUF(ADDR_MAX);
	unsigned char digest[32];
	bool ok = addr_normalise(&normal, address);

	if (ok) {
		keyed(k, buf_span(&normal), digest);
		memcpy(w->b, digest, sizeof w->b);
	}
	buf_free(&normal);
	return ok;
}

/*
 * No normal form of an address has a NUL, so no label can be mistaken for
 * one; the stream's length keeps ("ab", "c") and ("a", "bc") apart.
 */
static uint64_t
name_id(const struct keys *k, const char *label, struct span stream, struct span campaign)
{
	struct buf text = BUF(64 + stream.n + campaign.n);
	unsigned char length[8], digest[32];

	put_u64(length, stream.n);
	buf_adds(&text, label);
	buf_addc(&text, '\0');
	buf_add(&text, span_make(length, sizeof length));
	buf_add(&text, stream);
	buf_add(&text, campaign);
	keyed(k, buf_span(&text), digest);
	buf_free(&text);

	uint64_t id = get_u64(digest);

	return id ? id : 1;
}

uint64_t
stream_id(const struct keys *k, struct span stream)
{
	return name_id(k, "stream", stream, SPAN(""));
}

uint64_t
campaign_id(const struct keys *k, struct span stream, struct span campaign)
{
	return name_id(k, "campaign", stream, campaign);
}

uint32_t
receiver_id(const struct keys *k, struct span group)
{
	uint32_t id = (uint32_t)name_id(k, "receiver", group, SPAN(""));

	return id ? id : 1;
}
