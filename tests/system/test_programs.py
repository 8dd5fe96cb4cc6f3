"""A program that is missing is told of, and where CI is set it fails the test."""

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import FailTest, SkipTest, SynchronousTestCase

from tests.system import programs


class MissingProgramTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(programs, "PACKAGES", {"examples": ("usr/bin/no-such-example",)})

    def said(self, kind: type[Exception], **variables: str) -> str:
        self.patch(os, "environ", {"PATH": os.environ["PATH"], "HOME": "/", **variables})
        return str(self.assertRaises(kind, programs.needed, "no-such-example"))

    def test_it_skips_the_test_and_names_the_package(self) -> None:
        self.assertIn("apt-get install examples", self.said(SkipTest))

    def test_where_ci_is_set_it_fails_the_test(self) -> None:
        self.assertEqual(self.said(FailTest, CI="true"), self.said(SkipTest))

    def test_what_is_only_unpacked_is_found_too(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            self.patch(os, "environ", {**os.environ, "MTAD_TEST_PROGRAMS": directory})
            program = Path(directory, "usr", "bin", "no-such-example")
            program.parent.mkdir(parents=True)
            program.touch()
            self.assertTrue(programs.there("examples"))
            self.assertEqual(programs.needed("no-such-example"), program)
        self.assertFalse(programs.there("examples"))
