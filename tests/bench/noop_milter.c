/*
 * noop_milter.c -- the least that a libmilter filter that changes bodies must do: bench-milter's yardstick.
 *
 *	noop_milter SOCKET		unix:PATH
 *
 * It asks for the same steps and macros as milter/filter.c (milter.py looks
 * that both agreed on the same with the MTA), collects the body, puts the
 * same bytes in its place and adds one header.
 */
#include <libmilter/mfapi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ACTIONS (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_DELRCPT | SMFIF_QUARANTINE | SMFIF_SETSYMLIST)
#define STEPS \
	(SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_HDR_LEADSPC | \
	    SMFIP_NR_CONN | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_HDR | SMFIP_NR_BODY)

/* One connection's; the room for the body stays for the next message. */
struct session {
	unsigned long steps;
	unsigned char *body;
	size_t n, cap;
};

/* libmilter's prototypes know no const; it writes to none of these. */
static char *
loose(const char *s)
{
	return (char *)(uintptr_t)s;
}

static sfsistat
go_on(SMFICTX *ctx, unsigned long no_reply)
{
	const struct session *s = smfi_getpriv(ctx);

	return (s->steps & no_reply) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat
on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long f2, unsigned long f3,
    unsigned long *want_actions, unsigned long *want_steps, unsigned long *want_f2, unsigned long *want_f3)
{
	static const struct {
		int stage;
		const char *macros;
	} symbols[] = {
		{ SMFIM_CONNECT, "{client_addr} {daemon_name} {daemon_port} j v" },
		{ SMFIM_ENVFROM, "i {auth_authen} {mail_addr}" },
		{ SMFIM_ENVRCPT, "i {rcpt_addr}" },
		{ SMFIM_EOM, "i" },
	};
	struct session *s = calloc(1, sizeof *s);

	(void)f2, (void)f3;
	if (s == NULL)
		return SMFIS_TEMPFAIL;
	smfi_setpriv(ctx, s);
	for (size_t i = 0; (actions & SMFIF_SETSYMLIST) != 0 && i < sizeof symbols / sizeof *symbols; i++)
		smfi_setsymlist(ctx, symbols[i].stage, loose(symbols[i].macros));
	*want_actions = actions & ACTIONS;
	*want_steps = s->steps = steps & STEPS;
	*want_f2 = *want_f3 = 0;
	return SMFIS_CONTINUE;
}

static sfsistat
on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *sa)
{
	(void)host, (void)sa;
	return go_on(ctx, SMFIP_NR_CONN);
}

static sfsistat
on_mail(SMFICTX *ctx, char **argv)
{
	struct session *s = smfi_getpriv(ctx);

	(void)argv;
	s->n = 0;
	return go_on(ctx, SMFIP_NR_MAIL);
}

static sfsistat
on_rcpt(SMFICTX *ctx, char **argv)
{
	(void)argv;
	return go_on(ctx, SMFIP_NR_RCPT);
}

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
	(void)name, (void)value;
	return go_on(ctx, SMFIP_NR_HDR);
}

static sfsistat
on_end_of_header(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat
on_body(SMFICTX *ctx, unsigned char *chunk, size_t n)
{
	struct session *s = smfi_getpriv(ctx);

	if (s->n + n > s->cap) {
		unsigned char *more = realloc(s->body, 2 * (s->n + n));

		if (more == NULL)
			return SMFIS_TEMPFAIL;
		s->body = more;
		s->cap = 2 * (s->n + n);
	}
	memcpy(s->body + s->n, chunk, n);
	s->n += n;
	return go_on(ctx, SMFIP_NR_BODY);
}

static sfsistat
on_end_of_message(SMFICTX *ctx)
{
	const struct session *s = smfi_getpriv(ctx);

	if (smfi_replacebody(ctx, s->body, (int)s->n) != MI_SUCCESS ||
	    smfi_addheader(ctx, loose("X-Noop"), loose(" yes")) != MI_SUCCESS)
		return SMFIS_TEMPFAIL;
	return SMFIS_CONTINUE;
}

static sfsistat
on_abort(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat
on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (s != NULL)
		free(s->body);
	free(s);
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

int
main(int argc, char **argv)
{
	struct smfiDesc callbacks = {
		.xxfi_name = loose("noop"),
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = ACTIONS,
		.xxfi_negotiate = on_negotiate,
		.xxfi_connect = on_connect,
		.xxfi_envfrom = on_mail,
		.xxfi_envrcpt = on_rcpt,
		.xxfi_header = on_header,
		.xxfi_eoh = on_end_of_header,
		.xxfi_body = on_body,
		.xxfi_eom = on_end_of_message,
		.xxfi_abort = on_abort,
		.xxfi_close = on_close,
	};

	if (argc != 2) {
		fputs("usage: noop_milter unix:PATH\n", stderr);
		return 2;
	}
	umask(0); /* Postfix has to reach it; its directory is private */
	if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(callbacks) != MI_SUCCESS ||
	    smfi_opensocket(1) != MI_SUCCESS) {
		perror(argv[1]);
		return 1;
	}
	return smfi_main() == MI_SUCCESS ? 0 : 1;
}
