from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured
from laneway.cli.options import Begin, json_option
from laneway.cli.output import console, show_json, time_text

if TYPE_CHECKING:
    from consumers.groups import Group, ResultGroups
    from consumers.reader import Start


@click.group()
def consumers() -> None:
    """Consumer groups that read results: who they are, how far they came, moving them, and what they set aside."""


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


@consumers.command()
@click.argument("group")
@click.argument("type_name", metavar="TYPE")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Only the newest so many.")
@json_option()
def aside(group: str, type_name: str, limit: int, as_json: bool) -> None:
    """Show outcomes of TYPE that the handler of GROUP could not take, and why."""
    from consumers.aside import Aside

    lying = Aside(configured().settings, type_name, group).look()
    if as_json:
        show_json({"count": len(lying), "aside": [each._asdict() for each in lying[-limit:]]})
        return
    from rich.markup import escape

    out = console()
    out.print(f"{len(lying):,} outcomes lie aside" if lying else "nothing lies aside")
    for each in lying[-limit:]:
        when = "" if each.at is None else time_text(each.at)
        why = "" if each.error is None else f"{each.error.type}: {each.error.message}"
        tries = f"{each.tries} {'try' if each.tries == 1 else 'tries'}"
        out.print(f"[dim]{when}[/] {each.id or each.source} {each.reason}, {tries}  [red]{escape(why)}[/]")


@consumers.command()
@click.argument("group")
@click.argument("type_name", metavar="TYPE")
@click.option("--id", "ids", metavar="ID", multiple=True, help="Only this task's; give it again for more.")
@json_option()
def retry(group: str, type_name: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Have the handler of GROUP get the outcomes of TYPE again that lie aside."""
    import asyncio

    from consumers.aside import Aside

    asked = asyncio.run(Aside(configured().settings, type_name, group).again(ids or None))
    if as_json:
        show_json({"asked": asked})
        return
    console().print(f"{asked:,} outcomes are handled again once the group has a member")


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
