"""Whom root's stores run as, and the directories of an account and of root.

PostgreSQL refuses to run as root. A directory that belongs to the account is only ever handed to programs that run as
the account: as root nothing is created, written or followed in it. Permissions of directories that are not ours are
never changed.
"""

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mtad.model.errors import InvalidInput, Unavailable

ROOTS_HOME = Path("/var/lib/mtad")
ACCOUNTS = ("mtad", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the stores run as."""

    name: str
    uid: int
    gid: int


def unprivileged() -> Account:
    """Return whom root's stores run as: an account of their own if there is one, else the one with the least.

    `mtad` is made by who packages us, `postgres` comes with a distribution's PostgreSQL, `nobody` is everywhere.
    """
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Unavailable("embedded stores", f"root needs one of the accounts {', '.join(ACCOUNTS)} to run them as")


def may_enter(account: Account, *paths: Path) -> bool:
    """Whether the account can pass through each of these directories and run each of these programs.

    The kernel is asked, as the account: modes alone do not tell.
    """
    script = 'for path do test -x "$path" || exit 1; done'
    asked = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, paths)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return asked.returncode == 0


def own(directory: Path, account: Account | None) -> None:
    """Make a directory that only the stores may enter, or see that it is one."""
    uid = account.uid if account else os.geteuid()
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if account:
            os.chown(directory, account.uid, account.gid, follow_symlinks=False)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
        raise InvalidInput(str(directory), f"expected a directory with mode 0700 that belongs to user {uid}")


def roots_directory(name: str) -> Path:
    """Make a directory below /var/lib/mtad that everybody may pass through and only root may change."""
    for directory in (ROOTS_HOME, ROOTS_HOME / name):
        try:
            directory.mkdir()
        except FileExistsError:
            pass
        else:
            directory.chmod(0o755)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or stat.S_IMODE(found.st_mode) & 0o022:
            raise InvalidInput(str(directory), "expected a directory that belongs to root and nobody else can change")
    return ROOTS_HOME / name
