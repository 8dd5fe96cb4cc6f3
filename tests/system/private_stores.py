"""A PostgreSQL and a Valkey that belong to one test, which may stop and kill them."""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import psycopg2

from mtad.adapters.postgres import servers
from mtad.adapters.postgres.accounts import own, unprivileged
from mtad.adapters.postgres.binaries import lent_to
from mtad.adapters.postgres.locks import open_lock, take_alone
from mtad.adapters.postgres.migrate import migrate
from mtad.adapters.postgres.place import Place, Store
from tests.system.waiting import until

PATIENCE_SECONDS = 60.0


class PrivateStores:
    """Both stores, running. `database` are the parameters of a connection, `redis` is the path of a socket."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="mtad-test-"))
        self._home.chmod(0o755)
        account = unprivileged() if os.geteuid() == 0 else None
        place = Place(self._home, self._home, self._home / "run", secrets.token_hex(12), account)
        binaries = lent_to(account)
        own(place.sockets, account)
        own(place.valkey_data, account)
        servers.write_access_file(place)
        servers.create_database(place, binaries)
        self._servers = {
            Store.POSTGRES: servers.postgres(place, binaries),
            Store.VALKEY: servers.valkey(place, binaries),
        }
        self._running: dict[Store, subprocess.Popen[bytes]] = {}
        self.database = place.connection.database
        self.redis = place.connection.redis_socket
        for store in Store:
            self.start(store)
        migrate(self.database)

    def start(self, store: Store) -> None:
        """Start a store, and wait until it answers."""
        server = self._servers[store]
        for leftover in server.leftovers:
            leftover.unlink(missing_ok=True)
        lock = open_lock(server.lock)
        try:
            self._running[store] = servers.launch(server, lock)
        finally:
            os.close(lock)
        until(
            lambda: self._answers(store),
            PATIENCE_SECONDS,
            f"{store} answers",
            lambda: server.log.read_text(errors="replace")[-2000:],
        )

    def stop(self, store: Store, by: signal.Signals) -> None:
        """End a store with a signal: PostgreSQL's SIGQUIT is what `pg_ctl -m immediate` sends."""
        ended = self._running.pop(store)
        ended.send_signal(by)
        ended.wait(PATIENCE_SECONDS)
        # Its children go by themselves; none may be left that writes.
        lock = open_lock(self._servers[store].lock)
        try:
            gone = threading.Thread(target=take_alone, args=(lock,), daemon=True)
            gone.start()
            gone.join(PATIENCE_SECONDS)
            assert not gone.is_alive(), f"processes of {store} stay"
        finally:
            os.close(lock)

    def close(self) -> None:
        """End both, and remove all they had."""
        for store in list(self._running):
            self.stop(store, signal.SIGKILL if store is Store.VALKEY else signal.SIGQUIT)
        rmtree(self._home, ignore_errors=True)

    def _answers(self, store: Store) -> bool:
        try:
            if store is Store.POSTGRES:
                psycopg2.connect(**self.database).close()
                return True
            with closing(socket.socket(socket.AF_UNIX)) as valkey:
                valkey.connect(self.redis)
                valkey.sendall(b"PING\r\n")
                return valkey.recv(64).startswith(b"+PONG")
        except (OSError, psycopg2.OperationalError):
            return False
