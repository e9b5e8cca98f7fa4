"""Files in and out: a task's payload refers to one by ``ref``."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from email.message import Message
from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from ingest import openapi
from ingest.body import stream_body
from ingest.runtime import Runtime
from laneway.files import FileStore, StoredFile

_BLOCK: Final = 1024 * 1024
"""Bytes handed to a thread at once: writing and hashing them takes a millisecond, a switch a tenth of that."""
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}(\s*;.{0,200})?", re.ASCII)
_DEFAULT_TYPE: Final = "application/octet-stream"


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/files``."""
    routes = APIRouter(tags=["files"], default_response_class=Response)
    limit = runtime.settings.api.max_file_bytes

    @routes.post("/api/files", **openapi.PUT_FILE)
    async def put_file(request: Request) -> Response:
        """Keep the body as a file; 201 with the reference that payloads name it by."""
        said = request.headers.get("content-type", _DEFAULT_TYPE)
        content_type = said if _MEDIA_TYPE.fullmatch(said) else _DEFAULT_TYPE
        name = request.query_params.get("name") or disposition_name(request.headers.get("content-disposition")) or ""
        async with aclosing(stream_body(request, limit)) as chunks:
            stored = await _store(runtime.files, name, content_type, chunks)
        return Response(
            msgspec.json.encode(stored),
            201,
            {"location": f"/api/files/{stored.ref}"},
            media_type="application/json",
        )

    @routes.get("/api/files/{ref}", **openapi.GET_FILE)
    async def get_file(request: Request) -> Response:
        """The file's bytes, always as an attachment."""
        ref: str = request.path_params["ref"]
        path = await asyncio.to_thread(runtime.files.path, ref)
        stored = await asyncio.to_thread(runtime.files.stat, ref)
        return FileResponse(
            path,
            media_type=stored.content_type,
            filename=stored.name,
            # What others uploaded is never to be run as a page of ours.
            headers={"x-content-type-options": "nosniff", "content-security-policy": "sandbox"},
        )

    return routes


def disposition_name(header: str | None) -> str | None:
    """The file name in a ``Content-Disposition`` header, in either of its spellings."""
    if not header:
        return None
    message = Message()
    message["content-disposition"] = header
    return message.get_filename()


async def _store(files: FileStore, name: str, content_type: str, chunks: AsyncIterator[bytes]) -> StoredFile:
    """Write the chunks in threads; what is not whole leaves nothing behind."""
    creating = files.create(name, content_type)
    new = await asyncio.to_thread(creating.__enter__)
    try:
        block = bytearray()
        async for chunk in chunks:
            block += chunk
            if len(block) >= _BLOCK:
                await asyncio.to_thread(new.write, bytes(block))
                block.clear()
        await asyncio.to_thread(new.write, bytes(block))
    except BaseException:
        # Not in a thread: a cancelled request could not wait for it, and removing a file is quick.
        creating.__exit__(*sys.exc_info())
        raise
    await asyncio.to_thread(creating.__exit__, None, None, None)
    if new.stored is None:
        raise RuntimeError("the file store left a file without a reference")
    return new.stored
