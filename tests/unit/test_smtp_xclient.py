"""XCLIENT's attributes: what proxies send, and what nobody should."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.smtp.xclient import ATTRIBUTES, parse


class ParseTest(SynchronousTestCase):
    def test_what_proxies_send(self) -> None:
        self.assertEqual(
            parse(b"NAME=spike.porcupine.org ADDR=168.100.189.2"),
            {"NAME": "spike.porcupine.org", "ADDR": "168.100.189.2"},
        )
        self.assertEqual(
            parse(b"addr=ipv6:2001:DB8:0::1 port=0025 helo=pc.example login=alice+40acme.example"),
            {"ADDR": "2001:db8::1", "PORT": "25", "HELO": "pc.example", "LOGIN": "alice@acme.example"},
        )

    def test_login_may_have_any_letter(self) -> None:
        self.assertEqual(parse(b"LOGIN=b+C3+BCcher+2Bx+3D@acme.example"), {"LOGIN": "bücher+x=@acme.example"})

    def test_what_cannot_be_known_is_empty(self) -> None:
        self.assertEqual(
            parse(b"NAME=[TEMPUNAVAIL] ADDR=[unavailable] PORT=[Unavailable] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]"),
            dict.fromkeys(ATTRIBUTES, ""),
        )

    def test_what_is_malformed(self) -> None:
        for argument in (
            b"", b" ", b"ADDR", b"ADDR=", b"=192.0.2.1", b"ADDR=192.0.2.256", b"ADDR=2001:db8::1",
            b"ADDR=IPV6:192.0.2.1", b"ADDR=IPV6:fe80::1%eth0", b"ADDR=[192.0.2.1]", b"ADDR=192.0.2.1 ADDR=192.0.2.2",
            b"PORT=65536", b"PORT=-1", b"PORT=http", b"NAME=a+0D+0ANOOP", b"NAME=a+", b"NAME=a+4", b"NAME=a+zz",
            b"HELO=a=b", b"HELO=\xc3\xbc", b"HELO=+FF", b"DESTADDR=192.0.2.1", b"HELO=" + b"a" * 321,
        ):  # fmt: skip
            self.assertIs(parse(argument), replies.BAD_ARGUMENTS, argument)

    @given(st.binary(max_size=200))
    def test_octets_make_attributes_or_a_reply(self, octets: bytes) -> None:
        found = parse(octets)
        if isinstance(found, dict):
            self.assertTrue(found.keys() <= set(ATTRIBUTES))
            self.assertTrue(all(value.isprintable() for value in found.values()))

    @given(st.text(st.characters(min_codepoint=33, exclude_categories=["C", "Z"]), min_size=1, max_size=60))
    def test_any_login_survives_xtext(self, login: str) -> None:
        coded = re.sub(rb"[^!-*,-<>-~]", lambda match: b"+%02X" % match[0][0], login.encode())
        self.assertEqual(parse(b"LOGIN=" + coded), {"LOGIN": login})
