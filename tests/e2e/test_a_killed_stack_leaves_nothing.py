from pathlib import Path

from tests.support.processes import is_alive
from tests.support.stacks import running_stack
from tests.support.waiting import eventually


async def test_every_process_ends_when_the_parent_is_killed(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        await stack.says("Laneway is up")
        tree = stack.tree()
        assert len(tree) >= 3
        stack.process.kill()
        stack.process.wait()

        def none_left() -> bool:
            left = [command for pid, command in tree.items() if is_alive(pid)]
            assert left == []
            return True

        await eventually(none_left, within=20)
