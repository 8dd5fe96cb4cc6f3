"""PROXY headers of both versions: what balancers send, what is malformed, and reads cut anywhere."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.smtp.proxy import HEADER_OCTETS, LINE_OCTETS, SIGNATURE, Bad, Header, Source, announced, read

TCP4, TCP6, UNIX, UNSPEC = 0x11, 0x21, 0x31, 0x00
LONGEST = b"PROXY UNKNOWN " + b"f" * (LINE_OCTETS - 16) + b"\r\n"


def binary(family: int, block: bytes, command: int = 0x21, length: int | None = None) -> bytes:
    announced = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + announced.to_bytes(2, "big") + block


def addresses(source: str, target: str, source_port: int = 40000, target_port: int = 25) -> bytes:
    packed = ip_address(source).packed + ip_address(target).packed
    return packed + source_port.to_bytes(2, "big") + target_port.to_bytes(2, "big")


V4 = addresses("203.0.113.9", "192.0.2.1")
V6 = addresses("2001:db8::9", "2001:db8::1")
GOOD = {
    b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 25\r\n": Source("203.0.113.9", 40000),
    b"PROXY TCP6 2001:db8:0::9 2001:db8::1 0 65535\r\n": Source("2001:db8::9", 0),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ff:: ff:: 1 2\r\n": None,
    LONGEST: None,
    binary(TCP4, V4): Source("203.0.113.9", 40000),
    binary(TCP6, V6): Source("2001:db8::9", 40000),
    binary(TCP4, V4 + b"\x04\x00\x05AAAAA"): Source("203.0.113.9", 40000),
    binary(TCP4, V4 + b"\x04" * (HEADER_OCTETS - 28)): Source("203.0.113.9", 40000),
    binary(UNIX, b"/" * 216): None,
    binary(UNSPEC, b""): None,
    binary(UNSPEC, b"anything"): None,
    binary(TCP4, V4, command=0x20): None,
    binary(TCP4, b"", command=0x20): None,
}
BAD = (
    b"EHLO pc.example\r\n", b"QUIT", b"proxy TCP4", b"PROXYTCP4", b"\r\n\r\nQUIT", b"\x16\x03\x01",
    b"PROXY \r\n", b"PROXY UNKNOWN\n", b"PROXY UNKNOWNS\r\n", b"PROXY TCP4\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2 \r\n", b"PROXY TCP4  192.0.2.1 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\n", b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\r\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.1 01 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.1 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.1 1 65536\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.1 -1 2\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n", b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
    LONGEST[:-2] + b"f\r\n", b"PROXY TCP4 " + b"1" * 200,
    binary(TCP4, V4[:-1]), binary(TCP6, V4), binary(UNIX, b"/" * 215), binary(0x12, V4), binary(0x41, V4),
    binary(TCP4, V4, command=0x11), binary(TCP4, V4, command=0x22), binary(TCP4, V4, length=HEADER_OCTETS - 15),
    binary(TCP4, V4, command=0x20, length=0xFFFF),
)  # fmt: skip


class ReadTest(SynchronousTestCase):
    def test_what_balancers_send(self) -> None:
        for octets, source in GOOD.items():
            self.assertEqual(read(octets), Header(source, b""), octets)
            self.assertTrue(announced(octets))

    def test_what_comes_behind_is_left(self) -> None:
        for octets, source in GOOD.items():
            self.assertEqual(read(octets + b"EHLO a\r\n\r\n\r\n"), Header(source, b"EHLO a\r\n\r\n\r\n"), octets)

    def test_a_header_cut_anywhere_waits_for_the_rest(self) -> None:
        for octets in GOOD:
            for end in range(len(octets)):
                self.assertIsNone(read(octets[:end]), octets[:end])

    def test_what_is_malformed(self) -> None:
        for octets in BAD:
            self.assertIsInstance(read(octets), Bad, octets)

    def test_a_command_is_no_header(self) -> None:
        for octets in (b"", b"EHLO a\r\n", b"PROXY\r\n", b"PROX", b"\r\n", SIGNATURE[:-1]):
            self.assertFalse(announced(octets), octets)

    @given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x0c"]), st.binary(max_size=600))
    def test_what_is_decided_stays_decided_however_it_is_cut(self, begin: bytes, end: bytes) -> None:
        octets = begin + end
        for length in range(len(octets) + 1):
            found = read(octets[:length])
            if isinstance(found, Header):
                self.assertEqual(read(octets), Header(found.source, found.rest + octets[length:]))
            if found is not None:
                self.assertIs(type(read(octets)), type(found))
                return
        self.assertLess(len(octets), HEADER_OCTETS)
