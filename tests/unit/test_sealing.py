"""Private keys where they are stored, and the master keys they are sealed with."""

import base64

from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.sealing import NONCE_OCTETS, Sealing, Stored
from mtad.model.errors import Unavailable
from mtad.model.master_key import MasterKey, parse_master_keys

OLD, NEW = MasterKey("old", b"o" * 32), MasterKey("new", b"n" * 32)
PEM = b"-----BEGIN PRIVATE KEY-----"


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


class SealingTest(SynchronousTestCase):
    def test_without_a_master_key_it_stays_as_it_is(self) -> None:
        self.assertEqual(Sealing().seal(PEM, "acme.example", "s1"), Stored(PEM))
        for sealing in (Sealing(), Sealing((NEW,))):
            self.assertEqual(sealing.open(Stored(PEM), "acme.example", "s1"), PEM)

    def test_what_is_sealed_opens_again_and_shows_nothing(self) -> None:
        stored = Sealing((NEW, OLD)).seal(PEM, "acme.example", "s1")
        self.assertEqual(stored.sealed_with, "new")
        self.assertEqual(len(stored.octets), NONCE_OCTETS + len(PEM) + 16)
        self.assertNotIn(b"PRIVATE", stored.octets)
        self.assertNotIn("octets", repr(stored))
        self.assertEqual(Sealing((NEW,)).open(stored, "acme.example", "s1"), PEM)

    def test_all_keys_read_and_the_first_writes(self) -> None:
        stored = Sealing((OLD,)).seal(PEM, "acme.example", "s1")
        both = Sealing((NEW, OLD))
        self.assertEqual(both.open(stored, "acme.example", "s1"), PEM)
        self.assertEqual(both.writes_with, "new")

    def test_each_time_it_looks_different(self) -> None:
        sealing = Sealing((NEW,))
        self.assertNotEqual(sealing.seal(PEM, "a.example", "s1").octets, sealing.seal(PEM, "a.example", "s1").octets)

    def test_it_is_bound_to_its_domain_and_selector(self) -> None:
        sealing = Sealing((NEW,))
        stored = sealing.seal(PEM, "acme.example", "s1")
        for domain, selector in (("other.example", "s1"), ("acme.example", "s2")):
            trouble = self.assertRaises(Unavailable, sealing.open, stored, domain, selector)
            self.assertIn("new, and the one of that id does not open it", str(trouble))

    def test_what_was_changed_or_cut_does_not_open(self) -> None:
        sealing = Sealing((NEW,))
        octets = sealing.seal(PEM, "acme.example", "s1").octets
        for wrong in (b"", octets[:8], octets[:20], octets[:-1], octets[:-1] + bytes([octets[-1] ^ 1])):
            self.assertRaises(Unavailable, sealing.open, Stored(wrong, "new"), "acme.example", "s1")

    def test_without_its_master_key_the_id_is_told(self) -> None:
        stored = Sealing((OLD,)).seal(PEM, "acme.example", "s1")
        for sealing in (Sealing(), Sealing((NEW,)), Sealing((MasterKey("old", b"x" * 32),))):
            trouble = self.assertRaises(Unavailable, sealing.open, stored, "acme.example", "s1")
            self.assertEqual(trouble.dependency, "master_key")
            self.assertIn("s1 of acme.example is sealed with the master key old", str(trouble))


class MasterKeysTest(SynchronousTestCase):
    def test_one_key_alone_has_an_id_that_follows_from_it(self) -> None:
        (key,) = parse_master_keys(encoded(b"k" * 32))
        self.assertEqual((key.octets, len(key.id)), (b"k" * 32, 8))
        self.assertEqual(parse_master_keys(f" {encoded(b'k' * 32)} "), (key,))
        self.assertNotIn("k" * 32, repr(key))

    def test_several_with_names(self) -> None:
        text = f"2026:{encoded(NEW.octets)}, {encoded(OLD.octets)}"
        new, old = parse_master_keys(text)
        self.assertEqual((new.id, new.octets, old.octets), ("2026", NEW.octets, OLD.octets))

    def test_what_is_none_is_refused_and_not_shown(self) -> None:
        good = encoded(b"geheim" + b"k" * 26)
        for text in ("", "x", encoded(b"geheim"), f"{good},", f"a b:{good}", f":{good}", good[:-1], good + "\n" + good):
            error = self.assertRaises(ValueError, parse_master_keys, text)
            self.assertNotIn("Z2VoZWlt", str(error), text)
        for text in (f"{good},{good}", f"a:{good},a:{encoded(b'o' * 32)}"):
            self.assertRaisesRegex(ValueError, "once", parse_master_keys, text)
