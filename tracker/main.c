/* main.c -- rekindle-tracker: start, signals, stop. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/fold.h"
#include "common/log.h"
#include "common/pack.h"
#include "common/proc.h"
#include "tracker/handover.h"
#include "tracker/loop.h"
#include "tracker/tls.h"

#define DESCRIPTORS_EXTRA 128 /* beside connections: listeners, loops, the store, logs */
#define LOOK_EACH_MS 1000     /* at the key file */

/* Every connection is a descriptor; the default of 1,024 is for other programs. */
static void
raise_descriptors(const struct conf *conf)
{
	struct rlimit limit;
	rlim_t want = (rlim_t)conf->max_connections + DESCRIPTORS_EXTRA;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = want;
	if (limit.rlim_max < want)
		limit.rlim_max = want; /* root may */
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	log_warn("max_connections = %u needs %llu descriptors, but only %llu are allowed (ulimit -n)",
	    conf->max_connections, (unsigned long long)want, (unsigned long long)limit.rlim_cur);
}

/* What a reload cannot change. */
static void
log_restart(const struct conf *was, const struct conf *is)
{
	const struct fixed own[] = {
		{ "http_listen", !conf_list_eq(&was->http_listen, &is->http_listen) },
		{ "https_listen", !conf_list_eq(&was->https_listen, &is->https_listen) },
		{ "admin_listen", !conf_list_eq(&was->admin_listen, &is->admin_listen) },
		{ "socket_mode", strcmp(was->socket_mode, is->socket_mode) != 0 },
		{ "threads", was->threads != is->threads },
	};

	setup_warn_fixed(was, is, own, sizeof own / sizeof *own);
}

/* Only when somebody needs them.  False with why. */
static bool
load_tls(struct server *server, const struct conf *conf, const char *file, struct buf *why)
{
	struct ssl_ctx_st *tls;

	if (!server_wants_tls(server))
		return true;
	if ((tls = tls_load(conf, why)) == NULL) {
		if (why->n == 0)
			buf_addf(why, "%s: https needs a certificate; name its files in tls_cert and tls_key\n", file);
		return false;
	}
	server_tls(server, tls);
	return true;
}

static bool
reload_tls(struct server *server, const struct conf *conf, const char *file)
{
	struct buf why = BUF(256 * 1024);
	bool good = load_tls(server, conf, file, &why);

	if (!good) {
		setup_log_faults(buf_span(&why));
		log_error("tls: not reloaded, the old certificates stay");
	}
	buf_free(&why);
	return good;
}

static void
reload(struct setup_slot *slot, struct server *server, struct store *store, struct fold *fold, const struct conf *started,
    const char *file)
{
	bool reloaded, tls = false;
	struct setup *s;

	proc_notify("RELOADING=1");
	if ((reloaded = setup_reload(slot, file))) {
		s = setup_get(slot);
		log_restart(started, s->conf);
		raise_descriptors(s->conf);
		fold_want(fold, &s->conf->rules);
		tls = reload_tls(server, s->conf, file) && server_wants_tls(server);
		server_reload(server);
		store_limit(store, s->conf->facts_size, s->conf->state_size);
		setup_put(s);
	}
	server_reopen(server);
	if (tls)
		log_info("tls: certificates reloaded");
	if (reloaded)
		log_info("settings: reloaded from %s", file);
	proc_notify("READY=1");
}

/* What was opened before us: by systemd, or by the tracker that runs, when we are asked to take over.  The conversation, or -1. */
static int
inherit(struct inherited *all, const struct conf *conf, bool takeover, pid_t *from)
{
	struct buf why = BUF(4096);
	int conversation = -1;

	if (!listen_systemd(all, &why))
		fatal("%s", buf_cstr(&why));
	if (takeover && (conversation = handover_ask(conf->data_dir, all, from, &why)) == -1) {
		if (why.n > 0)
			fatal("%s", buf_cstr(&why));
		log_info("no tracker runs on %s; there is nothing to take over", conf->data_dir);
	}
	buf_free(&why);
	return conversation;
}

/* The next signal, or 0 when another tracker listens now; its process id is in *to.  Meanwhile it looks for new keys. */
static int
wait_signal(int signals, struct handover *handover, struct server *server, struct setup_slot *slot, pid_t *to)
{
	for (;;) {
		struct pollfd p[] = {
			{ .fd = signals, .events = POLLIN },
			{ .fd = handover != NULL ? handover_fd(handover) : -1, .events = POLLIN },
		};
		struct signalfd_siginfo got;

		switch (poll(p, 2, LOOK_EACH_MS)) {
		case 0:
			if (setup_add_keys(slot))
				server_reload(server);
			continue;
		case -1:
			continue;
		}
		if (p[0].revents != 0 && read(signals, &got, sizeof got) == sizeof got)
			return (int)got.ssi_signo;
		if (p[1].revents != 0 && handover_serve(handover, server_listeners(server), to))
			return 0;
	}
}

int
main(int argc, char **argv)
{
	bool takeover = false, was_root = geteuid() == 0;
	const char *file = proc_arguments(argc, argv, "rekindle-tracker", &takeover);
	struct inherited inherited = { 0 };
	struct handover *handover;
	int conversation, signal_fd, got;
	pid_t other = 0;
	struct buf why = BUF(1024 * 1024);
	static struct setup_slot *slot; /* as long as the process */
	struct setup *first;
	struct server *server;
	struct store *store;
	struct writer *writer;
	struct fold *fold;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	proc_block(&signals);

	log_open("rekindle-tracker", false, LOG_LEVEL_INFO);
	if ((first = setup_load(file, &why)) == NULL || !setup_load_pages(first, &why)) {
		setup_log_faults(buf_span(&why));
		buf_free(&why);
		setup_put(first);
		return 1;
	}
	log_open("rekindle-tracker", first->conf->log_syslog, first->conf->log_level);
	raise_descriptors(first->conf);

	pack_start();
	/* Ports below 1024 and the limit above need root; nothing after this line does. */
	conversation = inherit(&inherited, first->conf, takeover, &other);
	if ((server = server_bind(first->conf, &inherited, &why)) == NULL)
		fatal("%s", buf_cstr(&why));
	inherited_free(&inherited);
	if (!setup_become_owner(first->conf, &why)) {
		setup_log_faults(buf_span(&why));
		return 1;
	}
	if (geteuid() == 0)
		log_warn("running as root, because %s belongs to root; give it to a user of its own", first->conf->data_dir);

	if (was_root && geteuid() != 0 && !setup_load_again(&first, file, &why)) {
		setup_log_faults(buf_span(&why));
		return 1;
	}
	/* As whom we are from now on: a certificate that only root can read would fail on the first reload. */
	if (!load_tls(server, first->conf, file, &why)) {
		setup_log_faults(buf_span(&why));
		return 1;
	}

	struct store_options options = {
		.dir = first->conf->data_dir, .lock_dir = first->conf->lock_dir, .create = true,
		.facts_size = first->conf->facts_size, .state_size = first->conf->state_size,
		/* Links need no store.  But whom we would replace has the good one open. */
		.damaged = conversation == -1,
	};

	if ((store = store_open(&options, &why)) == NULL)
		fatal("%s", buf_cstr(&why));
	setup_warn_locks(first->conf, store);
	proc_settle();
	slot = setup_slot_new(first);
	first = setup_get(slot);
	writer = writer_start(store, first->conf->data_dir, NULL, first->conf->journal_size);
	fold = fold_start(store, first->conf->keep_facts, &first->conf->rules);
	if ((signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)) == -1)
		fatal("signalfd: %s", strerror(errno));
	server_start(server, slot, store, writer);
	handover = handover_open(first->conf->data_dir, conversation != -1);
	proc_notify("READY=1");
	log_info("started, version %s", PACKAGE_VERSION);
	if (conversation != -1) {
		handover_ready(conversation);
		log_info("took over from process %d", (int)other);
	}

	while ((got = wait_signal(signal_fd, handover, server, slot, &other)) == SIGHUP || got == SIGUSR1)
		reload(slot, server, store, fold, first->conf, file);

	proc_notify("STOPPING=1");
	if (got == 0)
		log_info("stopping, process %d took over", (int)other);
	else
		log_info("stopping");
	server_stop(server, got == 0);
	handover_close(handover, got == 0);
	close(signal_fd);
	writer_stop(writer); /* gives every task back to its loop */
	fold_stop(fold);
	server_free(server);
	store_close(store);
	setup_put(first);
	buf_free(&why);
	log_info("stopped");
	return 0;
}
