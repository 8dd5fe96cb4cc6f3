"""From the queue to the mailbox, on the whole server: trouble, crashes, outages, stalls."""

from pathlib import Path

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.config.sections import Queue
from mtad.model.event import Event
from mtad.model.identity import parse_id
from mtad.model.job import Job, Status, Waiting
from mtad.model.tenant import LmtpDelivery
from mtad.processes.running import KILL_SECONDS as KILLED_AFTER_SECONDS
from mtad.testing.scripted import ScriptedServer
from mtad.testing.world import DAY, HOUR, MINUTE, World

LMTP = "127.0.0.1:2424"


class DeliveringTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host("alice@acme.example", "bob@acme.example")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def accepted(self, *recipients: str, world: World | None = None) -> int:
        """Send a message that must be accepted; return its id."""
        answer = (world or self.world).send(*recipients)
        self.assertTrue(answer.startswith(b"250 2.0.0"), answer)
        return parse_id(answer.split()[-1].decode())

    def story(self, message: int, world: World | None = None) -> list[Event]:
        return (world or self.world).story(message)

    def waiting(self, message: int) -> Waiting | None:
        return self.world.store.waiting(message)

    def boxes(self) -> tuple[int, int]:
        return len(self.world.mail("alice@acme.example")), len(self.world.mail("bob@acme.example"))

    def test_the_story_of_a_plain_message(self) -> None:
        message = self.accepted("alice@acme.example")
        self.assertEqual([event.kind for event in self.story(message)], ["received", "routed", "delivered"])
        self.assertIsNone(self.waiting(message))
        self.assertEqual(len(self.world.store.contents), 0)

    def test_a_maildir_that_fails_twice_and_then_works(self) -> None:
        self.world.offload.fail_next(OSError(28, "No space left on device"), times=2)
        message = self.accepted("alice@acme.example")
        self.assertEqual(self.boxes(), (0, 0))
        self.world.advance(HOUR)
        self.assertEqual(self.boxes(), (1, 0))
        story = self.story(message)
        self.assertEqual([event.kind for event in story], ["received", "routed", "deferred", "deferred", "delivered"])
        self.assertIn("No space left on device", str(story[2].facts["detail"]))
        first, second = (float(str(event.facts["next_at"])) - event.at for event in story[2:4])
        self.assertGreater(second, first)
        self.assertGreater(first, 2 * MINUTE)

    def test_what_cannot_be_delivered_in_its_lifetime_ends_with_its_reason(self) -> None:
        patient = structs.replace(self.world.settings, queue=Queue(max_retries=1000))
        self.world = World(self.world.path, configured=patient, directory=self.world.directory)
        self.world.offload.fail_next(OSError(13, "Permission denied"), times=10_000)
        message = self.accepted("alice@acme.example")
        self.world.advance(6 * DAY, step=8.0)
        self.assertIsNone(self.waiting(message))
        last = self.story(message)[-1]
        self.assertEqual((last.kind, last.facts["reason"]), ("failed", "its lifetime is over"))
        self.assertIn("Permission denied", str(last.facts["detail"]))
        self.assertLess(4.8 * DAY, last.at)

    def test_a_content_that_is_missing_is_held(self) -> None:
        self.world.offload.hold()
        message = self.accepted("alice@acme.example")
        self.world.crash()
        self.world.store.contents.clear()
        after = self.world.another()
        after.advance(MINUTE)
        waiting = self.waiting(message)
        assert waiting is not None
        self.assertEqual([row.status for row in waiting.rows], [Status.HELD])

    def test_a_crash_between_accept_and_delivery(self) -> None:
        self.world.offload.hold()
        self.accepted("alice@acme.example")
        self.world.crash()
        after = self.world.another()
        after.advance(MINUTE)
        self.assertEqual(len(after.mail("alice@acme.example")), 1)

    def test_a_crash_after_delivery_and_before_the_settle_is_no_second_copy(self) -> None:
        self.world.database.delay(0)
        message = self.accepted("bob@acme.example")
        self.world.offload.hold()
        self.accepted("alice@acme.example")
        self.world.database.outage()
        self.world.offload.release()
        self.assertEqual(self.boxes(), (1, 1))
        self.world.crash()
        after = self.world.another()
        after.advance(MINUTE)
        self.assertEqual(self.boxes(), (1, 1), "the name in new/ says it was delivered")
        self.assertIsNone(after.store.waiting(message))

    def test_an_accept_whose_commit_answer_is_lost_is_one_message(self) -> None:
        self.world.database.lose_answer()
        self.accepted("alice@acme.example")
        self.world.advance(MINUTE)
        self.assertEqual(self.boxes(), (1, 0))

    def test_an_accept_nobody_answers_for_is_451_and_no_message(self) -> None:
        self.world.database.lose_answer(outage=True)
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n")
        self.assertEqual(self.world.say(line, b"S: x\r\n\r\nx\r\n.\r\n"), b"")
        self.world.advance(31)
        self.assertEqual(line.take()[:9], b"451 4.3.0")
        self.world.database.restore()
        self.world.advance(2 * MINUTE)
        self.assertEqual(self.boxes(), (0, 0), "the peer was told to come again; it must not arrive twice")

    def test_an_outage_frees_nobodys_rows(self) -> None:
        self.world.offload.hold()
        self.accepted("alice@acme.example")
        second = self.world.another()
        second.advance(5)
        for world in (self.world, second):
            world.database.outage()
        self.world.advance(30)
        for world in (self.world, second):
            world.database.restore()
        self.world.advance(MINUTE)
        self.assertEqual(self.world.journal.of("node.taken_over") + second.journal.of("node.taken_over"), [])
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(self.boxes(), (1, 0))

    def test_a_node_that_is_stalled_past_its_lease_is_fenced(self) -> None:
        second = self.world.another()
        self.world.offload.hold()
        message = self.accepted("alice@acme.example")
        self.world.process.stall()
        second.advance(30)
        self.assertEqual([facts["rows"] for facts in second.journal.of("node.taken_over")], [1])
        self.assertEqual(self.boxes(), (1, 0), "the second node delivered it")
        self.world.process.resume()
        self.world.turn()
        self.world.advance(20)
        self.assertEqual(len(self.world.journal.of("node.joined")), 2, "it came back as another node")
        self.world.offload.release()
        self.world.advance(MINUTE)
        self.assertEqual(self.boxes(), (1, 0))
        kinds = [event.kind for event in self.story(message)]
        self.assertEqual(kinds.count("delivered"), 1)
        self.assertIn("taken-over", kinds)

    def test_a_message_that_kills_its_server_three_times_is_held(self) -> None:
        world = self.world
        world.offload.hold()
        message = self.accepted("alice@acme.example")
        for _ in range(3):
            world.crash()
            world = world.another()
            world.offload.hold()
            world.advance(MINUTE)
        waiting = self.waiting(message)
        assert waiting is not None
        self.assertEqual([row.status for row in waiting.rows], [Status.HELD])
        self.assertEqual(self.story(message)[-1].facts["reason"], "the server ended three times while handling this")

    def test_a_stop_gives_back_what_it_cannot_finish(self) -> None:
        self.world.offload.hold()
        message = self.accepted("alice@acme.example")
        idle = self.world.connect()
        busy = self.world.connect()
        self.world.say(busy, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n")
        stopped = self.world.server.stopService()
        self.world.turn()
        self.assertEqual(idle.take()[:9], b"421 4.3.2")
        self.assertEqual(self.world.say(busy, b"S: x\r\n\r\nx\r\n.\r\n")[:9], b"250 2.0.0")
        self.assertNoResult(stopped)
        self.world.advance(25)
        self.successResultOf(stopped)
        waiting = self.waiting(message)
        assert waiting is not None
        self.assertEqual([(row.status, row.owner) for row in waiting.rows], [(Status.QUEUED, 0)])
        after = self.world.another()
        after.advance(5)
        self.assertEqual(self.boxes(), (1, 1))

    def test_a_stop_frees_the_rows_first_whatever_else_has_not_come_to_its_end(self) -> None:
        never: list[Deferred[None]] = []

        def stuck(*_: object, **__: object) -> Deferred[None]:
            never.append(Deferred())
            return never[-1]

        dead = self.world.another()
        dead.advance(5)
        self.world.offload.hold()
        message = self.accepted("alice@acme.example")
        self.patch(self.world.database.queue, "sweep", stuck)
        self.patch(self.world.database.queue, "owned", stuck)
        self.patch(self.world.database.nodes, "take_over", stuck)
        self.patch(self.world.domain_care, "due", stuck)
        dead.crash()
        self.world.advance(11 * MINUTE)
        self.assertEqual(len(never), 4, "all are in the middle of something")
        stopped = self.world.server.stopService()
        self.world.advance(KILLED_AFTER_SECONDS, step=0.5)
        waiting = self.waiting(message)
        assert waiting is not None
        self.assertEqual([(row.status, row.owner) for row in waiting.rows], [(Status.QUEUED, 0)])
        self.world.advance(5)
        self.successResultOf(stopped)
        self.assertEqual(len(self.world.journal.of("service.stopped")), 1)

    def test_a_claim_under_way_does_not_keep_a_stop(self) -> None:
        asked: list[Deferred[list[Job]]] = []

        def stuck(*_: object) -> Deferred[list[Job]]:
            asked.append(Deferred())
            return asked[-1]

        self.world.offload.fail_next(OSError(28, "No space left on device"))
        message = self.accepted("alice@acme.example")
        self.patch(self.world.database.queue, "claim", stuck)
        self.world.advance(10 * MINUTE)
        self.assertEqual(len(asked), 1)
        self.world.server.stopService()
        self.world.advance(KILLED_AFTER_SECONDS, step=0.5)
        self.assertEqual(len(self.world.journal.of("node.left")), 1)
        waiting = self.waiting(message)
        assert waiting is not None
        self.assertEqual([(row.status, row.owner) for row in waiting.rows], [(Status.QUEUED, 0)])

    def test_a_stop_without_the_database_goes_through_all_its_steps(self) -> None:
        self.world.offload.hold()
        message = self.accepted("alice@acme.example")
        self.world.database.outage()
        stopped = self.world.server.stopService()
        self.world.advance(45)
        self.successResultOf(stopped)
        self.assertEqual(len(self.world.journal.of("service.stopped")), 1)
        self.world.crash()
        after = self.world.another()
        after.advance(MINUTE)
        self.assertEqual((len(after.mail("alice@acme.example")), after.store.waiting(message)), (1, None))

    def test_a_refused_message_leaves_no_trace_in_the_queue(self) -> None:
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n")
        self.world.database.outage()
        self.world.advance(11)
        self.assertEqual(self.world.say(line, b"S: x\r\n\r\nx\r\n.\r\n")[:9], b"451 4.3.0")
        self.world.database.restore()
        self.world.advance(20)
        self.assertEqual(self.boxes(), (0, 0))
        self.accepted("alice@acme.example")
        self.assertEqual(self.boxes(), (1, 0))


class LmtpTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host("ann@store.example", "ben@store.example", "cid@store.example", delivery=LmtpDelivery(LMTP))
        self.server = ScriptedServer(b"220 store ready\r\n")

    def test_each_recipient_has_its_own_answer(self) -> None:
        answers = iter([b"250 2.0.0 stored\r\n", b"452 4.2.2 full\r\n", b"550 5.2.0 never\r\n"])
        self.server.script[b"."] = lambda session, line: next(answers)
        self.world.network.serve(LMTP, self.server)
        answer = self.world.send("ann@store.example", "ben@store.example", "cid@store.example")
        message = parse_id(answer.split()[-1].decode())
        self.world.turn()
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        self.assertEqual([row.status for row in waiting.rows], [Status.QUEUED])
        self.server.script[b"."] = b"250 2.0.0 stored\r\n"
        self.world.advance(HOUR)
        self.assertIsNone(self.world.store.waiting(message))
        self.assertEqual(len(self.server.messages), 2)

    def test_a_store_that_is_away_comes_back(self) -> None:
        self.assertTrue(self.world.send("ann@store.example").startswith(b"250"))
        self.world.advance(10 * MINUTE)
        self.world.network.serve(LMTP, self.server)
        self.world.advance(HOUR)
        self.assertEqual(len(self.server.messages), 1)
        self.assertIn(b"RCPT TO:<ann@store.example>", self.server.lines)
