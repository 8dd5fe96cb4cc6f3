"""The loop of an SMTP session: one event at a time, replies out in order, and turns for everybody else.

The conversation (`mtad.smtp.server`) hands out no event while it is owed a reply, so pipelined commands wait here in
order whatever a lookup takes. Replies to a group of them go out in one write (RFC 2920 §3.2), and who pipelines
thousands gives the reactor a turn now and then. What an event means is the dialogue's (`mtad.inbound.dialogue`); the
connection, its time and its end are the protocol's (`mtad.inbound.protocol`).
"""

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from mtad.inbound.dialogue import Dialogue, Terms
from mtad.model import replies
from mtad.model.errors import Unavailable
from mtad.model.reply import Reply
from mtad.model.text import shown
from mtad.smtp.chunking import Chunk
from mtad.smtp.commands import NEED_DATA, PAUSED, Answered, Content, Event, MailFrom, RcptTo, Reset
from mtad.smtp.server import Conversation

EVENTS_A_TURN = 100
TURN_SECONDS = 0.01
MAX_ERRORS = 20
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
# Of these, what refuses mail; all else refuses a command that no mail should have come with.
_OF_MAIL = frozenset((replies.TOO_LARGE, replies.NON_ASCII_ADDRESS))


class Connection(Protocol):
    """Whose loop it is: `closing` when nothing is said any more, `unread` while the peer does not read what is."""

    closing: bool
    unread: bool

    def send(self, octets: bytes) -> None:
        """Send to the peer."""

    def begin_tls(self) -> None:
        """Begin TLS: the peer was told to."""

    def close(self) -> None:
        """Close: the peer was told so."""

    def expect(self, of_peer: bool) -> None:
        """Let the peer's time run from now on, or stand: our slowness is not the peer's."""

    def turn_over(self) -> None:
        """Do what is due between two turns."""


class Exchange:
    """One session's. It dispatches what arrived at the conversation whenever it is given its `turn`."""

    def __init__(self, *, terms: Terms, conversation: Conversation, dialogue: Dialogue, connection: Connection) -> None:
        self._terms = terms
        self._conversation = conversation
        self._dialogue = dialogue
        self._connection = connection
        self._output: list[bytes] = []
        self._grouped = True
        self._turning = False
        self._turn_to_come: IDelayedCall | None = None
        self._waiting = False

    @property
    def waiting(self) -> bool:
        """Whether a reply is owed, and being found."""
        return self._waiting

    def turn(self) -> None:
        """Dispatch what is ready, within bounds, then give the reactor its turn."""
        if self._turning or self._connection.closing or self._turn_to_come is not None:
            return
        self._turning = True
        try:
            if self._dispatch_some():
                self.turn_later()
        finally:
            self._turning = False
        if self._dialogue.incoming is not None and self._conversation.content_problem is not None:
            self._dialogue.incoming.drop()
        if not self._holds_back():
            self.flush()
        self._connection.turn_over()

    def turn_later(self) -> None:
        """Take a turn after the reactor's."""
        if self._turn_to_come is None and not self._connection.closing:
            self._turn_to_come = self._terms.clock.callLater(0, self._next_turn)

    def say(self, reply: Reply) -> None:
        """Put a reply behind those that have not gone out yet."""
        self._output.append(self._conversation.reply(reply))

    def flush(self) -> None:
        """Send what there is to say."""
        if self._output:
            self._connection.send(b"".join(self._output))
            self._output.clear()
            self._grouped = True

    def stop(self) -> None:
        """Take no more turns: the connection is lost."""
        if self._turn_to_come is not None and self._turn_to_come.active():
            self._turn_to_come.cancel()

    def _next_turn(self) -> None:
        self._turn_to_come = None
        self.turn()

    def _dispatch_some(self) -> bool:
        """Dispatch as many events as make a turn, and not for longer than one; return whether there may be more."""
        connection = self._connection
        ends_at = self._terms.clock.seconds() + TURN_SECONDS
        for _ in range(EVENTS_A_TURN):
            event = NEED_DATA if connection.unread or connection.closing else self._conversation.next_event()
            if event is NEED_DATA or event is PAUSED:
                return False
            self._dispatch(event)
            if self._terms.clock.seconds() >= ends_at:
                return True
        return True

    def _holds_back(self) -> bool:
        """Return whether what there is to say waits for the replies to other commands of its group, which are here."""
        more = self._waiting and self._conversation.buffered_octets > 0
        return more and self._grouped and len(self._output) < EVENTS_A_TURN

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
            self._connection.expect(of_peer=False)

    def _own_answer(self, event: Answered) -> Reply:
        """Return what the conversation answers by itself, and note a refusal."""
        too_many = event.error and self._conversation.error_count > MAX_ERRORS
        reply = replies.TOO_MANY_ERRORS if too_many else event.reply
        if event.error or reply is replies.TOO_LARGE:
            reason = "too-many-errors" if too_many else _REASONS.get(event.reply, "syntax")
            self._terms.journal.record(
                "smtp.rejected", stage="command", reason=reason, reply=reply.text, peer=self._dialogue.peer.host
            )
        return reply.softened() if self._terms.soft_bounce and reply in _OF_MAIL else reply

    def _answer(self, reply: Reply, grouped: bool) -> None:
        late = self._waiting and not self._turning
        self._waiting = False
        if self._connection.closing:
            return
        self.say(reply)
        self._grouped = self._grouped and grouped
        if reply is replies.STARTTLS_READY:
            self.flush()
            self._connection.begin_tls()
        if reply.closes:
            self._connection.close()
        elif late:
            self._connection.expect(of_peer=True)
            self.turn()

    def _surprise(self, failure: Failure) -> Reply:
        trouble = failure.value
        journal = self._terms.journal
        if isinstance(trouble, Unavailable):
            journal.record("store.unavailable", dependency=trouble.dependency, reason=shown(trouble.reason))
        else:
            journal.record(
                "session.surprise", peer=self._dialogue.peer.host, failure=shown(failure.getTraceback(), 4000)
            )
        return replies.TEMPORARY_TROUBLE
