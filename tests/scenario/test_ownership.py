"""Whose a message is, on the whole server: hand-over, release, reconciliation, and the HTTP side that tells of it."""

import json
from pathlib import Path

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.identity import parse_id
from mtad.model.job import Status, Waiting
from mtad.model.tenant import LmtpDelivery
from mtad.testing.scripted import SILENCE, ScriptedServer
from mtad.testing.world import MINUTE, World


class OwnershipTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host("alice@acme.example", "bob@acme.example")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def accepted(self, content: bytes = b"S: x\r\n\r\nx\r\n") -> int:
        answer = self.world.send("alice@acme.example", content=content)
        self.assertTrue(answer.startswith(b"250 2.0.0"), answer)
        return parse_id(answer.split()[-1].decode())

    def waiting(self, message: int) -> Waiting:
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        return waiting

    def get(self, page: str) -> tuple[int, bytes]:
        line = self.world.network.connect(self.world.settings.server.http_addr, peer=("127.0.0.1", 50000))
        answer = self.world.say(line, f"GET {page} HTTP/1.0\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def test_the_happy_path_claims_nothing_and_reads_nothing_back(self) -> None:
        for _ in range(20):
            self.accepted()
        self.assertEqual(len(self.world.mail("alice@acme.example")), 20)
        self.assertEqual(self.world.journal.of("queue.claimed"), [])
        self.assertEqual(self.world.journal.of("queue.released"), [])

    def test_what_is_not_begun_in_five_seconds_is_given_back_and_then_claimed(self) -> None:
        self.world.offload.hold()
        messages = [self.accepted() for _ in range(60)]
        self.assertEqual({row.attempts for row in self.waiting(messages[-1]).rows}, {0})
        self.world.advance(4)
        self.assertEqual(self.world.journal.of("queue.released"), [], "not yet")
        self.world.advance(3)
        self.assertEqual([facts["count"] for facts in self.world.journal.of("queue.released")], [40])
        self.assertEqual([(row.status, row.attempts) for row in self.waiting(messages[-1]).rows], [(Status.QUEUED, 0)])
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.mail("alice@acme.example")), 60)
        self.assertEqual(sum(int(str(facts["count"])) for facts in self.world.journal.of("queue.claimed")), 40)

    def test_what_exceeds_the_memory_is_given_back_and_then_read_from_the_store(self) -> None:
        self.world.offload.hold()
        letter = b"S: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * 1_000
        for _ in range(70):
            self.accepted(letter)
        self.world.advance(2)
        self.assertEqual(self.released_count(), 12)
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.mail("alice@acme.example")), 70)

    def test_of_what_is_in_the_spool_so_many_wait_whatever_their_size(self) -> None:
        self.world.offload.hold()
        self.world.spool.kept_octets = 10
        for _ in range(203):
            self.accepted()
        self.world.advance(2)
        self.assertEqual(self.released_count(), 3)
        self.assertEqual(self.world.journal.of("queue.memory")[-1]["octets"], 0)
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.mail("alice@acme.example")), 203)

    def released_count(self) -> int:
        return sum(int(str(facts["count"])) for facts in self.world.journal.of("queue.released"))

    def test_rows_the_memory_lacks_twice_are_freed(self) -> None:
        self.world.offload.hold()
        message = self.accepted()
        self.world.store.rows[message, 0].claim += 1  # as when the answer to a claim of ours is lost
        self.world.advance(29)
        self.assertEqual(self.waiting(message).rows[0].owner, 1)
        self.world.advance(35)
        self.assertEqual([facts["count"] for facts in self.world.journal.of("queue.reconciled")], [1])
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertIsNone(self.world.store.waiting(message))

    def test_what_was_being_claimed_when_a_drain_began_is_given_back(self) -> None:
        self.world.offload.fail_next(OSError(28, "No space left on device"))
        message = self.accepted()
        row = self.world.store.rows[message, 0]
        asked = []
        queue = self.world.database.queue
        claim = queue.claim

        def noted(*how: object) -> object:
            asked.append(how)
            return claim(*how)

        self.patch(queue, "claim", noted)
        self.world.database.delay(0.5)
        row.due = self.world.wall.now()
        while not asked:
            self.world.clock.advance(0.1)
        self.world.server.steering.drain(True)
        self.world.advance(5)
        self.assertEqual((row.status, row.owner, row.claim), (Status.QUEUED, None, 3))
        self.assertEqual(self.world.mail("alice@acme.example"), [])
        self.assertEqual(self.world.journal.of("queue.memory")[-1]["jobs"], 0)

    def test_who_drains_and_loses_its_row_drains_on(self) -> None:
        elsewhere = structs.replace(
            self.world.settings, server=structs.replace(self.world.settings.server, hostname="mx2.test")
        )
        World(self.world.path, configured=elsewhere, clock=self.world.clock, store=self.world.store)
        self.world.advance(4)
        self.world.store.nodes[1].draining = True
        self.world.advance(4)
        self.assertTrue(self.world.server.steering.draining)
        self.world.database.outage()
        self.world.advance(25)
        self.world.database.restore()
        self.world.advance(5)
        self.assertEqual(len(self.world.journal.of("node.joined")), 2)
        self.assertTrue(self.world.server.steering.draining)
        self.assertTrue(self.world.store.nodes[3].draining, "as its row says, for an operator to end it")

    def test_two_nodes_share_what_waits_and_deliver_each_message_once(self) -> None:
        second = self.world.another()
        self.world.offload.hold()
        for _ in range(80):
            self.accepted()
        second.advance(20)
        self.assertEqual(len(second.journal.of("delivery.delivered")), 60)
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.mail("alice@acme.example")), 80)
        delivered = self.world.journal.of("delivery.delivered") + second.journal.of("delivery.delivered")
        self.assertEqual(len({facts["id"] for facts in delivered}), len(delivered))

    def test_destinations_that_hang_hold_up_nobody_else(self) -> None:
        for n in range(4):
            addr = f"127.0.0.1:{2500 + n}"
            self.world.network.serve(addr, ScriptedServer(SILENCE))
            self.world.host(f"x@hangs{n}.example", organisation=f"hangs{n}", delivery=LmtpDelivery(addr))
            for _ in range(60):
                self.world.send(f"x@hangs{n}.example")
        self.world.advance(10)
        before = self.world.clock.seconds()
        for _ in range(5):
            self.accepted()
        self.assertEqual(len(self.world.mail("alice@acme.example")), 5)
        self.assertEqual(self.world.clock.seconds(), before, "at once")

    def test_a_slow_destination_is_kept_busy(self) -> None:
        self.world.offload.hold()
        for _ in range(60):
            self.accepted()
        self.world.advance(7)
        self.world.offload.release()
        self.world.turn()
        self.world.advance(2)
        self.assertEqual(len(self.world.mail("alice@acme.example")), 60, "claimed as room came, not a slice a second")

    def test_the_size_of_the_queue_is_told(self) -> None:
        self.world.offload.hold()
        for _ in range(3):
            self.accepted()
        self.world.advance(31)
        told = self.world.journal.of("queue.sizes")[-1]
        self.assertEqual((told["delivering"], told["queued"], told["held"]), (3, 0, 0))

    def test_ready_says_what_is_wrong(self) -> None:
        self.assertEqual(self.get("/health"), (200, b"ok\n"))
        status, page = self.get("/ready")
        self.assertEqual((status, json.loads(page)["dependencies"]), (200, {"postgres": "ok"}))
        self.world.database.outage()
        self.world.advance(2)
        status, page = self.get("/ready")
        self.assertEqual(status, 503)
        self.assertIn("no connection", json.loads(page)["dependencies"]["postgres"])
        self.assertEqual(self.get("/health")[0], 200, "the process itself is well")

    def test_a_server_that_stops_is_not_ready(self) -> None:
        busy = self.world.connect()
        self.world.say(busy, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n")
        self.world.server.stopService()
        self.world.turn()
        self.assertEqual(self.get("/ready")[0], 503)
