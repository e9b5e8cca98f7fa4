"""The process that fills a sink is killed again and again: each outcome is there once."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest

from schemas.settings import Settings
from tests.support.kafka import apply_topics
from tests.support.postgres import running_postgres
from tests.support.sinks import TYPE, kill_while_pouring


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_in_postgresql(settings: Settings, tmp_path: Path) -> None:
    await _in_postgresql(settings, tmp_path, total=5_000, kills=3, seed=11)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_in_postgresql_50_000_through_ten_kills(settings: Settings, tmp_path: Path) -> None:
    await _in_postgresql(settings, tmp_path, total=50_000, kills=10, seed=12)


@pytest.mark.timeout(120)
async def test_in_sqlite(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.db"

    def written() -> int:
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'laneway_results'").fetchone():
                return 0
            return int(connection.execute("SELECT count(*) FROM laneway_results").fetchone()[0])

    apply_topics(settings, [TYPE])
    expected = await kill_while_pouring(
        settings, tmp_path / "log", f"sqlite:///{path}", written, total=1_500, kills=2, seed=13, new_groups=True
    )
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT task_id FROM laneway_results").fetchall()
    assert Counter(task_id for (task_id,) in found) == Counter(expected)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_in_json_lines(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "lines"
    apply_topics(settings, [TYPE])

    def ids() -> list[str]:
        files = folder.glob("*.jsonl")
        return [json.loads(line)["task_id"] for path in files for line in path.read_bytes().splitlines()]

    expected = await kill_while_pouring(
        settings,
        tmp_path / "log",
        f"jsonl:{folder}",
        lambda: len(ids()),
        total=1_500,
        kills=2,
        seed=14,
        new_groups=True,
    )
    assert Counter(ids()) == Counter(expected)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_in_parquet(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "parquet"
    apply_topics(settings, [TYPE])

    def ids() -> list[str]:
        if not any(folder.glob("*.parquet")):
            return []
        with duckdb.connect() as connection:
            found = connection.execute("SELECT task_id FROM read_parquet(?)", [f"{folder}/*.parquet"]).fetchall()
        return [task_id for (task_id,) in found]

    expected = await kill_while_pouring(
        settings,
        tmp_path / "log",
        f"parquet:{folder}",
        lambda: len(ids()),
        total=1_500,
        kills=2,
        seed=15,
        new_groups=True,
    )
    assert Counter(ids()) == Counter(expected)


async def _in_postgresql(settings: Settings, tmp_path: Path, *, total: int, kills: int, seed: int) -> None:
    apply_topics(settings, [TYPE])
    with running_postgres() as url, psycopg.connect(url, autocommit=True) as connection:

        def written() -> int:
            there = connection.execute("SELECT to_regclass('laneway_results')").fetchone()
            if there is None or there[0] is None:
                return 0
            found = connection.execute("SELECT count(*) FROM laneway_results").fetchone()
            return int(found[0]) if found else 0

        expected = await kill_while_pouring(
            settings, tmp_path / "log", url, written, total=total, kills=kills, seed=seed, new_groups=False
        )
        found = connection.execute("SELECT task_id FROM laneway_results").fetchall()
        assert Counter(task_id for (task_id,) in found) == Counter(expected)
        ends = connection.execute("SELECT sum(next_offset) FROM laneway_results_positions").fetchone()
        assert ends is not None
        assert ends[0] == total
