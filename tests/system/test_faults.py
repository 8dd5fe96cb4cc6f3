"""What 250 promised survives that the stores go, and that a whole replica does.

In each round PostgreSQL is stopped as by `pg_ctl -m immediate` or Valkey is killed, under load, and started again.
"""

import json
import signal
import time
import urllib.error
import urllib.request
from typing import ClassVar

from mtad.adapters.postgres.place import Store
from tests.system.private_stores import PrivateStores
from tests.system.promises import PATIENCE_SECONDS, QUICK_RETRIES, ROUNDS, PromisesCase
from tests.system.replicas import Replica
from tests.system.waiting import until

TAKEN_OVER_SECONDS = 20
"""Within so much of its end somebody else has a server's mail."""


class StoresCase(PromisesCase):
    """A server of two processes on stores of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.stores = PrivateStores()
        self.addCleanup(self.stores.close)
        sections = QUICK_RETRIES | {"redis": {"addr": self.stores.redis}}
        self.begin(Replica(sections, self.stores.database, processes=2))
        self.server.start()
        self.owners = {self.server.owner(number) for number in (1, 2)}

    def troubles(self) -> list[str]:
        """Return what `/ready` says of dependencies that is not good."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.http_port}/ready", timeout=30) as answer:
                page = json.load(answer)
        except urllib.error.HTTPError as refused:
            page = json.load(refused)
        findings = [each["dependencies"] for each in page["processes"].values()]
        return sorted({name for found in findings for name, said in found.items() if said != "ok"})

    def wait_troubles(self, *wanted: str) -> None:
        """Return once `/ready` has these troubles and no others."""
        until(lambda: self.troubles() == sorted(wanted), 30, f"the troubles are {wanted}", self.troubles)

    def finish(self, harm: str) -> None:
        """Let all arrive, and judge: nobody died, so nothing may have come twice."""
        self.load.wait_acknowledged(10)
        self.load.close()
        self.wait_empty()
        self.assertEqual(self.server.lines("node.taken_over"), [])
        self.assertEqual({line["owner"] for line in self.server.lines("node.joined")}, self.owners)
        self.assertEqual(self.server.stop(), -signal.SIGTERM)
        self.judge(harm)


class PostgresTest(StoresCase):
    def test_it_is_restarted_and_nothing_is_lost(self) -> None:
        self.load.up()
        for _ in range(ROUNDS):
            self.load.wait_acknowledged(self.random.randrange(1, 200))
            self.let_a_moment_pass()
            self.stores.stop(Store.POSTGRES, signal.SIGQUIT)
            self.stores.start(Store.POSTGRES)
        self.wait_troubles()
        self.finish(f"{ROUNDS} restarts of PostgreSQL")


class RedisTest(StoresCase):
    def test_it_is_killed_and_nothing_is_lost(self) -> None:
        self.load.up()
        for _ in range(ROUNDS):
            self.load.wait_acknowledged(self.random.randrange(1, 200))
            self.let_a_moment_pass()
            self.stores.stop(Store.VALKEY, signal.SIGKILL)
            self.wait_troubles("redis")
            self.stores.start(Store.VALKEY)
            self.wait_troubles()
        self.finish(f"{ROUNDS} kills of Redis")


class ReplicaTest(PromisesCase):
    """Two servers on the same stores; each delivery takes its time, so that there is always one in hand."""

    pause_seconds: ClassVar[float] = 0.5

    def kept_in_hand(self) -> set[str]:
        """Return what the killed one had and nobody has delivered yet."""
        kept = self.server.database_ask("select reverse_path from messages")
        return set(self.in_hand) & {path for (path,) in kept}

    def test_a_killed_one_is_taken_over_by_the_other_in_time(self) -> None:
        first = Replica(QUICK_RETRIES)
        second = first.replica()
        self.addCleanup(second.close)
        self.begin(first, first.smtp_port, second.smtp_port)
        for each in (first, second):
            each.start()
        self.load.up()
        self.load.wait_acknowledged(50)
        owner = first.owner(1)
        first.kill()
        killed = time.monotonic()
        self.note_in_hand(owner)
        self.assertGreater(self.in_hand.total(), 0)
        second.wait_line("node.taken_over", lambda line: line["owner"] == owner)
        taken = time.monotonic() - killed
        until(lambda: not self.kept_in_hand(), PATIENCE_SECONDS, "what it had is delivered", self.kept_in_hand)
        print(f"\ntaken over after {taken:.1f} s, all delivered after {time.monotonic() - killed:.1f} s", end="")
        self.assertLess(taken, TAKEN_OVER_SECONDS)
        self.load.close()
        self.wait_empty()
        self.judge("one of two replicas killed")
