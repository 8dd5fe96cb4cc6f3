"""A guardian for an embedded store, started by the user who finds none, and what it reports while it comes up."""

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mtad
from mtad.adapters.postgres.binaries import locate
from mtad.adapters.postgres.guardian import FAILED
from mtad.adapters.postgres.locks import open_lock, try_alone
from mtad.adapters.postgres.place import Store
from mtad.model.errors import Unavailable


class Hired:
    """A guardian this process started, as long as its reports are of interest."""

    def __init__(self, log: Path, reports: int) -> None:
        self._log = log
        self._reports = reports
        self._unread = b""

    def listen(self, patience_seconds: float, say: Callable[[str], None]) -> None:
        """Pass on what the guardian reports within that time; raises Unavailable when it ended."""
        if not select.select([self._reports], [], [], patience_seconds)[0]:
            return
        octets = os.read(self._reports, 4096)
        *lines, self._unread = (self._unread + octets).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "backslashreplace")
            if text.startswith(FAILED):
                raise Unavailable("embedded stores", text.removeprefix(FAILED))
            say(text)
        if not octets:
            raise Unavailable("embedded stores", f"their guardian ended, see {self._log}")

    def dismiss(self) -> None:
        """Listen no more; the guardian goes on. To be called once."""
        os.close(self._reports)


def hire(state_dir: Path, control: Path, store: Store) -> Hired | None:
    """Start a guardian for a store unless there is one; it gets the guardian's lock together with its life.

    Raises InvalidInput when the wheels of the stores are not installed.
    """
    lock = open_lock(store.guardian_lock(control))
    try:
        if not try_alone(lock):
            return None
        locate()
        return Hired(store.guardian_log(control), _spawn(state_dir, control, store, lock))
    finally:
        os.close(lock)


def _spawn(state_dir: Path, control: Path, store: Store, lock: int) -> int:
    """Start a guardian that has the lock, as whom the control directory belongs to; return where it reports."""
    owner = control.stat()
    other = os.geteuid() != owner.st_uid
    reports, theirs = os.pipe()
    try:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "mtad.adapters.postgres.guardian", str(state_dir), store.value, str(lock)],
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=Path(mtad.__file__).parent.parent,
            start_new_session=True,
            user=owner.st_uid if other else None,
            group=owner.st_gid if other else None,
            extra_groups=[] if other else None,
        )
        guardian.wait()  # it leaves a child behind, which is nobody's
    except OSError as error:
        os.close(reports)
        whose = f" as user {owner.st_uid}, whom they belong to" if other else ""
        raise Unavailable("embedded stores", f"cannot run their guardian{whose}: {error}") from None
    finally:
        os.close(theirs)
    return reports
