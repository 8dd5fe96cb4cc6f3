"""Servers that take turns at the same cases, and the table of what they came to.

Only the server whose turn it is runs. Each case begins with messages that do not count; every message is looked for at
its end: one that is lost, or comes twice, ends the run.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn

from bench import sampling
from bench.load import Load, Result, Wrong
from bench.servers import MAILBOXES, Missing, NotStarted, Server

REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One way to send: `octets` is a message's body, `warm_up_each` how many go to each mailbox before it counts."""

    name: str
    title: str
    octets: int
    keep: bool
    warm_up_each: int


class Comparison(ABC):
    """What is measured, over `cases`: `ended` is what has become of a message then, `circumstances` what all share."""

    ended: str
    circumstances: str

    def __init__(self, cases: Sequence[Case], options: argparse.Namespace) -> None:
        self._cases = cases
        self._options = options
        self._results: dict[tuple[str, str], list[Result]] = {}  # by server and case, in the order of the rounds

    @abstractmethod
    def count(self, server: Server) -> int:
        """Return how many messages of a server have come to their end."""

    @abstractmethod
    def load(self, case: Case, each: int) -> Load:
        """Return what sends so many messages to each mailbox."""

    def most_each(self, case: Case) -> int:
        """Return how many messages to each mailbox there is room for."""
        return sys.maxsize

    def compare(self, servers: Sequence[Server]) -> None:
        """Let the servers take turns, and print the table; raises Wrong and NotStarted."""
        for number in range(self._options.rounds):
            print(f"round {number + 1} of {self._options.rounds}", flush=True)
            for server in servers:
                self._take_turn(server)
        print(f"\nmedians of {self._options.rounds}: {self.circumstances}")
        print(self._table([server.name for server in servers]))

    def profile(self, server: Server, sampler: str) -> None:
        """Run each case under py-spy and print where the server's own process spent its time."""
        with server:
            for case in self._cases:
                load = self._warmed_up(server, case)[1]
                file = self._options.profile.with_name(f"{self._options.profile.name}.{case.name}")
                with sampling.sampled(sampler, server.pid, file):
                    result = load.run(server)
                print(f"\n{case.title}, sampled: {result.delivered:.0f} {self.ended}/s; stacks in {file}")
                print(sampling.summary(file), flush=True)

    def _take_turn(self, server: Server) -> None:
        """Start the server, run the cases, stop it, and see that nothing more came than was sent."""
        before, sent = self.count(server), 0
        with server:
            for case in self._cases:
                warm_up, load = self._warmed_up(server, case)
                result = load.run(server)
                self._results.setdefault((server.name, case.name), []).append(result)
                sent += warm_up.count + result.count
                print(f"  {server.name:8} {case.name:6} {self._told(result)}", flush=True)
        more = self.count(server) - before - sent
        if more:
            raise Wrong(f"{server.name} {self.ended} {more} messages more than were sent")

    def _told(self, result: Result) -> str:
        return (
            f"{result.count} messages: {result.acknowledged:.0f} acknowledged/s, "
            f"{result.delivered:.0f} {self.ended}/s, CPU {result.cpu_milliseconds:.2f} ms a message"
        )

    def _warmed_up(self, server: Server, case: Case) -> tuple[Result, Load]:
        """Run some messages through the server, and let the disk finish what they and others began.

        Return what they came to, and a load that takes about as long as was asked for, if they were typical.
        """
        warm_up = self.load(case, case.warm_up_each).run(server)
        os.sync()
        time.sleep(REST_SECONDS)
        wanted = round(warm_up.delivered * self._options.seconds / len(MAILBOXES))
        return warm_up, self.load(case, max(1, min(wanted, self.most_each(case))))

    def _table(self, servers: Sequence[str]) -> str:
        """Return the medians, and how the first server's compare with each other's."""
        first, *others = servers
        columns = [*servers, *(f"{first}/{other}" for other in others)]
        lines = [f"{'':20}" + "".join(f"{column:>14}" for column in columns)]
        figures = (
            ("acknowledged", "acknowledged/s", ".0f"),
            ("delivered", f"{self.ended}/s", ".0f"),
            ("cpu_milliseconds", "CPU ms a message", ".2f"),
        )
        for case in self._cases:
            lines.append(case.title)
            for figure, title, form in figures:
                medians = [
                    median(getattr(result, figure) for result in self._results[name, case.name]) for name in servers
                ]
                cells = [format(value, form) for value in medians]
                cells += [f"{medians[0] / value:.2f}" for value in medians[1:]]
                lines.append(f"  {title:18}" + "".join(f"{cell:>14}" for cell in cells))
        return "\n".join(lines)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that all comparisons have."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    options.add_argument("--seconds", type=float, default=10.0, help="about how long a case takes")
    options.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk: both servers sync")
    options.add_argument("--profile", type=Path, metavar="FILE")
    options.add_argument("--processes", metavar="N", help="mtad's server.processes; one process alone if not given")
    return options


def settings(options: argparse.Namespace) -> Mapping[str, str]:
    """Return what the options say of mtad's section `server`."""
    return {"processes": options.processes} if options.processes else {}


def prepared(makers: Mapping[str, Callable[[], Server]], stack: ExitStack) -> list[Server]:
    """Return the servers there can be, mtad first; what they leave outside their homes is removed with the stack."""
    servers: list[Server] = []
    for name, make in makers.items():
        try:
            server = make()
        except Missing as missing:
            print(f"{name} is left out: {missing}")
        else:
            stack.callback(server.remove)
            servers.append(server)
    return servers


def run(options: argparse.Namespace, prepare: Callable[[Path, ExitStack], tuple[Comparison, list[Server]]]) -> None:
    """Compare what is prepared in a new directory, and profile mtad if asked to; leave nothing behind.

    Ends the program when something is missing or goes wrong.
    """
    if not all(map(shutil.which, ("smtp-source", "smtp-sink"))):
        sys.exit("smtp-source and smtp-sink are missing: apt-get install postfix")
    sampler = sampling.find_sampler()
    if options.profile and sampler is None:
        sys.exit("py-spy is missing: pip install py-spy")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        with ExitStack() as stack:
            comparison, servers = prepare(stack.enter_context(scratch(options.directory)), stack)
            comparison.compare(servers)
            if options.profile and sampler:
                comparison.profile(servers[0], sampler)
    except (NotStarted, Wrong) as trouble:
        sys.exit(str(trouble))


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Have a directory others may pass through, and remove it."""
    home = Path(tempfile.mkdtemp(prefix="mtad-bench-", dir=directory))
    try:
        home.chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def interrupted(number: int, frame: object) -> NoReturn:
    """End what runs, once; a second Ctrl-C would leave something behind."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
