import os
import signal
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from laneway import crashpoints
from schemas.errors import ConfigurationError
from schemas.settings import Settings


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    crashpoints.armed = False


def _reach(settings: Settings, times: int) -> None:
    crashpoints.arm(settings)
    for _ in range(times):
        crashpoints.reached("after_status")
        crashpoints.reached("before_commit")
    os._exit(0)


def _exit_code(settings: Settings, times: int) -> int | None:
    child = get_context("spawn").Process(target=_reach, args=(settings, times))
    child.start()
    child.join(30)
    return child.exitcode


def test_nothing_is_armed_unless_a_setting_says_so() -> None:
    crashpoints.arm(Settings())
    assert not crashpoints.armed


def test_the_process_dies_at_its_point_once_for_a_data_directory(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, crash_at="after_status:3")
    assert _exit_code(settings, 2) == 0
    assert _exit_code(settings, 3) == -signal.SIGKILL
    assert (tmp_path / "crashed-at-after_status").exists()
    assert _exit_code(settings, 9) == 0


@pytest.mark.parametrize("wrong", ["nowhere", "after_status:0", "after_status:x"])
def test_a_point_that_is_none_is_refused(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="before_commit"):
        crashpoints.arm(Settings(data_dir=tmp_path, crash_at=wrong))
