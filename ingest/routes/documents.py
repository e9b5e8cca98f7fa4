"""What describes this system to other programs, besides FastAPI's own ``/openapi.json``."""

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi
from ingest.runtime import Runtime
from schemas.asyncapi import asyncapi_document
from schemas.topics import Topics


def router(runtime: Runtime) -> APIRouter:
    """``/asyncapi.json``."""
    routes = APIRouter(tags=["documents"], default_response_class=Response)
    kafka = runtime.settings.kafka
    # Types do not change while the process runs.
    body = msgspec.json.encode(
        asyncapi_document(
            Topics(kafka.topic_prefix),
            runtime.registry.names,
            {each.name: each.payload_schema for each in runtime.registry},
            partitions=kafka.partitions,
            replication_factor=kafka.replication_factor,
        )
    )

    @routes.get("/asyncapi.json", **openapi.ASYNCAPI)
    async def get_asyncapi(_request: Request) -> Response:
        """The topics of this system: records, keys, headers, retention, and who sends and receives them."""
        return Response(body, media_type="application/json")

    return routes
