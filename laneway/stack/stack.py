"""Starts the system on this machine, keeps it running and stops it."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SecretStr

from laneway.registry import Registry
from laneway.stack import presence
from laneway.stack.broker import SupervisedBroker
from laneway.stack.children import WRONG_USE, Child, ChildEvents
from laneway.stack.demo import DOCUMENTS, check_samples, run_demo
from laneway.stack.metrics import metrics_served
from laneway.stack.ports import claim
from laneway.stack.report import Report
from laneway.stack.signing import callback_secret
from laneway.stack.workers import Death, SupervisedWorker, WorkerEvents, claim_names, watch_over
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings, environment_for
from streams.watch import STALLED

PARTITIONS: Final = 4
"""Of a lane, unless somebody chose another number: enough for a machine, and quick to make."""
LOCAL: Final = "127.0.0.1"
API_STOPS_WITHIN: Final = timedelta(seconds=10)
SINK_STOPS_WITHIN: Final = timedelta(seconds=3)
READY_WITHIN: Final = timedelta(seconds=90)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """What to start."""

    settings: Settings
    chosen: frozenset[str]
    """Names of the settings that somebody chose; the stack decides only about the others."""
    registry: Registry
    imports: tuple[str, ...] = ()
    workers: int = 1
    brokers: Literal[1, 3] = 1
    kafka_port: int = 9092
    demo: bool = False


class _UnstartableError(Exception):
    """A child cannot start with these settings; what it said was told already."""


class Stack:
    """One run of the system.

    Everything it starts ends with it, even when it is killed: the children watch their standard input, the broker has a
    guard.
    """

    def __init__(self, plan: StackPlan, report: Report) -> None:
        self._plan = plan
        self._report = report
        self._settings = plan.settings.model_copy(update={"data_dir": plan.settings.data_dir.absolute()})
        self._decided: dict[str, Any] = {}
        self._broker: SupervisedBroker | None = None
        self._sink: Child | None = None
        self._api: Child | None = None
        self._fleet: list[SupervisedWorker] = []
        self._stopping = False
        self._exit_code = 0

    async def run(self) -> int:
        """Start everything, stay until SIGINT or SIGTERM, and stop everything; a second signal does so by force.

        Returns:
            0, or 1 when the demo failed or a part could not be started.

        Raises:
            ConfigurationError: a port is taken, the data directory is in use, or a setting that cannot be.
            BrokerUnavailableError: the broker could not be started or reached.
        """
        loop = asyncio.get_running_loop()
        with presence.sole_stack(self._data_dir):
            if self._plan.demo:
                check_samples()
                if "chat.documents_dir" not in self._plan.chosen:
                    self._decide(chat__documents_dir=DOCUMENTS)
            self._sign_callbacks()
            self._claim_ports()
            serving = contextlib.ExitStack()
            metrics = serving.enter_context(metrics_served(self._fleet, self._settings.worker))
            if metrics is not None:
                self._report.note("metrics", f"Metrics of the workers at {metrics}", address=metrics)
            work = asyncio.ensure_future(self._work())
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._on_signal, work)
            try:
                await work
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
            except _UnstartableError as error:
                self._report.note("failed", str(error), trouble=True)
                return WRONG_USE
            finally:
                self._stopping = True
                await self._stop()
                serving.close()
        return self._exit_code

    def _on_signal(self, work: "asyncio.Future[None]") -> None:
        if not self._stopping:
            self._stopping = True
            self._report.note("stopping", "Stopping: workers finish what they run (Ctrl-C again stops by force)")
            work.cancel()
        else:
            for child in self._children:
                child.kill()

    @property
    def _data_dir(self) -> Path:
        return self._settings.data_dir

    @property
    def _workers(self) -> list[Child]:
        return [worker.child for worker in self._fleet]

    @property
    def _children(self) -> list[Child]:
        return [child for child in (*self._workers, self._api, self._sink) if child is not None]

    @property
    def _api_url(self) -> str:
        host = self._settings.api.host
        return f"http://{LOCAL if host in ('0.0.0.0', '::', '') else host}:{self._settings.api.port}"  # noqa: S104

    def _decide(self, **values: Any) -> None:
        """Set what nobody chose; ``kafka__partitions=4`` is ``kafka.partitions``."""
        for key, value in values.items():
            section, _, leaf = key.partition("__")
            changed = getattr(self._settings, section).model_copy(update={leaf: value})
            self._settings = self._settings.model_copy(update={section: changed})
            self._decided[f"{section}.{leaf}"] = value

    def _sign_callbacks(self) -> None:
        """Have a secret for callbacks, so that they work at once. It is not told to others on this machine."""
        if self._settings.callbacks.secrets is None:
            secret = SecretStr(callback_secret(self._data_dir))
            signed = self._settings.callbacks.model_copy(update={"secrets": secret})
            self._settings = self._settings.model_copy(update={"callbacks": signed})

    def _claim_ports(self) -> None:
        """Say at once of a chosen port that it is taken. One that is drawn is drawn once Kafka has its own."""
        api = self._settings.api
        if api.port:
            claim("--port", api.host, api.port)
        if not self._settings.kafka.bootstrap_servers and self._plan.kafka_port:
            for number in range(self._plan.brokers):
                claim("--kafka-port", LOCAL, self._plan.kafka_port + number)

    # Starting.

    async def _work(self) -> None:
        began = time.monotonic()
        await self._start_kafka()
        await self._apply_topics()
        self._start_children()
        with self._report.waiting("Starting the API and the workers"):
            await self._until_ready()
        presence.tell(self._data_dir, self._decided)
        self._tell_addresses(time.monotonic() - began)
        if self._plan.demo:
            passed = await run_demo(self._api_url, self._report)
            self._exit_code = 0 if passed else 1
        await self._watch()

    async def _start_kafka(self) -> None:
        plan = self._plan
        if "kafka.partitions" not in plan.chosen:
            self._decide(kafka__partitions=PARTITIONS)
        if self._settings.kafka.bootstrap_servers:
            self._report.note("kafka", f"Kafka at {self._settings.bootstrap_servers} (as set)")
            return
        if "kafka.replication_factor" not in plan.chosen:
            self._decide(kafka__replication_factor=plan.brokers)
        self._broker = SupervisedBroker(
            self._data_dir / "kafka", port=plan.kafka_port, brokers=plan.brokers, report=self._report
        )
        await self._broker.start()
        self._decide(kafka__bootstrap_servers=self._broker.bootstrap_servers)

    async def _apply_topics(self) -> None:
        from laneway.kafka.admin import TopicAdmin
        from schemas.topics import Topics

        began = time.monotonic()
        kafka = self._settings.kafka
        specs = Topics(kafka.topic_prefix).specs(
            self._plan.registry.names, partitions=kafka.partitions, replication_factor=kafka.replication_factor
        )
        with self._report.waiting("Applying the topics"):
            changes = await asyncio.to_thread(lambda: TopicAdmin(self._settings).apply(specs))
        created = sum(change.create is not None for change in changes)
        text = f"{len(specs)} topics ready" + (f", {created} of them new" if created else "")
        self._report.ready("topics", text, time.monotonic() - began, topics=len(specs), created=created)

    def _start_children(self) -> None:
        api = self._settings.api
        self._decide(api__port=claim("--port", api.host, api.port))
        if not {"email.host", "email.port"} & self._plan.chosen:
            drawn = claim("LANEWAY_EMAIL__PORT", LOCAL, 0, avoid=[self._settings.api.port])
            self._decide(email__host=LOCAL, email__port=drawn)
            mail = ["--port", str(self._settings.email.port), "--dir", str(self._data_dir / "mail")]
            self._sink = self._child("mail", ["laneway.smtp_sink", *mail])
            self._sink.ready.set()
        imports = [part for module in self._plan.imports for part in ("--import", module)]
        self._api = self._child("api", ["laneway.cli", "api", *imports])
        for number, name in enumerate(claim_names(self._settings, self._plan.workers), start=1):
            label = f"worker-{number}"
            self._fleet.append(
                SupervisedWorker(
                    name,
                    self._child_settings,
                    imports,
                    label=label,
                    log=self._log_file(label),
                    events=WorkerEvents(
                        said=self._report.child, died=self._on_worker_death, frozen=self._on_frozen_worker
                    ),
                    announces="worker ready",
                )
            )

    def _child(self, name: str, arguments: list[str]) -> Child:
        return Child(
            name,
            arguments,
            environment=environment_for(self._child_settings) | {"PYTHONUNBUFFERED": "1"},
            log=self._log_file(name),
            events=ChildEvents(said=self._report.child, died=self._on_death),
        )

    @property
    def _child_settings(self) -> Settings:
        # Their output is a pipe to us: JSON, so that we know a warning when we see one.
        return self._settings.model_copy(update={"log": self._settings.log.model_copy(update={"format": "json"})})

    def _on_worker_death(self, death: Death) -> None:
        self._on_death(death.label, death.code, death.wait, [])

    def _on_frozen_worker(self, label: str, seconds: float) -> None:
        text = f"{label} has stood still for {seconds:.0f} s and is ended (its log: {self._log_file(label)})"
        self._report.note("child_frozen", text, trouble=True, child=label, seconds=seconds)

    def _on_death(self, name: str, code: int, wait: timedelta, last: list[str]) -> None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code == STALLED:
            how = "stood still and ended itself"
        self._report.note(
            "child_died",
            f"{name} {how}; starting it again in {wait.total_seconds():g} s (its log: {self._log_file(name)})",
            trouble=True,
            child=name,
            code=code,
            seconds=wait.total_seconds(),
        )

    def _log_file(self, name: str) -> Path:
        return self._data_dir / "logs" / f"{name}.log"

    async def _until_ready(self) -> None:
        """Wait for the API, which is ready once the status view has caught up, and for the workers."""
        began = time.monotonic()

        async def api() -> None:
            await self._api_answers()
            seconds = time.monotonic() - began
            self._report.ready("api", f"API ready at {self._api_url}", seconds, address=self._api_url)

        async def workers() -> None:
            await asyncio.gather(*(worker.ready.wait() for worker in self._workers))
            count = len(self._workers)
            text = f"{count} worker{'s' if count > 1 else ''} ready for {', '.join(self._plan.registry.names)}"
            if count:
                self._report.ready("workers", text, time.monotonic() - began, workers=count)

        async def both() -> None:
            await asyncio.gather(api(), workers())

        await self._unless_unstartable(both(), READY_WITHIN)
        if self._api is not None:
            self._api.ready.set()

    async def _api_answers(self) -> None:
        import httpx

        async with httpx.AsyncClient(base_url=self._api_url, trust_env=False, timeout=2.0) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.05)

    async def _unless_unstartable(self, awaited: Coroutine[Any, Any, None], within: timedelta | None = None) -> None:
        """Await something, unless a child turns out to be one that cannot start at all.

        Raises:
            BrokerUnavailableError: it took longer than ``within``.
        """
        task = asyncio.ensure_future(awaited)
        hopeless: list[asyncio.Future[Any]] = [child.unstartable for child in self._children]
        try:
            done, _ = await asyncio.wait(
                {task, *hopeless},
                timeout=within.total_seconds() if within else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task in done:
                return task.result()
        finally:
            task.cancel()
        for child in self._children:
            if child.unstartable.done():
                raise _UnstartableError(f"{child.name} cannot start: {child.unstartable.result()}")
        seconds = within.total_seconds() if within else 0
        raise BrokerUnavailableError(
            f"the API and the workers were not ready within {seconds:g} s; see the logs in {self._data_dir / 'logs'}"
        )

    def _tell_addresses(self, seconds: float) -> None:
        kafka = self._settings.bootstrap_servers
        pids: dict[str, int | None] = {child.name: child.pid for child in self._children}
        pids.update(self._broker.pids if self._broker else {})
        facts: dict[str, Any] = {
            "api": self._api_url,
            "dashboard": f"{self._api_url}/",
            "docs": f"{self._api_url}/docs",
            "kafka": kafka,
            "data_dir": str(self._data_dir),
            "logs": str(self._data_dir / "logs"),
            "mail": str(self._data_dir / "mail") if self._sink else None,
            "pids": pids,
            "seconds": round(seconds, 3),
        }
        lines = [
            f"Laneway is up ({seconds:.1f} s). Ctrl-C stops everything.",
            "",
            f"Dashboard  {facts['dashboard']}",
            f"API docs   {facts['docs']}",
            f"Kafka      {kafka}",
            f"Logs       {facts['logs']}",
            *([f"Mail       {facts['mail']}"] if self._sink else []),
        ]
        self._report.note("up", "\n  ".join(["", *lines, ""])[3:], **facts)

    # Running and stopping.

    async def _watch(self) -> None:
        """Keep everything running until cancelled; children see to themselves, the others are seen to here."""
        watching = [watch_over(self._fleet), *([self._broker.watch()] if self._broker else [])]
        await self._unless_unstartable(_together(watching))

    async def _stop(self) -> None:
        """Workers first, which hand back or finish what they run; the broker last, so that they still can."""
        drain = timedelta(seconds=self._settings.worker.drain_timeout + 5)
        await asyncio.gather(*(worker.stop(drain) for worker in self._workers))
        for worker in self._fleet:
            worker.close()
        if self._api is not None:
            await self._api.stop(API_STOPS_WITHIN)
        if self._sink is not None:
            await self._sink.stop(SINK_STOPS_WITHIN)
        if self._broker is not None:
            await self._broker.stop()
        self._report.note("stopped", "Stopped.")


async def _together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*jobs)
