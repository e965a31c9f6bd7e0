"""newsletter.py -- a newsletter as a shop's mailing program writes it: multipart/alternative, quoted-printable, twenty links.

build() gives the bytes of one recipient's message, page() its HTML part as it
was before the transfer encoding, destinations() what its links point to.
"""

import html
import quopri
import re

SENDER = "news@harbourbooks.example"

TEXT = """\
Harbour Books -- the letter, no. {issue}

Good morning {name},

the harbour froze over last week, and so half of the town came in to read.
Here is what they took home.

* The Lighthouse Year, by Ada Birkeland: https://shop.harbourbooks.example/b/lighthouse-year
* A Short History of Fog: https://shop.harbourbooks.example/b/history-of-fog
* Knots for the Impatient: https://shop.harbourbooks.example/b/knots

Reading on Thursday at seven, tea and café crème are on the house.

Harbour Books, 3 Quay Street
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en" xmlns:v="urn:schemas-microsoft-com:vml">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Harbour Books: the letter, no. {issue}</title>
<style>
  body {{ margin: 0; background: #f4f1ea; font-family: Georgia, serif }}
  a {{ color: #1b4b6b }}  /* not <a href="https://example.invalid/"> */
  @media (max-width: 480px) {{ .column {{ display: block !important; width: 100% !important }} }}
</style>
</head>
<body>
<div style="display:none;max-height:0;overflow:hidden">The harbour froze, and the town came in to read. Three books, one evening.&#8199;&zwnj;</div>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr><td align="center">
<table role="presentation" width="600" cellpadding="0" cellspacing="0" border="0" bgcolor="#ffffff">
<tr><td style="padding:8px 24px;font-size:12px" align="right"><a href="https://www.harbourbooks.example/letters/{issue}?utm_source=letter&amp;utm_medium=email&amp;utm_campaign=winter-{issue}&amp;utm_content=browser">Read it in your browser</a></td></tr>
<tr><td><a href="https://www.harbourbooks.example/?utm_source=letter&amp;utm_medium=email&amp;utm_campaign=winter-{issue}&amp;utm_content=logo"><img src="https://img.harbourbooks.example/logo@2x.png" width="600" height="120" alt="Harbour Books" border="0"></a></td></tr>
<tr><td style="padding:24px">
<h1 style="font-size:26px">Good morning {name},</h1>
<p>the harbour froze over last week, and so half of the town came in to read. Here is what they took home.</p>
</td></tr>
<tr><td style="padding:0 24px">
<!-- three books -->
<table role="presentation" width="100%"><tr valign="top">
<td class="column" width="180"><a href="https://shop.harbourbooks.example/b/lighthouse-year?ref=letter-{issue}&amp;pos=1"><img src="https://img.harbourbooks.example/covers/lighthouse-year.jpg" width="160" height="240" alt="The Lighthouse Year"></a><br>
<a href="https://shop.harbourbooks.example/b/lighthouse-year?ref=letter-{issue}&amp;pos=1&amp;el=title"><b>The Lighthouse Year</b></a><br>Ada Birkeland<br>18,90&nbsp;&euro;</td>
<td class="column" width="180"><a href="https://shop.harbourbooks.example/b/history-of-fog?ref=letter-{issue}&amp;pos=2"><img src="https://img.harbourbooks.example/covers/history-of-fog.jpg" width="160" height="240" alt="A Short History of Fog"></a><br>
<a href="https://shop.harbourbooks.example/b/history-of-fog?ref=letter-{issue}&amp;pos=2&amp;el=title"><b>A Short History of Fog</b></a><br>J.&nbsp;Nakamura<br>12,00&nbsp;&euro;</td>
<td class="column" width="180"><A HREF='https://shop.harbourbooks.example/b/knots?ref=letter-{issue}&amp;pos=3'><img src="https://img.harbourbooks.example/covers/knots.jpg" width="160" height="240" alt="Knots for the Impatient"></A><br>
<A
   HREF='https://shop.harbourbooks.example/b/knots?ref=letter-{issue}&amp;pos=3&amp;el=title'><b>Knots for the Impatient</b></A><br>Tove Lind<br>9,50&nbsp;&euro;</td>
</tr></table>
</td></tr>
<tr><td align="center" style="padding:24px">
<!--[if mso]>
<v:roundrect href="https://shop.harbourbooks.example/winter?ref=letter-{issue}&amp;el=button" style="height:44px;width:220px" arcsize="10%" fillcolor="#1b4b6b"><center>All winter books</center></v:roundrect>
<![endif]-->
<!--[if !mso]><!--><a href="https://shop.harbourbooks.example/winter?ref=letter-{issue}&amp;el=button" style="background:#1b4b6b;color:#ffffff;padding:12px 32px;border-radius:4px;text-decoration:none">All winter books</a><!--<![endif]-->
</td></tr>
<tr><td style="padding:0 24px 24px">
<h2>Thursday at seven</h2>
<p>Ada Birkeland reads from <i>The Lighthouse Year</i>; tea and caf\u00e9 cr\u00e8me are on the house. <a href="https://www.harbourbooks.example/evenings/birkeland?seats=2#book">Keep two seats</a>, <a href="https://calendar.harbourbooks.example/birkeland.ics?tz=Europe%2FOslo">put it in your calendar</a>, or <a href="https://maps.example.net/search?q=3+Quay+Street&amp;z=16">see the way</a>.</p>
<h2>From the shelf nobody looks at</h2>
<ul>
<li><a href="https://shop.harbourbooks.example/b/tide-tables-1911">Tide Tables for 1911</a>, still mostly right</li>
<li><a href="https://shop.harbourbooks.example/b/a-gull-s-life">A Gull&rsquo;s Life</a>, told by the gull</li>
<li><a href="https://shop.harbourbooks.example/b/bl%C3%A5sk%C3%A4r">Bl\u00e5sk\u00e4r</a>, in Swedish, with pictures</li>
<li><a href="https://shop.harbourbooks.example/b/soup?size=large&amp;lang=no">Soup: Forty Answers</a>, all of them soup</li>
</ul>
<p>Questions? Write to <a href="mailto:desk@harbourbooks.example?subject=Letter%20{issue}">the desk</a>, it reads everything.</p>
</td></tr>
<tr><td bgcolor="#f4f1ea" style="padding:16px 24px;font-size:12px" align="center">
<a href="https://social.example/@harbourbooks">Mastodon</a> &middot; <a href="https://www.harbourbooks.example/podcast/feed.xml">Podcast</a><br>
<a href="https://www.harbourbooks.example/letters/">Earlier letters</a> &middot; <a href="https://www.harbourbooks.example/privacy">What we know of you</a><br>
Harbour Books, 3 Quay Street, 4878 Grimstad
</td></tr>
</table>
</td></tr></table>
</body>
</html>
"""


def page(name, issue):
	return PAGE.format(name=name, issue=issue)


def hrefs(name, issue):
	"""Every web link as it is written in the markup, in order; the button that only Outlook sees comes before its twin."""
	body = page(name, issue).split("</head>")[1]
	return re.findall(r"""(?i)<(?:a|v:\w+)\s[^>]*?href\s*=\s*["'](https?:[^"']*)["']""", body)


def destinations(name, issue):
	"""The same as a browser understands them."""
	return [html.unescape(href) for href in hrefs(name, issue)]


def quoted(text):
	return quopri.encodestring(text.encode("utf-8")).replace(b"\n", b"\r\n")


def build(to, name, issue, headers=()):
	"""One recipient's message.  headers: more fields, such as ("X-Campaign", "winter")."""
	boundary = "=_letter-%s_3f8a" % issue
	fields = [
		("From", "Harbour Books <%s>" % SENDER),
		("To", "%s <%s>" % (name, to)),
		("Subject", "=?utf-8?q?The_letter=2C_no=2E_%s=3A_tea_and_caf=C3=A9_cr=C3=A8me?=" % issue),
		("Date", "Thu, 08 Jan 2026 08:00:00 +0100"),
		("Message-ID", "<letter-%s.%s>" % (issue, to.replace("@", ".at."))),
		("MIME-Version", "1.0"),
		("Content-Type", 'multipart/alternative;\r\n\tboundary="%s"' % boundary),
		*headers,
	]
	head = "".join("%s: %s\r\n" % field for field in fields).encode()
	parts = b""
	for kind, text in (("plain", TEXT.format(name=name, issue=issue)), ("html", page(name, issue))):
		parts += (("--%s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
			% (boundary, kind)).encode() + quoted(text) + b"\r\n")
	return head + b"\r\nThis is a message in several parts.\r\n" + parts + ("--%s--\r\n" % boundary).encode()
