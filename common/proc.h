/* proc.h -- manners of a daemon: arguments, signals, readiness. */
#ifndef REKINDLE_PROC_H
#define REKINDLE_PROC_H

#include <signal.h>
#include <stdbool.h>

#define DEFAULT_CONF_FILE SYSCONFDIR "/rekindle/rekindle.conf"

/*
 * -c FILE, -V or --version, -h or --help; anything else is usage, exit status 2.  Returns the configuration file.
 * --takeover too, which sets *takeover, unless that is NULL.
 */
const char *proc_arguments(int argc, char **argv, const char *program, bool *takeover);

/* Blocks these and SIGPIPE in this thread and all that it starts, and ignores SIGXFSZ.  Call before any thread. */
void proc_block(const sigset_t *);

/*
 * The ports are bound, the files open: from here on no more rights than any
 * user has, whatever the service manager or root gave, and none to be had by
 * way of a program that is started.  Root stays root, which was warned of.
 */
void proc_settle(void);

/* Tells systemd (sd_notify(3)'s protocol), when it listens: "READY=1", "STOPPING=1", "RELOADING=1". */
void proc_notify(const char *state);

#endif
