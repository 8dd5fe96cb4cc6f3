"""The is_email suites, each address a test of a forward-path: what RFC 5321 allows is taken, all else is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import path
from mtad.smtp import grammar

from . import corpus, corpus_or_none

SUITES = ("tests.xml", "tests-original.xml")
TAKEN = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}
REFUSED = {"ISEMAIL_CFWS", "ISEMAIL_DEPREC", "ISEMAIL_RFC5322", "ISEMAIL_ERR"}
# What the suites take and we do not, by its diagnosis, with the sentence that has it so.
DEVIATIONS = {
    "ISEMAIL_RFC5321_IPV6DEPRECATED": 'RFC 5321 §4.1.3: The "::" represents at least 2 16-bit groups of zeros.',
}
# The suites write a control character as its symbol, U+2400 above it.
CONTROLS = {0x2400 + code: code for code in range(32)}


class Case(NamedTuple):
    """One address of a suite, as the octets of a path."""

    name: str
    octets: bytes
    category: str
    diagnosis: str


def cases(folder: Path) -> Iterator[Case]:
    """Yield all cases of both suites."""
    for suite in SUITES:
        for test in ElementTree.parse(folder / suite).getroot().iter("test"):
            address = (test.findtext("address") or "").translate(CONTROLS)
            yield Case(
                f"{suite.removesuffix('.xml').replace('-', '_')}_{int(test.get('id') or 0):03}",
                f"<{address}>".encode(),
                test.findtext("category") or "",
                test.findtext("diagnosis") or "",
            )


def make(case: Case) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        self.assertIn(case.category, TAKEN | REFUSED)
        found = grammar.forward_path(case.octets, "mx.example")
        taken = case.category in TAKEN and case.diagnosis not in DEVIATIONS
        self.assertEqual(isinstance(found, grammar.Path), taken, (case, found))
        if isinstance(found, grammar.Path):
            self.assertEqual(found.international, not case.octets.isascii())
            self.assertEqual(grammar.reverse_path(path(found.address).encode()), found)
        else:
            self.assertEqual(found, replies.BAD_RECIPIENT_SYNTAX)

    return test


class AddressesTest(SynchronousTestCase):
    def test_the_suites_are_there(self) -> None:
        found = list(cases(corpus("addr-isemail")))
        self.assertGreater(len(found), 440)
        deviating = {case.diagnosis for case in found if case.diagnosis in DEVIATIONS}
        self.assertEqual(deviating, set(DEVIATIONS))


_folder = corpus_or_none("addr-isemail")
for _case in cases(_folder) if _folder else ():
    setattr(AddressesTest, f"test_{_case.name}", make(_case))
