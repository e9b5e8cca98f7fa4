"""A task is submitted by the form of its type and seen to succeed without loading the page again."""

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_from_the_form_to_the_result(visit: Visit) -> None:
    async with visit("/types/shop.parcel") as page:
        await page.get_by_label("Grams").fill("1500")
        await page.get_by_role("button", name="Submit the task").click()
        await expect(page.get_by_role("status").first).to_contain_text("Accepted")
        assert "note=" not in page.url, "the address that is sent to a colleague does not say it again"
        await page.evaluate("window.same = true")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded")
        await expect(page.locator("pre.code").first).to_contain_text('"kilograms": 1.5')
        assert await page.evaluate("window.same"), "the page was not loaded again"


async def test_what_the_schema_refuses_stands_at_its_field(visit: Visit) -> None:
    async with visit("/types/shop.parcel") as page:
        await page.get_by_label("Grams").fill("heavy")
        async with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
            await page.get_by_role("button", name="Submit the task").click()
        assert (await answered.value).status == 422
        await expect(page.locator(".fault")).to_contain_text("valid integer")
        await expect(page.get_by_label("Grams")).to_have_value("heavy")
        await page.goto("/types/shop.parcel?as=json")
        await page.get_by_label("Payload").fill('{"grams": 7}')
        await page.get_by_role("button", name="Submit the task").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded")
