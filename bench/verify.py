"""What identity costs: messages a second that one core verifies and signs, and how long a large one keeps the reactor.

python -m bench.verify

Verified is what the server verifies of each message from outside, by the same service: SPF of sender and greeting, a
DKIM signature of RSA 2048, ARC, DMARC, iprev, 4 KB, with all of the DNS in the cache. dkimpy and pyspf do the same
beside it, without DMARC and iprev, given the same answers. Signed is the whole of a submission's signature, the
arithmetic as well, which the server has done in another process. No reactor runs: each step of the end of a message's
data, up to where the reactor would turn, is timed.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import dkim
import spf
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from mtad.adapters.resolver.cache import Cache
from mtad.adapters.spool import DiskSpool
from mtad.inbound.reception import Reception, Transaction
from mtad.inbound.screening import Identity, Screening
from mtad.inbound.verification import VerificationService, Wanted
from mtad.interfaces import IAcceptance, IResolver
from mtad.message import headers
from mtad.message.authentication_fields import Subject
from mtad.model.address import Address
from mtad.model.answer import Answer, Question
from mtad.model.authentication import Authentication, Checks, OwnChecks, Result, Strictness
from mtad.model.content import Content
from mtad.model.dkim import record_text
from mtad.model.envelope import Envelope, Peer
from mtad.model.job import Acceptance
from mtad.model.reply import Reply
from mtad.model.route import Place, Route
from mtad.model.tenant import Domain, Submitter
from mtad.testing.clock import MemoryWallClock
from mtad.testing.journal import MemoryJournal
from mtad.testing.resolver import MemoryResolver
from mtad.verification.canonical import BodyHash
from mtad.verification.keys import generate
from mtad.verification.signing import SignedFields, Terms, signature

MESSAGES = 500
ROUNDS = 5
BODY_OCTETS = 4096
LARGE_OCTETS = 25 * 1024 * 1024
KEY = generate("rsa2048")
RECORD = record_text(KEY.algorithm, KEY.public_key)
SENDER = Address("ann", "sender.example")
SUBJECT = Subject("192.0.2.7", "mx.sender.example", SENDER)
EVERYTHING = Wanted(spf=True, dkim=True, dmarc=True)
ZONE = {
    "sender.example": ["TXT v=spf1 include:_spf.sender.example -all"],
    "_spf.sender.example": ["TXT v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all"],
    "mx.sender.example": ["TXT v=spf1 a -all", "A 192.0.2.7"],
    "7.2.0.192.in-addr.arpa": ["PTR mx.sender.example"],
    "_dmarc.sender.example": ["TXT v=DMARC1; p=reject"],
    "s1._domainkey.sender.example": [f"TXT {RECORD}"],
}
HEAD = (
    b"From: Ann <ann@sender.example>\r\nTo: alice@acme.example\r\nSubject: number %d\r\n"
    b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <%d@sender.example>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
)


class Turns(Clock):
    """A clock of which one call at a time can be made: `advance` makes those as well that others made due meanwhile."""

    def one(self) -> None:
        """Make the call that is due."""
        call = self.calls.pop(0)
        call.called = 1
        call.func(*call.args, **call.kw)


@implementer(IResolver)
class Warm:
    """The cache of the resolver, in which everything is that is in the zone."""

    def __init__(self, clock: Clock) -> None:
        self._zone = MemoryResolver(clock, ZONE)
        self._cache = Cache()

    def known(self, question: Question) -> Answer | None:
        """Return what is in the cache."""
        return self._cache.get(question, 0.0)

    async def resolve(self, question: Question) -> Answer:
        """Fill the cache."""
        return self._cache.put(await self._zone.resolve(question), 0.0)


@implementer(IAcceptance)
class Sink:
    """Takes everything and keeps nothing."""

    def __init__(self) -> None:
        self._ids = count(1)

    def ready(self) -> "Deferred[None]":
        """See IAcceptance."""
        return succeed(None)

    def next_id(self) -> int:
        """See IAcceptance."""
        return next(self._ids)

    def accept(self, acceptance: Acceptance) -> "Deferred[None]":
        """See IAcceptance."""
        return succeed(None)


def letter(number: int, body: bytes) -> bytes:
    """Return a message signed as a submission is."""
    head = HEAD % (number, number)
    return sign(head, body) + head + b"\r\n" + body


def sign(head: bytes, body: bytes) -> bytes:
    """Return the signature of a message, as `mtad.inbound.signing` and what it offloads make it."""
    body_hash = BodyHash()
    body_hash.update(body)
    terms = Terms("sender.example", "s1", KEY.algorithm, 1_600_000_000.0)
    draft = SignedFields(headers.fields(head)).draft(terms, body_hash.digest())
    return draft.finished(signature(KEY.algorithm, KEY.private_key, draft.digest))


def verification(clock: Clock) -> VerificationService:
    wall = MemoryWallClock(clock)
    return VerificationService(resolver=Warm(clock), clock=clock, wall=wall, hostname="mx.test")


def verify(service: VerificationService, message: bytes) -> Authentication:
    """Verify as the server does; with a warm cache there is nothing to wait for."""
    found: list[Authentication] = []
    service.verify(SUBJECT, message, EVERYTHING).addCallback(found.append)
    return found[0]


def verify_with_dkimpy(message: bytes) -> None:
    """Verify a signature with dkimpy, and the envelope and greeting with pyspf."""
    verifier = dkim.DKIM(message)
    assert verifier.verify(dnsfunc=lambda name, timeout: RECORD.encode())
    for sender in (str(SENDER), ""):
        result, *_ = spf.query(i=SUBJECT.ip, s=sender, h=SUBJECT.helo).check()
        assert result == "pass", result


def sign_with_dkimpy(message: bytes) -> None:
    dkim.sign(
        message, b"s1", b"sender.example", KEY.private_key, canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
    )  # fmt: skip


def known_to_pyspf(name: str, kind: str, *_: object) -> list[tuple[tuple[str, str], object]]:
    """Stand in for pyspf's DNS; it wants TXT as octets in a tuple."""
    data = [line.partition(" ")[2] for line in ZONE.get(name.rstrip("."), []) if line.startswith(f"{kind} ")]
    return [((name, kind), (each.encode(),) if kind == "TXT" else each) for each in data]


def a_second(work: Callable[[bytes], object], messages: list[bytes]) -> float:
    """Return how many of them a second of CPU is enough for: the best of several rounds."""
    rates = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for message in messages:
            work(message)
        rates.append(len(messages) / (time.process_time() - began))
    return max(rates)


def reception(clock: Clock) -> Reception:
    """Return the server's end of data over a queue that is a sink."""
    wall, journal = MemoryWallClock(clock), MemoryJournal()

    async def nobody(submitter: Submitter, reverse_path: Address | None, content: Content) -> str | None:
        return None

    strict = Checks(Strictness.ENFORCE, Strictness.ENFORCE, Strictness.ENFORCE)
    screening = Screening(
        verification=verification(clock), signer_of=nobody, clock=wall, journal=journal,
        terms=Identity(strict, "mx.test", "mx.test"),
    )  # fmt: skip
    return Reception(
        acceptance=Sink(), clock=wall, journal=journal, hostname="mx.test", authserv_id="mx.test",
        lifetime_seconds=1.0, screening=screening,
    )  # fmt: skip


def steps(content: Content) -> Iterator[float]:
    """Yield how many seconds each step of the end of data takes, between two turns of the reactor."""
    clock = Turns()
    domain = Domain(1, 1, "acme.example", True, 0.0, checks=OwnChecks())
    alice = Address("alice", "acme.example")
    route = Route(alice, domain, "mailbox", (Place(alice, "local:acme.example"),), 1)
    transaction = Transaction(Peer("192.0.2.7", 4000, "mx.sender.example"), Envelope(SENDER), (route,), content)
    answers: list[Reply] = []
    began = time.perf_counter()
    ended = Deferred.fromCoroutine(reception(clock).receive(transaction, lambda *_: b"Received: by mx.test\r\n"))
    ended.addCallback(answers.append)
    yield time.perf_counter() - began
    while not answers:
        began = time.perf_counter()
        clock.one()
        yield time.perf_counter() - began


def spooled(spool: DiskSpool, message: bytes) -> Content:
    gathering = spool.gather()
    gathering.add(message)
    return gathering.content()


def large_messages() -> dict[str, bytes]:
    """Return messages of 25 MB, a thorn in the side of one step or another."""
    signatures = b"".join(letter(number, b"x\r\n").partition(b"From:")[0] for number in range(10))
    fields = b"Authentication-Results: mx.test; none\r\n"
    lines = {
        "lines of text": b"so many words in one line, and then some more of them behind\r\n",
        "white space": b" \t" * 1000 + b"\r\n",
        "empty lines": b"\r\n",
    }
    bodies = {name: letter(0, line * (LARGE_OCTETS // len(line))) for name, line in lines.items()}
    text = lines["lines of text"] * (LARGE_OCTETS // 62)
    return {
        **bodies,
        "ten signatures": signatures + letter(0, text),
        "a header of 1 MiB": fields * 20_000 + signatures + letter(0, text),
        "a field of 1 MiB": b"Subject: " + b"a " * 500_000 + b"\r\n" + signatures + letter(0, text),
    }


def main() -> None:
    """Print the figures."""
    clock = Clock()
    body = b"".join(Random(7).randbytes(30).hex().encode() + b"\r\n" for _ in range(BODY_OCTETS // 62))
    messages = [letter(number, body) for number in range(MESSAGES)]
    service = verification(clock)
    found = verify(service, messages[0])
    assert {found.dmarc.result, *(each.result for each in (*found.spf, *found.dkim))} == {Result.PASS}, found
    assert found.iprev.result is Result.PASS
    spf.DNSLookup = known_to_pyspf
    heads = [headers.split(message) for message in messages]
    print("messages a second of one core's CPU, 4 KB     mtad   dkimpy and pyspf")
    ours, theirs = a_second(lambda message: verify(service, message), messages), a_second(verify_with_dkimpy, messages)
    print(f"verified: SPF, DKIM, ARC, DMARC, iprev      {ours:6.0f}             {theirs:6.0f}")
    unsigned = {message: (head, rest) for message, (head, rest) in zip(messages, heads, strict=True)}
    ours, theirs = (
        a_second(lambda message: sign(*unsigned[message]), messages),
        a_second(sign_with_dkimpy, messages[:100]),
    )
    print(f"signed: RSA 2048                            {ours:6.0f}             {theirs:6.0f}")
    print("\nmilliseconds that the end of a message of 25 MB keeps the reactor, at most")
    with TemporaryDirectory(prefix="mtad-bench-") as directory:
        spool = DiskSpool(Path(directory))
        for name, message in large_messages().items():
            longest = [max(steps(spooled(spool, message))) for _ in range(ROUNDS)]
            print(f"{name:24} {min(longest) * 1e3:6.1f}")


if __name__ == "__main__":
    main()
