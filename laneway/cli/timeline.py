from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from laneway.cli.api import client_of
from laneway.cli.failures import DONE, FAILED
from laneway.cli.options import api_option, json_option
from laneway.cli.output import console, show_json, state_text, time_text

if TYPE_CHECKING:
    from schemas.outcome import Event


@click.command()
@click.argument("task_id", metavar="ID")
@click.option(
    "--follow", is_flag=True, help="Go on until the task is final; exit code 1 unless it succeeded. Survives the API."
)
@api_option()
@json_option("Print event records, one on each line.")
def timeline(task_id: str, follow: bool, api: str | None, as_json: bool) -> int:
    """Print what happened to the task ID: every transition and progress report, oldest first."""
    with client_of(api) as client:
        if follow:
            return DONE if _show(client.stream(task_id), as_json) == "succeeded" else FAILED
        found = client.timeline(task_id)
    _show(found.events, as_json)
    if not found.complete and not as_json:
        console().print("[dim]some events are left out: the task lived long in a busy partition[/]")
    return DONE


def _show(events: "Iterable[Event]", as_json: bool) -> str | None:
    """Write events as they come; answers the last state."""
    last: str | None = None
    for event in events:
        last = event.state
        if as_json:
            show_json(event)
        else:
            console().print(_line(event), soft_wrap=True)
    return last


def _line(event: "Event") -> str:
    from rich.markup import escape

    parts = [f"[dim]{time_text(event.at)}[/]", state_text(event.state)]
    if event.generation > 1:
        parts.append(f"generation {event.generation}")
    if event.attempt:
        parts.append(f"attempt {event.attempt}")
    if event.progress is not None and not event.state.final:
        parts.append(f"{event.progress.percent:g} % {escape(event.progress.message or '')}".rstrip())
    if event.not_before is not None and not event.state.final:
        parts.append(f"until {time_text(event.not_before)}")
    if event.error is not None:
        parts.append(escape(f"{event.error.type}: {event.error.message}"))
    if event.worker is not None:
        parts.append(f"[dim]{escape(event.worker)}[/]")
    return "  ".join(parts)
