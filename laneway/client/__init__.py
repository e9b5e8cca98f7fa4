"""Submitting and reading over HTTP: ``Client`` and ``AsyncClient``."""

import asyncio
import builtins
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, Unpack
from urllib.parse import quote

import httpx

from laneway.client import differences, operations, stream
from laneway.client.batches import Accepted, AsyncBatchClient, BatchAnswer, BatchClient, NewTask
from laneway.client.operations import (
    CancelAnswer,
    LaneState,
    ListOptions,
    Request,
    Response,
    ScheduleOptions,
    TaskPage,
    TimelineAnswer,
)
from laneway.client.past import AsyncPastClient, PastClient
from laneway.client.steering import AsyncSteeringClient, SteeringClient
from laneway.files import StoredFile
from schemas.explanation import Why
from schemas.outcome import Event
from schemas.replay_diff import ReplayDiff, ShadowDifference
from schemas.schedule import ScheduleView
from schemas.status import Status
from schemas.submission import SubmitOptions
from schemas.task import Priority
from schemas.worker import WorkerView

__all__ = [
    "Accepted",
    "AsyncClient",
    "BatchAnswer",
    "CancelAnswer",
    "Client",
    "LaneState",
    "ListOptions",
    "NewTask",
    "ScheduleOptions",
    "SubmitOptions",
    "TaskPage",
    "TimelineAnswer",
    "Why",
]

DEFAULT_URL: Final = "http://127.0.0.1:8080"
RETRIED_FOR: Final = timedelta(seconds=10)


class Client(BatchClient, SteeringClient, PastClient):
    """Submits and reads tasks; for programs without an event loop.

    Delivery: a submission that returns is in the log of every in-sync replica. A 503 and a broken connection are tried
        again with the same idempotency key, so that however often it is sent, it is one task.

    Args:
        url: address of the API.
        retry_for: how long a request is tried again while the API or its broker is away.
        transport: how requests travel, where httpx's own way is not the one: a proxy of yours, or an application in a
            test.

    Raises:
        AdmissionError: (every method) the API refused; the subclass says why.
        UnavailableError: (every method) no API answered, or its log could not take or tell it.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        retry_for: timedelta = RETRIED_FOR,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retry_for = retry_for
        self._http = httpx.Client(base_url=url, transport=transport)

    def submit(self, type: str, payload: object, **options: Unpack[SubmitOptions]) -> Status:  # noqa: A002  (the contract's word)
        """Accept a task; answers its first status."""
        return self._run(operations.submit(type, payload, options))

    def get(self, task_id: str) -> Status:
        """The present status."""
        return self._run(operations.get(task_id))

    def wait(self, task_id: str, timeout: timedelta | None = None) -> Status:
        """The final status, once it is.

        Raises:
            TimeoutError: it is not final after ``timeout``.
        """
        return self._run(operations.wait(task_id, timeout))

    def result(self, task_id: str, timeout: timedelta | None = None) -> Any:
        """The bare result, once there is one.

        Raises:
            TaskFailedError: the task ended without one.
            TimeoutError: it is not final after ``timeout``.
        """
        return self._run(operations.result(task_id, timeout))

    def list(self, **options: Unpack[ListOptions]) -> TaskPage:
        """Tasks, newest first."""
        return self._run(operations.list_tasks(options))

    def timeline(self, task_id: str) -> TimelineAnswer:
        """What happened to a task so far."""
        return self._run(operations.timeline(task_id))

    def stream(self, task_id: str) -> Iterator[Event]:
        """What happens to a task, from its beginning, as it happens, until it is final; each event once.

        A stream that breaks off is taken up again where it did, for as long as requests are tried again.
        """
        return stream.follow(self._http, task_id, self._retry_for)

    def why(self, task_id: str) -> Why:
        """Why a task is where it is: reasons, most decisive first."""
        return self._run(operations.why(task_id))

    def lanes(self) -> "builtins.list[LaneState]":
        """Every lane: how much waits in it and how long, what runs, who works on it, and whether it is held."""
        return self._run(operations.list_lanes())

    def workers(self) -> "builtins.list[WorkerView]":
        """Every worker process: its lanes, its slots, and what runs there since when."""
        return self._run(operations.list_workers())

    def pause(
        self,
        type: str,  # noqa: A002  (the contract's word)
        priority: Priority | str | None = None,
        *,
        reason: str | None = None,
    ) -> "builtins.list[LaneState]":
        """Hold a lane on every worker, or every lane of a type; what runs goes on."""
        return self._run(operations.hold(type, priority, reason, paused=True))

    def resume(
        self,
        type: str,  # noqa: A002  (the contract's word)
        priority: Priority | str | None = None,
    ) -> "builtins.list[LaneState]":
        """Let a lane, or every lane of a type, flow again."""
        return self._run(operations.hold(type, priority, None, paused=False))

    def types(self) -> operations.TypeDocuments:
        """Every type with its JSON Schema, retry policy and time-out."""
        return self._run(operations.list_types())

    def schedule(
        self,
        name: str,
        cron: str,
        type: str,  # noqa: A002  (the contract's word)
        payload: object,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleView:
        """Make a task by the clock, or replace the schedule of this name."""
        return self._run(operations.put_schedule(name, cron, type, payload, options))

    def get_schedule(self, name: str) -> ScheduleView:
        """A schedule: its next times, and what became of the last."""
        return self._run(operations.get_schedule(name))

    def schedules(self) -> operations.ScheduleViews:
        """Every schedule, by name."""
        return self._run(operations.list_schedules())

    def unschedule(self, name: str) -> None:
        """Have a schedule fire no more; the tasks that it made go on."""
        self._run(operations.delete_schedule(name))

    def upload(self, file: Path | bytes, *, name: str | None = None, content_type: str | None = None) -> StoredFile:
        """Store a file; payloads refer to it by its ``ref``."""
        return self._run(operations.upload(file, name, content_type))

    def download(self, ref: str, to: Path) -> int:
        """Write a stored file to ``to``; answers its size."""
        with self._http.stream(
            "GET", f"/api/files/{quote(ref, safe='')}", timeout=operations.timeout_for(timedelta(0))
        ) as response:
            if response.is_error:
                operations.raise_for_problem(Response(response.status_code, response.read(), response.headers))
            with to.open("wb") as out:
                return sum(out.write(chunk) for chunk in response.iter_bytes(operations.CHUNK))

    def differences(self, replay_id: str) -> Iterator[ShadowDifference | ReplayDiff]:
        """Each task that a shadow replay found to differ, and last the counts."""
        return differences.read(self._http, replay_id)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, operation: operations.Operation[operations.Answer]) -> operations.Answer:
        request = next(operation)
        while True:
            response = self._send(request)
            try:
                request = operation.send(response)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # StopIteration is not generic

    def _send(self, request: Request) -> Response:
        patience = operations.Patience(self._retry_for)
        tries = 0
        while True:
            tries += 1
            failure: httpx.TransportError | None = None
            response: Response | None = None
            try:
                answer = self._http.request(
                    request.method,
                    request.path,
                    params=request.params,
                    headers=_headers(request, tries),
                    content=_chunks(request.content) if isinstance(request.content, Path) else request.content,
                    timeout=operations.timeout_for(request.held),
                )
                response = Response(answer.status_code, answer.content, answer.headers)
            except httpx.TransportError as error:
                failure = error
            pause = patience.pause_after(response, request.again)
            if pause is not None:
                time.sleep(pause)
            elif response is not None:
                return response
            elif failure is not None:
                raise operations.unreachable(self._http.base_url, failure) from failure


class AsyncClient(AsyncBatchClient, AsyncSteeringClient, AsyncPastClient):
    """Submits and reads tasks from an event loop; everything else is as ``Client`` says."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        retry_for: timedelta = RETRIED_FOR,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retry_for = retry_for
        # Half the CPU of httpx's own transport, which is most of what a short task waits for. It takes 0.4 s to import.
        from httpx_aiohttp import HttpxAiohttpClient

        self._http: httpx.AsyncClient = HttpxAiohttpClient(base_url=url, transport=transport)

    async def submit(self, type: str, payload: object, **options: Unpack[SubmitOptions]) -> Status:  # noqa: A002  (the contract's word)
        """Accept a task; answers its first status."""
        return await self._run(operations.submit(type, payload, options))

    async def get(self, task_id: str) -> Status:
        """The present status."""
        return await self._run(operations.get(task_id))

    async def wait(self, task_id: str, timeout: timedelta | None = None) -> Status:
        """The final status, once it is.

        Raises:
            TimeoutError: it is not final after ``timeout``.
        """
        return await self._run(operations.wait(task_id, timeout))

    async def result(self, task_id: str, timeout: timedelta | None = None) -> Any:
        """The bare result, once there is one.

        Raises:
            TaskFailedError: the task ended without one.
            TimeoutError: it is not final after ``timeout``.
        """
        return await self._run(operations.result(task_id, timeout))

    async def list(self, **options: Unpack[ListOptions]) -> TaskPage:
        """Tasks, newest first."""
        return await self._run(operations.list_tasks(options))

    async def timeline(self, task_id: str) -> TimelineAnswer:
        """What happened to a task so far."""
        return await self._run(operations.timeline(task_id))

    def stream(self, task_id: str) -> AsyncIterator[Event]:
        """What happens to a task, from its beginning, as it happens, until it is final; each event once."""
        return stream.follow_async(self._http, task_id, self._retry_for)

    async def why(self, task_id: str) -> Why:
        """Why a task is where it is: reasons, most decisive first."""
        return await self._run(operations.why(task_id))

    async def lanes(self) -> "builtins.list[LaneState]":
        """Every lane: how much waits in it and how long, what runs, who works on it, and whether it is held."""
        return await self._run(operations.list_lanes())

    async def workers(self) -> "builtins.list[WorkerView]":
        """Every worker process: its lanes, its slots, and what runs there since when."""
        return await self._run(operations.list_workers())

    async def pause(
        self,
        type: str,  # noqa: A002  (the contract's word)
        priority: Priority | str | None = None,
        *,
        reason: str | None = None,
    ) -> "builtins.list[LaneState]":
        """Hold a lane on every worker, or every lane of a type; what runs goes on."""
        return await self._run(operations.hold(type, priority, reason, paused=True))

    async def resume(
        self,
        type: str,  # noqa: A002  (the contract's word)
        priority: Priority | str | None = None,
    ) -> "builtins.list[LaneState]":
        """Let a lane, or every lane of a type, flow again."""
        return await self._run(operations.hold(type, priority, None, paused=False))

    async def types(self) -> operations.TypeDocuments:
        """Every type with its JSON Schema, retry policy and time-out."""
        return await self._run(operations.list_types())

    async def schedule(
        self,
        name: str,
        cron: str,
        type: str,  # noqa: A002  (the contract's word)
        payload: object,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleView:
        """Make a task by the clock, or replace the schedule of this name."""
        return await self._run(operations.put_schedule(name, cron, type, payload, options))

    async def get_schedule(self, name: str) -> ScheduleView:
        """A schedule: its next times, and what became of the last."""
        return await self._run(operations.get_schedule(name))

    async def schedules(self) -> operations.ScheduleViews:
        """Every schedule, by name."""
        return await self._run(operations.list_schedules())

    async def unschedule(self, name: str) -> None:
        """Have a schedule fire no more; the tasks that it made go on."""
        await self._run(operations.delete_schedule(name))

    async def upload(
        self, file: Path | bytes, *, name: str | None = None, content_type: str | None = None
    ) -> StoredFile:
        """Store a file; payloads refer to it by its ``ref``."""
        return await self._run(operations.upload(file, name, content_type))

    async def download(self, ref: str, to: Path) -> int:
        """Write a stored file to ``to``; answers its size."""
        path = f"/api/files/{quote(ref, safe='')}"
        async with self._http.stream("GET", path, timeout=operations.timeout_for(timedelta(0))) as response:
            if response.is_error:
                operations.raise_for_problem(Response(response.status_code, await response.aread(), response.headers))
            size = 0
            with await asyncio.to_thread(to.open, "wb") as out:
                async for chunk in response.aiter_bytes(operations.CHUNK):
                    size += await asyncio.to_thread(out.write, chunk)
            return size

    def differences(self, replay_id: str) -> AsyncIterator[ShadowDifference | ReplayDiff]:
        """As ``Client.differences``."""
        return differences.read_async(self._http, replay_id)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, operation: operations.Operation[operations.Answer]) -> operations.Answer:
        request = next(operation)
        while True:
            response = await self._send(request)
            try:
                request = operation.send(response)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # StopIteration is not generic

    async def _send(self, request: Request) -> Response:
        patience = operations.Patience(self._retry_for)
        tries = 0
        while True:
            tries += 1
            failure: httpx.TransportError | None = None
            response: Response | None = None
            try:
                answer = await self._http.request(
                    request.method,
                    request.path,
                    params=request.params,
                    headers=_headers(request, tries),
                    content=_chunks_async(request.content) if isinstance(request.content, Path) else request.content,
                    timeout=operations.timeout_for(request.held),
                )
                response = Response(answer.status_code, answer.content, answer.headers)
            except httpx.TransportError as error:
                failure = error
            pause = patience.pause_after(response, request.again)
            if pause is not None:
                await asyncio.sleep(pause)
            elif response is not None:
                return response
            elif failure is not None:
                raise operations.unreachable(self._http.base_url, failure) from failure


def _headers(request: Request, tries: int) -> dict[str, str]:
    number = {"Laneway-Try": str(tries)} if request.numbered else {}
    # Said beforehand, so that a file too large is refused before it is sent.
    length = {"Content-Length": str(request.content.stat().st_size)} if isinstance(request.content, Path) else {}
    return {**request.headers, **number, **length}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(operations.CHUNK):
            yield chunk


async def _chunks_async(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, operations.CHUNK):
            yield chunk
