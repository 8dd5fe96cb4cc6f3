"""PostgreSQL's binary format: relations sent as parallel arrays, and values read back.

A statement takes many rows in one go as one array a column, `unnest`ed by the server; `Records` is such a relation,
and the only place that knows its columns. Rows are encoded when they arrive, into one fragment a column; a batch
then only joins fragments. Formats: src/backend/utils/adt/{arrayfuncs,int8,varlena,timestamp}.c, `*_recv` and `*_send`.

Nothing here waits or knows what the rows mean.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import call
from struct import Struct
from typing import Any, NamedTuple

from psycopg.pq.abc import PGresult

Fragments = tuple[bytes, ...]
"""One for each column of some Records: the column's elements, each with its length before it."""

_LENGTH = Struct(">i")
_INT2 = Struct(">ih")
_INT4 = Struct(">ii")
_INT8 = Struct(">iq")
_TIME = Struct(">q")
_ARRAY = Struct(">iiiii")
_NULL = _LENGTH.pack(-1)
_SECONDS_TO_2000 = 946_684_800
_MICRO = 1_000_000


class Type(NamedTuple):
    """A column's type: its name in SQL, its OID (src/include/catalog/pg_type.dat), how an element is written.

    `encode` raises ValueError or struct.error for a value the type has no place for.
    """

    sql: str
    oid: int
    encode: Callable[[Any], bytes]


def _bytea(octets: bytes) -> bytes:
    return _LENGTH.pack(len(octets)) + octets


def _text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    if "\0" in text:
        raise ValueError("text with a NUL character")
    octets = text.encode()
    return _LENGTH.pack(len(octets)) + octets


def _timestamp(at: float) -> bytes:
    return _INT8.pack(8, round((at - _SECONDS_TO_2000) * _MICRO))


BOOL = Type("bool", 16, (_LENGTH.pack(1) + b"\0", _LENGTH.pack(1) + b"\1").__getitem__)
INT2 = Type("int2", 21, partial(_INT2.pack, 2))
INT4 = Type("int4", 23, partial(_INT4.pack, 4))
INT8 = Type("int8", 20, partial(_INT8.pack, 8))
TEXT = Type("text", 25, _text)
BYTEA = Type("bytea", 17, _bytea)
TIMESTAMP = Type("timestamptz", 1184, _timestamp)
"""Written from and read as epoch seconds."""


class Records:
    """A relation that goes to the server as arrays. Columns are named as in SQL, in order."""

    def __init__(self, **columns: Type) -> None:
        self.names = tuple(columns)
        self._types = tuple(columns.values())
        self._encoders = tuple(column.encode for column in self._types)
        self.nothing: Fragments = (b"",) * len(columns)

    def unnest(self, first: int, alias: str) -> str:
        """Return the FROM item that turns parameters `$first` and the following into rows of `alias`."""
        arrays = ", ".join(f"${first + place}::{column.sql}[]" for place, column in enumerate(self._types))
        return f"unnest({arrays}) as {alias}({', '.join(self.names)})"

    def encode(self, rows: Sequence[tuple[Any, ...]]) -> Fragments:
        """Return the fragments of some rows; ValueError when a value has no place in its column."""
        if not rows:
            return self.nothing
        if len(rows) == 1:
            if len(rows[0]) != len(self._encoders):
                raise ValueError(f"expected a row of {', '.join(self.names)}")
            return tuple(map(call, self._encoders, rows[0]))
        columns = zip(*rows, strict=True)
        return tuple([b"".join(map(encode, column)) for encode, column in zip(self._encoders, columns, strict=True)])

    def parameters(self, batch: Iterable[Fragments], count: int) -> list[bytes]:
        """Return the arrays of all rows of a batch, `count` in all, one a column."""
        if not count:
            return [_ARRAY.pack(0, 0, column.oid, 0, 0)[:12] for column in self._types]
        return [
            b"".join((_ARRAY.pack(1, 0, column.oid, count, 1), *fragments))
            for column, fragments in zip(self._types, zip(*batch, strict=True), strict=True)
        ]


def bounded(column: Type, max_octets: int) -> Type:
    """Return the type of a column that has no place for values of more octets."""

    def encode(value: Any) -> bytes:
        octets = column.encode(value)
        if len(octets) > _LENGTH.size + max_octets:
            raise ValueError(f"a value of more than {max_octets} octets")
        return octets

    return column._replace(encode=encode)


def array(column: Type, values: Sequence[Any]) -> bytes:
    """Return one array of one column's values."""
    return Records(value=column).parameters(zip(map(column.encode, values), strict=True), len(values))[0]


def scalar(column: Type, value: Any) -> bytes:
    """Return a parameter that is no array; it must not be NULL."""
    return column.encode(value)[4:]


def chunks(content: bytes, size: int) -> list[bytes | memoryview]:
    """Return a content in pieces of at most `size` octets, copying nothing; an empty content is one empty piece."""
    if len(content) <= size:
        return [content]
    view = memoryview(content)
    return [view[start : start + size] for start in range(0, len(content), size)]


def chunk_array(pieces: Sequence[bytes | memoryview]) -> bytes:
    """Return an array of bytea, copying each piece once."""
    if not pieces:
        return _ARRAY.pack(0, 0, BYTEA.oid, 0, 0)[:12]
    parts: list[bytes | memoryview] = [_ARRAY.pack(1, 0, BYTEA.oid, len(pieces), 1)]
    for piece in pieces:
        parts += (_LENGTH.pack(len(piece)), piece)
    return b"".join(parts)


def read_int(octets: bytes | None) -> int:
    """Return an int2, int4 or int8; 0 for NULL."""
    return int.from_bytes(octets or b"", "big", signed=True)


def read_bool(octets: bytes | None) -> bool:
    """Return a bool; False for NULL."""
    return octets == b"\1"


def read_text(octets: bytes | None) -> str:
    """Return a text, empty for NULL."""
    return (octets or b"").decode()


def read_optional_text(octets: bytes | None) -> str | None:
    """Return a text or None."""
    return None if octets is None else octets.decode()


def read_bytes(octets: bytes | None) -> bytes:
    """Return a bytea, empty for NULL."""
    return octets or b""


def read_time(octets: bytes | None) -> float:
    """Return a timestamptz as epoch seconds."""
    microseconds: int = _TIME.unpack(octets or bytes(8))[0]
    return (microseconds + _SECONDS_TO_2000 * _MICRO) / _MICRO


def rows(result: PGresult, *readers: Callable[[bytes | None], Any]) -> list[tuple[Any, ...]]:
    """Return a result's rows, each column read by its reader."""
    value = result.get_value
    return [
        tuple([read(value(row, column)) for read, column in zip(readers, range(len(readers)), strict=True)])
        for row in range(result.ntuples)
    ]
