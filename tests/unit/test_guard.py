"""mtad.routing.guard: which addresses the DNS may send us to."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.routing.guard import refusal

REFUSED = {
    "unspecified": ("0.0.0.0", "0.1.2.3", "::"),
    "private": ("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"),
    "shared": ("100.64.0.1", "100.127.255.255"),
    "loopback": ("127.0.0.1", "127.255.255.254", "::1"),
    "link-local": ("169.254.169.254", "fe80::1", "febf::1", "fe80::1%eth0"),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "reserved": ("240.0.0.1", "255.255.255.255"),
    "IPv4-compatible": ("::7f00:1", "::192.0.2.25"),
    "IPv4-mapped": ("::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:192.0.2.25"),
    "IPv4-translated": ("::ffff:0:10.0.0.1",),
    "NAT64": ("64:ff9b::10.0.0.1", "64:ff9b::c000:219", "64:ff9b:1::1"),
    "Teredo": ("2001::1",),
    "protocol assignment": ("192.0.0.1", "192.0.0.255", "2001:2::1", "2001:20::1", "2001:1ff:ffff::1"),
    "6to4 relay": ("192.88.99.1",),
    "benchmarking": ("198.18.0.1", "198.19.255.255"),
    "discard-only": ("100::1", "100::ffff:ffff:ffff:ffff"),
    "segment routing": ("5f00::1", "5f00:ffff::1"),
    "6to4": ("2002:0a00:0001::1",),
    "site-local": ("fec0::1",),
    "no address": ("", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "192.0.2.25:25", "[::1]", "\x00"),
}
ALLOWED = (
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.2.25", "192.167.255.255", "192.169.0.0",
    "223.255.255.255", "2001:db8::25", "2001:4860:4860::8888", "2a00:1450::1", "2003::1", "64:ff9b:2::1",
    "192.0.1.0", "191.255.255.255", "192.88.98.255", "192.88.100.0", "198.17.255.255", "198.20.0.0", "100:0:0:1::1",
    "2001:200::1", "5eff::1", "5f01::1",
)  # fmt: skip


class GuardTest(SynchronousTestCase):
    def test_what_is_refused_and_why(self) -> None:
        for kind, addresses in REFUSED.items():
            for address in addresses:
                self.assertEqual(refusal(address, ()), kind, address)

    def test_the_rest_of_the_internet(self) -> None:
        for address in ALLOWED:
            self.assertIsNone(refusal(address, ()), address)

    def test_our_own_however_they_are_written(self) -> None:
        own = {"192.0.2.1", "2001:db8::1"}
        for address in ("192.0.2.1", "2001:db8::1", "2001:0DB8:0:0::0001"):
            self.assertEqual(refusal(address, own), "this server's own")
        self.assertIsNone(refusal("192.0.2.2", own))
