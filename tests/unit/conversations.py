"""The other side of a server's conversation: whoever agrees to everything, for tests from the wire."""

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp.chunking import Chunk
from mtad.smtp.commands import (
    NEED_DATA,
    Answered,
    Content,
    Data,
    EndOfData,
    Event,
    Hello,
    LoginStep,
    Quit,
    Signal,
    StartTls,
    XClient,
)
from mtad.smtp.server import Conversation


def reply_to(talk: Conversation, event: Event) -> Reply:
    """Return what a server answers that agrees to everything."""
    match event:
        case Answered():
            return event.reply
        case Hello():
            return talk.hello_reply()
        case Data():
            return replies.START_DATA
        case EndOfData():
            return event.problem or replies.queued("0")
        case StartTls():
            return replies.STARTTLS_READY
        case XClient():
            return replies.greeting("mx.example")
        case Quit():
            return replies.BYE
        case _ if isinstance(event, LoginStep):
            return replies.LOGGED_IN
        case _:
            return replies.OK


def run(talk: Conversation, data: bytes) -> tuple[list[Event], bytes]:
    """Feed octets, agree to everything, and return the events and what was sent."""
    talk.receive_data(data)
    events: list[Event] = []
    sent = b""
    while not isinstance(event := talk.next_event(), Signal):
        events.append(event)
        if not isinstance(event, Content | Chunk):
            sent += talk.reply(reply_to(talk, event))
    assert event is NEED_DATA
    return events, sent


def run_pieces(talk: Conversation, octets: bytes, lengths: list[int]) -> tuple[list[Event], bytes]:
    """Do as `run` does, in pieces of these lengths and what is left; return events as `joined` has them."""
    events: list[Event] = []
    sent = b""
    for length in [*lengths, len(octets)]:
        more, answer = run(talk, octets[:length])
        events, sent, octets = events + more, sent + answer, octets[length:]
    return joined(events), sent


def joined(events: list[Event]) -> list[Event]:
    """Return events with each content in one piece; of a message that was refused there is none."""
    found: list[Event] = []
    content: list[bytes] = []
    for event in events:
        if isinstance(event, Content):
            content.append(event.octets)
            continue
        refused = isinstance(event, EndOfData) and event.problem
        if content and not refused and not isinstance(event, Answered | Chunk):
            found.append(Content(b"".join(content)))
        if not isinstance(event, Answered | Chunk):
            content.clear()
        found.append(event)
    return found + ([Content(b"".join(content))] if content else [])


def wrong(reply: Reply) -> Answered:
    """Return the event of a command that is the peer's own fault."""
    return Answered(reply, error=True)
