"""``laneway submit-batch``: many tasks from a file."""

from collections import deque
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import click

from laneway.cli.api import client_of
from laneway.cli.failures import DONE, FAILED
from laneway.cli.options import api_option, json_option
from laneway.cli.output import console, show_json

if TYPE_CHECKING:
    from laneway.client import BatchAnswer

_SHOWN = 20
"""Refusals that are told one by one; --json tells all."""


@click.command("submit-batch")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@api_option()
@json_option("One answer on each line, in the order of the file: id and state, or the error.")
def submit_batch(file: str, api: str | None, as_json: bool) -> int:
    """Submit the tasks in FILE, one JSON object on each line; `-` is standard input.

    Each has type and payload, and what else `submit` takes, by the names of the API. Exit code 1 when any was refused.
    """
    from laneway.client import Accepted

    # Of the lines that were sent and not answered.
    numbers: deque[int] = deque()

    def lines(source: IO[bytes]) -> Iterator[bytes]:
        for number, line in enumerate(source, 1):
            if line.strip():
                numbers.append(number)
                yield line.strip()

    accepted = refused = 0
    with client_of(api) as client, click.open_file(file, "rb") as source:
        for answer in client.submit_each(lines(source)):
            number = numbers.popleft()
            if isinstance(answer, Accepted):
                accepted += 1
            else:
                refused += 1
            if as_json:
                show_json(_document(answer))
            elif not isinstance(answer, Accepted) and refused <= _SHOWN:
                click.echo(f"laneway: line {number}: {answer}", err=True)
    if not as_json:
        more = f" ({refused - _SHOWN:,} of them not shown)" if refused > _SHOWN else ""
        console().print(f"{accepted:,} accepted, {refused:,} refused{more}")
    return FAILED if refused else DONE


def _document(answer: "BatchAnswer") -> dict[str, object]:
    from laneway.client import Accepted

    if isinstance(answer, Accepted):
        return {"id": answer.id, "state": answer.state}
    return {"error": {"type": f"/problems/{answer.slug}", "status": answer.http_status, "detail": answer.detail}}
