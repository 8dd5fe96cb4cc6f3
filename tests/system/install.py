"""Install what system tests run, from the registry that apt is configured with: `python -m tests.system.install`.

As root the packages are installed. What conflicts with them, and as anybody else all of them, is unpacked below a
directory of its own with what it depends on: nothing runs that comes with it, and nothing is set-user-ID. What is there
already is left alone; when nothing is missing apt is not asked.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.system.programs import CONFLICTING, ONLY_INSTALLED, PACKAGES, there, unpacked


class NotInstalled(Exception):
    """A step failed; says what was printed."""


class Apt:
    """apt-get, asking nothing; `options` come with every command."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = ("-qq", "-y", "--no-install-recommends", *options)

    def run(self, *words: str, directory: Path | None = None) -> str:
        """Return what a command prints; raises NotInstalled."""
        return run("apt-get", *self._options, *words, directory=directory)

    def lacking(self, packages: Sequence[str]) -> list[str]:
        """Return packages with all they depend on, but for what is installed."""
        steps = self.run("--simulate", "install", *packages).splitlines()
        return [step.split()[1] for step in steps if step.startswith("Inst ")]


def run(*words: str, directory: Path | None = None) -> str:
    """Return what a program prints; raises NotInstalled."""
    done = subprocess.run(
        words,
        cwd=directory,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    if done.returncode:
        raise NotInstalled(f"{' '.join(words)}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def unpack(apt: Apt, packages: Sequence[str]) -> None:
    """Unpack packages and what they depend on, each apart from the others as they may conflict."""
    lacking = {name for package in packages for name in apt.lacking([package])}
    place = unpacked()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mtad-packages-") as scratch:
        directory = Path(scratch)
        apt.run("download", *sorted(lacking), directory=directory)
        for archive in sorted(directory.glob("*.deb")):
            run("dpkg", "--extract", str(archive), str(place))
    run("chmod", "-R", "u+rwX,go+rX,go-w,ug-s", str(place))


def install(apt: Apt, packages: Iterable[str]) -> None:
    """Install packages, or unpack them; no other package is removed."""
    unpacking = [package for package in packages if os.geteuid() or package in CONFLICTING]
    installing = [package for package in packages if package not in unpacking]
    if installing:
        apt.run("--no-remove", "install", *installing)
    if unpacking:
        unpack(apt, unpacking)


def with_fresh_lists(scratch: Path) -> Apt:
    """Return an apt that knows what the registry has now; anybody but root has lists of their own, in `scratch`."""
    if os.geteuid() == 0:
        # apt would fetch as a user who may not write where we want it.
        options = ["APT::Sandbox::User=root"]
    else:
        for directory in ("lists/partial", "cache/archives/partial"):
            (scratch / directory).mkdir(parents=True)
        options = [f"Dir::State::Lists={scratch}/lists", f"Dir::Cache={scratch}/cache", "Debug::NoLocking=1"]
    apt = Apt([f"--option={option}" for option in options])
    apt.run("update")
    return apt


def main() -> None:
    missing = [package for package in PACKAGES if not there(package)]
    if os.geteuid():
        for_root = [package for package in missing if package in ONLY_INSTALLED]
        missing = [package for package in missing if package not in ONLY_INSTALLED]
        if for_root:
            print(f"only root can install {', '.join(for_root)}: what needs them is not tested, or fails")
    if not missing:
        return
    told = f"programs that system tests run are missing ({', '.join(missing)}), and "
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        sys.exit(f"{told}there is no apt-get to install them")
    try:
        try:
            install(Apt(), missing)
        except NotInstalled:
            with tempfile.TemporaryDirectory(prefix="mtad-lists-") as scratch:
                install(with_fresh_lists(Path(scratch)), missing)
    except (NotInstalled, OSError) as trouble:
        sys.exit(f"{told}cannot be installed: {trouble}")
    still = [package for package in missing if not there(package)]
    if still:
        sys.exit(f"{told}were not in the packages of that name: {', '.join(still)}")


if __name__ == "__main__":
    main()
