"""The server: ports and flows joined. `build` is all that others need."""

from mtad.service.server import Server, build

__all__ = ["Server", "build"]
