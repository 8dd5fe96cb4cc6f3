"""The contract of the holds, on their twin and on PostgreSQL: what is kept, what is freed, and who says so."""

from dataclasses import replace

from twisted.internet import (
    defer,
    reactor,  # noqa: TID251 - the real one is what is tested
)
from zope.interface.verify import verifyObject

from mtad.adapters.postgres.wakeups import PostgresWakeups
from mtad.interfaces import IHolds
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.event import Event
from mtad.model.hold import CHANNEL, FREED_AT_ONCE, HOLDS_KEPT_SECONDS, Hold, HoldScope
from mtad.model.identity import print_id
from mtad.model.job import Disposal, Lane, Result, Row, RowState, Status
from mtad.model.outcome import Deferred, Scope
from mtad.testing.journal import MemoryJournal
from tests.contract.letters import ALICE, DAY, LANE, NOW, again, gone, letter, recipients, settlement
from tests.contract.processes import MemoryCase, PostgresCase
from tests.contract.test_wakeups import Listener

ACME = Lane(1, LANE)
OTHER = Lane(1, "mx:other.example")
BOB = Address("bob", "other.example")
SENDER = Hold(HoldScope.SENDER, "ann@outside.example", "looks like spam", "ops", NOW)
BY = "ops: mtactl queue release"


def kept(n: int = 0, hold: int = 1, claim: int = 1, at: float = NOW) -> Result:
    """Return the result of a row that met a hold."""
    return Result(n, claim, Deferred("on hold", Scope.OURS), Disposal.HELD, at, hold=hold)


class HoldsContract:
    """What holds keep. `here` is a process that joined as `owner`."""

    async def begin(self) -> None:
        self.here = await self.process()
        self.queue, self.holds = self.here.queue, self.here.holds
        self.people = self.here.people
        self.owner = (await self.here.nodes.join("here", NOW)).owner

    async def row(self, number: int, n: int = 0) -> RowState:
        waiting = await self.queue.waiting(number)
        return waiting.rows[n]

    async def last_event(self, number: int) -> Event:
        return (await self.here.timeline.story(number))[-1].events[-1]

    async def keep(self, number: int, hold: int, at: float = NOW, **terms: object) -> None:
        """Accept a letter and let all of it be held."""
        await self.queue.accept(letter(number, **terms), self.owner)
        rows = [row for row in await self.queue.owned(self.owner) if row.message == number]
        results = [kept(row.n, hold, row.claim, at) for row in rows]
        await self.queue.settle([settlement(number, *results, total=len(results), at=at)], self.owner, at)

    async def freed(self, *numbers: int, **terms: object) -> None:
        """Accept letters and give them back, so that they are queued, due NOW."""
        for number in numbers:
            await self.queue.accept(letter(number, **terms), self.owner)
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW)

    async def test_it_provides_its_port(self) -> None:
        self.assertTrue(verifyObject(IHolds, self.holds))

    async def test_a_hold_stands_until_it_is_released(self) -> None:
        first = await self.holds.place(SENDER)
        second = await self.holds.place(
            Hold(HoldScope.ORGANISATION, "system", "unpaid", "ops", NOW, organisation=1, expires_at=NOW + 60)
        )
        self.assertLess(first, second)
        standing = await self.holds.active()
        self.assertEqual(standing[0], replace(SENDER, id=first))
        self.assertEqual((standing[1].id, standing[1].organisation, standing[1].expires_at), (second, 1, NOW + 60))
        self.assertTrue(await self.holds.release(first, NOW + 1, BY))
        self.assertEqual([hold.id for hold in await self.holds.active()], [second])
        self.assertFalse(await self.holds.release(first, NOW + 2, BY), "it is over already")
        self.assertFalse(await self.holds.release(second + 1, NOW + 2, BY), "there is none")

    async def test_what_met_a_hold_is_held_and_was_not_tried(self) -> None:
        hold = await self.holds.place(SENDER)
        await self.keep(7, hold)
        row = await self.row(7)
        self.assertEqual((row.status, row.attempts, row.owner, row.due), (Status.HELD, 0, 0, NOW))
        self.assertEqual(await self.queue.claim(self.owner, [ACME], 10, NOW + DAY), [])
        self.assertEqual(await self.people.retry(7, NOW + 1, "mtactl"), 0, "it is for the release to free")
        self.assertEqual(await self.holds.free(NOW + 1), 0, "its hold stands")

    async def test_a_release_frees_and_moves_the_end_of_the_lifetime(self) -> None:
        hold = await self.holds.place(SENDER)
        await self.keep(7, hold, recipients=recipients(2))
        await self.holds.release(hold, NOW + 3 * DAY, BY)
        self.assertEqual((await self.row(7)).status, Status.HELD, "nothing is marked in bulk")
        self.assertEqual(await self.holds.free(NOW + 3 * DAY), 2)
        row = await self.row(7)
        self.assertEqual((row.status, row.due, row.expires_at), (Status.QUEUED, NOW + 3 * DAY, NOW + 8 * DAY))
        told = await self.last_event(7)
        self.assertEqual((told.kind, told.facts["count"], told.facts["by"]), ("released", 2, BY))
        self.assertEqual(await self.holds.free(NOW + 3 * DAY), 0)
        (job,) = await self.queue.claim(self.owner, [ACME], 10, NOW + 3 * DAY)
        self.assertEqual([target.expires_at for target in job.targets], [NOW + 8 * DAY] * 2)

    async def test_other_rows_stay(self) -> None:
        first, second = await self.holds.place(SENDER), await self.holds.place(SENDER)
        await self.keep(7, first)
        await self.keep(8, second)
        await self.freed(9)
        await self.queue.accept(letter(10), self.owner)
        await self.holds.release(first, NOW + 1, BY)
        self.assertEqual(await self.holds.free(NOW + 1), 1)
        statuses = [(await self.row(number)).status for number in (7, 8, 9, 10)]
        self.assertEqual(statuses, [Status.QUEUED, Status.HELD, Status.QUEUED, Status.DELIVERING])

    async def test_an_expiry_is_a_release(self) -> None:
        hold = await self.holds.place(replace(SENDER, expires_at=NOW + 60))
        await self.keep(7, hold)
        await self.holds.end_expired(NOW + 59)
        self.assertEqual(len(await self.holds.active()), 1)
        await self.holds.end_expired(NOW + 60)
        self.assertEqual(await self.holds.active(), ())
        self.assertEqual(await self.holds.free(NOW + 60), 1)
        self.assertEqual((await self.last_event(7)).facts["by"], "its expiry")

    async def test_what_was_settled_as_held_after_the_release_is_freed_all_the_same(self) -> None:
        hold = await self.holds.place(SENDER)
        await self.holds.release(hold, NOW + 1, BY)
        await self.keep(7, hold, at=NOW + 2)
        self.assertEqual(await self.holds.free(NOW + 5), 1)
        self.assertEqual((await self.row(7)).expires_at, NOW + 5 * DAY + 3)

    async def test_many_are_freed_a_thousand_at_a_time(self) -> None:
        hold = await self.holds.place(SENDER)
        for number in range(1, 5):
            await self.keep(number, hold, recipients=recipients(300))
        await self.holds.release(hold, NOW + 1, BY)
        self.assertEqual(await self.holds.free(NOW + 1), FREED_AT_ONCE)
        # Whoever freed these dies; another goes on.
        self.assertEqual(await (await self.elsewhere()).holds.free(NOW + 2), 200)
        self.assertEqual(await self.holds.free(NOW + 2), 0)
        jobs = await self.queue.claim(self.owner, [ACME], 2000, NOW + 2)
        self.assertEqual(sum(len(job.targets) for job in jobs), 1200)

    async def test_one_message_is_held_at_once(self) -> None:
        await self.freed(7, recipients=(Recipient(0, ALICE, ALICE, LANE), Recipient(1, BOB, BOB, OTHER.destination)))
        await self.freed(8)
        (job,) = await self.queue.claim(self.owner, [OTHER], 10, NOW)
        hold = await self.holds.place(Hold(HoldScope.MESSAGE, print_id(7), "a look first", "ops", NOW + 1))
        self.assertEqual((await self.row(7, 0)).status, Status.HELD)
        self.assertEqual((await self.row(7, 1)).status, Status.DELIVERING, "what is being delivered goes on")
        self.assertEqual((await self.row(8)).status, Status.QUEUED)
        told = await self.last_event(7)
        self.assertEqual((told.kind, told.facts["reason"], told.facts["by"]), ("held", "a look first", "ops"))
        self.assertEqual((told.facts["hold"], told.facts["recipients"]), (hold, [str(ALICE)]))
        await self.holds.release(hold, NOW + 61, BY)
        self.assertEqual(await self.holds.free(NOW + 61), 1)
        self.assertEqual((await self.row(7)).expires_at, NOW + 5 * DAY + 60)
        self.assertEqual(len(job.targets), 1)

    async def test_what_waited_behind_a_closed_lane_lives_longer(self) -> None:
        cases = {
            1: Hold(HoldScope.ORGANISATION, "acme", "unpaid", "ops", NOW + 10, organisation=1),
            2: Hold(HoldScope.RECIPIENT_DOMAIN, "acme.example", "away", "ops", NOW + 10),
            3: Hold(HoldScope.DOMAIN, "acme.example", "away", "ops", NOW + 10, organisation=1),
        }
        for number, hold in cases.items():
            await self.freed(number)
            placed = await self.holds.place(hold)
            await self.holds.release(placed, NOW + 110, BY)
            (job,) = await self.queue.claim(self.owner, [ACME], 10, NOW + 200)
            # The holds of the earlier cases were over before this one's row came.
            self.assertEqual(job.targets[0].expires_at, NOW + 5 * DAY + 100 * number, hold.scope)
            await self.queue.settle([settlement(number, again(0, 2, due=NOW + 500))], self.owner, NOW + 200)
            (job,) = await self.queue.claim(self.owner, [ACME], 10, NOW + 500)
            self.assertEqual(job.targets[0].expires_at, NOW + 5 * DAY + 100 * number, "it is added once")
            await self.queue.settle([settlement(number, gone(0, 4))], self.owner, NOW + 500)

    async def test_what_no_hold_closed_lives_as_long_as_ever(self) -> None:
        for hold in (
            SENDER,
            Hold(HoldScope.ORGANISATION, "other", "unpaid", "ops", NOW, organisation=1000),
            Hold(HoldScope.RECIPIENT_DOMAIN, "other.example", "away", "ops", NOW),
            Hold(HoldScope.DOMAIN, "acme.example", "away", "ops", NOW, organisation=1000),
        ):
            await self.holds.release(await self.holds.place(hold), NOW + 100, BY)
        await self.holds.place(Hold(HoldScope.RECIPIENT_DOMAIN, "acme.example", "away", "ops", NOW))
        await self.freed(7)
        (job,) = await self.queue.claim(self.owner, [ACME], 10, NOW + 200)
        self.assertEqual(job.targets[0].expires_at, NOW + 5 * DAY)

    async def test_a_bounce_takes_what_is_held(self) -> None:
        hold = await self.holds.place(SENDER)
        await self.keep(7, hold, recipients=recipients(3))
        job = await self.queue.seize(7, self.owner, (1,))
        self.assertEqual([target.recipient.n for target in job.targets], [1])
        await self.queue.release([Row(7, 1, job.targets[0].claim)], self.owner, NOW + 1)
        self.assertEqual((await self.row(7, 1)).status, Status.QUEUED)
        self.assertEqual(await self.people.retry(7, NOW + 2, "mtactl"), 1, "it is held no more")

    async def test_what_is_over_for_long_is_forgotten(self) -> None:
        hold = await self.holds.place(Hold(HoldScope.ORGANISATION, "acme", "unpaid", "ops", NOW, organisation=1))
        await self.holds.release(hold, NOW + 100, BY)
        await self.freed(7, 8)
        await self.holds.end_expired(NOW + 100 + HOLDS_KEPT_SECONDS - 1)
        (job,) = await self.queue.claim(self.owner, [ACME], 1, NOW + 200)
        self.assertEqual(job.targets[0].expires_at, NOW + 5 * DAY + 100)
        await self.holds.end_expired(NOW + 101 + HOLDS_KEPT_SECONDS)
        (job,) = await self.queue.claim(self.owner, [ACME], 1, NOW + 200)
        self.assertEqual(job.targets[0].expires_at, NOW + 5 * DAY)


class MemoryHoldsTest(HoldsContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()


class PostgresHoldsTest(HoldsContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.pool.query(
            "insert into organisations (id, name) overriding system value values (1000, 'other') on conflict do nothing"
        )
        await self.begin()

    async def test_what_an_organisation_left_behind_is_freed(self) -> None:
        ((organisation,),) = await self.pool.query("insert into organisations (name) values ('gone') returning id")
        hold = await self.holds.place(
            Hold(HoldScope.ORGANISATION, "gone", "unpaid", "ops", NOW, organisation=organisation)
        )
        await self.keep(7, hold)
        await self.pool.query("delete from organisations where id = %s", (organisation,))
        self.assertEqual(await self.holds.free(NOW + 1), 1)
        self.assertEqual((await self.last_event(7)).facts["by"], "the end of its hold")

    async def test_every_change_is_news_to_who_listens(self) -> None:
        wakeups = PostgresWakeups(reactor, self.parameters, MemoryJournal())
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(wakeups.stop()))
        listener = Listener()
        wakeups.listen(listener.heard, listener.lost)
        wakeups.start()
        await listener.until("lost", 1)
        hold = await self.holds.place(SENDER)
        await listener.until(CHANNEL, 1)
        await self.holds.release(hold, NOW + 1, BY)
        await listener.until(CHANNEL, 2)
        await self.holds.end_expired(NOW + 2 + HOLDS_KEPT_SECONDS)
        await listener.until(CHANNEL, 3)
        self.assertEqual(listener.told, [("lost",), *[(CHANNEL, "")] * 3])

    async def test_asking_for_what_is_over_is_no_news(self) -> None:
        await self.holds.place(SENDER)
        await self.holds.end_expired(NOW + 1)
        ((count,),) = await self.pool.query("select count(*) from holds where xmax <> 0")
        self.assertEqual(count, 0)
