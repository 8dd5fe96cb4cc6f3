"""What can go wrong, by what the caller should do about it.

    MtadError
      Unavailable     a dependency did not answer: temporary, 451 to a peer, try again
        NoAnswer      it was silent for too long, or its connections are lost: others fare no better
        NoRoom        a disk is full: 452, and the peer comes again
      LeaseLost     this process may no longer act for its rows
      Unacceptable    the database refuses this one message for its data: 451, and only for it
      InvalidInput    a file, a command line or a setting is wrong: says where and what was expected

An exception that is none of these is a surprise: it is logged, and treated as temporary.
"""


class MtadError(Exception):
    """The base of all of mtad's errors."""


class Unavailable(MtadError):
    """`dependency` (postgres, redis, dns, disk) did not do its part; nothing was promised."""

    def __init__(self, dependency: str, reason: str) -> None:
        super().__init__(f"{dependency}: {reason}")
        self.dependency = dependency
        self.reason = reason


class NoAnswer(Unavailable):
    """The dependency said nothing, for as long as was waited or for want of a connection."""


class NoRoom(Unavailable):
    """A disk is full: the dependency would not keep this one now."""


class LeaseLost(Unavailable):
    """The node's row is gone or its lease ran out: it starts nothing for rows it thought its own."""

    def __init__(self, reason: str) -> None:
        super().__init__("postgres", reason)


class Unacceptable(MtadError):
    """The database refused one message because of its data."""


class InvalidInput(MtadError):
    """Names where (file, line or path), what, and what was expected, in one line."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what
