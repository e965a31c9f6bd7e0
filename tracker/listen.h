/* listen.h -- the sockets at which clients arrive: one per address and loop. */
#ifndef REKINDLE_LISTEN_H
#define REKINDLE_LISTEN_H

#include "common/conf.h"

#define LOOPS_MAX 256
#define LISTENERS_MAX 64
#define LISTEN_BACKLOG 4096

enum listen_kind { LISTEN_HTTP, LISTEN_HTTPS, LISTEN_ADMIN };

/* One address, listened on by every loop, or by the first one (admin). */
struct listener {
	int fd[LOOPS_MAX];
	size_t n;
	enum listen_kind kind;
};

struct listeners {
	struct listener at[LISTENERS_MAX];
	size_t n, loops;
};

/*
 * Opens and logs all of them, non-blocking and close-on-exec.  Before
 * privileges are dropped.  False with why: then none is open.
 */
bool listen_open(struct listeners *, const struct conf *, size_t loops, struct buf *why);
/* Those that no loop took over. */
void listen_close(struct listeners *);

#endif
