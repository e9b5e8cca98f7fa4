"""The type ``file``: what a file is and what is in it."""

from typing import Annotated, Final

from pydantic import Field

from schemas.payloads.model import FileRef, Payload, Result

EXCERPT_CHARACTERS: Final = 1_000


class FilePayload(Payload):
    """Which file to look at."""

    ref: FileRef
    """The file, as `POST /api/files` answered it."""
    thumbnail_size: Annotated[int, Field(ge=16, le=1024)] = 256
    """Longer side of an image's thumbnail, in pixels; a smaller image keeps its size."""
    max_pages: Annotated[int, Field(ge=1, le=1_000)] = 200
    """Pages of a PDF whose text is taken."""


class ImageInfo(Result):
    """What an image shows."""

    width: int
    """Pixels, after turning it as its EXIF orientation says."""
    height: int
    thumbnail: str
    """Reference of a PNG without the original's metadata."""


class DocumentInfo(Result):
    """What a PDF says."""

    pages: int
    text: str
    """Reference of its text as UTF-8."""
    characters: int
    excerpt: str
    """First characters of the text."""
    truncated: bool
    """Whether text was left out: too many pages or too many characters."""


class FileResult(Result):
    """What the file is. A broken image or PDF is still told by size, type and digest, with the ``problem``."""

    ref: str
    name: str
    size: int
    """Bytes."""
    media_type: str
    """Told by the content's signature, never by the name or by what the sender claimed."""
    sha256: str
    image: ImageInfo | None = None
    document: DocumentInfo | None = None
    problem: str | None = None
    """Why there is no thumbnail or text although the type would have one."""
