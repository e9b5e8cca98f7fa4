"""The dashboard: every page of it."""

from fastapi import APIRouter

from ingest.dashboard import assets
from ingest.dashboard.desk import Desk
from ingest.dashboard.pages import (
    actions,
    chat,
    dead_letters,
    lanes,
    overview,
    replays,
    schedules,
    task,
    tasks,
    types,
    workers,
)
from ingest.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """``/`` and what lies beside ``/api``."""
    desk = Desk(runtime)
    routes = APIRouter()
    routes.include_router(assets.router())
    for page in (overview, tasks, task, lanes, workers, dead_letters, replays, schedules, types, chat, actions):
        routes.include_router(page.router(desk))
    return routes
