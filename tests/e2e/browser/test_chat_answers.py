"""A question is answered on the page that it was asked on."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_answer_comes_by_itself(visit: Visit) -> None:
    async with visit("/chat") as page:
        await page.get_by_label("Your question").fill("What happens to a task that fails?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".prose")).to_contain_text("retries.md")
        await expect(page.locator("blockquote")).to_have_text("What happens to a task that fails?")
        address = page.url
    async with visit(address) as page:
        await expect(page.locator(".prose")).to_contain_text("retries.md")
