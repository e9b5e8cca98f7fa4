import os
import re
import signal

import httpx

from tests.support.stacks import RunningStack


async def test_a_killed_worker_is_back_within_seconds_and_says_so(stack: RunningStack) -> None:
    workers = [pid for pid, command in stack.tree().items() if "laneway.cli worker" in command]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    await stack.says("worker-1 was ended by SIGKILL; starting it again in 1 s", within=10)
    status = stack.run_json("submit", "shop.parcel", '{"grams": 1}', "--wait")
    assert status["state"] == "succeeded"
    address = re.search(r"Metrics of the workers at (\S+)", stack.output)
    assert address is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        told = (await client.get(address[1])).text
    assert re.search(r'^laneway_worker_restarts_total{reason="SIGKILL",worker="[^"]+"} 1.0$', told, re.MULTILINE), told
    # The first process had counted it, and is gone.
    ended = 'laneway_tasks_ended_total{outcome="succeeded",priority="low",type="email"} 1.0\n'
    assert ended in told, told
