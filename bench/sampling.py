"""A profile of a running process by py-spy, and a summary of it for people.

py-spy is no requirement of mtad: pip install py-spy. It is asked for threads that hold the interpreter's lock, so what
waits for a disk, a socket or that lock is not in it, nor are system calls: what is left is the work of Python.
"""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAMPLES_A_SECOND = 200
TOP = 25
_STOP_SECONDS = 60.0


def find_sampler() -> str | None:
    """Return py-spy's path: beside our Python or in PATH."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


@contextmanager
def sampled(sampler: str, pid: int, file: Path) -> Iterator[None]:
    """Write `file` while the block runs: a line for each stack, `thread;outermost;…;innermost count`."""
    command = [sampler, "record", "--pid", str(pid), "--format", "raw", "--output", str(file), "--threads", "--gil"]
    command += ["--rate", str(SAMPLES_A_SECOND), "--duration", "unlimited"]
    # Ctrl-C must not end it before its time.
    running = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=_STOP_SECONDS)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    if not file.exists():
        raise RuntimeError(f"py-spy wrote nothing: {said.decode(errors='replace').strip()}")


def summary(file: Path) -> str:
    """Return how the samples spread over threads, functions by own time, and mtad's functions with all they call."""
    threads: Counter[str] = Counter()
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for (thread, *frames), count in _stacks(file):
        # "thread (1234): MainThread", or without a name.
        threads[thread.rpartition(": ")[2]] += count
        functions = [_function(frame) for frame in frames]
        own.update(dict.fromkeys(functions[-1:], count))
        # What the reactor and twistd call is all there is; it would push everything else off the list.
        whole.update({function: count for function in functions if "(mtad/" in function})
    total = threads.total() or 1
    parts = (("threads", threads), ("own time", own), ("mtad's functions with all they call", whole))
    return "\n".join(line for title, counts in parts for line in _ranking(title, counts, total))


def _stacks(file: Path) -> Iterator[tuple[list[str], int]]:
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        yield stack.split(";"), int(count)


def _function(frame: str) -> str:
    """Return `write (mtad/outbound/maildir.py)` of `write (mtad/outbound/maildir.py:86)`: lines are taken together."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.rpartition(':')[0] or place.rstrip(')')})" if place else name


def _ranking(title: str, counts: Counter[str], total: int) -> Iterator[str]:
    yield f"  {title}"
    for name, count in counts.most_common(TOP):
        yield f"    {count / total:6.1%}  {name}"
