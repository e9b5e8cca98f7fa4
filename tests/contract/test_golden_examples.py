"""The examples are what our schemas describe, what our codec reads, and what it writes again."""

import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas.codec import decode, encode
from schemas.due_change import DueSubmission
from schemas.payloads import PAYLOADS
from schemas.record_schemas import RECORDS
from schemas.replay import ReplaySubmission
from schemas.schedule import ScheduleSubmission
from schemas.status import State
from schemas.task import TaskSubmission
from tests.support.source_tree import ROOT

EXAMPLES: Final = sorted((ROOT / "schemas/examples").glob("*.json"))
SCHEMA_FILES: Final = sorted((ROOT / "schemas/json_schema").rglob("*.json"))


def schema_of(example: Path) -> dict[str, Any]:
    """The schema that an example's name points to: ``status.queued``, ``payload.email.minimal``."""
    first, second, *_ = example.name.split(".")
    name = f"{first}s/{second}" if first in {"payload", "result"} else first
    loaded: dict[str, Any] = json.loads((ROOT / f"schemas/json_schema/{name}.json").read_text())
    return loaded


def _record(example: Path) -> str:
    return example.name.partition(".")[0]


RECORD_EXAMPLES: Final = [example for example in EXAMPLES if _record(example) in RECORDS]


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_schema_is_a_valid_json_schema(path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_text()))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_what_its_schema_describes(example: Path) -> None:
    validator = Draft202012Validator(schema_of(example), format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert [error.message for error in validator.iter_errors(json.loads(example.read_text()))] == []


@pytest.mark.parametrize("example", RECORD_EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_read_and_written_again_as_the_same_value(example: Path) -> None:
    record: type[Any] = RECORDS[_record(example)]
    data = example.read_bytes()
    if record in (
        TaskSubmission,
        ScheduleSubmission,
        ReplaySubmission,
        DueSubmission,
    ):  # a request's body, which has no place in the log
        read = msgspec.json.decode(data, type=record)
        written = _as_far_as_said(json.loads(encode(read)), json.loads(data))
    else:
        written = json.loads(encode(decode(data, record)))
    assert written == json.loads(data)


def _as_far_as_said(written: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What was written, without the defaults of what was not said."""
    return {
        key: _as_far_as_said(value, said[key]) if isinstance(value, dict) and isinstance(said[key], dict) else value
        for key, value in written.items()
        if key in said
    }


def test_every_record_and_every_state_has_an_example() -> None:
    assert {_record(example) for example in RECORD_EXAMPLES} == set(RECORDS)
    shown = {json.loads(example.read_text()).get("state") for example in RECORD_EXAMPLES}
    assert shown == {None, *State}


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_built_in_type_has_an_example_that_its_model_takes(name: str) -> None:
    examples = [example for example in EXAMPLES if example.name.startswith(f"payload.{name}.")]
    assert examples
    for example in examples:
        PAYLOADS[name].model_validate_json(example.read_bytes())


@pytest.mark.parametrize(
    "record", ["task", "status", "outcome", "event", "schedule", "schedule_progress", "schedule_done"]
)
def test_a_reader_takes_fields_that_it_does_not_know(record: str) -> None:
    example = next(path for path in EXAMPLES if _record(path) == record)
    extended = json.loads(example.read_text()) | {"from_the_future": {"any": ["thing"]}}

    assert Draft202012Validator(schema_of(example)).is_valid(extended)
    decode(json.dumps(extended).encode(), RECORDS[record])  # type: ignore[type-var]
