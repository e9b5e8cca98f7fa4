"""``laneway doctor``: what is wrong, and what to do about it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import click

from laneway import __version__
from laneway.cli.api import address_of, client_of
from laneway.cli.configuration import configured
from laneway.cli.failures import DONE, FAILED
from laneway.cli.options import api_option, import_option, json_option
from laneway.cli.output import console, show_json
from laneway.cli.topics import wanted

if TYPE_CHECKING:
    import httpx

    from laneway.client import LaneState
    from schemas.settings import Settings
    from schemas.worker import WorkerView

_CLOCKS_DIFFER: Final = 2.0
_LONG_LAG: Final = 10_000
_TIMEOUT: Final = 5.0
_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "red"}


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "failed"]
    said: str
    remedy: str | None = None


@click.command()
@import_option()
@api_option()
@json_option()
def doctor(imports: tuple[str, ...], api: str | None, as_json: bool) -> int:
    """Look at the broker, its topics, the API, the clocks, the workers and the lanes, and say what to mend.

    Exit code 1 when something failed; warnings alone are 0.
    """
    settings = configured().settings
    checks = [*_of_broker(settings, imports), *_of_api(api)]
    if as_json:
        show_json({"checks": [check._asdict() for check in checks]})
    else:
        from rich.markup import escape

        out = console()
        for check in checks:
            style = _STYLES[check.state]
            out.print(f"[{style}]{check.state:<8}[/] [bold]{check.name:<8}[/] {escape(check.said)}")
            if check.remedy is not None:
                out.print(f"{'':17} → {escape(check.remedy)}")
    return FAILED if any(check.state == "failed" for check in checks) else DONE


def _of_broker(settings: "Settings", imports: tuple[str, ...]) -> Iterator[Check]:
    from schemas.errors import BrokerUnavailableError, ConfigurationError

    try:
        servers = settings.bootstrap_servers
    except ConfigurationError as error:
        yield Check("broker", "failed", str(error), "set LANEWAY_KAFKA__BOOTSTRAP_SERVERS, or start `laneway up`")
        return
    admin, specs = wanted(imports)
    try:
        changes = admin.plan(specs)
    except BrokerUnavailableError as error:
        yield Check("broker", "failed", f"{servers}: {error}", "start it, or correct LANEWAY_KAFKA__BOOTSTRAP_SERVERS")
        return
    yield Check("broker", "ok", f"answers at {servers}")
    if not changes:
        yield Check("topics", "ok", f"{len(specs)} topics, all as they should be")
        return
    conflict = next((change for change in changes if change.conflict), None)
    if conflict is not None:
        yield Check("topics", "failed", str(conflict), "see `laneway topics plan`")
    else:
        yield Check("topics", "failed", f"{len(changes)} of {len(specs)} are missing or differ", "laneway topics apply")


def _of_api(api: str | None) -> Iterator[Check]:
    import httpx

    from schemas.errors import LanewayError

    address = address_of(api)
    try:
        yield from judged(httpx.get(f"{address}/readyz", timeout=_TIMEOUT))
    except (httpx.HTTPError, ValueError) as error:
        said = f"no answer of an API at {address}: {str(error) or type(error).__name__}"
        yield Check("api", "failed", said, "start `laneway api`, or name it with --api")
        return
    try:
        with client_of(api) as client:
            workers, lanes = client.workers(), client.lanes()
    except LanewayError as error:
        yield Check("workers", "warning", f"the API cannot tell: {error}")
        return
    yield from _of_workers(workers)
    yield from _of_lanes(lanes)


def _of_workers(workers: "list[WorkerView]") -> Iterator[Check]:
    alive = sum(worker.alive for worker in workers)
    if alive:
        yield Check("workers", "ok", f"{alive} alive")
    else:
        yield Check("workers", "failed", "none is alive: nothing that is queued will run", "start `laneway worker`")
    for worker in workers:
        if not worker.alive:
            yield Check("workers", "warning", f"{worker.worker} has been silent since {worker.at:%H:%M:%S} UTC")
        elif worker.stuck:
            remedy = f"see what it runs with `laneway workers`; restart it on {worker.host}, process {worker.pid}"
            yield Check("workers", "warning", f"{worker.worker}: all slots busy, nothing ends", remedy)
        elif worker.version != __version__:
            yield Check("workers", "warning", f"{worker.worker} runs {worker.version}, this is {__version__}")


def _of_lanes(lanes: "list[LaneState]") -> Iterator[Check]:
    for lane in lanes:
        name = f"{lane.type}.{lane.priority}"
        if lane.paused:
            why = f": {lane.reason}" if lane.reason else ""
            yield Check("lanes", "warning", f"{name} is held{why}", f"laneway resume {lane.type} {lane.priority}")
        elif lane.lag and lane.workers == []:
            said = f"{name}: {lane.lag} wait, and no worker has the lane"
            yield Check("lanes", "failed", said, f"laneway worker --types {lane.type}")
        elif lane.lag and lane.lag > _LONG_LAG:
            yield Check("lanes", "warning", f"{name}: {lane.lag} wait", "more workers, or a higher --concurrency")
    yield Check("lanes", "ok", f"{len(lanes)} looked at")


def judged(answer: "httpx.Response") -> Iterator[Check]:
    """What the answer to ``GET /readyz`` says of an API, and of our clocks."""
    document = answer.json()
    for name, check in document.get("checks", {}).items():
        if not check.get("ok"):
            yield Check("api", "failed", f"{name}: {check.get('why', 'not ready')}")
    if document.get("ready"):
        yield Check("api", "ok", f"ready at {answer.url.copy_with(path='/')}")
    said = answer.headers.get("date")
    if said is None:
        return
    apart = (datetime.now(UTC) - parsedate_to_datetime(said)).total_seconds()
    if abs(apart) > _CLOCKS_DIFFER:
        yield Check("clocks", "warning", f"this machine and the API's are {apart:+.0f} s apart", "let NTP set both")
    else:
        yield Check("clocks", "ok", "this machine and the API's agree")
