"""The pictures in ``docs/images``: the real pages in a real browser, on a view with a made-up hour in it."""

import asyncio
import os
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import uvicorn
from PIL import Image
from playwright.async_api import async_playwright

import streams.handlers.chat
import streams.handlers.data
import streams.handlers.email
import streams.handlers.file  # noqa: F401  (each registers its type)
from ingest.control import LaneState
from laneway.registry import registry
from schemas.control import LaneControl
from schemas.status import ErrorInfo, State
from schemas.task import Lane, Priority
from schemas.worker import LaneShare, RunningTask, TypeSlots
from tests.support.chromium import HOW, find_chromium
from tests.support.dashboard import Window, status_of, window_on, worker_of
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

IMAGES: Final = ROOT / "docs" / "images"
SEED: Final = 7
DESK: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 860}}
PHONE: Final[dict[str, Any]] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
PICTURES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "overview": ("/", DESK | {"color_scheme": "light"}),
    "overview-phone": ("/", PHONE | {"color_scheme": "light"}),
    "workers": ("/workers", DESK | {"color_scheme": "light"}),
    "tasks-dark": ("/tasks", DESK | {"color_scheme": "dark"}),
    "question": ("/tasks?state=retrying", DESK | {"color_scheme": "light"}),
}
_FAILURES: Final = (
    ErrorInfo(
        type="SMTPServerDisconnected", message="Connection unexpectedly closed by mail.example.org", retriable=True
    ),
    ErrorInfo(type="Reject", message="row 118: 'amount' is no number: '12,50'", retriable=False),
    ErrorInfo(type="TaskTimeoutError", message="it ran for longer than 30 s", retriable=True),
)


def fill(window: Window, now: datetime) -> None:
    """An hour as it might have been: mostly well, one lane held, one worker stuck."""
    chance = random.Random(SEED)
    types = ("email", "email", "data", "file", "chat")
    number = 0
    for minute in range(59, -1, -1):
        for _ in range(chance.randint(14, 22) if minute > 20 else chance.randint(24, 40)):
            number += 1
            at = now - timedelta(minutes=minute, seconds=chance.uniform(0, 59))
            window.put(
                status_of(f"0190163d-8694-739b-aea5-{number:012x}", **_life(chance, at, now, chance.choice(types)))
            )
    held = LaneControl(
        type="email",
        priority=Priority.HIGH,
        paused=True,
        at=now - timedelta(minutes=9),
        by="api: ada",
        reason="the mail server is down",
    )
    lanes = (
        LaneState(Lane("email", Priority.HIGH), 1_280, held, 0.0),
        LaneState(Lane("data", Priority.LOW), 18_244, None, 96.4),
        LaneState(Lane("chat", Priority.NORMAL), 2, None, 3.2),
    )
    window.lanes |= {state.lane: state for state in lanes}
    for name, minutes in (("email", 9.8), ("data", 3.0)):
        priority = Priority.HIGH if name == "email" else Priority.LOW
        at = now - timedelta(minutes=minutes)
        number += 1
        waits = status_of(f"0190163d-8694-739b-aea5-{number:012x}", type=name, priority=priority, created_at=at)
        window.put(waits)
    runs = {"state": State.RUNNING, "type": "data", "priority": Priority.LOW, "attempt": 1}
    for place in range(4):
        window.put(status_of(f"0190163d-8694-739b-aea6-{place:012x}", created_at=now, started_at=now, **runs))
    window.workers = [_worker(number, now) for number in range(1, 4)]


def _life(chance: random.Random, at: datetime, now: datetime, name: str) -> dict[str, Any]:
    priority = chance.choices(list(Priority), [2, 6, 3])[0]
    started = at + timedelta(seconds=chance.expovariate(12) if name != "data" else chance.expovariate(0.5))
    said: dict[str, Any] = {"type": name, "priority": priority, "created_at": at, "started_at": started, "attempt": 1}
    said["labels"] = {"tenant": chance.choice(["acme", "globex", "initech"])}
    ended = started + timedelta(seconds=chance.uniform(0.05, 4))
    drawn = chance.random()
    if ended > now or drawn < 0.01:
        return said | {"state": State.RUNNING, "updated_at": started, "worker": "worker-1"}
    said |= {"updated_at": ended, "finished_at": ended, "worker": f"worker-{chance.randint(1, 2)}"}
    if drawn < 0.08:
        return said | {"state": State.DEAD_LETTERED, "error": chance.choice(_FAILURES), "attempt": 3}
    if drawn < 0.12:
        return said | {
            "state": State.RETRYING,
            "finished_at": None,
            "error": _FAILURES[0],
            "not_before": now + timedelta(seconds=40),
        }
    return said | {"state": State.SUCCEEDED}


def _worker(number: int, now: datetime) -> Any:
    types = ("chat", "data", "email", "file")
    stuck = number == 3
    running = [
        RunningTask(
            id=f"0190163d-8694-739b-aea5-{place:012x}",
            type=types[(place + number) % 4] if not stuck else "file",
            priority=Priority.NORMAL,
            attempt=1,
            since=now - timedelta(seconds=(400 if stuck else 3) * (place + 1) / 4),
        )
        for place in reversed(range(4 if stuck else 2))
    ]
    return worker_of(
        f"worker-{number}",
        host=f"node-{number}",
        pid=4_000 + number,
        version="0.1.0",
        started_at=now - timedelta(hours=7),
        at=now,
        lanes=[LaneShare(type=name, priority=each, partitions=[number]) for name in types for each in Priority],
        slots=[TypeSlots(type=name, total=4, busy=sum(task.type == name for task in running)) for name in types],
        running=running,
        running_total=len(running),
        ended=12_431 * number,
        last_end_at=now - timedelta(minutes=4 if stuck else 0, seconds=1),
        stuck=stuck,
    )


async def take(folder: Path, names: list[str]) -> None:
    """Take pictures into ``docs/images``."""
    window = window_on(folder, registry)
    fill(window, datetime.now(UTC))
    await window.view.start()
    server = uvicorn.Server(uvicorn.Config(window.app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with async_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = await playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
            for name in names:
                path, look = PICTURES[name]
                context = await browser.new_context(base_url=f"http://127.0.0.1:{port}", **look)
                page = await context.new_page()
                await page.goto(path)
                # The second time everything is known that the first one asked for.
                await page.wait_for_timeout(1_500)
                await page.goto(path)
                await page.wait_for_timeout(300)
                if name == "question":
                    await page.get_by_role("link", name="Cancel all that match").click()
                    await page.get_by_role("dialog").wait_for()
                picture = Image.open(BytesIO(await page.screenshot())).convert("RGB")
                small = picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
                small.save(IMAGES / f"{name}.png", optimize=True)
                sys.stdout.write(f"{name}.png {(IMAGES / f'{name}.png').stat().st_size // 1024} KB\n")
                await context.close()
            await browser.close()
    finally:
        server.should_exit = True
        await serving
        await window.view.close()
        window.store.close()


def main() -> int:
    """Take those that are named, else all."""
    if find_chromium() is None:
        sys.stderr.write(f"{HOW}\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(take(Path(folder), sys.argv[1:] or list(PICTURES)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
