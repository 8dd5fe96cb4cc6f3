"""mtad.smtp.chunking, and BDAT as a session has it: what is taken, what is refused, and what is read past."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.reply import Reply
from mtad.smtp.chunking import Chunk, ChunkDecoder, parse
from mtad.smtp.commands import NEED_DATA, Answered, Content, EndOfData, Hello, MailFrom, RcptTo, Reset
from mtad.smtp.server import Conversation
from tests.unit.conversations import joined, run, run_pieces, wrong

OPENING = b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"
TAKEN = Answered(replies.CHUNK_TAKEN, error=False)
NOOP = Answered(replies.OK, error=False)


def opened(max_message_size: int = 1000) -> Conversation:
    """Return a session whose transaction has a recipient."""
    talk = Conversation(hostname="mx.example", max_message_size=max_message_size, starttls=True)
    run(talk, OPENING)
    return talk


def refused(reply: Reply) -> Answered:
    """Return the answer to what a peer may have pipelined before it knew better."""
    return Answered(reply, error=False)


class ParseTest(SynchronousTestCase):
    def test_arguments(self) -> None:
        for argument, expected in {
            b"0": Chunk(0, last=False),
            b"100": Chunk(100, last=False),
            b"007 LAST": Chunk(7, last=True),
            b"7  last": Chunk(7, last=True),
            b"9" * 20: Chunk(99999999999999999999, last=False),
        }.items():
            self.assertEqual(parse(argument), expected, argument)

    def test_what_cannot_be_read(self) -> None:
        for argument in (b"", b"LAST", b"-1", b"1.5", b"0x10", b"1 FIRST", b"1LAST", b"1 LAST 1", b"\xb2", b"9" * 21):
            self.assertEqual(parse(argument), replies.CHUNK_UNREADABLE, argument)


class DecoderTest(SynchronousTestCase):
    @given(
        st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\r\n.\r\n", b"\0", b"abc"]), max_size=12).map(
            b"".join
        ),
        st.lists(st.integers(0, 40), max_size=6),
        st.sampled_from([5, 1000]),
    )
    def test_as_the_reference_however_it_is_cut(self, octets: bytes, places: list[int], max_octets: int) -> None:
        decoder = ChunkDecoder(max_octets)
        bounds = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
        content = b"".join(decoder.feed(octets[start:end]) for start, end in pairwise(bounds)) + decoder.end()
        expected = octets if not octets or octets.endswith((b"\r\n", b"\r")) else octets + b"\r\n"
        problem = None
        if len(expected) > max_octets:
            problem = replies.TOO_LARGE
        if b"\0" in octets:
            problem = replies.NUL_OCTET
        if any(bare in octets.replace(b"\r\n", b"") for bare in (b"\r", b"\n")):
            problem = replies.BARE_NEWLINE
        self.assertEqual(decoder.soundness.problem, problem)
        if problem is None:
            self.assertEqual(content, expected)


class MessageTest(SynchronousTestCase):
    def test_one_chunk(self) -> None:
        events, sent = run(opened(), b"BDAT 11 LAST\r\n..a\r\n.\r\nQ\r\nMAIL FROM:<>\r\n")
        self.assertEqual(
            events,
            [Chunk(11, last=True), Content(b"..a\r\n.\r\nQ\r\n"), EndOfData(None), MailFrom(None, None, None)],
        )
        self.assertEqual(sent, replies.queued("0").encode() + replies.OK.encode())

    def test_many_chunks_and_commands_between_them(self) -> None:
        events, sent = run(opened(), b"BDAT 1\r\naNOOP\r\nBDAT 0\r\nBDAT 2\r\n\r\nbdat 0 last\r\nNOOP\r\n")
        self.assertEqual(
            events,
            [
                Chunk(1, last=False), Content(b"a"), TAKEN, NOOP, Chunk(0, last=False), TAKEN,
                Chunk(2, last=False), Content(b"\r\n"), TAKEN, Chunk(0, last=True), EndOfData(None), NOOP,
            ],
        )  # fmt: skip
        self.assertEqual(sent.count(b"\r\n"), 6)

    def test_a_missing_line_end_is_added(self) -> None:
        self.assertEqual(run(opened(), b"BDAT 1 LAST\r\na")[0][1:], [Content(b"a\r\n"), EndOfData(None)])
        events, _ = run(opened(), b"BDAT 1\r\naBDAT 0 LAST\r\n")
        self.assertEqual(events[3:], [Chunk(0, last=True), Content(b"\r\n"), EndOfData(None)])
        self.assertEqual(run(opened(), b"BDAT 0 LAST\r\n")[0], [Chunk(0, last=True), EndOfData(None)])

    def test_a_line_end_may_be_cut_in_two(self) -> None:
        events, _ = run(opened(), b"BDAT 2\r\na\rBDAT 1 LAST\r\n\n")
        self.assertEqual(events[1:], [Content(b"a"), TAKEN, Chunk(1, last=True), Content(b"\r\n"), EndOfData(None)])

    def test_the_longest_line_is_told(self) -> None:
        line = b"x" * 999
        events, _ = run(opened(2000), b"BDAT 900\r\n" + line[:900] + b"BDAT 99 LAST\r\n" + line[900:])
        self.assertEqual(events[-1], EndOfData(None, longest_line=999))

    def test_each_message_is_read_anew(self) -> None:
        talk = opened()
        transaction = OPENING.split(b"\r\n", 1)[1]
        for octets, problem in ((b"\0", replies.NUL_OCTET), (b"a", None), (b"\n", replies.BARE_NEWLINE), (b"b", None)):
            events, _ = run(talk, b"BDAT 1 LAST\r\n" + octets + transaction)
            self.assertIn(EndOfData(problem), events)
        run(talk, b"RSET\r\n" + transaction + b"DATA\r\na\r\n.\r\n")
        self.assertEqual(run(talk, transaction + b"BDAT 1 LAST\r\na")[0][-1], EndOfData(None))


class RefusedTest(SynchronousTestCase):
    CONTENT = b"a\r\n.\r\nQUIT\r\n"
    CHUNK = b"BDAT %d\r\n%s" % (len(CONTENT), CONTENT)

    def test_the_octets_of_a_refused_chunk_are_dropped_before_it_is_answered(self) -> None:
        for before, reply in (
            (b"", replies.HELO_FIRST),
            (b"EHLO c\r\n", replies.MAIL_FIRST),
            (b"EHLO c\r\nMAIL FROM:<>\r\n", replies.NO_RECIPIENTS),
        ):
            for octets in (self.CHUNK, self.CHUNK.replace(b"\r\n", b" LAST\r\n", 1)):
                talk = Conversation(hostname="mx.example", max_message_size=100, starttls=True)
                run(talk, before)
                self.assertEqual(run(talk, octets[:-1]), ([], b""))
                events, sent = run(talk, octets[-1:] + b"NOOP\r\n")
                self.assertEqual(events, [wrong(reply) if reply is replies.HELO_FIRST else refused(reply), NOOP])
                self.assertEqual(sent, reply.encode() + replies.OK.encode())

    def test_a_problem_ends_the_transaction_and_is_answered_once(self) -> None:
        for bad, problem in ((b"\n", replies.BARE_NEWLINE), (b"\0", replies.NUL_OCTET), (b"\rx", replies.BARE_NEWLINE)):
            talk = opened()
            events, _ = run(talk, b"BDAT %d\r\n%s%s%sBDAT 0 LAST\r\nNOOP\r\n" % (len(bad) + 1, bad, b"a", self.CHUNK))
            self.assertEqual(
                events,
                [
                    Chunk(len(bad) + 1, last=False), EndOfData(problem), refused(replies.MAIL_FIRST),
                    refused(replies.MAIL_FIRST), NOOP,
                ],
            )  # fmt: skip
            self.assertIsNone(talk.content_problem)
            self.assertEqual(talk.error_count, 0)

    def test_a_cr_at_the_end_of_all_is_bare(self) -> None:
        events, _ = run(opened(), b"BDAT 2\r\na\rBDAT 0 LAST\r\n")
        self.assertEqual(events[-1], EndOfData(replies.BARE_NEWLINE))

    def test_a_message_over_the_limit(self) -> None:
        talk = opened(max_message_size=10)
        self.assertEqual(run(talk, b"BDAT 6\r\n123456")[0][-1], TAKEN)
        self.assertEqual(run(talk, b"BDAT 6\r\n12345")[0], [Chunk(6, last=False)])
        self.assertEqual(
            run(talk, b"6BDAT 1 LAST\r\n1")[0], [EndOfData(replies.TOO_LARGE), refused(replies.MAIL_FIRST)]
        )

    def test_what_nobody_waits_for_closes_the_session(self) -> None:
        for octets, reply in (
            (b"BDAT 21 LAST\r\n", replies.FAR_TOO_LARGE),
            (b"BDAT 99999999999999999999\r\n", replies.FAR_TOO_LARGE),
            (b"BDAT 100000000000000000000\r\n", replies.CHUNK_UNREADABLE),
            (b"BDAT\r\n", replies.CHUNK_UNREADABLE),
        ):
            talk = opened(max_message_size=10)
            events, sent = run(talk, octets + b"MAIL FROM:<>\r\n")
            self.assertEqual((events, sent), ([wrong(reply)], reply.encode()), octets)
            self.assertIs(talk.next_event(), NEED_DATA)

    def test_data_does_not_mix_with_chunks(self) -> None:
        talk = opened()
        run(talk, b"BDAT 1\r\na")
        for octets, reply in (
            (b"DATA\r\n", replies.BAD_SEQUENCE),
            (b"MAIL FROM:<>\r\n", replies.NESTED_MAIL),
            (b"RCPT TO:<a@b>\r\n", replies.BAD_SEQUENCE),
            (b"STARTTLS\r\n", replies.BAD_SEQUENCE),
        ):
            self.assertEqual(run(talk, octets)[0], [wrong(reply)], octets)
        self.assertEqual(run(talk, b"BDAT 0 LAST\r\n")[0][-1], EndOfData(None))

    def test_a_chunk_after_the_last_one(self) -> None:
        talk = opened()
        events, _ = run(talk, b"BDAT 1 LAST\r\na" + self.CHUNK + b"NOOP\r\n")
        self.assertEqual(events[2:], [EndOfData(None), refused(replies.MAIL_FIRST), NOOP])

    def test_a_reset_between_chunks(self) -> None:
        for octets, event in ((b"RSET\r\n", Reset()), (b"EHLO d\r\n", Hello("d", extended=True))):
            talk = opened()
            events, _ = run(talk, b"BDAT 2\r\nab" + octets + self.CHUNK)
            self.assertEqual(events[3:], [event, refused(replies.MAIL_FIRST)])
            events, _ = run(talk, b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 1 LAST\r\nc")
            self.assertEqual(events[2:], [Chunk(1, last=True), Content(b"c\r\n"), EndOfData(None)])


class CutTest(SynchronousTestCase):
    OCTETS = (
        b"EHLO c\r\nBDAT 7 LAST\r\nRSET\r\n.MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 8\r\nx\r\n..\r\n\rBDAT 1\r\n\n"
        b"BDAT 0 LAST\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 3\r\na\r\nBDAT 3 LAST\r\n\0b\nNOOP\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nBDAT 3\r\n.\r\nBDAT 5\r\nQUIT\r\n\r\nQUIT\r\n"
    )

    @given(st.lists(st.integers(1, 30), max_size=20))
    def test_how_octets_are_cut_changes_nothing(self, lengths: list[int]) -> None:
        whole, sent_whole = run(self.talk(), self.OCTETS)
        events, sent = run_pieces(self.talk(), self.OCTETS, lengths)
        self.assertEqual(sent, sent_whole)
        self.assertEqual(events, joined(whole))

    def talk(self) -> Conversation:
        return Conversation(hostname="mx.example", max_message_size=1000, starttls=True)

    def test_many_chunks_in_one_read(self) -> None:
        events, _ = run(opened(100_000), b"BDAT 1\r\na" * 20_000 + b"BDAT 0 LAST\r\n")
        self.assertEqual(events[-1], EndOfData(None, longest_line=20_000))

    def test_the_transaction_of_a_refused_chunk_is_that_of_its_recipients(self) -> None:
        events, _ = run(opened(), b"BDAT 1\r\naRCPT TO:<c@d.example>\r\n")
        self.assertNotIn(RcptTo(Address("c", "d.example")), events)
