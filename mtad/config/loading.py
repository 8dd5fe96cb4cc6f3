"""config.yaml and the environment become Settings: variables over the file, secrets read, paths resolved."""

import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from mtad.config.decoding import decode
from mtad.config.document import Document, KeyPath, read
from mtad.config.kinds import Hostname, MasterKeys, Memory, RootCertificates, Secret
from mtad.config.machine import memory_octets
from mtad.config.sections import Database, Dkim, Redis, Relay, Section, Settings

S = TypeVar("S", bound=Section)
T = TypeVar("T")
SecretKind = TypeVar("SecretKind", bound=Secret)
Locked = TypeVar("Locked", Database | None, Redis | None, Relay | None)

VARIABLES: Mapping[str, tuple[str, str]] = {
    "DB_HOST": ("database", "host"),
    "DB_PORT": ("database", "port"),
    "DB_NAME": ("database", "name"),
    "DB_USER": ("database", "user"),
    "DB_PASSWORD": ("database", "password"),
    "REDIS_ADDR": ("redis", "addr"),
    "REDIS_PASSWORD": ("redis", "password"),
    "SMTP_HOSTNAME": ("server", "hostname"),
    "TLS_CERT_FILE": ("tls", "cert_file"),
    "TLS_KEY_FILE": ("tls", "key_file"),
    "MTAD_MASTER_KEY": ("dkim", "master_key"),
}
"""The environment variables, and the key each one overrides."""

# What the file may say instead of the overridden key.
_SUPERSEDED: Mapping[str, KeyPath] = {
    "DB_HOST": ("database", "hosts"),
    "DB_PASSWORD": ("database", "password_file"),
    "REDIS_PASSWORD": ("redis", "password_file"),
    "MTAD_MASTER_KEY": ("dkim", "master_key_file"),
}
_MAX_SECRET_OCTETS = 4096


AUTO_SHARE = 4
"""The part of the machine's memory that `server.memory: auto` is."""
_AUTO_LEAST, _AUTO_MOST = 64 * 1024**2, 2 * 1024**3


def load(
    path: Path,
    environ: Mapping[str, str],
    machine_name: Callable[[], str] = socket.getfqdn,
    machine_memory: Callable[[], int] = memory_octets,
    *,
    octets: bytes | None = None,
) -> Settings:
    """Return the settings of the file at `path` with `environ` over them; an empty variable counts as absent.

    A section without keys is a section: `database:` alone means a PostgreSQL at its default host. Relative paths are
    seen from the file's directory. `machine_name`, which may wait for DNS, is asked when nothing sets
    `server.hostname`, `machine_memory` (octets) when `server.memory` is auto. `octets` are what the file says if they
    were read before. InvalidInput says in one line what is wrong, and on which line of the file or in which variable.
    """
    document = _with_environment(read(path, empty_sections=True, octets=octets), environ)
    directory = Path(os.path.abspath(path)).parent
    settings = _resolved(decode(document, Settings), directory)
    if not _written(document, "server", "hostname"):
        settings = _named(settings, machine_name())
    if not settings.server.memory:
        settings = _sized(settings, machine_memory())
    return msgspec.structs.replace(
        settings,
        database=_unlocked(document, ("database",), settings.database),
        redis=_unlocked(document, ("redis",), settings.redis),
        dkim=_with_master_key(document, settings.dkim),
        delivery=msgspec.structs.replace(
            settings.delivery, relay=_unlocked(document, ("delivery", "relay"), settings.delivery.relay)
        ),
    )


def decode_yaml(path: Path, kind: type[T]) -> T:
    """Return the YAML file at `path` as a msgspec struct of `kind`, whose fields may be of mtad.config's kinds.

    InvalidInput names line and key of the first thing that cannot be so. An unknown key is only refused by structs
    with `forbid_unknown_fields`.
    """
    return decode(read(path), kind)


def _with_environment(document: Document, environ: Mapping[str, str]) -> Document:
    for variable, at in VARIABLES.items():
        text = environ.get(variable, "")
        if text:
            numeric = variable == "DB_PORT" and re.fullmatch("[0-9]{1,9}", text)
            document = document.with_variable(at, int(text) if numeric else text, variable)
            if variable in _SUPERSEDED:
                document = document.without(_SUPERSEDED[variable])
    return document


def _written(document: Document, section: str, key: str) -> bool:
    return key in document.data.get(section, {})


def _named(settings: Settings, machine_name: str) -> Settings:
    """Return the settings with the machine's name when that is a full one."""
    try:
        hostname = Hostname.parse(machine_name)
    except ValueError:
        return settings
    if "." not in hostname:
        return settings
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, hostname=hostname))


def _sized(settings: Settings, machine_octets: int) -> Settings:
    memory = Memory(min(max(machine_octets // AUTO_SHARE, _AUTO_LEAST), _AUTO_MOST))
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, memory=memory))


def _resolved(section: S, directory: Path) -> S:
    """Return the section with every relative path in it as seen from `directory`."""
    changed: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            changed[field.name] = _resolved(value, directory)
        elif isinstance(value, tuple):
            changed[field.name] = tuple(_resolved(x, directory) if isinstance(x, Section) else x for x in value)
        elif isinstance(value, Path):
            changed[field.name] = directory / value
        elif isinstance(value, RootCertificates) and value != "system":
            changed[field.name] = RootCertificates(directory / value)
    return msgspec.structs.replace(section, **changed)


def _unlocked(document: Document, section: KeyPath, locked: Locked) -> Locked:
    """Return a section with its password read from the file that holds it."""
    if locked is None or locked.password_file is None:
        return locked
    password = _read_secret(document, (*section, "password_file"), locked.password_file, Secret, "the password")
    return msgspec.structs.replace(locked, password=password, password_file=None)


def _with_master_key(document: Document, dkim: Dkim) -> Dkim:
    """Return the section with its master keys read from the file that holds them."""
    if dkim.master_key_file is None:
        return dkim
    keys = _read_secret(document, ("dkim", "master_key_file"), dkim.master_key_file, MasterKeys, "the master keys")
    return msgspec.structs.replace(dkim, master_key=keys, master_key_file=None)


def _read_secret(document: Document, at: KeyPath, path: Path, kind: type[SecretKind], what: str) -> SecretKind:
    """Return the secret in the file that the key at `at` names; `what` says of the only line what it should be."""
    try:
        with path.open("rb") as file:
            return kind.parse(_line(file.read(_MAX_SECRET_OCTETS + 1)))
    except OSError as error:
        raise document.wrong(at, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise document.wrong(at, f"expected a file of one line of UTF-8, {what}") from None


def _line(octets: bytes) -> str:
    text = octets.decode().removesuffix("\n").removesuffix("\r")
    if len(octets) > _MAX_SECRET_OCTETS or "\n" in text:
        raise ValueError("expected one line")
    return text
