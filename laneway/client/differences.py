"""What a shadow replay found, as it is read: one task that differs after another, however many there are."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Final

import httpx
import msgspec

from laneway.client.operations import Response, raise_for_problem, timeout_for, unreachable
from laneway.client.replays import diff_path
from schemas.errors import UnavailableError
from schemas.replay_diff import ReplayDiff, ShadowDifference

_HEADERS: Final = {"Accept": "application/x-ndjson"}
_TIMEOUT: Final = timeout_for(timedelta(minutes=10))
"""Where nothing differs, nothing comes for long."""
_DIFFERENCE: Final = msgspec.json.Decoder(ShadowDifference)
_DIFF: Final = msgspec.json.Decoder(ReplayDiff)


def read(http: httpx.Client, replay_id: str) -> Iterator[ShadowDifference | ReplayDiff]:
    """Each task that differs, and last the counts.

    Raises:
        AdmissionError: there is no such replay, or it is no shadow.
        UnavailableError: the API is away, or the answer broke off.
    """
    try:
        with http.stream("GET", diff_path(replay_id), headers=_HEADERS, timeout=_TIMEOUT) as response:
            if response.is_error:
                raise_for_problem(Response(response.status_code, response.read(), response.headers))
            for line in response.iter_lines():
                told = _told(line)
                yield told
                if isinstance(told, ReplayDiff):
                    return
    except httpx.TransportError as error:
        raise unreachable(http.base_url, error) from error
    raise UnavailableError("the comparison broke off before its end; ask again")


async def read_async(http: httpx.AsyncClient, replay_id: str) -> AsyncIterator[ShadowDifference | ReplayDiff]:
    """As ``read``."""
    try:
        async with http.stream("GET", diff_path(replay_id), headers=_HEADERS, timeout=_TIMEOUT) as response:
            if response.is_error:
                raise_for_problem(Response(response.status_code, await response.aread(), response.headers))
            async for line in response.aiter_lines():
                told = _told(line)
                yield told
                if isinstance(told, ReplayDiff):
                    return
    except httpx.TransportError as error:
        raise unreachable(http.base_url, error) from error
    raise UnavailableError("the comparison broke off before its end; ask again")


def _told(line: str) -> ShadowDifference | ReplayDiff:
    """The last line is no difference."""
    try:
        return _DIFFERENCE.decode(line)
    except msgspec.ValidationError:
        return _DIFF.decode(line)
