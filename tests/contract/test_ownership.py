"""Whose a row is, whatever happens: random interleavings over three servers, on the twin and on PostgreSQL.

MTAD_TEST_INTERLEAVINGS says how many are tried on each (300 and 40; `make stateful`: 10 000). They are the same each
time, but with HYPOTHESIS_PROFILE=default.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.internet import threads
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.contract.fleets import Fleet, MemoryFleet, PostgresFleet
from tests.contract.interleavings import Interleavings
from tests.stores import database

STEPS = 60
ASKED = os.environ.get("MTAD_TEST_INTERLEAVINGS")


def tried(fleet: Fleet, count: int, looks_always: bool) -> None:
    """Try that many interleavings on a fleet."""
    machine = type("Tried", (Interleavings,), {"fleet": fleet, "looks_always": looks_always})
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    number = int(ASKED or count)
    terms = settings(max_examples=number, stateful_step_count=STEPS, suppress_health_check=checks, database=None)
    run_state_machine_as_test(machine, settings=terms)


class MemoryOwnershipTest(SynchronousTestCase):
    def test_no_row_is_lost_or_sent_by_two(self) -> None:
        tried(MemoryFleet(), 300, looks_always=True)


class PostgresOwnershipTest(TestCase):
    timeout = 36_000

    async def setUp(self) -> None:
        self.fleet = PostgresFleet()
        await self.fleet.open(database())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.fleet.close()))

    async def test_no_row_is_lost_or_sent_by_two(self) -> None:
        await threads.deferToThread(tried, self.fleet, 40, looks_always=False)
