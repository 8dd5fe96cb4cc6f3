"""mtad.domains.dns_check: what the DNS says of a domain, against what is expected of it, in zones of few lines."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.domains import dns_check
from mtad.domains.dns_check import Server
from mtad.domains.records import zone
from mtad.inbound.lookups import Lookups
from mtad.model.answer import Kind, Question, Status
from mtad.model.dkim import Key, KeyState, record_name, record_text
from mtad.model.domain_check import Finding, HostedDomain, Seen, Verdict
from mtad.testing.resolver import MemoryResolver
from mtad.verification.facts import Facts
from mtad.verification.keys import generate, publishes

T = TypeVar("T")

NAME = "acme.example"
RSA, ED25519, OTHER = generate("rsa2048"), generate("ed25519"), generate("ed25519")
DOMAIN = HostedDomain(1, NAME, "acme", True, 0.0, "abc")
SERVER = Server("mx.test", frozenset({"mx.test", "mx2.test"}))
GOOD, BAD, NOTHING, TROUBLE = Verdict.GOOD, Verdict.BAD, Verdict.NOTHING, Verdict.TROUBLE
OURS = {"mx.test": ["A 192.0.2.1", "AAAA 2001:db8::1"]}


def key(selector: str, state: KeyState, algorithm: str = "ed25519", public_key: str = ED25519.public_key) -> Key:
    return Key(selector, algorithm, public_key, state, 0.0)


class CheckCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.resolver = MemoryResolver(Clock())

    def run_(self, algorithm: Callable[[Facts], T], zone: dict[str, list[str]]) -> T:
        self.resolver.zone = zone
        return self.successResultOf(Deferred.fromCoroutine(Lookups(self.resolver, Clock()).run(algorithm)))

    def verdict(self, algorithm: Callable[[Facts], Finding], zone: dict[str, list[str]], *seen: str) -> Verdict:
        found = self.run_(algorithm, zone)
        for text in seen:
            self.assertIn(text, found.seen)
        return found.verdict


class OwnershipTest(CheckCase):
    def check(self, zone: dict[str, list[str]], *seen: str, domain: HostedDomain | None = None) -> Verdict:
        claimed = domain or replace(DOMAIN, verified=False)
        return self.verdict(lambda facts: dns_check.ownership(facts, claimed), zone, *seen)

    def test_the_challenge_proves_it(self) -> None:
        name = f"_mtad-challenge.{NAME}"
        self.assertIs(self.check({name: ["TXT x", "TXT mtad-domain-verification=abc"]}), GOOD)
        self.assertIs(self.check({name: ["TXT mtad-domain-verification=abd"]}, "=abd"), BAD)
        self.assertIs(self.check({NAME: ["TXT mtad-domain-verification=abc"]}, "NXDOMAIN"), BAD)
        self.resolver.outage = Status.SERVFAIL
        self.assertIs(self.check({}, "SERVFAIL"), TROUBLE)

    def test_what_is_verified_is_not_asked_for(self) -> None:
        self.assertIs(self.check({}, "verified", domain=DOMAIN), GOOD)
        self.assertEqual(self.resolver.asked, [])


class MxTest(CheckCase):
    def check(self, zone: dict[str, list[str]], *seen: str, server: Server = SERVER) -> Verdict:
        return self.verdict(lambda facts: dns_check.mx(facts, DOMAIN, server), zone, *seen)

    def test_one_of_them_is_this_server(self) -> None:
        for lines in (["MX 10 mx.test."], ["MX 5 far.test", "MX 10 MX.TEST"], ["MX 10 mx2.test"]):
            self.assertIs(self.check({NAME: lines}), GOOD, lines)
        self.assertIs(self.check({NAME: ["MX 10 a.test"], "a.test": ["A 192.0.2.1"], **OURS}, "10 a.test"), GOOD)
        self.assertIs(self.check({NAME: ["A 192.0.2.1"], **OURS}, "no MX"), GOOD)
        here = replace(SERVER, is_ours=lambda address: address == "192.0.2.7", sources=("192.0.2.8",))
        for address in ("192.0.2.7", "192.0.2.8"):
            self.assertIs(self.check({NAME: ["MX 1 a.test"], "a.test": [f"A {address}"]}, server=here), GOOD)

    def test_none_of_them_is(self) -> None:
        far = {"far.test": ["A 198.51.100.1"], **OURS}
        self.assertIs(self.check({NAME: ["MX 10 far.test"], **far}, "10 far.test"), BAD)
        self.assertIs(self.check({NAME: ["MX 0 ."], **far}, "0 ."), BAD)
        self.assertIs(self.check(far, "NXDOMAIN"), BAD)

    def test_trouble_is_no_failure(self) -> None:
        for trouble in (NAME, "far.test", "mx.test"):
            self.resolver.trouble = {trouble: Status.TIMEOUT}
            self.assertIs(self.check({NAME: ["MX 10 far.test"], "far.test": ["A 198.51.100.1"], **OURS}), TROUBLE)
        self.resolver.trouble = {"a.test": Status.TIMEOUT}
        self.assertIs(self.check({NAME: ["MX 1 a.test", "MX 10 mx.test"]}), GOOD)

    def test_more_exchangers_than_anybody_needs_are_not_all_asked_for(self) -> None:
        self.check({NAME: [f"MX {n} far{n}.test" for n in range(100)], **OURS})
        self.assertLess(len(self.resolver.asked), 30)


class SpfTest(CheckCase):
    def check(self, record: str | None, *seen: str, server: Server = SERVER) -> Verdict:
        zone = {NAME: [] if record is None else [f"TXT {record}"], **OURS}
        return self.verdict(lambda facts: dns_check.spf(facts, DOMAIN, server, 0.0), zone, *seen)

    def test_all_addresses_have_to_pass(self) -> None:
        self.assertIs(self.check("v=spf1 a:mx.test -all"), GOOD)
        self.assertIs(self.check("v=spf1 ip4:192.0.2.1 -all", "192.0.2.1: pass", "2001:db8::1: fail"), BAD)
        self.assertIs(self.check("v=spf1 ?all", "neutral"), BAD)
        self.assertIs(self.check(None, "none (no SPF record)"), BAD)
        self.assertIs(self.check("v=spf1 include:", "permerror"), BAD)

    def test_configured_addresses_are_those_that_count(self) -> None:
        server = replace(SERVER, sources=("203.0.113.9",))
        self.assertIs(self.check("v=spf1 ip4:203.0.113.9 -all", server=server), GOOD)
        self.assertIs(self.check("v=spf1 a:mx.test -all", server=server), BAD)

    def test_where_it_cannot_be_told(self) -> None:
        self.assertIs(self.check(None, "smarthost", server=replace(SERVER, smarthost=True)), NOTHING)
        self.assertIs(self.check(None, "no address", server=replace(SERVER, hostname="nowhere.test")), NOTHING)
        for trouble in (NAME, "mx.test"):
            self.resolver.trouble = {trouble: Status.SERVFAIL}
            self.assertIs(self.check("v=spf1 a:mx.test -all"), TROUBLE)


class DkimTest(CheckCase):
    def check(self, keys: tuple[Key, ...], zone: dict[str, list[str]], *seen: str) -> tuple[Verdict, dict[str, Seen]]:
        found = self.run_(lambda facts: dns_check.dkim(facts, replace(DOMAIN, keys=keys)), zone)
        for text in seen:
            self.assertIn(text, found.finding.seen)
        return found.finding.verdict, dict(found.seen)

    def record(self, selector: str, text: str = record_text("ed25519", ED25519.public_key)) -> dict[str, list[str]]:
        return {record_name(selector, NAME): [f"TXT {text}"]}

    def test_keys_that_sign_or_did_have_to_be_there(self) -> None:
        for state in (KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.RETIRING):
            self.assertEqual(self.check((key("s1", state),), self.record("s1")), (GOOD, {"s1": Seen.YES}))
            self.assertEqual(self.check((key("s1", state),), {}, "s1: no record"), (BAD, {"s1": Seen.NO}))

    def test_a_key_that_waits_is_looked_for_and_not_missed(self) -> None:
        keys = (key("s1", KeyState.ACTIVE), key("s2", KeyState.GENERATED))
        self.assertEqual(self.check(keys, self.record("s1")), (GOOD, {"s1": Seen.YES, "s2": Seen.NO}))
        self.assertEqual(self.check(keys[1:], self.record("s2"), "s2 is awaited"), (NOTHING, {"s2": Seen.YES}))
        self.assertEqual(self.check((key("s", KeyState.REVOKED),), {}, "no key"), (NOTHING, {}))

    def test_the_record_of_another_key_is_none(self) -> None:
        other = record_text("ed25519", OTHER.public_key)
        active = (key("s1", KeyState.ACTIVE),)
        self.assertEqual(self.check(active, self.record("s1", other), "s1: v=DKIM1"), (BAD, {"s1": Seen.NO}))
        both = {record_name("s1", NAME): [f"TXT {record_text('ed25519', ED25519.public_key)}", f"TXT {other}"]}
        self.assertEqual(self.check(active, both)[0], BAD)

    def test_trouble_tells_nothing(self) -> None:
        self.resolver.trouble = {Question(record_name("s1", NAME), Kind.TXT): Status.TIMEOUT}
        keys = (key("s1", KeyState.ACTIVE),)
        self.assertEqual(self.check(keys, self.record("s1"), "no record (timeout)"), (TROUBLE, {"s1": Seen.TROUBLE}))
        worse = (*keys, key("s2", KeyState.ACTIVE))
        self.assertEqual(self.check(worse, {}), (BAD, {"s1": Seen.TROUBLE, "s2": Seen.NO}))

    def test_what_publishes_a_key(self) -> None:
        ours = record_text("rsa2048", RSA.public_key)
        for text, expected in (
            (ours, True),
            (ours.replace("; ", ";").replace("p=", "t=y; p= "), True),
            (f"p={RSA.public_key}", True),
            (f"v=DKIM1; h=sha256; p={RSA.public_key}", True),
            (f"v=DKIM1; h=sha1; p={RSA.public_key}", False),
            (f"v=DKIM1; s=tlsrpt; p={RSA.public_key}", False),
            ("v=DKIM1; k=rsa; p=", False),
            (ours[:-8], False),
            (record_text("ed25519", ED25519.public_key), False),
            ("", False),
        ):
            self.assertIs(publishes(text.encode(), "rsa2048", RSA.public_key), expected, text)


class DmarcTest(CheckCase):
    def check(self, zone: dict[str, list[str]], *seen: str) -> Verdict:
        return self.verdict(lambda facts: dns_check.dmarc(facts, DOMAIN), {NAME: [], **zone}, *seen)

    def test_a_record_that_can_be_read(self) -> None:
        self.assertIs(self.check({f"_dmarc.{NAME}": ["TXT v=DMARC1; p=none"]}, "p=none by _dmarc.acme.example"), GOOD)
        self.assertIs(
            self.check({"_dmarc.example": ["TXT v=DMARC1; psd=y; p=reject"]}, "p=reject by _dmarc.exam"), GOOD
        )

    def test_no_record_or_none_that_says_anything(self) -> None:
        self.assertIs(self.check({}, "no DMARC record"), BAD)
        self.assertIs(self.check({f"_dmarc.{NAME}": ["TXT v=DMARC1; p=what"]}, "no usable policy"), BAD)
        self.assertIs(self.check({f"_dmarc.{NAME}": ["TXT v=DMARC1; p=none"] * 2}, "several"), BAD)
        self.resolver.outage = Status.REFUSED
        self.assertIs(self.check({}, "REFUSED"), TROUBLE)


class RecordsTest(CheckCase):
    """What is to be published makes all checks good, once it is."""

    def published(self, domain: HostedDomain, server: Server) -> dict[str, list[str]]:
        zone_: dict[str, list[str]] = dict(OURS)
        for line in zone(domain, server):
            if not line.startswith(";"):
                name, _, kind, data = line.split(" ", 3)
                text = data if kind == "MX" else "".join(data.strip("( )").split('"')[1::2])
                zone_.setdefault(name.removesuffix("."), []).append(f"{kind} {text}")
        return zone_

    def test_what_is_to_be_published_is_what_is_expected(self) -> None:
        keys = (
            key("s0", KeyState.REVOKED),
            key("s1", KeyState.ACTIVE, "rsa2048", RSA.public_key),
            key("s2", KeyState.GENERATED),
        )
        claimed = replace(DOMAIN, verified=False, keys=keys)
        for server in (SERVER, replace(SERVER, sources=("192.0.2.1", "2001:db8::1"))):
            records = self.published(claimed, server)
            self.assertNotIn(record_name("s0", NAME), records)
            found = [
                self.run_(check, records)
                for check in (
                    lambda facts: dns_check.ownership(facts, claimed),
                    lambda facts, server=server: dns_check.mx(facts, claimed, server),
                    lambda facts, server=server: dns_check.spf(facts, claimed, server, 0.0),
                    lambda facts: dns_check.dkim(facts, claimed).finding,
                    lambda facts: dns_check.dmarc(facts, claimed),
                )
            ]
            self.assertEqual([finding.verdict for finding in found], [GOOD] * 5, found)
            self.assertEqual(len(records[record_name("s2", NAME)]), 1)

    def test_what_needs_no_record_has_none(self) -> None:
        records = self.published(DOMAIN, replace(SERVER, smarthost=True))
        self.assertEqual(sorted(records), ["_dmarc.acme.example", "acme.example", "mx.test"])
        self.assertEqual(records[NAME], ["MX 10 mx.test."])
