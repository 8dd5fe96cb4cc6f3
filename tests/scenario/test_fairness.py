"""One organisation's backlog and slow destinations, and what the others notice of them: next to nothing."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.interfaces import IAcceptance
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.job import Acceptance, Message
from mtad.outbound.worker import Worker
from mtad.testing.scripted import SILENCE, ScriptedServer, ScriptedSession, Word
from mtad.testing.world import DAY, World

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
A, B = 1, 2
SLOW_SECONDS = 20.0
FAST_SECONDS = 0.2
STEP_SECONDS = 0.1
_old_ids = count(1)


class FairnessTest(SynchronousTestCase):
    """The hosts of slow.example take 20 s for a message, those of all others 0.2 s."""

    def world(self) -> World:
        world = World(Path(self.mktemp()))
        for n, domain in enumerate(("slow", "fast", "own")):
            world.zone[f"{domain}.example"] = [f"MX 10 mx.{domain}.example"]
            world.zone[f"mx.{domain}.example"] = [f"A 192.0.2.{25 + n}"]
            server = ScriptedServer(b"220 ready\r\n")
            server.script[b"."] = taking(world, SLOW_SECONDS if domain == "slow" else FAST_SECONDS)
            world.network.serve(f"192.0.2.{25 + n}:25", server)
        world.turn()
        return world

    def fill(self, world: World, domain: str, rows: int, organisation: int = A) -> list[int]:
        """Let messages wait in the queue since before the server began; return their ids."""
        ids = [next(_old_ids) for _ in range(rows)]
        for number in ids:
            (owner,) = world.store.nodes
            world.store.accept(letter(number, organisation, domain, world.wall.now()), owner)
            world.store.rows[number, 0].free(world.wall.now())
        return ids

    def hand_over(self, world: World, domain: str, organisation: int) -> int:
        queue = world.server.getServiceNamed("queue")
        assert IAcceptance.providedBy(queue)
        message = queue.next_id()
        accepted: Deferred[None] = queue.accept(letter(message, organisation, domain, world.wall.now()))
        self.successResultOf(accepted)
        return message

    def one_a_second(self, world: World, seconds: int) -> list[float]:
        """Let B send a message each second; return how long each took from accept to delivery, shortest first."""
        sent_at = {}
        for _ in range(seconds):
            sent_at[self.hand_over(world, "own.example", B)] = world.wall.now()
            world.advance(1.0, step=STEP_SECONDS)
        world.advance(10.0, step=STEP_SECONDS)
        return sorted(delivered_at(world, message) - at for message, at in sent_at.items())

    def seconds_until_delivered(self, world: World, messages: list[int]) -> float:
        began = world.clock.seconds()
        while any(world.store.waiting(message) for message in messages):
            world.advance(1.0, step=STEP_SECONDS)
        return world.clock.seconds() - began

    def test_a_neighbour_with_a_hundred_times_as_much_is_hardly_noticed(self) -> None:
        alone = self.one_a_second(self.world(), seconds=40)
        world = self.world()
        self.fill(world, "slow.example", 2000)
        self.fill(world, "fast.example", 200)
        beside = self.one_a_second(world, seconds=40)
        self.assertLessEqual(percentile(beside, 95), 2 * percentile(alone, 95))
        self.assertLess(max(beside), 2.0)

    def test_a_fast_destination_is_not_held_up_by_a_slow_one_of_the_same_sender(self) -> None:
        world = self.world()
        alone = self.seconds_until_delivered(world, self.fill(world, "fast.example", 300))
        world = self.world()
        self.fill(world, "slow.example", 2000)
        world.advance(30.0)
        beside = self.seconds_until_delivered(world, self.fill(world, "fast.example", 300))
        self.assertLessEqual(beside, 2 * alone)

    def test_what_is_handed_over_all_the_time_keeps_no_backlog_waiting(self) -> None:
        world = self.world()
        old = self.fill(world, "own.example", 50, organisation=B)
        for _ in range(60):
            for _ in range(30):
                self.hand_over(world, "slow.example", A)
                self.hand_over(world, "fast.example", A)
            world.advance(1.0, step=STEP_SECONDS)
        self.assertEqual([message for message in old if world.store.waiting(message)], [])

    def test_a_server_takes_no_more_at_once_than_it_may_have_connections(self) -> None:
        world = self.world()
        for organisation in range(3, 13):
            self.fill(world, "slow.example", 20, organisation)
        world.advance(30.0)
        worker = world.server.getServiceNamed("worker")
        assert isinstance(worker, Worker)
        self.assertEqual(worker.stats()["begun"], world.settings.delivery.max_connections_per_destination)


def letter(number: int, organisation: int, domain: str, now: float) -> Acceptance:
    to = Address("bob", domain)
    message = Message(
        id=number,
        organisation=organisation,
        direction="outbound",
        reverse_path=Address("ann", f"sender{organisation}.example"),
        recipients=(Recipient(0, to, to, f"mx:{domain}"),),
        content_id=number,
        size=len(CONTENT),
        received_at=now,
        expires_at=now + DAY,
    )
    return Acceptance(number, CONTENT, (message,))


def taking(world: World, seconds: float) -> Callable[[ScriptedSession, bytes], Word]:
    """Return what answers the end of data only after some time."""

    def answer(session: ScriptedSession, line: bytes) -> Word:
        assert session.transport is not None
        world.clock.callLater(seconds, session.transport.write, b"250 2.0.0 taken\r\n")
        return SILENCE

    return answer


def delivered_at(world: World, message: int) -> float:
    return next(event.at for event in world.story(message) if event.kind == "delivered")


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many of a hundred do not exceed; `values` are sorted."""
    return values[-(-len(values) * percent // 100) - 1]
