"""Half a minute without PostgreSQL, or without a turn: longer than any lease, and than it takes to be taken over.

`tests.scenario.test_fencing` has the same in no time.
"""

import signal
from collections import Counter

from mtad.adapters.postgres.place import Store
from tests.system.private_stores import PrivateStores
from tests.system.promises import QUICK_RETRIES, PromisesCase
from tests.system.replicas import Replica
from tests.system.waiting import let_pass

HALF_A_MINUTE = 30.0
SETTLED_SECONDS = 1.0
"""Enough for octets that were sent to be read at the other end."""


class HalfAMinuteCase(PromisesCase):
    """Two servers, which always have deliveries under way."""

    pause_seconds = 0.5

    def start(self, first: Replica) -> None:
        """Start a server and its replica, under load."""
        self.first, self.second = first, first.replica()
        self.addCleanup(self.second.close)
        self.begin(first, first.smtp_port, self.second.smtp_port)
        for each in (self.first, self.second):
            each.start()
        self.owners = {each.owner(1) for each in (self.first, self.second)}
        self.load.up()
        self.load.wait_acknowledged(100)

    def finish(self, harm: str) -> None:
        """Let all arrive, and judge."""
        self.load.wait_acknowledged(20)
        self.load.close()
        self.wait_empty()
        for each in (self.first, self.second):
            self.assertEqual(each.stop(), -signal.SIGTERM)
        self.judge(harm)


class OutageTest(HalfAMinuteCase):
    def test_without_postgres_nobodys_rows_are_freed(self) -> None:
        stores = PrivateStores()
        self.addCleanup(stores.close)
        self.start(Replica(QUICK_RETRIES | {"redis": {"addr": stores.redis}}, stores.database))
        stores.stop(Store.POSTGRES, signal.SIGQUIT)
        let_pass(HALF_A_MINUTE)
        stores.start(Store.POSTGRES)
        self.load.wait_acknowledged(100)
        # Whoever was thought dead would be by now.
        let_pass(HALF_A_MINUTE)
        for each in (self.first, self.second):
            self.assertEqual(each.lines("node.taken_over") + each.lines("node.orphans_freed"), [])
            self.assertEqual(len(each.lines("node.joined")), 1)
        self.finish("half a minute without PostgreSQL")


class StoppedTest(HalfAMinuteCase):
    def test_who_was_stopped_is_fenced(self) -> None:
        self.start(Replica(QUICK_RETRIES))
        owner, since = self.first.owner(1), len(self.first.log)
        self.first.signal(signal.SIGSTOP)
        try:
            let_pass(SETTLED_SECONDS)
            self.note_in_hand(owner)
            arrived = {arrival.reverse_path for arrival in self.store.arrivals} | set(self.filed())
            had = set(self.in_hand)
            self.assertTrue(had - arrived or had & arrived, "it had nothing in hand")
            # What it had sent whole may come again, by the other; nothing else may.
            self.in_hand = Counter(had & arrived)
            let_pass(HALF_A_MINUTE)
            self.second.wait_line("node.taken_over", lambda line: line["owner"] == owner)
        finally:
            self.first.signal(signal.SIGCONT)
        self.first.wait_line("node.lease_lost", lambda line: line["owner"] == owner, since)
        self.first.wait_line("node.joined", since=since)
        self.finish("half a minute without a turn")
