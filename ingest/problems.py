"""Problem documents (RFC 9457): what every answer other than success looks like."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from schemas.errors import (
    AdmissionError,
    BodyTooLargeError,
    BrokerUnavailableError,
    InvalidTaskError,
    RecordTooLargeError,
    UnavailableError,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1
_RETRIED: Final = frozenset({429, 503})

_encode: Final = msgspec.json.encode


def document(error: AdmissionError) -> dict[str, Any]:
    """The problem document of an error; its own members come after the standard ones."""
    return {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.http_status,
        "detail": error.detail,
        **error.extensions,
    }


def response(error: AdmissionError) -> Response:
    """The answer that tells an error."""
    return _response(error.http_status, document(error))


def unavailable(error: BrokerUnavailableError) -> UnavailableError:
    """What a client is told when the log does not take or tell something."""
    return UnavailableError(
        "the log did not confirm in time, so nothing was promised; send it again, with the same Idempotency-Key if"
        " it must not be done twice"
        if "not acknowledged" in str(error)
        else str(error)
    )


ANSWERED: Final = (AdmissionError, BrokerUnavailableError, RecordTooLargeError)
"""The errors that ``answer`` knows."""


def answer(error: AdmissionError | BrokerUnavailableError | RecordTooLargeError) -> Response:
    """The answer to a request that ended in one of ``ANSWERED``."""
    if isinstance(error, BrokerUnavailableError):
        return response(unavailable(error))
    if isinstance(error, RecordTooLargeError):
        return response(BodyTooLargeError("the task is larger than the log takes"))
    return response(error)


def unexpected() -> Response:
    """The answer where our own code failed; the log has the rest."""
    return _response(
        500,
        {
            "type": "/problems/internal-error",
            "title": "Internal error",
            "status": 500,
            "detail": "the API failed to answer; its log says why under the request id of this answer",
        },
    )


def install(app: FastAPI) -> None:
    """Have every error of ``app``, the framework's own included, answered as a problem document."""
    for each in ANSWERED:
        app.exception_handler(each)(_answered)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(HTTPException)(_http)


def _response(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    all_headers = dict(headers or {})
    if status in _RETRIED:
        all_headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(_encode(body), status, all_headers, MEDIA_TYPE)


def _answered(_request: Request, error: AdmissionError | BrokerUnavailableError | RecordTooLargeError) -> Response:
    return answer(error)


def _validation(_request: Request, error: RequestValidationError) -> Response:
    violations = [
        {"at": "/" + "/".join(str(part) for part in each["loc"]), "why": str(each["msg"])} for each in error.errors()
    ]
    return response(InvalidTaskError("the request is not what this route takes", violations=violations))


def _http(_request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    details = {
        404: "there is nothing at this path; /docs lists what there is",
        405: "this path does not take this method",
    }
    body = {
        "type": f"/problems/{status.phrase.lower().replace(' ', '-')}",
        "title": status.phrase,
        "status": status.value,
        "detail": details.get(status.value, str(error.detail)),
    }
    return _response(status.value, body, error.headers)
