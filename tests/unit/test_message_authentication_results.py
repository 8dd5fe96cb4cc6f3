"""mtad.message.authentication_results: whose results, and which, in all the shapes RFC 8601 has."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.message.authentication_results import (
    MAX_FIELDS_READ,
    MAX_ID_OCTETS,
    MAX_RESULTS,
    dmarc_passed,
    parse,
    without_claims,
)
from mtad.testing.spool import MemorySpool

A = "a.example"


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
        self.assertTrue(dmarc_passed(b"mx.example; spf=fail; dmarc=pass (p=reject) header.from=a.example", [A]))
        for value in (b"mx.example", b"x; dmarc=fail", b"x; dmarc=pass; dmarc=fail", b"x; spf=pass (dmarc=pass)"):
            self.assertFalse(dmarc_passed(value, [A]), value)

    def test_whom_dmarc_passed_for(self) -> None:
        for value in (
            b"x; dmarc=pass",
            b'x; dmarc=pass header.from="A.example"',
            b"x; dmarc=pass (p=none) Header.From (c) = ann@a.example. policy.dmarc=none",
            b"x; dkim=pass header.from=b.example; dmarc=pass header.from=a.example",
        ):
            self.assertTrue(dmarc_passed(value, [A]), value)
            self.assertFalse(dmarc_passed(value, [A, "b.example"]), value)
            self.assertFalse(dmarc_passed(value, []), value)
        for value in (
            b"x; dmarc=pass header.from=b.example",
            b"x; dmarc=pass header.from=a.example header.from=b.example",
            b"x; dmarc=pass header.from=a.example; dmarc=pass header.from=b.example",
        ):
            self.assertFalse(dmarc_passed(value, [A]), value)

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


class WithoutClaimsTest(SynchronousTestCase):
    BEHIND = b"Subject: x\r\n\r\nAuthentication-Results: mx.test; in=body\r\n"

    def left(self, *fields: bytes) -> bytes:
        content = b"".join(fields) + self.BEHIND
        kept = without_claims(content, headers.block(content), "mx.test")
        assert isinstance(kept, bytes)
        self.assertTrue(kept.endswith(self.BEHIND))
        return kept.removesuffix(self.BEHIND)

    def test_what_claims_to_be_ours_goes(self) -> None:
        for field in (
            b"Authentication-Results: mx.test; spf=pass\r\n",
            b"authentication-RESULTS \t:\r\n\tMX.Test\r\n\t; spf=pass;\r\n dkim=pass\r\n",
            b"Authentication-Results: (a (comment)) mx.test 1; none\r\n",
            b'Authentication-Results: "mx.test"; none\r\n',
            b'Authentication-Results: "m\\x.test"; none\r\n',
            b"Authentication-Results: mx.test.; none\r\n",
            b"Authentication-Results:mx.test\r\n",
            b"Authentication-Results: \x0c\x0bmx.test\x00; none\r\n",
            b"Authentication-Results: \xc2\xa0mx.test,; none\r\n",
            b"Authentication-Results: " + b"(never ends " * MAX_ID_OCTETS + b"mx.test; none\r\n",
        ):
            self.assertEqual(self.left(field), b"", field)
            self.assertEqual(self.left(b"From: a\r\n", field, b"To: b\r\n", field), b"From: a\r\nTo: b\r\n", field)

    def test_what_does_not_stays_as_it_is(self) -> None:
        for field in (
            b"Authentication-Results: mx2.test; spf=pass\r\n",
            b"Authentication-Results: other.test; spf=pass (mx.test)\r\n",
            b"Authentication-Results:\r\n",
            b"Authentication-Results: ; mx.test\r\n",
            b"ARC-Authentication-Results: i=1; mx.test; none\r\n",
            b"X-Authentication-Results: mx.test; none\r\n",
            b"Authentication-Results-Of: mx.test; none\r\n",
            b"X: y\r\n Authentication-Results: mx.test; none\r\n",
        ):
            self.assertEqual(self.left(field), field)

    def test_it_is_found_however_far_down(self) -> None:
        many = b"X: y\r\n" * (headers.MAX_FIELDS + 1)
        self.assertEqual(self.left(many, b"Authentication-Results: mx.test\r\n"), many)

    def test_of_more_than_anybody_has_none_is_read(self) -> None:
        other = b"Authentication-Results: other.test; none\r\n"
        self.assertEqual(self.left(other * MAX_FIELDS_READ), other * MAX_FIELDS_READ)
        self.assertEqual(self.left(other * (MAX_FIELDS_READ + 2)), other * MAX_FIELDS_READ)

    def test_of_spooled_content(self) -> None:
        gathering = MemorySpool(kept_octets=1).gather()
        gathering.add(b"Authentication-Results: mx.test\r\nFrom: a\r\n" + self.BEHIND)
        content = gathering.content()
        kept = without_claims(content, headers.block(content), "mx.test")
        assert not isinstance(kept, bytes)
        self.assertEqual(b"".join(kept.blocks()), b"From: a\r\n" + self.BEHIND)

    def test_hostile_headers_take_no_time(self) -> None:
        began = time.process_time()
        for part in (b"", b"(" * 10_000, b'"' * 10_000, b" ( ) " * 2000, b"mx.test;" * 100):
            line = b"Authentication-Results:" + part + b"\r\n"
            block = line * (headers.MAX_OCTETS // len(line))
            without_claims(block, block, "mx.test")
        self.assertLess(time.process_time() - began, 0.5)
