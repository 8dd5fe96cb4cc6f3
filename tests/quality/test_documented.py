"""Every key of the configuration is in config.yaml and in docs/configuration.md, as the sections have it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import yaml
from msgspec import NODEFAULT, Struct, structs
from twisted.trial.unittest import SynchronousTestCase

import mtad
from mtad import config
from mtad.config.kinds import parse
from mtad.model.units import duration_text

TOP = Path(mtad.__file__).parent.parent
WORDS = {
    config.Hostname: "domain",
    config.EmailAddress: "email address",
    config.ListenAddress: "listening address",
    config.DialAddress: "address to dial",
    config.NameServer: "name server",
    config.SourceAddress: "local IP",
    config.DatabaseHost: "host",
    config.Network: "network",
    config.Name: "text",
    config.RelayNetwork: "relay network",
    config.Certificate: "certificate",
    config.RootCertificates: "path or `system`",
    config.Octets: "size",
    config.Memory: "size or `auto`",
    config.Processes: "number or `auto`",
    config.Seconds: "duration",
    config.Secret: "secret",
    config.MasterKeys: "master keys",
    Path: "path",
    bool: "`true` or `false`",
}
# Shown by an example: no default, an empty one, or one that depends on the machine.
EXAMPLES = ("", "required", "[]", "{}", "localhost.localdomain")
# What a key is by default that depends on another one; tests/unit/test_config.py says that it is so.
DERIVED = {"delivery.relay.tls": "`verify` with `username`, else `may`; with `username` and a unix socket `none`"}


@dataclass(frozen=True)
class Key:
    """A key as the sections have it; `default` in the words of the page, empty when there is none."""

    section: str
    name: str
    type: Any
    default: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"


def keys() -> list[Key]:
    found = []
    for section in structs.fields(config.Settings):
        kind = next(member for member in (section.type, *get_args(section.type)) if _is_struct(member))
        found.extend(_keys(section.name, "", kind))
    return found


def _keys(section: str, prefix: str, kind: type[Struct]) -> Iterator[Key]:
    for field in structs.fields(kind):
        name = prefix + field.name
        members = [member for member in get_args(field.type) if _is_struct(member)]
        if len(members) > 1:
            marks = [member.__struct_config__ for member in members]
            default = type(field.default).__struct_config__.tag
            yield Key(section, f"{name}.{marks[0].tag_field}", Literal[tuple(mark.tag for mark in marks)], default)
            for member in members:
                yield from _keys(section, f"{name}.", member)
        elif members and get_origin(field.type) is not tuple:
            yield from _keys(section, f"{name}.", members[0])
        else:
            default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
            yield Key(section, name, field.type, _text(default))


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _words(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"number, {arguments[1].ge} to {arguments[1].le}"
    if origin is UnionType or type(None) in arguments:
        return _words(arguments[0])
    if origin is tuple:
        return f"list of {_words(arguments[0])}s"
    if origin is dict:
        return "level by logger"
    if origin is Literal:
        return _either([str(choice) for choice in arguments])
    if issubclass(kind, Enum):
        return _either([str(member.value) for member in kind])
    return WORDS[kind]


def _either(choices: list[str]) -> str:
    quoted = [f"`{choice}`" for choice in choices]
    return " or ".join((", ".join(quoted[:-1]), quoted[-1]))


def _text(default: Any) -> str:
    """Return a default as people write it."""
    match default:
        case None:
            return ""
        case _ if default is NODEFAULT:
            return "required"
        case bool():
            return str(default).lower()
        case config.Octets():
            return f"{default // 1024**2}MB"
        case config.Seconds():
            return duration_text(default)
        case Path():
            return f"./{default}"
        case tuple():
            return f"[{', '.join(default)}]"
        case Enum():
            return str(default.value)
    return str(default)


def page_rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each key's row in the page's tables, by its path."""
    rows = {}
    for heading, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^\| `.*\|$", body, re.MULTILINE):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[f"{heading}.{name.strip('`')}"] = cells
    return rows


def example_values(text: str) -> dict[str, Any]:
    """Return each key's value in the example, commented or not, by its path."""
    values: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        for name, value in node.items():
            if isinstance(value, dict) and f"{prefix}{name}" != "logging.levels":
                walk(f"{prefix}{name}.", value)
            else:
                values[f"{prefix}{name}"] = value

    walk("", yaml.safe_load(re.sub(r"^( *)#(?=\w+:)", r"\1", text, flags=re.MULTILINE)))
    return values


def _yaml_text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


class DocumentedTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.example = (TOP / "config.yaml").read_text()
        self.rows = page_rows((TOP / "docs" / "configuration.md").read_text())

    def test_page_has_every_key_and_no_other(self) -> None:
        self.assertEqual(sorted(self.rows), sorted({key.path for key in keys()}))
        self.assertGreater(len(self.rows), 40)

    def test_page_has_types_and_defaults(self) -> None:
        for key in keys():
            kind, default, *_ = self.rows[key.path]
            self.assertEqual(kind, _words(key.type), key.path)
            if key.default in ("", "required"):
                self.assertEqual(default, DERIVED.get(key.path, key.default or "none"), key.path)
            else:
                self.assertIn(f"`{key.default}`", default, key.path)

    def test_page_has_every_variable(self) -> None:
        written = {path: cells[2].strip("`") for path, cells in self.rows.items() if cells[2]}
        self.assertEqual(written, {".".join(at): name for name, at in config.VARIABLES.items()})

    def test_example_has_every_key_and_no_other(self) -> None:
        self.assertEqual(sorted(example_values(self.example)), sorted({key.path for key in keys()}))

    def test_example_shows_the_default_or_says_it(self) -> None:
        values = example_values(self.example)
        for key in keys():
            if key.default in EXAMPLES:
                continue
            line = rf"^(?P<above>.*)\n *(?P<commented>#?){key.name.rpartition('.')[2]}: "
            places = list(re.finditer(line, self.example, re.MULTILINE))
            said = any(not place["commented"] and f'"{key.default}"' in place["above"] for place in places)
            self.assertTrue(_yaml_text(values[key.path]) == key.default or said, f"{key.path}: {values[key.path]}")

    def test_example_values_are_possible(self) -> None:
        values = example_values(self.example)
        for key in keys():
            msgspec.convert(values[key.path], key.type, dec_hook=parse)

    def test_example_starts_as_it_stands(self) -> None:
        settings = config.load(TOP / "config.yaml", {}, lambda: "mail.example.org")
        self.assertEqual(settings.server.smtp_addr, "127.0.0.1:2525")
        self.assertEqual(settings.server.submission_addr, "127.0.0.1:2587")
        self.assertEqual(settings.server.http_addr, "127.0.0.1:9090")
        self.assertEqual(settings.server.state_dir, TOP / "state")
        self.assertEqual(settings.warnings, ())
        self.assertIsNone(settings.database)
        self.assertIsNone(settings.redis)

    def test_the_check_sees_wrongs(self) -> None:
        self.assertNotIn("server.hostname", page_rows("## server\n\nhostname\n"))
        self.assertEqual(
            page_rows("## server\n\n| `a` | size | `5MB` | | x |\n"), {"server.a": ["size", "`5MB`", "", "x"]}
        )
        self.assertEqual(example_values("a:\n  #b: 5MB\n  # c: no key\n"), {"a.b": "5MB"})
