"""Which commands are legal when, and where they lead: all of the server's session state lives in this table.

A command moves the session only once its reply is positive; the end of a message moves it whatever the reply, because
the transaction is over either way (RFC 5321 §4.1.1.4). A pair the table lacks is refused and moves nothing
(RFC 5321 §4.1.4). `ASIDE` stands for NOOP, VRFY, EXPN and HELP, which are answered and change nothing, and for a line
of AUTH's exchange that is answered with another question. `PROOF` ends that exchange, and so does any answer to it.

              connected  ready      proving  mail    rcpt    data   chunk   chunks  securing   closed
    HELLO     ready      ready      -        ready   ready   -      -       ready   -          -
    MAIL      -          mail       -        -       -       -      -       -       -          -
    RCPT      -          -          -        rcpt    rcpt    -      -       -       -          -
    DATA      -          -          -        -       data    -      -       -       -          -
    BDAT      -          -          -        -       chunk   -      -       chunk   -          -
    CHUNK     -          -          -        -       -       -      chunks  -       -          -
    END       -          -          -        -       -       ready  ready   -       -          -
    STARTTLS  -          securing   -        -       -       -      -       -       -          -
    SECURED   connected  -          -        -       -       -      -       -       connected  -
    AUTH      -          proving    -        -       -       -      -       -       -          -
    PROOF     -          ready      ready    -       -       -      -       -       -          -
    XCLIENT   connected  connected  -        -       -       -      -       -       -          -
    RSET      connected  ready      -        ready   ready   -      -       ready   -          -
    ASIDE     connected  ready      proving  mail    rcpt    -      -       chunks  -          -
    QUIT      closed     closed     -        closed  closed  -      -       closed  -          -

`connected`: greeted, TLS just began, or a proxy said whom it speaks for; `ready`: the peer said its name; `proving`: a
question of AUTH was asked, the next line is its answer and no command; `mail`: a transaction is open; `rcpt`: it has an
accepted recipient; `data`: content is being read; `chunk`: the octets one BDAT announced are being read; `chunks`: a
chunk was taken, and it was not the last (RFC 3030 §2); `securing`: 220 to STARTTLS was sent, nothing is read until TLS
began; `closed`: a closing reply was sent, nothing is read any more.
"""

from enum import Enum

from mtad.model import replies
from mtad.model.reply import Reply


class State(Enum):
    """Where a session stands."""

    # The table is asked several times a command; the hash that Enum has is not C.
    __hash__ = object.__hash__

    CONNECTED = "connected"
    READY = "ready"
    PROVING = "proving"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CHUNK = "chunk"
    CHUNKS = "chunks"
    SECURING = "securing"
    CLOSED = "closed"


class Command(Enum):
    """What can move a session.

    CHUNK is the end of a chunk that is not the last, END the end of a message, SECURED the start of TLS, PROOF the end
    of AUTH's exchange; none is a command of the peer.
    """

    __hash__ = object.__hash__

    HELLO = "HELLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    CHUNK = "CHUNK"
    END = "END"
    STARTTLS = "STARTTLS"
    SECURED = "SECURED"
    AUTH = "AUTH"
    PROOF = "PROOF"
    XCLIENT = "XCLIENT"
    RSET = "RSET"
    ASIDE = "ASIDE"
    QUIT = "QUIT"


MOVES: dict[State, dict[Command, State]] = {
    State.CONNECTED: {
        Command.HELLO: State.READY,
        Command.SECURED: State.CONNECTED,
        Command.XCLIENT: State.CONNECTED,
        Command.RSET: State.CONNECTED,
        Command.ASIDE: State.CONNECTED,
        Command.QUIT: State.CLOSED,
    },
    State.READY: {
        Command.HELLO: State.READY,
        Command.MAIL: State.MAIL,
        Command.STARTTLS: State.SECURING,
        Command.AUTH: State.PROVING,
        Command.PROOF: State.READY,
        Command.XCLIENT: State.CONNECTED,
        Command.RSET: State.READY,
        Command.ASIDE: State.READY,
        Command.QUIT: State.CLOSED,
    },
    State.PROVING: {Command.PROOF: State.READY, Command.ASIDE: State.PROVING},
    State.MAIL: {
        Command.HELLO: State.READY,
        Command.RCPT: State.RCPT,
        Command.RSET: State.READY,
        Command.ASIDE: State.MAIL,
        Command.QUIT: State.CLOSED,
    },
    State.RCPT: {
        Command.HELLO: State.READY,
        Command.RCPT: State.RCPT,
        Command.DATA: State.DATA,
        Command.BDAT: State.CHUNK,
        Command.RSET: State.READY,
        Command.ASIDE: State.RCPT,
        Command.QUIT: State.CLOSED,
    },
    State.DATA: {Command.END: State.READY},
    State.CHUNK: {Command.CHUNK: State.CHUNKS, Command.END: State.READY},
    State.CHUNKS: {
        Command.HELLO: State.READY,
        Command.BDAT: State.CHUNK,
        Command.RSET: State.READY,
        Command.ASIDE: State.CHUNKS,
        Command.QUIT: State.CLOSED,
    },
    State.SECURING: {Command.SECURED: State.CONNECTED},
    State.CLOSED: {},
}

# RFC 5321 §3.3: without an accepted recipient DATA may be answered 503 or 554; 554 says what is wrong. BDAT as well
# (RFC 3030 §2).
_REFUSALS: dict[State, dict[Command, Reply]] = {
    State.CONNECTED: {
        Command.MAIL: replies.HELO_FIRST,
        Command.RCPT: replies.HELO_FIRST,
        Command.DATA: replies.HELO_FIRST,
        Command.BDAT: replies.HELO_FIRST,
        Command.STARTTLS: replies.HELO_FIRST,
        Command.AUTH: replies.HELO_FIRST,
    },
    State.READY: {
        Command.RCPT: replies.MAIL_FIRST,
        Command.DATA: replies.MAIL_FIRST,
        Command.BDAT: replies.MAIL_FIRST,
    },
    State.MAIL: {
        Command.MAIL: replies.NESTED_MAIL,
        Command.DATA: replies.NO_RECIPIENTS,
        Command.BDAT: replies.NO_RECIPIENTS,
    },
    State.RCPT: {Command.MAIL: replies.NESTED_MAIL},
    State.CHUNKS: {Command.MAIL: replies.NESTED_MAIL},
}


def refusal(state: State, command: Command) -> Reply | None:
    """Return the reply to a command that is out of sequence, None for one that is legal."""
    if command in MOVES[state]:
        return None
    return _REFUSALS.get(state, {}).get(command, replies.BAD_SEQUENCE)


def after(state: State, command: Command) -> State:
    """Return the state a legal command leads to; KeyError for one that is not."""
    return MOVES[state][command]
