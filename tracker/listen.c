/* listen.c -- the sockets at which clients arrive. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/bind.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/text.h"
#include "tracker/listen.h"

#define SYSTEMD_FIRST 3    /* SD_LISTEN_FDS_START */
#define SYSTEMD_MAX 1024

static const char *const kinds[LISTEN_KINDS] = {
	[LISTEN_HTTP] = "http", [LISTEN_HTTPS] = "https", [LISTEN_ADMIN] = "admin",
};

const char *
listen_name(enum listen_kind kind)
{
	return kinds[kind];
}

static in_port_t *
port_of(struct address *a)
{
	if (a->name.ss_family == AF_INET)
		return &((struct sockaddr_in *)&a->name)->sin_port;
	if (a->name.ss_family == AF_INET6)
		return &((struct sockaddr_in6 *)&a->name)->sin6_port;
	return NULL;
}

/* Is this open socket what is wanted?  Port 0 is any. */
static bool
fits(struct address wanted, struct address open)
{
	const struct sockaddr_un *a = (struct sockaddr_un *)&wanted.name, *b = (struct sockaddr_un *)&open.name;
	const struct sockaddr_in *a4 = (struct sockaddr_in *)&wanted.name, *b4 = (struct sockaddr_in *)&open.name;
	const struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&wanted.name, *b6 = (struct sockaddr_in6 *)&open.name;

	if (wanted.name.ss_family != open.name.ss_family)
		return false;
	if (wanted.name.ss_family == AF_UNIX)
		return strncmp(a->sun_path, b->sun_path, sizeof a->sun_path) == 0;
	if (*port_of(&wanted) != 0 && *port_of(&wanted) != *port_of(&open))
		return false;
	if (wanted.name.ss_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof a6->sin6_addr) == 0 && a6->sin6_scope_id == b6->sin6_scope_id;
}

static void
log_listener(const struct listener *l, const char *how)
{
	struct buf name = BUF(1024);
	struct address a;

	if (address_of(l->fd[0], &a)) {
		address_add(&name, &a);
		log_info("listening on %s %s%s", kinds[l->kind], buf_cstr(&name), how);
	}
	buf_free(&name);
}

/* ---- sockets that came open ---- */

void
inherited_add(struct inherited *all, int fd, enum listen_kind kind, bool given)
{
	all->item = xreallocarray(all->item, all->n + 1, sizeof *all->item);
	all->item[all->n++] = (struct inherited_socket){ fd, kind, given };
}

void
inherited_free(struct inherited *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->item[i].fd != -1)
			close(all->item[i].fd);
	free(all->item);
	*all = (struct inherited){ 0 };
}

static bool
is_listening(int fd)
{
	int type = 0, accepts = 0;
	socklen_t n = sizeof type, m = sizeof accepts;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &m) == 0 && accepts != 0;
}

bool
listen_systemd(struct inherited *all, struct buf *why)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	struct span rest = span_of(names != NULL ? names : ""), name;
	uint64_t n, whose;

	/* What is meant for another process may still be in the environment. */
	if (pid == NULL || fds == NULL || !text_u64(span_of(pid), &whose) || whose != (uint64_t)getpid())
		return true;
	if (!text_u64(span_of(fds), &n) || n > SYSTEMD_MAX) {
		buf_addf(why, "LISTEN_FDS=%s is not a number of sockets", fds);
		return false;
	}
	for (int fd = SYSTEMD_FIRST; fd < SYSTEMD_FIRST + (int)n; fd++) {
		size_t kind = 0;

		if (!span_split(&rest, ':', &name))
			name = SPAN("");
		while (kind < LISTEN_KINDS && !span_eq(name, span_of(kinds[kind])))
			kind++;
		if (kind == LISTEN_KINDS || !is_listening(fd)) {
			buf_addf(why, "socket %d from systemd, `%.*s': %s", fd, SPAN_ARG(name), kind < LISTEN_KINDS
			    ? "not a stream socket that listens" : "write FileDescriptorName=http, https or admin in its .socket unit");
			return false;
		}
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == -1) {
			buf_addf(why, "socket %d from systemd: %s", fd, strerror(errno));
			return false;
		}
		inherited_add(all, fd, (enum listen_kind)kind, true);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return true;
}

/* Takes all that are at this address, of the same origin; false when there is none. */
static bool
take_inherited(struct listener *l, struct inherited *all, struct address wanted, bool given)
{
	struct address a;

	l->n = 0;
	for (size_t i = 0; i < all->n; i++) {
		struct inherited_socket *s = &all->item[i];

		if (s->fd == -1 || s->given != given || (given && s->kind != l->kind) || !address_of(s->fd, &a) || !fits(wanted, a))
			continue;
		if (l->n == LOOPS_MAX)
			break;
		/* The first one says which port 0 is. */
		wanted = a;
		l->fd[l->n++] = s->fd;
		s->fd = -1;
	}
	l->given = given;
	return l->n > 0;
}

/* All that systemd gave for one kind.  False with why. */
static bool
take_given(struct listeners *all, enum listen_kind kind, struct inherited *from, struct buf *why)
{
	struct address a;

	for (size_t i = 0; i < from->n; i++) {
		struct listener *l = &all->at[all->n];

		if (from->item[i].fd == -1 || !from->item[i].given || from->item[i].kind != kind || !address_of(from->item[i].fd, &a))
			continue;
		if (all->n == LISTENERS_MAX) {
			buf_addf(why, "more than %d sockets from systemd", LISTENERS_MAX);
			return false;
		}
		*l = (struct listener){ .kind = kind };
		if (take_inherited(l, from, a, true)) {
			all->n++;
			log_listener(l, ", from systemd");
		}
	}
	return true;
}

/* ---- sockets that we open ---- */

/*
 * Every loop has a socket of its own, and the kernel spreads connections over
 * them.  The first bind is made alone: with SO_REUSEPORT a second tracker
 * started by mistake would quietly get half of the hits.
 */
static bool
open_network(struct listener *l, struct address a, size_t wanted, const char **what)
{
	int fd;

	if ((fd = bind_network(&a, false, what)) == -1)
		return false;
	if (wanted > 1) {
		bool good = address_of(fd, &a);

		close(fd);
		if (!good)
			return false;
	} else
		l->fd[l->n++] = fd;
	while (l->n < wanted && (fd = bind_network(&a, true, what)) != -1)
		l->fd[l->n++] = fd;
	return fd != -1;
}

/* One socket for all loops. */
static bool
open_path(struct listener *l, struct address a, unsigned mode, const char **what)
{
	if ((l->fd[0] = bind_path(&a, mode, LISTEN_BACKLOG, what)) == -1)
		return false;
	l->n = 1;
	l->path = xstrdup(address_path(&a));
	return true;
}

/*
 * Made by root, it goes to whom we are going to be: that user's proxies
 * connect.  The group that a directory with the set-group-id bit gave stays.
 */
static void
give_away(const char *path, const char *data_dir)
{
	const char *slash = strrchr(path, '/');
	struct stat owner, dir;
	char *parent = xstrndup(path, slash > path ? (size_t)(slash - path) : 1);

	if (stat(data_dir, &owner) != 0 || stat(parent, &dir) != 0 ||
	    lchown(path, owner.st_uid, dir.st_mode & S_ISGID ? (gid_t)-1 : owner.st_gid) != 0)
		log_warn("%s: cannot be given to the owner of data_dir: %s", path, strerror(errno));
	free(parent);
}

static void
close_listener(struct listener *l, bool keep_path)
{
	/*
	 * When we may: if it stays, the next one sees that it is stale.  Before
	 * nobody listens there: from then on the name may be the next one's.
	 */
	if (l->path != NULL && !keep_path)
		unlink(l->path);
	for (size_t i = 0; i < l->n; i++)
		close(l->fd[i]);
	free(l->path);
	*l = (struct listener){ 0 };
}

/* What is being opened: by which setting, and from what. */
struct opening {
	struct listeners *all;
	struct inherited *from;
	enum listen_kind kind;
	unsigned mode;
	const char *data_dir;
	struct buf *why;
};

static bool
open_address(struct opening *o, struct address a, const char **what)
{
	struct listener *l = &o->all->at[o->all->n];
	bool local = address_path(&a) != NULL, good;
	int error;

	*l = (struct listener){ .kind = o->kind };
	if (take_inherited(l, o->from, a, false)) {
		if (local)
			l->path = xstrdup(address_path(&a));
		o->all->n++;
		log_listener(l, ", taken over");
		return true;
	}
	good = local ? open_path(l, a, o->mode, what)
	    : open_network(l, a, o->kind == LISTEN_ADMIN ? 1 : o->all->loops, what);
	for (size_t i = 0; i < l->n && good && !local; i++) {
		*what = "listen";
		good = listen(l->fd[i], LISTEN_BACKLOG) == 0;
	}
	if (good && local && geteuid() == 0)
		give_away(l->path, o->data_dir);
	if (good) {
		o->all->n++;
		log_listener(l, "");
		return true;
	}
	error = errno;
	close_listener(l, false);
	errno = error;
	return false;
}

static bool
has_room(struct opening *o, const char *text)
{
	if (o->all->n < LISTENERS_MAX)
		return true;
	buf_addf(o->why, "cannot listen on %s: more than %d addresses", text, LISTENERS_MAX);
	return false;
}

static bool
open_text(struct opening *o, const char *text)
{
	const char *what;
	int error;
	size_t before = o->all->n, n = 0;
	struct address *found = address_find(text, &n, o->why);

	for (size_t i = 0; i < n && !o->why->n && has_room(o, text); i++)
		if (!open_address(o, found[i], &what) && !bind_optional(error = errno, n)) {
			buf_addf(o->why, "cannot listen on %s: ", text);
			bind_why(o->why, address_path(&found[i]), what, error);
		}
	free(found);
	if (o->why->n == 0 && o->all->n == before)
		buf_addf(o->why, "cannot listen on %s: no such address here", text);
	return o->why->n == 0;
}

bool
listen_open(struct listeners *all, const struct conf *conf, size_t loops, struct inherited *from, struct buf *why)
{
	const struct {
		const char *setting;
		const struct list *list;
	} wanted[LISTEN_KINDS] = {
		[LISTEN_HTTP] = { "http_listen", &conf->http_listen },
		[LISTEN_HTTPS] = { "https_listen", &conf->https_listen },
		[LISTEN_ADMIN] = { "admin_listen", &conf->admin_listen },
	};
	struct buf fault = BUF(4096);
	struct opening o = { .all = all, .from = from, .data_dir = conf->data_dir, .why = &fault };

	all->n = 0;
	all->loops = loops;
	conf_octal(span_of(conf->socket_mode), &o.mode);
	for (size_t k = 0; k < LISTEN_KINDS; k++) {
		size_t before = all->n;

		o.kind = (enum listen_kind)k;
		if (!take_given(all, o.kind, from, why))
			goto fail;
		if (all->n > before)
			continue;
		for (size_t i = 0; i < wanted[k].list->n; i++)
			if (!open_text(&o, wanted[k].list->item[i])) {
				conf_blame_item(conf, wanted[k].setting, wanted[k].list, i, why);
				buf_add(why, buf_span(&fault));
				goto fail;
			}
	}
	return true;

fail:
	buf_free(&fault);
	/* The other tracker goes on: its sockets' files stay. */
	listen_close(all, from->n > 0);
	return false;
}

size_t
listen_share(const struct listener *l, size_t loop, size_t loops, int fd[LOOPS_MAX])
{
	size_t n = 0;

	if (l->kind == LISTEN_ADMIN) {
		for (size_t i = 0; loop == 0 && i < l->n; i++)
			fd[n++] = l->fd[i];
		return n;
	}
	for (size_t i = loop; i < l->n; i += loops)
		fd[n++] = l->fd[i];
	if (n == 0)
		fd[n++] = l->fd[loop % l->n];
	return n;
}

void
listen_close(struct listeners *all, bool handed_over)
{
	for (size_t i = 0; i < all->n; i++)
		close_listener(&all->at[i], handed_over);
	all->n = 0;
}
