from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.api import client_of, payload_of
from laneway.cli.options import api_option, json_option, task_options
from laneway.cli.output import console, show_json, state_text

if TYPE_CHECKING:
    from laneway.client import ScheduleOptions
    from schemas.schedule import ScheduleView


@click.group()
def schedule() -> None:
    """Make tasks by the clock."""


@schedule.command()
@click.argument("name")
@click.argument("cron")
@click.argument("type_name", metavar="TYPE")
@click.argument("payload", metavar="JSON")
@click.option("--timezone", metavar="ZONE", help="IANA name, such as Europe/Berlin.  [default: UTC]")
@click.option(
    "--missed",
    type=click.Choice(["skip", "one", "all"]),
    help="What becomes of times that pass while no worker is there.  [default: one]",
)
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip"]),
    help="What becomes of a time while the task before has not ended.  [default: allow]",
)
@click.option("--paused", is_flag=True, help="Make no tasks for now.")
@task_options
@api_option()
@json_option("Print the schedule as the API tells it.")
def add(
    name: str,
    cron: str,
    type_name: str,
    payload: str,
    timeout: float | None,
    labels: tuple[tuple[str, str], ...],
    api: str | None,
    as_json: bool,
    **others: Any,
) -> None:
    """Submit a task of TYPE with the payload JSON whenever the time CRON comes, under NAME.

    CRON has five fields (minute hour day month weekday), or six with seconds first. A schedule of this NAME is
    replaced.
    JSON may be `-` for standard input, or `@FILE`.
    """
    given: dict[str, Any] = {
        **others,
        "timeout": None if timeout is None else timedelta(seconds=timeout),
        "labels": dict(labels) or None,
    }
    options: ScheduleOptions = {name: value for name, value in given.items() if value is not None}  # type: ignore[assignment]  # click's names are its names
    document = payload_of(payload)
    with client_of(api) as client:
        made = client.schedule(name, cron, type_name, document, **options)
    if as_json:
        show_json(made)
    else:
        console().print(f"[green]{made.name}[/]  {_next(made)}")


@schedule.command("list")
@api_option()
@json_option()
def list_schedules(api: str | None, as_json: bool) -> None:
    """List schedules: when each fires next, and what became of the last."""
    with client_of(api) as client:
        found = client.schedules()
    if as_json:
        show_json({"schedules": found})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "name", "cron", "zone", "lane", "next", "last", "ended", box=None, pad_edge=False, header_style="bold"
    )
    for each in found:
        last = each.last
        table.add_row(
            each.name,
            escape(each.cron),
            each.timezone,
            f"{each.task.type}.{each.task.priority}",
            _next(each),
            _time(last.at, each) if last else "",
            (state_text(last.state) if last.state else "not yet") if last else "",
        )
    console().print(table if found else "no schedules")


@schedule.command()
@click.argument("name")
@api_option()
@json_option()
def remove(name: str, api: str | None, as_json: bool) -> None:
    """Have the schedule NAME fire no more; the tasks that it made go on."""
    with client_of(api) as client:
        client.unschedule(name)
    if as_json:
        show_json({"name": name, "removed": True})
    else:
        console().print(f"{name} fires no more")


def _next(schedule: "ScheduleView") -> str:
    if schedule.paused:
        return "paused"
    return _time(schedule.next[0], schedule) if schedule.next else "never"


def _time(at: datetime, schedule: "ScheduleView") -> str:
    """A time as the schedule's zone shows it."""
    from zoneinfo import ZoneInfo

    return at.astimezone(ZoneInfo(schedule.timezone)).strftime("%Y-%m-%d %H:%M:%S %Z")
