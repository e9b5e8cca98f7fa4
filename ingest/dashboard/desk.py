"""What every page stands on: the runtime, templates, shared parts, and how errors look."""

import functools
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request, Response
from markupsafe import Markup

from ingest import problems
from ingest.audit import Outcome, who
from ingest.body import read_body, said_length
from ingest.dashboard.guard import HEADERS, RAW_HEADERS, check_same_origin
from ingest.dashboard.lanes import LaneWatch
from ingest.dashboard.live import Fragment, Fragments
from ingest.dashboard.notes import note_of
from ingest.dashboard.rendering import Templates
from ingest.dashboard.words import address
from ingest.requests_log import QUIET
from ingest.runtime import Runtime
from schemas.errors import (
    AdmissionError,
    BodyTooLargeError,
    BrokerUnavailableError,
    MalformedRequestError,
    RecordTooLargeError,
)

Handler = Callable[[Request], Awaitable[Response]]
Gather = Callable[[], Awaitable[dict[str, Any]]]

LIVE_SECONDS: Final = 1.0
"""How old the live part of a page may be; browsers ask for it every one to five seconds."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_HTML: Final = "text/html; charset=utf-8"
_OURS: Final = frozenset({"part", "note", "count"})
"""Parameters of addresses that are no filters."""


class Desk:
    """Renders pages and carries out actions on a runtime.

    Everything that it shows comes from the log and the view: an API that was started anew shows the same.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.fragments = Fragments(LIVE_SECONDS)
        self.lanes = LaneWatch(runtime)
        self._templates = Templates()

    def who(self, request: Request) -> str:
        """Whom to name for a request: the user that a proxy names, else the client's address."""
        return who(request, self.runtime.settings)

    def recorded(
        self, request: Request, action: str, target: str, **details: str
    ) -> AbstractAsyncContextManager[Outcome]:
        """Carry out a block as an action of whoever asked: the log knows of it before and after."""
        return self.runtime.audit.recorded(self.who(request), action, target, **details)

    def page(self, handler: Handler) -> Handler:
        """``handler``, with what it is refused by shown as a page."""

        @functools.wraps(handler)
        async def shown(request: Request) -> Response:
            try:
                return await handler(request)
            except problems.ANSWERED as error:
                return self._failed(request, error)

        return shown

    def action(self, handler: Handler) -> Handler:
        """As ``page``, for what changes something: only our own pages may ask for it."""

        @functools.wraps(handler)
        async def guarded(request: Request) -> Response:
            check_same_origin(request)
            try:
                return await handler(request)
            finally:
                self.fragments.forget()

        return self.page(guarded)

    def html(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """A whole page."""
        body = self._templates.render(
            template, path=request.url.path, note=note_of(request.query_params), now=datetime.now(UTC), **values
        )
        return Response(body, status, HEADERS | {"cache-control": "no-cache"}, _HTML)

    async def live(
        self, request: Request, template: str, key: str, part: str, gather: Gather, **values: Any
    ) -> Response:
        """A page with a part that keeps itself up to date; asked with ``?part=live`` only that part.

        Args:
            request: for the page.
            template: of the page; shows ``live``.
            key: names the part, the same for everybody who sees the same.
            part: template of the part.
            gather: what the part shows; called once for everybody.
            values: of the page.
        """
        fragment = await self.fragment(key, part, gather)
        if request.query_params.get("part") == "live":
            return self.part(request, fragment)
        # Rendered by a template of ours a moment ago, where everything was escaped.
        return self.html(request, template, live=Markup(fragment.body.decode()), **values)  # noqa: S704

    async def fragment(self, key: str, part: str, gather: Gather) -> Fragment:
        """A part, rendered once for everybody."""

        async def render() -> str:
            return self._templates.render(part, now=datetime.now(UTC), **await gather())

        return await self.fragments.get(key, render)

    def part(self, request: Request, fragment: Fragment) -> Response:
        """A part by itself; nothing where the browser has it already."""
        request.scope[QUIET] = True
        headers = HEADERS | {"cache-control": "no-cache", "etag": fragment.etag}
        if request.headers.get("if-none-match") == fragment.etag:
            return Response(status_code=304, headers=headers)
        return Response(fragment.body, 200, headers, _HTML)

    def raw(self, content: bytes, name: str) -> Response:
        """A text that others wrote, as it is, where no browser takes it for a page."""
        safe = _UNSAFE.sub("_", name)
        headers = RAW_HEADERS | {"content-disposition": f'inline; filename="{safe}"', "cache-control": "no-cache"}
        return Response(content, headers=headers, media_type="text/plain; charset=utf-8")

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form.

        Raises:
            BodyTooLargeError: larger than a body may be.
            MalformedRequestError: no form, or not UTF-8.
        """
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise MalformedRequestError("want a form")
        body = await read_body(request.receive, said_length(request), self.runtime.settings.api.max_body_bytes * 3)
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1_000)
        except (ValueError, UnicodeDecodeError) as error:
            raise MalformedRequestError(f"the form cannot be read: {error}") from error
        return dict(pairs)

    @staticmethod
    def see(path: str, note: str, count: int | None = None) -> Response:
        """Lead the browser back to a page, with what was done."""
        where, _, query = path.partition("?")
        location = address(where, [*parse_qsl(query), ("note", note), ("count", count)])
        return Response(status_code=303, headers={"location": location})

    def _failed(
        self, request: Request, error: AdmissionError | BrokerUnavailableError | RecordTooLargeError
    ) -> Response:
        if isinstance(error, BrokerUnavailableError):
            error = problems.unavailable(error)
        elif isinstance(error, RecordTooLargeError):
            error = BodyTooLargeError("this is larger than the log takes")
        if request.query_params.get("part") is not None:
            return problems.response(error)
        answer = self.html(request, "error.html", status=error.http_status, error=error)
        if error.http_status == 503:
            answer.headers["retry-after"] = str(problems.RETRY_AFTER_SECONDS)
        return answer


def filters(request: Request) -> list[tuple[str, str]]:
    """The query of an address without what is ours."""
    return [(name, value) for name, value in request.query_params.multi_items() if name not in _OURS]
