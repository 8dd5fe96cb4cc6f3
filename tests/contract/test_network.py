"""INetwork: what protocols may rely on, over sockets and over the memory network alike."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any
from unittest import skipUnless

from twisted.internet import error
from twisted.internet import reactor as real_reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mtad.adapters.network import SocketNetwork
from mtad.interfaces import IListener, INetwork
from mtad.model.errors import InvalidInput
from mtad.testing.network import MemoryNetwork


class Talker(Protocol):
    """One end: keeps what comes, and tells when."""

    def __init__(self) -> None:
        self.received = b""
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()
        self._awaited: list[tuple[int, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        due = [waiter for octets, waiter in self._awaited if octets <= len(self.received)]
        self._awaited = [(octets, waiter) for octets, waiter in self._awaited if octets > len(self.received)]
        for waiter in due:
            waiter.callback(self.received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)

    def has(self, octets: int) -> Deferred[bytes]:
        """Fire once that many octets came."""
        waiter: Deferred[bytes] = Deferred()
        self._awaited.append((octets, waiter))
        self.dataReceived(b"")
        return waiter


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """Hears of the end of what it reads, and may still write."""

    def __init__(self) -> None:
        super().__init__()
        self.read_ended: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.read_ended.callback(None)

    def writeConnectionLost(self) -> None:
        pass


class Talkers(Factory):
    """Builds talkers; `next()` fires with the next one that is connected."""

    noisy = False

    def __init__(self, kind: type[Talker] = Talker) -> None:
        self.kind = kind
        self.talkers: list[Talker] = []
        self.peers: list[Any] = []
        self._awaited: list[Deferred[Talker]] = []

    def buildProtocol(self, addr: Any) -> Talker:
        talker = self.kind()
        self.talkers.append(talker)
        self.peers.append(addr)
        awaited, self._awaited = self._awaited, []
        for waiter in awaited:
            talker.made.addCallback(lambda _, waiter=waiter: waiter.callback(talker))
        return talker

    def next(self) -> Deferred[Talker]:
        waiter: Deferred[Talker] = Deferred()
        self._awaited.append(waiter)
        return waiter


class Source:
    """A producer that counts how it is asked to pause and to go on."""

    def __init__(self) -> None:
        self.paused = 0
        self.stopped = False
        self.resumed: Deferred[None] = Deferred()

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


class NetworkContract:
    """Subclasses give `self.network`, an address that never answers, and a way to serve a unix socket."""

    network: INetwork

    def hang_up_at_the_end(self) -> None:
        self.talkers: list[Talker] = []
        build = Talkers.buildProtocol

        def building(factory: Talkers, addr: Any) -> Talker:
            self.talkers.append(build(factory, addr))
            return self.talkers[-1]

        self.patch(Talkers, "buildProtocol", building)
        self.addCleanup(self.hang_up)

    async def hang_up(self) -> None:
        for talker in self.talkers:
            if talker.made.called and not talker.lost.called:
                talker.transport.abortConnection()
                await talker.lost

    def on_end(self, port: IListeningPort) -> None:
        self.addCleanup(port.stopListening)

    async def pair(self, near: type[Talker] = Talker, far: type[Talker] = Talker) -> tuple[Any, Any]:
        """Return the two ends of a connection: who dialled, and who listened."""
        factory = Talkers(far)
        port = self.network.listen("127.0.0.1:0", factory)
        self.on_end(port)
        accepted = factory.next()
        dialled = await self.network.dial(f"127.0.0.1:{port.getHost().port}", Talkers(near), 5.0)
        return dialled, await accepted

    async def test_which_addresses_are_ours(self) -> None:
        self.assertTrue(self.network.is_ours("127.0.0.1"))
        self.assertFalse(self.network.is_ours("192.0.2.1"))
        self.assertFalse(self.network.is_ours("2001:db8::1"))

    async def test_provides_the_port(self) -> None:
        verifyObject(INetwork, self.network)

    async def test_octets_go_both_ways(self) -> None:
        near, far = await self.pair()
        near.transport.write(b"to the far end")
        self.assertEqual(await far.has(14), b"to the far end")
        far.transport.writeSequence([b"and", b" back"])
        self.assertEqual(await near.has(8), b"and back")

    async def test_a_large_message_arrives_whole(self) -> None:
        near, far = await self.pair()
        octets = bytes(range(256)) * 4096
        near.transport.write(octets)
        near.transport.loseConnection()
        self.assertEqual(await far.has(len(octets)), octets)
        await far.lost

    async def test_the_ends_know_each_other(self) -> None:
        near, far = await self.pair()
        self.assertEqual(near.transport.getPeer(), far.transport.getHost())
        self.assertEqual(far.transport.getPeer().host, "127.0.0.1")

    async def test_a_dial_can_come_from_an_address_of_ones_own(self) -> None:
        factory = Talkers()
        port = self.network.listen("127.0.0.1:0", factory)
        self.on_end(port)
        accepted = factory.next()
        near: Any = await self.network.dial(f"127.0.0.1:{port.getHost().port}", Talkers(), 5.0, "127.0.0.2")
        self.assertEqual(near.transport.getHost().host, "127.0.0.2")
        self.assertEqual((await accepted).transport.getPeer().host, "127.0.0.2")

    async def test_closing_flushes_and_ends_both(self) -> None:
        near, far = await self.pair()
        near.transport.write(b"bye")
        near.transport.loseConnection()
        near_reason, far_reason = await near.lost, await far.lost
        self.assertEqual(far.received, b"bye")
        self.assertIsInstance(near_reason, error.ConnectionDone)
        self.assertIsInstance(far_reason, error.ConnectionDone)

    async def test_aborting_is_an_error_for_the_other_end(self) -> None:
        near, far = await self.pair()
        near.transport.abortConnection()
        near_reason, far_reason = await near.lost, await far.lost
        self.assertIsInstance(near_reason, error.ConnectionAborted)
        self.assertIsInstance(far_reason, error.ConnectionLost)

    async def test_aborting_twice_and_after_the_end_is_nothing(self) -> None:
        near, far = await self.pair()
        near.transport.abortConnection()
        near.transport.abortConnection()
        await near.lost
        near.transport.abortConnection()
        near.transport.loseConnection()
        near.transport.write(b"to nobody")
        await far.lost

    async def test_half_closed_the_other_way_stays_open(self) -> None:
        near, far = await self.pair(HalfTalker, HalfTalker)
        near.transport.write(b"that is all")
        near.transport.loseWriteConnection()
        await far.read_ended
        self.assertEqual(far.received, b"that is all")
        far.transport.write(b"thanks")
        far.transport.loseConnection()
        self.assertEqual(await near.has(6), b"thanks")
        await near.read_ended
        near.transport.loseConnection()
        await near.lost

    async def test_a_paused_end_reads_nothing_until_it_resumes(self) -> None:
        near, far = await self.pair()
        other_near, other_far = await self.pair()
        far.transport.pauseProducing()
        near.transport.write(b"later")
        # What was sent after it on another connection is here, so this would be.
        for number in range(1, 4):
            other_near.transport.write(b"now")
            await other_far.has(3 * number)
        self.assertEqual(far.received, b"")
        far.transport.resumeProducing()
        self.assertEqual(await far.has(5), b"later")

    async def test_a_paused_end_does_not_see_the_end_before_what_came_before_it(self) -> None:
        near, far = await self.pair()
        far.transport.pauseProducing()
        near.transport.write(b"last words")
        near.transport.loseConnection()
        await near.lost
        self.assertFalse(far.lost.called)
        far.transport.resumeProducing()
        await far.lost
        self.assertEqual(far.received, b"last words")

    async def test_a_producer_is_paused_while_much_waits(self) -> None:
        near, far = await self.pair()
        far.transport.pauseProducing()
        source = Source()
        near.transport.registerProducer(source, True)
        near.transport.write(b"x" * 60_000)
        self.assertEqual(source.paused, 0)
        near.transport.write(b"x" * 60_000)
        self.assertEqual(source.paused, 1)
        self.assertFalse(source.resumed.called)
        far.transport.resumeProducing()
        await source.resumed
        near.transport.unregisterProducer()
        await far.has(120_000)

    async def test_a_close_waits_for_a_paused_producer(self) -> None:
        near, far = await self.pair()
        source = Source()
        source.resumed.addCallback(lambda _: near.transport.write(b"the rest"))
        source.resumed.addCallback(lambda _: near.transport.unregisterProducer())
        far.transport.pauseProducing()
        near.transport.registerProducer(source, True)
        near.transport.write(b"x" * 100_000)
        near.transport.loseConnection()
        far.transport.resumeProducing()
        await far.lost
        self.assertTrue(far.received.endswith(b"xthe rest"))

    async def test_a_producer_is_told_of_the_end(self) -> None:
        near, far = await self.pair()
        source = Source()
        near.transport.registerProducer(source, True)
        far.transport.abortConnection()
        await near.lost
        self.assertTrue(source.stopped)

    async def test_a_protocol_that_fails_loses_its_connection(self) -> None:
        class Failing(Talker):
            def dataReceived(self, data: bytes) -> None:
                raise KeyError("this protocol fails")

        near, far = await self.pair(far=Failing)
        near.transport.write(b"x")
        self.assertIsInstance(await far.lost, KeyError)
        await near.lost
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_a_factory_that_builds_nothing_hangs_up(self) -> None:
        class Unwilling(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                return None

        port = self.network.listen("127.0.0.1:0", Unwilling())
        self.on_end(port)
        near = await self.network.dial(f"127.0.0.1:{port.getHost().port}", Talkers(), 5.0)
        await near.lost

    async def test_nobody_listening_is_a_connect_error(self) -> None:
        port = self.network.listen("127.0.0.1:0", Talkers())
        address = f"127.0.0.1:{port.getHost().port}"
        await port.stopListening()
        await self.assert_fails(self.network.dial(address, Talkers(), 5.0), error.ConnectError)

    async def test_a_missing_unix_socket_is_a_connect_error(self) -> None:
        await self.assert_fails(self.network.dial("/nowhere/at-all", Talkers(), 5.0), error.ConnectError)

    async def test_what_is_no_address_is_a_connect_error(self) -> None:
        await self.assert_fails(self.network.dial("nothing", Talkers(), 5.0), error.ConnectError)

    async def test_a_silent_address_times_out(self) -> None:
        await self.assert_fails(self.network.dial(self.silent_address(), Talkers(), 0.02), error.TimeoutError)

    async def test_a_dial_can_be_given_up(self) -> None:
        factory = Talkers()
        dialled = self.network.dial(self.silent_address(), factory, 5.0)
        dialled.cancel()
        await self.assert_fails(dialled, error.ConnectingCancelledError)
        self.assertEqual(factory.talkers, [])

    async def test_a_unix_socket_is_dialled_by_its_path(self) -> None:
        factory = Talkers()
        path = self.serve_unix(factory)
        accepted = factory.next()
        near = await self.network.dial(path, Talkers(), 5.0)
        near.transport.write(b"hello")
        self.assertEqual(await (await accepted).has(5), b"hello")

    async def test_an_address_in_use_is_invalid_input_that_names_it(self) -> None:
        port = self.network.listen("127.0.0.1:0", Talkers())
        self.on_end(port)
        taken = f"127.0.0.1:{port.getHost().port}"
        wrong = self.assertRaises(InvalidInput, self.network.listen, taken, Talkers())
        self.assertEqual(wrong.where, taken)
        self.assertIn("in use", wrong.what)

    async def test_what_cannot_be_listened_at_is_invalid_input(self) -> None:
        for address in ("25", "127.0.0.1", "127.0.0.1:70000", "::1:25", "[::1]", "", "mail example:25"):
            self.assertRaises(InvalidInput, self.network.listen, address, Talkers())

    async def test_a_stopped_port_can_be_taken_again_and_its_connections_go_on(self) -> None:
        factory = Talkers()
        port = self.network.listen("127.0.0.1:0", factory)
        address = f"127.0.0.1:{port.getHost().port}"
        accepted = factory.next()
        near = await self.network.dial(address, Talkers(), 5.0)
        far = await accepted
        await port.stopListening()
        self.on_end(self.network.listen(address, Talkers()))
        near.transport.write(b"still here")
        self.assertEqual(await far.has(10), b"still here")

    async def test_who_connects_while_a_listener_pauses_waits(self) -> None:
        factory = Talkers()
        port = self.network.listen("127.0.0.1:0", factory)
        self.assertTrue(verifyObject(IListener, port))
        self.on_end(port)
        port.pause()
        accepted = factory.next()
        dialling = self.network.dial(f"127.0.0.1:{port.getHost().port}", Talkers(), 5.0)
        await self.pair()
        self.assertFalse(accepted.called)
        port.resume()
        near, far = await dialling, await accepted
        port.pause()
        near.transport.write(b"goes on")
        self.assertEqual(await far.has(7), b"goes on")

    async def test_a_listener_that_is_stopped_pauses_and_resumes_no_more(self) -> None:
        port = self.network.listen("127.0.0.1:0", Talkers())
        address = f"127.0.0.1:{port.getHost().port}"
        port.pause()
        await port.stopListening()
        port.resume()
        port.pause()
        await self.assert_fails(self.network.dial(address, Talkers(), 5.0), error.ConnectError)

    async def test_a_listener_for_every_address_is_reached(self) -> None:
        factory = Talkers()
        port = self.network.listen(":0", factory)
        self.on_end(port)
        accepted = factory.next()
        await self.network.dial(f"127.0.0.1:{port.getHost().port}", Talkers(), 5.0)
        await accepted
        self.assertEqual(factory.peers[0].host, "127.0.0.1")
        self.assertEqual(factory.peers[0].type, "TCP")

    async def assert_fails(self, waited: "Deferred[Any]", kind: type[Exception]) -> None:
        try:
            await waited
        except kind:
            return
        raise AssertionError(f"expected {kind.__name__}")


class MemoryNetworkTest(NetworkContract, TestCase):
    timeout = 10

    def setUp(self) -> None:
        self.network = MemoryNetwork(real_reactor)
        self.hang_up_at_the_end()

    def silent_address(self) -> str:
        self.network.silent.add("192.0.2.1:25")
        return "192.0.2.1:25"

    def serve_unix(self, factory: Factory) -> str:
        self.network.serve("/run/scripted", factory)
        return "/run/scripted"


class SocketNetworkTest(NetworkContract, TestCase):
    timeout = 10

    def setUp(self) -> None:
        self.network = SocketNetwork(real_reactor)
        self.hang_up_at_the_end()

    def silent_address(self) -> str:
        """Return an address whose queue of connections is full, so that the kernel answers no more."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        address = listener.getsockname()
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self.addCleanup(filler.close)
        return f"{address[0]}:{address[1]}"

    def serve_unix(self, factory: Factory) -> str:
        directory = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, directory)
        path = str(Path(directory, "s"))
        self.addCleanup(real_reactor.listenUNIX(path, factory).stopListening)
        return path

    @skipUnless(Path("/proc/net/if_inet6").exists(), "this machine has no IPv6")
    async def test_every_address_is_served_in_both_families(self) -> None:
        factory = Talkers()
        port = self.network.listen(":0", factory)
        self.on_end(port)
        number = port.getHost().port
        accepted = factory.next()
        near = await self.network.dial(f"[::1]:{number}", Talkers(), 5.0)
        await accepted
        self.assertEqual(near.transport.getPeer().host, "::1")
        self.assertEqual(factory.peers[0].host, "::1")

    async def test_a_name_is_looked_up(self) -> None:
        factory = Talkers()
        port = self.network.listen("localhost:0", factory)
        self.on_end(port)
        accepted = factory.next()
        await self.network.dial(f"localhost:{port.getHost().port}", Talkers(), 5.0)
        await accepted

    async def test_a_name_that_is_none_is_a_connect_error(self) -> None:
        await self.assert_fails(self.network.dial("name.invalid:25", Talkers(), 5.0), error.ConnectError)

    async def test_a_source_that_is_none_of_ours_is_a_connect_error(self) -> None:
        await self.assert_fails(self.network.dial("127.0.0.1:9", Talkers(), 5.0, "192.0.2.1"), error.ConnectError)

    async def test_no_address_of_ours_is_invalid_input(self) -> None:
        wrong = self.assertRaises(InvalidInput, self.network.listen, "192.0.2.1:0", Talkers())
        self.assertEqual(wrong.where, "192.0.2.1:0")

    async def test_an_address_that_may_not_be_bound_is_not_ours(self) -> None:
        for address in ("240.0.0.1", "100::1", "192.0.2.1:25", "localhost", ""):
            self.assertFalse(self.network.is_ours(address), address)

    async def test_who_inherits_sockets_binds_none(self) -> None:
        held = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(held.close)
        address = f"127.0.0.1:{held.getsockname()[1]}"
        one, two = (SocketNetwork(real_reactor, {address: [held.dup()]}) for _ in range(2))
        first, second = Talkers(), Talkers()
        port, other = one.listen(address, first), two.listen(address, second)
        await port.stopListening()
        accepted = second.next()
        await one.dial(address, Talkers(), 5.0)
        await accepted
        self.assertEqual(first.talkers, [])
        for network in (one, two):
            wrong = self.assertRaises(InvalidInput, network.listen, address, Talkers())
            self.assertEqual(str(wrong), f"{address}: the supervisor does not listen there")
        await other.stopListening()
        held.close()
        self.on_end(SocketNetwork(real_reactor).listen(address, Talkers()))

    async def test_the_port_is_bound_when_listen_returns(self) -> None:
        port = self.network.listen("127.0.0.1:0", Talkers())
        self.on_end(port)
        with socket.create_connection(("127.0.0.1", port.getHost().port), timeout=5):
            pass
