"""mtad.policy.peer: one table of cases a question."""

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from mtad.policy.peer import one_peer, within


class PeerTest(SynchronousTestCase):
    def test_which_addresses_are_one_peer(self) -> None:
        for host, expected in (
            ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.8", "192.0.2.8"),
            ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:0:1", "2001:db8::/64"),
            ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("fe80::1%eth0", "fe80::/64"), ("unix", "unix"),
        ):  # fmt: skip
            self.assertEqual(one_peer(host), expected, host)

    def test_who_is_in_a_network(self) -> None:
        networks = (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
        for host, expected in (
            ("198.51.100.7", True), ("::ffff:198.51.100.7", True), ("2001:db8::1", True), ("2001:db8::1%eth0", True),
            ("198.51.101.7", False), ("2001:db9::1", False), ("unix", False), ("", False),
        ):  # fmt: skip
            self.assertIs(within(host, networks), expected, host)
        self.assertFalse(within("198.51.100.7", ()))
