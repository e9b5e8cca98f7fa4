"""Task types of the tests of traces; processes get them by ``--import tests.support.traced_handlers``."""

from datetime import timedelta
from typing import Any, Final

from opentelemetry import trace

from laneway import Context, RetryPolicy, task

TRACED: Final = "test.traced"
APART: Final = "test.apart"
MODULE: Final = "tests.support.traced_handlers"
SECRET: Final = "correct horse battery staple"
QUICK: Final = RetryPolicy(max_attempts=5, first_delay=timedelta(milliseconds=100), jitter=False)


@task(TRACED, retry=QUICK)
async def traced(payload: dict[str, Any], ctx: Context) -> str:
    """Make a span, and fail as often as the payload says."""
    with trace.get_tracer("users").start_as_current_span("the user's own"):
        if ctx.attempt <= payload["fails"]:
            raise ConnectionError("as asked")
    return SECRET


@task(APART, executor="process")
def apart(payload: dict[str, Any], ctx: Context) -> str:
    """Make a span in another process."""
    with trace.get_tracer("users").start_as_current_span("in a process"):
        return SECRET
