/* rekindle key -- make, add and list keys.  Their bytes are never shown. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/mem.h"

#define WHY_MAX 65536

static bool
random_bytes(unsigned char *out, size_t n)
{
	for (size_t have = 0; have < n;) {
		ssize_t got = getrandom(out + have, n - have, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			cli_error("cannot get random bytes: %s", strerror(errno));
			return false;
		}
		have += (size_t)got;
	}
	return true;
}

/* A new name is only safe when its directory is on disk as well. */
static bool
sync_directory(const char *file)
{
	char *copy = xstrdup(file);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	free(copy);
	return ok;
}

/* Who must read the file: the group that the daemons run as, which owns the data. */
static gid_t
daemons_group(const struct conf *conf)
{
	struct stat st;

	if (geteuid() == 0 && stat(conf->data_dir, &st) == 0)
		return st.st_gid;
	return (gid_t)-1;
}

/* Fills and flushes a file that was made just now; nothing is left behind when it fails. */
static bool
fill_new(int fd, const char *path, struct span text, mode_t mode, uid_t uid, gid_t gid)
{
	size_t done = 0;
	int saved;

	while (done < text.n) {
		ssize_t n = write(fd, text.p + done, text.n - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			goto fail;
		done += (size_t)n;
	}
	if (fchown(fd, uid, gid) == 0 && fchmod(fd, mode) == 0 && fsync(fd) == 0 && close(fd) == 0)
		return true;

fail:
	saved = errno;
	close(fd);
	unlink(path);
	errno = saved;
	return false;
}

/* A file that must not exist yet. */
static int
make_new(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void
say_made(const struct cli *c, const char *what, const struct token_key *key, const char *path)
{
	struct emit e = { 0 };

	if (!c->json) {
		printf("%s: %s, key %c seals\n", path, what, key->id);
		return;
	}
	emit_open(&e, NULL, '{');
	emit_string(&e, "file", path);
	emit_text(&e, "seals", span_make(&key->id, 1));
	emit_close(&e, '}');
	emit_end(&e);
}

/* The daemons' user may read the keys; only root may make them where they usually are. */
static const char *
as_root(int error)
{
	return error == EACCES && geteuid() != 0 ? "; run it as root" : "";
}

/* Its group is that of data_dir: without one the keys are root's alone, and no daemon would start. */
static void
tell_of_no_group(const struct conf *conf)
{
	if (geteuid() == 0 && access(conf->data_dir, F_OK) != 0)
		cli_error("there is no data_dir %s yet, so only root can read %s; make it, owned by the user that the daemons run as,"
		    " and chgrp the key file", conf->data_dir, conf->key_file);
}

static int
key_new(struct cli *c, const struct conf *conf)
{
	struct keys keys = { 0 };
	unsigned char bytes[KEY_BYTES];
	struct buf text = BUF(KEY_FILE_MAX);
	int fd, status = EXIT_CANNOT;

	if (!random_bytes(keys.identity, sizeof keys.identity) || !random_bytes(bytes, sizeof bytes))
		goto out;
	if (!keys_rotate(&keys, bytes, c->now))
		goto out;
	buf_room(&text, text.max);
	keys_print(&keys, &text);
	if ((fd = make_new(conf->key_file)) < 0
	    || !fill_new(fd, conf->key_file, buf_span(&text), 0640, (uid_t)-1, daemons_group(conf))) {
		if (errno == EEXIST)
			cli_error("%s exists and stays as it is, or its links would die; `rekindle key rotate` adds a key",
			    conf->key_file);
		else if (errno == ENOENT)
			cli_error("cannot make %s: its directory does not exist; make that first", conf->key_file);
		else
			cli_error("cannot make %s: %s%s", conf->key_file, strerror(errno), as_root(errno));
		goto out;
	}
	if (!sync_directory(conf->key_file)) {
		cli_error("made %s, but cannot flush its directory: %s", conf->key_file, strerror(errno));
		goto out;
	}
	say_made(c, "made", &keys.token[keys.n - 1], conf->key_file);
	tell_of_no_group(conf);
	status = EXIT_FOUND;
out:
	if (text.p)
		explicit_bzero(text.p, text.n);
	explicit_bzero(&keys, sizeof keys);
	explicit_bzero(bytes, sizeof bytes);
	buf_free(&text);
	return status;
}

static bool
read_keys(const struct cli *c, const struct conf *conf, struct keys *keys)
{
	/* All of the memory at once: a buffer that grows leaves copies of secrets behind. */
	struct buf text = BUF(2 * KEY_FILE_MAX + 2), why = BUF(WHY_MAX);
	bool ok;

	buf_room(&text, text.max);
	if (!file_read(conf->key_file, KEY_FILE_MAX, &text, &why)) {
		ok = false;
		cli_errors(c, &why);
		if (access(conf->key_file, F_OK) != 0 && errno == ENOENT)
			cli_error("`rekindle key new` makes %s", conf->key_file);
	} else if (!(ok = keys_parse(keys, buf_span(&text), &why))) {
		cli_error("%s: %s", conf->key_file, buf_cstr(&why));
	}
	if (text.p)
		explicit_bzero(text.p, text.n);
	buf_free(&text);
	buf_free(&why);
	return ok;
}

/*
 * The new file takes the place of the old one in one step, so that a daemon
 * that reloads sees either.  Its temporary name, made before the old keys are
 * read, is also the lock against a second rotation at the same time.
 */
static int
key_rotate(struct cli *c, const struct conf *conf)
{
	struct keys keys;
	unsigned char bytes[KEY_BYTES];
	struct buf text = BUF(KEY_FILE_MAX);
	char *real = realpath(conf->key_file, NULL), *temporary = NULL;
	struct stat st;
	int fd = -1, status = EXIT_CANNOT;

	if (!real || stat(real, &st) != 0) {
		cli_error("cannot rotate %s: %s%s", conf->key_file, strerror(errno),
		    errno == ENOENT ? "; `rekindle key new` makes it" : as_root(errno));
		goto out;
	}
	if (asprintf(&temporary, "%s.new", real) < 0) {
		temporary = NULL;
		goto out;
	}
	if ((fd = make_new(temporary)) < 0) {
		if (errno == EEXIST)
			cli_error("%s exists: another rotation is at work, or was cut short; then remove it", temporary);
		else
			cli_error("cannot make %s: %s%s", temporary, strerror(errno), as_root(errno));
		goto out;
	}
	if (!read_keys(c, conf, &keys) || !random_bytes(bytes, sizeof bytes))
		goto out;
	if (!keys_rotate(&keys, bytes, c->now)) {
		cli_error("%s has %d keys already; remove one whose links may die", real, KEYS_MAX);
		goto out;
	}
	buf_room(&text, text.max);
	keys_print(&keys, &text);
	if (!fill_new(fd, temporary, buf_span(&text), st.st_mode & 07777, st.st_uid, st.st_gid)) {
		fd = -1;
		cli_error("cannot write %s: %s", temporary, strerror(errno));
		goto out;
	}
	fd = -1;
	if (rename(temporary, real) != 0) {
		cli_error("cannot replace %s: %s", real, strerror(errno));
		unlink(temporary);
		goto out;
	}
	if (!sync_directory(real)) {
		cli_error("replaced %s, but cannot flush its directory: %s", real, strerror(errno));
		goto out;
	}
	say_made(c, "rotated", &keys.token[keys.n - 1], real);
	if (!c->json)
		printf("the tracker knows it within a second; the milter seals with it from SIGUSR1 on\n");
	status = EXIT_FOUND;
out:
	/* Still open: nothing came of it. */
	if (fd >= 0) {
		close(fd);
		unlink(temporary);
	}
	if (text.p)
		explicit_bzero(text.p, text.n);
	explicit_bzero(&keys, sizeof keys);
	explicit_bzero(bytes, sizeof bytes);
	buf_free(&text);
	free(real);
	free(temporary);
	return status;
}

static int
key_list(struct cli *c, const struct conf *conf)
{
	struct emit e = { 0 };
	struct keys keys;

	if (!read_keys(c, conf, &keys))
		return EXIT_CANNOT;
	if (c->json)
		emit_open(&e, NULL, '[');
	for (size_t i = 0; i < keys.n; i++) {
		const struct token_key *k = &keys.token[i];
		bool seals = i + 1 == keys.n;

		if (!c->json) {
			printf("%c  %s  %s\n", k->id, k->made, seals ? "seals and opens" : "opens");
			continue;
		}
		emit_open(&e, NULL, '{');
		emit_text(&e, "id", span_make(&k->id, 1));
		emit_string(&e, "made", k->made);
		emit_flag(&e, "seals", seals);
		emit_close(&e, '}');
	}
	if (c->json) {
		emit_close(&e, ']');
		emit_end(&e);
	}
	explicit_bzero(&keys, sizeof keys);
	return EXIT_FOUND;
}

int
cmd_key(struct cli *c)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *, const struct conf *);
	} verbs[] = { { "new", key_new }, { "rotate", key_rotate }, { "list", key_list } };
	struct buf why = BUF(WHY_MAX);
	struct conf *conf;
	int status;

	if (!cli_options(c, NULL, 0, &status))
		return status;
	if (c->nwords != 1)
		return cli_usage(c, "key: one of new, rotate, list");
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (strcmp(c->word[0], verbs[i].name) != 0)
			continue;
		if (!(conf = setup_conf(c->conf_file, &why))) {
			cli_errors(c, &why);
			status = EXIT_CANNOT;
		} else {
			status = verbs[i].run(c, conf);
		}
		conf_free(conf);
		buf_free(&why);
		return status;
	}
	return cli_usage(c, "key: what is \"%s\"; one of new, rotate, list", c->word[0]);
}
