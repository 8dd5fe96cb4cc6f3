"""What a record costs: the events of one message, counted only and through twisted.logger, in µs a record."""

import timeit

from mtad.adapters.metrics import Journal, twisted_log
from mtad.model.event import Fact
from mtad.model.journal import Level

ROUNDS = 50_000
EVENTS: dict[str, dict[str, Fact]] = {
    "smtp.connected": {"peer": "192.0.2.7", "port": "receiving"},
    "smtp.accepted": {
        "id": "0123456789ABC", "organisation": 1, "reverse_path": "ann@outside.example", "recipients": 1,
        "size": 4096, "peer": "192.0.2.7",
    },
    "smtp.rejected": {"stage": "rcpt", "reason": "no-such-user", "reply": "550 5.1.1 No", "peer": "192.0.2.7"},
    "queue.accepted": {"seconds": 0.004},
    "delivery.delivered": {
        "id": "0123456789ABC", "n": 0, "recipient": "alice@acme.example", "kind": "maildir", "detail": "stored",
    },
}  # fmt: skip


def cost(journal: Journal, event: str, facts: dict[str, Fact]) -> float:
    return timeit.timeit(lambda: journal.record(event, **facts), number=ROUNDS) / ROUNDS * 1e6


def main() -> None:
    counting = Journal(log=lambda level, event, facts: None)
    logging = Journal(log=twisted_log, least=Level.DEBUG)
    for event, facts in EVENTS.items():
        print(
            f"{event:20} counted {cost(counting, event, facts):5.2f} µs, logged {cost(logging, event, facts):5.2f} µs"
        )
    exposition = timeit.timeit(counting.exposition, number=100) / 100 * 1e6
    print(f"exposition {exposition:.0f} µs, {len(counting.exposition())} octets")


if __name__ == "__main__":
    main()
