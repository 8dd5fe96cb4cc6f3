"""mtad.smtp's client side: the reply reader, dot stuffing, the conversation and what its answers mean."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.content import blocks
from mtad.model.next_hop import Dialect
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
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
)
from mtad.smtp.data import DataDecoder
from mtad.smtp.dot_stuffing import DOT, stuffed
from mtad.smtp.reply_reader import MAX_LINES, MAX_OCTETS, BadReply, PeerReply, ReplyReader
from mtad.smtp.transaction import Transaction, sayable
from tests.unit.recipients import to

ANN = Address("ann", "outside.example")
ALICE = Address("alice", "acme.example")
BOB = Address("bob", "acme.example")


class ReplyReaderTest(SynchronousTestCase):
    def read(self, *pieces: bytes) -> list[PeerReply]:
        reader = ReplyReader()
        return [reply for piece in pieces for reply in reader.feed(piece)]

    def test_one_line(self) -> None:
        self.assertEqual(self.read(b"250 2.1.0 fine\r\n"), [PeerReply(250, (b"2.1.0 fine",))])

    def test_many_lines(self) -> None:
        self.assertEqual(
            self.read(b"250-mx.example\r\n250-SIZE 1000\r\n250 HELP\r\n"),
            [PeerReply(250, (b"mx.example", b"SIZE 1000", b"HELP"))],
        )

    def test_what_servers_get_away_with(self) -> None:
        self.assertEqual(
            self.read(b"250\r\n250 lf only\n250-\r\n250\r\n250\ttab\r\n251-a\r\n252 the last counts\r\n"),
            [
                PeerReply(250, (b"",)),
                PeerReply(250, (b"lf only",)),
                PeerReply(250, (b"", b"")),
                PeerReply(250, (b"tab",)),
                PeerReply(252, (b"a", b"the last counts")),
            ],
        )

    def test_pieces_make_no_difference(self) -> None:
        wire = b"220 hi\r\n250-a\r\n250 b\r\n354 go\r\n"
        self.assertEqual(self.read(*(bytes([octet]) for octet in wire)), self.read(wire))

    def test_nonsense_is_told_apart(self) -> None:
        for line in (
            b"hello\r\n",
            b"\r\n",
            b"25 x\r\n",
            b"2500 x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"250x\r\n",
            b"\x00\n",
        ):
            self.assertRaises(BadReply, self.read, line)

    def test_what_came_before_nonsense_is_not_lost(self) -> None:
        replies = ReplyReader().feed(b"250 taken\r\njunk\x1b[2J\r\n")
        self.assertEqual(next(replies).code, 250)
        self.assertNotIn("\x1b", str(self.assertRaises(BadReply, next, replies)))

    def test_bounds(self) -> None:
        self.assertEqual(len(self.read(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")[0].lines), MAX_LINES)
        self.assertRaises(BadReply, self.read, b"250-x\r\n" * MAX_LINES)
        self.assertRaises(BadReply, self.read, b"250 " + b"x" * MAX_OCTETS)
        self.assertRaises(BadReply, self.read, b"250-" + b"x" * (MAX_OCTETS - 100) + b"\r\n", b"250-" + b"y" * 100)

    def test_an_endless_line_is_held_no_longer_than_its_bound(self) -> None:
        reader = ReplyReader()
        fed = 0
        with self.assertRaises(BadReply):
            while fed < 10 * MAX_OCTETS:
                list(reader.feed(b"2" * 1000))
                fed += 1000
        self.assertLess(fed, MAX_OCTETS + 2000)

    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_any_octets_are_replies_or_nonsense(self, pieces: list[bytes]) -> None:
        try:
            for reply in self.read(*pieces):
                self.assertIn(reply.code // 100, (2, 3, 4, 5))
                self.assertTrue(reply.text.isprintable())
        except BadReply as bad:
            self.assertTrue(str(bad).isprintable())


class PeerReplyTest(SynchronousTestCase):
    def test_the_enhanced_code_counts_when_its_class_fits(self) -> None:
        self.assertEqual(PeerReply(550, (b"5.1.1 unknown",)).status, "5.1.1")
        self.assertEqual(PeerReply(550, (b"see", b"5.7.1 policy")).status, "5.7.1")
        self.assertEqual(PeerReply(550, (b"2.1.1 lies",)).status, "5.0.0")
        self.assertEqual(PeerReply(450, (b"4.2.2.2 no code",)).status, "4.0.0")
        self.assertEqual(PeerReply(250, ()).status, "2.0.0")

    def test_the_text_is_fit_to_be_shown_and_short(self) -> None:
        text = PeerReply(550, (b"\x1b[31mno\x00", b"x" * 60000)).text
        self.assertTrue(text.startswith(r"550 \x1b[31mno\x00 xxx"))
        self.assertEqual(len(text), 400)


class DotStuffingTest(SynchronousTestCase):
    def stuffed(self, content: bytes, size: int = 1000) -> bytes:
        return b"".join(stuffed(blocks(content, size)))

    def test_no_block_is_taken_before_it_is_asked_for(self) -> None:
        taken: list[int] = []
        source = (taken.append(n) or b"line\r\n" for n in range(3))
        for count, _ in enumerate(stuffed(source), 1):
            self.assertEqual(taken, list(range(count)))

    def test_dots_at_the_beginning_of_lines_are_doubled(self) -> None:
        self.assertEqual(self.stuffed(b".a\r\n.\r\n..b\r\nc.d\r\n"), b"..a\r\n..\r\n...b\r\nc.d\r\n")

    def test_the_last_line_is_ended(self) -> None:
        self.assertEqual(self.stuffed(b"a"), b"a\r\n")
        self.assertEqual(self.stuffed(b"a\r"), b"a\r\r\n")
        self.assertEqual(self.stuffed(b""), b"")

    @given(st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"a"]), max_size=40), st.integers(1, 7))
    def test_blocks_make_no_difference(self, parts: list[bytes], size: int) -> None:
        content = b"".join(parts)
        whole = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
        if content and not content.endswith(b"\r\n"):
            whole += b"\r\n"
        self.assertEqual(self.stuffed(content, size), whole)

    @given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\x80"]), max_size=40), st.integers(1, 7))
    def test_our_server_reads_what_we_send(self, parts: list[bytes], size: int) -> None:
        content = b"".join([*parts, b"\r\n"])
        decoder = DataDecoder(1000)
        self.assertEqual(decoder.feed(self.stuffed(content, size) + DOT), content)
        self.assertTrue(decoder.finished)


class ConversationCase(SynchronousTestCase):
    """Plays the server by hand."""

    dialect = Dialect.LMTP
    offers: Sequence[bytes] = ()

    def setUp(self) -> None:
        self.conversation = ClientConversation(self.dialect, "mx.acme.example")
        self.assertEqual(self.hear(b"220 hi"), [Send(b"%s mx.acme.example\r\n" % self.dialect.value)])
        lines = [b"there", *self.offers]
        hello = [b"250%s%s" % (b" " if line is lines[-1] else b"-", line) for line in lines]
        self.assertEqual(self.hear(*hello), [Ready()])

    def hear(self, *lines: bytes) -> list[Event]:
        return self.conversation.receive(b"".join(line + b"\r\n" for line in lines))

    def begin(self, *recipients: Address, eight_bit: bool = False) -> bytes:
        return self.conversation.begin(Transaction(ANN, to(*recipients or (ALICE, BOB)), 1234, eight_bit))

    def codes(self, events: list[Event]) -> list[tuple[str, int]]:
        """Return step and code of every answer of the transaction that the last event but a closing one ends."""
        finished = [event for event in events if isinstance(event, Finished)]
        self.assertEqual(len(finished), 1, events)
        return [(answer.step.name, answer.reply.code) for answer in finished[0].answers]


class LockstepTest(ConversationCase):
    """A server that offers nothing gets one command at a time."""

    def test_a_message_for_two(self) -> None:
        self.assertEqual(self.begin(), b"MAIL FROM:<ann@outside.example>\r\n")
        self.assertEqual(self.hear(b"250 ok"), [Send(b"RCPT TO:<alice@acme.example>\r\n")])
        self.assertEqual(self.hear(b"250 ok"), [Send(b"RCPT TO:<bob@acme.example>\r\n")])
        self.assertEqual(self.hear(b"250 ok"), [Send(b"DATA\r\n")])
        self.assertEqual(self.hear(b"354 go"), [SendContent()])
        self.assertIsNone(self.conversation.awaited)
        self.assertEqual(self.conversation.end_of_content(), b".\r\n")
        self.assertEqual(self.conversation.awaited, Step.END)
        self.assertEqual(self.hear(b"250 alice has it"), [])
        self.assertEqual(self.codes(self.hear(b"452 bob is full")), [("END", 250), ("END", 452)])

    def test_a_refused_sender_is_everybodys_answer(self) -> None:
        self.begin()
        self.assertEqual(self.codes(self.hear(b"550 no")), [("MAIL", 550)] * 2)

    def test_refused_recipients_leave_nothing_to_send(self) -> None:
        self.begin()
        self.hear(b"250 ok")
        self.hear(b"550 no")
        self.assertEqual(self.codes(self.hear(b"450 later")), [("RCPT", 550), ("RCPT", 450)])

    def test_only_who_was_accepted_is_answered_after_the_dot(self) -> None:
        self.begin()
        self.hear(b"250 ok")
        self.hear(b"550 no")
        self.hear(b"250 ok")
        self.hear(b"354 go")
        self.conversation.end_of_content()
        self.assertEqual(self.codes(self.hear(b"250 bob has it")), [("RCPT", 550), ("END", 250)])

    def test_refused_data_is_the_answer_of_who_was_accepted(self) -> None:
        self.begin()
        for reply in (b"250 ok", b"550 no", b"250 ok"):
            self.hear(reply)
        self.assertEqual(self.codes(self.hear(b"451 later")), [("RCPT", 550), ("DATA", 451)])

    def test_a_transaction_that_did_not_end_is_reset_before_the_next(self) -> None:
        self.begin()
        self.hear(b"550 no")
        self.assertEqual(self.begin(), b"RSET\r\n")
        self.assertEqual(self.hear(b"250 ok"), [Send(b"MAIL FROM:<ann@outside.example>\r\n")])

    def test_a_refused_reset_ends_it(self) -> None:
        self.begin()
        self.hear(b"550 no")
        self.begin()
        events = self.hear(b"500 what")
        self.assertEqual(self.codes(events), [("RSET", 500)] * 2)
        self.assertIsInstance(events[-1], Closing)

    def test_after_a_message_the_next_begins_at_once(self) -> None:
        self.begin(ALICE)
        for reply in (b"250 ok", b"250 ok", b"354 go"):
            self.hear(reply)
        self.conversation.end_of_content()
        self.hear(b"250 ok")
        self.assertEqual(self.begin(), b"MAIL FROM:<ann@outside.example>\r\n")

    def test_leaving(self) -> None:
        self.assertEqual(self.conversation.quit(), b"QUIT\r\n")
        (event,) = self.hear(b"221 bye")
        assert isinstance(event, Closing)
        self.assertEqual(event.answer.step, Step.QUIT)
        self.assertEqual(self.hear(b"junk"), [])

    def test_the_null_reverse_path(self) -> None:
        said = self.conversation.begin(Transaction(None, to(ALICE), 1))
        self.assertEqual(said, b"MAIL FROM:<>\r\n")


class PipeliningTest(ConversationCase):
    """With PIPELINING everything up to DATA goes at once, and the replies are told apart by their order."""

    offers = (b"pipelining", b"SIZE 10000", b"8BITMIME", b"X")

    def test_a_message_for_two(self) -> None:
        self.assertEqual(
            self.begin(eight_bit=True),
            b"MAIL FROM:<ann@outside.example> SIZE=1234 BODY=8BITMIME\r\n"
            b"RCPT TO:<alice@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n",
        )
        self.assertEqual(self.hear(b"250 ok", b"550 no", b"250 ok"), [])
        self.assertEqual(self.hear(b"354 go"), [SendContent()])
        self.conversation.end_of_content()
        self.assertEqual(self.codes(self.hear(b"250 ok")), [("RCPT", 550), ("END", 250)])

    def test_all_refusals_at_once(self) -> None:
        self.begin()
        events = self.hear(b"550 no sender", b"503 no mail", b"503 no mail", b"503 no recipients")
        self.assertEqual(self.codes(events), [("MAIL", 550)] * 2)
        self.assertTrue(self.begin().startswith(b"RSET\r\nMAIL FROM"))

    def test_a_server_that_takes_content_for_nobody_is_left(self) -> None:
        self.begin()
        events = self.hear(b"250 ok", b"550 no", b"550 no", b"354 go")
        self.assertEqual(self.codes(events), [("RCPT", 550)] * 2)
        self.assertIsInstance(events[-1], Closing)

    def test_what_was_offered(self) -> None:
        self.assertEqual(self.conversation.extensions, {"PIPELINING": "", "SIZE": "10000", "8BITMIME": "", "X": ""})


class SmtpTest(ConversationCase):
    """SMTP has one reply to the dot, for all."""

    dialect = Dialect.SMTP
    offers = (b"PIPELINING", b"SMTPUTF8")

    def test_one_answer_for_all(self) -> None:
        self.begin()
        self.hear(b"250 ok", b"250 ok", b"250 ok", b"354 go")
        self.conversation.end_of_content()
        self.assertEqual(self.codes(self.hear(b"250 ok")), [("END", 250)] * 2)

    def test_addresses_beyond_ascii_are_announced_where_that_is_understood(self) -> None:
        said = self.begin(Address("þo", "acme.example"))
        self.assertIn(b"MAIL FROM:<ann@outside.example> SMTPUTF8\r\n", said)
        self.assertIn("RCPT TO:<þo@acme.example>\r\n".encode(), said)

    def test_a_server_of_old_is_greeted_of_old(self) -> None:
        conversation = ClientConversation(Dialect.SMTP, "mx.acme.example")
        conversation.receive(b"220 hi\r\n")
        self.assertEqual(conversation.receive(b"502 what\r\n"), [Send(b"HELO mx.acme.example\r\n")])
        self.assertEqual(conversation.receive(b"250 there\r\n"), [Ready()])

    def test_a_server_that_knows_neither_hello_is_left(self) -> None:
        conversation = ClientConversation(Dialect.SMTP, "mx.acme.example")
        (event,) = conversation.receive(b"220 hi\r\n502 what\r\n502 what\r\n")[2:]
        self.assertIsInstance(event, Closing)


class HostileTest(ConversationCase):
    """Whatever a server says, the conversation ends in events."""

    def test_a_session_refused(self) -> None:
        for wire in (b"554 no\r\n", b"421 busy\r\n", b"220 hi\r\n550 no\r\n", b"220 hi\r\n421 busy\r\n"):
            conversation = ClientConversation(Dialect.LMTP, "mx.acme.example")
            closing = conversation.receive(wire)[-1]
            assert isinstance(closing, Closing)
            outcome = outcome_of(closing.answer)
            assert isinstance(outcome, Deferred)
            self.assertEqual(outcome.scope, Scope.HOST)

    def test_closing_at_any_time_answers_everybody(self) -> None:
        replies = (b"250 ok", b"550 no", b"250 ok", b"354 go", b"dot")
        for count in range(len(replies) + 1):
            self.setUp()
            self.begin()
            for reply in replies[:count]:
                if reply == b"dot":
                    self.conversation.end_of_content()
                else:
                    self.hear(reply)
            events = self.hear(b"421 closing")
            codes = [code for _, code in self.codes(events)]
            self.assertEqual(codes, [550, 421] if count >= 2 else [421, 421])
            self.assertIsInstance(events[-1], Closing)

    def test_a_goodbye_nobody_asked_for(self) -> None:
        (event,) = self.hear(b"421 idle too long")
        self.assertIsInstance(event, Closing)

    def test_a_refusal_in_the_middle_of_the_content_counts(self) -> None:
        self.begin()
        for reply in (b"250 ok", b"250 ok", b"250 ok", b"354 go"):
            self.hear(reply)
        events = self.hear(b"552 too large")
        self.assertEqual(self.codes(events), [("END", 552)] * 2)
        self.assertIsInstance(events[-1], Closing)

    def test_what_answers_nothing_breaks_it(self) -> None:
        (event,) = self.hear(b"250 you are welcome")
        self.assertIsInstance(event, Broken)
        self.assertEqual(self.hear(b"250 more"), [])

    def test_giving_up_in_the_same_breath_as_354(self) -> None:
        self.begin()
        events = self.hear(b"250 ok", b"250 ok", b"250 ok", b"354 go", b"421 no, stop")
        self.assertNotIn(SendContent(), events)
        self.assertEqual(self.codes(events), [("END", 421)] * 2)

    def test_success_before_the_end_of_the_content_breaks_it(self) -> None:
        self.begin()
        for reply in (b"250 ok", b"250 ok", b"250 ok", b"354 go"):
            self.hear(reply)
        (event,) = self.hear(b"250 I know what you are going to say")
        self.assertIsInstance(event, Broken)

    def test_replies_out_of_place_break_it(self) -> None:
        self.begin()
        (event,) = self.hear(b"354 go")
        self.assertIsInstance(event, Broken)
        self.setUp()
        self.begin(ALICE)
        self.hear(b"250 ok")
        self.hear(b"250 ok")
        (event,) = self.hear(b"250 not 354")
        self.assertIsInstance(event, Broken)

    def test_nonsense_behind_an_answer_does_not_undo_it(self) -> None:
        self.begin()
        for reply in (b"250 ok", b"250 ok", b"250 ok", b"354 go"):
            self.hear(reply)
        self.conversation.end_of_content()
        (event,) = self.hear(b"250 alice has it", b"junk")
        self.assertIsInstance(event, Broken)
        first, second = self.conversation.answers
        assert first is not None
        self.assertEqual((first.reply.code, second), (250, None))

    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=30),
                st.sampled_from(
                    [b"250 ok\r\n", b"354 go\r\n", b"550 no\r\n", b"421 bye\r\n", b"250-x\r\n", b"450 n\r\n"]
                ),
            ),
            max_size=12,
        ),
        st.booleans(),
        st.booleans(),
    )
    def test_any_server_whatever_it_says(self, pieces: list[bytes], pipelining: bool, joined: bool) -> None:
        conversation = ClientConversation(Dialect.LMTP, "mx")
        hello = b"250-x\r\n250 PIPELINING\r\n" if pipelining else b"250 x\r\n"
        conversation.receive(b"220 x\r\n" + hello)
        conversation.begin(Transaction(ANN, to(ALICE, BOB), 1))
        finished: list[Finished] = []
        for piece in [b"".join(pieces)] if joined else pieces:
            for event in conversation.receive(piece):
                if isinstance(event, SendContent):
                    conversation.end_of_content()
                if isinstance(event, Finished):
                    finished.append(event)
                    self.assertEqual(len(event.answers), 2)
        self.assertLessEqual(len(finished), 1)


class SayableTest(SynchronousTestCase):
    def test_no_address_is_a_second_command(self) -> None:
        for address in (
            Address("a\r\nRSET", "acme.example"),
            Address("a\nb", "acme.example"),
            Address("a\0b", "acme.example"),
            Address("a", "acme.example> SIZE=0"),
            Address("a", "acme.example\r\nRSET"),
            Address("\ud800", "acme.example"),
        ):
            self.assertFalse(sayable(address))
            conversation = ClientConversation(Dialect.LMTP, "mx")
            conversation.receive(b"220 x\r\n250 x\r\n")
            with self.assertRaises(ValueError):
                conversation.begin(Transaction(None, to(address), 1))

    def test_odd_local_parts_are_quoted(self) -> None:
        self.assertTrue(sayable(Address("a b> c", "acme.example")))
        self.assertTrue(sayable(None))


class OutcomeTest(SynchronousTestCase):
    def outcome(self, step: Step, line: bytes, *, alone: bool = False) -> Outcome:
        return outcome_of(Answer(step, PeerReply(int(line[:3]), (line[4:],)), alone))

    def test_taken(self) -> None:
        self.assertEqual(self.outcome(Step.END, b"250 2.6.0 saved"), Delivered("250 2.6.0 saved", "2.6.0"))

    def test_scopes(self) -> None:
        for step, alone, scope in (
            (Step.RCPT, True, Scope.RECIPIENT),
            (Step.DATA, False, Scope.MESSAGE),
            (Step.END, False, Scope.MESSAGE),
            (Step.END, True, Scope.RECIPIENT),
        ):
            refused = self.outcome(step, b"550 5.7.1 no", alone=alone)
            self.assertEqual(
                refused, Failed(f"550 5.7.1 no (in reply to {step.value})", scope, "5.7.1", told="550 5.7.1 no")
            )
            later = self.outcome(step, b"450 4.2.0 later", alone=alone)
            self.assertEqual(
                later, Deferred(f"450 4.2.0 later (in reply to {step.value})", scope, "4.2.0", told="450 4.2.0 later")
            )

    def test_a_sender_refused_for_now_may_do_better_at_another_host(self) -> None:
        self.assertEqual(
            self.outcome(Step.MAIL, b"451 4.3.2 later"),
            Deferred("451 4.3.2 later (in reply to MAIL)", Scope.HOST, "4.3.2", told="451 4.3.2 later"),
        )
        self.assertEqual(
            self.outcome(Step.MAIL, b"550 5.7.1 no"),
            Failed("550 5.7.1 no (in reply to MAIL)", Scope.MESSAGE, "5.7.1", told="550 5.7.1 no"),
        )

    def test_a_session_that_is_refused_is_the_hosts_trouble_and_temporary(self) -> None:
        for step in (Step.GREETING, Step.HELLO, Step.RSET):
            outcome = self.outcome(step, b"554 5.3.2 go away")
            assert isinstance(outcome, Deferred)
            self.assertEqual((outcome.scope, outcome.status), (Scope.HOST, "4.3.2"))

    def test_goodbye_is_the_hosts_trouble_wherever_it_comes(self) -> None:
        for step in Step:
            outcome = self.outcome(step, b"421 4.3.2 closing", alone=True)
            assert isinstance(outcome, Deferred)
            self.assertEqual(outcome.scope, Scope.HOST)

    def test_an_old_servers_552_to_a_recipient_is_temporary_a_full_mailbox_is_not(self) -> None:
        self.assertIsInstance(self.outcome(Step.RCPT, b"552 too many recipients", alone=True), Deferred)
        self.assertIsInstance(self.outcome(Step.RCPT, b"552 5.5.3 too many recipients", alone=True), Deferred)
        self.assertIsInstance(self.outcome(Step.RCPT, b"552 5.2.2 over quota", alone=True), Failed)
        self.assertIsInstance(self.outcome(Step.END, b"552 too large"), Failed)
