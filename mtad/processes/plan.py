"""What a supervisor read of its configuration, and what it gives of it to a process.

A process is given the octets of the file, as they were when the supervisor took them for good, and not its path alone:
a file that is being edited is nobody's configuration before the next reload, also for a process that is started again.
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mtad.config import Settings, load, octets_of


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration that is good: the file's absolute path and octets, what they say, how many processes."""

    config: Path
    octets: bytes
    settings: Settings
    count: int

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where processes listen."""
        server = self.settings.server
        implicit_tls = (server.submissions_addr,) if self.settings.tls.active else ()
        return server.smtp_addr, server.submission_addr, *implicit_tls


def read_plan(config: Path, environ: Mapping[str, str], machine_name: Callable[[], str] = socket.getfqdn) -> Plan:
    """Return what the file says now; InvalidInput as `mtad.config.load`."""
    octets = octets_of(config)
    settings = load(config, environ, machine_name, octets=octets)
    return Plan(config.absolute(), octets, settings, how_many(settings))


def how_many(settings: Settings) -> int:
    """Return how many processes are wanted: with `auto` one for each CPU this one may use."""
    processes = settings.server.processes
    if processes is None:
        return 1
    return int(processes) or len(os.sched_getaffinity(0))


class Orders(msgspec.Struct, frozen=True):
    """What a process is told first: which one it is, its configuration, and the descriptors of each address.

    `hostname` is what the supervisor calls the machine, which may have taken the DNS.
    """

    number: int
    count: int
    config: str
    octets: bytes
    hostname: str
    sockets: dict[str, list[int]]
