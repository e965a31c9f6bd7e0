#include "common/csv.h"
#include "common/listing.h"
#include "common/text.h"
#include "tests/unit/unit.h"

/* "left ann@example.org 2026-01-31T12:00:00Z detail", or "skip: why", or "bad: why", or "none: why" of the first line. */
static const struct {
	const char *what, *header, *row, *want;
} rows[] = {
	{ "our own, for spreadsheets", "address_text,reason,stream,since,until,source", "'=1+1@example.org,bounced,,2025-11-03T10:22:19Z,,'-x",
	    "rekindle: bounced =1+1@example.org 2025-11-03T10:22:19Z -x" },
	{ "an apostrophe in the middle, too", "address_text,reason,stream,since,until,source", "a;'=1@example.org,bounced,,2025-11-03T10:22:19Z,,\"x; y,''z\"",
	    "rekindle: bounced a;=1@example.org 2025-11-03T10:22:19Z x; y,'z" },
	{ "an apostrophe in our own stays", "address,reason,stream,since,until,source", "'=1+1@example.org,bounced,,2025-11-03T10:22:19Z,,'-x",
	    "rekindle: bounced '=1+1@example.org 2025-11-03T10:22:19Z '-x" },
	{ "Mailchimp, unsubscribed", "Email Address,First Name,UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_REASON",
	    "ann@example.org,Ann,2025-11-03 10:22:19,November,No longer wants to get mail",
	    "mailchimp: left ann@example.org 2025-11-03T10:22:19Z No longer wants to get mail" },
	{ "Mailchimp, cleaned", "Email Address,First Name,CLEAN_TIME,CLEAN_CAMPAIGN_TITLE", "ann@example.org,,2025-11-03 10:22:19,November",
	    "mailchimp: bounced ann@example.org 2025-11-03T10:22:19Z November" },
	{ "Mailchimp, subscribed", "Email Address,First Name,MEMBER_RATING,OPTIN_TIME", "",
	    "none: this is the list of subscribed members; unsubscribed and cleaned ones are in files of their own" },
	{ "SendGrid, a bounce", "status,reason,email,created", "5.1.1,550 5.1.1 user unknown,ann@example.org,1762165339",
	    "sendgrid: bounced ann@example.org 2025-11-03T10:22:19Z 550 5.1.1 user unknown" },
	{ "SendGrid, a block", "status,reason,email,created", "5.7.1,550 5.7.1 our policy,ann@example.org,1762165339",
	    "sendgrid: skip: the mail was refused, not the address" },
	{ "SendGrid, a status that only the reply has", "status,reason,email,created", "550,550 5.1.10 not found,ann@example.org,1762165339",
	    "sendgrid: bounced ann@example.org 2025-11-03T10:22:19Z 550 5.1.10 not found" },
	{ "SendGrid, no status", "status,reason,email,created", ",x,ann@example.org,1762165339",
	    "sendgrid: bad: the status is neither like 5.1.1 nor like 550" },
	{ "SendGrid, invalid", "reason,email,created", "Mail domain mentioned in email address is unknown,ann@example.org,1762165339",
	    "sendgrid: bounced ann@example.org 2025-11-03T10:22:19Z Mail domain mentioned in email address is unknown" },
	{ "SendGrid, a complaint", "email,created,ip", "ann@example.org,1762165339,192.0.2.1", "sendgrid: complained ann@example.org 2025-11-03T10:22:19Z " },
	{ "SendGrid, unsubscribed", "email,created", "ann@example.org,1762165339", "sendgrid: left ann@example.org 2025-11-03T10:22:19Z " },
	{ "Postmark, a bounce", "EmailAddress,SuppressionReason,Origin,CreatedAt", "ann@example.org,HardBounce,Recipient,2025-11-03T10:22:19-05:00",
	    "postmark: bounced ann@example.org 2025-11-03T15:22:19Z Recipient" },
	{ "Postmark, by their own hand", "EmailAddress,SuppressionReason,Origin,CreatedAt", "ann@example.org,ManualSuppression,Recipient,2025-11-03T10:22:19Z",
	    "postmark: left ann@example.org 2025-11-03T10:22:19Z Recipient" },
	{ "Postmark, by ours", "EmailAddress,SuppressionReason,Origin,CreatedAt", "ann@example.org,ManualSuppression,Customer,2025-11-03T10:22:19Z",
	    "postmark: held ann@example.org 2025-11-03T10:22:19Z Customer" },
	{ "Mailgun, a bounce", "address,code,error,created_at", "ann@example.org,550,No such mailbox,\"Mon, 03 Nov 2025 10:22:19 UTC\"",
	    "mailgun: bounced ann@example.org 2025-11-03T10:22:19Z No such mailbox" },
	{ "Mailgun, refused for a while", "address,code,error,created_at", "ann@example.org,421,busy,", "mailgun: skip: the reply does not say that the address is dead" },
	{ "Mailgun, its own code", "address,code,error,created_at", "ann@example.org,607,,", "mailgun: complained ann@example.org - " },
	{ "Mailgun, unsubscribed", "address,tags,created_at", "ann@example.org,*,\"Mon, 3 Nov 2025 10:22:19 GMT\"", "mailgun: left ann@example.org 2025-11-03T10:22:19Z *" },
	{ "Mailgun, a complaint", "address,created_at", "ann@example.org,\"Mon, 03 Nov 2025 11:22:19 +0100\"", "mailgun: complained ann@example.org 2025-11-03T10:22:19Z " },
	{ "SparkPost", "recipient,type,source,description,created,updated",
	    "ann@example.org,non_transactional,Spam Complaint,,2025-11-03T10:22:19+00:00,", "sparkpost: complained ann@example.org 2025-11-03T10:22:19Z " },
	{ "SparkPost, a link", "recipient,type,source,description,created", "ann@example.org,non_transactional,Unsubscribe Link,why not,",
	    "sparkpost: left ann@example.org - why not" },
	{ "Amazon SES", "EmailAddress,Reason,LastUpdateTime", "ann@example.org,COMPLAINT,2025-11-03T10:22:19.123000+00:00", "ses: complained ann@example.org 2025-11-03T10:22:19Z " },
	{ "Brevo", "email;senderEmail;reason;blockedAt", "ann@example.org;news@example.org;contactFlaggedAsSpam;03-11-2025 10:22:19",
	    "brevo: complained ann@example.org 2025-11-03T10:22:19Z news@example.org" },
	{ "Klaviyo", "Email,Reason,Timestamp", "ann@example.org,USER_SUPPRESSED,2025-11-03T10:22:19+00:00", "klaviyo: held ann@example.org 2025-11-03T10:22:19Z " },
	{ "listmonk, on the list", "uuid,email,name,attributes,status,created_at,updated_at", "1-2,ann@example.org,Ann,\"{\"\"a\"\": 1}\",blocklisted,2024-01-01T00:00:00Z,2025-11-03T10:22:19.5Z",
	    "listmonk: left ann@example.org 2025-11-03T10:22:19Z " },
	{ "listmonk, not on it", "uuid,email,name,attributes,status,created_at,updated_at", "1-2,ann@example.org,Ann,{},enabled,2024-01-01T00:00:00Z,",
	    "listmonk: skip: is not suppressed there" },
	{ "Mautic", "email,channel,reason,date_added,comments", "ann@example.org,email,2,2025-11-03 10:22:19,550", "mautic: bounced ann@example.org 2025-11-03T10:22:19Z 550" },
	{ "Mautic, in words", "email,channel,reason,date_added,comments", "ann@example.org,email,unsubscribed,2025-11-03 10:22:19,", "mautic: left ann@example.org 2025-11-03T10:22:19Z " },
	{ "numbers are no words elsewhere", "email,reason", "ann@example.org,2", "generic: bad: nobody here knows the reason \"2\"; --as says what such rows mean" },
	{ "our own", "address,reason,stream,since,until,source", "ann@example.org,held,,2025-11-03T10:22:19Z,2026-01-01T00:00:00Z,cli: root",
	    "rekindle: held ann@example.org 2025-11-03T10:22:19Z cli: root until 2026-01-01T00:00:00Z" },
	{ "our own, of a stream", "address,reason,stream,since,until,source", "ann@example.org,unsubscribed,news,2025-11-03T10:22:19Z,,",
	    "rekindle: left ann@example.org 2025-11-03T10:22:19Z  of news" },
	{ "any with a reason", "E-Mail,Reason", "ann@example.org,Hard bounce", "generic: bounced ann@example.org - " },
	{ "any without", "email,name", "ann@example.org,Ann", "generic: bad: it says no reason; --as says what such rows mean" },
	{ "addresses alone", "ann@example.org", "ann@example.org", "plain: bad: it says no reason; --as says what such rows mean" },
	{ "no address", "Email,Reason", ",bounced", "generic: bad: the address is missing" },
	{ "fewer fields than columns", "name,Reason,Email", "Ann", "generic: bad: the address is missing" },
	{ "no such date", "Email,Reason,Date", "ann@example.org,bounced,soon", "generic: bad: \"soon\" is not a date, or could be two; write 2026-01-31" },
	{ "not UTF-8", "Email,Reason", "ann@example.org,\xe4", "generic: bad: it is not UTF-8" },
	{ "of nobody", "a,b,c", "", "none: the first line has no columns that are known; rekindle(1) says which are" },
};

static void
take_fields(struct csv *c, const char *line, struct span *field)
{
	if (*line == '\0')
		return;
	assert_true(csv_read(c, span_of(line), true) > 0);
	for (size_t i = 0; i < c->n; i++)
		field[i] = csv_field(c, i);
}

static void
read_row(const char *header, const char *row, const char *name, enum touch_kind as, struct buf *out)
{
	struct csv c = { 0 }, d = { 0 };
	struct span field[20];
	struct buf why = BUF(1000);
	struct listing l = { 0 };
	struct listed r;
	enum list_row said;

	csv_begin(&c, span_of(header));
	d.separator = c.separator;
	take_fields(&c, header, field);
	if (!listing_find(&l, field, c.n, span_of(name), &why)) {
		buf_addf(out, "none: %s", buf_cstr(&why));
		goto out;
	}
	take_fields(&d, row, field);
	buf_addf(out, "%s: ", listing_name(&l));
	said = listing_read(&l, field, d.n, as, &r, &why);
	if (said == LIST_STOP) {
		buf_addf(out, "%s %.*s ", touch_name(r.kind), SPAN_ARG(r.address));
		if (r.when)
			text_add_time(out, r.when);
		else
			buf_addc(out, '-');
		buf_addf(out, " %.*s", SPAN_ARG(r.detail));
		if (r.until) {
			buf_adds(out, " until ");
			text_add_time(out, r.until);
		}
		if (r.stream.n)
			buf_addf(out, " of %.*s", SPAN_ARG(r.stream));
	} else
		buf_addf(out, "%s: %s", said == LIST_SKIP ? "skip" : "bad", buf_cstr(&why));
out:
	listing_free(&l);
	buf_free(&why);
	csv_free(&c);
	csv_free(&d);
}

static void
what_a_row_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf got = BUF(10000);

		read_row(rows[i].header, rows[i].row, "", 0, &got);
		assert_span(rows[i].what, buf_span(&got), span_of(rows[i].want));
		buf_free(&got);
	}
}

static void
names_and_wishes(void **state)
{
	static const struct {
		const char *what, *header, *row, *name;
		enum touch_kind as;
		const char *want;
	} asked[] = {
		{ "as", "email,name", "ann@example.org,Ann", "", TOUCH_COMPLAINED, "generic: complained ann@example.org - " },
		{ "a reason that is known wins", "email,reason", "ann@example.org,bounced", "", TOUCH_LEFT, "generic: bounced ann@example.org - " },
		{ "one that is not does not", "email,reason", "ann@example.org,grumpy", "", TOUCH_LEFT, "generic: left ann@example.org - " },
		{ "addresses alone", "ann@example.org", "ann@example.org", "plain", TOUCH_BOUNCED, "plain: bounced ann@example.org - " },
		{ "a name", "email,created", "ann@example.org,1762165339", "generic", TOUCH_LEFT, "generic: left ann@example.org 2025-11-03T10:22:19Z " },
		{ "a name that does not fit", "email,created", "", "postmark", 0, "none: the first line has no columns that are known; rekindle(1) says which are" },
		{ "no such name", "email", "", "lotus", 0,
		    "none: there is no format \"lotus\"; one of rekindle, mailchimp, sendgrid, postmark, mailgun, sparkpost, ses, "
		    "brevo, klaviyo, listmonk, mautic, generic, plain" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(asked); i++) {
		struct buf got = BUF(10000);

		read_row(asked[i].header, asked[i].row, asked[i].name, asked[i].as, &got);
		assert_span(asked[i].what, buf_span(&got), span_of(asked[i].want));
		buf_free(&got);
	}
}

/* Replies: which of them are about the address? */
static void
dead_addresses_and_refusals(void **state)
{
	static const struct {
		const char *status;
		bool dead;
	} replies[] = {
		{ "5.0.0", true }, { "5.1.0", true }, { "5.1.1", true }, { "5.1.2", true }, { "5.1.6", true }, { "5.1.10", true }, { "5.2.1", true },
		{ "550", true }, { "5.4.4", true }, { "605", true },
		{ "5.1.7", false }, { "5.1.8", false }, { "5.2.2", false }, { "5.2.3", false }, { "5.3.0", false }, { "5.5.0", false }, { "554", false },
		{ "5.6.1", false }, { "5.7.1", false }, { "5.7.26", false }, { "4.1.1", false }, { "4.2.2", false }, { "421", false }, { "451", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(replies); i++) {
		struct buf got = BUF(1000), row = BUF(100);

		buf_addf(&row, "ann@example.org,%s,,", replies[i].status);
		read_row("address,code,error,created_at", buf_cstr(&row), "", 0, &got);
		assert_row(replies[i].status, span_starts(buf_span(&got), SPAN("mailgun: bounced")) == replies[i].dead);
		assert_row(replies[i].status, span_starts(buf_span(&got), SPAN("mailgun: skip")) != replies[i].dead);
		buf_free(&got);
		buf_free(&row);
	}
}

static void
dates(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: none */
	} days[] = {
		{ "2026-01-31", "2026-01-31T00:00:00Z" },
		{ " 2026-01-31 ", "2026-01-31T00:00:00Z" },
		{ "2026-01-31 12:30", "2026-01-31T12:30:00Z" },
		{ "2026-01-31 12:30:05", "2026-01-31T12:30:05Z" },
		{ "2026-01-31 12:30:05.12345", "2026-01-31T12:30:05Z" },
		{ "2026-01-31 12:30:05 UTC", "2026-01-31T12:30:05Z" },
		{ "2026-01-31 12:30:05 +0100", "2026-01-31T11:30:05Z" },
		{ "2026-01-31 12:30:05.5 +0000 UTC", "2026-01-31T12:30:05Z" },
		{ "2026-01-31 12:30:05+00", "2026-01-31T12:30:05Z" },
		{ "2026-01-31T12:30:05-05:00", "2026-01-31T17:30:05Z" },
		{ "2026/01/31 12:30", "2026-01-31T12:30:00Z" },
		{ "31.01.2026", "2026-01-31T00:00:00Z" },
		{ "3.2.2026 9:05", "2026-02-03T09:05:00Z" },
		{ "31-01-2026 12:30:05", "2026-01-31T12:30:05Z" },
		{ "31/01/2026", "2026-01-31T00:00:00Z" },
		{ "01/31/2026", "2026-01-31T00:00:00Z" },
		{ "01/31/2026 1:05 PM", "2026-01-31T13:05:00Z" },
		{ "01/31/2026 12:05 am", "2026-01-31T00:05:00Z" },
		{ "02/02/2026", "2026-02-02T00:00:00Z" },
		{ "02/03/2026", NULL },
		{ "Sat, 31 Jan 2026 12:30:05 GMT", "2026-01-31T12:30:05Z" },
		{ "31 Jan 2026 12:30:05 +0100 (CET)", "2026-01-31T11:30:05Z" },
		{ "1769862605", "2026-01-31T12:30:05Z" },
		{ "2026-02-30", NULL },
		{ "31.02.2026", NULL },
		{ "32.01.2026", NULL },
		{ "01/31/2026 13:05 PM", NULL },
		{ "2026-01-31 25:00", NULL },
		{ "2026-01-31 12:30:05 CET", NULL },
		{ "2026-01-31 12:30:05 and", NULL },
		{ "31 Foo 2026", NULL },
		{ "2026", "1970-01-01T00:33:46Z" }, /* seconds */
		{ "2026-01", NULL },
		{ "", NULL },
		{ ",", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(days); i++) {
		struct buf got = BUF(100);
		int64_t ms = -1;
		bool good = listing_time(span_of(days[i].text), &ms);

		assert_row(days[i].text, good == (days[i].want != NULL));
		if (good) {
			text_add_time(&got, ms);
			assert_span(days[i].text, buf_span(&got), span_of(days[i].want));
		}
		buf_free(&got);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_row_says),
		cmocka_unit_test(names_and_wishes),
		cmocka_unit_test(dead_addresses_and_refusals),
		cmocka_unit_test(dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
