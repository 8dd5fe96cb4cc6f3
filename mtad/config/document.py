"""A YAML file read strictly, as plain data that remembers on which line everything stood.

Scalars are those of YAML 1.2's core schema: only `true` and `false` are booleans (`off` and `no` are text), `0123` is
a number and `12:30` is none. Refused are a key written twice, a key without a value, keys that are not text, tags, a
second document, and what is not UTF-8. What was set is no business of this module.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mtad.model.errors import InvalidInput
from mtad.model.text import shown

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("server", "hostname")`, `("domains", 2, "name")`."""

_NULL, _BOOL, _INT, _FLOAT, _STR = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))
_CORE = (
    (_NULL, r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    (_INT, r"[-+]?[0-9]{1,18}\Z", list("-+0123456789")),
    (_FLOAT, r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z", list("-+.0123456789")),
)
# An alias may stand for something that contains it, or for much that is multiplied by the next one.
_MAX_DEPTH = 40
_MAX_VALUES = 500_000
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTED = re.compile(r"'[^'<]{2,}'")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says. `variables` names the environment variable each value that overrides it came from."""

    path: Path
    data: dict[str, Any]
    root: yaml.Node | None
    variables: Mapping[KeyPath, str] = field(default_factory=dict)

    def wrong(self, at: KeyPath, what: str) -> InvalidInput:
        """Return the error about what stands at `at`: with its line, or the variable it came from."""
        if at in self.variables:
            return InvalidInput(f"environment variable {self.variables[at]}", shown(what))
        return _wrong(self.path, self._line(at), at, what)

    def with_variable(self, at: KeyPath, value: object, variable: str) -> "Document":
        """Return the document with a key of a section set over it; what should be a section and is none stays."""
        section, key = at
        keys = self.data.get(str(section), {})
        changed = keys | {key: value} if isinstance(keys, dict) else keys
        return replace(self, data=self.data | {str(section): changed}, variables={**self.variables, at: variable})

    def without(self, at: KeyPath) -> "Document":
        """Return the document without a key of a section."""
        section, key = at
        keys = self.data.get(str(section))
        if not isinstance(keys, dict) or key not in keys:
            return self
        kept = {name: value for name, value in keys.items() if name != key}
        return replace(self, data=self.data | {str(section): kept})

    def _line(self, at: KeyPath) -> int:
        """Return the line `at` begins on; the line of what should contain it when it is not in the file."""
        line, node = 1, self.root
        for step in at:
            found = next(((line, child) for name, line, child in _children(node) if name == step), None)
            if found is None:
                break
            line, node = found
        return line


def octets_of(path: Path) -> bytes:
    """Return what is in the file at `path`; InvalidInput when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(shown(str(path)), f"cannot be read: {error.strerror}") from None


def read(path: Path, *, empty_sections: bool = False, octets: bytes | None = None) -> Document:
    """Return what the file at `path` says; InvalidInput names the line and what is wrong there.

    With `empty_sections` a key of the top without a value is a section that sets nothing, `{}`. `octets` are what the
    file says if they were read before.
    """
    root = _compose(path, _text(path, octets_of(path) if octets is None else octets))
    data = {} if root is None else _Construction(path, empty_sections).value(root, (), 0)
    if not isinstance(data, dict):
        raise _wrong(path, 1, (), "expected keys and values")
    return Document(path, data, root)


def dotted(at: KeyPath) -> str:
    """Return a key path as people write it: `domains[2].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at).removeprefix(".")


class _Construction:
    """One pass over the nodes of a file that makes plain data of them."""

    def __init__(self, path: Path, empty_sections: bool) -> None:
        self._path = path
        self._empty_sections = empty_sections
        self._left = _MAX_VALUES

    def value(self, node: yaml.Node, at: KeyPath, depth: int) -> Any:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise self._wrong(node, at[:1], "too deep, or too much")
        if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
            return self._mapping(node, at, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
            return [self.value(child, (*at, n), depth + 1) for n, child in enumerate(node.value)]
        return self._scalar(node, at)

    def _mapping(self, node: yaml.MappingNode, at: KeyPath, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, child in node.value:
            name = str(key.value)
            # msgspec quotes keys in backticks.
            if key.tag != _STR or not name.isprintable() or "`" in name:
                raise self._wrong(key, at, "expected a name as key")
            if name in values:
                raise self._wrong(key, (*at, name), "written twice")
            values[name] = self.value(child, (*at, name), depth + 1)
        return values

    def _scalar(self, node: yaml.Node, at: KeyPath) -> Any:
        match node.tag:
            case tag if tag == _STR:
                return node.value
            case tag if tag == _INT:
                return int(node.value)
            case tag if tag == _FLOAT:
                return float(node.value)
            case tag if tag == _BOOL:
                return node.value.lower() == "true"
            case tag if tag == _NULL and self._empty_sections and len(at) == 1:
                return {}
            case tag if tag == _NULL:
                raise self._wrong(node, at, "expected a value, got nothing")
        raise self._wrong(node, at, "tags are not supported")

    def _wrong(self, node: yaml.Node, at: KeyPath, what: str) -> InvalidInput:
        return _wrong(self._path, node.start_mark.line + 1, at, what)


def _children(node: yaml.Node | None) -> Iterator[tuple[str | int, int, yaml.Node]]:
    """Yield name or index, line, and node of all that a node contains."""
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, key.start_mark.line + 1, child) for key, child in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((n, child.start_mark.line + 1, child) for n, child in enumerate(node.value))


def _text(path: Path, octets: bytes) -> str:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, octets.count(b"\n", 0, error.start) + 1, (), "expected UTF-8") from None
    control = _CONTROL.search(text)
    if control:
        raise _wrong(path, text.count("\n", 0, control.start()) + 1, (), "expected no control characters")
    return text


def _compose(path: Path, text: str) -> yaml.Node | None:
    loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(text)
    loader.yaml_implicit_resolvers = _resolvers()
    try:
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        last = text.count("\n", 0, len(text.rstrip())) + 1
        mark = error.problem_mark or error.context_mark
        raise _wrong(path, min(mark.line + 1, last) if mark else 1, (), f"not YAML: {_problem(error)}") from None
    except RecursionError:
        raise _wrong(path, 1, (), "too deep") from None
    finally:
        loader.dispose()
    return node


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Return PyYAML's table of what a plain scalar is, by its first character."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, firsts in _CORE:
        for first in firsts:
            table.setdefault(first, []).append((tag, re.compile(pattern)))
    return table


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's words without what it quotes of the file: that may be half a secret."""
    words = _QUOTED.sub("…", error.problem or "wrong syntax")
    if error.context and error.context_mark:
        return f"{words} {_QUOTED.sub('…', error.context)} that begins on line {error.context_mark.line + 1}"
    return words


def _wrong(path: Path, line: int, at: KeyPath, what: str) -> InvalidInput:
    key = dotted(at)
    return InvalidInput(shown(f"{path}:{line}"), shown(f"{key}: {what}" if key else what))
