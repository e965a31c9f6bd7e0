/* listen.c -- the sockets at which clients arrive: one per address and loop. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "tracker/listen.h"

static const char *const kinds[] = { [LISTEN_HTTP] = "http", [LISTEN_HTTPS] = "https", [LISTEN_ADMIN] = "admin" };

static int
open_socket(const struct addrinfo *ai, const struct sockaddr *to, bool shared, const char **what)
{
	int one = 1, fd;

	*what = "socket";
	if ((fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	*what = "bind";
	if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == -1)
		goto fail;
	if (bind(fd, to, ai->ai_addrlen) == -1)
		goto fail;
	return fd;
fail:
	one = errno;
	close(fd);
	errno = one;
	return -1;
}

/*
 * Every loop has a socket of its own, and the kernel spreads connections over
 * them.  The first bind is made alone: with SO_REUSEPORT a second tracker
 * started by mistake would quietly get half of the hits.
 */
static bool
listen_on(struct listeners *all, const struct addrinfo *ai, enum listen_kind kind, const char **what)
{
	struct listener *l = &all->at[all->n];
	struct sockaddr_storage name;
	socklen_t n = sizeof name;
	size_t wanted = kind == LISTEN_ADMIN ? 1 : all->loops;
	int fd;

	memcpy(&name, ai->ai_addr, ai->ai_addrlen);
	l->kind = kind;
	l->n = 0;
	if ((fd = open_socket(ai, ai->ai_addr, false, what)) == -1)
		return false;
	if (wanted > 1) {
		if (getsockname(fd, (struct sockaddr *)&name, &n) == -1) {
			close(fd);
			return false;
		}
		close(fd);
	} else
		l->fd[l->n++] = fd;
	while (l->n < wanted && (fd = open_socket(ai, (struct sockaddr *)&name, true, what)) != -1)
		l->fd[l->n++] = fd;
	*what = "listen";
	for (size_t i = 0; fd != -1 && i < l->n; i++)
		if (listen(l->fd[i], LISTEN_BACKLOG) == -1)
			fd = -1;
	if (fd != -1) {
		all->n++;
		return true;
	}
	for (size_t i = 0; i < l->n; i++)
		close(l->fd[i]);
	return false;
}

static void
log_listener(const struct listener *l)
{
	struct sockaddr_storage name;
	socklen_t n = sizeof name;
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(l->fd[0], (struct sockaddr *)&name, &n) == -1 ||
	    getnameinfo((struct sockaddr *)&name, n, host, sizeof host, port, sizeof port,
		NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	log_info(name.ss_family == AF_INET6 ? "listening on %s [%s]:%s" : "listening on %s %s:%s",
	    kinds[l->kind], host, port);
}

static bool
bind_address(struct listeners *all, const char *text, enum listen_kind kind, struct buf *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *found;
	char port[8], host[256];
	struct span name;
	uint16_t number;
	const char *what;
	size_t before = all->n;
	int rc;

	if (!conf_host_port(span_of(text), &name, &number) || name.n >= sizeof host) {
		buf_addf(why, "cannot listen on %s: not HOST:PORT", text);
		return false;
	}
	snprintf(host, sizeof host, "%.*s", SPAN_ARG(name));
	snprintf(port, sizeof port, "%u", number);
	if ((rc = getaddrinfo(name.n ? host : NULL, port, &hints, &found)) != 0) {
		buf_addf(why, "cannot listen on %s: %s", text, gai_strerror(rc));
		return false;
	}
	for (const struct addrinfo *ai = found; ai != NULL && !why->n; ai = ai->ai_next) {
		if (all->n == LISTENERS_MAX)
			buf_addf(why, "cannot listen on %s: more than %d addresses", text, LISTENERS_MAX);
		else if (listen_on(all, ai, kind, &what))
			log_listener(&all->at[all->n - 1]);
		else if (errno != EAFNOSUPPORT && !(errno == EADDRNOTAVAIL && found->ai_next != NULL))
			/* A machine without IPv6, or a name that has more addresses than this machine, is fine. */
			buf_addf(why, "cannot listen on %s: %s: %s", text, what, strerror(errno));
	}
	freeaddrinfo(found);
	if (why->n == 0 && all->n == before)
		buf_addf(why, "cannot listen on %s: no such address here", text);
	return why->n == 0;
}

bool
listen_open(struct listeners *all, const struct conf *conf, size_t loops, struct buf *why)
{
	const struct list *const lists[] = {
		[LISTEN_HTTP] = &conf->http_listen, [LISTEN_HTTPS] = &conf->https_listen, [LISTEN_ADMIN] = &conf->admin_listen,
	};

	all->n = 0;
	all->loops = loops;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (size_t i = 0; i < lists[k]->n; i++)
			if (!bind_address(all, lists[k]->item[i], (enum listen_kind)k, why))
				goto fail;
	return true;

fail:
	listen_close(all);
	return false;
}

void
listen_close(struct listeners *all)
{
	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < all->at[i].n; k++)
			close(all->at[i].fd[k]);
	all->n = 0;
}
