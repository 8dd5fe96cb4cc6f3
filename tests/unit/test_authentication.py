"""mtad.inbound.authentication: who is let in, and how much is remembered and waited for."""

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mtad.inbound import authentication
from mtad.inbound.authentication import NetworkChecker, PasswordChecker, ScramChecker
from mtad.inbound.credentials import Busy, Claim, Refused
from mtad.inbound.failures import Failures
from mtad.inbound.gate import Gate
from mtad.model.errors import Unavailable
from mtad.model.holdings import HeldDomain, HeldMailbox, Holding
from mtad.testing.counters import MemoryCounters
from mtad.testing.directory import MemoryDirectory
from mtad.testing.journal import MemoryJournal
from mtad.testing.offload import MemoryOffload
from mtad.testing.passwords import hash_password, verify_password


class PasswordCheckerTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = MemoryDirectory(self.clock)
        self.offload = MemoryOffload()
        failures = Failures(counters=MemoryCounters(self.clock), clock=self.clock, journal=MemoryJournal())
        self.gate = Gate(failures=failures, clock=self.clock)
        self.checker = self.made(b"one key")
        self.hold("wonderland")

    def made(self, key: bytes) -> PasswordChecker:
        return PasswordChecker(
            directory=self.directory,
            gate=self.gate,
            offload=self.offload,
            clock=self.clock,
            verify=verify_password,
            key=key,
        )

    def hold(self, password: str | None) -> None:
        mailboxes = tuple(HeldMailbox(name, password and hash_password(password)) for name in ("alice", "bob"))
        self.directory.hold(Holding("acme", None, (HeldDomain("acme.example", True, mailboxes=mailboxes),)))

    def ask(
        self, password: str = "wonderland", user: str = "alice@acme.example", host: str = "192.0.2.7"
    ) -> "Deferred[object]":
        return self.checker.requestAvatarId(Claim(user, password.encode(), "", host))

    def test_they_are_checkers(self) -> None:
        self.assertTrue(verifyObject(ICredentialsChecker, self.checker))
        self.assertTrue(verifyObject(ICredentialsChecker, ScramChecker(directory=self.directory, gate=self.gate)))
        self.assertTrue(verifyObject(ICredentialsChecker, NetworkChecker(directory=self.directory, networks=())))

    def test_what_is_remembered_is_of_one_address_one_hash_and_one_password(self) -> None:
        self.successResultOf(self.ask())
        self.assertEqual(self.offload.ran, 1)
        for user in ("alice@acme.example", "ALICE@acme.example"):
            self.successResultOf(self.ask(user=user))
        self.assertEqual(self.offload.ran, 1)
        self.successResultOf(self.ask(user="bob@acme.example"))
        self.failureResultOf(self.ask("other"), Refused)
        self.assertEqual(self.offload.ran, 3)
        self.hold("changed")
        self.failureResultOf(self.ask(), Refused)
        self.assertEqual(self.offload.ran, 4)
        self.hold(None)
        self.failureResultOf(self.ask(), Refused)

    def test_nothing_of_a_password_is_kept(self) -> None:
        self.successResultOf(self.ask())
        kept = repr(vars(self.checker))
        self.assertNotIn("wonderland", kept)
        tokens = self.checker._remembered
        self.checker = self.made(b"another key")
        self.successResultOf(self.ask())
        self.assertFalse(tokens.keys() & self.checker._remembered.keys())

    def test_a_success_is_remembered_from_its_verification_on_and_no_longer(self) -> None:
        self.successResultOf(self.ask())
        for _ in range(3):
            self.clock.advance(199.0)
            self.successResultOf(self.ask())
        self.assertEqual(self.offload.ran, 1)
        self.clock.advance(3.0)
        self.successResultOf(self.ask())
        self.assertEqual(self.offload.ran, 2)

    def test_the_oldest_success_is_forgotten_where_there_is_no_room(self) -> None:
        self.patch(authentication, "MAX_REMEMBERED", 1)
        for user in ("alice@acme.example", "bob@acme.example", "alice@acme.example"):
            self.successResultOf(self.ask(user=user))
        self.assertEqual(self.offload.ran, 3)

    def test_no_more_wait_than_there_is_room_for(self) -> None:
        self.offload.hold()
        asked = [self.ask(f"wrong {number}") for number in range(5)]
        self.failureResultOf(self.ask(), Busy)
        for one in asked:
            self.assertNoResult(one)
        self.clock.advance(5.0)
        for one in asked[2:]:
            self.failureResultOf(one, Busy)
        self.offload.release()
        for one in asked[:2]:
            self.failureResultOf(one, Refused)
        self.successResultOf(self.ask())

    def test_another_address_has_its_turn_next_but_one(self) -> None:
        self.offload.hold()
        crowd = [self.ask(f"wrong {number}", host=f"2001:db8::{number}") for number in range(5)]
        self.failureResultOf(self.ask("wrong", host="2001:db8::9"), Busy)
        user = self.ask(host="2001:db8:0:1::1")
        for _ in range(3):
            self.assertNoResult(user)
            self.offload.release_next()
        self.assertNoResult(user)
        self.offload.release_next()
        self.successResultOf(user)
        self.offload.release()
        for one in crowd:
            self.failureResultOf(one, Refused)

    def test_a_claim_withdrawn_early_or_late_takes_no_turn(self) -> None:
        self.offload.hold()
        verified = [self.ask("wrong") for _ in range(2)]
        claim = Claim("alice@acme.example", b"wonderland", "", "192.0.2.8")
        waiting = self.checker.requestAvatarId(claim)
        claim.withdraw()
        self.failureResultOf(waiting, Busy)
        self.failureResultOf(self.checker.requestAvatarId(claim), Busy)
        self.offload.release()
        self.assertEqual(self.offload.ran, 2)
        for one in verified:
            self.failureResultOf(one, Refused)

    def test_a_claim_withdrawn_while_verified_keeps_its_turn_till_the_end(self) -> None:
        self.offload.hold()
        claims = [Claim("alice@acme.example", b"wrong", "", "192.0.2.8") for _ in range(2)]
        asked = [self.checker.requestAvatarId(claim) for claim in claims]
        for claim in claims:
            claim.withdraw()
        self.ask()
        self.assertEqual(self.offload.waiting, 2)
        self.offload.release()
        for one in asked:
            self.failureResultOf(one, Refused)

    def test_a_verification_that_fails_gives_its_turn_away(self) -> None:
        self.offload.fail_next(Unavailable("offload", "the server is stopping"), times=3)
        for _ in range(3):
            self.failureResultOf(self.ask(), Unavailable)
        self.successResultOf(self.ask())
