"""A connection without sockets: two transports, and between them two flows that only a Clock moves.

It keeps the habits of Twisted's TCP transports that protocols lean on: writes leave the caller's turn, a streaming
producer is paused above 64 KiB, `loseConnection` flushes and no longer reads, a paused reader sees neither octets nor
the end, an exception in `dataReceived` costs the connection. What was written before `startTLS` stays plain, and a
plain octet that meets a TLS end breaks the connection. TLS itself is a flag: nothing is encrypted.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProducer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ISystemHandle,
    ITLSTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

_log = Logger()

BUFFER_OCTETS = 65536
"""Above this a producer is paused, and as much one read returns, both as in Twisted."""

WINDOW_OCTETS = 262144
"""As much is between two ends, as in the kernel's buffers."""


@dataclass(slots=True)
class Flow:
    """Octets in order: what waits in a writer, or what is between it and the reader.

    `ended` is the end of the stream, behind the parcels; `reset` tells the reader its peer aborted, `closed` the
    writer that nobody reads any more.
    """

    parcels: deque[tuple[memoryview, bool]] = field(default_factory=deque)
    octets: int = 0
    ended: bool = False
    reset: bool = False
    closed: bool = False

    def put(self, data: bytes, tls: bool) -> None:
        """Add octets, written under TLS or not."""
        self.parcels.append((memoryview(data), tls))
        self.octets += len(data)

    def take(self, limit: int) -> tuple[bytes, bool]:
        """Remove and return up to `limit` octets that were written under the same flag, joined as TCP joins them."""
        pieces: list[memoryview] = []
        tls = self.parcels[0][1]
        while limit and self.parcels and self.parcels[0][1] is tls:
            data, _ = self.parcels.popleft()
            pieces.append(data[:limit])
            if len(data) > limit:
                self.parcels.appendleft((data[limit:], tls))
            limit -= len(pieces[-1])
        taken = b"".join(pieces)
        self.octets -= len(taken)
        return taken, tls

    def clear(self) -> None:
        """Lose what is in it."""
        self.parcels.clear()
        self.octets = 0


class MemoryHandle:
    """What protocols ask of an OpenSSL connection."""

    def get_protocol_version_name(self) -> str:
        """Return the version of TLS that is played."""
        return "TLSv1.3"

    def export_keying_material(self, label: bytes, length: int, context: bytes) -> bytes:
        """Return what both ends of a connection under TLS know, and nobody else."""
        return hashlib.sha256(label + context).digest()[:length]


@implementer(ITLSTransport, ISystemHandle, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a connection. `segment_octets` is the most a single `dataReceived` gets.

    `write_count` says how often something was written here; `other` is the other end.
    """

    TLS = False

    def __init__(self, clock: IReactorTime, host: IAddress, peer: IAddress, segment_octets: int) -> None:
        self.connected = True
        self.write_count = 0
        self.disconnecting = False
        self.reading = True
        self.tls_contexts: list[object] = []
        self.negotiatedProtocol: bytes | None = None
        self._clock = clock
        self._host = host
        self._peer = peer
        self._segment_octets = segment_octets
        self._buffer = Flow()
        self._write_closing = False
        self._write_closed = False
        self._aborting = False
        self._read_ended = False
        self._producer: IPushProducer | None = None
        self._streaming = False
        self._producer_paused = False
        self._sending: IDelayedCall | None = None
        self._receiving: IDelayedCall | None = None

    def join(self, protocol: IProtocol, other: "MemoryTransport", outward: Flow, inward: Flow) -> None:
        """Say what this end is connected to; the protocol hears of it by `makeConnection`, which is the caller's."""
        self.protocol = protocol
        self.other = other
        self._outward = outward
        self._inward = inward

    @property
    def waiting_octets(self) -> int:
        """How much was written and did not leave this end yet: the other one reads no further."""
        return self._buffer.octets

    # The transport, as protocols know it.

    def write(self, data: bytes) -> None:
        """Buffer octets; they leave in a later turn. Octets for a connection that is over are dropped."""
        if not isinstance(data, bytes):
            raise TypeError(f"a transport takes bytes, not {type(data).__name__}")
        if not data or not self.connected or self._write_closed or self._aborting:
            return
        self.write_count += 1
        self._buffer.put(data, self.TLS)
        if self._producer is not None and self._streaming and self._buffer.octets > BUFFER_OCTETS:
            self._producer_paused = True
            self._producer.pauseProducing()
        self._stir_sending()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write each of `data`."""
        for piece in data:
            self.write(piece)

    def loseConnection(self) -> None:
        """Read no more; close once all is written, and a paused producer has had its say."""
        if not self.connected or self.disconnecting or self._aborting:
            return
        self.disconnecting = True
        self.reading = False
        if self._write_closed:
            self._lose(Failure(ConnectionDone()))
        else:
            self._stir_sending()

    def loseWriteConnection(self) -> None:
        """Close this direction once all is written; go on reading."""
        self._write_closing = True
        self._stir_sending()

    def abortConnection(self) -> None:
        """Close at once; what is under way is lost and the peer sees an error."""
        if not self.connected or self._aborting:
            return
        self._aborting = True
        self.reading = False
        self._buffer.clear()
        self._outward.clear()
        self._outward.reset = True
        self.other.stir_receiving()
        self._clock.callLater(0, self._lose, Failure(ConnectionAborted()))

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return the address of this end."""
        return cast(IPv4Address, self._host)

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Return the address of the other end; a unix socket's is a UNIXAddress, whatever the interface says."""
        return cast(IPv4Address, self._peer)

    def getTcpNoDelay(self) -> bool:
        """Return True: nothing here waits to be joined with more."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Take note of nothing: there is no Nagle here."""

    def getTcpKeepAlive(self) -> bool:
        """Return False: no probes are sent."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Take note of nothing: nobody probes."""

    def startTLS(self, contextFactory: object, normal: bool = True) -> None:
        """Record the context; from here on octets are marked, and both ends must have begun for them to pass."""
        self.tls_contexts.append(contextFactory)
        self.TLS = True
        alsoProvides(self, ISSLTransport)
        if self.other.TLS:
            for end in (self, self.other):
                self._clock.callLater(0, end.shake_hands)
        self.stir_receiving()

    def getPeerCertificate(self) -> None:
        """Return None: nobody shows a certificate."""

    def getHandle(self) -> "MemoryHandle":
        """Return what stands for the socket, or for OpenSSL's connection."""
        return MemoryHandle()

    # A consumer of producers, and a producer of what it reads.

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take octets of a producer, paused while more than 64 KiB wait here."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        # One that is not streaming is only ever resumed, and that both kinds have.
        self._producer = cast(IPushProducer, producer)
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Let go of the producer; a `loseConnection` that waited for it goes on."""
        self._producer = None
        self._stir_sending()

    def pauseProducing(self) -> None:
        """Read no more until `resumeProducing`."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        if self.connected and not self.disconnecting and not self._aborting:
            self.reading = True
            self.stir_receiving()

    def stopProducing(self) -> None:
        """Close, as `loseConnection`."""
        self.loseConnection()

    # What the two ends do to each other.

    def stir_receiving(self) -> None:
        """Look at what has come in, in a turn of its own."""
        if self.connected and self._receiving is None:
            self._receiving = self._clock.callLater(0, self._receive)

    def shake_hands(self) -> None:
        """Tell a protocol that listens for it that both ends speak TLS."""
        if self.connected and IHandshakeListener.providedBy(self.protocol):
            self._guarded(self.protocol.handshakeCompleted)

    def _stir_sending(self) -> None:
        if self.connected and self._sending is None:
            self._sending = self._clock.callLater(0, self._send)

    def _send(self) -> None:
        self._sending = None
        if not self.connected or self._aborting:
            return
        if self._buffer.octets and self._outward.closed:
            self._lose(Failure(ConnectionLost()))
            return
        while self._buffer.octets and (room := WINDOW_OCTETS - self._outward.octets) > 0:
            self._outward.put(*self._buffer.take(room))
        self.other.stir_receiving()
        if not self._buffer.octets:
            self._drained()

    def _drained(self) -> None:
        if self._producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._lose(Failure(ConnectionDone()))
        elif self._write_closing and not self._write_closed:
            self._write_closed = True
            self._outward.ended = True
            self.other.stir_receiving()
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self._guarded(self.protocol.writeConnectionLost)

    def _receive(self) -> None:
        self._receiving = None
        if not self.connected or self._aborting:
            return
        if self.disconnecting:
            self._inward.clear()
            self.other.room_was_made()
        elif self.reading:
            self._read()

    def _read(self) -> None:
        flow = self._inward
        if flow.reset:
            self._lose(Failure(ConnectionLost()))
        elif flow.parcels and self.TLS and not flow.parcels[0][1]:
            self._lose(Failure(ConnectionLost("plain octets where TLS was expected")))
        elif flow.parcels and (self.TLS or not flow.parcels[0][1]):
            data, _ = flow.take(self._segment_octets)
            self.other.room_was_made()
            self.stir_receiving()
            self._guarded(lambda: self.protocol.dataReceived(data))
        elif flow.ended and not flow.parcels and not self._read_ended:
            self._read_ended = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self._guarded(self.protocol.readConnectionLost)
            else:
                self._lose(Failure(ConnectionDone()))

    def room_was_made(self) -> None:
        """Send on when the other end has read."""
        if self._buffer.octets:
            self._stir_sending()

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:
            failure = Failure()
            _log.failure("the protocol of a memory connection failed", failure)
            self._lose(failure)

    def _lose(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._buffer.clear()
        self._inward.clear()
        self._inward.closed = True
        if self._outward.reset or not reason.check(ConnectionDone):
            self._outward.reset = True
        self._outward.ended = True
        self.other.stir_receiving()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        try:
            self.protocol.connectionLost(reason)
        except Exception:
            _log.failure("the protocol of a memory connection failed in connectionLost")
