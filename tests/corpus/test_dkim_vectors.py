"""The messages of RFC 6376 and RFC 8463: the same octets are hashed, and the same signature comes out."""

import base64
import hashlib
import re

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.model.dkim import record_text
from mtad.verification.canonical import BodyHash, field
from mtad.verification.keys import KeyPair, generate, read
from mtad.verification.signing import SignedFields, Terms, signature

from . import corpus


def message(name: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return fields and body, the lines ending as on the wire."""
    stored = (corpus("dkim-rfc") / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    block, body = headers.split(stored)
    return headers.fields(block), body


def ed25519_key() -> KeyPair:
    seed = base64.b64decode((corpus("dkim-rfc") / "rfc8032_7_1.key").read_bytes())
    own = Ed25519PrivateKey.from_private_bytes(seed)
    return read(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def body_hash(body: bytes) -> bytes:
    made = BodyHash()
    made.update(body)
    return made.digest()


class VectorsTest(SynchronousTestCase):
    def test_the_body_hash(self) -> None:
        _, body = message("rfc8463-a.msg")
        self.assertEqual(base64.b64encode(body_hash(body)), b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=")

    def test_the_signature_over_the_canonical_fields(self) -> None:
        (name, value), _, *fields = message("rfc8463-a.msg")[0]
        unsigned, _, given = re.fullmatch(rb"(.*\bb=)()([^;]*)", value, re.DOTALL).groups()
        there = {found.lower(): content for found, content in fields}
        order = (b"from", b"to", b"subject", b"date", b"message-id")
        signed = b"".join(field(each, there[each]) + b"\r\n" for each in order) + field(name, unsigned)
        key = ed25519_key()
        made = signature(key.algorithm, key.private_key, hashlib.sha256(signed).digest())
        self.assertEqual(base64.b64encode(made), b"".join(given.split()))

    def test_the_record(self) -> None:
        key = ed25519_key()
        records = (corpus("dkim-rfc") / "rfc8463-a.dns.txt").read_text().replace("\\\n", "")
        self.assertIn(
            record_text(key.algorithm, key.public_key),
            [re.sub(" +", " ", line) for line in re.findall("v=.*", records)],
        )

    def test_each_message_signed_by_us_is_believed(self) -> None:
        count = 0
        for name in ("rfc6376.msg", "rfc6376.w1258.msg", "rfc6376.signed.msg", "rfc8463-a.msg"):
            for key in (ed25519_key(), generate("rsa2048")):
                fields, body = message(name)
                draft = SignedFields(fields).draft(Terms("x.example", "s", key.algorithm, 0.0), body_hash(body))
                top = draft.finished(signature(key.algorithm, key.private_key, draft.digest))
                whole = top + b"".join(each + b":" + value + b"\r\n" for each, value in fields) + b"\r\n" + body
                record = record_text(key.algorithm, key.public_key).encode()
                self.assertTrue(dkim.DKIM(whole).verify(dnsfunc=lambda _, timeout, record=record: record), name)
                count += 1
        print(f"\n    {count} signatures")
