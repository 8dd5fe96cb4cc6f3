"""mtad.smtp.extensions: the keywords, and what the parameters of MAIL and RCPT may be."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.envelope import Parameters
from mtad.smtp.extensions import MailParameters, Offers, RcptParameters, keywords, mail_parameters, rcpt_parameters


class MailTest(SynchronousTestCase):
    def test_parameters(self) -> None:
        for octets, expected in {
            b"": MailParameters(),
            b" SIZE=4096": MailParameters(4096),
            b" body=8bitmime": MailParameters(body="8BITMIME"),
            b" BODY=7BIT SIZE=0": MailParameters(0, "7BIT"),
            b" SIZE=99999999999999999999": MailParameters(99999999999999999999),
            b" AUTH=<>": MailParameters(auth=True),
            b" smtputf8": MailParameters(wishes=Parameters(smtputf8=True)),
            b" RET=full ENVID=QQ+20314159": MailParameters(wishes=Parameters(ret="FULL", envid="QQ+20314159")),
            b" SMTPUTF8 RET=HDRS": MailParameters(wishes=Parameters(smtputf8=True, ret="HDRS")),
            b" ENVID=" + b"a" * 100: MailParameters(wishes=Parameters(envid="a" * 100)),
        }.items():
            self.assertEqual(mail_parameters(octets), expected, octets)

    def test_what_is_malformed_or_given_twice(self) -> None:
        for octets in (
            b"SIZE", b"SIZE=", b"SIZE=-1", b"SIZE=0x10", b"SIZE=" + b"9" * 21, b"SIZE=1 SIZE=1", b"BODY=7BIT BODY=7BIT",
            b"BODY=BINARYMIME", b"=x", b"A=b=c", b"SIZE=\xb2", "SIZE=\u0663".encode(), "BODY=7B\u0131T".encode(),
            b"SMTPUTF8=", b"SMTPUTF8=1", b"SMTPUTF8 SMTPUTF8", b"RET", b"RET=", b"RET=BODY", b"RET=FULL RET=FULL",
            b"ENVID", b"ENVID=", b"ENVID=a ENVID=a", b"ENVID=" + b"a" * 101, b"ENVID=a+", b"ENVID=a+2b", b"ENVID=a+0A",
            b"ENVID=+7F", b"ENVID=+80", b"ENVID=\xc3\xbc",
        ):  # fmt: skip
            self.assertEqual(mail_parameters(b" " + octets), replies.BAD_ARGUMENTS, octets)

    def test_what_nobody_offered(self) -> None:
        for octets in (b"X", b"X=y", b"NOTIFY=NEVER", b"HOLDFOR=1", b"SIZE=1 X"):
            self.assertEqual(mail_parameters(b" " + octets), replies.UNKNOWN_PARAMETER, octets)


class RcptTest(SynchronousTestCase):
    def test_parameters(self) -> None:
        for octets, expected in {
            b"": RcptParameters(),
            b" NOTIFY=never": RcptParameters("NEVER"),
            b" notify=success,Failure,DELAY": RcptParameters("SUCCESS,FAILURE,DELAY"),
            b" NOTIFY=DELAY ORCPT=rfc822;Bob+2B@example.com": RcptParameters("DELAY", "rfc822;Bob+2B@example.com"),
            b" ORCPT=x-what;+20": RcptParameters(orcpt="x-what;+20"),
            b" ORCPT=rfc822;" + b"a" * 493: RcptParameters(orcpt="rfc822;" + "a" * 493),
            b" ORCPT=utf-8;\\x{FC}@example.com": RcptParameters(orcpt="utf-8;\\x{FC}@example.com"),
            b" ORCPT=UTF-8;\\x{10FFFF}\\x{D7FF}\\x{5C}": RcptParameters(orcpt="UTF-8;\\x{10FFFF}\\x{D7FF}\\x{5C}"),
        }.items():
            self.assertEqual(rcpt_parameters(octets), expected, octets)
            self.assertEqual(rcpt_parameters(octets, international=True), expected, octets)

    def test_what_is_malformed_or_given_twice(self) -> None:
        for octets in (
            b"NOTIFY", b"NOTIFY=", b"NOTIFY=NEVER,DELAY", b"NOTIFY=DELAY,DELAY", b"NOTIFY=DELAY,", b"NOTIFY=ALWAYS",
            b"NOTIFY=SUCCESS,FAILURE,DELAY,SUCCESS", b"NOTIFY=NEVER NOTIFY=NEVER", "NOTIFY=\u017fUCCESS".encode(),
            b"ORCPT", b"ORCPT=", b"ORCPT=bob@example.com", b"ORCPT=;bob", b"ORCPT=rfc822;", b"ORCPT=rfc822;a+0D",
            b"ORCPT=rfc822;a+2b", b"ORCPT=rfc822;a=b", b"ORCPT=rfc822;\xc3\xbc", b"ORCPT=rfc822;" + b"a" * 494,
            b"ORCPT=rfc822;a ORCPT=rfc822;a", b"ORCPT=utf-8;\\", b"ORCPT=utf-8;\\x{D800}", b"ORCPT=utf-8;\\x{110000}",
            b"ORCPT=utf-8;\\x{0A}", b"ORCPT=utf-8;\\x{85}", b"ORCPT=utf-8;\\x{fc}", b"ORCPT=utf-8;\xff", b"=NEVER",
        ):  # fmt: skip
            for international in (False, True):
                found = rcpt_parameters(b" " + octets, international=international)
                self.assertEqual(found, replies.BAD_ARGUMENTS, octets)

    def test_an_original_recipient_in_utf8_is_for_mail_with_smtputf8(self) -> None:
        octets = " ORCPT=utf-8;jürgen@bücher.example".encode()
        self.assertEqual(rcpt_parameters(octets), replies.BAD_ARGUMENTS)
        expected = RcptParameters(orcpt="utf-8;jürgen@bücher.example")
        self.assertEqual(rcpt_parameters(octets, international=True), expected)
        # UTF8-non-ascii is no control here (RFC 6533 §3 has it all).
        self.assertEqual(rcpt_parameters(" ORCPT=utf-8;\x85".encode(), international=True), replies.BAD_ARGUMENTS)

    def test_what_nobody_offered(self) -> None:
        self.assertEqual(rcpt_parameters(b" X=1"), replies.UNKNOWN_PARAMETER)
        self.assertEqual(rcpt_parameters(b" SIZE=1"), replies.UNKNOWN_PARAMETER)


class KeywordsTest(SynchronousTestCase):
    def test_keywords(self) -> None:
        plain = ("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "HELP")
        self.assertEqual(keywords(Offers(max_message_size=1000)), plain)
        offers = Offers(
            max_message_size=1000,
            max_recipients=100,
            starttls=True,
            mechanisms=("PLAIN", "LOGIN"),
            attributes=("ADDR",),
        )
        more = ("LIMITS RCPTMAX=100", "STARTTLS", "AUTH PLAIN LOGIN", "XCLIENT ADDR")
        self.assertEqual(keywords(offers), (*plain, *more))
