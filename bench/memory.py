"""How much memory mtad takes when more comes at once than it may hold.

    python -m bench.memory [--connections 1000] [--octets 1000000] [--memory 256MB …] [--directory /var/tmp]

So many connections each begin a message, and once all have begun send it at the same time; each is as large as it can
be without going to the disk. It prints what became of them, and what the process had of its own (RssAnon) before, with
all connected, and at most: that must stay below what it had with all connected and `server.memory` together. Every
message that was refused for now is sent again until it is taken, and all are looked for in the end.
"""

import argparse
import asyncio
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from bench.load import Wrong, files
from bench.servers import DOMAIN, MAILBOXES, Mtad, NotStarted
from bench.turns import interrupted, scratch
from mtad.config import Memory as Budget
from tests.system.large import Memory

MEBIBYTE = 1024 * 1024
PATIENCE_SECONDS = 300.0
AGAIN_SECONDS = 2.0
AGAIN_AT_ONCE = 20
_LINE = b"x" * 76 + b"\r\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--octets", type=int, default=1_000_000, help="of each message")
    parser.add_argument("--memory", nargs="+", default=["256MB"], help="server.memory")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk, with room for them")
    return parser.parse_args()


class Sender:
    """One connection that sends one message; each comes from an address of its own, as far as there are any."""

    def __init__(self, number: int, port: int, octets: int) -> None:
        self._source = (f"127.0.{1 + number // 250}.{1 + number % 250}", 0)
        self._recipient = f"{MAILBOXES[number % len(MAILBOXES)]}@{DOMAIN}"
        self._port = port
        head = b"From: ann@outside.example\r\nSubject: %d\r\n\r\n" % number
        self._message = head + _LINE * ((octets - len(head)) // len(_LINE))

    async def begin(self) -> str:
        """Connect and go as far as the content; return the code of the last reply."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=self._source)
        code = await self._reply()
        for line in ("HELO outside.example", "MAIL FROM:<ann@outside.example>", f"RCPT TO:<{self._recipient}>", "DATA"):
            if code[0] not in "23":
                break
            self._writer.write(f"{line}\r\n".encode())
            code = await self._reply()
        return code

    async def send(self) -> str:
        """Send the message; return the code of the reply to its end."""
        self._writer.write(self._message + b".\r\n")
        await self._writer.drain()
        return await self._reply()

    def end(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def _reply(self) -> str:
        line = await asyncio.wait_for(self._reader.readline(), PATIENCE_SECONDS)
        if line[:1] not in (b"2", b"3", b"4"):
            raise Wrong(f"the server says {line!r}")
        return line[:3].decode()


async def at_once(server: Mtad, connections: int, octets: int, budget: int) -> None:
    """Send all messages at the same time, then again those that were refused, and print what came of it."""
    with Memory(server.pid) as memory:
        senders = {number: Sender(number, server.port, octets) for number in range(connections)}
        begun = {number: await sender.begin() for number, sender in senders.items()}
        connected = memory.now
        began = time.monotonic()
        going = [number for number, code in begun.items() if code == "354"]
        codes = await asyncio.gather(*(senders[number].send() for number in going))
        seconds = time.monotonic() - began
        for sender in senders.values():
            sender.end()
        taken = {number for number, code in zip(going, codes, strict=True) if code == "250"}
        left = set(range(connections)) - taken
        await again(server, sorted(left), octets)
        delivered(server, connections)
    print(f"{connections} messages of {octets} octets at once, server.memory {budget / MEBIBYTE:.0f} MB")
    print(f"  begun, not begun {Counter(begun.values())['354']:8} {connections - len(going)}")
    print(f"  taken, refused   {len(taken):8} {len(left)}")
    for title, value in (("before", memory.before), ("connected", connected), ("peak", memory.peak)):
        print(f"  memory {title:10}{value / MEBIBYTE:8.0f} MB")
    print(f"  until the last   {seconds:8.1f} s")
    print(f"  until all taken  {time.monotonic() - began:8.1f} s", flush=True)
    if memory.peak > connected + budget:
        raise Wrong(f"it took {(memory.peak - connected - budget) / MEBIBYTE:.0f} MB more than it may")


async def again(server: Mtad, numbers: list[int], octets: int) -> None:
    """Send messages until they are taken, some at a time."""
    waiting = list(numbers)

    async def sending() -> None:
        while waiting:
            number = waiting.pop()
            sender = Sender(number, server.port, octets)
            taken = await sender.begin() == "354" and await sender.send() == "250"
            sender.end()
            if not taken:
                waiting.append(number)
                await asyncio.sleep(AGAIN_SECONDS)

    await asyncio.gather(*(sending() for _ in range(AGAIN_AT_ONCE)))


def delivered(server: Mtad, count: int) -> None:
    """Wait until all messages are in their Maildirs, each once."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list(files(server.maildirs))) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    subjects = Counter(
        next(line for line in Path(path).read_bytes().splitlines() if line.startswith(b"Subject: "))
        for path in files(server.maildirs)
    )
    if len(subjects) != count or subjects.total() != count:
        raise Wrong(f"of {count} messages {len(subjects)} came, {subjects.total() - len(subjects)} once too often")


def main() -> None:
    options = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The server's too, which inherits it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        for memory in options.memory:
            with scratch(options.directory) as home:
                server = Mtad(home / "mtad", settings={"memory": memory})
                try:
                    with server:
                        asyncio.run(at_once(server, options.connections, options.octets, Budget.parse(memory)))
                finally:
                    server.remove()
    except (NotStarted, Wrong) as trouble:
        sys.exit(str(trouble))


if __name__ == "__main__":
    main()
