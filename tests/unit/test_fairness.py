"""mtad.scheduling.fairness: nobody starves, shares are equal to within a quantum, and a pick is a few steps."""

from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.scheduling.fairness import DeficitRoundRobin, NestedRoundRobin, Path

QUANTUM = 100
COSTS = st.lists(st.integers(1, 5 * QUANTUM), min_size=1, max_size=20)


class Backlog:
    """Some who always have something waiting; each one's pieces have the costs of its list, over and over."""

    def __init__(self, costs: list[list[int]]) -> None:
        self.ring: DeficitRoundRobin[int] = DeficitRoundRobin(QUANTUM)
        self.served: Counter[int] = Counter()
        self._costs = costs
        self._places = Counter[int]()
        for key in range(len(costs)):
            self.ring.add(key)

    def serve(self) -> int:
        """Serve whose turn it is; return who that is."""
        key = self.ring.next()
        assert key is not None, "somebody has something waiting"
        cost = self._costs[key][self._places[key] % len(self._costs[key])]
        self._places[key] += 1
        self.ring.charge(key, cost)
        self.served[key] += cost
        return key


class DeficitRoundRobinTest(SynchronousTestCase):
    @given(st.lists(COSTS, min_size=2, max_size=6), st.integers(1, 300))
    def test_shares_are_equal_to_within_a_quantum_and_the_largest_cost(self, costs: list[list[int]], n: int) -> None:
        backlog = Backlog(costs)
        for _ in range(n):
            backlog.serve()
            served = [backlog.served[key] for key in range(len(costs))]
            self.assertLessEqual(max(served) - min(served), 2 * QUANTUM + max(map(max, costs)))

    @given(st.lists(COSTS, min_size=1, max_size=6))
    def test_everybody_has_a_turn_again_and_again(self, costs: list[list[int]]) -> None:
        backlog = Backlog(costs)
        # Within so many picks the slowest has paid its debt: each of the others is served that long.
        wait = len(costs) * (QUANTUM + 5 * QUANTUM + QUANTUM)
        picks = [backlog.serve() for _ in range(2 * wait)]
        for key in range(len(costs)):
            self.assertIn(key, picks[:wait])
            self.assertIn(key, picks[wait:])

    @given(st.lists(st.tuples(st.sampled_from("arc"), st.integers(0, 4), st.integers(0, 900)), max_size=60))
    def test_there_is_a_turn_whenever_somebody_waits(self, acts: list[tuple[str, int, int]]) -> None:
        ring: DeficitRoundRobin[int] = DeficitRoundRobin(QUANTUM)
        waiting: set[int] = set()
        for act, key, cost in acts:
            if act == "a":
                ring.add(key)
                waiting.add(key)
            elif act == "r":
                ring.remove(key)
                waiting.discard(key)
            else:
                ring.charge(key, cost)
            self.assertEqual(len(ring), len(waiting))
            turn = ring.next()
            self.assertEqual(turn, ring.next(), "it is the same one's until it is charged")
            self.assertIn(turn, waiting or {None})

    def test_small_pieces_and_large_ones_weigh_the_same(self) -> None:
        backlog = Backlog([[10], [1000]])
        picks = Counter(backlog.serve() for _ in range(10_100))
        self.assertApproximates(picks[0] / picks[1], 100, 2)

    def test_a_debt_outlives_a_moment_with_nothing_waiting(self) -> None:
        ring: DeficitRoundRobin[str] = DeficitRoundRobin(QUANTUM)
        served: Counter[str] = Counter()
        for key in ("large", "small"):
            ring.add(key)
        while served.total() < 100_000:
            key = ring.next()
            assert key is not None
            cost = 1000 if key == "large" else 10
            ring.charge(key, cost)
            served[key] += cost
            if key == "large":
                ring.remove(key)
                ring.add(key)
        self.assertApproximates(served["large"] / served["small"], 1, 0.1)

    def test_nobody_left_is_a_new_beginning(self) -> None:
        ring: DeficitRoundRobin[str] = DeficitRoundRobin(QUANTUM)
        ring.add("a")
        ring.charge("a", 10**9)
        ring.remove("a")
        ring.add("a")
        ring.add("b")
        self.assertEqual(ring.next(), "a")

    def test_a_pick_takes_a_few_steps_among_fifty_thousand(self) -> None:
        steps = Counter[str]()

        class Counted(int):
            def __hash__(self) -> int:
                steps["hash"] += 1
                return super().__hash__()

        ring: DeficitRoundRobin[int] = DeficitRoundRobin(QUANTUM)
        for key in range(50_000):
            ring.add(Counted(key))
        steps.clear()
        for _ in range(10_000):
            key = ring.next()
            assert key is not None
            ring.charge(key, QUANTUM)
        self.assertLess(steps["hash"], 20 * 10_000)

    def test_a_turn_is_worth_something(self) -> None:
        self.assertRaises(ValueError, DeficitRoundRobin, 0)


class NestedRoundRobinTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.rings = NestedRoundRobin(QUANTUM)

    def turns(self, count: int, cost: int = QUANTUM) -> list[Path]:
        def turn() -> Path:
            path = self.rings.next()
            assert path is not None
            self.rings.charge(path, cost)
            return path

        return [turn() for _ in range(count)]

    def test_keys_share_what_the_key_above_has(self) -> None:
        for path in (("a", 1), ("a", 2), ("a", 3), ("b", 1)):
            self.rings.add(path)
        picks = Counter(self.turns(600))
        self.assertEqual(picks, {("a", 1): 100, ("a", 2): 100, ("a", 3): 100, ("b", 1): 300})

    def test_what_is_removed_has_no_turn_and_gives_its_share_to_those_beside_it(self) -> None:
        for path in (("a", 1), ("a", 2), ("b", 1)):
            self.rings.add(path)
        self.rings.remove(("a", 1))
        self.assertEqual(Counter(self.turns(10)), {("a", 2): 5, ("b", 1): 5})
        self.rings.remove(("a", 2))
        self.rings.remove(("a", 2))
        self.assertEqual(set(self.turns(10)), {("b", 1)})
        self.assertEqual([path in self.rings for path in (("a", 1), ("a", 2), ("b", 1))], [False, False, True])

    def test_who_is_suspended_is_passed_by_whatever_is_added(self) -> None:
        for path in (("a", 1), ("b", 1)):
            self.rings.add(path)
        self.rings.suspend("a")
        self.rings.add(("a", 2))
        self.assertEqual((set(self.turns(4)), len(self.rings)), ({("b", 1)}, 1))
        self.assertIn(("a", 2), self.rings)
        self.rings.resume("a")
        self.assertEqual(set(self.turns(12)), {("a", 1), ("a", 2), ("b", 1)})

    def test_nobody_to_suspend_and_nothing_to_resume(self) -> None:
        self.rings.suspend("a")
        self.rings.resume("a")
        self.assertIsNone(self.rings.next())
        self.rings.add(("a", 1))
        self.rings.suspend("a")
        self.rings.remove(("a", 1))
        self.rings.resume("a")
        self.assertIsNone(self.rings.next())

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), max_size=60))
    def test_there_is_a_turn_whenever_something_waits(self, acts: list[tuple[bool, int, int, int]]) -> None:
        rings = NestedRoundRobin(QUANTUM)
        waiting: set[Path] = set()
        for adding, *keys in acts:
            path = tuple(keys)
            (rings.add if adding else rings.remove)(path)
            (waiting.add if adding else waiting.discard)(path)
            turn = rings.next()
            self.assertIn(turn, waiting or {None})
            if turn is not None:
                rings.charge(turn, 250)
        met = set()
        for _ in islice(iter(int, 1), 200 * len(waiting)):
            turn = rings.next()
            assert turn is not None
            met.add(turn)
            rings.charge(turn, QUANTUM)
        self.assertEqual(met, waiting)
