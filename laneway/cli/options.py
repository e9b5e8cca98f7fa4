import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

PRIORITIES = ("high", "normal", "low")
STATES = ("queued", "scheduled", "running", "retrying", "succeeded", "dead_lettered", "cancelled", "expired")

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

PORT = click.IntRange(0, 65535)


def json_option(help: str = "Machine-readable output: one JSON document.") -> Callable[[Decorated], Decorated]:  # noqa: A002  (click's word)
    """Add ``--json``, which the command gets as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def api_option() -> Callable[[Decorated], Decorated]:
    """Add ``--api``."""
    return click.option("--api", metavar="URL", help="Address of the API (default: from api.host and api.port).")


def import_option() -> Callable[[Decorated], Decorated]:
    """Add ``--import``, which the command gets as ``imports``."""
    return click.option(
        "--import",
        "imports",
        metavar="MODULE",
        multiple=True,
        help="Python module with handlers of your own, such as myproject.tasks; give it again for more.",
    )


def data_dir_option() -> Callable[[Decorated], Decorated]:
    """Add ``--data-dir``."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where data stays between runs (default: .laneway).",
    )


def task_options(command: Decorated) -> Decorated:
    """Add what any task can say beside type, payload and when it runs."""
    for option in reversed(_TASK_OPTIONS):
        command = option(command)
    return command


class NameList(click.ParamType):
    """Names joined by commas."""

    name = "a,b"

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self.allowed = allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Split them, and refuse what is not allowed."""
        names = value if isinstance(value, list) else [part.strip() for part in str(value).split(",") if part.strip()]
        unknown = [name for name in names if self.allowed and name not in self.allowed]
        if unknown or not names:
            wanted = ", ".join(self.allowed) or "names joined by commas"
            self.fail(f"saw {', '.join(unknown) or value!r}, want one or more of {wanted}", param, ctx)
        return names


class Label(click.ParamType):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split it."""
        if isinstance(value, tuple):
            return value
        name, equals, wanted = str(value).partition("=")
        if not name or not equals:
            self.fail(f"saw {value!r}, want name=value", param, ctx)
        return name, wanted


class When(click.ParamType):
    """A time: ISO 8601, or an age."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """An aware time; one without a zone is in the local one."""
        if isinstance(value, datetime):
            return value
        age = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if age:
            return datetime.now(UTC) - timedelta(seconds=float(age[1]) * _UNIT_SECONDS[age[2]])
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except ValueError:
            self.fail(f"saw {value!r}, want ISO 8601 such as 2026-01-31T12:00, or an age such as 15m", param, ctx)


class Begin(When):
    """``earliest``, ``latest``, an offset in each partition, or a time."""

    name = "earliest|latest|offset|when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One of the two words stays, a whole number is an offset; anything else is a time."""
        if value in {"earliest", "latest"} or isinstance(value, int):
            return value
        return int(value) if str(value).isdecimal() else super().convert(value, param, ctx)


_TASK_OPTIONS = (
    click.option("--priority", type=click.Choice(PRIORITIES), help="[default: normal]"),
    click.option("--expires-at", type=When(), help="A task that has not started by then expires."),
    click.option("--ordering-key", metavar="KEY", help="Tasks of one key run one at a time, in order."),
    click.option("--max-attempts", type=click.IntRange(1, 100), help="Runs before it is dead-lettered."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Bound of one run."),
    click.option("--label", "labels", type=Label(), multiple=True, help="Pair to find it by; give it again for more."),
    click.option("--callback-url", metavar="URL", help="Gets the outcome by POST."),
)
