"""The demo: one sample task of every built-in type on every priority, and how they fare."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from laneway.client import AsyncClient
from laneway.ids import new_id
from laneway.stack.report import Report
from schemas.errors import AdmissionError, ConfigurationError
from schemas.status import State, Status

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
SAMPLES: Final = EXAMPLES / "samples" / "tasks.jsonl"
DOCUMENTS: Final = EXAMPLES / "documents"
LABEL: Final = "demo"
"""Carried by every task of a run, with the run's id."""

FINISHED_WITHIN: Final = timedelta(seconds=120)
_LOOK_EVERY: Final = 0.05


def check_samples() -> None:
    """See that there is something to show.

    Raises:
        ConfigurationError: the samples are not there, because this is no checkout of the repository.
    """
    if not SAMPLES.is_file():
        raise ConfigurationError("--demo", f"no samples at {SAMPLES}", "a checkout of the repository, which has them")


@dataclass
class _Way:
    """A task's way to its result, as far as it was seen."""

    lane: str
    title: str
    seen: list[str] = field(default_factory=list)
    status: Status | None = None
    problem: str | None = None

    def take(self, status: Status) -> bool:
        """Note where it stands; answers whether that is news."""
        step = f"retrying ({status.attempt})" if status.state is State.RETRYING else str(status.state)
        self.status = status
        if self.seen[-1:] == [step]:
            return False
        self.seen.append(step)
        return True

    @property
    def over(self) -> bool:
        return self.problem is not None or (self.status is not None and self.status.state.final)

    @property
    def succeeded(self) -> bool:
        return self.status is not None and self.status.state is State.SUCCEEDED

    @property
    def seconds(self) -> float:
        """From acceptance to the end, by the system's own clock."""
        if self.status is None or self.status.finished_at is None:
            return 0.0
        return (self.status.finished_at - self.status.created_at).total_seconds()

    @property
    def told(self) -> str:
        """Its result, or what went wrong, in a few words."""
        if self.problem is not None:
            return self.problem
        if self.status is None or not self.status.state.final:
            return ""
        if self.status.error is not None and not self.succeeded:
            return f"{self.status.error.type}: {self.status.error.message}"
        return _in_a_few_words(msgspec.json.decode(self.status.result))


async def run_demo(url: str, report: Report) -> bool:
    """Submit the samples, show each task's way to its result, and answer whether all of them succeeded."""
    samples = msgspec.json.decode(
        b"[" + b",".join(SAMPLES.read_bytes().split(b"\n")[:-1]) + b"]", type=list[dict[str, Any]]
    )
    run = new_id()
    began = time.monotonic()
    ways = [_Way(f"{s['type']}.{s['priority']}", s.get("labels", {}).get("sample", "")) for s in samples]
    report.note("demo", f"Submitting {len(samples)} sample tasks from {SAMPLES.parent}", tasks=len(samples))
    async with AsyncClient(url) as client:
        with report.live(lambda: _table(ways)) as shown:
            uploads: dict[str, asyncio.Task[str]] = {}
            submitted = [_submit(client, sample, run, way, uploads) for sample, way in zip(samples, ways, strict=True)]
            await asyncio.gather(*submitted)
            await _follow(client, run, ways, report, shown=shown)
    failed = [way for way in ways if not way.succeeded]
    text = f"{len(ways) - len(failed)} of {len(ways)} tasks succeeded ({time.monotonic() - began:.1f} s)"
    if failed:
        text += "; these did not: " + ", ".join(f"{way.lane} ({way.told or ' → '.join(way.seen)})" for way in failed)
    report.note("demo_done", text, trouble=bool(failed), passed=not failed, succeeded=len(ways) - len(failed))
    return not failed


async def _submit(
    client: AsyncClient, sample: dict[str, Any], run: str, way: _Way, uploads: dict[str, "asyncio.Task[str]"]
) -> None:
    try:
        payload = await _with_uploads(client, sample["payload"], uploads)
        labels = {**sample.get("labels", {}), LABEL: run}
        way.take(await client.submit(sample["type"], payload, priority=sample["priority"], labels=labels))
    except AdmissionError as error:
        way.problem = f"{type(error).__name__}: {error}"


async def _with_uploads(client: AsyncClient, value: Any, uploads: dict[str, "asyncio.Task[str]"]) -> Any:
    """The payload with each ``"@name"`` replaced by the reference of that file; each is uploaded once."""
    if isinstance(value, dict):
        return {name: await _with_uploads(client, part, uploads) for name, part in value.items()}
    if isinstance(value, list):
        return [await _with_uploads(client, part, uploads) for part in value]
    if not isinstance(value, str) or not value.startswith("@"):
        return value

    async def upload(name: str) -> str:
        return (await client.upload(SAMPLES.parent / name)).ref

    if value not in uploads:
        uploads[value] = asyncio.create_task(upload(value[1:]))
    return await uploads[value]


async def _follow(client: AsyncClient, run: str, ways: list[_Way], report: Report, *, shown: bool) -> None:
    """Look at all of them until each is over, or the time is up."""
    by_id = {way.status.id: way for way in ways if way.status is not None}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FINISHED_WITHIN.total_seconds()):
            while not all(way.over for way in ways):
                page = await client.list(labels={LABEL: run}, limit=len(ways))
                for status in page.tasks:
                    way = by_id[status.id]
                    if way.take(status):
                        _tell(way, status, report, shown=shown)
                await asyncio.sleep(_LOOK_EVERY)


def _tell(way: _Way, status: Status, report: Report, *, shown: bool) -> None:
    end = f"  {way.seconds:.2f} s  {way.told}" if status.state.final else ""
    text = "" if shown else f"{way.lane:<13} {' → '.join(way.seen)}{end}"
    report.task(text, id=status.id, lane=way.lane, state=status.state, attempt=status.attempt)


def _table(ways: list[_Way]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    colours = {"succeeded": "green", "dead_lettered": "red", "running": "yellow"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("  task", "sample", "its way", "time"):
        table.add_column(heading, no_wrap=True)
    table.add_column("result", no_wrap=True, overflow="ellipsis")
    for way in ways:
        steps = [f"[{colours.get(step, 'cyan')}]{step}[/]" for step in way.seen]
        time_taken = f"{way.seconds:.2f} s" if way.over else ""
        told = escape(way.told) if way.succeeded else f"[red]{escape(way.told)}[/]"
        table.add_row(f"  {way.lane}", f"[dim]{escape(way.title)}[/]", " → ".join(steps), time_taken, told)
    return table


def _in_a_few_words(result: Any) -> str:
    if not isinstance(result, dict):
        return str(result)[:80]
    plain = {name: value for name, value in result.items() if isinstance(value, str | int | float) and name != "ref"}
    words = ", ".join(f"{name} {value}" for name, value in plain.items())
    return words.replace("\n", " ")[:80]
