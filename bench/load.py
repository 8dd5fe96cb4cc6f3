"""Messages from smtp-source into a server, and what became of each of them.

SESSIONS processes of smtp-source run at a time, each with one session to one mailbox, so that at any moment as many
mailboxes are written to; a process that ends makes room for the next mailbox. One process cannot do this: smtp-source
knows one recipient, or numbers it (`-N`) without end.

What is delivered stays where it is, for a file system may be slow in making files after many were removed: ext4 without
a journal leaves their inodes alone for minutes, and looks at each of them for every new file.
"""

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from bench.servers import DOMAIN, MAILBOXES, Server

SESSIONS = 20
PATIENCE_SECONDS = 60.0
_HEAD_OCTETS = 2048
_LOOK_SECONDS = 0.2
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)


class Wrong(Exception):
    """A message was refused, lost, delivered twice or to somebody else."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Messages a second until the last 250 and until the last file is in new/, and the server's CPU for a message.
    """

    count: int
    acknowledged: float
    delivered: float
    cpu_milliseconds: float


class Load:
    """Sends `each` messages of `octets` to every mailbox; `keep` sends those of a process over one connection."""

    def __init__(self, *, each: int, octets: int, keep: bool) -> None:
        self._each = each
        self._count = each * len(MAILBOXES)
        self._options = [*(["-d"] if keep else []), "-s", "1", "-m", str(each), "-l", str(octets)]
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = Event()

    def run(self, server: Server) -> Result:
        """Send, wait for the Maildirs, and see that every message is there once; raises Wrong."""
        before = set(files(server.maildirs))
        used = server.cpu_seconds()
        # Files bear the time of this clock.
        began = time.clock_gettime(time.CLOCK_REALTIME)
        self._send_all(server.port)
        acknowledged = time.clock_gettime(time.CLOCK_REALTIME)
        await_count(lambda: sum(1 for _ in files(server.maildirs)), len(before) + self._count, _LOOK_SECONDS)
        used = server.cpu_seconds() - used
        delivered = set(files(server.maildirs)) - before
        self._check(Counter(map(_message_id, delivered)), Counter(file.split("/")[-3] for file in delivered))
        ended = max(acknowledged, *(os.stat(file).st_ctime for file in delivered))
        return Result(
            count=self._count,
            acknowledged=self._count / (acknowledged - began),
            delivered=self._count / (ended - began),
            cpu_milliseconds=used / self._count * 1000,
        )

    def _send_all(self, port: int) -> None:
        with ThreadPoolExecutor(SESSIONS) as pool:
            try:
                for sent in as_completed([pool.submit(self._send, port, mailbox) for mailbox in MAILBOXES]):
                    sent.result()
            except BaseException:
                self._stop()
                raise

    def _send(self, port: int, mailbox: str) -> None:
        if self._stopped.is_set():
            return
        command = ["smtp-source", *self._options, "-t", f"{mailbox}@{DOMAIN}", f"127.0.0.1:{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as source:
            self._running.add(source)
            if self._stopped.is_set():
                source.kill()
            said, _ = source.communicate()
            self._running.discard(source)
        # It ends at the first reply that is not positive: 0 means that every message was acknowledged.
        if source.returncode and not self._stopped.is_set():
            raise Wrong(said.decode(errors="replace").strip() or f"smtp-source ended with {source.returncode}")

    def _stop(self) -> None:
        self._stopped.set()
        for source in list(self._running):
            source.kill()

    def _check(self, message_ids: Counter[bytes], mailboxes: Counter[str]) -> None:
        """See that every message is there once, and each mailbox has its own; raises Wrong."""
        lost, twice = self._count - len(message_ids), message_ids.total() - len(message_ids)
        if lost or twice:
            raise Wrong(f"of {self._count} messages {lost} were lost and {twice} came once more than they should")
        astray = [mailbox for mailbox in MAILBOXES if mailboxes[mailbox] != self._each]
        if astray:
            raise Wrong(f"too many or too few messages came for {', '.join(f'{name}@{DOMAIN}' for name in astray)}")


def await_count(count: Callable[[], int], enough: int, look_seconds: float) -> float:
    """Return when there were enough, by the monotonic clock, or when the last came if no more come."""
    there, since = count(), time.monotonic()
    while there < enough and time.monotonic() - since < PATIENCE_SECONDS:
        time.sleep(look_seconds)
        known, there = there, count()
        if there != known:
            since = time.monotonic()
    return since


def files(maildirs: Path) -> Iterator[str]:
    """Yield the path of every message delivered so far."""
    for mailbox in MAILBOXES:
        new = f"{maildirs}/{mailbox}/new"
        if os.path.isdir(new):
            yield from (f"{new}/{name}" for name in os.listdir(new))


def _message_id(file: str) -> bytes:
    """Return what smtp-source tells its messages apart by: its process, its descriptor and a count."""
    with open(file, "rb") as opened:
        found = _MESSAGE_ID.search(opened.read(_HEAD_OCTETS))
    if found is None:
        raise Wrong(f"{file} has no Message-ID")
    return found[1]
