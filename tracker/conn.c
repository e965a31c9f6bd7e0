/* conn.c -- one client: requests in, answers out, in order, one at a time. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/text.h"
#include "tracker/admin.h"
#include "tracker/conn.h"
#include "tracker/tls.h"

#define INPUT_MIN 1024 /* most requests; grows to HTTP_INPUT_MAX */

#define NO_METHOD 0xff /* nothing could be read */
#define LOOK_EACH_MS 1000

/* ---- tasks ---- */

static struct task *
task_get(struct loop *l)
{
	struct task *t = l->spare;

	if (t != NULL) {
		l->spare = t->next;
		l->nspare--;
		return t;
	}
	t = xcalloc(1, sizeof *t);
	t->loop = l;
	hit_init(&t->hit);
	t->hit.repeats = &l->repeats;
	return t;
}

void
task_free(struct task *t)
{
	hit_free(&t->hit);
	free(t);
}

static void
task_put(struct task *t)
{
	struct loop *l = t->loop;

	if (l->nspare >= TASKS_SPARE) {
		task_free(t);
		return;
	}
	/* Pages and long destinations are rare; do not keep room for them a thousand times. */
	if (t->hit.spare.cap > 512)
		buf_free(&t->hit.spare);
	if (t->hit.text.cap > 512)
		buf_free(&t->hit.text);
	t->conn = NULL;
	t->next = l->spare;
	l->spare = t;
	l->nspare++;
}

/* On the writer's thread. */
static void
deed_done(struct deed *d, bool durable)
{
	struct task *t = (struct task *)d;

	t->durable = durable;
	loop_done(t->loop, t, d->next == NULL);
}

/* ---- the socket ---- */

static void on_event(evutil_socket_t, short, void *);

static ssize_t
conn_receive(struct conn *c, void *to, size_t n)
{
	return c->tls != NULL ? tls_receive(c->tls, to, n) : recv(c->fd, to, n, 0);
}

/* With `more` the kernel waits for what follows at once: the end of the connection travels in the same packet. */
static ssize_t
conn_send(struct conn *c, struct span bytes, bool more)
{
	return c->tls != NULL ? tls_send(c->tls, bytes.p, bytes.n)
	    : send(c->fd, bytes.p, bytes.n, more ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL);
}

static void
watch(struct conn *c, short what)
{
	if (c->armed && event_get_events(&c->ev) == (what | EV_PERSIST))
		return;
	if (c->armed)
		event_del(&c->ev);
	event_assign(&c->ev, c->loop->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
	event_add(&c->ev, NULL);
	c->armed = true;
}

static void
unwatch(struct conn *c)
{
	if (c->armed)
		event_del(&c->ev);
	c->armed = false;
}

void
conn_close(struct conn *c)
{
	if (c->state == STATE_CLOSED)
		return;
	unwatch(c);
	if (c->tls != NULL)
		tls_free(c->tls);
	c->tls = NULL;
	close(c->fd);
	if (c->task != NULL)
		c->task->conn = NULL;
	c->task = NULL;
	free(c->in);
	free(c->out);
	c->in = c->out = NULL;
	loop_drop(c->loop, c);
	server_leave(c->loop->server);
}

static void
linger(struct conn *c)
{
	if (c->tls != NULL)
		tls_end(c->tls);
	shutdown(c->fd, SHUT_WR);
	free(c->in);
	c->in = NULL;
	c->nin = 0;
	loop_enter(c->loop, c, STATE_LINGER, LINGER_MS);
}

/* The whole answer is on its way. */
static void
answered(struct conn *c)
{
	if (c->keep)
		loop_enter(c->loop, c, STATE_IDLE, c->loop->setup->conf->idle_timeout);
	else if (c->unread)
		linger(c);
	else
		conn_close(c);
}

static void
write_out(struct conn *c, struct span bytes)
{
	ssize_t n;

	do
		n = conn_send(c, bytes, !c->keep);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
		conn_close(c);
		return;
	}
	if (n >= 0 && (size_t)n == bytes.n) {
		answered(c);
		return;
	}
	bytes = span_from(bytes, n < 0 ? 0 : (size_t)n);
	c->out = xmalloc(bytes.n);
	memcpy(c->out, bytes.p, bytes.n);
	c->nout = (uint32_t)bytes.n;
	c->out_at = 0;
	loop_enter(c->loop, c, STATE_WRITING, c->loop->setup->conf->request_within);
}

static void
write_rest(struct conn *c)
{
	ssize_t n = conn_send(c, span_make(c->out + c->out_at, c->nout - c->out_at), !c->keep);

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n < 0) {
		conn_close(c);
		return;
	}
	c->out_at += (uint32_t)n;
	if (c->out_at < c->nout)
		return;
	free(c->out);
	c->out = NULL;
	answered(c);
}

static void
log_access(struct conn *c, const struct hit *h)
{
	struct loop *l = c->loop;
	struct access a = { .peer = c->method == NO_METHOD ? &c->peer : &l->peer, .hit = h, .read = c->method != NO_METHOD, .method = (enum http_method)c->method,
		.http10 = c->http10, .path = l->path, .agent = c->agent, .now = l->wall };
	struct buf line = BUF(ACCESSLOG_LINE_MAX);

	accesslog_line(&line, &a);
	accesslog_add(l->server->accesslog, buf_span(&line));
	buf_free(&line);
}

static void
send_hit(struct conn *c, const struct hit *h)
{
	struct loop *l = c->loop;

	if (l->draining && c->keep) {
		c->keep = false;
		c->unread = true;
	}
	if (h->status == 404)
		count(&l->counters.not_found);
	if (accesslog_on(l->server->accesslog) && !c->admin && !c->quiet)
		log_access(c, h);
	buf_clear(&l->out);
	hit_render(h, &l->out, loop_date(l), c->head, c->keep, c->http10);
	write_out(c, buf_span(&l->out));
}

/* Not a request that we can go on after. */
static void
refuse(struct conn *c, unsigned status)
{
	struct task *t = task_get(c->loop);

	c->keep = c->head = c->http10 = c->quiet = false;
	c->unread = true;
	c->method = NO_METHOD;
	hit_plain(&t->hit, status, span_of(http_reason(status)));
	send_hit(c, &t->hit);
	task_put(t);
}

/* ---- requests ---- */

static void
count_hit(struct loop *l, const struct hit *h)
{
	count(&l->counters.requests);
	if (h->verdict != ROBOT_NONE)
		count(&l->counters.hits[h->kind][h->verdict]);
}

/* The answer to a hit whose touches were not, or not yet, written. */
static void
answer_unwritten(struct conn *c, struct hit *h)
{
	if (h->must_last) {
		count(&c->loop->counters.sorry);
		hit_sorry(h);
	}
	send_hit(c, h);
}

/*
 * A token that did not open.  Whoever sends many of them has to connect anew
 * for each and fills no log; what opens is served as ever, from there too.
 */
static void
charge(struct conn *c, const struct peer *peer)
{
	struct loop *l = c->loop;

	count(&l->counters.forged);
	if (budget_charge(&l->guesses, budget_net(peer), GUESSES_BURST, GUESSES_EACH_MS, l->now))
		return;
	count(&l->counters.guesses);
	/* A proxy's connection is not the guesser's. */
	if (memcmp(peer, &c->peer, sizeof *peer) == 0) {
		c->unread |= c->keep; /* he does not know yet that this is the end */
		c->keep = false;
	}
	c->quiet = true;
}

/* Whoever has one newsletter must not be able to fill the disk with it. */
static bool
is_flood(struct loop *l, const struct hit *h)
{
	unsigned max = l->setup->conf->max_repeats;

	/* Who nobody is, are many; and so is whoever may not be told apart. */
	if (max == 0 || h->repeat == 0 || who_is_nobody(&h->record[0].touch.who))
		return false;
	if (budget_charge(&l->repeats, h->repeat, max, HOUR_MS / max, l->now))
		return false;
	count(&l->counters.repeats);
	return true;
}

/* The last room is for what somebody says: nobody's promise is broken where a hit is not recorded. */
static bool
is_tight(struct loop *l)
{
	static struct log_rate rate;
	struct store_health h;

	if (l->now - l->looked >= LOOK_EACH_MS || l->looked == 0) {
		store_health(l->store, &h);
		l->tight = store_is_tight(&h.facts);
		l->looked = l->now;
	}
	if (!l->tight)
		return false;
	log_rated(&rate, "store: facts.mdb has room for unsubscribes and mail only; hits are answered but not recorded");
	atomic_fetch_add(&l->counters.unrecorded, 1);
	return true;
}

/* What there is to record goes to the writer, and the answer waits for it, or does not. */
static void
record(struct conn *c, struct task *t)
{
	struct loop *l = c->loop;
	bool leaves = t->hit.must_last, hit = t->hit.verdict != ROBOT_NONE;

	if (hit && (is_flood(l, &t->hit) || is_tight(l))) {
		send_hit(c, &t->hit);
		task_put(t);
		return;
	}
	if (!leaves && l->setup->conf->answer_within == 0) {
		count(&l->counters.late);
		baskets_keep(&l->baskets, t->hit.record, t->hit.n);
		send_hit(c, &t->hit);
		task_put(t);
		return;
	}
	t->deed = (struct deed){ .done = deed_done, .n = t->hit.n, .record = t->hit.record };
	loop_deed(l, t);
	t->conn = c;
	c->task = t;
	loop_enter(l, c, leaves ? STATE_LEAVING : STATE_WAITING, leaves ? LEAVE_WITHIN_MS : l->setup->conf->answer_within);
}

static void
handle(struct conn *c, const struct http_request *r, struct span head, struct span body)
{
	struct loop *l = c->loop;
	struct task *t = task_get(l);
	struct peer peer = proxy_client(&l->proxies, head, c->peer);

	if (!c->admin || (r->method != HTTP_GET && r->method != HTTP_HEAD) || !admin_page(l->server, r->path, &t->hit))
		hit_take(&t->hit, l->setup, l->store, r, body, &peer, l->wall);
	count_hit(l, &t->hit);
	if (t->hit.forged)
		charge(c, &peer);
	if (t->hit.n == 0) {
		l->path = r->path;
		l->peer = peer;
		send_hit(c, &t->hit);
		l->path = (struct span){ 0 };
		task_put(t);
		return;
	}
	record(c, t);
}

static size_t
malformed(struct conn *c, unsigned status, struct span in)
{
	count(&c->loop->counters.malformed);
	refuse(c, status);
	return in.n;
}

/* Is the body here, all of it?  As http_read: > 0 yes, 0 not yet, -1 refused. */
static int
read_body(struct conn *c, struct span body)
{
	int n;

	if (!c->chunked)
		return body.n >= c->body_n;
	if ((n = http_chunked(&c->chunks, body)) > 0)
		c->body_n = (uint16_t)n;
	return n;
}

static void
begin_body(struct conn *c, size_t head_n, const struct http_request *r)
{
	c->head_n = (uint16_t)head_n;
	c->body_n = (uint16_t)r->length;
	c->chunked = r->chunked;
	c->chunks = (struct http_chunks){ 0 };
}

/* RFC 9110 section 10.1.1: whoever began with the body does not wait for us. */
static bool
say_continue(struct conn *c)
{
	const struct span interim = SPAN("HTTP/1.1 100 Continue\r\n\r\n");

	if (conn_send(c, interim, false) == (ssize_t)interim.n)
		return true;
	/* Half of it would be taken for the beginning of the answer. */
	conn_close(c);
	return false;
}

/* Handles the first request of in.  Bytes taken, 0 when more are needed. */
static size_t
take_request(struct conn *c, struct span in)
{
	struct http_request r;
	struct span head, body;
	int head_n, here = 1;

	/* A head is read again when its body is there, and only then. */
	if (c->head_n > 0)
		here = read_body(c, span_from(in, c->head_n));
	if (here > 0) {
		if ((head_n = http_read(&c->scan, &r, in)) < 0)
			return malformed(c, r.status, in);
		if (head_n == 0)
			here = 0;
		else if (c->head_n == 0) {
			begin_body(c, (size_t)head_n, &r);
			here = read_body(c, span_from(in, c->head_n));
			if (here == 0 && r.expects && in.n == c->head_n && !say_continue(c))
				return in.n;
		}
	}
	if (here < 0)
		return malformed(c, c->chunks.status, in);
	if (here == 0) {
		if (c->head_n > 0)
			c->scan = (struct http_scan){ 0 };
		if (c->state == STATE_IDLE)
			loop_enter(c->loop, c, STATE_READING, c->loop->setup->conf->request_within);
		return 0;
	}

	size_t n = (size_t)c->head_n + c->body_n;

	head = span_cut(in, 0, c->head_n);
	body = span_cut(in, c->head_n, n);
	if (c->chunked)
		body.n = http_unchunk((char *)body.p, body.n); /* in our own buffer, where nobody needs the rest */
	c->scan = (struct http_scan){ 0 };
	c->head_n = 0;
	c->keep = r.keep && r.method != HTTP_OTHER;
	c->head = r.method == HTTP_HEAD;
	c->http10 = r.http10;
	c->quiet = false;
	c->method = (uint8_t)r.method;
	if (accesslog_on(c->loop->server->accesslog))
		c->agent = robot_family(r.agent);
	c->unread = in.n > n || (r.keep && !c->keep);
	handle(c, &r, head, body);
	return n;
}

/* What was not taken waits in a buffer of its own; most of the time there is nothing, and no buffer. */
static void
keep_rest(struct conn *c, struct span rest)
{
	if (c->state == STATE_CLOSED || c->state == STATE_LINGER)
		return;
	if (rest.n == 0) {
		free(c->in);
		c->in = NULL;
	} else {
		if (c->in == NULL) {
			c->cap = INPUT_MIN;
			while (c->cap < rest.n)
				c->cap *= 2;
			c->in = xmalloc(c->cap);
		}
		if (rest.p != c->in)
			memmove(c->in, rest.p, rest.n);
	}
	c->nin = (uint16_t)rest.n;
}

/* Requests one after the other, as long as each is answered at once. */
static void
run(struct conn *c, struct span in)
{
	size_t n;

	while (in.n > 0 && (c->state == STATE_IDLE || c->state == STATE_READING) && (n = take_request(c, in)) > 0)
		in = span_from(in, n);
	keep_rest(c, in);
}

/* After anything that may have changed the state. */
static void
settle(struct conn *c)
{
	switch (c->state) {
	case STATE_IDLE:
	case STATE_READING:
	case STATE_LINGER:
		watch(c, EV_READ);
		/* What has left the socket already, the socket does not tell of. */
		if (c->tls != NULL && tls_pending(c->tls))
			event_active(&c->ev, EV_READ, 0);
		break;
	case STATE_WRITING:
		watch(c, EV_WRITE);
		break;
	}
}

/* An answer is out, or partly; go on with what the client sent meanwhile. */
static void
resume(struct conn *c)
{
	if (c->state == STATE_IDLE && c->nin > 0)
		run(c, span_make(c->in, c->nin));
	settle(c);
}

static void
on_readable(struct conn *c)
{
	struct loop *l = c->loop;
	bool linger_on = c->state == STATE_LINGER;
	char *to = l->input;
	size_t held = 0, room = HTTP_INPUT_MAX;
	ssize_t n;

	if (c->in != NULL) {
		/* A request that needs more than HTTP_INPUT_MAX is refused before. */
		if (c->nin == c->cap)
			c->in = xreallocarray(c->in, c->cap *= 2, 1);
		to = c->in;
		held = c->nin;
		room = c->cap;
	}
	n = conn_receive(c, to + held, room - held);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
		/* Not settle: half a record in OpenSSL is no reason to look again before the socket has more of it. */
		watch(c, EV_READ);
		return;
	}
	if (n <= 0) {
		conn_close(c);
		return;
	}
	if (!linger_on)
		run(c, span_make(to, held + (size_t)n));
	settle(c);
}

/*
 * Not one byte more than the header may be taken: what follows is for
 * OpenSSL, which reads the socket by itself.  So we look first, and take then.
 * False when more is needed, or the connection is closed.
 */
static bool
take_proxy(struct conn *c)
{
	static struct log_rate rate;
	char *at = c->loop->input;
	size_t held = c->nin, take;
	ssize_t n;
	int done;

	if (held > 0)
		memcpy(at, c->in, held);
	n = recv(c->fd, at + held, PROXY_HEADER_MAX - held, MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
		watch(c, EV_READ);
		return false;
	}
	if (n <= 0) {
		conn_close(c); /* a look whether somebody is here, as proxies do */
		return false;
	}
	if ((done = proxy_read(span_make(at, held + (size_t)n), &c->peer)) < 0) {
		log_rated(&rate, "a proxy in proxy_protocol_from sent no good PROXY header; its connections are closed");
		count(&c->loop->counters.malformed);
		conn_close(c);
		return false;
	}
	take = done > 0 ? (size_t)done - held : (size_t)n;
	if (recv(c->fd, at + held, take, 0) != (ssize_t)take) {
		conn_close(c);
		return false;
	}
	if (done == 0) {
		if (c->in == NULL)
			c->in = xmalloc(PROXY_HEADER_MAX);
		memcpy(c->in + held, at + held, take);
		c->nin = (uint16_t)(held + take);
		watch(c, EV_READ);
		return false;
	}
	free(c->in);
	c->in = NULL;
	c->nin = 0;
	c->proxied = false;
	return true;
}

static void
begin_requests(struct conn *c)
{
	loop_enter(c->loop, c, STATE_IDLE, c->loop->setup->conf->idle_timeout);
	on_readable(c);
}

/* The first request is often in the packet that ends the handshake. */
static void
shake(struct conn *c)
{
	bool writes = false;
	int done = tls_shake(c->tls, &writes);

	if (done < 0) {
		count(&c->loop->counters.handshakes_failed);
		conn_close(c);
	} else if (done == 0)
		watch(c, writes ? EV_WRITE : EV_READ);
	else {
		count(&c->loop->counters.handshakes);
		begin_requests(c);
	}
}

static void
arrive(struct conn *c)
{
	if (c->proxied && !take_proxy(c))
		return;
	if (c->tls != NULL)
		shake(c);
	else
		begin_requests(c);
}

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	loop_tick(c->loop);
	switch (c->state) {
	case STATE_SHAKING:
		arrive(c);
		break;
	case STATE_WRITING:
		write_rest(c);
		resume(c);
		break;
	case STATE_WAITING:
	case STATE_LEAVING:
		/* More input, or the end of it: after this answer. */
		unwatch(c);
		break;
	default:
		on_readable(c);
	}
	loop_reap(c->loop);
}

void
conn_expire(struct conn *c)
{
	struct task *t = c->task;

	switch (c->state) {
	case STATE_SHAKING:
		if (c->tls != NULL)
			count(&c->loop->counters.handshakes_failed);
		conn_close(c);
		return;
	case STATE_READING:
		count(&c->loop->counters.timeouts);
		refuse(c, 408);
		settle(c);
		return;
	case STATE_WAITING:
	case STATE_LEAVING:
		/* The writer still reads the records; what we change and send now is the answer only. */
		count(&c->loop->counters.late);
		c->task = NULL;
		t->conn = NULL;
		answer_unwritten(c, &t->hit);
		resume(c);
		return;
	default:
		conn_close(c);
	}
}

void
conn_recorded(struct task *t)
{
	struct conn *c = t->conn;

	if (!t->durable)
		atomic_fetch_add(&t->loop->counters.unrecorded, 1);
	else if (t->hit.kind == HIT_LEAVE)
		count(&t->loop->counters.leaves);
	if (c != NULL) {
		c->task = NULL;
		if (t->durable)
			send_hit(c, &t->hit);
		else
			answer_unwritten(c, &t->hit);
		resume(c);
	}
	task_put(t);
}

void
conn_unrecorded(struct task *t)
{
	t->durable = false;
	conn_recorded(t);
}

void
conn_open(struct loop *l, int fd, const struct peer *peer, enum listen_kind kind)
{
	struct conn *c = xcalloc(1, sizeof *c);

	c->loop = l;
	c->fd = fd;
	c->peer = *peer;
	c->admin = kind == LISTEN_ADMIN;
	c->state = STATE_CLOSED;
	l->nconns++;
	c->proxied = !c->admin && networks_have(&l->proxies.header_from, peer);
	if (!c->proxied && kind != LISTEN_HTTPS) {
		/* The request is often here already; then this connection may never need to be watched. */
		begin_requests(c);
		return;
	}
	loop_enter(l, c, STATE_SHAKING, l->setup->conf->request_within);
	if (kind == LISTEN_HTTPS && (c->tls = tls_accept(l->tls, fd)) == NULL)
		conn_close(c);
	else
		arrive(c);
}
