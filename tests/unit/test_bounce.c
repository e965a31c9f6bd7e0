#include "common/bounce.h"
#include "tests/unit/unit.h"

static const struct {
	const char *status, *text;
	enum bounce bounce;
	const char *code;
} rows[] = {
	/* Codes alone. */
	{ "5.1.1", "", BOUNCE_HARD, "5.1.1" },
	{ "5.1.1 (bad destination mailbox address)", "", BOUNCE_HARD, "5.1.1" },
	{ "5.1.2", "", BOUNCE_HARD, "5.1.2" },
	{ "5.1.3", "", BOUNCE_HARD, "5.1.3" },
	{ "5.1.6", "", BOUNCE_HARD, "5.1.6" },
	{ "5.1.10", "smtp; 556 5.1.10 <x> recipient domain has null MX", BOUNCE_HARD, "5.1.10" },
	{ "5.2.1", "", BOUNCE_HARD, "5.2.1" },
	{ "5.4.4", "", BOUNCE_HARD, "5.4.4" },
	{ "5.7.17", "", BOUNCE_HARD, "5.7.17" },
	{ "5.0.0", "", BOUNCE_SOFT, "5.0.0" },
	{ "5.1.0", "", BOUNCE_SOFT, "5.1.0" },
	{ "5.1.4", "", BOUNCE_SOFT, "5.1.4" },
	{ "5.1.7", "", BOUNCE_POLICY, "5.1.7" },
	{ "5.1.8", "", BOUNCE_POLICY, "5.1.8" },
	{ "5.1.11", "", BOUNCE_POLICY, "5.1.11" },
	{ "5.2.0", "", BOUNCE_SOFT, "5.2.0" },
	{ "5.2.2", "", BOUNCE_SOFT, "5.2.2" },
	{ "5.2.3", "", BOUNCE_POLICY, "5.2.3" },
	{ "5.3.0", "", BOUNCE_SOFT, "5.3.0" },
	{ "5.3.4", "", BOUNCE_POLICY, "5.3.4" },
	{ "5.4.1", "", BOUNCE_SOFT, "5.4.1" },
	{ "5.4.6", "", BOUNCE_SOFT, "5.4.6" },
	{ "5.5.2", "", BOUNCE_POLICY, "5.5.2" },
	{ "5.6.0", "", BOUNCE_POLICY, "5.6.0" },
	{ "5.7.1", "", BOUNCE_POLICY, "5.7.1" },
	{ "5.7.26", "", BOUNCE_POLICY, "5.7.26" },
	{ "4.1.1", "", BOUNCE_SOFT, "4.1.1" },
	{ "4.4.7", "smtp; 450 4.2.1 try again", BOUNCE_SOFT, "4.2.1" },
	{ "4.7.28", "", BOUNCE_POLICY, "4.7.28" },
	{ "5", "", BOUNCE_SOFT, "" },
	{ "5.1", "", BOUNCE_SOFT, "" },
	{ "5..1", "", BOUNCE_SOFT, "" },
	{ "", "", BOUNCE_SOFT, "" },
	/* The remote server's own code counts for more; an address of a machine, a version and a long number are none. */
	{ "5.0.0", "smtp; 550 #5.1.1 bad address", BOUNCE_HARD, "5.1.1" },
	{ "5.1.1", "smtp; 550 5.7.1 no", BOUNCE_POLICY, "5.7.1" },
	{ "5.1.1", "smtp; 550 no: 5.7.1.9", BOUNCE_HARD, "5.1.1" },
	{ "5.1.1", "smtp; 550 no: 15.7.1", BOUNCE_HARD, "5.1.1" },
	{ "5.1.1", "smtp; 550 4.4.4444 x", BOUNCE_HARD, "5.1.1" },

	/* Gmail */
	{ "5.1.1", "host gmail-smtp-in.l.google.com[192.0.2.27] said: 550-5.1.1 The email account that you tried to reach does not exist. Please try "
		"550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to 550 "
		"5.1.1  https://support.google.com/mail/?p=NoSuchUser x1-20020a05600c0a0100b0 - gsmtp (in reply to RCPT TO command)",
	    BOUNCE_HARD, "5.1.1" },
	{ "5.2.1", "550-5.2.1 The email account that you tried to reach is inactive. For more 550 5.2.1 information, go to x - gsmtp", BOUNCE_HARD, "5.2.1" },
	{ "5.2.1", "550-5.2.1 The user you are trying to contact is receiving mail at a rate that 550-5.2.1 prevents additional messages from being "
		"delivered.", BOUNCE_SOFT, "5.2.1" },
	{ "5.2.2", "552-5.2.2 The email account that you tried to reach is over quota and inactive. Please 552 5.2.2 direct the recipient to x", BOUNCE_SOFT, "5.2.2" },
	{ "4.2.2", "452-4.2.2 The recipient's inbox is out of storage space. Please direct the 452 4.2.2 recipient to x", BOUNCE_SOFT, "4.2.2" },
	{ "5.7.26", "550-5.7.26 This mail has been blocked because the sender is unauthenticated. 550-5.7.26 Gmail requires all senders to authenticate "
		"with either SPF or DKIM.", BOUNCE_POLICY, "5.7.26" },
	{ "4.7.28", "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating 421-4.7.28 from your IP address.", BOUNCE_POLICY, "4.7.28" },
	{ "5.7.1", "550-5.7.1 [192.0.2.9] Our system has detected that this message is 550-5.7.1 likely unsolicited mail.", BOUNCE_POLICY, "5.7.1" },
	/* Microsoft, at home and at work */
	{ "5.5.0", "host outlook-com.olc.protection.outlook.com[192.0.2.33] said: 550 5.5.0 Requested action not taken: mailbox unavailable "
		"(S2017062302). [AM7EUR03FT012.eop-EUR03.prod.protection.outlook.com] (in reply to RCPT TO command)", BOUNCE_HARD, "5.5.0" },
	{ "5.4.1", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [x.mail.protection.outlook.com] (in reply to RCPT TO command)",
	    BOUNCE_HARD, "5.4.1" },
	{ "5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", BOUNCE_HARD, "5.1.10" },
	{ "5.4.310", "550 5.4.310 DNS domain does not exist [Message=InfoDomainNonexistent]", BOUNCE_HARD, "5.4.310" },
	{ "5.7.1", "550 5.7.1 Unfortunately, messages from [192.0.2.9] weren't sent. Please contact your Internet service provider since part of "
		"their network is on our block list (S3140).", BOUNCE_POLICY, "5.7.1" },
	{ "5.0.0", "550 OU-002 mailbox unavailable: messages from 192.0.2.9 are on our block list", BOUNCE_POLICY, "5.0.0" },
	{ "5.7.133", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required", BOUNCE_POLICY, "5.7.133" },
	{ "5.7.509", "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification", BOUNCE_POLICY, "5.7.509" },
	{ "5.2.2", "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", BOUNCE_SOFT, "5.2.2" },
	/* Yahoo */
	{ "5.0.0", "host mta7.am0.yahoodns.net[192.0.2.4] said: 554 delivery error: dd This user doesn't have a yahoo.com account (ann@yahoo.com) [0] - "
		"mta1234.mail.gq1.yahoo.com (in reply to end of DATA command)", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "554 delivery error: dd Requested mail action aborted: exceeded storage allocation", BOUNCE_SOFT, "5.0.0" },
	{ "5.0.0", "552 1 Requested mail action aborted, mailbox not found (in reply to end of DATA command)", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "554 30 Sorry, your message to ann@aol.com cannot be delivered. This mailbox is disabled (554.30). (in reply to end of DATA command)",
	    BOUNCE_HARD, "5.0.0" },
	{ "5.7.9", "554 5.7.9 Message not accepted for policy reasons.", BOUNCE_POLICY, "5.7.9" },
	{ "4.7.0", "421 4.7.0 [TSS04] Messages from 192.0.2.9 temporarily deferred due to user complaints - 4.16.55.1", BOUNCE_POLICY, "4.7.0" },
	/* GMX and web.de */
	{ "5.0.0", "host mx00.emig.gmx.net[192.0.2.5] said: 550 Requested action not taken: mailbox unavailable (in reply to RCPT TO command)", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "host mx00.emig.gmx.net[192.0.2.5] said: 550 Requested action not taken: mailbox unavailable (in reply to end of DATA command)", BOUNCE_POLICY, "5.0.0" },
	{ "5.0.0", "554-Transaction failed 554-Reject due to policy restrictions. 554 For explanation visit x (in reply to end of DATA command)", BOUNCE_POLICY, "5.0.0" },
	{ "5.0.0", "552 Requested mail action aborted: exceeded storage allocation", BOUNCE_SOFT, "5.0.0" },
	/* mail.ru, Yandex, QQ, NetEase */
	{ "5.0.0", "550 Message was not accepted -- invalid mailbox.  Local mailbox ann@mail.ru is unavailable: user not found", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x", BOUNCE_POLICY, "5.0.0" },
	{ "5.7.1", "550 5.7.1 No such user! 1795000000-abc", BOUNCE_HARD, "5.7.1" },
	{ "5.7.1", "554 5.7.1 [2] Message rejected under suspicion of SPAM; https://ya.cc/x", BOUNCE_POLICY, "5.7.1" },
	{ "5.0.0", "550 Mailbox not found [MxY]. http://service.mail.qq.com/detail/122/169", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "550 The recipient may contain a non-existent account, please check the recipient address.", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "550 Ip frequency limited [MxZ]", BOUNCE_POLICY, "5.0.0" },
	{ "5.0.0", "550 Mail content denied [MxZ]", BOUNCE_POLICY, "5.0.0" },
	{ "5.0.0", "550 User not found: ann@163.com", BOUNCE_HARD, "5.0.0" },
	{ "5.0.0", "554 DT:SPM 163 mx1,abc,1795000000 please see x", BOUNCE_POLICY, "5.0.0" },
	/* iCloud, Comcast, Orange, Free */
	{ "5.1.1", "550 5.1.1 unknown or illegal alias: ann@icloud.com", BOUNCE_HARD, "5.1.1" },
	{ "5.2.2", "552 5.2.2 <ann@icloud.com>: user is over quota", BOUNCE_SOFT, "5.2.2" },
	{ "5.7.1", "554 5.7.1 [CS01] Message rejected due to local policy. See https://support.apple.com/x", BOUNCE_POLICY, "5.7.1" },
	{ "5.1.1", "550 5.1.1 Not our Customer", BOUNCE_HARD, "5.1.1" },
	{ "5.1.1", "550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR204_416 [416]", BOUNCE_HARD, "5.1.1" },
	{ "5.2.1", "550 5.2.1 This mailbox has been blocked due to inactivity", BOUNCE_HARD, "5.2.1" },
	/* Servers that many run themselves */
	{ "5.1.1", "550 5.1.1 <ann@example.com>: Recipient address rejected: User unknown in virtual mailbox table", BOUNCE_HARD, "5.1.1" },
	{ "5.0.0", "550 Unrouteable address (in reply to RCPT TO command)", BOUNCE_HARD, "5.0.0" },
	{ "5.7.1", "554 5.7.1 <ann@example.com>: Recipient address rejected: Access denied (in reply to RCPT TO command)", BOUNCE_POLICY, "5.7.1" },
	{ "5.7.1", "554 5.7.1 <ann@example.com>: Relay access denied", BOUNCE_POLICY, "5.7.1" },
	{ "5.7.1", "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using zen.spamhaus.org", BOUNCE_POLICY, "5.7.1" },
	{ "5.1.8", "550 5.1.8 <news@example.org>: Sender address rejected: Domain not found", BOUNCE_POLICY, "5.1.8" },
	{ "4.2.0", "450 4.2.0 <ann@example.com>: Recipient address rejected: Greylisted", BOUNCE_SOFT, "4.2.0" },
	{ "4.1.1", "450 4.1.1 <ann@example.com>: Recipient address rejected: User unknown", BOUNCE_SOFT, "4.1.1" },
	{ "5.0.0", "556 the domain takes no mail", BOUNCE_HARD, "5.0.0" },
	{ "", "556 the domain takes no mail", BOUNCE_HARD, "" },
	{ "5.2.2", "552 5.2.2 mailbox unavailable", BOUNCE_SOFT, "5.2.2" },
	/* Postfix's own */
	{ "5.4.4", "Host or domain name not found. Name service error for name=gone.example type=A: Host not found", BOUNCE_HARD, "5.4.4" },
	{ "4.4.3", "Host or domain name not found. Name service error for name=gone.example type=MX: Host not found, try again", BOUNCE_SOFT, "4.4.3" },
	{ "5.1.0", "Domain gone.example does not accept mail (nullMX)", BOUNCE_HARD, "5.1.0" },
	{ "5.3.4", "message size 30000000 exceeds size limit 10000000 of server mx[192.0.2.1]", BOUNCE_POLICY, "5.3.4" },
	{ "5.4.6", "mail for example.com loops back to myself", BOUNCE_SOFT, "5.4.6" },
	/* Before there was a recipient, nothing is about one. */
	{ "5.1.1", "host mx.example.com[192.0.2.1] said: 550 5.1.1 user unknown (in reply to MAIL FROM command)", BOUNCE_POLICY, "5.1.1" },
	{ "5.0.0", "host mx.example.com[192.0.2.1] refused to talk to me: 554 user unknown", BOUNCE_POLICY, "5.0.0" },
	{ "5.0.0", "host mx.example.com[192.0.2.1] refused to talk to me: 554 no", BOUNCE_POLICY, "5.0.0" },
	{ "5.1.1", "smtp; 550 5.1.1 user unknown (in reply to\n    MAIL FROM command)", BOUNCE_POLICY, "5.1.1" },
	/* Addresses and names of machines are no words. */
	{ "5.1.1", "550 5.1.1 <spamhaus.dmarc@example.com> is not here", BOUNCE_HARD, "5.1.1" },
	{ "5.7.1", "550 5.7.1 <user.unknown@example.com> no", BOUNCE_POLICY, "5.7.1" },
	{ "5.1.1", "host mx.spamhaus.example[192.0.2.1] said: 550 5.1.1 no", BOUNCE_HARD, "5.1.1" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char code[BOUNCE_CODE_MAX] = "x";
		enum bounce b = bounce_judge(span_of(rows[i].status), span_of(rows[i].text), code);

		if (b != rows[i].bounce || strcmp(code, rows[i].code) != 0)
			fail_msg("%s / %s: %s %s", rows[i].status, rows[i].text, bounce_name(b), code);
	}
}

/* What is said behind the end of what is read changes nothing; the last words in it do. */
static void
test_long(void **state)
{
	static const char words[] = " user unknown";
	char text[BOUNCE_TEXT_MAX + 100], code[BOUNCE_CODE_MAX];

	(void)state;
	for (size_t past = 0; past <= 1; past++) {
		memset(text, 'x', sizeof text);
		memcpy(text, "550 ", 4);
		memcpy(text + BOUNCE_TEXT_MAX - (sizeof words - 1) + past, words, sizeof words - 1);
		assert_int_equal(bounce_judge(SPAN("5.0.0"), span_make(text, sizeof text), code), past ? BOUNCE_SOFT : BOUNCE_HARD);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
