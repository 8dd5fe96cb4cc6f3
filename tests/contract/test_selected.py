"""What people select in PostgreSQL's queue, and what is done to it: a slice a transaction, told and on record."""

import sys
from dataclasses import replace
from io import StringIO

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested

from mtad.adapters.postgres import care, selected
from mtad.adapters.postgres.audit import Deed, Trail, deeds
from mtad.adapters.postgres.holds import held, kept_by
from mtad.adapters.postgres.pool import Cursor
from mtad.adapters.postgres.selected import ANY, FREE, QUARANTINED, REMOVE, RETRY, START, Act, Key
from mtad.adapters.postgres.spelling import spelled
from mtad.ctl import selecting
from mtad.ctl.acting import done
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.errors import Unavailable
from mtad.model.hold import NULL_SENDER, Hold, HoldScope
from mtad.model.identity import print_id
from mtad.model.job import Row, Status
from mtad.model.selection import Selection
from tests.contract.letters import ALICE, ANN, LANE, NOW, again, letter, recipients, settlement
from tests.contract.processes import PostgresCase

BOB = Address("Bob", "other.example")
SALES = Address("sales", "acme.example")
EVE = Address("Eve", "acme.example")


class SelectedTest(PostgresCase):
    """1 to alice from ann, 2 to alice from nobody, 3 to bob from eve, 4 to both, bob's by sales, of organisation 2."""

    async def setUp(self) -> None:
        await super().setUp()
        self.here = await self.process()
        self.queue = self.here.queue
        self.owner = (await self.here.nodes.join("here", NOW)).owner
        to_bob = Recipient(0, BOB, BOB, "mx:other.example")
        both = (Recipient(0, ALICE, ALICE, LANE), Recipient(1, SALES, BOB, "mx:other.example"))
        await self.queue.accept(letter(1), self.owner)
        await self.queue.accept(letter(2, reverse_path=None, received_at=NOW + 60), self.owner)
        await self.queue.accept(letter(3, reverse_path=EVE, recipients=(to_bob,), received_at=NOW + 60), self.owner)
        await self.queue.accept(letter(4, recipients=both, organisation=2, received_at=NOW + 60), self.owner)
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW + 60)
        self.trail = Trail("ops", "mtactl queue test", "all")

    async def keys(self, **terms: object) -> list[Key]:
        return await selected.keys(self.pool, Selection(**terms), ANY, START)

    async def act(self, act: Act, now: float = NOW + 90, **terms: object) -> int:
        done, after = await selected.act(self.pool, act, Selection(**terms), START, now, self.trail)
        self.assertIsNone(after)
        return done

    async def statuses(self, number: int) -> list[Status]:
        waiting = await self.queue.waiting(number)
        return [row.status for row in waiting.rows] if waiting else []

    async def test_each_filter(self) -> None:
        every = [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1)]
        for terms, wanted in (
            ({}, every),
            ({"organisation": 2}, [(4, 0), (4, 1)]),
            ({"domain": "acme.example"}, [(1, 0), (2, 0), (3, 0), (4, 0)]),
            ({"domain": "other.example"}, [(3, 0), (4, 1)]),
            ({"sender": ANN.key}, [(1, 0), (4, 0), (4, 1)]),
            ({"sender": EVE.key}, [(3, 0)]),
            ({"sender": "*@acme.example"}, [(3, 0)]),
            ({"sender": "*@cme.example"}, []),
            ({"sender": NULL_SENDER}, [(2, 0)]),
            ({"recipient": BOB.key}, [(3, 0), (4, 1)]),
            ({"recipient": SALES.key}, [(4, 1)]),
            ({"recipient_domain": "acme.example"}, [(1, 0), (2, 0), (4, 0)]),
            ({"status": Status.QUEUED}, every),
            ({"status": Status.HELD}, []),
            ({"received_before": NOW + 30}, [(1, 0)]),
            ({"messages": (1, 3)}, [(1, 0), (3, 0)]),
            ({"messages": (3, 4), "organisation": 2, "recipient_domain": "acme.example"}, [(4, 0)]),
        ):
            self.assertEqual(await self.keys(**terms), wanted, terms)
            self.assertEqual(await selected.count(self.pool, Selection(**terms), ANY), len(wanted), terms)

    async def test_messages_are_listed_with_all_their_rows(self) -> None:
        found = await selected.listing(self.pool, Selection(recipient=BOB.key), ANY, 10)
        self.assertEqual([(each.message, len(each.rows)) for each in found], [(3, 1), (4, 2)])
        self.assertEqual(len(await selected.listing(self.pool, Selection(), ANY, 2)), 2)

    async def test_rows_are_let_be_due_and_told_of(self) -> None:
        (job,) = await self.queue.claim(self.owner, (await self.queue.ready(NOW + 60, 1)).lanes, 1, NOW + 60)
        await self.queue.settle([settlement(job.message, again(0, 2, NOW + 500))], self.owner, NOW + 61)
        self.assertEqual(await self.act(RETRY, sender=ANN.key), 3)
        rows = (await self.queue.waiting(1)).rows
        self.assertEqual((rows[0].due, rows[0].status), (NOW + 90, Status.QUEUED))
        told = (await self.here.timeline.story(4))[-1].events[0]
        self.assertEqual((told.kind, told.facts["count"], told.facts["by"]), ("retried", 2, "mtactl queue test"))
        self.assertEqual(await deeds(self.pool, 0, 10), [Deed(NOW + 90, "ops", "mtactl queue test", "all", 3)])

    async def test_what_is_being_delivered_is_left_alone(self) -> None:
        await self.queue.accept(letter(9), self.owner)
        self.assertEqual(await self.act(RETRY, messages=(9,)), 0)
        self.assertEqual(await self.act(REMOVE, messages=(9,)), 0)
        self.assertEqual(await self.statuses(9), [Status.DELIVERING])
        self.assertEqual(await deeds(self.pool, 0, 10), [], "nothing is no deed")

    async def test_some_recipients_are_removed_and_the_message_with_the_last(self) -> None:
        self.assertEqual(await self.act(REMOVE, recipient_domain="other.example"), 2)
        self.assertEqual(await self.statuses(3), [])
        self.assertEqual(await self.statuses(4), [Status.QUEUED])
        self.assertEqual(await self.pool.query("select content_id from message_content order by 1"), [(1,), (2,), (4,)])
        self.assertEqual((await self.here.timeline.story(3))[-1].events[0].kind, "removed")

    async def test_what_is_quarantined_is_freed(self) -> None:
        await self.queue.accept(letter(9, recipients=recipients(2), quarantined=frozenset((0,))), self.owner)
        self.assertEqual(await selected.count(self.pool, Selection(), QUARANTINED), 1)
        self.assertEqual(await self.act(FREE, now=NOW + 90), 1)
        row = (await self.queue.waiting(9)).rows[0]
        self.assertEqual((row.status, row.due, row.expires_at), (Status.QUEUED, NOW + 90, NOW + 5 * 86_400 + 90))

    async def test_many_are_done_a_slice_at_a_time_under_one_deed(self) -> None:
        self.patch(selected, "AT_ONCE", 2)
        after: Key | None = START
        done = []
        while after is not None:
            count, after = await selected.act(self.pool, RETRY, Selection(), after, NOW + 90, self.trail)
            done.append(count)
        self.assertEqual(done, [2, 2, 1])
        self.assertEqual([deed.count for deed in await deeds(self.pool, 0, 10)], [5])

    async def test_long_work_tells_after_each_slice_how_far_it_is(self) -> None:
        self.patch(selected, "AT_ONCE", 2)
        self.patch(selecting, "_TELL_SECONDS", 0.0)
        told = StringIO()
        self.patch(sys, "stderr", told)
        count = await done(reactor, self.pool, RETRY, Selection(), "retry", dry_run=False, yes=True)
        self.assertEqual(
            (count, told.getvalue()), (5, "\u2026 2 recipients\n\u2026 4 recipients\n\u2026 5 recipients\n")
        )

    async def test_a_slice_that_fails_changes_nothing_and_is_no_deed(self) -> None:
        class Failing(Trail):
            async def add(self, cursor: object, count: int, now: float) -> None:
                raise Unavailable("postgres", "away")

        deed = selected.act(self.pool, REMOVE, Selection(), START, NOW, Failing("ops", "mtactl", "all"))
        with self.assertRaises(Unavailable):
            await deed
        self.assertEqual(await selected.count(self.pool, Selection(), ANY), 5)
        self.assertEqual(
            await self.pool.query("select count(*) from message_events where 'removed' = any(kinds)"), [(0,)]
        )

    async def test_what_is_freed_while_it_is_to_be_removed_stays(self) -> None:
        await self.pool.query("update message_queue set status = 'held' where message = 4")
        lock = care.lock

        async def locking(cursor: Cursor, messages: list[int]) -> None:
            await self.pool.query("update message_queue set status = 'queued' where message = 4 and n = 1")
            await lock(cursor, messages)

        self.patch(care, "lock", locking)
        self.assertEqual(await self.act(REMOVE, status=Status.HELD), 1)
        self.assertEqual(await self.statuses(4), [Status.QUEUED])
        self.assertEqual([deed.count for deed in await deeds(self.pool, 0, 10)], [1])
        self.assertEqual(await self.act(REMOVE, status=Status.HELD), 0)

    async def test_addresses_compare_as_holds_compare_them(self) -> None:
        spellings = ("J\u00d6RG", "j\u00f6rg", "Jo\u0308rg", "Stra\u00dfe", "STRASSE", "strasse", "stra\u00dfen")
        addresses = [Address(local_part, "outside.example") for local_part in spellings]
        for number, address in enumerate(addresses, start=10):
            to = (Recipient(0, ALICE, ALICE, LANE), Recipient(1, address, BOB, "mx:other.example"))
            await self.queue.accept(letter(number, reverse_path=address, recipients=to), self.owner)
        for wanted, numbers in (("j\u00f6rg", [10, 11, 12]), ("strasse", [13, 14, 15]), ("stra\u00dfen", [16])):
            key = Address(wanted, "outside.example").key
            self.assertEqual([number for number, each in enumerate(addresses, start=10) if each.key == key], numbers)
            for terms in ({"sender": key}, {"recipient": key}):
                selection = await spelled(self.pool, Selection(**terms))
                found = await selected.keys(self.pool, selection, ANY, START)
                self.assertEqual(sorted({message for message, _ in found}), numbers, terms)
        self.assertEqual((await spelled(self.pool, Selection(sender="*@outside.example"))).sender_spellings, ())

    async def test_the_groups_of_the_queue(self) -> None:
        found = await selected.stats(self.pool, 10)
        self.assertEqual((found[0].destination, found[0].status, found[0].rows), (LANE, "queued", 2))
        self.assertEqual(sum(each.rows for each in found), 5)
        self.assertEqual(found[0].organisation, "system")
        self.assertEqual(len(await selected.stats(self.pool, 1)), 1)

    async def test_deeds_are_listed_the_last_first(self) -> None:
        for number in range(3):
            at = NOW + number
            deed = Trail("ann", "mtactl apply", f"file {number}")
            await self.pool.interact(lambda cursor, deed=deed, at=at: deed.add(cursor, 1, at))
        self.assertEqual([deed.what for deed in await deeds(self.pool, NOW + 1, 10)], ["file 2", "file 1"])
        self.assertEqual(len(await deeds(self.pool, 0, 2)), 2)

    async def test_holds_as_people_look_at_them(self) -> None:
        hold = Hold(HoldScope.MESSAGE, print_id(4), "a look first", "ops", NOW + 70)
        number = await self.here.holds.place(hold)
        (found,) = await held(self.pool)
        self.assertEqual((found.hold, found.organisation, found.rows), (replace(hold, id=number), None, 2))
        kept, messages = await kept_by(self.pool, [number], 10)
        self.assertEqual((kept, [each.message for each in messages]), (2, [4]))
        self.assertEqual(await self.act(RETRY, messages=(4,)), 0, "it is for the release to free")
        await self.here.holds.release(number, NOW + 80, "ops")
        self.assertEqual(await held(self.pool), [])

    async def test_a_bounce_of_some_recipients_leaves_the_others(self) -> None:
        job = await self.queue.seize(4, self.owner, (1,))
        self.assertEqual([target.recipient.n for target in job.targets], [1])
        self.assertEqual(await self.statuses(4), [Status.QUEUED, Status.DELIVERING])
        await self.queue.release([Row(4, 1, job.targets[0].claim)], self.owner, NOW + 90)
