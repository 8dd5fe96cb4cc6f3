"""Twisted's side of an SMTP session: how its connection begins, how fast it is read, and how it ends (DESIGN D1).

Kept from `twisted.mail.smtp.ESMTP`: the factory's contract, the login through a `twisted.cred` portal whose avatar
is an `IMessageDelivery`, the timeout, STARTTLS through `ITLSTransport`. Replaced: the byte loop, which is
`mtad.inbound.exchange`. What a peer sends while that waits is bounded by pausing its transport.
"""

from collections.abc import Callable
from typing import cast

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IAddress, IDelayedCall, IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.inbound.backpressure import BREATH_SECONDS
from mtad.inbound.dialogue import Dialogue, Terms
from mtad.inbound.exchange import Exchange
from mtad.inbound.opening import EARLY_TALKER, Opening
from mtad.inbound.proxied import NO_REPLY
from mtad.inbound.transport import ISessionTransport, channel_binding, host_of, tls_name
from mtad.model import replies
from mtad.model.envelope import Peer
from mtad.model.reply import Reply
from mtad.policy.peer import within
from mtad.scheduling.memory import Use
from mtad.smtp.server import Conversation

MAX_WAITING_OCTETS = 64 * 1024
MAX_WAITING_OCTETS_WHEN_SLOW = 4 * 1024
CLOSE_SECONDS = 30.0
# From when TLS is to begin, whatever comes meanwhile: a handshake is three messages, and none is waited for by people.
HANDSHAKE_SECONDS = 30.0
MAX_AGE_SECONDS = 3600.0
# How much longer a session may be there whose transaction does not end.
LAST_TRANSACTION_SECONDS = 600.0


@implementer(IPushProducer, IHandshakeListener)
class SmtpProtocol(ESMTP):
    """One session. `terms`, `source` and `factory` are set by the factory before the connection is made.

    `source` is whom the connection is from, which the transport does not know of a connection through a proxy.
    """

    terms: Terms
    source: IAddress | None
    transport: ISessionTransport

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """Schedule a timeout on the injected clock."""
        return self.terms.clock.callLater(period, func)

    def connectionMade(self) -> None:
        """Begin TLS where that comes first, and greet."""
        terms = self.terms
        self._context = terms.tls.server()
        peer = Peer(host_of(self.source), getattr(self.source, "port", 0))
        self._conversation = Conversation(
            hostname=terms.hostname,
            max_message_size=terms.max_message_size,
            starttls=self._context is not None,
            login=terms.login(peer.host),
            max_recipients=terms.max_recipients,
            xclient=self._is_proxy(),
        )
        self._dialogue = Dialogue(
            terms=terms,
            # The factory has set it; Twisted's class says None.
            portal=cast(Portal, self.portal),
            peer=peer,
            conversation=self._conversation,
            tls_name=lambda: tls_name(self.transport),
            channel_binding=self._channel_binding,
        )
        self._since = terms.clock.seconds()
        self._opening = Opening()
        self._greeting: IDelayedCall | None = None
        self._exchange = Exchange(
            terms=terms, conversation=self._conversation, dialogue=self._dialogue, connection=self
        )
        self.closing = False
        self.unread = False
        self._handshake: IDelayedCall | None = None
        self._old = False
        self._farewell: Reply | None = None
        self._paused = False
        self._breath: IDelayedCall | None = None
        self._input = terms.backpressure.stake(Use.INPUT)
        self._abort: IDelayedCall | None = None
        self._aging = terms.clock.callLater(MAX_AGE_SECONDS, self._grow_old)
        terms.journal.record("smtp.connected", peer=peer.host, port=terms.port)
        self.factory.came(self)
        self.transport.setTcpNoDelay(True)
        self.expect(of_peer=True)
        if terms.implicit_tls:
            self.begin_tls()
        else:
            self._open()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the session, and a login that waits; a commit under way goes on, its answer is nobody's."""
        self.closing = True
        self.setTimeout(None)
        self._dialogue.leave()
        self._input.close()
        self._exchange.stop()
        for call in (self._abort, self._greeting, self._aging, self._breath, self._handshake):
            if call is not None and call.active():
                call.cancel()
        self.factory.went(self)
        self.terms.journal.record(
            "smtp.disconnected",
            peer=self._dialogue.peer.host,
            port=self.terms.port,
            seconds=self.terms.clock.seconds() - self._since,
        )

    def dataReceived(self, data: bytes) -> None:
        """Take what arrived and answer what can be answered."""
        if self.closing:
            return
        self.resetTimeout()
        problem = self._opening.problem(data, greeted=self._greeting is None)
        if problem is not None:
            self._turn_away(problem)
            return
        incoming = self._dialogue.incoming
        if incoming is not None:
            incoming.arrived(len(data))
            impatience = incoming.impatience(self.terms.clock.seconds())
            if impatience is not None:
                self._last_words(impatience)
                return
            self._take_breath()
        self._conversation.receive_data(data)
        self._exchange.turn()

    def pauseProducing(self) -> None:
        """Answer no more for now: the peer does not read (IPushProducer)."""
        self.unread = True
        self._mind_pressure()

    def resumeProducing(self) -> None:
        """Answer on: the peer has read what there was."""
        self.unread = False
        self._exchange.turn_later()

    def stopProducing(self) -> None:
        """Answer no more; the connection is lost."""
        self.unread = True

    def timeoutConnection(self) -> None:
        """Say so and close (RFC 5321 §4.5.3.2)."""
        self.terms.journal.record("smtp.timeout", peer=self._dialogue.peer.host, port=self.terms.port)
        self._last_words(replies.IDLE_TIMEOUT)

    def stop(self) -> None:
        """Close with 421 once nothing is in hand: no reply owed, no message coming in."""
        self._leave(replies.SHUTTING_DOWN)

    def handshakeCompleted(self) -> None:
        """Greet where TLS comes first (IHandshakeListener)."""
        if self._handshake is not None and self._handshake.active():
            self._handshake.cancel()
        self._handshake = None
        if self.terms.implicit_tls and not self.closing:
            self._open()

    # What the exchange asks for.

    def send(self, octets: bytes) -> None:
        """Send to the peer."""
        self.transport.write(octets)

    def begin_tls(self) -> None:
        """Begin TLS, and with it the session anew."""
        assert self._context is not None
        self._conversation.tls_started()
        self._dialogue.begin_anew()
        self._handshake = self.terms.clock.callLater(HANDSHAKE_SECONDS, self.timeoutConnection)
        self.transport.startTLS(self._context)

    def close(self) -> None:
        """Close when the peer has read what there was to say, or will not."""
        self.closing = True
        self._exchange.flush()
        self.setTimeout(None)
        self.transport.unregisterProducer()
        if self._handshake is not None:
            # Nothing can be said before the handshake, and who knows whether it ends.
            self.transport.abortConnection()
            return
        self.transport.loseConnection()
        # A peer that neither reads nor closes must not keep the socket.
        self._abort = self.terms.clock.callLater(CLOSE_SECONDS, self.transport.abortConnection)

    def expect(self, of_peer: bool) -> None:
        """Let the peer's time run from now on, or stand: our slowness is not the peer's."""
        self.setTimeout(self._conversation.timeout_seconds if of_peer else None)

    def turn_over(self) -> None:
        """Leave when it is time to, and read on when there is room."""
        self._leave_if_idle()
        self._mind_pressure()

    def _is_proxy(self) -> bool:
        """Return whether it may speak for others: what is connected, and behind a balancer whom that is for as well."""
        ends = self.transport.getPeer(), self.source
        return all(within(host_of(end), self.terms.xclient_networks) for end in ends)

    def _open(self) -> None:
        """Greet, or wait with it.

        Not before a handshake: TLS would ask for a pause until it has read, and in a pause nothing is read.
        """
        self.transport.registerProducer(self, True)
        if self.terms.greet_pause_seconds:
            self._greeting = self.terms.clock.callLater(self.terms.greet_pause_seconds, self._greet)
        else:
            self._greet()

    def _greet(self) -> None:
        self._greeting = None
        self.transport.write(self._conversation.greeting())

    def _turn_away(self, problem: str) -> None:
        """End a session that began badly; whoever is not to send a PROXY header is told nothing."""
        early = problem == EARLY_TALKER
        reply = replies.EARLY_TALKER.text if early else NO_REPLY
        self.terms.journal.record(
            "smtp.rejected", stage="connect", reason=problem, reply=reply, peer=self._dialogue.peer.host
        )
        if early:
            self._last_words(replies.EARLY_TALKER)
        else:
            self.close()

    def _grow_old(self) -> None:
        """Leave between two transactions; the one that is open may end, if it does so soon."""
        self._old = True
        self._aging = self.terms.clock.callLater(LAST_TRANSACTION_SECONDS, self._leave, replies.SESSION_TOO_OLD)
        self._leave_if_idle()

    def _leave(self, reply: Reply) -> None:
        self._farewell = reply
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        farewell = self._farewell
        if farewell is None and self._old and not self._dialogue.in_transaction:
            farewell = replies.SESSION_TOO_OLD
        if farewell is not None and not self._exchange.waiting and self._dialogue.incoming is None:
            self._last_words(farewell)

    def _last_words(self, reply: Reply) -> None:
        if not self.closing:
            self._exchange.say(reply)
            self.close()

    def _mind_pressure(self) -> None:
        """Read from the peer only while it reads and while we keep up."""
        waiting_octets = self._conversation.buffered_octets
        self._input.hold(waiting_octets)
        most = MAX_WAITING_OCTETS
        if waiting_octets > MAX_WAITING_OCTETS_WHEN_SLOW and self.terms.backpressure.slow:
            most = MAX_WAITING_OCTETS_WHEN_SLOW
        full = self.unread or self._breath is not None or waiting_octets > most
        if full != self._paused and not self.closing:
            self._paused = full
            if full:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _take_breath(self) -> None:
        """Read on only after a while when this server is hard pressed."""
        if self._breath is None and self.terms.backpressure.slow:
            self._breath = self.terms.clock.callLater(BREATH_SECONDS, self._breathe_out)

    def _breathe_out(self) -> None:
        self._breath = None
        self._mind_pressure()

    def _channel_binding(self) -> bytes | None:
        return channel_binding(self.transport) if self._conversation.tls else None
