"""What a benchmark tells people."""

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from laneway.bench.run import BenchReport, Section, Spread

_UNITS: Final = {
    "_per_s": "/s",
    "_ms": "ms",
    "_mb": "MB",
    "_percent": "%",
    "_us_per_task": "µs/task",
    "seconds": "s",
}
_BESIDE: Final = ("cpu_us_per_task.", "foreign_percent")
"""Shown below a section's main figures: where the time goes, and what disturbed it."""


def show(report: BenchReport, out: Console) -> None:
    """Write the premises and a table."""
    for name, value in premises(report.premises):
        out.print(f"[dim]{name:<18}[/] {value}")
    out.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("section")
    table.add_column("figure")
    for column in ("min", "median", "max"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for name, section in report.sections.items():
        _add(table, name, section)
    out.print(table)
    for name, section in report.sections.items():
        if section.error:
            out.print(f"[red]{name}[/]: {section.error}", markup=True)


def premises(told: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The premises as lines."""
    for name, value in told.items():
        if isinstance(value, dict):
            yield prefix + name, ", ".join(f"{key} {inner}" for key, inner in value.items())
        else:
            yield prefix + name, str(value)


def _add(table: Table, name: str, section: Section) -> None:
    table.add_row(f"[bold]{name}[/]", f"[dim]{section.title}[/]")
    for figure, spread in section.figures.items():
        whole = figure.partition(".")[0]
        if whole in section.main or figure.startswith(_BESIDE):
            style = "" if whole in section.main else "dim"
            table.add_row("", figure, *_numbers(spread), unit_of(whole), style=style)


def _numbers(spread: Spread) -> Iterator[str]:
    yield from (number(value) for value in (spread.min, spread.median, spread.max))


def number(value: float) -> str:
    """A figure with about three digits that count."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def unit_of(figure: str) -> str:
    """The unit that a figure's name says."""
    return next((unit for ending, unit in _UNITS.items() if figure.endswith(ending)), "")
