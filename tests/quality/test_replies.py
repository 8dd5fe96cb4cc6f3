"""The whole table of mtad.model.replies: every reply well formed, every name given once."""

import ast
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply

CONSTANTS = {name: reply for name, reply in vars(replies).items() if isinstance(reply, Reply)}
MADE = {
    "greeting": replies.greeting("m" * 255),
    "hello": replies.hello("m" * 255),
    "hello extended": replies.hello("m" * 255, ("PIPELINING", "SIZE 99999999999999999999")),
    "queued": replies.queued("0" * 13),
    "challenge": replies.challenge("VXNlcm5hbWU6"),
}
# RFC 2034 §4: no enhanced code in the greeting, in the reply to HELO and EHLO, and in 3yz.
BARE = {"greeting", "hello", "hello extended", "START_DATA", "challenge"}
# RFC 5321 §4.5.3.1.5
LINE_OCTETS = 512


class RepliesTest(SynchronousTestCase):
    def test_the_table_is_found(self) -> None:
        self.assertGreater(len(CONSTANTS), 30)

    def test_every_reply_is_well_formed(self) -> None:
        for name, reply in (CONSTANTS | MADE).items():
            self.assertRegex(str(reply.code), "^[2-5][0-5][0-9]$", name)
            self.assertTrue(reply.lines, name)
            for line in reply.lines:
                self.assertRegex(line, "^[!-~]([ -~]*[!-~])?$", name)
            encoded = reply.encode()
            self.assertTrue(encoded.endswith(b"\r\n"), name)
            for octets in encoded.removesuffix(b"\r\n").split(b"\r\n"):
                self.assertLessEqual(len(octets) + 2, LINE_OCTETS, name)

    def test_enhanced_codes_have_the_class_of_the_reply(self) -> None:
        for name, reply in (CONSTANTS | MADE).items():
            if name in BARE:
                self.assertIsNone(reply.enhanced, name)
            else:
                self.assertRegex(reply.enhanced or "", r"^[245]\.[0-7]\.[0-9]{1,3}$", name)
                self.assertEqual((reply.enhanced or "")[0], str(reply.code)[0], name)

    def test_421_and_221_close_and_nothing_else_does(self) -> None:
        closing = {name for name, reply in CONSTANTS.items() if reply.closes}
        # The 554 stands where the greeting would (RFC 5321 §3.1).
        expected = {name for name, reply in CONSTANTS.items() if reply.code in (221, 421)} | {"EARLY_TALKER"}
        self.assertEqual(closing, expected)

    def test_names_and_replies_are_unique(self) -> None:
        tree = ast.parse(Path(replies.__file__).read_text())
        names = [
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        self.assertEqual(sorted(names), sorted(CONSTANTS))
        self.assertEqual([reply for reply, times in Counter(CONSTANTS.values()).items() if times > 1], [])
