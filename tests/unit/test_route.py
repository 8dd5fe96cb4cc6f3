"""mtad.routing.route: through aliases and catch-alls to mailboxes, bounded."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.route import Place, Route
from mtad.model.tenant import Entry
from mtad.routing.route import MAX_DEPTH, Needs, step, submitted
from tests.unit.directory_values import OTHER, PENDING, SHOP, alias, at, mailbox, nobody


def walk(directory: dict[str, Entry], start: str) -> tuple[Route, int]:
    """Answer what `step` needs until it has a route; return it and the number of rounds."""
    known: dict[Address, Entry] = {}
    for rounds in range(50):
        found = step(at(start), known)
        if isinstance(found, Route):
            return found, rounds
        assert found.addresses.isdisjoint(known), "asked for what it was told"
        known |= {address: directory.get(str(address), nobody(None)) for address in found.addresses}
    raise AssertionError("no route after 50 rounds")


def places(route: Route) -> list[str]:
    return [str(place.address) for place in route.places]


class RouteTest(SynchronousTestCase):
    def test_a_mailbox_takes_one_round(self) -> None:
        route, rounds = walk({"alice@acme.example": mailbox("alice@acme.example")}, "alice@acme.example")
        self.assertEqual((places(route), route.rule, rounds), (["alice@acme.example"], "mailbox", 1))
        self.assertEqual(route.places[0].destination, "local:acme.example")

    def test_an_alias_leads_to_all_its_targets_each_once(self) -> None:
        route, _ = walk(
            {
                "sales@acme.example": alias(
                    "sales@acme.example", "alice@acme.example", "team@acme.example", "ALICE@acme.example"
                ),
                "team@acme.example": alias("team@acme.example", "alice@acme.example", "bob@acme.example"),
                "alice@acme.example": mailbox("alice@acme.example"),
                "ALICE@acme.example": mailbox("alice@acme.example"),
                "bob@acme.example": mailbox("bob@acme.example"),
            },
            "sales@acme.example",
        )
        self.assertEqual((places(route), route.rule), (["alice@acme.example", "bob@acme.example"], "alias"))

    def test_the_catch_all_takes_what_nobody_has(self) -> None:
        route, _ = walk(
            {
                "anybody@shop.example": nobody(SHOP),
                "alice@acme.example": mailbox("alice@acme.example"),
            },
            "anybody@shop.example",
        )
        self.assertEqual((places(route), route.rule), (["alice@acme.example"], "catch-all"))

    def test_an_alias_never_leads_into_another_organisation(self) -> None:
        route, _ = walk(
            {
                "sales@acme.example": alias("sales@acme.example", "eve@other.example", "alice@acme.example"),
                "eve@other.example": mailbox("eve@other.example", OTHER),
                "alice@acme.example": mailbox("alice@acme.example"),
            },
            "sales@acme.example",
        )
        self.assertEqual(places(route), ["alice@acme.example"])
        self.assertEqual([str(end) for end in route.dead_ends], ["eve@other.example"])

    def test_loops_and_long_chains_lead_nowhere(self) -> None:
        loop = {
            "a@acme.example": alias("a@acme.example", "b@acme.example"),
            "b@acme.example": alias("b@acme.example", "a@acme.example"),
        }
        self.assertEqual(walk(loop, "a@acme.example")[0].places, ())
        chain = {f"{n}@acme.example": alias(f"{n}@acme.example", f"{n + 1}@acme.example") for n in range(MAX_DEPTH + 2)}
        chain[f"{MAX_DEPTH + 2}@acme.example"] = mailbox(f"{MAX_DEPTH + 2}@acme.example")
        self.assertEqual(walk(chain, "0@acme.example")[0].places, ())
        self.assertEqual(places(walk(chain, "2@acme.example")[0]), [f"{MAX_DEPTH + 2}@acme.example"])

    def test_a_disabled_mailbox_is_told_apart_from_none(self) -> None:
        route, _ = walk({"bob@acme.example": mailbox("bob@acme.example", enabled=False)}, "bob@acme.example")
        self.assertTrue(route.disabled)
        self.assertFalse(walk({"bob@acme.example": nobody()}, "bob@acme.example")[0].disabled)

    def test_an_unverified_domain_hosts_nobody(self) -> None:
        route, _ = walk({"eve@pending.example": mailbox("eve@pending.example", PENDING)}, "eve@pending.example")
        self.assertEqual((route.domain, route.places), (PENDING, ()))

    def test_what_nobody_verified_here_is_elsewhere_for_a_submission(self) -> None:
        for entry, text in (
            (nobody(None), "Far@far.example"),
            (mailbox("eve@pending.example", PENDING), "eve@pending.example"),
        ):
            route = submitted(walk({text: entry}, text)[0], 10)
            place = Place(at(text), f"mx:{at(text).domain}")
            self.assertEqual((route.rule, route.places, route.organisation), ("remote", (place,), 10))
        here, _ = walk({"a@acme.example": mailbox("a@acme.example")}, "a@acme.example")
        unknown, _ = walk({"x@acme.example": nobody()}, "x@acme.example")
        for route in (here, unknown):
            self.assertEqual(submitted(route, 20), route)

    def test_needs_names_the_forward_path_first(self) -> None:
        self.assertEqual(step(at("a@acme.example"), {}), Needs(frozenset({at("a@acme.example")})))

    @given(
        st.dictionaries(
            st.integers(0, 8), st.one_of(st.none(), st.lists(st.integers(0, 9), min_size=1, max_size=4)), max_size=9
        )
    )
    def test_every_directory_has_an_end(self, graph: dict[int, list[int] | None]) -> None:
        directory = {
            f"{n}@acme.example": mailbox(f"{n}@acme.example")
            if targets is None
            else alias(f"{n}@acme.example", *(f"{target}@acme.example" for target in targets))
            for n, targets in graph.items()
        }
        route, rounds = walk(directory, "0@acme.example")
        self.assertLessEqual(rounds, MAX_DEPTH + 3)
        self.assertEqual(len(places(route)), len(set(places(route))))
