"""Topics as code: plan, apply, verify."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from laneway.kafka.clients import client_config
from laneway.kafka.offsets import LATEST, OffsetAsker
from schemas.errors import BrokerUnavailableError, ConfigurationError
from schemas.settings import Settings
from schemas.topics import TopicSpec

_TIMEOUT: Final = 15.0


@dataclass(frozen=True)
class TopicChange:
    """What ``apply`` would do to one topic, or what it cannot do."""

    topic: str
    create: TopicSpec | None = None
    alter: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    """Options to set: name to (as it is, as it should be)."""
    conflict: str | None = None
    """A difference that no command of ours mends, in words."""

    def __str__(self) -> str:
        if self.conflict:
            return f"! {self.topic}: {self.conflict}"
        if self.create:
            return f"+ {self.topic} ({self.create.partitions} partitions, {self.create.replication_factor} replicas)"
        return f"~ {self.topic}: " + ", ".join(f"{key} {old} → {new}" for key, (old, new) in self.alter.items())


class TopicAdmin:
    """Creates and checks topics.

    Blocking: every method talks to the broker and blocks; from a loop, call it in a thread.

    Raises:
        BrokerUnavailableError: (every method) no broker answers.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = AdminClient(client_config(settings, "laneway-admin"))

    def plan(self, specs: list[TopicSpec]) -> list[TopicChange]:
        """Differences between the cluster and ``specs``; empty when there are none."""
        present = self.partitions()
        existing = [spec for spec in specs if spec.name in present]
        configs = self._configs([spec.name for spec in existing])
        changes = [TopicChange(spec.name, create=spec) for spec in specs if spec.name not in present]
        for spec in existing:
            if present[spec.name] != spec.partitions:
                conflict = (
                    f"has {present[spec.name]} partitions, want {spec.partitions}; a task's partition depends on it, so"
                    " it cannot change in place: set LANEWAY_KAFKA__PARTITIONS to what is there, or use another prefix"
                )
                changes.append(TopicChange(spec.name, conflict=conflict))
            config = configs[spec.name]
            alter = {key: (config.get(key), value) for key, value in spec.config.items() if config.get(key) != value}
            if alter:
                changes.append(TopicChange(spec.name, alter=alter))
        return changes

    def apply(self, specs: list[TopicSpec]) -> list[TopicChange]:
        """Create what is missing, set what differs; safe to repeat and to run twice at once.

        Returns:
            What was done.

        Raises:
            ConfigurationError: a topic has another number of partitions.
        """
        changes = self.plan(specs)
        self._refuse_conflicts(changes)
        new = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication_factor,
                config=spec.config,
            )
            for spec in (change.create for change in changes)
            if spec is not None
        ]
        if new:
            for future in self._client.create_topics(new, operation_timeout=_TIMEOUT).values():
                self._await(future, accept=KafkaError.TOPIC_ALREADY_EXISTS)
            self._await_leaders({spec.topic: spec.num_partitions for spec in new})
        altered = [
            ConfigResource(
                ResourceType.TOPIC,
                change.topic,
                incremental_configs=[
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, (_, value) in change.alter.items()
                ],
            )
            for change in changes
            if change.alter
        ]
        if altered:
            for future in self._client.incremental_alter_configs(altered).values():
                self._await(future)
        return changes

    def verify(self, specs: list[TopicSpec]) -> None:
        """Hold the cluster against ``specs``: every topic there, with the right number of partitions.

        Raises:
            ConfigurationError: one is missing or differs; says what to do.
        """
        changes = self.plan(specs)
        self._refuse_conflicts(changes)
        missing = [change.topic for change in changes if change.create]
        if missing:
            raise ConfigurationError(
                "topics", f"{len(missing)} missing, such as {missing[0]}", "`laneway topics apply` to be run first"
            )

    def partitions(self) -> dict[str, int]:
        """Number of partitions of every topic."""
        try:
            metadata = self._client.list_topics(timeout=_TIMEOUT)
        except KafkaException as error:
            raise BrokerUnavailableError(
                f"no broker answers at {self._settings.bootstrap_servers}: {error.args[0].str()}"
            ) from error
        return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}

    def _await_leaders(self, topics: dict[str, int]) -> None:
        """Return once every partition of new topics answers; a broker takes a moment to become their leader."""
        places = [(name, number) for name, count in topics.items() for number in range(count)]
        asker = OffsetAsker(self._settings, "laneway-admin")
        try:
            asker.ask(places, LATEST, within=_TIMEOUT)
        except BrokerUnavailableError as error:
            raise BrokerUnavailableError(f"not every new topic has a leader yet; try again: {error}") from error
        finally:
            asker.close()

    @staticmethod
    def _refuse_conflicts(changes: list[TopicChange]) -> None:
        for change in changes:
            if change.conflict:
                raise ConfigurationError(f"topic {change.topic}", "a conflict", change.conflict)

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        asked = self._client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
        found: dict[str, dict[str, str]] = {}
        for resource, future in asked.items():
            entries: dict[str, ConfigEntry] = self._await(future)
            found[resource.name] = {name: entry.value or "" for name, entry in entries.items()}
        return found

    @staticmethod
    def _await(future: "Future[Any]", accept: int | None = None) -> Any:
        try:
            return future.result(_TIMEOUT * 2)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if accept is not None and cause.code() == accept:
                return None
            raise BrokerUnavailableError(f"the broker refused: {cause.str()} ({cause.name()})") from error
