"""browser.py -- a headless Chromium, spoken to through a pipe (the DevTools protocol).

	with browser.Browser() as b:
		b.open(url, languages="de-AT,de")
		b.text()                    # what the page says, as a reader sees it
		b.press("Tab"); b.press("Enter")
		b.click("button.second")
		b.screenshot("/tmp/page.png")

Nothing but Debian's chromium; a directory of its own for its profile.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

# The browser reads commands on descriptor 3 and answers on 4, each message ended by a NUL.
START = """
import os, sys
for fd, given in zip((3, 4), [os.dup(int(fd)) for fd in sys.argv[1:3]]):
	os.dup2(given, fd)
	os.set_inheritable(fd, True)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program():
	"""The path of the browser, or None."""
	return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
	def __init__(self, width=800, height=900):
		self.profile = tempfile.mkdtemp(prefix="rekindle-chromium.")
		ours_in, self.to = os.pipe()
		self.from_, ours_out = os.pipe()
		self.log = open(os.path.join(self.profile, "log"), "wb")
		command = [program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
			"--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe", "--hide-scrollbars",
			"--user-data-dir=" + self.profile, "--window-size=%d,%d" % (width, height), "about:blank"]
		self.process = subprocess.Popen([sys.executable, "-c", START, str(ours_in), str(ours_out), *command],
			stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, pass_fds=[ours_in, ours_out],
			env=dict(os.environ, HOME=self.profile))
		os.close(ours_in)
		os.close(ours_out)
		self.held, self.number, self.events = b"", 0, []
		page = [t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page"][0]
		self.session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
		for domain in ("Page", "Network", "Runtime"):
			self.call(domain + ".enable")

	# -- the protocol --

	def _message(self, timeout=60):
		end = time.monotonic() + timeout
		while b"\0" not in self.held:
			if not select.select([self.from_], [], [], max(0, end - time.monotonic()))[0]:
				raise AssertionError("the browser does not answer")
			got = os.read(self.from_, 1 << 16)
			if not got:
				with open(self.log.name, errors="replace") as f:
					raise AssertionError("the browser is gone: " + f.read()[-2000:])
			self.held += got
		message, _, self.held = self.held.partition(b"\0")
		return json.loads(message)

	def _call(self, method, session=None, **params):
		self.number += 1
		message = {"id": self.number, "method": method, "params": params}
		if session:
			message["sessionId"] = session
		os.write(self.to, json.dumps(message).encode() + b"\0")
		while True:
			got = self._message()
			if got.get("id") == self.number:
				assert "error" not in got, (method, got["error"])
				return got["result"]
			self.events.append(got)

	def call(self, method, **params):
		return self._call(method, self.session, **params)

	def _wait(self, method):
		for i, event in enumerate(self.events):
			if event.get("method") == method:
				del self.events[:i + 1]
				return event["params"]
		while True:
			got = self._message()
			if got.get("method") == method:
				return got["params"]
			self.events.append(got)

	# -- hands and eyes --

	def open(self, url, languages="en"):
		self.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": languages})
		self.events.clear()
		self.call("Page.navigate", url=url)
		self._wait("Page.loadEventFired")

	def _then_loads(self, action):
		self.events.clear()
		action()
		self._wait("Page.loadEventFired")

	def run(self, script):
		"""The value of a JavaScript expression, evaluated by the tester: the page itself has no script."""
		got = self.call("Runtime.evaluate", expression=script, returnByValue=True)
		assert "exceptionDetails" not in got, got
		return got["result"].get("value")

	def text(self):
		return self.run("document.body.innerText")

	def title(self):
		return self.run("document.title")

	def focused(self):
		"""The text of what has the focus."""
		return self.run("document.activeElement === document.body ? '' : document.activeElement.innerText")

	def press(self, key, loads=False):
		codes = {"Tab": 9, "Enter": 13, " ": 32}

		def keys():
			for kind in ("keyDown", "keyUp"):
				self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
					**({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}))
		self._then_loads(keys) if loads else keys()

	def click(self, selector):
		"""With the mouse, in the middle of it; waits for the page that follows."""
		x, y = self.run("(r => [r.x + r.width / 2, r.y + r.height / 2])"
			"(document.querySelector(%s).getBoundingClientRect())" % json.dumps(selector))

		def mouse():
			for kind in ("mousePressed", "mouseReleased"):
				self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
		self._then_loads(mouse)

	def size(self, width, height, dark=False):
		self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
		self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

	def screenshot(self, file=None):
		"""PNG bytes, in a file too."""
		png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
		if file:
			with open(file, "wb") as f:
				f.write(png)
		return png

	def requests(self):
		"""URLs that were asked for since the page was opened."""
		return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

	def close(self):
		os.close(self.to)
		try:
			self.process.wait(5)
		except subprocess.TimeoutExpired:
			self.process.kill()
			self.process.wait()
		os.close(self.from_)
		self.log.close()
		shutil.rmtree(self.profile, ignore_errors=True)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()
