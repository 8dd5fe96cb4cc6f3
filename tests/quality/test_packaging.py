"""What is installed: every package is named in setup.cfg, and the files that are no modules come along."""

from configparser import ConfigParser
from importlib import resources
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]


class PackagingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = ConfigParser()
        self.settings.read(ROOT / "setup.cfg")

    def test_every_package_is_named(self) -> None:
        named = set(self.settings["options"]["packages"].split())
        there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "mtad").rglob("__init__.py")}
        self.assertEqual(named, there | {"mtad.migrations", "twisted.plugins"})

    def test_migrations_can_be_read_as_part_of_the_package(self) -> None:
        files = {file.name for file in resources.files("mtad.migrations").iterdir()}
        self.assertEqual({path.name for path in (ROOT / "migrations").glob("*.sql")} - files, set())
        self.assertIn("0001_the_house.sql", files)

    def test_an_init_would_hide_the_plugin(self) -> None:
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])
        self.assertTrue((ROOT / "twisted" / "plugins" / "mtad_plugin.py").exists())
