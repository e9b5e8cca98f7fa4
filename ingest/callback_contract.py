"""What the API asks of a ``callback_url``, as OpenAPI tells it."""

from typing import Any, Final

CALLBACKS: Final[dict[str, Any]] = {
    "outcome": {
        "{$request.body#/callback_url}": {
            "post": {
                "summary": "The task has ended",
                "description": "Signed as Standard Webhooks have it. At least once: drop repetitions by `webhook-id`.",
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": True,
                        "description": description,
                        "schema": {"type": "string"},
                    }
                    for name, description in {
                        "webhook-id": "The same each time that it is sent.",
                        "webhook-timestamp": "When it was sent, in seconds since 1970.",
                        "webhook-signature": "`v1,` and the HMAC-SHA-256 of `id.timestamp.body` in Base64, one for each"
                        " secret, separated by blanks.",
                    }.items()
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Callback"}}},
                },
                "responses": {
                    "2XX": {"description": "Taken."},
                    "410": {"description": "Never again."},
                    "429": {"description": "Again after `Retry-After`, where it says so."},
                    "default": {"description": "Sent again, for about a day; redirects are not followed."},
                },
            }
        }
    }
}
