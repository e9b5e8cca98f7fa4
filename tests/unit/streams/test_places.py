"""A pool's places: for all, and one for ``high`` alone."""

from typing import Any, cast

from streams.attempt import Attempt
from streams.places import Places
from streams.scheduler import Room


def attempt(*, urgent: bool = False) -> Attempt[None]:
    nothing = cast("Any", None)
    return Attempt(nothing, nothing, b"", nothing, None, urgent=urgent)


def test_the_last_place_is_for_high() -> None:
    places = Places(2, lambda _: None)
    for _ in range(2):
        assert places.room("a") is Room.ANY
        places.take(attempt())
    assert places.room("a") is Room.HIGH
    places.take(attempt(urgent=True))
    assert places.room("a") is Room.NONE


def test_high_takes_places_of_all_and_leaves_them_their_share() -> None:
    places = Places(2, lambda _: None)
    places.take(attempt(urgent=True))
    places.take(attempt(urgent=True))
    assert places.room("a") is Room.ANY
    places.take(attempt())
    assert places.room("a") is Room.NONE


def test_types_that_always_have_more_take_turns() -> None:
    started: list[str] = []
    running: list[Attempt[None]] = []

    def fill(name: str) -> None:
        while places.room(name) is Room.ANY:
            running.append(attempt())
            places.take(running[-1])
            started.append(name)

    places = Places(2, fill)
    for name in "abc":
        fill(name)
    for _ in range(300):
        places.free(running.pop(0))
    assert {name: started.count(name) for name in "abc"} == {"a": 102, "b": 100, "c": 100}


def test_whoever_was_refused_is_told_in_turn() -> None:
    told: list[str] = []
    places = Places(1, told.append)
    taken = attempt()
    places.take(taken)
    for name in ("b", "a", "b"):
        places.room(name)
    places.free(taken)
    assert told == ["b", "a"]
    places.free(taken)
    assert told == ["b", "a"]
    assert places.room("a") is Room.ANY
