"""Reports of the world's mail servers: what they say comes back whole out of ours, in fields that others write too."""

import re
import tomllib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message

from twisted.trial.unittest import SynchronousTestCase

from mtad.message import headers
from mtad.message.dsn import build
from mtad.model.address import Address
from mtad.model.report import Fate, Report
from mtad.outbound.bounce import EXPIRED

from . import corpus

ADDRESS = re.compile(r"(?is)(?:rfc822|unknown|local)?\s*;?\s*<?([^<>\s;@]{1,64})@([a-z0-9.-]{1,255})>?\s*")


def status_parts(octets: bytes) -> Iterator[list[Message]]:
    """Yield the field groups of every status part in a message."""
    for part in message_from_bytes(octets).walk():
        if part.get_content_type() == "message/delivery-status" and isinstance(part.get_payload(), list):
            yield part.get_payload()


def fate(group: Message) -> Fate | None:
    """Return what a group tells of a recipient, None when it is not such a group."""
    address = ADDRESS.fullmatch(str(group.get("Final-Recipient", "")))
    status = re.match(r"[45]\.\d{1,3}\.\d{1,3}", str(group.get("Status", "")))
    if not address or not status:
        return None
    said = str(group.get("Diagnostic-Code", "")).partition(";")[2].strip()
    host = str(group.get("Remote-MTA", "")).partition(";")[2].strip() or None
    return Fate(Address(address[1], address[2].lower()), status[0], "refused", said, 1.8e9, host)


def report(octets: bytes, told: list[Fate]) -> Report:
    header_block, _ = headers.split(octets)
    return Report("0A", "mx.test", Address("a", "b.example"), "0B", 1.7e9, 1.8e9, tuple(told), header_block)


class ReportsTest(SynchronousTestCase):
    def test_what_others_report_comes_back_out_of_ours(self) -> None:
        folders = (corpus("dsn-sisimai") / "eml", corpus("dsn-kumomta") / "rfc3464")
        files = [file for folder in folders for file in sorted(folder.glob("*.eml"))]
        recipients = 0
        for file in files:
            octets = re.sub(rb"\r?\n", b"\r\n", file.read_bytes())
            for groups in status_parts(octets):
                told = [found for group in groups if (found := fate(group))]
                if not told:
                    continue
                ours = build(report(octets, told))
                self.assertRegex(ours, rb"\A(?:[\t -~]{0,998}+\r\n)*+\Z", file.name)
                ((_, *back),) = status_parts(ours)
                self.assertEqual(
                    [(group["Final-Recipient"], group["Status"]) for group in back],
                    [(f"rfc822; {each.recipient}", each.status) for each in told],
                    file.name,
                )
                recipients += len(back)
        self.assertGreater(recipients, 150)

    def test_our_fields_are_fields_of_others(self) -> None:
        theirs = {
            name.lower()
            for file in (corpus("dsn-kumomta") / "rfc3464").glob("*.eml")
            for groups in status_parts(file.read_bytes())
            for group in groups
            for name in group
        }
        told = Fate(Address("c", "d.example"), "5.1.1", "refused", "550 no", 1.8e9, "mx.d.example")
        (groups,) = status_parts(build(report(b"", [told])))
        ours = {name.lower() for group in groups for name in group if not name.startswith("X-")}
        self.assertEqual(ours - theirs, set())

    def test_the_status_of_what_expired_is_registered_as_that(self) -> None:
        rules = tomllib.loads((corpus("dsn-kumomta") / "iana.toml").read_text())["rules"]
        classes = [name for name, rule in rules.items() if any(re.match(each, f"450 {EXPIRED} x") for each in rule)]
        self.assertEqual(classes, ["MessageExpired"])
