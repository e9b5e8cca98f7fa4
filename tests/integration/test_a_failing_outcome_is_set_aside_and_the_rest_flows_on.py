"""`consume`: what fails is tried again and set aside with why, the rest flows on, and no kill loses an outcome."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from consumers.aside import Aside
from consumers.groups import ResultGroups
from laneway import Reject, RetryPolicy, consume_async
from laneway.cli import main
from schemas import codec
from schemas.headers import DLQ_SOURCE, TRIES
from schemas.outcome import Outcome
from schemas.settings import Settings, environment_for
from schemas.topics import Topics, partition_of
from tests.support import consuming
from tests.support.kafka import read_all
from tests.support.sinks import TYPE, outcome, publish
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually


@pytest.mark.timeout(60)
async def test_the_rest_flows_on(
    settings: Settings,
    topics_applied: Callable[..., Topics],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment_for(settings).items():
        monkeypatch.setenv(name, value)
    topics = topics_applied(TYPE)
    group = f"{topics.prefix}ledger"
    published = [outcome(number) for number in range(80)]
    stubborn = published[0]
    place = partition_of(stubborn.id, settings.kafka.partitions)
    after = next(each for each in published[1:] if partition_of(each.id, settings.kafka.partitions) == place)
    wrong = published[-1]
    keyed = {each.id: replace(each, ordering_key="k") for each in (stubborn, after)}
    published = [keyed.get(each.id, each) for each in published]
    publish(settings, [*published, published[1]])  # a worker that crashed repeats a record

    handled: list[str] = []
    tries: Counter[str] = Counter()
    accepting = False
    free = {each.id for each in published} - set(keyed) - {wrong.id}

    async def handle(each: Outcome) -> None:
        tries[each.id] += 1
        # As long as anything has not flowed past it, and its own follower as well must not.
        if each.id == stubborn.id and not free <= set(handled):
            raise OSError("not yet")
        if each.id == wrong.id and not accepting:
            raise Reject("nobody's account")
        handled.append(each.id)

    stop = asyncio.Event()
    policy = RetryPolicy(max_attempts=10_000, first_delay=timedelta(milliseconds=30), factor=1.0)
    running = asyncio.create_task(
        consume_async(TYPE, handle, group=group, retry=policy, concurrency=3, settings=settings, stop=stop)
    )

    async def run(*arguments: str) -> dict[str, object]:
        assert await asyncio.to_thread(main, ["consumers", *arguments, "--json"]) == 0
        told: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])  # others log
        return told

    await eventually(lambda: len(handled) == 79, within=30, what="all but the rejected one handled")
    assert Counter(handled) == Counter(free | set(keyed))  # the repetition among them, once
    assert handled[-2:] == [stubborn.id, after.id]
    assert tries[stubborn.id] > 1

    (lying,) = await asyncio.to_thread(Aside(settings, TYPE, group).look)
    assert (lying.id, lying.reason, lying.tries, tries[wrong.id]) == (wrong.id, "rejected", 1, 1)
    assert lying.error is not None
    assert (lying.error.type, lying.error.message) == ("Reject", "nobody's account")
    assert (await run("aside", group, TYPE))["count"] == 1

    accepting = True
    assert await run("retry", group, TYPE, "--id", "another") == {"asked": 0}
    assert await run("retry", group, TYPE) == {"asked": 1}
    await eventually(lambda: wrong.id in handled, within=20, what="the rejected one handled again")
    assert (await run("aside", group, TYPE))["count"] == 0
    stop.set()
    await running
    (mine,) = [each for each in await asyncio.to_thread(ResultGroups(settings).look) if each.name == group]
    assert (mine.lag, mine.members) == (0, ())


@pytest.mark.long
@pytest.mark.timeout(90)
async def test_killed_in_the_middle(settings: Settings, topics_applied: Callable[..., Topics], tmp_path: Path) -> None:
    topics = topics_applied(TYPE)
    group = f"{topics.prefix}ledger"
    path, log = tmp_path / "numbers", tmp_path / "consuming.log"
    published = [outcome(number) for number in range(400)]
    publish(settings, published)

    def begun() -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.support.consuming", group, str(path)],
                cwd=ROOT,
                env={**environment_for(settings), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def numbers() -> list[int]:
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    first = begun()
    try:
        await eventually(lambda: len(numbers()) >= 100, within=30, what="a hundred outcomes")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    whole = {number for number in range(400) if not consuming.fails(number)}
    second = begun()
    try:
        group_of = ResultGroups(settings)

        def nothing_left() -> bool:
            return [each.lag for each in group_of.look() if each.name == group] == [0]

        await eventually(lambda: whole <= set(numbers()), within=40, what="every outcome")
        await eventually(nothing_left, within=20, what="a commit of everything")
        second.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(second.wait, 20) == 0, await asyncio.to_thread(log.read_text)
    finally:
        second.kill()
        second.wait(10)
    assert set(numbers()) == whole

    failing = {each.id: each for each in published if consuming.fails(int(each.labels["number"]))}
    aside = Aside(settings, TYPE, group)
    lying = await asyncio.to_thread(aside.look)
    assert {each.id for each in lying} == set(failing)
    assert {(each.reason, each.tries) for each in lying} == {("exhausted", consuming.TRIES)}
    for record in await asyncio.to_thread(read_all, settings.bootstrap_servers, aside.topic):
        assert record.key is not None
        assert record.value == codec.encode(failing[record.key.decode()])
        assert record.header(TRIES) == b"%d" % consuming.TRIES
        assert (record.header(DLQ_SOURCE) or b"").startswith(topics.results(TYPE).encode())
