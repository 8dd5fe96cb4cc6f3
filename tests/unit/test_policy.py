"""mtad.policy: one table of cases a stage."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.route import Place, Route
from mtad.model.tenant import Domain
from mtad.model.verdict import Accept, Refuse, Verdict
from mtad.policy import content, recipient
from tests.unit.directory_values import ACME, PENDING, at

HERE = Place(at("alice@acme.example"), "local:acme.example")
DAY = 86400.0


def judged(
    domain: Domain | None = ACME,
    places: tuple[Place, ...] = (HERE,),
    *,
    disabled: bool = False,
    accepted_count: int = 0,
    accepted_places: int = 0,
    now: float = 0.0,
) -> Verdict:
    route = Route(at("alice@acme.example"), domain, "mailbox", places, disabled=disabled)
    return recipient.decide(
        recipient.RecipientFacts(
            route=route, accepted_count=accepted_count, accepted_places=accepted_places, max_recipients=100, now=now
        )
    )


class RecipientTest(SynchronousTestCase):
    def test_what_is_taken(self) -> None:
        self.assertEqual(judged(), Accept("mailbox"))
        self.assertIsInstance(judged(accepted_count=99), Accept)
        many = (HERE,) * recipient.MAX_PLACES
        self.assertIsInstance(judged(places=many), Accept, "one alias alone is never too many")

    def test_what_is_refused(self) -> None:
        for verdict, reply in (
            (judged(None, ()), replies.RELAY_DENIED),
            (judged(PENDING, (), now=1000.0 + 6.9 * DAY), replies.CLAIM_PENDING),
            (judged(PENDING, (), now=1000.0 + 7.1 * DAY), replies.RELAY_DENIED),
            (judged(places=()), replies.NO_SUCH_USER),
            (judged(places=(), disabled=True), replies.MAILBOX_DISABLED),
            (judged(accepted_count=100), replies.TOO_MANY_RECIPIENTS),
            (judged(accepted_places=recipient.MAX_PLACES), replies.TOO_MANY_RECIPIENTS),
        ):
            self.assertIsInstance(verdict, Refuse)
            assert isinstance(verdict, Refuse)
            self.assertEqual(verdict.reply, reply)


class ContentTest(SynchronousTestCase):
    def test_loops_are_cut_at_fifty(self) -> None:
        self.assertIsInstance(content.decide(content.ContentFacts(49)), Accept)
        self.assertEqual(content.decide(content.ContentFacts(50)), Refuse(replies.ROUTING_LOOP, "routing-loop"))

    def test_a_header_without_an_end(self) -> None:
        refused = content.decide(content.ContentFacts(0, header_ends=False))
        self.assertEqual(refused, Refuse(replies.HEADER_TOO_LARGE, "header-too-large"))
