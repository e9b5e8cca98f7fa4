import asyncio
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.stacks import RunningStack, running_stack

HANDLERS = """
    import asyncio
    from datetime import timedelta

    from pydantic import BaseModel

    from laneway import Context, RetryPolicy, task


    class Parcel(BaseModel):
        grams: int
        note: str = ""


    @task("shop.parcel")
    def weigh(payload: Parcel, ctx: Context) -> dict[str, float]:
        return {"kilograms": payload.grams / 1000}


    @task("shop.fragile", retry=RetryPolicy(max_attempts=2, first_delay=timedelta(milliseconds=200)))
    def break_it(payload: Parcel, ctx: Context) -> None:
        raise ValueError(f"<script>alert(1)</script> broke at {payload.grams} g{payload.note}")


    @task("shop.slow")
    async def take_long(payload: Parcel, ctx: Context) -> None:
        while True:
            await ctx.progress(50, "half of it")
            await asyncio.sleep(0.2)
"""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One system for all tests that leave it running: `laneway up --demo`, with a module of the user's own."""
    folder: Path = tmp_path_factory.mktemp("stack")
    (folder / "shop.py").write_text(dedent(HANDLERS), "utf-8")
    # What users have, too: it must not stand in for a package of ours.
    (folder / "schemas").mkdir()
    (folder / "schemas" / "__init__.py").write_text("raise ImportError('the wrong schemas')\n", "utf-8")
    with running_stack(folder, "--demo", "--import", "shop") as running:
        asyncio.run(running.says("tasks succeeded"))
        yield running
