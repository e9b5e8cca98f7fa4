"""The AsyncAPI document is one, and tells of every topic, record and header as they are."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import BaseModel

from ingest.app import create_app
from laneway.registry import Registry
from schemas.asyncapi import asyncapi_document, asyncapi_file
from schemas.headers import HEADERS, KIND_HEADERS
from schemas.record_schemas import RECORDS
from schemas.settings import KafkaSettings, Settings
from schemas.topics import Topics
from tests.support.source_tree import ROOT

SPECIFICATION: Final = Draft7Validator(json.loads((ROOT / "tests/contract/asyncapi/3.0.0.json").read_text()))
DOCUMENT: Final[dict[str, Any]] = json.loads(asyncapi_file())
EXAMPLES: Final = {
    "task": "task",
    "outcome": "outcome",
    "status": "status",
    "event": "event",
    "laneControl": "lane_control",
    "cancellation": "cancellation",
    "suspect": "suspect",
    "schedule": "schedule",
    "scheduleProgress": "schedule_progress",
    "scheduleDone": "schedule_done",
}


class Node(BaseModel):
    children: list["Node"] = []


def _handler(payload: Node) -> None: ...


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from _references(each)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)


def _followed(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def _hold(document: dict[str, Any]) -> None:
    assert [error.message for error in SPECIFICATION.iter_errors(document)] == []
    for reference in _references(document):
        _followed(document, reference)


def test_it_is_valid_and_its_references_lead_somewhere() -> None:
    _hold(DOCUMENT)


def test_the_specification_refuses_what_is_none() -> None:
    broken = json.loads(asyncapi_file())
    broken["operations"]["runTask"]["action"] = "publish"
    assert not SPECIFICATION.is_valid(broken)


def test_it_tells_of_every_topic_with_its_settings_and_of_no_other() -> None:
    told: dict[str, dict[str, Any]] = {}
    channels = dict(DOCUMENT["channels"])
    # One topic for each group of somebody's choice.
    aside, spec = channels.pop("aside"), Topics().aside_spec("{type}", "{group}", partitions=12, replication_factor=3)
    assert aside["address"] == spec.name
    assert aside["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == int(spec.config["retention.ms"])
    for channel in channels.values():
        addresses = [channel["address"]]
        for name, parameter in channel.get("parameters", {}).items():
            addresses = [each.replace(f"{{{name}}}", value) for each in addresses for value in parameter["enum"]]
        told |= dict.fromkeys(addresses, channel["bindings"]["kafka"])
    types = DOCUMENT["channels"]["results"]["parameters"]["type"]["enum"]
    specs = Topics().specs(types, partitions=12, replication_factor=3)
    assert set(told) == {spec.name for spec in specs}
    for spec in specs:
        binding = told[spec.name]
        assert (binding["partitions"], binding["replicas"]) == (spec.partitions, spec.replication_factor)
        for key, value in binding["topicConfiguration"].items():
            assert spec.config[key] == (",".join(value) if isinstance(value, list) else str(value))
        left_out = {"retention.ms"} if re.search(r"\.retry\.", spec.name) else set()
        assert set(spec.config) - set(binding["topicConfiguration"]) == left_out


def test_it_tells_of_every_header_and_every_kind_of_record() -> None:
    messages = DOCUMENT["components"]["messages"].values()
    assert {name for message in messages for name in message["headers"]["properties"]} == set(HEADERS)
    kinds = {message["headers"]["properties"]["ce_type"]["const"] for message in messages}
    assert kinds == {value.decode() for _, value in KIND_HEADERS.values()}
    told = {message["payload"]["$ref"].rpartition("/")[2] for message in messages}
    in_no_topic = {"TaskSubmission", "DueSubmission", "ScheduleSubmission", "ReplaySubmission", "Callback"}
    assert told == {owner.__name__ for owner in RECORDS.values()} - in_no_topic


def test_every_message_has_one_who_sends_it_and_one_channel() -> None:
    operations = DOCUMENT["operations"].values()
    sent = {ref["$ref"] for each in operations if each["action"] == "send" for ref in each["messages"]}
    there = {
        f"#/channels/{name}/messages/{message}"
        for name, channel in DOCUMENT["channels"].items()
        for message in channel["messages"]
    }
    assert sent == there
    assert {ref.rpartition("/")[2] for ref in there} == set(DOCUMENT["components"]["messages"])


@pytest.mark.parametrize("message", EXAMPLES)
def test_the_examples_are_what_it_describes(message: str) -> None:
    reference = DOCUMENT["components"]["messages"][message]["payload"]["$ref"]
    validator = Draft202012Validator({"$ref": reference, "components": DOCUMENT["components"]})
    examples = list((ROOT / "schemas/examples").glob(f"{EXAMPLES[message]}.*.json"))
    assert examples
    for example in examples:
        assert [error.message for error in validator.iter_errors(json.loads(example.read_text()))] == []


def test_a_payload_is_held_against_its_type() -> None:
    validator = Draft202012Validator({"$ref": "#/components/schemas/Task", "components": DOCUMENT["components"]})
    task = json.loads((ROOT / "schemas/examples/task.email.json").read_text())
    assert validator.is_valid(task)
    assert not validator.is_valid(task | {"payload": {"to": 7}})
    assert validator.is_valid(task | {"type": "somebody.elses", "payload": {"to": 7}})


async def test_an_api_tells_of_its_own_types_and_topics() -> None:
    registry = Registry()
    registry.task("tree.grow")(_handler)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="nowhere:1", topic_prefix="mine.", partitions=3))
    transport = httpx.ASGITransport(create_app(settings, registry))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.get("/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    _hold(document)
    lane = document["channels"]["lane"]
    assert lane["address"] == "mine.tasks.{type}.{priority}"
    assert lane["parameters"]["type"]["enum"] == ["tree.grow", "laneway.callback"]
    assert lane["bindings"]["kafka"]["partitions"] == 3
    assert "tree.grow.Node" in document["components"]["schemas"]


def test_a_system_without_types_has_a_valid_one() -> None:
    _hold(json.loads(json.dumps(asyncapi_document(Topics(), [], {}, partitions=1, replication_factor=1))))
