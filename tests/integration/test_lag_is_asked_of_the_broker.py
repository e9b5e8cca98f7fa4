"""The lag probe counts what lies on the broker beyond a position, and says so when no broker answers."""

from collections.abc import Callable

from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from streams.lag import LagProbe
from tests.support.api import free_port
from tests.support.workers import submit


def test_it_counts_records_beyond_each_position(settings: Settings, topics_applied: Callable[..., Topics]) -> None:
    lane = topics_applied("test.echo").lane(Lane("test.echo", Priority.NORMAL))
    submit(settings, "test.echo", [{}] * 40)
    probe = LagProbe(settings)
    assert probe.lag({}) == 0
    assert probe.lag({(lane, number): 0 for number in range(settings.kafka.partitions)}) == 40
    assert probe.lag({(lane, number): 1_000 for number in range(settings.kafka.partitions)}) == 0


def test_without_a_broker_there_is_no_answer(settings: Settings) -> None:
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    probe = LagProbe(settings.model_copy(update={"kafka": kafka}), within=1.0)
    assert probe.lag({("nowhere", 0): 0}) is None
