"""What PostgreSQL reads to answer: a few rows, however many there are, and whatever it believes there are.

What it believes comes from the last ANALYZE. A queue is empty most of the time, and so most of the time that is what
was found.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import writer
from mtad.adapters.postgres.libpq import Statement
from mtad.adapters.postgres.statements import (
    CLAIM,
    CLEAN,
    FORGET,
    LOCK_MESSAGES,
    OWNED,
    READ_CONTENT,
    READY,
    RELEASE,
    SEIZE,
    SETTLE_SOME,
    SETTLE_WHOLE,
)
from tests.stores import database

ROWS = 5_000
CLAIMED = 10
MANY = 500
TABLES = ("messages", "message_content", "message_queue", "message_events", "message_keys")
NODE = """
insert into node_slots (slot, owner, last_beat, last_id) values (1, 1, now(), 0);
insert into nodes (owner, slot, name, started_at) values (1, 1, 'here', now());
"""
FILL = f"""
insert into messages (id, organisation, direction, reverse_path, recipients, content_id, copies, size, received_at)
select n, 1, 'outbound', 'ann@outside.example', 1, n, 1, 7, now() from generate_series(1, {ROWS}) n;
insert into message_content (content_id, n, chunk) select n, 0, 'content' from generate_series(1, {ROWS}) n;
insert into message_queue (message, n, organisation, destination, recipient, status, claim, due, expires_at)
select n, 0, 1, case n when 1 then 'mx:other.example' else 'mx:slow.example' end, 'bob@slow.example', 'queued', 0,
    now(), now() + interval '5 days'
from generate_series(1, {ROWS}) n;
insert into message_events (at, message, organisation, kinds, events)
select now(), n, 1, '{{received}}', '' from generate_series(1, {ROWS}) n;
insert into message_keys (at, organisation, key, message) select now(), 1, n, n from generate_series(1, {ROWS}) n;
"""
# A few rows far behind the first.
SOME = (ROWS - 20, ROWS - 10)
MESSAGES = "array[{}, {}]::int8[]".format(*SOME)
SETTLED = f"'{{1,2}}', {MESSAGES}, '{{1,1}}', array[now(), now()], '{{delivered,delivered}}', array['', '']::bytea[]"
NO_REPORTS = ", ".join(["'{}'"] * (3 + 12 + 10 + 3 + 2 + 3))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes, from the top down."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def looked_at(node: dict[str, Any]) -> int:
    """Return how many rows a node had in hand, those it left out as well."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


class PlansContract:
    """Statements are prepared as the writer does."""

    def begin(self) -> None:
        self.connection = psycopg2.connect(**database(), options=writer._SETTINGS)
        self.addCleanup(self.connection.close)
        self.connection.autocommit = True
        self.ask(NODE)

    def analyse(self) -> None:
        """Let the planner know what is there."""
        for table in TABLES:
            self.ask(f"analyze {table}")

    def ask(self, sql: str) -> None:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)

    def plan(self, statement: Statement, arguments: str) -> dict[str, Any]:
        """Run a statement, arguments in SQL; return how it was done."""
        self.ask(f"prepare {statement.name} as {statement.sql}")
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(f"explain (analyze, format json) execute {statement.name}({arguments})")
            ((((plan,),),),) = [cursor.fetchall()]
        found: dict[str, Any] = plan["Plan"]
        return found

    def rows_read(self, statement: Statement, arguments: str) -> int:
        """Run a statement, arguments in SQL; return how many rows it read of all tables."""
        scans = [node for node in nodes(self.plan(statement, arguments)) if "Relation Name" in node]
        return sum(looked_at(node) for node in scans if "Scan" in node["Node Type"])

    def own(self) -> None:
        """Let SOME be delivered by node 1."""
        had = "status = 'delivering', owner = 1, claim = 1"
        self.ask(f"update message_queue set {had} where message = any ({MESSAGES})")

    def count(self, table: str, key: str = "message") -> int:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(f"select count(*) from {table} where {key} = any ({MESSAGES})")
            return int(cursor.fetchone()[0])

    def test_a_claim_from_the_lane_that_has_nearly_all(self) -> None:
        read = self.rows_read(CLAIM, f"1, now(), {CLAIMED}, '{{1}}', '{{mx:slow.example}}'")
        self.assertGreaterEqual(read, 3 * CLAIMED, "picked, taken, and their messages")
        self.assertLess(read, 5 * CLAIMED)

    def test_a_look_at_the_lanes(self) -> None:
        self.assertLess(self.rows_read(READY, "now(), 100, 0, '', 1000"), 10)

    def test_one_message(self) -> None:
        self.assertLess(self.rows_read(SEIZE, f"1, {SOME[0]}, '{{}}'"), 10)

    def test_settlements_of_whole_messages(self) -> None:
        self.own()
        results = f"'{{1,2}}', {MESSAGES}, '{{0,0}}', '{{1,1}}'"
        self.assertLess(self.rows_read(SETTLE_WHOLE, f"1, {ROWS}, {SETTLED}, {results}"), 20)
        self.assertEqual([self.count("message_queue"), self.count("messages", "id")], [0, 0])
        self.assertEqual(self.count("message_content", "content_id"), 0)

    def test_other_settlements(self) -> None:
        self.own()
        self.assertLess(self.rows_read(LOCK_MESSAGES, f"{MESSAGES}, {MESSAGES}"), 20)
        disposals = f"'{{1,2}}', {MESSAGES}, '{{0,0}}', '{{1,1}}', '{{gone,again}}', array[now(), now()]"
        read = self.rows_read(SETTLE_SOME, f"1, {SETTLED}, {disposals}, '{{f,f}}', '{{0,0}}', {NO_REPORTS}")
        self.assertLess(read, 20)
        self.assertEqual(self.count("message_queue"), 1)
        self.assertLess(self.rows_read(CLEAN, f"{MESSAGES}, {ROWS}"), 20)
        self.assertEqual([self.count("messages", "id"), self.count("message_content", "content_id")], [1, 1])

    def test_a_settlement_of_many_rows_costs_no_more_for_each(self) -> None:
        self.ask(f"delete from message_queue where message = {SOME[0]}")
        row = f"{SOME[0]}, n, 1, 'mx:slow.example', 'bob@slow.example', 'delivering', 1, 1, now(), now()"
        self.ask(
            "insert into message_queue (message, n, organisation, destination, recipient, status, owner, claim, due,"
            f" expires_at) select {row} from generate_series(1, {MANY}) n"
        )
        told = f"'{{1}}', '{{{SOME[0]}}}', '{{1}}', array[now()], '{{deferred}}', array['']::bytea[]"
        columns = ("1", str(SOME[0]), "{n}", "1", "'again'", "now()", "false", "0")
        disposals = ", ".join(f"array[{', '.join(each.format(n=n) for n in range(1, MANY + 1))}]" for each in columns)
        plan = self.plan(SETTLE_SOME, f"1, {told}, {disposals}, {NO_REPORTS}")
        self.assertLess(sum(looked_at(node) for node in nodes(plan)), 60 * MANY)
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(
                f"select count(*) from message_queue where message = {SOME[0]} and claim = 2 and attempts = 1"
            )
            self.assertEqual(cursor.fetchone(), (MANY,))

    def test_what_was_accepted_in_vain(self) -> None:
        self.own()
        keys = f"{MESSAGES}, {MESSAGES}"
        forgotten = f"{MESSAGES}, '{{1,1}}', array[now(), now()], '{{abandoned,abandoned}}', array['', '']::bytea[]"
        self.assertLess(self.rows_read(FORGET, f"{forgotten}, {keys}"), 40)
        self.assertEqual(
            [self.count("message_queue"), self.count("message_events"), self.count("message_keys")], [0] * 3
        )

    def test_what_is_given_back(self) -> None:
        self.own()
        self.assertLess(self.rows_read(OWNED, "1"), 10)
        self.assertLess(self.rows_read(RELEASE, f"1, now(), {MESSAGES}, '{{0,0}}', '{{1,1}}'"), 10)

    def test_a_content(self) -> None:
        self.assertLess(self.rows_read(READ_CONTENT, f"{SOME[0]}, 0, 10"), 5)


class KnownTest(PlansContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.begin()
        self.ask(FILL)
        self.analyse()


class TakenForEmptyTest(PlansContract, SynchronousTestCase):
    """The tables were analysed when they had just become empty."""

    def setUp(self) -> None:
        self.begin()
        self.ask(FILL)
        for table in TABLES:
            self.ask(f"delete from {table}")
        self.analyse()
        self.ask(FILL)
