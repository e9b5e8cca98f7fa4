"""A replay is planned, looked at and run by its pages."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_from_the_plan_to_the_end(visit: Visit) -> None:
    async with visit() as page:
        task_id = await submit(page, "shop.parcel", labels={"replayed": "here"}, wait=True)
        await page.goto("/replays")
        await page.get_by_role("link", name="Plan a replay").click()
        await page.get_by_label("Labels").fill("replayed=here")
        await page.get_by_role("button", name="Make the plan").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("planned")
        await expect(page.locator(".tile", has_text="selected")).to_contain_text("1")
        await page.get_by_role("link", name="Run it").click()
        await page.get_by_role("button", name="Run it").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("done")
        await page.goto(f"/tasks/{task_id}")
        await expect(page.locator(".generation")).to_have_text("Generation 2")


async def test_what_selects_everything_is_refused(visit: Visit) -> None:
    async with visit("/replays/new") as page:
        await page.get_by_role("button", name="Make the plan").click()
        await expect(page.get_by_role("alert")).to_contain_text("say which tasks")
