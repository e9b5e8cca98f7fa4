"""What the topic ``replays`` says, as every API process and the one that runs replays read it. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas import codec
from schemas.errors import UndecodableRecordError
from schemas.replay import (
    ASKED,
    PLAN,
    RUN,
    Replay,
    ReplayAsked,
    ReplayCounts,
    ReplayPlan,
    ReplayRun,
    ReplayState,
    ReplayView,
    Wish,
)


@dataclass(slots=True)
class Job:
    """What is known of one replay."""

    id: str
    replay: Replay | None = None
    """``None`` where only remains of a deleted one are left."""
    asked: ReplayAsked | None = None
    plan: ReplayPlan | None = None
    run: ReplayRun | None = None

    @property
    def wish(self) -> Wish | None:
        """What is wanted of it; ``None``: a plan, and no more."""
        if self.asked is not None:
            return self.asked.wish
        return None if self.replay is None or self.replay.dry_run else Wish.RUN

    @property
    def state(self) -> ReplayState:
        """Where it is in its life.

        What nobody works on is paused or ended by the wish alone: whoever would begin reads the wish first.
        """
        told = self.run.state if self.run is not None else ReplayState.PLANNED
        if told.final or told is ReplayState.RUNNING:
            return told
        if self.wish is Wish.ABORT:
            return ReplayState.ABORTED
        return ReplayState.PAUSED if self.wish is Wish.PAUSE else told

    @property
    def open(self) -> bool:
        """Whether there is something to do for it."""
        if self.replay is None or self.state.final:
            return False
        return self.wish is Wish.RUN or (self.plan is None and self.wish is None) or self.state is ReplayState.RUNNING

    @property
    def to_plan(self) -> bool:
        """Whether a plan is what it needs next."""
        return self.open and self.plan is None

    @property
    def to_run(self) -> bool:
        """Whether its plan is to be run, or it is to be told that it rests."""
        return self.open and self.plan is not None

    def view(self, waits_for: str | None = None) -> ReplayView | None:
        """As the API tells it; ``None`` without what was asked for."""
        replay, plan, run, state = self.replay, self.plan, self.run, self.state
        if replay is None:
            return None
        planned = None if plan is None else sum(each.end - each.first for each in plan.sources)
        records = run.records if run is not None else 0
        percent = left = None
        if plan is not None and run is not None and planned is not None:
            percent = 100.0 if state is ReplayState.DONE or not planned else round(100 * records / planned, 1)
            if state is ReplayState.RUNNING and run.seconds > 0 and (pace := records / run.seconds) > 0:
                left = round(max(0.0, (planned - records) / pace), 1)
        return ReplayView(
            id=replay.id,
            state=state,
            reason=self._reason(waits_for),
            counts=ReplayCounts(
                selected=None if plan is None else min(plan.selected, replay.max or plan.selected),
                replayed=run.replayed if run is not None else 0,
                passed_over=run.passed_over if run is not None else {},
                records=records,
                records_planned=planned,
            ),
            percent=percent,
            seconds_left=left,
            dry_run=replay.dry_run,
            select=replay.select,
            source=replay.source,
            rate=replay.rate,
            max=replay.max,
            priority=replay.priority,
            patch=replay.patch,
            transform=replay.transform,
            canary=replay.canary,
            shadow=replay.shadow,
            created_at=replay.created_at,
            started_at=run.started_at if run is not None else None,
            finished_at=run.finished_at if run is not None else None,
            plan=plan,
        )

    def _reason(self, waits_for: str | None) -> str | None:
        if self.run is not None and self.run.reason is not None:
            return self.run.reason
        if self.state is not ReplayState.PLANNED:
            return None
        if self.plan is None:
            return "its plan is being made"
        if self.wish is None:
            return "its plan is made; run it, or leave it"
        return f"waits for replay {waits_for}" if waits_for else "about to begin"


class ReplayBook:
    """All jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        """Oldest first: ids are in the order of their making."""
        return iter([self.jobs[each] for each in sorted(self.jobs)])

    def apply(self, key: bytes | None, value: bytes | None) -> Job:
        """Take a record of the topic; answers the job that it is about.

        Raises:
            UndecodableRecordError: it is none of ours.
        """
        try:
            replay_id, _, part = (key or b"").decode().partition("/")
        except UnicodeDecodeError as error:
            raise UndecodableRecordError(f"no key of a replay: {error}") from error
        if not replay_id or part not in ("", ASKED, PLAN, RUN):
            raise UndecodableRecordError(f"no key of a replay: {key!r}")
        job = self.jobs.setdefault(replay_id, Job(replay_id))
        if part == ASKED:
            asked = None if value is None else codec.decode(value, ReplayAsked)
            # Nothing comes after an abort: another API process may not have known of it.
            if job.asked is None or job.asked.wish is not Wish.ABORT:
                job.asked = asked
        elif part == PLAN:
            job.plan = None if value is None else codec.decode(value, ReplayPlan)
        elif part == RUN:
            job.run = None if value is None else codec.decode(value, ReplayRun)
        else:
            job.replay = None if value is None else codec.decode(value, Replay)
        return job

    @property
    def current(self) -> Job | None:
        """The job that is run now, or next: one that has begun goes before those that wait."""
        waiting = [job for job in self if job.to_run]
        begun = [job for job in waiting if job.run is not None and job.run.state is ReplayState.RUNNING]
        return next(iter(begun or waiting), None)

    def told(self, job: Job) -> ReplayView | None:
        """A job as the API tells it, with what it waits for."""
        current = self.current
        return job.view(current.id if current is not None and current is not job else None)
