"""docs/mtactl.md names every command, option and exit status of mtactl and every key of the apply file."""

from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct, structs
from twisted.trial.unittest import SynchronousTestCase

import mtad
from mtad.ctl import tenancy
from mtad.ctl.command import mtactl

PAGE = (Path(mtad.__file__).parent.parent / "docs" / "mtactl.md").read_text()
PLURALS = {
    "Organisation": "organisations",
    "Domain": "domains",
    "Key": "dkim",
    "Mailbox": "mailboxes",
    "Alias": "aliases",
}


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def keys(kind: type[Struct], plural: str) -> Iterator[str]:
    for field in structs.fields(kind):
        yield f"`{plural}[].{field.name}`"


class OperatorsPageTest(SynchronousTestCase):
    def test_every_command_and_option(self) -> None:
        found = dict(commands(mtactl, "mtactl"))
        self.assertIn("mtactl queue list", found)
        for name, command in found.items():
            self.assertIn(f"`{name}", PAGE)
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    self.assertIn(parameter.opts[0], PAGE, name)
        for parameter in mtactl.params:
            if parameter.name != "version":
                self.assertIn(parameter.opts[0], PAGE)

    def test_every_key_of_the_apply_file(self) -> None:
        wanted = [key for name, plural in PLURALS.items() for key in keys(getattr(tenancy, name), plural)]
        self.assertGreater(len(wanted), 12)
        self.assertEqual([key for key in wanted if key not in PAGE], [])
