"""How much text an object of ours holds on to, whatever it calls its parts."""

from collections import deque
from enum import Enum

_OURS = ("mtad.", "tests.")


def held_octets(thing: object) -> int:
    """Return the length of all octets and texts within `thing`: its attributes, theirs, and what is in containers.

    Each object is counted once; functions and what is not ours are not looked into.
    """
    total = 0
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        found = waiting.pop()
        if isinstance(found, bytes | bytearray | str):
            total += len(found)
        elif isinstance(found, list | tuple | deque | set | frozenset):
            waiting.extend(found)
        elif isinstance(found, dict):
            waiting.extend(found)
            waiting.extend(found.values())
        elif type(found).__module__.startswith(_OURS) and not isinstance(found, Enum) and id(found) not in seen:
            seen.add(id(found))
            waiting.extend(_attributes(found))
    return total


def _attributes(thing: object) -> list[object]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*vars(thing).values()] if hasattr(thing, "__dict__") else [getattr(thing, name, None) for name in slots]
