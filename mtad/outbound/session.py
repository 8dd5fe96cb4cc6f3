"""A connection to a server that takes mail: drives a `ClientConversation` over a transport, with a clock.

One transaction at a time; any number may follow. Whatever happens to the connection becomes an outcome for each
recipient: what the server decided counts, all else is temporary. After the dot and before the answer a loss leaves it
open whether the message was taken; it is sent again, and the outcome says so.

The closing dot of a message above 64 KiB is a write of its own, made when the socket's buffer is empty, directly after
`may_send` was asked: a process that lost its lease must not complete a delivery that another has begun (DESIGN §8).
Over TLS the socket is below the transport that is written to, and it alone knows what has left: the content's producer
is registered there. Twisted's TLS would pull its producers without asking, and call its buffer empty with 64 KiB in it.
From there the dot takes one turn of the reactor more than in clear.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPullProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.model.content import BLOCK_OCTETS, Content, blocks
from mtad.model.endpoint import HostPort
from mtad.model.errors import Unavailable
from mtad.model.outcome import CLEAR, Deferred, Outcome, Scope
from mtad.model.text import shown
from mtad.smtp import timeouts
from mtad.smtp.answers import CLOSING, Answer, Step, outcome_of
from mtad.smtp.client import (
    Broken,
    ClientConversation,
    Closing,
    Event,
    Finished,
    Ready,
    Send,
    SendContent,
    StartTls,
    Unfit,
)
from mtad.smtp.dot_stuffing import stuffed
from mtad.smtp.offers import Limits, limits
from mtad.smtp.transaction import Transaction

_SECONDS = {
    Step.GREETING: timeouts.GREETING_SECONDS,
    Step.HELLO: timeouts.GREETING_SECONDS,
    Step.STARTTLS: timeouts.GREETING_SECONDS,
    Step.AUTH_PROMPT: timeouts.GREETING_SECONDS,
    Step.AUTH: timeouts.GREETING_SECONDS,
    Step.RSET: timeouts.GREETING_SECONDS,
    Step.MAIL: timeouts.MAIL_SECONDS,
    Step.RCPT: timeouts.RCPT_SECONDS,
    Step.DATA: timeouts.DATA_SECONDS,
    Step.END: timeouts.END_SECONDS,
    Step.QUIT: timeouts.GREETING_SECONDS,
}


class _Socket(IConsumer, ITCPTransport):
    """A transport that takes producers."""


@implementer(IPullProducer, IHandshakeListener)
class ClientSession(Protocol):
    """One connection. `ready` fires with None when a transaction may begin, or with why none ever will.

    `transactions_count` is how many began; `open` whether another may begin once this one is over; `stale` whether the
    last one ended without a word of the server, as on a connection it had closed meanwhile: nothing was tried.
    `on_close` is called when the server ends it. `tls` is the protocol in use, or CLEAR; `tls_failed` tells that it
    ended because TLS could not be begun. `tls_context` is for conversations that may ask for TLS.
    """

    def __init__(
        self,
        conversation: ClientConversation,
        clock: IReactorTime,
        may_send: Callable[[], bool],
        tls_context: IOpenSSLClientConnectionCreator | None = None,
    ) -> None:
        self.ready: defer.Deferred[Deferred | None] = defer.Deferred()
        self.transactions_count = 0
        self.open = True
        self.stale = False
        self.on_close: Callable[[], object] = lambda: None
        self.tls = CLEAR
        self.tls_failed = False
        self._tls_context = tls_context
        self._shaking_hands = False
        self._untried = False
        self._conversation = conversation
        self._clock = clock
        self._may_send = may_send
        self._timer: IDelayedCall | None = None
        self._late = ""
        self._limit_seconds = timeouts.OPENING_SECONDS
        self._began_at = 0.0
        self._content: Content = b""
        self._blocks: Iterator[bytes] | None = None
        self._dot_sent = False
        self._replies_before = 0
        self._done: defer.Deferred[list[Outcome]] | None = None
        self._ending: Deferred | None = None

    # What the owner asks for.

    def transact(self, transaction: Transaction, content: Content) -> "defer.Deferred[list[Outcome]]":
        """Send a message, and fire with one outcome a recipient, in order; never fails."""
        self.stale = False
        if not self._may_send():
            return defer.succeed([_not_ours()] * len(transaction.recipients))
        done = self._done = defer.Deferred()
        self.transactions_count += 1
        self._content = content
        self._dot_sent = False
        self._replies_before = self._conversation.replies_count
        self._limit(timeouts.transaction_seconds(len(content)))
        self._write(self._conversation.begin(transaction))
        self._wait()
        return done

    def quit(self) -> None:
        """Take leave in good order, between transactions."""
        if self.open:
            self.open = False
            self._limit(timeouts.GREETING_SECONDS)
            self._write(self._conversation.quit())
            self._wait()

    def abort(self, stopping: bool = False) -> None:
        """Drop the connection unless the dot of its message is sent: then the answer is still worth having.

        Not so when this server is `stopping`: nobody will be there to hear it.
        """
        if self._done is not None and (stopping or not self._dot_sent):
            self._break(stopped() if stopping else _not_ours())

    def refuse(self) -> None:
        """Drop the connection before anything was said on it."""
        self._break(_lost("the connection is not wanted"))

    def drop(self) -> None:
        """Drop the connection in the middle of whatever is said on it: nobody waits for the end any more."""
        self._break(_lost("the delivery was given up"))

    @property
    def extensions(self) -> Mapping[str, str]:
        """What the server offered in its hello, keyword to parameters."""
        return self._conversation.extensions

    @property
    def limits(self) -> Limits:
        """How much the server takes at once, as far as it said."""
        return limits(self.extensions)

    @property
    def peer(self) -> str | None:
        """The address and port of the other end; None over a unix socket."""
        there = self._transport.getPeer()
        return str(HostPort(there.host, there.port)) if isinstance(there, IPv4Address | IPv6Address) else None

    @property
    def is_to_ourselves(self) -> bool:
        """Whether both ends are at one address, which then is one of this machine's."""
        return getattr(self._transport.getHost(), "host", "here") == getattr(self._transport.getPeer(), "host", "there")

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Wait for the greeting."""
        if ITCPTransport.providedBy(self.transport):
            # The dot is a small write behind a large one; it must not wait for the other side's delayed ACK.
            self.transport.setTcpNoDelay(True)
        self._limit(timeouts.OPENING_SECONDS)
        self._wait()

    def handshakeCompleted(self) -> None:
        """Note that TLS has begun, and which version of it."""
        self._shaking_hands = False
        version = getattr(cast(ISystemHandle, self.transport).getHandle(), "get_protocol_version_name", None)
        self.tls = "TLS" if version is None else str(version())

    def dataReceived(self, data: bytes) -> None:
        """Do what the conversation makes of it."""
        self._untried = False
        before = self._conversation.replies_count
        events = self._conversation.receive(data)
        for event in events:
            self._react(event)
        if self._conversation.replies_count != before:
            self._wait()
        # Last, because whoever waits for these may begin the next transaction at once.
        for event in events:
            if isinstance(event, Finished):
                self.stale = _farewell(event.answers)
                self._finish(event.answers)
            elif isinstance(event, Ready) and self.open:
                self.ready.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Turn what is undecided into outcomes."""
        self._over()
        self._stop_timer()
        self._blocks = None
        step = self._conversation.awaited
        when = f"before the reply to {step.value}" if step else "in the middle of the content"
        # A server may find the handshake wanting only after we thought it complete, and say so by closing.
        self.tls_failed = step is Step.STARTTLS or self._shaking_hands or (self._untried and self._ending is None)
        if self.tls_failed and step is not Step.STARTTLS:
            when = "while TLS was to begin"
        ending = self._ending or _lost(f"connection lost {when}: {shown(reason.getErrorMessage())}")
        if not self.ready.called:
            self.ready.callback(ending)
        if self._done is not None:
            self.stale = self._ending is None and self._conversation.replies_count == self._replies_before
            self._finish(self._conversation.answers, ending)

    def resumeProducing(self) -> None:
        """Write the next block, or the dot: the transport's buffer is empty."""
        assert self._blocks is not None
        try:
            block = next(self._blocks, None)
        except Unavailable as trouble:
            self._break(Deferred(f"the message cannot be read: {shown(trouble.reason)}", Scope.OURS, "4.3.0"))
            return
        if block is not None:
            self._start_timer(timeouts.BLOCK_SECONDS, "the server takes no more of the content")
            self._write(block)
        else:
            self._blocks = None
            self._socket.unregisterProducer()
            self._send_dot(b"")

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    # What follows from events.

    def _react(self, event: Event) -> None:
        match event:
            case Send(octets):
                self._write(octets)
            case StartTls():
                self._start_tls()
            case SendContent():
                self._send_content()
            case Closing(answer):
                self._close(answer)
            case Broken(reason):
                self._break(_lost(f"not understood: {reason}", "4.5.0"))
            case Unfit(reason):
                self._break(_lost(reason, "4.7.4"))

    def _start_tls(self) -> None:
        assert self._tls_context is not None, "a conversation that may ask for TLS needs a context"
        self._shaking_hands = self._untried = True
        cast(ITLSTransport, self.transport).startTLS(self._tls_context)
        self._write(self._conversation.secured())

    def _send_content(self) -> None:
        content = stuffed(blocks(self._content))
        if len(self._content) <= BLOCK_OCTETS:
            self._send_dot(b"".join(content))
        else:
            self._blocks = content
            self._socket.registerProducer(self, False)

    def _send_dot(self, content: bytes) -> None:
        """Write the dot, behind the content when that is small, if this process still may."""
        if not self._may_send():
            self._break(_not_ours())
            return
        self._dot_sent = True
        self._write(content + self._conversation.end_of_content())
        self._wait()

    def _close(self, answer: Answer) -> None:
        """End a connection whose server serves no more; its last word explains what stays undecided."""
        outcome = outcome_of(answer)
        if isinstance(outcome, Deferred):
            self._ending = outcome
        self._over()
        if answer.step is Step.QUIT:
            self._transport.loseConnection()
            # TLS alone would wait for the other side to agree to the end.
            self._socket.loseConnection()
        else:
            self._transport.abortConnection()

    def _break(self, ending: Deferred) -> None:
        """Drop the connection."""
        self._ending = ending
        self._over()
        self._transport.abortConnection()

    def _over(self) -> None:
        if self.open:
            self.open = False
            self.on_close()

    def _finish(self, answers: Sequence[Answer | None], ending: Deferred | None = None) -> None:
        """Hand over what was decided; `ending` is for the recipients about whom nothing was."""
        done, self._done = self._done, None
        assert done is not None
        self._content = b""
        if ending is not None and self._dot_sent:
            # Not the host's scope: the message must not go to another host at once, it may have been taken by this one.
            detail = f"{ending.detail}; the message was sent whole and may arrive twice"
            ending = replace(ending, scope=Scope.MESSAGE, detail=detail)
        outcomes: list[Outcome] = []
        for answer in answers:
            outcome = outcome_of(answer) if answer else ending
            assert outcome is not None, "the conversation finishes with an answer for everybody"
            outcomes.append(outcome)
        done.callback(outcomes)

    # Waiting for the other side.

    def _wait(self) -> None:
        """Give the server its time for the reply it owes; while the content flows each block has its own."""
        step = self._conversation.awaited
        if self._blocks is not None:
            return
        if step is None:
            self._stop_timer()
        else:
            self._start_timer(_SECONDS[step], f"no reply to {step.value}")

    def _limit(self, seconds: float) -> None:
        """Bound what begins now as a whole: a server that is always just in time must not hold us for hours."""
        self._limit_seconds = seconds
        self._began_at = self._clock.seconds()

    def _start_timer(self, seconds: float, what: str) -> None:
        self._late = f"{what} within {seconds:g} s"
        left = self._began_at + self._limit_seconds - self._clock.seconds()
        if left < seconds and not self._dot_sent:
            seconds = max(0.0, left)
            self._late = f"all in all it took longer than {self._limit_seconds:g} s"
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._timed_out)
        else:
            self._timer.reset(seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_out(self) -> None:
        self._timer = None
        self._break(_lost(self._late))

    def _write(self, octets: bytes) -> None:
        self._transport.write(octets)

    @property
    def _transport(self) -> ITCPTransport:
        """The transport; of what TCP's can do, unix ones lack only options."""
        return cast(ITCPTransport, self.transport)

    @property
    def _socket(self) -> "_Socket":
        """What is below TLS, or the transport itself in clear: it asks for more when all it was given has left."""
        above = getattr(self.transport, "protocol", None)
        return cast(_Socket, above.transport if isinstance(above, TLSMemoryBIOProtocol) else self.transport)


class SessionFactory(Factory):
    """Makes sessions by `make`, one a connection."""

    noisy = False

    def __init__(self, make: Callable[[], ClientSession]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> ClientSession:
        """Begin a conversation."""
        return self._make()


def _lost(why: str, status: str = "4.4.2") -> Deferred:
    return Deferred(why, Scope.HOST, status)


def stopped() -> Deferred:
    """Return how a message ends that this server had no time left for."""
    return Deferred("this server was stopped meanwhile", Scope.OURS, "4.3.0")


def _not_ours() -> Deferred:
    return Deferred("this server's lease ran out before the message was sent", Scope.OURS, "4.3.0")


def _farewell(answers: Sequence[Answer | None]) -> bool:
    """Return whether a server's only words were that it closes, as after a time of silence."""
    return all(
        answer is not None and answer.reply.code == CLOSING and answer.step in (Step.RSET, Step.MAIL)
        for answer in answers
    )
