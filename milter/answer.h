/* answer.h -- the three protocols in which Postfix asks: socketmap, tcp_table and the policy service, as bytes.  Pure. */
#ifndef REKINDLE_ANSWER_H
#define REKINDLE_ANSWER_H

#include "common/buf.h"

/*
 * Bytes of one request.  Postfix takes lines of 2048 from a client, and a key
 * of a tcp_table has each byte as %XX at worst; a policy request is some 30
 * attributes, of which two are addresses.
 */
#define ANSWER_REQUEST_MAX 8192
#define ANSWER_MAX 1024 /* bytes of one answer, whatever it says */

enum answer_protocol {
	ANSWER_UNKNOWN,   /* nothing has come yet */
	ANSWER_SOCKETMAP, /* socketmap_table(5): netstring "MAP KEY" */
	ANSWER_TCP,       /* tcp_table(5): "get KEY\n", KEY with %XX */
	ANSWER_POLICY,    /* Postfix's SMTPD_POLICY_README: lines "name=value", ended by an empty one */
};

/* One for each connection, zeroed; a connection speaks one protocol, which its first bytes tell. */
struct answer_reader {
	enum answer_protocol protocol;
	size_t seen; /* of a request that is not whole: so far there is no end */
};

/* What is asked.  Spans are empty when the protocol or the client does not say; good as long as the request and room are. */
struct lookup {
	enum answer_protocol protocol;
	struct span map;   /* socketmap: the name of the table */
	struct span key;   /* an address, or what else Postfix looks up */
	struct span state; /* policy: protocol_state, "RCPT" ... */
	struct span sender, login, client;
	struct span context; /* policy: policy_context, which main.cf gives */
};

/*
 * The first request of `in`, which begins with the same bytes at each call
 * until one is taken.  > 0: how many bytes it has; 0: it is not whole, call
 * again with more; -1: malformed or too long, and nothing more can be read
 * from this client.  room takes what is decoded.  Each byte is looked at once,
 * however they arrive.
 */
int answer_read(struct answer_reader *, struct span in, struct buf *room, struct lookup *);

enum answer {
	ANSWER_NONE,    /* no opinion: NOTFOUND, 500, DUNNO */
	ANSWER_ROUTE,   /* text: a transport, or transport:nexthop.  The policy service has no opinion: FILTER is for all recipients */
	ANSWER_REJECT,  /* text: why, of this and the next three */
	ANSWER_DEFER,
	ANSWER_DISCARD, /* the policy service rejects: DISCARD is for all recipients */
	ANSWER_HOLD,    /* the policy service alone; tables have no opinion */
	ANSWER_LATER,   /* text: what is the matter; asked again later */
	ANSWER_WRONG,   /* text: what is wrong with the question */
};

/*
 * Appends the answer, at most ANSWER_MAX bytes: whatever text holds comes out
 * as printable ASCII, cut off.  Where those bytes have no room nothing is
 * appended, and out is over.
 */
void answer_write(struct buf *out, enum answer_protocol, enum answer, struct span text);

#endif
