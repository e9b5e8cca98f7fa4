"""Durations and numbers read as people say them."""

from datetime import timedelta

import pytest

from ingest.dashboard.words import duration, number, pretty_json, short_id, shortened


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.3101, "310 ms"),
        (1, "1 s"),
        (4.26, "4.3 s"),
        (59, "59 s"),
        (252, "4 min 12 s"),
        (3600, "1 h"),
        (90_061, "1 d 1 h"),
        (-3, "0 s"),
        (None, "\u2013"),
        (timedelta(minutes=2), "2 min"),
    ],
)
def test_durations(seconds: float | timedelta | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (1234567, "1\u202f234\u202f567"), (1.5, "1.50"), (12.34, "12.3"), (3.0, "3"), (None, "\u2013")],
)
def test_numbers(value: float | None, said: str) -> None:
    assert number(value) == said


def test_json_is_laid_out_and_otherwise_left_alone() -> None:
    assert pretty_json(b'{"a":1.10,"b":[12345678901234567890123,"\\u00e9"]}') == (
        '{\n  "a": 1.10,\n  "b": [\n    12345678901234567890123,\n    "\\u00e9"\n  ]\n}'
    )
    assert pretty_json(b"no json") == "no json"


def test_long_texts_are_cut_on_one_line() -> None:
    assert shortened("a\nb") == "a b"
    assert len(shortened("x" * 10_000)) == 240
    assert short_id("01a21e31-72be-75c4-8166-27413dd57f03") == "\u202627413dd57f03"
