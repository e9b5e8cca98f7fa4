"""A peer under measurement, in the sections and by the definitions of ``laneway bench``."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from laneway.bench import load, machine
from laneway.bench.measuring import Figures
from laneway.bench.plan import BenchPlan
from laneway.bench.submit import batch_of
from laneway.stack.ports import claim
from schemas.errors import BenchmarkError
from tests.bench.peers.definitions import HOST, Peer, Variant
from tests.bench.peers.services import Running, Services, environment_of

APPS: Final = Path(__file__).parent / "apps"
_READ: Final = 1000
_MARGIN: Final = 120.0


class PeerSubject:
    """One peer in one variant.

    Args:
        peer: which.
        variant: the name of one of its variants.
        plan: the sizes.
        services: running ones.
        kafka: address of a cluster; empty where the peer needs none.
        folder: for logs.
    """

    def __init__(self, peer: Peer, variant: str, plan: BenchPlan, services: Services, kafka: str, folder: Path) -> None:
        self._peer = peer
        self._variant: Variant = peer.variants[variant]
        self._plan = plan
        self._services = services
        self._programs = environment_of(peer.name)
        self._folder = folder
        self._port = claim("the peer's port", HOST, 0)
        self._workers: list[Running] = []
        self._web: Running | None = None
        self._environment = {
            **os.environ,
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(APPS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "C_FORCE_ROOT": "1",
            "PEERS_NAME": peer.name,
            "PEERS_REDIS_PORT": str(services.redis_port),
            "PEERS_RABBITMQ_PORT": str(services.rabbitmq_port),
            "PEERS_KAFKA": kafka,
            "PEERS_RUN": f"{os.getpid()}-{time.monotonic_ns()}",
            **_named(self._variant.options),
        }

    def measure(self, section: str) -> Figures:
        """One run of a section, on workers and queues that are fresh.

        Raises:
            BenchmarkError: it could not be measured.
        """
        measures: dict[str, Callable[[], Figures]] = {
            **{kind: lambda kind=kind: self._throughput(kind) for kind in ("noop", "cpu", "wait")},  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            "accept": lambda: self._posted("/api/tasks", 1),
            "batch": lambda: self._posted("/api/tasks/batch", self._plan.batch),
            "latency": self._latency,
            "priority": self._priority,
            "status": self._status,
            "memory": self._memory,
        }
        try:
            self._start_workers()
            return measures[section]()
        finally:
            self._stop()

    # The sections.

    def _throughput(self, kind: str) -> Figures:
        plan = self._plan
        meter = self._meter()
        found = self._drive("throughput", kind=kind, count=plan.tasks, within=plan.patience)
        return {**_rounded(found), **self._beside(meter, plan.tasks)}

    def _posted(self, path: str, tasks: int) -> Figures:
        self._start_web()
        one = json.dumps({"type": "noop", "priority": "normal", "payload": {"x": 1}}).encode()
        body = one if tasks == 1 else batch_of(one, tasks)
        plan = self._plan
        # Ends by itself when its input closes, whatever happens here.
        with self._started("completed") as counter:
            if counter.stdin is None or counter.stdout is None or counter.stdout.readline() != "READY\n":
                raise self._failed("completed", "", counter.communicate()[1])
            meter = self._meter()
            counter.stdin.write("begin\n")
            counter.stdin.flush()
            seen = load.post(
                f"http://{HOST}:{self._port}", path, body, seconds=plan.load_seconds, connections=plan.connections
            )
            completed = self._answer(counter, "completed", "end\n")
        return {
            "accepted_per_s": round(seen.per_second * tasks, 1),
            **_rounded(completed),
            **_seen(seen),
            **self._beside(meter, seen.requests * tasks),
        }

    def _status(self) -> Figures:
        plan = self._plan
        self._start_web()
        handles = self._drive("handles", count=_READ, within=plan.patience)["handles"]
        meter = self._meter()
        seen = load.get(
            f"http://{HOST}:{self._port}",
            [f"/api/tasks/{handle}" for handle in handles],
            seconds=plan.load_seconds,
            connections=plan.connections,
        )
        return {"reads_per_s": round(seen.per_second, 1), **_seen(seen), **self._beside(meter, seen.requests)}

    def _latency(self) -> Figures:
        plan = self._plan
        meter = self._meter()
        found = self._drive("latency", rate=plan.latency_rate, seconds=plan.latency_seconds, within=30)
        return {**_rounded(found), **self._beside(meter, plan.latency_rate * plan.latency_seconds)}

    def _priority(self) -> Figures:
        plan = self._plan
        found = self._drive(
            "priority",
            flood=plan.flood,
            settle_seconds=plan.flood_settle_seconds,
            alone_seconds=plan.alone_seconds,
            rate=plan.high_rate,
            seconds=plan.high_seconds,
            within=30,
        )
        return _rounded(found)

    def _memory(self) -> Figures:
        plan = self._plan
        idle = self._resident()
        for worker in self._workers:
            worker.stop()
        self._workers = []
        filled = self._drive("fill", count=plan.queued)
        queued = self._resident()
        time.sleep(plan.settle_seconds)
        settled = self._resident()
        self._launch_workers()
        time.sleep(plan.drain_seconds)
        draining = self._resident()
        stages = {"idle": idle, "queued": queued, "settled": settled, "draining": draining}
        return {
            **{f"{stage}_rss_mb": parts for stage, parts in stages.items()},
            "growth_mb": {part: round(settled[part] - idle[part], 1) for part in settled if part in idle},
            "queued": plan.queued,
            **_rounded(filled),
        }

    # Its processes.

    def _groups(self) -> dict[str, list[int]]:
        groups = {
            "workers": [pid for worker in self._workers for pid in worker.pids()],
            "web": self._web.pids() if self._web else [],
            **self._services.groups(),
        }
        return {name: pids for name, pids in groups.items() if pids}

    def _resident(self) -> dict[str, float]:
        return {name: machine.memory(pids).rss_mb for name, pids in self._groups().items()}

    def _meter(self) -> tuple[float | None, machine.CpuMeter]:
        busy = machine.busy_percent(self._plan.looked_before_seconds)
        return busy, machine.CpuMeter({**self._groups(), "bench": [os.getpid()]})

    def _beside(self, meter: tuple[float | None, machine.CpuMeter], tasks: float) -> Figures:
        busy, cpu = meter
        # A peer's Kafka is not told apart here: it is the cluster that Laneway uses in the same benchmark.
        used = {name: round(seconds / tasks * 1e6, 1) for name, seconds in cpu.seconds().items()}
        found: Figures = {"cpu_us_per_task": used}
        if busy is not None:
            found["busy_before_percent"] = busy
        return found

    def _start_workers(self) -> None:
        self._drive("reset")
        self._drive("prepare")
        self._launch_workers()
        self._drive("probe", priorities=list(self._variant.priorities))

    def _launch_workers(self) -> None:
        variant = self._variant
        for number, command in enumerate(variant.commands):
            own = variant.each[number] if variant.each else {}
            filled = [part.replace("{redis_port}", str(self._services.redis_port)) for part in command]
            self._workers.append(self._running("worker", filled, _named(own)))

    def _start_web(self) -> None:
        command = [part.replace("{port}", str(self._port)) for part in self._peer.web]
        self._web = self._running("web", command, {})
        self._web.until_listening(self._port)
        # Whatever it answers: its processes have loaded the application by then.
        with (
            contextlib.suppress(HTTPError),
            urlopen(f"http://{HOST}:{self._port}/api/tasks/none", timeout=30) as answer,
        ):
            answer.read()
        time.sleep(1)

    def _running(self, role: str, command: list[str], own: dict[str, str]) -> Running:
        program = [str(self._programs / command[0]), *command[1:]]
        log = self._folder / f"{self._peer.name}-{role}.log"
        return Running(
            f"{self._peer.name}'s {role}", program, environment=self._environment | own, log=log, folder=APPS
        )

    def _stop(self) -> None:
        for process in [*self._workers, *([self._web] if self._web else [])]:
            process.kill()  # what they held is thrown away next
        self._workers, self._web = [], None
        self._drive("reset")

    def _drive(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Run an operation of the driver in the peer's environment.

        Raises:
            BenchmarkError: it failed.
        """
        return self._answer(self._started(operation, **arguments), operation)

    def _started(self, operation: str, **arguments: Any) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        command = [str(self._programs / "python"), str(APPS / "driver.py"), operation, json.dumps(arguments)]
        return subprocess.Popen(
            command, env=self._environment, cwd=APPS, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def _answer(self, driver: "subprocess.Popen[str]", operation: str, said: str = "") -> dict[str, Any]:
        within = self._plan.patience + _MARGIN
        try:
            out, errors = driver.communicate(said, timeout=within)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.communicate()
            raise BenchmarkError(f"{self._peer.name}: {operation} took longer than {within:g} s") from None
        for line in out.splitlines():
            if line.startswith("JSON"):
                answer: dict[str, Any] = json.loads(line[4:])
                return answer
        raise self._failed(operation, out, errors)

    def _failed(self, operation: str, out: str, errors: str) -> BenchmarkError:
        return BenchmarkError(f"{self._peer.name}: {operation} failed: {(errors or out).strip()[-800:]}")


def _named(options: dict[str, str]) -> dict[str, str]:
    return {name if name[:1].islower() else f"PEERS_{name}": value for name, value in options.items()}


def _rounded(found: dict[str, Any]) -> Figures:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}


def _seen(seen: load.Load) -> Figures:
    return {
        "p50_ms": round(seen.p50_ms, 2),
        "p99_ms": round(seen.p99_ms, 2),
        "refused": seen.refused,
        "broken": seen.broken,
    }
