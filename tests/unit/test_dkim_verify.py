"""mtad.verification.dkim: each rule of RFC 6376 §6 and RFC 8301, by signatures made for it; dkimpy made others."""

import base64
import hashlib
from itertools import product

import dkim as dkimpy
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.model.answer import Kind, Question, Status
from mtad.model.authentication import Dkim, Result
from mtad.model.dkim import key_type
from mtad.verification import claims, dkim, key_record, signature_field, tags
from mtad.verification.facts import Facts, NotYetKnown
from mtad.verification.keys import KeyPair, generate
from mtad.verification.signed_header import MAX_SIGNED_OCTETS, Header
from mtad.verification.signing import signature

from .verified import NOW, Resolve, dkim_results, hashed, read, zone

RSA = generate("rsa2048")
ED25519 = generate("ed25519")
HEAD = b"From: Joe <joe@acme.example>\r\nTo: sue@b.example\r\nSubject:  Is  dinner\r\n ready?\r\n"
BODY = b"Hi. \r\n\r\nAre you   hungry?\r\n"
NAME = "s1._domainkey.acme.example"
TAGS = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=acme.example; s=s1; h=from:to:subject"


def record(key: KeyPair, terms: str = "v=DKIM1; ") -> bytes:
    return f"{terms}k={key_type(key.algorithm)}; p={key.public_key}".encode()


def published(key: KeyPair = ED25519, terms: str = "v=DKIM1; ") -> Resolve:
    return zone({NAME: record(key, terms)})


def signed(
    said: str = TAGS, *, key: KeyPair = ED25519, head: bytes = HEAD, body: bytes = BODY, bh: bytes | None = None
) -> bytes:
    """Return a message with a signature that says this, and holds if it may say so."""
    found = tags.parse(said.encode())
    header_form, _, body_form = found.get(b"c", b"simple/simple").decode().partition("/")
    if bh is None:
        bh = hashlib.sha256(canonical_body(body, body_form or "simple", tags.number(found, b"l"))).digest()
    unsigned = f" {said}; bh={base64.b64encode(bh).decode()}; b=".encode()
    header = Header([(b"DKIM-Signature", unsigned), *headers.raw_fields(head)])
    digest = header.digest(0, tags.listed(found.get(b"h", b"")), header_form, "sha256")
    made = base64.b64encode(signature(key.algorithm, key.private_key, digest))
    return b"DKIM-Signature:" + unsigned + made + b"\r\n" + head + b"\r\n" + body


def canonical_body(body: bytes, form: str, limit: int | None) -> bytes:
    made = dkimpy.canonicalization.CanonicalizationPolicy.from_c_value(f"{form}/{form}".encode())
    return made.canonicalize_body(body)[:limit]


def pem(key: KeyPair) -> bytes:
    loaded = load_pem_private_key(key.private_key, None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


class VerifyTest(SynchronousTestCase):
    def result(self, message: bytes, resolve: Resolve | None = None, at: float = NOW) -> Dkim:
        (found,) = dkim_results(message, resolve or published(), at=at)
        return found

    def check(
        self, expected: Result, reason: str, said: str, resolve: Resolve | None = None, **signing: object
    ) -> Dkim:
        found = self.result(signed(said, **signing), resolve)
        self.assertIs(found.result, expected, found)
        self.assertIn(reason, found.reason)
        return found

    def test_what_is_told_of_a_good_signature(self) -> None:
        made = signed(f"{TAGS}; i=joe@Sub.acme.example")
        start = made.partition(b"; b=")[2][:8].decode()
        self.assertEqual(
            self.result(made),
            Dkim(
                Result.PASS,
                "acme.example",
                "s1",
                identity="joe@Sub.acme.example",
                algorithm="ed25519-sha256",
                signature=start,
                key_bits=256,
            ),
        )

    def test_rsa(self) -> None:
        said = TAGS.replace("ed25519", "rsa")
        found = self.check(Result.PASS, "", said, published(RSA), key=RSA)
        self.assertEqual(found.key_bits, 2048)
        self.check(Result.PASS, "", said, published(RSA, ""), key=RSA)

    def test_a_changed_body_or_header(self) -> None:
        made = signed()
        self.assertIn("body", self.fails(made.replace(b"hungry", b"Hungry")))
        self.assertIn("header", self.fails(made.replace(b"dinner", b"lunch!")))
        self.assertIn("header", self.fails(made.replace(b"s=s1;", b"s=s1 ;")))
        # What relaxed does not see, and what is not signed.
        for same in (made.replace(b"  Is  dinner", b" Is\t dinner"), made.replace(b"To:", b"X: y\r\nTO :")):
            self.assertIs(self.result(same).result, Result.PASS)

    def fails(self, message: bytes, resolve: Resolve | None = None) -> str:
        found = self.result(message, resolve)
        self.assertIs(found.result, Result.FAIL, found)
        return found.reason

    def test_what_was_signed_as_missing_must_stay_so(self) -> None:
        made = signed(f"{TAGS}:subject:reply-to")
        self.assertIs(self.result(made).result, Result.PASS)
        self.fails(made.replace(b"To:", b"Reply-To: z@z.example\r\nTo:"))
        self.fails(made.replace(b"To:", b"Subject: another\r\nTo:"))

    def test_the_last_of_a_name_is_the_first_that_is_signed(self) -> None:
        made = signed(head=HEAD.replace(b"To:", b"Subject: one\r\nTo:"))
        self.assertIs(self.result(made.replace(b"Subject: one", b"Subject: two")).result, Result.PASS)

    def test_no_author_may_be_put_on_top(self) -> None:
        found = self.result(b"From: boss@acme.example\r\n" + signed())
        self.assertEqual((found.result, found.reason), (Result.PERMERROR, "not every From field is signed"))
        both = HEAD + b"From: boss@acme.example\r\n"
        self.check(Result.PASS, "", TAGS.replace("from:", "from:from:"), head=both)

    def test_signatures_over_signatures(self) -> None:
        inner = signed()
        head, _, body = inner.partition(b"\r\n\r\n")
        outer = signed(f"{TAGS}:dkim-signature", head=head + b"\r\n", body=body)
        self.assertEqual([each.result for each in dkim_results(outer, published())], [Result.PASS] * 2)
        results = dkim_results(outer.replace(b"; b=", b"; b= ").replace(b"; b= ", b"; b=", 1), published())
        self.assertEqual([each.result for each in results], [Result.FAIL, Result.PASS])

    def test_what_cannot_be_read_is_a_permanent_error(self) -> None:
        for said, reason in {
            TAGS.replace("v=1; ", ""): "v= is missing",
            TAGS.replace("v=1", "v=2"): "v=2 is not known",
            TAGS.replace("a=ed25519-sha256; ", ""): "a= is missing",
            TAGS.replace("ed25519-sha256", "rsa-sha1"): "a=rsa-sha1 is not believed",
            TAGS.replace("ed25519-sha256", "Ed25519-SHA256"): "is not believed",
            TAGS.replace("d=acme.example; ", ""): "d= is missing",
            TAGS.replace("d=acme.example", "d=acme example"): "d= is no domain name",
            TAGS.replace("d=acme.example", "d=acme..example"): "d= is no domain name",
            TAGS.replace("d=acme.example", "d=" + "a." * 200 + "example"): "d= is no domain name",
            TAGS.replace("s=s1", "s="): "s= is empty",
            TAGS.replace("s=s1", "s=" + "s." * 120 + "s"): "too long together",
            TAGS.replace("from:", ""): "From is not signed",
            TAGS.partition("; h=")[0]: "h= is missing",
            TAGS + ":x" * 1001: "h= has too many names",
            f"{TAGS}; x=1; t=2": "expires before",
            f"{TAGS}; t=soon": "t= is no number",
            f"{TAGS}; l=-1": "l= is no number",
            f"{TAGS}; q=http/get": "q=http/get is not known",
            f"{TAGS}; i=joe@b.example": "i= is not of the domain",
            f"{TAGS}; i=joe@evilacme.example": "i= is not of the domain",
            f"{TAGS}; i=acme.example": "i= is not of the domain",
            f"{TAGS}; nonsense": "not a list of tags",
            f"{TAGS}; s=s2": "s= is there twice",
            f"{TAGS}; n={'x' * tags.MAX_OCTETS}": "too long",
            f"{TAGS}; n=\x00": "control characters",
        }.items():
            with_tags = b"DKIM-Signature: " + said.encode() + b"; bh=AAAA; b=AAAA\r\n" + HEAD + b"\r\n" + BODY
            found = self.result(with_tags)
            self.assertEqual((found.result, reason in found.reason), (Result.PERMERROR, True), (said[:200], found))
        loose = signed().replace(b"relaxed/relaxed", b"relaxed/loose")
        self.assertIn("c=relaxed/loose is not known", self.result(loose).reason)

    def test_the_numbers_must_be_base64(self) -> None:
        made = signed()
        bh = made.partition(b"bh=")[2].partition(b";")[0]
        for broken in (b"", b"=", b"AAA", b"AA\xffA", b"A" * 7):
            for message in (made.replace(bh, broken), made.partition(b" b=")[0] + b" b=" + broken + b"\r\n" + HEAD):
                self.assertIs(self.result(message).result, Result.PERMERROR, message)
        self.assertIs(self.result(made.replace(bh, bh[:9] + b"\r\n\t " + bh[9:])).result, Result.FAIL)

    def test_white_space_unknown_tags_and_queries(self) -> None:
        for said in (
            TAGS.replace("; ", "\r\n\t;\r\n ").replace("=", " = "),
            f"{TAGS}; q=dns/txt:http; x_1=of no meaning",
            TAGS.replace("from:to", "FROM\r\n : :To"),
            TAGS.replace("relaxed/relaxed", "relaxed"),
            TAGS.replace("c=relaxed/relaxed; ", ""),
            TAGS.replace("d=acme.example", "d=ACME.Example"),
        ):
            self.check(Result.PASS, "", said)

    def test_times(self) -> None:
        made = signed(f"{TAGS}; t=1000; x=2000")
        self.assertIs(self.result(made, at=2000.0).result, Result.PASS)
        expired = self.result(made, at=2001.0)
        self.assertEqual((expired.result, expired.reason), (Result.FAIL, "the signature has expired"))
        made = signed(f"{TAGS}; t=10000")
        self.assertIs(self.result(made, at=10000.0 - claims.FUTURE_SECONDS).result, Result.PASS)
        self.assertIs(self.result(made, at=9999.0 - claims.FUTURE_SECONDS).result, Result.POLICY)

    def test_a_part_of_the_body_is_never_enough(self) -> None:
        whole = len(canonical_body(BODY, "relaxed", None))
        self.check(Result.PASS, "", f"{TAGS}; l={whole}")
        for limit in (0, 1, whole - 2, whole - 1):
            found = self.check(Result.POLICY, "l=", f"{TAGS}; l={limit}")
            self.assertTrue(found.partial)
        self.assertTrue(self.result(signed(f"{TAGS}; l={whole}") + b"and more").partial)
        for limit in (whole + 1, 10**11):
            self.check(Result.PERMERROR, "beyond the end", f"{TAGS}; l={limit}")
        self.fails(signed(f"{TAGS}; l=5").replace(b"Hi.", b"Ho."))

    def test_keys_that_are_not_there(self) -> None:
        for status in (Status.NO_NAME, Status.NO_DATA):
            found = self.result(signed(), zone({NAME: status}))
            self.assertEqual((found.result, found.key_bits), (Result.PERMERROR, None))
            self.assertIn(status.value, found.reason)
        for status in (Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.BOGUS):
            found = self.result(signed(), zone({NAME: status}))
            self.assertEqual((found.result, status.value in found.reason), (Result.TEMPERROR, True))
            # No key could make it hold again.
            self.fails(signed().replace(b"hungry", b"Hungry"), zone({NAME: status}))

    def test_keys_that_are_not_for_this(self) -> None:
        for text, reason in {
            b"v=DKIM1; p=": "revoked",
            b"v=DKIM1": "p= is missing",
            b"v=DKIM2; p=AAAA": "version",
            record(ED25519, "k=ed25519; v=DKIM1; ").replace(b"; k=ed25519", b""): "version",
            record(ED25519, "s=web; "): "not for mail",
            record(ED25519, "h=sha1; "): "not for sha256",
            record(RSA): "the key is for rsa",
            record(RSA).replace(b"k=rsa; ", b""): "the key is for rsa",
            record(ED25519).replace(b"k=ed25519; ", b""): "no RSA key",
            record(ED25519).replace(b"k=ed25519", b"k=dsa"): "k=dsa is not known",
            record(RSA).replace(b"k=rsa", b"k=ed25519"): "no Ed25519 key",
            b"v=DKIM1; k=ed25519; p=%%%%": "no base64",
            record(ED25519, f"n={'x' * 5000}; "): "too long",
            b"v=spf1 -all": "version",
            b"\xff\x00": "control characters",
        }.items():
            found = self.result(signed(), zone({NAME: text}))
            self.assertEqual((found.result, reason in found.reason), (Result.PERMERROR, True), (text, found))

    def test_terms_of_a_key(self) -> None:
        for terms in ("s=*; ", "s=web:email; ", "h=sha1:sha256; ", "g=nobody; ", "t=; ", "n=a note; ", "x=y; "):
            self.check(Result.PASS, "", TAGS, published(terms=terms))
        self.assertTrue(self.check(Result.PASS, "", TAGS, published(terms="t=x:y; ")).testing)
        strict = published(terms="t=s; ")
        self.check(Result.PASS, "", f"{TAGS}; i=joe@ACME.example", strict)
        self.check(Result.PERMERROR, "subdomains", f"{TAGS}; i=joe@sub.acme.example", strict)

    def test_of_several_keys_one_is_enough(self) -> None:
        other = generate("ed25519")
        both = zone({NAME: [record(other), record(ED25519)]})
        self.assertIs(self.result(signed(), both).result, Result.PASS)
        self.fails(signed(), zone({NAME: [record(other), b"v=spf1"]}))
        self.fails(signed(), zone({NAME: [b"v=spf1", record(other)]}))
        self.fails(signed(), zone({NAME: [record(other)] * claims.MAX_RECORDS + [record(ED25519)]}))

    def test_lengths_of_rsa_keys(self) -> None:
        said = TAGS.replace("ed25519", "rsa")
        for bits, exponent, expected in ((1023, 65537, Result.FAIL), (512, 65537, Result.FAIL), (1024, 3, Result.FAIL)):
            text = self.forged(bits, exponent)
            found = self.result(signed(said, key=RSA), zone({NAME: text}))
            self.assertEqual((found.result, found.key_bits), (expected, bits))
            self.assertEqual("only" in found.reason, bits < 1024)
        for bits, exponent in ((4097, 65537), (2048, 2**33 + 1), (2048, 2**2040 + 1)):
            found = self.result(signed(said, key=RSA), zone({NAME: self.forged(bits, exponent)}))
            self.assertEqual(
                (found.result, found.reason), (Result.PERMERROR, "the key is larger than is computed with")
            )

    def forged(self, bits: int, exponent: int) -> bytes:
        numbers = RSAPublicNumbers(exponent, 2 ** (bits - 1) + 12345)
        octets = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; p=" + base64.b64encode(octets)

    def test_a_key_may_be_in_the_form_of_pkcs_1(self) -> None:
        public = load_pem_private_key(RSA.private_key, None).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        text = b"v=DKIM1; p=" + base64.b64encode(public)
        self.check(Result.PASS, "", TAGS.replace("ed25519", "rsa"), zone({NAME: text}), key=RSA)

    def test_names_in_other_scripts(self) -> None:
        resolve = zone({"s1._domainkey.xn--fa-hia.example": record(ED25519)})
        for domain in ("faß.example", "xn--fa-hia.example"):
            said = TAGS.replace("acme.example", domain) + f"; i=ü@sub.{domain}"
            self.assertEqual(self.check(Result.PASS, "", said, resolve).domain, "xn--fa-hia.example")

    def test_an_identity_in_quoted_printable(self) -> None:
        said = f"{TAGS}; i=joe=2Bsix=20=3Bp\r\n ack@acme.example"
        self.assertEqual(self.check(Result.PASS, "", said).identity, "joe+six ;pack@acme.example")

    def test_only_ten_are_checked(self) -> None:
        head, _, body = signed().partition(b"\r\n\r\n")
        field = head[: head.index(b"\r\n") + 2]
        results = dkim_results(field * 17 + HEAD + b"\r\n" + body, published())
        self.assertEqual([each.result for each in results], [Result.PASS] * 10 + [Result.POLICY])
        self.assertIn("7 not checked", results[-1].reason)

    def test_a_header_that_is_not_seen_whole(self) -> None:
        made = signed().replace(b"To:", b"X: y\r\n" * headers.MAX_FIELDS + b"To:")
        found = self.result(made)
        self.assertEqual((found.result, "more fields" in found.reason), (Result.POLICY, True))

    def test_no_signature_no_result(self) -> None:
        self.assertEqual(dkim_results(HEAD + b"\r\n" + BODY, zone({})), ())
        self.assertEqual(dkim_results(b"", zone({})), ())

    def test_all_keys_are_wanted_at_once(self) -> None:
        head, _, body = signed(TAGS.replace("s=s1", "s=s2")).partition(b"\r\n\r\n")
        header, body = read(signed(head=head + b"\r\n", body=body))
        planned = dkim.plan(header)
        facts = Facts({}.get)
        self.assertRaises(NotYetKnown, dkim.verify, facts, planned, hashed(planned.forms, body), at=NOW)
        self.assertEqual(list(facts.missing), list(planned.questions))
        self.assertEqual(len(planned.questions), 2)
        self.assertIn(Question(NAME, Kind.TXT), planned.questions)


class DkimpyTest(SynchronousTestCase):
    """What dkimpy signs passes here, in all four forms, whatever the octets."""

    KEY = pem(RSA)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(list(product((b"simple", b"relaxed"), repeat=2))),
        st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"x", b":", b";", b"\xe9", b"Y"]), max_size=12).map(b"".join),
        st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"\xff"]), max_size=20).map(b"".join),
        st.booleans(),
    )
    def test_what_it_signs(self, forms: tuple[bytes, bytes], value: bytes, body: bytes, limited: bool) -> None:
        message = b"From: joe@acme.example\r\nsUBJECT:" + value + b"x\r\nTo: b\r\nTo: c\r\n\r\n" + body + b"\r\n"
        field = dkimpy.sign(
            message,
            b"s1",
            b"acme.example",
            self.KEY,
            canonicalize=forms,
            include_headers=[b"from", b"subject", b"to", b"to", b"to"],
            length=limited,
        )
        (found,) = dkim_results(field + message, published(RSA), at=NOW * 2)
        self.assertIs(found.result, Result.PASS, (field, message))
        self.assertIs(dkim_results(field + message + b"!", published(RSA), at=NOW * 2)[0].partial, limited)


WORDS = st.sampled_from(
    [
        *b"v=1,a=rsa-sha256,a=ed25519-sha256,d=acme.example,s=s1,h=from,bh=,b=,l=1,i=@,t=9,x=1,c=/,q=,AAAA".split(b","),
        *(b";", b"; ", b"=", b":", b"\r\n ", b"\xff", b"acme.example"),
    ]
)


class FuzzTest(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.lists(WORDS, max_size=24).map(b"".join), max_size=3), st.lists(WORDS, max_size=9).map(b"".join))
    def test_whatever_it_says_there_is_a_result(self, values: list[bytes], text: bytes) -> None:
        head = b"".join(b"DKIM-Signature: " + value + b"\r\n" for value in values)
        results = dkim_results(head + HEAD + b"\r\n" + BODY, lambda question: zone({question.name: text})(question))
        self.assertEqual(len(results), len(values))
        self.assertNotIn(Result.PASS, [each.result for each in results])

    @settings(deadline=None)
    @given(st.binary(max_size=300))
    def test_any_octets(self, octets: bytes) -> None:
        self.assertNotIn(Result.PASS, [each.result for each in dkim_results(b"DKIM-Signature:" + octets, zone({}))])
        for read_it in (tags.parse, key_record.read):
            try:
                read_it(octets)
            except ValueError as error:
                self.assertTrue(str(error).isprintable())


class BoundsTest(SynchronousTestCase):
    def test_what_is_hashed_of_a_header_is_bounded(self) -> None:
        large = b"Subject: " + b"x" * (MAX_SIGNED_OCTETS // 8) + b"\r\n"
        field = signed().partition(b"\r\n")[0] + b"\r\n"
        results = dkim_results(field * 10 + large + HEAD.partition(b"Subject")[0] + b"\r\n" + BODY, published())
        self.assertEqual([each.result for each in results], [Result.FAIL] * 7 + [Result.PERMERROR] * 3)

    def test_keys_are_read_once(self) -> None:
        key_record.read.cache_clear()
        for _ in range(3):
            dkim_results(signed(), published())
        self.assertEqual(key_record.read.cache_info().misses, 1)

    def test_labels_are_made_of_a_bounded_name(self) -> None:
        self.assertLess(len(signature_field.a_labels("ü" * 100_000)), 400)
