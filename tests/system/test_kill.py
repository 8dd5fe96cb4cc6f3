"""What 250 promised survives `kill -9`."""

import signal
import smtplib
import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import RunningServer, free_port


class LmtpStore(threading.Thread):
    """A mail store that takes connections, and answers them once it is told to; it keeps what it was given."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port = free_port()
        self.messages: list[bytes] = []
        self.connected = threading.Event()
        self.answering = threading.Event()
        self.stored = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def run(self) -> None:
        """Serve connections, each in a thread of its own."""
        while True:
            connection, _ = self._listener.accept()
            self.connected.set()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.answering.wait()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 store\r\n")
            for line in lines:
                if line.upper().startswith(b"DATA"):
                    connection.sendall(b"354 go\r\n")
                    message = b""
                    for part in lines:
                        if part == b".\r\n":
                            break
                        message += part
                    self.messages.append(message)
                    connection.sendall(b"250 2.0.0 stored\r\n")
                    self.stored.release()
                else:
                    connection.sendall(b"250 ok\r\n")


def tenants(store: LmtpStore) -> object:
    return {
        "organisations": [
            {
                "name": "acme",
                "domains": [
                    {"name": "acme.example", "verified": True, "mailboxes": [{"local_part": "alice"}]},
                    {
                        "name": "store.example",
                        "verified": True,
                        "delivery": {"kind": "lmtp", "addr": f"127.0.0.1:{store.port}"},
                        "mailboxes": [{"local_part": "sue"}],
                    },
                ],
            }
        ]
    }


class KillTest(SynchronousTestCase):
    def test_killed_right_after_250(self) -> None:
        store = LmtpStore()
        store.start()
        server = RunningServer()
        self.addCleanup(server.close)
        server.apply(tenants(store))
        server.start()
        with smtplib.SMTP("127.0.0.1", server.smtp_port) as client:
            client.sendmail("ann@outside.example", "sue@store.example", b"Subject: one\r\n\r\nx\r\n")
            client.sendmail("ann@outside.example", "alice@acme.example", b"Subject: two\r\n\r\nx\r\n")
            server.kill()
        server.start()
        store.answering.set()
        self.assertEqual(server.wait_for("node.taken_over")["owner"], 1)
        self.assertTrue(store.stored.acquire(timeout=60))
        while server.mtactl("queue", "list", "--json").strip() != "[]":
            server.wait_for("delivery.delivered")
        self.assertEqual(server.stop(), -signal.SIGTERM, "twistd ends by the signal it was told to end by")
        self.assertIn("service.stopped", [line.get("event") for line in server.log])
        self.assertEqual(len(store.messages), 1)
        self.assertIn(b"Subject: one", store.messages[0])
        self.assertEqual(len(server.mail("alice@acme.example")), 1)
