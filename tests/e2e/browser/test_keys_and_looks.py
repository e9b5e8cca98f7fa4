"""What an operator does can be done by the keyboard alone, and light or dark is what they chose."""

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def focused(page: Page) -> str:
    said: str = await page.evaluate(
        "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
    )
    return said


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is there, as somebody without a mouse does."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await focused(page) == name:
            return
    raise AssertionError(f"Tab never came to {name!r}")


async def test_a_lane_is_held_and_freed_without_a_mouse(visit: Visit) -> None:
    async with visit("/lanes") as page:
        await page.keyboard.press("Tab")
        assert await focused(page) == "Skip to the content"
        await page.keyboard.press("Enter")
        await tab_to(page, "Hold shop.parcel.high")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.type("by keys")
        await page.keyboard.press("Enter")
        await expect(page.locator('[id="shop.parcel.high"]')).to_contain_text("by keys")
        await tab_to(page, "Resume shop.parcel.high")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status").first).to_contain_text("flows again")


async def test_what_was_chosen_is_kept(visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    async with visit("/", color_scheme="light") as page:
        light = await page.evaluate(ground)
        await page.get_by_role("button", name="Light or dark").click()
        dark = await page.evaluate(ground)
        assert dark != light
        await page.goto("/workers")
        assert await page.evaluate(ground) == dark
