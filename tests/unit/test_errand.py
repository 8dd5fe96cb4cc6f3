"""mtad.outbound.errand and .lately: who is still to be told of, and what is remembered of servers."""

from twisted.internet.defer import Deferred as Pending
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Parameters
from mtad.model.outcome import Delivered, Failed
from mtad.outbound.errand import RECIPIENTS_PER_TRANSACTION, Errand, Mail, surveyed
from mtad.outbound.lately import MAX_ENTRIES, Lately
from mtad.smtp.offers import NO_LIMITS, Limits
from mtad.smtp.survey import Survey
from tests.unit.recipients import to

ANN = Address("ann", "outside.example")


class ErrandTest(SynchronousTestCase):
    def errand(self, *addresses: str, content: bytes = b"Subject: x\r\n\r\nx\r\n", smtputf8: bool = False) -> Errand:
        survey = Survey()
        survey.look(content)
        recipients = to(*(Address(*address.split("@")) for address in addresses))
        return Errand(Mail(ANN, content, Parameters(smtputf8)), recipients, survey)

    def test_a_transaction_has_what_every_server_takes_or_less_where_it_says_so(self) -> None:
        errand = self.errand(*(f"u{n}@a.example" for n in range(150)))
        self.assertEqual(errand.batch(NO_LIMITS), list(range(RECIPIENTS_PER_TRANSACTION)))
        self.assertEqual(errand.batch(Limits(recipients=500)), list(range(RECIPIENTS_PER_TRANSACTION)))
        self.assertEqual(errand.batch(Limits(recipients=3)), [0, 1, 2])

    def test_so_many_domains_a_transaction(self) -> None:
        errand = self.errand("a@one.example", "b@two.example", "c@one.example", "d@three.example", "e@two.example")
        self.assertEqual(errand.batch(Limits(domains=1)), [0, 2])
        self.assertEqual(errand.batch(Limits(domains=2)), [0, 1, 2, 4])
        errand.close([0, 2], [Delivered("ok")] * 2)
        self.assertEqual(errand.batch(Limits(domains=1, recipients=1)), [1])

    def test_every_recipient_has_an_outcome_in_the_end(self) -> None:
        errand = self.errand("a@one.example", "b\r\nRSET@one.example", "c@one.example")
        self.assertEqual(errand.open, [0, 2])
        errand.close([0, 2], [None, Delivered("ok")])
        self.assertEqual(errand.open, [0])
        errand.end(Delivered("late"))
        self.assertEqual([type(outcome) for outcome in errand.outcomes], [Delivered, Failed, Delivered])

    def test_a_message_that_cannot_be_sent_is_over_at_once(self) -> None:
        errand = self.errand("a@one.example", content=b"x\n.\r\n")
        self.assertEqual([outcome.status for outcome in errand.outcomes], ["5.6.0"])

    def test_what_the_transaction_says_of_the_content(self) -> None:
        for content, smtputf8, eight_bit, in_head in (
            ("Subject: x\r\n\r\nx\r\n", True, False, False),
            ("Subject: x\r\n\r\né\r\n", True, True, False),
            ("Subject: é\r\n\r\nx\r\n", True, True, True),
            ("Subject: é\r\n", True, True, True),
            ("Subject: é\r\n\r\nx\r\n", False, True, False),
        ):
            errand = self.errand("a@one.example", content=content.encode(), smtputf8=smtputf8)
            transaction = errand.transaction([0])
            self.assertEqual((transaction.eight_bit, transaction.eight_bit_head), (eight_bit, in_head), content)
            self.assertEqual(transaction.octets, len(content.encode()))

    def test_a_look_at_a_large_content_lets_others_have_their_turn(self) -> None:
        clock = Clock()
        look = Pending.fromCoroutine(surveyed(Mail(ANN, b"a line\r\n" * 400_000 + b"\r"), clock))
        self.assertNoResult(look)
        for _ in range(4):
            clock.advance(0)
        self.assertTrue(self.successResultOf(look).bare_newline)

    def test_what_is_known_to_be_sound_is_not_looked_at_again_and_all_else_is(self) -> None:
        for content, sound_octets, bare in (
            (b"A: b\r\n\r\nx\r\n", 3, False),
            (b"A: b\n\r\nx\r\n", 3, True),
            (b"A: b\r\n\r\nx\n", 0, True),
            # Nobody says so of such a content; it shows that nobody looks.
            (b"A: b\r\n\r\nx\n", 2, False),
        ):
            survey = self.successResultOf(
                Pending.fromCoroutine(surveyed(Mail(ANN, content, sound_octets=sound_octets), Clock()))
            )
            self.assertEqual(survey.bare_newline, bare, content)


class LatelyTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lately = Lately(self.clock, 60.0)

    def test_for_so_long(self) -> None:
        self.lately.note("a")
        self.clock.advance(59)
        self.assertIn("a", self.lately)
        self.clock.advance(1)
        self.assertNotIn("a", self.lately)

    def test_until_it_is_forgotten(self) -> None:
        self.lately.note("a")
        self.lately.forget("a")
        self.lately.forget("b")
        self.assertNotIn("a", self.lately)

    def test_of_too_many_the_oldest_goes(self) -> None:
        for n in range(MAX_ENTRIES):
            self.lately.note(str(n))
        self.lately.note("0")
        self.lately.note("new")
        self.assertEqual([known in self.lately for known in ("0", "1", "2", "new")], [True, False, True, True])
