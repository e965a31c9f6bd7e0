/* test_answer.c -- what Postfix asks in three protocols, where a request ends, and how each answer looks. */
#include "milter/answer.h"
#include "tests/unit/unit.h"

#define BYTES(literal) { literal, sizeof(literal) - 1 }
#define POLICY "request=smtpd_access_policy\n"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct {
	const char *says;
	struct span in;
	int n; /* bytes taken; 0 more wanted, -1 malformed */
	enum answer_protocol protocol;
	const char *map, *key, *state, *sender, *login, *client, *context; /* NULL: "" */
} rows[] = {
	{ "nothing yet", BYTES(""), 0, ANSWER_UNKNOWN, .key = NULL },
	{ "socketmap", BYTES("15:news ann@x.test,"), 19, ANSWER_SOCKETMAP, .map = "news", .key = "ann@x.test" },
	{ "another request behind it", BYTES("5:n a@b,5:m c@d,"), 8, ANSWER_SOCKETMAP, .map = "n", .key = "a@b" },
	{ "its comma is still to come", BYTES("5:n a@b"), 0, ANSWER_SOCKETMAP, .key = NULL },
	{ "a key of several words", BYTES("11:n \"a b\" @ x,"), 15, ANSWER_SOCKETMAP, .map = "n", .key = "\"a b\" @ x" },
	{ "a key with a comma and a colon", BYTES("7:n a,b:c,"), 10, ANSWER_SOCKETMAP, .map = "n", .key = "a,b:c" },
	{ "no key", BYTES("2:n ,"), 5, ANSWER_SOCKETMAP, .map = "n" },
	{ "no table", BYTES("2: k,"), 5, ANSWER_SOCKETMAP, .key = "k" },
	{ "no space", BYTES("4:news,"), -1, ANSWER_SOCKETMAP, .key = NULL },
	{ "an empty netstring", BYTES("0:,"), -1, ANSWER_SOCKETMAP, .key = NULL },
	{ "something else than the comma", BYTES("5:n a@b;"), -1, ANSWER_SOCKETMAP, .key = NULL },
	{ "something else than the colon", BYTES("5;n a@b,"), -1, ANSWER_SOCKETMAP, .key = NULL },
	{ "a length with a zero in front", BYTES("05:n a@b,"), -1, ANSWER_SOCKETMAP, .key = NULL },
	{ "the longest netstring there may be is waited for", BYTES("8186:n a"), 0, ANSWER_SOCKETMAP, .key = NULL },
	{ "one byte longer is not", BYTES("8187:n a"), -1, ANSWER_SOCKETMAP, .key = NULL },
	{ "a length of five digits", BYTES("00001"), -1, ANSWER_SOCKETMAP, .key = NULL },

	{ "tcp_table", BYTES("get ann@x.test\n"), 15, ANSWER_TCP, .key = "ann@x.test" },
	{ "with escapes", BYTES("get a%20b%25%2525@x\n"), 20, ANSWER_TCP, .key = "a b%%25@x" },
	{ "an escaped line break", BYTES("get a%0ab\n"), 10, ANSWER_TCP, .key = "a\nb" },
	{ "no line yet", BYTES("get ann@x.test"), 0, ANSWER_TCP, .key = NULL },
	{ "no word yet", BYTES("get"), 0, ANSWER_UNKNOWN, .key = NULL },
	{ "half an escape", BYTES("get a%2\n"), -1, ANSWER_TCP, .key = NULL },
	{ "an escape that is none", BYTES("get a%zz\n"), -1, ANSWER_TCP, .key = NULL },
	{ "an empty key", BYTES("get \n"), 5, ANSWER_TCP, .key = NULL },
	{ "a key is not to be stored", BYTES("put a b\n\n"), -1, ANSWER_POLICY, .key = NULL },

	{ "policy", BYTES(POLICY "protocol_state=RCPT\nsender=s@x\nrecipient=a@b\nsasl_username=joe\nclient_address=::1\npolicy_context=bulk\n\n"),
	    131, ANSWER_POLICY, .key = "a@b", .state = "RCPT", .sender = "s@x", .login = "joe", .client = "::1", .context = "bulk" },
	{ "what nobody knows, and what says nothing", BYTES(POLICY "x=y=z\nrecipient=\n\nmore"), 46, ANSWER_POLICY, .key = NULL },
	{ "an attribute twice", BYTES(POLICY "recipient=a@b\nrecipient=c@d\n\n"), 57, ANSWER_POLICY, .key = "a@b" },
	{ "twice, and nothing first", BYTES(POLICY "recipient=\nrecipient=c@d\n\n"), 54, ANSWER_POLICY, .key = NULL },
	{ "no empty line yet", BYTES(POLICY "recipient=a@b\n"), 0, ANSWER_POLICY, .key = NULL },
	{ "another request", BYTES("request=junk\n\n"), -1, ANSWER_POLICY, .key = NULL },
	{ "no request", BYTES("recipient=a@b\n\n"), -1, ANSWER_POLICY, .key = NULL },
	{ "a line without =", BYTES(POLICY "recipient\n\n"), -1, ANSWER_POLICY, .key = NULL },
	{ "a line without a name", BYTES(POLICY "=a\n\n"), -1, ANSWER_POLICY, .key = NULL },
	{ "an empty line at the start", BYTES("\n" POLICY "\n"), -1, ANSWER_POLICY, .key = NULL },
	{ "only empty lines", BYTES("\n\n"), -1, ANSWER_POLICY, .key = NULL },
	{ "a web browser", BYTES("GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n"), -1, ANSWER_POLICY, .key = NULL },
};

static void
require_question(const char *row, const struct lookup *q, size_t i)
{
	const struct span got[] = { q->map, q->key, q->state, q->sender, q->login, q->client, q->context };
	const char *const want[] = { rows[i].map, rows[i].key, rows[i].state, rows[i].sender, rows[i].login, rows[i].client,
		rows[i].context };

	for (size_t k = 0; k < COUNT(got); k++)
		assert_span(row, got[k], span_of(want[k] != NULL ? want[k] : ""));
}

static void
a_request_reads_as_it_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct answer_reader r = { 0 };
		struct buf room = BUF(ANSWER_REQUEST_MAX);
		struct lookup q;
		int n = answer_read(&r, rows[i].in, &room, &q);

		if (n != rows[i].n)
			fail_msg("%s: took %d of %zu bytes, not %d", rows[i].says, n, rows[i].in.n, rows[i].n);
		assert_row(rows[i].says, r.protocol == rows[i].protocol && q.protocol == r.protocol);
		if (n > 0)
			require_question(rows[i].says, &q, i);
		buf_free(&room);
	}
}

static void
and_the_same_byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct answer_reader r = { 0 };
		struct buf room = BUF(ANSWER_REQUEST_MAX);
		struct lookup q;
		int n = 0;

		for (size_t have = 0; have <= rows[i].in.n && n == 0; have++) {
			n = answer_read(&r, span_cut(rows[i].in, 0, have), &room, &q);
			if (n > 0)
				assert_row(rows[i].says, (size_t)n == have);
		}
		assert_row(rows[i].says, n == rows[i].n);
		if (n > 0)
			require_question(rows[i].says, &q, i);
		buf_free(&room);
	}
}

static void
requests_have_an_edge(void **state)
{
	static const struct {
		const char *says, *start, *end;
	} edges[] = {
		{ "tcp_table", "get ", "\n" },
		{ "policy", POLICY "x=", "\n\n" },
		{ "socketmap", "8186:n ", "," },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(edges); i++)
		for (size_t more = 0; more < 2; more++) {
			struct buf in = BUF(2 * ANSWER_REQUEST_MAX), room = BUF(ANSWER_REQUEST_MAX);
			size_t n = ANSWER_REQUEST_MAX + more;
			struct answer_reader r = { 0 };
			struct lookup q;

			buf_adds(&in, edges[i].start);
			while (in.n + strlen(edges[i].end) < n)
				buf_addc(&in, 'a');
			buf_adds(&in, edges[i].end);
			assert_row(edges[i].says, answer_read(&r, buf_span(&in), &room, &q) == (more ? -1 : (int)n));
			r = (struct answer_reader){ 0 };
			assert_row(edges[i].says, answer_read(&r, span_cut(buf_span(&in), 0, ANSWER_REQUEST_MAX - 1), &room, &q) == 0);
			assert_row(edges[i].says,
			    answer_read(&r, span_cut(buf_span(&in), 0, ANSWER_REQUEST_MAX), &room, &q) == (more ? -1 : (int)n));
			buf_free(&in);
			buf_free(&room);
		}
}

/* A connection speaks one protocol: the reader remembers. */
static void
nobody_changes_the_protocol(void **state)
{
	struct answer_reader r = { 0 };
	struct buf room = BUF(ANSWER_REQUEST_MAX);
	struct lookup q;

	(void)state;
	assert_int_equal(answer_read(&r, SPAN("get a@b\n"), &room, &q), 8);
	assert_int_equal(answer_read(&r, SPAN("5:n a@b,\n"), &room, &q), -1);
	buf_free(&room);
}

static const struct {
	enum answer answer;
	const char *text, *socketmap, *tcp, *policy;
} answers[] = {
	{ ANSWER_NONE, "", "9:NOTFOUND ,", "500 none\n", "action=DUNNO\n\n" },
	{ ANSWER_NONE, "not said", "9:NOTFOUND ,", "500 none\n", "action=DUNNO\n\n" },
	{ ANSWER_ROUTE, "reengage", "12:OK reengage:,", "200 reengage:\n", "action=DUNNO\n\n" },
	{ ANSWER_ROUTE, "slow:", "8:OK slow:,", "200 slow:\n", "action=DUNNO\n\n" },
	{ ANSWER_ROUTE, "slow:[::1]:25", "16:OK slow:[::1]:25,", "200 slow:[::1]:25\n", "action=DUNNO\n\n" },
	{ ANSWER_REJECT, "100% no", "22:OK error:5.7.1 100% no,", "200 error:5.7.1%20100%25%20no\n", "action=550 5.7.1 100% no\n\n" },
	{ ANSWER_REJECT, "a\nb\xc3\r", "20:OK error:5.7.1 a?b??,", "200 error:5.7.1%20a?b??\n", "action=550 5.7.1 a?b??\n\n" },
	{ ANSWER_DEFER, "wait", "19:OK retry:4.7.1 wait,", "200 retry:4.7.1%20wait\n", "action=451 4.7.1 wait\n\n" },
	{ ANSWER_DISCARD, "gone", "15:OK discard:gone,", "200 discard:gone\n", "action=550 5.7.1 gone\n\n" },
	{ ANSWER_HOLD, "held", "9:NOTFOUND ,", "500 none\n", "action=HOLD held\n\n" },
	{ ANSWER_LATER, "no store", "13:TEMP no store,", "400 no%20store\n", "action=451 4.3.0 no store\n\n" },
	{ ANSWER_WRONG, "no stream", "14:PERM no stream,", "400 no%20stream\n", "action=DUNNO\n\n" },
};

static void
answers_look_as_postfix_wants_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		const char *const want[] = { [ANSWER_SOCKETMAP] = answers[i].socketmap, [ANSWER_TCP] = answers[i].tcp,
			[ANSWER_POLICY] = answers[i].policy };

		for (enum answer_protocol p = ANSWER_SOCKETMAP; p <= ANSWER_POLICY; p++) {
			struct buf out = BUF(ANSWER_MAX);

			answer_write(&out, p, answers[i].answer, span_of(answers[i].text));
			assert_span(want[p], buf_span(&out), span_of(want[p]));
			buf_free(&out);
		}
	}
}

static void
no_text_makes_an_answer_long(void **state)
{
	char text[4000];

	(void)state;
	memset(text, ' ', sizeof text);
	for (enum answer a = ANSWER_NONE; a <= ANSWER_WRONG; a++)
		for (enum answer_protocol p = ANSWER_SOCKETMAP; p <= ANSWER_POLICY; p++) {
			struct buf out = BUF(ANSWER_MAX);

			answer_write(&out, p, a, span_make(text, sizeof text));
			assert_false(out.over);
			buf_free(&out);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_reads_as_it_says),
		cmocka_unit_test(and_the_same_byte_by_byte),
		cmocka_unit_test(requests_have_an_edge),
		cmocka_unit_test(nobody_changes_the_protocol),
		cmocka_unit_test(answers_look_as_postfix_wants_them),
		cmocka_unit_test(no_text_makes_an_answer_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
