/* conf.h -- the settings: one table drives reading, defaults, checks, `rekindle conf` and the sample.  Pure. */
#ifndef REKINDLE_CONF_H
#define REKINDLE_CONF_H

#include <stdint.h>
#include <stdio.h>

#include "common/brake.h"
#include "common/buf.h"
#include "common/engage.h"
#include "common/log.h"
#include "common/privacy.h"
#include "common/trail.h"

#define CONF_FILE_MAX (1024 * 1024)
#define CONF_STREAMS_MAX 1000
#define CONF_ERRORS_MAX 100

/* Owned strings. */
struct list {
	char **item;
	size_t n;
	unsigned *line; /* in which each of them stands; NULL of a default */
};

enum unsubscribe_headers { UNSUBSCRIBE_ADD, UNSUBSCRIBE_REPLACE, UNSUBSCRIBE_OFF };

/*
 * A newsletter or sender: `[stream NAME]`.  conf->stream[0] is "default": the
 * general settings, for campaign mail that only the campaign header selects.
 * A stream starts with the general section's values and overrides them.
 */
struct stream {
	char *name;      /* letters, digits, - _ . ; at most 63 */
	char *campaign;  /* name when the message names none; {date} becomes 2026-01-31 */
	/* Which mail belongs here: any one of these is enough. */
	struct list match_header;        /* "Name" (present) or "Name: text" (value contains text, case ignored) */
	struct list match_login;         /* SASL login names, exact */
	struct list match_network;       /* client address or CIDR */
	struct list match_sender_domain; /* envelope sender's domain, case ignored; ".example.org" also below it */
	struct list match_daemon;        /* Postfix's milter_macro_daemon_name */
	bool match_list_unsubscribe;     /* the message has a List-Unsubscribe header */
	bool transactional; /* exempt from policy; nothing is ever stopped */
	bool series;        /* its messages are the re-engagement series */
	enum preset preset; /* gave the numbers of the policy that are not set */
	struct policy policy;
	char *warmup_start; /* day, as 2026-01-31; "" no warm-up */
	struct list warmup; /* messages on each day from then on, as decimal numbers */
	bool enforce;       /* false = observe: verdicts are computed, logged and counted, none carried out */
	enum mode opens, links;          /* ceilings of this stream's campaigns */
	enum unsubscribe_headers list_unsubscribe;
	bool several_leave; /* several_recipients = leave; else anonymous */
	bool track_asked;   /* only messages whose track_header says so are tracked */
	bool tag_signed;    /* tag what bears a DKIM-Signature too, which breaks it */
	bool top_pixel;     /* a second one behind <body> */
	bool visible_url;   /* track links whose text is itself a URL */
	bool text_links;    /* track URLs in text/plain */
	bool honeypot;      /* a hidden link, that only machines follow */
	struct list untracked_domains;   /* links there stay as they are, and below them */
	struct list untracked_urls;      /* patterns with *, of whole URLs, or without scheme */
	struct list url_parameters;      /* "name=value"; {campaign}, {stream}, {date}; added where the name is absent */
	struct list url_parameters_domains; /* only there and below; empty: everywhere */
	char *stream_title;              /* what recipients know it as; "": its name */
	char *unsubscribe_mailto;        /* addresses and templates; "" is none */
	char *route[ENGAGE_CLASSES];     /* by enum engage: transport of Postfix, or transport:nexthop; "" the usual one */
	char *route_slow;                /* the same, for on_...= route */
	char *feedback_id;
	char *cfbl_address;
};

struct conf {
	char *data_dir, *key_file;
	char *lock_dir;       /* where there is none, locks are in data_dir */
	char *access_log;     /* "" none */
	char *mail_log;       /* Postfix's: a path, "journal" or "journal:/directory"; "" none */
	char *tracking_url;   /* http(s)://host[:port][/path], no trailing slash */
	enum privacy_profile privacy_profile;
	char *pages_dir;      /* templates of pages; "": those that are built in */
	char *pages_language; /* of pages, for readers who ask for none that there is */
	char *milter_socket;  /* Postfix (unix:PATH, inet:HOST:PORT) or libmilter (inet:PORT@HOST, local:PATH, fd:N) syntax, as written */
	struct list http_listen;   /* HOST:PORT, [V6]:PORT, *:PORT, PORT, unix:/PATH; port 0 = any free one (logged) */
	struct list https_listen;  /* the same syntax, as of the next; at least one of http_listen and https_listen */
	struct list admin_listen;  /* /healthz /readyz /metrics; empty = none */
	char *socket_mode;         /* of sockets in the file system: conf_octal */
	struct list tls_cert, tls_key; /* PEM files; as many of one as of the other; the first is for who asks for none of them */
	struct list proxy_protocol_from, forwarded_from; /* networks, or "unix" */
	bool forwarded_rfc;        /* Forwarded, else X-Forwarded-For */
	struct list ask_listen;    /* as http_listen; empty = Postfix's lookups are not answered */
	char *ask_stream;          /* name of the stream that is meant where a lookup cannot say */
	bool ask_defer;            /* a store that cannot be read is a temporary failure; else no opinion */
	unsigned ask_connections;
	int64_t ask_idle;          /* ms without a whole lookup, until a connection is closed */
	struct list trusted_networks; /* clients whose sender address and headers select mail, besides those that logged in */
	struct list split_front, split_back; /* Postfix's milter_macro_daemon_name of listeners before and behind a split; both or none */
	char *campaign_header; /* names the campaign and selects the message; stripped */
	char *stream_header;   /* names the stream; stripped */
	char *consent_header;  /* lowers what may be kept of this message; stripped */
	char *track_header;    /* says what of this message is tracked; stripped */
	int64_t answer_within;   /* ms a hit waits for its touch to be durable */
	int64_t record_within;   /* ms a message waits for its SENT touch to be durable */
	int64_t request_within;  /* ms for one whole HTTP request */
	int64_t idle_timeout;    /* ms between requests on one connection */
	unsigned threads;        /* tracker loops; 0 = one per processor */
	unsigned max_connections;
	unsigned max_repeats;     /* hits of one recipient on one link that are recorded in an hour; 0: all */
	uint64_t max_message;    /* bytes; larger mail is passed untouched */
	int64_t keep_facts;      /* ms */
	char *agents_file, *networks_file, *receivers_file; /* "" is what we ship */
	struct list receiver_limit; /* receiver_limit_parse reads them; setup_load has done it */
	struct outage_limits outage;
	struct rules rules;      /* what hits mean together */
	int64_t settle;          /* ms; policy.settle of all streams is the same in seconds */
	bool head_counts;        /* HEAD is recorded, as a machine's */
	uint64_t facts_size, state_size; /* map sizes: the most that each file may grow to */
	uint64_t journal_size;           /* bytes, of each daemon's */
	bool log_syslog;
	enum log_level log_level;
	struct stream *stream;
	size_t nstreams;       /* at least 1 */
	bool enforce_any;      /* some stream enforces */
	bool opens_vary, links_vary; /* not the same in all streams: then a hit needs to know its own */
	char *file;            /* conf.c's, for conf_blame */
	unsigned *line;
};

/*
 * Reads a whole file's text; name is for messages.  Every fault goes to
 * errors as "NAME:LINE: what is wrong; what would be right" lines, all of
 * them (up to CONF_ERRORS_MAX), in file order; then NULL.  conf_free when done.
 */
struct conf *conf_parse(struct span text, const char *name, struct buf *errors);
/* The same, but never NULL: with defaults in place of what is wrong, to look on for faults elsewhere.  Not to work with. */
struct conf *conf_parse_anyway(struct span text, const char *name, struct buf *errors, bool *good);
void conf_free(struct conf *);

/* The effective settings as a file that reads back to the same. */
void conf_print(const struct conf *, struct buf *out);
/* The commented sample: every key, its default and one line of explanation. */
void conf_sample(struct buf *out);
/* The i-th setting's section ("", "stream" or "policy") and name; false past the end.  For tests of the manual. */
bool conf_setting(size_t i, const char **section, const char **name);

/*
 * What a message about the value of a general setting begins with:
 * "FILE:LINE: NAME: ", or "NAME: " where the default holds.
 */
void conf_blame(const struct conf *, const char *name, struct buf *out);
/* The same of an item of a list. */
void conf_blame_item(const struct conf *, const char *name, const struct list *, size_t i, struct buf *out);

/* Is this one of the items, to the byte? */
bool conf_list_has(const struct list *, struct span);

/* The same items in the same order? */
bool conf_list_eq(const struct list *, const struct list *);

/* NULL when there is none of this name. */
const struct stream *conf_stream(const struct conf *, struct span name);

/* How much this stream may keep of a recipient with this consent: the lowest of ceiling and profile. */
enum mode conf_mode(const struct conf *, const struct stream *, enum axis, enum consent);

/* "unix:/path" "inet:host:port" "inet:port@host" ... in libmilter's syntax; false when it is neither. */
bool conf_milter_socket(struct span, struct buf *libmilter);
/* Splits HOST:PORT, [V6]:PORT, *:PORT or PORT; host "" means any.  False when malformed. */
bool conf_host_port(struct span, struct span *host, uint16_t *port);
/* "0660"; false when it is not the mode of a file. */
bool conf_octal(struct span, unsigned *mode);

#endif
