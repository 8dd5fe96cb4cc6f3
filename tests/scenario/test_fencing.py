"""Who may act for a message, on whole servers: lapses, takeovers in time, nodes that were stopped and go on."""

import os
from collections.abc import Awaitable
from pathlib import Path

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.content import Content
from mtad.model.job import Node
from mtad.model.tenant import LmtpDelivery
from mtad.outbound.lease import LEASE_SECONDS
from mtad.outbound.membership import Membership
from mtad.outbound.worker import Worker
from mtad.testing.scripted import SILENCE, ScriptedServer
from mtad.testing.world import MINUTE, World, settings

LMTP = "127.0.0.1:2400"
ALICE = "alice@acme.example"
SUE = "sue@store.example"
TAKEN_OVER_SECONDS = 20


class FencingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host(ALICE)
        self.world.host(SUE, delivery=LmtpDelivery(LMTP))

    def serve(self, *worlds: World) -> ScriptedServer:
        """Let the store of SUE stand, for all of these servers the same."""
        store = ScriptedServer(b"220 store ready\r\n")
        for world in worlds:
            world.network.serve(LMTP, store)
        return store

    def advance_until_taken_over_by(self, heir: World) -> None:
        """Let time pass until another server has seen a dead one, and its takeover is on the way."""
        asked = []
        nodes = heir.database.nodes
        take_over = nodes.take_over

        def noted(owner: int, beat: int, now: float) -> Awaitable[int | None]:
            asked.append(owner)
            return take_over(owner, beat, now)

        self.patch(nodes, "take_over", noted)
        while not asked:
            heir.clock.advance(0.05)

    def test_a_killed_server_is_taken_over_within_twenty_seconds_whenever_it_dies(self) -> None:
        for tenths in range(0, 31, 2):
            world = World(Path(self.mktemp()))
            world.host(ALICE)
            world.advance(tenths / 10)
            heir = world.another()
            heir.advance(5)
            world.offload.hold()
            self.assertTrue(world.send(ALICE).startswith(b"250"))
            # The worst that can be: it beat just now, and the other looks only a beat later.
            world.advance(3.01 - world.clock.seconds() % 3, step=0.1)
            world.crash()
            # And it sees this late, so that it comes to look a moment before the other is dead.
            heir.database.delay(0.2)
            heir.advance(4, step=0.1)
            heir.database.delay(0)
            heir.advance(TAKEN_OVER_SECONDS - 4, step=0.1)
            self.assertEqual(len(heir.mail(ALICE)), 1, f"{tenths} tenths apart")

    def test_who_beats_again_at_the_last_moment_is_not_taken_over(self) -> None:
        second = self.world.another()
        store = self.serve(self.world, second)
        store.script[b""] = SILENCE
        self.world.advance(6)
        self.assertTrue(self.world.send(SUE).startswith(b"250"))
        second.database.delay(0.3)
        self.world.process.stall()
        self.advance_until_taken_over_by(second)
        self.world.process.resume()
        self.world.turn()
        second.database.delay(0)
        self.world.advance(MINUTE)
        self.assertEqual(second.journal.of("node.taken_over"), [])
        self.assertEqual(len(self.world.journal.of("node.joined")), 1)
        store.sessions[0].transport.write(b"220 store ready\r\n")
        self.world.advance(MINUTE)
        self.assertEqual(len(store.messages), 1)

    def test_an_outage_of_half_a_minute_frees_nobodys_rows_and_all_go_on(self) -> None:
        second = self.world.another()
        self.world.offload.hold()
        for _ in range(2):
            self.assertTrue(self.world.send(ALICE).startswith(b"250"))
        rows = {key: (row.owner, row.claim) for key, row in self.world.store.rows.items()}
        for world in (self.world, second):
            world.database.outage()
        self.world.advance(30)
        self.world.database.restore()
        self.world.advance(14)
        second.database.restore()
        self.world.advance(MINUTE)
        self.assertEqual({key: (row.owner, row.claim) for key, row in self.world.store.rows.items()}, rows)
        for world in (self.world, second):
            self.assertEqual(len(world.journal.of("node.joined")), 1)
            self.assertEqual(world.journal.of("node.taken_over") + world.journal.of("node.orphans_freed"), [])
        self.world.offload.release()
        self.world.turn()
        self.assertEqual((len(self.world.mail(ALICE)), self.world.store.rows), (2, {}))

    def test_servers_that_were_all_stopped_do_not_take_each_other_over(self) -> None:
        second = self.world.another()
        self.world.advance(10)
        for world in (self.world, second):
            world.process.stall()
        self.world.advance(MINUTE)
        # The second had seen the first's last beat; the first missed the second's.
        for world in (second, self.world):
            world.process.resume()
        self.world.advance(MINUTE)
        for world in (self.world, second):
            self.assertEqual(world.journal.of("node.taken_over"), [])
            self.assertEqual(len(world.journal.of("node.joined")), 1)

    def test_who_was_stopped_before_the_last_dot_does_not_send_it(self) -> None:
        second = self.world.another()
        store = self.serve(self.world, second)
        store.script[b"DATA"] = [SILENCE, b"354 go\r\n"]
        self.assertTrue(self.world.send(SUE).startswith(b"250"))
        self.assertEqual(store.messages, [])
        self.world.process.stall()
        store.sessions[0].transport.write(b"354 go\r\n")
        second.advance(30)
        self.assertEqual(len(store.messages), 1, "the other sent it")
        self.world.process.resume()
        self.world.advance(MINUTE)
        self.assertEqual(len(store.messages), 1)
        self.assertEqual(len(self.world.journal.of("node.joined")), 2, "it came back as another node")

    def expel(self, heir: World) -> None:
        """Take this server's way to the database until it is taken over, and let it come back as another node."""
        self.world.database.outage()
        heir.advance(30)
        self.assertEqual([facts["owner"] for facts in heir.journal.of("node.taken_over")], [1])
        self.world.database.restore()
        heir.advance(5)
        self.assertEqual(len(self.world.journal.of("node.joined")), 2, "it came back as another node")

    def begun(self) -> object:
        """Return how many jobs the server has begun and not ended."""
        worker = self.world.server.getServiceNamed("worker")
        assert isinstance(worker, Worker)
        return worker.stats()["begun"]

    def test_who_waited_for_a_greeting_when_it_was_taken_over_does_not_send(self) -> None:
        second = self.world.another()
        store, other = self.serve(self.world), self.serve(second)
        store.script[b""] = SILENCE
        self.assertTrue(self.world.send(SUE).startswith(b"250"))
        self.expel(second)
        store.sessions[0].transport.write(b"220 store ready\r\n")
        self.world.advance(MINUTE)
        self.assertEqual((len(store.messages), len(other.messages)), (0, 1))
        self.assertEqual(self.world.store.rows, {})

    def test_who_was_dialling_when_it_was_taken_over_does_not_send(self) -> None:
        second = self.world.another()
        store, other = self.serve(self.world), self.serve(second)
        pending: list[Deferred[Protocol]] = []
        dial = self.world.network.dial

        def slow(address: str, factory: Factory, seconds: float, source: str | None = None) -> Deferred[Protocol]:
            pending.append(Deferred())
            return pending[-1].addCallback(lambda _: dial(address, factory, seconds, source))

        self.patch(self.world.network, "dial", slow)
        self.assertTrue(self.world.send(SUE).startswith(b"250"))
        self.expel(second)
        pending[0].callback(None)
        self.world.advance(MINUTE)
        self.assertEqual((len(store.messages), len(other.messages)), (0, 1))

    def test_who_was_reading_the_content_when_it_was_taken_over_does_not_send(self) -> None:
        store = self.serve(self.world)
        store.script[b"MAIL"] = [b"451 4.3.0 later\r\n", b"250 ok\r\n"]
        pending: list[Deferred[None]] = []
        content = self.world.database.queue.content

        async def slow(content_id: int) -> Content:
            read = await content(content_id)
            pending.append(Deferred())
            await pending[-1]
            return read

        self.patch(self.world.database.queue, "content", slow)
        self.assertTrue(self.world.send(SUE).startswith(b"250"))
        while not pending:
            self.world.advance(10)
        second = self.world.another()
        other = self.serve(second)
        self.expel(second)
        pending[0].callback(None)
        self.world.advance(MINUTE)
        self.assertEqual((len(store.messages), len(other.messages)), (0, 1))

    def test_who_waited_for_a_connection_when_it_was_taken_over_does_not_send(self) -> None:
        path = Path(self.mktemp())
        configured = settings(path)
        few = structs.replace(configured.delivery, max_connections_per_destination=2)
        self.world = World(path, configured=structs.replace(configured, delivery=few))
        self.world.host(SUE, delivery=LmtpDelivery(LMTP))
        second = self.world.another()
        store, other = self.serve(self.world), self.serve(second)
        store.script[b"."] = SILENCE
        for _ in range(24):
            self.assertTrue(self.world.send(SUE).startswith(b"250"))
        sent = len(store.messages)
        self.assertEqual((sent, self.begun()), (2, 20))
        self.expel(second)
        self.assertEqual(len(other.messages), 24)
        self.assertEqual(self.begun(), 2, "others wait no more")
        store.script[b"."] = b"250 2.0.0 OK\r\n"
        for session in store.sessions:
            session.transport.write(b"250 2.0.0 OK\r\n")
        self.world.advance(MINUTE)
        self.assertEqual(len(store.messages), sent)

    def test_a_lease_may_lapse_between_any_two_steps_and_nothing_is_begun_that_never_ends(self) -> None:
        readings, in_vain = 0, False
        while not in_vain:
            readings += 1
            self.world = World(Path(self.mktemp()))
            self.world.host(ALICE)
            line = self.world.connect()
            self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n")
            self.world.wall.suspend_after(readings, LEASE_SECONDS + 1)
            answer = self.world.say(line, b"Subject: hi\r\n\r\nhello\r\n.\r\n")
            in_vain = self.world.wall.is_to_sleep
            self.world.advance(10 * MINUTE)
            taken = int(answer.startswith(b"250"))
            self.assertEqual(
                (self.begun(), len(self.world.mail(ALICE))), (0, taken), f"{readings} readings: {answer!r}"
            )
        self.assertGreater(readings, 3)

    def test_who_becomes_a_node_after_its_end_is_none(self) -> None:
        nodes = self.world.database.nodes
        join = nodes.join
        answers: list[Deferred[None]] = []

        async def slow(name: str, now: float, draining: bool = False) -> Node:
            node = await join(name, now, draining)
            answers.append(Deferred())
            await answers[-1]
            return node

        self.patch(nodes, "join", slow)
        self.world.store.nodes.clear()
        while not answers:
            self.world.advance(1)
        self.world.server.stopService()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.journal.of("service.stopped")), 1)
        answers[0].callback(None)
        self.world.advance(1)
        self.assertEqual(self.world.store.nodes, {})
        membership = self.world.server.getServiceNamed("membership")
        assert isinstance(membership, Membership)
        self.assertFalse(membership.good)

    def test_what_a_new_node_begins_is_not_kept_by_the_end_of_the_old(self) -> None:
        second = self.world.another()
        store, other = self.serve(self.world), self.serve(second)
        self.expel(second)
        self.assertTrue(self.world.send(SUE).startswith(b"250"))
        self.world.advance(1)
        self.assertEqual((len(store.messages), len(other.messages)), (1, 0))

    def test_who_was_stopped_before_its_turn_at_the_disk_writes_nothing(self) -> None:
        second = self.world.another()
        self.world.offload.hold()
        for _ in range(3):
            self.assertTrue(self.world.send(ALICE).startswith(b"250"))
        self.assertEqual(self.world.offload.waiting, 2, "one is not begun")
        self.world.process.stall()
        second.advance(30)
        self.assertEqual(len(second.mail(ALICE)), 3)
        box = self.world.path / "mail" / "acme.example" / "alice"
        for file in (box / "new").iterdir():
            os.rename(file, box / "cur" / f"{file.name}:2,S")
        self.world.process.resume()
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertLessEqual(len(self.world.mail(ALICE)), 2, "what was with the disk may be there twice, no other")
