"""The programs of others that system tests run: where they are, and what it means that one is missing.

A missing program fails the tests that run it where the environment variable CI is set, and skips them elsewhere; either
way it is said which of Debian's packages to install. `tests.system.install` installs them all.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import FailTest, SkipTest

PATIENCE_SECONDS = 30.0

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "curl": ("usr/bin/curl",),
    "dovecot-core": ("usr/sbin/dovecot",),
    "dovecot-lmtpd": ("usr/lib/dovecot/lmtp",),
    "exim4-daemon-light": ("usr/sbin/exim4",),
    "gsasl": ("usr/bin/gsasl",),
    "libmail-dkim-perl": ("usr/share/perl5/Mail/DKIM.pm",),
    "libnet-ssleay-perl": ("usr/lib/*/perl5/*/Net/SSLeay.pm",),
    "libnss-wrapper": ("usr/lib/*/libnss_wrapper.so",),
    "msmtp": ("usr/bin/msmtp",),
    "node-nodemailer": ("usr/share/nodejs/nodemailer/package.json",),
    "nodejs": ("usr/bin/node",),
    "opendkim-tools": ("usr/sbin/opendkim-testmsg",),
    "postfix": (
        "usr/sbin/postfix",
        "usr/sbin/posttls-finger",
        "usr/sbin/smtp-sink",
        "usr/sbin/smtp-source",
        "usr/lib/postfix/sbin/master",
    ),
    "swaks": ("usr/bin/swaks",),
}
"""Debian's packages, and the files of each that tests use, as patterns below the root of a file system."""

CONFLICTING = frozenset({"exim4-daemon-light"})
"""What Debian does not let be beside the others. It is only unpacked."""

ONLY_INSTALLED = frozenset({"dovecot-core", "dovecot-lmtpd", "nodejs"})
"""What is of no use unpacked: Dovecot needs root, and Debian's Node looks for its parts where they are installed."""


def unpacked() -> Path:
    """Return the directory where packages are unpacked that cannot be installed; its tree is that of a root."""
    named = os.environ.get("MTAD_TEST_PROGRAMS")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/cache/mtad-tests")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtad-tests"


def find(pattern: str) -> Path | None:
    """Return a file by its pattern in `PACKAGES`; a program people run may be anywhere on the path."""
    directory, _, name = pattern.rpartition("/")
    on_path = shutil.which(name) if directory in ("usr/bin", "usr/sbin") else None
    if on_path:
        return Path(on_path)
    return next((file for root in (Path("/"), unpacked()) for file in root.glob(pattern)), None)


def there(package: str) -> bool:
    """Whether all files that tests use of a package are there."""
    return all(map(find, PACKAGES[package]))


def needed(name: str) -> Path:
    """Return a file of `PACKAGES` by the end of its path; without it the test is skipped, or fails where CI is set."""
    pattern, package = next(
        (pattern, package)
        for package, patterns in PACKAGES.items()
        for pattern in patterns
        if f"/{pattern}".endswith(f"/{name}")
    )
    found = find(pattern)
    if found is None:
        said = f"{name} is missing: make programs, or apt-get install {package}"
        raise FailTest(said) if os.environ.get("CI") else SkipTest(said)
    return found


def run(name: str, *words: str | Path, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Return how a program ended and what it printed, when it was given that to read; one that does not end fails."""
    with subprocess.Popen(
        [needed(name), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        errors="backslashreplace",
    ) as process:
        try:
            printed = process.communicate(given, PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise FailTest(f"{name} does not end, and printed {process.communicate()}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, *printed)


def environment() -> dict[str, str]:
    """Return the environment in which programs that were only unpacked find what was unpacked with them."""
    root = unpacked()
    added = {
        "LD_LIBRARY_PATH": ("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/postfix"),
        "PERL5LIB": ("usr/share/perl5", "usr/lib/*/perl5/*", "usr/share/perl/*", "usr/lib/*/perl/*"),
        "NODE_PATH": ("usr/share/nodejs",),
    }
    found = {
        name: ":".join(str(directory) for pattern in patterns for directory in sorted(root.glob(pattern)))
        for name, patterns in added.items()
    }
    return {**os.environ, **{name: places for name, places in found.items() if places}}
