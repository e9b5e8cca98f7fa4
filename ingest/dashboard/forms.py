"""A form made from a JSON Schema, and the payload that its fields make. No I/O."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from schemas.errors import AdmissionError, InvalidTaskError

Kind = Literal["text", "area", "number", "integer", "flag", "choice", "lines", "json", "group"]
_DEEPEST: Final = 4
"""Groups within groups; what lies deeper is written as JSON."""
_AREA_FROM: Final = 1_000
"""Texts that may be longer get more than one line."""
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SIMPLE: Final[dict[str, Kind]] = {"integer": "integer", "number": "number", "boolean": "flag"}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a form."""

    name: str
    """Where its value stands: a JSON pointer, ``/payload/output/format``."""
    label: str
    kind: Kind
    required: bool
    description: str = ""
    choices: tuple[str, ...] = ()
    default: str | None = None
    """What holds where nothing is said, as JSON."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Bounds that the browser checks, too."""
    fields: tuple["Field", ...] = ()
    single: bool = False
    """``lines``: one line alone may stand for itself."""

    @property
    def identity(self) -> str:
        """An id that an HTML page can use."""
        return re.sub(r"[^A-Za-z0-9_-]", "-", self.name.strip("/"))


def fields_of(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields for a payload's schema; one for all of it as JSON, where it is no object with named parts."""
    known = schema.get("$defs", {})
    made = _field("/payload", "Payload", schema, known, required=True, depth=0)
    return made.fields if made.kind == "group" else (made,)


def payload_of(fields: Sequence[Field], form: Mapping[str, str]) -> bytes:
    """The payload's JSON. What is left empty is left out, so that its default holds; numbers stay as they were typed.

    Raises:
        InvalidTaskError: a field for JSON holds none; says which.
    """
    if len(fields) == 1 and fields[0].name == "/payload":
        value = _value(fields[0], form)
        return b"null" if value is None else msgspec.json.encode(value)
    return msgspec.json.encode(_members(fields, form))


def placed(fields: Sequence[Field], error: AdmissionError) -> dict[str, list[str]]:
    """What an error says, by the name of the field that it is about; under ``""`` what is about none of them."""
    names = sorted((each.name for each in _all(fields)), key=len, reverse=True)
    found: dict[str, list[str]] = {}
    violations = error.extensions.get("violations")
    if not isinstance(violations, list) or not violations:
        return {"": [error.detail]}
    for violation in violations:
        at = str(violation["at"])
        name = next((name for name in names if at == name or at.startswith(f"{name}/")), "")
        found.setdefault(name, []).append(str(violation["why"]) if name else f"{at}: {violation['why']}".lstrip(": "))
    return found


def _all(fields: Sequence[Field]) -> Iterator[Field]:
    for each in fields:
        yield each
        yield from _all(each.fields)


def _field(
    name: str, label: str, schema: Mapping[str, Any], known: Mapping[str, Any], *, required: bool, depth: int
) -> Field:
    outer = schema
    schema = _resolved(schema, known)
    options = [
        each
        for each in (_resolved(option, known) for option in schema.get("anyOf", [schema]))
        if each.get("type") != "null"
    ]
    given: dict[str, Any] = {
        "name": name,
        "label": label,
        "required": required,
        "description": outer.get("description") or schema.get("description", ""),
        "default": _default(outer, schema),
    }
    if len(options) == 1:
        return _of_one(options[0], known, given, depth)
    kinds = {_kind(option) for option in options}
    if kinds == {"string", "strings"}:
        return Field(kind="lines", single=True, **given)
    return Field(kind="json", **given)


def _of_one(schema: Mapping[str, Any], known: Mapping[str, Any], given: dict[str, Any], depth: int) -> Field:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if choices is not None and all(isinstance(choice, str) for choice in choices):
        return Field(kind="choice", choices=tuple(choices), **given)
    kind = _kind(schema)
    if kind in _SIMPLE:
        bounds = {"min": "minimum", "max": "maximum"}
        attributes = {ours: str(schema[theirs]) for ours, theirs in bounds.items() if theirs in schema}
        return Field(kind=_SIMPLE[kind], attributes=attributes, **given)
    if kind == "string":
        lengths = {"minlength": "minLength", "maxlength": "maxLength"}
        attributes = {ours: str(schema[theirs]) for ours, theirs in lengths.items() if theirs in schema}
        long = int(schema.get("maxLength", 0)) > _AREA_FROM
        return Field(kind="area" if long else "text", attributes=attributes, **given)
    if kind == "strings":
        return Field(kind="lines", **given)
    if kind == "object" and schema.get("properties") and depth < _DEEPEST:
        needed = schema.get("required", [])
        parts = tuple(
            _field(
                f"{given['name']}/{part.replace('~', '~0').replace('/', '~1')}",
                str(inner.get("title") or part.replace("_", " ").capitalize()),
                inner,
                known,
                required=part in needed,
                depth=depth + 1,
            )
            for part, inner in schema["properties"].items()
        )
        return Field(kind="group", fields=parts, **given)
    return Field(kind="json", **given)


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "array":
        return "strings" if schema.get("items", {}).get("type") == "string" else "array"
    return kind if isinstance(kind, str) else "any"


def _resolved(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    seen: set[str] = set()
    while "$ref" in schema or len(schema.get("allOf", ())) == 1:
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        if name in seen:
            return {}
        seen.add(name)
        schema = known.get(name, {}) if name else schema["allOf"][0]
    return schema


def _default(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> str | None:
    for schema in (outer, inner):
        if schema.get("default") is not None and schema["default"] != []:
            return msgspec.json.encode(schema["default"]).decode()
    return None


def _members(fields: Sequence[Field], form: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in fields:
        key = each.name.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if each.kind == "group":
            members = _members(each.fields, form)
            if members or each.required:
                found[key] = members
            continue
        value = _value(each, form)
        if value is not None:
            found[key] = value
    return found


def _value(asked: Field, form: Mapping[str, str]) -> Any:
    """What a field says; ``None`` where it says nothing."""
    # Browsers send line ends as CR LF, whatever was typed.
    text = form.get(asked.name, "").replace("\r\n", "\n")
    if asked.kind in ("text", "area"):
        return text if text or asked.required else None
    if not text.strip():
        return None
    if asked.kind == "lines":
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return lines[0] if asked.single and len(lines) == 1 else lines
    if asked.kind in ("number", "integer"):
        typed = text.strip()
        # What is no number goes on as it is: the schema says what is wrong, at its place.
        return msgspec.Raw(typed.encode()) if _NUMBER.fullmatch(typed) else typed
    if asked.kind == "flag":
        return text == "true"
    if asked.kind == "json":
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            why = f"this is not JSON: {error}"
            raise InvalidTaskError(f"{asked.name}: {why}", violations=[{"at": asked.name, "why": why}]) from error
        return msgspec.Raw(text.encode())
    return text
