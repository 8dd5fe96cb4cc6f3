"""IDirectory: who is hosted here, from PostgreSQL and from its twin."""

from dataclasses import replace

import psycopg2
from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.postgres.destinations import remove_destination, set_destination
from mtad.adapters.postgres.directory import PostgresDirectory
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.tenants import Present, Tenants
from mtad.adapters.postgres.wakeups import PostgresWakeups
from mtad.adapters.sealing import Sealing
from mtad.interfaces import IDirectory
from mtad.model.address import Address, from_plain
from mtad.model.authentication import AS_THE_SERVER, OwnChecks, Strictness
from mtad.model.dkim import KeyState, SigningKey
from mtad.model.errors import Unavailable
from mtad.model.holdings import Change, HeldAlias, HeldDomain, HeldKey, HeldMailbox, Holding, Sign
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import Alias, Credential, Entry, LmtpDelivery, Mailbox, MaildirDelivery
from mtad.testing.directory import MemoryDirectory
from mtad.testing.journal import MemoryJournal
from mtad.testing.wakeups import MemoryWakeups
from tests.stores import database

NOW = 1_800_000_000.25
ALICE = from_plain("alice@acme.example")
ACME = Holding(
    "acme",
    "hostmaster@acme.example",
    (
        HeldDomain(
            "acme.example",
            verified=True,
            catch_all=ALICE,
            delivery=LmtpDelivery("/run/lmtp"),
            mailboxes=(HeldMailbox("Alice"), HeldMailbox("bob", enabled=False), HeldMailbox("zo\u00e9")),
            aliases=(HeldAlias("sales", (ALICE, from_plain("o'neil %s@acme.example"))),),
        ),
        HeldDomain("pending.example"),
        HeldDomain("plain.example", verified=True, delivery=MaildirDelivery("/srv/mail")),
    ),
)
SHOP = Holding(
    "shop",
    None,
    (
        HeldDomain(
            "second.example",
            aliases=(HeldAlias("zed", (from_plain("x@second.example"), from_plain("Ann@shop.example"))),),
        ),
        HeldDomain(
            "shop.example",
            verified=True,
            mailboxes=(
                HeldMailbox("Ann", "$argon2id$x", True, ("*@acme.example", "shop.example"), "SCRAM-SHA-256$x"),
                HeldMailbox("quiet", enabled=False),
            ),
            aliases=(
                HeldAlias("Sales", (from_plain("ANN@shop.example"),)),
                HeldAlias("round", (from_plain("sales@shop.example"),)),
            ),
        ),
    ),
)


CHECKS = OwnChecks(spf=Strictness.ENFORCE, dmarc=Strictness.OFF)
STRICT = Holding(
    "strict",
    None,
    (
        HeldDomain("encrypt.example", True, outbound_tls=TlsLevel.ENCRYPT, checks=CHECKS, check_from=False),
        HeldDomain("pending.example", False, outbound_tls=TlsLevel.VERIFY),
        HeldDomain("plain.example", True, mailboxes=(HeldMailbox("alice"),)),
        HeldDomain("verify.example", True, outbound_tls=TlsLevel.VERIFY),
    ),
)


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class DirectoryContract:
    """Subclasses give `self.directory`, `hold` and `want`: after they returned the directory has heard of it."""

    timeout = 20
    directory: IDirectory

    async def hold(self, holding: Holding) -> None:
        raise NotImplementedError

    async def want(self, domain: str, tls: TlsLevel | None) -> None:
        """Want so much TLS of a domain elsewhere, or nothing."""
        raise NotImplementedError

    async def entry(self, text: str) -> Entry:
        return await self.directory.entry(from_plain(text))

    def test_it_provides_the_port(self) -> None:
        self.assertTrue(verifyObject(IDirectory, self.directory))

    async def test_a_mailbox_is_found_by_its_folded_local_part_and_keeps_its_own(self) -> None:
        await self.hold(ACME)
        for asked in ("alice", "ALICE", "Alice"):
            found = (await self.entry(f"{asked}@acme.example")).behind
            self.assertIsInstance(found, Mailbox)
            self.assertEqual((found.address, found.enabled), (Address("Alice", "acme.example"), True))
        composed, decomposed = await self.entry("zo\u00e9@acme.example"), await self.entry("ZOE\u0301@acme.example")
        self.assertIsNotNone(composed.behind)
        self.assertEqual(composed.behind, decomposed.behind)

    async def test_a_disabled_mailbox_says_so(self) -> None:
        await self.hold(ACME)
        self.assertFalse((await self.entry("bob@acme.example")).behind.enabled)

    async def test_mailboxes_have_ids_of_their_own_and_their_organisation(self) -> None:
        await self.hold(ACME)
        alice, bob = (await self.entry("alice@acme.example")), (await self.entry("bob@acme.example"))
        self.assertNotEqual(alice.behind.id, bob.behind.id)
        self.assertEqual(alice.behind.organisation, alice.domain.organisation)

    async def test_an_alias_is_found_with_its_targets_in_order(self) -> None:
        await self.hold(ACME)
        found = await self.entry("SALES@acme.example")
        targets = (ALICE, from_plain("o'neil %s@acme.example"))
        self.assertEqual(found.behind, Alias(found.domain.organisation, Address("sales", "acme.example"), targets))

    async def test_a_domain_comes_with_what_is_known_of_it(self) -> None:
        await self.hold(ACME)
        domain = await self.directory.domain("acme.example")
        self.assertEqual(domain, (await self.entry("alice@acme.example")).domain)
        self.assertEqual((domain.name, domain.verified, domain.claimed_at), ("acme.example", True, NOW))
        self.assertEqual((domain.catch_all, domain.delivery), (ALICE, LmtpDelivery("/run/lmtp")))
        plain = await self.directory.domain("plain.example")
        self.assertEqual((plain.catch_all, plain.delivery), (None, MaildirDelivery("/srv/mail")))
        pending = await self.directory.domain("pending.example")
        self.assertEqual((pending.verified, pending.delivery), (False, None))
        self.assertEqual(pending.organisation, domain.organisation)

    async def test_nobody_and_nothing_are_different_answers(self) -> None:
        await self.hold(ACME)
        domain = await self.directory.domain("acme.example")
        self.assertEqual(await self.entry("nobody@acme.example"), Entry(domain, None))
        self.assertEqual(await self.entry("alice@elsewhere.example"), Entry(None, None))
        self.assertIsNone(await self.directory.domain("elsewhere.example"))
        self.assertEqual(await self.entry("@acme.example"), Entry(domain, None))

    async def test_what_is_added_is_found_where_nobody_was(self) -> None:
        self.assertEqual(await self.entry("alice@acme.example"), Entry(None, None))
        self.assertIsNone(await self.directory.domain("acme.example"))
        await self.hold(ACME)
        self.assertIsNotNone((await self.entry("alice@acme.example")).behind)
        self.assertIsNotNone(await self.directory.domain("acme.example"))

    async def test_what_is_removed_is_found_no_more(self) -> None:
        await self.hold(ACME)
        await self.entry("alice@acme.example")
        await self.entry("sales@acme.example")
        kept = await self.entry("bob@acme.example")
        await self.hold(Holding("acme", None, (HeldDomain("acme.example", True, mailboxes=(HeldMailbox("bob"),)),)))
        self.assertIsNone((await self.entry("alice@acme.example")).behind)
        self.assertIsNone((await self.entry("sales@acme.example")).behind)
        bob = await self.entry("bob@acme.example")
        self.assertEqual((bob.behind.id, bob.behind.enabled), (kept.behind.id, True))
        self.assertIsNone(bob.domain.catch_all)
        self.assertEqual((bob.domain.id, bob.domain.claimed_at), (kept.domain.id, kept.domain.claimed_at))

    async def test_a_domain_takes_its_addresses_with_it(self) -> None:
        await self.hold(ACME)
        await self.entry("alice@acme.example")
        await self.hold(Holding("acme"))
        self.assertEqual(await self.entry("alice@acme.example"), Entry(None, None))

    async def test_an_organisation_does_not_touch_another(self) -> None:
        await self.hold(ACME)
        await self.hold(Holding("other", None, (HeldDomain("other.example", True),)))
        other = await self.directory.domain("other.example")
        alice = await self.entry("alice@acme.example")
        self.assertIsNotNone(alice.behind)
        self.assertNotEqual(other.organisation, alice.domain.organisation)

    async def test_a_credential_is_what_logs_in_and_whom_it_may_send_as(self) -> None:
        await self.hold(SHOP)
        found = await self.directory.credential(from_plain("ANN@shop.example"))
        entry = await self.entry("ann@shop.example")
        self.assertEqual(
            found,
            Credential(
                entry.behind,
                "$argon2id$x",
                ("*@acme.example", "shop.example"),
                (from_plain("Sales@shop.example"), from_plain("zed@second.example")),
                "SCRAM-SHA-256$x",
            ),
        )
        self.assertEqual((found.password_hash, found.scram), ("$argon2id$x", "SCRAM-SHA-256$x"))
        for secret in ("argon2", "SCRAM"):
            self.assertNotIn(secret, repr(found))

    async def test_where_scram_is_off_no_credential_has_a_verifier(self) -> None:
        await self.hold(replace(SHOP, scram=False))
        found = await self.directory.credential(from_plain("ann@shop.example"))
        self.assertEqual((found.password_hash, found.scram), ("$argon2id$x", None))

    async def test_the_key_of_logins_is_secret_and_stays(self) -> None:
        key = await self.directory.login_key()
        self.assertGreaterEqual(len(key), 32)
        self.assertEqual(await self.directory.login_key(), key)

    async def test_who_cannot_log_in(self) -> None:
        await self.hold(SHOP)
        quiet = await self.directory.credential(from_plain("quiet@shop.example"))
        self.assertEqual(
            (quiet.password_hash, quiet.mailbox.enabled, quiet.send_as, quiet.aliases), (None, False, (), ())
        )
        for text in ("sales@shop.example", "nobody@shop.example", "ann@elsewhere.example", "@shop.example"):
            self.assertIsNone(await self.directory.credential(from_plain(text)), text)

    async def test_a_credential_follows_what_changes(self) -> None:
        ann = from_plain("ann@shop.example")
        self.assertIsNone(await self.directory.credential(ann))
        await self.hold(SHOP)
        self.assertIsNotNone(await self.directory.credential(ann))
        changed = HeldMailbox("ann", "$argon2id$y", False, ("other.example",))
        await self.hold(Holding("shop", None, (HeldDomain("shop.example", True, mailboxes=(changed,)),)))
        found = await self.directory.credential(ann)
        self.assertEqual(
            (found.password_hash, found.mailbox.enabled, found.send_as, found.aliases),
            ("$argon2id$y", False, ("other.example",), ()),
        )
        await self.hold(Holding("shop"))
        self.assertIsNone(await self.directory.credential(ann))

    async def test_an_alias_that_comes_or_goes_is_news_of_the_mailbox_it_leads_to(self) -> None:
        ann = from_plain("ann@shop.example")
        domain = HeldDomain("shop.example", True, mailboxes=(HeldMailbox("ann"),))
        await self.hold(Holding("shop", None, (domain,)))
        self.assertEqual((await self.directory.credential(ann)).aliases, ())
        led = replace(domain, aliases=(HeldAlias("info", (ann,)),))
        await self.hold(Holding("shop", None, (led,)))
        self.assertEqual((await self.directory.credential(ann)).aliases, (from_plain("info@shop.example"),))
        await self.hold(Holding("shop", None, (domain,)))
        self.assertEqual((await self.directory.credential(ann)).aliases, ())

    async def test_another_organisations_alias_leads_nowhere(self) -> None:
        await self.hold(SHOP)
        thief = HeldDomain("thief.example", True, aliases=(HeldAlias("a", (from_plain("ann@shop.example"),)),))
        await self.hold(Holding("thief", None, (thief,)))
        found = await self.directory.credential(from_plain("ann@shop.example"))
        self.assertNotIn(from_plain("a@thief.example"), found.aliases)

    async def test_the_stricter_tls_of_destination_and_sender_holds(self) -> None:
        await self.hold(STRICT)
        ask = self.directory.tls_level
        senders = (None, "elsewhere.example", "plain.example", "pending.example", "encrypt.example", "verify.example")
        none, may, encrypt, verify = TlsLevel
        for wanted, found in (
            (None, (None, None, None, None, encrypt, verify)),
            (none, (none, none, none, none, encrypt, verify)),
            (may, (may, may, may, may, encrypt, verify)),
            (encrypt, (encrypt, encrypt, encrypt, encrypt, encrypt, verify)),
            (verify, (verify, verify, verify, verify, verify, verify)),
            (None, (None, None, None, None, encrypt, verify)),
        ):
            await self.want("remote.example", wanted)
            self.assertEqual(tuple([await ask("remote.example", sender) for sender in senders]), found)
            self.assertIsNone(await ask("other.example", None))

    async def test_what_is_wanted_of_a_destination_makes_it_nobodys(self) -> None:
        await self.hold(STRICT)
        await self.want("remote.example", TlsLevel.ENCRYPT)
        await self.want("plain.example", TlsLevel.VERIFY)
        self.assertEqual(await self.entry("x@remote.example"), Entry(None, None, TlsLevel.ENCRYPT))
        self.assertEqual(await self.entry("y@remote.example"), Entry(None, None, TlsLevel.ENCRYPT))
        self.assertIsNone(await self.directory.domain("remote.example"))
        hosted = await self.entry("alice@plain.example")
        self.assertIsInstance(hosted.behind, Mailbox)
        self.assertEqual((hosted.domain.outbound_tls, hosted.tls), (None, TlsLevel.VERIFY))

    async def test_how_strictly_a_domain_is_kept(self) -> None:
        await self.hold(STRICT)
        kept = await self.directory.domain("encrypt.example")
        self.assertEqual((kept.checks, kept.check_from), (CHECKS, False))
        plain = (await self.entry("alice@plain.example")).domain
        self.assertEqual((plain.checks, plain.check_from), (AS_THE_SERVER, True))

    async def test_organisations_have_ids(self) -> None:
        await self.hold(ACME)
        domain = await self.directory.domain("acme.example")
        self.assertEqual(await self.directory.organisation("acme"), domain.organisation)
        self.assertIsNone(await self.directory.organisation("nobody"))

    async def selectors(self, domain: str) -> list[str]:
        return [key.selector for key in await self.directory.keys(domain)]

    async def test_keys_are_those_that_are_active_by_selector(self) -> None:
        keys = (
            HeldKey("s2", "ed25519", "p2", KeyState.ACTIVE, b"PEM 2"),
            HeldKey("s0", "rsa2048", "p0", KeyState.RETIRING, b"PEM 0"),
            HeldKey("s1", "rsa2048", "p1", KeyState.ACTIVE, b"PEM 1"),
        )
        await self.hold(Holding("acme", None, (HeldDomain("acme.example", True, keys=keys),)))
        organisation = (await self.directory.domain("acme.example")).organisation
        self.assertEqual(
            await self.directory.keys("acme.example"),
            (
                SigningKey(organisation, "acme.example", "s1", "rsa2048", b"PEM 1"),
                SigningKey(organisation, "acme.example", "s2", "ed25519", b"PEM 2"),
            ),
        )
        self.assertEqual(await self.directory.keys("elsewhere.example"), ())

    async def test_keys_come_and_go_with_their_state_and_their_domain(self) -> None:
        def acme(active: bool, verified: bool = True) -> Holding:
            key = HeldKey("s1", "ed25519", "p1", KeyState.ACTIVE if active else KeyState.RETIRING, b"PEM")
            return Holding("acme", None, (HeldDomain("acme.example", verified, keys=(key,)),))

        self.assertEqual(await self.selectors("acme.example"), [])
        for holding, expected in (
            (acme(True), ["s1"]),
            (acme(False), []),
            (acme(True), ["s1"]),
            (acme(True, verified=False), []),
            (acme(True), ["s1"]),
            (Holding("acme"), []),
        ):
            await self.hold(holding)
            self.assertEqual(await self.selectors("acme.example"), expected)


class MemoryDirectoryTest(DirectoryContract, TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = MemoryDirectory(self.clock)

    async def hold(self, holding: Holding) -> None:
        self.directory.hold(holding, NOW)

    async def want(self, domain: str, tls: TlsLevel | None) -> None:
        self.directory.destinations.pop(domain, None)
        if tls is not None:
            self.directory.destinations[domain] = tls

    async def test_it_can_be_slow_and_away_and_remembers_what_it_was_asked(self) -> None:
        await self.hold(ACME)
        self.directory.delay_seconds = 5.0
        answer = started(self.entry("Alice@acme.example"))
        self.assertNoResult(answer)
        self.clock.advance(5.0)
        self.assertIsNotNone(self.successResultOf(answer).behind)
        self.directory.delay_seconds, self.directory.reachable = 0.0, False
        with self.assertRaises(Unavailable):
            await self.directory.domain("acme.example")
        self.assertEqual(self.directory.asked, ["alice@acme.example", "acme.example"])


def replacing(holding: Holding, present: Present) -> list[Change]:
    """Return changes that make an organisation hold this, removing all it has that is not in it."""
    held = present.holdings.get(holding.organisation, Holding(holding.organisation))
    changes = [Change(Sign.ADD, holding.organisation, "", holding)]
    wanted = {domain.name: domain for domain in holding.domains}
    for domain in held.domains:
        if domain.name not in wanted:
            changes.append(Change(Sign.REMOVE, holding.organisation, "", domain))
            continue
        kept = {item.local_part for item in wanted[domain.name].mailboxes + wanted[domain.name].aliases}
        changes += [
            Change(Sign.REMOVE, holding.organisation, domain.name, item)
            for item in domain.mailboxes + domain.aliases
            if item.local_part not in kept
        ]
    for domain in holding.domains:
        changes.append(Change(Sign.ADD, holding.organisation, "", domain))
        changes += [
            Change(Sign.ADD, holding.organisation, domain.name, item)
            for item in domain.mailboxes + domain.aliases + domain.keys
        ]
    return changes


class CountingPool(Pool):
    """A pool that writes down how many rows' worth of questions each lookup had."""

    def __init__(self, *args: object, **terms: object) -> None:
        super().__init__(*args, **terms)
        self.asked: list[int] = []
        self.queries = 0

    async def query(self, sql: str, params: tuple[object, ...] = (), **terms: float) -> list[tuple[object, ...]]:
        self.queries += 1
        if "join domains" in sql:
            self.asked.append(len(params[0]))
        return await super().query(sql, params, **terms)


class PostgresTest(TestCase):
    """A database, its tenants, and a pool for the directory under test."""

    async def setUp(self) -> None:
        self.parameters = database()
        self.pool = CountingPool(reactor, self.parameters, 2)
        self.addCleanup(lambda: started(self.pool.stop()))
        await self.pool.start()
        self.tenants = Tenants(self.pool, Sealing())

    async def change(self, holding: Holding) -> None:
        await self.tenants.change([holding.organisation], [], lambda present: replacing(holding, present), NOW)


class PostgresDirectoryTest(DirectoryContract, PostgresTest):
    """With real news: what the triggers tell reaches the cache."""

    async def setUp(self) -> None:
        await super().setUp()
        wakeups = PostgresWakeups(reactor, self.parameters, MemoryJournal(), ("mtad_directory", "mtad_test"))
        self.news: list[str] = []
        self.arrived: Deferred[None] = Deferred()
        self.directory = PostgresDirectory(self.pool, reactor, wakeups, Sealing())
        wakeups.listen(self.heard, lambda: self.heard("mtad_test", ""))
        self.addCleanup(lambda: started(wakeups.stop()))
        wakeups.start()
        await self.arrived

    def heard(self, channel: str, payload: str) -> None:
        if channel == "mtad_directory":
            self.news.append(payload)
        elif not self.arrived.called:
            self.arrived.callback(None)

    async def told(self) -> None:
        """Return when all that was committed so far was heard: news comes in the order of the commits."""
        self.arrived = Deferred()
        await self.pool.query("notify mtad_test")
        await self.arrived

    async def hold(self, holding: Holding) -> None:
        await self.change(holding)
        await self.told()

    async def want(self, domain: str, tls: TlsLevel | None) -> None:
        done = remove_destination(self.pool, domain) if tls is None else set_destination(self.pool, domain, tls)
        await done
        await self.told()

    async def test_a_destination_is_news_when_it_changes_and_only_then(self) -> None:
        for change, news in (
            (set_destination(self.pool, "remote.example", TlsLevel.NONE), True),
            (set_destination(self.pool, "remote.example", TlsLevel.NONE), False),
            (set_destination(self.pool, "remote.example", TlsLevel.MAY), True),
            (remove_destination(self.pool, "remote.example"), True),
            (remove_destination(self.pool, "remote.example"), False),
        ):
            self.news.clear()
            self.assertEqual(await change, news)
            await self.told()
            self.assertEqual(set(self.news), {"domain:remote.example"} if news else set())

    async def test_a_renamed_mailbox_is_told_by_both_names(self) -> None:
        await self.hold(ACME)
        await self.entry("alice@acme.example")
        self.news.clear()
        await self.pool.query("update mailboxes set folded = 'carol', local_part = 'carol' where folded = 'alice'")
        await self.told()
        self.assertEqual(sorted(self.news), ["address:alice@acme.example", "address:carol@acme.example"])
        self.assertIsNone((await self.entry("alice@acme.example")).behind)

    async def test_a_statement_of_many_rows_is_one_piece_of_news(self) -> None:
        many = tuple(HeldMailbox(f"user{n}") for n in range(101))
        await self.hold(Holding("acme", None, (HeldDomain("acme.example", True, mailboxes=many),)))
        self.assertEqual(sorted(self.news), ["all", "domain:acme.example"])

    async def test_a_permission_is_news_of_its_mailbox(self) -> None:
        await self.hold(SHOP)
        ann = from_plain("ann@shop.example")
        await self.directory.credential(ann)
        self.news.clear()
        await self.pool.query("update user_domain_permissions set what = 'new.example' where what = 'shop.example'")
        await self.told()
        self.assertEqual(self.news, ["address:ann@shop.example"])
        self.assertEqual((await self.directory.credential(ann)).send_as, ("*@acme.example", "new.example"))

    async def test_nothing_is_told_of_what_did_not_change(self) -> None:
        await self.pool.query("update mailboxes set enabled = true where false")
        await self.told()
        self.assertEqual(self.news, [])


class PostgresCachingTest(PostgresTest):
    """With news from a twin: what is asked, what is remembered, and what is not."""

    timeout = 20

    async def setUp(self) -> None:
        await super().setUp()
        await self.change(ACME)
        self.wakeups = MemoryWakeups()
        self.directory = PostgresDirectory(self.pool, reactor, self.wakeups, Sealing())

    def ask(self, text: str) -> "Deferred[Entry]":
        return started(self.directory.entry(from_plain(text)))

    async def test_lookups_of_one_turn_are_one_query(self) -> None:
        asked = ["alice@acme.example", "bob@acme.example", "ALICE@acme.example", "x@none.example"]
        answers = await gatherResults([*map(self.ask, asked), started(self.directory.domain("plain.example"))])
        self.assertEqual(self.pool.asked, [4])
        self.assertEqual([answer.behind and answer.behind.address.local_part for answer in answers[:4]],
                         ["Alice", "bob", "Alice", None])  # fmt: skip
        self.assertEqual(answers[4].name, "plain.example")

    async def test_credentials_are_remembered_until_there_is_news(self) -> None:
        ask = self.directory.credential
        alice, none = await ask(ALICE), await ask(from_plain("nobody@acme.example"))
        await self.pool.stop()
        self.assertEqual((await ask(ALICE), await ask(from_plain("NOBODY@acme.example"))), (alice, none))
        for tell in (
            lambda: self.wakeups.notify("mtad_directory", "domain:acme.example"),
            self.wakeups.lose,
        ):
            tell()
            with self.assertRaises(Unavailable):
                await ask(ALICE)

    async def test_what_tls_there_must_be_is_known_with_the_domain(self) -> None:
        await self.directory.domain("remote.example")
        await self.directory.domain("plain.example")
        asked = len(self.pool.asked)
        self.assertIsNone(await self.directory.tls_level("remote.example", "plain.example"))
        self.assertEqual(len(self.pool.asked), asked)
        self.wakeups.notify("mtad_directory", "domain:remote.example")
        await self.directory.tls_level("remote.example", "plain.example")
        self.assertEqual(len(self.pool.asked), asked + 1)

    async def test_very_many_lookups_are_several_queries(self) -> None:
        answers = await gatherResults([self.ask(f"user{n}@acme.example") for n in range(1001)])
        self.assertEqual(self.pool.asked, [1000, 1])
        self.assertTrue(all(answer.domain and not answer.behind for answer in answers))

    async def test_answers_are_remembered_also_that_nobody_was_there(self) -> None:
        asked = ["alice@acme.example", "nobody@acme.example", "x@none.example"]
        first = [await self.ask(text) for text in asked]
        count = len(self.pool.asked)
        self.assertEqual([await self.ask(text) for text in asked], first)
        self.assertEqual(await self.ask("y@none.example"), Entry(None, None))
        self.assertEqual((await self.directory.domain("acme.example")).name, "acme.example")
        self.assertIsNone(await self.directory.domain("none.example"))
        self.assertEqual(len(self.pool.asked), count)

    async def test_what_was_asked_is_answered_while_the_database_is_away_and_nothing_else(self) -> None:
        alice = await self.ask("alice@acme.example")
        await self.pool.stop()
        self.assertEqual(await self.ask("alice@acme.example"), alice)
        failures = await gatherResults(
            [self.ask(f"{name}@acme.example").addErrback(lambda failure: failure.type) for name in ("bob", "sales")]
        )
        self.assertEqual(failures, [Unavailable, Unavailable])

    async def test_news_and_losses_make_it_ask_again(self) -> None:
        for tell in (
            lambda: self.wakeups.notify("mtad_directory", "address:alice@acme.example"),
            lambda: self.wakeups.notify("mtad_directory", "domain:acme.example"),
            lambda: self.wakeups.notify("mtad_directory", "all"),
            self.wakeups.lose,
        ):
            await self.ask("alice@acme.example")
            count = len(self.pool.asked)
            await self.ask("alice@acme.example")
            self.assertEqual(len(self.pool.asked), count)
            tell()
            await self.ask("alice@acme.example")
            self.assertEqual(len(self.pool.asked), count + 1)

    async def test_news_of_other_channels_and_addresses_changes_nothing(self) -> None:
        await self.ask("alice@acme.example")
        self.wakeups.notify("mtad_queue", "all")
        self.wakeups.notify("mtad_directory", "address:bob@acme.example")
        await self.ask("alice@acme.example")
        self.assertEqual(self.pool.asked, [1])

    async def test_an_answer_overtaken_by_news_is_given_but_not_kept(self) -> None:
        blocker = psycopg2.connect(**self.parameters)
        self.addCleanup(blocker.close)
        blocker.cursor().execute("lock table mailboxes in access exclusive mode")
        answer = self.ask("alice@acme.example")
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0, reactor.callLater, 0, waiting.callback, None)
        await waiting
        self.wakeups.notify("mtad_directory", "domain:acme.example")
        blocker.rollback()
        self.assertIsNotNone((await answer).behind)
        await self.ask("alice@acme.example")
        self.assertEqual(self.pool.asked, [1, 1])

    async def test_keys_are_remembered_until_news_of_their_domain_or_a_loss(self) -> None:
        key = HeldKey("s1", "ed25519", "p1", KeyState.ACTIVE, b"PEM")
        await self.change(Holding("acme", None, (HeldDomain("acme.example", True, keys=(key,)),)))
        for tell in (lambda: self.wakeups.notify("mtad_directory", "domain:acme.example"), self.wakeups.lose):
            before = await self.directory.keys("acme.example")
            count = self.pool.queries
            self.wakeups.notify("mtad_directory", "domain:plain.example")
            self.assertEqual(await self.directory.keys("acme.example"), before)
            self.assertEqual(self.pool.queries, count)
            tell()
            await self.directory.keys("acme.example")
            self.assertEqual(self.pool.queries, count + 1)

    async def test_without_the_database_nobody_can_say_what_the_keys_are(self) -> None:
        await self.pool.stop()
        with self.assertRaises(Unavailable):
            await self.directory.keys("acme.example")

    async def test_a_caller_that_goes_away_harms_nobody(self) -> None:
        gone, stays = self.ask("alice@acme.example"), self.ask("alice@acme.example")
        gone.addErrback(lambda failure: None)
        gone.cancel()
        self.assertIsNotNone((await stays).behind)
