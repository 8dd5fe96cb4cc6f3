"""Connections, on the whole server: TLS from the first octet, proxies, who is turned away, and when a session ends."""

from base64 import b64encode
from collections import Counter
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import error
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Name, Network, Queue, RelayNetwork, Seconds, Tls
from mtad.inbound import exchange
from mtad.inbound.protocol import HANDSHAKE_SECONDS
from mtad.model import replies
from mtad.smtp.proxy import SIGNATURE
from mtad.testing.network import Line
from mtad.testing.world import MINUTE, World, settings

WITH_CERTIFICATE = Tls(cert_file=Path("cert.pem"), key_file=Path("key.pem"))
BALANCER = ("192.0.2.3", 50000)
CLIENT = "203.0.113.9"
HEADER = b"PROXY TCP4 203.0.113.9 192.0.2.1 40001 25\r\n"
GREETING = b"220 mx.test ESMTP mtad\r\n"
PROOF = b"AUTH PLAIN " + b64encode(b"\0alice@acme.example\0wonderland") + b"\r\n"
MESSAGE = b"MAIL FROM:<alice@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n"


def binary(source: str, command: int = 0x21) -> bytes:
    packed = ip_address(source).packed
    block = packed * 2 + (40001).to_bytes(2, "big") + (25).to_bytes(2, "big")
    family = 0x11 if len(packed) == 4 else 0x21
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2, "big") + block


class ConnectionsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.build()

    def build(self, tls: Tls = WITH_CERTIFICATE, queue: Queue | None = None, **server: Any) -> None:
        """Let the server have these settings."""
        path = Path(self.mktemp())
        made = settings(path)
        ours = msgspec.structs.replace(made.server, **server)
        configured = msgspec.structs.replace(made, server=ours, tls=tls, queue=queue or made.queue)
        self.world = World(path, configured=configured)
        self.world.tls.configured = True
        self.world.host("alice@acme.example", "bob@acme.example")
        self.world.credential("alice@acme.example", "wonderland")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])

    def call(self, port: str = "smtp", peer: tuple[str, int] = ("192.0.2.7", 40000)) -> Line:
        """Connect, and let happen what does."""
        line = self.world.call(port, peer)
        self.world.turn()
        return line

    def tell(self, line: Line, octets: bytes) -> bytes:
        """Send octets; return what came since the last time."""
        line.send(octets)
        self.world.turn()
        return line.take()

    def turned_away(self) -> list[object]:
        return [facts["reason"] for facts in self.world.journal.of("smtp.rejected") if facts["stage"] == "connect"]

    def peers(self) -> list[object]:
        return [facts["peer"] for facts in self.world.journal.of("smtp.connected")]

    def deliver(self, line: Line) -> bytes:
        """Send a message to bob; return it as it is in his Maildir."""
        self.assertIn(b"354 ", self.tell(line, MESSAGE))
        self.assertIn(b"250 2.0.0", self.tell(line, b"Subject: hi\r\n\r\nhello\r\n.\r\n"))
        self.world.turn()
        return self.world.mail("bob@acme.example")[-1]


class ImplicitTlsTest(ConnectionsTest):
    def test_a_session_is_under_tls_from_the_first_octet(self) -> None:
        line = self.call("submissions")
        self.assertEqual(line.received, b"")
        line.start_tls()
        self.world.turn()
        self.assertEqual(line.take(), GREETING)
        hello = self.tell(line, b"EHLO pc.example\r\n")
        self.assertNotIn(b"STARTTLS", hello)
        self.assertIn(b" PLAIN LOGIN", hello)
        self.assertIn(b"503", self.tell(line, b"STARTTLS\r\n"))
        self.assertIn(b"530", self.tell(line, b"MAIL FROM:<alice@acme.example>\r\n"))
        self.assertIn(b"235 ", self.tell(line, PROOF))
        self.assertIn(b"with ESMTPSA (TLSv1.3) id", self.deliver(line))
        self.assertEqual(self.world.journal.of("smtp.connected")[-1]["port"], "submissions")

    def test_a_relay_network_needs_no_login(self) -> None:
        self.build(relay_networks=(RelayNetwork(Network("192.0.2.7"), Name("acme")),))
        line = self.world.connect("submissions")
        self.tell(line, b"EHLO pc.example\r\n")
        self.assertIn(b"with ESMTPS (TLSv1.3) id", self.deliver(line))

    def test_the_port_is_open_only_with_a_certificate(self) -> None:
        for tls in (Tls(), Tls(enabled=False, cert_file=Path("cert.pem"), key_file=Path("key.pem"))):
            self.build(tls)
            self.assertRaises(error.ConnectionRefusedError, self.world.call, "submissions")

    def test_plain_octets_end_the_connection(self) -> None:
        line = self.call("submissions")
        self.assertEqual(self.tell(line, b"EHLO pc.example\r\n"), b"")
        self.assertTrue(line.closed)

    def test_who_never_shakes_hands_is_closed(self) -> None:
        lines = [self.call("submissions"), self.call("submission"), self.call("smtp")]
        self.world.advance(60)
        self.assertEqual([line.closed for line in lines], [True, False, False])
        for line in lines[1:]:
            self.tell(line, b"EHLO pc.example\r\nSTARTTLS\r\n")
        self.world.advance(HANDSHAKE_SECONDS - 1)
        self.assertEqual([line.closed for line in lines], [True, False, False])
        self.world.advance(2)
        self.assertTrue(all(line.closed for line in lines))
        self.assertEqual(len(self.world.journal.of("smtp.disconnected")), 3)
        self.assertEqual(len(self.world.journal.of("smtp.timeout")), 3)

    def test_who_has_shaken_hands_may_be_silent_as_anybody(self) -> None:
        line = self.call("submission")
        self.tell(line, b"EHLO pc.example\r\nSTARTTLS\r\n")
        lines = [line, self.call("submissions")]
        self.world.advance(HANDSHAKE_SECONDS - 1)
        for line in lines:
            line.start_tls()
        self.world.advance(4 * MINUTE)
        for line in lines:
            self.assertIn(b" PLAIN LOGIN", self.tell(line, b"EHLO pc.example\r\n"))

    def test_who_does_not_shake_hands_holds_up_no_stop(self) -> None:
        line = self.call("submissions")
        self.world.server.stopService()
        self.world.turn()
        self.assertTrue(line.closed)


class ProxyTest(ConnectionsTest):
    def setUp(self) -> None:
        self.build(proxy_protocol_networks=(Network("192.0.2.3"),))

    def test_nothing_is_said_before_the_header(self) -> None:
        line = self.call(peer=BALANCER)
        self.world.advance(4)
        self.assertEqual(line.received, b"")
        self.assertEqual(self.tell(line, HEADER), GREETING)
        self.assertEqual(self.peers(), [CLIENT])

    def test_the_source_is_the_peer_in_trace_and_journal(self) -> None:
        for header, literal in (
            (HEADER, b"[203.0.113.9]"),
            (binary(CLIENT), b"[203.0.113.9]"),
            (binary("2001:db8::9"), b"[IPv6:2001:db8::9]"),
            (b"PROXY UNKNOWN\r\n", b"[192.0.2.3]"),
            (binary(CLIENT, command=0x20), b"[192.0.2.3]"),
        ):
            line = self.call(peer=BALANCER)
            self.tell(line, header)
            self.tell(line, b"EHLO pc.example\r\n")
            self.assertIn(b"from pc.example (" + literal + b")", self.deliver(line))
        self.assertEqual(self.peers(), [CLIENT, CLIENT, "2001:db8::9", "192.0.2.3", "192.0.2.3"])
        disconnected = self.world.journal.of("smtp.disconnected")
        self.tell(line, b"QUIT\r\n")
        self.assertEqual(len(self.world.journal.of("smtp.disconnected")), len(disconnected) + 1)

    def test_a_header_may_come_octet_by_octet(self) -> None:
        for header in (HEADER, binary(CLIENT)):
            line = self.call(peer=BALANCER)
            for octet in header[:-1]:
                self.assertEqual(self.tell(line, bytes([octet])), b"")
            self.assertEqual(self.tell(line, header[-1:]), GREETING)

    def test_what_comes_behind_the_header_is_the_sessions(self) -> None:
        line = self.call(peer=BALANCER)
        answer = self.tell(line, binary(CLIENT) + b"EHLO pc.example\r\nNOOP\r\n")
        self.assertTrue(answer.startswith(GREETING + b"250-mx.test\r\n"))
        self.assertTrue(answer.endswith(b"250 2.0.0 OK\r\n"))

    def test_starttls_behind_a_header(self) -> None:
        line = self.call("submission", BALANCER)
        self.tell(line, HEADER)
        self.assertIn(b"220 2.0.0", self.tell(line, b"EHLO pc.example\r\nSTARTTLS\r\n"))
        line.start_tls()
        self.assertIn(b" PLAIN LOGIN", self.tell(line, b"EHLO pc.example\r\n"))
        self.assertIn(b"235 ", self.tell(line, PROOF))
        mail = self.deliver(line)
        self.assertIn(b"with ESMTPSA (TLSv1.3) id", mail)
        self.assertIn(b"([203.0.113.9])", mail)

    def test_implicit_tls_behind_a_header(self) -> None:
        line = self.call("submissions", BALANCER)
        self.assertEqual(self.tell(line, binary(CLIENT)), b"")
        line.start_tls()
        self.world.turn()
        self.assertEqual(line.take(), GREETING)
        self.tell(line, b"EHLO pc.example\r\n" + PROOF)
        mail = self.deliver(line)
        self.assertIn(b"with ESMTPSA (TLSv1.3) id", mail)
        self.assertIn(b"([203.0.113.9])", mail)

    def test_relay_networks_are_judged_by_the_source(self) -> None:
        networks = (Network("192.0.2.3"),)
        for relaying, expected in (("192.0.2.3", b"530 5.7.0"), (CLIENT, b"250 2.1.0")):
            relay = (RelayNetwork(Network(relaying), Name("acme")),)
            self.build(Tls(), proxy_protocol_networks=networks, relay_networks=relay)
            line = self.call("submission", BALANCER)
            self.tell(line, HEADER)
            self.assertIn(expected, self.tell(line, b"EHLO pc.example\r\nMAIL FROM:<alice@acme.example>\r\n"))

    def test_a_balancer_without_a_header_is_closed_without_a_word(self) -> None:
        for octets in (
            b"EHLO pc.example\r\n",
            b"\x16\x03\x01",
            b"PROXY TCP4 nonsense\r\n",
            SIGNATURE + b"\x21\x11\xff\xff",
        ):
            for port in ("smtp", "submission", "submissions"):
                line = self.call(port, BALANCER)
                self.assertEqual(self.tell(line, octets), b"")
                self.assertTrue(line.closed)
                self.assertEqual(self.turned_away()[-1], "proxy-header")
        self.assertEqual(self.peers(), [])

    def test_a_header_has_five_seconds(self) -> None:
        line, begun = self.call(peer=BALANCER), self.call(peer=BALANCER)
        begun.send(HEADER[:10])
        self.world.advance(4.9, step=0.1)
        self.assertFalse(line.closed)
        self.world.advance(0.2, step=0.1)
        self.assertTrue(line.closed)
        self.assertTrue(begun.closed)
        self.assertEqual(line.received + begun.received, b"")
        self.assertEqual(self.turned_away(), ["proxy-header"] * 2)

    def test_a_balancer_that_goes_is_forgotten(self) -> None:
        line = self.call(peer=BALANCER)
        line.abort()
        self.world.advance(6)
        self.assertEqual(self.turned_away(), [])

    def test_a_header_from_elsewhere_closes_without_a_word(self) -> None:
        for header in (HEADER, binary(CLIENT), b"PROXY UNKNOWN\r\n", binary(CLIENT, command=0x20)):
            for peer in (("192.0.2.7", 40000), (CLIENT, 40000), ("192.0.2.30", 40000)):
                line = self.world.connect(peer=peer)
                self.assertEqual(self.tell(line, header + b"EHLO pc.example\r\n"), b"")
                self.assertTrue(line.closed)
                self.assertEqual(self.turned_away()[-1], "proxy-header")
        self.assertNotIn(CLIENT, {facts["peer"] for facts in self.world.journal.of("smtp.accepted")})

    def test_a_header_later_on_is_a_command_nobody_knows(self) -> None:
        line = self.world.connect()
        self.assertIn(b"500 5.5.1", self.tell(line, b"EHLO pc.example\r\n" + HEADER))
        self.assertFalse(line.closed)

    def test_a_server_that_stops_takes_no_session_from_a_balancer(self) -> None:
        line = self.call(peer=BALANCER)
        self.world.server.stopService()
        self.world.turn()
        self.assertEqual(self.tell(line, HEADER), replies.SHUTTING_DOWN.encode())
        self.assertTrue(line.closed)


class XClientTest(ConnectionsTest):
    """PROXY is the proxy; the server's other neighbours may not speak for anybody."""

    PROXY = ("192.0.2.4", 50000)

    def setUp(self) -> None:
        self.build(xclient_networks=(Network("192.0.2.4"),))

    def proxied(self, port: str) -> Line:
        line = self.world.connect(port, self.PROXY)
        self.tell(line, b"EHLO proxy.example\r\n")
        return line

    def test_it_is_offered_to_these_networks_alone(self) -> None:
        for peer, offered in ((self.PROXY, True), (("192.0.2.7", 1), False), (("127.0.0.1", 1), False)):
            for port, attributes in (("smtp", b"NAME ADDR PORT HELO"), ("submission", b"NAME ADDR PORT HELO LOGIN")):
                line = self.world.connect(port, peer)
                hello = self.tell(line, b"EHLO pc.example\r\n").replace(b"250 ", b"250-")
                self.assertEqual(b"250-XCLIENT " + attributes + b"\r\n" in hello, offered)
                answer = self.tell(line, b"XCLIENT ADDR=203.0.113.9\r\n")
                self.assertEqual(answer, GREETING if offered else replies.NOT_IMPLEMENTED.encode())

    def test_whom_it_speaks_for_is_the_peer_from_then_on(self) -> None:
        line = self.proxied("smtp")
        told = b"XCLIENT NAME=pc.client.example ADDR=203.0.113.9 PORT=40001 HELO=pc.example\r\n"
        self.assertEqual(self.tell(line, told), GREETING)
        self.assertIn(b"503 5.5.1", self.tell(line, b"MAIL FROM:<>\r\n"))
        self.tell(line, b"EHLO proxy.example\r\n")
        self.assertIn(b"from pc.example ([203.0.113.9])\r\n", self.deliver(line).replace(b"\n", b"\r\n"))
        self.assertEqual(self.world.journal.of("smtp.accepted")[-1]["peer"], CLIENT)
        (told_of,) = self.world.journal.of("smtp.xclient")
        self.assertEqual(
            (told_of["peer"], told_of["host"], told_of["name"]), ("192.0.2.4", CLIENT, "pc.client.example")
        )

    def test_what_is_not_told_again_stays(self) -> None:
        line = self.proxied("smtp")
        self.tell(line, b"XCLIENT HELO=pc.example\r\n")
        self.assertEqual(self.tell(line, b"XCLIENT ADDR=IPV6:2001:db8::9 NAME=[UNAVAILABLE]\r\n"), GREETING)
        self.tell(line, b"EHLO proxy.example\r\n")
        self.assertIn(b"from pc.example ([IPv6:2001:db8::9])", self.deliver(line))

    def test_an_address_that_cannot_be_known(self) -> None:
        line = self.proxied("smtp")
        self.tell(line, b"XCLIENT ADDR=[UNAVAILABLE]\r\n")
        self.tell(line, b"EHLO proxy.example\r\n")
        self.assertIn(b"from proxy.example (unknown)", self.deliver(line))

    def test_a_login_that_is_vouched_for(self) -> None:
        line = self.proxied("submissions")
        self.assertEqual(self.tell(line, b"XCLIENT ADDR=203.0.113.9 LOGIN=alice+40acme.example\r\n"), GREETING)
        self.tell(line, b"EHLO proxy.example\r\n")
        self.assertIn(b"503", self.tell(line, PROOF))
        self.assertIn(b"553 5.7.1", self.tell(line, b"MAIL FROM:<bob@acme.example>\r\n"))
        mail = self.deliver(line)
        self.assertIn(b"with ESMTPSA (TLSv1.3)", mail)
        self.assertIn(b"([203.0.113.9])", mail)

    def test_a_login_nobody_has(self) -> None:
        line = self.proxied("submissions")
        self.tell(line, b"XCLIENT LOGIN=alice@acme.example\r\n")
        for login in (b"eve@acme.example", b"nonsense", b"@", b"x" * 300):
            self.assertEqual(self.tell(line, b"XCLIENT LOGIN=" + login + b"\r\n"), replies.UNKNOWN_LOGIN.encode())
        self.world.credential("alice@acme.example", "wonderland", enabled=False)
        self.world.turn()
        answer = self.tell(line, b"XCLIENT LOGIN=alice@acme.example\r\n")
        self.assertEqual(answer, replies.UNKNOWN_LOGIN.encode())

    def test_who_is_spoken_for_next_is_not_logged_in(self) -> None:
        line = self.proxied("submissions")
        self.tell(line, b"XCLIENT LOGIN=alice@acme.example\r\n")
        for told in (b"ADDR=203.0.113.10", b"LOGIN=[UNAVAILABLE]"):
            self.tell(line, b"XCLIENT " + told + b"\r\n")
            self.tell(line, b"EHLO proxy.example\r\n")
            self.assertIn(b"530 5.7.0", self.tell(line, b"MAIL FROM:<alice@acme.example>\r\n"))
        self.tell(line, PROOF)
        self.tell(line, b"XCLIENT ADDR=203.0.113.11\r\n")
        self.tell(line, b"EHLO proxy.example\r\n")
        self.assertIn(b"530 5.7.0", self.tell(line, b"MAIL FROM:<alice@acme.example>\r\n"))

    def test_no_login_where_nobody_logs_in(self) -> None:
        line = self.proxied("smtp")
        self.assertIn(b"501 5.5.4", self.tell(line, b"XCLIENT LOGIN=alice@acme.example\r\n"))

    def test_relay_networks_are_judged_by_whom_it_speaks_for(self) -> None:
        for network, peer, expected in (
            (CLIENT, "203.0.113.9", b"250 2.1.0"), (CLIENT, "203.0.113.10", b"530 5.7.0"),
            ("192.0.2.4", "203.0.113.9", b"530 5.7.0"),
        ):  # fmt: skip
            relay = (RelayNetwork(Network(network), Name("acme")),)
            self.build(xclient_networks=(Network("192.0.2.4"),), relay_networks=relay)
            line = self.proxied("submissions")
            self.tell(line, b"XCLIENT ADDR=" + peer.encode() + b"\r\n")
            self.tell(line, b"EHLO proxy.example\r\n")
            self.assertIn(expected, self.tell(line, b"MAIL FROM:<alice@acme.example>\r\n"))

    def test_not_within_a_transaction(self) -> None:
        line = self.proxied("smtp")
        self.tell(line, b"MAIL FROM:<>\r\n")
        self.assertIn(b"503 5.5.1", self.tell(line, b"XCLIENT ADDR=203.0.113.9\r\n"))

    def test_tls_that_begins_makes_it_forgotten(self) -> None:
        line = self.proxied("submission")
        self.tell(line, b"XCLIENT ADDR=203.0.113.9 HELO=pc.example LOGIN=alice@acme.example\r\n")
        self.tell(line, b"EHLO proxy.example\r\nSTARTTLS\r\n")
        line.start_tls()
        self.tell(line, b"EHLO proxy.example\r\n")
        self.assertIn(b"530 5.7.0", self.tell(line, b"MAIL FROM:<alice@acme.example>\r\n"))
        self.tell(line, PROOF)
        self.assertIn(b"from proxy.example ([192.0.2.4])", self.deliver(line))

    def test_behind_a_balancer_it_counts_as_well_as_whom_it_is_for(self) -> None:
        balancer, proxy = Network("192.0.2.3"), Network("192.0.2.4")
        for networks, source, may in (
            ((proxy,), "192.0.2.4", False), ((balancer,), CLIENT, False), ((balancer, proxy), CLIENT, False),
            ((balancer, proxy), "192.0.2.4", True),
        ):  # fmt: skip
            self.build(proxy_protocol_networks=(balancer,), xclient_networks=networks)
            line = self.call(peer=BALANCER)
            self.tell(line, f"PROXY TCP4 {source} 192.0.2.1 1 2\r\n".encode())
            self.assertEqual(b"XCLIENT" in self.tell(line, b"EHLO proxy.example\r\n"), may)
            answer = self.tell(line, b"XCLIENT ADDR=203.0.113.8\r\n")
            self.assertEqual(answer, GREETING if may else replies.NOT_IMPLEMENTED.encode())


class GreetPauseTest(ConnectionsTest):
    def setUp(self) -> None:
        self.build(greet_pause=Seconds(3), proxy_protocol_networks=(Network("192.0.2.3"),))

    def test_the_greeting_waits(self) -> None:
        line = self.call()
        self.world.advance(2.9, step=0.1)
        self.assertEqual(line.received, b"")
        self.world.advance(0.2, step=0.1)
        self.assertEqual(line.take(), GREETING)
        self.assertIn(b"250-PIPELINING", self.tell(line, b"EHLO pc.example\r\n"))

    def test_who_talks_before_it_is_refused(self) -> None:
        for octets in (b"EHLO pc.example\r\n", b"E", b"\r\n"):
            line = self.call()
            self.world.advance(2)
            self.assertEqual(self.tell(line, octets), replies.EARLY_TALKER.encode())
            self.assertTrue(line.closed)
        self.world.advance(5)
        self.assertEqual(self.turned_away(), ["early-talker"] * 3)

    def test_a_header_is_no_talk(self) -> None:
        line = self.call(peer=BALANCER)
        self.assertEqual(self.tell(line, HEADER), b"")
        self.world.advance(3.1)
        self.assertEqual(line.take(), GREETING)

    def test_who_goes_is_not_greeted(self) -> None:
        line = self.call()
        line.hang_up()
        self.world.advance(5)
        self.assertTrue(line.closed)
        self.assertEqual(line.received, b"")

    def test_tls_is_no_talk(self) -> None:
        line = self.call("submissions")
        line.start_tls()
        self.world.advance(2)
        self.assertEqual(line.take(), b"")
        self.assertEqual(self.tell(line, b"EHLO pc.example\r\n"), replies.EARLY_TALKER.encode())


class LimitsTest(ConnectionsTest):
    def test_a_session_too_many_is_refused_at_any_port(self) -> None:
        self.build(max_connections=3)
        lines = [self.world.connect(peer=(f"198.51.100.{n}", 40000)) for n in range(2)]
        lines.append(self.world.connect("submission"))
        for port in ("smtp", "submission"):
            line = self.call(port)
            self.assertEqual(line.received, replies.TOO_MANY_CONNECTIONS.encode())
            self.assertTrue(line.closed)
        line = self.call("submissions")
        self.assertTrue(line.closed)
        self.assertEqual(line.received, b"")
        self.assertEqual(self.turned_away(), ["too-many-connections"] * 3)
        lines.pop().hang_up()
        self.world.turn()
        self.assertEqual(self.call().received, GREETING)

    def test_who_waits_for_a_header_is_one_of_them(self) -> None:
        self.build(max_connections=4, max_connections_per_ip=1, proxy_protocol_networks=(Network("192.0.2.3"),))
        waiting = [self.call(port, BALANCER) for port in ("smtp", "smtp", "submission", "submissions")]
        self.assertEqual([(line.received, line.closed) for line in waiting], [(b"", False)] * 4)
        full = replies.TOO_MANY_CONNECTIONS.encode()
        self.assertEqual(self.call().received, full)
        further = self.call(peer=BALANCER)
        self.assertEqual((further.received, further.closed), (full, True))
        self.assertTrue(self.call("submissions", BALANCER).closed)
        self.assertEqual(self.turned_away(), ["too-many-connections"] * 3)
        # The session takes the place of what waited for it, be it let in or not; who goes or is turned away leaves one.
        self.assertEqual(self.tell(waiting[0], HEADER), GREETING)
        self.assertEqual(self.call().received, full)
        self.assertEqual(self.tell(waiting[1], HEADER), replies.TOO_MANY_FROM_YOU.encode())
        waiting[2].hang_up()
        self.tell(waiting[3], b"nonsense")
        self.world.turn()
        others = [self.call(peer=(f"198.51.100.{number}", 1)) for number in range(4)]
        self.assertEqual([line.received for line in others], [GREETING] * 3 + [full])

    def test_who_waits_for_a_header_waits_five_seconds(self) -> None:
        self.build(max_connections=2, proxy_protocol_networks=(Network("192.0.2.3"),))
        for _ in range(5):
            lines = [self.call(peer=BALANCER) for _ in range(2)]
            self.world.advance(6)
            self.assertEqual([line.closed for line in lines], [True, True])
        self.assertEqual([self.call().received for _ in range(2)], [GREETING] * 2)

    def test_a_peer_has_a_share(self) -> None:
        self.build(
            max_connections_per_ip=2,
            relay_networks=(RelayNetwork(Network("198.51.100.0/24"), Name("acme")),),
            proxy_protocol_networks=(Network("192.0.2.3"),),
        )
        for _ in range(2):
            self.assertEqual(self.call().received, GREETING)
        self.assertEqual(self.call().received, replies.TOO_MANY_FROM_YOU.encode())
        self.assertEqual(self.call("submission").received, replies.TOO_MANY_FROM_YOU.encode())
        self.assertEqual(self.call(peer=("192.0.2.8", 1)).received, GREETING)
        for number in range(10):
            self.assertEqual(self.call(peer=("198.51.100.1", number)).received, GREETING)
        # Behind a balancer it is the source that has a share.
        answers = [self.tell(self.call(peer=BALANCER), HEADER) for _ in range(3)]
        self.assertEqual(answers, [GREETING, GREETING, replies.TOO_MANY_FROM_YOU.encode()])
        self.assertEqual(self.tell(self.call(peer=BALANCER), b"PROXY UNKNOWN\r\n"), GREETING)
        self.assertEqual(self.turned_away(), ["too-many-of-peer"] * 3)


class HarvestTest(ConnectionsTest):
    def ask(self, line: Line, count: int) -> list[bytes]:
        """Ask for so many addresses nobody has, in one read; return the codes of the answers."""
        asked = b"".join(b"RCPT TO:<nobody%d@acme.example>\r\n" % number for number in range(count))
        return [answer[:9] for answer in self.tell(line, asked).splitlines()]

    def begin(self, port: str = "smtp") -> Line:
        line = self.call(port)
        self.tell(line, b"EHLO pc.example\r\n")
        self.tell(line, PROOF if port == "submission" else b"NOOP\r\n")
        self.assertIn(b"250 2.1.0", self.tell(line, b"MAIL FROM:<alice@acme.example>\r\n"))
        return line

    def refused(self) -> list[object]:
        return [facts["stage"] for facts in self.world.journal.of("smtp.rejected")
                if facts["reason"] == "too-many-refused"]  # fmt: skip

    def test_addresses_are_not_to_be_had_by_the_thousand(self) -> None:
        line = self.begin()
        self.assertEqual(self.ask(line, 5_000), [b"550 5.1.1"] * 100 + [b"421 4.7.0"])
        self.assertTrue(line.closed)
        self.assertEqual(self.refused(), ["command"])

    def test_nor_by_who_logged_in(self) -> None:
        self.build(Tls(enabled=False))
        line = self.call("submission", ("127.0.0.1", 40000))
        self.tell(line, b"EHLO pc.example\r\n" + PROOF + b"MAIL FROM:<alice@acme.example>\r\n")
        self.assertEqual(self.ask(line, 200), [b"550 5.1.1"] * 100 + [b"421 4.7.0"])

    def test_nor_where_nobody_is_refused_for_good(self) -> None:
        self.build(queue=Queue(soft_bounce=True))
        self.assertEqual(self.ask(self.begin(), 200), [b"450 4.1.1"] * 100 + [b"421 4.7.0"])

    def test_nor_in_many_transactions(self) -> None:
        line = self.begin()
        for _ in range(10):
            self.assertEqual(self.ask(line, 10), [b"550 5.1.1"] * 10)
            self.tell(line, b"RSET\r\nMAIL FROM:<>\r\n")
        self.assertEqual(self.ask(line, 1), [b"421 4.7.0"])

    def test_a_list_with_dead_addresses_gets_through(self) -> None:
        line = self.begin()
        self.world.host("alice@acme.example", *(f"member{number}@acme.example" for number in range(950)))
        list_of = [b"member%d" % number for number in range(950)]
        for number in range(50):
            list_of.insert(19 * number, b"dead%d" % number)
        answers = self.tell(line, b"".join(b"RCPT TO:<%s@acme.example>\r\n" % name for name in list_of))
        codes = Counter(answer[:9] for answer in answers.splitlines())
        self.assertEqual(codes, {b"250 2.1.5": 950, b"550 5.1.1": 50})
        self.tell(line, b"DATA\r\n")
        self.assertIn(b"250 2.0.0", self.tell(line, b"Subject: hi\r\n\r\nhello\r\n.\r\n"))

    def test_what_is_not_refused_for_good_counts_for_nothing(self) -> None:
        line = self.begin()
        self.world.directory.reachable = False
        self.assertEqual(self.ask(line, 200), [b"451 4.3.0"] * 200)


class AgeTest(ConnectionsTest):
    def grown(self, line: Line, minutes: int, command: bytes = b"NOOP\r\n") -> None:
        """Let a session live, saying something now and then."""
        for _ in range(minutes // 4):
            self.world.advance(4 * MINUTE, step=5.0)
            if not line.closed:
                self.tell(line, command)

    def test_a_session_ends_after_an_hour(self) -> None:
        line = self.world.connect()
        self.tell(line, b"EHLO pc.example\r\n")
        self.grown(line, 56)
        self.assertFalse(line.closed)
        self.world.advance(4 * MINUTE - 1, step=5.0)
        self.assertFalse(line.closed)
        self.world.advance(2)
        self.assertEqual(line.take(), replies.SESSION_TOO_OLD.encode())
        self.assertTrue(line.closed)

    def test_a_transaction_that_is_open_may_end(self) -> None:
        line = self.world.connect()
        self.tell(line, b"EHLO pc.example\r\n")
        self.grown(line, 56)
        self.tell(line, MESSAGE[: MESSAGE.index(b"DATA")])
        self.world.advance(4 * MINUTE + 10, step=5.0)
        self.assertEqual(line.take(), b"")
        self.assertEqual(self.tell(line, b"DATA\r\n")[:4], b"354 ")
        answer = self.tell(line, b"Subject: hi\r\n\r\nhello\r\n.\r\n")
        self.assertTrue(answer.startswith(b"250 2.0.0"))
        self.assertTrue(answer.endswith(replies.SESSION_TOO_OLD.encode()))
        self.assertTrue(line.closed)

    def test_a_transaction_that_does_not_end_ends_with_the_session(self) -> None:
        line = self.world.connect()
        self.tell(line, b"EHLO pc.example\r\n")
        self.grown(line, 56)
        self.tell(line, b"MAIL FROM:<>\r\n")
        self.grown(line, 12)
        self.assertFalse(line.closed)
        self.world.advance(2 * MINUTE + 10, step=5.0)
        self.assertEqual(line.take(), replies.SESSION_TOO_OLD.encode())

    def test_silence_ends_a_session_sooner(self) -> None:
        line = self.world.connect()
        self.world.advance(5 * MINUTE + 1, step=5.0)
        self.assertEqual(line.take(), replies.IDLE_TIMEOUT.encode())


class FairnessTest(ConnectionsTest):
    def test_replies_to_a_group_go_out_in_one_write(self) -> None:
        for delay_seconds in (0.0, 1.0):
            self.world.directory.delay_seconds = delay_seconds
            line = self.world.connect()
            self.tell(line, b"EHLO pc.example\r\n")
            written = line.transport.other.write_count
            line.send(b"MAIL FROM:<>\r\n" + b"RCPT TO:<bob@acme.example>\r\n" * 5 + b"DATA\r\n")
            self.world.advance(6)
            self.assertEqual(line.take().count(b"\r\n"), 7)
            self.assertEqual(line.transport.other.write_count, written + 1)

    def test_twenty_thousand_commands_leave_others_their_turns(self) -> None:
        self.world.network.segment_octets = 1_000_000
        crowd = self.world.connect()
        turns: list[int] = []

        class Witness(Protocol):
            """Says NOOP to each line, and notes how many turns the crowd had had when the line came."""

            def dataReceived(self, data: bytes) -> None:
                turns.append(crowd.transport.other.write_count)
                if len(turns) <= 100:
                    self.transport.write(b"NOOP\r\n")

        crowd.send(b"NOOP\r\n" * 20_000)
        self.world.network.dial(self.world.settings.server.smtp_addr, Factory.forProtocol(Witness), 5.0)
        self.world.turn()
        self.assertEqual(crowd.take().count(b"250 2.0.0 OK\r\n"), 20_000)
        # One for the greeting, and no more than a hundred commands in each of the others.
        self.assertGreaterEqual(crowd.transport.other.write_count, 201)
        self.assertEqual(len(turns), 101)
        waits = [after - before for before, after in pairwise(turns)]
        self.assertLessEqual(max(waits), 5)

    def test_a_turn_is_short_however_long_each_command_takes(self) -> None:
        self.patch(exchange, "TURN_SECONDS", 0.0)
        line = self.call()
        written = line.transport.other.write_count
        self.assertEqual(self.tell(line, b"NOOP\r\n" * 50).count(b"250 2.0.0 OK\r\n"), 50)
        self.assertEqual(line.transport.other.write_count, written + 50)

    def test_only_replies_of_a_group_wait_for_others(self) -> None:
        transaction = b"MAIL FROM:<>\r\nRCPT TO:<bob@acme.example>\r\n"
        for said, at_once in ((b"BDAT 2 LAST\r\n\r\n", b"250 2.0.0 OK queued"), (b"VRFY bob\r\n", b"252 2.5.2")):
            self.build()
            line = self.call()
            self.tell(line, b"EHLO pc.example\r\n")
            self.world.directory.delay_seconds = 1.0
            line.send(transaction + said + b"RSET\r\n" + transaction + b"RSET\r\n")
            # To find out about a recipient takes two questions.
            self.world.advance(1.5)
            self.assertEqual(line.take(), b"")
            self.world.advance(1.0)
            self.assertIn(at_once, line.take())

    def test_no_group_is_so_large_that_its_replies_are_kept(self) -> None:
        self.world.directory.delay_seconds = 0.001
        line = self.call()
        line.send(b"EHLO pc.example\r\nMAIL FROM:<>\r\n")
        line.send(b"RCPT TO:<bob@acme.example>\r\n" * 1500)
        self.world.advance(1.0, step=0.001)
        self.assertGreater(line.take().count(b"250 2.1.5"), 300)

    def test_who_does_not_read_is_paused_and_not_buffered(self) -> None:
        line = self.world.connect()
        line.transport.pauseProducing()
        for _ in range(100):
            line.send(b"EHLO pc.example\r\n" * 1000)
            self.world.turn()
        server = line.transport.other
        self.assertLess(server.waiting_octets, 256 * 1024)
        self.assertFalse(server.reading)
