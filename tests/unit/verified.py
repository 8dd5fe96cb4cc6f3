"""A message through the functions that verify it, as the server calls them: plan, hash, ask, check again."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from mtad.message import headers
from mtad.message.authentication_results import dmarc_passed
from mtad.message.author import author_domains
from mtad.model.answer import Answer, Question, Status
from mtad.model.authentication import Arc, Dkim
from mtad.verification import arc, dkim
from mtad.verification.canonical import BodyForm, BodyHashes, blocks
from mtad.verification.claims import ENOUGH, Digests, Strength
from mtad.verification.facts import Facts, NotYetKnown
from mtad.verification.signed_header import Header

Resolve = Callable[[Question], Answer]
NOW = 1_750_000_000.0


def zone(texts: Mapping[str, bytes | list[bytes] | Status]) -> Resolve:
    """Return a resolver that knows these TXT records, or kinds of trouble."""

    def resolve(question: Question) -> Answer:
        there = texts.get(question.name, Status.NO_NAME)
        if isinstance(there, Status):
            return Answer(question, there)
        return Answer(question, Status.FOUND, tuple(there) if isinstance(there, list) else (there,))

    return resolve


def as_sent(octets: bytes) -> bytes:
    """Return a stored message with the line ends it had on the wire."""
    return re.sub(rb"\r?\n", b"\r\n", octets)


def settled(run: Callable[[Facts], object], resolve: Resolve) -> object:
    """Return what a run says once it has all it wants; it may ask once, for all."""
    facts = Facts({}.get)
    try:
        return run(facts)
    except NotYetKnown:
        known = {question: resolve(question) for question in facts.missing}
    return run(Facts(known.get))


def dkim_results(message: bytes, resolve: Resolve, *, at: float = NOW, strength: Strength = ENOUGH) -> tuple[Dkim, ...]:
    header, body = read(message)
    planned = dkim.plan(header, strength)
    digests = hashed(planned.forms, body)
    results = settled(lambda facts: dkim.verify(facts, planned, digests, at=at), resolve)
    assert isinstance(results, tuple)
    return results


def arc_result(message: bytes, resolve: Resolve, *, at: float = NOW) -> Arc:
    header, body = read(message)
    chain = arc.plan(header)
    digests = hashed(chain.forms, body)
    passed = partial(dmarc_passed, authors=author_domains(headers.split(message)[0]))
    result = settled(lambda facts: arc.validate(facts, chain, digests, at=at, dmarc_passed=passed), resolve)
    assert isinstance(result, Arc)
    return result


def read(message: bytes) -> tuple[Header, bytes]:
    block, body = headers.split(message)
    return Header(headers.raw_fields(block), whole=headers.is_whole(block)), body


def hashed(forms: frozenset[BodyForm], body: bytes) -> Digests:
    hashes = BodyHashes(forms)
    for block in blocks(body):
        hashes.update(block)
    return hashes.digests()
