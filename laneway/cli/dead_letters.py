from datetime import datetime
from typing import Any

import click

from laneway.cli.api import client_of
from laneway.cli.options import NameList, When, api_option, json_option
from laneway.cli.output import console, show_json, time_text
from laneway.cli.replays import MANNER, SELECTION, follow, manner_of, planned, selection_of, show, shown, with_options


@click.group()
def dlq() -> None:
    """Look at dead letters, and send them back."""


@dlq.command("list")
@click.option("--types", type=NameList(), help="Only these types.")
@click.option("--error", metavar="TEXT", help="Class of the error, or part of its text.")
@click.option("--since", type=When(), help="Set aside then or later: a time, or an age such as 2h.")
@click.option("--until", type=When(), help="Set aside before.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most that are listed.")
@api_option()
@json_option()
def list_dead_letters(
    types: list[str] | None,
    error: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    api: str | None,
    as_json: bool,
) -> None:
    """List dead letters: how many there are of each error, and the newest."""
    with client_of(api) as client:
        page = client.dead_letters(types or (), error=error, since=since, until=until, limit=limit)
    if as_json:
        show_json(page)
        return
    from rich.markup import escape
    from rich.table import Table

    groups = Table("type", "error", "why", "count", "open", "newest", "", box=None, pad_edge=False, header_style="bold")
    for each in page.groups:
        counts = (str(each.count), str(each.open))
        message = escape((each.message or "")[:80])
        groups.add_row(each.type, each.error or "", each.reason or "", *counts, time_text(each.newest), message)
    out = console()
    if not page.groups:
        out.print("no dead letters")
        return
    out.print(groups)
    letters = Table("dead letter", "task", "set aside", "", box=None, pad_edge=False, header_style="bold")
    for letter in page.letters:
        state = "redriven" if letter.redriven else "" if letter.id else "no task"
        letters.add_row(escape(letter.position), letter.id or "", time_text(letter.at), state)
    out.print()
    out.print(letters)
    if not page.complete:
        out.print("[dim]there are more than one question counts: narrow it by --types or --since[/]")


@dlq.command("show")
@click.argument("position")
@api_option()
@json_option()
def show_dead_letter(position: str, api: str | None, as_json: bool) -> None:
    """Show the dead letter at POSITION (topic-partition@offset): payload, headers, every error."""
    with client_of(api) as client:
        letter = client.dead_letter(position)
    if as_json:
        show_json(letter)
        return
    import msgspec
    from rich.markup import escape

    out = console()
    out.print(f"[bold]{escape(letter.position)}[/]  {letter.type}  [dim]{letter.id or 'no task'}[/]")
    rows = [("set aside", time_text(letter.at)), ("why", letter.reason or ""), ("from", letter.source or "")]
    errors = letter.errors or ([letter.error] if letter.error is not None else [])
    rows += [("error", f"{each.type}: {each.message}") for each in errors]
    rows += [(name, value[:200]) for name, value in letter.headers.items() if not name.startswith("laneway-")]
    for name, value in rows:
        out.print(f"  [dim]{name:<14}[/]  {escape(value)}")
    if letter.value is not None:
        out.print(escape(letter.value))
    else:
        out.print_json(msgspec.json.encode(letter.payload).decode())


@dlq.command()
@with_options(SELECTION, MANNER)
@click.option("--dry-run", is_flag=True, help="Say what would be sent back; `laneway replay run ID` does it.")
@click.option("--detach", is_flag=True, help="Do not wait for its end.")
@api_option()
@json_option("Print the replay as the API tells it.")
def redrive(dry_run: bool, detach: bool, api: str | None, as_json: bool, **given: Any) -> int:
    """Send dead letters back into their lanes: those chosen by --id, or a whole selection.

    What was sent back before, and what is no task, stays.
    """
    with client_of(api) as client:
        told = client.redrive(selection_of(given), dry_run=dry_run, **manner_of(given))
        if dry_run:
            told = planned(client, told)
        elif not detach:
            told = follow(client, told, quiet=as_json)
    if dry_run and not as_json:
        show(told)
        return 0
    return shown(told, as_json)
