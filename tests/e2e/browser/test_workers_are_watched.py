"""What a worker runs is seen without loading the page again, and leads to its task and its lane."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_task_appears_where_it_runs_and_goes_when_it_ends(visit: Visit) -> None:
    async with visit() as page:
        await page.get_by_role("link", name="Workers", exact=True).click()
        worker = page.locator("article.worker:not(.silent)")  # another test may have killed one
        await expect(worker).to_contain_text("alive")
        await page.evaluate("window.same = true")
        task_id = await submit(page, "shop.slow", priority="high")
        runs = worker.locator(f'a[href="/tasks/{task_id}"]')
        await expect(runs).to_be_visible()
        await expect(worker.locator('a[href="/lanes#shop.slow.high"]')).to_be_visible()
        assert await page.evaluate("window.same"), "the page was not loaded again"
        await runs.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("running")
        await page.request.delete(f"/api/tasks/{task_id}")
        await page.go_back()
        await expect(runs).to_have_count(0)
