"""mtad.routing.exchangers: from a zone to the hosts to try, RFC 5321 §5.1."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.answer import Answer, Kind, MailExchange, Question, Status
from mtad.model.exchangers import Hosts, NoRoute, OwnNames
from mtad.model.outcome import Deferred, Failed, Scope
from mtad.routing.exchangers import MAX_ADDRESSES, MAX_ADDRESSES_OF_A_HOST, MAX_HOSTS, Needs, step
from mtad.testing.resolver import MemoryResolver

OWN = OwnNames(frozenset({"mx.here.example"}), frozenset({"192.0.2.1", "2001:db8::1"}))
A = "A 192.0.2.25"


class ExchangersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.resolver = MemoryResolver(Clock())
        self.zone = self.resolver.zone
        self.random = Random(1)

    def walk(self, domain: str = "there.example") -> Hosts | NoRoute:
        """Answer what `step` needs until it knows."""
        known: dict[Question, Answer] = {}
        for _ in range(3):
            found = step(domain, known, OWN, self.random.random)
            if not isinstance(found, Needs):
                return found
            self.assertTrue(found.questions.isdisjoint(known), "asked for what it was told")
            known |= {question: self.successResultOf(self.resolver.resolve(question)) for question in found.questions}
        raise AssertionError("not known after three rounds")

    def hosts(self, domain: str = "there.example") -> list[tuple[str, tuple[str, ...]]]:
        found = self.walk(domain)
        self.assertIsInstance(found, Hosts, found)
        return [(host.name, host.addresses) for host in found.hosts]

    def names(self) -> list[str]:
        return [name for name, _ in self.hosts()]

    def assert_failed(self, status: str, domain: str = "there.example") -> str:
        found = self.walk(domain)
        self.assertEqual(found, NoRoute(Failed(found.outcome.detail, Scope.DESTINATION, status)))
        return found.outcome.detail

    def assert_deferred(self) -> str:
        found = self.walk()
        assert isinstance(found, NoRoute)
        assert isinstance(found.outcome, Deferred)
        detail, told = found.outcome.detail, found.outcome.told
        self.assertEqual(found, NoRoute(Deferred(detail, Scope.DESTINATION, "4.4.3", told=told)))
        self.assertEqual(detail.partition(" (")[0], told, "whom we asked is nothing for senders")
        return detail


class MailExchangesTest(ExchangersCase):
    def test_hosts_come_by_preference_with_both_families(self) -> None:
        self.zone["there.example"] = ["MX 20 b.there.example", "MX 10 a.there.example"]
        self.zone["a.there.example"] = ["A 192.0.2.10", "A 192.0.2.11", "AAAA 2001:db8::10"]
        self.zone["b.there.example"] = ["AAAA 2001:db8::20"]
        self.assertEqual(
            self.hosts(),
            [
                ("a.there.example", ("2001:db8::10", "192.0.2.10", "192.0.2.11")),
                ("b.there.example", ("2001:db8::20",)),
            ],
        )

    def test_equal_preferences_share_the_first_place_and_never_pass_a_better_one(self) -> None:
        hosts = [f"m{n}.there.example" for n in range(4)]
        self.zone["there.example"] = [f"MX {10 if n < 3 else 20} {host}" for n, host in enumerate(hosts)]
        self.zone |= {host: [f"A 192.0.2.{10 + n}"] for n, host in enumerate(hosts)}
        orders = [self.names() for _ in range(60)]
        self.assertEqual({order[0] for order in orders}, set(hosts[:3]))
        self.assertEqual({order[3] for order in orders}, {hosts[3]})

    def test_what_is_asked_does_not_depend_on_chance(self) -> None:
        exchanges = tuple(MailExchange(10, f"m{n}.there.example") for n in range(50))
        asked = Question("there.example", Kind.MX)
        known = {asked: Answer(asked, Status.FOUND, exchanges)}
        needs = {step("there.example", known, OWN, self.random.random).questions for _ in range(10)}
        self.assertEqual([len(questions) for questions in needs], [2 * MAX_HOSTS])

    def test_a_host_behind_a_cname_is_tolerated(self) -> None:
        self.zone["there.example"] = ["MX 10 alias.there.example"]
        self.zone["alias.there.example"] = ["CNAME real.there.example"]
        self.zone["real.there.example"] = [A]
        self.assertEqual(self.hosts(), [("alias.there.example", ("192.0.2.25",))])

    def test_a_domain_without_mx_is_its_own_host(self) -> None:
        self.zone["there.example"] = [A]
        self.assertEqual(self.hosts(), [("there.example", ("192.0.2.25",))])

    def test_hosts_that_are_no_names_are_passed_over(self) -> None:
        self.zone["there.example"] = [
            "MX 10 192.0.2.66", "MX 10 [192.0.2.66]", "MX 10 a\\032b.example", "MX 10 -x.example", "MX 10 .",
            f"MX 10 {'a' * 64}.example", "MX 20 m_x.there.example",
        ]  # fmt: skip
        self.zone["m_x.there.example"] = [A]
        self.assertEqual(self.names(), ["m_x.there.example"])
        self.assertNotIn("192.0.2.66", {question.name for question in self.resolver.asked})

    def test_only_such_hosts_are_final_without_another_question(self) -> None:
        self.zone["there.example"] = ["MX 10 192.0.2.66"]
        self.assert_failed("5.4.4")
        self.assertEqual(len(self.resolver.asked), 1)

    def test_an_address_is_tried_once_and_a_host_without_one_is_left_out(self) -> None:
        self.zone["there.example"] = ["MX 10 a.there.example", "MX 20 b.there.example", "MX 30 none.there.example"]
        self.zone["a.there.example"] = self.zone["b.there.example"] = [A]
        self.assertEqual(self.names(), ["a.there.example"])


class FinalTest(ExchangersCase):
    def test_a_name_that_does_not_exist(self) -> None:
        self.assertIn("there.example", self.assert_failed("5.1.2"))
        self.assertEqual(self.resolver.asked, [Question("there.example", Kind.MX)])

    def test_a_null_mx_though_the_domain_has_an_address(self) -> None:
        self.zone["there.example"] = ["MX 0 .", A]
        self.assert_failed("5.1.10")
        self.assertEqual(len(self.resolver.asked), 1)

    def test_no_records_at_all(self) -> None:
        self.zone["there.example"] = []
        self.assert_failed("5.4.4")

    def test_hosts_without_addresses(self) -> None:
        self.zone["there.example"] = ["MX 10 nowhere.example", "MX 20 b.there.example", A]
        self.zone["b.there.example"] = []
        self.assert_failed("5.4.4")


class TroubleTest(ExchangersCase):
    TROUBLES = (Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.BOGUS)

    def test_trouble_with_the_mx_is_temporary_and_names_itself(self) -> None:
        for trouble in self.TROUBLES:
            self.resolver.trouble["there.example"] = trouble
            self.assertIn(f"MX of there.example: {trouble.value}", self.assert_deferred())

    def test_trouble_with_an_address_is_temporary_when_no_host_has_one(self) -> None:
        self.zone["there.example"] = ["MX 10 nowhere.example", "MX 20 b.there.example"]
        self.zone["b.there.example"] = []
        for trouble in self.TROUBLES:
            self.resolver.trouble[Question("b.there.example", Kind.AAAA)] = trouble
            self.assertIn(trouble.value, self.assert_deferred())

    def test_trouble_with_one_host_leaves_the_others(self) -> None:
        self.zone["there.example"] = ["MX 10 a.there.example", "MX 20 b.there.example"]
        self.zone["b.there.example"] = [A]
        self.resolver.trouble["a.there.example"] = Status.SERVFAIL
        self.assertEqual(self.names(), ["b.there.example"])
        self.assert_troubled("A of a.there.example", "AAAA of a.there.example")

    def test_without_trouble_none_is_told(self) -> None:
        self.zone["there.example"] = [A]
        found = self.walk()
        assert isinstance(found, Hosts)
        self.assertIsNone(found.trouble)

    def test_trouble_with_one_family_leaves_the_other(self) -> None:
        self.zone["there.example"] = [A]
        self.resolver.trouble[Question("there.example", Kind.AAAA)] = Status.TIMEOUT
        self.assertEqual(self.hosts(), [("there.example", ("192.0.2.25",))])
        self.assert_troubled("AAAA of there.example")

    def assert_troubled(self, *questions: str) -> None:
        """Look for the trouble with one of the questions, beside the hosts."""
        found = self.walk()
        assert isinstance(found, Hosts)
        assert found.trouble is not None
        self.assertEqual((found.trouble.scope, found.trouble.status), (Scope.DESTINATION, "4.4.3"))
        self.assertTrue(any(question in found.trouble.detail for question in questions), found.trouble.detail)


class OwnTest(ExchangersCase):
    def setUp(self) -> None:
        super().setUp()
        self.zone["there.example"] = [
            "MX 10 first.example",
            "MX 20 mx.here.example",
            "MX 20 c.example",
            "MX 30 d.example",
        ]
        self.zone |= {f"{host}.example": [f"A 192.0.2.{n}"] for n, host in enumerate(("first", "c", "d"), 31)}

    def test_only_what_is_preferred_to_us_is_left(self) -> None:
        self.assertEqual(self.names(), ["first.example"])
        self.assertNotIn("d.example", {question.name for question in self.resolver.asked})

    def test_we_are_known_by_an_address_too(self) -> None:
        self.zone["c.example"] = ["AAAA 2001:db8::1"]
        self.zone["there.example"].remove("MX 20 mx.here.example")
        self.assertEqual(self.names(), ["first.example"])

    def test_as_the_best_we_are_a_loop(self) -> None:
        self.zone["there.example"] = ["MX 5 mx.here.example", "MX 10 first.example"]
        self.assert_failed("5.4.6")

    def test_as_the_best_by_address_we_are_a_loop(self) -> None:
        self.zone["first.example"] = ["A 192.0.2.32", "A 192.0.2.1"]
        self.assert_failed("5.4.6")

    def test_a_domain_without_mx_at_our_address_is_a_loop(self) -> None:
        self.zone["there.example"] = ["A 192.0.2.1"]
        self.assert_failed("5.4.6")

    def test_a_preferred_host_in_trouble_is_waited_for(self) -> None:
        self.resolver.trouble["first.example"] = Status.TIMEOUT
        self.assert_deferred()


class LiteralTest(ExchangersCase):
    def test_a_literal_is_its_address_and_asks_nothing(self) -> None:
        self.assertEqual(self.hosts("[192.0.2.7]"), [("[192.0.2.7]", ("192.0.2.7",))])
        self.assertEqual(self.hosts("[IPv6:2001:db8::7]"), [("[IPv6:2001:db8::7]", ("2001:db8::7",))])
        self.assertEqual(self.resolver.asked, [])

    def test_our_own_is_a_loop_and_nonsense_is_final(self) -> None:
        self.assert_failed("5.4.6", "[IPv6:2001:db8::1]")
        self.assert_failed("5.1.2", "[x-mail:nowhere]")


HOSTILE_HOST = st.sampled_from(
    ["a.example", "b.example", "mx.here.example", "x" * 63 + ".example", "", "\\000.example", "192.0.2.1"]
)


class BoundsTest(ExchangersCase):
    def test_hosts_and_addresses_are_bounded(self) -> None:
        self.zone["there.example"] = [f"MX {n} m{n}.there.example" for n in range(100)]
        self.zone |= {f"m{n}.there.example": [f"A 10.0.{n}.{m}" for m in range(100)] for n in range(100)}
        found = self.hosts()
        self.assertEqual([len(addresses) for _, addresses in found], [MAX_ADDRESSES_OF_A_HOST] * 2 + [4])
        self.assertEqual(sum(len(addresses) for _, addresses in found), MAX_ADDRESSES)
        self.assertEqual(len(self.resolver.asked), 1 + 2 * MAX_HOSTS)

    @given(
        st.lists(st.tuples(st.integers(0, 65535), HOSTILE_HOST), max_size=30),
        st.dictionaries(HOSTILE_HOST, st.sampled_from([[A], ["AAAA 2001:db8::1"], []]), max_size=7),
        st.dictionaries(HOSTILE_HOST, st.sampled_from(TroubleTest.TROUBLES), max_size=3),
    )
    def test_whatever_the_zone_says_there_is_an_end(
        self, exchanges: list[tuple[int, str]], zone: dict[str, list[str]], trouble: dict[str, Status]
    ) -> None:
        lines = [f"MX {preference} {host or '.'}" for preference, host in exchanges]
        self.resolver = MemoryResolver(Clock(), {**zone, "there.example": lines})
        self.resolver.trouble |= trouble
        found = self.walk()
        if isinstance(found, Hosts):
            self.assertTrue(found.hosts)
            self.assertTrue(all(host.addresses for host in found.hosts))
            self.assertFalse({address for host in found.hosts for address in host.addresses} & OWN.addresses)
