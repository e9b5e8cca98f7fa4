import os
import signal

from tests.support.stacks import RunningStack


async def test_a_killed_worker_is_back_within_seconds_and_says_so(stack: RunningStack) -> None:
    workers = [pid for pid, command in stack.tree().items() if "laneway.cli worker" in command]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    await stack.says("worker-1 was ended by SIGKILL; starting it again in 1 s", within=10)
    status = stack.run_json("submit", "shop.parcel", '{"grams": 1}', "--wait")
    assert status["state"] == "succeeded"
