"""IDomainCare and IKeyCare: whose turn a domain is, what is written of it, and what time does to keys."""

from dataclasses import replace

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.postgres.directory import PostgresDirectory
from mtad.adapters.postgres.dkim_keys import add_keys
from mtad.adapters.postgres.domain_checks import PostgresDomainCare, hosted_domains
from mtad.adapters.postgres.events import TELL, encoded
from mtad.adapters.postgres.key_care import PostgresKeyCare
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.tenants import Tenants
from mtad.adapters.sealing import Sealing
from mtad.ctl.difference import difference
from mtad.interfaces import IDirectory, IDomainCare, IKeyCare
from mtad.model.dkim import SIGNED_LATE_SECONDS, VERIFIED_LATE_SECONDS, Key, KeyMove, KeyState
from mtad.model.domain_check import Check, HostedDomain, Locked, Noted, Sealed, Status, Subject
from mtad.model.errors import Unavailable
from mtad.model.event import DELIVERED, Event, Happening
from mtad.model.holdings import HeldDomain, HeldKey, Holding
from mtad.model.identity import first_id
from mtad.model.job import Message
from mtad.model.master_key import MasterKey
from mtad.testing.directory import MemoryDirectory
from mtad.testing.domain_care import MemoryDomainCare
from mtad.testing.store import MemoryStore
from mtad.testing.wakeups import MemoryWakeups
from tests.stores import database

NOW = 1_795_000_000.25
DAY = 86400.0
GENERATED, PUBLISHED, ACTIVE = KeyState.GENERATED, KeyState.PUBLISHED, KeyState.ACTIVE
RETIRING, REVOKED = KeyState.RETIRING, KeyState.REVOKED
OLD, NEW = MasterKey("old", b"o" * 32), MasterKey("new", b"n" * 32)


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


def held(selector: str, state: KeyState = ACTIVE) -> HeldKey:
    return HeldKey(selector, "ed25519", f"p of {selector}", state, f"PEM of {selector}".encode())


ACME = Holding(
    "acme",
    None,
    (
        HeldDomain("acme.example", True, keys=(held("new", GENERATED), held("s1"), held("s2", RETIRING))),
        HeldDomain("claimed.example"),
    ),
)


def check(subject: Subject = Subject.MX, status: Status = Status.GOOD, failures: int = 0) -> Check:
    return Check(subject, status, 'o\'dd "%s"', NOW + 1, NOW + 2, failures, NOW + 1 if failures else None)


def noted(
    domain: HostedDomain, due: float, *checks: Check, proven: bool = False, moves: tuple[KeyMove, ...] = ()
) -> Noted:
    return Noted(domain, checks, moves, proven, due)


class DomainCareContract:
    """Subclasses give `self.care`, `self.keys`, `self.directory` and what is not implemented here."""

    timeout = 30
    care: IDomainCare
    keys: IKeyCare
    directory: IDirectory

    async def hold(self, holding: Holding) -> None:
        """Let an organisation hold this from NOW on."""
        raise NotImplementedError

    async def node(self, name: str) -> None:
        """Let there be a node of that name."""
        raise NotImplementedError

    async def wait(self, number: int, direction: str) -> None:
        """Let a message of that id wait, of acme.example's organisation."""
        raise NotImplementedError

    async def leave(self, number: int, at: float) -> None:
        """Let it be delivered at that time, and told of."""
        raise NotImplementedError

    async def acme(self, name: str = "acme.example") -> HostedDomain:
        found = await self.care.hosted(name)
        assert found is not None
        return found

    def test_they_provide_the_ports(self) -> None:
        self.assertTrue(verifyObject(IDomainCare, self.care))
        self.assertTrue(verifyObject(IKeyCare, self.keys))

    async def test_a_domain_is_known_with_its_keys(self) -> None:
        await self.hold(ACME)
        found = await self.acme()
        self.assertEqual(
            (found.name, found.organisation, found.verified, found.claimed_at, found.checks),
            ("acme.example", "acme", True, NOW, ()),
        )
        self.assertEqual(
            found.keys,
            (
                Key("new", "ed25519", "p of new", GENERATED, NOW),
                Key("s1", "ed25519", "p of s1", ACTIVE, NOW, None, NOW),
                replace(Key("s2", "ed25519", "p of s2", RETIRING, NOW, None, found.keys[2].active_at), retiring_at=NOW),
            ),
        )
        claimed = await self.acme("claimed.example")
        self.assertEqual((claimed.verified, claimed.keys), (False, ()))
        self.assertNotEqual(claimed.challenge, found.challenge)
        self.assertGreater(len(claimed.challenge), 12)
        self.assertIsNone(await self.care.hosted("elsewhere.example"))

    async def test_each_is_looked_at_by_one_and_again_when_it_is_due(self) -> None:
        await self.hold(ACME)
        self.assertEqual(len(await self.care.due(NOW, NOW + 900, 1)), 1)
        self.assertEqual(len(await self.care.due(NOW, NOW + 900, 10)), 1)
        self.assertEqual(await self.care.due(NOW + 899, NOW + 1800, 10), [])
        again = await self.care.due(NOW + 900, NOW + 1800, 10)
        self.assertEqual(sorted(domain.name for domain in again), ["acme.example", "claimed.example"])
        for domain in again:
            due = NOW + 3000 if domain.name == "acme.example" else NOW + 2000
            await self.care.note(noted(domain, due, check()), NOW + 901)
        self.assertEqual(await self.care.due(NOW + 1999, NOW + 9999, 10), [])
        names = [domain.name for domain in await self.care.due(NOW + 5000, NOW + 9999, 1)]
        self.assertEqual(names, ["claimed.example"], "the longest overdue first")

    async def test_what_is_noted_is_known_and_counted(self) -> None:
        await self.hold(ACME)
        checks = (check(Subject.DMARC, Status.BAD, 3), check(Subject.MX))
        await self.care.note(noted(await self.acme(), NOW + 100, *checks), NOW)
        found = await self.acme()
        self.assertEqual(sorted(found.checks, key=lambda each: each.subject.value), list(checks))
        self.assertEqual(found.check(Subject.MX), checks[1])
        self.assertIsNone(found.check(Subject.SPF))
        await self.care.note(noted(await self.acme("claimed.example"), NOW, check(Subject.MX)), NOW)
        counted = {subject: dict(counts) for subject, counts in (await self.care.statuses()).items()}
        self.assertEqual(counted, {Subject.MX: {Status.GOOD: 2}, Subject.DMARC: {Status.BAD: 1}})
        await self.care.note(noted(found, NOW, replace(checks[1], status=Status.UNKNOWN), checks[0]), NOW)
        self.assertIs((await self.acme()).check(Subject.MX).status, Status.UNKNOWN)

    async def test_who_proves_a_domain_has_it(self) -> None:
        await self.hold(ACME)
        self.assertFalse((await self.directory.domain("claimed.example")).verified)
        await self.care.note(noted(await self.acme("claimed.example"), NOW, check(), proven=True), NOW + 5)
        self.assertTrue((await self.acme("claimed.example")).verified)
        self.assertTrue((await self.directory.domain("claimed.example")).verified)

    async def test_a_domain_that_is_gone_is_not_missed(self) -> None:
        await self.hold(ACME)
        gone = await self.acme()
        await self.hold(Holding("acme"))
        moves = (KeyMove("acme.example", "new", GENERATED, PUBLISHED),)
        self.assertEqual(await self.care.note(noted(gone, NOW, check(), proven=True, moves=moves), NOW), [])
        self.assertIsNone(await self.care.hosted("acme.example"))

    async def test_keys_move_on_once(self) -> None:
        await self.hold(ACME)
        self.assertEqual(await self.selectors(), ["s1"])
        steps = (
            (GENERATED, PUBLISHED, "published_at"),
            (PUBLISHED, ACTIVE, "active_at"),
            (ACTIVE, RETIRING, "retiring_at"),
        )
        for number, (before, after, name) in enumerate(steps, 1):
            moves = (KeyMove("acme.example", "new", before, after), KeyMove("acme.example", "x", before, after))
            now = NOW + number
            self.assertEqual(await self.care.note(noted(await self.acme(), NOW, check(), moves=moves), now), [moves[0]])
            self.assertEqual(await self.care.note(noted(await self.acme(), NOW, check(), moves=moves), now + 9), [])
            key = (await self.acme()).keys[0]
            self.assertEqual((key.state, getattr(key, name)), (after, now))
            self.assertEqual(await self.selectors(), ["new", "s1"] if after is ACTIVE else ["s1"])

    async def selectors(self) -> list[str]:
        return [key.selector for key in await self.directory.keys("acme.example")]

    async def test_what_nobody_needs_is_revoked(self) -> None:
        await self.hold(ACME)
        self.assertEqual(await self.keys.revoke(NOW, NOW + 10), [])
        self.assertEqual(await self.keys.revoke(NOW + 1, NOW + 10), [KeyMove("acme.example", "s2", RETIRING, REVOKED)])
        key = (await self.acme()).keys[2]
        self.assertEqual((key.state, key.revoked_at, key.sealed_with), (REVOKED, NOW + 10, None))
        self.assertEqual(await self.keys.revoke(NOW + 1, NOW + 10), [])

    async def test_a_key_stays_as_long_as_mail_that_it_may_have_signed(self) -> None:
        await self.hold(ACME)
        late = NOW + 40 * DAY
        held, foreign, young = (first_id(NOW + after) for after in (-9.0, -8.0, 2 * SIGNED_LATE_SECONDS))
        await self.wait(young, "outbound")
        await self.wait(foreign, "inbound")
        await self.wait(held, "outbound")
        self.assertEqual(await self.keys.revoke(NOW + 1, late), [])
        await self.leave(young, late)
        await self.leave(foreign, late - VERIFIED_LATE_SECONDS - 1)
        await self.leave(held, late)
        self.assertEqual(await self.keys.revoke(NOW + 1, late + DAY - 1), [])
        self.assertEqual(len(await self.keys.revoke(NOW + 1, late + DAY + 1)), 1)

    async def test_neither_younger_mail_nor_what_came_from_outside_keeps_one(self) -> None:
        await self.hold(ACME)
        await self.wait(first_id(NOW + 2 * SIGNED_LATE_SECONDS), "outbound")
        await self.wait(first_id(NOW - 8.0), "inbound")
        self.assertEqual(len(await self.keys.revoke(NOW + 1, NOW + 40 * DAY)), 1)

    async def test_the_names_of_nodes(self) -> None:
        self.assertEqual(await self.care.names(), frozenset())
        await self.node("mx1.test")
        self.assertEqual(await self.care.names(), frozenset({"mx1.test"}))


class MemoryDomainCareTest(DomainCareContract, TestCase):
    def setUp(self) -> None:
        self.directory = MemoryDirectory(Clock())
        self.store = MemoryStore(Clock())
        self.care = self.keys = MemoryDomainCare(self.directory, lambda: NOW, self.store)

    async def hold(self, holding: Holding) -> None:
        self.directory.hold(holding, NOW)

    async def node(self, name: str) -> None:
        self.care.hostnames.add(name)

    async def wait(self, number: int, direction: str) -> None:
        acme = await self.directory.domain("acme.example")
        self.store.messages[number] = Message(number, acme.organisation, direction, None, (), number, 1, NOW, NOW)

    async def leave(self, number: int, at: float) -> None:
        message = self.store.messages.pop(number)
        self.store.happenings.append(Happening(number, message.organisation, at, (Event(DELIVERED, at),)))

    async def test_it_can_be_away(self) -> None:
        self.care.reachable = False
        with self.assertRaises(Unavailable):
            await self.care.hosted("acme.example")

    async def test_there_is_so_much_to_seal(self) -> None:
        self.care.unsealed = 3
        self.assertEqual([(await self.keys.seal(2)).count for _ in range(3)], [2, 1, 0])


class PostgresDomainCareTest(DomainCareContract, TestCase):
    async def setUp(self) -> None:
        self.pool = Pool(reactor, database(), 2)
        self.addCleanup(lambda: started(self.pool.stop()))
        await self.pool.start()
        self.care, self.keys = PostgresDomainCare(self.pool), PostgresKeyCare(self.pool, Sealing())

    @property
    def directory(self) -> PostgresDirectory:
        """A directory that remembers nothing yet."""
        return PostgresDirectory(self.pool, reactor, MemoryWakeups(), Sealing())

    async def hold(self, holding: Holding) -> None:
        tenants = Tenants(self.pool, Sealing())
        await tenants.change([holding.organisation], [], lambda present: difference([holding], present), NOW)

    async def node(self, name: str) -> None:
        await PostgresNodes(self.pool).join(name, NOW)

    async def wait(self, number: int, direction: str) -> None:
        await self.pool.query(
            "insert into messages (id, organisation, direction, recipients, content_id, copies, size, received_at)"
            " select %s, organisation, %s, 1, 1, 1, 1, now() from domains where name = 'acme.example'",
            (number, direction),
        )

    async def leave(self, number: int, at: float) -> None:
        gone = "delete from messages where id = %s returning organisation"
        ((organisation,),) = await self.pool.query(gone, (number,))
        await self.pool.query(TELL, (at, number, organisation, *encoded((Event(DELIVERED, at),))))

    async def test_two_at_once_get_different_ones(self) -> None:
        domains = tuple(HeldDomain(f"d{n}.example") for n in range(40))
        await self.hold(Holding("many", None, domains))
        asked = [started(self.care.due(NOW, NOW + 900, 20)) for _ in range(2)]
        found = [domain.name for answer in asked for domain in await answer]
        self.assertEqual((len(found), len(set(found))), (40, 40))

    async def test_a_new_key_makes_its_domain_due(self) -> None:
        await self.hold(ACME)
        await self.care.due(NOW, NOW + 9999, 10)
        added = await self.pool.interact(
            lambda cursor: add_keys(cursor, [("acme.example", held("next", GENERATED))], NOW + 5, Sealing())
        )
        self.assertEqual(added, 1)
        self.assertEqual([domain.name for domain in await self.care.due(NOW + 5, NOW + 9999, 10)], ["acme.example"])

    async def test_a_selector_is_never_taken_twice(self) -> None:
        await self.hold(ACME)
        again = [("acme.example", held("s1", GENERATED))]
        self.assertEqual(await self.pool.interact(lambda cursor: add_keys(cursor, again, NOW, Sealing())), 0)
        self.assertIs((await self.acme()).keys[1].state, ACTIVE)

    async def test_of_what_is_revoked_the_private_half_is_gone(self) -> None:
        await self.hold(ACME)
        await self.keys.revoke(NOW + 1, NOW + 10)
        rows = await self.pool.query("select selector from dkim_keys where private_key is null")
        self.assertEqual(rows, [("s2",)])

    async def test_the_list_of_domains(self) -> None:
        await self.hold(ACME)
        await self.hold(Holding("other", None, (HeldDomain("b.example"),)))
        names = [domain.name for domain in await hosted_domains(self.pool)]
        self.assertEqual(names, ["acme.example", "b.example", "claimed.example"])
        names = [domain.name for domain in await hosted_domains(self.pool, "other")]
        self.assertEqual(names, ["b.example"])

    # Sealing.

    async def sealed_with(self) -> dict[str, str | None]:
        return {key.selector: key.sealed_with for key in (await self.acme()).keys}

    async def private_keys(self, sealing: Sealing) -> list[bytes]:
        directory = PostgresDirectory(self.pool, reactor, MemoryWakeups(), sealing)
        return [key.private_key for key in await directory.keys("acme.example")]

    async def test_keys_in_clear_are_sealed_and_open(self) -> None:
        await self.hold(ACME)
        self.assertEqual(await self.keys.seal(10), Sealed(0), "without a master key")
        sealing = Sealing((OLD,))
        care = PostgresKeyCare(self.pool, sealing)
        self.assertEqual([(await care.seal(2)).count for _ in range(3)], [2, 1, 0])
        self.assertEqual(await self.sealed_with(), {"new": "old", "s1": "old", "s2": "old"})
        self.assertEqual(await self.private_keys(sealing), [b"PEM of s1"])
        rows = await self.pool.query("select private_key from dkim_keys")
        self.assertNotIn(b"PEM", b"".join(bytes(octets) for (octets,) in rows))
        with self.assertRaisesRegex(Unavailable, "master key old, which is not configured"):
            await self.private_keys(Sealing())
        locked = (await self.keys.seal(10)).locked
        self.assertEqual({(each.domain, each.master_key) for each in locked}, {("acme.example", "old")})
        self.assertEqual(len(locked), 3)

    async def test_with_a_new_master_key_all_are_sealed_anew(self) -> None:
        await self.hold(ACME)
        await PostgresKeyCare(self.pool, Sealing((OLD,))).seal(10)
        self.assertEqual((await PostgresKeyCare(self.pool, Sealing((NEW, OLD))).seal(10)).count, 3)
        self.assertEqual(await self.private_keys(Sealing((NEW,))), [b"PEM of s1"])

    async def test_what_cannot_be_opened_stays_and_keeps_nothing_else_from_its_turn(self) -> None:
        await self.hold(ACME)
        await PostgresKeyCare(self.pool, Sealing((OLD,))).seal(10)
        await self.hold(Holding("other", None, (HeldDomain("other.example", keys=(held("o"),)),)))
        care = PostgresKeyCare(self.pool, Sealing((NEW,)))
        self.assertEqual(await care.seal(1), Sealed(1))
        sealed = await care.seal(10)
        self.assertEqual(sealed.count, 0)
        self.assertEqual(
            sorted(sealed.locked, key=lambda locked: locked.selector),
            [Locked("acme.example", selector, "old") for selector in ("new", "s1", "s2")],
        )
        self.assertEqual(await self.sealed_with(), {"new": "old", "s1": "old", "s2": "old"})

    async def test_what_is_moved_to_another_selector_does_not_open(self) -> None:
        await self.hold(ACME)
        sealing = Sealing((OLD,))
        await PostgresKeyCare(self.pool, sealing).seal(10)
        await self.pool.query(
            "update dkim_keys k set private_key = o.private_key from dkim_keys o"
            " where k.selector = 's1' and o.selector = 's2' returning k.id"
        )
        with self.assertRaisesRegex(Unavailable, "does not open it"):
            await self.private_keys(sealing)

    async def test_new_keys_are_sealed_where_there_is_a_master_key(self) -> None:
        sealing = Sealing((NEW,))
        tenants = Tenants(self.pool, sealing)
        await tenants.change(["acme"], [], lambda present: difference([ACME], present), NOW)
        self.assertEqual(set((await self.sealed_with()).values()), {"new"})
        self.assertEqual(await self.private_keys(sealing), [b"PEM of s1"])
