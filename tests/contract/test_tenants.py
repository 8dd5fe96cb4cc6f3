"""Tenants in PostgreSQL: what is written is what is read, whole or not at all."""

from pathlib import Path

import psycopg2
from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mtad.adapters.passwords import verify_password
from mtad.adapters.postgres.dkim_keys import add_keys, keys_of, move_keys
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.postgres.tenants import Present, Tenants, delivery_from_text
from mtad.adapters.sealing import Sealing
from mtad.config.decoding import decode
from mtad.config.document import Document, read
from mtad.ctl.apply import applied
from mtad.ctl.difference import describe, difference
from mtad.ctl.keys import brought
from mtad.ctl.tenancy import Tenancy
from mtad.model.address import from_plain
from mtad.model.authentication import OwnChecks, Strictness
from mtad.model.dkim import Key, KeyMove, KeyState
from mtad.model.errors import InvalidInput
from mtad.model.holdings import Change, HeldAlias, HeldDomain, HeldKey, HeldMailbox, Holding
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import LmtpDelivery, MaildirDelivery, SmtpDelivery
from mtad.smtp.scram import is_of
from mtad.verification import keys
from tests.stores import database

NOW = 1_800_000_000.5
ODD = 'o\'ne\\il "%s" {x}\u00e9'
ALICE, BOB = from_plain("alice@acme.example"), from_plain(f"{ODD}@acme.example")
CHECKS = OwnChecks(Strictness.OFF, None, Strictness.ENFORCE)
ACME = Holding(
    "acme",
    "hostmaster@acme.example",
    (
        HeldDomain(
            "acme.example",
            True,
            ALICE,
            LmtpDelivery("/run/lm:tp"),
            (
                HeldMailbox(
                    "Alice", "$argon2id$x", send_as=("*@shop.example", "acme.example"), scram="SCRAM-SHA-256$x"
                ),
                HeldMailbox(ODD, None, False, ("acme.example",)),
            ),
            (HeldAlias("sales", (ALICE, BOB)), HeldAlias("team", (from_plain("sales@acme.example"),))),
            (
                HeldKey("s1", "rsa2048", "p1", KeyState.ACTIVE, b"PEM"),
                HeldKey("s2", "ed25519", "p2", KeyState.RETIRING, b"PEM"),
            ),
        ),
        HeldDomain("maildir.example", True, delivery=MaildirDelivery(), checks=CHECKS),
        HeldDomain("path.example", delivery=MaildirDelivery("/srv/mail: here"), check_from=False),
        HeldDomain("smtp.example", True, delivery=SmtpDelivery("127.0.0.1:2526"), outbound_tls=TlsLevel.VERIFY),
    ),
)


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class HouseTest(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        self.parameters = database()
        self.pool = Pool(reactor, self.parameters, 2)
        self.addCleanup(lambda: started(self.pool.stop()))
        await self.pool.start()
        self.tenants = Tenants(self.pool, Sealing())

    async def hold(self, *holdings: Holding) -> list[str]:
        names = [holding.organisation for holding in holdings]
        changes = await self.tenants.change(names, [], lambda present: difference(holdings, present), NOW)
        return [describe(change) for change in changes]

    async def held(self, name: str) -> Holding | None:
        return (await self.tenants.present([name])).holdings.get(name)


class TenantsTest(HouseTest):
    async def test_what_was_written_is_read_back(self) -> None:
        self.assertIsNone(await self.held("acme"))
        self.assertEqual(len(await self.hold(ACME)), 11)
        self.assertEqual(await self.held("acme"), ACME)
        self.assertEqual(await self.hold(ACME), [])

    async def test_any_holding_can_become_any_other(self) -> None:
        ways = (
            Holding("acme", scram=False),
            ACME,
            Holding("acme", None, (HeldDomain("acme.example", mailboxes=(HeldMailbox("sales"),)),)),
            Holding("acme", "x@y.example", (HeldDomain("acme.example", aliases=(HeldAlias("Alice", (ALICE,)),)),)),
            ACME,
        )
        for holding in ways:
            await self.hold(holding)
            self.assertEqual(await self.held("acme"), holding)

    async def test_other_organisations_are_not_touched(self) -> None:
        other = Holding("other", None, (HeldDomain("other.example", mailboxes=(HeldMailbox("alice"),)),))
        await self.hold(ACME, other)
        await self.hold(Holding("acme"))
        self.assertEqual(await self.held("other"), other)
        self.assertEqual(await self.held("system"), Holding("system"))

    async def test_owners_are_told(self) -> None:
        await self.hold(ACME)
        present = await self.tenants.present([], ["acme.example", "free.example"])
        self.assertEqual(present, Present({}, {"acme.example": "acme"}))

    async def test_very_many_mailboxes(self) -> None:
        many = tuple(HeldMailbox(f"user{n:05}") for n in range(6000))
        crowd = Holding("crowd", None, (HeldDomain("crowd.example", mailboxes=many),))
        await self.hold(crowd)
        self.assertEqual(await self.held("crowd"), crowd)

    async def test_times_of_claim_and_verification_are_those_of_the_first_time(self) -> None:
        await self.hold(ACME)
        times = "select name, extract(epoch from claimed_at)::float8, extract(epoch from verified_at)::float8"
        first = await self.pool.query(f"{times} from domains order by name")
        self.assertEqual(first[0], ("acme.example", NOW, NOW))
        self.assertEqual(first[2], ("path.example", NOW, None))
        changed = Holding("acme", None, tuple(HeldDomain(domain.name, True) for domain in ACME.domains))
        await self.tenants.change(["acme"], [], lambda present: difference([changed], present), NOW + 60)
        second = await self.pool.query(f"{times} from domains order by name")
        self.assertEqual(second[:2], first[:2])
        self.assertEqual(second[2], ("path.example", NOW, NOW + 60))

    async def test_a_password_that_older_code_changes_takes_its_verifier_along(self) -> None:
        await self.hold(ACME)
        own = "update mailboxes set {} where local_part = 'Alice' returning scram"
        for change, left in (
            ("enabled = false", "SCRAM-SHA-256$x"),
            ("password_hash = '$argon2id$x'", "SCRAM-SHA-256$x"),
            ("password_hash = '$argon2id$y', scram = 'SCRAM-SHA-256$y'", "SCRAM-SHA-256$y"),
            ("password_hash = '$argon2id$z'", None),
        ):
            self.assertEqual(await self.pool.query(own.format(change)), [(left,)], change)

    async def test_nothing_is_changed_when_the_decision_or_the_database_refuses(self) -> None:
        await self.hold(ACME)

        def refuse(present: Present) -> list[Change]:
            raise InvalidInput("file", "no")

        with self.assertRaises(InvalidInput):
            await self.tenants.change(["acme"], [], refuse, NOW)
        taken = Holding("other", None, (HeldDomain("other.example", mailboxes=(HeldMailbox("x" * 2000),)),))
        with self.assertRaises(psycopg2.errors.CheckViolation):
            await self.hold(taken)
        self.assertEqual(await self.held("acme"), ACME)
        self.assertIsNone(await self.held("other"))

    async def test_keys_are_retired_and_taken_back_and_stay_what_they_are(self) -> None:
        def acme(*keys: HeldKey) -> Holding:
            return Holding("acme", None, (HeldDomain("acme.example", keys=keys),))

        await self.hold(acme(HeldKey("s1", "rsa2048", "p1", KeyState.ACTIVE, b"PEM")))
        await self.hold(acme(HeldKey("s1", "rsa2048", "p1", KeyState.RETIRING)))
        self.assertEqual(await self.held("acme"), acme(HeldKey("s1", "rsa2048", "p1", KeyState.RETIRING)))
        times = "select private_key, extract(epoch from created_at)::float8, extract(epoch from retiring_at)::float8"
        ((private_key, created_at, retiring_at),) = await self.pool.query(f"{times} from dkim_keys")
        self.assertEqual((bytes(private_key), created_at, retiring_at), (b"PEM", NOW, NOW))
        await self.hold(acme(HeldKey("s1", "rsa2048", "p1", KeyState.ACTIVE)))
        ((_, created_at, retiring_at),) = await self.pool.query(f"{times} from dkim_keys")
        self.assertEqual((created_at, retiring_at), (NOW, None))

    async def test_the_keys_of_a_domain(self) -> None:
        await self.hold(ACME)
        self.assertEqual(
            await keys_of(self.pool, "acme.example"),
            [
                Key("s1", "rsa2048", "p1", KeyState.ACTIVE, NOW, None, NOW),
                Key("s2", "ed25519", "p2", KeyState.RETIRING, NOW, None, NOW, NOW),
            ],
        )
        self.assertEqual(await keys_of(self.pool, "maildir.example"), [])
        self.assertIsNone(await keys_of(self.pool, "elsewhere.example"))

    async def test_changes_wait_for_one_another(self) -> None:
        blocker = psycopg2.connect(**self.parameters)
        self.addCleanup(blocker.close)
        blocker.cursor().execute("lock table domains in share row exclusive mode")
        self.assertIsNone(await self.held("acme"))
        waiting = started(self.hold(ACME))
        while not await self.pool.query("select 1 from pg_locks where not granted"):
            self.assertNoResult(waiting)
        blocker.rollback()
        self.assertEqual(len(await waiting), 11)

    def test_a_delivery_this_code_does_not_know_is_an_error(self) -> None:
        self.assertRaises(ValueError, delivery_from_text, "pigeon:loft")


class AppliedTest(HouseTest):
    """The file of `mtactl apply`, applied."""

    FILE = """
organisations:
  - name: acme
    domains:
      - {name: acme.example, verified: true, mailboxes: [{local_part: alice, password: "one"}, {local_part: bob}]}
"""

    def setUp(self) -> Deferred:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        return started(super().setUp())

    def document(self, text: str) -> Document:
        path = self.directory / "tenants.yaml"
        path.write_text(text)
        return read(path)

    async def apply(self, text: str, dry_run: bool = False, replace_keys: bool = False) -> list[str]:
        document = self.document(text)
        tenancy = decode(document, Tenancy)
        pairs = brought(tenancy, document.path.parent, document.wrong)
        changes = await applied(self.tenants, tenancy, document.wrong, pairs, dry_run, replace_keys)
        return [describe(change) for change in changes]

    async def alice(self) -> HeldMailbox:
        return (await self.held("acme")).domains[0].mailboxes[0]

    async def password_hash(self) -> str:
        return (await self.alice()).password_hash

    async def test_applying_twice_changes_nothing_the_second_time(self) -> None:
        first = await self.apply(self.FILE)
        self.assertEqual(first[2:], ["+ mailbox alice@acme.example: password", "+ mailbox bob@acme.example"])
        self.assertEqual(await self.apply(self.FILE), [])

    async def test_a_dry_run_tells_the_same_and_changes_nothing(self) -> None:
        told = await self.apply(self.FILE, dry_run=True)
        self.assertIsNone(await self.held("acme"))
        self.assertEqual(await self.apply(self.FILE), told)

    async def test_passwords_are_hashed_and_change_when_the_file_does(self) -> None:
        await self.apply(self.FILE)
        first = await self.password_hash()
        self.assertTrue(verify_password(first, "one"))
        self.assertEqual(
            await self.apply(self.FILE.replace('"one"', '"two"')), ["~ mailbox alice@acme.example: password"]
        )
        second = await self.password_hash()
        self.assertTrue(verify_password(second, "two"))
        self.assertEqual(await self.apply(self.FILE.replace(', password: "one"', "")), [])
        self.assertEqual(await self.password_hash(), second)

    async def test_verifiers_are_of_the_password_and_made_once(self) -> None:
        await self.apply(self.FILE)
        first = await self.alice()
        self.assertTrue(is_of(first.scram, "one"))
        self.assertEqual(await self.apply(self.FILE), [])
        self.assertEqual(await self.alice(), first)
        await self.apply(self.FILE.replace('"one"', '"two"'))
        self.assertTrue(is_of((await self.alice()).scram, "two"))
        await self.pool.query("update mailboxes set scram = 'SCRAM-SHA-256$4096:x' returning 1")
        self.assertEqual(
            await self.apply(self.FILE.replace('"one"', '"two"')), ["~ mailbox alice@acme.example: scram verifier"]
        )
        self.assertTrue(is_of((await self.alice()).scram, "two"))

    async def test_an_organisation_without_scram_has_no_verifiers(self) -> None:
        off = self.FILE.replace("name: acme\n", "name: acme\n    scram: false\n")
        await self.apply(self.FILE)
        hashed = await self.password_hash()
        self.assertEqual(
            await self.apply(off),
            ["~ organisation acme: scram yes -> no", "~ mailbox alice@acme.example: scram verifier"],
        )
        self.assertEqual(await self.apply(off), [])
        self.assertEqual(await self.alice(), HeldMailbox("alice", hashed))
        await self.apply(self.FILE)
        self.assertTrue(is_of((await self.alice()).scram, "one"))

    def key_file(self, name: str, key: keys.KeyPair) -> Path:
        path = self.directory / name
        path.write_bytes(key.private_key)
        return path

    async def held_keys(self) -> list[HeldKey]:
        return list((await self.held("acme")).domains[0].keys)

    def with_keys(self, items: str) -> str:
        return self.FILE.replace("verified: true,", f"verified: true, dkim: [{items}],")

    async def test_keys_are_made_once(self) -> None:
        two = self.with_keys("{selector: s1}, {selector: s2, algorithm: ed25519}")
        self.assertEqual(
            (await self.apply(two))[2:4],
            [
                "+ dkim key s1._domainkey.acme.example: algorithm rsa2048",
                "+ dkim key s2._domainkey.acme.example: algorithm ed25519",
            ],
        )
        first = await self.held_keys()
        self.assertEqual(await self.apply(two), [])
        self.assertEqual(await self.apply(self.with_keys("{selector: s1, algorithm: rsa2048}, {selector: s2}")), [])
        self.assertEqual(await self.apply(self.FILE), [])
        self.assertEqual(await self.held_keys(), first)
        ((private_key,),) = await self.pool.query("select private_key from dkim_keys where selector = 's2'")
        self.assertEqual(keys.read(bytes(private_key)).public_key, first[1].public_key)

    async def test_a_key_of_ones_own(self) -> None:
        own, other = keys.generate("ed25519"), keys.generate("ed25519")
        named = self.with_keys(f"{{selector: s1, private_key_file: {self.key_file('own', own)}}}")
        self.assertIn("+ dkim key s1._domainkey.acme.example: algorithm ed25519", await self.apply(named))
        self.assertEqual(await self.held_keys(), [HeldKey("s1", "ed25519", own.public_key)])
        self.assertEqual(await self.apply(self.with_keys("{selector: s1}")), [])
        self.key_file("own", other)
        with self.assertRaisesRegex(InvalidInput, r"dkim\[0\]\.selector: s1 is an ed25519 key already and stays it"):
            await self.apply(named)
        self.assertEqual(await self.held_keys(), [HeldKey("s1", "ed25519", own.public_key)])

    async def test_a_selector_keeps_its_key(self) -> None:
        await self.apply(self.with_keys("{selector: s1, algorithm: ed25519}"))
        for dry_run in (True, False):
            with self.assertRaisesRegex(InvalidInput, r"selector: s1 is an ed25519 key already and stays it; take ano"):
                await self.apply(self.with_keys("{selector: s1, algorithm: rsa2048}"), dry_run)

    async def test_what_was_rotated_is_not_rotated_back(self) -> None:
        old = self.with_keys("{selector: s1, algorithm: ed25519}")
        await self.apply(old)
        successor = HeldKey("s2", "ed25519", "cA==", KeyState.GENERATED, b"private")

        async def rotate(cursor: Cursor) -> None:
            await add_keys(cursor, [("acme.example", successor)], 1.0, Sealing())
            for selector, before, after in (
                ("s2", KeyState.GENERATED, KeyState.PUBLISHED),
                ("s2", KeyState.PUBLISHED, KeyState.ACTIVE),
                ("s1", KeyState.ACTIVE, KeyState.RETIRING),
            ):
                await move_keys(cursor, [KeyMove("acme.example", selector, before, after)], 2.0)

        await self.pool.interact(rotate)
        said = r"dkim: s1 was retired and would sign again, s2 was made by mtactl dkim and would sign no more: list the"
        for dry_run in (True, False):
            with self.assertRaisesRegex(InvalidInput, said):
                await self.apply(old, dry_run)
        with self.assertRaisesRegex(InvalidInput, "dkim: s2 was made by mtactl dkim and would sign no more: list"):
            await self.apply(self.with_keys(""))
        states = {key.selector: key.state.value for key in await self.held_keys()}
        self.assertEqual(states, {"s1": "retiring", "s2": "active"})
        self.assertEqual(await self.apply(self.FILE), [])
        self.assertEqual(await self.apply(self.with_keys("{selector: s2}")), [])
        self.assertEqual(
            await self.apply(old, replace_keys=True),
            [
                "~ dkim key s1._domainkey.acme.example: state retiring -> active",
                "~ dkim key s2._domainkey.acme.example: state active -> retiring",
            ],
        )

    async def test_files_that_hold_no_key(self) -> None:
        ed25519 = self.key_file("ed25519", keys.generate("ed25519"))
        for key, said in {
            "private_key_file: none.pem": r"dkim\[0\]\.private_key_file: cannot be read: No such file or directory",
            "private_key_file: /dev/null": r"dkim\[0\]\.private_key_file: expected a private key as PEM",
            f"private_key_file: {ed25519}, algorithm: rsa2048": r"dkim\[0\]\.algorithm: expected ed25519, which is in",
        }.items():
            with self.assertRaisesRegex(InvalidInput, said):
                await self.apply(self.with_keys(f"{{selector: s1, {key}}}"))

    async def test_a_domain_of_another_organisation_is_refused_and_nothing_applied(self) -> None:
        await self.apply(self.FILE)
        theft = "organisations:\n- name: thief\n  domains:\n  - name: new.example\n  - name: ACME.example"
        with self.assertRaisesRegex(
            InvalidInput, r":5: organisations\[0\]\.domains\[1\]\.name: belongs to organisation acme"
        ):
            await self.apply(theft)
        self.assertIsNone(await self.held("thief"))
