"""What has to be known of a content before it is sent, gathered block by block.

Content with a CR or LF that stands alone is not to be sent at all (RFC 5321 §2.3.8): the next server might see the end
of the message there. How blocks are cut makes no difference. Lines are never looped over in Python.
"""


class Survey:
    """What was seen so far: `eight_bit` tells of octets above 127."""

    def __init__(self) -> None:
        self.eight_bit = False
        self._returns = 0
        self._feeds = 0
        self._pairs = 0
        self._after_return = False

    @property
    def bare_newline(self) -> bool:
        """Whether a CR or LF stands alone in it, if nothing more comes."""
        return not self._returns == self._feeds == self._pairs

    def look(self, block: bytes) -> None:
        """Take what comes next."""
        if not block:
            return
        self.eight_bit = self.eight_bit or not block.isascii()
        self._returns += block.count(b"\r")
        self._feeds += block.count(b"\n")
        self._pairs += block.count(b"\r\n") + (self._after_return and block.startswith(b"\n"))
        self._after_return = block.endswith(b"\r")

    def pass_over(self, block: bytes) -> None:
        """Take what comes next, of which is known that no CR or LF stands alone in it."""
        self.eight_bit = self.eight_bit or not block.isascii()
        # A CR before it has no LF in it.
        self._after_return = False
