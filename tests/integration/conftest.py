from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Final

import pytest

from schemas.settings import ApiSettings, KafkaSettings, Settings, WorkerSettings
from schemas.topics import Topics
from tests.support.kafka import RunningKafka, apply_topics, delete_topics, running_kafka

_ORIGIN: Final = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RunningKafka]:
    """A real Kafka, the same for every test of the run: use a topic prefix of your own."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        pytestconfig.stash[_ORIGIN] = f"{running.origin}, {running.bootstrap_servers}"
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say against which Kafka the tests ran."""
    if _ORIGIN in config.stash:
        terminalreporter.write_line(f"kafka: {config.stash[_ORIGIN]}")


@pytest.fixture
def settings(kafka: RunningKafka, tmp_path: Path) -> Iterator[Settings]:
    """Settings with topics, groups and data of the test's own, and waits that suit a test."""
    settings = Settings(
        data_dir=tmp_path / "data",
        kafka=KafkaSettings(
            bootstrap_servers=kafka.bootstrap_servers,
            topic_prefix=f"t{token_hex(5)}.",
            partitions=4,
            delivery_timeout=10.0,
        ),
        api=ApiSettings(port=0, accept_timeout=5.0, max_wait=10.0),
        worker=WorkerSettings(drain_timeout=5.0, session_timeout=6.0, commit_interval=0.2),
    )
    yield settings
    delete_topics(settings)


@pytest.fixture
def topics_applied(settings: Settings) -> Callable[..., Topics]:
    """Call it with type names: every topic that they need is there, and their names are answered."""

    def apply(*types: str) -> Topics:
        return apply_topics(settings, types)

    return apply
