"""A page does not wait for an answer that takes long, and many who look ask once."""

import asyncio

from ingest.dashboard.watch import Watch
from schemas.errors import UnavailableError


async def test_a_slow_answer_is_shown_to_the_next_one() -> None:
    go = asyncio.Event()
    asked = 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        await go.wait()
        return "answer"

    watch = Watch(ask, 60)
    both = await asyncio.gather(watch.latest(), watch.latest())
    assert not any(both)
    go.set()
    assert await watch.latest() == "answer"
    assert asked == 1
    watch.forget()
    await watch.latest()
    assert asked == 2


async def test_trouble_is_told_and_the_old_answer_kept() -> None:
    answers: list[str | UnavailableError] = ["one", UnavailableError("away"), "two"]

    async def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, UnavailableError):
            raise answer
        return answer

    watch = Watch(ask, 0)
    assert (await watch.latest(), watch.trouble) == ("one", None)
    assert (await watch.latest(), watch.trouble) == ("one", "away")
    assert (await watch.latest(), watch.trouble) == ("two", None)
