"""mtad.smtp.states: the table, its docstring, and every walk through it seen from the wire."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp import states
from mtad.smtp.commands import NEED_DATA, Answered, Content, Data, Event, Hello
from mtad.smtp.sasl import Authenticate, Login
from mtad.smtp.server import Conversation
from mtad.smtp.states import Command, State

ARGUMENTS = {
    Command.HELLO: b"EHLO c.example\r\n",
    Command.MAIL: b"MAIL FROM:<>\r\n",
    Command.RCPT: b"RCPT TO:<a@b.example>\r\n",
    Command.DATA: b"DATA\r\n",
    Command.END: b"x\r\n.\r\n",
    Command.STARTTLS: b"STARTTLS\r\n",
    Command.AUTH: b"AUTH PLAIN\r\n",
    Command.PROOF: b"AGEAYg==\r\n",
    Command.RSET: b"RSET\r\n",
    Command.ASIDE: b"NOOP\r\n",
    Command.QUIT: b"QUIT\r\n",
}
# The shortest way to a state.
WAYS: dict[State, tuple[Command, ...]] = {
    State.CONNECTED: (),
    State.READY: (Command.HELLO,),
    State.PROVING: (Command.HELLO, Command.AUTH),
    State.MAIL: (Command.HELLO, Command.MAIL),
    State.RCPT: (Command.HELLO, Command.MAIL, Command.RCPT),
    State.DATA: (Command.HELLO, Command.MAIL, Command.RCPT, Command.DATA),
    State.SECURING: (Command.HELLO, Command.STARTTLS),
    State.CLOSED: (Command.QUIT,),
}
LINES = tuple(command for command in ARGUMENTS if command not in (Command.END, Command.PROOF))
YES = {Command.DATA: replies.START_DATA, Command.STARTTLS: replies.STARTTLS_READY, Command.QUIT: replies.BYE}


def conversation() -> Conversation:
    login = Login(required=False, needs_tls=False)
    return Conversation(hostname="mx.example", max_message_size=1000, starttls=True, login=login)


def say(talk: Conversation, command: Command) -> Event:
    """Send a command and return its event, past the content."""
    talk.receive_data(ARGUMENTS[command])
    event = talk.next_event()
    return talk.next_event() if isinstance(event, Content) else event


def agree(talk: Conversation, command: Command, event: Event) -> None:
    """Answer yes where an answer is ours to give."""
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
        rows = [line.split() for line in (states.__doc__ or "").splitlines() if line.startswith("    ")]
        head, *body = rows
        commands = [Command(name) for name in head[1:]]
        printed = {
            State(row[0]): {
                command: State(cell) for command, cell in zip(commands, row[1:], strict=True) if cell != "-"
            }
            for row in body
        }
        self.assertEqual(set(commands), set(Command))
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
            if state in (State.PROVING, State.DATA, State.SECURING, State.CLOSED):
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
        for state in (State.CONNECTED, State.READY, State.MAIL, State.RCPT):
            for command in LINES:
                if command in (Command.ASIDE, Command.AUTH) or states.refusal(state, command):
                    continue
                for no in (replies.TEMPORARY_TROUBLE, replies.RELAY_DENIED):
                    talk = walked(WAYS[state])
                    say(talk, command)
                    talk.reply(no)
                    self.assert_state(talk, state, (state, command))

    def test_the_end_of_data_ends_the_transaction_whatever_the_reply(self) -> None:
        for reply in (replies.queued("0"), replies.TEMPORARY_TROUBLE, replies.ROUTING_LOOP):
            talk = walked(WAYS[State.DATA])
            say(talk, Command.END)
            talk.reply(reply)
            self.assert_state(talk, State.READY, reply)

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

    @given(st.lists(st.tuples(st.sampled_from([*LINES, Command.END, Command.PROOF]), st.booleans()), max_size=30))
    def test_any_walk(self, steps: list[tuple[Command, bool]]) -> None:
        talk = conversation()
        state = State.CONNECTED
        authenticated = False
        for command, yes in steps:
            if (command is Command.END) != (state is State.DATA) or (command is Command.AUTH and authenticated):
                continue
            if (command is Command.PROOF) != (state is State.PROVING):
                continue
            if state in (State.SECURING, State.CLOSED):
                break
            event = say(talk, command)
            refusal = states.refusal(state, command)
            if refusal is not None:
                self.assertEqual(event, refused(refusal))
            elif isinstance(event, Hello):
                self.assertTrue(talk.hello_reply().positive)
            if yes or isinstance(event, Answered):
                agree(talk, command, event)
            else:
                talk.reply(replies.TEMPORARY_TROUBLE)
            authenticated |= yes and command is Command.PROOF
            if refusal is None and (yes or command in (Command.END, Command.ASIDE, Command.AUTH, Command.PROOF)):
                state = states.after(state, command)
        self.assert_state(talk, state, steps)
