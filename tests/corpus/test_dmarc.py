"""What mailauth expects of RFC 9989, each case a test, through the function the server uses."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.answer import Answer, Question, Status
from mtad.model.authentication import Dmarc
from mtad.verification import dmarc
from mtad.verification.facts import Facts, NotYetKnown

from . import corpus, corpus_or_none

FILE = "rfc9989-cases.json"


class Zone:
    """A resolver of one run; `asked` are the names of the questions, in order."""

    def __init__(self, names: Mapping[str, Mapping[str, Any]]) -> None:
        self._names = names
        self.asked: list[str] = []

    def resolve(self, question: Question) -> Answer:
        self.asked.append(question.name)
        there = self._names.get(question.name)
        if there is None:
            below = any(name.endswith(f".{question.name}") for name in self._names if not name.startswith("_dmarc."))
            return Answer(question, Status.NO_DATA if below else Status.NO_NAME)
        texts = tuple(
            "".join(strings).encode() for strings in there.get(question.kind.value, ()) if question.kind.value == "TXT"
        )
        return Answer(question, Status.FOUND, texts) if texts else Answer(question, Status.NO_DATA)


def run(given: Mapping[str, Any], zone: Zone) -> Dmarc:
    """Evaluate, again and again with the answers the last run wanted, as the server does."""
    spf = [each["domain"] for each in given["spfDomains"]]
    known: dict[Question, Answer] = {}
    while True:
        facts = Facts(known.get)
        try:
            identifiers = dmarc.Identifiers(
                spf[0] if spf else None, tuple(each["domain"] for each in given["dkimDomains"])
            )
            return dmarc.evaluate(facts, [given["headerFrom"].rpartition("@")[2]], identifiers)
        except NotYetKnown:
            assert facts.missing, "nothing is missing, and it wants more"
            known.update((question, zone.resolve(question)) for question in facts.missing)


def seen(result: Dmarc, zone: Zone, path: str) -> object:
    """Return what an expectation looks at; mailauth's own views of a result are put together from ours."""
    match path:
        case "status.result":
            return result.result.value
        case "policy":
            return result.policy.value if result.policy else None
        case "domain":
            return result.record_domain
        case "@dmarc_txt_queries":
            return [name for name in zone.asked if name.startswith("_dmarc.")]
        case "alignment.spf.result":
            return result.record_domain if any(each.startswith("spf=") for each in result.aligned) else None
        case "alignment.dkim.result":
            return next((each for each in result.aligned if each.startswith("dkim=")), None)
        case "":
            return {"policy": result.policy} if result.policy else {}
    raise AssertionError(f"an expectation about {path}")


# mailauth's way to show records, and what of them was strict: not of the result.
NOT_OURS = frozenset(("rr", "alignment.dkim.strict"))


def make(case: Mapping[str, Any]) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        for number, each in enumerate(case["runs"]):
            zone = Zone(each["zone"])
            result = run(each["input"], zone)
            for expected in case["expect"]:
                if expected["run"] != number or expected["path"] in NOT_OURS:
                    continue
                value = seen(result, zone, expected["path"])
                match expected["op"]:
                    case "equal":
                        self.assertEqual(value, expected["args"][0], result)
                    case "not ok":
                        self.assertFalse(value, result)
                    case "not property":
                        self.assertNotIn(expected["args"][0], value, result)
                    case other:
                        self.fail(f"an expectation {other}")

    return test


class Rfc9989Test(SynchronousTestCase):
    def test_the_cases_are_there(self) -> None:
        self.assertTrue((corpus("dmarcbis-mailauth") / FILE).exists())


_folder = corpus_or_none("dmarcbis-mailauth")
for _number, _case in enumerate(json.loads((_folder / FILE).read_text()) if _folder else ()):
    _words = "".join(letter if letter.isalnum() else "_" for letter in _case["name"])
    setattr(Rfc9989Test, f"test_{_number:02}_{_words}", make(_case))
