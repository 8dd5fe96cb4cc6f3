"""chasquid's client dialogues and fuzz inputs, each a test, played to our whole server.

Of an answer its class is compared (the first digit), not the words or the last digits: those are chasquid's. None
deviates; what is written for chasquid's LMTP servers is played in `tests.corpus.test_lmtp_dialogs`.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.testing.network import Line
from mtad.testing.world import World

from . import corpus, corpus_or_none

# Those that play a client on port 25; the LMTP ones play a server.
DIALOGS = (
    "bad_data_dot.cmy", "bad_rcpt_to.cmy", "data_dot_stuffing.cmy", "empty_helo.cmy", "helo.cmy", "sendmail.cmy",
    "t-05-sendmail.cmy", "unknown_command.cmy",
)  # fmt: skip
# Those that play a client on the submission port, which has TLS here.
LOGINS = ("auth_not_tls.cmy",)


class DialogsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = corpus("smtp-dialogs-chasquid")
        self.world = World(Path(self.mktemp()))
        self.world.host("user@testserver", organisation="test")

    def tearDown(self) -> None:
        if hasattr(self, "world"):
            self.assertEqual(self.world.journal.of("session.surprise"), [])

    def test_all_are_played(self) -> None:
        others = {"test_tcp_success.cmy", "test_utf8.cmy"}
        self.assertEqual({path.name for path in self.folder.glob("*.cmy")}, {*DIALOGS, *LOGINS, *others})

    def play(self, dialog: Path, port: str = "smtp_addr") -> int:
        line = Line()
        answers = 0
        for act, words in re.findall(
            r"^c (tcp_connect|close|->|~>|<-|<~|<\.\.\.) ?(.*)$", dialog.read_text(), re.MULTILINE
        ):
            match act:
                case "tcp_connect":
                    line = self.world.network.connect(getattr(self.world.settings.server, port))
                case "close":
                    line.hang_up()
                case "->":
                    line.send(f"{words}\r\n".encode())
                case "~>":
                    line.send(ast.literal_eval(words).encode())
                case _:
                    self.expect(line, words, f"{dialog.name}: {words}")
                    answers += 1
            self.world.turn()
        return answers

    def expect(self, line: Line, words: str, where: str) -> None:
        """Take one reply, all its lines, and compare its class."""
        reply = re.match(rb"(?:\d{3}-.*\r\n)*(\d)\d\d .*\r\n", line.received)
        assert reply, f"{where}: {line.received!r}"
        line.received = line.received[reply.end() :]
        self.assertEqual(reply[1].decode(), words.lstrip()[0], f"{where}: {reply[0]!r}")

    def test_the_stored_message_is_what_was_meant(self) -> None:
        self.play(self.folder / "data_dot_stuffing.cmy")
        (mail,) = self.world.mail("user@testserver")
        expected = (self.folder / "data_dot_stuffing.cmy.verify").read_bytes()
        self.assertTrue(mail.rstrip().endswith(expected.rstrip()), mail)

    def test_two_messages_never_come_of_one(self) -> None:
        self.play(self.folder / "bad_data_dot.cmy")
        self.assertEqual(self.world.mail("user@testserver"), [])

    def fuzz(self, path: Path, port: str, *, tls: bool) -> None:
        """Send an input, and see that all replies are well formed and that the session ends."""
        octets = re.search(r'\[\]byte\("(.*)"\)', path.read_text())
        assert octets, path.name
        sent = ast.literal_eval(f'"{octets[1]}"').encode().replace(b"\n", b"\r\n")
        line = self.world.connect(port)
        if tls:
            self.world.say(line, b"EHLO fuzz.example\r\nSTARTTLS\r\n")
            line.start_tls()
        for reply in self.world.say(line, sent).splitlines():
            self.assertRegex(reply, rb"\A[2345]\d\d[ -]")
        line.hang_up()
        self.world.turn()
        self.assertTrue(line.closed)


def played(name: str, port: str) -> Callable[[DialogsTest], None]:
    def test(self: DialogsTest) -> None:
        self.world.tls.configured = port == "submission_addr"
        self.assertGreater(self.play(self.folder / name, port), 0)

    return test


def fuzzed(path: Path, port: str, *, tls: bool) -> Callable[[DialogsTest], None]:
    def test(self: DialogsTest) -> None:
        self.world.tls.configured = port == "submission"
        self.fuzz(path, port, tls=tls)

    return test


for _name in DIALOGS:
    setattr(DialogsTest, f"test_dialog_{Path(_name).stem.replace('-', '_')}", played(_name, "smtp_addr"))
for _name in LOGINS:
    setattr(DialogsTest, f"test_dialog_{Path(_name).stem.replace('-', '_')}", played(_name, "submission_addr"))
_folder = corpus_or_none("smtp-dialogs-chasquid")
for _path in (_folder / "fuzz").glob("*.txt") if _folder else ():
    for _port, _tls in (("smtp", False), ("submission", False), ("submission", True)):
        _where = f"{_port}_under_tls" if _tls else _port
        setattr(DialogsTest, f"test_fuzz_{_path.stem}_{_where}", fuzzed(_path, _port, tls=_tls))
