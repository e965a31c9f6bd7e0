"""test_pages.py -- pages as recipients see them: in a browser, in their language, and as the administrator changes them."""

import json
import os
import re
import struct
import urllib.parse
import zlib

import browser
import rig

MESSAGE = """From: news@example.org
To: %s
Subject: Spring
X-Rekindle-Campaign: %s
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<html><body><p><a href="https://shop.example/spring">Spring</a></p></body></html>
"""
STREAMS = {"weekly": {"match_sender_domain": "example.org", "stream_title": "Weekly & more"}}
ONE_CLICK = b"List-Unsubscribe=One-Click"
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}


def tagged(r, to, campaign="spring"):
	"""What the milter makes of one message, and that it was sent; its unsubscribe, click and pixel URLs."""
	done = r.cli("tag", "--from", "news@example.org", "--to", to, "--client", "127.0.0.1", input=MESSAGE % (to, campaign))
	assert done.code == 0, done
	mail = rig.Mail("news@example.org", [to], done.out.replace("\n", "\r\n").encode(), "", "")
	sent = {"type": "sent", "address": to, "stream": "weekly", "campaign": campaign, "tracked": True}
	assert r.cli("import", input=json.dumps(sent)).code == 0
	page = mail.text()
	return re.search(r"<(http[^>]*)>", mail.header("List-Unsubscribe"))[1], rig.tracked(page)[0], rig.pixel(page)


def left(r, to):
	"""Is this recipient unsubscribed from weekly?"""
	streams = {s["stream"]: s for s in r.cli("why", to, "--json").json["subscriptions"]}
	return bool(streams.get("weekly", {}).get("unsubscribed"))


def preferences(r, leave):
	page = r.get(leave).body.decode()
	return urllib.parse.urljoin(leave, re.search(r'href="(\.\./p/[\w-]+)"', page)[1])


def choose(r, url, choice, **more):
	body = urllib.parse.urlencode(dict(more, choice=choice)).encode()
	return r.get(url, method="POST", headers=URLENCODED, body=body)


def colours(png):
	"""How many different rows of pixels a picture has: a blank page has one."""
	at, data = 8, b""
	while at < len(png):
		length, kind = struct.unpack(">I4s", png[at:at + 8])
		if kind == b"IHDR":
			width, height, depth, colour = struct.unpack(">IIBB", png[at + 8:at + 18])
		if kind == b"IDAT":
			data += png[at + 8:at + 8 + length]
		at += 12 + length
	raw = zlib.decompress(data)
	row = len(raw) // height
	return len({raw[i:i + row] for i in range(0, len(raw), row)})


TEXTS = {
	"en": ("Unsubscribe", "You are unsubscribed", "You are subscribed again"),
	"de": ("Abmelden", "Sie sind abgemeldet", "Sie sind wieder angemeldet"),
	"mk": ("Одјава", "Одјавени сте", "Повторно сте пријавени"),
	"zh": ("退订", "您已退订", "您已重新订阅"),
}


def test_in_a_browser():
	"""Mouse and keyboard, four languages, scripts switched off; what the page says is in the store."""
	if not browser.program():
		print("skipped: there is no chromium here", flush=True)
		return
	with rig.Rig(streams=STREAMS) as r:
		r.start_tracker()
		leave = tagged(r, "ann@example.com")[0]
		with browser.Browser() as b:
			b.call("Emulation.setScriptExecutionDisabled", value=True)
			for language, (ask, done, again) in TEXTS.items():
				b.open(leave, languages=language + ",en;q=0.1")
				assert b.title() == ask, b.title()
				assert b.run("document.documentElement.lang").startswith(language)
				assert "Weekly & more" in b.text()
				# The style sheet came, and nothing from anywhere else was asked for.
				assert b.run("getComputedStyle(document.querySelector('button')).minHeight") == "54px"
				asked = {urllib.parse.urlsplit(url).netloc for url in b.requests()}
				assert asked <= {"127.0.0.1:%d" % r.http_port}, asked
				assert colours(b.screenshot()) > 50
				assert not left(r, "ann@example.com"), "looking at a page unsubscribes"

				# By mouse in two of them, by keyboard in the others: the first stop is the button.
				if language in ("en", "mk"):
					b.click("button")
				else:
					b.press("Tab")
					assert b.focused() == ask, b.focused()
					outline = b.run("getComputedStyle(document.activeElement).outlineStyle")
					assert outline == "solid", outline
					b.press("Enter", loads=True)
				assert b.title() == done, b.title()
				assert left(r, "ann@example.com")
				# And back, at once: in the same second more often than not.
				b.click("button")
				assert b.title() == again, b.title()
				assert not left(r, "ann@example.com")

			# Narrow and dark: nothing sticks out.
			b.size(320, 640, dark=True)
			b.open(leave)
			b.click("footer a")
			assert b.title() == "What would you like to get?"
			assert b.run("document.documentElement.scrollWidth") <= 320
			assert colours(b.screenshot()) > 50
			# Every button has a name and a description that is there.
			assert b.run("[...document.querySelectorAll('button')].every(x => x.innerText && "
				"document.getElementById(x.getAttribute('aria-describedby')))")
			b.click("button[value=less]")
			assert "less often" in b.title()
			said = {s["stream"]: s for s in r.cli("why", "ann@example.com", "--json").json["subscriptions"]}
			assert said["weekly"]["less"], said


def test_choices():
	"""Every button, by what `rekindle why` says afterwards."""
	with rig.Rig(streams=STREAMS, settings={"answer_within": "10s"}) as r:
		r.start_tracker()
		leave = tagged(r, "ann@example.com")[0]
		prefer = preferences(r, leave)
		assert choose(r, prefer, "less").status == 200
		why = r.cli("why", "ann@example.com")
		assert "Wants less of" in why.out and "engaged: " in why.out, why
		assert choose(r, prefer, "keep").status == 200
		assert "Wants less of" not in r.cli("why", "ann@example.com").out
		answer = choose(r, prefer, "stop-all")
		assert answer.status == 200 and "from everything" in answer.body.decode()
		assert "unsubscribed" in r.cli("why", "ann@example.com").out
		# Back: the form of the page that was just shown.
		fields = dict(re.findall(r'name="(\w+)" value="([\w-]+)"', answer.body.decode()))
		assert fields["choice"] == "undo-all" and fields["after"].isdigit(), fields
		again = choose(r, prefer, fields["choice"], after=fields["after"])
		assert again.status == 200 and "subscribed again" in again.body.decode()
		assert r.cli("why", "ann@example.com", "--json").json["status"] == "ok"
		# What nobody understands changes nothing.
		assert choose(r, prefer, "maybe").status == 400
		assert not left(r, "ann@example.com")
		for name in ("Location", "Set-Cookie"):
			assert name not in again.headers and name not in answer.headers


def template(text):
	"""A whole template out of the English one."""
	with open(os.path.join(rig.TOP, "conf", "pages", "en.html"), encoding="utf-8") as f:
		return f.read().replace("You are unsubscribed", text)


def test_templates_of_ones_own():
	with rig.Rig(streams=STREAMS) as r:
		pages = os.path.join(r.dir, "pages")
		os.mkdir(pages)

		def write(name, text):
			with open(os.path.join(pages, name), "w", encoding="utf-8") as f:
				f.write(text)

		write("fr.html", template("C'est fini").replace('lang="en"', 'lang="fr"'))
		write(".fr.html.swp", "{{nonsense}}")
		r.write_conf(pages_dir=pages, pages_language="fr")
		r.start_tracker()
		leave = tagged(r, "ann@example.com")[0]

		def says(text, languages="de"):
			page = r.get(leave, method="POST", headers=dict(URLENCODED, **{"Accept-Language": languages}), body=ONE_CLICK)
			assert page.status == 200
			return text in page.body.decode()

		assert says("C'est fini")
		assert b"min-height" in r.get(urllib.parse.urljoin(leave, "../style.css")).body  # the usual one

		# A template with a mistake: said with file and line, by the check and by a reload, which keeps what there was.
		write("de.html", template("Aus").replace("<main>", "<main>\n{{name}}"))
		write("style.css", "button { min-height: 77px }")
		check = r.cli("conf", "--check")
		assert check.code == 3 and re.search(r"pages/de\.html:\d+: \{\{name\}\} is not known", check.err), check
		r.tracker.signal(1)
		r.tracker.wait_log(r"pages/de\.html:\d+: \{\{name\}\} is not known")
		r.tracker.wait_log("the old ones stay")
		assert says("C'est fini")

		write("de.html", template("Aus"))
		assert r.cli("conf", "--check").code == 0
		r.tracker.signal(1)
		r.tracker.wait_log("settings: reloaded")
		rig.wait_until(lambda: says("Aus"))
		assert says("C'est fini", "it"), "the default language"
		assert b"77px" in r.get(urllib.parse.urljoin(leave, "../style.css")).body

		# It does not start with what it would not take on reload.
		os.unlink(os.path.join(pages, "fr.html"))
		r.tracker.stop()
		r.tracker.spawn()
		assert r.tracker.process.wait(30) == 1
		assert "there is no fr.html in pages_dir; there are de" in r.tracker.log_now()
		r.tracker.process = None


def test_a_stopped_campaign():
	with rig.Rig(streams=dict(STREAMS, other={"match_header": "X-Other"})) as r:
		r.start_tracker()
		leave, click, pixel = tagged(r, "ann@example.com", "spring")
		other = tagged(r, "bob@example.com", "autumn")[1]
		assert r.get(click).status == 302
		assert r.cli("campaign", "stop", "winter").code == 1
		stopped = r.cli("campaign", "stop", "spring")
		assert stopped.code == 0 and "stopped" in stopped.out, stopped
		assert r.cli("campaign", "stop", "spring", "--stream", "weekly").code == 1  # already

		def warns():
			answer = r.get(click, headers={"Accept-Language": "de"})
			return answer.status == 403 and "abgeschaltet" in answer.body.decode() and answer.location is None

		assert warns()  # at once
		assert r.get(other).status == 302, "another campaign"
		assert r.get(pixel).status == 200
		shown = r.cli("campaign", "show", "spring", "--json").json
		assert shown["links_stopped"], shown
		assert "Links are stopped" in r.cli("campaign", "show", "spring").out
		listed = r.cli("campaign").out.splitlines()
		assert [line.endswith(" stopped") for line in listed if line.startswith("spring ")] == [True], listed
		assert [bool(row["links_stopped"]) for row in r.cli("campaign", "--json").json if row["name"] == "spring"] == [True]
		refused = r.cli("campaign", "start", "spring", "--machines")
		assert refused.code == 2 and "campaign start: --machines belongs to" in refused.err, refused

		# It is a fact: the sums may be lost.
		r.tracker.stop()
		for name in os.listdir(r.data_dir):
			if name.startswith("state.mdb"):
				os.unlink(os.path.join(r.data_dir, name))
		r.start_tracker()
		assert warns()
		assert r.get(leave, method="POST", headers=URLENCODED, body=ONE_CLICK).status == 200
		assert left(r, "ann@example.com")
		assert r.cli("campaign", "start", "spring").code == 0
		assert r.get(click).status == 302
		assert r.cli("campaign", "show", "spring", "--json").json["links_stopped"] is None


if __name__ == "__main__":
	rig.main(globals())
