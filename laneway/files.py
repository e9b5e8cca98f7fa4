"""The file store: uploads and produced files in one folder that the API and the workers share."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct
from msgspec.json import decode as _decode
from msgspec.json import encode as _encode

from laneway.ids import new_id
from schemas.errors import FileNotFoundInStoreError

_REF: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StoredFile(Struct, frozen=True, kw_only=True):
    """A file of the store."""

    ref: str
    """What payloads and results refer to it by; never a path."""
    name: str
    """As its sender called it; shown, never used as a path."""
    size: int
    """Bytes."""
    sha256: str
    content_type: str


class NewFile:
    """A file being written; it is in the store only after ``FileStore.create`` is left without an error."""

    def __init__(self, ref: str, stream: BinaryIO) -> None:
        self.ref = ref
        """What the file is referred to by, once it is in the store."""
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0
        self.stored: StoredFile | None = None
        """Set once the file is in the store."""

    def write(self, data: bytes) -> int:
        """Append ``data``."""
        self._digest.update(data)
        self.size += len(data)
        return self._stream.write(data)

    @property
    def sha256(self) -> str:
        """Digest of what was written so far."""
        return self._digest.hexdigest()


class FileStore:
    """Files by reference under one root. Names are ids, so no name from outside ever reaches the file system.

    Delivery: a file is whole or absent: it is written aside, flushed to disk and renamed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def create(self, name: str, content_type: str = "application/octet-stream") -> Iterator[NewFile]:
        """Write a new file; left by an exception, nothing remains of it.

        ``NewFile.stored`` tells the reference after the block.
        """
        ref = new_id()
        folder = self.root / ref[-2:]
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{ref}.part"
        try:
            with aside.open("xb") as stream:
                new = NewFile(ref, stream)
                yield new
                stream.flush()
                os.fsync(stream.fileno())
            stored = StoredFile(
                ref=ref, name=Path(name).name[:200] or ref, size=new.size, sha256=new.sha256, content_type=content_type
            )
            (folder / f"{ref}.json").write_bytes(_encode(stored))
            aside.rename(folder / ref)
            new.stored = stored
        except BaseException:
            aside.unlink(missing_ok=True)
            (folder / f"{ref}.json").unlink(missing_ok=True)
            raise

    def stat(self, ref: str) -> StoredFile:
        """What is known of a file.

        Raises:
            FileNotFoundInStoreError: no such file.
        """
        path = self.path(ref)
        return _decode(path.with_name(f"{ref}.json").read_bytes(), type=StoredFile)

    def path(self, ref: str) -> Path:
        """Where a file lies, to be read only.

        Raises:
            FileNotFoundInStoreError: no such file, or ``ref`` is no reference.
        """
        if not _REF.fullmatch(ref):
            raise FileNotFoundInStoreError(f"no file {ref[:80]!r}: want a reference as POST /api/files answers it")
        path = self.root / ref[-2:] / ref
        if path.is_symlink() or not path.is_file():
            raise FileNotFoundInStoreError(f"no file {ref!r} in the store")
        return path
