"""What keeps the pages apart from other people's scripts and sites."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from schemas.errors import CrossSiteRequestError

# No inline script or style, nothing from elsewhere, no framing: text that somebody smuggles into a page stays text.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
RAW_HEADERS: Final = HEADERS | {"content-security-policy": "sandbox; default-src 'none'"}
"""Of texts that others wrote, sent as they are."""


def check_same_origin(request: Request) -> None:
    """See that a form comes from a page of ours.

    Browsers say where a request comes from in headers that no page can set. What says nothing is no browser of today,
    and has ``/api`` for itself.

    Raises:
        CrossSiteRequestError: it comes from elsewhere, or does not say.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        ours = site == "same-origin"
    else:
        origin = request.headers.get("origin", "")
        ours = bool(origin) and urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise CrossSiteRequestError("this action can only be asked for by a page of this dashboard; programs use /api")
