"""The DKIM messages of Mail::DKIM, chasquid and the RFCs, each a test, through the functions the server uses.

Mail::DKIM's are older than RFC 6376 and RFC 8301: nearly all are of SHA-1 or short keys. They are checked twice: as the
server does, where none of these may pass, and as if the old ways were allowed, for all else that they test.
"""

import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.answer import Status
from mtad.model.authentication import Result
from mtad.verification.claims import ENOUGH, Strength
from tests.unit.verified import Resolve, as_sent, dkim_results, zone

from . import corpus, corpus_or_none

OLD = Strength(ENOUGH.algorithms | {"rsa-sha1"}, min_rsa_bits=512)

CHASQUID_STATES = {
    "SUCCESS": (Result.PASS,),
    "TEMPFAIL": (Result.TEMPERROR,),
    "PERMFAIL": (Result.PERMERROR, Result.FAIL),
    "partial": (Result.POLICY,),
}
# Where we expect something else: chasquid looks at five signatures, we at ten; and it lets pass what l= leaves out.
NOT_CHASQUIDS = {"02-too_many_headers": ["SUCCESS"] * 7, "09-limited_body": ["partial", "SUCCESS", "SUCCESS"]}

MAIL_DKIM_RESULTS = {
    "pass": (Result.PASS,),
    "fail": (Result.FAIL,),
    "invalid": (Result.PERMERROR, Result.TEMPERROR, Result.FAIL),
}
# They fail for the g= of their keys, which is none of RFC 6376's tags any more.
NOT_MAIL_DKIMS = frozenset(("badkey_8.txt", "badkey_9.txt", "badkey_12.txt"))

RFC_SIGNATURES = {"rfc6376.signed.msg": 2, "rfc6376.signed.rsa.msg": 1, "rfc8463-a.msg": 2}


class ChasquidTest(SynchronousTestCase):
    def test_the_cases_are_there(self) -> None:
        self.assertEqual(len(list(corpus("dkim-chasquid").glob("*.msg"))), 11)

    def check(self, folder: Path, name: str) -> None:
        results = dkim_results(as_sent(followed(folder, name, "msg").encode()), chasquid_zone(folder, name))
        expected = [each["State"] for each in json.loads(followed(folder, name, "result"))["Results"]]
        allowed = [CHASQUID_STATES[state] for state in NOT_CHASQUIDS.get(name, expected)]
        self.assertEqual(len(results), len(allowed), results)
        for found, results_allowed in zip(results, allowed, strict=True):
            self.assertIn(found.result, results_allowed, found)

    def test_03_bad_message(self) -> None:
        folder = corpus("dkim-chasquid")
        self.assertEqual(dkim_results(as_sent((folder / "03-bad_message.msg").read_bytes()), zone({})), ())


def followed(folder: Path, name: str, kind: str) -> str:
    """Return a file's text, or that of the file it names."""
    path = folder / f"{name}.{kind}"
    text = path.read_text() if path.exists() else ""
    other = folder / text.strip() if text.strip().endswith(f".{kind}") else None
    return other.read_text() if other else text


def chasquid_zone(folder: Path, name: str) -> Resolve:
    trouble = {"TEMPERROR": Status.SERVFAIL, "PERMERROR": Status.NO_NAME}
    texts: dict[str, list[bytes] | Status] = {}
    for line in followed(folder, name, "dns").replace("\\\n", "").splitlines():
        owner, colon, text = line.partition(":")
        if not colon:
            continue
        if text.strip() in trouble:
            texts[owner] = trouble[text.strip()]
        else:
            found = texts.setdefault(owner, [])
            assert isinstance(found, list)
            found.append(text.strip().encode())
    return zone(texts)


class MailDkimTest(SynchronousTestCase):
    """Both ways; what Mail::DKIM says of DomainKeys or of signatures without v=1 is not RFC 6376's."""

    def test_the_messages_are_there(self) -> None:
        self.assertEqual(len(list((corpus("dkim-mail-dkim") / "corpus").glob("*.txt"))), 79)

    def check(self, folder: Path, case: Mapping[str, str], resolve: Resolve) -> None:
        message = as_sent((folder / "corpus" / case["file"]).read_bytes())
        today = dkim_results(message, resolve)
        once = dkim_results(message, resolve, strength=OLD)
        self.assertEqual(len(once), int(case["dkim_sigs"]))
        if case["all_v1"] != "1":
            self.assertNotIn(Result.PASS, [each.result for each in today])
            passed = [each.signature for each in once if each.result is Result.PASS]
            self.assertEqual(len(passed), case["dkimpy"].split(",").count("pass"), once)
            return
        expected = "pass" if case["file"] in NOT_MAIL_DKIMS else case["result"]
        self.assertIn(once[0].result, MAIL_DKIM_RESULTS[expected], once)
        if "sha1" in case["algs"] or case["keybits"] == "512":
            self.assertNotIn(today[0].result, (Result.PASS, Result.NONE), today)
        else:
            self.assertEqual(today, once)


def mail_dkim_zone(folder: Path) -> Resolve:
    trouble = {"NXDOMAIN": Status.NO_NAME, "~~Query timed out~~": Status.TIMEOUT, "~~SERVFAIL~~": Status.SERVFAIL}
    lines = [line for line in (folder / "FAKE_DNS.dat").read_text().splitlines() if re.match(r"[^#\s]", line)]
    records = (re.split(r" +", line, maxsplit=1) for line in lines)
    return zone({name: trouble.get(text, text.strip('"').encode()) for name, text in records})


class RfcTest(SynchronousTestCase):
    """The signed messages of RFC 6376 and RFC 8463: they hold, and with any octet changed they do not."""

    def setUp(self) -> None:
        self.folder = corpus("dkim-rfc")
        records = (self.folder / "rfc8463-a.dns.txt").read_text().replace("\\\n", "").splitlines()
        pairs = (line.split(":", 1) for line in records if ":" in line)
        self.resolve = zone({name: text.strip().encode() for name, text in pairs})

    def test_all_signatures_hold(self) -> None:
        for name, count in RFC_SIGNATURES.items():
            results = dkim_results(as_sent((self.folder / name).read_bytes()), self.resolve)
            self.assertEqual([each.result for each in results], [Result.PASS] * count, name)
            self.assertEqual({each.domain for each in results}, {"football.example.com"})

    def test_whatever_is_changed_breaks_them(self) -> None:
        for name in RFC_SIGNATURES:
            message = as_sent((self.folder / name).read_bytes())
            signed = [message.index(b"\r\n" + field) for field in (b"From:", b"To:", b"Subject:", b"Date:")]
            for place in (*(start + 10 for start in signed), message.index(b"hungry")):
                changed = bytearray(message)
                changed[place] ^= 1
                results = dkim_results(bytes(changed), self.resolve)
                self.assertEqual({each.result for each in results}, {Result.FAIL}, (name, place))


def make_chasquid(folder: Path, name: str) -> Callable[[ChasquidTest], None]:
    return lambda self: self.check(folder, name)


def make_mail_dkim(folder: Path, case: Mapping[str, str], resolve: Resolve) -> Callable[[MailDkimTest], None]:
    return lambda self: self.check(folder, case, resolve)


if _folder := corpus_or_none("dkim-chasquid"):
    for _result in sorted(_folder.glob("*.result")):
        setattr(ChasquidTest, f"test_{_result.stem.replace('-', '_')}", make_chasquid(_folder, _result.stem))
if _folder := corpus_or_none("dkim-mail-dkim"):
    _zone = mail_dkim_zone(_folder)
    for _case in csv.DictReader((_folder / "expected.tsv").read_text().splitlines(), delimiter="\t"):
        setattr(MailDkimTest, f"test_{_case['file'].removesuffix('.txt')}", make_mail_dkim(_folder, _case, _zone))
