"""Child processes: started, heard, started again when they die, stopped in order."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

FIRST_BACKOFF: Final = timedelta(seconds=1)
LONGEST_BACKOFF: Final = timedelta(seconds=30)
HEALTHY_AFTER: Final = timedelta(minutes=1)
WRONG_USE: Final = 2
"""The exit code of a child that nothing but other settings can help."""

_LOG_BYTES: Final = 10 * 1024 * 1024
_OLD_LOGS: Final = 2
_QUIET_LEVELS: Final = frozenset({"debug", "info"})
_LAST_LINES: Final = 15
_LAST_WORDS_WITHIN: Final = 5.0
_LONGEST_LINE: Final = 1024 * 1024


def backoff_after(deaths: int) -> timedelta:
    """How long to wait before a child that died ``deaths`` times in a row is started again."""
    return min(FIRST_BACKOFF * (1 << min(deaths - 1, 10)), LONGEST_BACKOFF)


class ChildLine(msgspec.Struct):
    """A line of a child's log that people should see."""

    level: str
    text: str


class _Levelled(msgspec.Struct):
    level: str = "info"


_level_of = msgspec.json.Decoder(_Levelled).decode
_fields_of = msgspec.json.Decoder(dict[str, Any]).decode
_NOT_TOLD: Final = frozenset({"event", "level", "timestamp", "logger", "traceback"})


def telling(line: bytes) -> ChildLine | None:
    """What a line says to people: warnings, errors, and what is no log record (a handler's ``print``, a traceback)."""
    try:
        level = _level_of(line).level
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = line.decode(errors="replace").rstrip()
        return ChildLine("output", text) if text else None
    if level in _QUIET_LEVELS:
        return None
    fields = _fields_of(line)
    facts = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _NOT_TOLD)
    return ChildLine(level, f"{fields.get('event', '')}  {facts}".rstrip())


class BoundedLog:
    """A log file of at most some 10 MB, with two older ones beside it."""

    def __init__(self, path: Path, limit: int = _LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._limit = limit
        self._file = path.open("ab")

    def write(self, lines: bytes) -> None:
        """Append whole lines."""
        if self._file.tell() + len(lines) > self._limit and self._file.tell():
            self._file.close()
            for number in range(_OLD_LOGS, 0, -1):
                older = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
                if older.exists():
                    older.rename(self.path.with_name(f"{self.path.name}.{number}"))
            self._file = self.path.open("ab")
        self._file.write(lines)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(kw_only=True)
class ChildEvents:
    """Who hears what of a child."""

    said: Callable[[str, ChildLine], None]
    """Name, line."""
    died: Callable[[str, int, timedelta, list[str]], None]
    """Name, exit code (negative: the signal), wait before the next start, last lines."""


class Child:
    """One supervised process. It leads a process group of its own, so that a Ctrl-C in the terminal reaches only us.

    Its standard input is a pipe that we hold open, so that it learns of our death (``laneway.parent``).

    Args:
        name: what it is called, in what people read too.
        arguments: a module and its arguments.
        environment: all of it.
        log: where everything it writes is kept. ``None`` makes it a part of this very process for whoever looks from
            outside: it writes where we write, unread, and whatever is sent to our process group reaches it too.
        events: who hears what of it.
        announces: the event in its log by which it says that it is ready.
        keep: open files that it inherits.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: dict[str, str],
        log: Path | None,
        events: ChildEvents,
        announces: str | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        """Set once it announced itself, or by whoever found it ready."""
        self._announces = announces
        self._loop = asyncio.get_running_loop()
        self.unstartable: asyncio.Future[str] = self._loop.create_future()
        """Resolves with its last words when it ends for wrong use or configuration: then it is not started again."""
        # -P: a folder of the user's called `schemas` or `streams` must not stand in for ours.
        self._command = [sys.executable, "-P", "-m", "laneway.parent", *arguments]
        self._environment = environment
        self._log = BoundedLog(log) if log is not None else None
        self._events = events
        self._keep = keep
        self.last_code = 0
        """Exit code of its latest end; 0 before there was one."""
        self._last = deque[str](maxlen=_LAST_LINES)
        self._stop = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._task = asyncio.create_task(self._supervise(), name=name)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None else None

    def request_stop(self) -> None:
        """Have it stop in order; returns at once."""
        self._stop.set()
        if self._process is not None:
            self._process.terminate()

    async def stop(self, within: timedelta) -> None:
        """Stop it: in order, and by force with everything it started once ``within`` is over."""
        self.request_stop()
        done, _ = await asyncio.wait([self._task], timeout=within.total_seconds())
        if not done:
            self.kill()
            await asyncio.wait([self._task])
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """Kill it and everything it started; returns at once."""
        self._stop.set()
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal while it runs; it is started again when it dies of it."""
        if self._process is None:
            return
        if number == signal.SIGKILL and self._log is not None:
            _kill_group(self._process.pid)
        else:
            self._process.send_signal(number)

    async def _supervise(self) -> None:
        deaths = 0
        while not self._stop.is_set():
            began = self._loop.time()
            code = self.last_code = await self._run_once()
            if self._stop.is_set():
                return
            if code == WRONG_USE:
                self.unstartable.set_result(self._last[-1] if self._last else "no output")
                return
            deaths = 1 if self._loop.time() - began >= HEALTHY_AFTER.total_seconds() else deaths + 1
            wait = backoff_after(deaths)
            self._events.died(self.name, code, wait, list(self._last))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait.total_seconds())

    async def _run_once(self) -> int:
        self._last.clear()
        process = subprocess.Popen(  # noqa: ASYNC220  (a fork takes milliseconds; asyncio's own waits for grandchildren)
            self._command,
            stdin=subprocess.PIPE,
            stdout=None if self._log is None else subprocess.PIPE,
            stderr=None if self._log is None else subprocess.STDOUT,
            env=self._environment,
            pass_fds=self._keep,
            # Not a session: Linux shares the processor out by session first, and by niceness only within one.
            process_group=None if self._log is None else 0,
        )
        ended: asyncio.Future[int] = self._loop.create_future()
        ears = threading.Thread(target=self._listen, args=(process,), name=f"{self.name}-log", daemon=True)
        ears.start()
        threading.Thread(
            target=self._await_end, args=(process, ears, ended), name=f"{self.name}-end", daemon=True
        ).start()
        self._process = process
        try:
            return await ended
        finally:
            self._process = None

    def _await_end(
        self, process: "subprocess.Popen[bytes]", ears: threading.Thread, ended: "asyncio.Future[int]"
    ) -> None:
        # Left unreaped until its group is gone: until then its number cannot belong to anybody else.
        with contextlib.suppress(ChildProcessError):  # whoever signalled it meanwhile has reaped it: Popen looks first
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if self._log is not None:
            _kill_group(process.pid)
        ears.join(_LAST_WORDS_WITHIN)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._loop.call_soon_threadsafe(ended.set_result, code)

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        output, kept = process.stdout, self._log
        if output is None or kept is None:
            return
        marker = self._announces.encode() if self._announces else None
        while line := output.readline(_LONGEST_LINE):
            kept.write(line)
            if marker and marker in line:
                self._loop.call_soon_threadsafe(self.ready.set)
                marker = None
            found = telling(line)
            if found is not None:
                self._loop.call_soon_threadsafe(self._hear, found)

    def _hear(self, line: ChildLine) -> None:
        self._last.append(line.text)
        # Until it is ready, a warning says that it tries again: the file has it, and so has the word of its death.
        if self.ready.is_set() or line.level != "warning":
            self._events.said(self.name, line)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
