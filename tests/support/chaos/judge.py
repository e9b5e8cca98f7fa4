"""The judge: holds the four ledgers against the invariants that docs/reliability.md promises."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Final

from schemas.status import FINAL_STATES, RANK, State
from tests.support.chaos.accepted import AcceptedLedger, Submission
from tests.support.chaos.faults import FaultLog
from tests.support.chaos.observer import RunKey, Seen, Told, source_of
from tests.support.chaos.offsets import Sample
from tests.support.chaos.runs import Run

DURABLE_WITHIN: Final = 0.1
"""Seconds from the broker's time-stamp on a record until it is certainly on every in-sync replica and told of."""
STANDSTILL: Final = 60.0
"""Healthy seconds that a partition with lag may stand still."""


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold, and where."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass
class Evidence:
    """What the judge is given."""

    accepted: AcceptedLedger
    runs: Sequence[Run]
    seen: Seen
    samples: Sequence[Sample]
    faults: FaultLog
    prefix: str
    judge_order: bool = True
    """Whether ordering keys are judged."""


@dataclass
class Verdict:
    """What the judge found."""

    counts: dict[str, int]
    violations: list[Violation] = field(default_factory=list)

    def of(self, invariant: str) -> list[Violation]:
        """The violations of one invariant."""
        return [violation for violation in self.violations if violation.invariant == invariant]

    def require_clean(self) -> None:
        """Raises AssertionError: something did not hold."""
        shown = "\n".join(map(str, self.violations[:20]))
        assert not self.violations, f"{len(self.violations)} violations, {self.counts}:\n{shown}"


def judge(evidence: Evidence) -> Verdict:
    """Hold everything against everything."""
    starts = _starts(evidence.runs)
    over = _over(evidence.seen)
    violations = [
        *_ends_once(evidence),
        *_nothing_unasked(evidence),
        *_no_second_start(evidence, starts, over),
        *_attempts(evidence, starts),
        *left_behind(evidence.seen),
        *_commits(evidence, over),
        *_progress(evidence),
    ]
    if evidence.judge_order:
        violations += _order(evidence)
    return Verdict(_counts(evidence, starts), violations)


def _starts(runs: Sequence[Run]) -> dict[tuple[str, int, int], list[Run]]:
    starts = defaultdict(list)
    for run in runs:
        if run.mark == "start":
            starts[run.task_id, run.generation, run.attempt].append(run)
    return {key: sorted(found, key=lambda run: run.at) for key, found in starts.items()}


def _over(seen: Seen) -> dict[str, list[tuple[tuple[int, int, int], float]]]:
    """By task: for each status that says a run is over, the run (generation, attempt, deferrals) and when."""
    return {
        task_id: [
            ((told.generation, told.attempt, told.deferrals), told.at)
            for told in statuses
            if RANK[told.state] >= RANK[State.RETRYING]
        ]
        for task_id, statuses in seen.statuses.items()
    }


def _ends_once(evidence: Evidence) -> Iterator[Violation]:
    """I1: every accepted task ends once, in a state that it may end in."""
    for task_id, submission in evidence.accepted.by_id.items():
        finals = _finals(evidence.seen.statuses.get(task_id, []))
        outcomes = _finals(evidence.seen.outcomes.get(task_id, []))
        if not finals:
            yield Violation("I1", f"{task_id} (submission {submission.number}) is lost: no final status")
        elif not outcomes:
            yield Violation("I1", f"{task_id} has a final status and no outcome")
        elif len(finals | outcomes) > 1:
            yield Violation("I1", f"{task_id} ends more than once: {sorted(finals)}, outcomes {sorted(outcomes)}")
        elif (state := next(iter(finals))[1]) not in submission.ends:
            yield Violation("I1", f"{task_id} ended {state}, not {' or '.join(submission.ends)}")


def _finals(told: Sequence[Told]) -> set[tuple[int, State]]:
    return {(one.generation, one.state) for one in told if one.state in FINAL_STATES}


def _nothing_unasked(evidence: Evidence) -> Iterator[Violation]:
    """I2: nothing runs that nobody asked for, and an idempotency key makes one task."""
    asked = len(evidence.accepted.submissions)
    ids: dict[int, set[str]] = defaultdict(set)
    for run in evidence.runs:
        ids[run.number].add(run.task_id)
        if not 0 <= run.number < asked:
            yield Violation("I2", f"{run.task_id} ran and nobody asked for it")
    for task_id, number in evidence.seen.numbers.items():
        ids[number].add(task_id)
    for submission in evidence.accepted.submissions:
        made = ids[submission.number] | set(submission.ids)
        if submission.idempotency_key is not None and len(made) > 1:
            yield Violation("I2", f"the key {submission.idempotency_key!r} made {len(made)} tasks: {sorted(made)}")


def _no_second_start(
    evidence: Evidence,
    starts: dict[tuple[str, int, int], list[Run]],
    over: dict[str, list[tuple[tuple[int, int, int], float]]],
) -> Iterator[Violation]:
    """I3: a run whose end is durable never starts again; one that is not starts again only after a death."""
    for (task_id, generation, attempt), found in starts.items():
        ended = min((at for run, at in over.get(task_id, []) if run[:2] >= (generation, attempt)), default=inf)
        for index, run in enumerate(found):
            if run.at > ended + DURABLE_WITHIN:
                yield Violation(
                    "I3", f"{task_id} attempt {attempt} started {run.at - ended:.2f} s after its end was durable"
                )
            elif index and not evidence.faults.excuses(found[index - 1].pids, found[index - 1].at, run.at):
                yield Violation(
                    "I3",
                    f"{task_id} attempt {attempt} started again after {run.at - found[index - 1].at:.2f} s, by process"
                    f" {run.pid}, though process {found[index - 1].pid}, which ran it, was not killed",
                )


def _attempts(evidence: Evidence, starts: dict[tuple[str, int, int], list[Run]]) -> Iterator[Violation]:
    """I4: attempts count up and stay within their bound."""
    first: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for (task_id, generation, attempt), found in starts.items():
        first[task_id, generation][attempt] = found[0].at
        submission = evidence.accepted.by_id.get(task_id)
        if submission is not None and attempt > submission.max_attempts:
            yield Violation("I4", f"{task_id} ran attempt {attempt} of {submission.max_attempts}")
    for (task_id, _), attempts in first.items():
        if any(attempts[a] > attempts[b] for a, b in pairwise(sorted(attempts))):
            yield Violation("I4", f"{task_id}: a later attempt started before an earlier one")


def left_behind(seen: Seen) -> Iterator[Violation]:
    """I5: the last status of a task in the compacted topic is final once one was."""
    for task_id, statuses in seen.statuses.items():
        if any(told.state in FINAL_STATES for told in statuses) and statuses[-1].state not in FINAL_STATES:
            yield Violation("I5", f"{task_id} left its final state: {[told.state.value for told in statuses]}")


def _commits(evidence: Evidence, over: dict[str, list[tuple[tuple[int, int, int], float]]]) -> Iterator[Violation]:
    """I6: no committed offset passes a record whose end is not durable, at any sample."""
    set_aside = {source: letter.at for letter in evidence.seen.dead_letters if (source := source_of(letter))}

    def done_at(lane: str, partition: int, offset: int, key: RunKey | None) -> float:
        if key is None:
            return set_aside.get((f"{evidence.prefix}tasks.{lane}", partition, offset), inf)
        return min((at for run, at in over.get(key[0], []) if run >= key[1:]), default=inf)

    offsets: dict[tuple[str, int], list[int]] = {}
    done: dict[tuple[str, int], list[float]] = {}
    for (lane, partition), records in evidence.seen.lanes.items():
        offsets[lane, partition] = sorted(records)
        latest, reached = -inf, []
        for offset in offsets[lane, partition]:
            latest = max(latest, done_at(lane, partition, offset, records[offset]))
            reached.append(latest)
        done[lane, partition] = reached
    told: set[tuple[str, int, int]] = set()
    for sample in evidence.samples:
        place = sample.lane, sample.partition
        passed = bisect_left(offsets.get(place, []), sample.committed)
        if passed and done[place][passed - 1] > sample.at and (*place, sample.committed) not in told:
            told.add((*place, sample.committed))
            yield Violation(
                "I6",
                f"{sample.lane}-{sample.partition}: {sample.committed} was committed over a record whose end was"
                f" durable {done[place][passed - 1] - sample.at:.2f} s later",
            )


def _progress(evidence: Evidence) -> Iterator[Violation]:
    """I7: no partition with lag stands still while nothing is wrong."""
    by_place: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in evidence.samples:
        by_place[sample.lane, sample.partition].append(sample)
    for (lane, partition), samples in by_place.items():
        since = None
        for sample in samples:
            stuck = sample.end > sample.committed and sample.stable
            if not stuck or (since is not None and sample.committed != since.committed):
                since = None
            if stuck and since is None:
                since = sample
            if since is not None and evidence.faults.healthy(since.at, sample.at) > STANDSTILL:
                yield Violation("I7", f"{lane}-{partition} stands at {sample.committed} of {sample.end}")
                break


def _order(evidence: Evidence) -> Iterator[Violation]:
    """I8: tasks of one ordering key run one at a time, in the order accepted."""
    keyed: dict[str, list[Submission]] = defaultdict(list)
    for submission in evidence.accepted.submissions:
        # An answer that never came leaves it open which of two came first in the log.
        if submission.ordering_key is not None and len(submission.ids) == 1:
            keyed[submission.ordering_key].append(submission)
    by_id: dict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        by_id[run.task_id].append(run)
    for key, submissions in keyed.items():
        for earlier, later in pairwise(submissions):
            before, after = by_id[earlier.ids[0]], by_id[later.ids[0]]
            if not before or not after:
                continue
            last, begun = max(before, key=lambda run: run.at), min(run.at for run in after)
            if begun < last.at and not _excused(evidence.faults, before, begun):
                yield Violation(
                    "I8",
                    f"key {key}: {later.ids[0]} started {last.at - begun:.3f} s before {earlier.ids[0]} was through",
                )


def _excused(faults: FaultLog, before: Sequence[Run], begun: float) -> bool:
    """Whether every run of the earlier task that reached beyond ``begun`` was one of a killed or frozen process."""
    return all(
        faults.excuses(run.pids, min(r.at for r in before), max(begun, run.at)) for run in before if run.at > begun
    )


def _counts(evidence: Evidence, starts: dict[tuple[str, int, int], list[Run]]) -> dict[str, int]:
    accepted = evidence.accepted
    statuses = evidence.seen.statuses
    return {
        "asked": len(accepted.submissions),
        "accepted": len(accepted.by_id),
        "finished": sum(bool(_finals(statuses.get(task_id, []))) for task_id in accepted.by_id),
        "starts": sum(map(len, starts.values())),
        "started_again": sum(len(found) - 1 for found in starts.values()),
        "retries": sum(attempt > 1 for _, _, attempt in starts),
        "repeated_outcomes": sum(len(told) - 1 for told in evidence.seen.outcomes.values()),
        "dead_letters": len(evidence.seen.dead_letters),
        "offset_samples": len(evidence.samples),
    }
