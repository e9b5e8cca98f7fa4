"""Outcomes in files: each batch one file, whole or not there."""

import base64
import fcntl
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from consumers.sinks.sink import Batch, Part, Refused, Row
from schemas.errors import SinkError, SinkFencedError, SinkUnavailableError

REMEMBERED: Final = 100_000
"""Outcomes of a partition by which a repetition is recognised; the newest files tell them after a restart."""
_TEMPORARY: Final = ".part"
# JSON stays text: DuckDB would write its numbers anew.
_PARQUET_COLUMNS: Final = (
    "{task_id: 'VARCHAR', generation: 'INTEGER', type: 'VARCHAR', priority: 'VARCHAR', state: 'VARCHAR',"
    " result: 'VARCHAR', error: 'VARCHAR', attempt: 'INTEGER', max_attempts: 'INTEGER',"
    " created_at: 'TIMESTAMPTZ', started_at: 'TIMESTAMPTZ', finished_at: 'TIMESTAMPTZ',"
    " labels: 'VARCHAR', ordering_key: 'VARCHAR', replay_id: 'VARCHAR', worker: 'VARCHAR',"
    " log_partition: 'INTEGER', log_offset: 'BIGINT'}"
)

Format = Literal["jsonl", "parquet"]
_Key = tuple[str, int]


class FileSink:
    """Writes each batch of a partition to a file named by the offsets that it covers.

    ``<topic>-<partition>-<first>-<last>.<format>`` is written under another name, synced and renamed, so the newest
    name is the position. An owner holds a lock on ``.<topic>-<partition>.lock``; the system frees it when its process
    ends, and until then nobody else writes. So the folder has to be on a file system of this machine.

    Args:
        folder: made where it is missing.
        format: ``jsonl`` or ``parquet``.
        topic: full name of the log.
    """

    most_rows = 50_000
    linger = 5.0

    def __init__(self, folder: Path, format: Format, topic: str) -> None:  # noqa: A002  (the word of files)
        self._folder = folder
        self._format: Format = format
        self._topic = topic
        self._locks: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._seen: dict[int, OrderedDict[_Key, None]] = {}

    def open(self) -> None:
        """Make the folder."""
        with _translated(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def claim(self, partition: int) -> int | None:
        """Take a partition over, once its lock is free, and remove what a crash has left of it."""
        self.open()
        with _translated(self._folder):
            self._lock(partition)
            for leftover in self._folder.glob(f".{self._stem(partition)}-*{_TEMPORARY}*"):
                leftover.unlink()
            files = self._files(partition)
            seen: OrderedDict[_Key, None] = OrderedDict()
            self._seen[partition] = seen
            for path, _, _ in reversed(files):
                for key in self._keys(path):
                    seen.setdefault(key)
                if len(seen) >= REMEMBERED:
                    break
        if not files:
            return None
        self._next[partition] = files[-1][2] + 1
        return self._next[partition]

    def write(self, batch: Batch) -> int:
        """Keep ``batch``, partition by partition: each is kept whole or not at all."""
        return sum(self._write_part(partition, part) for partition, part in batch.items())

    def release(self, partitions: Iterable[int]) -> None:
        """Let go of partitions and their locks."""
        for partition in partitions:
            lock = self._locks.pop(partition, None)
            self._next.pop(partition, None)
            self._seen.pop(partition, None)
            if lock is not None:
                os.close(lock)

    def close(self) -> None:
        """Let go of everything."""
        self.release(list(self._locks))

    def _lock(self, partition: int) -> None:
        if partition in self._locks:
            return
        descriptor = os.open(
            self._folder / f".{self._stem(partition)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise SinkUnavailableError(
                f"{self._folder}: another process still writes {self._topic}-{partition}; waiting for it to let go"
            ) from error
        self._locks[partition] = descriptor

    def _write_part(self, partition: int, part: Part) -> int:
        if partition not in self._locks:
            raise SinkFencedError(partition, f"{self._topic}-{partition} is not ours to write to {self._folder}")
        kept = self._next.get(partition, 0)
        new = part.since(kept)
        first = min((*(row.log_offset for row in new.rows), *(each.offset for each in new.refused)), default=None)
        if first is None:
            return 0
        seen = self._seen[partition]
        rows: list[Row] = []
        keys: OrderedDict[_Key, None] = OrderedDict()
        for row in new.rows:
            key = row.task_id, row.generation
            if key not in seen and key not in keys:
                keys[key] = None
                rows.append(row)
        name = f"{self._stem(partition)}-{first:020d}-{part.next_offset - 1:020d}"
        with _translated(self._folder):
            # Before the rows: a crash between the two repeats this file under its name.
            if new.refused:
                refused = self._folder / "refused"
                refused.mkdir(exist_ok=True)
                self._put(refused, f"{name}.jsonl", b"".join(map(_refused_line, new.refused)))
            # Also without a row: its name is the position.
            self._put(self._folder, f"{name}.{self._format}", b"".join(map(self._line, rows)))
        seen.update(keys)
        while len(seen) > REMEMBERED:
            seen.popitem(last=False)
        self._next[partition] = part.next_offset
        return len(rows)

    def _line(self, row: Row) -> bytes:
        return (row.to_json() if self._format == "jsonl" else msgspec.json.encode(row._asdict())) + b"\n"

    def _put(self, folder: Path, name: str, lines: bytes) -> None:
        temporary = folder / f".{name}{_TEMPORARY}"
        _write_synced(temporary, lines)
        if name.endswith(".parquet"):
            source, temporary = temporary, temporary.with_name(f"{temporary.name}.parquet")
            _to_parquet(source, temporary)
            source.unlink()
        temporary.rename(folder / name)
        _sync(folder)

    def _stem(self, partition: int) -> str:
        return f"{self._topic}-{partition}"

    def _files(self, partition: int) -> list[tuple[Path, int, int]]:
        """Files of a partition in the order of the log, with first and last offset."""
        pattern = re.compile(rf"{re.escape(self._stem(partition))}-(\d{{20}})-(\d{{20}})\.{self._format}")
        found = [(path, pattern.fullmatch(path.name)) for path in self._folder.iterdir()]
        return sorted(
            ((path, int(match[1]), int(match[2])) for path, match in found if match is not None),
            key=lambda each: each[1],
        )

    def _keys(self, path: Path) -> list[_Key]:
        if self._format == "parquet":
            import duckdb

            try:
                with duckdb.connect() as connection:
                    relation = connection.execute(
                        "SELECT task_id, generation FROM read_parquet(?) ORDER BY log_offset", [str(path)]
                    )
                    return [(str(task_id), int(generation)) for task_id, generation in relation.fetchall()]
            except duckdb.Error as error:
                raise SinkError(f"{path} is not a file of this sink: {error}") from error
        try:
            with path.open("rb") as lines:
                decoded = [_KEY.decode(line) for line in lines]
        except msgspec.DecodeError as error:
            raise SinkError(f"{path} is not a file of this sink: {error}") from error
        return [(each.task_id, each.generation) for each in decoded]


class _KeyOf(msgspec.Struct):
    task_id: str
    generation: int


_KEY: Final = msgspec.json.Decoder(_KeyOf)


def _to_parquet(source: Path, target: Path) -> None:
    import duckdb

    try:
        with duckdb.connect(config={"threads": 1, "memory_limit": "512MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                f"COPY (SELECT * FROM read_json(?, columns = {_PARQUET_COLUMNS}, format = 'newline_delimited',"  # noqa: S608
                " maximum_object_size = 67108864)) TO "
                f"{_text(str(target))} (FORMAT parquet, COMPRESSION zstd)",
                [str(source)],
            )
    except duckdb.IOException as error:
        raise SinkUnavailableError(f"{target}: {error}") from error
    except duckdb.Error as error:
        raise SinkError(f"{target}: {error}") from error
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused_line(refused: Refused) -> bytes:
    value = None if refused.value is None else base64.b64encode(refused.value).decode()
    return msgspec.json.encode({**refused._asdict(), "value": value}) + b"\n"


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise SinkError(f"{folder}: {error.strerror}") from error
    except OSError as error:  # full, or a disk that is away
        raise SinkUnavailableError(f"{folder}: {error.strerror or error}") from error
