"""Draining: no new sessions, nothing begun, rows given back; and the way back."""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.control import CHANNEL
from mtad.testing.world import MINUTE, World

ALICE = "alice@acme.example"


class DrainingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host(ALICE)
        self.world.advance(4)

    def drain(self, world: World | None = None, *, on: bool = True, noticed: bool = True) -> None:
        world = world or self.world
        (owner,) = [facts["owner"] for facts in world.journal.of("node.joined")]
        world.store.nodes[owner].draining = on
        if noticed:
            world.wakeups.notify(CHANNEL, "drain")
            world.turn()

    def ready(self) -> tuple[int, dict[str, object]]:
        line = self.world.network.connect(self.world.settings.server.http_addr, ("127.0.0.1", 40000))
        line.send(b"GET /ready HTTP/1.0\r\n\r\n")
        self.world.turn()
        head, _, body = line.take().partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def owned(self) -> int:
        return sum(row.owner is not None for row in self.world.store.rows.values())

    def test_new_sessions_are_refused_and_it_is_not_ready(self) -> None:
        self.drain()
        for port in ("smtp", "submission"):
            line = self.world.call(port)
            self.world.turn()
            self.assertTrue(line.take().startswith(b"421 4.3.2 "), port)
            self.assertTrue(line.closed)
        status, told = self.ready()
        self.assertEqual((status, told["ready"], told["draining"]), (503, False, True))
        self.assertEqual(len(self.world.journal.of("node.draining")), 1)

    def test_without_a_notice_it_is_seen_with_the_next_beat(self) -> None:
        self.drain(noticed=False)
        self.assertEqual(self.ready()[0], 200)
        self.world.advance(4)
        self.assertEqual(self.ready()[0], 503)

    def test_an_idle_session_is_closed_and_one_that_sends_may_finish(self) -> None:
        idle, busy = self.world.connect(), self.world.connect()
        self.world.say(idle, b"EHLO o.example\r\n")
        self.world.say(
            busy, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\nSubject: x\r\n"
        )
        self.drain()
        self.assertTrue(idle.take().startswith(b"421 4.3.2 "))
        self.assertTrue(idle.closed)
        self.assertFalse(busy.closed)
        self.assertIn(b"250 2.0.0 ", self.world.say(busy, b"\r\nhi\r\n.\r\n"))
        self.assertTrue(busy.closed)
        self.world.advance(2)
        self.assertEqual(self.owned(), 0, "what came in is given back")
        self.assertEqual(self.world.mail(ALICE), [])

    def test_rows_are_given_back_and_nothing_is_claimed(self) -> None:
        self.world.offload.hold()
        for _ in range(60):
            self.world.send(ALICE)
        self.assertEqual(self.owned(), 60)
        self.drain()
        self.world.advance(2)
        in_hand = self.owned()
        self.assertTrue(0 < in_hand < 60)
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(self.owned(), 0)
        self.assertEqual(len(self.world.mail(ALICE)), in_hand, "what had begun is finished, and no more")

    def test_another_node_takes_what_is_given_back(self) -> None:
        second = self.world.another()
        self.world.offload.hold()
        for _ in range(60):
            self.world.send(ALICE)
        self.drain()
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.mail(ALICE)), 60)
        self.assertGreater(len(second.journal.of("delivery.delivered")), 30)

    def test_it_works_again(self) -> None:
        self.drain()
        self.world.advance(10)
        self.drain(on=False)
        self.assertEqual(self.ready()[0], 200)
        self.assertIn(b"250 2.0.0 ", self.world.send(ALICE))
        self.world.advance(2)
        self.assertEqual(len(self.world.mail(ALICE)), 1)

    def test_a_drained_server_stops(self) -> None:
        self.drain()
        self.world.server.stopService()
        self.world.advance(2)
        self.assertEqual(len(self.world.journal.of("service.stopped")), 1)

    def test_alone_it_cannot_reload_and_says_so_once(self) -> None:
        token = "0123456789abcdef"
        for _ in range(3):
            self.world.wakeups.notify(CHANNEL, f"reload {token} mx.test")
            self.world.turn()
        self.world.wakeups.notify(CHANNEL, f"reload {token} other.test")
        self.assertEqual(len(self.world.journal.of("reload.refused")), 1)
        (node,) = self.world.store.nodes.values()
        self.assertTrue(str(node.stats["refused"]).startswith(f"{token} server.processes is not set"))
        self.assertEqual((node.stats["process"], node.stats["processes"]), (1, 1))

    def test_what_is_no_notice_is_nothing(self) -> None:
        for payload in (
            "",
            "reload",
            "reload 0123456789abcdef",
            "reload 0123456789abcdeg mx.test",
            "drain all",
            "x" * 9000,
        ):
            self.world.wakeups.notify(CHANNEL, payload)
        self.world.wakeups.notify("mtad_directory", "drain")
        self.assertEqual(self.world.journal.of("reload.refused"), [])
