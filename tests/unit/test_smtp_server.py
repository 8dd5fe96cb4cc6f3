"""mtad.smtp.server from the wire: events, replies, the order they come in, and what is done with bad lines."""

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.envelope import Parameters
from mtad.model.reply import Reply
from mtad.smtp.commands import (
    NEED_DATA,
    PAUSED,
    Answered,
    Content,
    Data,
    EndOfData,
    Event,
    Hello,
    MailFrom,
    Quit,
    RcptTo,
    Reset,
    StartTls,
    XClient,
)
from mtad.smtp.lines import LINE_OCTETS
from mtad.smtp.sasl import LINE_OCTETS as PROOF_OCTETS
from mtad.smtp.sasl import Authenticate, Challenge, Confirm, Login
from mtad.smtp.scram import Opening
from mtad.smtp.server import MAX_REFUSED_RECIPIENTS, Conversation
from tests.unit.conversations import joined, run, run_pieces, wrong

ALICE = Address("alice", "acme.example")


def conversation(max_message_size: int = 1000, starttls: bool = True) -> Conversation:
    return Conversation(hostname="mx.example", max_message_size=max_message_size, starttls=starttls)


def logging_in(*, required: bool = True, needs_tls: bool = False) -> Conversation:
    """Return a session that may log in, greeted."""
    login = Login(required=required, needs_tls=needs_tls)
    talk = Conversation(hostname="mx.example", max_message_size=1000, starttls=True, login=login)
    run(talk, b"EHLO c.example\r\n")
    return talk


class SessionTest(SynchronousTestCase):
    def test_a_whole_session_in_one_read(self) -> None:
        talk = conversation()
        self.assertEqual(talk.greeting(), b"220 mx.example ESMTP mtad\r\n")
        events, sent = run(
            talk,
            b"EHLO c.example\r\nMAIL FROM:<> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n"
            b"Subject: x\r\n\r\n..\r\n.\r\nmail from:<alice@acme.example>\r\nrset\r\nNOOP\r\nQUIT\r\nNOOP\r\n",
        )
        self.assertEqual(
            events,
            [
                Hello("c.example", extended=True),
                MailFrom(None, 20, "8BITMIME"),
                RcptTo(ALICE),
                Data(),
                Content(b"Subject: x\r\n\r\n.\r\n"),
                EndOfData(None),
                MailFrom(ALICE, None, None),
                Reset(),
                Answered(replies.OK, error=False),
                Quit(),
            ],
        )
        self.assertTrue(sent.endswith(b"250 2.0.0 OK\r\n221 2.0.0 Bye\r\n"))
        self.assertTrue(talk.esmtp)
        self.assertEqual((talk.error_count, talk.buffered_octets, talk.timeout_seconds), (0, 0, 300))

    def test_nothing_is_read_while_a_reply_is_owed(self) -> None:
        talk = conversation()
        talk.receive_data(b"HELO c.example\r\nNOOP\r\n")
        self.assertEqual(talk.next_event(), Hello("c.example", extended=False))
        self.assertIs(talk.next_event(), PAUSED)
        talk.receive_data(b"QUIT\r\n")
        self.assertIs(talk.next_event(), PAUSED)
        self.assertEqual(talk.buffered_octets, 12)
        self.assertEqual(talk.reply(talk.hello_reply()), b"250 mx.example\r\n")
        self.assertEqual(talk.next_event(), Answered(replies.OK, error=False))

    def test_content_owes_nothing_and_a_reply_without_an_event_is_a_mistake(self) -> None:
        talk = conversation()
        self.assertRaises(RuntimeError, talk.reply, replies.OK)
        self.assertRaises(RuntimeError, talk.hello_reply)
        run(talk, b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nabc")
        self.assertRaises(RuntimeError, talk.reply, replies.OK)
        self.assertEqual(talk.reply(replies.IDLE_TIMEOUT), replies.IDLE_TIMEOUT.encode())

    @given(st.lists(st.integers(1, 40), max_size=20))
    def test_how_octets_are_cut_changes_nothing(self, lengths: list[int]) -> None:
        octets = (
            b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBAD\nQUIT\r\nDATA\r\nx\r\n..\r\n\r\n.\r\n"
            b"MAIL FROM:<>\rQUIT\r\nRCPT TO:<" + b"a" * LINE_OCTETS + b">\r\nRSET\r\n"
        )
        events, sent = run_pieces(conversation(), octets, lengths)
        whole, sent_whole = run(conversation(), octets)
        self.assertEqual(sent, sent_whole)
        self.assertEqual(events, joined(whole))
        self.assertIn(Content(b"x\r\n.\r\n\r\n"), events)

    @given(st.lists(st.integers(1, 40), max_size=20), st.lists(st.integers(1, 40), max_size=20))
    def test_nor_at_the_boundaries_of_tls_and_logins(self, before: list[int], under_tls: list[int]) -> None:
        clear = b"EHLO c\r\nMAIL FROM:<>\r\nNOOP\r\nSTARTTLS\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<evil@c.example>\r\n"
        secret = (
            b"AUTH PLAIN AGEAYg==\r\nEHLO c\r\nAUTH LOGIN\r\n*\r\nAUTH LOGIN\r\nYW5uQGE=\r\nc2VjcmV0\r\n"
            b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<ann@c.example> SMTPUTF8\r\nRCPT TO:<\xc3\xbc@b.example>\r\n"
            b"BDAT 12\r\nAUTH PLAIN\r\nBDAT 1 LAST\r\nxMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"
            b"STARTTLS\r\n.\r\nQUIT\r\n"
        )
        seen = []
        for first, second in (([], []), (before, under_tls)):
            talk = Conversation(hostname="mx.example", max_message_size=1000, starttls=True, login=Login())
            began = run_pieces(talk, clear, first)
            self.assertEqual((began[0][-1], talk.buffered_octets), (StartTls(), 0))
            talk.tls_started()
            seen.append((began, run_pieces(talk, secret, second)))
        self.assertEqual(*seen)
        self.assertEqual(seen[0][1][0][-1], Quit())
        self.assertEqual(seen[0][1][0].count(EndOfData(None)), 2)

    def test_many_commands_in_one_read(self) -> None:
        events, _ = run(conversation(), b"NOOP\r\n" * 20_000)
        self.assertEqual(len(events), 20_000)


class HelloTest(SynchronousTestCase):
    def test_keywords(self) -> None:
        _, sent = run(conversation(), b"EHLO c\r\n")
        self.assertEqual(
            sent,
            b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
            b"250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250-HELP\r\n250 STARTTLS\r\n",
        )
        self.assertNotIn(b"STARTTLS", run(conversation(starttls=False), b"EHLO c\r\n")[1])

    def test_limits_are_told(self) -> None:
        talk = Conversation(hostname="mx.example", max_message_size=1000, starttls=False, max_recipients=100)
        self.assertIn(b"250 LIMITS RCPTMAX=100\r\n", run(talk, b"EHLO c\r\n")[1])

    def test_names_are_fit_to_be_shown(self) -> None:
        self.assertEqual(run(conversation(), b"EHLO \xff\x1b[2J\0\r\n")[0], [Hello("\\xff\\x1b[2J\\x00", True)])
        self.assertEqual(run(conversation(), b"HELO my_pc of mine \r\n")[0], [Hello("my_pc of mine", False)])

    def test_a_name_is_needed(self) -> None:
        for line in (b"EHLO\r\n", b"HELO \r\n", b"EHLO " + b"a" * 256 + b"\r\n"):
            self.assertEqual(run(conversation(), line)[0], [wrong(replies.BAD_ARGUMENTS)])

    def test_esmtp_is_what_was_agreed_to_last(self) -> None:
        talk = conversation()
        self.assertFalse(talk.esmtp)
        run(talk, b"EHLO c\r\n")
        self.assertTrue(talk.esmtp)
        run(talk, b"HELO c\r\n")
        self.assertFalse(talk.esmtp)


class CommandTest(SynchronousTestCase):
    def assert_answers(self, cases: dict[bytes, Event]) -> None:
        for line, expected in cases.items():
            talk = conversation()
            run(talk, b"EHLO c\r\n")
            self.assertEqual(run(talk, line + b"\r\n")[0], [expected], line)
            self.assertEqual(talk.error_count, int(isinstance(expected, Answered) and expected.error), line)

    def test_what_needs_nobodys_judgement(self) -> None:
        self.assert_answers(
            {
                b"NOOP": Answered(replies.OK, error=False),
                b"noop whatever": Answered(replies.OK, error=False),
                b"VRFY alice": Answered(replies.VRFY_CANNOT, error=False),
                b"VRFY": wrong(replies.BAD_ARGUMENTS),
                b"EXPN team": wrong(replies.NOT_IMPLEMENTED),
                b"HELP": Answered(replies.HELP, error=False),
                b"HELP MAIL": Answered(replies.HELP, error=False),
                b"XCLIENT ADDR=192.0.2.1": wrong(replies.NOT_IMPLEMENTED),
                b"AUTH PLAIN AGEAYg==": wrong(replies.NOT_IMPLEMENTED),
                b"WHATISTHIS": wrong(replies.UNKNOWN_COMMAND),
                b"\xff\0": wrong(replies.UNKNOWN_COMMAND),
                b"": wrong(replies.SYNTAX_ERROR),
                b" NOOP": wrong(replies.SYNTAX_ERROR),
                b"QUIT now": wrong(replies.BAD_ARGUMENTS),
                b"RSET x": wrong(replies.BAD_ARGUMENTS),
                b"STARTTLS x": wrong(replies.BAD_ARGUMENTS),
                b"RSET \t ": Reset(),
            }
        )

    def test_mail(self) -> None:
        self.assert_answers(
            {
                b"MAIL FROM:<alice@acme.example>": MailFrom(ALICE, None, None),
                b"MAIL FROM: <alice@acme.example>": MailFrom(ALICE, None, None),
                b"MAIL FROM:alice@acme.example size=7": MailFrom(ALICE, 7, None),
                b"MAIL FROM:<> SIZE=1000": MailFrom(None, 1000, None),
                b"MAIL FROM:<> SIZE=1001": Answered(replies.TOO_LARGE, error=False),
                b"MAIL": wrong(replies.BAD_ARGUMENTS),
                b"MAIL FROM": wrong(replies.BAD_ARGUMENTS),
                b"MAIL TO:<>": wrong(replies.BAD_ARGUMENTS),
                b"MAIL FROM:": wrong(replies.BAD_SENDER_SYNTAX),
                b"MAIL FROM:<alice>": wrong(replies.BAD_SENDER_SYNTAX),
                b"MAIL FROM:<> SIZE=x": wrong(replies.BAD_ARGUMENTS),
                b"MAIL FROM:<> X=y": wrong(replies.UNKNOWN_PARAMETER),
                b"MAIL FROM:<j\xc3\xbcrgen@acme.example>": wrong(replies.NON_ASCII_ADDRESS),
                b"MAIL FROM:<a@b\xc3\xbc.example>": wrong(replies.NON_ASCII_ADDRESS),
                b"MAIL FROM:<a@b\xff.example> SMTPUTF8": wrong(replies.BAD_SENDER_SYNTAX),
                b"MAIL FROM:<> RET=HDRS ENVID=x": MailFrom(None, None, None, parameters=Parameters(False, "HDRS", "x")),
                b"MAIL FROM:<> RET=SOME": wrong(replies.BAD_ARGUMENTS),
            }
        )

    def test_rcpt(self) -> None:
        for line, expected in {
            b"RCPT TO:<alice@acme.example>": RcptTo(ALICE),
            b"RCPT TO:<@a.example:alice@acme.example>": RcptTo(ALICE),
            b"RCPT TO:<POSTMASTER>": RcptTo(Address("postmaster", "mx.example")),
            b"RCPT TO:<>": wrong(replies.BAD_RECIPIENT_SYNTAX),
            b"RCPT TO:": wrong(replies.BAD_RECIPIENT_SYNTAX),
            b"RCPT LALA: <>": wrong(replies.BAD_ARGUMENTS),
            b"RCPT TO:<alice@acme.example> NOTIFY=NEVER": RcptTo(ALICE, notify="NEVER"),
            b"RCPT TO:<alice@acme.example> ORCPT=rfc822;a": RcptTo(ALICE, orcpt="rfc822;a"),
            b"RCPT TO:<alice@acme.example> NOTIFY=": wrong(replies.BAD_ARGUMENTS),
            b"RCPT TO:<alice@acme.example> X": wrong(replies.UNKNOWN_PARAMETER),
            b"RCPT TO:<alice@b\xc3\xbc.example>": wrong(replies.NON_ASCII_ADDRESS),
            b"RCPT TO:<alice@b\xff.example>": wrong(replies.BAD_RECIPIENT_SYNTAX),
        }.items():
            talk = conversation()
            run(talk, b"EHLO c\r\nMAIL FROM:<>\r\n")
            self.assertEqual(run(talk, line + b"\r\n")[0], [expected], line)

    def test_what_was_pipelined_behind_a_refused_mail_is_no_error(self) -> None:
        talk = conversation()
        run(talk, b"EHLO c\r\nMAIL FROM:<> SIZE=9999\r\n" + b"RCPT TO:<a@b>\r\n" * 100 + b"DATA\r\n")
        self.assertEqual(talk.error_count, 0)
        run(talk, b"EHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n")
        self.assertEqual(talk.error_count, 1)

    def test_a_message_over_the_limit_is_refused_at_its_end(self) -> None:
        talk = conversation(max_message_size=10)
        run(talk, b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        events, _ = run(talk, b"123456789\r\n.\r\nNOOP\r\n")
        self.assertEqual(events, [EndOfData(replies.TOO_LARGE), Answered(replies.OK, error=False)])

    def test_each_message_is_read_anew(self) -> None:
        talk = conversation()
        run(talk, b"EHLO c\r\n")
        transaction = b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"
        for content, problem in ((b"a\nb\r\n", replies.BARE_NEWLINE), (b"a\r\n", None), (b"\0\r\n", replies.NUL_OCTET)):
            events, _ = run(talk, transaction + content + b".\r\n")
            self.assertEqual(events[-1], EndOfData(problem))


class InternationalTest(SynchronousTestCase):
    """RFC 6531 §3.4: it is the transaction that has SMTPUTF8, not the session."""

    RCPT = "RCPT TO:<jürgen@bücher.example> ORCPT=utf-8;jürgen@bücher.example\r\n".encode()
    JUERGEN = Address("jürgen", "xn--bcher-kva.example")

    def test_a_transaction(self) -> None:
        talk = conversation()
        run(talk, b"EHLO c\r\n")
        events, sent = run(talk, "MAIL FROM:<a@bücher.example> SMTPUTF8\r\n".encode() + self.RCPT + b"RSET\r\n")
        sender = Address("a", "xn--bcher-kva.example")
        mail = MailFrom(sender, None, None, parameters=Parameters(smtputf8=True))
        self.assertEqual(events, [mail, RcptTo(self.JUERGEN, orcpt="utf-8;jürgen@bücher.example"), Reset()])
        self.assertEqual(sent.count(b"250 "), 3)
        events, _ = run(talk, b"MAIL FROM:<>\r\n" + self.RCPT + b"RSET\r\n")
        self.assertEqual(events[1], wrong(replies.NON_ASCII_ADDRESS))
        self.assertEqual(run(talk, b"MAIL FROM:<> SMTPUTF8\r\n" + self.RCPT)[0][1].__class__, RcptTo)

    def test_a_mail_that_was_refused_changes_nothing(self) -> None:
        talk = conversation()
        run(talk, b"EHLO c\r\n")
        talk.receive_data(b"MAIL FROM:<> SMTPUTF8\r\n")
        talk.next_event()
        talk.reply(replies.TEMPORARY_TROUBLE)
        self.assertEqual(run(talk, b"MAIL FROM:<>\r\n" + self.RCPT)[0][1], wrong(replies.NON_ASCII_ADDRESS))

    def test_asking_for_an_address(self) -> None:
        events, _ = run(conversation(), "VRFY jürgen SMTPUTF8\r\nEXPN jürgen SMTPUTF8\r\n".encode())
        self.assertEqual(events, [Answered(replies.VRFY_CANNOT, error=False), wrong(replies.NOT_IMPLEMENTED)])


class ProxyTest(SynchronousTestCase):
    def spoken_for(self, data: bytes) -> Conversation:
        login = Login(required=True, needs_tls=False)
        talk = Conversation(hostname="mx.example", max_message_size=1000, starttls=True, login=login, xclient=True)
        run(talk, data)
        return talk

    def test_it_is_offered(self) -> None:
        talk = self.spoken_for(b"")
        self.assertIn(b"250 XCLIENT NAME ADDR PORT HELO LOGIN\r\n", run(talk, b"EHLO proxy\r\n")[1])

    def test_all_begins_anew(self) -> None:
        talk = self.spoken_for(b"EHLO proxy\r\n" + PLAIN + b"WHAT\r\n")
        self.assertTrue(talk.authenticated)
        events, sent = run(talk, b"XCLIENT ADDR=192.0.2.1 LOGIN=[UNAVAILABLE]\r\nMAIL FROM:<>\r\nEHLO c\r\n")
        self.assertEqual(events[0], XClient({"ADDR": "192.0.2.1", "LOGIN": ""}))
        self.assertEqual(events[1:], [wrong(replies.HELO_FIRST), Hello("c", extended=True)])
        self.assertTrue(sent.startswith(b"220 "))
        self.assertEqual((talk.authenticated, talk.error_count), (False, 1))

    def test_a_login_it_names(self) -> None:
        talk = self.spoken_for(b"XCLIENT LOGIN=ann\r\nEHLO c\r\n")
        self.assertTrue(talk.authenticated)
        self.assertEqual(run(talk, b"MAIL FROM:<>\r\n")[0], [MailFrom(None, None, None)])
        self.assertEqual(run(talk, b"XCLIENT LOGIN=ann\r\n")[0], [wrong(replies.BAD_SEQUENCE)])

    def test_a_refusal_changes_nothing(self) -> None:
        talk = self.spoken_for(b"EHLO proxy\r\n")
        talk.receive_data(b"XCLIENT LOGIN=ann\r\n")
        talk.next_event()
        talk.reply(replies.TEMPORARY_TROUBLE)
        self.assertEqual((talk.esmtp, talk.authenticated), (True, False))
        self.assertEqual(run(talk, b"XCLIENT WHAT=ann\r\n")[0], [wrong(replies.BAD_ARGUMENTS)])


class LineTest(SynchronousTestCase):
    def test_a_line_ended_by_a_bare_lf_is_not_executed(self) -> None:
        talk = conversation()
        self.assertEqual(run(talk, b"EHLO c\n"), ([wrong(replies.SYNTAX_ERROR)], replies.SYNTAX_ERROR.encode()))
        self.assertFalse(talk.esmtp)

    def test_nor_is_what_follows_it_up_to_the_next_crlf(self) -> None:
        talk = conversation()
        events, _ = run(talk, b"NOOP x\nEHLO c\nEHLO d\r\nEHLO e\r\n")
        self.assertEqual(events, [wrong(replies.SYNTAX_ERROR)] * 3 + [Hello("e", True)])

    def test_a_bare_cr_is_an_error(self) -> None:
        for line in (b"NOOP\rEHLO c\r\n", b"NOOP\r\r\n", b"\rNOOP\r\n"):
            events, _ = run(conversation(), line + b"NOOP\r\n")
            self.assertEqual(events, [wrong(replies.SYNTAX_ERROR), Answered(replies.OK, error=False)], line)

    def test_the_longest_line(self) -> None:
        talk = conversation()
        longest = b"NOOP " + b"a" * (LINE_OCTETS - 7) + b"\r\n"
        self.assertEqual(run(talk, longest)[0], [Answered(replies.OK, error=False)])
        self.assertEqual(run(talk, b"NOOP a" + longest[5:] + b"NOOP\r\n")[0][0], wrong(replies.LINE_TOO_LONG))

    def test_the_rest_of_an_overlong_line_is_not_kept(self) -> None:
        talk = conversation()
        self.assertEqual(run(talk, b"a" * (LINE_OCTETS - 1))[0], [])
        self.assertEqual(run(talk, b"a")[0], [wrong(replies.LINE_TOO_LONG)])
        for piece in (b"QUIT " * 10_000, b"x\r", b"y\r"):
            self.assertEqual(run(talk, piece)[0], [])
            self.assertLessEqual(talk.buffered_octets, 1)
        self.assertEqual(run(talk, b"\nNOOP\r\n")[0], [Answered(replies.OK, error=False)])
        self.assertEqual(talk.error_count, 1)

    def test_an_overlong_line_that_a_bare_lf_ends_taints_the_next(self) -> None:
        talk = conversation()
        run(talk, b"a" * 5000)
        events, _ = run(talk, b"\nQUIT\r\nNOOP\r\n")
        self.assertEqual(events, [wrong(replies.SYNTAX_ERROR), Answered(replies.OK, error=False)])


class TlsTest(SynchronousTestCase):
    def secured(self) -> Conversation:
        talk = conversation()
        run(talk, b"EHLO plain.example\r\nSTARTTLS\r\n")
        talk.tls_started()
        return talk

    def test_all_is_forgotten(self) -> None:
        talk = self.secured()
        self.assertTrue(talk.tls)
        self.assertFalse(talk.esmtp)
        events, sent = run(talk, b"MAIL FROM:<>\r\nEHLO c\r\n")
        self.assertEqual(events, [wrong(replies.HELO_FIRST), Hello("c", True)])
        self.assertNotIn(b"STARTTLS", sent)
        self.assertEqual(run(talk, b"STARTTLS\r\n")[0], [wrong(replies.BAD_SEQUENCE)])

    def test_what_came_before_tls_is_never_read(self) -> None:
        talk = conversation()
        talk.receive_data(b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@c.example>\r\n")
        talk.next_event()
        talk.reply(talk.hello_reply())
        self.assertEqual(talk.next_event(), StartTls())
        talk.receive_data(b"NOOP\r\n")
        talk.reply(replies.STARTTLS_READY)
        self.assertEqual((talk.next_event(), talk.buffered_octets), (NEED_DATA, 0))
        talk.receive_data(b"RSET\r\nRCP")
        talk.tls_started()
        self.assertEqual(run(talk, b"QUIT\r\n")[0], [Quit()])

    def test_a_refused_starttls_changes_nothing(self) -> None:
        talk = conversation()
        run(talk, b"EHLO c\r\n")
        talk.receive_data(b"STARTTLS\r\nNOOP\r\n")
        talk.next_event()
        talk.reply(replies.TEMPORARY_TROUBLE)
        self.assertEqual(talk.next_event(), Answered(replies.OK, error=False))
        self.assertFalse(talk.tls)

    def test_not_offered(self) -> None:
        self.assertEqual(run(conversation(starttls=False), b"STARTTLS\r\n")[0], [wrong(replies.NOT_IMPLEMENTED)])

    def test_tls_begins_only_where_it_was_agreed(self) -> None:
        talk = conversation()
        run(talk, b"EHLO c\r\n")
        self.assertRaises(RuntimeError, talk.tls_started)
        talk.receive_data(b"STARTTLS\r\n")
        talk.next_event()
        self.assertRaises(RuntimeError, talk.tls_started)

    def test_a_port_under_tls_from_the_start(self) -> None:
        talk = conversation()
        talk.tls_started()
        self.assertTrue(talk.tls)
        self.assertNotIn(b"STARTTLS", run(talk, b"EHLO c\r\n")[1])
        self.assertEqual(run(talk, b"STARTTLS\r\n")[0], [wrong(replies.BAD_SEQUENCE)])


class HarvestTest(SynchronousTestCase):
    """Whoever asks for addresses, in one transaction or in many, is told of so many and no more."""

    def refuse(self, talk: Conversation, count: int) -> None:
        for _ in range(count):
            talk.receive_data(b"RCPT TO:<nobody@acme.example>\r\n")
            self.assertIsInstance(talk.next_event(), RcptTo)
            talk.recipient_refused()
            talk.reply(replies.NO_SUCH_USER)

    def begun(self) -> Conversation:
        talk = Conversation(hostname="mx.example", max_message_size=1000, starttls=True, xclient=True)
        run(talk, b"EHLO c.example\r\nMAIL FROM:<>\r\n")
        return talk

    def test_a_hundred_and_no_more(self) -> None:
        talk = self.begun()
        self.refuse(talk, MAX_REFUSED_RECIPIENTS - 1)
        self.assertEqual(run(talk, b"RCPT TO:<alice@acme.example>\r\n")[0], [RcptTo(ALICE)])
        self.refuse(talk, 1)
        events, sent = run(talk, b"RCPT TO:<alice@acme.example>\r\nRCPT TO:<alice@acme.example>\r\n")
        self.assertEqual(events, [wrong(replies.TOO_MANY_REFUSED)])
        self.assertEqual(sent, replies.TOO_MANY_REFUSED.encode())
        self.assertEqual(talk.buffered_octets, 0)

    def test_who_was_taken_may_still_get_the_message(self) -> None:
        talk = self.begun()
        run(talk, b"RCPT TO:<alice@acme.example>\r\n")
        self.refuse(talk, MAX_REFUSED_RECIPIENTS)
        events, _ = run(talk, b"DATA\r\nx\r\n.\r\n")
        self.assertEqual(events[-1], EndOfData(None))

    def test_another_transaction_makes_nothing_forgotten(self) -> None:
        talk = self.begun()
        for _ in range(MAX_REFUSED_RECIPIENTS // 10):
            self.refuse(talk, 10)
            run(talk, b"RSET\r\nEHLO c.example\r\nMAIL FROM:<>\r\n")
        self.assertEqual(run(talk, b"RCPT TO:<alice@acme.example>\r\n")[0], [wrong(replies.TOO_MANY_REFUSED)])

    def test_nor_does_tls(self) -> None:
        talk = self.begun()
        self.refuse(talk, MAX_REFUSED_RECIPIENTS)
        run(talk, b"RSET\r\nSTARTTLS\r\n")
        talk.tls_started()
        events, _ = run(talk, b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@acme.example>\r\n")
        self.assertEqual(events[-1], wrong(replies.TOO_MANY_REFUSED))

    def test_whom_a_proxy_speaks_for_next_begins_anew(self) -> None:
        talk = self.begun()
        self.refuse(talk, MAX_REFUSED_RECIPIENTS)
        run(talk, b"RSET\r\nXCLIENT ADDR=192.0.2.1\r\nEHLO c.example\r\nMAIL FROM:<>\r\n")
        self.assertEqual(run(talk, b"RCPT TO:<alice@acme.example>\r\n")[0], [RcptTo(ALICE)])


class HostileTest(SynchronousTestCase):
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"EHLO c",
                    b"MAIL FROM:<>",
                    b"RCPT TO:<a@b>",
                    b"DATA",
                    b"RSET",
                    b".",
                    b"\r\n",
                    b"\n",
                    b"\r",
                    b"\0",
                    b"\xff",
                ]
            )
            | st.binary(max_size=20),
            max_size=40,
        )
    )
    def test_any_octets_leave_the_conversation_whole(self, parts: list[bytes]) -> None:
        events, sent = run(conversation(), b"".join(parts))
        for line in sent.splitlines():
            self.assertRegex(line, rb"^[2-5][0-9][0-9][ -][ -~]*$")
        self.assertEqual(
            sum(event == Data() for event in events), sum(line[:3] == b"354" for line in sent.splitlines())
        )


PLAIN = b"AUTH PLAIN AGFubkBhAHNlY3JldA==\r\n"
ANN = Authenticate("PLAIN", "ann@a", b"secret")


class LoginTest(SynchronousTestCase):
    def answered(self, talk: Conversation, data: bytes, *answers: Reply) -> bytes:
        """Send octets, answer each event that is no Answered with the next of `answers`, return what was sent."""
        talk.receive_data(data)
        sent = b""
        ours = iter(answers)
        while (event := talk.next_event()) is not NEED_DATA:
            sent += talk.reply(event.reply if isinstance(event, Answered) else next(ours))
        return sent

    def test_it_is_offered_where_it_may_be_used(self) -> None:
        for talk, offered in (
            (logging_in(), True),
            (logging_in(needs_tls=True), False),
            (conversation(), False),
        ):
            _, sent = run(talk, b"EHLO c.example\r\n")
            self.assertEqual(b"250 AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n" in sent, offered, sent)

    def test_both_mechanisms_with_and_without_an_initial_response(self) -> None:
        for data, questions in (
            (PLAIN, b""),
            (b"auth plain\r\nAGFubkBhAHNlY3JldA==\r\n", b"334 \r\n"),
            (b"AUTH LOGIN\r\nYW5uQGE=\r\nc2VjcmV0\r\n", b"334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n"),
            (b"AUTH login YW5uQGE=\r\nc2VjcmV0\r\n", b"334 UGFzc3dvcmQ6\r\n"),
        ):
            talk = logging_in()
            talk.receive_data(data)
            sent = b""
            while isinstance(event := talk.next_event(), Answered):
                sent += talk.reply(event.reply)
            assert isinstance(event, Authenticate)
            self.assertEqual((event.authcid, event.password, event.authzid), ("ann@a", b"secret", ""))
            self.assertEqual(sent, questions)
            self.assertIs(talk.next_event(), PAUSED)
            self.assertFalse(talk.authenticated)
            talk.reply(replies.LOGGED_IN)
            self.assertTrue(talk.authenticated)

    def test_an_exchange_the_caller_goes_on_with(self) -> None:
        first = b64encode(b"n,,n=ann@a,r=x")
        for data in (b"AUTH SCRAM-SHA-256 %s\r\n" % first, b"AUTH SCRAM-SHA-256\r\n%s\r\n" % first):
            talk = logging_in()
            talk.receive_data(data)
            while isinstance(event := talk.next_event(), Answered):
                self.assertEqual(talk.reply(event.reply), b"334 \r\n")
            self.assertIsInstance(event, Opening)
            asked = Challenge(replies.challenge("cQ=="), lambda line: Confirm() if not line else replies.BAD_LOGIN)
            self.assertEqual(talk.reply(talk.ask(asked)), b"334 cQ==\r\n")
            self.assertFalse(talk.authenticated)
            self.assertIs(talk.next_event(), NEED_DATA)
            talk.receive_data(b"\r\nNOOP\r\n")
            self.assertEqual(talk.next_event(), Confirm())
            self.assertIs(talk.next_event(), PAUSED)
            talk.reply(replies.LOGGED_IN)
            self.assertTrue(talk.authenticated)
            self.assertEqual(talk.next_event(), Answered(replies.OK, error=False))
            self.assertRaises(RuntimeError, talk.ask, asked)

    def test_the_channels_binding_is_for_those_who_have_one(self) -> None:
        for binding in (True, False):
            talk = logging_in()
            talk.receive_data(b"EHLO c.example\r\nAUTH SCRAM-SHA-256-PLUS\r\n")
            self.assertIsInstance(talk.next_event(), Hello)
            reply = talk.hello_reply(channel_binding=binding)
            self.assertEqual("SCRAM-SHA-256-PLUS" in reply.lines[-1], binding)
            talk.reply(reply)
            event = talk.next_event()
            assert isinstance(event, Answered)
            self.assertEqual(event.reply.code, 334 if binding else 504)

    def test_mail_waits_for_the_login(self) -> None:
        talk = logging_in()
        events, _ = run(talk, b"MAIL FROM:<>\r\n")
        self.assertEqual(events, [wrong(replies.LOGIN_FIRST)])
        self.answered(talk, PLAIN, replies.LOGGED_IN)
        events, _ = run(talk, b"EHLO c.example\r\nRSET\r\nMAIL FROM:<> AUTH=<>\r\n")
        self.assertEqual(events[2], MailFrom(None, None, None, auth=True))

    def test_who_need_not_log_in_may(self) -> None:
        events, _ = run(logging_in(required=False), b"MAIL FROM:<>\r\n")
        self.assertEqual(events, [MailFrom(None, None, None)])
        self.answered(logging_in(required=False), PLAIN, replies.LOGGED_IN)

    def test_tls_comes_first_and_makes_all_forgotten(self) -> None:
        talk = logging_in(needs_tls=True)
        events, _ = run(talk, PLAIN + b"AUTH LOGIN\r\nMAIL FROM:<>\r\nSTARTTLS\r\n")
        self.assertEqual(events, [wrong(replies.STARTTLS_FIRST)] * 3 + [StartTls()])
        talk.tls_started()
        _, sent = run(talk, b"EHLO c.example\r\n")
        self.assertIn(b"250 AUTH SCRAM-SHA-256 PLAIN LOGIN", sent)
        talk = logging_in()
        self.answered(talk, PLAIN, replies.LOGGED_IN)
        self.answered(talk, b"STARTTLS\r\n", replies.STARTTLS_READY)
        talk.tls_started()
        self.assertFalse(talk.authenticated)

    def test_a_login_is_had_once_and_not_within_a_transaction(self) -> None:
        talk = logging_in()
        self.answered(talk, PLAIN, replies.LOGGED_IN)
        events, sent = run(talk, b"EHLO c.example\r\n" + PLAIN)
        self.assertEqual(events[1:], [wrong(replies.ALREADY_LOGGED_IN)])
        self.assertNotIn(b"AUTH", sent)
        talk = logging_in(required=False)
        events, _ = run(talk, b"MAIL FROM:<>\r\n" + PLAIN)
        self.assertEqual(events[1:], [wrong(replies.BAD_SEQUENCE)])

    def test_three_failures_and_no_more(self) -> None:
        talk = logging_in()
        sent = self.answered(talk, PLAIN * 2, replies.LOGIN_REFUSED, replies.LOGIN_TROUBLE)
        sent += self.answered(talk, PLAIN * 2, replies.LOGIN_REFUSED, replies.LOGIN_REFUSED)
        self.assertEqual([line[:3] for line in sent.splitlines()], [b"535", b"454", b"535", b"535"])
        self.assertTrue(self.answered(talk, PLAIN + b"NOOP\r\n").startswith(b"421 4.7.0 "))
        self.assertEqual(talk.buffered_octets, 0)

    def test_what_ends_an_exchange_without_a_claim(self) -> None:
        for line, reply in (
            (b"*", replies.LOGIN_CANCELLED),
            (b"AGEAYg", replies.BAD_BASE64),
            (b"AGEAYg==x", replies.BAD_BASE64),
            (b" AGEAYg==", replies.BAD_BASE64),
            (b"", replies.BAD_LOGIN),
            (b"x" * (PROOF_OCTETS - 1), replies.LOGIN_TOO_LONG),
            (b"AGEA\nYg==", replies.SYNTAX_ERROR),
        ):
            talk = logging_in()
            events, _ = run(talk, b"AUTH PLAIN\r\n" + line + b"\r\nNOOP\r\n")
            self.assertEqual(events[1:2], [wrong(reply)], line[:20])
            self.assertIn(Answered(replies.OK, error=False), run(talk, b"NOOP\r\n")[0])

    def test_a_long_line_is_for_the_exchange_only(self) -> None:
        filler = b"A" * (PROOF_OCTETS - 14)
        events, _ = run(logging_in(), b"AUTH PLAIN " + filler + b"\r\nNOOP " + filler + b"\r\n")
        self.assertEqual(events, [wrong(replies.BAD_BASE64), wrong(replies.LINE_TOO_LONG)])

    def test_a_line_of_auth_that_is_too_long_is_told_so(self) -> None:
        filler = b"A" * PROOF_OCTETS
        for line, reply in (
            (b"AUTH PLAIN " + filler, replies.LOGIN_TOO_LONG),
            (b"auth " + filler, replies.LOGIN_TOO_LONG),
            (b"AUTHOR " + filler, replies.LINE_TOO_LONG),
            (filler, replies.LINE_TOO_LONG),
        ):
            # In one read, and told before its end has come.
            for pieces in ([line + b"\r\n"], [line, b"A\r\n"]):
                talk = logging_in()
                events = [event for piece in pieces for event in run(talk, piece)[0]]
                self.assertEqual(events, [wrong(reply)], line[:20])
                self.assertEqual(run(talk, b"NOOP\r\n")[0], [Answered(replies.OK, error=False)])

    def test_the_parameter_of_mail_is_for_those_who_may_log_in(self) -> None:
        for octets in (b"MAIL FROM:<> AUTH=<>\r\n", b"MAIL FROM:<> AUTH=e+3Dmc2@example.com\r\n"):
            self.assertEqual(run(logging_in(required=False), octets)[0], [MailFrom(None, None, None, auth=True)])
            talk = conversation()
            self.assertEqual(run(talk, b"EHLO c.example\r\n" + octets)[0][1:], [wrong(replies.UNKNOWN_PARAMETER)])
        for octets in (b"AUTH=", b"AUTH", b"AUTH=+3d", b"AUTH=<> AUTH=<>"):
            events, _ = run(logging_in(required=False), b"MAIL FROM:<> " + octets + b"\r\n")
            self.assertEqual(events, [wrong(replies.BAD_ARGUMENTS)], octets)
