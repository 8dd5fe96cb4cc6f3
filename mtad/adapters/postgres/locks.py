"""Locks on files, which the kernel gives back when their holder dies, however it dies (flock(2)).

A lock belongs to the open file description: a forked child shares it, a program that is executed only when it is
handed the descriptor.
"""

import fcntl
import os
from pathlib import Path


def open_lock(path: Path) -> int:
    """Return a descriptor to lock. A new file belongs to whom its directory belongs to."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = os.stat(path.parent)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def take_shared(descriptor: int) -> None:
    """Take the lock together with others; wait while somebody has it alone."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def try_shared(descriptor: int) -> bool:
    """Take the lock together with others unless somebody has it alone."""
    return _tried(descriptor, fcntl.LOCK_SH)


def take_alone(descriptor: int) -> None:
    """Take the lock alone; wait while anybody has it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_alone(descriptor: int) -> bool:
    """Take the lock alone unless anybody has it."""
    return _tried(descriptor, fcntl.LOCK_EX)


def _tried(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
