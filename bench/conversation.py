"""The SMTP conversation without I/O: microseconds a transaction, and milliseconds a large message.

python -m bench.conversation
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp.commands import NEED_DATA, Content, Event
from mtad.smtp.data import DataDecoder
from mtad.smtp.server import Conversation

TRANSACTIONS = 5000
BODY = b"Subject: bench\r\n\r\n" + (b"x" * 70 + b"\r\n") * 56 + b".\r\n"
TRANSACTION: tuple[tuple[bytes, Reply], ...] = (
    (b"MAIL FROM:<some.body@client.example> SIZE=4096\r\n", replies.SENDER_OK),
    (b"RCPT TO:<alice@acme.example>\r\n", replies.RECIPIENT_OK),
    (b"DATA\r\n", replies.START_DATA),
    (BODY, replies.queued("0" * 13)),
)
LARGE_OCTETS = 25 * 1024 * 1024
CHUNK_OCTETS = 64 * 1024
LARGE = {
    "lines of 72": b"x" * 70 + b"\r\n",
    "lines of 72, all stuffed": b".." + b"x" * 68 + b"\r\n",
    "lines of 3": b"x\r\n",
    "lines of 64 KB": b"x" * (CHUNK_OCTETS - 2) + b"\r\n",
}


def one_session() -> None:
    """Run transactions of 4 KB over one conversation, one read a command."""
    talk = Conversation(hostname="mx.example", max_message_size=LARGE_OCTETS, starttls=False)
    talk.receive_data(b"EHLO client.example\r\n")
    talk.next_event()
    talk.reply(talk.hello_reply())
    for _ in range(TRANSACTIONS):
        for octets, reply in TRANSACTION:
            talk.receive_data(octets)
            event: Event | object = talk.next_event()
            if isinstance(event, Content):
                talk.next_event()
            talk.reply(reply)
            assert talk.next_event() is NEED_DATA


def large(message: bytes) -> None:
    """Decode one message in chunks as they come from a socket."""
    decoder = DataDecoder(2 * LARGE_OCTETS)
    for start in range(0, len(message), CHUNK_OCTETS):
        decoder.feed(message[start : start + CHUNK_OCTETS])
    assert decoder.finished
    assert decoder.soundness.problem is None


def best_seconds(work: Callable[[], None]) -> float:
    """Return the shortest of five runs."""
    times = []
    for _ in range(5):
        began = perf_counter()
        work()
        times.append(perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    print(f"MAIL, RCPT, DATA, 4 KB: {best_seconds(one_session) / TRANSACTIONS * 1e6:.1f} µs")
    for name, line in LARGE.items():
        message = line * (LARGE_OCTETS // len(line)) + b"\r\n.\r\n"
        print(f"25 MB, {name}: {best_seconds(partial(large, message)) * 1e3:.0f} ms")
