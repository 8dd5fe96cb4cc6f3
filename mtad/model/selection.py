"""Which recipients in the queue a command is about: those that meet everything a selection names."""

from dataclasses import dataclass

from mtad.model.hold import NULL_SENDER
from mtad.model.identity import print_id
from mtad.model.job import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is left out matches all. Domains are A-labels; `sender` and `recipient` are what `Address.key` says.

    `domain` is a domain that mail goes to or is sent as. `sender` may also be `*@` with a domain, or NULL_SENDER.
    `recipient` is where mail goes or what it was sent to. `received_before` is epoch seconds. The spellings are the
    plain forms, not all of ASCII, of addresses in the queue that are the same sender and recipient.
    """

    organisation: int | None = None
    organisation_name: str | None = None
    domain: str | None = None
    sender: str | None = None
    recipient: str | None = None
    recipient_domain: str | None = None
    status: Status | None = None
    older_than: str | None = None
    received_before: float | None = None
    messages: tuple[int, ...] = ()
    sender_spellings: tuple[str, ...] = ()
    recipient_spellings: tuple[str, ...] = ()

    @property
    def sender_is_address(self) -> bool:
        """Whether `sender` is one address."""
        return self.sender is not None and self.sender != NULL_SENDER and domain_of_pattern(self.sender) is None

    @property
    def single(self) -> int | None:
        """The message that is selected whole and alone, None for any other selection."""
        alone = len(self.messages) == 1 and not self._named()
        return self.messages[0] if alone else None

    def __str__(self) -> str:
        """Return the selection as people read it."""
        return " ".join([*map(print_id, self.messages), *(f"{name}={value}" for name, value in self._named())])

    def _named(self) -> list[tuple[str, str]]:
        named = {
            "organisation": self.organisation_name,
            "domain": self.domain,
            "sender": self.sender,
            "recipient": self.recipient,
            "recipient-domain": self.recipient_domain,
            "status": self.status and self.status.value,
            "older-than": self.older_than,
        }
        return [(name, value) for name, value in named.items() if value is not None]


def domain_of_pattern(sender: str) -> str | None:
    """Return the domain of a pattern of senders, None for a single one."""
    return sender.removeprefix("*@") if sender.startswith("*@") and sender != NULL_SENDER else None
