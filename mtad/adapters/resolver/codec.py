"""Questions as octets, and octets as what they mean: dnspython's work, and the judgement over it.

An answer counts when identifier and question are ours (RFC 5452 §9.1); all others are passed over. What a server
cannot know (it refers elsewhere, contradicts itself, sends what is no message) is trouble, never a fact about a name.
"""

import struct
from dataclasses import dataclass
from enum import Enum

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from mtad.adapters.resolver.message import Entry, Error, Message, read, text
from mtad.model.answer import MailExchange, Question, Record, Status

# What goes over every network in one piece.
UDP_OCTETS = 1232
# No answer that mail needs is larger; these bound what one can cost.
MAX_OCTETS = 32 * 1024
MAX_RECORDS = 500
MAX_CNAMES = 8
# RFC 8914 §4.7 to §4.13, and 25, registered later: signatures are there and wrong, or should be there.
_BOGUS = frozenset({6, 7, 8, 9, 10, 11, 12, 25})
_TITLES = {int(code): code.name.replace("_", " ") for code in dns.edns.EDECode}
_UNKNOWN_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})
_HEADER = struct.Struct("!6H")


class Retry(Enum):
    """The server has the question and wants it put otherwise."""

    OVER_TCP = "over TCP"
    WITHOUT_EDNS = "without EDNS"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one message says. `cnames` were followed in it, to `canonical`; not `complete`, that name is yet to ask."""

    status: Status
    canonical: str = ""
    records: tuple[Record, ...] = ()
    cnames: int = 0
    complete: bool = True
    authentic: bool = False
    ttl_seconds: float = 0.0
    words: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one server, once. With `want_ad` the server says whether the answer is authentic."""

    question: Question
    identifier: int
    edns: bool = True
    want_ad: bool = False

    def encode(self) -> bytes:
        """Return the octets to send; the name must be one (`is_name`)."""
        message = dns.message.make_query(
            _name(self.question),
            self.question.kind.value,
            use_edns=0 if self.edns else False,
            payload=UDP_OCTETS if self.edns else None,
            id=self.identifier,
            flags=dns.flags.RD | (dns.flags.AD if self.want_ad else 0),
        )
        return message.to_wire()

    def decode(self, octets: bytes) -> Reply | Retry | None:
        """Return what `octets` answer to this query, None when they do not answer it."""
        if len(octets) < _HEADER.size:
            return None
        identifier, flags, _, *counts = _HEADER.unpack_from(octets)
        if identifier != self.identifier or not flags & dns.flags.QR:
            return None
        if flags & dns.flags.TC:
            return Retry.OVER_TCP
        if len(octets) > MAX_OCTETS or sum(counts) > MAX_RECORDS:
            return Reply(Status.SERVFAIL, words="an answer too large to be read")
        try:
            message = read(octets, _type(self.question))
        except Exception as wrong:  # record classes raise whatever they meet
            return Reply(Status.SERVFAIL, words=f"a malformed answer, {type(wrong).__name__}")
        return self._judged(message) if self._is_ours(message) else None

    def _is_ours(self, message: Message) -> bool:
        if message.opcode != dns.opcode.QUERY:
            return False
        if not message.questions:
            # Servers that do not understand a question may leave it out.
            return message.code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
        return message.questions == ((_canonical(self.question), _type(self.question), dns.rdataclass.IN),)

    def _judged(self, message: Message) -> Reply | Retry:
        if message.code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return _followed(message, self)
        if message.code in _UNKNOWN_EDNS and self.edns:
            return Retry.WITHOUT_EDNS
        words = "; ".join([dns.rcode.to_text(dns.rcode.Rcode.make(message.code)), *map(_explained, message.errors)])
        if message.code == dns.rcode.REFUSED:
            return Reply(Status.REFUSED, words=words)
        bogus = any(error.code in _BOGUS for error in message.errors)
        return Reply(Status.BOGUS if bogus else Status.SERVFAIL, words=words)


def _followed(message: Message, query: Query) -> Reply:
    """Follow the CNAMEs of a message from the question's name to where they end."""
    name, wanted = _canonical(query.question), _type(query.question)
    authentic = query.want_ad and bool(message.flags & dns.flags.AD)
    ttl = float("inf")
    for cnames in range(MAX_CNAMES + 1):
        here = [entry for entry in message.answer if entry.name == name]
        found = [entry for entry in here if entry.kind == wanted]
        if found:
            if message.code != dns.rcode.NOERROR:
                return Reply(Status.SERVFAIL, words="NXDOMAIN together with records")
            records = tuple(dict.fromkeys(_record(entry.data) for entry in found))
            ttl = min(ttl, *(entry.ttl_seconds for entry in found))
            return Reply(Status.FOUND, name, records, cnames, True, authentic, ttl)
        # All that is left at this name are its CNAMEs, of which there is one.
        if not here:
            return _without(message, name, cnames, authentic, ttl)
        ttl = min(ttl, here[0].ttl_seconds)
        name = str(_record(here[0].data))
    return Reply(Status.SERVFAIL, words=f"more than {MAX_CNAMES} CNAMEs")


def _without(message: Message, name: str, cnames: int, authentic: bool, ttl: float) -> Reply:
    """Tell what it means that a message has no record at `name` (RFC 2308 §2)."""
    seconds = [_negative_ttl(entry) for entry in message.authority if _is_soa_over(entry, name)]
    knows = bool(message.flags & (dns.flags.RA | dns.flags.AA))
    if message.code == dns.rcode.NOERROR and cnames and not seconds:
        return Reply(Status.NO_DATA, name, (), cnames, False, authentic, ttl)
    ttl = min(ttl, *seconds) if seconds else 0.0
    if message.code == dns.rcode.NXDOMAIN:
        if not knows:
            return Reply(Status.SERVFAIL, words="NXDOMAIN from a server that does not resolve")
        return Reply(Status.NO_NAME, name, (), cnames, True, authentic, ttl)
    refers = any(entry.kind == dns.rdatatype.NS for entry in message.authority)
    if not seconds and (refers or not knows):
        return Reply(Status.SERVFAIL, words="it refers elsewhere, and does not resolve")
    return Reply(Status.NO_DATA, name, (), cnames, True, authentic, ttl)


def _is_soa_over(entry: Entry, name: str) -> bool:
    return entry.kind == dns.rdatatype.SOA and (not entry.name or f".{name}".endswith(f".{entry.name}"))


def _negative_ttl(entry: Entry) -> float:
    """Return how long a negative answer holds by its SOA (RFC 2308 §5)."""
    return min(entry.ttl_seconds, entry.data.minimum) if isinstance(entry.data, SOA) else 0.0


def _record(rdata: object) -> Record:
    match rdata:
        case A(address=address) | AAAA(address=address):
            return str(address)
        case MX(preference=preference, exchange=host):
            return MailExchange(preference, text(host))
        case TXT(strings=strings):
            return b"".join(strings)
        case CNAME(target=target) | PTR(target=target):
            return text(target)
        case _:
            raise AssertionError(f"nobody asks for {rdata!r}")


def _explained(error: Error) -> str:
    title = _TITLES.get(error.code, f"extended error {error.code}")
    return f"{title}: {error.text}" if error.text else title


def _type(question: Question) -> dns.rdatatype.RdataType:
    return dns.rdatatype.RdataType[question.kind.value]


def is_name(name: str) -> bool:
    """Return whether the DNS could have this name: ASCII, no label empty or over 63 octets, 255 in all."""
    try:
        dns.name.from_text(f"{name}." if name else ".")
    except dns.exception.DNSException:
        return False
    return name.isascii()


def _name(question: Question) -> dns.name.Name:
    return dns.name.from_text(f"{question.name}." if question.name else ".")


def _canonical(question: Question) -> str:
    """Return a question's name as names from the wire are written."""
    return text(_name(question))
