"""Fields that tell what was found about a message's identity: read back, and proof against what peers say."""

from email import message_from_bytes, policy

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.message.authentication_fields import Subject, authentication_results, received_spf
from mtad.model.address import Address
from mtad.model.authentication import Arc, Authentication, Dkim, Dmarc, DmarcPolicy, Iprev, Result, Spf

SUBJECT = Subject("192.0.2.1", "mx.sender.example", Address("ann", "sender.example"))
FOUND = Authentication(
    spf=(Spf(Result.PASS, "mailfrom", "sender.example", "matched ip4:192.0.2.0/24"),),
    dkim=(Dkim(Result.PASS, "sender.example", "s1", algorithm="rsa-sha256", signature="AbCdEfGhIj"),),
    arc=Arc(Result.PASS),
    dmarc=Dmarc(Result.PASS, "sender.example", "sender.example", policy=DmarcPolicy.REJECT),
    iprev=Iprev(Result.PASS, "mx.sender.example"),
)


class FieldsTest(SynchronousTestCase):
    def test_results(self) -> None:
        self.assertEqual(
            authentication_results(FOUND, SUBJECT, "mx.example").decode(),
            "Authentication-Results: mx.example;\r\n"
            "\tspf=pass (matched ip4:192.0.2.0/24) smtp.mailfrom=ann@sender.example;\r\n"
            "\tdkim=pass header.d=sender.example header.s=s1 header.a=rsa-sha256 header.b=AbCdEfGh;\r\n"
            "\tdmarc=pass (p=reject) header.from=sender.example;\r\n"
            "\tarc=pass;\r\n"
            "\tiprev=pass (mx.sender.example) policy.iprev=192.0.2.1\r\n",
        )

    def test_received_spf(self) -> None:
        self.assertEqual(
            received_spf(FOUND.spf[0], SUBJECT, "mx.example").decode(),
            "Received-SPF: pass (matched ip4:192.0.2.0/24)\r\n"
            "\tclient-ip=192.0.2.1;\r\n"
            '\tenvelope-from="ann@sender.example";\r\n'
            "\thelo=mx.sender.example;\r\n"
            "\treceiver=mx.example;\r\n"
            "\tidentity=mailfrom\r\n",
        )

    def test_the_null_reverse_path(self) -> None:
        said = received_spf(Spf(Result.NONE, "helo", "x.example"), Subject("::1", "x.example", None), "mx.example")
        self.assertIn(b'envelope-from="";', said)
        self.assertIn(b'client-ip="::1";', said)

    @given(st.text(max_size=300), st.text(max_size=300))
    def test_nobodys_words_end_a_field_or_look_like_a_result(self, words: str, name: str) -> None:
        found = Authentication(
            spf=(Spf(Result.FAIL, "mailfrom", "x", words),),
            dkim=(Dkim(Result.FAIL, words, name, words, words, words, words),),
            dmarc=Dmarc(Result.FAIL, name, reason=words),
            arc=Arc(Result.FAIL, words),
            iprev=Iprev(Result.FAIL, name),
        )
        subject = Subject(words, name, Address(words, "x"))
        for field in (authentication_results(found, subject, "mx"), received_spf(found.spf[0], subject, "mx")):
            self.assertTrue(field.isascii())
            self.assertNotIn(b"\0", field)
            lines = field.split(b"\r\n")
            self.assertEqual(lines[-1], b"")
            self.assertTrue(all(line.startswith(b"\t") for line in lines[1:-1]))
            self.assertTrue(all(len(line) < 998 for line in lines))
            self.assertEqual(len(message_from_bytes(field + b"\r\n", policy=policy.SMTP)), 1)
        whole = authentication_results(found, subject, "mx").replace(b"\r\n\t\t", b" ")
        self.assertEqual(whole.count(b"\r\n\t"), 5)
