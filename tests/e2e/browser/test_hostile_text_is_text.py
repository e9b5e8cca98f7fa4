"""Payload, label, error, file name and reason are text wherever they appear, whatever they look like."""

from typing import Final

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")

NASTY: Final = '<script>alert(9)</script>"><img src=x onerror=alert(8)>\u202egnirts'
LARGE: Final = "m" * 250_000
"""About as much as the payload of a task may have."""


async def test_on_every_page_that_shows_it(visit: Visit) -> None:
    async with visit() as page:
        labels = {"hostile": NASTY}
        failed = await submit(
            page, "shop.fragile", payload={"grams": 13, "note": NASTY}, labels=labels, ordering_key=NASTY, wait=True
        )
        large = await submit(page, "shop.parcel", payload={"grams": 13, "note": LARGE}, labels=labels, wait=True)
        pages = ("/", "/tasks", "/tasks?q=onerror", "/dead-letters", f"/tasks/{failed}", f"/tasks/{failed}/run-again")
        for path in pages:
            # What runs opens a dialog, and what is fetched from elsewhere violates the policy: both fail the visit.
            await page.goto(path)
            assert await page.locator("main img").count() == 0
            assert await page.locator("main script").count() == 0
        await page.goto(f"/tasks/{failed}")
        await expect(page.locator(".callout")).to_contain_text(f"broke at 13 g{NASTY}")
        await expect(page.locator(".label", has_text="hostile=")).to_contain_text(NASTY)
        await page.goto(f"/tasks/{large}")
        await expect(page.locator("#payload")).to_contain_text("characters, the first")
        assert len(await page.content()) < 100_000
        shown = await page.request.get(f"/tasks/{large}/payload")
        assert LARGE in await shown.text()
        assert shown.headers["content-type"].startswith("text/plain")
        assert "sandbox" in shown.headers["content-security-policy"]


async def test_in_what_programs_read(visit: Visit) -> None:
    async with visit() as page:
        task_id = await submit(page, "shop.fragile", payload={"grams": 5, "note": NASTY}, wait=True)
        for path in (f"/api/tasks/{task_id}", f"/api/tasks/{task_id}/timeline", "/api/dlq", "/api/tasks"):
            answer = await page.request.get(path)
            assert answer.headers["content-type"].startswith("application/json"), path
        told = await (await page.request.get(f"/api/tasks/{task_id}")).json()
        assert told["error"]["message"].endswith(NASTY)
        for refused, status in (
            ({"type": NASTY, "payload": {}}, 422),
            ({"type": "shop.parcel", "payload": {"grams": NASTY}}, 422),
            ({"type": "shop.parcel", "payload": {"grams": 1, "note": "m" * 1_000_000}}, 413),
        ):
            answer = await page.request.post("/api/tasks", data=refused)
            assert answer.status == status
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert len(await answer.body()) < 10_000
        kept = await page.request.post(
            "/api/files",
            params={"name": 'a"><img src=x onerror=alert(7)>.html'},
            headers={"content-type": "text/html"},
            data=b"<script>alert(6)</script>",
        )
        assert kept.ok, await kept.text()
        got = await page.request.get(f"/api/files/{(await kept.json())['ref']}")
        assert got.headers["content-disposition"].startswith("attachment")
        assert got.headers["x-content-type-options"] == "nosniff"
