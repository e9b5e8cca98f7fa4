"""What descriptions of routes are put together from."""

from typing import Any, Final

from ingest.problems import MEDIA_TYPE

Route = dict[str, Any]
Answers = dict[int | str, Any]
REF: Final = "#/components/schemas/"
JSON: Final = "application/json"


def ref(name: str) -> dict[str, Any]:
    """A schema by its name."""
    return {"$ref": REF + name}


def content(schema: dict[str, Any], media_type: str = JSON) -> dict[str, Any]:
    """A body of this schema."""
    return {media_type: {"schema": schema}}


def answer(description: str, schema: str, *, location: str | None = None) -> dict[str, Any]:
    """An answer in JSON."""
    told: dict[str, Any] = {"description": description, "content": content(ref(schema))}
    if location:
        told["headers"] = {"Location": {"description": location, "schema": {"type": "string"}}}
    return told


def answers(good: Answers, **refusals: str) -> Answers:
    """The good answers, and those that are problem documents, by ``_<status>``."""
    told: Answers = {**good}
    for name, description in refusals.items():
        status = int(name.removeprefix("_"))
        told[status] = {"description": description, "content": content(ref("Problem"), MEDIA_TYPE)}
        if status in (429, 503):
            told[status]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return told


def parameter(
    name: str, where: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False
) -> dict[str, Any]:
    """A parameter of a route; text unless a schema is given."""
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": required or where == "path",
        "schema": schema or {"type": "string"},
    }


def route(
    status: int,
    answers: Answers,
    *parameters: dict[str, Any],
    body: dict[str, Any] | None = None,
) -> Route:
    """What FastAPI takes to describe a route."""
    extra: dict[str, Any] = {}
    if parameters:
        extra["parameters"] = list(parameters)
    if body is not None:
        extra["requestBody"] = {"required": True, "content": body}
    return {"status_code": status, "responses": answers, "openapi_extra": extra}


def object_of(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """The schema of an object."""
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    return made


TRACE: Final = parameter("traceparent", "header", "W3C trace context; it travels with the task.")
ID: Final = parameter("id", "path", "The task's id.")
WAIT: Final = parameter(
    "wait",
    "query",
    "Hold the answer until the state is final, at most this many seconds; then it tells the present state.",
    {"type": "number", "minimum": 0},
)
GONE: Final = "Older than statuses are kept."
UNKNOWN: Final = "No such task was ever accepted."
CANNOT_KNOW: Final = "It cannot be known now; ask again."
ACCEPTED: Final = "On every in-sync replica."
NOT_TAKEN: Final = "The log cannot take it now; nothing was promised."
MALFORMED: Final = "Not JSON in UTF-8, or a header or parameter that cannot be."
