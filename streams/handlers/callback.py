import asyncio
import base64
import errno
import hashlib
import hmac
import socket
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from laneway import __version__, tracing
from laneway.context import Context
from laneway.receivers import Network, check_callback_url, is_inside
from laneway.registry import registry
from schemas import codec
from schemas.callback import POLICY, CallbackPayload
from schemas.errors import CallbackError, Reject, RetryLater
from schemas.settings import CallbackSettings
from schemas.task import CALLBACK_TYPE
from streams.handlers.retry_after import retry_after
from streams.handlers.slow_receivers import SlowReceivers

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from aiohttp.typedefs import AddrInfoType  # type: ignore[attr-defined]

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Read of an answer, so that a receiver that is not done writing it sees no broken connection; never looked into."""
_TIMEOUT: Final = timedelta(seconds=90)
_PATIENCE: Final = timedelta(days=2)
"""For this long after the task's end a callback may be put off without spending attempts."""
_slow: Final = SlowReceivers()


class Door:
    """Makes the sockets of one request: to receivers, and to no address inside.

    The address is judged in the very call that makes the socket which connects to it, so no second answer of the name's
    server, and no spelling of an address, gets past.
    """

    def __init__(self, allowed: Iterable[Network]) -> None:
        self._allowed = tuple(allowed)
        self.refused: str | None = None
        self.opened = False

    def __call__(self, to: "AddrInfoType") -> socket.socket:
        """A socket for an address.

        Raises:
            OSError: it is an address inside.
        """
        family, kind, protocol, _, address = to
        host = str(address[0])
        if is_inside(host, self._allowed):
            self.refused = host
            raise OSError(errno.EACCES, "an address inside", host)
        self.opened = True
        return socket.socket(family, kind, protocol)


@registry.own_task(CALLBACK_TYPE, retry=POLICY, timeout=_TIMEOUT)
async def post_callback(payload: CallbackPayload, ctx: Context) -> dict[str, Any]:
    """Post the outcome of a task to where its `callback_url` says, signed as Standard Webhooks have it.

    Raises:
        RetryLater: the receiver asks to come back later (429 or 503 with ``Retry-After``), or has timed out lately and
            is being asked.
        Reject: its address is one inside, it answers 410 Gone, or it redirects: tried no more.
        CallbackError: it does not answer in time, or anything but 2xx: tried again.
    """
    settings = ctx.settings.callbacks
    try:
        host = check_callback_url(payload.url, settings.networks)
    except ValueError as error:
        raise Reject(f"callback_url: {error}") from error
    if not settings.keys:
        raise CallbackError("LANEWAY_CALLBACKS__SECRETS is not set in this worker: nothing to sign with")
    body, ended_at = codec.encode(payload.body), _ended_at(payload)
    patient = ended_at is not None and datetime.now(UTC) - ended_at < _PATIENCE
    try:
        with _slow.turn(urlsplit(payload.url).netloc.lower(), may_wait=patient):
            async with asyncio.timeout(settings.timeout):
                status, headers = await _post(payload.url, body, ctx, settings)
    except TimeoutError as error:
        raise CallbackError(f"{host} did not answer within {settings.timeout:g} s") from error
    judge(host, status, headers, datetime.now(UTC), patient=patient)
    return {"status": status}


async def _post(url: str, body: bytes, ctx: Context, settings: CallbackSettings) -> tuple[int, Mapping[str, str]]:
    import aiohttp

    door, at = Door(settings.networks), int(time.time())
    connector = aiohttp.TCPConnector(socket_factory=door, use_dns_cache=False, force_close=True)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
    headers = {
        "content-type": "application/json",
        "user-agent": f"Laneway/{__version__}",
        "webhook-id": ctx.task_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(settings.keys, ctx.task_id, at, body),
        **tracing.outgoing(),
    }
    try:
        async with session, session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await _drain(response)
            return response.status, response.headers
    except (aiohttp.ClientError, OSError, ValueError) as error:
        host = urlsplit(url).hostname
        if door.refused is not None and not door.opened:
            raise Reject(
                f"{host} is at {door.refused}, an address inside, where callbacks are not sent"
                " (LANEWAY_CALLBACKS__ALLOWED_NETWORKS)"
            ) from error
        if isinstance(error, aiohttp.InvalidURL | ValueError) and not isinstance(error, OSError):
            raise Reject(f"callback_url cannot be asked: {type(error).__name__}") from error
        raise CallbackError(f"{host} could not be asked: {_said(error)}") from error


async def _drain(response: "ClientResponse") -> None:
    read = 0
    async for chunk in response.content.iter_chunked(8192):
        read += len(chunk)
        if read > MAX_ANSWER_BYTES:
            break


def signature(keys: Iterable[bytes], message_id: str, at: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature for each key, so that keys can be replaced one by one."""
    signed = b"%b.%d.%b" % (message_id.encode(), at, body)
    made = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{each}" for each in made)


def judge(host: str, status: int, headers: Mapping[str, str], now: datetime, *, patient: bool) -> None:
    """Return if an answer takes the callback; else raise what follows, as ``post_callback`` says.

    Args:
        host: of the receiver.
        status: of its answer.
        headers: of its answer.
        now: when it came.
        patient: whether the receiver may put it off without an attempt being spent.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise Reject(
            f"{host} redirects ({status}), which is not followed; submit with the address that it redirects to"
        )
    if status == HTTPStatus.GONE:
        raise Reject(f"{host} answered 410 Gone")
    asked = status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE} and "Retry-After" in headers
    if asked and patient:
        raise RetryLater(retry_after(headers, now), f"{host} answered {status}")
    raise CallbackError(f"{host} answered {status}")


def _ended_at(payload: CallbackPayload) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(payload.body.get("timestamp")))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
