"""Whether a change of a JSON Schema breaks somebody, and whom.

Two can break, each looked at from its own side:

``old_records``
    A reader of the new version is given what was written under the old schema: a task that lies in the log, a status
    in the compacted topic, a client that was not upgraded. So the new schema must accept all that the old one allowed.
``old_readers``
    A reader of the old version is given what the new version writes: a downstream service, or a worker in the middle of
    a rolling upgrade. So the new schema must promise all that the old one promised.

Both come down to one question: may a writer write something that a reader does not take? A field that disappears is a
break on either side although nothing is refused: old readers lose what they read, and what old records say in it is
silently ignored. The same holds for a default that changes, because records leave defaults out.

Judged are the keywords that our schemas use. A difference in any other keyword is reported as a break: better one look
too many than one too few.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

Schema = Mapping[str, Any]
Side = Literal["old_records", "old_readers"]

PROMISES: Final[dict[str, tuple[Side, ...]]] = {
    "task": ("old_records", "old_readers"),
    "status": ("old_records", "old_readers"),
    "outcome": ("old_records", "old_readers"),
    "event": ("old_records", "old_readers"),
    "schedule": ("old_records", "old_readers"),
    "schedule_progress": ("old_records", "old_readers"),
    "schedule_done": ("old_records", "old_readers"),
    "lane_control": ("old_records", "old_readers"),
    "cancellation": ("old_records", "old_readers"),
    "due_change": ("old_records", "old_readers"),
    "withdrawal": ("old_records", "old_readers"),
    "suspect": ("old_records", "old_readers"),
    "audit": ("old_records", "old_readers"),
    "worker": ("old_records", "old_readers"),
    "replay": ("old_records", "old_readers"),
    "replay_asked": ("old_records", "old_readers"),
    "replay_plan": ("old_records", "old_readers"),
    "replay_run": ("old_records", "old_readers"),
    # Laneway alone writes it, for receivers that nobody upgrades along with it.
    "callback": ("old_readers",),
    # Only the API reads a submission and only workers read payloads; both are upgraded before anybody writes new ones.
    "task_submission": ("old_records",),
    "due_submission": ("old_records",),
    "schedule_submission": ("old_records",),
    "replay_submission": ("old_records",),
    "payloads": ("old_records",),
    # Nothing of ours reads results; downstream services do.
    "results": ("old_readers",),
}
"""Who is protected from a change, by schema file or its folder."""

_PROSE: Final = {"$schema", "$id", "$defs", "$ref", "title", "description", "examples", "deprecated"}
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_JUDGED: Final = {
    *_PROSE,
    *_LOWER,
    *_UPPER,
    "type",
    "enum",
    "const",
    "pattern",
    "format",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "default",
}
_ALL_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})


class _Party(NamedTuple):
    """One side's schema, with the document that its references point into."""

    schema: Schema
    document: Schema

    def at(self, schema: Schema | bool) -> "_Party":
        """A part of the schema, with its reference followed."""
        if isinstance(schema, bool):
            schema = {} if schema else {"enum": []}
        while "$ref" in schema:
            target: Any = self.document
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        return _Party(schema, self.document)


_Seen = frozenset[tuple[str, str]]


def _pair(one: _Party, other: _Party) -> tuple[str, str]:
    """What tells a recursive schema's second turn from its first."""
    return json.dumps(one.schema, sort_keys=True), json.dumps(other.schema, sort_keys=True)


def breaking_changes(old: Schema, new: Schema, side: Side) -> list[str]:
    """What in the step from ``old`` to ``new`` breaks ``side``, each in words and with its place; empty when nothing.

    Args:
        old: JSON Schema as it was released.
        new: the same as it would be.
        side: see above.
    """
    old_party, new_party = _Party(old, old).at(old), _Party(new, new).at(new)
    writer, reader = (old_party, new_party) if side == "old_records" else (new_party, old_party)
    found = list(_refused(writer, reader, "", frozenset()))
    found += _lost(old_party, new_party, "", frozenset())
    return list(dict.fromkeys(found))


def _refused(writer: _Party, reader: _Party, at: str, seen: _Seen) -> Iterator[str]:
    """Why the reader may not take what the writer may write."""
    pair = _pair(writer, reader)
    if "anyOf" in writer.schema or "anyOf" in reader.schema:
        yield from _refused_choices(writer, reader, at, seen)
        return
    if pair in seen:
        return
    seen |= {pair}
    where = at or "/"
    yield from _refused_values(writer.schema, reader.schema, where)
    yield from _refused_bounds(writer.schema, reader.schema, where)
    yield from _refused_properties(writer, reader, at, seen)
    if "items" in reader.schema and "array" in _types(writer.schema):
        yield from _refused(
            writer.at(writer.schema.get("items", {})), reader.at(reader.schema["items"]), f"{at}/*", seen
        )
    for keyword in sorted((set(writer.schema) | set(reader.schema)) - _JUDGED):
        if writer.schema.get(keyword) != reader.schema.get(keyword):
            yield f"{where}: {keyword} changed, which is not judged here"


def _refused_choices(writer: _Party, reader: _Party, at: str, seen: _Seen) -> Iterator[str]:
    offered = [reader.at(choice) for choice in reader.schema.get("anyOf", [reader.schema])]
    for choice in writer.schema.get("anyOf", [writer.schema]):
        attempts = [list(_refused(writer.at(choice), option, at, seen)) for option in offered]
        if all(attempts):
            # The option of the same type says best what is wrong.
            yield from min(attempts, key=len)


def _refused_values(writer: Schema, reader: Schema, where: str) -> Iterator[str]:
    strange = _types(writer) - _types(reader)
    if "integer" in strange and "number" in _types(reader):
        strange -= {"integer"}
    if strange:
        wanted = " or ".join(sorted(_types(reader)))
        yield f"{where}: may be {' or '.join(sorted(strange))}, the reader wants {wanted}"
        return
    written, known = _values(writer), _values(reader)
    if known is not None and written is None:
        yield f"{where}: may be any {' or '.join(sorted(_types(writer)))}, the reader knows only {known}"
    elif known is not None and written is not None:
        for value in written:
            if value not in known:
                yield f"{where}: may be {value!r}, which the reader does not know"


def _refused_bounds(writer: Schema, reader: Schema, where: str) -> Iterator[str]:
    if _values(writer) is not None:
        return
    for keyword in _LOWER:
        if keyword in reader and (keyword not in writer or writer[keyword] < reader[keyword]):
            yield f"{where}: {keyword} is {writer.get(keyword, 'open')}, the reader wants {reader[keyword]} or more"
    for keyword in _UPPER:
        if keyword in reader and (keyword not in writer or writer[keyword] > reader[keyword]):
            yield f"{where}: {keyword} is {writer.get(keyword, 'open')}, the reader wants {reader[keyword]} or less"
    for keyword in ("pattern", "format"):
        if keyword in reader and writer.get(keyword) != reader[keyword]:
            yield f"{where}: {keyword} is {writer.get(keyword, 'open')}, the reader wants {reader[keyword]}"


def _refused_properties(writer: _Party, reader: _Party, at: str, seen: _Seen) -> Iterator[str]:
    if "object" not in _types(writer.schema):
        return
    written, read = writer.schema.get("properties", {}), reader.schema.get("properties", {})
    promised = set(writer.schema.get("required", ()))
    for name in reader.schema.get("required", ()):
        if name not in promised:
            yield f"{at}/{name}: may be missing, the reader requires it"
    rest = reader.schema.get("additionalProperties", True)
    for name, schema in written.items():
        if name in read:
            yield from _refused(writer.at(schema), reader.at(read[name]), f"{at}/{name}", seen)
        elif rest is False:
            yield f"{at}/{name}: may be there, the reader refuses what it does not know"
    written_rest = writer.schema.get("additionalProperties", True)
    if isinstance(rest, Mapping):
        yield from _refused(writer.at(written_rest), reader.at(rest), f"{at}/*", seen)
    elif rest is False and written_rest is not False:
        yield f"{at or '/'}: may have any further property, the reader refuses what it does not know"


def _lost(old: _Party, new: _Party, at: str, seen: _Seen) -> Iterator[str]:
    """Properties that are gone and defaults that changed: nothing is refused, and meaning is lost."""
    pair = _pair(old, new)
    if pair in seen:
        return
    seen |= {pair}
    remaining = _properties(new)
    for name, (schema, required) in _properties(old).items():
        where = f"{at}/{name}"
        if name not in remaining:
            yield f"{where}: removed"
            continue
        successor = remaining[name][0]
        # A required property is always written, so that its default never speaks.
        if not required and schema.schema.get("default") != successor.schema.get("default"):
            was, now = schema.schema.get("default"), successor.schema.get("default")
            yield f"{where}: default changed from {was!r} to {now!r}; records that leave it out change their meaning"
        yield from _lost(schema, successor, where, seen)
    if "items" in old.schema and "items" in new.schema:
        yield from _lost(old.at(old.schema["items"]), new.at(new.schema["items"]), f"{at}/*", seen)


def _properties(party: _Party) -> dict[str, tuple[_Party, bool]]:
    """Properties of an object, or of the objects that it may be; whether each is required."""
    found: dict[str, tuple[_Party, bool]] = {}
    for choice in party.schema.get("anyOf", [party.schema]):
        resolved = party.at(choice)
        required = resolved.schema.get("required", ())
        for name, schema in resolved.schema.get("properties", {}).items():
            found[name] = (resolved.at(schema), name in required)
    return found


def _types(schema: Schema) -> frozenset[str]:
    said = schema.get("type")
    if said is not None:
        return frozenset([said] if isinstance(said, str) else said)
    values = _values(schema)
    if values is None:
        return _ALL_TYPES
    return frozenset(_TYPE_NAMES[type(value)] for value in values)


_TYPE_NAMES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")
