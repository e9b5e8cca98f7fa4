import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.support.chromium import HOW, find_chromium, required
from tests.support.stacks import RunningStack

PATIENCE_MS = 20_000
"""What a page has for anything: two cores carry Kafka, workers and the browser."""


async def submit(page: Page, type_name: str, *, wait: bool = False, **said: Any) -> str:
    """Submit a task to the API behind a page; answers its id, with ``wait`` once it has ended."""
    answer = await page.request.post("/api/tasks", data={"type": type_name, "payload": {"grams": 1}, **said})
    task_id: str = (await answer.json())["id"]
    if wait:
        await page.request.get(f"/api/tasks/{task_id}?wait=20")
    return task_id


def _complains(entry: ConsoleMessage) -> bool:
    """Chromium tells an answer of 422 on the console, which is how a form is shown again with what was refused."""
    return entry.type in ("error", "warning") and "status of 422" not in entry.text


class Visit(Protocol):
    def __call__(self, path: str = "/", **context: Any) -> AbstractAsyncContextManager[Page]:
        """A page of the dashboard, in a browser of its own; anything that the browser complains of is a failure."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests."""
    executable = find_chromium()
    if executable is None:
        if required():
            pytest.fail(HOW)
        pytest.skip(HOW)
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        # Chromium's own sandbox does not run as root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = await playwright.chromium.launch(executable_path=executable, args=arguments)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, stack: RunningStack) -> Visit:
    @asynccontextmanager
    async def open_page(path: str = "/", **options: Any) -> AsyncIterator[Page]:
        said: list[str] = []
        context = await browser.new_context(base_url=stack.url, **options)
        context.set_default_timeout(PATIENCE_MS)
        context.set_default_navigation_timeout(PATIENCE_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("console", lambda entry: said.append(entry.text) if _complains(entry) else None)
        page.on("dialog", lambda dialog: said.append(f"a script ran: {dialog.message}"))
        await page.goto(path)
        try:
            yield page
        finally:
            await context.close()
        assert not said

    return open_page
