import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mtad.adapters.logs import LINE_OCTETS, LineWriter, LogObserver, Patience, Record, as_json, as_text, without_waiting
from mtad.model.journal import Level

AT = 1_769_860_862.345


class LogsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[bytes] = []
        self.taken = True

    def write(self, line: bytes) -> bool:
        if self.taken:
            self.lines.append(line)
        return self.taken

    def observer(
        self, render: Callable[[Record], bytes] = as_json, level: Level = Level.INFO, **levels: Level
    ) -> LogObserver:
        names = {name.replace("_", "."): own for name, own in levels.items()}
        return LogObserver(write=self.write, render=render, level=level, levels=names)

    def journal(self, observer: LogObserver, event: str = "smtp.accepted", /, **facts: object) -> None:
        observer(
            {
                "log_time": AT,
                "log_level": LogLevel.info,
                "log_namespace": "mtad",
                "log_format": "{mtad_event} {mtad_facts}",
                "mtad_event": event,
                "mtad_facts": facts,
            }
        )

    def record(self) -> dict[str, Any]:
        """Return the one line written, which is then forgotten."""
        (line,) = self.lines
        self.lines.clear()
        self.assertTrue(line.endswith(b"\n"))
        self.assertEqual(line.count(b"\n"), 1)
        self.assertLessEqual(len(line), LINE_OCTETS)
        found = json.loads(line)
        assert isinstance(found, dict)
        return found


class JsonTest(LogsTest):
    def test_interface(self) -> None:
        verifyObject(ILogObserver, self.observer())

    def test_event_of_the_journal(self) -> None:
        self.journal(self.observer(), id="0A", size=4096, tls=None, early=False, seconds=0.5, recipients=["a", "b"])
        self.assertEqual(
            self.lines,
            [
                b'{"time":"2026-01-31T12:01:02.345Z","level":"info","logger":"mtad","event":"smtp.accepted","id":"0A",'
                b'"size":4096,"tls":null,"early":false,"seconds":0.5,"recipients":["a","b"]}\n'
            ],
        )

    def test_message_with_fields(self) -> None:
        Logger(namespace="mtad.x", observer=self.observer()).warn(
            "{what} is {state}", what="disk", state="full", it=self
        )
        found = self.record()
        self.assertRegex(found.pop("time"), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.assertEqual(
            found, {"level": "warn", "logger": "mtad.x", "message": "disk is full", "what": "disk", "state": "full"}
        )

    def test_failure_has_its_traceback(self) -> None:
        log = Logger(namespace="mtad.x", observer=self.observer())
        try:
            raise KeyError("gone\nforged")
        except KeyError:
            log.failure("while looking")
        found = self.record()
        self.assertEqual((found["level"], found["message"]), ("critical", "while looking"))
        self.assertIn("raise KeyError", found["traceback"])
        self.assertIn("test_logs.py", found["traceback"])

    def test_deep_traceback_keeps_its_end(self) -> None:
        def deep(levels: int) -> None:
            if levels:
                deep(levels - 1)
            raise KeyError("at the end")

        try:
            deep(200)
        except KeyError:
            Logger(observer=self.observer()).failure("deep")
        self.assertIn("at the end", self.record()["traceback"])

    def test_facts_cannot_replace_what_the_line_is(self) -> None:
        self.journal(self.observer(), time="never", level="critical", event="other", logger="root", message="m")
        found = self.record()
        self.assertEqual((found["level"], found["event"], found["logger"]), ("info", "smtp.accepted", "mtad"))
        self.assertEqual((found["level_"], found["time_"], found["message_"]), ("critical", "never", "m"))

    def test_words_of_a_peer_stay_in_their_field(self) -> None:
        said = 'x\r\n{"level":"critical"}\x1b[31m\u202e\ud800\x00'
        self.journal(self.observer(), reply=said, raw=b"\xff\n\x00")
        self.assertEqual(self.record()["reply"], r'x\x0d\x0a{"level":"critical"}\x1b[31m\u202e\ud800\x00')

    def test_everything_is_bounded(self) -> None:
        observer = self.observer()
        self.journal(observer, peer="x" * 10_000, many=["y" * 1000] * 1000, big=2**5000)
        found = self.record()
        self.assertEqual(len(found["peer"]), 400)
        self.journal(observer, **{f"fact{n}": "\u202e" * 1000 for n in range(200)})
        found = self.record()
        self.assertTrue(found["cut"])
        self.assertEqual(found["event"], "smtp.accepted")
        self.assertIn("fact0", found)

    def test_event_that_cannot_be_formatted(self) -> None:
        class Broken:
            def __repr__(self) -> str:
                raise RuntimeError("no")

        Logger(observer=self.observer()).info("{it}", it=Broken())
        self.assertIn("message", self.record())

    def test_event_that_makes_no_sense_is_said_and_never_raises(self) -> None:
        observer = self.observer()
        for event in ({}, {"log_time": "noon"}, {"log_time": 1e300}, {"mtad_event": "x", "mtad_facts": 5}):
            observer({"log_level": LogLevel.info, **event})
            self.record()

    @settings(max_examples=200, deadline=None)
    @given(
        st.dictionaries(
            st.text(),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3000) | st.binary(max_size=3000),
        ),
        st.text(max_size=3000),
    )
    def test_any_event_is_one_object_on_one_line(self, facts: dict[str, Any], message: str) -> None:
        self.setUp()
        observer = self.observer()
        observer({"log_time": AT, "mtad_event": message, "mtad_facts": facts})
        self.assertIn("event", self.record())
        observer({"log_time": AT, "log_format": "{text}", "text": message})
        self.assertIn("message", self.record())


class AlwaysTest(LogsTest):
    def test_each_line_says_which_process_it_is_from(self) -> None:
        for render in (as_json, as_text):
            observer = LogObserver(write=self.write, render=render, level=Level.INFO, levels={}, always={"process": 2})
            self.journal(observer, size=5, process="a fact of that name")
            line = self.lines.pop().decode()
            if render is as_json:
                found = json.loads(line)
                self.assertEqual(list(found)[:4], ["time", "level", "logger", "process"])
                self.assertEqual((found["process"], found["process_"]), (2, "a fact of that name"))
            else:
                self.assertIn(' process=2 size=5 process_="a fact of that name"', line)

    def test_also_what_it_says_of_itself(self) -> None:
        observer = LogObserver(write=self.write, render=as_json, level=Level.INFO, levels={}, always={"process": 0})
        self.taken = False
        self.journal(observer)
        self.taken = True
        self.journal(observer)
        lost, event = map(json.loads, self.lines)
        self.assertEqual((lost["message"], lost["process"]), ("1 lines of the log were lost", 0))
        self.assertEqual(event["process"], 0)


class TextTest(LogsTest):
    def test_event_of_the_journal(self) -> None:
        self.journal(self.observer(as_text), id="0A", reply="a b=c", empty="", size=5, quote='"', tls=None)
        local = time.strftime("%H:%M:%S", time.localtime(AT))
        expected = f'{local} info smtp.accepted id=0A reply="a b=c" empty="" size=5 quote="\\"" tls=null\n'
        self.assertEqual(b"".join(self.lines).decode(), expected)

    def test_message(self) -> None:
        observer = self.observer(as_text)
        observer({"log_time": AT, "log_level": LogLevel.error, "log_namespace": "mtad.x", "log_format": "no\nluck"})
        self.assertRegex(self.lines[0], rb"\A\d\d:\d\d:\d\d error mtad\.x: no\\x0aluck\n\Z")

    def test_lines_of_a_traceback_are_indented(self) -> None:
        try:
            raise KeyError("x\n12:00:00 info forged")
        except KeyError:
            Logger(observer=self.observer(as_text)).failure("oh")
        first, *others = self.lines[0].decode().splitlines()
        self.assertIn(" critical ", first)
        self.assertTrue(others)
        for line in others:
            self.assertTrue(line.startswith("    "), line)

    def test_bounded(self) -> None:
        self.journal(self.observer(as_text), **{f"fact{n}": "ä" * 1000 for n in range(20)})
        self.assertLessEqual(len(self.lines[0]), LINE_OCTETS)
        self.assertTrue(self.lines[0].decode().endswith("…\n"))


class LevelsTest(LogsTest):
    def logged(self, observer: LogObserver, name: str, level: str) -> bool:
        self.lines.clear()
        Logger(namespace=name, observer=observer).emit(LogLevel.levelWithName(level), "x")
        return bool(self.lines)

    def test_level(self) -> None:
        for least in Level:
            observer = self.observer(level=least)
            written = [level for level in Level if self.logged(observer, "mtad.x", level.value)]
            self.assertEqual(written, list(Level)[list(Level).index(least) :])

    def test_own_levels_are_for_all_below_and_the_longest_name_wins(self) -> None:
        observer = self.observer(mtad=Level.ERROR, mtad_smtp=Level.DEBUG)
        self.assertTrue(self.logged(observer, "mtad.smtp", "debug"))
        self.assertTrue(self.logged(observer, "mtad.smtp.server", "debug"))
        self.assertFalse(self.logged(observer, "mtad.smtpd", "warn"))
        self.assertFalse(self.logged(observer, "mtad", "warn"))
        self.assertTrue(self.logged(observer, "mtad", "error"))
        self.assertTrue(self.logged(observer, "twisted", "info"))
        self.assertFalse(self.logged(observer, "twisted", "debug"))

    def test_events_of_the_journal_are_below_its_name(self) -> None:
        observer = self.observer(mtad_smtp_accepted=Level.WARN)
        self.journal(observer, "smtp.accepted")
        self.assertEqual(self.lines, [])
        self.journal(observer, "smtp.rejected")
        self.assertEqual(self.record()["event"], "smtp.rejected")

    def test_noise_of_twisted_is_debug(self) -> None:
        for level, expected in ((Level.INFO, 0), (Level.DEBUG, 4)):
            self.lines.clear()
            observer = self.observer(level=level)
            Logger(namespace="mtad.inbound.factory", observer=observer).info("Starting factory {factory!r}", factory=1)
            for text in ("Site starting on 9090", "(TCP Port 9090 Closed)", "Starting protocol <x>"):
                observer({"log_namespace": "log_legacy", "log_format": "{log_text}", "log_text": text})
            self.assertEqual(len(self.lines), expected)


class LostTest(LogsTest):
    def test_says_how_many_lines_were_lost(self) -> None:
        observer = self.observer()
        self.taken = False
        for _ in range(3):
            self.journal(observer)
        self.taken = True
        self.journal(observer, id="after")
        notice, line = (json.loads(line) for line in self.lines)
        self.assertEqual((notice["level"], notice["message"]), ("warn", "3 lines of the log were lost"))
        self.assertEqual(line["id"], "after")
        self.lines.clear()
        self.journal(observer)
        self.assertEqual(len(self.lines), 1)


class PatienceTest(SynchronousTestCase):
    def test_a_second_at_once_and_a_tenth_of_the_time(self) -> None:
        patience = Patience(100.0)
        self.assertEqual(patience.left(100.0), 1.0)
        patience.spend(100.0, 100.4)
        self.assertAlmostEqual(patience.left(100.4), 0.6)
        patience.spend(100.4, 101.5)
        self.assertEqual(patience.left(101.5), 0.0)
        self.assertAlmostEqual(patience.left(103.5), 0.2)
        self.assertEqual(patience.left(3600.0), 1.0)


class LineWriterTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.writing)

    def fill(self) -> None:
        os.set_blocking(self.writing, False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(self.writing, b"x" * 4096)
        os.set_blocking(self.writing, True)

    def test_writes(self) -> None:
        self.addCleanup(os.close, self.reading)
        self.assertTrue(LineWriter(self.writing).write(b"line\n"))
        self.assertEqual(os.read(self.reading, 100), b"line\n")

    def test_full_pipe_loses_the_line(self) -> None:
        self.addCleanup(os.close, self.reading)
        self.fill()
        patience = Patience(0.0)
        patience.spend(0.0, 1.0)
        writer = LineWriter(self.writing, monotonic=lambda: 1.0, patience=patience)
        self.assertFalse(writer.write(b"x\n"))
        os.read(self.reading, 65536)
        self.assertTrue(writer.write(b"x\n"))

    def test_reader_that_comes_back_gets_the_line(self) -> None:
        self.addCleanup(os.close, self.reading)
        self.fill()
        reader = threading.Thread(target=os.read, args=(self.reading, 65536))
        reader.start()
        self.addCleanup(reader.join)
        self.assertTrue(LineWriter(self.writing).write(b"x\n"))

    def test_reader_that_went_away_is_no_error(self) -> None:
        os.close(self.reading)
        self.assertFalse(LineWriter(self.writing).write(b"x\n"))

    def test_beside_other_writers_nobody_waits_and_their_end_is_as_it_was(self) -> None:
        self.addCleanup(os.close, self.reading)
        own = without_waiting(self.writing)
        self.addCleanup(os.close, own)
        self.assertNotEqual(own, self.writing)
        self.assertTrue(os.get_blocking(self.writing))
        self.fill()
        self.assertRaises(BlockingIOError, os.write, own, b"x\n")
        os.read(self.reading, 65536)
        os.write(own, b"x\n")

    def test_what_is_no_pipe_is_left_alone(self) -> None:
        with open(self.mktemp(), "wb") as file:
            self.assertEqual(without_waiting(file.fileno()), file.fileno())
        self.assertEqual(without_waiting(-1), -1)

    def test_a_ready_pipe_takes_the_longest_line(self) -> None:
        self.addCleanup(os.close, self.reading)
        self.fill()
        while not select.select([], [self.writing], [], 0)[1]:
            os.read(self.reading, 1)
        # Would hang, were it not so.
        previous = signal.signal(signal.SIGALRM, lambda *_: self.fail("blocked"))
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, 5)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        self.assertEqual(os.write(self.writing, b"x" * LINE_OCTETS), LINE_OCTETS)
