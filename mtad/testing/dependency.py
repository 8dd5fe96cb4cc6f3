"""A dependency's twin, for `/ready`: well, wrong, or silent."""

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mtad.interfaces import IDependency
from mtad.model.errors import Unavailable


@implementer(IDependency)
class MemoryDependency:
    """Set `wrong` to a reason to make it unavailable, `silent` to let it never answer; `checks` counts."""

    def __init__(self, name: str = "postgres") -> None:
        self.name = name
        self.wrong: str | None = None
        self.silent = False
        self.checks = 0

    async def check(self) -> None:
        """Return, raise Unavailable, or wait for ever."""
        self.checks += 1
        if self.silent:
            await Deferred[None]()
        if self.wrong is not None:
            raise Unavailable(self.name, self.wrong)
