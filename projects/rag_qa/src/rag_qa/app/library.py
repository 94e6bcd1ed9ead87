"""What the routes know of the index: who sees which document, one writer at a time, files behind documents."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rag_qa.app.errors import ApiError, not_found, without_paths
from rag_qa.app.keys import Caller
from rag_qa.app.uploads import StagedFile, UploadFolder, owner_of, sha256_of
from rag_qa.protocols import AnswerGenerator, Retriever, Turn, Where
from rag_qa.types import PUBLIC, Document, Retrieved, User
from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A document of the index, in a list."""

    source: str
    title: str
    groups: tuple[str, ...]
    content_hash: str
    """sha256 of the file that it was read from."""

    n_chunks: int
    n_pages: int
    n_characters: int
    notes: tuple[str, ...] = ()
    path: Path | None = None
    """The file that it was read from, where the index knows it."""


class Answering(Protocol):
    """Of `rag_qa.assistant.Assistant`, what answers need."""

    @property
    def retriever(self) -> Retriever: ...

    def generator_for(self, user: User) -> AnswerGenerator:
        """What answers a user."""
        ...

    def search(
        self, question: str, *, user: User | None = None, where: Where = (), history: Sequence[Turn] = ()
    ) -> list[Retrieved]:
        """Passages for a question that may refer to the turns before it."""
        ...

    def standalone(self, question: str, history: Sequence[Turn] = ()) -> str:
        """The question as it is searched for."""
        ...


class Backend(Protocol):
    """An index that can be asked and changed. `IndexBackend` is the one that is served."""

    @property
    def assistant(self) -> Answering:
        """Answers from the present state of the index."""
        ...

    def entries(self) -> Sequence[Entry]:
        """All documents."""
        ...

    def document(self, source: str) -> Document:
        """A document with its text. Raises KeyError: there is none."""
        ...

    def read(self, path: Path, source: str) -> Document:
        """A file as a document. Raises UserError: it cannot be read; one line says why."""
        ...

    def refresh(self) -> bool:
        """Take up what another process has written; True where there was something."""
        ...

    def put(self, document: Document, groups: Sequence[str]) -> str | None:
        """Add a document, or replace the one of its name. Visible when it returns. Returns the name of a document with
        the same groups and the same bytes, where there is one: then nothing was done."""
        ...

    def delete(self, source: str) -> Mapping[str, Any]:
        """Remove a document; returns the certificate of it. Gone from every search when it returns."""
        ...

    def retriever(self, dense_weight: float) -> Retriever:
        """The retriever with another weight in the fusion."""
        ...

    def page_image(self, path: Path, document: Document, page: int, start: int, end: int) -> bytes:
        """A PDF's page as PNG, with a span of the document's text highlighted."""
        ...


@dataclass(frozen=True)
class Indexed:
    """What became of an uploaded file."""

    name: str
    source: str | None
    n_chunks: int = 0
    problem: str | None = None
    notes: tuple[str, ...] = ()


class Library:
    """The documents of one index, each caller's view of them, and their files.

    A document is visible to whoever is in one of its groups. To all others it does not exist: every method raises the
    very error for it that it raises for a name that was never there.
    """

    def __init__(self, backend: Backend, uploads: UploadFolder, on_delete: Callable[[str], None]) -> None:
        """Args:
        backend: the index.
        uploads: where the files of uploads are kept.
        on_delete: told of each document that goes or is replaced.
        """
        self._backend, self._uploads, self._on_delete = backend, uploads, on_delete
        self._writing = threading.Lock()
        self._entries = {entry.source: entry for entry in backend.entries()}

    @property
    def assistant(self) -> Answering:
        """Answers from the present state of the index."""
        return self._backend.assistant

    def retriever(self, dense_weight: float | None) -> Retriever:
        """The configured retriever, or one with another weight in the fusion."""
        if dense_weight is None:
            return self._backend.assistant.retriever
        return self._backend.retriever(dense_weight)

    def sees(self, user: User, source: str) -> bool:
        """Whether there is such a document for this user."""
        entry = self._entries.get(source)
        return entry is not None and not set(entry.groups).isdisjoint(user.visible_groups)

    def require(self, user: User, source: str) -> Entry:
        """The document's entry.

        Raises:
            ApiError: 404, there is none that the user may see.
        """
        if not self.sees(user, source):
            raise not_found()
        return self._entries[source]

    def entries(self, user: User) -> list[Entry]:
        """All that the user may see, by name."""
        return [self._entries[source] for source in sorted(self._entries) if self.sees(user, source)]

    def may_delete(self, caller: Caller, source: str) -> bool:
        """Whether it is the caller's own, or the caller is an admin."""
        return caller.admin or owner_of(source) == caller.user.name

    def document(self, user: User, source: str) -> Document:
        """The document with its text.

        Raises:
            ApiError: 404, there is none that the user may see.
        """
        self.require(user, source)
        try:
            return self._backend.document(source)
        except KeyError:  # removed since
            raise not_found() from None

    def document_if_there(self, source: str) -> Document | None:
        """A document that an answer cites, whoever may see it; None where it was removed since."""
        try:
            return self._backend.document(source)
        except KeyError:
            return None

    def file(self, user: User, source: str) -> Path:
        """The file that a document was read from.

        Raises:
            ApiError: 404, there is no such document, or its file is not kept; 409, the file was changed since.
        """
        entry = self.require(user, source)
        path = entry.path
        if owner_of(source) is not None:
            path = self._uploads.path(source)
        if path is None or not path.is_file():
            raise ApiError(404, "the document's file is not kept here; its text is")
        if sha256_of(path) != entry.content_hash:
            raise ApiError(409, "the document's file was changed since it was indexed: ingest it again")
        return path

    def page_image(self, user: User, source: str, page: int, start: int, end: int) -> bytes:
        """A PDF's page with a span of the text highlighted.

        Raises:
            ApiError: 404, there is no such document, file or page; 409, the file was changed since.
        """
        document, path = self.document(user, source), self.file(user, source)
        if path.suffix.lower() != ".pdf":
            raise ApiError(404, "only PDFs have pages to look at; GET the document's text")
        if not any(known.number == page for known in document.pages):
            raise ApiError(404, f"the document has no page {page}")
        return self._backend.page_image(path, document, page, start, end)

    def check_groups(self, user: User, groups: Sequence[str]) -> tuple[str, ...]:
        """Groups for a new document; without any, the user's own, or the public one where the user has none.

        Raises:
            ApiError: 403, the user is not in one of them.
        """
        asked = dict.fromkeys(group.strip() for group in groups if group.strip())
        if any(group not in user.visible_groups for group in asked):
            raise ApiError(403, "documents can be shared with your own groups only")
        return tuple(asked) or tuple(dict.fromkeys(user.groups)) or (PUBLIC,)

    def add(self, caller: Caller, files: Sequence[StagedFile], groups: Sequence[str]) -> list[Indexed]:
        """Read and index files one after another; one that cannot be read does not stop the others."""
        return [self._add(caller, file, groups) for file in files]

    def _add(self, caller: Caller, file: StagedFile, groups: Sequence[str]) -> Indexed:
        source = self._uploads.source(caller.user.name, file.name)
        try:
            document = self._backend.read(file.path, source)
        except UserError as error:
            # The reader names the source; the caller knows the file by its own name.
            return Indexed(file.name, None, problem=without_paths(str(error).replace(source, file.name)))
        with self._writing:
            same_as = self._backend.put(document, groups)
            if same_as is not None:  # it has these groups, so the caller may know of it
                return Indexed(file.name, None, problem=f"the same as {same_as}, which has the same groups")
            self._uploads.keep(file, source)
            self._on_delete(source)
            self._read_entries()
        return Indexed(file.name, source, self._entries[source].n_chunks, notes=tuple(document.notes))

    def delete(self, caller: Caller, source: str) -> Mapping[str, Any]:
        """Remove a document and its file; returns the certificate.

        Raises:
            ApiError: 404, there is none that the caller may see; 403, it is not the caller's.
        """
        self.require(caller.user, source)
        if not self.may_delete(caller, source):
            raise ApiError(403, "only its owner or an admin may delete a document")
        with self._writing:
            self.require(caller.user, source)  # two may delete at once
            # From here on nobody finds it, and the search for remains of it must not meet its file.
            del self._entries[source]
            self._on_delete(source)
            if owner_of(source) is not None:
                self._uploads.remove(source)
            try:
                return self._backend.delete(source)
            finally:
                self._read_entries()

    def refresh(self) -> None:
        """Take up what another process has written to the index, unless this one is writing."""
        if self._writing.acquire(blocking=False):
            try:
                if self._backend.refresh():
                    self._read_entries()
            finally:
                self._writing.release()

    def _read_entries(self) -> None:
        self._entries = {entry.source: entry for entry in self._backend.entries()}
