/*
 * tracker_load.c -- many readers at once: asks a web server for pixels or links, looks at every answer, and counts.
 *
 *	tracker_load -a PORT -f TOKENS [-b BEFORE] [-e BEHIND] [-c CONNECTIONS] [-t SECONDS] [-o FIRST] [-s STATUS]
 *	    [-x] [-p PID]
 *	tracker_load -a PORT -f TOKENS ... [-i] [-S]
 *
 *	-f  a token for each line; asked for are BEFORE TOKEN BEHIND, in turn, from line FIRST on
 *	-s  what every answer must be: 200 with the 43 bytes of the pixel, or 302
 *	-x  a connection for each request, which the server has to close
 *	-p  the server: the CPU time of its threads for one hit is told too, that
 *	    of threads named "fold" apart, since they work for later
 *	-i  asks once on each connection, says "ready", and holds them until
 *	    its standard input ends
 *	-S  by TLS, whoever the certificate is of; with -i, or without any other
 *	    limit than -t: a connection for each request, one at a time
 *
 * The request is a browser's.  An answer that is missing or wrong ends the
 * program with status 1: no figure.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "common/mem.h"

#define ANSWER_MAX 4096
#define ANSWER_WITHIN 20 /* seconds; then the bench has failed */

static const char gif[43] = "GIF89a\1\0\1\0\x80\1\0\0\0\0\xff\xff\xff\x21\xf9\4\1\0\0\1\0,\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0;";

static struct {
	const char *tokens, *before, *behind;
	int port, connections, pid, status;
	double seconds;
	unsigned long first;
	bool close, hold, tls;
} option = { .before = "/o/", .behind = ".gif", .connections = 1, .seconds = 1, .status = 200 };

static char **token;
static size_t ntokens, next_token;
static char head[256], rest[1024]; /* what stands before and behind the token */

struct conn {
	int fd;
	bool waits;    /* for its answer; else for the end */
	size_t n;
	double asked;
	char in[ANSWER_MAX];
};

/* ---- small things ---- */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool
read_line(const char *dir, const char *name, const char *what, char *line, int size)
{
	char path[512];
	bool ok;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s/%s", dir, name, what);
	if ((f = fopen(path, "r")) == NULL)
		return false;
	ok = fgets(line, size, f) != NULL;
	fclose(f);
	return ok;
}

/* Seconds on a CPU, of the server's threads; those of its fold apart. */
static void
cpu_of(int pid, double *hits, double *fold)
{
	char path[64], line[256];
	struct dirent *d;
	DIR *dir;

	*hits = *fold = 0;
	if (pid == 0)
		return;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	if ((dir = opendir(path)) == NULL)
		err(1, "%s", path);
	while ((d = readdir(dir)) != NULL) {
		double *to = hits;

		if (d->d_name[0] == '.')
			continue;
		if (read_line(path, d->d_name, "comm", line, sizeof line) && strcmp(line, "fold\n") == 0)
			to = fold;
		if (read_line(path, d->d_name, "schedstat", line, sizeof line))
			*to += strtod(line, NULL) / 1e9;
	}
	closedir(dir);
}

static void
read_tokens(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	FILE *f = fopen(option.tokens, "r");

	if (f == NULL)
		err(1, "%s", option.tokens);
	while ((n = getline(&line, &size, f)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if ((ntokens & (ntokens - 1)) == 0)
			token = xreallocarray(token, ntokens ? 2 * ntokens : 1, sizeof *token);
		token[ntokens++] = xstrndup(line, strlen(line));
	}
	free(line);
	fclose(f);
	if (ntokens == 0)
		errx(1, "%s: no tokens", option.tokens);
	next_token = option.first % ntokens;
}

static void
make_request(void)
{
	snprintf(head, sizeof head, "GET %s", option.before);
	snprintf(rest, sizeof rest,
	    "%s HTTP/1.1\r\n"
	    "Host: 127.0.0.1:%d\r\n"
	    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
	    "Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n"
	    "Accept-Language: en-US,en;q=0.5\r\n"
	    "Accept-Encoding: gzip, deflate\r\n"
	    "Connection: %s\r\n"
	    "\r\n",
	    option.behind, option.port, option.close ? "close" : "keep-alive");
}

/* The next token's request, in three pieces. */
static void
next_request(struct iovec piece[3])
{
	char *t = token[next_token];

	next_token = (next_token + 1) % ntokens;
	piece[0] = (struct iovec){ head, strlen(head) };
	piece[1] = (struct iovec){ t, strlen(t) };
	piece[2] = (struct iovec){ rest, strlen(rest) };
}

/* Is as much there behind the header as it says? */
static bool
has_body(const char *in, size_t n)
{
	static const char name[] = "\r\nContent-Length: ";
	const char *end = memmem(in, n, "\r\n\r\n", 4), *length;

	if (end == NULL)
		return false;
	length = memmem(in, (size_t)(end - in), name, sizeof name - 1);
	if (length == NULL)
		errx(1, "port %d: no Content-Length", option.port);
	return (size_t)(in + n - end - 4) == strtoul(length + sizeof name - 1, NULL, 10);
}

/* Is it here?  False: not all of it. */
static bool
is_whole(const char *in, size_t n)
{
	char want[16];
	int len = snprintf(want, sizeof want, "HTTP/1.1 %d", option.status);

	if (n < (size_t)len)
		return false;
	if (memcmp(in, want, (size_t)len) != 0)
		errx(1, "port %d: answered with %.*s", option.port, (int)(n < 400 ? n : 400), in);
	if (option.status == 200)
		return n > sizeof gif + 4 && memcmp(in + n - sizeof gif, gif, sizeof gif) == 0 &&
		    memcmp(in + n - sizeof gif - 4, "\r\n\r\n", 4) == 0;
	return has_body(in, n);
}

static int
connect_to(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)option.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval within = { .tv_sec = ANSWER_WITHIN };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) != 0)
		err(1, "port %d: connect", option.port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within);
	return fd;
}

/* ---- hits ---- */

static int epoll;
static unsigned long asked, answered;
static float *taken; /* us, of each answer */
static size_t taken_cap;

static void
ask(struct conn *c)
{
	struct iovec piece[3];
	struct msghdr m = { .msg_iov = piece, .msg_iovlen = 3 };
	size_t n;

	next_request(piece);
	n = piece[0].iov_len + piece[1].iov_len + piece[2].iov_len;
	if (sendmsg(c->fd, &m, MSG_NOSIGNAL) != (ssize_t)n)
		err(1, "port %d: send", option.port);
	c->waits = true;
	c->n = 0;
	c->asked = now();
	asked++;
}

static void
watch(struct conn *c)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
		err(1, "epoll_ctl");
}

static void
note_answer(const struct conn *c)
{
	if (answered == taken_cap) {
		taken_cap = taken_cap ? 2 * taken_cap : 65536;
		taken = xreallocarray(taken, taken_cap, sizeof *taken);
	}
	taken[answered++] = (float)((now() - c->asked) * 1e6);
}

/* Something came.  True: this connection is ready for the next request. */
static bool
take(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->n, sizeof c->in - c->n, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0)
		err(1, "port %d: recv", option.port);
	if (n == 0 && (c->waits || !option.close))
		errx(1, "port %d: hung up", option.port);
	if (n == 0)
		return true;
	c->n += (size_t)n;
	if (!c->waits || c->n == sizeof c->in)
		errx(1, "port %d: too much of an answer", option.port);
	if (!is_whole(c->in, c->n))
		return false;
	note_answer(c);
	c->waits = false;
	return !option.close;
}

static void
start_again(struct conn *c)
{
	if (option.close) {
		close(c->fd);
		c->fd = connect_to();
		ask(c);
		watch(c);
	} else
		ask(c);
}

static int
by_time(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static void
run_hits(void)
{
	struct conn *conn = xcalloc((size_t)option.connections, sizeof *conn);
	double start, end, last, cpu[2], fold[2];
	struct epoll_event ready[512];
	unsigned long before;
	int open = option.connections;

	if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		err(1, "epoll_create1");
	for (int i = 0; i < option.connections; i++)
		conn[i].fd = connect_to();
	cpu_of(option.pid, &cpu[0], &fold[0]);
	start = now();
	end = start + option.seconds;
	for (int i = 0; i < option.connections; i++) {
		ask(&conn[i]);
		watch(&conn[i]);
	}
	while (now() < end) {
		int n = epoll_wait(epoll, ready, sizeof ready / sizeof *ready, ANSWER_WITHIN * 1000);

		if (n == 0)
			errx(1, "port %d: no answer for %d seconds", option.port, ANSWER_WITHIN);
		for (int i = 0; i < n; i++)
			if (take(ready[i].data.ptr))
				start_again(ready[i].data.ptr);
	}
	last = now();
	cpu_of(option.pid, &cpu[1], &fold[1]);
	before = answered;

	/* Nothing that was asked may stay unanswered. */
	while (open > 0) {
		int n = epoll_wait(epoll, ready, sizeof ready / sizeof *ready, ANSWER_WITHIN * 1000);

		if (n == 0)
			errx(1, "port %d: %lu asked, %lu answered", option.port, asked, answered);
		for (int i = 0; i < n; i++) {
			struct conn *c = ready[i].data.ptr;

			if (take(c)) {
				close(c->fd);
				open--;
			}
		}
	}
	qsort(taken, before, sizeof *taken, by_time);
	printf("asked=%lu answered=%lu rate=%.1f p50_us=%.1f p99_us=%.1f cpu_us=%.3f fold_us=%.3f\n", asked, answered,
	    (double)before / (last - start), (double)taken[before / 2], (double)taken[before * 99 / 100],
	    (cpu[1] - cpu[0]) * 1e6 / (double)before, (fold[1] - fold[0]) * 1e6 / (double)before);
	free(conn);
}

/* ---- one after the other: idle connections, and TLS ---- */

static SSL_CTX *tls_ctx;

/* One request on a connection that may speak TLS; NULL ssl: it does not. */
static void
ask_and_wait(int fd, SSL *ssl)
{
	char in[ANSWER_MAX], request[2048];
	struct iovec piece[3];
	size_t n = 0, len;
	ssize_t got;

	next_request(piece);
	len = (size_t)snprintf(request, sizeof request, "%s%s%s", (char *)piece[0].iov_base, (char *)piece[1].iov_base,
	    (char *)piece[2].iov_base);
	got = ssl != NULL ? SSL_write(ssl, request, (int)len) : send(fd, request, len, MSG_NOSIGNAL);
	if (got != (ssize_t)len)
		err(1, "port %d: send", option.port);
	asked++;
	while (n == 0 || !is_whole(in, n)) {
		got = ssl != NULL ? SSL_read(ssl, in + n, (int)(sizeof in - n)) : recv(fd, in + n, sizeof in - n, 0);
		if (got <= 0)
			errx(1, "port %d: no answer", option.port);
		n += (size_t)got;
	}
	answered++;
}

static SSL *
shake_hands(int fd)
{
	SSL *ssl;

	if (!option.tls)
		return NULL;
	if ((ssl = SSL_new(tls_ctx)) == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
		errx(1, "port %d: no handshake", option.port);
	return ssl;
}

static void
run_idle(void)
{
	for (int i = 0; i < option.connections; i++) {
		int fd = connect_to();

		ask_and_wait(fd, shake_hands(fd)); /* both stay */
	}
	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	printf("asked=%lu answered=%lu\n", asked, answered);
}

static void
run_handshakes(void)
{
	double start = now(), end = start + option.seconds, cpu[2], fold[2];

	cpu_of(option.pid, &cpu[0], &fold[0]);
	while (now() < end) {
		int fd = connect_to();
		SSL *ssl = shake_hands(fd);

		ask_and_wait(fd, ssl);
		SSL_free(ssl);
		close(fd);
	}
	cpu_of(option.pid, &cpu[1], &fold[1]);
	printf("asked=%lu answered=%lu rate=%.1f cpu_us=%.3f fold_us=%.3f\n", asked, answered, (double)answered / (now() - start),
	    (cpu[1] - cpu[0]) * 1e6 / (double)answered, (fold[1] - fold[0]) * 1e6 / (double)answered);
}

static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "a:b:c:e:f:io:p:s:St:x")) != -1) {
		switch (c) {
		case 'a': option.port = atoi(optarg); break;
		case 'b': option.before = optarg; break;
		case 'c': option.connections = atoi(optarg); break;
		case 'e': option.behind = optarg; break;
		case 'f': option.tokens = optarg; break;
		case 'i': option.hold = true; break;
		case 'o': option.first = strtoul(optarg, NULL, 10); break;
		case 'p': option.pid = atoi(optarg); break;
		case 's': option.status = atoi(optarg); break;
		case 'S': option.tls = true; break;
		case 't': option.seconds = atof(optarg); break;
		case 'x': option.close = true; break;
		default: return 2;
		}
	}
	if (option.port == 0 || option.tokens == NULL || option.connections < 1)
		errx(2, "-a and -f are needed");
	raise_descriptors();
	read_tokens();
	make_request();
	if (option.tls && (tls_ctx = SSL_CTX_new(TLS_client_method())) == NULL)
		errx(1, "no TLS");
	if (option.hold)
		run_idle();
	else if (option.tls)
		run_handshakes();
	else
		run_hits();
	return 0;
}
