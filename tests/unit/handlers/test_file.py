"""The type file tells what a file is by its content, and no file makes it fail, hang or give more than its bounds."""

import hashlib
import io
import sys
import zlib
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image, PngImagePlugin
from pypdf import PdfReader, PdfWriter

import streams.handlers.file as handler
from schemas.errors import FileNotFoundInStoreError
from schemas.payloads.file import FilePayload
from schemas.settings import Settings
from streams.handlers.media_type import HEAD_BYTES, media_type
from tests.support.contexts import RecordedContext, context_for, stored
from tests.support.source_tree import ROOT

SAMPLES: Final = ROOT / "examples" / "samples"


@pytest.fixture
def context(settings: Settings) -> RecordedContext:
    return context_for("file", settings)


def run(context: RecordedContext, content: bytes | Path, /, name: str = "upload", **asked: Any) -> dict[str, Any]:
    payload = FilePayload(ref=stored(context, name, content, "text/html"), **asked)
    return handler.inspect_file(payload, context)


def encoded(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def thumbnail(context: RecordedContext, result: dict[str, Any]) -> Image.Image:
    image = Image.open(context.files.path(result["image"]["thumbnail"]))
    image.load()
    return image


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "application/octet-stream"),
        (b"hello\n", "text/plain"),
        ("Grüße\n".encode(), "text/plain"),
        (("ü" * HEAD_BYTES).encode()[1:][:HEAD_BYTES], "application/octet-stream"),
        ((b"x" + ("ü" * HEAD_BYTES).encode())[:HEAD_BYTES], "text/plain"),
        (b"text\x00with a NUL", "application/octet-stream"),
        (b"BMW is a company of Munich\n", "text/plain"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "application/octet-stream"),
        (b"PK\x03\x04\x14\x00", "application/zip"),
        (b"\x1f\x8b\x08\x00", "application/gzip"),
        (b"PAR1\x15\x04", "application/vnd.apache.parquet"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"%PDF is a format\n", "text/plain"),
        (b"\n<!DOCTYPE html>\n<html>", "text/html"),
        (b"<htmlish>", "text/plain"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b"<?xml version='1.0'?>", "application/xml"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_the_media_type_is_told_by_content(head: bytes, name: str) -> None:
    assert media_type(head) == name


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_an_image_gets_a_thumbnail(format_name: str, context: RecordedContext) -> None:
    content = encoded(Image.new("RGB", (600, 300), "#336699"), format_name)
    result = run(context, content, name="holiday.txt", thumbnail_size=100)
    assert result["media_type"] == f"image/{format_name.lower()}"
    assert (result["size"], result["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (result["image"]["width"], result["image"]["height"], result["problem"]) == (600, 300, None)
    small = thumbnail(context, result)
    assert (small.format, small.size) == ("PNG", (100, 50))
    assert context.files.stat(result["image"]["thumbnail"]).name == "holiday-thumbnail.png"


def test_a_picture_taken_sideways_stands_upright(context: RecordedContext) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x013B] = "the author's name"
    result = run(context, encoded(Image.new("RGB", (400, 200)), "JPEG", exif=exif), thumbnail_size=100)
    assert (result["image"]["width"], result["image"]["height"]) == (200, 400)
    small = thumbnail(context, result)
    assert small.size == (50, 100)
    assert b"author" not in context.files.path(result["image"]["thumbnail"]).read_bytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_kind_of_pixel_is_shown(mode: str, context: RecordedContext) -> None:
    small = thumbnail(context, run(context, encoded(Image.new(mode, (300, 300)))))
    assert small.mode == ("RGBA" if mode in {"LA", "RGBA"} else "RGB")


def test_a_small_image_keeps_its_size(context: RecordedContext) -> None:
    assert thumbnail(context, run(context, encoded(Image.new("RGB", (8, 4))))).size == (8, 4)


def _claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + header + zlib.crc32(header).to_bytes(4) + b"\x00\x00\x00\x00IDAT"


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 80_000_000, zip=True)
    return encoded(Image.new("RGB", (8, 8)), pnginfo=info)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x89PNG\r\n\x1a\n", "broken"),
        (b"\xff\xd8\xff" + bytes(100), "broken"),
        (encoded(Image.effect_noise((300, 300), 50))[:4000], "broken"),
        (_claiming(100_000, 100_000), "10000000000|100000 x 100000 pixels"),
        (_claiming(0, 0), "broken"),
    ],
    ids=["signature alone", "zeros", "cut off", "a bomb", "no size"],
)
def test_a_broken_image_is_told_and_no_failure(content: bytes, problem: str, context: RecordedContext) -> None:
    result = run(context, content)
    assert result["image"] is None
    assert result["problem"].startswith(problem.split("|")[-1])
    assert (result["size"], result["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_bomb_in_a_comment_does_not_go_off(context: RecordedContext) -> None:
    result = run(context, _text_bomb())
    assert result["problem"] is None or result["image"] is None


def test_a_pdf_gives_its_text(context: RecordedContext) -> None:
    result = run(context, SAMPLES / "handout.pdf", name="handout.pdf")
    document = result["document"]
    assert (result["media_type"], document["pages"], document["truncated"]) == ("application/pdf", 2, False)
    text = context.files.path(document["text"]).read_text("utf-8")
    assert "A task that was accepted is never lost." in text
    assert "dead_lettered" in text
    assert document["characters"] == len(text)
    assert text.startswith(document["excerpt"])


def test_pages_beyond_the_bound_are_left_out(context: RecordedContext) -> None:
    document = run(context, SAMPLES / "handout.pdf", max_pages=1)["document"]
    assert (document["pages"], document["truncated"]) == (2, True)
    assert "second page" not in document["excerpt"]


def test_characters_beyond_the_bound_are_left_out(context: RecordedContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "MAX_CHARACTERS", 40)
    document = run(context, SAMPLES / "handout.pdf")["document"]
    assert (document["characters"], document["truncated"]) == (40, True)


def test_a_pdf_with_a_password_is_told(context: RecordedContext) -> None:
    writer = PdfWriter(clone_from=PdfReader(SAMPLES / "handout.pdf"))
    writer.encrypt("secret", algorithm="RC4-128")
    stream = io.BytesIO()
    writer.write(stream)
    result = run(context, stream.getvalue())
    assert result["document"] is None
    assert result["problem"].startswith(("encrypted", "broken"))


@pytest.mark.parametrize("length", [9, 100, 700])
def test_a_broken_pdf_is_told_and_no_failure(length: int, context: RecordedContext) -> None:
    result = run(context, (SAMPLES / "handout.pdf").read_bytes()[:length])
    assert result["media_type"] == "application/pdf"
    assert result["document"] is None
    assert result["problem"]


def test_any_other_file_is_only_measured(context: RecordedContext) -> None:
    result = run(context, b"a,b\n1,2\n", name="table.png")
    assert (result["name"], result["media_type"], result["problem"]) == ("table.png", "text/plain", None)
    assert result["image"] is None
    assert result["document"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the bound")
def test_a_parser_that_wants_too_much_memory_is_the_files_fault() -> None:
    with pytest.raises(handler._NotReadableError, match="memory"):
        handler._untrusted(lambda: bytearray(handler.MAX_EXTRA_MEMORY * 2))
    assert len(bytearray(handler.MAX_EXTRA_MEMORY // 8))


def test_a_file_that_is_not_there_is_told(context: RecordedContext) -> None:
    with pytest.raises(FileNotFoundInStoreError):
        handler.inspect_file(FilePayload(ref="01976e2a-7c00-7d3e-8b11-5a6f0c9d2e41"), context)
