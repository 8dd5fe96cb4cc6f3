"""What is sent: noise, words of the protocol in any order, and transcripts with some things wrong, cut anywhere.

Everything is drawn from one `Random`, so a seed and a number bring an input back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

# What a transport reads at once, at most.
READ_OCTETS = 65536
_CUT_BEHIND = b"STARTTLS\r\n"
LONG_RUN_OCTETS = 70_000


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What one side may say: whole transcripts, and the words they are made of."""

    transcripts: Sequence[bytes]
    words: Sequence[bytes]


def drawn(random: Random, vocabulary: Vocabulary) -> list[bytes]:
    """Return one input, as the reads it comes in."""
    kind = random.random()
    if kind < 0.1:
        octets = random.randbytes(random.randrange(200))
    elif kind < 0.3:
        octets = b"".join(random.choices(vocabulary.words, k=random.randrange(1, 30)))
    else:
        octets = random.choice(vocabulary.transcripts)
        for _ in range(random.randrange(5)):
            octets = random.choice(_CHANGES)(random, octets, vocabulary)
    return _cut(random, octets)


def _cut(random: Random, octets: bytes) -> list[bytes]:
    """Return octets as they may come: at once, in some pieces, or one by one."""
    manner = random.random()
    if manner < 0.05:
        return [octets[place : place + 1] for place in range(min(len(octets), 1000))]
    places = {random.randrange(len(octets) + 1) for _ in range(random.randrange(6))} if manner < 0.7 else set()
    if manner > 0.4:
        # What comes with STARTTLS is never read: let some come behind it.
        place = octets.find(_CUT_BEHIND)
        places.add(place + len(_CUT_BEHIND) if place >= 0 else 0)
    bounds = sorted({0, *places, *range(0, len(octets), READ_OCTETS), len(octets)})
    return [octets[start:end] for start, end in pairwise(bounds)]


def _place(random: Random, octets: bytes) -> int:
    return random.randrange(len(octets) + 1)


def _flip(random: Random, octets: bytes, _: Vocabulary) -> bytes:
    place = _place(random, octets)
    return octets[:place] + random.randbytes(1) + octets[place + 1 :]


def _insert(random: Random, octets: bytes, vocabulary: Vocabulary) -> bytes:
    place = _place(random, octets)
    return octets[:place] + random.choice(vocabulary.words) + octets[place:]


def _lose(random: Random, octets: bytes, _: Vocabulary) -> bytes:
    place = _place(random, octets)
    return octets[:place] + octets[place + random.randrange(1, 30) :]


def _repeat(random: Random, octets: bytes, _: Vocabulary) -> bytes:
    start = _place(random, octets)
    end = start + random.randrange(60)
    return octets[:end] + octets[start:end] * random.choice((1, 1, 1, 50)) + octets[end:]


def _stretch(random: Random, octets: bytes, _: Vocabulary) -> bytes:
    place = _place(random, octets)
    run = random.choice((b"a", b" ", b"\r", b"\n", b".", b"\xc3\xbc", b"9", b"250-x\r\n"))
    times = random.choice((10, 100, 1000, 3000 if random.random() < 0.9 else LONG_RUN_OCTETS))
    return octets[:place] + run * times + octets[place:]


def _splice(random: Random, octets: bytes, vocabulary: Vocabulary) -> bytes:
    other = random.choice(vocabulary.transcripts)
    return octets[: _place(random, octets)] + other[_place(random, other) :]


def _swap_lines(random: Random, octets: bytes, _: Vocabulary) -> bytes:
    lines = octets.split(b"\r\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


Change = Callable[[Random, bytes, Vocabulary], bytes]
_CHANGES: tuple[Change, ...] = (_flip, _insert, _lose, _repeat, _stretch, _splice, _swap_lines)
