"""What ``laneway top`` draws. No I/O."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laneway.cli.watching import Trouble
from laneway.client.operations import Attention, Hour, LaneState, Overview
from schemas.worker import WorkerView

T = TypeVar("T")

_BARS: Final = "▁▂▃▄▅▆▇█"
_RATES: Final = (("accepted", "cyan"), ("succeeded", "green"), ("retrying", "magenta"), ("failed", "red"))
_NOTHING: Final = "-"
_FIXED_LINES: Final = 8
"""Lines of a screen that are there whatever there is to tell: heads and what stands between."""
_FEWEST: Final = 3


class Screen:
    """Draws overviews for a terminal of any size.

    Args:
        address: of the API that is watched.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def drawn(self, found: Overview | None, trouble: Trouble | None, width: int, height: int | None) -> RenderableType:
        """The whole screen.

        Args:
            found: the latest answer, if there was one.
            trouble: why it is not of now.
            width: columns of the terminal.
            height: its lines; ``None`` where all is to be shown, however long it is.
        """
        parts: list[RenderableType] = [self._head(found, width, live=height is not None)]
        if trouble is not None:
            old = "" if found is None else f"; this is how it was at {_clock(found.at)}"
            said = f"! no answer for {_seconds(trouble.seconds)}, trying again{old}: {plain(trouble.said)}"
            parts.append(Text(said, style="bold red", overflow="ellipsis", no_wrap=True))
        if found is None:
            return Group(*parts, *([] if trouble else [Text("asking …", style="dim")]))
        parts += _rates(found.hour, width)
        parts.append(Text(""))
        left = None if height is None else max(3 * _FEWEST, height - _FIXED_LINES - len(parts))
        attention = _cut(found.attention, None if left is None else max(_FEWEST, left // 4))
        parts += _attention(*attention)
        workers = found.workers or []
        left = None if left is None else left - max(1, len(attention[0]))
        shown_workers, more_workers = _cut(workers, None if left is None else max(_FEWEST, left // 3))
        left = None if left is None else max(_FEWEST, left - len(shown_workers))
        parts += [Text(""), *_lanes(found.lanes, width, left)]
        parts += [Text(""), *_workers(found.workers, shown_workers, more_workers, found.at, width)]
        return Group(*parts)

    def _head(self, found: Overview | None, width: int, *, live: bool) -> Text:
        at = "" if found is None else _clock(found.at)
        said = [("laneway top", "bold"), (self._address, "dim"), (at, "")]
        if live and width >= 60:
            said.append(("q ends it", "dim"))
        line = Text("  ").join(Text(text, style=style) for text, style in said if text)
        line.truncate(width, overflow="ellipsis")
        return line


def plain(text: str) -> str:
    """A text that others wrote as one that moves no cursor and turns nothing around."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _rates(hour: Hour | None, width: int) -> Iterable[RenderableType]:
    if hour is None:
        return [Text("the last hour is being read …", style="dim")]
    lines = []
    for name, style in _RATES:
        values: list[float] = getattr(hour, name)
        now = values[-1] if values else 0.0
        bars = values[-max(0, min(60, width - 26)) :] if width >= 40 else []
        lines.append(Text.assemble((f"{name:<10}", style), f"{_number(now):>8}/s  ", (_sparkline(bars), style)))
    return lines


def _attention(shown: Sequence[Attention], more: int) -> Iterable[RenderableType]:
    if not shown:
        return [Text("✓ Everything flows: nothing is held, and nothing needs you.", style="green")]
    # A few may take a second line each; of many the beginning must do.
    whole = len(shown) <= 2
    lines = [
        Text(
            f"{'!!' if each.grave else '! '} {plain(each.subject)}: {plain(each.said)}",
            style="bold red" if each.grave else "yellow",
            overflow="fold" if whole else "ellipsis",
            no_wrap=not whole,
        )
        for each in shown
    ]
    return [*lines, *_and_more(more)]


def _lanes(lanes: list[LaneState] | None, width: int, lines: int | None) -> Iterable[RenderableType]:
    if lanes is None:
        return [Text("asking Kafka how long the lanes are …", style="dim")]
    busy = sorted((each for each in lanes if _busy(each)), key=lambda each: (not each.paused, -(each.lag or 0)))
    shown, more = _cut(busy, lines)
    columns = ["lane", "waiting", "running"]
    columns += ["oldest"] if width >= 56 else []
    columns += ["rate"] if width >= 66 else []
    columns += ["wait p50", "p99"] if width >= 86 else []
    table = _table("lane", *columns[1:], "state")
    for each in shown:
        cells = {
            "waiting": _number(each.lag),
            "running": _number(each.running),
            "oldest": _seconds(each.oldest_seconds if each.lag else None),
            "rate": _NOTHING if each.rate is None else f"{_number(each.rate)}/s",
            "wait p50": _seconds(each.waits.p50 if each.waits else None),
            "p99": _seconds(each.waits.p99 if each.waits else None),
        }
        state = Text("held", style="yellow") if each.paused else Text("flows", style="green")
        if each.paused and each.reason and width >= 66:
            state.append(f": {plain(each.reason)}", style="dim")
        table.add_row(Text(plain(f"{each.type}.{each.priority}")), *(cells[name] for name in columns[1:]), state)
    idle = len(lanes) - len(busy)
    rest = [Text(f"{idle} of {len(lanes)} lanes are empty", style="dim")] if idle else []
    return [*([table] if shown else []), *_and_more(more), *rest]


def _workers(
    workers: list[WorkerView] | None, shown: Sequence[WorkerView], more: int, now: datetime, width: int
) -> Iterable[RenderableType]:
    if workers is None:
        return [Text("reading what the workers report …", style="dim")]
    if not workers:
        return [Text("no workers; start one: laneway worker", style="dim")]
    columns = ["busy", "ended"] if width >= 56 else ["busy"]
    table = _table("worker", *columns, "state", *(["longest"] if width >= 76 else []))
    for each in shown:
        state = Text("alive", style="green")
        if not each.alive:
            state = Text("silent", style="bold red")
        elif each.stuck:
            state = Text("stuck", style="bold yellow")
        cells = {"busy": f"{each.running_total}/{sum(slots.total for slots in each.slots)}", "ended": f"{each.ended}"}
        longest = Text(_NOTHING, style="dim")
        if each.running:
            first = each.running[0]
            longest = Text(f"{plain(first.type)} {_seconds((now - first.since).total_seconds())}")
        row: list[str | Text] = [Text(plain(each.worker)), *(cells[name] for name in columns), state]
        table.add_row(*row, *([longest] if width >= 76 else []))
    return [table, *_and_more(more)]


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold dim", expand=False)
    table.add_column(first, overflow="ellipsis", no_wrap=True)
    for name in others:
        words = name in ("state", "longest")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, overflow="ellipsis")
    return table


def _busy(lane: LaneState) -> bool:
    return bool(lane.paused or lane.lag or lane.running or lane.rate or lane.waits)


def _cut(items: Sequence[T], most: int | None) -> tuple[Sequence[T], int]:
    shown = items if most is None else items[:most]
    return shown, len(items) - len(shown)


def _and_more(count: int) -> list[RenderableType]:
    return [Text(f"and {count} more", style="dim")] if count else []


def _sparkline(values: Sequence[float]) -> str:
    top = max(values, default=0.0)
    if top <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1)))] for value in values)


def _number(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return _NOTHING
    value = max(0.0, value)  # clocks differ
    if value < 1:
        return f"{round(value * 1000)} ms"
    if value < 60:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7_200 else f"{value / 3_600:.0f} h"


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
