"""A form made from a JSON Schema makes the payload that the schema takes, and puts what it refuses at its field."""

import json
from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from ingest.dashboard.forms import Field as FormField
from ingest.dashboard.forms import fields_of, payload_of, placed
from schemas.errors import InvalidTaskError
from schemas.payloads import PAYLOADS


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    size: int = 3
    name: str | None = None


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []


class Everything(BaseModel):
    text: str
    long: str = Field("", max_length=20_000)
    number: float | None = None
    whole: int = 7
    flag: bool = False
    colour: Colour = Colour.RED
    mode: Literal["a", "b"] = "a"
    several: str | list[str] = []
    words: list[str] = []
    inner: Inner = Inner()
    needed: Inner
    trees: list[Tree] = []
    anything: dict[str, Any] = {}


SCHEMA = Everything.model_json_schema()
FIELDS = fields_of(SCHEMA)


def kinds(fields: tuple[FormField, ...]) -> dict[str, str]:
    return {field.name.removeprefix("/payload/"): field.kind for field in fields}


def made(form: dict[str, str]) -> Any:
    return json.loads(payload_of(FIELDS, {f"/payload/{name}": value for name, value in form.items()}))


def test_each_part_of_a_schema_gets_its_kind_of_field() -> None:
    assert kinds(FIELDS) == {
        "text": "text",
        "long": "area",
        "number": "number",
        "whole": "integer",
        "flag": "flag",
        "colour": "choice",
        "mode": "choice",
        "several": "lines",
        "words": "lines",
        "inner": "group",
        "needed": "group",
        "trees": "json",
        "anything": "json",
    }


def test_what_is_left_empty_is_left_out() -> None:
    assert made({"text": "x", "number": "", "inner/size": ""}) == {"text": "x", "needed": {}}


def test_every_field_says_its_part() -> None:
    payload = made(
        {
            "text": "two\r\nlines",
            "number": "1.5",
            "whole": "4",
            "flag": "true",
            "colour": "blue",
            "several": "one\r\ntwo\r\n",
            "words": "alone",
            "inner/name": "n",
            "needed/size": "9",
            "trees": '[{"name": "t"}]',
        }
    )
    parsed = Everything.model_validate(payload)
    assert parsed.text == "two\nlines"
    assert parsed.several == ["one", "two"]
    assert parsed.words == ["alone"]
    assert (parsed.inner.size, parsed.inner.name, parsed.needed.size) == (3, "n", 9)
    assert parsed.trees[0].name == "t"


def test_one_line_alone_stands_for_itself_where_it_may() -> None:
    assert made({"text": "", "several": "one"})["several"] == "one"


def test_numbers_stay_as_they_were_typed() -> None:
    payload = payload_of(FIELDS, {"/payload/whole": "123456789012345678901234567890", "/payload/number": "1.10"})
    assert b"123456789012345678901234567890" in payload
    assert b"1.10" in payload
    assert json.loads(payload_of(FIELDS, {"/payload/whole": "many"}))["whole"] == "many", "for the schema to refuse"


def test_no_json_is_said_at_its_field() -> None:
    with pytest.raises(InvalidTaskError) as caught:
        payload_of(FIELDS, {"/payload/trees": "[oops"})
    assert list(placed(FIELDS, caught.value)) == ["/payload/trees"]


def test_what_a_schema_refuses_stands_at_the_field_or_above_them() -> None:
    refused = {"/payload/inner/size": "a", "/payload/words/3": "b", "/labels": "c"}
    error = InvalidTaskError("no", violations=[{"at": at, "why": why} for at, why in refused.items()])
    assert placed(FIELDS, error) == {"/payload/inner/size": ["a"], "/payload/words": ["b"], "": ["/labels: c"]}


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_every_built_in_type_has_a_form(name: str) -> None:
    fields = fields_of(TypeAdapter(PAYLOADS[name]).json_schema())
    assert {field.kind for field in fields} != {"json"}


def test_a_payload_that_is_no_object_is_one_field() -> None:
    fields = fields_of(TypeAdapter(list[int]).json_schema())
    assert [field.name for field in fields] == ["/payload"]
    assert payload_of(fields, {"/payload": "[1, 2]"}) == b"[1, 2]"
