"""A process among others, under a supervisor: its share of what all have, and whom it leaves connections to."""

from pathlib import Path

import msgspec
from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.control import CHANNEL
from mtad.model.process import Part
from mtad.testing.world import World, settings


class PartTest(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        usual = settings(path)
        server = msgspec.structs.replace(usual.server, max_connections=7, max_connections_per_ip=3, processes=2)
        configured = msgspec.structs.replace(usual, server=server)
        self.world = World(path, configured=configured, part=Part(2, 2, supervised=True))
        self.told: list[tuple[str, object]] = []
        self.world.server.steering.obey(
            reload=lambda token: self.told.append(("reload", token)),
            draining=lambda on: self.told.append(("draining", on)),
        )
        self.world.advance(4)

    def drain(self, on: bool = True) -> None:
        (node,) = self.world.store.nodes.values()
        node.draining = on
        self.world.wakeups.notify(CHANNEL, "drain")
        self.world.turn()

    def greeting(self, peer: str = "192.0.2.7") -> bytes:
        line = self.world.call(peer=(peer, 40000))
        self.world.turn()
        return line.take()[:4]

    def test_it_takes_its_share_of_sessions_rounded_up(self) -> None:
        self.assertEqual([self.greeting() for _ in range(3)], [b"220 ", b"220 ", b"421 "])
        others = [self.greeting(f"192.0.2.{number}") for number in range(10, 13)]
        self.assertEqual(others, [b"220 ", b"220 ", b"421 "])

    def test_its_pages_are_the_supervisors(self) -> None:
        self.assertRaises(
            error.ConnectionRefusedError, self.world.network.connect, self.world.settings.server.http_addr
        )
        told = self.successResultOf(self.world.server.readiness.ask())
        self.assertTrue(told.ready)

    def test_its_nodes_row_says_which_it_is(self) -> None:
        (node,) = self.world.store.nodes.values()
        self.assertEqual((node.stats["process"], node.stats["processes"]), (2, 2))

    def test_while_it_drains_others_get_the_connections(self) -> None:
        self.drain()
        self.assertEqual(self.told, [("draining", True)])
        line = self.world.call()
        self.world.turn()
        self.assertEqual(line.take(), b"", "it waits for another process")
        self.world.server.steering.refuse(True)
        self.world.turn()
        self.assertTrue(line.take().startswith(b"421 4.3.2 "), "there is no other")
        self.world.server.steering.refuse(False)
        self.assertEqual(self.greeting(), b"")
        self.drain(False)
        self.assertEqual(self.greeting("192.0.2.9"), b"220 ")
        self.assertEqual(self.told[1:], [("draining", False)])

    def test_a_reload_is_the_supervisors_to_do(self) -> None:
        for name in ("mx.test", "other.test"):
            self.world.wakeups.notify(CHANNEL, f"reload 0123456789abcdef {name}")
        self.assertEqual(self.told, [("reload", "0123456789abcdef")])
        self.world.server.steering.refused("0123456789abcdef", "config.yaml:1: bad\x1b[31m")
        self.world.turn()
        (node,) = self.world.store.nodes.values()
        self.assertEqual(node.stats["refused"], "0123456789abcdef config.yaml:1: bad\\x1b[31m")
