#include "common/bind.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/mem.h"

/* Others may lock a directory for reasons of their own, and for long. */
#define LOCK_TRIES 300
#define LOCK_PAUSE_MS 10

bool
address_of(int fd, struct address *a)
{
	*a = (struct address){ .n = sizeof a->name };
	return getsockname(fd, (struct sockaddr *)&a->name, &a->n) == 0;
}

const char *
address_path(const struct address *a)
{
	return a->name.ss_family == AF_UNIX ? ((const struct sockaddr_un *)&a->name)->sun_path : NULL;
}

void
address_add(struct buf *out, const struct address *a)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (address_path(a) != NULL)
		buf_addf(out, "unix:%s", address_path(a));
	else if (getnameinfo((const struct sockaddr *)&a->name, a->n, host, sizeof host, port, sizeof port,
		     NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		buf_addf(out, a->name.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static struct address *
find_path(const char *path, size_t *n)
{
	struct address *a = xcalloc(1, sizeof *a);
	struct sockaddr_un *sun = (struct sockaddr_un *)&a->name;

	sun->sun_family = AF_UNIX;
	snprintf(sun->sun_path, sizeof sun->sun_path, "%s", path);
	a->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(sun->sun_path) + 1);
	*n = 1;
	return a;
}

struct address *
address_find(const char *text, size_t *n, struct buf *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *found;
	struct address *all = NULL;
	char port[8], host[256];
	struct span name;
	uint16_t number;
	int rc;

	if (span_starts(span_of(text), SPAN("unix:")))
		return find_path(text + strlen("unix:"), n);
	if (!conf_host_port(span_of(text), &name, &number) || name.n >= sizeof host) {
		buf_addf(why, "cannot listen on %s: not HOST:PORT", text);
		return NULL;
	}
	snprintf(host, sizeof host, "%.*s", SPAN_ARG(name));
	snprintf(port, sizeof port, "%u", number);
	if ((rc = getaddrinfo(name.n ? host : NULL, port, &hints, &found)) != 0) {
		buf_addf(why, "cannot listen on %s: %s", text, gai_strerror(rc));
		return NULL;
	}
	*n = 0;
	for (const struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next) {
		all = xreallocarray(all, *n + 1, sizeof *all);
		all[*n] = (struct address){ .n = ai->ai_addrlen };
		memcpy(&all[(*n)++].name, ai->ai_addr, ai->ai_addrlen);
	}
	freeaddrinfo(found);
	return all;
}

int
bind_network(const struct address *a, bool shared, const char **what)
{
	int one = 1, fd;

	*what = "socket";
	if ((fd = socket(a->name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (a->name.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	*what = "bind";
	if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == -1)
		goto fail;
	if (bind(fd, (const struct sockaddr *)&a->name, a->n) == -1)
		goto fail;
	return fd;
fail:
	one = errno;
	close(fd);
	errno = one;
	return -1;
}

/* Is this a socket that nobody listens at any more? */
static bool
is_stale(const struct address *a)
{
	struct stat st;

	if (lstat(address_path(a), &st) == -1 || !S_ISSOCK(st.st_mode))
		return false;

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool stale = fd != -1 && connect(fd, (const struct sockaddr *)&a->name, a->n) == -1 && errno == ECONNREFUSED;

	if (fd != -1)
		close(fd);
	return stale;
}

/* The directory of a socket. */
static void
add_directory(struct buf *out, const char *path)
{
	const char *slash = strrchr(path, '/');

	buf_add(out, slash == NULL ? SPAN(".") : slash == path ? SPAN("/") : span_make(path, (size_t)(slash - path)));
}

int
bind_lock(const char *path)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };
	struct buf dir = BUF(4096);
	int fd;

	add_directory(&dir, path);
	fd = open(buf_cstr(&dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd != -1 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK; i++)
		nanosleep(&pause, NULL);
	buf_free(&dir);
	return fd;
}

int
bind_path(const struct address *a, unsigned mode, int backlog, const char **what)
{
	mode_t mask = umask(0777 & ~mode);
	int lock = bind_lock(address_path(a)), fd, error;

	if ((fd = bind_network(a, false, what)) == -1 && errno == EADDRINUSE) {
		if (is_stale(a) && unlink(address_path(a)) == 0)
			fd = bind_network(a, false, what);
		else
			errno = EADDRINUSE;
	}
	error = errno;
	if (fd != -1 && listen(fd, backlog) == -1) {
		*what = "listen";
		error = errno;
		close(fd);
		fd = -1;
	}
	if (lock != -1)
		close(lock);
	umask(mask);
	errno = error;
	return fd;
}

void
bind_why(struct buf *why, const char *path, const char *what, int error)
{
	struct buf dir = BUF(4096);

	if (what != NULL)
		buf_addf(why, "%s: ", what);
	buf_adds(why, strerror(error));
	if (path != NULL)
		add_directory(&dir, path);
	if (path != NULL && (error == ENOENT || error == ENOTDIR))
		buf_addf(why, ": there is no directory %s; make it, owned by the user that the daemons run as", buf_cstr(&dir));
	else if (path != NULL && error == EACCES && access(buf_cstr(&dir), W_OK | X_OK) != 0)
		buf_addf(why, ": user %lu may not make anything in directory %s; put the socket in a directory that belongs to that user", (unsigned long)geteuid(),
		    buf_cstr(&dir));
	buf_free(&dir);
}

bool
bind_optional(int error, size_t addresses)
{
	return error == EAFNOSUPPORT || (error == EADDRNOTAVAIL && addresses > 1);
}

void
bind_give_away(const char *path)
{
	struct buf dir = BUF(4096);
	struct stat st;

	add_directory(&dir, path);
	if (stat(buf_cstr(&dir), &st) != 0 || lchown(path, st.st_uid, st.st_gid) != 0)
		log_warn("%s: cannot be given to its directory's owner: %s", path, strerror(errno));
	buf_free(&dir);
}
