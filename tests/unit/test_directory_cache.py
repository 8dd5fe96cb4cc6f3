"""The directory's cache: age, bounds, news, and news during a lookup."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres.cache import Cache, address_key, domain_key
from mtad.model.tenant import Entry
from tests.unit.directory_values import ACME, SHOP, mailbox, nobody

ALICE = address_key("alice@acme.example")
BOB = address_key("bob@acme.example")
SELLER = address_key("seller@shop.example")


class CacheTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = Cache(self.clock, max_entries=4, max_age_seconds=60.0)

    def learn(self, **answers: Entry) -> None:
        self.store({f"address:{name}@acme.example": entry for name, entry in answers.items()})

    def store(self, answers: dict[str, Entry]) -> None:
        self.cache.finish(self.cache.begin(answers), answers)

    def known(self, *keys: str) -> list[str]:
        return [key for key in keys if self.cache.get(key) is not None]

    def test_what_was_found_is_remembered_and_so_is_that_nobody_was(self) -> None:
        self.learn(alice=mailbox("alice@acme.example"), bob=nobody())
        self.assertEqual(self.cache.get(ALICE), mailbox("alice@acme.example"))
        self.assertEqual(self.cache.get(BOB), nobody())
        self.assertIsNone(self.cache.get(SELLER))

    def test_an_answer_is_forgotten_a_minute_after_it_was_asked(self) -> None:
        lookup = self.cache.begin([ALICE])
        self.clock.advance(30.0)
        self.cache.finish(lookup, {ALICE: nobody()})
        self.clock.advance(29.9)
        self.assertEqual(self.known(ALICE), [ALICE])
        self.clock.advance(0.1)
        self.assertEqual(self.known(ALICE), [])
        self.assertEqual(len(self.cache), 0)

    def test_the_oldest_go_when_it_is_full(self) -> None:
        for name in ("alice", "bob", "carol", "dave"):
            self.learn(**{name: nobody()})
        self.learn(alice=nobody())
        self.learn(erin=nobody())
        self.assertEqual(len(self.cache), 4)
        self.assertEqual(self.known(ALICE, BOB), [ALICE])

    def test_news_of_an_address_drops_it_alone(self) -> None:
        self.learn(alice=nobody(), bob=nobody())
        self.cache.forget(ALICE)
        self.assertEqual(self.known(ALICE, BOB), [BOB])

    def test_news_of_a_domain_drops_all_its_addresses_and_no_others(self) -> None:
        self.store({ALICE: nobody(), domain_key("acme.example"): nobody(), SELLER: nobody(SHOP)})
        self.cache.forget(domain_key("acme.example"))
        self.assertEqual(self.known(ALICE, domain_key("acme.example"), SELLER), [SELLER])

    def test_news_of_an_address_leaves_its_domain(self) -> None:
        self.store({ALICE: nobody(), domain_key("acme.example"): nobody()})
        self.cache.forget(ALICE)
        self.assertEqual(self.known(ALICE, domain_key("acme.example")), [domain_key("acme.example")])

    def test_news_it_does_not_understand_drops_everything(self) -> None:
        for news in ("all", "organisation:7", ""):
            self.learn(alice=nobody(), bob=nobody())
            self.cache.forget(news)
            self.assertEqual(len(self.cache), 0)

    def test_news_during_a_lookup_keeps_its_answer_out(self) -> None:
        for news, kept in ((ALICE, [BOB]), (domain_key("acme.example"), []), ("all", []), (SELLER, [ALICE, BOB])):
            self.cache.flush()
            lookup = self.cache.begin([ALICE, BOB])
            self.cache.forget(news)
            self.cache.finish(lookup, {ALICE: nobody(), BOB: nobody()})
            self.assertEqual(self.known(ALICE, BOB), kept, news)

    def test_a_flush_during_a_lookup_keeps_its_answer_out(self) -> None:
        lookup = self.cache.begin([ALICE])
        self.cache.flush()
        self.cache.finish(lookup, {ALICE: nobody()})
        self.assertEqual(self.known(ALICE), [])

    def test_an_old_lookup_does_not_undo_a_newer_one(self) -> None:
        old = self.cache.begin([ALICE])
        self.cache.forget(ALICE)
        self.learn(alice=mailbox("alice@acme.example"))
        self.cache.finish(old, {ALICE: nobody()})
        self.assertEqual(self.cache.get(ALICE), mailbox("alice@acme.example"))

    def test_abandoned_lookups_leave_nothing_behind(self) -> None:
        lookup = self.cache.begin([ALICE])
        self.cache.abandon(lookup)
        self.cache.forget(ALICE)
        self.assertEqual(lookup.keys, {ALICE})
        self.assertEqual(len(self.cache), 0)

    def test_a_local_part_may_look_like_anything(self) -> None:
        odd = address_key("a@b:c@acme.example")
        self.store({odd: Entry(ACME, None)})
        self.cache.forget(domain_key("acme.example"))
        self.assertEqual(self.known(odd), [])
