"""Two hundred sessions that end their data at once, of one of which the database refuses what it is to store."""

import smtplib
from collections import Counter
from contextlib import closing
from functools import partial

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import PATIENCE_SECONDS, RunningServer
from tests.system.waiting import until

SESSIONS = 200
POISONED = SESSIONS // 3
GOOD, BAD = "alice@acme.example", "bob@acme.example"
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
# The protocol lets nothing through that PostgreSQL would refuse (`tests.scenario.test_poison`): a trigger refuses as it
# would, and with the one all that comes in the same statement.
POISON = f"""
create function refuse() returns trigger language plpgsql as $$
begin
    if new.recipient = '{BAD}' then
        raise exception using errcode = 'character_not_in_repertoire';
    end if;
    return new;
end $$;
create trigger refuse before insert on message_queue for each row execute function refuse()
"""
WAITING = """
select count(*) from pg_stat_activity
where application_name like 'mtad writer %' and datname = current_database() and wait_event_type = 'Lock'
"""
WRITERS = 2
TOGETHER = "select count(*) from message_events where 'received' = any (kinds) group by xmin::text order by 1 desc"


class PoisonTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = RunningServer({"server": {"max_connections_per_ip": 2 * SESSIONS}})
        self.addCleanup(self.server.close)
        self.server.apply()
        self.server.database_do(POISON)
        self.server.start()

    def session(self, recipient: str) -> smtplib.SMTP:
        """Return a session that is to send its content next."""
        client = smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=PATIENCE_SECONDS)
        self.addCleanup(client.close)
        for command in ("EHLO outside.example", "MAIL FROM:<ann@outside.example>", f"RCPT TO:<{recipient}>", "DATA"):
            code, said = client.docmd(command)
            self.assertIn(code, (250, 354), said)
        return client

    def send(self, client: smtplib.SMTP) -> None:
        client.send(CONTENT + b".\r\n")

    def wait_writers(self, count: int) -> None:
        """Return once so many connections of the writer wait for the table."""
        waiting = partial(self.server.database_ask, WAITING)
        until(lambda: waiting() == [(count,)], PATIENCE_SECONDS, f"{count} connections wait", waiting)

    def end_together(self, sessions: list[smtplib.SMTP]) -> None:
        """Let sessions end their data while nothing is written, so that all of them wait for the writer together."""
        early = [self.session(GOOD) for _ in range(WRITERS)]
        with closing(psycopg2.connect(**self.server.stores)) as connection, connection.cursor() as cursor:
            cursor.execute("lock table message_queue in share mode")
            for count, client in enumerate(early, start=1):
                self.send(client)
                self.wait_writers(count)
            for client in sessions:
                self.send(client)
            # The server reads what came before what comes after.
            self.session(GOOD)
        self.assertEqual([client.getreply()[0] for client in early], [250] * WRITERS)

    def test_one_is_sent_away_and_the_others_are_not(self) -> None:
        sessions = [self.session(BAD if number == POISONED else GOOD) for number in range(SESSIONS)]
        self.end_together(sessions)
        replies = [client.getreply() for client in sessions]
        self.assertEqual(Counter(code for code, _ in replies), {250: SESSIONS - 1, 451: 1})
        self.assertTrue(replies[POISONED][1].startswith(b"4.3.0 "), replies[POISONED])
        # Those that went with it were written in the halves that it was not in.
        transactions = [count for (count,) in self.server.database_ask(TOGETHER)]
        self.assertEqual(sum(transactions), SESSIONS + WRITERS - 1)
        self.assertGreaterEqual(transactions[0], SESSIONS // 4, transactions)
        while len(self.server.mail(GOOD)) < sum(transactions):
            self.server.wait_for("delivery.delivered")
        self.assertEqual(self.server.mail(BAD), [])
        self.come_again(sessions[POISONED])

    def come_again(self, client: smtplib.SMTP) -> None:
        """Send in a session that was sent away, now that there is no reason any more."""
        self.server.database_do("drop trigger refuse on message_queue")
        client.sendmail("ann@outside.example", [BAD], CONTENT)
        while not self.server.mail(BAD):
            self.server.wait_for("delivery.delivered")
