"""A message on its way in: the octets kept so far, and when enough is enough.

A peer must not hold a session by sending for ever: what is refused already is read to its end so that nothing behind
it is taken for a command, but only within bounds; and a message must come at some pace, whatever the idle timeout says.
What would take more memory than there is for mail is refused, and its octets are forgotten at once.
"""

from mtad.interfaces import IGathering
from mtad.model import replies
from mtad.model.content import Content
from mtad.model.errors import Unavailable
from mtad.model.reply import Reply
from mtad.scheduling.memory import Stake

# RFC 5321 §4.5.3.2.5 and .6 leave a peer ten minutes at most for one step; a whole message gets as much on top.
GRACE_SECONDS = 600.0
LEAST_OCTETS_A_SECOND = 1024
REFUSED_OCTETS_FACTOR = 2


class Incoming:
    """One message of at most `max_octets`, since `began` (monotonic seconds), gathered in `gathering`.

    `stake` counts its memory, what was set aside for it before it came too.
    """

    def __init__(self, max_octets: int, began: float, gathering: IGathering, stake: Stake) -> None:
        self._max_octets = max_octets
        self._began = began
        self._gathering = gathering
        self._stake = stake
        self._set_aside = stake.octets
        self._trouble: Unavailable | None = None
        self._arrived_octets = 0

    def arrived(self, octets: int) -> None:
        """Count what came off the wire."""
        self._arrived_octets += octets

    def keep(self, content: bytes) -> None:
        """Take a piece of the message; once there is no room for it, it is read to its end all the same."""
        if self._trouble is not None:
            return
        if not self._stake.may_hold(self._gathering.in_memory() + len(content)):
            self._give_up(Unavailable("memory", "too much mail is held in it"))
            return
        try:
            self._gathering.add(content)
        except Unavailable as trouble:
            self._give_up(trouble)
        else:
            octets = self._gathering.in_memory()
            self._stake.hold(max(octets, self._set_aside) if octets else 0)

    def _give_up(self, trouble: Unavailable) -> None:
        # A traceback would keep what its frames had in hand, which is a piece of the message.
        self._trouble = trouble.with_traceback(None)
        self.drop()

    def drop(self) -> None:
        """Forget the pieces: the message is refused already."""
        self._gathering.drop()
        self._stake.hold(0)

    def take(self) -> Content:
        """Return the whole message, once, and forget it; raises the Unavailable there was in keeping it."""
        if self._trouble is not None:
            raise self._trouble
        return self._gathering.content()

    def impatience(self, now: float) -> Reply | None:
        """Return the reply that ends the session when this has gone on for too long or too far, None while it may."""
        if self._arrived_octets > REFUSED_OCTETS_FACTOR * self._max_octets:
            return replies.FAR_TOO_LARGE
        late = now - self._began - GRACE_SECONDS
        return replies.TOO_SLOW if late * LEAST_OCTETS_A_SECOND > self._arrived_octets else None
