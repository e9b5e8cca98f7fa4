"""Reading a request's body without taking more than was agreed."""

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from schemas.errors import BodyTooLargeError, MalformedRequestError


async def read_body(receive: Receive, said: bytes | None, limit: int) -> bytes:
    """The whole body.

    Args:
        receive: of the request.
        said: its header ``Content-Length``.
        limit: in bytes.

    Raises:
        BodyTooLargeError: it says that it is, or turns out to be, larger than ``limit`` bytes.
    """
    _check_length(said, limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    chunks: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
    raise ClientDisconnect


async def stream_body(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes in.

    Raises:
        BodyTooLargeError: as in ``read_body``.
    """
    _check_length(said_length(request), limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if chunk:
            yield chunk


def said_length(request: Request) -> bytes | None:
    """The header ``Content-Length``, as it came."""
    said = request.headers.get("content-length")
    return None if said is None else said.encode("latin-1")


def _check_length(said: bytes | None, limit: int) -> None:
    if said is None:
        return
    if not said.isdigit():
        raise MalformedRequestError(f"Content-Length {said[:40].decode('latin-1')!r} is no number")
    if int(said) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than the {limit} bytes that this route takes", limit=limit)
