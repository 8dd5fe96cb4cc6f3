import json
import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

import mtad
from mtad import ports
from mtad.adapters.postgres.embedded import EmbeddedStores
from mtad.adapters.redis import RedisServer
from mtad.config import Server, Settings, Tls
from mtad.model.errors import InvalidInput
from mtad.tap import Options, assembled, use_monotonic_time

TOP = Path(mtad.__file__).parent.parent
TWISTD = "from twisted.scripts.twistd import run; run()"


class OptionsTest(SynchronousTestCase):
    def test_config(self) -> None:
        for arguments, expected in (([], "config.yaml"), (["--config", "x"], "x"), (["-c", "y"], "y")):
            options = Options()
            options.parseOptions(arguments)
            self.assertEqual(options["config"], expected)


class MonotonicTimeTest(SynchronousTestCase):
    def test_timers_do_not_follow_the_wall_clock(self) -> None:
        reactor = SelectReactor()
        self.addCleanup(reactor.removeAll)
        use_monotonic_time(reactor)
        before = time.monotonic()
        called: list[str] = []
        call = reactor.callLater(0, called.append, "now")
        later = reactor.callLater(60, called.append, "later")
        self.assertTrue(before <= call.getTime() <= time.monotonic())
        self.assertLessEqual(later.getTime(), time.monotonic() + 60)
        reactor.runUntilCurrent()
        self.assertEqual(called, ["now"])
        timeout = reactor.timeout()
        assert timeout is not None
        self.assertTrue(0 < timeout <= 60)
        later.cancel()

    def test_is_set_before_the_first_timer(self) -> None:
        reactor = SelectReactor()
        self.addCleanup(reactor.removeAll)
        reactor.callLater(60, lambda: None)
        self.assertRaises(AssertionError, use_monotonic_time, reactor)


class AssembledTest(SynchronousTestCase):
    def test_a_server_that_cannot_be_made_lets_its_stores_go(self) -> None:
        lock = os.open(os.devnull, os.O_RDONLY)
        stores = ports.Stores({}, RedisServer("localhost:1"), EmbeddedStores({}, "", (lock,)))
        self.patch(ports, "open_stores", lambda settings, say: stores)
        nothing = Path(self.mktemp())
        settings = Settings(tls=Tls(cert_file=nothing, key_file=nothing), server=Server(state_dir=nothing))
        self.assertRaises(InvalidInput, assembled, settings, SelectReactor(), lambda text: None)
        self.assertRaises(OSError, os.fstat, lock)


class TwistdTest(SynchronousTestCase):
    """The real twistd, as far as it comes without stores."""

    def refused(self, config: str | None) -> str:
        """Return what twistd says on standard error; its exit status is checked, and that its log is JSON."""
        path = Path(self.mktemp()).absolute()
        if config is not None:
            path.write_text(config)
        done = subprocess.run(
            [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "mtad", "--config", str(path)],
            cwd=TOP,
            env={name: value for name, value in os.environ.items() if not name.startswith(("DB_", "REDIS_"))},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        for line in done.stdout.splitlines():
            self.assertEqual(json.loads(line)["logger"], "mtad.tap")
        return done.stderr.replace(str(path), "config.yaml")

    def test_wrong_configuration_is_one_line(self) -> None:
        self.assertEqual(
            self.refused("server:\n  max_message_size: big\n"),
            "mtad: config.yaml:2: server.max_message_size: expected a size such as 25MB, got 'big'\n",
        )

    def test_missing_configuration_is_one_line(self) -> None:
        self.assertEqual(self.refused(None), "mtad: config.yaml: cannot be read: No such file or directory\n")

    def test_database_that_refuses_is_one_line(self) -> None:
        # Port 1 of the loopback: nobody listens there.
        said = self.refused("server: {hostname: a.example}\ndatabase: {host: 127.0.0.1, port: 1}\nredis: {}\n")
        self.assertRegex(said, r"\Amtad: postgres: [^\n]*\n\Z")
