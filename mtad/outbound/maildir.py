"""Maildirs on disk: where a mailbox's is, what a file in it is called, and a batch of files written for good.

`write` does all the waiting for disks and nothing else; it is a plain function over plain values, so that it may run in
a thread or in a process of its own. The rule it keeps: a file it calls written has its octets and its directory
entries on disk. A file it calls unwritten may yet be in new/, when only the last sync failed; the next attempt finds it
there, because a name is made of what never changes of a message.

Lines end in LF, as qmail, Postfix and Exim write them and every reader takes them; on the wire they end in CRLF.
"""

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mtad.model.content import Content, blocks
from mtad.model.errors import Unavailable
from mtad.model.identity import print_id

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789+_-")
_PLAIN_OF_HOST = _PLAIN | frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ.")
_TMP, _NEW, _CUR = "tmp", "new", "cur"
STALE_SECONDS = 36 * 3600.0
PIECE_OCTETS = 256 * 1024
"""How much of a spooled content is in memory."""


@dataclass(frozen=True, slots=True)
class File:
    """One file to write below `root`, which must exist: the operator made it, or a disk is missing.

    `mailbox` is the Maildir's path below `root`, `name` the file's; `head` goes on top of `content`, both with the line
    ends of the wire. `claim` tells attempts apart in tmp/; `again` when an earlier one may have succeeded; `first` when
    the Maildir's own directories may be missing, or not on disk yet.
    """

    root: str
    mailbox: str
    name: str
    head: bytes
    content: Content
    claim: int
    again: bool
    first: bool

    @property
    def maildir(self) -> str:
        """The Maildir's path."""
        return f"{self.root}/{self.mailbox}"


@dataclass(frozen=True, slots=True)
class Written:
    """How it went with one file: `code` is an errno and `detail` its words, 0 when the file is there for good.

    `before` when an earlier attempt had put it there.
    """

    code: int = 0
    detail: str = ""
    before: bool = False


def mailbox_path(local_part: str, domain: str) -> str:
    """Return a mailbox's path below a root: two names that lead nowhere else, whatever the parts hold.

    Upper case is escaped, so spellings that fold alike stay apart even where a file system folds names; that only one
    of them is a mailbox is the directory's to see to. ValueError when either part is empty.
    """
    if not local_part or not domain:
        raise ValueError("a mailbox has a local part and a domain")
    return f"{_escaped(domain)}/{_escaped(local_part)}"


def file_name(received_at: float, message: int, n: int, hostname: str) -> str:
    """Return the name of the file for recipient `n` of a message, the same for every attempt."""
    # https://cr.yp.to/proto/maildir.html: a slash in the host name becomes \057 and a colon \072.
    host = "".join(chr(octet) if octet in _PLAIN_OF_HOST else f"\\{octet:03o}" for octet in hostname.encode("utf-8"))
    return f"{int(received_at)}.{print_id(message)}_{n}.{host}"


def write(files: Sequence[File]) -> list[Written]:
    """Write files and return how each fared, in their order; what one meets does not touch the others.

    The slow steps follow one another for all files, so that a file system can join them. Never raises OSError.
    """
    drafts = [_Draft(file) for file in files]
    _each(drafts, _Draft.prepare)
    _find_earlier(drafts)
    _each(drafts, _Draft.write)
    _each(drafts, _Draft.sync)
    _each(drafts, _Draft.publish)
    _sync_entries(drafts)
    return [Written(before=draft.before) if draft.error is None else problem(draft.error) for draft in drafts]


def unix_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield octets with LF for each CRLF, whether or not a piece ends within one."""
    held = b""
    for piece in pieces:
        lines = held + piece
        held = b"\r" if lines.endswith(b"\r") else b""
        yield lines[: len(lines) - len(held)].replace(b"\r\n", b"\n")
    if held:
        yield held


def _pieces(file: File) -> Iterator[bytes]:
    """Yield a file's octets: all at once when they are in memory."""
    if isinstance(file.content, bytes):
        yield file.head + file.content
        return
    yield file.head
    try:
        yield from blocks(file.content, PIECE_OCTETS)
    except Unavailable as trouble:
        raise OSError(errno.EIO, trouble.reason) from trouble


def problem(error: OSError) -> Written:
    """Return an error of the system as the result of a file."""
    where = f": {error.filename}" if error.filename else ""
    return Written(error.errno or errno.EIO, f"{error.strerror or type(error).__name__}{where}")


class _Draft:
    """A file on its way from tmp/ into new/; `folder` is where its entry is, `error` what stopped it."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.folder = _NEW
        self.before = False
        self.error: OSError | None = None
        self._fd = -1
        self._in_tmp = False
        self._tmp = f"{file.maildir}/{_TMP}/{file.name}.{file.claim}"

    def entry(self) -> str | None:
        """Return the directory that has the file, None when nothing more can be done for it."""
        return None if self.error else f"{self.file.maildir}/{self.folder}"

    def find(self, folder: str | None) -> None:
        """Take note of the folder an earlier attempt brought the file to."""
        if folder is not None:
            self.before, self.folder = True, folder

    def prepare(self) -> None:
        """Have a Maildir to write to."""
        if self.file.first:
            _make_maildir(self.file)

    def write(self) -> None:
        """Create the file in tmp/ and give its octets to the system."""
        self._fd = self._created()
        self._in_tmp = True
        for piece in unix_lines(_pieces(self.file)):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        # Begins the writing that `sync` will wait for, so that a batch of syncs shares it: half as many again a second.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if self.file.first:
            _remove_stale(f"{self.file.maildir}/{_TMP}", os.fstat(self._fd).st_mtime - STALE_SECONDS)

    def sync(self) -> None:
        """Have its octets on disk."""
        os.fsync(self._fd)
        self._close()

    def publish(self) -> None:
        """Give it its name in new/, unless the name is taken: then an earlier attempt was here."""
        try:
            os.link(self._tmp, f"{self.file.maildir}/{_NEW}/{self.file.name}")
        except FileExistsError:
            self.before = True
        self._remove()

    def stop(self, error: OSError) -> None:
        """Clean up after a step that failed."""
        self.error = error
        if self._fd >= 0:
            with suppress(OSError):
                self._close()
        self._remove()

    def _created(self) -> int:
        try:
            return self._open()
        except FileNotFoundError:
            _make_maildir(self.file)
        except FileExistsError:
            # What an attempt under this claim left behind; nobody else writes under it.
            os.unlink(self._tmp)
        return self._open()

    def _open(self) -> int:
        return os.open(self._tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _remove(self) -> None:
        if self._in_tmp:
            self._in_tmp = False
            with suppress(OSError):
                os.unlink(self._tmp)


def _each(drafts: Sequence[_Draft], step: Callable[[_Draft], None]) -> None:
    """Take the next step with every draft that no earlier step ended."""
    for draft in drafts:
        if draft.error is None and not draft.before:
            try:
                step(draft)
            except OSError as error:
                draft.stop(error)


def _find_earlier(drafts: Sequence[_Draft]) -> None:
    """Mark the drafts whose file an earlier attempt put into new/, from where a reader may have moved it to cur/."""
    for maildir, inside in _by(drafts, lambda draft: draft.file.maildir if draft.file.again else None).items():
        try:
            folders = _folders_of({_delivery_of(draft.file.name) for draft in inside}, maildir)
        except OSError as error:
            for draft in inside:
                draft.stop(error)
        else:
            for draft in inside:
                draft.find(folders.get(_delivery_of(draft.file.name)))


def _folders_of(deliveries: Collection[str], maildir: str) -> dict[str, str]:
    """Return in which folder of a Maildir each delivery is that is in one."""
    found: dict[str, str] = {}
    # In this order: a file that a reader moves between the two looks is seen in cur/.
    for folder in (_NEW, _CUR):
        with suppress(FileNotFoundError):
            names = os.listdir(f"{maildir}/{folder}")
            found.update((_delivery_of(name), folder) for name in names if _delivery_of(name) in deliveries)
    return found


def _delivery_of(name: str) -> str:
    """Return message and n of a file name of ours, whatever host and flags it ends in; all of another name."""
    return name.split(".", 2)[1] if "." in name else name


def _make_maildir(file: File) -> None:
    """Have the Maildir's directories, and their entries on disk."""
    domain = os.path.dirname(file.maildir)
    for directory in (domain, file.maildir, *(f"{file.maildir}/{folder}" for folder in (_TMP, _NEW, _CUR))):
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
    for directory in (file.maildir, domain, file.root):
        _sync_directory(directory)


def _remove_stale(directory: str, before: float) -> None:
    """Remove what attempts that never ended left in tmp/, by the file system's own clock. It may fail: it is care."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_mtime < before:
                os.unlink(entry.path)


def _sync_entries(drafts: Sequence[_Draft]) -> None:
    """Have the entries of all files in new/ or cur/ on disk, one sync a directory."""
    for directory, inside in _by(drafts, _Draft.entry).items():
        try:
            _sync_directory(directory)
        except OSError as error:
            for draft in inside:
                draft.stop(error)


def _by(drafts: Sequence[_Draft], key: Callable[[_Draft], str | None]) -> dict[str, list[_Draft]]:
    """Group drafts by a path; those for which it is None are left out."""
    groups: dict[str, list[_Draft]] = {}
    for draft in drafts:
        if (path := key(draft)) is not None:
            groups.setdefault(path, []).append(draft)
    return groups


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _escaped(part: str) -> str:
    octets = part.encode("utf-8", "surrogatepass")
    last = len(octets) - 1
    return "".join(
        chr(octet) if octet in _PLAIN or (octet == 0x2E and 0 < position < last) else f"%{octet:02X}"
        for position, octet in enumerate(octets)
    )
