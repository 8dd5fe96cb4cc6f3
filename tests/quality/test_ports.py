"""Every port has an adapter, a twin, and a contract both are held to (STYLE: a twin for every port)."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

import mtad.adapters
import mtad.interfaces
import mtad.testing

CONTRACTS = Path(__file__).parent.parent / "contract"
# Where two flows of our own meet: its one implementation runs over the twins of the others.
SEAMS = {"IAcceptance": "mtad.outbound.queue"}
# Makes a server of the twins, and is none.
BUILDERS = {"mtad.testing.world"}


def ports() -> dict[str, InterfaceClass]:
    """Return all interfaces of mtad.interfaces, by name."""
    return {
        name: interface
        for name, interface in vars(mtad.interfaces).items()
        if isinstance(interface, InterfaceClass) and interface.__module__ == mtad.interfaces.__name__
    }


def classes(package: ModuleType) -> Iterator[type[Any]]:
    """Yield the classes that the modules of a package define."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name not in BUILDERS:
            yield from classes_of(importlib.import_module(found.name))


def classes_of(module: ModuleType) -> Iterator[type[Any]]:
    for _, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ == module.__name__:
            yield kind


def missing(interfaces: dict[str, InterfaceClass], kinds: list[type[Any]]) -> list[str]:
    """Return the names of interfaces that none of the classes implements."""
    return sorted(
        name for name, interface in interfaces.items() if not any(interface.implementedBy(kind) for kind in kinds)
    )


def broken(interfaces: dict[str, InterfaceClass], kinds: list[type[Any]]) -> Iterator[str]:
    """Yield what is wrong with classes that say they implement an interface."""
    for interface in interfaces.values():
        for kind in kinds:
            if interface.implementedBy(kind):
                try:
                    verifyClass(interface, kind)
                except Invalid as wrong:
                    yield f"{kind.__module__}.{kind.__name__}: {wrong}"


class PortsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.ports = {name: interface for name, interface in ports().items() if name not in SEAMS}
        self.adapters = list(classes(mtad.adapters))
        self.twins = list(classes(mtad.testing))

    def test_there_are_ports(self) -> None:
        self.assertIn("IQueue", self.ports)
        self.assertGreater(len(self.ports), 8)

    def test_every_port_has_an_adapter(self) -> None:
        self.assertEqual(missing(self.ports, self.adapters), [])

    def test_every_port_has_a_twin(self) -> None:
        self.assertEqual(missing(self.ports, self.twins), [])

    def test_adapters_and_twins_do_what_they_say(self) -> None:
        self.assertEqual(list(broken(self.ports, self.adapters + self.twins)), [])

    def test_every_port_has_a_contract(self) -> None:
        contracts = "".join(path.read_text() for path in sorted(CONTRACTS.glob("test_*.py")))
        self.assertEqual([name for name in sorted(self.ports) if f"verifyObject({name}, " not in contracts], [])

    def test_every_seam_has_its_implementation(self) -> None:
        for name, module in SEAMS.items():
            seam = {name: ports()[name]}
            kinds = list(classes_of(importlib.import_module(module)))
            self.assertEqual((missing(seam, kinds), list(broken(seam, kinds))), ([], []))

    def test_the_scan_sees_what_is_missing_and_what_is_broken(self) -> None:
        class IThing(Interface):
            def work() -> None:
                """Work."""

        @implementer(IThing)
        class Greedy:
            def work(self, much: int) -> None:
                """Ask for more than is given."""

        self.assertEqual(missing({"IThing": IThing}, [object]), ["IThing"])
        self.assertEqual(missing({"IThing": IThing}, [Greedy]), [])
        self.assertEqual(len(list(broken({"IThing": IThing}, [Greedy]))), 1)
