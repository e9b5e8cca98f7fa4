from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured
from laneway.cli.options import Begin, json_option
from laneway.cli.output import brief, console, show_json, state_text, time_text
from laneway.cli.pouring import pour

if TYPE_CHECKING:
    from schemas.outcome import Outcome
    from schemas.settings import Settings


@click.command()
@click.argument("type_name", metavar="TYPE")
@click.option("--from", "start", type=Begin(), default="earliest", show_default=True, help="Where to begin.")
@click.option("--follow", is_flag=True, help="Wait for more until Ctrl-C, instead of ending at the present end.")
@click.option("--group", metavar="NAME", help="Go on where this consumer group was, and remember how far it came.")
@click.option("--sink", metavar="URL", help="Write them to postgresql://…, sqlite:///FILE, jsonl:DIR or parquet:DIR.")
@click.option("--table", metavar="NAME", help="Where a database keeps them.  [default: laneway_results]")
@json_option("One outcome on each line, as JSON; of a sink, what was written, at the end.")
def results(
    type_name: str,
    start: datetime | int | str,
    follow: bool,
    group: str | None,
    sink: str | None,
    table: str | None,
    as_json: bool,
) -> None:
    """Print the outcomes of tasks of TYPE, or write them to a sink, each exactly once.

    Times are ISO 8601, or an age such as 30s, 15m, 2h or 7d. A sink knows how far it came: --from holds for its first
    run. Its password is best given to libpq by PGPASSWORD or a password file.
    """
    from laneway.logs import configure

    settings = configured().settings
    if sink is not None:
        configure(settings.log)
        pour(type_name, sink, table or "laneway_results", start, follow, group, settings, as_json)
        return
    if table is not None:
        raise click.UsageError("--table: names where a sink's database keeps outcomes; want --sink, too")
    configure(settings.log.model_copy(update={"level": "WARNING"}))
    import asyncio

    try:
        asyncio.run(_print(type_name, start, follow, group, settings, as_json))
    except KeyboardInterrupt:
        # Ctrl-C is how following ends; without it, something was cut off.
        if not follow:
            raise


async def _print(
    type_name: str, start: Any, follow: bool, group: str | None, settings: "Settings", as_json: bool
) -> None:
    from consumers.results import results as outcomes_of

    async with outcomes_of(type_name, group=group, settings=settings, start=start, follow=follow) as outcomes:
        async for outcome in outcomes:
            if as_json:
                show_json(outcome)
            else:
                _show(outcome)


def _show(outcome: "Outcome") -> None:
    from rich.markup import escape

    error = outcome.error
    told = f"{error.type}: {error.message}" if error and outcome.state != "succeeded" else brief(bytes(outcome.result))
    when = time_text(outcome.finished_at)
    console().print(f"[dim]{when}[/] {state_text(outcome.state)} [dim]{outcome.id}[/] {escape(told)}")
