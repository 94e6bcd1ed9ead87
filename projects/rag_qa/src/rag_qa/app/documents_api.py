"""Routes: /documents. Sources are paths with slashes, which a client percent-encodes like any other character."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from rag_qa.app.asking_api import caller_of
from rag_qa.app.errors import ApiError
from rag_qa.app.keys import Caller
from rag_qa.app.library import Entry, Indexed, Library
from rag_qa.app.metrics import ServerMetrics
from rag_qa.app.uploads import StagedFile, UploadFolder, check_content, checked_name, sha256_of
from rag_qa.config.api import ApiConfig
from rag_qa.types import Document
from rag_qa.wording import has_pages

_PART = 1 << 20
_MOST_FIELDS = 50
_MOST_FIELD_BYTES = 4096
_TOLD = ("sources", "content_hashes", "time", "chunks", "clean", "traces_left", "remarks", "kept_as")
"""Of a certificate. The rest names the files of other people's documents, and how many pieces of text were looked for
tells which of them stand in other documents, too: who uploads a guess and deletes it could find out what the documents
say that it may not see. The whole certificate is kept beside the index."""

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "groups": {"type": "array", "items": {"type": "string"}},
                    },
                }
            }
        },
    }
}


def router(library: Library, uploads: UploadFolder, config: ApiConfig, metrics: ServerMetrics) -> APIRouter:
    """The routes of documents."""
    api = APIRouter()

    @api.get("/documents", summary="The documents that you may see")
    async def documents(request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        await asyncio.to_thread(library.refresh)
        entries = library.entries(caller.user)
        mine = sorted({*caller.user.groups})
        return {
            "documents": [_entry_json(entry, caller, library) for entry in entries],
            "user": caller.user.name,
            "groups": mine,
            "admin": caller.admin,
        }

    @api.post("/documents", summary="Upload and index files", openapi_extra=_FORM)
    async def upload(request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        async with _Form(request, config) as form:
            files = _files(form)
            groups = library.check_groups(caller.user, _groups(form))
            with uploads.staging() as folder:
                staged = [await _stage(file, folder, number, config) for number, file in enumerate(files)]
                _check_distinct(staged)
                outcomes = await asyncio.to_thread(library.add, caller, staged, groups)
        for outcome in outcomes:
            metrics.ingested.labels("refused" if outcome.problem else "indexed").inc()
        return {"groups": list(groups), "files": [_outcome_json(outcome) for outcome in outcomes]}

    @api.get("/documents/{source:path}/page/{page}.png", summary="A PDF's page, with a span highlighted")
    async def page_image(
        request: Request, source: str, page: int, start: int = Query(0, ge=0), end: int = Query(0, ge=0)
    ) -> Response:
        image = await asyncio.to_thread(library.page_image, caller_of(request).user, source, page, start, end)
        return Response(image, media_type="image/png", headers={"cache-control": "private, no-store"})

    @api.get("/documents/{source:path}", summary="A document's text, or its file")
    async def document(request: Request, source: str, page: int | None = Query(None, ge=1), file: bool = False) -> Any:
        caller = caller_of(request)
        if file:
            path = await asyncio.to_thread(library.file, caller.user, source)
            return _attachment(path, source)
        found = await asyncio.to_thread(library.document, caller.user, source)
        entry = library.require(caller.user, source)
        return {**_entry_json(entry, caller, library), **_text_json(found, page)}

    @api.delete("/documents/{source:path}", summary="Remove a document; returns the certificate of deletion")
    async def delete(request: Request, source: str) -> dict[str, Any]:
        certificate = await asyncio.to_thread(library.delete, caller_of(request), source)
        return {"source": source, "certificate": {name: certificate.get(name) for name in _TOLD}}

    return api


class _Form:
    """The multipart form of a request; its files are closed at the end."""

    def __init__(self, request: Request, config: ApiConfig) -> None:
        self._request, self._most = request, config.max_upload_files

    async def __aenter__(self) -> FormData:
        if not self._request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise ApiError(400, "send files as multipart/form-data, each in a field 'files'")
        try:
            self._form = await self._request.form(
                max_files=self._most, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES
            )
        except ApiError:
            raise
        except HTTPException as error:
            if "Too many files" in str(error.detail):
                raise ApiError(400, f"more than {self._most} files: send fewer at a time") from None
            raise ApiError(400, "the form cannot be read") from None
        return self._form

    async def __aexit__(self, *ending: object) -> None:
        await self._form.close()


def _files(form: FormData) -> list[UploadFile]:
    unknown = sorted(set(form) - {"files", "groups"})
    if unknown:
        raise ApiError(400, "unknown field in the form; there are 'files' and 'groups'")
    files = [value for value in form.getlist("files") if isinstance(value, UploadFile)]
    if not files:
        raise ApiError(400, "no file: send each in a field 'files'")
    return files


def _groups(form: FormData) -> list[str]:
    """One name a field, or several with commas."""
    values = [value for value in form.getlist("groups") if isinstance(value, str)]
    return [name for value in values for name in value.split(",")]


async def _stage(file: UploadFile, folder: Path, number: int, config: ApiConfig) -> StagedFile:
    """Write an upload to the disk, as far as the limit."""
    name = checked_name(file.filename)
    if (file.size or 0) > config.max_upload_bytes:
        raise ApiError(413, f"{name}: has more than {config.max_upload_bytes:,} bytes")
    path = folder / f"{number}{Path(name).suffix.lower()}"
    start = await file.read(_PART)
    check_content(name, start)

    def write(part: bytes) -> None:
        with path.open("ab") as out:
            out.write(part)

    while start:
        await asyncio.to_thread(write, start)
        start = await file.read(_PART)
    path.touch()
    return StagedFile(path, name, await asyncio.to_thread(sha256_of, path))


def _check_distinct(files: Sequence[StagedFile]) -> None:
    names = [file.name for file in files]
    if twice := next((name for index, name in enumerate(names) if name in names[:index]), None):
        raise ApiError(400, f"{twice}: two files of this upload have this name")


def _entry_json(entry: Entry, caller: Caller, library: Library) -> dict[str, Any]:
    visible = caller.user.visible_groups
    return {
        "source": entry.source,
        "title": entry.title,
        "pages": entry.n_pages,
        "characters": entry.n_characters,
        "chunks": entry.n_chunks,
        # Whom else a document is shared with is nobody's business who is not among them.
        "groups": [group for group in entry.groups if group in visible],
        "may_delete": library.may_delete(caller, entry.source),
        "is_pdf": has_pages(entry.source),
        "notes": list(entry.notes),
    }


def _text_json(document: Document, page: int | None) -> dict[str, Any]:
    start, end = 0, len(document.text)
    if page is not None:
        found = next((known for known in document.pages if known.number == page), None)
        if found is None:
            raise ApiError(404, f"the document has no page {page}")
        start, end = found.start, found.end
    return {"page": page, "start": start, "end": end, "text": document.text[start:end]}


def _outcome_json(outcome: Indexed) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "source": outcome.source,
        "chunks": outcome.n_chunks,
        "problem": outcome.problem,
        "notes": list(outcome.notes),
    }


def _attachment(path: Path, source: str) -> FileResponse:
    """The file, to be kept and not to be shown: an HTML file would run with the rights of this server's own page."""
    headers = {"content-security-policy": "sandbox; default-src 'none'", "cache-control": "private, no-store"}
    return FileResponse(
        path, media_type="application/octet-stream", filename=source.rpartition("/")[2], headers=headers
    )
