"""A live part is rendered once for everybody who looks."""

import asyncio

import pytest

from ingest.dashboard.live import Fragments


async def test_many_who_look_at_once_cause_one_rendering() -> None:
    fragments = Fragments(60)
    rendered = 0
    go = asyncio.Event()

    async def render() -> str:
        nonlocal rendered
        rendered += 1
        await go.wait()
        return "part"

    looking = [asyncio.create_task(fragments.get("lanes", render)) for _ in range(100)]
    await asyncio.sleep(0)
    looking[0].cancel()
    go.set()
    found = await asyncio.gather(*looking[1:])
    assert rendered == 1
    assert {each.body for each in found} == {b"part"}


async def test_an_old_part_is_rendered_again_and_has_the_same_tag_if_it_is_the_same() -> None:
    fragments = Fragments(0)
    texts = iter(["a", "a", "b"])

    async def render() -> str:
        return next(texts)

    tags = [(await fragments.get("x", render)).etag for _ in range(3)]
    assert tags[0] == tags[1] != tags[2]


async def test_a_failure_is_not_kept() -> None:
    fragments = Fragments(60)

    async def fail() -> str:
        raise ValueError("no")

    async def render() -> str:
        return "yes"

    with pytest.raises(ValueError, match="no"):
        await fragments.get("x", fail)
    assert (await fragments.get("x", render)).body == b"yes"


async def test_no_more_than_a_bound_is_kept() -> None:
    fragments = Fragments(60)

    async def render() -> str:
        return "x"

    for number in range(1000):
        await fragments.get(str(number), render)
    assert len(fragments._kept) <= 256
