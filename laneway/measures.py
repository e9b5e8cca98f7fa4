"""Counting what metrics tell, at the price of a few additions; Prometheus' form is made of it when it is asked for."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import TYPE_CHECKING, Final

from schemas.metrics import Metric

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

Cells = MutableSequence[int] | memoryview
"""Whole numbers that counts are kept in. One thread writes each; any may read."""

MICROSECONDS: Final = 1_000_000
DELAY_EVERY: Final = 0.25


def width(metric: Metric) -> int:
    """Cells that one series of a metric takes: of a histogram one for each bucket, and one for the sum."""
    return len(metric.buckets) + 2 if metric.kind == "histogram" else 1


class Histogram:
    """One series of a histogram of seconds, in cells: the buckets, then the sum in microseconds."""

    __slots__ = ("_at", "_bounds", "_cells", "_sum")

    def __init__(self, metric: Metric, cells: Cells | None = None, at: int = 0) -> None:
        self._cells = [0] * width(metric) if cells is None else cells
        self._at = at
        self._bounds = metric.buckets
        self._sum = at + len(metric.buckets) + 1

    def observe(self, seconds: float) -> None:
        """Count one value; a negative one, which clocks that differ can make, counts as 0."""
        if seconds < 0.0:
            seconds = 0.0
        cells = self._cells
        cells[self._at + bisect_left(self._bounds, seconds)] += 1
        cells[self._sum] += int(seconds * MICROSECONDS)

    @property
    def values(self) -> Sequence[int]:
        """Its cells."""
        return tuple(self._cells[self._at : self._sum + 1])


async def measure_delay(delay: Histogram) -> None:
    """Notice how late the running loop is, four times a second, until cancelled."""
    while True:
        asked = time.perf_counter()
        await asyncio.sleep(DELAY_EVERY)
        delay.observe(time.perf_counter() - asked - DELAY_EVERY)


def family_of(metric: Metric, series: Iterable[tuple[Sequence[str], Sequence[int]]] = ()) -> "Family":
    """A metric for Prometheus.

    Args:
        metric: of the catalogue.
        series: values of its labels, with its cells. A gauge of seconds is in microseconds, as a histogram's sum is. A
            histogram in which nothing was counted is left out.
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels, values in series:
            if any(values):
                histogram.add_metric([*labels], list(_reached(metric, values)), values[-1] / MICROSECONDS)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    found = kind(metric.name, metric.meaning, labels=metric.labels)
    unit = MICROSECONDS if metric.name.endswith("_seconds") else 1
    for labels, values in series:
        found.add_metric([*labels], values[0] / unit)
    return found


def _reached(metric: Metric, values: Sequence[int]) -> Iterator[tuple[str, float]]:
    count = 0
    for bound, number in zip((*map(str, metric.buckets), "+Inf"), values, strict=False):
        count += number
        yield bound, float(count)
