"""What a process does now and then, whatever comes in: the counting of the queue."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.process import ALONE, Part
from mtad.testing.world import MINUTE, World


class CountingTest(SynchronousTestCase):
    def world(self, part: Part = ALONE) -> World:
        return World(Path(self.mktemp()), part=part)

    def counted(self, world: World) -> int:
        return len(world.journal.of("queue.sizes"))

    def test_the_queue_is_counted_twice_a_minute(self) -> None:
        world = self.world()
        world.advance(10 * MINUTE)
        self.assertEqual(self.counted(world), 21)

    def test_what_takes_long_to_count_is_counted_less_often(self) -> None:
        world = self.world()
        world.database.delay(0.5)
        world.advance(20 * MINUTE, step=0.5)
        self.assertTrue(4 <= self.counted(world) <= 6, self.counted(world))

    def test_one_process_of_a_server_counts(self) -> None:
        counting = [self.counted(self.world(Part(number, 3, supervised=True))) for number in (1, 2, 3)]
        self.assertEqual(counting, [1, 0, 0])
