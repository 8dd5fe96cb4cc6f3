"""Addresses as people write them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.endpoint import HostPort, UnixPath, parse

FORMS = {
    "127.0.0.1:2525": HostPort("127.0.0.1", 2525),
    "[::1]:25": HostPort("::1", 25),
    "[fe80::1%eth0]:25": HostPort("fe80::1%eth0", 25),
    ":25": HostPort("", 25),
    "mx.example:24": HostPort("mx.example", 24),
    "localhost:65535": HostPort("localhost", 65535),
    "/run/dovecot/lmtp": UnixPath("/run/dovecot/lmtp"),
    "./lmtp": UnixPath("./lmtp"),
}
WRONGS = ("", "25", "host", "host:", "::1:25", "[::1]", "[::1]25", "[]:25", "host:65536", "a b:25", "host:-1", "h:２５")


class ParseTest(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, expected in FORMS.items():
            self.assertEqual(parse(text), expected)

    def test_wrongs_are_told_what_was_expected(self) -> None:
        for text in WRONGS:
            wrong = self.assertRaises(ValueError, parse, text)
            self.assertIn("expected host:port", str(wrong))

    @given(st.text(max_size=30))
    def test_any_text_is_an_endpoint_or_a_value_error(self, text: str) -> None:
        try:
            found = parse(text)
        except ValueError:
            return
        if isinstance(found, HostPort):
            self.assertTrue(0 <= found.port <= 65535)
