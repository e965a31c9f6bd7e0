/* What a line says, and what none ever does; and a log whose file is moved, missing or on a full disk. */
#include "tracker/accesslog.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

#define NOW 1700000000000 /* Tue Nov 14 22:13:20 UTC 2023 */
#define AT " - - [14/Nov/2023:22:13:20 +0000] "

static const struct peer somebody = { .b = { [10] = 0xff, 0xff, 192, 0, 2, 77 } };
static const struct peer nobody; /* on a unix socket, and no proxy says who */
static const struct peer somebody6 = { .b = { 0x20, 0x01, 0x0d, 0xb8, 0, 7, 0, 9, [15] = 1 } };

static void
lines(void **state)
{
	const struct {
		const char *says;
		enum hit_kind kind;
		enum mode mode; /* of the touch; MODE_OFF: none is recorded */
		char personal;
		unsigned status;
		struct access a;
		const char *want;
	} row[] = {
		{ "a click in mode full", HIT_CLICK, MODE_FULL, 0, 302, { .peer = &somebody, .read = true },
		    "192.0.2.0" AT "\"GET /c/- HTTP/1.1\" 302 0 \"-\" \"unknown\"\n" },
		{ "a click in mode identified", HIT_CLICK, MODE_IDENTIFIED, 0, 302, { .peer = &somebody, .read = true },
		    "-" AT "\"GET /c/- HTTP/1.1\" 302 0 \"-\" \"-\"\n" },
		{ "an open of somebody who said no", HIT_OPEN, MODE_OFF, 0, 200, { .peer = &somebody, .read = true, .http10 = true },
		    "-" AT "\"GET /o/-.gif HTTP/1.0\" 200 5 \"-\" \"-\"\n" },
		{ "an anonymous open, by HEAD", HIT_OPEN, MODE_ANONYMOUS, 0, 200,
		    { .peer = &somebody, .read = true, .method = HTTP_HEAD }, "-" AT "\"HEAD /o/-.gif HTTP/1.1\" 200 0 \"-\" \"-\"\n" },
		{ "an unsubscribe", HIT_LEAVE, MODE_IDENTIFIED, 'u', 503, { .peer = &somebody, .read = true, .method = HTTP_POST },
		    "-" AT "\"POST /u/- HTTP/1.1\" 503 5 \"-\" \"-\"\n" },
		{ "a page", HIT_PAGE, MODE_OFF, 0, 200, { .peer = &somebody6, .read = true, .path = SPAN("/robots.txt") },
		    "2001:db8:7::" AT "\"GET /robots.txt HTTP/1.1\" 200 5 \"-\" \"unknown\"\n" },
		{ "a page, over a unix socket", HIT_PAGE, MODE_OFF, 0, 200, { .peer = &nobody, .read = true, .path = SPAN("/robots.txt") },
		    "-" AT "\"GET /robots.txt HTTP/1.1\" 200 5 \"-\" \"unknown\"\n" },
		{ "the top", HIT_PAGE, MODE_OFF, 0, 200, { .peer = &somebody, .read = true, .path = SPAN("/") },
		    "192.0.2.0" AT "\"GET / HTTP/1.1\" 200 5 \"-\" \"unknown\"\n" },
		{ "a forged token", HIT_PAGE, MODE_OFF, 0, 404, { .peer = &somebody, .read = true, .path = SPAN("/c/AbCdEf") },
		    "192.0.2.0" AT "\"GET /c/* HTTP/1.1\" 404 5 \"-\" \"unknown\"\n" },
		{ "a token at the top", HIT_PAGE, MODE_OFF, 0, 404,
		    { .peer = &somebody, .read = true, .path = SPAN("/abcdefghijklmnopqrstuvwxy") },
		    "192.0.2.0" AT "\"GET /* HTTP/1.1\" 404 5 \"-\" \"unknown\"\n" },
		{ "as long as is shown", HIT_PAGE, MODE_OFF, 0, 404,
		    { .peer = &somebody, .read = true, .path = SPAN("/abcdefghijklmnopqrstuvwx") },
		    "192.0.2.0" AT "\"GET /abcdefghijklmnopqrstuvwx HTTP/1.1\" 404 5 \"-\" \"unknown\"\n" },
		{ "an address in a path", HIT_PAGE, MODE_OFF, 0, 404, { .peer = &somebody, .read = true, .path = SPAN("/ann@example.org") },
		    "192.0.2.0" AT "\"GET /* HTTP/1.1\" 404 5 \"-\" \"unknown\"\n" },
		{ "somebody who would write his own lines", HIT_PAGE, MODE_OFF, 0, 404,
		    { .peer = &somebody, .read = true, .path = SPAN("/a\" 200\n1.2.3.4") },
		    "192.0.2.0" AT "\"GET /* HTTP/1.1\" 404 5 \"-\" \"unknown\"\n" },
		{ "another method", HIT_PAGE, MODE_OFF, 0, 405, { .peer = &somebody, .read = true, .method = HTTP_OTHER, .path = SPAN("/") },
		    "192.0.2.0" AT "\"OTHER / HTTP/1.1\" 405 5 \"-\" \"unknown\"\n" },
		{ "what the server can do", HIT_PAGE, MODE_OFF, 0, 200, { .peer = &somebody, .read = true, .method = HTTP_OPTIONS, .path = SPAN("*") },
		    "192.0.2.0" AT "\"OTHER * HTTP/1.1\" 200 5 \"-\" \"unknown\"\n" },
		{ "what a link can do", HIT_PAGE, MODE_OFF, 0, 200,
		    { .peer = &somebody, .read = true, .method = HTTP_OPTIONS, .path = SPAN("/c/AbCdEf") },
		    "192.0.2.0" AT "\"OTHER /c/* HTTP/1.1\" 200 5 \"-\" \"unknown\"\n" },
		{ "a recipient's own page", HIT_PAGE, MODE_OFF, 'p', 200, { .peer = &somebody, .read = true, .path = SPAN("/p/AbCdEf") },
		    "-" AT "\"GET /p/- HTTP/1.1\" 200 5 \"-\" \"-\"\n" },
		{ "less often, answered after somebody else's page", HIT_PAGE, MODE_IDENTIFIED, 'p', 200,
		    { .peer = &somebody, .read = true, .method = HTTP_POST, .path = SPAN("") },
		    "-" AT "\"POST /p/- HTTP/1.1\" 200 5 \"-\" \"-\"\n" },
		{ "everything, on the page of preferences", HIT_LEAVE, MODE_IDENTIFIED, 'p', 200,
		    { .peer = &somebody, .read = true, .method = HTTP_POST, .path = SPAN("/p/AbCdEf") },
		    "-" AT "\"POST /p/- HTTP/1.1\" 200 5 \"-\" \"-\"\n" },
		{ "taken back, at the page of an unsubscribe", HIT_PAGE, MODE_IDENTIFIED, 'u', 200,
		    { .peer = &somebody, .read = true, .method = HTTP_POST, .path = SPAN("/u/AbCdEf") },
		    "-" AT "\"POST /u/- HTTP/1.1\" 200 5 \"-\" \"-\"\n" },
		{ "no request at all", HIT_PAGE, MODE_OFF, 0, 400, { .peer = &somebody, .method = (enum http_method)0xff },
		    "192.0.2.0" AT "\"-\" 400 5 \"-\" \"-\"\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct hit h = { .kind = row[i].kind, .status = row[i].status,
			.personal = row[i].personal,
			.body = row[i].kind == HIT_CLICK ? SPAN("") : SPAN("bytes"), .n = row[i].mode != MODE_OFF };
		struct buf out = BUF(ACCESSLOG_LINE_MAX);
		struct access a = row[i].a;

		h.record[0].touch.mode = (uint8_t)row[i].mode;
		if (row[i].mode == MODE_FULL)
			memcpy(h.record[0].touch.net, ((const uint8_t[]){ 24, 192, 0, 2 }), 4);
		a.hit = &h;
		a.now = NOW;
		accesslog_line(&out, &a);
		assert_false(out.over);
		assert_span(row[i].says, buf_span(&out), span_of(row[i].want));
		buf_free(&out);
	}
}

static struct buf
read_whole(const char *path)
{
	struct buf out = BUF(1 << 22);
	int fd = open(path, O_RDONLY);
	ssize_t n;
	char *p;

	while (fd >= 0 && (p = buf_room(&out, 65536)) != NULL && (n = read(fd, p, 65536)) > 0)
		buf_grew(&out, (size_t)n);
	close(fd);
	return out;
}

static void
a_file_that_is_moved_away(void **state)
{
	char *dir = temp_make(), path[600], old[600];
	struct accesslog_stats stats;
	struct accesslog *a;
	struct buf got;

	(void)state;
	snprintf(path, sizeof path, "%s/log", dir);
	snprintf(old, sizeof old, "%s/log.1", dir);
	a = accesslog_start(&(struct conf){ .access_log = path });
	assert_true(accesslog_on(a));
	accesslog_add(a, SPAN("one\n"));
	do {
		usleep(1000);
		accesslog_stats(a, &stats);
	} while (stats.written < 1);
	assert_int_equal(rename(path, old), 0);
	accesslog_reopen(a, &(struct conf){ .access_log = path });
	while (access(path, F_OK) != 0)
		usleep(1000);
	accesslog_add(a, SPAN("two\n"));
	accesslog_stop(a);
	got = read_whole(old);
	assert_span("before", buf_span(&got), SPAN("one\n"));
	buf_free(&got);
	got = read_whole(path);
	assert_span("behind", buf_span(&got), SPAN("two\n"));
	buf_free(&got);
	unlink(path);
	unlink(old);
	temp_remove(dir);
}

static void
what_finds_no_room_is_counted(void **state)
{
	char *dir = temp_make(), path[600], line[1001];
	struct accesslog_stats stats;
	struct accesslog *a;
	unsigned n = 20 * ACCESSLOG_WAITING_MAX / 1000;
	uint64_t newlines = 0;
	char c[1000];
	int fd;

	(void)state;
	memset(line, 'x', sizeof line);
	line[999] = '\n';
	snprintf(path, sizeof path, "%s/log", dir);
	a = accesslog_start(&(struct conf){ .access_log = path });
	for (unsigned i = 0; i < n; i++)
		accesslog_add(a, span_make(line, 1000));
	do
		accesslog_stats(a, &stats);
	while (stats.written + stats.lost < n);
	assert_true(stats.written >= ACCESSLOG_WAITING_MAX / 1000);
	accesslog_stop(a);
	assert_true((fd = open(path, O_RDONLY)) >= 0);
	while (read(fd, c, sizeof c) == sizeof c)
		newlines += c[999] == '\n';
	close(fd);
	assert_int_equal(newlines, stats.written);
	unlink(path);
	temp_remove(dir);
}

static void
no_file_and_one_that_cannot_be_had(void **state)
{
	char *dir = temp_make(), path[600];
	struct accesslog_stats stats;
	struct accesslog *a = accesslog_start(&(struct conf){ .access_log = (char *)"" });
	struct buf got;
	int status;
	pid_t pid;

	(void)state;
	assert_false(accesslog_on(a));
	accesslog_stop(a);
	/* At the start that is the end; later the old one stays. */
	if ((pid = fork()) == 0) {
		accesslog_start(&(struct conf){ .access_log = (char *)"/nonexistent/log" });
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	snprintf(path, sizeof path, "%s/log", dir);
	a = accesslog_start(&(struct conf){ .access_log = path });
	accesslog_add(a, SPAN("one\n"));
	accesslog_reopen(a, &(struct conf){ .access_log = (char *)"/nonexistent/log" });
	do {
		usleep(1000);
		accesslog_stats(a, &stats);
	} while (stats.written < 1);
	accesslog_add(a, SPAN("two\n"));
	accesslog_stop(a);
	got = read_whole(path);
	assert_span("both", buf_span(&got), SPAN("one\ntwo\n"));
	buf_free(&got);
	unlink(path);
	temp_remove(dir);
	accesslog_stop(NULL);
	assert_false(accesslog_on(NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(a_file_that_is_moved_away),
		cmocka_unit_test(what_finds_no_room_is_counted),
		cmocka_unit_test(no_file_and_one_that_cannot_be_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
