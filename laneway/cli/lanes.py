"""Commands about lanes: how they stand, holding and freeing them."""

from typing import TYPE_CHECKING

import click

from laneway.cli.api import client_of
from laneway.cli.options import PRIORITIES, api_option, json_option
from laneway.cli.output import console, show_json, time_text

if TYPE_CHECKING:
    from laneway.client import LaneState


@click.command()
@api_option()
@json_option()
def lanes(api: str | None, as_json: bool) -> None:
    """List every lane: how much waits in it and how long, what runs, who works on it, and whether it is held."""
    with client_of(api) as client:
        _show(client.lanes(), as_json)


@click.command()
@click.argument("type_name", metavar="TYPE")
@click.argument("priority", type=click.Choice(PRIORITIES), required=False)
@click.option("--reason", metavar="TEXT", help="Shown with the lane.")
@api_option()
@json_option()
def pause(type_name: str, priority: str | None, reason: str | None, api: str | None, as_json: bool) -> None:
    """Hold the lane TYPE PRIORITY, or all lanes of TYPE, on every worker. What runs goes on."""
    with client_of(api) as client:
        _show(client.pause(type_name, priority, reason=reason), as_json)


@click.command()
@click.argument("type_name", metavar="TYPE")
@click.argument("priority", type=click.Choice(PRIORITIES), required=False)
@api_option()
@json_option()
def resume(type_name: str, priority: str | None, api: str | None, as_json: bool) -> None:
    """Let the lane TYPE PRIORITY, or all lanes of TYPE, flow again."""
    with client_of(api) as client:
        _show(client.resume(type_name, priority), as_json)


def _show(found: "list[LaneState]", as_json: bool) -> None:
    if as_json:
        show_json({"lanes": found})
        return
    from rich.markup import escape
    from rich.table import Table

    columns = ("lane", "waiting", "oldest", "rate", "running", "workers", "state", "since", "why")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for each in found:
        why = " ".join(part for part in (each.reason, f"(by {each.by})" if each.by and each.paused else None) if part)
        table.add_row(
            f"{each.type}.{each.priority}",
            "" if each.lag is None else str(each.lag),
            "" if each.oldest_seconds is None else f"{each.oldest_seconds:.1f} s",
            "" if each.rate is None else f"{each.rate:,.1f} /s",
            "" if each.running is None else str(each.running),
            # Names would not fit; `laneway workers` and --json tell them.
            "" if each.workers is None else str(len(each.workers)),
            "[yellow]paused[/]" if each.paused else "flows",
            time_text(each.since) if each.since else "",
            escape(why if each.paused else ""),
        )
    console().print(table)
