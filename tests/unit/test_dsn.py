"""mtad.message.dsn, read back by Python's parser."""

import re
from base64 import b64decode
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message.dsn import build
from mtad.message.notice import TOLD_RECIPIENTS
from mtad.message.returned import MAX_HEADER_OCTETS
from mtad.model.address import Address
from mtad.model.report import Action, Fate, Report

BOB = Address("bob", "far.example")
ARRIVED, WRITTEN = 1_800_000_000.0, 1_800_432_000.0
REFUSED = Fate(
    BOB, "5.1.1", "it was refused for good", "mx.far.example: 550 5.1.1 No such user", WRITTEN, "mx.far.example"
)
HEADERS = b"From: ann@acme.example\r\nSubject: hello\r\nMessage-ID: <1@acme.example>\r\n"
REPORT = Report("0REP", "mx.test", Address("ann", "acme.example"), "0ORIG", ARRIVED, WRITTEN, (REFUSED,), HEADERS)


def parsed(report: Report) -> EmailMessage:
    return message_from_bytes(build(report), policy=policy.default)


def parts(report: Report) -> list[EmailMessage]:
    return list(parsed(report).iter_parts())


def groups(report: Report) -> list[EmailMessage]:
    """Return the status part's fields: those of the message, then of each recipient."""
    return parts(report)[1].get_payload()


def notice(report: Report) -> str:
    return re.sub(r"\s+", " ", parts(report)[0].get_content())


class FormTest(SynchronousTestCase):
    def test_the_head(self) -> None:
        message = parsed(REPORT)
        self.assertEqual(message["From"], "Mail Delivery System <postmaster@mx.test>")
        self.assertEqual(message["To"], "ann@acme.example")
        self.assertEqual(message["Message-ID"], "<0REP@mx.test>")
        self.assertEqual(message["References"], "<1@acme.example>")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Date"].datetime.timestamp(), WRITTEN)
        self.assertEqual(message["MIME-Version"], "1.0")
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message.defects, [])

    def test_the_parts(self) -> None:
        types = [part.get_content_type() for part in parts(REPORT)]
        self.assertEqual(types, ["text/plain", "message/delivery-status", "text/rfc822-headers"])

    def test_the_status_for_machines(self) -> None:
        message, recipient = groups(REPORT)
        self.assertEqual(dict(message.items()), {
            "Reporting-MTA": "dns; mx.test",
            "X-mtad-Queue-ID": "0ORIG",
            "Arrival-Date": "Fri, 15 Jan 2027 08:00:00 +0000",
        })  # fmt: skip
        self.assertEqual(dict(recipient.items()), {
            "Final-Recipient": "rfc822; bob@far.example",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.far.example",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
            "Last-Attempt-Date": "Wed, 20 Jan 2027 08:00:00 +0000",
        })  # fmt: skip

    def test_what_is_no_reply_is_no_smtp_diagnostic(self) -> None:
        lonely = replace(REFUSED, diagnostic="cannot connect: refused", remote_host=None)
        (_, recipient) = groups(replace(REPORT, fates=(lonely,)))
        self.assertEqual(recipient["Diagnostic-Code"], "X-mtad; cannot connect: refused")
        self.assertNotIn("Remote-MTA", recipient)

    def test_what_was_never_tried_has_no_diagnostic(self) -> None:
        report = replace(REPORT, fates=(replace(REFUSED, diagnostic="", remote_host=None),))
        self.assertNotIn("Diagnostic-Code", groups(report)[1])
        self.assertNotIn("last attempt", notice(report))

    def test_a_status_that_is_none_is_replaced(self) -> None:
        (_, recipient) = groups(replace(REPORT, fates=(replace(REFUSED, status="5.1.1\r\nX: y"),)))
        self.assertEqual(recipient["Status"], "5.0.0")

    def test_every_recipient_has_its_group_and_the_first_have_their_words(self) -> None:
        many = tuple(replace(REFUSED, recipient=Address(f"user{n}", "far.example")) for n in range(1000))
        report = replace(REPORT, fates=many)
        self.assertEqual(
            [group["Final-Recipient"] for group in groups(report)[1:]],
            [f"rfc822; user{n}@far.example" for n in range(1000)],
        )
        self.assertIn(f"<user{TOLD_RECIPIENTS - 1}@far.example>", notice(report))
        self.assertNotIn(f"<user{TOLD_RECIPIENTS}@far.example>", notice(report))
        self.assertIn(f"So it is with {1000 - TOLD_RECIPIENTS} more", notice(report))

    def test_an_address_that_is_not_ascii(self) -> None:
        odd = replace(REFUSED, recipient=Address("jörg", "far.example"))
        (_, recipient) = groups(replace(REPORT, fates=(odd,)))
        self.assertEqual(recipient["Final-Recipient"], r"utf-8; j\x{F6}rg@far.example")


class WishesTest(SynchronousTestCase):
    """What a sender said of a message comes back in its report (RFC 3461 §6.3)."""

    def test_the_senders_name_for_the_message(self) -> None:
        (message, *_) = groups(replace(REPORT, envid="QQ+2B31+3D4"))
        self.assertEqual(message["Original-Envelope-Id"], "QQ+31=4")
        self.assertNotIn("Original-Envelope-Id", groups(REPORT)[0])

    def test_the_senders_name_for_the_recipient(self) -> None:
        names = {
            "rfc822;Bob@Far.example": "rfc822; Bob@Far.example",
            "RFC822;b+2Bx@far.example": "RFC822; b+x@far.example",
            "x400;/C+3DGB/S+3Dx/": "x400; /C=GB/S=x/",
            r"utf-8;j\x{F6}rg@far.example": r"utf-8; j\x{F6}rg@far.example",
            "utf-8;jörg@far.example": r"utf-8; j\x{F6}rg@far.example",
        }
        for orcpt, name in names.items():
            (_, recipient) = groups(replace(REPORT, fates=(replace(REFUSED, orcpt=orcpt),)))
            self.assertEqual(recipient["Original-Recipient"], name)
            self.assertEqual(recipient["Final-Recipient"], "rfc822; bob@far.example")

    def test_what_is_no_name_is_left_out_or_escaped(self) -> None:
        for orcpt in ("", "rfc822", "rfc822;", ";bob", "a b;bob", "x\r\ny;bob"):
            (_, recipient) = groups(replace(REPORT, fates=(replace(REFUSED, orcpt=orcpt),)))
            self.assertNotIn("Original-Recipient", recipient)
        (_, recipient) = groups(replace(REPORT, fates=(replace(REFUSED, orcpt="rfc822;a+0D+0AAction: x"),)))
        self.assertEqual(
            (recipient["Original-Recipient"], recipient["Action"]), (r"rfc822; a\x0d\x0aAction: x", "failed")
        )
        (message, *_) = groups(replace(REPORT, envid="a+0D+0Ab+00+FF"))
        self.assertEqual(message["Original-Envelope-Id"], r"a\x0d\x0ab\x00\xff")


class ActionTest(SynchronousTestCase):
    def test_each_says_what_happened(self) -> None:
        fate = replace(REFUSED, status="2.0.0", diagnostic="", remote_host=None)
        said = {action: replace(REPORT, action=action, fates=(fate,)) for action in Action}
        for action, report in said.items():
            self.assertEqual(groups(report)[1]["Action"], action.value)
        subjects = {action: parsed(report)["Subject"] for action, report in said.items()}
        self.assertEqual(subjects[Action.FAILED], "Your message could not be delivered")
        self.assertEqual(subjects[Action.DELAYED], "Your message is late")
        self.assertEqual(subjects[Action.DELIVERED], "Your message was delivered")
        words = {action: notice(report) for action, report in said.items()}
        self.assertEqual(len(set(words.values())), len(Action))
        for action, text in words.items():
            self.assertEqual("What you can do" in text, action is Action.FAILED)
        self.assertIn("could not be delivered to one recipient yet, and is still being tried", words[Action.DELAYED])
        self.assertIn("no need to send it again", words[Action.DELAYED])
        self.assertIn("was delivered to one recipient", words[Action.DELIVERED])

    def test_a_delay_says_until_when_it_is_tried(self) -> None:
        late = replace(REFUSED, status="4.4.1", retry_until=WRITTEN)
        report = replace(REPORT, action=Action.DELAYED, fates=(late,))
        self.assertEqual(groups(report)[1]["Will-Retry-Until"], "Wed, 20 Jan 2027 08:00:00 +0000")
        self.assertIn("tried again until Wed, 20 Jan 2027 08:00:00 +0000", notice(report))
        self.assertNotIn("Will-Retry-Until", groups(REPORT)[1])

    def test_a_status_that_is_none_is_replaced_by_one_of_its_class(self) -> None:
        for action, status in ((Action.FAILED, "5.0.0"), (Action.DELAYED, "4.0.0"), (Action.RELAYED, "2.0.0")):
            (_, recipient) = groups(replace(REPORT, action=action, fates=(replace(REFUSED, status="x"),)))
            self.assertEqual(recipient["Status"], status)


class NoticeTest(SynchronousTestCase):
    def test_a_refusal_in_plain_words(self) -> None:
        words = notice(REPORT)
        self.assertIn("the mail server mx.test", words)
        self.assertIn("could not be delivered to one recipient", words)
        self.assertIn("<bob@far.example> What happened: it was refused for good.", words)
        self.assertIn("550 5.1.1 No such user", words)
        self.assertIn("Look for a mistake in the address", words)
        self.assertIn("0ORIG", words)

    def test_the_original_is_quoted_by_subject_and_date(self) -> None:
        block = b"Subject: the\r\n plan\r\nDate: Mon, 4 Jan 2027 10:00:00 +0100\r\n"
        words = notice(replace(REPORT, original_headers=block))
        self.assertIn(" Subject: the plan Date: Mon, 4 Jan 2027 10:00:00 +0100 ", words)
        self.assertNotIn("Date:", notice(REPORT))

    def test_a_hostile_subject_is_escaped_and_short(self) -> None:
        words = notice(replace(REPORT, original_headers=b"Subject: \x1b[2J\xc3\xbc\xff" + b"x" * 5000 + b"\r\n"))
        self.assertIn(r"Subject: \x1b[2J\xfc", words)
        self.assertNotIn("x" * 201, re.sub(" ", "", words))

    def test_what_ran_out_of_time(self) -> None:
        late = replace(
            REFUSED,
            status="4.4.7",
            reason="it was tried 12 times in 5 days, and is given up",
            diagnostic="cannot connect: refused",
        )
        words = notice(replace(REPORT, fates=(late,)))
        self.assertIn("What happened: it was tried 12 times in 5 days, and is given up.", words)
        self.assertIn("cannot connect: refused", words)
        self.assertIn("Send it again later", words)

    def test_each_kind_of_trouble_has_its_advice(self) -> None:
        statuses = ("5.0.0", "5.1.1", "5.2.1", "5.2.2", "5.2.3", "5.3.4", "5.4.4", "5.4.6", "5.6.0", "5.7.1")
        said = {status: notice(replace(REPORT, fates=(replace(REFUSED, status=status),))) for status in statuses}
        advice = {status: words.partition("What you can do: ")[2] for status, words in said.items()}
        self.assertEqual(len(set(advice.values())), len(statuses))
        self.assertTrue(all(advice.values()))


class OriginalTest(SynchronousTestCase):
    def returned(self, header_block: bytes) -> EmailMessage:
        return parts(replace(REPORT, original_headers=header_block))[2]

    def test_plain_headers_go_as_they_are(self) -> None:
        part = self.returned(HEADERS)
        self.assertEqual(part["Content-Transfer-Encoding"], "7bit")
        self.assertEqual(part.get_payload(decode=True), HEADERS)

    def test_eight_bits_and_long_lines_go_as_seven_and_short_ones(self) -> None:
        for header_block in (b"Subject: gr\xc3\xbc\xff\xdfe \r\n", b"X: " + b"y" * 5000 + b"\r\n", b"A: \0\r\n"):
            part = self.returned(header_block)
            self.assertEqual(part["Content-Transfer-Encoding"], "quoted-printable")
            self.assertEqual(part.get_payload(decode=True), header_block)

    def test_no_headers_no_part(self) -> None:
        self.assertEqual(len(parts(replace(REPORT, original_headers=b""))), 2)

    def test_long_headers_are_cut_between_lines(self) -> None:
        line = b"X-Long: " + b"y" * 60 + b"\r\n"
        got = self.returned(line * 2000).get_payload(decode=True)
        self.assertEqual(got, line * (MAX_HEADER_OCTETS // len(line)))

    def test_headers_of_a_message_that_needed_smtputf8(self) -> None:
        block = "Subject: grün\r\n".encode()
        part = parts(replace(REPORT, original_headers=block, smtputf8=True))[2]
        self.assertEqual(part.get_content_type(), "message/global-headers")
        self.assertIn(b"Subject: gr=C3=BCn", build(replace(REPORT, original_headers=block, smtputf8=True)))
        plain = parts(replace(REPORT, smtputf8=True))[2]
        self.assertEqual(plain.get_content_type(), "text/rfc822-headers")

    def whole(self, original: bytes, smtputf8: bool = False) -> tuple[str, str, bytes, bytes]:
        """Return type, encoding and octets of the part that returns a message, and the report."""
        block = original.partition(b"\r\n\r\n")[0] + b"\r\n"
        octets = build(replace(REPORT, original_headers=block, original=original, smtputf8=smtputf8))
        self.assertEqual(len(message_from_bytes(octets, policy=policy.default).get_payload()), 3)
        boundary = re.search(rb'boundary="([^"]+)"', octets)
        assert boundary
        head, _, body = octets.split(b"--" + boundary[1])[3].partition(b"\r\n\r\n")
        fields = message_from_bytes(head.lstrip(), policy=policy.default)
        return fields.get_content_type(), str(fields["Content-Transfer-Encoding"]), body[:-2], octets

    def test_a_whole_message_of_seven_bits(self) -> None:
        original = HEADERS + b"\r\nbody\r\n"
        content_type, encoding, body, octets = self.whole(original)
        self.assertEqual((content_type, encoding, body), ("message/rfc822", "7bit", original))
        self.assertTrue(octets.isascii())

    def test_a_whole_message_of_eight_bits_makes_the_report_one(self) -> None:
        original = HEADERS + "\r\ngrün\r\n".encode("latin-1")
        content_type, encoding, body, octets = self.whole(original)
        self.assertEqual((content_type, encoding, body), ("message/rfc822", "8bit", original))
        self.assertEqual(message_from_bytes(octets, policy=policy.default)["Content-Transfer-Encoding"], "8bit")

    def test_a_whole_message_that_needed_smtputf8_or_has_long_lines_is_encoded(self) -> None:
        global_ = "Subject: grün\r\n\r\ngrün\r\n".encode()
        for original, smtputf8 in ((global_, True), (HEADERS + b"\r\n" + b"y" * 5000 + b"\r\n", False)):
            content_type, encoding, body, octets = self.whole(original, smtputf8)
            self.assertEqual((content_type, encoding), ("message/global", "base64"))
            self.assertEqual(b64decode(body), original)
            self.assertRegex(octets, rb"\A(?:[\t -~]{0,998}+\r\n)*+\Z")

    def test_a_boundary_foreseen_ends_nothing(self) -> None:
        forged = b"--report-0REP-0\r\nContent-Type: text/html\r\n\r\n<b>\r\n--report-0REP-0--\r\n"
        report = replace(REPORT, original_headers=b"A: b\r\n" + forged.replace(b"\r\n\r\n", b"\r\n"))
        self.assertEqual(
            [part.get_content_type() for part in parts(report)],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )

    def test_a_message_id_that_is_none_is_not_repeated(self) -> None:
        for wrong in (b"<a\r\n b>", b"<a> <b>", b"a@b", b"<" + b"a" * 300 + b">", b"<\xff>", b"<>"):
            self.assertNotIn("References", parsed(replace(REPORT, original_headers=b"Message-ID: " + wrong + b"\r\n")))


WORDS = st.text(max_size=600)
PIECES = [b"\r\n", b"\r", b"\n", b"--report-0REP-0", b"--", b": ", b"\0", b"=", b" ", b"\xff", b"A"]
OCTETS = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES)).map(b"".join))
HOSTILE = st.builds(
    Fate, st.builds(Address, WORDS, WORDS), st.one_of(st.just("5.1.1"), WORDS), st.just("refused"), WORDS,
    st.just(WRITTEN), st.one_of(st.none(), WORDS), st.one_of(st.none(), WORDS, WORDS.map("rfc822;{}".format)),
)  # fmt: skip


class HostileTest(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(
        st.builds(Address, WORDS, WORDS),
        st.lists(HOSTILE, min_size=1, max_size=3),
        OCTETS,
        st.sampled_from(Action),
        st.one_of(st.none(), WORDS),
    )
    def test_nobodys_words_make_a_field_or_a_part(
        self, sender: Address, fates: list[Fate], header_block: bytes, action: Action, envid: str | None
    ) -> None:
        report = replace(REPORT, sender=sender, fates=tuple(fates), original_headers=header_block)
        octets = build(replace(report, action=action, envid=envid))
        self.assertRegex(octets, rb"\A(?:[\t -~]{0,998}+\r\n)*+\Z")
        read = message_from_bytes(octets, policy=policy.compat32)
        names = {"From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted",
                 "MIME-Version", "Content-Type"}  # fmt: skip
        self.assertLessEqual(set(read.keys()), names)
        self.assertEqual(len(read.keys()), len(set(read.keys())))
        first, status, *rest = read.get_payload()
        self.assertEqual(len(rest), bool(header_block))
        self.assertEqual(first.get_content_type(), "text/plain")
        known = {"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
                 "Last-Attempt-Date"}  # fmt: skip
        about, *recipients = status.get_payload()
        self.assertLessEqual(
            set(about.keys()), {"Original-Envelope-Id", "Reporting-MTA", "X-mtad-Queue-ID", "Arrival-Date"}
        )
        self.assertEqual(len(recipients), len(fates))
        for recipient in recipients:
            self.assertLessEqual(set(recipient.keys()), known)
            self.assertEqual(recipient["Action"], action.value)
            self.assertRegex(recipient["Status"], r"\A[245]\.\d{1,3}\.\d{1,3}\Z")
        if rest:
            lines = re.sub(rb"\r\n|\r|\n", b"\r\n", header_block).removesuffix(b"\r\n") + b"\r\n"
            self.assertEqual(rest[0].get_payload(decode=True), lines)
