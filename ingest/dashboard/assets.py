"""Scripts and styles, served from the package under addresses that change with their content."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from ingest.dashboard.guard import HEADERS
from schemas.errors import PageNotFoundError

STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@cache
def _served() -> dict[str, tuple[bytes, str, str]]:
    """Content, its digest and its media type, by name."""
    found: dict[str, tuple[bytes, str, str]] = {}
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            name = path.relative_to(STATIC).as_posix()
            found[name] = content, hashlib.sha256(content).hexdigest()[:12], _TYPES[path.suffix]
    return found


def asset(name: str) -> str:
    """The address of a file; another one once its content is another.

    Raises:
        KeyError: there is no such file.
    """
    return f"/static/{name}?v={_served()[name][1]}"


def router() -> APIRouter:
    """``/static``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)

    @routes.get("/static/{name:path}")
    async def static(request: Request) -> Response:
        name: str = request.path_params["name"]
        found = _served().get(name)
        if found is None:
            raise PageNotFoundError(f"there is no file {name[:100]!r}")
        content, digest, media_type = found
        caching = _FOR_EVER if request.query_params.get("v") == digest else "no-cache"
        return Response(content, headers=HEADERS | {"cache-control": caching}, media_type=media_type)

    return routes
