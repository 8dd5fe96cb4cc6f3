"""What messages of 25 MB cost mtad: the CPU for one, the memory for many at once.

    python -m bench.large [--count 100] [--directory /var/tmp] [--profile FILE]

One message alone, three times, and then `--count` of them at once, each over a connection of its own, to mailboxes that
are Maildirs. Every message is looked for at the end, and compared octet by octet: one that is lost, there twice or
changed ends the run. "CPU" is mtad's own process until the 250; PostgreSQL's is not in it, nor is what the delivery
takes afterwards. "Memory" is what the process has of its own (RssAnon), not what it shares with files. --profile runs
one message more under py-spy, and prints what is in FILE.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import sampling
from bench.load import Wrong, files
from bench.servers import DOMAIN, MAILBOXES, Mtad, NotStarted
from bench.turns import interrupted, scratch
from tests.system.large import MAX_OCTETS, Memory, cpu_seconds, message, number_of, send

ALONE = 3
PATIENCE_SECONDS = 300.0
MEBIBYTE = 1024 * 1024


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="messages at once")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk, with room for them")
    parser.add_argument("--profile", type=Path, metavar="FILE")
    return parser.parse_args()


def alone(server: Mtad) -> None:
    """Send one message at a time, and print what it takes."""
    cpu, seconds = [], []
    for _ in range(ALONE):
        before = cpu_seconds(server.pid)
        seconds.append(sent(server, 1))
        cpu.append(cpu_seconds(server.pid) - before)
        delivered(server, 1)
    print(f"one message of {MAX_OCTETS / MEBIBYTE:.0f} MB, median of {ALONE}")
    print(f"  CPU to accept    {median(cpu):8.2f} s")
    print(f"  until the 250    {median(seconds):8.2f} s", flush=True)


def at_once(server: Mtad, count: int) -> None:
    """Send many at once, and print what that takes."""
    before = cpu_seconds(server.pid)
    with Memory(server.pid) as memory:
        began = time.monotonic()
        seconds = sent(server, count)
        cpu = cpu_seconds(server.pid) - before
        delivered(server, count)
        until_delivered = time.monotonic() - began
    print(f"{count} messages of {MAX_OCTETS / MEBIBYTE:.0f} MB at once")
    for title, octets in (("before", memory.before), ("peak", memory.peak), ("after", memory.after)):
        print(f"  memory {title:10}{octets / MEBIBYTE:8.0f} MB")
    print(f"  memory raised by {memory.raised / MEBIBYTE:8.0f} MB")
    print(f"  CPU of each      {cpu / count:8.2f} s, until the last 250")
    print(f"  until the 250s   {seconds:8.1f} s")
    print(f"  until delivered  {until_delivered:8.1f} s", flush=True)


def sent(server: Mtad, count: int) -> float:
    """Send, and return the seconds until the last 250."""
    recipients = [f"{MAILBOXES[n % len(MAILBOXES)]}@{DOMAIN}" for n in range(count)]
    try:
        return send(server.port, recipients)
    except AssertionError as error:
        raise Wrong(f"a message was refused: {error}") from error


def delivered(server: Mtad, count: int) -> None:
    """Wait until so many messages are in their Maildirs, compare them with what was sent, and remove them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (there := len(list(files(server.maildirs)))) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    if there != count:
        raise Wrong(f"of {count} messages {there} are delivered")
    numbers = sorted(checked(server))
    if numbers != list(range(count)):
        raise Wrong(f"not every message came once: {numbers}")


def checked(server: Mtad) -> Iterator[int]:
    """Yield the numbers of the messages, each compared and removed."""
    for path in map(Path, files(server.maildirs)):
        octets = path.read_bytes()
        number = number_of(octets)
        if not octets.endswith(message(number).replace(b"\r\n", b"\n")):
            raise Wrong(f"message {number} is not what was sent")
        path.unlink()
        yield number


def main() -> None:
    options = arguments()
    sampler = sampling.find_sampler()
    if options.profile and sampler is None:
        sys.exit("py-spy is missing: pip install py-spy")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        with scratch(options.directory) as home:
            server = Mtad(home / "mtad")
            try:
                with server:
                    alone(server)
                    at_once(server, options.count)
                    if options.profile and sampler:
                        with sampling.sampled(sampler, server.pid, options.profile):
                            sent(server, 1)
                            delivered(server, 1)
                        print(sampling.summary(options.profile))
            finally:
                server.remove()
    except (NotStarted, Wrong) as trouble:
        sys.exit(str(trouble))


if __name__ == "__main__":
    main()
