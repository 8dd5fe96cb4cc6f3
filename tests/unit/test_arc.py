"""mtad.verification.arc: what the suite of others does not ask: old signatures, trouble of the DNS, any octets."""

import base64

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.model.answer import Answer, Question, Status
from mtad.model.authentication import Arc, Result
from mtad.model.dkim import record_text
from mtad.verification import arc, arc_sets, tags
from mtad.verification.canonical import BodyHash
from mtad.verification.facts import Facts, NotYetKnown
from mtad.verification.keys import generate
from mtad.verification.signed_header import Header
from mtad.verification.signing import signature

from .verified import NOW, arc_result, hashed, read, zone

KEY = generate("ed25519")
RECORD = record_text(KEY.algorithm, KEY.public_key).encode()
HEAD = b"From: joe@acme.example\r\nSubject: hello\r\n"
BODY = b"Hi.\r\n"


def resolve(question: Question) -> Answer:
    return zone({question.name: RECORD})(question)


def sealed(
    message: bytes, said: bytes = b"spf=fail; dmarc=pass", *, seal: str = "", h: str = "from:subject", at: int = 0
) -> bytes:
    """Return the message with one more set on top; `seal` are tags in place of its cv=, `at` is its instance."""
    block, body = headers.split(message)
    instance = at or headers.count(block, b"ARC-Seal") + 1
    domain = f"hop{instance}.example"
    body_hash = BodyHash()
    body_hash.update(body)
    results = f"ARC-Authentication-Results: i={instance}; {domain}; ".encode() + said + b"\r\n"
    common = f"i={instance}; a=ed25519-sha256; d={domain}; s=s"
    bh = base64.b64encode(body_hash.digest()).decode()
    unsigned = f"ARC-Message-Signature: {common}; c=relaxed/relaxed; h={h}; bh={bh}; b=".encode()
    digest = Header(headers.raw_fields(unsigned + b"\r\n" + block)).digest(
        0, tags.listed(h.encode()), "relaxed", "sha256"
    )
    made = unsigned + number(digest) + b"\r\n" + results + block
    cv = seal or f"cv={'none' if instance == 1 else 'pass'}"
    unsigned = f"ARC-Seal: {common}; {cv}; b=".encode()
    claimed = arc.plan(Header(headers.raw_fields(unsigned + b"AAAA\r\n" + made)))
    digest = claimed.sets[-1].seal.digest if claimed.sets else b""
    return unsigned + number(digest) + b"\r\n" + made + b"\r\n" + body


def number(digest: bytes) -> bytes:
    return base64.b64encode(signature(KEY.algorithm, KEY.private_key, digest))


class ValidateTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = sealed(HEAD + b"\r\n" + BODY)
        self.two = sealed(self.one, b"dmarc=fail")

    def fails(self, message: bytes, reason: str) -> Arc:
        found = arc_result(message, resolve)
        self.assertIs(found.result, Result.FAIL)
        self.assertIn(reason, found.reason)
        return found

    def test_what_is_told_of_a_good_chain(self) -> None:
        self.assertEqual(
            arc_result(self.two, resolve),
            Arc(Result.PASS, sealers=("hop1.example", "hop2.example"), dmarc_passed=(True, False)),
        )

    def test_no_chain(self) -> None:
        self.assertEqual(arc_result(HEAD + b"\r\n" + BODY, resolve), Arc(Result.NONE))

    def test_from_where_on_the_message_is_as_it_was(self) -> None:
        changed = self.one.replace(b"Subject: hello", b"Subject: [list] hello")
        self.fails(changed, "the newest message signature")
        found = arc_result(sealed(sealed(changed)), resolve)
        self.assertEqual((found.result, found.oldest_pass), (Result.PASS, 2))

    def test_an_old_message_signature_may_be_unreadable(self) -> None:
        changed = self.one.replace(b"c=relaxed/relaxed", b"c=relaxed/pancake")
        self.fails(changed, "c=relaxed/pancake is not known")
        found = arc_result(sealed(changed), resolve)
        # The first seal was over what it was.
        self.assertEqual((found.result, found.reason), (Result.FAIL, "seal 1: the signature does not match the header"))

    def test_a_message_signature_over_seals(self) -> None:
        self.fails(sealed(self.one, h="from:ARC-Seal"), "it is over seals")

    def test_what_a_seal_says_of_the_chain_before_it(self) -> None:
        for said in ("cv=pass", "cv=fail", "cv=", "x=y", "cv=NONE", "cv"):
            self.assertIs(arc_result(sealed(HEAD + b"\r\n" + BODY, seal=said), resolve).result, Result.FAIL, said)
        for said in ("cv=none", "cv=fail", "cv=", "x=y", "cv=Pass"):
            self.assertIs(arc_result(sealed(self.one, seal=said), resolve).result, Result.FAIL, said)

    def test_instances_are_from_one_without_a_gap(self) -> None:
        self.fails(sealed(self.one, at=3), "not one field of each kind")
        self.fails(sealed(HEAD + b"\r\n" + BODY, at=2), "not one field of each kind")
        self.fails(sealed(self.one, at=1), "two fields of a kind are of instance 1")
        self.fails(sealed(self.one, at=51), "out of range")

    def test_fifty_are_allowed_and_no_more(self) -> None:
        message = HEAD + b"\r\n" + BODY
        for _ in range(arc_sets.MAX_SETS):
            message = sealed(message)
        self.assertIs(arc_result(message, resolve).result, Result.PASS)
        self.fails(b"ARC-Seal: i=1\r\n" + message, "more than 50")

    def test_trouble_of_the_dns_is_a_failure_for_now(self) -> None:
        for status, temporary in ((Status.SERVFAIL, True), (Status.TIMEOUT, True), (Status.NO_NAME, False)):
            found = arc_result(self.two, zone({"s._domainkey.hop2.example": status}))
            self.assertEqual((found.result, found.temporary), (Result.FAIL, temporary))
            found = arc_result(
                self.two, zone({"s._domainkey.hop1.example": status, "s._domainkey.hop2.example": RECORD})
            )
            self.assertEqual((found.result, found.temporary), (Result.FAIL, temporary))

    def test_all_keys_are_wanted_at_once_and_none_for_a_chain_that_is_not_well_formed(self) -> None:
        for message, count in ((self.two, 2), (sealed(self.one, at=3), 0)):
            header, body = read(message)
            chain = arc.plan(header)
            self.assertEqual(len(chain.questions), count)
            facts = Facts({}.get)
            try:
                arc.validate(facts, chain, hashed(chain.forms, body), at=NOW, dmarc_passed=bool)
            except NotYetKnown:
                pass
            self.assertEqual(tuple(facts.missing), chain.questions)

    def test_results_for_another_author_are_none(self) -> None:
        for said, passed in ((b"header.from=acme.example", True), (b"header.from=evil.example", False)):
            message = sealed(HEAD + b"\r\n" + BODY, b"dmarc=pass " + said)
            self.assertEqual(arc_result(message, resolve).dmarc_passed, (passed,))

    def test_a_second_author_on_top_breaks_the_message_signature(self) -> None:
        self.fails(b"From: boss@acme.example\r\n" + self.one, "not every From field is signed")

    def test_what_the_sets_say_is_bounded(self) -> None:
        message = sealed(HEAD + b"\r\n" + BODY, b"x" * arc_sets.MAX_RESULTS_OCTETS)
        self.fails(message, "more results")

    def test_a_header_that_is_not_seen_whole(self) -> None:
        self.fails(self.one.replace(b"Subject", b"X: y\r\n" * headers.MAX_FIELDS + b"Subject"), "more fields")

    def test_the_seal_is_over_all_before_it(self) -> None:
        for place in range(0, self.two.index(b"From:"), 3):
            changed = bytearray(self.two)
            changed[place] ^= 1
            if self.two[place : place + 1].isspace():
                continue
            self.assertIsNot(arc_result(bytes(changed), resolve).result, Result.PASS, changed[:place])


WORDS = st.sampled_from(
    [
        *b"i=1,i=2,i=0,i=,cv=none,cv=pass,cv=,a=rsa-sha256,d=acme.example,s=s1,h=from,h=,bh=AAAA,b=AAAA,t=".split(b","),
        *(b";", b"; ", b"=", b":", b"\r\n ", b"\xff", b"dmarc=pass"),
    ]
)
NAMES = st.sampled_from([b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])


class FuzzTest(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(NAMES, st.lists(WORDS, max_size=20).map(b"".join)), min_size=1, max_size=6))
    def test_whatever_it_says_it_is_no_pass(self, fields: list[tuple[bytes, bytes]]) -> None:
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.assertIs(arc_result(head + HEAD + b"\r\n" + BODY, resolve).result, Result.FAIL)
