"""Making a plan: reading everything that a selection is about, and counting."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ingest.replay.choosing import error_of
from ingest.replay.judging import UNDECODABLE, Judge, Judged
from ingest.replay.patching import diff
from ingest.replay.reading import PastRanges, PastReader
from ingest.replay.statuses import Statuses
from laneway.registry import Registry
from schemas.errors import UnavailableError
from schemas.replay import Replay, ReplayPlan, Sample, Source, SourceRange
from schemas.settings import Settings

_BATCH: Final = 2_000
_MOST_ERRORS: Final = 50
_SAMPLES: Final = 5
_SHOWN_PAYLOAD: Final = 4_000
_PACE: Final = 8_000.0
"""Tasks a second that an unthrottled run is reckoned with."""


class Planner:
    """Makes plans.

    Blocking: ``plan`` does, for as long as the reading takes; ``stop`` ends it.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have ``plan`` end soon."""
        self._stopping.set()

    def plan(self, replay: Replay) -> ReplayPlan:
        """What a job would do now. The view must have everything that the log has.

        Memory: the ids of one partition number at a time.

        Raises:
            BrokerUnavailableError: the past cannot be read.
            UnavailableError: the view cannot be asked, or ``stop`` was called.
            InvalidReplayError: the selection cannot be applied.
        """
        began = time.monotonic()
        statuses = Statuses(self._settings)
        try:
            judge = Judge(replay, self._registry, statuses)
            sources = PastRanges(self._settings).find(replay.select, replay.source)
            tally = _Tally(replay)
            numbers = sorted({each.partition for each in sources})
            for number in numbers:
                # A task lies in one number in every topic: so only the ids of one number have to be remembered.
                self._read(judge, tally, [each for each in sources if each.partition == number])
        finally:
            statuses.close()
        return tally.plan(sources, time.monotonic() - began)

    def _read(self, judge: Judge, tally: "_Tally", ranges: Iterable[SourceRange]) -> None:
        reader = PastReader(self._settings, ranges, "laneway-replay-plan")
        seen: set[str] = set()
        try:
            while not reader.over:
                if self._stopping.is_set():
                    raise UnavailableError("the plan was not finished: the process stops")
                for judged in judge.judge(reader.read(_BATCH, 0.05)):
                    if judged.past.task.id not in seen:
                        seen.add(judged.past.task.id)
                        tally.take(judged)
        finally:
            tally.records += reader.records
            tally.undecodable += reader.undecodable
            reader.close()


class _Tally:
    """Counts what is selected."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.records = 0
        self.undecodable = 0
        self._selected = 0
        self._types: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._passed_over: Counter[str] = Counter()
        self._samples: list[Sample] = []

    def take(self, judged: Judged) -> None:
        if judged.why_not is not None:
            self._passed_over[judged.why_not] += 1
            return
        self._selected += 1
        self._types[judged.past.task.type] += 1
        self._states[judged.state.value] += 1
        error = error_of(judged.past, judged.status, dead=self._replay.source is Source.DEAD_LETTERS)
        if error is not None and (error.type in self._errors or len(self._errors) < 20 * _MOST_ERRORS):
            self._errors[error.type] += 1
        if len(self._samples) < _SAMPLES:
            self._samples.append(self._sample(judged))

    def _sample(self, judged: Judged) -> Sample:
        task = judged.past.task
        before = msgspec.json.decode(task.payload)
        after = before if judged.payload is None else msgspec.json.decode(judged.payload)
        return Sample(
            id=task.id,
            type=task.type,
            priority=task.priority,
            position=judged.past.position,
            state=judged.state,
            generation=judged.generation,
            error=error_of(judged.past, judged.status, dead=self._replay.source is Source.DEAD_LETTERS),
            payload=before if len(bytes(task.payload)) <= _SHOWN_PAYLOAD else None,
            diff=diff(before, after),
        )

    def plan(self, sources: list[SourceRange], seconds: float) -> ReplayPlan:
        selected = min(self._selected, self._replay.max or self._selected)
        pace = min(self._replay.rate or _PACE, _PACE)
        if self.undecodable:
            self._passed_over[UNDECODABLE] += self.undecodable
        return ReplayPlan(
            sources=sources,
            records=self.records,
            selected=self._selected,
            types=dict(sorted(self._types.items())),
            states=dict(sorted(self._states.items())),
            errors=dict(self._errors.most_common(_MOST_ERRORS)),
            passed_over=dict(sorted(self._passed_over.items())),
            samples=self._samples,
            # Whatever the pace, everything has to be read once more.
            seconds=round(max(selected / pace, seconds), 1),
            planned_at=datetime.now(UTC),
            planned_in=round(seconds, 3),
        )
