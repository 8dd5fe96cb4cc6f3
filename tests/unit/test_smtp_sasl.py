"""mtad.smtp.sasl: what is a claim and what is not, and that no password is ever shown."""

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp.sasl import IDENTITY_OCTETS, PASSWORD_OCTETS, Authenticate, Challenge, Step, begin


def plain(message: bytes) -> Step:
    return begin(b"PLAIN " + (b64encode(message) or b"="))


class SaslTest(SynchronousTestCase):
    def test_a_claim_of_plain(self) -> None:
        self.assertEqual(plain(b"\0ann\0pw"), Authenticate("PLAIN", "ann", b"pw"))
        self.assertEqual(plain("bob\0zo\u00e9\0p\u00e4".encode()), Authenticate("PLAIN", "zoé", "pä".encode(), "bob"))

    def test_what_is_no_claim(self) -> None:
        for message in (
            b"", b"ann", b"\0ann", b"\0\0pw", b"\0ann\0", b"\0ann\0p\0w", b"\0\xff\0pw", b"\xff\0ann\0pw",
            b"\0" + b"a" * (IDENTITY_OCTETS + 1) + b"\0pw", b"a" * (IDENTITY_OCTETS + 1) + b"\0ann\0pw",
            b"\0ann\0" + b"p" * (PASSWORD_OCTETS + 1),
        ):  # fmt: skip
            self.assertEqual(plain(message), replies.BAD_LOGIN, message[:20])
        self.assertIsInstance(plain(b"\0" + b"a" * IDENTITY_OCTETS + b"\0" + b"p" * PASSWORD_OCTETS), Authenticate)

    def test_login_asks_twice(self) -> None:
        first = begin(b"LOGIN")
        assert isinstance(first, Challenge)
        second = first.answered(b64encode(b"ann"))
        assert isinstance(second, Challenge)
        self.assertEqual(second.answered(b64encode(b"pw")), Authenticate("LOGIN", "ann", b"pw"))
        for answer, reply in ((b"*", replies.LOGIN_CANCELLED), (b"", replies.BAD_LOGIN), (b"AA==", replies.BAD_LOGIN)):
            self.assertEqual(second.answered(answer), reply)
        self.assertEqual(first.answered(b""), replies.BAD_LOGIN)

    def test_mechanisms(self) -> None:
        self.assertEqual(begin(b""), replies.BAD_ARGUMENTS)
        for unknown in (b"CRAM-MD5", b"PLAINS x", b"=", b"\xff"):
            self.assertEqual(begin(unknown), replies.UNKNOWN_MECHANISM)

    def test_a_password_is_not_shown(self) -> None:
        self.assertNotIn("geheim", repr(plain(b"\0ann\0geheim")))

    @given(st.binary(max_size=60), st.lists(st.binary(max_size=60), max_size=3))
    def test_any_octets_lead_somewhere(self, argument: bytes, lines: list[bytes]) -> None:
        step = begin(argument)
        for line in lines:
            if not isinstance(step, Challenge):
                break
            self.assertEqual(step.reply.code, 334)
            step = step.answered(line)
        self.assertIsInstance(step, Challenge | Authenticate | Reply)
