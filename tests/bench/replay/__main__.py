"""``make bench-replay``: how fast an unthrottled replay appends, beside its API and broker, with no worker about."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from confluent_kafka import Producer
from msgspec import Raw

from laneway import AsyncClient
from laneway.ids import new_id
from schemas.codec import decode, encode
from schemas.headers import SHADOW, Headers, cloud_event, timestamp
from schemas.outcome import Outcome
from schemas.replay import DEFAULT_RATE
from schemas.settings import ApiSettings, KafkaSettings, Settings
from schemas.status import State, Status
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics, partition_of
from tests.support.api import RunningApi, running_api
from tests.support.kafka import apply_topics, read_all, running_kafka
from tests.support.waiting import eventually
from tests.support.workers import running_worker

TYPE: Final = "past.echo"
MODULE: Final = "tests.support.replay_handlers"
LINE: Final = 10_000.0
HIGH_RATE: Final = 20.0


def ended(count: int) -> Iterator[tuple[Task, Status]]:
    """Tasks that have succeeded."""
    for n in range(count):
        now = datetime.now(UTC)
        payload = Raw(encode({"n": n, "customer": f"c{n % 1000}", "cents": n * 7 % 100_000}))
        labels = {"tenant": f"t{n % 50}"}
        task = Task(id=new_id(), type=TYPE, payload=payload, created_at=now, labels=labels)
        status = Status(
            id=task.id,
            type=TYPE,
            priority=Priority.NORMAL,
            state=State.SUCCEEDED,
            attempt=1,
            max_attempts=5,
            created_at=now,
            updated_at=now,
            started_at=now,
            finished_at=now,
            result=payload,
            labels=labels,
            worker="bench-1",
        )
        yield task, status


def producer_of(settings: Settings) -> Producer:
    """A producer that is quick."""
    return Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 50, "compression.type": "lz4"})


def produce(producer: Producer, topic: str, number: int, key: bytes, value: bytes, headers: Headers) -> None:
    """Append a record, once there is room."""
    while True:
        try:
            producer.produce(topic, value, key, number, headers=list(headers))
        except BufferError:
            producer.poll(0.1)
        else:
            return


def fill(settings: Settings, count: int) -> None:
    """Put tasks onto their lane, and their statuses and outcomes where workers would have."""
    topics = Topics(settings.kafka.topic_prefix)
    producer = producer_of(settings)
    lane = topics.lane(Lane(TYPE, Priority.NORMAL))

    def put(topic: str, number: int, key: str, value: bytes, headers: Headers) -> None:
        produce(producer, topic, number, key.encode(), value, headers)

    for task, status in ended(count):
        number = partition_of(task.id, settings.kafka.partitions)
        at = timestamp(status.updated_at)
        trace = b"00-%b-%b-01" % (task.id.replace("-", "").encode(), task.id[-12:].encode() + b"beef")
        put(lane, number, task.id, encode(task), cloud_event("task", f"{task.id}.1", b"/laneway/ingest", at, trace))
        step = cloud_event("status", f"{task.id}.1.1.0.succeeded", b"/laneway/worker/bench-1", at, trace)
        put(topics.status, number, task.id, encode(status), step)
        put(topics.results(TYPE), number, task.id, encode(Outcome.of(status)), step)
        producer.poll(0)
    producer.flush()


def end_shadows(settings: Settings) -> None:
    """Tell of each shadow that waits how it ended, as workers would: one of a hundred otherwise than its task."""
    topics = Topics(settings.kafka.topic_prefix)
    producer = producer_of(settings)
    records = read_all(settings.bootstrap_servers, topics.lane(Lane(TYPE, Priority.LOW)), within=120)
    for place, record in enumerate(records):
        task = decode(record.value, Task)
        now = datetime.now(UTC)
        outcome = Outcome(
            id=(record.header(SHADOW) or b"").decode(),
            type=TYPE,
            priority=Priority.LOW,
            state=State.SUCCEEDED,
            result=task.payload if place % 100 else Raw(b"0"),
            attempt=1,
            max_attempts=5,
            created_at=task.created_at or now,
            started_at=now,
            finished_at=now,
            generation=task.generation,
            replay_id=task.replay_id,
            labels=task.labels,
        )
        produce(producer, topics.shadows, record.partition, outcome.id.encode(), encode(outcome), [])
        producer.poll(0)
    producer.flush()


async def compare(client: httpx.AsyncClient, api: RunningApi, replay_id: str) -> dict[str, Any]:
    """Ask for everything that differs, and see how much memory that takes."""

    def peak() -> float:
        lines = Path(f"/proc/{api.process.pid}/status").read_text().splitlines()
        return int(next(each for each in lines if each.startswith("VmHWM")).split()[1]) / 1024

    before, began = peak(), time.monotonic()
    lines, last = 0, b""
    async with client.stream(
        "GET", f"/api/replays/{replay_id}/diff", headers={"accept": "application/x-ndjson"}
    ) as answer:
        async for line in answer.aiter_lines():
            lines, last = lines + 1, line.encode()
    return {
        "counts": json.loads(last)["counts"],
        "differences": lines - 1,
        "seconds": round(time.monotonic() - began, 2),
        "api_peak_mb_before": round(before),
        "api_peak_mb": round(peak()),
    }


def cpu_seconds(api: RunningApi) -> dict[str, float]:
    """CPU time of the API's process and of each of its children, by what they do."""
    told = {"api": api.process.pid}
    for pid in Path(f"/proc/{api.process.pid}/task/{api.process.pid}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        told[next((each.decode() for each in words if each.endswith(b"-process")), words[-2].decode())] = int(pid)
    times = {name: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for name, pid in told.items()}
    return {name: (int(fields[11]) + int(fields[12])) / 100 for name, fields in times.items()}


async def run(client: httpx.AsyncClient, api: RunningApi, body: dict[str, Any]) -> dict[str, Any]:
    """A replay from its plan to its end."""
    made = (await client.post("/api/replays?wait=60", json={**body, "dry_run": True})).json()
    while made["plan"] is None:
        made = (await client.get(f"/api/replays/{made['id']}?wait=10")).json()
    before = cpu_seconds(api)
    began = time.monotonic()
    (await client.post(f"/api/replays/{made['id']}/run")).raise_for_status()
    spent = before
    while made["state"] not in ("done", "failed", "aborted"):
        await asyncio.sleep(0.25)
        spent = cpu_seconds(api)
        made = (await client.get(f"/api/replays/{made['id']}")).json()
    counts = made["counts"]
    return {
        "id": made["id"],
        "state": made["state"],
        "tasks": counts["replayed"],
        "passed_over": counts["passed_over"],
        "planned_in": made["plan"]["planned_in"],
        "seconds": round(time.monotonic() - began, 2),
        "a_second": round(counts["replayed"] / (time.monotonic() - began)),
        "cpu_us_per_task": {
            name: round(1e6 * (seconds - before.get(name, 0.0)) / max(1, counts["replayed"]))
            for name, seconds in spent.items()
        },
    }


async def high(url: str, seconds: float) -> dict[str, float]:
    """How long ``high`` tasks take at 20 a second, from when each was due until its final status is here."""
    took: list[float] = []

    async def one(client: AsyncClient, due_at: float) -> None:
        status = await client.submit(TYPE, {"n": 1, "customer": "c1", "cents": 1}, priority="high")
        await client.wait(status.id)
        took.append(time.monotonic() - due_at)

    async with AsyncClient(url) as client, asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(int(seconds * HIGH_RATE)):
            due_at = began + number / HIGH_RATE
            await asyncio.sleep(due_at - time.monotonic())
            group.create_task(one(client, due_at))
    took.sort()
    return {"p50_ms": round(took[len(took) // 2] * 1e3, 1), "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 1)}


async def begun(client: httpx.AsyncClient) -> bool:
    """Whether the latest replay has put anything back."""
    return any(each["counts"]["replayed"] for each in (await client.get("/api/replays")).json()["replays"])


async def beside(settings: Settings, folder: Path, count: int, rate: float) -> dict[str, Any]:
    """What ``high`` tasks feel of a replay while workers run what it puts back; it is aborted after that."""
    types = (TYPE, "past.failing")
    apply_topics(settings, types)
    await asyncio.to_thread(fill, settings, count)
    with (
        running_api(settings, folder / "api.log", *types, module=MODULE) as api,
        running_worker(settings, folder / "one.log", TYPE, module=MODULE) as one,
        running_worker(settings, folder / "two.log", TYPE, module=MODULE) as two,
    ):
        for each in (api, one, two):
            await each.ready()
        await high(api.address, 2)
        alone = await high(api.address, 15)
        async with httpx.AsyncClient(base_url=api.address, timeout=120) as client:
            job = asyncio.create_task(run(client, api, {"select": {"types": [TYPE]}, "rate": rate}))
            await eventually(lambda: begun(client), within=60)
            felt = await high(api.address, 15)
            for each in (await client.get("/api/replays")).json()["replays"]:
                await client.delete(f"/api/replays/{each['id']}")
            found = await job
    return {**found, "high_alone": alone, "high_beside": felt}


async def measure(settings: Settings, folder: Path, count: int, *, shadow: bool) -> dict[str, Any]:
    """Fill a cluster and replay all of it."""
    types = (TYPE, "past.failing")
    apply_topics(settings, types)
    await asyncio.to_thread(fill, settings, count)
    with running_api(settings, folder / "api.log", *types, module=MODULE) as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=120) as client:
            body: dict[str, Any] = {"select": {"types": [TYPE]}, "rate": 0, "shadow": shadow}
            found = await run(client, api, body)
            if shadow:
                await asyncio.to_thread(end_shadows, settings)
                found["diff"] = await compare(client, api, found["id"])
            return found


def main() -> int:
    """Measure, print, and fail where it is slower than it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replay", description=__doc__)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--shadow", action="store_true", help="shadow runs, and then what differs")
    parser.add_argument("--beside", action="store_true", help="with workers, and what `high` tasks feel of it")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="of that replay, tasks a second")
    parser.add_argument("--least", type=float, default=LINE, help="tasks a second that still pass")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laneway-replay-") as name:
        folder = Path(name)
        with running_kafka(folder / "kafka") as kafka:
            settings = Settings(
                data_dir=folder / "data",
                kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=options.partitions),
                api=ApiSettings(port=0),
            )
            if options.beside:
                found = asyncio.run(beside(settings, folder, options.tasks, options.rate))
            else:
                found = asyncio.run(measure(settings, folder, options.tasks, shadow=options.shadow))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    if options.beside:
        return 0
    return 0 if found["state"] == "done" and found["a_second"] >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
