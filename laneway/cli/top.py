"""The overview in a terminal, every second."""

from typing import TYPE_CHECKING

import click

from laneway.cli.api import address_of, client_of
from laneway.cli.options import api_option, json_option
from laneway.cli.output import console, show_json

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.option("--once", is_flag=True, help="Print it once and end; so it is where nobody looks at a terminal.")
@click.option(
    "--every", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, metavar="SECONDS", help="Between looks."
)
@api_option()
@json_option("Print it once, as the API tells it.")
def top(once: bool, every: float, api: str | None, as_json: bool) -> None:
    """Watch how everything stands: what needs attention, rates, lanes and workers. `q` ends it."""
    out = console()
    if as_json:
        with client_of(api) as client:
            show_json(client.overview())
    elif once or not out.is_terminal:
        from laneway.cli.top_screen import Screen

        with client_of(api) as client:
            found = client.overview()
        out.print(Screen(address_of(api)).drawn(found, None, out.width, None))
    else:
        _watch(out, address_of(api), every)


def _watch(out: "Console", address: str, every: float) -> None:
    """Show it until somebody has seen enough, whatever becomes of the API meanwhile."""
    import signal
    import sys

    from rich.live import Live

    from laneway.cli.keys import Keys
    from laneway.cli.top_screen import Screen
    from laneway.cli.watching import Watching

    # Ended in order, so that the terminal is left as it was found.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    screen = Screen(address)
    watching = Watching(address, every)
    try:
        with Keys() as keys, Live(console=out, screen=True, auto_refresh=False) as live:
            while True:
                found, trouble = watching.latest()
                live.update(screen.drawn(found, trouble, out.width, out.height), refresh=True)
                if keys.pressed(within=min(every, 0.5)) in ("q", "Q", "\x1b", "\x04"):
                    return
    except KeyboardInterrupt:
        return
    finally:
        watching.stop()
