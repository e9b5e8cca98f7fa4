"""`laneway consumers`: a group is seen with its lag, refused while it is live, and reads where it was moved to."""

import asyncio
import json
from collections.abc import Callable

import pytest

from consumers.results import results
from laneway.cli import main
from schemas.settings import Settings, environment_for
from schemas.topics import Topics
from tests.support.sinks import TYPE, outcome, publish


@pytest.mark.long
@pytest.mark.timeout(45)
async def test_a_group_is_moved_only_while_nobody_is_in_it(
    settings: Settings,
    topics_applied: Callable[..., Topics],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment_for(settings).items():
        monkeypatch.setenv(name, value)
    topics = topics_applied(TYPE)
    group = f"{topics.prefix}ledger"
    published = [outcome(number) for number in range(40)]
    ids = {each.id for each in published}
    publish(settings, published)

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, ["consumers", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    async def read() -> set[str]:
        async with results(TYPE, group=group, settings=settings, follow=False) as outcomes:
            return {each.id async for each in outcomes}

    reading = results(TYPE, group=group, settings=settings)
    async with reading as outcomes:
        seen = 0
        async for _ in outcomes:
            seen += 1
            if seen == len(published):
                break
        _, listed, _ = await run("list", "--json")
        (mine,) = [each for each in json.loads(listed)["groups"] if each["group"] == group]
        assert (mine["type"], len(mine["members"])) == (TYPE, 1)
        for more in ((), ("--apply",)):
            code, out, error = await run("reset", group, TYPE, "--to", "earliest", *more)
            assert (code, out) == (1, "")
            assert f"group {group} is live" in error

    assert await read() == set()
    code, out, _ = await run("reset", group, TYPE, "--to", "earliest", "--json")
    moves = json.loads(out)["moves"]
    assert code == 0
    assert sum(move["old"] or 0 for move in moves) == len(published)
    assert {move["new"] for move in moves} == {0}
    assert await read() == set()  # the dry run moved nothing

    code, _, _ = await run("reset", group, TYPE, "--to", "earliest", "--apply")
    assert code == 0
    _, listed, _ = await run("list", "--json")
    (mine,) = [each for each in json.loads(listed)["groups"] if each["group"] == group]
    assert (mine["state"], mine["lag"], mine["members"]) == ("Empty", len(published), [])
    assert await read() == ids

    code, _, error = await run("reset", group, TYPE, "--to", "1000000", "--apply")
    assert code == 1
    assert "has no offset 1000000" in error
    code, out, _ = await run("reset", group, TYPE, "--to", "1h", "--json")
    assert code == 0
    assert {move["new"] for move in json.loads(out)["moves"]} == {0}
