"""The task types that this API takes."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi
from ingest.runtime import Runtime
from laneway.registry import TaskType
from schemas.task import Priority


def router(runtime: Runtime) -> APIRouter:
    """``GET /api/types``."""
    routes = APIRouter(tags=["types"], default_response_class=Response)
    # Types do not change while the process runs.
    body = msgspec.json.encode({"types": [describe(each) for each in runtime.registry]})

    @routes.get("/api/types", **openapi.TYPES)
    async def get_types(_request: Request) -> Response:
        """Every type with the schema of its payload, its retry policy and its time-out."""
        return Response(body, media_type="application/json")

    return routes


def describe(task_type: TaskType) -> dict[str, Any]:
    """A type as the API tells it; durations in seconds."""
    retry = task_type.retry
    return {
        "name": task_type.name,
        "description": task_type.description,
        "payload_schema": task_type.payload_schema,
        "priorities": [priority.value for priority in Priority],
        "timeout": task_type.timeout.total_seconds() if task_type.timeout is not None else None,
        "executor": task_type.executor,
        "retry": {
            "max_attempts": retry.max_attempts,
            "first_delay": retry.first_delay.total_seconds(),
            "factor": retry.factor,
            "max_delay": retry.max_delay.total_seconds(),
            "jitter": retry.jitter,
        },
    }
