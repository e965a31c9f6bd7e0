/* listen.h -- the sockets at which clients arrive: one per address and loop, opened here or handed to us open. */
#ifndef REKINDLE_LISTEN_H
#define REKINDLE_LISTEN_H

#include "common/conf.h"

#define LOOPS_MAX 256
#define LISTENERS_MAX 64
#define LISTEN_BACKLOG 4096

enum listen_kind { LISTEN_HTTP, LISTEN_HTTPS, LISTEN_ADMIN, LISTEN_KINDS };

/* "http", "https", "admin" */
const char *listen_name(enum listen_kind);

/*
 * One address.  Every loop listens on it, but for admin, which is the first
 * one's.  Mostly each has a socket of its own and the kernel spreads
 * connections over them; sockets that came open may be fewer than loops, and
 * are shared, or more, and then every one of them still needs somebody to accept.
 */
struct listener {
	enum listen_kind kind;
	bool given;        /* by systemd: there instead of what the settings say of this kind */
	char *path;        /* of a socket in the file system that is ours to remove, or NULL */
	size_t n;
	int fd[LOOPS_MAX];
};

struct listeners {
	struct listener at[LISTENERS_MAX];
	size_t n, loops;
};

/* Sockets that somebody else opened. */
struct inherited {
	struct inherited_socket {
		int fd; /* -1: in use */
		enum listen_kind kind;
		bool given;
	} *item;
	size_t n;
};

/*
 * What systemd passes (sd_listen_fds(3)'s protocol: LISTEN_PID, LISTEN_FDS,
 * LISTEN_FDNAMES), which leaves the environment with it.  FileDescriptorName=
 * says what a socket is for.  False with why when it does not.
 */
bool listen_systemd(struct inherited *, struct buf *why);
/* One more; the fd is taken over. */
void inherited_add(struct inherited *, int fd, enum listen_kind, bool given);
/* Closes what nobody used. */
void inherited_free(struct inherited *);

/*
 * Opens and logs all of them, non-blocking and close-on-exec, those that were
 * inherited first: what systemd gave is listened on as it is, and what another
 * tracker had is taken where the settings name the same address.  Before
 * privileges are dropped.  False with why: then none is open.
 */
bool listen_open(struct listeners *, const struct conf *, size_t loops, struct inherited *, struct buf *why);
/* The sockets that the loop of this number listens on; more than LISTENERS_MAX * LOOPS_MAX is impossible. */
size_t listen_share(const struct listener *, size_t loop, size_t loops, int fd[LOOPS_MAX]);
/* Closes all; removes what is ours in the file system, unless it was handed over. */
void listen_close(struct listeners *, bool handed_over);

#endif
