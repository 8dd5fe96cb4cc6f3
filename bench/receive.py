"""How many messages a second come in and lie in their Maildirs: mtad, and Postfix beside it in turns.

    python -m bench.receive [--rounds 3] [--seconds 10] [--size 4096] [--directory /var/tmp] [--profile FILE]

smtp-source (Debian's package postfix) sends over 20 sessions to 100 mailboxes, once with a new connection for each
message and once with kept ones. Every message is looked for at the end: one that is lost, or there twice, ends the run.
"acknowledged" is until the last 250, "delivered" until the last file is in new/, "CPU" is what all processes of the
server used, the stores included: of all figures the one that changes least with what else the machine does.

Only the server measured runs. Postfix needs root and its package; without them its column is left out. --profile then
runs mtad once more for each case under py-spy, writes FILE.new and FILE.kept and prints what is in them.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn, Protocol

from bench import sampling
from bench.load import SESSIONS, Load, Result, Wrong, files
from bench.servers import MAILBOXES, Missing, Mtad, NotStarted, Postfix, Server

WARM_UP_EACH = 20
REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One way to send."""

    name: str
    title: str
    keep: bool


CASES = (Case("new", "a new connection for each message", False), Case("kept", "kept connections", True))
FIGURES = (
    ("acknowledged", "acknowledged/s", ".0f"),
    ("delivered", "delivered/s", ".0f"),
    ("cpu_milliseconds", "CPU ms a message", ".2f"),
)
Results = dict[tuple[str, str], list[Result]]
"""By server and case, in the order of the rounds."""

Figures = Sequence[tuple[str, str, str]]
"""A figure's attribute, title and format."""


class Titled(Protocol):
    """A case, as far as a table shows it."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long a case takes")
    parser.add_argument("--size", type=int, default=4096, help="octets of a message's body")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk: both servers sync")
    parser.add_argument("--profile", type=Path, metavar="FILE")
    return parser.parse_args()


def take_turn(server: Server, results: Results, options: argparse.Namespace) -> None:
    """Start the server, run every case, stop it, and see that nothing more came to the mailboxes than was sent."""
    before = sum(1 for _ in files(server.maildirs))
    sent = 0
    with server:
        for case in CASES:
            warm_up = warmed_up(server, case, options)
            _rest()
            result = load(warm_up, case, options).run(server)
            results.setdefault((server.name, case.name), []).append(result)
            sent += warm_up.count + result.count
            print(
                f"  {server.name:8} {case.name:5} {result.count} messages: {result.acknowledged:.0f} acknowledged/s, "
                f"{result.delivered:.0f} delivered/s, CPU {result.cpu_milliseconds:.2f} ms a message",
                flush=True,
            )
    more = sum(1 for _ in files(server.maildirs)) - before - sent
    if more:
        raise Wrong(f"{server.name} delivered {more} files more than there were messages")


def warmed_up(server: Server, case: Case, options: argparse.Namespace) -> Result:
    """Run some messages through the server."""
    return Load(each=WARM_UP_EACH, octets=options.size, keep=case.keep).run(server)


def load(warm_up: Result, case: Case, options: argparse.Namespace) -> Load:
    """Return a load that takes about as long as was asked for, if the warm-up was typical."""
    each = max(1, round(warm_up.delivered * options.seconds / len(MAILBOXES)))
    return Load(each=each, octets=options.size, keep=case.keep)


def _rest() -> None:
    """Let the disk finish what others began."""
    os.sync()
    time.sleep(REST_SECONDS)


def profile(server: Server, sampler: str, options: argparse.Namespace) -> None:
    """Run each case under py-spy and print where mtad's own process spent its time."""
    with server:
        for case in CASES:
            warm_up = warmed_up(server, case, options)
            file = options.profile.with_name(f"{options.profile.name}.{case.name}")
            with sampling.sampled(sampler, server.pid, file):
                result = load(warm_up, case, options).run(server)
            print(f"\n{case.title}, sampled: {result.delivered:.0f} delivered/s; stacks in {file}")
            print(sampling.summary(file), flush=True)


def table(results: Results, cases: Sequence[Titled], figures: Figures, servers: Sequence[str]) -> str:
    """Return the medians, and how the first server's compare with each other's."""
    first, *others = servers
    columns = [*servers, *(f"{first}/{other}" for other in others)]
    lines = [f"{'':20}" + "".join(f"{column:>14}" for column in columns)]
    for case in cases:
        lines.append(case.title)
        for figure, title, form in figures:
            medians = [median(getattr(result, figure) for result in results[name, case.name]) for name in servers]
            cells = [format(value, form) for value in medians]
            cells += [f"{medians[0] / value:.2f}" for value in medians[1:]]
            lines.append(f"  {title:18}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def servers_in(home: Path, stack: ExitStack) -> list[Server]:
    """Prepare the servers there can be, mtad first; what they leave outside `home` is removed with the stack."""
    servers: list[Server] = []
    for make in (Mtad, Postfix):
        try:
            server = make(home / make.name.lower())
        except Missing as missing:
            print(f"{make.name} is left out: {missing}")
        else:
            stack.callback(server.remove)
            servers.append(server)
    return servers


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Have a directory others may pass through, and remove it."""
    home = Path(tempfile.mkdtemp(prefix="mtad-bench-", dir=directory))
    try:
        home.chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    options = arguments()
    sampler = sampling.find_sampler()
    if shutil.which("smtp-source") is None:
        sys.exit("smtp-source is missing; it comes with Debian's package postfix")
    if options.profile and sampler is None:
        sys.exit("py-spy is missing: pip install py-spy")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        with ExitStack() as stack:
            servers = servers_in(stack.enter_context(scratch(options.directory)), stack)
            compare(servers, options)
            if options.profile and sampler:
                profile(servers[0], sampler, options)
    except (NotStarted, Wrong) as trouble:
        sys.exit(str(trouble))


def compare(servers: Sequence[Server], options: argparse.Namespace) -> None:
    """Let the servers take turns, and print the table."""
    results: Results = {}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        for server in servers:
            take_turn(server, results, options)
    print(f"\nmedians of {options.rounds}: {SESSIONS} sessions, {options.size} octets, {len(MAILBOXES)} Maildirs")
    print(table(results, CASES, FIGURES, [server.name for server in servers]))


def interrupted(number: int, frame: object) -> NoReturn:
    """End what runs, once; a second Ctrl-C would leave something behind."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
