"""mtad.smtp.grammar: what passes, what does not, and how it is answered."""

from time import perf_counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import Address, path
from mtad.model.reply import Reply
from mtad.smtp.grammar import Path, forward_path, parse_address, parse_domain, reverse_path

HOST = "mx.example"
ANN = Address("Ann", "outside.example")


class ReversePathTest(SynchronousTestCase):
    def test_paths(self) -> None:
        for octets, expected in {
            b"<Ann@outside.example>": Path(ANN, b""),
            b"<Ann@OUTSIDE.Example> SIZE=1": Path(ANN, b" SIZE=1"),
            b"<>": Path(None, b""),
            b"<> BODY=7BIT": Path(None, b" BODY=7BIT"),
            b" <Ann@outside.example>": Path(ANN, b""),
            b"Ann@outside.example": Path(ANN, b""),
            b"Ann@outside.example SIZE=1": Path(ANN, b" SIZE=1"),
            b"<@relay.example:Ann@outside.example>": Path(ANN, b""),
            b"<@a.example,@b.example:Ann@outside.example>": Path(ANN, b""),
            b'<"a b"@c.example>': Path(Address("a b", "c.example"), b""),
            b'<"a\\"\\\\b>"@c.example>': Path(Address('a"\\b>', "c.example"), b""),
            b'<""@c.example>': Path(Address("", "c.example"), b""),
            b"<a@[192.0.2.1]>": Path(Address("a", "[192.0.2.1]"), b""),
            b"<a@[ipv6:2001:DB8:0::1]>": Path(Address("a", "[IPv6:2001:db8::1]"), b""),
            b"<!#$%&'*+/=?^_`{|}~-@c.example>": Path(Address("!#$%&'*+/=?^_`{|}~-", "c.example"), b""),
        }.items():
            self.assertEqual(reverse_path(octets), expected, octets)

    def test_what_is_no_path(self) -> None:
        for octets in (
            b"", b" ", b"<", b">", b"<<>>", b"<Ann>", b"Ann", b"<@c.example>", b"<a@>", b"<a@b>SIZE=1", b"<>x",
            b"<a@b", b"a@b>", b"<.a@b>", b"<a.@b>", b"<a..b@c>", b"<a@b.>", b"<a@.b>", b"<a@-b>", b"<a@b->", b"<a b@c>",
            b"<a@b@c>", b'<"a@b>', b'<"a"b@c>', b'"a"x@c', b"<a@b c>", b"<a\0@b>", b'<"a\r"@b>', b"<a@[1.2.3]>",
            b"<a@[1.2.3.256]>", b"<a@[IPv6:1]>", b"<a@[IPv6:1::2::3]>", b"<a@[tag:x]>", b"<a@[1.2.3.4>", b"<@a:>",
            b"<@a,b@c>", b"<(c)a@b>", b"<Postmaster>", b"<a@b_c.example>",
        ):  # fmt: skip
            self.assertEqual(reverse_path(octets), replies.BAD_SENDER_SYNTAX, octets)

    def test_lengths(self) -> None:
        label = b"d" * 63
        for octets, fits in {
            b"<" + b"a" * 64 + b"@b>": True,
            b"<" + b"a" * 65 + b"@b>": False,
            b'<"' + b"a" * 62 + b'"@b>': True,
            b'<"' + b"a" * 63 + b'"@b>': False,
            b"<a@" + label + b".example>": True,
            b"<a@d" + label + b".example>": False,
            b"<a@" + b".".join([label] * 3) + b"." + b"d" * 60 + b">": True,
            b"<a@" + b".".join([label] * 3) + b"." + b"d" * 61 + b">": False,
        }.items():
            self.assertEqual(isinstance(reverse_path(octets), Path), fits, octets)

    @given(st.binary(max_size=300))
    def test_any_octets_have_an_answer(self, octets: bytes) -> None:
        self.assertIsInstance(reverse_path(octets), Path | Reply)
        self.assertIsInstance(forward_path(octets, HOST), Path | Reply)

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
    def test_every_local_part_survives_the_wire(self, local_part: str) -> None:
        address = Address(local_part, "c.example")
        self.assertEqual(reverse_path(path(address).encode()), Path(address, b""))

    def test_hostile_paths_cost_no_time(self) -> None:
        began = perf_counter()
        for octets in (b"<" + b"a." * 1000, b"<@" + b"a,@" * 600 + b">", b'<"' + b"\\a" * 900, b"<a@" + b"a-" * 900):
            for _ in range(20):
                reverse_path(octets)
        self.assertLess(perf_counter() - began, 1)


class ForwardPathTest(SynchronousTestCase):
    def test_paths(self) -> None:
        self.assertEqual(forward_path(b"<Ann@outside.example>", HOST), Path(ANN, b""))
        self.assertEqual(forward_path(b"<>", HOST), replies.BAD_RECIPIENT_SYNTAX)
        self.assertEqual(forward_path(b"<x>", HOST), replies.BAD_RECIPIENT_SYNTAX)
        self.assertEqual(forward_path("<ü@>".encode(), HOST), replies.BAD_RECIPIENT_SYNTAX)

    def test_postmaster_needs_no_domain(self) -> None:
        ours = Address("postmaster", HOST)
        self.assertEqual(forward_path(b"<Postmaster>", HOST), Path(ours, b""))
        self.assertEqual(forward_path(b" <POSTMASTER> X=1", HOST), Path(ours, b" X=1"))
        self.assertEqual(forward_path(b"<Postmaster>x", HOST), replies.BAD_RECIPIENT_SYNTAX)
        elsewhere = Address("Postmaster", "outside.example")
        self.assertEqual(forward_path(b"<Postmaster@outside.example>", HOST), Path(elsewhere, b""))


class InternationalPathTest(SynchronousTestCase):
    """RFC 6531 §3.3."""

    def test_paths(self) -> None:
        for text, address, rest in (
            ("<jürgen@bücher.example>", Address("jürgen", "xn--bcher-kva.example"), b""),
            ("<Ann@bücher.EXAMPLE> SMTPUTF8", Address("Ann", "xn--bcher-kva.example"), b" SMTPUTF8"),
            ("<jürgen@c.example>", Address("jürgen", "c.example"), b""),
            ("jürgen@c.example SIZE=1", Address("jürgen", "c.example"), b" SIZE=1"),
            ("<ü@xn--bcher-kva.example>", Address("ü", "xn--bcher-kva.example"), b""),
            ("<ü@[192.0.2.1]>", Address("ü", "[192.0.2.1]"), b""),
            ("<@relay.example:ü@c.example>", Address("ü", "c.example"), b""),
            ('<"jü rgen"@c.example>', Address("jü rgen", "c.example"), b""),
            ("<u\u0308@c.example>", Address("u\u0308", "c.example"), b""),
            ("<伊昭傑@郵件.商務>", Address("伊昭傑", "xn--5nqv22n.xn--lhr59c"), b""),
        ):
            self.assertEqual(reverse_path(text.encode()), Path(address, rest, international=True), text)
            self.assertEqual(forward_path(text.encode(), HOST), Path(address, rest, international=True), text)

    def test_what_is_no_path(self) -> None:
        for text in (
            # IDNA2008 has no such labels: RFC 5891 §5.4; nothing is mapped.
            "<a@BÜCHER.example>", "<a@☃.example>", "<a@u\u0308.example>", "<a@xn--ü.example>", "<a@-ü.example>",
            "<a@ü-.example>", "<a@ü_.example>", "<a@ü..example>", "<a@ü。example>", "<a@a\u200db.example>",
            "<a\x85@ü>", "<a\u2028@ü>", "<ü ü@c.example>", "<.ü@c.example>", "<ü>", '<"ü@c.example>', "<ü@c.example",
            "<ü@c.example>x", '<"\\ü"@c.example>', "<ü\0@c.example>",
        ):  # fmt: skip
            self.assertEqual(reverse_path(text.encode()), replies.BAD_SENDER_SYNTAX, text)
        for octets in (b"<a\xff@c.example>", b"<a@b\xff>", b"<\xc3@c>", b"<\xed\xa0\x80@c>", b"<\xc0\xaf@c>", b"\xff"):
            self.assertEqual(reverse_path(octets), replies.BAD_SENDER_SYNTAX, octets)

    def test_lengths_are_in_octets_and_hold_for_a_labels_too(self) -> None:
        for text, fits in {
            f"<{'ü' * 32}@c.example>": True,
            f"<{'ü' * 32}a@c.example>": False,
            f"<a@{'ü' * 56}.example>": True,
            f"<a@{'ü' * 60}.example>": False,
            f"<{'ü' * 32}@{'d' * 63}.{'d' * 63}.{'d' * 61}>": True,
            f"<{'ü' * 32}@{'d' * 63}.{'d' * 63}.{'d' * 62}>": False,
            # Shorter than 256 octets as it is said, longer as A-labels.
            f"<{'a' * 64}@{'.'.join(['ü'] * 30)}>": False,
        }.items():
            self.assertEqual(isinstance(reverse_path(text.encode()), Path), fits, text)

    def test_what_is_ascii_is_not_international_whatever_follows_it(self) -> None:
        self.assertEqual(reverse_path("<Ann@outside.example> ü".encode()), Path(ANN, " ü".encode()))

    @given(st.text(max_size=30), st.text(max_size=30))
    def test_any_text_has_an_answer_that_survives_the_wire(self, local_part: str, domain: str) -> None:
        octets = f"<{local_part}@{domain}>".encode("utf-8", "replace")
        found = reverse_path(octets)
        if isinstance(found, Path):
            self.assertEqual(octets.isascii(), not found.international)
            again = reverse_path(path(found.address).encode())
            assert isinstance(again, Path)
            self.assertEqual(again.address, found.address)

    def test_hostile_labels_cost_no_time(self) -> None:
        began = perf_counter()
        for label in ("ü", "ü" * 63, "\u0660" * 63, "\u30fb" * 60, "a\u00b7" * 20):
            for _ in range(20):
                reverse_path(f"<a@{'.'.join([label] * (500 // len(label)))}>".encode())
        self.assertLess(perf_counter() - began, 2)


class OperatorsTextTest(SynchronousTestCase):
    def test_addresses(self) -> None:
        for text, expected in {
            "Ann@outside.example": ANN,
            "Ann@OUTSIDE.example": ANN,
            "a@Bücher.example": Address("a", "xn--bcher-kva.example"),
            "jürgen@c.example": Address("jürgen", "c.example"),
            '"a b"@c.example': Address("a b", "c.example"),
            '"a@b"@c.example': Address("a@b", "c.example"),
            "a@[192.0.2.1]": Address("a", "[192.0.2.1]"),
            "root@localhost": Address("root", "localhost"),
        }.items():
            self.assertEqual(parse_address(text), expected, text)

    def test_what_is_no_address(self) -> None:
        for text in (
            "", "a", "@", "a@", "@b", "a@b@c", "<a@b>", "a@b ", " a@b", "a b@c", "a..b@c", "a@b..c", "a@b_c",
            "a@[1.2.3.45", "a@[fe80::1%eth0]", "a@[IPv6:fe80::1%eth0]", "a\n@b", "a\x85@b", "a\u2028@b", "a\ud800@b",
            "a@b\n", "a@\u200b", "a" * 65 + "@b", "ü" * 33 + "@b", "a@" + "b" * 64, "a@" + "b." * 126 + "bcd",
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=repr(text)) as caught:
                parse_address(text)
            self.assertIn("expected", str(caught.exception))

    def test_domains(self) -> None:
        self.assertEqual(parse_domain("ACME.Example"), "acme.example")
        self.assertEqual(parse_domain("straße.example"), "xn--strae-oqa.example")
        self.assertEqual(parse_domain("xn--bcher-kva.example"), "xn--bcher-kva.example")
        for text in (
            "",
            ".",
            "a.",
            ".a",
            "a b",
            "a@b",
            "-a",
            "ä_ö.example",
            "a" * 64,
            "*.example",
            "[192.0.2.1]",
            "\ud800",
            "ä" * 300,
        ):
            with self.assertRaises(ValueError, msg=text) as caught:
                parse_domain(text)
            self.assertIn("expected a domain name", str(caught.exception))
