"""mtad.smtp.states: the table, its docstring, and every walk through it seen from the wire."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp import states
from mtad.smtp.chunking import Chunk
from mtad.smtp.commands import NEED_DATA, Answered, Content, Data, EndOfData, Event, Hello
from mtad.smtp.sasl import Authenticate, Login
from mtad.smtp.server import Conversation
from mtad.smtp.states import Command, State

ARGUMENTS = {
    Command.HELLO: b"EHLO c.example\r\n",
    Command.MAIL: b"MAIL FROM:<>\r\n",
    Command.RCPT: b"RCPT TO:<a@b.example>\r\n",
    Command.DATA: b"DATA\r\n",
    Command.BDAT: b"BDAT 1\r\n",
    Command.CHUNK: b"x",
    Command.STARTTLS: b"STARTTLS\r\n",
    Command.AUTH: b"AUTH PLAIN\r\n",
    Command.PROOF: b"AGEAYg==\r\n",
    Command.XCLIENT: b"XCLIENT ADDR=192.0.2.1\r\n",
    Command.RSET: b"RSET\r\n",
    Command.ASIDE: b"NOOP\r\n",
    Command.QUIT: b"QUIT\r\n",
}
# A chunk ends the message when it is the last, and when there is something wrong with it.
ENDS = {State.DATA: b"x\r\n.\r\n", State.CHUNK: b"\0"}
# The shortest way to a state.
WAYS: dict[State, tuple[Command, ...]] = {
    State.CONNECTED: (),
    State.READY: (Command.HELLO,),
    State.PROVING: (Command.HELLO, Command.AUTH),
    State.MAIL: (Command.HELLO, Command.MAIL),
    State.RCPT: (Command.HELLO, Command.MAIL, Command.RCPT),
    State.DATA: (Command.HELLO, Command.MAIL, Command.RCPT, Command.DATA),
    State.CHUNK: (Command.HELLO, Command.MAIL, Command.RCPT, Command.BDAT),
    State.CHUNKS: (Command.HELLO, Command.MAIL, Command.RCPT, Command.BDAT, Command.CHUNK),
    State.SECURING: (Command.HELLO, Command.STARTTLS),
    State.CLOSED: (Command.QUIT,),
}
LINES = tuple(command for command in ARGUMENTS if command not in (Command.CHUNK, Command.PROOF))
# No command line is read in these.
ELSE_THAN_LINES = (State.PROVING, State.DATA, State.CHUNK, State.SECURING, State.CLOSED)
YES = {Command.DATA: replies.START_DATA, Command.STARTTLS: replies.STARTTLS_READY, Command.QUIT: replies.BYE}


# What octets mean where they are no command line.
INSIDE = {
    State.DATA: (Command.END,),
    State.CHUNK: (Command.CHUNK, Command.END),
    State.PROVING: (Command.PROOF,),
}


def sayable(state: State, command: Command) -> bool:
    """Return whether octets can mean that command there."""
    return command in INSIDE.get(state, LINES)


def conversation() -> Conversation:
    login = Login(required=False, needs_tls=False)
    return Conversation(hostname="mx.example", max_message_size=1000, starttls=True, login=login, xclient=True)


def say(talk: Conversation, command: Command, state: State = State.DATA) -> Event:
    """Send a command and return its event, past the content; `state` is where a message that it ends comes in."""
    talk.receive_data(ENDS[state] if command is Command.END else ARGUMENTS[command])
    event = talk.next_event()
    if event is NEED_DATA and command is Command.BDAT:
        # A refused chunk is answered behind its octets.
        talk.receive_data(b"x")
        event = talk.next_event()
    event = talk.next_event() if isinstance(event, Content) else event
    assert not isinstance(event, type(NEED_DATA))
    return event


def agree(talk: Conversation, command: Command, event: Event) -> None:
    """Answer yes where an answer is ours to give."""
    if not isinstance(event, Chunk):
        talk.reply(event.reply if isinstance(event, Answered) else YES.get(command, replies.OK))


def refused(refusal: Reply) -> Answered:
    """Return the event of a command out of sequence; pipelining makes some of them nobody's fault."""
    return Answered(refusal, error=refusal not in (replies.MAIL_FIRST, replies.NO_RECIPIENTS))


def walked(way: tuple[Command, ...]) -> Conversation:
    talk = conversation()
    for command in way:
        agree(talk, command, say(talk, command))
    return talk


class TableTest(SynchronousTestCase):
    def test_the_docstring_prints_the_table(self) -> None:
        head, *body = [line.split() for line in (states.__doc__ or "").splitlines() if line.startswith("    ")]
        named = [State(name) for name in head]
        printed: dict[State, dict[Command, State]] = {state: {} for state in named}
        for command, *cells in body:
            for state, cell in zip(named, cells, strict=True):
                if cell != "-":
                    printed[state][Command(command)] = State(cell)
        self.assertEqual(set(named), set(State))
        self.assertEqual({command for command, *_ in body}, {command.value for command in Command})
        self.assertEqual(printed, states.MOVES)

    def test_every_pair_moves_or_is_refused(self) -> None:
        for state in State:
            for command in Command:
                refusal = states.refusal(state, command)
                if command in states.MOVES[state]:
                    self.assertIsNone(refusal)
                    self.assertIsInstance(states.after(state, command), State)
                else:
                    assert refusal is not None
                    self.assertTrue(refusal.permanent)
                    self.assertRaises(KeyError, states.after, state, command)

    def test_the_refusals_say_what_is_missing(self) -> None:
        self.assertEqual(states.refusal(State.CONNECTED, Command.MAIL), replies.HELO_FIRST)
        self.assertEqual(states.refusal(State.READY, Command.RCPT), replies.MAIL_FIRST)
        self.assertEqual(states.refusal(State.READY, Command.DATA), replies.MAIL_FIRST)
        self.assertEqual(states.refusal(State.MAIL, Command.DATA), replies.NO_RECIPIENTS)
        self.assertEqual(states.refusal(State.RCPT, Command.MAIL), replies.NESTED_MAIL)
        self.assertEqual(states.refusal(State.RCPT, Command.STARTTLS), replies.BAD_SEQUENCE)


class WalkTest(SynchronousTestCase):
    """The state is not looked at: how DATA is answered shows it."""

    def assert_state(self, talk: Conversation, expected: State, way: object) -> None:
        if expected is State.DATA:
            talk.receive_data(b"RSET\r\n")
            self.assertEqual(talk.next_event(), Content(b"RSET"), way)
        elif expected is State.CHUNK:
            talk.receive_data(b"R\r\n")
            self.assertEqual(talk.next_event(), Content(b"R"), way)
            self.assertEqual(talk.next_event(), Answered(replies.CHUNK_TAKEN, error=False), way)
        elif expected in (State.SECURING, State.CLOSED):
            talk.receive_data(b"NOOP\r\n")
            self.assertEqual((talk.next_event(), talk.buffered_octets), (NEED_DATA, 0), way)
        elif expected is State.PROVING:
            self.assertIsInstance(say(talk, Command.PROOF), Authenticate, way)
        else:
            refusal = states.refusal(expected, Command.DATA)
            answer = refused(refusal) if refusal else Data()
            self.assertEqual(say(talk, Command.DATA), answer, way)

    def test_every_pair_on_the_wire(self) -> None:
        for state, way in WAYS.items():
            self.assert_state(walked(way), state, way)
            if state in ELSE_THAN_LINES:
                continue
            for command in LINES:
                talk = walked(way)
                event = say(talk, command)
                refusal = states.refusal(state, command)
                if refusal is not None:
                    self.assertEqual(event, refused(refusal), (state, command))
                agree(talk, command, event)
                self.assert_state(talk, states.MOVES[state].get(command, state), (state, command))

    def test_a_refused_command_moves_nothing(self) -> None:
        for state in (State.CONNECTED, State.READY, State.MAIL, State.RCPT, State.CHUNKS):
            for command in LINES:
                if command in (Command.ASIDE, Command.AUTH, Command.BDAT) or states.refusal(state, command):
                    continue
                for no in (replies.TEMPORARY_TROUBLE, replies.RELAY_DENIED):
                    talk = walked(WAYS[state])
                    say(talk, command)
                    talk.reply(no)
                    self.assert_state(talk, state, (state, command))

    def test_the_end_of_a_message_ends_the_transaction_whatever_the_reply(self) -> None:
        for reply in (replies.queued("0"), replies.TEMPORARY_TROUBLE, replies.ROUTING_LOOP):
            for state in ENDS:
                talk = walked(WAYS[state])
                self.assertIsInstance(say(talk, Command.END, state), EndOfData)
                talk.reply(reply)
                self.assert_state(talk, State.READY, (state, reply))

    def test_the_last_chunk_ends_the_transaction(self) -> None:
        for state in (State.RCPT, State.CHUNKS):
            talk = walked(WAYS[state])
            talk.receive_data(b"BDAT 3 LAST\r\nx\r\n")
            events = [talk.next_event() for _ in range(3)]
            self.assertEqual(events[1:], [Content(b"x\r\n"), EndOfData(None)], state)
            talk.reply(replies.queued("0"))
            self.assert_state(talk, State.READY, state)

    def test_a_proof_ends_the_exchange_whatever_the_reply(self) -> None:
        for reply in (replies.LOGGED_IN, replies.LOGIN_TROUBLE, replies.LOGIN_REFUSED):
            talk = walked(WAYS[State.PROVING])
            say(talk, Command.PROOF)
            talk.reply(reply)
            self.assert_state(talk, State.READY, reply)

    def test_a_closing_reply_ends_it_anywhere(self) -> None:
        for way in WAYS.values():
            talk = walked(way)
            talk.reply(replies.SHUTTING_DOWN)
            self.assert_state(talk, State.CLOSED, way)

    @given(st.lists(st.tuples(st.sampled_from([*ARGUMENTS, Command.END]), st.booleans()), max_size=30))
    def test_any_walk(self, steps: list[tuple[Command, bool]]) -> None:
        talk = conversation()
        state = State.CONNECTED
        authenticated = False
        for command, yes in steps:
            if not sayable(state, command) or (command is Command.AUTH and authenticated):
                continue
            if state in (State.SECURING, State.CLOSED):
                break
            event = say(talk, command, state)
            refusal = states.refusal(state, command)
            if refusal is not None:
                self.assertEqual(event, refused(refusal))
            elif isinstance(event, Hello):
                self.assertTrue(talk.hello_reply().positive)
            # A chunk is not asked about, and how one ended is already said.
            yes = yes or command in (Command.BDAT, Command.CHUNK)
            if yes or isinstance(event, Answered):
                agree(talk, command, event)
            else:
                talk.reply(replies.TEMPORARY_TROUBLE)
            authenticated |= yes and command is Command.PROOF
            authenticated &= not (yes and command is Command.XCLIENT and refusal is None)
            if refusal is None and (yes or command in (Command.END, Command.ASIDE, Command.AUTH, Command.PROOF)):
                state = states.after(state, command)
        self.assert_state(talk, state, steps)
