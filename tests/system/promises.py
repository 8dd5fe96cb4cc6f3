"""What 250 promised, and what became of it: load on servers that are harmed, and the judgement in the end.

MTAD_TEST_KILL_ROUNDS says how often they are harmed (3; `make faults`: 20), MTAD_TEST_SEED when (by chance).
"""

import os
import re
import secrets
from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.system.load import Load, text_of
from tests.system.mailstore import LmtpStore
from tests.system.replicas import Replica
from tests.system.waiting import let_pass, until

ROUNDS = int(os.environ.get("MTAD_TEST_KILL_ROUNDS", "3"))
RECIPIENTS = ("sue@store.example", "alice@acme.example")
QUICK_RETRIES = {"queue": {"retry_delay": "1s"}}
PATIENCE_SECONDS = 90.0
MOMENT_SECONDS = 0.02
_RETURN_PATH = re.compile(rb"\AReturn-Path: <(.*?)>\n")


def tenants(store: LmtpStore) -> object:
    """Return the mailboxes of RECIPIENTS: a Maildir, and one in the mail store."""
    delivery = {"kind": "lmtp", "addr": store.addr}
    mailboxes = {"acme.example": ["alice"], "store.example": ["sue"]}
    domains = [
        {"name": name, "verified": True, "mailboxes": [{"local_part": each} for each in boxes]}
        | ({"delivery": delivery} if name == "store.example" else {})
        for name, boxes in mailboxes.items()
    ]
    return {"organisations": [{"name": "acme", "domains": domains}]}


class PromisesCase(SynchronousTestCase):
    """Servers under load. `in_hand` are messages a server had when it was harmed: they may come twice."""

    pause_seconds = 0.02

    def setUp(self) -> None:
        self.seed = int(os.environ.get("MTAD_TEST_SEED") or secrets.randbits(32))
        self.random = Random(self.seed)
        self.store = LmtpStore(self.random, pause_seconds=self.pause_seconds)
        self.addCleanup(self.store.close)
        self.in_hand: Counter[str] = Counter()
        self.in_flight_count = 0

    def begin(self, server: Replica, *ports: int) -> None:
        """Load the tenants of a server, and send to it, or to these ports, whenever `load` is up."""
        self.server = server
        self.addCleanup(server.close)
        server.apply(tenants(self.store))
        self.load = Load(ports or (server.smtp_port,), RECIPIENTS)
        self.addCleanup(self.load.close)

    def note_in_hand(self, *owners: int) -> None:
        """Remember what killed processes had; what of it had been sent whole is told of as in flight."""
        theirs = " or ".join(f"q.owner = {owner}" for owner in owners)
        had = self.server.database_ask(
            f"select distinct m.reverse_path from message_queue q join messages m on m.id = q.message where {theirs}"
        )
        arrived = {arrival.reverse_path for arrival in self.store.arrivals}
        self.in_hand.update(path for (path,) in had)
        in_flight = sum(path in arrived for (path,) in had)
        self.in_flight_count += in_flight
        print(
            f"\n{len(self.load.acknowledged)} acknowledged until now, {len(had)} in hand, {in_flight} in flight",
            end="",
        )

    def wait_empty(self, what: str = "message_queue") -> None:
        """Return once there are no rows of that kind."""
        until(
            lambda: not self.server.database_ask(f"select from {what} limit 1"),
            PATIENCE_SECONDS,
            f"no {what}",
            lambda: self.server.database_ask(f"select * from {what} limit 3"),
        )

    def let_a_moment_pass(self) -> None:
        """Let a moment of random length pass, so that harm is done at any point of the server's work."""
        let_pass(self.random.uniform(0, MOMENT_SECONDS))

    def filed(self) -> Counter[str]:
        """Return what is in the Maildir, by reverse-path; each must be whole."""
        found: Counter[str] = Counter()
        for mail in self.server.mail("alice@acme.example"):
            path = _RETURN_PATH.match(mail)
            assert path, mail[:200]
            found[path[1].decode()] += 1
            self.assertTrue(mail.endswith(text_of(path[1].decode()).replace(b"\r\n", b"\n")))
        return found

    def judge(self, harm: str) -> None:
        """Compare what was promised with what arrived."""
        stored = Counter(arrival.reverse_path for arrival in self.store.arrivals)
        for arrival in self.store.arrivals:
            self.assertTrue(arrival.content.endswith(text_of(arrival.reverse_path)))
        filed = self.filed()
        arrived = stored + filed
        duplicates = {path: times - 1 for path, times in arrived.items() if times > 1}
        lost = self.load.acknowledged - set(arrived)
        print(
            f"\nseed {self.seed}, {harm}: {len(self.load.acknowledged)} acknowledged, {len(lost)} lost,"
            f" {len(arrived)} arrived ({len(set(arrived) - self.load.acknowledged)} without having been acknowledged),"
            f" {sum(duplicates.values())} duplicates, {self.in_flight_count} in flight then"
        )
        self.assertEqual(lost, set(), f"lost, seed {self.seed}")
        unexplained = {path: times for path, times in duplicates.items() if times > self.in_hand[path]}
        self.assertEqual(unexplained, {}, f"seed {self.seed}")
        self.assertEqual([path for path, times in filed.items() if times > 1], [], "a Maildir knows what it has")
