"""A lane is held with a reason, everybody sees it, and it flows again; the log knows who asked."""

import pytest
from playwright.async_api import expect

from schemas.audit import AuditRecord
from schemas.codec import decode
from tests.e2e.browser.conftest import Visit, submit
from tests.support.stacks import RunningStack

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_held_and_freed(visit: Visit, stack: RunningStack) -> None:
    async with visit("/lanes") as page:
        await page.get_by_role("link", name="Hold shop.parcel.low").click()
        await page.get_by_label("Why?").fill("<b>stocktaking</b>")
        await page.get_by_role("button", name="Hold the lane").click()
        await expect(page.get_by_role("status").first).to_contain_text("held on every worker")
        await expect(page.locator('[id="shop.parcel.low"]')).to_contain_text("<b>stocktaking</b>")
        task_id = await submit(page, "shop.parcel", priority="low")
        await page.goto(f"/tasks/{task_id}")
        await expect(page.locator("#why")).to_contain_text("is held by 127.0.0.1: <b>stocktaking</b>")
        await page.goto("/")
        await expect(page.locator(".concerns")).to_contain_text("shop.parcel.low: held since")
        await page.goto("/lanes")
        await page.get_by_role("button", name="Resume shop.parcel.low").click()
        await expect(page.get_by_role("status").first).to_contain_text("flows again")
        await page.goto(f"/tasks/{task_id}")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded")
        await page.goto("/actions")
        await expect(page.locator("tbody")).to_contain_text("lane.pause")
        await expect(page.locator("tbody")).to_contain_text("<b>stocktaking</b>")
    audit = [decode(value, AuditRecord) for value in stack.values("audit")]
    pauses = [record for record in audit if (record.action, record.target) == ("lane.pause", "shop.parcel.low")]
    assert [record.outcome for record in pauses] == [None, "paused"]
    assert {record.by for record in pauses} == {"127.0.0.1"}
    assert pauses[0].details == {"reason": "<b>stocktaking</b>"}
