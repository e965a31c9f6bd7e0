#include <dirent.h>
#include <iconv.h>
#include <time.h>

#include "common/codec.h"
#include "milter/links.h"
#include "milter/mime.h"
#include "milter/url.h"
#include "tests/unit/tagging.h"
#include "tests/unit/unit.h"

/* A message from header lines (LF, each ended) and a body. */
struct sample {
	struct buf raw;
	struct header *header;
	struct message message;
};

static void
sample_init(struct sample *s, const char *headers, struct span body)
{
	*s = (struct sample){ .raw = BUF(64 * 1024 * 1024) };
	buf_adds(&s->raw, headers);
	buf_adds(&s->raw, "\n");
	buf_add(&s->raw, body);
	assert_true(message_split(buf_span(&s->raw), &s->header, &s->message.nheaders, &s->message.body));
	s->message.header = s->header;
}

static void
sample_free(struct sample *s)
{
	free(s->header);
	buf_free(&s->raw);
}

static struct span
new_body(const struct sample *s, const struct plan *p)
{
	return p->body_changed ? buf_span(&p->body) : s->message.body;
}

/* ---- HTML in, readable HTML out ---- */

#define SAME NULL
static const struct html_row {
	const char *name, *in, *out; /* SAME: not changed */
} links[] = {
	/* finding the link */
	{ "a link", "<a href=\"https://example.com\">go</a>", "<a href=\"[https://example.com]\">go</a>" },
	{ "http as well", "<a href=\"http://example.com/\">go</a>", "<a href=\"[http://example.com/]\">go</a>" },
	{ "single quotes stay single", "<a href='https://e.com/x'>go</a>", "<a href='[https://e.com/x]'>go</a>" },
	{ "no quotes", "<a href=http://e.com/no_quotes.html>go</a>", "<a href=[http://e.com/no_quotes.html]>go</a>" },
	{ "spaces around =", "<a href = \"http://e.com/x\">go</a>", "<a href = \"[http://e.com/x]\">go</a>" },
	{ "any case of tag and attribute", "<A Href=\"https://e.com/\">go</A>", "<A Href=\"[https://e.com/]\">go</A>" },
	{ "a tag over several lines", "<a\n  href=\"https://e.com/\"\n>go</a>", "<a\n  href=\"[https://e.com/]\"\n>go</a>" },
	{ "other attributes are kept", "<a class=\"btn\" href=\"https://e.com/\" style='x:y'>go</a>",
	    "<a class=\"btn\" href=\"[https://e.com/]\" style='x:y'>go</a>" },
	{ "a sibling with >", "<a title=\"a > b\" href=\"https://e.com/\">go</a>", "<a title=\"a > b\" href=\"[https://e.com/]\">go</a>" },
	{ "a URL with >", "<a href=\"https://e.com/?a=1>2\">go</a>", "<a href=\"[https://e.com/?a=1>2]\">go</a>" },
	{ "self-closing", "<a href=\"http://e.com/\" />", "<a href=\"[http://e.com/]\" />" },
	{ "no closing tag", "<a href=\"http://e.com/\">go", "<a href=\"[http://e.com/]\">go" },
	{ "a document that is cut off", "<htm  thats all folks", SAME },
	{ "a link that is cut off", "x<a href=\"http://e.com/\"", SAME },
	{ "an area and a link to the same place", "<map><area href=\"https://e.com/\"></map><a href=\"https://e.com/\">go</a>",
	    "<map><area href=\"[https://e.com/]\"></map><a href=\"[https://e.com/]\">go</a>" },
	{ "an image in a link", "<a href=\"https://e.com/i.png\"><img src=\"https://e.com/i.png\"></a>",
	    "<a href=\"[https://e.com/i.png]\"><img src=\"https://e.com/i.png\"></a>" },
	{ "a table in a link", "<a href=\"https://e.com/\"><table><tr><td>x</td></tr></table></a>",
	    "<a href=\"[https://e.com/]\"><table><tr><td>x</td></tr></table></a>" },
	{ "spans, styles and classes of a button", "<table class=\"btn\"><tr><td style=\"padding:1px\"><a href=\"https://e.com/\" target=_blank style=\"color:#fff\"><span class='b'><b>Go</b></span></a></td></tr></table>",
	    "<table class=\"btn\"><tr><td style=\"padding:1px\"><a href=\"[https://e.com/]\" target=_blank style=\"color:#fff\"><span class='b'><b>Go</b></span></a></td></tr></table>" },
	{ "a whole document around it", "<!DOCTYPE html>\r\n<html lang=en><head><meta charset=\"utf-8\"><title>x</title></head>\r\n<body style=\"background-color:#ABC123;\"><a href=\"https://e.com/\">x</a></body></html>\r\n",
	    "<!DOCTYPE html>\r\n<html lang=en><head><meta charset=\"utf-8\"><title>x</title></head>\r\n<body style=\"background-color:#ABC123;\"><a href=\"[https://e.com/]\">x</a></body></html>\r\n" },
	{ "a link in the head", "<head><link rel=canonical href=\"https://e.com/\"><a href=\"https://e.com/\">x</a></head>", SAME },
	{ "after the head", "<head></head><a href=\"https://e.com/\">x</a>", "<head></head><a href=\"[https://e.com/]\">x</a>" },
	{ "a head without an end ends at the first content", "<head><title>x</title><div><a href=\"https://e.com/\">x</a>",
	    "<head><title>x</title><div><a href=\"[https://e.com/]\">x</a>" },
	{ "a style sheet", "<style>a{background:url('https://e.com/')} <a href=\"https://e.com/\"></style>", SAME },
	{ "a URL as text", "see https://e.com/ there", SAME },
	{ "other elements", "<img src=\"https://e.com/\"><base href=\"https://e.com/\"><link href=\"https://e.com/\"><abbr href=\"https://e.com/\">", SAME },
	{ "URLs that begin alike", "<a href=\"https://f.com\">1</a><a href=\"https://f.com?b=c\">2</a><a href=\"https://F.com/b\">3</a>",
	    "<a href=\"[https://f.com]\">1</a><a href=\"[https://f.com?b=c]\">2</a><a href=\"[https://F.com/b]\">3</a>" },
	{ "URLs of one hash", "<a href=\"https://e.com/mn9kq3y3tiaafaaaaa\">1</a><a href=\"https://e.com/tjegupxuvq958oumbn\">2</a>",
	    "<a href=\"[https://e.com/mn9kq3y3tiaafaaaaa]\">1</a><a href=\"[https://e.com/tjegupxuvq958oumbn]\">2</a>" },
	{ "a comment", "<!-- <a href=\"https://e.com/\"> -->", SAME },
	{ "a comment that ends at once", "<!--><a href=\"https://e.com/\">x</a>-->", "<!--><a href=\"[https://e.com/]\">x</a>-->" },
	{ "a script and a text area", "<script>'<a href=\"https://e.com/\">'</script><textarea><a href=\"https://e.com/\"></textarea>", SAME },
	{ "noscript", "<noscript><a href=\"https://e.com/\">x</a></noscript>", "<noscript><a href=\"[https://e.com/]\">x</a></noscript>" },
	{ "a template, which mail programs show", "<template><a href=\"https://e.com/\">x</a></template>", "<template><a href=\"[https://e.com/]\">x</a></template>" },
	{ "below a base only whole URLs", "<base href=\"https://b.com/\"><a href=\"/p\">x</a><a href=\"p\">x</a><a href=\"https://e.com/\">x</a>",
	    "<base href=\"https://b.com/\"><a href=\"/p\">x</a><a href=\"p\">x</a><a href=\"[https://e.com/]\">x</a>" },
	{ "the first of two hrefs", "<a href=\"https://1.com/\" href=\"https://2.com/\">x</a>", "<a href=\"[https://1.com/]\" href=\"https://2.com/\">x</a>" },
	{ "a first href that is empty", "<a href href=\"https://2.com/\">x</a>", SAME },

	/* entities and forms of URLs */
	{ "&amp; is decoded", "<a href=\"https://e.com/?a=1&amp;b=2\">x</a>", "<a href=\"[https://e.com/?a=1&b=2]\">x</a>" },
	{ "&#38; and &#x26;", "<a href=\"https://e.com/?a&#38;b&#x26;c&amp;d\">x</a>", "<a href=\"[https://e.com/?a&b&c&d]\">x</a>" },
	{ "a raw & stays", "<a href=\"https://e.com/?a=1&b=2\">x</a>", "<a href=\"[https://e.com/?a=1&b=2]\">x</a>" },
	{ "decoded once only", "<a href=\"https://e.com/?a&#38;amp;b\">x</a>", "<a href=\"[https://e.com/?a&amp;b]\">x</a>" },
	{ "&#60; is <", "<a href=\"https://e.com/?&#60;t&#62;\">x</a>", "<a href=\"[https://e.com/?<t>]\">x</a>" },
	{ "&quot; in double quotes", "<a href=\"https://e.com/?n=&quot;J&quot;\">x</a>", "<a href=\"[https://e.com/?n=\"J\"]\">x</a>" },
	{ "an apostrophe in double quotes", "<a href=\"https://e.com/?q=foo'bar\">x</a>", "<a href=\"[https://e.com/?q=foo'bar]\">x</a>" },
	{ "&copy= is a parameter", "<a href=\"https://e.com/?a&copy=1\">x</a>", "<a href=\"[https://e.com/?a&copy=1]\">x</a>" },
	{ "a fragment", "<a href=\"https://e.com/p#s\">x</a>", "<a href=\"[https://e.com/p#s]\">x</a>" },
	{ "names that are not ASCII", "<a href=\"http://сайт.cóm/彌撒時間\">x</a>", "<a href=\"[http://сайт.cóm/彌撒時間]\">x</a>" },
	{ "user, port and all", "<a href=\"http://u:p@h:9090/p?a=v#x\">x</a>", "<a href=\"[http://u:p@h:9090/p?a=v#x]\">x</a>" },
	{ "spaces inside are kept", "<a href=\"http://e.com/a b?c d\">x</a>", "<a href=\"[http://e.com/a b?c d]\">x</a>" },
	{ "a parameter without value", "<a href=\"http://e.com/?a\">x</a>", "<a href=\"[http://e.com/?a]\">x</a>" },
	{ "arrays and the sender's own utm parameters", "<a href=\"http://e.com/?baz[]=1&amp;baz[]=2&amp;utm_source=a+b\">x</a>", "<a href=\"[http://e.com/?baz[]=1&baz[]=2&utm_source=a+b]\">x</a>" },
	{ "nothing is escaped or tidied", "<a href=\"http://e.com/%7e/../A b/?ar g1=some email@x&amp;&amp;=\">x</a>", "<a href=\"[http://e.com/%7e/../A b/?ar g1=some email@x&&=]\">x</a>" },
	{ "white space around, tabs and line breaks inside", "<a href=\" \t https://e.com/a\r\n b\tc \n\">x</a>", "<a href=\"[https://e.com/a bc]\">x</a>" },
	{ "a scheme in upper case", "<a href=\"HTTPS://E.com/\">x</a>", "<a href=\"[HTTPS://E.com/]\">x</a>" },
	{ "a scheme spelled with references", "<a href=\"&#104;ttps:&sol;/e.com/\">x</a>", "<a href=\"[https://e.com/]\">x</a>" },
	{ "bytes that are not UTF-8", "<a href=\"https://e.com/\xe9\">x</a>", SAME },
	{ "a control character inside", "<a href=\"https://e.com/\001a\">x</a>", SAME },
	{ "a third slash", "<a href=\"https:///e.com/\">x</a>", SAME },
	{ "no host", "<a href=\"https://\">x</a><a href=\"https://?x\">x</a>", SAME },
	{ "text around is kept", "é&eacute; “☃” <a href=\"https://e.com/\">Hello “some” ☃!</a>", "é&eacute; “☃” <a href=\"[https://e.com/]\">Hello “some” ☃!</a>" },

	/* what must not be rewritten */
	{ "mailto", "<a href=\"mailto:i@e.com\">x</a><a href=\"MAILTO:i@e.com?subject=hi\">x</a>", SAME },
	{ "mailto in an upper-case tag", "<A HREF=\"mailto:i@e.com\">x</A>", SAME },
	{ "tel and sms", "<a href=\"Tel:+1\">x</a><a href=\"sms:+1?body=x\">x</a>", SAME },
	{ "javascript, data, blob, file, cid, ftp", "<a href=\"javascript:void(0)\">x</a><a href=\"data:,x\">x</a><a href=\"blob:https://e.com/\">x</a><a href=\"file:///x\">x</a><a href=\"cid:x\">x</a><a href=\"ftp://e.com/\">x</a>", SAME },
	{ "fragments", "<a href=\"#section\">x</a><a href=\"#\">x</a>", SAME },
	{ "relative, schemeless, bare", "<a href=\"/path\">x</a><a href=\"//e.com/\">x</a><a href=\"example.org\">x</a>", SAME },
	{ "an app's scheme", "<a href=\"fb://profile/1\">x</a>", SAME },
	{ "empty and blank", "<a href=\"\">x</a><a href=\" \">x</a><a>x</a><a href=>x</a>", SAME },
	{ "merge tags", "<a href=\"https://e.com/{{ id }}\">x</a><a href=\"{% if x %}https://e.com/{% endif %}\">x</a><a href=\"https://e.com/%%id%%\">x</a><a href=\"https://e.com/*|ID|*\">x</a><a href=\"https://e.com/[[id]]\">x</a><a href=\"https://${host}/\">x</a><a href=\"https://{contactfield=foo}/\">x</a>", SAME },
	{ "in a query or a fragment too, and with a default", "<a href=\"https://e.com/?u={contactfield=foo}\">x</a><a href=\"https://e.com/#{{x}}\">x</a><a href=\"{contactfield=website|https://e.com/}\">x</a><a href=\"{contactfield=foo}\">x</a>", SAME },
	{ "and what an editor put before it stays", "<a href=\"https://{unsubscribe_url}\">x</a><a href=\"http://{{{U}}}\">x</a>", SAME },
	{ "a percent sign is no merge tag", "<a href=\"https://e.com/%7B%25\">x</a>", "<a href=\"[https://e.com/%7B%25]\">x</a>" },
	{ "two stars are none", "<a href=\"https://e.com/*|x\">x</a>", "<a href=\"[https://e.com/*|x]\">x</a>" },
	{ "a merge tag beside a real link", "<a href=\"{{{U}}}\">x</a><a href=\"https://e.com/\">x</a>", "<a href=\"{{{U}}}\">x</a><a href=\"[https://e.com/]\">x</a>" },
	{ "our own links", "<a href=\"https://t.example.org/r/c/Kxyz\">x</a><a href=\"HTTPS://T.example.org/r/u/Kxyz\">x</a>", SAME },
	{ "our host, not our links", "<a href=\"https://t.example.org/r/page\">x</a><a href=\"https://t.example.org/c/x\">x</a>",
	    "<a href=\"[https://t.example.org/r/page]\">x</a><a href=\"[https://t.example.org/c/x]\">x</a>" },
	{ "our path on another host", "<a href=\"https://u.example.org/r/c/x\">x</a>", "<a href=\"[https://u.example.org/r/c/x]\">x</a>" },
	{ "untracked domains", "<a href=\"https://untracked.example/\">x</a><a href=\"https://www.UNTRACKED.example:8080/x\">x</a><a href=\"https://u@untracked.example./\">x</a>", SAME },
	{ "domains that only end alike", "<a href=\"https://notuntracked.example/\">x</a><a href=\"https://untracked.example.org/\">x</a>",
	    "<a href=\"[https://notuntracked.example/]\">x</a><a href=\"[https://untracked.example.org/]\">x</a>" },
	{ "targets of List-Unsubscribe", "<a href=\"https://e.com/leave?a=1&amp;b=2\">leave</a><a href=\"https://e.com/leave\">x</a>",
	    "<a href=\"https://e.com/leave?a=1&amp;b=2\">leave</a><a href=\"[https://e.com/leave]\">x</a>" },
	{ "text that is a URL", "<a href=\"https://e.com/\"> https://e.com/ </a><a href=\"https://e.com/\">http://e.com</a>", SAME },
	{ "text that is a host", "<a href=\"https://e.com/\">www.e.com</a><a href=\"https://e.com/\"><b>e.com</b>/pa&#116;h</a><a href=\"https://e.com/\">&nbsp;сайт.рф&nbsp;</a>", SAME },
	{ "text that has a URL among words", "<a href=\"https://e.com/\">see e.com now</a><a href=\"https://e.com/\">Read on...</a><a href=\"https://e.com/\">i@e.com</a><a href=\"https://e.com/\">3.14</a>",
	    "<a href=\"[https://e.com/]\">see e.com now</a><a href=\"[https://e.com/]\">Read on...</a><a href=\"[https://e.com/]\">i@e.com</a><a href=\"[https://e.com/]\">3.14</a>" },
	{ "text that is a URL in a CDATA section, where nothing is decoded", "<svg><a href=\"https://e.com/\"><![CDATA[e.com/&#32;x]]></a></svg>", SAME },
	{ "a URL in a style sheet is not seen", "<a href=\"https://e.com/\"><style>e.com</style></a>", "<a href=\"[https://e.com/]\"><style>e.com</style></a>" },
	{ "a URL in a comment is not seen", "<a href=\"https://e.com/\"><!-- www.e.com -->go</a>", "<a href=\"[https://e.com/]\"><!-- www.e.com -->go</a>" },

	/* opting out */
	{ "an opt-out attribute", "<a href=\"https://e.com/\" data-no-track>x</a>", "<a href=\"https://e.com/\">x</a>" },
	{ "with an empty value", "<a href=\"https://e.com/\" data-no-track=\"\">x</a>", "<a href=\"https://e.com/\">x</a>" },
	{ "with a value in any quotes", "<a data-no-track='true' href='https://e.com/'>x</a><a data-no-track=true href='https://e.com/'>x</a>",
	    "<a href='https://e.com/'>x</a><a href='https://e.com/'>x</a>" },
	{ "in upper case", "<A HREF=\"https://e.com/\" DATA-No-Track=\"TRUE\">x</A>", "<A HREF=\"https://e.com/\">x</A>" },
	{ "self-closing, with and without space", "<a href=\"https://e.com/\" data-no-track /><a href=\"https://e.com/\" data-no-track/>",
	    "<a href=\"https://e.com/\" /><a href=\"https://e.com/\" />" },
	{ "a slash does not slip into a value", "<a href=https://e.com/ data-no-track/>x</a>", "<a href=https://e.com/ />x</a>" },
	{ "a slash in the middle closes nothing afterwards", "<a href='https://e.com/' / data-no-track>x</a><a href='https://e.com/' / data-no-track data-no-track>x</a>",
	    "<a href='https://e.com/' / >x</a><a href='https://e.com/' / >x</a>" },
	{ "nor does one without space", "<a href='https://e.com/'/data-no-track>x</a><!--[if mso]><v:rect href='https://e.com/'/data-no-track>x<![endif]-->", SAME },
	{ "a neighbour does not become a value", "<a b data-no-track=1 =c href=\"https://e.com/\">x</a>", SAME },
	{ "twice", "<a data-no-track href=\"https://e.com/\" data-no-track=1>x</a>", "<a href=\"https://e.com/\">x</a>" },
	{ "over several lines", "<a\n  data-no-track\n  href=\"https://e.com/\"\n>x</a>", "<a\n  href=\"https://e.com/\"\n>x</a>" },
	{ "with a sibling that has >", "<a title=\"a > b\" data-no-track href=\"https://e.com/\">x</a>", "<a title=\"a > b\" href=\"https://e.com/\">x</a>" },
	{ "on an empty href", "<a href=\"\" data-no-track>x</a>", "<a href=\"\">x</a>" },
	{ "on what is no link of the web, or no link", "<A HREF=\"mailto:i@e.com\" DATA-NO-TRACK>x</A><a data-no-track name=x>x</a>", "<A HREF=\"mailto:i@e.com\">x</A><a name=x>x</a>" },
	{ "in the head, where no link is tracked", "<head><a href=\"https://e.com/\" data-no-track>x</a></head>", SAME },
	{ "a look-alike", "<a href=\"https://e.com/\" data-no-tracking=\"yes\">x</a>", "<a href=\"[https://e.com/]\" data-no-tracking=\"yes\">x</a>" },
	{ "the words in text and URL", "<a href=\"https://e.com/?data-no-track=1\">data-no-track</a>", "<a href=\"[https://e.com/?data-no-track=1]\">data-no-track</a>" },
	{ "other senders' attributes", "<a clicktracking=off href='https://e.com/'>x</a><a disable-tracking=true href='https://e.com/'>x</a><a data-msys-clicktrack=\"0\" href='https://e.com/'>x</a><a mautic:disable-tracking href='https://e.com/'>x</a><a data-skip-click href='https://e.com/'>x</a><a data-mg-notrack href='https://e.com/'>x</a>",
	    "<a href='https://e.com/'>x</a><a href='https://e.com/'>x</a><a href='https://e.com/'>x</a><a href='https://e.com/'>x</a><a href='https://e.com/'>x</a><a href='https://e.com/'>x</a>" },
	{ "and these in upper case, with space around the value", "<A CLICKTRACKING=\" Off \" HREF='https://e.com/'>x</A>", "<A HREF='https://e.com/'>x</A>" },
	{ "the same with a value that does not opt out", "<a clicktracking=on href='https://e.com/'>x</a><a data-msys-clicktrack=1 href='https://e.com/'>x</a>",
	    "<a clicktracking=on href='[https://e.com/]'>x</a><a data-msys-clicktrack=1 href='[https://e.com/]'>x</a>" },

	/* conditional comments */
	{ "a link for Outlook", "<!--[if mso]><a href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if mso]><a href=\"[https://e.com/]\">x</a><![endif]-->" },
	{ "a button for Outlook", "<!--[if mso]><v:roundrect href=\"https://e.com/\" arcsize=\"10%\"><w:anchorlock/><center>Go</center></v:roundrect><![endif]-->",
	    "<!--[if mso]><v:roundrect href=\"[https://e.com/]\" arcsize=\"10%\"><w:anchorlock/><center>Go</center></v:roundrect><![endif]-->" },
	{ "an area, and shapes of all kinds", "<!--[if mso]><area href='https://e.com/'/>\n<v:rect href='https://e.com/'/>\n<v:shape href='https://e.com/'/>\n<V:Group href='https://e.com/'/>\n<v:oval href='https://e.com/'/>\n<v:line href='https://e.com/'/>\n<v:image href='https://e.com/'/>\n<w:x href='https://e.com/'/>\n<![endif]-->",
	    "<!--[if mso]><area href='[https://e.com/]'/>\n<v:rect href='[https://e.com/]'/>\n<v:shape href='[https://e.com/]'/>\n<V:Group href='[https://e.com/]'/>\n<v:oval href='[https://e.com/]'/>\n<v:line href='[https://e.com/]'/>\n<v:image href='[https://e.com/]'/>\n<w:x href='[https://e.com/]'/>\n<![endif]-->" },
	{ "a shape without quotes, entities decoded once", "<!--[if mso]><v:rect href=https://e.com/?a&amp;b&amp;amp;c><![endif]-->",
	    "<!--[if mso]><v:rect href=[https://e.com/?a&b&amp;c]><![endif]-->" },
	{ "versions and alternatives", "<!--[if gte mso 9]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if (mso)|(IE)]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[IF MSO ]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if (gte mso 9)|(IE)]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if mso | IE]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if (mso 16)]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if gte vml 1]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if IE]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if lt mso 12]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if !mso]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if Outlook]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if(mso)]><a href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if gte mso 9]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if (mso)|(IE)]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[IF MSO ]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if (gte mso 9)|(IE)]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if mso | IE]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if (mso 16)]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if gte vml 1]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if IE]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if lt mso 12]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if !mso]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if Outlook]><a href=\"[https://e.com/]\">x</a><![endif]-->\n<!--[if(mso)]><a href=\"[https://e.com/]\">x</a><![endif]-->" },
	{ "conditions that are none, or not for Outlook", "<!--[if false]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if msoffice]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[ifmso]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[ if mso]><a href=\"https://e.com/\">x</a><![endif]-->\n<!-- [if mso]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if mso><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if mso] ><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if mso[0]]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if <a> mso]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[if lte pie 9]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--[endif mso]><a href=\"https://e.com/\">x</a><![endif]-->\n<!--(if mso)><a href=\"https://e.com/\">x</a><![endif]-->", SAME },
	{ "[if mso] not at the start of a comment", "<!-- see [if mso]><a href=\"https://e.com/\">x</a><![endif]-->", SAME },
	{ "a conditional comment that has no end of its own", "<!--[if mso]><a href=\"https://e.com/\">x</a>-->", SAME },
	{ "one that ends like other comments do", "<!--[if mso]><a href=\"https://e.com/\">x</a><![endif]--!><!--[if mso]><a href=\"https://e.com/\">x</a><![endif] -->", SAME },
	{ "one that never ends", "<!--[if mso]><a href=\"https://e.com/\">x</a><![endif]>", SAME },
	{ "one that ends inside of a tag", "<!--[if mso]><a href=\"https://e.com/<![endif]--><a href=\"https://e.com/\">x</a>\">",
	    "<!--[if mso]><a href=\"https://e.com/<![endif]--><a href=\"[https://e.com/]\">x</a>\">" },
	{ "--> in a value ends it all the same", "<!--[if mso]><a title=\"-->\" href=\"https://e.com/\"><![endif]-->", SAME },
	{ "a comment cannot start in there", "<!--[if mso]><!-- <a href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if mso]><!-- <a href=\"[https://e.com/]\">x</a><![endif]-->" },
	{ "nor another condition", "<!--[if mso]><!--[if gte mso 9]><a href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if mso]><!--[if gte mso 9]><a href=\"[https://e.com/]\">x</a><![endif]-->" },
	{ "a revealed condition in there", "<!--[if mso]><![if gte mso 9]><a href=\"https://e.com/\">x</a><![endif]><a href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if mso]><![if gte mso 9]><a href=\"[https://e.com/]\">x</a><![endif]><a href=\"[https://e.com/]\">x</a><![endif]-->" },
	{ "a style sheet in there", "<!--[if mso]><style><a href=\"https://e.com/\">x</a></style><a href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if mso]><style><a href=\"https://e.com/\">x</a></style><a href=\"[https://e.com/]\">x</a><![endif]-->" },
	{ "a style sheet that stays open in there", "<!--[if mso]><style><a href=\"https://e.com/\">x</a><![endif]--><a href=\"https://e.com/\">x</a>",
	    "<!--[if mso]><style><a href=\"https://e.com/\">x</a><![endif]--><a href=\"[https://e.com/]\">x</a>" },
	{ "revealed conditions", "<![if !mso]><a href=\"https://e.com/\">x</a><![endif]><!--[if !mso]><!--><a href=\"https://e.com/\">x</a><!--<![endif]--><!--[if !mso]><!-- --><a href=\"https://e.com/\">x</a><!-- <![endif]--><!--[if mso]>--><a href=\"https://e.com/\">x</a><!--<![endif]-->",
	    "<![if !mso]><a href=\"[https://e.com/]\">x</a><![endif]><!--[if !mso]><!--><a href=\"[https://e.com/]\">x</a><!--<![endif]--><!--[if !mso]><!-- --><a href=\"[https://e.com/]\">x</a><!-- <![endif]--><!--[if mso]>--><a href=\"[https://e.com/]\">x</a><!--<![endif]-->" },
	{ "shapes outside of conditions", "<v:rect href=\"https://e.com/\"/><![if mso]><v:rect href=\"https://e.com/\"/><![endif]>", SAME },
	{ "other names and other attributes in there", "<!--[if mso]><v href=\"https://e.com/\"><v: href=\"https://e.com/\"><o:x href=\"https://e.com/\"><vv:x href=\"https://e.com/\"><link href=\"https://e.com/\"><v:fill src=\"https://e.com/\"/><![endif]-->", SAME },
	{ "a button around a link", "<!--[if mso]><v:rect href=\"https://e.com/1\"/><![endif]--><a href=\"https://e.com/2\">x</a><!--[if mso]></v:rect><![endif]-->",
	    "<!--[if mso]><v:rect href=\"[https://e.com/1]\"/><![endif]--><a href=\"[https://e.com/2]\">x</a><!--[if mso]></v:rect><![endif]-->" },
	{ "what stays outside stays inside", "<!--[if mso]><v:rect href=\"mailto:i@e.com\"/><v:rect href=\"#x\"/><v:rect href=\"https://e.com/{{id}}\"/><v:rect href=\"https://untracked.example/\"/><v:rect href=\"https://e.com/leave?a=1&amp;b=2\"/><v:rect href=\"https://t.example.org/r/c/Kx\"/><v:rect href/><v:rect href=\"\"/><![endif]-->", SAME },
	{ "the first of two hrefs of a shape", "<!--[if mso]><v:rect href=\"https://1.com/\" HREF=\"https://2.com/\"><![endif]-->",
	    "<!--[if mso]><v:rect href=\"[https://1.com/]\" HREF=\"https://2.com/\"><![endif]-->" },
	{ "a shape whose text is a URL", "<!--[if mso]><v:rect href=\"https://e.com/\"><v:fill color=red /><w:anchorlock/><center>www.e.com</center></v:rect><![endif]-->", SAME },
	{ "a shape whose link's text is a URL", "<!--[if mso]><v:rect href=\"https://e.com/\"><a href=\"https://e.com/\">www.e.com</a></v:rect><![endif]-->", SAME },
	{ "a URL behind a shape, or in the next one", "<!--[if mso]><v:rect href=\"https://e.com/\"></v:rect>e.com<![endif]--><!--[if mso]><v:rect href=\"https://e.com/\"/>e.com<![endif]--><!--[if mso]><v:rect href=\"https://e.com/\"><v:oval href=\"https://e.com/\">e.com<![endif]-->",
	    "<!--[if mso]><v:rect href=\"[https://e.com/]\"></v:rect>e.com<![endif]--><!--[if mso]><v:rect href=\"[https://e.com/]\"/>e.com<![endif]--><!--[if mso]><v:rect href=\"[https://e.com/]\"><v:oval href=\"https://e.com/\">e.com<![endif]-->" },
	{ "a URL as text, the link open in there", "<!--[if mso]><a href=\"https://e.com/\">e.com<![endif]--> now", SAME },
	{ "a URL as text outside of a link in there", "<!--[if mso]><a href=\"https://e.com/\"><![endif]-->e.com",
	    "<!--[if mso]><a href=\"[https://e.com/]\"><![endif]-->e.com" },
	{ "a URL in there is not seen outside", "<a href=\"https://e.com/\"><!--[if mso]>www.e.com<![endif]-->go</a>",
	    "<a href=\"[https://e.com/]\"><!--[if mso]>www.e.com<![endif]-->go</a>" },
	{ "opting out in there", "<!--[if mso]><v:rect href=\"https://e.com/\" data-no-track /><a data-no-track href=\"https://e.com/\">x</a><![endif]-->",
	    "<!--[if mso]><v:rect href=\"https://e.com/\" /><a href=\"https://e.com/\">x</a><![endif]-->" },
	{ "opting out does not end the comment", "<!--[if mso]><a href=https://e.com/-- data-no-track>x</a><a href=https://e.com/-- data-no-track data-no-track>x</a><a -- data-no-track=1\n><![endif]-->",
	    "<!--[if mso]><a href=https://e.com/-- >x</a><a href=https://e.com/-- >x</a><a --\n><![endif]-->" },
	{ "a shape without href keeps its attributes", "<!--[if mso]><v:fill data-no-track/><![endif]-->", SAME },
	{ "in the head", "<head><!--[if mso]><a href=\"https://e.com/\">x</a><![endif]--><a href=\"https://e.com/\">x</a></head>", SAME },
	{ "a head does not end in there", "<head><!--[if mso]></head><p><a href=\"https://e.com/\">x</a><![endif]--><a href=\"https://e.com/\">x</a></head>",
	    "<head><!--[if mso]></head><p><a href=\"[https://e.com/]\">x</a><![endif]--><a href=\"https://e.com/\">x</a></head>" },
	{ "nor begin", "<!--[if mso]><head><a href=\"https://e.com/\">x</a><![endif]--><a href=\"https://e.com/\">x</a>",
	    "<!--[if mso]><head><a href=\"https://e.com/\">x</a><![endif]--><a href=\"[https://e.com/]\">x</a>" },
	{ "a link after it", "<!--[if mso]><a href=\"<![endif]--><a href=\"https://e.com/\">x</a>",
	    "<!--[if mso]><a href=\"<![endif]--><a href=\"[https://e.com/]\">x</a>" },
};

static const struct html_row pixels[] = {
	{ "before </body>", "<body>x</body></html>", "<body>x[PIXEL]</body></html>" },
	{ "in any case, with space", "<BODY>x</BoDy ></html>", "<BODY>x[PIXEL]</BoDy ></html>" },
	{ "before the last of two", "<body>x</body>y</body>z", "<body>x</body>y[PIXEL]</body>z" },
	{ "before </html>", "<html>x</html>\r\n", "<html>x[PIXEL]</html>\r\n" },
	{ "at the end", "x <b>y</b>", "x <b>y</b>[PIXEL]" },
	{ "at the end, before the last white space", "x\r\n\r\n", "x[PIXEL]\r\n\r\n" },
	{ "not in a comment", "x<!-- </body> -->y", "x<!-- </body> -->y[PIXEL]" },
	{ "not in a script", "x<script></body></script>", "x<script></body></script>[PIXEL]" },
	{ "before a comment that does not end", "x<!-- y>", "x[PIXEL]<!-- y>" },
	{ "before a tag that is cut off", "x<a href=\"", "x[PIXEL]<a href=\"" },
	{ "before a raw element that does not end", "x<p><style>y", "x<p>[PIXEL]<style>y" },
	{ "nowhere before CDATA in math that is cut off", "x<math><annotation><![CDATA[ > y</body>", SAME },
	{ "behind math that is not ended", "x<math><mi>y", "x<math><mi>y[PIXEL]" },
	{ "before a raw element whose end tag is cut off", "x<style>y</style ", "x[PIXEL]<style>y</style " },
	{ "before a </ that would swallow it", "x</", "x[PIXEL]</" },
	{ "not in a conditional comment", "x<!--[if mso]></body></html><![endif]-->y", "x<!--[if mso]></body></html><![endif]-->y[PIXEL]" },
	{ "not into one at the end", "<body>x<!--[if mso]></td><![endif]-->\r\n", "<body>x<!--[if mso]></td><![endif]-->[PIXEL]\r\n" },
	{ "before one that does not end", "<body>x<!--[if mso]></td><![endif]>", "<body>x[PIXEL]<!--[if mso]></td><![endif]>" },
	{ "nowhere before a title that does not end, and nothing else", "<title>x", SAME },
	{ "blank", " \r\n", SAME },
	{ "links stay", "<a href=\"https://e.com/\">x</a>", "<a href=\"https://e.com/\">x</a>[PIXEL]" },
};

static void
check_html(struct rig *r, const struct html_row *row)
{
	struct buf readable = BUF(100000);
	struct sample s;
	struct plan p;

	sample_init(&s, "List-Unsubscribe: <mailto:x@e.com>,\n <https://e.com/leave?\n a=1&b=2>\nContent-Type: text/html; charset=utf-8\n",
	    span_of(row->in));
	message_tag(&s.message, &r->tagging, &p);
	assert_row(row->name, p.body_changed == (row->out != SAME));
	assert_row(row->name, (p.untouched != NULL) == (row->out == SAME));
	rig_readable(r, new_body(&s, &p), &readable);
	assert_span(row->name, buf_span(&readable), span_of(row->out ? row->out : row->in));
	buf_free(&readable);
	plan_free(&p);
	sample_free(&s);
}

static void
test_links(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.opens = MODE_OFF;
	for (size_t i = 0; i < COUNT(links); i++)
		check_html(&r, &links[i]);
	rig_free(&r);
}

static void
test_pixels(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.links = MODE_OFF;
	for (size_t i = 0; i < COUNT(pixels); i++)
		check_html(&r, &pixels[i]);
	rig_free(&r);
}

/* ---- whole messages ---- */

#define LINK "<a href=\"https://e.com/\">x</a>"
#define TAGGED "<a href=\"[https://e.com/]\">x</a>[PIXEL]"

static const struct message_row {
	const char *name, *header, *body;
	const char *untouched; /* NULL: tagged */
	const char *out;       /* NULL: the same */
} messages[] = {
	{ "HTML alone", "Content-Type: text/html\n", LINK, NULL, TAGGED },
	{ "only the HTML of an alternative", "Content-Type: multipart/alternative; boundary=b\n",
	    "--b\n\nhttps://e.com/\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", NULL,
	    "--b\n\nhttps://e.com/\n--b\nContent-Type: text/html\n\n" TAGGED "\n--b--\n" },
	{ "one pixel for two HTML parts, links in both", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\nContent-Type: text/html\n\n" LINK "\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", NULL,
	    "--b\nContent-Type: text/html\n\n" TAGGED "\n--b\nContent-Type: text/html\n\n<a href=\"[https://e.com/]\">x</a>\n--b--\n" },
	{ "a part that cannot be read does not spoil the next", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\nContent-Type: text/html; charset=martian\n\n" LINK "\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", NULL,
	    "--b\nContent-Type: text/html; charset=martian\n\n" LINK "\n--b\nContent-Type: text/html\n\n" TAGGED "\n--b--\n" },
	{ "no closing boundary", "Content-Type: multipart/mixed; boundary=b\n", "--b\nContent-Type: text/html\n\n" LINK, NULL,
	    "--b\nContent-Type: text/html\n\n" TAGGED },
	{ "text in several parts", "Content-Type: multipart/mixed; boundary=b\n", "--b\n\nhttps://e.com/\n--b\nContent-Type: text/plain\n\nhttps://e.com/\n--b--\n", "no text/html part", NULL },
	{ "attachments stay", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\nContent-Type: text/html\n\n" LINK "\n--b\nContent-Type: text/plain; name=a.txt\nContent-Disposition: attachment; filename=a.txt\n\nhttps://e.com/ \n--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nJVBE Rg==\n\n--b--\n", NULL,
	    "--b\nContent-Type: text/html\n\n" TAGGED "\n--b\nContent-Type: text/plain; name=a.txt\nContent-Disposition: attachment; filename=a.txt\n\nhttps://e.com/ \n--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nJVBE Rg==\n\n--b--\n" },
	{ "an image that the HTML shows stays", "Content-Type: multipart/related; boundary=b\n",
	    "--b\nContent-Type: text/html\n\n<img src=\"cid:i\">" LINK "\n--b\nContent-Type: image/png\nContent-ID: <i>\nContent-Transfer-Encoding: base64\n\niVBORw==\n--b--\n", NULL,
	    "--b\nContent-Type: text/html\n\n<img src=\"cid:i\">" TAGGED "\n--b\nContent-Type: image/png\nContent-ID: <i>\nContent-Transfer-Encoding: base64\n\niVBORw==\n--b--\n" },
	{ "a message in the message stays, and an image beside it", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\nContent-Type: message/rfc822\n\nContent-Type: text/html\n\n" LINK "\n--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw==\n--b--\n", "no text/html part", NULL },
	{ "a calendar stays", "Content-Type: multipart/alternative; boundary=b\n",
	    "--b\nContent-Type: text/html\n\n" LINK "\n--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nURL:https://e.com/\nX-ALT-DESC;FMTTYPE=text/html:" LINK "\n--b--\n", NULL,
	    "--b\nContent-Type: text/html\n\n" TAGGED "\n--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nURL:https://e.com/\nX-ALT-DESC;FMTTYPE=text/html:" LINK "\n--b--\n" },
	{ "no charset, and UTF-8", "Content-Type: text/html\n", "<a href=\"https://e.com/é\">é</a>", NULL, "<a href=\"[https://e.com/é]\">é</a>[PIXEL]" },
	{ "no charset, and something else", "Content-Type: text/html\n", "<a href=\"https://e.com/\xe9\">\xe9</a>" LINK, NULL, "<a href=\"https://e.com/\xe9\">\xe9</a>" TAGGED },
	{ "Latin-1's punctuation in 8bit", "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n", "\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab" LINK, NULL,
	    "\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab" TAGGED },
	{ "a boundary that ends in =", "Content-Type: multipart/mixed; boundary=\"=_x=\"\n", "--=_x=\nContent-Type: text/html\n\n" LINK "\n--=_x=--\n", NULL,
	    "--=_x=\nContent-Type: text/html\n\n" TAGGED "\n--=_x=--\n" },
	{ "no line break before or behind the last boundary", "Content-Type: multipart/mixed; boundary=b\n", "--b\nContent-Type: text/html\n\n" LINK "\n--b--", NULL,
	    "--b\nContent-Type: text/html\n\n" TAGGED "\n--b--" },
	{ "line breaks of both kinds stay as they are", "Content-Type: text/html\n", "<p>\r\n<p>\n" LINK "\r\n\n", NULL, "<p>\r\n<p>\n" TAGGED "\r\n\n" },
	{ "text alone", "", "https://e.com/", "no text/html part", NULL },
	{ "a Latin-2 page keeps its bytes", "Content-Type: text/html; charset=iso-8859-2\n", "va\xb9" "em " LINK, NULL, "va\xb9" "em " TAGGED },
	{ "a Latin-2 byte in a URL", "Content-Type: text/html; charset=iso-8859-2\n", "<a href=\"https://e.com/\xb9\">x</a>", NULL,
	    "<a href=\"https://e.com/\xb9\">x</a>[PIXEL]" },
	{ "a letter by reference in a Latin-2 URL", "Content-Type: text/html; charset=iso-8859-2\n", "<a href=\"https://e.com/&eacute;\">x</a>", NULL,
	    "<a href=\"https://e.com/&eacute;\">x</a>[PIXEL]" },
	{ "a letter by reference in a us-ascii query", "Content-Type: text/html; charset=us-ascii\n", "<a href=\"https://e.com/?&eacute;\">x</a>", NULL,
	    "<a href=\"https://e.com/?&eacute;\">x</a>[PIXEL]" },
	{ "a us-ascii page", "Content-Type: text/html; charset=us-ascii\n", LINK, NULL, TAGGED },
	{ "an unknown charset", "Content-Type: text/html; charset=martian\n", LINK, "unknown charset", NULL },
	{ "signed by DKIM", "DKIM-Signature: v=1\nContent-Type: text/html\n", LINK, "signed", NULL },
	{ "signed by ARC", "ARC-Message-Signature: i=1\nContent-Type: text/html\n", LINK, "signed", NULL },
	{ "sealed by ARC", "arc-seal: i=1\nContent-Type: text/html\n", LINK, "signed", NULL },
	{ "sent by a machine", "Auto-Submitted: auto-replied\nContent-Type: text/html\n", LINK, "Auto-Submitted", NULL },
	{ "not sent by a machine", "Auto-Submitted: No (x)\nContent-Type: text/html\n", LINK, NULL, TAGGED },
	{ "nor with a parameter", "Auto-Submitted: no; owner-email=\"x@e.com\"\nContent-Type: text/html\n", LINK, NULL, TAGGED },
	{ "none is not no", "Auto-Submitted: none\nContent-Type: text/html\n", LINK, "Auto-Submitted", NULL },
	{ "multipart/signed", "Content-Type: multipart/signed; boundary=b\n", "--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", "multipart/signed", NULL },
	{ "broken MIME", "Content-Type: multipart/mixed\n", "--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", "broken MIME", NULL },
	{ "multipart/encrypted", "Content-Type: multipart/encrypted; boundary=b\n", "--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", "multipart/encrypted", NULL },
	{ "S/MIME", "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\nContent-Transfer-Encoding: base64\n", "MIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwE=\n", "application/pkcs7-mime", NULL },
	{ "signed mail that was forwarded in a multipart", "Content-Type: multipart/mixed; boundary=a\n",
	    "--a\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n\n--a\nContent-Type: text/html\n\n" LINK "\n--a--\n", NULL,
	    "--a\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n\n--a\nContent-Type: text/html\n\n" TAGGED "\n--a--\n" },
	{ "two Content-Types", "Content-Type: text/html\nContent-Type: text/html\n", LINK, "duplicate MIME header", NULL },
	{ "inline PGP in the text", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\n\n-----BEGIN PGP MESSAGE-----\n--b\nContent-Type: text/html\n\n" LINK "\n--b--\n", "inline PGP", NULL },
	{ "inline PGP in the HTML", "Content-Type: text/html\n", LINK "<pre>\n-----BEGIN PGP MESSAGE-----\n", "inline PGP", NULL },
	{ "right behind a tag", "Content-Type: text/html\n", LINK "<pre>-----BEGIN PGP MESSAGE-----\n", "inline PGP", NULL },
	{ "PGP only talked about", "Content-Type: text/html\n", "It says -----BEGIN PGP " LINK, NULL, "It says -----BEGIN PGP " TAGGED },
	{ "an attachment", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\nContent-Type: text/html\nContent-Disposition: attachment\n\n" LINK "\n--b--\n", "no text/html part", NULL },
	{ "AMP", "Content-Type: multipart/alternative; boundary=b\n", "--b\nContent-Type: text/x-amp-html\n\n" LINK "\n--b--\n", "no text/html part", NULL },
	{ "quoted-printable that is broken", "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n", LINK, "broken quoted-printable", NULL },
	{ "svg that only a browser can follow", "Content-Type: text/html\n", LINK "<svg></div><style>", "svg that only a browser can follow", NULL },
	{ "the same in a conditional comment", "Content-Type: text/html\n", LINK "<!--[if mso]><svg></div><style><![endif]-->", "svg that only a browser can follow", NULL },
	{ "an empty body", "Content-Type: text/html\n", "", "nothing to tag", NULL },
};

static void
test_messages(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t i = 0; i < COUNT(messages); i++) {
		const struct message_row *row = &messages[i];
		struct buf readable = BUF(100000);
		struct sample s;
		struct plan p;

		sample_init(&s, row->header[0] ? row->header : "Subject: x\n", span_of(row->body));
		message_tag(&s.message, &r.tagging, &p);
		if (row->untouched == NULL)
			assert_row(row->name, p.untouched == NULL);
		else
			assert_row(row->name, p.untouched != NULL && strcmp(p.untouched, row->untouched) == 0);
		if (row->untouched != NULL)
			assert_row(row->name, p.nheaders == 0 && !p.body_changed && p.nlinks == 0 && !p.pixel);
		rig_readable(&r, new_body(&s, &p), &readable);
		assert_span(row->name, buf_span(&readable), span_of(row->out ? row->out : row->body));
		buf_free(&readable);
		plan_free(&p);
		sample_free(&s);
	}
	rig_free(&r);
}

/* ---- header fields ---- */

/* "+Name: value" "-Name 1" "=Name 1: value"; our tokens become [text]. */
static void
describe_headers(const struct rig *r, const struct plan *p, struct buf *out)
{
	struct buf text = BUF(TOKEN_DESTINATION_MAX);
	struct claim c;

	for (size_t i = 0; i < p->nheaders; i++) {
		const struct header_edit *e = &p->header[i];
		struct span v = span_of(e->value);
		size_t n;

		buf_addc(out, "+-="[e->change]);
		buf_adds(out, e->name);
		if (e->change != HEADER_ADD)
			buf_addf(out, " %u", e->index);
		if (e->change == HEADER_DELETE) {
			buf_addc(out, '\n');
			continue;
		}
		buf_adds(out, ": ");
		if (span_starts(v, SPAN("<")) && rig_url(r, span_from(v, 1), &n, &c, &text)) {
			assert_true(c.kind == TOKEN_LEAVE && who_eq(&c.who, &r->tagging.who) && c.mode == MODE_IDENTIFIED);
			assert_string_equal(v.p + 1 + n, ">");
			buf_addf(out, "<[%.*s]>", SPAN_ARG(c.text));
		} else if (token_open(r->sealer, TOKEN_MARK, v, &c, &text)) {
			assert_true(who_eq(&c.who, &r->tagging.who) && (c.when == 0) == who_is_nobody(&c.who));
			buf_addf(out, "[%.*s]", SPAN_ARG(c.text));
		} else {
			buf_add(out, v);
		}
		buf_addc(out, '\n');
	}
	buf_free(&text);
}

#define UNSUBSCRIBE "+List-Unsubscribe: <[weekly]>\n+List-Unsubscribe-Post: List-Unsubscribe=One-Click\n"
#define MARK "+X-Rekindle-Id: [weekly]\n"

static const struct header_row {
	const char *name, *header;
	enum unsubscribe_headers unsubscribe;
	bool nobody, off, transactional;
	const char *edits;
} header_rows[] = {
	{ "a body change is followed by the mark", "X: y\n", UNSUBSCRIBE_OFF, false, false, false, MARK },
	{ "both headers are added", "X: y\n", UNSUBSCRIBE_ADD, false, false, false, UNSUBSCRIBE MARK },
	{ "without tracking too", "X: y\n", UNSUBSCRIBE_ADD, false, true, false, UNSUBSCRIBE MARK },
	{ "not for several recipients", "X: y\n", UNSUBSCRIBE_ADD, true, false, false, MARK },
	{ "not for transactional mail", "X: y\n", UNSUBSCRIBE_ADD, false, false, true, MARK },
	{ "not when there is one", "list-unsubscribe: <mailto:x>\n", UNSUBSCRIBE_ADD, false, false, false, MARK },
	{ "not when there is only the other one", "List-Unsubscribe-Post: x\n", UNSUBSCRIBE_ADD, false, false, false, MARK },
	{ "replaced, the last one first", "List-Unsubscribe: a\nX: y\nList-unsubscribe: b\nList-Unsubscribe-Post: c\n", UNSUBSCRIBE_REPLACE, false, false, false,
	    "-List-unsubscribe 2\n-List-Unsubscribe 1\n-List-Unsubscribe-Post 1\n" UNSUBSCRIBE MARK },
	{ "control headers go, the last one first", "X-Campaign: a\nx-rekindle-class: b\nX-CAMPAIGN: c\nX-Stream: d\n", UNSUBSCRIBE_OFF, false, false, false,
	    "-X-Stream 1\n-X-CAMPAIGN 2\n-x-rekindle-class 1\n-X-Campaign 1\n" MARK },
	{ "the consent header too, every one of them", "X-Consent: granted\nX-Y: z\nx-consent: denied\n", UNSUBSCRIBE_OFF, false, false, false,
	    "-x-consent 2\n-X-Consent 1\n" MARK },
	{ "control headers go when nothing is tagged, and no mark comes", "X-Campaign: a\n", UNSUBSCRIBE_OFF, false, true, false, "-X-Campaign 1\n" },
	{ "and from a message that must not be tagged", "X-Campaign: a\nDKIM-Signature: x\n", UNSUBSCRIBE_ADD, false, false, false, "-X-Campaign 1\n" },
	{ "but not what its signature covers", "X-Campaign: a\nDKIM-Signature: v=1; h=from : x-campaign; b=x\n", UNSUBSCRIBE_ADD, false, false, false, "" },
	{ "what is like it elsewhere in the signature does not", "X-Campaign: a\nDKIM-Signature: h=from; i=x:X-Campaign\n", UNSUBSCRIBE_ADD, false, false, false, "-X-Campaign 1\n" },
	{ "a forged mark goes", "X-Rekindle-Id: Kforged\n", UNSUBSCRIBE_OFF, false, false, false, "-X-Rekindle-Id 1\n" MARK },
	{ "nothing to do", "X: y\n", UNSUBSCRIBE_OFF, false, true, false, "" },
};

static void
test_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(header_rows); i++) {
		const struct header_row *row = &header_rows[i];
		struct buf out = BUF(10000), headers = BUF(10000);
		struct sample s;
		struct plan p;
		struct rig r;

		rig_init(&r);
		r.stream.list_unsubscribe = row->unsubscribe;
		r.stream.transactional = row->transactional;
		if (row->nobody)
			r.tagging.who = (struct who){ { 0 } };
		if (row->off)
			r.tagging.opens = r.tagging.links = MODE_OFF;
		buf_addf(&headers, "%sContent-Type: text/html\n", row->header);
		sample_init(&s, buf_cstr(&headers), SPAN(LINK));
		message_tag(&s.message, &r.tagging, &p);
		describe_headers(&r, &p, &out);
		assert_span(row->name, buf_span(&out), span_of(row->edits));
		plan_free(&p);
		sample_free(&s);
		rig_free(&r);
		buf_free(&out);
		buf_free(&headers);
	}
}

static void
test_tagged_once(void **state)
{
	struct buf out = BUF(100000);
	struct sample s, again;
	struct plan p;
	struct rig r;

	(void)state;
	rig_init(&r);
	r.stream.list_unsubscribe = UNSUBSCRIBE_REPLACE;
	sample_init(&s, "X-Campaign: a\nContent-Type: text/html\n", SPAN(LINK));
	message_tag(&s.message, &r.tagging, &p);
	message_apply(buf_span(&s.raw), &p, &out);
	plan_free(&p);
	again = (struct sample){ .raw = BUF(1000) };
	assert_true(message_split(buf_span(&out), &again.header, &again.message.nheaders, &again.message.body));
	again.message.header = again.header;
	message_tag(&again.message, &r.tagging, &p);
	assert_string_equal(p.untouched, "already tagged");
	assert_int_equal(p.nheaders, 0);
	plan_free(&p);
	sample_free(&again);
	sample_free(&s);
	buf_free(&out);
	rig_free(&r);
}

static void
test_too_many_headers(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t n = MESSAGE_HEADERS_MAX; n <= MESSAGE_HEADERS_MAX + 1; n++) {
		struct header *h = calloc(n, sizeof *h);
		struct message m = { h, n, SPAN(LINK) };
		struct plan p;

		for (size_t i = 0; i < n; i++)
			h[i] = (struct header){ SPAN("X-Campaign"), SPAN(" x") };
		h[0] = (struct header){ SPAN("Content-Type"), SPAN(" text/html") };
		message_tag(&m, &r.tagging, &p);
		assert_int_equal(p.untouched == NULL, n == MESSAGE_HEADERS_MAX);
		assert_int_equal(p.nheaders, n == MESSAGE_HEADERS_MAX ? n : n - 1); /* the mark; control headers go in any case */
		plan_free(&p);
		free(h);
	}
	rig_free(&r);
}

/* ---- what a token says ---- */

static const struct {
	const char *name;
	enum mode opens, links;
	bool nobody;
	enum mode open_mode, link_mode;
	bool open_who, link_who;
} claims[] = {
	{ "identified", MODE_IDENTIFIED, MODE_FULL, false, MODE_IDENTIFIED, MODE_FULL, true, true },
	{ "each axis has its own", MODE_DAYONLY, MODE_ANONYMOUS, false, MODE_DAYONLY, MODE_ANONYMOUS, true, false },
	{ "several recipients are anonymous", MODE_FULL, MODE_FULL, true, MODE_ANONYMOUS, MODE_ANONYMOUS, false, false },
};

static void
test_claims(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(claims); i++) {
		struct buf text = BUF(TOKEN_DESTINATION_MAX);
		struct claim c;
		struct sample s;
		struct plan p;
		struct rig r;
		struct span b;
		size_t n = 0;

		rig_init(&r);
		r.tagging.opens = claims[i].opens;
		r.tagging.links = claims[i].links;
		if (claims[i].nobody)
			r.tagging.who = (struct who){ { 0 } };
		sample_init(&s, "Content-Type: text/html\n", SPAN("<a href=\"https://e.com/1\">x</a><a href=\"https://e.com/2\">x</a>"));
		message_tag(&s.message, &r.tagging, &p);
		b = buf_span(&p.body);
		assert_int_equal(p.nlinks, 2);
		assert_span(claims[i].name, p.link[1].destination, SPAN("https://e.com/2"));

		b = span_from(b, span_search(b, SPAN(TRACKING "/c/")) + 1);
		b = span_from(b, span_search(b, SPAN(TRACKING "/c/")));
		assert_row(claims[i].name, rig_url(&r, b, &n, &c, &text));
		assert_row(claims[i].name, c.link == 2 && c.link == p.link[1].no && c.mode == claims[i].link_mode);
		assert_row(claims[i].name, who_is_nobody(&c.who) == !claims[i].link_who && (c.when == 0) == !claims[i].link_who);
		assert_row(claims[i].name, c.campaign == r.tagging.campaign);

		b = span_from(b, span_search(b, SPAN(TRACKING "/o/")));
		assert_row(claims[i].name, rig_url(&r, b, &n, &c, &text));
		assert_row(claims[i].name, n + 4 <= 100 && span_starts(span_from(b, n), SPAN(".gif\"")));
		assert_row(claims[i].name, c.mode == claims[i].open_mode && c.text.n == 0);
		assert_row(claims[i].name, who_is_nobody(&c.who) == !claims[i].open_who && (c.when == 0) == !claims[i].open_who);
		plan_free(&p);
		sample_free(&s);
		rig_free(&r);
		buf_free(&text);
	}
}

static void
test_same_destination(void **state)
{
	struct sample s;
	struct plan p;
	struct rig r;

	(void)state;
	rig_init(&r);
	sample_init(&s, "Content-Type: text/html\n",
	    SPAN("<a href='https://e.com/?a&amp;b'>x</a><a href='https://e.com/2'>x</a><a href=\"https://e.com/?a&#38;b\">x</a><a href=https://www.untracked.example>x</a>"));
	message_tag(&s.message, &r.tagging, &p);
	assert_int_equal(p.nlinks, 2);
	assert_int_equal(p.edited_links, 3);
	assert_int_equal(p.skipped_links, 1);
	assert_true(p.pixel);
	assert_int_equal(p.link[0].no, 1);
	assert_span("the first", p.link[0].destination, SPAN("https://e.com/?a&b"));
	plan_free(&p);
	sample_free(&s);
	rig_free(&r);
}

/* A button for Outlook and the link that others see are one link. */
static void
test_same_destination_for_outlook(void **state)
{
	struct sample s;
	struct plan p;
	struct rig r;

	(void)state;
	rig_init(&r);
	sample_init(&s, "Content-Type: text/html\n",
	    SPAN("<!--[if mso]><v:rect href='https://e.com/?a&amp;b'>x</v:rect><a href='https://www.untracked.example'>x</a><![endif]-->"
	    "<!--[if !mso]><!--><a href=\"https://e.com/?a&#38;b\">x</a><!--<![endif]-->"));
	message_tag(&s.message, &r.tagging, &p);
	assert_int_equal(p.nlinks, 1);
	assert_int_equal(p.edited_links, 2);
	assert_int_equal(p.skipped_links, 1);
	assert_span("the only one", p.link[0].destination, SPAN("https://e.com/?a&b"));
	plan_free(&p);
	sample_free(&s);
	rig_free(&r);
}

/*
 * Some tokens end in "--" (only those that hold a multiple of three bytes
 * can), and behind one without quotes comes ">": the comment must not end
 * there.
 */
static void
test_tokens_end_no_comment(void **state)
{
	static const char in[] = "<!--[if mso]><a href=https://e.com/q%u>x</a><v:rect href=https://e.com/q%u >x<![endif]-->";
	unsigned quoted = 0;
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.opens = MODE_OFF;
	for (unsigned i = 0; i < 4000 || (quoted == 0 && i < 100000); i++) {
		struct buf body = BUF(1000), want = BUF(1000), readable = BUF(1000);
		struct sample s;
		struct plan p;
		size_t end;

		buf_addf(&body, in, i, i);
		sample_init(&s, "Content-Type: text/html\n", buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		end = p.body.n - strlen("<![endif]-->");
		assert_int_equal(p.edited_links, 2);
		assert_int_equal(span_search(buf_span(&p.body), SPAN("-->")), p.body.n - 3);
		assert_true(span_ends(span_cut(buf_span(&p.body), 0, end), SPAN(" >x")));
		if (span_search(buf_span(&p.body), SPAN("--\">")) < end) {
			buf_addf(&want, "<!--[if mso]><a href=\"[https://e.com/q%u]\">x</a><v:rect href=\"[https://e.com/q%u]\" >x<![endif]-->", i, i);
			quoted++;
		} else {
			buf_addf(&want, "<!--[if mso]><a href=[https://e.com/q%u]>x</a><v:rect href=[https://e.com/q%u] >x<![endif]-->", i, i);
		}
		rig_readable(&r, buf_span(&p.body), &readable);
		assert_span("without quotes", buf_span(&readable), buf_span(&want));
		plan_free(&p);
		sample_free(&s);
		buf_free(&body);
		buf_free(&want);
		buf_free(&readable);
	}
	assert_true(quoted > 0);
	rig_free(&r);
}

/* Many links, all different, all the same, or all to the recipient's own page: as many as allowed, in no time. */
static void
test_many_links(void **state)
{
	static const struct {
		const char *link;
		bool numbered;
		size_t different, places, skipped, own;
	} rows[] = {
		{ "https://e.com/", true, MESSAGE_LINKS_MAX, MESSAGE_LINKS_MAX, 5, 0 },
		{ "https://e.com/", false, 1, MESSAGE_LINKS_MAX, 5, 0 },
		{ "https://rekindle.invalid/keep?", true, 0, 0, 0, MESSAGE_LINKS_MAX },
	};
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t k = 0; k < COUNT(rows); k++) {
		struct buf body = BUF(10000000);
		clock_t start = clock();
		struct sample s;
		struct plan p;
		size_t own = 0;

		for (int i = 0; i < MESSAGE_LINKS_MAX + 5; i++)
			buf_addf(&body, "<a href=\"%s%d\">x\n", rows[k].link, rows[k].numbered ? i : 1);
		sample_init(&s, "Content-Type: text/html\n", buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		assert_int_equal(p.edited_links, rows[k].places);
		assert_int_equal(p.skipped_links, rows[k].skipped);
		assert_int_equal(p.nlinks, rows[k].different);
		for (struct span rest = buf_span(&p.body); rows[k].own > 0 && rest.n > 0; own += rest.n > 0)
			rest = span_from(rest, span_search(rest, SPAN(TRACKING "/p/")) + 1);
		assert_int_equal(own, rows[k].own);
		assert_true((clock() - start) / CLOCKS_PER_SEC < 5);
		plan_free(&p);
		sample_free(&s);
		buf_free(&body);
	}
	rig_free(&r);
}

static void
join_soft_breaks(struct span s, struct buf *out)
{
	for (size_t i; (i = span_search(s, SPAN("=\r\n"))) < s.n; s = span_from(s, i + 3))
		buf_add(out, span_cut(s, 0, i));
	buf_add(out, s);
}

/* Random destinations, which no compression makes shorter: the longest that fits, and one more byte. */
static void
test_long_destinations(void **state)
{
	bool tracked = true, seen_limit = false;
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t n = 1200; n <= TOKEN_DESTINATION_MAX + 1; n++) {
		struct buf body = BUF(10000);
		uint32_t x = 1;
		struct sample s;
		struct plan p;

		buf_adds(&body, "<a href=\"https://e.com/");
		for (size_t i = 14; i < n; i++) {
			x = x * 1103515245 + 12345;
			buf_addc(&body, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[x >> 16 & 63]);
		}
		buf_adds(&body, "\">x</a>");
		sample_init(&s, "Content-Type: text/html\n", buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		assert_int_equal(p.edited_links + p.skipped_links, 1);
		if (p.edited_links == 0 && tracked)
			seen_limit = true;
		assert_true(tracked || p.edited_links == 0); /* once too long, always too long */
		tracked = p.edited_links == 1;
		if (tracked) {
			struct buf url = BUF(10000);

			join_soft_breaks(buf_span(&p.body), &url);
			assert_true(span_search(buf_span(&url), SPAN(TRACKING "/c/")) < url.n);
			assert_true(span_find(span_from(buf_span(&url), span_search(buf_span(&url), SPAN(TRACKING))), '"') <= TRACKED_URL_MAX);
			buf_free(&url);
		}
		plan_free(&p);
		sample_free(&s);
		buf_free(&body);
	}
	assert_true(seen_limit);
	rig_free(&r);
}

/* ---- transfer encodings: what readers see after decoding ---- */

/* The first HTML part of a message, decoded, our URLs made readable.  False when it cannot be read. */
static bool
html_part(const struct rig *r, struct span raw, struct buf *out)
{
	struct message m;
	struct header *h = NULL;
	struct mime mime;
	bool found = false;

	assert_true(message_split(raw, &h, &m.nheaders, &m.body));
	m.header = h;
	mime_walk(&mime, &m);
	for (size_t i = 0; i < mime.n && !found; i++) {
		struct mime_text t;

		if (mime.part[i].type != MIME_HTML)
			continue;
		found = mime_read(m.body, &mime.part[i], &t) == NULL;
		if (found)
			rig_readable(r, t.text, out);
		mime_text_free(&t);
	}
	mime_free(&mime);
	free(h);
	return found;
}

#define QP "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n"
#define BASE64 "Content-Type: text/html\nContent-Transfer-Encoding: base64\n"

static const struct {
	const char *name, *header, *body, *out;
} encoded[] = {
	{ "a soft line break inside an href, and =3D", QP, "<a hr=\nef=3D\"https://e.=\ncom/?a=3D1&amp;b=\n=3D2\">x</a>\n", "<a href=\"[https://e.com/?a=1&b=2]\">x</a>[PIXEL]\n" },
	{ "the same without quotes", QP, "<a href=3Dhttps://e.com/?id=3D1=\n2>x</a>\n", "<a href=[https://e.com/?id=12]>x</a>[PIXEL]\n" },
	{ "a soft line break inside an entity and inside a letter", QP, "<a href=3D\"https://e.com/?a&a=\nmp;b=C3=\n=A9\">=C3=\n=A9</a>", "<a href=\"[https://e.com/?a&b\xc3\xa9]\">\xc3\xa9</a>[PIXEL]" },
	{ "a soft line break inside a tag's name and its opting out", QP, "<=\na href=3D'https://e.com/' data-no-=\ntrack>x</a><a =\nhref=3D'https://e.com/'>y</a>", "<a href='https://e.com/'>x</a><a href='[https://e.com/]'>y</a>[PIXEL]" },
	{ "quoted-printable that ends in a soft line break", QP, "<a href=3D'https://e.com/'>x</a>=\n", "<a href='[https://e.com/]'>x</a>[PIXEL]" },
	{ "a line break that is encoded, inside a URL", QP, "<a href=3D'https://e.com/=0D=0Ax'>x</a>", "<a href='[https://e.com/x]'>x</a>[PIXEL]" },
	{ "base64", BASE64, "PGEgaHJlZj0iaHR0cHM6Ly9lLmNvbS8/YT0xJmFtcDtiPTIiPng8L2E+DQo=\n", "<a href=\"[https://e.com/?a=1&b=2]\">x</a>[PIXEL]\r\n" },
	{ "base64 in lines of any length, without padding", BASE64, "PGEgaHJ\nlZj0naHR0cHM6Ly9lLmNvbS8nPng\n", "<a href='[https://e.com/]'>x[PIXEL]" },
	{ "a part in quoted-printable", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\n" QP "\n<a href=3D'https://e.=\ncom/'>x</a>\n--b--\n", "<a href='[https://e.com/]'>x</a>[PIXEL]" },
	{ "a part in base64 that ends at the boundary", "Content-Type: multipart/mixed; boundary=b\n",
	    "--b\n" BASE64 "\nPGEgaHJlZj0naHR0cHM6Ly9lLmNvbS8nPng=\n--b--", "<a href='[https://e.com/]'>x[PIXEL]" },
};

static void
test_encoded(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t i = 0; i < COUNT(encoded); i++) {
		struct buf out = BUF(100000), readable = BUF(100000);
		struct sample s;
		struct plan p;

		sample_init(&s, encoded[i].header, span_of(encoded[i].body));
		message_tag(&s.message, &r.tagging, &p);
		assert_row(encoded[i].name, p.untouched == NULL && p.body_changed);
		message_apply(buf_span(&s.raw), &p, &out);
		assert_row(encoded[i].name, html_part(&r, buf_span(&out), &readable));
		assert_span(encoded[i].name, buf_span(&readable), span_of(encoded[i].out));
		for (struct span rest = new_body(&s, &p), line; span_split(&rest, '\n', &line);)
			assert_row(encoded[i].name, line.n <= (span_ends(line, SPAN("\r")) ? 77 : 76));
		plan_free(&p);
		sample_free(&s);
		buf_free(&out);
		buf_free(&readable);
	}
	rig_free(&r);
}

/* Whatever is odd in the tracker's URL: it is escaped for HTML, then for the transfer encoding. */
static void
test_odd_tracking_url(void **state)
{
	static char odd[] = TRACKING "/a=b&c'd";
	struct sample s;
	struct plan p;
	struct rig r;
	size_t n = 0;

	(void)state;
	rig_init(&r);
	r.conf.tracking_url = odd;
	r.tagging.opens = MODE_OFF;
	sample_init(&s, QP, SPAN("<a href=3D'https://e.com/'>x</a>"));
	message_tag(&s.message, &r.tagging, &p);
	assert_span("=, & and ' in it", span_cut(buf_span(&p.body), 0, 56), SPAN("<a href=3D'https://t.example.org/r/a=3Db&amp;c&#39;d/c/K"));
	plan_free(&p);
	sample_free(&s);
	/* The pixel and the hidden link have it too. */
	r.tagging.opens = MODE_IDENTIFIED;
	r.stream.honeypot = true;
	sample_init(&s, "Content-Type: text/html\n", SPAN("<a href='https://e.com/'>x</a>"));
	message_tag(&s.message, &r.tagging, &p);
	assert_true(p.pixel && p.honeypot);
	for (struct span rest = buf_span(&p.body); rest.n > 0; n += rest.n > 0)
		rest = span_from(rest, span_search(rest, SPAN(TRACKING "/a=b&amp;c&#39;d/")) + 1);
	assert_int_equal(n, 3);
	plan_free(&p);
	sample_free(&s);
	rig_free(&r);
}

/* ---- bytes that text should not have ---- */

static void
test_odd_bytes(void **state)
{
	static const struct {
		const char *name;
		struct span body;
		bool stays; /* all of it; else what is not a link */
	} rows[] = {
		{ "NUL in the text", SPAN("a\0b" LINK), true },
		{ "NUL in a URL", SPAN(LINK "<a href=\"https://e.com/\0\">x</a>"), true },
		{ "NUL behind the end", SPAN(LINK "</html>\0"), true },
		{ "CR alone", SPAN("a\rb" LINK "\r\nc\r"), false },
		{ "CR CR LF", SPAN("a\r\r\n" LINK "\r\r\n"), false },
		{ "LF alone among CRLF", SPAN("a\r\nb\n" LINK "\r\n"), false },
		{ "form feed, vertical tab, DEL and the like", SPAN("\f\v\x7f\x01\xff" LINK "\f"), false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf readable = BUF(1000), rest = BUF(1000);
		struct sample s;
		struct plan p;
		struct rig r;
		struct span b;

		rig_init(&r);
		r.tagging.opens = MODE_OFF;
		sample_init(&s, "Content-Type: text/html\n", rows[i].body);
		message_tag(&s.message, &r.tagging, &p);
		assert_row(rows[i].name, !rows[i].stays || !p.body_changed);
		rig_readable(&r, new_body(&s, &p), &readable);
		b = buf_span(&readable);
		for (size_t k; (k = span_search(b, SPAN("[https://e.com/]"))) < b.n; b = span_from(b, k + 16))
			buf_addf(&rest, "%.*shttps://e.com/", SPAN_ARG(span_cut(b, 0, k)));
		buf_add(&rest, b);
		assert_span(rows[i].name, buf_span(&rest), rows[i].body);
		plan_free(&p);
		sample_free(&s);
		rig_free(&r);
		buf_free(&readable);
		buf_free(&rest);
	}
}

/* ---- charsets in which markup is not ASCII: converted without loss, or not touched ---- */

static const struct {
	const char *charset, *encoding, *body;
	const char *html; /* in UTF-8, tagged */
} charsets[] = {
	{ "utf-16", "base64", "//48AGEAIABoAHIAZQBmAD0AIgBoAHQAdABwAHMAOgAvAC8AZQAuAGMAbwBtAC8A6QAiAD4ABQRfTzwALwBhAD4A\n",
	    "<a href=\"[https://e.com/\xc3\xa9]\">\xd0\x85\xe4\xbd\x9f</a>[PIXEL]" },
	{ "utf-16be", "base64", "ADwAYQAgAGgAcgBlAGYAPQAiAGgAdAB0AHAAcwA6AC8ALwBlAC4AYwBvAG0ALwDpACIAPgQFT18APAAvAGEAPg==\n",
	    "<a href=\"[https://e.com/\xc3\xa9]\">\xd0\x85\xe4\xbd\x9f</a>[PIXEL]" },
	{ "utf-16be", "base64", "ADwAYQAgAGgAcgBlAGYAPQAiAGgAdAB0AHAAcwA6AC8ALwBlAC4AYwBvAG0ALwDpACIAPgQFT18APAAvAGEA\n", NULL },
	{ "utf-16le", "base64", "PABhACAAaAByAGUAZgA9ACIAaAB0AHQAcABzADoALwAvAGUALgBjAG8AbQAvACIAPgAA2HgA\n", NULL },
	{ "iso-2022-jp", "7bit", "<p>\033$BF|K\\\033(B <a href=\"https://e.com/\">\033$B$\"\033(B</a>\n", "<p>\xe6\x97\xa5\xe6\x9c\xac <a href=\"[https://e.com/]\">\xe3\x81\x82</a>[PIXEL]\n" },
	{ "iso-2022-jp", "7bit", "<p>\033$B<a href=\"https://e.com/\">\033(B</p>\n", NULL },
	{ "iso-2022-jp", "7bit", "<p>\033$B\x7f\x7f\033(B" LINK "\n", NULL },
	{ "utf-7", "7bit", "+ADw-p+AD4A6Q +ADw-a href+AD0AIg-https://e.com/+ACIAPg-x+ADw-/a+AD4\n", "<p>\xc3\xa9 <a href=\"[https://e.com/]\">x</a>[PIXEL]\n" },
};

/* The bytes of a part without its transfer encoding, as UTF-8. */
static bool
to_utf8(struct span raw, enum mime_encoding encoding, const char *charset, struct buf *out)
{
	struct buf plain = BUF(100000);
	iconv_t cd = iconv_open("UTF-8", charset);
	size_t left, room = 10000;
	char *in, *to = buf_room(out, room);
	bool soft, good = true;

	if (encoding == MIME_BASE64)
		good = base64_read(&plain, raw);
	else if (encoding != MIME_QP)
		buf_add(&plain, raw);
	else
		while (good && raw.n > 0)
			good = qp_read_line(&plain, &raw, &soft);
	in = plain.p;
	left = plain.n;
	good = good && cd != (iconv_t)-1 && iconv(cd, &in, &left, &to, &room) != (size_t)-1 && left == 0;
	buf_grew(out, 10000 - room);
	if (cd != (iconv_t)-1)
		iconv_close(cd);
	buf_free(&plain);
	return good;
}

static void
test_charsets(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t i = 0; i < COUNT(charsets); i++) {
		struct buf header = BUF(1000), out = BUF(100000), text = BUF(20000), readable = BUF(100000), name = BUF(100);
		struct sample s;
		struct message m;
		struct header *h = NULL;
		struct mime mime;
		struct span type;
		struct plan p;

		buf_addf(&header, "Content-Type: text/html; charset=%s\nContent-Transfer-Encoding: %s\n", charsets[i].charset, charsets[i].encoding);
		sample_init(&s, buf_cstr(&header), span_of(charsets[i].body));
		message_tag(&s.message, &r.tagging, &p);
		assert_row(charsets[i].charset, p.body_changed == (charsets[i].html != NULL));
		assert_row(charsets[i].charset, p.body_changed || p.untouched != NULL);
		if (p.body_changed) {
			message_apply(buf_span(&s.raw), &p, &out);
			assert_true(message_split(buf_span(&out), &h, &m.nheaders, &m.body));
			m.header = h;
			mime_walk(&mime, &m);
			type = message_header(&m, SPAN("Content-Type"))->value;
			type = span_from(type, span_isearch(type, SPAN("charset=")) + 8);
			for (size_t k = 0; k < type.n && strchr("\"; \r\n", type.p[k]) == NULL; k++)
				buf_addc(&name, type.p[k]);
			assert_row(charsets[i].charset, to_utf8(m.body, mime.part[0].encoding, buf_cstr(&name), &text));
			rig_readable(&r, buf_span(&text), &readable);
			assert_span(charsets[i].charset, buf_span(&readable), span_of(charsets[i].html));
			mime_free(&mime);
		}
		plan_free(&p);
		sample_free(&s);
		free(h);
		buf_free(&header);
		buf_free(&out);
		buf_free(&text);
		buf_free(&readable);
		buf_free(&name);
	}
	rig_free(&r);
}

/* ---- sizes ---- */

/* All bytes a token can carry: in a URL's path as %XX, through a message; as they are, through the sealer. */
static void
test_any_bytes_in_a_path(void **state)
{
	struct buf bytes = BUF(1000), dest = BUF(4000), link = BUF(5000), body = BUF(10000), token = BUF(TOKEN_MAX),
		   text = BUF(TOKEN_DESTINATION_MAX);
	uint32_t x = 55;
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.opens = MODE_OFF;
	for (size_t n = 0; n <= 1000; n++, buf_addc(&bytes, (char)((x = x * 1103515245 + 12345) >> 16))) {
		struct claim c = links_claim(&r.tagging, TOKEN_CLICK, MODE_IDENTIFIED), back;
		struct sample s;
		struct plan p;

		c.text = buf_span(&bytes);
		buf_clear(&token);
		assert_true(token_seal(r.sealer, &c, &token));
		assert_true(token_open(r.sealer, TOKEN_CLICK, buf_span(&token), &back, &text));
		assert_span("as they are", back.text, buf_span(&bytes));
		if (n % 16 != 0)
			continue;
		buf_clear(&dest);
		buf_clear(&body);
		buf_adds(&dest, "https://e.com/");
		url_encode(&dest, buf_span(&bytes));
		buf_clear(&link);
		buf_addf(&link, "<a href='%.*s'>x</a>", SPAN_ARG(buf_span(&dest)));
		qp_add(&body, buf_span(&link), SPAN("\n"), false);
		sample_init(&s, QP, buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		if (p.edited_links == 1) /* else too long: the message is as it was */
			assert_span("in a path", p.link[0].destination, buf_span(&dest));
		else
			assert_true(dest.n > 1000 && !p.body_changed);
		plan_free(&p);
		sample_free(&s);
	}
	rig_free(&r);
	buf_free(&bytes);
	buf_free(&dest);
	buf_free(&link);
	buf_free(&body);
	buf_free(&token);
	buf_free(&text);
}

/* Longer than a line may be: tracked, and no line is too long.  Longer than a token can carry: the same bytes. */
static void
test_long_urls(void **state)
{
	static const struct {
		size_t n;
		bool tracked;
	} rows[] = {
		{ 997, true }, { 998, true }, { 999, true }, { TOKEN_DESTINATION_MAX + 1, false }, { 2048, false },
		{ 2049, false }, { 100000, false },
	};
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.opens = MODE_OFF;
	for (size_t i = 0; i < 2 * COUNT(rows); i++) {
		bool qp = i >= COUNT(rows), tracked = rows[i % COUNT(rows)].tracked;
		struct buf url = BUF(200000), link = BUF(200000), body = BUF(400000), want = BUF(200000), out = BUF(400000), readable = BUF(400000);
		struct sample s;
		struct plan p;

		buf_adds(&url, "https://e.com/");
		while (url.n < rows[i % COUNT(rows)].n)
			buf_adds(&url, url.n % 4 ? "-" : "a/b-");
		url.n = rows[i % COUNT(rows)].n;
		buf_addf(&want, tracked ? "<a href=\"[%.*s]\">x</a>\r\n" : "<a href=\"%.*s\">x</a>\r\n", SPAN_ARG(buf_span(&url)));
		buf_addf(&link, "<a href=\"%.*s\">x</a>\r\n", SPAN_ARG(buf_span(&url)));
		if (qp)
			qp_add(&body, buf_span(&link), SPAN("\r\n"), false);
		sample_init(&s, qp ? QP : "Content-Type: text/html\n", buf_span(qp ? &body : &link));
		message_tag(&s.message, &r.tagging, &p);
		assert_int_equal(p.body_changed, tracked);
		assert_int_equal(p.edited_links, tracked);
		message_apply(buf_span(&s.raw), &p, &out);
		assert_true(html_part(&r, buf_span(&out), &readable));
		assert_span("long", buf_span(&readable), buf_span(&want));
		for (struct span rest = buf_span(&p.body), line; span_split(&rest, '\n', &line);)
			assert_true(line.n <= (qp ? 77 : MIME_LINE_MAX + 1));
		plan_free(&p);
		sample_free(&s);
		buf_free(&url);
		buf_free(&link);
		buf_free(&body);
		buf_free(&want);
		buf_free(&out);
		buf_free(&readable);
	}
	rig_free(&r);
}

/* Fifty places: fifty tokens, in order; and the same message gives the same bytes once more. */
static void
test_fifty_links(void **state)
{
	struct buf body = BUF(100000), want = BUF(100000), readable = BUF(100000);
	struct sample s;
	struct plan p, again;
	struct rig r;

	(void)state;
	rig_init(&r);
	for (int i = 0; i < 50; i++) {
		buf_addf(&body, "<p><a href=\"https://e.com/%d\">x</a>\n", i);
		buf_addf(&want, "<p><a href=\"[https://e.com/%d]\">x</a>%s\n", i, i == 49 ? "[PIXEL]" : "");
	}
	sample_init(&s, "Content-Type: text/html\n", buf_span(&body));
	message_tag(&s.message, &r.tagging, &p);
	message_tag(&s.message, &r.tagging, &again);
	assert_int_equal(p.nlinks, 50);
	rig_readable(&r, buf_span(&p.body), &readable);
	assert_span("fifty", buf_span(&readable), buf_span(&want));
	assert_span("again", buf_span(&again.body), buf_span(&p.body));
	plan_free(&p);
	plan_free(&again);
	sample_free(&s);
	rig_free(&r);
	buf_free(&body);
	buf_free(&want);
	buf_free(&readable);
}

/* More new bytes than a message may get: then it gets none, not some. */
static void
test_grows_too_much(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (int over = 0; over < 2; over++) {
		struct buf body = BUF(64 << 20);
		struct sample s;
		uint32_t x = 1;
		struct plan p;

		for (int i = 0; i < (over ? MESSAGE_LINKS_MAX : MESSAGE_LINKS_MAX / 2); i++) {
			buf_adds(&body, "<p><a href=\"https://e.com/");
			for (size_t k = 0; k < 700; k++)
				buf_addc(&body, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[(x = x * 1103515245 + 12345) >> 16 & 63]);
			buf_adds(&body, "\">x</a>\n");
		}
		sample_init(&s, "X-Campaign: x\nContent-Type: text/html\n", buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		if (over) {
			assert_string_equal(p.untouched, "grows too much");
			assert_true(!p.body_changed && p.nlinks == 0 && p.edited_links == 0 && !p.pixel);
			assert_int_equal(p.nheaders, 1); /* the control header goes all the same */
		} else {
			assert_null(p.untouched);
			assert_int_equal(p.edited_links, MESSAGE_LINKS_MAX / 2);
		}
		plan_free(&p);
		sample_free(&s);
		buf_free(&body);
	}
	rig_free(&r);
}

static void
test_nested_deeply(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (unsigned depth = 50; depth <= 100; depth += 50) {
		struct buf body = BUF(100000);
		struct sample s;
		struct plan p;

		for (unsigned i = 1; i < depth; i++)
			buf_addf(&body, "--b%u\nContent-Type: multipart/mixed; boundary=b%u\n\n", i, i + 1);
		buf_addf(&body, "--b%u\nContent-Type: text/html\n\n" LINK, depth);
		for (unsigned i = depth; i > 0; i--)
			buf_addf(&body, "\n--b%u--\n", i);
		sample_init(&s, "Content-Type: multipart/mixed; boundary=b1\n", buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		assert_int_equal(p.body_changed, depth <= MIME_DEPTH_MAX);
		assert_int_equal(p.untouched == NULL, depth <= MIME_DEPTH_MAX);
		plan_free(&p);
		sample_free(&s);
		buf_free(&body);
	}
	rig_free(&r);
}

/* To the byte: as small as it goes, nothing to read aloud, no border. */
static void
test_pixel_itself(void **state)
{
	struct buf text = BUF(100);
	struct sample s;
	struct plan p;
	struct rig r;
	struct claim c;
	struct span b;
	size_t n = 0;

	(void)state;
	rig_init(&r);
	sample_init(&s, "Content-Type: text/html\n", SPAN("<body>x</body>"));
	message_tag(&s.message, &r.tagging, &p);
	b = buf_span(&p.body);
	assert_true(span_starts(b, SPAN("<body>x<img src=\"")));
	b = span_from(b, strlen("<body>x<img src=\""));
	assert_true(rig_url(&r, b, &n, &c, &text) && c.kind == TOKEN_OPEN);
	assert_span("pixel", span_from(b, n), SPAN(".gif\" width=\"1\" height=\"1\" alt=\"\" style=\"border:0\" /></body>"));
	plan_free(&p);
	sample_free(&s);
	rig_free(&r);
	buf_free(&text);
}

/* ---- long lines ---- */

static void
test_long_line_becomes_qp(void **state)
{
	static const struct {
		const char *name, *header, *edit;
	} rows[] = {
		{ "a field is added", "Content-Type: text/html\n", "+Content-Transfer-Encoding: quoted-printable\n+MIME-Version: 1.0\n" MARK },
		{ "a field is replaced", "MIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\nContent-Type: text/html\n", "=Content-Transfer-Encoding 1: quoted-printable\n" MARK },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf body = BUF(100000), headers = BUF(1000);
		struct sample s;
		struct plan p;
		struct rig r;

		rig_init(&r);
		for (int k = 0; k < 60; k++)
			buf_addf(&body, "<p>é <a href=\"https://e.com/%d\">x</a>", k);
		buf_adds(&body, "</body>\r\n");
		sample_init(&s, rows[i].header, buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		describe_headers(&r, &p, &headers);
		assert_span(rows[i].name, buf_span(&headers), span_of(rows[i].edit));
		for (struct span rest = buf_span(&p.body), line; span_split(&rest, '\n', &line);)
			assert_row(rows[i].name, line.n <= 77);
		assert_row(rows[i].name, span_search(buf_span(&p.body), SPAN("=C3=A9")) < p.body.n);
		plan_free(&p);
		sample_free(&s);
		rig_free(&r);
		buf_free(&body);
		buf_free(&headers);
	}
}

/* ---- what a hostile message may cost ---- */

/* An opt-out across every soft line break: each raw line is looked at once, however many edits there are. */
static void
test_time_of_many_edits(void **state)
{
	struct buf body = BUF(4 * 1024 * 1024);
	struct sample s;
	struct plan p;
	struct rig r;
	clock_t start;

	(void)state;
	rig_init(&r);
	buf_adds(&body, "<a data-no-=\n");
	for (int k = 0; k < 100000; k++)
		buf_adds(&body, "track>x<a data-no-=\n");
	buf_adds(&body, "track>x\n");
	sample_init(&s, "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/html\n", buf_span(&body));
	start = clock();
	message_tag(&s.message, &r.tagging, &p);
	assert_true((clock() - start) / CLOCKS_PER_SEC < 3);
	assert_true(p.body_changed);
	assert_int_equal(p.body.n, span_search(buf_span(&p.body), SPAN("data-no")));
	plan_free(&p);
	sample_free(&s);
	rig_free(&r);
	buf_free(&body);
}

/* Shapes in shapes, none of which ends: the text of each is read to the next one, not to the end of the comment. */
static void
test_time_of_many_shapes(void **state)
{
	static const char *units[] = {
		"<v:rect href=\"https://e.com/\">", "<v:rect href=\"https://e.com/\"><v:fill>", "<a href=\"https://e.com/\"><v:a href=\"https://e.com/\">",
		"<v:rect href=\"https://www.untracked.example/\">", "<!--", "<v:rect ",
	};
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t i = 0; i < COUNT(units); i++) {
		struct buf body = BUF(8 * 1024 * 1024);
		clock_t start = clock();
		struct sample s;
		struct plan p;

		buf_adds(&body, "<!--[if mso]>");
		while (body.n < 2000000)
			buf_addf(&body, "%s\n", units[i]);
		buf_adds(&body, "<![endif]-->");
		sample_init(&s, "Content-Type: text/html\n", buf_span(&body));
		message_tag(&s.message, &r.tagging, &p);
		assert_row(units[i], (clock() - start) / CLOCKS_PER_SEC < 3);
		assert_row(units[i], p.edited_links == 0 || p.edited_links == MESSAGE_LINKS_MAX);
		plan_free(&p);
		sample_free(&s);
		buf_free(&body);
	}
	rig_free(&r);
}

static void
test_targets_limit(void **state)
{
	struct buf headers = BUF(100000), readable = BUF(10000);
	struct sample s;
	struct plan p;
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.opens = MODE_OFF;
	buf_adds(&headers, "Content-Type: text/html\nList-Unsubscribe: ");
	for (int k = 1; k <= 65; k++)
		buf_addf(&headers, "<https://e.com/%d>,\n ", k);
	buf_adds(&headers, "<mailto:x@e.com>\n");
	sample_init(&s, buf_cstr(&headers), SPAN("<a href=\"https://e.com/64\">x</a><a href=\"https://e.com/65\">x</a>"));
	message_tag(&s.message, &r.tagging, &p);
	rig_readable(&r, new_body(&s, &p), &readable);
	assert_span("one past the edge", buf_span(&readable),
	    SPAN("<a href=\"https://e.com/64\">x</a><a href=\"[https://e.com/65]\">x</a>"));
	plan_free(&p);
	sample_free(&s);
	rig_free(&r);
	buf_free(&headers);
	buf_free(&readable);
}

/* ---- splitting and applying ---- */

static const struct {
	const char *name, *raw, *header, *body; /* header NULL: no message; "name|value/" for each field */
} splits[] = {
	{ "LF", "A: b\nC: d\n\nbody\n", "A| b/C| d/", "body\n" },
	{ "CRLF", "A: b\r\nC: d\r\n\r\nbody\r\n", "A| b/C| d/", "body\r\n" },
	{ "folded", "A: b\r\n c\r\n\td\r\n\r\nx", "A| b\r\n c\r\n\td/", "x" },
	{ "an empty value", "A:\n\nx", "A|/", "x" },
	{ "a colon in the value", "A: b:c\n\nx", "A| b:c/", "x" },
	{ "no leading space", "A:b\n\nx", "A|b/", "x" },
	{ "space before the colon", "A : b\n\nx", "A| b/", "x" },
	{ "no body", "A: b\n", "A| b/", "" },
	{ "no body and no line break", "A: b", "A| b/", "" },
	{ "a line that is no field starts the body", "A: b\nhello\n", "A| b/", "hello\n" },
	{ "nothing", "", NULL, NULL },
	{ "no field", "hello\n", NULL, NULL },
	{ "a body only", "\nhello", NULL, NULL },
	{ "a continuation first", " a: b\n\n", NULL, NULL },
};

static void
test_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(splits); i++) {
		struct buf out = BUF(1000);
		struct header *h = NULL;
		struct plan none = { 0 };
		struct span body;
		size_t n;

		if (!message_split(span_of(splits[i].raw), &h, &n, &body)) {
			assert_row(splits[i].name, splits[i].header == NULL);
		} else {
			assert_row(splits[i].name, splits[i].header != NULL);
			for (size_t k = 0; k < n; k++) {
				buf_add(&out, h[k].name);
				buf_addc(&out, '|');
				buf_add(&out, h[k].value);
				buf_addc(&out, '/');
			}
			assert_span(splits[i].name, buf_span(&out), span_of(splits[i].header));
			assert_span(splits[i].name, body, span_of(splits[i].body));
		}
		buf_clear(&out);
		message_apply(span_of(splits[i].raw), &none, &out);
		assert_span(splits[i].name, buf_span(&out), span_of(splits[i].raw));
		free(h);
		buf_free(&out);
	}
}

static void
test_split_limit(void **state)
{
	struct buf raw = BUF(100000);
	struct header *h = NULL;
	struct span body;
	size_t n;

	(void)state;
	for (int i = 0; i < MESSAGE_HEADERS_MAX; i++)
		buf_adds(&raw, "A: b\n");
	assert_true(message_split(buf_span(&raw), &h, &n, &body));
	assert_int_equal(n, MESSAGE_HEADERS_MAX);
	free(h);
	buf_adds(&raw, "A: b\n");
	assert_false(message_split(buf_span(&raw), &h, &n, &body));
	buf_free(&raw);
}

static void
test_apply(void **state)
{
	char a[] = "a", b[] = "B", value[] = "new", empty[] = "";
	struct header_edit edits[] = {
		{ HEADER_DELETE, 3, a, empty }, { HEADER_DELETE, 1, a, empty }, { HEADER_REPLACE, 1, b, value },
		{ HEADER_ADD, 0, a, value },
	};
	struct plan p = { .header = edits, .nheaders = COUNT(edits) };
	struct buf out = BUF(1000);

	(void)state;
	message_apply(SPAN("A: 1\r\nb: x\r\n y\r\nA: 2\r\nA: 3\r\n\r\nbody"), &p, &out);
	assert_span("CRLF", buf_span(&out), SPAN("b: new\r\nA: 2\r\na: new\r\n\r\nbody"));
	buf_clear(&out);
	message_apply(SPAN("A: 1\nb: x\nA: 2\nA: 3"), &p, &out);
	assert_span("LF, the header cut off", buf_span(&out), SPAN("b: new\nA: 2\na: new\n"));
	buf_clear(&out);
	message_apply(SPAN("A: 1\nb: x\nA: 2\nA: 3\nno field\n"), &p, &out);
	assert_span("a body without a blank line", buf_span(&out), SPAN("b: new\nA: 2\na: new\n\nno field\n"));
	buf_clear(&out);
	p = (struct plan){ .header = &edits[3], .nheaders = 1 };
	message_apply(SPAN("B: 1\r\nA: 2"), &p, &out);
	assert_span("a last field without a line break", buf_span(&out), SPAN("B: 1\r\nA: 2\r\na: new\r\n"));
	buf_free(&out);
}

/* ---- the messages in tests/data ---- */

static struct buf
read_file(const char *dir, const char *name)
{
	struct buf b = BUF(10000000);
	char path[1024];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	while ((n = fread(buf_room(&b, 65536), 1, 65536, f)) > 0)
		buf_grew(&b, n);
	fclose(f);
	return b;
}

/*
 * What is not tagged is the same; what is, has no line that is longer than
 * allowed, and lines without edits are there still.  A message hardly grows:
 * a pixel and a mark, and a token for each link; a part that becomes
 * quoted-printable grows by its letters beyond ASCII too, and in UTF-32 our own letters take four bytes each.
 */
static void
check_file(struct rig *r, const char *name, struct span raw)
{
	struct header *h = NULL;
	struct buf out = BUF(20000000);
	struct message m;
	struct plan p;
	bool becomes_qp;

	assert_row(name, message_split(raw, &h, &m.nheaders, &m.body));
	m.header = h;
	message_tag(&m, &r->tagging, &p);
	message_apply(raw, &p, &out);
	becomes_qp = span_search(buf_span(&out), SPAN("quoted-printable")) < out.n &&
	    span_search(raw, SPAN("quoted-printable")) == raw.n;
	assert_row(name, out.n <= 3 * raw.n);
	assert_row(name, becomes_qp || span_istarts(span_of(name), SPAN("charset-utf-")) || out.n <= raw.n + 400 + 150 * p.edited_links);
	if (p.untouched != NULL)
		assert_span(name, buf_span(&out), raw);
	else
		for (struct span rest = buf_span(&p.body), line; p.body_changed && span_split(&rest, '\n', &line);)
			assert_row(name, line.n <= 999 || span_search(raw, line) < raw.n);
	plan_free(&p);
	free(h);
	buf_free(&out);
}

static void
test_files(void **state)
{
	const char *top = getenv("top_srcdir");
	char dir[512];
	struct dirent *e;
	unsigned files = 0;
	struct rig r;
	DIR *d;

	(void)state;
	rig_init(&r);
	snprintf(dir, sizeof dir, "%s/tests/data/messages", top ? top : ".");
	d = opendir(dir);
	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		struct buf raw;

		if (!span_ends(span_of(e->d_name), SPAN(".eml")))
			continue;
		raw = read_file(dir, e->d_name);
		r.tagging.opens = r.tagging.links = MODE_IDENTIFIED;
		check_file(&r, e->d_name, buf_span(&raw));
		r.tagging.opens = r.tagging.links = MODE_OFF;
		check_file(&r, e->d_name, buf_span(&raw));
		buf_free(&raw);
		files++;
	}
	closedir(d);
	assert_true(files >= 12);
	rig_free(&r);
}

/* Modes off and no header to add: the very same bytes, whatever the message. */
static void
test_nothing_to_do(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.tagging.opens = r.tagging.links = MODE_OFF;
	for (size_t i = 0; i < COUNT(messages); i++) {
		struct sample s;
		struct plan p;

		sample_init(&s, messages[i].header[0] ? messages[i].header : "Subject: x\n", span_of(messages[i].body));
		message_tag(&s.message, &r.tagging, &p);
		assert_row(messages[i].name, p.untouched != NULL && !p.body_changed && p.nheaders == 0);
		plan_free(&p);
		sample_free(&s);
	}
	rig_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links), cmocka_unit_test(test_pixels), cmocka_unit_test(test_messages),
		cmocka_unit_test(test_headers), cmocka_unit_test(test_tagged_once), cmocka_unit_test(test_too_many_headers),
		cmocka_unit_test(test_claims), cmocka_unit_test(test_same_destination), cmocka_unit_test(test_many_links),
		cmocka_unit_test(test_same_destination_for_outlook), cmocka_unit_test(test_tokens_end_no_comment),
		cmocka_unit_test(test_encoded), cmocka_unit_test(test_odd_tracking_url), cmocka_unit_test(test_odd_bytes),
		cmocka_unit_test(test_charsets), cmocka_unit_test(test_any_bytes_in_a_path), cmocka_unit_test(test_long_urls),
		cmocka_unit_test(test_fifty_links), cmocka_unit_test(test_grows_too_much), cmocka_unit_test(test_nested_deeply),
		cmocka_unit_test(test_pixel_itself),
		cmocka_unit_test(test_long_destinations), cmocka_unit_test(test_long_line_becomes_qp),
		cmocka_unit_test(test_time_of_many_edits), cmocka_unit_test(test_time_of_many_shapes),
		cmocka_unit_test(test_targets_limit),
		cmocka_unit_test(test_split), cmocka_unit_test(test_split_limit), cmocka_unit_test(test_apply), cmocka_unit_test(test_files),
		cmocka_unit_test(test_nothing_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
