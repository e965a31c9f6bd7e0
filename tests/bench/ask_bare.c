/*
 * ask_bare.c -- the least that libevent can do for a lookup: a floor to measure socketmap answers against.
 *
 *	ask_bare PATH ANSWER
 *
 * Reads netstrings from a socket in the file system and gives the same answer
 * to each, those of one read in one write.
 */
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/mem.h"

static struct event_base *base;
static char input[16384], output[65536], answer[256];
static size_t nanswer;

struct client {
	struct event ev;
	int fd;
};

static void
on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	ssize_t n = recv(fd, input, sizeof input - 1, 0);
	size_t out = 0;

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		event_del(&c->ev);
		close(fd);
		free(c);
		return;
	}
	input[n] = '\0';
	for (char *at = input, *end; at < input + n; at = end) {
		size_t length = strtoul(at, &end, 10);

		end += length + 2;
		if (end > input + n || end[-1] != ',')
			errx(1, "a request in pieces");
		memcpy(output + out, answer, nanswer);
		out += nanswer;
	}
	/* The load ends with questions in flight. */
	if (send(fd, output, out, MSG_NOSIGNAL) != (ssize_t)out && errno != EPIPE && errno != ECONNRESET)
		err(1, "send");
}

static void
on_accept(evutil_socket_t listener, short what, void *arg)
{
	int fd;

	(void)what;
	(void)arg;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *c = xcalloc(1, sizeof *c);

		c->fd = fd;
		event_assign(&c->ev, base, fd, EV_READ | EV_PERSIST, on_client, c);
		event_add(&c->ev, NULL);
	}
}

int
main(int argc, char **argv)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct event_config *how = event_config_new();
	struct event listener;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (argc != 3)
		errx(2, "ask_bare PATH ANSWER");
	nanswer = (size_t)snprintf(answer, sizeof answer, "%zu:%s,", strlen(argv[2]), argv[2]);
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", argv[1]);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof sun) != 0 || listen(fd, 512) != 0)
		err(1, "%s", argv[1]);
	event_config_set_flag(how, EVENT_BASE_FLAG_NOLOCK);
	if ((base = event_base_new_with_config(how)) == NULL)
		errx(1, "no event loop");
	event_assign(&listener, base, fd, EV_READ | EV_PERSIST, on_accept, NULL);
	event_add(&listener, NULL);
	event_base_dispatch(base);
	return 1;
}
