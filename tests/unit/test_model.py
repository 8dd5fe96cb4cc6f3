"""mtad.model: address, units, identity, text, reply."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address, folded, from_plain, path
from mtad.model.identity import EPOCH_SECONDS, SLOTS, first_id, next_id, parse_id, print_id
from mtad.model.reply import Reply
from mtad.model.text import SHOWN_CHARACTERS, shown
from mtad.model.units import duration_text, octets, seconds

NOW = EPOCH_SECONDS + 1000.0


class AddressTest(SynchronousTestCase):
    def test_the_form_of_the_wire(self) -> None:
        for local_part, text in {
            "alice": "alice@c.example",
            "a.b+c": "a.b+c@c.example",
            "a b": '"a b"@c.example',
            'a"\\': '"a\\"\\\\"@c.example',
            "": '""@c.example',
            ".a": '".a"@c.example',
            "a..b": '"a..b"@c.example',
            "a@b": '"a@b"@c.example',
            "jürgen": "jürgen@c.example",
        }.items():
            self.assertEqual(str(Address(local_part, "c.example")), text)

    def test_paths(self) -> None:
        self.assertEqual(path(None), "<>")
        self.assertEqual(path(Address("a", "c.example")), "<a@c.example>")

    @given(st.text(max_size=20), st.sampled_from(["c.example", "[IPv6:2001:db8::1]"]))
    def test_the_stored_form_is_read_back(self, local_part: str, domain: str) -> None:
        address = Address(local_part, domain)
        self.assertEqual(from_plain(address.plain), address)

    def test_hosted_addresses_compare_folded(self) -> None:
        self.assertEqual(Address("Alice.B", "c.example").key, "alice.b@c.example")
        self.assertEqual(folded("STRASSE"), folded("straße"))
        self.assertEqual(folded("e\u0301"), folded("\u00c9"))
        self.assertNotEqual(folded("a"), folded("\u0430"))

    @given(st.text(max_size=20))
    def test_folding_twice_changes_nothing(self, local_part: str) -> None:
        self.assertEqual(folded(folded(local_part)), folded(local_part))


class UnitsTest(SynchronousTestCase):
    def test_octets(self) -> None:
        for text, value in {"25MB": 26_214_400, "1 kb": 1024, "7": 7, "2B": 2, "1GB": 2**30}.items():
            self.assertEqual(octets(text), value)
        self.assertEqual(octets(512), 512)
        for text in ("", "MB", "-1", "1.5MB", "25TB", "1MB x", "9" * 16):
            self.assertRaisesRegex(ValueError, "expected a size", octets, text)

    def test_seconds(self) -> None:
        for text, value in {
            "5m": 300,
            "4h": 14400,
            "5d": 432000,
            "0": 0,
            "1.5s": 1.5,
            "20ms": 0.02,
            "1W": 604800,
        }.items():
            self.assertEqual(seconds(text), value)
        for text in ("", "5", "m", "-5m", "5 minutes", "inf"):
            self.assertRaisesRegex(ValueError, "expected a duration", seconds, text)

    def test_durations_are_read_back(self) -> None:
        for text in ("5d", "36h", "90m", "61s", "0.5s"):
            self.assertEqual(duration_text(seconds(text)), text)


class IdentityTest(SynchronousTestCase):
    def test_ids_of_one_slot_only_grow(self) -> None:
        last = 0
        for now in (NOW, NOW, NOW + 0.001, NOW - 3600, NOW + 1):
            for _ in range(700):
                following = next_id(7, last, now)
                self.assertGreater(following, last)
                last = following
        self.assertLess(last, 1 << 63)

    def test_slots_never_meet(self) -> None:
        ids = set()
        for slot in (0, 1, SLOTS - 1):
            last = 0
            for _ in range(600):
                last = next_id(slot, last, NOW)
                ids.add(last)
        self.assertEqual(len(ids), 1800)

    def test_a_time_parts_the_ids_before_it_from_the_others(self) -> None:
        self.assertLess(next_id(SLOTS - 1, 0, NOW - 0.001), first_id(NOW))
        self.assertEqual(next_id(0, 0, NOW), first_id(NOW))
        self.assertEqual(first_id(EPOCH_SECONDS - 1), 0)

    @given(st.integers(0, (1 << 63) - 1))
    def test_the_printed_form_is_read_back(self, message_id: int) -> None:
        printed = print_id(message_id)
        self.assertRegex(printed, "^[0-9A-HJKMNP-TV-Z]{13}$")
        self.assertEqual(parse_id(printed), message_id)
        self.assertEqual(parse_id(printed.lower().replace("0", "o").replace("1", "l")), message_id)

    @given(st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))
    def test_the_printed_form_sorts_as_the_id(self, one: int, other: int) -> None:
        self.assertEqual(print_id(one) < print_id(other), one < other)

    def test_what_is_no_id(self) -> None:
        for text in ("", "0", "0" * 14, "U" * 13, "Z" * 13, "é" * 13):
            self.assertRaisesRegex(ValueError, "expected a message id", parse_id, text)


class ShownTest(SynchronousTestCase):
    def test_what_is_shown(self) -> None:
        for raw, text in {
            b"plain text": "plain text",
            "Grüße".encode(): "Grüße",
            b"\xff": "\\xff",
            b"a\r\nb\0": "a\\x0d\\x0ab\\x00",
            b"\x1b[2J": "\\x1b[2J",
        }.items():
            self.assertEqual(shown(raw), text)
        self.assertEqual(shown("a\u202eb\ud800"), "a\\u202eb\\ud800")

    @given(st.text() | st.binary(max_size=3000), st.integers(1, SHOWN_CHARACTERS))
    def test_anything_is_bounded_and_printable(self, raw: str | bytes, limit: int) -> None:
        text = shown(raw, limit)
        self.assertLessEqual(len(text), limit)
        self.assertNotIn("\0", text)
        self.assertNotRegex(text, "[\x00-\x1f\x7f-\x9f]")
        text.encode("utf-8")


class ReplyTest(SynchronousTestCase):
    def test_the_octets_of_one_line(self) -> None:
        self.assertEqual(Reply(250, "2.1.0", ("Sender OK",)).encode(), b"250 2.1.0 Sender OK\r\n")
        self.assertEqual(Reply(354, None, ("Go on",)).encode(), b"354 Go on\r\n")

    def test_the_octets_of_several(self) -> None:
        reply = Reply(550, "5.1.1", ("one", "two", "three"))
        self.assertEqual(reply.encode(), b"550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n")
        self.assertEqual(reply.text, "550 5.1.1 one two three")

    def test_classes(self) -> None:
        for code, positive, permanent in (
            (250, True, False),
            (354, True, False),
            (451, False, False),
            (550, False, True),
        ):
            reply = Reply(code, None, ("",))
            self.assertEqual((reply.positive, reply.permanent), (positive, permanent))
