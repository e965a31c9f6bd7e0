#include "milter/journald.h"

#ifdef HAVE_LIBSYSTEMD

#include <stdlib.h>
#include <systemd/sd-journal.h>

#include "common/mem.h"

#define TAG_MAX 256

struct journald {
	sd_journal *j;
	bool here;  /* the entry that the journal stands at has not been handed out yet */
	bool any;   /* it stands at one */
	struct buf tag;
};

struct journald *
journald_open(const char *dir, struct buf *why)
{
	struct journald *x = xcalloc(1, sizeof *x);
	int rc = dir != NULL ? sd_journal_open_directory(&x->j, dir, 0) : sd_journal_open(&x->j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);

	buf_init(&x->tag, TAG_MAX);
	/* 2 is mail (RFC 5424); Postfix's names are not known: syslog_name may be anything. */
	if (rc < 0 || (rc = sd_journal_add_match(x->j, "SYSLOG_FACILITY=2", 0)) < 0) {
		buf_addf(why, "the journal cannot be opened: %s", strerror(-rc));
		journald_close(x);
		return NULL;
	}
	return x;
}

void
journald_close(struct journald *x)
{
	if (x == NULL)
		return;
	if (x->j != NULL)
		sd_journal_close(x->j);
	buf_free(&x->tag);
	free(x);
}

bool
journald_seek(struct journald *x, struct span cursor)
{
	char *text = xstrndup(cursor.p, cursor.n);
	bool found = true;

	if (cursor.n == 0) {
		/* Standing at the end means nothing to libsystemd before it has stepped to an entry. */
		x->any = sd_journal_seek_tail(x->j) >= 0 && sd_journal_previous(x->j) > 0;
		if (!x->any)
			sd_journal_seek_head(x->j);
	} else {
		x->any = sd_journal_seek_cursor(x->j, text) >= 0 && sd_journal_next(x->j) > 0;
		found = x->any && sd_journal_test_cursor(x->j, text) > 0;
		x->here = x->any && !found;
		if (!x->any)
			sd_journal_seek_head(x->j);
	}
	free(text);
	return found;
}

/* Without "NAME=". */
static struct span
field(struct journald *x, const char *name)
{
	const void *p;
	size_t n;

	if (sd_journal_get_data(x->j, name, &p, &n) < 0)
		return SPAN("");
	return span_from(span_make(p, n), strlen(name) + 1);
}

int
journald_next(struct journald *x, struct span *tag, struct span *message, int64_t *when, int *errno_out)
{
	int rc = x->here ? 1 : sd_journal_next(x->j);
	uint64_t us;

	if (rc <= 0) {
		*errno_out = -rc;
		return rc < 0 ? -1 : 0;
	}
	x->here = false;
	x->any = true;
	/* Each field is good only until the next one is asked for. */
	buf_clear(&x->tag);
	buf_add(&x->tag, field(x, "SYSLOG_IDENTIFIER"));
	*tag = buf_span(&x->tag);
	*when = sd_journal_get_realtime_usec(x->j, &us) < 0 ? 0 : (int64_t)(us / 1000);
	*message = field(x, "MESSAGE");
	return 1;
}

void
journald_cursor(struct journald *x, struct buf *out)
{
	char *cursor;

	if (!x->any || sd_journal_get_cursor(x->j, &cursor) < 0)
		return;
	buf_adds(out, cursor);
	free(cursor);
}

bool
journald_is_empty(struct journald *x)
{
	uint64_t bytes;

	return sd_journal_get_usage(x->j, &bytes) < 0 || bytes == 0;
}

void
journald_wait(struct journald *x, int64_t ms)
{
	sd_journal_wait(x->j, (uint64_t)ms * 1000);
}

#else

struct journald *
journald_open(const char *dir, struct buf *why)
{
	(void)dir;
	buf_adds(why, "this program was built without libsystemd");
	return NULL;
}

void
journald_close(struct journald *x)
{
	(void)x;
}

bool
journald_seek(struct journald *x, struct span cursor)
{
	(void)x, (void)cursor;
	return false;
}

int
journald_next(struct journald *x, struct span *tag, struct span *message, int64_t *when, int *errno_out)
{
	(void)x, (void)tag, (void)message, (void)when;
	*errno_out = 0;
	return 0;
}

void
journald_cursor(struct journald *x, struct buf *out)
{
	(void)x, (void)out;
}

bool
journald_is_empty(struct journald *x)
{
	(void)x;
	return true;
}

void
journald_wait(struct journald *x, int64_t ms)
{
	(void)x, (void)ms;
}

#endif
