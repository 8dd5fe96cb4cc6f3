"""Messages of 25 MB at once, through the whole server on real ports: they arrive as they were, and never in memory."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.system.large import Memory, cpu_seconds, message, number_of, send
from tests.system.server import RunningServer

MEBIBYTE = 1024 * 1024


class Sink:
    """A mail store that speaks SMTP: of each message that comes it keeps the number and the digest."""

    def __init__(self) -> None:
        self.digests: dict[int, str] = {}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 sink\r\n")
            for line in lines:
                if line.startswith(b"DATA"):
                    connection.sendall(b"354 go on\r\n")
                    self._take(iter(lines.readline, b".\r\n"))
                connection.sendall(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 yes\r\n")

    def _take(self, lines: Iterator[bytes]) -> None:
        whole = b"".join(line[1:] if line.startswith(b".") else line for line in lines)
        number = number_of(whole)
        self.digests[number] = _digest(whole[-len(message(number)) :])


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


class LargeTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.sink = Sink()
        self.addCleanup(self.sink.close)
        self.server = RunningServer({"tls": {"enabled": False}})
        self.addCleanup(self.server.close)
        mailboxes = [{"local_part": "alice"}]
        store = {"kind": "smtp", "addr": f"127.0.0.1:{self.sink.port}"}
        domains = [
            {"name": "acme.example", "verified": True, "mailboxes": mailboxes},
            {"name": "store.example", "verified": True, "mailboxes": mailboxes, "delivery": store},
        ]
        self.server.apply({"organisations": [{"name": "acme", "domains": domains}]})
        self.server.start()

    def test_eight_at_once_arrive_as_they_were_and_take_little_memory_and_time(self) -> None:
        recipients = ["alice@acme.example", "alice@store.example"] * 4
        before = cpu_seconds(self.server.pid)
        with Memory(self.server.pid) as memory:
            send(self.server.smtp_port, recipients)
            cpu = cpu_seconds(self.server.pid) - before
            for _ in recipients:
                self.server.wait_for("delivery.delivered")
        self.assertEqual(self.sink.digests, {n: _digest(message(n)) for n in (1, 3, 5, 7)})
        files = {number_of(octets): octets for octets in self.server.mail("alice@acme.example")}
        self.assertEqual(sorted(files), [0, 2, 4, 6])
        for number, octets in files.items():
            self.assertTrue(octets.endswith(message(number).replace(b"\r\n", b"\n")), number)
        # Less than one of them.
        self.assertLess(memory.raised, 20 * MEBIBYTE)
        # Half a second is promised on a machine that does nothing else.
        self.assertLess(cpu / len(recipients), 1.0)
