"""A task type of the tests of shadow runs; ``--import tests.support.shadow_handlers``."""

from typing import Any

from laneway import Context, task


@task("past.mended")
async def mended(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Give the payload back; in a shadow run as if the code had changed meanwhile, for the better and the worse."""
    if ctx.shadow and payload["n"] % 10 == 3:
        raise KeyError("only now")
    if ctx.shadow and payload["n"] % 10 == 7:
        return {**payload, "n": -payload["n"]}
    return payload
