"""rekindle(1), every command, as people and scripts use it.

Binaries come from $REKINDLE_BUILD, by default the top of the source tree.
Every test has a directory, keys and a store of its own.
"""
import concurrent.futures
import csv
import datetime
import grp
import hmac
import io
import json
import os
import pathlib
import pty
import pwd
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("REKINDLE_BUILD", ROOT))
REKINDLE = BUILD / "rekindle"

FOUND, NOTHING, USAGE, CANNOT = 0, 1, 2, 3
COMMANDS = ["why", "segment", "series", "simulate", "campaign", "brakes", "suppress", "forget", "release", "consent", "tag", "token", "intake", "key",
    "import", "export", "conf"]

CONF = """lock_dir = {dir}/locks
data_dir = {dir}/data
key_file = {dir}/keys
tracking_url = https://t.example.org
privacy_profile = {profile}
{general}
[stream news]
match_header = X-Newsletter
enforce = on

[stream offers]
match_sender_domain = offers.example.org
several_recipients = leave

[stream receipts]
match_login = shop
transactional = yes

[policy]
holdout = 0
"""

MESSAGE = b"""From: News <news@example.org>\r
To: ann@example.org\r
Subject: Spring\r
X-Newsletter: yes\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<html><body>\r
<p>One</p>\r
<p><a href="https://shop.example.com/a?x=1&amp;y=2">Shop</a></p>\r
<p>Three</p>\r
<p>Four</p>\r
<p>Five</p>\r
<p>Six</p>\r
<p>Seven</p>\r
<p>Eight</p>\r
<p>Nine</p>\r
</body></html>\r
"""

LINK = "https://shop.example.com/a?x=1&y=2"


NOW = datetime.datetime.now(datetime.timezone.utc)
NOBODY = pwd.getpwnam("nobody")
needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")


def ago(days=0, **more):
    """The time so long ago, as import files have it; the same one each time."""
    then = NOW - datetime.timedelta(days=days, **more)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def days_since_start():
    """The dates that a command which ran just now may have seen: more than one around midnight."""
    then = NOW
    while then.date() <= datetime.datetime.now(datetime.timezone.utc).date():
        yield then.strftime("%Y-%m-%d")
        then += datetime.timedelta(days=1)


class Case(unittest.TestCase):
    profile = "classic"
    general = ""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rekindle-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.conf = self.dir / "rekindle.conf"
        self.write_conf()
        (self.dir / "data").mkdir()
        (self.dir / "locks").mkdir()
        self.run_ok("key", "new")

    def write_conf(self, profile=None, general=None):
        self.conf.write_text(CONF.format(dir=self.dir, profile=profile or self.profile,
                                         general=self.general if general is None else general))

    def rekindle(self, *args, stdin=b"", conf=None, user=None):
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        if isinstance(stdin, str):
            stdin = stdin.encode()
        # Another user may not get at the build directory.
        program = self.dir / "rekindle" if user else REKINDLE
        return subprocess.run([str(program), "-c", str(conf or self.conf), *args], input=stdin, user=user,
                              group=user and NOBODY.pw_gid, extra_groups=user and [],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=60)

    def give_away(self):
        """The data belongs to nobody, as it would belong to the daemons' user."""
        os.chmod(self.dir, 0o755)
        for name in "data", "locks":
            os.chown(self.dir / name, NOBODY.pw_uid, NOBODY.pw_gid)

    def check(self, status, *args, **more):
        p = self.rekindle(*args, **more)
        self.assertEqual(p.returncode, status, (args, p.stdout, p.stderr))
        for line in p.stderr.decode().splitlines():
            self.assertTrue(line.startswith("rekindle: "), line)
        return p

    def run_ok(self, *args, **more):
        return self.check(FOUND, *args, **more).stdout.decode()

    def wrong(self, status, pattern, *args, **more):
        p = self.check(status, *args, **more)
        self.assertRegex(p.stderr.decode(), pattern)
        return p

    def json(self, *args, status=FOUND, **more):
        return json.loads(self.check(status, *args, "--json", **more).stdout)

    def touches(self, *touches, status=FOUND):
        lines = "".join(json.dumps(t) + "\n" for t in touches)
        return self.check(status, "import", stdin=lines)

    def sends(self, address, days, **more):
        """One tracked message on each of these days ago."""
        self.touches(*[{"type": "sent", "address": address, "at": ago(d), **more} for d in days])

    def export(self):
        return [json.loads(line) for line in self.check(FOUND, "export").stdout.decode().splitlines()]


class Manners(Case):
    def test_version_and_help(self):
        self.assertRegex(self.run_ok("--version"), r"^rekindle \d+\.\d+\.\d+\n$")
        text = self.run_ok("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} +\w")
            for flag in "-h", "--help":
                self.assertTrue(self.run_ok(command, flag).startswith(f"usage: rekindle {command} "))

    def test_the_manual_has_all_commands(self):
        self.assertEqual(COMMANDS, re.findall(r"(?m)^  ([a-z]+) +\w", self.run_ok("--help")))
        with open(pathlib.Path(__file__).parents[2] / "man/rekindle.1") as f:
            synopsis, commands = re.search(r"(?ms)^\.Sh SYNOPSIS$(.*?)^\.Sh DESCRIPTION$.*?^\.Sh COMMANDS$(.*?)^\.Sh ", f.read()).groups()
        for command in COMMANDS:
            self.assertRegex(synopsis, rf"(?m)^\.Cm {command}\b")
            self.assertRegex(commands, rf"(?m)^\.Ss {command}\b")

    def test_help_needs_no_settings(self):
        self.check(FOUND, "why", "--help", conf="/nonexistent")
        self.check(FOUND, "conf", "--sample", conf="/nonexistent")

    def test_wrong_usage_is_told_in_one_line(self):
        for args, pattern in [
            ((), "which command"),
            (("wy",), 'did you mean "why"'),
            (("zzzzzz",), "no command"),
            (("--nope", "why"), "unknown option --nope"),
            (("why",), "usage: rekindle why ADDRESS"),
            (("why", "a@b.example", "c@d.example"), "one address"),
            (("why", "nonsense"), "not an address"),
            (("why", "a@b.example", "--stream"), "needs a value"),
            (("why", "a@b.example", "--steam", "x"), "did you mean --stream"),
            (("why", "a@b.example", "--stream", "newz"), 'did you mean "news"'),
            (("segment", "size"), "usage: rekindle segment"),
            (("segment", "export"), "which class"),
            (("segment", "export", "hot"), "one of new, engaged, semi-engaged, inactive"),
            (("segment", "export", "new", "--format", "xml"), "one of csv, spreadsheet, json, text"),
            (("segment", "export", "new", "--status", "odd"), "one of ok"),
            (("segment", "--format", "csv"), "belong to `segment export`"),
            (("series", "show"), 'what is "show"'),
            (("series", "export", "now"), 'what is "now"'),
            (("series", "results", "--step", "1"), "belong to `series export`"),
            (("series", "export", "--step", "4"), "one of 1, 2, 3, win-back"),
            (("series", "export", "--step", "1", "--status", "resting"), "not both"),
            (("series", "export", "--status", "ok"), "one of resting"),
            (("series", "export", "--format", "xml"), "one of csv, spreadsheet, json, text"),
            (("series", "export", "--on", "soon"), "not a date"),
            (("series", "export", "--on", "2020-01-01"), "in the past"),
            (("campaign", "report"), "usage"),
            (("campaign", "show"), "one name"),
            (("suppress",), "one of add, remove, list, show, export, import"),
            (("suppress", "add"), "which address"),
            (("suppress", "add", "a@b.example", "--as", "rude"), "one of held"),
            (("suppress", "add", "a@b.example", "--as", "bounced", "--stream", "news"), "only held and unsubscribed"),
            (("suppress", "add", "a@b.example", "--as", "bounced", "--for", "30d"), "only a hold ends"),
            (("suppress", "add", "a@b.example", "--until", "2026-01-31"), "over already"),
            (("suppress", "add", "a@b.example", "--until", "soon"), "not a date"),
            (("suppress", "add", "a@b.example", "--for", "soon"), "no time to wait"),
            (("suppress", "add", "a@b.example", "--for", "1d", "--until", "2099-01-31"), "not both"),
            (("suppress", "add", "a@b.example", "--reason", "a\nb"), "one line"),
            (("suppress", "add", "a@b.example", "--cause", "held"), "takes --stream, --reason"),
            (("suppress", "remove", "a@b.example", "--reason", "held"), "belongs to add"),
            (("suppress", "remove", "a@b.example", "--for", "1d"), "belongs to add"),
            (("suppress", "list", "x"), "nothing else"),
            (("suppress", "list", "--cause", "rude"), "one of held"),
            (("suppress", "list", "--csv", "--json"), "not both"),
            (("suppress", "show"), "one address"),
            (("suppress", "import", "a", "b"), "one file"),
            (("suppress", "import", "-", "--as", "rude"), "one of held"),
            (("suppress", "import", "-", "--at", "soon"), "no date"),
            (("forget",), "whom"),
            (("forget", "a@b.example"), "nobody to ask"),
            (("export", "--person", "a@b.example", "--type", "open"), "without --since"),
            (("consent",), "one of grant, deny, reset, show"),
            (("consent", "ask", "a@b.example"), "one of grant, deny, reset, show"),
            (("consent", "deny"), "which address"),
            (("consent", "grant", "a@b.example", "--at", "soon"), "not a date"),
            (("consent", "grant", "a@b.example", "--at", "2999-01-01"), "in the future"),
            (("consent", "grant", "a@b.example", "--note", "two\nlines"), "one line"),
            (("consent", "grant", "a@b.example", "--note", b"latin \xfc"), "UTF-8"),
            (("consent", "grant", "a@b.example", "--note", "x" * 248), "at most 247 bytes"),
            (("consent", "show"), "one address"),
            (("consent", "show", "a@b.example", "--opens"), "nothing else"),
            (("consent", "show", "nonsense"), "not an address"),
            (("token",), "one token"),
            (("key",), "one of new, rotate, list"),
            (("key", "destroy"), "one of new, rotate, list"),
            (("import", "a", "b"), "one file"),
            (("export", "x"), "writes to standard output"),
            (("export", "--since", "soon"), "not a date"),
            (("export", "--type", "smiled"), "one of sent"),
            (("tag", "--diff", "--json"), "--diff alone"),
            (("tag", "--diff", "--explain"), "--diff alone"),
            (("consent", "import", "a", "b"), "one file"),
            (("consent", "import", "--opens"), "one file"),
            (("tag", "--diff=yes"), "takes no value"),
            (("segment", "--json=yes"), "segment: --json takes no value"),
            (("segment", "-json"), "unknown option -json, did you mean --json"),
            (("tag", "--stream", "newz"), 'did you mean "news"'),
            (("conf", "--check", "--sample"), "not both"),
            (("suppress", "add", "a@b.example", "--stream", "news", "--stream=offers"), "--stream is there twice"),
            (("segment", "export", "all", "--format", "text", "--json"), "not both"),
            (("series", "export", "--json", "--format", "csv"), "not both"),
            (("simulate", "--list", "--json"), "is CSV"),
            *[(command + ("--stream", "newz"), 'there is no stream "newz"; did you mean "news"') for command in (
                ("campaign", "show", "x"), ("campaign", "stop", "x"), ("campaign", "start", "x"), ("brakes", "stop", "x"),
                ("brakes", "release", "x"), ("segment", "export", "all"), ("series", "export"), ("simulate",), ("suppress", "add", "a@b.example"),
                ("suppress", "remove", "a@b.example"), ("suppress", "list"), ("suppress", "import", "-"))],
        ]:
            with self.subTest(args=args):
                p = self.wrong(USAGE, pattern, *args)
                self.assertEqual(len(p.stderr.splitlines()), 1, p.stderr)
                self.assertEqual(p.stdout, b"")

    def test_usage_is_of_what_was_asked_for(self):
        p = self.wrong(USAGE, "usage: rekindle suppress add ADDRESS", "suppress", "add", "a@b.example", "--for", "soon")
        self.assertNotIn("remove", p.stderr.decode())
        p = self.wrong(USAGE, r"usage: rekindle consent grant\|deny\|reset ADDRESS", "consent", "deny")
        self.assertNotIn("import", p.stderr.decode())
        p = self.wrong(USAGE, "`rekindle suppress -h` says what there is", "suppress", "ad")
        self.assertNotIn("usage:", p.stderr.decode())
        out = self.run_ok("suppress", "-h")
        self.assertRegex(out, r"(?m)^usage: rekindle suppress add ADDRESS.* \[--until DATE \| --for DURATION\]$")
        self.assertRegex(out, r"(?m)^       rekindle suppress show ADDRESS \[--json\]$")

    def test_global_options_go_anywhere(self):
        self.sends("ann@example.org", [1])
        for args in [["-c", self.conf, "--json", "why", "ann@example.org"],
                     ["why", "ann@example.org", "--json", "-c", self.conf],
                     ["why", f"-c{self.conf}", "--json", "--", "ann@example.org"]]:
            p = subprocess.run([str(REKINDLE), *map(str, args)], stdout=subprocess.PIPE, timeout=60)
            self.assertEqual(p.returncode, FOUND, args)
            self.assertEqual(json.loads(p.stdout)["address"], "ann@example.org")
        p = subprocess.run([str(REKINDLE), "why", "-c"], stderr=subprocess.PIPE, timeout=60)
        self.assertEqual((p.returncode, p.stderr[:25]), (USAGE, b"rekindle: -c needs a file"))

    def test_what_is_missing_is_named(self):
        self.wrong(CANNOT, "/nonexistent", "segment", conf="/nonexistent")
        shutil.rmtree(self.dir / "data")
        self.wrong(CANNOT, r"rekindle\.conf:2: data_dir: .*/data: No such file or directory; make it", "segment")
        (self.dir / "keys").unlink()
        self.wrong(CANNOT, "rekindle key new", "segment")

    def test_a_full_output_is_an_error(self):
        self.sends("ann@example.org", [1])
        with open("/dev/full", "wb") as full:
            p = subprocess.run([str(REKINDLE), "-c", str(self.conf), "segment"], stdout=full,
                               stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(p.returncode, CANNOT)
        self.assertIn(b"cannot write the answer", p.stderr)

    def on_terminal(self, *args, **env):
        """Standard output and error of a command that runs on a terminal, as one text."""
        master, slave = pty.openpty()
        with os.fdopen(master, "rb", buffering=0) as terminal:
            p = subprocess.Popen([str(REKINDLE), "-c", str(self.conf), *args], stdin=subprocess.DEVNULL,
                                 stdout=slave, stderr=slave,
                                 env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **env})
            os.close(slave)
            out = b""
            try:
                while chunk := terminal.read(4096):
                    out += chunk
            except OSError:  # Linux says so at the end of a terminal
                pass
            self.assertEqual(p.wait(timeout=60), FOUND, out)
        return out.decode()

    def test_colour_is_for_terminals_only(self):
        self.sends("ann@example.org", [1])
        self.assertIn("\033[1m", self.on_terminal("why", "ann@example.org"))
        self.assertNotIn("\033", self.on_terminal("why", "ann@example.org", NO_COLOR="1"))
        self.assertNotIn("\033", self.on_terminal("why", "ann@example.org", TERM="dumb"))
        self.assertNotIn("\033", self.run_ok("why", "ann@example.org"))

    def test_import_shows_its_progress_on_a_terminal(self):
        file = self.dir / "in.jsonl"
        file.write_text('{"type":"sent","address":"a@b.example"}\n' * 64)
        out = self.on_terminal("import", str(file))
        self.assertRegex(out, r"\[#+ *\] +\d+ %  64 lines, \d+/s")
        self.assertIn("imported 64 touches from 64 lines", out)

    def test_what_cannot_be_read_is_told_with_its_setting(self):
        for setting in "agents_file", "networks_file", "receivers_file", "pages_dir":
            self.write_conf(general=f"\n{setting} = /nonexistent\n")
            self.wrong(CANNOT, rf"rekindle\.conf:7: {setting}: /nonexistent: No such file or directory$", "conf", "--check")
        pages = self.dir / "pages"
        pages.mkdir()
        for setting, file in ("agents_file", self.dir / "agents"), ("networks_file", self.dir / "networks"), \
                ("receivers_file", self.dir / "receivers"), ("pages_dir", pages / "en.html"):
            file.write_text("# a comment\n{{nonsense}}\n")
            self.write_conf(general=f"{setting} = {pages if setting == 'pages_dir' else file}\n")
            self.wrong(CANNOT, rf"rekindle: {self.conf}:6: {setting}: {file}:2: .*nonsense", "conf", "--check")
        self.write_conf(general="receiver_limit = google 5/1h, gogle 5/1h\n")
        line = 1 + self.conf.read_text().splitlines().index("receiver_limit = google 5/1h, gogle 5/1h")
        self.wrong(CANNOT, rf"rekindle\.conf:{line}: receiver_limit: there is no group `gogle'", "conf", "--check")
        self.write_conf(general="receiver_limit = google 5/1m, GOOGLE 50/1h\n")
        self.wrong(CANNOT, rf"rekindle\.conf:{line}: receiver_limit: two limits for `GOOGLE', of which only one could hold", "conf", "--check")
        self.write_conf(general="pages_language = fr\n")
        self.wrong(CANNOT, r"rekindle\.conf:6: pages_language: there is no fr\.html among the built-in pages; there are en, de, mk, zh", "conf", "--check")

    def test_one_is_one(self):
        p = self.touches({"type": "open", "address": "ann@b.example", "at": ago(0)})
        self.assertEqual(p.stdout.decode(), "imported 1 touch from 1 line\n")
        text = self.run_ok("why", "ann@b.example")
        self.assertRegex(text, r"By a person +1 open, 0 clicks\n")
        self.assertIn("last opened today, on", text)

    def test_import_into_a_full_store_names_where_to_go_on(self):
        lines = ['{"type":"joined","address":"a%d@b.example"}\n' % i for i in range(30000)]
        self.write_conf(general="facts_size = 1M\n")
        p = self.rekindle("import", stdin="".join(lines))
        self.assertEqual(p.returncode, CANNOT, p)
        found = re.search(r"stopped: from line (\d+) on nothing is imported; (\d+) touches before it are", p.stderr.decode())
        first = int(found[1])
        self.assertEqual(first, int(found[2]) + 1)
        self.assertEqual(len(self.export()), first - 1)
        self.write_conf(general="facts_size = 64M\n")
        self.check(FOUND, "import", stdin="".join(lines[first - 1:]))
        self.assertEqual(len({t["address"] for t in self.export()}), len(lines))

    def test_control_bytes_of_strangers_reach_no_terminal(self):
        self.wrong(NOTHING, r"\\x1b\[31m", "campaign", "show", "\x1b[31mred")

    def test_what_turns_text_around_reaches_no_terminal(self):
        def escaped(c):
            return "".join(f"\\x{b:02x}" for b in c.encode())

        controls = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        beside = "\u061b\u061d\u200d\u2010\u2029\u202f\u2065\u206aאب\U0001f600"
        name = "".join(f"<{c}>" for c in controls + beside)
        self.touches({"type": "sent", "address": "a@b.example", "campaign": name})
        shown = "".join(f"<{escaped(c)}>" for c in controls) + "".join(f"<{c}>" for c in beside)
        self.assertEqual(self.run_ok("campaign", "show", name).split("\n")[0], shown)
        self.assertEqual(self.json("campaign")[0]["name"], name)

    @needs_root
    def test_root_leaves_files_that_the_daemons_can_open(self):
        self.give_away()
        source = self.dir / "private.jsonl"
        source.write_text(json.dumps({"type": "sent", "address": "ann@example.org"}) + "\n")
        os.chmod(source, 0o600)
        self.run_ok("import", str(source))
        made = list((self.dir / "data").iterdir())
        self.assertTrue(made)
        self.assertEqual({f.stat().st_uid for f in made}, {NOBODY.pw_uid})


class Conf(Case):
    def test_effective_settings_read_back_to_the_same(self):
        text = self.run_ok("conf")
        self.assertIn("[stream news]", text)
        again = self.dir / "again.conf"
        again.write_text(text)
        self.assertEqual(self.check(FOUND, "conf", conf=again).stdout.decode(), text)

    def test_json(self):
        o = self.json("conf")
        self.assertEqual(o["privacy_profile"], "classic")
        self.assertEqual(o["streams"]["news"]["match_header"], "X-Newsletter")
        self.assertIn("engaged_days", o["policy"])

    def test_check(self):
        self.assertIn("good", self.run_ok("conf", "--check"))
        self.assertTrue(self.json("conf", "--check")["good"])
        self.write_conf(general="answer_wihtin = 1s\nmax_message = many")
        p = self.wrong(CANNOT, r"rekindle\.conf:6: .*answer_within", "conf", "--check")
        self.assertRegex(p.stderr.decode(), r"rekindle\.conf:7: ")
        self.wrong(CANNOT, r"rekindle\.conf:6: ", "conf")

    def test_check_looks_at_the_keys_too(self):
        (self.dir / "keys").write_text("identity 12\n")
        self.wrong(CANNOT, "keys:1: ", "conf", "--check")

    def test_check_looks_for_the_data(self):
        shutil.rmtree(self.dir / "data")
        (self.dir / "keys").write_text("identity 12\n")
        p = self.wrong(CANNOT, r"rekindle\.conf:2: data_dir: .*/data: No such file or directory; make it", "conf", "--check")
        self.assertRegex(p.stderr.decode(), "keys:1: ")
        (self.dir / "data").write_text("")
        self.wrong(CANNOT, r"rekindle\.conf:2: data_dir: .*/data: not a directory", "conf", "--check")

    @needs_root
    def test_check_reads_as_the_daemons_do(self):
        self.give_away()
        keys = self.dir / "keys"
        group = grp.getgrgid(NOBODY.pw_gid).gr_name
        p = self.wrong(CANNOT, rf"{keys}: Permission denied for user nobody; chgrp {group} and chmod 0640$",
                       "conf", "--check")
        self.assertEqual(len(p.stderr.splitlines()), 1, p.stderr)
        shutil.chown(keys, group=group)
        self.assertIn("good", self.run_ok("conf", "--check"))
        # Given to the user alone: a service would have that user's group, and not root's.
        os.chown(self.dir / "data", NOBODY.pw_uid, 0)
        os.chown(keys, 0, 0)
        os.chmod(keys, 0o600)
        self.wrong(CANNOT, rf"{keys}: Permission denied for user nobody; chgrp {group} \(data_dir too\) and chmod 0640$", "conf", "--check")
        os.chmod(keys, 0o640)
        shutil.chown(keys, group=group)
        shutil.chown(self.dir / "data", group=group)
        self.assertIn("good", self.run_ok("conf", "--check"))
        os.chmod(self.conf, 0o600)
        self.wrong(CANNOT, rf"{self.conf}: Permission denied for user nobody$", "conf", "--check")
        self.write_conf(general="answer_wihtin = 1s")
        p = self.wrong(CANNOT, rf"{self.conf}: Permission denied for user nobody", "conf", "--check")
        self.assertRegex(p.stderr.decode(), r"rekindle\.conf:6: .*answer_within")
        self.write_conf()
        os.chmod(self.conf, 0o644)
        os.chmod(self.dir / "data", 0o500)
        self.wrong(CANNOT, r"rekindle\.conf:2: data_dir: .*/data: Permission denied", "conf", "--check")
        os.chmod(self.dir / "data", 0o700)
        os.chmod(self.dir, 0o700)
        self.wrong(CANNOT, r"Permission denied", "conf", "--check")

    @needs_root
    def test_check_looks_at_certificates_and_the_access_log(self):
        self.give_away()
        shutil.chown(self.dir / "keys", group=grp.getgrgid(NOBODY.pw_gid).gr_name)
        cert, key, log = self.dir / "cert", self.dir / "tlskey", self.dir / "data" / "log"
        self.write_conf(general=f"tls_cert = {cert}\ntls_key = {key}\naccess_log = {log}")
        key.write_text("")
        os.chmod(key, 0o600)
        p = self.wrong(CANNOT, rf"rekindle\.conf:7: tls_key: {key}: Permission denied for user nobody", "conf", "--check")
        self.assertRegex(p.stderr.decode(), rf"rekindle\.conf:6: tls_cert: {cert}: No such file or directory")
        self.assertNotIn("access_log", p.stderr.decode())
        cert.write_text("")
        os.chmod(key, 0o644)
        self.assertIn("good", self.run_ok("conf", "--check"))
        self.assertFalse(log.exists())
        log.write_text("")
        os.chmod(log, 0o600)
        os.chown(log, 0, 0)
        self.wrong(CANNOT, rf"rekindle\.conf:8: access_log: {log}: Permission denied for user nobody", "conf", "--check")
        self.write_conf(general="access_log = /nonexistent/log")
        self.wrong(CANNOT, r"rekindle\.conf:6: access_log: /nonexistent/log: No such file or directory; make its directory", "conf", "--check")

    @needs_root
    def test_check_tells_where_the_locks_will_not_be(self):
        self.give_away()
        shutil.chown(self.dir / "keys", group=grp.getgrgid(NOBODY.pw_gid).gr_name)
        locks = self.dir / "locks"
        self.assertEqual(self.check(FOUND, "conf", "--check").stderr, b"")
        self.assertEqual(os.listdir(locks), [])
        said = rf"^rekindle: {self.conf}:1: lock_dir: locks will be in data_dir, where .*: {locks}: "
        os.chown(locks, 0, 0)
        # The daemons start all the same.
        self.assertIn("good", self.wrong(FOUND, said + "Permission denied for user nobody$", "conf", "--check").stdout.decode())
        locks.rmdir()
        self.wrong(FOUND, said + "No such file or directory; make it, owned by the user that the daemons run as$", "conf", "--check")
        locks.write_text("")
        self.wrong(FOUND, said + "Not a directory$", "conf", "--check")

    def test_sample_is_a_file_that_only_lacks_what_is_required(self):
        sample = self.run_ok("conf", "--sample")
        for name in "data_dir", "key_file", "tracking_url", "privacy_profile", "http_listen", "milter_socket":
            self.assertRegex(sample, rf"(?m)^#? ?{name} =")


@needs_root
class Others(Case):
    """Neither root nor the daemons' user."""

    def setUp(self):
        super().setUp()
        shutil.copy(REKINDLE, self.dir / "rekindle")
        os.chmod(self.dir, 0o755)
        os.chmod(self.dir / "data", 0o750)

    def test_who_is_refused_is_told_who_is_not(self):
        daemon = pwd.getpwnam("daemon")
        os.chown(self.dir / "data", daemon.pw_uid, daemon.pw_gid)
        os.chown(self.dir / "keys", 0, daemon.pw_gid)
        hint = r"rekindle: run it as root, or as the owner of data_dir \(daemon\)\n$"
        for args in ["why", "a@b.example"], ["segment"], ["key", "list"], ["conf", "--check"], ["tag"]:
            p = self.wrong(CANNOT, hint, *args, user=NOBODY.pw_uid)
            self.assertEqual(p.stderr.count(b"run it as root"), 1, p.stderr)
        refused = "cannot make .*: Permission denied; run it as root"
        self.wrong(CANNOT, refused, "key", "rotate", user=NOBODY.pw_uid)
        (self.dir / "keys").unlink()
        self.wrong(CANNOT, refused, "key", "new", user=NOBODY.pw_uid)

    def test_the_store_alone_is_closed(self):
        os.chown(self.dir / "keys", 0, NOBODY.pw_gid)
        self.wrong(CANNOT, r"Permission denied\nrekindle: run it as root\n$", "segment", user=NOBODY.pw_uid)

    @needs_root
    def test_a_file_of_the_store_that_root_left_behind(self):
        self.give_away()
        shutil.chown(self.dir / "keys", group=NOBODY.pw_gid)
        (self.dir / "data" / "state.mdb").touch(mode=0o600)
        self.wrong(CANNOT, r"state\.mdb: Permission denied\n"
                   rf"rekindle: what is in {self.dir}/data has to belong to the owner of that directory; chown it\n$", "segment")
        said = rf"^rekindle: {self.conf}:2: data_dir: {self.dir}/data/state\.mdb: Permission denied; what is in data_dir .* chown it\n$"
        self.wrong(CANNOT, said, "conf", "--check")
        self.wrong(CANNOT, said, "conf", "--check", user=NOBODY.pw_uid)
        self.wrong(CANNOT, r"state\.mdb: Permission denied\nrekindle: run it as root, or see .rekindle conf --check.: ", "segment", user=NOBODY.pw_uid)
        os.chown(self.dir / "data" / "state.mdb", NOBODY.pw_uid, NOBODY.pw_gid)
        self.run_ok("conf", "--check")

    def test_settings_that_nobody_may_read(self):
        os.chmod(self.conf, 0o600)
        self.wrong(CANNOT, r"Permission denied\nrekindle: run it as root, or as the owner of data_dir\n$", "segment",
                   user=NOBODY.pw_uid)

    def test_the_owner_is_welcome(self):
        self.give_away()
        shutil.chown(self.dir / "keys", group=NOBODY.pw_gid)
        self.check(NOTHING, "segment", user=NOBODY.pw_uid)
        self.assertIn("good", self.check(FOUND, "conf", "--check", user=NOBODY.pw_uid).stdout.decode())

    def test_the_owner_knows_what_root_could_know(self):
        self.give_away()
        os.chown(self.dir / "locks", 0, 0)
        shutil.chown(self.dir / "keys", group=NOBODY.pw_gid)
        p = self.wrong(FOUND, rf"^rekindle: {self.conf}:1: lock_dir: .*/locks: Permission denied for user nobody\n$", "conf", "--check",
                       user=NOBODY.pw_uid)
        self.assertIn("good", p.stdout.decode())
        os.chown(self.dir / "keys", 0, 0)
        p = self.wrong(CANNOT, r"/keys: Permission denied for user nobody; chgrp \w+ and chmod 0640\n", "conf", "--check", user=NOBODY.pw_uid)
        self.assertNotIn("run it as", p.stderr.decode())
        self.wrong(CANNOT, r"/keys: Permission denied\nrekindle: run it as root, or see .rekindle conf --check.: .* \(nobody\) should have access\n$",
                   "segment", user=NOBODY.pw_uid)
        os.chown(self.dir / "data", NOBODY.pw_uid, 0)
        self.wrong(CANNOT, rf"; chgrp {grp.getgrgid(NOBODY.pw_gid).gr_name} \(data_dir too\) and chmod 0640\n", "conf", "--check", user=NOBODY.pw_uid)
        # A third one can only be sent to them.
        os.chmod(self.dir / "data", 0o777)
        self.wrong(CANNOT, r"lock_dir.*\nrekindle: run it as root, or as the owner of data_dir \(nobody\)\n$", "conf", "--check",
                   user=pwd.getpwnam("daemon").pw_uid)


class Keys(Case):
    def test_new_never_overwrites(self):
        before = (self.dir / "keys").read_bytes()
        self.wrong(CANNOT, "exists and stays as it is", "key", "new")
        self.assertEqual((self.dir / "keys").read_bytes(), before)
        self.assertEqual((self.dir / "keys").stat().st_mode & 0o7777, 0o640)

    def test_new_needs_its_directory(self):
        self.conf.write_text(self.conf.read_text().replace(f"{self.dir}/keys", f"{self.dir}/no/keys"))
        self.wrong(CANNOT, "directory does not exist", "key", "new")

    @needs_root
    def test_new_before_there_is_a_data_dir(self):
        (self.dir / "keys").unlink()
        (self.dir / "data").rename(self.dir / "later")
        self.wrong(FOUND, rf"^rekindle: there is no data_dir {self.dir}/data yet, so only root can read {self.dir}/keys; .* chgrp the key file\n$",
                   "key", "new")
        (self.dir / "keys").unlink()
        (self.dir / "later").rename(self.dir / "data")
        os.chown(self.dir / "data", NOBODY.pw_uid, NOBODY.pw_gid)
        self.assertEqual(self.check(FOUND, "key", "new").stderr, b"")
        self.assertEqual((self.dir / "keys").stat().st_gid, NOBODY.pw_gid)

    def test_rotate_adds_a_sealing_key(self):
        os.chmod(self.dir / "keys", 0o600)
        self.run_ok("key", "rotate")
        text = (self.dir / "keys").read_text()
        self.assertEqual((self.dir / "keys").stat().st_mode & 0o7777, 0o600)
        self.assertFalse((self.dir / "keys.new").exists())
        keys = self.json("key", "list")
        self.assertEqual([k["id"] for k in keys], ["A", "B"])
        self.assertEqual([k["seals"] for k in keys], [False, True])
        self.assertIn(keys[1]["made"], days_since_start())
        listed = self.run_ok("key", "list")
        self.assertRegex(listed, r"(?m)^B  \d{4}-\d\d-\d\d  seals and opens$")
        secrets = re.findall("[0-9a-f]{64}", text)
        self.assertEqual(len(secrets), 3)
        for secret in secrets:
            self.assertNotIn(secret, listed + json.dumps(keys))

    def test_rotations_at_the_same_time_lose_no_key(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: self.rekindle("key", "rotate").returncode, range(12)))
        self.assertEqual(len(self.json("key", "list")), 1 + done.count(FOUND))
        self.assertGreater(done.count(FOUND), 0)

    def test_rotate_left_half_way(self):
        (self.dir / "keys.new").touch()
        self.wrong(CANNOT, "keys.new exists", "key", "rotate")
        (self.dir / "keys.new").unlink()
        (self.dir / "keys").write_text("rubbish\n")
        self.wrong(CANNOT, "line 1", "key", "rotate")
        self.assertFalse((self.dir / "keys.new").exists())
        self.assertEqual((self.dir / "keys").read_text(), "rubbish\n")
        (self.dir / "keys").unlink()
        self.wrong(CANNOT, "rekindle key new", "key", "rotate")

    def test_links_survive_a_rotation(self):
        url = Tokens.links(self)[0]
        self.run_ok("key", "rotate")
        self.assertEqual(self.json("token", url)["destination"], LINK)


class Why(Case):
    ADDRESS = "ann@example.org"

    def next(self, o, stream):
        return next(n for n in o["next"] if n["stream"] == stream)

    def test_unknown(self):
        p = self.check(NOTHING, "why", self.ADDRESS)
        self.assertIn("nobody of this address is known", p.stdout.decode())
        o = self.json("why", self.ADDRESS, status=NOTHING)
        self.assertEqual((o["known"], o["class"], o["status"]), (False, "new", "ok"))
        self.assertEqual({n["action"] for n in o["next"]}, {"send"})

    def test_new(self):
        self.sends(self.ADDRESS, [20, 13, 6])
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["class"], o["reason"], o["tracked_sends"], o["silent_sends"]), ("new", "grace", 3, 3))

    def test_engaged(self):
        self.sends(self.ADDRESS, [21, 14, 7])
        self.touches({"type": "open", "address": self.ADDRESS, "at": ago(6)})
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["class"], o["reason"], o["opens"]), ("engaged", "recent", 1))
        text = self.run_ok("why", self.ADDRESS)
        self.assertRegex(text, r"Last open +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(6 days ago\)")
        self.assertRegex(text, r"Class +engaged: ")
        self.assertRegex(text, r"news +is sent")
        self.assertNotIn("\033", text)

    def test_caps(self):
        self.touches({"type": "open", "address": self.ADDRESS, "at": ago(2)},
                     *[{"type": "sent", "address": self.ADDRESS, "at": ago(days=d, hours=1), "stream": "news"} for d in (0, 3, 8)],
                     {"type": "sent", "address": self.ADDRESS, "at": ago(hours=2), "stream": "receipts", "exempt": True})
        by_stream = {n["stream"]: n for n in self.json("why", self.ADDRESS)["next"]}
        news = by_stream["news"]
        free = (NOW + datetime.timedelta(hours=15)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.assertEqual(news["caps"], [{"sent": 1, "of": 1, "seconds": 16 * 3600, "counts": "all"},
                                        {"sent": 2, "of": 7, "seconds": 7 * 86400, "counts": "all"}])
        self.assertEqual((news["cause"], news["next"], news["caps_free"]), ("capped", free, free))
        self.assertEqual((by_stream["receipts"]["caps"], by_stream["receipts"]["cause"]), ([], "none"))
        text = self.run_ok("why", self.ADDRESS)
        self.assertRegex(text, rf"news +1 of 1 in 16h, 2 of 7 in 7d; the next one from {free}")
        self.assertNotRegex(text, r"receipts +\d of")

    def test_soft_bounces_and_deliveries(self):
        self.sends(self.ADDRESS, [30])
        self.touches({"type": "delivered", "address": self.ADDRESS, "at": ago(29), "stream": "news", "campaign": "c"},
                     *[{"type": "soft-bounced", "address": self.ADDRESS, "at": ago(d)} for d in (3, 2, 1)])
        o = self.json("why", self.ADDRESS, "--stream", "news")
        self.assertEqual((o["last_delivered"], o["soft_bounced"]), (ago(29), [ago(1), ago(2), ago(3)]))
        until = (NOW + datetime.timedelta(days=29)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.assertEqual((o["next"][0]["cause"], o["next"][0]["next"]), ("soft-bounced", until))
        self.assertRegex(self.run_ok("why", self.ADDRESS), r"Soft bounces +3 or more, the last \d{4}-")

    def test_the_last_day_of_engaged_and_the_first_of_semi(self):
        for days, name in (29, "engaged"), (31, "semi-engaged"), (89, "semi-engaged"):
            address = f"d{days}@example.org"
            self.sends(address, range(91, 0, -7))
            self.touches({"type": "click", "address": address, "at": ago(days)})
            self.assertEqual(self.json("why", address)["class"], name, days)

    def test_inactive_is_stopped_where_policy_is_enforced(self):
        self.sends(self.ADDRESS, range(200, 0, -7))
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["class"], o["reason"]), ("inactive", "silent"))
        self.assertEqual((self.next(o, "news")["cause"], self.next(o, "news")["carried_out"]), ("inactive", True))
        self.assertEqual((self.next(o, "offers")["cause"], self.next(o, "offers")["carried_out"]), ("inactive", False))
        self.assertEqual(self.next(o, "receipts")["action"], "send")
        text = self.run_ok("why", self.ADDRESS)
        self.assertRegex(text, r"news +is rejected: ")
        self.assertRegex(text, r"offers +would be rejected \(observe only\): ")
        self.assertRegex(text, r"receipts +is sent \(transactional")
        text = self.run_ok("why", self.ADDRESS, "--stream", "news")
        self.assertNotIn("offers", text)

    def test_few_sends_are_no_proof(self):
        self.sends(self.ADDRESS, range(200, 130, -7))
        self.assertEqual(self.json("why", self.ADDRESS)["reason"], "few-sends")

    def test_untracked_sends_are_no_proof(self):
        self.sends(self.ADDRESS, range(200, 0, -7), tracked=False)
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["tracked_sends"], o["reason"]), (0, "untracked"))

    def test_machines_move_nobody(self):
        self.sends(self.ADDRESS, range(200, 0, -7))
        self.touches({"type": "click", "address": self.ADDRESS, "at": ago(2), "verdict": "scanner"},
                     {"type": "open", "address": self.ADDRESS, "at": ago(2), "verdict": "privacy-open"})
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["class"], o["machine_opens"], o["machine_clicks"], o["opens"]), ("inactive", 1, 1, 0))

    def test_unsubscribed_from_everything(self):
        self.touches({"type": "opened", "address": self.ADDRESS, "at": ago(2)},
                     {"type": "left", "address": self.ADDRESS, "at": ago(1)})
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["class"], o["status"]), ("engaged", "unsubscribed"))
        self.assertEqual(self.next(o, "news")["cause"], "unsubscribed")
        self.assertIn(ago(1)[:10], self.run_ok("why", self.ADDRESS))

    def test_unsubscribed_from_one_stream(self):
        self.touches({"type": "opened", "address": self.ADDRESS, "at": ago(2)},
                     {"type": "left", "address": self.ADDRESS, "at": ago(1), "stream": "news"})
        o = self.json("why", self.ADDRESS)
        self.assertEqual((o["status"], self.next(o, "news")["cause"], self.next(o, "offers")["cause"]),
                         ("ok", "unsubscribed", "none"))
        self.assertEqual([(s["stream"], s["unsubscribed"]) for s in o["subscriptions"]], [("news", True)])
        self.assertRegex(self.run_ok("why", self.ADDRESS), r"Unsubscribed from +news, ")

    def test_only_ever_unsubscribed(self):
        self.touches({"type": "left", "address": self.ADDRESS, "at": ago(1), "stream": "news"})
        self.assertEqual(self.next(self.json("why", self.ADDRESS), "news")["cause"], "unsubscribed")

    def test_consent(self):
        self.touches({"type": "consent", "address": self.ADDRESS, "axis": "opens", "value": "granted", "at": ago(3)},
                     {"type": "consent", "address": self.ADDRESS, "axis": "links", "value": "denied", "at": ago(3)})
        self.assertEqual(self.json("why", self.ADDRESS)["consent"], {"opens": "granted", "links": "denied"})

    def test_a_campaign_of_a_stream_that_is_gone(self):
        for stream in "old", "news":
            self.touches({"type": "sent", "address": self.ADDRESS, "at": ago(3), "stream": stream, "campaign": "spring"})
        p = self.wrong(USAGE, 'several streams have a campaign "spring": .*; say which with --stream', "why", self.ADDRESS, "--campaign", "spring")
        # Each that it names is an answer.
        streams = re.search(r'"spring": (.*); say', p.stderr.decode())[1].split(", ")
        self.assertEqual(["news", "old"], sorted(streams))
        for stream in streams:
            o = self.json("why", self.ADDRESS, "--campaign", "spring", "--stream", stream)
            self.assertEqual((stream, "off"), (o["campaign"]["stream"], o["campaign"]["brake"]))
            self.assertEqual([stream] if stream == "news" else [], [n["stream"] for n in o["next"]])
        text = self.run_ok("why", self.ADDRESS, "--campaign", "spring", "--stream", "old")
        self.assertRegex(text, r"Campaign +spring: no brake is on\n(.|\n)*The next message\n  none: the stream is not in the settings any more\n")
        self.wrong(USAGE, 'there is no stream "older"', "why", self.ADDRESS, "--campaign", "spring", "--stream", "older")
        self.wrong(USAGE, 'there is no stream "old"', "why", self.ADDRESS, "--stream", "old")

    def test_any_spelling(self):
        self.sends("ann@bücher.example", [1])
        for spelling in "ANN@BÜCHER.example", "ann@xn--bcher-kva.example", "<Ann@bücher.Example>":
            self.assertTrue(self.json("why", spelling)["known"], spelling)


class Segments(Case):
    def setUp(self):
        super().setUp()
        self.sends("new@example.org", [3])
        self.sends("warm@example.org", [7])
        self.touches({"type": "click", "address": "warm@example.org", "at": ago(6)})
        self.sends("\"odd,quo'te\"@example.org", [7])
        self.touches({"type": "click", "address": "\"odd,quo'te\"@example.org", "at": ago(6)})
        self.sends("gone@example.org", [7])
        self.touches({"type": "click", "address": "gone@example.org", "at": ago(6)},
                     {"type": "left", "address": "gone@example.org", "at": ago(5)})
        self.sends("cold@example.org", range(200, 0, -7))
        self.touches({"type": "left", "address": "new@example.org", "at": ago(1), "stream": "news"})

    def test_classes_partition_everybody(self):
        o = self.json("segment")
        self.assertEqual(o["people"], 5)
        self.assertEqual(o["class"], {"new": 1, "engaged": 3, "semi-engaged": 0, "inactive": 1})
        self.assertEqual(sum(o["status"].values()), 5)
        self.assertEqual(o["status"]["unsubscribed"], 1)
        self.assertEqual(o["unsubscribed_from"], [{"stream": "news", "people": 1}])
        text = self.run_ok("segment")
        self.assertRegex(text, r"(?m)^engaged +3 +60\.0 %$")
        self.assertRegex(text, r"(?m)^all +5 +100\.0 %$")
        self.assertRegex(text, r"(?m)^unsubscribed from news +1 +20\.0 %$")

    def test_csv(self):
        p = self.check(FOUND, "segment", "export", "engaged")
        rows = list(csv.DictReader(io.StringIO(p.stdout.decode(), newline=""), strict=True))
        self.assertEqual({r["address"] for r in rows},
                         {"warm@example.org", "gone@example.org", "\"odd,quo'te\"@example.org"})
        self.assertEqual({r["class"] for r in rows}, {"engaged"})
        self.assertEqual({r["status"] for r in rows}, {"ok", "unsubscribed"})
        for r in rows:
            self.assertRegex(r["score"], r"^4\.\d\d$")
        self.assertIn("1 of these 3 are stopped", p.stderr.decode())

    def test_csv_has_what_json_has(self):
        self.touches(*[{"type": "click", "address": "loyal@example.org", "at": ago(d)} for d in (1, 2, 3)],
                     *[{"type": "open", "address": "=opaque@example.org", "at": ago(d), "verdict": "privacy-open"}
                       for d in range(5)])
        p = self.check(FOUND, "segment", "export", "all")
        rows = {r["address"]: r for r in csv.DictReader(io.StringIO(p.stdout.decode(), newline=""), strict=True)}
        p = self.check(FOUND, "segment", "export", "all", "--json")
        for line in p.stdout.splitlines():
            o = json.loads(line)
            row = rows.pop(o["address"])
            self.assertAlmostEqual(float(row["score"]), o.pop("score") / 100, delta=0.5)  # it may be midnight
            for k, v in o.items():
                self.assertEqual(row[k], "" if v is None else str(v).lower() if v is True or v is False else str(v), k)
            self.assertEqual((o["loyal"], o["opaque"]), (o["address"][0] == "l", o["address"][0] == "="))
        self.assertEqual(rows, {})

    def test_json_lines(self):
        for args in ["--format", "json"], ["--json"]:
            p = self.check(FOUND, "segment", "export", "all", *args)
            rows = [json.loads(line) for line in p.stdout.splitlines()]
            self.assertEqual(len(rows), 5)
            self.assertEqual({r["class"] for r in rows}, {"new", "engaged", "inactive"})

    def test_text_and_status(self):
        p = self.check(FOUND, "segment", "export", "engaged", "--status", "ok", "--format", "text")
        self.assertEqual(sorted(p.stdout.decode().split("\n")), ["", "\"odd,quo'te\"@example.org", "warm@example.org"])
        self.assertEqual(p.stderr, b"")
        p = self.check(FOUND, "segment", "export", "--status", "unsubscribed", "--format", "text")
        self.assertEqual(p.stdout, b"gone@example.org\n")
        p = self.check(FOUND, "segment", "export", "all", "--status", "unsubscribed", "--stream", "news",
                       "--format=text")
        self.assertEqual(sorted(p.stdout.split()), [b"gone@example.org", b"new@example.org"])

    def test_nothing(self):
        p = self.check(NOTHING, "segment", "export", "semi-engaged")
        self.assertEqual(len(p.stdout.splitlines()), 1)

    def test_people_without_a_name_are_counted(self):
        self.touches({"type": "click", "who": "00112233445566778899aabbccddeeff", "at": ago(1)})
        p = self.check(FOUND, "segment", "export", "engaged", "--format", "text")
        self.assertIn("1 more are known by their hash only", p.stderr.decode())
        self.assertEqual(len(p.stdout.splitlines()), 3)


class EmptySegment(Case):
    def test_nobody(self):
        self.assertEqual(self.json("segment", status=NOTHING)["people"], 0)
        self.assertIn("inactive", self.check(NOTHING, "segment").stdout.decode())


class Campaigns(Case):
    def fill(self, stream="news", name="Spring sale", days=3):
        people = [f"p{i}@example.org" for i in range(10)]
        of = {"stream": stream, "campaign": name}
        touches = [{"type": "sent", "address": p, "at": ago(days), "class": "engaged", **of} for p in people]
        touches += [{"type": "open", "address": p, "at": ago(days - 1), **of} for p in people[:4] for _ in range(2)]
        touches += [{"type": "open", "address": p, "at": ago(days - 1), "verdict": "privacy-open", **of}
                    for p in people[4:6]]
        scanned = {"type": "click", "address": people[9], "at": ago(days - 1), "verdict": "scanner", **of}
        touches += [{"type": "click", "address": people[0], "at": ago(days - 1), "link": 1, "url": LINK, **of},
                    {**scanned, "link": 1, "url": LINK}, {**scanned, "link": 2, "url": LINK + "2"},
                    {"type": "skipped", "address": "cold@example.org", "at": ago(days), "cause": "inactive", **of},
                    {"type": "left", "address": people[8], "at": ago(days - 1), **of}]
        self.touches(*touches)

    def test_none(self):
        self.assertEqual(self.json("campaign", status=NOTHING), [])
        self.wrong(NOTHING, "no campaign yet", "campaign")
        self.wrong(NOTHING, "no campaign \"x\"", "campaign", "show", "x")

    def test_list(self):
        self.fill()
        self.fill("offers", "März \N{SNOWMAN}", days=9)
        rows = self.json("campaign")
        self.assertEqual([(r["name"], r["stream"], r["sent"]) for r in rows],
                         [("Spring sale", "news", 10), ("März \N{SNOWMAN}", "offers", 10)])
        lines = self.run_ok("campaign").splitlines()
        self.assertRegex(lines[1], rf"^Spring sale  news    {ago(3)[:10]}    10        1  40\.0 %   10\.0 %   work$")
        self.assertEqual(len({len(line) for line in lines}), 1, lines)

    def test_show(self):
        self.fill()
        o = self.json("campaign", "show", "Spring sale")
        self.assertEqual((o["sent"], o["tracked"], o["skipped"], o["unsubscribed"]), (10, 10, 1, 1))
        raw, human = o["raw"], o["human"]
        self.assertEqual((raw["opens"], raw["openers"], human["opens"], human["openers"]), (10, 7, 4, 4))
        self.assertEqual((raw["clicks"], raw["clickers"], human["clicks"], human["clickers"]), (3, 2, 1, 1))
        self.assertEqual((raw["open_rate"], human["open_rate"], human["click_to_open"]), (0.7, 0.4, 0.25))
        self.assertEqual(o["sent_class"], {"new": 0, "engaged": 10, "semi-engaged": 0, "inactive": 0})
        self.assertEqual([(l["link"], l["destination"], l["clickers_raw"], l["clickers_human"]) for l in o["links"]],
                         [(1, LINK, 2, 1), (2, LINK + "2", 1, 0)])
        text = self.run_ok("campaign", "show", "Spring sale")
        self.assertRegex(text, r"people who opened +7 +70\.0 % +4 +40\.0 %")
        self.assertRegex(text, r"click-to-open rate +28\.6 % +25\.0 %")
        self.assertRegex(text, r"class when sent +messages +share\n")
        self.assertNotIn("unknown", text)
        self.assertIn(LINK, text)
        self.assertEqual(self.json("campaign", "show", o["id"])["name"], "Spring sale")

    def test_the_same_name_in_two_streams(self):
        self.fill()
        self.fill("offers")
        self.wrong(USAGE, "several streams .*--stream", "campaign", "show", "Spring sale")
        self.assertEqual(self.json("campaign", "show", "Spring sale", "--stream", "offers")["stream"], "offers")
        self.wrong(NOTHING, "in stream default", "campaign", "show", "Spring sale", "--stream", "default")

    def test_without_sends_there_are_no_rates(self):
        self.touches({"type": "open", "address": "a@example.org", "campaign": "old"})
        o = self.json("campaign", "show", "old")
        self.assertEqual((o["stream"], o["sent"], o["human"]["openers"], o["human"]["open_rate"]),
                         ("default", 0, 1, None))
        self.assertRegex(self.run_ok("campaign", "show", "old"), r"people who opened +1 +- +1 +-")

    def test_where_nobody_is_told_apart_there_is_no_rate_of_people(self):
        self.touches({"type": "sent", "address": "a@example.org", "campaign": "shy"},
                     {"type": "open", "mode": "anonymous", "campaign": "shy"})
        o = self.json("campaign", "show", "shy")
        self.assertEqual((o["human"]["opens"], o["human"]["open_rate"], o["human"]["click_rate"]), (1, None, 0.0))
        self.assertEqual((o["raw"]["openers"], o["human"]["openers"], o["human"]["clickers"]), (None, None, 0))
        self.assertEqual((o["raw"]["click_to_open"], o["human"]["click_to_open"]), (None, None))
        self.assertEqual(self.json("campaign")[0]["human"]["openers"], None)
        text = self.run_ok("campaign", "show", "shy")
        self.assertRegex(text, r"people who opened +- +- +- +-\n +people who clicked +0 +0\.0 % +0 +0\.0 %\n")
        self.assertRegex(text, r"\n  People: - where hits are counted but nobody is told apart")

    def test_where_only_some_would_be_known_rates_are_of_these(self):
        who = [f"p{i}@example.org" for i in range(8)]
        of = {"stream": "news", "campaign": "mixed"}
        untold = ["all", "all", "all", "clicks", None, None, "", None]
        self.touches(*({"type": "sent", "address": w, "untold": u, **of} for w, u in zip(who, untold)),
                     *({"type": "open", "address": w, **of} for w in (who[3], who[4], who[5])),
                     {"type": "click", "address": who[4], "link": 1, "url": LINK, **of})
        o = self.json("campaign", "show", "mixed")
        self.assertEqual((o["tracked"], o["open_rates_of"], o["click_rates_of"]), (8, 5, 4))
        self.assertEqual((o["human"]["open_rate"], o["human"]["click_rate"]), (0.6, 0.25))
        text = self.run_ok("campaign", "show", "mixed")
        self.assertRegex(text, r"Sent +8, of which 8 tracked\n.*Rates are of +5 whose readers would be known, 4 for clicks\n")
        self.assertRegex(self.run_ok("campaign"), r"60\.0 % +25\.0 %")
        # Somebody did, but nobody who would be known: that is a rate of 0, and not none.
        of["campaign"] = "quiet"
        self.touches({"type": "sent", "address": who[0], "untold": "all", **of}, {"type": "sent", "address": who[1], **of},
                     {"type": "open", "mode": "anonymous", **of}, {"type": "click", "mode": "anonymous", "link": 1, "url": LINK, **of})
        o = self.json("campaign", "show", "quiet")
        self.assertEqual((o["open_rates_of"], o["click_rates_of"]), (1, 1))
        self.assertEqual((o["human"]["opens"], o["human"]["openers"], o["human"]["open_rate"], o["human"]["click_rate"]), (1, 0, 0, 0))

    def test_where_clickers_are_not_told_apart(self):
        click = {"type": "click", "mode": "anonymous", "campaign": "shy", "link": 1, "url": LINK}
        self.touches({"type": "sent", "address": "a@example.org", "campaign": "shy"},
                     {"type": "open", "address": "a@example.org", "campaign": "shy"}, click)
        o = self.json("campaign", "show", "shy")
        self.assertEqual((o["human"]["openers"], o["human"]["clickers"], o["human"]["click_to_open"]), (1, None, None))
        self.assertEqual([(l["clicks_human"], l["clickers_raw"], l["clickers_human"]) for l in o["links"]],
                         [(1, None, None)])
        text = self.run_ok("campaign", "show", "shy")
        self.assertRegex(text, r"people who clicked +- +- +- +-\n +click-to-open rate +- +-\n")
        self.assertRegex(text, r"\n +1 +- +- +1 +1 +https:")
        self.assertIn("People: -", text)

    def test_where_everybody_is_told_apart_nothing_is_said(self):
        self.fill()
        self.assertNotIn("People: -", self.run_ok("campaign", "show", "Spring sale"))

    def test_a_class_that_nobody_told_is_unknown(self):
        of = {"type": "sent", "campaign": "old", "stream": "news", "at": ago(9)}
        self.touches({"address": "a@example.org", **of}, {"address": "b@example.org", **of},
                     {"address": "c@example.org", "class": "new", **of})
        classes = {"new": 1, "engaged": 0, "semi-engaged": 0, "inactive": 0, "unknown": 2}
        self.assertEqual(self.json("campaign", "show", "old")["sent_class"], classes)
        self.assertRegex(self.run_ok("campaign", "show", "old"),
                         r"class when sent +messages +share\n +new +1 +33\.3 %\n(.*\n){3} +unknown +2 +66\.7 %\n")


class Simulate(Case):
    def test_the_newest_campaigns(self):
        # In no order of their keys, and some at the same second.
        self.touches(*[{"type": "sent", "address": f"p{n}@example.org", "at": ago(days=1 + n // 2), "stream": "news", "campaign": f"c{n}"}
                       for n in range(40)])
        by_id = {c["name"]: c["id"] for c in self.json("campaign")}
        told = self.json("simulate", "--days", "365")["campaigns"]
        self.assertEqual([c["campaign"] for c in told], sorted(by_id, key=lambda name: (int(name[1:]) // 2, by_id[name])))
        self.assertEqual({c["sent"] for c in told}, {1})
        self.assertEqual(self.json("simulate")["campaigns"], told[:5])


class Suppress(Case):
    ADDRESS = "ann@example.org"

    def test_nobody_is_told_too(self):
        self.wrong(NOTHING, "^rekindle: nobody is stopped\n$", "suppress", "list")
        self.wrong(NOTHING, "^rekindle: nobody is stopped, of those", "suppress", "list", "--cause", "held")
        self.assertEqual(self.check(NOTHING, "suppress", "export").stderr, b"")
        self.assertEqual(self.json("suppress", "list", status=NOTHING), [])
        self.wrong(NOTHING, "-: there is nothing in it", "suppress", "import")

    def status(self):
        return self.json("why", self.ADDRESS)["status"]

    def test_each_reason_and_back_at_once(self):
        for reason in "held", "unsubscribed", "complained", "bounced":
            with self.subTest(reason=reason):
                self.run_ok("suppress", "add", self.ADDRESS, "--reason", reason)
                self.assertEqual(self.status(), reason)
                self.assertEqual(self.json("suppress", "add", self.ADDRESS, "--reason", reason),
                                 {"done": 0, "already": 1, "bad": 0})
                self.assertEqual([(s["address"], s["reason"]) for s in self.json("suppress", "list")],
                                 [(self.ADDRESS, reason)])
                self.assertRegex(self.run_ok("suppress", "list"), rf"^{reason} +\d{{4}}-\d\d-\d\d +everything +ann@")
                self.run_ok("suppress", "remove", self.ADDRESS)
                self.assertEqual(self.status(), "ok")
                self.check(NOTHING, "suppress", "remove", self.ADDRESS)
                self.assertEqual(self.json("suppress", "list", status=NOTHING), [])

    def test_by_hand_is_the_default(self):
        self.run_ok("suppress", "add", self.ADDRESS.upper())
        self.assertEqual(self.status(), "held")

    def test_one_stream(self):
        for _ in range(2):
            self.run_ok("suppress", "add", self.ADDRESS, "--stream", "news")
            self.assertEqual([(s["reason"], s["stream"]) for s in self.json("suppress", "list")],
                             [("unsubscribed", "news")])
            p = self.check(NOTHING, "suppress", "remove", self.ADDRESS)
            self.assertIn(self.ADDRESS + " is still unsubscribed from news", p.stderr.decode())
            self.run_ok("suppress", "remove", self.ADDRESS, "--stream", "news")
            self.assertEqual(self.json("suppress", "list", status=NOTHING), [])
        self.wrong(USAGE, 'did you mean "news"', "suppress", "add", self.ADDRESS, "--stream", "new")

    def test_from_standard_input(self):
        lines = "".join(f"p{i}@example.org\n" for i in range(1500))
        self.assertEqual(self.json("suppress", "add", "-", stdin=lines)["done"], 1500)
        self.assertEqual(len(self.json("suppress", "list")), 1500)

    def test_an_address_that_comes_twice_counts_once(self):
        people = [f"p{i}@example.org" for i in range(1200)]
        lines = "\n".join(["P0@Example.org", *people, *people]) + "\n"
        self.assertEqual(self.json("suppress", "add", "-", stdin=lines), {"done": 1200, "already": 1201, "bad": 0})
        self.assertEqual(self.json("suppress", "remove", "-", stdin=lines), {"done": 1200, "already": 1201, "bad": 0})
        said = self.json("consent", "deny", "-", stdin=lines)
        self.assertEqual((said["done"], said["already"]), (1200, 1201), said)

    def test_bad_lines_do_not_stop_good_ones(self):
        p = self.wrong(CANNOT, r"rekindle: -:2: \"nonsense\" is not an address", "suppress", "add", "-",
                       stdin="a@example.org\nnonsense\n# a comment\n\nb@example.org\r\n")
        self.assertIn(b"stopped 2", p.stdout)
        self.assertEqual({s["address"] for s in self.json("suppress", "list")}, {"a@example.org", "b@example.org"})


class Forget(Case):
    def test_twice_is_said(self):
        self.sends("ann@example.org", [3, 2])
        who = self.json("why", "ann@example.org")["who"]
        self.run_ok("suppress", "add", "ann@example.org")

        def forget(status, *more):
            o = self.json("forget", "ann@example.org", "--yes", *more, status=status)
            return [o[k] for k in ("forgotten", "already", "touches", "stopped", "unknown")]

        self.assertEqual(forget(FOUND), [1, 0, 3, 1, 0])
        self.assertEqual(forget(NOTHING), [0, 1, 0, 1, 0])
        self.assertEqual(self.check(NOTHING, "forget", "ann@example.org", "ANN@example.org", "--yes").stdout.decode(),
                         "forgot 0, with 0 touches; already forgotten 1, unknown 0\nstill stopped, without a name: 1\n")
        # What came since under the hash is something to forget, and so is that he was forgotten.
        self.touches({"type": "skipped", "who": who, "at": ago(1), "cause": "held"})
        self.assertEqual(forget(FOUND), [0, 1, 1, 1, 0])
        self.assertEqual(forget(FOUND, "--entirely"), [1, 0, 0, 0, 0])
        self.assertEqual(forget(NOTHING, "--entirely"), [0, 0, 0, 0, 1])

    def test_who_came_back_is_forgotten_again(self):
        self.sends("ann@example.org", [3])
        self.run_ok("forget", "ann@example.org", "--yes")
        self.sends("ann@example.org", [2])
        self.assertEqual(self.run_ok("forget", "ann@example.org", "--yes"), "forgot 1, with 1 touch; already forgotten 0, unknown 0\n")


class Tag(Case):
    def test_not_selected_is_the_same_bytes(self):
        plain = MESSAGE.replace(b"X-Newsletter: yes\r\n", b"")
        p = self.wrong(NOTHING, "left alone: no rule selects it", "tag", "--to", "ann@example.org", stdin=plain)
        self.assertEqual(p.stdout, plain)
        self.assertFalse(self.json("tag", status=NOTHING, stdin=plain)["selected"])
        self.assertEqual(self.check(NOTHING, "tag", "--diff", stdin=plain).stdout, b"")

    def test_a_stranger_is_told_apart_from_a_rule_that_is_missing(self):
        conf = self.conf.read_text()
        self.conf.write_text(conf + "\n[stream sale]\nmatch_sender_domain = sale.example.org\n")
        plain = MESSAGE.replace(b"X-Newsletter: yes\r\n", b"")
        sender = ("tag", "--from", "news@sale.example.org")
        self.check(FOUND, *sender, stdin=plain)
        self.wrong(NOTHING, "the client neither logged in nor is in trusted_networks", *sender, "--client", "192.0.2.1", stdin=plain)
        self.check(FOUND, *sender, "--client", "192.0.2.1", "--login", "shop", stdin=plain)
        self.wrong(NOTHING, "no rule selects it", "tag", "--from", "x@example.net", "--client", "192.0.2.1", stdin=plain)
        self.wrong(NOTHING, "without --from it has no sender", "tag", stdin=plain)
        self.wrong(USAGE, "\"192.0.2\" is not the address of a client", *sender, "--client", "192.0.2", stdin=plain)
        self.wrong(FOUND, "ann: .*; this is not an address", *sender, "--to", "ann", stdin=plain)

    def test_not_a_message(self):
        p = self.wrong(NOTHING, "not a message", "tag", stdin=b"")
        self.assertEqual(p.stdout, b"")

    def test_tagged(self):
        p = self.check(FOUND, "tag", "--to", "ann@example.org", stdin=MESSAGE)
        out = p.stdout
        self.assertIn(b"https://t.example.org/c/", out)
        self.assertIn(b"https://t.example.org/o/", out)
        self.assertNotIn(b"shop.example.com", out)
        self.assertRegex(out.decode(), r"(?m)^List-Unsubscribe: ")
        for line in MESSAGE.splitlines(keepends=True):
            if b"shop" not in line and b"</body>" not in line:
                self.assertIn(line, out)
        self.assertIn("tagged links=1", p.stderr.decode())
        self.assertFalse(any((self.dir / "data").iterdir()), "tag writes nothing")
        message = self.dir / "message.eml"
        message.write_bytes(MESSAGE)
        self.assertEqual(len(self.check(FOUND, "tag", str(message), "--to=ann@example.org").stdout), len(out))
        self.wrong(CANNOT, "cannot read", "tag", str(self.dir / "none"))

    def test_line_feeds_alone_stay(self):
        out = self.check(FOUND, "tag", "--to", "ann@example.org", stdin=MESSAGE.replace(b"\r\n", b"\n")).stdout
        self.assertNotIn(b"\r", out)

    def test_selection_by_the_envelope(self):
        plain = MESSAGE.replace(b"X-Newsletter: yes\r\n", b"")
        o = self.json("tag", "--from", "x@offers.example.org", "--to", "ann@example.org", stdin=plain)
        self.assertEqual(o["stream"], "offers")
        self.assertIn(o["campaign"], days_since_start())
        o = self.json("tag", "--login", "shop", "--to", "ann@example.org", stdin=plain)
        self.assertEqual(o["stream"], "receipts")

    def test_forced(self):
        plain = MESSAGE.replace(b"X-Newsletter: yes\r\n", b"X-Rekindle-Campaign: other\r\n")
        o = self.json("tag", "--stream", "offers", "--campaign", "Forced one", "--to", "ann@example.org", stdin=plain)
        self.assertEqual((o["stream"], o["campaign"], o["tagged"]), ("offers", "Forced one", True))
        out = self.check(FOUND, "tag", "--to", "ann@example.org", stdin=plain).stdout
        self.assertNotIn(b"X-Rekindle-Campaign", out)

    def test_several_recipients(self):
        o = self.json("tag", "--to", "ann@example.org", "--to", "bob@example.org", stdin=MESSAGE)
        self.assertEqual((o["opens"], o["links"], len(o["recipients"])), ("anonymous", "anonymous", 2))
        p = self.wrong(NOTHING, "several recipients", "tag", "--stream", "offers", "--to", "a@example.org",
                       "--to", "b@example.org", stdin=MESSAGE)
        self.assertEqual(p.stdout, MESSAGE)

    def test_summary(self):
        o = self.json("tag", "--to", "ann@example.org", stdin=MESSAGE)
        self.assertEqual(o["destinations"], [{"link": 1, "destination": LINK}])
        self.assertEqual((o["opens"], o["pixel"], o["edited_links"]), ("identified", True, 1))
        self.assertEqual(o["bytes_before"], len(MESSAGE))
        self.assertIn("List-Unsubscribe", [h["name"] for h in o["headers"]])

    def test_explained(self):
        out = self.run_ok("tag", "--to", "ann@example.org", "--explain", stdin=MESSAGE)
        self.assertRegex(out, r"(?m)^part \d: text/html, .* tagged, with the pixel$")
        self.assertRegex(out, r"(?m)^  link 1 +" + re.escape(LINK) + "$")
        self.assertRegex(out, r"(?m)^header: add List-Unsubscribe: <https?://")
        o = self.json("tag", "--to", "ann@example.org", "--explain", stdin=MESSAGE)
        html = [p for p in o["parts"] if p["type"] == "text/html"]
        self.assertEqual([(p["pixel"], p["links"]) for p in html], [(True, [{"url": LINK, "link": 1}])])
        self.assertNotIn("parts", self.json("tag", "--to", "ann@example.org", stdin=MESSAGE))

    def test_the_hidden_link_is_told(self):
        for general, words, has in (("honeypot = on", "hidden link and the pixel", (True, True)),
                                    ("honeypot = on\nopens = off", "hidden link", (False, True)),
                                    ("honeypot = off", "pixel", (True, False))):
            self.write_conf(general=general)
            out = self.run_ok("tag", "--to", "ann@example.org", "--explain", stdin=MESSAGE)
            self.assertRegex(out, rf"(?m)^part \d: text/html, .* tagged, with the {words}$")
            html = [p for p in self.json("tag", "--to", "ann@example.org", "--explain", stdin=MESSAGE)["parts"] if p["type"] == "text/html"]
            self.assertEqual([(p["pixel"], p["honeypot"], p["links"]) for p in html], [(*has, [{"url": LINK, "link": 1}])])

    def test_a_place_for_an_own_page_is_not_left(self):
        page = MESSAGE.replace(b"https://shop.example.com/a?x=1&amp;y=2", b"https://rekindle.invalid/keep")
        out = self.run_ok("tag", "--to", "ann@example.org", "--explain", stdin=page)
        self.assertRegex(out, r"(?m)^  page     https://rekindle\.invalid/keep  \(becomes the recipient's own page\)$")
        html = self.json("tag", "--to", "ann@example.org", "--explain", stdin=page)["parts"][-1]
        self.assertEqual(html["links"], [{"url": "https://rekindle.invalid/keep", "page": True}])
        out = self.run_ok("tag", "--explain", stdin=page)
        self.assertIn("  left     https://rekindle.invalid/keep  (the message is nobody's own)\n", out)

    def test_a_malformed_track_header_is_told(self):
        message = b"X-Rekindle-Track: perhaps\r\n" + MESSAGE
        p = self.check(FOUND, "tag", "--to", "ann@example.org", "--explain", stdin=message)
        out = p.stdout.decode()
        self.assertIn("X-Rekindle-Track is malformed", p.stderr.decode())
        self.assertIn("opens off, links off", p.stderr.decode())
        self.assertIn("left alone, tracking is off", out)

    def test_verdict_and_consent_come_from_the_store(self):
        self.sends("cold@example.org", range(200, 0, -7))
        self.touches({"type": "consent", "address": "cold@example.org", "axis": "opens", "value": "denied"})
        o = self.json("tag", "--to", "cold@example.org", stdin=MESSAGE)
        self.assertEqual((o["recipients"][0]["class"], o["recipients"][0]["action"]), ("inactive", "reject"))
        self.assertEqual((o["opens"], o["pixel"]), ("off", False))

    def test_too_long_is_passed_through(self):
        self.write_conf(general="max_message = 100k")
        long = MESSAGE + b"x" * 78 + b"\r\n"
        long += (b"x" * 78 + b"\r\n") * 5000
        p = self.wrong(NOTHING, "over max_message", "tag", "--to", "ann@example.org", stdin=long)
        self.assertEqual(p.stdout, long)

    @staticmethod
    def patch(old, diff):
        """Applies a diff as printed; fails where the context is not that of the old text."""
        old = old.decode().replace("\r\n", "\n").split("\n")[:-1]
        out, at = [], 0
        lines = diff.decode().split("\n")[:-1]
        while lines:
            line = lines.pop(0)
            hunk = re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", line)
            start, count, new_start, new_count = map(int, hunk.groups())
            out += old[at:start - 1]
            at = start - 1
            assert len(out) == new_start - 1, (line, len(out))
            while lines and not lines[0].startswith("@@"):
                sign, text = lines[0][0], lines[0][1:]
                lines.pop(0)
                if sign in " -":
                    assert old[at] == text, (old[at], text)
                    at += 1
                if sign in " +":
                    out.append(text)
            assert at == start - 1 + count and len(out) == new_start - 1 + new_count, line
        return out + old[at:]

    def test_diff_leads_from_the_one_to_the_other(self):
        far = MESSAGE.replace(b"<p>Five</p>\r\n", b"<p>Five</p>\r\n" * 20)
        many = MESSAGE.replace(b"<p>Nine</p>", b"\r\n".join(
            b'<p><a href="https://shop.example.com/%d">%d</a></p>\r\n<p>text</p>' % (i, i) for i in range(300)))
        lots = MESSAGE.replace(b"<p>Nine</p>", b"\r\n".join(
            b'<p><a href="https://shop.example.com/%d">%d</a></p>' % (i, i) for i in range(1500)))
        for message in MESSAGE, far, many, lots:
            out = self.check(FOUND, "tag", "--to", "ann@example.org", stdin=message).stdout
            diff = self.check(FOUND, "tag", "--to", "ann@example.org", "--diff", stdin=message).stdout
            hide = re.compile(r"/[ocu]/[\w.-]+|(?<=X-Rekindle-Id: ).*")  # tokens tell the time
            got = [hide.sub("T", line) for line in self.patch(message, diff)]
            self.assertEqual(got, [hide.sub("T", line) for line in out.decode().replace("\r\n", "\n").split("\n")[:-1]])
            if message is far:
                self.assertGreater(diff.count(b"\n@@ "), 0)
                self.assertLess(diff.count(b"\n"), 40)


class Tokens(Case):
    def links(self):
        out = self.check(FOUND, "tag", "--to", "ann@example.org", "--campaign", "Spring", stdin=MESSAGE).stdout.decode()
        return [re.search(rf"https://t\.example\.org/{kind}/[\w.-]+", out).group() for kind in "cou"]

    def test_each_kind(self):
        click, pixel, leave = self.links()
        o = self.json("token", click)
        self.assertEqual((o["kind"], o["destination"], o["link"], o["mode"]), ("click", LINK, 1, "identified"))
        self.assertNotIn("address", o)
        self.sends("ann@example.org", [1], stream="news", campaign="Spring")
        o = self.json("token", pixel)
        self.assertEqual((o["kind"], o["address"]), ("open", "ann@example.org"))
        self.assertEqual((o["campaign"], o["stream"]), ("Spring", "news"))
        self.assertEqual(o["who"], self.json("why", "ann@example.org")["who"])
        o = self.json("token", leave)
        self.assertEqual((o["kind"], o["stream"]), ("unsubscribe", "news"))
        self.assertNotIn("mode", o)
        self.assertRegex(self.run_ok("token", leave), r"(?m)^ *Privacy mode +none: it tracks nothing$")
        text = self.run_ok("token", click + "?utm=1#x")
        self.assertIn(LINK, text)
        self.assertIn("ann@example.org", text)
        bare = click.rsplit("/", 1)[1]
        self.assertIn(LINK, self.run_ok("token", bare))
        self.assertIn(LINK, self.run_ok("token", "-", stdin=click + "\n"))

    def test_not_ours(self):
        click = self.links()[0]
        for token in click[:-1], click + "A", "A", "", "https://t.example.org/c/", "x" * 5000, click.swapcase():
            self.wrong(NOTHING, "not a token of ours", "token", "--", token)

    def test_another_installation_cannot_read_it(self):
        click = self.links()[0]
        (self.dir / "keys").unlink()
        self.run_ok("key", "new")
        self.wrong(NOTHING, "not a token of ours", "token", click)


class Import(Case):
    def test_bad_lines_are_named_and_good_ones_kept(self):
        bad = [
            ('{"type":"open","address":"a@b.example"', "not JSON"),
            ('[1]', "not an object"),
            ('{"address":"a@b.example"}', "type is missing"),
            ('{"type":"opend","address":"a@b.example"}', "no type \"opend\"; one of sent"),
            ('{"type":7,"address":"a@b.example"}', "type must be text"),
            ('{"type":"open"}', "address is missing"),
            ('{"type":"open","address":"nobody"}', "not an address"),
            ('{"type":"open","address":"a@b.example","who":"00112233445566778899aabbccddeeff"}', "not both"),
            ('{"type":"open","who":"0011"}', "32 hexadecimal digits"),
            ('{"type":"open","address":"a@b.example","at":"yesterday"}', "at is not a date"),
            ('{"type":"open","address":"a@b.example","at":"%s"}' % ago(-1), "at is in the future"),
            ('{"type":"open","address":"a@b.example","at":"1969-12-31"}', "before 1970"),
            ('{"type":"open","address":"a@b.example","at":1e9}', "at is not a date"),
            ('{"type":"open","address":"a@b.example","at":99999999999}', "seconds since 1970"),
            ('{"type":"open","address":"a@b.example","stream":"a b"}', "stream must be"),
            ('{"type":"open","address":"a@b.example","stream":"%s"}' % ("a" * 64), "stream must be"),
            ('{"type":"open","address":"a@b.example","campaign":"%s"}' % ("a" * 201), "campaign must be"),
            ('{"type":"open","address":"a@b.example","campaign":"a\\nb"}', "campaign must be"),
            ('{"type":"left","address":"a@b.example","campaign":"x"}', "needs a stream"),
            ('{"type":"open","address":"a@b.example","campaign_id":"12"}', "16 hexadecimal digits"),
            ('{"type":"sent","address":"a@b.example","untold":"opens"}', "untold must be all or clicks"),
            ('{"type":"click","address":"a@b.example","link":0}', "1 to 65535"),
            ('{"type":"click","address":"a@b.example","link":65536}', "1 to 65535"),
            ('{"type":"click","address":"a@b.example","url":"https://%s"}' % ("a" * 2000), "url must be"),
            ('{"type":"open","address":"a@b.example","verdict":"alien"}', "no verdict"),
            ('{"type":"sent","address":"a@b.example","class":"hot"}', "no class"),
            ('{"type":"sent","address":"a@b.example","tracked":"yes"}', "true or false"),
            ('{"type":"sent","address":"a@b.example","mode":"off"}', "mode must be"),
            ('{"type":"skipped","address":"a@b.example","cause":"mood"}', "no cause"),
            ('{"type":"consent","address":"a@b.example","axis":"pixels","value":"granted"}', "axis must be"),
            ('{"type":"consent","address":"a@b.example","axis":"opens","value":"maybe"}', "value must be"),
            ('{"type":"consent","address":"a@b.example","axis":"opens","value":"granted","source":7}', "source must be text"),
            ('{"type":"consent","address":"a@b.example","axis":"opens","value":"granted","source":"' + "x" * 248 + '"}',
             "source must be at most 247 bytes"),
            ('{"type":"consent","address":"a@b.example","axis":"opens","value":"granted","source":"a\\u001bb"}',
             "without control characters"),
            ('{"type":"open","address":"a@b.example","net":"192.0.2.1"}', "net must be"),
            ('{"type":"open","type":"open","address":"a@b.example"}', "not JSON: duplicate"),
            ('{"type":"sent","address":"a@b.example","x":"%s"}' % ("a" * 65536), "longer than 65536"),
            ("\x00\x1b[2J", "not JSON"),
        ]
        text = "".join(line + "\n" + json.dumps({"type": "sent", "address": "good@example.org", "at": ago(3)}) + "\n"
                       for line, _ in bad)
        p = self.check(CANNOT, "import", "-", stdin=text)
        told = p.stderr.decode().splitlines()
        self.assertEqual(len(told), len(bad), p.stderr)
        for i, (line, pattern) in enumerate(bad):
            self.assertTrue(told[i].startswith(f"rekindle: -:{2 * i + 1}: "), told[i])
            self.assertIn(pattern, told[i])
            self.assertNotIn("\x1b", told[i])
        self.assertIn(f"imported {len(bad)} touches".encode(), p.stdout)
        self.assertEqual(self.json("why", "good@example.org")["sends"], len(bad))
        self.check(NOTHING, "why", "a@b.example")

    def test_the_longest_line(self):
        line = json.dumps({"type": "sent", "address": "a@b.example"})
        self.check(FOUND, "import", stdin=line + " " * (65536 - len(line)) + "\n")
        self.wrong(CANNOT, "longer than", "import", stdin=line + " " * (65537 - len(line)) + "\n")

    def test_from_a_file_with_its_name(self):
        file = self.dir / "in.jsonl"
        file.write_text('\n{"type":"sent","address":"a@b.example"}\r\nrubbish')
        self.wrong(CANNOT, rf"rekindle: {file}:3: not JSON", "import", str(file))
        self.wrong(CANNOT, "cannot read", "import", str(self.dir / "none"))
        self.assertEqual(self.json("why", "a@b.example")["sends"], 1)

    def test_nothing(self):
        self.check(NOTHING, "import", stdin="")

    def test_unknown_fields_are_told_once(self):
        p = self.touches(*[{"type": "sent", "address": "a@b.example", "colour": "red"}] * 3)
        self.assertEqual(p.stderr.decode().count("colour"), 1)
        self.assertEqual(len(p.stderr.splitlines()), 1)
        self.assertEqual(self.json("why", "a@b.example")["sends"], 3)

    def test_unknown_streams_are_told_once_each(self):
        sent = {"type": "sent", "address": "a@b.example"}
        p = self.touches(*[{**sent, "stream": s} for s in ["newz", "news", "default", "offerz", "newz"]], sent,
                         {**sent, "campaign": "x"})
        self.assertEqual(p.stderr.decode(), "rekindle: -:1: stream `newz' is not in the settings\n"
                         "rekindle: -:4: stream `offerz' is not in the settings\n")
        self.assertEqual(self.json("why", "a@b.example")["sends"], 7)
        p = self.touches(*[{**sent, "stream": f"s{i}"} for i in range(300)])
        told = p.stderr.decode().splitlines()
        self.assertEqual(len(told), 100)
        self.assertTrue(told[-1].endswith("; other such names are not told"))

    def test_more_than_one_batch(self):
        lines = "".join(json.dumps({"type": "sent", "address": f"p{i % 50}@example.org", "at": ago(9)}) + "\n"
                        for i in range(2501))
        self.assertEqual(self.json("import", stdin=lines),
                         {"lines": 2501, "imported": 2501, "nameless": 0, "left_out": 0, "bad": 0})
        self.assertEqual(self.json("segment")["people"], 50)
        self.assertEqual(self.json("why", "p0@example.org")["sends"], 51)

    def test_a_missing_date_is_now(self):
        self.touches({"type": "open", "address": "a@b.example"})
        self.assertRegex(self.run_ok("why", "a@b.example"), r"Last open .*\(just now\)")


class Privacy(Case):
    profile = "eu"

    def test_history_is_no_way_around_the_recipients_choice(self):
        self.sends("ann@example.org", [5], stream="news", campaign="c")
        of = {"address": "ann@example.org", "at": ago(4), "stream": "news", "campaign": "c"}
        self.touches({"type": "open", **of}, {"type": "click", "link": 1, **of})
        o = self.json("why", "ann@example.org")
        self.assertEqual((o["last_open"], o["opens"], o["clicks"]), (ago(4)[:10] + "T00:00:00Z", 0, 0))
        self.assertEqual(o["class"], "engaged")
        shown = self.json("campaign", "show", "c")
        self.assertEqual((shown["human"]["opens"], shown["human"]["openers"], shown["human"]["clicks"]), (1, None, 1))

    def test_what_is_kept_of_a_line_is_said(self):
        of = {"address": "ann@example.org", "at": ago(4), "stream": "news", "campaign": "c"}
        p = self.touches({"type": "open", **of}, {"type": "click", "link": 1, **of}, {"type": "sent", **of},
                         {"type": "open", "address": "ann@example.org", "at": ago(5)},
                         {"type": "click", "address": "ann@example.org"},
                         {"type": "click", "mode": "anonymous", "campaign": "c"})
        self.assertEqual(p.stdout.decode(),
                         "imported 6 touches from 6 lines (1 of these made two: a day for the recipient, a count for"
                         " the campaign)\n"
                         "opens and clicks counted without a name, as privacy_profile and consent demand: 2\n"
                         "opens and clicks left out, as privacy_profile and consent demand: 1\n")
        text = self.run_ok("why", "ann@example.org")
        self.assertRegex(text, rf"(?m)^  Last open +{ago(4)[:10]} \(only the day is kept\)$")
        self.assertRegex(text, r"(?m)^  First seen +\d{4}-")
        self.assertRegex(text, r"(?m)^  By a person +0 opens, 0 clicks; where only the day is kept, opens are not counted$")
        self.assertEqual(self.json("import", stdin=json.dumps({"type": "click", **of})),
                         {"lines": 1, "imported": 1, "nameless": 1, "left_out": 0, "bad": 0})

    def test_of_whom_nothing_but_a_day_is_kept(self):
        self.touches({"type": "open", "address": "ann@example.org", "at": ago(4)})
        text = self.run_ok("why", "ann@example.org")
        self.assertRegex(text, r"(?m)^  First seen +not kept: only the day of the last open is$")
        self.assertRegex(text, r"(?m)^  Last sent +never$")

    def test_readers_who_would_look_silent_are_told(self):
        of = {"address": "ann@example.org", "at": ago(4), "stream": "news", "campaign": "c"}
        warning = b"so its recipients look silent"
        sent, click, opened = {"type": "sent", **of}, {"type": "click", "link": 1, **of}, {"type": "open", **of}
        self.assertIn(warning, self.touches(sent, click).stderr)
        self.assertNotIn(warning, self.touches(click).stderr)
        self.assertNotIn(warning, self.touches(sent).stderr)
        self.assertNotIn(warning, self.touches(sent, click, opened).stderr)
        grant = {"type": "consent", "axis": "links", "value": "granted", "address": "ann@example.org", "at": ago(5)}
        self.assertNotIn(warning, self.touches(grant, sent, click).stderr)

    def test_an_open_at_midnight_is_no_mere_day(self):
        who = {"address": "ann@example.org", "at": ago(4)[:10]}
        self.touches({"type": "consent", "axis": "opens", "value": "granted", **who}, {"type": "open", **who})
        self.assertRegex(self.run_ok("why", "ann@example.org"), r"Last open .* 00:00:00 UTC \(\d+ days ago\)")

    def test_consent_in_the_same_file_counts(self):
        who = {"address": "ann@example.org", "at": ago(4)}
        self.touches({"type": "consent", "axis": "opens", "value": "granted", **who}, {"type": "open", **who},
                     {"type": "consent", "axis": "links", "value": "denied", **who}, {"type": "click", **who})
        o = self.json("why", "ann@example.org")
        self.assertEqual((o["opens"], o["clicks"], o["last_open"]), (1, 0, ago(4)))

    def test_consents_alone_need_no_type(self):
        said = {"address": "ann@example.org", "axis": "opens", "value": "granted", "at": ago(4), "source": "form 3"}
        lines = json.dumps(said) + "\n" + json.dumps({**said, "axis": "links", "type": "consented"}) + "\n"
        self.check(FOUND, "consent", "import", stdin=lines.encode())
        self.assertEqual(self.json("why", "ann@example.org")["consent"], {"opens": "granted", "links": "granted"})
        self.assertIn("import: form 3", self.run_ok("consent", "show", "ann@example.org"))
        self.wrong(CANNOT, "-:1: type is \"click\"", "consent", "import", stdin=b'{"type": "click", "address": "a@example.org"}\n')
        self.wrong(CANNOT, "-:1: type is missing", "import", stdin=json.dumps(said).encode())

    def test_consent_counts_from_one_batch_to_the_next(self):
        people = [f"p{i}@example.org" for i in range(1200)]
        granted = {"type": "consent", "axis": "opens", "value": "granted", "at": ago(4)}
        self.touches(*[{**granted, "address": p} for p in people],
                     *[{"type": "open", "address": p, "at": ago(4)} for p in people])
        rows = [json.loads(l) for l in self.check(FOUND, "export", "--type", "opened").stdout.splitlines()]
        self.assertEqual((len(rows), {r["mode"] for r in rows}), (1200, {"identified"}))

    def test_what_is_left_out_is_said(self):
        self.touches({"type": "consent", "axis": "links", "value": "denied", "address": "ann@example.org"})
        click = json.dumps({"type": "click", "address": "ann@example.org"})
        self.assertEqual(self.json("import", status=NOTHING, stdin=click),
                         {"lines": 1, "imported": 0, "nameless": 0, "left_out": 1, "bad": 0})

    def test_a_stream_by_its_id_has_its_ceilings_too(self):
        self.conf.write_text(self.conf.read_text() + "\n[stream quiet]\nopens = off\n")
        identity = re.search(r"^identity (\w+)$", (self.dir / "keys").read_text(), re.M)[1]
        digest = hmac.digest(bytes.fromhex(identity), b"stream\0" + struct.pack("<Q", 5) + b"quiet", "sha256")
        opened = json.dumps({"type": "open", "address": "ann@example.org", "stream_id": digest[:8][::-1].hex()})
        self.assertEqual(self.json("import", status=NOTHING, stdin=opened),
                         {"lines": 1, "imported": 0, "nameless": 0, "left_out": 1, "bad": 0})

    def test_days_are_exported(self):
        self.touches({"type": "open", "address": "ann@example.org", "at": ago(4)})
        self.assertEqual([(t["type"], t["at"][:10], t["mode"]) for t in self.export()],
                         [("opened", ago(4)[:10], "dayonly")])


class Consent(Case):
    ANN = "ann@example.org"
    ME = "cli: " + pwd.getpwuid(os.getuid()).pw_name

    def show(self, address=ANN, **more):
        """Values and sources that stand, and the history."""
        told = self.json("consent", "show", address, **more)
        return ([(told[a]["value"], told[a]["source"]) for a in ("opens", "links")],
                [(h["axis"], h["value"], h["source"]) for h in told["history"]])

    def test_nobody_asked(self):
        self.assertEqual(self.show(status=NOTHING), ([("unknown", None)] * 2, []))
        self.assertIsNone(self.json("consent", "show", self.ANN, status=NOTHING)["opens"]["since"])
        self.assertIn("Opens", self.check(NOTHING, "consent", "show", self.ANN).stdout.decode())

    def test_granted_with_a_note_and_taken_back_at_once(self):
        note = "double opt-in 2026-03-01, ü"
        self.assertEqual(self.run_ok("consent", "grant", self.ANN, "--note", note), "granted 1, already granted 0\n")
        self.assertEqual(self.show()[0], [("granted", f"{self.ME}: {note}")] * 2)
        self.assertEqual(self.run_ok("consent", "deny", self.ANN), "denied 1, already denied 0\n")
        now, history = self.show()
        self.assertEqual(now, [("denied", self.ME)] * 2)
        self.assertEqual(history, [(a, "granted", f"{self.ME}: {note}") for a in ("opens", "links")]
                         + [(a, "denied", self.ME) for a in ("opens", "links")])
        self.assertEqual(self.run_ok("consent", "grant", "Ann@Example.org", "--links"), "granted 1, already granted 0\n")
        self.assertEqual(self.show()[0], [("denied", self.ME), ("granted", self.ME)])
        self.assertEqual(self.json("why", self.ANN)["consent"], {"opens": "denied", "links": "granted"})
        text = self.run_ok("consent", "show", self.ANN)
        self.assertRegex(text, r"(?m)^  Opens +denied since 20.* UTC .*; " + self.ME + "$")
        self.assertRegex(text, r"(?m)^  20\S+Z  opens  granted +" + re.escape(f"{self.ME}: {note}") + "$")

    def test_what_stands_is_said_once_and_evidence_again(self):
        self.run_ok("consent", "deny", self.ANN, "--opens")
        self.assertEqual(self.json("consent", "deny", self.ANN, "--opens"),
                         {"done": 0, "already": 1, "overtaken": 0, "bad": 0})
        self.assertEqual(len(self.show()[1]), 1)
        self.assertEqual(self.json("consent", "deny", self.ANN, "--opens", "--note", "again"),
                         {"done": 1, "already": 0, "overtaken": 0, "bad": 0})
        self.assertEqual([h[2] for h in self.show()[1]], [self.ME, f"{self.ME}: again"])
        self.assertEqual(self.show()[0][1], ("unknown", None))

    def test_reset(self):
        self.check(NOTHING, "consent", "reset", self.ANN)
        self.run_ok("consent", "deny", self.ANN)
        self.assertEqual(self.run_ok("consent", "reset", self.ANN, "--links"), "reset 1, already unknown 0\n")
        self.assertEqual(self.show()[0], [("denied", self.ME), ("unknown", self.ME)])

    def test_a_letter_of_today_is_said_now(self):
        self.run_ok("consent", "deny", self.ANN)
        self.run_ok("consent", "grant", self.ANN, "--at", ago(0)[:10], "--note", "by letter")
        self.assertEqual(self.json("why", self.ANN)["consent"], {"opens": "granted", "links": "granted"})

    def test_the_latest_word_counts_not_the_last_command(self):
        self.run_ok("consent", "deny", self.ANN, "--at", ago(5))
        p = self.check(NOTHING, "consent", "grant", self.ANN, "--at", ago(9), "--note", "form")
        self.assertEqual(p.stderr.decode().count("still denied, which was said on " + ago(5)), 2)
        self.assertIn("overtaken by what was said later 1", p.stdout.decode())
        now, history = self.show()
        self.assertEqual(now, [("denied", self.ME)] * 2)
        self.assertEqual(history[0], ("opens", "granted", f"{self.ME}: form"))
        self.assertEqual(self.json("consent", "show", self.ANN)["links"]["since"], ago(5))
        self.assertEqual(self.check(FOUND, "consent", "grant", self.ANN, "--at", ago(3)).stderr, b"")
        self.assertEqual(self.show()[0][0][0], "granted")
        # Of two at the same second, the stricter.
        p = self.check(FOUND, "consent", "deny", self.ANN, "--at", ago(3))
        self.assertEqual((p.stderr, self.show()[0]), (b"", [("denied", self.ME)] * 2))

    def test_many_from_standard_input(self):
        people = [f"p{i}@example.org" for i in range(1100)]
        p = self.check(CANNOT, "consent", "grant", "-", self.ANN, stdin="# all\n\n" + "\n".join(people) + "\nnonsense\n")
        self.assertIn('-:1103: "nonsense" is not an address', p.stderr.decode())
        self.assertEqual(p.stdout, b"granted 1101, already granted 0\n")
        self.assertEqual(self.show("p1099@example.org")[0], [("granted", self.ME)] * 2)

    def test_import_says_where_it_comes_from(self):
        self.touches({"type": "consented", "address": self.ANN, "axis": "opens", "value": "granted", "at": ago(9)},
                     {"type": "consented", "address": self.ANN, "axis": "links", "value": "granted", "at": ago(8),
                      "source": "cli: root"})
        self.assertEqual(self.show()[0], [("granted", "import"), ("granted", "import: cli: root")])
        self.assertEqual([t["source"] for t in self.export()], ["import", "import: cli: root"])
        self.assertEqual(self.json("consent", "show", self.ANN)["opens"]["since"], ago(9))

    def test_what_was_said_by_hand_is_exported_with_its_source(self):
        self.run_ok("consent", "deny", self.ANN, "--opens", "--note", "x" * (247 - len(self.ME) - 2))
        line = self.check(FOUND, "export").stdout
        self.assertEqual(json.loads(line)["source"], f"{self.ME}: " + "x" * (247 - len(self.ME) - 2))
        self.check(FOUND, "import", stdin=line)
        self.assertEqual(self.rekindle("export").stderr, b"")

    def test_a_message_may_only_lower(self):
        def modes(*fields, to=self.ANN):
            raw = MESSAGE.replace(b"MIME-Version", b"".join(f.encode() + b"\r\n" for f in fields) + b"MIME-Version")
            p = self.rekindle("tag", "--to", to, "--json", stdin=raw)
            told = json.loads(p.stdout)
            self.assertEqual([h["change"] for h in told["headers"] if h["name"] == "X-Rekindle-Consent"],
                             ["delete"] * len(fields))
            return told["opens"], told["links"], p.stderr.decode()

        self.assertEqual(modes()[:2], ("identified", "identified"))
        self.assertEqual(modes("X-Rekindle-Consent: granted")[:2], ("identified", "identified"))
        self.assertEqual(modes("X-Rekindle-Consent: opens=granted; links=denied")[:2], ("identified", "off"))
        self.assertEqual(modes("X-Rekindle-Consent: denied", "X-Rekindle-Consent: granted")[:2], ("off", "off"))
        opens, links, err = modes("X-Rekindle-Consent: perhaps")
        self.assertEqual((opens, links), ("off", "off"))
        self.assertIn("X-Rekindle-Consent is malformed, taken as denied", err)
        self.run_ok("consent", "deny", self.ANN, "--opens")
        self.assertEqual(modes("X-Rekindle-Consent: granted")[:2], ("off", "identified"))


class RoundTrip(Case):
    general = "opens = full\nlinks = full"

    def all_kinds(self):
        of = {"stream": "news", "campaign": "Spring, \"sale\" ü"}
        a, b = {"address": "ann@example.org"}, {"address": "bob@bücher.example"}
        return [
            {"type": "sent", "at": ago(40), "class": "semi-engaged", **a, **of},
            {"type": "sent", "at": ago(40), "tracked": False, "observed": True, **b, **of},
            {"type": "sent", "at": ago(40), "untold": "all", **b, **of},
            {"type": "sent", "at": ago(40), "untold": "clicks", **b, **of},
            {"type": "skipped", "at": ago(39), "cause": "inactive", **b, **of},
            {"type": "opened", "at": ago(38), "sent": ago(40), **a, **of},
            {"type": "opened", "at": ago(38), "verdict": "privacy-open", **b, **of},
            {"type": "clicked", "at": ago(37), "link": 1, "url": LINK, "verdict": "human", "mode": "full",
             "agent": "firefox", "net": "192.0.2.0/24", **a, **of},
            {"type": "clicked", "at": ago(37), "link": 65535, "url": LINK, "verdict": "scanner", "mode": "full",
             "net": "2001:db8:1::/48", **a, **of},
            {"type": "clicked", "at": ago(37), "mode": "anonymous", "link": 1, "url": LINK, **of},
            {"type": "opened", "at": ago(30)[:10], "mode": "dayonly", "address": "day@example.org"},
            {"type": "left", "at": ago(20), **a, "stream": "news"},
            {"type": "joined", "at": ago(19), **a, "stream": "news"},
            {"type": "left", "at": ago(18), **b, **of},
            {"type": "left", "at": ago(18), "address": "gone@example.org"},
            {"type": "bounced", "at": ago(17), "address": "hard@example.org"},
            {"type": "complained", "at": ago(16), "address": "angry@example.org"},
            {"type": "held", "at": ago(15), "address": "held@example.org"},
            {"type": "released", "at": ago(14), "address": "held@example.org"},
            {"type": "consented", "at": ago(13), "axis": "links", "value": "granted", **a},
            {"type": "consented", "at": ago(13), "axis": "opens", "value": "denied", "source": "paper form, ü" + "x" * 233, **b},
            {"type": "clicked", "at": ago(12), "who": "00112233445566778899aabbccddeeff", "campaign_id": "0123456789abcdef",
             "link": 2},
            {"type": "left", "at": ago(11), **a, "campaign_id": "0123456789abcdef"},
            {"type": "left", "at": ago(11), **a, "stream_id": "00000000000000ff"},
            {"type": "soft-bounced", "at": ago(10), "bounce": "policy", **b, **of},
            {"type": "delivered", "at": ago(40), "gateway": True, **a, **of},
            {"type": "kept", "at": ago(9), **a},
            {"type": "less", "at": ago(8), **b, "stream": "news"},
            {"type": "held", "at": ago(7), "until": "2099-01-31T00:00:00Z", "address": "held@example.org"},
        ]

    def answers(self):
        out = {"segment": self.json("segment"), "suppress": self.json("suppress", "list"),
               "campaign": self.json("campaign")}
        for c in out["campaign"]:
            out[c["id"]] = self.json("campaign", "show", c["id"])
        for name in "ann@example.org", "bob@bücher.example", "day@example.org", "gone@example.org", "held@example.org":
            out[name] = self.rekindle("why", name, "--json").stdout
        return out

    def test_export_reads_back_to_the_same(self):
        self.touches(*self.all_kinds())
        first, answers = self.check(FOUND, "export").stdout, self.answers()
        self.assertEqual({json.loads(l)["type"] for l in first.splitlines()}, {t["type"] for t in self.all_kinds()})
        shutil.rmtree(self.dir / "data")
        (self.dir / "data").mkdir()
        p = self.check(FOUND, "import", stdin=first)
        self.assertEqual(p.stderr, b"")
        self.assertEqual(self.check(FOUND, "export").stdout, first)
        self.assertEqual(self.answers(), answers)

    def test_since_and_type(self):
        self.touches(*self.all_kinds())
        lines = [json.loads(l) for l in self.check(FOUND, "export", "--since", ago(17, minutes=1)).stdout.splitlines()]
        self.assertEqual(lines[0]["type"], "bounced")
        self.assertEqual(len(lines), 13)
        lines = [json.loads(l) for l in self.check(FOUND, "export", "--type", "left").stdout.splitlines()]
        self.assertEqual(({t["type"] for t in lines}, len(lines)), ({"left"}, 5))
        self.check(NOTHING, "export", "--since", ago(1))

    def test_nothing(self):
        self.assertEqual(self.check(NOTHING, "export").stdout, b"")


if __name__ == "__main__":
    unittest.main()
