"""README.md shows what is printed: its commands are run, and what they print is compared."""

import re
import shlex
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system import programs
from tests.system.server import RunningServer

TOP = Path(__file__).parents[2]
# Ids and the times in file names, dates, what swaks calls itself and this machine, and what counts its octets.
VARYING = re.compile(
    r"(?:\b\d{10}\.)?\b[0-9A-HJKMNP-TV-Z]{13}(?![0-9A-Z])"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"
    r"|<\d{14}\.\d+@[^>]+>|swaks v\S+|(?<=EHLO )\S+|(?<=helo=)\S+|(?<=size=)\d+"
)


def shown_below(command: str) -> list[str]:
    """Return the lines README.md shows as what a command prints."""
    readme = (TOP / "README.md").read_text()
    block = re.search(rf"^    {re.escape(command)}\n\n((?:    .*\n)+)", readme, re.MULTILINE)
    assert block is not None, command
    return comparable(re.sub(r"^    ", "", block[1], flags=re.MULTILINE))


def readme_commands() -> list[str]:
    """Return what README.md tells to send with a login and then to ask, each in one line."""
    readme = re.sub(r" \\\n +", " ", (TOP / "README.md").read_text())
    found = re.findall(r"^    (swaks .*--auth-user.*|\S*mtactl trace .*)$", readme, re.MULTILINE)
    assert len(found) > 3, found
    return found


def comparable(printed: str) -> list[str]:
    return [VARYING.sub("*", line).rstrip() for line in printed.splitlines()]


class ReadmeTest(SynchronousTestCase):
    send = "swaks --server 127.0.0.1:2525 --from ann@outside.example --to alice@acme.example"
    trace = ".venv/bin/mtactl trace alice@acme.example"

    def test_the_first_message(self) -> None:
        server = RunningServer()
        self.addCleanup(server.close)
        server.mtactl("apply", str(TOP / "docs" / "demo.yaml"))
        server.start()

        there = f"127.0.0.1:{server.smtp_port}"

        def as_shown(printed: str) -> list[str]:
            return comparable(printed.replace(there, "127.0.0.1:2525").replace("mx.test", "localhost.localdomain"))

        sent = programs.run(*shlex.split(self.send.replace("127.0.0.1:2525", there)))
        self.assertEqual(as_shown(sent.stdout), shown_below(self.send), sent.stderr)
        server.wait_for("delivery.delivered")
        told = server.mtactl(*shlex.split(self.trace)[1:])
        self.assertEqual(as_shown(told), shown_below(self.trace))

    def test_make_run_says_to_try_the_same(self) -> None:
        said = (TOP / "docs" / "try-it.txt").read_text()
        for command in (self.send, self.trace, *readme_commands()):
            self.assertIn(f"\n    {command}\n", said)
