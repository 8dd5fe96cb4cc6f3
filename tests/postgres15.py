"""The contract tests on Debian's postgresql-15, the oldest PostgreSQL mtad is for; `make test-pg15` runs this.

The server is a private one in a temporary directory, on a unix socket. Nothing is installed.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn

from mtad.adapters.postgres.accounts import own, unprivileged
from mtad.adapters.postgres.binaries import Binaries
from mtad.adapters.postgres.guardian import Guardian
from mtad.adapters.postgres.place import Place
from mtad.adapters.postgres.servers import create_database, postgres, write_access_file
from mtad.model.errors import MtadError
from tests.system.waiting import until

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PATIENCE_SECONDS = 60.0


def main() -> None:
    if not (PROGRAMS / "postgres").exists():
        sys.exit(f"{PROGRAMS}/postgres is missing: apt-get install postgresql-15")
    binaries = Binaries(initdb=PROGRAMS / "initdb", postgres=PROGRAMS / "postgres", valkey=Path("/bin/false"))
    with tempfile.TemporaryDirectory(prefix="mtad-pg15-") as directory:
        scratch = Path(directory)
        scratch.chmod(0o755)
        place = Place(
            control=scratch,
            home=scratch,
            sockets=scratch / "run",
            password=secrets.token_hex(24),
            account=None if os.geteuid() else unprivileged(),
        )
        try:
            own(place.sockets, place.account)
            write_access_file(place)
            create_database(place, binaries)
            status = run_tests(place, Guardian([postgres(place, binaries)], print))
        except MtadError as error:
            sys.exit(str(error))
    sys.exit(status)


def run_tests(place: Place, guardian: Guardian) -> int:
    """Return the exit status of the contract tests, run while the guardian keeps the server up."""
    statuses = []

    def use() -> None:
        try:
            test()
        finally:
            guardian.users_gone()

    def test() -> None:
        print(f"testing on {version(place)}", flush=True)
        environment = {**os.environ, "MTAD_TEST_DATABASE": make_dsn(**place.connection.database)}
        command = [sys.executable, "-m", "tests.run", "contract"]
        statuses.append(subprocess.run(command, env=environment, check=False).returncode)

    tests = threading.Thread(target=use)
    tests.start()
    guardian.run()
    tests.join()
    return statuses[0] if statuses else 1


def version(place: Place) -> str:
    """Return what the server says it is, once it answers."""

    def asked() -> str:
        with closing(psycopg2.connect(**place.connection.database)) as connection, connection.cursor() as cursor:
            cursor.execute("select version()")
            return str(cursor.fetchone()[0])

    return until(asked, PATIENCE_SECONDS, "PostgreSQL answers", despite=psycopg2.OperationalError)


if __name__ == "__main__":
    main()
