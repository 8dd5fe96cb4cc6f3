"""mtad.outbound.remote: from a domain to its hosts, and from one host to the next."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred as Pending
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.answer import Kind, Question, Status
from mtad.model.exchangers import OwnNames
from mtad.model.next_hop import NextHop, TlsLevel
from mtad.model.outcome import CLEAR, Deferred, Delivered, Failed, Outcome, Remote, Scope
from mtad.outbound.client import CONNECT_SECONDS, UNREACHABLE_SECONDS, MailClient
from mtad.outbound.errand import Mail
from mtad.outbound.remote import MAX_ADDRESSES, Outward, RemoteDelivery
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import MemoryNetwork
from mtad.testing.resolver import MemoryResolver
from mtad.testing.scripted import HANG_UP, SILENCE, START_TLS, Answer, ScriptedServer
from mtad.testing.tls import MemoryTls
from tests.unit.recipients import to

ANN = Address("ann", "acme.example")
BOB, CID, DAN = (Address(name, "remote.example") for name in ("bob", "cid", "dan"))
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
OWN = OwnNames(frozenset({"mx.acme.example"}), frozenset({"192.0.2.1"}))
GREETING = b"220 ready\r\n"


class RemoteCase(SynchronousTestCase):
    """A domain with two hosts of one address each, and a network where they may be served."""

    outward = Outward(own=OWN)
    zone: Mapping[str, list[str]] = {
        "remote.example": ["MX 10 a.remote.example", "MX 20 b.remote.example"],
        "a.remote.example": ["A 192.0.2.10"],
        "b.remote.example": ["A 192.0.2.20"],
    }

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.resolver = MemoryResolver(self.clock, {name: list(records) for name, records in self.zone.items()})
        self.start(self.outward)

    def start(self, outward: Outward) -> None:
        self.tls = MemoryTls()
        client = MailClient(
            network=self.network,
            tls=self.tls,
            clock=self.clock,
            journal=MemoryJournal(),
            hostname="mx.acme.example",
        )
        self.remote = RemoteDelivery(
            resolver=self.resolver, client=client, clock=self.clock, chance=lambda: 0.0, outward=outward
        )

    def serve(
        self, address: str, script: Mapping[bytes, Answer] | None = None, greeting: Answer = GREETING
    ) -> ScriptedServer:
        server = ScriptedServer(greeting, script)
        self.network.serve(address, server)
        return server

    def begin(self, *recipients: Address, domain: str = "remote.example") -> "Pending[list[Outcome]]":
        delivery = Pending.fromCoroutine(self.remote.deliver(domain, Mail(ANN, CONTENT), to(*recipients or (BOB,))))
        self.pass_time()
        return delivery

    def pass_time(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(300):
            self.clock.advance(0)

    def deliver(self, *recipients: Address, domain: str = "remote.example") -> list[Outcome]:
        return self.successResultOf(self.begin(*recipients, domain=domain))

    def deferred(self, *recipients: Address) -> Deferred:
        outcome = self.deliver(*recipients)[0]
        assert isinstance(outcome, Deferred), outcome
        return outcome

    def failed(self, domain: str = "remote.example") -> Failed:
        outcome = self.deliver(domain=domain)[0]
        assert isinstance(outcome, Failed), outcome
        return outcome


class HostsTest(RemoteCase):
    def test_the_first_host_takes_it(self) -> None:
        server = self.serve("192.0.2.10:25")
        remote = Remote("a.remote.example", "192.0.2.10:25", CLEAR)
        self.assertEqual(self.deliver(BOB, CID), [Delivered("250 2.0.0 OK", remote=remote)] * 2)
        self.assertEqual(self.network.dialled, ["192.0.2.10:25"])
        self.assertEqual(sum(line.startswith(b"RCPT") for line in server.lines), 2)
        self.assertEqual(len(server.messages), 1)

    def test_the_next_one_when_the_first_is_in_trouble(self) -> None:
        for greeting, script, word in (
            (HANG_UP, {}, "connection lost"),
            (b"421 4.3.2 busy\r\n", {}, "421"),
            (b"554 5.7.1 no\r\n", {}, "554"),
            (GREETING, {b"EHLO": b"450 later\r\n"}, "450"),
            (GREETING, {b"EHLO": b"502 what\r\n", b"HELO": b"502 what\r\n"}, "502"),
            (GREETING, {b"MAIL": b"451 4.3.0 later\r\n"}, "451"),
            (GREETING, {b"RCPT": b"421 4.3.2 going down\r\n"}, "421"),
            (GREETING, {b"DATA": HANG_UP}, "connection lost"),
        ):
            self.setUp()
            self.serve("192.0.2.10:25", script, greeting)
            self.serve("192.0.2.20:25")
            (outcome,) = self.deliver()
            assert isinstance(outcome, Delivered), outcome
            assert outcome.remote is not None
            self.assertEqual(outcome.remote.host, "b.remote.example")
            (earlier,) = outcome.remote.earlier
            self.assertTrue(earlier.startswith("a.remote.example[192.0.2.10:25]: "), earlier)
            self.assertIn(word, earlier)

    def test_not_after_an_answer_about_the_message_or_a_recipient(self) -> None:
        for script in (
            {b"MAIL": b"550 5.7.1 no\r\n"},
            {b"RCPT": b"450 4.2.0 greylisted\r\n"},
            {b"RCPT": b"550 5.1.1 unknown\r\n"},
            {b"DATA": b"451 4.3.0 later\r\n"},
            {b".": b"451 4.3.0 later\r\n"},
            {b".": b"554 5.6.0 spam\r\n"},
        ):
            self.setUp()
            self.serve("192.0.2.10:25", script)
            self.serve("192.0.2.20:25")
            self.assertNotIsInstance(self.deliver()[0], Delivered)
            self.assertEqual(self.network.dialled, ["192.0.2.10:25"], script)

    def test_not_after_the_dot_without_an_answer(self) -> None:
        self.serve("192.0.2.10:25", {b".": HANG_UP})
        second = self.serve("192.0.2.20:25")
        outcome = self.deferred()
        self.assertIn("may arrive twice", outcome.detail)
        self.assertEqual(second.sessions, [])

    def test_only_who_has_no_answer_goes_on(self) -> None:
        first = self.serve("192.0.2.10:25", {b"RCPT": [b"550 5.1.1 unknown\r\n", b"421 4.3.2 enough\r\n"]})
        second = self.serve("192.0.2.20:25")
        kinds = [type(outcome) for outcome in self.deliver(BOB, CID, DAN)]
        self.assertEqual(kinds, [Failed, Delivered, Delivered])
        self.assertEqual(len(first.messages), 0)
        self.assertNotIn(b"RCPT TO:<bob@remote.example>", second.lines)

    def test_when_all_are_in_trouble_the_last_one_speaks(self) -> None:
        self.serve("192.0.2.20:25", greeting=b"421 4.3.2 busy\r\n")
        outcome = self.deferred()
        self.assertEqual((outcome.scope, outcome.status), (Scope.DESTINATION, "4.3.2"))
        assert outcome.remote is not None
        self.assertEqual(outcome.remote.host, "b.remote.example")
        self.assertIn("cannot connect", outcome.remote.earlier[0])

    def test_all_addresses_of_a_host_ipv6_and_ipv4(self) -> None:
        self.resolver.zone["remote.example"] = ["MX 10 a.remote.example"]
        self.resolver.zone["a.remote.example"] = ["A 192.0.2.10", "A 192.0.2.11", "AAAA 2001:db8::10"]
        server = self.serve("192.0.2.11:25")
        self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertEqual(self.network.dialled, ["[2001:db8::10]:25", "192.0.2.10:25", "192.0.2.11:25"])
        self.assertEqual(len(server.messages), 1)

    def test_an_attempt_tries_so_many_addresses(self) -> None:
        self.resolver.zone["a.remote.example"] = [f"A 192.0.2.{n}" for n in range(50, 58)]
        self.deferred()
        self.assertEqual(len(self.network.dialled), MAX_ADDRESSES)

    def test_an_attempt_lasts_so_long(self) -> None:
        self.resolver.zone["a.remote.example"] = [f"A 192.0.2.{n}" for n in range(50, 55)]
        for n in range(50, 55):
            self.serve(f"192.0.2.{n}:25", greeting=SILENCE)
        delivery = self.begin()
        self.pass_time(300)
        self.assertNoResult(delivery)
        self.pass_time(300)
        self.assertIsInstance(self.successResultOf(delivery)[0], Deferred)
        self.assertEqual(len(self.network.dialled), 2)

    def test_a_silent_address_costs_as_long_as_connecting_may_take_and_only_once_a_minute(self) -> None:
        self.network.silent.add("192.0.2.10:25")
        self.serve("192.0.2.20:25")
        delivery = self.begin()
        self.pass_time(CONNECT_SECONDS)
        self.assertIsInstance(self.successResultOf(delivery)[0], Delivered)
        self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertEqual(self.network.dialled, ["192.0.2.10:25", "192.0.2.20:25"])
        self.pass_time(UNREACHABLE_SECONDS)
        self.begin()
        self.assertEqual(self.network.dialled[2:], ["192.0.2.10:25"])

    def test_one_that_was_unreachable_is_tried_last_and_not_never(self) -> None:
        self.deferred()
        self.serve("192.0.2.10:25")
        self.assertIsInstance(self.deliver()[0], Delivered)

    def test_a_host_that_cannot_take_the_message_says_nothing_of_the_next(self) -> None:
        self.serve("192.0.2.10:25", {b"EHLO": b"250-hi\r\n250 SIZE 5\r\n"})
        second = self.serve("192.0.2.20:25")
        (outcome,) = self.deliver()
        assert isinstance(outcome, Delivered), outcome
        assert outcome.remote is not None
        self.assertIn("the server takes 5 at most", outcome.remote.earlier[0])
        self.assertEqual(len(second.messages), 1)

    def test_it_is_final_only_when_no_host_may_do_better_later(self) -> None:
        unfit = {b"EHLO": b"250-hi\r\n250 SIZE 5\r\n"}
        self.serve("192.0.2.10:25", unfit)
        self.serve("192.0.2.20:25", unfit)
        self.assertEqual((self.failed().status, self.failed().scope), ("5.3.4", Scope.DESTINATION))
        for there in ("192.0.2.10:25", "192.0.2.20:25"):
            self.setUp()
            self.serve(there, unfit)
            self.assertEqual(self.deferred().status, "4.4.1", there)

    def test_the_connection_is_used_again_by_another_domain_of_the_same_hosts(self) -> None:
        self.resolver.zone["other.example"] = ["MX 5 a.remote.example"]
        server = self.serve("192.0.2.10:25")
        self.deliver()
        self.deliver(Address("eve", "other.example"), domain="other.example")
        self.assertEqual((len(server.sessions), len(server.messages)), (1, 2))


class RouteTest(RemoteCase):
    def test_what_the_dns_decides(self) -> None:
        self.resolver.zone["null.example"] = ["MX 0 ."]
        self.resolver.zone["us.example"] = ["MX 10 mx.acme.example"]
        self.assertEqual(self.failed("null.example").status, "5.1.10")
        self.assertEqual(self.failed("nowhere.example").status, "5.1.2")
        self.assertEqual(self.failed("us.example").status, "5.4.6")
        self.assertEqual(self.network.dialled, [])

    def test_trouble_of_the_dns_is_temporary(self) -> None:
        for trouble in (Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.BOGUS):
            self.resolver.outage = trouble
            outcome = self.deferred(BOB, CID)
            self.assertEqual((outcome.scope, outcome.status), (Scope.DESTINATION, "4.4.3"))

    def test_without_mx_the_domain_itself(self) -> None:
        self.resolver.zone["remote.example"] = ["A 192.0.2.30"]
        self.serve("192.0.2.30:25")
        self.assertIsInstance(self.deliver()[0], Delivered)

    def test_another_port(self) -> None:
        self.start(Outward(own=OWN, port=2525))
        self.serve("192.0.2.10:2525")
        self.assertIsInstance(self.deliver()[0], Delivered)


class GuardTest(RemoteCase):
    def test_addresses_the_dns_must_not_name(self) -> None:
        for address in ("A 127.0.0.1", "A 10.1.2.3", "A 169.254.169.254", "AAAA ::1", "AAAA ::ffff:192.0.2.1"):
            self.resolver.zone["a.remote.example"] = [address]
            self.resolver.zone["b.remote.example"] = [address]
            failed = self.failed()
            self.assertEqual((failed.scope, failed.status), (Scope.DESTINATION, "5.4.4"))
            self.assertIn("not dialled", failed.detail)
        self.assertEqual(self.failed("[127.0.0.1]").status, "5.4.4")
        self.assertEqual(self.network.dialled, [])

    def test_while_the_dns_did_not_say_all_they_are_not_the_last_word(self) -> None:
        for untold in (Question("a.remote.example", Kind.AAAA), Question("b.remote.example", Kind.A)):
            self.setUp()
            self.resolver.zone["a.remote.example"] = ["A 10.1.2.3"]
            self.resolver.zone["b.remote.example"] = ["AAAA fd00::1"]
            self.resolver.trouble[untold] = Status.SERVFAIL
            outcome = self.deferred()
            self.assertEqual((outcome.scope, outcome.status), (Scope.DESTINATION, "4.4.3"))
            self.assertIn(untold.name, outcome.detail)
            self.assertEqual(self.network.dialled, [])

    def test_those_beside_them_are_dialled(self) -> None:
        self.resolver.zone["a.remote.example"] = ["A 10.1.2.3"]
        self.serve("192.0.2.20:25")
        (outcome,) = self.deliver()
        assert outcome.remote is not None
        self.assertEqual(outcome.remote.host, "b.remote.example")
        self.assertIn("the address is private", outcome.remote.earlier[0])

    def test_with_allow_private_they_are_dialled_too(self) -> None:
        self.start(Outward(own=OWN, allow_private=True))
        self.resolver.zone["a.remote.example"] = ["A 127.0.0.1"]
        self.serve("127.0.0.1:25")
        self.assertIsInstance(self.deliver()[0], Delivered)

    def test_an_address_that_turns_out_to_be_this_machines(self) -> None:
        self.start(Outward(own=OWN, sources=("192.0.2.10",)))
        server = self.serve("192.0.2.10:25")
        outcome = self.deferred()
        assert outcome.remote is not None
        self.assertIn("this server's own", outcome.remote.earlier[0])
        self.assertEqual(server.lines, [])


class LevelTest(RemoteCase):
    """How much TLS there must be."""

    OFFER: Mapping[bytes, Answer] = {b"EHLO": b"250-hi\r\n250 STARTTLS\r\n", b"STARTTLS": START_TLS}

    def sent(self, tls: TlsLevel | None) -> Outcome:
        sending = self.remote.deliver("remote.example", Mail(ANN, CONTENT), to(BOB), tls)
        delivery = Pending.fromCoroutine(sending)
        self.pass_time()
        return self.successResultOf(delivery)[0]

    def test_without_one_it_is_taken_where_it_is_offered(self) -> None:
        server = self.serve("192.0.2.10:25", self.OFFER)
        self.assertIsInstance(self.sent(None), Delivered)
        self.assertIn(b"STARTTLS", server.lines)

    def test_none_does_not_ask(self) -> None:
        server = self.serve("192.0.2.10:25", self.OFFER)
        self.assertIsInstance(self.sent(TlsLevel.NONE), Delivered)
        self.assertNotIn(b"STARTTLS", server.lines)

    def test_a_host_without_it_is_passed_over_where_it_is_needed(self) -> None:
        clear = self.serve("192.0.2.10:25")
        self.serve("192.0.2.20:25", self.OFFER)
        outcome = self.sent(TlsLevel.ENCRYPT)
        assert isinstance(outcome, Delivered), outcome
        assert outcome.remote is not None
        self.assertEqual((outcome.remote.host, clear.messages), ("b.remote.example", []))
        self.assertIn("offers no STARTTLS", outcome.remote.earlier[0])

    def test_a_domain_without_it_is_waited_for(self) -> None:
        self.serve("192.0.2.10:25")
        self.serve("192.0.2.20:25")
        outcome = self.sent(TlsLevel.VERIFY)
        assert isinstance(outcome, Deferred), outcome
        self.assertEqual((outcome.status, outcome.scope), ("4.7.4", Scope.DESTINATION))

    def test_a_relays_level_is_raised_and_never_lowered(self) -> None:
        for of_relay, wanted, used in (
            (TlsLevel.MAY, TlsLevel.ENCRYPT, TlsLevel.ENCRYPT),
            (TlsLevel.VERIFY, TlsLevel.NONE, TlsLevel.VERIFY),
            (TlsLevel.ENCRYPT, None, TlsLevel.ENCRYPT),
        ):
            self.setUp()
            self.start(Outward(own=OWN, relay=NextHop("smtp.example.net", "127.0.0.1:587", tls=of_relay)))
            self.serve("127.0.0.1:587", self.OFFER)
            self.assertIsInstance(self.sent(wanted), Delivered)
            self.assertEqual(self.tls.asked, [(used, "smtp.example.net")])


class SourceTest(RemoteCase):
    outward = Outward(own=OWN, sources=("192.0.2.1", "2001:db8::1"))

    def test_each_family_has_its_own(self) -> None:
        self.resolver.zone["a.remote.example"] = ["A 192.0.2.10", "AAAA 2001:db8::10"]
        self.deferred()
        self.assertEqual(self.network.sources, ["2001:db8::1", "192.0.2.1", "192.0.2.1"])

    def test_a_family_without_one_is_the_systems(self) -> None:
        self.start(Outward(own=OWN, sources=("2001:db8::1",)))
        self.deferred()
        self.assertEqual(self.network.sources, [None, None])


class RelayTest(RemoteCase):
    """With a smarthost the DNS is not asked, and nothing is guarded."""

    def test_everything_goes_there(self) -> None:
        self.start(Outward(own=OWN, relay=NextHop(host="127.0.0.1", address="127.0.0.1:587"), sources=("127.0.0.1",)))
        server = self.serve("127.0.0.1:587")
        for domain in ("remote.example", "nowhere.example"):
            self.assertIsInstance(self.deliver(domain=domain)[0], Delivered)
        self.assertEqual(len(server.messages), 2)
        self.assertEqual(self.resolver.asked, [])
        self.assertEqual(self.network.sources, ["127.0.0.1"])

    def test_by_name_the_system_chooses_the_source(self) -> None:
        relay = NextHop(host="smtp.example.net", address="smtp.example.net:587")
        self.start(Outward(own=OWN, relay=relay, sources=("192.0.2.1",)))
        self.serve("smtp.example.net:587")
        self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertEqual(self.network.sources, [None])

    def test_its_trouble_is_temporary(self) -> None:
        self.start(Outward(own=OWN, relay=NextHop(host="smtp.example.net", address="smtp.example.net:587")))
        self.assertEqual(self.deferred().status, "4.4.1")
