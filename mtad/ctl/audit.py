"""`mtactl audit`: who did what with mtactl."""

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import deeds
from mtad.ctl.access import Access
from mtad.ctl.selecting import duration
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.model.units import seconds


@click.command()
@click.option("--since", callback=duration, default="7d", show_default=True, help="Only what is not older.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def audit(access: Access, since: str, limit: int, as_json: bool) -> None:
    """List what people did with mtactl, the last first."""
    begin = SystemClock().now() - seconds(since)
    found = access.ask(lambda pool: deeds(pool, begin, limit))
    if as_json:
        print_json([
            {"at": date_json(each.at), "who": each.who, "command": each.command, "what": each.what, "count": each.count}
            for each in found
        ])  # fmt: skip
        return
    columns = ("at", "who", "command", "count", "what")
    print_table(columns, [(date_text(each.at), each.who, each.command, each.count, each.what) for each in found])
