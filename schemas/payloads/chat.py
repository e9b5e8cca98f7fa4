"""The type ``chat``: a question to a folder of documents."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.payloads.model import Payload, Result


class ChatPayload(Payload):
    """A question."""

    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]
    max_sources: Annotated[int, Field(ge=1, le=10)] = 3
    """Most passages to answer from."""


class ChatSource(Result):
    """A passage that the answer stands on."""

    document: str
    """Path under the folder of documents."""
    passage: str
    score: float
    """Relevance by BM25: higher is better; comparable within one answer only."""


class ChatResult(Result):
    """The answer and what it stands on."""

    answer: str
    found: bool
    """Whether the documents say anything about the question."""
    sources: list[ChatSource]
    """Best first."""
    answered_by: Literal["documents", "model"]
    """``documents``: the passages themselves. ``model``: the OpenAI-compatible server, which was given the passages."""
    model: str | None = None
    """What that server calls the model that answered."""
