from pathlib import Path

import pytest

from laneway.stack.presence import settings_of_running_stack, sole_stack, tell
from schemas.errors import ConfigurationError


def test_a_data_directory_takes_one_stack_at_a_time(tmp_path: Path) -> None:
    with sole_stack(tmp_path), pytest.raises(ConfigurationError, match="--data-dir"), sole_stack(tmp_path):
        pass
    with sole_stack(tmp_path):
        pass


def test_others_learn_what_it_decided_only_while_it_runs(tmp_path: Path) -> None:
    assert settings_of_running_stack(tmp_path) == {}
    with sole_stack(tmp_path):
        assert settings_of_running_stack(tmp_path) == {}
        tell(tmp_path, {"kafka.partitions": 4, "chat.documents_dir": tmp_path})
        assert settings_of_running_stack(tmp_path) == {"kafka.partitions": 4, "chat.documents_dir": str(tmp_path)}
    assert settings_of_running_stack(tmp_path) == {}


def test_what_a_killed_stack_left_counts_for_nothing(tmp_path: Path) -> None:
    with sole_stack(tmp_path):
        tell(tmp_path, {"kafka.partitions": 4})
        left = (tmp_path / "stack.json").read_bytes()
    (tmp_path / "stack.json").write_bytes(left)
    assert settings_of_running_stack(tmp_path) == {}
