"""Every scenario of what a task may rely on holds on Kafka, with the API and a worker as processes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from laneway.client import Client
from schemas.settings import ApiSettings, KafkaSettings, Settings, WorkerSettings
from tests.support.api import running_api
from tests.support.kafka import RunningKafka, delete_topics
from tests.support.semantics.handlers import TYPES
from tests.support.semantics.scenarios import SCENARIOS, SLOTS, Scenario
from tests.support.semantics.systems import OnKafka, System
from tests.support.workers import running_worker

pytestmark = pytest.mark.timeout(200)

HANDLERS = "tests.support.semantics.handlers"


@pytest.fixture(scope="module")
def system(kafka: RunningKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One API and one worker for all scenarios; offsets are committed so rarely that a crash finds none."""
    folder = tmp_path_factory.mktemp("semantics")
    settings = Settings(
        data_dir=folder / "data",
        kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, topic_prefix="semantics.", partitions=1),
        api=ApiSettings(port=0, max_wait=30.0),
        worker=WorkerSettings(concurrency=SLOTS, session_timeout=6.0, commit_interval=30.0),
    )
    with (
        running_api(settings, folder / "api.log", *TYPES, module=HANDLERS) as api,
        running_worker(settings, folder / "worker.log", *TYPES, module=HANDLERS) as worker,
        Client(api.address) as client,
    ):
        asyncio.run(api.ready())
        asyncio.run(worker.ready())
        yield OnKafka(settings, client, worker)
    delete_topics(settings)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_holds(scenario: Scenario, system: System, tmp_path: Path) -> None:
    scenario(system, tmp_path / "notes")
