/* main.c -- rekindle-milter: start, socket, signals, end. */
#include <errno.h>
#include <inttypes.h>
#include <libmilter/mfapi.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/bind.h"
#include "common/clock.h"
#include "common/fold.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/pack.h"
#include "common/proc.h"
#include "milter/ask.h"
#include "milter/filter.h"
#include "milter/follow.h"

#define PROGRAM "rekindle-milter"
#define SESSION_TIMEOUT 3600 /* seconds that an MTA may be silent in a connection; Postfix gives up long before */
#define DRAIN_MS 5000
#define BACKLOG 128
#define REMEMBER_MS 10000   /* for what an earlier process left; sums that are made anew take longer, and mail does not wait for those */
#define REMEMBER_BATCH 8192 /* touches in one transaction */

struct reloader {
	struct setup_slot *slot;
	const char *file;
	struct store *store;
	struct fold *fold;
	struct ask *ask;
	const struct filter *filter;
	const struct setup *started; /* to the end */
};

static bool follows; /* there is a mail_log */

static void
log_stats(const char *when, const struct filter *f, const struct ask *ask)
{
	struct brakes_stats b;
	struct filter_stats s;
	struct ask_stats asked;
	struct follow_stats l;

	filter_stats(&s);
	log_info("%s messages=%" PRIu64 " tagged=%" PRIu64 " untouched=%" PRIu64 " stopped=%" PRIu64 " would=%" PRIu64
		 " oversize=%" PRIu64 " unrecorded=%" PRIu64 " failed=%" PRIu64,
	    when, s.messages, s.tagged, s.untouched, s.stopped, s.would, s.oversize, s.unrecorded, s.failed);
	brakes_stats(f->brakes, &b);
	log_info("%s braked=%" PRIu64 " shares=%" PRIu64 " outages=%" PRIu64 " throttled=%" PRIu64, when, b.campaigns, b.shares,
	    b.outages, throttle_count(f->throttle));
	if (ask != NULL) {
		ask_stats(ask, &asked);
		log_info("%s lookups=%" PRIu64 " routed=%" PRIu64 " stopped=%" PRIu64 " unread=%" PRIu64 " malformed=%" PRIu64
			 " connections=%" PRIu64,
		    when, asked.lookups, asked.routed, asked.stopped, asked.unread, asked.malformed, asked.connections);
	}
	if (!follows)
		return;
	follow_stats(&l);
	log_info("%s mail_log lines=%" PRIu64 " delivered=%" PRIu64 " deferred=%" PRIu64 " bounced=%" PRIu64 " soft_bounced=%" PRIu64
		 " policy_bounced=%" PRIu64,
	    when, l.lines, l.delivered, l.deferred, l.bounced, l.soft_bounced, l.policy_bounced);
}

/* What a reload cannot change. */
static void
log_restart(const struct conf *was, const struct conf *is)
{
	const struct fixed own[] = {
		{ "milter_socket", strcmp(was->milter_socket, is->milter_socket) != 0 },
		{ "mail_log", strcmp(was->mail_log, is->mail_log) != 0 },
		{ "ask_listen", !conf_list_eq(&was->ask_listen, &is->ask_listen) },
		{ "socket_mode", was->ask_listen.n > 0 && strcmp(was->socket_mode, is->socket_mode) != 0 },
	};

	setup_warn_fixed(was, is, own, sizeof own / sizeof *own);
}

/* libmilter takes HUP for an end, so reloading is USR1. */
static void *
reload_on_usr1(void *arg)
{
	struct reloader *r = arg;
	sigset_t usr1;
	int number;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	while (sigwait(&usr1, &number) == 0) {
		proc_notify("RELOADING=1");
		if (setup_reload(r->slot, r->file)) { /* says what went wrong */
			struct setup *s = setup_get(r->slot);

			log_restart(r->started->conf, s->conf);
			store_limit(r->store, s->conf->facts_size, s->conf->state_size);
			fold_want(r->fold, &s->conf->rules);
			setup_put(s);
			log_info("settings: reloaded from %s", r->file);
		}
		log_stats("so far", r->filter, r->ask);
		proc_notify("READY=1");
	}
	return NULL;
}

/* HUP, TERM and INT are libmilter's to wait for; no other thread may die of them. */
static void
block_signals(void)
{
	static const int numbers[] = { SIGUSR1, SIGHUP, SIGTERM, SIGINT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sigaddset(&set, numbers[i]);
	proc_block(&set);
}

/* One socket from systemd, or the one in the settings. */
static void
socket_name(const struct conf *c, struct buf *out)
{
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");

	if (fds != NULL && strcmp(fds, "1") == 0 && pid != NULL && strtol(pid, NULL, 10) == (long)getpid())
		buf_adds(out, "fd:3");
	else if (!conf_milter_socket(span_of(c->milter_socket), out))
		fatal("milter_socket = %s: cannot be understood", c->milter_socket);
}

/* The path of a unix socket, or NULL. */
static const char *
socket_path(const char *name)
{
	if (strncmp(name, "unix:", 5) == 0)
		return name + 5;
	return strncmp(name, "local:", 6) == 0 ? name + 6 : NULL;
}

static void __attribute__((noreturn))
refuse_socket(const struct conf *c, const char *name, const char *why)
{
	struct buf where = BUF(8192);

	conf_blame(c, "milter_socket", &where);
	fatal("%scannot listen on %s: %s", buf_cstr(&where), name, why);
}

/*
 * What is left behind by an earlier process may go.  A socket that somebody
 * answers on may not: libmilter would take its place without a word, and at
 * our end remove it from under the other one.
 */
static void
refuse_to_replace(const struct conf *c, const char *name, const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (lstat(path, &st) != 0)
		return;
	if (!S_ISSOCK(st.st_mode))
		refuse_socket(c, name, "a file that is not a socket is there; name a path of its own");
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		return;
	if (connect(fd, (struct sockaddr *)&sun, sizeof sun) == 0)
		refuse_socket(c, name, "another program listens there; is rekindle-milter running already?");
	close(fd);
}

static int
listen_at(const struct addrinfo *a)
{
	const int on = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
	    bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	close(fd);
	return -1;
}

/*
 * libmilter sends each edit by itself, and over TCP all but the first would
 * wait for the other end's delayed acknowledgement: 90 ms for each message.
 * Connections inherit TCP_NODELAY from the socket that they come in by, so we
 * make that one ourselves.  `name` is family:port@host or family:port; -1:
 * no such name, or it cannot be had, which libmilter will tell.
 */
static int
tcp_listener(const char *name)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
	struct span s = span_of(name), port, host;
	char *port_text, *host_text;
	int fd = -1;

	if (!span_starts(s, SPAN("inet")))
		return -1;
	hints.ai_family = span_starts(s, SPAN("inet6:")) ? AF_INET6 : AF_INET;
	s = span_from(s, span_find(s, ':') + 1);
	port = span_cut(s, 0, span_find(s, '@'));
	host = span_from(s, port.n + 1);
	if (span_starts(host, SPAN("[")))
		host = span_cut(host, 1, host.n - 1);
	port_text = xstrndup(port.p, port.n);
	host_text = xstrndup(host.n ? host.p : "", host.n);
	if (getaddrinfo(host.n ? host_text : NULL, port_text, &hints, &list) == 0) {
		fd = listen_at(list);
		freeaddrinfo(list);
	}
	free(port_text);
	free(host_text);
	return fd;
}

static bool
open_socket(const char *name)
{
	/* libmilter removes a socket that an earlier process left. */
	return smfi_setconn((char *)(uintptr_t)name) == MI_SUCCESS && smfi_opensocket(true) == MI_SUCCESS;
}

static void
listen_on(const struct conf *c)
{
	struct buf name = BUF(4096), why = BUF(8192);
	const char *path;
	int fd, lock = -1;

	socket_name(c, &name);
	path = socket_path(buf_cstr(&name));
	if (path != NULL) {
		lock = bind_lock(path);
		refuse_to_replace(c, buf_cstr(&name), path);
	}
	if ((fd = tcp_listener(buf_cstr(&name))) >= 0) {
		struct buf number = BUF(32);
		bool good;

		buf_addf(&number, "fd:%d", fd);
		good = open_socket(buf_cstr(&number));
		buf_free(&number);
		if (good) {
			buf_free(&name);
			return;
		}
		close(fd); /* a libmilter that knows no fd: takes the name */
	}
	if (!open_socket(buf_cstr(&name))) {
		bind_why(&why, path, NULL, errno);
		refuse_socket(c, buf_cstr(&name), buf_cstr(&why));
	}
	if (path != NULL && geteuid() == 0)
		bind_give_away(path);
	if (lock != -1)
		close(lock);
	buf_free(&name);
}

/* From root to the owner of data_dir, who must be able to read the settings at the next reload, too. */
static void
become_owner(struct setup **setup, const char *file)
{
	struct buf why = BUF(256 * 1024);
	bool was_root = geteuid() == 0;

	if (!setup_become_owner((*setup)->conf, &why) || (was_root && geteuid() != 0 && !setup_load_again(setup, file, &why))) {
		setup_log_faults(buf_span(&why));
		exit(1);
	}
	if (geteuid() == 0)
		log_warn("running as root, because %s belongs to root; give it to a user of its own", (*setup)->conf->data_dir);
	buf_free(&why);
}

static struct store *
open_store(const struct conf *c)
{
	struct store_options options = {
		.dir = c->data_dir,
		.lock_dir = c->lock_dir,
		.facts_size = c->facts_size,
		.state_size = c->state_size,
		.create = true,
	};
	struct buf why = BUF(1024);
	struct store *s;

	if ((s = store_open(&options, &why)) == NULL)
		fatal("%s", buf_cstr(&why));
	buf_free(&why);
	return s;
}

/* NULL: no lookups are answered. */
static struct ask *
listen_for_lookups(const struct conf *c)
{
	struct buf why = BUF(1024);
	struct ask *a;

	if (c->ask_listen.n == 0)
		return NULL;
	if ((a = ask_open(c, &why)) == NULL)
		fatal("%s", buf_cstr(&why));
	buf_free(&why);
	return a;
}

/*
 * What an earlier process sent counts under the caps from the first message
 * on.  What it left in a journal is on its way to the store by now.
 */
static void
remember(struct store *s, struct writer *w)
{
	const struct timespec tick = { .tv_nsec = 5 * 1000000 };
	int64_t until = clock_ms() + REMEMBER_MS;
	struct writer_stats stats;
	struct fold_row row = { 0 };
	enum store_result r;
	uint64_t last;
	size_t n;

	for (writer_stats(w, &stats); stats.journal.waiting > 0 && clock_ms() < until; writer_stats(w, &stats))
		nanosleep(&tick, NULL);
	last = store_last(s);
	do
		r = fold_sweep(s, &row, REMEMBER_BATCH, REMEMBER_BATCH, &n);
	while ((r == STORE_OK || r == STORE_MOVED) && store_folded(s) < last && clock_ms() < until);
	fold_row_free(&row);
	if (stats.journal.waiting > 0 || store_folded(s) < last)
		log_warn("starts although not all touches are summed up; frequency caps do not know the last ones yet");
}

static void
start_reloader(struct reloader *r)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, reload_on_usr1, r) != 0)
		fatal("cannot start a thread");
	pthread_detach(thread);
}

int
main(int argc, char **argv)
{
	const char *file = proc_arguments(argc, argv, PROGRAM, NULL);
	struct buf why = BUF(64 * 1024);
	struct setup *setup;
	/* Threads look at these to the very end. */
	static struct filter filter;
	static struct reloader reloader;
	struct follow *follow = NULL;
	struct fold *fold;
	struct ask *ask;
	int rc;

	log_open(PROGRAM, false, LOG_LEVEL_INFO);
	if ((setup = setup_load(file, &why)) == NULL) {
		setup_log_faults(buf_span(&why));
		buf_free(&why);
		return 1;
	}
	buf_free(&why);
	log_open(PROGRAM, setup->conf->log_syslog, setup->conf->log_level);
	block_signals();
	umask(007);

	pack_start();
	if (!filter_register(&filter))
		fatal("libmilter refuses to start");
	smfi_settimeout(SESSION_TIMEOUT);
	/* In this order, so that whoever reaches the milter is answered lookups, too. */
	ask = listen_for_lookups(setup->conf);
	listen_on(setup->conf);
	become_owner(&setup, file);
	filter.store = open_store(setup->conf);
	setup_warn_locks(setup->conf, filter.store);
	proc_settle();
	filter.writer = writer_start(filter.store, store_lock_dir(filter.store), setup->conf->data_dir, setup->conf->journal_size);
	filter.recents = recents_new(RECENT_MAX);
	fold = fold_start(filter.store, setup->conf->keep_facts, &setup->conf->rules);
	remember(filter.store, filter.writer);
	log_info("listening on %s", setup->conf->milter_socket);
	filter.slot = setup_slot_new(setup);
	filter.throttle = throttle_new(filter.store);
	filter.brakes = brakes_start(filter.store, filter.slot, filter.throttle);
	reloader = (struct reloader){ .slot = filter.slot, .file = file, .store = filter.store, .fold = fold, .ask = ask, .filter = &filter,
		.started = setup_get(filter.slot) };
	ask_start(ask, filter.slot, filter.store);
	follows = setup->conf->mail_log[0] != '\0';
	if (follows)
		follow = follow_start(&(struct follow_options){ .log = setup->conf->mail_log, .dir = setup->conf->data_dir,
			.slot = filter.slot, .store = filter.store, .writer = filter.writer, .queue = &filter.queue });
	start_reloader(&reloader);
	proc_notify("READY=1");
	log_info("started, version %s", PACKAGE_VERSION);

	rc = smfi_main();

	proc_notify("STOPPING=1");
	ask_stop(ask);
	if (filter_drain(DRAIN_MS) && follow_stop(follow, DRAIN_MS)) {
		queue_close(filter.queue);
		log_stats("ends", &filter, reloader.ask);
		brakes_stop(filter.brakes);
		writer_stop(filter.writer);
		fold_stop(fold);
		store_close(filter.store);
	} else {
		/* A worker still uses all of it, behind a disk that hangs; our end closes the files as well. */
		log_warn("ends in the middle of a message; the MTA will send it again");
		log_stats("ends", &filter, reloader.ask);
	}
	return rc == MI_SUCCESS ? 0 : 1;
}
