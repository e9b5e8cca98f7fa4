"""The OpenAPI document: what the lean routes take and answer, in full."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ingest.problems import MEDIA_TYPE
from laneway.files import StoredFile
from laneway.registry import Registry
from schemas.control import Cancelled
from schemas.record_schemas import with_plain_defaults
from schemas.schedule import ScheduleSubmission, ScheduleView
from schemas.status import State, Status
from schemas.task import Priority, TaskSubmission

Route = dict[str, Any]
Answers = dict[int | str, Any]
_REF: Final = "#/components/schemas/"
_JSON: Final = "application/json"


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF + name}


def _content(schema: dict[str, Any], media_type: str = _JSON) -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _answer(description: str, schema: str, *, location: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": _content(_ref(schema))}
    if location:
        answer["headers"] = {"Location": {"description": location, "schema": {"type": "string"}}}
    return answer


def _answers(good: Answers, **refusals: str) -> Answers:
    """The good answers, and those that are problem documents, by ``_<status>``."""
    answers: Answers = {**good}
    for name, description in refusals.items():
        status = int(name.removeprefix("_"))
        answers[status] = {"description": description, "content": _content(_ref("Problem"), MEDIA_TYPE)}
        if status in (429, 503):
            answers[status]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return answers


def _parameter(
    name: str, where: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": required or where == "path",
        "schema": schema or {"type": "string"},
    }


def _route(
    status: int,
    answers: Answers,
    *parameters: dict[str, Any],
    body: dict[str, Any] | None = None,
) -> Route:
    extra: dict[str, Any] = {}
    if parameters:
        extra["parameters"] = list(parameters)
    if body is not None:
        extra["requestBody"] = {"required": True, "content": body}
    return {"status_code": status, "responses": answers, "openapi_extra": extra}


_TRACE: Final = _parameter("traceparent", "header", "W3C trace context; it travels with the task.")
_ID: Final = _parameter("id", "path", "The task's id.")
_WAIT: Final = _parameter(
    "wait",
    "query",
    "Hold the answer until the state is final, at most this many seconds; then it tells the present state.",
    {"type": "number", "minimum": 0},
)
_GONE: Final = "Older than statuses are kept."
_UNKNOWN: Final = "No such task was ever accepted."
_CANNOT_KNOW: Final = "It cannot be known now; ask again."
_ACCEPTED: Final = "On every in-sync replica."
_NOT_TAKEN: Final = "The log cannot take it now; nothing was promised."
_MALFORMED: Final = "Not JSON in UTF-8, or a header or parameter that cannot be."

SUBMIT: Final = _route(
    202,
    _answers(
        {
            202: _answer(_ACCEPTED, "Status", location="Where the status document is."),
            200: _answer("Accepted before with this Idempotency-Key; its present status.", "Status"),
        },
        _400=_MALFORMED,
        _404="Unknown type; `known` names those that there are.",
        _409="The Idempotency-Key was used with another body.",
        _413="The body or the payload is too large.",
        _422="Refused by its schema; `violations` say where and why.",
        _503=_NOT_TAKEN,
    ),
    _parameter(
        "Idempotency-Key",
        "header",
        "The same key with the same body is the same task.",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
    _parameter(
        "Laneway-Try",
        "header",
        "How often a client that made the Idempotency-Key for this very request has sent it. The first time, the log is"
        " not asked for earlier ones: never say it of a key that anybody else may have used.",
        {"type": "integer", "minimum": 1},
    ),
    _TRACE,
    body=_content(_ref("Submission")),
)
SUBMIT_BATCH: Final = _route(
    202,
    _answers(
        {
            202: _answer("All accepted.", "BatchAnswer"),
            207: _answer("Some were refused; each says why.", "BatchAnswer"),
        },
        _400=_MALFORMED,
        _413="The body or the number of tasks is too large.",
        _422="No array.",
        _503=_NOT_TAKEN,
    ),
    _TRACE,
    body={
        **_content({"type": "array", "maxItems": 10_000, "items": _ref("Submission")}),
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "One Submission a line."},
        },
    },
)
GET_TASK: Final = _route(
    200,
    _answers({200: _answer("The status document.", "Status")}, _404=_UNKNOWN, _410=_GONE, _503=_CANNOT_KNOW),
    _ID,
    _WAIT,
)
GET_RESULT: Final = _route(
    200,
    _answers(
        {
            200: {"description": "The bare result.", "content": _content({})},
            202: _answer("Not final yet; the status document.", "Status"),
        },
        _404=_UNKNOWN,
        _409="It ended without a result; `error` says why.",
        _410=_GONE,
        _503=_CANNOT_KNOW,
    ),
    _ID,
    _WAIT,
)
CANCEL: Final = _route(
    200,
    _answers(
        {
            200: _answer("It will not start any more (`before_start`), or it had ended (`too_late`).", "Cancelled"),
            202: _answer(
                "Its handler was told and is stopped after a grace (`while_running`), or no worker has answered yet,"
                " and it will not start once one has its partition (`requested`).",
                "Cancelled",
            ),
        },
        _404=_UNKNOWN,
        _410=_GONE,
        _503=_CANNOT_KNOW,
    ),
    _ID,
)
LIST: Final = _route(
    200,
    _answers({200: _answer("A page, newest first.", "TaskPage")}, _400=_MALFORMED, _503=_CANNOT_KNOW),
    _parameter("type", "query", "Tasks of this type."),
    _parameter("state", "query", "Tasks in this state.", _ref("State")),
    _parameter("priority", "query", "Tasks of this priority.", _ref("Priority")),
    {
        "name": "labels",
        "in": "query",
        "description": "`label.<name>=<value>`: tasks with this label; repeatable for several labels.",
        "required": False,
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        "example": {"label.tenant": "acme"},
    },
    _parameter("since", "query", "Accepted then or later.", {"type": "string", "format": "date-time"}),
    _parameter("until", "query", "Accepted before.", {"type": "string", "format": "date-time"}),
    _parameter("q", "query", "Part of the type, of the latest error or of a label."),
    _parameter("limit", "query", "Tasks a page.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}),
    _parameter("cursor", "query", "`next_cursor` of the page before."),
)
LANES: Final = _route(200, _answers({200: _answer("Every lane.", "LaneList")}, _503=_CANNOT_KNOW))


def _holding(done: str) -> Route:
    return _route(
        200,
        _answers(
            {200: _answer(done, "Lane")},
            _400=_MALFORMED,
            _404="Unknown type; `known` names those that there are.",
            _503=_NOT_TAKEN,
        ),
        _parameter("type", "path", "A task type."),
        _parameter("priority", "path", "One of its priorities.", _ref("Priority")),
        body=_content(_ref("LaneHold")),
    )


PAUSE: Final = _holding("Held on every worker within a second.")
RESUME: Final = _holding("It flows again.")
_NAME: Final = _parameter("name", "path", "The schedule's name.")
_NO_SCHEDULE: Final = "No such schedule."
PUT_SCHEDULE: Final = _route(
    201,
    _answers(
        {
            201: _answer("Made.", "Schedule", location="Where the schedule is."),
            200: _answer("It has replaced the one of this name.", "Schedule"),
        },
        _400=_MALFORMED,
        _404="Unknown type; `known` names those that there are.",
        _413="The body or the payload is too large.",
        _422="No cron expression, no time zone, or a task that is refused; `violations` say where and why.",
        _503=_NOT_TAKEN,
    ),
    body=_content(_ref("ScheduleSubmission")),
)
LIST_SCHEDULES: Final = _route(
    200, _answers({200: _answer("Every schedule, by name.", "ScheduleList")}, _503=_CANNOT_KNOW)
)
GET_SCHEDULE: Final = _route(
    200, _answers({200: _answer("The schedule.", "Schedule")}, _404=_NO_SCHEDULE, _503=_CANNOT_KNOW), _NAME
)
DELETE_SCHEDULE: Final = _route(
    204, _answers({204: {"description": "Gone; it fires no more."}}, _404=_NO_SCHEDULE, _503=_NOT_TAKEN), _NAME
)
TYPES: Final = _route(200, {200: _answer("Every type, by name.", "TypeList")})
PUT_FILE: Final = _route(
    201,
    _answers({201: _answer("Kept.", "StoredFile", location="Where the file is.")}, _400=_MALFORMED, _413="Too large."),
    _parameter("name", "query", "The file's name; else the one in Content-Disposition."),
    _parameter("Content-Disposition", "header", "May carry the file's name."),
    body={"*/*": {"schema": {"type": "string", "format": "binary"}}},
)
GET_FILE: Final = _route(
    200,
    _answers(
        {
            200: {
                "description": "The file, as an attachment.",
                "content": _content({"type": "string", "format": "binary"}, "*/*"),
            }
        },
        _404="No such file.",
    ),
    _parameter("ref", "path", "The file's reference."),
)
CHAT: Final = _route(
    202,
    _answers(
        {202: _answer("Asked.", "ChatTask", location="Where the answer will be.")},
        _400=_MALFORMED,
        _404="This system has no type `chat`.",
        _413="Too large.",
        _422="Refused.",
        _503=_NOT_TAKEN,
    ),
    _TRACE,
    body=_content(_ref("ChatMessage")),
)
RESULT: Final = _route(
    200,
    _answers(
        {200: _answer("Over: the answer, or the error.", "ChatResult"), 202: _answer("Not over yet.", "ChatResult")},
        _400=_MALFORMED,
        _404=_UNKNOWN,
        _410=_GONE,
        _503=_CANNOT_KNOW,
    ),
    _parameter("task_id", "query", "From `POST /chat`; any task's id will do.", required=True),
    _WAIT,
)
HEALTH: Final = _route(200, {200: _answer("Alive.", "Health")})
READY: Final = _route(200, {200: _answer("Ready.", "Readiness"), 503: _answer("Not ready; says why.", "Readiness")})


def document(app: FastAPI, registry: Registry) -> dict[str, Any]:
    """The document for the routes of ``app`` and the types of ``registry``."""
    made: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    made.setdefault("components", {})["schemas"] = _schemas(registry)
    return made


def _schemas(registry: Registry) -> dict[str, Any]:
    records = msgspec.json.schema_components(
        [TaskSubmission, with_plain_defaults(Status), ScheduleSubmission, ScheduleView, StoredFile, State, Priority],
        ref_template=_REF + "{name}",
    )[1]
    records["Schedule"] = records.pop("ScheduleView")
    return {**_small(), **records, **_submissions(registry)}


def _submissions(registry: Registry) -> dict[str, Any]:
    """A submission is one of the known types', each with its own payload."""
    found: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for each in registry:
        schema = each.payload.json_schema(ref_template=f"{_REF}{each.name}.{{model}}")
        for name, definition in schema.pop("$defs", {}).items():
            found[f"{each.name}.{name}"] = definition
        found[f"{each.name}.payload"] = schema
        name = f"{each.name}.submission"
        found[name] = {
            "title": each.name,
            "description": each.description,
            "allOf": [_ref("TaskSubmission")],
            "properties": {"type": {"const": each.name}, "payload": _ref(f"{each.name}.payload")},
            "required": ["type", "payload"],
        }
        mapping[each.name] = _REF + name
    if not mapping:
        return {"Submission": _ref("TaskSubmission")}
    found["Submission"] = {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    return found


def _small() -> dict[str, Any]:
    text = {"type": "string"}
    violations = {"type": "array", "items": _object({"at": text, "why": text}, ["at", "why"])}
    accepted = _object({"id": text, "state": _ref("State")}, ["id", "state"])
    refused = _object({"error": _ref("Problem")}, ["error"])
    retry = _object(
        {
            "max_attempts": {"type": "integer"},
            "first_delay": {"type": "number"},
            "factor": {"type": "number"},
            "max_delay": {"type": "number"},
            "jitter": {"type": "boolean"},
        }
    )
    described = _object(
        {
            "name": text,
            "description": text,
            "payload_schema": {"type": "object"},
            "priorities": {"type": "array", "items": _ref("Priority")},
            "timeout": {"type": ["number", "null"], "description": "Seconds that one attempt may run."},
            "executor": {"enum": ["loop", "thread", "process"]},
            "retry": retry,
        },
        ["name", "payload_schema", "retry", "timeout"],
    )
    lane = _object(
        {
            "type": text,
            "priority": _ref("Priority"),
            "lag": {"type": ["integer", "null"], "description": "Records that no worker has committed yet."},
            "paused": {"type": "boolean"},
            "since": {"type": "string", "format": "date-time", "description": "When it was held or freed last."},
            "by": {"type": "string", "description": "`api`, or the worker that met its budget of dead letters."},
            "reason": {"type": ["string", "null"]},
        },
        ["type", "priority", "lag", "paused"],
    )
    check = _object({"ok": {"type": "boolean"}, "why": text}, ["ok"])
    return {
        "Problem": {
            **_object(
                {
                    "type": {"type": "string", "format": "uri-reference"},
                    "title": text,
                    "status": {"type": "integer"},
                    "detail": text,
                    "violations": violations,
                    "known": {"type": "array", "items": text},
                    "limit": {"type": "integer"},
                    "id": text,
                },
                ["type", "title", "status", "detail"],
            ),
            "description": "RFC 9457.",
        },
        "BatchAnswer": _object(
            {"tasks": {"type": "array", "items": {"oneOf": [accepted, refused]}, "description": "In their order."}},
            ["tasks"],
        ),
        "TaskPage": _object(
            {"tasks": {"type": "array", "items": _ref("Status")}, "next_cursor": {"type": ["string", "null"]}},
            ["tasks", "next_cursor"],
        ),
        "Cancelled": _object(
            {"id": text, "cancellation": {"enum": [each.value for each in Cancelled]}, "state": _ref("State")},
            ["id", "cancellation", "state"],
        ),
        "LaneHold": _object({"reason": {"type": ["string", "null"], "description": "Shown with the lane."}}),
        "Lane": lane,
        "LaneList": _object({"lanes": {"type": "array", "items": lane}}, ["lanes"]),
        "ScheduleList": _object({"schedules": {"type": "array", "items": _ref("Schedule")}}, ["schedules"]),
        "TypeList": _object({"types": {"type": "array", "items": described}}, ["types"]),
        "ChatMessage": _object({"message": text}, ["message"]),
        "ChatTask": _object({"task_id": text}, ["task_id"]),
        "ChatResult": _object(
            {"task_id": text, "state": _ref("State"), "result": {}, "error": {"type": ["object", "null"]}},
            ["task_id", "state"],
        ),
        "Health": _object({"status": {"const": "alive"}}, ["status"]),
        "Readiness": _object(
            {"ready": {"type": "boolean"}, "checks": {"type": "object", "additionalProperties": check}},
            ["ready", "checks"],
        ),
    }


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    return made
