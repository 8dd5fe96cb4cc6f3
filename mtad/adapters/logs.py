"""The log: one line an event on standard output, as JSON for machines or as text for people.

Whatever a peer said stays inside its field: everything is escaped and bounded, no event makes a second line that looks
like an event, and a line is never longer than PIPE_BUF, so that lines of processes that share a pipe never mix.

Writing is synchronous, for a line that waits in memory is lost with the process; what reads the log must keep up.
A reader that stops reading holds the reactor for at most a second at once and a tenth of the time; after that lines
are lost, and the next one that gets through is preceded by their number. Counting events is `mtad.adapters.metrics`.
"""

import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec
from twisted.logger import ILogObserver, LogEvent, formatEvent
from zope.interface import implementer

from mtad.model.journal import Level
from mtad.model.text import shown

LINE_OCTETS = select.PIPE_BUF
"""The most a line has with its end; POSIX promises that writes up to this size are not mixed."""

Record = dict[str, Any]
"""What a line says, in the order it says it; `time` in epoch seconds."""

_MESSAGE_CHARACTERS = 1000
_VALUE_CHARACTERS = 400
_NAME_CHARACTERS = 60
_TRACEBACK_CHARACTERS = 2000
_LIST_ITEMS = 20
_INTEGERS = range(-(2**63), 2**63)
_LATEST = 253402300800.0  # the year 10 000, which RFC 3339 cannot write
_CACHED_NAMES = 1000
_RANKS = {level.value: rank for rank, level in enumerate(Level)}
_OWN_FIELDS = frozenset({"time", "level", "logger", "event", "message", "traceback", "cut"})
_PATIENCE_SECONDS = 1.0
_PATIENCE_SHARE = 0.1
# What Twisted says of each port and factory, at level info.
_NOISE = ("Starting factory ", "Stopping factory ", "Starting protocol ", "Stopping protocol ")
_LEGACY_NOISE = (*_NOISE, "(TCP Port ", "(UDP Port ", "(UNIX Port ", "(Port ")
_LEGACY_FIELDS = frozenset({"format", "isError", "logLevel", "message", "system", "time", "why"})

_encode = msgspec.json.Encoder().encode


class Patience:
    """How long may be waited: a second at once, and over time a tenth of it. Times are seconds of one clock."""

    def __init__(self, now: float) -> None:
        self._left_seconds = _PATIENCE_SECONDS
        self._counted_at = now

    def left(self, now: float) -> float:
        """Return how many seconds may be waited now."""
        earned = max(0.0, now - self._counted_at) * _PATIENCE_SHARE
        return min(_PATIENCE_SECONDS, self._left_seconds + earned)

    def spend(self, began: float, ended: float) -> None:
        """Note that somebody waited."""
        self._left_seconds = max(0.0, self.left(began) - (ended - began))
        self._counted_at = ended


class LineWriter:
    """Writes whole lines to a descriptor, and loses those that it does not take in time."""

    def __init__(
        self,
        descriptor: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        patience: Patience | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._monotonic = monotonic
        self._patience = patience or Patience(monotonic())

    def write(self, line: bytes) -> bool:
        """Return whether the line, at most LINE_OCTETS, was written; it never is in part."""
        try:
            # A pipe that is ready takes PIPE_BUF octets without blocking.
            return (self._ready(0) or self._ready_in_time()) and os.write(self._descriptor, line) == len(line)
        except OSError:
            return False

    def _ready_in_time(self) -> bool:
        began = self._monotonic()
        ready = self._ready(self._patience.left(began))
        self._patience.spend(began, self._monotonic())
        return ready

    def _ready(self, seconds: float) -> bool:
        # One of its own for each question: a signal handler that logs may ask while another waits.
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return any(events & select.POLLOUT for _, events in poll.poll(seconds * 1000))


def without_waiting(descriptor: int) -> int:
    """Return a descriptor for the same pipe that never waits; the same one for what is no pipe, or not to be opened.

    Between the question whether there is room and the write another process may take it. The descriptor itself must
    not be changed, for it is shared with whoever else writes there.
    """
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        pass  # another user's, or no /proc
    return descriptor


@implementer(ILogObserver)
class LogObserver:
    """Writes events to `write`, which takes a line and says whether it went through. Never raises.

    `render` makes the line: `as_json` or `as_text`. `levels` gives loggers levels of their own: `mtad.smtp` is that
    of all loggers and events below this name. An event of the journal, `smtp.accepted`, is looked up as
    `mtad.smtp.accepted`. Each line has the fields of `always`; a fact of the same name gives way.
    """

    def __init__(
        self,
        *,
        write: Callable[[bytes], bool],
        render: Callable[[Record], bytes],
        level: Level,
        levels: Mapping[str, Level],
        always: Mapping[str, int | str] | None = None,
    ) -> None:
        self._write = write
        self._render = render
        self._rank = _RANKS[level.value]
        self._own_ranks = {name: _RANKS[own.value] for name, own in levels.items()}
        self._known_ranks: dict[str, int] = {}
        self._always = dict(always or {})
        self._lost = 0
        # Events come from threads too, and from signal handlers in the midst of an event.
        self._lock = threading.RLock()

    def __call__(self, event: LogEvent) -> None:
        """Write one event, unless it is below its logger's level."""
        at = _time(event)
        try:
            level = _level(event)
            if _RANKS[level] >= self._least_rank(event):
                self._put(self._render(_record(event, at, level, self._always)), at)
        except Exception as error:
            self._complain(at, f"an event could not be logged: {type(error).__name__}")

    def _least_rank(self, event: LogEvent) -> int:
        name = str(event.get("log_namespace"))
        if "mtad_event" in event:
            name = f"{name}.{event['mtad_event']}"
        rank = self._known_ranks.get(name)
        if rank is None:
            rank = next((self._own_ranks[above] for above in _upwards(name) if above in self._own_ranks), self._rank)
            if len(self._known_ranks) < _CACHED_NAMES:
                self._known_ranks[name] = rank
        return rank

    def _put(self, line: bytes, at: float) -> None:
        with self._lock:
            if self._lost and self._write(self._own(at, f"{self._lost} lines of the log were lost")):
                self._lost = 0
            if self._lost or not self._write(line):
                self._lost += 1

    def _complain(self, at: float, what: str) -> None:
        # There is no other place to say that this did not work.
        with suppress(Exception):
            self._put(self._own(at, what), at)

    def _own(self, at: float, message: str) -> bytes:
        head = {"time": at, "level": Level.WARN.value, "logger": __name__}
        return self._render({**head, **self._always, "message": message})


def as_json(record: Record) -> bytes:
    """Return a record as one JSON object on a line; fields that no longer fit are left out, and `cut` says so."""
    line = _encode({**record, "time": _utc(record["time"])})
    if len(line) < LINE_OCTETS:
        return line + b"\n"
    kept: Record = {"cut": True}
    room = LINE_OCTETS - 100
    for name, value in record.items():
        room -= len(_encode(name)) + len(_encode(value)) + 2
        if room >= 0:
            kept[name] = value
    return _encode({**kept, "time": _utc(record["time"])}) + b"\n"


def as_text(record: Record) -> bytes:
    """Return a record as `12:01:02 info smtp.accepted id=… size=…`, local time; a traceback follows, indented."""
    fields = "".join(f" {name}={_plain(value)}" for name, value in record.items() if name not in _OWN_FIELDS)
    what = record.get("event") or f"{record['logger']}: {record['message']}"
    below = "".join(f"\n    {line}" for line in record.get("traceback", "").split("\n") if line)
    line = f"{_local(int(record['time']))} {record['level']} {what}{fields}{below}".encode()
    if len(line) >= LINE_OCTETS:
        line = line[: LINE_OCTETS - 4].decode("utf-8", "ignore").encode() + "…".encode()
    return line + b"\n"


def _record(event: LogEvent, at: float, level: str, always: Mapping[str, int | str]) -> Record:
    record: Record = {"time": at, "level": level, "logger": event.get("log_namespace"), **always}
    name = event.get("mtad_event")
    if name is not None and "log_failure" not in event:
        record["event"] = _name(name)
        facts = event["mtad_facts"]
    else:
        record["message"] = _fit(formatEvent(event), _MESSAGE_CHARACTERS)
        facts = {key: value for key, value in event.items() if key[:4] != "log_" and key not in _LEGACY_FIELDS}
    for key, value in facts.items():
        if value is None or isinstance(value, (str, int, float, bytes, list, tuple)):
            taken = key in _OWN_FIELDS or key in always
            record[f"{key}_" if taken else _name(key)] = _value(value)
    failure = event.get("log_failure")
    if failure is not None:
        lines = failure.getTraceback()[-_TRACEBACK_CHARACTERS:].split("\n")
        record["traceback"] = "\n".join(_fit(line, _VALUE_CHARACTERS) for line in lines)
    return record


@lru_cache(maxsize=_CACHED_NAMES)  # those of events and their facts come again and again
def _name(name: str) -> str:
    return _fit(name, _NAME_CHARACTERS)


def _value(value: Any) -> Any:
    if isinstance(value, (str, bytes)):
        return _fit(value, _VALUE_CHARACTERS)
    if isinstance(value, (list, tuple)):
        return [_value(item) if isinstance(item, (str, bytes, int, float)) else None for item in value[:_LIST_ITEMS]]
    if isinstance(value, int) and value not in _INTEGERS:
        return _fit(str(value), _VALUE_CHARACTERS)
    return value


def _fit(text: str | bytes, characters: int) -> str:
    if isinstance(text, str) and len(text) <= characters and text.isascii() and text.isprintable():
        return text
    return shown(text, characters)


def _plain(value: Any) -> str:
    """Return a value for people; one that could be taken for the next field is quoted."""
    if isinstance(value, str) and value and not any(letter in value for letter in ' ="\\'):
        return value
    return _encode(value).decode()


def _time(event: LogEvent) -> float:
    """Return when an event happened, 0.0 when it does not say so."""
    at = event.get("log_time")
    return at if isinstance(at, float) and 0 <= at < _LATEST else 0.0


def _level(event: LogEvent) -> str:
    level: str = getattr(event.get("log_level"), "name", Level.INFO.value)
    return Level.DEBUG.value if level == Level.INFO.value and _is_noise(event) else level


def _is_noise(event: LogEvent) -> bool:
    if event.get("log_namespace") == "log_legacy":
        text = str(event.get("log_text"))
        return text.startswith(_LEGACY_NOISE) or " starting on " in text
    return str(event.get("log_format")).startswith(_NOISE)


def _upwards(name: str) -> Iterator[str]:
    """Yield a dotted name and all above it."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _utc(at: float) -> str:
    """Return a time as RFC 3339 has it, in UTC, with milliseconds."""
    return f"{_utc_second(int(at))}.{int(at * 1000) % 1000:03d}Z"


@lru_cache(maxsize=4)
def _utc_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=4)
def _local(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))
