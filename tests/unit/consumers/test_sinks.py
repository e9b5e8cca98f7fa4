"""What every sink that needs no server promises, and how addresses are read."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from consumers.sinks.address import fingerprint, open_sink, redacted
from consumers.sinks.sink import Part, Sink
from schemas import codec
from schemas.errors import ConfigurationError, SinkFencedError, SinkUnavailableError
from tests.support.sinks import TYPE, outcome

TOPIC = f"laneway.results.{TYPE}"
Open = Callable[[], Sink]
KINDS = ("sqlite", "jsonl", "parquet")


def part(*ids: str, first: int = 0, generation: int = 1) -> Part:
    made = Part()
    for offset, task_id in enumerate(ids, first):
        made.add(0, offset, codec.encode(outcome(offset, task_id=task_id, generation=generation)))
    return made


def address(kind: str, folder: Path) -> str:
    return f"sqlite:///{folder}/results.db" if kind == "sqlite" else f"{kind}:{folder}/results"


def kept(kind: str, folder: Path) -> list[tuple[str, int]]:
    """What a foreign reader finds."""
    if kind == "sqlite":
        with closing(sqlite3.connect(folder / "results.db")) as connection:
            return connection.execute("SELECT task_id, generation FROM results ORDER BY log_offset").fetchall()
    with duckdb.connect() as connection:
        read = "read_parquet" if kind == "parquet" else "read_json"
        found = connection.execute(
            f"SELECT task_id, generation FROM {read}(?) WHERE task_id IS NOT NULL ORDER BY log_offset",
            [f"{folder}/results/*.{kind}"],
        )
        return found.fetchall()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Open:
    return lambda: open_sink(address(kind, tmp_path), table="results", topic=TOPIC)


def test_a_batch_whose_fate_is_unknown_can_be_repeated(kind: str, opened: Open, tmp_path: Path) -> None:
    sink = opened()
    assert sink.claim(0) is None
    assert sink.write({0: part("a", "b")}) == 2
    assert sink.write({0: part("a", "b", "c")}) == 1
    sink.close()
    assert kept(kind, tmp_path) == [("a", 1), ("b", 1), ("c", 1)]


def test_the_next_owner_goes_on_where_the_rows_end(kind: str, opened: Open, tmp_path: Path) -> None:
    first = opened()
    first.claim(0)
    first.write({0: part("a", "b", first=7)})
    first.close()
    second = opened()
    assert second.claim(0) == 9
    assert second.claim(1) is None
    # A repetition in the log, as a crash of a worker leaves it, and another generation of a task that is there.
    second.write({0: part("b", first=9)})
    second.write({0: part("a", first=10, generation=2)})
    second.close()
    assert sorted(kept(kind, tmp_path)) == [("a", 1), ("a", 2), ("b", 1)]
    third = opened()
    assert third.claim(0) == 11
    third.close()


def test_an_earlier_owner_writes_nothing_more(kind: str, opened: Open, tmp_path: Path) -> None:
    frozen, newer = opened(), opened()
    frozen.claim(0)
    frozen.write({0: part("a")})
    if kind == "sqlite":
        assert newer.claim(0) == 1
        with pytest.raises(SinkFencedError):
            frozen.write({0: part("stale", first=1)})
    else:
        # Nobody else gets in while it holds the files' lock.
        with pytest.raises(SinkUnavailableError, match="another process"):
            newer.claim(0)
        frozen.release([0])
        assert newer.claim(0) == 1
        with pytest.raises(SinkFencedError):
            frozen.write({0: part("stale", first=1)})
    newer.write({0: part("b", first=1)})
    frozen.close()
    newer.close()
    assert kept(kind, tmp_path) == [("a", 1), ("b", 1)]


def test_what_is_no_outcome_is_kept_beside_the_rows(kind: str, opened: Open, tmp_path: Path) -> None:
    sink = opened()
    sink.claim(0)
    mixed = part("a")
    mixed.add(0, 1, b"\xffno outcome")
    assert sink.write({0: mixed}) == 1
    only = Part()
    only.add(0, 2, None)
    assert sink.write({0: only}) == 0
    sink.close()
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
            found = connection.execute('SELECT "offset", value FROM results_refused ORDER BY "offset"').fetchall()
        assert found == [(1, b"\xffno outcome"), (2, None)]
    else:
        files = sorted((tmp_path / "results" / "refused").iterdir())
        lines = [line for path in files for line in path.read_bytes().splitlines()]
        assert [json.loads(line)["value"] for line in lines] == ["/25vIG91dGNvbWU=", None]
    again = opened()
    assert again.claim(0) == 3
    again.close()
    assert kept(kind, tmp_path) == [("a", 1)]


def test_what_a_crash_left_of_a_file_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    leftover = folder / f".{TOPIC}-0-{0:020d}-{4:020d}.jsonl.part"
    leftover.write_bytes(b'{"task_id": "ha')
    sink = open_sink(f"jsonl:{folder}", table="", topic=TOPIC)
    assert sink.claim(0) is None
    assert not leftover.exists()
    sink.close()


def test_results_are_kept_to_the_byte(kind: str, opened: Open, tmp_path: Path) -> None:
    text = rb'{"n":1e400,"zero":"\u0000","big":12345678901234567890.10}'
    sink = opened()
    sink.claim(0)
    one = Part()
    one.add(0, 0, codec.encode(outcome(task_id="a", result=text)))
    sink.write({0: one})
    sink.close()
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
            (found,) = connection.execute("SELECT result FROM results").fetchone()
    elif kind == "jsonl":
        (path,) = (tmp_path / "results").glob("*.jsonl")
        assert text in path.read_bytes()
        return
    else:
        with duckdb.connect() as connection:
            answer = connection.execute("SELECT result FROM read_parquet(?)", [f"{tmp_path}/results/*.parquet"])
            ((found,),) = answer.fetchall()
    assert found.encode() == text


def test_a_table_may_have_any_name(tmp_path: Path) -> None:
    name = 'odd"; DROP TABLE x; --'
    sink = open_sink(f"sqlite:///{tmp_path}/a.db", table=name, topic=TOPIC)
    sink.claim(0)
    sink.write({0: part("a")})
    sink.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        names = {found for (found,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {name, f"{name}_positions", f"{name}_refused"}


@pytest.mark.parametrize(
    "wrong", ["", "mysql://host/db", "sqlite:relative.db", "sqlite:///", "jsonl:", "parquet:", "postgresql:db"]
)
def test_an_address_of_no_kind_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="--sink"):
        open_sink(wrong, table="results", topic=TOPIC)


@pytest.mark.parametrize("wrong", ["", "a" * 54, ".a", "a.", "nul\0"])
def test_a_table_that_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="--table"):
        open_sink("postgresql://localhost/db", table=wrong, topic=TOPIC)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://ada:s3cret@db:5432/x?sslmode=require", "postgresql://ada:***@db:5432/x?sslmode=require"),
        ("postgresql://db/x?user=ada&password=s3cret", "postgresql://db/x?user=ada&password=***"),
        ("postgresql://ada:p@s3cret@db/x", "postgresql://ada:***@db/x"),
        ("postgresql://ada@db/x", "postgresql://ada@db/x"),
        ("mysql://ada:s3cret@[db/x", "mysql:…"),
        ("jsonl:folder", "jsonl:folder"),
    ],
)
def test_a_password_is_never_shown(given: str, shown: str) -> None:
    assert redacted(given) == shown


def test_a_sink_is_the_same_whatever_password_leads_to_it() -> None:
    old = fingerprint("postgresql://ada:old@db/x", "t")
    assert old == fingerprint("postgresql://ada:new@db/x", "t")
    assert old != fingerprint("postgresql://ada:old@db/x", "u")
