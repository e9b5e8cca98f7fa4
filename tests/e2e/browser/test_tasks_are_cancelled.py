"""A task is cancelled after a question, by mouse or by keyboard; so are all that a filter finds."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_one_that_runs(visit: Visit) -> None:
    async with visit() as page:
        await page.goto(f"/tasks/{await submit(page, 'shop.slow')}")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("running")
        await expect(page.locator(".callout", has_text="half of it")).to_be_visible()
        await page.get_by_role("link", name="Cancel").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("It is running")
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await page.get_by_role("link", name="Cancel").press("Enter")
        await dialog.get_by_role("button", name="Cancel the task").press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")


async def test_all_that_match(visit: Visit) -> None:
    async with visit() as page:
        for _ in range(5):
            await submit(page, "shop.parcel", delay=3600, labels={"cancelled": "together"})
        await page.goto("/tasks?label.cancelled=together&state=scheduled")
        await expect(page.locator("tbody tr")).to_have_count(5)
        await page.get_by_role("link", name="Cancel all that match").click()
        await page.get_by_role("button", name="Cancel 5 tasks").click()
        await expect(page.get_by_role("status").first).to_contain_text("5 called off")
        await page.goto("/tasks?label.cancelled=together&state=cancelled")
        await expect(page.locator("tbody tr")).to_have_count(5)
