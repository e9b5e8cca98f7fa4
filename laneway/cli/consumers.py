from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured
from laneway.cli.options import Begin, json_option
from laneway.cli.output import console, show_json

if TYPE_CHECKING:
    from consumers.groups import Group, ResultGroups
    from consumers.reader import Start


@click.group()
def consumers() -> None:
    """Consumer groups that read results: who they are, how far they came, and moving them."""


@consumers.command("list")
@json_option()
def list_groups(as_json: bool) -> None:
    """Show groups of this system's results, their members and how much they have not done."""
    groups = _groups().look()
    if as_json:
        show_json({"groups": [_described(group) for group in groups]})
        return
    from rich.markup import escape

    out = console()
    if not groups:
        out.print("no group reads results")
    for group in groups:
        color = "yellow" if group.lag else "green"
        out.print(f"{escape(group.name)}  {escape(group.type)}  {group.state}  [{color}]lag {group.lag:,}[/]")
        for member in group.members:
            out.print(f"  [dim]{escape(member)}[/]")


@consumers.command()
@click.argument("group")
@click.argument("type_name", metavar="TYPE")
@click.option("--to", type=Begin(), required=True, help="Where it reads next in each partition.")
@click.option("--apply", "applied", is_flag=True, help="Do it; without it, only show what would be done.")
@json_option()
def reset(group: str, type_name: str, to: "Start", applied: bool, as_json: bool) -> None:
    """Move GROUP in the results of TYPE; refused while it has members.

    Times are ISO 8601, or an age such as 30s, 15m, 2h or 7d.
    """
    groups = _groups()
    moves = (groups.reset if applied else groups.moves)(group, type_name, to)
    if as_json:
        show_json({"applied": applied, "moves": [move._asdict() for move in moves]})
        return
    out = console()
    for move in moves:
        old = "nothing" if move.old is None else str(move.old)
        out.print(f"partition {move.partition}: {old} → {move.new}")
    out.print("done" if applied else "nothing changed; give --apply to do it")


def _groups() -> "ResultGroups":
    from consumers.groups import ResultGroups

    return ResultGroups(configured().settings)


def _described(group: "Group") -> dict[str, Any]:
    return {
        "group": group.name,
        "type": group.type,
        "state": group.state,
        "lag": group.lag,
        "members": list(group.members),
        "partitions": [
            {"partition": place.partition, "committed": place.committed, "end": place.end, "lag": place.lag}
            for place in group.places
        ],
    }
