"""What a Maildir delivery costs beside a busy reactor: messages/s, CPU, and what is left of the reactor's own work.

    python -m bench.maildir [directory to write in]

A hundred deliveries of 4 KB are always under way, into a hundred Maildirs, through MaildirWriter over an IOffload.
Busy means that the reactor echoes between ten pairs of sockets, each echo with some computing, as sessions of SMTP do:
unlike a loop that only computes it makes system calls, and takes the interpreter back before a thread wakes.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mtad.adapters.offload import ProcessOffload
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.job import Job, Target
from mtad.model.outcome import Delivered
from mtad.model.tenant import Mailbox
from mtad.outbound.local import RUNS, MaildirWriter

CONTENT = (b"x" * 62 + b"\r\n") * 64
UNDER_WAY = 100
MAILBOXES = [Mailbox(n, 1, Address(f"u{n}", "acme.example")) for n in range(100)]
SECONDS = 4.0
PAIRS = 10


class InThreads:
    """What ProcessOffload is measured against: an IOffload on Twisted's threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPool(threads, threads)

    def startService(self) -> None:
        self._pool.start()

    def stopService(self) -> None:
        self._pool.stop()

    def run(self, work: Any, *arguments: object) -> Any:
        from twisted.internet import reactor

        return deferToThreadPool(reactor, self._pool, work, *arguments)


class Echo(Protocol):
    """Answers what it hears after a little thought; `count` is the work of all of them."""

    count = 0

    def dataReceived(self, data: bytes) -> None:
        sum(range(1500))
        Echo.count += 1
        self.transport.write(data)


class FirstWord(Echo):
    def connectionMade(self) -> None:
        self.transport.write(b"x" * 100)


class Load:
    """Keeps deliveries under way until it is told to stop."""

    def __init__(self, writer: MaildirWriter, root: Path) -> None:
        self.writer = writer
        self.root = root
        self.number = 0
        self.delivered = 0
        self.under_way = 0
        self.stopping: Deferred[None] | None = None

    def begin(self) -> None:
        self.number += 1
        mailbox = MAILBOXES[self.number % len(MAILBOXES)]
        recipient = Recipient(0, mailbox.address, mailbox.address, "local:acme.example")
        target = Target(recipient, 1, 0, 2e9)
        job = Job(self.number, 1, recipient.destination, None, 1, len(CONTENT), 1.9e9, 1, 1, (target,))
        self.under_way += 1
        delivery = Deferred.fromCoroutine(self.writer.deliver(mailbox, self.root, job, target, CONTENT))
        delivery.addCallback(self.ended)

    def ended(self, outcome: object) -> None:
        assert isinstance(outcome, Delivered), outcome
        self.delivered += 1
        self.under_way -= 1
        if self.stopping is None:
            self.begin()
        elif not self.under_way:
            self.stopping.callback(None)

    def stop(self) -> "Deferred[None]":
        self.stopping = Deferred()
        return self.stopping


def cpu(who: int) -> float:
    used = getrusage(who)
    return used.ru_utime + used.ru_stime


@inlineCallbacks
def measure(reactor: Any, name: str, offload: Any, switch_seconds: float, busy: bool, directory: str) -> Any:
    root = Path(tempfile.mkdtemp(dir=directory))
    offload.startService()
    sys.setswitchinterval(switch_seconds)
    load = Load(MaildirWriter(offload, "mx.example"), root)
    for _ in range(UNDER_WAY):
        load.begin()
    yield deferLater(reactor, 1.0)
    before = load.delivered, Echo.count, cpu(RUSAGE_SELF), cpu(RUSAGE_CHILDREN), time.perf_counter()
    yield deferLater(reactor, SECONDS)
    seconds = time.perf_counter() - before[4]
    messages, echoes = load.delivered - before[0], Echo.count - before[1]
    own = cpu(RUSAGE_SELF) - before[2]
    yield load.stop()
    yield offload.stopService()
    sys.setswitchinterval(0.005)
    print(
        f"{name:18} {'busy' if busy else 'idle'} {messages / seconds:7.0f} messages/s"
        f" {own / messages * 1e6:7.0f} µs of this process a message {echoes / seconds:8.0f} echoes/s",
        flush=True,
    )
    shutil.rmtree(root)


@inlineCallbacks
def main(reactor: Any, directory: str | None = None) -> Any:
    directory = directory or tempfile.gettempdir()
    for busy in (False, True):
        if busy:
            port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
            for _ in range(PAIRS):
                reactor.connectTCP("127.0.0.1", port.getHost().port, ClientFactory.forProtocol(FirstWord))
            yield deferLater(reactor, 0.5)
            alone = Echo.count
            yield deferLater(reactor, 2.0)
            print(f"the reactor alone: {(Echo.count - alone) / 2:.0f} echoes/s", flush=True)
        for name, offload, switch_seconds in (
            ("threads, 5 ms", InThreads(RUNS), 0.005),
            ("threads, 0.2 ms", InThreads(RUNS), 0.0002),
            ("a process", ProcessOffload(reactor, RUNS), 0.005),
        ):
            yield measure(reactor, name, offload, switch_seconds, busy, directory)


if __name__ == "__main__":
    react(main, sys.argv[1:])
