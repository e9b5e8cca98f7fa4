"""The API's OpenAPI document is one, and tells of the routes that others are written against."""

import json

from openapi_spec_validator import validate

import streams.handlers.chat  # noqa: F401  (registers its type)
from ingest.app import create_app
from laneway.registry import registry
from schemas.settings import KafkaSettings, Settings


def test_the_document_is_valid_and_tells_of_the_routes() -> None:
    app = create_app(Settings(kafka=KafkaSettings(bootstrap_servers="nowhere:1")), registry)
    document = json.loads(json.dumps(app.openapi()))
    validate(document)
    told = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("/api/tasks", "POST"),
        ("/api/tasks/{id}", "GET"),
        ("/api/schedules", "POST"),
        ("/api/schedules", "GET"),
        ("/api/schedules/{name}", "GET"),
        ("/api/schedules/{name}", "DELETE"),
        ("/asyncapi.json", "GET"),
    } <= told
    (asked,) = document["paths"]["/api/tasks"]["post"]["callbacks"].values()
    assert set(asked["{$request.body#/callback_url}"]) == {"post"}
    assert document["components"]["schemas"]["Callback"]["properties"]["data"] == {
        "$ref": "#/components/schemas/Outcome"
    }
