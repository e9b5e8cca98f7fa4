from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured
from laneway.cli.options import When, json_option
from laneway.cli.output import brief, console, show_json, state_text, time_text

if TYPE_CHECKING:
    from schemas.outcome import Outcome
    from schemas.settings import Settings


class Begin(When):
    """``earliest``, ``latest``, or a time."""

    name = "earliest|latest|when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One of the two words stays; anything else is a time."""
        return value if value in {"earliest", "latest"} else super().convert(value, param, ctx)


@click.command()
@click.argument("type_name", metavar="TYPE")
@click.option("--from", "start", type=Begin(), default="earliest", show_default=True, help="Where to begin.")
@click.option("--follow", is_flag=True, help="Wait for more until Ctrl-C, instead of ending at the present end.")
@click.option("--group", metavar="NAME", help="Go on where this consumer group was, and remember how far it came.")
@json_option("One outcome on each line, as JSON.")
def results(type_name: str, start: datetime | str, follow: bool, group: str | None, as_json: bool) -> None:
    """Print the outcomes of tasks of TYPE. Times are ISO 8601, or an age such as 30s, 15m, 2h or 7d."""
    import asyncio

    from laneway.logs import configure

    settings = configured().settings
    configure(settings.log.model_copy(update={"level": "WARNING"}))
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
