"""A real Apache Kafka on this machine, from Python packages alone: for development, tests and `laneway up`."""

import json
import logging
import os
import shutil
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from subprocess import TimeoutExpired
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from laneway.kafka.embedded.archive import ClassArchive
from laneway.kafka.embedded.jars import JarSet, ProgressListener, ignore_progress, provide
from laneway.kafka.embedded.locking import acquire
from laneway.kafka.embedded.ports import HOST, answers, free_ports, is_free
from laneway.kafka.embedded.process import GuardedJava, tail
from laneway.kafka.embedded.properties import (
    LOG_FILE,
    NodePorts,
    java_options,
    log4j_properties,
    server_properties,
)
from schemas.errors import BrokerUnavailableError, ConfigurationError
from schemas.settings import user_cache_dir

__all__ = ["EmbeddedKafka", "ProgressListener"]

PORT_OPTION: Final = "--kafka-port"
BROKERS_OPTION: Final = "--brokers"
DATA_OPTION: Final = "--data-dir"
START_TRIES: Final = 3
# What a previous owner of the directory may still need for its orderly end.
RELEASE_WITHIN: Final = timedelta(seconds=20)

_silent = logging.getLogger("laneway.kafka.broker.probe")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass
class _Node:
    """One broker: where it lives, and its process while it runs."""

    ports: NodePorts
    directory: Path
    process: GuardedJava | None = None
    log_seen: int = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.exit_code() is None

    def log_of_this_start(self) -> str:
        return tail(self.directory / LOG_FILE, 300, after=self.log_seen)

    def last_words(self) -> str:
        log = self.log_of_this_start().splitlines()
        telling = [line for line in log if " ERROR " in line or " FATAL " in line or "Exception" in line]
        console = self.process.console_tail() if self.process else ""
        return "\n".join([*(telling or log)[-12:], console]).strip()


class EmbeddedKafka:
    """Apache Kafka in KRaft mode: one node, or three, on the loopback interface.

    The first start on a machine fetches Kafka's jars (45 MB) into the user's cache directory; every later one uses no
    network. Records, topics and offsets stay in ``data_dir`` between starts; the ports may differ from one start to the
    next. The brokers end with this process, even when it is killed. Not thread-safe: one thread at a time.

    Args:
        data_dir: where this cluster's data lies, and its log (``node-N/kafka.log``); made when missing.
        port: of the first broker, the others take the ones that follow; 0 chooses free ones.
        brokers: 1 or 3 nodes, each broker and controller in one. Three replicate every topic that does not say
            otherwise, and survive the loss of one. A data directory belongs to the number it was first started with.
        cache_dir: where jars are kept; unless given, the user's cache directory, or ``data_dir`` where that cannot be
            written.
        start_timeout: until a broker that has not answered is given up.
        on_progress: hears what a slow first start is doing.
        advertised_ports: one for each node, that clients are told to use instead of the node's own: of a proxy or a
            tunnel before it. The nodes talk to one another without it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        brokers: int = 1,
        cache_dir: Path | None = None,
        start_timeout: timedelta = timedelta(seconds=90),
        on_progress: ProgressListener = ignore_progress,
        advertised_ports: Sequence[int] = (),
    ) -> None:
        if brokers not in (1, 3):
            raise ConfigurationError(BROKERS_OPTION, brokers, "1 or 3")
        if not 0 <= port <= 65535 - brokers + 1:
            raise ConfigurationError(PORT_OPTION, port, "0 (a free port) to 65535")
        self._data_dir = data_dir.absolute()
        self._port = port
        self._count = brokers
        self._cache_dir = cache_dir.absolute() if cache_dir else None
        self._start_timeout = start_timeout
        self._on_progress = on_progress
        if advertised_ports and len(advertised_ports) != brokers:
            raise ValueError(
                f"advertised_ports has {len(advertised_ports)} ports; want one for each of {brokers} nodes"
            )
        self._advertised_ports = list(advertised_ports)
        self._jar_set = JarSet.pinned()
        self._nodes: dict[int, _Node] = {}
        self._lock: int | None = None
        self._class_path = ""
        self._archive: ClassArchive | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Address of every node, for clients."""
        return ",".join(f"{HOST}:{node.ports.broker}" for node in self._nodes.values())

    @property
    def ports(self) -> dict[int, int]:
        """Where every node listens for clients, by node number (from 1)."""
        return {number: node.ports.broker for number, node in self._nodes.items()}

    @property
    def internal_servers(self) -> str:
        """Address of every node as the nodes use it among themselves, past what stands before ``advertised_ports``."""
        return ",".join(f"{HOST}:{node.ports.internal or node.ports.broker}" for node in self._nodes.values())

    @property
    def pids(self) -> dict[int, int]:
        """Java's process id of every node that runs, by node number (from 1)."""
        return {number: node.process.pid for number, node in self._nodes.items() if node.process and node.running}

    def log_file(self, node: int = 1) -> Path:
        """Where the node writes its log."""
        return self._directory(node) / LOG_FILE

    def start(self) -> None:
        """Start every node.

        Blocking: until all of them answer and know one another; on a machine's first start, for the jars as well.

        Raises:
            ConfigurationError: a port is taken, the data directory is in use or was made with another number of
                brokers, or a jar in the cache is not the pinned one.
            BrokerUnavailableError: the jars could not be fetched, or a node ended or did not answer in time.
        """
        if self._lock is not None:
            raise RuntimeError("this broker is started already")
        try:
            self._prepare()
            for attempt in range(1, START_TRIES + 1):
                self._place()
                try:
                    self._launch(list(self._nodes))
                    break
                except _PortTakenError as error:
                    # Somebody took a port between our look at it and Java's use of it. Placing anew says so if it is
                    # one that was asked for.
                    self._stop_nodes(list(self._nodes))
                    if attempt == START_TRIES:
                        raise self._port_error(error.port) from error
            if self._archive is not None:
                self._archive.make_in_background(self._recorded(1))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every node in order; harmless when nothing runs.

        Blocking: until every process has ended, at most some 15 s, usually less than one.
        """
        if self._archive is not None:
            self._archive.stop()
        self._stop_nodes(list(self._nodes))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def kill(self, node: int = 1) -> None:
        """Kill one node with SIGKILL, as a crash would; returns once it has ended."""
        process = self._nodes[node].process
        if process is not None:
            process.kill()

    def stop_node(self, node: int = 1) -> None:
        """Stop one node in order; returns once it has ended."""
        self._stop_nodes([node])

    def start_nodes(self, *nodes: int) -> None:
        """Start nodes again, on the ports that they had; returns once they answer and serve.

        Most of the nodes must run for one to serve: start those together that went down together.

        Raises:
            ConfigurationError, BrokerUnavailableError: as ``start`` does.
        """
        if self._lock is None:
            raise RuntimeError("this broker is not started: call start() first")
        down = [node for node in nodes if not self._nodes[node].running]
        if not down:
            return
        try:
            self._launch(down)
        except _PortTakenError as error:
            raise self._port_error(error.port) from error

    # What a start consists of.

    def _prepare(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = acquire(self._data_dir / "lock", RELEASE_WITHIN)
        if self._lock is None:
            raise ConfigurationError(DATA_OPTION, str(self._data_dir), "a directory that no other broker is using")
        cluster_id = self._identity()
        cache_dir = self._provide_jars()
        self._class_path = self._jar_set.class_path(cache_dir)
        self._archive = ClassArchive(self._jar_set, cache_dir)
        # Ports of their own: formatting reads them, and they change again when the nodes start.
        self._place()
        self._format(cluster_id)

    def _identity(self) -> str:
        """The cluster's id; made on the first start, and bound to the number of nodes."""
        path = self._data_dir / "cluster.json"
        if path.exists():
            made = json.loads(path.read_text("utf-8"))
            if made["brokers"] != self._count:
                raise ConfigurationError(
                    BROKERS_OPTION,
                    self._count,
                    f"{made['brokers']}, which the data in {self._data_dir} was made with; or another {DATA_OPTION}",
                )
            return str(made["cluster_id"])
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster_id.startswith("-"):  # the tool would take it for an option
            cluster_id = "A" + cluster_id[1:]
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"cluster_id": cluster_id, "brokers": self._count}), "utf-8")
        unfinished.replace(path)
        return cluster_id

    def _provide_jars(self) -> Path:
        if self._cache_dir is not None:
            provide(self._jar_set, self._cache_dir, on_progress=self._on_progress)
            return self._cache_dir
        try:
            cache_dir = user_cache_dir()
            provide(self._jar_set, cache_dir, on_progress=self._on_progress)
        except (OSError, RuntimeError):  # no home directory, or none that can be written
            cache_dir = self._data_dir / "cache"
            provide(self._jar_set, cache_dir, on_progress=self._on_progress)
        return cache_dir

    def _place(self) -> None:
        """Give every node its ports and write its configuration."""
        numbers = range(1, self._count + 1)
        wanted = [self._port + number - 1 if self._port else 0 for number in numbers]
        for port in filter(None, wanted):
            if not is_free(port):
                raise self._port_error(port)
        free = free_ports(3 * self._count, avoid=wanted)
        ports = [NodePorts(n, w or free.pop(), free.pop()) for n, w in zip(numbers, wanted, strict=True)]
        if self._advertised_ports:
            ports = [
                replace(own, advertised=port, internal=free.pop())
                for own, port in zip(ports, self._advertised_ports, strict=True)
            ]
        for own in ports:
            directory = self._directory(own.node)
            # Whatever a killed Java unpacked.
            shutil.rmtree(directory / "tmp", ignore_errors=True)
            (directory / "tmp").mkdir(parents=True)
            (directory / "server.properties").write_text(server_properties(own.node, ports, directory), "ascii")
            (directory / "log4j2.properties").write_text(log4j_properties(directory), "ascii")
            self._nodes[own.node] = _Node(own, directory)

    def _format(self, cluster_id: str) -> None:
        # The tool writes meta.properties last and at once, so where it is, the directory is whole, and is left alone.
        fresh = [n for n in self._nodes.values() if not (n.directory / "log" / "meta.properties").exists()]
        if fresh:
            self._on_progress("formatting the broker's data directory", 0, 0)
        tools = []
        try:
            for node in fresh:
                options = ["--cluster-id", cluster_id, "--config", str(node.directory / "server.properties")]
                tools.append(self._java(node, ["kafka.tools.StorageTool", "format", *options], console="format.log"))
            for tool in tools:
                if tool.wait(self._start_timeout):
                    raise BrokerUnavailableError(f"Kafka could not format its data directory:\n{tool.console_tail()}")
        except TimeoutExpired as error:
            raise BrokerUnavailableError(
                f"Kafka did not format its data directory within {self._start_timeout.total_seconds():g} s"
            ) from error
        finally:
            for tool in tools:
                tool.stop()

    def _java(self, node: _Node, program: Sequence[str], *, console: str) -> GuardedJava:
        if self._archive is None:
            raise RuntimeError("this broker is not started: call start() first")
        options = java_options(heap_mb=512 if self._count == 1 else 384, directory=node.directory)
        options += self._archive.options(self._recorded(node.ports.node))
        return GuardedJava(
            [*options, "-cp", self._class_path, *program], console=node.directory / console, keep_fd=self._lock
        )

    def _launch(self, numbers: list[int]) -> None:
        """Start some nodes and wait until each of them answers and counts every running node."""
        self._on_progress(f"starting Apache Kafka {self._jar_set.kafka_version}", 0, 0)
        for number in numbers:
            node = self._nodes[number]
            log = node.directory / LOG_FILE
            node.log_seen = log.stat().st_size if log.exists() else 0
            node.process = self._java(
                node, ["kafka.Kafka", str(node.directory / "server.properties")], console="console.log"
            )
        deadline = time.monotonic() + self._start_timeout.total_seconds()
        for number in numbers:
            self._await_answer(self._nodes[number], numbers, deadline)

    def _await_answer(self, node: _Node, launched: list[int], deadline: float) -> None:
        expected = {number for number, other in self._nodes.items() if other.running}
        client: AdminClient | None = None
        while True:
            for number in launched:
                self._require_running(self._nodes[number])
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(
                    f"Kafka's node {node.ports.node} did not answer on {HOST}:{node.ports.broker} within "
                    f"{self._start_timeout.total_seconds():g} s; its log {node.directory / LOG_FILE} ends with:\n"
                    f"{node.last_words()}"
                )
            # A bare connection first: librdkafka backs off after a refused one, and would find the broker late.
            if client is None and answers(node.ports.broker):
                client = AdminClient({"bootstrap.servers": f"{HOST}:{node.ports.broker}"}, logger=_silent)
            if client is not None and expected <= _members(client):
                return
            time.sleep(0.02)

    def _require_running(self, node: _Node) -> None:
        if node.process is None or (code := node.process.exit_code()) is None:
            return
        words = node.last_words()
        if "Address already in use" in node.log_of_this_start():
            raise _PortTakenError(node.ports.broker)
        raise BrokerUnavailableError(
            f"Kafka's node {node.ports.node} ended with code {code} while it started; "
            f"its log {node.directory / LOG_FILE} ends with:\n{words}"
        )

    def _stop_nodes(self, numbers: list[int]) -> None:
        processes = [p for number in numbers if number in self._nodes and (p := self._nodes[number].process)]
        for process in processes:
            process.request_stop()
        for process in processes:
            process.stop()

    def _directory(self, node: int) -> Path:
        return self._data_dir / f"node-{node}"

    def _recorded(self, node: int) -> Path:
        return self._directory(node) / "tmp" / "classes.lst"

    def _port_error(self, port: int) -> ConfigurationError:
        return ConfigurationError(PORT_OPTION, port, f"a free port; {HOST}:{port} is taken (0 chooses a free one)")


class _PortTakenError(Exception):
    """Java found its port taken."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(port)


def _members(client: AdminClient) -> set[int]:
    """The brokers that serve, as one of them tells; none while it does not answer."""
    try:
        return set(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return set()
