#include "common/setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/store.h"

#define FAULTS_MAX (256 * 1024)

struct setup_slot {
	pthread_mutex_t lock;
	struct setup *current;
	struct stat keys; /* the key file, when setup_add_keys read it */
	bool unread;      /* which it could not: to be tried again, and told of once */
};

/* Appends up to max bytes and takes the file's mode from the same open file.  False with why, and errno. */
static bool
read_file(const char *path, size_t max, struct buf *out, mode_t *mode, struct buf *why)
{
	struct stat st;
	char chunk[8192];
	size_t had = out->n;
	ssize_t n;
	int fd, error;

	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)) < 0 || fstat(fd, &st) < 0)
		goto fail;
	*mode = st.st_mode;
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		goto fail;
	}
	while ((n = read(fd, chunk, sizeof chunk)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto fail;
		buf_add(out, span_make(chunk, (size_t)n));
		if (out->over || out->n - had > max) {
			errno = EFBIG;
			goto fail;
		}
	}
	explicit_bzero(chunk, sizeof chunk); /* keys, perhaps */
	close(fd);
	return true;

fail:
	error = errno;
	explicit_bzero(chunk, sizeof chunk);
	if (error == EFBIG)
		buf_addf(why, "%s: larger than %zu bytes", path, max);
	else
		buf_addf(why, "%s: %s", path, strerror(error));
	if (fd >= 0)
		close(fd);
	errno = error;
	return false;
}

bool
file_read(const char *path, size_t max, struct buf *out, struct buf *why)
{
	mode_t mode;

	return read_file(path, max, out, &mode, why);
}

/* Keys are wiped before their memory goes back. */
static void
wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_free(b);
}

/* All that is wrong with a file, line by line, behind the setting that names it. */
static void
blame(const struct conf *c, const char *setting, const struct buf *faults, struct buf *why)
{
	struct span rest = buf_span(faults), line;

	while (span_split(&rest, '\n', &line))
		if (line.n > 0) {
			conf_blame(c, setting, why);
			buf_addf(why, "%.*s\n", SPAN_ARG(line));
		}
}

/* What keys_parse calls "line 3: ..." becomes "FILE:3: ...", as for settings. */
static void
add_keys_fault(struct buf *why, const char *path, struct span what)
{
	if (span_starts(what, SPAN("line ")))
		buf_addf(why, "%s:%.*s\n", path, SPAN_ARG(span_from(what, 5)));
	else
		buf_addf(why, "%s:1: %.*s\n", path, SPAN_ARG(what));
}

static bool
load_keys(struct keys *keys, const struct conf *c, struct buf *why)
{
	/* All of the memory at once: a buffer that grows leaves copies behind. */
	struct buf text = BUF(KEY_FILE_MAX), what = BUF(4096), fault = BUF(FAULTS_MAX);
	const char *path = c->key_file;
	mode_t mode = 0;
	bool good = false;

	buf_room(&text, text.max);
	if (!read_file(path, KEY_FILE_MAX, &text, &mode, &fault))
		buf_adds(&fault, errno == ENOENT ? "; restore it from your copy; where there never was one, `rekindle key new' makes it" : "");
	else if (mode & 07)
		buf_addf(&fault, "%s: everybody may use these keys (mode %04o); chmod 0640 %s", path,
		    (unsigned)mode & 07777, path);
	else if (!keys_parse(keys, buf_span(&text), &what))
		add_keys_fault(&fault, path, buf_span(&what));
	else
		good = true;
	blame(c, "key_file", &fault, why);
	wipe(&text);
	buf_free(&what);
	buf_free(&fault);
	return good;
}

static bool
load_list(struct robots *r, const struct conf *c, const char *setting, const char *path,
    bool (*read)(struct robots *, struct span, const char *, struct buf *), void (*own)(struct robots *), struct buf *why)
{
	struct buf text = BUF(ROBOTS_FILE_MAX + 1), fault = BUF(FAULTS_MAX);
	bool good;

	if (*path == '\0') {
		own(r);
		return true;
	}
	good = file_read(path, ROBOTS_FILE_MAX, &text, &fault) && read(r, buf_span(&text), path, &fault);
	blame(c, setting, &fault, why);
	buf_free(&text);
	buf_free(&fault);
	return good;
}

static bool
load_robots(struct robots *r, const struct conf *c, struct buf *why)
{
	bool good = load_list(r, c, "agents_file", c->agents_file, robots_read_agents, robots_own_agents, why);

	return load_list(r, c, "networks_file", c->networks_file, robots_read_networks, robots_own_networks, why) && good;
}

/* What it limits has to be there, and only once. */
static bool
set_limits(struct receivers *r, const struct conf *c, struct buf *why)
{
	bool good = true;

	for (size_t i = 0; i < c->receiver_limit.n; i++) {
		struct receiver_limit limit;
		struct span name;
		struct buf fault = BUF(512);
		enum receivers_set set = RECEIVERS_SET;

		if (receiver_limit_parse(span_of(c->receiver_limit.item[i]), &name, &limit, &fault))
			set = receivers_set_limit(r, name, &limit);
		if (set != RECEIVERS_SET)
			conf_blame_item(c, "receiver_limit", &c->receiver_limit, i, why);
		if (set == RECEIVERS_NO_GROUP)
			buf_addf(why, "there is no group `%.*s' in %s; see receivers_file in rekindle.conf(5)\n", SPAN_ARG(name),
			    c->receivers_file[0] != '\0' ? c->receivers_file : "the list that was built in");
		else if (set == RECEIVERS_TWICE)
			buf_addf(why, "two limits for `%.*s', of which only one could hold\n", SPAN_ARG(name));
		good = good && set == RECEIVERS_SET;
		buf_free(&fault);
	}
	return good;
}

static bool
load_receivers(struct receivers *r, const struct conf *c, struct buf *why)
{
	struct buf text = BUF(RECEIVERS_FILE_MAX + 1), fault = BUF(FAULTS_MAX);
	bool good = true;

	if (c->receivers_file[0] == '\0')
		receivers_own(r);
	else
		good = file_read(c->receivers_file, RECEIVERS_FILE_MAX, &text, &fault) &&
		    receivers_read(r, buf_span(&text), c->receivers_file, &fault);
	blame(c, "receivers_file", &fault, why);
	buf_free(&text);
	buf_free(&fault);
	return good && set_limits(r, c, why);
}

/* Never NULL unless the file cannot be read at all. */
static struct conf *
load_conf(const char *path, struct buf *why, bool *good)
{
	struct buf text = BUF(CONF_FILE_MAX + 1);
	struct conf *c = NULL;

	*good = false;
	if (file_read(path, CONF_FILE_MAX, &text, why))
		c = conf_parse_anyway(buf_span(&text), path, why, good);
	else
		buf_addc(why, '\n');
	buf_free(&text);
	return c;
}

struct conf *
setup_conf(const char *path, struct buf *why)
{
	bool good;
	struct conf *c = load_conf(path, why, &good);

	if (!good) {
		conf_free(c);
		return NULL;
	}
	return c;
}

/* ---- pages ---- */

static bool
add_page_file(struct pages *p, const char *path, struct span tag, struct buf *why)
{
	struct buf text = BUF(PAGE_FILE_MAX + 1);
	bool good = file_read(path, PAGE_FILE_MAX, &text, why);

	if (!good)
		buf_addc(why, '\n');
	else if (tag.n == 0)
		pages_style(p, buf_span(&text));
	else
		good = pages_add(p, tag, buf_span(&text), path, why);
	buf_free(&text);
	return good;
}

/* Files whose names begin with a dot are an editor's. */
static bool
add_page_files(struct pages *p, const char *dir, struct buf *why)
{
	struct buf path = BUF(PATH_MAX);
	struct dirent **entry;
	int n = scandir(dir, &entry, NULL, alphasort);
	bool good = true;

	if (n < 0) {
		buf_addf(why, "%s: %s\n", dir, strerror(errno));
		return false;
	}
	for (int i = 0; i < n; i++) {
		struct span name = span_of(entry[i]->d_name);
		bool page = span_ends(name, SPAN(".html")) && name.p[0] != '.';

		buf_clear(&path);
		buf_addf(&path, "%s/%s", dir, entry[i]->d_name);
		if (page || span_eq(name, SPAN("style.css")))
			good = add_page_file(p, buf_cstr(&path), page ? span_cut(name, 0, name.n - 5) : SPAN(""), why) && good;
		free(entry[i]);
	}
	free(entry);
	buf_free(&path);
	return good;
}

struct pages *
setup_pages(const struct conf *conf, struct buf *why)
{
	struct pages *p = pages_new();
	struct buf known = BUF(4096), fault = BUF(FAULTS_MAX);
	bool good = true;

	pages_add_builtin(p, conf->pages_dir[0] != '\0');
	if (conf->pages_dir[0] != '\0')
		good = add_page_files(p, conf->pages_dir, &fault);
	blame(conf, "pages_dir", &fault, why);
	if (good && !pages_default(p, span_of(conf->pages_language))) {
		pages_list(p, &known);
		conf_blame(conf, "pages_language", why);
		buf_addf(why, "there is no %s.html %s%s%s\n", conf->pages_language,
		    conf->pages_dir[0] != '\0' ? "in pages_dir" : "among the built-in pages", known.n > 0 ? "; there are " : "", buf_cstr(&known));
		good = false;
	}
	buf_free(&known);
	buf_free(&fault);
	if (good)
		return p;
	pages_free(p);
	return NULL;
}

bool
setup_load_pages(struct setup *s, struct buf *why)
{
	return (s->pages = setup_pages(s->conf, why)) != NULL;
}

void
setup_advise_directory(const char *dir, struct buf *out)
{
	if (access(dir, F_OK) != 0 && errno == ENOENT)
		buf_adds(out, "; make it, owned by the user that the daemons run as");
}

bool
setup_become_owner(const struct conf *c, struct buf *why)
{
	struct buf fault = BUF(PATH_MAX + 256);
	bool good = store_become_owner(c->data_dir, &fault);

	if (!good)
		setup_advise_directory(c->data_dir, &fault);
	blame(c, "data_dir", &fault, why);
	buf_free(&fault);
	return good;
}

static void
setup_free(struct setup *s)
{
	sealer_free(s->sealer);
	if (s->rest != NULL)
		setup_put(s->rest);
	else {
		pages_free(s->pages);
		conf_free(s->conf);
		robots_free(s->robots);
		receivers_free(s->receivers);
	}
	explicit_bzero(&s->keys, sizeof s->keys);
	free(s);
}

/* Faulty settings still name a key file: an administrator hears everything at once. */
struct setup *
setup_load(const char *conf_file, struct buf *why)
{
	struct setup *s = xcalloc(1, sizeof *s);
	bool good;

	s->refs = 1;
	s->robots = robots_new();
	s->receivers = receivers_new();
	if ((s->conf = load_conf(conf_file, why, &good)) == NULL)
		goto fail;
	good = load_robots(s->robots, s->conf, why) && good;
	good = load_receivers(s->receivers, s->conf, why) && good;
	if (!load_keys(&s->keys, s->conf, why) || !good)
		goto fail;
	receivers_seal(s->receivers, &s->keys);
	if ((s->sealer = sealer_new(&s->keys)) == NULL) {
		buf_addf(why, "%s: the crypto library refuses these keys\n", s->conf->key_file);
		goto fail;
	}
	return s;

fail:
	setup_free(s);
	return NULL;
}

bool
setup_load_again(struct setup **s, const char *conf_file, struct buf *why)
{
	struct setup *again = setup_load(conf_file, why);

	if (again == NULL || ((*s)->pages != NULL && !setup_load_pages(again, why))) {
		setup_put(again);
		buf_addf(why, "user %lu, who owns %s and runs this daemon, must be able to read what root can: a reload would fail\n",
		    (unsigned long)geteuid(), (*s)->conf->data_dir);
		return false;
	}
	setup_put(*s);
	*s = again;
	return true;
}

void
setup_warn_fixed(const struct conf *was, const struct conf *is, const struct fixed *own, size_t n)
{
	const struct fixed all[] = {
		{ "data_dir", strcmp(was->data_dir, is->data_dir) != 0 },
		{ "keep_facts", was->keep_facts != is->keep_facts },
		{ "journal_size", was->journal_size != is->journal_size },
		{ "lock_dir", strcmp(was->lock_dir, is->lock_dir) != 0 },
		{ "log", was->log_syslog != is->log_syslog },
		{ "log_level", was->log_level != is->log_level },
	};

	for (size_t i = 0; i < n + sizeof all / sizeof *all; i++) {
		const struct fixed *f = i < n ? &own[i] : &all[i - n];

		if (f->differs)
			log_warn("%s has changed; that needs a restart", f->name);
	}
}

void
setup_warn_locks(const struct conf *c, struct store *s)
{
	struct buf why = BUF(4 * PATH_MAX);

	if (store_no_locks(s) == NULL)
		return;
	conf_blame(c, "lock_dir", &why);
	buf_addf(&why, "locks are in data_dir, where a disk that hangs holds up readers: %s", store_no_locks(s));
	setup_advise_directory(c->lock_dir, &why);
	log_warn("%s", buf_cstr(&why));
	buf_free(&why);
}

struct setup_slot *
setup_slot_new(struct setup *first)
{
	struct setup_slot *slot = xcalloc(1, sizeof *slot);

	pthread_mutex_init(&slot->lock, NULL);
	slot->current = first;
	return slot;
}

/* Under the lock: the slot's own reference keeps it alive until ours counts. */
struct setup *
setup_get(struct setup_slot *slot)
{
	struct setup *s;

	pthread_mutex_lock(&slot->lock);
	s = slot->current;
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&slot->lock);
	return s;
}

void
setup_put(struct setup *s)
{
	if (s && __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0)
		setup_free(s);
}

void
setup_log_faults(struct span why)
{
	struct span line;

	while (span_split(&why, '\n', &line))
		if (line.n > 0)
			log_error("%.*s", SPAN_ARG(line));
}

static void
replace(struct setup_slot *slot, struct setup *fresh)
{
	struct setup *old;

	pthread_mutex_lock(&slot->lock);
	old = slot->current;
	slot->current = fresh;
	pthread_mutex_unlock(&slot->lock);
	setup_put(old);
}

bool
setup_reload(struct setup_slot *slot, const char *conf_file)
{
	struct buf why = BUF(FAULTS_MAX);
	struct setup *fresh = setup_load(conf_file, &why);

	/* Only we replace it, so it is good without the lock. */
	if (fresh != NULL && slot->current->pages != NULL && !setup_load_pages(fresh, &why)) {
		setup_put(fresh);
		fresh = NULL;
	}
	setup_log_faults(buf_span(&why));
	buf_free(&why);
	if (fresh == NULL) {
		log_error("settings: not reloaded, the old ones stay");
		return false;
	}
	replace(slot, fresh);
	return true;
}

/* ---- keys that are added ---- */

static const struct token_key *
find_key(const struct keys *k, char id)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->token[i].id == id)
			return &k->token[i];
	return NULL;
}

/* Puts those that are in use and not in the file before those of the file, which seal, and whose ids are theirs; the ids of what is new and of what is not there. */
static void
add_missing(struct keys *file, const struct keys *used, struct buf *fresh, struct buf *missing)
{
	struct keys all = { .n = 0 };

	for (size_t i = 0; i < used->n; i++)
		if (find_key(file, used->token[i].id) == NULL) {
			all.token[all.n++] = used->token[i];
			buf_addc(missing, used->token[i].id);
		}
	for (size_t i = 0; i < file->n; i++) {
		const struct token_key *k = &file->token[i], *was = find_key(used, k->id);

		if (was == NULL || memcmp(was->bytes, k->bytes, KEY_BYTES) != 0)
			buf_addc(fresh, k->id);
		all.token[all.n++] = *k;
	}
	memcpy(file->token, all.token, sizeof all.token);
	file->n = all.n;
	explicit_bzero(&all, sizeof all);
}

/* As `now', with these keys. */
static struct setup *
with_keys(struct setup *now, const struct keys *keys)
{
	struct setup *s = xcalloc(1, sizeof *s);

	/* One by one: a whole struct would be made on the stack first, and its keys stay there. */
	s->conf = now->conf;
	s->keys = *keys;
	s->robots = now->robots;
	s->receivers = now->receivers;
	s->pages = now->pages;
	s->rest = now->rest != NULL ? now->rest : now;
	s->refs = 1;
	__atomic_add_fetch(&s->rest->refs, 1, __ATOMIC_RELAXED);
	s->sealer = sealer_new(keys);
	return s;
}

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* What the file adds to the keys in use, and to `keys'; false: nothing, told why where that should be known. */
static bool
read_new_keys(struct setup_slot *slot, bool told, struct keys *keys, struct buf *fresh)
{
	struct buf why = BUF(FAULTS_MAX), missing = BUF(KEYS_MAX + 1);
	const struct setup *now = slot->current;
	const char *path = now->conf->key_file;

	if ((slot->unread = !load_keys(keys, now->conf, &why))) {
		if (!told) {
			setup_log_faults(buf_span(&why));
			log_error("keys: not read again, the old ones stay");
		}
	} else if (memcmp(keys->identity, now->keys.identity, KEY_BYTES) != 0)
		log_warn("%s: the identity is another one now; it and all keys stay as they were until a reload", path);
	else {
		add_missing(keys, &now->keys, fresh, &missing);
		if (missing.n > 0)
			log_warn("%s: not there any more, and used until a reload: key %s", path, buf_cstr(&missing));
	}
	buf_free(&why);
	buf_free(&missing);
	return fresh->n > 0;
}

bool
setup_add_keys(struct setup_slot *slot)
{
	struct setup *now = slot->current, *fresh = NULL; /* only we replace it */
	struct buf ids = BUF(KEYS_MAX + 1);
	struct keys keys = { 0 };
	struct stat st;
	bool same;

	if (stat(now->conf->key_file, &st) != 0 || ((same = is_same_file(&st, &slot->keys)) && !slot->unread))
		return false;
	slot->keys = st; /* before it is read: what changes meanwhile is seen by the next look */
	if (read_new_keys(slot, same, &keys, &ids) && (fresh = with_keys(now, &keys))->sealer == NULL) {
		setup_put(fresh);
		fresh = NULL;
	}
	explicit_bzero(&keys, sizeof keys);
	if (fresh != NULL) {
		log_info("%s: used from now on: key %s", now->conf->key_file, buf_cstr(&ids));
		replace(slot, fresh);
	}
	buf_free(&ids);
	return fresh != NULL;
}
