"""How long contents stay, on the queue's twin and on PostgreSQL: `queue.keep_content`."""

from twisted.internet.defer import Deferred

from mtad.model.identity import first_id
from mtad.model.job import Acceptance
from tests.contract.letters import NOW, again, gone, letter, message, recipients, settlement
from tests.contract.processes import MemoryCase, PostgresCase

FIRST = first_id(NOW)
KEEP_SECONDS = 7200.0


class KeepingContract:
    """`here` is a process that joined as `owner`; contents that came NOW have ids from FIRST on."""

    keep_content_seconds = KEEP_SECONDS

    async def begin(self) -> None:
        self.here = await self.process()
        self.queue = self.here.queue
        self.owner = (await self.here.nodes.join("here", NOW)).owner

    async def assert_gone(self, content: int) -> None:
        await self.assertFailure(Deferred.fromCoroutine(self.queue.content(content)), KeyError)

    async def test_what_everybody_got_stays_readable_for_its_time(self) -> None:
        await self.queue.accept(letter(FIRST), self.owner)
        await self.queue.settle([settlement(FIRST, gone())], self.owner, NOW + 1)
        self.assertIsNone(await self.queue.waiting(FIRST))
        self.assertEqual(await self.queue.content(FIRST), b"content")
        self.assertEqual(await self.queue.sweep(NOW + KEEP_SECONDS - 1), 0)
        self.assertEqual(await self.queue.content(FIRST), b"content")
        await self.queue.sweep(NOW + KEEP_SECONDS + 1)
        await self.assert_gone(FIRST)

    async def test_so_does_what_was_settled_in_parts(self) -> None:
        await self.queue.accept(letter(FIRST, recipients=recipients(2)), self.owner)
        await self.queue.settle([settlement(FIRST, gone(0), total=2)], self.owner, NOW + 1)
        await self.queue.settle([settlement(FIRST, gone(1), total=2)], self.owner, NOW + 2)
        self.assertIsNone(await self.queue.waiting(FIRST))
        self.assertEqual(await self.queue.content(FIRST), b"content")

    async def test_what_waited_for_longer_goes_with_its_last_recipient(self) -> None:
        later = NOW + KEEP_SECONDS + 1
        await self.queue.accept(letter(FIRST), self.owner)
        await self.queue.accept(letter(FIRST + 1, recipients=recipients(2)), self.owner)
        await self.queue.settle([settlement(FIRST, gone())], self.owner, later)
        both = settlement(FIRST + 1, gone(0), gone(1), total=3)
        await self.queue.settle([both], self.owner, later)
        await self.assert_gone(FIRST)
        await self.assert_gone(FIRST + 1)

    async def test_what_somebody_waits_for_is_not_swept(self) -> None:
        await self.queue.accept(letter(FIRST), self.owner)
        await self.queue.settle([settlement(FIRST, again())], self.owner, NOW + 1)
        await self.queue.sweep(NOW + 10 * KEEP_SECONDS)
        self.assertEqual(await self.queue.content(FIRST), b"content")

    async def test_what_was_removed_by_hand_is_not_kept(self) -> None:
        await self.queue.accept(letter(FIRST), self.owner)
        await self.queue.settle([settlement(FIRST, again())], self.owner, NOW + 1)
        await self.here.people.remove(FIRST, NOW + 2, "mtactl")
        await self.assert_gone(FIRST)

    async def test_a_content_of_two_messages_stays_for_its_time(self) -> None:
        messages = tuple(message(FIRST + place, content_id=FIRST, copies=2) for place in range(2))
        await self.queue.accept(Acceptance(FIRST, b"shared", messages), self.owner)
        for each in messages:
            await self.queue.settle([settlement(each.id, gone(), copies=2)], self.owner, NOW + 1)
        self.assertEqual(await self.queue.content(FIRST), b"shared")
        await self.queue.sweep(NOW + KEEP_SECONDS + 1)
        await self.assert_gone(FIRST)


class MemoryKeepingTest(KeepingContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()


class PostgresKeepingTest(KeepingContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.begin()
