"""The command about how many tasks there are."""

import click

from laneway.cli.api import client_of
from laneway.cli.options import api_option, json_option
from laneway.cli.output import console, show_json, state_text


@click.command()
@api_option()
@json_option()
def counts(api: str | None, as_json: bool) -> None:
    """Count the tasks of every type, priority and state."""
    with client_of(api) as client:
        found = client.counts()
    if as_json:
        show_json({"counts": found})
        return
    from rich.table import Table

    table = Table("lane", "state", "tasks", box=None, pad_edge=False, header_style="bold")
    for each in found:
        table.add_row(f"{each.type}.{each.priority}", state_text(each.state), str(each.count))
    console().print(table if found else "no tasks")
