"""Whatever a task ends with, and whenever its worker dies, there is one callback for it, with its outcome."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from laneway.registry import Registry
from laneway.testing import Sandbox
from laneway.testing.crashes import Point
from schemas import codec
from schemas.errors import Reject
from schemas.retry import RetryPolicy
from schemas.settings import CallbackSettings, Settings
from schemas.status import State, Status
from schemas.task import CALLBACK_TYPE, Lane, Priority

URL = "https://example.com/hooks"


def _echo(payload: int) -> int:
    return payload


def _refuse(payload: int) -> None:
    raise Reject("no")


def _fail(payload: int) -> None:
    raise ValueError(payload)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    types = Registry()
    types.task("t.echo")(_echo)
    types.task("t.refuse")(_refuse)
    types.task("t.fail", retry=RetryPolicy(max_attempts=2))(_fail)
    callbacks = CallbackSettings.model_validate({"secrets": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"})
    with Sandbox(handlers=types, settings=Settings(callbacks=callbacks)) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("type_name", "state"),
    [("t.echo", State.SUCCEEDED), ("t.refuse", State.DEAD_LETTERED), ("t.fail", State.DEAD_LETTERED)],
)
def test_an_end_makes_one(sandbox: Sandbox, type_name: str, state: State) -> None:
    task = sandbox.submit(type_name, 7, callback_url=URL, priority="high", labels={"tenant": "acme"})
    sandbox.run()
    sandbox.submit(type_name, 8)
    sandbox.run()
    (posted,) = sandbox.callbacks()
    assert posted.url == URL
    assert posted.body.type == f"task.{state}"
    assert posted.body.data == sandbox.outcomes(type_name)[0]
    status = sandbox.status(posted.id)
    assert (status.type, status.state, status.priority) == (CALLBACK_TYPE, State.QUEUED, Priority.HIGH)
    assert status.labels == {"task_id": task.id, "task_type": type_name}
    assert [event.state for event in sandbox.events(posted.id)] == [State.QUEUED]


def test_so_do_a_cancellation_and_an_expiry(sandbox: Sandbox) -> None:
    waiting = sandbox.submit("t.echo", 1, callback_url=URL, delay=60)
    sandbox.submit("t.echo", 2, callback_url=URL, delay=60, expires_at=sandbox.now + timedelta(seconds=30))
    sandbox.cancel(waiting.id)
    assert [each.body.data.id for each in sandbox.callbacks()] == [waiting.id]
    sandbox.run()
    sandbox.advance(61)
    assert sorted(each.body.type for each in sandbox.callbacks()) == ["task.cancelled", "task.expired"]


@pytest.mark.parametrize("point", ["before_status", "after_status", "after_result"])
def test_a_worker_that_dies_on_the_way_makes_the_same_again(sandbox: Sandbox, point: Point) -> None:
    task = sandbox.submit("t.echo", 1, callback_url=URL)
    sandbox.crash(task.id, point)
    sandbox.run()
    sandbox.advance(5)
    (posted,) = sandbox.callbacks()
    assert posted.body.data.id == task.id
    lane = sandbox._records(sandbox._topics.lane(Lane(CALLBACK_TYPE, Priority.NORMAL)))
    repeated = [dict(record.headers).get("laneway-repeated") for record in lane]
    assert len(repeated) == (2 if point == "after_result" else 1)
    # Whoever runs it sees from when on the run may have been told of: the end of the task, not this repetition.
    since = repeated[-1]
    assert (since is None) == (point == "before_status")
    assert since is None or since == dict(lane[-1].headers)["ce_time"]
    statuses = [codec.decode(record.value, Status) for record in sandbox._records(sandbox._topics.status)]
    assert {each.created_at for each in statuses if each.type == CALLBACK_TYPE} == {posted.body.timestamp}
