"""Load for system tests: threads that send numbered messages with smtplib, and know which of them 250 was said to.

A message is told by its reverse-path, and is never sent twice: one whose connection broke is given up.
"""

import smtplib
import threading
from collections.abc import Sequence
from itertools import count

PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.02
_FILLING = "0123456789abcdef" * 4 + "\r\n"


def text_of(reverse_path: str) -> bytes:
    """Return the content that goes with a reverse-path; sizes differ, to some 20 KB."""
    number = int(reverse_path.partition("@")[0].removeprefix("m"))
    return f"Subject: {number}\r\n\r\n{_FILLING * (number * 37 % 300)}end of {number}\r\n".encode()


class Load:
    """Sends to `recipients` in turn while `up`, by the port or by several in turn; `close` ends it."""

    def __init__(self, port: int | Sequence[int], recipients: Sequence[str], threads: int = 4) -> None:
        self.acknowledged: set[str] = set()
        ports = (port,) if isinstance(port, int) else port
        self._recipients = recipients
        self._numbers = count()
        self._up = threading.Event()
        self._ending = threading.Event()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(ports[number % len(ports)],), daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def up(self) -> None:
        """Send: the server is there."""
        self._up.set()

    def down(self) -> None:
        """Dial no more until the server is there again."""
        self._up.clear()

    def wait_acknowledged(self, more: int) -> None:
        """Return once 250 was said to so many more messages."""
        with self._changed:
            enough = len(self.acknowledged) + more
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= enough, PATIENCE_SECONDS), "no 250 comes"

    def close(self) -> None:
        """Let every message under way come to its end, and send no more."""
        self._ending.set()
        self._up.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _run(self, port: int) -> None:
        while not self._ending.is_set():
            self._up.wait()
            try:
                with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
                    while not self._ending.is_set():
                        self._send(client)
            except (OSError, smtplib.SMTPException):
                self._ending.wait(_PAUSE_SECONDS)  # the server was killed

    def _send(self, client: smtplib.SMTP) -> None:
        number = next(self._numbers)
        reverse_path = f"m{number}@outside.example"
        client.sendmail(reverse_path, self._recipients[number % len(self._recipients)], text_of(reverse_path))
        with self._changed:
            self.acknowledged.add(reverse_path)
            self._changed.notify_all()
