"""What the models of all payloads and results have in common."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, StringConstraints

REF_PATTERN: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

FileRef = Annotated[str, StringConstraints(pattern=REF_PATTERN)]
"""Reference of a file in the file store, as ``POST /api/files`` answers it."""


class Payload(BaseModel):
    """A payload: unknown fields are an error, so that a typo is never silent."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Result(BaseModel):
    """A handler's result, published as plain JSON. Readers take fields that they do not know as absent."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
