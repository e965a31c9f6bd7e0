/* http.h -- a strict HTTP/1.1 request reader over bytes that may arrive one at a time.  Pure. */
#ifndef REKINDLE_HTTP_H
#define REKINDLE_HTTP_H

#include <stdint.h>

#include "common/buf.h"

#define HTTP_LINE_MAX 4608 /* request line without CRLF: the longest token, an absolute URL around it, some query */
#define HTTP_HEAD_MAX 8192 /* request line and fields, with the empty line that ends them */
#define HTTP_FIELDS_MAX 64
#define HTTP_BODY_MAX 4096
#define HTTP_CHUNKED_MAX 8192 /* a body in chunks, as it is sent: sizes, extensions and trailers are bytes too */
#define HTTP_INPUT_MAX (HTTP_HEAD_MAX + HTTP_CHUNKED_MAX) /* the most that one request may need at once */

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OPTIONS, HTTP_OTHER };

/*
 * Where the search for the end of the head has got to, so that bytes which
 * trickle in are looked at once.  All zero for a new request.  Offsets, not
 * pointers: the bytes may move between calls.
 */
struct http_scan {
	uint16_t at;     /* bytes looked at */
	uint16_t line;   /* start of the line that `at` is in */
	uint16_t lines;  /* complete lines before it */
	bool cr;         /* the last one was a CR */
	bool began;      /* an empty line in front was skipped, or cannot come any more */
};

/* Spans point into the bytes that were read, and are empty when the header is absent. */
struct http_request {
	unsigned status;         /* of a refusal */
	enum http_method method;
	bool http10;
	bool keep;               /* the client would like to go on */
	bool expects;            /* waits for 100 Continue before it sends its body */
	bool chunked;            /* how long the body is, http_chunked tells; length is 0 */
	struct span path, query; /* path as sent, without the query; query without "?" */
	struct span host;        /* of the target when that is absolute, else of the Host field (RFC 9112 section 3.2.2) */
	struct span agent, sec_purpose, purpose, x_purpose, x_moz, content_type, accept_language;
	size_t length;           /* of the body, at most HTTP_BODY_MAX */
};

/*
 * Reads one head from the start of in.  > 0: its length, the body follows.
 * 0: need more; call again with more bytes and the same scan.  -1: refused,
 * answer request->status and close, since where the next request would begin
 * is anybody's guess.  The answer does not depend on how the bytes arrived.
 */
int http_read(struct http_scan *, struct http_request *, struct span in);

/* Where the reading of a body in chunks (RFC 9112 section 7.1) has got to; all zero for a new one. */
struct http_chunks {
	uint16_t at;     /* bytes looked at */
	uint16_t left;   /* of the chunk that `at` is in */
	uint16_t length; /* of the chunks so far, together */
	uint16_t status; /* of a refusal */
	uint8_t state, digits;
};

/*
 * Reads a body in chunks from the start of in, which begins behind the head.
 * > 0: its length with the trailer section, which is read strictly and then
 * forgotten.  0: need more; call again with more bytes and the same chunks.
 * -1: refused, 400 or 413 in status, close.
 */
int http_chunked(struct http_chunks *, struct span in);
/* Moves what is in the chunks to the front of n bytes that http_chunked took, and returns how much it is. */
size_t http_unchunk(char *, size_t n);

/*
 * The path with those escapes undone that mean the same as the bytes they
 * stand for: letters, digits, "-._~" (RFC 3986 section 6.2.2.2).  No other
 * escape is touched, nothing is decoded twice, "." and ".." are no places.
 * Mostly the path itself; else bytes of scratch.
 */
struct span http_path(struct buf *scratch, struct span path);

/* "Not Found"; "Error" for a status that we never send. */
const char *http_reason(unsigned status);

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7) */
#define HTTP_DATE_BYTES 30
void http_date(char out[HTTP_DATE_BYTES], int64_t seconds);

#endif
