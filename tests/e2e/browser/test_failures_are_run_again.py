"""What failed is run again: one task by one click and a question, all with the same error from the dead letters."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_one_task(visit: Visit) -> None:
    async with visit() as page:
        await page.goto(f"/tasks/{await submit(page, 'shop.fragile', wait=True)}")
        await page.get_by_role("link", name="Run again").click()
        await page.get_by_role("button", name="Run it again").click()
        await expect(page.get_by_role("status").first).to_contain_text("next generation")
        # By a process of its own, which begins with this.
        await expect(page.locator(".generation")).to_have_text("Generation 2", timeout=90_000)
        await expect(page.get_by_role("heading", level=1)).to_contain_text("dead-lettered")


async def test_all_with_the_same_error(visit: Visit) -> None:
    async with visit() as page:
        await submit(page, "shop.fragile", wait=True)
        await page.goto("/dead-letters")
        row = page.locator("tbody tr", has_text="ValueError")
        await row.get_by_role("link", name="Redrive").click()
        await page.get_by_role("button", name="Redrive").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("done", timeout=90_000)
        await expect(page.get_by_text("such as", exact=False).first).to_be_visible()
