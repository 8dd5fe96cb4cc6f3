"""Mail to the world, on the whole server: whatever the other side does, what becomes of it is in the timeline."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import DialAddress, ListenAddress, Name, Relay, Secret
from mtad.interfaces import IAcceptance
from mtad.model.address import Address, from_plain
from mtad.model.answer import Status
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.event import Event
from mtad.model.job import Acceptance, Message
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import SmtpDelivery
from mtad.testing.scripted import HANG_UP, SILENCE, START_TLS, Answer, ScriptedServer, ScriptedSession
from mtad.testing.world import DAY, HOUR, MINUTE, World

ALICE = from_plain("alice@acme.example")
GREETING = b"220 remote ready\r\n"
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"a line of sixty-four octets, more or less, of no interest\r\n" * 10_000


class RemoteCase(SynchronousTestCase):
    """A world where remote.example has the host 192.0.2.25, and fast.example 192.0.2.26."""

    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host("alice@acme.example")
        self.name("remote.example", "192.0.2.25")
        self.name("fast.example", "192.0.2.26")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def name(self, domain: str, *addresses: str) -> None:
        """Let a domain have hosts of these addresses, the first one preferred."""
        hosts = [f"mx{n}.{domain}" for n in range(len(addresses))]
        self.world.zone[domain] = [f"MX {n}0 {host}" for n, host in enumerate(hosts)]
        self.world.zone.update({host: [f"A {address}"] for host, address in zip(hosts, addresses, strict=True)})

    def serve(
        self, script: Mapping[bytes, Answer] | None = None, where: str = "192.0.2.25:25", greeting: Answer = GREETING
    ) -> ScriptedServer:
        server = ScriptedServer(greeting, script)
        self.world.network.serve(where, server)
        return server

    def sent(
        self,
        *recipients: str,
        sender: Address | None = ALICE,
        content: bytes = CONTENT,
        parameters: Parameters = PLAIN,
        lifetime: float = 5 * DAY,
    ) -> int:
        """Accept a message for recipients elsewhere, and let happen what happens at once."""
        queue = self.world.server.getServiceNamed("queue")
        assert IAcceptance.providedBy(queue)
        message = queue.next_id()
        now = self.world.wall.now()
        targets = tuple(
            Recipient(n, address, address, f"mx:{address.domain}")
            for n, address in enumerate(map(from_plain, recipients))
        )
        accepted: Deferred[None] = queue.accept(
            Acceptance(
                message,
                content,
                (
                    Message(
                        id=message,
                        organisation=1,
                        direction="outbound",
                        reverse_path=sender,
                        recipients=targets,
                        content_id=message,
                        size=len(content),
                        received_at=now,
                        expires_at=now + lifetime,
                        parameters=parameters,
                    ),
                ),
            )
        )
        self.world.turn()
        self.assertIsNone(self.successResultOf(accepted))
        return message

    def attempts(self, message: int) -> list[Event]:
        """Return the events of the attempts, oldest first."""
        return [event for event in self.world.story(message) if "attempt" in event.facts]

    def kinds(self, message: int) -> list[str]:
        return [event.kind for event in self.attempts(message)]

    def last(self, message: int) -> dict[str, object]:
        return dict(self.attempts(message)[-1].facts)


class AnswersTest(RemoteCase):
    """What the other side says."""

    def test_a_plain_message(self) -> None:
        server = self.serve()
        message = self.sent("bob@remote.example", "cid@remote.example")
        self.assertEqual(self.kinds(message), ["delivered", "delivered"])
        facts = self.last(message)
        self.assertEqual(
            (facts["host"], facts["address"], facts["tls"]), ("mx0.remote.example", "192.0.2.25:25", "clear")
        )
        self.assertEqual(facts["detail"], "250 2.0.0 OK")
        self.assertEqual(len(server.messages), 1)
        self.assertIsNone(self.world.store.waiting(message))

    def test_451_four_times_and_then_250(self) -> None:
        self.serve({b"RCPT": [b"451 4.7.1 later\r\n"] * 4 + [b"250 ok\r\n"]})
        message = self.sent("bob@remote.example")
        self.world.advance(8 * HOUR)
        self.assertEqual(self.kinds(message), ["deferred"] * 4 + ["delivered"])
        waits = [float(str(event.facts["next_at"])) - event.at for event in self.attempts(message)[:4]]
        self.assertEqual(waits, sorted(waits))
        self.assertIn("451 4.7.1 later", str(self.attempts(message)[0].facts["detail"]))

    def test_greylisting_lets_in_who_comes_back(self) -> None:
        first: dict[bytes, float] = {}

        def greylist(_: ScriptedSession, line: bytes) -> bytes:
            began_at = first.setdefault(line, self.world.clock.seconds())
            known = self.world.clock.seconds() - began_at >= 2 * MINUTE
            return b"250 ok\r\n" if known else b"450 4.7.1 greylisted\r\n"

        server = self.serve({b"RCPT": greylist})
        message = self.sent("bob@remote.example")
        self.world.advance(HOUR)
        self.assertEqual(self.kinds(message), ["deferred", "delivered"])
        self.assertEqual(len(server.messages), 1)

    def test_550_to_one_recipient_of_three(self) -> None:
        server = self.serve({b"RCPT": [b"250 ok\r\n", b"550 5.1.1 no such user\r\n", b"250 ok\r\n"]})
        message = self.sent("bob@remote.example", "nobody@remote.example", "dan@remote.example")
        self.assertEqual(self.kinds(message), ["delivered", "failed", "delivered"])
        self.assertEqual(len(server.messages), 1)
        self.world.advance(MINUTE)
        (report,) = self.world.mail("alice@acme.example")
        self.assertIn(b"550 5.1.1 no such user", report)
        self.assertIn(b"mx0.remote.example", report)
        self.assertNotIn(b"bob@remote.example", report)

    def test_the_connection_lost_after_the_final_dot(self) -> None:
        server = self.serve({b".": [HANG_UP, b"250 ok\r\n"]})
        message = self.sent("bob@remote.example")
        self.assertEqual(self.kinds(message), ["deferred"])
        self.assertIn("may arrive twice", str(self.last(message)["detail"]))
        self.world.advance(HOUR)
        self.assertEqual(self.kinds(message), ["deferred", "delivered"])
        self.assertEqual(len(server.messages), 2)

    def test_a_stop_while_the_server_thinks_after_the_dot_leaves_its_trace(self) -> None:
        server = self.serve({b".": SILENCE})
        message = self.sent("bob@remote.example")
        self.assertEqual(len(server.messages), 1)
        stopped = self.world.server.stopService()
        self.world.advance(15)
        self.assertEqual(self.attempts(message), [], "it may still answer")
        self.world.advance(6)
        self.successResultOf(stopped)
        self.assertEqual(self.kinds(message), ["deferred"])
        self.assertIn("may arrive twice", str(self.last(message)["detail"]))
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        self.assertEqual([(row.status.value, row.attempts, row.owner) for row in waiting.rows], [("queued", 1, 0)])

    def test_a_stop_cuts_off_what_is_not_sent_whole_and_sends_no_more(self) -> None:
        server = self.serve({b"DATA": SILENCE})
        message = self.sent("bob@remote.example")
        stopped = self.world.server.stopService()
        self.world.advance(25)
        self.successResultOf(stopped)
        self.assertEqual(self.kinds(message), ["deferred"])
        self.assertNotIn("twice", str(self.last(message)["detail"]))
        self.assertEqual(server.messages, [])

    def test_what_the_remote_says_is_shown_harmlessly(self) -> None:
        self.serve({b"MAIL": b"450 \x1b[2J\x00" + b"x" * 3000 + b"\r\n"})
        detail = str(self.last(self.sent("bob@remote.example"))["detail"])
        self.assertIn(r"\x1b[2J\x00", detail)
        self.assertLess(len(detail), 500)


class TroubleTest(RemoteCase):
    """What is in the way."""

    def test_a_server_that_says_nothing_for_ever_holds_up_nobody_else(self) -> None:
        silent = self.serve(greeting=SILENCE)
        self.serve(where="192.0.2.26:25")
        stuck = [self.sent("bob@remote.example") for _ in range(60)]
        self.assertEqual(self.kinds(self.sent("eve@fast.example")), ["delivered"])
        self.assertEqual(len(silent.sessions), 20)
        self.world.advance(6 * MINUTE)
        self.assertEqual(self.kinds(stuck[0]), ["deferred"])
        self.assertIn("no reply to the connection within 300 s", str(self.last(stuck[0])["detail"]))
        self.assertEqual(self.kinds(self.sent("eve@fast.example")), ["delivered"])

    def test_a_dns_that_fails_for_an_hour_and_comes_back(self) -> None:
        server = self.serve()
        self.world.resolver.outage = Status.SERVFAIL
        message = self.sent("bob@remote.example")
        self.world.advance(HOUR)
        self.assertEqual(set(self.kinds(message)), {"deferred"})
        self.assertIn("DNS", str(self.last(message)["detail"]))
        self.world.resolver.outage = None
        self.world.advance(4 * HOUR)
        self.assertEqual(self.kinds(message)[-1], "delivered")
        self.assertEqual(len(server.messages), 1)

    def test_two_hosts_the_first_one_dead(self) -> None:
        self.name("remote.example", "192.0.2.24", "192.0.2.25")
        self.serve()
        facts = self.last(self.sent("bob@remote.example"))
        self.assertEqual(facts["host"], "mx1.remote.example")
        self.assertIn("mx0.remote.example[192.0.2.24:25]: cannot connect", str(facts["earlier"]))

    def test_a_dead_host_is_waited_for_once_a_minute(self) -> None:
        self.name("remote.example", "192.0.2.24", "192.0.2.25")
        self.world.network.silent.add("192.0.2.24:25")
        self.serve()
        first = self.sent("bob@remote.example")
        self.assertEqual(self.kinds(first), [])
        self.world.advance(31)
        self.assertEqual(self.kinds(first), ["delivered"])
        self.assertEqual(self.kinds(self.sent("bob@remote.example")), ["delivered"])
        self.assertEqual(self.world.network.dialled.count("192.0.2.24:25"), 1)
        self.world.advance(MINUTE)
        self.sent("bob@remote.example")
        self.assertEqual(self.world.network.dialled.count("192.0.2.24:25"), 2)

    def test_a_domain_that_wants_no_mail(self) -> None:
        self.world.zone["null.example"] = ["MX 0 ."]
        message = self.sent("bob@null.example")
        self.assertEqual(self.kinds(message), ["failed"])
        self.assertEqual(self.last(message)["status"], "5.1.10")

    def test_an_address_of_a_private_network(self) -> None:
        self.name("remote.example", "10.0.0.5")
        inside = self.serve(where="10.0.0.5:25")
        message = self.sent("bob@remote.example")
        self.assertEqual(self.kinds(message), ["failed"])
        self.assertIn("10.0.0.5", str(self.last(message)["detail"]))
        self.assertEqual(inside.sessions, [])

    def test_a_lease_lost_while_the_content_flows_sends_no_dot(self) -> None:
        server = self.serve()
        server.script[b"DATA"] = self.paused
        message = self.sent("bob@remote.example", content=LARGE)
        self.world.database.outage()
        self.world.advance(12)
        assert server.sessions[0].transport is not None
        server.sessions[0].transport.resumeProducing()
        self.world.turn()
        self.assertEqual(len(server.messages), 0)
        self.assertTrue(server.sessions[0].closed)
        self.world.database.restore()
        server.script[b"DATA"] = b"354 go\r\n"
        self.world.advance(HOUR)
        self.assertEqual(self.kinds(message), ["deferred", "delivered"])
        self.assertEqual(len(server.messages), 1)

    def paused(self, session: ScriptedSession, _: bytes) -> bytes:
        """Take no more of what is sent, from now on."""
        assert session.transport is not None
        session.transport.pauseProducing()
        return b"354 go\r\n"


class OwnAddressTest(RemoteCase):
    """A domain whose host turns out to be this machine."""

    def test_where_we_listen_at_every_address_it_is_a_loop(self) -> None:
        for place in (":25", "0.0.0.0:25", "[::]:25"):
            message = self.sent_from_a_server_at(place)
            self.assertEqual(self.kinds(message), ["failed"], place)
            self.assertEqual(self.last(message)["status"], "5.4.6")
            self.assertEqual(self.world.network.dialled, [])

    def test_where_we_listen_elsewhere_it_is_another_server(self) -> None:
        for place in ("192.0.2.9:25", ":2525"):
            self.assertEqual(self.kinds(self.sent_from_a_server_at(place)), ["delivered"], place)

    def sent_from_a_server_at(self, place: str) -> int:
        settings = self.world.settings
        listening = structs.replace(settings, server=structs.replace(settings.server, smtp_addr=ListenAddress(place)))
        self.world = World(Path(self.mktemp()), configured=listening)
        self.name("remote.example", "192.0.2.25")
        self.world.network.own.add("192.0.2.25")
        self.serve()
        return self.sent("bob@remote.example")


class MovedTest(RemoteCase):
    """A domain that is hosted elsewhere when mail for it is accepted, and here when it is delivered."""

    def setUp(self) -> None:
        super().setUp()
        self.message = self.sent("bob@remote.example", "nobody@remote.example")
        self.assertEqual(self.kinds(self.message), ["deferred", "deferred"])
        self.world.zone["remote.example"] = ["MX 10 mx.test"]

    def test_its_mailboxes_get_their_mail_and_the_others_are_waited_for(self) -> None:
        self.world.host("bob@remote.example", organisation="other")
        self.world.advance(HOUR)
        self.assertEqual(len(self.world.mail("bob@remote.example")), 1)
        self.assertEqual(set(self.kinds(self.message)), {"deferred", "delivered"})
        self.assertIn("leads to no mailbox yet", str(self.last(self.message)["detail"]))
        self.world.host("bob@remote.example", "nobody@remote.example", organisation="other")
        self.world.advance(8 * HOUR)
        self.assertEqual(len(self.world.mail("nobody@remote.example")), 1)
        self.assertIsNone(self.world.store.waiting(self.message))

    def test_one_that_nobody_verified_is_a_loop(self) -> None:
        self.world.host("bob@remote.example", organisation="other", verified=False)
        self.world.advance(HOUR)
        self.assertEqual(self.last(self.message)["status"], "5.4.6")
        self.assertEqual(self.world.mail("bob@remote.example"), [])

    def test_while_nobody_knows_it_is_waited_for(self) -> None:
        self.world.directory.reachable = False
        self.world.advance(HOUR)
        self.assertEqual(set(self.kinds(self.message)), {"deferred"})
        self.assertIn("the directory does not answer", str(self.last(self.message)["detail"]))


class KeptTest(RemoteCase):
    def test_a_hundred_messages_share_a_connection(self) -> None:
        server = self.serve()
        for _ in range(101):
            self.assertEqual(self.kinds(self.sent("bob@remote.example")), ["delivered"])
        self.assertEqual([len(session.messages) for session in server.sessions], [100, 1])

    def test_one_that_died_idle_costs_nothing(self) -> None:
        server = self.serve()
        self.sent("bob@remote.example")
        assert server.sessions[0].transport is not None
        server.sessions[0].transport.abortConnection()
        self.assertEqual(self.kinds(self.sent("bob@remote.example")), ["delivered"])


class TlsTest(RemoteCase):
    OFFER = b"250-hi\r\n250 STARTTLS\r\n"

    def test_where_it_is_offered_it_is_spoken(self) -> None:
        server = self.serve({b"EHLO": self.OFFER, b"STARTTLS": START_TLS})
        facts = self.last(self.sent("bob@remote.example"))
        self.assertEqual(facts["tls"], "TLSv1.3")
        self.assertEqual(
            server.lines[:4], [b"EHLO mx.test", b"STARTTLS", b"EHLO mx.test", b"MAIL FROM:<alice@acme.example>"]
        )
        self.assertEqual(self.world.tls.asked, [(TlsLevel.MAY, "mx0.remote.example")])

    def test_a_large_message_over_it(self) -> None:
        server = self.serve({b"EHLO": self.OFFER, b"STARTTLS": START_TLS})
        self.sent("bob@remote.example", content=LARGE)
        self.assertTrue(server.messages == [LARGE])

    def test_offered_and_failing(self) -> None:
        server = self.serve({b"EHLO": self.OFFER, b"STARTTLS": self.broken})
        for _ in range(2):
            facts = self.last(self.sent("bob@remote.example"))
            self.assertEqual((facts["tls"], facts["status"]), ("clear", "2.0.0"))
            self.world.advance(20)
        self.assertEqual(server.lines.count(b"STARTTLS"), 1)
        self.assertEqual(
            [facts["host"] for facts in self.world.journal.of("delivery.tls_failed")], ["mx0.remote.example"]
        )
        self.world.advance(HOUR)
        self.sent("bob@remote.example")
        self.assertEqual(server.lines.count(b"STARTTLS"), 2)

    def broken(self, session: ScriptedSession, _: bytes) -> Answer:
        """Promise TLS, and break the connection."""
        assert session.transport is not None
        session.transport.write(b"220 go\r\n")
        session.transport.loseConnection()
        return SILENCE


class WantedTlsTest(RemoteCase):
    """What the operator wants of destinations, and of what is sent as a domain here."""

    OFFER: Mapping[bytes, Answer] = {b"EHLO": TlsTest.OFFER, b"STARTTLS": START_TLS}

    def test_a_destination_that_is_not_to_be_asked_for_tls(self) -> None:
        server = self.serve(self.OFFER)
        self.world.directory.destinations["remote.example"] = TlsLevel.NONE
        self.assertEqual(self.last(self.sent("bob@remote.example"))["tls"], "clear")
        self.assertNotIn(b"STARTTLS", server.lines)

    def test_where_it_is_needed_mail_waits_for_it_and_comes_back_in_the_end(self) -> None:
        self.serve()
        self.world.directory.destinations["remote.example"] = TlsLevel.ENCRYPT
        message = self.sent("bob@remote.example", lifetime=2 * HOUR)
        self.assertEqual(self.kinds(message), ["deferred"])
        facts = self.last(message)
        self.assertEqual(facts["status"], "4.7.4")
        self.assertIn("offers no STARTTLS", str(facts["detail"]))
        self.world.advance(2 * HOUR + MINUTE)
        self.assertEqual(self.kinds(message)[-1], "failed")
        self.assertTrue(any(b"offers no STARTTLS" in report for report in self.world.mail("alice@acme.example")))

    def test_the_next_host_that_has_it_gets_the_mail(self) -> None:
        self.name("remote.example", "192.0.2.24", "192.0.2.25")
        clear = self.serve(where="192.0.2.24:25")
        self.serve(self.OFFER)
        self.world.directory.destinations["remote.example"] = TlsLevel.ENCRYPT
        facts = self.last(self.sent("bob@remote.example"))
        self.assertEqual((facts["host"], facts["tls"], clear.messages), ("mx1.remote.example", "TLSv1.3", []))

    def test_what_is_sent_as_a_domain_needs_it_wherever_it_goes(self) -> None:
        self.world.host("alice@acme.example", outbound_tls=TlsLevel.VERIFY)
        self.world.host("eve@lax.example", organisation="lax")
        self.world.directory.destinations["remote.example"] = TlsLevel.NONE
        self.serve(self.OFFER)
        self.sent("bob@remote.example")
        self.assertEqual(self.world.tls.asked, [(TlsLevel.VERIFY, "mx0.remote.example")])
        self.assertEqual(
            self.last(self.sent("bob@remote.example", sender=from_plain("eve@lax.example")))["tls"], "clear"
        )
        self.assertEqual(self.last(self.sent("bob@remote.example", sender=None))["tls"], "clear")

    def test_a_change_holds_for_what_waits(self) -> None:
        self.serve()
        self.world.directory.destinations["remote.example"] = TlsLevel.ENCRYPT
        message = self.sent("bob@remote.example")
        del self.world.directory.destinations["remote.example"]
        self.world.advance(HOUR)
        self.assertEqual(self.kinds(message), ["deferred", "delivered"])

    def test_while_nobody_knows_what_is_wanted_nothing_is_sent(self) -> None:
        server = self.serve()
        self.world.directory.reachable = False
        message = self.sent("bob@remote.example")
        self.assertEqual(self.kinds(message), ["deferred"])
        self.assertEqual(server.sessions, [])


class FittingTest(RemoteCase):
    """What a server cannot take comes back, and nothing of it was sent."""

    def offering(self, *keywords: str) -> ScriptedServer:
        return self.serve(
            {b"EHLO": "".join(f"250-{word}\r\n" for word in ("hi", *keywords)).encode() + b"250 HELP\r\n"}
        )

    def report(self) -> bytes:
        """Return the report that alice has got."""
        self.world.advance(MINUTE)
        (report,) = self.world.mail("alice@acme.example")
        return report

    def test_a_message_larger_than_the_server_takes(self) -> None:
        server = self.offering("SIZE 1000")
        message = self.sent("bob@remote.example", content=LARGE)
        self.assertEqual(self.kinds(message), ["failed"])
        self.assertEqual((self.last(message)["status"], self.last(message)["host"]), ("5.3.4", "mx0.remote.example"))
        self.assertEqual(server.lines, [b"EHLO mx.test"])
        self.assertIn(b"Status: 5.3.4", self.report())

    def test_an_address_that_the_server_cannot_be_told(self) -> None:
        server = self.offering("8BITMIME")
        message = self.sent("zoë@remote.example", "bob@remote.example")
        self.assertEqual(self.kinds(message), ["failed", "delivered"])
        self.assertEqual(self.attempts(message)[0].facts["status"], "5.6.7")
        self.assertEqual([line for line in server.lines if b"RCPT" in line], [b"RCPT TO:<bob@remote.example>"])
        self.assertIn(b"Status: 5.6.7", self.report())

    def test_a_header_that_the_server_cannot_be_told(self) -> None:
        content, declared = "Subject: é\r\n\r\nx\r\n".encode(), Parameters(smtputf8=True)
        self.offering("8BITMIME")
        message = self.sent("bob@remote.example", content=content, parameters=declared)
        self.assertEqual((self.kinds(message), self.last(message)["status"]), (["failed"], "5.6.7"))
        self.name("fast.example", "192.0.2.26")
        able = self.serve({b"EHLO": b"250-hi\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"}, "192.0.2.26:25")
        self.assertEqual(self.kinds(self.sent("bob@fast.example", content=content, parameters=declared)), ["delivered"])
        self.assertIn(b"MAIL FROM:<alice@acme.example> BODY=8BITMIME SMTPUTF8", able.lines)

    def test_a_body_that_was_not_asked_for_goes_as_it_is(self) -> None:
        server = self.offering()
        content = "Subject: x\r\n\r\né\r\n".encode()
        self.assertEqual(self.kinds(self.sent("bob@remote.example", content=content)), ["delivered"])
        self.assertEqual(server.messages, [content])

    def test_limits_are_kept(self) -> None:
        server = self.offering("PIPELINING", "LIMITS MAILMAX=2 RCPTMAX=2")
        message = self.sent(*(f"u{n}@remote.example" for n in range(5)))
        self.assertEqual(self.kinds(message), ["delivered"] * 5)
        self.assertEqual([len(session.messages) for session in server.sessions], [2, 1])


class SmarthostTest(RemoteCase):
    """With a relay everything goes there."""

    RELAY = Relay(DialAddress("smtp.example.net:587"), Name("mtad"), Secret("sesame"))

    def setUp(self) -> None:
        super().setUp()
        settings = self.world.settings
        relayed = structs.replace(settings, delivery=structs.replace(settings.delivery, relay=self.RELAY))
        self.world = World(self.world.path, configured=relayed)
        self.world.host("alice@acme.example")

    def relay(self, **script: Answer) -> ScriptedServer:
        offers = {b"EHLO": b"250-hi\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n", b"STARTTLS": START_TLS}
        answers = {verb.encode(): answer for verb, answer in script.items()}
        return self.serve({**offers, b"AUTH": b"235 2.7.0 welcome\r\n", **answers}, "smtp.example.net:587")

    def test_tls_and_then_who_we_are(self) -> None:
        server = self.relay()
        message = self.sent("bob@anywhere.example")
        self.assertEqual(self.kinds(message), ["delivered"])
        self.assertEqual(self.last(message)["host"], "smtp.example.net")
        self.assertEqual(server.lines[1:4], [b"STARTTLS", b"EHLO mx.test", b"AUTH PLAIN AG10YWQAc2VzYW1l"])
        self.assertEqual(self.world.tls.asked, [(TlsLevel.VERIFY, "smtp.example.net")])
        self.assertEqual(self.world.resolver.asked, [])

    def test_without_tls_nothing_is_said(self) -> None:
        server = self.relay(EHLO=b"250-hi\r\n250 AUTH PLAIN\r\n")
        message = self.sent("bob@anywhere.example")
        self.assertEqual(self.kinds(message), ["deferred"])
        self.assertIn("STARTTLS", str(self.last(message)["detail"]))
        self.assertEqual(server.lines, [b"EHLO mx.test"])

    def test_a_wrong_password_is_our_trouble_not_the_senders(self) -> None:
        self.relay(AUTH=b"535 5.7.8 no\r\n")
        message = self.sent("bob@anywhere.example")
        self.assertEqual(self.kinds(message), ["deferred"])
        self.assertIn("535 5.7.8 no", str(self.last(message)["detail"]))
        self.assertNotIn("sesame", str(self.world.story(message)))


class LocalSmtpTest(RemoteCase):
    """A mail store that speaks SMTP, at an address an operator wrote: loopback is fine."""

    def test_mail_for_a_mailbox_goes_there(self) -> None:
        self.world.host("ann@store.example", "ben@store.example", delivery=SmtpDelivery("127.0.0.1:2526"))
        store = self.serve(where="127.0.0.1:2526")
        self.assertTrue(self.world.send("ann@store.example", "ben@store.example").startswith(b"250"))
        self.assertEqual(len(store.messages), 1)
        self.assertEqual(
            [line for line in store.lines if line.startswith(b"RCPT")],
            [b"RCPT TO:<ann@store.example>", b"RCPT TO:<ben@store.example>"],
        )
        (facts,) = self.world.journal.of("delivery.attempted")
        self.assertEqual((facts["domain"], facts["type"], facts["sent"]), ("store.example", "smtp", 1))

    def test_only_domains_that_are_there_are_real_to_the_metrics(self) -> None:
        self.world.host("ann@store.example", delivery=SmtpDelivery("127.0.0.1:2526"))
        self.serve()
        for recipient in ("bob@remote.example", "bob@no-such.example", "ann@store.example", "bob@[192.0.2.80]"):
            self.sent(recipient)
        real = {facts["domain"]: facts["real"] for facts in self.world.journal.of("delivery.attempted")}
        self.assertEqual(
            real, {"remote.example": True, "no-such.example": False, "store.example": True, "[192.0.2.80]": False}
        )
