"""`mtactl`: the commands of an operator (DESIGN §7).

Errors are one line on standard error and exit status 1; a wrong command line exits with 2. Nothing is guessed: a
command does what it says or changes nothing. Only what would change a lot of the queue is asked about, on a terminal.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

import mtad
from mtad.ctl.access import Access
from mtad.ctl.apply import apply
from mtad.ctl.audit import audit
from mtad.ctl.destination import destination
from mtad.ctl.dkim import dkim
from mtad.ctl.domain import domain
from mtad.ctl.fleet import drain, node, reload
from mtad.ctl.queue import queue
from mtad.ctl.show import json_option, print_json
from mtad.ctl.trace import trace
from mtad.model.errors import MtadError
from mtad.model.text import shown

_LINE_CHARACTERS = 1000


@click.group()
@click.version_option(mtad.__version__, prog_name="mtactl")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default="config.yaml",
    show_default=True,
    envvar="MTAD_CONFIG",
    show_envvar=True,
    help="The configuration file of the server.",
)
@click.pass_context
def mtactl(context: click.Context, config: Path) -> None:
    """Look after an mtad, whether it runs or not."""
    context.obj = Access(config)


@mtactl.command()
@click.pass_obj
def migrate(access: Access) -> None:
    """Bring the database's schema up to date."""
    applied = access.migrate()
    click.echo(f"applied {', '.join(map(str, applied))}" if applied else "no change")


@mtactl.group()
def config() -> None:
    """The configuration."""


@config.command("check")
@json_option
@click.pass_obj
def check(access: Access, as_json: bool) -> None:
    """Say whether configuration file and environment are right."""
    settings = access.settings()
    stores = {name: "embedded" if getattr(settings, name) is None else "configured" for name in ("database", "redis")}
    if as_json:
        head = {"config": str(access.config), "hostname": settings.server.hostname}
        print_json({**head, **stores, "warnings": settings.warnings})
    else:
        click.echo(f"{access.config}: good; database {stores['database']}, redis {stores['redis']}")
        for warning in settings.warnings:
            click.echo(f"mtactl: {access.config}: {warning}", err=True)


mtactl.add_command(apply)
mtactl.add_command(audit)
mtactl.add_command(destination)
mtactl.add_command(dkim)
mtactl.add_command(domain)
mtactl.add_command(drain)
mtactl.add_command(node)
mtactl.add_command(queue)
mtactl.add_command(reload)
mtactl.add_command(trace)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, that of the process unless `words` are given, and exit."""
    try:
        status = mtactl.main(words, prog_name="mtactl", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever reads has seen enough; nothing is left that could be said when the interpreter flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MtadError as error:
        click.echo(f"mtactl: {shown(str(error), _LINE_CHARACTERS)}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
