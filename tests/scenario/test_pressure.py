"""A server at its limits: peers are slowed down, then refused for now, and nothing grows beyond its bound."""

from collections import Counter
from pathlib import Path

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Memory
from mtad.scheduling.memory import budget_of
from mtad.testing.network import Line
from mtad.testing.world import World, settings

_MB = 1024 * 1024
BUDGET = budget_of(64 * _MB)
ENVELOPE = b"MAIL FROM:<ann@outside.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n"
CONTENT = b"From: ann@outside.example\r\nSubject: hi\r\n\r\nhello\r\n"


class PressureCase(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        configured = settings(path)
        server = structs.replace(configured.server, memory=Memory(64 * _MB))
        self.world = World(path, configured=structs.replace(configured, server=server))
        self.world.host("alice@acme.example")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def session(self) -> Line:
        line = self.world.connect()
        self.world.say(line, b"EHLO outside.example\r\n")
        return line

    def mail(self, line: Line, size: bytes = b"") -> bytes:
        """Begin a transaction; return what is answered at once."""
        return self.world.say(line, b"MAIL FROM:<ann@outside.example>" + size + b"\r\n")

    def send(self, line: Line, content: bytes = CONTENT) -> bytes:
        """Send a message; return what is answered at once to its end."""
        self.world.say(line, ENVELOPE)
        return self.world.say(line, content + b".\r\n")

    def refusals(self) -> Counter[object]:
        return Counter(facts["reason"] for facts in self.world.journal.of("smtp.rejected"))

    def pressure(self) -> list[tuple[object, object, object]]:
        """Return the levels that were told, in order."""
        told = self.world.journal.of("pressure.changed")
        return [(facts["memory"], facts["database"], facts["disk"]) for facts in told]


class DatabaseTest(PressureCase):
    def test_sessions_slow_down_and_are_then_refused_until_the_database_is_back(self) -> None:
        early, other = self.session(), self.session()
        self.world.database.stick()
        self.assertEqual(self.send(early), b"")
        self.world.advance(1.5, step=0.5)
        self.assertEqual(self.mail(other)[:3], b"250", "nothing is noticed yet")
        self.world.say(other, b"RSET\r\n")
        self.world.advance(1)
        self.assertEqual(self.mail(other), b"", "slowly now")
        self.world.advance(1)
        self.assertEqual(other.take()[:3], b"250")
        self.world.say(other, b"RSET\r\n")
        self.world.advance(7)
        self.mail(other)
        self.world.advance(1)
        self.assertEqual(other.take()[:9], b"452 4.3.1")
        late = self.world.call()
        self.world.turn()
        self.assertEqual((late.take()[:9], late.closed), (b"421 4.3.2", True))
        self.world.database.flow()
        self.world.turn()
        self.assertEqual(early.take()[:3], b"250", "what was under way is taken")
        self.assertEqual(self.mail(other)[:3], b"250")
        self.assertEqual(self.send(self.session())[:3], b"250")
        self.assertEqual(self.refusals(), {"database-slow": 2})
        self.assertEqual(self.pressure(), [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 0, 0)])

    def greeting(self) -> bytes:
        line = self.world.call()
        self.world.turn()
        return line.take()[:9]

    def test_in_a_long_outage_nobody_is_let_in_until_it_is_over(self) -> None:
        early = self.session()
        self.world.advance(3)
        self.world.database.outage()
        self.assertEqual(self.send(early), b"")
        self.world.advance(10)
        for _ in range(110):
            self.assertEqual(self.greeting(), b"421 4.3.2")
            self.world.advance(1)
        self.assertEqual(early.take()[:9], b"451 4.3.0")
        self.assertEqual(self.mail(early), b"")
        self.world.advance(1)
        self.assertEqual(early.take()[:9], b"452 4.3.1")
        self.world.database.restore()
        self.world.advance(3)
        self.assertEqual(self.send(self.session())[:3], b"250")

    def test_when_nothing_is_committed_for_long_a_few_are_let_in_to_try(self) -> None:
        self.world.database.stick()
        let_in = []
        for second in range(180):
            line = self.world.call()
            self.world.turn()
            if line.take()[:3] == b"220":
                let_in.append(second)
                line.send(b"EHLO outside.example\r\n" + ENVELOPE)
                line.send(CONTENT + b".\r\n")
            self.world.advance(1)
        later = [second for second in let_in if second > 15]
        self.assertTrue(3 <= len(later) <= 15, let_in)
        self.world.database.flow()
        self.world.advance(15)
        self.assertEqual(self.send(self.session())[:3], b"250")
        self.assertEqual(self.pressure()[-1], (0, 0, 0))

    def test_a_large_message_that_waits_its_turn_slows_nobody(self) -> None:
        self.world.spool.kept_octets = 10
        self.world.database.stick()
        self.assertEqual(self.send(self.session()), b"")
        self.world.advance(20)
        self.assertEqual(self.mail(self.session())[:3], b"250")

    def test_a_database_without_room_is_told_to_the_peer_and_the_next_ones_are_refused_before_they_send(self) -> None:
        line = self.session()
        self.world.database.full = True
        self.assertEqual(self.send(line)[:9], b"452 4.3.1")
        self.assertEqual(self.mail(line)[:9], b"", "a refusal comes late too")
        self.world.advance(1)
        self.assertEqual(line.take()[:9], b"452 4.3.1")
        self.world.database.full = False
        self.world.advance(10)
        self.assertEqual(self.send(line)[:3], b"250")
        self.assertEqual(self.refusals(), {"storage-full": 2})


class DiskTest(PressureCase):
    def test_a_disk_that_is_nearly_full(self) -> None:
        line = self.session()
        self.world.spool.room = 0
        self.world.advance(2)
        self.mail(line)
        self.world.advance(1)
        self.assertEqual(line.take()[:9], b"452 4.3.1")
        self.world.spool.room = 1 << 40
        self.world.advance(2)
        self.assertEqual(self.send(line)[:3], b"250")


class MemoryTest(PressureCase):
    def used(self) -> list[int]:
        """Return how many octets were held, each second."""
        told = self.world.journal.of("memory.used")
        return [sum(int(str(facts[part])) for part in ("input", "incoming", "delivery")) for facts in told]

    def test_more_than_there_is_room_for_at_once_is_refused_for_now_and_the_rest_is_taken(self) -> None:
        lines = [self.session() for _ in range(120)]
        for line in lines:
            self.world.say(line, ENVELOPE)
        piece = b"x" * 998 + b"\r\n"
        for line in lines:
            line.send(CONTENT + piece * 800)
        self.world.advance(10, step=0.5)
        for line in lines:
            line.take()
            line.send(b".\r\n")
        self.world.advance(10, step=0.5)
        answers = Counter(line.take()[:3] for line in lines)
        self.assertEqual(answers.keys(), {b"250", b"452"})
        self.assertEqual(answers.total(), 120)
        self.assertGreater(answers[b"250"], 30)
        self.assertEqual(self.refusals()["memory-full"], answers[b"452"])
        self.assertLessEqual(max(self.used()), BUDGET)
        self.assertGreater(max(self.used()), BUDGET // 2)
        self.assertEqual(self.used()[-1], 0)
        self.assertEqual(self.pressure()[-1], (0, 0, 0))
        self.assertEqual(self.send(lines[0])[:3], b"250")

    def test_who_says_how_large_a_message_is_learns_beforehand_that_there_is_no_room(self) -> None:
        lines = [self.session() for _ in range(100)]
        answers = Counter[bytes]()
        for line in lines:
            answer = self.mail(line, b" SIZE=1000000")
            if not answer:
                self.world.advance(1)
                answer = line.take()
            answers[answer[:9]] += 1
        self.assertEqual(answers.keys(), {b"250 2.1.0", b"452 4.3.1"})
        self.assertApproximates(answers[b"250 2.1.0"], 0.8 * BUDGET / 1_000_000, 2)
        late = self.world.call()
        self.world.turn()
        self.assertEqual(late.take()[:9], b"421 4.3.2")

    def test_a_session_that_ends_gives_back_what_it_held(self) -> None:
        for end in (b"RSET\r\n", b"EHLO again.example\r\n", b"QUIT\r\n", None):
            line = self.session()
            self.mail(line, b" SIZE=1000000")
            if end is None:
                self.world.say(line, b"RCPT TO:<alice@acme.example>\r\nDATA\r\n")
                line.send(b"x" * 500_000)
                self.world.turn()
                line.hang_up()
                self.world.turn()
            else:
                self.world.say(line, end)
            self.world.advance(1)
            self.assertEqual(self.used()[-1], 0, end)

    def test_who_goes_while_made_to_wait_leaves_nothing_behind(self) -> None:
        lines = [self.session() for _ in range(60)]
        slow = self.session()
        self.world.database.stick()
        self.send(slow)
        self.world.advance(3)
        for line in lines:
            self.assertEqual(self.mail(line, b" SIZE=1000000"), b"")
            line.hang_up()
        self.world.database.flow()
        self.world.advance(60)
        self.assertEqual(self.world.journal.of("memory.used")[-1]["incoming"], 0)
        self.assertEqual(self.mail(self.session())[:3], b"250")

    def test_under_pressure_a_message_is_read_with_pauses(self) -> None:
        first, second = self.session(), self.session()
        for line in (first, second):
            self.world.say(line, ENVELOPE)
        first.send(CONTENT + b"x" * 300_000 + b"\r\n")
        self.world.turn()
        self.assertEqual(first.transport.waiting_octets, 0)
        self.world.database.stick()
        self.send(self.session())
        self.world.advance(3)
        second.send(CONTENT + b"x" * 600_000 + b"\r\n")
        self.world.turn()
        self.assertGreater(second.transport.waiting_octets, 100_000)
        self.world.advance(2, step=0.1)
        self.assertEqual(second.transport.waiting_octets, 0)

    def test_what_is_being_delivered_counts(self) -> None:
        self.world.offload.hold()
        for _ in range(20):
            self.send(self.session(), CONTENT + b"x" * 60_000 + b"\r\n")
        self.world.advance(1)
        self.assertGreater(self.used()[-1], 20 * 60_000)
        self.world.offload.release()
        self.world.advance(2)
        self.assertEqual(self.used()[-1], 0)
