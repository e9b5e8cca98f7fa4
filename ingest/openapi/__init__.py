"""The OpenAPI document: what the lean routes take and answer, in full."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ingest.callback_contract import CALLBACKS
from ingest.openapi import counts, overview, replays, workers
from ingest.openapi.parts import (
    ACCEPTED,
    CANNOT_KNOW,
    GONE,
    ID,
    MALFORMED,
    NOT_TAKEN,
    REF,
    TRACE,
    UNKNOWN,
    WAIT,
    Route,
    answer,
    answers,
    content,
    object_of,
    parameter,
    ref,
    route,
)
from laneway.files import StoredFile
from laneway.registry import Registry
from schemas.callback import Callback
from schemas.control import Cancelled
from schemas.due_change import DueSubmission
from schemas.explanation import Why
from schemas.outcome import Event
from schemas.record_schemas import with_plain_defaults
from schemas.schedule import ScheduleSubmission, ScheduleView
from schemas.status import State, Status
from schemas.task import Priority, TaskSubmission

SUBMIT: Final = route(
    202,
    answers(
        {
            202: answer(ACCEPTED, "Status", location="Where the status document is."),
            200: answer("Accepted before with this Idempotency-Key; its present status.", "Status"),
        },
        _400=MALFORMED,
        _404="Unknown type; `known` names those that there are.",
        _409="The Idempotency-Key was used with another body.",
        _413="The body or the payload is too large.",
        _422="Refused by its schema; `violations` say where and why.",
        _503=NOT_TAKEN,
    ),
    parameter(
        "Idempotency-Key",
        "header",
        "The same key with the same body is the same task.",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
    parameter(
        "Laneway-Try",
        "header",
        "How often a client that made the Idempotency-Key for this very request has sent it. The first time, the log is"
        " not asked for earlier ones: never say it of a key that anybody else may have used.",
        {"type": "integer", "minimum": 1},
    ),
    TRACE,
    body=content(ref("Submission")),
)
SUBMIT["openapi_extra"]["callbacks"] = CALLBACKS
SUBMIT_BATCH: Final = route(
    202,
    answers(
        {
            202: answer("All accepted.", "BatchAnswer"),
            207: answer("Some were refused; each says why.", "BatchAnswer"),
        },
        _400=MALFORMED,
        _413="The body or the number of tasks is too large.",
        _422="No array.",
        _503=NOT_TAKEN,
    ),
    parameter(
        "Idempotency-Key",
        "header",
        "Names each task of the batch together with its place in it: the same place with the same submission is the"
        " same task, with another one it is refused with a 409 of its own.",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
    parameter("Laneway-Try", "header", "As of a single task.", {"type": "integer", "minimum": 1}),
    TRACE,
    body={
        **content({"type": "array", "maxItems": 10_000, "items": ref("Submission")}),
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "One Submission a line."},
        },
    },
)
GET_TASK: Final = route(
    200,
    answers({200: answer("The status document.", "Status")}, _404=UNKNOWN, _410=GONE, _503=CANNOT_KNOW),
    ID,
    WAIT,
)
WHY: Final = route(
    200,
    answers({200: answer("Reasons, most decisive first.", "Why")}, _404=UNKNOWN, _410=GONE, _503=CANNOT_KNOW),
    ID,
)
GET_RESULT: Final = route(
    200,
    answers(
        {
            200: {"description": "The bare result.", "content": content({})},
            202: answer("Not final yet; the status document.", "Status"),
        },
        _400=MALFORMED,
        _404="No such task was ever accepted, or it has no such generation.",
        _409="It ended without a result; `error` says why.",
        _410="Older than statuses, or than results of earlier generations, are kept.",
        _503=CANNOT_KNOW,
    ),
    ID,
    WAIT,
    parameter(
        "generation",
        "query",
        "Of this generation, also where a replay has given the task a later one.",
        {"type": "integer", "minimum": 1},
    ),
)
CANCEL: Final = route(
    200,
    answers(
        {
            200: answer("It will not start any more (`before_start`), or it had ended (`too_late`).", "Cancelled"),
            202: answer(
                "Its handler was told and is stopped after a grace (`while_running`), or no worker has answered yet,"
                " and it will not start once one has its partition (`requested`).",
                "Cancelled",
            ),
        },
        _404=UNKNOWN,
        _410=GONE,
        _503=CANNOT_KNOW,
    ),
    ID,
)
LIST: Final = route(
    200,
    answers({200: answer("A page, newest first.", "TaskPage")}, _400=MALFORMED, _503=CANNOT_KNOW),
    parameter("type", "query", "Tasks of this type."),
    parameter("state", "query", "Tasks in this state.", ref("State")),
    parameter("priority", "query", "Tasks of this priority.", ref("Priority")),
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
    parameter("since", "query", "Accepted then or later.", {"type": "string", "format": "date-time"}),
    parameter("until", "query", "Accepted before.", {"type": "string", "format": "date-time"}),
    parameter("q", "query", "Part of the type, of the latest error or of a label."),
    parameter("limit", "query", "Tasks a page.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}),
    parameter("cursor", "query", "`next_cursor` of the page before."),
)
LANES: Final = route(200, answers({200: answer("Every lane.", "LaneList")}, _503=CANNOT_KNOW))


def _holding(done: str) -> Route:
    return route(
        200,
        answers(
            {200: answer(done, "Lane")},
            _400=MALFORMED,
            _404="Unknown type; `known` names those that there are.",
            _503=NOT_TAKEN,
        ),
        parameter("type", "path", "A task type."),
        parameter("priority", "path", "One of its priorities.", ref("Priority")),
        body=content(ref("LaneHold")),
    )


PAUSE: Final = _holding("Held on every worker within a second.")
RESUME: Final = _holding("It flows again.")
_NAME: Final = parameter("name", "path", "The schedule's name.")
_NO_SCHEDULE: Final = "No such schedule."
PUT_SCHEDULE: Final = route(
    201,
    answers(
        {
            201: answer("Made.", "Schedule", location="Where the schedule is."),
            200: answer("It has replaced the one of this name.", "Schedule"),
        },
        _400=MALFORMED,
        _404="Unknown type; `known` names those that there are.",
        _413="The body or the payload is too large.",
        _422="No cron expression, no time zone, or a task that is refused; `violations` say where and why.",
        _503=NOT_TAKEN,
    ),
    body=content(ref("ScheduleSubmission")),
)
LIST_SCHEDULES: Final = route(200, answers({200: answer("Every schedule, by name.", "ScheduleList")}, _503=CANNOT_KNOW))
GET_SCHEDULE: Final = route(
    200, answers({200: answer("The schedule.", "Schedule")}, _404=_NO_SCHEDULE, _503=CANNOT_KNOW), _NAME
)
DELETE_SCHEDULE: Final = route(
    204, answers({204: {"description": "Gone; it fires no more."}}, _404=_NO_SCHEDULE, _503=NOT_TAKEN), _NAME
)
TYPES: Final = route(200, {200: answer("Every type, by name.", "TypeList")})
PUT_FILE: Final = route(
    201,
    answers({201: answer("Kept.", "StoredFile", location="Where the file is.")}, _400=MALFORMED, _413="Too large."),
    parameter("name", "query", "The file's name; else the one in Content-Disposition."),
    parameter("Content-Disposition", "header", "May carry the file's name."),
    body={"*/*": {"schema": {"type": "string", "format": "binary"}}},
)
GET_FILE: Final = route(
    200,
    answers(
        {
            200: {
                "description": "The file, as an attachment.",
                "content": content({"type": "string", "format": "binary"}, "*/*"),
            }
        },
        _404="No such file.",
    ),
    parameter("ref", "path", "The file's reference."),
)
CHAT: Final = route(
    202,
    answers(
        {202: answer("Asked.", "ChatTask", location="Where the answer will be.")},
        _400=MALFORMED,
        _404="This system has no type `chat`.",
        _413="Too large.",
        _422="Refused.",
        _503=NOT_TAKEN,
    ),
    TRACE,
    body=content(ref("ChatMessage")),
)
RESULT: Final = route(
    200,
    answers(
        {200: answer("Over: the answer, or the error.", "ChatResult"), 202: answer("Not over yet.", "ChatResult")},
        _400=MALFORMED,
        _404=UNKNOWN,
        _410=GONE,
        _503=CANNOT_KNOW,
    ),
    parameter("task_id", "query", "From `POST /chat`; any task's id will do.", required=True),
    WAIT,
)
HEALTH: Final = route(200, {200: answer("Alive.", "Health")})
ASYNCAPI: Final = route(
    200, {200: {"description": "AsyncAPI 3.0: the topics of this system.", "content": content({"type": "object"})}}
)
READY: Final = route(200, {200: answer("Ready.", "Readiness"), 503: answer("Not ready; says why.", "Readiness")})


def document(app: FastAPI, registry: Registry) -> dict[str, Any]:
    """The document for the routes of ``app`` and the types of ``registry``."""
    made: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    made.setdefault("components", {})["schemas"] = _schemas(registry)
    return made


def _schemas(registry: Registry) -> dict[str, Any]:
    records = msgspec.json.schema_components(
        [
            *map(with_plain_defaults, (Status, Callback)),
            *(TaskSubmission, DueSubmission, ScheduleSubmission, ScheduleView, StoredFile, State, Priority, Event, Why),
            *replays.RECORDS,
            *workers.RECORDS,
        ],
        ref_template=REF + "{name}",
    )[1]
    records["Schedule"] = records.pop("ScheduleView")
    return {**_small(), **records, **_submissions(registry)}


def _submissions(registry: Registry) -> dict[str, Any]:
    """A submission is one of the known types', each with its own payload."""
    found: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for each in registry:
        schema = each.payload.json_schema(ref_template=f"{REF}{each.name}.{{model}}")
        for name, definition in schema.pop("$defs", {}).items():
            found[f"{each.name}.{name}"] = definition
        found[f"{each.name}.payload"] = schema
        name = f"{each.name}.submission"
        found[name] = {
            "title": each.name,
            "description": each.description,
            "allOf": [ref("TaskSubmission")],
            "properties": {"type": {"const": each.name}, "payload": ref(f"{each.name}.payload")},
            "required": ["type", "payload"],
        }
        mapping[each.name] = REF + name
    if not mapping:
        return {"Submission": ref("TaskSubmission")}
    found["Submission"] = {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    return found


def _small() -> dict[str, Any]:
    text = {"type": "string"}
    violations = {"type": "array", "items": object_of({"at": text, "why": text}, ["at", "why"])}
    accepted = object_of({"id": text, "state": ref("State")}, ["id", "state"])
    refused = object_of({"error": ref("Problem")}, ["error"])
    retry = object_of(
        {
            "max_attempts": {"type": "integer"},
            "first_delay": {"type": "number"},
            "factor": {"type": "number"},
            "max_delay": {"type": "number"},
            "jitter": {"type": "boolean"},
        }
    )
    described = object_of(
        {
            "name": text,
            "description": text,
            "payload_schema": {"type": "object"},
            "priorities": {"type": "array", "items": ref("Priority")},
            "timeout": {"type": ["number", "null"], "description": "Seconds that one attempt may run."},
            "executor": {"enum": ["loop", "thread", "process"]},
            "retry": retry,
        },
        ["name", "payload_schema", "retry", "timeout"],
    )
    number = {"type": "number"}
    waits = object_of({"p50": number, "p99": number, "tasks": {"type": "integer"}}, ["p50", "p99", "tasks"]) | {
        "type": ["object", "null"],
        "description": "Seconds from acceptance to the start of the first run, of the newest `tasks` of the last hour;"
        " a delay that was asked for is part of it. Null where none was started.",
    }
    lane = object_of(
        {
            "type": text,
            "priority": ref("Priority"),
            "lag": {"type": ["integer", "null"], "description": "Records that no worker has committed yet."},
            "paused": {"type": "boolean"},
            "since": {"type": "string", "format": "date-time", "description": "When it was held or freed last."},
            "by": {"type": "string", "description": "`api`, or the worker that met its budget of dead letters."},
            "reason": {"type": ["string", "null"]},
            "oldest_seconds": {
                "type": ["number", "null"],
                "description": "Since the oldest of its queued tasks was accepted; null where none is, or while the"
                " status view is being built.",
            },
            "running": {"type": ["integer", "null"], "description": "Null while the status view is being built."},
            "rate": {
                "type": ["number", "null"],
                "description": "Records a second that its workers got done with in the last minute, retries included;"
                " null where this API was not asked in that minute before.",
            },
            "waits": waits,
            "workers": {
                "type": ["array", "null"],
                "items": text,
                "description": "Who is alive and has partitions of it; null until the workers' reports are read.",
            },
        },
        ["type", "priority", "lag", "paused"],
    )
    check = object_of({"ok": {"type": "boolean"}, "why": text}, ["ok"])
    return {
        "Problem": {
            **object_of(
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
        "BatchAnswer": object_of(
            {"tasks": {"type": "array", "items": {"oneOf": [accepted, refused]}, "description": "In their order."}},
            ["tasks"],
        ),
        "TaskPage": object_of(
            {
                "tasks": {"type": "array", "items": ref("Status")},
                "next_cursor": {
                    "type": ["string", "null"],
                    "description": "Null on the last page alone; one with a cursor may hold fewer than `limit`.",
                },
            },
            ["tasks", "next_cursor"],
        ),
        "Timeline": object_of(
            {
                "id": text,
                "complete": {
                    "type": "boolean",
                    "description": "False where the task lived so long, in so busy a partition, that only the events"
                    " around the times that its status tells were read.",
                },
                "events": {"type": "array", "items": ref("Event")},
            },
            ["id", "complete", "events"],
        ),
        "Cancelled": object_of(
            {"id": text, "cancellation": {"enum": [each.value for each in Cancelled]}, "state": ref("State")},
            ["id", "cancellation", "state"],
        ),
        "LaneHold": object_of({"reason": {"type": ["string", "null"], "description": "Shown with the lane."}}),
        "Lane": lane,
        "LaneList": object_of({"lanes": {"type": "array", "items": lane}}, ["lanes"]),
        **replays.SCHEMAS,
        **counts.SCHEMAS,
        **overview.SCHEMAS,
        "WorkerList": object_of({"workers": {"type": "array", "items": ref("WorkerView")}}, ["workers"]),
        "ScheduleList": object_of({"schedules": {"type": "array", "items": ref("Schedule")}}, ["schedules"]),
        "TypeList": object_of({"types": {"type": "array", "items": described}}, ["types"]),
        "ChatMessage": object_of({"message": text}, ["message"]),
        "ChatTask": object_of({"task_id": text}, ["task_id"]),
        "ChatResult": object_of(
            {"task_id": text, "state": ref("State"), "result": {}, "error": {"type": ["object", "null"]}},
            ["task_id", "state"],
        ),
        "Health": object_of({"status": {"const": "alive"}}, ["status"]),
        "Readiness": object_of(
            {"ready": {"type": "boolean"}, "checks": {"type": "object", "additionalProperties": check}},
            ["ready", "checks"],
        ),
    }
