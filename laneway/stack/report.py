"""What a stack tells while it starts, runs and stops: for people, and for programs."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.status import Status as Spinner

from laneway.stack.children import ChildLine


class Report(Protocol):
    """Hears what happens. Every call belongs to the loop's thread."""

    def ready(self, part: str, text: str, seconds: float, **facts: Any) -> None:
        """A part of the system is ready."""

    def note(self, event: str, text: str, *, trouble: bool = False, **facts: Any) -> None:
        """Something that people should know."""

    def child(self, name: str, line: ChildLine) -> None:
        """A child process wrote a line that people should see."""

    def task(self, text: str, **facts: Any) -> None:
        """A task of the demo went a step further."""

    def live(self, draw: Callable[[], RenderableType]) -> contextlib.AbstractContextManager[bool]:
        """During the body, ``draw`` is shown ever anew; the body is told whether that is so."""

    def waiting(self, text: str) -> contextlib.AbstractContextManager[None]:
        """During the body, this is being waited for."""

    def progress(self, text: str) -> None:
        """The present wait, more exactly."""


class JsonReport:
    """One JSON document on each line of standard output."""

    def ready(self, part: str, text: str, seconds: float, **facts: Any) -> None:
        """Write a ``ready`` event."""
        self._write("ready", part=part, text=text, seconds=round(seconds, 3), **facts)

    def note(self, event: str, text: str, *, trouble: bool = False, **facts: Any) -> None:
        """Write the event."""
        self._write(event, text=text, **facts)

    def child(self, name: str, line: ChildLine) -> None:
        """Write a ``child_said`` event."""
        self._write("child_said", child=name, level=line.level, text=line.text)

    def task(self, text: str, **facts: Any) -> None:
        """Write a ``demo_task`` event."""
        self._write("demo_task", **facts)

    @contextmanager
    def live(self, draw: Callable[[], RenderableType]) -> Iterator[bool]:
        """Programs are told by events."""
        yield False

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Programs need not be told."""
        yield

    def progress(self, text: str) -> None:
        """Programs need not be told."""

    @staticmethod
    def _write(event: str, **facts: Any) -> None:
        sys.stdout.buffer.write(msgspec.json.encode({"event": event, **facts}) + b"\n")
        sys.stdout.buffer.flush()


class ConsoleReport:
    """Lines for people; on a terminal with colours and a spinner."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._spinner: Spinner | None = None
        self._told = ""

    def ready(self, part: str, text: str, seconds: float, **_: Any) -> None:
        """Write it with a tick and how long it took."""
        self.console.print(f"  [green]✓[/] {escape(text)} [dim]({seconds:.1f} s)[/]")

    def note(self, event: str, text: str, *, trouble: bool = False, **_: Any) -> None:
        """Write it."""
        self.console.print(f"  [red]✗[/] {escape(text)}" if trouble else f"  {escape(text)}" if text else "")

    def child(self, name: str, line: ChildLine) -> None:
        """Write it with the child's name before it."""
        style = {"output": "dim", "warning": "yellow"}.get(line.level, "red")
        level = "" if line.level == "output" else f"[{style}]{line.level}[/] "
        self.console.print(f"  [dim]{name} │[/] {level}{escape(line.text)}")

    def task(self, text: str, **_: Any) -> None:
        """Write it, unless the live table shows it."""
        if text:
            self.console.print(f"  {escape(text)}")

    @contextmanager
    def live(self, draw: Callable[[], RenderableType]) -> Iterator[bool]:
        """Show it on a terminal; elsewhere lines tell the same."""
        if not self.console.is_terminal:
            yield False
            return
        with Live(get_renderable=draw, console=self.console, refresh_per_second=12):
            yield True

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show a spinner on a terminal."""
        with self.console.status(f"{escape(text)} …") as self._spinner:
            try:
                yield
            finally:
                self._spinner = None

    def progress(self, text: str) -> None:
        """Put it beside the spinner; without a terminal, each wording is written once."""
        what = text.partition(":")[0]
        if self._spinner is not None and self.console.is_terminal:
            self._spinner.update(f"{escape(text)} …")
        elif what != self._told:
            self._told = what
            self.console.print(f"  {escape(what)} …")
