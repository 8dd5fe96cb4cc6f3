"""The is_email suite, each address as a forward-path: what RFC 5321 allows is taken, all else is refused."""

from collections import Counter
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import path
from mtad.smtp.grammar import Path, forward_path, reverse_path

from . import corpus

TAKEN = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}
REFUSED = {"ISEMAIL_CFWS", "ISEMAIL_DEPREC", "ISEMAIL_RFC5322", "ISEMAIL_ERR"}
# The suite writes a control character as its symbol, U+2400 above it.
CONTROLS = {0x2400 + code: code for code in range(32)}


class AddressesTest(SynchronousTestCase):
    def test_the_suite(self) -> None:
        tree = ElementTree.parse(corpus("addr-isemail") / "tests.xml")
        wrong = []
        seen: Counter[str] = Counter()
        for test in tree.getroot().iter("test"):
            address = (test.findtext("address") or "").translate(CONTROLS)
            category = test.findtext("category") or ""
            self.assertIn(category, TAKEN | REFUSED)
            found = forward_path(f"<{address}>".encode(), "mx.example")
            if isinstance(found, Path) != (category in TAKEN):
                wrong.append((test.get("id"), address, category, found))
            if isinstance(found, Path):
                self.assertEqual(reverse_path(path(found.address).encode()), found)
            seen[category] += 1
        self.assertEqual(wrong, [])
        self.assertGreater(seen.total(), 160)
        print(f"\n    {seen.total()} addresses: {dict(seen)}")
