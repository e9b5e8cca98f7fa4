"""The checker names what breaks old records and old readers, and is silent about what breaks nobody."""

from typing import Any, Final

import pytest

from schemas.compatibility import breaking_changes

BASE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 64},
        "state": {"$ref": "#/$defs/State"},
        "attempt": {"type": "integer", "minimum": 0, "default": 0},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "errors": {"type": "array", "items": {"$ref": "#/$defs/ErrorInfo"}, "default": []},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 256}, "default": {}},
    },
    "required": ["id", "state"],
    "$defs": {
        "State": {"enum": ["queued", "running"]},
        "ErrorInfo": {
            "type": "object",
            "properties": {"type": {"type": "string"}, "at": {"type": "string", "default": ""}},
            "required": ["type"],
        },
    },
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """``BASE`` with one place set, or removed where ``value`` is ``...``."""
    import copy

    document = copy.deepcopy(BASE)
    *path, last = place.split("/")
    target = document
    for step in path:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return document


NOBODY: Final = {
    "an optional property more": changed("properties/extra", {"type": "string", "default": ""}),
    "another description": changed("properties/id/description", "new words"),
    "another title of a part": changed("$defs/State/title", "State"),
    "nothing": BASE,
}

OLD_RECORDS_ONLY: Final = {
    "a required property more": (
        changed("properties/extra", {"type": "string"}) | {"required": ["id", "state", "extra"]},
        "/extra: may be missing, the reader requires it",
    ),
    "an optional property became required": (
        changed("required", ["id", "state", "attempt"]),
        "/attempt: may be missing, the reader requires it",
    ),
    "an enum value less": (
        changed("$defs/State/enum", ["queued"]),
        "/state: may be 'running', which the reader does not know",
    ),
    "no null any more": (
        changed("properties/note/anyOf", [{"type": "string"}]),
        "/note: may be null, the reader wants string",
    ),
    "a lower maximum": (
        changed("properties/id/maxLength", 32),
        "/id: maxLength is 64, the reader wants 32 or less",
    ),
    "a minimum where none was": (
        changed("properties/note/anyOf", [{"type": "string", "minLength": 1}, {"type": "null"}]),
        "/note: minLength is open, the reader wants 1 or more",
    ),
    "a pattern where none was": (
        changed("properties/id/pattern", "^[a-z]+$"),
        "/id: pattern is open, the reader wants ^[a-z]+$",
    ),
    "unknown properties refused": (
        changed("additionalProperties", False),
        "/: may have any further property, the reader refuses what it does not know",
    ),
    "an integer only where a number was": (
        changed("properties/labels/additionalProperties/maxLength", 10),
        "/labels/*: maxLength is 256, the reader wants 10 or less",
    ),
    "a required property inside a list more": (
        changed("$defs/ErrorInfo/required", ["type", "at"]),
        "/errors/*/at: may be missing, the reader requires it",
    ),
}

OLD_READERS_ONLY: Final = {
    "a required property became optional": (
        changed("required", ["id"]),
        "/state: may be missing, the reader requires it",
    ),
    "an enum value more": (
        changed("$defs/State/enum", ["queued", "running", "paused"]),
        "/state: may be 'paused', which the reader does not know",
    ),
    "an enum became free text": (
        changed("$defs/State", {"type": "string"}),
        "/state: may be any string, the reader knows only ['queued', 'running']",
    ),
    "null where none was": (
        changed("properties/id", {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 64}, {"type": "null"}]}),
        "/id: may be null, the reader wants string",
    ),
    "a wider type": (
        changed("properties/attempt/type", "number"),
        "/attempt: may be number, the reader wants integer",
    ),
    "a higher maximum": (
        changed("properties/id/maxLength", 128),
        "/id: maxLength is 128, the reader wants 64 or less",
    ),
    "no minimum any more": (
        changed("properties/id/minLength", ...),
        "/id: minLength is open, the reader wants 1 or more",
    ),
}

BOTH: Final = {
    "another type": (
        changed("properties/id", {"type": "integer"}),
        "/id: may be",
    ),
    "a property removed": (changed("properties/note", ...), "/note: removed"),
    "a property of a part removed": (changed("$defs/ErrorInfo/properties/at", ...), "/errors/*/at: removed"),
    "another default": (
        changed("properties/attempt/default", 1),
        "/attempt: default changed from 0 to 1; records that leave it out change their meaning",
    ),
    "a keyword that is not judged": (
        changed("properties/attempt/multipleOf", 2),
        "/attempt: multipleOf changed, which is not judged here",
    ),
}


@pytest.mark.parametrize("name", NOBODY)
def test_breaks_nobody(name: str) -> None:
    assert breaking_changes(BASE, NOBODY[name], "old_records") == []
    assert breaking_changes(BASE, NOBODY[name], "old_readers") == []


@pytest.mark.parametrize("name", OLD_RECORDS_ONLY)
def test_breaks_old_records_only(name: str) -> None:
    new, words = OLD_RECORDS_ONLY[name]
    assert words in breaking_changes(BASE, new, "old_records")
    assert breaking_changes(BASE, new, "old_readers") == []


@pytest.mark.parametrize("name", OLD_READERS_ONLY)
def test_breaks_old_readers_only(name: str) -> None:
    new, words = OLD_READERS_ONLY[name]
    assert words in breaking_changes(BASE, new, "old_readers")
    assert breaking_changes(BASE, new, "old_records") == []


@pytest.mark.parametrize("name", BOTH)
def test_breaks_both(name: str) -> None:
    new, words = BOTH[name]
    for change in (breaking_changes(BASE, new, "old_records"), breaking_changes(BASE, new, "old_readers")):
        assert any(line.startswith(words) for line in change)


def test_a_property_more_breaks_a_reader_that_refuses_unknown_ones() -> None:
    strict = {"type": "object", "properties": {}, "additionalProperties": False}
    wider = strict | {"properties": {"extra": {"type": "string"}}}
    assert breaking_changes(strict, wider, "old_readers") == [
        "/extra: may be there, the reader refuses what it does not know"
    ]
    assert breaking_changes(strict, wider, "old_records") == []


def test_a_recursive_schema_is_judged_to_its_end() -> None:
    def tree(leaf: str) -> dict[str, Any]:
        node = {"type": "object", "properties": {"leaf": {"type": leaf}, "next": {"$ref": "#/$defs/Node"}}}
        return {"$ref": "#/$defs/Node", "$defs": {"Node": node}}

    assert breaking_changes(tree("string"), tree("string"), "old_records") == []
    assert "/leaf: may be string, the reader wants integer" in breaking_changes(
        tree("string"), tree("integer"), "old_records"
    )
