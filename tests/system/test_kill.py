"""What 250 promised survives `kill -9`, under load and again and again, of two processes or of one of them.

A node is taken over when it was silent for 15 s (DESIGN D8), so the rounds go on beside what earlier ones left, and all
is looked at in the end.
"""

import os
import signal

from tests.system.promises import QUICK_RETRIES, ROUNDS, PromisesCase
from tests.system.replicas import Replica

# From this number on, one life lasts until it has taken over others, and is killed amidst what they left.
ROUNDS_WITH_HEIR = 6
PROCESSES = (1, 2)


class KillTest(PromisesCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin(Replica(QUICK_RETRIES, processes=len(PROCESSES)))

    def test_every_message_answered_250_arrives(self) -> None:
        for number in range(ROUNDS):
            self.live_and_die(whole=number % 2 == 0, is_heir=ROUNDS >= ROUNDS_WITH_HEIR and number == ROUNDS // 2)
        if not self.server.runs:
            self.server.start()
        self.load.up()
        self.load.wait_acknowledged(10)
        self.load.close()
        self.wait_empty()
        self.wait_empty(f"nodes where owner not in ({', '.join(str(self.server.owner(each)) for each in PROCESSES)})")
        self.assertEqual(self.server.stop(), -signal.SIGTERM, "twistd ends by the signal it was told to end by")
        self.assertEqual(self.server.database_ask("select owner from nodes"), [])
        self.assertEqual(self.server.mtactl("queue", "list", "--json").strip(), "[]")
        self.judge(f"{ROUNDS} kills")

    def live_and_die(self, *, whole: bool, is_heir: bool) -> None:
        """Let the server work, and kill all of it, or one of its processes, at a random moment."""
        if not self.server.runs:
            self.server.start()
        since = len(self.server.log)
        self.load.up()
        if is_heir:
            self.server.wait_line("node.taken_over", since=since)
        self.load.wait_acknowledged(self.random.randrange(1, 500))
        self.let_a_moment_pass()
        if whole:
            self.kill_all()
        else:
            self.kill_one(self.random.choice(PROCESSES))

    def kill_all(self) -> None:
        self.server.kill()
        self.load.down()
        self.store.wait_idle()
        self.note_in_hand(*map(self.server.owner, PROCESSES))

    def kill_one(self, number: int) -> None:
        """Kill a process, whose supervisor starts another while the others go on."""
        since, owner = len(self.server.log), self.server.owner(number)
        os.kill(self.server.pids()[number], signal.SIGKILL)
        self.server.wait_line("process.ended", lambda line: line["number"] == number, since)
        self.note_in_hand(owner)
        self.server.wait_line("process.up", lambda line: line["number"] == number, since)
