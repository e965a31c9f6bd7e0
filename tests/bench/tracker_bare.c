/*
 * tracker_bare.c -- the least that libevent can do for a hit: a floor to measure the tracker against, no web server.
 *
 *	tracker_bare PORT none
 *	tracker_bare PORT buffered|durable RECORDS
 *
 * Takes whatever ends with an empty line for a request and answers with the
 * pixel.  With a file for RECORDS 96 bytes are appended for each hit:
 * buffered, 64 KB at a time, as servers write their logs, or durable, with one
 * fdatasync for each turn of the event loop before its answers.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"

#define RECORD 96
#define TURN_MAX 4096 /* answers that wait for one flush */
#define BUFFER (64 * 1024)

static const char answer[] = "HTTP/1.1 200 OK\r\nDate: Thu, 08 Jan 2026 08:00:00 GMT\r\nContent-Type: image/gif\r\n"
    "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Robots-Tag: noindex\r\n"
    "X-Content-Type-Options: nosniff\r\nContent-Length: 43\r\n\r\n"
    "GIF89a\1\0\1\0\x80\1\0\0\0\0\xff\xff\xff\x21\xf9\4\1\0\0\1\0,\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0;";

static struct event_base *base;
static char input[65536];
static int records = -1;
static bool durable;
static char lines[TURN_MAX * RECORD];
static struct client {
	struct event ev;
	int fd;
} *waiting[TURN_MAX];
static size_t nwaiting, nbuffered; /* the latter in bytes */

static void
answer_client(const struct client *c)
{
	if (send(c->fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		err(1, "send");
}

static void
end_turn(void)
{
	if (nwaiting == 0)
		return;
	if (write(records, lines, nwaiting * RECORD) != (ssize_t)(nwaiting * RECORD) || fdatasync(records) != 0)
		err(1, "records");
	for (size_t i = 0; i < nwaiting; i++)
		answer_client(waiting[i]);
	nwaiting = 0;
}

static void
keep_record(const void *of, size_t n)
{
	char *line = lines + nbuffered;

	memset(line, 0, RECORD);
	memcpy(line, of, n < RECORD ? n : RECORD);
	nbuffered += RECORD;
	if (nbuffered + RECORD <= BUFFER)
		return;
	if (write(records, lines, nbuffered) != (ssize_t)nbuffered)
		err(1, "records");
	nbuffered = 0;
}

static void
on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	ssize_t n = recv(fd, input, sizeof input, 0);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		event_del(&c->ev);
		close(fd);
		free(c);
		return;
	}
	if (n < 4 || memcmp(input + n - 4, "\r\n\r\n", 4) != 0)
		errx(1, "a request in pieces");
	if (!durable) {
		answer_client(c);
		if (records != -1)
			keep_record(input, (size_t)n);
		return;
	}
	waiting[nwaiting++] = c;
	if (nwaiting == TURN_MAX)
		end_turn();
}

static void
on_accept(evutil_socket_t listener, short what, void *arg)
{
	int fd, one = 1;

	(void)what;
	(void)arg;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *c = xcalloc(1, sizeof *c);

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		c->fd = fd;
		event_assign(&c->ev, base, fd, EV_READ | EV_PERSIST, on_client, c);
		event_add(&c->ev, NULL);
	}
}

static int
listen_on(int port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof sin) != 0 || listen(fd, 4096) != 0)
		err(1, "port %d", port);
	return fd;
}

int
main(int argc, char **argv)
{
	struct event_config *how = event_config_new();
	struct event listener;

	if (argc < 3 || argc != (strcmp(argv[2], "none") == 0 ? 3 : 4))
		errx(2, "tracker_bare PORT none|buffered|durable [RECORDS]");
	durable = strcmp(argv[2], "durable") == 0;
	if (argc == 4 && (records = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
		err(1, "%s", argv[3]);
	signal(SIGPIPE, SIG_IGN);
	event_config_set_flag(how, EVENT_BASE_FLAG_NOLOCK);
	if ((base = event_base_new_with_config(how)) == NULL)
		errx(1, "no event loop");
	event_assign(&listener, base, listen_on(atoi(argv[1])), EV_READ | EV_PERSIST, on_accept, NULL);
	event_add(&listener, NULL);
	for (;;) {
		if (event_base_loop(base, EVLOOP_ONCE) != 0)
			errx(1, "the event loop has ended");
		end_turn();
	}
}
