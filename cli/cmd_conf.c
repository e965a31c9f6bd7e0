/* rekindle conf -- the settings in effect. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/text.h"

#define PRINTED_MAX (64 * 1024 * 1024)

/*
 * The printed settings as JSON: { "name": "value", ..., "policy": { ... },
 * "streams": { "NAME": { ... } } }.  Values stay the text that the file
 * would have, because that is what the manual explains.
 */
static void
emit_settings(struct span text)
{
	struct emit e = { 0 };
	struct span line;
	bool section = false, streams = false;

	emit_open(&e, NULL, '{');
	while (span_split(&text, '\n', &line)) {
		size_t eq;
		char name[256];

		line = span_trim(line);
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (line.p[0] == '[') {
			struct span inner = span_trim(span_cut(line, 1, span_find(line, ']')));
			bool stream = span_starts(inner, SPAN("stream "));

			if (section)
				emit_close(&e, '}');
			if (streams && !stream)
				emit_close(&e, '}');
			if (stream && !streams)
				emit_open(&e, "streams", '{');
			streams = stream;
			section = true;
			if (stream)
				inner = span_trim(span_from(inner, strlen("stream ")));
			snprintf(name, sizeof name, "%.*s", SPAN_ARG(inner));
			emit_open(&e, name, '{');
			continue;
		}
		eq = span_find(line, '=');
		snprintf(name, sizeof name, "%.*s", SPAN_ARG(span_trim(span_cut(line, 0, eq))));
		emit_text(&e, name, span_trim(span_from(line, eq + 1)));
	}
	if (section)
		emit_close(&e, '}');
	if (streams)
		emit_close(&e, '}');
	emit_close(&e, '}');
	emit_end(&e);
}

/* Would the daemons start?  All that is wrong, not only the first fault. */
static int
check(struct cli *c)
{
	if (!cli_setup(c))
		return EXIT_CANNOT;
	if (c->json) {
		struct emit e = { 0 };

		emit_open(&e, NULL, '{');
		emit_string(&e, "file", c->conf_file);
		emit_flag(&e, "good", true);
		emit_close(&e, '}');
		emit_end(&e);
	} else {
		printf("%s: settings and keys are good\n", c->conf_file);
	}
	return EXIT_FOUND;
}

int
cmd_conf(struct cli *c)
{
	bool want_check = false, sample = false;
	const struct cli_option options[] = {
		{ "check", .flag = &want_check },
		{ "sample", .flag = &sample },
	};
	struct buf text = BUF(PRINTED_MAX), why = BUF(65536);
	struct conf *conf = NULL;
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords > 0)
		return cli_usage(c, "conf: what is \"%s\"?", c->word[0]);
	if (want_check && sample)
		return cli_usage(c, "conf: --check or --sample, not both");
	if (want_check)
		return check(c);
	if (sample) {
		conf_sample(&text);
	} else if ((conf = setup_conf(c->conf_file, &why))) {
		conf_print(conf, &text);
	} else {
		cli_errors(&why);
		buf_free(&why);
		return EXIT_CANNOT;
	}
	if (c->json && !sample)
		emit_settings(buf_span(&text));
	else
		print_bytes(&text);
	conf_free(conf);
	buf_free(&text);
	buf_free(&why);
	return EXIT_FOUND;
}
