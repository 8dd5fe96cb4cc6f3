"""Settlements that meet another change of the same row, made by somebody who has not committed yet."""

import threading
from contextlib import closing

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import writer
from mtad.adapters.postgres.statements import RELEASE, SETTLE_SOME, SETTLE_WHOLE
from tests.contract.test_plans import NO_REPORTS, NODE
from tests.stores import database

ROW = """
insert into messages (id, organisation, direction, reverse_path, recipients, content_id, copies, size, received_at)
values (7, 1, 'outbound', 'ann@outside.example', 1, 7, 1, 7, now());
insert into message_content (content_id, n, chunk) values (7, 0, 'content');
insert into message_queue (message, n, organisation, destination, recipient, status, owner, claim, due, expires_at)
values (7, 0, 1, 'mx:slow.example', 'bob@slow.example', 'delivering', 1, 1, now(), now() + interval '5 days');
"""
TOLD = "'{1}', '{7}', '{1}', array[now()], '{delivered}', array['']::bytea[]"
STATEMENTS = {
    SETTLE_WHOLE: f"1, 0, {TOLD}, '{{1}}', '{{7}}', '{{0}}', '{{1}}'",
    SETTLE_SOME: (
        f"1, {TOLD}, '{{1}}', '{{7}}', '{{0}}', '{{1}}', '{{again}}', array[now()], '{{f}}', '{{0}}', {NO_REPORTS}"
    ),
    RELEASE: "1, now(), '{7}', '{0}', '{1}'",
}
HELD = "update message_queue set hold = 3 where message = 7"
CLAIMED = "update message_queue set claim = 2 where message = 7"
WAITS = "select true from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"


class RacesTest(SynchronousTestCase):
    def setUp(self) -> None:
        parameters = database()
        self.other, self.ours, self.watcher = (
            psycopg2.connect(**parameters, options=writer._SETTINGS) for _ in range(3)
        )
        for connection in (self.other, self.ours, self.watcher):
            self.addCleanup(connection.close)
        for connection in (self.ours, self.watcher):
            connection.autocommit = True
        self.ask(self.ours, NODE)
        for statement in STATEMENTS:
            self.ask(self.ours, f"prepare {statement.name} as {statement.sql}")

    def ask(self, connection: object, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with closing(connection.cursor()) as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []

    def states(self, change: str) -> dict[str, list[tuple[object, ...]]]:
        """Return what each statement leaves of the row when it met that change, which was committed meanwhile."""
        found = {}
        for statement, arguments in STATEMENTS.items():
            self.ask(self.ours, f"truncate messages, message_content, message_queue; {ROW}")
            self.ask(self.other, change)
            asked = f"execute {statement.name}({arguments})"
            asking = threading.Thread(target=self.ask, args=(self.ours, asked), daemon=True)
            asking.start()
            pid = self.ours.info.backend_pid
            while not self.ask(self.watcher, WAITS, (pid,)):
                self.assertTrue(asking.is_alive(), f"{statement.name} did not wait")
            self.other.commit()
            asking.join()
            found[statement.name] = self.ask(self.watcher, "select owner, claim, status from message_queue")
        return found

    def test_what_changes_nothing_of_whose_it_is_stops_none(self) -> None:
        self.assertEqual(
            self.states(HELD),
            {"settle_whole": [], "settle_some": [(None, 2, "queued")], "release": [(None, 1, "queued")]},
        )

    def test_a_row_that_was_claimed_meanwhile_is_left_to_who_claimed_it(self) -> None:
        self.assertEqual(self.states(CLAIMED), {statement.name: [(1, 2, "delivering")] for statement in STATEMENTS})
