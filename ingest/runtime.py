"""The parts of a running API and their order of start and stop."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from ingest.admission import Admission
from ingest.audit import Audit
from ingest.control import ControlDesk
from ingest.due_changes import DueDesk
from ingest.intake import Intake
from ingest.lookup import Lookup
from ingest.past_results import PastResults
from ingest.payloads import Payloads
from ingest.recent import RecentTasks
from ingest.replay.comparisons import Comparisons
from ingest.replay.dead import DeadLetters
from ingest.replay.desk import Replays
from ingest.schedules import Schedules
from ingest.timeline import Timelines
from ingest.traced import TracedLog
from ingest.view.owner import ViewOwner
from ingest.view.reader import ViewReader
from ingest.why import Explainer
from ingest.workers import Workers
from laneway import tracing
from laneway.files import FileStore
from laneway.kafka.admin import TopicAdmin
from laneway.kafka.log import Log, open_log
from laneway.measures import Histogram, measure_delay
from laneway.registry import Registry
from schemas import metrics
from schemas.errors import BrokerUnavailableError, ConfigurationError, UnavailableError
from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics, TopicSpec

log = structlog.get_logger(__name__)

_FIRST_BACKOFF: Final = 0.25
_LONGEST_BACKOFF: Final = 3.0


class Runtime:
    """One API process.

    It starts without a broker, answers 503 until there is one, and goes on by itself.

    Raises:
        ConfigurationError: no cluster is set.
    """

    intake: Intake
    lookup: Lookup
    control: ControlDesk
    due: DueDesk
    explainer: Explainer
    view: ViewReader
    owner: ViewOwner
    schedules: Schedules
    timelines: Timelines
    payloads: Payloads
    audit: Audit
    replays: Replays
    comparisons: Comparisons
    past_results: PastResults
    workers: Workers
    _log: Log
    _verifying: "asyncio.Task[None]"
    _measuring: "asyncio.Task[None]"

    def __init__(self, settings: Settings, registry: Registry, imports: tuple[str, ...] = ()) -> None:
        _ = settings.bootstrap_servers
        self.settings = settings
        self.registry = registry
        self.imports = imports
        self.admission = Admission(settings, registry)
        self.files = FileStore(settings.files_dir)
        self.dead_letters = DeadLetters(settings)
        self.topics_verified = False
        self.fatal: ConfigurationError | None = None
        """Why the process cannot go on, once it is known."""
        self.on_fatal: Callable[[], None] = lambda: None
        self.delay = Histogram(metrics.API_DELAY)
        """How late the process's loop is."""

    async def start(self) -> None:
        """Bring the parts up; none of them waits for the broker."""
        recent = RecentTasks()
        self.view = ViewReader(self.settings)
        self.owner = ViewOwner(self.settings)
        self._log = open_log(self.settings, "laneway-api", delivery_timeout=self.settings.api.accept_timeout)
        if tracing.tracer is not None:
            self._log = TracedLog(self._log, tracing.tracer)
        self._log.expect(spec.name for spec in self._specs())
        self.intake = Intake(self.admission, self._log, self.view, recent, self.settings.api.accept_timeout)
        self.lookup = Lookup(self.view, recent)
        self.timelines = Timelines(self.settings, self.lookup)
        self.payloads = Payloads(self.settings)
        self.past_results = PastResults(self.settings)
        self.control = ControlDesk(self.settings, self._log, self.view, self.lookup)
        self.control.start()
        self.due = DueDesk(self.settings, self.control, self.lookup, self.payloads)
        self.explainer = Explainer(self.settings, self.lookup, self.control, self.view)
        self.schedules = Schedules(self.settings, self.admission, self._log)
        self.schedules.start()
        self.workers = Workers(self.settings)
        self.workers.start()
        self.audit = Audit(self.settings, self._log)
        self.replays = Replays(self.settings, self.registry, self._log, self.imports)
        self.replays.start(self.owner.holds)
        self.comparisons = Comparisons(self.settings, self.replays)
        await self.view.start()
        await self.owner.start()
        self._verifying = asyncio.create_task(self._verify())
        self._measuring = asyncio.create_task(measure_delay(self.delay))

    async def stop(self) -> None:
        """Take them down; what was sent is answered first."""
        background = (self._verifying, self._measuring)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self.timelines.close()
        self.payloads.close()
        self.past_results.close()
        self.comparisons.close()
        await self.control.close()
        await self._log.close()
        await self.schedules.close()
        await self.workers.close()
        await self.replays.close()
        await self.view.close()
        await self.owner.close()

    def release(self) -> None:
        """Answer whoever waits for a task with what there is: the process is about to stop."""
        if hasattr(self, "view"):
            self.view.release()
            self.timelines.release()

    @property
    def lanes(self) -> list[Lane]:
        """Every lane that there is: those of callbacks only where callbacks are on."""
        own = self.registry.own if self.settings.callbacks.secrets is not None else []
        return [Lane(name, priority) for name in (*self.registry.names, *own) for priority in Priority]

    @property
    def producer_errors(self) -> int:
        """Appends that were refused or not acknowledged in time."""
        return self._log.failures

    async def checks(self, within: float | None = None) -> dict[str, str | None]:
        """What readiness consists of, each with what fails, or ``None``.

        Args:
            within: seconds that the broker has to answer.
        """
        broker: str | None = None
        try:
            await asyncio.wait_for(self.view.ends(), within)
        except UnavailableError as error:
            broker = error.detail
        except TimeoutError:
            broker = "no answer in time"
        behind = self.view.behind()
        return {
            "broker": broker,
            "topics": None if self.topics_verified else "not verified yet",
            "schedules": None if self.schedules.known else "not read yet",
            "replays": None if self.replays.known else "not read yet",
            "view": None if behind == 0 else "not started" if behind is None else f"{behind} records behind",
        }

    async def _verify(self) -> None:
        """Hold the cluster against what this process needs, as soon as the broker answers."""
        specs = self._specs()
        admin = TopicAdmin(self.settings)
        backoff = _FIRST_BACKOFF
        while True:
            try:
                await asyncio.to_thread(admin.verify, specs)
                self.topics_verified = True
                self.view.target = await self.view.ends()
            except (BrokerUnavailableError, UnavailableError) as error:
                log.warning("the broker does not answer; trying again", reason=str(error), after_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)
            except ConfigurationError as error:
                log.error("the topics are not what this process needs", reason=str(error))
                self.fatal = error
                self.on_fatal()
                return
            else:
                log.info("topics verified", topics=len(specs))
                return

    def _specs(self) -> list[TopicSpec]:
        return Topics(self.settings.kafka.topic_prefix).specs(
            self.registry.names,
            partitions=self.settings.kafka.partitions,
            replication_factor=self.settings.kafka.replication_factor,
        )
