"""mtad.policy.submission: one table of cases a question."""

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.tenant import Credential, Domain, Mailbox, Submitter
from mtad.model.verdict import Accept, Refuse
from mtad.policy.submission import RelayNetwork, SenderFacts, decide, may_log_in_clear, may_send_as, relayed_for
from tests.unit.directory_values import ACME, OTHER, PENDING, SHOP, at

SEND_AS = ("*@shop.example", "news*@acme.example", "other.example", "pending.example")
ALICE = Submitter(10, Credential(Mailbox(1, 10, at("Alice@acme.example")), None, SEND_AS, (at("sales@acme.example"),)))
SQUATTER = Submitter(30, Credential(Mailbox(2, 30, at("eve@pending.example")), None, ("pending.example",)))
PRINTER = Submitter(10)


class SenderTest(SynchronousTestCase):
    def test_who_may_send_as_whom(self) -> None:
        for submitter, address, domain, expected in (
            (ALICE, at("alice@acme.example"), ACME, True),
            (ALICE, at("ALICE@acme.example"), ACME, True),
            (ALICE, at("Sales@acme.example"), ACME, True),
            (ALICE, at("newsletter@acme.example"), ACME, True),
            (ALICE, at("old.news@acme.example"), ACME, False),
            (ALICE, at("bob@acme.example"), ACME, False),
            (ALICE, at("anybody@shop.example"), SHOP, True),
            (ALICE, Address("a\nb", "shop.example"), SHOP, True),
            (ALICE, Address("x@shop.example", "acme.example"), ACME, False),
            (ALICE, at("x@other.example"), OTHER, False),
            (ALICE, at("x@pending.example"), PENDING, False),
            (ALICE, at("x@elsewhere.example"), None, False),
            (SQUATTER, at("eve@pending.example"), PENDING, False),
            (PRINTER, at("anybody@acme.example"), ACME, True),
            (PRINTER, at("x@other.example"), OTHER, False),
            (PRINTER, at("x@elsewhere.example"), None, False),
        ):
            self.assertIs(may_send_as(submitter, address, domain), expected, str(address))

    def test_the_pattern_is_no_expression(self) -> None:
        dotted = Submitter(
            10, Credential(Mailbox(1, 10, at("a@acme.example")), None, ("b.c*d@acme.example", "(@acme.example"))
        )
        for local_part, expected in (("b.cd", True), ("b.cxxd", True), ("bxcd", False), ("b.cde", False), ("(", True)):
            self.assertIs(may_send_as(dotted, Address(local_part, "acme.example"), ACME), expected, local_part)

    def test_decisions(self) -> None:
        def decided(address: Address | None, domain: Domain | None, standing: bool = True) -> object:
            return decide(SenderFacts(ALICE, address, domain, standing))

        refused = Refuse(replies.SENDER_NOT_PERMITTED, "sender-not-permitted")
        self.assertIsInstance(decided(None, None), Accept)
        self.assertIsInstance(decided(at("alice@acme.example"), ACME), Accept)
        self.assertEqual(decided(at("bob@acme.example"), ACME), refused)
        self.assertEqual(decided(None, None, standing=False), refused)
        self.assertEqual(decided(at("alice@acme.example"), ACME, standing=False), refused)


class PeerTest(SynchronousTestCase):
    def test_passwords_in_clear(self) -> None:
        for host, expected in (
            ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True),
            ("192.0.2.1", False), ("::ffff:192.0.2.1", False), ("fe80::1%lo", False), ("unix", False), ("", False),
        ):  # fmt: skip
            self.assertIs(may_log_in_clear(host, tls_is_off=True), expected, host)
            self.assertFalse(may_log_in_clear(host, tls_is_off=False))

    def test_relay_networks(self) -> None:
        networks = tuple(
            RelayNetwork(ip_network(network), name)
            for network, name in (("192.0.2.128/25", "half"), ("192.0.2.0/24", "whole"), ("2001:db8::/32", "six"))
        )
        for host, expected in (
            ("192.0.2.200", "half"), ("192.0.2.1", "whole"), ("::ffff:192.0.2.1", "whole"), ("2001:db8::9", "six"),
            ("198.51.100.1", None), ("unix", None),
        ):  # fmt: skip
            self.assertEqual(relayed_for(host, networks), expected, host)
