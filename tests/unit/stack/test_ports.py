"""Ports that the stack draws differ."""

import pytest

from laneway.stack import ports
from laneway.stack.ports import claim


def test_a_drawn_port_is_none_of_those_that_were_drawn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([5000, 5000, 5001])
    monkeypatch.setattr(ports, "_bindable", lambda *_: next(drawn))
    assert claim("--port", "127.0.0.1", 0, avoid=[5000]) == 5001
