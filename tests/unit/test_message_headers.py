"""mtad.message.headers: where the header block ends, and what is a field."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message.headers import (
    MAX_FIELDS,
    MAX_OCTETS,
    block,
    body,
    count,
    ends,
    fields,
    first,
    is_whole,
    raw_fields,
    split,
)
from mtad.model.content import Content, blocks
from mtad.testing.spool import MemorySpool

BLOCK = (
    b"Received: from a\r\n\tby b\r\nRECEIVED : again\r\nSubject: received: not this\r\n received: nor this\r\n"
    b"X-Received: nor that\r\nMessage-ID:\r\n <1@c.example>\r\nmessage-id: <2@c.example>\r\n"
)


class SplitTest(SynchronousTestCase):
    def test_parts(self) -> None:
        for content, expected in {
            b"A: b\r\n\r\nbody\r\n\r\nmore": (b"A: b\r\n", b"body\r\n\r\nmore"),
            b"A: b\r\nC: d\r\n\r\n": (b"A: b\r\nC: d\r\n", b""),
            b"A: b\r\n": (b"A: b\r\n", b""),
            b"\r\nbody": (b"", b"body"),
            b"\r\n\r\nbody": (b"", b"\r\nbody"),
            b"": (b"", b""),
            b"A: b\r\n \r\nC: d\r\n\r\nbody": (b"A: b\r\n \r\nC: d\r\n", b"body"),
        }.items():
            self.assertEqual(split(content), expected, content)

    @given(st.lists(st.sampled_from([b"A: b", b"\r\n", b" c", b"body"]), max_size=12).map(b"".join))
    def test_nothing_is_lost_but_the_empty_line(self, content: bytes) -> None:
        block, body = split(content)
        self.assertIn(content, (block + b"\r\n" + body, block))
        self.assertNotIn(b"\r\n\r\n", block)


class BlockTest(SynchronousTestCase):
    def spooled(self, octets: bytes) -> Content:
        gathering = MemorySpool(kept_octets=0).gather()
        gathering.add(octets)
        return gathering.content()

    def test_of_a_spooled_content_it_is_the_same(self) -> None:
        for octets in (b"A: b\r\n\r\nbody", b"\r\nbody", b"A: b\r\n", b"A: b\r\n\r\n"):
            header_block, whole_body = split(octets)
            content = self.spooled(octets)
            self.assertEqual(block(content), header_block)
            self.assertEqual(b"".join(blocks(body(content, header_block))), whole_body)

    def test_what_is_behind_so_many_octets_is_no_header(self) -> None:
        for octets in (b"A: b\r\n" * MAX_OCTETS, b"A: b\r\n" * (MAX_OCTETS // 6 + 1) + b"\r\nbody"):
            self.assertEqual(block(self.spooled(octets)), octets[:MAX_OCTETS])
            self.assertFalse(ends(block(self.spooled(octets))))
        largest = b"A: b\r\n" * ((MAX_OCTETS - 4) // 6)
        self.assertTrue(ends(block(self.spooled(largest + b"\r\n" + largest))))


class FieldsTest(SynchronousTestCase):
    def test_fields_come_as_they_are(self) -> None:
        self.assertEqual(
            fields(BLOCK),
            [
                (b"Received", b" from a\r\n\tby b"),
                (b"RECEIVED", b" again"),
                (b"Subject", b" received: not this\r\n received: nor this"),
                (b"X-Received", b" nor that"),
                (b"Message-ID", b"\r\n <1@c.example>"),
                (b"message-id", b" <2@c.example>"),
            ],
        )

    def test_what_is_no_field_is_passed_over(self) -> None:
        block = b"From a Sat Nov 22\r\n folded: yes\r\n: no name\r\nA:\r\nB C: d\r\nD:e"
        self.assertEqual(fields(block), [(b"A", b""), (b"D", b"e")])
        self.assertEqual(fields(b""), [])

    def test_raw_fields_keep_the_white_space_of_their_names(self) -> None:
        self.assertEqual(raw_fields(BLOCK)[1], (b"RECEIVED ", b" again"))
        self.assertEqual([(name.rstrip(), value) for name, value in raw_fields(BLOCK)], fields(BLOCK))

    def test_a_block_with_more_than_fields_sees_is_not_whole(self) -> None:
        for line in (b"A: b\r\n", b"A: b\r\n c\r\n", b"no field\r\n"):
            self.assertTrue(is_whole(line * MAX_FIELDS))
            self.assertFalse(is_whole(line * (MAX_FIELDS + 1)))
        self.assertTrue(is_whole(b"A: b\r\n" * (MAX_FIELDS - 1) + b"A: b"))
        self.assertFalse(is_whole(b"A: b\r\n" * MAX_FIELDS + b"A: b"))
        self.assertTrue(is_whole(b""))

    def test_first(self) -> None:
        self.assertEqual(first(BLOCK, b"Message-ID"), b"\r\n <1@c.example>")
        self.assertEqual(first(BLOCK, b"RECEIVED"), b" from a\r\n\tby b")
        self.assertEqual(first(b"A: last", b"a"), b" last")
        self.assertIsNone(first(BLOCK, b"To"))
        self.assertIsNone(first(BLOCK, b"Received-SPF"))

    def test_count(self) -> None:
        self.assertEqual(count(BLOCK, b"received"), 2)
        self.assertEqual(count(BLOCK, b"Message-Id"), 2)
        self.assertEqual(count(BLOCK, b"."), 0)
        self.assertEqual(count(b"Received: x\r\n" * 50, b"Received"), 50)

    @given(
        st.lists(st.sampled_from([b"Received: x\r\n", b"A : b\r\n", b"\tfolded\r\n", b"RECEIVED\t:y\r\n"]), max_size=12)
    )
    def test_first_and_count_agree_with_fields(self, lines: list[bytes]) -> None:
        block = b"".join(lines)
        values = [value for name, value in fields(block) if name.lower() == b"received"]
        self.assertEqual(count(block, b"Received"), len(values))
        self.assertEqual(first(block, b"Received"), values[0] if values else None)

    def test_a_hostile_block_is_bounded(self) -> None:
        block = b"Received:\r\n" * (MAX_FIELDS + 10)
        self.assertEqual(count(block, b"Received"), MAX_FIELDS)
        self.assertEqual(len(fields(block)), MAX_FIELDS)
