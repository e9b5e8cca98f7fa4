"""Whatever would break an old reader, or a record that is in the log, is found in every record that there is."""

import copy
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from schemas.compatibility import PROMISES, Side, breaking_changes
from schemas.record_schemas import RECORDS, json_schemas

DOCUMENTS: Final = {name: json.loads(json_schemas()[f"{name}.json"]) for name in RECORDS}
STRANGE: Final = {"type": "array", "items": {"type": "boolean"}, "minItems": 3}


class Change(NamedTuple):
    """A change that breaks ``side``."""

    what: str
    side: Side
    schema: dict[str, Any]


def changes(document: dict[str, Any]) -> Iterator[Change]:
    """One change of each kind, at each place of a record's schema where it can be made."""
    for name in ("", *document.get("$defs", {})):
        part = document["$defs"][name] if name else document
        for property_name, schema in part.get("properties", {}).items():
            at = f"{name}/{property_name}"
            yield Change(f"{at} removed", "old_readers", _changed(document, name, property_name, None))
            yield Change(f"{at} renamed", "old_records", _renamed(document, name, property_name))
            retyped = {**STRANGE, **({"default": schema["default"]} if "default" in schema else {})}
            yield Change(f"{at} retyped", "old_records", _changed(document, name, property_name, retyped))
            yield from _narrowed(document, name, property_name, schema)
        if "properties" in part:
            yield Change(f"{name}: a required property more", "old_records", _required(document, name))
        if "enum" in part:
            fewer, more = part["enum"][1:], [*part["enum"], "zz"]
            yield Change(f"{name}: a value less", "old_records", _set(document, name, "enum", fewer))
            yield Change(f"{name}: a value more", "old_readers", _set(document, name, "enum", more))


def _narrowed(document: dict[str, Any], part: str, name: str, schema: dict[str, Any]) -> Iterator[Change]:
    for index, choice in enumerate(schema.get("anyOf", [schema])):
        for keyword, value in {"pattern": "^x$", "maxLength": 0, "maximum": -1, "minimum": 10**9}.items():
            if keyword in choice or (keyword == "pattern" and choice.get("type") == "string"):
                new = copy.deepcopy(schema)
                (new["anyOf"][index] if "anyOf" in new else new)[keyword] = value
                yield Change(f"{part}/{name} narrower: {keyword}", "old_records", _changed(document, part, name, new))


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["$defs"][name] if name else document
    return found


def _set(document: dict[str, Any], part: str, keyword: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(document)
    _part(document, part)[keyword] = value
    return document


def _changed(document: dict[str, Any], part: str, name: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    document = copy.deepcopy(document)
    target = _part(document, part)
    if schema is None:
        del target["properties"][name]
        target["required"] = [each for each in target.get("required", []) if each != name]
    else:
        target["properties"][name] = schema
    return document


def _renamed(document: dict[str, Any], part: str, name: str) -> dict[str, Any]:
    document = copy.deepcopy(document)
    target = _part(document, part)
    target["properties"][f"{name}_"] = target["properties"].pop(name)
    target["required"] = [f"{each}_" if each == name else each for each in target.get("required", [])]
    return document


def _required(document: dict[str, Any], part: str) -> dict[str, Any]:
    document = copy.deepcopy(document)
    target = _part(document, part)
    target["properties"]["one_more"] = {"type": "string"}
    target["required"] = [*target.get("required", []), "one_more"]
    return document


@pytest.mark.parametrize("record", RECORDS)
def test_it_is(record: str) -> None:
    document, promised = DOCUMENTS[record], PROMISES[record]
    made = [change for change in changes(document) if change.side in promised]

    unseen = [change.what for change in made if not breaking_changes(document, change.schema, change.side)]

    assert len(made) > 3
    assert unseen == []


@pytest.mark.parametrize("record", RECORDS)
def test_what_breaks_nobody_is_let_by(record: str) -> None:
    document = DOCUMENTS[record]
    extended = copy.deepcopy(document)
    extended["properties"]["one_more"] = {"type": "string", "default": ""}

    for side in PROMISES[record]:
        assert breaking_changes(document, document, side) == []
        assert breaking_changes(document, extended, side) == []
