/* rekindle -- everything a person talks to: which command, its arguments, and what all commands share. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/clock.h"
#include "common/fold.h"
#include "common/journal.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/proc.h"
#include "common/text.h"

#define WHY_MAX 65536
#define USAGE_SHORT 200 /* bytes of it that still fit behind an error */
#define SETTLE_WITHIN_MS 2000 /* a daemon whose disk hangs must not keep a question waiting */

static const struct command commands[] = {
	{ "why", cmd_why, "ADDRESS [--stream NAME] [--campaign NAME] [--json]",
	  "what we know of one recipient, and what happens to the next message",
	  "  --stream NAME   only this stream; else all that are configured\n"
	  "  --campaign NAME is it stopped, or another brake on?  The next message is one of it\n"
	  "\n"
	  "Exit status 1: nobody of this address is known, or no such campaign.\n" },
	{ "segment", cmd_segment, "[export CLASS [--status STATUS] [--stream NAME] [--format csv|spreadsheet|json|text]] [--json]",
	  "count or export a class of recipients",
	  "Without `export`: the size of every class, and how many are stopped.\n"
	  "\n"
	  "  CLASS           new, engaged, semi-engaged, inactive, or all\n"
	  "  --status STATUS only ok, complained, bounced, unsubscribed or held; or of those who are ok,\n"
	  "                  only resting, re-engage (re-engage-1 to -3), sunset, win-back or holdout\n"
	  "  --stream NAME   the status with regard to this stream\n"
	  "  --format FORMAT csv (default), spreadsheet (CSV in which nothing is taken for a formula),\n"
	  "                  json (one object per line) or text (addresses only)\n" },
	{ "series", cmd_series,
	  "[results | export [--step 1|2|3|win-back | --status STATUS] [--on DATE] [--format csv|spreadsheet|json|text]] [--stream NAME] [--json]",
	  "who is where in the re-engagement series, and whose message is due",
	  "Without a word: how many are in which status, and how many messages are due.\n"
	  "\n"
	  "  results         how many came back, beside the control group\n"
	  "  export          the addresses of those who are due, for the tool that sends\n"
	  "  --step STEP     only those whose 1st, 2nd, 3rd or win-back message is due\n"
	  "  --status STATUS not who is due, but all who are resting, re-engage (or re-engage-1 to -3),\n"
	  "                  sunset, win-back or holdout\n"
	  "  --on DATE       as it will be then, if nothing happens until then\n"
	  "  --format FORMAT csv (default), spreadsheet (CSV in which nothing is taken for a formula),\n"
	  "                  json (one object per line) or text (addresses only)\n"
	  "  --stream NAME   when several streams have series_stream = yes\n" },
	{ "simulate", cmd_simulate, "[--conf FILE] [--stream NAME] [--campaign NAME | --days N | --list] [--json]",
	  "what settings would do to the people and campaigns in the store",
	  "Compares the settings in effect with those of FILE; changes nothing.\n"
	  "\n"
	  "  --conf FILE     the settings to try; else those in effect\n"
	  "  --stream NAME   the policy of this stream, and its campaigns alone\n"
	  "  --campaign NAME how many of those it was sent to would have been stopped; else of the five newest\n"
	  "  --days N        the same of all campaigns of the last N days\n"
	  "  --list          who would be stopped, as CSV\n" },
	{ "campaign", cmd_campaign, "[show NAME [--machines] [--stream NAME] | stop|start NAME [--stream NAME]] [--json]", "report on campaigns, and stop their links",
	  "Without a word: all campaigns, the newest first.\n"
	  "\n"
	  "  show NAME       one campaign; NAME may also be its id\n"
	  "  stop NAME       its links show a warning from now on; unsubscribing goes on\n"
	  "  start NAME      its links work again\n"
	  "  --stream NAME   when several streams have a campaign of this name\n"
	  "  --machines      which rule took how many hits for a machine's or a person's\n" },
	{ "brakes", cmd_brakes, "[stop|release CAMPAIGN [--stream NAME] [--reason TEXT]] [--json]", "what is stopped by itself, and why",
	  "Without a word: campaigns of the last days and receivers, with their rates and limits,\n"
	  "and which brake is on.\n"
	  "\n"
	  "  stop CAMPAIGN   no more of its messages go out; its links work on\n"
	  "  release CAMPAIGN  it goes on, and the brake that stopped it does not come back\n"
	  "  --stream NAME   when several streams have a campaign of this name, or it has not begun\n"
	  "  --reason TEXT   why; kept with your name\n" },
	{ "suppress", cmd_suppress,
	  "add ADDRESS... [--as CAUSE] [--reason TEXT] [--stream NAME] [--until DATE | --for DURATION] | "
	  "remove ADDRESS... [--reason TEXT] [--stream NAME] | list [--stream NAME] [--cause CAUSE] [--csv [--format spreadsheet] | --json] | "
	  "show ADDRESS [--json] | export [--stream NAME] [--cause CAUSE] [--format spreadsheet] | "
	  "import [FILE] [--format FORMAT] [--as CAUSE] [--stream NAME] [--at DATE] [--dry-run] [--strict] [--json]",
	  "stop and release recipients by hand, and take over lists",
	  "  add, remove     stop, and let go again\n"
	  "  list, export    who is stopped; export writes CSV, which import reads back\n"
	  "  show            why one recipient is stopped, and everything that was said before\n"
	  "  import          the suppression list of another system, CSV or JSON\n"
	  "\n"
	  "  ADDRESS         or - to read them from standard input, one per line\n"
	  "  --as CAUSE      held (default), unsubscribed (default with --stream), complained or\n"
	  "                  bounced; with import, what rows without a reason that is known mean\n"
	  "  --reason TEXT   why; kept in the history, with your name\n"
	  "  --stream NAME   only this stream; else everything.  With import, unsubscribed ones only\n"
	  "  --until DATE    a hold ends by itself then, at 2026-01-31 or 2026-01-31T12:00:00Z\n"
	  "  --for DURATION  the same, after 30d, 12h ...\n"
	  "  --cause CAUSE   only these\n"
	  "  --format FORMAT whose list it is, if its columns do not tell; rekindle(1) has the names.\n"
	  "                  With export, spreadsheet: CSV in which nothing is taken for a formula\n"
	  "  --at DATE       when the list was made, for rows without a date (the day of the file)\n"
	  "  --dry-run       say what would be done, and do nothing\n"
	  "  --strict        stop at the first bad row\n" },
	{ "forget", cmd_forget, "ADDRESS... [--entirely] [--yes] [--json]", "erase people, and keep what campaigns counted",
	  "Takes out names, touches, history, profiles: all that is stored of them.\n"
	  "\n"
	  "  ADDRESS         or - to read them from standard input, one per line\n"
	  "  --entirely      forget also that they may not be written to, and may not be tracked;\n"
	  "                  else both stays known, under a keyed hash without the address\n"
	  "  --yes           do not ask\n" },
	{ "release", cmd_release, "[--dry-run] [--all] [--config-directory DIR] [QUEUE-ID...] [--json]",
	  "let messages go that wait in Postfix's hold queue, when they are due",
	  "  QUEUE-ID        only these; else all that the milter put there\n"
	  "  --dry-run       only say which are due\n"
	  "  --all           those that are not due yet, too; but none to who complained, bounced, left or is held\n"
	  "  --config-directory DIR  Postfix's main.cf; else $MAIL_CONFIG, or where it usually is\n"
	  "\n"
	  "Needs root.  Exit status 1: nothing was due.\n" },
	{ "consent", cmd_consent,
	  "grant|deny|reset ADDRESS... [--opens] [--links] [--at DATE] [--note TEXT] | show ADDRESS [--json] | import [FILE]",
	  "what recipients agreed to, since when, and how they said so",
	  "  grant           opens and clicks may be kept, as far as privacy_profile allows\n"
	  "  deny            nothing may be kept any more, of mail already sent either\n"
	  "  reset           as if nobody had asked\n"
	  "  show            what stands, and everything that was said before\n"
	  "  import          many at once: JSON lines {\"address\", \"axis\", \"value\", \"at\", \"source\"}, as of `rekindle import'\n"
	  "  ADDRESS         or - to read them from standard input, one per line\n"
	  "  --opens         only opens\n"
	  "  --links         only links; with neither or both of them, both\n"
	  "  --at DATE       when it was said, as 2026-01-31 or 2026-01-31T12:00:00Z; else now\n"
	  "  --note TEXT     how it was said; kept as evidence\n"
	},
	{ "tag", cmd_tag,
	  "[FILE] [--from ADDRESS] [--to ADDRESS]... [--login NAME] [--client IP] [--daemon NAME] [--stream NAME] "
	  "[--campaign NAME] [--diff | --explain] [--json]",
	  "show what the milter would do to a message, without Postfix",
	  "Reads the message from FILE or standard input and writes the tagged message.\n"
	  "\n"
	  "  --from ADDRESS  envelope sender\n"
	  "  --to ADDRESS    envelope recipient; with several, or none, nobody is tracked one by one\n"
	  "  --login NAME    SASL login name\n"
	  "  --client IP     address of the SMTP client (127.0.0.1)\n"
	  "  --daemon NAME   Postfix's milter_macro_daemon_name\n"
	  "  --stream NAME   as if the message named this stream\n"
	  "  --campaign NAME as if the message named this campaign\n"
	  "  --diff          write what changes, line by line, instead of the message\n"
	  "  --explain       write what was decided, part by part and link by link, and why\n"
	  "  --json          write a summary instead of the message\n"
	  "\n"
	  "Exit status 1: the message is left alone; standard error says why.\n" },
	{ "token", cmd_token, "TOKEN|URL [--json]", "what a tracking URL says",
	  "  TOKEN|URL       or - to read it from standard input\n"
	  "\n"
	  "Exit status 1: not one of ours.\n" },
	{ "intake", cmd_intake, "[RECIPIENT...] [--json]", "take one mail from Postfix: unsubscribes, complaints, bounces",
	  "Reads a message from standard input and records what it says.\n"
	  "\n"
	  "  RECIPIENT       address or address extension that it was sent to\n"
	  "\n"
	  "Exit status 0, for mail that says nothing too, or 75: try again later.\n" },
	{ "key", cmd_key, "new | rotate | list [--json]", "make, add and list keys",
	  "  new             make the key file; never overwrites one\n"
	  "  rotate          add a key that seals from now on; the older ones go on opening\n"
	  "  list            ids and dates\n" },
	{ "import", cmd_import, "[FILE] [--json]", "read touches, one JSON object per line",
	  "Reads FILE or standard input.  Good lines are imported even when others are bad;\n"
	  "bad ones are reported with their line number, and the exit status is then 3.\n"
	  "The fields are described in rekindle(1).\n" },
	{ "export", cmd_export, "[--since DATE] [--type TYPE] | --person ADDRESS", "write touches, one JSON object per line, for import",
	  "  --person ADDRESS all that is stored of one person, as JSON to read\n"
	  "  --since DATE    only what happened at or after 2026-01-31 or 2026-01-31T12:00:00Z\n"
	  "  --type TYPE     only touches of this type, as import has them (open, click ... do as well)\n" },
	{ "conf", cmd_conf, "[--check | --sample] [--json]", "print or check the settings",
	  "Without options: the settings in effect, as a configuration file.\n"
	  "\n"
	  "  --check         say whether the daemons can work with these settings, keys and\n"
	  "                  data_dir; asked by root, as the owner of data_dir finds them\n"
	  "  --sample        every setting with its default and one line of explanation\n" },
};

#define NCOMMANDS (sizeof commands / sizeof commands[0])

/* ---- messages ---- */

static void
complain(const char *fmt, va_list ap, const char *tail)
{
	struct buf text = BUF(WHY_MAX), safe = BUF(WHY_MAX * 4);
	char *raw = NULL;

	if (vasprintf(&raw, fmt, ap) < 0)
		raw = NULL;
	buf_adds(&text, raw ? raw : fmt);
	buf_adds(&text, tail);
	print_safe(&safe, buf_span(&text));
	fflush(stdout);
	fprintf(stderr, "rekindle: %s\n", buf_cstr(&safe));
	free(raw);
	buf_free(&text);
	buf_free(&safe);
}

void
cli_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap, "");
	va_end(ap);
}

/* The next of the ways to say a command: "add A [--b | --c] | remove A" has two. */
static bool
next_way(struct span *rest, struct span *way)
{
	size_t n = 0, depth = 0;

	if (rest->n == 0)
		return false;
	for (; n < rest->n; n++) {
		depth += rest->p[n] == '[';
		depth -= rest->p[n] == ']';
		if (depth == 0 && span_starts(span_from(*rest, n), SPAN(" | ")))
			break;
	}
	*way = span_cut(*rest, 0, n);
	*rest = span_from(*rest, n + 3);
	return true;
}

/* "grant|deny ADDRESS..." is what grant takes, and deny. */
static bool
way_begins(struct span way, struct span word)
{
	struct span names = span_cut(way, 0, span_find(way, ' ')), name;

	while (span_split(&names, '|', &name))
		if (span_eq(name, word))
			return true;
	return false;
}

/* What the word after the command takes: of a command with many ways the others would only hide what is wrong. */
int
cli_usage(const struct cli *c, const char *fmt, ...)
{
	struct span usage = span_of(c->command->usage), rest = usage, way = usage;
	struct buf tail = BUF(1024);
	bool found = false;
	va_list ap;

	while (!found && c->nwords > 0 && next_way(&rest, &way))
		found = way_begins(way, span_of(c->word[0]));
	if (found || usage.n <= USAGE_SHORT)
		buf_addf(&tail, "; usage: rekindle %s %.*s", c->command->name, SPAN_ARG(found ? way : usage));
	else
		buf_addf(&tail, "; `rekindle %s -h` says what there is", c->command->name);
	va_start(ap, fmt);
	complain(fmt, ap, buf_cstr(&tail));
	va_end(ap);
	buf_free(&tail);
	return EXIT_USAGE;
}

/* Whoever is refused is told who would not be. */
static void
tell_who_may(const struct cli *c)
{
	struct buf why = BUF(WHY_MAX);
	struct conf *conf = setup_conf(c->conf_file, &why);
	struct passwd *pw = NULL;
	struct stat st;

	if (conf && stat(conf->data_dir, &st) == 0)
		pw = getpwuid(st.st_uid);
	if (!pw)
		cli_error("run it as root, or as the owner of data_dir");
	else if (pw->pw_uid == 0)
		cli_error("run it as root");
	else if (pw->pw_uid == geteuid())
		cli_error("run it as root, or see `rekindle conf --check`: the owner of data_dir (%s) should have access", pw->pw_name);
	else
		cli_error("run it as root, or as the owner of data_dir (%s)", pw->pw_name);
	conf_free(conf);
	buf_free(&why);
}

void
cli_errors(const struct cli *c, struct buf *why)
{
	struct span rest = buf_span(why), line;
	bool refused = false;

	while (span_split(&rest, '\n', &line)) {
		if (line.n > 0)
			cli_error("%.*s", SPAN_ARG(line));
		refused = refused || span_ends(line, span_of(strerror(EACCES)));
	}
	if (refused && c->by_root && c->setup)
		cli_error("what is in %s has to belong to the owner of that directory; chown it", c->setup->conf->data_dir);
	else if (refused && geteuid() != 0)
		tell_who_may(c);
}

/* ---- arguments ---- */

static void
help(const struct cli *c)
{
	if (c->command) {
		struct span rest = span_of(c->command->usage), way;

		for (const char *before = "usage:"; next_way(&rest, &way); before = "      ")
			printf("%s rekindle %s %.*s\n", before, c->command->name, SPAN_ARG(way));
		printf("\n%s.\n\n%s", c->command->summary, c->command->help);
		printf("\n  -c FILE         settings (default %s)\n", DEFAULT_CONF_FILE);
		return;
	}
	printf("usage: rekindle [-c FILE] COMMAND [ARGUMENT]...\n\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	printf("\n"
	       "  -c FILE     settings (default %s)\n"
	       "  --json      for machines, wherever that makes sense\n"
	       "  -h, --help  after a command: what it takes\n"
	       "  --version\n"
	       "\n"
	       "Exit status: 0 found, 1 nothing, 2 usage, 3 could not.  See rekindle(1).\n", DEFAULT_CONF_FILE);
}

/* The nearest name, when it is near enough to have been meant; else NULL. */
static const char *
nearest(const char *name, const char *(*nth)(const void *, size_t), const void *arg)
{
	const char *best = NULL, *s;
	unsigned best_distance = 3;

	for (size_t i = 0; (s = nth(arg, i)); i++) {
		unsigned d = text_distance(span_of(name), span_of(s));

		if (d < best_distance) {
			best_distance = d;
			best = s;
		}
	}
	return best;
}

struct option_names {
	const struct cli_option *option;
	size_t n;
};

static const char *
nth_option(const void *arg, size_t i)
{
	static const char *const global[] = { "json", "help", "version" };
	const struct option_names *names = arg;

	if (i < names->n)
		return names->option[i].name;
	i -= names->n;
	return i < sizeof global / sizeof global[0] ? global[i] : NULL;
}

static const char *
nth_command(const void *arg, size_t i)
{
	(void)arg;
	return i < NCOMMANDS ? commands[i].name : NULL;
}

static const char *
nth_stream(const void *arg, size_t i)
{
	const struct conf *conf = arg;

	return i < conf->nstreams ? conf->stream[i].name : NULL;
}

enum global { GLOBAL_NO, GLOBAL_YES, GLOBAL_END, GLOBAL_WRONG };

/* One global option at argv[*i]; *i moves over its value. */
static enum global
global_option(struct cli *c, size_t *i)
{
	const char *a = c->argv[*i];

	if (strcmp(a, "--json") == 0) {
		c->json = true;
		return GLOBAL_YES;
	}
	if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0) {
		help(c);
		return GLOBAL_END;
	}
	if (strcmp(a, "--version") == 0 || strcmp(a, "-V") == 0) {
		printf("rekindle %s\n", PACKAGE_VERSION);
		return GLOBAL_END;
	}
	if (strncmp(a, "-c", 2) != 0)
		return GLOBAL_NO;
	if (a[2] != '\0') {
		c->conf_file = a + 2;
		return GLOBAL_YES;
	}
	if (*i + 1 == c->argc) {
		cli_error("-c needs a file: rekindle -c FILE COMMAND");
		return GLOBAL_WRONG;
	}
	c->conf_file = c->argv[++*i];
	return GLOBAL_YES;
}

/* The option that argv[*i] names, with its value stored.  False: told why. */
static bool
own_option(struct cli *c, const struct cli_option *options, size_t n, size_t *i)
{
	const char *a = c->argv[*i], *value = strchr(a, '=');
	struct span name = span_make(a, value ? (size_t)(value - a) : strlen(a));
	const struct cli_option *o = NULL;

	for (size_t k = 0; k < n && span_starts(name, SPAN("--")); k++)
		if (span_eq(span_from(name, 2), span_of(options[k].name)))
			o = &options[k];
	if (!o) {
		struct option_names names = { options, n };
		char *bare = xstrndup(a, name.n);
		const char *meant = nearest(bare + strspn(bare, "-"), nth_option, &names);

		/* One that all commands have, and the same letter by letter: it is the value that is wrong. */
		if (meant && span_starts(name, SPAN("--")) && span_eq(span_from(name, 2), span_of(meant)))
			cli_usage(c, "%s: %s takes no value", c->command->name, bare);
		else if (meant)
			cli_usage(c, "%s: unknown option %s, did you mean --%s?", c->command->name, bare, meant);
		else
			cli_usage(c, "%s: unknown option %s", c->command->name, bare);
		free(bare);
		return false;
	}
	if (o->flag) {
		if (value) {
			cli_usage(c, "%s: --%s takes no value", c->command->name, o->name);
			return false;
		}
		*o->flag = true;
		return true;
	}
	if (value)
		value++;
	else if (*i + 1 < c->argc && (c->argv[*i + 1][0] != '-' || c->argv[*i + 1][1] == '\0'))
		value = c->argv[++*i];
	if (!value) {
		cli_usage(c, "%s: --%s needs a value", c->command->name, o->name);
		return false;
	}
	if (o->text && *o->text) {
		cli_usage(c, "%s: --%s is there twice; give one of them", c->command->name, o->name);
		return false;
	}
	if (o->text) {
		*o->text = value;
	} else {
		if (o->list->n == CLI_LIST_MAX) {
			cli_error("%s: at most %d times --%s", c->command->name, CLI_LIST_MAX, o->name);
			return false;
		}
		o->list->item = xreallocarray(o->list->item, o->list->n + 1, sizeof *o->list->item);
		o->list->item[o->list->n++] = value;
	}
	return true;
}

bool
cli_options(struct cli *c, const struct cli_option *options, size_t n, int *status)
{
	bool only_words = false;

	c->word = xcalloc(c->argc + 1, sizeof *c->word);
	for (size_t i = 0; i < c->argc; i++) {
		char *a = c->argv[i];

		if (only_words || a[0] != '-' || a[1] == '\0') {
			c->word[c->nwords++] = a;
			continue;
		}
		if (strcmp(a, "--") == 0) {
			only_words = true;
			continue;
		}
		switch (global_option(c, &i)) {
		case GLOBAL_YES:
			continue;
		case GLOBAL_END:
			*status = EXIT_FOUND;
			return false;
		case GLOBAL_WRONG:
			*status = EXIT_USAGE;
			return false;
		case GLOBAL_NO:
			break;
		}
		if (!own_option(c, options, n, &i)) {
			*status = EXIT_USAGE;
			return false;
		}
	}
	return true;
}

/* ---- settings and store ---- */

bool
cli_setup(struct cli *c)
{
	struct buf why = BUF(WHY_MAX);

	if (!c->setup && !(c->setup = setup_load(c->conf_file, &why)))
		cli_errors(c, &why);
	buf_free(&why);
	return c->setup != NULL;
}

void
cli_settle(struct cli *c, bool create)
{
	const char *dir = c->setup->conf->data_dir;

	journal_settle(dir, c->store, SETTLE_WITHIN_MS, create);
	if (strcmp(store_lock_dir(c->store), dir) != 0)
		journal_settle(store_lock_dir(c->store), c->store, SETTLE_WITHIN_MS, create);
}

static bool
open_store(struct cli *c, bool create, struct buf *why)
{
	const struct conf *conf = c->setup->conf;
	struct store_options options = {
		.dir = conf->data_dir,
		.lock_dir = conf->lock_dir,
		.facts_size = conf->facts_size,
		.state_size = conf->state_size,
		.create = create,
	};

	if (!setup_become_owner(conf, why) || !(c->store = store_open(&options, why)))
		return false;
	cli_settle(c, create);
	cli_fold(c);
	return true;
}

bool
cli_store(struct cli *c)
{
	struct buf why = BUF(WHY_MAX);
	bool ok;

	if (!cli_setup(c))
		return false;
	if (!(ok = open_store(c, true, &why)))
		cli_errors(c, &why);
	buf_free(&why);
	return ok;
}

bool
cli_store_if_any(struct cli *c)
{
	struct buf why = BUF(WHY_MAX);

	if (!cli_setup(c))
		return false;
	(void)open_store(c, false, &why);
	buf_free(&why);
	return true;
}

bool
cli_stream(struct cli *c, const char *name, uint64_t *id)
{
	struct buf known = BUF(1024);
	const char *meant;
	bool ok;

	*id = stream_id(&c->setup->keys, span_of(name));
	ok = conf_stream(c->setup->conf, span_of(name)) != NULL
	    || (c->store && store_stream_name(c->store, *id, &known) == STORE_OK);
	buf_free(&known);
	if (ok)
		return true;
	if ((meant = nearest(name, nth_stream, c->setup->conf)))
		cli_error("there is no stream \"%s\"; did you mean \"%s\"?", name, meant);
	else
		cli_error("there is no stream \"%s\"; `rekindle conf` lists the ones there are", name);
	return false;
}

void
cli_stream_name(struct cli *c, uint64_t id, struct buf *out)
{
	const struct conf *conf = c->setup->conf;

	for (size_t i = 0; i < conf->nstreams; i++)
		if (stream_id(&c->setup->keys, span_of(conf->stream[i].name)) == id) {
			buf_adds(out, conf->stream[i].name);
			return;
		}
	if (!c->store || store_stream_name(c->store, id, out) != STORE_OK)
		buf_addf(out, "%016" PRIx64, id);
}

bool
cli_who_at(struct cli *c, struct span address, const char *where, struct who *who)
{
	if (addr_who(&c->setup->keys, address, who))
		return true;
	cli_error("%s%s\"%.*s\" is not an address; write it as name@example.org", where, *where ? ": " : "",
	    SPAN_ARG(span_cut(address, 0, 200)));
	return false;
}

bool
cli_who(struct cli *c, const char *address, struct who *who)
{
	return cli_who_at(c, span_of(address), "", who);
}

static bool
addresses_of_stdin(cli_address_fn *fn, void *arg)
{
	struct lines in = { .file = stdin };
	struct span line;
	char where[64];
	bool cut, ok = true;

	while (ok && lines_next(&in, &line, &cut)) {
		line = span_trim(line);
		if (line.n == 0 || line.p[0] == '#')
			continue;
		snprintf(where, sizeof where, "-:%" PRIu64, in.number);
		ok = fn(arg, line, where);
	}
	if (ok && ferror(stdin)) {
		cli_error("cannot read standard input: %s", strerror(errno));
		ok = false;
	}
	buf_free(&in.line);
	return ok;
}

bool
cli_addresses(struct cli *c, size_t first, cli_address_fn *fn, void *arg)
{
	bool ok = true;

	for (size_t i = first; ok && i < c->nwords; i++)
		ok = strcmp(c->word[i], "-") == 0 ? addresses_of_stdin(fn, arg) : fn(arg, span_of(c->word[i]), "");
	return ok;
}

static bool
is_line(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return text_is_utf8(s);
}

/* The note is for people to read later, the rest for nobody to doubt: sudo's word counts for who is root only. */
bool
cli_source(struct buf *source, struct span note)
{
	const struct passwd *pw = getpwuid(getuid());
	const char *behind = getuid() == 0 ? getenv("SUDO_USER") : NULL;

	buf_adds(source, "cli: ");
	if (behind && *behind && strlen(behind) <= LOGIN_NAME_MAX && is_line(span_of(behind)))
		buf_adds(source, behind);
	else if (pw)
		buf_adds(source, pw->pw_name);
	else
		buf_addf(source, "%lu", (unsigned long)getuid());
	if (note.n > 0) {
		buf_adds(source, ": ");
		buf_add(source, note);
	}
	return is_line(note) && source->n <= CLI_SOURCE_MAX && !source->over;
}

/* ---- writing touches ---- */

static struct span
copied(struct span s)
{
	return s.n ? span_make(xstrndup(s.p, s.n), s.n) : span_make("", 0);
}

static void
drop(struct span s)
{
	if (s.n)
		free((void *)(uintptr_t)s.p);
}

void
batch_add(struct batch *b, const struct record *r)
{
	b->record[b->n++] = (struct record){
		.touch = r->touch,
		.address = copied(r->address),
		.stream = copied(r->stream),
		.campaign = copied(r->campaign),
		.destination = copied(r->destination),
		.source = copied(r->source),
	};
}

bool
batch_has(const struct batch *b, const struct who *who)
{
	for (size_t i = 0; i < b->n; i++)
		if (who_eq(&b->record[i].touch.who, who))
			return true;
	return false;
}

bool
batch_write(struct cli *c, struct batch *b)
{
	enum store_result result = STORE_OK;

	if (b->n > 0)
		result = store_append(c->store, b->record, b->n, NULL);
	for (size_t i = 0; i < b->n; i++) {
		drop(b->record[i].address);
		drop(b->record[i].stream);
		drop(b->record[i].campaign);
		drop(b->record[i].destination);
		drop(b->record[i].source);
	}
	b->n = 0;
	if (result == STORE_FULL)
		cli_error("the store is full: free disk space under %s, or raise facts_size", c->setup->conf->data_dir);
	else if (result != STORE_OK)
		cli_error("cannot write to the store in %s", c->setup->conf->data_dir);
	return result == STORE_OK;
}

void
cli_fold(struct cli *c)
{
	/* A daemon knows better which settings are in force. */
	(void)fold_adopt(c->store, &c->setup->conf->rules, true);
	(void)fold_all(c->store);
}

/* ---- input ---- */

bool
lines_next(struct lines *l, struct span *line, bool *cut)
{
	char *p;
	size_t n = 0;
	int ch = EOF;

	*cut = false;
	buf_clear(&l->line);
	l->line.max = LINE_MAX_BYTES;
	p = buf_room(&l->line, LINE_MAX_BYTES);
	while ((ch = getc_unlocked(l->file)) != EOF) {
		l->bytes++;
		if (ch == '\n')
			break;
		if (n < LINE_MAX_BYTES)
			p[n++] = (char)ch;
		else
			*cut = true;
	}
	if (ch == EOF && n == 0)
		return false;
	if (n > 0 && !*cut && p[n - 1] == '\r')
		n--;
	buf_grew(&l->line, n);
	l->number++;
	*line = buf_span(&l->line);
	return true;
}

/* ---- start ---- */

/* Takes the command word out of argv: the first that is neither a global option nor its value. */
static bool
take_command(struct cli *c, int *status)
{
	for (size_t i = 0; i < c->argc; i++) {
		const char *a = c->argv[i], *meant;

		if (a[0] == '-') {
			switch (global_option(c, &i)) {
			case GLOBAL_YES:
				continue;
			case GLOBAL_END:
				*status = EXIT_FOUND;
				return false;
			case GLOBAL_NO:
				cli_error("unknown option %s before the command; `rekindle -h` says what there is", a);
				/* FALLTHROUGH */
			default:
				*status = EXIT_USAGE;
				return false;
			}
		}
		for (size_t k = 0; k < NCOMMANDS; k++)
			if (strcmp(a, commands[k].name) == 0)
				c->command = &commands[k];
		if (!c->command) {
			if ((meant = nearest(a, nth_command, NULL)))
				cli_error("there is no command \"%s\"; did you mean \"%s\"?", a, meant);
			else
				cli_error("there is no command \"%s\"; `rekindle -h` lists them", a);
			*status = EXIT_USAGE;
			return false;
		}
		memmove(&c->argv[i], &c->argv[i + 1], (c->argc - i - 1) * sizeof *c->argv);
		c->argc--;
		return true;
	}
	cli_error("which command?  `rekindle -h` lists them");
	*status = EXIT_USAGE;
	return false;
}

int
main(int argc, char **argv)
{
	struct cli c = {
		.conf_file = DEFAULT_CONF_FILE,
		.argv = argv + 1,
		.argc = argc > 0 ? (size_t)argc - 1 : 0,
		.by_root = geteuid() == 0,
	};
	bool for_postfix = false; /* which knows 0 and EX_TEMPFAIL, and bounces the rest */
	int status;

	log_open("rekindle", false, LOG_LEVEL_WARN);
	c.now = clock_read(CLOCK_REALTIME);
	if (take_command(&c, &status)) {
		for_postfix = c.command->run == cmd_intake;
		if (for_postfix)
			log_fatal_status(EX_TEMPFAIL);
		status = c.command->run(&c);
	}
	store_close(c.store);
	setup_put(c.setup);
	free(c.word);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_error("cannot write the answer: %s", strerror(errno));
		/* The mail is taken, or not, whoever hears of it. */
		if (!for_postfix)
			status = EXIT_CANNOT;
	}
	return status;
}
