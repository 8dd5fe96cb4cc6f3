"""What a setting can be beyond text and numbers: sizes, durations, names, addresses, networks, secrets.

Each kind is made by `parse` from what stands in the file, which refuses with a ValueError that says what was expected
and what was found instead. An error never quotes a secret. Nothing here knows of files or sections.
"""

import ipaddress
import re
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from mtad.model import endpoint, units
from mtad.model.address import Address
from mtad.model.endpoint import HostPort
from mtad.model.master_key import parse_master_keys

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LEAST_MEMORY = 64 * 1024**2
_MOST_SECONDS = 3650 * 86400.0
_MOST_PROCESSES = 256
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# The names of hosts inside a network may have underscores, those of mail domains may not.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"(?=.{{1,64}}\Z){_ATOM}(?:\.{_ATOM})*")
_WORDS: dict[str, tuple[IPNetwork, ...]] = {
    "loopback": (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
    # RFC 1918 §3, RFC 4193 §3.1
    "private": tuple(
        ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    ),
}


class Octets(int):
    """A size in octets, written as `25MB` or as a bare number."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the size."""
        if isinstance(raw, bool) or not isinstance(raw, int | str):
            raise ValueError(f"expected a size such as 25MB, got {raw!r}")
        return cls(units.octets(raw))


class Memory(Octets):
    """A size of at least 64MB, or `auto`, which is 0 until the machine was asked."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the size, 0 for `auto`."""
        if raw == "auto":
            return cls(0)
        try:
            memory = super().parse(raw)
        except ValueError:
            raise ValueError(f"expected a size such as 512MB, or auto, got {raw!r}") from None
        if memory < _LEAST_MEMORY:
            raise ValueError(f"expected at least 64MB, got {raw!r}")
        return memory


class Seconds(float):
    """A duration in seconds, written as `30s`, `5m`, `4h` or `5d`; only 0 needs no unit."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the duration, at most ten years."""
        seconds = cls(units.seconds(str(raw)))
        if seconds > _MOST_SECONDS:
            raise ValueError(f"expected at most {units.duration_text(_MOST_SECONDS)}, got {raw!r}")
        return seconds


class Processes(int):
    """How many processes; 0 stands for `auto`, as many as there are CPUs for."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the number."""
        if raw == "auto":
            return cls(0)
        if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= _MOST_PROCESSES:
            raise ValueError(f"expected auto, or a number from 1 to {_MOST_PROCESSES}, got {raw!r}")
        return cls(raw)


class Name(str):
    """A text of one line that is not empty."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the text."""
        return cls(_text(raw))


class Hostname(str):
    """A domain in lower case, an internationalised one as A-labels (RFC 5321 §2.3.5)."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the domain; an IP address is none."""
        text = _text(raw)
        if not _is_domain(text):
            raise ValueError(f"expected a domain such as mail.example.org, got {text!r}")
        return cls(text.lower())


class CertificateName(str):
    """A domain a certificate is shown for, or `*.` and a domain: any one label before it (RFC 9525 §6.3)."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the name in lower case."""
        text = _text(raw)
        if not _is_domain(text.removeprefix("*.")):
            raise ValueError(f"expected a domain such as mail.example.org or *.example.org, got {text!r}")
        return cls(text.lower())


class EmailAddress(str):
    """A mailbox of the usual form: no quotes, a domain in lower case."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the address."""
        text = _text(raw)
        local_part, _, domain = text.rpartition("@")
        if not _LOCAL_PART.fullmatch(local_part) or not _is_domain(domain):
            raise ValueError(f"expected an address such as postmaster@example.org, got {text!r}")
        return cls(f"{local_part}@{domain.lower()}")

    @property
    def address(self) -> Address:
        """The address as the rest of mtad knows it."""
        local_part, _, domain = self.rpartition("@")
        return Address(local_part, domain)


class ListenAddress(str):
    """Where to accept connections: `:25` for every address of the machine, `127.0.0.1:2525`, `[::1]:25`.

    The host is an IP address, never a name; port 0 lets the system choose.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the address."""
        text = _text(raw)
        place = _host_port(text)
        if place is None or (place.host and not _is_ip(place.host)):
            raise ValueError(f'expected an address such as ":25", "127.0.0.1:2525" or "[::1]:25", got {text!r}')
        return cls(text)


class DialAddress(str):
    """Where to connect to: `host:port`, or the path of a unix socket; `mtad.model.endpoint.parse` takes it apart."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the address."""
        text = _bare(raw, "host:port")
        place = _host_port(text)
        if text.startswith("/") or (place and place.port and _is_host(place.host)):
            return cls(text)
        raise ValueError(f"expected host:port or the path of a unix socket, got {text!r}")


class NameServer(str):
    """A server of the DNS: `127.0.0.1:53` or `[::1]:53`, never a name; `mtad.model.endpoint.parse` takes it apart."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the address."""
        text = _bare(raw, "an IP address and a port")
        place = _host_port(text)
        if place is None or not place.port or not _is_ip(place.host):
            raise ValueError(f'expected an IP address and a port such as "127.0.0.1:53" or "[::1]:53", got {text!r}')
        return cls(text)

    @property
    def place(self) -> HostPort:
        """The address and the port."""
        place = _host_port(self)
        assert place is not None
        return place


class SourceAddress(str):
    """An IP address of this machine to connect from."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the address as `ipaddress` prints it."""
        text = _text(raw)
        try:
            return cls(ipaddress.ip_address(text))
        except ValueError:
            raise ValueError(f"expected an IP address such as 192.0.2.1, got {text!r}") from None


class DatabaseHost(str):
    """A host of libpq: a name, an IP address, or the directory of a unix socket; `place` also knows `host:port`."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the host."""
        host = cls(_bare(raw, "a host"))
        if host.startswith("/") or _is_host(host.place(0).host):
            return host
        raise ValueError(f"expected a host name, an IP address or the directory of a unix socket, got {str(host)!r}")

    def place(self, default_port: int) -> HostPort:
        """Return host and port, `default_port` when none is written."""
        written = None if self.startswith("/") or _is_ip(self) else _host_port(self)
        return written or HostPort(str(self), default_port)


class RootCertificates(str):
    """The path of a file of root certificates, or `system` for those of the system."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the path."""
        return cls(_text(raw))


class Network(str):
    """A network such as `192.0.2.0/24`, a single IP address, or one of the words `loopback` and `private`."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the network; bits set below its prefix are an error."""
        text = _text(raw)
        try:
            _ = cls(text).ranges
        except ValueError:
            raise ValueError(f"expected a network such as 192.0.2.0/24, loopback or private, got {text!r}") from None
        return cls(text)

    @property
    def ranges(self) -> tuple[IPNetwork, ...]:
        """The networks it stands for."""
        return _WORDS.get(self) or (ipaddress.ip_network(str(self)),)


class Secret:
    """A text that is never printed: `reveal` gives it to who needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the secret."""
        # What the environment holds may be no UTF-8, which Python keeps as lone surrogates.
        if not isinstance(raw, str) or not raw or "\0" in raw or re.search("[\ud800-\udfff]", raw):
            raise ValueError("expected text, in quotes")
        return cls(raw)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class MasterKeys(Secret):
    """The keys that private keys are sealed with: KEY or ID:KEY in base64, the first of several writes."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the keys."""
        secret = super().parse(raw)
        parse_master_keys(secret.reveal())
        return secret


class Kind(Protocol):
    """A class of this module, or another that is made in the same way."""

    @classmethod
    def parse(cls, raw: object) -> Any:
        """Return a value of the kind; ValueError says what was expected and what was found."""


def parse(kind: type[Any], raw: object) -> object:
    """Return `raw` as a value of `kind`: msgspec's hook for the types it does not know."""
    if issubclass(kind, Path):
        return Path(_text(raw))
    parse_kind: type[Kind] = kind
    return parse_kind.parse(raw)


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected text, in quotes, got {raw!r}")
    if not raw or not raw.isprintable():
        raise ValueError(f"expected printable text, got {raw!r}")
    return raw


def _bare(raw: object, expected: str) -> str:
    """Return a text that cannot be a URI with a password in it: such a one is refused without quoting it."""
    if isinstance(raw, str) and ("@" in raw or "://" in raw):
        raise ValueError(f"expected {expected} without scheme, user or password")
    return _text(raw)


def _host_port(text: str) -> HostPort | None:
    try:
        place = endpoint.parse(text)
    except ValueError:
        return None
    return place if isinstance(place, HostPort) else None


def _is_domain(text: str) -> bool:
    return _DOMAIN.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()


def _is_host(text: str) -> bool:
    return _is_ip(text) or _HOST.fullmatch(text) is not None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
