from argon2 import PasswordHasher
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters import passwords
from mtad.adapters.passwords import hash_password, is_current, scram_verifier, verify_password
from mtad.smtp.scram import is_of
from mtad.testing import passwords as twin


class TwinTest(SynchronousTestCase):
    def test_the_worlds_passwords_behave_as_these_do(self) -> None:
        for made, verify in ((hash_password, verify_password), (twin.hash_password, twin.verify_password)):
            stored = made("käse 1")
            self.assertTrue(verify(stored, "käse 1".encode()))
            for wrong in (b"K\xc3\xa4se 1", b"", b"\xff", stored.encode()):
                self.assertFalse(verify(stored, wrong))
                self.assertFalse(verify(None, wrong))
            self.assertFalse(verify("", b""))


class PasswordsTest(SynchronousTestCase):
    def test_verifiers_are_of_the_password_and_salted(self) -> None:
        made = scram_verifier("käse 1")
        self.assertTrue(is_of(made, "käse 1"))
        self.assertNotEqual(scram_verifier("käse 1"), made)
        self.assertIsNone(scram_verifier("\x07"))

    def test_a_hash_verifies_its_own_password_only(self) -> None:
        made = hash_password("käse 1")
        self.assertTrue(made.startswith("$argon2id$"))
        self.assertTrue(verify_password(made, "käse 1"))
        self.assertFalse(verify_password(made, "käse 2"))
        self.assertNotEqual(hash_password("käse 1"), made)

    def test_what_is_no_hash_verifies_nothing(self) -> None:
        for broken in ("", "plain", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "{SSHA}x"):
            self.assertFalse(verify_password(broken, "plain"), broken)
            self.assertFalse(is_current(broken), broken)

    def test_octets_of_the_wire_are_utf_8(self) -> None:
        self.assertTrue(verify_password(hash_password("käse"), "käse".encode()))

    def test_nobodys_hash_is_as_slow_as_any_and_never_right(self) -> None:
        self.assertTrue(is_current(passwords._NOBODYS))
        self.assertFalse(verify_password(None, "x"))
        self.patch(passwords, "_NOBODYS", hash_password("x"))
        self.assertFalse(verify_password(None, "x"))

    def test_a_hash_of_weaker_parameters_is_told(self) -> None:
        weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("x")
        self.assertTrue(verify_password(weak, "x"))
        self.assertFalse(is_current(weak))
        self.assertTrue(is_current(hash_password("x")))
