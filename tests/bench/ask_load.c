/*
 * ask_load.c -- asks a socketmap server as many questions as it can answer, and looks at each answer.
 *
 *	ask_load PATH MAP ANSWER PEOPLE CONNECTIONS FLIGHT SECONDS
 *
 * Asks MAP about person0@example.com to personPEOPLE-1@example.com in an
 * order of its own, FLIGHT questions in flight on each connection, and prints
 * answered=N seconds=S.  Another answer than ANSWER ends it with status 1.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

#define QUESTION_MAX 96

static const char *map;
static char want[256];
static size_t nwant, people;
static uint64_t next;

static size_t
question(char *out)
{
	char text[QUESTION_MAX];
	/* A prime far from its neighbours: nobody is asked about twice in a row, nor in the order of the table. */
	size_t n = (size_t)snprintf(text, sizeof text, "%s person%zu@example.com", map, (size_t)(next++ * 7919 % people));

	return (size_t)sprintf(out, "%zu:%s,", n, text);
}

static void
ask(int fd, size_t n)
{
	static char out[256 * QUESTION_MAX];
	size_t length = 0;

	for (size_t i = 0; i < n; i++)
		length += question(out + length);
	if (send(fd, out, length, MSG_NOSIGNAL) != (ssize_t)length)
		err(1, "send");
}

static struct connection {
	int fd;
	size_t have; /* of an answer that is not whole */
	char in[256 * QUESTION_MAX];
} connection[256];

/* How many answers came. */
static size_t
take(struct connection *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, sizeof c->in - c->have, 0);
	size_t answers;

	if (n <= 0)
		errx(1, "the server hung up");
	c->have += (size_t)n;
	answers = c->have / nwant;
	for (size_t i = 0; i < answers; i++)
		if (memcmp(c->in + i * nwant, want, nwant) != 0)
			errx(1, "another answer: %.*s", (int)nwant, c->in + i * nwant);
	c->have -= answers * nwant;
	memmove(c->in, c->in + answers * nwant, c->have);
	return answers;
}

int
main(int argc, char **argv)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct epoll_event ready[256];
	size_t connections, flight, answered = 0;
	int64_t begin, end;
	int all = epoll_create1(EPOLL_CLOEXEC);

	if (argc != 8)
		errx(2, "ask_load PATH MAP ANSWER PEOPLE CONNECTIONS FLIGHT SECONDS");
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", argv[1]);
	map = argv[2];
	nwant = (size_t)snprintf(want, sizeof want, "%zu:%s,", strlen(argv[3]), argv[3]);
	people = strtoul(argv[4], NULL, 10);
	connections = strtoul(argv[5], NULL, 10);
	flight = strtoul(argv[6], NULL, 10);
	if (people == 0 || connections == 0 || connections > 256 || flight == 0 || flight > 256)
		errx(2, "1 to 256 connections, 1 to 256 in flight");
	next = (uint64_t)clock_us(); /* not those of the last run */
	for (size_t i = 0; i < connections; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &connection[i] };
		int fd = connection[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&sun, sizeof sun) != 0 || epoll_ctl(all, EPOLL_CTL_ADD, fd, &ev) != 0)
			err(1, "%s", argv[1]);
		ask(fd, flight);
	}
	begin = clock_us();
	end = begin + (int64_t)(1e6 * strtod(argv[7], NULL));
	while (clock_us() < end) {
		int n = epoll_wait(all, ready, 256, 10000);

		if (n <= 0)
			errx(1, "no answer for ten seconds");
		for (int i = 0; i < n; i++) {
			struct connection *c = ready[i].data.ptr;
			size_t m = take(c);

			answered += m;
			ask(c->fd, m);
		}
	}
	printf("answered=%zu seconds=%.6f\n", answered, (double)(clock_us() - begin) / 1e6);
	return 0;
}
