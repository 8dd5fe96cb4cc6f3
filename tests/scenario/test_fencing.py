"""Who may act for a message, on whole servers: lapses, takeovers in time, nodes that were stopped and go on."""

import os
from collections.abc import Awaitable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.tenant import LmtpDelivery
from mtad.testing.scripted import SILENCE, ScriptedServer
from mtad.testing.world import MINUTE, World

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
