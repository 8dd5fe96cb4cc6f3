r"""The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): whom a connection is really from.

A load balancer puts one header before everything else a connection carries. Version 1 is a line of at most 107 octets,
version 2 binary, of at most HEADER_OCTETS here. A connection that is the balancer's own (LOCAL, UNKNOWN), or that came
to it by something without an IP address, has no source to tell. TLVs are skipped. Who may send a header is not decided
here.
"""

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE_OCTETS = 107
HEADER_OCTETS = 536

_WORD = b"PROXY "
_FIXED = struct.Struct("!12sBBH")
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) " + _PORT + b" " + _PORT + rb"\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0x20, 0x21
# AF_UNSPEC, and AF_UNIX with a stream: neither has an address that is of use.
_NOWHERE = {0x00: 0, 0x31: 216}
_TCP4, _TCP6 = 0x11, 0x21


@dataclass(frozen=True, slots=True)
class Source:
    """Whom a connection is from: an IP address as `ipaddress` prints it, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Header:
    """A header that is complete. Without a `source` the connection is the balancer's own; `rest` came behind it."""

    source: Source | None
    rest: bytes


@dataclass(frozen=True, slots=True)
class Bad:
    """There is no header, or it is malformed; `reason` is for the log."""

    reason: str


def read(octets: bytes) -> Header | Bad | None:
    """Return the header a connection began with, None while it is not complete; no more than HEADER_OCTETS matter."""
    if _begins(octets, SIGNATURE):
        return _binary(octets)
    return _line(octets) if _begins(octets, _WORD) else Bad("no header")


def announced(octets: bytes) -> bool:
    """Return whether a connection that began with these octets begins with a header, complete or not."""
    return octets.startswith((_WORD, SIGNATURE))


def _begins(octets: bytes, mark: bytes) -> bool:
    """Return whether octets begin with the mark, as far as they go."""
    return mark.startswith(octets[: len(mark)])


def _line(octets: bytes) -> Header | Bad | None:
    end = octets.find(b"\n", 0, LINE_OCTETS) + 1
    if not end:
        return None if len(octets) < LINE_OCTETS else Bad("the line does not end")
    line, rest = octets[:end], octets[end:]
    if _UNKNOWN.fullmatch(line):
        return Header(None, rest)
    match = _LINE.fullmatch(line)
    if match is None:
        return Bad("malformed line")
    family = IPv4Address if match[1] == b"TCP4" else IPv6Address
    try:
        source, _ = (family(address.decode("ascii")) for address in match.group(2, 3))
    except ValueError:
        return Bad("malformed address")
    port, target_port = int(match[4]), int(match[5])
    return Header(Source(str(source), port), rest) if max(port, target_port) <= 65535 else Bad("malformed port")


def _binary(octets: bytes) -> Header | Bad | None:
    if len(octets) < _FIXED.size:
        return None
    _, command, family, length = _FIXED.unpack_from(octets)
    end = _FIXED.size + length
    if end > HEADER_OCTETS:
        return Bad(f"a header of {end} octets")
    if command not in (_LOCAL, _PROXY):
        return Bad(f"unknown version or command {command:#04x}")
    if len(octets) < end:
        return None
    block, rest = octets[_FIXED.size : end], octets[end:]
    if command == _LOCAL:
        return Header(None, rest)
    if family in _NOWHERE:
        return Header(None, rest) if length >= _NOWHERE[family] else Bad("addresses are missing")
    return _source(family, block, rest)


def _source(family: int, block: bytes, rest: bytes) -> Header | Bad:
    # Source and destination address, source and destination port.
    if family not in (_TCP4, _TCP6):
        return Bad(f"unknown family {family:#04x}")
    size = 4 if family == _TCP4 else 16
    if len(block) < 2 * size + 4:
        return Bad("addresses are missing")
    host = IPv4Address(block[:size]) if family == _TCP4 else IPv6Address(block[:size])
    return Header(Source(str(host), int.from_bytes(block[2 * size : 2 * size + 2], "big")), rest)
