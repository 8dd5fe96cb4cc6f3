"""A name server in a process of its own, for servers in theirs: `python -m tests.system.zone JSON`.

The argument is a zone as `mtad.testing.resolver` has it. It says where it listens, and ends when its input does.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Self

from twisted.internet import reactor  # noqa: TID251 - this process' own
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from tests.contract.nameserver import NameServer


class NameServerProcess:
    """Serves a zone from its beginning until `close`, at `place` (host:port)."""

    def __init__(self, zone: Mapping[str, Sequence[str]]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.zone", json.dumps(zone)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.place = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)


class _Life(Protocol):
    def connectionLost(self, reason: object) -> None:
        reactor.stop()


def main() -> None:
    server = NameServer(reactor, json.loads(sys.argv[1]), {}, "127.0.0.1")
    StandardIO(_Life())
    print(server.place, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
