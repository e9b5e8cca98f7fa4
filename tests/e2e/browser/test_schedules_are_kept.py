"""A schedule is added, run at once, paused and removed by its page."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_from_the_first_to_none(visit: Visit) -> None:
    async with visit("/schedules") as page:
        await page.get_by_role("link", name="Add a schedule").click()
        await page.get_by_label("Name").fill("stocktaking")
        await page.get_by_label("Cron").fill("0 4 * * *")
        await page.get_by_label("Type").select_option("shop.parcel")
        await page.get_by_label("Payload").fill('{"grams": 3}')
        await page.get_by_role("button", name="Keep the schedule").click()
        await expect(page.get_by_role("status").first).to_contain_text("The schedule is kept")
        row = page.locator("tbody tr", has_text="stocktaking")
        await expect(row).to_contain_text("in ")
        await row.get_by_role("link", name="Run now").click()
        await page.get_by_role("button", name="Run it now").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded")
        await page.goto("/schedules")
        await row.get_by_role("button", name="Pause").click()
        await expect(row).to_contain_text("paused")
        await row.get_by_role("link", name="Remove").click()
        await page.get_by_role("button", name="Remove the schedule").click()
        await expect(page.get_by_role("status").first).to_contain_text("The schedule is gone")
        await expect(row).to_have_count(0)
