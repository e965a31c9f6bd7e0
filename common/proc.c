#include "common/proc.h"

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

static void
usage(FILE *to, const char *program, bool may_take_over)
{
	fprintf(to, "usage: %s [-c FILE]%s\n       %s -V | --version | -h | --help\n", program,
	    may_take_over ? " [--takeover]" : "", program);
	fprintf(to, "Settings are read from %s unless -c names another file.\n", DEFAULT_CONF_FILE);
}

const char *
proc_arguments(int argc, char **argv, const char *program, bool *takeover)
{
	static const struct option words[] = {
		{ "takeover", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { NULL, 0, NULL, 0 }
	};
	const char *file = DEFAULT_CONF_FILE;
	int c;

	while ((c = getopt_long(argc, argv, "c:Vh", takeover != NULL ? words : words + 1, NULL)) != -1) {
		switch (c) {
		case 'c':
			file = optarg;
			break;
		case 't':
			*takeover = true;
			break;
		case 'V':
			printf("%s %s\n", program, PACKAGE_VERSION);
			exit(0);
		case 'h':
			usage(stdout, program, takeover != NULL);
			exit(0);
		default:
			usage(stderr, program, takeover != NULL);
			exit(2);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected argument `%s'\n", program, argv[optind]);
		usage(stderr, program, takeover != NULL);
		exit(2);
	}
	return file;
}

void
proc_block(const sigset_t *set)
{
	sigset_t all = *set;
	int rc;

	sigaddset(&all, SIGPIPE);
	if ((rc = pthread_sigmask(SIG_BLOCK, &all, NULL)) != 0)
		fatal("cannot block signals: %s", strerror(rc));
	/* A file that has reached its size limit is a full disk, and no reason to die. */
	signal(SIGXFSZ, SIG_IGN);
}

void
proc_settle(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		log_warn("cannot forgo new privileges: %s", strerror(errno));
	if (geteuid() == 0)
		return;
	/* An old kernel has no ambient ones to clear. */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) != 0)
		log_warn("cannot give up capabilities: %s", strerror(errno));
}

/* An @ stands for the NUL byte that abstract names begin with. */
static bool
notify_address(const char *name, struct sockaddr_un *sun, socklen_t *len)
{
	size_t n = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof sun->sun_path)
		return false;
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sun->sun_path, name, n);
	if (name[0] == '@')
		sun->sun_path[0] = '\0';
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

/* RELOADING=1 is taken only with the time at which it began (systemd 253 and later). */
void
proc_notify(const char *state)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun;
	socklen_t len;
	char text[256];
	int fd, n;

	if (name == NULL || *name == '\0')
		return;
	if (!notify_address(name, &sun, &len)) {
		log_warn("notify: NOTIFY_SOCKET=%s is not a socket's name", name);
		return;
	}
	if (strcmp(state, "RELOADING=1") == 0)
		n = snprintf(text, sizeof text, "%s\nMONOTONIC_USEC=%lld", state, (long long)clock_us());
	else
		n = snprintf(text, sizeof text, "%s", state);
	if (n < 0 || (size_t)n >= sizeof text)
		return;
	if ((fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 ||
	    sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (const struct sockaddr *)&sun, len) != n)
		log_warn("notify: cannot tell systemd %s: %s", state, strerror(errno));
	if (fd >= 0)
		close(fd);
}
