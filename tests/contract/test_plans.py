"""What PostgreSQL reads to answer: a few rows, however many there are, also where one lane has nearly all of them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import writer
from mtad.adapters.postgres.libpq import Statement
from mtad.adapters.postgres.statements import CLAIM, READY, SEIZE
from tests.stores import database

ROWS = 5_000
CLAIMED = 10
FILL = f"""
insert into node_slots (slot, owner, last_beat, last_id) values (1, 1, now(), 0);
insert into nodes (owner, slot, name, started_at) values (1, 1, 'here', now());
insert into messages (id, organisation, direction, reverse_path, recipients, content_id, copies, size, received_at)
select n, 1, 'outbound', 'ann@outside.example', 1, n, 1, 7, now() from generate_series(1, {ROWS}) n;
insert into message_queue (message, n, organisation, destination, recipient, status, claim, due, expires_at)
select n, 0, 1, case n when 1 then 'mx:other.example' else 'mx:slow.example' end, 'bob@slow.example', 'queued', 0,
    now(), now() + interval '5 days'
from generate_series(1, {ROWS}) n;
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes, from the top down."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


class PlansTest(SynchronousTestCase):
    """Statements are prepared as the writer does, once everything is there and the planner knows of it."""

    def setUp(self) -> None:
        parameters = database()
        self.connection = psycopg2.connect(**parameters, options=writer._SETTINGS)
        self.addCleanup(self.connection.close)
        self.connection.autocommit = True
        self.ask(FILL)
        self.ask("vacuum analyze messages")
        self.ask("vacuum analyze message_queue")

    def ask(self, sql: str) -> None:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)

    def rows_read(self, statement: Statement, arguments: str) -> int:
        """Run a statement, arguments in SQL; return how many rows it read of all tables."""
        self.ask(f"prepare {statement.name} as {statement.sql}")
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(f"explain (analyze, format json) execute {statement.name}({arguments})")
            ((((plan,),),),) = [cursor.fetchall()]
        read = 0
        for node in nodes(plan["Plan"]):
            if "Relation Name" in node and "Scan" in node["Node Type"]:
                removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
                read += (node["Actual Rows"] + removed) * node["Actual Loops"]
        return int(read)

    def test_a_claim_from_the_lane_that_has_nearly_all(self) -> None:
        read = self.rows_read(CLAIM, f"1, now(), {CLAIMED}, '{{1}}', '{{mx:slow.example}}'")
        self.assertGreaterEqual(read, 3 * CLAIMED, "picked, taken, and their messages")
        self.assertLess(read, 5 * CLAIMED)

    def test_a_look_at_the_lanes(self) -> None:
        self.assertLess(self.rows_read(READY, "now(), 100, 0, '', 1000"), 10)

    def test_one_message(self) -> None:
        self.assertLess(self.rows_read(SEIZE, "1, 7, '{}'"), 10)
