"""Care of domains on the whole server: keys move on as the DNS shows, claims are proven, statuses turn in time."""

from pathlib import Path

import dkim
import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Name, Network, RelayNetwork
from mtad.model.answer import Status as DnsStatus
from mtad.model.dkim import KeyState, record_name, record_text
from mtad.model.domain_check import Check, Status, Subject
from mtad.model.hold import Hold, HoldScope
from mtad.model.holdings import HeldKey
from mtad.testing.world import DAY, HOUR, MINUTE, World, settings
from mtad.verification.keys import KeyPair, generate

OFFICE = ("198.51.100.7", 40000)
RSA, NEXT, ED25519 = generate("rsa2048"), generate("rsa2048"), generate("ed25519")
ACME = "acme.example"
ZONE = {
    ACME: ["MX 10 mx.test", "TXT v=spf1 a:mx.test -all"],
    f"_dmarc.{ACME}": ["TXT v=DMARC1; p=none"],
    "mx.test": ["A 192.0.2.1"],
}


class DomainCareCase(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        made = settings(path)
        office = RelayNetwork(Network("198.51.100.0/24"), Name("acme"))
        server = msgspec.structs.replace(made.server, relay_networks=(office,))
        configured = msgspec.structs.replace(made, server=server)
        self.world = World(path, configured=configured, zone={name: [*lines] for name, lines in ZONE.items()})
        # dkimpy believes no signature from its future.
        self.world.wall.step(-200_000_000.0)
        self.world.host("alice@acme.example", "bob@acme.example")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("task.surprise"), [])

    def pass_(self, seconds: float) -> None:
        """Let time pass; of long times all but the last half hour is a step of the wall clock, which rounds go by."""
        if seconds > HOUR:
            self.world.wall.step(seconds - HOUR / 2)
            seconds = HOUR / 2
        self.world.advance(seconds, step=8.0)


class KeysTest(DomainCareCase):
    def key(self, selector: str, pair: KeyPair, state: KeyState) -> None:
        self.world.key(ACME, HeldKey(selector, pair.algorithm, pair.public_key, state, pair.private_key))

    def publish(self, selector: str, pair: KeyPair) -> None:
        self.world.zone[record_name(selector, ACME)] = [f"TXT {record_text(pair.algorithm, pair.public_key)}"]

    def states(self) -> dict[str, str]:
        ((_, _, keys),) = [found for found in self.world.directory.hosted() if found[0].name == ACME]
        return {key.selector: key.state.value for key in keys}

    def signers(self) -> list[str]:
        """Return the selectors a submission is signed with; each signature is good by what the DNS has."""
        self.submit()
        mail = self.world.mail("bob@acme.example")[-1].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        verifier = dkim.DKIM(mail)
        count = mail.count(b"\r\nDKIM-Signature:")
        selectors = []
        for number in range(count):
            self.assertTrue(verifier.verify(number, dnsfunc=self.txt))
            selectors.append(verifier.selector.decode())
        return selectors

    def submit(self) -> None:
        line = self.world.connect("submission", OFFICE)
        commands = b"EHLO pc\r\nMAIL FROM:<alice@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n"
        self.world.say(line, commands)
        answer = self.world.say(line, b"From: alice@acme.example\r\n\r\nhello\r\n.\r\n")
        self.assertEqual(answer[:4], b"250 ")

    def txt(self, name: bytes, timeout: int) -> bytes:
        (line,) = self.world.zone[name.decode().removesuffix(".")]
        return line.removeprefix("TXT ").encode()

    def test_the_whole_life_of_a_key(self) -> None:
        self.key("old", RSA, KeyState.ACTIVE)
        self.publish("old", RSA)
        self.key("ed", ED25519, KeyState.ACTIVE)
        self.publish("ed", ED25519)
        self.key("new", NEXT, KeyState.GENERATED)
        self.pass_(HOUR)
        self.assertEqual(self.states(), {"old": "active", "ed": "active", "new": "generated"})
        self.publish("new", NEXT)
        self.pass_(7 * MINUTE)
        self.assertEqual(self.states()["new"], "published")
        self.assertEqual(sorted(self.signers()), ["ed", "old"])
        self.pass_(20 * MINUTE)
        self.assertEqual(self.states(), {"old": "retiring", "ed": "active", "new": "active"})
        self.assertEqual(sorted(self.signers()), ["ed", "new"])
        self.pass_(6 * DAY - 2 * HOUR)
        self.assertEqual(self.states()["old"], "retiring")
        self.pass_(3 * HOUR)
        self.assertEqual(self.states()["old"], "revoked")
        told = [(facts["selector"], facts["after"]) for facts in self.world.journal.of("dkim.key_moved")]
        self.assertEqual(told, [("new", "published"), ("new", "active"), ("old", "retiring"), ("old", "revoked")])

    def test_it_stays_as_long_as_mail_it_signed_is_held(self) -> None:
        self.world.wall.step(200_000_000.0)
        self.key("old", RSA, KeyState.ACTIVE)
        self.publish("old", RSA)
        now = self.world.wall.now()
        hold = Hold(HoldScope.DOMAIN, ACME, "wait", "ops", now)
        placing = Deferred.fromCoroutine(self.world.database.holds.place(hold))
        self.world.turn()
        self.submit()
        self.pass_(MINUTE)
        self.assertEqual(self.world.mail("bob@acme.example"), [])
        self.key("new", NEXT, KeyState.GENERATED)
        self.publish("new", NEXT)
        self.pass_(20 * MINUTE)
        self.assertEqual(self.states(), {"old": "retiring", "new": "active"})
        for _ in range(2):
            self.pass_(10 * DAY)
            self.assertEqual(self.states()["old"], "retiring")
        releasing = self.world.database.holds.release(self.successResultOf(placing), self.world.wall.now(), "ops")
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(releasing)))
        self.pass_(HOUR)
        (mail,) = self.world.mail("bob@acme.example")
        self.assertIn(b" s=old;", mail)
        self.pass_(20 * HOUR)
        self.assertEqual(self.states()["old"], "retiring")
        self.pass_(5 * HOUR)
        self.assertEqual(self.states()["old"], "revoked")

    def test_without_its_record_it_never_signs(self) -> None:
        self.key("new", NEXT, KeyState.GENERATED)
        self.publish("new", RSA)
        for _ in range(3):
            self.pass_(10 * HOUR)
        self.assertEqual(self.states(), {"new": "generated"})
        self.publish("new", NEXT)
        self.pass_(7 * MINUTE)
        self.assertEqual(self.states(), {"new": "published"})
        del self.world.zone[record_name("new", ACME)]
        for _ in range(3):
            self.pass_(10 * HOUR)
        self.assertEqual(self.states(), {"new": "published"}, "it was seen once, and is not there any more")

    def test_an_outage_of_the_dns_moves_nothing(self) -> None:
        self.key("old", RSA, KeyState.ACTIVE)
        self.publish("old", RSA)
        self.key("new", NEXT, KeyState.GENERATED)
        self.publish("new", NEXT)
        self.world.resolver.outage = DnsStatus.SERVFAIL
        self.pass_(DAY)
        self.assertEqual(self.states(), {"old": "active", "new": "generated"})
        self.assertEqual(self.world.journal.of("domain.check_bad"), [])

    def test_two_processes_move_each_key_once(self) -> None:
        self.world.wall.step(200_000_000.0)
        second = self.world.another()
        self.key("new", NEXT, KeyState.GENERATED)
        self.publish("new", NEXT)
        self.pass_(30 * MINUTE)
        moved = self.world.journal.of("dkim.key_moved") + second.journal.of("dkim.key_moved")
        self.assertEqual(sorted(str(facts["after"]) for facts in moved), ["active", "published"])

    def test_what_is_to_be_sealed_is_sealed(self) -> None:
        self.world.domain_care.unsealed = 150
        self.pass_(25 * MINUTE)
        self.assertEqual([facts["count"] for facts in self.world.journal.of("dkim.sealed")], [100, 50])


class StatusTest(DomainCareCase):
    def check(self, subject: Subject = Subject.MX) -> Check:
        found = self.domain_checks().get(subject)
        assert found is not None
        return found

    def domain_checks(self) -> dict[Subject, Check]:
        return {check.subject: check for check in self.world.domain_care.checks(ACME)}

    def test_all_is_as_it_should_be(self) -> None:
        self.pass_(2 * MINUTE)
        statuses = {subject.value: check.status.value for subject, check in self.domain_checks().items()}
        good = dict.fromkeys(("ownership", "mx", "spf", "dmarc"), "good")
        self.assertEqual(statuses, good | {"dkim": "unknown"})
        told = {facts["subject"]: (facts["good"], facts["bad"]) for facts in self.world.journal.of("domain.statuses")}
        self.assertEqual(told["mx"], (1, 0))

    def test_bad_is_what_fails_for_an_hour(self) -> None:
        self.pass_(2 * MINUTE)
        self.world.zone[ACME] = ["MX 10 far.test"]
        self.pass_(7 * HOUR)
        self.assertIs(self.check().status, Status.GOOD)
        self.pass_(HOUR)
        self.pass_(HOUR / 2)
        self.assertIs(self.check().status, Status.BAD)
        (bad, *_) = self.world.journal.of("domain.check_bad")
        self.assertEqual((bad["domain"], bad["subject"], bad["detail"]), (ACME, "mx", "10 far.test"))
        check = self.check()
        assert check.failing_since is not None
        self.assertGreaterEqual(check.since - check.failing_since, HOUR)
        self.world.zone[ACME] = ZONE[ACME]
        self.pass_(30 * MINUTE)
        self.assertIs(self.check().status, Status.GOOD)
        self.assertIn("mx", [facts["subject"] for facts in self.world.journal.of("domain.check_good")][-2:])

    def test_what_fails_for_less_stays_good(self) -> None:
        self.pass_(2 * MINUTE)
        self.world.zone[ACME] = ["MX 10 far.test"]
        self.pass_(7 * HOUR)
        self.pass_(15 * MINUTE)
        self.assertGreaterEqual(self.check().failures, 2)
        self.world.zone[ACME] = ZONE[ACME]
        self.pass_(30 * MINUTE)
        self.assertEqual((self.check().status, self.check().failures), (Status.GOOD, 0))
        self.assertEqual(self.world.journal.of("domain.check_bad"), [])

    def test_an_outage_of_the_dns_is_no_failure(self) -> None:
        self.pass_(2 * MINUTE)
        before = self.held()
        self.world.resolver.outage = DnsStatus.TIMEOUT
        for _ in range(3):
            self.pass_(7 * HOUR)
        self.assertGreater(len(set(self.world.resolver.asked[-50:])), 3)
        self.assertEqual(self.held(), before)

    def held(self) -> list[tuple[Subject, Status, float, int]]:
        """Return what is held, without when it was last looked at."""
        checks = self.domain_checks().values()
        return [(check.subject, check.status, check.since, check.failures) for check in checks]

    def test_another_machine_of_ours_is_here_too(self) -> None:
        self.world.zone[ACME] = ["MX 10 mx2.test"]
        self.world.domain_care.hostnames.add("mx2.test")
        self.pass_(2 * MINUTE)
        self.assertIs(self.check().status, Status.GOOD)

    def test_without_the_database_nothing_is_looked_at_and_then_goes_on(self) -> None:
        self.world.domain_care.reachable = False
        self.pass_(5 * MINUTE)
        self.assertEqual(self.world.resolver.asked, [])
        self.world.domain_care.reachable = True
        self.pass_(2 * MINUTE)
        self.assertIs(self.check().status, Status.GOOD)


class OwnershipTest(DomainCareCase):
    def answer(self) -> bytes:
        line = self.world.connect()
        said = self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<ann@claimed.example>\r\n")
        return said.splitlines()[-1][:9]

    def claim(self) -> None:
        self.world.host("ann@claimed.example", organisation="ann", verified=False)
        self.world.domain_care.challenges["claimed.example"] = "abc"

    def prove(self, text: str = "mtad-domain-verification=abc") -> None:
        self.world.zone["_mtad-challenge.claimed.example"] = [f"TXT {text}"]

    def test_who_publishes_the_challenge_has_the_domain(self) -> None:
        self.claim()
        self.assertEqual(self.answer(), b"450 4.7.1")
        self.prove("mtad-domain-verification=other")
        self.pass_(HOUR)
        self.assertEqual(self.answer(), b"450 4.7.1")
        self.prove()
        self.pass_(7 * MINUTE)
        self.assertEqual(self.answer(), b"250 2.1.5")
        (verified,) = self.world.journal.of("domain.verified")
        self.assertEqual((verified["domain"], verified["organisation"]), ("claimed.example", "ann"))

    def test_a_verified_domain_stays_so_without_its_record(self) -> None:
        self.claim()
        self.prove()
        self.pass_(2 * MINUTE)
        del self.world.zone["_mtad-challenge.claimed.example"]
        self.pass_(2 * DAY)
        self.assertEqual(self.answer(), b"250 2.1.5")

    def test_a_claim_that_was_pending_for_too_long_is_not_proven_any_more(self) -> None:
        self.claim()
        self.pass_(7 * DAY + HOUR)
        self.prove()
        self.pass_(3 * DAY)
        self.assertEqual(self.answer(), b"554 5.7.1")
