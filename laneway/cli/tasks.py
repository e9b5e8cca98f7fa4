import time
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.api import client_of, payload_of
from laneway.cli.failures import DONE, FAILED
from laneway.cli.options import PRIORITIES, STATES, Label, When, api_option, json_option, task_options
from laneway.cli.output import console, show_json, show_status, state_text, time_text

if TYPE_CHECKING:
    from laneway.client import ListOptions, SubmitOptions
    from schemas.status import Status

LOOK_EVERY = 0.2


@click.command()
@click.argument("type_name", metavar="TYPE")
@click.argument("payload", metavar="JSON")
@click.option("--delay", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait before the first run.")
@click.option("--run-at", type=When(), help="Not before this time.")
@task_options
@click.option("--idempotency-key", metavar="KEY", help="The same key with the same body is the same task.")
@click.option("--wait", is_flag=True, help="Wait for the outcome and print it; exit code 1 unless it succeeded.")
@api_option()
@json_option("Print the status document.")
def submit(
    type_name: str,
    payload: str,
    delay: float | None,
    timeout: float | None,
    labels: tuple[tuple[str, str], ...],
    wait: bool,
    api: str | None,
    as_json: bool,
    **others: Any,
) -> int:
    """Submit a task of TYPE with the payload JSON (`-` reads it from standard input, `@FILE` from a file)."""
    given: dict[str, Any] = {
        **others,
        "delay": None if delay is None else timedelta(seconds=delay),
        "timeout": None if timeout is None else timedelta(seconds=timeout),
        "labels": dict(labels) or None,
    }
    options: SubmitOptions = {name: value for name, value in given.items() if value is not None}  # type: ignore[assignment]  # click's names are its names
    document = payload_of(payload)
    with client_of(api) as client:
        status = client.submit(type_name, document, **options)
        if not wait:
            _show(status, as_json)
            return DONE
        with nullcontext() if as_json else console().status(f"waiting for {status.id} …"):
            final = client.wait(status.id)
    _show(final, as_json)
    return _code(final)


@click.command()
@click.argument("task_id", metavar="ID")
@click.option(
    "--watch", is_flag=True, help="Print every change until the state is final; exit code 1 unless it succeeded."
)
@api_option()
@json_option("Print the status document; with --watch one on each line.")
def status(task_id: str, watch: bool, api: str | None, as_json: bool) -> int:
    """Print the status of the task ID."""
    with client_of(api) as client:
        current = client.get(task_id)
        if not watch:
            _show(current, as_json)
            return DONE
        before: Status | None = None
        while True:
            if before is None or current != before:
                _show_change(current, as_json)
            if current.state.final:
                break
            before = current
            time.sleep(LOOK_EVERY)
            current = client.get(task_id)
    if not as_json:
        show_status(current)
    return _code(current)


@click.command("list")
@click.option("--type", "type_name", metavar="TYPE", help="Only tasks of this type.")
@click.option("--state", type=click.Choice(STATES), help="Only tasks in this state.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="Only tasks of this priority.")
@click.option(
    "--label", "labels", type=Label(), multiple=True, help="Only tasks with this pair; give it again for more."
)
@click.option("--since", type=When(), help="Only tasks accepted at this time or later.")
@click.option("--until", type=When(), help="Only tasks accepted before this time.")
@click.option("--q", metavar="TEXT", help="Only tasks with this text in type, error or labels.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Tasks on a page.")
@click.option("--cursor", help="The page that follows the one that answered this cursor.")
@api_option()
@json_option()
def list_tasks(
    type_name: str | None, labels: tuple[tuple[str, str], ...], api: str | None, as_json: bool, **others: Any
) -> None:
    """List tasks, newest first. Times are ISO 8601, or an age such as 30s, 15m, 2h or 7d."""
    given = {**others, "type": type_name, "labels": dict(labels) or None}
    options: ListOptions = {name: value for name, value in given.items() if value is not None}  # type: ignore[assignment]  # click's names are its names
    with client_of(api) as client:
        page = client.list(**options)
    if as_json:
        show_json(page)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("created", "id", "lane", "state", "attempt", "labels", box=None, pad_edge=False, header_style="bold")
    for task in page.tasks:
        table.add_row(
            time_text(task.created_at),
            task.id,
            f"{task.type}.{task.priority}",
            state_text(task.state),
            f"{task.attempt}/{task.max_attempts}",
            escape(" ".join(f"{name}={value}" for name, value in task.labels.items())),
        )
    out = console()
    out.print(table if page.tasks else "none found so far" if page.next_cursor else "no tasks")
    if page.next_cursor:
        out.print(f"[dim]more: --cursor {page.next_cursor}[/]")


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--delay", type=click.FloatRange(min=0), metavar="SECONDS", help="Due so long from now on; 0 is now.")
@click.option("--run-at", type=When(), help="Due at this time.")
@api_option()
@json_option("Print the status document.")
def reschedule(task_id: str, delay: float | None, run_at: datetime | None, api: str | None, as_json: bool) -> int:
    """Change when the waiting task ID is due."""
    if (delay is None) == (run_at is None):
        raise click.UsageError("give --delay or --run-at")
    with client_of(api) as client:
        status = client.reschedule(task_id, run_at=run_at, delay=None if delay is None else timedelta(seconds=delay))
    _show(status, as_json)
    return DONE


@click.command()
@click.argument("task_id", metavar="ID")
@api_option()
@json_option()
def cancel(task_id: str, api: str | None, as_json: bool) -> int:
    """Call the task ID off. Exit code 1 when it had ended already."""
    with client_of(api) as client:
        answer = client.cancel(task_id)
    if as_json:
        show_json(answer)
    else:
        console().print(f"{answer.id} {answer.cancellation} ({state_text(answer.state)})")
    return FAILED if answer.cancellation == "too_late" else DONE


@click.command()
@click.argument("task_id", metavar="ID")
@api_option()
@json_option()
def why(task_id: str, api: str | None, as_json: bool) -> None:
    """Tell why the task ID is where it is: what it waits for, who runs it, or how it ended."""
    with client_of(api) as client:
        found = client.why(task_id)
    if as_json:
        show_json(found)
        return
    from rich.markup import escape

    console().print(f"{found.id} {state_text(found.state)}")
    for each in found.reasons:
        console().print(f"[bold]{each.reason}[/]  {escape(each.text)}")


@click.command()
@api_option()
@json_option()
def types(api: str | None, as_json: bool) -> None:
    """List the task types that the API takes."""
    with client_of(api) as client:
        found = client.types()
    if as_json:
        show_json({"types": found})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("type", "what it does", "payload", box=None, pad_edge=False, header_style="bold")
    for each in found:
        table.add_row(each["name"], escape(each.get("description") or ""), escape(_fields(each)))
    console().print(table)


def _fields(type_document: dict[str, Any]) -> str:
    schema = type_document.get("payload_schema", {})
    required = set(schema.get("required", ()))
    return ", ".join(name if name in required else f"[{name}]" for name in schema.get("properties", {}))


def _show(current: "Status", as_json: bool) -> None:
    if as_json:
        show_json(current)
    else:
        show_status(current)


def _show_change(current: "Status", as_json: bool) -> None:
    if as_json:
        show_json(current)
        return
    progress = f" {current.progress.percent:g} %" if current.progress and not current.state.final else ""
    attempt = f" attempt {current.attempt}" if current.attempt else ""
    console().print(f"[dim]{time_text(current.updated_at)}[/] {state_text(current.state)}{attempt}{progress}")


def _code(final: "Status") -> int:
    return DONE if final.state == "succeeded" else FAILED
