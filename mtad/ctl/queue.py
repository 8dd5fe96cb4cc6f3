"""`mtactl queue`: what waits, and for what; and what is done about it by hand."""

from typing import NoReturn

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres import care
from mtad.adapters.postgres.pool import Pool
from mtad.ctl.access import Access, Stores
from mtad.ctl.returning import give_back
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.model.address import path
from mtad.model.errors import InvalidInput
from mtad.model.identity import parse_id, print_id
from mtad.model.job import RowState, Settlement, Status, Waiting
from mtad.model.report import Action

_COLUMNS = ("id", "received", "size", "from", "to", "status", "attempts", "due")


def message_id(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Return a printed id as a number; anything else is a wrong command line."""
    try:
        return parse_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def queue() -> None:
    """What waits for its delivery."""


@queue.command("list")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only messages with such a row.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def list_(access: Access, status: str | None, limit: int, as_json: bool) -> None:
    """List messages that wait, oldest first, a line for each recipient."""
    wanted = None if status is None else Status(status)
    found = access.ask(lambda pool: care.listing(pool, wanted, limit + 1, None))
    messages = found[:limit]
    if as_json:
        print_json([_json(message) for message in messages])
    else:
        print_table(_COLUMNS, [_row(message, row) for message in messages for row in message.rows])
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
        raise _not_there(message)
    if as_json:
        print_json(_json(found))
        return
    print_table(("id", "received", "size", "from"), [(*_head(found),)])
    click.echo()
    columns = ("to", "for", "destination", "status", "attempts", "due", "given up", "owner")
    print_table(columns, [_detail(row) for row in found.rows])


@queue.command()
@click.argument("message", metavar="ID", callback=message_id)
@click.pass_obj
def retry(access: Access, message: int) -> None:
    """Let the recipients of a message that wait or are held be tried now."""

    async def work(pool: Pool) -> int:
        retried = await care.retry(pool, message, SystemClock().now(), "mtactl queue retry")
        return retried or await _nothing_done(pool, message, "waits: they are being delivered or kept")

    retried = access.ask(work)
    click.echo(f"{print_id(message)}: {_recipients(retried)} due now")


@queue.command()
@click.argument("message", metavar="ID", callback=message_id)
@click.pass_obj
def release(access: Access, message: int) -> None:
    """Let a message that is quarantined be delivered as it is."""

    async def work(pool: Pool) -> int:
        released = await care.free_quarantined(pool, message, SystemClock().now(), "mtactl queue release")
        return released or await _nothing_done(pool, message, "is quarantined")

    released = access.ask(work)
    click.echo(f"{print_id(message)}: {_recipients(released)} due now")


@queue.command()
@click.argument("message", metavar="ID", callback=message_id)
@click.pass_obj
def remove(access: Access, message: int) -> None:
    """Remove a message with all recipients it is not being delivered to; nobody is told."""

    async def work(pool: Pool) -> int:
        removed = await care.remove(pool, message, SystemClock().now(), "mtactl queue remove")
        return removed or await _nothing_done(pool, message, "waits: they are being delivered")

    removed = access.ask(work)
    click.echo(f"{print_id(message)}: removed with {_recipients(removed)}, nobody is told")


@queue.command()
@click.argument("message", metavar="ID", callback=message_id)
@click.pass_obj
def bounce(access: Access, message: int) -> None:
    """Return a message to its sender, for all recipients it still waits for."""
    settings = access.settings()

    async def work(stores: Stores) -> Settlement:
        written = await give_back(message, stores, settings, "mtactl queue bounce")
        return written or await _nothing_done(stores.pool, message, "waits: they are being delivered or quarantined")

    written = access.act(work)
    reports = [print_id(told.report.content_id) for told in written.reports if told.action is Action.FAILED]
    told = f"its sender is told by {reports[0]}" if reports else "there is nobody to tell"
    click.echo(f"{print_id(message)}: ended for {_recipients(len(written.results))}, {told}")


async def _nothing_done(pool: Pool, message: int, what: str) -> NoReturn:
    """Say why a command found no recipient to deal with: none `what`."""
    if await care.waiting(pool, message) is None:
        raise _not_there(message)
    raise InvalidInput(print_id(message), f"none of its recipients {what}")


def _not_there(message: int) -> InvalidInput:
    return InvalidInput(print_id(message), "nothing of it is in the queue; `mtactl trace` may know what became of it")


def _recipients(count: int) -> str:
    return "1 recipient" if count == 1 else f"{count} recipients"


def _head(message: Waiting) -> tuple[str, str, int, str]:
    return print_id(message.message), date_text(message.received_at), message.size, path(message.reverse_path)


def _row(message: Waiting, row: RowState) -> tuple[str | int, ...]:
    return (*_head(message), str(row.recipient.address), row.status.value, row.attempts, date_text(row.due))


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
