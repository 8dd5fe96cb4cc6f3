"""ValiMail's ARC suite, each case a test, through the functions the server uses.

Its cases of sealing are left: nothing is sealed here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.verified import Resolve, arc_result, as_sent, zone

from . import corpus, corpus_or_none

FILE = "arc-draft-validation-tests.half1.yml"
# The seals of the suite are of 1970, and none expires.
AT = 20_000.0


def make(case: Mapping[str, Any], resolve: Resolve) -> Callable[[SynchronousTestCase], None]:
    # Where the suite says nothing the chain says cv=fail of itself, which is a fail.
    expected = str(case["cv"]).strip().lower() or "fail"

    def test(self: SynchronousTestCase) -> None:
        found = arc_result(as_sent(case["message"].encode("utf-8")), resolve, at=AT)
        self.assertEqual(found.result.value, expected, found.reason)
        self.assertEqual(bool(found.reason), expected == "fail")
        self.assertEqual(len(found.dmarc_passed), len(found.sealers) if expected == "pass" else 0)
        self.assertFalse(found.temporary)

    return test


class ValidationTest(SynchronousTestCase):
    def test_the_suite_is_there(self) -> None:
        self.assertTrue((corpus("arc-valimail") / FILE).exists())


_folder = corpus_or_none("arc-valimail")
for _scenario in yaml.safe_load_all((_folder / FILE).read_text("utf-8")) if _folder else ():
    _zone = zone({name.lower(): text.encode("utf-8") for name, text in _scenario["txt-records"].items()})
    for _name, _case in _scenario["tests"].items():
        setattr(ValidationTest, f"test_{_name}", make(_case, _zone))
