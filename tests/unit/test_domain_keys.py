"""mtad.domains.keys and standing: how keys move on, and what is held of a domain after many looks."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from mtad.domains.keys import SETTLING_SECONDS, activation, awaited, moves, needed_until, next_selector
from mtad.domains.standing import FAILING_LOOK_SECONDS, USUAL_SECONDS, WAITING_SECONDS, held, is_lapsed, next_look
from mtad.model.dkim import Key, KeyMove, KeyState
from mtad.model.domain_check import Check, Finding, HostedDomain, Seen, Status, Subject, Verdict
from mtad.model.errors import InvalidInput

NOW = 1_795_000_000.0
HOUR, DAY = 3600.0, 86400.0
GENERATED, PUBLISHED, ACTIVE = KeyState.GENERATED, KeyState.PUBLISHED, KeyState.ACTIVE
RETIRING, REVOKED = KeyState.RETIRING, KeyState.REVOKED


def key(selector: str, state: KeyState, algorithm: str = "rsa2048", published_at: float | None = None) -> Key:
    return Key(selector, algorithm, "p", state, NOW - DAY, published_at)


def move(selector: str, before: KeyState, after: KeyState) -> KeyMove:
    return KeyMove("acme.example", selector, before, after)


class MovesTest(SynchronousTestCase):
    def moves(self, *keys: Key, now: float = NOW, **seen: Seen) -> list[KeyMove]:
        return list(moves("acme.example", keys, seen, now))

    def test_a_record_that_was_seen_publishes_and_nothing_else_does(self) -> None:
        new = key("a", GENERATED)
        self.assertEqual(self.moves(new, a=Seen.YES), [move("a", GENERATED, PUBLISHED)])
        for seen in ({}, {"a": Seen.NO}, {"a": Seen.TROUBLE}, {"b": Seen.YES}):
            self.assertEqual(self.moves(new, now=NOW + 100 * DAY, **seen), [], seen)

    def test_it_signs_once_it_was_seen_again(self) -> None:
        new = key("a", PUBLISHED, published_at=NOW)
        later = NOW + SETTLING_SECONDS
        self.assertEqual(self.moves(new, now=later - 1, a=Seen.YES), [])
        self.assertEqual(self.moves(new, now=later, a=Seen.YES), [move("a", PUBLISHED, ACTIVE)])
        for seen in (Seen.NO, Seen.TROUBLE):
            self.assertEqual(self.moves(new, now=later + DAY, a=seen), [], seen)

    def test_those_of_its_kind_retire_then(self) -> None:
        keys = (
            key("a", ACTIVE),
            key("b", ACTIVE, "rsa4096"),
            key("c", ACTIVE, "ed25519"),
            key("d", RETIRING),
            key("n", PUBLISHED, published_at=NOW - HOUR),
        )
        self.assertEqual(
            self.moves(*keys, **dict.fromkeys("abcdn", Seen.YES)),
            [move("n", PUBLISHED, ACTIVE), move("a", ACTIVE, RETIRING), move("b", ACTIVE, RETIRING)],
        )

    def test_what_signs_goes_on_whatever_the_dns_says(self) -> None:
        for seen in Seen:
            for state in (ACTIVE, RETIRING, REVOKED):
                self.assertEqual(self.moves(key("a", state), now=NOW + 99 * DAY, a=seen), [])

    def test_the_operators_word(self) -> None:
        keys = (key("a", ACTIVE), key("n", GENERATED))
        self.assertEqual(
            list(activation("acme.example", keys, [keys[1]])),
            [move("n", GENERATED, ACTIVE), move("a", ACTIVE, RETIRING)],
        )

    def test_what_is_awaited_is_said(self) -> None:
        retiring = replace(key("a", RETIRING), retiring_at=0.0)
        self.assertEqual(needed_until(0.0, 5 * DAY), 6 * DAY)
        self.assertIn("until 1970-01-07 00:00 UTC", awaited(retiring, 6 * DAY - 1, 5 * DAY))
        self.assertIn("was held and is still here", awaited(retiring, 6 * DAY + 1, 5 * DAY))
        self.assertIn("record in the DNS", awaited(key("a", GENERATED), NOW, DAY))
        self.assertIn("operator's word", awaited(key("a", ACTIVE), NOW, DAY))
        self.assertEqual(awaited(key("a", ACTIVE, published_at=NOW), NOW, DAY), "")


class SelectorTest(SynchronousTestCase):
    def test_each_is_of_its_day_and_never_taken(self) -> None:
        taken: list[str] = []
        for _ in range(26):
            taken.append(next_selector(NOW, taken))
        self.assertEqual((taken[:2], taken[-1]), (["s20261118a", "s20261118b"], "s20261118z"))
        self.assertRaises(InvalidInput, next_selector, NOW, taken)


class StandingTest(SynchronousTestCase):
    def looks(self, *looks: tuple[float, Verdict], before: Check | None = None) -> Check:
        for seconds, verdict in looks:
            before = held(before, Finding(Subject.MX, verdict, "x", f"{verdict.value} at {seconds}"), NOW + seconds)
        assert before is not None
        return before

    def test_good_is_good_at_once(self) -> None:
        self.assertEqual(self.looks((0, Verdict.GOOD)), Check(Subject.MX, Status.GOOD, "good at 0", NOW, NOW))
        self.assertEqual(self.looks((0, Verdict.GOOD), (60, Verdict.GOOD)).since, NOW)

    def test_bad_takes_three_failures_over_an_hour(self) -> None:
        first = (0, Verdict.GOOD)
        for looks, status in (
            ([10], Status.GOOD),
            ([10, 20, 30, 40], Status.GOOD),
            ([10, 10 + HOUR], Status.GOOD),
            ([10, 20, 9 + HOUR], Status.GOOD),
            ([10, 20, 10 + HOUR], Status.BAD),
            ([10, HOUR, 2 * HOUR], Status.BAD),
        ):
            found = self.looks(first, *((seconds, Verdict.BAD) for seconds in looks))
            self.assertEqual((found.status, found.failures), (status, len(looks)), looks)
            self.assertEqual(found.since, NOW + (looks[-1] if status is Status.BAD else 0))
        self.assertIs(self.looks(*((n * HOUR, Verdict.BAD) for n in range(2))).status, Status.UNKNOWN)

    def test_one_good_look_begins_the_count_anew(self) -> None:
        bad, good = Verdict.BAD, Verdict.GOOD
        found = self.looks((0, good), (HOUR, bad), (2 * HOUR, bad), (2.5 * HOUR, good), (3 * HOUR, bad))
        self.assertEqual((found.status, found.failures, found.failing_since), (Status.GOOD, 1, NOW + 3 * HOUR))

    def test_trouble_changes_nothing(self) -> None:
        bad, trouble = Verdict.BAD, Verdict.TROUBLE
        for looks in ([(0, Verdict.GOOD)], [(0, bad), (HOUR, bad)], [(0, bad), (HOUR, bad), (2 * HOUR, bad)]):
            before = self.looks(*looks)
            self.assertEqual(self.looks((9 * HOUR, trouble), before=before), before)
        found = self.looks((0, trouble))
        self.assertEqual((found.status, found.failures), (Status.UNKNOWN, 0))

    def test_where_nothing_is_expected_nothing_is_known(self) -> None:
        found = self.looks((0, Verdict.BAD), (HOUR, Verdict.BAD), (2 * HOUR, Verdict.BAD), (3 * HOUR, Verdict.NOTHING))
        self.assertEqual((found.status, found.failures), (Status.UNKNOWN, 0))


class NextLookTest(SynchronousTestCase):
    DOMAIN = HostedDomain(1, "acme.example", "acme", True, NOW, "c")

    def wait(
        self, domain: HostedDomain, checks: tuple[Check, ...] = (), now: float = NOW, chance: float = 0.5
    ) -> float:
        return round(next_look(domain, checks, now, chance) - now, 6)

    def test_who_waits_is_looked_at_often(self) -> None:
        failing = (Check(Subject.MX, Status.GOOD, "", NOW, NOW, 1, NOW),)
        self.assertEqual(self.wait(self.DOMAIN), USUAL_SECONDS)
        self.assertEqual(self.wait(self.DOMAIN, failing), FAILING_LOOK_SECONDS)
        for state in (GENERATED, PUBLISHED):
            self.assertEqual(self.wait(replace(self.DOMAIN, keys=(key("a", state),))), WAITING_SECONDS)
        self.assertEqual(self.wait(replace(self.DOMAIN, verified=False)), WAITING_SECONDS)
        self.assertLessEqual(2 * FAILING_LOOK_SECONDS * 1.1, HOUR)

    def test_domains_are_spread_over_time(self) -> None:
        self.assertEqual(self.wait(self.DOMAIN, chance=0.0), 0.9 * USUAL_SECONDS)
        self.assertEqual(self.wait(self.DOMAIN, chance=1.0), round(1.1 * USUAL_SECONDS, 6))

    def test_a_claim_pends_for_seven_days(self) -> None:
        claimed = replace(self.DOMAIN, verified=False)
        self.assertFalse(is_lapsed(claimed, NOW + 7 * DAY - 1))
        self.assertTrue(is_lapsed(claimed, NOW + 7 * DAY))
        self.assertFalse(is_lapsed(self.DOMAIN, NOW + 99 * DAY))
        self.assertEqual(self.wait(claimed, now=NOW + 8 * DAY), DAY)
