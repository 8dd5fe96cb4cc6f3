"""All checks: lint, formatting, types and the trial suites, two jobs at a time; `make test` runs this.

    python -m tests.run [PART ...]

Parts are lint, format, types and the directories of tests; each is a job, and each module of the system tests, which
mostly wait, is one. A part is told in a line when it ends, with what it complained of if it failed, and with the
reasons of what it skipped. In the end each failure is told once more in a line, and the
last line is `N passed, N failed, N skipped`: tests, and each check that is no suite as one of them. The exit status is
1 when anything failed.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from shutil import rmtree

from mtad.adapters.postgres import embedded
from mtad.adapters.postgres.place import control_directory, read_connection
from mtad.model.errors import MtadError
from tests.stores import wait_stopped

ROOT = Path(__file__).parents[1]
CHECKS = {
    "types": ("mypy",),
    "lint": ("ruff", "check"),
    "format": ("ruff", "format", "--check"),
}
# Many short jobs last, so that the two workers end at about the same time.
SUITES = ("contract", "scenario", "unit", "corpus", "quality", "system")
BY_MODULES = "system"
AT_ONCE = 2
_SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((?P<counts>[a-zA-Z0-9=, ]*)\))?$", re.MULTILINE)
_RULE = "=" * 79
_FAILURE = re.compile(r"^\[(?:FAIL|ERROR|SUCCESS!\?!)\]$")
_LONGEST_REASON = 300
_SKIPPED = re.compile(r"^\[SKIPPED\]\n(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def tally_of_suite(output: str, status: int) -> Tally:
    """Return what trial counted. A run without a summary, or that failed with nothing failed, is one failure."""
    summary = next(iter(reversed(list(_SUMMARY.finditer(output)))), None)
    counts = dict.fromkeys(("successes", "skips", "failures", "errors", "expectedFailures", "unexpectedSuccesses"), 0)
    if summary and summary["counts"]:
        counts |= {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", summary["counts"])}
    failed = counts["failures"] + counts["errors"] + counts["unexpectedSuccesses"]
    if not summary or (status and not failed):
        failed += 1
    return Tally(counts["successes"] + counts["expectedFailures"], failed, counts["skips"])


def reasons_to_skip(output: str) -> list[str]:
    """Return what trial told of why tests were skipped, each reason once."""
    return sorted(set(_SKIPPED.findall(output)))


def complaints(output: str) -> str:
    """Return what a suite printed from its first failure on; all of it where it did not get so far."""
    _, rule, found = output.partition(f"\n{_RULE}\n")
    return found if rule else output


def failures(output: str) -> list[str]:
    """Return a line for each test that trial tells of as failed: its name, and the last line of why."""
    told = []
    for block in complaints(output).split(_RULE):
        lines = block.strip().partition("\n" + "-" * 79)[0].splitlines()
        if not lines or not _FAILURE.match(lines[0]):
            continue
        names = list(takewhile(lambda line: line.startswith("tests."), (line for line in reversed(lines) if line)))
        reason = next((line for line in reversed(lines[1:]) if line and line not in names), "")
        told += [f"{name}: {reason[:_LONGEST_REASON]}" for name in reversed(names)]
    return told


def tally_of_check(status: int) -> Tally:
    """Return a check as one test."""
    return Tally(failed=1) if status else Tally(passed=1)


def names_of_jobs(part: str) -> list[str]:
    """Return what a part consists of: a check, or what trial runs below tests."""
    if part != BY_MODULES:
        return [part]
    return [f"{part}.{module.stem}" for module in sorted((ROOT / "tests" / part).glob("test_*.py"))]


def run_job(name: str, scratch: Path) -> tuple[Tally, str]:
    """Run one job to its end; return its tally and what it printed."""
    if name in CHECKS:
        command = ["-m", *CHECKS[name]]
    else:
        command = ["-m", "twisted.trial", f"--temp-directory={scratch / name}", f"tests.{name}"]
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    tally = tally_of_check(ended.returncode) if name in CHECKS else tally_of_suite(ended.stdout, ended.returncode)
    return tally, ended.stdout


@contextmanager
def shared_stores(scratch: Path) -> Iterator[None]:
    """Keep one pair of embedded stores up for all parts, unless servers are named; leave nothing of them behind."""
    if os.environ.get("MTAD_TEST_DATABASE") and os.environ.get("MTAD_TEST_REDIS"):
        yield
        return
    state_dir = scratch / "state"
    stores = embedded.start(state_dir, print)
    os.environ["MTAD_TEST_STATE"] = str(state_dir)
    try:
        yield
    finally:
        stores.close()
        wait_stopped(state_dir)
        connection = read_connection(control_directory(state_dir))
        if connection and connection.home != ".":
            rmtree(connection.home)


def run(parts: Sequence[str], scratch: Path) -> Tally:
    """Run parts, the given order first, telling each as it ends."""
    total = Tally()
    failed: list[str] = []
    ended: dict[str, list[tuple[Tally, str]]] = {part: [] for part in parts}
    with ThreadPoolExecutor(AT_ONCE) as workers:
        begun = time.monotonic()
        names = [(part, name) for part in parts for name in names_of_jobs(part)]
        running = {workers.submit(run_job, name, scratch): part for part, name in names}
        left = Counter(running.values())
        for done in as_completed(running):
            part = running[done]
            tally, output = done.result()
            ended[part].append((tally, output))
            left[part] -= 1
            if tally.failed:
                print(complaints(output), flush=True)
                failed += failures(output) or [part]
            if not left[part]:
                total += tell(part, ended[part], time.monotonic() - begun)
    for failure in failed:
        print(f"failed: {failure}")
    return total


def tell(part: str, ended: Sequence[tuple[Tally, str]], seconds: float) -> Tally:
    """Print how a part ended, from what its jobs did; return its tally."""
    tally = sum((tally for tally, _ in ended), Tally())
    print(f"{part:9} {tally}, after {seconds:.0f} s", flush=True)
    for reason in reasons_to_skip("".join(output for _, output in ended)):
        print(f"{'':9} skipped: {reason}", flush=True)
    return tally


def main() -> None:
    there = [suite for suite in SUITES if list((ROOT / "tests" / suite).glob("test_*.py"))]
    known = [*CHECKS, *there]
    parts = sys.argv[1:] or known
    unknown = sorted(set(parts) - set(known))
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    # A shell has what it starts in the background ignore Ctrl-C, and so would the servers that are sent one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="mtad-test-") as directory:
        scratch = Path(directory)
        scratch.chmod(0o755)  # root's stores run as an account that has to pass through
        try:
            with shared_stores(scratch):
                total = run(parts, scratch)
        except MtadError as error:
            print(f"the stores for the tests: {error}")
            total = Tally(failed=1)
    print(total)
    sys.exit(1 if total.failed else 0)


if __name__ == "__main__":
    main()
