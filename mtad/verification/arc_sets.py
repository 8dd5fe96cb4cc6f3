"""The ARC sets of a message: found, put in order, and read into what is to be checked (RFC 8617 §4, §5.2 steps 1 to 3).

A chain that is not well formed is a failed one whatever the DNS says, so nothing is asked for it. Reading needs the
header only; `mtad.verification.arc` checks what is claimed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mtad.model.answer import Question
from mtad.model.text import shown
from mtad.verification import signature_field, tags
from mtad.verification.canonical import BodyForm
from mtad.verification.claims import Claim, Signature
from mtad.verification.signed_header import Header
from mtad.verification.tags import Tags

MAX_SETS = 50
MAX_RESULTS_OCTETS = 32 * 1024
"""What all handlers of a message say of it in their results; honest ones need a tenth."""

_RESULTS = b"arc-authentication-results"
_MESSAGE = b"arc-message-signature"
_SEAL = b"arc-seal"
_CRLF = b"\r\n"
# RFC 8617 does not say; it is what the authors' suite takes it for, and what is sealed with.
_UNSAID_FORM = b"relaxed/relaxed"
# arc-info = instance [CFWS] ";" authres-payload ; instance = [CFWS] %s"i" [CFWS] "=" [CFWS] 1*2DIGIT
_INSTANCE_AND_RESULTS = re.compile(rb"[ \t\r\n]*+i[ \t\r\n]*+=[ \t\r\n]*+([0-9]{1,2})[ \t\r\n]*+;(.*+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One handler's set, read. `results` is what it says of the message as it came to it: an authres-payload.

    `signature` is None when the message signature could not hold any more, whatever the DNS says; `unreadable` tells
    why.
    """

    sealer: str
    seal: Claim
    results: bytes
    signature: Signature | None
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """All of a message's sets, the oldest first; none when there are none, or when `problem` says what is wrong."""

    sets: tuple[ArcSet, ...] = ()
    problem: str = ""

    @property
    def forms(self) -> frozenset[BodyForm]:
        """What of the body must be hashed."""
        return frozenset(each.signature.form for each in self.sets if each.signature)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Where the keys are."""
        claims = [each.seal for each in self.sets] + [each.signature.claim for each in self.sets if each.signature]
        return tuple({claim.question: None for claim in claims})


@dataclass(frozen=True, slots=True)
class _Found:
    """A field of a set: where it is, and its tags or what follows its instance."""

    place: int
    tags: Tags
    rest: bytes = b""


def read(header: Header) -> Chain:
    """Return the chain of a message."""
    try:
        return Chain(_sets(header))
    except ValueError as error:
        return Chain(problem=str(error))


def _sets(header: Header) -> tuple[ArcSet, ...]:
    names = (_RESULTS, _MESSAGE, _SEAL)
    if not header.whole and any(header.places(name) for name in names):
        raise ValueError("the header has more fields than are looked at")
    results, messages, seals = (_by_instance(header, name) for name in names)
    if not results.keys() == messages.keys() == seals.keys() == set(range(1, len(seals) + 1)):
        raise ValueError("not one field of each kind for each instance")
    if sum(len(found.rest) for found in results.values()) > MAX_RESULTS_OCTETS:
        raise ValueError("the sets have more results than are looked at")
    in_order = [(results[instance], messages[instance], seals[instance]) for instance in sorted(seals)]
    digests = _seal_digests(header, in_order)
    # The newest first: it matters most, should there be more to hash than is allowed.
    newest_first = reversed(list(zip(in_order, digests, strict=True)))
    sets = tuple(_set(header, fields, digest) for fields, digest in newest_first)[::-1]
    # RFC 8617 §5.2 steps 2 and 3: what the seals say of the chain before them.
    for instance, (_, _, seal) in enumerate(in_order, 1):
        said = tags.needed(seal.tags, b"cv")
        if said != (b"none" if instance == 1 else b"pass"):
            raise ValueError(f"seal {instance} says cv={shown(said, 20)}")
    if sets and sets[-1].signature is None:
        raise ValueError(f"the newest message signature: {sets[-1].unreadable}")
    return sets


def _by_instance(header: Header, name: bytes) -> dict[int, _Found]:
    """Return the fields of that name; ValueError when one is unreadable, or two are of the same instance."""
    places = header.places(name)
    if len(places) > MAX_SETS:
        raise ValueError(f"there are more than {MAX_SETS} sets")
    found: dict[int, _Found] = {}
    for place in places:
        instance, field = _results(header, place) if name == _RESULTS else _tagged(header, place)
        if not 1 <= instance <= MAX_SETS:
            raise ValueError("i= is out of range")
        if instance in found:
            raise ValueError(f"two fields of a kind are of instance {instance}")
        found[instance] = field
    return found


def _results(header: Header, place: int) -> tuple[int, _Found]:
    match = _INSTANCE_AND_RESULTS.fullmatch(header.value(place))
    if match is None:
        raise ValueError("authentication results without an instance")
    return int(match[1]), _Found(place, {}, match[2])


def _tagged(header: Header, place: int) -> tuple[int, _Found]:
    found = tags.parse(header.value(place))
    instance = tags.number(found, b"i")
    if instance is None:
        raise ValueError("i= is missing")
    return instance, _Found(place, found)


def _set(header: Header, fields: tuple[_Found, _Found, _Found], digest: bytes) -> ArcSet:
    results, message, seal = fields
    if b"h" in seal.tags:
        raise ValueError("a seal has h=")
    tags.number(seal.tags, b"t")
    claim = Claim(
        question=signature_field.read_question(seal.tags),
        algorithm=signature_field.read_algorithm(seal.tags),
        digest=digest,
        number=tags.octets(seal.tags, b"b"),
    )
    sealer = signature_field.read_domain(seal.tags)
    try:
        if _SEAL in tags.listed(tags.present(message.tags, b"h")):
            raise ValueError("it is over seals")
        signature = signature_field.read(header, message.place, message.tags, unsaid_form=_UNSAID_FORM)
    except ValueError as error:
        return ArcSet(sealer, claim, results.rest, None, str(error))
    return ArcSet(sealer, claim, results.rest, signature)


def _seal_digests(header: Header, sets: Iterable[tuple[_Found, _Found, _Found]]) -> Iterator[bytes]:
    """Yield what each seal was made over: all sets up to its own, its b= empty (RFC 8617 §5.1.1)."""
    sealed = hashlib.sha256()
    for results, message, seal in sets:
        for each in (results, message):
            sealed.update(header.relaxed(each.place) + _CRLF)
        last = sealed.copy()
        last.update(header.unsigned(seal.place))
        yield last.digest()
        sealed.update(header.relaxed(seal.place) + _CRLF)
