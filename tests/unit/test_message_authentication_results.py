"""mtad.message.authentication_results: whose results, and which, in all the shapes RFC 8601 has."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message.authentication_results import MAX_RESULTS, dmarc_passed, parse


class ParseTest(SynchronousTestCase):
    def check(self, value: bytes, authserv_id: str, *results: tuple[str, str]) -> None:
        found = parse(value)
        self.assertEqual((found.authserv_id, found.results), (authserv_id, results), value)

    def test_examples_of_the_rfc(self) -> None:
        # RFC 8601 appendix B
        self.check(b" example.org 1; none", "example.org")
        self.check(b" example.com;\r\n          spf=pass smtp.mailfrom=example.net", "example.com", ("spf", "pass"))
        self.check(
            b" example.com;\r\n  auth=pass (cleartext) smtp.auth=sender@example.net;\r\n  spf=pass smtp.mailfrom=a.b",
            "example.com",
            ("auth", "pass"),
            ("spf", "pass"),
        )
        self.check(
            b" foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
            b"   policy (A dot can go here) . (like that) expired (surprise) = 1362471462",
            "foo.example.net",
            ("dkim", "fail"),
        )

    def test_separators_within_quotes_and_comments(self) -> None:
        self.check(
            b'"mx;(1)\\" ok" ; dkim=pass reason="no; dmarc=pass" ; spf=none',
            'mx;(1)" ok',
            ("dkim", "pass"),
            ("spf", "none"),
        )
        self.check(b"(a (b\\) ; dmarc=pass) c) mx.example; (;) SPF (x) = (y) Pass", "mx.example", ("spf", "pass"))

    def test_whose_it_claims_to_be_is_told_whatever_follows(self) -> None:
        self.check(b"MX.example", "mx.example")
        self.check(b"mx.example;;;=;spf;=pass;spf==;dkim=", "mx.example", ("spf", "="))
        self.check(b"mx.example; (open", "mx.example")
        self.check(b'mx.example; "open', "mx.example")

    def test_nothing_to_tell(self) -> None:
        for value in (b"", b" \r\n\t", b"(only a comment", b";", b"; dkim"):
            self.check(value, "")

    def test_dmarc(self) -> None:
        self.assertTrue(dmarc_passed(b"mx.example; spf=fail; dmarc=pass (p=reject) header.from=a.example"))
        for value in (b"mx.example", b"x; dmarc=fail", b"x; dmarc=pass; dmarc=fail", b"x; spf=pass (dmarc=pass)"):
            self.assertFalse(dmarc_passed(value), value)

    def test_it_is_bounded(self) -> None:
        self.assertEqual(len(parse(b"x" + b"; a=b" * 5000).results), MAX_RESULTS)
        began = time.process_time()
        for part in (b"(", b'"', b"\\", b" ", b"a", b"=", b";", b"()", b'"\\'):
            parse(part * 500_000)
        self.assertLess(time.process_time() - began, 2.0)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([b"(", b")", b'"', b"\\", b";", b"=", b"/", b" ", b"\r\n", b"a", b"\xff", b"\0"])))
    def test_any_octets_can_be_shown(self, parts: list[bytes]) -> None:
        found = parse(b"".join(parts))
        for text in (found.authserv_id, *(word for pair in found.results for word in pair)):
            self.assertTrue(text.isprintable(), text)
