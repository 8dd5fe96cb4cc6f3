"""mtad.policy.holds: whose mail a hold keeps, and which lanes it closes."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.hold import NULL_SENDER, Hold, HoldScope
from mtad.model.identity import print_id
from mtad.model.job import Job, Lane, Target
from mtad.policy.holds import Holds

NOW = 1000.0
ANN = Address("Ann", "outside.example")
BOB = Address("bob", "acme.example")


def job(sender: Address | None = ANN, destination: str = "local:acme.example", organisation: int = 1) -> Job:
    target = Target(Recipient(0, BOB, BOB, destination), 1, 0, 9e9)
    return Job(7, organisation, destination, sender, 7, 10, 0.0, 1, 1, (target,))


def hold(scope: HoldScope, what: str, organisation: int | None = None, expires_at: float | None = None) -> Hold:
    return Hold(scope, what, "why", "ops", 0.0, organisation, expires_at, 1)


class HoldsTest(SynchronousTestCase):
    def keeps(self, placed: Hold, one: Job, now: float = NOW) -> bool:
        return Holds([placed]).of(one, now) is placed

    def closes(self, placed: Hold, lane: Lane) -> bool:
        return Holds([placed]).closes(lane, NOW)

    def test_without_holds_everything_goes(self) -> None:
        self.assertIsNone(Holds().of(job(), NOW))
        self.assertFalse(Holds().closes(Lane(1, "local:acme.example"), NOW))

    def test_an_organisation(self) -> None:
        placed = hold(HoldScope.ORGANISATION, "acme", 1)
        self.assertTrue(self.keeps(placed, job(destination="mx:remote.example")))
        self.assertFalse(self.keeps(placed, job(organisation=2)))
        self.assertTrue(self.closes(placed, Lane(1, "mx:any.example")))
        self.assertFalse(self.closes(placed, Lane(2, "mx:any.example")))

    def test_a_domain_keeps_what_is_for_it_and_what_is_sent_as_it(self) -> None:
        placed = hold(HoldScope.DOMAIN, "acme.example")
        self.assertTrue(self.keeps(placed, job()))
        self.assertTrue(self.keeps(placed, job(Address("x", "acme.example"), "mx:remote.example", 2)))
        self.assertFalse(self.keeps(placed, job(destination="local:other.example")))
        self.assertTrue(self.closes(placed, Lane(1, "local:acme.example")))
        self.assertFalse(self.closes(placed, Lane(1, "mx:remote.example")), "others send there as well")

    def test_a_sender(self) -> None:
        for what, kept in {
            "ann@outside.example": True,
            "*@outside.example": True,
            "ann@acme.example": False,
            "*@acme.example": False,
            "bob@outside.example": False,
            NULL_SENDER: False,
        }.items():
            placed = hold(HoldScope.SENDER, what)
            self.assertEqual(self.keeps(placed, job()), kept, what)
            self.assertFalse(self.closes(placed, Lane(1, "local:acme.example")))
        self.assertTrue(self.keeps(hold(HoldScope.SENDER, NULL_SENDER), job(None)))
        self.assertFalse(self.keeps(hold(HoldScope.SENDER, "*@outside.example"), job(None)))

    def test_a_recipient_domain_is_where_mail_goes(self) -> None:
        placed = hold(HoldScope.RECIPIENT_DOMAIN, "remote.example")
        self.assertTrue(self.keeps(placed, job(destination="mx:remote.example")))
        self.assertFalse(self.keeps(placed, job(Address("x", "remote.example"))))
        self.assertTrue(self.closes(placed, Lane(5, "mx:remote.example")))
        literal = hold(HoldScope.RECIPIENT_DOMAIN, "[IPv6:2001:db8::1]")
        self.assertTrue(self.closes(literal, Lane(5, "mx:[IPv6:2001:db8::1]")))

    def test_a_message(self) -> None:
        self.assertTrue(self.keeps(hold(HoldScope.MESSAGE, print_id(7)), job()))
        self.assertFalse(self.keeps(hold(HoldScope.MESSAGE, print_id(8)), job()))

    def test_a_hold_of_one_organisation_keeps_nobody_elses(self) -> None:
        for placed in (
            hold(HoldScope.SENDER, "*@outside.example", 1),
            hold(HoldScope.RECIPIENT_DOMAIN, "acme.example", 1),
        ):
            self.assertTrue(self.keeps(placed, job()))
            self.assertFalse(self.keeps(placed, job(organisation=2)))
        self.assertFalse(self.closes(hold(HoldScope.RECIPIENT_DOMAIN, "acme.example", 1), Lane(2, "mx:acme.example")))

    def test_after_its_expiry_it_keeps_nothing(self) -> None:
        placed = hold(HoldScope.DOMAIN, "acme.example", expires_at=NOW)
        self.assertTrue(self.keeps(placed, job(), NOW - 1))
        self.assertFalse(self.keeps(placed, job(), NOW))

    def test_the_widest_is_the_one_it_is_held_by(self) -> None:
        narrow, wide = hold(HoldScope.MESSAGE, print_id(7)), hold(HoldScope.ORGANISATION, "acme", 1)
        self.assertIs(Holds([narrow, wide]).of(job(), NOW), wide)
