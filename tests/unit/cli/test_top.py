"""`laneway top` fits any terminal, says what needs attention, and lets nobody's text move the cursor."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from laneway.cli.top_screen import Screen
from laneway.cli.watching import Trouble
from laneway.client.operations import Attention, Hour, LaneState, LaneWaits, Overview
from schemas.task import Priority
from tests.support.dashboard import worker_of

NOW = datetime(2026, 1, 31, 12, 7, 30, tzinfo=UTC)


def lane(type_name: str, priority: Priority = Priority.HIGH, **said: Any) -> LaneState:
    return LaneState(type=type_name, priority=priority, **({"paused": False, "lag": 0, "running": 0} | said))


def overview(**said: Any) -> Overview:
    fields: dict[str, Any] = {
        "at": NOW,
        "attention": [],
        "hour": Hour(NOW - timedelta(minutes=59), [1.0] * 59 + [12.5], [0.0] * 59 + [11.0], [0.0] * 60, [0.0] * 60),
        "lanes": [
            lane("email", lag=1_234, oldest_seconds=240.0, rate=17.5, running=8, waits=LaneWaits(0.012, 3.4, 100)),
            lane("data", paused=True, reason="stocktaking"),
            lane("chat"),
        ],
        "workers": [worker_of("here-1", at=NOW)],
    }
    return Overview(**(fields | said))


def drawn(found: Overview | None, trouble: Trouble | None = None, width: int = 120, height: int | None = None) -> str:
    out = Console(file=StringIO(), width=width, height=height or 50, color_system=None)
    out.print(Screen("http://api:8080").drawn(found, trouble, width, height))
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return text


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line.split()


def test_it_tells_rates_lanes_and_workers() -> None:
    text = drawn(overview())
    assert row(text, "accepted")[1] == "12.5/s"
    assert row(text, "succeeded")[1] == "11/s"
    assert row(text, "email.high")[1:] == ["1,234", "8", "4", "min", "17.5/s", "12", "ms", "3.4", "s", "flows"]
    assert row(text, "data.high")[-2:] == ["held:", "stocktaking"]
    assert "chat.high" not in text
    assert "1 of 3 lanes are empty" in text
    assert row(text, "here-1")[1:4] == ["1/2", "3", "alive"]
    assert "Everything flows" in text


def test_what_needs_attention_is_said_in_words() -> None:
    concern = Attention(
        True, "email.high", "oldest has waited 4 min: the lane is held since 12:03 UTC by ada", "/lanes"
    )
    assert "!! email.high: oldest has waited 4 min: the lane is held since 12:03 UTC by ada" in drawn(
        overview(attention=[concern])
    )


def test_of_a_few_concerns_all_is_said_in_a_narrow_terminal_too() -> None:
    said = "oldest has waited 4 min: the lane is held since 12:03 UTC by ada: the mail server is down"
    text = " ".join(drawn(overview(attention=[Attention(True, "email.high", said, "/")]), width=50).split())
    assert said in text


def test_a_clock_that_is_ahead_of_ours_tells_no_negative_time() -> None:
    (worker,) = overview().workers or []
    (task,) = worker.running
    ahead = msgspec.structs.replace(task, since=NOW + timedelta(seconds=5))
    text = drawn(overview(workers=[msgspec.structs.replace(worker, running=[ahead])]))
    assert row(text, "here-1")[-3:] == ["email", "0", "ms"]


@pytest.mark.parametrize("width", [20, 39, 56, 80, 200])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    concerns = [Attention(False, "s" * 50, "x" * 400, "/")]
    workers = [worker_of("w" * 90, at=NOW, stuck=True)]
    text = drawn(overview(attention=concerns, workers=workers), Trouble("y" * 300, 3.0), width=width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "email" in text


@pytest.mark.parametrize("height", [24, 40])
def test_a_terminal_of_few_lines_shows_the_busiest(height: int) -> None:
    lanes = [lane(f"type{number:03}", lag=number) for number in range(1, 101)]
    concerns = [Attention(False, f"type{number:03}.high", "waits", "/") for number in range(1, 101)]
    workers = [worker_of(f"w{number}", at=NOW) for number in range(50)]
    text = drawn(overview(lanes=lanes, attention=concerns, workers=workers), height=height)
    assert len(text.splitlines()) <= height
    assert "type100.high  " in text, "what waits longest"
    assert "more" in text


def test_before_the_first_answer_and_without_one() -> None:
    assert "asking" in drawn(None)
    assert "no answer for 12.0 s, trying again: refused" in drawn(None, Trouble("refused", 12.0))
    at = NOW.astimezone().strftime("%H:%M:%S")
    text = drawn(overview(), Trouble("refused", 12.0))
    assert f"this is how it was at {at}: refused" in text
    assert "email.high" in text


def test_what_is_not_known_is_said_so() -> None:
    text = drawn(overview(hour=None, lanes=None, workers=None))
    assert "the last hour is being read" in text
    assert "asking Kafka" in text
    assert "reading what the workers report" in text
    assert "start one: laneway worker" in drawn(overview(workers=[]))


def test_text_of_others_neither_moves_the_cursor_nor_is_markup() -> None:
    nasty = "\x1b[2J\x07[red]x[/red]\u202egnirts\nline"
    found = overview(
        attention=[Attention(True, nasty, nasty, "/")],
        lanes=[replace_lane(lane("t", lag=1, paused=True), type=nasty, reason=nasty)],
        workers=[msgspec.structs.replace(worker_of("w", at=NOW), worker=nasty)],
    )
    text = drawn(found, Trouble(nasty, 1.0))
    assert not any(character in text for character in "\x1b\x07\u202e")
    assert "[red]x[/red]" in text


def replace_lane(one: LaneState, **said: Any) -> LaneState:
    return msgspec.structs.replace(one, **said)
