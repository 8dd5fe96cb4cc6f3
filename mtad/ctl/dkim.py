"""`mtactl dkim`: the keys domains sign with, and the records that publish them."""

import click

from mtad.adapters.postgres.dkim_keys import keys_of
from mtad.ctl.access import Access
from mtad.ctl.show import json_option, print_json, print_table
from mtad.ctl.tenancy import DomainName
from mtad.model.dkim import Key, record_name, record_text, zone_line
from mtad.model.errors import InvalidInput


def domain_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Return a domain as A-labels; anything else is a wrong command line."""
    try:
        return DomainName.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def dkim() -> None:
    """The keys domains sign their mail with."""


@dkim.command("list")
@click.argument("domain", callback=domain_name)
@json_option
@click.pass_obj
def list_(access: Access, domain: str, as_json: bool) -> None:
    """List the keys of a domain, and the records to publish for them.

    The record of a retiring key is needed until mail it has signed is delivered everywhere.
    """
    keys = access.ask(lambda pool: keys_of(pool, domain))
    if keys is None:
        raise InvalidInput(domain, "no organisation here has this domain")
    if as_json:
        print_json([_json(domain, key) for key in keys])
        return
    print_table(("selector", "algorithm", "state"), [(key.selector, key.algorithm, key.state.value) for key in keys])
    for key in keys:
        click.echo()
        click.echo(zone_line(record_name(key.selector, domain), record_text(key.algorithm, key.public_key)))


def _json(domain: str, key: Key) -> dict[str, str]:
    return {
        "selector": key.selector,
        "algorithm": key.algorithm,
        "state": key.state.value,
        "name": record_name(key.selector, domain),
        "text": record_text(key.algorithm, key.public_key),
    }
