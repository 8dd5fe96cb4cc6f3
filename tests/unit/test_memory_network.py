"""What the memory network has beyond the port: lines in a test's hands, scripted servers, TLS that is played."""

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.testing.network import Line, MemoryNetwork
from mtad.testing.scripted import HANG_UP, SILENCE, ScriptedServer, ScriptedSession
from mtad.testing.tls import MemoryContext

ADDRESS = "127.0.0.1:24"


class Echo(Protocol):
    """Says back what it hears, and remembers in what pieces it came."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.transport.write(data)


class MemoryNetworkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)

    def turn(self) -> None:
        self.clock.advance(0)

    def listen(self, protocol: Protocol) -> None:
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        self.network.listen(ADDRESS, factory)


class LineTest(MemoryNetworkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.echo = Echo()
        self.listen(self.echo)
        self.line = self.network.connect(ADDRESS, ("192.0.2.7", 40000))

    def test_nothing_arrives_before_the_clock_turns(self) -> None:
        self.line.send(b"hello")
        self.assertEqual(self.echo.pieces, [])
        self.turn()
        self.assertEqual(self.echo.pieces, [b"hello"])
        self.assertEqual(self.line.received, b"hello")

    def test_take_forgets_what_it_gave(self) -> None:
        self.line.send(b"one")
        self.turn()
        self.assertEqual(self.line.take(), b"one")
        self.assertEqual(self.line.take(), b"")

    def test_the_server_sees_the_peer_that_was_asked_for(self) -> None:
        peer, host = self.echo.transport.getPeer(), self.echo.transport.getHost()
        self.assertEqual((peer.host, peer.port, host.host, host.port), ("192.0.2.7", 40000, "127.0.0.1", 24))

    def test_writes_of_one_turn_are_read_together(self) -> None:
        self.line.send(b"a")
        self.line.send(b"b")
        self.turn()
        self.assertEqual(self.echo.pieces, [b"ab"])

    def test_reads_can_be_made_as_small_as_wanted(self) -> None:
        self.network.segment_octets = 2
        echo = Echo()
        self.network.listen(":25", Factory.forProtocol(lambda: echo))
        self.network.connect(":25").send(b"abcde")
        self.turn()
        self.assertEqual(echo.pieces, [b"ab", b"cd", b"e"])

    def test_hanging_up_and_being_hung_up_on(self) -> None:
        self.line.send(b"bye")
        self.line.hang_up()
        self.turn()
        self.assertTrue(self.line.closed)
        self.assertEqual(self.echo.pieces, [b"bye"])
        other = self.network.connect(ADDRESS)
        self.echo.transport.loseConnection()
        self.turn()
        self.assertTrue(other.closed)
        self.assertTrue(other.reason and other.reason.check(error.ConnectionDone))

    def test_aborting_loses_what_is_under_way(self) -> None:
        self.line.send(b"lost")
        self.line.abort()
        self.turn()
        self.assertEqual(self.echo.pieces, [])

    def test_nothing_is_left_to_do_after_the_end(self) -> None:
        self.line.send(b"x" * 1_000_000)
        self.turn()
        self.line.hang_up()
        self.turn()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_peer_that_does_not_read_holds_the_writer_back(self) -> None:
        self.line.transport.pauseProducing()
        self.echo.transport.write(b"x" * 1_000_000)
        self.echo.transport.loseConnection()
        self.turn()
        self.assertTrue(self.echo.transport.connected)
        self.line.transport.resumeProducing()
        self.turn()
        self.assertFalse(self.echo.transport.connected)
        self.assertEqual(len(self.line.take()), 1_000_000)

    def test_writing_to_who_has_gone_is_an_end(self) -> None:
        self.echo.transport.pauseProducing()
        self.line.hang_up()
        self.turn()
        self.echo.transport.write(b"hello?")
        self.turn()
        self.assertFalse(self.echo.transport.connected)

    def test_text_is_no_octets(self) -> None:
        self.assertRaises(TypeError, self.line.transport.write, "text")

    def test_nobody_listening(self) -> None:
        self.assertRaises(error.ConnectionRefusedError, self.network.connect, "127.0.0.1:99")


class DialTest(MemoryNetworkTestCase):
    def dial(self, address: str) -> Deferred[Protocol]:
        return self.network.dial(address, Factory.forProtocol(Line), 10.0)

    def test_dials_are_remembered_in_order(self) -> None:
        for address in ("192.0.2.1:25", "[2001:db8::1]:25"):
            self.dial(address).addErrback(lambda _: None)
        self.assertEqual(self.network.dialled, ["192.0.2.1:25", "[2001:db8::1]:25"])

    def test_a_silent_address_takes_exactly_as_long_as_allowed(self) -> None:
        self.network.silent.add(ADDRESS)
        dialled = self.dial(ADDRESS)
        self.clock.advance(9.9)
        self.assertNoResult(dialled)
        self.clock.advance(0.1)
        self.failureResultOf(dialled, error.TimeoutError)

    def test_nothing_happens_inside_the_call(self) -> None:
        dialled = self.dial(ADDRESS)
        self.assertNoResult(dialled)
        self.listen(Echo())
        self.turn()
        self.assertIsInstance(self.successResultOf(dialled), Line)


class PlayedTlsTest(MemoryNetworkTestCase):
    """STARTTLS without encryption, but with its order."""

    def setUp(self) -> None:
        super().setUp()
        self.echo = Echo()
        self.listen(self.echo)
        self.line = self.network.connect(ADDRESS)

    def test_the_context_is_recorded_and_the_transport_says_so(self) -> None:
        context = MemoryContext()
        self.assertFalse(ISSLTransport.providedBy(self.echo.transport))
        self.echo.transport.startTLS(context)
        self.assertEqual(self.echo.transport.tls_contexts, [context])
        self.assertTrue(ISSLTransport.providedBy(self.echo.transport))
        self.assertTrue(self.echo.transport.TLS)

    def test_octets_wait_until_both_ends_speak_it(self) -> None:
        self.line.start_tls()
        self.line.send(b"secret")
        self.turn()
        self.assertEqual(self.echo.pieces, [])
        self.echo.transport.startTLS(MemoryContext())
        self.turn()
        self.assertEqual(self.echo.pieces, [b"secret"])
        self.assertEqual(self.line.take(), b"secret")

    def test_what_was_written_before_is_plain(self) -> None:
        self.echo.transport.write(b"220 go\r\n")
        self.echo.transport.startTLS(MemoryContext())
        self.turn()
        self.assertEqual(self.line.take(), b"220 go\r\n")


class ScriptedServerTest(MemoryNetworkTestCase):
    def talk(self, server: ScriptedServer, *turns: bytes) -> list[bytes]:
        """Return what the server says after each turn, its greeting first."""
        self.network.serve(ADDRESS, server)
        self.line = self.network.connect(ADDRESS)
        self.turn()
        said = [self.line.take()]
        for octets in turns:
            self.line.send(octets)
            self.turn()
            said.append(self.line.take())
        return said

    def test_lines_are_answered_by_their_verb(self) -> None:
        server = ScriptedServer(b"220 hi\r\n", {b"EHLO": b"250 you\r\n"}, default=b"500 what\r\n")
        said = self.talk(server, b"ehlo me\r\n", b"NO", b"OP\r\nFROB:x\r\n")
        self.assertEqual(said, [b"220 hi\r\n", b"250 you\r\n", b"", b"500 what\r\n500 what\r\n"])
        self.assertEqual(server.lines, [b"ehlo me", b"NOOP", b"FROB:x"])

    def test_a_list_is_answered_one_after_the_other_and_the_last_for_good(self) -> None:
        server = ScriptedServer(b"", {b"RCPT": [b"450 later\r\n", b"250 ok\r\n"]})
        self.assertEqual(self.talk(server, b"RCPT\r\n" * 3)[1], b"450 later\r\n250 ok\r\n250 ok\r\n")

    def test_a_function_sees_session_and_line(self) -> None:
        def answer(session: ScriptedSession, line: bytes) -> bytes:
            return b"250 %d %s\r\n" % (len(session.lines), line)

        self.assertEqual(self.talk(ScriptedServer(b"", {b"NOOP": answer}), b"NOOP x\r\n")[1], b"250 1 NOOP x\r\n")

    def test_it_can_say_nothing_or_hang_up(self) -> None:
        server = ScriptedServer(b"220 hi\r\n", {b"MAIL": SILENCE, b"RCPT": HANG_UP})
        self.assertEqual(self.talk(server, b"MAIL\r\n")[1], b"")
        self.assertFalse(self.line.closed)
        self.line.send(b"RCPT\r\n")
        self.turn()
        self.assertTrue(self.line.closed)
        self.assertTrue(server.sessions[0].closed)

    def test_smtp_answers_a_message_once(self) -> None:
        server = ScriptedServer(b"", {b".": b"250 queued\r\n"})
        said = self.talk(server, b"EHLO x\r\nMAIL\r\nRCPT\r\nRCPT\r\nDATA\r\n", b"a\r\n..b\r\n.\r\nQUIT\r\n")
        self.assertTrue(said[1].endswith(b"354 Go ahead\r\n"))
        self.assertEqual(said[2], b"250 queued\r\n221 2.0.0 Bye\r\n")
        self.assertEqual(server.messages, [b"a\r\n..b\r\n"])
        self.assertTrue(self.line.closed)

    def test_lmtp_answers_once_for_each_accepted_recipient(self) -> None:
        server = ScriptedServer(
            b"",
            {b"RCPT": [b"250 ok\r\n", b"550 no\r\n", b"250 ok\r\n"], b".": [b"250 stored\r\n", b"452 full\r\n"]},
        )
        said = self.talk(server, b"LHLO x\r\nMAIL\r\nRCPT\r\nRCPT\r\nRCPT\r\nDATA\r\n", b".\r\n")
        self.assertEqual(said[2], b"250 stored\r\n452 full\r\n")
        self.assertEqual(server.messages, [b""])

    def test_the_message_may_come_in_any_pieces(self) -> None:
        self.network.segment_octets = 1
        server = ScriptedServer(b"")
        self.talk(server, b"EHLO x\r\nMAIL\r\nRCPT\r\nDATA\r\na\r\n.\r\nDATA\r\nb\r\n.\r\n")
        self.assertEqual(server.messages, [b"a\r\n", b"b\r\n"])
