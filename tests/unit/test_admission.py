"""Who may begin a session: the decision, and the count it is made by."""

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.admission import Admission
from mtad.model import replies
from mtad.model.verdict import Accept, Refuse
from mtad.policy.connection import ConnectionFacts, Limits, decide


class DecisionTest(SynchronousTestCase):
    def test_table(self) -> None:
        limits = Limits(max_connections=10, max_connections_per_peer=3)
        full = Refuse(replies.TOO_MANY_CONNECTIONS, "too-many-connections")
        greedy = Refuse(replies.TOO_MANY_FROM_YOU, "too-many-of-peer")
        for facts, expected in (
            (ConnectionFacts(0, 0, False), None),
            (ConnectionFacts(9, 2, False), None),
            (ConnectionFacts(9, 3, False), greedy),
            (ConnectionFacts(9, 3, True), None),
            (ConnectionFacts(10, 0, False), full),
            (ConnectionFacts(10, 0, True), full),
            (ConnectionFacts(10, 3, False), full),
        ):
            verdict = decide(facts, limits)
            self.assertEqual(verdict if isinstance(verdict, Refuse) else None, expected, facts)


class AdmissionTest(SynchronousTestCase):
    def enters(self, admission: Admission, host: str) -> bool:
        return isinstance(admission.enter(host), Accept)

    def test_a_network_of_ipv6_is_one_peer(self) -> None:
        admission = Admission(Limits(100, 2))
        hosts = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.1", "192.0.2.2")
        self.assertEqual([self.enters(admission, host) for host in hosts], [True, True, False, True, True, True, True])

    def test_who_leaves_makes_room(self) -> None:
        admission = Admission(Limits(3, 2))
        for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            self.assertTrue(self.enters(admission, host))
        self.assertFalse(self.enters(admission, "192.0.2.3"))
        admission.leave("192.0.2.2")
        self.assertFalse(self.enters(admission, "192.0.2.1"))
        self.assertTrue(self.enters(admission, "192.0.2.3"))

    def test_a_refusal_counts_for_nothing(self) -> None:
        admission = Admission(Limits(2, 1))
        self.assertTrue(self.enters(admission, "192.0.2.1"))
        for _ in range(10):
            self.assertFalse(self.enters(admission, "192.0.2.1"))
        self.assertTrue(self.enters(admission, "192.0.2.2"))

    def test_trusted_networks_have_no_limit_of_their_own(self) -> None:
        admission = Admission(Limits(3, 1), (ip_network("192.0.2.0/28"),))
        self.assertEqual([self.enters(admission, "192.0.2.1") for _ in range(4)], [True, True, True, False])
