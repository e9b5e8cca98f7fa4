"""Every page, light, dark and on a phone: axe finds nothing serious, and nothing scrolls sideways."""

from typing import Any, Final

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.e2e.browser.conftest import Visit, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
GRAVE: Final = {"serious", "critical"}


@pytest.mark.parametrize("look", ["light", *(pytest.param(look, marks=pytest.mark.long) for look in ("phone", "dark"))])
async def test_every_page(visit: Visit, look: str) -> None:
    findings: list[str] = []
    async with visit("/", **LOOKS[look]) as page:
        failed = await submit(page, "shop.fragile", wait=True)
        slow = await submit(page, "shop.slow")
        pages = [
            *("/", "/tasks", "/tasks?state=dead_lettered&q=broke", f"/tasks/{failed}", f"/tasks/{failed}/cancel"),
            *("/lanes", "/lanes/email/high/pause", "/workers", "/schedules", "/schedules/new"),
            *("/types", "/types/email", "/types/data", "/types/data?as=json", "/chat", "/actions"),
            *("/dead-letters", "/dead-letters/redrive?type=shop.fragile&error=ValueError", "/replays", "/replays/new"),
            f"/tasks/{failed}/run-again",
        ]
        for path in pages:
            await page.goto(path)
            wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wide > 0:
                findings.append(f"{path}: {wide} pixels too wide")
            answer = await Axe().run(page)
            findings += [
                f"{path}: {each['id']}: {each['nodes'][0]['html'][:200]}"
                for each in answer.response["violations"]
                if each["impact"] in GRAVE
            ]
        await page.request.delete(f"/api/tasks/{slow}")
    assert not findings
