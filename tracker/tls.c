/* tls.c -- TLS between a socket and conn.c. */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/setup.h"
#include "tracker/tls.h"

#define PEM_MAX (256 * 1024)   /* a chain is some 5 KB */
#define NAME_MAX_BYTES 253
#define TICKET_TURN_S 3600     /* a new key */
#define TICKET_KEYS 3          /* one that makes tickets, and as many before it as tickets may live */
#define TICKET_LIFE_S ((TICKET_KEYS - 1) * TICKET_TURN_S)

/* ---- tickets ---- */

/*
 * One set of keys for all certificates and loops, and for longer than a
 * reload.  They are never on disk: whoever gets the private keys later cannot
 * open what was said before, and neither can who gets the ticket keys of an
 * hour that is long over.
 */
struct ticket_key {
	unsigned char name[16], aes[32], hmac[32];
};

static struct {
	pthread_mutex_t lock;
	struct ticket_key key[TICKET_KEYS]; /* the newest first */
	unsigned n;
	time_t turned;
} tickets = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Monotonic, so that nobody's clock brings old keys back. */
static time_t
uptime(void)
{
	return clock_ms() / 1000;
}

/* Under the lock.  A server that slept for hours has no good old keys. */
static bool
turn_tickets(time_t now)
{
	struct ticket_key fresh;
	time_t age = now - tickets.turned;

	if (tickets.n > 0 && age < TICKET_TURN_S)
		return true;
	if (RAND_bytes((unsigned char *)&fresh, sizeof fresh) != 1)
		return false;
	memmove(&tickets.key[1], &tickets.key[0], sizeof tickets.key - sizeof tickets.key[0]);
	tickets.key[0] = fresh;
	OPENSSL_cleanse(&fresh, sizeof fresh);
	if (tickets.n > 0 && age >= TICKET_LIFE_S)
		tickets.n = 0;
	if (tickets.n < TICKET_KEYS)
		tickets.n++;
	tickets.turned = now;
	OPENSSL_cleanse(&tickets.key[tickets.n], (TICKET_KEYS - tickets.n) * sizeof tickets.key[0]);
	return true;
}

/* The key of a ticket, or for a new one; its age in turns, or -1. */
static int
find_ticket_key(struct ticket_key *key, const unsigned char *name)
{
	int found = -1;

	pthread_mutex_lock(&tickets.lock);
	if (turn_tickets(uptime())) {
		for (unsigned i = 0; i < tickets.n && found < 0; i++)
			if (name == NULL || CRYPTO_memcmp(tickets.key[i].name, name, sizeof tickets.key[i].name) == 0) {
				*key = tickets.key[i];
				found = (int)i;
			}
	}
	pthread_mutex_unlock(&tickets.lock);
	return found;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 0 no such key, 1 good, 2 good but give a new one. */
static int
on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int making)
{
	struct ticket_key key;
	char sha256[] = "SHA256";
	OSSL_PARAM params[3];
	int age, good;

	(void)ssl;
	if ((age = find_ticket_key(&key, making ? NULL : name)) < 0)
		return making ? -1 : 0;
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.hmac, sizeof key.hmac);
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0);
	params[2] = OSSL_PARAM_construct_end();
	if (making) {
		memcpy(name, key.name, sizeof key.name);
		good = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
		       EVP_EncryptInit_ex2(cipher, EVP_aes_256_cbc(), key.aes, iv, NULL) == 1;
	} else
		good = EVP_DecryptInit_ex2(cipher, EVP_aes_256_cbc(), key.aes, iv, NULL) == 1;
	good = good && EVP_MAC_CTX_set_params(mac, params) == 1;
	OPENSSL_cleanse(&key, sizeof key);
	return !good ? -1 : age > 0 ? 2 : 1;
}

/* ---- certificates by name ---- */

/*
 * The first certificate's SSL_CTX is where every handshake begins, and stands
 * for all of them: it owns the table of names, and with it a reference to each
 * other SSL_CTX.  An SSL holds its SSL_CTX, so a reload takes nothing away
 * from anybody.
 */
struct host {
	char *name;     /* lower case, may begin with "*." */
	SSL_CTX *ctx;
	size_t order;   /* of two with one name the first one counts */
};

struct hosts {
	struct host *item;
	size_t n;
	SSL_CTX **other;
	size_t nothers;
};

static int hosts_at = -1; /* in an SSL_CTX's extra data */

static void
hosts_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int at, long argl, void *argp)
{
	struct hosts *all = ptr;

	(void)parent;
	(void)ad;
	(void)at;
	(void)argl;
	(void)argp;
	if (all == NULL)
		return;
	for (size_t i = 0; i < all->n; i++)
		free(all->item[i].name);
	for (size_t i = 0; i < all->nothers; i++)
		SSL_CTX_free(all->other[i]);
	free(all->item);
	free(all->other);
	free(all);
}

static int
by_name(const void *a, const void *b)
{
	const struct host *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d != 0 ? d : x->order < y->order ? -1 : x->order > y->order;
}

static SSL_CTX *
find_host(const struct hosts *all, const char *name)
{
	size_t low = 0, high = all->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(all->item[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < all->n && strcmp(all->item[low].name, name) == 0 ? all->item[low].ctx : NULL;
}

/* A wildcard stands for one whole label (RFC 6125 section 6.4.3). */
static int
on_server_name(SSL *ssl, int *alert, void *arg)
{
	const struct hosts *all = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), hosts_at);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	char lower[NAME_MAX_BYTES + 2];
	SSL_CTX *ctx;
	char *dot;
	size_t n;

	(void)alert;
	(void)arg;
	if (all == NULL || name == NULL || (n = strlen(name)) > NAME_MAX_BYTES)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i <= n; i++)
		lower[i] = ascii_lower(name[i]);
	if ((ctx = find_host(all, lower)) == NULL && (dot = strchr(lower, '.')) != NULL && dot > lower) {
		dot[-1] = '*';
		ctx = find_host(all, dot - 1);
	}
	if (ctx == NULL)
		return SSL_TLSEXT_ERR_NOACK; /* the first certificate, which says itself what it is for */
	if (ctx != SSL_get_SSL_CTX(ssl))
		SSL_set_SSL_CTX(ssl, ctx);
	return SSL_TLSEXT_ERR_OK;
}

/* Without http/1.1 in the offer there is nothing to speak (RFC 7301 section 3.2). */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned inlen, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto((unsigned char **)out, n, ours, sizeof ours - 1, in, inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- reading certificates ---- */

/* What is being read, for messages. */
struct reading {
	const struct conf *conf;
	size_t i;       /* which certificate */
	struct buf *why;
};

static void
complain(const struct reading *r, bool key, const char *what)
{
	const struct list *l = key ? &r->conf->tls_key : &r->conf->tls_cert;
	unsigned long code = ERR_peek_last_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	conf_blame_item(r->conf, key ? "tls_key" : "tls_cert", l, r->i, r->why);
	buf_addf(r->why, "%s: %s", l->item[r->i], what);
	if (reason != NULL)
		buf_addf(r->why, ": %s", reason);
	buf_addc(r->why, '\n');
	ERR_clear_error();
}

static void
wipe(struct buf *b)
{
	if (b->p != NULL)
		explicit_bzero(b->p, b->cap);
	buf_free(b);
}

/* The whole file; all of the memory at once, since a buffer that grows leaves copies behind. */
static bool
read_pem(const struct reading *r, bool key, struct buf *out)
{
	const struct list *l = key ? &r->conf->tls_key : &r->conf->tls_cert;

	buf_init(out, PEM_MAX);
	buf_room(out, PEM_MAX);
	conf_blame_item(r->conf, key ? "tls_key" : "tls_cert", l, r->i, r->why);
	if (!file_read(l->item[r->i], PEM_MAX - 1, out, r->why)) {
		buf_addc(r->why, '\n');
		return false;
	}
	/* All went well: take the line back. */
	while (r->why->n > 0 && r->why->p[r->why->n - 1] != '\n')
		r->why->n--;
	return true;
}

/* A daemon has nobody to ask for a passphrase. */
static int
no_passphrase(char *to, int n, int writing, void *asked)
{
	(void)to;
	(void)n;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static EVP_PKEY *
read_key(const struct reading *r)
{
	struct buf pem;
	EVP_PKEY *key = NULL;
	bool asked = false;
	BIO *bio;

	if (read_pem(r, true, &pem)) {
		bio = BIO_new_mem_buf(pem.p, (int)pem.n);
		if (bio == NULL || (key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked)) == NULL) {
			if (asked)
				ERR_clear_error();
			complain(r, true, asked ? "is encrypted; take the passphrase off" : "not a private key");
		}
		BIO_free(bio);
	}
	wipe(&pem);
	return key;
}

/* The certificate itself, and behind it what leads to a root. */
static X509 *
read_chain(const struct reading *r, STACK_OF(X509) *chain)
{
	struct buf pem;
	X509 *leaf = NULL, *x;
	BIO *bio = NULL;

	if (read_pem(r, false, &pem)) {
		bio = BIO_new_mem_buf(pem.p, (int)pem.n);
		if (bio == NULL || (leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL)) == NULL)
			complain(r, false, "not a certificate");
		while (leaf != NULL && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
			if (sk_X509_push(chain, x) == 0)
				X509_free(x);
		if (leaf != NULL && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
			complain(r, false, "the chain behind the certificate is broken");
			X509_free(leaf);
			leaf = NULL;
		}
		ERR_clear_error();
	}
	BIO_free(bio);
	buf_free(&pem);
	return leaf;
}

/* Nobody would look at it in time otherwise. */
static void
warn_of_age(const struct reading *r, const X509 *leaf)
{
	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0)
		log_warn("tls: %s has expired", r->conf->tls_cert.item[r->i]);
	else if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
		log_warn("tls: %s is not valid yet", r->conf->tls_cert.item[r->i]);
}

static void
add_names(struct hosts *all, SSL_CTX *ctx, const X509 *leaf)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		const char *p;
		char *name;
		int n;

		if (g->type != GEN_DNS)
			continue;
		p = (const char *)ASN1_STRING_get0_data(g->d.dNSName);
		n = ASN1_STRING_length(g->d.dNSName);
		if (n <= 0 || n > NAME_MAX_BYTES || memchr(p, '\0', (size_t)n) != NULL)
			continue;
		name = xstrndup(p, (size_t)n);
		for (char *c = name; *c != '\0'; c++)
			*c = ascii_lower(*c);
		all->item = xreallocarray(all->item, all->n + 1, sizeof *all->item);
		all->item[all->n] = (struct host){ .name = name, .ctx = ctx, .order = all->n };
		all->n++;
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}

static SSL_CTX *
new_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL)
		fatal("tls: cannot begin: %s", ERR_reason_error_string(ERR_get_error()));
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
	SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384");
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	/* What an idle connection does not need it does not have. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Of records that hold no data one is taken at a time: whoever sends nothing else (KeyUpdate) has a turn like others. */
	SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	/* Whoever comes back brings a ticket; a cache here would be one lock for all loops. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"rekindle", 8);
	SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	return ctx;
}

/* The r->i-th pair; NULL with why. */
static SSL_CTX *
load_one(const struct reading *r, struct hosts *all)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	EVP_PKEY *key = read_key(r);
	X509 *leaf = chain != NULL ? read_chain(r, chain) : NULL;
	SSL_CTX *ctx = new_ctx();

	ERR_clear_error();
	if (key == NULL || leaf == NULL)
		goto fail;
	if (X509_check_private_key(leaf, key) != 1) {
		complain(r, true, "is not the key of this certificate");
		goto fail;
	}
	if (SSL_CTX_use_cert_and_key(ctx, leaf, key, chain, 1) != 1) {
		complain(r, false, "cannot be used");
		goto fail;
	}
	warn_of_age(r, leaf);
	add_names(all, ctx, leaf);
	goto done;
fail:
	SSL_CTX_free(ctx);
	ctx = NULL;
done:
	EVP_PKEY_free(key);
	X509_free(leaf);
	sk_X509_pop_free(chain, X509_free);
	return ctx;
}

struct ssl_ctx_st *
tls_load(const struct conf *conf, struct buf *why)
{
	struct reading r = { conf, 0, why };
	struct hosts *all;
	SSL_CTX *first = NULL, *ctx;
	bool good = true;

	if (conf->tls_cert.n == 0)
		return NULL;
	if (hosts_at < 0)
		hosts_at = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, hosts_free);
	all = xcalloc(1, sizeof *all);
	all->other = xcalloc(conf->tls_cert.n, sizeof(SSL_CTX *));
	for (r.i = 0; r.i < conf->tls_cert.n; r.i++) {
		if ((ctx = load_one(&r, all)) == NULL)
			good = false;
		else if (first == NULL)
			first = ctx;
		else
			all->other[all->nothers++] = ctx;
	}
	if (all->n > 0)
		qsort(all->item, all->n, sizeof *all->item, by_name);
	if (first != NULL)
		SSL_CTX_set_ex_data(first, hosts_at, all);
	else
		hosts_free(NULL, all, NULL, 0, 0, NULL);
	if (good)
		return first;
	SSL_CTX_free(first);
	return NULL;
}

struct ssl_ctx_st *
tls_get(struct ssl_ctx_st *ctx)
{
	if (ctx != NULL)
		SSL_CTX_up_ref(ctx);
	return ctx;
}

void
tls_put(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx);
}

/* ---- one connection ---- */

struct ssl_st *
tls_accept(struct ssl_ctx_st *ctx, int fd)
{
	SSL *ssl = SSL_new(ctx);

	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}

int
tls_shake(struct ssl_st *ssl, bool *writes)
{
	int rc, why;

	ERR_clear_error();
	if ((rc = SSL_do_handshake(ssl)) == 1)
		return 1;
	why = SSL_get_error(ssl, rc);
	*writes = why == SSL_ERROR_WANT_WRITE;
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* To errno, as a socket would say it.  Reading never waits for writing, nor the other way round: there is no renegotiation. */
static ssize_t
translate(SSL *ssl, int rc)
{
	switch (SSL_get_error(ssl, rc)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		/* An alert, or an end without one: whatever was half said is worth nothing. */
		ERR_clear_error();
		errno = ECONNRESET;
		return -1;
	}
}

ssize_t
tls_receive(struct ssl_st *ssl, void *to, size_t n)
{
	size_t got;
	int rc;

	ERR_clear_error();
	if ((rc = SSL_read_ex(ssl, to, n, &got)) == 1)
		return (ssize_t)got;
	return translate(ssl, rc);
}

ssize_t
tls_send(struct ssl_st *ssl, const void *from, size_t n)
{
	size_t sent;
	int rc;

	ERR_clear_error();
	if ((rc = SSL_write_ex(ssl, from, n, &sent)) == 1)
		return (ssize_t)sent;
	return translate(ssl, rc);
}

bool
tls_pending(const struct ssl_st *ssl)
{
	return SSL_has_pending(ssl) != 0;
}

void
tls_end(struct ssl_st *ssl)
{
	ERR_clear_error();
	if (SSL_is_init_finished(ssl) && (SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN) == 0)
		(void)SSL_shutdown(ssl);
	ERR_clear_error();
}

void
tls_free(struct ssl_st *ssl)
{
	if (ssl != NULL)
		tls_end(ssl);
	SSL_free(ssl);
}
