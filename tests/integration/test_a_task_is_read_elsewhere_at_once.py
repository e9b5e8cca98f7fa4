"""Whoever got a 202 reads the task at once on another API, though one dies; what was never accepted is 404."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import pytest

from laneway.ids import id_for_key, new_id
from schemas.settings import ApiSettings, Settings
from tests.support.api import RunningApi, free_port, running_api
from tests.support.connection import Connection

CLIENTS: Final = 64
BODY: Final = b'{"type": "chat", "payload": {"message": "What is a lane?"}, "delay": 86400}'
PATIENCE: Final = 60.0
OK, ACCEPTED, NOT_FOUND, GONE, UNAVAILABLE = 200, 202, 404, 410, 503


def two(stack: ExitStack, settings: Settings, folder: Path, *, shared: bool) -> Callable[[int], RunningApi]:
    """Starts the first or the second API, on its own port."""
    ports = [free_port(), free_port()]

    def start(which: int) -> RunningApi:
        data = settings.data_dir if shared or not which else folder / "other"
        own = settings.model_copy(update={"data_dir": data, "api": ApiSettings(port=ports[which], accept_timeout=10)})
        return stack.enter_context(running_api(own, folder / f"api-{which}.log"))

    return start


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("shared", [False, True], ids=["own data", "one data directory"])
@pytest.mark.parametrize(
    "dies", [pytest.param(False, marks=pytest.mark.long, id="both live"), pytest.param(True, id="one dies")]
)
@pytest.mark.parametrize("tasks", [pytest.param(1_000, id="few"), pytest.param(100_000, marks=pytest.mark.long)])
async def test_every_accepted_task_is_read_on_the_other(
    settings: Settings,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    *,
    shared: bool,
    dies: bool,
    tasks: int,
) -> None:
    answers: Counter[int] = Counter()
    took: list[float] = []
    left = tasks
    with ExitStack() as stack:
        start = two(stack, settings, tmp_path, shared=shared)
        apis = [start(0), start(1)]
        for each in apis:
            await each.ready()
        ports = [each.port for each in apis]

        async def client(number: int) -> None:
            nonlocal left
            connections = [Connection(port) for port in ports]
            turn = number
            while left > 0:
                left -= 1
                turn += 1
                if left < tasks // 2:
                    middle.set()
                task_id = await accepted(connections, turn)
                read = turn + 1
                deadline = time.monotonic() + PATIENCE
                while True:
                    began = time.perf_counter()
                    try:
                        status, body = await connections[read % 2].ask("GET", f"/api/tasks/{task_id}")
                    except (OSError, EOFError):
                        read += 1  # it died: elsewhere, where it may as well be asked at once
                        await asyncio.sleep(0.01)
                        assert time.monotonic() < deadline
                        continue
                    answers[status] += 1
                    if status == UNAVAILABLE and dies and time.monotonic() < deadline:
                        await asyncio.sleep(0.05)
                        continue
                    took.append(time.perf_counter() - began)
                    assert (status, msgspec.json.decode(body)["id"] if status == OK else body) == (OK, task_id)
                    break
            for each in connections:
                each.close()

        middle = asyncio.Event()

        async def strike() -> None:
            await middle.wait()
            apis[0].kill()
            apis[0] = await asyncio.to_thread(start, 0)

        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(number))
            if dies:
                group.create_task(strike())
    took.sort()
    told = {
        "reads": len(took),
        "p50_ms": round(took[len(took) // 2] * 1e3, 2),
        "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 2),
        "longest_ms": round(took[-1] * 1e3, 1),
        "answers": dict(answers),
    }
    record_property("read_elsewhere", told)
    print(f"\nread elsewhere ({tasks=}, {shared=}, {dies=}): {told}")  # noqa: T201  (with -s, and in a report of a failure)
    assert answers[NOT_FOUND] == 0
    assert len(took) == tasks


async def accepted(connections: list[Connection], turn: int) -> str:
    """The id of a task that one of the two has accepted, the one whose turn it is if it lives."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            status, body = await connections[turn % 2].ask("POST", "/api/tasks", BODY)
        except (OSError, EOFError):
            status, body = UNAVAILABLE, b""
        if status == ACCEPTED:
            return str(msgspec.json.decode(body)["id"])
        assert status == UNAVAILABLE, body
        assert time.monotonic() < deadline
        turn += 1
        await asyncio.sleep(0.01)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("each", [pytest.param(100, id="few"), pytest.param(4_000, marks=pytest.mark.long)])
async def test_what_was_never_accepted_is_404_and_what_is_past_retention_410(
    settings: Settings, tmp_path: Path, each: int
) -> None:
    chance = random.Random(5)
    old = int((time.time() - 8 * 86_400) * 1_000)
    never = {
        NOT_FOUND: [
            *(new_id() for _ in range(each)),
            *(str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(each)),
            *(id_for_key(f"never-{place}") for place in range(each)),
        ],
        GONE: [
            str(uuid.UUID(int=old << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)))
            for _ in range(each // 4)
        ],
    }
    with ExitStack() as stack:
        start = two(stack, settings, tmp_path, shared=False)
        api, other = start(0), start(1)
        await api.ready()
        await other.ready()
        busy = Connection(other.port)
        connections = [Connection(api.port) for _ in range(CLIENTS)]
        for expected, ids in never.items():
            seen: Counter[int] = Counter()
            coming = iter(ids)

            async def asking(connection: Connection, coming=coming, seen=seen) -> None:  # type: ignore[no-untyped-def]
                for task_id in coming:
                    seen[(await connection.ask("GET", f"/api/tasks/{task_id}"))[0]] += 1

            # Beside tasks that come in elsewhere, so that the view is always a little behind the log.
            async with asyncio.TaskGroup() as group:
                readers = [group.create_task(asking(connection)) for connection in connections]
                while not all(reader.done() for reader in readers):
                    assert (await busy.ask("POST", "/api/tasks", BODY))[0] == ACCEPTED
            assert seen == {expected: len(ids)}
        for each_connection in (*connections, busy):
            each_connection.close()
