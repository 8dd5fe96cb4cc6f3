"""mtad.message.trace: fields another server can read, and that no peer can write into."""

from email import message_from_bytes
from email.utils import parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message.headers import fields
from mtad.message.trace import delivered_to, received, return_path
from mtad.model.address import Address
from mtad.model.envelope import Peer

ALICE = Address("alice", "acme.example")
NOW = 1_763_817_265.9


def stamp(peer: Peer, for_: Address | None = ALICE, international: bool = False) -> bytes:
    return received(
        peer=peer,
        hostname="mx.example",
        printed_id="0GK1M2N3P4Q5R",
        for_=for_,
        now=NOW,
        international=international,
    )


class ReceivedTest(SynchronousTestCase):
    def test_a_field(self) -> None:
        self.assertEqual(
            stamp(Peer("192.0.2.1", 4711, "c.example", esmtp=True, tls="TLSv1.3")),
            b"Received: from c.example ([192.0.2.1])\r\n"
            b"\tby mx.example with ESMTPS (TLSv1.3) id 0GK1M2N3P4Q5R\r\n"
            b"\tfor <alice@acme.example>;\r\n"
            b"\tSat, 22 Nov 2025 13:14:25 +0000\r\n",
        )

    def test_protocol_words(self) -> None:
        for peer, word in (
            (Peer("192.0.2.1", 1, "c"), b" with SMTP id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True), b" with ESMTP id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True, tls="TLSv1.2"), b" with ESMTPS (TLSv1.2) id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True, authenticated=True), b" with ESMTPA id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True, tls="TLSv1.2", authenticated=True), b" with ESMTPSA (TLSv1.2) id "),
            (Peer("192.0.2.1", 1, "c", tls="TLSv1.2"), b" with SMTP (TLSv1.2) id "),
        ):
            self.assertIn(word, stamp(peer))

    def test_protocol_words_of_smtputf8(self) -> None:
        for peer, word in (
            (Peer("192.0.2.1", 1, "c", esmtp=True), b" with UTF8SMTP id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True, tls="TLSv1.2"), b" with UTF8SMTPS (TLSv1.2) id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True, authenticated=True), b" with UTF8SMTPA id "),
            (Peer("192.0.2.1", 1, "c", esmtp=True, tls="TLSv1.2", authenticated=True), b" with UTF8SMTPSA (TLSv1.2)"),
        ):
            self.assertIn(word, stamp(peer, international=True))

    def test_addresses(self) -> None:
        for host, literal in (
            ("192.0.2.1", b"([192.0.2.1])"),
            ("2001:db8::1", b"([IPv6:2001:db8::1])"),
            ("fe80::1%eth0", b"([IPv6:fe80::1])"),
            ("unix", b"(unix)"),
        ):
            self.assertIn(b"from c.example " + literal + b"\r\n", stamp(Peer(host, 1, "c.example")))

    def test_a_peer_without_a_name_goes_by_its_address(self) -> None:
        self.assertIn(b"from [192.0.2.1] ([192.0.2.1])\r\n", stamp(Peer("192.0.2.1", 1)))

    def test_several_recipients_are_not_named_nor_one_beyond_ascii(self) -> None:
        for for_ in (None, Address("jürgen", "c.example")):
            self.assertNotIn(b"for ", stamp(Peer("192.0.2.1", 1, "c"), for_=for_, international=True))

    def test_the_date_is_read_back(self) -> None:
        text = message_from_bytes(stamp(Peer("192.0.2.1", 1, "c")))["Received"].rpartition(";")[2]
        self.assertEqual(parsedate_to_datetime(text.strip()).timestamp(), int(NOW))

    @given(st.text(max_size=400), st.text(max_size=60))
    def test_a_peer_writes_nothing_but_its_name(self, helo: str, tls: str) -> None:
        octets = stamp(Peer("192.0.2.1", 1, helo, True, tls))
        self.assertEqual([name for name, _ in fields(octets)], [b"Received"])
        self.assertEqual(octets.count(b"("), 2 if tls else 1)
        self.assertEqual(octets.count(b"\n"), 4)
        self.assertLess(max(map(len, octets.split(b"\r\n"))), 998)
        self.assertTrue(octets.isascii())


class DeliveryFieldsTest(SynchronousTestCase):
    def test_return_path(self) -> None:
        self.assertEqual(return_path(ALICE), b"Return-Path: <alice@acme.example>\r\n")
        self.assertEqual(return_path(None), b"Return-Path: <>\r\n")

    def test_delivered_to(self) -> None:
        self.assertEqual(delivered_to(ALICE), b"Delivered-To: alice@acme.example\r\n")
        self.assertEqual(delivered_to(Address("jürgen", "c.example")), "Delivered-To: jürgen@c.example\r\n".encode())
