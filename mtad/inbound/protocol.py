"""Twisted's side of an SMTP session: octets in, events dispatched one at a time, replies out in order (DESIGN D1).

Kept from `twisted.mail.smtp.ESMTP`: the factory's contract, the login through a `twisted.cred` portal whose avatar
is an `IMessageDelivery`, the timeout, STARTTLS through `ITLSTransport`. Replaced: the byte loop. The conversation
(`mtad.smtp.server`) hands out no event while it is owed a reply, so pipelined commands wait here in order whatever a
lookup takes; what a peer sends meanwhile is bounded by pausing its transport. What the events mean is the dialogue's
(`mtad.inbound.dialogue`).
"""

from collections.abc import Callable
from typing import Any, cast

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    ISystemHandle,
    ITLSTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.inbound.backpressure import BREATH_SECONDS
from mtad.inbound.dialogue import Dialogue, Terms
from mtad.inbound.opening import EARLY_TALKER, Opening
from mtad.inbound.proxied import NO_REPLY
from mtad.model import replies
from mtad.model.envelope import Peer
from mtad.model.errors import Unavailable
from mtad.model.reply import Reply
from mtad.model.text import shown
from mtad.policy.peer import within
from mtad.scheduling.memory import Part
from mtad.smtp.chunking import Chunk
from mtad.smtp.commands import NEED_DATA, PAUSED, Answered, Content, Event, MailFrom, RcptTo, Reset
from mtad.smtp.server import Conversation

EVENTS_A_TURN = 100
TURN_SECONDS = 0.01
MAX_ERRORS = 20
MAX_WAITING_OCTETS = 64 * 1024
MAX_WAITING_OCTETS_WHEN_SLOW = 4 * 1024
CLOSE_SECONDS = 30.0
# From when TLS is to begin, whatever comes meanwhile: a handshake is three messages, and none is waited for by people.
HANDSHAKE_SECONDS = 30.0
MAX_AGE_SECONDS = 3600.0
# How much longer a session may be there whose transaction does not end.
LAST_TRANSACTION_SECONDS = 600.0
# Commands whose replies may wait for those of others (RFC 2920 §3.2); all other replies go out at once.
_GROUPED = (MailFrom, RcptTo, Reset)
# What the conversation refuses by itself; anything else is the peer's bad grammar.
_REASONS = {
    replies.TOO_LARGE: "too-large",
    replies.LOGIN_FIRST: "login-required",
    replies.STARTTLS_FIRST: "login-required",
    replies.TOO_MANY_LOGINS: "too-many-errors",
    replies.TOO_MANY_REFUSED: "too-many-refused",
}


class ISessionTransport(ITLSTransport, IConsumer, IPushProducer, ISystemHandle):
    """What a session needs of its connection."""


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
            tls_name=self._tls_name,
            channel_binding=self._channel_binding,
        )
        self._since = terms.clock.seconds()
        self._opening = Opening()
        self._greeting: IDelayedCall | None = None
        self._output: list[bytes] = []
        self._grouped = True
        self._turning = False
        self._turn_to_come: IDelayedCall | None = None
        self._waiting = False
        self._closing = False
        self._handshake: IDelayedCall | None = None
        self._old = False
        self._farewell: Reply | None = None
        self._unread = False
        self._paused = False
        self._breath: IDelayedCall | None = None
        self._input = terms.backpressure.holding(Part.INPUT)
        self._abort: IDelayedCall | None = None
        self._aging = terms.clock.callLater(MAX_AGE_SECONDS, self._grow_old)
        terms.journal.record("smtp.connected", peer=peer.host, port=terms.port)
        self.factory.came(self)
        self.transport.setTcpNoDelay(True)
        self.setTimeout(self._conversation.timeout_seconds)
        if terms.implicit_tls:
            self._start_tls()
        else:
            self._open()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the session, and a login that waits; a commit under way goes on, its answer is nobody's."""
        self._closing = True
        self.setTimeout(None)
        self._dialogue.leave()
        self._input.hold(0)
        for call in (self._abort, self._turn_to_come, self._greeting, self._aging, self._breath, self._handshake):
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
        if self._closing:
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
        self._turn()

    def pauseProducing(self) -> None:
        """Answer no more for now: the peer does not read (IPushProducer)."""
        self._unread = True
        self._mind_pressure()

    def resumeProducing(self) -> None:
        """Answer on: the peer has read what there was."""
        self._unread = False
        self._turn_later()

    def stopProducing(self) -> None:
        """Answer no more; the connection is lost."""
        self._unread = True

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
        if self.terms.implicit_tls and not self._closing:
            self._open()

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
            self._close()

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
        if farewell is not None and not self._waiting and self._dialogue.incoming is None:
            self._last_words(farewell)

    def _last_words(self, reply: Reply) -> None:
        if not self._closing:
            self._output.append(self._conversation.reply(reply))
            self._close()

    def _close(self) -> None:
        self._closing = True
        self._flush()
        self.setTimeout(None)
        self.transport.unregisterProducer()
        if self._handshake is not None:
            # Nothing can be said before the handshake, and who knows whether it ends.
            self.transport.abortConnection()
            return
        self.transport.loseConnection()
        # A peer that neither reads nor closes must not keep the socket.
        self._abort = self.terms.clock.callLater(CLOSE_SECONDS, self.transport.abortConnection)

    def _turn(self) -> None:
        """Dispatch what is ready, within bounds, then give the reactor its turn."""
        if self._turning or self._closing or self._turn_to_come is not None:
            return
        self._turning = True
        try:
            if self._dispatch_some():
                self._turn_later()
        finally:
            self._turning = False
        if self._dialogue.incoming is not None and self._conversation.content_problem is not None:
            self._dialogue.incoming.drop()
        if not self._holds_back():
            self._flush()
        self._leave_if_idle()
        self._mind_pressure()

    def _dispatch_some(self) -> bool:
        """Dispatch as many events as make a turn, and not for longer than one; return whether there may be more."""
        ends_at = self.terms.clock.seconds() + TURN_SECONDS
        for _ in range(EVENTS_A_TURN):
            event = NEED_DATA if self._unread or self._closing else self._conversation.next_event()
            if event is NEED_DATA or event is PAUSED:
                return False
            self._dispatch(event)
            if self.terms.clock.seconds() >= ends_at:
                return True
        return True

    def _holds_back(self) -> bool:
        """Return whether what there is to say waits for the replies to other commands of its group, which are here."""
        more = self._waiting and self._conversation.buffered_octets > 0
        return more and self._grouped and len(self._output) < EVENTS_A_TURN

    def _turn_later(self) -> None:
        if self._turn_to_come is None and not self._closing:
            self._turn_to_come = self.terms.clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._turn_to_come = None
        self._turn()

    def _mind_pressure(self) -> None:
        """Read from the peer only while it reads and while we keep up."""
        waiting_octets = self._conversation.buffered_octets
        self._input.hold(waiting_octets)
        most = MAX_WAITING_OCTETS
        if waiting_octets > MAX_WAITING_OCTETS_WHEN_SLOW and self.terms.backpressure.slow:
            most = MAX_WAITING_OCTETS_WHEN_SLOW
        full = self._unread or self._breath is not None or waiting_octets > most
        if full != self._paused and not self._closing:
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

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Content):
            self._dialogue.keep(event.octets)
            return
        if isinstance(event, Chunk):
            self._dialogue.expect()
            return
        if isinstance(event, Answered):
            self._answer(self._own_answer(event), grouped=False)
            return
        self._waiting = True
        answer = Deferred.fromCoroutine(self._dialogue.respond(event))
        answer.addErrback(self._surprise)
        answer.addCallback(self._answer, grouped=isinstance(event, _GROUPED))
        if self._waiting:
            # Our slowness is not the peer's: its clock stands while it waits for us.
            self.setTimeout(None)

    def _own_answer(self, event: Answered) -> Reply:
        """Return what the conversation answers by itself, and note a refusal."""
        too_many = event.error and self._conversation.error_count > MAX_ERRORS
        reply = replies.TOO_MANY_ERRORS if too_many else event.reply
        if event.error or reply is replies.TOO_LARGE:
            reason = "too-many-errors" if too_many else _REASONS.get(event.reply, "syntax")
            self.terms.journal.record(
                "smtp.rejected", stage="command", reason=reason, reply=reply.text, peer=self._dialogue.peer.host
            )
        return reply

    def _answer(self, reply: Reply, grouped: bool) -> None:
        late = self._waiting and not self._turning
        self._waiting = False
        if self._closing:
            return
        self._output.append(self._conversation.reply(reply))
        self._grouped = self._grouped and grouped
        if reply is replies.STARTTLS_READY:
            self._start_tls()
        if reply.closes:
            self._close()
        elif late:
            self.setTimeout(self._conversation.timeout_seconds)
            self._turn()

    def _surprise(self, failure: Failure) -> Reply:
        trouble = failure.value
        if isinstance(trouble, Unavailable):
            self.terms.journal.record("store.unavailable", dependency=trouble.dependency, reason=shown(trouble.reason))
        else:
            self.terms.journal.record(
                "session.surprise", peer=self._dialogue.peer.host, failure=shown(failure.getTraceback(), 4000)
            )
        return replies.TEMPORARY_TROUBLE

    def _flush(self) -> None:
        if self._output:
            self.transport.write(b"".join(self._output))
            self._output.clear()
            self._grouped = True

    def _start_tls(self) -> None:
        assert self._context is not None
        self._flush()
        self._conversation.tls_started()
        self._dialogue.begin_anew()
        self._handshake = self.terms.clock.callLater(HANDSHAKE_SECONDS, self.timeoutConnection)
        self.transport.startTLS(self._context)

    def _tls_name(self) -> str:
        name = getattr(self.transport.getHandle(), "get_protocol_version_name", None)
        return str(name()) if name is not None else "TLS"

    def _channel_binding(self) -> bytes | None:
        """Return the connection's tls-exporter value (RFC 9266 §4), None when it has none.

        Before TLS 1.3 it is safe only with an extension (RFC 7627) that OpenSSL's binding does not tell of.
        """
        if not self._conversation.tls or self._tls_name() != "TLSv1.3":
            return None
        handle: Any = self.transport.getHandle()
        return bytes(handle.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))


def host_of(address: IAddress | None) -> str:
    """Return the host of a peer; a socket of this machine has none."""
    return getattr(address, "host", "unix")
