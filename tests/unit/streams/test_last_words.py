"""A worker that has left the group is taken for silent once its last words have had their time."""

from streams.last_words import LAST_WORDS_WITHIN, LastWords

GONE = frozenset({"gone"})


def test_whoever_is_alive_may_speak() -> None:
    assert LastWords().may_speak(GONE, {"gone", "other"}, 0, 100) == {"gone", "other"}


def test_whoever_is_gone_may_be_heard_for_a_while_after_the_broker_answered() -> None:
    said_by = 5 + LAST_WORDS_WITHIN
    words = LastWords()
    assert words.may_speak(GONE, set(), asked_at=0, answered_at=5) == GONE
    assert words.may_speak(GONE, set(), asked_at=said_by - 0.1, answered_at=said_by + 9) == GONE
    assert words.may_speak(GONE, set(), asked_at=said_by, answered_at=said_by + 9) == set()


def test_whoever_came_back_is_heard_out_anew() -> None:
    words = LastWords()
    words.may_speak(GONE, set(), 0, 0)
    words.may_speak(GONE, GONE, 1, 1)
    assert words.may_speak(GONE, set(), 100, 100) == GONE


def test_of_a_stranger_nothing_is_kept() -> None:
    words = LastWords()
    words.may_speak(GONE, set(), 0, 0)
    assert words.may_speak(frozenset(), set(), 0.1, 0.2) == set()
    assert words.may_speak(GONE, set(), 100, 100) == GONE
