"""The spool (ISpool): large contents in files below a directory of our own.

The files have no names: what is left of a process that was killed is nothing. They are written where they come in, on
the reactor, for it is the system's memory that takes them; nobody waits for a disk to have them, because what is
promised to be kept is PostgreSQL's.
"""

import os
import resource
from pathlib import Path
from tempfile import TemporaryFile

from zope.interface import implementer

from mtad.adapters.pages import Pages
from mtad.adapters.spooled import Descriptor, SpooledFile
from mtad.interfaces import IGathering, ISpool
from mtad.model.content import SPOOL_OCTETS, Content
from mtad.model.errors import InvalidInput, Unavailable

MAX_FILES = 1000


def max_files() -> int:
    """Return how many files a spool may have open: a quarter of what this process may, the rest is for connections."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_FILES if allowed == resource.RLIM_INFINITY else min(MAX_FILES, allowed // 4)


@implementer(ISpool)
class DiskSpool:
    """Files below `directory`, which `open` makes: at most `max_files`, for contents of more than `kept_octets`."""

    def __init__(self, directory: Path, max_files: int = MAX_FILES, *, kept_octets: int = SPOOL_OCTETS) -> None:
        self.kept_octets = kept_octets
        self.files_count = 0
        self._directory = directory
        self._max_files = max_files

    def open(self) -> None:
        """Have the directory, which nobody else may look into; raises InvalidInput when it cannot be made."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.new_file()
        except (OSError, Unavailable) as error:
            raise InvalidInput(str(self._directory), f"cannot be used: {error}") from error

    def gather(self) -> IGathering:
        """See ISpool."""
        return DiskGathering(self)

    def room_octets(self) -> int:
        """See ISpool; of a disk that cannot be asked, nothing."""
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def new_file(self) -> Descriptor:
        """Return a new file; Unavailable when there are too many, or none can be made."""
        if self.files_count >= self._max_files:
            raise Unavailable("disk", f"{self.files_count} contents are in the spool")
        try:
            # O_TMPFILE where the file system knows it, else made and unlinked.
            with TemporaryFile(dir=self._directory, buffering=0) as file:
                number = os.dup(file.fileno())
        except OSError as error:
            raise _unwritten(error) from error
        self.files_count += 1
        return Descriptor(number, self._closed)

    def _closed(self) -> None:
        self.files_count -= 1


@implementer(IGathering)
class DiskGathering:
    """One content on its way into a spool."""

    def __init__(self, spool: DiskSpool) -> None:
        self._spool = spool
        self._pages = Pages(spool.kept_octets)
        self._octets = 0
        self._file: Descriptor | None = None

    def in_memory(self) -> int:
        """See IGathering."""
        return len(self._pages)

    def add(self, octets: bytes) -> None:
        """See IGathering."""
        self._octets += len(octets)
        if self._file is not None:
            _write(self._file, octets)
            return
        if self._octets <= self._spool.kept_octets:
            self._keep(octets)
        else:
            self._file = self._spool.new_file()
            _write(self._file, self._pages.take())
            _write(self._file, octets)

    def _keep(self, octets: bytes) -> None:
        try:
            self._pages.add(octets)
        except OSError as error:
            raise Unavailable("memory", f"there are no pages: {error.strerror}") from error

    def drop(self) -> None:
        """See IGathering."""
        self._pages.drop()
        self._octets = 0
        self._file = None

    def content(self) -> Content:
        """See IGathering."""
        file, octets = self._file, self._octets
        content = self._pages.take() if file is None else SpooledFile(file, octets)
        self.drop()
        return content


def _write(file: Descriptor, octets: bytes) -> None:
    rest = memoryview(octets)
    try:
        while rest:
            rest = rest[os.write(file.number, rest) :]
    except OSError as error:
        raise _unwritten(error) from error


def _unwritten(error: OSError) -> Unavailable:
    return Unavailable("disk", f"the spool cannot be written: {error.strerror}")
