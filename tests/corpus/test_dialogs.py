"""chasquid's client dialogues and fuzz inputs, played to our whole server.

Of an answer its class is compared (the first digit), not the words or the last digits: those are chasquid's.
"""

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.testing.network import Line
from mtad.testing.world import World

from . import corpus

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

    def test_dialogs(self) -> None:
        answers = sum(self.play(self.folder / name) for name in DIALOGS)
        print(f"\n    {len(DIALOGS)} dialogs, {answers} answers")

    def test_dialogs_of_submission(self) -> None:
        self.world.tls.configured = True
        answers = sum(self.play(self.folder / name, "submission_addr") for name in LOGINS)
        print(f"\n    {len(LOGINS)} dialogs, {answers} answers")

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

    def test_fuzz_inputs_end_in_order(self) -> None:
        self.fuzz("smtp", tls=False)

    def test_fuzz_inputs_of_submission_end_in_order(self) -> None:
        self.world.tls.configured = True
        self.fuzz("submission", tls=False)
        self.fuzz("submission", tls=True)

    def fuzz(self, port: str, *, tls: bool) -> None:
        inputs = sorted((self.folder / "fuzz").glob("*.txt"))
        for path in inputs:
            octets = re.search(r'\[\]byte\("(.*)"\)', path.read_text())
            assert octets, path.name
            sent = ast.literal_eval(f'"{octets[1]}"').encode().replace(b"\n", b"\r\n")
            line = self.world.connect(port)
            if tls:
                self.world.say(line, b"EHLO fuzz.example\r\nSTARTTLS\r\n")
                line.start_tls()
            for reply in self.world.say(line, sent).splitlines():
                self.assertRegex(reply, rb"\A[2345]\d\d[ -]", path.name)
            line.hang_up()
            self.world.turn()
            self.assertTrue(line.closed, path.name)
        print(f"\n    {len(inputs)} fuzz inputs")
