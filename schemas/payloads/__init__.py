"""Payloads and results of the built-in task types."""

from typing import Final

from schemas.payloads.chat import ChatPayload, ChatResult
from schemas.payloads.data import DataPayload, DataResult
from schemas.payloads.email import EmailPayload, EmailResult
from schemas.payloads.file import FilePayload, FileResult
from schemas.payloads.model import Payload, Result

PAYLOADS: Final[dict[str, type[Payload]]] = {
    "chat": ChatPayload,
    "data": DataPayload,
    "email": EmailPayload,
    "file": FilePayload,
}
"""What each built-in type takes."""

RESULTS: Final[dict[str, type[Result]]] = {
    "chat": ChatResult,
    "data": DataResult,
    "email": EmailResult,
    "file": FileResult,
}
"""What each built-in type gives."""
