"""The queue's contract, on its twin and on PostgreSQL."""

from dataclasses import replace
from random import Random

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from zope.interface.verify import verifyObject

from mtad.adapters.postgres import care
from mtad.interfaces import IQueue, IQueueCare
from mtad.model.address import Address
from mtad.model.content import SPOOL_OCTETS, Content, behind, blocks
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.errors import LeaseLost, Unacceptable, Unavailable
from mtad.model.event import RECEIVED, Event
from mtad.model.identity import first_id
from mtad.model.job import LANES_VISITED, Acceptance, Disposal, Job, Lane, Ready, Row, RowState, Status, Told
from mtad.model.report import Action
from tests.contract.letters import (
    ALICE,
    ANN,
    DAY,
    LANE,
    NOW,
    again,
    failed,
    gone,
    held,
    letter,
    message,
    of_job,
    recipients,
    report,
    settlement,
    shared_letter,
)
from tests.contract.processes import MemoryCase, PostgresCase, Process

ACME = Lane(1, LANE)
OTHER = Lane(1, "local:other.example")
BOB = Address("bob", "other.example")


def whole(content: Content) -> bytes:
    return b"".join(blocks(content))


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class QueueContract:
    """What every queue keeps. `here` is a process that joined as `owner`."""

    async def begin(self) -> None:
        self.here = await self.process()
        self.queue = self.here.queue
        self.people = self.here.people
        self.owner = (await self.here.nodes.join("here", NOW)).owner

    async def beside(self) -> tuple[object, int]:
        """Return another process over the same store, and its owner number."""
        other = await self.process()
        return other, (await other.nodes.join("beside", NOW)).owner

    async def row(self, number: int, n: int = 0) -> RowState | None:
        waiting = await self.queue.waiting(number)
        rows = [row for row in waiting.rows if row.recipient.n == n] if waiting else []
        return rows[0] if rows else None

    async def kinds(self, number: int) -> list[str]:
        return [event.kind for happening in await self.here.timeline.story(number) for event in happening.events]

    async def claimed(self, owner: int, now: float = NOW, per_lane: int = 100) -> list[Job]:
        return list(await self.queue.claim(owner, (await self.queue.ready(now, 100)).lanes, per_lane, now))

    async def freed(self, *numbers: int, **terms: object) -> None:
        """Accept letters and give them back, so that they are queued, due NOW, claim 1."""
        for number in numbers:
            await self.queue.accept(letter(number, **terms), self.owner)
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW)

    async def assert_gone(self, *contents: int) -> None:
        for content in contents:
            await self.assertFailure(started(self.queue.content(content)), KeyError)

    async def assert_lost(self, coroutine: object) -> None:
        await self.assertFailure(started(coroutine), LeaseLost)

    # Accepting

    async def test_it_provides_its_ports(self) -> None:
        self.assertTrue(verifyObject(IQueue, self.queue))
        self.assertTrue(verifyObject(IQueueCare, self.queue))

    async def test_what_is_accepted_is_owned_and_delivering(self) -> None:
        await self.queue.accept(letter(7, b"Subject: x\r\n\r\nbody\r\n"), self.owner)
        waiting = await self.queue.waiting(7)
        self.assertEqual((waiting.message, waiting.organisation, waiting.reverse_path), (7, 1, ANN))
        self.assertEqual((waiting.size, waiting.received_at), (7, NOW))
        recipient = Recipient(0, ALICE, ALICE, LANE)
        self.assertEqual(waiting.rows, (RowState(recipient, Status.DELIVERING, 0, NOW, NOW + 5 * DAY, self.owner),))
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])
        self.assertEqual(await self.queue.content(7), b"Subject: x\r\n\r\nbody\r\n")
        self.assertEqual(await self.kinds(7), ["received"])

    async def test_what_is_accepted_is_nobody_elses_to_claim(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        _, other = await self.beside()
        self.assertEqual(await self.queue.claim(other, [ACME], 10, NOW + DAY), [])

    async def test_accepting_again_adds_nothing(self) -> None:
        for _ in range(2):
            await self.queue.accept(letter(7), self.owner)
        self.assertEqual(await self.kinds(7), ["received"])
        self.assertEqual(await self.here.timeline.search("alice@acme.example", 10), [7])
        self.assertEqual(len((await self.queue.waiting(7)).rows), 1)

    async def test_a_message_without_recipients_has_its_story_for_itself(self) -> None:
        story = message(8, organisation=2, recipients=(), keys=("<7@outside.example>",), events=(Event(RECEIVED, NOW),))
        both = replace(letter(7), messages=(message(7), story))
        for _ in range(2):
            await self.queue.accept(both, self.owner)
        self.assertEqual(await self.kinds(8), ["received"])
        self.assertEqual(await self.here.timeline.search("<7@outside.example>", 10, organisation=2), [8])
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])
        await self.queue.settle([settlement(7, gone())], self.owner, NOW + 1)
        await self.assert_gone(7)
        self.assertEqual(await self.queue.sweep(NOW + 1), 0, "nothing was left behind")
        self.assertEqual(await self.kinds(8), ["received"])
        await self.queue.accept(both, self.owner)
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])

    async def test_accepting_again_brings_no_settled_recipient_back(self) -> None:
        twice = letter(7, recipients=recipients(2))
        await self.queue.accept(twice, self.owner)
        await self.queue.settle([settlement(7, gone(0), total=2)], self.owner, NOW + 1)
        await self.queue.accept(twice, self.owner)
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 1, 1)])

    async def test_without_a_node_nothing_is_accepted(self) -> None:
        await self.assert_lost(self.queue.accept(letter(7), self.owner + 1))
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.kinds(7), [])

    async def test_one_that_cannot_be_stored_is_refused_alone(self) -> None:
        nul = Address("a\0b", "acme.example")
        letters = [letter(number) for number in range(1, 200)]
        letters.insert(100, letter(500, recipients=(Recipient(0, nul, nul, LANE),)))
        answers = await DeferredList(
            [started(self.queue.accept(each, self.owner)) for each in letters], consumeErrors=True
        )
        refused = [place for place, (accepted, _) in enumerate(answers) if not accepted]
        self.assertEqual(refused, [100])
        self.assertIsInstance(answers[100][1].value, Unacceptable)
        self.assertEqual(len(await self.queue.owned(self.owner)), 199)
        self.assertIsNone(await self.queue.waiting(500))

    async def test_a_lone_surrogate_is_refused(self) -> None:
        for terms in (
            {"reverse_path": Address("\ud800", "a.example")},
            {"events": (Event(RECEIVED, NOW, {"helo": "\udfff"}),)},
        ):
            await self.assertFailure(started(self.queue.accept(letter(7, **terms), self.owner)), Unacceptable)
        self.assertIsNone(await self.queue.waiting(7))

    async def test_a_destination_is_bounded(self) -> None:
        longest = "mx:" + "ä" * 148 + "x"
        await self.freed(7, recipients=recipients(1, longest))
        self.assertEqual((await self.queue.ready(NOW, 10)).lanes, (Lane(1, longest),))
        too_long = letter(8, recipients=recipients(1, longest + "x"))
        await self.assertFailure(started(self.queue.accept(too_long, self.owner)), Unacceptable)
        self.assertIsNone(await self.queue.waiting(8))

    async def test_octets_and_letters_come_back_as_they_were(self) -> None:
        octets = bytes(range(256)) * 5
        odd = Address("o'd\"d \\ {x},☃, NULL", "xn--bcher-kva.example")
        quoted = Address("a@b", "[IPv6:2001:db8::1]")
        content = Acceptance(
            7, octets, (message(7, reverse_path=quoted, recipients=(Recipient(0, ALICE, odd, "to '\"\\"),)),)
        )
        await self.queue.accept(content, self.owner)
        await self.queue.release([Row(7, 0, 1)], self.owner, NOW)
        (job,) = await self.claimed(self.owner)
        self.assertEqual(job.reverse_path, quoted)
        self.assertEqual(job.targets[0].recipient, Recipient(0, ALICE, odd, "to '\"\\"))
        self.assertEqual(job.destination, "to '\"\\")
        self.assertEqual(await self.queue.content(7), octets)

    async def test_the_null_reverse_path(self) -> None:
        await self.freed(7, reverse_path=None)
        self.assertIsNone((await self.queue.waiting(7)).reverse_path)
        (job,) = await self.claimed(self.owner)
        self.assertIsNone(job.reverse_path)

    async def test_contents_of_all_sizes(self) -> None:
        chunk = 256 * 1024
        for number, size in enumerate((0, 1, chunk - 1, chunk, chunk + 1, 4 * chunk, 1_300_000), start=1):
            octets = Random(number).randbytes(size)
            await self.queue.accept(letter(number, octets), self.owner)
            self.assertEqual(whole(await self.queue.content(number)), octets)

    async def test_large_and_small_at_once(self) -> None:
        contents = {number: Random(number).randbytes(1_200_000 if number % 4 == 0 else 900) for number in range(1, 13)}
        accepts = [started(self.queue.accept(letter(number, each), self.owner)) for number, each in contents.items()]
        await gatherResults(accepts)
        for number, octets in contents.items():
            self.assertEqual(whole(await self.queue.content(number)), octets)

    def spooled(self, octets: bytes) -> Content:
        gathering = self.spool.gather()
        gathering.add(octets)
        return gathering.content()

    async def test_what_is_in_the_spool_comes_back_in_the_spool(self) -> None:
        for number, size in enumerate((SPOOL_OCTETS + 1, 5 * 256 * 1024, 8 * 256 * 1024), start=1):
            octets = Random(number).randbytes(size)
            content = behind(b"Received: here\r\n", self.spooled(octets), start=10)
            await self.queue.accept(letter(number, content), self.owner)
            found = await self.queue.content(number)
            self.assertNotIsInstance(found, bytes)
            self.assertEqual(whole(found), b"Received: here\r\n" + octets[10:])

    async def test_large_content_is_accepted_like_any_other(self) -> None:
        content = self.spooled(Random(7).randbytes(1_300_000))
        other = (await self.here.nodes.join("other", NOW)).owner
        for _ in range(2):
            await self.queue.accept(letter(7, content), self.owner)
        await self.assert_lost(self.queue.accept(letter(8, content), other + 1))
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])
        self.assertEqual(await self.kinds(7), ["received"])
        await self.assert_gone(8)
        await self.queue.settle([settlement(7, gone())], self.owner, NOW)
        await self.assert_gone(7)

    async def test_large_content_without_its_node_takes_nothing_from_those_who_have_it(self) -> None:
        content = self.spooled(Random(7).randbytes(1_300_000))
        await self.queue.accept(letter(7, content), self.owner)
        await self.assert_lost(self.queue.accept(letter(7, content), self.owner + 1))
        self.assertEqual(whole(await self.queue.content(7)), whole(content))

    async def test_what_cannot_be_held_when_it_is_read_is_unavailable(self) -> None:
        await self.queue.accept(letter(7, self.spooled(Random(7).randbytes(1_300_000))), self.owner)
        self.fill_the_spool()
        await self.assertFailure(started(self.queue.content(7)), Unavailable)

    async def test_there_is_no_content_that_was_not_accepted(self) -> None:
        await self.assert_gone(7)

    # Settling

    async def test_a_message_that_is_done_goes_with_its_content(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3)), self.owner)
        await self.queue.settle([settlement(7, gone(0), gone(1), gone(2), total=3)], self.owner, NOW + 1)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.kinds(7), ["received", "delivered", "delivered", "delivered"])
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_a_message_stays_for_the_recipients_that_are_left(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2)), self.owner)
        await self.queue.settle([settlement(7, gone(1), total=2)], self.owner, NOW + 1)
        self.assertEqual([row.recipient.n for row in (await self.queue.waiting(7)).rows], [0])
        self.assertEqual(await self.queue.content(7), b"content")
        await self.queue.settle([settlement(7, gone(0), total=2)], self.owner, NOW + 2)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_two_that_take_the_last_rows_at_once_leave_nothing(self) -> None:
        other, owner = await self.beside()
        for number in range(1, 11):
            await self.queue.accept(letter(number, recipients=recipients(2)), self.owner)
        halves = [
            started(process.queue.settle([settlement(number, gone(n), total=2)], who, NOW + 1))
            for number in range(1, 11)
            for n, process, who in ((0, self.here, self.owner), (1, other, owner))
        ]
        await gatherResults(halves)
        await self.assert_gone(*range(1, 11))
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_a_shared_content_stays_for_the_other_organisation(self) -> None:
        await self.queue.accept(shared_letter(7, 8), self.owner)
        self.assertEqual([(await self.queue.waiting(each)).organisation for each in (7, 8)], [1, 2])
        await self.queue.settle([settlement(7, gone(), copies=2)], self.owner, NOW + 1)
        self.assertIsNone(await self.queue.waiting(7))
        self.assertEqual(await self.queue.content(7), b"shared")
        await self.queue.settle([settlement(8, gone(), copies=2, organisation=2)], self.owner, NOW + 2)
        await self.assert_gone(7)
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_a_shared_content_goes_when_both_are_settled_at_once(self) -> None:
        other, owner = await self.beside()
        pairs = [(number, number + 1) for number in range(1, 20, 2)]
        for first, second in pairs:
            await self.queue.accept(shared_letter(first, second), self.owner)
        settles = []
        for first, second in pairs:
            settles.append(self.queue.settle([settlement(first, gone(), copies=2)], self.owner, NOW + 1))
            settles.append(other.queue.settle([settlement(second, gone(), copies=2)], owner, NOW + 1))
        await gatherResults([started(settle) for settle in settles])
        await self.assert_gone(*(first for first, _ in pairs))
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_settling_again_changes_nothing(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3)), self.owner)
        once = [settlement(7, gone(0), again(1), held(2), total=3)]
        for _ in range(2):
            await self.queue.settle(once, self.owner, NOW + 1)
        self.assertEqual((await self.row(7, 1)).attempts, 1)
        self.assertEqual(await self.kinds(7), ["received", "delivered", "deferred", "held"])

    async def test_again_queues_the_row_with_one_more_attempt(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.queue.settle([settlement(7, again(due=NOW + 300))], self.owner, NOW + 1)
        row = await self.row(7)
        self.assertEqual((row.status, row.attempts, row.due, row.owner), (Status.QUEUED, 1, NOW + 300, 0))
        self.assertEqual(await self.queue.owned(self.owner), [])
        self.assertEqual(await self.queue.ready(NOW + 299, 10), Ready(()))
        (job,) = await self.claimed(self.owner, NOW + 300)
        self.assertEqual(job.targets[0].attempts, 1)
        self.assertGreater(job.targets[0].claim, 1)

    async def test_held_rows_wait_for_people(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.queue.settle([settlement(7, held())], self.owner, NOW + 1)
        row = await self.row(7)
        self.assertEqual((row.status, row.attempts, row.owner), (Status.HELD, 1, 0))
        self.assertEqual(await self.queue.ready(NOW + DAY, 10), Ready(()))
        self.assertEqual(await self.queue.claim(self.owner, [ACME], 10, NOW + DAY), [])

    async def test_a_settlement_whose_rows_moved_on_is_nothing(self) -> None:
        await self.freed(7)
        _, owner = await self.beside()
        await self.claimed(owner)
        for late in (gone(), again(), held()):
            await self.queue.settle([settlement(7, late)], self.owner, NOW + 1)
        row = await self.row(7)
        self.assertEqual((row.status, row.attempts, row.owner), (Status.DELIVERING, 0, owner))
        self.assertEqual(await self.kinds(7), ["received"])
        self.assertEqual(await self.queue.content(7), b"content")

    async def test_rows_that_moved_on_stay_when_others_of_the_message_go(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2)), self.owner)
        await self.queue.release([Row(7, 1, 1)], self.owner, NOW)
        _, owner = await self.beside()
        await self.claimed(owner)
        await self.queue.settle([settlement(7, gone(0), gone(1), total=2)], self.owner, NOW + 1)
        self.assertEqual([row.recipient.n for row in (await self.queue.waiting(7)).rows], [1])
        self.assertEqual(await self.queue.content(7), b"content")

    async def test_a_late_delivery_counts_while_nobody_claimed_again(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        other, owner = await self.beside()
        await other.nodes.take_over(self.owner, 0, NOW + 1)
        await self.queue.settle([settlement(7, gone())], owner, NOW + 2)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)

    async def test_what_was_held_meanwhile_stays_held(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2)), self.owner)
        await self.queue.settle([settlement(7, held(0), held(1), total=2)], self.owner, NOW + 1)
        await self.queue.settle([settlement(7, again(0, claim=2), gone(1, claim=2), total=2)], self.owner, NOW + 2)
        self.assertEqual([row.status for row in (await self.queue.waiting(7)).rows], [Status.HELD])

    async def test_without_a_node_nothing_is_settled(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.queue.accept(letter(8, recipients=recipients(2)), self.owner)
        other, _ = await self.beside()
        await other.nodes.take_over(self.owner, 0, NOW + 1)
        await self.assert_lost(self.queue.settle([settlement(7, gone())], self.owner, NOW + 2))
        await self.assert_lost(self.queue.settle([settlement(8, gone(0), again(1), total=2)], self.owner, NOW + 2))
        self.assertEqual(await self.kinds(7), ["received", "taken-over"])
        self.assertEqual(len((await self.queue.waiting(8)).rows), 2)
        self.assertEqual(await self.queue.content(8), b"content")

    async def test_many_of_all_kinds_in_one_call(self) -> None:
        for number in range(1, 31):
            await self.queue.accept(letter(number, recipients=recipients(2)), self.owner)
        settlements = [
            settlement(number, gone(0), (gone, again, held)[number % 3](1), total=2) for number in range(1, 31)
        ]
        await self.queue.settle(settlements, self.owner, NOW + 1)
        left = {waiting.message: waiting.rows[0].status for waiting in await self.people.listing(None, 100)}
        self.assertEqual(left, {n: (None, Status.QUEUED, Status.HELD)[n % 3] for n in range(1, 31) if n % 3})
        await self.assert_gone(*range(3, 31, 3))

    async def test_a_settlement_that_comes_twice_at_once_is_told_of_once(self) -> None:
        for number, result in ((7, gone()), (8, again())):
            await self.queue.accept(letter(number), self.owner)
            same = settlement(number, result)
            await self.queue.settle([same, same], self.owner, NOW + 1)
            self.assertEqual(len(await self.kinds(number)), 2, "received, and what became of it")
        row = await self.row(8)
        self.assertEqual((row.status, row.attempts), (Status.QUEUED, 1))

    async def test_events_of_a_settlement_are_stored_even_when_they_are_no_text(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        odd = settlement(7, gone())
        odd.events[0].facts["said"] = "\ud800\0"
        await self.queue.settle([odd], self.owner, NOW + 1)
        self.assertEqual(await self.kinds(7), ["received", "delivered"])

    async def test_settling_nothing(self) -> None:
        await self.queue.settle([], self.owner, NOW)

    # Reports

    def reporting(self, number: int, *results: object, about: int = 9, total: int = 1, **terms: object) -> object:
        """Return a settlement with a report of the id `about`, which tells of what is undelivered."""
        rows = tuple(result.n for result in results if result.undelivered)
        told = Told(report(about, **terms), Action.FAILED, rows)
        return replace(settlement(number, *results, total=total), reports=(told,))

    async def test_a_report_is_queued_and_nobodys_with_all_that_belongs_to_it(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3)), self.owner)
        await self.queue.settle([self.reporting(7, failed(0), again(1), gone(2), total=3)], self.owner, NOW + 1)
        waiting = await self.queue.waiting(9)
        self.assertIsNone(waiting.reverse_path)
        to = Recipient(0, ANN, ANN, "mx:outside.example")
        self.assertEqual(waiting.rows, (RowState(to, Status.QUEUED, 0, NOW + 1, NOW + 5 * DAY, 0),))
        self.assertEqual(await self.queue.content(9), b"report")
        self.assertEqual(await self.kinds(9), ["reporting"])
        self.assertEqual(await self.here.timeline.search("ann@outside.example", 10), [9])
        self.assertEqual([row.recipient.n for row in (await self.queue.waiting(7)).rows], [1])
        self.assertEqual(await self.queue.owned(self.owner), [])
        (job,) = await self.claimed(self.owner, NOW + 1)
        self.assertEqual((job.message, job.targets[0].claim), (9, 1))

    async def test_the_message_a_report_is_about_goes(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.queue.settle([self.reporting(7, failed())], self.owner, NOW + 1)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.queue.content(9), b"report")
        self.assertEqual(await self.queue.sweep(NOW), 0)

    async def test_settling_again_makes_no_second_report(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2)), self.owner)
        await self.queue.settle([self.reporting(7, failed(0), again(1), total=2)], self.owner, NOW + 1)
        for about in (9, 10):
            again_ = self.reporting(7, failed(0), again(1), about=about, total=2)
            await self.queue.settle([again_], self.owner, NOW + 2)
        self.assertEqual(await self.kinds(9), ["reporting"])
        self.assertIsNone(await self.queue.waiting(10))
        await self.assert_gone(10)
        self.assertEqual(await self.kinds(10), [])

    async def test_a_lost_answer_makes_no_second_report(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        self.lose_answer()
        await self.queue.settle([self.reporting(7, failed())], self.owner, NOW + 1)
        self.assertEqual(await self.kinds(9), ["reporting"])
        self.assertEqual(len((await self.queue.waiting(9)).rows), 1)

    async def test_a_report_of_rows_that_moved_on_is_none(self) -> None:
        await self.freed(7, recipients=recipients(2))
        _, owner = await self.beside()
        await self.claimed(owner)
        stale = self.reporting(7, failed(0), gone(1, claim=2), total=2)
        await self.queue.settle([stale], self.owner, NOW + 1)
        self.assertEqual([row.recipient.n for row in (await self.queue.waiting(7)).rows], [0])
        self.assertIsNone(await self.queue.waiting(9))

    async def test_without_a_node_nothing_is_reported(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.assert_lost(self.queue.settle([self.reporting(7, failed())], self.owner + 1, NOW + 1))
        self.assertIsNone(await self.queue.waiting(9))
        self.assertEqual(len((await self.queue.waiting(7)).rows), 1)

    async def test_reports_of_many_settlements_at_once(self) -> None:
        for number in range(1, 31):
            await self.queue.accept(letter(number), self.owner)
        settles = [
            started(self.queue.settle([self.reporting(number, failed(), about=100 + number)], self.owner, NOW + 1))
            if number % 3
            else started(self.queue.settle([settlement(number, again())], self.owner, NOW + 1))
            for number in range(1, 31)
        ]
        await gatherResults(settles)
        left = {waiting.message for waiting in await self.people.listing(None, 100)}
        self.assertEqual(left, {number if number % 3 == 0 else 100 + number for number in range(1, 31)})

    async def test_a_report_that_cannot_be_stored_is_refused(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        odd = self.reporting(7, failed(), direction="\0")
        await self.assertFailure(started(self.queue.settle([odd], self.owner, NOW + 1)), Unacceptable)
        self.assertEqual(len((await self.queue.waiting(7)).rows), 1)

    async def test_a_report_tells_of_its_own_rows_only(self) -> None:
        await self.freed(7, recipients=recipients(2))
        _, owner = await self.beside()
        await self.claimed(owner)
        late = (Told(report(9), Action.DELAYED, (0,)), Told(report(10), Action.DELIVERED, (1,)))
        stale = replace(settlement(7, again(0), gone(1, claim=2), total=2), reports=late)
        await self.queue.settle([stale], self.owner, NOW + 1)
        self.assertIsNone(await self.queue.waiting(9))
        self.assertEqual(await self.queue.content(10), b"report")
        self.assertEqual([row.recipient.n for row in (await self.queue.waiting(7)).rows], [0])

    async def test_that_a_sender_was_told_of_a_delay_is_remembered(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2)), self.owner)
        noticed = replace(again(0), noticed=True)
        told = (Told(report(9), Action.DELAYED, (0,)),)
        once = replace(settlement(7, noticed, again(1), total=2), reports=told)
        for _ in range(2):
            await self.queue.settle([once], self.owner, NOW + 1)
        self.assertEqual(await self.kinds(9), ["reporting"])
        await self.people.remove(9, NOW + 2, "mtactl")
        for claim, now in ((3, NOW + 300), (5, NOW + 600)):
            (job,) = await self.claimed(self.owner, now)
            self.assertEqual([target.noticed for target in job.targets], [True, False])
            later = (again(0, claim=claim, due=now + 300), again(1, claim=claim, due=now + 300))
            await self.queue.settle([of_job(job, *later, at=now)], self.owner, now)

    # What the sender asked for

    async def test_what_the_sender_asked_for_comes_back(self) -> None:
        asked = Parameters(smtputf8=True, ret="FULL", envid="QQ+2B314")
        to = (
            Recipient(0, ALICE, ALICE, LANE, "SUCCESS,DELAY", "rfc822;al+2Bice@acme.example"),
            Recipient(1, BOB, ALICE, LANE, "NEVER", None, True),
            Recipient(2, BOB, BOB, LANE, None, "utf-8;j\\x{F6}rg@x.example"),
        )
        await self.freed(7, recipients=to, parameters=asked)
        self.assertEqual([row.recipient for row in (await self.queue.waiting(7)).rows], list(to))
        (job,) = await self.claimed(self.owner)
        self.assertEqual(job.parameters, asked)
        self.assertEqual([target.recipient for target in job.targets], list(to))
        await self.queue.release([Row(7, n, 2) for n in range(3)], self.owner, NOW)
        job = await self.queue.seize(7, self.owner)
        self.assertEqual((job.parameters, [target.recipient for target in job.targets]), (asked, list(to)))

    async def test_who_asked_for_nothing_gets_nothing_back(self) -> None:
        await self.freed(7)
        (job,) = await self.claimed(self.owner)
        self.assertEqual((job.parameters, job.targets[0].noticed), (PLAIN, False))
        self.assertEqual(job.targets[0].recipient, Recipient(0, ALICE, ALICE, LANE))

    async def test_a_wish_that_cannot_be_stored_is_refused(self) -> None:
        for terms in (
            {"parameters": Parameters(envid="\0")},
            {"recipients": (Recipient(0, ALICE, ALICE, LANE, "\0"),)},
            {"recipients": (Recipient(0, ALICE, ALICE, LANE, None, "\ud800"),)},
        ):
            await self.assertFailure(started(self.queue.accept(letter(7, **terms), self.owner)), Unacceptable)

    # Claiming

    async def test_ready_lanes_come_in_order_once_each(self) -> None:
        lanes = [Lane(1, "local:b.example"), Lane(2, "local:a.example"), Lane(1, "local:a.example"), Lane(2, "local:ä")]
        for number, lane in enumerate(lanes * 2, start=1):
            to = (Recipient(0, ALICE, ALICE, lane.destination),)
            await self.queue.accept(letter(number, organisation=lane.organisation, recipients=to), self.owner)
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW + 10)
        order = (lanes[2], lanes[0], lanes[1], lanes[3])
        self.assertEqual(await self.queue.ready(NOW + 9, 10), Ready(()))
        self.assertEqual(await self.queue.ready(NOW + 10, 10), Ready(order))
        self.assertEqual(await self.queue.ready(NOW + 10, 2), Ready(order[:2], order[1]))
        self.assertEqual(await self.queue.ready(NOW + 10, 3, order[1]), Ready(order[2:]))
        self.assertEqual(await self.queue.ready(NOW + 10, 2, order[3]), Ready(()))

    async def test_lanes_are_looked_at_a_thousand_at_a_time(self) -> None:
        lanes = [Lane(1, f"local:{number:04}.example") for number in range(LANES_VISITED + 2)]
        everywhere = tuple(Recipient(n, ALICE, ALICE, lane.destination) for n, lane in enumerate(lanes))
        await self.queue.accept(letter(7, recipients=everywhere), self.owner)
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW + 10)
        last = len(lanes) - 1
        await self.queue.claim(self.owner, [lanes[3], lanes[last]], 1, NOW + 10)
        await self.queue.release([Row(7, 3, 2), Row(7, last, 2)], self.owner, NOW)
        first = await self.queue.ready(NOW, 10)
        self.assertEqual(first, Ready((lanes[3],), lanes[LANES_VISITED - 1]))
        self.assertEqual(await self.queue.ready(NOW, 10, first.after), Ready((lanes[last],)))

    async def test_a_lane_is_ready_when_one_of_its_rows_is(self) -> None:
        await self.queue.accept(letter(1), self.owner)
        await self.queue.accept(letter(2), self.owner)
        await self.queue.settle([settlement(1, again(due=NOW + 50))], self.owner, NOW)
        await self.queue.settle([settlement(2, again(due=NOW + 90))], self.owner, NOW)
        self.assertEqual(await self.queue.ready(NOW + 60, 10), Ready((ACME,)))
        self.assertEqual([job.message for job in await self.claimed(self.owner, NOW + 60)], [1])

    async def test_a_claim_makes_one_job_of_a_message_in_a_lane(self) -> None:
        both = (*recipients(2), Recipient(2, ALICE, ALICE, "local:other.example"))
        await self.freed(7, recipients=both)
        jobs = await self.claimed(self.owner)
        self.assertEqual(sorted(job.destination for job in jobs), [LANE, "local:other.example"])
        job = next(job for job in jobs if job.destination == LANE)
        self.assertEqual([target.recipient for target in job.targets], list(recipients(2)))
        self.assertEqual({target.claim for target in job.targets}, {2})
        self.assertEqual({target.expires_at for target in job.targets}, {NOW + 5 * DAY})
        self.assertEqual((job.message, job.organisation, job.content_id, job.size), (7, 1, 7, 7))
        self.assertEqual((job.total, job.copies, job.received_at, job.content), (3, 1, NOW, None))
        self.assertEqual({row.owner for row in (await self.queue.waiting(7)).rows}, {self.owner})

    async def test_a_claim_takes_what_is_due_first(self) -> None:
        for number, due in ((1, 30), (2, 10), (3, 20), (4, 99)):
            await self.queue.accept(letter(number), self.owner)
            await self.queue.settle([settlement(number, again(due=NOW + due))], self.owner, NOW)
        jobs = await self.queue.claim(self.owner, [ACME, Lane(1, "local:none.example")], 2, NOW + 50)
        self.assertEqual(sorted(job.message for job in jobs), [2, 3])
        jobs = await self.queue.claim(self.owner, [ACME], 2, NOW + 50)
        self.assertEqual([job.message for job in jobs], [1])
        self.assertEqual(await self.queue.claim(self.owner, [ACME], 2, NOW + 50), [])

    async def test_two_that_claim_at_once_share(self) -> None:
        await self.freed(*range(1, 41))
        other, owner = await self.beside()
        claims = [
            started(process.queue.claim(who, [ACME], 5, NOW))
            for process, who in ((self.here, self.owner), (other, owner)) * 5
        ]
        numbers = [job.message for jobs in await gatherResults(claims) for job in jobs]
        self.assertEqual(len(numbers), len(set(numbers)))
        while jobs := await self.claimed(self.owner):
            numbers += [job.message for job in jobs]
        self.assertEqual(sorted(numbers), list(range(1, 41)))

    async def test_without_a_node_nothing_is_claimed(self) -> None:
        await self.freed(7)
        await self.assert_lost(self.queue.claim(self.owner + 1, [ACME], 10, NOW))
        self.assertEqual((await self.row(7)).status, Status.QUEUED)

    async def test_a_claimed_job_settles(self) -> None:
        await self.freed(7, recipients=recipients(2))
        (job,) = await self.claimed(self.owner)
        await self.queue.settle([of_job(job, gone(0, claim=2), gone(1, claim=2))], self.owner, NOW + 1)
        self.assertIsNone(await self.queue.waiting(7))

    async def test_released_rows_are_due_and_nobodys(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2)), self.owner)
        await self.queue.release([Row(7, 1, 1)], self.owner, NOW + 5)
        row = await self.row(7, 1)
        self.assertEqual((row.status, row.attempts, row.due, row.owner), (Status.QUEUED, 0, NOW + 5, 0))
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])

    async def test_rows_that_moved_on_are_not_released(self) -> None:
        await self.freed(7)
        _, owner = await self.beside()
        await self.claimed(owner)
        for claim in (1, 2):
            await self.queue.release([Row(7, 0, claim)], self.owner, NOW)
        self.assertEqual(await self.queue.owned(owner), [Row(7, 0, 2)])

    # Care

    async def test_sweeping_removes_what_has_no_rows(self) -> None:
        await self.queue.accept(letter(1, recipients=()), self.owner)
        await self.queue.accept(letter(2, recipients=(), received_at=NOW + 100), self.owner)
        await self.queue.accept(letter(3), self.owner)
        self.assertEqual(await self.queue.sweep(NOW + 50), 1)
        await self.assert_gone(1)
        self.assertEqual(await self.queue.content(2), b"content")
        self.assertEqual(await self.queue.content(3), b"content")

    async def test_sizes_count_rows_by_status(self) -> None:
        before = await self.queue.sizes()
        self.assertEqual(set(before), set(Status))
        await self.queue.accept(letter(1, recipients=recipients(3)), self.owner)
        await self.queue.settle([settlement(1, gone(0), again(1), held(2), total=3)], self.owner, NOW + 1)
        await self.queue.accept(letter(2), self.owner)
        grown = {status: count - before[status] for status, count in (await self.queue.sizes()).items()}
        self.assertEqual(grown, {Status.QUEUED: 1, Status.DELIVERING: 1, Status.HELD: 1, Status.QUARANTINED: 0})

    async def test_listing_by_status_and_organisation_oldest_first(self) -> None:
        for number, organisation in ((3, 1), (1, 2), (2, 1)):
            await self.queue.accept(letter(number, organisation=organisation, recipients=recipients(2)), self.owner)
        await self.queue.settle([settlement(2, held(1), total=2)], self.owner, NOW + 1)

        async def listed(*terms: object) -> list[int]:
            return [waiting.message for waiting in await self.people.listing(*terms)]

        self.assertEqual(await listed(None, 10), [1, 2, 3])
        self.assertEqual(await listed(None, 2), [1, 2])
        self.assertEqual(await listed(None, 10, 1), [2, 3])
        self.assertEqual(await listed(Status.HELD, 10), [2])
        self.assertEqual(await listed(Status.HELD, 10, 2), [])
        (waiting,) = await self.people.listing(Status.HELD, 10)
        self.assertEqual([row.status for row in waiting.rows], [Status.DELIVERING, Status.HELD])

    async def test_retrying_makes_waiting_and_held_rows_due(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3)), self.owner)
        await self.queue.settle([settlement(7, again(0), held(1), total=3)], self.owner, NOW + 1)
        self.assertEqual(await self.people.retry(7, NOW + 2, "mtactl"), 2)
        rows = (await self.queue.waiting(7)).rows
        self.assertEqual([row.status for row in rows], [Status.QUEUED, Status.QUEUED, Status.DELIVERING])
        self.assertEqual([row.due for row in rows[:2]], [NOW + 2] * 2)
        (told,) = (await self.here.timeline.story(7))[-1].events
        self.assertEqual((told.kind, told.facts["by"], told.facts["count"]), ("retried", "mtactl", 2))
        self.assertEqual(told.facts["recipients"], ["user0@acme.example", "user1@acme.example"])

    async def test_retrying_what_is_not_there_tells_nothing(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        self.assertEqual(await self.people.retry(7, NOW + 2, "mtactl"), 0)
        self.assertEqual(await self.people.retry(8, NOW + 2, "mtactl"), 0)
        self.assertEqual(await self.kinds(7), ["received"])
        self.assertEqual(await self.kinds(8), [])

    async def test_a_row_held_after_three_takeovers_has_three_more_when_retried(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        owner = self.owner
        for number in range(3):
            await self.here.nodes.take_over(owner, 0, NOW)
            owner = (await self.here.nodes.join("another", NOW)).owner
            if number < 2:
                await self.claimed(owner)
        self.assertEqual((await self.row(7)).status, Status.HELD)
        await self.people.retry(7, NOW, "mtactl")
        await self.claimed(owner)
        await self.here.nodes.take_over(owner, 0, NOW)
        self.assertEqual((await self.row(7)).status, Status.QUEUED)

    async def test_what_was_not_tried_waits_with_as_many_attempts_as_before(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        untried = replace(again(due=NOW + 60), disposal=Disposal.UNTRIED)
        await self.queue.settle([settlement(7, untried)], self.owner, NOW + 1)
        row = await self.row(7)
        self.assertEqual((row.status, row.attempts, row.due, row.owner), (Status.QUEUED, 0, NOW + 60, 0))
        self.assertEqual(await self.kinds(7), ["received", "deferred"])

    async def test_removing_leaves_only_the_story(self) -> None:
        await self.freed(7, recipients=recipients(2))
        self.assertEqual(await self.people.remove(7, NOW + 1, "mtactl"), 2)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.kinds(7), ["received", "removed"])
        self.assertEqual(await self.people.remove(7, NOW + 2, "mtactl"), 0)
        await self.queue.settle([settlement(7, again(0), gone(1), total=2)], self.owner, NOW + 2)
        self.assertEqual(await self.kinds(7), ["received", "removed"])
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_what_is_being_delivered_is_neither_removed_nor_seized(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3)), self.owner)
        _, owner = await self.beside()
        self.assertEqual(await self.people.remove(7, NOW + 1, "mtactl"), 0)
        self.assertIsNone(await self.queue.seize(7, owner))
        self.assertEqual(await self.kinds(7), ["received"])
        await self.queue.settle([settlement(7, held(0), again(1), total=3)], self.owner, NOW + 1)
        self.assertEqual(await self.people.remove(7, NOW + 2, "mtactl"), 2)
        (row,) = (await self.queue.waiting(7)).rows
        self.assertEqual((row.recipient.n, row.status, row.owner), (2, Status.DELIVERING, self.owner))
        self.assertEqual(await self.queue.content(7), b"content")
        await self.queue.settle([settlement(7, gone(2), total=3)], self.owner, NOW + 3)
        await self.assert_gone(7)

    async def test_removing_leaves_a_shared_content_to_the_other(self) -> None:
        await self.queue.accept(shared_letter(7, 8), self.owner)
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW)
        await self.people.remove(7, NOW + 1, "mtactl")
        self.assertEqual(await self.queue.content(7), b"shared")
        await self.people.remove(8, NOW + 1, "mtactl")
        await self.assert_gone(7)

    async def test_what_is_seized_is_nobody_elses(self) -> None:
        both = (*recipients(2), Recipient(2, ALICE, ALICE, "local:other.example"))
        await self.queue.accept(letter(7, recipients=both), self.owner)
        await self.queue.settle([settlement(7, held(0), again(1), total=3)], self.owner, NOW + 1)
        await self.queue.release([Row(7, 2, 1)], self.owner, NOW + 1)
        _, owner = await self.beside()
        job = await self.queue.seize(7, owner)
        self.assertEqual([target.recipient for target in job.targets], list(both))
        self.assertEqual([target.claim for target in job.targets], [3, 3, 2])
        self.assertEqual((job.message, job.total, job.content_id, job.reverse_path), (7, 3, 7, ANN))
        self.assertEqual({row.owner for row in (await self.queue.waiting(7)).rows}, {owner})
        await self.queue.settle([settlement(7, gone(2), total=3)], self.owner, NOW + 2)
        self.assertEqual(len((await self.queue.waiting(7)).rows), 3)
        await self.queue.settle([of_job(job, gone(0, claim=3), gone(1, claim=3), gone(2, claim=2))], owner, NOW + 3)
        await self.assert_gone(7)

    async def test_nothing_is_seized_of_nothing_or_without_a_node(self) -> None:
        self.assertIsNone(await self.queue.seize(7, self.owner))
        await self.freed(7)
        await self.assert_lost(self.queue.seize(7, self.owner + 1))
        self.assertEqual((await self.row(7)).owner, 0)

    # Trouble

    async def test_a_lost_answer_is_asked_for_again(self) -> None:
        self.lose_answer()
        await self.queue.accept(letter(7), self.owner)
        self.assertFalse(self.losing())
        self.assertEqual(await self.kinds(7), ["received"])
        self.lose_answer()
        await self.queue.settle([settlement(7, again())], self.owner, NOW + 1)
        self.assertFalse(self.losing())
        self.assertEqual(await self.kinds(7), ["received", "deferred"])
        self.assertEqual((await self.row(7)).attempts, 1)

    async def test_accepts_and_settles_wait_for_the_end_of_an_outage(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.outage()
        waiting = [
            started(self.queue.accept(letter(8), self.owner)),
            started(self.queue.settle([settlement(7, gone())], self.owner, NOW + 1)),
        ]
        self.assertNoResult(waiting[0])
        await self.restore()
        await gatherResults(waiting)
        self.assertEqual(await self.queue.owned(self.owner), [Row(8, 0, 1)])

    async def test_everything_else_fails_in_an_outage(self) -> None:
        await self.freed(7)
        await self.outage()
        for ask in (
            self.queue.ready(NOW, 10),
            self.queue.claim(self.owner, [ACME], 10, NOW),
            self.queue.content(7),
            self.queue.release([Row(7, 0, 1)], self.owner, NOW),
            self.queue.owned(self.owner),
        ):
            await self.assertFailure(started(ask), Unavailable)

    async def test_an_accept_is_given_up_after_thirty_seconds(self) -> None:
        await self.outage()
        waiting = started(self.queue.accept(letter(7), self.owner))
        self.clock.advance(29)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        await self.assertFailure(waiting, Unavailable)
        await self.restore()
        await self.queue.accept(letter(8), self.owner)
        self.assertEqual(await self.queue.owned(self.owner), [Row(8, 0, 1)])

    async def test_what_was_given_up_but_written_is_removed_first_of_all(self) -> None:
        self.lose_all_answers()
        waiting = started(self.queue.accept(letter(7, recipients=recipients(2)), self.owner))
        await self.written(7)
        self.wait_in_vain()
        await self.assertFailure(waiting, Unavailable)
        await self.restore()
        await self.queue.accept(letter(8), self.owner)
        self.assertEqual(await self.queue.owned(self.owner), [Row(8, 0, 1)])
        self.assertEqual(await self.here.timeline.story(7), [])
        self.assertEqual(await self.here.timeline.search("alice@acme.example", 10), [8])
        await self.assert_gone(7)

    async def taken_from(self, *lanes: Lane, settled: bool = False) -> Process:
        """Lose the answer of an acceptance, and the node; return another process, which claimed those lanes.

        Only then the database answers here again, and what must be forgotten is.
        """
        elsewhere = await self.elsewhere()
        owner = (await elsewhere.nodes.join("elsewhere", NOW)).owner
        self.lose_all_answers()
        to = (Recipient(0, ALICE, ALICE, ACME.destination), Recipient(1, BOB, BOB, OTHER.destination))
        waiting = started(self.queue.accept(letter(7, recipients=to), self.owner))
        await self.written(7)
        await elsewhere.nodes.take_over(self.owner, 0, NOW + 1)
        claimed = await elsewhere.queue.claim(owner, lanes, 10, NOW + 1)
        if settled:
            settlements = [of_job(job, gone(job.targets[0].recipient.n, claim=2)) for job in claimed]
            await elsewhere.queue.settle(settlements, owner, NOW + 2)
        self.clock.advance(10)
        await self.restore()
        await self.assertFailure(waiting, LeaseLost)
        await self.assert_lost(self.queue.accept(letter(8), self.owner))
        return elsewhere

    async def test_what_was_written_before_the_node_was_lost_is_removed(self) -> None:
        await self.taken_from()
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.here.timeline.story(7), [])
        self.assertEqual(await self.here.timeline.search("alice@acme.example", 10), [])

    async def test_what_others_deliver_meanwhile_is_left_to_them(self) -> None:
        elsewhere = await self.taken_from(ACME)
        rows = (await self.queue.waiting(7)).rows
        self.assertEqual([(row.recipient.n, row.status) for row in rows], [(0, Status.DELIVERING)])
        self.assertEqual(await self.queue.content(7), b"content")
        self.assertEqual(await self.here.timeline.search("alice@acme.example", 10), [7])
        self.assertEqual(await self.kinds(7), ["received", "taken-over", "abandoned"])
        self.assertEqual((await self.here.timeline.story(7))[-1].at, NOW + 10)
        await elsewhere.queue.settle([settlement(7, gone(claim=2), total=2)], rows[0].owner, NOW + 20)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)

    async def test_the_rest_of_what_others_delivered_is_removed(self) -> None:
        await self.taken_from(ACME, settled=True)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assert_gone(7)
        self.assertEqual(await self.kinds(7), ["received", "taken-over", "delivered", "abandoned"])
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)

    async def test_what_others_delivered_keeps_its_story(self) -> None:
        await self.taken_from(ACME, OTHER, settled=True)
        kinds = await self.kinds(7)
        self.assertEqual(kinds, ["received", "taken-over", "delivered", "delivered", "abandoned"])
        self.assertEqual(await self.here.timeline.search("alice@acme.example", 10), [7])
        await self.assert_gone(7)


class MemoryQueueTest(QueueContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()

    async def written(self, number: int) -> None:
        self.assertIn(number, self.store.messages)

    async def test_a_slow_database_answers_late(self) -> None:
        self.database.delay(5)
        answers = [started(self.queue.accept(letter(7), self.owner)), started(self.queue.owned(self.owner))]
        self.clock.advance(4.9)
        self.assertNoResult(answers[0])
        self.assertNoResult(answers[1])
        self.clock.advance(0.1)
        self.successResultOf(answers[0])
        self.assertEqual(self.successResultOf(answers[1]), [Row(7, 0, 1)])

    async def test_stopping_fails_what_waits(self) -> None:
        self.database.outage()
        waiting = started(self.queue.settle([settlement(7, gone())], self.owner, NOW))
        self.database.stop()
        self.failureResultOf(waiting, Unavailable)
        await self.assertFailure(started(self.queue.accept(letter(8), self.owner)), Unavailable)


class PostgresQueueTest(QueueContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.begin()

    async def test_sweeping_goes_through_all_ids_slice_by_slice(self) -> None:
        self.patch(care, "_SLICE", 2)
        for number in (1, 2, 3, 6):
            await self.queue.accept(letter(number, recipients=()), self.owner)
        await self.queue.accept(letter(4), self.owner)
        await self.queue.accept(shared_letter(7, 8), self.owner)
        await self.queue.settle([settlement(7, gone(), copies=2)], self.owner, NOW + 1)
        lone = "select id, n, '' from generate_series(9, 13) id, generate_series(0, 1) n"
        await self.pool.query(f"insert into message_content {lone}")
        young = first_id(NOW + 50)
        await self.pool.query("insert into message_content values (%s, 0, '')", (young,))
        self.assertEqual(await self.queue.sweep(NOW + 50), 4)
        left = await self.pool.query("select distinct content_id from message_content order by 1")
        self.assertEqual([number for (number,) in left], [4, 7, young])

    async def written(self, number: int) -> None:
        await self.gate.lost
        self.assertEqual(await self.pool.query("select id from messages"), [(number,)])
