"""The suites of openspf (RFC 7208, RFC 4408) and of jSPF, each case a test, through the function the server uses."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.answer import Answer, Kind, MailExchange, Question, Record, Status
from mtad.model.authentication import Spf
from mtad.verification import spf
from mtad.verification.facts import Facts

from . import corpus, corpus_or_none

# What a suite expects and RFC 7208 does not, by name, with the reason.
EXPECTED_FAILURES = {
    "test.yml": {
        "default-modifier": "a lax way of pyspf's own: default= is an unknown modifier, and ignored (§6)",
        "default-modifier-harsh": "a harsh way of pyspf's own: 'ambiguous' is no result (§2.6)",
    },
    "mailzone-tests.yml": {
        **{f"mailzone-#{number}": "more than ten MX names are a permerror (§4.6.4)" for number in range(7, 38)},
        "mailzone-#126": "the record it is about is not in its zone",
        "mailzone-#127": "the record it is about is not in its zone",
    },
    "tests.yml": {
        "test-#malformedip": "a peer without an address is not asked about",
        "test-#2": "the explanation is jSPF's own, for a domain that gives none (§6.2)",
        "test-#11": "the explanation is jSPF's own, for a domain that gives none (§6.2)",
        "test-#15": "the explanation is jSPF's own, for a domain that gives none (§6.2)",
        "test-macrodata": "%{r} is the name of who asks, which is jSPF's there (§7.2)",
    },
}
# RFC 4408's answers where RFC 7208 has another: the newer suite has these cases with the newer answers.
SUPERSEDED = {"rfc4408-tests.yml": "rfc7208-tests.yml"}


def zone(zonedata: Mapping[str, list[Any]]) -> Callable[[Question], Answer]:
    """Return a resolver that knows all of a scenario's zone, in the suite's own form of it."""
    names = {str(name).lower(): _texts_of_spf(entries) for name, entries in zonedata.items()}

    def resolve(question: Question, depth: int = 0) -> Answer:
        entries = names.get(question.name)
        if entries is None:
            below = any(name.endswith(f".{question.name}") for name in names)
            return Answer(question, Status.NO_DATA if below else Status.NO_NAME)
        records = tuple(found for entry in entries for found in _records(entry, question.kind))
        if records:
            return Answer(question, Status.FOUND, records)
        aliases = [entry["CNAME"] for entry in entries if isinstance(entry, dict) and "CNAME" in entry]
        if aliases and depth < 8:
            target = str(aliases[0]).lower().removesuffix(".")
            found = resolve(Question(target, question.kind), depth + 1)
            return Answer(question, found.status, found.records)
        if "TIMEOUT" in entries:
            return Answer(question, Status.TIMEOUT)
        return Answer(question, Status.NO_DATA)

    return resolve


def _texts_of_spf(entries: list[Any]) -> list[Any]:
    """Return entries with each SPF record as a TXT record too, unless the name has its own."""
    dicts = [entry for entry in entries if isinstance(entry, dict)]
    if any("TXT" in entry for entry in dicts):
        return [entry for entry in entries if not (isinstance(entry, dict) and entry.get("TXT") == "NONE")]
    return [*entries, *({"TXT": entry["SPF"]} for entry in dicts if "SPF" in entry)]


def _records(entry: Any, kind: Kind) -> Iterator[Record]:
    if not isinstance(entry, dict) or kind.value not in entry:
        return
    value = entry[kind.value]
    if kind is Kind.TXT:
        yield "".join(value if isinstance(value, list) else [value]).encode("utf-8")
    elif kind is Kind.MX:
        preference, host = value
        yield MailExchange(int(preference), str(host).lower().removesuffix("."))
    else:
        yield str(value).lower().removesuffix(".") if kind is Kind.PTR else str(value)


def check(case: Mapping[str, Any], resolve: Callable[[Question], Answer]) -> Spf:
    """Return the result of a case, run again and again with the answers the last run wanted, as the server does."""
    known: dict[Question, Answer] = {}
    local_part, at, domain = str(case.get("mailfrom") or "").rpartition("@")
    sender = None if not case.get("mailfrom") else Address(local_part if at else "postmaster", domain.lower())
    for _ in range(60):
        facts = Facts(known.get)
        try:
            return spf.check(
                facts,
                ip=case["host"],
                helo=case.get("helo") or "",
                sender=sender,
                hostname="receiver.example",
                at=1_700_000_000.0,
            )
        except spf.NotYetKnown:
            known.update((question, resolve(question)) for question in facts.missing)
    raise AssertionError("it wants to know more and more")


def cases(collection: str, suite: str) -> Iterator[tuple[str, Mapping[str, Any], Callable[[Question], Answer]]]:
    folder = corpus_or_none(collection)
    if folder is None:
        return
    left_out = set(EXPECTED_FAILURES.get(suite, ()))
    newer = SUPERSEDED.get(suite)
    if newer is not None:
        left_out |= {name for name, _, _ in cases(collection, newer)}
    for scenario in yaml.safe_load_all((folder / suite).read_text(encoding="utf-8")):
        if not scenario:
            continue
        resolve = zone(scenario.get("zonedata") or {})
        for name, case in (scenario.get("tests") or {}).items():
            if str(name) not in left_out:
                yield str(name), case, resolve


def make(case: Mapping[str, Any], resolve: Callable[[Question], Answer]) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        result = check(case, resolve)
        accepted = case["result"] if isinstance(case["result"], list) else [case["result"]]
        self.assertIn(result.result.value, accepted, result.reason)
        explanation = case.get("explanation")
        if explanation is not None and result.result.value == "fail":
            self.assertEqual(result.explanation, "" if explanation == "DEFAULT" else explanation)

    return test


class SuiteTest(SynchronousTestCase):
    """One case after the other; `collection` and `suite` name the file they are in."""

    def test_the_suite_is_there(self) -> None:
        for collection, suite in SUITES:
            self.assertTrue((corpus(collection) / suite).exists())


SUITES = (
    ("spf-openspf", "rfc7208-tests.yml"),
    ("spf-openspf", "rfc4408-tests.yml"),
    ("spf-openspf", "test.yml"),
    ("spf-jspf", "mailzone-tests.yml"),
    ("spf-jspf", "tests.yml"),
)
for _collection, _suite in SUITES:
    for _name, _case, _resolve in cases(_collection, _suite):
        _method = f"test_{_suite.removesuffix('.yml')}_{_name}".replace("-", "_")
        setattr(SuiteTest, _method, make(_case, _resolve))
