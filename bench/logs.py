"""What a line of the log costs, in µs: an accepted message as JSON and as text, written, and one that is dropped.

python -m bench.logs
"""

import os
import timeit
from collections.abc import Callable

from twisted.logger import Logger

from mtad.adapters.logs import LineWriter, LogObserver, as_json, as_text
from mtad.model.journal import Level

ROUNDS = 5_000
FACTS = {
    "id": "0123456789ABC", "organisation": 1, "reverse_path": "ann@outside.example", "recipients": 1,
    "size": 4096, "peer": "192.0.2.7",
}  # fmt: skip


def cost(work: Callable[[], None]) -> float:
    return min(timeit.repeat(work, number=ROUNDS, repeat=20)) / ROUNDS * 1e6


def main() -> None:
    nobody = Logger(namespace="mtad", observer=lambda event: None)
    print(f"twisted.logger alone {cost(lambda: nobody.info('{mtad_event}', mtad_event='x', mtad_facts=FACTS)):5.2f} µs")
    descriptor = os.open(os.devnull, os.O_WRONLY)
    for name, render in (("json", as_json), ("text", as_text)):
        observer = LogObserver(write=LineWriter(descriptor).write, render=render, level=Level.INFO, levels={})
        log = Logger(namespace="mtad", observer=observer)
        written = cost(lambda log=log: log.info("{mtad_event}", mtad_event="smtp.accepted", mtad_facts=FACTS))
        dropped = cost(lambda log=log: log.debug("{mtad_event}", mtad_event="smtp.accepted", mtad_facts=FACTS))
        print(f"{name}: written {written:5.2f} µs, dropped {dropped:5.2f} µs")


if __name__ == "__main__":
    main()
