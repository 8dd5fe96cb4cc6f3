"""mtad.verification.signing and keys: dkimpy believes every signature, and no other message."""

import pickle

import dkim
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.model.dkim import parse_selector, record_name, record_text
from mtad.verification.canonical import BodyHash
from mtad.verification.keys import ALGORITHMS, KeyPair, generate, read
from mtad.verification.signing import SEALED, SignedFields, Terms, signature

NOW = 1_700_000_000.9
RSA = generate("rsa2048")
ED25519 = generate("ed25519")
LETTER = (
    b"From: Ann <ann@acme.example>\r\nTo: bob@outside.example\r\nSubject: of\r\n\t two  lines \r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@acme.example>\r\nContent-Type: text/plain\r\n"
    b"X-Unsigned: a\r\n\r\nHello \t Bob, \r\n\r\n.\r\n\r\n"
)


def signed(content: bytes, key: KeyPair, domain: str = "acme.example", selector: str = "s1") -> bytes:
    """Return the content with its signature on top."""
    block, body = headers.split(content)
    body_hash = BodyHash()
    body_hash.update(body)
    draft = SignedFields(headers.fields(block)).draft(Terms(domain, selector, key.algorithm, NOW), body_hash.digest())
    return draft.finished(signature(key.algorithm, key.private_key, draft.digest)) + content


def believed(content: bytes, key: KeyPair, selector: str = "s1", domain: str = "acme.example") -> bool:
    """Return whether dkimpy finds the first signature good, asking for no record but the key's own."""
    records = {f"{record_name(selector, domain)}.".encode(): record_text(key.algorithm, key.public_key).encode()}
    try:
        return dkim.DKIM(content).verify(dnsfunc=lambda name, timeout: records[name])
    except dkim.ValidationError:
        return False


class SignatureTest(SynchronousTestCase):
    def test_each_algorithm_is_believed(self) -> None:
        for algorithm in ALGORITHMS:
            key = generate(algorithm)
            self.assertEqual(key.algorithm, algorithm)
            self.assertTrue(believed(signed(LETTER, key), key), algorithm)
            self.assertFalse(believed(signed(LETTER, key), generate(algorithm.replace("4096", "2048"))), algorithm)

    def test_no_octet_that_counts_may_change(self) -> None:
        for key in (RSA, ED25519):
            whole = signed(LETTER, key)
            for was, becomes in (
                (b"Ann", b"Eve"),
                (b"two", b"tow"),
                (b"Hello", b"hello"),
                (b"\r\n\r\n.\r\n", b"\r\n\r\n..\r\n"),
                (b"\r\n\r\n.\r\n", b"\r\n.\r\n"),
                (b"text/plain", b"text/html"),
                (b"t=1700000000", b"t=1700000001"),
            ):
                self.assertIn(was, whole)
                self.assertFalse(believed(whole.replace(was, becomes, 1), key), was)

    def test_what_does_not_count_may_change(self) -> None:
        whole = signed(LETTER, ED25519)
        for was, becomes in (
            (b"X-Unsigned: a", b"X-Unsigned: b"),
            (b"Subject: of\r\n\t two", b"SUBJECT:of two"),
            (b"Hello \t Bob, ", b"Hello  Bob,"),
            (b".\r\n\r\n", b".\r\n\r\n\r\n"),
            (b"X-Unsigned", b"Received: from x\r\nX-Unsigned"),
        ):
            changed = whole.replace(was, becomes, 1)
            self.assertNotEqual(changed, whole)
            self.assertTrue(believed(changed, ED25519), was)

    def test_another_field_of_a_sealed_name_breaks_it(self) -> None:
        for content in (LETTER, b"X: no other field\r\nFrom: a@acme.example\r\n\r\nbody\r\n"):
            whole = signed(content, ED25519)
            self.assertTrue(believed(whole, ED25519))
            for name in SEALED:
                for place in (0, whole.index(b"\r\nFrom:") + 2, whole.index(b"\r\n\r\n") + 2):
                    forged = whole[:place] + name.title() + b": forged\r\n" + whole[place:]
                    self.assertFalse(believed(forged, ED25519), forged)

    def test_fields_that_come_twice_are_signed_from_the_last(self) -> None:
        content = b"Cc: 1\r\nFrom: a@acme.example\r\nCC: 2\r\ncc: 3\r\nFrom: b@acme.example\r\n\r\nbody\r\n"
        whole = signed(content, ED25519)
        self.assertTrue(believed(whole, ED25519))
        self.assertFalse(believed(whole.replace(b"Cc: 1", b"Cc: 0"), ED25519))

    def test_the_field(self) -> None:
        name, value = headers.fields(headers.split(signed(LETTER, RSA))[0])[0]
        tags = dict(tag.strip().split(b"=", 1) for tag in value.split(b";"))
        self.assertEqual(name, b"DKIM-Signature")
        self.assertEqual(set(tags), {b"v", b"a", b"c", b"d", b"s", b"t", b"bh", b"h", b"b"})
        self.assertEqual((tags[b"a"], tags[b"c"], tags[b"t"]), (b"rsa-sha256", b"relaxed/relaxed", b"1700000000"))
        self.assertEqual(
            b"".join(tags[b"h"].split()),
            b"from:from:to:to:subject:subject:date:date:message-id:message-id:content-type",
        )
        for line in signed(LETTER * 3, RSA).split(b"\r\n"):
            self.assertLessEqual(len(line), 78)
            self.assertTrue(line.isascii())

    def test_several_keys_sign_and_each_is_believed_above_the_others(self) -> None:
        first = signed(LETTER, RSA)
        both = signed(LETTER, ED25519, selector="s2").removesuffix(LETTER) + first
        self.assertTrue(believed(both, ED25519, "s2"))
        self.assertTrue(believed(first, RSA))


class HostileTest(SynchronousTestCase):
    def test_odd_messages_are_signed_and_believed(self) -> None:
        for content in (
            b"From: a@acme.example\r\n",
            b"From: a@acme.example\r\n\r\n",
            b"From: a@acme.example\r\n\r\n\r\n\r\n",
            b"From: a@acme.example\r\n\r\nno end of the last line",
            b"From:\r\n Ann\r\n\t<ann@acme.example>\r\n \r\nSubject:\r\n\r\nbody\r\n",
            b"From: \xe9\xff <a@acme.example>\r\nSubject: \x80\x81\r\n\r\n\xff\xfe bare 8-bit\r\n",
            b"From: a@acme.example\r\nSubject: " + b"b= x; h=from; " * 5000 + b"\r\n\r\nbody\r\n",
            b"From: a@acme.example\r\n" + b"Subject: many\r\n" * 1000 + b"\r\nbody\r\n",
            b"From: a@acme.example\r\n\r\n" + b" \t\r\n" * 1000,
        ):
            for key in (RSA, ED25519):
                self.assertTrue(believed(signed(content, key), key), content[:60])

    def test_without_fields_there_is_a_signature_that_harms_nobody(self) -> None:
        field = signed(b"\r\nbody\r\n", ED25519)
        self.assertTrue(field.startswith(b"DKIM-Signature: "))

    def test_a_long_domain_keeps_lines_short(self) -> None:
        domain = ".".join(["x" * 63] * 3 + ["y" * 61])
        whole = signed(LETTER, ED25519, domain, "s" * 63)
        self.assertTrue(believed(whole, ED25519, "s" * 63, domain))
        self.assertLess(max(map(len, whole.split(b"\r\n"))), 998)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["From", "to", "X", "CC"]), st.sampled_from([" a", "b\r\n c", "", " \t d "]))
        ),
        st.lists(st.sampled_from([b" ", b"\r\n", b"x", b"\t", b"\xf0"])).map(b"".join),
    )
    def test_any_message_is_believed(self, fields: list[tuple[str, str]], body: bytes) -> None:
        block = "".join(f"{name}:{value}\r\n" for name, value in [*fields, ("From", "a@acme.example")])
        self.assertTrue(believed(signed(block.encode() + b"\r\n" + body + b"\r\n", ED25519), ED25519))


class KeysTest(SynchronousTestCase):
    def pem(self, key: object, form: PrivateFormat = PrivateFormat.PKCS8, words: bytes = b"") -> bytes:
        return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(words) if words else NoEncryption())

    def test_a_key_that_was_written_is_read_as_it_was(self) -> None:
        for key in (RSA, ED25519):
            self.assertEqual(read(key.private_key), key)

    def test_forms_people_have(self) -> None:
        own = rsa.generate_private_key(65537, 3072)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            key = read(b"some words before\n" + self.pem(own, form))
            self.assertEqual(key.algorithm, "rsa3072")
            self.assertIn(b"-----BEGIN PRIVATE KEY-----", key.private_key)
            self.assertTrue(believed(signed(LETTER, key), key))

    def test_keys_that_will_not_do(self) -> None:
        weak, curve = rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256R1())
        for pem, said in {
            self.pem(weak): "expected RSA with 2048 to 4096 bits, got 1024",
            self.pem(curve): "expected an RSA or an Ed25519 key",
            self.pem(Ed25519PrivateKey.generate(), words=b"x"): "expected a private key without a passphrase",
            b"": "expected a private key as PEM, RSA or Ed25519",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "expected a private key as PEM, RSA or",
        }.items():
            with self.assertRaises(ValueError) as caught:
                read(pem)
            self.assertIn(said, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_private_halves_are_not_shown(self) -> None:
        self.assertNotIn("PRIVATE", repr(RSA))

    def test_a_key_that_is_not_what_its_row_says(self) -> None:
        for algorithm, key in (("rsa2048", ED25519), ("ed25519", RSA), ("dsa", RSA)):
            with self.assertRaisesRegex(ValueError, f"a key is not what its row says, {algorithm}"):
                signature(algorithm, key.private_key, bytes(32))

    def test_the_slow_part_can_be_done_in_another_process(self) -> None:
        work, arguments = pickle.loads(pickle.dumps((signature, ("ed25519", ED25519.private_key, bytes(32)))))
        self.assertEqual(work(*arguments), signature("ed25519", ED25519.private_key, bytes(32)))


class RecordTest(SynchronousTestCase):
    def test_selectors(self) -> None:
        self.assertEqual(parse_selector("S1.2024-Oct"), "s1.2024-oct")
        for wrong in ("", "a_b", "-a", "a-", "a..b", ".a", "a;b", "é", "x" * 64, "a\n"):
            self.assertRaises(ValueError, parse_selector, wrong)

    def test_records(self) -> None:
        self.assertEqual(record_name("s1", "acme.example"), "s1._domainkey.acme.example")
        self.assertEqual(record_text("rsa2048", "MII="), "v=DKIM1; k=rsa; p=MII=")
        self.assertEqual(record_text("ed25519", "x"), "v=DKIM1; k=ed25519; p=x")
