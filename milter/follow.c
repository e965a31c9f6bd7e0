#include "milter/follow.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/bounce.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/maillog.h"
#include "common/mem.h"
#include "common/text.h"
#include "milter/journald.h"

#define POLL_MS 200
#define RETRY_MS 1000
#define CHUNK (4 * MAILLOG_LINE_MAX) /* read at once */
#define MARK 256                     /* bytes in front of the place that show that it is the same file: more than a line, mostly */
#define PLACE_BYTES 1024             /* of the file that remembers the place: one write */
#define WRITE_MS 60000
#define HOST_SHOWN 200               /* of its name, in a source */
#define ENTRIES 1000                 /* of the journal at once */
#define CURSOR_MAX 1024

struct follow {
	struct follow_options o; /* with strings of our own */
	char *log, *dir;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop, started, ended;
	struct buf why;          /* it cannot start */

	/* Of the thread. */
	struct queue *queue;
	struct setup *setup;
	struct record *record;
	struct source {
		size_t at, n;
	} *source;         /* of each record, in text */
	size_t n, cap;
	struct buf text;

	int place_fd;      /* -1: the place cannot be kept */
	struct journald *journald; /* NULL: a file is read, and what follows is about that */
	int fd;            /* -1: there is no log, or not yet */
	ino_t inode;       /* of it, or of the one that is to be read on; 0: any, from its start */
	uint64_t offset;   /* all before it is done */
	char mark[MARK];
	size_t nmark;
	bool inside;       /* of a line that is too long */
	bool switching;    /* there is another file, and this one is read for the last time */
	int said;          /* errno that was logged, of why it cannot be opened; 0 none */
	char *buffer;
};

static struct {
	_Atomic uint64_t lines, delivered, deferred, bounced, soft, policy;
} count;

static bool
stopping(struct follow *f)
{
	bool stop;

	pthread_mutex_lock(&f->lock);
	stop = f->stop;
	pthread_mutex_unlock(&f->lock);
	return stop;
}

static void
pause_for(struct follow *f, int64_t ms)
{
	struct timespec until = clock_after(ms);

	pthread_mutex_lock(&f->lock);
	while (!f->stop && pthread_cond_timedwait(&f->wake, &f->lock, &until) == 0)
		;
	pthread_mutex_unlock(&f->lock);
}

/* ---- what a line makes ---- */

/*
 * Milliseconds since 1970.  Where the year is not said it is the one that
 * makes it the near past; nothing of a log is later than now.
 */
static int64_t
when_of(const struct maillog_time *t, int64_t now)
{
	struct tm tm = { .tm_year = t->year - 1900, .tm_mon = t->month - 1, .tm_mday = t->day, .tm_hour = t->hour, .tm_min = t->minute,
		.tm_sec = t->second, .tm_isdst = -1 };
	time_t seconds = (time_t)(now / 1000);
	int64_t when;

	if (t->month == 0)
		return now;
	if (t->zoned)
		when = ((int64_t)timegm(&tm) - 60 * t->offset) * 1000 + t->ms;
	else {
		struct tm local, copy;

		localtime_r(&seconds, &local);
		if (t->year == 0)
			tm.tm_year = local.tm_year;
		copy = tm;
		when = (int64_t)mktime(&copy) * 1000 + t->ms;
		if (t->year == 0 && when > now + DAY_MS) {
			tm.tm_year--;
			when = (int64_t)mktime(&tm) * 1000 + t->ms;
		}
	}
	return when > now ? now : when;
}

/* Gateways that open links, by the name of the host that takes the mail: whole names, and all below. */
static bool
is_gateway(struct span host)
{
	static const struct span suffixes[] = {
		{ "barracudanetworks.com", 21 }, { "mail.protection.outlook.com", 27 }, { "pphosted.com", 12 }, { "ppe-hosted.com", 14 },
		{ "mimecast.com", 12 }, { "iphmx.com", 9 }, { "messagelabs.com", 15 }, { "trendmicro.com", 14 }, { "trendmicro.eu", 13 },
		{ "fireeyecloud.com", 16 }, { "hornetsecurity.com", 18 }, { "antispameurope.com", 18 }, { "mailcontrol.com", 15 },
		{ "sophos.com", 10 },
	};

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		struct span s = suffixes[i];

		if (span_iends(host, s) && (host.n == s.n || host.p[host.n - s.n - 1] == '.'))
			return true;
	}
	return false;
}

static void
add_touch(struct follow *f, enum touch_kind kind, unsigned detail, const struct who *who, const struct queued *about, int64_t when)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 64;
		f->record = xreallocarray(f->record, f->cap, sizeof *f->record);
		f->source = xreallocarray(f->source, f->cap, sizeof *f->source);
	}
	f->source[f->n] = (struct source){ 0, 0 };
	f->record[f->n++] = (struct record){ .touch = {
		.kind = (uint8_t)kind, .mode = MODE_IDENTIFIED, .detail = (uint8_t)detail, .when = when, .who = *who,
		.campaign = about->campaign, .stream = about->stream, .sent = about->when } };
}

/* Who says so, for the history: the last touch's.  What the server said besides is a stranger's text, and in the log. */
static void
add_source(struct follow *f, const char *code, struct span host)
{
	struct source *s = &f->source[f->n - 1];

	s->at = f->text.n;
	buf_addf(&f->text, "mail log: bounced%s%s", code[0] != '\0' ? " with status " : "", code);
	if (host.n > 0 && host.n <= HOST_SHOWN && text_is_ascii(host) && !span_eq(host, SPAN("none")))
		buf_addf(&f->text, " by %.*s", SPAN_ARG(host));
	s->n = f->text.n - s->at;
}

static void
soft_bounced(struct follow *f, enum bounce bounce, const struct who *who, const struct queued *about, int64_t when)
{
	atomic_fetch_add(bounce == BOUNCE_POLICY ? &count.policy : &count.soft, 1);
	add_touch(f, TOUCH_SOFT_BOUNCED, bounce, who, about, when);
}

/* Whom we do not know is nobody's business: no trace of other mail. */
static bool
is_known(struct follow *f, const struct who *who)
{
	struct profile p;

	return store_profile(f->o.store, who, &p) == STORE_OK;
}

/*
 * Is this delivery one of a message of ours to one of its recipients?  The
 * address before aliases is the one that it was sent to, so it is asked about
 * first; *who is that recipient, or whom else the line names.
 */
static bool
is_ours(struct follow *f, const struct maillog *m, struct who *who, struct queued *about)
{
	const struct span addresses[] = { m->orig_to, m->to };

	*about = (struct queued){ 0 };
	for (size_t i = 0; i < 2; i++) {
		enum queue_answer answer;

		*who = (struct who){ { 0 } };
		if (addresses[i].n == 0 || !addr_who(&f->setup->keys, addresses[i], who))
			continue;
		answer = queue_find(f->queue, m->id, who, about);
		if (answer == QUEUE_RECIPIENT || (answer == QUEUE_ANYBODY && is_known(f, who)))
			return true;
	}
	return false;
}

static void
deferred(struct follow *f, const struct maillog *m, const struct who *who)
{
	char code[BOUNCE_CODE_MAX];
	enum bounce bounce = bounce_judge(m->status, m->text, code);

	atomic_fetch_add(&count.deferred, 1);
	queue_defer(f->queue, m->id, who, bounce == BOUNCE_POLICY ? BOUNCE_POLICY : BOUNCE_SOFT);
}

static void
expire(struct follow *f, const struct maillog *m, int64_t when)
{
	struct waiting waiting[QUEUE_WHO_MAX];
	size_t n = queue_waiting(f->queue, m->id, waiting);

	for (size_t i = 0; i < n; i++)
		soft_bounced(f, waiting[i].bounce, &waiting[i].who, &waiting[i].about, when);
	queue_remove(f->queue, m->id);
}

static void
bounced(struct follow *f, const struct maillog *m, const struct who *who, const struct queued *about, bool ours, int64_t when)
{
	static const struct queued nothing;
	char code[BOUNCE_CODE_MAX];
	enum bounce bounce = bounce_judge(m->status, m->text, code);

	if (bounce != BOUNCE_HARD) {
		if (ours)
			soft_bounced(f, bounce, who, about, when);
		return;
	}
	if (!ours && (who_is_nobody(who) || !is_known(f, who)))
		return;
	atomic_fetch_add(&count.bounced, 1);
	add_touch(f, TOUCH_BOUNCED, 0, who, ours ? about : &nothing, when);
	add_source(f, code, m->host);
}

static void
take(struct follow *f, const struct maillog *m, int64_t now)
{
	int64_t when = when_of(&m->time, now);
	struct queued about;
	struct who who;
	bool ours;

	if (m->kind == MAILLOG_OTHER)
		return;
	atomic_fetch_add(&count.lines, 1);
	switch (m->kind) {
	case MAILLOG_REMOVED:
		queue_remove(f->queue, m->id);
		return;
	case MAILLOG_PASSED_ON:
		queue_follow(f->queue, m->id, m->next);
		return;
	case MAILLOG_EXPIRED:
		expire(f, m, when);
		return;
	default:
		break;
	}
	ours = is_ours(f, m, &who, &about);
	if (m->kind == MAILLOG_BOUNCED)
		bounced(f, m, &who, &about, ours, when);
	else if (ours && m->kind == MAILLOG_DEFERRED)
		deferred(f, m, &who);
	else if (ours) {
		atomic_fetch_add(&count.delivered, 1);
		add_touch(f, TOUCH_DELIVERED, is_gateway(m->host) ? DELIVERED_GATEWAY : 0, &who, &about, when);
	}
	if (ours && m->kind != MAILLOG_DEFERRED)
		queue_done(f->queue, m->id, &who);
}

/* False: the end came while the store took nothing; what was read will be read again. */
static bool
write_touches(struct follow *f)
{
	static struct log_rate rate;

	for (size_t i = 0; i < f->n; i++)
		f->record[i].source = span_cut(buf_span(&f->text), f->source[i].at, f->source[i].at + f->source[i].n);
	while (f->n > 0 && writer_write(f->o.writer, f->record, f->n, WRITE_MS) == WRITER_LOST) {
		log_rated(&rate, "mail_log: touches cannot be recorded; the log waits");
		if (stopping(f)) {
			/* Whoever reads it again has to find these messages. */
			queue_leave(f->queue);
			return false;
		}
		pause_for(f, RETRY_MS);
	}
	f->n = 0;
	buf_clear(&f->text);
	return true;
}

/* ---- the place ---- */

static uint32_t
checksum(struct span s)
{
	uint32_t h = 0x811c9dc5; /* FNV-1a */

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x01000193;
	return h;
}

/*
 * "CHECKSUM 1 INODE OFFSET MARK PATH", the mark in hexadecimal, or "CHECKSUM j
 * CURSOR SETTING"; blanks up to PLACE_BYTES.
 */
static void
save_place(struct follow *f)
{
	struct buf text = BUF(8 * PLACE_BYTES), line = BUF(8 * PLACE_BYTES);

	if (f->place_fd < 0)
		return;
	if (f->journald != NULL) {
		buf_adds(&text, "j ");
		journald_cursor(f->journald, &text);
	} else {
		buf_addf(&text, "1 %" PRIu64 " %" PRIu64 " x", (uint64_t)f->inode, f->offset);
		text_add_hex(&text, f->mark, f->nmark);
	}
	buf_addf(&text, " %s", f->o.log);
	buf_addf(&line, "%08" PRIx32 " ", checksum(buf_span(&text)));
	buf_add(&line, buf_span(&text));
	while (line.n + 1 < PLACE_BYTES)
		buf_addc(&line, ' ');
	buf_addc(&line, '\n');
	if (pwrite(f->place_fd, line.p, line.n, 0) != (ssize_t)line.n || fdatasync(f->place_fd) != 0) {
		log_warn("mail_log: its place cannot be remembered: %s", strerror(errno));
		close(f->place_fd);
		f->place_fd = -1;
	}
	buf_free(&text);
	buf_free(&line);
}

/* After its "1". */
static bool
parse_file_place(struct follow *f, struct span rest)
{
	uint64_t inode, offset;
	struct span word;

	if (!span_split(&rest, ' ', &word) || !text_u64(word, &inode) || !span_split(&rest, ' ', &word) || !text_u64(word, &offset) ||
	    !span_split(&rest, ' ', &word) || !span_starts(word, SPAN("x")) || word.n > 1 + 2 * MARK || !span_eq(rest, span_of(f->o.log)))
		return false;
	f->nmark = word.n / 2;
	if (!text_hex(span_from(word, 1), f->mark, f->nmark))
		return false;
	f->inode = (ino_t)inode;
	f->offset = offset;
	return true;
}

/* The cursor, of a journal's, goes to cursor. */
static bool
parse_place(struct follow *f, struct span text, struct buf *cursor)
{
	struct span rest, word;
	uint32_t sum;
	unsigned char b[4];

	text = span_trim(span_cut(text, 0, span_find(text, '\n')));
	rest = text;
	if (!span_split(&rest, ' ', &word) || !text_hex(word, b, 4))
		return false;
	sum = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	if (sum != checksum(rest) || !span_split(&rest, ' ', &word))
		return false;
	if (f->journald == NULL)
		return span_eq(word, SPAN("1")) && parse_file_place(f, rest);
	if (!span_eq(word, SPAN("j")) || !span_split(&rest, ' ', &word) || !span_eq(rest, span_of(f->o.log)))
		return false;
	buf_add(cursor, word);
	return true;
}

/* False: there is none, or of another log. */
static bool
load_place(struct follow *f, struct buf *cursor)
{
	struct buf path = BUF(4096);
	char text[16 * PLACE_BYTES];
	ssize_t n;

	buf_addf(&path, "%s/mail-log.place", f->o.dir);
	f->place_fd = open(buf_cstr(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (f->place_fd < 0)
		log_warn("%s: cannot be opened: %s; a restart will lose a little of the log", buf_cstr(&path), strerror(errno));
	n = f->place_fd < 0 ? -1 : pread(f->place_fd, text, sizeof text, 0);
	buf_free(&path);
	return n > 0 && parse_place(f, span_make(text, (size_t)n), cursor);
}

/* ---- the file ---- */

static int
open_file(struct follow *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
		errno = EINVAL;
	}
	if (fd < 0 && f->said != errno) {
		f->said = errno;
		log_warn("mail_log: %s: %s%s", path, strerror(f->said),
		    f->said == EACCES ? "; the milter's user needs the group that may read it (adm)" : "; waiting for it");
	}
	if (fd >= 0)
		f->said = 0;
	return fd;
}

static void
begin_at(struct follow *f, uint64_t offset)
{
	f->offset = offset;
	f->nmark = 0;
	f->inside = f->switching = false;
}

static bool
open_new(struct follow *f)
{
	struct stat st;

	if ((f->fd = open_file(f, f->o.log)) < 0)
		return false;
	fstat(f->fd, &st);
	f->inode = st.st_ino;
	begin_at(f, 0);
	return true;
}

static bool
has_inode(const char *path, ino_t inode)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_ino == inode && S_ISREG(st.st_mode);
}

/* The file that was read last, which may have another name now, or NULL. */
static char *
find_old(struct follow *f)
{
	const char *slash = strrchr(f->o.log, '/');
	struct buf dir = BUF(4096), path = BUF(8192);
	struct dirent *e;
	char *found = NULL;
	DIR *d;

	if (has_inode(f->o.log, f->inode))
		return xstrdup(f->o.log);
	buf_add(&dir, span_make(f->o.log, (size_t)(slash - f->o.log)));
	d = opendir(dir.n > 0 ? buf_cstr(&dir) : "/");
	while (d != NULL && found == NULL && (e = readdir(d)) != NULL) {
		if (!span_starts(span_of(e->d_name), span_of(slash + 1)))
			continue;
		buf_clear(&path);
		buf_addf(&path, "%s/%s", buf_cstr(&dir), e->d_name);
		if (has_inode(buf_cstr(&path), f->inode))
			found = xstrdup(buf_cstr(&path));
	}
	if (d != NULL)
		closedir(d);
	buf_free(&dir);
	buf_free(&path);
	return found;
}

/* Where the last process left off. */
static bool
open_old(struct follow *f)
{
	char *old = find_old(f);
	struct stat st;

	/* Only when the log can be opened: in a directory that is closed nothing is found. */
	if (old == NULL) {
		if (!open_new(f))
			return false;
		log_warn("mail_log: the file that was read last is gone; what came behind the place is lost");
		return true;
	}
	f->fd = open_file(f, old);
	if (f->fd >= 0 && fstat(f->fd, &st) == 0 && st.st_ino != f->inode) {
		close(f->fd); /* renamed this very moment */
		f->fd = -1;
	} else if (f->fd < 0 && f->said == EACCES && strcmp(old, f->o.log) != 0 && access(f->o.log, R_OK) == 0 && open_new(f))
		log_warn("mail_log: %s may not be read; what came in it behind the place is lost", old);
	free(old);
	return f->fd >= 0;
}

/* At the start: where the last process left off; without one at the end of what is there. */
static void
open_first(struct follow *f)
{
	struct stat st;

	if (load_place(f, NULL)) {
		open_old(f);
		return;
	}
	if (!open_new(f))
		return;
	if (fstat(f->fd, &st) == 0 && st.st_size > 0) {
		begin_at(f, (uint64_t)st.st_size - 1);
		f->inside = true; /* of the last line there is, ended or not */
	}
	/* Of an empty one too: what comes while nobody reads is behind this place, and not at an end. */
	save_place(f);
}

/*
 * Reads what is behind the place, with the mark in front of it.  Bytes at
 * f->buffer + f->nmark; 0: none yet; -1: not the file that it was, begun anew.
 */
static ssize_t
read_on(struct follow *f)
{
	ssize_t n = pread(f->fd, f->buffer, CHUNK, (off_t)(f->offset - f->nmark));

	if (n < 0) {
		static struct log_rate rate;

		log_rated(&rate, "mail_log: %s: %s", f->o.log, strerror(errno));
		return 0;
	}
	if ((size_t)n < f->nmark || memcmp(f->buffer, f->mark, f->nmark) != 0) {
		log_info("mail_log: %s was truncated; reading it from its start", f->o.log);
		begin_at(f, 0);
		return -1;
	}
	return n - (ssize_t)f->nmark;
}

/* All of it is done. */
static void
advance(struct follow *f, struct span done)
{
	size_t fresh = done.n < MARK ? done.n : MARK, kept = f->nmark < MARK - fresh ? f->nmark : MARK - fresh;

	memmove(f->mark, f->mark + f->nmark - kept, kept);
	memcpy(f->mark + kept, done.p + done.n - fresh, fresh);
	f->nmark = kept + fresh;
	f->offset += done.n;
}

/* Is there another file of this name, with something in it? */
static bool
is_rotated(struct follow *f)
{
	struct stat st;

	return stat(f->o.log, &st) == 0 && st.st_ino != f->inode && st.st_size > 0;
}

/* A step; false: there is nothing to do for now. */
static bool
step(struct follow *f)
{
	int64_t now = clock_read(CLOCK_REALTIME);
	struct span text, rest, line;
	ssize_t n;
	size_t end;

	if (f->fd < 0) {
		if (!(f->inode != 0 ? open_old(f) : open_new(f)))
			return false;
		save_place(f);
		log_info("mail_log: following %s", f->o.log);
	}
	if ((n = read_on(f)) < 0)
		return true;
	text = span_make(f->buffer + f->nmark, (size_t)n);
	for (end = text.n; end > 0 && text.p[end - 1] != '\n'; end--)
		;
	/* Half a line waits for its other half, unless it never ends. */
	if (end == 0 && text.n >= MAILLOG_LINE_MAX) {
		f->inside = true;
		advance(f, text);
		return true;
	}
	if (end == 0) {
		if (f->switching) {
			close(f->fd);
			f->inode = 0;
			return open_new(f);
		}
		/* Who rotates tells the writer afterwards, so the old file is read until the new one has something, and then once more. */
		return f->switching = is_rotated(f);
	}
	text = rest = span_cut(text, 0, end);
	f->setup = setup_get(f->o.slot);
	while (span_split(&rest, '\n', &line)) {
		struct maillog m;

		if (!f->inside) {
			maillog_line(span_ends(line, SPAN("\r")) ? span_cut(line, 0, line.n - 1) : line, &m);
			take(f, &m, now);
		}
		f->inside = false;
	}
	setup_put(f->setup);
	if (!write_touches(f))
		return false;
	advance(f, text);
	save_place(f);
	return true;
}

/* ---- the journal ---- */

static void
open_journal(struct follow *f)
{
	struct buf cursor = BUF(CURSOR_MAX);

	load_place(f, &cursor);
	if (journald_is_empty(f->journald))
		log_warn("mail_log = %s: there is nothing that may be read; the milter's user needs the group systemd-journal", f->o.log);
	if (!journald_seek(f->journald, buf_span(&cursor)))
		log_warn("mail_log: the entry that was read last is gone from the journal; what came behind it may be lost");
	if (cursor.n == 0)
		save_place(f);
	buf_free(&cursor);
}

static bool
step_journal(struct follow *f)
{
	static struct log_rate rate;
	struct span tag, message;
	int64_t when;
	size_t n = 0;
	int rc = 0, error;

	f->setup = setup_get(f->o.slot);
	while (n < ENTRIES && (rc = journald_next(f->journald, &tag, &message, &when, &error)) > 0) {
		struct maillog m;

		maillog_message(tag, message, &m);
		take(f, &m, when);
		n++;
	}
	setup_put(f->setup);
	if (rc < 0)
		log_rated(&rate, "mail_log: the journal cannot be read: %s", strerror(error));
	if (n == 0 || !write_touches(f))
		return false;
	save_place(f);
	return true;
}

/* ---- the thread ---- */

static void
open_log(struct follow *f)
{
	if (strncmp(f->log, "journal", 7) != 0)
		open_first(f);
	else if ((f->journald = journald_open(f->log[7] == ':' ? f->log + 8 : NULL, &f->why)) != NULL)
		open_journal(f);
	if (f->journald != NULL || f->fd >= 0)
		log_info("mail_log: following %s", f->o.log);
}

/* False: another process follows, or why says what is wrong. */
static bool
begin(struct follow *f)
{
	if (!store_take_turn(f->o.store, TURN_MAIL_LOG))
		return false;
	open_log(f);
	if (f->why.n > 0) {
		store_end_turn(f->o.store, TURN_MAIL_LOG);
		return false;
	}
	/* What the one before us left. */
	f->queue = queue_open(f->o.dir, clock_read(CLOCK_REALTIME));
	atomic_store(f->o.queue, f->queue);
	return true;
}

/* False: it is time to end, or there is nothing to follow. */
static bool
wait_for_turn(struct follow *f)
{
	bool ours = false;

	log_warn("mail_log: another rekindle-milter of %s follows its log; this one does not, until that one has ended", f->o.dir);
	while (f->why.n == 0 && !ours && !stopping(f)) {
		pause_for(f, RETRY_MS);
		ours = begin(f);
	}
	if (f->why.n > 0)
		log_warn("mail_log = %s: %s; it is not followed", f->o.log, buf_cstr(&f->why));
	return ours;
}

static void *
run(void *arg)
{
	struct follow *f = arg;
	bool ours = begin(f), wrong = f->why.n > 0;

	pthread_mutex_lock(&f->lock);
	f->started = true;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	if (!ours && !wrong)
		ours = wait_for_turn(f);
	while (ours && !stopping(f)) {
		bool more = f->journald != NULL ? step_journal(f) : step(f);

		queue_save(f->queue, clock_read(CLOCK_REALTIME));
		if (more)
			continue;
		if (f->journald != NULL)
			journald_wait(f->journald, POLL_MS);
		else
			pause_for(f, POLL_MS);
	}
	journald_close(f->journald);
	pthread_mutex_lock(&f->lock);
	f->ended = true;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

struct follow *
follow_start(const struct follow_options *o)
{
	struct follow *f = xcalloc(1, sizeof *f);

	f->o = *o;
	f->o.log = f->log = xstrdup(o->log);
	f->o.dir = f->dir = xstrdup(o->dir);
	f->fd = f->place_fd = -1;
	buf_init(&f->why, 1024);
	buf_init(&f->text, 4 * CHUNK);
	f->buffer = xcalloc(1, CHUNK);
	pthread_mutex_init(&f->lock, NULL);
	clock_cond(&f->wake);
	if (pthread_create(&f->thread, NULL, run, f) != 0)
		fatal("cannot start a thread");
	/* What comes from now on is read. */
	pthread_mutex_lock(&f->lock);
	while (!f->started)
		pthread_cond_wait(&f->wake, &f->lock);
	pthread_mutex_unlock(&f->lock);
	if (f->why.n > 0)
		fatal("mail_log = %s: %s", f->log, buf_cstr(&f->why));
	return f;
}

bool
follow_stop(struct follow *f, int64_t within_ms)
{
	struct timespec until = clock_after(within_ms);
	bool ended;

	if (f == NULL)
		return true;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->wake);
	while (!f->ended && pthread_cond_timedwait(&f->wake, &f->lock, &until) == 0)
		;
	ended = f->ended;
	pthread_mutex_unlock(&f->lock);
	if (!ended)
		return false;
	pthread_join(f->thread, NULL);
	if (f->fd >= 0)
		close(f->fd);
	if (f->place_fd >= 0)
		close(f->place_fd);
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->wake);
	free(f->record);
	free(f->source);
	buf_free(&f->text);
	free(f->buffer);
	free(f->log);
	free(f->dir);
	buf_free(&f->why);
	free(f);
	return true;
}

void
follow_stats(struct follow_stats *s)
{
	*s = (struct follow_stats){
		.lines = count.lines,
		.delivered = count.delivered,
		.deferred = count.deferred,
		.bounced = count.bounced,
		.soft_bounced = count.soft,
		.policy_bounced = count.policy,
	};
}
