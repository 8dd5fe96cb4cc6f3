"""Play any number of inputs to the conversations, the same ones for the same seed.

    python -m tests.fuzz [--inputs N] [--seed N] [--first N]

An input that ends in an exception, or in a conversation that holds too much, is told with its number and its
traceback, and ends the run with exit status 1; `--first NUMBER --inputs 1` plays it again.
"""

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random, SystemRandom

from tests.fuzz import client, proxied, server

SIDES: tuple[Callable[[Random], Counter[str]], ...] = (server.play, server.play, client.play, client.play, proxied.play)
TOLD_EVERY_SECONDS = 10.0


def play(seed: int, number: int) -> Counter[str]:
    """Play one input, and return the events it came to, by kind."""
    random = Random((seed << 40) + number)
    return SIDES[number % len(SIDES)](random)


def run(seed: int, first: int, inputs: int) -> bool:
    """Play inputs, tell how it goes, and return whether all went well."""
    began = told = time.monotonic()
    events: Counter[str] = Counter()
    for number in range(first, first + inputs):
        try:
            events.update(play(seed, number))
        except Exception:
            traceback.print_exc()
            print(f"input {number} of seed {seed}: python -m tests.fuzz --seed {seed} --first {number} --inputs 1")
            return False
        now = time.monotonic()
        if now - told > TOLD_EVERY_SECONDS:
            told = now
            done = number + 1 - first
            print(f"{done} inputs, {done / (now - began):.0f}/s", flush=True)
    seconds = time.monotonic() - began
    print(
        f"{inputs} inputs of seed {seed}, {events.total()} events, {inputs / max(seconds, 0.001):.0f}/s: no complaint"
    )
    return True


def main(arguments: Sequence[str]) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args(arguments)
    print(f"{chosen.inputs} inputs of seed {chosen.seed}", flush=True)
    return 0 if run(chosen.seed, chosen.first, chosen.inputs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
