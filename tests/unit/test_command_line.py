"""The command line of mtactl, as far as it needs no database that answers."""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.ctl.command import main
from mtad.ctl.show import cell, date_json, date_text

DEMO = Path(__file__).parents[2] / "docs" / "demo.yaml"
OURS = ("MTAD_CONFIG", "SMTP_HOSTNAME", "DB_HOST", "REDIS_ADDR")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    output: str
    complaint: str
    status: int


class CommandLineTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.config = self.written("config.yaml", "server: {hostname: mail.example.org}\n")
        self.patch(os, "environ", {name: value for name, value in os.environ.items() if name not in OURS})

    def written(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def mtactl(self, *words: object) -> Ended:
        output, complaint = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaint):
            ended = self.assertRaises(SystemExit, main, list(map(str, words)))
        return Ended(output.getvalue(), complaint.getvalue(), ended.code)

    def refused(self, *words: object) -> str:
        ended = self.mtactl("--config", self.config, *words)
        self.assertEqual((ended.output, ended.status), ("", 1))
        self.assertRegex(ended.complaint, r"\Amtactl: .*\n\Z")
        return ended.complaint

    def test_a_wrong_command_line_exits_with_2(self) -> None:
        wrong = ("nonsense", "queue", "queue show", "queue show x", "trace", "apply", "queue list --status lost",
                 "queue list --limit 0", "--nonsense", "", "queue show 0000000000000 more", "dkim",
                 "dkim list", "dkim list a_b.example", "queue retry", "queue remove x",
                 "queue bounce 0000000000000 more")  # fmt: skip
        for line in wrong:
            ended = self.mtactl(*line.split())
            self.assertEqual((ended.output, ended.status), ("", 2), line)
            self.assertIn("Usage: mtactl", ended.complaint)

    def test_help_and_version(self) -> None:
        shown = self.mtactl("--help")
        self.assertEqual(shown.status, 0)
        for command in ("apply", "config", "migrate", "queue", "trace", "MTAD_CONFIG"):
            self.assertIn(command, shown.output)
        self.assertRegex(self.mtactl("--version").output, r"^mtactl, version \d")

    def test_the_configuration_is_the_one_that_is_named(self) -> None:
        checked = self.mtactl("--config", self.config, "config", "check")
        self.assertEqual(checked.output, f"{self.config}: good; database embedded, redis embedded\n")
        self.assertRegex(checked.complaint, r"\Amtactl: .*config.yaml: server.postmaster is not set: .*\n\Z")
        os.environ["MTAD_CONFIG"] = str(self.written("other.yaml", "redis: {addr: 'localhost:6379'}"))
        os.environ["SMTP_HOSTNAME"] = "mx.example.org"
        found = json.loads(self.mtactl("config", "check", "--json").output)
        self.assertEqual(
            (found["redis"], found["database"], found["hostname"]), ("configured", "embedded", "mx.example.org")
        )
        self.assertEqual(len(found["warnings"]), 1)
        self.written("config.yaml", "server: {postmaster: ann@example.org}\n")
        checked = self.mtactl("--config", self.config, "config", "check")
        self.assertIn("redis embedded", checked.output)
        self.assertEqual(checked.complaint, "")

    def test_a_wrong_configuration_is_told_with_its_line(self) -> None:
        self.config.write_text("server:\n  hostnam: x\n")
        for words in (["config", "check"], ["queue", "list"], ["migrate"], ["apply", DEMO]):
            said = self.refused(*words)
            self.assertIn(f"{self.config}:2: server.hostnam: unknown key, did you mean hostname?", said)
        self.config = self.directory / "none.yaml"
        self.assertIn("none.yaml: cannot be read: No such file or directory", self.refused("config", "check"))

    def test_a_database_out_of_reach_is_told(self) -> None:
        self.config.write_text(f"database: {{host: {self.directory}}}\n")
        for words in (["queue", "list"], ["migrate"], ["apply", DEMO], ["trace", "x"]):
            self.assertIn("mtactl: postgres: ", self.refused(*words))

    def test_an_apply_file_is_judged_before_anything_is_asked(self) -> None:
        self.config.write_text(f"database: {{host: {self.directory}}}\n")
        file = self.written("tenants.yaml", "organisations:\n- name: a\n- name: a\n")
        self.assertIn(f"{file}:3: organisations[1].name: expected each organisation once", self.refused("apply", file))


class ShowTest(SynchronousTestCase):
    def test_values_as_people_read_them(self) -> None:
        self.assertEqual([cell(value) for value in (None, 7, "a", "\x1b[1m\u202e")], ["-", "7", "a", "\\x1b[1m\\u202e"])

    def test_dates_are_utc(self) -> None:
        self.assertEqual(date_text(1_800_000_000.25), "2027-01-15 08:00:00")
        self.assertEqual(date_json(1_800_000_000.25), "2027-01-15T08:00:00.250Z")
