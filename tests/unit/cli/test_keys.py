"""Single keys are heard in a terminal, which is as before afterwards."""

import os
import pty
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from laneway.cli.keys import Keys


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where keys are pressed: the other end of the terminal that is standard input now."""
    pressed, heard = pty.openpty()
    with os.fdopen(heard) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield pressed
        os.close(pressed)


def test_a_key_is_heard_without_enter_and_the_terminal_is_left_as_it_was(keyboard: int) -> None:
    before = termios.tcgetattr(sys.stdin)
    with Keys() as keys:
        os.write(keyboard, b"q")
        assert keys.pressed(within=5) == "q"
        assert keys.pressed(within=0) is None
        os.write(keyboard, b"\x1b[A")
        assert keys.pressed(within=5) is None, "an arrow"
        assert termios.tcgetattr(sys.stdin) != before
    assert termios.tcgetattr(sys.stdin) == before


def test_it_is_left_as_it_was_by_an_error_as_well(keyboard: int) -> None:
    before = termios.tcgetattr(sys.stdin)
    with pytest.raises(KeyboardInterrupt), Keys():
        raise KeyboardInterrupt
    assert termios.tcgetattr(sys.stdin) == before


def test_where_there_is_no_terminal_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with Keys() as keys:
            assert keys.pressed(within=0) is None
