from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from schemas.status import Status

STYLES = {
    "queued": "cyan",
    "scheduled": "blue",
    "running": "yellow",
    "retrying": "magenta",
    "succeeded": "green",
    "dead_lettered": "red",
    "cancelled": "bright_black",
    "expired": "bright_black",
}


def show_json(value: Any) -> None:
    """Write one JSON document in one line."""
    import msgspec

    click.echo(msgspec.json.encode(value))


def console() -> "Console":
    """Where people read: colours and width as the terminal has them, plain where there is none."""
    from rich.console import Console

    found = Console(highlight=False)
    # Where nobody looks, nothing need fit a window: lines stay whole for grep and logs.
    return found if found.is_terminal else Console(highlight=False, width=500)


def state_text(state: str) -> str:
    """A state in its colour, as rich's markup."""
    return f"[{STYLES.get(state, 'white')}]{state}[/]"


def time_text(at: datetime | None) -> str:
    """A time as people read it, in their own time zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def brief(json_text: bytes, limit: int = 200) -> str:
    """JSON cut to what fits a line."""
    text = json_text.decode()
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def show_status(status: "Status") -> None:
    """Write a status for people: what it is, where it stands, how it ended."""
    from rich.markup import escape

    out = console()
    out.print(f"{state_text(status.state)}  {status.type}.{status.priority}  [dim]{status.id}[/]")
    rows: list[tuple[str, str]] = [("created", time_text(status.created_at))]
    if status.attempt:
        rows.append(("attempt", f"{status.attempt} of {status.max_attempts}"))
    if status.not_before and not status.state.final:
        rows.append(("not before", time_text(status.not_before)))
    if status.started_at and status.finished_at:
        took = (status.finished_at - status.started_at).total_seconds()
        rows.append(("finished", f"{time_text(status.finished_at)} (ran {took:.3f} s)"))
    if status.progress and not status.state.final:
        rows.append(("progress", f"{status.progress.percent:g} % {status.progress.message or ''}".rstrip()))
    rows += [("label", f"{name}={value}") for name, value in status.labels.items()]
    if status.error:
        rows.append(("error", f"{status.error.type}: {status.error.message}"))
    for name, value in rows:
        out.print(f"  [dim]{name:<10}[/]  {escape(value)}")
    if status.state == "succeeded":
        out.print("  [dim]result[/]")
        out.print_json(bytes(status.result).decode(), indent=2)
