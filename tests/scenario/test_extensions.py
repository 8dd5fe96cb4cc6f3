"""What SMTP's extensions bring in, on the whole server: chunks, addresses beyond ASCII, wishes, long lines."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Parameters
from mtad.model.identity import parse_id
from mtad.model.tenant import LmtpDelivery
from mtad.testing.network import Line
from mtad.testing.scripted import ScriptedServer
from mtad.testing.world import World

ALICE = "alice@acme.example"
ENVELOPE = b"MAIL FROM:<ann@outside.example>\r\nRCPT TO:<alice@acme.example>\r\n"
HEAD = b"From: ann@outside.example\r\nSubject: x\r\n\r\n"


def bdat(octets: bytes, *, last: bool = False) -> bytes:
    """Return a chunk of these octets."""
    return b"BDAT %d%s\r\n%s" % (len(octets), b" LAST" if last else b"", octets)


class ExtensionsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host(ALICE)

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])

    def greeted(self) -> Line:
        """Return a connection on which EHLO was said."""
        line = self.world.connect()
        self.world.say(line, b"EHLO outside.example\r\n")
        return line

    def codes(self, line: Line, octets: bytes) -> list[int]:
        """Say something and return the codes of the answers."""
        return [int(answer[:3]) for answer in self.world.say(line, octets).splitlines() if answer[3:4] == b" "]

    def bodies(self) -> list[bytes]:
        """Return what is behind the headers of the mail that came."""
        return [mail.partition(b"\n\n")[2] for mail in self.world.mail(ALICE)]


class ChunksTest(ExtensionsCase):
    def test_a_message_in_chunks(self) -> None:
        line = self.greeted()
        chunks = bdat(HEAD + b"a") + bdat(b"") + bdat(b"\r\n") + bdat(b"..b\r\n.\r\n", last=True)
        self.assertEqual(self.codes(line, ENVELOPE + chunks), [250] * 6)
        self.assertEqual(self.bodies(), [b"a\n..b\n.\n"])

    def test_a_message_octet_by_octet(self) -> None:
        line = self.greeted()
        for octet in ENVELOPE + bdat(HEAD + b"a") + bdat(b"bc", last=True):
            line.send(bytes([octet]))
        self.world.turn()
        self.assertEqual(self.bodies(), [b"abc\n"])

    def test_what_is_wrong_is_answered_once_a_command_and_ends_the_transaction(self) -> None:
        line = self.greeted()
        chunks = bdat(HEAD + b"a") + bdat(b"a\nb") + bdat(b"MAIL FROM:<evil@evil.example>\n", last=True)
        self.assertEqual(self.codes(line, ENVELOPE + chunks), [250, 250, 250, 550, 503])
        self.assertEqual(self.codes(line, ENVELOPE + bdat(HEAD + b"z", last=True)), [250, 250, 250])
        self.assertEqual(self.bodies(), [b"z\n"])
        (refusal,) = [facts for facts in self.world.journal.of("smtp.rejected") if facts["stage"] == "data"]
        self.assertEqual(refusal["reason"], "bare-newline")

    def test_a_reset_forgets_the_chunks(self) -> None:
        for again in (b"RSET\r\n", b"EHLO outside.example\r\n"):
            line = self.greeted()
            self.assertEqual(self.codes(line, ENVELOPE + bdat(HEAD + b"x") + again), [250] * 4)
            self.assertEqual(self.codes(line, ENVELOPE + b"DATA\r\n" + HEAD + b"y\r\n.\r\n"), [250, 250, 354, 250])
        self.assertEqual(self.bodies(), [b"y\n"] * 2)

    def test_a_chunk_nobody_is_there_for_is_read_past(self) -> None:
        line = self.greeted()
        octets = b"MAIL FROM:<>\r\nRCPT TO:<nobody@acme.example>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
        self.assertEqual(self.codes(line, octets), [250, 550, 554, 250])

    def test_too_large_over_all_chunks(self) -> None:
        left = int(self.world.settings.server.max_message_size)
        line = self.greeted()
        self.world.say(line, ENVELOPE)
        chunk = (b"x" * 998 + b"\r\n") * 1000
        codes: list[int] = []
        while codes in ([], [250]):
            codes = self.codes(line, bdat(chunk))
            left -= len(chunk)
        self.assertEqual(codes, [552])
        self.assertLess(left, 0)
        self.assertEqual(self.codes(line, b"NOOP\r\n"), [250])

    def test_what_would_never_end_ends_the_session(self) -> None:
        for argument in (b"99999999999999999999", b"99999999999999999999999 LAST", b"LAST"):
            line = self.greeted()
            self.assertEqual(self.codes(line, ENVELOPE + b"BDAT " + argument + b"\r\n"), [250, 250, 421])
            self.assertTrue(line.closed)

    def test_a_stop_waits_for_the_last_chunk(self) -> None:
        line = self.greeted()
        self.codes(line, ENVELOPE + bdat(HEAD + b"x"))
        self.world.server.stopService()
        self.assertFalse(line.closed)
        self.assertEqual(self.codes(line, b"BDAT 0 LAST\r\n"), [250, 421])


class InternationalTest(ExtensionsCase):
    def test_a_mailbox_beyond_ascii(self) -> None:
        self.world.host("jürgen@xn--bcher-kva.example")
        line = self.greeted()
        # The umlaut in two code points, and a capital: hosted local parts compare after NFC and casefold.
        rcpt = "RCPT TO:<Ju\u0308rgen@bücher.example>\r\n".encode()
        octets = "MAIL FROM:<øre@outside.example> SMTPUTF8\r\n".encode() + rcpt + b"DATA\r\n" + HEAD + b"x\r\n.\r\n"
        self.assertEqual(self.codes(line, octets), [250, 250, 354, 250])
        (mail,) = self.world.mail("j%C3%BCrgen@xn--bcher-kva.example")
        self.assertIn("Return-Path: <øre@outside.example>".encode(), mail)
        self.assertEqual(self.codes(line, b"MAIL FROM:<ann@outside.example>\r\n" + rcpt), [250, 553])

    def test_an_alias_beyond_ascii_of_a_mailbox_whose_store_is_of_old(self) -> None:
        store = ScriptedServer(b"220 hi\r\n", {b"LHLO": b"250-hi\r\n250 8BITMIME\r\n"})
        self.world.network.serve("127.0.0.1:24", store)
        self.world.host("ann@store.example", delivery=LmtpDelivery("127.0.0.1:24"))
        self.world.alias("änn@store.example", "ann@store.example")
        octets = b"MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<\xc3\xa4nn@store.example>\r\nDATA\r\n" + HEAD + b"x\r\n.\r\n"
        self.assertEqual(self.codes(self.greeted(), octets), [250, 250, 354, 250])
        self.assertEqual(len(store.messages), 1)


class WishesTest(ExtensionsCase):
    def test_wishes_are_kept_with_the_message(self) -> None:
        line = self.greeted()
        self.world.offload.fail_next(OSError(28, "No space left on device"), times=9)
        answer = self.world.say(
            line,
            b"MAIL FROM:<ann@outside.example> RET=hdrs ENVID=QQ314 SMTPUTF8\r\n"
            b"RCPT TO:<alice@acme.example> NOTIFY=success,delay ORCPT=rfc822;al+2Bice@old.example\r\n"
            b"DATA\r\n" + HEAD + b"x\r\n.\r\n",
        )
        message = self.world.store.messages[parse_id(answer.split()[-1].decode())]
        self.assertEqual(message.parameters, Parameters(smtputf8=True, ret="HDRS", envid="QQ314"))
        (recipient,) = message.recipients
        self.assertEqual(recipient.original, Address("alice", "acme.example"))
        self.assertEqual((recipient.notify, recipient.orcpt), ("SUCCESS,DELAY", "rfc822;al+2Bice@old.example"))


class LongLinesTest(ExtensionsCase):
    def test_a_long_line_is_taken_as_it_is_and_told_of(self) -> None:
        body = b"x" * 999 + b"\r\n" + b"y" * 65_536 + b"\r\n" + b"z" * 998 + b"\r\n"
        answer = self.world.send(ALICE, content=HEAD + body)
        self.assertEqual(self.bodies(), [body.replace(b"\r\n", b"\n")])
        (accepted,) = self.world.journal.of("smtp.accepted")
        self.assertEqual(accepted["longest_line"], 65_536)
        received = self.world.story(parse_id(answer.split()[-1].decode()))[0]
        self.assertEqual(received.facts["longest_line"], 65_536)

    def test_a_line_as_it_should_be_is_not(self) -> None:
        answer = self.world.send(ALICE, content=HEAD + b"x" * 998 + b"\r\n")
        (accepted,) = self.world.journal.of("smtp.accepted")
        self.assertNotIn("longest_line", accepted)
        self.assertFalse(self.world.story(parse_id(answer.split()[-1].decode()))[0].facts.get("longest_line"))

    def test_a_line_without_measure_is_refused(self) -> None:
        answer = self.world.send(ALICE, content=HEAD + b"x" * 65_537 + b"\r\n")
        self.assertTrue(answer.startswith(b"550 5.6.0"), answer)
        (refusal,) = self.world.journal.of("smtp.rejected")
        self.assertEqual(refusal["reason"], "line-too-long")
