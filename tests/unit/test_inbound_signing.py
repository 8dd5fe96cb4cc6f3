"""mtad.inbound.signing: whose keys sign a submission, what the timeline hears of it, and who waits."""

from collections.abc import Callable

import dkim
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.signing import Signed, Signing
from mtad.message.headers import MAX_FIELDS, MAX_OCTETS
from mtad.model.address import Address, from_plain
from mtad.model.dkim import KeyState, record_name, record_text
from mtad.model.errors import Unavailable
from mtad.model.event import SIGNED, Event
from mtad.model.holdings import HeldDomain, HeldKey, Holding
from mtad.model.tenant import Domain
from mtad.testing.clock import MemoryWallClock
from mtad.testing.directory import MemoryDirectory
from mtad.testing.offload import MemoryOffload
from mtad.verification.canonical import BLOCK_OCTETS
from mtad.verification.keys import KeyPair, generate

RSA, ED25519 = generate("rsa2048"), generate("ed25519")
ANN = from_plain("ann@acme.example")
LETTER = b"From: Ann <ann@acme.example>\r\nTo: bob@outside.example\r\nSubject: hello\r\n\r\nHello Bob,\r\n"


def held(selector: str, pair: KeyPair, active: bool = True) -> HeldKey:
    return HeldKey(
        selector, pair.algorithm, pair.public_key, KeyState.ACTIVE if active else KeyState.RETIRING, pair.private_key
    )


KEYS = (held("ed", ED25519), held("rsa", RSA))
ACME = Holding(
    "acme",
    None,
    (
        HeldDomain("acme.example", True, keys=KEYS),
        HeldDomain("shop.example", True, keys=(held("shop", ED25519),)),
        HeldDomain("bare.example", True, keys=(held("old", ED25519, active=False),)),
        HeldDomain("pending.example", False, keys=(held("p", ED25519),)),
    ),
)
OTHER = Holding("other", None, (HeldDomain("other.example", True, keys=(held("o", ED25519),)),))
RECORDS = {
    f"{record_name(key.selector, domain.name)}.".encode(): record_text(key.algorithm, key.public_key).encode()
    for domain in ACME.domains
    for key in domain.keys
}


def anyone(address: Address, domain: Domain) -> bool:
    return True


class CountingClock(Clock):
    """A clock that counts how often somebody let others have their turn."""

    turns = 0

    def callLater(self, delay: float, *call: object, **terms: object) -> IDelayedCall:
        self.turns += 1
        return super().callLater(delay, *call, **terms)


class SigningTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = CountingClock()
        self.wall = MemoryWallClock(self.clock, 1_700_000_000.0)
        self.offload = MemoryOffload()
        self.directory = MemoryDirectory(self.clock)
        self.directory.hold(ACME)
        self.directory.hold(OTHER)
        self.signing = Signing(directory=self.directory, offload=self.offload, clock=self.clock, wall=self.wall)
        self.organisation = self.successResultOf(Deferred.fromCoroutine(self.directory.organisation("acme")))

    def sign(
        self,
        content: bytes = LETTER,
        reverse_path: Address | None = ANN,
        may_author: Callable[[Address, Domain], bool] = anyone,
    ) -> "Deferred[Signed]":
        return Deferred.fromCoroutine(
            self.signing.sign(content, organisation=self.organisation, reverse_path=reverse_path, may_author=may_author)
        )

    def signed(self, *arguments: object, **terms: object) -> Signed:
        return self.successResultOf(self.sign(*arguments, **terms))

    def signers(self, made: Signed, content: bytes = LETTER) -> list[str]:
        """Return the domains and selectors of all signatures, each of which dkimpy believes."""
        verifier = dkim.DKIM(made.header + content)
        found = []
        for n in range(made.header.count(b"DKIM-Signature:")):
            self.assertTrue(verifier.verify(n, dnsfunc=lambda name, timeout: RECORDS[name]))
            found.append(f"{verifier.selector.decode()}.{verifier.domain.decode()}")
        return found

    def test_all_keys_of_the_authors_domain_sign(self) -> None:
        made = self.signed()
        self.assertEqual(self.signers(made), ["ed.acme.example", "rsa.acme.example"])
        facts = {"domain": "acme.example", "because": "author", "selectors": ["ed", "rsa"]}
        self.assertEqual(made.event, Event(SIGNED, 1_700_000_000.0, facts))
        self.assertIn(b"t=1700000000;", made.header)
        self.assertEqual(self.offload.ran, 2)

    def test_the_author_may_be_of_another_domain_than_the_envelope(self) -> None:
        content = LETTER.replace(b"ann@acme.example", b"seller@SHOP.example")
        self.assertEqual(self.signers(self.signed(content), content), ["shop.shop.example"])
        self.assertEqual(self.signers(self.signed(content, None), content), ["shop.shop.example"])

    def test_who_may_not_write_as_the_author_signs_for_the_envelope(self) -> None:
        asked = []

        def may_author(address: Address, domain: Domain) -> bool:
            asked.append((str(address), domain.name))
            return False

        made = self.signed(LETTER, from_plain("x@shop.example"), may_author)
        self.assertEqual(self.signers(made), ["shop.shop.example"])
        self.assertEqual(made.event.facts, {"domain": "shop.example", "because": "envelope", "selectors": ["shop"]})
        self.assertEqual(asked, [("ann@acme.example", "acme.example")])

    def test_a_message_without_one_author_is_signed_for_the_envelope(self) -> None:
        for line in (
            b"From: a@shop.example, b@shop.example",
            b"From: a@shop.example\r\nFrom: a@shop.example",
            b"Subject: no author",
            b"From: not an address",
            b"From: a@-wrong-.example",
            b"From: a@[192.0.2.1]",
            b"From: a@elsewhere.example",
            b"From: o@other.example",
            b"From: p@pending.example",
        ):
            content = line + b"\r\n\r\nbody\r\n"
            made = self.signed(content)
            self.assertEqual(made.event.facts["because"], "envelope", line)
            if b"From:" in line:
                self.assertEqual(self.signers(made, content)[:1], ["ed.acme.example"], line)

    def test_no_other_organisations_domain_signs(self) -> None:
        content = LETTER.replace(b"acme.example", b"other.example")
        for reverse_path in (None, from_plain("o@other.example"), from_plain("x@elsewhere.example")):
            made = self.signed(content, reverse_path)
            self.assertEqual(made.header, b"")
            self.assertIn("neither the author's nor the envelope's domain", str(made.event.facts["reason"]))
            self.assertNotIn("domain", made.event.facts)

    def test_a_domain_without_an_active_key_signs_nothing(self) -> None:
        made = self.signed(LETTER.replace(b"acme", b"bare"))
        self.assertEqual(made.header, b"")
        reason = "the domain has no active key"
        self.assertEqual(made.event.facts, {"domain": "bare.example", "because": "author", "reason": reason})

    def test_an_author_with_a_domain_in_letters_of_its_own(self) -> None:
        self.directory.hold(
            Holding("acme", None, (HeldDomain("xn--bcher-kva.example", True, keys=(held("s", ED25519),)),))
        )
        made = self.signed("From: a@bücher.example\r\n\r\nbody\r\n".encode())
        self.assertEqual(made.event.facts["domain"], "xn--bcher-kva.example")

    def test_a_header_no_person_wrote_is_not_signed(self) -> None:
        for block in (
            b"From: ann@acme.example\r\nX: " + b"x" * MAX_OCTETS + b"\r\n",
            b"From: ann@acme.example\r\n" + b"X: y\r\n" * MAX_FIELDS,
        ):
            made = self.signed(block + b"\r\nbody\r\n")
            self.assertEqual((made.header, made.event.facts), (b"", {"reason": "the header is too large to be signed"}))
        many = b"From: ann@acme.example\r\n" + b"X: y\r\n" * (MAX_FIELDS - 1) + b"\r\nbody\r\n"
        self.assertEqual(len(self.signers(self.signed(many), many)), 2)

    def test_what_is_down_defers(self) -> None:
        self.directory.reachable = False
        self.failureResultOf(self.sign(), Unavailable)
        self.directory.reachable = True
        self.offload.fail_next(Unavailable("offload", "the process ended"))
        self.failureResultOf(self.sign(), Unavailable)

    def test_a_key_that_is_not_what_its_row_says_defers_and_is_named(self) -> None:
        wrong = HeldKey("wrong", "rsa2048", "p", KeyState.ACTIVE, ED25519.private_key)
        self.directory.hold(Holding("acme", None, (HeldDomain("acme.example", True, keys=(wrong,)),)))
        failure = self.failureResultOf(self.sign(), Unavailable)
        self.assertIn("wrong._domainkey.acme.example: a key is not what its row says", str(failure.value))
        self.assertNotIn("PRIVATE", str(failure.value))

    def test_others_have_their_turn_between_the_blocks_of_a_long_body(self) -> None:
        content = LETTER + b"x\r\n" * BLOCK_OCTETS
        made = self.sign(content)
        self.assertNoResult(made)
        self.clock.advance(0)
        self.assertEqual(self.clock.turns, 3)
        self.assertEqual(len(self.signers(self.successResultOf(made), content)), 2)

    def test_the_arithmetic_is_done_elsewhere(self) -> None:
        self.offload.hold()
        made = self.sign()
        self.assertNoResult(made)
        self.assertEqual(self.offload.waiting, 1)
        self.offload.release()
        self.assertEqual(len(self.signers(self.successResultOf(made))), 2)
