"""How a command gets to its settings and to PostgreSQL, whether the server runs or not.

Embedded stores are started when nobody uses them and let go at the end (DESIGN D5); the schema is treated as at the
start of the server. Redis is not needed here, the name servers only where a command looks at the DNS. A command runs
the reactor once, and only where it has to wait for somebody.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from tempfile import gettempdir
from typing import TypeVar

import click
from twisted.internet import task

from mtad.adapters.postgres import embedded
from mtad.adapters.postgres.migrate import check, migrate
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.session import IReactor, Parameters, StatementError, reason
from mtad.adapters.postgres.writer import Writer
from mtad.adapters.spool import DiskSpool
from mtad.config import Settings, load
from mtad.model.errors import MtadError, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stores:
    """What a command writes with: the queue as the server has it, and a pool."""

    reactor: IReactor
    pool: Pool
    queue: PostgresQueue


@dataclass(frozen=True, slots=True)
class Access:
    """What the options before the command say."""

    config: Path

    def settings(self) -> Settings:
        """Return the settings of the file and the environment."""
        return load(self.config, os.environ)

    def migrate(self) -> list[int]:
        """Bring the schema up to date, whatever the settings say about it; return what was applied."""
        with _database(self.settings()) as parameters:
            return migrate(parameters)

    def ask(self, work: Callable[[Pool], Awaitable[T]]) -> T:
        """Return what `work` finds out with a connection to a database whose schema is this code's."""

        async def alone(reactor: IReactor, parameters: Parameters, pool: Pool) -> T:
            return await work(pool)

        return self._do(alone)

    def watch(self, work: Callable[[IReactor, Pool], Awaitable[T]]) -> T:
        """Return what `work` comes to, which takes the reactor: to look again and again, to ask somebody."""

        async def alone(reactor: IReactor, parameters: Parameters, pool: Pool) -> T:
            return await work(reactor, pool)

        return self._do(alone)

    def act(self, work: Callable[[Stores], Awaitable[T]]) -> T:
        """Return what `work` comes to that also writes as the server does."""

        async def writing(reactor: IReactor, parameters: Parameters, pool: Pool) -> T:
            writer = Writer(reactor, parameters, SystemRandom(), connections=1, name="mtactl")
            spool = DiskSpool(Path(gettempdir()))
            queue = PostgresQueue(writer, pool, spool, keep_content_seconds=self.settings().queue.keep_content)
            stores = Stores(reactor, pool, queue)
            try:
                await writer.start()
                return await work(stores)
            finally:
                await writer.stop()

        return self._do(writing)

    def _do(self, work: Callable[[IReactor, Parameters, Pool], Awaitable[T]]) -> T:
        settings = self.settings()
        with _database(settings) as parameters:
            if settings.database is None or settings.database.migrate == "at_start":
                migrate(parameters)
            else:
                check(parameters)
            return _waited(parameters, work)


@contextmanager
def _database(settings: Settings) -> Iterator[Parameters]:
    """Lend the parameters of a connection to a database that runs."""
    if settings.database is not None:
        yield settings.database.parameters()
        return
    stores = embedded.start(settings.server.state_dir, lambda line: click.echo(line, err=True), redis=False)
    try:
        yield stores.database
    finally:
        stores.close()


def _waited(parameters: Parameters, work: Callable[[IReactor, Parameters, Pool], Awaitable[T]]) -> T:
    """Run the reactor until `work` is done; Abort when a signal stops it first, or somebody says no."""
    results: list[T] = []
    errors: list[MtadError | click.Abort] = []

    async def main(reactor: IReactor) -> None:
        pool = Pool(reactor, parameters, 1, name="mtactl")
        try:
            await pool.start()
            results.append(await work(reactor, parameters, pool))
        except (MtadError, click.Abort) as error:
            errors.append(error)
        except StatementError as error:
            errors.append(Unavailable("postgres", reason(error)))
        finally:
            await pool.stop()

    try:
        task.react(main)
    except SystemExit as end:
        if end.code:
            raise
    for error in errors:
        raise error
    if not results:
        raise click.Abort
    return results[0]
