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
