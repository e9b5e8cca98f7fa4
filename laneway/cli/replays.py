from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.api import client_of, payload_of
from laneway.cli.options import PRIORITIES, Label, NameList, When, api_option, json_option
from laneway.cli.output import console, show_json, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from laneway.client import Client
    from schemas.replay import ReplayPlan, ReplayView
    from schemas.replay_diff import ReplayDiff, ShadowDifference

HELD = timedelta(seconds=20)
FINAL = ("succeeded", "dead_lettered", "cancelled", "expired")
SELECTION = (
    click.option("--types", type=NameList(), help="Only these types."),
    click.option("--states", type=NameList(FINAL), help="Only tasks that ended so."),
    click.option("--priorities", type=NameList(PRIORITIES), help="Only these priorities."),
    click.option(
        "--label", "labels", type=Label(), multiple=True, help="Only with this label; give it again for more."
    ),
    click.option("--since", type=When(), help="Accepted then or later: a time, or an age such as 2h."),
    click.option("--until", type=When(), help="Accepted before."),
    click.option("--key", metavar="KEY", help="Only this ordering key."),
    click.option("--id", "ids", multiple=True, metavar="ID", help="Only this task; give it again for more."),
    click.option("--error", metavar="TEXT", help="Class of the error that it ended with, or part of its text."),
    click.option("--where", metavar="JMESPATH", help="Only where this is true of the payload."),
)
MANNER = (
    click.option("--rate", type=click.FloatRange(min=0), metavar="N", help="Tasks a second; 0: no bound.  [1000]"),
    click.option("--max", "most", type=click.IntRange(min=1), metavar="N", help="Tasks at most."),
    click.option(
        "--priority", type=click.Choice([*PRIORITIES, "same"]), help="Of the lane that they go into.  [default: low]"
    ),
    click.option("--patch", metavar="JSON", help="Merge patch over each payload; `-`: standard input, `@FILE`."),
    click.option("--transform", metavar="MODULE:FUNCTION", help="Gets each payload, and returns it; see --import."),
    click.option("--canary", type=click.IntRange(1, 1000), metavar="N", help="Wait for the first N, then go on."),
    click.option("--success", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Part of the canary."),
    click.option("--shadow", is_flag=True, help="Run handlers for comparison alone; see `replay diff`."),
    click.option(
        "--within", type=click.FloatRange(min=0, min_open=True), default=300.0, help="Seconds for the canary."
    ),
)


def with_options(*groups: tuple[Any, ...]) -> "Callable[[Any], Any]":
    """Add options to a command."""

    def add(command: Any) -> Any:
        for option in reversed([each for group in groups for each in group]):
            command = option(command)
        return command

    return add


def selection_of(given: dict[str, Any]) -> dict[str, Any]:
    """The selection that options say."""
    names = ("types", "states", "priorities", "since", "until", "key", "error", "where")
    select = {name: given[name] for name in names if given.get(name) is not None}
    if given.get("labels"):
        select["labels"] = dict(given["labels"])
    if given.get("ids"):
        select["ids"] = list(given["ids"])
    return select


def manner_of(given: dict[str, Any]) -> dict[str, Any]:
    """How it is to be done."""
    manner: dict[str, Any] = {}
    if given.get("rate") is not None:
        manner["rate"] = given["rate"]
    if given.get("most") is not None:
        manner["max"] = given["most"]
    if given.get("priority") is not None:
        manner["priority"] = None if given["priority"] == "same" else given["priority"]
    if given.get("patch") is not None:
        manner["patch"] = payload_of(given["patch"])
    if given.get("transform") is not None:
        manner["transform"] = given["transform"]
    if given.get("canary") is not None:
        manner["canary"] = {"count": given["canary"], "success": given["success"], "within": given["within"]}
    if given.get("shadow"):
        manner["shadow"] = True
    return manner


@click.group()
def replay() -> None:
    """Reprocess past tasks on purpose: plan, then run."""


@replay.command()
@with_options(SELECTION, MANNER)
@api_option()
@json_option("Print the plan as the API tells it; `replay run` takes it.")
def plan(api: str | None, as_json: bool, **given: Any) -> int:
    """Say what a replay would do. `laneway replay run ID` does exactly that."""
    with client_of(api) as client:
        made = planned(client, client.replay(selection_of(given), dry_run=True, **manner_of(given)))
    if as_json:
        show_json(made)
    else:
        show(made)
        if made.plan is not None:
            console().print(f"\nrun it: [bold]laneway replay run {made.id}[/]")
    return 0 if made.plan is not None else 1


@replay.command()
@click.argument("replay_id", metavar="[ID|@FILE]", required=False)
@with_options(SELECTION, MANNER)
@click.option("--detach", is_flag=True, help="Do not wait for its end.")
@api_option()
@json_option("Print the replay as the API tells it.")
def run(replay_id: str | None, detach: bool, api: str | None, as_json: bool, **given: Any) -> int:
    """Run the plan ID, or the one in FILE; or plan and run what the options say."""
    from schemas.replay import Wish

    with client_of(api) as client:
        if replay_id is not None:
            told = client.ask_replay(_id_of(replay_id), Wish.RUN)
        else:
            told = client.replay(selection_of(given), **manner_of(given))
        if not detach:
            told = follow(client, told, quiet=as_json)
    return shown(told, as_json)


@replay.command()
@click.argument("replay_id", metavar="[ID]", required=False)
@click.option("--watch", is_flag=True, help="Show how it comes on, until its end.")
@api_option()
@json_option()
def status(replay_id: str | None, watch: bool, api: str | None, as_json: bool) -> int:
    """Tell how the replay ID stands, or list the latest."""
    with client_of(api) as client:
        if replay_id is not None:
            told = client.get_replay(replay_id)
            return shown(follow(client, told, quiet=as_json) if watch else told, as_json)
        found = client.replays()
    if as_json:
        show_json({"replays": found})
        return 0
    from rich.table import Table

    table = Table("replay", "state", "replayed", "of", "made", "", box=None, pad_edge=False, header_style="bold")
    for each in found:
        counts = each.counts
        selected = "" if counts.selected is None else str(counts.selected)
        table.add_row(
            each.id, each.state, str(counts.replayed), selected, time_text(each.created_at), each.reason or ""
        )
    console().print(table if found else "no replays")
    return 0


@replay.command("diff")
@click.argument("replay_id", metavar="ID")
@click.option("--exit-code", is_flag=True, help="End with 1 where something differs.")
@api_option()
@json_option("Print each task that differs as a line of JSON, and last the counts.")
def diff_replay(replay_id: str, exit_code: bool, api: str | None, as_json: bool) -> int:
    """Show the tasks that would end otherwise, as the shadow replay ID found."""
    from schemas.replay_diff import ReplayDiff

    differs = False
    with client_of(api) as client:
        for told in client.differences(replay_id):
            differs = differs or not isinstance(told, ReplayDiff)
            if as_json:
                show_json(told)
            elif isinstance(told, ReplayDiff):
                show_counts(told)
            else:
                show_difference(told)
    return 1 if differs and exit_code else 0


@replay.command()
@click.argument("replay_id", metavar="ID")
@api_option()
@json_option()
def abort(replay_id: str, api: str | None, as_json: bool) -> int:
    """End a replay where it is. What was put back runs; `laneway cancel` calls tasks off."""
    return _ask(replay_id, "abort", api, as_json)


@replay.command("pause")
@click.argument("replay_id", metavar="ID")
@api_option()
@json_option()
def pause_replay(replay_id: str, api: str | None, as_json: bool) -> int:
    """Hold a replay where it is."""
    return _ask(replay_id, "pause", api, as_json)


@replay.command("resume")
@click.argument("replay_id", metavar="ID")
@api_option()
@json_option()
def resume_replay(replay_id: str, api: str | None, as_json: bool) -> int:
    """Let a paused replay go on."""
    return _ask(replay_id, "run", api, as_json)


def _ask(replay_id: str, wish: str, api: str | None, as_json: bool) -> int:
    from schemas.replay import Wish

    with client_of(api) as client:
        told = client.ask_replay(replay_id, Wish(wish))
    if as_json:
        show_json(told)
    else:
        console().print(f"{told.id}  {wish} asked for; it is {told.state}")
    return 0


def _id_of(text: str) -> str:
    """An id, or that in the document of a file."""
    if not text.startswith("@"):
        return text
    document = payload_of(text)
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise click.BadParameter("the file holds no replay: want what `replay plan --json` printed", param_hint="FILE")
    return str(document["id"])


def planned(client: "Client", made: "ReplayView") -> "ReplayView":
    """A replay once it has its plan, or will have none."""
    while made.plan is None and not made.state.final:
        made = client.get_replay(made.id, HELD)
    return made


def follow(client: "Client", told: "ReplayView", *, quiet: bool) -> "ReplayView":
    """Show how a replay comes on, until it has ended or is paused."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    told = planned(client, told)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True, disable=quiet) as progress:
        bar = progress.add_task("replay", total=100)
        while not told.state.final and told.state.value != "paused":
            told = client.get_replay(told.id, timedelta(seconds=1))
            words = f"{told.state.value}: {told.counts.replayed} of {told.counts.selected}"
            progress.update(bar, completed=told.percent or 0, description=words)
    return told


def shown(told: "ReplayView", as_json: bool) -> int:
    """Show a replay; answers the exit code: 1 where it did not come to its end."""
    if as_json:
        show_json(told)
    else:
        show(told)
    return 1 if told.state.value in {"failed", "aborted"} else 0


def show(told: "ReplayView") -> None:
    """Write a replay for people."""
    from rich.markup import escape

    out = console()
    out.print(f"[bold]{told.state.value}[/]  [dim]{told.id}[/]" + (f"  {escape(told.reason)}" if told.reason else ""))
    counts = told.counts
    if told.started_at is not None:
        out.print(f"  {'shadowed' if told.shadow else 'replayed':<12}  {counts.replayed} of {counts.selected}")
        for why, count in counts.passed_over.items():
            out.print(f"  passed over   {count} ({why})")
    if told.plan is not None and told.started_at is None:
        show_plan(told.plan, told.counts.selected or 0)


def show_difference(found: "ShadowDifference") -> None:
    """Write a task that would end otherwise for people."""
    from rich.markup import escape

    out = console()
    out.print(f"[bold]{escape(found.id)}[/]  {found.type}, generation {found.generation}: {', '.join(found.differs)}")
    for line in found.diff:
        out.print(f"  {escape(line)}", highlight=False)


def show_counts(found: "ReplayDiff") -> None:
    """Write how many tasks a comparison was about for people."""
    counts = found.counts
    console().print(f"{counts.same} the same, {counts.different} different")
    if counts.missing_shadow:
        console().print(f"  not compared  {counts.missing_shadow}: their shadow runs have not ended")
    if counts.missing_before:
        console().print(f"  not compared  {counts.missing_before}: how they ended is past retention")


def show_plan(found: "ReplayPlan", selected: int) -> None:
    """Write a plan for people."""
    from rich.markup import escape

    out = console()
    out.print(f"  selects       {selected} tasks of {found.records} records read, in about {found.seconds:g} s")
    for name, counted in (("types", found.types), ("states", found.states), ("errors", found.errors)):
        if counted:
            told = ", ".join(f"{each} {count}" for each, count in counted.items())
            out.print(f"  {name:<12}  {escape(told)}")
    if found.passed_over:
        told = ", ".join(f"{why} {count}" for why, count in found.passed_over.items())
        out.print(f"  passed over   {escape(told)}")
    for source in found.sources:
        out.print(f"  reads         {escape(source.place)}  {source.first} to {source.end - 1}")
    for sample in found.samples:
        out.print(
            f"  sample        {sample.id}  {sample.type}  {sample.state or ''}  [dim]{escape(sample.position)}[/]"
        )
        for line in sample.diff:
            out.print(f"                {escape(line)}")
