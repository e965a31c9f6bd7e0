/* handover.c -- a new tracker takes the listening sockets over from the one that runs. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "tracker/handover.h"

/* One packet for each socket, with the socket; one of PROTOCOL alone at the end.  Then the other side's READY. */
#define PROTOCOL 1
#define READY 'R'

struct packet {
	unsigned char version, kind, given;
};

struct handover {
	char *path;
	int listener, client; /* one client at a time; -1: none */
	pid_t pid;            /* of the client */
};

static bool
socket_name(const char *data_dir, const char *suffix, struct sockaddr_un *sun)
{
	int n;

	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(sun->sun_path, sizeof sun->sun_path, "%s/%s%s", data_dir, HANDOVER_FILE, suffix);
	return n > 0 && (size_t)n < sizeof sun->sun_path;
}

static void
limit_time(int fd)
{
	const struct timeval tv = { HANDOVER_WITHIN_S, 0 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static bool
peer_of(int fd, struct ucred *who)
{
	socklen_t n = sizeof *who;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &n) == 0;
}

/* ---- the new one ---- */

/* 1: a socket, in *fd; 0: that was the last one; -1 with errno. */
static int
receive_socket(int from, struct packet *p, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { p, sizeof *p };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	*fd = -1;
	if ((c = CMSG_FIRSTHDR(&m)) != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof *fd))
		memcpy(fd, CMSG_DATA(c), sizeof *fd);
	if (n == 1 && p->version == PROTOCOL && *fd == -1)
		return 0;
	if (n == sizeof *p && p->version == PROTOCOL && p->kind < LISTEN_KINDS && *fd != -1)
		return 1;
	if (*fd != -1)
		close(*fd);
	errno = n == 0 ? ECONNRESET : EPROTO; /* 0: it refused, or died */
	return -1;
}

int
handover_ask(const char *data_dir, struct inherited *all, pid_t *from, struct buf *why)
{
	struct sockaddr_un sun;
	struct packet p;
	struct ucred who;
	int conversation, fd, more;

	if (!socket_name(data_dir, "", &sun))
		return -1;
	if ((conversation = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) == -1)
		goto fail;
	limit_time(conversation);
	if (connect(conversation, (struct sockaddr *)&sun, sizeof sun) == -1) {
		if (errno != ENOENT && errno != ECONNREFUSED)
			goto fail;
		close(conversation);
		return -1;
	}
	while ((more = receive_socket(conversation, &p, &fd)) > 0)
		inherited_add(all, fd, (enum listen_kind)p.kind, p.given != 0);
	if (more < 0 || !peer_of(conversation, &who))
		goto fail;
	*from = who.pid;
	return conversation;

fail:
	buf_addf(why, "cannot take over: %s: %s", sun.sun_path, strerror(errno));
	if (conversation != -1)
		close(conversation);
	return -1;
}

void
handover_ready(int conversation)
{
	const char ready = READY;

	if (send(conversation, &ready, 1, MSG_NOSIGNAL) != 1)
		log_warn("handover: the other tracker does not hear that it may stop: %s", strerror(errno));
	close(conversation);
}

/* ---- the one that runs ---- */

static bool
somebody_listens(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool yes = fd != -1 && connect(fd, (const struct sockaddr *)sun, sizeof *sun) == 0;

	if (fd != -1)
		close(fd);
	return yes;
}

/* Made beside its place and then moved there, so that there is always one that answers. */
struct handover *
handover_open(const char *data_dir, bool replace)
{
	struct handover *h = xcalloc(1, sizeof *h);
	struct sockaddr_un place, beside;
	char suffix[16];
	int rc;

	h->listener = h->client = -1;
	snprintf(suffix, sizeof suffix, ".%d", (int)getpid());
	if (!socket_name(data_dir, "", &place) || !socket_name(data_dir, suffix, &beside)) {
		errno = ENAMETOOLONG;
		goto fail;
	}
	if (!replace && somebody_listens(&place)) {
		log_warn("handover: another tracker runs on %s; this one cannot be taken over", data_dir);
		free(h);
		return NULL;
	}
	if ((h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1)
		goto fail;
	unlink(beside.sun_path);
	if (bind(h->listener, (struct sockaddr *)&beside, sizeof beside) == -1)
		goto fail;
	/* Nobody can connect before listen(2), so the mode is right in time; the umask is the whole process's. */
	if (chmod(beside.sun_path, 0600) == -1 || listen(h->listener, 1) == -1 || rename(beside.sun_path, place.sun_path) == -1) {
		rc = errno;
		unlink(beside.sun_path);
		errno = rc;
		goto fail;
	}
	h->path = xstrdup(place.sun_path);
	return h;

fail:
	log_warn("handover: this tracker cannot be taken over: %s/%s: %s", data_dir, HANDOVER_FILE, strerror(errno));
	if (h->listener != -1)
		close(h->listener);
	free(h);
	return NULL;
}

int
handover_fd(const struct handover *h)
{
	return h->client != -1 ? h->client : h->listener;
}

static bool
send_socket(int to, const struct packet *p, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)p, sizeof *p };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(to, &m, MSG_NOSIGNAL) == sizeof *p;
}

static bool
send_all(int to, const struct listeners *all)
{
	const unsigned char end = PROTOCOL;

	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < all->at[i].n; k++) {
			const struct packet p = { PROTOCOL, (unsigned char)all->at[i].kind, all->at[i].given };

			if (!send_socket(to, &p, all->at[i].fd[k]))
				return false;
		}
	return send(to, &end, sizeof end, MSG_NOSIGNAL) == sizeof end;
}

static void
greet(struct handover *h, const struct listeners *all)
{
	struct ucred who;

	if ((h->client = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC)) == -1)
		return;
	limit_time(h->client);
	if (!peer_of(h->client, &who))
		goto end;
	h->pid = who.pid;
	if (who.uid != 0 && who.uid != geteuid()) {
		log_warn("handover: process %d of user %u may not take over", (int)who.pid, (unsigned)who.uid);
		goto end;
	}
	if (send_all(h->client, all))
		return;
end:
	close(h->client);
	h->client = -1;
}

bool
handover_serve(struct handover *h, const struct listeners *all, pid_t *to)
{
	char word = 0;
	ssize_t n;

	if (h->client == -1) {
		greet(h, all);
		return false;
	}
	n = recv(h->client, &word, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	close(h->client);
	h->client = -1;
	*to = h->pid;
	if (n == 1 && word == READY)
		return true;
	/* Somebody who only looks whether we are here has not taken anything. */
	return false;
}

void
handover_close(struct handover *h, bool handed_over)
{
	if (h == NULL)
		return;
	if (!handed_over)
		unlink(h->path);
	if (h->client != -1)
		close(h->client);
	close(h->listener);
	free(h->path);
	free(h);
}
