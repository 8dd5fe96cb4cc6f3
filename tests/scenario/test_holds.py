"""Holds on the whole server: what is kept, what goes on, and what becomes of it when somebody lets go."""

from pathlib import Path

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.config.kinds import Seconds
from mtad.config.sections import Queue
from mtad.model.hold import Hold, HoldScope
from mtad.model.identity import parse_id, print_id
from mtad.model.job import RowState, Status
from mtad.testing.world import DAY, HOUR, MINUTE, World, settings


class HoldsTest(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        short = structs.replace(settings(path), queue=Queue(lifetime=Seconds(2 * HOUR)))
        self.world = World(path, configured=short)
        self.world.host("alice@acme.example", "bob@acme.example")
        self.world.host("carol@other.example", organisation="other")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def accepted(self, *recipients: str, world: World | None = None, sender: str = "ann@outside.example") -> int:
        answer = (world or self.world).send(*recipients, sender=sender)
        self.assertTrue(answer.startswith(b"250 2.0.0"), answer)
        return parse_id(answer.split()[-1].decode())

    def place(self, scope: HoldScope, what: str, organisation: int | None = None, seconds: float | None = None) -> int:
        now = self.world.wall.now()
        expires_at = None if seconds is None else now + seconds
        placing = self.world.database.holds.place(Hold(scope, what, "wait", "ops", now, organisation, expires_at))
        number = self.successResultOf(Deferred.fromCoroutine(placing))
        self.world.turn()
        return number

    def release(self, number: int) -> None:
        releasing = self.world.database.holds.release(number, self.world.wall.now(), "ops")
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(releasing)))
        self.world.turn()

    def row(self, message: int) -> RowState:
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        return waiting.rows[0]

    def kinds(self, message: int) -> list[str]:
        return [event.kind for event in self.world.story(message)]

    def boxes(self, *addresses: str) -> list[int]:
        return [len(self.world.mail(address)) for address in addresses]

    def organisation(self, domain: str) -> int:
        found = self.successResultOf(Deferred.fromCoroutine(self.world.directory.domain(domain)))
        assert found is not None
        return found.organisation

    def test_what_is_handed_over_is_held_and_goes_when_it_is_released(self) -> None:
        hold = self.place(HoldScope.SENDER, "*@outside.example")
        message = self.accepted("alice@acme.example")
        self.assertEqual(self.row(message).status, Status.HELD)
        self.assertEqual(self.kinds(message), ["received", "routed", "held"])
        told = self.world.story(message)[-1]
        self.assertEqual((told.facts["reason"], told.facts["by"], told.facts["hold"]), ("wait", "ops", hold))
        self.accepted("alice@acme.example", sender="eve@elsewhere.example")
        self.assertEqual(self.boxes("alice@acme.example"), [1])
        self.world.advance(HOUR)
        self.assertEqual(self.row(message).attempts, 0)
        self.release(hold)
        self.world.advance(10)
        self.assertEqual(self.boxes("alice@acme.example"), [2])
        self.assertEqual(self.kinds(message), ["received", "routed", "held", "released", "delivered"])

    def test_another_node_sees_a_hold_at_once(self) -> None:
        second = self.world.another()
        self.place(HoldScope.RECIPIENT_DOMAIN, "acme.example")
        message = self.accepted("alice@acme.example", world=second)
        self.assertEqual(self.row(message).status, Status.HELD)
        self.assertEqual(self.boxes("alice@acme.example"), [0])

    def test_a_node_that_hears_no_news_sees_a_hold_within_a_second(self) -> None:
        second = self.world.another()
        second.advance(1)
        self.world.store.wakeups.muted = True
        hold = self.place(HoldScope.RECIPIENT_DOMAIN, "acme.example")
        self.world.advance(1)
        message = self.accepted("alice@acme.example", world=second)
        self.assertEqual(self.row(message).status, Status.HELD)
        self.release(hold)
        self.world.advance(1)
        self.accepted("alice@acme.example", world=second)
        self.assertEqual(self.boxes("alice@acme.example"), [1])

    def test_after_an_outage_what_was_held_meanwhile_does_not_leave(self) -> None:
        self.world.store.wakeups.muted = True
        other = self.world.another()
        self.world.database.outage()
        self.world.advance(8)
        placing = other.database.holds.place(
            Hold(HoldScope.RECIPIENT_DOMAIN, "acme.example", "wait", "ops", self.world.wall.now())
        )
        self.successResultOf(Deferred.fromCoroutine(placing))
        self.world.database.restore()
        self.assertFalse(self.world.server.getServiceNamed("holding").known, "what it knew may be old")
        message = self.accepted("alice@acme.example")
        self.world.advance(2)
        self.assertEqual(self.boxes("alice@acme.example"), [0])
        self.assertEqual(self.row(message).status, Status.HELD)

    def test_while_the_holds_are_not_answered_nothing_begins(self) -> None:
        self.world.database.holds.silent = True
        self.world.advance(5)
        self.accepted("alice@acme.example")
        self.world.advance(2)
        self.assertEqual(self.boxes("alice@acme.example"), [0])
        self.world.database.holds.silent = False
        self.world.advance(10)
        self.assertEqual(self.boxes("alice@acme.example"), [1])
        told = self.world.journal.of("store.unavailable")[0]
        self.assertEqual((told["task"], told["reason"]), ("holds", "the holds were not read within 3 s"))

    def test_a_node_whose_news_was_lost_sees_it_at_once(self) -> None:
        self.world.store.wakeups.muted = True
        self.place(HoldScope.RECIPIENT_DOMAIN, "acme.example")
        self.world.store.wakeups.lose()
        self.world.turn()
        self.accepted("alice@acme.example")
        self.assertEqual(self.boxes("alice@acme.example"), [0])

    def test_an_organisation_on_hold_is_not_claimed_from_while_others_flow(self) -> None:
        self.world.offload.fail_next(OSError(28, "No space left on device"), times=2)
        kept, other = self.accepted("alice@acme.example"), self.accepted("carol@other.example")
        hold = self.place(HoldScope.ORGANISATION, "acme", self.organisation("acme.example"))
        self.world.advance(HOUR)
        self.assertEqual(self.boxes("alice@acme.example", "carol@other.example"), [0, 1])
        row = self.row(kept)
        self.assertEqual((row.status, row.attempts), (Status.QUEUED, 1), "nothing is marked in bulk")
        self.assertIsNone(self.world.store.waiting(other))
        self.release(hold)
        self.world.advance(10)
        self.assertEqual(self.boxes("alice@acme.example"), [1])

    def test_what_waited_behind_a_hold_is_tried_though_its_lifetime_is_over(self) -> None:
        self.world.offload.fail_next(OSError(28, "No space left on device"), times=2)
        message = self.accepted("alice@acme.example")
        hold = self.place(HoldScope.ORGANISATION, "acme", self.organisation("acme.example"))
        self.world.advance(3 * HOUR)
        self.release(hold)
        self.world.advance(10)
        self.assertEqual(self.kinds(message)[-1], "deferred", "it is not given up")
        self.world.advance(HOUR)
        self.assertEqual(self.boxes("alice@acme.example"), [1])

    def test_the_lifetime_of_what_is_held_ends_later(self) -> None:
        hold = self.place(HoldScope.SENDER, "*@outside.example")
        message = self.accepted("alice@acme.example")
        ends_at = self.row(message).expires_at
        self.world.advance(3 * HOUR)
        self.world.offload.fail_next(OSError(28, "No space left on device"))
        self.release(hold)
        self.world.advance(10)
        row = self.row(message)
        self.assertLess(abs(row.expires_at - ends_at - 3 * HOUR), 10)
        self.assertEqual((row.status, row.attempts), (Status.QUEUED, 1))

    def test_an_expiry_lets_go(self) -> None:
        self.place(HoldScope.SENDER, "*@outside.example", seconds=HOUR)
        message = self.accepted("alice@acme.example")
        self.world.advance(HOUR - MINUTE)
        self.assertEqual(self.boxes("alice@acme.example"), [0])
        self.world.advance(2 * MINUTE)
        self.assertEqual(self.boxes("alice@acme.example"), [1])
        self.assertEqual(self.world.story(message)[3].facts["by"], "its expiry")

    def test_who_releases_and_dies_has_released(self) -> None:
        hold = self.place(HoldScope.SENDER, "*@outside.example")
        messages = [self.accepted("alice@acme.example") for _ in range(3)]
        self.release(hold)
        self.world.crash()
        after = self.world.another()
        after.advance(MINUTE)
        self.assertEqual([self.world.store.waiting(message) for message in messages], [None] * 3)
        self.assertEqual(self.boxes("alice@acme.example"), [3])

    def test_one_message_is_held_and_others_go(self) -> None:
        self.world.offload.fail_next(OSError(28, "No space left on device"), times=2)
        first, second = self.accepted("alice@acme.example"), self.accepted("alice@acme.example")
        hold = self.place(HoldScope.MESSAGE, print_id(first))
        self.assertEqual(self.row(first).status, Status.HELD)
        self.world.advance(HOUR)
        self.assertIsNone(self.world.store.waiting(second))
        self.assertEqual(self.boxes("alice@acme.example"), [1])
        self.release(hold)
        self.world.advance(10)
        self.assertEqual(self.boxes("alice@acme.example"), [2])

    def test_a_recipient_domain_on_hold_stops_no_other_recipient(self) -> None:
        self.place(HoldScope.RECIPIENT_DOMAIN, "other.example")
        self.accepted("alice@acme.example", "carol@other.example")
        self.assertEqual(self.boxes("alice@acme.example", "carol@other.example"), [1, 0])

    def test_what_is_being_delivered_goes_on(self) -> None:
        self.world.offload.hold()
        self.accepted("alice@acme.example")
        self.place(HoldScope.RECIPIENT_DOMAIN, "acme.example")
        self.world.offload.release()
        self.world.turn()
        self.assertEqual(self.boxes("alice@acme.example"), [1])

    def test_a_node_that_cannot_read_the_holds_lets_nothing_go(self) -> None:
        self.place(HoldScope.RECIPIENT_DOMAIN, "acme.example")
        self.world.store.holds.broken = True
        second = self.world.another()
        self.accepted("alice@acme.example", world=second)
        second.advance(30)
        self.assertEqual(self.boxes("alice@acme.example"), [0])


class SoftBounceTest(SynchronousTestCase):
    def test_what_is_refused_for_good_is_tried_again(self) -> None:
        path = Path(self.mktemp())
        world = World(path, configured=structs.replace(settings(path), queue=Queue(soft_bounce=True)))
        world.host("alice@acme.example", "bob@acme.example")
        world.offload.fail_next(OSError(28, "No space left on device"))
        message = parse_id(world.send("bob@acme.example").split()[-1].decode())
        world.host("alice@acme.example")
        world.advance(HOUR)
        waiting = world.store.waiting(message)
        assert waiting is not None
        self.assertEqual(waiting.rows[0].status, Status.QUEUED)
        deferred = world.story(message)[-1]
        self.assertEqual((deferred.kind, deferred.facts["status"]), ("deferred", "4.1.1"))
        world.host("alice@acme.example", "bob@acme.example")
        world.advance(DAY, step=8.0)
        self.assertEqual(len(world.mail("bob@acme.example")), 1)

    def test_nobody_is_refused_for_good_here(self) -> None:
        path = Path(self.mktemp())
        soft = structs.replace(settings(path), queue=Queue(soft_bounce=True))
        world = World(path, configured=soft)
        world.host("alice@acme.example")
        line = world.connect()
        world.say(line, b"EHLO o.example\r\nMAIL FROM:<a@o.example>\r\n")
        self.assertEqual(world.say(line, b"RCPT TO:<nobody@acme.example>\r\n")[:9], b"450 4.1.1")
        self.assertEqual(world.say(line, b"RCPT TO:<x@remote.example>\r\n")[:9], b"454 4.7.1")
        self.assertEqual(world.say(line, b"RCPT TO:<alice@acme.example>\r\n")[:9], b"250 2.1.5")
        world.say(line, b"DATA\r\n")
        self.assertEqual(world.say(line, b"S: x\r\n\r\na\0b\r\n.\r\n")[:9], b"450 4.5.2")
        for terms in (b"<a@o.example> SIZE=99999999999", b"<\xc3\xa4@o.example>"):
            code = world.say(line, b"MAIL FROM:" + terms + b"\r\n")[:9]
            self.assertIn(code, (b"452 4.3.4", b"453 4.6.7"), terms)
        told = [facts["reason"] for facts in world.journal.of("smtp.rejected")]
        self.assertEqual(told[-2:], ["too-large", "syntax"])
        self.assertEqual(world.say(line, b"MAIL FROM:<a@\r\n")[:9], b"501 5.1.7")
        self.assertEqual(world.say(line, b"NONSENSE\r\n")[:9], b"500 5.5.1", "what is no mail is as ever")
        self.assertIn("queue.soft_bounce", soft.warnings[-1])
