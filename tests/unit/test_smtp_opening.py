"""mtad.smtp.client before the first transaction: STARTTLS, AUTH, and servers that lack them."""

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.next_hop import Credentials, Dialect, TlsLevel
from mtad.model.outcome import Deferred, Scope
from mtad.smtp.answers import Step, outcome_of
from mtad.smtp.client import ClientConversation, Closing, Event, Ready, Send, StartTls, Terms, Unfit
from mtad.smtp.transaction import Transaction
from tests.unit.recipients import to

EHLO = Send(b"EHLO mx.acme.example\r\n")
STARTTLS = Send(b"STARTTLS\r\n")
ANN = Credentials("ann", "sesame")
PLAIN = b"AUTH PLAIN " + b64encode(b"\0ann\0sesame") + b"\r\n"


class OpeningCase(SynchronousTestCase):
    """Plays the server by hand, as far as the reply to EHLO."""

    def hear(self, *lines: bytes) -> list[Event]:
        return self.conversation.receive(b"".join(line + b"\r\n" for line in lines))

    def greet(self, tls: TlsLevel, *offers: bytes, credentials: Credentials | None = None) -> list[Event]:
        self.conversation = ClientConversation(Dialect.SMTP, "mx.acme.example", Terms(tls, credentials))
        self.assertEqual(self.hear(b"220 hi"), [EHLO])
        return self.hello(*offers)

    def hello(self, *offers: bytes) -> list[Event]:
        return self.hear(*(b"250-%s" % offer for offer in (b"hi", *offers)), b"250 HELP")

    def secure(self) -> None:
        """Answer STARTTLS, and take the hello that is sent over TLS."""
        self.assertEqual(self.hear(b"220 go ahead"), [StartTls()])
        self.assertEqual(self.conversation.secured(), EHLO.octets)


class StartTlsTest(OpeningCase):
    def test_the_hello_is_said_again_over_tls(self) -> None:
        self.assertEqual(self.greet(TlsLevel.MAY, b"STARTTLS", b"PIPELINING"), [STARTTLS])
        self.assertEqual(self.conversation.awaited, Step.STARTTLS)
        self.secure()
        self.assertEqual(self.conversation.awaited, Step.HELLO)
        self.assertEqual(self.hello(b"STARTTLS", b"SIZE 9"), [Ready()])
        self.assertEqual(self.conversation.extensions, {"STARTTLS": "", "SIZE": "9", "HELP": ""})

    def test_what_came_before_tls_is_forgotten(self) -> None:
        self.greet(TlsLevel.MAY, b"STARTTLS", b"8BITMIME")
        events = self.hear(b"220 go ahead", b"250-injected", b"250 AUTH PLAIN", b"junk", b"250-half a")
        self.assertEqual(events, [StartTls()])
        self.conversation.secured()
        self.assertEqual(self.conversation.extensions, {})
        self.assertEqual(self.hello(b"SIZE"), [Ready()])
        self.assertNotIn("AUTH", self.conversation.extensions)

    def test_it_is_not_asked_for_where_it_is_not_wanted(self) -> None:
        self.assertEqual(self.greet(TlsLevel.NONE, b"STARTTLS"), [Ready()])

    def test_without_an_offer_it_depends(self) -> None:
        self.assertEqual(self.greet(TlsLevel.MAY), [Ready()])
        for level in (TlsLevel.ENCRYPT, TlsLevel.VERIFY):
            (event,) = self.greet(level)
            assert isinstance(event, Unfit)
            self.assertIn("STARTTLS", event.reason)
            self.assertEqual(self.hear(b"250 more"), [])

    def test_a_refusal_depends(self) -> None:
        self.greet(TlsLevel.MAY, b"STARTTLS")
        self.assertEqual(self.hear(b"454 4.7.0 not now"), [Ready()])
        self.greet(TlsLevel.ENCRYPT, b"STARTTLS")
        (event,) = self.hear(b"554 5.7.0 never")
        assert isinstance(event, Closing)
        outcome = outcome_of(event.answer)
        assert isinstance(outcome, Deferred)
        self.assertEqual((outcome.scope, outcome.status), (Scope.HOST, "4.7.0"))

    def test_a_server_of_old_has_no_tls(self) -> None:
        self.conversation = ClientConversation(Dialect.SMTP, "mx.acme.example", Terms(TlsLevel.ENCRYPT))
        self.hear(b"220 hi", b"502 what")
        (event,) = self.hear(b"250 hi")
        self.assertIsInstance(event, Unfit)

    def test_an_offer_is_only_taken_once(self) -> None:
        self.greet(TlsLevel.MAY, b"STARTTLS")
        self.secure()
        self.assertEqual(self.hello(b"STARTTLS"), [Ready()])


class AuthTest(OpeningCase):
    def open(self, *mechanisms: bytes) -> list[Event]:
        """Return what follows the hello over TLS that offers these mechanisms."""
        self.greet(TlsLevel.ENCRYPT, b"STARTTLS", b"AUTH PLAIN", credentials=ANN)
        self.secure()
        return self.hello(b"PIPELINING", *(b"AUTH " + each for each in mechanisms))

    def test_plain(self) -> None:
        self.assertEqual(self.open(b"LOGIN PLAIN"), [Send(PLAIN)])
        self.assertEqual(self.hear(b"235 2.7.0 welcome"), [Ready()])
        said = self.conversation.begin(Transaction(None, to(Address("bob", "remote.example")), 5))
        self.assertTrue(said.startswith(b"MAIL FROM:<>"))

    def test_login_is_one_answer_at_a_time(self) -> None:
        self.assertEqual(self.open(b"CRAM-MD5 login"), [Send(b"AUTH LOGIN\r\n")])
        self.assertEqual(self.hear(b"334 VXNlcm5hbWU6"), [Send(b64encode(b"ann") + b"\r\n")])
        self.assertEqual(self.hear(b"334 UGFzc3dvcmQ6"), [Send(b64encode(b"sesame") + b"\r\n")])
        self.assertEqual(self.hear(b"235 2.7.0 welcome"), [Ready()])

    def test_a_refusal_is_the_hosts_trouble_and_temporary(self) -> None:
        for mechanism, replies in (
            (b"PLAIN", (b"535 5.7.8 no",)),
            (b"LOGIN", (b"504 5.5.4 no",)),
            (b"LOGIN", (b"334 a", b"334 b", b"535 5.7.8 no")),
        ):
            self.open(mechanism)
            for reply in replies[:-1]:
                self.hear(reply)
            (event,) = self.hear(replies[-1])
            assert isinstance(event, Closing)
            outcome = outcome_of(event.answer)
            assert isinstance(outcome, Deferred)
            self.assertEqual(outcome.scope, Scope.HOST)
            self.assertIn("AUTH", outcome.detail)

    def test_without_a_mechanism_we_know_nothing_is_said(self) -> None:
        for mechanisms in ((), (b"CRAM-MD5 XOAUTH2",), (b"PLAIN-CLIENTTOKEN",)):
            (event,) = self.open(*mechanisms)
            self.assertIsInstance(event, Unfit)

    def test_the_password_is_not_sent_in_clear_unless_tls_is_none(self) -> None:
        (event,) = self.greet(TlsLevel.MAY, b"AUTH PLAIN", credentials=ANN)
        assert isinstance(event, Unfit)
        self.assertIn("password", event.reason)
        self.greet(TlsLevel.MAY, b"STARTTLS", b"AUTH PLAIN", credentials=ANN)
        (event,) = self.hear(b"454 not now")
        self.assertIsInstance(event, Unfit)
        self.assertEqual(self.greet(TlsLevel.NONE, b"AUTH PLAIN", credentials=ANN), [Send(PLAIN)])

    def test_the_password_is_not_shown(self) -> None:
        self.assertNotIn("sesame", repr(ANN))
        self.assertNotIn("sesame", repr(Terms(TlsLevel.ENCRYPT, ANN)))
