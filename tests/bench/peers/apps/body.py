"""What every peer's task does, and where the services are: the same for all."""

import os
import time
from typing import Any

PRIORITIES = ("high", "normal", "low")
KINDS = ("noop", "cpu", "wait")
REDIS_PORT = int(os.environ["PEERS_REDIS_PORT"])
REDIS_TASKS = f"redis://127.0.0.1:{REDIS_PORT}/0"
REDIS_RESULTS = f"redis://127.0.0.1:{REDIS_PORT}/1"
AMQP = f"amqp://guest:guest@127.0.0.1:{os.environ.get('PEERS_RABBITMQ_PORT', '5672')}"
KAFKA = os.environ.get("PEERS_KAFKA", "")
VARIANT = os.environ.get("PEERS_VARIANT", "")
WAIT_SECONDS = 0.005
CPU_SECONDS = 0.001


def option(name: str, default: str) -> str:
    """What a variant sets for its peer."""
    return os.environ.get(f"PEERS_{name}", default)


def work(kind: str) -> dict[str, Any]:
    """Do nothing, use 1 ms of CPU, or wait 5 ms; peers on an event loop wait by themselves."""
    if kind == "cpu":
        end = time.thread_time() + CPU_SECONDS
        while time.thread_time() < end:
            pass
    elif kind == "wait":
        time.sleep(WAIT_SECONDS)
    return {"ok": True}
