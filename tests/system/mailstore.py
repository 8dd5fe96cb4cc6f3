"""A mail store for tests: LMTP on a port of the loopback, which keeps all it is given."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

PATIENCE_SECONDS = 30.0
_PATH = re.compile(rb"<(.*?)>")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came to its final dot, at a moment of `time.monotonic`."""

    at: float
    reverse_path: str
    content: bytes = field(repr=False)


class LmtpStore:
    """Takes messages until `close`. It thinks for up to `pause_seconds` between a final dot and its 250."""

    def __init__(self, random: Random, pause_seconds: float = 0.0) -> None:
        self.arrivals: list[Arrival] = []
        self._random = random
        self._pause_seconds = pause_seconds
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.addr = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._closed = threading.Event()
        self._connections = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_idle(self) -> None:
        """Return once all connections ended, and so all that was sent has been read."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._connections, PATIENCE_SECONDS), "connections stay open"

    def close(self) -> None:
        """Take no more connections."""
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._count(1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _count(self, more: int) -> None:
        with self._changed:
            self._connections += more
            self._changed.notify_all()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                self._converse(connection, iter(lines))
        except OSError:
            pass  # the server was killed
        finally:
            self._count(-1)

    def _converse(self, connection: socket.socket, lines: Iterator[bytes]) -> None:
        """Answer commands; a transaction has one recipient here, so one reply follows the dot (RFC 2033 §4.2)."""
        connection.sendall(b"220 store\r\n")
        reverse_path = ""
        for line in lines:
            verb = line[:4].upper()
            found = _PATH.search(line)
            if verb == b"MAIL" and found:
                reverse_path = found[1].decode()
            if verb == b"DATA":
                connection.sendall(b"354 go\r\n")
                content = _content(lines)
                if content is None:
                    return
                self.arrivals.append(Arrival(time.monotonic(), reverse_path, content))
                self._closed.wait(self._random.uniform(0, self._pause_seconds))
            connection.sendall(b"250 2.0.0 ok\r\n")


def _content(lines: Iterator[bytes]) -> bytes | None:
    """Return what comes before the final dot; None when it never came."""
    read: list[bytes] = []
    for line in lines:
        if line == b".\r\n":
            return b"".join(read)
        read.append(line)
    return None
