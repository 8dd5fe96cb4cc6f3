"""Senders that ask to be told of success (RFC 3461), on real ports."""

import atexit
import smtplib
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import RunningServer

ALICE = "alice@acme.example"


@cache
def running() -> RunningServer:
    """Return the one server of this module: what its tests ask for differs."""
    server = RunningServer({"tls": {"enabled": False}})
    atexit.register(server.close)
    server.apply()
    return server.start()


class NotifyTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = running()

    def told(self, of: str) -> tuple[EmailMessage, EmailMessage]:
        """Return what the report that names a message says of it, and of its one recipient."""
        while True:
            for mail in self.server.mail(ALICE):
                report = message_from_bytes(mail, policy=policy.default)
                if report.get_content_type() == "multipart/report" and of.encode() in mail:
                    message, recipient = list(report.iter_parts())[1].get_payload()
                    return message, recipient
            self.server.wait_for("delivery.delivered")

    def submit(self, to: str, subject: str, mail_options: list[str], rcpt_options: list[str]) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.submission_port) as client:
            client.login(ALICE, "alice's")
            self.assertTrue(client.has_extn("dsn"))
            client.sendmail(ALICE, [to], f"Subject: {subject}\r\n\r\nhi\r\n", mail_options, rcpt_options)

    def test_a_delivery_is_told_with_the_senders_own_names(self) -> None:
        wishes = ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;bobby@acme.example"]
        self.submit("bob@acme.example", "to one", ["RET=HDRS", "ENVID=no+2B7"], wishes)
        message, recipient = self.told("Subject: to one")
        self.assertEqual(message["Original-Envelope-Id"], "no+7")
        self.assertEqual((recipient["Action"], recipient["Status"]), ("delivered", "2.0.0"))
        self.assertEqual(recipient["Original-Recipient"], "rfc822; bobby@acme.example")
        self.assertEqual(recipient["Final-Recipient"], "rfc822; bob@acme.example")

    def test_an_alias_is_told_of_as_a_whole(self) -> None:
        self.submit("sales@acme.example", "to several", [], ["NOTIFY=SUCCESS"])
        _, recipient = self.told("Subject: to several")
        self.assertEqual((recipient["Action"], recipient["Status"]), ("expanded", "2.0.0"))
        self.assertEqual(recipient["Final-Recipient"], "rfc822; sales@acme.example")
