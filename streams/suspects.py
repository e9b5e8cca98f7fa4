"""Suspects: tasks that were running when their process crashed. One of them may have done it."""

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.settings import Settings
from schemas.suspect import Suspect
from streams.flight import Flight, flight_path

_DECODER = msgspec.json.Decoder(Suspect)
_LIST_DECODER = msgspec.json.Decoder(list[Suspect])


def read_suspect(data: bytes) -> Suspect | None:
    """A suspect from its record; ``None`` for bytes that are none."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError:
        return None


def suspects_of(flights: Iterable[Flight], *, how: str, from_within: bool, worker: str) -> list[Suspect]:
    """Who comes into question for a crash.

    A task that ran in a process of its own does not, since that process did not crash; it stays a suspect of the
    crashes before.
    """
    now = datetime.now(UTC)
    return [
        Suspect(
            id=flight.task_id,
            generation=flight.generation,
            type=flight.type,
            partition=flight.partition,
            crashes=flight.crashes + (0 if flight.alone else 1),
            how=how,
            from_within=from_within,
            at=now,
            worker=worker,
        )
        for flight in flights
        if flight.crashes or not flight.alone
    ]


class Suspects:
    """What a worker process knows of suspects. All methods belong to one thread.

    A task stays a suspect until it has ended, so that its next attempt runs alone, too.

    Args:
        max_crashes: after how many a task is given up; the last one has to be its own doing without doubt.
    """

    def __init__(self, max_crashes: int = 3) -> None:
        self._max_crashes = max_crashes
        self._known: dict[tuple[str, int], Suspect] = {}

    def add(self, suspects: Iterable[Suspect]) -> None:
        """Learn of them; of one that is known, the higher count counts."""
        for suspect in suspects:
            key = suspect.id, suspect.generation
            known = self._known.get(key)
            if known is None or known.crashes < suspect.crashes:
                self._known[key] = suspect

    def __iter__(self) -> Iterator[Suspect]:
        return iter(self._known.values())

    def find(self, task_id: str, generation: int) -> Suspect | None:
        """The suspect that this task is, if it is one."""
        return self._known.get((task_id, generation)) if self._known else None

    def must_run_alone(self, suspect: Suspect) -> bool:
        """Whether its next run has a process of its own: after a crash from within, else when one more is left."""
        return suspect.from_within or suspect.crashes >= self._max_crashes - 1

    def crashed(self, suspect: Suspect, how: str) -> Suspect:
        """It crashed its own process, alone in it: one crash more, and no doubt about this one."""
        latest = self._known.get((suspect.id, suspect.generation), suspect)
        latest = msgspec.structs.replace(
            latest, crashes=latest.crashes + 1, how=how, from_within=True, at=datetime.now(UTC)
        )
        self._known[latest.id, latest.generation] = latest
        return latest

    def ended(self, task_id: str, generation: int) -> Suspect | None:
        """The task has its final state; answers the suspect that it was, if it was one."""
        return self._known.pop((task_id, generation), None) if self._known else None


class SuspectsFile:
    """Suspects on their way from a crashed worker process, by its supervisor, to the one that follows it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Suspect]:
        """Those that nobody has taken over yet."""
        try:
            return _LIST_DECODER.decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return []

    def add(self, suspects: Iterable[Suspect]) -> None:
        """Add to them, for good: the file is replaced as a whole."""
        known = Suspects()
        known.add(self.read())
        known.add(suspects)
        unfinished = self._path.with_name(f"{self._path.name}.tmp")
        unfinished.write_bytes(msgspec.json.encode(list(known)))
        unfinished.replace(self._path)

    def clear(self) -> None:
        """They are in the topic `suspects`, where every worker finds them."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def suspects_file(settings: Settings) -> SuspectsFile | None:
    """Where this worker process finds whom its forerunner left; ``None`` for one that nobody supervises."""
    path = flight_path(settings)
    return SuspectsFile(path.with_suffix(".suspects")) if path is not None else None
