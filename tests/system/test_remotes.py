"""Mail that goes out to other people's servers, and what becomes of it when they do not take it."""

from smtplib import SMTP
from unittest import skipUnless

from tests.system.remotes import Dovecot, Postfix, SmtpSink, is_root
from tests.system.sending import (
    AIOSMTPD,
    PORT,
    POSTFIX,
    SINK_HOSTS,
    STORE_PORT,
    SendingCase,
    Taker,
    certificate,
    store_socket,
)

# Switches of smtp-sink(1): refuse with 450 (-r), end the connection (-q), with a 421 before (-Q), refuse with 500 (-f).
TEMPORARY = (
    *(("-r", command) for command in ("CONNECT", "EHLO,HELO", "MAIL", "RCPT", "DATA", ".")),
    *(("-q", command) for command in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")),
    *(("-Q", command) for command in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")),
    ("-f", "CONNECT"),
    ("-f", "EHLO,HELO"),
)
PERMANENT = tuple(("-f", command) for command in ("MAIL", "RCPT", "DATA", "."))
# Without ESMTP, without EHLO, without 8BITMIME, without PIPELINING.
OLD = (("-e",), ("-f", "EHLO"), ("-8",), ("-p",))
SINKS = TEMPORARY + PERMANENT + OLD


class SinkTest(SendingCase):
    def sink(self, behaviour: tuple[str, ...], *switches: str) -> SmtpSink:
        """Start the sink that belongs to a behaviour: with its switches, or others."""
        sink = SmtpSink(SINK_HOSTS[SINKS.index(behaviour)], PORT, *switches)
        self.addCleanup(sink.close)
        sink.start()
        return sink

    def recipient(self, behaviour: tuple[str, ...]) -> str:
        return f"u@sink{SINKS.index(behaviour)}.example"

    def test_what_fails_for_now_arrives_later(self) -> None:
        failing = {behaviour: self.sink(behaviour, *behaviour) for behaviour in TEMPORARY}
        recipients = {behaviour: self.recipient(behaviour) for behaviour in TEMPORARY}
        for behaviour, recipient in recipients.items():
            self.submit(recipient, subject=" ".join(behaviour))
        deferred = self.wait_lines("delivery.deferred", *recipients.values())
        for behaviour, recipient in recipients.items():
            twice = "may arrive twice" in str(deferred[recipient]["detail"])
            self.assertEqual(twice, behaviour == ("-q", "."), deferred[recipient])
        for sink in failing.values():
            sink.close()
        healthy = {behaviour: self.sink(behaviour) for behaviour in TEMPORARY}
        self.wait_lines("delivery.delivered", *recipients.values())
        for behaviour, sink in healthy.items():
            (message,) = sink.messages
            self.assertIn(f"\nSubject: {' '.join(behaviour)}\n", message)
            self.assertIn("\nX-Mail-Args: <alice@acme.example>", message)
            self.assertIn(f"\nX-Rcpt-Args: <{recipients[behaviour]}>\n", message)

    def test_what_is_refused_for_good_comes_back_as_a_report(self) -> None:
        for behaviour in PERMANENT:
            self.sink(behaviour, *behaviour)
            recipient = self.recipient(behaviour)
            self.submit(recipient, subject="refused")
            text, fields = self.report_about(recipient)
            self.assertIn("500 5.3.0 Error: command failed", text)
            self.assertEqual((fields["Action"], fields["Status"]), ("failed", "5.3.0"))
            self.assertIn("500 5.3.0 Error: command failed", fields["Diagnostic-Code"])

    def test_servers_that_know_fewer_extensions(self) -> None:
        for behaviour in OLD:
            sink = self.sink(behaviour, *behaviour)
            recipient = self.recipient(behaviour)
            self.submit(recipient, subject="old")
            self.wait_lines("delivery.delivered", recipient)
            (message,) = sink.messages
            self.assertEqual("\nX-Client-Proto: ESMTP\n" in message, behaviour in (("-8",), ("-p",)))
            self.assertEqual(" BODY=8BITMIME\n" in message, behaviour == ("-p",))
            self.assertIn("\nGrüße in die Ferne\n.\n..dots\n", message)


class WantedTlsTest(SendingCase):
    """What the operator wants of a destination, while the server runs."""

    def tearDown(self) -> None:
        self.server.mtactl("destination", "remove", "aio.example")

    def want(self, tls: str) -> None:
        self.server.mtactl("destination", "set", "aio.example", "--tls", tls)

    def test_a_server_without_tls_is_waited_for_until_that_is_no_longer_wanted(self) -> None:
        taker = Taker()
        self.serve(taker)
        self.want("encrypt")
        self.submit("enc@aio.example", subject="encrypt")
        line = self.wait_lines("delivery.deferred", "enc@aio.example")["enc@aio.example"]
        self.assertIn("offers no STARTTLS", str(line["detail"]))
        self.assertEqual(taker.envelopes, [])
        self.want("may")
        self.wait_lines("delivery.delivered", "enc@aio.example")

    def test_a_certificate_for_another_name_will_do_unless_it_is_verified(self) -> None:
        taker = Taker()
        self.serve_tls(taker)
        self.want("verify")
        self.submit("ver@aio.example", subject="verify")
        line = self.wait_lines("delivery.deferred", "ver@aio.example")["ver@aio.example"]
        self.assertIn("while TLS was to begin", str(line["detail"]))
        self.assertIn("4.7.5", self.server.mtactl("trace", "ver@aio.example"))
        self.assertEqual(taker.envelopes, [])
        self.want("encrypt")
        line = self.wait_lines("delivery.delivered", "ver@aio.example")["ver@aio.example"]
        self.assertIn("TLS", str(line["tls"]))


class Utf8Test(SendingCase):
    """Addresses beyond ASCII go to servers that know SMTPUTF8, and come back from others."""

    def test_a_server_that_knows_it(self) -> None:
        taker = Taker()
        self.serve(taker, enable_SMTPUTF8=True)
        self.submit("zoë@aio.example", subject="Grüße")
        self.wait_lines("delivery.delivered", "zoë@aio.example")
        (envelope,) = taker.envelopes
        self.assertEqual(envelope.rcpt_tos, ["zoë@aio.example"])
        self.assertTrue(envelope.smtp_utf8)

    def test_a_server_that_does_not(self) -> None:
        taker = Taker()
        self.serve(taker, enable_SMTPUTF8=False)
        self.submit("noë@aio.example", subject="Grüße")
        line = self.wait_lines("delivery.failed", "noë@aio.example")["noë@aio.example"]
        self.assertIn("does not offer SMTPUTF8", str(line["detail"]))
        self.assertEqual(taker.envelopes, [])


class AiosmtpdTest(SendingCase):
    def test_the_message_is_what_was_sent_and_goes_over_tls(self) -> None:
        taker = Taker()
        self.serve_tls(taker)
        self.submit("ann@aio.example", subject="over TLS")
        line = self.wait_lines("delivery.delivered", "ann@aio.example")["ann@aio.example"]
        self.assertEqual((line["host"], line["address"]), ("mx.aio.example", f"{AIOSMTPD}:{PORT}"))
        self.assertIn("TLS", str(line["tls"]))
        (envelope,), (session,) = taker.envelopes, taker.sessions
        self.assertEqual((envelope.mail_from, envelope.rcpt_tos), ("alice@acme.example", ["ann@aio.example"]))
        self.assertTrue(bytes(envelope.content).endswith("Grüße in die Ferne\r\n.\r\n..dots\r\n".encode()))
        self.assertIsNotNone(session.ssl)

    def test_of_three_recipients_one_is_refused_and_one_greylisted(self) -> None:
        taker = Taker({"bad@aio.example": ["550 5.1.1 who?"], "grey@aio.example": ["451 4.7.1 come back"] * 2})
        self.serve(taker)
        self.submit("good@aio.example", "bad@aio.example", "grey@aio.example", subject="three")
        text, fields = self.report_about("bad@aio.example")
        self.assertEqual(fields["Status"], "5.1.1")
        self.assertIn("550 5.1.1 who?", fields["Diagnostic-Code"])
        self.assertNotIn("good@aio.example", text)
        self.wait_lines("delivery.delivered", "good@aio.example", "grey@aio.example")
        delivered = [envelope.rcpt_tos for envelope in taker.envelopes]
        self.assertEqual(delivered, [["good@aio.example"], ["grey@aio.example"]])
        story = self.server.mtactl("trace", "grey@aio.example")
        self.assertEqual(story.count("451 4.7.1 come back"), 2)

    def test_a_domain_here_whose_mail_store_speaks_smtp(self) -> None:
        taker = Taker()
        self.serve(taker)
        with SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.sendmail("ann@outside.example", "sue@shop.example", b"Subject: in\r\n\r\nx\r\n")
        line = self.wait_lines("delivery.delivered", "sue@shop.example")["sue@shop.example"]
        self.assertEqual(line["kind"], "smtp")
        self.assertEqual([envelope.rcpt_tos for envelope in taker.envelopes], [["sue@shop.example"]])

    def test_domains_without_a_server(self) -> None:
        for domain, status in {"null.example": "5.1.10", "missing.example": "5.1.2"}.items():
            self.submit(f"u@{domain}", subject="nowhere")
            self.assertEqual(self.report_about(f"u@{domain}")[1]["Status"], status)


@skipUnless(is_root(), "a Postfix of one's own needs root")
class PostfixTest(SendingCase):
    def test_its_users_get_their_mail_and_what_is_for_strangers_comes_back(self) -> None:
        remote = Postfix(POSTFIX, PORT, "postfix.example", ["rita", "paul"], certificate())
        self.addCleanup(remote.close)
        remote.start()
        self.submit("rita@postfix.example", "nobody@postfix.example", "paul@postfix.example", subject="to Postfix")
        line = self.wait_lines("delivery.delivered", "rita@postfix.example")["rita@postfix.example"]
        self.assertIn("TLS", str(line["tls"]))
        self.assertEqual(self.report_about("nobody@postfix.example")[1]["Status"], "5.1.1")
        for user in ("rita", "paul"):
            (mail,) = remote.wait_inbox(user)
            self.assertIn(b"\nSubject: to Postfix\n", mail)
            self.assertTrue(mail.endswith("Grüße in die Ferne\n.\n..dots\n".encode()))
        self.assertIn("gone.postfix.example", self.server.mtactl("trace", "rita@postfix.example"))

    def serve(self, *users: str, **settings: str) -> Postfix:
        """Have a Postfix that is the only host of its domain, until the test ends."""
        relay = ("127.0.0.1", self.server.smtp_port)
        remote = Postfix(POSTFIX, PORT, "one.example", users, certificate(), relay=relay, **settings)
        self.addCleanup(remote.close)
        return remote.start()

    def test_its_certificate_is_verified_where_that_is_wanted(self) -> None:
        remote = self.serve("vera")
        self.server.mtactl("destination", "set", "one.example", "--tls", "verify")
        self.addCleanup(self.server.mtactl, "destination", "remove", "one.example")
        self.submit("vera@one.example", subject="verified")
        line = self.wait_lines("delivery.delivered", "vera@one.example")["vera@one.example"]
        self.assertIn("TLS", str(line["tls"]))
        self.assertEqual(len(remote.wait_inbox("vera")), 1)

    def test_it_tells_the_sender_itself(self) -> None:
        self.serve("dan")
        self.submit("dan@one.example", subject="tell me", notify="SUCCESS,FAILURE")
        text, fields = self.report_about("dan@one.example")
        self.assertEqual(fields["Action"], "delivered")
        self.assertEqual(fields["Original-Recipient"].replace(" ", ""), "rfc822;dan@one.example")
        self.assertIn("mx.one.example", text)

    def test_with_smtputf8_its_users_have_any_names(self) -> None:
        self.serve("zoë", smtputf8_enable="yes")
        self.submit("zoë@one.example", subject="Grüße")
        self.wait_lines("delivery.delivered", "zoë@one.example")

    def test_without_smtputf8_its_users_have_ascii_names(self) -> None:
        self.serve("ida", smtputf8_enable="no")
        self.submit("idä@one.example", subject="Grüße")
        line = self.wait_lines("delivery.failed", "idä@one.example")["idä@one.example"]
        self.assertIn("does not offer SMTPUTF8", str(line["detail"]))


@skipUnless(is_root(), "a Dovecot of one's own needs root")
class DovecotTest(SendingCase):
    def test_each_recipient_fares_alone(self) -> None:
        store = Dovecot("127.0.0.1", STORE_PORT, store_socket(), {"sue": "", "tom": "*:bytes=100"})
        self.addCleanup(store.close)
        store.start()
        for count, domain in enumerate(("store.example", "socket.example"), 1):
            sue, tom, gone = (f"{name}@{domain}" for name in ("sue", "tom", "gone"))
            self.submit(sue, tom, gone, subject=f"to {domain}")
            self.assertEqual(self.wait_lines("delivery.delivered", sue)[sue]["kind"], "lmtp")
            self.assertEqual(self.report_about(tom)[1]["Status"], "5.2.2")
            self.assertEqual(self.report_about(gone)[1]["Status"], "5.1.1")
            inbox = store.inbox("sue")
            self.assertEqual(len(inbox), count)
            self.assertTrue(any(f"\nSubject: to {domain}\n".encode() in mail for mail in inbox))
