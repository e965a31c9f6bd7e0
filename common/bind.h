/* bind.h -- stream sockets to listen on, at addresses as the settings write them. */
#ifndef REKINDLE_BIND_H
#define REKINDLE_BIND_H

#include <sys/socket.h>

#include "common/buf.h"

/* Of any family; AF_UNIX: a path. */
struct address {
	struct sockaddr_storage name;
	socklen_t n;
};

/* Where this socket is. */
bool address_of(int fd, struct address *);
/* The path of a socket in the file system, or NULL. */
const char *address_path(const struct address *);
/* Appends 192.0.2.1:80, [2001:db8::1]:80 or unix:/PATH. */
void address_add(struct buf *, const struct address *);

/*
 * All that HOST:PORT, [V6]:PORT, *:PORT, PORT or unix:/PATH means here, which
 * may be several; the caller frees them.  NULL with why.
 */
struct address *address_find(const char *text, size_t *n, struct buf *why);

/*
 * Bound, non-blocking and close-on-exec, and not yet listening.  -1 with
 * errno, and in what the call that failed.  shared: others may bind to the
 * same address (SO_REUSEPORT).
 */
int bind_network(const struct address *, bool shared, const char **what);
/*
 * The same for a path, and listening already.  The socket's file has this mode
 * from the first moment.  One that nobody listens at, as a program that was
 * killed leaves it, is replaced; other files are not.  Sets the umask for a
 * moment: before any thread.
 */
int bind_path(const struct address *, unsigned mode, int backlog, const char **what);
/*
 * From the look at what is at a path until somebody listens there no other one
 * may think that it was left behind: of two that start at once the second
 * would remove the first one's socket.  To be closed when we listen; -1 where
 * there is no such lock, or after three seconds a descriptor without one,
 * which must do.
 */
int bind_lock(const char *path);
/*
 * Appends why a socket could not be had: what failed, unless NULL, and
 * errno's words.  For one in the file system (path not NULL) whose directory
 * is the cause, which one that is and what is to be done.
 */
void bind_why(struct buf *, const char *path, const char *what, int error);
/* Nothing to stop for: a machine without IPv6, or a name that has more addresses than this machine. */
bool bind_optional(int error, size_t addresses);
/* For a socket of root's: it goes to whom its directory belongs, user and group.  Warns when it cannot. */
void bind_give_away(const char *path);

#endif
