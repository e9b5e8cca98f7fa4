"""Task types of the tests of replays; ``--import tests.support.replay_handlers``."""

from typing import Any

from laneway import Context, Reject, RetryPolicy, task

ERRORS = {"reject": Reject, "value": ValueError, "key": KeyError}


@task("past.echo")
async def echo(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Give the payload back."""
    return payload


@task("past.failing", retry=RetryPolicy(max_attempts=1))
async def failing(payload: dict[str, Any], ctx: Context) -> int:
    """Fail as the payload says, in the first generation; or for good."""
    if ctx.generation == 1 or payload.get("always"):
        raise ERRORS[payload["error"]]("as asked")
    return ctx.generation


def shouted(payload: dict[str, Any]) -> dict[str, Any]:
    """A transform."""
    return {**payload, "kind": payload["kind"].upper()}
