import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Final, Literal

from laneway.kafka.broker import EmbeddedKafka
from laneway.kafka.embedded.jars import JarSet
from laneway.stack.children import HEALTHY_AFTER, backoff_after
from laneway.stack.report import Report
from schemas.errors import BrokerUnavailableError

_LOOKED_AT_EVERY: Final = 0.5


class _GivenUpError(Exception):
    """Somebody asked to stop while the broker was being started."""


class SupervisedBroker:
    """The embedded broker as the stack runs it: from an event loop, and started again when it dies."""

    def __init__(self, data_dir: Path, *, port: int, brokers: Literal[1, 3], report: Report) -> None:
        self._count = brokers
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._kafka = EmbeddedKafka(data_dir, port=port, brokers=brokers, on_progress=self._on_progress)
        self._in_thread: asyncio.Future[None] | None = None
        self._stopping = False

    @property
    def bootstrap_servers(self) -> str:
        """Address of every node, for clients."""
        return self._kafka.bootstrap_servers

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {f"kafka-{node}": pid for node, pid in self._kafka.pids.items()}

    async def start(self) -> None:
        """Start every node; the first time on a machine, fetch Kafka.

        Raises:
            ConfigurationError: a port is taken, or the data directory is in use or of another number of brokers.
            BrokerUnavailableError: it could not be fetched, or did not start.
        """
        began = time.monotonic()
        with self._report.waiting("Starting Apache Kafka"):
            self._in_thread = self._loop.run_in_executor(None, self._kafka.start)
            await asyncio.shield(self._in_thread)
        self._report.ready(
            "kafka",
            f"Kafka {JarSet.pinned().kafka_version} ready at {self.bootstrap_servers}",
            time.monotonic() - began,
            address=self.bootstrap_servers,
        )

    async def watch(self) -> None:
        """Start every node again that ends by itself; never returns."""
        deaths = 0
        back = time.monotonic()
        while True:
            await asyncio.sleep(_LOOKED_AT_EVERY)
            dead = [node for node in range(1, self._count + 1) if node not in self._kafka.pids]
            if not dead:
                continue
            deaths = 1 if time.monotonic() - back > HEALTHY_AFTER.total_seconds() else deaths + 1
            wait = backoff_after(deaths).total_seconds()
            log = self._kafka.log_file(dead[0])
            text = f"Kafka ended; starting it again in {wait:g} s (its log: {log})"
            self._report.note("broker_died", text, trouble=True, nodes=dead, seconds=wait)
            await asyncio.sleep(wait)
            began = time.monotonic()
            await self._start_again(dead)
            back = time.monotonic()
            if len(self._kafka.pids) == self._count:
                self._report.ready("kafka", f"Kafka is back at {self.bootstrap_servers}", back - began)

    async def stop(self) -> None:
        """Stop every node in order, also in the middle of a start."""
        self._stopping = True
        if self._in_thread is not None:
            # The broker belongs to one thread at a time. What went wrong there, its own caller was told.
            await asyncio.wait([self._in_thread])
            self._in_thread.exception()
        await asyncio.to_thread(self._kafka.stop)

    async def _start_again(self, nodes: list[int]) -> None:
        for node in nodes:
            self._in_thread = self._loop.run_in_executor(None, self._kafka.start_nodes, node)
            try:
                await asyncio.shield(self._in_thread)
            except BrokerUnavailableError as error:
                self._report.note("broker_failed", str(error), trouble=True, node=node)

    def _on_progress(self, what: str, done: int, total: int) -> None:
        """Runs in the threads of the broker's start."""
        if self._stopping:  # leaves the start, which takes back what it did: nobody waits for a download after Ctrl-C
            raise _GivenUpError
        text = f"{what[:1].upper()}{what[1:]}"
        if total:
            text += f": {done / 1e6:.0f} of {total / 1e6:.0f} MB, once on this machine"
        self._loop.call_soon_threadsafe(self._report.progress, text)


async def run_broker(data_dir: Path, *, port: int, brokers: Literal[1, 3], report: Report) -> int:
    """Run the embedded broker alone until SIGINT or SIGTERM; answers 0.

    Raises:
        ConfigurationError: a port is taken, or the data directory is in use or of another number of brokers.
        BrokerUnavailableError: it could not be fetched, or did not start.
    """
    loop = asyncio.get_running_loop()
    broker = SupervisedBroker(data_dir, port=port, brokers=brokers, report=report)

    async def work() -> None:
        await broker.start()
        report.note("up", "Ctrl-C stops it.", kafka=broker.bootstrap_servers, pids=broker.pids)
        await broker.watch()

    task = asyncio.ensure_future(work())
    asked = False

    def on_signal() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await broker.stop()
    report.note("stopped", "Stopped.")
    return 0 if asked else 1
