"""Where to listen or to dial, as people write it: `127.0.0.1:2525`, `[::1]:25`, `:25`, `mx.example:24`, `/run/lmtp`."""

import re
from dataclasses import dataclass

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]]*)):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class HostPort:
    """`host` is a name or an IP address without brackets; empty means every address of this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the form that `parse` takes."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixPath:
    """The path of a unix socket."""

    path: str


def parse(text: str) -> HostPort | UnixPath:
    """Return what `text` names: with a slash it is a path; ValueError says which forms there are."""
    if "/" in text:
        return UnixPath(text)
    match = _HOST_PORT.fullmatch(text)
    if not match or int(match[3]) > 65535:
        raise ValueError(f"expected host:port, [IPv6 address]:port, :port or a path with a slash, got {text!r}")
    return HostPort(match[1] or match[2] or "", int(match[3]))
