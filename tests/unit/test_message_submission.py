"""mtad.message.submission: what is added, what goes, and that nothing else is touched."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message.submission import completed
from mtad.model.address import Address
from mtad.model.content import blocks
from mtad.testing.spool import MemorySpool

NOW = 1_763_817_265.0
ADDED = b"Date: Sat, 22 Nov 2025 13:14:25 +0000\r\nMessage-ID: <0GK1M2N3P4Q5R@acme.example>\r\n"
WHOLE = b"date: x\r\nMESSAGE-ID : <1@x>\r\n"


def made(content: bytes) -> bytes:
    return completed(content, printed_id="0GK1M2N3P4Q5R", domain="acme.example", now=NOW)


class CompletedTest(SynchronousTestCase):
    def test_what_is_missing_is_put_on_top(self) -> None:
        for content in (b"Subject: x\r\n\r\nDate: body\r\n", b"\r\nbody\r\n", b"", b"Dates: x\r\nX-Message-ID: y\r\n"):
            self.assertEqual(made(content), ADDED + content)
        self.assertEqual(made(b"Date: x\r\n\r\n"), ADDED.split(b"\r\n", 1)[1] + b"Date: x\r\n\r\n")

    def test_a_message_without_an_author_gets_the_sender(self) -> None:
        def from_ann(content: bytes) -> bytes:
            return completed(
                content, printed_id="I", domain="x.example", now=NOW, author=Address("a n", "acme.example")
            )

        self.assertTrue(from_ann(b"Subject: x\r\n\r\n").startswith(b'From: "a n"@acme.example\r\nDate: '))
        for there in (b"From: x@y.example\r\n\r\n", b"FROM :\r\n\r\n"):
            self.assertTrue(from_ann(there).startswith(b"Date: "), there)

    def test_what_is_there_stays_whatever_it_says(self) -> None:
        for content in (WHOLE + b"\r\nbody", WHOLE, b"Message-ID:\r\nDate:\r\n\r\n"):
            self.assertEqual(made(content), content)

    def test_of_a_spooled_content_the_body_is_not_touched(self) -> None:
        gathering = MemorySpool(kept_octets=10).gather()
        gathering.add(b"Bcc: a@x.example\r\nSubject: x\r\n\r\nBcc: body\r\n")
        content = completed(gathering.content(), printed_id="0GK1M2N3P4Q5R", domain="acme.example", now=NOW)
        self.assertEqual(b"".join(blocks(content)), ADDED + b"Subject: x\r\n\r\nBcc: body\r\n")

    def test_hidden_readers_and_return_paths_go(self) -> None:
        for field in (
            b"Bcc: a@x.example\r\n",
            b"BCC : a@x.example,\r\n b@x.example,\r\n\tc@x.example\r\n",
            b"Bcc:\r\n",
            b"Resent-Bcc: a@x.example\r\n",
            b"Return-Path: <a@x.example>\r\n",
            b"Bcc: a\r\n \r\nBcc: b\r\nreturn-path: <>\r\n",
        ):
            for before, after in ((WHOLE, b"To: b\r\n"), (WHOLE, b""), (b"", WHOLE)):
                for body in (b"\r\nBcc: body\r\n", b""):
                    self.assertEqual(made(before + field + after + body), before + after + body, field)

    def test_what_only_looks_like_them_stays(self) -> None:
        content = WHOLE + b"X-Bcc: a\r\nTo: a,\r\n Bcc: b\r\nBcc-To: c\r\nBccx\r\n\r\n"
        self.assertEqual(made(content), content)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"To", b"Bcc", b"bCC ", b"Return-Path", b"Resent-Bcc", b"Subject"]),
                st.lists(st.sampled_from([b" x", b"\tBcc: y", b" "]), max_size=3),
            ),
            max_size=6,
        ),
        st.binary(max_size=10).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"")),
    )
    def test_any_header(self, fields: list[tuple[bytes, list[bytes]]], body: bytes) -> None:
        def lines(kept: list[tuple[bytes, list[bytes]]]) -> bytes:
            return b"".join(name + b":" + b"\r\n".join([b" v", *folds]) + b"\r\n" for name, folds in kept)

        kept = [field for field in fields if field[0] in (b"To", b"Subject")]
        self.assertEqual(made(WHOLE + lines(fields) + b"\r\n" + body), WHOLE + lines(kept) + b"\r\n" + body)
