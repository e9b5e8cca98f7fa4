"""Following a task's events over HTTP: server-sent events, taken up again where they broke off."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from laneway.client.operations import Patience, Response, raise_for_problem, unreachable
from schemas.outcome import Event

_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0, read=60.0)
"""The API says every fifteen seconds that it is still there."""
_AGAIN_LATER: Final = frozenset({httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS})


class Sent(NamedTuple):
    """One server-sent event."""

    id: str
    name: str
    data: bytes


class Parser:
    """Takes server-sent events apart, as they come in."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Sent]:
        """The events that are whole by now."""
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and line[:1] != b":")
            if b"data" in fields:
                yield Sent(fields.get(b"id", b"").decode(), fields.get(b"event", b"").decode(), fields[b"data"])


class Course:
    """How far a stream has come, whatever carries it."""

    def __init__(self, task_id: str, retry_for: timedelta) -> None:
        self.path: Final = f"/api/tasks/{quote(task_id, safe='')}/events"
        self.over = False
        self._retry_for = retry_for
        self._patience = Patience(retry_for)
        self._last = ""
        self._parser = Parser()

    def headers(self) -> dict[str, str]:
        """Of the next request."""
        self._parser = Parser()
        return {"Last-Event-ID": self._last} if self._last else {}

    def take(self, chunk: bytes) -> Iterator[Event]:
        """The events in what came."""
        for sent in self._parser.feed(chunk):
            self._patience = Patience(self._retry_for)
            if sent.name == "end":
                self.over = True
                return
            if not sent.id:  # no event of the task: the stream says that some are missing
                continue
            self._last = sent.id
            yield msgspec.json.decode(sent.data, type=Event)

    def pause(self, http: httpx.Client | httpx.AsyncClient, failure: httpx.TransportError | Response | None) -> float:
        """Seconds until the next request.

        Raises:
            AdmissionError: what was refused stays refused.
            UnavailableError: the time for trying again is up.
        """
        response = failure if isinstance(failure, Response) else None
        if response is not None and response.status not in _AGAIN_LATER:
            raise_for_problem(response)
        pause = self._patience.pause_after(None)
        if pause is not None:
            return pause
        if response is not None:
            raise_for_problem(response)
        lost = failure if isinstance(failure, httpx.TransportError) else httpx.ReadError("the stream broke off")
        raise unreachable(http.base_url, lost)


def follow(http: httpx.Client, task_id: str, retry_for: timedelta) -> Iterator[Event]:
    """The task's events until it is final."""
    course = Course(task_id, retry_for)
    while not course.over:
        failure: httpx.TransportError | Response | None = None
        try:
            with http.stream("GET", course.path, headers=course.headers(), timeout=_TIMEOUT) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                if response.is_error:
                    failure = Response(response.status_code, response.read(), response.headers)
                else:
                    for chunk in response.iter_bytes():
                        yield from course.take(chunk)
        except httpx.TransportError as error:
            failure = error
        if not course.over:
            time.sleep(course.pause(http, failure))


async def follow_async(http: httpx.AsyncClient, task_id: str, retry_for: timedelta) -> AsyncIterator[Event]:
    """The task's events until it is final."""
    course = Course(task_id, retry_for)
    while not course.over:
        failure: httpx.TransportError | Response | None = None
        try:
            async with http.stream("GET", course.path, headers=course.headers(), timeout=_TIMEOUT) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                if response.is_error:
                    failure = Response(response.status_code, await response.aread(), response.headers)
                else:
                    async for chunk in response.aiter_bytes():
                        for event in course.take(chunk):
                            yield event
        except httpx.TransportError as error:
            failure = error
        if not course.over:
            await asyncio.sleep(course.pause(http, failure))
