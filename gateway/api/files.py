"""/v1/files: upload, list, look, read, delete, as the `openai` client asks. The bytes are `gateway/files.py`'s."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from litestar import Request, delete, get, post
from litestar.datastructures import UploadFile
from litestar.response import File

from adapters.errors import InvalidInput
from gateway.files import FileStore, StoredFile
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
        if any(name.startswith("expires_after") for name in form):
            raise InvalidInput("files are kept until they are deleted; leave expires_after out", param="expires_after")
        source = cast(BinaryIO, upload.file)
        return _object(await asyncio.to_thread(files.add, source, filename=upload.filename, purpose=purpose))
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
async def delete_file(file_id: str, files: FileStore) -> FileDeleted:
    await asyncio.to_thread(files.remove, file_id)
    return FileDeleted(file_id)


def _object(file: StoredFile) -> FileObject:
    return FileObject(file.id, file.bytes, file.created_at, file.filename, file.purpose)


handlers = (create_file, list_files, get_file, get_content, delete_file)
