"""Plain data into structs by msgspec, and msgspec's refusals into sentences that an operator can act on.

A sentence names the key, what was expected there and what was found, and for an unknown key the known one it may have
been meant for. Values of kind Secret are never quoted.
"""

import difflib
import re
from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from mtad.config import kinds
from mtad.config.document import Document, KeyPath
from mtad.config.sections import Wrong
from mtad.model.errors import InvalidInput

T = TypeVar("T")

_STEP = re.compile(r"\.(\w+)|\[([0-9]+)\]|(\[\.\.\.\])")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "keys and values",
}


def decode(document: Document, kind: type[T]) -> T:
    """Return what `document` says as a struct of `kind`; InvalidInput names the line and key that cannot be so."""
    try:
        return msgspec.convert(document.data, kind, dec_hook=kinds.parse)
    except msgspec.ValidationError as error:
        raise _explained(document, kind, error) from None


def _explained(document: Document, kind: Any, error: msgspec.ValidationError) -> InvalidInput:
    what, _, written = str(error).rpartition(" - at `$")
    what = what or str(error)
    at, kind, value = _followed(kind, document.data, _STEP.finditer(written))
    if isinstance(error.__cause__, Wrong):
        return document.wrong((*at, error.__cause__.key), str(error.__cause__))
    if error.__cause__ is not None:
        return document.wrong(at, str(error.__cause__))
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown:
        return document.wrong((*at, unknown[1]), _unknown(unknown[1], _keys(kind)))
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        return document.wrong(at, f"expected the key {missing[1]}")
    return document.wrong(at, _refused(what, kind, value))


def _followed(kind: Any, value: Any, steps: Iterator[re.Match[str]]) -> tuple[KeyPath, Any, Any]:
    """Return the path msgspec wrote as a key path, with the kind expected at its end and the value found there."""
    at: KeyPath = ()
    kind = _narrowed(kind, value)
    for name, index, _any in (step.groups() for step in steps):
        step: str | int
        if name:
            step, kind = name, _field_kind(kind, name)
        elif index:
            step, kind = int(index), get_args(kind)[0]
        else:
            kind = get_args(kind)[1]
            step = next(key for key, item in value.items() if not _fits(item, kind))
        at, value = (*at, step), value[step]
        kind = _narrowed(kind, value)
    return at, kind, value


def _narrowed(kind: Any, value: Any) -> Any:
    """Return the one class `value` was tried as: without metadata, without None, by its tag."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) == 1:
            return _narrowed(members[0], value)
        return next((member for member in members if _tagged(member, value)), kind)
    return kind


def _tagged(member: Any, value: Any) -> bool:
    marks = member.__struct_config__
    return isinstance(value, dict) and bool(value.get(marks.tag_field) == marks.tag)


def _field_kind(kind: Any, name: str) -> Any:
    """Return the kind of a key; of the key that tells the members of a union apart, its possible values."""
    if get_origin(kind) in (Union, UnionType):
        return Literal[tuple(member.__struct_config__.tag for member in get_args(kind) if member is not type(None))]
    return next((field.type for field in msgspec.structs.fields(kind) if field.name == name), str)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=kinds.parse)
    except msgspec.ValidationError:
        return False
    return True


def _keys(kind: Any) -> list[str]:
    tag_field = kind.__struct_config__.tag_field
    return [*([tag_field] if tag_field else []), *(field.name for field in msgspec.structs.fields(kind))]


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"unknown key, did you mean {close[0]}?" if close else f"unknown key, expected one of {', '.join(known)}"


def _refused(what: str, kind: Any, value: Any) -> str:
    """Return msgspec's `what` with its words for types replaced by ours, and what was found."""
    choices = _choices(kind)
    if choices:
        expected = f"one of {', '.join(choices)}"
    else:
        found = re.match(r"Expected `(\w+)[^`]*`(?: ([<>]=) (-?[0-9]+))?", what)
        if not found:
            return what
        bound = {">=": "of at least", "<=": "of at most", None: ""}[found[2]]
        expected = f"{_WORDS.get(found[1], found[1])} {bound} {found[3] or ''}".strip()
    return f"expected {expected}, got {_described(value, expected)}"


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return []


def _described(value: Any, expected: str) -> str:
    """Return what was found; a text where whole sections belong may contain anything, so it is not quoted."""
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    if expected in ("keys and values", "a list"):
        return "text" if isinstance(value, str) else "a single value"
    return str(value).lower() if isinstance(value, bool) else repr(value)
