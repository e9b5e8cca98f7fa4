"""The system under measurement: a cluster, and on it one API and some workers under a topic prefix of their own."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from subprocess import run
from typing import Final

import httpx
import msgspec

from laneway.bench import machine
from laneway.bench.log import LogReader
from laneway.bench.processes import Part, stop_all
from laneway.bench.tasks import MODULE
from laneway.stack.ports import claim
from schemas.errors import BenchmarkError
from schemas.settings import Settings, environment_for

BROKER_WITHIN: Final = 300.0
"""The first start on a machine fetches Kafka."""
READY_WITHIN: Final = 120.0
_APPLY_TRIES: Final = 3
_HOST: Final = "127.0.0.1"


class _BrokerIsUp(msgspec.Struct):
    kafka: str


class Cluster:
    """Where the records lie: the embedded broker as a child, or the cluster that the settings name."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self._broker: Part | None = None

    @property
    def embedded(self) -> bool:
        """Whether the broker is our own."""
        return self._broker is not None

    def start(self) -> None:
        """Start the broker, unless there is a cluster.

        Raises:
            BenchmarkError: it did not start.
        """
        if self.settings.kafka.bootstrap_servers:
            return
        self._broker = Part(
            "broker",
            ["broker", "--port", "0", "--data-dir", str(self.folder / "broker"), "--json"],
            environment=environment_for(self.settings),
            log=self.folder / "broker.log",
        )
        self._broker.until(lambda: self._address() is not None, "no address", BROKER_WITHIN)
        kafka = self.settings.kafka.model_copy(update={"bootstrap_servers": self._address()})
        self.settings = self.settings.model_copy(update={"kafka": kafka})

    def _address(self) -> str | None:
        line = self._broker.said('"event":"up"') if self._broker else None
        return msgspec.json.decode(line, type=_BrokerIsUp).kafka if line else None

    def stop(self) -> None:
        """Stop the broker."""
        if self._broker is not None:
            self._broker.stop()

    def pids(self) -> list[int]:
        """Processes of the broker; none where the cluster is somebody else's."""
        return self._broker.pids() if self._broker else []


class System:
    """An API and workers, started by their public commands.

    Args:
        cluster: where to.
        types: what the workers run.
        workers: how many worker processes.
        concurrency: slots of each type in each of them.
        partitions: of every topic.
        dedicated: whether ``high`` has a further worker process of its own, and these run only the others.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        types: Sequence[str],
        workers: int,
        concurrency: int,
        partitions: int,
        dedicated: bool = False,
    ) -> None:
        self._cluster = cluster
        self._types = list(types)
        self._priorities: list[list[str]] = [["--priorities", "normal,low"] if dedicated else []] * workers
        if dedicated:
            self._priorities.append(["--priorities", "high"])
        self._concurrency = concurrency
        name = f"bench-{token_hex(4)}"
        self._folder = cluster.folder / name
        self.port = claim("LANEWAY_API__PORT", _HOST, 0)
        base = cluster.settings
        kafka = base.kafka.model_copy(update={"topic_prefix": f"laneway.{name}.", "partitions": partitions})
        api = base.api.model_copy(update={"host": _HOST, "port": self.port})
        self.settings = base.model_copy(update={"kafka": kafka, "api": api, "data_dir": self._folder / "data"})
        self._environment = environment_for(self.settings) | {"PYTHONUNBUFFERED": "1"}
        self.log = LogReader(self.settings)
        self._api: Part | None = None
        self._workers: list[Part] = []
        self._started = 0

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://{_HOST}:{self.port}"

    def start(self) -> None:
        """Apply the topics, start the API and the workers.

        Blocking: until every lane is consumed and the status view has caught up.

        Raises:
            BenchmarkError: a part did not start.
        """
        self._folder.mkdir(parents=True)
        self._apply_topics()
        self._api = self._part("api", ["api", "--import", MODULE])
        self.start_workers()
        self._until_ready()

    def _apply_topics(self) -> None:
        command = [sys.executable, "-P", "-m", "laneway.cli", "topics", "apply", "--import", MODULE, "--json"]
        for attempt in range(1, _APPLY_TRIES + 1):
            applied = run(command, env=self._environment, capture_output=True, text=True, check=False)
            if not applied.returncode:
                return
            # A busy broker takes its time to find leaders for new topics; applying again waits for them.
            if attempt == _APPLY_TRIES:
                raise BenchmarkError(f"the topics could not be applied: {applied.stderr.strip()}")

    def start_workers(self) -> None:
        """Start the workers; returns once they consume."""
        types = ["--types", ",".join(self._types), "--concurrency", str(self._concurrency), "--import", MODULE]
        for priorities in self._priorities:
            self._started += 1
            self._workers.append(self._part(f"worker-{self._started}", ["worker", *types, *priorities]))
        for worker in self._workers:
            worker.until(lambda worker=worker: worker.said("worker ready") is not None, "not ready", READY_WITHIN)  # type: ignore[misc]  # mypy cannot infer a lambda with a default

    def stop_workers(self) -> None:
        """Stop the workers in order."""
        stop_all(self._workers)
        self._workers = []

    def _until_ready(self) -> None:
        if self._api is not None:
            self._api.until(self._ready, "not ready", READY_WITHIN)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def require_alive(self) -> None:
        """Raise if a part has ended.

        Raises:
            BenchmarkError: says which, with its last words.
        """
        for part in self._parts:
            part.require_alive()

    def groups(self) -> dict[str, list[int]]:
        """Process ids by what they are: API, view, workers, broker."""
        api = self._api.pids() if self._api else []
        # The view's materialiser is a child of the API; it is told apart, because it follows the log, not requests.
        view = [pid for pid in api if "ingest.view" in machine.command(pid)]
        groups = {
            "api": [pid for pid in api if pid not in view],
            "view": view,
            "workers": [pid for worker in self._workers for pid in worker.pids()],
            "broker": self._cluster.pids(),
        }
        return {name: pids for name, pids in groups.items() if pids}

    def stop(self) -> None:
        """Stop everything, and take back the topics where the cluster is somebody else's."""
        stop_all(self._parts)
        self._workers = []
        self._api = None
        if not self._cluster.embedded:
            self.log.delete_topics()

    def _part(self, name: str, arguments: list[str]) -> Part:
        return Part(name, arguments, environment=self._environment, log=self._folder / f"{name}.log")

    @property
    def _parts(self) -> list[Part]:
        return [*self._workers, *([self._api] if self._api else [])]


@contextmanager
def running(system: System) -> Iterator[System]:
    """The system, started, for as long as the block runs.

    Raises:
        BenchmarkError: a part did not start, or had ended by the end of the block.
    """
    try:
        system.start()
        yield system
        system.require_alive()
    finally:
        system.stop()
