/* rekindle conf -- the settings in effect. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/mem.h"
#include "common/text.h"

#define PRINTED_MAX (64 * 1024 * 1024)

/*
 * The printed settings as JSON: { "name": "value", ..., "policy": { ... },
 * "streams": { "NAME": { ... } } }.  Values stay the text that the file
 * would have, because that is what the manual explains.
 */
static void
emit_settings(struct span text)
{
	struct emit e = { 0 };
	struct span line;
	bool section = false, streams = false;

	emit_open(&e, NULL, '{');
	while (span_split(&text, '\n', &line)) {
		size_t eq;
		char name[256];

		line = span_trim(line);
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (line.p[0] == '[') {
			struct span inner = span_trim(span_cut(line, 1, span_find(line, ']')));
			bool stream = span_starts(inner, SPAN("stream "));

			if (section)
				emit_close(&e, '}');
			if (streams && !stream)
				emit_close(&e, '}');
			if (stream && !streams)
				emit_open(&e, "streams", '{');
			streams = stream;
			section = true;
			if (stream)
				inner = span_trim(span_from(inner, strlen("stream ")));
			snprintf(name, sizeof name, "%.*s", SPAN_ARG(inner));
			emit_open(&e, name, '{');
			continue;
		}
		eq = span_find(line, '=');
		snprintf(name, sizeof name, "%.*s", SPAN_ARG(span_trim(span_cut(line, 0, eq))));
		emit_text(&e, name, span_trim(span_from(line, eq + 1)));
	}
	if (section)
		emit_close(&e, '}');
	if (streams)
		emit_close(&e, '}');
	emit_close(&e, '}');
	emit_end(&e);
}

/* ---- check ---- */

/* May we look into the directory where it is? */
static bool
may_enter(const char *path)
{
	char *copy = xstrdup(path);
	bool may = access(dirname(copy), X_OK) == 0;

	free(copy);
	return may;
}

/* Who we are by now, as it stands in messages. */
static const char *
user_name(char number[32])
{
	struct passwd *pw = getpwuid(geteuid());

	snprintf(number, 32, "%lu", (unsigned long)geteuid());
	return pw ? pw->pw_name : number;
}

/* A file that root can read and its daemons cannot: what would mend it. */
static void
tell_refused(const struct conf *conf, struct span fault)
{
	struct stat st;
	struct passwd *pw = getpwuid(geteuid());
	/* Ours is the daemons'; but root's, of a data_dir that was only given to a user, would not be theirs as a service. */
	gid_t gid = getegid() == 0 && pw ? pw->pw_gid : getegid();
	struct group *group = gid != 0 ? getgrgid(gid) : NULL;
	struct buf of_keys = BUF(PRINTED_MAX);
	char number[32];
	bool keys;

	conf_blame(conf, "key_file", &of_keys);
	keys = span_starts(fault, buf_span(&of_keys));
	buf_free(&of_keys);
	if (keys && !may_enter(conf->key_file))
		cli_error("%.*s for user %s; its directory is closed to that user", SPAN_ARG(fault), user_name(number));
	else if (keys && group)
		cli_error("%.*s for user %s; chgrp %s%s and chmod 0640", SPAN_ARG(fault), user_name(number), group->gr_name,
		    stat(conf->data_dir, &st) == 0 && st.st_gid != gid ? " (data_dir too)" : "");
	else
		cli_error("%.*s for user %s", SPAN_ARG(fault), user_name(number));
}

/* What their user finds is what the daemons will find, and root could know no more; of a third user that is not so. */
static bool
is_owner(const struct conf *conf)
{
	struct stat st;

	return stat(conf->data_dir, &st) == 0 && st.st_uid == geteuid();
}

static void
tell_faults(const struct cli *c, const struct conf *conf, bool was_root, struct buf *why)
{
	struct span rest = buf_span(why), line;

	if (geteuid() == 0 || (!was_root && !is_owner(conf))) {
		cli_errors(c, why);
		return;
	}
	while (span_split(&rest, '\n', &line)) {
		if (span_ends(line, span_of(strerror(EACCES))))
			tell_refused(conf, line);
		else if (line.n > 0)
			cli_error("%.*s", SPAN_ARG(line));
	}
}

/* Root may have put them back from a copy, or begun them; none are made here. */
static bool
check_store_files(const struct conf *conf, struct buf *why)
{
	static const char *const names[] = { "facts.mdb", "state.mdb" };
	struct buf path = BUF(PRINTED_MAX);
	bool good = true;

	for (size_t i = 0; i < sizeof names / sizeof names[0] && is_owner(conf); i++) {
		buf_clear(&path);
		buf_addf(&path, "%s/%s", conf->data_dir, names[i]);
		if (access(buf_cstr(&path), R_OK | W_OK) != 0 && errno != ENOENT) {
			int error = errno;

			good = false;
			conf_blame(conf, "data_dir", why);
			buf_addf(why, "%s: %s; what is in data_dir has to belong to its owner; chown it\n", buf_cstr(&path), strerror(error));
		}
	}
	buf_free(&path);
	return good;
}

/* Becomes the user that owns the data, when root asks.  False, and a line in why: the daemons could not work there. */
static bool
check_data_dir(const struct conf *conf, struct buf *why)
{
	int error;

	if (!setup_become_owner(conf, why))
		return false;
	if (access(conf->data_dir, R_OK | W_OK | X_OK) == 0)
		return check_store_files(conf, why);
	error = errno;
	conf_blame(conf, "data_dir", why);
	buf_addf(why, "%s: %s\n", conf->data_dir, strerror(error));
	return false;
}

/* Each on its own line of the file, where it is known. */
static bool
check_files(const struct conf *conf, const struct list *l, const char *name, struct buf *why)
{
	bool good = true;

	for (size_t i = 0; i < l->n; i++) {
		int fd = open(l->item[i], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error;

		if (fd >= 0) {
			close(fd);
			continue;
		}
		good = false;
		error = errno;
		conf_blame_item(conf, name, l, i, why);
		buf_addf(why, "%s: %s\n", l->item[i], strerror(error));
	}
	return good;
}

/* Could the tracker append to it?  Nothing is made here. */
static bool
check_access_log(const struct conf *conf, struct buf *why)
{
	const char *path = conf->access_log;
	int error;
	char *copy;
	bool good;

	if (*path == '\0' || access(path, W_OK) == 0)
		return true;
	copy = xstrdup(path);
	good = errno == ENOENT && access(dirname(copy), W_OK | X_OK) == 0;
	error = errno;
	if (!good) {
		conf_blame(conf, "access_log", why);
		buf_addf(why, "%s: %s%s\n", path, strerror(error),
		    error == ENOENT ? "; make its directory, owned by the user that the daemons run as" : "");
	}
	free(copy);
	return good;
}

/* The daemons do without it, and warn at their start, so this is no fault.  Nothing is made here. */
static void
check_lock_dir(const struct conf *conf, struct buf *why)
{
	struct buf inside = BUF(PRINTED_MAX);

	/* Behind it, so that something else than a directory is told as what it is. */
	buf_addf(&inside, "%s/.", conf->lock_dir);
	if (access(buf_cstr(&inside), W_OK | X_OK) != 0) {
		int error = errno;

		conf_blame(conf, "lock_dir", why);
		buf_addf(why, "locks will be in data_dir, where a disk that hangs holds up readers: %s: %s", conf->lock_dir, strerror(error));
		setup_advise_directory(conf->lock_dir, why);
		buf_addc(why, '\n');
	}
	buf_free(&inside);
}

/*
 * Could the daemons work with this?  All that is wrong, not only the first
 * fault.  Settings and keys are read as the user that the daemons run as, for
 * what only root can read stops them, now or at the next reload.
 */
static int
check(struct cli *c)
{
	struct buf text = BUF(CONF_FILE_MAX + 1), faults = BUF(PRINTED_MAX), why = BUF(PRINTED_MAX);
	struct conf *conf = NULL;
	struct pages *pages;
	bool was_root = geteuid() == 0, good = false;

	if (!file_read(c->conf_file, CONF_FILE_MAX, &text, &why)) {
		cli_errors(c, &why);
		goto out;
	}
	conf = conf_parse_anyway(buf_span(&text), c->conf_file, &faults, &good);
	good = check_data_dir(conf, &why) && good;
	if (!(c->setup = setup_load(c->conf_file, &why))) {
		good = false;
		/* Not for that user to read: then these are not among what it found. */
		if (access(c->conf_file, R_OK) != 0)
			buf_add(&why, buf_span(&faults));
	}
	if (!(pages = setup_pages(conf, &why)))
		good = false;
	pages_free(pages);
	good = check_files(conf, &conf->tls_cert, "tls_cert", &why) && good;
	good = check_files(conf, &conf->tls_key, "tls_key", &why) && good;
	good = check_access_log(conf, &why) && good;
	check_lock_dir(conf, &why);
	tell_faults(c, conf, was_root, &why);
out:
	conf_free(conf);
	buf_free(&text);
	buf_free(&faults);
	buf_free(&why);
	if (!conf || !good)
		return EXIT_CANNOT;
	if (c->json) {
		struct emit e = { 0 };

		emit_open(&e, NULL, '{');
		emit_string(&e, "file", c->conf_file);
		emit_flag(&e, "good", true);
		emit_close(&e, '}');
		emit_end(&e);
	} else {
		printf("%s: settings, keys, pages and data_dir are good\n", c->conf_file);
	}
	return EXIT_FOUND;
}

int
cmd_conf(struct cli *c)
{
	bool want_check = false, sample = false;
	const struct cli_option options[] = {
		{ "check", .flag = &want_check },
		{ "sample", .flag = &sample },
	};
	struct buf text = BUF(PRINTED_MAX), why = BUF(65536);
	struct conf *conf = NULL;
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords > 0)
		return cli_usage(c, "conf: what is \"%s\"?", c->word[0]);
	if (want_check && sample)
		return cli_usage(c, "conf: --check or --sample, not both");
	if (want_check)
		return check(c);
	if (sample) {
		conf_sample(&text);
	} else if ((conf = setup_conf(c->conf_file, &why))) {
		conf_print(conf, &text);
	} else {
		cli_errors(c, &why);
		buf_free(&why);
		return EXIT_CANNOT;
	}
	if (c->json && !sample)
		emit_settings(buf_span(&text));
	else
		print_bytes(&text);
	conf_free(conf);
	buf_free(&text);
	buf_free(&why);
	return EXIT_FOUND;
}
