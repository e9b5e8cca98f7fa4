"""A worker as one writes it on plain Faust: an agent with ``concurrency=8`` and automatic acknowledgements.

The negative control of the fault scenarios: ``python -m tests.chaos.plain_faust SERVERS GROUP TOPIC RUNS DATA_DIR``.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import faust
import msgspec
from faust.types import StreamT


def note(path: Path, mark: str, task_id: str, number: int) -> None:
    """A line of the ledger of runs."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{mark} {task_id} 1 1 {os.getpid()} {time.time_ns()} {number} {os.getpid()}\n".encode())


def build(servers: str, group: str, topic_name: str, runs: Path, data_dir: str) -> faust.App:
    """The app."""
    app = faust.App(
        group,
        broker=f"aiokafka://{servers}",
        datadir=data_dir,
        web_enabled=False,
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        broker_commit_interval=0.5,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",
        value_serializer="raw",
    )
    topic = app.topic(topic_name, value_type=bytes, value_serializer="raw", internal=False)

    @app.agent(topic, concurrency=8)
    async def work(stream: StreamT[bytes]) -> None:
        async for value in stream:
            task = msgspec.json.decode(value)
            payload = task["payload"]
            note(runs, "start", task["id"], payload["number"])
            await asyncio.sleep(payload.get("seconds", 0))
            note(runs, "end", task["id"], payload["number"])

    return app


if __name__ == "__main__":
    servers, group, topic_name, runs_file, folder = sys.argv[1:]
    faust.Worker(
        build(servers, group, topic_name, Path(runs_file), folder), loglevel="warning"
    ).execute_from_commandline()
