"""The broker's configuration files, as pure text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from laneway.kafka.embedded.ports import HOST

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
LOG_FILE: Final = "kafka.log"
MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class NodePorts:
    """Where one node listens."""

    node: int
    broker: int
    controller: int
    advertised: int | None = None
    """Port that clients are told to use, where a proxy stands before this node."""
    internal: int | None = None
    """Where the other nodes find it then: they do not go through the proxy."""


def server_properties(node: int, nodes: Sequence[NodePorts], directory: Path) -> str:
    """``server.properties`` of one node, which is broker and controller in one.

    The quorum is a static list, so that the addresses of its voters may change from one start to the next.
    """
    own = next(ports for ports in nodes if ports.node == node)
    copies = min(len(nodes), 3)
    in_sync = max(1, copies - 1)
    listeners = {"PLAINTEXT": own.broker, "CONTROLLER": own.controller}
    advertised = {"PLAINTEXT": own.advertised or own.broker}
    if own.internal is not None:
        listeners["INTERNAL"] = advertised["INTERNAL"] = own.internal
    settings: Mapping[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(f"{n.node}@{HOST}:{n.controller}" for n in nodes),
        "listeners": _addresses(listeners),
        "advertised.listeners": _addresses(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        "inter.broker.listener.name": "PLAINTEXT" if own.internal is None else "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": directory / "log",
        # A topic exists because somebody declared it; a misspelt name must be an error.
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "unclean.leader.election.enable": "false",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        # The internal topics: few partitions, so that creating and loading them does not hold up the first group.
        "offsets.topic.num.partitions": 12,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Groups form at once, and may notice a dead member within seconds.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 2000,
        "group.max.session.timeout.ms": 1_800_000,
        # A dead broker is noticed within four seconds instead of nine.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 4000,
        # While on a busy machine its controllers take turns a node waits, rather than end: who starts it has a bound.
        "initial.broker.registration.timeout.ms": 600_000,
        # Sizes for a heap of half a gigabyte; the cleaner's default alone is 128 MiB of it.
        "log.cleaner.dedupe.buffer.size": 16 * MIB,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # Index files are allocated whole for each partition.
        "log.segment.bytes": 256 * MIB,
        "log.index.size.max.bytes": 2 * MIB,
        "log.retention.check.interval.ms": 60_000,
    }
    return "".join(f"{name}={escaped(value)}\n" for name, value in settings.items())


def _addresses(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in listeners.items())


def log4j_properties(directory: Path) -> str:
    """Log4j's configuration: one file in the node's directory, bounded in size."""
    log = directory / LOG_FILE
    settings: Mapping[str, object] = {
        "status": "error",
        # No thread that watches this file, no shutdown hook that ends the log before the broker's own last words.
        "monitorInterval": 0,
        "shutdownHook": "disable",
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": log,
        "appender.file.filePattern": f"{log}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d{yyyy-MM-dd'T'HH:mm:ss.SSSX} %-5p [%t] %c{1}: %m%n",
        "appender.file.policies.type": "Policies",
        "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size.size": "10MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": 2,
        "rootLogger.level": "INFO",
        "rootLogger.appenderRef.file.ref": "file",
        # Every value of every setting, hundreds of lines at each start.
        "logger.settings.name": "org.apache.kafka.common.config.AbstractConfig",
        "logger.settings.level": "WARN",
        "logger.kafkaSettings.name": "kafka.server.KafkaConfig",
        "logger.kafkaSettings.level": "WARN",
    }
    return "".join(f"{name}={escaped(value)}\n" for name, value in settings.items())


def escaped(value: object) -> str:
    """A value as Java's properties format reads it back."""
    return "".join(c if " " <= c <= "~" and c != "\\" else _unicode_escape(c) for c in str(value))


def _unicode_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def java_options(*, heap_mb: int, directory: Path) -> list[str]:
    """Options of the virtual machine that runs a node or a tool for it."""
    return [
        f"-Xmx{heap_mb}m",
        # The small heap and few cores of one machine: the serial collector starts faster and needs less.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        # Nothing outside the node's directory: no counters in /tmp, native libraries unpacked here.
        "-XX:-UsePerfData",
        f"-XX:ErrorFile={directory}/java-error-%p.log",
        f"-Djava.io.tmpdir={directory / 'tmp'}",
        "-Djava.awt.headless=true",
        # Kafka unmaps its buffers and loads its codecs this way; Java 25 warns of both.
        "--sun-misc-unsafe-memory-access=allow",
        "--enable-native-access=ALL-UNNAMED",
        f"-Dlog4j2.configurationFile={(directory / 'log4j2.properties').as_uri()}",
        "-Dlog4j2.disableJmx=true",
    ]
