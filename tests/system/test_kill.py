"""What 250 promised survives `kill -9`, under load and again and again.

MTAD_TEST_KILL_ROUNDS says how often (3; `make faults`: 10), MTAD_TEST_SEED when (by chance). A node is taken over when
it was silent for 15 s (DESIGN D8), so the rounds go on beside what earlier ones left, and all is looked at in the end.
"""

import os
import re
import secrets
import signal
import threading
from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.identity import print_id
from tests.system.load import Load, text_of
from tests.system.mailstore import LmtpStore
from tests.system.server import RunningServer

ROUNDS = int(os.environ.get("MTAD_TEST_KILL_ROUNDS", "3"))
# From this number on, one life lasts until it has taken over others, and is killed amidst what they left.
ROUNDS_WITH_HEIR = 6
RETURN_PATH = re.compile(rb"\AReturn-Path: <(.*?)>\n")


def tenants(store: LmtpStore) -> object:
    delivery = {"kind": "lmtp", "addr": store.addr}
    return {
        "organisations": [
            {
                "name": "acme",
                "domains": [
                    {"name": "acme.example", "verified": True, "mailboxes": [{"local_part": "alice"}]},
                    {
                        "name": "store.example", "verified": True, "delivery": delivery,
                        "mailboxes": [{"local_part": "sue"}],
                    },
                ],
            }
        ]
    }  # fmt: skip


class KillTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.seed = int(os.environ.get("MTAD_TEST_SEED") or secrets.randbits(32))
        self.random = Random(self.seed)
        self.store = LmtpStore(self.random, pause_seconds=0.02)
        self.addCleanup(self.store.close)
        self.server = RunningServer({"queue": {"retry_delay": "1s"}})
        self.addCleanup(self.server.close)
        self.server.apply(tenants(self.store))
        self.load = Load(self.server.smtp_port, ["sue@store.example", "alice@acme.example"])
        self.addCleanup(self.load.close)
        self.in_flight: Counter[str] = Counter()
        self.dead: set[object] = set()

    def test_every_message_answered_250_arrives(self) -> None:
        for number in range(ROUNDS):
            self.live_and_die(is_heir=ROUNDS >= ROUNDS_WITH_HEIR and number == ROUNDS // 2)
        life = len(self.server.log)
        self.server.start()
        self.load.up()
        self.load.wait_acknowledged(10)
        self.load.close()
        while not self.dead <= {line["owner"] for line in self.lines("node.taken_over")}:
            self.server.wait_for("node.taken_over")
        waiting = {print_id(int(message)) for (message,) in self.server.database_ask("select id from messages")}
        while not waiting <= {line["id"] for line in self.lines("delivery.delivered", life)}:
            self.server.wait_for("delivery.delivered")
        self.assertEqual(self.server.stop(), -signal.SIGTERM, "twistd ends by the signal it was told to end by")
        self.assertTrue(self.lines("service.stopped", life))
        self.assertEqual(self.server.mtactl("queue", "list", "--json").strip(), "[]")
        self.judge()

    def live_and_die(self, *, is_heir: bool) -> None:
        """Start the server, let it work, and kill it at a random moment."""
        life, arrived = len(self.server.log), len(self.store.arrivals)
        self.server.start()
        self.load.up()
        if is_heir:
            self.server.wait_for("node.taken_over")
        self.load.wait_acknowledged(self.random.randrange(1, 500))
        threading.Event().wait(self.random.uniform(0, 0.02))
        self.server.kill()
        self.load.down()
        self.store.wait_idle()
        self.dead |= {line["owner"] for line in self.lines("node.joined", life)}
        self.dead -= {line["owner"] for line in self.lines("node.taken_over", life)}
        waiting = self.server.database_ask("select reverse_path from messages")
        in_flight = {path for (path,) in waiting} & {arrival.reverse_path for arrival in self.store.arrivals[arrived:]}
        self.in_flight.update(in_flight)
        print(
            f"\nkilled: {len(self.load.acknowledged)} acknowledged until now, {len(waiting)} in the queue,"
            f" {len(in_flight)} of them with the store",
            end="",
        )

    def lines(self, event: str, since: int = 0) -> list[dict[str, object]]:
        """Return the lines of the log that tell of an event."""
        return [line for line in self.server.log[since:] if line.get("event") == event]

    def judge(self) -> None:
        """Compare what was promised with what arrived."""
        stored = Counter(arrival.reverse_path for arrival in self.store.arrivals)
        filed: Counter[str] = Counter()
        for mail in self.server.mail("alice@acme.example"):
            found = RETURN_PATH.match(mail)
            assert found, mail[:200]
            filed[found[1].decode()] += 1
            self.assertTrue(mail.endswith(text_of(found[1].decode()).replace(b"\r\n", b"\n")))
        for arrival in self.store.arrivals:
            self.assertTrue(arrival.content.endswith(text_of(arrival.reverse_path)))
        arrived = stored + filed
        duplicates = {path: times - 1 for path, times in arrived.items() if times > 1}
        print(
            f"\nseed {self.seed}, {ROUNDS} kills: {len(self.load.acknowledged)} acknowledged, {len(arrived)} arrived"
            f" ({len(set(arrived) - self.load.acknowledged)} without having been acknowledged),"
            f" {sum(duplicates.values())} duplicates, {self.in_flight.total()} in flight when it was killed"
        )
        self.assertEqual(self.load.acknowledged - set(arrived), set(), f"lost, seed {self.seed}")
        unexplained = {path: times for path, times in duplicates.items() if times > self.in_flight[path]}
        self.assertEqual(unexplained, {}, f"seed {self.seed}")
        self.assertEqual([path for path, times in filed.items() if times > 1], [], "a Maildir knows what it has")
