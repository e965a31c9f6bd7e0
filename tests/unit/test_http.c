/* test_http.c -- what the request reader takes, what it refuses, and that neither depends on how the bytes arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tracker/http.h"

#define GET11 "GET / HTTP/1.1\r\nHost: t\r\n"
#define BYTES(literal) literal, sizeof(literal) - 1

struct row {
	const char *says;
	const char *in;
	size_t n;        /* of in; 0: a C string */
	unsigned status; /* 0: taken */
	enum http_method method;
	const char *path;
	bool keep;
	size_t length;
};

static const struct row rows[] = {
	{ "the plain request", GET11 "\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "a path and a query", "GET /c/abc?x=1?2 HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_GET, "/c/abc", true, 0 },
	{ "HEAD", "HEAD /o/a.gif HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_HEAD, "/o/a.gif", true, 0 },
	{ "a known method that we do not do", "DELETE /x HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_OTHER, "/x", true, 0 },
	{ "OPTIONS of the server", "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_OPTIONS, "*", true, 0 },
	{ "OPTIONS of a path", "OPTIONS /u HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_OPTIONS, "/u", true, 0 },
	{ "CONNECT to a path", "CONNECT /u HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "CONNECT to a host", "CONNECT t:443 HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_OTHER, "", true, 0 },
	{ "an unknown method", "BREW / HTTP/1.1\r\nHost: t\r\n\r\n", 0, 501, 0, NULL, false, 0 },
	{ "methods know letter case", "get / HTTP/1.1\r\nHost: t\r\n\r\n", 0, 501, 0, NULL, false, 0 },
	{ "a method that is no token", "GE(T / HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "no method", " / HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "asterisk with another method", "GET * HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "absolute form", "GET http://t:80/a?b HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_GET, "/a", true, 0 },
	{ "absolute form without a path", "GET HTTPS://t HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "absolute form, query at once", "GET http://t?x HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "absolute form without a host", "GET http:///a HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "absolute form with a user", "GET http://u@t/a HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "absolute form with a port that is none", "GET http://t:x/a HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "absolute form with only a port", "GET http://:80/a HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "absolute form still needs a Host", "GET http://t/a HTTP/1.1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "another scheme", "GET ftp://t/a HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a relative target", "GET a HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a fragment", "GET /a#b HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a quotation mark in the target", "GET /a\"b HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "UTF-8 in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an escape", "GET /%2f HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_GET, "/%2f", true, 0 },
	{ "half an escape", "GET /%2 HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an escape of no digit", "GET /%2g HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "two spaces", "GET  / HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a space in the target", "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a tab for a space", "GET\t/ HTTP/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a space after the version", "GET / HTTP/1.1 \r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "no version (HTTP/0.9)", "GET /\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "HTTP/1.0 needs no Host and closes", "GET / HTTP/1.0\r\n\r\n", 0, 0, HTTP_GET, "/", false, 0 },
	{ "HTTP/1.0 may ask to stay", "GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "HTTP/2.0", "GET / HTTP/2.0\r\nHost: t\r\n\r\n", 0, 505, 0, NULL, false, 0 },
	{ "HTTP/0.9 by name", "GET / HTTP/0.9\r\nHost: t\r\n\r\n", 0, 505, 0, NULL, false, 0 },
	{ "HTTP/1.2 is read as 1.1", "GET / HTTP/1.2\r\nHost: t\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 0, 505, 0, NULL, false, 0 },
	{ "HTTP/1.10", "GET / HTTP/1.10\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "http/1.1", "GET / http/1.1\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "close", GET11 "connection: foo , CLOSE\r\n\r\n", 0, 0, HTTP_GET, "/", false, 0 },
	{ "close beats keep-alive", GET11 "Connection: keep-alive\r\nConnection: close\r\n\r\n", 0, 0, HTTP_GET, "/", false, 0 },
	{ "no Host on 1.1", "GET / HTTP/1.1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "two Hosts", GET11 "Host: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "two Hosts on 1.0", "GET / HTTP/1.0\r\nHost: t\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "an IPv6 Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "an IPv6 Host that does not end", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an IPv6 Host with more behind", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a Host with two ports", "GET / HTTP/1.1\r\nHost: t:80:81\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a Host with a port of letters", "GET / HTTP/1.1\r\nHost: t:http\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a Host with a user", "GET / HTTP/1.1\r\nHost: u@t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a Host with half an escape", "GET / HTTP/1.1\r\nHost: t%2\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a Host with a path", "GET / HTTP/1.1\r\nHost: t/a\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an empty line in front", "\r\n" GET11 "\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "two empty lines in front", "\r\n\r\n" GET11 "\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a bare LF after the request line", "GET / HTTP/1.1\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a bare LF after a field", "GET / HTTP/1.1\r\nHost: t\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a bare LF at the end", GET11 "\n", 0, 400, 0, NULL, false, 0 },
	{ "a bare CR in a value", "GET / HTTP/1.1\r\nHost: t\rX: y\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "CR CR LF", "GET / HTTP/1.1\r\r\nHost: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a NUL in a value", BYTES(GET11 "X: a\0b\r\n\r\n"), 400, 0, NULL, false, 0 },
	{ "a NUL in the target", BYTES("GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n"), 400, 0, NULL, false, 0 },
	{ "an escape character", GET11 "X: \x1b[0m\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "DEL", GET11 "X: \x7f\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a tab and bytes beyond ASCII in a value", GET11 "X: a\tb\xff\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "a folded line", GET11 "X: a\r\n b\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a folded line at once", "GET / HTTP/1.1\r\n Host: t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a line of one space", GET11 " \r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a space before the colon", "GET / HTTP/1.1\r\nHost : t\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "no name", GET11 ": x\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "no colon", GET11 "X\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a name that is no token", GET11 "X@: y\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a POST with a body", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 26\r\n\r\n", 0, 0, HTTP_POST, "/u", true, 26 },
	{ "a POST without one", "POST /u HTTP/1.1\r\nHost: t\r\n\r\n", 0, 0, HTTP_POST, "/u", true, 0 },
	{ "the largest body", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 4096\r\n\r\n", 0, 0, HTTP_POST, "/u", true, 4096 },
	{ "a byte more", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 4097\r\n\r\n", 0, 413, 0, NULL, false, 0 },
	{ "a body beyond 64 bits", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551617\r\n\r\n", 0, 413, 0, NULL, false, 0 },
	{ "zeros in front", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 0026\r\n\r\n", 0, 0, HTTP_POST, "/u", true, 26 },
	{ "a GET with a body", GET11 "Content-Length: 1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a GET with an empty body", GET11 "Content-Length: 0\r\n\r\n", 0, 0, HTTP_GET, "/", true, 0 },
	{ "two lengths", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "the same length twice", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a list of lengths", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 1, 1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a signed length", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a negative length", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a hexadecimal length", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 0x1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an empty length", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, HTTP_POST, "/u", true, 0 },
	{ "chunked, in capitals", "POST /u HTTP/1.1\r\nHost: t\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n", 0, 0, HTTP_POST, "/u", true, 0 },
	{ "another coding in front", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 0, 501, 0, NULL, false, 0 },
	{ "another coding in front, in two lines", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 501, 0, NULL, false, 0 },
	{ "another coding behind", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "another coding alone", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "almost chunked", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked with a parameter", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked in quotes", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked twice", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked in two lines", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked and an empty coding", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked,\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "no coding", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "no coding, and chunked", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked, and no coding", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: \r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a space before the colon of the coding", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding : chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a vertical tab before chunked", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \vchunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a GET in chunks", GET11 "Transfer-Encoding: chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked and a length", "POST /u HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "a length and chunked", "POST /u HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "chunked on 1.0", "POST /u HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, NULL, false, 0 },
	{ "an expectation of something else", GET11 "Expect: magic\r\n\r\n", 0, 417, 0, NULL, false, 0 },
};

struct outcome {
	int n;
	struct http_request r;
};

/* Bytes arrive up to `first`, then `step` at a time; at different addresses each time, as after a move. */
static struct outcome
feed(struct span in, size_t first, size_t step)
{
	struct http_scan scan = { 0 };
	struct outcome o = { 0 };

	for (size_t have = first < in.n ? first : in.n; have <= in.n; have = have + step > in.n && have < in.n ? in.n : have + step) {
		char *copy = malloc(have + 1);

		memcpy(copy, in.p, have);
		o.n = http_read(&scan, &o.r, span_make(copy, have));
		free(copy);
		if (o.n != 0)
			break;
	}
	if (o.n > 0) {
		struct http_scan fresh = { 0 };
		int again = http_read(&fresh, &o.r, in);

		assert_int_equal(again, o.n);
	}
	return o;
}

static void
check_row(const struct row *row, struct outcome o, size_t total)
{
	if (row->status != 0) {
		if (o.n != -1 || o.r.status != row->status)
			fail_msg("%s: %d, status %u", row->says, o.n, o.r.status);
		return;
	}
	if (o.n != (int)total)
		fail_msg("%s: %d, status %u", row->says, o.n, o.r.status);
	if (o.r.method != row->method || !span_eq(o.r.path, span_of(row->path)) || o.r.keep != row->keep ||
	    o.r.length != row->length)
		fail_msg("%s: method %d path %.*s keep %d length %zu", row->says, o.r.method, SPAN_ARG(o.r.path), o.r.keep,
		    o.r.length);
}

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct span in = rows[i].n ? span_make(rows[i].in, rows[i].n) : span_of(rows[i].in);

		check_row(&rows[i], feed(in, in.n, 1), in.n);
		check_row(&rows[i], feed(in, 0, 1), in.n);
		for (size_t split = 0; split < in.n; split++)
			check_row(&rows[i], feed(in, split, in.n - split), in.n);
	}
}

static void
test_every_prefix_needs_more(void **state)
{
	struct span in = SPAN("POST /u/x HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc");
	struct http_request r;

	(void)state;
	for (size_t n = 0; n < in.n - 3; n++) {
		struct http_scan scan = { 0 };

		assert_int_equal(http_read(&scan, &r, span_cut(in, 0, n)), 0);
	}
}

static void
test_fields(void **state)
{
	struct span in = SPAN("GET /x HTTP/1.1\r\nhOST: t.example:80\r\nUser-Agent: \t A (b)  \r\nSec-Purpose:prefetch;prerender\r\n"
	    "Purpose: p\r\nX-Purpose: q\r\nX-Moz: m\r\nContent-Type: a/b\r\nUser-Agent: second\r\n\r\nrest");
	struct http_scan scan = { 0 };
	struct http_request r;

	(void)state;
	assert_int_equal(http_read(&scan, &r, in), (int)in.n - 4);
	assert_true(span_eq(r.host, SPAN("t.example:80")));
	assert_true(span_eq(r.agent, SPAN("A (b)")));
	assert_true(span_eq(r.sec_purpose, SPAN("prefetch;prerender")));
	assert_true(span_eq(r.purpose, SPAN("p")));
	assert_true(span_eq(r.x_purpose, SPAN("q")));
	assert_true(span_eq(r.x_moz, SPAN("m")));
	assert_true(span_eq(r.content_type, SPAN("a/b")));
}

static void
test_expect(void **state)
{
	static const struct {
		const char *says, *in;
		bool expects;
	} cases[] = {
		{ "with a body to come", "POST /u HTTP/1.1\r\nHost: t\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", true },
		{ "with chunks to come", "POST /u HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", true },
		{ "without a body there is nothing to wait for", "POST /u HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n", false },
		{ "HTTP/1.0 does not know it", "POST /u HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct http_scan scan = { 0 };
		struct http_request r;

		if (http_read(&scan, &r, span_of(cases[i].in)) <= 0 || r.expects != cases[i].expects)
			fail_msg("%s", cases[i].says);
	}
}

/* A request line of n bytes, a Host, `fields` further fields, and padding up to a head of `head` bytes. */
static struct span
make_head(char *out, size_t line, unsigned fields, size_t head)
{
	size_t n = (size_t)sprintf(out, "GET /");

	while (n < line - 9)
		out[n++] = 'a';
	n += (size_t)sprintf(out + n, " HTTP/1.1\r\nHost: t\r\n");
	for (unsigned i = 0; i < fields; i++)
		n += (size_t)sprintf(out + n, "X: y\r\n");
	if (head > 0) {
		n += (size_t)sprintf(out + n, "P: ");
		while (n < head - 4)
			out[n++] = 'p';
		n += (size_t)sprintf(out + n, "\r\n");
	}
	n += (size_t)sprintf(out + n, "\r\n");
	return span_make(out, n);
}

static void
test_limits(void **state)
{
	static const struct {
		const char *says;
		size_t line;
		unsigned fields;
		size_t head;
		unsigned status;
	} cases[] = {
		{ "the longest request line", HTTP_LINE_MAX, 0, 0, 0 },
		{ "a byte longer", HTTP_LINE_MAX + 1, 0, 0, 414 },
		{ "most fields, Host among them", 20, HTTP_FIELDS_MAX - 1, 0, 0 },
		{ "one more", 20, HTTP_FIELDS_MAX, 0, 431 },
		{ "the largest head", 20, 0, HTTP_HEAD_MAX, 0 },
		{ "a byte larger", 20, 0, HTTP_HEAD_MAX + 1, 431 },
		{ "far larger", 20, 0, 3 * HTTP_HEAD_MAX, 431 },
	};
	static char text[4 * HTTP_HEAD_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct span in = make_head(text, cases[i].line, cases[i].fields, cases[i].head);
		const size_t steps[] = { in.n, 1, 7, 1000, 4096 };

		for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
			struct outcome o = feed(in, steps[k], steps[k]);

			if (cases[i].status == 0 ? o.n != (int)in.n : o.n != -1 || o.r.status != cases[i].status)
				fail_msg("%s, %zu at a time: %d, status %u", cases[i].says, steps[k], o.n, o.r.status);
		}
	}
}

static void
test_an_endless_line_is_refused_before_it_ends(void **state)
{
	static char text[HTTP_INPUT_MAX];
	struct http_scan scan = { 0 };
	struct http_request r;

	(void)state;
	memset(text, 'a', sizeof text);
	assert_int_equal(http_read(&scan, &r, span_make(text, HTTP_LINE_MAX)), 0);
	assert_int_equal(http_read(&scan, &r, span_make(text, HTTP_LINE_MAX + 1)), -1);
	assert_int_equal(r.status, 414);
}

/* Sixteen bytes at a time, every byte is judged the same wherever it is. */
static void
test_every_byte_everywhere(void **state)
{
	char text[256];

	(void)state;
	for (unsigned byte = 0; byte < 256; byte++)
		for (size_t before = 0; before < 40; before++) {
			size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: t\r\nX: "), whole;
			bool good = byte == '\t' || (byte >= ' ' && byte != 0x7f);

			memset(text + n, 'a', 48);
			text[n + before] = (char)byte;
			n += 48;
			memcpy(text + n, "\r\n\r\n", 4);
			whole = n + 4;

			struct outcome o = feed(span_make(text, whole), whole, 1), slow = feed(span_make(text, whole), 0, 1);

			if ((o.n == (int)whole) != good || o.n != slow.n || o.r.status != slow.r.status)
				fail_msg("byte %02x behind %zu: %d, status %u", byte, before, o.n, o.r.status);
		}
}

static void
test_pipelined(void **state)
{
	struct span in = SPAN("GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\n");
	struct http_scan scan = { 0 };
	struct http_request r;
	int n;

	(void)state;
	n = http_read(&scan, &r, in);
	assert_int_equal(n, 28);
	assert_true(span_eq(r.path, SPAN("/1")));
	scan = (struct http_scan){ 0 };
	assert_int_equal(http_read(&scan, &r, span_from(in, (size_t)n)), 28);
	assert_true(span_eq(r.path, SPAN("/2")));
}

/* The target says where, even when the Host field says something else. */
static void
test_host(void **state)
{
	struct span in = SPAN("GET http://a.example:80/x HTTP/1.1\r\nHost: b.example\r\n\r\n");
	struct http_scan scan = { 0 };
	struct http_request r;

	(void)state;
	assert_int_equal(http_read(&scan, &r, in), (int)in.n);
	assert_true(span_eq(r.host, SPAN("a.example:80")));
}

/* ---- bodies in chunks ---- */

static const struct chunk_row {
	const char *says, *in;
	unsigned status; /* 0: taken */
	const char *body;
} chunk_rows[] = {
	{ "nothing", "0\r\n\r\n", 0, "" },
	{ "one chunk", "3\r\nabc\r\n0\r\n\r\n", 0, "abc" },
	{ "several", "3\r\nabc\r\n1\r\nd\r\n2\r\nef\r\n0\r\n\r\n", 0, "abcdef" },
	{ "line breaks in it", "6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", 0, "\r\n0\r\n\r" },
	{ "a size of two digits, either case", "A\r\n0123456789\r\n0b\r\n0123456789a\r\n00\r\n\r\n", 0, "01234567890123456789a" },
	{ "sixteen digits", "0000000000000001\r\na\r\n0\r\n\r\n", 0, "a" },
	{ "one more", "00000000000000001\r\na\r\n0\r\n\r\n", 400, NULL },
	{ "beyond any number", "ffffffffffffffff\r\n", 413, NULL },
	{ "an extension", "1;a=b;c=\"d e\"\r\na\r\n0;x\r\n\r\n", 0, "a" },
	{ "an extension with a bare LF", "1;a\na\r\n0\r\n\r\n", 400, NULL },
	{ "an extension with a bare CR", "1;a\ra\r\n0\r\n\r\n", 400, NULL },
	{ "trailers", "1\r\na\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n", 0, "a" },
	{ "a folded trailer", "0\r\nX: y\r\n z\r\n\r\n", 400, NULL },
	{ "a trailer without a colon", "0\r\nX\r\n\r\n", 400, NULL },
	{ "a trailer without a name", "0\r\n: y\r\n\r\n", 400, NULL },
	{ "a trailer with a space before the colon", "0\r\nX : y\r\n\r\n", 400, NULL },
	{ "a trailer with a bare LF", "0\r\nX: y\n\r\n", 400, NULL },
	{ "no size", "\r\n", 400, NULL },
	{ "no size but an extension", ";a\r\n", 400, NULL },
	{ "a size with a sign", "+1\r\na\r\n0\r\n\r\n", 400, NULL },
	{ "a size with 0x", "0x1\r\na\r\n0\r\n\r\n", 400, NULL },
	{ "a size behind a space", " 1\r\na\r\n0\r\n\r\n", 400, NULL },
	{ "a size before a space", "1 \r\na\r\n0\r\n\r\n", 400, NULL },
	{ "a size with a bare LF", "1\na\r\n0\r\n\r\n", 400, NULL },
	{ "more data than it said", "1\r\nab\r\n0\r\n\r\n", 400, NULL },
	{ "less", "2\r\na\r\n0\r\n\r\n", 400, NULL },
	{ "data that ends with a bare LF", "1\r\na\n0\r\n\r\n", 400, NULL },
	{ "data that ends with CR CR", "1\r\na\r\r0\r\n\r\n", 400, NULL },
	{ "an end with a bare LF", "0\r\n\n", 400, NULL },
};

struct chunk_outcome {
	int n;
	unsigned status;
};

static struct chunk_outcome
feed_chunks(struct span in, size_t step)
{
	struct http_chunks chunks = { 0 };
	int n = 0;

	for (size_t have = step < in.n ? step : in.n;; have = in.n - have < step ? in.n : have + step) {
		char *copy = malloc(have + 1);

		memcpy(copy, in.p, have);
		n = http_chunked(&chunks, span_make(copy, have));
		free(copy);
		if (n != 0 || have == in.n)
			return (struct chunk_outcome){ n, chunks.status };
	}
}

static void
test_chunks(void **state)
{
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof chunk_rows / sizeof *chunk_rows; i++) {
		const struct chunk_row *row = &chunk_rows[i];
		struct span in = span_of(row->in);
		size_t n;

		for (size_t step = 1; step <= in.n; step++) {
			/* What follows is the next request's. */
			snprintf(text, sizeof text, "%s%s", row->in, row->status == 0 ? "GET /" : "");

			struct chunk_outcome o = feed_chunks(span_of(text), step);

			if (row->status == 0 ? o.n != (int)in.n : o.n != -1 || o.status != row->status)
				fail_msg("%s, %zu at a time: %d, status %u", row->says, step, o.n, o.status);
		}
		if (row->status != 0)
			continue;
		memcpy(text, in.p, in.n);
		n = http_unchunk(text, in.n);
		if (!span_eq(span_make(text, n), span_of(row->body)))
			fail_msg("%s: %.*s", row->says, (int)n, text);
	}
}

static void
test_every_prefix_of_chunks_needs_more(void **state)
{
	struct span in = SPAN("3;x\r\nabc\r\n0\r\nX: y\r\n\r\n");

	(void)state;
	for (size_t n = 0; n < in.n; n++) {
		struct http_chunks chunks = { 0 };

		assert_int_equal(http_chunked(&chunks, span_cut(in, 0, n)), 0);
	}
}

/* Chunks of `size` bytes up to `total`, then an extension that makes all of it `raw` bytes long (0: none). */
static struct span
make_chunks(char *out, size_t size, size_t total, size_t raw)
{
	size_t n = 0;

	for (size_t done = 0; done < total;) {
		size_t piece = total - done < size ? total - done : size;

		n += (size_t)sprintf(out + n, "%zx\r\n", piece);
		memset(out + n, 'a', piece);
		n += piece;
		n += (size_t)sprintf(out + n, "\r\n");
		done += piece;
	}
	out[n++] = '0';
	if (raw > 0) {
		out[n++] = ';';
		while (n < raw - 4)
			out[n++] = 'x';
	}
	n += (size_t)sprintf(out + n, "\r\n\r\n");
	return span_make(out, n);
}

static void
test_limits_of_chunks(void **state)
{
	static const struct {
		const char *says;
		size_t size, total, raw;
		unsigned status;
	} cases[] = {
		{ "the largest body, in one", HTTP_BODY_MAX, HTTP_BODY_MAX, 0, 0 },
		{ "a byte more", HTTP_BODY_MAX + 1, HTTP_BODY_MAX + 1, 0, 413 },
		{ "the largest body, in some", 100, HTTP_BODY_MAX, 0, 0 },
		{ "a byte more", 100, HTTP_BODY_MAX + 1, 0, 413 },
		{ "as much around it as there may be", 100, 1000, HTTP_CHUNKED_MAX, 0 },
		{ "a byte more", 100, 1000, HTTP_CHUNKED_MAX + 1, 413 },
		{ "single bytes", 1, HTTP_BODY_MAX, 0, 413 },
		{ "an endless extension", 1, 1, 4 * HTTP_CHUNKED_MAX, 413 },
	};
	static char text[8 * HTTP_CHUNKED_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct span in = make_chunks(text, cases[i].size, cases[i].total, cases[i].raw);
		const size_t steps[] = { in.n, 1, 7, 1000, HTTP_CHUNKED_MAX };

		for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
			struct chunk_outcome o = feed_chunks(in, steps[k]);

			if (cases[i].status == 0 ? o.n != (int)in.n : o.n != -1 || o.status != cases[i].status)
				fail_msg("%s, %zu at a time: %d, status %u", cases[i].says, steps[k], o.n, o.status);
		}
		if (cases[i].status == 0)
			assert_int_equal(http_unchunk(text, in.n), cases[i].total);
	}
}

/* The reader may not wait for a byte that it would have no room for. */
static void
test_a_full_buffer_is_refused(void **state)
{
	static char text[HTTP_CHUNKED_MAX];
	struct http_chunks chunks = { 0 };

	(void)state;
	memset(text, 'x', sizeof text);
	memcpy(text, "1;", 2);
	assert_int_equal(http_chunked(&chunks, span_make(text, sizeof text - 1)), 0);
	assert_int_equal(http_chunked(&chunks, span_make(text, sizeof text)), -1);
	assert_int_equal(chunks.status, 413);
}

static void
test_path(void **state)
{
	static const struct {
		const char *says, *in, *out;
	} cases[] = {
		{ "no escape", "/c/abc", "/c/abc" },
		{ "letters, digits and the four marks", "/%63/%61%5A%7a%30%39%2D%2e%5F%7E", "/c/aZz09-._~" },
		{ "a slash is not what it stands for", "/c%2Fa%2fb", "/c%2Fa%2fb" },
		{ "nor is what may be a delimiter", "/%3F%23%26%3D%2B%25", "/%3F%23%26%3D%2B%25" },
		{ "nor what is no character of a URI", "/%00%0D%0A%20%C3%A9%22%3C", "/%00%0D%0A%20%C3%A9%22%3C" },
		{ "once is enough", "/%2563%2541", "/%2563%2541" },
		{ "dots lead nowhere", "/a/%2e%2e/c", "/a/../c" },
		{ "the end", "/%4", "/%4" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf scratch = BUF(64);

		if (!span_eq(http_path(&scratch, span_of(cases[i].in)), span_of(cases[i].out)))
			fail_msg("%s: %.*s", cases[i].says, SPAN_ARG(http_path(&scratch, span_of(cases[i].in))));
		buf_free(&scratch);
	}
}

static void
test_date(void **state)
{
	static const struct {
		int64_t second;
		const char *date;
	} cases[] = {
		{ 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
		{ 784111777, "Sun, 06 Nov 1994 08:49:37 GMT" },
		{ 951782399, "Mon, 28 Feb 2000 23:59:59 GMT" },
		{ 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
		{ 1772323200, "Sun, 01 Mar 2026 00:00:00 GMT" },
		{ 1798761599, "Thu, 31 Dec 2026 23:59:59 GMT" },
		{ 4107542400, "Mon, 01 Mar 2100 00:00:00 GMT" },
		{ -1, "Thu, 01 Jan 1970 00:00:00 GMT" },
	};
	char out[HTTP_DATE_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		http_date(out, cases[i].second);
		assert_string_equal(out, cases[i].date);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_every_prefix_needs_more),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_an_endless_line_is_refused_before_it_ends),
		cmocka_unit_test(test_every_byte_everywhere),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_every_prefix_of_chunks_needs_more),
		cmocka_unit_test(test_limits_of_chunks),
		cmocka_unit_test(test_a_full_buffer_is_refused),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_date),
	};

	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
