"""The AsyncAPI 3.0 document of the topics: what lies in each, under which key, with which headers, and who acts on it.

Made from the same places as the topics and records themselves, so it cannot tell anything else than they do.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas import headers as names
from schemas.headers import HEADERS
from schemas.payloads import PAYLOADS
from schemas.record_schemas import RECORDS, record_components
from schemas.task import CALLBACK_TYPE, Lane, Priority
from schemas.topics import RUNGS, Topics, TopicSpec

VERSION: Final = "3.0.0"
CONTRACT_VERSION: Final = "1.0.0"
"""Raised by who breaks a baseline (``schemas.compatibility``)."""
_BINDING: Final = "0.5.0"
_REF: Final = "#/components/schemas/"
_JSON: Final = "application/json"
_CONSUMERS: Final = "consumers"
_INGEST: Final = "ingest"
_WORKER: Final = "worker"


class _Message(NamedTuple):
    """Records of one kind."""

    record: str
    """Its schema, by the name of its file."""
    kind: str
    """Last part of ``ce_type``."""
    key: str
    headers: tuple[str, ...] = ()
    """Beside those that every record has."""
    summary: str | None = None


_DELIVERY: Final = (
    *(names.ATTEMPT, names.DEFERRALS, names.NOT_BEFORE, names.REPEATED, names.ERRORS),
    names.REPLAYED_FROM,
    names.SHADOW,
)
_DEAD: Final = (names.DLQ_REASON, names.DLQ_ERROR, names.DLQ_SOURCE, names.DLQ_AT, names.DLQ_WORKER)
_BY_TASK: Final = "The task's id."

_MESSAGES: Final = {
    "task": _Message("task", "task", "The task's ordering key where it has one, else its id.", _DELIVERY),
    "waitingTask": _Message(
        "task", "task", _BY_TASK, _DELIVERY, "A task as it was accepted; headers say when it is due."
    ),
    "deadLetter": _Message(
        "task",
        "task",
        _BY_TASK,
        (*_DELIVERY, *_DEAD),
        "A task as it was accepted, or the bytes that were none; headers say why, when and where from.",
    ),
    "outcome": _Message("outcome", "outcome", _BY_TASK),
    "outcomeAside": _Message(
        "outcome",
        "outcome",
        _BY_TASK,
        (*_DEAD, names.ERRORS, names.TRIES, names.AGAIN),
        "An outcome that a handler could not take, or the bytes that were none; headers say why, when and where from.",
    ),
    "status": _Message("status", "status", _BY_TASK),
    "event": _Message("event", "event", _BY_TASK),
    "laneControl": _Message("lane_control", "control", "`lane/<type>.<priority>`"),
    "cancellation": _Message("cancellation", "cancellation", _BY_TASK),
    "dueChange": _Message("due_change", "due_change", "`due/<task id>`"),
    "withdrawal": _Message("withdrawal", "withdrawal", "`withdrawn/<task id>`"),
    "suspect": _Message("suspect", "suspect", _BY_TASK),
    "audit": _Message("audit", "audit", "The action's id."),
    "worker": _Message("worker", "worker", "The worker's name."),
    "schedule": _Message("schedule", "schedule", "`<name>`"),
    "scheduleProgress": _Message("schedule_progress", "schedule", "`<name>/fired`"),
    "scheduleDone": _Message("schedule_done", "schedule", "`<name>/done`"),
    "replay": _Message("replay", "replay", "`<id>`"),
    "replayAsked": _Message("replay_asked", "replay", "`<id>/asked`"),
    "replayPlan": _Message("replay_plan", "replay", "`<id>/plan`"),
    "replayRun": _Message("replay_run", "replay", "`<id>/run`"),
}


class _Operation(NamedTuple):
    """What one of our processes does with a channel."""

    part: str
    name: str
    action: str
    summary: str


class _Channel(NamedTuple):
    """Topics of one kind."""

    messages: tuple[str, ...]
    summary: str
    operations: tuple[_Operation, ...]


_CHANNELS: Final = {
    "lane": _Channel(
        ("task",),
        "Tasks of one type and priority, to be run in this order as slots get free. Replay reads it, too.",
        (
            _Operation(_INGEST, "acceptTask", "send", "A task that was submitted and is due; from schedules, workers."),
            _Operation(_WORKER, "moveDueTask", "send", "A task that has waited, a callback, or a schedule's task."),
            _Operation(_WORKER, "runTask", "receive", "Runs it; one consumer group for each lane."),
        ),
    ),
    "retry": _Channel(
        ("waitingTask",),
        "Tasks that wait for their time: one rung of the ladder, each for one fixed wait.",
        (
            _Operation(_INGEST, "acceptWaitingTask", "send", "A task that is not due yet."),
            _Operation(_WORKER, "retryTask", "send", "The next run of a task."),
            _Operation(_WORKER, "moveWaitingTask", "receive", "Moves it down the ladder, or to its lane when due."),
        ),
    ),
    "deadLetters": _Channel(
        ("deadLetter",),
        "What is not tried again by itself.",
        (_Operation(_WORKER, "setAside", "send", "A task that ended without a result, or a record that was no task."),),
    ),
    "results": _Channel(
        ("outcome",),
        "How tasks of a type ended, for downstream services. Drop repetitions by (id, generation).",
        (
            _Operation(_WORKER, "tellOutcome", "send", "A task has ended; behind its status."),
            _Operation(_INGEST, "tellCancelledOutcome", "send", "A task was cancelled that no worker had begun."),
            _Operation(_CONSUMERS, "followResults", "receive", "`laneway.results()`, `consume()` and the command."),
        ),
    ),
    "aside": _Channel(
        ("outcomeAside",),
        "Outcomes that the handler of one group could not take, and those of them that it shall get again.",
        (
            _Operation(_CONSUMERS, "layAside", "send", "`consume()` gave up, or an operator asks for it again."),
            _Operation(_CONSUMERS, "followAside", "receive", "Handles what is asked for again."),
        ),
    ),
    "shadows": _Channel(
        ("outcome",),
        "How shadow runs ended, of all types: what `laneway replay diff` compares. Drop repetitions by"
        " (replay_id, id, generation).",
        (
            _Operation(_WORKER, "tellShadow", "send", "A shadow run has ended."),
            _Operation(_INGEST, "compareShadows", "receive", "Answers what differs."),
        ),
    ),
    "status": _Channel(
        ("status",),
        "The present state of every task.",
        (
            _Operation(_INGEST, "tellAccepted", "send", "Accepted, cancelled before it began, claimed, or mended."),
            _Operation(_WORKER, "tellStatus", "send", "Each step of a run."),
            _Operation(_INGEST, "followStatus", "receive", "Builds the view that answers `GET /api/tasks`."),
            _Operation(_WORKER, "readMarkers", "receive", "What was over before a partition was taken over."),
        ),
    ),
    "events": _Channel(
        ("event",),
        "Every transition of every task, with its errors.",
        (
            _Operation(_INGEST, "tellFirstEvent", "send", "Accepted, or cancelled before it began."),
            _Operation(_WORKER, "tellEvent", "send", "Each step of a run, and progress."),
        ),
    ),
    "control": _Channel(
        ("laneControl",),
        "Lanes that are held, and those that flow again.",
        (
            _Operation(_INGEST, "holdLane", "send", "An operator holds or frees a lane."),
            _Operation(_WORKER, "holdLaneOverBudget", "send", "A lane makes too many dead letters."),
            _Operation(_INGEST, "followLanes", "receive", "Tells how lanes stand."),
            _Operation(_WORKER, "obeyLanes", "receive", "Starts nothing of a held lane."),
        ),
    ),
    "cancellations": _Channel(
        ("cancellation", "dueChange", "withdrawal"),
        "Tasks that are called off and have not come up yet, or that shall be due at another time. A tombstone once"
        " it is carried out.",
        (
            _Operation(_INGEST, "changeDue", "send", "Somebody changes when a waiting task is due."),
            _Operation(_WORKER, "answerDueChange", "send", "Done or refused; and which runs must not start any more."),
            _Operation(_INGEST, "awaitDueChange", "receive", "The answer to whoever asked."),
            _Operation(_WORKER, "obeyWithdrawal", "receive", "Starts no earlier run."),
            _Operation(_INGEST, "cancelTask", "send", "Somebody calls a task off."),
            _Operation(_WORKER, "answerCancellation", "send", "What was done about it."),
            _Operation(_INGEST, "awaitCancellation", "receive", "The answer to whoever asked."),
            _Operation(_WORKER, "obeyCancellation", "receive", "Starts no run of it."),
        ),
    ),
    "suspects": _Channel(
        ("suspect",),
        "Tasks that ran in a process when it crashed. A tombstone once they have ended.",
        (
            _Operation(_WORKER, "tellSuspect", "send", "A process crashed, or a suspect has ended."),
            _Operation(_WORKER, "followSuspects", "receive", "Runs them alone."),
        ),
    ),
    "workers": _Channel(
        ("worker",),
        "What each worker process tells of itself, every five seconds. A tombstone when it stops in order.",
        (
            _Operation(_WORKER, "reportWorker", "send", "Every five seconds."),
            _Operation(_INGEST, "followWorkers", "receive", "Tells of workers."),
        ),
    ),
    "audit": _Channel(
        ("audit",),
        "Who asked for what by the dashboard: before it is done, and again with what came of it.",
        (_Operation(_INGEST, "recordAction", "send", "An operator does something."),),
    ),
    "replays": _Channel(
        ("replay", "replayAsked", "replayPlan", "replayRun"),
        "Replays: what was asked for, what operators want of each, what it would do, and how far it is.",
        (
            _Operation(_INGEST, "askReplay", "send", "Asked for, run, paused or aborted."),
            _Operation(_INGEST, "tellReplay", "send", "Its plan and its progress, from the process that runs replays."),
            _Operation(_INGEST, "followReplays", "receive", "Tells of replays."),
            _Operation(_INGEST, "runReplays", "receive", "Plans and runs them; one process of a consumer group."),
        ),
    ),
    "schedules": _Channel(
        ("schedule", "scheduleProgress", "scheduleDone"),
        "Schedules, how far each has come, and how its latest task ended. A tombstone deletes one.",
        (
            _Operation(_INGEST, "defineSchedule", "send", "Made, replaced or deleted."),
            _Operation(_WORKER, "tellSchedule", "send", "It has fired, or a task of it has ended."),
            _Operation(_INGEST, "followSchedules", "receive", "Tells of schedules."),
            _Operation(_WORKER, "fireSchedules", "receive", "Makes tasks by the clock; one consumer group."),
        ),
    ),
}


def asyncapi_document(
    topics: Topics,
    types: Sequence[str],
    payloads: Mapping[str, dict[str, Any]],
    *,
    partitions: int,
    replication_factor: int,
) -> dict[str, Any]:
    """The document of one system.

    Args:
        topics: their names.
        types: the task types that can be submitted.
        payloads: JSON Schema of each one's payload; parts that it refers to stand in its ``$defs``.
        partitions: of every topic.
        replication_factor: of every topic.
    """
    specs = {
        spec.name: spec
        for spec in topics.specs(["{type}"], partitions=partitions, replication_factor=replication_factor)
    }
    aside = topics.aside_spec("{type}", "{group}", partitions=partitions, replication_factor=replication_factor)
    specs[aside.name] = aside
    schemas = {**record_components(_REF), **_payload_schemas(payloads)}
    schemas["Task"] = _typed_task(schemas["Task"], payloads)
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Laneway",
            "version": CONTRACT_VERSION,
            "description": "Topics of Laneway in Apache Kafka. Records are JSON in UTF-8 with CloudEvents 1.0 in"
            " headers (binary mode). A task lies in the same partition number of every topic: CRC-32 of its ordering"
            " key, or of its id, modulo the number of partitions. Readers pass over fields and headers that they do not"
            " know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "channels": {
            name: _channel(name, channel, topics, types, specs[_address(name, topics, sample=True)])
            for name, channel in _CHANNELS.items()
        },
        "operations": {
            operation.name: _operation(operation, name, channel, topics)
            for name, channel in _CHANNELS.items()
            for operation in channel.operations
        },
        "components": {
            "messages": {name: _message(name, message) for name, message in _MESSAGES.items()},
            "schemas": dict(sorted(schemas.items())),
        },
    }


def asyncapi_file() -> str:
    """``schemas/asyncapi.json``: the document of a system with the built-in types and the defaults of the settings."""
    payloads = {name: model.model_json_schema() for name, model in PAYLOADS.items()}
    document = asyncapi_document(Topics(), list(PAYLOADS), payloads, partitions=12, replication_factor=3)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _address(channel: str, topics: Topics, *, sample: bool = False) -> str:
    """A channel's address with its parameters, or the name of one topic of it that ``Topics.specs`` tells of."""
    match channel:
        case "lane" if sample:
            return topics.lane(Lane("{type}", Priority.NORMAL))
        case "lane":
            return topics.lane(Lane("{type}", Priority.NORMAL)).removesuffix(Priority.NORMAL) + "{priority}"
        case "retry":
            return topics.retry(next(iter(RUNGS)) if sample else "{rung}")
        case "deadLetters":
            return topics.dead_letters("{type}")
        case "results":
            return topics.results("{type}")
        case "aside":
            return topics.aside("{type}", "{group}")
    return str(getattr(topics, channel))


def _channel(name: str, channel: _Channel, topics: Topics, types: Sequence[str], spec: TopicSpec) -> dict[str, Any]:
    address = _address(name, topics)
    known: dict[str, dict[str, Any]] = {
        "type": {"description": "A task type.", "enum": [*types, CALLBACK_TYPE]},
        "priority": {"description": "How urgent.", "enum": [priority.value for priority in Priority]},
        "group": {"description": "A consumer group of the type's results."},
        "rung": {"description": "How long records wait in it.", "enum": list(RUNGS)},
    }
    config: dict[str, Any] = {key: _value(key, value) for key, value in spec.config.items()}
    description = channel.summary
    if name == "retry":
        del config["retention.ms"]
        description += " Records are kept seven days longer than they wait."
    told = {
        "address": address,
        "summary": channel.summary,
        "description": description,
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in channel.messages},
        "parameters": {each: schema for each, schema in known.items() if f"{{{each}}}" in address},
        "bindings": {
            "kafka": {
                "partitions": spec.partitions,
                "replicas": spec.replication_factor,
                "topicConfiguration": config,
                "bindingVersion": _BINDING,
            }
        },
    }
    return {key: value for key, value in told.items() if value}


def _value(key: str, value: str) -> object:
    if key == "cleanup.policy":
        return value.split(",")
    return int(value) if value.isdecimal() else value


def _operation(operation: _Operation, name: str, channel: _Channel, topics: Topics) -> dict[str, Any]:
    at = f"#/channels/{name}"
    told: dict[str, Any] = {
        "action": operation.action,
        "channel": {"$ref": at},
        "summary": operation.summary,
        "tags": [{"name": operation.part}],
        "messages": [{"$ref": f"{at}/messages/{message}"} for message in channel.messages],
    }
    group = {
        "runTask": topics.group(Lane("{type}", Priority.NORMAL)).removesuffix(Priority.NORMAL) + "{priority}",
        "moveWaitingTask": topics.timers_group,
        "fireSchedules": topics.schedules_group,
        "runReplays": topics.replays_group,
    }.get(operation.name)
    if group is not None:
        schema = {"type": "string", "description": f"`{group}`"}
        told["bindings"] = {"kafka": {"groupId": schema, "bindingVersion": _BINDING}}
    return told


def _message(name: str, message: _Message) -> dict[str, Any]:
    kind = RECORDS[message.record].__name__
    every = (names.CE_ID, names.CE_TYPE, names.CE_SOURCE, names.CE_TIME, names.CE_SPECVERSION, names.CONTENT_TYPE)
    said = (*every, names.TRACEPARENT, *message.headers)
    properties: dict[str, dict[str, Any]] = {each: {"type": "string", "description": HEADERS[each]} for each in said}
    properties[names.CE_TYPE]["const"] = f"laneway.{message.kind}"
    properties[names.CE_SPECVERSION]["const"] = "1.0"
    properties[names.CONTENT_TYPE]["const"] = _JSON
    # Another client's task may come without any, and what was no task keeps what it had.
    required = [] if message.record == "task" else list(every)
    told = {
        "name": name,
        "title": kind,
        "summary": message.summary or (RECORDS[message.record].__doc__ or "").partition("\n")[0],
        "contentType": _JSON,
        "headers": {"type": "object", "properties": properties, "required": required},
        "payload": {"$ref": _REF + kind},
        "bindings": {"kafka": {"key": {"type": "string", "description": message.key}, "bindingVersion": _BINDING}},
    }
    if not required:
        del told["headers"]["required"]  # type: ignore[attr-defined]
    return told


def _payload_schemas(payloads: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Schemas of payloads and their parts, by ``<type>.payload`` and ``<type>.<part>``."""
    found: dict[str, Any] = {}
    for name, schema in payloads.items():
        local = json.loads(json.dumps(schema).replace("#/$defs/", f"{_REF}{name}."))
        for part, definition in local.pop("$defs", {}).items():
            found[f"{name}.{part}"] = definition
        found[f"{name}.payload"] = local
    return found


def _typed_task(task: dict[str, Any], payloads: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A task, with its payload as its type has it; tasks of other types are let by."""
    rules = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"properties": {"payload": {"$ref": f"{_REF}{name}.payload"}}},
        }
        for name in payloads
    ]
    return {**task, **({"allOf": rules} if rules else {})}
