"""What a file is by its first bytes. A closed list: what is not on it is text or unknown, never a guess."""

import codecs
import re
from typing import Final

HEAD_BYTES: Final = 4096
"""How much of a file ``media_type`` wants to see."""

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "image/tiff"),
    # Two letters alone would take any text on BMW for a picture: the four bytes after the size are reserved and zero.
    (re.compile(rb"BM.{4}\x00{4}", re.DOTALL), "image/bmp"),
    (re.compile(rb"\s*%PDF-\d"), "application/pdf"),
    (re.compile(rb"PAR1"), "application/vnd.apache.parquet"),
    (re.compile(rb"PK(\x03\x04|\x05\x06)"), "application/zip"),
    (re.compile(rb"\x1f\x8b\x08"), "application/gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "application/zstd"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "application/x-7z-compressed"),
    (re.compile(rb"SQLite format 3\x00"), "application/vnd.sqlite3"),
    (re.compile(rb"RIFF.{4}WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"OggS"), "application/ogg"),
    (re.compile(rb"ID3"), "audio/mpeg"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "video/mp4"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html[\s>])", re.IGNORECASE), "text/html"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<svg[\s>]"), "image/svg+xml"),
    (re.compile(rb"(\xef\xbb\xbf)?<\?xml\s"), "application/xml"),
)
_NOT_TEXT: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def media_type(head: bytes) -> str:
    """Media type of the file that starts with ``head``."""
    for signature, name in _SIGNATURES:
        if signature.match(head):
            return name
    try:
        # The cut may go through a character, which is no fault of the file.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain" if text and not _NOT_TEXT.search(text) else "application/octet-stream"
