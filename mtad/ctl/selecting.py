"""How commands are told which recipients they are about, and what they ask and tell on the way.

Nothing is changed unasked that is more than CONFIRM_OVER recipients: on a terminal the command asks, anywhere else it
wants `--yes`. Long work tells once a second how far it is. Ctrl-C at any time leaves what is done done.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres import selected
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.session import IReactor
from mtad.adapters.postgres.spelling import spelled
from mtad.ctl.dkim import domain_name
from mtad.ctl.question import agreed
from mtad.ctl.show import date_text, print_table
from mtad.interfaces import IWallClock
from mtad.model.address import path
from mtad.model.errors import InvalidInput
from mtad.model.hold import NULL_SENDER
from mtad.model.identity import parse_id, print_id
from mtad.model.job import Status, Waiting
from mtad.model.selection import Selection
from mtad.model.units import seconds
from mtad.smtp.grammar import parse_address

CONFIRM_OVER = 100
SAMPLE = 10
_TELL_SECONDS = 1.0


def message_id(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Return a printed id as a number; anything else is a wrong command line."""
    try:
        return parse_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def message_ids(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[int, ...]:
    """Return printed ids as numbers, each once."""
    return tuple(dict.fromkeys(message_id(context, parameter, each) for each in value))


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return a duration as it was written; anything else is a wrong command line."""
    try:
        if value is not None:
            seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def address_key(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return an address as addresses compare."""
    try:
        return None if value is None else parse_address(value).key
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def sender_key(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return a sender as addresses compare: an address, `*@` and a domain, or `<>`."""
    if value is None or value == NULL_SENDER:
        return value
    if value.startswith(("*@", "@")):
        return f"*@{domain_name(context, parameter, value.partition('@')[2])}"
    return address_key(context, parameter, value)


def _domain(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else domain_name(context, parameter, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the command line says of a selection; each is None, or empty, where it says nothing."""

    messages: tuple[int, ...] = ()
    organisation: str | None = None
    domain: str | None = None
    sender: str | None = None
    recipient: str | None = None
    recipient_domain: str | None = None
    status: str | None = None
    older_than: str | None = None

    @property
    def names(self) -> list[str]:
        """What is said, as options are called."""
        return [each.name.replace("_", "-") for each in fields(self) if getattr(self, each.name)]

    async def selection(self, pool: Pool) -> Selection:
        """Return the selection; InvalidInput for an organisation that does not exist."""
        number = None
        if self.organisation is not None:
            number = await selected.organisation(pool, self.organisation)
            if number is None:
                raise InvalidInput(self.organisation, "there is no organisation of that name")
        before = None if self.older_than is None else SystemClock().now() - seconds(self.older_than)
        said = Selection(
            messages=self.messages,
            organisation=number,
            organisation_name=self.organisation,
            domain=self.domain,
            sender=self.sender,
            recipient=self.recipient,
            recipient_domain=self.recipient_domain,
            status=None if self.status is None else Status(self.status),
            older_than=self.older_than,
            received_before=before,
        )
        return await spelled(pool, said)


_WHOSE = (
    click.option("--recipient-domain", callback=_domain, help="What goes to this domain."),
    click.option("--sender", callback=sender_key, help="With this reverse-path, *@DOMAIN for all of a domain, or <>."),
    click.option("--domain", callback=_domain, help="What goes to this domain or is sent as it."),
    click.option("--organisation", help="Only mail of this organisation."),
)
_WHICH = (
    click.option("--older-than", callback=duration, help="What came longer ago than that, such as 2h."),
    click.option("--status", type=click.Choice([status.value for status in Status]), help="Only such recipients."),
    click.option("--recipient", callback=address_key, help="What goes to this address, or was sent to it."),
)
_IDS = click.argument("messages", metavar="[ID]...", nargs=-1, callback=message_ids)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Count, show some, and change nothing.")
_YES = click.option("--yes", is_flag=True, help=f"Do not ask, not even about more than {CONFIRM_OVER} recipients.")

Command = Callable[..., Any]


def _decorated(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for decorator in decorators:
            command = decorator(command)
        return command

    return decorate


whose: Callable[[Command], Command] = _decorated(*_WHOSE)
"""Options that say whose mail, which `Choice` understands."""

filters: Callable[[Command], Command] = _decorated(*_WHICH, *_WHOSE)
"""All options that select."""

selecting: Callable[[Command], Command] = _decorated(_YES, _DRY_RUN, *_WHICH, *_WHOSE, _IDS)
"""Ids, all options that select, and how it is done: `dry_run`, `yes`."""


def chosen(terms: dict[str, Any]) -> Choice:
    """Return what the command line says; saying nothing at all is a wrong one, for it would mean everything."""
    choice = Choice(**terms)
    if not choice.names:
        raise click.UsageError("name messages by their ids, or say which by an option such as --organisation")
    return choice


def recipients(count: int) -> str:
    """Return a count as people say it."""
    return "1 recipient" if count == 1 else f"{count} recipients"


async def show_some(pool: Pool, selection: Selection, which: str) -> None:
    """Print how many recipients are selected, and some of their messages."""
    count = await selected.count(pool, selection, which)
    messages = await selected.listing(pool, selection, which, SAMPLE) if count else []
    click.echo(f"dry run: {recipients(count)}")
    print_messages(messages)


def print_messages(messages: Sequence[Waiting], always: bool = False) -> None:
    """Print messages that wait, a line for each recipient; without any nothing, or `always` at least the columns."""
    if messages or always:
        columns = ("id", "received", "size", "from", "to", "status", "attempts", "due")
        print_table(
            columns, [(*head(each), *_state(each, place)) for each in messages for place in range(len(each.rows))]
        )


def head(message: Waiting) -> tuple[str, str, int, str]:
    """Return the columns that are the same for all recipients of a message."""
    return print_id(message.message), date_text(message.received_at), message.size, path(message.reverse_path)


def _state(message: Waiting, place: int) -> tuple[str | int, ...]:
    row = message.rows[place]
    return str(row.recipient.address), row.status.value, row.attempts, date_text(row.due)


async def confirm(reactor: IReactor, pool: Pool, selection: Selection, which: str, word: str) -> None:
    """Return if so much may be changed: it is little, or somebody on the terminal says yes; Abort when they say no.

    InvalidInput where nobody can be asked.
    """
    if selection.single is not None:
        return
    count = await selected.count(pool, selection, which)
    if count <= CONFIRM_OVER:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(str(selection), f"{recipients(count)}: --dry-run shows some, --yes does it")
    if not await agreed(reactor, f"{word} {recipients(count)}?"):
        raise click.Abort


class Progress:
    """Tells on standard error, once a second of `clock` at most, how many recipients something was done to."""

    def __init__(self, clock: IWallClock | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._told_at = self._clock.boottime()
        self.count = 0

    def add(self, count: int) -> None:
        """Count what was done."""
        self.count += count
        now = self._clock.boottime()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            click.echo(f"… {recipients(self.count)}", err=True)
