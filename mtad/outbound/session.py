"""A connection to a server that takes mail: drives a `ClientConversation` over a transport, with a clock.

One transaction at a time; any number may follow. Whatever happens to the connection becomes an outcome for each
recipient (`mtad.outbound.endings`): what the server decided counts, all else is temporary. After the dot and before the
answer a loss leaves it open whether the message was taken; it is sent again, and the outcome says so.

The closing dot is written directly after `may_send` was asked, and behind more than 64 KiB of content as a write of its
own (`mtad.outbound.content_flow`): a process that lost its lease must not complete a delivery that another has begun
(DESIGN §8).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.model.content import BLOCK_OCTETS, Content, blocks
from mtad.model.endpoint import HostPort
from mtad.model.errors import Unavailable
from mtad.model.outcome import CLEAR, Deferred, Outcome, Scope
from mtad.model.text import shown
from mtad.outbound.content_flow import ContentFlow, socket_of
from mtad.outbound.endings import is_farewell, lost, not_ours, outcomes, stopped
from mtad.outbound.lease import MaySend, always
from mtad.outbound.patience import Patience
from mtad.smtp import timeouts
from mtad.smtp.answers import Answer, Step, outcome_of
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


@implementer(IHandshakeListener)
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
        self._patience = Patience(clock, lambda late: self._break(lost(late)))
        self._may_send: MaySend = always
        self._content: Content = b""
        self._flow: ContentFlow | None = None
        self._dot_sent = False
        self._replies_before = 0
        self._done: defer.Deferred[list[Outcome]] | None = None
        self._ending: Deferred | None = None

    # What the owner asks for.

    def transact(
        self, transaction: Transaction, content: Content, may_send: MaySend
    ) -> "defer.Deferred[list[Outcome]]":
        """Send a message while it may be, and fire with one outcome a recipient, in order; never fails."""
        self.stale = False
        if not may_send():
            return defer.succeed([not_ours()] * len(transaction.recipients))
        self._may_send = may_send
        done = self._done = defer.Deferred()
        self.transactions_count += 1
        self._content = content
        self._dot_sent = False
        self._replies_before = self._conversation.replies_count
        self._patience.limit(timeouts.transaction_seconds(len(content)))
        self._write(self._conversation.begin(transaction))
        self._wait()
        return done

    def quit(self) -> None:
        """Take leave in good order, between transactions."""
        if self.open:
            self.open = False
            self._patience.limit(timeouts.GREETING_SECONDS)
            self._write(self._conversation.quit())
            self._wait()

    def abort(self, stopping: bool = False) -> None:
        """Drop the connection unless the dot of its message is sent: then the answer is still worth having.

        Not so when this server is `stopping`: nobody will be there to hear it.
        """
        if self._done is not None and (stopping or not self._dot_sent):
            self._break(stopped() if stopping else not_ours())

    def refuse(self) -> None:
        """Drop the connection before anything was said on it."""
        self._break(lost("the connection is not wanted"))

    def drop(self) -> None:
        """Drop the connection in the middle of whatever is said on it: nobody waits for the end any more."""
        self._break(lost("the delivery was given up"))

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
        self._patience.limit(timeouts.OPENING_SECONDS)
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
                self.stale = is_farewell(event.answers)
                self._finish(event.answers)
            elif isinstance(event, Ready) and self.open:
                self.ready.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Turn what is undecided into outcomes."""
        self._over()
        self._patience.stop()
        self._flow = None
        step = self._conversation.awaited
        when = f"before the reply to {step.value}" if step else "in the middle of the content"
        # A server may find the handshake wanting only after we thought it complete, and say so by closing.
        self.tls_failed = step is Step.STARTTLS or self._shaking_hands or (self._untried and self._ending is None)
        if self.tls_failed and step is not Step.STARTTLS:
            when = "while TLS was to begin"
        ending = self._ending or lost(f"connection lost {when}: {shown(reason.getErrorMessage())}")
        if not self.ready.called:
            self.ready.callback(ending)
        if self._done is not None:
            self.stale = self._ending is None and self._conversation.replies_count == self._replies_before
            self._finish(self._conversation.answers, ending)

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
                self._break(lost(f"not understood: {reason}", "4.5.0"))
            case Unfit(reason):
                self._break(lost(reason, "4.7.4"))

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
            self._flow = ContentFlow(
                content,
                transport=self._transport,
                patience=self._patience,
                sent=self._content_sent,
                unreadable=self._content_unreadable,
            )
            self._flow.begin()

    def _content_sent(self) -> None:
        self._flow = None
        self._send_dot(b"")

    def _content_unreadable(self, trouble: Unavailable) -> None:
        self._break(Deferred(f"the message cannot be read: {shown(trouble.reason)}", Scope.OURS, "4.3.0"))

    def _send_dot(self, content: bytes) -> None:
        """Write the dot, behind the content when that is small, if this process still may."""
        if not self._may_send():
            self._break(not_ours())
            return
        self._dot_sent = True
        self._patience.lift_limit()
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
            socket_of(self._transport).loseConnection()
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
        done.callback(outcomes(answers, ending, sent_whole=self._dot_sent))

    def _wait(self) -> None:
        """Give the server its time for the reply it owes; while the content flows each block has its own."""
        step = self._conversation.awaited
        if self._flow is not None:
            return
        if step is None:
            self._patience.stop()
        else:
            self._patience.wait_for_reply(step)

    def _write(self, octets: bytes) -> None:
        self._transport.write(octets)

    @property
    def _transport(self) -> ITCPTransport:
        """The transport; of what TCP's can do, unix ones lack only options."""
        return cast(ITCPTransport, self.transport)


class SessionFactory(Factory):
    """Makes sessions by `make`, one a connection."""

    noisy = False

    def __init__(self, make: Callable[[], ClientSession]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> ClientSession:
        """Begin a conversation."""
        return self._make()
