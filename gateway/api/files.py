"""/v1/files: upload, list, look, read, delete, as the `openai` client asks. The bytes are `gateway/files.py`'s."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from litestar import Request, delete, get, post
from litestar.datastructures import UploadFile
from litestar.response import File

from adapters.errors import InvalidInput
from gateway.files import FileStore, StoredFile
from gateway.stores.library import Stores
from gateway.wire.files import FileDeleted, FileList, FileObject

MOST_LISTED = 10_000


@post("/v1/files", status_code=200, summary="Upload a file")
async def create_file(request: Request[Any, Any, Any], files: FileStore) -> FileObject:
    # the form's file part lies on disk from its second MiB on, so a large upload is never whole in memory
    form = await request.form()
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, UploadFile):
        raise InvalidInput("send the file as the part 'file' of a multipart form", param="file")
    try:
        if not isinstance(purpose, str):
            raise InvalidInput("say what the file is for in the part 'purpose', such as fine-tune", param="purpose")
        expires_after_s = _expires_after_s({name: value for name, value in form.items() if isinstance(value, str)})
        add = partial(files.add, filename=upload.filename, purpose=purpose, expires_after_s=expires_after_s)
        return _object(await asyncio.to_thread(add, cast(BinaryIO, upload.file)))
    finally:
        await upload.close()


@get("/v1/files", summary="List files")
async def list_files(
    files: FileStore,
    limit: int = MOST_LISTED,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
    purpose: str | None = None,
) -> FileList:
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidInput(f"limit must be between 1 and {MOST_LISTED}, not {limit}", param="limit")
    page = await asyncio.to_thread(files.page, limit=limit, order=order, after=after, purpose=purpose)
    data = [_object(file) for file in page.files]
    return FileList(data, page.has_more, data[0].id if data else None, data[-1].id if data else None)


@get("/v1/files/{file_id:str}", summary="One file's card")
async def get_file(file_id: str, files: FileStore) -> FileObject:
    return _object(await asyncio.to_thread(files.get, file_id))


@get("/v1/files/{file_id:str}/content", summary="One file's bytes")
async def get_content(file_id: str, files: FileStore) -> File:
    def found() -> tuple[Path, str]:
        return files.content(file_id), files.get(file_id).filename

    path, filename = await asyncio.to_thread(found)
    return File(path, filename=filename, media_type="application/octet-stream", content_disposition_type="attachment")


@delete("/v1/files/{file_id:str}", status_code=200, summary="Delete a file")
async def delete_file(file_id: str, stores: Stores) -> FileDeleted:
    await stores.delete_uploaded(file_id)
    return FileDeleted(file_id)


def _expires_after_s(form: dict[str, str]) -> int | None:
    """Of the form's `expires_after[anchor]` and `expires_after[seconds]`; None where it has neither."""
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidInput("expires_after.anchor must be created_at", param="expires_after.anchor")
    if seconds is None or not seconds.isascii() or not seconds.isdigit():
        raise InvalidInput("expires_after.seconds must be a whole number", param="expires_after.seconds")
    return int(seconds)


def _object(file: StoredFile) -> FileObject:
    return FileObject(file.id, file.bytes, file.created_at, file.filename, file.purpose, file.expires_at)


handlers = (create_file, list_files, get_file, get_content, delete_file)
