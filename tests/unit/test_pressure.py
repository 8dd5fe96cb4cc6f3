"""mtad.policy.pressure and mtad.scheduling.memory: levels that do not flutter, and octets that add up."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.verdict import Accept, Refuse
from mtad.policy.pressure import CALM, DATABASE, MEMORY, Level, Load, Marks, Pressure, begin, greet, judge
from mtad.scheduling.memory import Memory, Use

_MB = 1024 * 1024


class LevelTest(SynchronousTestCase):
    def levels(self, marks: Marks, *measures: float) -> list[Level]:
        found = [Level.NORMAL]
        for measure in measures:
            found.append(marks.level(measure, found[-1]))
        return found[1:]

    def test_memory_by_its_share(self) -> None:
        self.assertEqual(
            self.levels(MEMORY, 0.59, 0.6, 0.79, 0.8, 0.71, 0.69, 0.51, 0.49, 0.59),
            [
                Level.NORMAL, Level.SLOW, Level.SLOW, Level.REFUSE, Level.REFUSE,
                Level.SLOW, Level.SLOW, Level.NORMAL, Level.NORMAL,
            ],
        )  # fmt: skip

    def test_the_database_by_how_long_a_commit_is_waited_for(self) -> None:
        self.assertEqual(
            self.levels(DATABASE, 1.9, 2.0, 9.9, 10.0, 3.0, 1.9, 1.1, 0.9),
            [
                Level.NORMAL, Level.SLOW, Level.SLOW, Level.REFUSE, Level.REFUSE, Level.SLOW, Level.SLOW, Level.NORMAL,
            ],
        )  # fmt: skip

    def test_from_the_worst_to_calm_at_once(self) -> None:
        self.assertEqual(self.levels(DATABASE, 30.0, 0.0), [Level.REFUSE, Level.NORMAL])

    @given(st.lists(st.floats(0.0, 2.0), min_size=1))
    def test_more_is_never_better(self, measures: list[float]) -> None:
        for before in Level:
            found = [MEMORY.level(measure, before) for measure in sorted(measures)]
            self.assertEqual(found, sorted(found))

    @given(st.floats(0.0, 2.0), st.sampled_from(Level))
    def test_what_does_not_move_does_not_flutter(self, measure: float, before: Level) -> None:
        first = MEMORY.level(measure, before)
        self.assertEqual(MEMORY.level(measure, first), first)


class JudgeTest(SynchronousTestCase):
    def test_each_measure_by_itself_and_the_worst_counts(self) -> None:
        found = judge(Load(memory=0.7, accept_seconds=11.0), CALM)
        self.assertEqual(found, Pressure(Level.SLOW, Level.REFUSE, Level.NORMAL))
        self.assertIs(found.level, Level.REFUSE)
        self.assertIs(judge(Load(), found).level, Level.NORMAL)

    def test_calm_and_slow_take_all(self) -> None:
        for pressure in (CALM, Pressure(Level.SLOW, Level.SLOW)):
            self.assertIsInstance(greet(pressure), Accept)
            self.assertIsInstance(begin(pressure), Accept)

    def test_refusals_say_why(self) -> None:
        refuse = Level.REFUSE
        for load, reply, reason in (
            (Load(memory=0.9), replies.NO_ROOM, "memory-full"),
            (Load(accept_seconds=12.0), replies.NO_ROOM, "database-slow"),
            (Load(database_away=True), replies.NO_ROOM, "database-slow"),
            (Load(memory=0.9, disk_full=True), replies.STORAGE_FULL, "storage-full"),
        ):
            pressure = judge(load, CALM)
            self.assertIs(pressure.level, refuse)
            self.assertEqual(begin(pressure), Refuse(reply, reason))
            self.assertEqual(greet(pressure), Refuse(replies.TOO_BUSY, reason))

    def test_replies_are_those_of_a_server_that_is_busy(self) -> None:
        self.assertEqual(replies.TOO_BUSY.text[:9], "421 4.3.2")
        self.assertEqual(replies.NO_ROOM.text[:9], "452 4.3.1")


class MemoryTest(SynchronousTestCase):
    def test_stakes_add_up(self) -> None:
        memory = Memory(10 * _MB)
        first, second = memory.stake(Use.INCOMING), memory.stake(Use.DELIVERY)
        first.hold(4 * _MB)
        second.hold(_MB)
        first.hold(2 * _MB)
        self.assertEqual((memory.used, memory.of(Use.INCOMING), memory.share), (3 * _MB, 2 * _MB, 0.3))
        first.hold(0)
        second.hold(0)
        self.assertEqual((memory.used, memory.of(Use.INCOMING), memory.of(Use.DELIVERY)), (0, 0, 0))

    def test_what_is_beyond_the_budget_may_not_be_held_and_less_always_may(self) -> None:
        memory = Memory(10)
        first, second = memory.stake(Use.INCOMING), memory.stake(Use.INPUT)
        first.hold(6)
        self.assertTrue(second.may_hold(4))
        self.assertFalse(second.may_hold(5))
        second.hold(8)
        self.assertTrue(second.may_hold(7))
        self.assertFalse(first.may_hold(7))

    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1000))))
    def test_the_account_is_the_sum(self, acts: list[tuple[int, int]]) -> None:
        memory = Memory(1000)
        stakes = [memory.stake(use) for use in (*Use, *Use)][:5]
        for n, octets in acts:
            stakes[n].hold(octets)
        self.assertEqual(memory.used, sum(each.octets for each in stakes))
        self.assertEqual(memory.used, sum(map(memory.of, Use)))
