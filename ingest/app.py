"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from ingest import openapi, problems
from ingest.dashboard import router as dashboard
from ingest.lean import HotRoutes, LeanRoutes
from ingest.requests_log import RequestLines, RequestsLog
from ingest.routes import (
    chat,
    counts,
    dead_letters,
    documents,
    events,
    files,
    health,
    lanes,
    metrics,
    replays,
    schedules,
    tasks,
    types,
    workers,
)
from ingest.runtime import Runtime
from ingest.traced import TracedRequests
from laneway import __version__, tracing
from laneway.memory import tame_garbage_collector
from laneway.registry import Registry
from schemas.settings import Settings


def create_app(settings: Settings, registry: Registry, imports: tuple[str, ...] = ()) -> FastAPI:
    """The API for the task types of ``registry``; its lifespan starts and stops what it stands on.

    ``app.state.runtime`` is the running API's ``Runtime``. ``quick`` makes of it what a server should serve.

    Args:
        settings: of the process.
        registry: of the types.
        imports: modules with handlers of the user's, for the process that runs replays.

    Raises:
        ConfigurationError: no cluster is set.
    """
    runtime = Runtime(settings, registry, imports)
    lines = RequestLines(settings.log)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await runtime.start()
        tame_garbage_collector()
        try:
            yield
        finally:
            await runtime.stop()
            lines.flush()

    app = FastAPI(
        title="Laneway",
        version=__version__,
        description="Tasks in over HTTP, through Apache Kafka, to workers and back as results.",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.runtime = runtime
    app.state.lines = lines
    problems.install(app)
    app.add_middleware(RequestsLog, lines=lines)
    # Before what takes any path under it for a task's id.
    of_tasks = (counts, tasks, events, schedules, replays, dead_letters, files, chat)
    for noun in (*of_tasks, types, lanes, workers, documents, health):
        app.include_router(noun.router(runtime))
    app.include_router(dashboard.router(runtime))
    app.include_router(metrics.router(runtime, lines.counts))
    lines.counts.routes = frozenset(route.path for route in app.routes if isinstance(route, Route))
    cached: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not cached:
            cached.update(openapi.document(app, registry))
        return cached

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to give one's own
    return app


def quick(app: FastAPI) -> ASGIApp:
    """``app`` behind its lean routes: the same API, with the hot routes answered before the framework's layers."""
    lean = LeanRoutes(app, HotRoutes(app.state.runtime), app.state.lines)
    return lean if tracing.tracer is None else TracedRequests(lean, tracing.tracer)
