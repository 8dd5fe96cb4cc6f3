"""`mtactl destination`: what is wanted of domains elsewhere, whoever here sends to them."""

import click

from mtad.adapters.postgres import destinations
from mtad.adapters.postgres.pool import Cursor
from mtad.ctl.access import Access
from mtad.ctl.dkim import domain_name
from mtad.ctl.record import on_record, trail
from mtad.ctl.show import json_option, print_json, print_table
from mtad.model.errors import InvalidInput
from mtad.model.next_hop import TlsLevel

_COLUMNS = ("domain", "tls")


@click.group()
def destination() -> None:
    """Domains elsewhere that mail is sent to."""


@destination.command("list")
@json_option
@click.pass_obj
def list_(access: Access, as_json: bool) -> None:
    """List the domains of which something is wanted."""
    found = access.ask(destinations.destinations)
    if as_json:
        print_json([_json(domain, tls) for domain, tls in found])
    else:
        print_table(_COLUMNS, [(domain, tls.value) for domain, tls in found])


@destination.command()
@click.argument("domain", callback=domain_name)
@json_option
@click.pass_obj
def show(access: Access, domain: str, as_json: bool) -> None:
    """Show what is wanted of DOMAIN."""
    tls = access.ask(lambda pool: destinations.destination(pool, domain))
    if tls is None:
        raise _not_there(domain)
    if as_json:
        print_json(_json(domain, tls))
    else:
        print_table(_COLUMNS, [(domain, tls.value)])


@destination.command("set")
@click.argument("domain", callback=domain_name)
@click.option(
    "--tls",
    type=click.Choice([level.value for level in TlsLevel]),
    required=True,
    help="none: unasked; may: where it is to be had; encrypt: not without; verify: with a valid certificate.",
)
@click.pass_obj
def set_(access: Access, domain: str, tls: str) -> None:
    """Want so much TLS of DOMAIN's servers, within a minute at most."""

    deed = trail("destination set", f"{domain} tls={tls}")

    async def work(cursor: Cursor) -> bool:
        return await destinations.set_destination(cursor, domain, TlsLevel(tls))

    new = access.ask(lambda pool: on_record(pool, deed, work, int))
    click.echo(f"{domain}: tls {tls}" if new else "no change")


@destination.command()
@click.argument("domain", callback=domain_name)
@click.pass_obj
def remove(access: Access, domain: str) -> None:
    """Want nothing of DOMAIN any more: its mail goes as mail to any other."""

    async def work(cursor: Cursor) -> None:
        if not await destinations.remove_destination(cursor, domain):
            raise _not_there(domain)

    access.ask(lambda pool: on_record(pool, trail("destination remove", domain), work))
    click.echo(f"{domain}: removed")


def _not_there(domain: str) -> InvalidInput:
    return InvalidInput(domain, "nothing is wanted of this destination")


def _json(domain: str, tls: TlsLevel) -> dict[str, str]:
    return {"domain": domain, "tls": tls.value}
