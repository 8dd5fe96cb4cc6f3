"""mtad.message.author: one From field with one address, read in one way, or none."""

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.message.author import MAX_AUTHORS, MAX_FIELDS, MAX_OCTETS, author, author_domains, authors

ANN = "ann@acme.example"


def of(value: bytes) -> str | None:
    return author(b"Subject: x\r\nFrom:" + value + b"\r\nTo: y@z\r\n")


class AuthorTest(SynchronousTestCase):
    def test_one_address(self) -> None:
        for value in (
            b" ann@acme.example",
            b"ann@acme.example",
            b" <ann@acme.example>",
            b" Ann <ann@acme.example>",
            b' "Ann, the <first>" <ann@acme.example>',
            b' "a \\" (b" <ann@acme.example>',
            b"\r\n Ann\r\n\tof Acme\r\n <ann@acme.example>\r\n ",
            b" ann@acme.example (Ann (of) Acme)",
            b' (a " b) Ann (\\)) <ann@acme.example> (c " d)',
            b" =?utf-8?q?=C3=A9?= <ann@acme.example>",
            b" \xc3\xa9\xff <ann@acme.example>",
            b" Ann. B. <ann@acme.example>",
        ):
            self.assertEqual(of(value), ANN, value)

    def test_odd_addresses_are_given_as_they_are_written(self) -> None:
        self.assertEqual(of(b' "a b"@acme.example'), '"a b"@acme.example')
        self.assertEqual(of(b' x <"a@b>"@acme.example>'), '"a@b>"@acme.example')
        self.assertEqual(of(" é@bücher.example".encode()), "é@bücher.example")
        self.assertEqual(of(b" a@[192.0.2.1]"), "a@[192.0.2.1]")

    def test_none_or_several_or_unreadable(self) -> None:
        for value in (
            b"",
            b" ",
            b" ann",
            b" <>",
            b" Ann",
            b" ann@acme.example, bob@acme.example",
            b" Ann <ann@acme.example>, bob@acme.example",
            b" ann@acme.example,",
            b" ann@acme.example bob@acme.example",
            b" <ann@acme.example> <bob@acme.example>",
            b" bob@acme.example <ann@acme.example>",
            b" Acme: ann@acme.example;",
            b" undisclosed:;",
            b" <@relay.example:ann@acme.example>",
            b" ann @ acme.example",
            b" ann@acme.example (not closed",
            b" ann@acme.example )",
            b' "not closed <ann@acme.example>',
            b" ann@acme.example\\",
            b' (a " b) <bob@acme.example> (c " d) <ann@acme.example>',
            b" \xff@acme.example",
            b" a@b@acme.example",
            b" ann@acme.example <",
        ):
            self.assertIsNone(of(value), value)

    def test_fields(self) -> None:
        self.assertIsNone(author(b"Subject: x\r\n"))
        self.assertIsNone(author(b""))
        self.assertIsNone(author(b"From: ann@acme.example\r\nFROM: ann@acme.example\r\n"))
        self.assertIsNone(author(b"From: ann@acme.example\r\nFrom : eve@acme.example\r\n"))
        self.assertEqual(author(b"X-From: a@b.example\r\nfrom: ann@acme.example\r\n"), ANN)

    @given(st.lists(st.sampled_from([b'"', b"(", b")", b"<", b">", b"\\", b"a@b", b" ", b",", b"\r\n "])).map(b"".join))
    def test_whatever_is_found_is_one_address(self, value: bytes) -> None:
        self.assertIn(of(value), (None, "a@b"))

    def test_domains_of_all_authors(self) -> None:
        def domains(*values: bytes) -> tuple[str, ...]:
            return author_domains(b"".join(b"From: %s\r\n" % value for value in values))

        self.assertEqual(domains(b'"eve@evil.example" <ann@acme.example>'), ("acme.example",))
        self.assertEqual(domains(b"a@one.example, B <b@two.example>, c@one.example"), ("one.example", "two.example"))
        self.assertEqual(domains(b"group: a@one.example, b@two.example;"), ("one.example", "two.example"))
        self.assertEqual(domains(b"a@one.example", b"b@two.example"), ("one.example", "two.example"))
        self.assertEqual(domains(b'"a b"@one.example, b@[192.0.2.1]'), ("one.example", "[192.0.2.1]"))
        self.assertEqual(domains("ü@bücher.example".encode()), ("bücher.example",))
        for value in (b"", b"nobody", b"a@", b"undisclosed:;", b"a@one.example (never ends", b"x" * (MAX_OCTETS + 1)):
            self.assertEqual(domains(value), (), value)
        self.assertEqual(domains(b"a@one.example, b@, c@two.example"), ())
        self.assertEqual(author_domains(b"Subject: x\r\n"), ())
        self.assertEqual(domains(*[b"a@one.example"] * (MAX_FIELDS + 1)), ())
        self.assertEqual(domains(*[b"a@one.example (%s)" % (b"x" * (MAX_OCTETS // 2))] * 2), ())

    def test_no_address_hides_beside_another(self) -> None:
        for value in (
            b"boss @ bank.example, eve@evil.example",
            b"boss@(a) bank . (b) example, eve@evil.example",
            b"boss@bank\r\n .\r\n\texample <eve@evil.example>",
            b"Board: boss @bank.example;, eve@evil.example",
            b'"boss" @ bank.example, eve@evil.example',
            b"<@bank.example:eve@evil.example>",
            b"eve@bank.example@evil.example",
        ):
            domains = author_domains(b"From: " + value + b"\r\n")
            self.assertEqual(domains, ("bank.example", "evil.example"), value)

    def test_an_author_that_is_out_of_sight_makes_all_unclear(self) -> None:
        first, second = b"From: a@one.example\r\n", b"From: b@two.example\r\n"
        self.assertEqual(author_domains(first + b"X: y\r\n" * headers.MAX_FIELDS + second), ())
        self.assertEqual(author_domains((first + b"X: y\r\n" * headers.MAX_OCTETS)[: headers.MAX_OCTETS]), ())

    def test_hostile_fields_take_no_time(self) -> None:
        before = time.perf_counter()
        for part in (b'"', b"(", b"\\", b"<", b"()", b'""', b'"\\', b'a"', b" <", b"a@", b"a ", b'\\"', b'("'):
            of(part * (MAX_OCTETS // len(part)))
            author_domains(b"From: %s\r\n" % (part * (MAX_OCTETS // len(part))))
            of(part * MAX_OCTETS)
        self.assertLess(time.perf_counter() - before, 2.0)


class AuthorsTest(SynchronousTestCase):
    def test_all_addresses_of_all_fields(self) -> None:
        for fields, expected in (
            (b"Subject: x\r\n", ()),
            (b"From:\r\n", ()),
            (b"From: ,\r\n", ()),
            (b"From: Ann <ann@acme.example>\r\n", (ANN,)),
            (b'From: "a, b" <ann@acme.example>, b@c.example\r\n', (ANN, "b@c.example")),
            (b"From: ann@acme.example (x, y@z), ,\r\n b@c.example ,\r\n", (ANN, "b@c.example")),
            (b"From: ann@acme.example\r\nfrom : b@c.example\r\n", (ANN, "b@c.example")),
        ):
            self.assertEqual(authors(fields), expected, fields)

    def test_what_is_read_in_more_than_one_way_is_none(self) -> None:
        for value in (
            b"ann@acme.example b@c.example",
            b"ann@acme.example <b@c.example>",
            b"<ann@acme.example> b@c.example",
            b"ann@acme.example; b@c.example",
            b"Acme: ann@acme.example;",
            b"<@relay.example:ann@acme.example>",
            b"ann@acme.example, <b@c.example",
            b"ann@acme.example (",
            b"ann @acme.example",
            b"\xff@acme.example",
            b"Ann",
            b"x" * MAX_OCTETS + b"@acme.example",
            b"ann@acme.example," * MAX_AUTHORS,
        ):
            self.assertIsNone(authors(b"From: ann@acme.example\r\nFrom: " + value + b"\r\n"), value)

    def test_a_header_that_is_not_looked_at_whole_has_none(self) -> None:
        block = b"From: ann@acme.example\r\n" + b"X: y\r\n" * headers.MAX_FIELDS
        self.assertIsNone(authors(block))
        self.assertIsNone(authors(headers.block(b"From: ann@acme.example\r\nX: " + b"x" * headers.MAX_OCTETS)))

    @given(st.binary(max_size=60))
    def test_one_author_is_the_author(self, value: bytes) -> None:
        block = b"From: " + value.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
        single = author(block)
        if single is not None:
            self.assertEqual(authors(block), (single,))

    def test_long_lists_take_no_longer_a_piece(self) -> None:
        for piece in (b"a@b.example,", b",", b"a ", b'"', b"(", b"<", b"a,", b"a@b,c <"):
            began = time.perf_counter()
            authors(b"From: " + piece * (MAX_OCTETS // len(piece) - 1) + b"\r\n")
            self.assertLess(time.perf_counter() - began, 0.2, piece)
