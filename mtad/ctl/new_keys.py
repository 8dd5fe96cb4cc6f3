"""Keys that a domain begins with `mtactl dkim`: made, stored, and waiting for their records, or signing at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.dkim_keys import add_keys, keys_of, move_keys
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.sealing import Sealing
from mtad.ctl.keys import DEFAULT_ALGORITHM
from mtad.ctl.record import on_record, trail
from mtad.domains.keys import activation, next_selector
from mtad.model.dkim import Key, KeyMove, KeyState, key_type, record_name
from mtad.model.errors import InvalidInput
from mtad.model.holdings import HeldKey
from mtad.verification.keys import generate

_WAITING = (KeyState.GENERATED, KeyState.PUBLISHED)


@dataclass(frozen=True, slots=True)
class Begun:
    """The keys a domain has got, those it signs with until then, and what moved at once."""

    keys: tuple[HeldKey, ...]
    signing: tuple[Key, ...]
    moves: tuple[KeyMove, ...]


async def held(pool: Pool, domain: str) -> list[Key]:
    """Return the keys of a domain; InvalidInput when nobody has it."""
    keys = await keys_of(pool, domain)
    if keys is None:
        raise InvalidInput(domain, "no organisation here has this domain")
    return keys


def successors(keys: Sequence[Key]) -> list[str]:
    """Return what the next keys of a domain are made of: one for each kind that signs, as long as the longest."""
    kinds: dict[str, str] = {}
    for key in keys:
        if key.state is KeyState.ACTIVE:
            kind = key_type(key.algorithm)
            kinds[kind] = max(kinds.get(kind, ""), key.algorithm)
    return sorted(kinds.values(), reverse=True) or [DEFAULT_ALGORITHM]


async def begin(
    pool: Pool,
    domain: str,
    algorithms: Sequence[str] | None,
    selector: str | None,
    sealing: Sealing,
    now: float,
    force: bool,
    command: str,
) -> Begun:
    """Give a domain a key of each algorithm, None: of those that are next.

    `command` is what it is on record as. With `force` they sign at once, and those of their kind before them retire.
    InvalidInput when the selector is taken, or one is given for several keys, or a key of that kind is on its way
    already.
    """
    there = await held(pool, domain)
    algorithms = successors(there) if algorithms is None else algorithms
    if selector is not None and len(algorithms) > 1:
        raise InvalidInput(domain, "has keys of two kinds: name one with --algorithm beside --selector")
    for key in there:
        if key.state in _WAITING and key_type(key.algorithm) in map(key_type, algorithms):
            raise InvalidInput(
                domain, f"{key.selector} is on its way already: publish its record, or mtactl dkim retire"
            )
    taken = {key.selector for key in there}
    made: list[HeldKey] = []
    for algorithm in algorithms:
        pair = generate(algorithm)
        name = selector or next_selector(now, taken)
        taken.add(name)
        made.append(HeldKey(name, algorithm, pair.public_key, KeyState.GENERATED, pair.private_key))

    async def work(cursor: Cursor) -> list[KeyMove]:
        if await add_keys(cursor, [(domain, key) for key in made], now, sealing) < len(made):
            names = ", ".join(key.selector for key in made)
            raise InvalidInput(domain, f"{names}: a selector names one key for ever, and has one")
        waiting = [Key(key.selector, key.algorithm, key.public_key, KeyState.GENERATED, now) for key in made]
        return await move_keys(cursor, activation(domain, there, waiting), now) if force else []

    deed = trail(command, " ".join(record_name(key.selector, domain) for key in made))
    moves = await on_record(pool, deed, work, lambda _: len(made))
    signing = tuple(key for key in there if key.state is KeyState.ACTIVE)
    return Begun(tuple(made), signing, tuple(moves))


async def retire(pool: Pool, domain: str, selector: str, now: float, deed: Trail) -> KeyMove:
    """Let a key sign no more, or never, on record as `deed`; InvalidInput when it does not anyway."""
    states = {key.selector: key.state for key in await held(pool, domain)}
    before = states.get(selector)
    if before is None:
        raise InvalidInput(f"{selector} of {domain}", "there is no such key")
    if before not in (*_WAITING, KeyState.ACTIVE):
        raise InvalidInput(f"{selector} of {domain}", f"is {before.value} already")
    after = KeyState.RETIRING if before is KeyState.ACTIVE else KeyState.REVOKED
    move = KeyMove(domain, selector, before, after)
    moved = await on_record(pool, deed, lambda cursor: move_keys(cursor, [move], now), len)
    if not moved:
        raise InvalidInput(f"{selector} of {domain}", "has just been moved on by somebody else; look again")
    return moved[0]
