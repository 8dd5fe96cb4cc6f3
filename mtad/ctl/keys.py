"""The keys of an apply file: read from their files, made where there is none, and held against what is there.

A selector names one key for ever, for its record may be known far away: the file may bring a key for a selector that
has none, never another one (RFC 6376 §3.1). Making a key takes up to seconds, so it is done before the transaction.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from mtad.adapters.postgres.tenants import Present
from mtad.ctl.consistency import Complain, KeyPath, domains_of
from mtad.ctl.tenancy import Domain, Key, Tenancy
from mtad.model.dkim import KeyState
from mtad.model.holdings import HeldKey
from mtad.verification.keys import KeyPair, generate, read

DEFAULT_ALGORITHM = "rsa2048"
_MAX_FILE_OCTETS = 64 * 1024
_AND_NOW = "list the keys that sign, leave dkim out to let them be, or say --replace-keys"

Pairs = Mapping[tuple[str, str], KeyPair]
"""Keys by domain and selector."""


def brought(tenancy: Tenancy, directory: Path, complain: Complain) -> Pairs:
    """Return the keys in the files that the file names; relative paths begin at `directory`."""
    pairs: dict[tuple[str, str], KeyPair] = {}
    for at, domain, key in _keys(tenancy):
        if key.private_key_file is None:
            continue
        try:
            pair = _read(directory / key.private_key_file)
        except OSError as error:
            raise complain((*at, "private_key_file"), f"cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise complain((*at, "private_key_file"), str(error)) from None
        if key.algorithm not in (None, pair.algorithm):
            raise complain((*at, "algorithm"), f"expected {pair.algorithm}, which is in the file, got {key.algorithm}")
        pairs[domain.name, key.selector] = pair
    return pairs


def check_keys(tenancy: Tenancy, pairs: Pairs, present: Present, complain: Complain) -> None:
    """Return when no selector of the file has another key already, or one that is gone."""
    held = _held(present)
    for at, domain, key in _keys(tenancy):
        name = (domain.name, key.selector)
        if name not in held:
            continue
        if held[name].state is KeyState.REVOKED:
            gone = f"{key.selector} was revoked, and its key is gone"
            raise complain((*at, "selector"), f"{gone}; take another selector, or leave dkim out to let the keys be")
        pair = pairs.get(name)
        other_key = key.private_key_file is not None and pair is not None and pair.public_key != held[name].public_key
        if other_key or key.algorithm not in (None, held[name].algorithm):
            raise complain(
                (*at, "selector"),
                f"{key.selector} is an {held[name].algorithm} key already and stays it; take another selector",
            )


def check_lives(tenancy: Tenancy, present: Present, complain: Complain) -> None:
    """Return when the file undoes nothing of what `mtactl dkim` did.

    So it would where a key that was retired signed again, or one that was made there and seen in the DNS did not any
    more. A file may well be older than that.
    """
    held = {domain.name: domain.keys for holding in present.holdings.values() for domain in holding.domains}
    for n, organisation in enumerate(tenancy.organisations):
        for at, domain in domains_of(("organisations", n), organisation):
            if domain.dkim is not None:
                undone = list(_undone({key.selector for key in domain.dkim}, held.get(domain.name, ())))
                if undone:
                    raise complain((*at, "dkim"), f"{', '.join(undone)}: {_AND_NOW}")


def _undone(named: Collection[str], held: Iterable[HeldKey]) -> Iterator[str]:
    for key in held:
        if key.state is KeyState.RETIRING and key.selector in named:
            yield f"{key.selector} was retired and would sign again"
        elif key.state is KeyState.ACTIVE and key.seen and key.selector not in named:
            yield f"{key.selector} was made by mtactl dkim and would sign no more"


def completed(tenancy: Tenancy, pairs: Pairs, present: Present) -> Pairs:
    """Return the keys with a new one for each selector that has none."""
    held = _held(present)
    missing: dict[tuple[str, str], KeyPair] = {
        (domain.name, key.selector): generate(key.algorithm or DEFAULT_ALGORITHM)
        for _, domain, key in _keys(tenancy)
        if (domain.name, key.selector) not in held.keys() | pairs.keys()
    }
    return {**pairs, **missing}


def _keys(tenancy: Tenancy) -> Iterator[tuple[KeyPath, Domain, Key]]:
    for n, organisation in enumerate(tenancy.organisations):
        for at, domain in domains_of(("organisations", n), organisation):
            for number, key in enumerate(domain.dkim or ()):
                yield (*at, "dkim", number), domain, key


def _held(present: Present) -> dict[tuple[str, str], HeldKey]:
    return {
        (domain.name, key.selector): key
        for holding in present.holdings.values()
        for domain in holding.domains
        for key in domain.keys
    }


def _read(path: Path) -> KeyPair:
    with path.open("rb") as file:
        return read(file.read(_MAX_FILE_OCTETS))
