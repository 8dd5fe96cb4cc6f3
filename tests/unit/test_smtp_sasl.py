"""mtad.smtp.sasl: what is a claim and what is not, and that no password is ever shown."""

from base64 import b64decode, b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp import sasl
from mtad.smtp.sasl import IDENTITY_OCTETS, PASSWORD_OCTETS, Authenticate, Challenge, Confirm, Proof, Step
from mtad.smtp.scram import Opening
from tests.unit.scram_client import VERIFIER, Client

ALL = sasl.mechanisms(channel_binding=True)


def begin(argument: bytes) -> Step:
    return sasl.begin(argument, ALL)


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

    def test_what_is_not_offered_is_not_begun(self) -> None:
        self.assertEqual(ALL, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"))
        self.assertEqual(sasl.begin(b"SCRAM-SHA-256-PLUS", sasl.mechanisms(False)), replies.UNKNOWN_MECHANISM)
        self.assertIsInstance(sasl.begin(b"scram-sha-256", sasl.mechanisms(False)), Challenge)

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
        self.assertIsInstance(step, Challenge | Authenticate | Opening | Reply)


class ScramStepsTest(SynchronousTestCase):
    """The steps of SCRAM; what its messages mean is tests.unit.test_smtp_scram's."""

    def setUp(self) -> None:
        self.client = Client("ann@acme.example", "pencil")

    def opened(self) -> Opening:
        step = begin(b"SCRAM-SHA-256 " + b64encode(self.client.first()))
        assert isinstance(step, Opening)
        return step

    def asked(self, verifier: str = VERIFIER) -> Challenge:
        step = sasl.question(self.opened(), verifier=verifier, nonce="server", binding=None)
        assert isinstance(step, Challenge)
        return step

    def text(self, challenge: Challenge) -> bytes:
        return b64decode(challenge.reply.lines[0])

    def test_it_may_begin_without_an_initial_response(self) -> None:
        challenge = begin(b"SCRAM-SHA-256")
        assert isinstance(challenge, Challenge)
        self.assertEqual(challenge.reply.lines, ("",))
        self.assertEqual(challenge.answered(b64encode(Client("ann@acme.example", "pencil").first())), self.opened())
        self.assertEqual(challenge.answered(b"*"), replies.LOGIN_CANCELLED)
        self.assertEqual(begin(b"SCRAM-SHA-256 ="), replies.BAD_LOGIN)

    def test_who_knows_the_password_confirms(self) -> None:
        challenge = self.asked()
        proof = challenge.answered(b64encode(self.client.final(self.text(challenge))))
        assert isinstance(proof, Proof)
        self.assertEqual((proof.mechanism, proof.authcid, proof.wrong), ("SCRAM-SHA-256", "ann@acme.example", ""))
        assert proof.final is not None
        self.client.trust(self.text(proof.final))
        self.assertEqual(proof.final.answered(b""), Confirm())
        self.assertEqual(proof.final.answered(b"*"), replies.LOGIN_CANCELLED)
        self.assertEqual(proof.final.answered(b64encode(b"no")), replies.BAD_LOGIN)

    def test_who_does_not_know_it_is_wrong_and_is_told_nothing(self) -> None:
        self.client = Client("ann@acme.example", "wrong")
        challenge = self.asked()
        proof = challenge.answered(b64encode(self.client.final(self.text(challenge))))
        assert isinstance(proof, Proof)
        self.assertEqual((proof.wrong, proof.final), ("wrong password", None))

    def test_what_is_no_answer(self) -> None:
        challenge = self.asked()
        for answer, reply in (
            (b"*", replies.LOGIN_CANCELLED),
            (b"", replies.BAD_LOGIN),
            (b"%", replies.BAD_BASE64),
            (b64encode(b"n,,x"), replies.BAD_LOGIN),
        ):
            self.assertEqual(challenge.answered(answer), reply)

    def test_no_verifier_is_shown(self) -> None:
        challenge = self.asked()
        proof = challenge.answered(b64encode(self.client.final(self.text(challenge))))
        self.assertNotIn(VERIFIER[-20:], repr(proof) + repr(challenge))
