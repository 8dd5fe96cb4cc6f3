"""How many messages a second pass through to the next server: mtad, and Postfix beside it in turns.

    python -m bench.relay [--rounds 3] [--seconds 10] [--directory /var/tmp] [--profile FILE] [--processes N]
                          [--case NAME …]

smtp-source sends over 20 sessions for 100 addresses of one domain, smtp-sink takes what the server makes of it. mtad
has the addresses as mailboxes whose domain is delivered by SMTP, and does all it does for any mail; Postfix is a plain
relay for the domain, as Debian ships it, and takes any address. Every message is looked for at the sink: one that is
lost, or came twice, ends the run. "acknowledged" is until the last 250 to smtp-source, "relayed" until the last message
is at the sink, "CPU" is what all processes of the server used, the stores included, smtp-source and smtp-sink not.

Only the server measured runs. Postfix needs root; without it its column is left out. --profile then runs mtad once more
for each case under py-spy, writes FILE.new, FILE.kept and FILE.large and prints what is in them.
"""

import argparse
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import turns
from bench.load import SESSIONS, Load
from bench.servers import DOMAIN, MAILBOXES, Mtad, Postfix, Server, free_port
from bench.sink import RelayLoad, Sink
from bench.turns import Case, Comparison

CASES = (
    Case("new", "4 KB, a new connection for each message", 4096, False, 20),
    Case("kept", "4 KB, kept connections", 4096, True, 20),
    Case("large", "100 KB, kept connections", 102400, True, 5),
)


class Relaying(Comparison):
    """To a sink."""

    ended = "relayed"
    circumstances = f"{SESSIONS} sessions, {len(MAILBOXES)} addresses, every message counted"

    def __init__(self, sink: Sink, cases: Sequence[Case], options: argparse.Namespace) -> None:
        super().__init__(cases, options)
        self._sink = sink

    def count(self, server: Server) -> int:
        """Return how many messages the sink took, from any server."""
        return self._sink.count

    def load(self, case: Case, each: int) -> Load:
        """Return what sends, and looks at the sink."""
        return RelayLoad(self._sink, each=each, octets=case.octets, keep=case.keep)

    def most_each(self, case: Case) -> int:
        """Return how many of them the sink has room for."""
        return self._sink.room_octets // (2 * case.octets * len(MAILBOXES))


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
    parser = turns.parser(__doc__)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="all, if none is named")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    cases = [case for case in CASES if not options.case or case.name in options.case]

    def prepare(home: Path, stack: ExitStack) -> tuple[Comparison, list[Server]]:
        sink = Sink(free_port())
        delivery = f'{{kind: smtp, addr: "127.0.0.1:{sink.port}"}}'
        makers = {
            "mtad": lambda: Mtad(home / "mtad", delivery, turns.settings(options)),
            "Postfix": lambda: RelayingPostfix(home / "postfix", sink.port),
        }
        servers = turns.prepared(makers, stack)
        return Relaying(stack.enter_context(sink), cases, options), servers

    turns.run(options, prepare)


if __name__ == "__main__":
    main()
