"""What a signature claims, against the keys that the DNS has, the body and the clock (RFC 6376 §6.1.2, §6.1.3).

DKIM signatures and both kinds of ARC come down to a `Claim`: a digest, a number, and where the key is. Nothing here
waits or asks; what the DNS said comes as an `Answer`, and trouble of the DNS never is a failure of the signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mtad.model.answer import Answer, Question
from mtad.model.authentication import Result
from mtad.verification import key_record
from mtad.verification.canonical import BodyDigest, BodyForm
from mtad.verification.key_record import KeyRecord

MAX_RECORDS = 2
"""So many keys of one name are tried; there should be one (RFC 6376 §3.6.2.2)."""

FUTURE_SECONDS = 3600.0
"""So far ahead of ours a signer's clock may be."""

Digests = Mapping[BodyForm, BodyDigest]


@dataclass(frozen=True, slots=True)
class Strength:
    """What a signature must be made with to be looked at; the defaults are RFC 8301's, with RFC 8463's Ed25519."""

    algorithms: frozenset[str] = frozenset(("rsa-sha256", "ed25519-sha256"))
    min_rsa_bits: int = 1024


ENOUGH = Strength()


@dataclass(frozen=True, slots=True)
class Claim:
    """That the key at `question` made `number` of `digest`, by `algorithm`, one that was found acceptable.

    `of_subdomain` tells that it speaks for a subdomain of the key's domain, which not every key may do (t=s).
    """

    question: Question
    algorithm: str
    digest: bytes
    number: bytes
    of_subdomain: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """A claim about the header, and that the body in that form has that hash.

    `signed_at` and `expires_at` are epoch seconds, None when not said.
    """

    claim: Claim
    form: BodyForm
    body_hash: bytes
    signed_at: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of it; the fields are those of `mtad.model.authentication.Dkim`."""

    result: Result
    reason: str = ""
    key_bits: int | None = None
    testing: bool = False
    partial: bool = False


def check(signature: Signature, answer: Answer, digests: Digests, at: float, strength: Strength = ENOUGH) -> Finding:
    """Return whether all that the signature says holds at `at` (epoch seconds); `digests` are the body's."""
    body = digests.get(signature.form)
    finding = replace(judge(signature.claim, answer, strength), partial=body is not None and not body.whole)
    if finding.result is Result.PERMERROR:
        return finding
    if body is None:
        return replace(finding, result=Result.PERMERROR, reason="l= is beyond the end of the body")
    if body.digest != signature.body_hash:
        return replace(finding, result=Result.FAIL, reason="the body is not the one that was signed")
    if signature.expires_at is not None and signature.expires_at < at:
        return replace(finding, result=Result.FAIL, reason="the signature has expired")
    if finding.result is not Result.PASS:
        return finding
    if signature.signed_at is not None and signature.signed_at > at + FUTURE_SECONDS:
        return replace(finding, result=Result.POLICY, reason="the signature is of the future")
    if finding.partial:
        return replace(finding, result=Result.POLICY, reason="a part of the body is not signed (l=)")
    return finding


def judge(claim: Claim, answer: Answer, strength: Strength = ENOUGH) -> Finding:
    """Return whether the claim holds with one of the keys in the answer; else what is wrong with the best of them."""
    if answer.temporary:
        return Finding(Result.TEMPERROR, f"no answer for the key: {answer.status.value}")
    best = Finding(Result.PERMERROR, f"there is no key: {answer.status.value}")
    for number, text in enumerate(answer.texts[:MAX_RECORDS]):
        finding = _judge_by(claim, text, strength)
        if finding.result is Result.PASS:
            return finding
        if number == 0 or finding.result is Result.FAIL:
            best = finding
    return best


def _judge_by(claim: Claim, text: bytes, strength: Strength) -> Finding:
    try:
        record = key_record.read(text)
    except ValueError as error:
        return Finding(Result.PERMERROR, str(error))
    kind, _, hash_name = claim.algorithm.partition("-")
    unfit = _unfit(claim, record, kind, hash_name)
    if unfit:
        return Finding(Result.PERMERROR, unfit, record.bits, record.testing)
    if kind == "rsa" and record.bits < strength.min_rsa_bits:
        return Finding(Result.FAIL, f"the key has only {record.bits} bits", record.bits, record.testing)
    if not record.made(claim.number, claim.digest, hash_name):
        return Finding(Result.FAIL, "the signature does not match the header", record.bits, record.testing)
    return Finding(Result.PASS, "", record.bits, record.testing)


def _unfit(claim: Claim, record: KeyRecord, kind: str, hash_name: str) -> str:
    """Return why the key is not for such a claim, nothing when it is (RFC 6376 §6.1.2, steps 5 to 8)."""
    if record.kind != kind:
        return f"the key is for {record.kind}"
    if record.hashes is not None and hash_name.encode("ascii") not in record.hashes:
        return f"the key is not for {hash_name}"
    if record.strict and claim.of_subdomain:
        return "the key is not for subdomains"
    return ""
