"""What reads a PROXY header against anybody."""

from collections import Counter
from random import Random

from mtad.smtp.proxy import HEADER_OCTETS, SIGNATURE, Bad, Header, read
from tests.fuzz.inputs import Vocabulary, drawn

_V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 0, 25))
_V2_6 = SIGNATURE + b"\x21\x21\x00\x29" + bytes(36) + b"\x04\x00\x02ab"
VOCABULARY = Vocabulary(
    transcripts=(
        b"PROXY TCP4 192.0.2.1 192.0.2.2 80 25\r\nEHLO c\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 80 25\r\nEHLO c\r\n",
        b"PROXY UNKNOWN\r\nEHLO c\r\n",
        _V2 + b"EHLO c\r\n",
        _V2_6 + b"EHLO c\r\n",
        SIGNATURE + b"\x20\x00\x00\x00EHLO c\r\n",
    ),
    words=(
        b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"1.2.3.4 ", b"::1 ", b"65535", b"65536", b"-1", b"\r\n", b"\n",
        b"\r",
        SIGNATURE, SIGNATURE[:5], b"\x21\x11", b"\x20\x31", b"\x00\x0c", b"\xff\xff", b"\x00", b" ", b"EHLO c\r\n",
    ),
)  # fmt: skip


def play(random: Random) -> Counter[str]:
    """Let anybody begin a connection; return what was found, by kind. AssertionError for what must not be."""
    octets = b""
    kinds: Counter[str] = Counter()
    for piece in drawn(random, VOCABULARY):
        octets += piece
        found = read(octets)
        kinds[type(found).__name__] += 1
        if isinstance(found, Bad):
            assert found.reason.isprintable()
            break
        if isinstance(found, Header):
            assert octets.endswith(found.rest), "what follows the header is lost"
            assert len(octets) - len(found.rest) <= HEADER_OCTETS, "the header is too long"
            break
        assert len(octets) < HEADER_OCTETS, f"a header is waited for in {len(octets)} octets"
    return kinds
