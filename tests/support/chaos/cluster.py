"""Embedded brokers that faults strike, with a proxy before each where the scenario needs a bad network."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from laneway.kafka.broker import EmbeddedKafka
from tests.support.chaos.faults import FaultLog
from tests.support.chaos.proxy import TcpProxy


class StruckCluster:
    """One or three embedded brokers."""

    def __init__(self, data_dir: Path, *, brokers: int, proxied: bool = False) -> None:
        self.proxies = {number: TcpProxy() for number in range(1, brokers + 1)} if proxied else {}
        self.kafka = EmbeddedKafka(
            data_dir, brokers=brokers, advertised_ports=[proxy.port for proxy in self.proxies.values()]
        )
        self.brokers = brokers

    def start(self) -> None:
        """Start every node."""
        self.kafka.start()
        for number, proxy in self.proxies.items():
            proxy.upstream = self.kafka.ports[number]

    def stop(self) -> None:
        """End everything."""
        for pid in self.kafka.pids.values():
            _signal(pid, signal.SIGCONT)
        self.kafka.stop()
        for proxy in self.proxies.values():
            proxy.close()

    @property
    def bootstrap_servers(self) -> str:
        """What clients are given."""
        if self.proxies:
            return ",".join(proxy.address for proxy in self.proxies.values())
        return self.kafka.bootstrap_servers

    @property
    def direct_servers(self) -> str:
        """What those who watch are given: no proxy in between."""
        return self.kafka.internal_servers

    def leader(self, topic: str, partition: int = 0) -> int:
        """Number of the node that leads a partition now; -1 when none does."""
        admin = AdminClient({"bootstrap.servers": self.direct_servers, "log_level": 0})
        return int(admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader)

    def coordinator(self, group: str) -> int:
        """Number of the node that coordinates a group."""
        admin = AdminClient({"bootstrap.servers": self.direct_servers, "log_level": 0})
        described = admin.describe_consumer_groups([group], request_timeout=10)[group].result()
        return int(described.coordinator.id)

    @contextmanager
    def killed(self, faults: FaultLog, *numbers: int) -> Iterator[None]:
        """These nodes are killed (SIGKILL), and started again after the block."""
        with faults.lasting("broker_sigkill"):
            for number in numbers:
                pid = self.kafka.pids[number]
                self.kafka.kill(number)
                assert number not in self.kafka.pids, f"broker {number} ({pid}) lives"
            try:
                yield
            finally:
                self.kafka.start_nodes(*numbers)

    @contextmanager
    def stopped(self, faults: FaultLog, number: int) -> Iterator[None]:
        """A node is stopped in order, and started again after the block."""
        with faults.lasting("broker_sigterm"):
            self.kafka.stop_node(number)
            assert number not in self.kafka.pids
            try:
                yield
            finally:
                self.kafka.start_nodes(number)

    @contextmanager
    def frozen(self, faults: FaultLog, *numbers: int) -> Iterator[None]:
        """These nodes stand still (SIGSTOP) for as long as the block runs."""
        with faults.lasting("broker_sigstop"):
            for number in numbers:
                _signal(self.kafka.pids[number], signal.SIGSTOP)
            try:
                yield
            finally:
                for number in numbers:
                    _signal(self.kafka.pids[number], signal.SIGCONT)


@contextmanager
def running_cluster(data_dir: Path, *, brokers: int, proxied: bool = False) -> Iterator[StruckCluster]:
    """A cluster for as long as the block runs."""
    cluster = StruckCluster(data_dir, brokers=brokers, proxied=proxied)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
