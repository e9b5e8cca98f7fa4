"""The numbers of the overview are those that a consumer of ours counts over the log, without the status view."""

import asyncio
from collections import Counter

import msgspec
import pytest
from playwright.async_api import Page

from tests.e2e.browser.conftest import Visit, submit
from tests.support.stacks import RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def counted(stack: RunningStack) -> Counter[str]:
    """Tasks by the state that the last record of each in `status` tells."""
    last: dict[str, str] = {}
    for value in stack.values("status"):
        told = msgspec.json.decode(value)
        if "claim" not in told:
            last[told["id"]] = told["state"]
    return Counter(last.values())


def told(stack: RunningStack) -> int:
    """Tasks that `events` tells of."""
    return len({msgspec.json.decode(value)["id"] for value in stack.values("events")})


async def shown(page: Page) -> Counter[str]:
    """What the tiles of the page say."""
    await page.goto("/")
    found: Counter[str] = Counter()
    for tile in await page.locator("a.tile").all():
        state = (await tile.get_attribute("id") or "").removeprefix("of-")
        found[state] = int("".join(filter(str.isdigit, await tile.locator(".value").inner_text())))
    return +found


async def agree(page: Page, stack: RunningStack) -> Counter[str]:
    async def same() -> Counter[str] | None:
        by_page, by_log = await shown(page), await asyncio.to_thread(counted, stack)
        return by_log if by_page == by_log else None

    found = await eventually(same, within=30) or Counter()
    assert sum(found.values()) == await asyncio.to_thread(told, stack)
    return found


async def test_after_a_handful(visit: Visit, stack: RunningStack) -> None:
    async with visit() as page:
        for number in range(3):
            await submit(page, "shop.parcel", payload={"grams": number}, wait=number == 2)
        await submit(page, "shop.fragile", wait=True)
        later = await submit(page, "shop.parcel", delay=3600)
        found = await agree(page, stack)
        assert found["succeeded"] >= 3
        assert found["dead_lettered"] >= 1
        assert found["scheduled"] >= 1
        await page.request.delete(f"/api/tasks/{later}")


@pytest.mark.long
async def test_under_load(visit: Visit, stack: RunningStack) -> None:
    async with visit() as page:
        for start in range(0, 10_000, 1_000):
            tasks = [{"type": "shop.parcel", "payload": {"grams": start + number}} for number in range(1_000)]
            tasks[::50] = [{"type": "shop.fragile", "payload": {"grams": 1}} for _ in tasks[::50]]
            answer = await page.request.post("/api/tasks/batch", data=tasks)
            assert answer.status == 202
            await shown(page)

        async def ended() -> bool:
            waits = await shown(page)
            return not waits["queued"] and not waits["running"] and not waits["retrying"]

        await eventually(ended, within=120)
        found = await agree(page, stack)
        assert found["succeeded"] >= 9_800
        assert found["dead_lettered"] >= 200
