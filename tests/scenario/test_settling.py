"""How it ends when what a delivery came to cannot be written as it should: once, whatever goes wrong."""

from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.errors import Unacceptable, Unavailable
from mtad.model.event import DELIVERED, FAILED, HELD
from mtad.model.identity import parse_id
from mtad.model.job import Row, Settlement, Status
from mtad.model.tenant import LmtpDelivery
from mtad.outbound.worker import Worker
from mtad.testing.scripted import ScriptedServer
from mtad.testing.world import HOUR, MINUTE, World

LMTP = "127.0.0.1:2400"
SUE = "sue@store.example"


class SettlingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host("ann@acme.example")
        self.world.host(SUE, delivery=LmtpDelivery(LMTP))
        self.store = ScriptedServer(b"220 store ready\r\n")
        self.world.network.serve(LMTP, self.store)

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def accepted(self, sender: str = "ann@acme.example") -> int:
        return parse_id(self.world.send(SUE, sender=sender).split()[-1].decode())

    def refuse(self, bad: Callable[[Settlement], bool]) -> list[Settlement]:
        """Let the database refuse settlements for their data; return what it refuses."""
        refused: list[Settlement] = []
        queue = self.world.database.queue
        settle = queue.settle

        async def picky(settlements: Sequence[Settlement], owner: int, now: float) -> None:
            found = [settlement for settlement in settlements if bad(settlement)]
            refused.extend(found)
            if found:
                raise Unacceptable("value out of range")
            await settle(settlements, owner, now)

        self.patch(queue, "settle", picky)
        return refused

    def test_a_report_nobody_can_write_does_not_keep_mail_in_the_queue(self) -> None:
        self.store.script[b"."] = b"550 5.2.0 never\r\n"

        async def broken(name: str) -> int:
            raise RuntimeError(f"{name}?")

        self.patch(self.world.directory, "organisation", broken)
        message = self.accepted()
        self.world.advance(10 * MINUTE)
        self.assertEqual((len(self.store.messages), self.world.store.rows), (1, {}))
        last = self.world.story(message)[-1]
        self.assertEqual((last.kind, last.facts["unreported"]), (FAILED, "the report could not be written"))
        self.assertEqual(len(self.world.journal.of("settlement.surprise")), 1)
        self.assertEqual(len(self.world.journal.of("delivery.given_up")), 1)

    def test_a_settlement_the_database_refuses_is_written_with_its_text_escaped(self) -> None:
        self.store.script[b"."] = "250 2.0.0 gespült ☃\r\n".encode()
        refused = self.refuse(lambda settlement: not str(settlement.events).isascii())
        message = self.accepted()
        self.world.advance(10 * MINUTE)
        self.assertEqual((len(refused), len(self.store.messages), self.world.store.rows), (1, 1, {}))
        last = self.world.story(message)[-1]
        self.assertEqual(last.kind, DELIVERED)
        self.assertIn("gesp\\xfclt", str(last.facts["detail"]))

    def test_a_settlement_that_cannot_be_written_is_held(self) -> None:
        self.refuse(lambda settlement: settlement.events[-1].kind == DELIVERED)
        message = self.accepted()
        self.world.advance(HOUR)
        self.assertEqual(len(self.store.messages), 1)
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        self.assertEqual([(row.status, row.owner) for row in waiting.rows], [(Status.HELD, 0)])
        last = self.world.story(message)[-1]
        self.assertEqual((last.kind, last.facts["reason"]), (HELD, "what this message came to could not be written"))
        self.assertEqual(len(self.world.journal.of("delivery.held")), 1)

    def test_a_row_that_cannot_even_be_held_is_delivered_once(self) -> None:
        refused = self.refuse(lambda settlement: True)
        message = self.accepted()
        self.world.advance(HOUR)
        self.assertEqual((len(refused), len(self.store.messages)), (3, 1))
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        self.assertEqual([(row.status, row.owner) for row in waiting.rows], [(Status.DELIVERING, 1)])
        self.assertEqual(self.world.journal.of("queue.reconciled"), [])

    def test_what_was_not_written_when_the_server_stopped_is_not_done_with(self) -> None:
        async def away(settlements: Sequence[Settlement], owner: int, now: float) -> None:
            raise Unavailable("postgres", "no connection")

        self.patch(self.world.database.queue, "settle", away)
        message = self.accepted()
        self.world.server.stopService()
        self.world.advance(MINUTE)
        self.assertEqual(len(self.world.journal.of("service.stopped")), 1)
        worker = self.world.server.getServiceNamed("worker")
        assert isinstance(worker, Worker)
        self.assertEqual((worker.stats()["begun"], worker.has(Row(message, 0, 1))), (0, True))

    def test_trouble_nobody_expected_in_a_delivery_is_temporary(self) -> None:
        def broken(address: object) -> None:
            raise RuntimeError("?")

        self.world.database.queue.content, content = broken, self.world.database.queue.content
        self.store.script[b"MAIL"] = [b"451 4.3.0 later\r\n", b"250 ok\r\n"]
        message = self.accepted()
        self.world.advance(10 * MINUTE)
        self.assertGreaterEqual(len(self.world.journal.of("task.surprise")), 1)
        self.assertLess(len(self.world.journal.of("task.surprise")), 10, "not at once again, and not for ever")
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        self.assertEqual(waiting.rows[0].attempts, 1)
        self.world.database.queue.content = content
        self.world.advance(HOUR)
        self.assertEqual(len(self.store.messages), 1)
