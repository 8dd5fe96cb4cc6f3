"""One SMTP reply: three digits, an enhanced code, text (RFC 5321 §4.2, RFC 3463, RFC 2034)."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Reply:
    """`enhanced` is `2.1.0`-like or None where RFC 2034 has none (greeting, EHLO, 354); `lines` are ASCII."""

    code: int
    enhanced: str | None
    lines: tuple[str, ...]
    closes: bool = False

    @property
    def positive(self) -> bool:
        """Whether the peer got what it asked for (2yz, 3yz)."""
        return self.code < 400

    @property
    def permanent(self) -> bool:
        """Whether the peer is told not to try again (5yz)."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """The reply on one line, for logs and events."""
        prefix = f"{self.code} {self.enhanced} " if self.enhanced else f"{self.code} "
        return prefix + " ".join(self.lines)

    def softened(self) -> "Reply":
        """Return the reply as one for now, where it is one for good; the session goes on or ends as it would."""
        if not self.permanent:
            return self
        return replace(self, code=self.code - 100, enhanced=self.enhanced and f"4{self.enhanced[1:]}")

    def encode(self) -> bytes:
        """Return the octets to send."""
        tag = f"{self.enhanced} " if self.enhanced else ""
        last = len(self.lines) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{tag}{line}\r\n" for number, line in enumerate(self.lines)
        ).encode("ascii")
