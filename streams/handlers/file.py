import hashlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from laneway.context import Context
from laneway.files import FileStore
from laneway.registry import task
from schemas.payloads.file import EXCERPT_CHARACTERS, DocumentInfo, FilePayload, FileResult, ImageInfo
from schemas.retry import RetryPolicy
from streams.handlers.media_type import HEAD_BYTES, media_type

MAX_PIXELS: Final = 50_000_000
MAX_CHARACTERS: Final = 2_000_000
MAX_EXTRA_MEMORY: Final = 1024**3
"""Bytes of address space that a thumbnail or a PDF's text may take on top of what the process has."""

_IMAGE_FORMATS: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/tiff": "TIFF",
    "image/bmp": "BMP",
}
_EXIF_ORIENTATION: Final = 0x0112
_TURNED_SIDEWAYS: Final = {5, 6, 7, 8}

Read = TypeVar("Read")


class _Image(NamedTuple):
    width: int
    height: int
    thumbnail: bytes


class _Text(NamedTuple):
    pages: int
    text: str
    truncated: bool


class _NotReadableError(ValueError):
    """The file's own fault, told in the result."""


# In a process: parsers of files from strangers may hang, eat memory or crash, and must be able to end alone.
@task(
    "file",
    retry=RetryPolicy(max_attempts=3, first_delay=timedelta(seconds=2)),
    timeout=timedelta(minutes=2),
    executor="process",
)
def inspect_file(payload: FilePayload, ctx: Context) -> dict[str, Any]:
    """Tell a file's size, type and SHA-256; make a thumbnail of an image, take the text of a PDF.

    A broken image or PDF is no failure: what can be told is told, and ``problem`` says what is wrong.

    Raises:
        FileNotFoundInStoreError: no such file.
    """
    stored = ctx.files.stat(payload.ref)
    path = ctx.files.path(payload.ref)
    size, digest, head = _digest(path)
    kind = media_type(head)
    ctx.progress(30, "hashed")
    image: ImageInfo | None = None
    document: DocumentInfo | None = None
    problem: str | None = None
    try:
        if kind in _IMAGE_FORMATS:
            found = _untrusted(lambda: _read_image(path, _IMAGE_FORMATS[kind], payload.thumbnail_size))
            ref = _store(ctx.files, f"{Path(stored.name).stem}-thumbnail.png", "image/png", found.thumbnail)
            image = ImageInfo(width=found.width, height=found.height, thumbnail=ref)
        elif kind == "application/pdf":
            read = _untrusted(lambda: _read_pdf(path, payload.max_pages))
            ref = _store(
                ctx.files, f"{Path(stored.name).stem}.txt", "text/plain; charset=utf-8", read.text.encode("utf-8")
            )
            document = DocumentInfo(
                pages=read.pages,
                text=ref,
                characters=len(read.text),
                excerpt=read.text[:EXCERPT_CHARACTERS],
                truncated=read.truncated,
            )
    except _NotReadableError as error:
        problem = str(error)
    ctx.logger.info("file inspected", media_type=kind, size=size, problem=problem)
    return FileResult(
        ref=payload.ref,
        name=stored.name,
        size=size,
        media_type=kind,
        sha256=digest,
        image=image,
        document=document,
        problem=problem,
    ).model_dump(mode="json")


def _digest(path: Path) -> tuple[int, str, bytes]:
    """Size, SHA-256 and first bytes, in one pass over the file itself: the store's own record is not asked."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        while chunk := stream.read(1024 * 1024):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest(), head


def _store(files: FileStore, name: str, content_type: str, content: bytes) -> str:
    with files.create(name, content_type) as new:
        new.write(content)
    return new.ref


def _untrusted(read: Callable[[], Read]) -> Read:
    """What ``read`` makes of the file; whatever goes wrong inside is the file's fault."""
    try:
        with _bounded_memory(MAX_EXTRA_MEMORY):
            return read()
    except _NotReadableError:
        raise
    except MemoryError as error:
        raise _NotReadableError("needs more memory than one file gets") from error
    except Exception as error:  # parsers meet broken files with exceptions of every class
        raise _NotReadableError(f"broken: {type(error).__name__}: {error}"[:300]) from error


@contextmanager
def _bounded_memory(extra: int) -> Iterator[None]:
    """Let this process grow by ``extra`` bytes at most. Only Linux tells and keeps such a bound; elsewhere: none."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bounds = [present + extra, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _read_image(path: Path, format_name: str, side: int) -> _Image:
    from PIL import Image, ImageOps

    # Our own bound, checked before a pixel is decoded, stands in for Pillow's, which warns first.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path, formats=(format_name,)) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _NotReadableError(f"{width} x {height} pixels; at most {MAX_PIXELS} are decoded")
        if image.getexif().get(_EXIF_ORIENTATION) in _TURNED_SIDEWAYS:
            width, height = height, width
        image.thumbnail((side, side))
        upright = ImageOps.exif_transpose(image)
        shown = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        shown.info.clear()  # neither place nor author of the original travel on
        stream = io.BytesIO()
        shown.save(stream, "PNG", optimize=True)
        return _Image(width, height, stream.getvalue())


def _read_pdf(path: Path, max_pages: int) -> _Text:
    from pypdf import PdfReader

    # It tells every oddity of a file at WARNING; what matters is in the result.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    with path.open("rb") as stream:
        reader = PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise _NotReadableError("encrypted: its text needs a password")
        pages = len(reader.pages)
        texts: list[str] = []
        characters = 0
        for page in reader.pages[:max_pages]:
            # Lone surrogates and NUL come out of odd fonts and are neither UTF-8 nor text.
            text = page.extract_text().encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
            texts.append(text)
            characters += len(text)
            if characters > MAX_CHARACTERS:
                break
    text = "\n\n".join(texts)
    return _Text(pages, text[:MAX_CHARACTERS], truncated=len(texts) < pages or len(text) > MAX_CHARACTERS)
