from pathlib import Path

from tests.support.processes import is_alive
from tests.support.stacks import running_stack
from tests.support.waiting import eventually


async def test_ctrl_c_exits_0_without_a_traceback_and_without_a_process(tmp_path: Path) -> None:
    with running_stack(tmp_path, "--workers", "2") as stack:
        await stack.says("Laneway is up")
        tree = stack.tree()
        assert [command for command in tree.values() if "kafka.Kafka" in command] or "(as set)" in stack.output
        assert len([command for command in tree.values() if "laneway.cli worker" in command]) == 2
        assert stack.interrupt() == 0, stack.output
        assert "Traceback" not in stack.output
        assert stack.output.rstrip().endswith("Stopped.")
        left = [command for pid, command in tree.items() if is_alive(pid)]
        assert left == []


async def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing_either(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        await eventually(stack.tree, within=60, what="a first child")
        tree = stack.tree()
        assert stack.interrupt() == 0, stack.output
        assert "Traceback" not in stack.output
        assert [command for pid, command in tree.items() if is_alive(pid)] == []
