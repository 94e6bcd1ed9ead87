"""A Qdrant server in this process: the routes that the store uses, over HTTP.

Requests are read and answers written by qdrant-client's own models, so that both have the form of the real API; what
is done with them is done by qdrant-client's embedded engine.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient, models


class Refusal(Exception):
    """Answered with a status other than 200."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers or {}


@dataclass
class QdrantDouble:
    """A server's state, and what it was asked."""

    key: str | None = None
    """Asked for in the header api-key."""

    keeps_metadata: bool = True
    """Servers before 1.16 ignore a collection's metadata."""

    troubles: list[Refusal] = field(default_factory=list)
    """Raised one after the other before any request is answered."""

    asked: list[str] = field(default_factory=list)
    engine: QdrantClient = field(default_factory=lambda: QdrantClient(location=":memory:"))
    lock: threading.Lock = field(default_factory=threading.Lock)
    indexed: dict[str, models.PayloadSchemaType] = field(default_factory=dict)
    url: str = ""

    def answer(self, method: str, path: str, body: bytes, key: str | None) -> Any:
        """What goes under "result". Raises Refusal."""
        with self.lock:
            self.asked.append(f"{method} {path}")
            if self.troubles:
                raise self.troubles.pop(0)
            if self.key is not None and key != self.key:
                raise Refusal(401, "Must provide an API key or an Authorization bearer token")
            for pattern, handler in self.routes.items():
                if found := re.fullmatch(pattern, f"{method} {path.partition('?')[0]}"):
                    return handler(found[1], body)
        raise Refusal(404, "no such route")

    @property
    def routes(self) -> dict[str, Callable[[str, bytes], Any]]:
        return {
            r"GET /collections/(\w+)/exists": self.exists,
            r"GET /collections/(\w+)": self.info,
            r"PUT /collections/(\w+)": self.create,
            r"PATCH /collections/(\w+)": self.update,
            r"PUT /collections/(\w+)/index": self.index,
            r"PUT /collections/(\w+)/points": self.upsert,
            r"POST /collections/(\w+)/points": self.retrieve,
            r"POST /collections/(\w+)/points/scroll": self.scroll,
            r"POST /collections/(\w+)/points/count": self.count,
            r"POST /collections/(\w+)/points/delete": self.delete,
            r"POST /collections/(\w+)/points/query/batch": self.query,
        }

    def exists(self, name: str, body: bytes) -> Any:
        return {"exists": self.engine.collection_exists(name)}

    def info(self, name: str, body: bytes) -> Any:
        if not self.engine.collection_exists(name):
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
        info = self.engine.get_collection(name).model_dump(mode="json")
        info["payload_schema"] = {one: {"data_type": kind.value, "points": 0} for one, kind in self.indexed.items()}
        return info

    def create(self, name: str, body: bytes) -> Any:
        if self.engine.collection_exists(name):
            raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
        wish = models.CreateCollection.model_validate_json(body)
        metadata = wish.metadata if self.keeps_metadata else None
        return self.engine.create_collection(name, vectors_config=wish.vectors, metadata=metadata)

    def update(self, name: str, body: bytes) -> Any:
        wish = models.UpdateCollection.model_validate_json(body)
        return self.engine.update_collection(name, metadata=wish.metadata) if self.keeps_metadata else True

    def index(self, name: str, body: bytes) -> Any:
        wish = models.CreateFieldIndex.model_validate_json(body)
        assert isinstance(wish.field_schema, models.PayloadSchemaType)
        self.indexed[wish.field_name] = wish.field_schema
        return {"operation_id": 1, "status": "completed"}

    def upsert(self, name: str, body: bytes) -> Any:
        points = models.PointsList.model_validate_json(body).points
        size = self.engine.get_collection(name).config.params.vectors.size  # pyright: ignore
        for point in points:
            if len(point.vector) != size:  # pyright: ignore[reportArgumentType]
                raise Refusal(400, f"Wrong input: Vector dimension error: expected dim: {size}")
        return self.engine.upsert(name, points).model_dump(mode="json")

    def retrieve(self, name: str, body: bytes) -> Any:
        wish = models.PointRequest.model_validate_json(body)
        records = self.engine.retrieve(name, wish.ids, wish.with_payload or False, wish.with_vector or False)
        return [record.model_dump(mode="json") for record in records]

    def scroll(self, name: str, body: bytes) -> Any:
        wish = models.ScrollRequest.model_validate_json(body)
        records, offset = self.engine.scroll(
            name, limit=wish.limit or 10, offset=wish.offset, with_payload=wish.with_payload or False
        )
        return {"points": [record.model_dump(mode="json") for record in records], "next_page_offset": offset}

    def count(self, name: str, body: bytes) -> Any:
        return self.engine.count(name).model_dump(mode="json")

    def delete(self, name: str, body: bytes) -> Any:
        return self.engine.delete(name, models.PointIdsList.model_validate_json(body)).model_dump(mode="json")

    def query(self, name: str, body: bytes) -> Any:
        wish = models.QueryRequestBatch.model_validate_json(body)
        return [answer.model_dump(mode="json") for answer in self.engine.query_batch_points(name, wish.searches)]


def handler_of(double: QdrantDouble) -> type[BaseHTTPRequestHandler]:
    """The HTTP side of a double."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers = 200, {}
            try:
                answer = {"result": double.answer(self.command, self.path, body, self.headers.get("api-key"))}
                answer |= {"status": "ok", "time": 0.0}
            except Refusal as refusal:
                status, headers = refusal.status, refusal.headers
                answer = {"status": {"error": str(refusal)}, "time": 0.0}
            written = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_PUT = do_POST = do_PATCH = respond  # noqa: N815  # the names that http.server asks for

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(double: QdrantDouble) -> Iterator[QdrantDouble]:
    """The double under its `url`, until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(double)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        double.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
            double.engine.close()
