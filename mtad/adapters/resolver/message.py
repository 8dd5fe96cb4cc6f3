"""A message of the DNS (RFC 1035 §4.1) read in one pass, at a cost bounded by its records.

dnspython reads names and records here; its Message would also sort them into sets, which takes seconds of CPU for a
thousand long names. Only records of the types in `wanted` are read, the others passed over. Names are texts of
`mtad.model.answer`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dns.edns
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire

from mtad.model.text import shown

MAX_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource record of class IN; `data` is None where only its presence matters."""

    name: str
    kind: dns.rdatatype.RdataType
    ttl_seconds: int
    data: dns.rdata.Rdata | None


@dataclass(frozen=True, slots=True)
class Error:
    """An extended error (RFC 8914 §2); `text` is fit to be shown."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """What counts of a message: `code` is its RCODE with the bits of EDNS, `questions` are (name, type, class)."""

    opcode: int
    code: int
    flags: int
    questions: tuple[tuple[str, int, int], ...]
    answer: tuple[Entry, ...]
    authority: tuple[Entry, ...]
    errors: tuple[Error, ...]


def read(octets: bytes, wanted: dns.rdatatype.RdataType) -> Message:
    """Return the message; raises what dnspython's record classes raise when it is none."""
    parser = dns.wire.Parser(octets)
    _, flags, questions, answers, authorities, additional = parser.get_struct("!6H")
    asked = tuple((_name(parser), *parser.get_struct("!HH")) for _ in range(questions))
    answer = tuple(_entries(parser, answers, (wanted, dns.rdatatype.CNAME)))
    authority = tuple(_entries(parser, authorities, (dns.rdatatype.SOA, dns.rdatatype.NS)))
    upper_code, errors = _edns(parser, additional)
    code = upper_code << 4 | flags & 0xF
    return Message(flags >> 11 & 0xF, code, flags, asked, answer, authority, errors)


def text(name: dns.name.Name) -> str:
    """Return a name as `mtad.model.answer` has them: in lower case, escaped, the root empty."""
    return "" if len(name) == 1 else name.to_text(omit_final_dot=True).lower()


def _name(parser: dns.wire.Parser) -> str:
    return text(dns.name.from_wire_parser(parser))


def _entries(parser: dns.wire.Parser, count: int, wanted: Iterable[dns.rdatatype.RdataType]) -> Iterator[Entry]:
    for _ in range(count):
        name = _name(parser)
        kind, kind_class, ttl, length = parser.get_struct("!HHIH")
        if kind_class != dns.rdataclass.IN or kind not in wanted:
            parser.get_bytes(length)
            continue
        # RFC 2181 §8: a TTL with its top bit set is none.
        ttl = ttl if ttl < 1 << 31 else 0
        if kind == dns.rdatatype.NS:
            parser.get_bytes(length)
            yield Entry(name, dns.rdatatype.NS, ttl, None)
            continue
        with parser.restrict_to(length):
            known = dns.rdatatype.RdataType(kind)
            yield Entry(name, known, ttl, dns.rdata.from_wire_parser(dns.rdataclass.IN, known, parser))


def _edns(parser: dns.wire.Parser, count: int) -> tuple[int, tuple[Error, ...]]:
    """Return the upper bits of the RCODE and the extended errors, both of the OPT record (RFC 6891 §6.1.3)."""
    for _ in range(count):
        _name(parser)
        kind, _, upper, length = parser.get_struct("!HHIH")
        if kind == dns.rdatatype.OPT:
            with parser.restrict_to(length):
                return upper >> 24, tuple(_errors(parser))[:MAX_ERRORS]
        parser.get_bytes(length)
    return 0, ()


def _errors(parser: dns.wire.Parser) -> Iterator[Error]:
    while parser.remaining() > 0:
        option, length = parser.get_struct("!HH")
        octets = parser.get_bytes(length)
        if option == dns.edns.OptionType.EDE and length >= 2:
            yield Error(int.from_bytes(octets[:2], "big"), shown(octets[2:], 100))
