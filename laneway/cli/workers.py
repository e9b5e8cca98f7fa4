"""The command about workers."""

import click

from laneway.cli.api import client_of
from laneway.cli.options import api_option, json_option
from laneway.cli.output import console, show_json, time_text


@click.command()
@api_option()
@json_option()
def workers(api: str | None, as_json: bool) -> None:
    """List every worker process: whether it is alive, its slots, and what runs there since when."""
    with client_of(api) as client:
        found = client.workers()
    if as_json:
        show_json({"workers": found})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("worker", "state", "slots", "ended", "runs", "since", box=None, pad_edge=False, header_style="bold")
    for each in found:
        state = "[yellow]stuck[/]" if each.stuck else "[green]alive[/]" if each.alive else "[red]silent[/]"
        slots = " ".join(f"{slots.type} {slots.busy}/{slots.total}" for slots in each.slots)
        table.add_row(escape(each.worker), state, escape(slots), str(each.ended), "", "")
        for task in each.running:
            table.add_row("", "", "", "", escape(f"{task.type} {task.id}"), time_text(task.since))
        if each.running_total > len(each.running):
            table.add_row("", "", "", "", f"and {each.running_total - len(each.running)} more", "")
    console().print(table if found else "no workers")
