"""From the overview to the error of a task that failed it is one click, to run it again one more."""

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT_CLICKS = """
    addEventListener("click", (event) => {
        if (event.isTrusted) sessionStorage.setItem("clicks", Number(sessionStorage.getItem("clicks")) + 1);
    }, true);
"""


async def clicks(page: Page) -> int:
    """How often somebody has clicked in this tab, whatever page it showed."""
    return int(await page.evaluate("sessionStorage.getItem('clicks')"))


async def test_from_the_overview_to_the_error(visit: Visit) -> None:
    async with visit() as page:
        await submit(page, "shop.fragile", payload={"grams": 40}, wait=True)
        await page.add_init_script(COUNT_CLICKS)
        await page.goto("/")
        await page.locator(".list a", has_text="broke at 40 g").first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("dead-lettered")
        await expect(page.locator(".callout")).to_contain_text("<script>alert(1)</script> broke at 40 g")
        assert await clicks(page) == 1
        await page.get_by_role("link", name="Run again").click()
        await expect(page.get_by_role("button", name="Run it again")).to_be_visible()
        assert await clicks(page) == 2
        await page.get_by_role("link", name="Leave it").click()
        await expect(page.locator(".way .bad").first).to_contain_text("attempt 1 failed")
        await page.get_by_text("Traceback").first.click()
        await expect(page.locator(".way pre").first).to_contain_text("break_it")
        await expect(page.locator(".way")).to_contain_text("tasks.shop.fragile.normal-")
        await expect(page.locator("#payload pre")).to_contain_text('"grams": 40')


async def test_by_a_search_for_its_text(visit: Visit) -> None:
    async with visit("/tasks") as page:
        await submit(page, "shop.fragile", payload={"grams": 77}, wait=True)
        await page.keyboard.press("/")
        await page.keyboard.type("broke at 77 g")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/tasks?q=broke+at+77+g")
        await expect(page.locator("tbody tr")).to_have_count(1)
