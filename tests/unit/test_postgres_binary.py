"""PostgreSQL's binary format, octet by octet."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import binary
from mtad.adapters.postgres.binary import BYTEA, INT2, INT4, INT8, TEXT, TIMESTAMP, Records


class ElementsTest(SynchronousTestCase):
    def test_numbers(self) -> None:
        self.assertEqual(INT2.encode(-2), bytes.fromhex("00000002 fffe"))
        self.assertEqual(INT4.encode(1), bytes.fromhex("00000004 00000001"))
        self.assertEqual(INT8.encode(1 << 40), bytes.fromhex("00000008 0000010000000000"))

    def test_numbers_out_of_range_are_errors(self) -> None:
        for column, number in ((INT2, 32768), (INT4, 1 << 31), (INT8, 1 << 63)):
            self.assertRaises(struct.error, column.encode, number)

    def test_texts(self) -> None:
        self.assertEqual(TEXT.encode("é"), bytes.fromhex("00000002 c3a9"))
        self.assertEqual(TEXT.encode(""), bytes(4))
        self.assertEqual(TEXT.encode(None), bytes.fromhex("ffffffff"))

    def test_what_is_no_text_is_an_error(self) -> None:
        for text in ("a\0b", "\ud800"):
            self.assertRaises(ValueError, TEXT.encode, text)

    def test_octets_and_times(self) -> None:
        self.assertEqual(BYTEA.encode(b"\0\xff"), bytes.fromhex("00000002 00ff"))
        self.assertEqual(TIMESTAMP.encode(946_684_801.5), bytes.fromhex("00000008 000000000016e360"))

    @given(st.floats(1e9, 5e9))
    def test_times_come_back_to_the_microsecond(self, at: float) -> None:
        self.assertLess(abs(binary.read_time(TIMESTAMP.encode(at)[4:]) - at), 1e-6)

    @given(st.integers(-(1 << 63), (1 << 63) - 1))
    def test_numbers_come_back(self, number: int) -> None:
        self.assertEqual(binary.read_int(binary.scalar(INT8, number)), number)

    def test_null_is_read_as_nothing(self) -> None:
        self.assertEqual((binary.read_int(None), binary.read_text(None), binary.read_bytes(None)), (0, "", b""))
        self.assertIsNone(binary.read_optional_text(None))
        self.assertFalse(binary.read_bool(None))


class RecordsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.records = Records(id=INT4, name=TEXT)

    def test_a_relation_is_one_array_a_column(self) -> None:
        self.assertEqual(self.records.unnest(3, "r"), "unnest($3::int4[], $4::text[]) as r(id, name)")

    def test_fragments_of_several_callers_make_one_array(self) -> None:
        batch = [self.records.encode([(1, "a")]), self.records.encode([]), self.records.encode([(2, None), (3, "c")])]
        ids, names = self.records.parameters(batch, 3)
        head = "00000001 00000000 {oid} 00000003 00000001"
        self.assertEqual(
            ids, bytes.fromhex(head.format(oid="00000017") + "00000004 00000001 00000004 00000002 00000004 00000003")
        )
        self.assertEqual(names, bytes.fromhex(head.format(oid="00000019") + "00000001 61 ffffffff 00000001 63"))

    def test_no_rows_are_arrays_without_dimensions(self) -> None:
        self.assertEqual(
            self.records.parameters([], 0),
            [bytes.fromhex("00000000 00000000 00000017"), bytes.fromhex("00000000 00000000 00000019")],
        )

    def test_a_row_of_the_wrong_length_is_an_error(self) -> None:
        self.assertRaises(ValueError, self.records.encode, [(1,)])
        self.assertRaises(ValueError, self.records.encode, [(1, "a"), (1,)])


class ChunksTest(SynchronousTestCase):
    @given(st.binary(max_size=50), st.integers(1, 20))
    def test_chunks_are_the_content(self, content: bytes, size: int) -> None:
        pieces = binary.chunks(content, size)
        self.assertEqual(b"".join(pieces), content)
        self.assertTrue(all(len(piece) == size for piece in pieces[:-1]))
        self.assertLessEqual(len(pieces[-1]), size)

    def test_an_empty_content_is_one_empty_chunk(self) -> None:
        self.assertEqual(binary.chunks(b"", 4), [b""])

    def test_an_array_of_chunks(self) -> None:
        self.assertEqual(
            binary.chunk_array(binary.chunks(b"abcde", 4)),
            bytes.fromhex("00000001 00000000 00000011 00000002 00000001 00000004 61626364 00000001 65"),
        )
