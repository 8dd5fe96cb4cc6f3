"""`mtactl trace`: what happened to a message, and why."""

from collections.abc import Sequence
from typing import TypeGuard

import click

from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.timeline import PostgresTimeline
from mtad.ctl.access import Access
from mtad.ctl.show import cell, date_json, date_text, json_option, print_json
from mtad.model.errors import InvalidInput
from mtad.model.event import Event, Fact, Happening
from mtad.model.identity import parse_id, print_id
from mtad.model.text import shown

Story = tuple[int, Sequence[Happening]]
"""A message and all that is known of it."""


@click.command()
@click.argument("key")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="At most so many messages.")
@json_option
@click.pass_obj
def trace(access: Access, key: str, limit: int, as_json: bool) -> None:
    """Tell what happened to a message.

    KEY is its queue id, the id its peer was told, its Message-ID, or the address of its sender or of a recipient; of
    several messages the newest come first.
    """
    stories = access.ask(lambda pool: _stories(pool, key, limit))
    if as_json:
        print_json([_json(*story) for story in stories])
        return
    if not stories:
        raise InvalidInput(shown(key), "nothing is known of it, or no more")
    for number, story in enumerate(stories):
        if number:
            click.echo()
        _print(*story)


async def _stories(pool: Pool, key: str, limit: int) -> Sequence[Story]:
    """Return the message whose id `key` is, if there is one, then those it is a key of.

    Both, since a peer that sent to several organisations was told one id.
    """
    timeline = PostgresTimeline(pool)
    message = _id(key)
    found = [] if message is None else [message]
    found += await timeline.search(key if message is None else print_id(message), limit)
    stories = [(number, await timeline.story(number)) for number in dict.fromkeys(found)]
    return [(number, story) for number, story in stories if story][:limit]


def _id(key: str) -> int | None:
    try:
        return parse_id(key)
    except ValueError:
        return None


def _print(message: int, story: Sequence[Happening]) -> None:
    click.echo(print_id(message))
    for event in _events(story):
        facts = "  ".join(f"{name}={_fact(name, value)}" for name, value in event.facts.items() if _says(value))
        click.echo(f"  {date_text(event.at)}  {event.kind:<10}  {facts}".rstrip())


def _events(story: Sequence[Happening]) -> list[Event]:
    return [event for happening in story for event in happening.events]


def _says(value: Fact) -> bool:
    """Return whether there is anything to print."""
    return value is not None and value != []


def _fact(name: str, value: Fact) -> str:
    if isinstance(value, list):
        return ",".join(map(cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = date_text(value) if _is_time(value, name) else cell(value)
    return f'"{text}"' if " " in text else text


def _is_time(value: Fact, name: str) -> TypeGuard[float]:
    return name.endswith("_at") and isinstance(value, int | float)


def _json(message: int, story: Sequence[Happening]) -> dict[str, object]:
    return {
        "id": print_id(message),
        "organisation": story[0].organisation,
        "events": [_event_json(event) for event in _events(story)],
    }


def _event_json(event: Event) -> dict[str, object]:
    facts = {name: date_json(value) if _is_time(value, name) else value for name, value in event.facts.items()}
    return {"at": date_json(event.at), "kind": event.kind, "facts": facts}
