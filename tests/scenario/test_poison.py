"""What no database takes as text (NUL, octets that are no UTF-8, encoded surrogates), in every place a peer has a say.

Each is refused for good where it stands in a command, and escaped where it is only told of: none comes to the store as
text. What the store does with some that does is `tests.contract.test_poison`'s and `tests.system.test_poison`'s.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Network, Tls, Verification
from mtad.model.authentication import Strictness
from mtad.model.tenant import SmtpDelivery
from mtad.testing.network import Line
from mtad.testing.world import World, settings

NUL, LATIN_1, LONE_SURROGATE = b"\0", b"\xe9", b"\xed\xa0\x80"
POISONS = (NUL, LATIN_1, LONE_SURROGATE)
PROXY, BALANCER = ("198.51.100.4", 50000), ("198.51.100.3", 50000)
MAIL, RCPT = b"MAIL FROM:<ann@outside.example>", b"RCPT TO:<alice@acme.example>"
NOWHERE = SmtpDelivery("192.0.2.99:25")


def of_mail(poison: bytes) -> Iterator[bytes]:
    """Yield MAIL with poison in each part of it, also as xtext (RFC 3461 §4)."""
    hexchars = b"".join(b"+%02X" % octet for octet in poison)
    for wish in (b"", b" SMTPUTF8"):
        for path in (
            b"a%sb@outside.example",
            b'"a%sb"@outside.example',
            b"ann@out%sside.example",
            b"@x%s:ann@x.example",
        ):
            yield b"MAIL FROM:<" + path % poison + b">" + wish
        for parameter in (b"RET=FULL%s", b"ENVID=a%sb", b"BODY=7BIT%s", b"SIZE=1%s", b"X%s=1"):
            yield MAIL + b" " + parameter % poison + wish
        yield MAIL + b" ENVID=a" + hexchars + wish


def of_rcpt(poison: bytes) -> Iterator[bytes]:
    """Yield RCPT, the same way."""
    hexchars = b"".join(b"+%02X" % octet for octet in poison)
    for path in (b"a%sb@acme.example", b'"a%sb"@acme.example', b"alice@ac%sme.example", b"postmaster%s"):
        yield b"RCPT TO:<" + path % poison + b">"
    for parameter in (b"NOTIFY=NEVER%s", b"ORCPT=rfc822;a%sb", b"ORCPT=utf-8;a%sb", b"ORCPT=a%s;b", b"X%s=1"):
        yield RCPT + b" " + parameter % poison
    yield RCPT + b" ORCPT=rfc822;a" + hexchars
    yield RCPT + b" ORCPT=utf-8;a" + hexchars
    yield RCPT + rb" ORCPT=utf-8;a\x{D800}b"


def of_xclient(poison: bytes) -> Iterator[bytes]:
    """Yield XCLIENT, the same way."""
    hexchars = b"".join(b"+%02X" % octet for octet in poison)
    for said in (poison, hexchars):
        for name in (b"NAME", b"HELO", b"LOGIN", b"ADDR"):
            yield b"XCLIENT " + name + b"=a" + said


def of_content(poison: bytes) -> Iterator[bytes]:
    """Yield contents with poison in each field that something is made of, and in the others."""
    signature = b"v=1; a=rsa-sha256; d=%s; s=%s; i=%s; h=from; bh=YQ==; b=YQ=="
    for field in (
        b"Message-ID: <a%sb@outside.example>",
        b"From: <a%sb@outside.example>",
        b"From: <ann@out%sside.example>",
        b"Subject: a%sb",
        b"Authentication-Results: mx%s.test; spf=pass",
        b"DKIM-Signature: " + signature % (b"a%sb.example", b"s1", b"@b.example"),
        b"DKIM-Signature: " + signature % (b"b.example", b"s%s1", b"@b.example"),
        b"DKIM-Signature: " + signature % (b"b.example", b"s1", b"a%sb@b.example"),
        b"ARC-Seal: i=1; cv=none; a=rsa-sha256; d=a%sb.example; s=s1; b=YQ==",
        b"List-Id: <a%sb>",
        b"Na%sme: x",
    ):
        yield field % poison + b"\r\n\r\nhello\r\n"
    yield b"Subject: hi\r\n\r\nhel%slo\r\n" % poison


def texts(value: object) -> Iterator[str]:
    """Yield all text in a value, to its bottom."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from texts(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.items():
            yield from texts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from texts(part)


class PoisonTest(SynchronousTestCase):
    """Mail for alice has nowhere to go, so all that is accepted can be seen."""

    def setUp(self) -> None:
        path = Path(self.mktemp())
        made = settings(path, Verification(dmarc=Strictness.MONITOR))
        server = structs.replace(
            made.server,
            xclient_networks=(Network(PROXY[0]),),
            proxy_protocol_networks=(Network(BALANCER[0]),),
        )
        tls = Tls(cert_file=Path("cert.pem"), key_file=Path("key.pem"))
        self.world = World(path, configured=structs.replace(made, server=server, tls=tls))
        self.world.tls.configured = True
        self.world.host("alice@acme.example", delivery=NOWHERE)

    def tearDown(self) -> None:
        """Nothing went wrong unseen, and no text in the store, nor in the journal, is poisoned."""
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])
        store = self.world.store
        for text in texts([store.messages, [row.recipient for row in store.rows.values()], store.happenings]):
            self.assertNotIn("\0", text)
            text.encode()
        for text in texts(self.world.journal.records):
            self.assertTrue(text.isprintable(), ascii(text))

    def greeted(self, *said: bytes, port: str = "smtp", peer: tuple[str, int] = ("192.0.2.7", 40000)) -> Line:
        line = self.world.connect(port, peer)
        for command in (b"EHLO outside.example", *said):
            self.assertEqual(self.world.say(line, command + b"\r\n")[:1], b"2")
        return line

    def assert_refused(self, line: Line, command: bytes) -> None:
        answer = self.world.say(line, command + b"\r\n")
        self.assertRegex(answer, rb"\A5\d\d[^\r]*\r\n\Z", command)

    def send(self, line: Line, content: bytes) -> bytes:
        self.assertEqual(self.world.say(line, b"DATA\r\n")[:3], b"354")
        return self.world.say(line, content + b".\r\n")[:9]

    def test_in_mail(self) -> None:
        for poison in POISONS:
            for command in of_mail(poison):
                self.assert_refused(self.greeted(), command)

    def test_in_rcpt(self) -> None:
        for poison in POISONS:
            for command in of_rcpt(poison):
                for mail in (MAIL, MAIL + b" SMTPUTF8"):
                    self.assert_refused(self.greeted(mail), command)

    def test_in_xclient(self) -> None:
        for poison in POISONS:
            for command in of_xclient(poison):
                self.assert_refused(self.greeted(port="submissions", peer=PROXY), command)

    def test_in_a_proxy_header(self) -> None:
        for poison in POISONS:
            for place in range(5):
                words = [b"PROXY", b"TCP4", b"203.0.113.9", b"192.0.2.1", b"40001", b"25"]
                words[place + 1] += poison
                line = self.world.call(peer=BALANCER)
                self.assertEqual(self.world.say(line, b" ".join(words) + b"\r\n"), b"")
                self.assertTrue(line.closed, words)

    def test_in_a_login(self) -> None:
        for poison in POISONS:
            line = self.greeted(port="submissions")
            login = b64encode(b"\0a%sb@acme.example\0secret%s" % (poison, poison))
            self.assert_refused(line, b"AUTH PLAIN " + login)

    def test_in_helo(self) -> None:
        for poison in POISONS:
            line = self.world.connect()
            for command in (b"EHLO a%sb.example" % poison, MAIL, RCPT):
                self.assertEqual(self.world.say(line, command + b"\r\n")[:3], b"250")
            self.assertEqual(self.send(line, b"Subject: hi\r\n\r\nhello\r\n"), b"250 2.0.0")
        self.assertEqual(len(self.world.store.messages), len(POISONS))

    def test_in_content(self) -> None:
        for poison in POISONS:
            for content in of_content(poison):
                answer = self.send(self.greeted(MAIL + b" BODY=8BITMIME", RCPT), content)
                self.assertEqual(answer, b"550 5.5.2" if poison == NUL else b"250 2.0.0", content)
        self.assertEqual(len(self.world.store.contents), 2 * len(list(of_content(NUL))))
        for stored in self.world.store.contents.values():
            self.assertTrue(LATIN_1 in stored or LONE_SURROGATE in stored, stored)

    def test_in_the_answers_of_name_servers(self) -> None:
        zone = self.world.zone
        for number, text in enumerate(("a\0b", "a\xe9b", "a\ud800b", r"a\000b")):
            zone[f"{number}.2.0.192.in-addr.arpa"] = [f"PTR {text}.example."]
            zone[f"{text}.example"] = [f"A 192.0.2.{number}"]
            line = self.greeted(MAIL, RCPT, peer=(f"192.0.2.{number}", 40000))
            self.assertEqual(self.send(line, b"From: <ann@outside.example>\r\n\r\nhello\r\n"), b"250 2.0.0")
        told = "".join(texts(self.world.store.happenings))
        self.assertIn("a\\x00b.example", told)
