"""How many messages a second come in and lie in their Maildirs: mtad, and Postfix beside it in turns.

    python -m bench.receive [--rounds 3] [--seconds 10] [--size 4096] [--directory /var/tmp] [--profile FILE]
                            [--processes N]

smtp-source (Debian's package postfix) sends over 20 sessions to 100 mailboxes, once with a new connection for each
message and once with kept ones. Every message is looked for at the end: one that is lost, or there twice, ends the run.
"acknowledged" is until the last 250, "delivered" until the last file is in new/, "CPU" is what all processes of the
server used, the stores included: of all figures the one that changes least with what else the machine does.

Only the server measured runs. Postfix needs root and its package; without them its column is left out. --profile then
runs mtad once more for each case under py-spy, writes FILE.new and FILE.kept and prints what is in them.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from bench import turns
from bench.load import SESSIONS, Load, files
from bench.servers import MAILBOXES, Mtad, Postfix, Server
from bench.turns import Case, Comparison

WARM_UP_EACH = 20


class Receiving(Comparison):
    """Into Maildirs."""

    ended = "delivered"

    def __init__(self, options: argparse.Namespace) -> None:
        self.circumstances = f"{SESSIONS} sessions, {options.size} octets, {len(MAILBOXES)} Maildirs"
        cases = (
            Case("new", "a new connection for each message", options.size, False, WARM_UP_EACH),
            Case("kept", "kept connections", options.size, True, WARM_UP_EACH),
        )
        super().__init__(cases, options)

    def count(self, server: Server) -> int:
        """Return how many files are in new/, of all mailboxes."""
        return sum(1 for _ in files(server.maildirs))

    def load(self, case: Case, each: int) -> Load:
        """Return what sends, and looks into the Maildirs."""
        return Load(each=each, octets=case.octets, keep=case.keep)


def arguments() -> argparse.Namespace:
    parser = turns.parser(__doc__)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message's body")
    return parser.parse_args()


def main() -> None:
    options = arguments()

    def prepare(home: Path, stack: ExitStack) -> tuple[Comparison, list[Server]]:
        makers = {
            "mtad": lambda: Mtad(home / "mtad", settings=turns.settings(options)),
            "Postfix": lambda: Postfix(home / "postfix"),
        }
        return Receiving(options), turns.prepared(makers, stack)

    turns.run(options, prepare)


if __name__ == "__main__":
    main()
