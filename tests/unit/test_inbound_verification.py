"""The service that verifies: what is wanted, when others have their turn, what is told of the DNS."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.verification import LARGE_HEADER_OCTETS, VerificationService, Vouched, Wanted, wanted
from mtad.message.authentication_fields import Subject
from mtad.model.address import Address
from mtad.model.authentication import Authentication, Checks, Dmarc, Iprev, Result, Strictness
from mtad.testing.clock import MemoryWallClock
from mtad.testing.resolver import MemoryResolver
from mtad.verification.canonical import BLOCK_OCTETS
from mtad.verification.dmarc import MAX_AUTHORS

from .test_dkim_verify import ED25519, HEAD, NAME, record, signed

OFF, MONITOR, ENFORCE = Strictness
EVERYTHING = Wanted(spf=True, dkim=True, dmarc=True)
SUBJECT = Subject("192.0.2.7", "mx.acme.example", Address("joe", "acme.example"))
ZONE = {
    "acme.example": ["TXT v=spf1 mx -all", "MX 10 mx.acme.example"],
    "mx.acme.example": ["TXT v=spf1 a -all", "A 192.0.2.7"],
    "7.2.0.192.in-addr.arpa": ["PTR mx.acme.example"],
    "_dmarc.acme.example": ["TXT v=DMARC1; p=reject"],
    NAME: [f"TXT {record(ED25519).decode()}"],
}


class Turns(Clock):
    """Makes one call at a time; `count` is how many."""

    count = 0

    def one(self) -> None:
        call = self.calls.pop(0)
        call.called = 1
        self.count += 1
        call.func(*call.args, **call.kw)


class WantedTest(SynchronousTestCase):
    def test_who_wants_dmarc_wants_what_it_rests_on(self) -> None:
        self.assertEqual(wanted([Checks(OFF, OFF, MONITOR)]), EVERYTHING)

    def test_all_that_anybody_wants(self) -> None:
        self.assertFalse(wanted([]).anything)
        self.assertFalse(wanted([Checks(OFF, OFF, OFF)]).anything)
        self.assertEqual(wanted([Checks(OFF, ENFORCE, OFF)]), Wanted(spf=False, dkim=True, dmarc=False))
        both = wanted([Checks(OFF, MONITOR, OFF), Checks(ENFORCE, OFF, OFF)])
        self.assertEqual(both, Wanted(spf=True, dkim=True, dmarc=False))
        self.assertTrue(both.anything)


class VerificationTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Turns()
        self.resolver = MemoryResolver(self.clock, dict(ZONE))
        wall = MemoryWallClock(self.clock)
        self.service = VerificationService(resolver=self.resolver, clock=self.clock, wall=wall, hostname="mx.test")

    def ended(self, verifying: "Deferred[Authentication]") -> Authentication:
        found: list[Authentication] = []
        verifying.addCallback(found.append)
        while not found:
            self.clock.one()
        return found[0]

    def verify(self, content: bytes, wants: Wanted = EVERYTHING, subject: Subject = SUBJECT) -> Authentication:
        return self.ended(self.service.verify(subject, content, wants))

    def asked(self) -> set[str]:
        return {question.name for question in self.resolver.asked}

    def test_everything_of_a_good_message(self) -> None:
        found = self.verify(signed())
        self.assertEqual([(each.identity, each.result) for each in found.spf], [
            ("mailfrom", Result.PASS), ("helo", Result.PASS),
        ])  # fmt: skip
        self.assertEqual([each.result for each in found.dkim], [Result.PASS])
        self.assertEqual((found.dmarc.result, found.dmarc.aligned), (
            Result.PASS, ("spf=acme.example", "dkim=acme.example"),
        ))  # fmt: skip
        self.assertEqual(found.iprev, Iprev(Result.PASS, "mx.acme.example"))
        self.assertIs(found.arc.result, Result.NONE)
        self.assertEqual(set(found.answers), {
            'TXT of acme.example: "v=spf1 mx -all"',
            "MX of acme.example: 10 mx.acme.example",
            "A of mx.acme.example: 192.0.2.7",
            'TXT of mx.acme.example: "v=spf1 a -all"',
            "PTR of 7.2.0.192.in-addr.arpa: mx.acme.example",
            f'TXT of {NAME}: "{record(ED25519).decode()}"',
            'TXT of _dmarc.acme.example: "v=DMARC1; p=reject"',
        })  # fmt: skip

    def test_only_what_is_wanted(self) -> None:
        found = self.verify(signed(), Wanted(spf=True, dkim=False, dmarc=False))
        self.assertEqual((len(found.spf), found.dkim, found.dmarc), (2, (), Dmarc(Result.NONE)))
        self.assertNotIn(NAME, self.asked())
        self.resolver.asked.clear()
        found = self.verify(signed(), Wanted(spf=False, dkim=True, dmarc=False))
        self.assertEqual((found.spf, len(found.dkim), found.dmarc), ((), 1, Dmarc(Result.NONE)))
        self.assertNotIn("acme.example", self.asked())

    def test_a_peer_without_an_address(self) -> None:
        found = self.verify(signed(), subject=Subject("unix", "mx.acme.example", SUBJECT.reverse_path))
        self.assertEqual((found.spf, found.iprev), ((), Iprev(Result.NONE)))
        self.assertEqual(found.dmarc.aligned, ("dkim=acme.example",))

    def test_an_ipv4_address_in_ipv6s_clothes(self) -> None:
        found = self.verify(signed(), subject=Subject("::ffff:192.0.2.7", "mx.acme.example", SUBJECT.reverse_path))
        self.assertEqual([each.result for each in found.spf], [Result.PASS] * 2)

    def test_what_nobody_can_ask_for(self) -> None:
        for helo in ("", "[192.0.2.7]", "a" * 300, "\xff", ".", "a..b"):
            found = self.verify(signed(), subject=Subject("192.0.2.7", helo, None))
            self.assertEqual([each.result for each in found.spf], [Result.NONE], helo)

    def test_of_the_envelope_one_identity_counts(self) -> None:
        self.resolver.zone["acme.example"] = ["TXT v=spf1 -all"]
        found = self.verify(HEAD + b"\r\n")
        self.assertEqual([each.result for each in found.spf], [Result.FAIL, Result.PASS])
        self.assertIs(found.dmarc.result, Result.FAIL)

    def test_too_many_authors_are_none(self) -> None:
        many = b", ".join(b"a@d%d.example" % number for number in range(MAX_AUTHORS + 1))
        for head in (b"From: %s\r\n" % many, b"From: a@%s\r\n" % (b"x" * 300), "From: a@ü..de\r\n".encode(), b""):
            self.assertIs(self.verify(head + b"\r\n").dmarc.result, Result.PERMERROR, head)
        self.assertEqual({name for name in self.asked() if "_dmarc.d" in name}, set())

    def test_others_have_their_turn_between_blocks(self) -> None:
        self.verify(signed(body=b"x" * (3 * BLOCK_OCTETS)))
        self.assertEqual(self.clock.count, 2)

    def test_a_body_that_nobody_signed_is_not_read(self) -> None:
        self.verify(HEAD + b"\r\n" + b"x" * (3 * BLOCK_OCTETS))
        self.assertEqual(self.clock.count, 0)

    def test_others_have_their_turn_over_a_large_header(self) -> None:
        self.verify(signed(head=HEAD + b"X: " + b"y" * LARGE_HEADER_OCTETS + b"\r\n"))
        self.assertGreater(self.clock.count, 3)

    def test_what_is_submitted_here_asks_for_the_authors_record_alone(self) -> None:
        submitted = self.service.verify_submitted(Vouched("other.example", "acme.example"), HEAD + b"\r\n", EVERYTHING)
        found = self.ended(submitted)
        self.assertEqual(found.dmarc.aligned, ("dkim=acme.example",))
        self.assertEqual(self.asked(), {"_dmarc.acme.example"})
        found = self.ended(self.service.verify_submitted(Vouched(None, None), HEAD + b"\r\n", EVERYTHING))
        self.assertEqual((found.spf, found.dkim, found.dmarc.result), ((), (), Result.FAIL))
