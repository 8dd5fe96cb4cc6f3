"""`mtactl queue`: what waits, and for what; and what is done about it by hand."""

from collections.abc import Callable
from typing import Any

import click

from mtad.adapters.postgres import care, selected
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.ctl.access import Access, Stores
from mtad.ctl.acting import bounce, not_there, remove, retry
from mtad.ctl.hold import hold, holds, release
from mtad.ctl.record import on_record, trail
from mtad.ctl.selecting import Choice, filters, head, message_id, print_messages
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.model.content import blocks
from mtad.model.errors import InvalidInput
from mtad.model.identity import print_id
from mtad.model.job import RowState, Waiting


@click.group()
def queue() -> None:
    """What waits for its delivery."""


@queue.command("list")
@filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def list_(access: Access, /, limit: int, as_json: bool, **terms: Any) -> None:
    """List messages that wait, oldest first, a line for each recipient.

    The options select messages with such a recipient.
    """
    choice = Choice(**terms)

    async def work(pool: Pool) -> list[Waiting]:
        return await selected.listing(pool, await choice.selection(pool), selected.ANY, limit + 1)

    found = access.ask(work)
    messages = found[:limit]
    if as_json:
        print_json([_json(message) for message in messages])
    else:
        print_messages(messages, always=True)
    if len(found) > limit:
        click.echo("… and more: --limit N", err=True)


@queue.command()
@click.argument("message", metavar="ID", callback=message_id)
@json_option
@click.pass_obj
def show(access: Access, message: int, as_json: bool) -> None:
    """Show one message that waits."""
    found = access.ask(lambda pool: care.waiting(pool, message))
    if found is None:
        raise not_there(message)
    if as_json:
        print_json(_json(found))
        return
    print_table(("id", "received", "size", "from"), [head(found)])
    click.echo()
    columns = ("to", "for", "destination", "status", "attempts", "due", "given up", "owner")
    print_table(columns, [_detail(row) for row in found.rows])


@queue.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many lines.")
@json_option
@click.pass_obj
def stats(access: Access, limit: int, as_json: bool) -> None:
    """Count recipients by organisation, destination and status, the most first."""
    found = access.ask(lambda pool: selected.stats(pool, limit + 1))
    groups = found[:limit]
    if as_json:
        print_json([_group(group) for group in groups])
    else:
        columns = ("organisation", "destination", "status", "recipients", "first due")
        print_table(columns, [tuple(_group(group, date_text).values()) for group in groups])
    if len(found) > limit:
        click.echo("… and more: --limit N", err=True)


@queue.command()
@click.argument("message", metavar="ID", callback=message_id)
@click.pass_obj
def content(access: Access, message: int) -> None:
    """Print a message as it came, also one everybody has got if `queue.keep_content` keeps it; that is on record."""

    async def work(stores: Stores) -> None:
        number = await care.content_of(stores.pool, message)
        try:
            found = await stores.queue.content(number)
        except KeyError:
            raise InvalidInput(print_id(message), "its content is not there, or not any more") from None
        await on_record(stores.pool, trail("queue content", print_id(message)), _nothing)
        for block in blocks(found):
            click.echo(block, nl=False)

    access.act(work)


for command in (retry, release, remove, bounce, hold, holds):
    queue.add_command(command)


async def _nothing(_: Cursor) -> None:
    """Change nothing: to look at people's mail is on record by itself."""


def _group(group: selected.Group, date: Callable[[float], str] = date_json) -> dict[str, str | int | None]:
    return {
        "organisation": group.organisation,
        "destination": group.destination,
        "status": group.status,
        "recipients": group.rows,
        "first_due": date(group.due),
    }


def _detail(row: RowState) -> tuple[str | int | None, ...]:
    recipient = row.recipient
    return (
        str(recipient.address),
        str(recipient.original),
        recipient.destination,
        row.status.value,
        row.attempts,
        date_text(row.due),
        date_text(row.expires_at),
        row.owner or None,
    )


def _json(message: Waiting) -> dict[str, object]:
    return {
        "id": print_id(message.message),
        "organisation": message.organisation,
        "received_at": date_json(message.received_at),
        "size": message.size,
        "reverse_path": None if message.reverse_path is None else str(message.reverse_path),
        "recipients": [
            {
                "n": row.recipient.n,
                "recipient": str(row.recipient.address),
                "original": str(row.recipient.original),
                "destination": row.recipient.destination,
                "status": row.status.value,
                "attempts": row.attempts,
                "due": date_json(row.due),
                "expires_at": date_json(row.expires_at),
                "owner": row.owner or None,
            }
            for row in message.rows
        ],
    }
