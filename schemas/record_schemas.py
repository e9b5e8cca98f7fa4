"""JSON Schemas (2020-12) of the records and of the built-in types' payloads and results.

From these alone any program in any language reads our topics, so the fields' docstrings go along as descriptions.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from schemas.audit import AuditRecord
from schemas.callback import Callback
from schemas.control import Cancellation, LaneControl
from schemas.due_change import DueChange, DueSubmission, Withdrawal
from schemas.outcome import Event, Outcome
from schemas.payloads import PAYLOADS, RESULTS
from schemas.replay import (
    Canary,
    Replay,
    ReplayAsked,
    ReplayPlan,
    ReplayRun,
    ReplayState,
    ReplaySubmission,
    Sample,
    Selection,
    Source,
    SourceRange,
    Wish,
)
from schemas.schedule import (
    Missed,
    Overlap,
    PassedOver,
    Schedule,
    ScheduleDone,
    ScheduleProgress,
    ScheduleSubmission,
    TaskTemplate,
)
from schemas.status import ErrorInfo, Progress, State, Status
from schemas.suspect import Suspect
from schemas.task import Task, TaskSubmission
from schemas.worker import WorkerReport

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "task": Task,
    "task_submission": TaskSubmission,
    "status": Status,
    "outcome": Outcome,
    "event": Event,
    "lane_control": LaneControl,
    "cancellation": Cancellation,
    "due_change": DueChange,
    "due_submission": DueSubmission,
    "withdrawal": Withdrawal,
    "audit": AuditRecord,
    "worker": WorkerReport,
    "schedule": Schedule,
    "schedule_submission": ScheduleSubmission,
    "schedule_progress": ScheduleProgress,
    "schedule_done": ScheduleDone,
    "suspect": Suspect,
    "callback": Callback,
    "replay": Replay,
    "replay_submission": ReplaySubmission,
    "replay_asked": ReplayAsked,
    "replay_plan": ReplayPlan,
    "replay_run": ReplayRun,
}
"""Records, and the bodies of ``POST /api/tasks``, ``/api/schedules`` and callbacks, by the name of their file."""

_PARTS: Final[tuple[type[msgspec.Struct], ...]] = (
    *(ErrorInfo, Progress, TaskTemplate, PassedOver),
    *(Selection, Canary, SourceRange, Sample),
)
_ENUMS: Final[tuple[type[StrEnum], ...]] = (State, Missed, Overlap, ReplayState, Source, Wish)


def json_schemas() -> dict[str, str]:
    """Every schema as text, by file name."""
    documents = {
        **_record_schemas(),
        **{f"payloads/{name}": _model_schema(model, "validation") for name, model in PAYLOADS.items()},
        **{f"results/{name}": _model_schema(model, "serialization") for name, model in RESULTS.items()},
    }
    return {f"{name}.json": _text(name, schema) for name, schema in sorted(documents.items())}


def attribute_docs(owner: type) -> dict[str, str]:
    """The docstrings under a class's attributes, by attribute."""
    body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    if not isinstance(body, ast.ClassDef):
        raise TypeError(f"{owner!r} is not a class statement")
    docs: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        target: ast.expr
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        else:
            continue
        if (
            isinstance(target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            docs[target.id] = " ".join(following.value.value.split())
    return docs


def record_components(ref: str = "#/$defs/") -> dict[str, Any]:
    """The schema of each record and of its parts, by the name of its class.

    Args:
        ref: what references to them begin with.
    """
    owners: dict[str, type[msgspec.Struct]] = {owner.__name__: owner for owner in (*RECORDS.values(), *_PARTS)}
    _, components = msgspec.json.schema_components(
        [with_plain_defaults(owner) for owner in RECORDS.values()], ref_template=ref + "{name}"
    )
    for name, owner in owners.items():
        _describe(components[name], owner)
    for enum in _ENUMS:
        components[enum.__name__]["description"] += "\n\n" + "\n".join(
            f"- `{enum[name]}`: {text}" for name, text in attribute_docs(enum).items()
        )
    return components


def _record_schemas() -> dict[str, dict[str, Any]]:
    components = record_components()
    schemas = {}
    for file, owner in RECORDS.items():
        schema = dict(components[owner.__name__])
        used = _used(schema, components)
        if used:
            schema["$defs"] = {name: components[name] for name in sorted(used)}
        schemas[file] = schema
    return schemas


@cache
def with_plain_defaults(owner: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same record with ``None`` where a default is raw JSON, which msgspec cannot write into a schema."""
    plain: list[Any] = []
    for each in msgspec.structs.fields(owner):
        if isinstance(each.default, msgspec.Raw):
            plain.append((each.name, Any, None))
        elif each.required and isinstance(each.type, type) and issubclass(each.type, msgspec.Struct):
            plain.append((each.name, with_plain_defaults(each.type)))
    if not plain:
        return owner
    return msgspec.defstruct(owner.__name__, plain, bases=(owner,), kw_only=True, namespace={"__doc__": owner.__doc__})


def _describe(schema: dict[str, Any], owner: type[msgspec.Struct]) -> None:
    schema["description"] = inspect.cleandoc(schema["description"])
    docs = attribute_docs(owner)
    for name in owner.__struct_fields__:
        field = schema["properties"].pop(name)  # back in the order of the record
        if name in docs:
            field.setdefault("description", docs[name])
        schema["properties"][name] = field


def _used(schema: object, components: dict[str, Any]) -> set[str]:
    """Names of the components that a schema refers to, directly and through others."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            reference = str(part.get("$ref", "")).rpartition("/")[2]
            if reference and reference not in found:
                found.add(reference)
                waiting.append(components[reference])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found


def _model_schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    schema = model.model_json_schema(mode=mode)
    schema["description"] = inspect.cleandoc(schema["description"])
    return schema


_FIRST: Final = ("$schema", "$id", "title", "description", "type")


def _text(name: str, schema: dict[str, Any]) -> str:
    schema = {"$schema": DIALECT, "$id": f"urn:laneway:schema:{name.replace('/', ':')}", **schema}
    ordered = {key: schema[key] for key in _in_order(schema)}
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def _in_order(schema: Iterable[str]) -> list[str]:
    return sorted(schema, key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key == "$defs"))
