"""How many messages a second pass through to the next server: mtad, and Postfix beside it in turns.

    python -m bench.relay [--rounds 3] [--seconds 10] [--directory /var/tmp] [--profile FILE] [--case NAME …]

smtp-source sends over 20 sessions for 100 addresses of one domain, smtp-sink takes what the server makes of it. mtad
has the addresses as mailboxes whose domain is delivered by SMTP, and does all it does for any mail; Postfix is a plain
relay for the domain, as Debian ships it, and takes any address. Every message is looked for at the sink: one that is
lost, or came twice, ends the run. "acknowledged" is until the last 250 to smtp-source, "relayed" until the last message
is at the sink, "CPU" is what all processes of the server used, the stores included, smtp-source and smtp-sink not.

Only the server measured runs. Postfix needs root; without it its column is left out. --profile then runs mtad once more
for each case under py-spy, writes FILE.new, FILE.kept and FILE.large and prints what is in them.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import sampling
from bench.load import SESSIONS, Result, Wrong
from bench.receive import Results, interrupted, scratch, table
from bench.servers import DOMAIN, HOSTNAME, MAILBOXES, Missing, Mtad, NotStarted, Postfix, Server
from bench.sink import RelayLoad, Sink

REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One way to send: `octets` is a message's body, `warm_up_each` how many go to each address before it counts."""

    name: str
    title: str
    octets: int
    keep: bool
    warm_up_each: int


CASES = (
    Case("new", "4 KB, a new connection for each message", 4096, False, 20),
    Case("kept", "4 KB, kept connections", 4096, True, 20),
    Case("large", "100 KB, kept connections", 102400, True, 5),
)
FIGURES = (
    ("acknowledged", "acknowledged/s", ".0f"),
    ("delivered", "relayed/s", ".0f"),
    ("cpu_milliseconds", "CPU ms a message", ".2f"),
)


class RelayingMtad(Mtad):
    """An mtad whose domain is delivered to the sink by SMTP; all else is as it comes."""

    def __init__(self, home: Path, sink_port: int) -> None:
        super().__init__(home)
        self._config.write_text(
            f"server:\n"
            f"  hostname: {HOSTNAME}\n"
            f"  postmaster: {MAILBOXES[0]}@{DOMAIN}\n"
            f'  smtp_addr: "127.0.0.1:{self.port}"\n'
            f'  submission_addr: "127.0.0.1:{free_port()}"\n'
            f'  http_addr: "127.0.0.1:{free_port()}"\n'
            f"  state_dir: {self._state}\n"
        )
        mailboxes = "".join(f"          - {{local_part: {mailbox}}}\n" for mailbox in MAILBOXES)
        tenants = home / "relaying.yaml"
        tenants.write_text(
            f"organisations:\n"
            f"  - name: bench\n"
            f"    domains:\n"
            f"      - name: {DOMAIN}\n"
            f"        verified: true\n"
            f'        delivery: {{kind: smtp, addr: "127.0.0.1:{sink_port}"}}\n'
            f"        mailboxes:\n{mailboxes}"
        )
        self._apply(tenants)


class RelayingPostfix(Postfix):
    """A Postfix that relays the domain to the sink; its client keeps and shares connections as Debian's does."""

    def __init__(self, home: Path, sink_port: int) -> None:
        super().__init__(home)
        settings = (
            "virtual_mailbox_domains=",
            "virtual_mailbox_maps=",
            f"relay_domains={DOMAIN}",
            "relay_recipient_maps=",
            f"transport_maps=inline:{{{{{DOMAIN}=relay:[127.0.0.1]:{sink_port}}}}}",
        )
        subprocess.run(["postconf", "-c", home, "-e", *settings], check=True)
        with open(home / "master.cf", "a") as services:
            services.write("relay unix - - n - - smtp\nscache unix - - n - 1 scache\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long a case takes")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk: both servers sync")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="all, if none is named")
    parser.add_argument("--profile", type=Path, metavar="FILE")
    return parser.parse_args()


def take_turn(server: Server, sink: Sink, cases: Sequence[Case], results: Results, seconds: float) -> None:
    """Start the server, run the cases, stop it, and see that nothing more came than was sent; raises Wrong."""
    before, sent = sink.count, 0
    with server:
        for case in cases:
            warm_up = warmed_up(server, sink, case)
            result = load(warm_up, sink, case, seconds).run(server)
            results.setdefault((server.name, case.name), []).append(result)
            sent += warm_up.count + result.count
            print(
                f"  {server.name:8} {case.name:6} {result.count} messages: {result.acknowledged:.0f} acknowledged/s, "
                f"{result.delivered:.0f} relayed/s, CPU {result.cpu_milliseconds:.2f} ms a message",
                flush=True,
            )
    more = sink.count - before - sent
    if more:
        raise Wrong(f"{server.name} relayed {more} messages more than were sent")


def warmed_up(server: Server, sink: Sink, case: Case) -> Result:
    """Run some messages through the server, then let the disk finish what they and others began."""
    result = RelayLoad(sink, each=case.warm_up_each, octets=case.octets, keep=case.keep).run(server)
    os.sync()
    time.sleep(REST_SECONDS)
    return result


def load(warm_up: Result, sink: Sink, case: Case, seconds: float) -> RelayLoad:
    """Return a load that takes about as long as was asked for, if the warm-up was typical and the sink has the room."""
    wanted = round(warm_up.delivered * seconds / len(MAILBOXES))
    room = sink.room_octets // (2 * case.octets * len(MAILBOXES))
    return RelayLoad(sink, each=max(1, min(wanted, room)), octets=case.octets, keep=case.keep)


def profile(server: Server, sink: Sink, cases: Sequence[Case], sampler: str, options: argparse.Namespace) -> None:
    """Run each case under py-spy and print where mtad's own process spent its time."""
    with server:
        for case in cases:
            warm_up = warmed_up(server, sink, case)
            file = options.profile.with_name(f"{options.profile.name}.{case.name}")
            with sampling.sampled(sampler, server.pid, file):
                result = load(warm_up, sink, case, options.seconds).run(server)
            print(f"\n{case.title}, sampled: {result.delivered:.0f} relayed/s; stacks in {file}")
            print(sampling.summary(file), flush=True)


def compare(servers: Sequence[Server], sink: Sink, cases: Sequence[Case], options: argparse.Namespace) -> None:
    """Let the servers take turns, and print the table."""
    results: Results = {}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        for server in servers:
            take_turn(server, sink, cases, results, options.seconds)
    print(f"\nmedians of {options.rounds}: {SESSIONS} sessions, {len(MAILBOXES)} addresses, every message counted")
    print(table(results, cases, FIGURES, [server.name for server in servers]))


def servers_in(home: Path, sink_port: int, stack: ExitStack) -> list[Server]:
    """Prepare the servers there can be, mtad first; what they leave outside `home` is removed with the stack."""
    servers: list[Server] = []
    for make in (RelayingMtad, RelayingPostfix):
        try:
            server = make(home / make.name.lower(), sink_port)
        except Missing as missing:
            print(f"{make.name} is left out: {missing}")
        else:
            stack.callback(server.remove)
            servers.append(server)
    return servers


def free_port() -> int:
    """Return a port of the loopback that nobody has."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
        return port


def run(options: argparse.Namespace, sampler: str | None) -> None:
    """Prepare, compare and profile; leave nothing behind."""
    cases = [case for case in CASES if not options.case or case.name in options.case]
    with ExitStack() as stack:
        sink = Sink(free_port())
        servers = servers_in(stack.enter_context(scratch(options.directory)), sink.port, stack)
        stack.enter_context(sink)
        compare(servers, sink, cases, options)
        if options.profile and sampler:
            profile(servers[0], sink, cases, sampler, options)


def main() -> None:
    options = arguments()
    if not all(map(shutil.which, ("smtp-source", "smtp-sink"))):
        sys.exit("smtp-source and smtp-sink are missing: apt-get install postfix")
    sampler = sampling.find_sampler()
    if options.profile and sampler is None:
        sys.exit("py-spy is missing: pip install py-spy")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        run(options, sampler)
    except (NotStarted, Wrong) as trouble:
        sys.exit(str(trouble))


if __name__ == "__main__":
    main()
