"""Every RFC cited under mtad/ is in mtad/rfcs.txt: number, title, and whether mtad keeps it (yes, partial or no)."""

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mtad

ROOT = Path(mtad.__file__).parent
CITATION = re.compile(r"\bRFC (\d+)")
# rfc822 is no citation but a word of the protocol: a type of addresses and of media.
OTHER_FORMS = re.compile(r"\bRFC-?\d+|\brfc[ -]?(?!822\b)\d+|\bRFC \d+,? [Ss]ec\w*")


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text()


def index() -> list[list[str]]:
    return [line.split("\t") for line in (ROOT / "rfcs.txt").read_text().splitlines()]


class RfcsTest(SynchronousTestCase):
    def test_the_index_is_well_formed_and_sorted(self) -> None:
        rows = index()
        for row in rows:
            self.assertEqual(len(row), 3, row)
            self.assertTrue(row[1].strip(), row)
            self.assertIn(row[2], ("yes", "partial", "no"), row)
        numbers = [int(row[0]) for row in rows]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_every_citation_is_in_the_index(self) -> None:
        known = {row[0] for row in index()}
        cited = {(name, number) for name, text in sources() for number in CITATION.findall(text)}
        self.assertIn("5321", {number for _, number in cited})
        self.assertEqual(sorted((name, number) for name, number in cited if number not in known), [])

    def test_citations_have_one_form(self) -> None:
        wrong = [(name, other) for name, text in sources() for other in OTHER_FORMS.findall(text)]
        self.assertEqual(wrong, [])
