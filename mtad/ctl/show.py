"""What commands print: tables on a terminal, plain columns in a pipe, JSON when asked.

Whatever comes from the database may have come from a peer: it is shown through `mtad.model.text.shown`, and never
read as markup.
"""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from mtad.model.text import shown

Value = str | int | float | bool | None

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)
"""The option of every command that only reads."""


def print_json(value: object) -> None:
    """Print a document of JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
    """Print rows below their columns' names."""
    texts = [[cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _print_for_eyes(columns, texts)
        return
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    for row in [list(columns), *texts]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _print_for_eyes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # Imported here because it takes a tenth of a second, which no pipe should have to wait for.
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE)
    for number, name in enumerate(columns):
        # Nothing is cut off; what names the row stays in one piece.
        table.add_column(name, overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def cell(value: Value) -> str:
    """Return a value as people read it; nothing is a dash."""
    return "-" if value is None else shown(str(value))


def date_text(at: float) -> str:
    """Return a date (epoch seconds) as people read it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def date_json(at: float) -> str:
    """Return a date (epoch seconds) in the form of RFC 3339 §5.6, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
