/* tls.h -- TLS between a socket and conn.c: certificates by name, tickets, and what looks like recv(2) and send(2). */
#ifndef REKINDLE_TLS_H
#define REKINDLE_TLS_H

#include <sys/types.h>

#include "common/conf.h"

/* OpenSSL's SSL_CTX and SSL; nobody but tls.c looks inside. */
struct ssl_ctx_st;
struct ssl_st;

/*
 * Reads and checks all of tls_cert and tls_key, as the user whom we run as:
 * what cannot be read now could not be read on a reload either.  NULL with
 * all faults in why, one per line, as "FILE:LINE: tls_cert: ..."; or NULL without any, when there are none to read.
 * TLS 1.2 and 1.3 (RFC 8446), ALPN http/1.1 (RFC 7301), the first certificate
 * whose name fits by SNI (RFC 6066), else the first of all; tickets
 * (RFC 5077) whose keys live in memory and are replaced every hour.
 */
struct ssl_ctx_st *tls_load(const struct conf *, struct buf *why);
/* From any thread; NULL is fine. */
struct ssl_ctx_st *tls_get(struct ssl_ctx_st *);
void tls_put(struct ssl_ctx_st *);

/* The socket stays the caller's.  NULL when memory is short. */
struct ssl_st *tls_accept(struct ssl_ctx_st *, int fd);
/* 1: done; 0: again when the socket can be read, or written when *writes; -1: close it. */
int tls_shake(struct ssl_st *, bool *writes);
/* As recv(2) and send(2), with errno.  A send of which not all was taken is repeated with the same bytes. */
ssize_t tls_receive(struct ssl_st *, void *, size_t);
ssize_t tls_send(struct ssl_st *, const void *, size_t);
/* Is there something to receive of which the socket no longer knows? */
bool tls_pending(const struct ssl_st *);
/* No more will be sent: says so, as well as the socket allows right now. */
void tls_end(struct ssl_st *);
void tls_free(struct ssl_st *);

#endif
