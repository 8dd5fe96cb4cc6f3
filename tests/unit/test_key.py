"""What a message may be found by."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.key import key_number


class KeyTest(SynchronousTestCase):
    def test_it_is_the_same_for_all_ways_to_write_a_key(self) -> None:
        for written in ("<Alice@Acme.Example>", " alice@acme.example ", "ALICE@ACME.EXAMPLE"):
            self.assertEqual(key_number(written), key_number("alice@acme.example"))
        self.assertEqual(key_number("STRASSE@x"), key_number("straße@x"))
        self.assertEqual(key_number("e\u0301@x"), key_number("\u00c9@x"))

    def test_it_differs_for_others_and_never_changes(self) -> None:
        self.assertNotEqual(key_number("alice@acme.example"), key_number("bob@acme.example"))
        self.assertEqual(key_number("alice@acme.example"), 5065842708694810399)

    def test_it_fits_a_bigint_whatever_the_text(self) -> None:
        for text in ("", "\ud800", "\0", "x" * 10_000):
            self.assertTrue(-(1 << 63) <= key_number(text) < 1 << 63)
