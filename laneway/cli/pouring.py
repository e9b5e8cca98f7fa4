"""``laneway results --sink``: how it is run, stopped and shown."""

import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from laneway.cli.output import show_json

if TYPE_CHECKING:
    from consumers.drain import Progress
    from schemas.settings import Settings

_LOG_EVERY = 10.0


def pour(
    type_name: str,
    address: str,
    table: str,
    start: Any,
    follow: bool,
    group: str | None,
    settings: "Settings",
    as_json: bool,
) -> None:
    """Write outcomes to a sink until the end, Ctrl-C or SIGTERM; what came in whole by then is written."""
    from consumers.drain import Drain
    from consumers.sinks.address import fingerprint, open_sink
    from schemas.topics import Topics

    topics = Topics(settings.kafka.topic_prefix)
    topic = topics.results(type_name)
    meter = _Meter(type_name)
    drain = Drain(
        topic,
        group or topics.sink_group(type_name, fingerprint(address, table)),
        open_sink(address, table=table, topic=topic),
        start=start,
        follow=follow,
        settings=settings,
        tell=meter.tell,
    )
    with meter:
        before = {each: signal.signal(each, lambda *_: drain.stop()) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            progress = drain.run()
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
    if as_json:
        show_json({"rows": progress.rows, "refused": progress.refused, "lag": progress.lag})


class _Meter:
    """Progress on standard error: one live line on a terminal, a log line now and then elsewhere."""

    def __init__(self, type_name: str) -> None:
        self._name = type_name
        self._show: Callable[[str], None] | None = None
        self._close: Callable[[], None] | None = None
        self._at = self._logged_at = time.monotonic()
        self._rows = self._logged_rows = 0

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            from rich.console import Console

            status = Console(stderr=True).status("joining the group")
            status.start()
            self._show, self._close = status.update, status.stop

    def __exit__(self, *_: object) -> None:
        if self._close is not None:
            self._close()

    def tell(self, progress: "Progress") -> None:
        """Show how far it is."""
        now = time.monotonic()
        if self._show is not None:
            rate = (progress.rows - self._rows) / max(0.001, now - self._at)
            self._at, self._rows = now, progress.rows
            self._show(self._line(progress, rate))
        elif now - self._logged_at >= _LOG_EVERY:
            import structlog

            rate = (progress.rows - self._logged_rows) / (now - self._logged_at)
            self._logged_at, self._logged_rows = now, progress.rows
            structlog.get_logger("laneway").info(
                "outcomes written",
                type=self._name,
                rows=progress.rows,
                rate=round(rate),
                lag=progress.lag,
                refused=progress.refused,
                waiting=progress.waiting,
            )

    def _line(self, progress: "Progress", rate: float) -> str:
        from rich.markup import escape

        lag = "?" if progress.lag is None else f"{progress.lag:,}"
        parts = [f"{progress.rows:,} written", f"{rate:,.0f}/s", f"lag {lag}", f"{progress.partitions} partitions"]
        if progress.refused:
            parts.append(f"[yellow]{progress.refused:,} refused[/]")
        if progress.waiting:
            parts.append(f"[red]waiting: {escape(progress.waiting)}[/]")
        return f"{self._name}: {' · '.join(parts)}"
