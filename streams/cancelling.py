"""Which tasks are called off, as far as a worker knows; it knows all that the log tells."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.control import Cancellation, Cancelled
from schemas.task import Lane, Task
from streams.runs import Runs
from streams.work import Work


@dataclass(frozen=True)
class CalledOff:
    """A cancellation and the partition of its task."""

    asked: Cancellation
    number: int


class Cancellations:
    """Tasks that must not start any more. All methods belong to the worker's loop.

    Bounded by the log: a cancellation leaves it once it is carried out.

    Args:
        carried_out: gets each one whose task has ended here, durably, with what it was cancelled as; ``None`` for a
            task that had ended by itself.
    """

    def __init__(self, carried_out: Callable[[CalledOff, Cancelled | None], None]) -> None:
        self._carried_out = carried_out
        self._known: dict[str, CalledOff] = {}
        self._unanswered: dict[str, CalledOff] = {}
        self._news: dict[str, CalledOff] = {}
        """Since the last look; whoever answered, what is here has to hear of it once."""

    def learn(self, task_id: str, called_off: CalledOff | None) -> None:
        """What the log says of a task; ``None``: nothing any more."""
        self._unanswered.pop(task_id, None)
        if called_off is None:
            self._known.pop(task_id, None)
            return
        self._known[task_id] = self._news[task_id] = called_off
        if not called_off.asked.answered:
            self._unanswered[task_id] = called_off

    def carry_out(
        self,
        in_flight: Callable[[], Iterable[Work]],
        runs: Runs,
        speaks_for: Callable[[Lane, int], bool],
        busy: Callable[[str], bool] = lambda _: False,
    ) -> list[tuple[CalledOff, Cancelled | None]]:
        """Cancel what is here of the tasks that no worker has answered for yet, or that another has answered for.

        Args:
            in_flight: what waits here for its time or a slot, runs, or is on its way to the broker.
            runs: of the worker.
            speaks_for: whether no other worker can start anything of a partition.
            busy: whether the status of a task is about to change: then it is answered a little later.

        Returns:
            Those that can be answered now, with what was done; ``None`` where the task's partition is ours and the task
            is in it at most as a record that has not come up. Of the others their end will tell, or another worker.
        """
        if not self._unanswered and not self._news:
            return []
        asked, self._news = {**self._news, **self._unanswered}, {}
        here: dict[str, list[Work]] = {}
        for work in tuple(in_flight()):
            called_off = asked.get(work.task.id)
            if called_off is not None and work.task.generation <= called_off.asked.generation:
                here.setdefault(work.task.id, []).append(work)
        answers: list[tuple[CalledOff, Cancelled | None]] = []
        for works in here.values():
            for work in works:
                if work.attempt is not None:
                    runs.call_off(work)
                elif work.started_at is None and not work.ended:
                    runs.withdraw(work)
        for task_id, called_off in self._unanswered.items():
            works = here.get(task_id, [])
            if any(work.attempt is not None and work.attempt.begun for work in works):
                answers.append((called_off, Cancelled.WHILE_RUNNING))
            elif not works and not busy(task_id) and speaks_for(called_off.asked.lane, called_off.number):
                answers.append((called_off, None))
        return answers

    def answered(self, called_off: CalledOff, *, certain: bool = True) -> None:
        """It is being answered; or, when that failed, is not after all."""
        if certain:
            self._unanswered.pop(called_off.asked.id, None)
        elif called_off.asked.id in self._known:
            self._unanswered[called_off.asked.id] = called_off

    def stop(self, work: Work) -> bool:
        """Whether a work that has come up must not start, because its task was cancelled before."""
        asked = self._asked(work.task.id, work.task.generation)
        work.called_off_at = asked.at if asked is not None else None
        return asked is not None

    def holds(self, task_id: str, generation: int) -> bool:
        """Whether a generation of a task is called off."""
        return self._asked(task_id, generation) is not None

    def _asked(self, task_id: str, generation: int) -> Cancellation | None:
        known = self._known.get(task_id)
        return known.asked if known is not None and generation <= known.asked.generation else None

    def ended(self, task: Task, outcome: Cancelled | None) -> None:
        """A task has its final state, durably.

        The end of an earlier generation, whose record came up once more, carries out nothing: the one that was meant
        may be still to come.
        """
        known = self._known.get(task.id)
        if known is not None and task.generation == known.asked.generation:
            self._unanswered.pop(task.id, None)
            self._carried_out(known, outcome)
